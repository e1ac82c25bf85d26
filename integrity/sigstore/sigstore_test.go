package sigstore_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
	"github.com/prerun/prerun/internal/testutil"
)

var (
	_ prerun.Verifier        = sigstore.Verifier{}
	_ prerun.Signer          = sigstore.Signer{}
	_ prerun.Signer          = sigstore.TimestampSigner{}
	_ integrity.TimeVerifier = sigstore.TimestampVerifier{}
)

func TestSignAndVerify(t *testing.T) {
	i := sigstoretest.New("good", then)
	root := trustedRoot(t, i)
	noStamps := services(1)
	noStamps.Timestamps = nil
	both := services(1)
	both.Logs = append(both.Logs, services(2).Logs...)
	for _, tt := range []struct {
		name     string
		services sigstore.Services
		hosts    []string
		times    []string
	}{
		{"rekor_v1", services(1), []string{"fulcio.test", "tsa.test", "rekor1.test"}, []string{sigstoretest.LogV1, sigstoretest.Stamps}},
		{"rekor_v1_without_timestamp", noStamps, []string{"fulcio.test", "rekor1.test"}, []string{sigstoretest.LogV1}},
		{"rekor_v2", services(2), []string{"fulcio.test", "tsa.test", "rekor2.test"}, []string{sigstoretest.Stamps}},
		{"both", both, []string{"fulcio.test", "tsa.test", "rekor1.test", "rekor2.test"}, []string{sigstoretest.LogV1, sigstoretest.Stamps}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i.Requests = nil
			s := signer(i, tt.services)
			s.Root = root
			bundle := sign(t, s)
			if diff := cmp.Diff(tt.hosts, i.Requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			i.Requests = nil
			r, err := integrity.Verifier{Strict: true}.Verify(t.Context(), model(), []byte(bundle), trusting(root, nil))
			if err != nil {
				t.Fatal(err)
			}
			got := r.Signed
			if got.Method != integrity.MethodSigstore || got.Signer != subject || got.Issuer != issuer || len(got.Chain) != 3 || len(got.Warnings) > 0 {
				t.Errorf("%q %q by %q, %d certificates, warnings %q", got.Method, got.Signer, got.Issuer, len(got.Chain), got.Warnings)
			}
			if diff := cmp.Diff(tt.times, slices.Sorted(maps.Keys(got.Times))); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
			for name, at := range got.Times {
				if !at.Equal(then) {
					t.Errorf("%s says %v", name, at)
				}
			}
			changed := fstest.MapFS{"config.json": {Data: []byte("[]")}, "model.safetensors": {Data: []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")}}
			_, err = integrity.Verifier{}.Verify(t.Context(), changed, []byte(bundle), trusting(root, nil))
			if !errors.Is(err, integrity.ErrMismatch) {
				t.Errorf("another model: %v", err)
			}
			if len(i.Requests) > 0 {
				t.Errorf("verifying asks %q", i.Requests)
			}
		})
	}
}

// edit changes the verification material of a bundle.
func edit(t *testing.T, bundle string, change func(material map[string]any)) string {
	t.Helper()
	var top map[string]any
	if err := json.Unmarshal([]byte(bundle), &top); err != nil {
		t.Fatal(err)
	}
	change(top["verificationMaterial"].(map[string]any))
	out, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func material(t *testing.T, bundle, name string) any {
	t.Helper()
	var out any
	edit(t, bundle, func(m map[string]any) { out = m[name] })
	return out
}

func TestOneDefect(t *testing.T) {
	good := sigstoretest.New("good", then)
	root := trustedRoot(t, good)
	with := good.With
	v1, v2 := sign(t, signer(good, services(1))), sign(t, signer(good, services(2)))
	noLog := sign(t, signer(good, services(0)))
	other := sigstoretest.New("other", then)
	v1Other, v2Other := sign(t, signer(good, services(1))), sign(t, signer(good, services(2)))
	noStamps := services(1)
	noStamps.Timestamps = nil
	v1Alone := sign(t, signer(good, noStamps))

	entries := func(from string) func(map[string]any) {
		return func(m map[string]any) { m["tlogEntries"] = material(t, from, "tlogEntries") }
	}
	stamps := func(from string) func(map[string]any) {
		return func(m map[string]any) {
			m["timestampVerificationData"] = material(t, from, "timestampVerificationData")
		}
	}
	entry := func(change func(map[string]any)) func(map[string]any) {
		return func(m map[string]any) { change(m["tlogEntries"].([]any)[0].(map[string]any)) }
	}
	proof := func(change func(map[string]any)) func(map[string]any) {
		return entry(func(e map[string]any) { change(e["inclusionProof"].(map[string]any)) })
	}
	flip := func(m map[string]any, name string) {
		raw, err := base64.StdEncoding.DecodeString(m[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 1
		m[name] = base64.StdEncoding.EncodeToString(raw)
	}
	expired := then.Add(10 * time.Minute)

	reasons := map[string]error{
		"ErrLog": sigstore.ErrLog, "ErrTime": sigstore.ErrTime, "ErrCertificate": sigstore.ErrCertificate,
		"ErrSCT": sigstore.ErrSCT, "ErrIdentity": sigstore.ErrIdentity,
	}
	if diff := cmp.Diff(testutil.ExportedErrors(t, "."), slices.Sorted(maps.Keys(reasons))); diff != "" {
		t.Errorf("reasons that this test knows (-exported +known):\n%s", diff)
	}
	others := append(slices.Collect(maps.Values(reasons)),
		integrity.ErrBundle, integrity.ErrSignature, integrity.ErrUntrusted, integrity.ErrUnsupported)
	covered := map[error]bool{}
	for _, tt := range []struct {
		name   string
		bundle string
		trust  sigstore.Verifier
		kind   error
		reason error
	}{
		{"subject", v1, trusting(root, func(v *sigstore.Verifier) { v.Identities[0].Subject = "release@example.com" }), integrity.ErrUntrusted, sigstore.ErrIdentity},
		{"issuer", v1, trusting(root, func(v *sigstore.Verifier) { v.Identities[0].Issuer = "https://accounts.example.com" }), integrity.ErrUntrusted, sigstore.ErrIdentity},
		{"subject_is_a_part", v1, trusting(root, func(v *sigstore.Verifier) {
			v.Identities[0] = sigstore.Identity{SubjectPattern: `release@example\.or`, Issuer: issuer}
		}), integrity.ErrUntrusted, sigstore.ErrIdentity},
		{"issuer_is_a_part", v1, trusting(root, func(v *sigstore.Verifier) {
			v.Identities[0] = sigstore.Identity{Subject: subject, IssuerPattern: `accounts\.example\.org`}
		}), integrity.ErrUntrusted, sigstore.ErrIdentity},
		{"alternatives_are_anchored", v1, trusting(root, func(v *sigstore.Verifier) {
			v.Identities[0] = sigstore.Identity{SubjectPattern: `nobody|release`, Issuer: issuer}
		}), integrity.ErrUntrusted, sigstore.ErrIdentity},

		{"no_sct", sign(t, signer(with(func(i *sigstoretest.Instance) { i.NoSCT = true }), services(1))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrSCT},
		{"sct_of_another_log", sign(t, signer(with(func(i *sigstoretest.Instance) { i.BadSCT = true }), services(1))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrSCT},

		{"no_log_entry", noLog, trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v1_entry_of_another_signature", edit(t, v1, entries(v1Other)), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v2_entry_of_another_signature", edit(t, v2, entries(v2Other)), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"entry_twice", edit(t, v1, func(m map[string]any) {
			m["tlogEntries"] = append(m["tlogEntries"].([]any), m["tlogEntries"].([]any)[0])
		}), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"entry_of_unknown_log", edit(t, v1, entry(func(e map[string]any) {
			flip(e["logId"].(map[string]any), "keyId")
		})), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v1_promise", edit(t, v1, entry(func(e map[string]any) {
			flip(e["inclusionPromise"].(map[string]any), "signedEntryTimestamp")
		})), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v1_time_changed", edit(t, v1, entry(func(e map[string]any) { e["integratedTime"] = "1780315201" })), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v1_root", edit(t, v1, proof(func(p map[string]any) { flip(p, "rootHash") })), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v2_index", edit(t, v2, entry(func(e map[string]any) { e["logIndex"] = "0" })), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"v2_checkpoint", edit(t, v2, proof(func(p map[string]any) {
			c := p["checkpoint"].(map[string]any)
			c["envelope"] = replace(t, c["envelope"].(string), "rekor2.test\n2\n", "rekor2.test\n3\n")
		})), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},

		{"v2_without_timestamp", edit(t, v2, func(m map[string]any) { delete(m, "timestampVerificationData") }), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrTime},
		{"v2_time_in_entry_does_not_count", edit(t, v2, func(m map[string]any) {
			delete(m, "timestampVerificationData")
			m["tlogEntries"].([]any)[0].(map[string]any)["integratedTime"] = "1780315200"
		}), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrTime},
		{"untrusted_timestamp", edit(t, v2, stamps(sign(t, signer(other, services(2))))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrTime},
		{"timestamp_of_another_signature", edit(t, v2, stamps(v2Other)), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrTime},
		{"timestamp_of_other_bytes", sign(t, signer(with(func(i *sigstoretest.Instance) { i.StampOver = []byte("x") }), services(2))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrTime},

		{"logged_after_the_certificate", sign(t, signer(with(func(i *sigstoretest.Instance) { i.LogTime = expired }), noStamps)), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrCertificate},
		{"stamped_after_the_certificate", sign(t, signer(with(func(i *sigstoretest.Instance) { i.StampTime = expired }), services(2))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrCertificate},
		{"one_time_after_the_certificate", sign(t, signer(with(func(i *sigstoretest.Instance) { i.StampTime = expired }), services(1))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrCertificate},
		{"not_for_signing", sign(t, signer(with(func(i *sigstoretest.Instance) {
			i.Leaf = func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		}), services(1))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrCertificate},
		{"another_instance", sign(t, signer(other, services(1))), trusting(root, nil), integrity.ErrUntrusted, sigstore.ErrLog},
		{"public_good", v1, trusting(nil, nil), integrity.ErrUntrusted, sigstore.ErrLog},

		{"signature", replace(t, v1, `"sig":"ME`, `"sig":"MF`), trusting(root, nil), integrity.ErrSignature, nil},
		{"payload", replace(t, v1, `"payload":"ey`, `"payload":"eC`), trusting(root, nil), integrity.ErrSignature, nil},
		{"payload_type", replace(t, v1, "vnd.in-toto+json", "vnd.in-toto-json"), trusting(root, nil), integrity.ErrSignature, nil},
		{"certificate_of_another_signature", edit(t, v1, func(m map[string]any) { m["certificate"] = material(t, v1Other, "certificate") }), trusting(root, nil), integrity.ErrSignature, nil},

		{"no_json", "x", trusting(root, nil), integrity.ErrBundle, nil},
		{"cut", v1[:len(v1)/2], trusting(root, nil), integrity.ErrBundle, nil},
		{"trailing", v1 + "{}", trusting(root, nil), integrity.ErrBundle, nil},
		{"duplicate_member", replace(t, v1, `{"mediaType"`, `{"mediaType":"x","mediaType"`), trusting(root, nil), integrity.ErrBundle, nil},
		{"unknown_member", replace(t, v1, `{"mediaType"`, `{"extra":1,"mediaType"`), trusting(root, nil), integrity.ErrBundle, nil},
		{"unknown_member_in_entry", edit(t, v1, entry(func(e map[string]any) { e["extra"] = 1 })), trusting(root, nil), integrity.ErrBundle, nil},
		{"version", replace(t, v1, "bundle.v0.3+json", "bundle.v0.4+json"), trusting(root, nil), integrity.ErrBundle, nil},
		{"two_signatures", replace(t, v1, `"signatures":[`, `"signatures":[{"sig":"AAAA"},`), trusting(root, nil), integrity.ErrBundle, nil},
		{"certificate_no_der", edit(t, v1, func(m map[string]any) { m["certificate"] = map[string]any{"rawBytes": "AAAA"} }), trusting(root, nil), integrity.ErrBundle, nil},
		{"entry_without_proof", edit(t, v1Alone, entry(func(e map[string]any) { delete(e, "inclusionProof") })), trusting(root, nil), integrity.ErrBundle, nil},
		{"entry_without_body", edit(t, v1, entry(func(e map[string]any) { delete(e, "canonicalizedBody") })), trusting(root, nil), integrity.ErrBundle, nil},
		{"entry_without_signature", edit(t, v1, entry(func(e map[string]any) {
			e["canonicalizedBody"] = base64.StdEncoding.EncodeToString([]byte(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"signatures":[]}}`))
		})), trusting(root, nil), integrity.ErrBundle, nil},
		{"chain", edit(t, v1, func(m map[string]any) {
			m["x509CertificateChain"] = map[string]any{"certificates": []any{m["certificate"]}}
			delete(m, "certificate")
		}), trusting(root, nil), integrity.ErrUntrusted, nil},
		{"key", edit(t, v1, func(m map[string]any) {
			m["publicKey"] = map[string]any{"hint": "x"}
			delete(m, "certificate")
		}), trusting(root, nil), integrity.ErrUntrusted, nil},
	} {
		covered[tt.reason] = true
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.trust.Verify(t.Context(), []byte(tt.bundle))
			if got != nil || !errors.Is(err, tt.kind) || tt.reason != nil && !errors.Is(err, tt.reason) {
				t.Errorf("error %v; want %v, %v", err, tt.kind, tt.reason)
			}
			for _, other := range others {
				if other != tt.kind && other != tt.reason && errors.Is(err, other) {
					t.Errorf("%v is also %v", err, other)
				}
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("message of several lines: %q", err)
			}
		})
	}
	for name, reason := range reasons {
		if !covered[reason] {
			t.Errorf("no case asserts %s", name)
		}
	}
}

func TestAccepted(t *testing.T) {
	good := sigstoretest.New("good", then)
	root := trustedRoot(t, good)
	with := good.With
	v1, v2 := sign(t, signer(good, services(1))), sign(t, signer(good, services(2)))
	patterns := func(subject, issuer string) sigstore.Verifier {
		return sigstore.Verifier{Root: root, Identities: []sigstore.Identity{
			{Subject: "nobody", Issuer: "nobody"}, {SubjectPattern: subject, IssuerPattern: issuer},
		}}
	}
	for _, tt := range []struct {
		name, bundle string
		trust        sigstore.Verifier
		warnings     int
	}{
		{"patterns", v1, patterns(`[a-z]+@example\.org`, `https://accounts\.example\.(org|com)`), 0},
		{"anchored_pattern", v1, patterns(`^release@example\.org$`, `nobody|https://.+`), 0},
		{"no_log", sign(t, signer(good, services(0))), trusting(root, func(v *sigstore.Verifier) { v.InsecureNoLog = true }), 0},
		{"log_not_looked_at", v2, trusting(root, func(v *sigstore.Verifier) { v.InsecureNoLog = true }), 1},
		{"no_sct", sign(t, signer(with(func(i *sigstoretest.Instance) { i.NoSCT = true }), services(2))), trusting(root, func(v *sigstore.Verifier) { v.InsecureNoSCT = true }), 0},
		{"timestamp_that_does_not_count", sign(t, signer(with(func(i *sigstoretest.Instance) { i.StampOver = []byte("x") }), services(1))), trusting(root, nil), 1},
		{"unknown_log_beside", edit(t, v1, func(m map[string]any) {
			unknown := material(t, v1, "tlogEntries").([]any)[0].(map[string]any)
			unknown["logId"] = map[string]any{"keyId": "AAAA"}
			m["tlogEntries"] = append(m["tlogEntries"].([]any), unknown)
		}), trusting(root, nil), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.trust.Verify(t.Context(), []byte(tt.bundle))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Warnings) != tt.warnings || len(got.Times) == 0 {
				t.Errorf("times %v, warnings %q", got.Times, got.Warnings)
			}
		})
	}
}

func TestNoPolicyIsNone(t *testing.T) {
	i := sigstoretest.New("good", then)
	bundle := []byte(sign(t, signer(i, services(1))))
	root := trustedRoot(t, i)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, id := range map[string][]sigstore.Identity{
		"nobody":                nil,
		"no_issuer":             {{Subject: subject}},
		"no_subject":            {{Issuer: issuer}},
		"both":                  {{Subject: subject, SubjectPattern: subject, Issuer: issuer}},
		"bad_pattern":           {{SubjectPattern: "(", Issuer: issuer}},
		"escaping_pattern":      {{SubjectPattern: "x)|(.*", Issuer: issuer}},
		"quoted_escape":         {{SubjectPattern: `\Qx)|(.*\E)`, Issuer: issuer}},
		"deep_pattern":          {{SubjectPattern: strings.Repeat("(", 1000) + "x" + strings.Repeat(")", 1000), Issuer: issuer}},
		"pattern_of_everything": {{SubjectPattern: ".*", Issuer: issuer}},
		"one_of_two":            {{Subject: subject, Issuer: issuer}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sigstore.Verifier{Root: root, Identities: id}.Verify(t.Context(), bundle)
			if got != nil || err == nil || integrity.Rejected(err) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if got, err := trusting(root, nil).Verify(cancelled, bundle); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %+v, %v", got, err)
	}
}

func TestSignerRefuses(t *testing.T) {
	change := func(f func(*sigstore.Signer, *sigstoretest.Instance)) sigstore.Signer {
		i := sigstoretest.New("good", then)
		s := signer(i, services(2))
		s.Root = trustedRoot(t, i)
		f(&s, i)
		return s
	}
	for _, tt := range []struct {
		name   string
		signer sigstore.Signer
		reason error // or nil for any
	}{
		{"no_transport", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.Transport = nil }), nil},
		{"no_token", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.IDToken = "" }), nil},
		{"no_token_at_all", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.IDToken = "x" }), nil},
		{"no_services", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.Services = sigstore.Services{} }), nil},
		{"no_url", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.Services.Authority = "ftp://x" }), nil},
		{"no_time", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.Services.Timestamps = nil }), nil},
		{"log_version", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) { s.Services.Logs[0].Version = 3 }), nil},
		{"authority_down", change(func(_ *sigstore.Signer, i *sigstoretest.Instance) { i.Broken = "fulcio.test" }), nil},
		{"timestamps_down", change(func(_ *sigstore.Signer, i *sigstoretest.Instance) { i.Broken = "tsa.test" }), nil},
		{"log_2_down", change(func(_ *sigstore.Signer, i *sigstoretest.Instance) { i.Broken = "rekor2.test" }), nil},
		{"log_1_down", change(func(s *sigstore.Signer, i *sigstoretest.Instance) {
			s.Services, i.Broken = services(1), "rekor1.test"
		}), nil},
		{"services_of_another_instance", change(func(s *sigstore.Signer, _ *sigstoretest.Instance) {
			s.Transport = sigstoretest.New("other", then)
		}), sigstore.ErrLog},
		{"authority_does_not_log", change(func(_ *sigstore.Signer, i *sigstoretest.Instance) { i.NoSCT = true }), sigstore.ErrSCT},
		{"timestamp_of_other_bytes", change(func(_ *sigstore.Signer, i *sigstoretest.Instance) { i.StampOver = []byte("x") }), sigstore.ErrTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle, err := tt.signer.Sign(t.Context(), integrity.StatementType, []byte("{}"))
			if bundle != nil || err == nil || tt.reason != nil && !errors.Is(err, tt.reason) {
				t.Errorf("%s, %v", bundle, err)
			}
			if err != nil && tt.signer.IDToken != "" && len(tt.signer.IDToken) > 1 && strings.Contains(err.Error(), tt.signer.IDToken) {
				t.Errorf("the token leaks: %v", err)
			}
		})
	}
}

