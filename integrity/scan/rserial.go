package scan

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// An rReader reads the primitive values of a serialisation of R in its three
// encodings: big-endian ("X"), the writer's own order ("B"), and text ("A").
type rReader struct {
	*forward
	order binary.ByteOrder // nil for text
}

// rNA is the missing integer.
const rNA = -1 << 31

func (r *rReader) int() (int32, error) {
	if r.order != nil {
		v, err := r.u32(r.order)
		return int32(v), err
	}
	at := r.off
	w, err := r.word()
	if err != nil {
		return 0, err
	}
	if w == "NA" {
		return rNA, nil
	}
	n, err := strconv.ParseInt(w, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("offset %d: %q in place of a number", at, excerpt(w, 40))
	}
	return int32(n), nil
}

// maxRWord bounds a word of the text encoding: a number, or two for a complex.
const maxRWord = 128

// word takes the next word of text.
func (r *rReader) word() (string, error) {
	c, err := r.space()
	if err != nil {
		return "", err
	}
	var w []byte
	for ; err == nil && c > ' '; c, err = r.byte() {
		if w = append(w, c); len(w) > maxRWord {
			return "", fmt.Errorf("offset %d: a word of more than %d bytes", r.off, maxRWord)
		}
	}
	if err != nil && !isEOF(err) {
		return "", err
	}
	return string(w), nil
}

// space passes over white space and takes the byte behind it.
func (r *rReader) space() (byte, error) {
	for {
		c, err := r.byte()
		if err != nil || c > ' ' {
			return c, err
		}
	}
}

// length reads the length of a vector.
func (r *rReader) length() (uint64, error) {
	n, err := r.int()
	if err != nil {
		return 0, err
	}
	if n != -1 {
		if n < 0 {
			return 0, fmt.Errorf("offset %d: a vector of length %d", r.off, n)
		}
		return uint64(n), nil
	}
	hi, err := r.int() // a long vector
	if err != nil {
		return 0, err
	}
	lo, err := r.int()
	if err != nil {
		return 0, err
	}
	if hi < 0 || hi > 1<<16 {
		return 0, fmt.Errorf("offset %d: a vector of length %d times 4 GiB", r.off, hi)
	}
	return uint64(hi)<<32 | uint64(uint32(lo)), nil
}

// numbers passes over n numbers of width bytes; as text each is words of them.
func (r *rReader) numbers(n uint64, width int64, words int) error {
	if r.order != nil {
		if err := r.room(n, width); err != nil {
			return err
		}
		return r.skip(n * uint64(width))
	}
	if err := r.room(n, int64(2*words)-1); err != nil {
		return err
	}
	for range n * uint64(words) {
		if _, err := r.word(); err != nil {
			return err
		}
	}
	return nil
}

// chars takes a text of n bytes and keeps the first of them.
func (r *rReader) chars(n uint64, keep int64) (string, error) {
	if r.order != nil {
		return r.text(n, keep)
	}
	if err := r.room(n, 1); err != nil {
		return "", err
	}
	var s []byte
	for i := range n {
		c, err := r.byte()
		if i == 0 && err == nil && c <= ' ' {
			c, err = r.space()
		}
		if err == nil && c == '\\' {
			c, err = r.escape()
		}
		if err != nil {
			return "", err
		}
		if int64(len(s)) < keep {
			s = append(s, c)
		}
	}
	return string(s), nil
}

func (r *rReader) escape() (byte, error) {
	c, err := r.byte()
	if err != nil || c < '0' || c > '7' {
		for i, e := range [...]byte{'n', 't', 'v', 'b', 'r', 'f', 'a'} {
			if c == e {
				return "\n\t\v\b\r\f\a"[i], err
			}
		}
		return c, err
	}
	v := c - '0'
	for range 2 {
		p, err := r.peek()
		if err != nil || p < '0' || p > '7' {
			break
		}
		if _, err := r.byte(); err != nil {
			return 0, err
		}
		v = v<<3 | (p - '0')
	}
	return v, nil
}

// rStart finds the encoding in the first bytes of a serialisation, and where it
// stands: files of several objects have a mark before it.
func rStart(head []byte) (order binary.ByteOrder, at int64, ok bool) {
	for _, m := range [...]string{"RDX2\n", "RDX3\n", "RDA2\n", "RDA3\n", "RDB2\n", "RDB3\n"} {
		if len(head) > len(m) && string(head[:len(m)]) == m {
			at = int64(len(m))
		}
	}
	p := head[at:]
	if len(p) < 6 || p[1] != '\n' {
		return nil, 0, false
	}
	version := uint32(0)
	switch p[0] {
	case 'X':
		order, version = binary.BigEndian, binary.BigEndian.Uint32(p[2:])
	case 'B':
		if order, version = binary.LittleEndian, binary.LittleEndian.Uint32(p[2:]); version > 1<<24 {
			order, version = binary.BigEndian, binary.BigEndian.Uint32(p[2:])
		}
	case 'A':
		if p[3] == '\n' {
			version = uint32(p[2] - '0')
		}
	}
	return order, at, version == 2 || version == 3
}
