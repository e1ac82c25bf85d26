package provenance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/provenance"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// members makes a statement of members, so that each test shows only what is
// wrong with it.
func members(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }

const (
	typ     = `"_type":"https://in-toto.io/Statement/v1"`
	subject = `"subject":[{"name":"m","digest":{"sha256":"` + hexA + `"}}]`
	ptype   = `"predicateType":"https://example.com/p/v1"`
	pred    = `"predicate":{}`
)

// TestParserDifferentials is the table of inputs that the usual decoders read
// in different ways: encoding/json, protobuf's JSON, and combinations of both.
// None may be accepted in an ambiguous reading.
func TestParserDifferentials(t *testing.T) {
	const q = `"https://example.com/q/v1"`
	for _, tt := range []struct {
		name, payload string
		accept        bool
	}{
		{"plain", members(typ, subject, ptype, pred), true},
		{"duplicate_predicate_type", members(typ, subject, ptype, `"predicateType":`+q, pred), false},
		{"predicate_type_then_case_variant", members(typ, subject, ptype, `"PredicateType":`+q, pred), false},
		{"case_variant_alone", members(typ, subject, `"PredicateType":`+q, pred), false},
		{"kelvin_sign_variant", members(typ, subject, ptype, `"\u017fubject":[]`, pred), false},
		{"protobuf_name_alone", members(typ, subject, `"predicate_type":`+q, pred), false},
		{"protobuf_name_beside", members(typ, subject, ptype, `"predicate_type":`+q, pred), false},
		{"protobuf_type_beside", members(typ, subject, ptype, `"type":"x"`, pred), false},
		{"unknown_top_level_field", members(typ, subject, ptype, pred, `"extra":{"a":[1]}`), true},
		{"unknown_subject_field", members(typ, `"subject":[{"digest":{"sha256":"`+hexA+`"},"x_y":1}]`, ptype, pred), true},
		{"duplicate_subject", members(typ, subject, subject, ptype, pred), false},
		{"second_subject_case_variant", members(typ, subject, `"Subject":[{"digest":{"sha256":"`+hexB+`"}}]`, ptype, pred), false},
		{"duplicate_digest_algorithm", members(typ, `"subject":[{"digest":{"sha256":"`+hexA+`","sha256":"`+hexB+`"}}]`, ptype, pred), false},
		{"duplicate_key_in_predicate", members(typ, subject, ptype, `"predicate":{"a":{"b":1,"b":2}}`), false},
		{"escaped_duplicate_key_in_predicate", members(typ, subject, ptype, `"predicate":{"a":1,"\u0061":2}`), false},
		{"invalid_utf8", members(typ, subject, ptype, "\"predicate\":{\"a\":\"\xff\"}"), false},
		{"lone_surrogate", members(typ, subject, ptype, `"predicate":{"a":"\ud800"}`), false},
		{"trailing_object", members(typ, subject, ptype, pred) + "{}", false},
		{"trailing_space", members(typ, subject, ptype, pred) + "\n", true},
		{"byte_order_mark", "\ufeff" + members(typ, subject, ptype, pred), false},
		{"predicate_is_string", members(typ, subject, ptype, `"predicate":"{}"`), false},
		{"predicate_is_array", members(typ, subject, ptype, `"predicate":[]`), false},
		{"predicate_absent", members(typ, subject, ptype), true},
		{"predicate_null", members(typ, subject, ptype, `"predicate":null`), true},
		{"other_type", members(`"_type":"https://in-toto.io/Statement/v2"`, subject, ptype, pred), false},
		{"legacy_type", members(`"_type":"https://in-toto.io/Statement/v0.1"`, subject, ptype, pred), false},
		{"type_absent", members(subject, ptype, pred), false},
		{"predicate_type_absent", members(typ, subject, pred), false},
		{"predicate_type_empty", members(typ, subject, `"predicateType":""`, pred), false},
		{"predicate_type_null", members(typ, subject, `"predicateType":null`, pred), false},
		{"upper_case_hex", members(typ, `"subject":[{"digest":{"sha256":"`+strings.ToUpper(hexA)+`"}}]`, ptype, pred), false},
		{"short_hex", members(typ, `"subject":[{"digest":{"sha256":"`+hexA[1:]+`"}}]`, ptype, pred), false},
		{"unknown_algorithm_not_hex", members(typ, `"subject":[{"digest":{"sha256":"`+hexA+`","vendor":"not hex"}}]`, ptype, pred), true},
		{"digest_is_number", members(typ, `"subject":[{"digest":{"vendor":1}}]`, ptype, pred), false},
		{"git_sha256", members(typ, `"subject":[{"digest":{"gitCommit":"`+hexA+`"}}]`, ptype, pred), true},
		{"no_subject", members(typ, `"subject":[]`, ptype, pred), false},
		{"subject_null", members(typ, `"subject":null`, ptype, pred), false},
		{"subject_absent", members(typ, ptype, pred), false},
		{"subject_without_digest", members(typ, `"subject":[{"name":"m"}]`, ptype, pred), false},
		{"subject_with_empty_digest", members(typ, `"subject":[{"name":"m","digest":{}}]`, ptype, pred), false},
		{"second_subject_without_digest", members(typ, `"subject":[{"digest":{"sha256":"`+hexA+`"}},{"name":"m"}]`, ptype, pred), false},
		{"name_climbs", members(typ, `"subject":[{"name":"dir/../m","digest":{"sha256":"`+hexA+`"}}]`, ptype, pred), false},
		{"name_climbs_backwards", members(typ, `"subject":[{"name":"..\\m","digest":{"sha256":"`+hexA+`"}}]`, ptype, pred), false},
		{"name_with_escape_code", members(typ, `"subject":[{"name":"\u001b[31m","digest":{"sha256":"`+hexA+`"}}]`, ptype, pred), false},
		{"empty", "", false},
		{"array", "[]", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := provenance.ParseStatement([]byte(tt.payload))
			if (err == nil) != tt.accept {
				t.Fatalf("error %v, want accepted %v", err, tt.accept)
			}
			if err != nil {
				if !errors.Is(err, provenance.ErrStatement) {
					t.Errorf("%v does not wrap ErrStatement", err)
				}
				return
			}
			if s.PredicateType != "https://example.com/p/v1" || s.Subjects[0].Digest["sha256"]+s.Subjects[0].Digest["gitCommit"] != hexA {
				t.Errorf("read %+v", s)
			}
		})
	}
}

