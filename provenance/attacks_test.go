package provenance_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/provenance"
)

// envelope is a bare DSSE envelope with one signature for each label.
func envelope(t testing.TB, payload []byte, labels ...string) *dsse.Envelope {
	t.Helper()
	e := &dsse.Envelope{PayloadType: provenance.PayloadType, Payload: payload}
	for _, label := range labels {
		sig, err := dsse.Sign(t.Context(), keys.Demo(label), provenance.PayloadType, payload)
		if err != nil {
			t.Fatal(err)
		}
		e.Signatures = append(e.Signatures, dsse.Signature{Sig: sig})
	}
	return e
}

func payload(t testing.TB, p provenance.Provenance, subjects ...provenance.Descriptor) []byte {
	t.Helper()
	out, err := statement(t, p, subjects...).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAttacks are ways in which verifiers were made to say yes. Each attack is
// signed by the right key wherever a signature is asked for, so that only the
// test under attack can refuse it.
func TestAttacks(t *testing.T) {
	good := payload(t, training(), dep("model"))
	sha512 := strings.Repeat(hexA, 2)
	both := provenance.Artifact{Name: "model", Digests: []digest.Digest{sum("model"), digest.Digest("sha512:" + sha512)}}
	for _, tt := range []struct {
		name     string
		artifact provenance.Artifact
		evidence [][]byte
		policy   func(p *provenance.Policy)
		want     []string
	}{
		{name: "another_type_satisfies", evidence: [][]byte{
			signRaw(t, strings.Replace(string(good), provenance.ProvenanceType, otherType, 1), "trainer"),
		}, want: []string{"provenance.evidence.absent"}},
		{name: "type_is_a_prefix", evidence: [][]byte{
			signRaw(t, strings.Replace(string(good), provenance.ProvenanceType, provenance.ProvenanceType+".1", 1), "trainer"),
		}, want: []string{"provenance.evidence.absent"}},
		{name: "zero_attestations", want: []string{"provenance.evidence.absent"}},
		{name: "digests_spread_over_subjects", artifact: both, evidence: [][]byte{
			sign(t, statement(t, training(),
				provenance.Descriptor{Digest: provenance.DigestSet{"sha256": string(sum("model"))[7:], "sha512": strings.Repeat(hexB, 2)}},
				provenance.Descriptor{Digest: provenance.DigestSet{"sha256": hexB, "sha512": sha512}}), "trainer"),
		}, want: []string{"provenance.subject.mismatch"}},
		{name: "only_some_files_are_subjects", artifact: provenance.Artifact{Name: "model", Files: []provenance.Item{
			{Name: "weights", Digests: []digest.Digest{sum("model")}}, {Name: "config", Digests: []digest.Digest{sum("config")}},
		}}, evidence: [][]byte{signRaw(t, string(good), "trainer")}, want: []string{"provenance.subject.mismatch"}},
		{name: "no_subject", evidence: [][]byte{
			signRaw(t, strings.Replace(string(good), `"subject":[{`, `"subject":[],"x":[{`, 1), "trainer"),
		}, want: []string{"provenance.statement.malformed"}},
		{name: "two_halves", evidence: [][]byte{
			sign(t, statement(t, training(dep("data")), dep("model")), "second"),
			sign(t, statement(t, training(dep("other")), dep("model")), "trainer"),
		}, policy: func(p *provenance.Policy) {
			p.Attestations[0].Signers = []string{"trainer", "second"} // but second may not speak for the builder
			p.Attestations[0].Materials = []provenance.Item{{Name: "data", Digests: []digest.Digest{sum("data")}}}
		}, want: []string{"provenance.builder.untrusted"}},
		{name: "payload_swapped_under_signature", evidence: [][]byte{func() []byte {
			e := envelope(t, good, "trainer")
			e.Payload = payload(t, training(), dep("other"), dep("model"))
			return e.Encode()
		}()}, want: []string{"provenance.signature.untrusted"}},
		{name: "payload_type_swapped_under_signature", evidence: [][]byte{func() []byte {
			e := envelope(t, good, "trainer")
			sig, err := dsse.Sign(t.Context(), keys.Demo("trainer"), "text/plain", good)
			if err != nil {
				t.Fatal(err)
			}
			e.Signatures[0].Sig = sig
			return e.Encode()
		}()}, want: []string{"provenance.signature.untrusted"}},
		{name: "signed_as_another_payload_type", evidence: [][]byte{func() []byte {
			b, err := signer(t, "trainer").Sign(t.Context(), "application/vnd.in-toto.provenance+json", good)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}()}, want: []string{"provenance.evidence.absent"}},
		{name: "one_key_signs_twice", evidence: [][]byte{envelope(t, good, "trainer", "trainer").Encode()}, policy: func(p *provenance.Policy) {
			p.Attestations[0].Signers, p.Attestations[0].Threshold = []string{"trainer", "second"}, 2
		}, want: []string{"provenance.signature.threshold"}},
		{name: "one_key_under_two_names", evidence: [][]byte{envelope(t, good, "trainer").Encode()}, policy: func(p *provenance.Policy) {
			p.Trust.Signers = map[string]prerun.Verifier{"alias": verifier(t, "trainer")}
			p.Attestations[0].Signers, p.Attestations[0].Threshold = []string{"trainer", "alias"}, 2
		}, want: []string{"provenance.signature.threshold"}},
		{name: "two_signers_of_two_statements", evidence: [][]byte{
			signRaw(t, string(good), "trainer"),
			sign(t, statement(t, training(dep("x")), dep("model")), "second"),
		}, policy: func(p *provenance.Policy) {
			p.Attestations[0].Signers, p.Attestations[0].Threshold = []string{"trainer", "second"}, 2
		}, want: []string{"provenance.signature.threshold"}},
		{name: "outer_label_lies", evidence: [][]byte{bytes.Replace(
			envelope(t, []byte(strings.Replace(string(good), provenance.ProvenanceType, otherType, 1)), "trainer").Encode(),
			[]byte(`{"payload"`), []byte(`{"predicateType":"`+provenance.ProvenanceType+`","payload"`), 1)}, want: []string{"provenance.evidence.absent"}},
		{name: "weak_algorithm_only", artifact: model(), evidence: [][]byte{
			sign(t, statement(t, training(), provenance.Descriptor{Name: "model", Digest: provenance.DigestSet{"md5": strings.Repeat("a", 32)}}), "trainer"),
		}, want: []string{"provenance.subject.mismatch"}},
		{name: "algorithm_in_another_spelling", evidence: [][]byte{
			sign(t, statement(t, training(), provenance.Descriptor{Name: "model", Digest: provenance.DigestSet{"SHA256": string(sum("model"))[7:]}}), "trainer"),
		}, want: []string{"provenance.subject.mismatch"}},
		{name: "name_is_the_digest", evidence: [][]byte{
			sign(t, statement(t, training(), provenance.Descriptor{Name: string(sum("model")), URI: string(sum("model")), Digest: provenance.DigestsOf(sum("x"))}), "trainer"),
		}, want: []string{"provenance.subject.mismatch"}},
		{name: "replay_with_a_fresh_signature_by_another", evidence: [][]byte{
			signRaw(t, string(payload(t, func() provenance.Provenance {
				p := training()
				p.FinishedOn = now.AddDate(-1, 0, 0)
				return p
			}(), dep("model"))), "trainer"),
		}, policy: func(p *provenance.Policy) { p.Attestations[0].MaxAge = 30 * 24 * time.Hour }, want: []string{"provenance.age.exceeded"}},
		{
			name: "expired_policy", evidence: [][]byte{signRaw(t, string(good), "trainer")}, policy: func(p *provenance.Policy) { p.Expires = now },
			want: []string{"provenance.policy.expired"},
		},
		{name: "custom_test", evidence: [][]byte{signRaw(t, string(good), "trainer")}, policy: func(p *provenance.Policy) {
			p.Attestations[0].Custom = func(*provenance.Statement) error { return errors.New("not on a Friday") }
		}, want: []string{"provenance.policy.custom"}},
		{
			name: "laundered_by_a_claim", evidence: [][]byte{
				signRaw(t, string(payload(t, training(provenance.Descriptor{URI: "hub/base"}), dep("model"))), "trainer"),
				payload(t, training(dep("base")), dep("model")),
			}, policy: func(p *provenance.Policy) { p.Lineage = &provenance.Lineage{Depth: 1} },
			want: []string{"provenance.lineage.unpinned"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := tt.artifact
			if a.Name == "" {
				a = model()
			}
			p := policy()
			if tt.policy != nil {
				tt.policy(&p)
			}
			r := verify(t, a, evidence(tt.evidence...), p)
			if diff := cmp.Diff(tt.want, ruleIDs(r)); diff != "" {
				t.Errorf("rules (-want +got):\n%s\n%+v", diff, r.Requirements)
			}
			if r.Met() {
				t.Error("met")
			}
		})
	}
}

func TestSummaryPolicy(t *testing.T) {
	vsa := provenance.VSA{
		VerifierID:     "https://example.com/gate",
		TimeVerified:   now.Add(-time.Hour),
		ResourceURI:    "pkg:huggingface/example/m",
		Policy:         provenance.Descriptor{URI: "https://example.com/policy", Digest: provenance.DigestsOf(sum("policy"))},
		Passed:         true,
		VerifiedLevels: []string{"SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_UNEVALUATED"},
	}
	for _, tt := range []struct {
		name   string
		change func(v *provenance.VSA, a *provenance.Attestation)
		want   []string
	}{
		{"met", func(*provenance.VSA, *provenance.Attestation) {}, nil},
		{"failed", func(v *provenance.VSA, _ *provenance.Attestation) {
			v.Passed, v.VerifiedLevels = false, []string{"FAILED"}
		}, []string{"provenance.summary.unmet"}},
		{"failed_without_further_demands", func(v *provenance.VSA, a *provenance.Attestation) {
			v.Passed, v.VerifiedLevels, a.Summary = false, []string{"FAILED"}, nil
		}, []string{"provenance.summary.unmet"}},
		{"other_resource", func(v *provenance.VSA, _ *provenance.Attestation) { v.ResourceURI += "-old" }, []string{"provenance.summary.unmet"}},
		{"other_policy", func(v *provenance.VSA, _ *provenance.Attestation) { v.Policy.Digest = provenance.DigestsOf(sum("lax")) }, []string{"provenance.summary.unmet"}},
		{"low_level", func(v *provenance.VSA, _ *provenance.Attestation) { v.VerifiedLevels = []string{"SLSA_BUILD_LEVEL_1"} }, []string{"provenance.summary.unmet"}},
		{"unevaluated_is_below_0", func(_ *provenance.VSA, a *provenance.Attestation) { a.Summary.Levels = []string{"SLSA_SOURCE_LEVEL_0"} }, []string{"provenance.summary.unmet"}},
		{"verifier_of_another_key", func(v *provenance.VSA, _ *provenance.Attestation) { v.VerifierID = trainerID }, []string{"provenance.builder.untrusted"}},
		{"no_time", func(v *provenance.VSA, _ *provenance.Attestation) { v.TimeVerified = time.Time{} }, []string{"provenance.age.unstated"}},
		{"stale", func(v *provenance.VSA, _ *provenance.Attestation) { v.TimeVerified = now.AddDate(0, -2, 0) }, []string{"provenance.age.exceeded"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := vsa
			a := provenance.Attestation{
				Name: "gate", PredicateType: provenance.VSAType, Signers: []string{"second"}, MaxAge: 24 * time.Hour,
				Summary: &provenance.Summary{ResourceURI: vsa.ResourceURI, Levels: []string{"SLSA_BUILD_LEVEL_2"}, Policy: sum("policy")},
			}
			tt.change(&v, &a)
			s, err := v.Statement(dep("model"))
			if err != nil {
				t.Fatal(err)
			}
			p := provenance.Policy{Attestations: []provenance.Attestation{a}}
			p.Trust.Builders = []provenance.Builder{{ID: vsa.VerifierID, Signers: []string{"second"}}}
			r := verify(t, model(), evidence(sign(t, s, "second")), p)
			if diff := cmp.Diff(tt.want, ruleIDs(r)); diff != "" || r.Met() != (tt.want == nil) {
				t.Errorf("rules (-want +got):\n%s\n%+v", diff, r.Requirements)
			}
		})
	}
}

// timed vouches as another verifier does and adds a proven time.
type timed struct {
	prerun.Verifier
	at time.Time
}

func (v timed) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	s, err := v.Verifier.Verify(ctx, bundle)
	if err == nil {
		s.Times = map[string]time.Time{"test log": v.at}
	}
	return s, err
}

