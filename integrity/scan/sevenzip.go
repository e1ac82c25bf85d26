package scan

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"

	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/deflate64"
	"github.com/prerun/prerun/integrity/scan/internal/filter"
	"github.com/prerun/prerun/integrity/scan/internal/sevenzip"
	"github.com/prerun/prerun/integrity/scan/internal/tardir"
	"github.com/prerun/prerun/integrity/scan/internal/xz"
)

// sevenzipFormat reads 7z archives. Files of one folder share a compressed
// stream, which is decoded once. Encrypted content, PPMd and the
// filters for other machines than x86 are gaps.
type sevenzipFormat struct{}

var (
	ruleSevenzipCRC = prerun.Rule{
		ID: "scan.sevenzip.wrong-checksum", Title: "wrong checksum", Severity: prerun.Medium,
		Help: "A member's content, or the directory of the archive, does not have the checksum that the archive states. Strict readers, some scanners among them, stop there; lenient loaders use it. It was scanned as it decodes. Get the file again from its origin.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleSevenzipTrailing = prerun.Rule{
		ID: "scan.sevenzip.unused-data", Title: "bytes that the archive does not use", Severity: prerun.Low,
		Help: "Bytes of the file belong to no member and to no header. Readers ignore them; they were searched for executables and hidden content. Pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
)

func (sevenzipFormat) Info() Info {
	return Info{
		ID: "7z", Extensions: []string{".7z"},
		Rules: slices.Concat(archiveRules, []prerun.Rule{ruleSevenzipCRC, ruleSevenzipTrailing}),
	}
}

func (sevenzipFormat) Match(p Probe) Match {
	if p.Starts(sevenzip.Magic) {
		return Certain
	}
	return No
}

// maxSevenzipHeader bounds the header of an archive, packed and decoded: some
// hundred thousand members.
const maxSevenzipHeader = 8 << 20

func (sevenzipFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	start, err := sevenzip.ReadStart(a, a.Size)
	if err != nil {
		return err
	}
	z := sevenzipScan{a: a, out: out, start: start, names: names{out: out}}
	used := []span{{0, 32}, {start.At, start.At + start.Size}}
	if start.Size > 0 {
		if z.h, err = z.header(&used); err != nil {
			return err
		}
	} else {
		z.h = &sevenzip.Header{}
	}
	for _, f := range z.h.Folders {
		used = append(used, span{f.At, f.At + f.Packed})
	}
	for _, s := range used {
		out.Claim(s.off, s.end-s.off)
	}
	z.unused(used)
	return z.members(ctx)
}

// A sevenzipScan is the reading of one archive.
type sevenzipScan struct {
	a     *Artifact
	out   *Sink
	start sevenzip.Start
	names names
	h     *sevenzip.Header
	tree  *Tree
}

// header reads the header, which may be packed like any folder.
func (z *sevenzipScan) header(used *[]span) (*sevenzip.Header, error) {
	if z.start.Size > maxSevenzipHeader {
		return nil, fmt.Errorf("a header of %d bytes; %d are read: %w", z.start.Size, maxSevenzipHeader, errUnsupported)
	}
	data, err := z.a.Bytes(z.start.At, z.start.Size)
	if err != nil {
		return nil, err
	}
	z.sum("the header", crc32.ChecksumIEEE(data), z.start.CRC, z.start.At)
	for range 4 { // the usual program packs it once
		h, err := sevenzip.Parse(data, z.start.At, func(n int64) error { return z.a.Spend(Entries, n) })
		if err != nil || !h.Packed {
			return h, err
		}
		if len(h.Folders) != 1 {
			return nil, fmt.Errorf("a packed header of %d folders: %w", len(h.Folders), sevenzip.ErrMalformed)
		}
		f := &h.Folders[0]
		*used = append(*used, span{f.At, f.At + f.Packed})
		if f.Size > maxSevenzipHeader {
			return nil, fmt.Errorf("a header of %d bytes; %d are read: %w", f.Size, maxSevenzipHeader, errUnsupported)
		}
		r, err := z.open(f)
		if err != nil {
			return nil, fmt.Errorf("the header: %w", err)
		}
		if err := z.a.Spend(Bytes, f.Size); err != nil {
			closeReader(r)
			return nil, err
		}
		data, err = io.ReadAll(io.LimitReader(r, f.Size))
		closeReader(r)
		if err != nil {
			return nil, fmt.Errorf("the header: %w", err)
		}
		if f.HasCRC {
			z.sum("the packed header", crc32.ChecksumIEEE(data), f.CRC, f.At)
		}
	}
	return nil, fmt.Errorf("a header that is packed again and again: %w", sevenzip.ErrMalformed)
}

func (z *sevenzipScan) sum(what string, got, stated uint32, off int64) {
	if got == stated {
		return
	}
	z.out.Finding(prerun.Finding{
		Rule:       ruleSevenzipCRC,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: off, Length: 1}},
		Message:    fmt.Sprintf("%s has checksum %08x, the archive states %08x", what, got, stated),
		Key:        what,
	})
}

