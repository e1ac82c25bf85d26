package scan

import (
	"errors"
	"fmt"
	"io"
)

// A stream that decodes to more than Limits.Bomb bytes and to more than
// bombRatio times its size is a bomb: ordinary weights do not shrink like that,
// and zero tensors below the limit do no harm.
const bombRatio = 200

var errBomb = errors.New("decompression bomb")

// expandedTail is how much of the end is kept of what does not fit the memory
// budget: enough for the end record of a zip archive with its comment.
const expandedTail = 72 << 10

// An expanded is decoded content that can be read at random. What fits the
// memory budget is held; the rest is decoded again on demand, from the start
// when a read goes backwards, and each decoded byte is charged.
type expanded struct {
	run  *run
	open func() (io.Reader, error)
	size int64
	head [][]byte // the first bytes in pieces, all of them when they fit
	held int64    // bytes in head
	tail []byte   // the last bytes, when they do not: recognition looks there
	cur  io.Reader
	pos  int64
	last []byte // what was decoded on demand last, to serve small steps back
	at   int64  // offset of last
}

// expand decodes a stream once to its end, telling what it decodes to tee when
// that is not nil. packed is its encoded size. The
// error says why the content ends where it does (nil for the regular end); the
// content up to there is usable in any case. The caller must call close.
func (a *Artifact) expand(packed int64, tee io.Writer, open func() (io.Reader, error)) (*expanded, error) {
	x := &expanded{run: a.run, open: open}
	r, err := open()
	if err != nil {
		return x, err
	}
	defer closeReader(r)
	buf := a.run.buffer()
	defer a.run.recycle(buf)
	held := true
	for {
		n, err := r.Read(buf)
		if err := a.run.spend(Bytes, int64(n)); err != nil {
			return x, err
		}
		if tee != nil {
			tee.Write(buf[:n])
		}
		if held && a.run.spendQuietly(Memory, int64(n)) {
			x.hold(buf[:n])
		} else {
			held = false
			x.tail = append(x.tail, buf[:n]...)
			if over := len(x.tail) - expandedTail; over > expandedTail {
				x.tail = append(x.tail[:0], x.tail[over:]...)
			}
		}
		x.size += int64(n)
		a.run.expanded += int64(n)
		if a.run.bomb(x.size, packed) || a.run.bomb(a.run.expanded, a.run.size) {
			return x, errBomb
		}
		switch {
		case errors.Is(err, io.EOF):
			return x, nil
		case err != nil:
			return x, fmt.Errorf("after %d decoded bytes: %w", x.size, err)
		}
	}
}

// bomb reports whether so many bytes from so few are beyond what models need:
// of one stream, or of all streams of a file together, which catches many
// members that share one content and layers that multiply.
func (r *run) bomb(decoded, packed int64) bool {
	return decoded > r.lim.Bomb && decoded/bombRatio > packed
}

// spendQuietly takes memory if there is some; falling back to decoding again is
// no loss of coverage, so it does not mark the budget as spent.
func (r *run) spendQuietly(res Resource, n int64) bool {
	if used := r.used[res].Add(n); used > r.limit(res) {
		r.used[res].Add(-n)
		return false
	}
	return true
}

// hold appends to head without ever moving what is there.
func (x *expanded) hold(p []byte) {
	x.held += int64(len(p))
	for len(p) > 0 {
		last := len(x.head) - 1
		if last < 0 || len(x.head[last]) == searchWindow {
			// Small content gets a small piece; only the first piece grows.
			x.head = append(x.head, make([]byte, 0, min(max(len(p), searchWindow*min(len(x.head), 1)), searchWindow)))
			last++
		}
		n := min(len(p), searchWindow-len(x.head[last]))
		x.head[last] = append(x.head[last], p[:n]...)
		p = p[n:]
	}
}

func (x *expanded) close() {
	x.run.release(Memory, x.held)
	x.head, x.tail, x.last, x.held = nil, nil, nil, 0
	closeReader(x.cur)
	x.cur = nil
}

func closeReader(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		c.Close()
	}
}

// ReadAt implements io.ReaderAt. It is not safe for concurrent use; an
// expanded artefact is read by one format at a time.
func (x *expanded) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= x.size {
		return 0, io.EOF
	}
	for off < x.held && len(p) > 0 {
		m := copy(p, x.head[off/searchWindow][off%searchWindow:])
		n, p, off = n+m, p[m:], off+int64(m)
	}
	if tail := x.size - int64(len(x.tail)); len(p) > 0 && off >= tail && off < x.size {
		m := copy(p, x.tail[off-tail:])
		n, p, off = n+m, p[m:], off+int64(m)
	}
	if len(p) == 0 {
		return n, nil
	}
	if off >= x.size {
		return n, io.EOF
	}
	if off >= x.at && off+int64(len(p)) <= x.at+int64(len(x.last)) {
		return n + copy(p, x.last[off-x.at:]), nil
	}
	m, err := x.decodeAt(p, off)
	if m <= searchWindow {
		x.last, x.at = append(x.last[:0], p[:m]...), off
	}
	return n + m, err
}

// view implements viewer for what one piece holds.
func (x *expanded) view(off, n int64) ([]byte, int64) {
	i, at := off/searchWindow, off%searchWindow
	if n == 0 || off+n > x.held || i >= int64(len(x.head)) || n > int64(len(x.head[i]))-at {
		return nil, 0
	}
	return x.head[i][at : at+n], 0
}

func (x *expanded) decodeAt(p []byte, off int64) (int, error) {
	if x.cur == nil || off < x.pos {
		closeReader(x.cur)
		x.cur = nil
		r, err := x.open()
		if err != nil {
			return 0, err
		}
		x.cur, x.pos = r, 0
	}
	if err := x.skip(off - x.pos); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), x.size-off)]
	n, err := io.ReadFull(x.cur, p)
	x.pos += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

func (x *expanded) skip(n int64) error {
	for n > 0 {
		step := min(n, 1<<20)
		if err := x.run.spend(Bytes, step); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, x.cur, step); err != nil {
			return err
		}
		n -= step
		x.pos += step
	}
	return nil
}
