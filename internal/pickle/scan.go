package pickle

import (
	"context"
	"hash/maphash"
	"io"
	"slices"
)

// A Machine scans pickles. The zero value uses the default limits. It is safe
// for concurrent use.
type Machine struct {
	Limits Limits

	// Literal, when set, is called for every string and bytes literal of at
	// least 16 bytes, in order of their opcodes, in every reading. It must not
	// keep Head.
	Literal func(Literal)
}

// A Literal is a string or bytes object as it stands in the file.
type Literal struct {
	Offset, Length int64 // of its bytes
	Op             Op
	Type           Type   // Str or Bytes
	Head           []byte // at most the first 64 KiB, not decoded
}

// Scan executes the pickles in the size bytes of r. Whatever is wrong with the
// bytes is part of the trace; the error is that of ctx or of reading r, and
// comes with the trace up to there.
func (c Machine) Scan(ctx context.Context, r io.ReaderAt, size int64) (*Trace, error) {
	return c.machine(ctx, r, size).scan()
}

func (c Machine) machine(ctx context.Context, r io.ReaderAt, size int64) *machine {
	m := &machine{
		ctx:   ctx,
		lim:   c.Limits.withDefaults(),
		t:     &Trace{Size: max(size, 0)},
		watch: c.Literal,
		seed:  maphash.MakeSeed(),
	}
	for i := range m.secret {
		m.secret[i] = maphash.Comparable(m.seed, i)
	}
	m.in = input{r: r, size: m.t.Size, straddled: m.crossed}
	m.heap.max, m.memo.max = m.lim.Values, m.lim.Memo
	const some = 1 << 16
	m.lenient = 2*min(m.t.Size, m.lim.Ops) + some
	m.again = 4*min(m.t.Size, m.lim.Ops) + some
	return m
}

func (m *machine) scan() (*Trace, error) {
	m.file()
	m.t.Ops = m.ops
	m.t.Ranges = fill(m.t.Ranges, m.t.Size)
	if err := m.ctx.Err(); err != nil {
		return m.t, err
	}
	return m.t, m.in.err
}

// file executes the streams that the file starts with, one behind the other,
// and those found behind bytes that are none.
func (m *machine) file() {
	var legacy legacyTorch
	recovered := false
	for pos := int64(0); pos < m.in.size && !m.halted && m.in.err == nil; {
		if len(m.t.Streams) > 0 {
			if len(m.t.Streams) >= m.lim.Streams {
				m.exceed("Streams")
				return
			}
			start, ok := m.next(pos)
			if !ok {
				return
			}
			recovered = recovered || start != pos
			pos = start
		}
		i := m.play(pos, recovered)
		s := &m.t.Streams[i]
		pos = s.End
		if !s.Complete && m.broken {
			// Nothing behind the first fault runs as part of this stream, so
			// another may start there.
			pos, recovered = s.Faults[0].Offset+1, true
			continue
		}
		recovered = false
		if end, ok := m.storages(&legacy, i); ok {
			m.claim(pos, end, Data)
			pos = end
		}
	}
}

// play executes the stream at start in every reading that its bytes call
// for, and returns the index of the linear one.
func (m *machine) play(start int64, recovered bool) int {
	i := m.read(start, Linear, 0)
	m.t.Streams[i].Recovered = recovered
	linear := m.state
	if linear.straddle >= 0 && !m.halted {
		m.read(start, CFile, linear.straddle)
		if m.skipped >= 0 && !m.halted {
			m.read(start, PlainCFile, max(m.skipped, linear.straddle))
		}
	}
	if linear.skipped >= 0 && !m.halted {
		m.plain(start, linear.skipped, m.t.Streams[i].End)
	}
	stack, marks, memo, heap := m.stack, m.marks, m.memo, m.heap // the larger memory
	m.state = linear
	m.stack, m.marks, m.memo, m.heap = stack, marks, memo, heap
	return i
}

