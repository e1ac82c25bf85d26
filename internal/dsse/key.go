package dsse

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/strictjson"
)

// Digest hashes what an ECDSA key on this curve signs: SHA-256 for P-256,
// SHA-384 for P-384, SHA-512 for P-521.
func Digest(pub *ecdsa.PublicKey, signed []byte) (crypto.Hash, []byte) {
	switch pub.Curve.Params().BitSize {
	case 384:
		sum := sha512.Sum384(signed)
		return crypto.SHA384, sum[:]
	case 521:
		sum := sha512.Sum512(signed)
		return crypto.SHA512, sum[:]
	}
	sum := sha256.Sum256(signed)
	return crypto.SHA256, sum[:]
}

// Sign signs the encoding of a payload with an ECDSA or Ed25519 key. A key in
// memory signs the same bytes the same way each time (RFC 6979); another
// crypto.Signer is given a random source.
func Sign(key crypto.Signer, payloadType string, payload []byte) ([]byte, error) {
	signed := PAE(payloadType, payload)
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		hash, sum := Digest(pub, signed)
		if local, ok := key.(*ecdsa.PrivateKey); ok {
			return local.Sign(nil, sum, hash)
		}
		return key.Sign(rand.Reader, sum, hash)
	case ed25519.PublicKey:
		return key.Sign(rand.Reader, signed, crypto.Hash(0))
	default:
		return nil, fmt.Errorf("%w: %T", ErrUnsupported, pub)
	}
}

// VerifySignature checks one signature over the encoding of a payload.
func VerifySignature(pub crypto.PublicKey, payloadType string, payload, sig []byte) error {
	signed := PAE(payloadType, payload)
	var ok bool
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		_, sum := Digest(pub, signed)
		ok = ecdsa.VerifyASN1(pub, sum, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, signed, sig)
	default:
		return fmt.Errorf("%w: %T", ErrUnsupported, pub)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// A KeySigner signs with one key and makes bundles of method key. It is safe
// for concurrent use if the key is.
type KeySigner struct {
	key  crypto.Signer
	hint string
}

// NewKeySigner checks that the key can sign here: ECDSA on P-256, P-384 or
// P-521, or Ed25519.
func NewKeySigner(key crypto.Signer) (*KeySigner, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: no key", ErrUnsupported)
	}
	hint, err := usable(key.Public())
	if err != nil {
		return nil, err
	}
	return &KeySigner{key, hint}, nil
}

func usable(pub crypto.PublicKey) (hint string, err error) {
	switch pub.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return "", fmt.Errorf("%w: %T", ErrUnsupported, pub)
	}
	if err := keys.Check(pub); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return keys.Hint(pub)
}

// Sign implements [prerun.Signer].
func (s *KeySigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sig, err := Sign(s.key, payloadType, payload)
	if err != nil {
		return nil, err
	}
	b := Bundle{
		MediaType: MediaType,
		Material:  Material{PublicKey: &PublicKey{Hint: s.hint}},
		Envelope:  Envelope{payloadType, payload, []Signature{{Sig: sig}}},
	}
	return b.Encode(), nil
}

// A KeyVerifier trusts one key. It is safe for concurrent use.
type KeyVerifier struct {
	pub  crypto.PublicKey
	hint string
	id   string
}

// NewKeyVerifier checks that the key can be verified with here.
func NewKeyVerifier(pub crypto.PublicKey) (*KeyVerifier, error) {
	hint, err := usable(pub)
	if err != nil {
		return nil, err
	}
	id, err := keys.ID(pub)
	if err != nil {
		return nil, err
	}
	return &KeyVerifier{pub, hint, id}, nil
}

// Verify implements [prerun.Verifier]. It takes a bundle of method key, which
// must carry exactly one signature, or a bare DSSE envelope, one of whose
// signatures must be this key's. Errors wrap [ErrMalformed], [ErrKey] where the
// bundle names another key, [ErrSignature], or [ErrUnsupported] for a bundle of
// another method.
func (v *KeyVerifier) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tree, err := strictjson.Parse(bundle, bundleLimits)
	if err != nil {
		return nil, malformed(err)
	}
	if tree.Get("payloadType") != nil {
		env, err := envelopeOf(tree, strictjson.Options{AllowUnknown: true})
		if err != nil {
			return nil, err
		}
		return v.verify(env, nil)
	}
	b, err := bundleOf(tree)
	if err != nil {
		return nil, err
	}
	return v.verifyBundle(b)
}

func (v *KeyVerifier) verifyBundle(b *Bundle) (*prerun.Signed, error) {
	switch {
	case b.MediaType != MediaType:
		return nil, fmt.Errorf("%w: media type %q", ErrMalformed, b.MediaType)
	case b.Material.PublicKey == nil:
		return nil, fmt.Errorf("%w: a certificate, where a key was asked for", ErrUnsupported)
	case len(b.Envelope.Signatures) != 1:
		return nil, fmt.Errorf("%w: %d signatures in a bundle, want one", ErrMalformed, len(b.Envelope.Signatures))
	}
	named := b.Material.PublicKey
	var warnings []string
	switch {
	case named.RawPEM != nil:
		pub, err := keys.ParsePublic(named.RawPEM)
		if err != nil {
			return nil, fmt.Errorf("%w: publicKey: %w", ErrMalformed, err)
		}
		if !keys.Equal(pub, v.pub) {
			return nil, ErrKey
		}
		warnings = append(warnings, "the key is embedded in its legacy form")
	case named.Hint == "":
		warnings = append(warnings, "the bundle does not name its key")
	case named.Hint != v.hint:
		return nil, fmt.Errorf("%w: the bundle names %q", ErrKey, named.Hint)
	}
	return v.verify(&b.Envelope, warnings)
}

func (v *KeyVerifier) verify(env *Envelope, warnings []string) (*prerun.Signed, error) {
	err := ErrSignature
	for _, s := range env.Signatures {
		if err = VerifySignature(v.pub, env.PayloadType, env.Payload, s.Sig); err == nil {
			return &prerun.Signed{
				PayloadType: env.PayloadType,
				Payload:     env.Payload,
				Method:      "key",
				Signer:      v.id,
				Warnings:    warnings,
			}, nil
		}
	}
	return nil, err
}
