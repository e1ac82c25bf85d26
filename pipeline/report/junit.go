package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"

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
// every finding and gap that belongs to no subject is one more.
func JUnit(w io.Writer, doc Document) error {
	suite := junitSuite{Name: clean(doc.Command)}
	if len(doc.Checks) > 0 {
		suite.Cases = checkCases(doc)
	} else {
		suite.Cases = subjectCases(doc)
	}
	for _, c := range suite.Cases {
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

func checkCases(doc Document) []junitCase {
	var out []junitCase
	for _, c := range doc.Checks {
		tc := junitCase{Class: clean(doc.Command), Name: clean(c.ID)}
		m := &junitMessage{Message: clean(c.Reason), Type: c.Outcome}
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
	line := fmt.Sprintf("%s %s %s: %s", f.Severity, f.Rule.ID, place(f), f.Message)
	if w, ok := waived[f.Fingerprint()]; ok {
		into = &tc.Skipped
		line += fmt.Sprintf(" (waived by %s until %s)", w.Owner, w.Expires)
	}
	if *into == nil {
		*into = &junitMessage{Message: clean(f.Message), Type: f.Rule.ID}
	}
	(*into).Text += clean(line) + "\n"
}
