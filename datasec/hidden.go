package datasec

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// HiddenText looks for characters that show nothing: text written in Unicode
// tag characters, bytes in variation selectors, bits in zero-width characters,
// all of which it decodes, and controls that reorder what is shown. It looks
// at every text field, one row at a time.
//
// What writing needs is no finding: joiners in emoji and in scripts that join
// or form conjuncts, the flags of England, Scotland and Wales, single
// variation selectors behind what they vary, soft hyphens inside words, a byte
// order mark at the start, directional marks and balanced embeddings.
// Payloads that are encrypted, or spread one character to a word of a joining
// script, are seen at most as invisible characters.
type HiddenText struct{}

// Info implements [Detector].
func (HiddenText) Info() Info {
	return Info{"hidden-text", 1, []prerun.Rule{ruleHidden, ruleBidi, ruleInvisible}}
}

// New implements [Detector].
func (d HiddenText) New(p Params) State {
	return &hiddenState{header: stateHeader(d.Info(), d, p)}
}

type hiddenState struct {
	header []byte
	rows   int64
	sets   [3]hitSet // hidden, bidi, invisible
}

func (s *hiddenState) Observe(r *Record) {
	s.rows++
	for f := range r.Texts() {
		if plainASCII(f.Value) {
			continue
		}
		seen := inspect(f.Value)
		for i := range s.sets {
			if o := seen[i]; o.count > 0 {
				s.sets[i].add(hit{r.ref(), f.Name, o.kind, o.count, redact.Excerpt([]byte(o.text), 200)})
			}
		}
	}
}

func (s *hiddenState) Merge(other State) error {
	t, ok := other.(*hiddenState)
	if !ok {
		return wrongType("hidden-text", other)
	}
	if err := sameState("hidden-text", s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	for i := range s.sets {
		s.sets[i].merge(&t.sets[i])
	}
	return nil
}

func (s *hiddenState) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(append([]byte(nil), s.header...), uint64(s.rows))
	for i := range s.sets {
		b = s.sets[i].append(b)
	}
	return b, nil
}

func (s *hiddenState) UnmarshalBinary(data []byte) error {
	r := openState("hidden-text", s.header, data)
	t := hiddenState{header: s.header, rows: r.int64()}
	for i := range t.sets {
		t.sets[i].read(r, len(invisibleKinds))
	}
	if err := r.close(); err != nil {
		return err
	}
	*s = t
	return nil
}

func (s *hiddenState) Finalize() Report {
	var rep Report
	for i, rule := range []prerun.Rule{ruleHidden, ruleBidi, ruleInvisible} {
		set := &s.sets[i]
		for _, h := range set.kept {
			rep.Findings = append(rep.Findings, s.finding(rule, set, h))
		}
		rep.Figures = append(rep.Figures, Figures{
			Detector: "hidden-text", Test: rule.ID, Rows: s.rows,
			Candidates: int(set.total), Found: len(set.kept),
		})
	}
	return rep
}

func (s *hiddenState) finding(rule prerun.Rule, set *hitSet, h hit) prerun.Finding {
	kind := invisibleKinds[h.kind]
	f := prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
		Locations: []prerun.Location{h.at.location()},
		Key:       kind,
		Evidence: map[string]string{
			"field": redact.Excerpt([]byte(h.field), 80), "kind": kind,
			"characters": strconv.Itoa(h.count), "rows_with_this": strconv.FormatInt(set.total, 10),
		},
	}
	switch rule.ID {
	case ruleHidden.ID:
		f.Message = fmt.Sprintf("row %d hides text in %d %s: %q", h.at.row, h.count, kind, h.excerpt)
		f.Evidence["decoded"] = h.excerpt
		if instruction(strings.ToLower(h.excerpt)) != nil {
			f.Evidence["addressed_to"] = "a model"
		}
	case ruleBidi.ID:
		f.Message = fmt.Sprintf("row %d has %d %s", h.at.row, h.count, kind)
		if h.kind == kindUnclosed {
			f.Severity = prerun.Low // careless right-to-left text does that too
		}
	default:
		f.Message = fmt.Sprintf("row %d has %d %s that have no use where they stand", h.at.row, h.count, kind)
		if h.kind == kindUndecoded {
			f.Severity = prerun.Medium
			f.Message = fmt.Sprintf("row %d has a run of %d %s, which could not be decoded", h.at.row, h.count, kind)
		}
	}
	return f
}

// Kinds of hits, as they read in messages.
const (
	kindTags = iota
	kindSelectors
	kindZeroWidth
	kindOverride
	kindUnclosed
	kindStray
	kindUndecoded
)

var invisibleKinds = [...]string{
	kindTags:      "tag characters",
	kindSelectors: "variation selectors",
	kindZeroWidth: "zero-width characters",
	kindOverride:  "direction overrides",
	kindUnclosed:  "direction controls that are never closed",
	kindStray:     "invisible characters",
	kindUndecoded: "invisible characters in a row",
}
