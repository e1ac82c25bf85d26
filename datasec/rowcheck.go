package datasec

import (
	"encoding/binary"
	"strconv"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// A RowCheck is a detector made of a function: the short way to one that
// looks at each row by itself and has one thing to say. The first hundred rows
// are reported; the evidence says how many there were.
type RowCheck struct {
	Name    string // unique in a scan
	Version int    // changes when Look does
	Rule    prerun.Rule

	// Look returns a sentence about the row, and whether there is something
	// to say. It depends on nothing but the row, changes nothing, and may be
	// called from several goroutines. The sentence is redacted, and cut after
	// 300 characters.
	Look func(r *Record) (message string, found bool)
}

// Info implements [Detector].
func (c RowCheck) Info() Info { return Info{c.Name, c.Version, []prerun.Rule{c.Rule}} }

// New implements [Detector].
func (c RowCheck) New(p Params) State {
	return &rowState{check: c, header: stateHeader(c.Info(), c.Rule.ID, p)}
}

type rowState struct {
	check  RowCheck
	header []byte
	rows   int64
	found  hitSet
}

func (s *rowState) Observe(r *Record) {
	s.rows++
	if message, found := s.check.Look(r); found {
		s.found.add(hit{at: r.ref(), excerpt: redact.Excerpt([]byte(message), 300)})
	}
}

func (s *rowState) Merge(other State) error {
	t, ok := other.(*rowState)
	if !ok {
		return wrongType(s.check.Name, other)
	}
	if err := sameState(s.check.Name, s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	s.found.merge(&t.found)
	return nil
}

func (s *rowState) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(append([]byte(nil), s.header...), uint64(s.rows))
	return s.found.append(b), nil
}

func (s *rowState) UnmarshalBinary(data []byte) error {
	r := openState(s.check.Name, s.header, data)
	t := rowState{check: s.check, header: s.header, rows: r.int64()}
	t.found.read(r, 1)
	if err := r.close(); err != nil {
		return err
	}
	*s = t
	return nil
}

func (s *rowState) Finalize() Report {
	rep := Report{Figures: []Figures{{
		Detector: s.check.Name, Rows: s.rows, Candidates: int(s.found.total), Found: len(s.found.kept),
	}}}
	for _, h := range s.found.kept {
		rep.Findings = append(rep.Findings, prerun.Finding{
			Rule: s.check.Rule, Severity: s.check.Rule.Severity,
			Locations: []prerun.Location{h.at.location()}, Message: h.excerpt,
			Evidence: map[string]string{"rows_with_this": strconv.FormatInt(s.found.total, 10)},
		})
	}
	return rep
}
