package datasec

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/stats"
)

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:8]
}

// selectState is pass 2: it finds the contradicted rows and counts their
// sequences by hash. A counter is never below the number of rows that any of
// its sequences stands in, so what it leaves out could not have passed.
type selectState struct {
	*model
	rows         int64
	contradicted [maxLabels]int64
	sequences    int64 // of all rows, repetitions included
	grams        counters
	buf          []token
	slots        []uint32
}

// judge returns the row's label and words when the model contradicts it.
func (m *model) judge(r *Record, buf []token, slots []uint32) (own int, text string, tokens []token, places []uint32, wrong bool) {
	own, known := m.index[r.Label]
	if !r.Labelled || !known {
		return -1, "", buf[:0], slots, false
	}
	text, tokens = m.tokens(buf, r)
	if len(tokens) == 0 {
		return -1, "", tokens, slots, false
	}
	places = distinctWords(slots, tokens, &m.common)
	return own, text, tokens, places, m.contradicted(places, own)
}

func (s *selectState) Observe(r *Record) {
	own, _, tokens, slots, wrong := s.judge(r, s.buf, s.slots)
	s.buf, s.slots = tokens, slots
	if own < 0 {
		return
	}
	s.rows++
	s.sequences += int64(maxGram * len(tokens))
	if !wrong {
		return
	}
	s.model.countContradicted(s, own, tokens)
}

func (m *model) countContradicted(s *selectState, own int, tokens []token) {
	s.contradicted[own]++
	s.slots = s.slots[:0]
	eachGram(tokens, func(h uint64, _, _ int) { s.slots = append(s.slots, s.grams.slot(h)) })
	slices.Sort(s.slots)
	s.slots = slices.Compact(s.slots)
	for _, slot := range s.slots {
		s.grams.add(slot, 1)
	}
}

func (s *selectState) Merge(other State) error {
	t, ok := other.(*selectState)
	if !ok {
		return wrongType(s.Info().Name, other)
	}
	if err := sameState(s.Info().Name, s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	s.sequences += t.sequences
	for i, n := range t.contradicted {
		s.contradicted[i] += n
	}
	s.grams.merge(&t.grams)
	return nil
}

func (s *selectState) MarshalBinary() ([]byte, error) {
	b := slices.Clone(s.header)
	b = binary.AppendUvarint(b, uint64(s.rows))
	b = binary.AppendUvarint(b, uint64(s.sequences))
	for _, n := range s.contradicted {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return s.grams.append(b), nil
}

func (s *selectState) UnmarshalBinary(data []byte) error {
	r := openState(s.Info().Name, s.header, data)
	t := selectState{model: s.model, rows: r.int64(), sequences: r.int64(), grams: newCounters(gramOrder)}
	for i := range t.contradicted {
		t.contradicted[i] = r.int64()
	}
	t.grams.read(r)
	if err := r.close(); err != nil {
		return err
	}
	*s = t
	return nil
}

// plan is what pass 2 decided. It is read-only.
type plan struct {
	*model
	rows         int64
	contradicted [maxLabels]int64
	hypotheses   int64
	least        int    // contradicted rows below which a sequence is not looked at
	hot          []bool // by counter
	slot         func(h uint64) uint32
}

func (s *selectState) plan() *plan {
	p := &plan{model: s.model, rows: s.rows, contradicted: s.contradicted, slot: s.grams.slot}
	// Every sequence that stands in minCount rows uses up that many of all.
	p.hypotheses = max(1, s.sequences/minCount)
	// A sequence that is a hundred times too improbable to matter even as the
	// hundredth of a hundred cannot change the outcome.
	p.least = maxHot
	for y := range p.labels {
		for k := minCount; k < p.least; k++ {
			d := int(p.contradicted[y])
			if k > d {
				break
			}
			if stats.HypergeomUpper(k, d, k, int(p.rows)) <= 100*level(p.hypotheses, p.Q) {
				p.least = k
			}
		}
	}
	// Where too many counters reach that, look only at the highest.
	histogram := make(map[int]int)
	s.grams.each(func(_, n uint32) { histogram[int(n)]++ })
	hot := 0
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(histogram))) {
		if hot += histogram[n]; hot > maxHot {
			p.least = max(p.least, n+1)
			break
		}
	}
	p.hot = make([]bool, 1<<gramOrder)
	s.grams.each(func(slot, n uint32) { p.hot[slot] = int(n) >= p.least })
	return p
}

// figures are what can be said before anything was found, one for each label.
func (p *plan) figures() []Figures {
	var out []Figures
	for y, label := range p.labels {
		d := int(p.contradicted[y])
		out = append(out, Figures{
			Detector: p.Info().Name, Test: "label=" + label, Rows: p.rows, Marked: int64(d),
			Hypotheses: p.hypotheses, Q: p.Q,
			MinimumK: max(p.least-d, minimumK(d, int(p.rows), level(p.hypotheses, p.Q))),
		})
	}
	return out
}

