package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/pickle"
)

// A globalRule is one entry of a rule set about names that pickles import.
type globalRule struct {
	globalEntry
	rule int
}

// An operatorRule is one entry about operators of graphs.
type operatorRule struct {
	operatorEntry
	rule int
	line int
}

// An Operator is something that a model's graph names and its runtime runs.
type Operator struct {
	Kind     string // one of the format's [Info.Operators], such as "onnx"
	Domain   string // that the name belongs to, as its framework writes it; may be empty
	Name     string
	Location prerun.Location
}

// A rulebook is all rule sets of a scan, made ready. A nil book has no rules.
type rulebook struct {
	rules      []prerun.Rule
	paths      map[string][]globalRule // by module, or module and name
	attributes map[string][]globalRule
	prefixes   []globalRule
	patterns   []pattern
	keywords   *keywords
	ofWord     []int32 // pattern by word
	operators  map[string][]operatorRule
	allow      []globals.Profile
}

// setProfile is the name of the allow list that a rule set makes.
const setProfile = "rule set "

// newRulebook joins sets. Formats decide which formats and kinds of operators
// exist; a rule about another one would never say anything.
func newRulebook(sets []*RuleSet, formats []entry) (*rulebook, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	b := &rulebook{
		paths: make(map[string][]globalRule), attributes: make(map[string][]globalRule), operators: make(map[string][]operatorRule),
	}
	ids, kinds := knownFormats(formats)
	seen, total := make(map[string]bool), 0
	var words []string
	for i, s := range sets {
		if s == nil || s.name == "" {
			return nil, fmt.Errorf("%w %d is empty", ErrRuleSet, i)
		}
		if seen[s.name] {
			return nil, fmt.Errorf("%w: two are called %q", ErrRuleSet, s.name)
		}
		seen[s.name] = true
		base := len(b.rules)
		for _, r := range s.rules {
			if seen[r.ID] {
				return nil, fmt.Errorf("%w: rule %q is in two files", ErrRuleSet, r.ID)
			}
			seen[r.ID] = true
		}
		b.rules = append(b.rules, s.rules...)
		for _, g := range s.globals {
			g.rule += base
			b.global(g)
		}
		for _, p := range s.patterns {
			for _, f := range p.formats {
				if !ids[f] {
					return nil, fmt.Errorf("%w %q: line %d: no format is called %q", ErrRuleSet, s.name, p.line, f)
				}
			}
			p.rule += base
			for _, w := range p.words {
				words, b.ofWord = append(words, w), append(b.ofWord, int32(len(b.patterns)))
				total += len(w)
			}
			b.patterns = append(b.patterns, p)
		}
		for _, o := range s.operators {
			if !kinds[o.Kind] {
				return nil, fmt.Errorf("%w %q: line %d: no format tells of operators of kind %q", ErrRuleSet, s.name, o.line, o.Kind)
			}
			o.rule += base
			b.operators[o.Kind] = append(b.operators[o.Kind], o)
		}
		if len(s.allow) > 0 {
			b.allow = append(b.allow, globals.Profile{Name: setProfile + s.name, Names: s.allow})
		}
	}
	if total > maxKeywords {
		return nil, fmt.Errorf("keywords of %d bytes, the limit is %d: %w", total, maxKeywords, ErrRuleSet)
	}
	if len(words) > 0 {
		b.keywords = newKeywords(words)
	}
	return b, nil
}

// Names that stand among the formats of a result without being one.
const (
	noFormat = "unrecognised" // in rule sets only
	empty    = "empty"
)

func knownFormats(formats []entry) (ids, kinds map[string]bool) {
	ids, kinds = map[string]bool{noFormat: true, empty: true, "executable": true}, make(map[string]bool)
	add := func(i Info) {
		ids[i.ID] = true
		for _, k := range i.Operators {
			kinds[k] = true
		}
	}
	for _, f := range Builtin() {
		add(f.Info()) // also when a scanner leaves it out
	}
	for _, e := range formats {
		add(e.info)
	}
	return ids, kinds
}

