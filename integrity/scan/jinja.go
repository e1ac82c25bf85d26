package scan

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

// Rules for Jinja templates, wherever they stand: tokenizer configurations,
// GGUF metadata, files of their own. Templates are tokenised, never rendered,
// and never skipped for their size.
var (
	ruleTemplateAttack = prerun.Rule{
		ID: "scan.template.attack", Title: "template that reaches for Python", Severity: prerun.High,
		Help: "A chat template uses Python internals or functions that run commands. Where templates are rendered without a sandbox, that runs code as soon as a prompt is formatted. Do not use the model.",
		Refs: []prerun.Reference{
			cwe("CWE-1336"), refUnsafeModel, cve("2024-34359"),
		},
	}
	ruleTemplateReach = prerun.Rule{
		ID: "scan.template.unusual-access", Title: "template with unusual access", Severity: prerun.Medium,
		Help: "A chat template loads other templates, uses the attr filter, touches the template engine's own objects, or puts names together at run time. Ordinary chat templates do none of this. Read the template before using the model.",
		Refs: []prerun.Reference{cwe("CWE-1336")},
	}
)

// jinjaFormat reads template files.
type jinjaFormat struct{}

func (jinjaFormat) Info() Info {
	return Info{ID: "jinja", Within: []string{"text", "json"}, Rules: []prerun.Rule{ruleTemplateAttack, ruleTemplateReach}}
}

func (jinjaFormat) Match(p Probe) Match {
	switch p.Ext() {
	case ".jinja", ".jinja2", ".j2":
		return Maybe
	}
	if strings.HasPrefix(path.Base(p.Name), "chat_template") && p.Ext() != ".json" {
		return Maybe
	}
	return No
}

func (jinjaFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	data, err := a.small(out, "template")
	if data == nil {
		return err
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("jinja: no text: %w", ErrNotFormat)
	}
	template(out, string(data), prerun.Location{})
	return nil
}

// template reports what is wrong with a template that stands at a location.
func template(out *Sink, text string, at prerun.Location) {
	seen := make(map[string]bool)
	t := &jinjaScan{report: func(rule prerun.Rule, what, excerpted string) {
		raw := what + " " + excerpted[:min(len(excerpted), jinjaKept)]
		if seen[raw] || len(seen) > 20 {
			return
		}
		shown := excerpt(excerpted, 60)
		key := what + " " + shown
		seen[raw] = true
		out.Finding(prerun.Finding{
			Rule:       rule,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{at},
			Message:    fmt.Sprintf("the template %s: %q", what, shown),
			Key:        key,
		})
	}}
	t.root(text)
	t.replaced()
	t.flow()
	if t.tokens > maxFlow {
		out.Gap(fmt.Sprintf("template of %d tokens; what the first %d put together was followed", t.tokens, maxFlow), at.Offset, 0)
	}
}

// A jinjaToken is a name, a string (decoded), an operator or a number.
type jinjaToken struct {
	kind byte // 'n', 's', 'o', '0'
	text string
}

func (t jinjaToken) is(kind byte, text string) bool { return t.kind == kind && t.text == text }

func (t jinjaToken) op(texts string) bool { return t.kind == 'o' && strings.Contains(texts, t.text) }

// A jinjaScan follows one template through the lexer of Jinja with its default
// delimiters; loaders of chat templates set no line statements, so lines that
// start with # or % are text. Names that a template may not spell are looked
// for in what it writes, and in what it would put together: string constants
// are joined in their order, whatever joins them.
type jinjaScan struct {
	report func(rule prerun.Rule, what, text string)

	toks    []jinjaToken    // of the current block
	filter  string          // the last filter of the current expression
	macros  map[string]bool // names that are the template's own functions
	capture int             // blocks whose text becomes a value
	joined  string          // the end of all constants so far
	keys    string          // and of all names of arguments
	single  string          // a value of underscores that can be put into names
	puts    bool            // some subscript is put together
	texts   []string        // constants with an underscore
	swaps   [][2]string     // constant arguments of replace
	open    bool            // a comment has no end
	endless bool            // a raw block has none

	blocks []jinjaBlock // what flow reads: the first maxFlow tokens
	tokens int
}

// Bounds of what is kept of one template.
const (
	jinjaChunk  = 4096 // tokens of a block that are judged at once
	jinjaAround = 4    // tokens before and behind that a judgement looks at
	jinjaTail   = 64
	jinjaKept   = 256
)