func TestProvenTimes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stated time.Time
		proven []time.Time // by trainer and second
		want   []string
	}{
		{"fresh", time.Time{}, []time.Time{now.Add(-time.Hour), now.AddDate(-1, 0, 0)}, nil},
		{"stale_signature_of_a_fresh_statement", now.Add(-time.Hour), []time.Time{now.AddDate(-1, 0, 0), now.AddDate(-1, 0, 0)}, []string{"provenance.age.exceeded"}},
		{"fresh_signature_of_a_stale_statement", now.AddDate(-1, 0, 0), []time.Time{now, now}, []string{"provenance.age.exceeded"}},
		{"from_the_future", time.Time{}, []time.Time{now.Add(time.Hour), now.Add(time.Hour)}, []string{"provenance.age.future"}},
		// Second's fresh signature does not make the trainer's young, and
		// second may not speak for the builder.
		{"only_the_wrong_one_is_fresh", time.Time{}, []time.Time{now.AddDate(-1, 0, 0), now}, []string{"provenance.builder.untrusted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := training()
			b.FinishedOn = tt.stated
			src := evidence(envelope(t, payload(t, b, dep("model")), "trainer", "second").Encode())
			p := policy()
			p.Attestations[0].Signers = []string{"trainer", "second"}
			p.Attestations[0].MaxAge = 24 * time.Hour
			v := provenance.Verifier{Now: clock, Trust: trust(t, "trainer", "second")}
			v.Trust.Signers["trainer"] = timed{verifier(t, "trainer"), tt.proven[0]}
			v.Trust.Signers["second"] = timed{verifier(t, "second"), tt.proven[1]}
			r, err := v.Verify(t.Context(), model(), src, p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ruleIDs(r)); diff != "" {
				t.Errorf("rules (-want +got):\n%s\n%+v", diff, r.Requirements)
			}
		})
	}
}

