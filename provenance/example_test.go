package provenance_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"testing/fstest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/provenance"
)

// Digests of the examples' files. A program computes them from the bytes.
const (
	modelDigest = digest.Digest("sha256:1f825aa2f0020ef7cf91dfa30da4668d791c5d4824fc8e41354b89ec05795ab3")
	dataDigest  = digest.Digest("sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7")
	baseDigest  = digest.Digest("sha256:53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3")
	otherDigest = digest.Digest("sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865")
)

// bundle is what a trainer publishes beside the model; see
// [ExampleProvenance_Statement].
func bundle() []byte {
	signer, err := provenance.NewKeySigner(keys.Demo("trainer"))
	if err != nil {
		log.Fatal(err)
	}
	statement, err := provenance.Provenance{
		BuildType:          provenance.BuildTypeTraining,
		ExternalParameters: map[string]any{"recipe": "train.py"},
		ResolvedDependencies: []provenance.Descriptor{
			{Name: "train.jsonl", Digest: provenance.DigestsOf(dataDigest)},
			{URI: "pkg:huggingface/example/base@53c234e", Digest: provenance.DigestsOf(baseDigest)},
		},
		BuilderID:  "https://example.com/trainer",
		FinishedOn: time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC),
	}.Statement(provenance.Descriptor{Name: "model", Digest: provenance.DigestsOf(modelDigest)})
	if err != nil {
		log.Fatal(err)
	}
	out, err := statement.Sign(context.Background(), signer)
	if err != nil {
		log.Fatal(err)
	}
	return out
}

// A trainer records what went into a model and signs it.
func ExampleProvenance_Statement() {
	signer, err := provenance.NewKeySigner(keys.Demo("trainer")) // any prerun.Signer will do
	if err != nil {
		log.Fatal(err)
	}
	statement, err := provenance.Provenance{
		BuildType:          provenance.BuildTypeTraining,
		ExternalParameters: map[string]any{"recipe": "train.py"},
		ResolvedDependencies: []provenance.Descriptor{
			{Name: "train.jsonl", Digest: provenance.DigestsOf(dataDigest)},
		},
		BuilderID:  "https://example.com/trainer",
		FinishedOn: time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC),
	}.Statement(provenance.Descriptor{Name: "model", Digest: provenance.DigestsOf(modelDigest)})
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := statement.Sign(context.Background(), signer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(bundle) > 0, statement.PredicateType)
	// Output: true https://slsa.dev/provenance/v1
}

// Judge a model by the evidence beside it.
func ExampleVerifier_Verify() {
	trainer, err := provenance.NewKeyVerifier(keys.Demo("trainer").Public())
	if err != nil {
		log.Fatal(err)
	}
	verifier := provenance.Verifier{
		Trust: provenance.Trust{
			Signers:  map[string]prerun.Verifier{"trainer": trainer},
			Builders: []provenance.Builder{{ID: "https://example.com/trainer", Signers: []string{"trainer"}, Level: 2}},
		},
		Now: func() time.Time { return time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC) },
	}
	policy := provenance.Policy{
		Attestations: []provenance.Attestation{{
			Name:          "training",
			PredicateType: provenance.ProvenanceType,
			Signers:       []string{"trainer"},
			Materials:     []provenance.Item{{Name: "train.jsonl"}},
			MaxAge:        90 * 24 * time.Hour,
		}},
		Lineage: &provenance.Lineage{Depth: 1},
	}
	artifact := provenance.Artifact{
		Name:    "model",
		Digests: []digest.Digest{modelDigest},
		Inputs:  []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{dataDigest}}},
	}
	evidence := provenance.Dir(fstest.MapFS{"model.sigstore.json": {Data: bundle()}})

	report, err := verifier.Verify(context.Background(), artifact, evidence, policy)
	if err != nil {
		log.Fatal(err) // nothing was decided
	}
	for _, r := range report.Requirements {
		fmt.Printf("%-30s %s: %s\n", r.Name, r.Outcome, r.Reason)
	}
	fmt.Println(prerun.Decide(report, prerun.Medium))
	// Output:
	// training/statement             met: signed by trainer
	// training/subject               met: 1 subject matched by digest
	// training/builder               met: "https://example.com/trainer", trusted to level 2
	// training/material/train.jsonl  met: dependency 0 has its digest
	// training/age                   met: 2026-06-30T12:00:00Z is within the limits
	// lineage                        met: every edge up to depth 1 is verified
	// pass
}

