package provenance_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/provenance"
)

// Parameters are compared by value and exactly.
func TestParameterEquality(t *testing.T) {
	n := func(s string) any { return json.Number(s) }
	for _, tt := range []struct {
		name           string
		expected, have any
		met            bool
	}{
		{"int", 3, n("3"), true},
		{"integral_float", 3, n("3.0"), true},
		{"exponent", 0.001, n("1e-3"), true},
		{"exponent_in_capitals", n("1E3"), n("1000"), true},
		{"zero", 0, n("-0.0e7"), true},
		{"negative", -1, n("1"), false},
		{"beyond_float64", n("9007199254740993"), n("9007199254740992"), false},
		{"huge_exponent", n("1e999999999999"), n("10e999999999998"), false},
		{"huge_exponent_same_text", n("1e999999999999"), n("1e999999999999"), true},
		{"string_is_no_number", "3", n("3"), false},
		{"true_is_no_string", true, "true", false},
		{"null_is_no_false", nil, false, false},
		{"order_of_members", map[string]any{"a": 1, "b": []any{1, 2}}, map[string]any{"b": []any{1, 2}, "a": 1}, true},
		{"order_of_items", []any{1, 2}, []any{2, 1}, false},
		{"missing_member", map[string]any{"a": 1, "b": 2}, map[string]any{"a": 1}, false},
		{"other_member", map[string]any{"a": 1}, map[string]any{"b": 1}, false},
		{"deep", []any{map[string]any{"x": "y"}}, []any{map[string]any{"x": "z"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := training()
			b.ExternalParameters = map[string]any{"p": tt.have}
			p := policy()
			p.Attestations[0].Parameters = map[string]any{"p": tt.expected}
			r := verify(t, model(), evidence(sign(t, statement(t, b, dep("model")), "trainer")), p)
			if r.Met() != tt.met {
				t.Errorf("%+v", r.Requirements)
			}
		})
	}
}

// An artefact may be known by several digests, and by its files.
func TestSubjectMatching(t *testing.T) {
	root, oci := sum("root"), sum("oci manifest")
	folder := provenance.Artifact{
		Name:    "model",
		Digests: []digest.Digest{root, oci},
		Files:   []provenance.Item{{Name: "a", Digests: []digest.Digest{sum("a")}}, {Name: "b", Digests: []digest.Digest{sum("b")}}},
	}
	files := folder
	files.Digests = nil
	with := func(d provenance.Descriptor, algorithm, value string) provenance.Descriptor {
		set := provenance.DigestSet{algorithm: value}
		maps.Copy(set, d.Digest)
		d.Digest = set
		return d
	}
	for _, tt := range []struct {
		name     string
		artifact provenance.Artifact
		subjects []provenance.Descriptor
		want     []int // nil means refused
	}{
		{"root", folder, deps("x", "root"), []int{1}},
		{"alias", folder, deps("oci manifest"), []int{0}},
		{"files", folder, deps("b", "a", "log"), []int{0, 1}},
		{"one_file", folder, deps("a"), nil},
		{"files_without_root", files, deps("a", "b"), []int{0, 1}},
		{"one_file_without_root", files, deps("b"), nil},
		{"unknown_algorithm_beside", folder, []provenance.Descriptor{with(dep("root"), "blake9", "anything")}, []int{0}},
		{"stronger_digest_beside", folder, []provenance.Descriptor{with(dep("root"), "sha512", strings.Repeat(hexA, 2))}, []int{0}},
		{"same_subject_for_both_files", files, []provenance.Descriptor{with(dep("a"), "sha512", strings.Repeat(hexA, 2))}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verify(t, tt.artifact, evidence(sign(t, statement(t, training(), tt.subjects...), "trainer")), policy())
			if tt.want == nil {
				if diff := cmp.Diff([]string{"provenance.subject.mismatch"}, ruleIDs(r)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			if !r.Met() {
				t.Fatalf("%+v", r.Requirements)
			}
			if diff := cmp.Diff(tt.want, r.Accepted[0].Subjects); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The threshold counts signers of one statement, over one envelope or several.
func TestThreshold(t *testing.T) {
	good := payload(t, training(), dep("model"))
	p := policy()
	p.Attestations[0].Signers = []string{"trainer", "second", "third"}
	for _, tt := range []struct {
		name      string
		threshold int
		documents [][]byte
		met       bool
	}{
		{"two_in_one_envelope", 2, [][]byte{envelope(t, good, "stranger", "second", "trainer").Encode()}, true},
		{"two_bundles", 2, [][]byte{signRaw(t, string(good), "trainer"), signRaw(t, string(good), "third")}, true},
		{"bundle_and_envelope", 3, [][]byte{signRaw(t, string(good), "trainer"), envelope(t, good, "second", "third").Encode()}, true},
		{"not_three", 3, [][]byte{envelope(t, good, "second", "trainer", "stranger").Encode()}, false},
		{"white_space_makes_another_statement", 2, [][]byte{signRaw(t, string(good), "trainer"), signRaw(t, string(good)+" ", "third")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.Attestations[0].Threshold = tt.threshold
			r := verify(t, model(), evidence(tt.documents...), p)
			want := []string{"provenance.signature.threshold"}
			if tt.met {
				want = nil
			}
			if diff := cmp.Diff(want, ruleIDs(r)); diff != "" || r.Met() != tt.met {
				t.Errorf("(-want +got):\n%s\n%+v", diff, r.Requirements)
			}
		})
	}
}

// A policy with two attestations reports each by its own name.
func TestSeveralAttestations(t *testing.T) {
	p := policy()
	p.Attestations = append(p.Attestations, provenance.Attestation{
		Name: "evaluation", PredicateType: "https://in-toto.io/attestation/test-result/v0.1", Signers: []string{"second"},
	})
	result := &provenance.Statement{
		Subjects:      []provenance.Descriptor{dep("model")},
		PredicateType: "https://in-toto.io/attestation/test-result/v0.1",
		Predicate:     json.RawMessage(`{"result": "PASSED"}`),
	}
	build := sign(t, statement(t, training(), dep("model")), "trainer")
	if r := verify(t, model(), evidence(build, sign(t, result, "second")), p); !r.Met() {
		t.Errorf("%+v", r.Requirements)
	}
	r := verify(t, model(), evidence(build), p)
	got := make(map[string]string)
	for _, q := range r.Requirements {
		got[q.Name] = q.Outcome.String()
	}
	want := map[string]string{
		"training/statement": "met", "training/subject": "met", "training/builder": "met",
		"evaluation/statement": "absent", "evaluation/subject": "absent",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// failing is a source with one document that cannot be read, and one that can.
type failing struct {
	name string
	good []byte
}

func (f failing) Attestations(context.Context) iter.Seq2[provenance.Evidence, error] {
	return func(yield func(provenance.Evidence, error) bool) {
		_ = yield(provenance.Evidence{Name: f.name}, fs.ErrPermission) &&
			yield(provenance.Evidence{Name: "good.json", Data: f.good}, nil)
	}
}

func TestFailingSource(t *testing.T) {
	good := sign(t, statement(t, training(), dep("model")), "trainer")
	r := verify(t, model(), failing{"locked.json", good}, policy())
	if !r.Met() || len(r.Rejected) != 1 || r.Rejected[0].Evidence != "locked.json" || r.Rejected[0].Digest != "" {
		t.Errorf("%+v\n%+v", r.Requirements, r.Rejected)
	}
	v := provenance.Verifier{Trust: trust(t, "trainer"), Now: clock}
	if _, err := v.Verify(t.Context(), model(), failing{"", good}, policy()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cancel(reason)
	if _, err := v.Verify(ctx, model(), provenance.Dir(fstest.MapFS{"a.json": {Data: good}}), policy()); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
}

func TestLongLineIsUnreadable(t *testing.T) {
	fsys := fstest.MapFS{"a.jsonl": {Data: make([]byte, provenance.MaxEvidence+1)}}
	for i := range fsys["a.jsonl"].Data {
		fsys["a.jsonl"].Data[i] = ' '
	}
	r := verify(t, model(), provenance.Dir(fsys), policy())
	if got := prerun.Decide(r, prerun.Medium); got != prerun.Incomplete {
		t.Errorf("verdict %s", got)
	}
}

func TestKeysOfOtherKinds(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := provenance.NewKeySigner(key); err == nil || s != nil {
		t.Errorf("signer %v, error %v", s, err)
	}
	if v, err := provenance.NewKeyVerifier(key.Public()); err == nil || v != nil {
		t.Errorf("verifier %v, error %v", v, err)
	}
}
