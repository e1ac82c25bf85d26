// Package strictjson reads JSON the way a security tool has to: what two
// parsers could read differently is an error.
//
// [Parse] refuses duplicate keys at every depth, invalid UTF-8, lone
// surrogates, trailing bytes, and input beyond its limits, and keeps numbers as
// they were written. [Decode] fills Go structs from the tree: names match
// exactly, a case variant of a known name is an error, and an unknown name is
// an error or is reported, as the caller asks. [ParseYAML] reduces YAML to the
// same tree.
package strictjson

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A Kind is the kind of a [Value].
type Kind uint8

// Kinds. The zero value is Null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"null", "boolean", "number", "string", "array", "object"}

func (k Kind) String() string { return kindNames[k] }

// A Value is a node of the tree. Text holds a string's characters, a number as
// written, or "true" and "false".
type Value struct {
	Kind    Kind
	Text    string
	Items   []Value
	Members []Member
	Offset  int // in bytes; 0 throughout a tree read from YAML
	Line    int // from 1
	Column  int // in bytes, from 1
}

// A Member is one name and value of an object, in the order of the input.
type Member struct {
	Name  string
	Value Value
}

// Get returns the member's value, or nil when v is no object or has no such
// member.
func (v *Value) Get(name string) *Value {
	if v == nil {
		return nil
	}
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i].Value
		}
	}
	return nil
}

// Limits bound what is read. A zero field means its default.
type Limits struct {
	Bytes int // 64 MiB
	Depth int // 64
	Nodes int // 4 million values
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 64 << 20
	}
	if l.Depth == 0 {
		l.Depth = 64
	}
	if l.Nodes == 0 {
		l.Nodes = 4 << 20
	}
	return l
}

