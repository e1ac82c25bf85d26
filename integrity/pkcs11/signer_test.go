package pkcs11_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/pkcs11"
	"github.com/prerun/prerun/internal/keys"
)

var _ crypto.Signer = (*pkcs11.Signer)(nil)

func TestSignerIsExclusive(t *testing.T) {
	key := keys.Demo("token")
	var inside, most atomic.Int32
	s := pkcs11.NewSigner(key.Public(), pkcs11.Fake{
		OnSign: func(digest []byte) ([]byte, error) {
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer inside.Add(-1)
			return key.Sign(nil, digest, crypto.SHA256)
		},
		OnClose: func() error { return nil },
	})
	signer, err := integrity.NewKeySigner(s)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := signer.Sign(t.Context(), integrity.StatementType, []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at a time", most.Load())
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := signer.Sign(t.Context(), integrity.StatementType, []byte("{}")); !errors.Is(err, pkcs11.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSignerWaitsNoLongerThanItsContext(t *testing.T) {
	reason := errors.New("enough")
	began, end := make(chan struct{}), make(chan struct{})
	s := pkcs11.NewSigner(keys.Demo("token").Public(), pkcs11.Fake{OnSign: func([]byte) ([]byte, error) {
		close(began)
		<-end
		return nil, errors.New("touched too late")
	}})
	sum := sha256.Sum256(nil)
	done := make(chan error)
	go func() {
		_, err := s.Sign(nil, sum[:], crypto.SHA256)
		done <- err
	}()
	<-began
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := s.SignContext(ctx, sum[:], crypto.SHA256); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
	close(end)
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestSignerSignsDigestsOnly(t *testing.T) {
	s := pkcs11.NewSigner(keys.Demo("token").Public(), pkcs11.Fake{})
	sum := sha256.Sum256(nil)
	for name, opts := range map[string]crypto.SignerOpts{
		"message": crypto.Hash(0), "other_size": crypto.SHA384, "unknown": crypto.Hash(99),
		"pss": &rsa.PSSOptions{Hash: crypto.SHA256},
	} {
		if _, err := s.Sign(nil, sum[:], opts); !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	uri := &pkcs11.URI{ModulePath: "/nosuch"}
	if _, err := pkcs11.Open(over, uri, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	for name, uri := range map[string]*pkcs11.URI{"nil": nil, "empty": {}, "relative": {ModulePath: "m.so"}} {
		if _, err := pkcs11.Open(t.Context(), uri, nil); !errors.Is(err, pkcs11.ErrURI) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pkcs11.Open(t.Context(), uri, nil); err == nil {
		t.Error("a module that is not there")
	}
}

func TestZeroSigner(t *testing.T) {
	var s pkcs11.Signer
	sum := sha256.Sum256(nil)
	if _, err := s.Sign(nil, sum[:], crypto.SHA256); !errors.Is(err, pkcs11.ErrClosed) {
		t.Errorf("signing: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}
