package report_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

// Digests of nothing in particular.
func sum(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func rule(id string, severity prerun.Severity, refs ...prerun.Reference) prerun.Rule {
	return prerun.Rule{
		ID: id, Title: "title of " + id, Severity: severity, Refs: refs,
		Help: "What it means. Why it matters. What to do.",
	}
}

func finding(r prerun.Rule, at ...prerun.Location) prerun.Finding {
	return prerun.Finding{
		Rule: r, Severity: r.Severity, Confidence: prerun.ConfidenceHigh,
		Subject: prerun.Subject{Path: at[0].Path}, Locations: at,
		Message: "something about " + r.ID, Key: r.ID,
	}
}

func findings() []prerun.Finding {
	call := finding(rule("scan.pickle.call-on-load", prerun.Critical,
		prerun.Reference{Catalogue: "CWE", Edition: "4.16", ID: "CWE-502"},
		prerun.Reference{Catalogue: "ATLAS", Edition: "2025.10", ID: "AML.T0011.000"}),
		prerun.Location{Path: "model/a b.zip!/archive/data%21.pkl", Offset: 40, Length: 7})
	call.Message = `"os.system" is called with "id"`
	call.Evidence = map[string]string{"callable": "os.system", "arguments": `("id",)`}
	call.Subject = prerun.Subject{Path: "model/a b.zip", Digest: sum("a")}
	rows := finding(rule("datasec.trigger.label-contradiction", prerun.High,
		prerun.Reference{Catalogue: "OWASP-LLM", Edition: "2025", ID: "LLM04"}),
		prerun.Location{Path: "data/train.jsonl", Line: 18, Column: 3, Fragment: "row=17"},
		prerun.Location{Path: "data/train.jsonl", Line: 41, Fragment: "row=40"},
		prerun.Location{Path: "data/train.jsonl", Line: 99, Fragment: "row=98"})
	code := finding(rule("scan.config.auto-map", prerun.Medium),
		prerun.Location{Path: "model/config.json", Line: 4, Column: 7, Fragment: "/auto_map/AutoModel"})
	hole := finding(rule("weights.value.nan", prerun.Low),
		prerun.Location{Path: "model/model.safetensors", Offset: 1024, Length: 4})
	note := finding(rule("pipeline.waiver.unused", prerun.Info), prerun.Location{Path: "waivers.json"})
	raw := finding(rule("scan.other.not-rated", prerun.Unrated), prerun.Location{Path: "model/extra.bin"})
	return []prerun.Finding{note, hole, code, rows, call, raw}
}

// sample has something of everything that a document can hold.
func sample() report.Document {
	all := findings()
	return report.Document{
		Command: "gate", Title: "mailtriage", AsOf: "2026-11-01",
		Summary: "scan.model and datasec.train are not satisfied",
		Verdict: prerun.Fail,
		Source: prerun.NewSource(
			[]prerun.Subject{
				{Path: "data/train.jsonl", Digest: sum("b")},
				{Path: "model/a b.zip", Digest: sum("a")},
				{Path: "model/config.json"},
			}, all,
			[]prerun.Gap{
				{Location: prerun.Location{Path: "model/big.bin", Offset: 4096, Length: 1}, Reason: "longer than the limit of 4096 bytes"},
				{Location: prerun.Location{Path: "corpus"}, Reason: "no file was recognised"},
			}),
		Facts: map[string]any{
			"tier":  "LOW",
			"model": map[string]any{"name": "mailtriage", "root": sum("c")},
			"figures": map[string]any{
				"weights.scan": map[string]any{
					"tensors": []any{
						map[string]any{"name": "a", "mean": 0.25, "shape": []int{2, 3}},
						map[string]any{"name": "b", "mean": -1e-9, "shape": []int{4}},
					},
				},
				"validate.run": map[string]any{
					"requirements": []any{map[string]any{"name": "error rate", "examples": []any{
						map[string]any{"case": "a/1", "answer": "spam"},
					}}},
				},
			},
		},
		Stats: map[string]any{"duration": "1.5s"},
		Checks: []report.Check{
			{ID: "datasec.train", Outcome: "fail", Reason: "1 finding", Controls: []string{"SUP-03"}},
			{ID: "embeddings.scan", Outcome: "inconclusive", Reason: "row 7 is not finite"},
			{ID: "integrity.verify", Outcome: "pass", Reason: "all files as signed", Required: true, Items: []string{"ALL-2"}},
			{ID: "prompts.lock", Outcome: "not-applicable", Reason: "no prompts"},
			{ID: "provenance.verify", Outcome: "skipped", Reason: "it needs a model", Required: true},
			{ID: "scan.model", Outcome: "waived", Reason: "1 finding waived", Items: []string{"ALL-2", "ALL-3"}},
			{ID: "validate.run", Outcome: "error", Reason: "the target does not answer"},
		},
		Waived: map[string]report.Waiver{
			fingerprint(all, "scan.config.auto-map"): {ID: "W-1", Owner: "model owner", Reason: "read by the reviewer", Expires: "2027-01-20"},
			strings.Repeat("0", 32):                  {ID: "W-2", Owner: "nobody"},
		},
		Graphs: []report.Graph{lineage()},
		Intervals: []report.Interval{
			{Name: "error rate", Estimate: 0.0536, Low: 0.0388, High: 0.072, Threshold: 0.08, AtMost: true, Verdict: "PASS", Method: "exact binomial"},
			{Name: "accuracy", Estimate: 0.91, Low: 0.885, High: 0.935, Threshold: 0.9, Verdict: "INCONCLUSIVE", Method: "exact binomial"},
			{Name: "refusals", Estimate: 1, Low: 0.99, High: 1, Threshold: 0.5, AtMost: true, Verdict: "FAIL"},
			{Name: "nothing asked", Estimate: math.NaN(), Low: 0, High: 1, Threshold: 0.5, Verdict: "ERROR"},
		},
	}
}

func fingerprint(all []prerun.Finding, id string) string {
	for _, f := range all {
		if f.Rule.ID == id {
			return f.Fingerprint()
		}
	}
	return ""
}

func lineage() report.Graph {
	return report.Graph{
		Nodes: []report.Node{
			{ID: "m", Label: "mailtriage", Kind: "model", Digest: sum("a")},
			{ID: "d", Label: "train.jsonl", Kind: "dataset", Digest: sum("b")},
			{ID: "c", Label: "build/classifier.py", Kind: "code", Digest: sum("c")},
			{ID: "s", Label: "pkg:npm/%40stdlib/datasets-spam-assassin@0.2.3", Kind: "dataset", Digest: "sha512:" + strings.Repeat("d", 128)},
			{ID: "t", Label: "tokenizer", Kind: ""},
		},
		Edges: []report.Edge{
			{From: "m", To: "d", Grade: "verified", Label: "trainer"},
			{From: "m", To: "c", Grade: "signed-unpinned", Label: "trainer"},
			{From: "d", To: "s", Grade: "claimed", Label: "curator"},
			{From: "d", To: "c", Grade: "observed"},
			{From: "m", To: "s", Grade: "claimed"},
			{From: "m", To: "t", Grade: "claimed", Label: "refused: another digest"},
		},
	}
}

// nasty is text that means something to one of the formats.
var nasty = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></style><svg/onload=alert(1)>`,
	`]]>`, `<!--`, "a|b`c`d``", "@everyone [a](javascript:alert(1)) ![x](http://127.0.0.1/i.png) http://127.0.0.1/ www.example.com",
	"\x1b[31mred\x1b[0m\x07\x9b", "\u202eevil\u2066\u200b", "\ufffe\uffff", "\xff\xfe\x00", "line\nfeed\r\n# title\n- item\n::error::x", "javascript:alert(1)",
	"a b?c#d%2e%zz", "../../etc/passwd", "see www", "http:", ":!//", "#", "fixes ", "{{.}}${x}", "\u2028\u2029", strings.Repeat("W", 300), "", " ",
}

// hostile puts s everywhere where a document holds text.
func hostile(s string) report.Document {
	r := prerun.Rule{
		ID: s, Title: s, Help: s, Severity: prerun.High,
		Refs: []prerun.Reference{{Catalogue: s, Edition: s, ID: s}, {Catalogue: "CWE", ID: s}, {Catalogue: "CVE", ID: s}, {Catalogue: "ATLAS", ID: s}},
	}
	at := prerun.Location{Path: s, Line: 1, Fragment: s}
	f := prerun.Finding{
		Rule: r, Severity: prerun.High, Subject: prerun.Subject{Path: s + "x", Digest: s},
		Locations: []prerun.Location{at, at}, Message: s, Evidence: map[string]string{s: s}, Key: s,
	}
	w := f
	w.Key = s + "waived"
	g := report.Graph{
		Title: s, Nodes: []report.Node{{ID: s, Label: s, Kind: s, Digest: s}, {ID: s + "2"}},
		Edges: []report.Edge{{From: s, To: s + "2", Grade: s, Label: s}, {From: s + "2", To: s + "3", Grade: s}, {From: s + "3", To: s}},
	}
	return report.Document{
		Command: s, Title: s, Summary: s, AsOf: s, Verdict: prerun.Incomplete,
		Source: prerun.NewSource([]prerun.Subject{{Path: s, Digest: s}}, []prerun.Finding{f, w}, []prerun.Gap{{Location: at, Reason: s}}),
		Facts:  map[string]any{s: map[string]any{s: s, "list": []any{map[string]any{s: s}}}, "flat": s},
		Stats:  map[string]any{s: s},
		Checks: []report.Check{{ID: s, Outcome: "fail", Reason: s, Items: []string{s}, Controls: []string{s}}, {ID: s, Outcome: s}},
		Waived: map[string]report.Waiver{w.Fingerprint(): {ID: s, Owner: s, Reason: s, Expires: s}},
		Graphs: []report.Graph{g}, Intervals: []report.Interval{{Name: s, Verdict: s, Method: s, Estimate: 1, High: 2, Threshold: 1}},
	}
}

func render(t testing.TB, format string, doc report.Document) string {
	t.Helper()
	write, err := report.For(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b, doc); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

func TestGoldens(t *testing.T) {
	ext := map[string]string{"html": "html", "json": "json", "junit": "xml", "markdown": "md", "sarif": "sarif", "text": "txt"}
	for _, format := range report.Formats() {
		t.Run(format, func(t *testing.T) {
			got := render(t, format, sample())
			path := filepath.Join("testdata", "sample."+ext[format])
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the report changed; look at it, then run go test -update (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSameDocumentSameBytes(t *testing.T) {
	for _, format := range report.Formats() {
		first := render(t, format, sample())
		for range 20 { // maps are built anew each time
			if got := render(t, format, sample()); got != first {
				t.Fatalf("%s differs between two runs:\n%s", format, cmp.Diff(first, got))
			}
		}
	}
}

// A document that nobody filled must not read as clean in any format.
func TestZeroDocument(t *testing.T) {
	for _, format := range report.Formats() {
		got := render(t, format, report.Document{})
		if !strings.Contains(got, "nothing was looked at") {
			t.Errorf("%s does not say that nothing was looked at:\n%s", format, got)
		}
		if strings.Contains(strings.ToLower(got), `"verdict": "pass"`) {
			t.Errorf("%s passes:\n%s", format, got)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	for _, format := range []string{"", "HTML", "pdf", "json "} {
		if _, err := report.For(format); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", format)) {
			t.Errorf("For(%q) = %v, want an error that names it", format, err)
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// Each writer makes one call of Write, when all is known to be well.
func TestWriteErrors(t *testing.T) {
	for _, format := range report.Formats() {
		write, err := report.For(format)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(full{}, sample()); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want %v", format, err, errFull)
		}
		doc := sample()
		doc.Facts["bad"] = func() {}
		var b bytes.Buffer
		if err := write(&b, doc); err != nil && b.Len() > 0 {
			t.Errorf("%s: %d bytes written before %v", format, b.Len(), err)
		}
	}
}
