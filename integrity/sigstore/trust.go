package sigstore

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/prerun/prerun/internal/sigstorex"
)

// A TrustedRoot holds the keys and certificates of the services of one
// instance: authorities, logs, timestamp authorities. It does not change and is
// safe for concurrent use.
type TrustedRoot struct{ root *sigstorex.Root }

// or is the root, or the default.
func (r *TrustedRoot) or() *sigstorex.Root {
	if r == nil {
		return sigstorex.PublicGood()
	}
	return r.root
}

// PublicGood returns the root of the public-good instance, sigstore.dev, as of
// 2026-11-05. It knows logs of version 1 and 2. It comes from Sigstore's Python
// client and is under the Apache License 2.0.
func PublicGood() *TrustedRoot { return &TrustedRoot{sigstorex.PublicGood()} }

// Staging returns the root of the staging instance, sigstage.dev, of the same
// date and origin. The instance is for tests of Sigstore itself, and its keys
// change often.
func Staging() *TrustedRoot { return &TrustedRoot{sigstorex.Staging()} }

// ParseTrustedRoot reads the JSON of a trusted root (version 0.1), or of a
// client trust configuration, which holds one. JSON is read strictly: unknown
// members and members given twice are errors.
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	r, err := sigstorex.ParseRoot(data)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	return &TrustedRoot{r}, nil
}

// NewTimestampRoot trusts one timestamp authority and nothing else, for a
// [TimestampVerifier]. Tokens by certificates that lead to the last of certs
// count; the others help to find the way. The name stands for the authority in
// results.
func NewTimestampRoot(name string, certs ...*x509.Certificate) (*TrustedRoot, error) {
	r, err := sigstorex.NewTimestampRoot(name, certs...)
	if err != nil {
		return nil, err
	}
	return &TrustedRoot{r}, nil
}

// A Log is a transparency log: its URL and the version, 1 or 2, of Rekor's
// interface that it serves.
type Log struct {
	URL     string
	Version int
}

// Services are the URLs where a [Signer] asks.
type Services struct {
	Authority  string   // the certificate authority (Fulcio)
	Logs       []Log    // each records the signature
	Timestamps []string // each timestamp authority is asked; needed with logs of version 2
}

// PublicGoodServices returns the services that the public-good instance asks
// signers to use; its log is of version 1.
func PublicGoodServices() Services {
	return Services{
		Authority:  "https://fulcio.sigstore.dev",
		Logs:       []Log{{"https://rekor.sigstore.dev", 1}},
		Timestamps: []string{"https://timestamp.sigstore.dev/api/v1/timestamp"},
	}
}

// StagingServices returns services of the staging instance; its log is of
// version 1.
func StagingServices() Services {
	return Services{
		Authority:  "https://fulcio.sigstage.dev",
		Logs:       []Log{{"https://rekor.sigstage.dev", 1}},
		Timestamps: []string{"https://timestamp.sigstage.dev/api/v1/timestamp"},
	}
}

// ParseServices reads the JSON of a signing configuration (version 0.2), or of
// a client trust configuration, which holds one under signingConfig or
// signing_config. It selects what is valid at the time, of the highest version
// that is known here; where the configuration leaves the choice open, the
// newest service is taken.
func ParseServices(data []byte, at time.Time) (Services, error) {
	s, err := sigstorex.ParseServices(data, at)
	if err != nil {
		return Services{}, fmt.Errorf("signing configuration: %w", err)
	}
	out := Services{Authority: s.Authority, Timestamps: s.Timestamps}
	for _, l := range s.Logs {
		out.Logs = append(out.Logs, Log(l))
	}
	return out, nil
}

func (s Services) internal() sigstorex.Services {
	out := sigstorex.Services{Authority: s.Authority, Timestamps: s.Timestamps}
	for _, l := range s.Logs {
		out.Logs = append(out.Logs, sigstorex.Log(l))
	}
	return out
}