// An Error says what is wrong with the input, and where.
type Error struct {
	Offset, Line, Column int
	Msg                  string
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.Msg
	case e.Offset == 0 && (e.Line > 1 || e.Column > 1): // of YAML, whose parser tells lines only
		return fmt.Sprintf("line %d column %d: %s", e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("line %d column %d (offset %d): %s", e.Line, e.Column, e.Offset, e.Msg)
}

// Parse reads exactly one JSON text. The tree shares no memory with data.
func Parse(data []byte, lim Limits) (*Value, error) { return ParseEach(data, lim, nil, nil) }

// ParseEach is [Parse] for a text of which one array is long: the array that is
// reached by the names of path from the outermost object. Its items are given
// to each in their order, and are not kept: in the tree the array is empty. The
// item and what it holds, but for strings, are valid until each returns. The
// first error of each ends parsing and is returned as it is. Where path leads
// nowhere, or to something else, each is not called.
func ParseEach(data []byte, lim Limits, path []string, each func(*Value) error) (*Value, error) {
	return (&parser{route: path, each: each}).parse(data, lim)
}

// ParseWords is [Parse] for who has no use for numbers: members that are numbers
// are checked, and are kept only under names that keep reports. Items of arrays
// are all kept. It is meant for the tables that stand beside a configuration.
func ParseWords(data []byte, lim Limits, keep func(name string) bool) (*Value, error) {
	return (&parser{keep: keep}).parse(data, lim)
}

func (p *parser) parse(data []byte, lim Limits) (v *Value, err error) {
	err = p.parsed(data, lim, func() error {
		root, err := p.value(0)
		v = &root
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// parsed reads one text, whose value the function reads.
func (p *parser) parsed(data []byte, lim Limits, value func() error) error {
	p.data, p.lim, p.line = data, lim.withDefaults(), 1
	if len(data) > p.lim.Bytes {
		return &Error{Msg: fmt.Sprintf("%d bytes, the limit is %d", len(data), p.lim.Bytes)}
	}
	p.space()
	if err := value(); err != nil {
		return err
	}
	p.space()
	if p.pos < len(data) {
		return p.errorf("more data after the value")
	}
	return nil
}

type parser struct {
	data      []byte
	pos       int
	line      int
	lineStart int
	nodes     int
	lim       Limits

	each  func(*Value) error
	route []string          // from the next value to the array for each; nil if it does not lie there
	spare []Member          // memory for the members of the next object, if it comes now
	names map[string]string // of members, each once

	members []Member // of the objects that have begun, and
	values  []Value  // of the arrays, until their number is known
	given   []string // the names of the members, and of those that are not kept

	keep  func(name string) bool // numbers to be kept; nil for all
	tells func(text []byte) bool // see Plain
	seed  maphash.Seed           // once an object was wide
}

func (p *parser) errorf(format string, args ...any) error {
	return &Error{p.pos, p.line, p.pos - p.lineStart + 1, fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case '\n':
			p.line++
			p.lineStart = p.pos + 1
		case ' ', '\t', '\r':
		default:
			return
		}
		p.pos++
	}
}

func (p *parser) value(depth int) (Value, error) {
	v := Value{Offset: p.pos, Line: p.line, Column: p.pos - p.lineStart + 1}
	if err := p.room(depth); err != nil {
		return v, err
	}
	var err error
	route, spare := p.route, p.spare
	p.route, p.spare = nil, nil
	switch c := p.data[p.pos]; {
	case c == '{':
		v.Kind = Object
		v.Members, err = p.object(depth, route, spare)
	case c == '[':
		v.Kind = Array
		if route != nil && len(route) == 0 {
			err = p.items(depth)
		} else {
			v.Items, err = p.array(depth)
		}
	case c == '"':
		v.Kind = String
		v.Text, err = p.string()
	case c == '-' || '0' <= c && c <= '9':
		v.Kind = Number
		n := 0
		n, err = p.scalar()
		v.Text = string(p.data[p.pos-n : p.pos])
	case c == 't':
		v.Kind, v.Text = Bool, "true"
		_, err = p.scalar()
	case c == 'f':
		v.Kind, v.Text = Bool, "false"
		_, err = p.scalar()
	default:
		_, err = p.scalar()
	}
	return v, err
}

// room takes one value and tells whether there is one.
func (p *parser) room(depth int) error {
	if p.nodes++; p.nodes > p.lim.Nodes {
		return p.errorf("more than %d values", p.lim.Nodes)
	}
	if depth > p.lim.Depth {
		return p.errorf("nested deeper than %d", p.lim.Depth)
	}
	if p.pos == len(p.data) {
		return p.errorf("the input ends where a value is expected")
	}
	return nil
}

// scalar reads what is neither text nor holds anything, of n bytes.
func (p *parser) scalar() (n int, err error) {
	at := p.pos
	switch c := p.data[p.pos]; {
	case c == '-' || '0' <= c && c <= '9':
		err = p.number()
	case c == 't':
		err = p.literal("true")
	case c == 'f':
		err = p.literal("false")
	case c == 'n':
		err = p.literal("null")
	default:
		err = p.errorf("%q does not start a value", c)
	}
	return p.pos - at, err
}

func (p *parser) literal(word string) error {
	if len(p.data)-p.pos < len(word) || string(p.data[p.pos:p.pos+len(word)]) != word {
		return p.errorf("expected %s", word)
	}
	p.pos += len(word)
	return nil
}

func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) object(depth int, route []string, members []Member) ([]Member, error) {
	p.pos++
	var seen []slot // made only for objects too wide to search
	p.space()
	if p.peek() == '}' {
		p.pos++
		return nil, nil
	}
	base, from := len(p.members), len(p.given)
	defer func() { p.members, p.given = p.members[:base], p.given[:from] }()
	for {
		if p.peek() != '"' {
			return nil, p.errorf("expected a member name")
		}
		at := p.pos
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if err := p.named(from, &seen, at, name); err != nil {
			return nil, err
		}
		if len(route) > 0 && route[0] == name {
			p.route = route[1:]
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if v.Kind != Number || p.keep == nil || p.keep(name) {
			p.members = append(p.members, Member{name, v})
		}
		more, err := p.next('}')
		if err != nil || !more {
			return take(&p.members, base, members), err
		}
	}
}

// named takes the name of a member, which stands at, up to its value.
func (p *parser) named(from int, seen *[]slot, at int, name string) error {
	if p.duplicate(from, seen, name) {
		p.pos = at // a name spans no lines
		return p.errorf("duplicate name %q", name)
	}
	p.space()
	if p.peek() != ':' {
		return p.errorf("expected %q after name %q", ':', name)
	}
	p.pos++
	p.space()
	return nil
}

// duplicate adds a name to those of an object, given[from:], and reports whether
// it was there. A wide object has a table of them, by their hash.
func (p *parser) duplicate(from int, seen *[]slot, name string) bool {
	const narrow = 16
	given := p.given[from:]
	p.given = append(p.given, name)
	if len(given) < narrow {
		return slices.Contains(given, name)
	}
	if 2*len(given) >= len(*seen) { // and at first, when there is none
		if p.seed == (maphash.Seed{}) {
			p.seed = maphash.MakeSeed()
		}
		old := *seen
		*seen = make([]slot, max(2*len(old), 4*narrow))
		if old == nil {
			for i, n := range given {
				put(*seen, given, n, slot{uint32(maphash.String(p.seed, n)), uint32(i) + 1})
			}
		}
		for _, s := range old {
			if s.nth > 0 {
				put(*seen, given, given[s.nth-1], s)
			}
		}
	}
	return put(*seen, given, name, slot{uint32(maphash.String(p.seed, name)), uint32(len(given)) + 1})
}

// A slot of a table says which name of the object is there, counted from 1.
type slot struct{ hash, nth uint32 }

// put puts a name into a table, whose length is a power of two, and reports
// whether it was there.
func put(seen []slot, given []string, name string, s slot) bool {
	mask := uint32(len(seen) - 1)
	for i := s.hash & mask; ; i = (i + 1) & mask {
		switch t := seen[i]; {
		case t.nth == 0:
			seen[i] = s
			return false
		case t.hash == s.hash && given[t.nth-1] == name:
			return true
		}
	}
}

// name reads the name of a member. Texts have few of them, many times.
func (p *parser) name() (string, error) {
	const few = 64
	if end := bytes.IndexByte(p.data[p.pos+1:min(len(p.data), p.pos+1+few)], '"'); end >= 0 {
		if name, ok := p.names[string(p.data[p.pos+1:p.pos+1+end])]; ok {
			p.pos += end + 2
			return name, nil
		}
	}
	at := p.pos
	name, err := p.string()
	if err == nil && len(name) < few && p.pos-at == len(name)+2 && len(p.names) < few { // no escapes
		if p.names == nil {
			p.names = make(map[string]string)
		}
		p.names[name] = name
	}
	return name, err
}

// items is array for the one that is not kept.
func (p *parser) items(depth int) error {
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil
	}
	var members []Member
	for {
		p.spare = members[:0]
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if err := p.each(&v); err != nil {
			return err
		}
		if v.Kind == Object {
			members = v.Members
		}
		more, err := p.next(']')
		if err != nil || !more {
			return err
		}
	}
}

func (p *parser) array(depth int) ([]Value, error) {
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil, nil
	}
	base := len(p.values)
	defer func() { p.values = p.values[:base] }()
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.values = append(p.values, v)
		more, err := p.next(']')
		if err != nil || !more {
			return take(&p.values, base, nil), err
		}
	}
}

