package tensorfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// An Array is the header of a NumPy .npy file.
type Array struct {
	Tensor
	Major, Minor byte   // of the format
	Descr        string // as the header writes it
	ItemSize     int64  // bytes of one element; 0 for objects
	Fortran      bool   // the first axis varies fastest
	HasObject    bool   // loading the data means to run a pickle; then Length reaches to the end of the file
	Trailing     int64  // bytes after the array; NumPy ignores them
}

const npyMagic = "\x93NUMPY"

// npyMaxHeader bounds the literal. Numbers and shapes take a hundred bytes;
// records with thousands of fields stay below this.
const npyMaxHeader = 1 << 20

// ParseNPY reads the header of a NumPy file of that size, format versions 1 to
// 3. An array of objects is no error, because a scanner wants to look at its
// pickle; see HasObject. Types that hold no plain numbers have DType [Opaque].
// Errors are [*Error] or come from r.
func ParseNPY(r io.ReaderAt, size int64) (*Array, error) {
	a := &Array{}
	text, at, err := a.header(r, size)
	if err != nil {
		return nil, err
	}
	v, err := parseLiteral(text, at)
	if err != nil {
		return nil, err
	}
	if err := a.fill(v, text, at); err != nil {
		return nil, err
	}
	a.Offset = at + int64(len(text))
	rest := size - a.Offset
	if a.HasObject {
		a.Length = rest
		return a, nil
	}
	n, ok := elements(a.Shape)
	if !ok || a.ItemSize > 0 && n > (1<<62)/a.ItemSize {
		return nil, malformed(at, BadShape, "shape %v overflows", a.Shape)
	}
	a.Length = n * a.ItemSize
	if a.Length > rest {
		return nil, malformed(size, Truncated, "shape %v takes %d bytes, %d follow the header", a.Shape, a.Length, rest)
	}
	a.Trailing = rest - a.Length
	return a, nil
}

// header returns the literal and its offset.
func (a *Array) header(r io.ReaderAt, size int64) ([]byte, int64, error) {
	var prefix [12]byte
	n := min(size, int64(len(prefix)))
	if _, err := readFull(r, prefix[:n], 0); err != nil {
		return nil, 0, err
	}
	if n < 10 || string(prefix[:6]) != npyMagic {
		return nil, 0, malformed(0, BadHeader, "no NumPy file")
	}
	a.Major, a.Minor = prefix[6], prefix[7]
	at, length := int64(10), int64(binary.LittleEndian.Uint16(prefix[8:]))
	switch {
	case a.Minor != 0 || a.Major < 1 || a.Major > 3:
		return nil, 0, &Error{Offset: 6, Class: ErrUnsupported, Msg: fmt.Sprintf("format version %d.%d", a.Major, a.Minor)}
	case a.Major > 1 && n < 12:
		return nil, 0, malformed(size, Truncated, "the file ends inside its header")
	case a.Major > 1:
		at, length = 12, int64(binary.LittleEndian.Uint32(prefix[8:]))
	}
	if length > size-at {
		return nil, 0, malformed(8, Truncated, "header of %d bytes, %d follow", length, size-at)
	}
	if length > npyMaxHeader {
		return nil, 0, &Error{Offset: 8, Fault: TooLarge, Class: ErrLimit, Msg: fmt.Sprintf("header of %d bytes, the limit is %d", length, npyMaxHeader)}
	}
	text := make([]byte, length)
	_, err := readFull(r, text, at)
	return text, at, err
}

