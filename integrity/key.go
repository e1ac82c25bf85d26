package integrity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/pkcs8"
)

// Methods of signing, as [prerun.Signed] names them.
const (
	MethodKey         = "key"
	MethodCertificate = "certificate"
	MethodSigstore    = "sigstore"
)

// ParsePrivateKey reads the first private key of a PEM file: PKCS#8, with or
// without a passphrase, or SEC 1 or PKCS#1 without. Passphrases work on what
// OpenSSL, Python and Java write: PBES2 with PBKDF2 or scrypt, AES or triple DES
// in CBC mode. Without one, nil is given.
//
// Errors wrap [ErrEncrypted], [ErrPassphrase] or, for a key of another kind,
// [ErrUnsupported]; any other says that this is no key file. Work is bounded: 10
// million iterations, or 64 MiB.
func ParsePrivateKey(file, passphrase []byte) (crypto.Signer, error) {
	parse := func() (crypto.Signer, error) { return pkcs8.Parse(file, passphrase) }
	if passphrase == nil {
		parse = func() (crypto.Signer, error) { return keys.ParsePrivate(file) }
	}
	key, err := parse()
	return key, keyError(err)
}

// ParsePublicKey reads the first public key of a PEM file, or the key of its
// first certificate. Text around the blocks is passed over. A key of another
// kind is an [ErrUnsupported].
func ParsePublicKey(file []byte) (crypto.PublicKey, error) {
	pub, err := keys.ParsePublic(file)
	return pub, keyError(err)
}

func keyError(err error) error {
	if errors.Is(err, keys.ErrUnsupported) {
		return &Error{Kind: ErrUnsupported, Err: err}
	}
	return err
}

// A KeySigner signs with a key and makes bundles of method key. It is a
// [prerun.Signer], and safe for concurrent use if the key is.
type KeySigner struct{ s *dsse.KeySigner }

// NewKeySigner takes an ECDSA key on P-256, P-384 or P-521, the only keys that
// the format knows; any other is an [ErrUnsupported]. An *ecdsa.PrivateKey
// signs the same statement the same way each time (RFC 6979). For a key that is
// elsewhere see [NewRemoteSigner].
func NewKeySigner(key crypto.Signer) (*KeySigner, error) { return KeyPolicy{}.KeySigner(key) }

// Sign implements [prerun.Signer]. The signature is verified before it is
// returned; one that the key's public half does not verify is an
// [ErrSignature].
func (s *KeySigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	if s.s == nil {
		return nil, noKey()
	}
	return signed(s.s.Sign(ctx, payloadType, payload))
}

func signed(bundle []byte, err error) ([]byte, error) {
	for _, class := range []struct{ from, to error }{{dsse.ErrSignature, ErrSignature}, {dsse.ErrUnsupported, ErrUnsupported}} {
		if errors.Is(err, class.from) {
			return nil, &Error{Kind: class.to, Err: err}
		}
	}
	return bundle, err
}

// A KeyPolicy says which keys may sign. The zero value has those that the
// specification knows: ECDSA on P-256, P-384 and P-521. The others are as
// sound, but a verifier that follows the specification refuses them, and a
// [Result] reports each as [LenientTrust].
type KeyPolicy struct {
	Ed25519 bool // signs the encoding itself, without a digest
	RSA     bool // of 2048 to 16384 bits; signs by PKCS #1 v1.5 and SHA-256, and verifies PSS too
}

// KeySigner is [NewKeySigner] for the keys of the policy.
func (p KeyPolicy) KeySigner(key crypto.Signer) (*KeySigner, error) {
	s, err := dsse.Kinds(p).NewKeySigner(key)
	if err != nil {
		return nil, unsupported(err)
	}
	return &KeySigner{s}, nil
}

// KeyVerifier is [NewKeyVerifier] for the keys of the policy.
func (p KeyPolicy) KeyVerifier(pub crypto.PublicKey) (*KeyVerifier, error) {
	v, err := dsse.Kinds(p).NewKeyVerifier(pub)
	if err != nil {
		return nil, unsupported(err)
	}
	return &KeyVerifier{v: v, beyond: beyond(pub)}, nil
}

func (p KeyPolicy) check(pub crypto.PublicKey) error {
	if err := dsse.Kinds(p).Check(pub); err != nil {
		return unsupported(err)
	}
	return nil
}

// noKey is the error of zero values.
func noKey() error { return newError(ErrUnsupported, "", "no key") }

// unsupported gives an error of the envelope's its kind, which it says already.
func unsupported(err error) error {
	return newError(ErrUnsupported, "", "%s", strings.TrimPrefix(err.Error(), dsse.ErrUnsupported.Error()+": "))
}

// beyond says what the specification does not know about a key, or "".
func beyond(pub crypto.PublicKey) string {
	if _, ok := pub.(*ecdsa.PublicKey); ok {
		return ""
	}
	return "it is signed with " + keys.Name(pub) + ", and the specification knows ECDSA only"
}

// A KeyVerifier trusts one key, and bundles of method key signed with it. It is
// a [prerun.Verifier], safe for concurrent use.
type KeyVerifier struct {
	// Times proves the time of signing by the timestamps of a bundle; nil leaves
	// them alone. Those that do not count are named in the warnings.
	Times TimeVerifier

	// RequireTime refuses a bundle of which no time is proven.
	RequireTime bool

	v      *dsse.KeyVerifier
	beyond string // see there
}

// NewKeyVerifier takes an ECDSA key on P-256, P-384 or P-521; any other is an
// [ErrUnsupported].
func NewKeyVerifier(pub crypto.PublicKey) (*KeyVerifier, error) { return KeyPolicy{}.KeyVerifier(pub) }

// Verify implements [prerun.Verifier]. A bundle that names another key, or
// another method, is an [ErrUntrusted].
func (v *KeyVerifier) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		return nil, trustError(err)
	}
	return v.verifyParsed(ctx, b)
}

func (v *KeyVerifier) verifyParsed(ctx context.Context, b *dsse.Bundle) (*prerun.Signed, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if v.v == nil {
		return nil, noKey()
	}
	if got := methodOf(b); got != MethodKey {
		return nil, newError(ErrUntrusted, "", "signed by method %s, and a key was asked for", got)
	}
	signed, err := v.v.VerifyBundle(b)
	if err != nil {
		return nil, trustError(err)
	}
	times, warnings, err := proveTimes(ctx, v.Times, v.RequireTime, b)
	if err != nil {
		return nil, err
	}
	return timed(signed, times, warnings, v.beyond), nil
}

func methodOf(b *dsse.Bundle) string {
	switch {
	case b.Material.PublicKey != nil:
		return MethodKey
	case b.Material.Chain != nil:
		return MethodCertificate
	case len(b.Material.LogEntries) > 0:
		return MethodSigstore
	}
	return MethodCertificate
}

// trustError gives an error of a trust verifier its kind. One that has none of
// this package's already, and none of the envelope's, means that trust could
// not be decided.
func trustError(err error) error {
	if Rejected(err) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrRead) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, class := range []struct{ from, to error }{
		{dsse.ErrMalformed, ErrBundle},
		{dsse.ErrSignature, ErrSignature},
		{dsse.ErrKey, ErrUntrusted},
		{dsse.ErrChain, ErrUntrusted},
		{dsse.ErrUnsupported, ErrUnsupported},
	} {
		if errors.Is(err, class.from) {
			return &Error{Kind: class.to, Err: err}
		}
	}
	return fmt.Errorf("trust could not be decided: %w", err)
}
