// Package linalg holds the numeric kernels that weights and embeddings share.
//
// Every result is the same bits for any tile, any number of goroutines and any
// processor: each inner product is one chain of additions in index order, and
// products are rounded before they are added, so that no compiler fuses them.
// Inputs are not checked for NaN; callers look for them first.
package linalg

import (
	"math"
	"slices"
)

// Dot is the inner product of a and b, which have one length, summed in index
// order.
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s float32
	for i, x := range a {
		s += float32(x * b[i])
	}
	return s
}

// Products writes the inner products of the rows of a with the rows of b:
// dst[i*n+j] is Dot of row i of a and row j of b, bit for bit, where n is the
// number of rows of b. Rows have dim elements each.
func Products(dst, a, b []float32, dim int) {
	if dim == 0 {
		clear(dst)
		return
	}
	m, n := len(a)/dim, len(b)/dim
	i := 0
	for ; i+2 <= m; i += 2 {
		a0, a1 := a[i*dim:(i+1)*dim], a[(i+1)*dim:(i+2)*dim]
		d0, d1 := dst[i*n:(i+1)*n], dst[(i+1)*n:(i+2)*n]
		j := 0
		for ; j+4 <= n; j += 4 {
			tile(d0[j:j+4], d1[j:j+4], a0, a1, b[j*dim:(j+4)*dim])
		}
		for ; j < n; j++ {
			row := b[j*dim : (j+1)*dim]
			d0[j], d1[j] = Dot(a0, row), Dot(a1, row)
		}
	}
	for ; i < m; i++ {
		row := a[i*dim : (i+1)*dim]
		for j := range n {
			dst[i*n+j] = Dot(row, b[j*dim:(j+1)*dim])
		}
	}
}

// tile is eight inner products at once: eight chains of additions hide the
// latency of one, and each element is loaded once for two or four products.
func tile(d0, d1, a0, a1, b []float32) {
	dim := len(a0)
	a1 = a1[:dim]
	b0, b1, b2, b3 := b[:dim], b[dim:][:dim], b[2*dim:][:dim], b[3*dim:][:dim]
	var s00, s01, s02, s03, s10, s11, s12, s13 float32
	for p, x := range a0 {
		y := a1[p]
		v0, v1, v2, v3 := b0[p], b1[p], b2[p], b3[p]
		s00 += float32(x * v0)
		s01 += float32(x * v1)
		s02 += float32(x * v2)
		s03 += float32(x * v3)
		s10 += float32(y * v0)
		s11 += float32(y * v1)
		s12 += float32(y * v2)
		s13 += float32(y * v3)
	}
	d0[0], d0[1], d0[2], d0[3] = s00, s01, s02, s03
	d1[0], d1[1], d1[2], d1[3] = s10, s11, s12, s13
}

// SquaredNorm is the sum of squares in double precision. It is exact enough
// that it overflows for no finite input.
func SquaredNorm(a []float32) float64 {
	var s0, s1, s2, s3 float64
	for len(a) >= 4 {
		x0, x1, x2, x3 := float64(a[0]), float64(a[1]), float64(a[2]), float64(a[3])
		s0 += float64(x0 * x0)
		s1 += float64(x1 * x1)
		s2 += float64(x2 * x2)
		s3 += float64(x3 * x3)
		a = a[4:]
	}
	for _, x := range a {
		v := float64(x)
		s0 += float64(v * v)
	}
	return (s0 + s1) + (s2 + s3)
}

// Norm is the Euclidean length in double precision.
func Norm(a []float32) float64 { return math.Sqrt(SquaredNorm(a)) }

// Normalize scales a to length one in place and returns its length before. A
// vector of zeros stays.
func Normalize(a []float32) float64 {
	n := Norm(a)
	if n == 0 {
		return 0
	}
	inv := 1 / n
	for i, x := range a {
		a[i] = float32(float64(x) * inv)
	}
	return n
}

// Median is the middle of the sorted values, or the mean of the two middle
// ones; 0 without values. It does not change x.
func Median(x []float64) float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	return sortedMedian(s)
}

// Quantile is the value at rank q*(n-1) of sorted values, interpolated; 0
// without values.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-1)
	if i+1 >= len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func sortedMedian(s []float64) float64 {
	n := len(s)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return s[n/2]
	}
	return s[n/2-1] + (s[n/2]-s[n/2-1])/2
}

// A Spread is a robust centre and scale: the median and 1.4826 times the
// median absolute deviation from it, which is the standard deviation of normal
// values.
type Spread struct{ Median, Scale float64 }

// RobustSpread measures x without changing it.
func RobustSpread(x []float64) Spread {
	s := slices.Clone(x)
	slices.Sort(s)
	med := sortedMedian(s)
	for i, v := range s {
		s[i] = math.Abs(v - med)
	}
	slices.Sort(s)
	return Spread{med, 1.4826 * sortedMedian(s)}
}

// Z is the robust z-score of v. With no spread at all it is 0 for the median
// and infinite elsewhere.
func (s Spread) Z(v float64) float64 {
	switch d := v - s.Median; {
	case d == 0:
		return 0
	case s.Scale == 0:
		return math.Inf(int(math.Copysign(1, d)))
	default:
		return d / s.Scale
	}
}

// Moments are the mergeable first two moments of a series. The zero value is
// of no values. Merging in a fixed order gives the same bits.
type Moments struct {
	N    int64
	Mean float64
	M2   float64 // sum of squared deviations from the mean
}

// MomentsOf measures x in two passes, which is faster and more exact than
// adding one value at a time.
func MomentsOf(x []float64) Moments {
	if len(x) == 0 {
		return Moments{}
	}
	n := float64(len(x))
	var sum float64
	for _, v := range x {
		sum += v
	}
	mean := sum / n
	var m2, rest float64
	for _, v := range x {
		d := v - mean
		rest += d
		m2 += float64(d * d)
	}
	return Moments{int64(len(x)), mean + rest/n, m2 - float64(rest*rest)/n}
}

// Merge adds the values of o (Chan, Golub and LeVeque 1979).
func (m *Moments) Merge(o Moments) {
	if o.N == 0 {
		return
	}
	if m.N == 0 {
		*m = o
		return
	}
	n := m.N + o.N
	d := o.Mean - m.Mean
	share := float64(o.N) / float64(n)
	m.Mean += float64(d * share)
	m.M2 += o.M2 + float64(float64(d*d)*float64(m.N))*share
	m.N = n
}

// Variance divides by N; 0 without values.
func (m Moments) Variance() float64 {
	if m.N == 0 {
		return 0
	}
	return max(0, m.M2/float64(m.N))
}
