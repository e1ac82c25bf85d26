package datasec

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/prerun/prerun"
)

// NearDuplicates reports rows that share most of their sequences of five
// words, by MinHash with one permutation in 128 bins and 16 bands of 8 bins.
// Of two texts with Jaccard similarity 0.9 it compares all but one pair in ten
// thousand, with 0.8 19 of 20, with 0.7 6 of 10; a pair counts when the
// estimated similarity is at least 0.8, whose standard error is 0.04 for long
// texts. Groups are stars around their first row, never chains: every member
// was compared with the row that the finding names first. Texts of fewer than
// 20 words are passed over, and equal ones count once.
type NearDuplicates struct {
	// MaxTexts bounds the distinct texts that are remembered, about 500 bytes
	// each; 0 means 256 Ki. Beyond it a sample of the texts is compared and a
	// gap says which share.
	MaxTexts int
}

const (
	shingle      = 5  // words
	minNearWords = 20 // below, shingles are too few to estimate from
	sketchBins   = 128
	bandBins     = 8
	nearPercent  = 80
	maxCompared  = 2000 // texts of one bucket that one text is compared with
)

// Info implements [Detector].
func (NearDuplicates) Info() Info {
	return Info{"near-duplicates", 1, []prerun.Rule{ruleNear}}
}

// New implements [Detector].
func (d NearDuplicates) New(p Params) State {
	if d.MaxTexts <= 0 {
		d.MaxTexts = 256 << 10
	}
	return &nearState{
		header: stateHeader(d.Info(), d, p), seed: p.Seed,
		table: newContents[sketched](d.MaxTexts),
	}
}

// sketched is a distinct text: where it stands first, and its sketch. A bin
// is 0 when no shingle fell into it.
type sketched struct {
	first rowRef
	count int64
	bins  [sketchBins]uint16
}

type nearState struct {
	header []byte
	seed   uint64
	rows   int64
	table  contents[sketched]
	words  []token // scratch
}

func (s *nearState) Observe(r *Record) {
	s.words = s.words[:0]
	for f := range r.Texts() {
		s.words = appendTokens(s.words, f.Value, s.seed)
	}
	if len(s.words) < minNearWords {
		return
	}
	k, _ := keyOf(r)
	s.rows++
	e := s.table.at(k)
	if e == nil {
		return
	}
	e.count++
	if e.count > 1 {
		if ref := r.ref(); compareRefs(ref, e.first) < 0 {
			e.first = ref
		}
		return
	}
	e.first = r.ref()
	for i := 0; i+shingle <= len(s.words); i++ {
		h := s.words[i].hash
		for _, w := range s.words[i+1 : i+shingle] {
			h = combine(h, w.hash)
		}
		bin, v := h>>57, uint16(h%65535+1)
		if old := e.bins[bin]; old == 0 || v < old {
			e.bins[bin] = v
		}
	}
}

func (s *nearState) Merge(other State) error {
	t, ok := other.(*nearState)
	if !ok {
		return wrongType("near-duplicates", other)
	}
	if err := sameState("near-duplicates", s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	s.table.merge(&t.table, func(into, from *sketched) {
		if into.count == 0 || compareRefs(from.first, into.first) < 0 {
			into.first = from.first
		}
		into.count += from.count
		into.bins = from.bins // of the same text, so the same
	})
	return nil
}

func (s *nearState) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(append([]byte(nil), s.header...), uint64(s.rows))
	return s.table.append(b, func(b []byte, e *sketched) []byte {
		b = binary.AppendUvarint(appendRef(b, e.first), uint64(e.count))
		for _, v := range e.bins {
			b = binary.LittleEndian.AppendUint16(b, v)
		}
		return b
	}), nil
}

