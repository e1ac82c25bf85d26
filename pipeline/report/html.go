package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/ruledoc"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

// The style stands in the page and the policy names its hash, so it goes in
// before parsing: the template engine must not see it as a value. Programs that
// write no page do not pay for parsing it.
var (
	pageTemplate = sync.OnceValue(func() *template.Template {
		return template.Must(template.New("page").Parse(strings.Replace(pageSource, "@@style@@", pageStyle, 1)))
	})
	pagePolicy = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; base-uri 'none'; form-action 'none'"
	}()
)

// HTML writes one self-contained page for people: the verdict and its reason,
// what was not checked, findings by severity and rule, the checks of a gate,
// intervals drawn against their thresholds, lineage as a graph, figures and
// subjects. It has no script and asks for nothing over the network, and a
// content security policy in it lets a browser do no more than that. It is
// well-formed XML too.
//
// Long lists are folded, and past stated numbers cut with a note: the JSON
// envelope has everything.
func HTML(w io.Writer, doc Document) error {
	p, err := newPage(doc)
	if err != nil {
		return err
	}
	var b bytes.Buffer // nothing half-written when a fact does not marshal
	if err := pageTemplate().Execute(&b, p); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// What a page shows at once, and at most.
const (
	pageOpen     = 12  // findings of a rule before the rest is folded
	pageFindings = 500 // findings of a rule
	pageSubjects = 1000
	pageGaps     = 500
)

// A page is a document as the template wants it: every text in it is clean.
type page struct {
	Policy   string
	Title    string
	Command  string
	Verdict  string // "pass", "fail", "incomplete"
	Reason   string
	AsOf     string
	FailOn   string
	Tally    tally
	Checks   []pageCheck
	Unknown  []pageCheck // checks that looked at nothing, or not at everything
	Gaps     []pageGap
	MoreGaps int

	Severities   []pageSeverity
	Plots        []plot
	Drawings     []drawing
	Facts        []member // one line each
	Figures      []member // folded
	Stats        []member
	Subjects     []prerun.Subject
	MoreSubjects int
}

type pageCheck struct {
	ID, Outcome, Reason string
	Required            bool
	Items, Controls     []string
}

type pageGap struct{ Where, Reason string }

type pageSeverity struct {
	Name  string
	Total int
	Count bool // at or above the threshold
	Rules []pageRule
}

type pageRule struct {
	ID, Title, Help string
	Refs            []pageRef
	Total           int
	Waived          int
	Open            bool
	First, Rest     []pageFinding
	Cut             int
}

// Count says how many findings there are and whether waivers cover them.
func (r pageRule) Count() string {
	switch r.Waived {
	case 0:
		return plural(r.Total, "finding")
	case r.Total:
		return plural(r.Total, "finding") + ", waived"
	}
	return fmt.Sprintf("%s, %d waived", plural(r.Total, "finding"), r.Waived)
}

type pageRef struct{ Text, Link string }

type pageFinding struct {
	Where       string
	Also        []string
	Subject     string
	Message     string
	Confidence  string
	Evidence    [][2]string
	Fingerprint string
	Waiver      *Waiver
}

func newPage(doc Document) (*page, error) {
	p := &page{
		Policy: pagePolicy, Title: clean(doc.title()), Command: clean(doc.Command), Verdict: doc.Verdict.String(),
		AsOf: clean(doc.AsOf), FailOn: doc.failOn().String(), Tally: newTally(doc),
	}
	p.Reason = sentence(clean(doc.Summary))
	if p.Reason == "" {
		p.Reason = p.Tally.reason(doc.Verdict)
	}
	p.checks(doc.Checks)
	for g := range doc.source().Gaps() {
		if len(p.Gaps) == pageGaps {
			p.MoreGaps++
			continue
		}
		p.Gaps = append(p.Gaps, pageGap{clean(where(g.Location)), clean(g.Reason)})
	}
	for _, group := range bySeverity(doc.source()) {
		p.Severities = append(p.Severities, newPageSeverity(doc, group))
	}
	for _, i := range doc.Intervals {
		p.Plots = append(p.Plots, newPlot(i))
	}
	for _, g := range doc.Graphs {
		if len(g.Nodes) > 0 || len(g.Edges) > 0 {
			p.Drawings = append(p.Drawings, draw(g))
		}
	}
	p.subjects(doc)
	return p, p.facts(doc)
}

// sentence gives s a capital when its first word is a word and no identifier.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if first == "" || strings.Trim(first, "abcdefghijklmnopqrstuvwxyz") != "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// checkOrder puts first what a reader has to act on.
var checkOrder = []string{"fail", "error", "inconclusive", "skipped", "waived", "pass", "not-applicable"}

// byOutcome sorts a copy of checks; an outcome that is not known comes first.
func byOutcome(checks []Check) []Check {
	checks = slices.Clone(checks)
	slices.SortStableFunc(checks, func(a, b Check) int {
		return slices.Index(checkOrder, a.Outcome) - slices.Index(checkOrder, b.Outcome)
	})
	return checks
}

func (p *page) checks(checks []Check) {
	for _, c := range byOutcome(checks) {
		view := pageCheck{clean(c.ID), clean(c.Outcome), clean(c.Reason), c.Required, cleanAll(c.Items), cleanAll(c.Controls)}
		p.Checks = append(p.Checks, view)
		if !slices.Contains([]string{"pass", "fail", "waived"}, c.Outcome) {
			p.Unknown = append(p.Unknown, view)
		}
	}
}

// Icon names the drawing that stands for an outcome.
func (c pageCheck) Icon() string {
	if slices.Contains(checkOrder, c.Outcome) {
		return c.Outcome
	}
	return "error"
}

func cleanAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = clean(s)
	}
	return out
}

