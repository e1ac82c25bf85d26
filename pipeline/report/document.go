// Package report writes what was checked and found: plain text for a terminal,
// the JSON envelope of the reference command, SARIF 2.1.0, JUnit XML, Markdown
// for a change request, and one self-contained HTML page.
//
// Everything is rendered from a [Document], which whoever has a result fills;
// the package knows no other package of this module but the vocabulary. [For]
// finds a [Writer] by name. The same document gives the same bytes, and a
// writer writes once, when all of it is known to be well. No format lets what
// was not checked read as clean.
//
// Text from scanned material is taken for hostile: in a report it is text and
// nothing else, whatever it means to a terminal, a browser, an XML parser or a
// code host. It is expected redacted, which the package cannot do. Nothing in
// a report is fetched from anywhere. HTML and Markdown cut what is long, and
// say so; the envelope has everything.
package report

import (
	"fmt"
	"io"
	"slices"

	"github.com/prerun/prerun"
)

// Schema names the JSON envelope.
const Schema = "prerun/report/v1"

// A Document is a report before it has a format. Command, Verdict and Source
// are required.
type Document struct {
	Command string // "scan", "gate"
	Title   string // a heading; "" means the command
	Summary string // one sentence under the heading
	AsOf    string // the date that the run evaluated as of, where it has one
	Verdict prerun.Verdict
	FailOn  prerun.Severity // threshold of the verdict; 0 means medium
	Source  prerun.Source
	Facts   map[string]any // figures, as documented by the command; no times
	Stats   map[string]any // times and durations, and nothing else that matters

	Checks    []Check
	Waived    map[string]Waiver // by fingerprint of the finding
	Graphs    []Graph
	Intervals []Interval
}

// A Check is one line of a gate's table.
type Check struct {
	ID       string
	Outcome  string // "pass", "fail", "inconclusive", "skipped", "not-applicable", "waived", "error"
	Reason   string
	Required bool
	Items    []string
	Controls []string
}

// A Waiver is why a finding does not count.
type Waiver struct {
	ID, Owner, Reason, Expires string
}

// A Graph is a lineage: nodes, and edges from child to parent.
type Graph struct {
	Title string `json:"title"`
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// A Node is one artefact.
type Node struct {
	ID     string `json:"id"` // unique in the graph
	Label  string `json:"label"`
	Kind   string `json:"kind"` // "model", "dataset", "code", "builder", ...
	Digest string `json:"digest,omitempty"`
}

// An Edge says that From was made out of To, and how well that is known.
type Edge struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Grade string `json:"grade"`           // "verified", "signed-unpinned", "claimed", "observed"
	Label string `json:"label,omitempty"` // who says so; one that starts with "refused" is drawn as that
}

// An Interval is an estimate with its bound, against a threshold.
type Interval struct {
	Name      string
	Estimate  float64
	Low, High float64
	Threshold float64
	AtMost    bool // the threshold is an upper one
	Verdict   string
	Method    string
}

// A Writer renders a document.
type Writer func(w io.Writer, doc Document) error

// Formats lists the names that [For] knows, in a fixed order.
func Formats() []string { return []string{"html", "json", "junit", "markdown", "sarif", "text"} }

// For returns the writer of a format, or an error that names the choices.
func For(format string) (Writer, error) {
	switch format {
	case "html":
		return HTML, nil
	case "json":
		return JSON, nil
	case "junit":
		return JUnit, nil
	case "markdown":
		return Markdown, nil
	case "sarif":
		return SARIF, nil
	case "text":
		return Text, nil
	}
	return nil, fmt.Errorf("no format %q (have %q)", format, Formats())
}

func (d Document) failOn() prerun.Severity {
	if d.FailOn == prerun.Unrated {
		return prerun.Medium
	}
	return d.FailOn
}

func (d Document) title() string {
	if d.Title == "" {
		return d.Command
	}
	return d.Title
}

// source stands in for a missing one, so that an empty document says that
// nothing was looked at.
func (d Document) source() prerun.Source {
	if d.Source == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return d.Source
}

// rules lists the rules of all findings, by id, each once.
func (d Document) rules() []prerun.Rule {
	byID := make(map[string]prerun.Rule)
	var ids []string
	for f := range d.source().Findings() {
		if _, known := byID[f.Rule.ID]; !known {
			byID[f.Rule.ID] = f.Rule
			ids = append(ids, f.Rule.ID)
		}
	}
	slices.Sort(ids)
	out := make([]prerun.Rule, len(ids))
	for i, id := range ids {
		out[i] = byID[id]
	}
	return out
}
