package integrity

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
)

// A TimeVerifier decides which timestamps of a signature count. It gets the
// signature's own bytes and the tokens that the bundle carries beside it: RFC
// 3161 responses in DER, at most 32, by anybody. It returns the times of those
// that an authority it trusts has made over exactly that signature, by the
// authority's name, and says why any other does not count. An error means that
// it cannot decide. It must not keep or change what it is given.
//
// Package integrity/sigstore has one.
type TimeVerifier interface {
	VerifyTimes(ctx context.Context, signature []byte, tokens [][]byte) (times map[string]time.Time, warnings []string, err error)
}

// proveTimes asks when a bundle was signed.
func proveTimes(ctx context.Context, v TimeVerifier, required bool, b *dsse.Bundle) (map[string]time.Time, []string, error) {
	var times map[string]time.Time
	var warnings []string
	if v != nil && len(b.Material.Timestamps) > 0 && len(b.Envelope.Signatures) == 1 {
		var err error
		times, warnings, err = v.VerifyTimes(ctx, b.Envelope.Signatures[0].Sig, b.Material.Timestamps)
		if err != nil {
			return nil, nil, trustError(err)
		}
	}
	if required && len(times) == 0 {
		detail := "no trusted authority proves when it was signed"
		if len(warnings) > 0 {
			detail += ": " + warnings[0]
		}
		return nil, nil, newError(ErrUntrusted, "", "%s", detail)
	}
	return times, warnings, nil
}

// timed adds to what was signed what was proven and what was let pass.
func timed(signed *prerun.Signed, times map[string]time.Time, warnings []string, lenient ...string) *prerun.Signed {
	if len(times) > 0 {
		signed.Times = times
	}
	for _, l := range lenient {
		if l != "" {
			signed.Warnings = append(signed.Warnings, l)
		}
	}
	signed.Warnings = append(signed.Warnings, warnings...)
	return signed
}

// distinct are the proven times, each once, in order.
func distinct(times map[string]time.Time) []time.Time {
	return slices.CompactFunc(slices.SortedFunc(maps.Values(times), time.Time.Compare), time.Time.Equal)
}
