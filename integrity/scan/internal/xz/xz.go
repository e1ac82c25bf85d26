// Package xz reads the container of the .xz format (specification 1.2.1): its
// streams, blocks, checks and index. The LZMA2 data inside is left to a module.
//
// It exists beside that module's own reader because a block states the size of
// a dictionary that is allocated before anything is decoded: here the caller
// grants it. It also tells where the streams end, so that what follows them is
// not lost.
package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun/integrity/scan/internal/filter"
)

// Magic starts every stream.
const Magic = "\xfd7zXZ\x00"

// ErrCorrupt is wrapped for data that breaks the format.
var ErrCorrupt = errors.New("corrupt xz data")

// ErrUnsupported is wrapped for filters other than LZMA2, x86 and delta.
var ErrUnsupported = errors.New("unsupported xz filter")

// A Source is what a [Reader] reads from; nothing is read ahead of need.
type Source interface {
	io.Reader
	io.ByteReader
	Peek(n int) ([]byte, error)
}

// A Reader decodes one or more concatenated streams. It ends, without an
// error, where something else follows.
type Reader struct {
	src   counter
	grant func(dict int64) error

	inside bool // a stream has begun
	check  byte // its kind of check
	flags  [2]byte
	end    int64 // behind the last whole stream

	body    io.Reader // of the block being read, or nil
	sum     hash.Hash
	from    int64 // offset of the block header
	dataAt  int64
	decoded uint64
	claims  [2]uint64 // packed and decoded size by the header, plus one; 0 when not stated

	records uint64
	listed  hash.Hash // of the records that the index has to repeat
}

// NewReader starts at the first stream. grant is called with the size of each
// dictionary before it is allocated; its error ends the reading.
func NewReader(src Source, grant func(dict int64) error) *Reader {
	return &Reader{src: counter{Source: src}, grant: grant}
}

// End is how many bytes the streams that were read whole take.
func (r *Reader) End() int64 { return r.end }

// Read decodes.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.body != nil {
			n, err := r.body.Read(p)
			r.sum.Write(p[:n])
			r.decoded += uint64(n)
			if errors.Is(err, io.EOF) {
				r.body = nil
				err = r.endBlock()
			}
			if n > 0 || err != nil {
				return n, unexpected(err)
			}
			continue
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to the next block. It returns io.EOF behind the last stream.
func (r *Reader) next() error {
	if !r.inside {
		more, err := r.startStream()
		if err != nil || !more {
			if err == nil {
				err = io.EOF
			}
			return err
		}
	}
	r.from = r.src.n
	size, err := r.src.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		r.inside = false
		return unexpected(r.endStream())
	}
	return unexpected(r.startBlock(int(size)))
}

func (r *Reader) startStream() (bool, error) {
	if r.end > 0 {
		// Streams are padded to four bytes; what follows may be no stream.
		pad, _ := r.src.Peek(4)
		for len(pad) == 4 && binary.LittleEndian.Uint32(pad) == 0 {
			if err := r.src.discard(4); err != nil {
				return false, err
			}
			pad, _ = r.src.Peek(4)
		}
		if head, _ := r.src.Peek(len(Magic)); string(head) != Magic {
			return false, nil
		}
	}
	var h [12]byte
	if err := r.src.full(h[:]); err != nil {
		return false, unexpected(err)
	}
	if string(h[:6]) != Magic || h[6] != 0 || h[7] > 15 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return false, fmt.Errorf("stream header: %w", ErrCorrupt)
	}
	r.inside, r.check, r.flags = true, h[7], [2]byte{h[6], h[7]}
	r.records, r.listed = 0, sha256.New()
	return true, nil
}

