package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/provenance"
)

// signedVerdict is the world's verdict with what a deployer asks of it.
func signedVerdict(t testing.TB, w *world) (bundle []byte, policy pipeline.VerdictPolicy) {
	t.Helper()
	c := w.config()
	bundle, err := w.decide().Sign(context.Background(), c.Info("gate.yaml"), signer(t, "gate"))
	if err != nil {
		t.Fatal(err)
	}
	return bundle, pipeline.VerdictPolicy{
		Subjects: []string{w.root, digestOf(w, "model/model.safetensors")}, PolicyDigest: c.Digest(), Verifier: c.Verifier,
		ResourceURI: c.ResourceURI, Tier: pipeline.LOW, Now: now.Add(day),
		Policies: []string{digestOf(w, "suite.yaml"), digestOf(w, "cases.jsonl"), digestOf(w, "policy.yaml"), digestOf(w, "keys/model.pub"), digestOf(w, "prompts.lock")},
	}
}

func TestVerdictRoundTrip(t *testing.T) {
	w := newWorld(t)
	bundle, policy := signedVerdict(t, w)
	v, err := pipeline.VerifyVerdict(t.Context(), bundle, verifier(t, "gate"), policy)
	if err != nil {
		t.Fatal(err)
	}
	want := &pipeline.Verdict{
		Passed: true, Verifier: policy.Verifier, ResourceURI: policy.ResourceURI, PolicyDigest: policy.PolicyDigest,
		Time: now, Levels: []string{"AISBD_GATE_LOW"},
		Subjects: []prerun.Subject{
			{Path: "world", Digest: w.root},
			{Path: "config.json", Digest: digestOf(w, "model/config.json")},
			{Path: "model.safetensors", Digest: digestOf(w, "model/model.safetensors")},
		},
		Policies: subjectsOf(w, "cases.jsonl", "keys/approver.pub", "keys/model.pub", "keys/trainer.pub", "policy.yaml", "prompts.lock", "suite.yaml"),
		Inputs: subjectsOf(w, "evidence/ALL-1.json", "evidence/ALL-4.json", "evidence/ALL-5.json", "evidence/ALL-6.json", "evidence/ALL-7.json",
			"model.sig", "provenance/training.sigstore.json", "waivers.json"),
	}
	if diff := cmp.Diff(want, v, cmpopts.IgnoreFields(pipeline.Verdict{}, "Checks", "Signer")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(v.Checks) != 13 || v.Checks[0].ID != "datasec.scan" || v.Checks[0].Outcome != pipeline.Pass || !strings.HasPrefix(v.Signer, "sha256:") {
		t.Errorf("checks %+v, signer %q", v.Checks, v.Signer)
	}
	// It is an ordinary summary for everybody else.
	st, err := provenance.ParseStatement(payloadOf(t, bundle))
	if err != nil {
		t.Fatal(err)
	}
	if vsa, err := st.VSA(); err != nil || !vsa.Passed || vsa.Policy.URI != "gate.yaml" || vsa.SLSAVersion != "1.2" {
		t.Errorf("%+v, %v", vsa, err)
	}
	again, _ := signedVerdict(t, w)
	if !bytes.Equal(bundle, again) {
		t.Error("the same decision gives another verdict")
	}
}

func subjectsOf(w *world, names ...string) []prerun.Subject {
	var out []prerun.Subject
	for _, name := range names {
		out = append(out, prerun.Subject{Path: name, Digest: digestOf(w, name)})
	}
	return out
}

// A no is signed as one, with the reason, and refused.
func TestVerdictOfANo(t *testing.T) {
	w := newWorld(t)
	w.put("prompts/other.txt", []byte("x"))
	bundle, policy := signedVerdict(t, w)
	v, err := pipeline.VerifyVerdict(t.Context(), bundle, verifier(t, "gate"), policy)
	if !errors.Is(err, pipeline.ErrVerdictFailed) || !pipeline.Refused(err) || !strings.Contains(err.Error(), "prompts.lock fail") {
		t.Errorf("error %v", err)
	}
	if v == nil || v.Passed || !cmp.Equal(v.Levels, []string{"FAILED"}) {
		t.Errorf("verdict %+v", v)
	}
}

func TestVerdictPolicies(t *testing.T) {
	w := newWorld(t)
	bundle, good := signedVerdict(t, w)
	zeros := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		name string
		edit func(p *pipeline.VerdictPolicy)
		want error
	}{
		{"as_asked", func(*pipeline.VerdictPolicy) {}, nil},
		{"any_policy", func(p *pipeline.VerdictPolicy) { p.PolicyDigest, p.InsecureAnyPolicy = "", true }, nil},
		{"any_verifier", func(p *pipeline.VerdictPolicy) { p.Verifier, p.InsecureAnyVerifier = "", true }, nil},
		{"any_resource", func(p *pipeline.VerdictPolicy) { p.ResourceURI = "" }, nil},
		{"any_tier", func(p *pipeline.VerdictPolicy) { p.Tier = pipeline.NoTier }, nil},
		{"old_enough", func(p *pipeline.VerdictPolicy) { p.Now = now.Add(30 * day) }, nil},
		{"just_decided", func(p *pipeline.VerdictPolicy) { p.Now = now }, nil},

		{"no_subject", func(p *pipeline.VerdictPolicy) { p.Subjects = nil }, pipeline.ErrVerdictSubject},
		{"other_subject", func(p *pipeline.VerdictPolicy) { p.Subjects = []string{zeros} }, pipeline.ErrVerdictSubject},
		{"one_subject_more", func(p *pipeline.VerdictPolicy) { p.Subjects = append(p.Subjects, zeros) }, pipeline.ErrVerdictSubject},
		{"subject_without_algorithm", func(p *pipeline.VerdictPolicy) { p.Subjects = []string{strings.TrimPrefix(w.root, "sha256:")} }, pipeline.ErrVerdictSubject},
		{"other_resource", func(p *pipeline.VerdictPolicy) { p.ResourceURI += "0" }, pipeline.ErrVerdictSubject},
		{"no_policy", func(p *pipeline.VerdictPolicy) { p.PolicyDigest = "" }, pipeline.ErrVerdictPolicy},
		{"other_policy", func(p *pipeline.VerdictPolicy) { p.PolicyDigest = zeros }, pipeline.ErrVerdictPolicy},
		{"other_suite", func(p *pipeline.VerdictPolicy) { p.Policies = append(p.Policies, zeros) }, pipeline.ErrVerdictPolicy},
		{"higher_tier", func(p *pipeline.VerdictPolicy) { p.Tier = pipeline.MEDIUM }, pipeline.ErrVerdictPolicy},
		{"no_verifier", func(p *pipeline.VerdictPolicy) { p.Verifier = "" }, pipeline.ErrVerdictVerifier},
		{"other_verifier", func(p *pipeline.VerdictPolicy) { p.Verifier += "/" }, pipeline.ErrVerdictVerifier},
		{"no_time", func(p *pipeline.VerdictPolicy) { p.Now = time.Time{} }, pipeline.ErrNoTime},
		{"too_old", func(p *pipeline.VerdictPolicy) { p.Now = now.Add(30*day + time.Second) }, pipeline.ErrVerdictStale},
		{"older_than_asked", func(p *pipeline.VerdictPolicy) { p.MaxAge = time.Hour }, pipeline.ErrVerdictStale},
		{"from_the_future", func(p *pipeline.VerdictPolicy) { p.Now = now.Add(-time.Second) }, pipeline.ErrVerdictStale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			p.Subjects, p.Policies = append([]string{}, good.Subjects...), append([]string{}, good.Policies...)
			tt.edit(&p)
			_, err := pipeline.VerifyVerdict(t.Context(), bundle, verifier(t, "gate"), p)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if refused := tt.want != nil && !errors.Is(tt.want, pipeline.ErrNoTime); pipeline.Refused(err) != refused {
				t.Errorf("refused: %t", !refused)
			}
		})
	}
}

// Validly signed by the right key, and still no: one defect at a time.
func TestVerdictDefects(t *testing.T) {
	w := newWorld(t)
	bundle, policy := signedVerdict(t, w)
	payload := string(payloadOf(t, bundle))
	object := func(m map[string]any, name string) map[string]any { return m[name].(map[string]any) }
	for _, tt := range []struct {
		name string
		edit func(statement, predicate map[string]any)
		want error
	}{
		{"statement_type", func(s, _ map[string]any) { s["_type"] = "https://in-toto.io/Statement/v0.1" }, pipeline.ErrVerdictInvalid},
		{"predicate_type", func(s, _ map[string]any) { s["predicateType"] = provenance.ProvenanceType }, pipeline.ErrVerdictInvalid},
		{"no_subject", func(s, _ map[string]any) { s["subject"] = []any{} }, pipeline.ErrVerdictInvalid},
		{"subject_without_digest", func(s, _ map[string]any) { s["subject"] = []any{map[string]any{"name": "world"}} }, pipeline.ErrVerdictInvalid},
		{"subject_of_unknown_algorithm", func(s, _ map[string]any) {
			s["subject"] = []any{map[string]any{"digest": map[string]any{"md5": strings.Repeat("0", 32)}}}
		}, pipeline.ErrVerdictSubject},
		{"no_predicate", func(s, _ map[string]any) { delete(s, "predicate") }, pipeline.ErrVerdictInvalid},
		{"no_verifier", func(_, p map[string]any) { delete(p, "verifier") }, pipeline.ErrVerdictInvalid},
		{"other_verifier", func(_, p map[string]any) { object(p, "verifier")["id"] = "https://example.com/other" }, pipeline.ErrVerdictVerifier},
		{"no_time", func(_, p map[string]any) { delete(p, "timeVerified") }, pipeline.ErrVerdictInvalid},
		{"bad_time", func(_, p map[string]any) { p["timeVerified"] = "yesterday" }, pipeline.ErrVerdictInvalid},
		{"no_resource", func(_, p map[string]any) { delete(p, "resourceUri") }, pipeline.ErrVerdictInvalid},
		{"no_policy", func(_, p map[string]any) { delete(p, "policy") }, pipeline.ErrVerdictInvalid},
		{"policy_without_digest", func(_, p map[string]any) { delete(object(p, "policy"), "digest") }, pipeline.ErrVerdictPolicy},
		{"no_result", func(_, p map[string]any) { delete(p, "verificationResult") }, pipeline.ErrVerdictInvalid},
		{"other_result", func(_, p map[string]any) { p["verificationResult"] = "passed" }, pipeline.ErrVerdictInvalid},
		{"failed", func(_, p map[string]any) {
			p["verificationResult"], p["verifiedLevels"] = "FAILED", []any{"FAILED"}
		}, pipeline.ErrVerdictFailed},
		{"failed_with_level", func(_, p map[string]any) { p["verificationResult"] = "FAILED" }, pipeline.ErrVerdictInvalid},
		{"no_level", func(_, p map[string]any) { p["verifiedLevels"] = []any{} }, pipeline.ErrVerdictInvalid},
		{"another_level", func(_, p map[string]any) { p["verifiedLevels"] = []any{"SLSA_BUILD_LEVEL_3"} }, pipeline.ErrVerdictPolicy},
		{"no_checks", func(_, p map[string]any) { delete(p, pipeline.ChecksExtension) }, pipeline.ErrVerdictInvalid},
		{"empty_checks", func(_, p map[string]any) { p[pipeline.ChecksExtension] = []any{} }, pipeline.ErrVerdictInvalid},
		{"checks_of_another_kind", func(_, p map[string]any) { p[pipeline.ChecksExtension] = "all" }, pipeline.ErrVerdictInvalid},
		{"passed_over_a_skipped_check", func(_, p map[string]any) {
			p[pipeline.ChecksExtension].([]any)[0].(map[string]any)["outcome"] = "skipped"
		}, pipeline.ErrVerdictInvalid},
		{"unknown_outcome", func(_, p map[string]any) {
			p[pipeline.ChecksExtension].([]any)[0].(map[string]any)["outcome"] = "PASS"
		}, pipeline.ErrVerdictInvalid},
		{"no_policies", func(_, p map[string]any) { delete(p, pipeline.PoliciesExtension) }, pipeline.ErrVerdictInvalid},

		{"unknown_members", func(s, p map[string]any) { s["more"], p["other_field"] = 1, 2 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var st map[string]any
			if err := json.Unmarshal([]byte(payload), &st); err != nil {
				t.Fatal(err)
			}
			tt.edit(st, object(st, "predicate"))
			bundle, err := signer(t, "gate").Sign(t.Context(), provenance.PayloadType, []byte(mustJSON(t, st)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = pipeline.VerifyVerdict(t.Context(), bundle, verifier(t, "gate"), policy)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if pipeline.Refused(err) != (tt.want != nil) {
				t.Errorf("refused: %t", pipeline.Refused(err))
			}
		})
	}
}

func TestVerdictSignature(t *testing.T) {
	w := newWorld(t)
	bundle, policy := signedVerdict(t, w)
	payload := payloadOf(t, bundle)
	resigned := func(role, payloadType string) []byte {
		out, err := signer(t, role).Sign(t.Context(), payloadType, payload)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		bundle  []byte
		trust   prerun.Verifier
		refused bool
	}{
		{"another_key", resigned("somebody", provenance.PayloadType), verifier(t, "gate"), true},
		{"payload_type", resigned("gate", "application/json"), verifier(t, "gate"), true},
		{"no_bundle", nil, verifier(t, "gate"), true},
		{"no_key", bundle, nil, false},
		{"nothing_verified", bundle, silentVerifier{}, false},
		{"cannot_say", bundle, brokenVerifier{}, false},
	} {
		v, err := pipeline.VerifyVerdict(t.Context(), tt.bundle, tt.trust, policy)
		if err == nil || v != nil || pipeline.Refused(err) != tt.refused {
			t.Errorf("%s: %v, %v", tt.name, v, err)
		}
	}
}

type brokenVerifier struct{}

func (brokenVerifier) Verify(context.Context, []byte) (*prerun.Signed, error) {
	return nil, errors.New("the token does not answer")
}

// Any changed byte of a verdict is refused, but for those that are not signed:
// white space, and the hint that names a key.
func TestVerdictAnyByte(t *testing.T) {
	w := newWorld(t)
	bundle, policy := signedVerdict(t, w)
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	trust := verifier(t, "gate")
	same := 0
	for i := range bundle {
		mutant := bytes.Clone(bundle)
		mutant[i] ^= 1 << (i % 7)
		_, err := pipeline.VerifyVerdict(t.Context(), mutant, trust, policy)
		if err == nil {
			m, parseErr := dsse.ParseBundle(mutant)
			if parseErr != nil || !bytes.Equal(m.Envelope.Payload, b.Envelope.Payload) {
				t.Fatalf("byte %d of %d changed and the verdict verifies", i, len(bundle))
			}
			same++
		}
	}
	if same > 100 { // the hint has 64 digits
		t.Errorf("%d bytes of the bundle do not matter", same)
	}
}

func TestSignNeedsEverything(t *testing.T) {
	w := newWorld(t)
	d, info := w.decide(), w.config().Info("gate.yaml")
	for name, edit := range map[string]func(*pipeline.VerdictInfo){
		"verifier":      func(i *pipeline.VerdictInfo) { i.Verifier = "" },
		"resource":      func(i *pipeline.VerdictInfo) { i.ResourceURI = "" },
		"policy":        func(i *pipeline.VerdictInfo) { i.PolicyURI = "" },
		"policy_digest": func(i *pipeline.VerdictInfo) { i.PolicyDigest = "" },
	} {
		bad := info
		edit(&bad)
		if bundle, err := d.Sign(t.Context(), bad, signer(t, "gate")); !errors.Is(err, pipeline.ErrVerdictInvalid) || bundle != nil {
			t.Errorf("%s: %q, %v", name, bundle, err)
		}
	}
	var zero pipeline.Decision
	if _, err := zero.Sign(t.Context(), info, signer(t, "gate")); !errors.Is(err, pipeline.ErrNoModel) {
		t.Errorf("the zero decision: %v", err)
	}
}

// payloadVerifier hands the fuzzer's bytes through, as if they were signed.
type payloadVerifier struct{}

func (payloadVerifier) Verify(_ context.Context, bundle []byte) (*prerun.Signed, error) {
	return &prerun.Signed{PayloadType: provenance.PayloadType, Payload: bundle}, nil
}

func FuzzVerifyVerdict(f *testing.F) {
	w := newWorld(f)
	bundle, policy := signedVerdict(f, w)
	payload := payloadOf(f, bundle)
	f.Add(payload)
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := pipeline.VerifyVerdict(t.Context(), data, payloadVerifier{}, policy)
		if err == nil && (!v.Passed || len(v.Checks) == 0) {
			t.Errorf("accepted %+v", v)
		}
		if err != nil && !pipeline.Refused(err) {
			t.Errorf("no class: %v", err)
		}
	})
}