// A signed statement of each refused form must not meet a policy that the plain
// form meets.
func TestDifferentialsNeverVerify(t *testing.T) {
	predicate := `"predicate":{"buildDefinition":{"buildType":"t","externalParameters":{}},"runDetails":{"builder":{"id":"` + trainerID + `"}}}`
	ptype := `"predicateType":"` + provenance.ProvenanceType + `"`
	subject := `"subject":[{"name":"m","digest":{"sha256":"` + string(sum("model"))[7:] + `"}}]`
	other := `"subject":[{"name":"m","digest":{"sha256":"` + hexB + `"}}]`
	for _, tt := range []struct {
		name, payload string
		met           bool
	}{
		{"plain", members(typ, subject, ptype, predicate), true},
		{"two_predicate_types", members(typ, subject, `"predicateType":"x"`, ptype, predicate), false},
		{"two_subjects", members(typ, other, subject, ptype, predicate), false},
		{"case_variant_subject", members(typ, other, strings.Replace(subject, "subject", "Subject", 1), ptype, predicate), false},
		{"protobuf_spelling", members(typ, subject, strings.Replace(ptype, "predicateType", "predicate_type", 1), predicate), false},
		{"builder_twice", members(typ, subject, ptype, strings.Replace(predicate, `"builder":`, `"builder":{"id":"x"},"builder":`, 1)), false},
		{"protobuf_spelling_in_predicate", members(typ, subject, ptype, strings.Replace(predicate, "{\"buildDef", "{\"build_definition\":{},\"buildDef", 1)), false},
		{"predicate_null", members(typ, subject, ptype, `"predicate":null`), false},
		{"trailing", members(typ, subject, ptype, predicate) + " {}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verify(t, model(), evidence(signRaw(t, tt.payload, "trainer")), policy())
			if r.Met() != tt.met {
				t.Errorf("met %v: %+v", r.Met(), r.Requirements)
			}
			if !tt.met {
				if diff := cmp.Diff([]string{"provenance.statement.malformed"}, ruleIDs(r)); diff != "" {
					t.Errorf("rules (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestNumbersStayExact(t *testing.T) {
	const big = "9007199254740993" // 2^53+1, which a float64 has not
	s, err := provenance.ParseStatement([]byte(members(typ, subject, ptype, `"predicate": { "n" : `+big+` , "x":[1e400]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{ "n" : ` + big + ` , "x":[1e400]}`; string(s.Predicate) != want {
		t.Errorf("predicate %s, want %s", s.Predicate, want)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	payload := members(typ, subject, ptype, `"predicate":[]`)
	_, err := provenance.ParseStatement([]byte(payload))
	e, ok := errors.AsType[*provenance.StatementError](err)
	if !ok || e.Offset != strings.Index(payload, "[]") {
		t.Errorf("%v (%+v)", err, e)
	}
}

func TestProvenanceRoundTrip(t *testing.T) {
	p := training(dep("train.jsonl"), provenance.Descriptor{
		URI: "git+https://github.com/example/code", Digest: provenance.DigestSet{"gitCommit": hexA[:40]},
		MediaType: "text/x-python", DownloadLocation: "https://example.com/x", Content: []byte("hi"),
		Annotations: map[string]any{"kind": "code", "n": json.Number("9007199254740993"), "list": []any{true, nil, "x"}},
	})
	p.ExternalParameters = map[string]any{"recipe": "<train & test>.py"}
	p.InternalParameters = map[string]any{"runner": "r1"}
	p.BuilderVersion = map[string]string{"trainer": "1.2"}
	p.BuilderDependencies = []provenance.Descriptor{dep("image")}
	p.InvocationID = "run/7"
	p.Byproducts = []provenance.Descriptor{dep("log")}
	s := statement(t, p, dep("model"))
	got, err := s.Provenance()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&p, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	one, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := provenance.ParseStatement(one)
	if err != nil {
		t.Fatal(err)
	}
	two, err := again.Encode()
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("%v\n%s\n%s", err, one, two)
	}
	if bytes.Contains(one, []byte(`\u003c`)) {
		t.Errorf("escaped for HTML: %s", one)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    provenance.Provenance
		subj []provenance.Descriptor
	}{
		{"no_subject", training(), nil},
		{"no_digest", training(), []provenance.Descriptor{{Name: "m"}}},
		{"upper_case", training(), []provenance.Descriptor{{Digest: provenance.DigestSet{"sha256": strings.ToUpper(hexA)}}}},
		{"no_builder", provenance.Provenance{BuildType: "t"}, []provenance.Descriptor{dep("m")}},
		{"no_build_type", provenance.Provenance{BuilderID: "b"}, []provenance.Descriptor{dep("m")}},
		{"not_utf8", training(provenance.Descriptor{Name: "\xff"}), []provenance.Descriptor{dep("m")}},
		{"not_json", provenance.Provenance{BuildType: "t", BuilderID: "b", ExternalParameters: map[string]any{"x": math.NaN()}}, []provenance.Descriptor{dep("m")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := tt.p.Statement(tt.subj...); !errors.Is(err, provenance.ErrStatement) {
				t.Errorf("made %+v, error %v", s, err)
			}
		})
	}
}

func TestPredicateRefuses(t *testing.T) {
	for _, tt := range []struct{ name, predicate string }{
		{"empty", `{}`},
		{"no_build_type", `{"buildDefinition":{"externalParameters":{}},"runDetails":{"builder":{"id":"b"}}}`},
		{"parameters_null", `{"buildDefinition":{"buildType":"t","externalParameters":null},"runDetails":{"builder":{"id":"b"}}}`},
		{"parameters_string", `{"buildDefinition":{"buildType":"t","externalParameters":"{}"},"runDetails":{"builder":{"id":"b"}}}`},
		{"builder_empty", `{"buildDefinition":{"buildType":"t","externalParameters":{}},"runDetails":{"builder":{"id":""}}}`},
		{"builder_case", `{"buildDefinition":{"buildType":"t","externalParameters":{}},"runDetails":{"Builder":{"id":"b"}}}`},
		{"bad_time", `{"buildDefinition":{"buildType":"t","externalParameters":{}},"runDetails":{"builder":{"id":"b"},"metadata":{"finishedOn":"yesterday"}}}`},
		{"two_invocation_ids", `{"buildDefinition":{"buildType":"t","externalParameters":{}},"runDetails":{"builder":{"id":"b"},"metadata":{"invocationId":"a","invocationID":"b"}}}`},
		{"bad_dependency", `{"buildDefinition":{"buildType":"t","externalParameters":{},"resolvedDependencies":[{"digest":{"sha256":"x"}}]},"runDetails":{"builder":{"id":"b"}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := provenance.ParseStatement([]byte(members(typ, subject, `"predicateType":"`+provenance.ProvenanceType+`"`, `"predicate":`+tt.predicate)))
			if err != nil {
				t.Fatal(err)
			}
			if p, err := s.Provenance(); !errors.Is(err, provenance.ErrStatement) {
				t.Errorf("read %+v, error %v", p, err)
			}
		})
	}
}

func TestVSA(t *testing.T) {
	v := provenance.VSA{
		VerifierID:        "https://example.com/gate",
		VerifierVersion:   map[string]string{"prerun": "0.1"},
		TimeVerified:      now,
		ResourceURI:       "pkg:huggingface/example/mailtriage",
		Policy:            provenance.Descriptor{URI: "https://example.com/policy", Digest: provenance.DigestsOf(sum("policy"))},
		InputAttestations: []provenance.Descriptor{dep("attestation")},
		Passed:            true,
		VerifiedLevels:    []string{"SLSA_BUILD_LEVEL_2", "SLSA_SOURCE_LEVEL_UNEVALUATED", "AISBD_GATE_LOW"},
		DependencyLevels:  map[string]uint64{},
		SLSAVersion:       "1.2",
		Extensions:        map[string]any{"prerun_checks": map[string]any{"scan": "pass"}},
	}
	s, err := v.Statement(dep("model"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.VSA()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&v, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for _, tt := range []struct {
		name   string
		change func(v *provenance.VSA)
	}{
		{"failed_with_level", func(v *provenance.VSA) { v.Passed = false }},
		{"passed_without_level", func(v *provenance.VSA) { v.VerifiedLevels = nil }},
		{"passed_with_failed", func(v *provenance.VSA) { v.VerifiedLevels = []string{"FAILED"} }},
		{"bad_level", func(v *provenance.VSA) { v.VerifiedLevels = []string{"SLSA_BUILD_LEVEL_02"} }},
		{"negative_level", func(v *provenance.VSA) { v.VerifiedLevels = []string{"SLSA_BUILD_LEVEL_-1"} }},
		{"two_levels_of_a_track", func(v *provenance.VSA) { v.VerifiedLevels = []string{"SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2"} }},
		{"no_verifier", func(v *provenance.VSA) { v.VerifierID = "" }},
		{"no_resource", func(v *provenance.VSA) { v.ResourceURI = "" }},
		{"input_without_digest", func(v *provenance.VSA) { v.InputAttestations = []provenance.Descriptor{{URI: "x"}} }},
		{"extension_takes_a_name", func(v *provenance.VSA) { v.Extensions = map[string]any{"policy": 1} }},
		{"extension_without_vendor", func(v *provenance.VSA) { v.Extensions = map[string]any{"checks": 1} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := v
			tt.change(&v)
			if _, err := v.Statement(dep("model")); !errors.Is(err, provenance.ErrStatement) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestStatementMemory(t *testing.T) {
	for _, tt := range []struct{ name, payload string }{
		{"many_empty_objects", members(typ, subject, ptype, `"predicate":{"a":[`+strings.Repeat("{},", 1<<18)+`{}]}`)},
		{"deep", members(typ, subject, ptype, `"predicate":{"a":`+strings.Repeat("[", 1<<18)+strings.Repeat("]", 1<<18)+`}`)},
		{"many_subjects", members(typ, `"subject":[`+strings.Repeat(`{"digest":{"sha256":"`+hexA+`"}},`, 1<<13)+`{"digest":{"sha256":"`+hexA+`"}}]`, ptype, pred)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A value of the tree takes about a hundred bytes, and growing a
			// slice copies it a few times; the shortest value takes three
			// bytes of input.
			testutil.AllocBound(t, uint64(len(tt.payload))*320+1<<20, func() {
				_, _ = provenance.ParseStatement([]byte(tt.payload))
			})
		})
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(members(typ, subject, ptype, pred)))
	f.Add([]byte(members(typ, subject, `"predicateType":"`+provenance.ProvenanceType+`"`,
		`"predicate":{"buildDefinition":{"buildType":"t","externalParameters":{"a":1},"resolvedDependencies":[{"uri":"x"}]},"runDetails":{"builder":{"id":"b"},"metadata":{"finishedOn":"2026-01-01T00:00:00Z"}}}`)))
	f.Add([]byte(members(typ, subject, `"predicateType":"`+provenance.VSAType+`"`,
		`"predicate":{"verifier":{"id":"v"},"resourceUri":"r","policy":{},"verificationResult":"PASSED","verifiedLevels":["L"],"x_y":1}`)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := provenance.ParseStatement(payload)
		if err != nil {
			return
		}
		if len(s.Subjects) == 0 || s.PredicateType == "" {
			t.Fatalf("accepted without subject or type: %q", payload)
		}
		// Whatever was read can be written, and reads as the same thing.
		if p, err := s.Provenance(); err == nil {
			again, err := p.Statement(s.Subjects...)
			if err != nil {
				t.Fatalf("%q: %v", payload, err)
			}
			q, err := again.Provenance()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, q, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), emptyIsNil); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", payload, diff)
			}
		}
		_, _ = s.VSA()
	})
}

// emptyIsNil makes an empty list and an absent one the same, as they are in a
// statement.
var emptyIsNil = cmp.FilterValues(func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) && len(fmt.Sprint(a)) <= 5 }, cmp.Ignore())
