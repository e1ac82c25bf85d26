// Package ruledoc writes the reference of a package's rules as Markdown, and
// knows where the entries of other people's catalogues can be read. The
// reference is a file beside the package, RULES.md, that a test keeps equal to
// what the rules say.
package ruledoc

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

// A Page is the reference of one package.
type Page struct {
	Package  string // import path below the module, such as "integrity/scan"
	Command  string // that writes the file anew
	Rules    []prerun.Rule
	Examples map[string]string // by rule id: what a file that triggers it looks like
}

// Markdown renders the page: a table of all rules, then each with its meaning,
// an example where there is one, and its references.
func (p Page) Markdown() []byte {
	rules := slices.SortedFunc(slices.Values(p.Rules), func(a, b prerun.Rule) int { return strings.Compare(a.ID, b.ID) })
	var b strings.Builder
	fmt.Fprintf(&b, "# Rules of %s\n\nWritten by `%s`. Do not edit.\n\n", p.Package, p.Command)
	b.WriteString("The severity is that of an ordinary finding; where a rule's text says so, a\nfinding may be graver.\n\n")
	b.WriteString("| rule | what it reports | severity |\n|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", r.ID, anchor(r.ID), cell(r.Title), r.Severity)
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "\n## %s\n\n%s, %s. %s\n", r.ID, upper(r.Title), r.Severity, r.Help)
		if text := p.Examples[r.ID]; text != "" {
			fmt.Fprintf(&b, "\nExample: %s\n", text)
		}
		if len(r.Refs) > 0 {
			fmt.Fprintf(&b, "\nReferences: %s.\n", references(r.Refs))
		}
	}
	return []byte(b.String())
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// anchor is the fragment that Markdown viewers make of a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

func references(refs []prerun.Reference) string {
	out := make([]string, len(refs))
	for i, r := range refs {
		text := r.Catalogue + " " + r.ID
		if strings.HasPrefix(r.ID, r.Catalogue+"-") {
			text = r.ID
		}
		if to := cmp.Or(Link(r), catalogue(r)); to != "" {
			text = "[" + text + "](" + to + ")"
		}
		if r.Edition != "" {
			text += " (" + r.Edition + ")"
		}
		out[i] = text
	}
	return strings.Join(out, ", ")
}

// Identifiers that are safe to make an address of.
var (
	cweID   = regexp.MustCompile(`^CWE-([0-9]{1,6})$`)
	cveID   = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,12}$`)
	atlasID = regexp.MustCompile(`^AML\.T[0-9]{4}(\.[0-9]{3})?$`)
	llmID   = regexp.MustCompile(`^LLM[0-9]{2}$`)
	mlID    = regexp.MustCompile(`^ML[0-9]{2}$`)
)

// catalogue is where the whole of a catalogue can be read whose entries have no
// address that can be made of their ids, or "".
func catalogue(r prerun.Reference) string {
	switch r.Catalogue {
	case "OWASP-LLM":
		if llmID.MatchString(r.ID) {
			return "https://genai.owasp.org/llm-top-10/"
		}
	case "OWASP-ML":
		if mlID.MatchString(r.ID) {
			return "https://owasp.org/www-project-machine-learning-security-top-10/"
		}
	case "SLSA":
		if r.Edition == "1.2" {
			return "https://slsa.dev/spec/v1.2/"
		}
	}
	return ""
}

// Link is where an entry of a catalogue can be read, or "".
func Link(r prerun.Reference) string {
	switch r.Catalogue {
	case "CWE":
		if m := cweID.FindStringSubmatch(r.ID); m != nil {
			return "https://cwe.mitre.org/data/definitions/" + m[1] + ".html"
		}
	case "CVE":
		if cveID.MatchString(r.ID) {
			return "https://www.cve.org/CVERecord?id=" + r.ID
		}
	case "ATLAS":
		if atlasID.MatchString(r.ID) {
			return "https://atlas.mitre.org/techniques/" + r.ID
		}
	}
	return ""
}
