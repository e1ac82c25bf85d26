// Package evade builds pickles that call something when they are loaded, in all
// the ways that are known to hide it from scanners, and composes those ways. It
// is imported by tests and by the generator of test files only.
//
// A [Technique] takes a [Draft] at one [Stage] and gives it back at the same, a
// later or, where it wraps a pickle into another, an earlier one. Two compose
// when the first gives a stage that plain code can lift to what the second
// takes, which [Build] finds out; so the set of pairs is computed, not listed.
package evade

import (
	"iter"

	"github.com/prerun/prerun/internal/pickle"
)

// A Stage is how much of a file a draft is.
type Stage uint8

// Stages, in the order in which plain code lifts a draft from one to the next.
const (
	Target Stage = iota // what to call; nothing is written yet
	Callee              // instructions that leave the callable on the stack
	Code                // instructions that call it and leave one value
	Stream              // the bytes of a pickle
	File                // the bytes of a file
)

// A Call is what loading is to do.
type Call struct {
	Module, Name string
	Host         string    // another module, which has Module as an attribute
	Alias        [2]string // a Python 2 name of the callable, or of one as good
	Argument     string
}

// A Draft is a file in the making.
type Draft struct {
	Call     Call
	Code     []Instruction // of stages Callee and Code
	Data     []byte        // of stages Stream and File
	Min, Max int           // protocols in which Code means what it should

	Name   string // of the file
	Behind bool   // the pickle does not start where the file does

	// Open says how the pickle is reached in the file, outermost first, in the
	// words of the script that runs it under CPython; see run.py.
	Open []string

	keys int // memo keys given out
}

// A Technique is one way to hide a call.
type Technique struct {
	Name         string
	Row          string // of the catalogue that it stands in
	Takes, Gives Stage
	Dormant      bool // nothing calls the payload on load
	Apply        func(*Draft)
}

// Build applies techniques in order, with plain code between them, up to a
// file. It reports false where one cannot follow the other.
func Build(c Call, techniques ...Technique) (*Draft, bool) {
	d := &Draft{Call: c, Max: pickle5, Name: "model.pkl"}
	at := Target
	for _, t := range techniques {
		if at > t.Takes {
			return nil, false
		}
		d.lift(at, t.Takes)
		t.Apply(d)
		if at = t.Gives; d.Min > d.Max {
			return nil, false
		}
	}
	d.lift(at, File)
	return d, true
}

const pickle5 = 5

// lift writes the plain code between two stages.
func (d *Draft) lift(from, to Stage) {
	for at := from; at < to; at++ {
		switch at {
		case Target:
			d.Code = []Instruction{global(d.Call.Module, d.Call.Name)}
		case Callee:
			d.Code = append(d.Code, str(d.Call.Argument), op(pickle.OpTuple1), op(pickle.OpReduce))
		case Code:
			d.stream(d.Code, op(pickle.OpStop))
		}
	}
}

// Pairs yields all ordered pairs of techniques that may compose.
func Pairs(all []Technique) iter.Seq2[Technique, Technique] {
	return func(yield func(a, b Technique) bool) {
		for _, a := range all {
			for _, b := range all {
				if a.Gives <= b.Takes && !yield(a, b) {
					return
				}
			}
		}
	}
}

// Techniques are those that lie in pickles, all of them.
func Techniques() []Technique {
	var all []Technique
	for _, list := range [][]Technique{callees(), calls(), codes(), streams(), nests()} {
		all = append(all, list...)
	}
	return all
}

// Refuse says that the draft cannot be what the technique needs.
func (d *Draft) Refuse() { d.Max = -1 }

// protocols narrows the protocols in which the code works.
func (d *Draft) protocols(least, most int) {
	d.Min, d.Max = max(d.Min, least), min(d.Max, most)
}

// protocol is the one that the stream will state.
func (d *Draft) protocol() int { return min(max(4, d.Min), d.Max) }