// TestEveryByteCounts changes each byte of a bundle. What still verifies must
// decode to the same payload, and can only be the unauthenticated key hint.
func TestEveryByteCounts(t *testing.T) {
	good := sign(t, statement(t, training(), dep("model")), "trainer")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if r := verify(t, model(), evidence(bad), policy()); r.Met() {
			t.Errorf("met with byte %d changed from %q to %q: …%s…", i, good[i], bad[i], bad[max(0, i-20):min(len(bad), i+20)])
		}
	}
}

func TestLimits(t *testing.T) {
	doc := sign(t, statement(t, training(), dep("model")), "trainer")
	many := make([][]byte, 20)
	for i := range many {
		many[i] = doc
	}
	for _, tt := range []struct {
		name string
		lim  provenance.Limits
	}{
		{"documents", provenance.Limits{Documents: 19}},
		{"bytes", provenance.Limits{Bytes: int64(len(doc)) * 19}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := provenance.Verifier{Trust: trust(t, "trainer"), Now: clock, Limits: tt.lim}
			if r, err := v.Verify(t.Context(), model(), evidence(many...), policy()); !errors.Is(err, provenance.ErrLimit) {
				t.Errorf("report %+v, error %v", r, err)
			}
		})
	}
	t.Run("edges", func(t *testing.T) {
		v := provenance.Verifier{Trust: trust(t, "trainer"), Now: clock, Limits: provenance.Limits{Edges: 2}}
		r, err := v.Verify(t.Context(), model(), builds(t, build{name: "model", from: deps("a", "b", "c")}), policy())
		if err != nil {
			t.Fatal(err)
		}
		if g := r.Lineage(); len(g.Edges) != 2 || !g.Truncated || !r.Met() {
			t.Errorf("%d edges, truncated %v, met %v", len(g.Edges), g.Truncated, r.Met())
		}
	})
}

func TestUnreadableEvidence(t *testing.T) {
	good := sign(t, statement(t, training(), dep("model")), "trainer")
	cut := good[:len(good)/2]
	t.Run("alone", func(t *testing.T) {
		p := policy()
		p.Lineage = &provenance.Lineage{Depth: 1}
		r := verify(t, model(), evidence(cut), p)
		if got := prerun.Decide(r, prerun.Medium); got != prerun.Incomplete || r.Requirements[0].Outcome != provenance.Unreadable {
			t.Errorf("verdict %s: %+v", got, r.Requirements)
		}
		for _, q := range r.Requirements { // nothing may look like an answer
			if q.Outcome != provenance.Unreadable {
				t.Errorf("%s is %s", q.Name, q.Outcome)
			}
		}
		if len(r.Rejected) != 1 || r.Rejected[0].Evidence != "a.sigstore.json" || r.Rejected[0].Reason == "" {
			t.Errorf("rejected %+v", r.Rejected)
		}
	})
	t.Run("beside_good", func(t *testing.T) {
		r := verify(t, model(), evidence(cut, good), policy())
		if got := prerun.Decide(r, prerun.Medium); got != prerun.Pass {
			t.Errorf("verdict %s: %+v", got, r.Requirements)
		}
	})
	t.Run("beside_untrusted", func(t *testing.T) {
		r := verify(t, model(), evidence(cut, sign(t, statement(t, training(), dep("model")), "stranger")), policy())
		if got := prerun.Decide(r, prerun.Medium); got != prerun.Fail {
			t.Errorf("verdict %s: %+v", got, r.Requirements)
		}
	})
	t.Run("material_without_digest", func(t *testing.T) {
		p := policy()
		p.Attestations[0].Materials = []provenance.Item{{Name: "train.jsonl"}}
		r := verify(t, model(), evidence(good), p)
		if got := prerun.Decide(r, prerun.Medium); got != prerun.Incomplete {
			t.Errorf("verdict %s: %+v", got, r.Requirements)
		}
	})
}

