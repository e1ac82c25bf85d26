package datasec

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/prerun/prerun"
)

// class is what pass 1 counts of a label: rows, and rows that hold a word.
type class struct {
	rows  uint32
	words counters
}

// learnState is pass 1. With more labels than maxLabels it keeps none: that is
// as independent of the order of rows as any other state.
type learnState struct {
	task
	header   []byte
	offered  int64 // rows with a label field
	labelled int64 // rows with a label
	labels   map[string]*class
	tooMany  bool
	buf      []token
	slots    []uint32
}

func (s *learnState) Observe(r *Record) {
	for _, f := range r.Fields {
		if f.Role == RoleLabel {
			s.offered++
			break
		}
	}
	if !r.Labelled {
		return
	}
	s.labelled++
	if s.tooMany {
		return
	}
	_, s.buf = s.tokens(s.buf, r)
	if len(s.buf) == 0 {
		return
	}
	c := s.class(r.Label)
	if c == nil {
		return
	}
	c.rows++
	s.slots = distinctWords(s.slots, s.buf, &c.words)
	for _, slot := range s.slots {
		c.words.add(slot, 1)
	}
}

// class finds or makes a label's counts, and gives up when there are too many.
func (s *learnState) class(label string) *class {
	c := s.labels[label]
	if c == nil {
		if len(s.labels) == maxLabels {
			s.tooMany, s.labels = true, nil
			return nil
		}
		c = &class{words: newCounters(wordOrder)}
		s.labels[label] = c
	}
	return c
}

// distinctWords are the places of a row's words, each once.
func distinctWords(dst []uint32, tokens []token, table *counters) []uint32 {
	dst = dst[:0]
	for _, t := range tokens {
		dst = append(dst, table.slot(t.hash))
	}
	slices.Sort(dst)
	return slices.Compact(dst)
}

func (s *learnState) Merge(other State) error {
	t, ok := other.(*learnState)
	if !ok {
		return wrongType(s.Info().Name, other)
	}
	if err := sameState(s.Info().Name, s.header, t.header); err != nil {
		return err
	}
	s.offered += t.offered
	s.labelled += t.labelled
	if t.tooMany {
		s.tooMany, s.labels = true, nil
	}
	for label, from := range t.labels {
		if s.tooMany {
			break
		}
		if into := s.class(label); into != nil {
			into.rows += from.rows
			into.words.merge(&from.words)
		}
	}
	return nil
}

func (s *learnState) MarshalBinary() ([]byte, error) {
	b := slices.Clone(s.header)
	b = binary.AppendUvarint(b, uint64(s.offered))
	b = binary.AppendUvarint(b, uint64(s.labelled))
	if s.tooMany {
		return append(b, 1), nil
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(s.labels)))
	for _, label := range slices.Sorted(maps.Keys(s.labels)) {
		c := s.labels[label]
		b = binary.AppendUvarint(appendString(b, label), uint64(c.rows))
		b = c.words.append(b)
	}
	return b, nil
}

func (s *learnState) UnmarshalBinary(data []byte) error {
	r := openState(s.Info().Name, s.header, data)
	t := learnState{task: s.task, header: s.header, offered: r.int64(), labelled: r.int64()}
	switch flag := r.take(1); {
	case r.err != nil:
	case flag[0] == 1:
		t.tooMany = true
	case flag[0] != 0:
		r.fail("malformed flag")
	default:
		t.labels = make(map[string]*class)
		n := r.count(3)
		if n > maxLabels {
			r.fail("%d labels", n)
			n = 0
		}
		last := ""
		for i := range n {
			label := r.string()
			if i > 0 && label <= last {
				r.fail("labels out of order")
			}
			c := &class{rows: uint32(r.int32()), words: newCounters(wordOrder)}
			c.words.read(r)
			t.labels[label] = c
			last = label
		}
	}
	if err := r.close(); err != nil {
		return err
	}
	*s = t
	return nil
}

