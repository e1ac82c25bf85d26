//go:build !pkcs11 || !cgo

package pkcs11

import (
	"context"
	"crypto"
)

func open(context.Context, *URI, PINFunc) (token, crypto.PublicKey, error) {
	return nil, nil, ErrNotBuilt
}
