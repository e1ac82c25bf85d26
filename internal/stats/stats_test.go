package stats_test

import (
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/prerun/prerun/internal/stats"
)

// TestReference compares with testdata/reference.tsv, which reference.py wrote
// with mpmath 1.4.1 and scipy 1.17.1.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("testdata/reference.tsv")
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		x := make([]float64, len(cells)-1)
		for i, cell := range cells[1:] {
			if x[i], err = strconv.ParseFloat(cell, 64); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		n := func(i int) int { return int(x[i]) }
		var got float64
		switch cells[0] {
		case "binom_upper":
			got = stats.BinomUpper(n(0), n(1), x[2])
		case "binom_lower":
			got = stats.BinomLower(n(0), n(1), x[2])
		case "hypergeom_upper":
			got = stats.HypergeomUpper(n(0), n(1), n(2), n(3))
		case "fisher_greater":
			got = stats.FisherGreater(n(0), n(1), n(2), n(3))
		case "poisson_upper":
			got = stats.PoissonUpper(n(0), x[1])
		case "negbinom_upper":
			got = stats.NegBinomUpper(n(0), x[1], x[2])
		case "cp_upper":
			got = stats.ClopperPearsonUpper(n(0), n(1), x[2])
		case "cp_lower":
			got = stats.ClopperPearsonLower(n(0), n(1), x[2])
		default:
			t.Fatalf("unknown function %q", cells[0])
		}
		want := x[len(x)-1]
		if want < math.SmallestNonzeroFloat64*0x1p52 { // subnormal or less: must at least be as tiny
			if got > 1e-300 {
				t.Errorf("%s: got %g", strings.TrimSpace(line), got)
			}
			continue
		}
		rel := math.Abs(got-want) / want
		worst = max(worst, rel)
		if !(rel <= 1e-10) {
			t.Errorf("%s: got %.17g, relative error %.2g", strings.TrimSpace(line), got, rel)
		}
	}
	t.Logf("worst relative error %.2g", worst)
}

// TestNeededTrials holds the table of the smallest sample that passes with k
// failures, which was computed twice independently.
func TestNeededTrials(t *testing.T) {
	for _, tt := range []struct {
		limit, alpha float64
		want         []int // for 0, 1, 2, 3 failures
	}{
		{.20, .05, []int{14, 22, 30, 37}},
		{.10, .05, []int{29, 46, 61, 76}},
		{.05, .05, []int{59, 93, 124, 153}},
		{.02, .05, []int{149, 236, 313, 386}},
		{.01, .05, []int{299, 473, 628, 773}},
		{.005, .05, []int{598, 947, 1258, 1549}},
		{.001, .05, []int{2995, 4742, 6294, 7752}},
		{.20, .01, []int{21, 31, 39, 47}},
		{.10, .01, []int{44, 64, 81, 97}},
		{.05, .01, []int{90, 130, 165, 198}},
		{.02, .01, []int{228, 330, 418, 499}},
		{.01, .01, []int{459, 662, 838, 1001}},
		{.005, .01, []int{919, 1325, 1678, 2006}},
		{.001, .01, []int{4603, 6636, 8403, 10042}},
	} {
		for k, want := range tt.want {
			if got := stats.TrialsForUpper(k, tt.limit, tt.alpha); got != want {
				t.Errorf("TrialsForUpper(%d, %g, %g) = %d, want %d", k, tt.limit, tt.alpha, got, want)
			}
		}
	}
	for _, tt := range []struct {
		k            int
		limit, alpha float64
	}{{0, 0, .05}, {-1, .1, .05}, {0, .1, 0}, {0, .1, 1}, {0, math.NaN(), .05}, {0, 1e-12, .05}} {
		if got := stats.TrialsForUpper(tt.k, tt.limit, tt.alpha); got != 0 {
			t.Errorf("TrialsForUpper(%d, %g, %g) = %d, want 0", tt.k, tt.limit, tt.alpha, got)
		}
	}
}