func (z *sevenzipScan) unused(used []span) {
	for _, h := range holes(z.a.Size, []claimant{{claims: used}}) {
		z.out.Finding(prerun.Finding{
			Rule:       ruleSevenzipTrailing,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: h.off, Length: h.end - h.off}},
			Message:    fmt.Sprintf("%d bytes at offset %d belong to no part of the archive", h.end-h.off, h.off),
		})
	}
}

func (z *sevenzipScan) members(ctx context.Context) error {
	listed := make([]Entry, len(z.h.Files))
	for i, f := range z.h.Files {
		listed[i] = Entry{Name: f.Name, Size: f.Size, Mode: f.Mode}
		if !f.Mode.IsDir() || absolute(f.Name) || climbs(f.Name) {
			z.names.check(f.Name, z.start.At)
		}
		z.names.special(f.Name, f.Mode, z.start.At)
	}
	z.tree = NewTree(listed)
	for i := range z.h.Folders {
		if err := z.folder(ctx, &z.h.Folders[i]); err != nil {
			return err
		}
	}
	return nil
}

// folder decodes one folder and hands over its files.
func (z *sevenzipScan) folder(ctx context.Context, f *sevenzip.Folder) error {
	if len(f.Files) == 0 {
		return nil
	}
	sums := make([]uint32, len(f.Files))
	split := &splitter{sums: sums}
	for _, i := range f.Files {
		split.sizes = append(split.sizes, z.h.Files[i].Size)
	}
	x, err := z.a.expand(f.Packed, split, func() (io.Reader, error) {
		r, err := z.open(f)
		if err != nil {
			return nil, err
		}
		return windowed{io.LimitReader(r, f.Size), closerFunc(func() error { closeReader(r); return nil })}, nil
	})
	defer x.close()
	split.finish()
	if errors.Is(err, ErrBudget) {
		z.unread(f, err)
		return err
	}
	if errors.Is(err, errBomb) {
		z.names.report(ruleBomb, 0, z.h.Files[f.Files[0]].Name, f.At, "%d bytes decode to more than %d", f.Packed, x.size)
	}
	if x.size == 0 && err != nil {
		z.unread(f, err)
		return nil
	}
	for n, i := range f.Files {
		m := &z.h.Files[i]
		size := min(m.Size, max(x.size-m.Offset, 0))
		if m.HasCRC && size == m.Size && n < split.done {
			z.sum(fmt.Sprintf("member %q", excerpt(m.Name, 120)), sums[n], m.CRC, f.At)
		}
		if err := z.file(ctx, m, io.NewSectionReader(x, m.Offset, size), size); err != nil {
			return err
		}
		if size < m.Size {
			reason := fmt.Errorf("decoding ended early: %w", cmpErr(err, io.ErrUnexpectedEOF))
			z.out.unread(m.Name, m.Size, completenessOf(reason), reason.Error())
		}
	}
	return nil
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (z *sevenzipScan) file(ctx context.Context, m *sevenzip.File, r io.ReaderAt, size int64) error {
	if m.Mode&fs.ModeSymlink != 0 {
		target := make([]byte, min(size, ProbeSize))
		if _, err := r.ReadAt(target, 0); err != nil && !errors.Is(err, io.EOF) {
			z.out.unread(m.Name, m.Size, Failed, err.Error())
			return nil
		}
		z.names.link(m.Name, string(target), z.start.At, false)
	}
	return z.out.Child(ctx, Child{Name: m.Name, Reader: r, Size: size, Tree: z.tree})
}

// unread says of each file of a folder that it was not looked at.
func (z *sevenzipScan) unread(f *sevenzip.Folder, err error) {
	for _, i := range f.Files {
		z.out.unread(z.h.Files[i].Name, z.h.Files[i].Size, completenessOf(err), err.Error())
	}
}

// inMember reports whether a range of an artefact lies within what one member
// of a tar or 7z archive stores as it is. The member is scanned by itself, so
// an archive in it makes no polyglot of the outer one.
func inMember(a *Artifact, from, to int64) bool {
	inside := false
	within := func(off, size int64) bool { return size > 0 && off <= from && to <= off+size }
	switch {
	case tardir.IsTar(a.Head):
		_, err := tardir.Read(a, a.Size, func(m tardir.Member) error {
			inside = inside || m.Mode == 0 && !m.Hard && !m.Sparse && within(m.DataAt, m.Size)
			return nil
		})
		return inside && err == nil
	case a.Starts(sevenzip.Magic):
		start, err := sevenzip.ReadStart(a, a.Size)
		if err != nil || start.Size > maxSevenzipHeader {
			return false
		}
		z := sevenzipScan{a: a, out: &Sink{a: a}, start: start}
		h, err := z.header(&[]span{})
		if err != nil {
			return false
		}
		for _, f := range h.Folders {
			if len(f.Codecs) == 1 && f.Codecs[0].ID == sevenzip.Copy {
				for _, i := range f.Files {
					inside = inside || within(f.At+h.Files[i].Offset, h.Files[i].Size)
				}
			}
		}
	}
	return inside
}

// open chains the codecs of a folder.
func (z *sevenzipScan) open(f *sevenzip.Folder) (io.Reader, error) {
	if f.Branched {
		for _, c := range f.Codecs {
			if c.ID == sevenzip.AES {
				return nil, fmt.Errorf("it is encrypted: %w", errUnsupported)
			}
		}
		return nil, fmt.Errorf("codecs that branch: %w", errUnsupported)
	}
	var r io.Reader = z.a.Section(f.At, f.Packed)
	var open []io.Closer
	for _, c := range f.Codecs {
		next, err := sevenzipDecoder(z.a.run, c, r)
		if err != nil {
			closeAll(open)
			return nil, err
		}
		if c, ok := next.(io.Closer); ok {
			open = append(open, c)
		}
		r = next
	}
	return windowed{r, closerFunc(func() error { closeAll(open); return nil })}, nil
}

func closeAll(list []io.Closer) {
	for _, c := range slices.Backward(list) {
		c.Close()
	}
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// sevenzipDecoder is one step of a folder.
func sevenzipDecoder(run *run, c sevenzip.Codec, r io.Reader) (io.Reader, error) {
	switch c.ID {
	case sevenzip.Copy:
		return r, nil
	case sevenzip.LZMA:
		if len(c.Props) != 5 {
			return nil, fmt.Errorf("properties of LZMA: %w", sevenzip.ErrMalformed)
		}
		// The codec has the first five bytes of the old format's header.
		head := slices.Concat(c.Props, make([]byte, 8))
		binary.LittleEndian.PutUint64(head[5:], uint64(c.Size))
		if dict := int64(binary.LittleEndian.Uint32(head[1:])); c.Size < dict {
			binary.LittleEndian.PutUint32(head[1:], uint32(max(c.Size, lzma.MinDictCap))) // it cannot use more
		}
		z, _, err := openLZMA(run, newCountReader(io.MultiReader(bytes.NewReader(head), r), maxCounted))
		return z, err
	case sevenzip.LZMA2:
		if len(c.Props) != 1 {
			return nil, fmt.Errorf("properties of LZMA2: %w", sevenzip.ErrMalformed)
		}
		dict, err := lzma.DecodeDictCap(c.Props[0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, sevenzip.ErrMalformed)
		}
		src := newCountReader(r, maxCounted)
		dict = xz.Window(src, max(dict, lzma.MinDictCap))
		w := &window{run: run}
		if err := w.grant(dict); err != nil {
			return nil, err
		}
		z, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(src)
		if err != nil {
			w.Close()
			return nil, err
		}
		return windowed{z, w}, nil
	case sevenzip.Deflate:
		return flate.NewReader(r), nil
	case sevenzip.Deflate64:
		return deflate64.NewReader(r), nil
	case sevenzip.X86, sevenzip.X86Old:
		return filter.NewX86(r), nil
	case sevenzip.Delta:
		if len(c.Props) != 1 {
			return nil, fmt.Errorf("properties of the delta filter: %w", sevenzip.ErrMalformed)
		}
		return filter.NewDelta(r, int(c.Props[0])+1), nil
	case sevenzip.BZip2:
		return bzip2.NewReader(r), nil
	case sevenzip.Zstd:
		return newZstd(r)
	case sevenzip.LZ4:
		z, _, err := openLZ4(run, newCountReader(r, maxCounted))
		return z, err
	case sevenzip.AES:
		return nil, fmt.Errorf("it is encrypted: %w", errUnsupported)
	}
	return nil, fmt.Errorf("codec %#x: %w", c.ID, errUnsupported)
}

// A splitter sums up consecutive pieces of what is written to it.
type splitter struct {
	sizes []int64
	sums  []uint32
	done  int // pieces that are whole
	cur   hash.Hash32
	n     int64
}

func (s *splitter) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 && s.done < len(s.sizes) {
		if s.cur == nil {
			s.cur, s.n = crc32.NewIEEE(), s.sizes[s.done]
		}
		m := min(int64(len(p)), s.n)
		s.cur.Write(p[:m])
		p = p[m:]
		if s.n -= m; s.n == 0 {
			s.sums[s.done] = s.cur.Sum32()
			s.done++
			s.cur = nil
		}
	}
	return all, nil
}

// finish counts empty pieces at the end.
func (s *splitter) finish() {
	for s.cur == nil && s.done < len(s.sizes) && s.sizes[s.done] == 0 {
		s.done++
	}
}
