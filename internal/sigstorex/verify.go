package sigstorex

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/prerun/prerun/internal/dsse"
)

// An Identity says who may sign: a subject, as the issuer of identities
// calls it, and that issuer. Both are needed, each either as it stands or as a
// pattern, an RE2 expression that must match the whole.
type Identity struct {
	Subject, SubjectPattern string
	Issuer, IssuerPattern   string
}

func (id Identity) compile() (verify.CertificateIdentity, error) {
	none := verify.CertificateIdentity{}
	subject, err := anchored("subject", id.Subject, id.SubjectPattern)
	if err != nil {
		return none, err
	}
	issuer, err := anchored("issuer", id.Issuer, id.IssuerPattern)
	if err != nil {
		return none, err
	}
	return verify.NewShortCertificateIdentity(id.Issuer, issuer, id.Subject, subject)
}

// anchored checks that one of the two is given, and makes the pattern match
// whole values only.
func anchored(what, exact, pattern string) (string, error) {
	switch {
	case exact != "" && pattern != "":
		return "", fmt.Errorf("identity: both a %s and a pattern for it", what)
	case exact != "":
		return "", nil
	case pattern == "":
		return "", fmt.Errorf("identity: no %s", what)
	}
	// Parsed alone and written anew: text put between anchors as it stands could
	// escape from them, by parentheses that close more than they open or by \Q,
	// which quotes to the end.
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("identity: %s pattern: %w", what, err)
	}
	text := `\A(?:` + re.String() + `)\z`
	whole, err := regexp.Compile(text)
	switch {
	case err != nil: // the anchors made it too deep
		return "", fmt.Errorf("identity: %s pattern: %w", what, err)
	case whole.MatchString(""):
		return "", fmt.Errorf("identity: %s pattern %q matches even nothing", what, pattern)
	}
	return text, nil
}

// A Policy says what a bundle must show.
type Policy struct {
	Root       *Root
	Identities []Identity // one of them must have signed
	Anyone     bool       // whoever signed, when a signer checks its own work
	NoLog      bool       // a private instance without a transparency log
	NoSCT      bool       // a private instance without certificate transparency
}

// Verified is what a bundle was found to show.
type Verified struct {
	Envelope    *dsse.Envelope
	Certificate certificate.Summary
	Chain       [][]byte             // DER, leaf first
	Times       map[string]time.Time // by the service that vouches
	Warnings    []string
}

