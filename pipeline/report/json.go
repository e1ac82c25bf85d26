package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

type envelope struct {
	Schema   string         `json:"schema"`
	Command  string         `json:"command"`
	Verdict  prerun.Verdict `json:"verdict"`
	Subjects []jsonSubject  `json:"subjects"`
	Findings []jsonFinding  `json:"findings"`
	Gaps     []jsonGap      `json:"gaps"`
	Facts    map[string]any `json:"facts"`
	Stats    map[string]any `json:"stats"`
}

type jsonSubject struct {
	Path   string `json:"path"`
	Digest string `json:"digest,omitempty"`
}

type jsonFinding struct {
	Rule        string            `json:"rule"`
	Severity    prerun.Severity   `json:"severity"`
	Confidence  prerun.Confidence `json:"confidence"`
	Path        string            `json:"path"`
	Offset      *int64            `json:"offset,omitempty"`
	Length      int64             `json:"length,omitempty"`
	Line        int               `json:"line,omitempty"`
	Column      int               `json:"column,omitempty"`
	Fragment    string            `json:"fragment,omitempty"`
	Message     string            `json:"message"`
	Refs        []string          `json:"refs"`
	Evidence    map[string]string `json:"evidence"`
	Fingerprint string            `json:"fingerprint"`
	Waived      string            `json:"waived,omitempty"` // the waiver's id
}

type jsonGap struct {
	Path     string `json:"path"`
	Offset   *int64 `json:"offset,omitempty"`
	Line     int    `json:"line,omitempty"`
	Fragment string `json:"fragment,omitempty"`
	Reason   string `json:"reason"`
}

// JSON writes the envelope that every command of the reference command shares.
// Members that are always present are never null. A gate's checks stand in
// facts under "checks" as {id, outcome, reason, required, items, controls}.
func JSON(w io.Writer, doc Document) error {
	e := envelope{
		Schema: Schema, Command: doc.Command, Verdict: doc.Verdict,
		Subjects: []jsonSubject{}, Findings: []jsonFinding{}, Gaps: []jsonGap{},
		Facts: make(map[string]any), Stats: doc.Stats,
	}
	maps.Copy(e.Facts, doc.Facts)
	if doc.Checks != nil {
		e.Facts["checks"] = jsonChecks(doc.Checks)
	}
	if e.Stats == nil {
		e.Stats = map[string]any{}
	}
	src := doc.source()
	for s := range src.Subjects() {
		e.Subjects = append(e.Subjects, jsonSubject(s))
	}
	for f := range src.Findings() {
		e.Findings = append(e.Findings, toJSON(f, doc.Waived))
	}
	for g := range src.Gaps() {
		e.Gaps = append(e.Gaps, jsonGap{
			Path: g.Location.Path, Offset: offsetOf(g.Location), Line: g.Location.Line,
			Fragment: g.Location.Fragment, Reason: g.Reason,
		})
	}
	return writeJSON(w, e)
}

// writeJSON writes v, or nothing when a part of it does not marshal. What does
// not print is escaped, so that a log on a terminal or a page that shows it is
// read as written; decoding gives the same.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	hidden := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	out := b.Bytes()
	if bytes.IndexFunc(out, hidden) >= 0 {
		out = make([]byte, 0, b.Len()+64)
		for _, r := range b.String() {
			switch high, low := utf16.EncodeRune(r); {
			case !hidden(r):
				out = utf8.AppendRune(out, r)
			case r > 0xffff:
				out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
			default:
				out = fmt.Appendf(out, `\u%04x`, r)
			}
		}
	}
	_, err := w.Write(out)
	return err
}

func toJSON(f prerun.Finding, waived map[string]Waiver) jsonFinding {
	loc := prerun.Location{Path: f.Path()}
	if len(f.Locations) > 0 {
		loc = f.Locations[0]
	}
	out := jsonFinding{
		Rule: f.Rule.ID, Severity: f.Severity, Confidence: f.Confidence,
		Path: loc.Path, Offset: offsetOf(loc), Length: loc.Length, Line: loc.Line, Column: loc.Column,
		Fragment: loc.Fragment, Message: f.Message, Refs: []string{}, Evidence: f.Evidence,
		Fingerprint: f.Fingerprint(),
	}
	for _, r := range f.Rule.Refs {
		out.Refs = append(out.Refs, r.ID)
	}
	if out.Evidence == nil {
		out.Evidence = map[string]string{}
	}
	if w, ok := waived[out.Fingerprint]; ok {
		out.Waived = w.ID
	}
	return out
}

func offsetOf(l prerun.Location) *int64 {
	if l.Length == 0 {
		return nil
	}
	return &l.Offset
}

func jsonChecks(checks []Check) []map[string]any {
	out := make([]map[string]any, len(checks))
	for i, c := range checks {
		out[i] = map[string]any{
			"id": c.ID, "outcome": c.Outcome, "reason": c.Reason, "required": c.Required,
			"items": orEmpty(c.Items), "controls": orEmpty(c.Controls),
		}
	}
	return out
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
