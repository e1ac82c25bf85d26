package tensorfile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/prerun/prerun/internal/strictjson"
)

// safetensorsMaxHeader is the bound that the format states.
const safetensorsMaxHeader = 100_000_000

// A Safetensors is the header of a safetensors file.
type Safetensors struct {
	Tensors  []Tensor          // by offset, then name
	Metadata map[string]string // of the member __metadata__; nil without it
	DataAt   int64             // offset of the first byte after the header
	Size     int64             // of the file
}

// Tensor returns the tensor of that name, or nil.
func (s *Safetensors) Tensor(name string) *Tensor {
	for i := range s.Tensors {
		if s.Tensors[i].Name == name {
			return &s.Tensors[i]
		}
	}
	return nil
}

// ParseSafetensors reads the header of a file of that size. Beyond the syntax
// it requires that names are unique, that every byte after the header belongs
// to exactly one tensor, and that sizes agree with types and shapes. Errors are
// [*Error] or come from r.
//
// Where only the layout is at fault (Hole, Overlap, Trailing, Truncated after
// the header) the header is returned beside the error, for those who want to
// say what the file claims; its ranges must not be read unchecked.
func ParseSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	header, err := safetensorsHeader(r, size)
	if err != nil {
		return nil, err
	}
	root, err := strictjson.Parse(header, strictjson.Limits{Bytes: MaxHeader, Depth: 8})
	if err != nil {
		if e, ok := errors.AsType[*strictjson.Error](err); ok {
			return nil, malformed(8+int64(e.Offset), BadHeader, "header: %s", e.Msg)
		}
		return nil, err
	}
	s := &Safetensors{DataAt: 8 + int64(len(header)), Size: size}
	s.Tensors = make([]Tensor, 0, len(root.Members))
	for i := range root.Members {
		m := &root.Members[i]
		if m.Name == "__metadata__" {
			if s.Metadata, err = metadata(&m.Value); err != nil {
				return nil, err
			}
			continue
		}
		t, err := safetensor(m.Name, &m.Value, s.DataAt)
		if err != nil {
			return nil, err
		}
		s.Tensors = append(s.Tensors, t)
	}
	slices.SortFunc(s.Tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Length, b.Length), cmp.Compare(a.Name, b.Name))
	})
	if err := s.layout(); err != nil {
		return s, err
	}
	return s, nil
}