var (
	jinjaRaw    = regexp.MustCompile(`^\{%[-+]?\s*raw\s*-?%\}`)
	jinjaEndRaw = regexp.MustCompile(`\{%[-+]?\s*endraw\s*[-+]?%\}`)
)

// root reads text and hands on what stands between delimiters.
func (t *jinjaScan) root(text string) {
	for len(text) > 0 {
		i := strings.IndexByte(text, '{')
		if i < 0 || i+1 >= len(text) {
			t.literal(text)
			return
		}
		t.literal(text[:i])
		text = text[i:]
		switch text[1] {
		case '#':
			// A comment without an end makes the template invalid; it is read on.
			text = text[2:]
			if end := t.find(text, "#}"); end >= 0 {
				text = text[end+2:]
			}
		case '%':
			if begin := jinjaRaw.FindString(text); begin != "" && !t.endless {
				if end := jinjaEndRaw.FindStringIndex(text[len(begin):]); end != nil {
					t.literal(text[len(begin):][:end[0]])
					text = text[len(begin)+end[1]:]
					continue
				}
				t.endless = true
			}
			text = text[2+t.block(text[2:], true):]
		case '{':
			text = text[2+t.block(text[2:], false):]
		default:
			text = text[1:]
		}
	}
}

// find is strings.Index for the end of comments, which is not searched for
// again once there is none.
func (t *jinjaScan) find(text, end string) int {
	if t.open {
		return -1
	}
	i := strings.Index(text, end)
	t.open = i < 0
	return i
}

// literal is text outside of delimiters. Where a block captures it, it is as
// good as a constant.
func (t *jinjaScan) literal(text string) {
	if t.capture > 0 {
		if text = strings.TrimSpace(text); text != "" {
			if strings.Trim(text, "_") == "" {
				t.single = text
			}
			t.constant(text, &t.joined)
		}
	}
}

// block reads the tokens up to the end of an expression or statement and
// returns how long it is. As in Jinja, the end is none within brackets.
func (t *jinjaScan) block(s string, statement bool) int {
	closing := "}}"
	if statement {
		closing = "%}"
	}
	t.toks, t.filter = t.toks[:0], ""
	var kept []jinjaToken
	var first jinjaToken
	var target bool // "=" was seen outside of brackets
	i, depth, judged := 0, 0, 0
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		i = 1 // white space control
	}
	for i < len(s) {
		if depth == 0 && (strings.HasPrefix(s[i:], closing) || (s[i] == '-' || s[i] == '+') && strings.HasPrefix(s[i+1:], closing)) {
			break
		}
		tok, n := jinjaNext(s[i:])
		i += max(n, 1)
		if tok.kind == 0 {
			continue
		}
		if t.tokens++; t.tokens <= maxFlow {
			kept = append(kept, tok)
		}
		switch {
		case tok.op("([{"):
			depth++
		case tok.op(")]}"):
			depth = max(depth-1, 0)
		case tok.is('o', "=") && depth == 0:
			target = true
		}
		if first.kind == 0 {
			first = tok
		}
		t.toks = append(t.toks, tok)
		if len(t.toks) == jinjaChunk {
			for ; judged < len(t.toks)-jinjaAround; judged++ {
				t.judge(judged)
			}
			kept := copy(t.toks, t.toks[judged-jinjaAround:])
			t.toks, judged = t.toks[:kept], jinjaAround
		}
	}
	for ; judged < len(t.toks); judged++ {
		t.judge(judged)
	}
	if len(kept) > 0 {
		t.blocks = append(t.blocks, jinjaBlock{statement, kept})
	}
	if statement && first.kind == 'n' {
		t.statement(first.text, target)
	}
	return min(i+2, len(s))
}

// statement looks at what a statement does.
func (t *jinjaScan) statement(name string, target bool) {
	switch name {
	case "include", "import", "extends", "from":
		t.report(ruleTemplateReach, "loads another template", name)
	case "debug":
		t.report(ruleTemplateReach, "shows everything it knows", name)
	case "filter", "call", "macro":
		t.capture++
	case "set":
		if !target {
			t.capture++
		}
	case "endset", "endmacro", "endcall", "endfilter":
		t.capture = max(t.capture-1, 0)
	}
}

