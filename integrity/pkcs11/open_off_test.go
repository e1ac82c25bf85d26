//go:build !pkcs11 || !cgo

package pkcs11_test

import (
	"errors"
	"testing"

	"github.com/prerun/prerun/integrity/pkcs11"
)

func TestOpenNotBuilt(t *testing.T) {
	if _, err := pkcs11.Open(t.Context(), &pkcs11.URI{ModulePath: "/nosuch"}, nil); !errors.Is(err, pkcs11.ErrNotBuilt) {
		t.Errorf("error %v, want %v", err, pkcs11.ErrNotBuilt)
	}
}
