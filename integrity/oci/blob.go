package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/prerun/prerun/internal/digestx"
)

const (
	chunkSize = 1 << 20 // bytes that are remembered by one digest
	maxRun    = 8       // chunks of one request, and chunks kept in memory
)

// A Blob reads a layer piece by piece, without fetching it whole. It is an
// [io.ReaderAt], safe for concurrent use.
//
// A piece cannot be checked by itself, since the digest is of the whole. So
// what was read is provisional until [Blob.Verify] returns nil, or the whole
// was read from start to end: each chunk of 1 MiB that was ever handed out is
// then known to be part of the content that the digest names, since a chunk
// that comes again must be the same as before. Memory is 8 MiB, and 32 bytes
// for each chunk read.
//
// Requests are for whole chunks, at most 8 at once. Who reads on from where the
// last request ended gets twice as many chunks as that one asked for, so that
// many small reads in order are few requests, and one small read is a small one.
type Blob struct {
	ctx   context.Context
	store Store
	desc  Descriptor

	mu    sync.Mutex
	sums  map[int64][sha256.Size]byte // by chunk, as first read
	kept  map[int64][]byte
	order []int64 // of kept, oldest first
	after int64   // the chunk behind the last request
	ahead int64   // chunks of the last request, while reading goes on in order
	whole hash.Hash
	next  int64 // chunks that whole holds
	bad   error
}

// OpenBlob opens a blob of the store, such as a [Layer]. Reading fails once ctx
// ends. Nothing is fetched yet.
func OpenBlob(ctx context.Context, store Store, blob Descriptor) (*Blob, error) {
	if store == nil {
		return nil, errNoStore
	}
	if _, err := parseDigest(blob.Digest.String()); err != nil {
		return nil, err
	}
	if blob.Size < 0 {
		return nil, fmt.Errorf("%s: size %d", blob.Digest, blob.Size)
	}
	b := &Blob{
		ctx: ctx, store: store, desc: blob, whole: sha256.New(),
		sums: make(map[int64][sha256.Size]byte), kept: make(map[int64][]byte),
	}
	b.conclude()
	return b, nil
}

// Size is the blob's size as its descriptor states it.
func (b *Blob) Size() int64 { return b.desc.Size }

func (b *Blob) chunks() int64 { return (b.desc.Size + chunkSize - 1) / chunkSize }

// ReadAt implements [io.ReaderAt]. It fails with [ErrDigest] when content
// changed between two reads, or once all of it is known and is not what the
// digest names.
func (b *Blob) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for n < len(p) && off < b.desc.Size {
		if b.bad != nil {
			return n, b.bad
		}
		if err := b.ctx.Err(); err != nil {
			return n, context.Cause(b.ctx)
		}
		i := off / chunkSize
		if b.kept[i] == nil {
			last := (min(off+int64(len(p)-n), b.desc.Size) - 1) / chunkSize
			if err := b.fetch(i, b.requestSize(i, last-i+1)); err != nil {
				return n, err
			}
		} else if i == b.next { // it was read before those in front of it
			if b.digest(b.kept[i]); b.bad != nil {
				return n, b.bad
			}
		}
		m := copy(p[n:], b.kept[i][off-i*chunkSize:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// requestSize is how many chunks to ask for from chunk i on, when n are wanted.
func (b *Blob) requestSize(i, n int64) int64 {
	if i > 0 && i == b.after {
		n = max(n, 2*b.ahead)
	}
	n = min(n, maxRun, b.chunks()-i)
	b.after, b.ahead = i+n, n
	return n
}

// Verify reads what is missing and returns nil only if the content is what the
// digest names, and so was everything that was read before.
func (b *Blob) Verify() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.bad == nil && b.next < b.chunks() {
		if err := b.ctx.Err(); err != nil {
			return context.Cause(b.ctx)
		}
		if err := b.fetch(b.next, min(b.chunks()-b.next, maxRun)); err != nil {
			return err
		}
	}
	return b.bad
}

// fetch reads n chunks from chunk i on.
func (b *Blob) fetch(i, n int64) error {
	start := i * chunkSize
	end := min(start+n*chunkSize, b.desc.Size)
	r, err := b.store.Range(b.ctx, b.desc, start, end-start)
	if err != nil {
		return err
	}
	defer r.Close()
	for ; start < end; start += chunkSize {
		chunk := make([]byte, min(chunkSize, end-start))
		if _, err := io.ReadFull(r, chunk); err != nil {
			return &Error{Kind: ErrRegistry, Digest: b.desc.Digest, Detail: fmt.Sprintf("read at offset %d", start), Err: err}
		}
		if err := b.accept(start/chunkSize, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (b *Blob) accept(i int64, chunk []byte) error {
	sum := sha256.Sum256(chunk)
	if before, ok := b.sums[i]; ok && before != sum {
		b.bad = &Error{Kind: ErrDigest, Reference: b.desc.Digest.String(), Detail: fmt.Sprintf("the bytes at offset %d changed between two reads", i*chunkSize)}
		return b.bad
	}
	b.sums[i] = sum
	if i == b.next {
		b.digest(chunk)
	}
	if b.kept[i] == nil {
		if len(b.order) == maxRun {
			delete(b.kept, b.order[0])
			b.order = b.order[1:]
		}
		b.order = append(b.order, i)
	}
	b.kept[i] = chunk
	return b.bad
}

// digest takes the next chunk into the digest of the whole.
func (b *Blob) digest(chunk []byte) {
	b.whole.Write(chunk)
	b.next++
	b.conclude()
}

// conclude compares the digest once all chunks were seen in order.
func (b *Blob) conclude() {
	if b.next < b.chunks() {
		return
	}
	if got := digestx.FromSHA256(b.whole.Sum(nil)); got != b.desc.Digest {
		b.bad = &Error{Kind: ErrDigest, Reference: b.desc.Digest.String(), Digest: got}
	}
}
