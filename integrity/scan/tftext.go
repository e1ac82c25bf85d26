package scan

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// tfTextFormat reads the operators of TensorFlow graphs in the text form of
// protocol buffers (.pbtxt): of every message called node or node_def, wherever
// it stands. Facts: "framework", "operators" the number of nodes.
type tfTextFormat struct{}

func (tfTextFormat) Info() Info {
	return Info{ID: "tensorflow-text", Within: []string{"text"}, Operators: []string{"tensorflow"}, Rules: []prerun.Rule{ruleTFFile, ruleTFPython}}
}

func (tfTextFormat) Match(p Probe) Match {
	if p.Size == 0 || binaryIn(p.Head) {
		return No
	}
	if p.Ext() == ".pbtxt" {
		return Maybe
	}
	head := strings.TrimLeft(string(p.Head), " \t\r\n")
	for strings.HasPrefix(head, "#") {
		_, head, _ = strings.Cut(head, "\n")
		head = strings.TrimLeft(head, " \t\r\n")
	}
	for _, start := range []string{"node", "library", "versions", "graph_def", "meta_graphs", "meta_info_def", "saved_model_schema_version"} {
		if rest, ok := strings.CutPrefix(head, start); ok && rest != "" && strings.Contains(" \t\r\n:{<", rest[:1]) {
			return Maybe
		}
	}
	return No
}

// A textToken is one token of the text form. Kind is 'a' for a word or number,
// '"' for strings, which are joined, or the character itself.
type textToken struct {
	kind byte
	text string // cut to what a name of an operator may have
	line int
}

const (
	textTokenMax = 200
	textDepth    = 10_000
)

// A textLexer splits text into tokens.
type textLexer struct {
	r    *bufio.Reader
	line int
	held *textToken // read ahead
}

func (l *textLexer) get() (byte, error) {
	c, err := l.r.ReadByte()
	if c == '\n' && err == nil {
		l.line++
	}
	return c, err
}

func (l *textLexer) unget(c byte) {
	if c == '\n' {
		l.line--
	}
	l.r.UnreadByte()
}

// next returns a token; adjacent strings are one.
func (l *textLexer) next() (textToken, error) {
	t, err := l.one()
	if err != nil || t.kind != '"' {
		return t, err
	}
	for {
		more, err := l.one()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		if more.kind != '"' {
			l.held = &more
			return t, nil
		}
		if len(t.text) < textTokenMax {
			t.text += more.text
		}
	}
}

func (l *textLexer) one() (textToken, error) {
	if t := l.held; t != nil {
		l.held = nil
		return *t, nil
	}
	for {
		c, err := l.get()
		if err != nil {
			return textToken{}, err
		}
		switch {
		case c == '#':
			for c != '\n' && err == nil {
				c, err = l.get()
			}
			if err != nil {
				return textToken{}, err
			}
		case c == '"' || c == '\'':
			return l.quoted(c)
		case word(c):
			return l.word(c)
		case c > ' ':
			return textToken{kind: c, line: l.line}, nil
		}
	}
}

func word(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '+'
}

func (l *textLexer) word(c byte) (textToken, error) {
	t := textToken{kind: 'a', line: l.line}
	text := make([]byte, 0, 24)
	var err error
	for ; err == nil && word(c); c, err = l.get() {
		if len(text) < textTokenMax {
			text = append(text, c)
		}
	}
	if err == nil {
		l.unget(c)
	}
	t.text = string(text)
	return t, nil
}

// quoted reads to the closing quote and undoes escapes.
func (l *textLexer) quoted(quote byte) (textToken, error) {
	t := textToken{kind: '"', line: l.line}
	text := make([]byte, 0, 24)
	for {
		c, err := l.get()
		switch {
		case err != nil:
			return t, fmt.Errorf("line %d: string without an end", t.line)
		case c == quote:
			t.text = string(text)
			return t, nil
		case c == '\n':
			return t, fmt.Errorf("line %d: string without an end", t.line)
		case c == '\\':
			s, err := l.escape()
			if err != nil {
				return t, fmt.Errorf("line %d: string without an end", t.line)
			}
			if len(text) < textTokenMax {
				text = append(text, s...)
			}
		case len(text) < textTokenMax:
			text = append(text, c)
		}
	}
}

