package pickle

// A memo maps keys to values. Picklers number from 0, so it is an array with a
// map for whatever lies far beyond its end.
type memo struct {
	dense   pages[value]
	sparse  map[int64]value
	odd     map[string]value // keys that are no int64
	oddSize int              // bytes of these keys
	n       int              // keys set
	max     int
}

// Of what no pickler writes less is kept.
const (
	maxSparse  = 1 << 20
	maxOddSize = 16 << 20
)

func (m *memo) reset() {
	m.dense.reset()
	m.sparse, m.odd, m.oddSize, m.n = nil, nil, 0, 0
}

func (m *memo) get(k int64) (value, bool) {
	if uint64(k) < uint64(m.dense.n) {
		if v := *m.dense.at(uint32(k)); v&present != 0 {
			return v &^ present, true
		}
	}
	v, ok := m.sparse[k]
	return v, ok
}

// put sets k, unless that would be too many entries, and reports whether k was
// set before.
func (m *memo) put(k int64, v value) (again, full bool) {
	const gap = 64
	if k >= 0 && k < int64(m.dense.n)+gap && k < int64(m.max) {
		for int64(m.dense.n) <= k {
			m.dense.push(unknown)
		}
		entry := m.dense.at(uint32(k))
		again = *entry&present != 0
		if _, ok := m.sparse[k]; ok {
			again = true
			delete(m.sparse, k)
		} else if !again {
			m.n++
		}
		*entry = v | present
		return again, false
	}
	if _, ok := m.sparse[k]; ok {
		m.sparse[k] = v
		return true, false
	}
	if m.n >= m.max || len(m.sparse) >= maxSparse {
		return false, true
	}
	if m.sparse == nil {
		m.sparse = make(map[int64]value)
	}
	m.sparse[k] = v
	m.n++
	return false, false
}

// next sets the key that is next in turn, as picklers do. It reports false
// where [memo.put] must see to it.
func (m *memo) next(k int64, v value) bool {
	if int64(m.n) != k || m.dense.n != m.n || m.n >= m.max || len(m.sparse) > 0 {
		return false
	}
	m.dense.push(v | present)
	m.n++
	return true
}

func (m *memo) getOdd(k string) (value, bool) { v, ok := m.odd[k]; return v, ok }

func (m *memo) putOdd(k string, v value) (again, full bool) {
	if _, again = m.odd[k]; !again {
		if m.n >= m.max || m.oddSize+len(k) > maxOddSize {
			return false, true
		}
		m.n++
		m.oddSize += len(k)
	}
	if m.odd == nil {
		m.odd = make(map[string]value)
	}
	m.odd[k] = v
	return again, false
}
