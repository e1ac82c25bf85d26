package datasec

import "github.com/prerun/prerun"

// LabelContradiction is being written.
type LabelContradiction struct{}

// Info implements [Detector].
func (LabelContradiction) Info() Info {
	return Info{"label-contradiction", 1, []prerun.Rule{ruleTrigger}}
}

// New implements [Detector].
func (d LabelContradiction) New(p Params) State { return HiddenText{}.New(p) }