func (p *page) subjects(doc Document) {
	seen := make(map[prerun.Subject]bool) // two checks may have looked at the same file
	for s := range doc.source().Subjects() {
		switch {
		case seen[s]:
		case len(seen) >= pageSubjects:
			p.MoreSubjects++
		default:
			seen[s] = true
			p.Subjects = append(p.Subjects, prerun.Subject{Path: clean(s.Path), Digest: clean(s.Digest)})
		}
	}
}

func newPageSeverity(doc Document, group severityGroup) pageSeverity {
	out := pageSeverity{
		Name: group.severity.String(), Total: len(group.findings),
		Count: group.severity.AtLeast(doc.failOn()),
	}
	byRule := make(map[string]*pageRule)
	var ids []string
	for _, f := range group.findings {
		r := byRule[f.Rule.ID]
		if r == nil {
			r = newPageRule(f.Rule, out.Count)
			byRule[f.Rule.ID] = r
			ids = append(ids, f.Rule.ID)
		}
		view := newPageFinding(f, doc.Waived)
		r.Total++
		if view.Waiver != nil {
			r.Waived++
		}
		switch {
		case len(r.First) < pageOpen:
			r.First = append(r.First, view)
		case len(r.Rest) < pageFindings-pageOpen:
			r.Rest = append(r.Rest, view)
		default:
			r.Cut++
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		out.Rules = append(out.Rules, *byRule[id])
	}
	return out
}

func newPageRule(r prerun.Rule, open bool) *pageRule {
	out := &pageRule{ID: clean(r.ID), Title: sentence(clean(r.Title)), Help: clean(r.Help), Open: open}
	if out.Title == "" {
		out.Title = out.ID
	}
	for _, ref := range r.Refs {
		text := ref.Catalogue + " " + ref.ID
		if strings.HasPrefix(ref.ID, ref.Catalogue+"-") {
			text = ref.ID
		}
		if ref.Edition != "" {
			text += " (" + ref.Edition + ")"
		}
		out.Refs = append(out.Refs, pageRef{clean(text), ruledoc.Link(ref)})
	}
	return out
}

func newPageFinding(f prerun.Finding, waived map[string]Waiver) pageFinding {
	out := pageFinding{
		Where: clean(place(f)), Message: clean(f.Message), Fingerprint: f.Fingerprint(),
	}
	if f.Confidence != prerun.ConfidenceUnstated {
		out.Confidence = f.Confidence.String()
	}
	if f.Subject.Path != f.Path() {
		out.Subject = clean(f.Subject.Path)
	}
	for i, l := range f.Locations {
		switch {
		case i == 0:
		case i <= pageOpen:
			if l.Path == f.Path() && (l.Line > 0 || l.Length > 0 || l.Fragment != "") {
				l.Path = "" // named above
			}
			out.Also = append(out.Also, strings.TrimPrefix(clean(where(l)), "#"))
		case i == len(f.Locations)-1:
			out.Also = append(out.Also, fmt.Sprintf("and %d more", len(f.Locations)-1-pageOpen))
		}
	}
	for key, value := range f.Evidence {
		out.Evidence = append(out.Evidence, [2]string{clean(key), clean(value)})
	}
	slices.SortFunc(out.Evidence, func(a, b [2]string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) })
	if w, ok := waived[out.Fingerprint]; ok {
		out.Waiver = &Waiver{clean(w.ID), clean(w.Owner), clean(w.Reason), clean(w.Expires)}
	}
	return out
}