func (b *rulebook) global(g globalRule) {
	switch {
	case g.Prefix != "":
		b.prefixes = append(b.prefixes, g)
	case g.Attribute != "":
		b.attributes[g.Attribute] = append(b.attributes[g.Attribute], g)
	case len(g.Names) == 0:
		b.paths[g.Module] = append(b.paths[g.Module], g)
	}
	for _, n := range g.Names {
		b.paths[g.Module+"."+n] = append(b.paths[g.Module+"."+n], g)
	}
}

// matches lists the rules about a name that is imported, each once.
func (b *rulebook) matches(module, name string, called bool) (rules []int) {
	add := func(list []globalRule) {
		for _, g := range list {
			if (called || !g.Called) && !slices.Contains(rules, g.rule) {
				rules = append(rules, g.rule)
			}
		}
	}
	look := func(module, name string) {
		full := module + "." + name
		for i := 0; i <= len(full); i++ {
			if i == len(full) || full[i] == '.' {
				add(b.paths[full[:i]])
			}
		}
		for part := range strings.SplitSeq(name, ".") {
			add(b.attributes[part])
		}
		for i := range b.prefixes {
			if strings.HasPrefix(full, b.prefixes[i].Prefix) {
				add(b.prefixes[i : i+1])
			}
		}
	}
	look(module, name)
	if m, n, ok := pickle.Renamed(module, name); ok {
		look(m, n)
	}
	slices.Sort(rules)
	return rules
}

// global applies the rule sets to a name that is imported at an offset.
func (s *Sink) ruledGlobal(g Global, at prerun.Location) {
	b := s.a.run.rules
	if b == nil || len(b.paths)+len(b.attributes)+len(b.prefixes) == 0 {
		return
	}
	for _, i := range b.matches(g.Module, g.Name, g.Called) {
		verb := "named"
		if g.Called {
			verb = "called"
		}
		shown := excerpt(g.Module+"."+g.Name, 120)
		s.Finding(prerun.Finding{
			Rule:       b.rules[i],
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{at},
			Message:    fmt.Sprintf("%q is %s", shown, verb),
			Key:        shown,
		})
	}
}

// maxOperators bounds the different operators of one artefact that rule sets
// report.
const maxOperators = 1000

// Operator tells of an operator, for rule sets that have rules about its kind.
// It costs nothing where none has, so formats tell of every one they meet.
func (s *Sink) Operator(o Operator) {
	b := s.a.run.rules
	if b == nil {
		return
	}
	for _, r := range b.operators[o.Kind] {
		if r.Domain != "" && o.Domain != r.Domain && !strings.HasPrefix(o.Domain, r.Domain+".") ||
			len(r.Names) > 0 && !slices.Contains(r.Names, o.Name) {
			continue
		}
		shown := excerpt(strings.TrimPrefix(o.Domain+"."+o.Name, "."), 120)
		key := b.rules[r.rule].ID + " " + shown
		if s.operators[key] || len(s.operators) == maxOperators {
			continue
		}
		if s.operators == nil {
			s.operators = make(map[string]bool)
		}
		s.operators[key] = true
		s.Finding(prerun.Finding{
			Rule:       b.rules[r.rule],
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{o.Location},
			Message:    fmt.Sprintf("%s operator %q", o.Kind, shown),
			Key:        shown,
		})
	}
}

// patterns searches an artefact for what rule sets look for in it.
func (r *run) patterns(_ context.Context, a *Artifact, out *Sink) {
	b := r.rules
	if b == nil || b.keywords == nil || a.tentative && len(out.res.Formats) == 0 {
		return
	}
	s := &patternSearch{book: b, a: a, out: out, todo: make([]bool, len(b.patterns)), areas: make([][]span, len(b.patterns))}
	for i := range b.patterns {
		if b.patterns[i].applies(out.res.Formats, a.Base()) {
			s.todo[i] = true
			s.left++
			s.reach = max(s.reach, int64(b.patterns[i].reach))
		}
	}
	if s.left == 0 {
		return
	}
	if err := s.search(); err != nil {
		out.gap(completenessOf(err), fmt.Sprintf("search for patterns of rule sets: %v", err), 0, 0)
	}
}

// applies reports whether a pattern is about artefacts of those formats and
// that name.
func (p *pattern) applies(formats []string, base string) bool {
	known := len(p.formats) == 0 || len(formats) == 0 && slices.Contains(p.formats, noFormat) ||
		slices.ContainsFunc(formats, func(id string) bool { return slices.Contains(p.formats, id) })
	named := len(p.files) == 0 || slices.ContainsFunc(p.files, func(glob string) bool {
		ok, err := path.Match(glob, base)
		return err == nil && ok
	})
	return known && named
}

