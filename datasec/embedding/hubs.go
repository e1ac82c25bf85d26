package embedding

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/linalg"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/stats"
)

// Below these numbers hubness is a gap: a tail of a hundredth needs a hundred
// values, and fewer queries hit too few vectors.
const (
	minVectors = 100
	minQueries = 30
)

// A hub has at least this many times the expected hits, and this many in all,
// however small its p-value: what it attracts has to matter.
const (
	hubRatio = 2.5
	hubHits  = 8
)

// hubs asks the queries, or the vectors where queries is nil, and judges who was
// hit.
func (s Scanner) hubs(ctx context.Context, r *Result, m Matrix, vectors, queries *set) error {
	if vectors.len() == 0 {
		return nil
	}
	own, over := queries == nil, overQueries
	if own {
		queries, over = vectors, overVectors
	}
	var asked []int // vectors that are queries
	nq := queries.len()
	if own {
		asked = s.pick(vectors.len())
		nq = len(asked)
	}
	r.Queries = nq
	if vectors.len() < minVectors || nq < minQueries {
		r.gap(fmt.Sprintf("hubness needs %d vectors and %d queries, there are %d and %d", minVectors, minQueries, vectors.len(), nq))
		return nil
	}
	if s.Metric == Cosine {
		vectors = vectors.normalised()
		if own {
			queries = vectors
		} else {
			queries = queries.normalised()
		}
	}
	k := min(s.K, vectors.len()/10)
	near, err := neighbours(ctx, vectors, queries, asked, s.Metric, k, s.Workers)
	if err != nil {
		return err
	}
	if own {
		if single := vectors.withoutCopies(near, asked, k); single.len() < vectors.len() && single.len() >= minVectors {
			vectors, queries, asked = single, single, s.pick(single.len())
			r.Queries = len(asked)
			k = min(s.K, vectors.len()/10)
			if near, err = neighbours(ctx, vectors, queries, asked, s.Metric, k, s.Workers); err != nil {
				return err
			}
		}
	}
	c := count(near, k, vectors.len(), unit(queries, asked), vectors.dim)
	s.judge(r, m, vectors, c, k, over)
	return nil
}

// What is asked, in facts.
const (
	overVectors = "vectors"
	overQueries = "queries"
)

// copyCosine is the similarity from which on a vector is a copy of another.
const copyCosine = 0.98

// withoutCopies leaves of vectors that all but equal each other, directly or
// through others, only the first. Copies of a hub share its hits and are each
// other's neighbours, which makes them look like a topic; copies of an honest
// passage make natural hubs. Copies are told by the neighbours of those vectors
// that were asked.
func (v *set) withoutCopies(near []int32, asked []int, k int) *set {
	first := make([]int, v.len()) // of the copies of each, by way of others
	for i := range first {
		first[i] = i
	}
	find := func(i int) int {
		for first[i] != i {
			first[i] = first[first[i]]
			i = first[i]
		}
		return i
	}
	for i, q := range asked {
		length := linalg.Norm(v.row(q))
		for _, j := range near[i*k : (i+1)*k] {
			if float64(linalg.Dot(v.row(q), v.row(int(j)))) >= copyCosine*length*linalg.Norm(v.row(int(j))) {
				a, b := find(q), find(int(j))
				first[max(a, b)] = min(a, b)
			}
		}
	}
	out := &set{dim: v.dim, copies: map[int][]int{}}
	for i := range first {
		if f := find(i); f != i {
			out.copies[v.rows[f]] = append(out.copies[v.rows[f]], v.rows[i])
			continue
		}
		out.rows, out.norms = append(out.rows, v.rows[i]), append(out.norms, v.norms[i])
		out.data = append(out.data, v.row(i)...)
	}
	return out
}

// normalised is the set with vectors of length one. The original keeps its own.
func (v *set) normalised() *set {
	out := *v
	out.data = slices.Clone(v.data)
	for i := range out.rows {
		linalg.Normalize(out.row(i))
	}
	return &out
}