// Names of a template's surroundings.
var (
	// engineObjects reach Python's modules through their attributes. No chat
	// template has use for them.
	engineObjects = map[string]bool{"cycler": true, "lipsum": true, "self": true, "url_for": true, "get_flashed_messages": true}

	// engineCalls are called by ordinary templates, and looked into by none.
	engineCalls = map[string]bool{
		"joiner": true, "namespace": true, "config": true, "request": true, "range": true, "dict": true,
		"raise_exception": true, "strftime_now": true,
	}

	pythonCalls = map[string]bool{
		"__import__": true, "popen": true, "eval": true, "exec": true, "open": true, "system": true, "compile": true,
		"getattr": true, "import_string": true,
	}

	// lazyFilters give generators, whose text has underscores in known places.
	lazyFilters = map[string]bool{"select": true, "reject": true, "selectattr": true, "rejectattr": true, "map": true, "batch": true, "slice": true}
)

func (t *jinjaScan) at(k int) jinjaToken {
	if k < 0 || k >= len(t.toks) {
		return jinjaToken{}
	}
	return t.toks[k]
}

// judge looks at one token in the light of those around it.
func (t *jinjaScan) judge(k int) {
	switch tok := t.at(k); tok.kind {
	case 'n':
		t.name(k, tok.text)
	case 's':
		t.text(k, tok.text)
	case 'o':
		t.operator(k, tok.text)
	}
}

func (t *jinjaScan) name(k int, name string) {
	prev, next := t.at(k-1), t.at(k+1)
	filter := prev.is('o', "|") || prev.is('n', "filter") && k == 1
	switch {
	case dunder(name):
		t.report(ruleTemplateAttack, "uses a Python internal", name)
	case fragment(name):
		t.report(ruleTemplateReach, "spells part of a Python internal", name)
	case filter && name == "attr":
		t.report(ruleTemplateReach, "uses the attr filter", name)
	case filter && name == "string" && lazyFilters[t.filter]:
		t.report(ruleTemplateReach, "takes the text of a generator", t.filter)
	case prev.op(".|") || next.is('o', "="):
	case engineObjects[name], engineCalls[name] && next.op(".[|"),
		(name == "namespace" || name == "joiner") && prev.is('o', "=") && !next.is('o', "("):
		t.report(ruleTemplateReach, "looks into an object of the engine", name)
	case prev.is('n', "macro"):
		if t.macros == nil {
			t.macros = make(map[string]bool)
		}
		if len(t.macros) < jinjaKept {
			t.macros[name] = true
		}
	}
	if filter {
		t.filter = name
	}
	switch arg := t.at(k + 2); {
	case name == "attribute" && next.is('o', "="):
		// The name of an attribute is written out in every ordinary template.
		if behind := t.at(k + 3); arg.kind != 's' || behind.kind == 's' || behind.op("~+%|*[.") {
			t.report(ruleTemplateReach, "computes the name of an attribute", arg.text)
		}
	case (name == "selectattr" || name == "rejectattr" || name == "groupby") && filter && next.is('o', "("):
		if behind := t.at(k + 3); arg.kind != 's' && !arg.is('n', "attribute") || behind.kind == 's' || behind.op("~+%|*[.") {
			t.report(ruleTemplateReach, "computes the name of an attribute", arg.text)
		}
	}
	if next.is('o', "=") {
		t.constant(name, &t.keys) // dict(a=1) has the text "a"
	}
}

func (t *jinjaScan) text(k int, s string) {
	prev, next := t.at(k-1), t.at(k+1)
	subscript := prev.is('o', "[") && next.is('o', "]")
	switch lower := strings.ToLower(s); {
	case internal(s), internal(reversed(s)):
		t.report(ruleTemplateAttack, "spells a Python internal", s)
	case dunder(s):
		rule := ruleTemplateReach
		if prev.op("[(") {
			rule = ruleTemplateAttack
		}
		t.report(rule, "spells a Python internal", s)
	case fragment(s), strings.Contains(lower, "&#95;"), strings.Contains(lower, "&#x5f;"), strings.Contains(lower, "&lowbar;"), strings.Contains(lower, "&underbar;"):
		t.report(ruleTemplateReach, "spells part of a Python internal", s)
	case subscript && t.at(k+2).is('o', "(") && pythonCalls[s]:
		t.report(ruleTemplateAttack, "calls a function that runs code or reads files", s)
	case prev.is('o', "(") && lazyFilters[t.at(k-2).text] && (s == "attr" || t.at(k-2).text == "map" && (next.kind == 's' || next.op("~+%|"))):
		t.report(ruleTemplateReach, "computes a filter, or uses the attr filter", s)
	case strings.Contains(s, "%c") && next.op("%|."), strings.Contains(s, ":c}") && next.is('o', "."):
		t.report(ruleTemplateReach, "makes characters of numbers", s)
	case next.is('o', ".") && t.at(k+2).text == "format" && reaches(s):
		t.report(ruleTemplateReach, "formats with an attribute", s)
	}
	if s != "" && strings.Trim(s, "_") == "" {
		if prev.is('o', "*") || next.is('o', "*") {
			t.report(ruleTemplateReach, "puts underscores together", s)
		}
		if prev.op("=:,[(") && !(prev.is('o', "(") && t.at(k-2).kind == 'n') {
			t.single = s
		}
	}
	t.constant(s, &t.joined)
}