// TestOutsideDomain: what makes no sense claims nothing, and nothing is NaN.
func TestOutsideDomain(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, got := range map[string]float64{
		"binom negative n":        stats.BinomUpper(1, -1, .5),
		"binom negative p":        stats.BinomUpper(1, 2, -.1),
		"binom p above 1":         stats.BinomUpper(1, 2, 1.1),
		"binom NaN":               stats.BinomUpper(1, 2, nan),
		"binom lower NaN":         stats.BinomLower(1, 2, nan),
		"binom lower negative n":  stats.BinomLower(-1, -1, .5),
		"poisson negative":        stats.PoissonUpper(1, -1),
		"poisson NaN":             stats.PoissonUpper(1, nan),
		"poisson infinite":        stats.PoissonUpper(1, inf),
		"negbinom r 0":            stats.NegBinomUpper(1, 0, .5),
		"negbinom r NaN":          stats.NegBinomUpper(1, nan, .5),
		"negbinom r infinite":     stats.NegBinomUpper(1, inf, .5),
		"negbinom p 0":            stats.NegBinomUpper(1, 1, 0),
		"hypergeom marked over N": stats.HypergeomUpper(1, 11, 5, 10),
		"hypergeom drawn over N":  stats.HypergeomUpper(1, 5, 11, 10),
		"hypergeom negative":      stats.HypergeomUpper(1, -5, 5, 10),
		"fisher negative":         stats.FisherGreater(1, -1, 1, 1),
		"mcnemar negative":        stats.McNemarGreater(-1, 1),
		"upper no trials":         stats.ClopperPearsonUpper(0, 0, .05),
		"upper more than trials":  stats.ClopperPearsonUpper(3, 2, .05),
		"upper negative":          stats.ClopperPearsonUpper(-1, 2, .05),
		"upper alpha 0":           stats.ClopperPearsonUpper(0, 10, 0),
		"upper alpha NaN":         stats.ClopperPearsonUpper(0, 10, nan),
		"lower no trials, as 1-x": 1 - stats.ClopperPearsonLower(0, 0, .05),
		"lower alpha NaN, as 1-x": 1 - stats.ClopperPearsonLower(5, 10, nan),
	} {
		if got != 1 {
			t.Errorf("%s: got %g, want 1", name, got)
		}
	}
	for name, got := range map[string]float64{
		"binom above support":     stats.BinomUpper(3, 2, .5),
		"binom lower below 0":     stats.BinomLower(-1, 2, .5),
		"binom p 0":               stats.BinomUpper(1, 2, 0),
		"poisson of mean 0":       stats.PoissonUpper(1, 0),
		"negbinom p 1":            stats.NegBinomUpper(1, 2, 1),
		"hypergeom above support": stats.HypergeomUpper(4, 3, 5, 10),
	} {
		if got != 0 {
			t.Errorf("%s: got %g, want 0", name, got)
		}
	}
}

func TestTailLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		p := rapid.Float64Range(0, 1).Draw(t, "p")
		up, low := stats.BinomUpper(k, n, p), stats.BinomLower(k-1, n, p)
		if math.Abs(up+low-1) > 1e-10 {
			t.Fatalf("tails %g and %g do not add up to 1", up, low)
		}
		if next := stats.BinomUpper(k+1, n, p); next > up*(1+1e-10) {
			t.Fatalf("P(X>=%d) = %g > P(X>=%d) = %g", k+1, next, k, up)
		}
		lambda := float64(n) * p
		if a, b := stats.PoissonUpper(k, lambda), stats.PoissonUpper(k+1, lambda); !(b <= a*(1+1e-10)) || a > 1 || b < 0 {
			t.Fatalf("Poisson tails %g, %g", a, b)
		}
		K := rapid.IntRange(0, n).Draw(t, "K")
		drawn := rapid.IntRange(0, n).Draw(t, "drawn")
		a, b := stats.HypergeomUpper(k, K, drawn, n), stats.HypergeomUpper(k, drawn, K, n)
		if math.Abs(a-b) > 1e-10*max(a, b) || a < 0 || a > 1 {
			t.Fatalf("hypergeometric is not symmetric: %g and %g", a, b)
		}
		r := rapid.Float64Range(1e-3, 1e3).Draw(t, "r")
		if a, b := stats.NegBinomUpper(k, r, p), stats.NegBinomUpper(k+1, r, p); !(b <= a*(1+1e-10)) || a > 1 || b < 0 {
			t.Fatalf("negative binomial tails %g, %g", a, b)
		}
	})
}

func TestBoundLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		alpha := rapid.SampledFrom([]float64{.2, .05, .01, 1e-6}).Draw(t, "alpha")
		u, l := stats.ClopperPearsonUpper(k, n, alpha), stats.ClopperPearsonLower(k, n, alpha)
		rate := float64(k) / float64(n)
		if !(0 <= l && l <= rate && rate <= u && u <= 1) {
			t.Fatalf("bounds %g, %g around %g", l, u, rate)
		}
		if next := stats.ClopperPearsonUpper(k+1, n, alpha); next < u {
			t.Fatalf("a further failure lowers the bound from %g to %g", u, next)
		}
		if next := stats.ClopperPearsonUpper(k, n+1, alpha); next > u {
			t.Fatalf("a further success raises the bound from %g to %g", u, next)
		}
		if u < 1 && stats.BinomLower(k, n, u) > alpha*(1+1e-9) {
			t.Fatalf("P(X<=%d) at the bound is above alpha", k)
		}
		if mirrored := 1 - stats.ClopperPearsonLower(n-k, n, alpha); math.Abs(mirrored-u) > 1e-12 {
			t.Fatalf("upper %g, mirrored lower %g", u, mirrored)
		}
	})
}

// TestCoverage enumerates: at no true rate does the bound miss more often than
// alpha says. The mean, as a negative control, does.
func TestCoverage(t *testing.T) {
	const n, alpha = 60, .05
	for _, p := range []float64{.005, .01, .03, .05, .0487, .1, .3, .5, .9, .99} {
		miss, meanMiss := 0.0, 0.0
		for k := range n + 1 {
			mass := stats.BinomUpper(k, n, p) - stats.BinomUpper(k+1, n, p)
			if stats.ClopperPearsonUpper(k, n, alpha) < p {
				miss += mass
			}
			if float64(k)/n < p {
				meanMiss += mass
			}
		}
		if miss > alpha+1e-12 {
			t.Errorf("p=%g: the bound lies below it with probability %g", p, miss)
		}
		if meanMiss < alpha && p < .9 {
			t.Errorf("p=%g: control: the mean lies below it with probability %g only", p, meanMiss)
		}
	}
}

func TestMultiple(t *testing.T) {
	p := []float64{.01, .04, .03, .005, .8}
	for _, tt := range []struct {
		name string
		got  []bool
		want string
	}{
		{"bh", stats.BH(p, .05), "xxxx."},
		{"by", stats.BY(p, .05), "....."},
		{"by_loose", stats.BY(p, .12), "xxxx."},
		{"holm", stats.Holm(p, .05), "x..x."},
		{"bh_step_up", stats.BH([]float64{.049, .049}, .05), "xx"},
		{"nan_is_never_rejected", stats.BH([]float64{math.NaN(), 1e-9, -1}, 1), ".x."},
		{"holm_nan", stats.Holm([]float64{math.NaN(), 1e-9}, .05), ".x"},
		{"q_nan", stats.BH([]float64{0}, math.NaN()), "."},
		{"alpha_nan", stats.Holm([]float64{0}, math.NaN()), "."},
		{"q_zero", stats.BH([]float64{0}, 0), "."},
		{"none", stats.BH(nil, .05), ""},
		{"none_by", stats.BY(nil, .05), ""},
	} {
		var got strings.Builder
		for _, r := range tt.got {
			got.WriteString(map[bool]string{true: "x", false: "."}[r])
		}
		if got.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got.String(), tt.want)
		}
	}
}

func TestHolmAdjust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Float64Range(0, .2), 0, 8).Draw(t, "p")
		adjusted := stats.HolmAdjust(p)
		for i, rejected := range stats.Holm(p, .05) {
			if (adjusted[i] <= .05) != rejected || adjusted[i] < p[i] {
				t.Fatalf("hypothesis %d: adjusted %g, rejected %v", i, adjusted[i], rejected)
			}
		}
	})
	if got := stats.HolmAdjust([]float64{math.NaN()}); got[0] != 1 {
		t.Errorf("NaN became %g", got[0])
	}
}