// unit returns the directions of the queries, one after another.
func unit(v *set, asked []int) []float32 {
	if asked == nil {
		return v.normalised().data
	}
	out := make([]float32, 0, len(asked)*v.dim)
	for _, i := range asked {
		out = append(out, v.row(i)...)
		linalg.Normalize(out[len(out)-v.dim:])
	}
	return out
}

// counts is who was hit how often, and by how many unrelated queries.
type counts struct {
	queries     int
	hits        []int
	independent []float64 // plain similarity
	centred     []float64 // similarity after subtracting the mean query
}

// count sums for every vector the directions of the queries that hit it: the
// squared length of that sum holds the similarities of all pairs at once.
func count(near []int32, k, n int, directions []float32, dim int) counts {
	nq := len(near) / k
	mean := make([]float64, dim)
	for i := range nq {
		for p, x := range directions[i*dim : (i+1)*dim] {
			mean[p] += float64(x)
		}
	}
	for p := range mean {
		mean[p] /= float64(nq)
	}
	c := counts{queries: nq, hits: make([]int, n), independent: make([]float64, n), centred: make([]float64, n)}
	hitters := make([][]int32, n)
	for i, v := range near {
		hitters[v] = append(hitters[v], int32(i/k))
	}
	sum := make([]float64, dim)
	for v, by := range hitters {
		c.hits[v] = len(by)
		for _, shift := range []bool{false, true} {
			clear(sum)
			var squares float64
			for _, q := range by {
				for p, x := range directions[int(q)*dim : (int(q)+1)*dim] {
					d := float64(x)
					if shift {
						d -= mean[p]
					}
					sum[p] += d
					squares += float64(d * d)
				}
			}
			var all float64
			for _, x := range sum {
				all += float64(x * x)
			}
			if e := effective(len(by), all, squares); shift {
				c.centred[v] = e
			} else {
				c.independent[v] = e
			}
		}
	}
	return c
}

// effective is Kish's effective sample size of n hits whose mean similarity is
// that of the pairs in all = Σᵢ Σⱼ qᵢ·qⱼ, relative to own = Σᵢ qᵢ·qᵢ.
func effective(n int, all, own float64) float64 {
	if n < 2 || own <= 0 {
		return float64(n)
	}
	pairs := (all - own) / own // (n-1) times the mean similarity
	return float64(n) / (1 + max(0, pairs))
}

func (s Scanner) judge(r *Result, m Matrix, vectors *set, c counts, k int, over string) {
	n := len(c.hits)
	expected := float64(c.queries) * float64(k) / float64(n)
	hitsP := hitTails(c.hits, expected)
	plain, centred := make([]float64, n), make([]float64, n)
	for i, h := range c.hits {
		plain[i], centred[i] = math.Sqrt(float64(h)*c.independent[i]), math.Sqrt(float64(h)*c.centred[i])
	}
	reachP := reachTails(plain)
	for i, p := range reachTails(centred) {
		reachP[i] = max(reachP[i], p)
	}

	named, _ := m.(Named)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(reachP[a], reachP[b]), cmp.Compare(c.hits[b], c.hits[a]), cmp.Compare(a, b))
	})
	for _, i := range order[:min(n, 10)] {
		h := Hub{
			Row: vectors.rows[i], Over: over, Hits: c.hits[i], Expected: expected, Independent: min(c.independent[i], c.centred[i]),
			HitsP: hitsP[i], ReachP: reachP[i],
		}
		if named != nil {
			h.ID = excerpt(named.ID(h.Row))
		}
		r.Hubs = append(r.Hubs, h)
	}

	large := func(i int) bool { return float64(c.hits[i]) >= max(hubHits, hubRatio*expected) }
	reach := Test{Name: "reach", Over: over, N: n, Queries: c.queries, K: k, Q: s.FDR, P: 1}
	hits := Test{Name: "hits", Over: over, N: n, Queries: c.queries, K: k, Q: s.FDR, P: 1}
	byReach, byHits := stats.BH(reachP, s.FDR), stats.BH(hitsP, s.FDR)
	for i := range n {
		reach.least(reachP[i], vectors.rows[i])
		hits.least(hitsP[i], vectors.rows[i])
		if !large(i) || !byReach[i] && !byHits[i] {
			continue
		}
		rule, confidence, which := ruleHub, prerun.ConfidenceHigh, &reach
		if !byReach[i] {
			rule, confidence, which = ruleFrequent, prerun.ConfidenceLow, &hits
		}
		which.Found++
		if r.flagged[vectors.rows[i]] >= rule.Severity {
			continue // found by asking the vectors already
		}
		r.flagged[vectors.rows[i]] = rule.Severity
		independent := min(c.independent[i], c.centred[i])
		rows := append([]int{vectors.rows[i]}, vectors.copies[vectors.rows[i]]...)
		r.find(m, rule, confidence, rows,
			fmt.Sprintf("vector %d%s is among the %d nearest of %d of %d %s (%.1f expected), %.1f of them unrelated", rows[0], withCopies(len(rows)-1), k, c.hits[i], c.queries, over, expected, independent),
			map[string]string{
				"hits": fmt.Sprint(c.hits[i]), "over": over, "queries": fmt.Sprint(c.queries), "expected": fmt.Sprintf("%.4g", expected),
				"independent": fmt.Sprintf("%.4g", independent), "k": fmt.Sprint(k),
				"hits_p": fmt.Sprintf("%.3g", hitsP[i]), "reach_p": fmt.Sprintf("%.3g", reachP[i]), "q": fmt.Sprint(s.FDR),
			})
	}
	r.Tests = append(r.Tests, hits, reach)
}

