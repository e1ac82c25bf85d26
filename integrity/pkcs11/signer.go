package pkcs11

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/prerun/prerun/integrity"
)

// Errors of this package.
var (
	ErrNotBuilt  = errors.New("this program was built without tokens: build it with CGO_ENABLED=1 and -tags pkcs11")
	ErrNotFound  = errors.New("not found on the token")
	ErrAmbiguous = errors.New("more than one match: the URI must say more")
	ErrPIN       = errors.New("PIN refused")
	ErrClosed    = errors.New("the signer is closed")
)

// A PINFunc returns the PIN of the token that a URI names. It is asked when the
// URI holds none, once to log in and, for a key that demands it, again for each
// signature. A wrong PIN counts towards the token's limit.
type PINFunc func(ctx context.Context, uri *URI) (string, error)

// A Signer signs with a private key that stays on its token: ECDSA on P-256,
// P-384 or P-521, or RSA by PKCS #1 v1.5. It is a [crypto.Signer], safe for
// concurrent use; the token signs one thing at a time.
type Signer struct {
	pub crypto.PublicKey
	key token
	mu  chan struct{} // holds one value while nobody has the token
}

// A token is an open session with a key.
type token interface {
	sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error)
	close() error
}

// Open loads the module of the URI, logs in to its token and finds its key. The
// caller closes the signer. A nil pin is asked nothing.
//
// Errors wrap [ErrNotFound], [ErrAmbiguous], [ErrPIN], [ErrNotBuilt], or
// integrity.ErrUnsupported for a key of another kind. A token that needs no
// login is used without.
func Open(ctx context.Context, uri *URI, pin PINFunc) (*Signer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := uri.check(); err != nil {
		return nil, err
	}
	own := *uri // what the caller changes later does not matter
	own.ID = append([]byte(nil), uri.ID...)
	key, pub, err := open(ctx, &own, pin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", &own, err)
	}
	s := &Signer{pub, key, make(chan struct{}, 1)}
	s.mu <- struct{}{}
	return s, nil
}

// Public implements [crypto.Signer]: the key that the token states.
func (s *Signer) Public() crypto.PublicKey { return s.pub }

// SignContext signs a digest. An ECDSA signature is r and s side by side, as
// the token makes it, made ASN.1. The context ends waiting for the token, not
// a signature that the token has begun.
func (s *Signer) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil {
		return nil, &integrity.Error{Kind: integrity.ErrUnsupported, Detail: "no hash is named"}
	}
	hash := opts.HashFunc()
	if _, pss := opts.(*rsa.PSSOptions); pss || !hash.Available() || hash.Size() != len(digest) {
		return nil, &integrity.Error{Kind: integrity.ErrUnsupported, Detail: "tokens sign digests, without PSS"}
	}
	if s.mu == nil {
		return nil, ErrClosed // the zero value
	}
	select {
	case <-s.mu:
		defer func() { s.mu <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case s.key == nil:
		return nil, ErrClosed
	}
	return s.key.sign(ctx, digest, hash)
}

// Sign implements [crypto.Signer], for callers that know no context.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignContext(context.Background(), digest, opts)
}

// Close ends the session, after a signature that is being made. Closing again
// does nothing.
func (s *Signer) Close() error {
	if s.mu == nil {
		return nil // the zero value
	}
	<-s.mu
	defer func() { s.mu <- struct{}{} }()
	if s.key == nil {
		return nil
	}
	err := s.key.close()
	s.key = nil
	return err
}