func TestEffectiveUpper(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 2000).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		want := stats.ClopperPearsonUpper(k, n, .05)
		if got := stats.EffectiveUpper(float64(k), float64(n), .05); math.Abs(got-want) > 1e-12 {
			t.Fatalf("whole counts: %g, exact %g", got, want)
		}
		x := rapid.Float64Range(0, float64(k)).Draw(t, "x")
		if got := stats.EffectiveUpper(x, float64(n), .05); got > want+1e-12 {
			t.Fatalf("fewer failures raise the bound: %g > %g", got, want)
		}
	})
	for _, tt := range [][3]float64{{0, 0, .05}, {2, 1, .05}, {-1, 5, .05}, {0, math.NaN(), .05}, {0, 5, 0}, {0, math.Inf(1), .05}} {
		if got := stats.EffectiveUpper(tt[0], tt[1], tt[2]); got != 1 {
			t.Errorf("EffectiveUpper(%v) = %g, want 1", tt, got)
		}
	}
}

// TestMeanAbove simulates values at the limit, as dependent as answers to one
// prompt can be: the p-value is below alpha no more often than alpha says.
func TestMeanAbove(t *testing.T) {
	const runs, alpha, limit = 4000, .05, .1
	rng := rand.New(rand.NewPCG(1, 2))
	for _, mean := range []struct {
		name string
		draw func() float64
	}{
		{"all_or_nothing", func() float64 { return float64(int(rng.Float64() + limit)) }},
		{"constant", func() float64 { return limit }},
		{"uniform", func() float64 { return rng.Float64() * 2 * limit }},
	} {
		rejected := 0
		for range runs {
			values := make([]float64, 150)
			for i := range values {
				values[i] = mean.draw()
			}
			if stats.MeanAbove(values, limit) <= alpha {
				rejected++
			}
		}
		if most := runs*alpha + 3*math.Sqrt(runs*alpha); float64(rejected) > most {
			t.Errorf("%s: rejected %d times of %d", mean.name, rejected, runs)
		}
	}
	high := make([]float64, 40)
	for i := range high {
		high[i] = .4
	}
	if p := stats.MeanAbove(high, limit); p > 1e-4 {
		t.Errorf("four times the limit: p = %g", p)
	}
	if p := stats.MeanAbove([]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, .9); p > .4 {
		t.Errorf("a high limit: p = %g", p)
	}
	for _, tt := range []struct {
		values []float64
		limit  float64
	}{{nil, .1}, {[]float64{1}, 0}, {[]float64{1}, 1}, {[]float64{2}, .1}, {[]float64{math.NaN()}, .1}, {[]float64{1}, math.NaN()}} {
		if p := stats.MeanAbove(tt.values, tt.limit); p != 1 {
			t.Errorf("MeanAbove(%v, %g) = %g, want 1", tt.values, tt.limit, p)
		}
	}
}

// TestLargeCounts: no count makes a function run for ever or return nonsense.
func TestLargeCounts(t *testing.T) {
	const n = 1 << 30
	for name, got := range map[string]float64{
		"binom":    stats.BinomUpper(n/2, n, .5),
		"poisson":  stats.PoissonUpper(1<<30, 1<<30),
		"negbinom": stats.NegBinomUpper(1<<30, 1<<30, .5),
	} {
		if math.Abs(got-.5) > 1e-3 {
			t.Errorf("%s: got %g, want about one half", name, got)
		}
	}
	if got := stats.ClopperPearsonUpper(3, math.MaxInt32, .05); !(got > 3e-9 && got < 4e-9) {
		t.Errorf("bound %g", got)
	}
}

func BenchmarkClopperPearsonUpper(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		stats.ClopperPearsonUpper(17, 2000, .05)
	}
}

func BenchmarkBinomUpper(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		stats.BinomUpper(60, 2000, .01)
	}
}