// A patternSearch is the pass over one artefact.
type patternSearch struct {
	book  *rulebook
	a     *Artifact
	out   *Sink
	todo  []bool // patterns that have not matched yet
	left  int
	reach int64    // the longest of them
	areas [][]span // of the window, around keywords, by pattern
}

// search reads windows that overlap by twice the longest match. Each window
// answers for keywords that have a match's length on both sides of them in it,
// so that each is looked at once, with all its surroundings.
func (s *patternSearch) search() error {
	buf := s.a.run.buffer()
	defer s.a.run.recycle(buf)
	held := 0
	for off := int64(0); s.left > 0; {
		w := buf[:min(int64(len(buf)), s.a.Size-off)]
		if _, err := s.a.ReadAt(w[held:], off+int64(held)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		from, to := s.reach, int64(len(w))-s.reach
		if off == 0 {
			from = 0
		}
		last := off+int64(len(w)) == s.a.Size
		if last {
			to = int64(len(w))
		}
		if err := s.window(w, off, from, to); err != nil || last {
			return err
		}
		keep := int64(len(w)) - 2*s.reach
		held = copy(buf, w[keep:])
		off += keep
	}
	return nil
}

func (s *patternSearch) window(w []byte, off, from, to int64) error {
	var found []int32 // patterns with areas
	s.book.keywords.find(w, func(word int32, start int) {
		at, i := int64(start), s.book.ofWord[word]
		p := &s.book.patterns[i]
		if !s.todo[i] || at < from || at >= to {
			return
		}
		if p.re == nil {
			if bytes.HasPrefix(w[start:], p.literal) {
				s.match(i, w[start:start+len(p.literal)], off+at)
			}
			return
		}
		area := span{max(at-int64(p.reach), 0), min(at+int64(p.reach), int64(len(w)))}
		if n := len(s.areas[i]); n > 0 && area.off <= s.areas[i][n-1].end {
			s.areas[i][n-1].end = max(s.areas[i][n-1].end, area.end)
			return
		} else if n == 0 {
			found = append(found, i)
		}
		s.areas[i] = append(s.areas[i], area)
	})
	slices.Sort(found)
	for _, i := range found {
		for _, area := range s.areas[i] {
			if err := s.a.Spend(Entries, 0); err != nil { // tells whether time is left
				return err
			}
			if loc := s.book.patterns[i].re.FindIndex(w[area.off:area.end]); loc != nil {
				at := area.off + int64(loc[0])
				s.match(i, w[at:area.off+int64(loc[1])], off+at)
				break
			}
		}
		s.areas[i] = s.areas[i][:0]
	}
	return nil
}

func (s *patternSearch) match(i int32, text []byte, off int64) {
	s.todo[i] = false
	s.left--
	p := &s.book.patterns[i]
	rule := s.book.rules[p.rule]
	s.out.Finding(prerun.Finding{
		Rule:       rule,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: off, Length: int64(len(text))}},
		Message:    fmt.Sprintf("%s: %d bytes at offset %d match its pattern", rule.Title, len(text), off),
		Evidence:   map[string]string{"match": excerpt(string(text[:min(len(text), 1024)]), 80)},
		Key:        fmt.Sprintf("pattern %d", p.index+1),
	})
}

// insecureAllowed states the names that only a rule set allows.
func (s *pickleScan) insecureAllowed(names map[string][]string) {
	var all []string
	for _, profile := range sortedKeys(names) {
		list := slices.Compact(slices.Sorted(slices.Values(names[profile])))
		more := ""
		if n := len(list); n > 100 {
			list, more = list[:100], fmt.Sprintf(" and %d more", n-100)
		}
		all = append(all, strings.TrimPrefix(profile, setProfile)+": "+strings.Join(list, ", ")+more)
	}
	if len(all) > 0 {
		s.out.Fact(factInsecureAllowed, strings.Join(all, "; "))
	}
}

// factInsecureAllowed is the key under which a file states the names that no
// built-in list knows and that insecure_allow of a rule set let pass, by set.
const factInsecureAllowed = "insecure_allowed"