// A policy file brings its keys along. This one finds that the data in hand is
// not what the model was trained on.
func ExampleParsePolicy() {
	key, err := keys.MarshalPublic(keys.Demo("trainer").Public())
	if err != nil {
		log.Fatal(err)
	}
	policy, err := provenance.ParsePolicy(fmt.Appendf(nil, `{
		"schema": "prerun/provenance-policy/v1",
		"signers": [{"name": "trainer", "key": %q}],
		"builders": [{"id": "https://example.com/trainer", "signers": ["trainer"], "level": 2}],
		"attestations": [{
			"name": "training",
			"predicateType": "https://slsa.dev/provenance/v1",
			"signers": ["trainer"],
			"materials": [{"name": "train.jsonl"}]
		}]
	}`, key))
	if err != nil {
		log.Fatal(err)
	}
	report, err := provenance.Verifier{}.Verify(context.Background(), provenance.Artifact{
		Name:    "model",
		Digests: []digest.Digest{modelDigest},
		Inputs:  []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{otherDigest}}},
	}, provenance.Memory(provenance.Evidence{Name: "model.sigstore.json", Data: bundle()}), policy)
	if err != nil {
		log.Fatal(err)
	}
	for f := range report.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Locations[0].Path, f.Locations[0].Fragment)
	}
	// Output: critical provenance.material.mismatch model.sigstore.json /predicate/buildDefinition/resolvedDependencies/0
}

// The lineage shows what is proven and what is merely said.
func ExampleReport_Lineage() {
	trainer, err := provenance.NewKeyVerifier(keys.Demo("trainer").Public())
	if err != nil {
		log.Fatal(err)
	}
	policy := provenance.Policy{
		Trust: provenance.Trust{
			Signers:  map[string]prerun.Verifier{"trainer": trainer},
			Builders: []provenance.Builder{{ID: "https://example.com/trainer", Signers: []string{"trainer"}}},
		},
		Attestations: []provenance.Attestation{{
			Name: "training", PredicateType: provenance.ProvenanceType, Signers: []string{"trainer"},
		}},
	}
	report, err := provenance.Verifier{}.Verify(context.Background(), provenance.Artifact{
		Name: "model", Digests: []digest.Digest{modelDigest},
	}, modelCard{bundle()}, policy)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range report.Lineage().Edges {
		fmt.Printf("%.13s <- %.13s %s (%s)\n", e.Child, e.Parent, e.Grade, e.Evidence)
	}
	// Output:
	// sha256:1f825a <- sha256:3a6eb0 verified (model.sigstore.json)
	// sha256:1f825a <- sha256:53c234 verified (model.sigstore.json)
	// sha256:1f825a <- unpinned:exam claimed (README.md base_model)
}

// modelCard is a source that also knows what a model card claims.
type modelCard struct{ bundle []byte }

func (c modelCard) Attestations(context.Context) iter.Seq2[provenance.Evidence, error] {
	return func(yield func(provenance.Evidence, error) bool) {
		yield(provenance.Evidence{Name: "model.sigstore.json", Data: c.bundle}, nil)
	}
}

func (c modelCard) Claims(context.Context) iter.Seq2[provenance.Claim, error] {
	return func(yield func(provenance.Claim, error) bool) {
		yield(provenance.Claim{
			Parent: provenance.Descriptor{Name: "example/another-base"},
			Source: "README.md base_model",
		}, nil)
	}
}

// Summarise a verification so that others need not repeat it.
func ExampleVSA_Statement() {
	statement, err := provenance.VSA{
		VerifierID:     "https://example.com/gate",
		TimeVerified:   time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
		ResourceURI:    "pkg:huggingface/example/model",
		Policy:         provenance.Descriptor{URI: "https://example.com/policy"},
		Passed:         true,
		VerifiedLevels: []string{"SLSA_BUILD_LEVEL_2"},
		Extensions:     map[string]any{"prerun_checks": map[string]string{"scan": "pass"}},
	}.Statement(provenance.Descriptor{Name: "model", Digest: provenance.DigestsOf(modelDigest)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(statement.Predicate))
	// Output: {"policy":{"uri":"https://example.com/policy"},"prerun_checks":{"scan":"pass"},"resourceUri":"pkg:huggingface/example/model","timeVerified":"2026-07-01T00:00:00Z","verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_2"],"verifier":{"id":"https://example.com/gate"}}
}

// tarball is a third party's evidence source: bundles in a tar archive.
type tarball []byte

func (archive tarball) Attestations(ctx context.Context) iter.Seq2[provenance.Evidence, error] {
	return func(yield func(provenance.Evidence, error) bool) {
		r := tar.NewReader(bytes.NewReader(archive))
		for ctx.Err() == nil {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(provenance.Evidence{}, err) // no name: the source failed
				return
			}
			data, err := io.ReadAll(io.LimitReader(r, provenance.MaxEvidence+1))
			if !yield(provenance.Evidence{Name: h.Name, Data: data}, err) {
				return
			}
		}
	}
}

// Evidence may come from anywhere; provenancetest has a test for such sources.
func ExampleEvidenceSource() {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "model.sigstore.json", Size: int64(len(bundle())), Mode: 0o644})
	_, _ = w.Write(bundle())
	_ = w.Close()
	for e, err := range tarball(archive.Bytes()).Attestations(context.Background()) {
		fmt.Println(e.Name, err)
	}
	// Output: model.sigstore.json <nil>
}