func (a *Array) fill(v *literal, text []byte, at int64) error {
	if v.kind != dictLiteral {
		return malformed(at, BadHeader, "the header is no dict")
	}
	var descr, fortran, shape *literal
	for i := range v.keys {
		val := &v.items[i]
		switch v.keys[i] {
		case "descr":
			descr = val
		case "fortran_order":
			fortran = val
		case "shape":
			shape = val
		default:
			return malformed(at+int64(val.start), BadHeader, "unknown key %q", v.keys[i])
		}
	}
	if descr == nil || fortran == nil || shape == nil {
		return malformed(at, BadHeader, "descr, fortran_order or shape is missing")
	}
	if fortran.kind != boolLiteral {
		return malformed(at+int64(fortran.start), BadHeader, "fortran_order is neither True nor False")
	}
	a.Fortran = fortran.n == 1
	if shape.kind != tupleLiteral || len(shape.items) > maxRank {
		return malformed(at+int64(shape.start), BadShape, "shape is no tuple of at most %d numbers", maxRank)
	}
	a.Shape = make([]int64, len(shape.items))
	for i := range shape.items {
		d := &shape.items[i]
		if d.kind != intLiteral || d.n < 0 {
			return malformed(at+int64(d.start), BadShape, "a dimension is no natural number")
		}
		a.Shape[i] = d.n
	}
	a.Descr = string(text[descr.start:descr.end])
	if descr.kind != stringLiteral {
		size, err := a.record(descr, at)
		a.DType, a.ItemSize = Opaque, size
		if a.HasObject {
			a.DType, a.ItemSize = Object, 0
		}
		return err
	}
	f, ok := parseField(descr.text)
	if !ok {
		return malformed(at+int64(descr.start), BadDType, "unknown type %q", descr.text)
	}
	a.DType, a.ItemSize, a.BigEndian = f.dtype, f.size, f.bigEndian
	a.HasObject = f.dtype == Object
	return nil
}

// maxItem bounds the bytes of one element, so that sums of fields cannot
// overflow.
const maxItem = 1 << 40

// record is the size of a record type: a list of (name, type) or (name, type,
// shape), where a type may be a list again and a name a (title, name) pair.
func (a *Array) record(v *literal, at int64) (int64, error) {
	bad := func(v *literal) (int64, error) {
		return 0, malformed(at+int64(v.start), BadDType, "no type of a record")
	}
	if v.kind == stringLiteral {
		f, ok := parseField(v.text)
		if !ok {
			return bad(v)
		}
		a.HasObject = a.HasObject || f.dtype == Object
		return f.size, nil
	}
	if v.kind == tupleLiteral && len(v.items) == 2 { // (type, shape)
		return a.subarray(&v.items[0], &v.items[1], at)
	}
	if v.kind != listLiteral {
		return bad(v)
	}
	var total int64
	for i := range v.items {
		field := &v.items[i]
		if field.kind != tupleLiteral || len(field.items) < 2 || len(field.items) > 3 {
			return bad(field)
		}
		if k := field.items[0].kind; k != stringLiteral && k != tupleLiteral {
			return bad(field)
		}
		var size int64
		var err error
		if len(field.items) == 3 {
			size, err = a.subarray(&field.items[1], &field.items[2], at)
		} else {
			size, err = a.record(&field.items[1], at)
		}
		if err != nil {
			return 0, err
		}
		if total += size; total > maxItem {
			return bad(v)
		}
	}
	return total, nil
}

func (a *Array) subarray(typ, shape *literal, at int64) (int64, error) {
	size, err := a.record(typ, at)
	if err != nil {
		return 0, err
	}
	dims := shape.items
	if shape.kind == intLiteral {
		dims = []literal{*shape}
	} else if shape.kind != tupleLiteral {
		return 0, malformed(at+int64(shape.start), BadShape, "the shape of a field is no tuple")
	}
	for i := range dims {
		d := &dims[i]
		if d.kind != intLiteral || d.n < 0 || d.n > 0 && size > maxItem/d.n {
			return 0, malformed(at+int64(d.start), BadShape, "bad shape of a field")
		}
		size *= d.n
	}
	return size, nil
}

type field struct {
	dtype     DType
	size      int64
	bigEndian bool
}

