// Package tensorfile reads the structure of safetensors and NumPy files and
// decodes their elements in bulk.
//
// Parsing touches the header only and is strict: what two loaders could read
// differently is an [*Error] with the offset of the fault. Elements are read
// through windows of an [io.ReaderAt], so a file of any size costs a fixed
// amount of memory. Allocations while parsing stay below 256 bytes for each
// byte of header, and a header is at most [MaxHeader] bytes.
package tensorfile

import (
	"errors"
	"fmt"
)

// Classes of [Error].
var (
	ErrMalformed   = errors.New("malformed tensor file")
	ErrLimit       = errors.New("tensor file beyond a limit")
	ErrUnsupported = errors.New("unsupported tensor file")
)

// MaxHeader bounds the header that is read, in bytes. The safetensors format
// allows 100 million; headers seen in practice are below two million.
const MaxHeader = 32 << 20

// A Fault says what kind of thing is wrong.
type Fault uint8

// Faults. The zero value covers syntax and everything without its own name.
const (
	BadHeader Fault = iota
	Truncated       // the file ends before what the header announces
	BadDType        // unknown element type
	BadShape        // negative, overlong or overflowing shape
	BadSize         // the bytes of a tensor do not agree with its type and shape
	Hole            // bytes between tensors that belong to none
	Overlap         // bytes that belong to two tensors
	Trailing        // bytes after the last tensor
	TooLarge        // beyond a limit of this package
)

// An Error says what is wrong and where. It unwraps to its class.
type Error struct {
	Offset int64 // of the fault, in bytes from the start of the file
	Fault  Fault
	Tensor string // its name as stored, where one is concerned
	Msg    string
	Class  error // ErrMalformed, ErrLimit or ErrUnsupported
}

func (e *Error) Error() string {
	if e.Tensor != "" {
		return fmt.Sprintf("offset %d: tensor %q: %s", e.Offset, e.Tensor, e.Msg)
	}
	return fmt.Sprintf("offset %d: %s", e.Offset, e.Msg)
}

func (e *Error) Unwrap() error { return e.Class }

func malformed(off int64, fault Fault, format string, args ...any) *Error {
	return &Error{Offset: off, Fault: fault, Msg: fmt.Sprintf(format, args...), Class: ErrMalformed}
}

// A Tensor is one stored array: where its bytes are and what they mean.
type Tensor struct {
	Name      string // as stored; empty in a NumPy file
	DType     DType
	BigEndian bool    // never in safetensors
	Shape     []int64 // none negative; empty for a scalar
	Offset    int64   // of the first byte, from the start of the file
	Length    int64   // in bytes
}

// Elements is the number of elements.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Rows is the number of rows along the first axis and the elements of each.
// Scalars and vectors have one row.
func (t *Tensor) Rows() (rows, cols int64) {
	if len(t.Shape) < 2 {
		return 1, t.Elements()
	}
	cols = 1
	for _, d := range t.Shape[1:] {
		cols *= d
	}
	return t.Shape[0], cols
}

// maxRank bounds the axes of a tensor; NumPy's own bound is 64.
const maxRank = 64

// elements multiplies a shape and reports whether the product stays in range.
func elements(shape []int64) (n int64, ok bool) {
	n = 1
	zero := false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, false
		case d == 0:
			zero = true
		case n > (1<<62)/d:
			return 0, false
		default:
			n *= d
		}
	}
	if zero {
		n = 0
	}
	return n, true
}
