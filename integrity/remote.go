package integrity

import (
	"context"
	"crypto"
	"fmt"
	"io"
)

// A RemoteKey is a private key that another system holds and signs with, such
// as a key management service or a hardware security module.
//
// An error of either method ends the operation that asked. Both must return
// when the context is over.
type RemoteKey interface {
	// PublicKey returns the public half; [ParsePublicKey] reads what most
	// services answer.
	PublicKey(ctx context.Context) (crypto.PublicKey, error)

	// SignDigest signs a digest that was made by opts.HashFunc(), or a message
	// that was not hashed where that is 0, as it is for Ed25519. ECDSA
	// signatures are ASN.1 or r and s side by side, RSA ones PKCS #1 v1.5. It
	// must not keep or change digest.
	SignDigest(ctx context.Context, digest []byte, opts crypto.SignerOpts) (signature []byte, err error)
}

// A RemoteSigner is a [crypto.Signer] over a [RemoteKey], for [NewKeySigner],
// [NewCertificateSigner] and whatever else takes one. It is safe for concurrent
// use if the key is.
type RemoteSigner struct {
	pub crypto.PublicKey
	key RemoteKey
}

// NewRemoteSigner asks for the public key, once. What the key signs later is
// verified with it before anything is written, so a service that has moved on
// to another version of the key is an error, not a bad signature.
func NewRemoteSigner(ctx context.Context, key RemoteKey) (*RemoteSigner, error) {
	if key == nil {
		return nil, noKey()
	}
	pub, err := key.PublicKey(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("remote key: %w", err)
	}
	if err := (KeyPolicy{Ed25519: true, RSA: true}).check(pub); err != nil {
		return nil, err
	}
	return &RemoteSigner{pub, key}, nil
}

// Public implements [crypto.Signer].
func (s *RemoteSigner) Public() crypto.PublicKey { return s.pub }

// SignContext has the key sign. The signers of this module use it in place of
// Sign, with the context that they are given, on every crypto.Signer that has
// it.
func (s *RemoteSigner) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.key == nil {
		return nil, noKey()
	}
	sig, err := s.key.SignDigest(ctx, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("remote key: %w", err)
	}
	return sig, nil
}

// Sign implements [crypto.Signer], for callers that know no context, such as
// [crypto/x509.CreateCertificateRequest]: nothing can end it early. It returns
// what the key returns.
func (s *RemoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignContext(context.Background(), digest, opts)
}
