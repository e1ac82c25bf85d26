package dsse

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 too
	"encoding/asn1"
	"fmt"
	"math/big"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/strictjson"
)

// Digest hashes what an ECDSA key on this curve signs, which may come in parts:
// SHA-256 for P-256, SHA-384 for P-384, SHA-512 for P-521.
func Digest(pub *ecdsa.PublicKey, signed ...[]byte) (crypto.Hash, []byte) {
	hash := crypto.SHA256
	switch pub.Curve.Params().BitSize {
	case 384:
		hash = crypto.SHA384
	case 521:
		hash = crypto.SHA512
	}
	h := hash.New()
	for _, part := range signed {
		h.Write(part)
	}
	return hash, h.Sum(nil)
}

// Kinds are the kinds of keys that count besides ECDSA on P-256, P-384 and
// P-521, which always do.
type Kinds struct{ Ed25519, RSA bool }

// Check refuses keys of other kinds, and weak ones.
func (k Kinds) Check(pub crypto.PublicKey) error {
	ok := false
	switch pub.(type) {
	case *ecdsa.PublicKey:
		ok = true
	case ed25519.PublicKey:
		ok = k.Ed25519
	case *rsa.PublicKey:
		ok = k.RSA
	}
	if !ok {
		return fmt.Errorf("%w: %s, want ECDSA on P-256, P-384 or P-521", ErrUnsupported, keys.Name(pub))
	}
	if err := keys.Check(pub); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

// A contextSigner is a crypto.Signer whose signing can be cancelled.
type contextSigner interface {
	SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// Sign signs the encoding of a payload: ECDSA by the hash of its curve, Ed25519
// over the bytes themselves, RSA by PKCS #1 v1.5 and SHA-256. A key in memory
// signs the same bytes the same way each time (ECDSA by RFC 6979); another
// crypto.Signer is given a random source, or, if it has SignContext, the
// context.
//
// A signature that the key's own public half does not verify is an
// [ErrSignature]: a token or service may be broken, or hold another key. An
// ECDSA signature may come as r and s side by side, as tokens and some services
// have it; what is returned is ASN.1.
func Sign(ctx context.Context, key crypto.Signer, payloadType string, payload []byte) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	signed := PAE(payloadType, payload)
	pub := key.Public()
	hash, digest := crypto.SHA256, []byte(nil)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		hash, digest = Digest(pub, signed)
	case ed25519.PublicKey:
		hash, digest = 0, signed
	case *rsa.PublicKey:
		sum := sha256.Sum256(signed)
		digest = sum[:]
	default:
		return nil, fmt.Errorf("%w: %s", ErrUnsupported, keys.Name(pub))
	}
	sig, err := signDigest(ctx, key, digest, hash)
	switch {
	case ctx.Err() != nil: // whatever a signer made of it
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	if pub, ok := pub.(*ecdsa.PublicKey); ok && !ecdsa.VerifyASN1(pub, digest, sig) {
		sig = joinedToASN1(pub, sig)
	}
	if err := verifySignature(pub, signed, sig); err != nil {
		return nil, fmt.Errorf("%w: what the signer returned is not by its key", err)
	}
	return sig, nil
}

func signDigest(ctx context.Context, key crypto.Signer, digest []byte, hash crypto.Hash) ([]byte, error) {
	switch key := key.(type) {
	case contextSigner:
		return key.SignContext(ctx, digest, hash)
	case *ecdsa.PrivateKey:
		return key.Sign(nil, digest, hash)
	}
	return key.Sign(rand.Reader, digest, hash)
}

// joinedToASN1 encodes r and s, each as long as the curve's order, as a
// SEQUENCE. Anything else comes back as it is.
func joinedToASN1(pub *ecdsa.PublicKey, sig []byte) []byte {
	n := (pub.Curve.Params().N.BitLen() + 7) / 8
	if len(sig) != 2*n {
		return sig
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
	if err != nil {
		panic("two integers always marshal: " + err.Error())
	}
	return der
}

// VerifySignature checks one signature over the encoding of a payload: by
// ECDSA, Ed25519, or RSA with SHA-256 and either padding (PKCS #1 v1.5, PSS).
func VerifySignature(pub crypto.PublicKey, payloadType string, payload, sig []byte) error {
	if pub, ok := pub.(*ecdsa.PublicKey); ok { // without a copy of the payload
		_, sum := Digest(pub, appendPreamble(nil, payloadType, payload), payload)
		if !ecdsa.VerifyASN1(pub, sum, sig) {
			return ErrSignature
		}
		return nil
	}
	return verifySignature(pub, PAE(payloadType, payload), sig)
}

func verifySignature(pub crypto.PublicKey, signed, sig []byte) error {
	var ok bool
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		_, sum := Digest(pub, signed)
		ok = ecdsa.VerifyASN1(pub, sum, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, signed, sig)
	case *rsa.PublicKey:
		sum := sha256.Sum256(signed)
		ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil ||
			rsa.VerifyPSS(pub, crypto.SHA256, sum[:], sig, nil) == nil
	default:
		return fmt.Errorf("%w: %s", ErrUnsupported, keys.Name(pub))
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
	return Kinds{Ed25519: true}.NewKeySigner(key)
}

// NewKeySigner takes a key of these kinds.
func (k Kinds) NewKeySigner(key crypto.Signer) (*KeySigner, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: no key", ErrUnsupported)
	}
	if err := k.Check(key.Public()); err != nil {
		return nil, err
	}
	hint, err := keys.Hint(key.Public())
	if err != nil {
		return nil, err
	}
	return &KeySigner{key, hint}, nil
}

// Sign implements [prerun.Signer].
func (s *KeySigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	sig, err := Sign(ctx, s.key, payloadType, payload)
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

// NewKeyVerifier checks that the key can be verified with here: ECDSA or
// Ed25519.
func NewKeyVerifier(pub crypto.PublicKey) (*KeyVerifier, error) {
	return Kinds{Ed25519: true}.NewKeyVerifier(pub)
}

// NewKeyVerifier takes a key of these kinds.
func (k Kinds) NewKeyVerifier(pub crypto.PublicKey) (*KeyVerifier, error) {
	if err := k.Check(pub); err != nil {
		return nil, err
	}
	hint, err := keys.Hint(pub)
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
	return v.VerifyBundle(b)
}

// VerifyBundle is [KeyVerifier.Verify] for a bundle that was parsed already.
func (v *KeyVerifier) VerifyBundle(b *Bundle) (*prerun.Signed, error) {
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
