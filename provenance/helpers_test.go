package provenance_test

import (
	"crypto"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/provenance"
)

const (
	trainerID = "https://example.com/trainer"
	otherType = "https://example.com/other/v1"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// sum is the digest of a thing that needs no bytes of its own.
func sum(name string) digest.Digest { return digestx.Of([]byte(name)) }

func dep(name string) provenance.Descriptor {
	return provenance.Descriptor{Name: name, Digest: provenance.DigestsOf(sum(name))}
}

func signer(t testing.TB, label string) prerun.Signer {
	t.Helper()
	s, err := provenance.NewKeySigner(keys.Demo(label))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB, label string) prerun.Verifier {
	t.Helper()
	v, err := provenance.NewKeyVerifier(crypto.PublicKey(keys.Demo(label).Public()))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// trust knows the labels as signers, and the first as the trainer.
func trust(t testing.TB, labels ...string) provenance.Trust {
	t.Helper()
	tr := provenance.Trust{Signers: make(map[string]prerun.Verifier)}
	for _, label := range labels {
		tr.Signers[label] = verifier(t, label)
	}
	tr.Builders = []provenance.Builder{{ID: trainerID, Signers: labels[:1], Level: 2}}
	return tr
}

// training is provenance of a build from dependencies, finished a day ago.
func training(deps ...provenance.Descriptor) provenance.Provenance {
	return provenance.Provenance{
		BuildType:            provenance.BuildTypeTraining,
		ExternalParameters:   map[string]any{"recipe": "train.py", "hyperparameters": map[string]any{"epochs": 3, "rate": 0.001}},
		ResolvedDependencies: deps,
		BuilderID:            trainerID,
		StartedOn:            now.Add(-25 * time.Hour),
		FinishedOn:           now.Add(-24 * time.Hour),
	}
}

func statement(t testing.TB, p provenance.Provenance, subjects ...provenance.Descriptor) *provenance.Statement {
	t.Helper()
	s, err := p.Statement(subjects...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *provenance.Statement, label string) []byte {
	t.Helper()
	b, err := s.Sign(t.Context(), signer(t, label))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signRaw signs any payload, so that good signatures stand on bad statements.
func signRaw(t testing.TB, payload, label string) []byte {
	t.Helper()
	b, err := signer(t, label).Sign(t.Context(), provenance.PayloadType, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func evidence(documents ...[]byte) provenance.EvidenceSource {
	var out []provenance.Evidence
	for i, d := range documents {
		out = append(out, provenance.Evidence{Name: string(rune('a'+i)) + ".sigstore.json", Data: d})
	}
	return provenance.Memory(out...)
}

func model() provenance.Artifact {
	return provenance.Artifact{Name: "model", Digests: []digest.Digest{sum("model")}}
}

// policy asks for provenance by the trainer.
func policy() provenance.Policy {
	return provenance.Policy{
		Name: "test",
		Attestations: []provenance.Attestation{{
			Name:          "training",
			PredicateType: provenance.ProvenanceType,
			Signers:       []string{"trainer"},
		}},
	}
}

func verify(t testing.TB, a provenance.Artifact, src provenance.EvidenceSource, p provenance.Policy) *provenance.Report {
	t.Helper()
	v := provenance.Verifier{Trust: trust(t, "trainer", "second", "third"), Now: clock}
	r, err := v.Verify(t.Context(), a, src, p)
	if err != nil {
		t.Fatal(err)
	}
	for f := range r.Findings() {
		if err := f.Check(); err != nil {
			t.Errorf("finding: %v", err)
		}
	}
	return r
}

// ruleIDs are the ids of findings that no threshold above info lets through.
func ruleIDs(src prerun.Source) []string {
	var ids []string
	for f := range src.Findings() {
		if f.Severity > prerun.Info {
			ids = append(ids, f.Rule.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
