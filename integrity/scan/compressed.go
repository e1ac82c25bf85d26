package scan

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/xz"
)

// A compressedFormat is a file that is one compressed stream, as joblib and
// tar write it. The decoded content is handed to the engine under the file's
// name without the ending.
type compressedFormat struct {
	id    string
	exts  []string
	match func(Probe) Match

	// open decodes from the start of r; used tells after the end of the stream
	// how much of r belonged to it, -1 when that is not known.
	open func(run *run, r *countReader) (stream io.Reader, used func() int64, err error)
}

var ruleCompressedTrailing = prerun.Rule{
	ID: "scan.compressed.trailing-data", Title: "data after a compressed stream", Severity: prerun.Low,
	Help: "Bytes follow the end of the compressed stream. Decoders ignore them or fail; they were searched for executables and hidden content. Compress the content again.",
	Refs: []prerun.Reference{refAmbiguous},
}

func (f compressedFormat) Info() Info {
	return Info{ID: f.id, Extensions: f.exts, Rules: []prerun.Rule{ruleBomb, ruleCompressedTrailing}}
}

func (f compressedFormat) Match(p Probe) Match { return f.match(p) }

func (f compressedFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	used := func() int64 { return -1 }
	x, err := a.expand(a.Size, nil, func() (io.Reader, error) {
		stream, u, err := f.open(a.run, newCountReader(a.Section(0, a.Size), a.Size))
		if u != nil {
			used = u
		}
		return stream, err
	})
	defer x.close()
	inPlace := tensorPlace(a.Probe)
	if err != nil && !errors.Is(err, ErrBudget) && (inPlace || x.size == 0 && !errors.Is(err, errUnsupported)) {
		return fmt.Errorf("%s: %w: %w", f.id, err, ErrNotFormat)
	}
	if errors.Is(err, ErrBudget) {
		return err
	}
	end := used()
	if err != nil || end < 0 || end > a.Size {
		end = a.Size
	}
	out.Claim(0, end)
	if errors.Is(err, errBomb) {
		out.Finding(prerun.Finding{
			Rule:       ruleBomb,
			Confidence: prerun.ConfidenceHigh,
			Message:    fmt.Sprintf("%d bytes decode to more than %d", a.Size, x.size),
		})
	}
	if end < a.Size {
		out.Finding(prerun.Finding{
			Rule:       ruleCompressedTrailing,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: end, Length: a.Size - end}},
			Message:    fmt.Sprintf("%d bytes follow the %s stream", a.Size-end, f.id),
		})
	}
	if cerr := out.Child(ctx, Child{Name: f.innerName(a), Reader: x, Size: x.size}); cerr != nil {
		return cerr
	}
	return err
}

// innerName is the name without the ending, or a fixed one.
func (f compressedFormat) innerName(a *Artifact) string {
	base := a.Base()
	ext := path.Ext(base)
	switch stem := strings.TrimSuffix(base, ext); {
	case strings.EqualFold(ext, ".tgz"), strings.EqualFold(ext, ".txz"):
		return stem + ".tar"
	case stem != "" && stem != base && slices.Contains(f.exts, strings.ToLower(ext)):
		return stem
	}
	return "content"
}

// A countReader counts what a decoder that reads byte by byte has consumed.
type countReader struct {
	r *bufio.Reader
	n int64
}

// maxCounted is the most that a countReader holds.
const maxCounted = 64 << 10

