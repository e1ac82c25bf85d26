package datasec

import (
	"encoding"
	"errors"
	"fmt"

	"github.com/prerun/prerun"
)

// A Detector looks for one kind of signal. It holds its configuration and
// makes states; implementations must be safe for concurrent use. See package
// datasectest for a test of the contract.
type Detector interface {
	Info() Info
	New(p Params) State
}

// Info describes a detector.
type Info struct {
	Name    string // unique in a scan: "label-contradiction"
	Version int    // changes when states or answers do
	Rules   []prerun.Rule
}

// Params are what a scan gives to every detector.
type Params struct {
	Seed uint64 // of hashed tables and samples
}

// A State is what one pass of a detector knows about the rows it observed.
//
// States of the same detector and parameters form a commutative monoid, on
// bytes: whatever the order of rows and whatever the tree of merges,
// MarshalBinary returns the same bytes, and so Finalize the same report. That
// is why rows are told apart by shard and row number and never by a running
// count, and why no floating-point sum is kept. Each row is observed by one
// state only; the caller sees to that.
type State interface {
	// Observe takes a row. It must not change it, and may keep its strings.
	Observe(r *Record)

	// Merge adds what other knows; other is not used afterwards. It returns
	// an error wrapping [ErrState] when other is of another detector, version
	// or configuration, and is then without effect.
	Merge(other State) error

	// UnmarshalBinary replaces the state by one that MarshalBinary wrote. It
	// returns an error wrapping [ErrState] for anything else; memory is
	// bounded by a small multiple of the input plus a constant.
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler

	// Finalize says what the state found. It does not change the state.
	Finalize() Report
}

// A MultiPass is a [State] that selects what another pass over the same rows
// is to look at. Next is called once, on the merged state; it returns the
// maker of the next pass's states, or nil when there is nothing to look at.
// Only the last pass is finalised. The maker must be safe for concurrent use.
type MultiPass interface {
	State
	Next() (newState func() State)
}

// maxPasses bounds how often a detector may ask for the data again.
const maxPasses = 8

// A Report is what a detector says in the end. The scanner fills the subjects
// of findings, and their order is of no importance.
type Report struct {
	Findings []prerun.Finding
	Gaps     []prerun.Gap // what this detector could not look at
	Figures  []Figures
}

// Figures are what a test measured. They are stated also when nothing fires,
// because "nothing found" means little without what could have been found.
type Figures struct {
	Detector   string  `json:"detector"`
	Test       string  `json:"test,omitempty"`       // which of several: "label=spam"
	Rows       int64   `json:"rows"`                 // n: that were looked at
	Marked     int64   `json:"marked,omitempty"`     // of them, those that carry the signal tested for
	Hypotheses int64   `json:"hypotheses,omitempty"` // tests that were, or could have been, made
	Q          float64 `json:"q,omitempty"`          // false discovery rate aimed at
	SmallestP  float64 `json:"smallest_p,omitempty"`
	Candidates int     `json:"candidates"`          // that passed the test
	Found      int     `json:"found"`               // that were reported, after grouping
	MinimumK   int     `json:"minimum_k,omitempty"` // poisoned rows below which the test cannot fire
}

// ErrState is the class of errors about state bytes and merges that do not
// belong together.
var ErrState = errors.New("detector state does not fit")

// A StateError says why. It wraps [ErrState].
type StateError struct {
	Detector string
	Reason   string
}

func (e *StateError) Error() string { return fmt.Sprintf("state of %q: %s", e.Detector, e.Reason) }
func (e *StateError) Unwrap() error { return ErrState }

// Builtin are the detectors of this package in their default configuration,
// which is what a [Scanner] runs when it is told nothing else.
func Builtin() []Detector {
	return []Detector{
		LabelContradiction{},
		LabelConflict{},
		ExactDuplicates{},
		NearDuplicates{},
		HiddenText{},
		Injection{},
	}
}