var numbers = map[string]DType{
	"b1": Bool, "i1": I8, "i2": I16, "i4": I32, "i8": I64, "u1": U8, "u2": U16, "u4": U32, "u8": U64,
	"f2": F16, "f4": F32, "f8": F64, "c8": C64, "c16": C128,
}

// parseField reads an array-protocol type string such as "<f4", as NumPy
// writes them: with its byte order. "=" and a missing order mean the order of
// the machine that reads, so they are refused.
func parseField(s string) (field, bool) {
	if len(s) < 2 {
		return field{}, false
	}
	order, kind := s[0], s[1]
	if order != '<' && order != '>' && order != '|' {
		return field{}, false
	}
	if kind == 'O' {
		return field{dtype: Object}, len(s) == 2 || s[2:] == "8" || s[2:] == "4"
	}
	if d, ok := numbers[s[1:]]; ok {
		size := d.Bits() / 8
		return field{d, size, order == '>'}, order != '|' || size == 1
	}
	digits := s[2:]
	if kind == 'M' || kind == 'm' { // "M8[ns]"
		if len(digits) == 0 || digits[0] != '8' {
			return field{}, false
		}
		unit := digits[1:]
		ok := unit == "" || len(unit) > 2 && len(unit) < 16 && unit[0] == '[' && unit[len(unit)-1] == ']'
		return field{dtype: Opaque, size: 8, bigEndian: order == '>'}, ok
	}
	n, err := strconv.ParseUint(digits, 10, 40)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return field{}, false
	}
	size := int64(n)
	switch kind {
	case 'S', 'V', 'a':
	case 'U':
		size *= 4
	case 'f', 'c': // long doubles: their layout is the machine's
		if size != 12 && size != 16 && size != 24 && size != 32 {
			return field{}, false
		}
	default:
		return field{}, false
	}
	return field{dtype: Opaque, size: size, bigEndian: order == '>'}, size <= maxItem
}

type literalKind uint8

const (
	noneLiteral literalKind = iota
	boolLiteral
	intLiteral
	stringLiteral
	tupleLiteral
	listLiteral
	dictLiteral
)

// A literal is a node of the Python literal in the header.
type literal struct {
	kind       literalKind
	n          int64    // of an int; 1 for True
	text       string   // of a string
	keys       []string // of a dict
	items      []literal
	start, end int
}

// literalDepth bounds nesting; NumPy writes one level for each nested record.
const literalDepth = 16

// literalParser reads the subset of Python literals that NumPy writes: dicts
// with string keys, tuples, lists, strings, integers, True, False and None.
type literalParser struct {
	text []byte
	pos  int
	at   int64
}

func parseLiteral(text []byte, at int64) (*literal, error) {
	p := &literalParser{text: text, at: at}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(text) {
		return nil, p.errorf("more text after the header's dict")
	}
	return &v, nil
}

func (p *literalParser) errorf(format string, args ...any) error {
	return malformed(p.at+int64(p.pos), BadHeader, format, args...)
}

func (p *literalParser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\n', '\t', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *literalParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *literalParser) value(depth int) (literal, error) {
	p.space()
	v := literal{start: p.pos}
	if depth > literalDepth {
		return v, p.errorf("nested deeper than %d", literalDepth)
	}
	var err error
	switch c := p.peek(); {
	case c == '{':
		v.kind = dictLiteral
		err = p.dict(&v, depth)
	case c == '[':
		v.kind = listLiteral
		_, err = p.sequence(&v, ']', depth)
	case c == '(':
		v.kind = tupleLiteral
		comma := false
		comma, err = p.sequence(&v, ')', depth)
		if err == nil && len(v.items) == 1 && !comma { // only parentheses
			inner := v.items[0]
			inner.start, inner.end = v.start, p.pos
			return inner, nil
		}
	case c == '\'' || c == '"':
		v.kind = stringLiteral
		v.text, err = p.string(c)
	case c == '-' || '0' <= c && c <= '9':
		v.kind = intLiteral
		v.n, err = p.int()
	default:
		err = p.word(&v)
	}
	v.end = p.pos
	return v, err
}

