// Package embeddingtest tests implementations of [embedding.Matrix] and makes
// the attack that detectors of hubs are judged by.
package embeddingtest

import (
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/internal/linalg"
)

// TestMatrix checks that m keeps the contract of [embedding.Matrix] and holds
// the vectors want: every row read alone and in blocks, repeatedly and from
// several goroutines in turn, refusals out of range, a cancelled context left to
// the implementation.
func TestMatrix(t *testing.T, m embedding.Matrix, want [][]float32) {
	t.Helper()
	n, dim := m.Len(), m.Dim()
	if n != len(want) {
		t.Fatalf("Len is %d, want %d", n, len(want))
	}
	if n == 0 {
		return
	}
	if dim != len(want[0]) {
		t.Fatalf("Dim is %d, want %d", dim, len(want[0]))
	}
	read := func(row, count int) []float32 {
		dst := make([]float32, count*dim)
		for i := range dst {
			dst[i] = float32(math.NaN()) // an element that is not written shows
		}
		if err := m.ReadBlock(t.Context(), dst, row); err != nil {
			t.Fatalf("rows %d to %d: %v", row, row+count, err)
		}
		return dst
	}
	for _, count := range []int{1, 2, 7, n} {
		for row := 0; row+count <= n; row += count {
			got := read(row, count)
			for i := range count {
				if !equal(got[i*dim:(i+1)*dim], want[row+i]) {
					t.Fatalf("row %d read with %d others: %v, want %v", row+i, count-1, got[i*dim:(i+1)*dim], want[row+i])
				}
			}
		}
	}
	var turn sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			turn.Lock() // one goroutine at a time is all that the contract promises
			defer turn.Unlock()
			dst := make([]float32, dim)
			if err := m.ReadBlock(t.Context(), dst, n-1); err != nil || !equal(dst, want[n-1]) {
				t.Errorf("last row from another goroutine: %v, %v", dst, err)
			}
		})
	}
	wg.Wait()
	for _, row := range []int{-1, n} {
		if err := m.ReadBlock(t.Context(), make([]float32, dim), row); err == nil {
			t.Errorf("row %d of %d was read", row, n)
		}
	}
	if named, ok := m.(embedding.Named); ok {
		if a, b := named.ID(0), named.ID(0); a != b {
			t.Errorf("row 0 is called %q and %q", a, b)
		}
	}
}

// equal compares bits, so that a NaN equals itself.
func equal(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// Hub returns a vector of length one placed among the vectors of a corpus so
// that it becomes one of the k nearest neighbours, by angle, of as many queries
// as possible: gradient ascent on a smooth count of the queries that are nearer
// to it than to their k-th neighbour. Both are rows of dim elements, one after
// another; zero rows are left out. It is deterministic. The mean of the queries,
// where the ascent starts, is itself a hub in many sets of sentence embeddings,
// but not in sparse topic spaces.
func Hub(corpus, queries []float32, dim, k int) []float32 {
	corpus, queries = directions(corpus, dim), directions(queries, dim)
	n := len(queries) / dim
	kth := make([]float32, n)
	products := make([]float32, len(corpus)/dim)
	hub := make([]float32, dim)
	for i := range n {
		q := queries[i*dim : (i+1)*dim]
		linalg.Products(products, q, corpus, dim)
		slices.Sort(products)
		kth[i] = products[max(0, len(products)-1-k)] // with itself where it is part of the corpus
		for p, x := range q {
			hub[p] += x
		}
	}
	linalg.Normalize(hub)
	best, bestHits := slices.Clone(hub), -1
	const sharpness, step = 0.05, 0.5
	for range 300 {
		gradient := make([]float64, dim)
		var total float64
		hits := 0
		for i := range n {
			q := queries[i*dim : (i+1)*dim]
			margin := float64(linalg.Dot(q, hub) - kth[i])
			if margin > 0 {
				hits++
			}
			s := 1 / (1 + math.Exp(-margin/sharpness))
			w := s * (1 - s)
			total += w
			for p, x := range q {
				gradient[p] += w * float64(x)
			}
		}
		if hits > bestHits {
			bestHits = hits
			copy(best, hub)
		}
		for p := range hub {
			hub[p] += float32(step * gradient[p] / max(total, 1e-12))
		}
		linalg.Normalize(hub)
	}
	return best
}

func directions(x []float32, dim int) []float32 {
	out := make([]float32, 0, len(x))
	for i := 0; i+dim <= len(x); i += dim {
		v := slices.Clone(x[i : i+dim])
		if linalg.Normalize(v) > 0 {
			out = append(out, v...)
		}
	}
	return out
}
