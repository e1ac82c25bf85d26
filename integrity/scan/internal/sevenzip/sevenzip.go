// Package sevenzip reads the structure of 7z archives: the start header, and
// the header with its streams, folders (chains of codecs) and files. It decodes
// nothing; a packed header is described, decoded by the caller and parsed again.
//
// A count in the header is believed only as far as the header has bytes to back
// it, so that memory is bounded by some 200 bytes for each byte of the header,
// and by what the caller allows through its entry callback.
package sevenzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"unicode/utf16"
)

// Magic starts every archive.
const Magic = "7z\xbc\xaf\x27\x1c"

// startSize is the length of the start header, from whose end offsets count.
const startSize = 32

// ErrMalformed is wrapped for structures that break the format.
var ErrMalformed = errors.New("malformed 7z archive")

// Codecs, by the numbers of the format.
const (
	Copy      = 0x00
	LZMA2     = 0x21
	LZMA      = 0x030101
	Deflate   = 0x040108
	Deflate64 = 0x040109
	Delta     = 0x03
	X86       = 0x03030103
	X86Old    = 0x04 // in older archives
	BZip2     = 0x040202
	Zstd      = 0x04f71101
	LZ4       = 0x04f71104
	AES       = 0x06f10701
)

// A Start is the header at the front: where the other one lies.
type Start struct {
	At, Size int64 // Size is 0 for an archive of nothing
	CRC      uint32
}

// A Codec is one step of a folder.
type Codec struct {
	ID    uint64
	Props []byte
	Size  int64 // decoded
}

// A Folder is a run of packed bytes with the codecs that decode it.
type Folder struct {
	At, Packed int64
	Codecs     []Codec // innermost first: the first reads the packed bytes
	Size       int64   // decoded
	CRC        uint32
	HasCRC     bool
	Branched   bool // its codecs form no chain; Codecs are in file order
	Files      []int
}

// A File is one member.
type File struct {
	Name   string
	Mode   fs.FileMode // type bits
	Folder int         // -1 without content
	Offset int64       // in the decoded folder
	Size   int64
	CRC    uint32
	HasCRC bool
	Anti   bool // says that a file of that name is to be deleted
}

// A Header is what an archive holds. Of a packed header only Folders are set.
type Header struct {
	Packed  bool
	Folders []Folder
	Files   []File
	Comment int64 // bytes of archive properties, which no program writes
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrMalformed)
}

// ReadStart reads the start header and checks that it leads into the archive.
func ReadStart(r io.ReaderAt, size int64) (Start, error) {
	var h [startSize]byte
	if size < startSize {
		return Start{}, io.ErrUnexpectedEOF
	}
	if _, err := r.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return Start{}, err
	}
	le := binary.LittleEndian
	if string(h[:6]) != Magic || crc32.ChecksumIEEE(h[12:]) != le.Uint32(h[8:]) {
		return Start{}, malformed("start header")
	}
	at, n := le.Uint64(h[12:]), le.Uint64(h[20:])
	rest := uint64(size - startSize)
	if at > rest || n > rest-at {
		return Start{}, fmt.Errorf("the header is at %d+%d of %d bytes: %w", at, n, rest, io.ErrUnexpectedEOF)
	}
	return Start{At: startSize + int64(at), Size: int64(n), CRC: le.Uint32(h[28:])}, nil
}

// Properties of the header, by the numbers of the format.
const (
	idEnd = iota
	idHeader
	idArchiveProperties
	idAdditionalStreams
	idMainStreams
	idFiles
	idPackInfo
	idUnpackInfo
	idSubStreams
	idSize
	idCRC
	idFolder
	idUnpackSize
	idUnpackStreams
	idEmptyStream
	idEmptyFile
	idAnti
	idNames
	idCreated
	idAccessed
	idModified
	idAttributes
	idComment
	idPackedHeader
)

// Parse reads a header. limit is the end of the packed data, the offset of the
// header in the archive. entries is called with the number of files before
// they are kept.
func Parse(header []byte, limit int64, entries func(n int64) error) (*Header, error) {
	p := &parser{b: header, limit: limit}
	h := &Header{}
	switch id := p.number(); id {
	case idPackedHeader:
		h.Packed = true
		h.Folders, _ = p.streams()
		return h, p.err
	case idHeader:
	default:
		p.fail("it starts with property %d", id)
	}
	var parts []part
	for p.err == nil {
		switch id := p.number(); id {
		case idEnd:
			return h, p.err
		case idArchiveProperties:
			h.Comment += p.archiveProperties()
		case idAdditionalStreams:
			p.streams()
		case idMainStreams:
			h.Folders, parts = p.streams()
		case idFiles:
			p.files(h, parts, entries)
		default:
			p.fail("property %d of the header", id)
		}
	}
	return h, p.err
}

