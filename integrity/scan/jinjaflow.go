package scan

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// A template that is rendered without a sandbox reaches Python by the names of
// attributes. Those that are spelled out are seen as tokens. Others are put
// together while it runs, kept in variables and looked up by subscript: what is
// looked up has to be followed. It is followed by variable, whatever the order
// and scope of statements, and never evaluated.

// A jinjaBlock is the tokens of one expression or statement.
type jinjaBlock struct {
	statement bool
	tokens    []jinjaToken
}

// Bounds on what is followed. The largest known templates have some thousand
// tokens, their subscripts and arguments some dozen.
const (
	maxFlow     = 1 << 20
	maxBrackets = 256
)

// A jinjaFlow knows the variables whose text the template puts together.
type jinjaFlow struct {
	blocks []jinjaBlock
	made   map[string]bool
	macros map[string][]string // parameters
	grown  bool
}

// maxFlowRounds bounds passes over the template. One is enough but for macros
// and loops.
const maxFlowRounds = 12

// flow reports look-ups of names that the template puts together.
func (t *jinjaScan) flow() {
	f := &jinjaFlow{blocks: t.blocks, made: map[string]bool{"caller": true}, macros: make(map[string][]string)}
	for range maxFlowRounds {
		f.grown = false
		for _, b := range f.blocks {
			if b.statement {
				f.statement(b.tokens)
			}
			f.calls(b.tokens)
		}
		if !f.grown {
			break
		}
	}
	for _, b := range f.blocks {
		f.lookups(b.tokens, t.report)
	}
}

func (f *jinjaFlow) make(name string) {
	if !f.made[name] {
		f.made[name] = true
		f.grown = true
	}
}

// statement follows what a statement assigns.
func (f *jinjaFlow) statement(ts []jinjaToken) {
	if len(ts) < 2 || ts[0].kind != 'n' {
		return
	}
	switch ts[0].text {
	case "set":
		at := indexToken(ts, 'o', "=")
		switch {
		case at < 0: // the text up to endset
			f.make(ts[1].text)
		case f.puts(ts[at+1:]):
			f.names(ts[1:at])
		}
	case "for":
		if at := indexToken(ts, 'n', "in"); at > 0 && f.puts(ts[at+1:]) {
			f.names(ts[1:at])
		}
	case "with":
		if !f.puts(ts[1:]) {
			return
		}
		for i := 1; i+1 < len(ts); i++ {
			if ts[i].kind == 'n' && ts[i+1].is('o', "=") {
				f.make(ts[i].text)
			}
		}
	case "macro":
		f.make(ts[1].text)
		if f.macros[ts[1].text] == nil {
			for i := 2; i < len(ts); i++ {
				if ts[i].kind == 'n' && (ts[i-1].is('o', "(") || ts[i-1].is('o', ",")) {
					f.macros[ts[1].text] = append(f.macros[ts[1].text], ts[i].text)
				}
			}
		}
	case "call":
		if ts[1].is('o', "(") {
			f.names(ts[1:closing(ts, 1)])
		}
	}
}

// names takes every name among tokens as one whose text is put together.
func (f *jinjaFlow) names(ts []jinjaToken) {
	for i, t := range ts {
		if t.kind == 'n' && (i == 0 || !ts[i-1].is('o', ".")) {
			f.make(t.text)
		}
	}
}

// mutators are methods that put their arguments into what they are called on.
var mutators = map[string]bool{"append": true, "extend": true, "insert": true, "update": true, "setdefault": true, "add": true}

// calls follows text into macros and into lists and dictionaries.
func (f *jinjaFlow) calls(ts []jinjaToken) {
	for i := 1; i < len(ts); i++ {
		if ts[i-1].kind != 'n' || !ts[i].is('o', "(") {
			continue
		}
		params, macro := f.macros[ts[i-1].text]
		known := !slices.ContainsFunc(params, func(p string) bool { return !f.made[p] })
		if macro && known || !macro && !mutators[ts[i-1].text] || !f.putsWithin(ts, i) {
			continue
		}
		for _, p := range params {
			f.make(p)
		}
		if !macro {
			f.names(ts[:i-1])
		}
	}
}

// byAttribute are filters that look attributes up by name.
var byAttribute = map[string]bool{
	"map": true, "selectattr": true, "rejectattr": true, "groupby": true, "sort": true, "unique": true, "sum": true, "min": true, "max": true,
}

// lookups reports subscripts and filters whose name is put together.
func (f *jinjaFlow) lookups(ts []jinjaToken, report func(rule prerun.Rule, what, text string)) {
	for i := 1; i < len(ts); i++ {
		switch {
		case ts[i].is('o', "[") && endsValue(ts[i-1]):
			if end := closing(ts, i); f.putsWithin(ts, i) {
				report(ruleTemplateReach, "looks up a name that it puts together", spelled(ts[i-1:min(end+1, len(ts))]))
			}
		case ts[i].is('o', "(") && byAttribute[ts[i-1].text] && i > 1 && ts[i-2].is('o', "|"):
			if end := closing(ts, i); f.putsWithin(ts, i) {
				report(ruleTemplateReach, "looks up a name that it puts together", spelled(ts[i-1:min(end+1, len(ts))]))
			}
		}
	}
}

