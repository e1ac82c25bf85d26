package stats

import (
	"cmp"
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
	for i, h := range ascending(p) {
		if !(h.p*float64(len(p)-i) <= alpha) {
			break
		}
		reject[h.at] = alpha > 0
	}
	return reject
}

// HolmAdjust returns p-values that can be compared each with its own level:
// those not above alpha are the ones that [Holm] rejects.
func HolmAdjust(p []float64) []float64 {
	adjusted := make([]float64, len(p))
	for i := range adjusted {
		adjusted[i] = 1
	}
	floor := 0.0
	for i, h := range ascending(p) {
		floor = max(floor, min(1, h.p*float64(len(p)-i)))
		adjusted[h.at] = floor
	}
	return adjusted
}

func stepUp(p []float64, q float64) []bool {
	reject := make([]bool, len(p))
	order := ascending(p)
	for i := len(order) - 1; i >= 0; i-- {
		if order[i].p <= q*float64(i+1)/float64(len(p)) {
			for _, h := range order[:i+1] {
				reject[h.at] = q > 0
			}
			break
		}
	}
	return reject
}

type hypothesis struct {
	p  float64
	at int
}

// ascending orders p-values. What is no probability is left out and so never
// rejected; it still counts as a hypothesis.
func ascending(p []float64) []hypothesis {
	order := make([]hypothesis, 0, len(p))
	for i, v := range p {
		if probability(v) {
			order = append(order, hypothesis{v, i})
		}
	}
	slices.SortStableFunc(order, func(a, b hypothesis) int { return cmp.Compare(a.p, b.p) })
	return order
}
