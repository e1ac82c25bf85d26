package datasec

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// A hit is one thing seen in one field of one row.
type hit struct {
	at      rowRef
	field   string
	kind    int    // of the detector's own list
	count   int    // characters or occurrences
	excerpt string // redacted
}

func compareHits(a, b hit) int {
	return cmp.Or(compareRefs(a.at, b.at), strings.Compare(a.field, b.field), cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.count, b.count), strings.Compare(a.excerpt, b.excerpt))
}

// hitSet counts hits and keeps the first ones by row.
type hitSet struct {
	total int64
	kept  []hit // ascending
}

const maxHits = 100 // of one rule that are reported

func (s *hitSet) add(h hit) {
	s.total++
	s.keep(h)
}

func (s *hitSet) keep(h hit) {
	i, _ := slices.BinarySearchFunc(s.kept, h, compareHits)
	if i == maxHits {
		return
	}
	s.kept = slices.Insert(s.kept, i, h)
	if len(s.kept) > maxHits {
		s.kept = s.kept[:maxHits]
	}
}

func (s *hitSet) merge(t *hitSet) {
	s.total += t.total
	for _, h := range t.kept {
		s.keep(h)
	}
}

func (s *hitSet) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.total))
	b = binary.AppendUvarint(b, uint64(len(s.kept)))
	for _, h := range s.kept {
		b = appendRef(b, h.at)
		b = appendString(b, h.field)
		b = binary.AppendUvarint(b, uint64(h.kind))
		b = binary.AppendUvarint(b, uint64(h.count))
		b = appendString(b, h.excerpt)
	}
	return b
}

func (s *hitSet) read(r *stateReader, kinds int) {
	s.total = r.int64()
	n := r.count(7)
	if n > maxHits || int64(n) > s.total {
		r.fail("%d hits kept of %d", n, s.total)
		return
	}
	s.kept = make([]hit, 0, n)
	for range n {
		h := hit{r.ref(), r.string(), r.int32(), r.int32(), r.string()}
		if h.kind >= kinds {
			r.fail("hit of kind %d", h.kind)
			return
		}
		if len(s.kept) > 0 && compareHits(s.kept[len(s.kept)-1], h) > 0 {
			r.fail("hits out of order")
			return
		}
		s.kept = append(s.kept, h)
	}
}