// Verify checks a bundle against the policy. Errors wrap a class of this
// package, or say that the policy is none.
func (p *Policy) Verify(ctx context.Context, data []byte) (*Verified, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	check, policy, err := p.compile()
	if err != nil {
		return nil, err
	}
	env, leaf, entity, err := read(data)
	if err != nil {
		return nil, err
	}
	if err := (dsse.Kinds{Ed25519: true}).Check(leaf.PublicKey); err != nil {
		return nil, err
	}
	// First by our own hand: whatever else is wrong, a signature that does not
	// verify is what to say.
	if err := dsse.VerifySignature(leaf.PublicKey, env.PayloadType, env.Payload, env.Signatures[0].Sig); err != nil {
		return nil, err
	}
	result, err := guard(func() (*verify.VerificationResult, error) { return check.Verify(entity, policy) })
	if err != nil {
		return nil, p.diagnose(check, entity, err)
	}
	out := &Verified{Envelope: env, Certificate: *result.Signature.Certificate, Times: make(map[string]time.Time)}
	for _, t := range result.VerifiedTimestamps {
		name := t.URI
		switch {
		case name != "":
		case t.Type == "Tlog":
			name = "transparency log"
		default:
			name = "timestamp authority"
		}
		if old, ok := out.Times[name]; !ok || t.Timestamp.Before(old) {
			out.Times[name] = t.Timestamp.UTC()
		}
		if out.Chain == nil {
			if out.Chain, err = p.chain(entity, t.Timestamp); err != nil {
				return nil, err
			}
		}
	}
	out.Warnings, err = p.unproven(entity, out.Times)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (p *Policy) compile() (*verify.Verifier, verify.PolicyBuilder, error) {
	var none verify.PolicyBuilder
	if p.Root == nil {
		return nil, none, errors.New("no trusted root was given")
	}
	opts := []verify.VerifierOption{verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate()}
	if !p.NoLog {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if !p.NoSCT {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	check, err := verify.NewVerifier(p.Root.material, opts...)
	if err != nil {
		return nil, none, detail{err}
	}
	var who []verify.PolicyOption
	switch {
	case p.Anyone:
		who = append(who, verify.WithoutIdentitiesUnsafe())
	case len(p.Identities) == 0:
		return nil, none, errors.New("no identity was given: anybody can sign with Sigstore")
	}
	for _, id := range p.Identities {
		compiled, err := id.compile()
		if err != nil {
			return nil, none, err
		}
		who = append(who, verify.WithCertificateIdentity(compiled))
	}
	// What was signed is compared by whoever knows the artefact: the model is
	// hashed only after its signature is known to be good.
	return check, verify.NewPolicy(verify.WithoutArtifactUnsafe(), who...), nil
}

// read decodes a bundle twice and insists on one meaning.
func read(data []byte) (*dsse.Envelope, *x509.Certificate, *bundle.Bundle, error) {
	b, err := dsse.ParseBundle(data)
	if err != nil {
		return nil, nil, nil, err
	}
	der, err := leafOf(b)
	if err != nil {
		return nil, nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: certificate: %w", ErrMalformed, err)
	}
	if n := len(b.Envelope.Signatures); n != 1 {
		return nil, nil, nil, fmt.Errorf("%w: %d signatures, want one", ErrMalformed, n)
	}
	entity, err := guard(func() (*bundle.Bundle, error) {
		e := new(bundle.Bundle)
		return e, e.UnmarshalJSON(data)
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrMalformed, detail{err})
	}
	if !agree(b, der, entity) {
		return nil, nil, nil, fmt.Errorf("%w: it can be read in two ways", ErrMalformed)
	}
	return &b.Envelope, leaf, entity, nil
}

// leafOf finds the certificate: until version 0.2 of the bundle it may be the
// first of a chain.
func leafOf(b *dsse.Bundle) ([]byte, error) {
	const old = "application/vnd.dev.sigstore.bundle+json;version="
	legacy := b.MediaType == old+"0.1" || b.MediaType == old+"0.2"
	if !legacy && b.MediaType != dsse.MediaType {
		return nil, fmt.Errorf("%w: media type %q", ErrMalformed, b.MediaType)
	}
	switch {
	case b.Material.Certificate != nil:
		return b.Material.Certificate, nil
	case b.Material.Chain != nil && legacy:
		return b.Material.Chain[0], nil
	case b.Material.Chain != nil:
		return nil, fmt.Errorf("%w: by a long-lived certificate", ErrMethod)
	}
	return nil, fmt.Errorf("%w: by a key", ErrMethod)
}

func agree(b *dsse.Bundle, leaf []byte, entity *bundle.Bundle) bool {
	env, material := entity.GetDsseEnvelope(), entity.GetVerificationMaterial()
	if env == nil || len(env.GetSignatures()) != 1 {
		return false
	}
	content, err := entity.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return false
	}
	return bytes.Equal(env.GetPayload(), b.Envelope.Payload) &&
		env.GetPayloadType() == b.Envelope.PayloadType &&
		bytes.Equal(env.GetSignatures()[0].GetSig(), b.Envelope.Signatures[0].Sig) &&
		bytes.Equal(content.Certificate().Raw, leaf) &&
		len(material.GetTlogEntries()) == len(b.Material.LogEntries) &&
		len(material.GetTimestampVerificationData().GetRfc3161Timestamps()) == len(b.Material.Timestamps)
}

// diagnose finds the class of an error of sigstore-go, which has no classes, by
// repeating its steps one at a time.
func (p *Policy) diagnose(check *verify.Verifier, entity *bundle.Bundle, err error) error {
	class, cause := ErrSignature, err
	switch {
	case errors.Is(err, errPanic):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case isIdentity(err):
		return fmt.Errorf("%w: %s", ErrIdentity, whoSigned(entity))
	}
	_, _ = guard(func() (bool, error) {
		logged, e := check.VerifyTransparencyLogInclusion(entity)
		if e != nil {
			class, cause = ErrLog, e
			if loggedOutside(entity) {
				class = ErrCertificate
			}
			return false, nil
		}
		times, e := check.VerifyObserverTimestamps(entity, logged)
		if e != nil {
			class, cause = ErrTime, e
			return false, nil
		}
		content, e := entity.VerificationContent()
		if e != nil {
			return false, nil
		}
		leaf := content.Certificate()
		leaf.UnhandledCriticalExtensions = nil // of names; the verdict is given already
		for _, t := range times {
			chains, e := verify.VerifyLeafCertificate(t.Timestamp, leaf, p.Root.material)
			if e != nil {
				class, cause = ErrCertificate, e
				return false, nil
			}
			if e := verify.VerifySignedCertificateTimestamp(chains, 1, p.Root.material); e != nil && !p.NoSCT {
				class, cause = ErrSCT, e
				return false, nil
			}
		}
		return true, nil
	})
	return fmt.Errorf("%w: %w", class, detail{cause})
}

// loggedOutside reports whether a log says that it recorded the signature when
// the certificate was not valid.
func loggedOutside(entity *bundle.Bundle) bool {
	entries, err := entity.TlogEntries()
	if err != nil {
		return false
	}
	content, err := entity.VerificationContent()
	if err != nil {
		return false
	}
	leaf := content.Certificate()
	for _, e := range entries {
		if t := e.IntegratedTime(); !t.IsZero() && (t.Before(leaf.NotBefore) || t.After(leaf.NotAfter)) {
			return true
		}
	}
	return false
}

func isIdentity(err error) bool {
	_, ok := errors.AsType[*verify.ErrNoMatchingCertificateIdentity](err)
	return ok
}

func whoSigned(entity *bundle.Bundle) string {
	content, err := entity.VerificationContent()
	if err != nil {
		return oneLine(err)
	}
	summary, err := certificate.SummarizeCertificate(content.Certificate())
	if err != nil {
		return oneLine(err)
	}
	return fmt.Sprintf("%q by issuer %q", summary.SubjectAlternativeName, summary.Issuer)
}

// chain is the way from the leaf to the root, at a proven time.
func (p *Policy) chain(entity *bundle.Bundle, at time.Time) ([][]byte, error) {
	content, err := entity.VerificationContent()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, detail{err})
	}
	leaf := content.Certificate()
	leaf.UnhandledCriticalExtensions = nil // verified with them before
	chains, err := verify.VerifyLeafCertificate(at, leaf, p.Root.material)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, detail{err})
	}
	var out [][]byte
	for _, c := range chains[0] {
		out = append(out, bytes.Clone(c.Raw))
	}
	return out, nil
}

