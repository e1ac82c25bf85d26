package zipdir

import (
	"cmp"
	"fmt"
	"slices"
)

// locals reads the local header of every member of the directory and compares.
func (d *reader) locals() error {
	type key struct{ header, packed int64 }
	seen := make(map[key]bool, len(d.dir.Members))
	for i := range d.dir.Members {
		m := &d.dir.Members[i]
		l, n, err := d.local(m.HeaderAt)
		if err != nil {
			return err
		}
		if n == 0 {
			d.problem(BadLocal, m.EntryAt, centralSize, m.Name, "there is no local header at offset %d", m.HeaderAt)
			continue
		}
		m.DataAt = m.HeaderAt + n
		m.Local = l.Name
		d.compare(m, l)
		m.Flags |= l.Flags
		if m.Packed > d.size-m.DataAt {
			d.problem(Cut, m.DataAt, d.size-m.DataAt, m.Name, "it claims %d bytes, the file has %d", m.Packed, d.size-m.DataAt)
			m.Packed = max(d.size-m.DataAt, 0)
		}
		if k := (key{m.HeaderAt, m.Packed}); !seen[k] || len(d.dir.Members) < 1<<16 {
			seen[k] = true
			end := m.DataAt + m.Packed
			d.span(m.HeaderAt, end+d.descriptor(m, end))
		}
	}
	return nil
}

// local reads a local header; n is its length, 0 when there is none.
func (d *reader) local(at int64) (m Member, n int64, _ error) {
	rec, err := d.peek(at, localSize)
	if err != nil || string(rec[:4]) != "PK\x03\x04" {
		return m, 0, nil
	}
	nameLen, extraLen := int64(le.Uint16(rec[26:])), int64(le.Uint16(rec[28:]))
	if d.names += nameLen; d.names > MaxNames {
		return m, 0, fmt.Errorf("offset %d: names of more than %d bytes: %w", at, MaxNames, ErrLimit)
	}
	buf, err := d.peek(at+localSize, nameLen+extraLen)
	if err != nil {
		return m, 0, nil
	}
	m = Member{
		Name:     string(buf[:nameLen]),
		Flags:    le.Uint16(rec[6:]),
		Method:   le.Uint16(rec[8:]),
		CRC:      le.Uint32(rec[14:]),
		Packed:   int64(le.Uint32(rec[18:])),
		Size:     int64(le.Uint32(rec[22:])),
		EntryAt:  at,
		HeaderAt: at,
		DataAt:   at + localSize + nameLen + extraLen,
	}
	if err := wide(buf[nameLen:], &m.Size, &m.Packed); err != nil {
		return m, 0, malformed(at, "%v", err)
	}
	return m, m.DataAt - at, nil
}

// flagStreamed says that sizes and checksum follow the data.
const flagStreamed = 8

func (d *reader) compare(m *Member, l Member) {
	if l.Name != m.Name {
		d.problem(NameMismatch, m.HeaderAt, localSize, m.Name, "its local header says %q", clip(l.Name))
	}
	fail := func(what string, local, central any) {
		d.problem(HeaderMismatch, m.HeaderAt, localSize, m.Name, "its %s is %v in the local header and %v in the directory", what, local, central)
	}
	streamed := (m.Flags|l.Flags)&flagStreamed != 0
	switch {
	case l.Method != m.Method:
		fail("method", l.Method, m.Method)
	case (l.Flags^m.Flags)&flagsThatMatter != 0:
		fail("flags", fmt.Sprintf("%#x", l.Flags), fmt.Sprintf("%#x", m.Flags))
	case l.Packed != m.Packed && !(streamed && (l.Packed == 0 || l.Packed == 1<<32-1)):
		fail("stored size", l.Packed, m.Packed)
	case l.Size != m.Size && !(streamed && (l.Size == 0 || l.Size == 1<<32-1)):
		fail("size", l.Size, m.Size)
	case l.CRC != m.CRC && !(streamed && l.CRC == 0):
		fail("checksum", fmt.Sprintf("%08x", l.CRC), fmt.Sprintf("%08x", m.CRC))
	}
}

// flagsThatMatter leave out the hints about speed and streaming, in which
// ordinary writers differ.
const flagsThatMatter = 1<<0 | 1<<5 | 1<<6 | 1<<13

// descriptor is the length of the data descriptor after a streamed member, 0
// when none is recognised.
func (d *reader) descriptor(m *Member, at int64) int64 {
	if m.Flags&flagStreamed == 0 {
		return 0
	}
	var rec [24]byte
	n := min(d.size-at, 24)
	if n < 12 || d.read(rec[:n], at) != nil {
		return 0
	}
	p, head := rec[:n], int64(0)
	if string(p[:4]) == "PK\x07\x08" {
		p, head = p[4:], 4
	}
	switch {
	case le.Uint32(p) != m.CRC:
		return 0
	case len(p) >= 20 && int64(le.Uint64(p[4:])) == m.Packed && int64(le.Uint64(p[12:])) == m.Size:
		return head + 20
	case len(p) >= 12 && int64(le.Uint32(p[4:])) == m.Packed && int64(le.Uint32(p[8:])) == m.Size:
		return head + 12
	}
	return 0
}

// hidden looks for local headers at the start of every range that the
// directory leaves unused: readers that walk from the front find them.
func (d *reader) hidden() error {
	for _, hole := range d.holes() {
		for at := hole.Off; at < hole.End; {
			m, n, err := d.local(at)
			if err != nil || n == 0 {
				if err != nil {
					return err
				}
				break
			}
			if err := d.entry(); err != nil {
				return err
			}
			m.Hidden, m.Local = true, m.Name
			room := hole.End - m.DataAt
			if m.Packed == 0 && m.Flags&flagStreamed != 0 || m.Packed > room {
				m.Packed = max(room, 0) // the end is not known: everything up to the next part
			}
			end := m.DataAt + m.Packed
			end += d.descriptor(&m, end)
			d.problem(HiddenMember, at, end-at, m.Name, "a local header that the directory does not list")
			d.dir.Members = append(d.dir.Members, m)
			d.span(at, end)
			at = max(end, at+localSize)
		}
	}
	return nil
}

func (d *reader) holes() []Span {
	spans := slices.Clone(d.dir.Spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Off, b.Off) })
	var out []Span
	pos := int64(0)
	for _, s := range spans {
		if s.Off > pos {
			out = append(out, Span{pos, s.Off})
		}
		pos = max(pos, s.End)
	}
	if pos < d.size {
		out = append(out, Span{pos, d.size})
	}
	return out
}
