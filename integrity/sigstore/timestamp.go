package sigstore

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/sigstorex"
)

// A TimestampVerifier proves by RFC 3161 timestamps when a bundle was signed
// with a key or a certificate. It is an [integrity.TimeVerifier], safe for
// concurrent use, and never opens a connection.
//
// A token counts when it is over the signature (by SHA-256, SHA-384 or
// SHA-512), by a certificate for nothing but timestamps that leads to an
// authority of the root, and of a time when that certificate and the authority
// were valid. Of each authority one token counts.
type TimestampVerifier struct {
	Root *TrustedRoot // nil means PublicGood; see also NewTimestampRoot
}

// VerifyTimes implements [integrity.TimeVerifier].
func (v TimestampVerifier) VerifyTimes(ctx context.Context, signature []byte, tokens [][]byte) (map[string]time.Time, []string, error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	times, warnings, err := v.Root.or().VerifyTimestamps(signature, tokens)
	if err != nil {
		return nil, nil, kinded(err)
	}
	return times, warnings, nil
}

// A TimestampSigner has another signer's bundles, of method key or certificate,
// timestamped. It is a [prerun.Signer], safe for concurrent use if signer and
// transport are.
type TimestampSigner struct {
	Signer      prerun.Signer
	Authorities []string          // URLs; each is asked, and an error of one is an error
	Transport   http.RoundTripper // carries every request; nil is an error

	// Root, where it is given, must trust each of the tokens.
	Root *TrustedRoot
}

// Sign implements [prerun.Signer]. The authorities see the SHA-256 digest of
// the signature and nothing else.
func (s TimestampSigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	if s.Signer == nil || len(s.Authorities) == 0 {
		return nil, fmt.Errorf("timestamp: no signer or no authority")
	}
	signed, err := s.Signer.Sign(ctx, payloadType, payload)
	if err != nil {
		return nil, err
	}
	b, err := dsse.ParseBundle(signed)
	if err != nil {
		return nil, &integrity.Error{Kind: integrity.ErrBundle, Err: err}
	}
	if b.Material.Certificate != nil || len(b.Material.LogEntries) > 0 || len(b.Envelope.Signatures) != 1 ||
		b.Material.PublicKey != nil && b.Material.PublicKey.RawPEM != nil {
		return nil, &integrity.Error{Kind: integrity.ErrUnsupported, Detail: "timestamp: not a bundle of one signature by a key or a certificate"}
	}
	signature := b.Envelope.Signatures[0].Sig
	tokens, err := sigstorex.Timestamp(ctx, s.Transport, s.Authorities, signature)
	if err != nil {
		return nil, err
	}
	if s.Root != nil {
		if _, warnings, err := s.Root.root.VerifyTimestamps(signature, tokens); err != nil {
			return nil, kinded(err)
		} else if len(warnings) > 0 {
			return nil, &integrity.Error{Kind: integrity.ErrUntrusted, Err: ErrTime, Detail: warnings[0]}
		}
	}
	b.Material.Timestamps = append(b.Material.Timestamps, tokens...)
	return b.Encode(), nil
}
