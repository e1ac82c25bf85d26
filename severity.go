package prerun

import "fmt"

// A Severity ranks a finding. The zero value is Unrated and counts as above
// every threshold: a rule that its author forgot to rate must not pass. The
// list is append-only.
type Severity uint8

// Severities, from the one that no threshold lets through to the gravest.
const (
	Unrated Severity = iota
	Info
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"unrated", "info", "low", "medium", "high", "critical"}

// AtLeast reports whether a finding of severity s counts at a threshold.
// Unrated findings count at every threshold, and at an unrated threshold every
// finding counts.
func (s Severity) AtLeast(threshold Severity) bool {
	return s == Unrated || s >= threshold
}

func (s Severity) String() string { return nameOf(severityNames[:], uint8(s), "severity") }

// MarshalText writes the lower-case name.
func (s Severity) MarshalText() ([]byte, error) {
	return marshalName(severityNames[:], uint8(s), "severity")
}

// UnmarshalText reads what [Severity.MarshalText] writes, exactly.
func (s *Severity) UnmarshalText(text []byte) error {
	return unmarshalName(severityNames[:], (*uint8)(s), text, "severity")
}

// A Confidence says how sure the detector is that the finding is real, which
// is a different question from how bad it would be.
type Confidence uint8

// Confidences. The zero value means that the detector did not say.
const (
	ConfidenceUnstated Confidence = iota
	ConfidenceLow
	ConfidenceMedium
	ConfidenceHigh
)

var confidenceNames = [...]string{"unstated", "low", "medium", "high"}

func (c Confidence) String() string { return nameOf(confidenceNames[:], uint8(c), "confidence") }

// MarshalText writes the lower-case name.
func (c Confidence) MarshalText() ([]byte, error) {
	return marshalName(confidenceNames[:], uint8(c), "confidence")
}

// UnmarshalText reads what [Confidence.MarshalText] writes, exactly.
func (c *Confidence) UnmarshalText(text []byte) error {
	return unmarshalName(confidenceNames[:], (*uint8)(c), text, "confidence")
}

// A Verdict is the answer for a whole source or gate. The zero value is
// Incomplete, so a verdict that nobody set lets nothing through.
type Verdict uint8

// Verdicts, with the exit status of the reference command.
const (
	Incomplete Verdict = iota // 2: something could not be checked
	Pass                      // 0
	Fail                      // 1: a finding at or above the threshold
)

var verdictNames = [...]string{"incomplete", "pass", "fail"}

func (v Verdict) String() string { return nameOf(verdictNames[:], uint8(v), "verdict") }

// MarshalText writes the lower-case name.
func (v Verdict) MarshalText() ([]byte, error) {
	return marshalName(verdictNames[:], uint8(v), "verdict")
}

// UnmarshalText reads what [Verdict.MarshalText] writes, exactly.
func (v *Verdict) UnmarshalText(text []byte) error {
	return unmarshalName(verdictNames[:], (*uint8)(v), text, "verdict")
}

// ExitCode is the exit status that a command ends with: 0, 1 or 2.
func (v Verdict) ExitCode() int {
	switch v {
	case Pass:
		return 0
	case Fail:
		return 1
	}
	return 2
}

func nameOf(names []string, v uint8, kind string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", kind, v)
}

func marshalName(names []string, v uint8, kind string) ([]byte, error) {
	if int(v) >= len(names) {
		return nil, fmt.Errorf("%s %d is not defined", kind, v)
	}
	return []byte(names[v]), nil
}

func unmarshalName(names []string, v *uint8, text []byte, kind string) error {
	for i, name := range names {
		if name == string(text) {
			*v = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a %s", text, kind)
}
