package sigstore

import (
	"context"
	"errors"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/sigstorex"
)

// Reasons for [integrity.ErrUntrusted].
var (
	ErrLog         = sigstorex.ErrLog         // no log entry, or one of another signature, or a bad proof
	ErrTime        = sigstorex.ErrTime        // no trusted time
	ErrCertificate = sigstorex.ErrCertificate // by another authority, or not valid at a proven time
	ErrSCT         = sigstorex.ErrSCT         // the certificate is in no trusted log
	ErrIdentity    = sigstorex.ErrIdentity    // all is well, but somebody else signed
)

// An Identity is a signer: a subject, such as a mail address or a workflow's
// URL, as an issuer of identities knows it. The same subject at another issuer
// is somebody else, so both are needed.
//
// Each is given as it stands or as a pattern, never both. A pattern is an RE2
// expression that must match the whole value; one that matches the empty string
// is refused.
type Identity struct {
	Subject        string // exact
	SubjectPattern string
	Issuer         string // exact, such as "https://token.actions.githubusercontent.com"
	IssuerPattern  string
}

// A Verifier trusts bundles of method sigstore by one of the identities. It is
// a [prerun.Verifier], safe for concurrent use, and never opens a connection.
//
// Besides version 0.3 of the bundle, the only one of model signatures, it reads
// versions 0.1 and 0.2, for other statements.
type Verifier struct {
	Root       *TrustedRoot // nil means PublicGood
	Identities []Identity   // none at all is an error

	// InsecureNoLog accepts signatures that are in no transparency log, for
	// private instances without one. A timestamp authority must then prove the
	// time, and log entries are not looked at.
	InsecureNoLog bool

	// InsecureNoSCT accepts certificates that are in no certificate log, for
	// private instances without one.
	InsecureNoSCT bool
}

// Verify implements [prerun.Verifier]. The result's signer is the identity's
// subject, its times are by the URLs of the services that prove them.
//
// The error wraps [integrity.ErrBundle], [integrity.ErrSignature],
// [integrity.ErrUntrusted] (also for a bundle of another method) or
// [integrity.ErrUnsupported]; any other says that the verifier is not set up,
// or that the context is over.
func (v Verifier) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	policy := sigstorex.Policy{Root: v.Root.or(), NoLog: v.InsecureNoLog, NoSCT: v.InsecureNoSCT}
	for _, id := range v.Identities {
		policy.Identities = append(policy.Identities, sigstorex.Identity(id))
	}
	got, err := policy.Verify(ctx, bundle)
	if err != nil {
		return nil, kinded(err)
	}
	return &prerun.Signed{
		PayloadType: got.Envelope.PayloadType,
		Payload:     got.Envelope.Payload,
		Method:      integrity.MethodSigstore,
		Signer:      got.Certificate.SubjectAlternativeName,
		Issuer:      got.Certificate.Issuer,
		Chain:       got.Chain,
		Times:       got.Times,
		Warnings:    got.Warnings,
	}, nil
}

// kinded gives an error its kind of package integrity.
func kinded(err error) error {
	for _, class := range []struct{ from, to error }{
		{sigstorex.ErrMalformed, integrity.ErrBundle},
		{sigstorex.ErrMethod, integrity.ErrUntrusted},
		{sigstorex.ErrUnsupported, integrity.ErrUnsupported},
		{sigstorex.ErrSignature, integrity.ErrSignature},
		{ErrLog, integrity.ErrUntrusted},
		{ErrTime, integrity.ErrUntrusted},
		{ErrCertificate, integrity.ErrUntrusted},
		{ErrSCT, integrity.ErrUntrusted},
		{ErrIdentity, integrity.ErrUntrusted},
	} {
		if !errors.Is(err, class.from) {
			continue
		}
		if class.from.Error() != class.to.Error() {
			return &integrity.Error{Kind: class.to, Err: err}
		}
		// The kind says it already; once is enough.
		detail := strings.TrimPrefix(strings.TrimPrefix(err.Error(), class.from.Error()), ": ")
		return &integrity.Error{Kind: class.to, Detail: detail}
	}
	return err
}