func (t *jinjaScan) operator(k int, op string) {
	prev, next := t.at(k-1), t.at(k+1)
	switch op {
	case "(":
		switch {
		case prev.kind != 'n':
		case pythonCalls[prev.text] && (t.at(k-2).is('o', ".") || !t.macros[prev.text] && !t.at(k-2).is('n', "macro")):
			t.report(ruleTemplateAttack, "calls a function that runs code or reads files", prev.text)
		case prev.text == "replace" && next.kind == 's' && t.at(k+2).is('o', ",") && t.at(k+3).kind == 's':
			if len(t.swaps) < jinjaKept/8 && len(next.text) < jinjaTail && len(t.at(k+3).text) < jinjaTail {
				t.swaps = append(t.swaps, [2]string{next.text, t.at(k + 3).text})
			}
		}
	case "~", ",":
		t.filter = ""
	}
	// Names that are put together at run time go into subscripts.
	if op == "~" || op == "+" && prev.kind != '0' && next.kind != '0' ||
		op == "|" && (next.text == "join" || next.text == "format" || next.text == "replace") {
		t.puts = t.puts || t.inSubscript(k)
	}
}

// inSubscript reports whether an operator stands in the brackets of a
// subscript, as far as the tokens kept tell.
func (t *jinjaScan) inSubscript(k int) bool {
	depth := 0
	for k--; k > 0; k-- {
		switch tok := t.at(k); {
		case tok.op(")]}"):
			depth++
		case tok.op("({"):
			depth--
		case tok.is('o', "["):
			if depth--; depth < 0 {
				before := t.at(k - 1)
				return before.kind == 'n' && before.text != "in" && before.text != "else" && before.text != "if" || before.op(")]") || before.kind == 's'
			}
		}
	}
	return false
}

// constant looks at a constant together with those of its sort before it.
func (t *jinjaScan) constant(s string, before *string) {
	if s == "" {
		return
	}
	window := *before + s[:min(len(s), jinjaTail)]
	switch {
	case internal(s): // said already, or text that is shown
	case internal(window):
		t.report(ruleTemplateAttack, "puts a Python internal together", window)
	case strings.Contains(window, "__") && !strings.Contains(s, "__") && partial(window):
		t.report(ruleTemplateReach, "spells part of a Python internal", window)
	}
	if *before += s[max(0, len(s)-jinjaTail):]; len(*before) > jinjaTail {
		*before = (*before)[len(*before)-jinjaTail:]
	}
	if internal(*before) {
		*before = "" // once is enough
	}
	if strings.Contains(s, "_") && len(t.texts) < jinjaKept && len(s) < jinjaKept {
		t.texts = append(t.texts, s)
	}
}

// replaced does to the constants what the template's replacements would, and
// concludes about names that are put together of single underscores.
func (t *jinjaScan) replaced() {
	for _, s := range t.texts {
		for _, swap := range t.swaps {
			if swap[0] != "" && !internal(s) && internal(strings.ReplaceAll(s, swap[0], swap[1])) {
				t.report(ruleTemplateAttack, "replaces until a Python internal is left", s)
			}
		}
	}
	if t.single != "" && t.puts {
		t.report(ruleTemplateReach, "has underscores, and puts names together", t.single)
	}
}

// dunder reports names such as __class__ and the private ones of Jinja.
func dunder(s string) bool {
	return len(s) > 4 && strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__") && strings.Trim(s, "_") != "" ||
		strings.HasPrefix(s, "_TemplateReference__") || strings.HasPrefix(s, "gi_frame") || strings.HasPrefix(s, "f_globals") ||
		strings.HasPrefix(s, "f_builtins") || s == "func_globals" || s == "im_func"
}

