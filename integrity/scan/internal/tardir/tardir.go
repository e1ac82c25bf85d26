// Package tardir reads the headers of a tar archive: v7, ustar, GNU and PAX. It
// skips content, follows nothing, and bounds names and extended headers by
// [MaxText].
package tardir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// ErrNotTar is wrapped when the first block is no tar header.
var ErrNotTar = errors.New("not a tar archive")

// ErrMalformed is wrapped when a later header cannot be read.
var ErrMalformed = errors.New("malformed tar archive")

// BlockSize is the unit of the format.
const BlockSize = 512

// MaxText bounds one long name or extended header, in bytes.
const MaxText = 1 << 20

// A Member is one entry.
type Member struct {
	Name   string // as an extraction uses it: extended headers applied
	Header string // as the plain header has it
	Link   string // target of a link
	Hard   bool   // a hard link
	Mode   fs.FileMode
	Sparse bool // content has holes, which are not decoded
	Size   int64
	At     int64 // of the plain header
	DataAt int64
}

// IsTar reports whether a block has a valid header: a size, and the right
// checksum.
func IsTar(block []byte) bool {
	if len(block) < BlockSize {
		return false
	}
	want, ok := number(block[148:156])
	if !ok {
		return false
	}
	if _, ok := number(block[124:136]); !ok {
		return false
	}
	unsigned, signed := checksums(block[:BlockSize])
	return want == unsigned || want == signed
}

