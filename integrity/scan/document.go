package scan

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// A docWalker reads one document of objects and arrays, JSON or UBJSON, and
// keeps nothing but the path to where it is: models run to gigabytes of
// numbers, and a tree of them would take a hundred times that.
type docWalker struct {
	*forward
	path []string // keys; "" for the items of an array

	value func(docValue) error
	list  func(n uint64) error // after the last item of an array
	close func() error         // after the last member of an object
	skips func() bool          // whether the items of an array of numbers are of no interest; may be nil
}

// A docValue is a string, number or word.
type docValue struct {
	kind byte   // 's' string, 'i' whole number, 'f' other number, 'w' true, false or null
	text string // of a string: its first docText bytes
	num  int64
	off  int64
}

const (
	docDepth = 200
	docText  = 16 << 10
	docKey   = 256 // bytes of a key that are kept
)

func (d *docWalker) enter(key string) error {
	if len(d.path) == docDepth {
		return fmt.Errorf("offset %d: nested more than %d deep", d.off, docDepth)
	}
	d.path = append(d.path, key)
	return nil
}

func (d *docWalker) leave() { d.path = d.path[:len(d.path)-1] }

// at reports whether the innermost keys are these.
func (d *docWalker) at(keys ...string) bool {
	if len(keys) > len(d.path) {
		return false
	}
	for i, k := range keys {
		if d.path[len(d.path)-len(keys)+i] != k {
			return false
		}
	}
	return true
}