// Finalize is the last word only when Next found nothing to go on with.
func (s *learnState) Finalize() Report {
	name := s.Info().Name
	rep := Report{Figures: []Figures{{Detector: name, Rows: s.labelled, Q: s.Q}}}
	gap := func(reason string) {
		rep.Gaps = append(rep.Gaps, prerun.Gap{Location: prerun.Location{Path: "."}, Reason: name + ": " + reason})
	}
	switch {
	case s.offered == 0: // the schema names no label: nobody asked
	case s.tooMany:
		gap(fmt.Sprintf("more than %d labels", maxLabels))
	case len(s.labels) < 2:
		gap(fmt.Sprintf("%d labels in %d rows; labels can be contradicted only where there are two", len(s.labels), s.labelled))
	}
	return rep
}

// Next makes the second pass when there are labels to tell apart.
func (s *learnState) Next() func() State {
	if s.tooMany || len(s.labels) < 2 {
		return nil
	}
	m := s.model()
	return func() State { return &selectState{model: m, grams: newCounters(gramOrder)} }
}

// model is the classifier, read-only from here on.
type model struct {
	task
	header []byte // of pass 2
	labels []string
	index  map[string]int
	rows   []uint32   // by label
	words  []counters // by label
	common counters   // rows that hold a word, whatever their label
	absent []int64    // by label: the score of a row that holds no word at all
	logs   logTable
	total  int64
}

func (s *learnState) model() *model {
	before, _ := s.MarshalBinary()
	m := &model{
		task: s.task, header: s.passHeader(2, digestOf(before)), labels: slices.Sorted(maps.Keys(s.labels)),
		index: make(map[string]int), common: newCounters(wordOrder),
	}
	for i, label := range m.labels {
		c := s.labels[label]
		m.index[label] = i
		m.rows = append(m.rows, c.rows)
		m.words = append(m.words, c.words)
		m.common.merge(&c.words)
		m.total += int64(c.rows)
	}
	m.logs = newLogTable(int(min(m.total, 1<<16)) + 2)
	m.absent = make([]int64, len(m.labels))
	m.common.each(func(slot, rows uint32) {
		if rows < minWordRows {
			return
		}
		for i, n := range m.rows {
			m.absent[i] += m.logs.of(n-m.words[i].at(slot)+1) - m.logs.of(n+2)
		}
	})
	return m
}

// contradicted reports whether some other label scores higher than the row's
// own, which is one of the model's, when the row itself is not counted.
//
// Two labels are compared by the log of their rows, and by each word that at
// least two other rows hold: by (c+1)/(n+2), c of a label's n rows holding it,
// where the row holds it too, and by one minus that where it does not. What a
// present word may add is clamped to maxWeight. A trigger teaches its label to
// the classifier as well, and many rows with a trigger of many words would
// talk it into their label; clamped, they need as many words as the rest of
// the row. For words that the row lacks it is not taken out of the counts,
// which moves a score by about its length over n, alike for all labels.
func (m *model) contradicted(slots []uint32, own int) bool {
	n := m.rows[own] - 1 // without the row itself
	start := m.logs.of(n+1) + m.absent[own]
	for y, rows := range m.rows {
		if y == own {
			continue
		}
		score := start - m.logs.of(rows+1) - m.absent[y]
		for _, slot := range slots {
			if m.common.at(slot) < minWordRows {
				continue
			}
			a, b := m.words[own].at(slot), m.words[y].at(slot)
			score -= m.logs.of(m.rows[own]-a+1) - m.logs.of(m.rows[own]+2) - m.logs.of(rows-b+1) + m.logs.of(rows+2)
			weight := m.logs.of(a) - m.logs.of(n+2) - m.logs.of(b+1) + m.logs.of(rows+2) // a-1+1: without the row
			score += max(-maxWeight, min(maxWeight, weight))
		}
		if score < 0 {
			return true
		}
	}
	return false
}