func withCopies(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " with a copy"
	}
	return fmt.Sprintf(" with %d copies", n)
}

func (t *Test) least(p float64, row int) {
	if p < t.P {
		t.P, t.Row = p, row
	}
}

// hitTails are the exact upper tails of the counts under a negative binomial
// distribution of the known mean. Its variance is fitted to the counts with the
// largest fiftieth pulled in to the next largest, so that hubs do not widen it;
// counts that vary less than Poisson counts are judged as those.
func hitTails(hits []int, mean float64) []float64 {
	sorted := slices.Sorted(slices.Values(hits))
	cut := sorted[len(sorted)-1-len(sorted)/50]
	x := make([]float64, len(hits))
	for i, h := range hits {
		x[i] = float64(min(h, cut))
	}
	variance := linalg.MomentsOf(x).Variance()
	tails := map[int]float64{}
	out := make([]float64, len(hits))
	for i, h := range hits {
		p, ok := tails[h]
		if !ok {
			if variance > mean*(1+1e-9) {
				size := mean * mean / (variance - mean)
				p = stats.NegBinomUpper(h, size, size/(size+mean))
			} else {
				p = stats.PoissonUpper(h, mean)
			}
			tails[h] = p
		}
		out[i] = p
	}
	return out
}

// Thresholds above which an exponential tail is fitted, and the share of
// largest values whose size the fit does not use: it knows only that they are
// larger than the rest.
var tailShares = [...]float64{0.2, 0.1, 0.05}

const (
	tailCensored = 0.02
	minScale     = 0.5 // of a tail: counts cannot tell finer
)

// reachTails are the upper tails of x, extrapolated from the body: the share of
// values above a threshold times an exponential of the excess over it, whose
// scale is the maximum likelihood estimate under censoring, at three
// thresholds, the largest of the three. A tail heavier than exponential has a
// scale that grows with the threshold, so the largest is the cautious one.
func reachTails(x []float64) []float64 {
	sorted := slices.Sorted(slices.Values(x))
	n := len(sorted)
	out := make([]float64, n)
	censored := max(2, int(tailCensored*float64(n)))
	for _, share := range tailShares {
		above := int(share * float64(n))
		threshold := sorted[n-above-1]
		var sum float64
		for _, v := range sorted[n-above : n-censored] {
			sum += v - threshold
		}
		sum += float64(censored) * (sorted[n-censored-1] - threshold)
		scale := max(minScale, sum/float64(above-censored))
		for i, v := range x {
			p := 1.0
			if v > threshold {
				p = share * math.Exp(-(v-threshold)/scale)
			}
			out[i] = max(out[i], min(1, p))
		}
	}
	return out
}

// excerpt is an identifier fit for a report.
func excerpt(id string) string { return redact.Excerpt([]byte(id), 80) }
