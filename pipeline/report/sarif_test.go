package report_test

import (
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

func sarifSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open("testdata/sarif-schema-2.1.0-rtm.5.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	raw, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", raw); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(schema *jsonschema.Schema, log string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(log))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func TestSARIFSchema(t *testing.T) {
	schema := sarifSchema(t)
	docs := map[string]report.Document{"sample": sample(), "zero": {}, "thousand": thousand()}
	for _, s := range nasty {
		docs[s] = hostile(s)
	}
	for name, doc := range docs {
		if err := validate(schema, render(t, "sarif", doc)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The schema must refuse what is no SARIF, or the test above proves nothing.
func TestSARIFSchemaRefuses(t *testing.T) {
	schema := sarifSchema(t)
	good := render(t, "sarif", sample())
	for _, tt := range []struct{ name, old, new string }{
		{"version", `"version": "2.1.0"`, `"version": "2.0.0"`},
		{"level", `"level": "error"`, `"level": "high"`},
		{"message", `"message": {`, `"massage": {`},
		{"suppression", `"kind": "external"`, `"kind": "waiver"`},
		{"rule index", `"ruleIndex": `, `"ruleIndex": -`},
		{"line", `"startLine": `, `"startLine": -`},
		{"success", `"executionSuccessful": false`, `"executionSuccessful": "no"`},
	} {
		bad := strings.ReplaceAll(good, tt.old, tt.new)
		if bad == good {
			t.Fatalf("%s: nothing to mangle", tt.name)
		}
		if err := validate(schema, bad); err == nil {
			t.Errorf("%s: the schema takes a mangled log", tt.name)
		}
	}
}

type sarifLog struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Rules []struct {
					ID         string
					Properties struct {
						Tags     []string
						Severity string `json:"security-severity"`
					}
				}
			}
		}
		Results []struct {
			RuleID              string
			RuleIndex           int
			Level               string
			Locations           []sarifPlace
			PartialFingerprints map[string]string
			Suppressions        []struct{ Justification string }
		}
		Artifacts []struct {
			Location    struct{ URI string }
			ParentIndex *int
			Hashes      map[string]string
		}
		Invocations []struct {
			ExecutionSuccessful        bool
			ExitCode                   int
			ToolExecutionNotifications []struct {
				Message   struct{ Text string }
				Locations []sarifPlace
			}
		}
	}
}

type sarifPlace struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI   string
			Index *int
		}
		Region map[string]int
	}
	LogicalLocations []struct{ FullyQualifiedName string }
}

