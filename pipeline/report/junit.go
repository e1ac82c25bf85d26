package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
	Out      string      `xml:"system-out,omitempty"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes test results as build servers read them. A gate's checks are
// the cases: what failed is a failure, what could not be decided is an error,
// and only a waived or inapplicable check is skipped, because build servers
// take a skipped case for a pass. Without checks every subject is a case, and
// every finding and gap that belongs to no subject is one more. When none of
// them says why the verdict is no pass, the verdict itself is a case. A case
// has one outcome, the gravest; its text holds the rest.
func JUnit(w io.Writer, doc Document) error {
	suite := junitSuite{Name: clean(doc.Command)}
	if len(doc.Checks) > 0 {
		suite.Cases = checkCases(doc)
		suite.Out = listing(doc)
	} else {
		suite.Cases = subjectCases(doc)
	}
	suite.Cases = append(suite.Cases, verdictCase(doc, suite.Cases)...)
	for i := range suite.Cases {
		c := &suite.Cases[i]
		c.merge()
		suite.Tests++
		switch {
		case c.Failure != nil:
			suite.Failures++
		case c.Error != nil:
			suite.Errors++
		case c.Skipped != nil:
			suite.Skipped++
		}
	}
	all := junitSuites{
		Name: clean(doc.title()), Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Suite: suite,
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", " ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// merge leaves the gravest of a case's outcomes.
func (c *junitCase) merge() {
	var main *junitMessage
	for _, m := range []**junitMessage{&c.Failure, &c.Error, &c.Skipped} {
		switch {
		case *m == nil:
		case main == nil:
			main = *m
		default:
			main.Text += (*m).Text
			*m = nil
		}
	}
}

// verdictCase keeps a report whose verdict is no pass from reading as green,
// as for a finding of the gate itself.
func verdictCase(doc Document, cases []junitCase) []junitCase {
	red := slices.ContainsFunc(cases, func(c junitCase) bool { return c.Failure != nil || c.Error != nil })
	if doc.Verdict == prerun.Pass || red {
		return nil
	}
	reason := clean(doc.Summary)
	if reason == "" {
		reason = newTally(doc).reason(doc.Verdict)
	}
	tc := junitCase{Class: clean(doc.Command), Name: "verdict"}
	m := &junitMessage{Message: reason, Type: doc.Verdict.String()}
	for f := range doc.source().Findings() {
		if _, waived := doc.Waived[f.Fingerprint()]; !waived && f.Severity.AtLeast(doc.failOn()) {
			m.Text += findingLine(f) + "\n"
		}
	}
	if doc.Verdict == prerun.Fail {
		tc.Failure = m
	} else {
		tc.Error = m
	}
	return []junitCase{tc}
}

// listing is what a gate's checks found, which belongs to no case alone.
func listing(doc Document) string {
	var b strings.Builder
	for f := range doc.source().Findings() {
		b.WriteString(findingLine(f))
		if w, ok := doc.Waived[f.Fingerprint()]; ok {
			b.WriteString(clean(fmt.Sprintf(" (waived by %s until %s)", w.Owner, w.Expires)))
		}
		b.WriteByte('\n')
	}
	for g := range doc.source().Gaps() {
		b.WriteString(clean("not checked "+where(g.Location)+": "+g.Reason) + "\n")
	}
	return b.String()
}

func findingLine(f prerun.Finding) string {
	return clean(fmt.Sprintf("%s %s %s: %s", f.Severity, f.Rule.ID, place(f), f.Message))
}

func checkCases(doc Document) []junitCase {
	var out []junitCase
	for _, c := range doc.Checks {
		tc := junitCase{Class: clean(doc.Command), Name: clean(c.ID)}
		m := &junitMessage{Message: clean(c.Reason), Type: clean(c.Outcome)}
		switch c.Outcome {
		case "pass":
		case "fail":
			tc.Failure = m
		case "waived", "not-applicable":
			tc.Skipped = m
		default:
			tc.Error = m
		}
		out = append(out, tc)
	}
	return out
}

func subjectCases(doc Document) []junitCase {
	var out []junitCase
	byPath := make(map[string]int)
	caseOf := func(path string) *junitCase {
		i, ok := byPath[path]
		if !ok {
			i = len(out)
			byPath[path] = i
			out = append(out, junitCase{Class: clean(doc.Command), Name: clean(path)})
		}
		return &out[i]
	}
	for s := range doc.source().Subjects() {
		caseOf(s.Path)
	}
	for f := range doc.source().Findings() {
		if !f.Severity.AtLeast(doc.failOn()) {
			continue
		}
		addFinding(caseOf(subjectPath(f)), f, doc.Waived)
	}
	for g := range doc.source().Gaps() {
		tc := caseOf(g.Location.Path)
		if tc.Error == nil {
			tc.Error = &junitMessage{Message: clean(g.Reason), Type: "not-checked"}
		}
		tc.Error.Text += clean(where(g.Location)+": "+g.Reason) + "\n"
	}
	return out
}

func subjectPath(f prerun.Finding) string {
	if f.Subject.Path != "" {
		return f.Subject.Path
	}
	return f.Path()
}

func addFinding(tc *junitCase, f prerun.Finding, waived map[string]Waiver) {
	into := &tc.Failure
	line := findingLine(f)
	if w, ok := waived[f.Fingerprint()]; ok {
		into = &tc.Skipped
		line += clean(fmt.Sprintf(" (waived by %s until %s)", w.Owner, w.Expires))
	}
	if *into == nil {
		*into = &junitMessage{Message: clean(f.Message), Type: clean(f.Rule.ID)}
	}
	(*into).Text += line + "\n"
}
