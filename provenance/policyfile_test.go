package provenance_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/provenance"
)

func pem(t testing.TB, label string) string {
	t.Helper()
	text, err := keys.MarshalPublic(keys.Demo(label).Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// file is a policy that uses every name of the schema.
func file(t testing.TB) string {
	return `# a comment
schema: prerun/provenance-policy/v1
name: mailtriage
expires: 2027-01-01T00:00:00Z
signers:
  - name: trainer
    key: |
` + indent(pem(t, "trainer")) + `
  - name: gate
    key: |
` + indent(pem(t, "second")) + `
builders:
  - {id: "https://example.com/trainer", signers: [trainer], level: 2}
attestations:
  - name: training
    predicateType: https://slsa.dev/provenance/v1
    signers: [trainer, gate]
    threshold: 1
    builders: ["https://example.com/trainer"]
    minLevel: 2
    buildTypes: ["https://github.com/prerun/prerun/buildtypes/training/v1"]
    parameters:
      recipe: train.py
      hyperparameters: {epochs: 3, rate: 1e-3}
    freeParameters: [seed]
    materials:
      - name: train.jsonl
      - {name: base, digests: ["` + string(sum("base")) + `"]}
    subjectName: model
    maxAge: 48h
    notBefore: 2026-01-01T00:00:00Z
  - name: gate
    predicateType: https://slsa.dev/verification_summary/v1
    signers: [gate]
    summary: {resourceUri: "pkg:x", levels: [SLSA_BUILD_LEVEL_2], policy: "` + string(sum("p")) + `"}
lineage:
  depth: 2
  signers: [trainer]
  threshold: 1
  builders: ["https://example.com/trainer"]
  minLevel: 1
  leaves: [{kind: dataset}, {uri: "git+https://github.com/example/"}, {mediaType: a/b}, {material: train.jsonl}]
  insecureGitSHA1: true
denied: ["` + string(sum("bad")) + `"]
`
}

func indent(s string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n      ")
}

func TestParsePolicy(t *testing.T) {
	p, err := provenance.ParsePolicy([]byte(file(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Trust.Signers) != 2 || len(p.Trust.Builders) != 1 {
		t.Errorf("trust %+v", p.Trust)
	}
	want := &provenance.Lineage{
		Depth: 2, Signers: []string{"trainer"}, Threshold: 1, InsecureGitSHA1: true,
		Builders: []string{"https://example.com/trainer"}, MinLevel: 1,
		Leaves: []provenance.Leaf{{Kind: "dataset"}, {URI: "git+https://github.com/example/"}, {MediaType: "a/b"}, {Material: "train.jsonl"}},
	}
	if diff := cmp.Diff(want, p.Lineage); diff != "" {
		t.Errorf("lineage (-want +got):\n%s", diff)
	}
	a := p.Attestations[0]
	if a.MaxAge != 48*time.Hour || a.NotBefore.Year() != 2026 || len(a.Materials) != 2 || a.Materials[1].Digests[0] != sum("base") {
		t.Errorf("attestation %+v", a)
	}
	p.Attestations = p.Attestations[:1]
	p.Lineage.Depth = 1
	art := model()
	art.Inputs = []provenance.Item{{Name: "train.jsonl", Digests: []digest.Digest{sum("train.jsonl")}}}
	r, err := provenance.Verifier{Now: clock}.Verify(t.Context(), art,
		evidence(sign(t, statement(t, training(dep("train.jsonl"), dep("base")), dep("model")), "trainer")), p)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Met() || r.Policy != "mailtriage" {
		t.Errorf("%+v", r.Requirements)
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	good := file(t)
	for _, tt := range []struct {
		name, old, new, want string
	}{
		{"unknown_name", "threshold: 1\n    builders", "treshold: 1\n    builders", `unknown name "treshold"`},
		{"case_variant", "maxAge: 48h", "maxage: 48h", `must be spelled "maxAge"`},
		{"duplicate_name", "minLevel: 2", "minLevel: 2\n    minLevel: 0", "minLevel"},
		{"schema", "policy/v1", "policy/v2", "schema"},
		{"no_schema", "schema: prerun/provenance-policy/v1\n", "", `"schema" is missing`},
		{"bad_key", "-----BEGIN PUBLIC KEY-----\n", "-----BEGIN NOTHING-----\n", "signers/0/key"},
		{"signer_twice", "name: gate\n    key", "name: trainer\n    key", "not unique"},
		{"no_predicate_type", "    predicateType: https://slsa.dev/provenance/v1\n", "", `"predicateType" is missing`},
		{"empty_predicate_type", "predicateType: https://slsa.dev/provenance/v1", `predicateType: ""`, "predicateType"},
		{"no_signers", "signers: [trainer, gate]", "signers: []", "who may sign"},
		{"impossible_threshold", "threshold: 1\n    builders", "threshold: 3\n    builders", "can never be"},
		{"negative_threshold", "threshold: 1\n    builders", "threshold: -1\n    builders", "can never be"},
		{"age_without_unit", "maxAge: 48h", "maxAge: 48", "duration"},
		{"negative_age", "maxAge: 48h", "maxAge: -48h", "negative"},
		{"bad_digest", `digests: ["` + string(sum("base")), `digests: ["sha256:zz`, "digests"},
		{"denied_upper_case", string(sum("bad")), strings.ToUpper(string(sum("bad"))), "denied"},
		{"leaf_of_everything", "{kind: dataset}", "{}", "would be everything"},
		{"leaf_prefix_of_everything", `uri: "git+https://github.com/example/"`, `uri: "/"`, "too much"},
		{"depth_0", "depth: 2", "depth: 0", "depth"},
		{"lineage_level_without_signers", "  signers: [trainer]\n  threshold: 1\n", "", "go with signers"},
		{"material_twice", "name: base,", "name: train.jsonl,", "not unique"},
		{"summary_on_provenance", "subjectName: model", "summary: {}", "summary"},
		{"anchor", "name: mailtriage", "name: &x mailtriage", "anchors"},
		{"two_documents", "# a comment", "a: b\n---", "document"},
		{"attestation_name_twice", "- name: gate\n    predicateType", "- name: training\n    predicateType", "not unique"},
		{"attestation_name_with_slash", "- name: gate\n    predicateType", "- name: a/b\n    predicateType", "slash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(good, tt.old, tt.new, 1)
			if bad == good {
				t.Fatal("the test changes nothing")
			}
			p, err := provenance.ParsePolicy([]byte(bad))
			if !errors.Is(err, provenance.ErrPolicy) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("policy %+v, error %v", p, err)
			}
		})
	}
	for _, data := range []string{"", "{}", "[]", "null", `{"schema":"prerun/provenance-policy/v1","attestations":[]}`} {
		if _, err := provenance.ParsePolicy([]byte(data)); !errors.Is(err, provenance.ErrPolicy) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestPolicyMemory(t *testing.T) {
	data := []byte(`{"schema":"prerun/provenance-policy/v1","attestations":[` + strings.Repeat("{},", 1<<16) + `{}]}`)
	testutil.AllocBound(t, uint64(len(data))*320+1<<20, func() {
		if _, err := provenance.ParsePolicy(data); err == nil {
			t.Error("no error")
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(file(f)))
	f.Add([]byte(`{"schema":"prerun/provenance-policy/v1","attestations":[{"name":"a","predicateType":"p","signers":["s"]}],"lineage":{"depth":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := provenance.ParsePolicy(data)
		if err != nil {
			if !errors.Is(err, provenance.ErrPolicy) {
				t.Fatalf("%v does not wrap ErrPolicy", err)
			}
			return
		}
		if err := p.Check(); err != nil {
			t.Fatalf("parsed a policy that is refused: %v", err)
		}
		// Without evidence no policy is met.
		if r, err := (provenance.Verifier{Now: clock}).Verify(t.Context(), model(), nil, p); err == nil && r.Met() {
			t.Fatalf("met by nothing: %s", data)
		}
	})
}
