package validate

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// A Baseline holds which cases an earlier run passed, for requirements of kind
// [NoRegression]. Cases are found by id and scorer, so the suite may have
// changed since; cases that a baseline does not know make the requirement
// inconclusive.
type Baseline struct {
	Suite  string `json:"suite,required"`  // digest of the suite it was made with
	Target string `json:"target,required"` // what it was made of

	// Outcomes tell, by scorer name and case id, whether the case passed. Cases
	// that ended in an error are left out.
	Outcomes map[string]map[string]bool `json:"outcomes,required"`
}

// ErrBaseline is the class of errors of a baseline that cannot be read.
var ErrBaseline = errors.New("invalid baseline")

const baselineFormat = "prerun/validate/baseline/v1"

type baselineFile struct {
	Format string `json:"baseline,required"`
	Baseline
}

// ParseBaseline reads what [Baseline.Encode] wrote.
func ParseBaseline(data []byte) (*Baseline, error) {
	var f baselineFile
	if _, err := strictjson.Unmarshal(data, &f, strictjson.Options{Limits: strictjson.Limits{Bytes: limits.MaxBundle}}); err != nil {
		return nil, fmt.Errorf("baseline: %w: %w", ErrBaseline, err)
	}
	if f.Format != baselineFormat {
		return nil, fmt.Errorf("baseline: format %q is not %q: %w", f.Format, baselineFormat, ErrBaseline)
	}
	return &f.Baseline, nil
}

// Encode writes the baseline as JSON, always the same for the same outcomes.
func (b *Baseline) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(baselineFile{baselineFormat, *b}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	return append(data, '\n'), nil
}

func (b *Baseline) outcome(scorer, id string) (passed, known bool) {
	passed, known = b.Outcomes[scorer][id]
	return passed, known
}

func (b *Baseline) set(scorer, id string, passed bool) {
	if b.Outcomes == nil {
		b.Outcomes = make(map[string]map[string]bool)
	}
	if b.Outcomes[scorer] == nil {
		b.Outcomes[scorer] = make(map[string]bool)
	}
	b.Outcomes[scorer][id] = passed
}

// Baseline returns the outcomes of this run, for later runs to be compared
// with. It holds every case whose answer, as written and the first time asked,
// was scored.
func (r *Report) Baseline() *Baseline {
	if r == nil || r.baseline == nil {
		return &Baseline{}
	}
	return r.baseline
}
