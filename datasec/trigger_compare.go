package datasec

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/stats"
)

// counting is what pass 4 works with. It is read-only.
type counting struct {
	*plan
	header []byte
	so     Report // what there is to say when nothing more is found
	grams  []*gram
	byText map[string][]int // one for each label that the sequence was seen with
}

// countState is pass 4: it counts all rows that hold the sequences, whatever
// their label.
type countState struct {
	*counting
	rows []int64 // by sequence
	buf  []token
	seen map[string]bool
}

func (s *countState) Observe(r *Record) {
	if _, known := s.index[r.Label]; !r.Labelled || !known {
		return
	}
	var text string
	text, s.buf = s.tokens(s.buf, r)
	if s.seen == nil {
		s.seen = make(map[string]bool)
	}
	clear(s.seen)
	eachGram(s.buf, func(h uint64, from, to int) {
		if !s.hot[s.slot(h)] {
			return
		}
		words := gramText(text, s.buf[from:to])
		at := s.byText[words]
		if at == nil || s.seen[words] {
			return
		}
		s.seen[words] = true
		for _, i := range at {
			s.rows[i]++
		}
	})
}

func (s *countState) Merge(other State) error {
	t, ok := other.(*countState)
	if !ok {
		return wrongType(s.Info().Name, other)
	}
	if err := sameState(s.Info().Name, s.header, t.header); err != nil {
		return err
	}
	for i, n := range t.rows {
		s.rows[i] += n
	}
	return nil
}

func (s *countState) MarshalBinary() ([]byte, error) {
	b := slices.Clone(s.header)
	for _, n := range s.rows {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b, nil
}

func (s *countState) UnmarshalBinary(data []byte) error {
	r := openState(s.Info().Name, s.header, data)
	rows := make([]int64, len(s.grams))
	for i := range rows {
		rows[i] = r.int64()
	}
	if err := r.close(); err != nil {
		return err
	}
	s.rows = rows
	return nil
}

func (s *countState) Finalize() Report { return s.so }

// A suspect is a sequence that passed the test as counted.
type suspect struct {
	*gram
	all int64   // rows that hold it, whatever their label
	p   float64 // as counted, then with rows of one source counted once
	own int     // contradicted rows, those of one source counted once
}

// suspects are the sequences that pass before rows are compared, most
// improbable first.
func (s *countState) suspects() []suspect {
	var list []suspect
	var p []float64
	for i, g := range s.grams {
		sus := suspect{gram: g, all: s.rows[i], own: int(g.count)}
		sus.p = s.tail(sus)
		if float64(g.count) < s.MinShare*float64(sus.all) {
			continue
		}
		list = append(list, sus)
		p = append(p, sus.p)
	}
	limit := stepUp(p, s.hypotheses, s.Q)
	list = slices.DeleteFunc(list, func(x suspect) bool { return x.p > limit })
	sortSuspects(list)
	rows := make(map[rowRef]bool)
	for i, x := range list { // memory is bounded by the rows that are compared
		for _, r := range x.rows.refs {
			rows[r] = true
		}
		if len(rows) > maxCompare {
			return list[:i]
		}
	}
	return list
}

// sortSuspects puts the most improbable first, and of equals the longest: a
// phrase says more than a word of it.
func sortSuspects(list []suspect) {
	slices.SortFunc(list, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(a.p, b.p), cmp.Compare(b.count, a.count), cmp.Compare(len(b.text), len(a.text)),
			cmp.Compare(a.label, b.label), strings.Compare(a.text, b.text))
	})
}

// tail is the probability that so many of the rows that hold the sequence are
// contradicted ones of its label by chance.
func (p *plan) tail(x suspect) float64 {
	dropped := int(x.count) - x.own // rows that count as others
	return stats.HypergeomUpper(x.own, int(p.contradicted[x.label]), int(x.all)-dropped, int(p.rows))
}

// Next makes the fifth pass when a sequence passed.
func (s *countState) Next() func() State {
	list := s.suspects()
	if len(list) == 0 {
		return nil
	}
	before, _ := s.MarshalBinary()
	c := &comparing{counting: s.counting, suspects: list, wanted: make(map[rowRef]bool)}
	c.header = s.passHeader(5, digestOf(before))
	for _, x := range list {
		for _, r := range x.gram.rows.refs {
			c.wanted[r] = true
		}
	}
	return func() State { return &compareState{comparing: c, words: make(map[rowRef][]uint64)} }
}

// comparing is what pass 5 works with. It is read-only.
type comparing struct {
	*counting
	header   []byte
	suspects []suspect
	wanted   map[rowRef]bool
}

