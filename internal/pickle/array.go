package pickle

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// maxInner is how deep object arrays may lie in each other.
const maxInner = 8

// array skips what joblib reads from the file right behind the BUILD of a
// NumpyArrayWrapper: padding and raw elements, or another pickle when the
// elements are objects. Loaders other than joblib's run those bytes as
// opcodes, which is the reading Plain.
func (m *machine) array(stateValue value) {
	if !m.reading.Skips() {
		return
	}
	var shape, dtype, align value
	if stateValue.typ() == Dict && !m.exhausted() {
		m.eachPair(stateValue, func(k, v value) {
			switch key, _, _ := m.name(k); key {
			case "shape":
				shape = v
			case "dtype":
				dtype = v
			case "numpy_array_alignment_bytes":
				align = v
			}
		})
	}
	size, objects, ok := m.elementSize(dtype)
	if !ok || shape.typ() != Tuple {
		return // cannot be skipped; read as opcodes, which reports the break
	}
	count := int64(1)
	m.heap.each(shape, func(v value) bool {
		if ok = ok && v.typ() == Int; !ok {
			return false
		}
		n, whole := m.integer(v)
		if ok = whole && n >= 0 && (n == 0 || count <= math.MaxInt64/n); ok {
			count *= n
		}
		return ok
	})
	if m.heap.len(shape) > 64 {
		ok = false
	}
	start := m.in.pos()
	if m.skipped < 0 {
		m.skipped = m.opAt
	}
	m.diverge(ArrayData, "joblib reads array data behind offset %d", m.opAt)
	if objects {
		m.innerStream(start)
		return
	}
	if align.typ() == Int {
		b, got := m.in.take(1)
		if !got {
			m.short()
			return
		}
		if _, got := m.in.payload(uint64(b[0]), true); !got {
			m.short()
			return
		}
	}
	if !ok || size > 0 && count > math.MaxInt64/size {
		m.fail("an array of impossible size")
		return
	}
	if _, got := m.in.payload(uint64(count*size), true); !got {
		m.short()
		return
	}
	m.claim(m.segment, start, Opcodes)
	m.claim(start, m.in.pos(), Data)
	m.segment = m.in.pos()
}

// elementSize reads the size of numpy.dtype's result off the call's argument.
func (m *machine) elementSize(dtype value) (size int64, objects, ok bool) {
	if dtype.typ() != Object || dtype.call() < 0 {
		return 0, false, false
	}
	args := m.t.Calls[dtype.call()].Args
	if args.Type != Tuple || len(args.Items) == 0 || args.Items[0].Type != Str && args.Items[0].Type != Bytes {
		return 0, false, false
	}
	return dtypeSize(args.Items[0].Text)
}

// dtypeSize is the size of an element of a dtype such as "<f8", "U10" or "O".
func dtypeSize(descr string) (size int64, objects, ok bool) {
	s := strings.TrimLeft(descr, "<>|=")
	if s == "" {
		return 0, false, false
	}
	switch s {
	case "bool":
		return 1, false, true
	case "O":
		return 8, true, true
	}
	n, err := strconv.ParseInt(s[1:], 10, 32)
	if err != nil || n < 0 {
		return 0, false, false
	}
	switch s[0] {
	case 'O':
		return 8, true, true
	case 'U':
		return 4 * n, false, true
	case 'b', 'i', 'u', 'f', 'c', 'S', 'a', 'V', 'M', 'm':
		return n, false, true
	}
	return 0, false, false
}

// innerStream executes a pickle that joblib loads in the middle of another.
func (m *machine) innerStream(start int64) {
	if m.inner >= maxInner || len(m.t.Streams) >= m.lim.Streams {
		m.exceed("Streams")
		m.halted = true
		return
	}
	m.claim(m.segment, start, Opcodes)
	outer, before := m.state, m.ops
	m.state = state{inner: outer.inner + 1, below: m.held()}
	m.heap.max, m.memo.max = outer.heap.max-outer.heap.used(), outer.memo.max-outer.memo.n
	i := m.read(start, outer.reading, outer.replay)
	m.t.Streams[i].Inner = true
	broken, end, straddle := m.broken, m.in.pos(), m.straddle
	m.state = outer
	m.pause, m.paused = 0, outer.paused+m.ops-before // the inner stream has paid for itself
	if m.straddle < 0 {
		m.straddle = straddle
	}
	m.segment = end
	if broken {
		m.fail("the pickle of an object array at offset %d is broken", start)
	}
}

// torchMagic is what torch.save wrote first before it wrote zip files.
const torchMagic = "0x1950a86a20f9469cfc6c"

// legacyTorch follows the five pickles of such a file: magic number, protocol
// version, system, object, storage keys. Raw storages come behind them.
type legacyTorch struct {
	streams int // seen so far
	object  int // index of the fourth
}

// storages returns where the raw storages behind stream i end, when it is the
// fifth of a torch file.
func (m *machine) storages(l *legacyTorch, i int) (end int64, ok bool) {
	s := &m.t.Streams[i]
	switch l.streams {
	case 0:
		if s.Start != 0 || s.Result.Text != torchMagic {
			l.streams = -1
			return 0, false
		}
	case 3:
		l.object = i
	case 4:
		l.streams = -1
		if s.Result.Type == List && !s.Result.Cut() {
			return m.storageRange(l.object, s.Result.Items, s.End)
		}
		return 0, false
	case -1:
		return 0, false
	}
	l.streams++
	if !s.Complete || s.Recovered {
		l.streams = -1
	}
	return 0, false
}

// storageRange walks the storages: for each key a u64 count of elements and
// the elements. It ends where the file contradicts the persistent ids.
func (m *machine) storageRange(object int, keys []Value, pos int64) (end int64, ok bool) {
	type storage struct{ size, count int64 }
	known := make(map[string]storage)
	for _, p := range m.t.PersistentIDs {
		// ('storage', class, key, location, count, view)
		if it := p.ID.Items; p.Stream == object && len(it) >= 5 && it[0].Text == "storage" {
			known[it[2].Text] = storage{storageElement(it[1].Text), it[4].Int}
		}
	}
	start := pos
	for _, k := range keys {
		st, found := known[k.Text]
		b := m.in.bytes(pos, 8, &m.scratch)
		if !found || st.size == 0 || st.count < 0 || len(b) < 8 || binary.LittleEndian.Uint64(b) != uint64(st.count) {
			break
		}
		if st.count > (m.in.size-pos-8)/st.size {
			break
		}
		pos += 8 + st.count*st.size
	}
	return pos, pos > start
}

// storageElement is the size of an element of a torch storage class.
func storageElement(class string) int64 {
	name := strings.TrimSuffix(class[strings.LastIndexByte(class, '.')+1:], "Storage")
	switch name {
	case "ComplexDouble":
		return 16
	case "Double", "Long", "ComplexFloat":
		return 8
	case "Float", "Int", "QInt32":
		return 4
	case "Half", "BFloat16", "Short":
		return 2
	case "Char", "Byte", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4":
		return 1
	}
	return 0
}
