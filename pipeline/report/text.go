package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

// clean makes text safe for a terminal and for one line: what does not print
// becomes an escape.
func clean(s string) string {
	safe := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
			size = 1
		case safe(r):
			b.WriteRune(r)
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		i += size
	}
	return b.String()
}

// Text writes what a terminal shows: the verdict, a line for each check of a
// gate, findings from the gravest down, gaps, and counts. There are no control
// characters in it but line feeds.
func Text(w io.Writer, doc Document) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n", clean(doc.title()), strings.ToUpper(doc.Verdict.String()))
	t := newTally(doc)
	reason := doc.Summary
	if reason == "" {
		reason = t.reason(doc.Verdict)
	}
	fmt.Fprintf(&b, "%s\n", clean(reason))
	if doc.AsOf != "" {
		fmt.Fprintf(&b, "evaluated as of %s\n", clean(doc.AsOf))
	}
	if len(doc.Checks) > 0 {
		b.WriteByte('\n')
	}
	for _, c := range doc.Checks {
		line := fmt.Sprintf("  %-14s %-22s %s", clean(c.Outcome), clean(c.ID), clean(c.Reason))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, group := range bySeverity(doc.source()) {
		fmt.Fprintf(&b, "\n%s\n", group.severity)
		for _, f := range group.findings {
			fmt.Fprintf(&b, "  %s  %s\n    %s\n", clean(place(f)), clean(f.Rule.ID), clean(f.Message))
			if waiver, ok := doc.Waived[f.Fingerprint()]; ok {
				fmt.Fprintf(&b, "    waived by %s until %s: %s\n", clean(waiver.Owner), clean(waiver.Expires), clean(waiver.Reason))
			}
		}
	}
	gaps := slices.Collect(doc.source().Gaps())
	if len(gaps) > 0 {
		b.WriteString("\nnot checked\n")
	}
	for _, g := range gaps {
		fmt.Fprintf(&b, "  %s  %s\n", clean(where(g.Location)), clean(g.Reason))
	}
	b.WriteByte('\n')
	b.WriteString(t.String())
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

type severityGroup struct {
	severity prerun.Severity
	findings []prerun.Finding
}

// bySeverity groups findings from unrated and critical down to info.
func bySeverity(src prerun.Source) []severityGroup {
	order := []prerun.Severity{prerun.Unrated, prerun.Critical, prerun.High, prerun.Medium, prerun.Low, prerun.Info}
	groups := make(map[prerun.Severity][]prerun.Finding)
	for f := range src.Findings() {
		groups[f.Severity] = append(groups[f.Severity], f)
	}
	var out []severityGroup
	for _, s := range order {
		if len(groups[s]) > 0 {
			out = append(out, severityGroup{s, groups[s]})
		}
	}
	return out
}

func place(f prerun.Finding) string {
	if len(f.Locations) == 0 {
		return f.Subject.Path
	}
	return where(f.Locations[0])
}

// where writes a location as path:line:column, path@offset or path#fragment.
func where(l prerun.Location) string {
	s := l.Path
	switch {
	case l.Line > 0 && l.Column > 0:
		s += fmt.Sprintf(":%d:%d", l.Line, l.Column)
	case l.Line > 0:
		s += fmt.Sprintf(":%d", l.Line)
	case l.Length > 0:
		s += fmt.Sprintf("@%d+%d", l.Offset, l.Length)
	}
	if l.Fragment != "" {
		s += "#" + l.Fragment
	}
	return s
}
