package zipdir

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
)

const (
	localSize   = 30
	centralSize = 46
	endSize     = 22
	end64Size   = 56
	locatorSize = 20
	maxComment  = 1<<16 - 1

	// maxProblems bounds what is kept of a hostile directory.
	maxProblems = 10_000
)

var le = binary.LittleEndian

// reader carries the state of one [Read].
type reader struct {
	r     io.ReaderAt
	size  int64
	entry func() error
	dir   Directory
	names int64
	seen  map[place]bool // records of the central directory
}

// A place is a directory record as it is read when base bytes stand before the
// archive.
type place struct{ at, base int64 }

// A Peeker is a reader that gives n bytes from off without a copy, if it can.
type Peeker interface {
	Peek(off, n int64) ([]byte, error)
}

// Read reads the structure of an archive of that size. Before each member entry
// is called; its error ends the reading and is returned with what was read so
// far. Other errors wrap [ErrNotZip], [ErrMalformed] or [ErrLimit], or come
// from r, which may be a [Peeker]; the directory read so far is returned beside
// them.
func Read(r io.ReaderAt, size int64, entry func() error) (*Directory, error) {
	d := &reader{r: r, size: size, entry: entry, seen: make(map[place]bool)}
	ends, err := d.ends()
	if err != nil {
		return &d.dir, err
	}
	if len(ends) == 0 && !d.signature(0, "PK\x03\x04") {
		return &d.dir, fmt.Errorf("%d bytes: %w", size, ErrNotZip)
	}
	var broken error // of one directory; another one may be whole
	for i, e := range ends {
		err := d.central(e, i == 0)
		if err != nil && !errors.Is(err, ErrMalformed) {
			return &d.dir, err
		}
		if broken == nil {
			broken = err
		}
	}
	if len(ends) == 0 {
		d.problem(NoDirectory, 0, size, "", "there are local headers but no end record")
	}
	if err := d.locals(); err != nil {
		return &d.dir, err
	}
	err = d.hidden()
	slices.SortFunc(d.dir.Spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.End, b.End)) })
	return &d.dir, cmp.Or(err, broken)
}

func (d *reader) problem(k Kind, off, length int64, name, format string, args ...any) {
	if len(d.dir.Problems) < maxProblems {
		d.dir.Problems = append(d.dir.Problems, Problem{k, off, length, name, fmt.Sprintf(format, args...)})
	}
}

// span notes a range of the structure, cut at the end of the file.
func (d *reader) span(off, end int64) {
	if end = min(end, d.size); off >= 0 && off < end {
		d.dir.Spans = append(d.dir.Spans, Span{off, end})
	}
}

