package integrity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
)

// maxCertificates bounds the certificates of one file: system trust stores
// have some hundreds.
const maxCertificates = 1000

// ParseCertificates reads the certificates of a PEM file, in order. Other text
// and other blocks are passed over; a file without a certificate is an error.
func ParseCertificates(file []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(out) == maxCertificates {
			return nil, fmt.Errorf("more than %d certificates", maxCertificates)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM block with a certificate")
	}
	return out, nil
}

// A CertificateSigner signs with a key and makes bundles of method certificate.
// It is a [prerun.Signer], and safe for concurrent use if the key is.
type CertificateSigner struct{ s *dsse.CertificateSigner }

// NewCertificateSigner takes an ECDSA key, the certificate of that key, and the
// certificates that lead from it to a root. The certificate must be for digital
// signatures or code signing. It does not check the chain: only a verifier
// knows what it trusts.
func NewCertificateSigner(key crypto.Signer, leaf *x509.Certificate, chain ...*x509.Certificate) (*CertificateSigner, error) {
	return KeyPolicy{}.CertificateSigner(key, leaf, chain...)
}

// CertificateSigner is [NewCertificateSigner] for the keys of the policy.
func (p KeyPolicy) CertificateSigner(key crypto.Signer, leaf *x509.Certificate, chain ...*x509.Certificate) (*CertificateSigner, error) {
	if leaf == nil {
		return nil, newError(ErrUnsupported, "", "no certificate")
	}
	s, err := dsse.Kinds(p).NewCertificateSigner(key, append([]*x509.Certificate{leaf}, chain...))
	if err != nil {
		return nil, trustError(err)
	}
	return &CertificateSigner{s}, nil
}

// Sign implements [prerun.Signer], as [KeySigner.Sign] does.
func (s *CertificateSigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	if s.s == nil {
		return nil, noKey()
	}
	return signed(s.s.Sign(ctx, payloadType, payload))
}

// A CertificateVerifier trusts bundles of method certificate whose certificate
// leads to one of the roots, by certificates that were valid when it signed.
// That is at each time that Times proves, or else now: without a timestamp
// authority that vouches for an earlier time, now is the only time that is
// known, and a signature ends with its certificate. It is a [prerun.Verifier],
// safe for concurrent use.
//
// Revocation is not checked: the check would need the network.
type CertificateVerifier struct {
	Roots         []*x509.Certificate // trusted; none at all is an error
	Intermediates []*x509.Certificate // help to find the way from leaf to root

	// Keys are the keys that may sign. Those of authorities are not judged by
	// their kind, only by their strength.
	Keys KeyPolicy

	// Accept is a further condition on the signer's certificate, such as its
	// name; nil accepts every signer that the roots vouch for.
	Accept func(leaf *x509.Certificate) error

	// Times proves the time of signing by the timestamps of a bundle; nil leaves
	// them alone. Those that do not count are named in the warnings.
	Times TimeVerifier

	// RequireTime refuses a bundle of which no time is proven, however valid
	// its certificates are now.
	RequireTime bool

	Now func() time.Time // nil means time.Now

	// InsecureAtNotBefore asks, where no time is proven, whether the chain was
	// valid when the signer's certificate began to be, as the Python tool does
	// until 1.1.1: an expired certificate passes, however old.
	InsecureAtNotBefore bool
}

// NewCertificateVerifier sorts certificates into roots, which sign themselves,
// and intermediates. It fails when there is no root among them.
func NewCertificateVerifier(certs ...*x509.Certificate) (*CertificateVerifier, error) {
	v := new(CertificateVerifier)
	for i, c := range certs {
		if c == nil {
			return nil, fmt.Errorf("certificate %d is nil", i)
		}
		// An issuer of the same name is not enough: it may be another key's.
		if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			v.Roots = append(v.Roots, c)
		} else {
			v.Intermediates = append(v.Intermediates, c)
		}
	}
	if len(v.Roots) == 0 {
		return nil, errors.New("no root certificate: none of the certificates signs itself")
	}
	return v, nil
}

// Verify implements [prerun.Verifier]. A bundle of another method is an
// [ErrUntrusted], as is a certificate without a valid chain.
func (v *CertificateVerifier) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		return nil, trustError(err)
	}
	return v.verifyParsed(ctx, b)
}

func (v *CertificateVerifier) verifyParsed(ctx context.Context, b *dsse.Bundle) (*prerun.Signed, error) {
	return v.verify(ctx, b, (*dsse.ChainPolicy).Verify)
}

// VerifyV02 is [CertificateVerifier.Verify] for the signatures of version 0.2
// of the Python tool, which [Verifier.InsecureAcceptV02] asks for.
func (v *CertificateVerifier) VerifyV02(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		return nil, trustError(err)
	}
	return v.verify(ctx, b, (*dsse.ChainPolicy).VerifyV02)
}

func (v *CertificateVerifier) verify(ctx context.Context, b *dsse.Bundle, verify func(*dsse.ChainPolicy, *dsse.Bundle) (*prerun.Signed, error)) (*prerun.Signed, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if got := methodOf(b); got != MethodCertificate {
		return nil, newError(ErrUntrusted, "", "signed by method %s, and a certificate was asked for", got)
	}
	times, warnings, err := proveTimes(ctx, v.Times, v.RequireTime, b)
	if err != nil {
		return nil, err
	}
	at := []func(*x509.Certificate) time.Time{v.at}
	if len(times) > 0 {
		at = nil
	}
	for _, t := range distinct(times) {
		at = append(at, func(*x509.Certificate) time.Time { return t })
	}
	var signed *prerun.Signed
	for _, at := range at {
		policy := &dsse.ChainPolicy{Kinds: dsse.Kinds(v.Keys), Roots: v.Roots, Intermediates: v.Intermediates, Leaf: v.Accept, At: at}
		if signed, err = verify(policy, b); err != nil {
			return nil, trustError(err)
		}
	}
	leaf, err := x509.ParseCertificate(signed.Chain[0])
	if err != nil {
		return nil, newError(ErrBundle, "", "certificate: %v", err)
	}
	return timed(signed, times, warnings, beyond(leaf.PublicKey), otherUse(leaf)), nil
}

// otherUse says that a certificate names uses and signing code is none of them.
// The specification lets it pass when it is for digital signatures, as a web
// server's is.
func otherUse(leaf *x509.Certificate) string {
	known := leaf.ExtKeyUsage
	if len(known) == 0 || len(leaf.UnknownExtKeyUsage) > 0 ||
		slices.Contains(known, x509.ExtKeyUsageCodeSigning) || slices.Contains(known, x509.ExtKeyUsageAny) {
		return ""
	}
	return "the certificate is for other uses than signing code or models"
}

func (v *CertificateVerifier) at(leaf *x509.Certificate) time.Time {
	switch {
	case v.InsecureAtNotBefore:
		return leaf.NotBefore
	case v.Now != nil:
		return v.Now()
	}
	return time.Now()
}