// fragment reports what only the beginning or end of such a name looks like.
func fragment(s string) bool {
	if len(s) < 2 || strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') }) {
		return false
	}
	return !dunder(s) && (strings.HasPrefix(s, "__") || strings.HasSuffix(s, "__"))
}

// pythonInternals lead from any object to all of Python. The ones that a text
// about programs may mention, such as __init__ and __name__, are not here.
var pythonInternals = []string{
	"class", "mro", "base", "bases", "subclasses", "globals", "builtins", "import", "getattribute", "getattr", "closure",
	"code", "dict", "reduce", "reduce_ex", "func", "loader", "spec",
}

// Each of them as it is spelt, and halves of the ones that nothing else needs.
var (
	internalNames = func() (out []string) {
		for _, w := range pythonInternals {
			out = append(out, "__"+w+"__")
		}
		return out
	}()
	internalHalves = []string{
		"__class", "class__", "__globals", "globals__", "__builtins", "builtins__", "__subclasses", "subclasses__", "__getattribute", "getattribute__",
	}
)

// internal reports a text that holds the name of a Python internal.
func internal(s string) bool {
	return strings.Contains(s, "__") && containsAny(strings.ToLower(s), internalNames)
}

// partial reports a text with one half of such a name.
func partial(s string) bool { return containsAny(s, internalHalves) }

func containsAny(s string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s, w) })
}

func reversed(s string) string {
	if len(s) > jinjaKept || !strings.Contains(s, "__") {
		return ""
	}
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// reaches reports format strings whose fields look into what is formatted.
func reaches(s string) bool {
	for {
		_, rest, ok := strings.Cut(s, "{")
		if !ok {
			return false
		}
		field, after, _ := strings.Cut(rest, "}")
		field, _, _ = strings.Cut(field, ":")
		if strings.ContainsAny(field, ".[") {
			return true
		}
		s = after
	}
}

// jinjaNext returns the next token and the bytes it takes; one of no kind is
// skipped space.
func jinjaNext(s string) (jinjaToken, int) {
	switch c := s[0]; {
	case c == ' ' || c >= '\t' && c <= '\r' || c >= 0x1c && c <= 0x1f:
		return jinjaToken{}, 1
	case c == '"' || c == '\'':
		return jinjaString(s)
	case nameByte(c) && (c < '0' || c > '9'):
		if r, n := utf8.DecodeRuneInString(s); unicode.IsSpace(r) {
			return jinjaToken{}, n
		}
		n := 1
		for n < len(s) && nameByte(s[n]) {
			r, size := utf8.DecodeRuneInString(s[n:])
			if unicode.IsSpace(r) {
				break
			}
			n += size
		}
		return jinjaToken{'n', s[:n]}, n
	case c >= '0' && c <= '9':
		n := 1
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return jinjaToken{'0', s[:n]}, n
	}
	return jinjaToken{'o', s[:1]}, 1
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= utf8.RuneSelf
}

// jinjaString decodes a literal as Python does: \x5f is an underscore.
func jinjaString(s string) (jinjaToken, int) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); {
		switch {
		case s[i] == quote:
			return jinjaToken{'s', b.String()}, i + 1
		case s[i] != '\\' || i+1 >= len(s):
			b.WriteByte(s[i])
			i++
		default:
			r, n := jinjaEscape(s[i+1:])
			b.WriteString(r)
			i += 1 + n
		}
	}
	return jinjaToken{'s', b.String()}, len(s)
}

// jinjaEscape decodes what follows a backslash.
func jinjaEscape(s string) (string, int) {
	switch s[0] {
	case '\n':
		return "", 1 // the line goes on
	case 'N':
		name, _, ok := strings.Cut(strings.TrimPrefix(s[1:], "{"), "}")
		if strings.HasPrefix(s[1:], "{") && ok && len(name) < 100 {
			if strings.EqualFold(name, "low line") || strings.EqualFold(name, "underscore") || strings.EqualFold(name, "spacing underscore") {
				return "_", len(name) + 3
			}
			return "?", len(name) + 3 // another character by its name
		}
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits > 0 && len(s) > digits {
		if v, err := strconv.ParseUint(s[1:1+digits], 16, 32); err == nil {
			return string(rune(v)), 1 + digits
		}
	}
	n := 0
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n > 0 {
		v, _ := strconv.ParseUint(s[:n], 8, 16) // at most three octal digits
		return string(rune(v)), n
	}
	return s[:1], 1
}
