package stats

import (
	"cmp"
	"math"
	"slices"
)

// BH is the step-up procedure of Benjamini and Hochberg (1995): it reports
// which hypotheses are rejected at false discovery rate q. Valid for p-values
// that are independent or positively dependent.
func BH(p []float64, q float64) []bool {
	return stepUp(p, q)
}

// BY is the procedure of Benjamini and Yekutieli (2001), valid under any
// dependence, at the price of a factor that grows with the logarithm of the
// number of hypotheses.
func BY(p []float64, q float64) []bool {
	harmonic := 0.0
	for i := len(p); i > 0; i-- {
		harmonic += 1 / float64(i)
	}
	return stepUp(p, q/harmonic)
}

// Holm is the step-down procedure of Holm (1979): the probability of any false
// rejection is at most alpha, under any dependence.
func Holm(p []float64, alpha float64) []bool {
	reject := make([]bool, len(p))
	order := ascending(p)
	for i, at := range order {
		if !(alpha > 0) || !(p[at]*float64(len(p)-i) <= alpha) {
			break
		}
		reject[at] = true
	}
	return reject
}

func stepUp(p []float64, q float64) []bool {
	reject := make([]bool, len(p))
	if !(q > 0) {
		return reject
	}
	order := ascending(p)
	for i := len(order) - 1; i >= 0; i-- {
		if p[order[i]] <= q*float64(i+1)/float64(len(p)) {
			for _, at := range order[:i+1] {
				reject[at] = true
			}
			break
		}
	}
	return reject
}

// ascending orders p-values; what is not a number is last and never rejected.
func ascending(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	rank := func(i int) float64 {
		if math.IsNaN(p[i]) || p[i] < 0 {
			return math.Inf(1)
		}
		return p[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	return order
}
