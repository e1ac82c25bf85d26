package main

import (
	"context"
	"crypto"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/prerun/prerun/integrity/pkcs11"
)

// onToken tells the URI of a key from the name of a file.
func onToken(name string) bool {
	return len(name) >= len(pkcs11.Scheme) && strings.EqualFold(name[:len(pkcs11.Scheme)], pkcs11.Scheme)
}

// openKey opens a private key: a PEM file, or a key on a token by its URI. The
// password is that of the file, or the PIN of the token.
func openKey(ctx context.Context, name, passwordFile string) (key crypto.Signer, done func(), err error) {
	if !onToken(name) {
		key, err := readPrivateKey(name, passwordFile)
		return key, func() {}, err
	}
	uri, err := pkcs11.ParseURI(name)
	if err != nil {
		return nil, nil, fmt.Errorf("--private-key: %w", err)
	}
	token, err := pkcs11.Open(ctx, uri, func(context.Context, *pkcs11.URI) (string, error) {
		return readPIN(uri, passwordFile)
	})
	if err != nil {
		return nil, nil, err
	}
	return token, func() { token.Close() }, nil
}

// readPIN reads the password file, or else the file that the URI names.
func readPIN(uri *pkcs11.URI, passwordFile string) (string, error) {
	if passwordFile == "" {
		switch file, isURL := strings.CutPrefix(uri.PINSource, "file:"); {
		case uri.PINSource == "":
			return "", fmt.Errorf("%w: give --password-file, or pin-source in the URI", pkcs11.ErrPIN)
		case isURL:
			passwordFile = strings.TrimPrefix(file, "//")
		default:
			passwordFile = uri.PINSource
		}
		if !filepath.IsAbs(passwordFile) { // programs among them, which begin with "|"
			return "", fmt.Errorf("%w: pin-source is not an absolute path of a file", pkcs11.ErrPIN)
		}
	}
	pin, err := readPassword(passwordFile)
	return string(pin), err
}
