// Package deflate64 decodes Deflate64, method 9 of zip: Deflate with a window of
// 64 KiB, two more distance codes, and a longest match of 65 538 bytes instead of
// 258. The format is in PKWARE's APPNOTE and, for what both share, in RFC 1951.
//
// A reader holds about 70 KiB, whatever the stream says.
package deflate64

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrMalformed is wrapped where a stream is no Deflate64.
var ErrMalformed = errors.New("malformed Deflate64 stream")

const (
	window     = 1 << 16
	maxBits    = 15 // of a code
	literals   = 288
	distances  = 32
	endOfBlock = 256
)

// Bases and extra bits of lengths from code 257 on, and of distances. Deflate has
// 258 without extra bits for code 285.
var (
	lengthBase  = [...]uint32{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 3}
	lengthExtra = [...]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 16}
)

func distance(code uint32) (base uint32, extra uint) {
	if code < 4 {
		return code + 1, 0
	}
	extra = uint(code/2 - 1)
	return (2+code&1)<<extra + 1, extra
}

// A Reader decodes one stream.
type Reader struct {
	in    io.ByteReader
	bits  uint32
	count uint // of bits

	win  [window]byte
	pos  int    // in win, where the next byte goes
	full bool   // win was filled once
	out  []byte // decoded and not yet read, within win

	last   bool // the block is the last one
	state  func(*Reader) error
	stored uint32 // bytes left of a stored block
	length uint32 // bytes left of a match
	back   uint32
	lit    table
	dist   table
	err    error
}

// NewReader decodes from r. It may read ahead unless r is an io.ByteReader.
func NewReader(r io.Reader) *Reader {
	in, ok := r.(io.ByteReader)
	if !ok {
		in = bufio.NewReader(r)
	}
	return &Reader{in: in, state: (*Reader).header}
}

func malformed(what string) error { return fmt.Errorf("%s: %w", what, ErrMalformed) }

// Read decodes up to the end of the last block, where it returns io.EOF.
func (d *Reader) Read(p []byte) (int, error) {
	for {
		if len(d.out) > 0 {
			n := copy(p, d.out)
			d.out = d.out[n:]
			return n, nil
		}
		if d.err != nil || len(p) == 0 {
			return 0, d.err
		}
		if d.pos == window {
			d.pos, d.full = 0, true
		}
		start := d.pos
		d.err = d.state(d)
		d.out = d.win[start:d.pos]
	}
}

// need makes n bits available, at most 24.
func (d *Reader) need(n uint) error {
	for d.count < n {
		b, err := d.in.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		d.bits |= uint32(b) << d.count
		d.count += 8
	}
	return nil
}

func (d *Reader) take(n uint) (uint32, error) {
	if err := d.need(n); err != nil {
		return 0, err
	}
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.count -= n
	return v, nil
}

func (d *Reader) header() error {
	if d.last {
		return io.EOF
	}
	v, err := d.take(3)
	if err != nil {
		return err
	}
	d.last = v&1 != 0
	switch v >> 1 {
	case 0:
		return d.startStored()
	case 1:
		d.lit.build(fixedLiterals())
		d.dist.build(slices.Repeat([]uint8{5}, distances))
	case 2:
		if err := d.dynamic(); err != nil {
			return err
		}
	default:
		return malformed("type of a block")
	}
	d.state = (*Reader).symbols
	return nil
}

func fixedLiterals() []uint8 {
	return slices.Concat(slices.Repeat([]uint8{8}, 144), slices.Repeat([]uint8{9}, 112), slices.Repeat([]uint8{7}, 24), slices.Repeat([]uint8{8}, 8))
}

func (d *Reader) startStored() error {
	if _, err := d.take(d.count % 8); err != nil {
		return err
	}
	n, err := d.take(16)
	if err != nil {
		return err
	}
	not, err := d.take(16)
	if err != nil {
		return err
	}
	if n != not^0xffff {
		return malformed("size of a stored block")
	}
	d.stored, d.state = n, (*Reader).copyStored
	return nil
}

func (d *Reader) copyStored() error {
	for d.stored > 0 && d.pos < window {
		b, err := d.take(8)
		if err != nil {
			return err
		}
		d.win[d.pos] = byte(b)
		d.pos++
		d.stored--
	}
	if d.stored == 0 {
		d.state = (*Reader).header
	}
	return nil
}

