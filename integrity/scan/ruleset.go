package scan

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// A RuleSet is rules that somebody wrote as data: names that pickles must not
// import, patterns that files must not hold, operators that graphs must not
// use. Handed to [Scanner.RuleSets] it adds findings to those of the built-in
// rules and takes none away; only what its file lists under insecure_allow
// lowers a grade. A set does not change after it was parsed and may be used by
// several scanners at once.
//
// The file is JSON or YAML, and unknown names in it are errors:
//
//	version: 1
//	name: acme                          # lower-case letters, digits, hyphens
//	rules:
//	  - id: custom.acme.internal-loader # custom.AREA.NAME, unique in the file
//	    title: loader of our own        # title, severity and help are required
//	    severity: high                  # info, low, medium, high, critical
//	    help: What it means, why it matters, what to do.
//	    refs: [{catalogue: CWE, edition: "4.16", id: CWE-829}]
//	    globals:                        # what pickles import, any of these
//	      - {module: acme.loader}       # the module and everything below it
//	      - {module: acme.util, names: [run, spawn], called: true}
//	      - {prefix: acme_}             # of the dotted path
//	      - {attribute: run_unsafe}     # anywhere in a dotted name
//	    patterns:                       # what files hold, any of these
//	      - {regexp: 'https://hook\.[a-z.]{4,40}/', keywords: [hook.], max_length: 128}
//	      - {text: ACME CONFIDENTIAL, formats: [text, json], files: ["*.md"]}
//	      - {hex: 41434d4500ff}
//	    operators:                      # what graphs use, any of these
//	      - {kind: onnx, domain: com.acme, names: [Run]}
//	insecure_allow:                     # exact names that are on no list and that you trust
//	  - {module: acme.models, names: [Net, Layer], reason: reviewed by the platform team}
//
// Globals match the name as it is written and as Python 3 renames it; called
// restricts an entry to names that loading calls.
//
// Patterns are looked for in the content of every artefact, nested ones
// included, or in those of the named formats ("unrecognised" for what no format
// knows) and file names; that content is then read to its end. A regexp is of
// RE2 syntax without anchors and word boundaries, because content is searched
// in windows; it runs only around a keyword, which is found in either case, and
// finds every match that holds one and is at most max_length bytes long (1024
// unless set). Regexps see UTF-8: use hex for other bytes. The first match of
// each pattern in each artefact is a finding.
//
// Operators are matched by kind, by domain with all below it, and by exact
// name; a part that is left out matches all. Kinds are those that formats tell
// of, see [Info.Operators]; in keras the domain is the module.
//
// insecure_allow takes the finding away from a name that pickles import or call
// and that no built-in list knows. What the built-in deny list has cannot be
// allowed. Each entry that was used stands in the fact insecure_allowed of the
// file.
type RuleSet struct {
	name      string
	digest    digest.Digest
	rules     []prerun.Rule
	globals   []globalRule
	patterns  []pattern
	operators []operatorRule
	allow     map[string][]string
}

// ErrRuleSet is wrapped by every error about a rule set. Errors about its file
// name the line.
var ErrRuleSet = errors.New("rule set")

// RuleSetVersion is the version of the file that [ParseRuleSet] reads.
const RuleSetVersion = 1

// Bounds of a rule set.
const (
	maxSetRules    = 10_000
	maxSetPatterns = 1_000
	maxKeywords    = 16 << 10 // bytes of all keywords and literals of all sets
	maxPattern     = 16 << 10 // bytes of a match
	defaultPattern = 1024
	minKeyword     = 3
	maxKeyword     = 256
)

// Name is the set's name.
func (s *RuleSet) Name() string { return s.name }

// Digest is the SHA-256 digest of the file that the set was parsed from, as any
// other tool computes it.
func (s *RuleSet) Digest() digest.Digest { return s.digest }

// Rules lists the set's rules in the order of the file.
func (s *RuleSet) Rules() []prerun.Rule { return slices.Clone(s.rules) }

// The wire form of a rule set.
type (
	setFile struct {
		Version int          `json:"version,required"`
		Name    string       `json:"name,required"`
		Rules   []setRule    `json:"rules"`
		Allow   []allowEntry `json:"insecure_allow"`
	}
	setRule struct {
		ID        string          `json:"id,required"`
		Title     string          `json:"title,required"`
		Severity  prerun.Severity `json:"severity,required"`
		Help      string          `json:"help,required"`
		Refs      []refEntry      `json:"refs"`
		Globals   []globalEntry   `json:"globals"`
		Patterns  []patternEntry  `json:"patterns"`
		Operators []operatorEntry `json:"operators"`
	}
	refEntry struct {
		Catalogue string `json:"catalogue,required"`
		Edition   string `json:"edition"`
		ID        string `json:"id,required"`
	}
	globalEntry struct {
		Module    string   `json:"module"`
		Names     []string `json:"names"`
		Prefix    string   `json:"prefix"`
		Attribute string   `json:"attribute"`
		Called    bool     `json:"called"`
	}
	patternEntry struct {
		Regexp    string   `json:"regexp"`
		Keywords  []string `json:"keywords"`
		Text      string   `json:"text"`
		Hex       string   `json:"hex"`
		MaxLength int      `json:"max_length"`
		Formats   []string `json:"formats"`
		Files     []string `json:"files"`
	}
	operatorEntry struct {
		Kind   string   `json:"kind,required"`
		Domain string   `json:"domain"`
		Names  []string `json:"names"`
	}
	allowEntry struct {
		Module string   `json:"module,required"`
		Names  []string `json:"names,required"`
		Reason string   `json:"reason,required"`
	}
)

