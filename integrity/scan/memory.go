package scan

import (
	"bytes"
	"io"
)

// smallFile is up to which size a top-level file is read whole and at once:
// that is cheaper than the reads of every format that looks at it, and its
// digest is then of the very bytes that were scanned.
const smallFile = searchWindow

// inMemory holds a small file. One that cannot be read whole is left as it is:
// what fails is told where its content is read.
func inMemory(r io.ReaderAt, size int64) io.ReaderAt {
	if size > smallFile {
		return r
	}
	data := make(memory, size)
	if n, _ := r.ReadAt(data, 0); int64(n) < size {
		return r
	}
	return data
}

// A memory is content that is held.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func (m memory) view(off, n int64) ([]byte, int64) { return m[off : off+n], 0 }

// A viewer may have bytes in memory. It returns nil when it has not, and else
// how many levels of artefacts a reader of them goes through, each of which is
// charged. The range is within its content.
type viewer interface {
	view(off, n int64) (p []byte, levels int64)
}

func viewOf(r io.ReaderAt, off, n int64) ([]byte, int64) {
	switch r := r.(type) {
	case viewer:
		return r.view(off, n)
	case *io.SectionReader:
		outer, base, size := r.Outer()
		if n <= size-off {
			return viewOf(outer, base+off, n)
		}
	}
	return nil, 0
}

func (a *Artifact) view(off, n int64) ([]byte, int64) {
	if off < 0 || n < 0 || off > a.Size || n > a.Size-off {
		return nil, 0
	}
	p, levels := viewOf(a.r, off, n)
	return p, levels + 1
}

// held is n bytes from off if they are in memory, and else nil. They must not
// be changed.
func (a *Artifact) held(off, n int64) ([]byte, error) {
	p, levels := a.view(off, n)
	if p == nil {
		return nil, nil
	}
	return p, a.run.spend(Bytes, n*levels)
}

// peek is Bytes for who does not change them.
func (a *Artifact) peek(off, n int64) ([]byte, error) {
	if p, err := a.held(off, n); p != nil {
		return p, err
	}
	return a.Bytes(off, n)
}

// A peeker is an artefact that lets a reader of its structure look at bytes
// where they are.
type peeker struct{ *Artifact }

func (p peeker) Peek(off, n int64) ([]byte, error) { return p.peek(off, n) }
