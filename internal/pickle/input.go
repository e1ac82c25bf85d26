package pickle

import (
	"bytes"
	"errors"
	"io"
)

const windowSize = 128 << 10

// An input reads the file through a window and knows where the current frame
// ends. The fast path is one comparison with lim, which stands at the end of
// the window or of the frame, whichever comes first; whatever crosses it goes
// through want.
type input struct {
	r    io.ReaderAt
	size int64
	err  error // of r; the input then reads as if it ended

	buf  []byte // window
	base int64  // offset of buf[0]
	i    int    // position in buf
	lim  int

	frame int64 // end of the current frame; 0 means none
	exact bool  // drop what is left of a frame, as the C unpickler does on files

	straddled func(end int64) // called with the end of the frame that is crossed
}

func (in *input) pos() int64 { return in.base + int64(in.i) }

// seek moves to off without reading.
func (in *input) seek(off int64) {
	if off >= in.base && off <= in.base+int64(len(in.buf)) {
		in.i = int(off - in.base)
	} else {
		in.base, in.buf, in.i = off, in.buf[:0], 0
	}
	in.lim = in.i // want sets it right
}

// open starts a frame of n bytes at the position. It reports false when the
// frame reaches beyond the data.
func (in *input) open(n uint64) bool {
	pos := in.pos()
	left := uint64(max(in.size-pos, 0))
	if n > left {
		in.frame = 0
		in.seek(pos)
		return false
	}
	end := pos + int64(n)
	if pos < in.frame { // inside another frame
		if end <= in.frame {
			return true // C reads on from the outer one
		}
		if in.exact { // C drops what is left of the outer one
			pos = in.frame
			if n > uint64(max(in.size-pos, 0)) {
				in.frame = 0
				in.seek(in.size)
				return false
			}
			end = pos + int64(n)
		}
	}
	in.frame = end
	in.seek(pos)
	return true
}

// want makes n bytes readable at the position, n being at most windowSize. It
// reports false when the data ends before.
func (in *input) want(n int) bool {
	pos := in.pos()
	if in.frame != 0 {
		switch end := pos + int64(n); {
		case pos >= in.frame:
			in.frame = 0
		case end > in.frame:
			in.straddled(in.frame)
			if in.exact {
				pos = in.frame
				in.seek(pos)
			}
			in.frame = 0
		}
	}
	if n > windowSize || int64(n) > in.size-pos {
		return false
	}
	if in.i+n > len(in.buf) && !in.load(pos) {
		return false
	}
	in.lim = len(in.buf)
	if in.frame != 0 && in.frame < in.base+int64(len(in.buf)) {
		in.lim = int(in.frame - in.base)
	}
	return in.i+n <= len(in.buf)
}

// load reads the window that starts at off.
func (in *input) load(off int64) bool {
	n := int(min(windowSize, in.size-off))
	if cap(in.buf) < n {
		in.buf = make([]byte, n)
	}
	in.buf = in.buf[:n]
	got, err := in.r.ReadAt(in.buf, off)
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // shorter than size says
		}
		if in.err == nil {
			in.err = err
		}
		in.size = off + int64(got)
	}
	in.buf = in.buf[:got]
	in.base, in.i, in.lim = off, 0, 0
	return got > 0
}

// take returns the next n bytes, valid until the next call.
func (in *input) take(n int) ([]byte, bool) {
	if in.i+n > in.lim && !in.want(n) {
		return nil, false
	}
	b := in.buf[in.i : in.i+n]
	in.i += n
	return b, true
}

// payload skips n bytes and returns where they start. Those of bytes objects
// are joined: even C takes what is left of the frame before it reads on.
func (in *input) payload(n uint64, joined bool) (off int64, ok bool) {
	if n <= uint64(in.lim-in.i) {
		off = in.pos()
		in.i += int(n)
		return off, true
	}
	pos := in.pos()
	if in.frame != 0 && pos < in.frame && n > uint64(in.frame-pos) {
		in.straddled(in.frame)
		if in.exact && !joined {
			pos = in.frame
		}
		in.frame = 0
	}
	if n > uint64(max(in.size-pos, 0)) {
		in.seek(pos)
		return pos, false
	}
	in.seek(pos + int64(n))
	return pos, true
}

// line skips to behind the next newline and returns where the line starts and
// its length without the newline. cut is set when the file ends before.
func (in *input) line() (off, n int64, cut bool) {
	if k := bytes.IndexByte(in.buf[in.i:in.lim], '\n'); k >= 0 {
		off = in.pos()
		in.i += k + 1
		return off, int64(k), false
	}
	pos := in.pos()
	if in.frame != 0 && pos < in.frame {
		if k := in.find('\n', pos, in.frame); k >= 0 {
			in.seek(k + 1)
			return pos, k - pos, false
		}
		in.straddled(in.frame)
		if in.exact {
			pos = in.frame
		}
	}
	in.frame = 0
	if k := in.find('\n', pos, in.size); k >= 0 {
		in.seek(k + 1)
		return pos, k - pos, false
	}
	in.seek(in.size)
	return pos, in.size - pos, true
}

// find returns the offset of the first c in [from, to), or -1.
func (in *input) find(c byte, from, to int64) int64 {
	for from < to {
		if from < in.base || from >= in.base+int64(len(in.buf)) {
			if from >= in.size || !in.load(from) {
				return -1
			}
		}
		b := in.buf[from-in.base:]
		b = b[:min(int64(len(b)), to-from)]
		if k := bytes.IndexByte(b, c); k >= 0 {
			return from + int64(k)
		}
		from += int64(len(b))
	}
	return -1
}

// bytes returns n bytes at off: from the window where they lie in it, else
// read into scratch, which it may grow. Fewer come at the end of the data.
func (in *input) bytes(off, n int64, scratch *[]byte) []byte {
	n = min(n, in.size-off)
	if n <= 0 || off < 0 {
		return nil
	}
	if off >= in.base && off+n <= in.base+int64(len(in.buf)) {
		return in.buf[off-in.base:][:n]
	}
	if int64(cap(*scratch)) < n {
		*scratch = make([]byte, n)
	}
	b := (*scratch)[:n]
	got, err := in.r.ReadAt(b, off)
	if int64(got) < n && in.err == nil {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		in.err = err
	}
	return b[:got]
}