// unproven tells what stands in the bundle and was not counted. It is an error
// when no entry is left: sigstore-go compares the times of logs of version 1
// with the time until which their keys count, but logs of version 2 state none.
func (p *Policy) unproven(entity *bundle.Bundle, proven map[string]time.Time) ([]string, error) {
	var out []string
	entries, err := entity.TlogEntries()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, detail{err})
	}
	counted := 0
	for _, e := range entries {
		switch log, known := p.Root.material.RekorLogs()[hex.EncodeToString([]byte(e.LogKeyID()))]; {
		case p.NoLog:
			out = append(out, "a log entry was not looked at, as the caller asked")
		case !known:
			out = append(out, "an entry of a log that is not trusted does not count")
		case !inService(log, proven):
			out = append(out, "an entry of a log that was not trusted at the time of signing does not count")
		default:
			counted++
		}
	}
	if counted == 0 && !p.NoLog {
		return nil, fmt.Errorf("%w while it was trusted", ErrLog)
	}
	_, rejected, err := verify.VerifySignedTimestamp(entity, p.Root.material)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, detail{err})
	}
	for _, r := range rejected {
		out = append(out, "a timestamp does not count: "+oneLine(r))
	}
	return out, nil
}

// inService reports whether a log counted at every proven time.
func inService(log *root.TransparencyLog, proven map[string]time.Time) bool {
	for _, t := range proven {
		if t.Before(log.ValidityPeriodStart) || !log.ValidityPeriodEnd.IsZero() && t.After(log.ValidityPeriodEnd) {
			return false
		}
	}
	return true
}

var errPanic = errors.New("the decoder gave up")

// guard turns a panic of the modules below, whose decoders of log entries and
// timestamps index what hostile input leaves out, into an error.
func guard[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if r := recover(); r != nil {
			var zero T
			out, err = zero, fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return f()
}

// A stamped entity is a signature with its timestamps, whatever it signs.
type stamped struct {
	verify.BaseSignedEntity
	signature []byte
	tokens    [][]byte
}

func (s *stamped) Timestamps() ([][]byte, error)                      { return s.tokens, nil }
func (s *stamped) SignatureContent() (verify.SignatureContent, error) { return s, nil }
func (s *stamped) Signature() []byte                                  { return s.signature }
func (s *stamped) EnvelopeContent() verify.EnvelopeContent            { return nil }
func (s *stamped) MessageSignatureContent() verify.MessageSignatureContent {
	return nil
}

// VerifyTimestamps finds the tokens that a trusted authority made over the
// signature, and says why the others do not count.
func (r *Root) VerifyTimestamps(signature []byte, tokens [][]byte) (map[string]time.Time, []string, error) {
	if r == nil {
		return nil, nil, errors.New("no trusted root was given")
	}
	var rejected []error
	proven, err := guard(func() ([]*root.Timestamp, error) {
		proven, bad, err := verify.VerifySignedTimestamp(&stamped{signature: signature, tokens: tokens}, r.material)
		rejected = bad
		return proven, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, detail{err})
	}
	times := make(map[string]time.Time)
	for _, t := range proven {
		name := t.URI
		if name == "" {
			name = "timestamp authority"
		}
		times[name] = t.Time.UTC()
	}
	var warnings []string
	for _, r := range rejected {
		warnings = append(warnings, "a timestamp does not count: "+oneLine(r))
	}
	return times, warnings, nil
}
