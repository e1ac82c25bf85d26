package scan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun/integrity/scan/internal/xz"
)

// errUnsupported is wrapped where content is well-formed as far as it can be
// told, but needs a codec, a key or more memory than this package gives: it is
// a gap and no fault of the file.
var errUnsupported = errors.New("not decoded")

// maxWindows bounds the dictionaries of all LZMA decoders that are open for one
// file at a time, nested ones included. One dictionary of 64 MiB is the most
// that the levels of the usual programs ask for.
const maxWindows = 128 << 20

// maxWindow is the most that one decoder of the old LZMA format is given.
const maxWindow = 64 << 20

// A window is the dictionary memory that one decoder holds.
type window struct {
	run *run
	n   int64
}

// maxGranted bounds the dictionaries that are made for one file one after the
// other beyond the bytes that were read and decoded: each has to be cleared,
// however little is decoded with it.
const maxGranted = 512 << 20

// grant replaces the decoder's dictionary by one of n bytes.
func (w *window) grant(n int64) error {
	if w.run.granted += n; w.run.granted > maxGranted+w.run.used[Bytes].Load() {
		return fmt.Errorf("dictionaries of %d bytes one after the other, for less content: %w", w.run.granted, errUnsupported)
	}
	if w.run.windows-w.n+n > maxWindows {
		return fmt.Errorf("a dictionary of %d bytes; all together may have %d: %w", n, int64(maxWindows), errUnsupported)
	}
	w.run.windows += n - w.n
	w.n = n
	return nil
}

func (w *window) Close() error {
	w.run.windows -= w.n
	w.n = 0
	return nil
}

// A windowed is a decoder that gives its dictionary back when it is closed.
type windowed struct {
	io.Reader
	io.Closer
}

// Discard skips n bytes.
func (c *countReader) Discard(n int) (int, error) {
	m, err := c.r.Discard(n)
	c.n += int64(m)
	return m, err
}

// A spliced reader has other bytes at its start.
type spliced struct {
	head []byte
	r    *countReader
}

func (s *spliced) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	return s.r.Read(p)
}

func (s *spliced) ReadByte() (byte, error) {
	if len(s.head) > 0 {
		c := s.head[0]
		s.head = s.head[1:]
		return c, nil
	}
	return s.r.ReadByte()
}

func (c *countReader) Peek(n int) ([]byte, error) { return c.r.Peek(n) }

func openXZ(run *run, r *countReader) (io.Reader, func() int64, error) {
	w := &window{run: run}
	x := xz.NewReader(r, w.grant)
	return windowed{readerFunc(func(p []byte) (int, error) {
		n, err := x.Read(p)
		if errors.Is(err, xz.ErrUnsupported) {
			err = fmt.Errorf("%w: %w", err, errUnsupported)
		}
		return n, err
	}), w}, x.End, nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// lzmaHeader is the length of the header of the old format: properties, size
// of the dictionary, size of the content.
const lzmaHeader = 13

// matchLZMA recognises the old format, which has no magic number, as liblzma does
// where it has the choice: the usual properties, a dictionary of a power of two or
// of one and a half, a size that is unknown or small.
func matchLZMA(p Probe) Match {
	if len(p.Head) < lzmaHeader+5 || p.Head[0] != 0x5d || p.Head[lzmaHeader] != 0 {
		return No
	}
	dict, size := binary.LittleEndian.Uint32(p.Head[1:]), binary.LittleEndian.Uint64(p.Head[5:])
	if low := dict & -dict; dict == 0 || dict != low && dict != 3*low || size != 1<<64-1 && size >= 1<<40 {
		return No
	}
	return Maybe
}

func openLZMA(run *run, r *countReader) (io.Reader, func() int64, error) {
	head, err := r.Peek(lzmaHeader)
	if err != nil {
		return nil, nil, err
	}
	// Streams that claim a larger dictionary than is granted seldom use all of
	// it. One that does has a match beyond it, which is an error.
	dict := max(min(int64(binary.LittleEndian.Uint32(head[1:])), maxWindow), lzma.MinDictCap)
	if size := binary.LittleEndian.Uint64(head[5:]); size < uint64(dict) {
		dict = max(int64(size), lzma.MinDictCap)
	}
	w := &window{run: run}
	if err := w.grant(dict); err != nil {
		return nil, nil, err
	}
	header := bytes.Clone(head)
	binary.LittleEndian.PutUint32(header[1:], uint32(dict))
	if _, err := r.Discard(lzmaHeader); err != nil {
		return nil, nil, err
	}
	in := &spliced{head: header, r: r}
	z, err := lzma.ReaderConfig{DictCap: maxWindows}.NewReader(in)
	if err != nil {
		w.Close()
		return nil, nil, err
	}
	return windowed{&drained{z: z}, w}, func() int64 { return r.n }, nil
}

// A drained reader yields what a decoder still holds when it meets a fault: a
// loader that decodes step by step has used it by then.
type drained struct {
	z   *lzma.Reader
	err error
}

func (d *drained) Read(p []byte) (int, error) {
	n, err := d.z.Read(p)
	switch {
	case d.err != nil && (err != nil || n == 0):
		return n, d.err
	case d.err == nil && err != nil && !errors.Is(err, io.EOF) && n == 0:
		d.err = err
		return d.Read(p)
	}
	return n, err
}

// Magic numbers of lz4: a frame, a frame that is skipped, the old format.
const (
	lz4Frame   = 0x184d2204
	lz4Skipped = 0x184d2a50
	lz4Legacy  = 0x184c2102
)

func lz4Magic(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	switch m := binary.LittleEndian.Uint32(head); {
	case m == lz4Frame:
		return len(head) < 7 || head[4]>>6 == 1 && head[5]&0x8f == 0
	case m == lz4Legacy:
		return true
	default:
		return m&^15 == lz4Skipped
	}
}

func matchLZ4(p Probe) Match {
	if len(p.Head) >= 7 && lz4Magic(p.Head) {
		return Maybe
	}
	return No
}

// openLZ4 decodes all frames. A block has at most 8 MiB, so nothing is granted.
func openLZ4(_ *run, r *countReader) (io.Reader, func() int64, error) {
	f := &lz4Frames{r: r, cut: lz4Cutter{r: r}, z: lz4.NewReader(nil)}
	return f, func() int64 { return f.end }, f.next()
}

// lz4Frames decodes one frame after the other and ends, unlike the module's own
// reader, without an error where something else follows.
type lz4Frames struct {
	r   *countReader
	cut lz4Cutter
	z   *lz4.Reader
	end int64
}

// next starts at the frame that comes next and returns io.EOF when there is
// none.
func (f *lz4Frames) next() error {
	for {
		head, _ := f.r.Peek(7)
		if !lz4Magic(head) {
			return io.EOF
		}
		switch m := binary.LittleEndian.Uint32(head); {
		case m == lz4Legacy:
			f.cut = lz4Cutter{r: f.r, state: lz4Old}
			f.z.Reset(&f.cut)
			return nil
		case m == lz4Frame:
			f.cut = lz4Cutter{r: f.r, state: lz4Header}
			f.z.Reset(&f.cut)
			return nil
		}
		var skip [8]byte
		if _, err := io.ReadFull(f.r, skip[:]); err != nil {
			return unexpectedEOF(err)
		}
		if _, err := io.CopyN(io.Discard, f.r, int64(binary.LittleEndian.Uint32(skip[4:]))); err != nil {
			return unexpectedEOF(err)
		}
		f.end = f.r.n
	}
}

func (f *lz4Frames) Read(p []byte) (int, error) {
	for {
		n, err := f.z.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		f.end = f.r.n
		if n > 0 {
			return n, nil
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
}

func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// An lz4Cutter passes exactly one frame on.
type lz4Cutter struct {
	r     *countReader
	state uint8
	flags byte
	buf   []byte // of the structure, not yet passed on
	left  int64  // of a block
}

const (
	lz4Header = iota
	lz4Block
	lz4Old
	lz4OldBlock
	lz4End
)

// lz4OldMax is the most that a block of the old format takes: 8 MiB that could
// not be compressed. The format has no end mark; a larger size is something
// else that follows.
const lz4OldMax = 8<<20 + (8<<20)/255 + 16

func (c *lz4Cutter) Read(p []byte) (int, error) {
	if len(c.buf) == 0 && c.left == 0 {
		if err := c.step(); err != nil {
			return 0, err
		}
	}
	if len(c.buf) > 0 {
		n := copy(p, c.buf)
		c.buf = c.buf[n:]
		return n, nil
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// step reads the next piece of the structure.
func (c *lz4Cutter) step() error {
	n := 4
	switch c.state {
	case lz4Header:
		head, err := c.r.Peek(6)
		if err != nil {
			return err
		}
		c.flags = head[4]
		n = 7
		if c.flags&8 != 0 {
			n += 8 // size of the content
		}
		if c.flags&1 != 0 {
			n += 4 // id of a dictionary
		}
	case lz4OldBlock:
		head, _ := c.r.Peek(4)
		if len(head) < 4 || binary.LittleEndian.Uint32(head) > lz4OldMax || binary.LittleEndian.Uint32(head) == 0 {
			c.state = lz4End
			return io.EOF
		}
	case lz4End:
		return io.EOF
	}
	buf := make([]byte, n, 24) // with room for a checksum
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return unexpectedEOF(err)
	}
	switch c.state {
	case lz4Header:
		c.state, c.buf = lz4Block, buf
		return nil
	case lz4Old:
		c.state, c.buf = lz4OldBlock, buf
		return nil
	case lz4OldBlock:
		c.left, c.buf = int64(binary.LittleEndian.Uint32(buf)), buf
		return nil
	}
	size := binary.LittleEndian.Uint32(buf)
	if size == 0 {
		c.state = lz4End
		if c.flags&4 != 0 {
			buf = buf[:8]
			if _, err := io.ReadFull(c.r, buf[4:]); err != nil {
				return unexpectedEOF(err)
			}
		}
	} else if c.left = int64(size &^ (1 << 31)); c.flags&16 != 0 {
		c.left += 4
	}
	c.buf = buf
	return nil
}
