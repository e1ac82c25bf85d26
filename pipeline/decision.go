package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
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

	policies []prerun.Subject // files that decided, besides the configuration
	inputs   []prerun.Subject // signed documents that were looked at
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
	Facts     map[string]json.RawMessage // its figures, by name
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
		policies: g.Policies,
		waived:   make(map[string]*AppliedWaiver),
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
		d.inputs = append(d.inputs, n.inputs...)
	}
	for _, file := range g.Waivers {
		if file.rejected == "" {
			d.inputs = append(d.inputs, prerun.Subject{Path: prerun.EscapePath(file.file), Digest: file.digest})
		}
	}
	slices.SortFunc(d.inputs, compareSubjects)
	d.inputs = slices.Compact(d.inputs)
	slices.SortFunc(d.Checks, func(a, b CheckResult) int { return cmp.Compare(a.ID, b.ID) })
	d.subjects = d.distinct()
	own := slices.Concat(d.missing(required), d.changed(), book.settle())
	d.findings = append(d.findings, own...)
	d.conclude(own, g.Profile.failOn())
	all := prerun.NewSource(d.subjects, d.findings, d.gaps)
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
	res.Reason = "what it found is waived"
}

// distinct are the subjects by path, each once: one without a digest only where
// no check computed it.
func (d *Decision) distinct() []prerun.Subject {
	all := slices.SortedFunc(slices.Values(d.subjects), compareSubjects)
	var out []prerun.Subject
	for i, s := range all {
		next := i+1 < len(all) && all[i+1].Path == s.Path
		if next && (s.Digest == "" || s.Digest == all[i+1].Digest) {
			continue
		}
		out = append(out, s)
	}
	return out
}

// changed reports files of the model that a check saw with other bytes than
// those that were verified.
func (d *Decision) changed() []prerun.Finding {
	if d.Model == nil {
		return nil
	}
	verified := make(map[string]string)
	for _, f := range d.Model.Files {
		verified[path.Join(d.Model.Folder, f.Path)] = f.Digest
	}
	var out []prerun.Finding
	for _, s := range d.subjects {
		want, known := verified[s.Path]
		if !known || s.Digest == want || algorithmOf(s.Digest) != algorithmOf(want) {
			continue
		}
		out = append(out, prerun.Finding{
			Rule: ruleChanged, Severity: ruleChanged.Severity, Confidence: prerun.ConfidenceHigh,
			Subject: s, Locations: []prerun.Location{{Path: s.Path}},
			Message: fmt.Sprintf("%q was %s when its signature was verified and %s for another check", s.Path, want, s.Digest),
		})
	}
	return out
}

func algorithmOf(digest string) string {
	algorithm, _, _ := strings.Cut(digest, ":")
	return algorithm
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
	d.Reason = "not satisfied: " + strings.Join(failed, ", ")
}
