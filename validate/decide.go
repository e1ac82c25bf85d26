package validate

import (
	"fmt"
	"math"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/stats"
)

// A Decision is the verdict on one requirement with the numbers behind it. The
// unit of inference is the cluster, so with repeats or related cases Clusters
// and FailedClusters decide; Answers and Failures are what they are made of.
type Decision struct {
	Name    string  `json:"name"`
	Kind    Kind    `json:"kind,omitempty"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"` // one sentence

	N        int `json:"n"`        // answers that were scored or compared
	Failures int `json:"failures"` // of these

	Clusters       int `json:"clusters"` // with a usable result
	FailedClusters int `json:"failed_clusters"`
	Errors         int `json:"errors"`  // clusters left without a result by an error
	Missing        int `json:"missing"` // clusters not asked: the budget was exhausted

	// Threshold is the limit as the suite states it and Bound the bound that is
	// compared with it: for rate-at-least both are success rates and a lower
	// bound, for all other kinds failure rates and an upper bound.
	Threshold float64 `json:"threshold"`
	Bound     float64 `json:"bound"`

	// Estimate lies within Lower and Upper, each of which is a bound at
	// Confidence by itself. They have the sense of Threshold, for drawing.
	Estimate   float64 `json:"estimate"`
	Lower      float64 `json:"lower"`
	Upper      float64 `json:"upper"`
	Confidence float64 `json:"confidence"`

	Method string `json:"method"`

	// Needed is how many clusters would have to have a result for a pass with
	// the failures seen so far; 0 when it passed or no number would do.
	Needed int `json:"needed"`

	// P is the p-value of "the requirement is met", adjusted by Holm's method
	// for all claims of the suite. FAIL means that it is at most 1-Confidence.
	P float64 `json:"p"`

	Parts    []Decision `json:"parts,omitempty"`    // of a sweep, by trigger
	Examples []Example  `json:"examples,omitempty"` // the first failures, in the order of the suite
	Notes    []string   `json:"notes,omitempty"`

	severity prerun.Severity
}

// An Example is an answer that failed. Answer is redacted and cut.
type Example struct {
	Case    string `json:"case"`
	Variant string `json:"variant,omitempty"`
	Repeat  int    `json:"repeat,omitempty"`
	Answer  string `json:"answer"`
	Against string `json:"against,omitempty"` // answer to the case as written
}

const (
	maxExamples = 10
	maxExcerpt  = 120 // runes
)

// An outcome is what one observation says.
type outcome uint8

const (
	missing outcome = iota
	errored
	passed
	failed
)

// A tally counts a part of a requirement.
type tally struct {
	answers, failures int
	clusters          int
	anyFailed         int
	allFailed         int
	errors, missing   int
	newlyFailed       int // clusters with more new failures than new passes
	newlyPassed       int
	means             []float64 // failure rate by planned cluster, errors counted as passes
	sizes             []float64 // answers with a result, by cluster with a result
	hits              []float64 // failures among them
}

func (t *tally) planned() int { return t.clusters + t.errors + t.missing }

// add counts a cluster. A single failure makes it a failed one whatever else is
// missing; without a failure it needs all its answers.
func (t *tally) add(u unit, outcomes []outcome) {
	var count [failed + 1]int
	newly := 0
	for i, o := range outcomes {
		count[o]++
		if o == failed && u.observations[i].baseline {
			newly++
		}
		if o == passed && !u.observations[i].baseline {
			newly--
		}
	}
	t.answers += count[passed] + count[failed]
	t.failures += count[failed]
	t.means = append(t.means, float64(count[failed])/float64(len(outcomes)))
	switch {
	case count[failed] > 0:
		t.anyFailed++
		if count[failed] == len(outcomes) {
			t.allFailed++
		}
	case count[missing] > 0:
		t.missing++
		return
	case count[errored] > 0:
		t.errors++
		return
	}
	t.clusters++
	t.sizes = append(t.sizes, float64(count[passed]+count[failed]))
	t.hits = append(t.hits, float64(count[failed]))
	if newly > 0 {
		t.newlyFailed++
	} else if newly < 0 {
		t.newlyPassed++
	}
}

