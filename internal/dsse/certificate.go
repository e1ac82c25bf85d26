package dsse

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
)

// ErrChain is the class of a certificate that nobody trusted vouches for, at
// the time in question, for signing.
var ErrChain = errors.New("certificate is not trusted")

// CheckLeaf refuses a certificate that is not for signing: by its usage it
// needs digital signatures or code signing.
func CheckLeaf(leaf *x509.Certificate) error {
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature != 0 {
		return nil
	}
	if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) {
		return nil
	}
	return fmt.Errorf("%w: it is neither for digital signatures nor for code signing", ErrChain)
}

// A CertificateSigner signs with a key and makes bundles of method certificate.
type CertificateSigner struct {
	key   crypto.Signer
	chain [][]byte
}

// NewCertificateSigner takes a key of these kinds and its certificate, followed
// by those that lead to the root, which need not be among them.
func (k Kinds) NewCertificateSigner(key crypto.Signer, chain []*x509.Certificate) (*CertificateSigner, error) {
	if key == nil || len(chain) == 0 {
		return nil, fmt.Errorf("%w: no key or no certificate", ErrUnsupported)
	}
	if len(chain) > MaxCertificates {
		return nil, fmt.Errorf("%w: %d certificates, the limit is %d", ErrUnsupported, len(chain), MaxCertificates)
	}
	if err := k.Check(chain[0].PublicKey); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if !keys.Equal(key.Public(), chain[0].PublicKey) {
		return nil, fmt.Errorf("%w: the first certificate is of another key", ErrKey)
	}
	if err := CheckLeaf(chain[0]); err != nil {
		return nil, err
	}
	s := &CertificateSigner{key: key}
	for _, c := range chain {
		s.chain = append(s.chain, bytes.Clone(c.Raw))
	}
	return s, nil
}

// Sign implements [prerun.Signer].
func (s *CertificateSigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	sig, err := Sign(ctx, s.key, payloadType, payload)
	if err != nil {
		return nil, err
	}
	b := Bundle{
		MediaType: MediaType,
		Material:  Material{Chain: s.chain},
		Envelope:  Envelope{payloadType, payload, []Signature{{Sig: sig}}},
	}
	return b.Encode(), nil
}

// A ChainPolicy says which certificates are trusted, and when.
type ChainPolicy struct {
	Kinds         Kinds // of the leaf's key
	Roots         []*x509.Certificate
	Intermediates []*x509.Certificate                    // helpful, not trusted
	Leaf          func(c *x509.Certificate) error        // a further condition; nil has none
	At            func(leaf *x509.Certificate) time.Time // the time in question
}

// verify asks first who signed, and then whether: a good signature by anybody
// is no news.
func (p *ChainPolicy) verify(b *Bundle, check func(pub crypto.PublicKey, env *Envelope) error) (*prerun.Signed, error) {
	raw := b.Material.Chain
	if b.Material.Certificate != nil {
		raw = [][]byte{b.Material.Certificate}
	}
	switch {
	case b.MediaType != MediaType:
		return nil, fmt.Errorf("%w: media type %q", ErrMalformed, b.MediaType)
	case len(raw) == 0:
		return nil, fmt.Errorf("%w: a key, where a certificate was asked for", ErrUnsupported)
	case len(b.Envelope.Signatures) != 1:
		return nil, fmt.Errorf("%w: %d signatures in a bundle, want one", ErrMalformed, len(b.Envelope.Signatures))
	}
	var certs []*x509.Certificate
	for i, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrMalformed, i, err)
		}
		certs = append(certs, c)
	}
	leaf := certs[0]
	if err := p.Kinds.Check(leaf.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	chain, err := p.chain(leaf, certs[1:])
	if err != nil {
		return nil, err
	}
	if err := check(leaf.PublicKey, &b.Envelope); err != nil {
		return nil, err
	}
	signed := &prerun.Signed{
		PayloadType: b.Envelope.PayloadType,
		Payload:     b.Envelope.Payload,
		Method:      "certificate",
		Signer:      nameOf(leaf),
		Issuer:      leaf.Issuer.String(),
	}
	for _, c := range chain {
		signed.Chain = append(signed.Chain, c.Raw)
	}
	return signed, nil
}

// nameOf is the certificate's subject, or its fingerprint where it has none.
func nameOf(c *x509.Certificate) string {
	if name := c.Subject.String(); name != "" {
		return name
	}
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (p *ChainPolicy) chain(leaf *x509.Certificate, others []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(p.Roots) == 0 {
		return nil, errors.New("no trusted root was given")
	}
	roots, pool := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range p.Roots {
		roots.AddCert(c)
	}
	for _, c := range others {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > keys.MaxRSA {
			continue // costs time and leads nowhere
		}
		pool.AddCert(c)
	}
	for _, c := range p.Intermediates {
		pool.AddCert(c)
	}
	// The default asks for a web server's certificate; CheckLeaf asks for what a
	// signer needs. What is certified for code signing must be so all the way.
	usage := x509.ExtKeyUsageAny
	if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) {
		usage = x509.ExtKeyUsageCodeSigning
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: pool,
		CurrentTime:   p.At(leaf),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if err := CheckLeaf(leaf); err != nil {
		return nil, err
	}
	chain, err := strongest(chains)
	if err != nil {
		return nil, err
	}
	if p.Leaf != nil {
		if err := p.Leaf(leaf); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrChain, err)
		}
	}
	return chain, nil
}

// strongest is the first chain without a key that can be broken. The standard
// library refuses SHA-1 and MD5, but no short RSA key of an authority.
func strongest(chains [][]*x509.Certificate) ([]*x509.Certificate, error) {
	var err error
	for _, chain := range chains {
		weak := slices.IndexFunc(chain, func(c *x509.Certificate) bool {
			k, ok := c.PublicKey.(*rsa.PublicKey)
			return ok && k.N.BitLen() < keys.MinRSA
		})
		if weak < 0 {
			return chain, nil
		}
		if err == nil {
			bits := chain[weak].PublicKey.(*rsa.PublicKey).N.BitLen()
			err = fmt.Errorf("%w: certificate %q has an RSA key of %d bits", ErrChain, nameOf(chain[weak]), bits)
		}
	}
	return nil, err
}

// Verify checks a parsed bundle of method certificate. Errors wrap
// [ErrMalformed], [ErrChain], [ErrSignature] or [ErrUnsupported].
func (p *ChainPolicy) Verify(b *Bundle) (*prerun.Signed, error) {
	return p.verify(b, func(pub crypto.PublicKey, env *Envelope) error {
		return VerifySignature(pub, env.PayloadType, env.Payload, env.Signatures[0].Sig)
	})
}

// VerifyV02 is [ChainPolicy.Verify] for what version 0.2.0 of the Python tool
// wrote: it signed, by SHA-256 whatever the key, an encoding that was meant to
// be [PAE] and has the Python notation of the payload in place of the payload.
func (p *ChainPolicy) VerifyV02(b *Bundle) (*prerun.Signed, error) {
	return p.verify(b, func(pub crypto.PublicKey, env *Envelope) error {
		sum := sha256.Sum256(encodeV02(env.PayloadType, env.Payload))
		if pub, ok := pub.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(pub, sum[:], env.Signatures[0].Sig) {
			return ErrSignature
		}
		return nil
	})
}

func encodeV02(payloadType string, payload []byte) []byte {
	out := fmt.Appendf(nil, "DSSEV1 %d %s %s b'", len(payloadType), payloadType, strconv.Itoa(len(payload)))
	for _, c := range payload {
		switch {
		case c == '\\' || c == '\'':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < 0x20 || c >= 0x7f:
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '\'')
}
