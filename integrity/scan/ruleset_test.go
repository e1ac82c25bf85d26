package scan_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

func acmeRules(t testing.TB) *scan.RuleSet {
	t.Helper()
	data, err := os.ReadFile("testdata/ruleset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := scan.ParseRuleSet(data)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// set parses a rule set with the given lists of one rule.
func set(t testing.TB, lists string) *scan.RuleSet {
	t.Helper()
	s, err := scan.ParseRuleSet([]byte(ruleOf(lists)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ruleOf(lists string) string {
	return `{"version": 1, "name": "x", "rules": [{"id": "custom.x.y", "title": "t", "severity": "high", "help": "h",
` + lists + `}]}`
}

// imports is a pickle that names a global, and calls it when args is not "".
func imports(module, name, args string) []byte {
	return []byte("\x80\x04c" + module + "\n" + name + "\n" + args + ".")
}

func TestRuleSet(t *testing.T) {
	const call = ")R"
	s := scan.Scanner{RuleSets: []*scan.RuleSet{acmeRules(t)}}
	onnx := func(op, domain string) []byte {
		return build.ONNX([]build.Proto{build.Node(op, domain)}, []build.Proto{build.Tensor("w", []uint64{1}, make([]byte, 4))})
	}
	graph := func(op string) []byte {
		return build.Proto(nil).Int(1, 1).Bytes(2, build.Proto(nil).Bytes(2, build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "n").Text(2, op))))
	}
	loader, confidential, operator := "custom.acme.internal-loader", "custom.acme.confidential", "custom.acme.operator"
	for _, tt := range []struct {
		name, file string
		data       []byte
		want       []string // of the rule set
	}{
		{"module", "a.pkl", imports("acme.loader", "f", ""), []string{loader}},
		{"below_module", "a.pkl", imports("acme.loader.deep", "f", ""), []string{loader}},
		{"module_as_attribute", "a.pkl", imports("acme", "loader", ""), []string{loader}},
		{"through_attribute", "a.pkl", imports("acme", "loader.f", ""), []string{loader}},
		{"other_module", "a.pkl", imports("acme.loaders", "f", ""), nil},
		{"called", "a.pkl", imports("acme.util", "run", call), []string{loader}},
		{"only_named", "a.pkl", imports("acme.util", "run", ""), nil},
		{"other_name", "a.pkl", imports("acme.util", "runs", call), nil},
		{"prefix", "a.pkl", imports("acme_x.y", "z", ""), []string{loader}},
		{"attribute", "a.pkl", imports("other", "a.run_unsafe.b", ""), []string{loader}},
		{"nested", "a.zip", build.Zip(build.Member{Name: "x/data.pkl", Data: imports("acme.loader", "f", "")}), []string{loader}},
		{"text", "a.txt", []byte("page 1: ACME CONFIDENTIAL\n"), []string{confidential}},
		{"text_is_exact", "a.txt", []byte("page 1: Acme Confidential\n"), nil},
		{"regexp", "a.txt", []byte("see https://hook.acme.example/x\n"), []string{confidential}},
		{"keyword_in_either_case", "a.txt", []byte("see https://HOOK.acme.example/x\n"), nil}, // the regexp decides
		{"regexp_does_not_match", "a.txt", []byte("see http://hook.acme.example/x\n"), nil},
		{"hex", "a.bin", []byte("\x00\x01ACME\x00\xff\x02"), []string{confidential}},
		{"hex_other_name", "a.dat", []byte("\x00\x01ACME\x00\xff\x02"), nil},
		{"hex_other_format", "a.bin", append(build.Harmless(), "ACME\x00\xff"...), nil},
		{"onnx", "m.onnx", onnx("Run", "com.acme.x"), []string{operator}},
		{"onnx_other_domain", "m.onnx", onnx("Run", "com.acmex"), nil},
		{"tensorflow", "saved_model.pb", graph("Print"), []string{operator}},
		{"tensorflow_other", "saved_model.pb", graph("PrintV2"), nil},
		{"keras", "config.json", []byte(`{"class_name": "Net", "module": "acme.nets", "config": {}}`), []string{operator}},
		{"keras_other", "config.json", []byte(`{"class_name": "Layer", "module": "acme.nets", "config": {}}`), nil},
		{"keras_function", "config.json", []byte(`{"class_name": "A", "config": {"x": {"class_name": "function", "module": "acme", "config": "Net"}}}`), []string{operator}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own := func(id string) bool { return strings.HasPrefix(id, "custom.") }
			with, without := rules(one(t, s, tt.file, tt.data)), rules(one(t, scan.Scanner{}, tt.file, tt.data))
			if diff := cmp.Diff(tt.want, slices.DeleteFunc(slices.Clone(with), func(id string) bool { return !own(id) }), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// A rule set takes no finding away.
			if diff := cmp.Diff(without, slices.DeleteFunc(with, own), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("built-in rules (-without +with the set):\n%s", diff)
			}
		})
	}
}

func TestRuleSetFinding(t *testing.T) {
	secret := "https://hook.acme.example/?token=0123456789abcdef0123456789abcdef"
	s := scan.Scanner{RuleSets: []*scan.RuleSet{set(t, `"patterns": [{"regexp": "https://hook\\.[a-z.]+/\\S+", "keywords": ["hook."]}]`)}}
	f := one(t, s, "a.txt", []byte("at "+secret+"\n"))
	if len(f.Findings) != 1 || f.Verdict != scan.Malicious {
		t.Fatalf("%v, %s", f.Findings, f.Verdict)
	}
	got := f.Findings[0]
	if got.Locations[0].Offset != 3 || got.Locations[0].Length != int64(len(secret)) || got.Severity != prerun.High {
		t.Errorf("%+v", got)
	}
	if strings.Contains(fmt.Sprint(got), "0123456789abcdef") {
		t.Error("the match shows a secret")
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	res := folder(t, s, map[string][]byte{"a": nil})
	if len(res.RuleSets) != 1 || res.RuleSets[0].Name != "x" || res.RuleSets[0].Digest != s.RuleSets[0].Digest() {
		t.Errorf("rule sets %v", res.RuleSets)
	}
}

// What lowers a grade is named insecure, exact, and shows in the facts; it does
// not reach what is denied.
func TestInsecureAllow(t *testing.T) {
	call := imports("acme.models", "Net", ")R")
	before := one(t, scan.Scanner{}, "a.pkl", call)
	after := one(t, scan.Scanner{RuleSets: []*scan.RuleSet{acmeRules(t)}}, "a.pkl", call)
	if before.Verdict != scan.Suspicious || after.Verdict != scan.Clean {
		t.Errorf("%s without, %s with the entry: %v", before.Verdict, after.Verdict, rules(after))
	}
	if got := after.Facts["insecure_allowed"]; got != "acme: acme.models.Net" {
		t.Errorf("fact %q", got)
	}
	for name, data := range map[string][]byte{
		"other_name":   imports("acme.models", "Other", ")R"),
		"below":        imports("acme.models", "Net.x", ")R"),
		"other_module": imports("acme.models.x", "Net", ")R"),
		"denied":       imports("os", "system", "(S'id'\ntR"),
	} {
		f := one(t, scan.Scanner{RuleSets: []*scan.RuleSet{acmeRules(t)}}, "a.pkl", data)
		if f.Verdict < scan.Suspicious || f.Facts["insecure_allowed"] != "" {
			t.Errorf("%s: %s, fact %q", name, f.Verdict, f.Facts["insecure_allowed"])
		}
	}
}

func TestRuleSetErrors(t *testing.T) {
	rule := func(lists string) string { return ruleOf(lists) } // entries stand in line 2
	allow := func(entry string) string { return "version: 1\nname: x\ninsecure_allow:\n  - " + entry }
	for name, tt := range map[string]struct{ data, want string }{
		"empty":              {"", ""},
		"not_an_object":      {"[]", "expected an object"},
		"duplicate_key":      {"version: 1\nversion: 1\n", "line 2"},
		"no_version":         {"name: x\n", `"version" is missing`},
		"version":            {"version: 2\nname: x\nrules: []", "line 1: version 2, want 1"},
		"version_text":       {"version: \"1\"\nname: x\n", "line 1"},
		"name":               {"version: 1\nname: X\n", "line 2: name"},
		"nothing":            {"version: 1\nname: x\n", "neither rules nor insecure_allow"},
		"unknown_key":        {"version: 1\nname: x\nallow: []\n", "line 3"},
		"unknown_in_rule":    {rule(`"deny": []`), "line 2"},
		"unknown_in_global":  {rule(`"globals": [{"modul": "a"}]`), "line 2"},
		"other_case":         {rule(`"globals": [{"Module": "a"}]`), "line 2"},
		"id_of_another":      {strings.Replace(rule(`"globals": [{"module": "a"}]`), "custom.", "scan.", 1), `starts with "custom."`},
		"bad_id":             {strings.Replace(rule(`"globals": [{"module": "a"}]`), "custom.x.y", "custom.x", 1), "package.area.name"},
		"bad_severity":       {strings.Replace(rule(`"globals": [{"module": "a"}]`), "high", "grave", 1), "line 1"},
		"unrated":            {strings.Replace(rule(`"globals": [{"module": "a"}]`), "high", "unrated", 1), "not rated"},
		"no_help":            {strings.Replace(rule(`"globals": [{"module": "a"}]`), `"h"`, `""`, 1), "no help"},
		"no_lists":           {rule(`"refs": []`), "neither globals, patterns nor operators"},
		"ref_without_id":     {rule(`"refs": [{"catalogue": "CWE"}]`), "line 2"},
		"global_empty":       {rule(`"globals": [{}]`), "line 2: a global has one of"},
		"global_two":         {rule(`"globals": [{"module": "a", "prefix": "b"}]`), "line 2: a global has one of"},
		"global_wildcard":    {rule(`"globals": [{"module": "a.*"}]`), "line 2: module"},
		"global_names":       {rule(`"globals": [{"prefix": "a", "names": ["b"]}]`), "line 2: names go with a module"},
		"global_no_names":    {rule(`"globals": [{"module": "a", "names": []}]`), "line 2: names is empty"},
		"global_bad_name":    {rule(`"globals": [{"module": "a", "names": ["b c"]}]`), "line 2"},
		"attribute_dotted":   {rule(`"globals": [{"attribute": "a.b"}]`), "line 2: attribute"},
		"pattern_empty":      {rule(`"patterns": [{}]`), "line 2: a pattern has one of"},
		"pattern_two":        {rule(`"patterns": [{"text": "abc", "hex": "616263"}]`), "line 2: a pattern has one of"},
		"text_short":         {rule(`"patterns": [{"text": "ab"}]`), "line 2"},
		"text_long":          {rule(`"patterns": [{"text": "` + strings.Repeat("a", 300) + `"}]`), "line 2"},
		"text_keywords":      {rule(`"patterns": [{"text": "abc", "keywords": ["abc"]}]`), "go with a regexp"},
		"hex":                {rule(`"patterns": [{"hex": "abc"}]`), "line 2: hex"},
		"regexp":             {rule(`"patterns": [{"regexp": "a(", "keywords": ["abc"]}]`), "line 2: regexp"},
		"regexp_lookahead":   {rule(`"patterns": [{"regexp": "a(?=b)", "keywords": ["abc"]}]`), "line 2: regexp"},
		"regexp_anchor":      {rule(`"patterns": [{"regexp": "^abc", "keywords": ["abc"]}]`), "anchors"},
		"regexp_boundary":    {rule(`"patterns": [{"regexp": "(abc\\b)+", "keywords": ["abc"]}]`), "anchors"},
		"regexp_nothing":     {rule(`"patterns": [{"regexp": "(abc)*", "keywords": ["abc"]}]`), "nothing at all"},
		"regexp_huge":        {rule(`"patterns": [{"regexp": "` + "a{900}|b{900}|c{900}|d{900}|e{900}|f{900}" + `", "keywords": ["aaa"]}]`), "repetitions"},
		"regexp_no_keywords": {rule(`"patterns": [{"regexp": "abc"}]`), "needs keywords"},
		"regexp_empty_list":  {rule(`"patterns": [{"regexp": "abc", "keywords": []}]`), "keywords"},
		"keyword_short":      {rule(`"patterns": [{"regexp": "abc", "keywords": ["ab"]}]`), "line 2"},
		"max_length":         {rule(`"patterns": [{"regexp": "abc", "keywords": ["abc"], "max_length": 20000}]`), "line 2: max_length"},
		"max_length_zero":    {rule(`"patterns": [{"regexp": "abc", "keywords": ["abc"], "max_length": 0}]`), "line 2: max_length"},
		"max_length_short":   {rule(`"patterns": [{"regexp": "abc", "keywords": ["abc"], "max_length": 2}]`), "longer than max_length"},
		"files":              {rule(`"patterns": [{"text": "abc", "files": ["["]}]`), "line 2"},
		"files_path":         {rule(`"patterns": [{"text": "abc", "files": ["a/*"]}]`), "line 2"},
		"formats_empty":      {rule(`"patterns": [{"text": "abc", "formats": []}]`), "line 2: formats is empty"},
		"operator_no_kind":   {rule(`"operators": [{"names": ["a"]}]`), `"kind" is missing`},
		"operator_all":       {rule(`"operators": [{"kind": "onnx"}]`), "line 2: an operator has"},
		"operator_no_names":  {rule(`"operators": [{"kind": "onnx", "domain": "a", "names": []}]`), "line 2: names is empty"},
		"allow_denied":       {allow(`{module: posix, names: [system], reason: r}`), "line 4: \"posix.system\" cannot be allowed"},
		"allow_renamed":      {allow(`{module: commands, names: [getoutput], reason: r}`), "cannot be allowed"},
		"allow_dunder":       {allow(`{module: a, names: [__class__], reason: r}`), "cannot be allowed"},
		"allow_wildcard":     {allow(`{module: a, names: ["*"], reason: r}`), "exact"},
		"allow_no_names":     {allow(`{module: a, names: [], reason: r}`), "line 4: names is empty"},
		"allow_mark":         {allow(`{module: a, names: [">b"], reason: r}`), "exact"},
		"allow_no_reason":    {allow(`{module: a, names: [b]}`), `"reason" is missing`},
		"allow_empty_reason": {allow(`{module: a, names: [b], reason: " "}`), "line 4: reason is empty"},
		"yaml_alias":         {"version: 1\nname: &a x\nrules: *a\n", "anchors"},
		"two_of_one_id": {
			"version: 1\nname: x\nrules:\n" + strings.Repeat("  - {id: custom.a.b, title: t, severity: low, help: h, globals: [{module: m}]}\n", 2),
			`line 5: two rules have the id "custom.a.b"`,
		},
	} {
		got, err := scan.ParseRuleSet([]byte(tt.data))
		if !errors.Is(err, scan.ErrRuleSet) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %q", name, got, err, tt.want)
		}
	}
}

// What only the scanner knows is an error of the scan.
func TestRuleSetUse(t *testing.T) {
	a, b := acmeRules(t), set(t, `"globals": [{"module": "a"}]`)
	for name, tt := range map[string]struct {
		scanner scan.Scanner
		want    string
	}{
		"nil":     {scan.Scanner{RuleSets: []*scan.RuleSet{nil}}, "empty"},
		"zero":    {scan.Scanner{RuleSets: []*scan.RuleSet{{}}}, "empty"},
		"twice":   {scan.Scanner{RuleSets: []*scan.RuleSet{a, a}}, "two are called"},
		"format":  {scan.Scanner{RuleSets: []*scan.RuleSet{set(t, `"patterns": [{"text": "abc", "formats": ["pickles"]}]`)}}, `line 2: no format is called "pickles"`},
		"kind":    {scan.Scanner{RuleSets: []*scan.RuleSet{set(t, `"operators": [{"kind": "onxx", "domain": "a"}]`)}}, `line 2: no format tells of operators of kind "onxx"`},
		"own":     {scan.Scanner{RuleSets: []*scan.RuleSet{a, b}, Formats: append(scan.Builtin(), acme{})}, ""},
		"removed": {scan.Scanner{RuleSets: []*scan.RuleSet{a}, Formats: []scan.Format{acme{}}}, ""},
	} {
		_, err := tt.scanner.ScanFile(t.Context(), "a", bytes.NewReader(nil), 0)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, scan.ErrRuleSet) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A match is found wherever it lies, at the ends and across the seams of what
// is searched at once.
func TestPatternSeams(t *testing.T) {
	const window = 256 << 10
	s := scan.Scanner{RuleSets: []*scan.RuleSet{
		set(t, `"patterns": [{"regexp": "<a{3,100}key(word)?b{3,100}>", "keywords": ["keyword"], "max_length": 220},
			{"text": "literal"}, {"regexp": "x+end", "keywords": ["END"], "max_length": 16384}]`),
	}}
	data := bytes.Repeat([]byte("0123456789abcde\n"), 3*window/16)
	plants := [][]byte{
		[]byte("<" + strings.Repeat("a", 100) + "keyword" + strings.Repeat("b", 100) + ">"),
		[]byte("literal"),
		[]byte(strings.Repeat("x", 16000) + "end"),
	}
	for i, plant := range plants {
		for _, near := range []int{0, window, window - 440, 2*window - 2*16384, 2 * window, len(data)} {
			for _, d := range []int{-len(plant), -len(plant) / 2, -3, -1, 0, 1} {
				off := near + d
				if off < 0 || off+len(plant) > len(data) {
					continue
				}
				planted := bytes.Clone(data)
				copy(planted[off:], plant)
				f := one(t, scan.Scanner{RuleSets: s.RuleSets, NoDigests: true}, "a.txt", planted)
				if len(f.Findings) != 1 || f.Findings[0].Locations[0].Offset != int64(off) || f.Findings[0].Key != fmt.Sprintf("pattern %d", i+1) {
					t.Fatalf("pattern %d planted at %d: %v", i+1, off, f.Findings)
				}
			}
		}
	}
}

// The search for words agrees with the plain way, whatever the words share.
func TestKeywords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abAB]{3,6}`)
		words := rapid.SliceOfNDistinct(word, 1, 8, rapid.ID[string]).Draw(t, "words")
		data := rapid.StringMatching(`[abAB]{0,60}`).Draw(t, "data")
		var lists []string
		for _, w := range words {
			lists = append(lists, fmt.Sprintf(`{"regexp": "(?i)%s", "keywords": [%q], "max_length": 6}`, w, w))
		}
		rs, err := scan.ParseRuleSet([]byte(ruleOf(`"patterns": [` + strings.Join(lists, ", ") + `]`)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := scan.Scanner{RuleSets: []*scan.RuleSet{rs}}.ScanFile(t.Context(), "a.txt", strings.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for i, w := range words {
			if at := strings.Index(strings.ToLower(data), strings.ToLower(w)); at >= 0 {
				want = append(want, fmt.Sprintf("%d pattern %d", at, i+1))
			}
		}
		for f := range res.Findings() {
			got = append(got, fmt.Sprintf("%d %s", f.Locations[0].Offset, f.Key))
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// Patterns are part of the budget, and going over it is a gap.
func TestPatternBudget(t *testing.T) {
	data := bytes.Repeat([]byte("some text\n"), 100_000)
	s := scan.Scanner{RuleSets: []*scan.RuleSet{acmeRules(t)}, Limits: scan.Limits{Bytes: int64(len(data)) + 2*scan.ProbeSize + 10}}
	f := one(t, s, "a.txt", data)
	if f.Completeness != scan.Inconclusive || !strings.Contains(strings.Join(reasons(f), "\n"), "patterns of rule sets") {
		t.Errorf("%s: %v", f.Completeness, reasons(f))
	}
}

func FuzzRuleSet(f *testing.F) {
	data, err := os.ReadFile("testdata/ruleset.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(ruleOf(`"patterns": [{"regexp": "a+b", "keywords": ["aab"]}]`)))
	f.Add([]byte(ruleOf(`"operators": [{"kind": "onnx", "domain": "a"}]`)))
	content := []byte("\x80\x04cacme.loader\nf\n)R.ACME CONFIDENTIAL https://hook.acme.example/")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 8<<10 {
			t.Skip()
		}
		rs, err := scan.ParseRuleSet(data)
		if err != nil {
			if !errors.Is(err, scan.ErrRuleSet) {
				t.Error(err)
			}
			return
		}
		for _, r := range rs.Rules() {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
		}
		s := scan.Scanner{RuleSets: []*scan.RuleSet{rs}, NoDigests: true}
		res, err := s.ScanFile(t.Context(), "a.pkl", bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return // a format or kind that does not exist
		}
		for x := range res.Findings() {
			if err := x.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkPatterns(b *testing.B) {
	data := bytes.Repeat([]byte("Lorem ipsum dolor sit amet, consectetur adipiscing elit.\n"), 1<<20/57)
	for _, bb := range []struct {
		name string
		sets []*scan.RuleSet
	}{{"none", nil}, {"three", []*scan.RuleSet{acmeRules(b)}}} {
		b.Run(bb.name, func(b *testing.B) {
			s := scan.Scanner{NoDigests: true, RuleSets: bb.sets}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				one(b, s, "a.txt", data)
			}
		})
	}
}