// decide turns the tallies of a requirement into a decision that lacks only
// what depends on the other requirements; see [judge].
func (c *check) decide(tallies []tally) Decision {
	method := c.method()
	whole := Decision{
		Name: c.req.Name, Kind: c.req.Kind, Threshold: c.req.Limit, Confidence: c.req.confidence(),
		Method: method, severity: c.req.Severity,
	}
	if c.unchanged > 0 {
		whole.Notes = append(whole.Notes, fmt.Sprintf("%d edits left the input as it was and were not asked", c.unchanged))
	}
	if c.unpaired > 0 {
		whole.Notes = append(whole.Notes, fmt.Sprintf("%d cases are unknown to the baseline", c.unpaired))
	}
	for i := range tallies {
		d := c.decidePart(&tallies[i])
		d.Name, d.Method = c.parts[i].name, method
		whole.Parts = append(whole.Parts, d)
	}
	return whole
}

func (c *check) decidePart(t *tally) Decision {
	alpha, limit := c.req.alpha(), c.req.limit()
	d := Decision{
		N: t.answers, Failures: t.failures,
		Clusters: t.clusters, FailedClusters: t.anyFailed, Errors: t.errors, Missing: t.missing,
		Threshold: c.req.Limit, Confidence: c.req.confidence(),
	}
	clustered := c.clustered()
	x := t.anyFailed
	if c.req.Kind == NoRegression {
		x = t.newlyFailed
		d.FailedClusters = x
	}
	d.Upper = stats.ClopperPearsonUpper(x, t.clusters, alpha)
	d.Lower = stats.ClopperPearsonLower(x, t.clusters, alpha)
	d.Estimate = ratio(float64(x), float64(t.clusters))
	if clustered && c.req.Kind != NoRegression {
		// The rate of failing answers lies between the rates of clusters where
		// all and where any failed.
		d.Lower = stats.ClopperPearsonLower(t.allFailed, t.clusters, alpha)
		d.Estimate = ratio(float64(t.failures), float64(t.answers))
		if c.req.Approximate {
			d.Upper = effectiveUpper(t, alpha)
		}
	}
	d.Bound = d.Upper
	if d.Bound > limit {
		d.Needed = stats.TrialsForUpper(x, limit, alpha)
	}
	switch {
	case c.req.Kind == NoRegression:
		d.P = stats.McNemarGreater(t.newlyFailed, t.newlyPassed)
	case clustered:
		d.P = stats.MeanAbove(t.means, limit)
	default:
		// What has no result counts as passed here, so that FAIL stays proven.
		d.P = stats.BinomUpper(x, t.planned(), limit)
	}
	if c.req.Kind == RateAtLeast {
		d.Bound = 1 - d.Bound
		d.Estimate, d.Lower, d.Upper = 1-d.Estimate, 1-d.Upper, 1-d.Lower
	}
	return d
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// effectiveUpper is the effective-sample Clopper-Pearson bound: the number of
// answers is divided by the design effect that a cluster-robust variance shows
// (Miller 2024, arXiv 2411.00640). It never falls below the bound of as many
// clusters without failure, which repairs the formula where few failures leave
// no variance to see.
func effectiveUpper(t *tally, alpha float64) float64 {
	clusters := float64(t.clusters)
	n, x := 0.0, 0.0
	for i := range t.sizes {
		n += t.sizes[i]
		x += t.hits[i]
	}
	floor := stats.ClopperPearsonUpper(0, t.clusters, alpha)
	if x == 0 || x == n || clusters < 2 {
		if x == 0 {
			return floor
		}
		return 1
	}
	mean := x / n
	squares := 0.0
	for i := range t.sizes {
		residual := t.hits[i] - t.sizes[i]*mean
		squares += residual * residual
	}
	variance := clusters / (clusters - 1) * squares / (n * n)
	effect := variance / (mean * (1 - mean) / n)
	effect = math.Min(math.Max(effect, 1), n/clusters)
	return max(floor, stats.EffectiveUpper(x/effect, n/effect, alpha))
}

// judge settles the verdicts of all requirements together. A pass of the whole
// needs every part to pass, an intersection-union test, so each is decided at
// its own level; that several could fail by chance is corrected by Holm's
// method over every part of every requirement.
func judge(checks []check, decisions []Decision) Verdict {
	var p []float64
	for _, d := range decisions {
		for _, part := range d.Parts {
			p = append(p, part.P)
		}
	}
	adjusted := stats.HolmAdjust(p)
	verdict := Pass
	for i := range decisions {
		d := &decisions[i]
		n := len(d.Parts)
		checks[i].settle(d, adjusted[:n])
		adjusted = adjusted[n:]
		verdict = worse(verdict, d.Verdict)
	}
	if len(decisions) == 0 {
		return Error
	}
	return verdict
}

func (c *check) settle(d *Decision, adjusted []float64) {
	d.Verdict = Pass
	worst := 0
	for i := range d.Parts {
		part := &d.Parts[i]
		part.P = adjusted[i]
		part.Verdict = c.verdict(part)
		part.Reason = c.reason(part)
		if rest := worse(d.Verdict, part.Verdict); rest != d.Verdict ||
			part.Verdict == d.Verdict && c.further(part.Bound, d.Parts[worst].Bound) {
			d.Verdict, worst = rest, i
		}
	}
	if c.unpaired > 0 && d.Verdict == Pass {
		d.Verdict = Inconclusive
	}
	head := d.Parts[worst] // the part that the verdict rests on speaks for all
	d.N, d.Failures, d.Clusters, d.FailedClusters = head.N, head.Failures, head.Clusters, head.FailedClusters
	d.Errors, d.Missing = head.Errors, head.Missing
	d.Bound, d.Estimate, d.Lower, d.Upper = head.Bound, head.Estimate, head.Lower, head.Upper
	d.Needed, d.P, d.Reason = head.Needed, head.P, head.Reason
	if c.unpaired > 0 && d.Verdict == Inconclusive {
		d.Reason = fmt.Sprintf("the baseline does not know %d of the cases", c.unpaired)
	}
	if c.req.Kind != TriggerSweep {
		d.Parts = nil
		return
	}
	var flipped []string
	for _, part := range d.Parts {
		if part.Verdict == Fail {
			flipped = append(flipped, fmt.Sprintf("%q", part.Name))
		}
	}
	if len(flipped) > 0 {
		d.Reason = fmt.Sprintf("inserting %s changes the answer more often than the limit allows; %s",
			strings.Join(flipped, ", "), d.Reason)
	} else {
		d.Reason = fmt.Sprintf("trigger %q: %s", head.Name, d.Reason)
	}
}

func (c *check) further(a, b float64) bool {
	if c.req.Kind == RateAtLeast {
		return a < b
	}
	return a > b
}

func (c *check) verdict(d *Decision) Verdict {
	planned := d.Clusters + d.Errors + d.Missing
	bound, limit := d.Bound, d.Threshold
	if c.req.Kind == RateAtLeast {
		bound, limit = 1-bound, 1-limit
	}
	switch {
	case d.P <= c.req.alpha():
		return Fail
	case d.Clusters == 0, d.Missing > 0:
		return Error
	case float64(d.Errors) > c.req.ErrorBudget*float64(planned):
		return Error
	case bound <= limit:
		return Pass
	}
	return Inconclusive
}

func (c *check) reason(d *Decision) string {
	sense, side := "failure rate", "upper"
	switch c.req.Kind {
	case RateAtLeast:
		sense, side = "success rate", "lower"
	case Invariance, TriggerSweep:
		sense = "rate of changed answers"
	case NoRegression:
		sense = "rate of new failures"
	}
	numbers := fmt.Sprintf("%d of %d clusters failed; %s bound of the %s %.4g, limit %.4g",
		d.FailedClusters, d.Clusters, side, sense, d.Bound, d.Threshold)
	switch {
	case d.Verdict == Pass:
		return numbers
	case d.Verdict == Fail:
		return fmt.Sprintf("%s; a target within the limit would do this with probability %.2g", numbers, d.P)
	case d.Missing > 0:
		return fmt.Sprintf("%d clusters were not asked: the budget was exhausted", d.Missing)
	case d.Verdict == Error:
		return fmt.Sprintf("%d of %d clusters ended in an error; %g are tolerated",
			d.Errors, d.Clusters+d.Errors, math.Floor(c.req.ErrorBudget*float64(d.Clusters+d.Errors)))
	case d.Needed > d.Clusters:
		return fmt.Sprintf("%s; with %d failures a pass needs %d clusters", numbers, d.FailedClusters, d.Needed)
	}
	return numbers
}

func excerpt(s string) string { return redact.Excerpt([]byte(s), maxExcerpt) }