// order is in which the lengths of the code for lengths come.
var order = [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (d *Reader) dynamic() error {
	v, err := d.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, nlen := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > literals {
		return malformed("number of codes")
	}
	var lens [literals + distances]uint8
	for _, at := range order[:nlen] {
		n, err := d.take(3)
		if err != nil {
			return err
		}
		lens[at] = uint8(n)
	}
	if !d.lit.build(lens[:len(order)]) {
		return malformed("code of lengths")
	}
	clear(lens[:])
	for i := 0; i < nlit+ndist; {
		sym, err := d.lit.symbol(d)
		if err != nil {
			return err
		}
		if sym < 16 {
			lens[i] = uint8(sym)
			i++
			continue
		}
		run, value, extra := 3, uint8(0), uint(3)
		switch sym {
		case 16:
			if extra = 2; i == 0 {
				return malformed("repeated length")
			}
			value = lens[i-1]
		case 18:
			run, extra = 11, 7
		}
		n, err := d.take(extra)
		if err != nil {
			return err
		}
		if run += int(n); run > nlit+ndist-i {
			return malformed("repeated length")
		}
		for range run {
			lens[i] = value
			i++
		}
	}
	if !d.dist.build(lens[nlit:nlit+ndist]) || !d.lit.build(lens[:nlit]) {
		return malformed("code")
	}
	return nil
}

// symbols decodes until the window is full or the block ends.
func (d *Reader) symbols() error {
	for d.pos < window {
		if d.length > 0 {
			d.copyMatch()
			continue
		}
		sym, err := d.lit.symbol(d)
		switch {
		case err != nil:
			return err
		case sym < endOfBlock:
			d.win[d.pos] = byte(sym)
			d.pos++
		case sym == endOfBlock:
			d.state = (*Reader).header
			return nil
		default:
			if err := d.match(sym - endOfBlock - 1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Reader) match(code uint32) error {
	if code >= uint32(len(lengthBase)) {
		return malformed("length")
	}
	n, err := d.take(lengthExtra[code])
	if err != nil {
		return err
	}
	sym, err := d.dist.symbol(d)
	if err != nil {
		return err
	}
	base, extra := distance(sym)
	more, err := d.take(extra)
	if err != nil {
		return err
	}
	d.length, d.back = lengthBase[code]+n, base+more
	if d.back > window || !d.full && d.back > uint32(d.pos) {
		return malformed("distance before the start")
	}
	return nil
}

func (d *Reader) copyMatch() {
	from := (d.pos - int(d.back)) & (window - 1)
	for d.length > 0 && d.pos < window {
		d.win[d.pos] = d.win[from]
		from = (from + 1) & (window - 1)
		d.pos++
		d.length--
	}
}

// A table decodes a canonical code bit by bit over the numbers of codes of each
// length; quick serves short codes at once.
type table struct {
	counts [maxBits + 1]uint16
	syms   [literals]uint16 // in order of their codes
	quick  [1 << quickBits]uint16
}

const quickBits = 9

// build sets the code of these lengths and reports whether it is one: not over
// full, and complete unless it has one code only.
func (t *table) build(lens []uint8) bool {
	clear(t.counts[:])
	clear(t.quick[:])
	for _, n := range lens {
		t.counts[n]++
	}
	t.counts[0] = 0
	left, codes := 1, 0
	var next, at [maxBits + 1]uint16
	for n := 1; n <= maxBits; n++ {
		left = left<<1 - int(t.counts[n])
		if left < 0 {
			return false
		}
		codes += int(t.counts[n])
		if n < maxBits {
			at[n+1] = at[n] + t.counts[n]
			next[n+1] = (next[n] + t.counts[n]) << 1
		}
	}
	if left > 0 && codes > 1 {
		return false
	}
	for sym, n := range lens {
		if n == 0 {
			continue
		}
		t.syms[at[n]] = uint16(sym)
		at[n]++
		code := next[n]
		next[n]++
		if n > quickBits {
			continue
		}
		reversed := uint16(0)
		for i := range n {
			reversed |= code >> i & 1 << (n - 1 - i)
		}
		for i := int(reversed); i < len(t.quick); i += 1 << n {
			t.quick[i] = uint16(sym)<<4 | uint16(n)
		}
	}
	return true
}

func (t *table) symbol(d *Reader) (uint32, error) {
	if d.count < quickBits {
		d.peek()
	}
	if q := t.quick[d.bits&(1<<quickBits-1)]; q != 0 && uint(q&15) <= d.count {
		d.bits >>= q & 15
		d.count -= uint(q & 15)
		return uint32(q >> 4), nil
	}
	code, first, at := uint32(0), uint32(0), uint32(0)
	for n := 1; n <= maxBits; n++ {
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}
		code |= b
		if c := uint32(t.counts[n]); code-first < c {
			return uint32(t.syms[at+code-first]), nil
		} else {
			at += c
			first = (first + c) << 1
			code <<= 1
		}
	}
	return 0, malformed("code")
}

// peek reads ahead as far as the input goes.
func (d *Reader) peek() {
	for d.count <= 16 {
		b, err := d.in.ReadByte()
		if err != nil {
			return // whoever needs the bits meets the error again
		}
		d.bits |= uint32(b) << d.count
		d.count += 8
	}
}
