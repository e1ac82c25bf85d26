package pickle

import (
	"bytes"
	"encoding/binary"
)

// burst executes the opcodes that large pickles consist of, up to one that it
// does not know or that needs more attention: an argument beyond the window or
// the frame, a fault, a stack that must grow, a limit. It leaves those to
// [machine.run], which does what is done here too and is the measure of it;
// burst is faster for holding in local variables what run must store.
func (m *machine) burst() {
	in := &m.in
	if in.base+windowSize >= maxOffset {
		return
	}
	buf, i := in.buf[:in.lim], in.i
	stack, fence := m.stack, m.fence()
	left := m.pause - m.ops - 1 // opcodes before limits are looked at
	seen, last := &m.seen, m.op
loop:
	for left > 0 && i < len(buf) && len(stack) < cap(stack) {
		op := Op(buf[i])
		next := i + 1
		switch op {
		case OpMark:
			if len(m.marks) == cap(m.marks) {
				break loop
			}
			fence = len(stack)
			m.marks = append(m.marks, fence)

		case OpPop:
			if len(stack) > fence {
				stack = stack[:len(stack)-1]
				break
			}
			if len(m.marks) == 0 {
				break loop
			}
			m.marks = m.marks[:len(m.marks)-1]
			fence = m.fence()

		case OpNone:
			stack = append(stack, value(None))
		case OpNewtrue:
			stack = append(stack, boolean(true))
		case OpNewfalse:
			stack = append(stack, boolean(false))
		case OpBinint1:
			if next += 1; next > len(buf) {
				break loop
			}
			stack = append(stack, small(int64(buf[i+1])))
		case OpBinint2:
			if next += 2; next > len(buf) {
				break loop
			}
			stack = append(stack, small(int64(binary.LittleEndian.Uint16(buf[i+1:]))))
		case OpBinint:
			if next += 4; next > len(buf) {
				break loop
			}
			stack = append(stack, small(int64(int32(binary.LittleEndian.Uint32(buf[i+1:])))))
		case OpBinfloat:
			if next += 8; next > len(buf) {
				break loop
			}
			stack = append(stack, short(Float, raw, in.base+int64(i)+1, 8))

		case OpShortBinunicode, OpBinunicode:
			var n int
			if op == OpShortBinunicode {
				if next += 1; next > len(buf) {
					break loop
				}
				n = int(buf[i+1])
			} else {
				if next += 4; next > len(buf) {
					break loop
				}
				long := binary.LittleEndian.Uint32(buf[i+1:])
				if long >= longLiteral {
					break loop
				}
				n = int(long)
			}
			at := next
			if next += n; next > len(buf) {
				break loop
			}
			stack = append(stack, short(Str, utf8Enc, in.base+int64(at), uint64(n)))
			if n >= 6 && (n >= int(nestedLeast[buf[at]]) || n >= literalLeast && m.watch != nil) {
				m.op, m.opAt = op, in.base+int64(i)
				m.inspect(Str, utf8Enc, in.base+int64(at), uint64(n))
			}

		case OpLong1:
			if next += 1; next > len(buf) {
				break loop
			}
			at := next
			if next += int(buf[i+1]); next > len(buf) {
				break loop
			}
			if x := littleEndian(buf[at:min(next, at+8)]); next-at <= 8 && holds(x) {
				stack = append(stack, small(x))
			} else {
				stack = append(stack, short(Int, raw, in.base+int64(at), uint64(next-at)))
			}

		case OpUnicode, OpFloat:
			n := bytes.IndexByte(buf[next:], '\n')
			if n < 0 || n >= longLiteral {
				break loop
			}
			at := next
			next += n + 1
			if op == OpFloat {
				if !validFloat(buf[at : at+n]) {
					break loop
				}
				stack = append(stack, short(Float, eight, in.base+int64(at), uint64(n)))
				break
			}
			stack = append(stack, short(Str, escaped, in.base+int64(at), uint64(n)))
			if n >= 6 {
				m.op, m.opAt = op, in.base+int64(i)
				m.inspect(Str, escaped, in.base+int64(at), uint64(n))
			}

		case OpEmptyList:
			stack = append(stack, m.heap.container(List))
		case OpEmptyDict:
			stack = append(stack, m.heap.container(Dict))
		case OpEmptyTuple:
			stack = append(stack, m.heap.container(Tuple))
		case OpTuple1, OpTuple2, OpTuple3:
			k := len(stack) - int(op-OpTuple1) - 1
			if k < fence {
				break loop
			}
			t := m.heap.of(Tuple, stack[k:])
			stack = append(stack[:k], t)
		case OpTuple, OpList, OpDict:
			if len(m.marks) == 0 || op == OpDict && (len(stack)-fence)%2 != 0 {
				break loop
			}
			var c value
			switch items := stack[fence:]; op {
			case OpTuple:
				c = m.heap.of(Tuple, items)
			case OpList:
				c = m.heap.of(List, items)
			case OpDict:
				c = m.heap.container(Dict)
				m.heap.pairs(c, items)
			}
			stack = append(stack[:fence], c)
			m.marks = m.marks[:len(m.marks)-1]
			fence = m.fence()
		case OpAppends, OpSetitems:
			if len(m.marks) == 0 {
				break loop
			}
			below := 0
			if len(m.marks) > 1 {
				below = m.marks[len(m.marks)-2]
			}
			if fence <= below {
				break loop
			}
			items := stack[fence:]
			switch target := stack[fence-1]; {
			case op == OpAppends && target.typ() == List:
				m.heap.add(target, items)
			case op == OpSetitems && target.typ() == Dict && len(items)%2 == 0:
				m.heap.pairs(target, items)
			default:
				break loop
			}
			stack = stack[:fence]
			m.marks = m.marks[:len(m.marks)-1]
			fence = below
		case OpAppend:
			k := len(stack) - 1
			if k <= fence || stack[k-1].typ() != List {
				break loop
			}
			m.heap.add(stack[k-1], stack[k:])
			stack = stack[:k]
		case OpSetitem:
			k := len(stack) - 2
			if k <= fence || stack[k-1].typ() != Dict {
				break loop
			}
			m.heap.pairs(stack[k-1], stack[k:])
			stack = stack[:k]

		case OpMemoize:
			if len(stack) <= fence || !m.memo.next(int64(m.memo.n), stack[len(stack)-1]) {
				break loop
			}
		case OpInt, OpPut, OpBinput, OpLongBinput, OpGet, OpBinget, OpLongBinget:
			var n int64
			switch op {
			case OpBinput, OpBinget:
				if next += 1; next > len(buf) {
					break loop
				}
				n = int64(buf[i+1])
			case OpLongBinput, OpLongBinget:
				if next += 4; next > len(buf) {
					break loop
				}
				n = int64(binary.LittleEndian.Uint32(buf[i+1:]))
			default:
				var digits int
				n, digits = decimal(buf[next:])
				if next += digits + 1; digits == 0 || next > len(buf) || buf[next-1] != '\n' {
					break loop
				}
			}
			switch op {
			case OpInt:
				stack = append(stack, small(n))
			case OpPut, OpBinput, OpLongBinput:
				if len(stack) <= fence || !m.memo.next(n, stack[len(stack)-1]) {
					break loop
				}
			default:
				v, ok := m.memo.get(n)
				if !ok {
					break loop
				}
				stack = append(stack, v)
			}

		default:
			break loop
		}
		seen[op], last = true, op
		i = next
		left--
	}
	m.ops = m.pause - 1 - left
	m.op, in.i, m.stack = last, i, stack
}
