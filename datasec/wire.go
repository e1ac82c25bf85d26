package datasec

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// State bytes are: magic, detector name, version, 8 bytes that stand for
// configuration and seed, then the detector's own part. Numbers are unsigned
// varints in their shortest form, strings and counts are length-framed.
const stateMagic = "prd\x01"

// stateHeader starts the bytes of a state. config is printed with %+v: a
// struct of plain numbers and strings.
func stateHeader(info Info, config any, p Params) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v %d", config, p.Seed))
	b := append([]byte(stateMagic), byte(len(info.Name)))
	b = append(b, info.Name...)
	b = binary.AppendUvarint(b, uint64(info.Version))
	return append(b, sum[:8]...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRef(b []byte, r rowRef) []byte {
	b = appendString(b, r.shard)
	b = binary.AppendUvarint(b, uint64(r.row))
	return binary.AppendUvarint(b, uint64(r.line))
}

// A stateReader reads what the append functions wrote. The first error sticks.
type stateReader struct {
	name string
	data []byte
	err  error
}

func openState(name string, header, data []byte) *stateReader {
	r := &stateReader{name: name, data: data}
	if got := r.take(len(header)); r.err == nil && string(got) != string(header) {
		r.fail("written by another detector, version, configuration or seed")
	}
	return r
}

func (r *stateReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &StateError{r.name, fmt.Sprintf(format, args...)}
		r.data = nil
	}
}

func (r *stateReader) take(n int) []byte {
	if n > len(r.data) {
		r.fail("cut short")
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *stateReader) uint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 || n > 1 && r.data[n-1] == 0 { // a padded number has two spellings
		r.fail("malformed number")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// int is a number that fits an int of 32 bits less one bit for sums.
func (r *stateReader) int32() int {
	v := r.uint()
	if v > math.MaxInt32 {
		r.fail("number out of range")
		return 0
	}
	return int(v)
}

func (r *stateReader) int64() int64 {
	v := r.uint()
	if v > math.MaxInt64/2 {
		r.fail("number out of range")
		return 0
	}
	return int64(v)
}

// count is a number of items of at least size bytes each, which the input must
// still hold: it is safe to allocate for.
func (r *stateReader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.data)/size) {
		r.fail("more items than bytes")
		return 0
	}
	return int(n)
}

func (r *stateReader) string() string { return string(r.take(r.count(1))) }

func (r *stateReader) ref() rowRef {
	return rowRef{r.string(), r.int64(), r.int32()}
}

// close reports the first error, or that bytes are left over.
func (r *stateReader) close() error {
	if r.err == nil && len(r.data) > 0 {
		r.fail("%d bytes after the end", len(r.data))
	}
	return r.err
}

// sameState checks that two states may be merged: their headers are equal.
func sameState(name string, a, b []byte) error {
	if string(a) != string(b) {
		return &StateError{name, "merge with a state of another configuration, version or seed"}
	}
	return nil
}

// wrongType is the error of a merge with another detector's state.
func wrongType(name string, other State) error {
	return &StateError{name, fmt.Sprintf("merge with a state of type %T", other)}
}