// checkSizes is the length of each kind of check.
var checkSizes = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (r *Reader) startBlock(size int) error {
	h := make([]byte, (size+1)*4)
	h[0] = byte(size)
	if err := r.src.full(h[1:]); err != nil {
		return err
	}
	body, sum := h[:len(h)-4], binary.LittleEndian.Uint32(h[len(h)-4:])
	if crc32.ChecksumIEEE(body) != sum || body[1]&0x3c != 0 {
		return fmt.Errorf("block header: %w", ErrCorrupt)
	}
	rest := bytes.NewReader(body[2:])
	r.claims = [2]uint64{}
	for i, bit := range []byte{0x40, 0x80} {
		if body[1]&bit != 0 {
			v, err := vli(rest)
			if err != nil {
				return err
			}
			r.claims[i] = v + 1
		}
	}
	before, err := filters(rest, int(body[1]&3))
	if err != nil {
		return err
	}
	id, props, err := filterFlags(rest)
	if err != nil {
		return err
	}
	if id != lzma2 {
		return fmt.Errorf("filter %#x: %w", id, ErrUnsupported)
	}
	if len(props) != 1 {
		return fmt.Errorf("properties of the filter: %w", ErrCorrupt)
	}
	dict, err := lzma.DecodeDictCap(props[0])
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	dict = max(dict, lzma.MinDictCap)
	dict = Window(r.src, dict)
	if err := r.grant(dict); err != nil {
		return err
	}
	switch r.check {
	case 0:
		r.sum = none{}
	case 1:
		r.sum = crc32.NewIEEE()
	case 4:
		r.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		r.sum = sha256.New()
	default:
		r.sum = none{} // kinds that nobody has defined are skipped by their size
	}
	r.dataAt, r.decoded = r.src.n, 0
	if r.body, err = (lzma.Reader2Config{DictCap: int(dict)}).NewReader2(&r.src); err != nil {
		return err
	}
	for _, undo := range slices.Backward(before) {
		r.body = undo(r.body)
	}
	return nil
}

// Numbers of filters.
const (
	delta = 0x03
	x86   = 0x04
	lzma2 = 0x21
)

// filters reads n filters that stand before the compression.
func filters(rest *bytes.Reader, n int) (undo []func(io.Reader) io.Reader, err error) {
	for range n {
		id, props, err := filterFlags(rest)
		switch {
		case err != nil:
			return nil, err
		case id == delta && len(props) == 1:
			undo = append(undo, func(r io.Reader) io.Reader { return filter.NewDelta(r, int(props[0])+1) })
		case id == x86 && len(bytes.Trim(props, "\x00")) == 0: // they are where the code starts
			undo = append(undo, filter.NewX86)
		default:
			return nil, fmt.Errorf("filter %#x: %w", id, ErrUnsupported)
		}
	}
	return undo, nil
}

func filterFlags(rest *bytes.Reader) (id uint64, props []byte, err error) {
	id, err1 := vli(rest)
	n, err2 := vli(rest)
	if err := errors.Join(err1, err2); err != nil {
		return 0, nil, err
	}
	if n > uint64(rest.Len()) {
		return 0, nil, fmt.Errorf("properties of a filter: %w", ErrCorrupt)
	}
	props = make([]byte, n)
	_, err = io.ReadFull(rest, props)
	return id, props, err
}

// Window is how much of a dictionary of that size LZMA2 data can make use of. It
// is less where all of the data is in sight and decodes to less: chunks say what
// they decode to, and a decoder holds them to it.
func Window(src interface{ Peek(n int) ([]byte, error) }, dict int64) int64 {
	decoded := int64(0)
	for at := 0; ; {
		p, _ := src.Peek(at + 5)
		if len(p) <= at || p[at] != 0 && len(p) < at+5 {
			return dict
		}
		control := p[at]
		switch {
		case control == 0:
			return min(dict, max(decoded, lzma.MinDictCap))
		case control >= 0x80:
			decoded += int64(control&0x1f)<<16 + int64(binary.BigEndian.Uint16(p[at+1:])) + 1
			at += 5 + int(binary.BigEndian.Uint16(p[at+3:])) + 1
			if control >= 0xc0 {
				at++ // properties
			}
		default:
			n := int(binary.BigEndian.Uint16(p[at+1:])) + 1
			decoded += int64(n)
			at += 3 + n
		}
	}
}

