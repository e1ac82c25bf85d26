package embedding

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A Matrix is vectors of one dimension, numbered from 0. Implementations are
// called from one goroutine at a time and need not keep anything in memory.
type Matrix interface {
	Len() int // vectors
	Dim() int // elements of each

	// ReadBlock fills dst, whose length is a multiple of Dim, with the vectors
	// from row on. It fills all of dst or returns an error, which ends the
	// scan. It must not keep dst.
	ReadBlock(ctx context.Context, dst []float32, row int) error
}

// A Named matrix knows the identifiers of its vectors.
type Named interface {
	Matrix
	ID(row int) string
}

// A Ragged matrix has rows that are no vectors of its dimension: RowDim is how
// many elements a row has. ReadBlock fills such rows with zeros.
type Ragged interface {
	Matrix
	RowDim(row int) int
}

// A Digested matrix knows the digest, algorithm:hex, of what it was read from.
type Digested interface {
	Matrix
	Digest() string
}

// Dense is a matrix in memory. It is not changed after it was made, so it is
// safe for concurrent use.
type Dense struct {
	dim    int
	data   []float32
	ids    []string // nil without
	ragged map[int]int
	digest string
}

var errShape = errors.New("the data does not divide into vectors")

// NewDense makes a matrix of vectors of dim elements, stored one after another
// in data, which it copies. Without identifiers ids is nil.
func NewDense(dim int, data []float32, ids []string) (*Dense, error) {
	if dim <= 0 || len(data)%dim != 0 {
		return nil, fmt.Errorf("%d elements, dimension %d: %w", len(data), dim, errShape)
	}
	if ids != nil && len(ids) != len(data)/dim {
		return nil, fmt.Errorf("%d identifiers for %d vectors: %w", len(ids), len(data)/dim, errShape)
	}
	return &Dense{dim: dim, data: slices.Clone(data), ids: slices.Clone(ids)}, nil
}

// Len is the number of vectors.
func (m *Dense) Len() int {
	if m.dim == 0 {
		return 0
	}
	return len(m.data) / m.dim
}

// Dim is the number of elements of each vector.
func (m *Dense) Dim() int { return m.dim }

// ReadBlock implements [Matrix].
func (m *Dense) ReadBlock(_ context.Context, dst []float32, row int) error {
	if m.dim == 0 || row < 0 || len(dst)%m.dim != 0 || len(dst) > len(m.data)-row*m.dim {
		return fmt.Errorf("row %d and %d elements of %d vectors: %w", row, len(dst), m.Len(), errShape)
	}
	copy(dst, m.data[row*m.dim:])
	return nil
}

// ID implements [Named]; it is "" for vectors without an identifier.
func (m *Dense) ID(row int) string {
	if row < 0 || row >= len(m.ids) {
		return ""
	}
	return m.ids[row]
}

// RowDim implements [Ragged].
func (m *Dense) RowDim(row int) int {
	if d, ok := m.ragged[row]; ok {
		return d
	}
	return m.dim
}

// Digest is the SHA-256 of the file that [Open] read, or "".
func (m *Dense) Digest() string { return m.digest }
