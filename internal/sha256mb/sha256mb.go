// Package sha256mb computes several SHA-256 digests at once on one core.
//
// One digest is a chain: each instruction waits for the one before it, and most
// of the core idles. Streams that have nothing to do with one another fill that
// time. On amd64 up to four are interleaved through the SHA extensions, and
// sixteen share the registers of AVX-512; elsewhere, under the build tag noasm,
// and when the process must use the FIPS 140 module of Go, each stream goes
// through crypto/sha256, and there is no gain to be had from many.
//
// The digests are those of crypto/sha256, bit for bit.
package sha256mb

import (
	"crypto/fips140"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
)

const (
	// Size is the size of a digest in bytes.
	Size = sha256.Size

	// BlockSize is the size of a block in bytes. Writes of whole blocks are the
	// fastest.
	BlockSize = sha256.BlockSize
)

const (
	maxLanes  = 16
	maxBlocks = 1024 // in one kernel call, which the scheduler cannot interrupt
)

// Lanes is how many streams of equal length one core should be given at once,
// at most 16. It is 1 where several are no faster than one.
func Lanes() int {
	if fips140.Enabled() {
		return 1
	}
	return lanes
}

// Share is how many of the streams that are waiting one of several cores should
// take at once, so that all cores together are done soonest: an equal part, but
// sixteen full lanes here and few elsewhere are better than twice a bit more
// than half of sixteen.
func Share(streams, cores int) int {
	n := (streams + cores - 1) / cores
	most := Lanes()
	if most == maxLanes && n > most/2 {
		return most
	}
	return min(n, most)
}

// A Digest is the state of one stream, as a [hash.Hash]. It must be made by
// [New]. Digests may be used by several goroutines, each of them by one at a
// time.
type Digest struct {
	h    [8]uint32
	tail [BlockSize]byte // what does not fill a block yet
	size uint64          // bytes written
	std  hash.Hash       // does all the work where there are no kernels
}

// New returns the digest of an empty stream.
func New() *Digest {
	d := new(Digest)
	if Lanes() == 1 {
		d.std = sha256.New()
	}
	d.Reset()
	return d
}

// Reset makes d the digest of an empty stream.
func (d *Digest) Reset() {
	if d.std != nil {
		d.std.Reset()
		return
	}
	d.h = initial
	d.size = 0
}

// The first 32 bits of the fractional parts of the square roots of the first
// eight primes.
var initial = [8]uint32{
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}

// Sum appends the digest of what was written so far to b. It does not change d.
func (d *Digest) Sum(b []byte) []byte {
	if d.std != nil {
		return d.std.Sum(b)
	}
	var last [2 * BlockSize]byte
	n := copy(last[:], d.tail[:d.size%BlockSize])
	last[n] = 0x80
	end := BlockSize
	if n >= BlockSize-8 {
		end = 2 * BlockSize
	}
	binary.BigEndian.PutUint64(last[end-8:], d.size*8)
	h := d.h
	run([]lane{{&h, last[:end]}})
	for _, word := range h {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// Size returns 32.
func (d *Digest) Size() int { return Size }

// BlockSize returns 64.
func (d *Digest) BlockSize() int { return BlockSize }

// Write appends p to the stream. It is one lane: no faster than crypto/sha256.
func (d *Digest) Write(p []byte) (int, error) {
	if d.std != nil {
		return d.std.Write(p)
	}
	if data := d.cut(p); len(data) > 0 {
		run([]lane{{&d.h, data}})
	}
	return len(p), nil
}

// A lane is what is left to do for one stream: a whole number of blocks.
type lane struct {
	h    *[8]uint32
	data []byte
}

// Write appends p[i] to the stream of d[i], for every i. The lengths need not be
// equal, and any may be zero, but streams that end early leave the others to
// fewer lanes. No digest may occur twice. It does not keep p.
func Write(d []*Digest, p [][]byte) {
	for len(d) > maxLanes {
		Write(d[:maxLanes], p[:maxLanes])
		d, p = d[maxLanes:], p[maxLanes:]
	}
	var todo [maxLanes]lane
	n := 0
	for i, d := range d {
		if d.std != nil {
			d.std.Write(p[i])
			continue
		}
		if data := d.cut(p[i]); len(data) > 0 {
			todo[n] = lane{&d.h, data}
			n++
		}
	}
	if n > 0 {
		run(todo[:n])
	}
}

// cut takes note of p and returns the blocks of it that are to be hashed now.
func (d *Digest) cut(p []byte) []byte {
	used := int(d.size % BlockSize)
	d.size += uint64(len(p))
	if used > 0 {
		n := copy(d.tail[used:], p)
		if used+n < BlockSize {
			return nil
		}
		run([]lane{{&d.h, d.tail[:]}})
		p = p[n:]
	}
	whole := len(p) / BlockSize * BlockSize
	copy(d.tail[:], p[whole:])
	return p[:whole]
}

// run hashes all lanes to their ends. The longest go first, so that a lane is
// seldom left alone.
func run(lanes []lane) {
	for len(lanes) > 0 {
		if len(lanes) > 1 {
			slices.SortFunc(lanes, func(a, b lane) int { return len(b.data) - len(a.data) })
		}
		k := together(len(lanes))
		n := min(maxBlocks, len(lanes[k-1].data)/BlockSize)
		blocks(lanes[:k], n)
		for i := range k {
			lanes[i].data = lanes[i].data[n*BlockSize:]
		}
		lanes = slices.DeleteFunc(lanes, func(l lane) bool { return len(l.data) == 0 })
	}
}