// endBlock reads the padding and the check of a block.
func (r *Reader) endBlock() error {
	packed := uint64(r.src.n - r.dataAt)
	if r.claims[0] > 0 && r.claims[0]-1 != packed || r.claims[1] > 0 && r.claims[1]-1 != r.decoded {
		return fmt.Errorf("sizes of a block: %w", ErrCorrupt)
	}
	for (r.src.n-r.dataAt)%4 != 0 {
		if b, err := r.src.ReadByte(); err != nil || b != 0 {
			return errors.Join(err, fmt.Errorf("padding of a block: %w", ErrCorrupt))
		}
	}
	stated := make([]byte, checkSizes[r.check])
	if err := r.src.full(stated); err != nil {
		return err
	}
	if got := r.sum.Sum(nil); len(got) > 0 {
		if r.check == 1 || r.check == 4 { // stored little-endian
			for i := range len(got) / 2 {
				got[i], got[len(got)-1-i] = got[len(got)-1-i], got[i]
			}
		}
		if !bytes.Equal(got, stated) {
			return fmt.Errorf("check of a block: %w", ErrCorrupt)
		}
	}
	r.record(r.listed, uint64(r.dataAt-r.from)+packed+uint64(len(stated)), r.decoded)
	r.records++
	return nil
}

func (r *Reader) record(h hash.Hash, sizes ...uint64) {
	var b []byte
	for _, v := range sizes {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	h.Write(b)
}

// endStream reads the index, whose first byte is read already, and the footer.
func (r *Reader) endStream() error {
	start := r.src.n - 1
	r.src.crc = crc32.NewIEEE()
	r.src.crc.Write([]byte{0})
	defer func() { r.src.crc = nil }()
	n, err := vli(&r.src)
	if err != nil {
		return err
	}
	if n != r.records {
		return fmt.Errorf("the index lists %d blocks of %d: %w", n, r.records, ErrCorrupt)
	}
	again := sha256.New()
	for range n {
		packed, err1 := vli(&r.src)
		decoded, err2 := vli(&r.src)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		r.record(again, packed, decoded)
	}
	if !bytes.Equal(again.Sum(nil), r.listed.Sum(nil)) {
		return fmt.Errorf("the index misstates the blocks: %w", ErrCorrupt)
	}
	for (r.src.n-start)%4 != 0 {
		if b, err := r.src.ReadByte(); err != nil || b != 0 {
			return errors.Join(err, fmt.Errorf("padding of the index: %w", ErrCorrupt))
		}
	}
	sum := r.src.crc.Sum32()
	r.src.crc = nil
	size := r.src.n - start + 4
	var f [16]byte
	if err := r.src.full(f[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(f[:]) != sum || le.Uint32(f[4:]) != crc32.ChecksumIEEE(f[8:14]) ||
		(int64(le.Uint32(f[8:]))+1)*4 != size || [2]byte(f[12:14]) != r.flags || string(f[14:]) != "YZ" {
		return fmt.Errorf("stream footer: %w", ErrCorrupt)
	}
	r.end = r.src.n
	return nil
}

// vli reads an integer of at most nine bytes in its only encoding.
func vli(r io.ByteReader) (uint64, error) {
	var v uint64
	for i := range 9 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				break
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("integer: %w", ErrCorrupt)
}

// unexpected is err, except that the end of the source is no regular end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A counter counts what was consumed, and sums it up on demand.
type counter struct {
	Source
	n   int64
	crc hash.Hash32
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Source.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.Source.ReadByte()
	if err == nil {
		c.n++
		if c.crc != nil {
			c.crc.Write([]byte{b})
		}
	}
	return b, err
}

func (c *counter) full(p []byte) error {
	_, err := io.ReadFull(c, p)
	return err
}

func (c *counter) discard(n int) error {
	_, err := io.CopyN(io.Discard, c, int64(n))
	return err
}

// none is the check of streams that have none.
type none struct{ hash.Hash }

func (none) Write(p []byte) (int, error) { return len(p), nil }
func (none) Sum([]byte) []byte           { return nil }