func safetensorsHeader(r io.ReaderAt, size int64) ([]byte, error) {
	if size < 8 {
		return nil, malformed(size, Truncated, "%d bytes, too short for the length of a header", size)
	}
	var prefix [9]byte
	if _, err := readFull(r, prefix[:min(size, 9)], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(prefix[:8])
	switch {
	case n > safetensorsMaxHeader:
		return nil, malformed(0, BadHeader, "header of %d bytes, the format allows %d", n, safetensorsMaxHeader)
	case int64(n) > size-8:
		return nil, malformed(0, Truncated, "header of %d bytes in a file of %d", n, size)
	case n > MaxHeader:
		return nil, &Error{Fault: TooLarge, Msg: fmt.Sprintf("header of %d bytes, the limit is %d", n, MaxHeader), Class: ErrLimit}
	case n == 0 || prefix[8] != '{':
		return nil, malformed(8, BadHeader, "the header does not start with %q", '{')
	}
	header := make([]byte, n)
	_, err := readFull(r, header, 8)
	return header, err
}

func metadata(v *strictjson.Value) (map[string]string, error) {
	if v.Kind != strictjson.Object {
		return nil, malformed(8+int64(v.Offset), BadHeader, "__metadata__ is no object")
	}
	out := make(map[string]string, len(v.Members))
	for i := range v.Members {
		m := &v.Members[i]
		if m.Value.Kind != strictjson.String {
			return nil, malformed(8+int64(m.Value.Offset), BadHeader, "__metadata__ %q is no string", m.Name)
		}
		out[m.Name] = m.Value.Text
	}
	return out, nil
}

func safetensor(name string, v *strictjson.Value, dataAt int64) (Tensor, error) {
	t := Tensor{Name: name}
	fail := func(at *strictjson.Value, fault Fault, format string, args ...any) (Tensor, error) {
		e := malformed(8+int64(at.Offset), fault, format, args...)
		e.Tensor = name
		return t, e
	}
	if v.Kind != strictjson.Object {
		return fail(v, BadHeader, "its entry is no object")
	}
	for i := range v.Members {
		switch v.Members[i].Name {
		case "dtype", "shape", "data_offsets":
		default:
			return fail(&v.Members[i].Value, BadHeader, "unknown member %q", v.Members[i].Name)
		}
	}
	dtype, shape, offsets := v.Get("dtype"), v.Get("shape"), v.Get("data_offsets")
	if dtype == nil || shape == nil || offsets == nil {
		return fail(v, BadHeader, "dtype, shape or data_offsets is missing")
	}
	if t.DType = ParseDType(dtype.Text); dtype.Kind != strictjson.String || t.DType == InvalidDType {
		return fail(dtype, BadDType, "unknown dtype %q", dtype.Text)
	}
	var ok bool
	if t.Shape, ok = naturals(shape); !ok || len(t.Shape) > maxRank {
		return fail(shape, BadShape, "shape is no list of at most %d natural numbers", maxRank)
	}
	n, ok := elements(t.Shape)
	if !ok || n > (1<<62)/t.DType.Bits() {
		return fail(shape, BadShape, "shape overflows")
	}
	span, ok := naturals(offsets)
	if !ok || len(span) != 2 || span[1] < span[0] || span[1] > 1<<62 {
		return fail(offsets, BadHeader, "data_offsets are no range")
	}
	t.Offset, t.Length = dataAt+span[0], span[1]-span[0]
	if bits := n * t.DType.Bits(); bits%8 != 0 || bits/8 != t.Length {
		return fail(offsets, BadSize, "%d bytes, but %s of shape %v takes %d bits", t.Length, t.DType, t.Shape, bits)
	}
	return t, nil
}

// naturals reads a list of numbers written as plain digits.
func naturals(v *strictjson.Value) ([]int64, bool) {
	if v.Kind != strictjson.Array {
		return nil, false
	}
	out := make([]int64, len(v.Items))
	for i := range v.Items {
		n, err := strconv.ParseUint(v.Items[i].Text, 10, 63)
		if err != nil || v.Items[i].Kind != strictjson.Number {
			return nil, false
		}
		out[i] = int64(n)
	}
	return out, true
}

// layout checks that the sorted tensors tile the bytes after the header.
func (s *Safetensors) layout() error {
	end := s.DataAt
	for i := range s.Tensors {
		t := &s.Tensors[i]
		switch {
		case t.Offset > end:
			return t.fault(end, Hole, "%d bytes before it belong to no tensor", t.Offset-end)
		case t.Offset < end && t.Length > 0:
			return t.fault(t.Offset, Overlap, "it overlaps the tensor before it by %d bytes", end-t.Offset)
		case t.Offset < end:
			return t.fault(t.Offset, Overlap, "it is empty and lies inside another tensor")
		}
		if end += t.Length; end > s.Size {
			return t.fault(s.Size, Truncated, "it ends at %d, the file at %d", end, s.Size)
		}
	}
	if end < s.Size {
		return malformed(end, Trailing, "%d bytes after the last tensor", s.Size-end)
	}
	return nil
}

func (t *Tensor) fault(off int64, fault Fault, format string, args ...any) error {
	e := malformed(off, fault, format, args...)
	e.Tensor = t.Name
	return e
}

// readFull fills p or fails: a reader that ends early lied about its size.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return n, malformed(off+int64(n), Truncated, "the file ends early")
	}
	return n, fmt.Errorf("offset %d: %w", off+int64(n), err)
}
