package pickle

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
)

// A machine executes the streams of one file.
type machine struct {
	ctx     context.Context //nolint:containedctx // lives for one Scan
	in      input
	lim     Limits
	t       *Trace
	watch   func(Literal)
	scratch []byte
	seed    maphash.Seed
	secret  [3]uint64 // derived from seed

	// What outlives a stream, because it changes the running interpreter.
	registry  map[int64]extension
	overrides map[[2]string]value // attribute of a live object -> what was written

	globals  map[globalKey]int
	known    []known // what is known of each global besides
	calls    index   // hashes of t.Calls
	nested   map[int64]bool
	alts     []value // overridden values that GlobalRefs stand for
	hashes   []textHash
	longs    []long
	kinds    map[kindKey]int
	texts    int64
	walked   int64 // values and text looked at for calls
	halted   bool  // a limit or an error ends the scan
	stepwise bool  // for tests: without burst
	ops      int64
	probed   int64
	lenient  int64 // opcodes that may still be executed behind faults
	again    int64 // opcodes that readings other than the linear one may still take

	state
}

type extension struct{ module, name string }

type kindKey struct {
	stream int
	kind   Kind
}

// The state of one stream.
type state struct {
	stream   int
	proto    int // of the last PROTO
	top      int // highest PROTO, -1 without
	reading  Reading
	replay   int64 // what opcodes before it do has been recorded by an earlier reading
	faulty   bool
	broken   bool  // the bytes are no opcode any more
	straddle int64 // opcode of the first argument that crosses a frame, or -1
	skipped  int64 // first array data skipped, or -1
	op       Op
	opAt     int64
	seen     [256]bool
	began    int64 // ops when the stream began
	pause    int64 // ops at which limits are looked at again
	paused   int64 // and were looked at before
	segment  int64 // start of the opcodes not yet in Ranges
	inner    int   // streams around this one
	below    int   // values on their stacks
	stack    []value
	marks    []int
	memo     memo
	heap     heap
}

// fault notes that every loader stops here.
func (m *machine) fault(format string, args ...any) {
	m.faulty = true
	s := &m.t.Streams[m.stream]
	if len(s.Faults) < 16 {
		s.Faults = append(s.Faults, Fault{m.opAt, m.op, fmt.Sprintf(format, args...)})
	}
}

// fail is a fault behind which the bytes cannot be decoded.
func (m *machine) fail(format string, args ...any) {
	m.fault(format, args...)
	m.broken = true
}

func (m *machine) exceed(limit string) {
	if !m.exceeded(limit) {
		m.t.Exceeded = append(m.t.Exceeded, Excess{m.opAt, limit})
	}
}

func (m *machine) exceeded(limit string) bool {
	return slices.ContainsFunc(m.t.Exceeded, func(x Excess) bool { return x.Limit == limit })
}

// put sets a key of a map that is made when it is first needed.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

func (m *machine) diverge(kind Kind, format string, args ...any) {
	if m.opAt < m.replay {
		return
	}
	key := kindKey{m.stream, kind}
	if i, ok := m.kinds[key]; ok {
		m.t.Divergences[i].Count++
		return
	}
	if len(m.t.Divergences) >= m.lim.Records {
		m.exceed("Records")
		return
	}
	put(&m.kinds, key, len(m.t.Divergences))
	m.t.Divergences = append(m.t.Divergences, Divergence{m.opAt, m.stream, kind, fmt.Sprintf(format, args...), 1})
}

// crossed is called by the input when an argument crosses the end of a frame.
func (m *machine) crossed(end int64) {
	if m.straddle < 0 {
		m.straddle = m.opAt
	}
	m.diverge(FrameStraddle, "%s crosses the end of its frame at offset %d", m.op, end)
}

// push grows the stack before it appends, so that the plain case stores no
// pointer, which the collector would want to know of.
func (m *machine) push(v value) {
	if len(m.stack) == cap(m.stack) {
		m.stack = grown(m.stack)
	}
	m.stack = append(m.stack, v)
}

// grown doubles s, where append would copy a large slice four times on its way
// to twice its size.
func grown[T any](s []T) []T { return slices.Grow(s, max(len(s), 32)) }

func (m *machine) fence() int {
	if len(m.marks) > 0 {
		return m.marks[len(m.marks)-1]
	}
	return 0
}