// textFilters and textMethods make one text of another.
var (
	textFilters = map[string]bool{
		"join": true, "format": true, "replace": true, "reverse": true, "string": true, "lower": true, "upper": true, "capitalize": true,
		"title": true, "trim": true, "urlencode": true, "tojson": true, "pprint": true, "center": true, "indent": true, "wordwrap": true,
		"truncate": true, "e": true, "escape": true, "forceescape": true, "striptags": true, "xmlattr": true, "attr": true,
	}
	textMethods = map[string]bool{
		"join": true, "format": true, "format_map": true, "replace": true, "lower": true, "upper": true, "capitalize": true, "title": true,
		"strip": true, "lstrip": true, "rstrip": true, "removeprefix": true, "removesuffix": true, "swapcase": true, "casefold": true,
		"translate": true, "center": true, "ljust": true, "rjust": true, "zfill": true, "expandtabs": true, "decode": true,
		"split": true, "rsplit": true, "splitlines": true, "partition": true, "rpartition": true,
	}
)

// puts reports whether an expression puts text together.
func (f *jinjaFlow) puts(ts []jinjaToken) bool {
	for i, t := range ts {
		var prev, next jinjaToken
		if i > 0 {
			prev = ts[i-1]
		}
		if i+1 < len(ts) {
			next = ts[i+1]
		}
		switch t.kind {
		case 'o':
			switch t.text {
			case "~":
				return true
			case ":": // a slice with a step
				if next.is('o', ":") && i > 0 {
					return true
				}
			case "+", "%", "*":
				if prev.kind == 's' || next.kind == 's' {
					return true
				}
			}
		case 's':
			if next.kind == 's' || next.is('o', ".") || next.is('o', "[") || next.is('o', "|") {
				return true
			}
		case 'n':
			switch {
			case prev.is('o', "|"):
				if textFilters[t.text] {
					return true
				}
			case prev.is('o', "."):
				if textMethods[t.text] && next.is('o', "(") {
					return true
				}
			case f.made[t.text] && length(ts[i:]) > 0:
			case f.made[t.text] && !next.is('o', "="):
				return true
			case f.made[t.text] && i+2 < len(ts) && ts[i+2].is('o', "="): // ==
				return true
			}
		}
	}
	return false
}

// putsWithin reports whether what stands in the brackets at i puts text together.
// Longer contents than any known are taken to.
func (f *jinjaFlow) putsWithin(ts []jinjaToken, i int) bool {
	end := closing(ts, i)
	if end-i >= maxBrackets {
		return true
	}
	ts = flat(ts[i+1 : end])
	return !f.begins(ts) && !counts(ts) && f.puts(ts)
}

// counts reports the content of brackets that is no text, whatever its parts
// are: a slice, and a difference, which texts do not have. Jinja looks only text
// up among attributes.
func counts(ts []jinjaToken) bool {
	depth, minus := 0, false
	for i, t := range ts {
		switch {
		case t.kind == 'n':
			switch t.text {
			case "if", "and", "or", "else":
				return false // one of several values, whatever is done to the others
			}
		case t.kind != 'o':
		case t.text == "(" || t.text == "[" || t.text == "{":
			depth++
		case t.text == ")" || t.text == "]" || t.text == "}":
			depth--
		case depth > 0:
		case t.text == ":":
			return true
		case t.text == "|" || t.text == "~" || t.text == ",":
			return false
		case t.text == "-" && i > 0 && endsValue(ts[i-1]):
			minus = true
		}
	}
	return minus
}

// length is the end of a name, or a path of names, of which only the length is
// taken; 0 where it is not.
func length(ts []jinjaToken) int {
	i := 0
	for i+2 < len(ts) && ts[i+1].is('o', ".") && ts[i+2].kind == 'n' {
		i += 2
	}
	if i+2 < len(ts) && ts[i+1].is('o', "|") && (ts[i+2].is('n', "length") || ts[i+2].is('n', "count")) {
		return i + 2
	}
	return 0
}

// begins reports an expression that a constant begins, and not one that a name
// of Python begins: "x" ~ i is a key, whatever i is.
func (f *jinjaFlow) begins(ts []jinjaToken) bool {
	return len(ts) > 2 && ts[0].kind == 's' && ts[0].text != "" && !strings.Contains(ts[0].text, "_") &&
		(ts[1].is('o', "~") || ts[1].is('o', "+")) && ts[2].kind == 'n' && indexToken(ts, 'n', "if") < 0 && !f.puts(ts[2:])
}

// flat leaves out the contents of subscripts, which are looked at by themselves.
func flat(ts []jinjaToken) []jinjaToken {
	var out []jinjaToken
	for i := 0; i < len(ts); i++ {
		out = append(out, ts[i])
		if i > 0 && ts[i].is('o', "[") && endsValue(ts[i-1]) {
			i = closing(ts, i) - 1
		}
	}
	return out
}

// endsValue reports a token after which a bracket is a subscript.
func endsValue(t jinjaToken) bool {
	switch t.kind {
	case 'n':
		switch t.text {
		case "in", "not", "and", "or", "if", "else", "elif", "is", "set", "print", "do", "return":
			return false
		}
		return true
	case 'o':
		return t.text == ")" || t.text == "]" || t.text == "}"
	}
	return t.kind == 's'
}

// closing is where the bracket at i closes, or the end of what is followed.
func closing(ts []jinjaToken, i int) int {
	depth := 0
	for ts = ts[:min(len(ts), i+maxBrackets)]; i < len(ts); i++ {
		if ts[i].kind != 'o' {
			continue
		}
		switch ts[i].text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(ts)
}

func indexToken(ts []jinjaToken, kind byte, text string) int {
	for i, t := range ts {
		if t.is(kind, text) {
			return i
		}
	}
	return -1
}

// spelled is tokens as text.
func spelled(ts []jinjaToken) string {
	var s strings.Builder
	for _, t := range ts {
		if t.kind == 's' {
			s.WriteString(strconv.Quote(t.text))
		} else {
			s.WriteString(t.text)
		}
		if s.Len() > 200 {
			break
		}
	}
	return s.String()
}
