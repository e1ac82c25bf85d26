package tardir

import (
	"bytes"
	"fmt"
	"strings"
)

// maxPieces bounds the map of one sparse member.
const maxPieces = 1 << 16

// maxMaps bounds the text of all maps, which members may share.
const maxMaps = 16 << 20

// oldSparse reads GNU's first layout: a map in the header and in blocks behind
// it. The stored size is unchanged; DataAt moves behind those blocks.
func (d *reader) oldSparse(m *Member, block []byte, stored int64) (int64, error) {
	m.Sparse = true
	var pairs []int64
	entry := func(at []byte) bool {
		off, _, ok := number(at[:12])
		n, _, ok2 := number(at[12:24])
		if ok && ok2 {
			pairs = append(pairs, off, n)
		}
		return ok && ok2
	}
	for i := range 4 {
		if !entry(block[386+24*i:]) {
			break
		}
	}
	more := block[482] != 0
	size, _, ok := number(block[483:495])
	if !ok {
		return 0, fmt.Errorf("offset %d: sparse member without a size: %w", m.At, ErrMalformed)
	}
	var buf [BlockSize]byte
	for more {
		if d.size-m.DataAt < BlockSize || len(pairs) > 2*maxPieces {
			return 0, fmt.Errorf("offset %d: map of a sparse member is cut or has more than %d parts: %w", m.At, maxPieces, ErrMalformed)
		}
		if err := readFull(d.r, buf[:], m.DataAt); err != nil {
			return 0, err
		}
		m.DataAt += BlockSize
		for i := range 21 {
			before := len(pairs)
			if !entry(buf[24*i:]) {
				break
			}
			if pairs[before] == 0 || pairs[before+1] == 0 {
				pairs = pairs[:before]
			}
		}
		more = buf[504] != 0
	}
	m.Size = size
	m.pieces(pairs)
	return stored, nil
}

// sparse reads what an extended header says of holes: the layouts 0.0, 0.1 and
// 1.0 of GNU.
func (d *reader) sparse(m *Member, e extended) error {
	list, has := e.merged.get("GNU.sparse.map")
	major, _ := e.merged.get("GNU.sparse.major")
	minor, _ := e.merged.get("GNU.sparse.minor")
	_, oldest := e.merged.get("GNU.sparse.size")
	var pairs []int64
	switch {
	case has:
		if d.maps += int64(len(list)); d.maps > maxMaps {
			return fmt.Errorf("offset %d: maps of sparse members of more than %d bytes: %w", m.At, maxMaps, ErrMalformed)
		}
		for s := range strings.SplitSeq(list, ",") {
			v, _, ok := pyInt(s, 10)
			if !ok || len(pairs) >= 2*maxPieces {
				m.Sparse, m.Broken = true, "its map is malformed"
				m.odd("the map of its content is malformed")
				return nil
			}
			pairs = append(pairs, v)
		}
	case oldest:
		for i := range min(len(e.offsets), len(e.sizes)) {
			pairs = append(pairs, e.offsets[i], e.sizes[i])
		}
	case major == "1" && minor == "0":
		var err error
		if pairs, err = d.newSparse(m); err != nil {
			return err
		}
	default:
		return nil
	}
	m.Sparse = true
	m.pieces(pairs)
	return nil
}

// newSparse reads the map before the content: the number of parts, then offset
// and size of each, a line each.
func (d *reader) newSparse(m *Member) (pairs []int64, err error) {
	malformed := func() error {
		return fmt.Errorf("offset %d: map of a sparse member: %w", m.At, ErrMalformed)
	}
	var block [BlockSize]byte
	var buf []byte
	want := int64(-1)
	for want < 0 || int64(len(pairs)) < 2*want {
		line, rest, found := bytes.Cut(buf, []byte("\n"))
		if !found {
			if len(buf) > 64 || d.size-m.DataAt < BlockSize {
				return nil, malformed()
			}
			if err := readFull(d.r, block[:], m.DataAt); err != nil {
				return nil, err
			}
			m.DataAt += BlockSize
			buf = append(bytes.Clone(buf), block[:]...)
			continue
		}
		buf = rest
		v, _, ok := pyInt(string(line), 10)
		switch {
		case !ok || v < 0 || want < 0 && v > maxPieces:
			return nil, malformed()
		case want < 0:
			want = v
		default:
			pairs = append(pairs, v)
		}
	}
	return pairs, nil
}

// pieces keeps a map of offsets and sizes.
func (m *Member) pieces(pairs []int64) {
	m.Pieces, m.Broken = nil, ""
	last := int64(0)
	for i := 0; i+1 < len(pairs); i += 2 {
		off, n := pairs[i], pairs[i+1]
		if n == 0 {
			continue // fills up the header, or states where the last hole ends
		}
		if off < last || n < 0 {
			m.Pieces, m.Broken = nil, "its map goes backwards"
			m.odd("the map of its content goes backwards")
			return
		}
		last = off + n
		m.Pieces = append(m.Pieces, Piece{Off: off, Len: n})
	}
}

// place finds the pieces in the archive: their content is stored one behind the
// other.
func (m *Member) place(size int64) {
	at := m.DataAt
	for i := range m.Pieces {
		p := &m.Pieces[i]
		p.At = at
		at += p.Len
		if p.Off+p.Len > m.Size || at > size || at < p.At {
			p.Len = max(min(p.Len, m.Size-p.Off, size-p.At), 0)
			m.Pieces = m.Pieces[:i+1]
			return
		}
	}
}
