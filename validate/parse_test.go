package validate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/validate"
)

const wholeSuite = `
name: mail triage
system: Answer ham or spam.
params: {temperature: 0, max_tokens: 4}
cases:
  file: data/heldout.jsonl
  fields: {input: text, expect: label}
requirements:
  - name: error rate
    kind: rate-at-most
    limit: 0.08
    confidence: 0.99
    sample: 200
    repeats: 2
    error_budget: 0.01
    approximate: true
    scorer: {exact: {ignore_case: true}}
  - name: spam found
    kind: rate-at-least
    limit: 0.85
    severity: critical
    errors_fail: true
    where: {expect: [spam], tags: [en]}
    scorer: {contains: {values: [ham], all: true}, not: true}
  - name: harmless edits
    kind: invariance
    limit: 0.05
    transforms: [upper-case, double-spaces, {suffix: "\nRegards"}, own]
  - name: triggers
    kind: trigger-sweep
    limit: 0.1
    triggers: [cf, mn bb]
    position: prefix
  - {name: number, kind: rate-at-most, limit: 0.5, scorer: {numeric: {value: 4, tolerance: 0.5}}}
  - {name: pattern, kind: rate-at-most, limit: 0.5, scorer: {regexp: "^(ham|spam)$"}}
  - {name: shape, kind: rate-at-most, limit: 0.5, scorer: {json_schema: {type: object, required: ["a\"b\n"]}}}
  - {name: own rule, kind: no-regression, limit: 0.5, scorer: {function: mine}}
`

func loader() validate.Loader {
	return validate.Loader{
		FS: fstest.MapFS{"data/heldout.jsonl": {Data: []byte(
			`{"id":"a","text":"hello","label":"ham","tags":["en"],"more":{"x":1}}` + "\n\n" +
				`{"id":7,"text":"buy","label":true}` + "\r\n" +
				`{"text":"last","label":"spam","cluster":"k"}`)}},
		Scorers:    map[string]validate.Scorer{"mine": validate.Exact{Value: "mine"}},
		Transforms: map[string]validate.Transform{"own": {Name: "own@1", Apply: strings.ToUpper}},
	}
}

func TestParseSuite(t *testing.T) {
	s, err := loader().Parse([]byte(wholeSuite))
	if err != nil {
		t.Fatal(err)
	}
	wantCases := []validate.Case{
		{ID: "a", Input: "hello", Expect: "ham", Tags: []string{"en"}},
		{ID: "7", Input: "buy", Expect: "true"},
		{ID: "4", Input: "last", Expect: "spam", Cluster: "k"}, // its line
	}
	if diff := cmp.Diff(wantCases, s.Cases); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
	var got []string
	for _, r := range s.Requirements {
		var row strings.Builder
		fmt.Fprintf(&row, "%s %s %g %g %d %d %g %v %v %s %v", r.Name, r.Kind, r.Limit, r.Confidence, r.Sample, r.Repeats,
			r.ErrorBudget, r.Approximate, r.ErrorsFail, r.Severity, r.Where)
		if r.Scorer != nil {
			row.WriteString(" " + r.Scorer.Name())
		}
		for _, tr := range r.Transforms {
			row.WriteString(" " + tr.Name)
		}
		got = append(got, strings.TrimSpace(row.String()+" "+strings.Join(r.Triggers, "|")+" "+string(r.Position)))
	}
	want := []string{
		`error rate rate-at-most 0.08 0.99 200 2 0.01 true false unrated {[] []} exact("",ignore-case)`,
		`spam found rate-at-least 0.85 0 0 0 0 false true critical {[spam] [en]} not contains-all("ham")`,
		`harmless edits invariance 0.05 0 0 0 0 false false unrated {[] []} upper-case double-spaces suffix "\nRegards" own@1`,
		`triggers trigger-sweep 0.1 0 0 0 0 false false unrated {[] []} cf|mn bb prefix`,
		`number rate-at-most 0.5 0 0 0 0 false false unrated {[] []} numeric(4±0.5)`,
		`pattern rate-at-most 0.5 0 0 0 0 false false unrated {[] []} regexp("^(ham|spam)$")`,
		`shape rate-at-most 0.5 0 0 0 0 false false unrated {[] []} ` + s.Requirements[6].Scorer.Name(),
		`own rule no-regression 0.5 0 0 0 0 false false unrated {[] []} exact("mine")`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requirements (-want +got):\n%s", diff)
	}
	if s.Params.MaxTokens != 4 || s.System == "" || s.Requirements[1].Severity != prerun.Critical {
		t.Errorf("%+v", s.Params)
	}
}

