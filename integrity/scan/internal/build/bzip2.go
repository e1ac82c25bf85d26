package build

import (
	"bytes"
	"math/bits"
	"slices"
)

// Bzip2 compresses up to 100 000 bytes, by sorting rotations the simple way
// and with flat codes; the standard library only decodes the format.
func Bzip2(data []byte) []byte {
	var w bitWriter
	w.bytes([]byte("BZh1"))
	crc := bzip2CRC(data)
	if len(data) > 0 {
		w.bytes([]byte{0x31, 0x41, 0x59, 0x26, 0x53, 0x59})
		w.put(32, uint64(crc))
		w.put(1, 0)
		bzip2Block(&w, runs(data))
	}
	w.bytes([]byte{0x17, 0x72, 0x45, 0x38, 0x50, 0x90})
	w.put(32, uint64(crc)) // of one block: the same
	return w.out
}

// runs writes four equal bytes or more as four and a count.
func runs(data []byte) []byte {
	var out []byte
	for i := 0; i < len(data); {
		n := 1
		for n < 255 && i+n < len(data) && data[i+n] == data[i] {
			n++
		}
		if out = append(out, data[i:i+min(n, 4)]...); n >= 4 {
			out = append(out, byte(n-4))
		}
		i += n
	}
	return out
}

func bzip2Block(w *bitWriter, block []byte) {
	n := len(block)
	double := slices.Concat(block, block)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(double[a:a+n], double[b:b+n]) })
	w.put(24, uint64(slices.Index(order, 0)))

	var used [256]bool
	for _, c := range block {
		used[c] = true
	}
	var groups uint64
	var alphabet []byte
	for c := range 256 {
		if used[c] {
			groups |= 0x8000 >> (c / 16)
			alphabet = append(alphabet, byte(c))
		}
	}
	w.put(16, groups)
	for g := range 16 {
		if groups&(0x8000>>g) == 0 {
			continue
		}
		for c := range 16 {
			w.bit(used[16*g+c])
		}
	}

	// Move to front; runs of the front symbol in bijective binary.
	var symbols []int
	zeros := 0
	flush := func() {
		for zeros > 0 {
			symbols = append(symbols, (zeros+1)%2)
			zeros = (zeros - 1) / 2
		}
	}
	front := slices.Clone(alphabet)
	for _, at := range order {
		c := double[at+n-1]
		k := bytes.IndexByte(front, c)
		if k == 0 {
			zeros++
			continue
		}
		flush()
		copy(front[1:k+1], front[:k])
		front[0] = c
		symbols = append(symbols, k+1)
	}
	flush()
	end := len(alphabet) + 1
	symbols = append(symbols, end)

	// Two tables, as the format wants at least, of the flattest complete code:
	// the first symbols are one bit shorter than the others.
	length := bits.Len(uint(end))
	shorter := 1<<length - (end + 1)
	selectors := (len(symbols) + 49) / 50
	w.put(3, 2)
	w.put(15, uint64(selectors))
	w.put(selectors, 0)
	for range 2 {
		w.put(5, uint64(length-1))
		w.put(shorter, 0) // no change of length
		w.put(2, 0b10)    // one more
		w.put(end+1-shorter, 0)
	}
	for _, s := range symbols {
		if s < shorter {
			w.put(length-1, uint64(s))
		} else {
			w.put(length, uint64(s+shorter))
		}
	}
}

// A bitWriter writes the highest bits first.
type bitWriter struct {
	out  []byte
	free int // bits left in the last byte
}

func (w *bitWriter) bit(set bool) {
	if w.free == 0 {
		w.out, w.free = append(w.out, 0), 8
	}
	w.free--
	if set {
		w.out[len(w.out)-1] |= 1 << w.free
	}
}

func (w *bitWriter) put(n int, v uint64) {
	for i := n - 1; i >= 0; i-- {
		w.bit(v>>i&1 != 0)
	}
}

func (w *bitWriter) bytes(b []byte) {
	for _, c := range b {
		w.put(8, uint64(c))
	}
}

func bzip2CRC(data []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range data {
		crc ^= uint32(c) << 24
		for range 8 {
			top := crc >> 31
			crc = crc<<1 ^ top*0x04c11db7
		}
	}
	return ^crc
}
