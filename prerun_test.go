package prerun_test

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
)

func rule(id string) prerun.Rule {
	return prerun.Rule{ID: id, Title: "title", Help: "help", Severity: prerun.Medium}
}

func TestSeverityAtLeast(t *testing.T) {
	for s := prerun.Unrated; s <= prerun.Critical; s++ {
		if !s.AtLeast(prerun.Unrated) {
			t.Errorf("%v does not count at an unrated threshold", s)
		}
	}
	if !prerun.Unrated.AtLeast(prerun.Critical) {
		t.Error("an unrated finding passes the highest threshold")
	}
	if prerun.Low.AtLeast(prerun.Medium) || !prerun.Medium.AtLeast(prerun.Medium) {
		t.Error("the threshold itself must count, and nothing below it")
	}
}

func TestNamesRoundTrip(t *testing.T) {
	type names struct {
		S prerun.Severity
		C prerun.Confidence
		V prerun.Verdict
	}
	for i := range uint8(8) {
		in := names{prerun.Severity(i), prerun.Confidence(i), prerun.Verdict(i)}
		data, err := json.Marshal(in)
		if defined := i <= uint8(prerun.Fail); (err == nil) != defined {
			t.Errorf("%d: marshal error %v", i, err)
		}
		if err != nil {
			continue
		}
		var out names
		if err := json.Unmarshal(data, &out); err != nil || out != in {
			t.Errorf("%s came back as %v, %v", data, out, err)
		}
	}
	for _, bad := range []string{"", "HIGH", "severe", "0", " high"} {
		var s prerun.Severity
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, s)
		}
	}
	if got := prerun.Severity(77).String(); got != "severity(77)" {
		t.Errorf("an undefined severity prints as %q", got)
	}
}

func TestExitCode(t *testing.T) {
	for v, want := range map[prerun.Verdict]int{prerun.Pass: 0, prerun.Fail: 1, prerun.Incomplete: 2, 99: 2} {
		if got := v.ExitCode(); got != want {
			t.Errorf("%v: exit %d, want %d", v, got, want)
		}
	}
}

func TestRuleCheck(t *testing.T) {
	good := rule("scan.pickle.call-on-load")
	good.Refs = []prerun.Reference{{Catalogue: "CWE", Edition: "4.16", ID: "CWE-502"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, mangle := range map[string]func(*prerun.Rule){
		"two_parts":     func(r *prerun.Rule) { r.ID = "scan.pickle" },
		"four_parts":    func(r *prerun.Rule) { r.ID = "a.b.c.d" },
		"upper_case":    func(r *prerun.Rule) { r.ID = "scan.pickle.Call" },
		"underscore":    func(r *prerun.Rule) { r.ID = "scan.pickle.call_on_load" },
		"empty_part":    func(r *prerun.Rule) { r.ID = "scan..call" },
		"outer_hyphen":  func(r *prerun.Rule) { r.ID = "scan.pickle.-call" },
		"no_title":      func(r *prerun.Rule) { r.Title = "" },
		"no_help":       func(r *prerun.Rule) { r.Help = "" },
		"unrated":       func(r *prerun.Rule) { r.Severity = prerun.Unrated },
		"undefined":     func(r *prerun.Rule) { r.Severity = 99 },
		"ref_without":   func(r *prerun.Rule) { r.Refs = []prerun.Reference{{Catalogue: "CWE"}} },
		"ref_catalogue": func(r *prerun.Rule) { r.Refs = []prerun.Reference{{ID: "CWE-1"}} },
	} {
		bad := good
		mangle(&bad)
		if bad.Check() == nil {
			t.Errorf("%s: accepted %+v", name, bad)
		}
	}
}

func TestFindingCheck(t *testing.T) {
	good := prerun.Finding{Rule: rule("a.b.c"), Message: "m", Subject: prerun.Subject{Path: "p"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]prerun.Finding{
		"zero":       {},
		"no_message": {Rule: good.Rule, Subject: good.Subject},
		"no_path":    {Rule: good.Rule, Message: "m"},
		"bad_rule":   {Rule: prerun.Rule{ID: "x"}, Message: "m", Subject: good.Subject},
	} {
		if bad.Check() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func at(path string, offset int64, line int, fragment, key string) prerun.Finding {
	return prerun.Finding{
		Rule: rule("a.b.c"), Key: key,
		Locations: []prerun.Location{{Path: path, Offset: offset, Length: 1, Line: line, Fragment: fragment}},
	}
}

// A fingerprint must survive edits that move things, and must tell apart what
// only its fields tell apart.
func TestFingerprint(t *testing.T) {
	base := at("p", 10, 3, "row=1", "k")
	moved := at("p", 99, 7, "row=8", "k")
	moved.Message, moved.Severity = "other words", prerun.Low
	if base.Fingerprint() != moved.Fingerprint() {
		t.Error("moving a finding changes its fingerprint")
	}
	seen := map[string]string{base.Fingerprint(): "base"}
	ordinal := base
	ordinal.Ordinal = 1
	other := base
	other.Rule.ID = "a.b.d"
	for name, f := range map[string]prerun.Finding{
		"path": at("q", 10, 3, "", "k"), "key": at("p", 10, 3, "", "l"),
		"ordinal": ordinal, "rule": other, "shifted": at("pk", 10, 3, "", ""),
	} {
		fp := f.Fingerprint()
		if prev, dup := seen[fp]; dup {
			t.Errorf("%s has the fingerprint of %s", name, prev)
		}
		if len(fp) != 32 || strings.Trim(fp, "0123456789abcdef") != "" {
			t.Errorf("%s: fingerprint %q", name, fp)
		}
		seen[fp] = name
	}
}

func TestSort(t *testing.T) {
	fs := []prerun.Finding{
		at("b", 0, 0, "", ""), at("a", 9, 0, "", "x"), at("a", 9, 0, "row=17", "x"),
		at("a", 9, 0, "row=9", "x"), at("a", 2, 0, "", "y"),
	}
	prerun.Sort(fs)
	var got []string
	for _, f := range fs {
		got = append(got, f.Path()+" "+f.Locations[0].Fragment+" "+f.Key+" "+string(rune('0'+f.Ordinal)))
	}
	want := []string{"a  y 0", "a  x 0", "a row=9 x 1", "a row=17 x 2", "b   0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSortDoesNotDependOnInputOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Custom(func(t *rapid.T) prerun.Finding {
			return at(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "path"), rapid.Int64Range(0, 2).Draw(t, "offset"),
				rapid.IntRange(0, 2).Draw(t, "line"), rapid.SampledFrom([]string{"", "row=2", "row=10", "x"}).Draw(t, "fragment"),
				rapid.SampledFrom([]string{"", "k"}).Draw(t, "key"))
		})
		fs := rapid.SliceOfN(gen, 1, 8).Draw(t, "findings")
		other := rapid.Permutation(fs).Draw(t, "order")
		a, b := slices.Clone(fs), slices.Clone(other)
		prerun.Sort(a)
		prerun.Sort(b)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("order of input shows:\n%s", diff)
		}
	})
}

