package validate

import (
	"fmt"

	"github.com/prerun/prerun"
)

// A Verdict is the decision on a requirement or a suite. The zero value is
// Error: what nobody decided lets nothing through.
type Verdict uint8

// Verdicts. Anything but Pass blocks.
const (
	Error        Verdict = iota // the answers are missing or unusable
	Inconclusive                // the answers prove neither
	Fail                        // the answers prove a violation
	Pass                        // the answers prove the requirement
)

var verdictNames = [...]string{"ERROR", "INCONCLUSIVE", "FAIL", "PASS"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText writes the upper-case name.
func (v Verdict) MarshalText() ([]byte, error) {
	if int(v) >= len(verdictNames) {
		return nil, fmt.Errorf("verdict %d is not defined", uint8(v))
	}
	return []byte(verdictNames[v]), nil
}

// UnmarshalText reads what [Verdict.MarshalText] writes, exactly.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a verdict", text)
}

// Common is the verdict in the vocabulary of all packages: Inconclusive and
// Error are both incomplete.
func (v Verdict) Common() prerun.Verdict {
	switch v {
	case Pass:
		return prerun.Pass
	case Fail:
		return prerun.Fail
	}
	return prerun.Incomplete
}

// worse is the verdict of two together: a proven violation stands whatever else
// is missing.
func worse(a, b Verdict) Verdict {
	rank := [...]int{Error: 2, Inconclusive: 1, Fail: 3, Pass: 0}
	if rank[a] >= rank[b] {
		return a
	}
	return b
}
