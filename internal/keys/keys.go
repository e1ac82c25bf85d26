// Package keys reads key files, names keys, and makes the keys of the demo.
package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Errors of this package, by class.
var (
	ErrNoPEM       = errors.New("no PEM block with a key")
	ErrEncrypted   = errors.New("the key is encrypted")
	ErrUnsupported = errors.New("unsupported key")
)

// maxKeyFile is far above any key file; what is larger is something else.
const maxKeyFile = 1 << 20

// ParsePrivate reads the first private key of a PEM file: PKCS#8, SEC 1
// ("EC PRIVATE KEY") or PKCS#1. The key is ECDSA on P-256, P-384 or P-521,
// Ed25519, or RSA of at least 2048 bits.
func ParsePrivate(file []byte) (crypto.Signer, error) {
	block, err := PrivateBlock(file)
	if err != nil {
		return nil, err
	}
	var key any
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, ErrEncrypted
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s block: %w", block.Type, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrUnsupported, key)
	}
	if err := Check(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

// ParsePublic reads the first public key of a PEM file, or the key of the first
// certificate. Text around the blocks is allowed.
func ParsePublic(file []byte) (crypto.PublicKey, error) {
	block, err := findBlock(file, "PUBLIC KEY", "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	var pub crypto.PublicKey
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s block: %w", block.Type, err)
		}
		pub = cert.PublicKey
	} else if pub, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s block: %w", block.Type, err)
	}
	if err := Check(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

// PrivateBlock is the first block with a private key, encrypted or not.
func PrivateBlock(file []byte) (*pem.Block, error) {
	return findBlock(file, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
}

func findBlock(file []byte, types ...string) (*pem.Block, error) {
	if len(file) > maxKeyFile {
		return nil, fmt.Errorf("%w: %d bytes are no key file", ErrNoPEM, len(file))
	}
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, ErrNoPEM
		}
		if slices.Contains(types, block.Type) {
			return block, nil
		}
	}
}

// Bounds of RSA keys in bits: shorter ones can be broken, and longer ones only
// cost time.
const (
	MinRSA = 2048
	MaxRSA = 16384
)

// Check refuses keys that this module does not use: other curves, RSA keys out
// of bounds, other algorithms.
func Check(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("%w: %s", ErrUnsupported, Name(pub))
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < MinRSA || n > MaxRSA {
			return fmt.Errorf("%w: %s", ErrUnsupported, Name(pub))
		}
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, Name(pub))
}

// Name says in words what kind of key it is.
func Name(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case nil:
		return "no key"
	case *ecdsa.PublicKey:
		return "an ECDSA key on " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "an Ed25519 key"
	case *rsa.PublicKey:
		return fmt.Sprintf("an RSA key of %d bits", k.N.BitLen())
	}
	return fmt.Sprintf("a key of type %T", pub)
}

// MarshalPublic is the canonical PEM text of the key: one PUBLIC KEY block of
// its SubjectPublicKeyInfo, 64 columns, a final newline.
func MarshalPublic(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// MarshalPrivate is the key as a PKCS#8 PEM block.
func MarshalPrivate(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Hint is how OMS bundles name a key: the SHA-256 of [MarshalPublic], in hex.
func Hint(pub crypto.PublicKey) (string, error) {
	text, err := MarshalPublic(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// ID is how reports name a key: "sha256:" and the SHA-256 of its DER form, in
// hex.
func ID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Equal reports whether two public keys are the same.
func Equal(a, b crypto.PublicKey) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Demo is a P-256 key that anybody can derive from its label. It protects
// nothing: it exists so that demos and tests give the same bytes everywhere.
func Demo(label string) *ecdsa.PrivateKey {
	seed := sha512.Sum512([]byte("prerun DEMO key, never trust it: " + label))
	// FIPS 186-5 A.2.1: a reduced string of extra bits is close to uniform.
	order := elliptic.P256().Params().N
	d := new(big.Int).Mod(new(big.Int).SetBytes(seed[:]), new(big.Int).Sub(order, big.NewInt(1)))
	d.Add(d, big.NewInt(1))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		panic("a scalar in [1, n-1] is a key: " + err.Error())
	}
	return key
}
