package pipeline

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// A Decision is what a gate decided, and why. It is a [prerun.Source] over
// everything that its checks looked at. The zero value is incomplete.
type Decision struct {
	Name    string
	Tier    Tier
	Verdict prerun.Verdict
	Reason  string        // one sentence, what stood in the way
	Checks  []CheckResult // by id
	Model   *ModelInfo    // nil when no check established it

	asOf     time.Time
	failOn   prerun.Severity
	graphs   []report.Graph
	subjects []prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
	waived   map[string]*AppliedWaiver // by fingerprint
}

// A CheckResult is what became of one check.
type CheckResult struct {
	ID        string
	Outcome   Outcome
	Reason    string
	Required  bool // by the profile
	Items     []string
	Controls  []string
	Facts     map[string]any
	Intervals []report.Interval

	source prerun.Source
}

// Source is what the check found; never nil.
func (c CheckResult) Source() prerun.Source {
	if c.source == nil {
		return prerun.NewSource([]prerun.Subject{{Path: "."}}, nil, nil)
	}
	return c.source
}

// Subjects implements [prerun.Source].
func (d *Decision) Subjects() iter.Seq[prerun.Subject] { return slices.Values(d.subjects) }

// Findings implements [prerun.Source]. Waived findings are among them; see
// [Decision.WaivedBy].
func (d *Decision) Findings() iter.Seq[prerun.Finding] { return slices.Values(d.findings) }

// Gaps implements [prerun.Source].
func (d *Decision) Gaps() iter.Seq[prerun.Gap] {
	if d.Verdict == prerun.Incomplete && len(d.gaps) == 0 {
		return slices.Values([]prerun.Gap{{
			Location: prerun.Location{Path: "."}, Reason: "the gate did not run",
		}})
	}
	return slices.Values(d.gaps)
}

// AsOf is the time that the gate judged age and expiry by.
func (d *Decision) AsOf() time.Time { return d.asOf }

// WaivedBy returns the waiver that excused a finding, or nil.
func (d *Decision) WaivedBy(f prerun.Finding) *AppliedWaiver { return d.waived[f.Fingerprint()] }

// decide applies the waivers, then the profile.
func (r *run) decide() *Decision {
	g := r.gate
	d := &Decision{
		Name: g.Name, Tier: g.Profile.Tier, Verdict: prerun.Pass,
		asOf: g.Now.UTC(), failOn: g.Profile.failOn(),
		waived: make(map[string]*AppliedWaiver),
	}
	if model, ok := r.facts.values[string(ModelFact)].(*ModelInfo); ok {
		d.Model = model
	}
	book := newWaiverBook(g.Waivers, g.Profile, g.Now)
	required := g.Profile.Required()
	for _, n := range r.nodes {
		res := n.result
		res.Required = slices.Contains(required, res.ID)
		d.collect(&res, book, g.Profile.failOn())
		d.Checks = append(d.Checks, res)
		d.graphs = append(d.graphs, n.graphs...)
	}
	slices.SortFunc(d.Checks, func(a, b CheckResult) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	own := append(d.missing(required), book.settle()...)
	d.findings = append(d.findings, own...)
	d.conclude(own, g.Profile.failOn())
	all := prerun.NewSource(d.subjects, d.findings, d.gaps)
	d.subjects = slices.Compact(slices.Collect(all.Subjects()))
	d.findings = slices.Collect(all.Findings())
	d.gaps = slices.Collect(all.Gaps())
	for _, f := range d.findings { // numbered anew: only now is a fingerprint final
		if w := book.covering(f); w != nil {
			d.waived[f.Fingerprint()] = w
		}
	}
	return d
}

// collect adds what a check found and excuses what a waiver covers.
func (d *Decision) collect(res *CheckResult, book *waiverBook, failOn prerun.Severity) {
	if res.source == nil {
		return
	}
	open, covered := 0, 0
	for f := range res.source.Findings() {
		d.findings = append(d.findings, f)
		excused := book.excuse(f)
		switch {
		case !f.Severity.AtLeast(failOn):
		case excused:
			covered++
		default:
			open++
		}
	}
	d.subjects = slices.AppendSeq(d.subjects, res.source.Subjects())
	gaps := slices.Collect(res.source.Gaps())
	d.gaps = append(d.gaps, gaps...)
	if res.Outcome != Fail || covered == 0 || open > 0 {
		return
	}
	if len(gaps) > 0 {
		res.Outcome = Inconclusive
		return
	}
	res.Outcome = Waived
	res.Reason = fmt.Sprintf("%d findings waived", covered)
}

// missing reports required checks that the gate was built without, or told to
// skip.
func (d *Decision) missing(required []string) []prerun.Finding {
	var out []prerun.Finding
	for _, id := range required {
		i := slices.IndexFunc(d.Checks, func(c CheckResult) bool { return c.ID == id })
		switch {
		case i < 0:
			out = append(out, gateFinding(ruleRequiredMissing, id,
				fmt.Sprintf("profile %s requires check %s and the gate has none", d.Tier, id)))
		case d.Checks[i].Outcome == Skipped && d.Checks[i].source == nil && d.Checks[i].Reason == skippedByConfig:
			out = append(out, gateFinding(ruleRequiredMissing, id,
				fmt.Sprintf("profile %s requires check %s and the configuration skips it", d.Tier, id)))
		}
	}
	return out
}

// conclude sets the verdict: a check that is not satisfied is a no, whether
// the profile requires it or the configuration added it.
func (d *Decision) conclude(own []prerun.Finding, failOn prerun.Severity) {
	var failed []string
	for _, c := range d.Checks {
		if !c.Outcome.Satisfied() {
			failed = append(failed, c.ID)
		}
	}
	for _, f := range own {
		if f.Severity.AtLeast(failOn) {
			failed = append(failed, f.Rule.ID)
		}
	}
	slices.Sort(failed)
	failed = slices.Compact(failed)
	if len(failed) == 0 {
		d.Reason = fmt.Sprintf("all %d checks of profile %s are satisfied", len(d.Checks), d.Tier)
		return
	}
	d.Verdict = prerun.Fail
	d.Reason = fmt.Sprintf("not satisfied: %v", failed)
}
