package pipeline

import (
	"cmp"
	"context"
	"fmt"

	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/validate"
)

// RunSuite runs a behavioural suite against a target and decides with
// statistics. Its facts are those of the validate command:
// requirements[]{name, verdict, n, failures, clusters, bound, method, needed}.
type RunSuite struct {
	ID     string // "" means CheckValidate
	Suite  *validate.Suite
	Target validate.Target
	Runner validate.Runner // Seed is the gate's
	Dials  bool            // the target opens network connections
}

// Meta implements [Check].
func (c RunSuite) Meta() Meta {
	return Meta{
		ID: cmp.Or(c.ID, CheckValidate), Version: "1", Network: c.Dials,
		Items:    []string{"ALL-3", "MED-1"},
		Controls: []string{"SUP-02"},
	}
}

// Run implements [Check].
func (c RunSuite) Run(ctx context.Context, in *Input) (*Result, error) {
	r := c.Runner
	r.Seed = in.Seed
	r.Progress = func(done, total int) { in.Progress(int64(done), int64(total)) }
	rep, err := r.Run(ctx, c.Suite, c.Target)
	if err != nil {
		return nil, err
	}
	out := &Result{
		Reason:    fmt.Sprintf("%s, %d requirements, %d questions", rep.Verdict, len(rep.Requirements), rep.Requests),
		Source:    rep,
		Facts:     SuiteFacts(rep),
		Intervals: SuiteIntervals(rep),
	}
	switch rep.Verdict {
	case validate.Pass:
		out.Outcome = Pass
	case validate.Fail:
		out.Outcome = Fail
	case validate.Inconclusive:
		out.Outcome = Inconclusive
	default:
		out.Err = fmt.Errorf("%d answers ended in an error", rep.FaultCount)
	}
	return out, nil
}

// SuiteFacts are the facts of a suite's report as reports show them: suite,
// digest, target, target_digest, seed, verdict, requests (questions of the plan),
// asked_again[], and requirements[], each a [validate.Decision] with name,
// verdict, n, failures, clusters, bound, method and needed.
func SuiteFacts(rep *validate.Report) map[string]any {
	return map[string]any{
		"suite": rep.Suite, "digest": rep.Digest, "target": rep.Target, "target_digest": rep.TargetDigest,
		"seed": rep.Seed, "verdict": rep.Verdict, "requests": rep.Requests,
		"requirements": rep.Requirements, "asked_again": notNil(rep.AskedAgain),
	}
}

// SuiteIntervals are a suite's estimates against their thresholds.
func SuiteIntervals(rep *validate.Report) []report.Interval {
	var out []report.Interval
	for _, d := range rep.Requirements {
		out = append(out, report.Interval{
			Name: d.Name, Estimate: d.Estimate, Low: d.Lower, High: d.Upper, Threshold: d.Threshold,
			AtMost: d.Kind != validate.RateAtLeast, Verdict: d.Verdict.String(), Method: d.Method,
		})
	}
	return out
}
