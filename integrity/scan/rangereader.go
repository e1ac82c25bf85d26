package scan

import (
	"errors"
	"io"
	"sync"
)

// Defaults and bounds of a [RangeReader].
const (
	rangeBlock  = 256 << 10
	rangeBlocks = 32
)

// A RangeReader stands between a scanner and content that costs a request for
// each read, such as an object in a bucket: it reads whole blocks, keeps the
// last of them, and asks for more at once while reading goes on in order.
// Formats read in small steps, and near each other.
//
// It is an [io.ReaderAt], safe for concurrent use, and must not be copied. What
// it keeps is Block times Blocks bytes. A layer of an OCI image does not need
// it: a Blob of package oci reads like this by itself.
type RangeReader struct {
	Source io.ReaderAt // asked for ranges within Size only, aligned to Block but for the end
	Size   int64       // of the content
	Block  int         // bytes; 0 means 256 KiB
	Blocks int         // kept; 0 means 32

	mu    sync.Mutex
	kept  map[int64][]byte
	order []int64 // of kept, oldest use first
	after int64   // the block behind the last request
	ahead int64   // blocks of the last request
}

// ReadAt implements [io.ReaderAt]. An error of Source is returned as it is, and
// what that read brought is dropped.
func (r *RangeReader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || r.Size < 0 {
		return 0, errors.New("negative offset or size")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	block := int64(r.Block)
	if block <= 0 {
		block = rangeBlock
	}
	for n < len(p) && off < r.Size {
		i := off / block
		data := r.kept[i]
		if data == nil {
			last := (min(off+int64(len(p)-n), r.Size) - 1) / block
			if err := r.fetch(i, last-i+1, block); err != nil {
				return n, err
			}
			data = r.kept[i]
		}
		r.use(i)
		m := copy(p[n:], data[off-i*block:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fetch reads n blocks from block i on, or some less or more.
func (r *RangeReader) fetch(i, n, block int64) error {
	room := int64(r.Blocks)
	if room <= 0 {
		room = rangeBlocks
	}
	if i > 0 && i == r.after {
		n = max(n, 2*r.ahead)
	}
	n = min(n, max(room/2, 1), (r.Size-i*block+block-1)/block)
	for k := range n { // what is there already ends the request
		if k > 0 && r.kept[i+k] != nil {
			n = k
			break
		}
	}
	start := i * block
	buf := make([]byte, min(n*block, r.Size-start))
	m, err := r.Source.ReadAt(buf, start)
	switch {
	case m == len(buf):
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF // the size was a lie
	default:
		return err
	}
	r.after, r.ahead = i+n, n
	if r.kept == nil {
		r.kept = make(map[int64][]byte)
	}
	for k := range n {
		if int64(len(r.order)) == room {
			delete(r.kept, r.order[0])
			r.order = r.order[1:]
		}
		// A copy, so that one kept block does not hold the whole request.
		r.kept[i+k] = append([]byte(nil), buf[k*block:min((k+1)*block, int64(len(buf)))]...)
		r.order = append(r.order, i+k)
	}
	return nil
}

// use marks a block as used last.
func (r *RangeReader) use(i int64) {
	for k, at := range r.order {
		if at == i {
			copy(r.order[k:], r.order[k+1:])
			r.order[len(r.order)-1] = i
			return
		}
	}
}
