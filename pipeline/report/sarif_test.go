package report_test

import (
	"encoding/json"
	"net/url"
	"os"
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
			RuleID    string
			RuleIndex int
			Level     string
			Locations []struct {
				PhysicalLocation struct {
					ArtifactLocation struct{ URI string }
					Region           map[string]int
				}
				LogicalLocations []struct{ FullyQualifiedName string }
				Properties       map[string]int
			}
			PartialFingerprints map[string]string
			Suppressions        []struct{ Justification string }
		}
		Artifacts   []any
		Invocations []struct {
			ExecutionSuccessful        bool
			ExitCode                   int
			ToolExecutionNotifications []struct{ Message struct{ Text string } }
		}
	}
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
			if at.PhysicalLocation.ArtifactLocation.URI != "model/a%20b.zip" || at.PhysicalLocation.Region != nil ||
				at.LogicalLocations[0].FullyQualifiedName != "model/a b.zip!/archive/data%21.pkl" || at.Properties["offset"] != 40 {
				t.Errorf("a nested location is %+v", at)
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