// json reads a value. It is more lenient than the standard, because loaders
// are: numbers are not checked, and NaN and Infinity are words.
func (d *docWalker) json() error {
	c, err := d.blank()
	if err != nil {
		return err
	}
	at := d.off - 1
	switch {
	case c == '{':
		return d.jsonObject()
	case c == '[':
		return d.jsonArray()
	case c == '"':
		s, err := d.jsonString(docText)
		if err != nil {
			return err
		}
		return d.value(docValue{kind: 's', text: s, off: at})
	case c == '-' || c >= '0' && c <= '9':
		return d.jsonNumber(c, at)
	case isLetter(c):
		for {
			if c, err := d.peek(); err != nil || !isLetter(c) {
				return d.value(docValue{kind: 'w', off: at})
			}
			if _, err := d.byte(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("offset %d: %q starts no JSON value", at, c)
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// blank takes the next byte that is no white space.
func (d *docWalker) blank() (byte, error) {
	for {
		c, err := d.byte()
		if err != nil || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, err
		}
	}
}

func (d *docWalker) jsonObject() error {
	for first := true; ; first = false {
		c, err := d.blank()
		if err != nil {
			return err
		}
		if c == '}' {
			return d.close()
		}
		if !first {
			if c != ',' {
				return fmt.Errorf("offset %d: %q after a member of an object", d.off-1, c)
			}
			if c, err = d.blank(); err != nil {
				return err
			}
		}
		if c != '"' {
			return fmt.Errorf("offset %d: %q in place of a name", d.off-1, c)
		}
		key, err := d.jsonString(docKey)
		if err != nil {
			return err
		}
		if c, err := d.blank(); err != nil || c != ':' {
			return fmt.Errorf("offset %d: no colon after a name", d.off)
		}
		if err := d.enter(key); err != nil {
			return err
		}
		if err := d.json(); err != nil {
			return err
		}
		d.leave()
	}
}

func (d *docWalker) jsonArray() error {
	for n := uint64(0); ; n++ {
		if c, err := d.blank(); err != nil {
			return err
		} else if c == ']' {
			return d.list(n)
		} else if n == 0 {
			if err := d.unread(); err != nil {
				return err
			}
		} else if c != ',' {
			return fmt.Errorf("offset %d: %q after an item of an array", d.off-1, c)
		}
		if err := d.enter(""); err != nil {
			return err
		}
		if err := d.json(); err != nil {
			return err
		}
		d.leave()
	}
}

func (d *docWalker) unread() error {
	d.off--
	return d.r.UnreadByte()
}

// jsonString takes a string behind its opening quote and keeps the first bytes.
func (d *docWalker) jsonString(keep int) (string, error) {
	var s []byte
	for {
		c, err := d.byte()
		if err != nil {
			return "", err
		}
		switch {
		case c == '"':
			return string(s), nil
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			if len(s) < keep {
				s = utf8.AppendRune(s, r)
			}
		case len(s) < keep:
			s = append(s, c)
		}
	}
}

func (d *docWalker) escape() (rune, error) {
	c, err := d.byte()
	if err != nil {
		return 0, err
	}
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		var r rune
		for range 4 {
			c, err := d.byte()
			if err != nil {
				return 0, err
			}
			n := hexDigit(c)
			if n < 0 {
				return 0, fmt.Errorf("offset %d: %q in an escape", d.off-1, c)
			}
			r = r<<4 | rune(n)
		}
		return r, nil // halves of a pair stay unknown characters
	}
	return 0, fmt.Errorf("offset %d: escape %q", d.off-1, c)
}

// hexDigit is the value of a hexadecimal digit, -1 when it is none.
func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func (d *docWalker) jsonNumber(c byte, at int64) error {
	v := docValue{kind: 'i', off: at}
	negative, digits := c == '-', 0
	if !negative {
		v.num, digits = int64(c-'0'), 1
	}
	for {
		c, err := d.peek()
		if err != nil && !isEOF(err) {
			return err
		}
		switch {
		case err == nil && c >= '0' && c <= '9':
			v.num = v.num*10 + int64(c-'0')
			digits++
		case err == nil && (isLetter(c) || c == '.' || c == '+' || c == '-'):
			v.kind = 'f'
		default:
			if negative {
				v.num = -v.num
			}
			if digits > 18 || digits == 0 {
				v.kind = 'f'
			}
			return d.value(v)
		}
		if _, err := d.byte(); err != nil {
			return err
		}
	}
}

// ubjWidth is how many bytes a fixed-size value of UBJSON has.
func ubjWidth(typ byte) (width int64, ok bool) {
	switch typ {
	case 'i', 'U', 'C':
		return 1, true
	case 'I':
		return 2, true
	case 'l', 'd':
		return 4, true
	case 'L', 'D':
		return 8, true
	case 'Z', 'N', 'T', 'F':
		return 0, true
	}
	return 0, false
}

// ubj reads a value of UBJSON, of the given type or, when that is 0, of the
// type that stands before it. Numbers are big-endian.
func (d *docWalker) ubj(typ byte) error {
	at := d.off
	for typ == 0 || typ == 'N' {
		var err error
		if typ, err = d.byte(); err != nil {
			return err
		}
	}
	switch typ {
	case '{':
		return d.ubjObject()
	case '[':
		return d.ubjArray()
	case 'S', 'H':
		n, err := d.ubjLength()
		if err != nil {
			return err
		}
		s, err := d.text(n, docText)
		if err != nil {
			return err
		}
		return d.value(docValue{kind: 's', text: s, off: at})
	}
	v, err := d.ubjNumber(typ)
	if err != nil {
		return err
	}
	v.off = at
	return d.value(v)
}

func (d *docWalker) ubjNumber(typ byte) (v docValue, err error) {
	width, ok := ubjWidth(typ)
	if !ok {
		return v, fmt.Errorf("offset %d: UBJSON type %q", d.off, typ)
	}
	b, err := d.take(int(width))
	if err != nil {
		return v, err
	}
	v.kind = 'i'
	switch typ {
	case 'i':
		v.num = int64(int8(b[0]))
	case 'U', 'C':
		v.num = int64(b[0])
	case 'I':
		v.num = int64(int16(binary.BigEndian.Uint16(b)))
	case 'l':
		v.num = int64(int32(binary.BigEndian.Uint32(b)))
	case 'L':
		v.num = int64(binary.BigEndian.Uint64(b))
	case 'd', 'D':
		v.kind = 'f'
	default:
		v.kind = 'w'
	}
	return v, nil
}

// ubjLength reads the length of a string or container.
func (d *docWalker) ubjLength() (uint64, error) {
	at := d.off
	typ, err := d.byte()
	if err != nil {
		return 0, err
	}
	v, err := d.ubjNumber(typ)
	if err != nil {
		return 0, err
	}
	if v.kind != 'i' || v.num < 0 {
		return 0, fmt.Errorf("offset %d: a length of type %q, or below zero", at, typ)
	}
	return uint64(v.num), nil
}

// ubjHead reads the optional type and count of a container; counted is false
// when it ends at a bracket instead.
func (d *docWalker) ubjHead() (typ byte, n uint64, counted bool, err error) {
	c, err := d.peek()
	if err != nil {
		return 0, 0, false, err
	}
	if c == '$' {
		b, err := d.take(2)
		if err != nil {
			return 0, 0, false, err
		}
		typ = b[1]
		if c, err = d.peek(); err != nil {
			return 0, 0, false, err
		}
		if c != '#' {
			return 0, 0, false, fmt.Errorf("offset %d: a typed container without a count", d.off)
		}
	}
	if c != '#' {
		return 0, 0, false, nil
	}
	if _, err := d.byte(); err != nil {
		return 0, 0, false, err
	}
	if n, err = d.ubjLength(); err != nil {
		return 0, 0, false, err
	}
	width, fixed := ubjWidth(typ)
	if fixed && width == 0 {
		// Items without bytes of their own would make any count fit.
		return 0, 0, false, fmt.Errorf("offset %d: a container of type %q", d.off, typ)
	}
	return typ, n, true, d.room(n, max(width, 1))
}

func (d *docWalker) ubjObject() error {
	typ, n, counted, err := d.ubjHead()
	if err != nil {
		return err
	}
	for i := uint64(0); !counted || i < n; i++ {
		c, err := d.peek()
		if err != nil {
			return err
		}
		if !counted && c == '}' {
			d.byte()
			break
		}
		length, err := d.ubjLength()
		if err != nil {
			return err
		}
		key, err := d.text(length, docKey)
		if err != nil {
			return err
		}
		if err := d.enter(key); err != nil {
			return err
		}
		if err := d.ubj(typ); err != nil {
			return err
		}
		d.leave()
	}
	return d.close()
}

func (d *docWalker) ubjArray() error {
	typ, n, counted, err := d.ubjHead()
	if err != nil {
		return err
	}
	if width, _ := ubjWidth(typ); width > 0 && d.skips != nil && d.skips() {
		if err := d.skip(n * uint64(width)); err != nil {
			return err
		}
		return d.list(n)
	}
	if err := d.enter(""); err != nil {
		return err
	}
	count := uint64(0)
	for ; !counted || count < n; count++ {
		if !counted {
			c, err := d.peek()
			if err != nil {
				return err
			}
			if c == ']' {
				d.byte()
				break
			}
		}
		if err := d.ubj(typ); err != nil {
			return err
		}
	}
	d.leave()
	return d.list(count)
}
