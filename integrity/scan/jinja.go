package scan

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
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
			{Catalogue: "CWE", Edition: "4.16", ID: "CWE-1336"}, refUnsafeModel, cve("2024-34359"),
		},
	}
	ruleTemplateReach = prerun.Rule{
		ID: "scan.template.unusual-access", Title: "template with unusual access", Severity: prerun.Medium,
		Help: "A chat template loads other templates, uses the attr filter, touches the template engine's own objects, or puts names together at run time. Ordinary chat templates do none of this. Read the template before using the model.",
		Refs: []prerun.Reference{{Catalogue: "CWE", Edition: "4.16", ID: "CWE-1336"}},
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
	if a.Size > maxConfig {
		out.Gap(fmt.Sprintf("template of %d bytes; %d are read", a.Size, maxConfig), 0, 0)
		return nil
	}
	data, err := a.Bytes(0, a.Size)
	if err != nil {
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
	t := jinjaScan{report: func(rule prerun.Rule, what, excerpted string) {
		shown := excerpt(excerpted, 60)
		key := what + " " + shown
		if seen[key] || len(seen) > 20 {
			return
		}
		seen[key] = true
		out.Finding(prerun.Finding{
			Rule:       rule,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{at},
			Message:    fmt.Sprintf("the template %s: %q", what, shown),
			Key:        key,
		})
	}}
	for len(text) > 0 {
		i := strings.IndexByte(text, '{')
		if i < 0 || i+1 >= len(text) {
			return
		}
		text = text[i:]
		switch text[1] {
		case '#':
			end := strings.Index(text, "#}")
			if end < 0 {
				return
			}
			text = text[end+2:]
		case '{', '%':
			n := t.block(text[2:], text[1] == '%')
			text = text[2+n:]
		default:
			text = text[1:]
		}
	}
}

// A jinjaToken is a name, a string (decoded), an operator or a number.
type jinjaToken struct {
	kind byte // 'n', 's', 'o', '0'
	text string
}

type jinjaScan struct {
	report func(rule prerun.Rule, what, text string)
}

// block reads the tokens up to the end of an expression or statement and
// returns how long it is.
func (t *jinjaScan) block(s string, statement bool) int {
	closing := "}}"
	if statement {
		closing = "%}"
	}
	var window [4]jinjaToken // the last tokens, newest last
	first := true
	computed := false // a name is being put together
	i := 0
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		i = 1 // white space control
	}
	for i < len(s) {
		if strings.HasPrefix(s[i:], closing) || (s[i] == '-' || s[i] == '+') && strings.HasPrefix(s[i+1:], closing) {
			break
		}
		tok, n := jinjaNext(s[i:])
		i += max(n, 1)
		if n == 0 {
			continue
		}
		copy(window[:], window[1:])
		window[3] = tok
		if first && statement && tok.kind == 'n' {
			switch tok.text {
			case "include", "import", "extends", "from":
				t.report(ruleTemplateReach, "loads another template", tok.text)
			}
		}
		first = false
		t.token(window, &computed)
	}
	return min(i+2, len(s))
}

// engineObjects are names that templates get from the engine and have no reason
// to look into.
var engineObjects = map[string]bool{
	"cycler": true, "joiner": true, "lipsum": true, "self": true, "config": true, "request": true,
	"url_for": true, "get_flashed_messages": true, "namespace": true,
}

var pythonCalls = map[string]bool{
	"__import__": true, "popen": true, "eval": true, "exec": true, "open": true, "system": true, "compile": true,
	"getattr": true, "import_string": true,
}

// token judges the newest token in the light of those before it.
func (t *jinjaScan) token(w [4]jinjaToken, computed *bool) {
	prev, tok := w[2], w[3]
	switch tok.kind {
	case 'n':
		if dunder(tok.text) {
			t.report(ruleTemplateAttack, "uses a Python internal", tok.text)
		}
		if prev.is('o', "|") && tok.text == "attr" {
			t.report(ruleTemplateReach, "uses the attr filter", tok.text)
		}
	case 's':
		if dunder(tok.text) || strings.Contains(tok.text, "__globals__") || strings.Contains(tok.text, "__class__") {
			t.report(ruleTemplateAttack, "spells a Python internal", tok.text)
		}
		if tok.text != "" && strings.Trim(tok.text, "_") == "" {
			*computed = true
		}
		if *computed && prev.kind == 'o' && (prev.text == "~" || prev.text == "+" || prev.text == "%" || prev.text == "*") {
			t.report(ruleTemplateReach, "puts a name with underscores together", tok.text)
		}
	case 'o':
		switch tok.text {
		case "(":
			if prev.kind == 'n' && pythonCalls[prev.text] {
				t.report(ruleTemplateAttack, "calls a function that runs code or reads files", prev.text)
			}
			if prev.kind == 'n' && *computed && (prev.text == "join" || prev.text == "format" || prev.text == "replace") {
				t.report(ruleTemplateReach, "puts a name with underscores together", prev.text)
			}
		case ".", "[":
			if prev.kind == 'n' && engineObjects[prev.text] && !w[1].is('o', ".") {
				t.report(ruleTemplateReach, "looks into an object of the engine", prev.text)
			}
		}
	}
}

func (t jinjaToken) is(kind byte, text string) bool { return t.kind == kind && t.text == text }

// dunder reports names such as __class__ and the private ones of Jinja.
func dunder(s string) bool {
	return len(s) > 4 && strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__") && strings.Trim(s, "_") != "" ||
		strings.HasPrefix(s, "_TemplateReference__") || strings.HasPrefix(s, "gi_frame") || strings.HasPrefix(s, "f_globals") ||
		strings.HasPrefix(s, "f_builtins") || s == "func_globals" || s == "im_func"
}

// jinjaNext returns the next token and the bytes it takes; a length without a
// token is skipped space.
func jinjaNext(s string) (jinjaToken, int) {
	switch c := s[0]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		return jinjaToken{}, 0
	case c == '"' || c == '\'':
		return jinjaString(s)
	case nameByte(c) && (c < '0' || c > '9'):
		n := 1
		for n < len(s) && nameByte(s[n]) {
			n++
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
