// Package stats holds the exact tail probabilities, confidence bounds and
// multiple-test procedures that the public packages decide with.
//
// Tails are computed as a probability mass times a convergent series or
// continued fraction of positive terms, never as one minus something close to
// one, so they keep their relative accuracy (better than 1e-10 over the ranges
// of the reference table) down to the smallest normal number; below it they
// are 0. The masses follow C. Loader, "Fast and Accurate Computation of
// Binomial Probabilities" (2000), because a difference of three log gammas
// loses as many digits as the counts have.
//
// No function returns NaN and none panics. An argument outside its domain, NaN
// among them, gets the answer that claims nothing: 1 for a tail probability and
// an upper bound, 0 for a lower bound, no rejection for a test procedure. A
// count outside the support is not outside the domain: P(X >= n+1) is 0.
package stats

import "math"

// BinomUpper is P(X >= k) for X binomial with n trials of probability p.
// O(sqrt(n)) time.
func BinomUpper(k, n int, p float64) float64 {
	switch {
	case n < 0 || !probability(p):
		return 1
	case k <= 0:
		return 1
	case k > n:
		return 0
	}
	return betaRegularised(float64(k), float64(n-k)+1, p, 1-p)
}

// BinomLower is P(X <= k) for X binomial with n trials of probability p.
// O(sqrt(n)) time.
func BinomLower(k, n int, p float64) float64 {
	switch {
	case n < 0 || !probability(p):
		return 1
	case k < 0:
		return 0
	case k >= n:
		return 1
	}
	return betaRegularised(float64(n-k), float64(k)+1, 1-p, p)
}

// NegBinomUpper is P(X >= k) for X the number of failures before the r-th
// success of probability p: mean r(1-p)/p. r need not be an integer, so the
// distribution is also the gamma mixture of Poisson counts with that mean.
func NegBinomUpper(k int, r, p float64) float64 {
	switch {
	case !(r > 0) || math.IsInf(r, 1) || !probability(p) || p == 0:
		return 1
	case k <= 0:
		return 1
	}
	return betaRegularised(float64(k), r, 1-p, p)
}

// PoissonUpper is P(X >= k) for X Poisson with mean lambda.
func PoissonUpper(k int, lambda float64) float64 {
	switch {
	case !(lambda >= 0) || math.IsInf(lambda, 1):
		return 1
	case k <= 0:
		return 1
	case lambda == 0:
		return 0
	}
	x := float64(k)
	if x > lambda {
		sum, term := 1.0, 1.0
		for j := x + 1; term > sum*epsilon; j++ {
			term *= lambda / j
			sum += term
		}
		return min(1, poissonMass(x, lambda)*sum)
	}
	x--
	sum, term := 1.0, 1.0
	for j := x; j > 0 && term > sum*epsilon; j-- {
		term *= j / lambda
		sum += term
	}
	return complement(poissonMass(x, lambda) * sum)
}

// HypergeomUpper is P(X >= k) for X the number of marked items among n drawn
// without replacement from N of which K are marked.
func HypergeomUpper(k, K, n, N int) float64 {
	if N < 0 || K < 0 || n < 0 || K > N || n > N {
		return 1
	}
	low, high := max(0, n-(N-K)), min(K, n)
	switch {
	case k <= low:
		return 1
	case k > high:
		return 0
	}
	fK, fn, fN := float64(K), float64(n), float64(N)
	if float64(k) > fK*(fn/fN) {
		sum, term := 1.0, 1.0
		for j := float64(k); j < float64(high) && term > sum*epsilon; j++ {
			term *= (fK - j) / (j + 1) * ((fn - j) / (fN - fK - fn + j + 1))
			sum += term
		}
		return min(1, hypergeomMass(k, K, n, N)*sum)
	}
	k--
	sum, term := 1.0, 1.0
	for j := float64(k); j > float64(low) && term > sum*epsilon; j-- {
		term *= j / (fK - j + 1) * ((fN - fK - fn + j) / (fn - j + 1))
		sum += term
	}
	return complement(hypergeomMass(k, K, n, N) * sum)
}

// FisherGreater is the one-sided p-value of Fisher's exact test on the table
//
//	a b
//	c d
//
// against the alternative that the odds of the first row exceed those of the
// second.
func FisherGreater(a, b, c, d int) float64 {
	if a < 0 || b < 0 || c < 0 || d < 0 {
		return 1
	}
	return HypergeomUpper(a, a+b, a+c, a+b+c+d)
}

