package report_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// checkText holds for what goes to a terminal.
func checkText(s string) error {
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '\n' && (!unicode.IsPrint(r) || r == utf8.RuneError) }); i >= 0 {
		return fmt.Errorf("a character %q at byte %d", []rune(s[i:])[0], i)
	}
	return nil
}

func checkXML(s string) error {
	d := xml.NewDecoder(strings.NewReader(s))
	known := []string{"testsuites", "testsuite", "testcase", "failure", "error", "skipped", "system-out"}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if !slices.Contains(known, t.Name.Local) {
				return fmt.Errorf("an element <%s>", t.Name.Local)
			}
		case xml.Comment, xml.Directive:
			return fmt.Errorf("a %T", t)
		}
	}
}

var (
	markdownCode   = regexp.MustCompile("`[^`|\\\\\n]+`")
	waivedNote     = regexp.MustCompile(`\*\((waived by [^*]*)\)\*`)
	markdownEscape = regexp.MustCompile("\\\\[!-/:-@[-`{-~]")
	markdownActive = regexp.MustCompile(`[\[\]!` + "`" + `~$]|\*|@[\w]|://|www\.|<[^/c]|</?c[^o]|#\d`)
)

// checkMarkdown takes away code and escapes and looks for what still has a
// meaning; each row of a table must have the cells of its head.
func checkMarkdown(s string) error {
	cells := 0
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		line = markdownCode.ReplaceAllString(line, "code")
		line = markdownEscape.ReplaceAllString(line, "·") // what stood around it does not meet
		line = waivedNote.ReplaceAllString(line, "($1)")
		if m := markdownActive.FindString(line); m != "" {
			return fmt.Errorf("%q in %q", m, line)
		}
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := strings.Count(line, "|")
		if cells == 0 {
			cells = n
		}
		if n != cells {
			return fmt.Errorf("%d pipes instead of %d in %q", n, cells, line)
		}
	}
	return checkText(strings.ReplaceAll(s, "\u2060", ""))
}

func TestTextHostileText(t *testing.T) {
	for _, s := range nasty {
		if err := checkText(render(t, "text", hostile(s))); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"\x1b[0m", "\r", "\u202e", "\xff", "\u2028"} {
		if checkText(s) == nil {
			t.Errorf("the oracle does not mind %q", s)
		}
	}
}

func TestMarkdownHostileText(t *testing.T) {
	for _, s := range nasty {
		if err := checkMarkdown(render(t, "markdown", hostile(s))); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"<script>", "[a](b)", "@user", "http://x", "| a |\n| a | b |", "`a", "fixes #1", "<img>", "![x]"} {
		if checkMarkdown(s) == nil {
			t.Errorf("the oracle does not mind %q", s)
		}
	}
}

// Code hosts refuse a comment of more than 65,536 bytes.
func TestMarkdownFitsAComment(t *testing.T) {
	doc := thousand()
	for i := range 300 {
		doc.Checks = append(doc.Checks, report.Check{ID: fmt.Sprintf("check.%d", i), Outcome: "pass", Reason: strings.Repeat("|@", 4000)})
	}
	got := render(t, "markdown", doc)
	if len(got) > 65536 {
		t.Errorf("%d bytes", len(got))
	}
	for _, want := range []string{"950 more findings not shown here", "more checks not shown here"} {
		if !strings.Contains(got, want) {
			t.Errorf("does not say %q", want)
		}
	}
	if err := checkMarkdown(got); err != nil {
		t.Error(err)
	}
}

// The envelope is what other programs read: its keys are fixed.
func TestJSONEnvelope(t *testing.T) {
	for name, doc := range map[string]report.Document{"sample": sample(), "zero": {}} {
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(render(t, "json", doc)), &got); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for key, value := range got {
			keys = append(keys, key)
			if string(value) == "null" {
				t.Errorf("%s: %s is null", name, key)
			}
		}
		slices.Sort(keys)
		if diff := cmp.Diff([]string{"command", "facts", "findings", "gaps", "schema", "stats", "subjects", "verdict"}, keys); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var got struct {
		Schema, Command, Verdict string
		Findings                 []map[string]any
		Facts                    struct{ Checks []map[string]any }
	}
	if err := json.Unmarshal([]byte(render(t, "json", sample())), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "prerun/report/v1" || got.Command != "gate" || got.Verdict != "fail" || len(got.Facts.Checks) != 7 {
		t.Errorf("got %+v", got)
	}
	want := map[string]any{
		"rule": "scan.pickle.call-on-load", "severity": "critical", "confidence": "high",
		"path": "model/a b.zip!/archive/data%21.pkl", "offset": 40.0, "length": 7.0,
		"message": `"os.system" is called with "id"`, "refs": []any{"CWE-502", "AML.T0011.000"},
		"evidence": map[string]any{"callable": "os.system", "arguments": `("id",)`}, "fingerprint": "8390f439cc1212775c482e8141d9c794",
	}
	i := slices.IndexFunc(got.Findings, func(f map[string]any) bool { return f["rule"] == want["rule"] })
	if diff := cmp.Diff(want, got.Findings[i]); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
}

// What does not print is escaped in JSON, and text comes back as it was.
func TestJSONHostileText(t *testing.T) {
	for _, s := range append([]string{"\U000e0041"}, nasty...) {
		for _, format := range []string{"json", "sarif"} {
			if err := checkText(strings.ReplaceAll(render(t, format, hostile(s)), "\ufffd", "")); err != nil {
				t.Errorf("%s of %q: %v", format, s, err)
			}
		}
		if !utf8.ValidString(s) {
			continue // each bad byte became a mark
		}
		var got struct{ Subjects []struct{ Path string } }
		if err := json.Unmarshal([]byte(render(t, "json", hostile(s))), &got); err != nil {
			t.Fatal(err)
		}
		if got := got.Subjects[0].Path; got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
}

// Offset 0 is an offset, and a location without bytes has none.
func TestJSONOffset(t *testing.T) {
	r := rule("a.b.c", prerun.Low)
	src := prerun.NewSource(nil, []prerun.Finding{
		finding(r, prerun.Location{Path: "a", Length: 1}), finding(r, prerun.Location{Path: "b"}),
	}, nil)
	var got struct{ Findings []map[string]any }
	if err := json.Unmarshal([]byte(render(t, "json", report.Document{Source: src})), &got); err != nil {
		t.Fatal(err)
	}
	if v, ok := got.Findings[0]["offset"]; !ok || v != 0.0 {
		t.Errorf("the first byte has offset %v", v)
	}
	if _, ok := got.Findings[1]["offset"]; ok {
		t.Error("a whole file has an offset")
	}
}
