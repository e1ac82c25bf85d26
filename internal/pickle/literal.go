package pickle

import (
	"bytes"
	"math"
)

// headSize is how much of a literal a [Machine.Literal] function sees,
// sniffSize how much of it nested pickles are looked for in.
const (
	headSize  = 64 << 10
	sniffSize = 4 << 10
)

// literalLeast is the least size of a literal that Machine.Literal is called for.
const literalLeast = 16

// text pushes a counted string or bytes object of n bytes.
func (m *machine) text(t Type, e encoding, n uint64) {
	off, ok := m.in.payload(n, t == Bytes)
	if !ok {
		n = uint64(max(m.in.size-off, 0))
		m.inspect(t, e, off, n)
		m.push(m.literal(t, e, off, n))
		m.short()
		return
	}
	m.push(m.literal(t, e, off, n))
	if n >= 6 {
		m.inspect(t, e, off, n)
	}
}

// textLine pushes a STRING or UNICODE.
func (m *machine) textLine() {
	off, n := m.readLine()
	e := escaped
	if m.op == OpString {
		e = quoted
		line := m.in.bytes(off, n, &m.scratch)
		if n > headSize { // the quotes alone
			line = m.in.bytes(off, 1, &m.scratch)
			last := m.in.bytes(off+n-1, 1, new([]byte))
			if len(line) == 1 && len(last) == 1 && line[0] == last[0] && (line[0] == '\'' || line[0] == '"') {
				off, n = off+1, n-2
			} else {
				m.fault("STRING without quotes")
			}
		} else if inside, ok := dequote(line); ok {
			off, n = off+1, int64(len(inside))
			if !ascii(inside) || !ascii(unescape(inside)) {
				m.diverge(StringEncoding, "non-ASCII bytes in a STRING")
			}
		} else {
			m.fault("STRING without quotes")
		}
	}
	m.push(m.literal(Str, e, off, uint64(n)))
	if n >= 6 {
		m.inspect(Str, e, off, uint64(min(n, math.MaxUint32)))
	}
}

// inspect looks at a literal's bytes: whoever watches is called, and what
// looks like a pickle inside is noted.
func (m *machine) inspect(t Type, e encoding, off int64, n uint64) {
	if m.opAt < m.replay || n < 6 {
		return
	}
	if k := off - m.in.base; (m.watch == nil || n < literalLeast) && k >= 0 && k < int64(len(m.in.buf)) && n < uint64(nestedLeast[m.in.buf[k]]) && e != escaped && e != quoted {
		return
	}
	size := int64(min(n, math.MaxInt64))
	want := int64(sniffSize)
	if m.watch != nil && n >= literalLeast {
		want = headSize
	}
	head := m.in.bytes(off, min(size, want), &m.scratch)
	if len(head) < 6 {
		return
	}
	if m.watch != nil && n >= literalLeast {
		m.watch(Literal{off, size, m.op, t, head})
	}
	if e != escaped && e != quoted && (size < int64(nestedLeast[head[0]]) || barren(head)) ||
		e == escaped && barren(head) && plainText(head) {
		return
	}
	encodings, ok := nestedIn(head[:min(len(head), sniffSize)], size, e)
	if !ok && size > sniffSize && e != escaped && e != quoted {
		ok = m.nestedBehind(off, size)
	}
	if !ok || m.nested[off] {
		return
	}
	if len(m.t.Nested) >= m.lim.Records {
		m.exceed("Records")
		return
	}
	put(&m.nested, off, true)
	m.t.Nested = append(m.t.Nested, Nested{off, size, m.stream, m.op, encodings})
}

// nestedBehind reports whether a literal holds a pickle that opens with literals
// of its own, too long to see beyond them in its head: each is passed over, and
// what comes behind must name something, whatever is on the stack by then.
func (m *machine) nestedBehind(off, size int64) bool {
	const hops = 64
	stack := []byte{byte(OpEmptyList), byte(OpMark), byte(OpNextBuffer), byte(OpNextBuffer), byte(OpNextBuffer)} // anything
	var before int64                                                                                             // of the bytes probed, those that are no part of the literal
	pos := int64(0)
	for range hops {
		b := m.in.bytes(off+pos, min(size-pos, sniffSize), &m.scratch)
		if pos > 0 {
			b = append(stack[:len(stack):len(stack)], b...)
			before = int64(len(stack))
		}
		p := probe(b, size-pos+before)
		if p.globals > 0 {
			return p.likelihood() == Certain
		}
		at := int64(p.end)
		if !p.ranOut || at < before || at >= int64(len(b)) {
			return false
		}
		if a := opcodes[b[at]].argument; a == argLine || a == argLines {
			return false
		}
		next := pos + at - before
		if n, ok := argumentSize(Op(b[at]), b[at+1:]); ok {
			next += 1 + int64(min(n, math.MaxInt32))
		}
		if next <= pos || next >= size {
			return false
		}
		pos = next
	}
	return true // chance does not go on like that
}

