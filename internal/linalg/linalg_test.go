package linalg_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/prerun/prerun/internal/linalg"
)

func random(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

// The tile is an optimisation: no bit differs from one product at a time.
func TestProductsEqualDot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, n := rapid.IntRange(0, 7).Draw(t, "m"), rapid.IntRange(0, 11).Draw(t, "n")
		dim := rapid.IntRange(0, 40).Draw(t, "dim")
		seed := rapid.Uint64().Draw(t, "seed")
		a, b := random(seed, m*dim), random(seed+1, n*dim)
		dst := make([]float32, m*n)
		linalg.Products(dst, a, b, dim)
		for i := range m {
			for j := range n {
				want := linalg.Dot(a[i*dim:(i+1)*dim], b[j*dim:(j+1)*dim])
				if got := dst[i*n+j]; dim > 0 && math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("%d,%d: %v, want %v", i, j, got, want)
				}
			}
		}
	})
}

func TestDotOrder(t *testing.T) {
	// in index order the small terms are lost one by one; any other order keeps them
	a, b := make([]float32, 101), make([]float32, 101)
	a[0], b[0] = 1<<24, 1
	for i := 1; i < len(a); i++ {
		a[i], b[i] = 1, 1
	}
	if got := linalg.Dot(a, b); got != 1<<24 {
		t.Errorf("got %v", got)
	}
}

func TestNorm(t *testing.T) {
	for _, tt := range []struct {
		in   []float32
		want float64
	}{
		{nil, 0},
		{[]float32{3, 4}, 5},
		{[]float32{1, 1, 1, 1, 1, 1, 1, 1, 1}, 3},
		{[]float32{math.MaxFloat32, 0, 0, 0, 0}, math.MaxFloat32},
	} {
		if got := linalg.Norm(tt.in); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
	v := []float32{0, 0}
	if linalg.Normalize(v) != 0 || v[0] != 0 {
		t.Error("zeros must stay")
	}
	v = random(7, 33)
	linalg.Normalize(v)
	if math.Abs(linalg.Norm(v)-1) > 1e-6 {
		t.Errorf("length %v", linalg.Norm(v))
	}
}

func TestOrderStatistics(t *testing.T) {
	x := []float64{9, 1, 3, 2}
	if got := linalg.Median(x); got != 2.5 {
		t.Errorf("median %v", got)
	}
	if x[0] != 9 {
		t.Error("the input was changed")
	}
	if got := linalg.Median(nil); got != 0 {
		t.Errorf("median of nothing %v", got)
	}
	s := linalg.RobustSpread([]float64{1, 2, 3, 4, 100})
	if s.Median != 3 || s.Scale != 1.4826 {
		t.Errorf("%+v", s)
	}
	if z := s.Z(3 + 1.4826); math.Abs(z-1) > 1e-12 {
		t.Errorf("z %v", z)
	}
	flat := linalg.RobustSpread([]float64{5, 5, 5, 9})
	if flat.Z(5) != 0 || !math.IsInf(flat.Z(9), 1) || !math.IsInf(flat.Z(1), -1) {
		t.Errorf("%+v", flat)
	}
	sorted := []float64{0, 10, 20}
	for q, want := range map[float64]float64{0: 0, 0.25: 5, 0.5: 10, 1: 20} {
		if got := linalg.Quantile(sorted, q); got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if linalg.Quantile(nil, 0.5) != 0 {
		t.Error("quantile of nothing")
	}
}

// Moments of parts, merged, are the moments of the whole.
func TestMomentsMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOf(rapid.Float64Range(-1e6, 1e6)).Draw(t, "x")
		at := rapid.IntRange(0, len(x)).Draw(t, "at")
		m := linalg.MomentsOf(x[:at])
		m.Merge(linalg.MomentsOf(x[at:]))
		want := linalg.MomentsOf(x)
		if m.N != want.N || math.Abs(m.Mean-want.Mean) > 1e-6 || math.Abs(m.M2-want.M2) > 1e-9*(1+want.M2) {
			t.Fatalf("%+v, want %+v", m, want)
		}
	})
	m := linalg.MomentsOf([]float64{2, 4, 4, 4, 5, 5, 7, 9})
	if m.Mean != 5 || m.Variance() != 4 {
		t.Errorf("%+v", m)
	}
	if (linalg.Moments{}).Variance() != 0 {
		t.Error("variance of nothing")
	}
}

func TestMedianMatchesSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float64Range(-9, 9), 1, 40).Draw(t, "x")
		got := linalg.Median(x)
		slices.Sort(x)
		if lo, hi := x[(len(x)-1)/2], x[len(x)/2]; got < lo || got > hi {
			t.Fatalf("%v is not between %v and %v", got, lo, hi)
		}
	})
}

func BenchmarkProducts(b *testing.B) {
	for _, dim := range []int{64, 768} {
		b.Run(map[int]string{64: "dim64", 768: "dim768"}[dim], func(b *testing.B) {
			const rows = 240
			x, y, dst := random(1, rows*dim), random(2, rows*dim), make([]float32, rows*rows)
			b.SetBytes(4 * 2 * rows * int64(dim))
			for b.Loop() {
				linalg.Products(dst, x, y, dim)
			}
			b.ReportMetric(2*rows*rows*float64(dim)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
