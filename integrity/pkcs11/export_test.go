package pkcs11

import (
	"context"
	"crypto"
)

// A Fake stands for a token where there is none.
type Fake struct {
	OnSign  func(digest []byte) ([]byte, error)
	OnClose func() error
}

func (f Fake) sign(_ context.Context, digest []byte, _ crypto.Hash) ([]byte, error) {
	return f.OnSign(digest)
}

func (f Fake) close() error { return f.OnClose() }

// NewSigner is a signer over a fake token.
func NewSigner(pub crypto.PublicKey, f Fake) *Signer {
	s := &Signer{pub, f, make(chan struct{}, 1)}
	s.mu <- struct{}{}
	return s
}