// take copies the upper part of a stack, with memory for it if there is some.
// The whole of a high stack is taken as it is: copying would need as much again.
func take[T any](stack *[]T, base int, into []T) []T {
	if base == 0 && cap(into) == 0 && len(*stack) > 1<<10 {
		all := *stack
		*stack = nil
		return all
	}
	return append(into, (*stack)[base:]...)
}

// next consumes a comma or the closing byte and reports whether more follows.
func (p *parser) next(closing byte) (more bool, err error) {
	p.space()
	switch p.peek() {
	case ',':
		p.pos++
		p.space()
		return true, nil
	case closing:
		p.pos++
		return false, nil
	}
	return false, p.errorf("expected %q or %q", ',', closing)
}

func (p *parser) number() error {
	if p.peek() == '-' {
		p.pos++
	}
	switch c := p.peek(); {
	case c == '0':
		p.pos++
	case '1' <= c && c <= '9':
		p.digits()
	default:
		return p.errorf("expected a digit")
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return p.errorf("expected a digit after the point")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return p.errorf("expected a digit in the exponent")
		}
	}
	return nil
}

func (p *parser) digits() bool {
	start := p.pos
	for '0' <= p.peek() && p.peek() <= '9' {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) string() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.data) { // most strings have no escape: one copy
		switch c := p.data[p.pos]; {
		case c == '"':
			s := p.data[start:p.pos]
			if !utf8.Valid(s) {
				return "", p.invalidUTF8(start)
			}
			p.pos++
			return string(s), nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.errorf("control character %#02x in a string", c)
		}
		p.pos++
	}
	return "", p.errorf("the input ends inside a string")
}

func (p *parser) escaped(start int) (string, error) {
	buf := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			if !utf8.Valid(buf) {
				return "", p.invalidUTF8(start)
			}
			p.pos++
			return string(buf), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, r)
		case c < 0x20:
			return "", p.errorf("control character %#02x in a string", c)
		default:
			buf = append(buf, c)
			p.pos++
		}
	}
	return "", p.errorf("the input ends inside a string")
}

func (p *parser) invalidUTF8(start int) error {
	for p.pos = start; p.pos < len(p.data); {
		r, n := utf8.DecodeRune(p.data[p.pos:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		p.pos += n
	}
	return p.errorf("invalid UTF-8")
}

func (p *parser) escape() (rune, error) {
	if p.pos+1 >= len(p.data) {
		return 0, p.errorf("the input ends inside a string")
	}
	switch c := p.data[p.pos+1]; c {
	case '"', '\\', '/':
		p.pos += 2
		return rune(c), nil
	case 'b', 'f', 'n', 'r', 't':
		p.pos += 2
		return map[byte]rune{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[c], nil
	case 'u':
		r, ok := p.hex4(p.pos + 2)
		if !ok {
			return 0, p.errorf("expected four hexadecimal digits after \\u")
		}
		if !utf16.IsSurrogate(r) {
			p.pos += 6
			return r, nil
		}
		if p.pos+7 < len(p.data) && p.data[p.pos+6] == '\\' && p.data[p.pos+7] == 'u' {
			if low, ok := p.hex4(p.pos + 8); ok {
				if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
					p.pos += 12
					return full, nil
				}
			}
		}
		return 0, p.errorf("lone surrogate \\u%04x", r)
	default:
		return 0, p.errorf("unknown escape %q", c)
	}
}

func (p *parser) hex4(at int) (rune, bool) {
	if at+4 > len(p.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.data[at:at+4]), 16, 16)
	return rune(n), err == nil
}
