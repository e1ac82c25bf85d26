// Package filter undoes what 7z and xz may do to content before they compress it.
package filter

import (
	"encoding/binary"
	"errors"
	"io"
)

// NewX86 undoes, on what r yields, the filter that stands before LZMA where the
// content may be machine code: it turns the relative targets of calls and jumps
// into absolute ones. The public domain LZMA SDK describes it.
func NewX86(r io.Reader) io.Reader { return &x86{r: r, last: -1, buf: make([]byte, 0, 32<<10)} }

type x86 struct {
	r    io.Reader
	buf  []byte // read
	done int    // of buf is final
	out  []byte // of that, not yet given away
	err  error

	pos  int64 // of buf[0] in the stream
	last int64 // of the last opcode looked at
	mask uint32
}

func (x *x86) Read(p []byte) (int, error) {
	for len(x.out) == 0 {
		if x.err != nil {
			return 0, x.err
		}
		x.fill()
	}
	n := copy(p, x.out)
	x.out = x.out[n:]
	return n, nil
}

// fill keeps the bytes that could not be decided, reads more and undoes them.
func (x *x86) fill() {
	keep := copy(x.buf, x.buf[x.done:])
	x.pos += int64(x.done)
	n, err := io.ReadFull(x.r, x.buf[keep:cap(x.buf)])
	x.buf = x.buf[:keep+n]
	x.done = x.undo()
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		x.err, x.done = err, len(x.buf)
	}
	x.out = x.buf[:x.done]
}

// The tables say for the opcodes seen in the three bytes before whether this
// one may be an instruction, and which byte of its operand would tell.
var (
	x86Allowed = [8]bool{true, true, true, false, true, false, false, false}
	x86Byte    = [8]uint32{0, 1, 2, 2, 3, 3, 3, 3}
)

func sign(b byte) bool { return b == 0 || b == 0xff }

// undo returns how many bytes of the buffer are final.
func (x *x86) undo() int {
	i := 0
	for ; i+5 <= len(x.buf); i++ {
		b := x.buf[i:]
		if b[0]&0xfe != 0xe8 {
			continue
		}
		if d := x.pos + int64(i) - x.last; d > 3 {
			x.mask = 0
		} else {
			x.mask = x.mask << (d - 1) & 7
		}
		x.last = x.pos + int64(i)
		skip := x.mask != 0 && (!x86Allowed[x.mask] || sign(b[4-x86Byte[x.mask]]))
		if skip || !sign(b[4]) {
			x.mask = x.mask<<1&7 | 1
			continue
		}
		at := uint32(x.pos) + uint32(i) + 5
		v := binary.LittleEndian.Uint32(b[1:])
		target := v - at
		for x.mask != 0 {
			shift := x86Byte[x.mask] * 8
			if !sign(byte(target >> (24 - shift))) {
				break
			}
			v = target ^ (1<<(32-shift) - 1)
			target = v - at
		}
		target &= 1<<25 - 1
		target |= -(target & (1 << 24))
		binary.LittleEndian.PutUint32(b[1:], target)
		i += 4
	}
	return i
}

// NewDelta undoes, on what r yields, the filter that stores differences of bytes
// at a distance.
func NewDelta(r io.Reader, distance int) io.Reader {
	return &delta{r: r, last: make([]byte, distance)}
}

type delta struct {
	r    io.Reader
	last []byte // a ring
	at   int
}

func (d *delta) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	for i := range p[:n] {
		p[i] += d.last[d.at]
		d.last[d.at] = p[i]
		if d.at++; d.at == len(d.last) {
			d.at = 0
		}
	}
	return n, err
}