func (m *machine) pop() value {
	if len(m.stack) <= m.fence() {
		m.fault("stack underflow")
		return unknown
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v
}

func (m *machine) peek() value {
	if len(m.stack) <= m.fence() {
		m.fault("stack underflow")
		return unknown
	}
	return m.stack[len(m.stack)-1]
}

// popMark returns the values above the last mark, valid until the next push.
func (m *machine) popMark() []value {
	if len(m.marks) == 0 {
		m.fault("no mark on the stack")
		items := m.stack
		m.stack = m.stack[:0]
		return items
	}
	k := m.fence()
	m.marks = m.marks[:len(m.marks)-1]
	items := m.stack[k:]
	m.stack = m.stack[:k]
	return items
}

func (m *machine) tuple(items []value) value { return m.heap.of(Tuple, items) }

// run executes opcodes until STOP, an undecodable byte or a limit.
func (m *machine) run() {
	in := &m.in
	for {
		if !m.stepwise {
			m.burst()
		}
		if in.i >= in.lim && !in.want(1) {
			m.opAt = in.pos()
			m.fail("the data ends without STOP")
			return
		}
		op := Op(in.buf[in.i])
		m.opAt = in.base + int64(in.i)
		m.op = op
		in.i++
		m.ops++
		m.seen[op] = true
		if m.ops >= m.pause && !m.proceed() {
			m.halted = true
			return
		}
		switch op {
		case OpMark:
			if len(m.marks) == cap(m.marks) {
				m.marks = grown(m.marks)
			}
			m.marks = append(m.marks, len(m.stack))
		case OpStop:
			m.stop()
			return
		case OpPop:
			if len(m.marks) > 0 && m.fence() == len(m.stack) {
				m.marks = m.marks[:len(m.marks)-1]
			} else {
				m.pop()
			}
		case OpPopMark:
			m.popMark()
		case OpDup:
			m.push(m.peek())

		case OpNone:
			m.push(value(None))
		case OpNewtrue:
			m.push(boolean(true))
		case OpNewfalse:
			m.push(boolean(false))
		case OpBinint1:
			if b, ok := in.take(1); ok {
				m.push(small(int64(b[0])))
			} else {
				m.short()
			}
		case OpBinint2:
			if b, ok := in.take(2); ok {
				m.push(small(int64(binary.LittleEndian.Uint16(b))))
			} else {
				m.short()
			}
		case OpBinint:
			if b, ok := in.take(4); ok {
				m.push(small(int64(int32(binary.LittleEndian.Uint32(b)))))
			} else {
				m.short()
			}
		case OpBinfloat:
			if _, ok := in.take(8); ok {
				m.push(m.literal(Float, raw, in.pos()-8, 8))
			} else {
				m.short()
			}
		case OpInt, OpLong:
			m.textInt()
		case OpFloat:
			m.textFloat()
		case OpLong1:
			if n, ok := m.len1(); ok {
				m.long(n)
			}
		case OpLong4:
			if n, ok := m.len4(); ok {
				if n > math.MaxInt32 {
					m.fault("negative length %d", int32(n))
				}
				m.long(n)
			}

		case OpShortBinunicode:
			if n, ok := m.len1(); ok {
				m.text(Str, utf8Enc, n)
			}
		case OpBinunicode:
			if n, ok := m.len4(); ok {
				m.text(Str, utf8Enc, n)
			}
		case OpBinunicode8:
			if n, ok := m.len8(); ok {
				m.text(Str, utf8Enc, n)
			}
		case OpShortBinstring:
			if n, ok := m.len1(); ok {
				m.text(Str, eight, n)
			}
		case OpBinstring:
			if n, ok := m.len4(); ok {
				m.text(Str, eight, n)
			}
		case OpShortBinbytes:
			if n, ok := m.len1(); ok {
				m.text(Bytes, raw, n)
			}
		case OpBinbytes:
			if n, ok := m.len4(); ok {
				m.text(Bytes, raw, n)
			}
		case OpBinbytes8, OpBytearray8:
			if n, ok := m.len8(); ok {
				m.text(Bytes, raw, n)
			}
		case OpString, OpUnicode:
			m.textLine()

		case OpEmptyList:
			m.push(m.heap.container(List))
		case OpEmptyDict:
			m.push(m.heap.container(Dict))
		case OpEmptyTuple:
			m.push(m.heap.container(Tuple))
		case OpEmptySet:
			m.push(m.heap.container(Set))
		case OpTuple1, OpTuple2, OpTuple3:
			n := int(op-OpTuple1) + 1
			if len(m.stack)-m.fence() < n {
				m.fault("stack underflow")
				m.stack = m.stack[:m.fence()]
				m.push(m.tuple([]value{unknown}))
				break
			}
			k := len(m.stack) - n
			t := m.tuple(m.stack[k:])
			m.stack = append(m.stack[:k], t)
		case OpTuple:
			m.push(m.tuple(m.popMark()))
		case OpList, OpFrozenset:
			c := m.heap.of(List, m.popMark())
			if op == OpFrozenset {
				c = c.as(Set)
			}
			m.push(c)
		case OpDict:
			c := m.heap.container(Dict)
			m.pairs(c, m.popMark())
			m.push(c)
		case OpAppend:
			v := m.pop()
			m.grow(m.peek(), []value{v})
		case OpAppends, OpAdditems:
			items := m.popMark()
			m.grow(m.peek(), items)
		case OpSetitem:
			v := m.pop()
			k := m.pop()
			m.grow(m.peek(), []value{k, v})
		case OpSetitems:
			items := m.popMark()
			m.grow(m.peek(), items)

		case OpMemoize:
			m.put(int64(m.memo.n), m.peek())
		case OpBinput:
			if b, ok := in.take(1); ok {
				m.put(int64(b[0]), m.peek())
			} else {
				m.short()
			}
		case OpLongBinput:
			if b, ok := in.take(4); ok {
				m.put(int64(binary.LittleEndian.Uint32(b)), m.peek())
			} else {
				m.short()
			}
		case OpBinget:
			if b, ok := in.take(1); ok {
				m.get(int64(b[0]))
			} else {
				m.short()
			}
		case OpLongBinget:
			if b, ok := in.take(4); ok {
				m.get(int64(binary.LittleEndian.Uint32(b)))
			} else {
				m.short()
			}
		case OpPut, OpGet:
			m.textKey()

		case OpProto:
			if b, ok := in.take(1); ok {
				m.protocol(int(b[0]))
			} else {
				m.short()
			}
		case OpFrame:
			m.frame()

		case OpGlobal:
			m.global()
		case OpInst:
			m.inst()
		case OpStackGlobal:
			m.stackGlobal()
		case OpExt1:
			if b, ok := in.take(1); ok {
				m.extension(int64(b[0]))
			} else {
				m.short()
			}
		case OpExt2:
			if b, ok := in.take(2); ok {
				m.extension(int64(binary.LittleEndian.Uint16(b)))
			} else {
				m.short()
			}
		case OpExt4:
			if b, ok := in.take(4); ok {
				m.extension(int64(int32(binary.LittleEndian.Uint32(b))))
			} else {
				m.short()
			}
		case OpReduce, OpNewobj, OpNewobjEx, OpObj:
			m.construct()
		case OpBuild:
			m.build()
		case OpPersid:
			m.persidLine()
		case OpBinpersid:
			m.persistent(m.pop())
		case OpNextBuffer:
			m.buffer()
		case OpReadonlyBuffer:
			m.peek()
		default:
			m.fail("%s is none that a loader knows", hexByte(byte(op)))
		}
		if m.broken || m.halted || m.faulty && m.dead() {
			return
		}
	}
}

// proceed reports whether the opcode may run, and sets after how many others
// that is to be asked again: the stack grows by one at most for each.
func (m *machine) proceed() bool {
	const often = 1 << 16
	if m.ctx.Err() != nil {
		return false
	}
	if m.reading != Linear {
		if m.again -= m.ops - m.paused; m.again < 0 {
			m.exceed("Ops")
			return false
		}
	}
	held := m.held()
	switch {
	case m.ops > m.lim.Ops:
		m.exceed("Ops")
		return false
	case held >= m.lim.Stack:
		m.exceed("Stack")
		return false
	}
	m.paused = m.ops
	m.pause = m.ops + min(often, m.lim.Ops-m.ops+1, int64(m.lim.Stack-held), m.again+1)
	return true
}

func (m *machine) held() int { return m.below + max(len(m.stack), len(m.marks)) }

// dead reports whether to stop at a fault. The linear reading goes on behind
// it, as far as all such stretches together stay in proportion to the file;
// other readings end, because no loader gets there.
func (m *machine) dead() bool {
	m.lenient--
	return m.reading != Linear || m.lenient < 0
}

// short is the fault of an argument that the data ends in.
func (m *machine) short() { m.fail("the data ends in the argument of %s", m.op) }

func (m *machine) len1() (uint64, bool) {
	b, ok := m.in.take(1)
	if !ok {
		m.short()
		return 0, false
	}
	return uint64(b[0]), true
}

func (m *machine) len4() (uint64, bool) {
	b, ok := m.in.take(4)
	if !ok {
		m.short()
		return 0, false
	}
	return uint64(binary.LittleEndian.Uint32(b)), true
}

func (m *machine) len8() (uint64, bool) {
	b, ok := m.in.take(8)
	if !ok {
		m.short()
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// stop ends the stream.
func (m *machine) stop() {
	leftover := len(m.marks) > 0 || len(m.stack) > 1
	items := len(m.stack) - 1
	result := m.pop()
	if leftover {
		m.diverge(StackLeftover, "%d values and %d marks below the result", max(items, 0), len(m.marks))
	}
	s := &m.t.Streams[m.stream]
	s.Result = m.materialise(result)
	s.Complete = !m.faulty
}

func (m *machine) protocol(p int) {
	if p > 5 {
		m.diverge(ProtocolUnknown, "protocol %d", p)
	}
	if m.ops != m.began+1 {
		m.diverge(ProtocolMoved, "protocol %d stated where %d was in force", p, max(m.proto, 0))
	}
	m.proto = p
	if p <= 5 {
		m.top = max(m.top, p)
	}
}

func (m *machine) frame() {
	b, ok := m.in.take(8)
	if !ok {
		m.short()
		return
	}
	n := binary.LittleEndian.Uint64(b)
	pos := m.in.pos()
	outer := m.in.frame
	if outer > pos {
		m.diverge(FrameNested, "%d bytes of the outer frame are left", outer-pos)
		if m.straddle < 0 && n > uint64(outer-pos) {
			m.straddle = m.opAt // C drops those bytes
		}
	}
	if !m.in.open(n) {
		m.diverge(FrameOverrun, "frame of %d bytes, %d are left", n, m.in.size-pos)
	}
}

func (m *machine) put(k int64, v value) {
	again, full := m.memo.put(k, v)
	if again {
		m.diverge(MemoRedefined, "memo key %d is set again", k)
	}
	if full {
		m.exceed("Memo")
	}
	if k >= memoGap && k/64 > int64(m.memo.n) {
		m.diverge(MemoGap, "memo key %d with %d entries; C loaders allocate %d MiB for it", k, m.memo.n, k>>16)
	}
}

// memoGap is the key from which a gap in the memo is told: C loaders keep an
// array of twice as many pointers, which is 64 MiB here.
const memoGap = 1 << 22

func (m *machine) get(k int64) {
	v, ok := m.memo.get(k)
	if !ok && !m.exceeded("Memo") {
		m.fault("memo key %d is not set", k)
	}
	m.push(v)
}

// grow is APPEND, APPENDS, ADDITEMS, SETITEM and SETITEMS.
func (m *machine) grow(target value, items []value) {
	set := m.op == OpSetitem || m.op == OpSetitems
	switch target.typ() {
	case List, Set:
		if !set {
			m.heap.add(target, items)
			return
		}
	case Dict:
		if set {
			m.pairs(target, items)
			return
		}
	case GlobalRef:
		m.write(target, items)
		return
	case Object, Unknown, Persistent, OutOfBand:
		method := "__setitem__"
		switch m.op {
		case OpAppend:
			method = "append"
		case OpAppends:
			method = "extend"
		case OpAdditems:
			method = "add"
		}
		m.call(target, method, unknown) // the items stand in the trace where they are made
		return
	}
	m.fault("%s on a %s", m.op, target.typ())
	if m.heapHolds(target) {
		m.heap.add(target, items)
	}
}

func (m *machine) heapHolds(v value) bool {
	switch v.typ() {
	case Tuple, List, Set:
		return true
	}
	return false
}

func (m *machine) pairs(c value, items []value) {
	if len(items)%2 != 0 {
		m.fault("%s with an odd number of values", m.op)
		items = append(items[:len(items):len(items)], unknown)
	}
	m.heap.pairs(c, items)
}