func (d *reader) read(p []byte, off int64) error {
	if off < 0 || off > d.size-int64(len(p)) {
		return io.ErrUnexpectedEOF
	}
	n, err := d.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// peek is read for who keeps and changes nothing of it.
func (d *reader) peek(off, n int64) ([]byte, error) {
	if p, ok := d.r.(Peeker); ok && off >= 0 && n <= d.size-off {
		return p.Peek(off, n)
	}
	p := make([]byte, n)
	return p, d.read(p, off)
}

func (d *reader) signature(off int64, want string) bool {
	var sig [4]byte
	return d.read(sig[:], off) == nil && string(sig[:]) == want
}

// An end is an end record with its zip64 part folded in.
type end struct {
	at      int64 // of the end record
	dirAt   int64
	dirSize int64
	count   int64
	wide    bool
}

// ends finds the end record that readers use: the last one, and any whose
// comment reaches exactly to the end of the file over the last one.
func (d *reader) ends() ([]end, error) {
	n := min(d.size, endSize+maxComment)
	tail, err := d.peek(d.size-n, n)
	if err != nil {
		return nil, err
	}
	var marks []int // found forwards, which is many times as fast
	for pos := 0; ; pos += 4 {
		i := bytes.Index(tail[pos:], []byte("PK\x05\x06"))
		if i < 0 {
			break
		}
		pos += i
		marks = append(marks, pos)
	}
	var out []end
	last := int64(-1) // the record found last
	for _, pos := range slices.Backward(marks) {
		if pos+endSize > len(tail) {
			continue
		}
		comment := int(le.Uint16(tail[pos+20:]))
		at := d.size - n + int64(pos)
		exact := pos+endSize+comment == len(tail)
		if last >= 0 && !exact {
			continue // the ordinary end of a stored archive inside
		}
		if last >= 0 {
			d.problem(AmbiguousEnd, at, endSize, "", "a second end record whose comment holds the one at offset %d", last)
		}
		found, err := d.end(tail[pos:pos+endSize], at)
		if err != nil {
			return nil, err
		}
		after := min(at+endSize+int64(comment), d.size)
		d.span(at, after)
		if last < 0 && after < d.size {
			d.problem(Trailing, after, d.size-after, "", "%d bytes follow the end record and its comment", d.size-after)
		}
		last = at
		if out = append(out, found...); len(out) >= 4 {
			break
		}
	}
	return out, nil
}

// end reads an end record and what its zip64 part says. Readers find that part
// by its locator (miniz, which torch uses) or right before the locator (Python's
// zipfile), and look at it always or only where the plain fields are all ones
// (unzip); each reading that differs is one more end.
func (d *reader) end(rec []byte, at int64) ([]end, error) {
	e := end{
		at:      at,
		count:   int64(le.Uint16(rec[10:])),
		dirSize: int64(le.Uint32(rec[12:])),
		dirAt:   int64(le.Uint32(rec[16:])),
	}
	if le.Uint16(rec[4:]) != 0 || le.Uint16(rec[6:]) != 0 {
		d.problem(DirMismatch, at, endSize, "", "the archive claims to be split over disks")
	}
	var loc [locatorSize]byte
	if at < locatorSize || d.read(loc[:], at-locatorSize) != nil || string(loc[:4]) != "PK\x06\x07" {
		return []end{e}, nil
	}
	var out []end
	for i, pos := range []int64{int64(le.Uint64(loc[8:])), at - locatorSize - end64Size} {
		if i > 0 && len(out) > 0 && out[0].at == pos {
			continue
		}
		w, found, err := d.wideEnd(pos)
		switch {
		case err != nil:
			return nil, err
		case !found:
			continue
		case len(out) > 0 && !out[0].same(w):
			d.problem(AmbiguousEnd, pos, end64Size, "", "a second zip64 end record beside the one at offset %d, which the locator names", out[0].at)
		case len(out) > 0:
			continue
		}
		out = append(out, w)
	}
	if len(out) == 0 {
		d.problem(DirMismatch, at-locatorSize, locatorSize, "", "the zip64 locator leads nowhere")
		return []end{e}, nil
	}
	d.span(at-locatorSize, at)
	if w := out[0]; e.count != 1<<16-1 && e.count != w.count || e.dirSize != 1<<32-1 && e.dirSize != w.dirSize || e.dirAt != 1<<32-1 && e.dirAt != w.dirAt {
		d.problem(AmbiguousEnd, at, endSize, "", "the end record and its zip64 part differ about the directory")
		out = append(out, e)
	}
	return out, nil
}

// wideEnd reads the zip64 end record at pos.
func (d *reader) wideEnd(pos int64) (e end, found bool, err error) {
	var rec [end64Size]byte
	if d.read(rec[:], pos) != nil || string(rec[:4]) != "PK\x06\x06" {
		return e, false, nil
	}
	d.span(pos, pos+end64Size)
	e = end{
		at:      pos,
		count:   int64(le.Uint64(rec[32:])),
		dirSize: int64(le.Uint64(rec[40:])),
		dirAt:   int64(le.Uint64(rec[48:])),
		wide:    true,
	}
	if e.dirSize < 0 || e.dirAt < 0 {
		return e, false, malformed(pos, "zip64 directory beyond all files")
	}
	return e, true, nil
}

// same reports whether two records state the same directory.
func (e end) same(f end) bool {
	return e.dirAt == f.dirAt && e.dirSize == f.dirSize && e.count == f.count
}

// central reads one central directory.
func (d *reader) central(e end, first bool) error {
	at, base := e.dirAt, int64(0)
	if moved := e.at - e.dirSize; moved != at && moved >= 0 && d.signature(moved, "PK\x01\x02") {
		base, at = moved-e.dirAt, moved
	}
	if base > 0 && first {
		d.problem(Prefix, 0, base, "", "%d bytes stand before the archive", base)
	} else if base < 0 {
		d.problem(DirMismatch, e.at, endSize, "", "the directory is said to start at %d and starts at %d", e.dirAt, at)
	}
	if at != e.dirAt && d.signature(e.dirAt, "PK\x01\x02") {
		// Readers that take the offset as it is find another directory.
		end, _, err := d.records(e.dirAt, 0)
		if err != nil {
			return err
		}
		d.span(e.dirAt, end)
	}
	pos, found, err := d.records(at, base)
	if err != nil {
		return err
	}
	d.span(at, pos)
	switch {
	case found == 0 && e.count > 0:
		return malformed(at, "no directory where the end record says")
	case found != e.count && (e.wide || found&0xffff != e.count):
		d.problem(DirMismatch, e.at, endSize, "", "the end record counts %d members, the directory has %d", e.count, found)
	case pos != at+e.dirSize:
		d.problem(DirMismatch, e.at, endSize, "", "the directory is said to take %d bytes and takes %d", e.dirSize, pos-at)
	}
	return nil
}

// records reads directory records from at on.
func (d *reader) records(at, base int64) (pos, found int64, err error) {
	for pos = at; ; found++ {
		rec, err := d.peek(pos, centralSize)
		if err != nil || string(rec[:4]) != "PK\x01\x02" {
			return pos, found, nil
		}
		if err := d.entry(); err != nil {
			return pos, found, err
		}
		n, err := d.member(rec, pos, base)
		if err != nil {
			return pos, found, err
		}
		pos += n
	}
}

// member reads one directory record and returns its length.
func (d *reader) member(rec []byte, pos, base int64) (int64, error) {
	nameLen, extraLen, commentLen := int64(le.Uint16(rec[28:])), int64(le.Uint16(rec[30:])), int64(le.Uint16(rec[32:]))
	total := centralSize + nameLen + extraLen + commentLen
	if d.names += nameLen; d.names > MaxNames {
		return 0, fmt.Errorf("offset %d: names of more than %d bytes: %w", pos, MaxNames, ErrLimit)
	}
	if d.seen[place{pos, base}] {
		return total, nil // reached from a second end record
	}
	buf, err := d.peek(pos+centralSize, nameLen+extraLen)
	if err != nil {
		return 0, malformed(pos, "directory record is cut")
	}
	m := Member{
		Name:     string(buf[:nameLen]),
		Flags:    le.Uint16(rec[8:]),
		Method:   le.Uint16(rec[10:]),
		CRC:      le.Uint32(rec[16:]),
		Packed:   int64(le.Uint32(rec[20:])),
		Size:     int64(le.Uint32(rec[24:])),
		EntryAt:  pos,
		HeaderAt: int64(le.Uint32(rec[42:])),
		DataAt:   -1,
	}
	switch rec[5] {
	case 3, 5, 16, 19, 30: // Unix, and what unzip takes for it: Atari, BeOS, macOS, AtheOS
		m.Mode = unixMode(le.Uint32(rec[38:]) >> 16)
	}
	extra := buf[nameLen:]
	if err := wide(extra, &m.Size, &m.Packed, &m.HeaderAt); err != nil {
		return 0, malformed(pos, "%v", err)
	}
	if m.HeaderAt += base; m.HeaderAt < 0 {
		return 0, malformed(pos, "member before the start of the file")
	}
	if name, ok := unicodePath(extra, buf[:nameLen]); ok && name != m.Name {
		d.problem(NameMismatch, pos, total, m.Name, "its Unicode path field says %q", clip(name))
	}
	d.seen[place{pos, base}] = true
	d.dir.Members = append(d.dir.Members, m)
	return total, nil
}

// clip shortens a name for a message.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

// wide replaces 32-bit fields that are all ones by those of the zip64 extra
// field, in its fixed order.
func wide(extra []byte, fields ...*int64) error {
	body := extraField(extra, 1)
	for _, f := range fields {
		if *f != 1<<32-1 {
			continue
		}
		if len(body) < 8 {
			return nil // really that large, or a liar: bounds decide
		}
		v := le.Uint64(body)
		if v > 1<<62 {
			return errors.New("zip64 field beyond all files")
		}
		*f, body = int64(v), body[8:]
	}
	return nil
}

func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		n := int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return nil
		}
		if le.Uint16(extra) == id {
			return extra[4 : 4+n]
		}
		extra = extra[4+n:]
	}
	return nil
}

// unicodePath is the Info-ZIP field 0x7075, valid when its checksum is that of
// the plain name.
func unicodePath(extra, plain []byte) (string, bool) {
	f := extraField(extra, 0x7075)
	if len(f) < 5 || f[0] != 1 || le.Uint32(f[1:]) != crc32.ChecksumIEEE(plain) {
		return "", false
	}
	return string(f[5:]), true
}

func unixMode(m uint32) fs.FileMode {
	switch m & 0o170000 {
	case 0o120000:
		return fs.ModeSymlink
	case 0o040000:
		return fs.ModeDir
	case 0o060000, 0o020000:
		return fs.ModeDevice
	case 0o010000:
		return fs.ModeNamedPipe
	case 0o140000:
		return fs.ModeSocket
	}
	return 0
}
