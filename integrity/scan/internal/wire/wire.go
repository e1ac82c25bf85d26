// Package wire walks protobuf messages in place: field by field over an
// [io.ReaderAt], so that a message with gigabytes of tensor data costs a small
// window and no schema has to be generated from somebody else's file.
package wire

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is wrapped by errors about the encoding.
var ErrMalformed = errors.New("malformed protobuf message")

// Types of a [Field], short names for those of protowire.
const (
	Varint  = protowire.VarintType
	Fixed32 = protowire.Fixed32Type
	Fixed64 = protowire.Fixed64Type
	Bytes   = protowire.BytesType
)

// A Field is one field of a message.
type Field struct {
	Num   int32
	Type  protowire.Type
	Value uint64 // of Varint, Fixed32 and Fixed64
	At    int64  // offset of the tag
	Off   int64  // offset of the payload of Bytes
	Len   int64  // length of the payload of Bytes
}

// End is the offset behind the payload of Bytes.
func (f Field) End() int64 { return f.Off + f.Len }

// Is reports whether the field has that number and type.
func (f Field) Is(num int32, typ protowire.Type) bool { return f.Num == num && f.Type == typ }

const (
	window  = 16 << 10
	longest = 20 // bytes of a tag and a varint
)

// A Reader reads one file. It is not safe for concurrent use.
type Reader struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	at   int64 // of buf
}

// NewReader reads r within size.
func NewReader(r io.ReaderAt, size int64) *Reader { return &Reader{r: r, size: size} }

// peek returns up to n bytes at off, fewer only at the end of the file. They
// are valid until the next call.
func (d *Reader) peek(off, n int64) ([]byte, error) {
	n = min(n, d.size-off)
	if off < d.at || off+n > d.at+int64(len(d.buf)) {
		if cap(d.buf) == 0 {
			d.buf = make([]byte, min(window, d.size))
		}
		d.buf = d.buf[:min(int64(cap(d.buf)), d.size-off)]
		d.at = off
		m, err := d.r.ReadAt(d.buf, off)
		if m < len(d.buf) {
			d.buf = d.buf[:0]
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	i := off - d.at
	return d.buf[i : i+n], nil
}

// Text returns the payload of a field, at most max bytes of it, and whether it
// was cut.
func (d *Reader) Text(f Field, max int64) (s string, cut bool, err error) {
	n := min(f.Len, max)
	p := make([]byte, n)
	if n == 0 {
		return "", f.Len > 0, nil
	}
	m, err := d.r.ReadAt(p, f.Off)
	if int64(m) == n {
		return string(p), f.Len > max, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return "", false, err
}

// Walk yields the fields between off and end in order and stops at the first
// error of yield. Groups, which no format here uses, are malformed.
func (d *Reader) Walk(off, end int64, yield func(Field) error) error {
	if off < 0 || end > d.size || off > end {
		return fmt.Errorf("offset %d: range to %d of %d bytes: %w", off, end, d.size, ErrMalformed)
	}
	for off < end {
		p, err := d.peek(off, min(longest, end-off))
		if err != nil {
			return err
		}
		f, n, err := parse(p, off)
		if err != nil {
			return err
		}
		if f.Type == Bytes && f.Len > end-f.Off {
			return fmt.Errorf("offset %d: field %d of %d bytes, %d are left: %w", off, f.Num, f.Len, end-f.Off, ErrMalformed)
		}
		off += n
		if f.Type == Bytes {
			off = f.End()
		}
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// Head yields the fields of a message of which only the start is at hand, as
// long as their tags stand there and yield returns true. A field may reach
// beyond head, but not beyond size. It reports whether nothing was malformed.
func Head(head []byte, size int64, yield func(Field) bool) bool {
	for off := int64(0); off < int64(len(head)); {
		rest := head[off:]
		f, n, err := parse(rest[:min(longest, len(rest))], off)
		if err != nil {
			return size > int64(len(head)) && len(rest) < longest // cut by the head
		}
		if f.Type == Bytes && f.Len > size-f.Off {
			return false
		}
		if !yield(f) {
			return true
		}
		off += n
		if f.Type == Bytes {
			off = f.End()
		}
	}
	return true
}

// parse reads tag and value, or tag and length, at the start of p.
func parse(p []byte, off int64) (Field, int64, error) {
	num, typ, n := protowire.ConsumeTag(p)
	if n < 0 {
		return Field{}, 0, fmt.Errorf("offset %d: no field tag: %w", off, ErrMalformed)
	}
	f := Field{Num: int32(num), Type: typ, At: off}
	rest, m := p[n:], 0
	switch typ {
	case Varint, Bytes:
		f.Value, m = protowire.ConsumeVarint(rest)
	case Fixed64:
		f.Value, m = protowire.ConsumeFixed64(rest)
	case Fixed32:
		var v uint32
		v, m = protowire.ConsumeFixed32(rest)
		f.Value = uint64(v)
	default:
		m = -1
	}
	if m < 0 {
		return f, 0, fmt.Errorf("offset %d: field %d of wire type %d is cut or unknown: %w", off, num, typ, ErrMalformed)
	}
	total := int64(n + m)
	if typ == Bytes {
		if f.Value > 1<<62 {
			return f, 0, fmt.Errorf("offset %d: field %d of %d bytes: %w", off, num, f.Value, ErrMalformed)
		}
		f.Off, f.Len, f.Value = off+total, int64(f.Value), 0
	}
	return f, total, nil
}
