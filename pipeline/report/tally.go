package report

import (
	"fmt"

	"github.com/prerun/prerun"
)

// A tally is a document in numbers. A waived finding is counted as waived only.
type tally struct {
	Subjects int
	Counted  int // at the threshold or above
	Below    int
	Waived   int
	Gaps     int
	Checks   int
	Met      int // checks that satisfy a gate
	FailOn   prerun.Severity
}

func newTally(doc Document) tally {
	src := doc.source()
	t := tally{FailOn: doc.failOn(), Checks: len(doc.Checks)}
	for range src.Subjects() {
		t.Subjects++
	}
	for f := range src.Findings() {
		switch _, waived := doc.Waived[f.Fingerprint()]; {
		case waived:
			t.Waived++
		case f.Severity.AtLeast(t.FailOn):
			t.Counted++
		default:
			t.Below++
		}
	}
	for range src.Gaps() {
		t.Gaps++
	}
	for _, c := range doc.Checks {
		switch c.Outcome {
		case "pass", "waived", "not-applicable":
			t.Met++
		}
	}
	return t
}

func (t tally) String() string {
	return fmt.Sprintf("%s, %s at %s or above, %d below, %d waived, %d not checked",
		plural(t.Subjects, "subject"), plural(t.Counted, "finding"), t.FailOn, t.Below, t.Waived, t.Gaps)
}

// reason says in one sentence what a verdict rests on when the document does
// not.
func (t tally) reason(v prerun.Verdict) string {
	switch {
	case v == prerun.Fail && t.Counted > 0:
		return fmt.Sprintf("%s at %s or above.", plural(t.Counted, "finding"), t.FailOn)
	case v == prerun.Fail:
		return "Something that was required is not met."
	case v == prerun.Pass:
		return fmt.Sprintf("%s looked at, no finding at %s or above.", plural(t.Subjects, "subject"), t.FailOn)
	case t.Gaps > 0:
		return fmt.Sprintf("%s could not be checked.", plural(t.Gaps, "thing"))
	}
	return "Not everything could be checked."
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
