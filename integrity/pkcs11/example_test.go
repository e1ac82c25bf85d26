package pkcs11_test

import (
	"context"
	"fmt"
	"log"

	"github.com/prerun/prerun/integrity/pkcs11"
)

// A URI names module, token and key; the PIN comes from the caller.
func ExampleOpen() {
	uri, err := pkcs11.ParseURI("pkcs11:token=release;object=models?module-path=/usr/lib/softhsm/libsofthsm2.so")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(uri.Token, uri.Object)
	key, err := pkcs11.Open(context.Background(), uri, func(context.Context, *pkcs11.URI) (string, error) {
		return "1234", nil // from a prompt, or a secret store
	})
	if err != nil {
		return // ErrNotBuilt without the tag pkcs11, ErrNotFound without such a token
	}
	defer key.Close() // and sign by integrity.NewKeySigner(key)
	// Output: release models
}