// stuck answers when the request is given up, and never before.
type stuck struct{ asked chan *url.URL }

func (s stuck) RoundTrip(req *http.Request) (*http.Response, error) {
	s.asked <- req.URL
	<-req.Context().Done()
	return nil, context.Cause(req.Context())
}

func TestSigningIsCancelled(t *testing.T) {
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := signer(nil, services(2))
	service := stuck{make(chan *url.URL, 1)}
	s.Transport = service
	go func() {
		<-service.asked
		cancel(reason)
	}()
	if _, err := s.Sign(ctx, integrity.StatementType, []byte("{}")); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
}

func TestTrustDocuments(t *testing.T) {
	i := sigstoretest.New("good", then)
	for _, name := range []string{"signingConfig", "signing_config"} {
		for log := 1; log <= 2; log++ {
			config := i.TrustConfig(name, log)
			root, err := sigstore.ParseTrustedRoot(config)
			if err != nil {
				t.Fatal(err)
			}
			where, err := sigstore.ParseServices(config, then)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(services(log), where); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			if _, err := trusting(root, nil).Verify(t.Context(), []byte(sign(t, signer(i, where)))); err != nil {
				t.Errorf("%s, log %d: %v", name, log, err)
			}
		}
	}
	config := string(i.TrustConfig("signingConfig", 1))
	for name, document := range map[string]string{
		"empty":          "",
		"no_object":      "[]",
		"bare_object":    "{}",
		"no_root":        `{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"}`,
		"other_version":  replace(t, string(i.Root()), "trustedroot+json;version=0.1", "trustedroot+json;version=9"),
		"given_twice":    replace(t, config, `{"mediaType"`, `{"trustedRoot":{},"mediaType"`),
		"unknown_member": replace(t, config, `{"mediaType"`, `{"extra":{},"mediaType"`),
		"trusts_nobody":  `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
		"no_certificate": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{"certChain":{"certificates":[]}}]}`,
		"too_big":        strings.Repeat(" ", 2<<20) + config,
	} {
		if root, err := sigstore.ParseTrustedRoot([]byte(document)); err == nil {
			t.Errorf("root of %s: %+v", name, root)
		}
		if s, err := sigstore.ParseServices([]byte(document), then); err == nil {
			t.Errorf("services of %s: %+v", name, s)
		}
	}
	for name, document := range map[string]string{
		"other_version": replace(t, config, "signingconfig.v0.2", "signingconfig.v0.9"),
		"no_selector":   replace(t, config, `"selector":"ANY"`, `"selector":"SERVICE_SELECTOR_UNDEFINED"`),
		"too_many":      replace(t, config, `"selector":"ANY"`, `"selector":"EXACT","count":2`),
		"old_version":   replace(t, config, `"majorApiVersion":1`, `"majorApiVersion":9`),
	} {
		if s, err := sigstore.ParseServices([]byte(document), then); err == nil {
			t.Errorf("services of %s: %+v", name, s)
		}
	}
	if s, err := sigstore.ParseServices([]byte(config), then.AddDate(-9, 0, 0)); err == nil {
		t.Errorf("services before their time: %+v", s)
	}
	for _, s := range []sigstore.Services{sigstore.PublicGoodServices(), sigstore.StagingServices()} {
		if !strings.HasPrefix(s.Authority, "https://") || len(s.Logs) == 0 || len(s.Timestamps) == 0 {
			t.Errorf("%+v", s)
		}
	}
}
