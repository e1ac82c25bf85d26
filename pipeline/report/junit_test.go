package report_test

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

type junit struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Suite    struct {
		Skipped int `xml:"skipped,attr"`
		Cases   []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
				Text    string `xml:",chardata"`
			} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func readJUnit(t testing.TB, doc report.Document) (out junit) {
	t.Helper()
	if err := xml.Unmarshal([]byte(render(t, "junit", doc)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func outcomes(j junit) map[string]string {
	out := make(map[string]string)
	for _, c := range j.Suite.Cases {
		outcome := "pass"
		n := 0
		for name, is := range map[string]bool{"failure": c.Failure != nil, "error": c.Error != nil, "skipped": c.Skipped != nil} {
			if is {
				outcome = name
				n++
			}
		}
		if n > 1 {
			outcome = "several"
		}
		out[c.Name] = outcome
	}
	return out
}

func TestJUnitChecks(t *testing.T) {
	got := readJUnit(t, sample())
	want := map[string]string{
		"datasec.train": "failure", "embeddings.scan": "error", "integrity.verify": "pass", "prompts.lock": "skipped",
		"provenance.verify": "error", "scan.model": "skipped", "validate.run": "error",
	}
	if diff := cmp.Diff(want, outcomes(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Tests != 7 || got.Failures != 1 || got.Errors != 3 || got.Suite.Skipped != 2 {
		t.Errorf("counts are %d, %d, %d, %d", got.Tests, got.Failures, got.Errors, got.Suite.Skipped)
	}
}

func TestJUnitSubjects(t *testing.T) {
	doc := sample()
	doc.Checks = nil
	want := map[string]string{
		"data/train.jsonl": "failure", "model/a b.zip": "failure", "model/config.json": "skipped",
		"model/extra.bin": "failure", "model/big.bin": "error", "corpus": "error",
	}
	if diff := cmp.Diff(want, outcomes(readJUnit(t, doc))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A build server must never show green for what is no pass.
func TestJUnitNeverGreen(t *testing.T) {
	late := finding(rule("pipeline.waiver.expired", prerun.High), prerun.Location{Path: "waivers.json"})
	clean := prerun.NewSource([]prerun.Subject{{Path: "a"}}, nil, nil)
	pass := []report.Check{{ID: "a", Outcome: "pass"}}
	for _, tt := range []struct {
		name string
		doc  report.Document
		want map[string]string
	}{
		{"zero", report.Document{}, map[string]string{".": "error"}},
		{"gate's own finding", report.Document{Verdict: prerun.Fail, Checks: pass, Source: prerun.NewSource(nil, []prerun.Finding{late}, nil)}, map[string]string{"a": "pass", "verdict": "failure"}},
		{"fail without finding", report.Document{Verdict: prerun.Fail, Source: clean}, map[string]string{"a": "pass", "verdict": "failure"}},
		{"incomplete without gap", report.Document{Source: clean}, map[string]string{"a": "pass", "verdict": "error"}},
		{"pass", report.Document{Verdict: prerun.Pass, Source: clean}, map[string]string{"a": "pass"}},
		{"unknown outcome", report.Document{Verdict: prerun.Fail, Source: clean, Checks: []report.Check{{ID: "a", Outcome: "ok"}}}, map[string]string{"a": "error"}},
	} {
		if diff := cmp.Diff(tt.want, outcomes(readJUnit(t, tt.doc))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	got := readJUnit(t, report.Document{Verdict: prerun.Fail, Checks: pass, Source: prerun.NewSource(nil, []prerun.Finding{late}, nil)})
	if f := got.Suite.Cases[1].Failure; !strings.Contains(f.Text, "pipeline.waiver.expired") {
		t.Errorf("the verdict's case does not say why: %+v", f)
	}
}

func TestJUnitHostileText(t *testing.T) {
	for _, s := range nasty {
		doc := hostile(s)
		for _, checks := range [][]report.Check{doc.Checks, nil} {
			doc.Checks = checks
			if err := checkXML(render(t, "junit", doc)); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
	}
}
