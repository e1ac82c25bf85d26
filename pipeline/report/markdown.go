package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// markdownEscaper takes the meaning from every character that has one in
// Markdown, its tables, mentions and autolinks.
var markdownEscaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "{", `\{`, "}", `\}`, "[", `\[`, "]", `\]`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "(", `\(`, ")", `\)`, "#", `\#`, "+", `\+`, "!", `\!`,
	"|", `\|`, "~", `\~`, "@", "@\u2060", "://", ":/\u2060/", "www.", "www\u2060.",
)

func md(s string) string { return markdownEscaper.Replace(clean(s)) }

// code is s as code that nothing can break out of.
func code(s string) string {
	s = strings.ReplaceAll(clean(s), "|", `\|`)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || s == "" {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Markdown writes a comment for a change request: the verdict, a table of
// checks, a table of findings from the gravest down, and what was not checked.
// A table of more than 50 rows is cut, and says so.
func Markdown(w io.Writer, doc Document) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s: %s\n\n", md(doc.title()), strings.ToUpper(doc.Verdict.String()))
	if doc.Summary != "" {
		fmt.Fprintf(&b, "%s\n\n", md(doc.Summary))
	}
	fmt.Fprintf(&b, "%s\n", md(counts(doc)))
	if len(doc.Checks) > 0 {
		b.WriteString("\n| Outcome | Check | Items | Reason |\n|---|---|---|---|\n")
	}
	for _, c := range doc.Checks {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", md(c.Outcome), code(c.ID), md(strings.Join(c.Items, " ")), md(c.Reason))
	}
	markdownFindings(&b, doc)
	markdownGaps(&b, doc)
	_, err := w.Write(b.Bytes())
	return err
}

const markdownRows = 50

func markdownFindings(b *bytes.Buffer, doc Document) {
	n := 0
	for _, group := range bySeverity(doc.source()) {
		for _, f := range group.findings {
			if n++; n > markdownRows {
				continue
			}
			if n == 1 {
				b.WriteString("\n| Severity | Rule | Where | What |\n|---|---|---|---|\n")
			}
			message := md(f.Message)
			if waiver, ok := doc.Waived[f.Fingerprint()]; ok {
				message += fmt.Sprintf(" *(waived by %s until %s)*", md(waiver.Owner), md(waiver.Expires))
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", f.Severity, code(f.Rule.ID), code(place(f)), message)
		}
	}
	if n > markdownRows {
		fmt.Fprintf(b, "\nand %d more findings\n", n-markdownRows)
	}
}

func markdownGaps(b *bytes.Buffer, doc Document) {
	n := 0
	for g := range doc.source().Gaps() {
		if n++; n > markdownRows {
			continue
		}
		if n == 1 {
			b.WriteString("\n**Not checked**\n\n")
		}
		fmt.Fprintf(b, "- %s: %s\n", code(where(g.Location)), md(g.Reason))
	}
	if n > markdownRows {
		fmt.Fprintf(b, "- and %d more\n", n-markdownRows)
	}
}