func TestDir(t *testing.T) {
	good := sign(t, statement(t, training(), dep("model")), "trainer")
	other := sign(t, statement(t, training(), dep("other")), "trainer")
	oneLine := bytes.TrimSpace(good)
	fsys := fstest.MapFS{
		"a/model.intoto.jsonl":     {Data: []byte("\n# no JSON\n" + string(bytes.TrimSpace(other)) + "\n\n" + string(oneLine) + "\n{}\n")},
		"b/other.sigstore.json":    {Data: other},
		"README.md":                {Data: []byte("not read")},
		"config.json":              {Data: []byte(`{"architectures":[]}`)},
		"linked.json":              {Mode: fs.ModeSymlink | 0o777, Data: []byte("config.json")},
		"signature.sigstore":       {Data: []byte(`{"messageSignature":{}}`)},
		"name with \x1b[31m.jsonl": {Data: []byte(" ")},
	}
	r := verify(t, model(), provenance.Dir(fsys), policy())
	if !r.Met() {
		t.Fatalf("%+v", r.Requirements)
	}
	if diff := cmp.Diff([]string{"a/model.intoto.jsonl:5"}, r.Accepted[0].Evidence); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got := make(map[string]string)
	for _, x := range r.Rejected {
		got[x.Evidence] = x.Rule
	}
	want := map[string]string{
		"a/model.intoto.jsonl:2": "",
		"a/model.intoto.jsonl:3": "provenance.subject.mismatch",
		"a/model.intoto.jsonl:6": "",
		"b/other.sigstore.json":  "provenance.subject.mismatch",
		"config.json":            "",
		"linked.json":            "",
		"signature.sigstore":     "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
}

func TestDirFails(t *testing.T) {
	v := provenance.Verifier{Trust: trust(t, "trainer"), Now: clock}
	if _, err := v.Verify(t.Context(), model(), provenance.Dir(os.DirFS(filepath.Join(t.TempDir(), "missing"))), policy()); err == nil {
		t.Error("no error")
	}
}

func TestCannotEvaluate(t *testing.T) {
	good := policy()
	for _, tt := range []struct {
		name     string
		artifact provenance.Artifact
		trust    provenance.Trust
		policy   func(p *provenance.Policy)
		policyIs bool // the error wraps ErrPolicy
	}{
		{"no_digest", provenance.Artifact{Name: "m"}, trust(t, "trainer"), nil, false},
		{"bad_digest", provenance.Artifact{Name: "m", Digests: []digest.Digest{"sha256:xyz"}}, trust(t, "trainer"), nil, false},
		{"file_without_digest", provenance.Artifact{Name: "m", Files: []provenance.Item{{Name: "f"}}}, trust(t, "trainer"), nil, false},
		{"input_without_digest", provenance.Artifact{Name: "m", Digests: []digest.Digest{sum("m")}, Inputs: []provenance.Item{{Name: "f"}}}, trust(t, "trainer"), nil, false},
		{"zero_trust", model(), provenance.Trust{}, nil, true},
		{"empty_policy", model(), trust(t, "trainer"), func(p *provenance.Policy) { *p = provenance.Policy{} }, true},
		{"signer_named_twice", model(), trust(t, "trainer"), func(p *provenance.Policy) { p.Trust = trust(t, "trainer") }, true},
		{"unknown_lineage_signer", model(), trust(t, "trainer"), func(p *provenance.Policy) {
			p.Lineage = &provenance.Lineage{Depth: 1, Signers: []string{"nobody"}}
		}, true},
		{"builder_of_nobody", model(), trust(t, "trainer"), func(p *provenance.Policy) {
			p.Trust.Builders = []provenance.Builder{{ID: "x"}}
		}, true},
		{"parameter_not_json", model(), trust(t, "trainer"), func(p *provenance.Policy) {
			p.Attestations[0].Parameters = map[string]any{"f": func() {}}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			p.Attestations = append([]provenance.Attestation(nil), good.Attestations...)
			if tt.policy != nil {
				tt.policy(&p)
			}
			v := provenance.Verifier{Trust: tt.trust, Now: clock}
			r, err := v.Verify(t.Context(), tt.artifact, evidence(), p)
			if err == nil || errors.Is(err, provenance.ErrPolicy) != tt.policyIs {
				t.Errorf("report %+v, error %v", r, err)
			}
		})
	}
}

func TestZeroReportIsNoPass(t *testing.T) {
	for _, r := range []*provenance.Report{nil, {}} {
		if r.Met() || prerun.Decide(r, prerun.Critical) != prerun.Incomplete || r.Lineage() == nil {
			t.Errorf("%+v passes", r)
		}
	}
}

func TestRules(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range provenance.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] || !strings.HasPrefix(r.ID, "provenance.") {
			t.Errorf("id %q", r.ID)
		}
		seen[r.ID] = true
	}
}

