package keys

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1" // the default of PBKDF2 in RFC 8018
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// ErrPassphrase says that a passphrase does not open a key. A damaged key file
// looks the same.
var ErrPassphrase = errors.New("wrong passphrase")

// maxIterations bounds what a key file can make us compute: some seconds.
const maxIterations = 10_000_000

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidHMACSHA384 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}
	oidHMACSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}
	oidAES128CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// The structures of RFC 5958 and RFC 8018, appendix A.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2Params struct {
	KDF    pkix.AlgorithmIdentifier
	Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// ParseEncrypted is [ParsePrivate] for a key under a passphrase, in the form
// that OpenSSL and Python write by default: PKCS#8 with PBES2, PBKDF2 and AES
// in CBC mode. A key that is not encrypted is read too; the passphrase is then
// not used.
func ParseEncrypted(file, passphrase []byte) (crypto.Signer, error) {
	block, err := findBlock(file, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return ParsePrivate(file)
	}
	der, err := decryptPBES2(block.Bytes, passphrase)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, ErrPassphrase // the padding was right by chance
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

func decryptPBES2(der, passphrase []byte) ([]byte, error) {
	var outer encryptedKey
	if err := unmarshal(der, &outer); err != nil {
		return nil, err
	}
	if !outer.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("%w: encrypted by %s, want PBES2", ErrUnsupported, outer.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshal(outer.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	keyLength, iv, err := cipherOf(params.Cipher)
	if err != nil {
		return nil, err
	}
	key, err := derive(params.KDF, passphrase, keyLength)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(outer.Data) == 0 || len(outer.Data)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no whole number of blocks", ErrUnsupported, len(outer.Data))
	}
	plain := make([]byte, len(outer.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, outer.Data)
	return unpad(plain)
}

func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing bytes")
	}
	if err != nil {
		return fmt.Errorf("encrypted key: %w", err)
	}
	return nil
}

func cipherOf(alg pkix.AlgorithmIdentifier) (keyLength int, iv []byte, err error) {
	switch {
	case alg.Algorithm.Equal(oidAES128CBC):
		keyLength = 16
	case alg.Algorithm.Equal(oidAES192CBC):
		keyLength = 24
	case alg.Algorithm.Equal(oidAES256CBC):
		keyLength = 32
	default:
		return 0, nil, fmt.Errorf("%w: encrypted by %s, want AES-CBC", ErrUnsupported, alg.Algorithm)
	}
	if err := unmarshal(alg.Parameters.FullBytes, &iv); err != nil {
		return 0, nil, err
	}
	if len(iv) != aes.BlockSize {
		return 0, nil, fmt.Errorf("%w: an initialisation vector of %d bytes", ErrUnsupported, len(iv))
	}
	return keyLength, iv, nil
}

func derive(alg pkix.AlgorithmIdentifier, passphrase []byte, keyLength int) ([]byte, error) {
	if !alg.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("%w: key derived by %s, want PBKDF2", ErrUnsupported, alg.Algorithm)
	}
	var params pbkdf2Params
	if err := unmarshal(alg.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	if params.Iterations < 1 || params.Iterations > maxIterations {
		return nil, fmt.Errorf("%w: %d iterations, from 1 to %d are allowed", ErrUnsupported, params.Iterations, maxIterations)
	}
	if params.KeyLength != 0 && params.KeyLength != keyLength {
		return nil, fmt.Errorf("%w: a key of %d bytes for a cipher of %d", ErrUnsupported, params.KeyLength, keyLength)
	}
	var h func() hash.Hash
	switch prf := params.PRF.Algorithm; {
	case len(prf) == 0 || prf.Equal(oidHMACSHA1):
		h = sha1.New
	case prf.Equal(oidHMACSHA256):
		h = sha256.New
	case prf.Equal(oidHMACSHA384):
		h = sha512.New384
	case prf.Equal(oidHMACSHA512):
		h = sha512.New
	default:
		return nil, fmt.Errorf("%w: key derived with %s", ErrUnsupported, prf)
	}
	return pbkdf2.Key(h, string(passphrase), params.Salt, params.Iterations, keyLength)
}

// unpad removes the padding of PKCS#7. The key file is the caller's own, so
// nobody measures which byte was wrong.
func unpad(b []byte) ([]byte, error) {
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, ErrPassphrase
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, ErrPassphrase
		}
	}
	return b[:len(b)-n], nil
}
