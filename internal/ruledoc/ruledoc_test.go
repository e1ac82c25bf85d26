package ruledoc_test

import (
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/ruledoc"
)

func TestMarkdown(t *testing.T) {
	page := ruledoc.Page{
		Package: "a/b", Command: "go generate ./a/b",
		Rules: []prerun.Rule{
			{ID: "b.y.two", Title: "second | thing", Severity: prerun.Low, Help: "Two."},
			{ID: "b.x.one-more", Title: "first thing", Severity: prerun.High, Help: "One.", Refs: []prerun.Reference{
				{Catalogue: "CWE", Edition: "4.16", ID: "CWE-22"}, {Catalogue: "AISBD", Edition: "2026-07", ID: "SUP-01"}, {Catalogue: "OWASP-LLM", Edition: "2025", ID: "LLM03"},
			}},
		},
		Examples: map[string]string{"b.x.one-more": "a file."},
	}
	got := string(page.Markdown())
	want := `# Rules of a/b

Written by ` + "`go generate ./a/b`" + `. Do not edit.

The severity is that of an ordinary finding; where a rule's text says so, a
finding may be graver.

| rule | what it reports | severity |
|---|---|---|
| [b.x.one-more](#bxone-more) | first thing | high |
| [b.y.two](#bytwo) | second \| thing | low |

## b.x.one-more

First thing, high. One.

Example: a file.

References: [CWE-22](https://cwe.mitre.org/data/definitions/22.html) (4.16), AISBD SUP-01 (2026-07), [OWASP-LLM LLM03](https://genai.owasp.org/llm-top-10/) (2025).

## b.y.two

Second | thing, low. Two.
`
	if got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestLink(t *testing.T) {
	for want, r := range map[string]prerun.Reference{
		"https://www.cve.org/CVERecord?id=CVE-2025-1550":   {Catalogue: "CVE", ID: "CVE-2025-1550"},
		"https://atlas.mitre.org/techniques/AML.T0011.000": {Catalogue: "ATLAS", ID: "AML.T0011.000"},
	} {
		if got := ruledoc.Link(r); got != want {
			t.Errorf("%v: %q", r, got)
		}
	}
	for _, bad := range []string{"CWE", "CVE", "ATLAS", "OWASP-LLM", "OWASP-ML", "SLSA", "other"} {
		if got := ruledoc.Link(prerun.Reference{Catalogue: bad, ID: "javascript:x" + strings.Repeat("9", 20)}); got != "" {
			t.Errorf("%s: %q", bad, got)
		}
	}
}