// Secrets in addresses and parameters must not reach the report.
func TestReportIsRedacted(t *testing.T) {
	b := training(provenance.Descriptor{URI: "https://bob:s3cr3tpassword@example.com/x"})
	b.ExternalParameters = map[string]any{"api_key": "sk-ant-REDACTED"}
	p := policy()
	p.Attestations[0].Parameters = map[string]any{"api_key": "another"}
	p.Lineage = &provenance.Lineage{Depth: 1}
	for _, set := range []func(){func() {}, func() { p.Attestations[0].Parameters = nil }} {
		set()
		r := verify(t, model(), evidence(sign(t, statement(t, b, dep("model")), "trainer")), p)
		text := everything(r)
		for _, secret := range []string{"s3cr3t", "sk-ant"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the report: %s", secret, text)
			}
		}
	}
}

// Hostile documents cost a multiple of their own size for each signer that has
// to look at them, and no more.
func TestEvidenceMemory(t *testing.T) {
	const size = 1 << 18
	v := provenance.Verifier{Trust: trust(t, "trainer", "second"), Now: clock}
	p := policy()
	for _, tt := range []struct{ name, document string }{
		{"many_values", `{"payloadType":"x","payload":[` + strings.Repeat("{},", size/3) + `{}]}`},
		{"deep", `{"payloadType":"x","payload":` + strings.Repeat("[", size)},
		{"many_signatures", `{"payloadType":"x","payload":"AA==","signatures":[` + strings.Repeat(`{"sig":"AA=="},`, size/15) + `{"sig":"AA=="}]}`},
		{"many_lines", strings.Repeat("{}\n", 4000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := provenance.Dir(fstest.MapFS{"a.jsonl": {Data: []byte(tt.document)}})
			testutil.AllocBound(t, uint64(len(tt.document))*3*320+16<<20, func() {
				if r, err := v.Verify(t.Context(), model(), src, p); err != nil || r.Met() {
					t.Errorf("report %+v, error %v", r, err)
				}
			})
		})
	}
}
