package embedding

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/internal/tensorfile"
)

// MaxFile is the size in bytes of the largest file that [Open] reads.
const MaxFile = 1 << 30

// maxDim bounds the dimension: models make vectors of a few thousand.
const maxDim = 1 << 16

// Errors of [Open], to test for with errors.Is.
var (
	ErrFormat   = errors.New("no vectors in a known format")
	ErrNoTensor = errors.New("no such tensor of vectors")
)

// Open reads the vectors of a file: a NumPy array or a safetensors file with
// one tensor of two axes and numbers, or JSON lines, one vector a line, either an
// array of numbers or an object with a member "embedding" or "vector" and
// possibly "id", other members ignored. The format is told by content. Lines of
// another dimension than most are kept as [Ragged] rows. Of a safetensors file
// with several such tensors [OpenTensor] reads one.
//
// Errors wrap [ErrFormat] or [ErrNoTensor], are the file system's, or say where
// the file is malformed.
func Open(fsys fs.FS, name string) (*Dense, error) { return OpenTensor(fsys, name, "") }

// OpenTensor is [Open] for the tensor of that name in a safetensors file.
func OpenTensor(fsys fs.FS, name, tensor string) (*Dense, error) {
	data, err := limits.ReadFile(fsys, name, MaxFile)
	if err != nil {
		return nil, err
	}
	m, err := parse(data, tensor)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	m.digest = digestx.Of(data).String()
	return m, nil
}

func parse(data []byte, tensor string) (*Dense, error) {
	text := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case bytes.HasPrefix(data, []byte("\x93NUMPY")):
		return parseNPY(data)
	case len(data) > 8 && data[8] == '{' && data[7] == 0:
		return parseSafetensors(data, tensor)
	case len(text) > 0 && (text[0] == '{' || text[0] == '['):
		return parseLines(data)
	}
	return nil, ErrFormat
}

func parseNPY(data []byte) (*Dense, error) {
	a, err := tensorfile.ParseNPY(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	if !vectors(&a.Tensor) || a.HasObject {
		return nil, fmt.Errorf("an array of type %s and shape %v holds no vectors: %w", a.Descr, a.Shape, ErrFormat)
	}
	m, err := decode(data, &a.Tensor)
	if err != nil {
		return nil, err
	}
	if a.Fortran { // stored by column
		rows := m.Len()
		out := make([]float32, len(m.data))
		for i := range rows {
			for j := range m.dim {
				out[i*m.dim+j] = m.data[j*rows+i]
			}
		}
		m.data = out
	}
	return m, nil
}

func parseSafetensors(data []byte, tensor string) (*Dense, error) {
	st, err := tensorfile.ParseSafetensors(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	var found *tensorfile.Tensor
	for i := range st.Tensors {
		t := &st.Tensors[i]
		if tensor != "" && t.Name != tensor || !vectors(t) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("tensors %q and %q both hold vectors, name one: %w", found.Name, t.Name, ErrNoTensor)
		}
		found = t
	}
	if found == nil {
		return nil, fmt.Errorf("%q: %w", tensor, ErrNoTensor)
	}
	return decode(data, found)
}

func vectors(t *tensorfile.Tensor) bool {
	return len(t.Shape) == 2 && t.DType.Decodable() && t.DType != tensorfile.Bool && t.Shape[1] > 0 && t.Shape[1] <= maxDim
}

// decode reads a tensor whose bytes are known to lie in data. One-byte types
// make four times as many bytes of the vectors as the file has; nothing makes
// more.
func decode(data []byte, t *tensorfile.Tensor) (*Dense, error) {
	m := &Dense{dim: int(t.Shape[1]), data: make([]float32, t.Elements())}
	return m, tensorfile.ReadFloat32(bytes.NewReader(data), t, 0, m.data)
}

// maxLine bounds a line: 65536 numbers of 16 characters.
const maxLine = 1 << 20

type row struct {
	id     string
	vector []float32
}

func parseLines(data []byte) (*Dense, error) {
	var rows []row
	named := false
	offset := 0
	for line := range bytes.Lines(data) {
		text := bytes.TrimSpace(line)
		if len(text) > 0 {
			if len(text) > maxLine {
				return nil, fmt.Errorf("vector %d, offset %d: a line of %d bytes, the limit is %d", len(rows), offset, len(text), maxLine)
			}
			r, err := parseLine(text)
			if err != nil {
				return nil, fmt.Errorf("vector %d, line at offset %d: %w", len(rows), offset, err)
			}
			named = named || r.id != ""
			rows = append(rows, r)
		}
		offset += len(line)
	}
	counts := map[int]int{}
	for _, r := range rows {
		counts[len(r.vector)]++
	}
	dim := 0
	for d, n := range counts { // the commonest, the larger of two
		if n > counts[dim] || n == counts[dim] && d > dim {
			dim = d
		}
	}
	if dim == 0 {
		return nil, fmt.Errorf("no line has numbers: %w", ErrFormat)
	}
	if int64(len(rows))*int64(dim) > MaxFile/4 {
		return nil, &limits.Error{Unit: "bytes of vectors", Max: MaxFile}
	}
	m := &Dense{dim: dim, data: make([]float32, len(rows)*dim), ragged: map[int]int{}}
	if named {
		m.ids = make([]string, len(rows))
	}
	for i, r := range rows {
		if named {
			m.ids[i] = r.id
		}
		if len(r.vector) != dim {
			m.ragged[i] = len(r.vector)
			continue
		}
		copy(m.data[i*dim:], r.vector)
	}
	return m, nil
}

func parseLine(text []byte) (row, error) {
	v, err := strictjson.Parse(text, strictjson.Limits{Bytes: maxLine, Depth: 16, Nodes: 4 * maxDim})
	if err != nil {
		return row{}, err
	}
	var r row
	list := v
	if v.Kind == strictjson.Object {
		if list = v.Get("embedding"); list == nil {
			list = v.Get("vector")
		}
		if id := v.Get("id"); id != nil && (id.Kind == strictjson.String || id.Kind == strictjson.Number) {
			r.id = id.Text
		}
	}
	if list == nil || list.Kind != strictjson.Array || len(list.Items) > maxDim {
		return row{}, fmt.Errorf("no array of at most %d numbers: %w", maxDim, ErrFormat)
	}
	r.vector = make([]float32, len(list.Items))
	for i := range list.Items {
		item := &list.Items[i]
		x, err := strconv.ParseFloat(item.Text, 32) // out of range is infinite, and found as that
		if item.Kind != strictjson.Number || err != nil && !errors.Is(err, strconv.ErrRange) {
			return row{}, fmt.Errorf("element %d is no number: %w", i, ErrFormat)
		}
		r.vector[i] = float32(x)
	}
	return r, nil
}
