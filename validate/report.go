package validate

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/prerun/prerun"
)

// A Report is what a run decided. Its zero value decided nothing and says so.
// Marshalled as JSON it is the same, byte for byte, for equal answers; what
// differs between runs stands in Stats, which JSON leaves out.
type Report struct {
	Suite        string     `json:"suite"`
	Digest       string     `json:"digest"` // of the suite
	Target       string     `json:"target"`
	TargetDigest string     `json:"target_digest,omitempty"`
	Models       []string   `json:"models,omitempty"` // as the target reported them, sorted
	Seed         uint64     `json:"seed,string"`
	Requests     int        `json:"requests"` // distinct questions of the plan
	Verdict      Verdict    `json:"verdict"`
	Requirements []Decision `json:"requirements"`
	Faults       []Fault    `json:"faults,omitempty"`      // the first errors, in the order of the suite
	FaultCount   int        `json:"fault_count"`           // answers and scores that ended in an error, for each requirement
	AskedAgain   []string   `json:"asked_again,omitempty"` // what was in flight when the run was killed

	Stats Stats `json:"-"`

	baseline *Baseline
}

// A Fault is an error of the target or of a scorer. Its text is redacted.
type Fault struct {
	Requirement string `json:"requirement"`
	Case        string `json:"case"`
	Text        string `json:"text"`
}

// Stats are facts about one run that the next need not repeat.
type Stats struct {
	Duration     time.Duration
	Asked        int    // requests sent
	Reused       int    // answers taken from the journal
	AskedAgain   int    // requests that a killed run had sent already
	Retries      int    // attempts beyond the first, as the target counts them
	InputTokens  int    // of all answers
	OutputTokens int    // of all answers
	DroppedBytes int64  // cut off the journal's end
	DroppedWhy   string // "" when nothing was
}

const maxFaults = 20

func (x *run) fault(c *check, a *ask, text string) {
	x.faultCount++
	if len(x.faults) < maxFaults {
		x.faults = append(x.faults, Fault{c.req.Name, a.String(), excerpt(text)})
	}
}

func (x *run) report(ctx context.Context) (*Report, error) {
	out := &Report{
		Suite: x.suite.Name, Digest: x.digest, Target: x.target.Name(), Seed: x.seed,
		Requests: len(x.asks), AskedAgain: x.again, Stats: x.stats,
		baseline: x.baseline,
	}
	if d, ok := x.target.(Digester); ok {
		out.TargetDigest = d.Digest()
	}
	for i := range x.checks {
		c := &x.checks[i]
		tallies, examples, err := x.outcomes(ctx, c)
		if err != nil {
			return nil, err
		}
		d := c.decide(tallies)
		d.Examples = examples
		out.Requirements = append(out.Requirements, d)
	}
	out.Verdict = judge(x.checks, out.Requirements)
	out.Faults, out.FaultCount = x.faults, x.faultCount
	for i, r := range x.results {
		if !r.done || i >= x.cut {
			continue
		}
		out.Stats.InputTokens += r.response.InputTokens
		out.Stats.OutputTokens += r.response.OutputTokens
		if r.response.Model != "" && !slices.Contains(out.Models, r.response.Model) {
			out.Models = append(out.Models, r.response.Model)
		}
	}
	slices.Sort(out.Models)
	return out, nil
}

// Subjects yields the suite and the target, each with its digest.
func (r *Report) Subjects() iter.Seq[prerun.Subject] { return r.source().Subjects() }

// Findings yields one finding for each requirement that failed.
func (r *Report) Findings() iter.Seq[prerun.Finding] { return r.source().Findings() }

// Gaps yields one gap for each requirement that is neither passed nor failed,
// and one for what was asked again.
func (r *Report) Gaps() iter.Seq[prerun.Gap] { return r.source().Gaps() }

func (r *Report) source() prerun.Source {
	if r == nil || len(r.Requirements) == 0 {
		return prerun.NewSource(nil, nil, nil)
	}
	suite := prerun.Subject{Path: prerun.EscapePath(r.Suite), Digest: r.Digest}
	subjects := []prerun.Subject{suite, {Path: prerun.EscapePath(r.Target), Digest: r.TargetDigest}}
	var findings []prerun.Finding
	var gaps []prerun.Gap
	for i := range r.Requirements {
		d := &r.Requirements[i]
		where := prerun.Location{Path: suite.Path, Fragment: "requirement=" + prerun.EscapePath(d.Name)}
		switch d.Verdict {
		case Pass:
		case Fail:
			findings = append(findings, d.finding(suite, where))
		default:
			gaps = append(gaps, prerun.Gap{
				Location: where,
				Reason:   fmt.Sprintf("requirement %q is %s: %s", d.Name, d.Verdict, d.Reason),
			})
		}
	}
	return prerun.NewSource(subjects, findings, gaps)
}

func (d *Decision) finding(suite prerun.Subject, where prerun.Location) prerun.Finding {
	rule := ruleOf(d.Kind)
	f := prerun.Finding{
		Rule: rule, Severity: cmp.Or(d.severity, rule.Severity), Confidence: prerun.ConfidenceHigh,
		Subject: suite, Locations: []prerun.Location{where},
		Message: fmt.Sprintf("requirement %q failed: %s", d.Name, d.Reason),
		Key:     d.Name,
		Evidence: map[string]string{
			"clusters":   strconv.Itoa(d.Clusters),
			"failed":     strconv.Itoa(d.FailedClusters),
			"bound":      formatRate(d.Bound),
			"limit":      formatRate(d.Threshold),
			"confidence": formatRate(d.Confidence),
			"method":     d.Method,
		},
	}
	for i, e := range d.Examples {
		name := "case=" + prerun.EscapePath(e.Case)
		f.Locations = append(f.Locations, prerun.Location{Path: suite.Path, Fragment: name})
		if i < 3 {
			f.Evidence[fmt.Sprintf("example%d", i+1)] = name + ": " + e.Answer
		}
	}
	return f
}

func formatRate(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }
