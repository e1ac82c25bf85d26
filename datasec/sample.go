package datasec

import (
	"encoding/binary"
	"slices"
)

// refSet keeps the first cap rows by shard and number, which is the same set
// whatever the order they come in.
type refSet struct {
	refs []rowRef // ascending
}

func (s *refSet) add(r rowRef, limit int) {
	i, found := slices.BinarySearchFunc(s.refs, r, compareRefs)
	if found || i == limit {
		return
	}
	s.refs = slices.Insert(s.refs, i, r)
	if len(s.refs) > limit {
		s.refs = s.refs[:limit]
	}
}

func (s *refSet) merge(t *refSet, limit int) {
	for _, r := range t.refs {
		s.add(r, limit)
	}
}

func (s *refSet) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.refs)))
	for _, r := range s.refs {
		b = appendRef(b, r)
	}
	return b
}

func (s *refSet) read(r *stateReader, limit int) {
	n := r.count(3)
	if n > limit {
		r.fail("%d rows where %d are kept", n, limit)
		return
	}
	s.refs = make([]rowRef, 0, n)
	for range n {
		ref := r.ref()
		if len(s.refs) > 0 && compareRefs(s.refs[len(s.refs)-1], ref) >= 0 {
			r.fail("rows out of order")
		}
		s.refs = append(s.refs, ref)
	}
}