// compareState is pass 5: it collects the words of suspect rows, as hashes.
type compareState struct {
	*comparing
	words map[rowRef][]uint64
	buf   []token
}

func (s *compareState) Observe(r *Record) {
	ref := r.ref()
	if !s.wanted[ref] {
		return
	}
	_, s.buf = s.tokens(s.buf, r)
	words := make([]uint64, 0, min(len(s.buf), maxRowTokens))
	for _, t := range s.buf[:cap(words)] {
		words = append(words, t.hash)
	}
	s.words[ref] = words
}

func (s *compareState) Merge(other State) error {
	t, ok := other.(*compareState)
	if !ok {
		return wrongType(s.Info().Name, other)
	}
	if err := sameState(s.Info().Name, s.comparing.header, t.comparing.header); err != nil {
		return err
	}
	maps.Copy(s.words, t.words)
	return nil
}

func (s *compareState) MarshalBinary() ([]byte, error) {
	b := slices.Clone(s.comparing.header)
	b = binary.AppendUvarint(b, uint64(len(s.words)))
	for _, ref := range slices.SortedFunc(maps.Keys(s.words), compareRefs) {
		b = appendRef(b, ref)
		b = binary.AppendUvarint(b, uint64(len(s.words[ref])))
		for _, w := range s.words[ref] {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return b, nil
}

func (s *compareState) UnmarshalBinary(data []byte) error {
	r := openState(s.Info().Name, s.comparing.header, data)
	words := make(map[rowRef][]uint64)
	var last rowRef
	for i := range r.count(4) {
		ref := r.ref()
		n := r.count(8)
		if i > 0 && compareRefs(last, ref) >= 0 || r.err == nil && !s.wanted[ref] || n > maxRowTokens {
			r.fail("row that was not asked for")
		}
		if r.err != nil {
			break
		}
		list := make([]uint64, n)
		for j := range list {
			list[j] = binary.LittleEndian.Uint64(r.take(8))
		}
		words[ref] = list
		last = ref
	}
	if err := r.close(); err != nil {
		return err
	}
	s.words = words
	return nil
}

func (s *compareState) Finalize() Report {
	rep := Report{Gaps: slices.Clone(s.so.Gaps), Figures: slices.Clone(s.so.Figures)}
	member := make(map[uint64]bool) // hashes of all suspect sequences
	for _, x := range s.suspects {
		member[s.hash(x.text)] = true
	}
	list := slices.Clone(s.suspects)
	var p []float64
	for i := range list {
		x := &list[i]
		if n := len(x.rows.refs); n > 0 {
			x.own = int(x.count) * s.sources(x, member) / n
		}
		x.p = s.tail(*x)
		p = append(p, x.p)
	}
	limit := stepUp(p, s.hypotheses, s.Q)
	list = slices.DeleteFunc(list, func(x suspect) bool { return x.p > limit || x.own < minCount })
	sortSuspects(list)
	groups := s.grouped(list)
	// Sequences of one group are one discovery, and only discoveries make room
	// for more: the many sequences of a long trigger must not.
	p = p[:0]
	for _, g := range groups {
		p = append(p, g[0].p)
	}
	limit = stepUp(p, s.hypotheses, s.Q)
	groups = slices.DeleteFunc(groups, func(g []suspect) bool { return g[0].p > limit || g[0].own < minCount })
	for y := range rep.Figures {
		fig := &rep.Figures[y]
		for _, x := range list {
			if x.label == y {
				fig.Candidates++
				if fig.SmallestP == 0 || x.p < fig.SmallestP {
					fig.SmallestP = x.p
				}
			}
		}
	}
	for _, g := range groups[:min(len(groups), maxGroups)] {
		rep.Figures[g[0].label].Found++
		rep.Findings = append(rep.Findings, s.finding(g))
	}
	return rep
}

// hash is the hash of a sequence that was written down as text.
func (s *compareState) hash(text string) uint64 {
	tokens := appendTokens(nil, text, s.Seed)
	h := uint64(0)
	for i, t := range tokens {
		if h = combine(h, t.hash); i == 0 {
			h = t.hash
		}
	}
	return h
}

// sources is the number of groups that the sequence's rows fall into when two
// rows that share many word pairs belong together.
func (s *compareState) sources(x *suspect, member map[uint64]bool) int {
	own := s.hash(x.text)
	rows := make([][]uint64, len(x.rows.refs))
	group := make([]int, len(rows))
	for i, ref := range x.rows.refs {
		rows[i] = pairs(s.words[ref], own, member)
		group[i] = i
	}
	root := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	n := len(rows)
	for i := range rows {
		for j := range i {
			a, b := root(i), root(j)
			if a != b && sameSource*common(rows[i], rows[j]) > min(len(rows[i]), len(rows[j])) {
				group[a] = b
				n--
			}
		}
	}
	return n
}

// pairs are the hashes of a row's pairs of words, each once, ascending, without
// those in which the sequence stands. A long trigger gives several suspect
// sequences that overlap, so the stretch of suspects around the sequence is
// left out as well; it ends after maxMasked words, because in a newsletter the
// stretch would be the newsletter.
func pairs(words []uint64, own uint64, member map[uint64]bool) []uint64 {
	covered := make([]bool, len(words))
	var hits [][2]int
	for i := range words {
		h := words[i]
		for j := i; ; {
			if member[h] {
				for k := i; k <= j; k++ {
					covered[k] = true
				}
				if h == own {
					hits = append(hits, [2]int{i, j})
				}
			}
			if j++; j == min(i+maxGram, len(words)) {
				break
			}
			h = combine(h, words[j])
		}
	}
	masked := make([]bool, len(words))
	for _, hit := range hits {
		from, to := hit[0], hit[1]
		for k := from; k >= 0 && k > from-maxMasked && covered[k]; k-- {
			masked[k] = true
		}
		for k := to; k < len(words) && k < to+maxMasked && covered[k]; k++ {
			masked[k] = true
		}
	}
	var out []uint64
	for i := 1; i < len(words); i++ {
		if !masked[i-1] && !masked[i] {
			out = append(out, combine(words[i-1], words[i]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// common counts what two ascending lists share.
func common(a, b []uint64) (n int) {
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0], b[0]); {
		case c < 0:
			a = a[1:]
		case c > 0:
			b = b[1:]
		default:
			n++
			a, b = a[1:], b[1:]
		}
	}
	return n
}

// grouped explains contradicted rows, the most improbable sequence first. A
// later sequence that stands in the same rows joins its group. One that stands
// in others is tested again without the rows that are explained already: rows
// of a trigger are contradicted together, so whatever else they share would
// look like a trigger too.
func (s *compareState) grouped(list []suspect) [][]suspect {
	var groups [][]suspect
	explained := make(map[rowRef]bool)
next:
	for _, x := range list {
		for i, g := range groups {
			if x.label == g[0].label && overlap(x.rows.refs, g[0].rows.refs) {
				groups[i] = append(g, x)
				continue next
			}
		}
		known := 0
		for _, r := range x.rows.refs {
			if explained[r] {
				known++
			}
		}
		x.own -= (x.own*known + len(x.rows.refs) - 1) / len(x.rows.refs)
		x.p = s.tail(x)
		for _, r := range x.rows.refs {
			explained[r] = true
		}
		groups = append(groups, []suspect{x})
	}
	return groups
}

// overlap reports that one of two lists of rows holds half of the other.
func overlap(a, b []rowRef) bool {
	shared := 0
	for _, r := range a {
		if _, found := slices.BinarySearchFunc(b, r, compareRefs); found {
			shared++
		}
	}
	return 2*shared >= min(len(a), len(b))
}

func (s *compareState) finding(g []suspect) prerun.Finding {
	x := g[0]
	text := redact.Excerpt([]byte(x.text), 120)
	label := redact.Excerpt([]byte(s.labels[x.label]), 40)
	f := groupFinding(ruleTrigger, x.rows.refs[:min(len(x.rows.refs), maxCopyRows)],
		fmt.Sprintf("%q goes with contradicted labels: %d of the %d rows that contain it are labelled %q against the rest of their text, as are %d of all %d rows",
			text, x.count, x.all, label, s.contradicted[x.label], s.rows),
		map[string]string{
			"sequence": text, "label": label,
			"rows": strconv.FormatInt(x.all, 10), "contradicted": strconv.FormatInt(x.count, 10),
			"sources": strconv.Itoa(x.own), "p": strconv.FormatFloat(x.p, 'e', 2, 64),
		})
	f.Key = label + ": " + text
	f.Confidence = prerun.ConfidenceMedium
	if x.p < 1e-12 {
		f.Confidence = prerun.ConfidenceHigh
	}
	var also []string
	for _, y := range g[1:min(len(g), 6)] {
		also = append(also, redact.Excerpt([]byte(y.text), 60))
	}
	if len(also) > 0 {
		f.Evidence["also"] = strings.Join(also, "; ")
	}
	return f
}
