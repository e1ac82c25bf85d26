//go:build amd64 && !noasm

package sha256mb

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"sync"
)

// solo hashes blocks of a stream that is alone, on a machine with AVX-512 and no
// SHA extensions: there crypto/sha256 does better than one lane of sixteen. It
// takes the state over in the form in which its own hashes are stored.
func solo(h *[8]uint32, p []byte) {
	if len(p) >= 16*BlockSize && known() && handOver(h, p) {
		return
	}
	block(h, p)
}

// known reports whether crypto/sha256 stores a state in the form that this
// package knows, which its documentation does not promise.
var known = sync.OnceValue(func() bool {
	var p [BlockSize]byte
	s := sha256.New()
	s.Write(p[:])
	h := initial
	block(&h, p[:])
	got, ok := load(s)
	return ok && got == h && store(sha256.New(), &h)
})

func handOver(h *[8]uint32, p []byte) bool {
	s := sha256.New()
	if !store(s, h) {
		return false
	}
	s.Write(p)
	after, ok := load(s)
	if ok {
		*h = after
	}
	return ok
}

// The form: four letters, the state, a block that is not full, and the length.
const letters = "sha\x03"

// store makes s go on from h, after some number of whole blocks.
func store(s hash.Hash, h *[8]uint32) bool {
	form := make([]byte, 0, len(letters)+Size+BlockSize+8)
	form = append(form, letters...)
	for _, v := range h {
		form = binary.BigEndian.AppendUint32(form, v)
	}
	form = append(form, make([]byte, BlockSize)...)
	form = binary.BigEndian.AppendUint64(form, BlockSize)
	u, ok := s.(encoding.BinaryUnmarshaler)
	return ok && u.UnmarshalBinary(form) == nil
}

func load(s hash.Hash) (h [8]uint32, ok bool) {
	m, ok := s.(encoding.BinaryMarshaler)
	if !ok {
		return h, false
	}
	form, err := m.MarshalBinary()
	if err != nil || len(form) != len(letters)+Size+BlockSize+8 || string(form[:len(letters)]) != letters {
		return h, false
	}
	for i := range h {
		h[i] = binary.BigEndian.Uint32(form[len(letters)+4*i:])
	}
	return h, true
}
