package provenance_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/provenance"
)

func TestVerifyMeets(t *testing.T) {
	a := model()
	a.Inputs = []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{sum("train.jsonl")}}}
	p := policy()
	at := &p.Attestations[0]
	at.Builders = []string{trainerID}
	at.MinLevel = 2
	at.BuildTypes = []string{provenance.BuildTypeTraining}
	at.Parameters = map[string]any{"recipe": "train.py"}
	at.FreeParameters = []string{"hyperparameters"}
	at.Materials = []provenance.Item{{Name: "train.jsonl"}, {Name: "base", Digests: []digest.Digest{sum("base")}}}
	at.MaxAge = 48 * time.Hour
	at.NotBefore = now.Add(-72 * time.Hour)
	p.Lineage = &provenance.Lineage{Depth: 1}
	p.Denied = []digest.Digest{sum("bad")}
	p.Expires = now.Add(time.Hour)

	// The data file was renamed since: digests decide.
	renamed := dep("train.jsonl")
	renamed.Name = "data/part-0.jsonl"
	s := statement(t, training(renamed, dep("base")), dep("other output"), dep("model"))
	r := verify(t, a, evidence(sign(t, s, "trainer")), p)
	if !r.Met() {
		t.Errorf("requirements: %+v", r.Requirements)
	}
	if got := prerun.Decide(r, prerun.Info); got != prerun.Pass {
		t.Errorf("verdict %s, findings %v", got, ruleIDs(r))
	}
	if len(r.Requirements) != 12 || len(r.Accepted) != 1 || len(r.Rejected) != 0 {
		t.Errorf("%d requirements, %d accepted, %d rejected", len(r.Requirements), len(r.Accepted), len(r.Rejected))
	}
	if diff := cmp.Diff([]int{1}, r.Accepted[0].Subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
}