// gaps says where the test has no power.
func (p *plan) gaps() []prerun.Gap {
	var wrong int64
	for _, n := range p.contradicted {
		wrong += n
	}
	reason := ""
	switch worst := p.worst(); {
	case float64(wrong) > maxError*float64(p.rows):
		reason = fmt.Sprintf("words contradict the labels of %d of %d rows: labels that words do not predict cannot be checked by them",
			wrong, p.rows)
	case int64(worst.MinimumK) > p.rows/4:
		reason = fmt.Sprintf("with %d rows only %d or more poisoned rows could be found", p.rows, worst.MinimumK)
	default:
		return nil
	}
	return []prerun.Gap{{Location: prerun.Location{Path: "."}, Reason: p.Info().Name + ": " + reason}}
}

func (p *plan) worst() Figures {
	return slices.MaxFunc(p.figures(), func(a, b Figures) int { return cmp.Compare(a.MinimumK, b.MinimumK) })
}

func (s *selectState) Finalize() Report {
	p := s.plan()
	return Report{Gaps: p.gaps(), Figures: p.figures()}
}

// Next makes the third pass when a counter is high enough.
func (s *selectState) Next() func() State {
	p := s.plan()
	if !slices.Contains(p.hot, true) || len(p.gaps()) > 0 {
		return nil
	}
	before, _ := s.MarshalBinary()
	header := p.passHeader(3, digestOf(before))
	return func() State { return &verifyState{plan: p, header: header, table: newContents[gram](maxGrams)} }
}

// gram is a sequence in the contradicted rows of one label.
type gram struct {
	label int
	text  string
	count int64
	rows  refSet
}

// verifyState is pass 3: it counts the selected sequences exactly, by text.
type verifyState struct {
	*plan
	header []byte
	table  contents[gram]
	buf    []token
	slots  []uint32
	seen   map[contentKey]bool
}

func (s *verifyState) Observe(r *Record) {
	own, text, tokens, slots, wrong := s.judge(r, s.buf, s.slots)
	s.buf, s.slots = tokens, slots
	if own < 0 || !wrong {
		return
	}
	if s.seen == nil {
		s.seen = make(map[contentKey]bool)
	}
	clear(s.seen)
	eachGram(tokens, func(h uint64, from, to int) {
		if !s.hot[s.slot(h)] {
			return
		}
		words := gramText(text, tokens[from:to])
		if words == "" {
			return
		}
		k := gramKey(own, words)
		if s.seen[k] {
			return
		}
		s.seen[k] = true
		if g := s.table.at(k); g != nil {
			g.label, g.text = own, words
			g.count++
			g.rows.add(r.ref(), maxGramRows)
		}
	})
}

func gramKey(label int, words string) contentKey {
	sum := sha256.Sum256(append([]byte{byte(label)}, words...))
	return contentKey(sum[:16])
}

func (s *verifyState) Merge(other State) error {
	t, ok := other.(*verifyState)
	if !ok {
		return wrongType(s.Info().Name, other)
	}
	if err := sameState(s.Info().Name, s.header, t.header); err != nil {
		return err
	}
	s.table.merge(&t.table, func(into, from *gram) {
		into.label, into.text = from.label, from.text
		into.count += from.count
		into.rows.merge(&from.rows, maxGramRows)
	})
	return nil
}

func (s *verifyState) MarshalBinary() ([]byte, error) {
	return s.table.append(slices.Clone(s.header), func(b []byte, g *gram) []byte {
		b = append(b, byte(g.label))
		b = binary.AppendUvarint(appendString(b, g.text), uint64(g.count))
		return g.rows.append(b)
	}), nil
}

func (s *verifyState) UnmarshalBinary(data []byte) error {
	r := openState(s.Info().Name, s.header, data)
	table := newContents[gram](maxGrams)
	table.read(r, 4, func(r *stateReader, g *gram) {
		label := r.take(1)
		g.text, g.count = r.string(), r.int64()
		g.rows.read(r, maxGramRows)
		if r.err != nil {
			return
		}
		if g.label = int(label[0]); g.label >= len(s.labels) || g.count == 0 {
			r.fail("sequence without label or rows")
		}
	})
	if err := r.close(); err != nil {
		return err
	}
	s.table = table
	return nil
}

// grams are the sequences worth counting, by label and text.
func (s *verifyState) grams() []*gram {
	var out []*gram
	for _, g := range s.table.entries {
		if g.count >= int64(s.least) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *gram) int {
		return cmp.Or(cmp.Compare(a.label, b.label), strings.Compare(a.text, b.text))
	})
	return out
}

func (s *verifyState) report() Report {
	rep := Report{Gaps: s.gaps(), Figures: s.figures()}
	if s.table.level > 0 {
		rep.Gaps = append(rep.Gaps, sampleGap(s.Info().Name, maxGrams, s.table.level))
	}
	return rep
}

func (s *verifyState) Finalize() Report { return s.report() }

// Next makes the fourth pass when a sequence is left.
func (s *verifyState) Next() func() State {
	grams := s.grams()
	if len(grams) == 0 {
		return nil
	}
	before, _ := s.MarshalBinary()
	c := &counting{plan: s.plan, so: s.report(), grams: grams, byText: make(map[string][]int)}
	c.header = s.passHeader(4, digestOf(before))
	for i, g := range grams {
		c.byText[g.text] = append(c.byText[g.text], i)
	}
	return func() State { return &countState{counting: c, rows: make([]int64, len(grams))} }
}