func (p *literalParser) word(v *literal) error {
	start := p.pos
	for p.pos < len(p.text) && 'A' <= p.text[p.pos]&^0x20 && p.text[p.pos]&^0x20 <= 'Z' {
		p.pos++
	}
	switch string(p.text[start:p.pos]) {
	case "True":
		v.kind, v.n = boolLiteral, 1
	case "False":
		v.kind = boolLiteral
	case "None":
	default:
		p.pos = start
		return p.errorf("no literal of a NumPy header")
	}
	return nil
}

func (p *literalParser) dict(v *literal, depth int) error {
	p.pos++
	for {
		p.space()
		if p.peek() == '}' {
			p.pos++
			return nil
		}
		c := p.peek()
		if c != '\'' && c != '"' {
			return p.errorf("expected a key")
		}
		start := p.pos
		key, err := p.string(c)
		if err != nil {
			return err
		}
		if slices.Contains(v.keys, key) {
			p.pos = start
			return p.errorf("duplicate key %q", key)
		}
		if len(v.keys) == 16 { // NumPy writes three
			return p.errorf("too many keys")
		}
		p.space()
		if p.peek() != ':' {
			return p.errorf("expected %q", ':')
		}
		p.pos++
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		v.keys, v.items = append(v.keys, key), append(v.items, item)
		if _, err := p.comma('}'); err != nil {
			return err
		}
	}
}

// sequence reports whether a comma follows the last item.
func (p *literalParser) sequence(v *literal, closing byte, depth int) (comma bool, err error) {
	p.pos++
	for {
		p.space()
		if p.peek() == closing {
			p.pos++
			return comma, nil
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return false, err
		}
		v.items = append(v.items, item)
		if comma, err = p.comma(closing); err != nil {
			return false, err
		}
	}
}

// comma consumes a comma, or leaves the closing byte.
func (p *literalParser) comma(closing byte) (bool, error) {
	p.space()
	switch p.peek() {
	case ',':
		p.pos++
		return true, nil
	case closing:
		return false, nil
	}
	return false, p.errorf("expected %q or %q", ',', closing)
}

func (p *literalParser) int() (int64, error) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	digits := p.pos
	for '0' <= p.peek() && p.peek() <= '9' {
		p.pos++
	}
	n, err := strconv.ParseInt(string(p.text[start:p.pos]), 10, 64)
	if err != nil || p.pos-digits > 1 && p.text[digits] == '0' {
		p.pos = start
		return 0, p.errorf("no integer of 64 bits")
	}
	if p.peek() == 'L' { // Python 2 wrote longs so
		p.pos++
	}
	return n, nil
}

func (p *literalParser) string(quote byte) (string, error) {
	p.pos++
	var buf []byte
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == quote:
			p.pos++
			if !utf8.Valid(buf) { // versions 1 and 2 are Latin-1
				return latin1(buf), nil
			}
			return string(buf), nil
		case c == '\\':
			r, n := p.escape()
			if n == 0 {
				return "", p.errorf("unknown escape in a string")
			}
			buf = utf8.AppendRune(buf, r)
			p.pos += n
		case c < 0x20:
			return "", p.errorf("control character %#02x in a string", c)
		default:
			buf = append(buf, c)
			p.pos++
		}
	}
	return "", p.errorf("the header ends inside a string")
}

func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// escape decodes the escapes that Python's repr writes; n is 0 for others.
func (p *literalParser) escape() (r rune, n int) {
	rest := p.text[p.pos+1:]
	if len(rest) == 0 {
		return 0, 0
	}
	digits := 0
	switch rest[0] {
	case '\\', '\'', '"':
		return rune(rest[0]), 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return 0, 0
	}
	if len(rest) < 1+digits {
		return 0, 0
	}
	v, err := strconv.ParseUint(string(rest[1:1+digits]), 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, 0
	}
	return rune(v), 2 + digits
}