// newCountReader counts in what has about size bytes.
func newCountReader(r io.Reader, size int64) *countReader {
	return &countReader{r: bufio.NewReaderSize(r, int(min(max(size, 0), maxCounted)))}
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func magic(m Match, prefixes ...string) func(Probe) Match {
	return func(p Probe) Match {
		if slices.ContainsFunc(prefixes, p.Starts) {
			return m
		}
		return No
	}
}

// compressedFormats lists what is decoded.
func compressedFormats() []Format {
	return []Format{
		compressedFormat{"gzip", []string{".gz", ".tgz", ".joblib"}, magic(Maybe, gzipMagic), openGzip},
		compressedFormat{"zlib", []string{".z"}, matchZlib, openZlib},
		compressedFormat{"zfile", []string{".z"}, matchZfile, openZfile},
		compressedFormat{"bzip2", []string{".bz2"}, magic(Maybe, "BZh"), openBzip2},
		compressedFormat{"zstd", []string{".zst"}, magic(Maybe, "\x28\xb5\x2f\xfd"), openZstd},
		compressedFormat{"xz", []string{".xz", ".txz"}, magic(Maybe, xz.Magic), openXZ},
		compressedFormat{"lzma", []string{".lzma"}, matchLZMA, openLZMA},
		compressedFormat{"lz4", []string{".lz4"}, matchLZ4, openLZ4},
	}
}

func openGzip(_ *run, r *countReader) (io.Reader, func() int64, error) {
	m := &members{r: r, end: -1}
	return m, func() int64 { return m.end }, m.header()
}

// members reads the concatenated members of a gzip file, skips zeros between them
// as Python does, and stops, unlike the standard library, without an error where
// something else follows. The standard library also refuses long names.
type members struct {
	r    *countReader
	z    io.Reader // of the member that is open
	sum  hash.Hash32
	size uint32
	end  int64 // behind the last whole member
}

// header skips the header of a member.
func (m *members) header() error {
	var h [10]byte
	if _, err := io.ReadFull(m.r, h[:]); err != nil {
		return unexpectedEOF(err)
	}
	if string(h[:3]) != gzipMagic {
		return gzip.ErrHeader
	}
	if h[3]&4 != 0 {
		var n [2]byte
		if _, err := io.ReadFull(m.r, n[:]); err != nil {
			return unexpectedEOF(err)
		}
		if _, err := io.CopyN(io.Discard, m.r, int64(binary.LittleEndian.Uint16(n[:]))); err != nil {
			return unexpectedEOF(err)
		}
	}
	for _, flag := range []byte{8, 16} { // name, comment
		for h[3]&flag != 0 {
			c, err := m.r.ReadByte()
			if err != nil {
				return unexpectedEOF(err)
			}
			if c == 0 {
				break
			}
		}
	}
	if h[3]&2 != 0 { // checksum of the header, which loaders do not look at
		if _, err := io.CopyN(io.Discard, m.r, 2); err != nil {
			return unexpectedEOF(err)
		}
	}
	m.sum, m.size = crc32.NewIEEE(), 0
	if z, ok := m.z.(flate.Resetter); ok {
		return z.Reset(m.r, nil)
	}
	m.z = flate.NewReader(m.r)
	return nil
}

const gzipMagic = "\x1f\x8b\x08"

func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		m.sum.Write(p[:n])
		m.size += uint32(n)
		if n > 0 || !errors.Is(err, io.EOF) {
			if n > 0 && errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		var tail [8]byte
		if _, err := io.ReadFull(m.r, tail[:]); err != nil {
			return 0, unexpectedEOF(err)
		}
		if binary.LittleEndian.Uint32(tail[:]) != m.sum.Sum32() || binary.LittleEndian.Uint32(tail[4:]) != m.size {
			return 0, gzip.ErrChecksum
		}
		m.end = m.r.n
		for {
			if head, _ := m.r.Peek(1); len(head) == 0 || head[0] != 0 {
				break
			}
			if _, err := m.r.ReadByte(); err != nil {
				return 0, err
			}
		}
		if head, _ := m.r.Peek(3); string(head) != gzipMagic {
			return 0, io.EOF
		}
		if err := m.header(); err != nil {
			return 0, err
		}
	}
}

// zfileHeader is the length of what joblib wrote before zlib streams until 2015:
// a mark and the decoded size in hexadecimal digits.
const zfileHeader = 2 + 19

func matchZfile(p Probe) Match {
	if len(p.Head) < zfileHeader+2 || !p.Starts("ZF") {
		return No
	}
	if strings.Trim(string(p.Head[2:zfileHeader]), "0123456789abcdefABCDEFxX_+ \t\n\r\v\f") != "" {
		return No
	}
	return Maybe
}

// openZfile decodes such a file; Python 2 wrote a space more.
func openZfile(run *run, r *countReader) (io.Reader, func() int64, error) {
	if _, err := io.CopyN(io.Discard, r, zfileHeader); err != nil {
		return nil, nil, unexpectedEOF(err)
	}
	if next, _ := r.Peek(1); len(next) == 1 && next[0] == ' ' {
		if _, err := r.ReadByte(); err != nil {
			return nil, nil, err
		}
	}
	return openZlib(run, r)
}

func matchZlib(p Probe) Match {
	if len(p.Head) < 8 || p.Head[0] != 0x78 || binary.BigEndian.Uint16(p.Head)%31 != 0 || p.Head[1]&0x20 != 0 {
		return No
	}
	return Maybe
}

func openZlib(_ *run, r *countReader) (io.Reader, func() int64, error) {
	z, err := zlib.NewReader(r)
	return z, func() int64 { return r.n }, err
}

func openBzip2(_ *run, r *countReader) (io.Reader, func() int64, error) {
	return bzip2.NewReader(r), nil, nil
}

func openZstd(_ *run, r *countReader) (io.Reader, func() int64, error) {
	z, err := newZstd(r)
	return z, nil, err
}

// opaqueFormat recognises containers that are not decoded: their content is a
// gap.
type opaqueFormat struct{}

// opaque names the container that a file starts like, or "".
func opaque(head []byte) string {
	for _, m := range []struct{ magic, kind string }{
		{"Rar!\x1a\x07", "rar"},
		{"MSCF\x00\x00\x00\x00", "cab"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	return ""
}

func (opaqueFormat) Info() Info {
	return Info{ID: "opaque-container", Extensions: []string{".rar", ".cab"}}
}

func (opaqueFormat) Match(p Probe) Match {
	if opaque(p.Head) == "" {
		return No
	}
	return Maybe
}

func (opaqueFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	if tensorPlace(a.Probe) {
		return fmt.Errorf("tensor data: %w", ErrNotFormat)
	}
	kind := opaque(a.Head)
	out.Claim(0, a.Size)
	out.Fact("container", kind)
	out.Gap(kind+" content is not decoded", 0, 0)
	return nil
}