func TestPaths(t *testing.T) {
	got := prerun.NestPath(prerun.NestPath(prerun.EscapePath("m!.zip"), "a/b.tar"), "100%\x00\xff\u202e")
	want := "m%21.zip!/a/b.tar!/100%25%00%FF%E2%80%AE"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	names, err := prerun.SplitPath(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"m!.zip", "a/b.tar", "100%\x00\xff\u202e"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "a%", "a%2", "a%zz", "a!b", "!"} {
		if names, err := prerun.SplitPath(bad); err == nil {
			t.Errorf("SplitPath(%q) = %q", bad, names)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("model.zip", "archive/data.pkl")
	f.Add("a!/b", "%41\xff")
	f.Fuzz(func(t *testing.T, outer, inner string) {
		if outer == "" {
			t.Skip()
		}
		names, err := prerun.SplitPath(prerun.NestPath(prerun.EscapePath(outer), inner))
		if err != nil || len(names) != 2 || names[0] != outer || names[1] != inner {
			t.Fatalf("%q in %q came back as %q, %v", inner, outer, names, err)
		}
		_, _ = prerun.SplitPath(inner)
	})
}

func TestDecide(t *testing.T) {
	subject := []prerun.Subject{{Path: "p"}}
	finding := func(s prerun.Severity) []prerun.Finding { return []prerun.Finding{{Rule: rule("a.b.c"), Severity: s}} }
	gap := []prerun.Gap{{Reason: "unreadable"}}
	for _, tt := range []struct {
		name string
		src  prerun.Source
		want prerun.Verdict
	}{
		{"nil", nil, prerun.Incomplete},
		{"nothing", prerun.NewSource(nil, nil, nil), prerun.Incomplete},
		{"clean", prerun.NewSource(subject, nil, nil), prerun.Pass},
		{"below_threshold", prerun.NewSource(subject, finding(prerun.Low), nil), prerun.Pass},
		{"at_threshold", prerun.NewSource(subject, finding(prerun.Medium), nil), prerun.Fail},
		{"unrated", prerun.NewSource(subject, finding(prerun.Unrated), nil), prerun.Fail},
		{"gap", prerun.NewSource(subject, nil, gap), prerun.Incomplete},
		{"low_and_gap", prerun.NewSource(subject, finding(prerun.Low), gap), prerun.Incomplete},
		{"high_and_gap", prerun.NewSource(subject, finding(prerun.High), gap), prerun.Fail},
		{"foreign_without_subject", silent{}, prerun.Incomplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := prerun.Decide(tt.src, prerun.Medium); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// silent is a third party's source that says nothing at all.
type silent struct{}

func (silent) Subjects() iter.Seq[prerun.Subject] { return func(func(prerun.Subject) bool) {} }
func (silent) Findings() iter.Seq[prerun.Finding] { return func(func(prerun.Finding) bool) {} }
func (silent) Gaps() iter.Seq[prerun.Gap]         { return func(func(prerun.Gap) bool) {} }

func TestNewSourceCopies(t *testing.T) {
	subjects := []prerun.Subject{{Path: "b"}, {Path: "a"}}
	src := prerun.NewSource(subjects, nil, nil)
	subjects[0].Path = "changed"
	got := slices.Collect(src.Subjects())
	if diff := cmp.Diff([]prerun.Subject{{Path: "a"}, {Path: "b"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
