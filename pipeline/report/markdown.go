package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// How long a comment gets. Code hosts refuse one of more than 65,536 bytes.
const (
	markdownRows    = 50
	markdownBytes   = 48 << 10
	markdownMessage = 400 // letters
	markdownName    = 200
)

// markdownEscaper takes the meaning from every character that has one in
// Markdown and its tables, from mentions, references to issues, and autolinks.
var markdownEscaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "{", `\{`, "}", `\}`, "[", `\[`, "]", `\]`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "(", `\(`, ")", `\)`, "#", "\\#\u2060", "+", `\+`, "!", `\!`,
	"|", `\|`, "~", `\~`, "$", `\$`, "@", "@\u2060", "://", ":/\u2060/", "www", "www\u2060",
)

// md is s as text of one line. A first letter that would make a list, a
// heading or a rule is escaped as well.
func md(s string) string {
	s = markdownEscaper.Replace(clean(s))
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "=") {
		return `\` + s
	}
	return s
}

// brief is md of what may be long.
func brief(s string) string { return md(cut(s, markdownMessage)) }

// code is s as code that nothing can break out of. A pipe ends a table's cell
// even in code, and how backslashes before it count differs between readers:
// then the letters are escaped in an element.
func code(s string) string {
	s = clean(cut(s, markdownName))
	if s == "" || strings.ContainsAny(s, "`|\\") || strings.Trim(s, " ") != s {
		return "<code>" + md(s) + "</code>"
	}
	return "`" + s + "`"
}

// cut keeps so many letters of s.
func cut(s string, letters int) string {
	if utf8.RuneCountInString(s) <= letters {
		return s
	}
	return string([]rune(s)[:letters-1]) + "…"
}

// Markdown writes a comment for a change request: the verdict, a table of
// checks, measured rates against their thresholds, a table of findings from
// the gravest down, and what was not checked. A table of more than 50 rows is
// cut, as is all that goes beyond what code hosts take, and says so.
func Markdown(w io.Writer, doc Document) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s: %s\n\n", brief(doc.title()), strings.ToUpper(doc.Verdict.String()))
	t := newTally(doc)
	reason := doc.Summary
	if reason == "" {
		reason = t.reason(doc.Verdict)
	}
	fmt.Fprintf(&b, "%s\n\n", brief(reason))
	if doc.AsOf != "" {
		fmt.Fprintf(&b, "Evaluated as of %s. ", brief(doc.AsOf))
	}
	fmt.Fprintf(&b, "%s\n", sentence(brief(t.String())))

	gaps := rows{b: &b, head: "\n### Not checked\n\n| Where | Why |\n|---|---|\n"}
	for g := range doc.source().Gaps() {
		gaps.add(code(where(g.Location)), brief(g.Reason))
	}
	gaps.end("gap")
	markdownFindings(&b, doc)
	checks := rows{b: &b, head: "\n### Checks\n\n| Outcome | Check | Items | Reason |\n|---|---|---|---|\n"}
	for _, c := range byOutcome(doc.Checks) {
		checks.add(brief(c.Outcome), code(c.ID), brief(strings.Join(c.Items, " ")), brief(c.Reason))
	}
	checks.end("check")
	plots := rows{b: &b, head: "\n### Behaviour\n\n| Verdict | Requirement | Measured | Interval | Required |\n|---|---|---|---|---|\n"}
	for _, i := range doc.Intervals {
		p := newPlot(i)
		plots.add(brief(p.Verdict), brief(p.Name), p.Estimate, p.Interval, p.Threshold)
	}
	plots.end("requirement")
	_, err := w.Write(b.Bytes())
	return err
}

func markdownFindings(b *bytes.Buffer, doc Document) {
	found := rows{b: b, head: "\n### Findings\n\n| Severity | Rule | Where | What |\n|---|---|---|---|\n"}
	for _, group := range bySeverity(doc.source()) {
		for _, f := range group.findings {
			message := brief(f.Message)
			if waiver, ok := doc.Waived[f.Fingerprint()]; ok {
				message += fmt.Sprintf(" *(waived by %s until %s)*", brief(waiver.Owner), brief(waiver.Expires))
			}
			found.add(f.Severity.String(), code(f.Rule.ID), code(place(f)), message)
		}
	}
	found.end("finding")
}

// A rows writes a table while there is room.
type rows struct {
	b    *bytes.Buffer
	head string // written before the first row
	n    int
	left int // rows that found no room
}

func (r *rows) add(cells ...string) {
	row := "| " + strings.Join(cells, " | ") + " |\n"
	if r.left > 0 || r.n == markdownRows || r.b.Len()+len(r.head)+len(row) > markdownBytes {
		r.left++
		return
	}
	if r.n == 0 {
		r.b.WriteString(r.head)
	}
	r.n++
	r.b.WriteString(row)
}

func (r *rows) end(noun string) {
	if r.left > 0 {
		fmt.Fprintf(r.b, "\n%s not shown here\n", plural(r.left, "more "+noun))
	}
}
