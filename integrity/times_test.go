package integrity_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
)

// clocks is a TimeVerifier whose tokens are "NAME TIME OVER", where OVER must
// be the signature.
type clocks struct{ err error }

func (c clocks) VerifyTimes(_ context.Context, signature []byte, tokens [][]byte) (map[string]time.Time, []string, error) {
	times := make(map[string]time.Time)
	var warnings []string
	for _, token := range tokens {
		name, rest, _ := strings.Cut(string(token), " ")
		at, over, _ := strings.Cut(rest, " ")
		when, err := time.Parse(time.RFC3339, at)
		if err != nil || over != base64.StdEncoding.EncodeToString(signature) {
			warnings = append(warnings, "by "+name)
			continue
		}
		times[name] = when
	}
	return times, warnings, c.err
}

// stamp adds a token of clocks to a bundle.
func stamp(t *testing.T, bundle []byte, name string, when time.Time) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(string(bundle), `"sig":"`)
	sig, _, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		t.Fatalf("no signature in %s", bundle)
	}
	return stampOver(t, bundle, name+" "+when.Format(time.RFC3339)+" "+sig)
}

func stampOver(t *testing.T, bundle []byte, token string) []byte {
	t.Helper()
	entry := `{"signedTimestamp":"` + base64.StdEncoding.EncodeToString([]byte(token)) + `"}`
	if bytes.Contains(bundle, []byte(`"rfc3161Timestamps":[`)) {
		return []byte(replace(t, string(bundle), `"rfc3161Timestamps":[`, `"rfc3161Timestamps":[`+entry+`,`))
	}
	return []byte(replace(t, string(bundle), `"tlogEntries":[]`,
		`"tlogEntries":[],"timestampVerificationData":{"rfc3161Timestamps":[`+entry+`]}`))
}

func TestTimes(t *testing.T) {
	root := issue(t, "root", nil, authority)
	leaf := issue(t, "leaf", root, func(c *x509.Certificate) { c.NotAfter = then.Add(time.Hour) })
	certSigner, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	keySigner, keyTrust := testKeys(t, "times")
	byCertificate := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), certSigner)
	byKey := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), keySigner)

	later := then.AddDate(5, 0, 0)
	certificates := func(change func(*integrity.CertificateVerifier)) prerun.Verifier {
		v := &integrity.CertificateVerifier{Roots: []*x509.Certificate{root.Certificate}, Now: atTime(later), Times: clocks{}}
		if change != nil {
			change(v)
		}
		return v
	}
	key := func(change func(*integrity.KeyVerifier)) prerun.Verifier {
		v := *keyTrust
		v.Times = clocks{}
		if change != nil {
			change(&v)
		}
		return &v
	}
	undecided := errors.New("clock store is away")
	over := func(b []byte) []byte { return stampOver(t, b, "liar "+then.Format(time.RFC3339)+" AAAA") }

	for _, tt := range []struct {
		name   string
		bundle []byte
		trust  prerun.Verifier
		want   error
		times  map[string]time.Time
		warns  []string
	}{
		{"expired_but_proven", stamp(t, byCertificate, "a", then), certificates(nil), nil, map[string]time.Time{"a": then}, nil},
		{
			"proven_twice", stamp(t, stamp(t, byCertificate, "a", then), "b", then.Add(time.Minute)),
			certificates(nil), nil,
			map[string]time.Time{"a": then, "b": then.Add(time.Minute)},
			nil,
		},
		{
			"proven_and_a_liar", over(stamp(t, byCertificate, "a", then)), certificates(func(v *integrity.CertificateVerifier) { v.RequireTime = true }),
			nil,
			map[string]time.Time{"a": then},
			[]string{"by liar"},
		},
		{
			"valid_now_and_a_liar", over(byCertificate), certificates(func(v *integrity.CertificateVerifier) { v.Now = atTime(then) }),
			nil, nil,
			[]string{"by liar"},
		},
		{
			"proven_before_not_before", stamp(t, byCertificate, "a", then), certificates(func(v *integrity.CertificateVerifier) {
				v.InsecureAtNotBefore = true
			}), nil, map[string]time.Time{"a": then}, nil,
		},
		{"key", stamp(t, byKey, "a", then), key(nil), nil, map[string]time.Time{"a": then}, nil},
		{"key_and_a_liar", over(byKey), key(nil), nil, nil, []string{"by liar"}},
		{"key_without_times", over(byKey), keyTrust, nil, nil, nil},

		{"expired", byCertificate, certificates(nil), integrity.ErrUntrusted, nil, nil},
		{"expired_and_a_liar", over(byCertificate), certificates(nil), integrity.ErrUntrusted, nil, nil},
		{"nobody_asked", stamp(t, byCertificate, "a", then), certificates(func(v *integrity.CertificateVerifier) { v.Times = nil }), integrity.ErrUntrusted, nil, nil},
		{"proven_too_late", stamp(t, byCertificate, "a", later), certificates(func(v *integrity.CertificateVerifier) { v.Now = atTime(then) }), integrity.ErrUntrusted, nil, nil},
		{"proven_too_early", stamp(t, byCertificate, "a", past.Add(-time.Hour)), certificates(func(v *integrity.CertificateVerifier) { v.Now = atTime(then) }), integrity.ErrUntrusted, nil, nil},
		{
			"one_of_two_too_late", stamp(t, stamp(t, byCertificate, "a", then), "b", later),
			certificates(nil), integrity.ErrUntrusted, nil, nil,
		},
		{"required_of_valid", byCertificate, certificates(func(v *integrity.CertificateVerifier) {
			v.Now, v.RequireTime = atTime(then), true
		}), integrity.ErrUntrusted, nil, nil},
		{"required_of_key", over(byKey), key(func(v *integrity.KeyVerifier) { v.RequireTime = true }), integrity.ErrUntrusted, nil, nil},
		{"undecided", stamp(t, byKey, "a", then), key(func(v *integrity.KeyVerifier) { v.Times = clocks{undecided} }), undecided, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), tt.bundle, tt.trust)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			checkSource(t, r, err)
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.times, r.Signed.Times); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.warns, r.Signed.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// An expired certificate in the middle of the chain is as bad at a proven time
// as it is now.
func TestTimesOfTheWholeChain(t *testing.T) {
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, func(c *x509.Certificate) { authority(c); c.NotAfter = then.Add(-time.Hour) })
	leaf := issue(t, "leaf", middle, nil)
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	trust := &integrity.CertificateVerifier{Roots: []*x509.Certificate{root.Certificate}, Times: clocks{}, Now: atTime(then)}
	if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), stamp(t, bundle, "a", then.Add(-2*time.Hour)), trust); err != nil {
		t.Error(err)
	}
	_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), stamp(t, bundle, "a", then), trust)
	wantKind(t, err, integrity.ErrUntrusted)
}
