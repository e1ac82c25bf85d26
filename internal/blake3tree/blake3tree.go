// Package blake3tree computes BLAKE3 digests in parts.
//
// BLAKE3 is a tree over chunks of 1024 bytes. A part of 2^n chunks that begins
// at a multiple of its size is a subtree, so that several cores can each reduce
// parts of one stream to chaining values, and [Root] joins them. The compression
// of up to sixteen chunks at once is that of lukechampine.com/blake3/guts; the
// tree is here, on one goroutine and without allocation.
package blake3tree

import (
	"encoding/binary"
	"math/bits"

	"lukechampine.com/blake3/guts"
)

const (
	// Size is the size of a digest in bytes.
	Size = 32

	// ChunkSize is the size of a leaf in bytes.
	ChunkSize = guts.ChunkSize

	groupSize = guts.MaxSIMD * ChunkSize
)

// A Chain is the chaining value of a subtree.
type Chain [8]uint32

// A Digest is the state of a stream or of a part of one, as a [hash.Hash]. It
// must be made by [New].
type Digest struct {
	first  uint64    // chunk that the part begins with
	groups uint64    // reduced so far
	stack  [64]Chain // of complete subtrees, one for each bit of groups
	group  [groupSize]byte
	n      int // bytes in group, which waits: the last one may be the root
}

// New returns the digest of an empty stream.
func New() *Digest { return new(Digest) }

// Reset makes d the digest of an empty stream.
func (d *Digest) Reset() { d.ResetAt(0) }

// ResetAt makes d an empty part of a stream. Offset is where it begins: a
// multiple of the part's size, which is that of 2^n chunks, n at least 4. Only
// the last part of a stream may be shorter.
func (d *Digest) ResetAt(offset int64) {
	d.first = uint64(offset) / ChunkSize
	d.groups, d.n = 0, 0
}

// Size returns 32.
func (d *Digest) Size() int { return Size }

// BlockSize returns the number of bytes that are reduced at once.
func (d *Digest) BlockSize() int { return groupSize }

// Write appends p.
func (d *Digest) Write(p []byte) (int, error) {
	written := len(p)
	if d.n > 0 {
		k := copy(d.group[d.n:], p)
		d.n, p = d.n+k, p[k:]
		if len(p) == 0 {
			return written, nil
		}
		d.reduce(&d.group)
	}
	for len(p) > groupSize {
		d.reduce((*[groupSize]byte)(p))
		p = p[groupSize:]
	}
	d.n = copy(d.group[:], p)
	return written, nil
}

// reduce adds a full group that is not the last one.
func (d *Digest) reduce(group *[groupSize]byte) {
	c := chain(guts.CompressBuffer(group, groupSize, &guts.IV, d.next(), 0))
	top := bits.OnesCount64(d.groups)
	d.groups++
	for range bits.TrailingZeros64(d.groups) {
		top--
		c = chain(parent(d.stack[top], c))
	}
	d.stack[top] = c
}

func (d *Digest) next() uint64 { return d.first + d.groups*guts.MaxSIMD }

// node is the top of what was written.
func (d *Digest) node() guts.Node {
	n := guts.CompressBuffer(&d.group, d.n, &guts.IV, d.next(), 0)
	for top := bits.OnesCount64(d.groups) - 1; top >= 0; top-- {
		n = parent(d.stack[top], chain(n))
	}
	return n
}

// Sum appends the digest of the whole stream to b. It does not change d.
func (d *Digest) Sum(b []byte) []byte { return root(b, d.node()) }

// Chain is the chaining value of the part.
func (d *Digest) Chain() Chain { return chain(d.node()) }

// Root appends the digest of the stream that has these parts to b. There must be
// two or more, all but the last of equal size.
func Root(b []byte, parts []Chain) []byte {
	left := leftOf(len(parts))
	return root(b, parent(join(parts[:left]), join(parts[left:])))
}

func join(parts []Chain) Chain {
	if len(parts) == 1 {
		return parts[0]
	}
	left := leftOf(len(parts))
	return chain(parent(join(parts[:left]), join(parts[left:])))
}

// leftOf is how many of n > 1 parts lie below the left child: the largest power
// of two that leaves some for the right one.
func leftOf(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

func parent(left, right Chain) guts.Node {
	return guts.ParentNode(left, right, &guts.IV, 0)
}

func chain(n guts.Node) Chain { return guts.ChainingValue(n) }

func root(b []byte, n guts.Node) []byte {
	n.Flags |= guts.FlagRoot
	words := guts.CompressNode(n)
	for _, w := range words[:Size/4] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}
