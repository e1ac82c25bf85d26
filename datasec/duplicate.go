package datasec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

const (
	defaultTexts = 1 << 20 // distinct texts that a table holds
	maxGroups    = 50      // groups of rows that are reported
)

// ExactDuplicates reports texts that stand in several rows, equal up to letter
// case and white space, the most repeated first.
type ExactDuplicates struct {
	// MaxTexts bounds the distinct texts that are remembered, about 200 bytes
	// each; 0 means 1 Mi. Beyond it a sample of the texts is compared, with
	// all their copies, and a gap says which share.
	MaxTexts int
}

// LabelConflict reports texts that carry different labels in different rows,
// equal up to letter case and white space. It has no false alarms: one of the
// labels is wrong. Rows without a label are passed over.
type LabelConflict struct {
	MaxTexts int // as for ExactDuplicates
}

// Info implements [Detector].
func (ExactDuplicates) Info() Info {
	return Info{"exact-duplicates", 1, []prerun.Rule{ruleExact}}
}

// New implements [Detector].
func (d ExactDuplicates) New(p Params) State {
	if d.MaxTexts <= 0 {
		d.MaxTexts = defaultTexts
	}
	return &copiesState{
		name: d.Info().Name, header: stateHeader(d.Info(), d, p), table: newContents[copies](d.MaxTexts),
		report: exactReport,
	}
}

// Info implements [Detector].
func (LabelConflict) Info() Info {
	return Info{"label-conflict", 1, []prerun.Rule{ruleConflict}}
}

// New implements [Detector].
func (d LabelConflict) New(p Params) State {
	if d.MaxTexts <= 0 {
		d.MaxTexts = defaultTexts
	}
	return &copiesState{
		name: d.Info().Name, header: stateHeader(d.Info(), d, p), table: newContents[copies](d.MaxTexts),
		labels: true, report: conflictReport,
	}
}

// copiesState serves both: they differ in whether labels count.
type copiesState struct {
	name   string
	header []byte
	labels bool
	report func(*copiesState) ([]prerun.Finding, Figures)
	rows   int64
	table  contents[copies]
}

func (s *copiesState) Observe(r *Record) {
	if s.labels && !r.Labelled {
		return
	}
	k, ok := keyOf(r)
	if !ok {
		return
	}
	s.rows++
	e := s.table.at(k)
	if e == nil {
		return
	}
	e.add(r.ref())
	if s.labels {
		e.label(r.Label, 1)
	}
}

func (s *copiesState) Merge(other State) error {
	t, ok := other.(*copiesState)
	if !ok {
		return wrongType(s.name, other)
	}
	if err := sameState(s.name, s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	s.table.merge(&t.table, (*copies).merge)
	return nil
}

func (s *copiesState) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(append([]byte(nil), s.header...), uint64(s.rows))
	return s.table.append(b, func(b []byte, e *copies) []byte { return e.append(b) }), nil
}

func (s *copiesState) UnmarshalBinary(data []byte) error {
	r := openState(s.name, s.header, data)
	rows := r.int64()
	table := newContents[copies](s.table.limit)
	table.read(r, 6, func(r *stateReader, e *copies) {
		e.read(r)
		if r.err == nil && (e.count < int64(len(e.rows.refs)) || len(e.rows.refs) == 0 || s.labels != (len(e.labels) > 0)) {
			r.fail("text without rows")
		}
	})
	if err := r.close(); err != nil {
		return err
	}
	s.rows, s.table = rows, table
	return nil
}

func (s *copiesState) Finalize() Report {
	findings, figures := s.report(s)
	rep := Report{Findings: findings, Figures: []Figures{figures}}
	if s.table.level > 0 {
		rep.Gaps = append(rep.Gaps, sampleGap(s.name, s.table.limit, s.table.level))
	}
	return rep
}

func sampleGap(name string, limit, level int) prerun.Gap {
	return prerun.Gap{
		Location: prerun.Location{Path: "."},
		Reason: fmt.Sprintf("%s: more than %d distinct texts; a sample of one in 2^%d of them was compared",
			name, limit, level),
	}
}

func exactReport(s *copiesState) ([]prerun.Finding, Figures) {
	var groups []*copies
	for _, e := range s.table.entries {
		if e.count > 1 {
			groups = append(groups, e)
		}
	}
	slices.SortFunc(groups, byWeight)
	fig := Figures{Detector: s.name, Rows: s.rows, Candidates: len(groups), Found: min(len(groups), maxGroups)}
	var out []prerun.Finding
	for _, e := range groups[:fig.Found] {
		fig.Marked += e.count
		out = append(out, groupFinding(ruleExact, e.rows.refs, fmt.Sprintf("the same text stands in %d rows", e.count),
			map[string]string{"rows": strconv.FormatInt(e.count, 10), "groups": strconv.Itoa(len(groups))}))
	}
	return out, fig
}

func conflictReport(s *copiesState) ([]prerun.Finding, Figures) {
	var groups []*copies
	for _, e := range s.table.entries {
		if len(e.labels) > 1 {
			groups = append(groups, e)
		}
	}
	slices.SortFunc(groups, byWeight)
	fig := Figures{Detector: s.name, Rows: s.rows, Candidates: len(groups), Found: min(len(groups), maxGroups)}
	var out []prerun.Finding
	for _, e := range groups[:fig.Found] {
		var parts []string
		for _, l := range e.labels {
			parts = append(parts, fmt.Sprintf("%s: %d", redact.Excerpt([]byte(l.label), 40), l.count))
		}
		labels := redact.Excerpt([]byte(strings.Join(parts, ", ")), 200)
		out = append(out, groupFinding(ruleConflict, e.rows.refs,
			fmt.Sprintf("the same text stands in %d rows under %d labels (%s)", e.count, len(e.labels), labels),
			map[string]string{"rows": strconv.FormatInt(e.count, 10), "labels": labels, "groups": strconv.Itoa(len(groups))}))
	}
	return out, fig
}

func groupFinding(rule prerun.Rule, rows []rowRef, message string, evidence map[string]string) prerun.Finding {
	f := prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
		Message: message, Evidence: evidence,
	}
	for _, r := range rows {
		f.Locations = append(f.Locations, r.location())
	}
	return f
}