// ParseRuleSet reads a rule set. Errors wrap [ErrRuleSet] and name the line.
func ParseRuleSet(data []byte) (*RuleSet, error) {
	tree, err := strictjson.ParseConfig(data, strictjson.Limits{Bytes: limits.MaxConfig, Depth: 16, Nodes: 1 << 18})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRuleSet, err)
	}
	var f setFile
	if _, err := strictjson.Decode(tree, &f, strictjson.Options{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRuleSet, err)
	}
	p := setParser{set: &RuleSet{name: f.Name, digest: digestx.Of(data), allow: make(map[string][]string)}}
	p.file(&f, tree)
	if p.err != nil {
		return nil, p.err
	}
	return p.set, nil
}

// A setParser checks what a decoded file means and keeps the first error.
type setParser struct {
	set *RuleSet
	err error
}

func (p *setParser) fail(at *strictjson.Value, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: line %d: %w", ErrRuleSet, at.Line, fmt.Errorf(format, args...))
	}
}

func (p *setParser) file(f *setFile, tree *strictjson.Value) {
	switch {
	case f.Version != RuleSetVersion:
		p.fail(tree.Get("version"), "version %d, want %d", f.Version, RuleSetVersion)
	case !lowerName(f.Name):
		p.fail(tree.Get("name"), "name %q is not made of lower-case letters, digits and inner hyphens", f.Name)
	case len(f.Rules) == 0 && len(f.Allow) == 0:
		p.fail(tree, "it holds neither rules nor insecure_allow")
	case len(f.Rules) > maxSetRules:
		p.fail(tree.Get("rules"), "%d rules, the limit is %d", len(f.Rules), maxSetRules)
	}
	seen := make(map[string]bool)
	for i := 0; i < len(f.Rules) && p.err == nil; i++ {
		at := &tree.Get("rules").Items[i]
		if seen[f.Rules[i].ID] {
			p.fail(at, "two rules have the id %q", f.Rules[i].ID)
		}
		seen[f.Rules[i].ID] = true
		p.rule(&f.Rules[i], at)
	}
	for i := 0; i < len(f.Allow) && p.err == nil; i++ {
		p.allow(&f.Allow[i], &tree.Get("insecure_allow").Items[i])
	}
}

func lowerName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		s[0] != '-' && s[len(s)-1] != '-'
}

func (p *setParser) rule(r *setRule, at *strictjson.Value) {
	rule := prerun.Rule{ID: r.ID, Title: r.Title, Severity: r.Severity, Help: r.Help}
	for _, ref := range r.Refs {
		rule.Refs = append(rule.Refs, prerun.Reference{Catalogue: ref.Catalogue, Edition: ref.Edition, ID: ref.ID})
	}
	if err := rule.Check(); err != nil {
		p.fail(at, "%w", err)
		return
	}
	if !strings.HasPrefix(rule.ID, "custom.") {
		p.fail(at.Get("id"), "rule %q: an id of a rule set starts with %q", rule.ID, "custom.")
	}
	if len(r.Globals)+len(r.Patterns)+len(r.Operators) == 0 {
		p.fail(at, "rule %q has neither globals, patterns nor operators", rule.ID)
	}
	k := len(p.set.rules)
	p.set.rules = append(p.set.rules, rule)
	for i := 0; i < len(r.Globals) && p.err == nil; i++ {
		p.global(k, &r.Globals[i], &at.Get("globals").Items[i])
	}
	for i := 0; i < len(r.Patterns) && p.err == nil; i++ {
		p.pattern(k, i, &r.Patterns[i], &at.Get("patterns").Items[i])
	}
	for i := 0; i < len(r.Operators) && p.err == nil; i++ {
		p.operator(k, &r.Operators[i], &at.Get("operators").Items[i])
	}
}

func (p *setParser) global(rule int, g *globalEntry, at *strictjson.Value) {
	given := 0
	for _, s := range []string{g.Module, g.Prefix, g.Attribute} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		p.fail(at, "a global has one of module, prefix and attribute")
		return
	}
	if len(g.Names) > 0 && g.Module == "" {
		p.fail(at.Get("names"), "names go with a module")
	}
	if at.Get("names") != nil && len(g.Names) == 0 {
		p.fail(at.Get("names"), "names is empty; leave it out to mean the whole module")
	}
	if g.Module != "" && !dottedName(g.Module) {
		p.fail(at.Get("module"), "module %q is no dotted name", g.Module)
	}
	if g.Attribute != "" && (!dottedName(g.Attribute) || strings.Contains(g.Attribute, ".")) {
		p.fail(at.Get("attribute"), "attribute %q is no name", g.Attribute)
	}
	for i, n := range g.Names {
		if !dottedName(n) {
			p.fail(&at.Get("names").Items[i], "%q is no name", n)
		}
	}
	p.set.globals = append(p.set.globals, globalRule{rule: rule, globalEntry: *g})
}

// dottedName reports whether s is names between dots, without wildcards.
func dottedName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsAny(part, " \t\r\n*?[]!>~/\\:") {
			return false
		}
	}
	return true
}

func (p *setParser) pattern(rule, index int, e *patternEntry, at *strictjson.Value) {
	if len(p.set.patterns) == maxSetPatterns {
		p.fail(at, "more than %d patterns", maxSetPatterns)
		return
	}
	out := pattern{rule: rule, index: index, formats: e.Formats, files: e.Files, line: at.Line}
	given := 0
	for _, s := range []string{e.Regexp, e.Text, e.Hex} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		p.fail(at, "a pattern has one of regexp, text and hex")
	case e.Regexp == "" && (len(e.Keywords) > 0 || e.MaxLength != 0):
		p.fail(at, "keywords and max_length go with a regexp")
	case e.Regexp != "":
		p.regexp(&out, e, at)
	case e.Text != "":
		out.literal = []byte(e.Text)
	default:
		literal, err := hex.DecodeString(e.Hex)
		if err != nil {
			p.fail(at.Get("hex"), "hex: %w", err)
		}
		out.literal = literal
	}
	if p.err == nil && e.Regexp == "" {
		p.keyword(string(out.literal), at)
		out.reach, out.words = len(out.literal), []string{string(out.literal)}
	}
	for i, name := range e.Files {
		if _, err := path.Match(name, ""); err != nil || name == "" || strings.Contains(name, "/") {
			p.fail(&at.Get("files").Items[i], "%q is no pattern for the last element of a path", name)
		}
	}
	for _, list := range []string{"formats", "files", "keywords"} {
		if v := at.Get(list); v != nil && len(v.Items) == 0 {
			p.fail(v, "%s is empty; leave it out to mean all", list)
		}
	}
	p.set.patterns = append(p.set.patterns, out)
}

func (p *setParser) keyword(word string, at *strictjson.Value) {
	if len(word) < minKeyword || len(word) > maxKeyword {
		p.fail(at, "%q has %d bytes; what is searched for has %d to %d", word, len(word), minKeyword, maxKeyword)
	}
}

func (p *setParser) regexp(out *pattern, e *patternEntry, at *strictjson.Value) {
	var err error
	if out.re, err = compilePattern(e.Regexp); err != nil {
		p.fail(at.Get("regexp"), "regexp: %w", err)
		return
	}
	if len(e.Keywords) == 0 {
		p.fail(at, "a regexp needs keywords, one of which is in every match")
		return
	}
	out.reach = e.MaxLength
	if at.Get("max_length") == nil {
		out.reach = defaultPattern
	}
	if out.reach < 1 || out.reach > maxPattern {
		p.fail(at.Get("max_length"), "max_length %d is not between 1 and %d", out.reach, maxPattern)
	}
	for i, word := range e.Keywords {
		p.keyword(word, &at.Get("keywords").Items[i])
		if len(word) > out.reach {
			p.fail(&at.Get("keywords").Items[i], "keyword %q is longer than max_length", word)
		}
	}
	out.words = e.Keywords
}

func (p *setParser) operator(rule int, e *operatorEntry, at *strictjson.Value) {
	if e.Kind == "" {
		p.fail(at.Get("kind"), "kind is empty")
	}
	if v := at.Get("names"); v != nil && len(v.Items) == 0 {
		p.fail(v, "names is empty; leave it out to mean all")
	}
	if e.Domain == "" && len(e.Names) == 0 {
		p.fail(at, "an operator has a domain, names or both")
	}
	p.set.operators = append(p.set.operators, operatorRule{rule: rule, line: at.Line, operatorEntry: *e})
}

func (p *setParser) allow(e *allowEntry, at *strictjson.Value) {
	if !dottedName(e.Module) {
		p.fail(at.Get("module"), "module %q is no dotted name; allowed names are exact", e.Module)
	}
	if strings.TrimSpace(e.Reason) == "" {
		p.fail(at.Get("reason"), "reason is empty")
	}
	if len(e.Names) == 0 {
		p.fail(at.Get("names"), "names is empty")
	}
	for i, n := range e.Names {
		if !dottedName(n) {
			p.fail(&at.Get("names").Items[i], "%q is no name; allowed names are exact", n)
			return
		}
		if g := (globals.Policy{}).Grade(e.Module, n); g.Level >= globals.Suspicious {
			p.fail(&at.Get("names").Items[i], "%q cannot be allowed: %s", e.Module+"."+n, g.Reason)
			return
		}
	}
	p.set.allow[e.Module] = append(p.set.allow[e.Module], e.Names...)
}