// readLine takes the line that is an opcode's argument. At the end of the file
// C and pickletools stop; Python's pickle cuts the last byte off and runs on.
func (m *machine) readLine() (off, n int64) {
	off, n, cut := m.in.line()
	if !cut {
		return off, n
	}
	m.diverge(UnterminatedLine, "the file ends in the argument of %s", m.op)
	return off, max(n-1, 0)
}

// maxNumber is more digits than CPython converts by default (4300).
const maxNumber = 8192

// longestKey is how much of a line with a memo key is read.
const longestKey = 1 << 20

func (m *machine) textInt() {
	off, n := m.readLine()
	line := m.in.bytes(off, min(n, maxNumber), &m.scratch)
	if m.op == OpInt {
		switch string(line) {
		case "00", "01":
			m.push(boolean(line[1] == '1'))
			return
		case "+0", "+1", "-0", " 0", " 1":
			m.diverge(IntegerLiteral, "INT %q is a bool for C only", line)
		}
	} else if len(line) > 0 && line[len(line)-1] == 'L' {
		line = line[:len(line)-1]
	}
	num := parseInt(line, true)
	switch {
	case n > maxNumber:
		m.push(m.literal(Int, eight, off, uint64(n)))
		return
	case !num.ok:
		m.fault("%s %q is no number", m.op, clip(line))
		m.push(small(0))
		return
	case num.differ:
		m.diverge(IntegerLiteral, "%s %q", m.op, clip(line))
	}
	if num.text == "" && holds(num.value) {
		m.push(small(num.value))
		return
	}
	m.push(m.literal(Int, eight, off, uint64(len(line))))
}

func clip(b []byte) []byte { return b[:min(len(b), 64)] }

func (m *machine) textFloat() {
	off, n := m.readLine()
	if line := m.in.bytes(off, min(n, maxNumber), &m.scratch); n <= maxNumber && !validFloat(line) {
		m.fault("FLOAT %q is no number", clip(line))
	}
	m.push(m.literal(Float, eight, off, uint64(n)))
}

// long pushes a LONG1 or LONG4: two's complement.
func (m *machine) long(n uint64) {
	off, ok := m.in.payload(n, false)
	if !ok {
		m.short()
		return
	}
	if n <= 8 {
		if x := littleEndian(m.in.bytes(off, int64(n), &m.scratch)); holds(x) {
			m.push(small(x))
			return
		}
	}
	m.push(m.literal(Int, raw, off, n))
}

// textKey is GET and PUT: the key is decimal.
func (m *machine) textKey() {
	off, n := m.readLine()
	line, op := m.in.bytes(off, min(n, longestKey), &m.scratch), m.op
	if len(line) > maxNumber { // loaders skip blanks and zeros
		line = bytes.TrimLeft(bytes.Trim(line, " \t\v\f\r"), "0")
	}
	if n > longestKey || len(line) > maxNumber {
		m.exceed("Text")
		if op == OpGet {
			m.push(unknown)
		}
		return
	}
	num := parseInt(line, false)
	if !num.ok {
		m.fault("%s %q is no memo key", op, clip(line))
		if op == OpGet {
			m.push(unknown)
		}
		return
	}
	if num.text != "" {
		m.diverge(MemoKey, "%s %q", op, clip(line))
		if op == OpGet {
			v, ok := m.memo.getOdd(num.text)
			if !ok {
				m.fault("memo key %q is not set", clip(line))
			}
			m.push(v)
			return
		}
		again, full := m.memo.putOdd(num.text, m.peek())
		if again {
			m.diverge(MemoRedefined, "memo key %q is set again", clip(line))
		}
		if full {
			m.exceed("Memo")
		}
		return
	}
	if op == OpGet {
		m.get(num.value)
		return
	}
	if num.value < 0 {
		m.fault("PUT %d: negative", num.value)
	}
	m.put(num.value, m.peek())
}