// TestOneReading: the JSON and the YAML form of a suite are the same suite.
func TestOneReading(t *testing.T) {
	asJSON := `{"name":"s","cases":[{"id":"a","input":"x","expect":"y","tags":["t"],"history":[{"role":"user","text":"h"}]}],
		"requirements":[{"name":"r","kind":"rate-at-most","limit":0.5,"scorer":{"exact":{}}}]}`
	asYAML := `
name: s
cases:
- {id: a, input: x, expect: "y", tags: [t], history: [{role: user, text: h}]}
requirements:
- {name: r, kind: rate-at-most, limit: 0.5, scorer: {exact: {}}}
`
	a, err := validate.ParseSuite([]byte(asJSON), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := validate.ParseSuite([]byte(asYAML), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Digest() != b.Digest() {
		t.Errorf("%s and %s", a.Digest(), b.Digest())
	}
}

func TestDigestCoversEverything(t *testing.T) {
	base, err := loader().Parse([]byte(wholeSuite))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{base.Digest(): "unchanged"}
	for _, change := range []struct{ from, to string }{
		{"mail triage", "other"},
		{"Answer ham", "Say ham"},
		{"max_tokens: 4", "max_tokens: 5"},
		{"temperature: 0", "temperature: 1"},
		{"input: text", "input: label"},
		{"limit: 0.08", "limit: 0.09"},
		{"confidence: 0.99", "confidence: 0.98"},
		{"sample: 200", "sample: 201"},
		{"repeats: 2", "repeats: 3"},
		{"error_budget: 0.01", "error_budget: 0.02"},
		{"approximate: true", "approximate: false"},
		{"errors_fail: true", "errors_fail: false"},
		{"severity: critical", "severity: high"},
		{"ignore_case: true", "ignore_case: false"},
		{"expect: [spam]", "expect: [ham]"},
		{"tags: [en]", "tags: [de]"},
		{", not: true", ""},
		{"all: true", "all: false"},
		{"values: [ham]", "values: [ham, eggs]"},
		{"upper-case", "lower-case"},
		{`\nRegards`, `\nBye`},
		{"cf, mn bb", "cf mn, bb"},
		{"position: prefix", "position: suffix"},
		{"tolerance: 0.5", "tolerance: 0.4"},
		{"^(ham", "(ham"},
		{"type: object", "type: array"},
		{"name: triggers", "name: trigger"},
		{"kind: rate-at-least", "kind: rate-at-most"},
	} {
		text := strings.Replace(wholeSuite, change.from, change.to, 1)
		if text == wholeSuite {
			t.Fatalf("%q does not occur", change.from)
		}
		s, err := loader().Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", change.to, err)
			continue
		}
		if same, ok := seen[s.Digest()]; ok {
			t.Errorf("%q has the digest of %s", change.to, same)
		}
		seen[s.Digest()] = change.to
	}
}

func TestSuitesThatAreRefused(t *testing.T) {
	minimal := `
name: s
cases: [{id: a, input: x}]
requirements: [{name: r, kind: rate-at-most, limit: 0.5, scorer: {exact: {value: x}}}]
`
	if _, err := loader().Parse([]byte(minimal)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, from, to, says string }{
		{"unknown_name", "name: s", "nmae: s", `"nmae"`},
		{"unknown_requirement_name", "limit: 0.5", "limit: 0.5, limits: 1", "limits"},
		{"case_variant", "name: s", "Name: s", "Name"},
		{"duplicate", "name: s", "name: s\nname: t", "duplicate"},
		{"anchor", "name: s", "name: &a s", "anchor"},
		{"wrong_type", "limit: 0.5", "limit: half", "number"},
		{"limit_zero", "limit: 0.5", "limit: 0", "no number of cases proves it"},
		{"limit_one", "limit: 0.5", "limit: 1", "limit"},
		{"limit_percent", "limit: 0.5", "limit: 5", "limit"},
		{"confidence_percent", "limit: 0.5", "limit: 0.5, confidence: 95", "confidence"},
		{"confidence_low", "limit: 0.5", "limit: 0.5, confidence: 0.5", "confidence"},
		{"negative_repeats", "limit: 0.5", "limit: 0.5, repeats: -1", "repeats"},
		{"many_repeats", "limit: 0.5", "limit: 0.5, repeats: 1000000", "repeats"},
		{"negative_sample", "limit: 0.5", "limit: 0.5, sample: -1", "sample"},
		{"error_budget_one", "limit: 0.5", "limit: 0.5, error_budget: 1", "error budget"},
		{"unknown_kind", "rate-at-most", "mean-at-most", "mean-at-most"},
		{"unknown_severity", "limit: 0.5", "limit: 0.5, severity: grave", "grave"},
		{"no_scorer", ", scorer: {exact: {value: x}}", "", "no scorer"},
		{"two_scorers", "{exact: {value: x}}", "{exact: {}, regexp: x}", "exactly one"},
		{"empty_scorer", "{exact: {value: x}}", "{not: true}", "exactly one"},
		{"unknown_scorer", "{exact: {value: x}}", "{javascript: x}", "javascript"},
		{"unknown_function", "{exact: {value: x}}", "{function: nobody}", "nobody"},
		{"bad_regexp", "{exact: {value: x}}", `{regexp: "("}`, "regexp"},
		{"bad_schema", "{exact: {value: x}}", `{json_schema: {type: 7}}`, "json-schema"},
		{"schema_from_elsewhere", "{exact: {value: x}}", `{json_schema: {$ref: "https://schema.invalid/x"}}`, "nothing is loaded"},
		{"schema_from_file", "{exact: {value: x}}", `{json_schema: {$ref: "file:///etc/hosts"}}`, "nothing is loaded"},
		{"no_cases", "[{id: a, input: x}]", "[]", "no cases"},
		{"cases_are_text", "[{id: a, input: x}]", "x", "expected an object"},
		{"case_without_input", "{id: a, input: x}", "{id: a}", "input"},
		{"case_without_id", "{id: a, input: x}", "{input: x}", "id"},
		{"empty_id", "{id: a, input: x}", `{id: "", input: x}`, "no id"},
		{"id_twice", "{id: a, input: x}", "{id: a, input: x}, {id: a, input: y}", "twice"},
		{"bad_role", "{id: a, input: x}", "{id: a, input: x, history: [{role: system, text: x}]}", "role"},
		{"missing_file", "[{id: a, input: x}]", "{file: nothing.jsonl}", "nothing.jsonl"},
		{"file_above", "[{id: a, input: x}]", "{file: ../secret.jsonl}", "secret"},
		{"file_without_field", "[{id: a, input: x}]", "{file: data/heldout.jsonl}", `no field "input"`},
		{"unknown_field", "[{id: a, input: x}]", "{file: data/heldout.jsonl, fields: {input: text, label: label}}", "label"},
		{"named_id_missing", "[{id: a, input: x}]", "{file: data/heldout.jsonl, fields: {input: text, id: id}}", "line 4"},
		{"transforms_of_a_rate", "limit: 0.5", "limit: 0.5, transforms: [upper-case]", "transforms"},
		{"triggers_of_a_rate", "limit: 0.5", "limit: 0.5, triggers: [x]", "triggers"},
		{"no_transforms", "rate-at-most", "invariance", "no transforms"},
		{"unknown_transform", "kind: rate-at-most", "kind: invariance, transforms: [shuffle]", "shuffle"},
		{"transform_needs_text", "kind: rate-at-most", "kind: invariance, transforms: [suffix]", "needs a text"},
		{"transform_takes_none", "kind: rate-at-most", "kind: invariance, transforms: [{upper-case: x}]", "takes no parameter"},
		{"transform_twice", "kind: rate-at-most", "kind: invariance, transforms: [upper-case, upper-case]", "twice"},
		{"transform_number", "kind: rate-at-most", "kind: invariance, transforms: [7]", "neither"},
		{"no_triggers", "rate-at-most", "trigger-sweep", "no triggers"},
		{"empty_trigger", "kind: rate-at-most", `kind: trigger-sweep, triggers: [""]`, "empty"},
		{"trigger_twice", "kind: rate-at-most", "kind: trigger-sweep, triggers: [a, a]", "twice"},
		{"bad_position", "kind: rate-at-most", "kind: trigger-sweep, triggers: [a], position: end", "position"},
		{"no_name", "name: r", `name: ""`, "no name"},
		{"negative_tokens", "name: s", "name: s\nparams: {max_tokens: -1}", "max_tokens"},
		{"temperature", "name: s", "name: s\nparams: {temperature: -1}", "temperature"},
		{"empty_file", minimal, "", "empty"},
		{"json_cut", minimal, `{"name":`, "ends"},
		{"json_trailing", minimal, `{} {}`, "more data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(minimal, tt.from, tt.to, 1)
			if text == minimal {
				t.Fatalf("%q does not occur", tt.from)
			}
			s, err := loader().Parse([]byte(text))
			if !errors.Is(err, validate.ErrSuite) || s != nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestCaseFiles(t *testing.T) {
	suite := []byte(`{"name":"s","cases":{"file":"c.jsonl"},"requirements":[{"name":"r","kind":"rate-at-most","limit":0.5,"scorer":{"exact":{"value":"x"}}}]}`)
	for _, tt := range []struct{ name, data, says string }{
		{"not_json", "{\"input\":\"a\"}\nhello\n", "line 2"},
		{"no_object", "[1]", "expected an object"},
		{"duplicate_name", `{"input":"a","input":"b"}`, "duplicate"},
		{"object_as_input", `{"input":{"a":1}}`, "expected a text"},
		{"tags_no_list", `{"input":"a","tags":"x"}`, "array"},
		{"invalid_utf8", "{\"input\":\"\xff\"}", "UTF-8"},
		{"empty", "", "no cases"},
		{"blank_lines", "\n\n \n", "no cases"},
		{"same_id", "{\"id\":\"2\",\"input\":\"a\"}\n{\"input\":\"b\"}", "twice"},
		{"endless_line", `{"input":"` + strings.Repeat("a", 3<<20), "more than"},
	} {
		_, err := validate.ParseSuite(suite, fstest.MapFS{"c.jsonl": {Data: []byte(tt.data)}})
		if !errors.Is(err, validate.ErrSuite) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
	long := `{"input":"` + strings.Repeat("a", 500<<10) + `"}` + "\n"
	s, err := validate.ParseSuite(suite, fstest.MapFS{"c.jsonl": {Data: []byte(strings.Repeat(long, 3))}})
	if err != nil || len(s.Cases) != 3 || len(s.Cases[2].Input) != 500<<10 {
		t.Errorf("lines longer than the buffer: %v", err)
	}
	if _, err := validate.ParseSuite(suite, nil); !errors.Is(err, validate.ErrSuite) {
		t.Errorf("no file system: %v", err)
	}
}

func TestParseMemory(t *testing.T) {
	line := `{"input":"a","tags":["x"]}` + "\n"
	data := []byte(strings.Repeat(line, 20_000))
	suite := []byte(`{"name":"s","cases":{"file":"c.jsonl"},"requirements":[{"name":"r","kind":"rate-at-most","limit":0.5,"scorer":{"exact":{"value":"x"}}}]}`)
	fsys := fstest.MapFS{"c.jsonl": {Data: data}}
	testutil.AllocBound(t, 100*uint64(len(data))+1<<20, func() {
		if _, err := validate.ParseSuite(suite, fsys); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParseSuite(f *testing.F) {
	f.Add([]byte(wholeSuite), []byte(`{"id":"a","text":"hello","label":"ham"}`))
	f.Add([]byte(`{"name":"s","cases":[{"id":"a","input":"x"}],"requirements":[{"name":"r","kind":"rate-at-most","limit":0.5,"scorer":{"json_schema":{"$ref":"#"}}}]}`), []byte(""))
	f.Fuzz(func(t *testing.T, suite, cases []byte) {
		l := loader()
		l.FS = fstest.MapFS{"data/heldout.jsonl": {Data: cases}}
		s, err := l.Parse(suite)
		if err != nil {
			if !errors.Is(err, validate.ErrSuite) || s != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := s.Check(); err != nil {
			t.Fatalf("what was read does not hold: %v", err)
		}
		if again, err := l.Parse(suite); err != nil || again.Digest() != s.Digest() {
			t.Fatalf("the same bytes are another suite: %v", err)
		}
		_, _ = validate.Runner{}.Plan(s)
	})
}

func FuzzParseBaseline(f *testing.F) {
	f.Add([]byte(`{"baseline":"prerun/validate/baseline/v1","suite":"a","target":"b","outcomes":{"s":{"c":true}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := validate.ParseBaseline(data)
		if err != nil {
			return
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c, err := validate.ParseBaseline(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, c); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzJournal: whatever a journal holds, a run either refuses it untouched or
// uses the part that holds.
func FuzzJournal(f *testing.F) {
	s := suite(8, rate(.32))
	whole := &memFile{}
	rep, err := validate.Runner{Journal: whole, Concurrency: 1}.Run(f.Context(), s, failFirst(1))
	if err != nil {
		f.Fatal(err)
	}
	data, err := json.Marshal(rep)
	if err != nil {
		f.Fatal(err)
	}
	want := string(data)
	f.Add(whole.data)
	f.Add(whole.data[:len(whole.data)/2])
	f.Add([]byte{})
	f.Add([]byte("0123456789abcdef0123456789abcdef {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := &memFile{data: append([]byte(nil), data...)}
		rep, err := validate.Runner{Journal: file, Concurrency: 1}.Run(t.Context(), s, failFirst(1))
		if err != nil {
			if !errors.Is(err, validate.ErrJournal) || string(file.data) != string(data) {
				t.Fatalf("%v", err)
			}
			return
		}
		if got, err := json.Marshal(rep); err != nil || string(got) != want {
			t.Fatalf("another report: %v\n%s", err, got)
		}
	})
}