func readSARIF(t testing.TB, doc report.Document) (log sarifLog) {
	t.Helper()
	if err := json.Unmarshal([]byte(render(t, "sarif", doc)), &log); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestSARIFContent(t *testing.T) {
	run := readSARIF(t, sample()).Runs[0]
	if len(run.Results) != 6 {
		t.Fatalf("%d results, want 6", len(run.Results))
	}
	levels := map[string]string{}
	for _, r := range run.Results {
		levels[r.RuleID] = r.Level
		if id := run.Tool.Driver.Rules[r.RuleIndex].ID; id != r.RuleID {
			t.Errorf("result of %s points at rule %s", r.RuleID, id)
		}
		if len(r.PartialFingerprints["prerun/v1"]) != 32 {
			t.Errorf("%s: fingerprints %v", r.RuleID, r.PartialFingerprints)
		}
		if waived := r.RuleID == "scan.config.auto-map"; waived != (len(r.Suppressions) == 1) {
			t.Errorf("%s: suppressions %v", r.RuleID, r.Suppressions)
		}
		at := r.Locations[0]
		switch r.RuleID {
		case "scan.pickle.call-on-load":
			if at.PhysicalLocation.ArtifactLocation.URI != "model/a%20b.zip" || at.PhysicalLocation.Region != nil || len(r.Locations) != 2 {
				t.Fatalf("a nested location begins with %+v", r.Locations)
			}
			inner := r.Locations[1]
			if inner.PhysicalLocation.ArtifactLocation.URI != "/archive/data%2521.pkl" ||
				inner.LogicalLocations[0].FullyQualifiedName != "model/a b.zip!/archive/data%21.pkl" {
				t.Errorf("a nested location is %+v", inner)
			}
			if diff := cmp.Diff(map[string]int{"byteOffset": 40, "byteLength": 7}, inner.PhysicalLocation.Region); diff != "" {
				t.Errorf("region of a nested location (-want +got):\n%s", diff)
			}
		case "weights.value.nan":
			if diff := cmp.Diff(map[string]int{"byteOffset": 1024, "byteLength": 4}, at.PhysicalLocation.Region); diff != "" {
				t.Errorf("region (-want +got):\n%s", diff)
			}
		case "scan.config.auto-map":
			if diff := cmp.Diff(map[string]int{"startLine": 4}, at.PhysicalLocation.Region); diff != "" {
				t.Errorf("region (-want +got):\n%s", diff)
			}
		}
	}
	want := map[string]string{
		"scan.other.not-rated": "error", "scan.pickle.call-on-load": "error", "datasec.trigger.label-contradiction": "error",
		"scan.config.auto-map": "warning", "weights.value.nan": "warning", "pipeline.waiver.unused": "note",
	}
	if diff := cmp.Diff(want, levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	if n := len(run.Invocations[0].ToolExecutionNotifications); n != 2+4 {
		t.Errorf("%d notifications, want 2 gaps and 4 checks", n)
	}
}

// What lies in a container is an artifact whose parent is the container's, as
// deep as it goes, and no file is listed twice.
func TestSARIFNesting(t *testing.T) {
	r := rule("scan.pickle.call-on-load", prerun.High)
	deep := finding(r,
		prerun.Location{Path: "a.zip!/b.tar!/c.pkl", Offset: 2, Length: 3},
		prerun.Location{Path: "a.zip!/b.tar!/d.json", Line: 7, Fragment: "/x"},
		prerun.Location{Path: "z.7z!/c.pkl"},
		prerun.Location{Path: "plain.pkl", Offset: 1, Length: 1})
	deep.Subject = prerun.Subject{Path: "a.zip", Digest: sum("a")}
	bare := finding(r, prerun.Location{Path: "x"})
	bare.Locations, bare.Subject = nil, prerun.Subject{Path: "a.zip!/b.tar!/c.pkl"}
	doc := report.Document{Source: prerun.NewSource(
		[]prerun.Subject{{Path: "a.zip", Digest: sum("a")}, {Path: "a.zip"}, {Path: "a.zip!/b.tar", Digest: sum("b")}, {Path: "sub/a.zip", Digest: "sha512:00"}},
		[]prerun.Finding{deep, bare},
		[]prerun.Gap{{Location: prerun.Location{Path: "a.zip!/%21.rar"}, Reason: "not decoded"}})}
	if err := validate(sarifSchema(t), render(t, "sarif", doc)); err != nil {
		t.Error(err)
	}
	run := readSARIF(t, doc).Runs[0]
	var files []string
	for i := range run.Artifacts {
		files = append(files, nested(t, run.Artifacts[i].Location.URI, i, doc)+" "+run.Artifacts[i].Hashes["sha-256"])
	}
	want := []string{
		"a.zip " + strings.Repeat("a", 64), "a.zip!/b.tar " + strings.Repeat("b", 64), "sub/a.zip ",
		"a.zip!/b.tar!/c.pkl ", "a.zip!/b.tar!/d.json ", "z.7z ", "z.7z!/c.pkl ", "plain.pkl ", "a.zip!/%21.rar ",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	places := func(all []sarifPlace) (out []string) {
		for _, p := range all {
			out = append(out, nested(t, p.PhysicalLocation.ArtifactLocation.URI, *p.PhysicalLocation.ArtifactLocation.Index, doc))
		}
		return out
	}
	for _, tt := range []struct {
		got  []sarifPlace
		want []string
	}{
		{run.Results[1].Locations, []string{"a.zip", "a.zip!/b.tar!/c.pkl", "a.zip!/b.tar!/d.json", "plain.pkl", "z.7z", "z.7z!/c.pkl"}},
		{run.Results[0].Locations, []string{"a.zip", "a.zip!/b.tar!/c.pkl"}},
		{run.Invocations[0].ToolExecutionNotifications[0].Locations, []string{"a.zip", "a.zip!/%21.rar"}},
	} {
		got := places(tt.got)
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("locations (-want +got):\n%s", diff)
		}
	}
	for _, p := range run.Results[1].Locations[1:] { // ranges count in the member, never in its container
		got, at := p.PhysicalLocation.Region, p.PhysicalLocation.ArtifactLocation.URI
		want := map[string]map[string]int{
			"/c.pkl": {"byteOffset": 2, "byteLength": 3}, "/d.json": {"startLine": 7}, "plain.pkl": {"byteOffset": 1, "byteLength": 1},
		}[at]
		if *p.PhysicalLocation.ArtifactLocation.Index == 6 { // of z.7z
			want = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("region in %s (-want +got):\n%s", at, diff)
		}
	}
}

// nested is an artifact's path from the outermost file inward. An address beside
// an index must be that artifact's.
func nested(t testing.TB, address string, at int, doc report.Document) string {
	t.Helper()
	all := readSARIF(t, doc).Runs[0].Artifacts
	if at < 0 || at >= len(all) || all[at].Location.URI != address {
		t.Fatalf("artifact %d is not %q", at, address)
	}
	path, err := url.PathUnescape(address)
	if err != nil {
		t.Fatal(err)
	}
	parent := all[at].ParentIndex
	if parent == nil {
		return path
	}
	if *parent < 0 || *parent >= at {
		t.Fatalf("the container of artifact %d is artifact %d", at, *parent)
	}
	return nested(t, all[*parent].Location.URI, *parent, doc) + "!" + path
}

// Whatever names hold, an address and an index beside each other agree.
func TestSARIFIndices(t *testing.T) {
	for _, s := range append([]string{"!/", "a!/", "!/!/b", "a!//b", "a!/../b", "a!/."}, nasty...) {
		doc := hostile(s)
		for _, r := range readSARIF(t, doc).Runs[0].Results {
			for i, p := range r.Locations {
				at := p.PhysicalLocation.ArtifactLocation
				if got := nested(t, at.URI, *at.Index, doc); i == len(r.Locations)-1 && strings.HasPrefix(s, "a!/") && got != s {
					t.Errorf("%q comes back as %q", s, got)
				}
			}
		}
	}
}

// An empty list of results must not read as clean when nothing was decided.
func TestSARIFNotSuccessful(t *testing.T) {
	clean := prerun.NewSource([]prerun.Subject{{Path: "a"}}, nil, nil)
	for _, tt := range []struct {
		name    string
		verdict prerun.Verdict
		outcome string
		want    bool
	}{
		{"pass", prerun.Pass, "pass", true},
		{"waived", prerun.Pass, "waived", true},
		{"fail", prerun.Fail, "fail", true},
		{"skipped", prerun.Fail, "skipped", false},
		{"unknown outcome", prerun.Fail, "", false},
		{"incomplete", prerun.Incomplete, "pass", false},
	} {
		doc := report.Document{Command: "gate", Verdict: tt.verdict, Source: clean, Checks: []report.Check{{ID: "x", Outcome: tt.outcome}}}
		got := readSARIF(t, doc).Runs[0].Invocations[0]
		if got.ExecutionSuccessful != tt.want || got.ExitCode != tt.verdict.ExitCode() {
			t.Errorf("%s: successful %t, exit code %d", tt.name, got.ExecutionSuccessful, got.ExitCode)
		}
	}
}

// Decoding an address gives back the path, and no path becomes a scheme, a
// host or a root.
func TestSARIFAddresses(t *testing.T) {
	for _, path := range append([]string{"a:b", "c:/x", "//host/x", "/etc/passwd", "http://x/", "a//b", "%41", "ü/日本", "?q#f"}, nasty...) {
		if path == "" || strings.Contains(path, "!/") {
			continue
		}
		f := finding(rule("a.b.c", prerun.Low), prerun.Location{Path: path})
		doc := report.Document{Source: prerun.NewSource(nil, []prerun.Finding{f}, nil)}
		uri := readSARIF(t, doc).Runs[0].Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI
		u, err := url.Parse(uri)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if u.IsAbs() || u.Host != "" || strings.HasPrefix(uri, "/") || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q became %q", path, uri)
		}
		if u.Path != path {
			t.Errorf("%q comes back as %q", path, u.Path)
		}
	}
}
