package report_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// elements reads a page as strict XML and counts its elements by name. What
// text from outside added to the page would show there.
func elements(page string) (map[string]int, []xml.Attr, error) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	names := make(map[string]int)
	var attrs []xml.Attr
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names, attrs, nil
		}
		if err != nil {
			return nil, nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			names[t.Name.Local]++
			attrs = append(attrs, t.Attr...)
		case xml.Comment, xml.ProcInst:
			return nil, nil, fmt.Errorf("a %T", t)
		}
	}
}

// checkPage holds for every page, whatever stands in it.
func checkPage(page string) error {
	head, rest, _ := strings.Cut(page, "<style>") // the style is ours and makes half the page
	_, body, _ := strings.Cut(rest, "</style>")
	names, attrs, err := elements(head + body)
	if err != nil {
		return fmt.Errorf("not well-formed: %w", err)
	}
	known := []string{
		"html", "head", "meta", "link", "title", "style", "body", "svg", "symbol", "path", "circle", "a", "header", "div", "p",
		"span", "h1", "h2", "h3", "h4", "dl", "dt", "dd", "nav", "ul", "ol", "li", "main", "section", "i", "details", "summary",
		"code", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "strong", "rect", "line", "text",
		"g", "polygon", "use", "pattern",
	}
	for name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("an element <%s>", name)
		}
	}
	for _, a := range attrs {
		switch name := a.Name.Local; {
		case strings.HasPrefix(name, "on"), name == "style", name == "src", name == "srcset", name == "action":
			return fmt.Errorf("an attribute %s", name)
		case name == "href" && !safeAddress.MatchString(a.Value):
			return fmt.Errorf("an address %q", a.Value)
		}
	}
	if i := strings.IndexFunc(page, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
		return fmt.Errorf("a character %q at byte %d", []rune(page[i:])[0], i)
	}
	return nil
}

var safeAddress = regexp.MustCompile(`^(#[a-z-]+|data:image/svg\+xml,[^<>"]+|https://(cwe\.mitre\.org/data/definitions/[0-9]+\.html|www\.cve\.org/CVERecord\?id=CVE-[0-9-]+|atlas\.mitre\.org/techniques/AML\.T[0-9.]+))$`)

func TestHTMLIsWellFormed(t *testing.T) {
	page := render(t, "html", sample())
	if _, _, err := elements(page); err != nil {
		t.Error(err)
	}
	if err := checkPage(page); err != nil {
		t.Error(err)
	}
	if err := checkPage(render(t, "html", report.Document{})); err != nil {
		t.Errorf("zero document: %v", err)
	}
}

func TestHTMLHostileText(t *testing.T) {
	for _, s := range nasty {
		if err := checkPage(render(t, "html", hostile(s))); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// The oracle must see what it is there for.
func TestHTMLOracle(t *testing.T) {
	for _, page := range []string{
		"<p>", "<script></script>", "<p onclick='x'></p>", "<p style='x'></p>", "<a href='javascript:x'></a>",
		"<a href='https://cwe.mitre.org.example.com/'></a>", "<p>\u202e</p>", "<!-- x -->", "<img src='x'/>",
	} {
		if err := checkPage(page); err == nil {
			t.Errorf("%q passes", page)
		}
	}
}

var (
	styleElement = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	policyMeta   = regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`)
)

func TestHTMLPolicy(t *testing.T) {
	page := render(t, "html", sample())
	styles := styleElement.FindAllStringSubmatch(page, -1)
	if len(styles) != 1 {
		t.Fatalf("%d style elements, want 1", len(styles))
	}
	hash := sha256.Sum256([]byte(styles[0][1]))
	policy := html.UnescapeString(policyMeta.FindStringSubmatch(page)[1])
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	if policy != want {
		t.Errorf("policy %q, want %q", policy, want)
	}
	if i := strings.Index(page, policyMeta.FindString(page)); i > strings.Index(page, "<style>") {
		t.Error("the policy stands after the style that it is about")
	}
}

func TestHTMLShows(t *testing.T) {
	page := html.UnescapeString(render(t, "html", sample()))
	for _, want := range []string{
		"mailtriage: fail", "2026-11-01", "scan.model and datasec.train are not satisfied",
		"model/a b.zip!/archive/data%21.pkl@40+7", `"os.system" is called with "id"`, "CWE-502 (4.16)", "also at",
		"by model owner until 2027-01-20", "longer than the limit of 4096 bytes", "the target does not answer",
		"signed-unpinned", "refused: another digest", "measured 0.0536, interval 0.0388 to 0.072, required at most 0.08",
		"Nothing to draw", "Title of scan.pickle", "confidence high", sum("b"), "weights.scan", "-1.0000e-09", "What this means",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if strings.Contains(page, "NaN") {
		t.Error("the page shows NaN")
	}
}

func TestHTMLLongLists(t *testing.T) {
	doc := thousand()
	page := render(t, "html", doc)
	if err := checkPage(page); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"Show 488 more", "and 500 more, which the JSON report lists"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// A lineage may be long, dense, cyclic, or name nodes that it does not list.
func TestHTMLGraphs(t *testing.T) {
	var chain, star, dense report.Graph
	for i := range 500 {
		chain.Edges = append(chain.Edges, report.Edge{From: fmt.Sprint(i), To: fmt.Sprint(i + 1)})
		star.Edges = append(star.Edges, report.Edge{From: "hub", To: fmt.Sprint(i)})
	}
	for i := range 60 {
		for j := range i {
			dense.Edges = append(dense.Edges, report.Edge{From: fmt.Sprint(j), To: fmt.Sprint(i), Grade: "verified"})
		}
	}
	for _, tt := range []struct {
		name string
		g    report.Graph
		want string
	}{
		{"chain", chain, "441 further things are not drawn"},
		{"star", star, "441 further things are not drawn"},
		{"dense", dense, "60 things and 1770 links"},
		{"self", report.Graph{Edges: []report.Edge{{From: "a", To: "a"}}}, "1 thing and 0 links"},
		{"cycle", report.Graph{Edges: []report.Edge{{From: "a", To: "b"}, {From: "b", To: "c"}, {From: "c", To: "a"}}}, "3 things and 3 links"},
		{"twice", report.Graph{Nodes: []report.Node{{ID: "a"}, {ID: "a"}}, Edges: []report.Edge{{From: "a", To: "b"}, {From: "a", To: "b"}}}, "2 things and 2 links"},
		{"apart", report.Graph{Nodes: []report.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}}, "3 things and 0 links"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := render(t, "html", report.Document{Command: "x", Source: prerun.NewSource(nil, nil, nil), Graphs: []report.Graph{tt.g}})
			if err := checkPage(page); err != nil {
				t.Error(err)
			}
			if !strings.Contains(page, tt.want) {
				t.Errorf("the page does not say %q", tt.want)
			}
		})
	}
}

// thousand has 1,000 findings of one rule.
func thousand() report.Document {
	doc := sample()
	r := rule("datasec.unicode.hidden-text", prerun.High, prerun.Reference{Catalogue: "CWE", ID: "CWE-451"})
	var all []prerun.Finding
	for i := range 1000 {
		all = append(all, finding(r, prerun.Location{Path: "data/train.jsonl", Line: i + 1, Fragment: fmt.Sprintf("row=%d", i)}))
	}
	doc.Source = prerun.NewSource([]prerun.Subject{{Path: "data/train.jsonl"}}, all, nil)
	return doc
}