func (l *textLexer) escape() (string, error) {
	c, err := l.get()
	if err != nil {
		return "", err
	}
	base, most := 16, 0
	digits := ""
	switch c {
	case 'x', 'X':
		most = 2
	case 'u':
		most = 4
	case 'U':
		most = 8
	case '0', '1', '2', '3', '4', '5', '6', '7':
		base, most, digits = 8, 3, string(c)
	case 'n', 'r', 't', 'a', 'b', 'f', 'v':
		return " ", nil // no name has one
	default:
		return string(c), nil
	}
	for len(digits) < most {
		d, err := l.get()
		if err != nil {
			return "", err
		}
		if _, err := strconv.ParseUint(string(d), base, 8); err != nil {
			l.unget(d)
			break
		}
		digits += string(d)
	}
	v, _ := strconv.ParseUint(digits, base, 32)
	if most > 3 {
		return string(rune(v)), nil
	}
	return string([]byte{byte(v)}), nil
}

func (tfTextFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	l := &textLexer{r: bufio.NewReaderSize(a.Section(0, a.Size), 64<<10), line: 1}
	nodes, err := tfText(ctx, l, out)
	switch {
	case nodes == 0 && err == nil:
		return fmt.Errorf("tensorflow-text: no nodes: %w", ErrNotFormat)
	case nodes == 0 && completenessOf(err) == Failed && a.Ext() != ".pbtxt":
		return fmt.Errorf("tensorflow-text: %w: %w", err, ErrNotFormat)
	case err != nil:
		return fmt.Errorf("tensorflow-text: %w", err)
	}
	out.Fact("framework", "tensorflow")
	out.Fact("operators", strconv.Itoa(nodes))
	out.Claim(0, a.Size)
	return nil
}

// tfText follows messages and lists by the name of their field, and reports
// operators. It takes more than the parser of protocol buffers does.
func tfText(ctx context.Context, l *textLexer, out *Sink) (nodes int, err error) {
	type level struct {
		field string
		list  bool
	}
	var path []level
	field := ""
	seen := make(map[string]bool)
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nodes, context.Cause(ctx)
		}
		t, err := l.next()
		if err == io.EOF {
			if len(path) > 0 {
				return nodes, fmt.Errorf("line %d: %d messages without an end", l.line, len(path))
			}
			return nodes, nil
		}
		if err != nil {
			return nodes, err
		}
		in := level{}
		if len(path) > 0 {
			in = path[len(path)-1]
		}
		switch t.kind {
		case 'a':
			field = t.text
		case '{', '<', '[':
			if in.list {
				field = in.field
			}
			if len(path) == textDepth {
				return nodes, fmt.Errorf("line %d: messages nest deeper than %d: %w", t.line, textDepth, ErrBudget)
			}
			path = append(path, level{field, t.kind == '['})
		case '}', '>', ']':
			if len(path) == 0 {
				return nodes, fmt.Errorf("line %d: %q that closes nothing", t.line, t.kind)
			}
			path = path[:len(path)-1]
		case '"':
			if field != "op" || in.field != "node" && in.field != "node_def" {
				continue
			}
			nodes++
			out.Operator(Operator{Kind: "tensorflow", Name: t.text, Location: prerun.Location{Line: t.line}})
			if rule, ok := tfOperators[t.text]; ok && !seen[t.text] {
				seen[t.text] = true
				out.report(rule, 0, prerun.Location{Line: t.line}, t.text, "operator %s", t.text)
			}
		}
	}
}
