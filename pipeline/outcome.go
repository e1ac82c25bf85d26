package pipeline

import (
	"fmt"

	"github.com/prerun/prerun"
)

// An Outcome is what became of one check. The zero value is Errored, so a
// result that nobody filled lets nothing through.
type Outcome uint8

// Outcomes. Pass, NotApplicable and Waived satisfy a gate; nothing else does.
const (
	Errored       Outcome = iota // the check could not do its work
	Pass                         // it looked at everything and found nothing that counts
	Fail                         // it found something that counts
	Inconclusive                 // something could not be checked
	Skipped                      // it did not run
	NotApplicable                // there is nothing for it to look at
	Waived                       // it failed, and every finding that counts is waived
)

var outcomeNames = [...]string{"error", "pass", "fail", "inconclusive", "skipped", "not-applicable", "waived"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", o)
}

// MarshalText writes the lower-case name.
func (o Outcome) MarshalText() ([]byte, error) {
	if int(o) >= len(outcomeNames) {
		return nil, fmt.Errorf("outcome %d is not defined", o)
	}
	return []byte(outcomeNames[o]), nil
}

// UnmarshalText reads what [Outcome.MarshalText] writes, exactly.
func (o *Outcome) UnmarshalText(text []byte) error {
	for i, name := range outcomeNames {
		if name == string(text) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not an outcome", text)
}

// rank orders outcomes by the precedence of the gate: fail, then what could
// not be decided, then what lets through.
func (o Outcome) rank() int {
	switch o {
	case Fail:
		return 3
	case Errored:
		return 2
	case Inconclusive, Skipped:
		return 1
	}
	return 0
}

// Satisfied reports whether the outcome lets a gate through.
func (o Outcome) Satisfied() bool {
	return o == Pass || o == NotApplicable || o == Waived
}

// OutcomeOf is the outcome of a source at a threshold, by the precedence of
// [prerun.Decide]: fail, then inconclusive, then pass.
func OutcomeOf(src prerun.Source, threshold prerun.Severity) Outcome {
	switch prerun.Decide(src, threshold) {
	case prerun.Pass:
		return Pass
	case prerun.Fail:
		return Fail
	}
	return Inconclusive
}
