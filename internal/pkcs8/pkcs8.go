// Package pkcs8 opens private keys that lie under a passphrase.
//
// It reads PKCS#8 with PBES2, as OpenSSL, Python and Java write it: keys
// derived by PBKDF2 or scrypt, AES or triple DES in CBC mode. Triple DES is for
// old files; reading one weakens nothing that is not weak already. What a file
// can make us compute is bounded: 10 million iterations, or 64 MiB.
package pkcs8

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1" // the default of PBKDF2 in RFC 8018
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"

	"github.com/prerun/prerun/internal/keys"
)

// ErrPassphrase says that a passphrase does not open a key. A damaged key file
// looks the same.
var ErrPassphrase = errors.New("wrong passphrase")

// bounds are on what a key file can make us compute.
type bounds struct{ iterations, memory int }

var usual = bounds{10_000_000, 64 << 20} // some seconds

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidHMACSHA384 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}
	oidHMACSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}
	oidAES128CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidDES3CBC    = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
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

// Parse is [keys.ParsePrivate] for a key under a passphrase. A key that is not
// encrypted is read too; the passphrase is then not used.
func Parse(file, passphrase []byte) (crypto.Signer, error) { return usual.parse(file, passphrase) }

func (b bounds) parse(file, passphrase []byte) (crypto.Signer, error) {
	plain, err := keys.ParsePrivate(file)
	if !errors.Is(err, keys.ErrEncrypted) {
		return plain, err
	}
	block, err := keys.PrivateBlock(file)
	if err != nil {
		return nil, err
	}
	der, err := b.decrypt(block, passphrase)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, ErrPassphrase // the padding was right by chance
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T", keys.ErrUnsupported, key)
	}
	if err := keys.Check(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

func (b bounds) decrypt(block *pem.Block, passphrase []byte) ([]byte, error) {
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return nil, fmt.Errorf("%w: encrypted by headers of its PEM block, whose passphrases are quickly guessed; convert it to PKCS#8", keys.ErrUnsupported)
	}
	var outer encryptedKey
	if err := unmarshal(block.Bytes, &outer); err != nil {
		return nil, err
	}
	if !outer.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("%w: encrypted by %s, want PBES2", keys.ErrUnsupported, outer.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshal(outer.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	c, iv, err := cipherOf(params.Cipher)
	if err != nil {
		return nil, err
	}
	if len(outer.Data) == 0 || len(outer.Data)%c.blockSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no whole number of blocks", keys.ErrUnsupported, len(outer.Data))
	}
	key, err := b.derive(params.KDF, passphrase, c.keyLength)
	if err != nil {
		return nil, err
	}
	opened, err := c.open(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(outer.Data))
	cipher.NewCBCDecrypter(opened, iv).CryptBlocks(plain, outer.Data)
	return unpad(plain, c.blockSize)
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

// A blockCipher is a cipher in CBC mode.
type blockCipher struct {
	keyLength, blockSize int
	open                 func(key []byte) (cipher.Block, error)
}

func cipherOf(alg pkix.AlgorithmIdentifier) (c blockCipher, iv []byte, err error) {
	switch {
	case alg.Algorithm.Equal(oidAES128CBC):
		c = blockCipher{16, aes.BlockSize, aes.NewCipher}
	case alg.Algorithm.Equal(oidAES192CBC):
		c = blockCipher{24, aes.BlockSize, aes.NewCipher}
	case alg.Algorithm.Equal(oidAES256CBC):
		c = blockCipher{32, aes.BlockSize, aes.NewCipher}
	case alg.Algorithm.Equal(oidDES3CBC):
		c = blockCipher{24, des.BlockSize, des.NewTripleDESCipher}
	default:
		return c, nil, fmt.Errorf("%w: encrypted by %s, want AES or triple DES", keys.ErrUnsupported, alg.Algorithm)
	}
	if err := unmarshal(alg.Parameters.FullBytes, &iv); err != nil {
		return c, nil, err
	}
	if len(iv) != c.blockSize {
		return c, nil, fmt.Errorf("%w: an initialisation vector of %d bytes", keys.ErrUnsupported, len(iv))
	}
	return c, iv, nil
}

func (b bounds) derive(alg pkix.AlgorithmIdentifier, passphrase []byte, keyLength int) ([]byte, error) {
	switch {
	case alg.Algorithm.Equal(oidPBKDF2):
		return b.deriveByHash(alg, passphrase, keyLength)
	case alg.Algorithm.Equal(oidScrypt):
		return b.deriveByMemory(alg, passphrase, keyLength)
	}
	return nil, fmt.Errorf("%w: key derived by %s, want PBKDF2 or scrypt", keys.ErrUnsupported, alg.Algorithm)
}

// deriveByMemory is scrypt, as RFC 7914 has it in PKCS#8.
func (b bounds) deriveByMemory(alg pkix.AlgorithmIdentifier, passphrase []byte, keyLength int) ([]byte, error) {
	var params struct {
		Salt      []byte
		N, R, P   int
		KeyLength int `asn1:"optional"`
	}
	if err := unmarshal(alg.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	// Each factor alone first, so that their product cannot overflow.
	if n, r, p := params.N, params.R, params.P; n < 2 || n&(n-1) != 0 || n > b.memory/128 || r < 1 || r > b.memory/128/n || p < 1 || p > 16 {
		return nil, fmt.Errorf("%w: scrypt with N=%d, r=%d, p=%d; %d bytes and 16 passes are allowed", keys.ErrUnsupported, n, r, p, b.memory)
	}
	if params.KeyLength != 0 && params.KeyLength != keyLength {
		return nil, fmt.Errorf("%w: a key of %d bytes for a cipher of %d", keys.ErrUnsupported, params.KeyLength, keyLength)
	}
	return scrypt.Key(passphrase, params.Salt, params.N, params.R, params.P, keyLength)
}

func (b bounds) deriveByHash(alg pkix.AlgorithmIdentifier, passphrase []byte, keyLength int) ([]byte, error) {
	var params pbkdf2Params
	if err := unmarshal(alg.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	if params.Iterations < 1 || params.Iterations > b.iterations {
		return nil, fmt.Errorf("%w: %d iterations, from 1 to %d are allowed", keys.ErrUnsupported, params.Iterations, b.iterations)
	}
	if params.KeyLength != 0 && params.KeyLength != keyLength {
		return nil, fmt.Errorf("%w: a key of %d bytes for a cipher of %d", keys.ErrUnsupported, params.KeyLength, keyLength)
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
		return nil, fmt.Errorf("%w: key derived with %s", keys.ErrUnsupported, prf)
	}
	return pbkdf2.Key(h, string(passphrase), params.Salt, params.Iterations, keyLength)
}

// unpad removes the padding of PKCS#7. The key file is the caller's own, so
// nobody measures which byte was wrong.
func unpad(b []byte, blockSize int) ([]byte, error) {
	n := int(b[len(b)-1])
	if n == 0 || n > blockSize {
		return nil, ErrPassphrase
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, ErrPassphrase
		}
	}
	return b[:len(b)-n], nil
}