// McNemarGreater is the exact one-sided p-value of McNemar's test: of b+c pairs
// that disagree, b or more fall on the first side although each side is
// equally likely.
func McNemarGreater(b, c int) float64 {
	if b < 0 || c < 0 {
		return 1
	}
	return BinomUpper(b, b+c, 0.5)
}

const epsilon = 0x1p-55 // relative size of a term that no longer matters

func probability(p float64) bool { return p >= 0 && p <= 1 }

func complement(p float64) float64 { return max(0, 1-p) }

// betaRegularised is the regularised incomplete beta function I_x(a, b) for
// a, b > 0, with y = 1-x given apart because the caller often has it exact.
func betaRegularised(a, b, x, y float64) float64 {
	switch {
	case x <= 0:
		return 0
	case y <= 0:
		return 1
	case x*(a+b+2) > a+1:
		return complement(betaTail(b, a, y, x))
	}
	return min(1, betaTail(a, b, x, y))
}

// betaTail evaluates the continued fraction of I_x(a, b) by the modified Lentz
// method. It converges in O(sqrt(max(a, b))) steps for x < (a+1)/(a+b+2).
func betaTail(a, b, x, y float64) float64 {
	front := binomMass(a, a+b, x, y) * (b / (a + b))
	if front == 0 {
		return 0
	}
	const tiny = 1e-300
	away := func(v float64) float64 { // from zero, which has no reciprocal
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c := 1.0
	d := 1 / away(1-(a+b)*x/(a+1))
	h := d
	for m := 1.0; m < 1e7; m++ {
		step := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / away(1+step*d)
		c = away(1 + step/c)
		h *= d * c
		step = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / away(1+step*d)
		c = away(1 + step/c)
		h *= d * c
		if math.Abs(d*c-1) <= 0x1p-52 {
			break
		}
	}
	return front * h
}

// binomMass is Gamma(n+1)/(Gamma(x+1)Gamma(n-x+1)) p^x q^(n-x), for real
// 0 <= x <= n, by Loader's saddle-point expansion.
func binomMass(x, n, p, q float64) float64 {
	switch {
	case x == 0:
		return math.Exp(n * logOf(q, p))
	case x == n:
		return math.Exp(n * logOf(p, q))
	case p == 0 || q == 0:
		return 0
	}
	e := stirlingError(n) - stirlingError(x) - stirlingError(n-x) -
		deviance(x, n*p) - deviance(n-x, n*q)
	return math.Exp(e) * math.Sqrt(n/(2*math.Pi*x*(n-x)))
}

// logOf is log(p) with q = 1-p known, which is the better start near 1.
func logOf(p, q float64) float64 {
	if q < 0.5 {
		return math.Log1p(-q)
	}
	return math.Log(p)
}

func poissonMass(x, lambda float64) float64 {
	if x == 0 {
		return math.Exp(-lambda)
	}
	return math.Exp(-stirlingError(x)-deviance(x, lambda)) / math.Sqrt(2*math.Pi*x)
}

func hypergeomMass(k, K, n, N int) float64 {
	p := float64(n) / float64(N)
	q := float64(N-n) / float64(N)
	return binomMass(float64(k), float64(K), p, q) *
		binomMass(float64(n-k), float64(N-K), p, q) /
		binomMass(float64(n), float64(N), p, q)
}

// stirlingError is log(Gamma(n+1)) minus Stirling's approximation, for n > 0.
func stirlingError(n float64) float64 {
	if n < 16 {
		lg, _ := math.Lgamma(n + 1)
		return lg - (n+0.5)*math.Log(n) + n - halfLog2Pi
	}
	n2 := n * n
	return (1.0/12 - (1.0/360-(1.0/1260-(1.0/1680-(1.0/1188-691.0/360360/n2)/n2)/n2)/n2)/n2) / n
}

const halfLog2Pi = 0.91893853320467274178

// deviance is x log(x/m) + m - x without cancellation where x is near m.
func deviance(x, m float64) float64 {
	if math.Abs(x-m) >= 0.1*(x+m) {
		return x*math.Log(x/m) + m - x
	}
	v := (x - m) / (x + m)
	s := (x - m) * v
	e := 2 * x * v
	v *= v
	for j := 3.0; ; j += 2 {
		e *= v
		next := s + e/j
		if next == s {
			return s
		}
		s = next
	}
}