func (s *nearState) UnmarshalBinary(data []byte) error {
	r := openState("near-duplicates", s.header, data)
	rows := r.int64()
	table := newContents[sketched](s.table.limit)
	table.read(r, 4+2*sketchBins, func(r *stateReader, e *sketched) {
		e.first, e.count = r.ref(), r.int64()
		bins := r.take(2 * sketchBins)
		if r.err != nil {
			return
		}
		for i := range e.bins {
			e.bins[i] = binary.LittleEndian.Uint16(bins[2*i:])
		}
		if e.count == 0 {
			r.fail("text without rows")
		}
	})
	if err := r.close(); err != nil {
		return err
	}
	s.rows, s.table = rows, table
	return nil
}

func (s *nearState) Finalize() Report {
	texts := slices.SortedFunc(maps.Values(s.table.entries), func(a, b *sketched) int {
		return compareRefs(a.first, b.first)
	})
	groups, skipped := stars(texts)
	slices.SortStableFunc(groups, func(a, b []*sketched) int { return cmp.Compare(len(b), len(a)) })
	fig := Figures{Detector: "near-duplicates", Rows: s.rows, Candidates: len(groups), Found: min(len(groups), maxGroups)}
	rep := Report{Figures: []Figures{fig}}
	for _, g := range groups[:fig.Found] {
		var rows []rowRef
		for _, t := range g[:min(len(g), maxCopyRows)] {
			rows = append(rows, t.first)
		}
		f := groupFinding(ruleNear, rows, fmt.Sprintf("%d different texts nearly repeat each other", len(g)),
			map[string]string{"texts": strconv.Itoa(len(g)), "groups": strconv.Itoa(len(groups))})
		f.Confidence = prerun.ConfidenceMedium
		rep.Findings = append(rep.Findings, f)
	}
	if s.table.level > 0 {
		rep.Gaps = append(rep.Gaps, sampleGap("near-duplicates", s.table.limit, s.table.level))
	}
	if skipped > 0 {
		rep.Gaps = append(rep.Gaps, prerun.Gap{
			Location: prerun.Location{Path: "."},
			Reason: fmt.Sprintf("near-duplicates: %d comparisons were left out in buckets of more than %d texts",
				skipped, maxCompared),
		})
	}
	return rep
}

// stars groups texts, which are in order, around the first of each group.
func stars(texts []*sketched) (groups [][]*sketched, skipped int) {
	buckets := make(map[uint64][]int)
	for i, t := range texts {
		for band := range sketchBins / bandBins {
			if h, ok := t.band(band); ok {
				buckets[h] = append(buckets[h], i)
			}
		}
	}
	maps.DeleteFunc(buckets, func(_ uint64, b []int) bool { return len(b) < 2 })
	taken := make([]bool, len(texts))
	for i, t := range texts {
		if taken[i] {
			continue
		}
		group := []*sketched{t}
		for band := range sketchBins / bandBins {
			h, ok := t.band(band)
			if !ok {
				continue
			}
			bucket := buckets[h]
			at, _ := slices.BinarySearch(bucket, i+1)
			compared := 0
			for _, j := range bucket[at:] {
				if taken[j] {
					continue
				}
				if compared++; compared > maxCompared {
					skipped++
					continue
				}
				if similar(t, texts[j]) {
					taken[j] = true
					group = append(group, texts[j])
				}
			}
		}
		if len(group) > 1 {
			slices.SortFunc(group, func(a, b *sketched) int { return compareRefs(a.first, b.first) })
			groups = append(groups, group)
		}
	}
	return groups, skipped
}

// band is the bucket that a band of bins puts the text into; an empty band
// puts it nowhere.
func (t *sketched) band(band int) (uint64, bool) {
	h, any := mix(uint64(band)+1), uint16(0)
	for _, v := range t.bins[band*bandBins : (band+1)*bandBins] {
		h = combine(h, uint64(v))
		any |= v
	}
	return h, any != 0
}

// similar estimates the Jaccard similarity as the share of bins that agree
// among those that either text fills (Li, Owen, Zhang 2012).
func similar(a, b *sketched) bool {
	agree, filled := 0, 0
	for i, v := range a.bins {
		if v|b.bins[i] != 0 {
			filled++
			if v == b.bins[i] {
				agree++
			}
		}
	}
	return 100*agree >= nearPercent*filled
}
