package stats

import "math"

// ClopperPearsonUpper is the exact one-sided upper bound, at confidence
// 1-alpha, of a rate of which k of n independent trials gave evidence: the
// smallest rate at which k or fewer have a probability of at most alpha. It is
// rounded up, never falls when k grows, and never rises when n grows.
func ClopperPearsonUpper(k, n int, alpha float64) float64 {
	if n <= 0 || k < 0 || k >= n || !(alpha > 0 && alpha < 1) {
		return 1
	}
	if k == 0 {
		return -math.Expm1(math.Log(alpha) / float64(n))
	}
	_, high := bracket(func(p float64) bool { return BinomLower(k, n, p) <= alpha })
	return high
}

// ClopperPearsonLower is the matching lower bound: the largest rate at which k
// or more have a probability of at most alpha, rounded down.
func ClopperPearsonLower(k, n int, alpha float64) float64 {
	if n <= 0 || k <= 0 || !(alpha > 0 && alpha < 1) {
		return 0
	}
	if k >= n {
		return math.Exp(math.Log(alpha) / float64(n))
	}
	low, _ := bracket(func(p float64) bool { return BinomUpper(k, n, p) > alpha })
	return low
}

// bracket returns neighbouring floating-point numbers between which a predicate
// that is false at 0 and true at 1 turns true. Bits of non-negative numbers
// order as the numbers do, so it takes at most 62 steps wherever the answer is.
func bracket(turned func(p float64) bool) (low, high float64) {
	lo, hi := math.Float64bits(0), math.Float64bits(1)
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; turned(math.Float64frombits(mid)) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return math.Float64frombits(lo), math.Float64frombits(hi)
}

// TrialsForUpper is the smallest number of trials of which k may fail while
// [ClopperPearsonUpper] stays at or below limit. It is 0 when no number that
// fits an int of 32 bits does.
func TrialsForUpper(k int, limit, alpha float64) int {
	if k < 0 || !(limit > 0) || math.IsNaN(limit) || !(alpha > 0 && alpha < 1) {
		return 0
	}
	lo, hi := k, k+1 // lo never suffices: all trials failed
	for ClopperPearsonUpper(k, hi, alpha) > limit {
		if hi >= math.MaxInt32/2 {
			return 0
		}
		lo, hi = hi, 2*hi
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; ClopperPearsonUpper(k, mid, alpha) <= limit {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

// EffectiveUpper is the upper bound of [ClopperPearsonUpper] for x failures in n
// trials that need not be whole: counts discounted for dependence.
func EffectiveUpper(x, n, alpha float64) float64 {
	if !(n > 0) || math.IsInf(n, 1) || !(x >= 0 && x < n) || !(alpha > 0 && alpha < 1) {
		return 1
	}
	_, high := bracket(func(p float64) bool { return betaRegularised(n-x, x+1, 1-p, p) <= alpha })
	return high
}

// MeanAbove is a p-value against the hypothesis that independent values within
// [0, 1] have a mean of at most limit, whatever their distribution: the
// reciprocal of a bet that grows when they are larger (Waudby-Smith and Ramdas
// 2024, arXiv 2010.09686), averaged over seven fixed stakes. It does not depend
// on the order of the values.
func MeanAbove(values []float64, limit float64) float64 {
	if !(limit > 0 && limit < 1) || len(values) == 0 {
		return 1
	}
	var stakes []float64
	for _, h := range []float64{1.1, 1.5, 2, 3, 5, 10} {
		if h*limit < 1 { // the stake is best against a true mean of h*limit
			stakes = append(stakes, (h-1)/(1-limit))
		}
	}
	stakes = append(stakes, 0.5/limit)
	largest := math.Inf(-1)
	wealth := make([]float64, len(stakes)) // logarithms
	for i, stake := range stakes {
		for _, v := range values {
			if !(v >= 0 && v <= 1) {
				return 1
			}
			wealth[i] += math.Log1p(stake * (v - limit))
		}
		largest = max(largest, wealth[i])
	}
	sum := 0.0
	for _, w := range wealth {
		sum += math.Exp(w - largest)
	}
	return min(1, math.Exp(math.Log(float64(len(stakes)))-largest-math.Log(sum)))
}
