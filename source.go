package prerun

import (
	"cmp"
	"iter"
	"slices"
)

// A Source is a result that speaks the common vocabulary. It is the only
// interface that gates, reports and other people's tools need. Each sequence
// can be ranged over any number of times, in the same documented order, and
// from several goroutines at once.
//
// A result that was never filled is not clean: the zero value of every result
// type of this module yields a gap.
type Source interface {
	Subjects() iter.Seq[Subject] // what was looked at
	Findings() iter.Seq[Finding] // as ordered and numbered by [Sort]
	Gaps() iter.Seq[Gap]         // what could not be checked, by location
}

// NewSource is a source made of slices, which it copies, sorts and numbers.
// One without a subject looked at nothing and gets a gap that says so.
func NewSource(subjects []Subject, findings []Finding, gaps []Gap) Source {
	s := &source{slices.Clone(subjects), slices.Clone(findings), slices.Clone(gaps)}
	slices.SortStableFunc(s.subjects, func(a, b Subject) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Digest, b.Digest))
	})
	Sort(s.findings)
	slices.SortStableFunc(s.gaps, func(a, b Gap) int {
		return cmp.Or(compareLocations(a.Location, b.Location), cmp.Compare(a.Reason, b.Reason))
	})
	if len(subjects) == 0 {
		s.gaps = append(s.gaps, Gap{Location{Path: "."}, "nothing was looked at"})
	}
	return s
}

type source struct {
	subjects []Subject
	findings []Finding
	gaps     []Gap
}

func (s *source) Subjects() iter.Seq[Subject] { return slices.Values(s.subjects) }
func (s *source) Findings() iter.Seq[Finding] { return slices.Values(s.findings) }
func (s *source) Gaps() iter.Seq[Gap]         { return slices.Values(s.gaps) }

// Decide is the verdict over a source at a threshold: Fail when a finding is at
// least that severe, else Incomplete when there is a gap or no subject, else
// Pass. A nil source is Incomplete.
func Decide(src Source, threshold Severity) Verdict {
	if src == nil {
		return Incomplete
	}
	for f := range src.Findings() {
		if f.Severity.AtLeast(threshold) {
			return Fail
		}
	}
	for range src.Gaps() {
		return Incomplete
	}
	for range src.Subjects() {
		return Pass
	}
	return Incomplete
}