func TestVerifyRefuses(t *testing.T) {
	good := func(t *testing.T) []byte {
		return sign(t, statement(t, training(dep("train.jsonl")), dep("model")), "trainer")
	}
	withTime := func(p provenance.Provenance, at time.Time) provenance.Provenance {
		p.FinishedOn = at
		return p
	}
	for _, tt := range []struct {
		name     string
		evidence func(t *testing.T) [][]byte
		policy   func(a *provenance.Attestation)
		want     []string
	}{
		{"nothing", func(t *testing.T) [][]byte { return nil }, nil, []string{"provenance.evidence.absent"}},
		{"other_signer", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, training(), dep("model")), "stranger")}
		}, nil, []string{"provenance.signature.untrusted"}},
		{"known_signer_not_asked_for", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, training(), dep("model")), "second")}
		}, nil, []string{"provenance.signature.untrusted"}},
		{"unsigned", func(t *testing.T) [][]byte {
			payload, err := statement(t, training(), dep("model")).Encode()
			if err != nil {
				t.Fatal(err)
			}
			return [][]byte{payload}
		}, nil, []string{"provenance.signature.missing"}},
		{"one_of_two_signers", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Signers, a.Threshold = []string{"trainer", "second"}, 2
		}, []string{"provenance.signature.threshold"}},
		{"other_artefact", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, training(), dep("another model")), "trainer")}
		}, nil, []string{"provenance.subject.mismatch"}},
		{"other_predicate_type", func(t *testing.T) [][]byte {
			s := &provenance.Statement{Subjects: []provenance.Descriptor{dep("model")}, PredicateType: otherType}
			return [][]byte{sign(t, s, "trainer")}
		}, nil, []string{"provenance.evidence.absent"}},
		{"other_builder", func(t *testing.T) [][]byte {
			p := training()
			p.BuilderID = "https://example.com/laptop"
			return [][]byte{sign(t, statement(t, p, dep("model")), "trainer")}
		}, nil, []string{"provenance.builder.untrusted"}},
		{"builder_not_accepted_here", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Builders = []string{"https://example.com/better"}
		}, []string{"provenance.builder.untrusted"}},
		{"signer_may_not_speak_for_builder", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, training(), dep("model")), "second")}
		}, func(a *provenance.Attestation) { a.Signers = []string{"second"} }, []string{"provenance.builder.untrusted"}},
		{
			"builder_level", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) { a.MinLevel = 3 },
			[]string{"provenance.builder.level-low"},
		},
		{"build_type", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.BuildTypes = []string{provenance.BuildTypeTraining + "/"}
		}, []string{"provenance.build.type-unexpected"}},
		{"parameter_value", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Parameters = map[string]any{"recipe": "other.py"}
			a.FreeParameters = []string{"hyperparameters"}
		}, []string{"provenance.build.parameter-unexpected"}},
		{"parameter_unknown", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Parameters = map[string]any{"recipe": "train.py"}
		}, []string{"provenance.build.parameter-unexpected"}},
		{"parameter_missing", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Parameters = map[string]any{"recipe": "train.py", "seed": 1}
			a.FreeParameters = []string{"hyperparameters"}
		}, []string{"provenance.build.parameter-unexpected"}},
		{"material_changed", func(t *testing.T) [][]byte {
			poisoned := dep("poisoned rows")
			poisoned.Name = "train.jsonl"
			return [][]byte{sign(t, statement(t, training(poisoned), dep("model")), "trainer")}
		}, func(a *provenance.Attestation) {
			a.Materials = []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{sum("train.jsonl")}}}
		}, []string{"provenance.material.mismatch"}},
		{"material_named_by_address", func(t *testing.T) [][]byte {
			poisoned := provenance.Descriptor{URI: "https://data.example.com/v1/train.jsonl", Digest: provenance.DigestsOf(sum("poisoned"))}
			return [][]byte{sign(t, statement(t, training(poisoned), dep("model")), "trainer")}
		}, func(a *provenance.Attestation) {
			a.Materials = []provenance.Item{{Name: "data/train.jsonl", Digests: []digest.Digest{sum("train.jsonl")}}}
		}, []string{"provenance.material.mismatch"}},
		{"material_not_listed", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.Materials = []provenance.Item{{Name: "base", Digests: []digest.Digest{sum("base")}}}
		}, []string{"provenance.material.absent"}},
		{"material_unpinned", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, training(provenance.Descriptor{URI: "https://data.example.com/base"}), dep("model")), "trainer")}
		}, func(a *provenance.Attestation) {
			a.Materials = []provenance.Item{{Name: "base", Digests: []digest.Digest{sum("base")}}}
		}, []string{"provenance.material.unpinned"}},
		{
			"too_old", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) { a.MaxAge = 23 * time.Hour },
			[]string{"provenance.age.exceeded"},
		},
		{"before_not_before", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) {
			a.NotBefore = now.Add(-time.Hour)
		}, []string{"provenance.age.exceeded"}},
		{"no_time", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, withTime(training(), time.Time{}), dep("model")), "trainer")}
		}, func(a *provenance.Attestation) { a.MaxAge = 24 * time.Hour }, []string{"provenance.age.unstated"}},
		{"future", func(t *testing.T) [][]byte {
			return [][]byte{sign(t, statement(t, withTime(training(), now.Add(time.Hour)), dep("model")), "trainer")}
		}, func(a *provenance.Attestation) { a.MaxAge = 24 * time.Hour }, []string{"provenance.age.future"}},
		{
			"subject_name", func(t *testing.T) [][]byte { return [][]byte{good(t)} }, func(a *provenance.Attestation) { a.SubjectName = "model.onnx" },
			[]string{"provenance.subject.mismatch"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy()
			if tt.policy != nil {
				tt.policy(&p.Attestations[0])
			}
			r := verify(t, model(), evidence(tt.evidence(t)...), p)
			if diff := cmp.Diff(tt.want, ruleIDs(r)); diff != "" {
				t.Errorf("rules (-want +got):\n%s\n%+v", diff, r.Requirements)
			}
			if r.Met() || prerun.Decide(r, prerun.Critical) == prerun.Pass && tt.want[0] == "provenance.signature.untrusted" {
				t.Errorf("met: %+v", r.Requirements)
			}
			if got := prerun.Decide(r, prerun.Medium); got != prerun.Fail {
				t.Errorf("verdict %s", got)
			}
		})
	}
}