// A part is a piece of a decoded folder: a file.
type part struct {
	folder       int
	offset, size int64
	crc          uint32
	hasCRC       bool
}

// A parser reads a header and stops at the first fault.
type parser struct {
	b     []byte
	limit int64
	err   error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = malformed(format, args...)
	}
}

func (p *parser) bytes(n int64) []byte {
	if n < 0 || n > int64(len(p.b)) {
		p.fail("%d bytes of %d", n, len(p.b))
		p.b = nil
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) byte() byte {
	if b := p.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.bytes(4); len(b) == 4 {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// number reads an integer whose first byte tells how many follow.
func (p *parser) number() uint64 {
	first := p.byte()
	v, mask := uint64(0), byte(0x80)
	for i := range 8 {
		if first&mask == 0 {
			return v | uint64(first&(mask-1))<<(8*i)
		}
		v |= uint64(p.byte()) << (8 * i)
		mask >>= 1
	}
	return v
}

// size reads a number that is a length or an offset.
func (p *parser) size() int64 {
	v := p.number()
	if v > 1<<62 {
		p.fail("size %d", v)
		return 0
	}
	return int64(v)
}

// count reads a number of things, each of which takes at least a bit of the
// rest of the header or was counted before.
func (p *parser) count() int {
	v := p.number()
	if v > uint64(len(p.b)) {
		p.fail("a count of %d with %d bytes left", v, len(p.b))
		return 0
	}
	return int(v)
}

func (p *parser) expect(id uint64, what string) {
	if got := p.number(); got != id {
		p.fail("property %d where %s is due", got, what)
	}
}

// bits reads a vector of n bits.
func (p *parser) bits(n int) []bool {
	b := p.bytes(int64(n+7) / 8)
	out := make([]bool, 0, min(n, 8*len(b)))
	for i := range cap(out) {
		out = append(out, b[i/8]&(0x80>>(i%8)) != 0)
	}
	return out
}

// digests reads checksums of n things, of which some may have none.
func (p *parser) digests(n int) (sums []uint32, has []bool) {
	if p.byte() != 0 {
		if n > len(p.b)/4 {
			p.fail("%d checksums with %d bytes left", n, len(p.b))
			return nil, nil
		}
		has = make([]bool, n)
		for i := range has {
			has[i] = true
		}
	} else {
		has = p.bits(n)
	}
	if p.err != nil {
		return nil, nil
	}
	sums = make([]uint32, n)
	for i := range sums {
		if has[i] {
			sums[i] = p.uint32()
		}
	}
	return sums, has
}

func (p *parser) archiveProperties() (n int64) {
	for p.err == nil {
		if p.number() == idEnd {
			break
		}
		size := p.size()
		p.bytes(size)
		n += size
	}
	return n
}

// streams reads where packed data lies and how it is decoded into parts.
func (p *parser) streams() ([]Folder, []part) {
	var packed []span
	var folders []Folder
	var parts []part
	split := false
	for p.err == nil {
		switch id := p.number(); id {
		case idEnd:
			p.place(folders, packed)
			if !split {
				parts = whole(folders)
			}
			return folders, parts
		case idPackInfo:
			packed = p.packInfo()
		case idUnpackInfo:
			folders = p.unpackInfo()
		case idSubStreams:
			parts, split = p.subStreams(folders), true
		default:
			p.fail("property %d of the streams", id)
		}
	}
	return folders, parts
}

type span struct{ at, size int64 }

func (p *parser) packInfo() []span {
	at := p.size()
	n := p.count()
	out := make([]span, n)
	for p.err == nil {
		switch id := p.number(); id {
		case idEnd:
			at += startSize
			for i := range out {
				if at < 0 || out[i].size > p.limit-at {
					p.fail("packed data at %d+%d of %d bytes", at, out[i].size, p.limit)
					break
				}
				out[i].at = at
				at += out[i].size
			}
			return out
		case idSize:
			for i := range out {
				out[i].size = p.size()
			}
		case idCRC:
			p.digests(n)
		default:
			p.fail("property %d of packed data", id)
		}
	}
	return nil
}

func (p *parser) unpackInfo() []Folder {
	p.expect(idFolder, "a folder")
	n := p.count()
	if p.byte() != 0 {
		p.fail("folders in an additional stream")
	}
	out := make([]Folder, n)
	order := make([]folderShape, n)
	for i := range out {
		out[i], order[i] = p.folder()
		if p.err != nil {
			return nil
		}
	}
	p.expect(idUnpackSize, "decoded sizes")
	for i := range out {
		sizes := make([]int64, order[i].outs)
		for j := range sizes {
			sizes[j] = p.size()
		}
		order[i].apply(&out[i], sizes)
	}
	for p.err == nil {
		switch id := p.number(); id {
		case idEnd:
			return out
		case idCRC:
			sums, has := p.digests(n)
			for i := range sums {
				out[i].CRC, out[i].HasCRC = sums[i], has[i]
			}
		default:
			p.fail("property %d of folders", id)
		}
	}
	return nil
}

// maxCodecs is the most codecs of one folder that the format's own program
// reads.
const maxCodecs = 32

// A folderShape is how the codecs of a folder are connected.
type folderShape struct {
	outs, packed int
	chain        []int // codecs, the one that reads the packed bytes first
	main         int   // the codec that yields the content
}

func (p *parser) folder() (Folder, folderShape) {
	var f Folder
	var s folderShape
	n := p.count()
	if n == 0 || n > maxCodecs {
		p.fail("a folder of %d codecs", n)
		return f, s
	}
	ins, simple := 0, true
	for range n {
		flags := p.byte()
		var c Codec
		for _, b := range p.bytes(int64(flags & 15)) {
			c.ID = c.ID<<8 | uint64(b)
		}
		in, out := 1, 1
		if flags&0x10 != 0 {
			in, out = p.count(), p.count()
		}
		if flags&0x20 != 0 {
			c.Props = p.bytes(p.size())
		}
		if flags&0xc0 != 0 || in < 1 || in > maxCodecs || out < 1 || out > maxCodecs {
			p.fail("a codec with flags %#x, %d inputs and %d outputs", flags, in, out)
			return f, s
		}
		simple = simple && in == 1 && out == 1
		ins += in
		s.outs += out
		f.Codecs = append(f.Codecs, c)
	}
	bonds := s.outs - 1
	from := make(map[int]int) // input to the output that feeds it
	fed := make(map[int]bool)
	for range bonds {
		in, out := p.count(), p.count()
		_, twice := from[in]
		if in >= ins || out >= s.outs || twice || fed[out] {
			p.fail("a connection of input %d to output %d", in, out)
			return f, s
		}
		from[in], fed[out] = out, true
	}
	if s.packed = ins - bonds; s.packed < 1 {
		p.fail("a folder without packed data")
		return f, s
	}
	if s.packed > 1 {
		for range s.packed {
			p.count()
		}
	}
	for s.main < s.outs && fed[s.main] {
		s.main++
	}
	if !simple {
		f.Branched = true
		return f, s
	}
	// From the content back to the packed bytes.
	for at, steps := s.main, 0; ; steps++ {
		s.chain = append(s.chain, at)
		next, ok := from[at]
		if !ok {
			break
		}
		if steps == n {
			p.fail("codecs that feed one another")
			return f, s
		}
		at = next
	}
	if len(s.chain) != n {
		f.Branched = true
	}
	return f, s
}

// apply puts the codecs in order and gives them their sizes.
func (s folderShape) apply(f *Folder, sizes []int64) {
	if s.main < len(sizes) {
		f.Size = sizes[s.main]
	}
	f.Packed = int64(s.packed) // until place
	if f.Branched {
		return
	}
	ordered := make([]Codec, 0, len(s.chain))
	for i := len(s.chain) - 1; i >= 0; i-- {
		c := f.Codecs[s.chain[i]]
		c.Size = sizes[s.chain[i]]
		ordered = append(ordered, c)
	}
	f.Codecs = ordered
}

// place gives each folder its packed data.
func (p *parser) place(folders []Folder, packed []span) {
	for i := range folders {
		n := int(folders[i].Packed)
		if n > len(packed) {
			p.fail("more folders than packed data")
			return
		}
		if n > 0 {
			folders[i].At, folders[i].Packed = packed[0].at, packed[n-1].at+packed[n-1].size-packed[0].at
		}
		packed = packed[n:]
	}
}

func whole(folders []Folder) []part {
	out := make([]part, len(folders))
	for i, f := range folders {
		out[i] = part{folder: i, size: f.Size, crc: f.CRC, hasCRC: f.HasCRC}
	}
	return out
}

func (p *parser) subStreams(folders []Folder) []part {
	counts := make([]int, len(folders))
	total := len(folders)
	for i := range counts {
		counts[i] = 1
	}
	id := p.number()
	if id == idUnpackStreams {
		total = 0
		for i := range counts {
			counts[i] = p.count()
			if total += counts[i]; total > len(p.b)+len(folders) {
				p.fail("%d files with %d bytes left", total, len(p.b))
				return nil
			}
		}
		id = p.number()
	}
	parts := make([]part, 0, total)
	for i, n := range counts {
		off := int64(0)
		for j := range n {
			size := folders[i].Size - off
			if j < n-1 {
				if id != idSize {
					p.fail("files of a folder without sizes")
					return nil
				}
				size = p.size()
			}
			if size < 0 || size > folders[i].Size-off {
				p.fail("files of a folder are larger than the folder")
				return nil
			}
			parts = append(parts, part{folder: i, offset: off, size: size})
			off += size
		}
		if n == 1 && folders[i].HasCRC {
			parts[len(parts)-1].crc, parts[len(parts)-1].hasCRC = folders[i].CRC, true
		}
	}
	if id == idSize {
		id = p.number()
	}
	for ; p.err == nil && id != idEnd; id = p.number() {
		if id != idCRC {
			p.fail("property %d of files in folders", id)
			return nil
		}
		var open []int
		for i := range parts {
			if !parts[i].hasCRC {
				open = append(open, i)
			}
		}
		sums, has := p.digests(len(open))
		for i := range sums {
			parts[open[i]].crc, parts[open[i]].hasCRC = sums[i], has[i]
		}
	}
	return parts
}

// files reads the names and properties of members and deals them their parts.
func (p *parser) files(h *Header, parts []part, entries func(n int64) error) {
	n := p.count()
	if p.err == nil {
		p.err = entries(int64(n))
	}
	if p.err != nil {
		return
	}
	files := make([]File, n)
	var empty, emptyFile, anti []bool
	empties := 0
	for p.err == nil {
		id := p.number()
		if id == idEnd {
			break
		}
		size := p.size()
		q := &parser{b: p.bytes(size), limit: p.limit}
		switch id {
		case idEmptyStream:
			empty = q.bits(n)
			empties = 0
			for _, e := range empty {
				if e {
					empties++
				}
			}
		case idEmptyFile:
			emptyFile = q.bits(empties)
		case idAnti:
			anti = q.bits(empties)
		case idNames:
			q.names(files)
		case idAttributes:
			q.attributes(files)
		}
		if p.err == nil {
			p.err = q.err
		}
	}
	e := 0
	for i := range files {
		f := &files[i]
		f.Folder = -1
		if i < len(empty) && empty[i] {
			if e >= len(emptyFile) || !emptyFile[e] {
				f.Mode |= fs.ModeDir
			}
			f.Anti = e < len(anti) && anti[e]
			e++
			continue
		}
		if len(parts) == 0 {
			p.fail("more files than content")
			return
		}
		x := parts[0]
		parts = parts[1:]
		f.Folder, f.Offset, f.Size, f.CRC, f.HasCRC = x.folder, x.offset, x.size, x.crc, x.hasCRC
		h.Folders[x.folder].Files = append(h.Folders[x.folder].Files, i)
	}
	if len(parts) > 0 {
		p.fail("content that belongs to no file")
	}
	h.Files = files
}

func (p *parser) names(files []File) {
	if p.byte() != 0 {
		p.fail("names in an additional stream")
		return
	}
	for i := range files {
		var units []uint16
		for {
			b := p.bytes(2)
			if len(b) < 2 {
				return
			}
			u := binary.LittleEndian.Uint16(b)
			if u == 0 {
				break
			}
			units = append(units, u)
		}
		files[i].Name = string(utf16.Decode(units))
	}
}

func (p *parser) attributes(files []File) {
	has := make([]bool, 0)
	if p.byte() == 0 {
		has = p.bits(len(files))
	} else {
		for range files {
			has = append(has, true)
		}
	}
	if p.byte() != 0 {
		p.fail("attributes in an additional stream")
		return
	}
	for i := range has {
		if !has[i] {
			continue
		}
		a := p.uint32()
		if a&0x10 != 0 {
			files[i].Mode |= fs.ModeDir
		}
		if a&0x8000 == 0 {
			if a&0x400 != 0 {
				files[i].Mode |= fs.ModeSymlink // a reparse point of Windows
			}
			continue
		}
		switch a >> 16 & 0o170000 { // of Unix
		case 0o120000:
			files[i].Mode |= fs.ModeSymlink
		case 0o040000:
			files[i].Mode |= fs.ModeDir
		case 0o010000:
			files[i].Mode |= fs.ModeNamedPipe
		case 0o140000:
			files[i].Mode |= fs.ModeSocket
		case 0o020000, 0o060000:
			files[i].Mode |= fs.ModeDevice
		}
	}
}
