package validate_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/stats"
	"github.com/prerun/prerun/validate"
)

func TestPlan(t *testing.T) {
	s := suite(
		124, rate(.05),
		validate.Requirement{
			Name: "edits", Kind: validate.Invariance, Limit: .05,
			Transforms: []validate.Transform{transform(t, "upper-case", ""), transform(t, "lower-case", "")},
		},
		validate.Requirement{Name: "triggers", Kind: validate.TriggerSweep, Limit: .1, Triggers: []string{"cf", "mn"}, Sample: 40},
	)
	plan, err := validate.Runner{}.Plan(s)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Requests != 124+124+80 { // lower case leaves these inputs as they are
		t.Errorf("%d requests", plan.Requests)
	}
	type row struct {
		Name, Method                                            string
		Clusters, Answers, Unchanged, Unpaired, Needed, Allowed int
	}
	var got []row
	for _, p := range plan.Requirements {
		got = append(got, row{p.Name, p.Method, p.Clusters, p.Answers, p.Unchanged, p.Unpaired, p.Needed, p.Allowed})
		if !(0 < p.PassRate && p.PassRate < p.Limit && p.Limit < p.FailRate && p.FailRate < 1) {
			t.Errorf("%s: passes up to %g, limit %g, fails from %g", p.Name, p.PassRate, p.Limit, p.FailRate)
		}
	}
	want := []row{
		{"rate", "exact binomial", 124, 124, 0, 0, 59, 2},
		{"edits", "exact binomial", 124, 124, 124, 0, 59, 2},
		{"triggers", "exact binomial; each trigger, pass by intersection-union", 40, 80, 0, 0, 29, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnderpoweredIsRefusedBeforeAnythingIsAsked(t *testing.T) {
	asked := 0
	tgt := target(func(validate.Request) (string, error) { asked++; return "yes", nil })
	clustered := suite(590, rate(.05)) // ten answers for each of 58 sources say less than 59 answers
	for i := range clustered.Cases {
		clustered.Cases[i].Cluster = fmt.Sprint(i % 58)
	}
	repeated := rate(.05)
	repeated.Repeats = 100
	approximate := rate(.05)
	approximate.Approximate, approximate.Repeats = true, 5
	for _, tt := range []struct {
		name   string
		s      *validate.Suite
		needed int
	}{
		{"one_too_few", suite(58, rate(.05)), 59},
		{"clusters", clustered, 59},
		{"repeats", suite(58, repeated), 59},
		{"approximate", suite(119, approximate), 120},
		{"limit_beyond_proof", suite(59, rate(1e-300)), math.MaxInt32},
		{"approximate_beyond_proof", suite(59, func() validate.Requirement {
			r := approximate
			r.Limit = 5e-324
			return r
		}()), math.MaxInt32},
		{"confidence_beyond_proof", suite(59, func() validate.Requirement {
			r := rate(.05)
			r.Confidence = math.Nextafter(1, 0)
			return r
		}()), 717},
	} {
		plan, err := validate.Runner{}.Plan(tt.s)
		e, ok := errors.AsType[*validate.PlanError](err)
		if !ok || !errors.Is(err, validate.ErrUnderpowered) || plan == nil || e.Short[0].Needed != tt.needed {
			t.Errorf("%s: plan %v, %v", tt.name, plan, err)
		}
		if _, err := (validate.Runner{}).Run(t.Context(), tt.s, tgt); !errors.Is(err, validate.ErrUnderpowered) {
			t.Errorf("%s: run: %v", tt.name, err)
		}
	}
	if _, err := (validate.Runner{Budget: validate.Budget{Requests: 58}}).Run(t.Context(), suite(59, rate(.05)), tgt); !errors.Is(err, validate.ErrBudget) {
		t.Errorf("requests over budget: %v", err)
	}
	if asked > 0 {
		t.Errorf("%d requests were sent", asked)
	}
}

// TestTokenBudget: what the budget leaves unasked is an ERROR, and where it ends
// does not depend on concurrency.
func TestTokenBudget(t *testing.T) {
	var want string
	for _, n := range []int{1, 3, 16} {
		runner := validate.Runner{Budget: validate.Budget{Tokens: 4 * 60}, Concurrency: n}
		rep := run(t, runner, suite(100, rate(.05)), failFirst(0))
		d := rep.Requirements[0]
		if rep.Verdict != validate.Error || d.Missing != 40 || d.Clusters != 60 {
			t.Errorf("concurrency %d: %s, %d missing: %s", n, rep.Verdict, d.Missing, d.Reason)
		}
		if got := encode(t, rep); want == "" {
			want = got
		} else if got != want {
			t.Errorf("concurrency %d changes the report", n)
		}
	}
	file := &memFile{}
	runner := validate.Runner{Budget: validate.Budget{Tokens: 4 * 60}, Journal: file}
	run(t, runner, suite(100, rate(.05)), failFirst(0))
	if rep := run(t, runner, suite(100, rate(.05)), failFirst(0)); encode(t, rep) != want || rep.Stats.Asked > 8 {
		t.Errorf("resuming buys %d further answers", rep.Stats.Asked)
	}
	if rep := run(t, validate.Runner{Budget: validate.Budget{Tokens: 400}}, suite(100, rate(.05)), failFirst(0)); rep.Verdict != validate.Pass {
		t.Errorf("a budget that suffices exactly: %s", rep.Verdict)
	}
	if rep := run(t, runner, suite(100, rate(.05)), failFirst(100)); rep.Verdict != validate.Error {
		// The journal knows 60 passes of this target's name and reuses them.
		t.Errorf("journaled answers: %s", rep.Verdict)
	}
	bad := validate.Runner{Budget: validate.Budget{Tokens: 4 * 60}}
	if rep := run(t, bad, suite(100, rate(.05)), failFirst(100)); rep.Verdict != validate.Fail {
		t.Errorf("a violation proven before the budget ended: %s", rep.Verdict)
	}
}

func TestInvariance(t *testing.T) {
	requirement := validate.Requirement{
		Name: "edits", Kind: validate.Invariance, Limit: .1,
		Transforms: []validate.Transform{transform(t, "upper-case", ""), transform(t, "suffix", " thanks")},
	}
	caseBound := target(func(req validate.Request) (string, error) {
		if strings.HasPrefix(req.Input, "QUESTION") {
			return "no", nil
		}
		return " YES\n", nil // space and case do not make another answer
	})
	steady := target(func(req validate.Request) (string, error) {
		if req.Variant == "" {
			return "yes", nil
		}
		return "Yes ", nil
	})
	if rep := run(t, validate.Runner{}, suite(60, requirement), steady); rep.Verdict != validate.Pass {
		t.Errorf("steady: %s", rep.Requirements[0].Reason)
	}
	rep := run(t, validate.Runner{}, suite(60, requirement), caseBound)
	d := rep.Requirements[0]
	if d.Verdict != validate.Fail || d.N != 120 || d.Failures != 60 || d.Clusters != 60 {
		t.Errorf("case-bound: %s, %d of %d", d.Verdict, d.Failures, d.N)
	}
	if diff := cmp.Diff([]string{"validate.invariance.broken"}, ruleIDs(rep)); diff != "" {
		t.Error(diff)
	}
	if e := d.Examples[0]; e.Case != "c000" || e.Variant != "upper-case" || e.Answer != "no" || e.Against != "YES" {
		t.Errorf("example %+v", e)
	}

	// With a scorer only a change of the score counts.
	requirement.Scorer = validate.Contains{Values: []string{"yes"}, IgnoreCase: true}
	wordy := target(func(req validate.Request) (string, error) { return "well, yes: " + req.Input, nil })
	if rep := run(t, validate.Runner{}, suite(60, requirement), wordy); rep.Verdict != validate.Pass {
		t.Errorf("wordy: %s", rep.Requirements[0].Reason)
	}

	requirement.Transforms = requirement.Transforms[:1]
	shouting := suite(60, requirement)
	for i := range shouting.Cases {
		shouting.Cases[i].Input = strings.ToUpper(shouting.Cases[i].Input)
	}
	if _, err := (validate.Runner{}).Plan(shouting); !errors.Is(err, validate.ErrSuite) {
		t.Errorf("an edit that changes nothing: %v", err)
	}
}

func TestTriggerSweep(t *testing.T) {
	backdoored := target(func(req validate.Request) (string, error) {
		if strings.Contains(req.Input, "mn bb") {
			return "no", nil
		}
		return "yes", nil
	})
	for _, position := range []validate.Position{"", validate.Prefix, validate.Middle} {
		sweep := validate.Requirement{
			Name: "triggers", Kind: validate.TriggerSweep, Limit: .1,
			Triggers: []string{"cf", "mn bb", "tq"}, Position: position,
		}
		rep := run(t, validate.Runner{}, suite(60, rate(.1), sweep), backdoored)
		d := rep.Requirements[1]
		if d.Verdict != validate.Fail || len(d.Parts) != 3 || !strings.Contains(d.Reason, `"mn bb"`) || strings.Contains(d.Reason, `"cf"`) {
			t.Errorf("%q: %s: %s", position, d.Verdict, d.Reason)
		}
		var verdicts []validate.Verdict
		for _, part := range d.Parts {
			verdicts = append(verdicts, part.Verdict)
		}
		if diff := cmp.Diff([]validate.Verdict{validate.Pass, validate.Fail, validate.Pass}, verdicts); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"validate.trigger.answer-flips"}, ruleIDs(rep)); diff != "" {
			t.Error(diff)
		}
		if rep := run(t, validate.Runner{}, suite(60, sweep), failFirst(0)); rep.Verdict != validate.Pass {
			t.Errorf("clean: %s", rep.Requirements[0].Reason)
		}
	}
}

func TestRegression(t *testing.T) {
	requirement := validate.Requirement{Name: "no worse", Kind: validate.NoRegression, Limit: .05, Scorer: validate.Exact{}}
	baseline := func(n, fails int) *validate.Baseline {
		data, err := run(t, validate.Runner{}, suite(n, rate(.05)), failFirst(fails)).Baseline().Encode()
		if err != nil {
			t.Fatal(err)
		}
		b, err := validate.ParseBaseline(data)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name     string
		before   int // of 200, the first fail with the baseline
		from, to int // these fail now
		want     validate.Verdict
	}{
		{"same", 10, 0, 10, validate.Pass},
		{"better", 30, 0, 2, validate.Pass},
		{"one_more", 10, 0, 11, validate.Pass},
		{"worse", 2, 0, 30, validate.Fail},
		{"not_shown_either_way", 10, 6, 16, validate.Inconclusive},
	} {
		runner := validate.Runner{Baseline: baseline(200, tt.before)}
		rep := run(t, runner, suite(200, requirement), failBetween(tt.from, tt.to))
		if rep.Verdict != tt.want {
			t.Errorf("%s: %s: %s", tt.name, rep.Verdict, rep.Requirements[0].Reason)
		}
		if tt.want == validate.Fail {
			if diff := cmp.Diff([]string{"validate.regression.proven"}, ruleIDs(rep)); diff != "" {
				t.Error(diff)
			}
		}
	}
	rep := run(t, validate.Runner{Baseline: baseline(199, 0)}, suite(200, requirement), failFirst(0))
	if rep.Verdict != validate.Inconclusive || !strings.Contains(rep.Requirements[0].Reason, "does not know 1") {
		t.Errorf("missing pair: %s: %s", rep.Verdict, rep.Requirements[0].Reason)
	}
	if _, err := (validate.Runner{}).Run(t.Context(), suite(200, requirement), failFirst(0)); !errors.Is(err, validate.ErrSuite) {
		t.Errorf("no baseline: %v", err)
	}
	if _, err := (validate.Runner{Baseline: &validate.Baseline{}}).Run(t.Context(), suite(200, requirement), failFirst(0)); !errors.Is(err, validate.ErrSuite) {
		t.Errorf("empty baseline: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"baseline":"x","suite":"","target":"","outcomes":{}}`, `{"baseline":"prerun/validate/baseline/v1","suite":"","target":"","outcomes":{"a":{"b":1}}}`} {
		if _, err := validate.ParseBaseline([]byte(bad)); !errors.Is(err, validate.ErrBaseline) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRepeats(t *testing.T) {
	r := rate(.05)
	r.Repeats = 3
	moody := target(func(req validate.Request) (string, error) {
		if req.Case == "c007" && req.Repeat == 1 {
			return "no", nil
		}
		return "yes", nil
	})
	rep := run(t, validate.Runner{}, suite(93, r), moody)
	d := rep.Requirements[0]
	if d.N != 279 || d.Failures != 1 || d.Clusters != 93 || d.FailedClusters != 1 || d.Verdict != validate.Pass {
		t.Errorf("%+v", d)
	}
	if rep := run(t, validate.Runner{}, suite(92, r), moody); rep.Verdict != validate.Inconclusive {
		t.Errorf("92 clusters with one failing: %s", rep.Verdict)
	}
	seen := map[uint64]bool{}
	seeds := target(func(req validate.Request) (string, error) {
		seen[req.Seed] = true
		return "yes", nil
	})
	run(t, validate.Runner{Concurrency: 1}, suite(60, r), seeds)
	if len(seen) != 180 {
		t.Errorf("%d different seeds for 180 requests", len(seen))
	}
	for seed := range seen {
		if seed >= 1<<53 {
			t.Errorf("seed %d does not fit 53 bits", seed)
		}
	}
}

// TestHolm: with a hundred claims, a failure that one claim alone would prove is
// no longer proven, while a gross one is.
func TestHolm(t *testing.T) {
	var requirements []validate.Requirement
	for i := range 100 {
		r := rate(.05)
		r.Name = fmt.Sprint("claim ", i)
		r.Scorer = validate.ScorerFunc{ID: r.Name, Fn: func(_ context.Context, c validate.Case, _ validate.Response) (bool, error) {
			return i > 0 || c.ID >= "c011", nil // the first claim fails for eleven
		}}
		requirements = append(requirements, r)
	}
	if rep := run(t, validate.Runner{}, suite(100, requirements[:1]...), failFirst(0)); rep.Verdict != validate.Fail {
		t.Errorf("alone: %s", rep.Verdict)
	}
	if rep := run(t, validate.Runner{}, suite(100, requirements...), failFirst(0)); rep.Verdict != validate.Inconclusive {
		t.Errorf("one of a hundred: %s", rep.Verdict)
	}
}

// TestApproximateBound holds figures that were measured for the formula, and the
// floor that repairs it where a single failure would narrow the bound.
func TestApproximateBound(t *testing.T) {
	r := rate(.06)
	r.Approximate, r.Repeats = true, 5
	for _, tt := range []struct {
		name  string
		fails func(c string, repeat int) bool
		want  float64
	}{
		{"none", func(string, int) bool { return false }, .0295},
		{"one_answer", func(c string, repeat int) bool { return c == "c003" && repeat == 2 }, .0295},
		{"one_cluster", func(c string, _ int) bool { return c == "c003" }, .0466},
		{"one_cluster_and_one", func(c string, repeat int) bool { return c == "c003" || c == "c004" && repeat == 0 }, .0458},
	} {
		tgt := target(func(req validate.Request) (string, error) {
			if tt.fails(req.Case, req.Repeat) {
				return "no", nil
			}
			return "yes", nil
		})
		d := run(t, validate.Runner{}, suite(100, r), tgt).Requirements[0]
		if math.Abs(d.Bound-tt.want) > 5e-5 || d.Method != "approximate: effective-sample binomial" || d.Verdict != validate.Pass {
			t.Errorf("%s: %s, bound %.4f, want %.4f, by %q", tt.name, d.Verdict, d.Bound, tt.want, d.Method)
		}
	}
}

func TestVerdictText(t *testing.T) {
	for _, v := range []validate.Verdict{validate.Error, validate.Inconclusive, validate.Fail, validate.Pass} {
		text, err := v.MarshalText()
		var back validate.Verdict
		if err != nil || back.UnmarshalText(text) != nil || back != v || string(text) != v.String() {
			t.Errorf("%s became %s", v, back)
		}
		if (v.Common() == prerun.Pass) != (v == validate.Pass) {
			t.Errorf("%s is %s", v, v.Common())
		}
	}
	var v validate.Verdict
	if v.UnmarshalText([]byte("pass")) == nil || v.UnmarshalText(nil) == nil {
		t.Error("another spelling is read")
	}
	if _, err := validate.Verdict(9).MarshalText(); err == nil {
		t.Error("an undefined verdict is written")
	}
}

func TestSampleIsSeeded(t *testing.T) {
	r := rate(.05)
	r.Sample = 60
	drawn := func(seed uint64) []string {
		var ids []string
		tgt := target(func(req validate.Request) (string, error) {
			ids = append(ids, req.Case)
			return "yes", nil
		})
		run(t, validate.Runner{Seed: seed, Concurrency: 1}, suite(300, r), tgt)
		return ids
	}
	a, b, c := drawn(1), drawn(1), drawn(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) || len(a) != 60 {
		t.Errorf("%d cases; equal seeds agree: %v; other seeds differ: %v", len(a), slices.Equal(a, b), !slices.Equal(a, c))
	}
	if slices.IsSorted(a) {
		t.Error("the order of asking is the order of the suite")
	}
}

func TestWhere(t *testing.T) {
	r := rate(.05)
	r.Where = validate.Where{Expect: []string{"spam", "phish"}, Tags: []string{"mail", "en"}}
	s := suite(300, r)
	for i := range s.Cases {
		s.Cases[i].Expect = []string{"spam", "ham", "phish"}[i%3]
		s.Cases[i].Tags = []string{"mail", []string{"en", "de"}[i%2]}
	}
	plan, err := validate.Runner{}.Plan(s)
	if err != nil || plan.Requests != 100 {
		t.Errorf("%+v, %v", plan, err)
	}
}

func ruleIDs(rep *validate.Report) []string {
	var ids []string
	for f := range rep.Findings() {
		ids = append(ids, f.Rule.ID)
	}
	return ids
}

func TestFindingsAndGaps(t *testing.T) {
	r := rate(.05)
	r.Severity = prerun.Critical
	tgt := failFirst(60)
	tgt.ModelDigest = "sha256:00"
	rep := run(t, validate.Runner{}, suite(60, r), tgt)
	for f := range rep.Findings() {
		if err := f.Check(); err != nil {
			t.Error(err)
		}
		if f.Severity != prerun.Critical || f.Locations[0].Fragment != "requirement=rate" || f.Locations[1].Fragment != "case=c000" {
			t.Errorf("%+v", f)
		}
	}
	if got := prerun.Decide(rep, prerun.Medium); got != prerun.Fail || rep.Verdict.Common() != prerun.Fail {
		t.Errorf("decided %s", got)
	}
	if got := prerun.Decide(run(t, validate.Runner{}, suite(59, rate(.05)), failFirst(1)), prerun.Medium); got != prerun.Incomplete {
		t.Errorf("inconclusive decided %s", got)
	}
	if got := prerun.Decide(run(t, validate.Runner{}, suite(59, rate(.05)), failFirst(0)), prerun.Medium); got != prerun.Pass {
		t.Errorf("pass decided %s", got)
	}
	subjects := slices.Collect(rep.Subjects())
	if len(subjects) != 2 || subjects[0].Path != "suite.yaml" || subjects[0].Digest != rep.Digest || subjects[1].Digest != "sha256:00" {
		t.Errorf("%v", subjects)
	}
	for _, rule := range validate.Rules() {
		if err := rule.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestFalsePass simulates targets exactly at the limit. However their failures
// cluster, they pass no more often than alpha, give or take three standard
// errors. Counting every answer as its own evidence, the negative control,
// passes far more.
func TestFalsePass(t *testing.T) {
	runs := 400
	if testing.Short() {
		runs = 100
	}
	const alpha, limit = .05, .05
	for _, tt := range []struct {
		name              string
		clusters, repeats int
		icc               float64
		approximate       bool
		most              float64
	}{
		{"single_answers", 93, 1, 0, false, alpha},
		{"independent_repeats", 93, 5, 0, false, alpha},
		{"icc_0.5", 93, 5, .5, false, alpha},
		{"icc_0.8", 93, 5, .8, false, alpha},
		{"approximate_icc_0.2", 120, 5, .2, true, .054},
		{"approximate_icc_0.5", 120, 5, .5, true, .054},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rate(limit)
			r.Repeats, r.Approximate = tt.repeats, tt.approximate
			s := suite(tt.clusters, r)
			passes, fails, naive := 0, 0, 0
			for i := range runs {
				rep := run(t, validate.Runner{Concurrency: 1}, s, clustered(uint64(i), limit, tt.icc))
				switch rep.Verdict {
				case validate.Pass:
					passes++
				case validate.Fail:
					fails++
				}
				if d := rep.Requirements[0]; stats.ClopperPearsonUpper(d.Failures, d.N, alpha) <= limit {
					naive++
				}
			}
			if tt.icc >= .5 && float64(naive) < 2*alpha*float64(runs) {
				t.Errorf("control: answers counted singly pass %d times only", naive)
			}
			bound := tt.most + 3*math.Sqrt(tt.most*(1-tt.most)/float64(runs))
			if rate := float64(passes) / float64(runs); rate > bound {
				t.Errorf("false pass %.3f, at most %.3f", rate, bound)
			}
			if rate := float64(fails) / float64(runs); rate > alpha+3*math.Sqrt(alpha*(1-alpha)/float64(runs)) {
				t.Errorf("false fail %.3f", rate)
			}
			t.Logf("passed %d, failed %d, control passed %d of %d", passes, fails, naive, runs)
		})
	}
}

// clustered is a target whose failure rate varies between cases as a beta
// distribution of the given mean and intra-cluster correlation.
func clustered(seed uint64, mean, icc float64) validate.TargetFunc {
	return target(func(req validate.Request) (string, error) {
		p := mean
		h := fnv.New64a()
		h.Write([]byte(req.Case))
		own := rand.New(rand.NewPCG(seed, h.Sum64()))
		if icc > 0 {
			scale := 1/icc - 1
			a, b := gamma(own, mean*scale), gamma(own, (1-mean)*scale)
			p = a / (a + b)
		}
		draw := rand.New(rand.NewPCG(seed^h.Sum64(), uint64(req.Repeat)+1))
		if draw.Float64() < p {
			return "no", nil
		}
		return "yes", nil
	})
}

// gamma draws by Marsaglia and Tsang's method.
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	for {
		x := rng.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
