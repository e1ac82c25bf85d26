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