// checksums are the sums with the checksum field as spaces; old writers summed
// signed bytes.
func checksums(block []byte) (unsigned, signed int64) {
	for i, c := range block {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

// number reads an octal field, or a GNU base-256 one.
func number(field []byte) (int64, bool) {
	if field[0]&0x80 != 0 {
		n := int64(field[0] & 0x3f)
		if field[0]&0x40 != 0 {
			return 0, false // negative
		}
		for _, c := range field[1:] {
			if n > 1<<54 {
				return 0, false
			}
			n = n<<8 | int64(c)
		}
		return n, true
	}
	s := strings.Trim(string(field), " \x00")
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	if s == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 8, 62)
	return int64(n), err == nil
}

func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// An extended is what PAX and GNU headers say about the next member.
type extended struct {
	name, link string
	size       int64
	hasSize    bool
	sparse     bool
}

// Read yields the members in order until the end marker or the end of the file,
// and returns the offset behind the last block that it understood. It stops at
// the first error of yield and returns it.
func Read(r io.ReaderAt, size int64, yield func(Member) error) (end int64, err error) {
	var block [BlockSize]byte
	var global, next extended
	first := true
	for off := int64(0); ; {
		if off == size {
			return off, nil // no end marker: old writers leave it out
		}
		if size-off < BlockSize {
			return off, fmt.Errorf("offset %d: header is cut: %w", off, ErrMalformed)
		}
		if err := readFull(r, block[:], off); err != nil {
			return off, err
		}
		if !first && bytes.Count(block[:], []byte{0}) == BlockSize {
			return trailer(r, size, off+BlockSize)
		}
		if !IsTar(block[:]) {
			if first {
				return 0, fmt.Errorf("offset 0: %w", ErrNotTar)
			}
			return off, fmt.Errorf("offset %d: no header: %w", off, ErrMalformed)
		}
		first = false
		m, kind := header(block[:], off)
		if m.DataAt > size || m.Size > size-m.DataAt {
			return off, fmt.Errorf("offset %d: member of %d bytes reaches beyond the file: %w", off, m.Size, ErrMalformed)
		}
		switch kind {
		case 'x', 'g', 'L', 'K':
			into := &next
			if kind == 'g' {
				into = &global
			}
			if err := into.read(r, kind, m); err != nil {
				return off, err
			}
		default:
			next.over(global).apply(&m)
			if m.Size > size-m.DataAt {
				return off, fmt.Errorf("offset %d: member of %d bytes reaches beyond the file: %w", off, m.Size, ErrMalformed)
			}
			next = extended{}
			if err := yield(m); err != nil {
				return off, err
			}
		}
		off = min(m.DataAt+(m.Size+BlockSize-1)/BlockSize*BlockSize, size)
	}
}

// trailer skips the zero blocks that pad an archive.
func trailer(r io.ReaderAt, size, off int64) (int64, error) {
	var block [BlockSize]byte
	for off < size {
		p := block[:min(BlockSize, size-off)]
		if err := readFull(r, p, off); err != nil {
			return off, err
		}
		if bytes.Count(p, []byte{0}) != len(p) {
			return off, nil
		}
		off += int64(len(p))
	}
	return off, nil
}

func header(block []byte, off int64) (m Member, kind byte) {
	m = Member{Name: text(block[:100]), At: off, DataAt: off + BlockSize}
	m.Size, _ = number(block[124:136])
	m.Link = text(block[157:257])
	if string(block[257:263]) == "ustar\x00" {
		if prefix := text(block[345:500]); prefix != "" {
			m.Name = prefix + "/" + m.Name
		}
	}
	m.Header = m.Name
	kind = block[156]
	switch kind {
	case '1':
		m.Hard = true
	case '2':
		m.Mode = fs.ModeSymlink
	case '3':
		m.Mode = fs.ModeDevice | fs.ModeCharDevice
	case '4':
		m.Mode = fs.ModeDevice
	case '5':
		m.Mode = fs.ModeDir
	case '6':
		m.Mode = fs.ModeNamedPipe
	case 'S':
		m.Sparse = true
	}
	if (kind == 0 || kind == '0') && strings.HasSuffix(m.Name, "/") {
		m.Mode = fs.ModeDir
	}
	if m.Hard || m.Mode != 0 && m.Mode != fs.ModeDir {
		m.Size = 0 // readers ignore the size of what has no content
	}
	return m, kind
}

func (e *extended) read(r io.ReaderAt, kind byte, m Member) error {
	if m.Size > MaxText {
		return fmt.Errorf("offset %d: extended header of %d bytes: %w", m.At, m.Size, ErrMalformed)
	}
	body := make([]byte, m.Size)
	if err := readFull(r, body, m.DataAt); err != nil {
		return err
	}
	switch kind {
	case 'L':
		e.name = text(body)
		return nil
	case 'K':
		e.link = text(body)
		return nil
	}
	for len(body) > 0 {
		sp := bytes.IndexByte(body, ' ')
		if sp <= 0 || sp > 10 {
			return fmt.Errorf("offset %d: extended header record without length: %w", m.At, ErrMalformed)
		}
		n, err := strconv.Atoi(string(body[:sp]))
		if err != nil || n <= sp+1 || n > len(body) {
			return fmt.Errorf("offset %d: extended header record of a wrong length: %w", m.At, ErrMalformed)
		}
		rec := bytes.TrimSuffix(body[sp+1:n], []byte("\n"))
		body = body[n:]
		key, value, _ := bytes.Cut(rec, []byte("="))
		switch k := string(key); {
		case k == "path":
			e.name = string(value)
		case k == "linkpath":
			e.link = string(value)
		case k == "size":
			v, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || v < 0 {
				return fmt.Errorf("offset %d: extended header with size %q: %w", m.At, value, ErrMalformed)
			}
			e.size, e.hasSize = v, true
		case strings.HasPrefix(k, "GNU.sparse."):
			e.sparse = true
			if k == "GNU.sparse.name" {
				e.name = string(value)
			}
		}
	}
	return nil
}

// over fills what e leaves open from a global header.
func (e extended) over(global extended) extended {
	if e.name == "" {
		e.name = global.name
	}
	if e.link == "" {
		e.link = global.link
	}
	if !e.hasSize {
		e.size, e.hasSize = global.size, global.hasSize
	}
	return e
}

func (e extended) apply(m *Member) {
	if e.name != "" {
		m.Name = e.name
	}
	if e.link != "" && (m.Hard || m.Mode&fs.ModeSymlink != 0) {
		m.Link = e.link
	}
	if e.hasSize && !m.Hard && m.Mode == 0 {
		m.Size = e.size
	}
	m.Sparse = m.Sparse || e.sparse
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