// plain executes the stream at start without skipping the array data behind
// from, and what streams stand in that data behind its first STOP.
func (m *machine) plain(start, from, end int64) {
	for !m.halted && len(m.t.Streams) < m.lim.Streams {
		i := m.read(start, Plain, from)
		if m.straddle >= 0 && !m.halted {
			m.read(start, PlainCFile, max(from, m.straddle))
		}
		s := &m.t.Streams[i]
		if !s.Complete || s.End >= end || m.halted {
			return
		}
		next, ok := m.next(s.End)
		if !ok || next >= end {
			return
		}
		start, from = next, next
	}
}

// read executes one stream in one reading.
func (m *machine) read(start int64, reading Reading, replay int64) int {
	m.begin(start, reading, replay)
	i := m.stream
	m.run()
	m.finish()
	return i
}

// begin resets the state for a stream at start; slices keep their memory.
func (m *machine) begin(start int64, reading Reading, replay int64) {
	old := &m.state
	old.memo.reset()
	old.heap.reset()
	m.state = state{
		stream: len(m.t.Streams), proto: -1, top: -1, reading: reading, replay: replay,
		straddle: -1, skipped: -1, began: m.ops, paused: m.ops, segment: start, inner: old.inner, below: old.below,
		stack: old.stack[:0], marks: old.marks[:0], memo: old.memo, heap: old.heap,
	}
	m.t.Streams = append(m.t.Streams, Stream{Start: start, Reading: reading})
	m.in.exact = reading == CFile || reading == PlainCFile
	m.in.frame = 0
	m.in.seek(start)
}

// finish completes the stream's entry in the trace.
func (m *machine) finish() {
	if m.reading != Linear {
		m.again -= m.ops - m.paused
	}
	if m.heap.full {
		m.exceed("Values")
	}
	s := &m.t.Streams[m.stream]
	s.End = m.in.pos()
	if m.broken {
		s.End = min(max(m.opAt, s.Start), m.in.size)
	}
	s.Protocol = m.top
	s.Ops = m.ops - m.began
	for op, seen := range m.seen {
		if seen {
			s.Opcodes.Add(Op(op))
		}
	}
	m.claim(m.segment, s.End, Opcodes)
}

// claim notes what the bytes [start, end) are, in the linear reading.
func (m *machine) claim(start, end int64, kind RangeKind) {
	if m.reading == Linear && end > start {
		m.t.Ranges = append(m.t.Ranges, Range{start, end, kind})
	}
}

// next returns the offset of the next stream at or behind pos.
func (m *machine) next(pos int64) (int64, bool) {
	end := min(m.in.size, pos+m.lim.Resync)
	budget := m.lim.Resync * 8
	var window []byte
	base := pos
	for off := pos; off < end; off++ {
		k := int(off - base)
		if k+sniffSize > len(window) && base+int64(len(window)) < m.in.size {
			base, k = off, 0
			window = m.in.bytes(off, windowSize, &m.scratch)
		}
		if k >= len(window) {
			return 0, false
		}
		head := window[k:min(k+sniffSize, len(window))]
		if !mayStart[head[0]] {
			continue
		}
		p := probe(head, m.in.size-off)
		m.probed += int64(p.ops)
		if m.probed > budget {
			m.opAt = off
			m.exceed("Resync")
			return 0, false
		}
		if p.likelihood() == Certain || off == pos && p.likelihood() == Possible {
			return off, true
		}
	}
	return 0, false
}

// fill sorts ranges and closes the holes between them.
func fill(ranges []Range, size int64) []Range {
	slices.SortStableFunc(ranges, func(a, b Range) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	var out []Range
	pos := int64(0)
	for _, r := range ranges {
		r.Start, r.End = max(r.Start, pos), min(r.End, size)
		if r.End <= r.Start {
			continue
		}
		if r.Start > pos {
			out = append(out, Range{pos, r.Start, Junk})
		}
		if n := len(out); n > 0 && out[n-1].Kind == r.Kind && out[n-1].End == r.Start && r.Kind == Data {
			out[n-1].End = r.End
		} else {
			out = append(out, r)
		}
		pos = r.End
	}
	if pos < size {
		out = append(out, Range{pos, size, Junk})
	}
	return out
}
