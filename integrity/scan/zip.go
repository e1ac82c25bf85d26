package scan

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/deflate64"
	"github.com/prerun/prerun/integrity/scan/internal/zipdir"
)

// zipFormat reads zip archives, which torch, NumPy, Keras and others build
// upon. It trusts neither the central directory nor the local headers alone.
type zipFormat struct{}

var (
	ruleZipName = prerun.Rule{
		ID: "scan.zip.name-mismatch", Title: "member with two names", Severity: prerun.Medium,
		Help: "The name of a member differs between its local header, the central directory and its Unicode path field. Readers that use the one see another archive than readers that use the other; this has hidden pickles from scanners. Do not load the file; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous, cve("2025-1944")},
	}
	ruleZipHeader = prerun.Rule{
		ID: "scan.zip.header-mismatch", Title: "headers that disagree", Severity: prerun.Medium,
		Help: "Local header and central directory of a member differ in method, flags, size or checksum, or the local header is missing or cut. Readers disagree about its content. Do not load the file; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleZipHidden = prerun.Rule{
		ID: "scan.zip.hidden-member", Title: "member outside the directory", Severity: prerun.Medium,
		Help: "A member has a local header but no entry in the central directory. Readers that walk the archive from its start load it, others do not see it. It was scanned too. Do not load the file; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleZipDirectory = prerun.Rule{
		ID: "scan.zip.directory-mismatch", Title: "ambiguous directory", Severity: prerun.Medium,
		Help: "The archive's end record is missing, doubled, or misstates where the directory is and how many members it has. Readers disagree about what the archive holds. Do not load the file; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleZipPrefix = prerun.Rule{
		ID: "scan.zip.prefix-data", Title: "data before the archive", Severity: prerun.Medium,
		Help: "Bytes stand before the first member. A loader that looks at the start of the file reads them instead of the archive; pickles have been hidden from scanners this way. Remove it; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleZipTrailing = prerun.Rule{
		ID: "scan.zip.trailing-data", Title: "data after the archive", Severity: prerun.Low,
		Help: "Bytes follow the end record. Zip readers ignore them; they were searched for executables and hidden content. Pack the archive again if you cannot explain them.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleZipCRC = prerun.Rule{
		ID: "scan.zip.wrong-checksum", Title: "wrong checksum or size", Severity: prerun.Medium,
		Help: "A member's content does not have the checksum or size that the archive states. Strict readers, some scanners among them, stop there; lenient loaders use it. It was scanned as it decodes. Get the file again from its origin.",
		Refs: []prerun.Reference{refAmbiguous, cve("2025-10156")},
	}
	ruleZipFlag = prerun.Rule{
		ID: "scan.zip.false-flag", Title: "plain member marked as encrypted", Severity: prerun.Medium,
		Help: "Flag bits say that a member is encrypted or patched, but its content is plain and has the right checksum. Readers that believe the bits skip it, loaders that ignore them use it. Do not load the file; pack the archive again.",
		Refs: []prerun.Reference{refAmbiguous, cve("2025-1945")},
	}
)

// zipRules is the rule for each kind of disagreement.
var zipRules = map[zipdir.Kind]prerun.Rule{
	zipdir.NameMismatch:   ruleZipName,
	zipdir.HeaderMismatch: ruleZipHeader,
	zipdir.BadLocal:       ruleZipHeader,
	zipdir.Cut:            ruleZipHeader,
	zipdir.HiddenMember:   ruleZipHidden,
	zipdir.DirMismatch:    ruleZipDirectory,
	zipdir.AmbiguousEnd:   ruleZipDirectory,
	zipdir.NoDirectory:    ruleZipDirectory,
	zipdir.Prefix:         ruleZipPrefix,
	zipdir.Trailing:       ruleZipTrailing,
}

func (zipFormat) Info() Info {
	return Info{
		ID:         "zip",
		Extensions: []string{".zip", ".npz", ".keras", ".ptl", ".mar", ".skops"},
		Rules: slices.Concat(archiveRules, []prerun.Rule{
			ruleZipName, ruleZipHeader, ruleZipHidden, ruleZipDirectory, ruleZipPrefix, ruleZipTrailing, ruleZipCRC, ruleZipFlag,
		}),
	}
}

func (zipFormat) Match(p Probe) Match {
	switch {
	case zipAtStart(p):
		return Certain
	case p.Size > ProbeSize, bytes.Contains(p.Tail, []byte("PK\x05\x06")):
		return Maybe // the comment may be longer than the tail
	}
	return No
}

func zipAtStart(p Probe) bool { return p.Starts("PK\x03\x04") || p.Starts("PK\x05\x06") }

func (zipFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	dir, err := a.zipDir()
	if errors.Is(err, zipdir.ErrNotZip) || !zipAtStart(a.Probe) && len(dir.Members) == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("zip: %w", ErrNotFormat)
	}
	if !zipAtStart(a.Probe) && len(dir.Spans) > 0 {
		from, to := a.Size, int64(0)
		for _, s := range dir.Spans {
			from, to = min(from, s.Off), max(to, s.End)
		}
		if inMember(a, from, to) {
			return fmt.Errorf("zip: inside a member: %w", ErrNotFormat)
		}
	}
	z := zipScan{a: a, out: out, names: names{out: out}}
	for _, p := range dir.Problems {
		if p.Kind == zipdir.Prefix && tfliteHead(a.Probe) {
			continue // associated files of the model, behind it
		}
		z.problem(p)
	}
	for _, s := range dir.Spans {
		out.Claim(s.Off, s.End-s.Off)
	}
	entries := make([]Entry, len(dir.Members))
	for i, m := range dir.Members {
		entries[i] = Entry{Name: m.Name, Size: m.Size, Mode: m.Mode}
	}
	z.tree = NewTree(entries)
	for i := range dir.Members {
		if err := z.member(ctx, &dir.Members[i]); err != nil {
			return err
		}
	}
	// Checksums of stored members come last: they cost a read of all the
	// weights, and must not use up the budget before every pickle was seen.
	for _, m := range z.stored {
		if err := z.checksum(m); err != nil {
			return err
		}
	}
	return err
}

// A zipRead is the structure of an archive, which several formats look at.
type zipRead struct {
	dir *zipdir.Directory
	err error
}

// zipDir reads the artefact as an archive, once.
func (a *Artifact) zipDir() (*zipdir.Directory, error) {
	if a.zip == nil {
		dir, err := zipdir.Read(peeker{a}, a.Size, func() error { return a.Spend(Entries, 1) })
		a.zip = &zipRead{dir, err}
	}
	return a.zip.dir, a.zip.err
}

// A zipScan is the reading of one archive.
type zipScan struct {
	a      *Artifact
	out    *Sink
	names  names
	tree   *Tree
	stored []*zipdir.Member
	buf    []byte
}

func (z *zipScan) problem(p zipdir.Problem) {
	if z.out.full(zipRules[p.Kind], 0) {
		return
	}
	f := prerun.Finding{
		Rule:       zipRules[p.Kind],
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: p.Offset, Length: p.Length}},
		Message:    p.Detail,
	}
	if p.Name != "" {
		f.Key = excerpt(p.Name, 120)
		f.Message = fmt.Sprintf("member %q: %s", f.Key, p.Detail)
	}
	z.out.Finding(f)
}

func (z *zipScan) finding(rule prerun.Rule, m *zipdir.Member, format string, args ...any) {
	z.names.report(rule, 0, m.Name, m.EntryAt, format, args...)
}

// Flag bits that say that the content is not what it seems.
const zipFlagOpaque = 1<<0 | 1<<5 | 1<<6 | 1<<13

func (z *zipScan) member(ctx context.Context, m *zipdir.Member) error {
	z.names.check(m.Name, m.EntryAt)
	if m.Local != m.Name && m.Local != "" {
		other := names{out: z.out}
		other.check(m.Local, m.EntryAt)
	}
	z.names.special(m.Name, m.Mode, m.EntryAt)
	if m.DataAt < 0 {
		if errors.Is(z.a.zip.err, ErrBudget) {
			z.out.unread(m.Name, m.Size, Inconclusive, "the budget ran out before its local header")
		} else {
			z.out.unread(m.Name, m.Size, Failed, "its local header is missing")
		}
		return nil
	}
	if (m.Mode.IsDir() || strings.HasSuffix(m.Name, "/")) && m.Packed == 0 {
		return nil
	}
	if m.Mode&fs.ModeSymlink != 0 {
		z.link(m)
	}
	if m.Method == 0 && m.Flags&zipFlagOpaque == 0 {
		z.stored = append(z.stored, m)
		return z.child(ctx, m, z.a.Section(m.DataAt, m.Packed), m.Packed)
	}
	return z.decoded(ctx, m)
}

func (z *zipScan) child(ctx context.Context, m *zipdir.Member, r io.ReaderAt, size int64) error {
	return z.out.Child(ctx, Child{Name: m.Name, Reader: r, Size: size, Tree: z.tree})
}

func (z *zipScan) link(m *zipdir.Member) {
	if m.Method != 0 || m.Packed > ProbeSize {
		z.out.unread(m.Name, m.Size, Inconclusive, "the target of the link was not read")
		return
	}
	target, err := z.a.Bytes(m.DataAt, m.Packed)
	if err != nil {
		z.out.unread(m.Name, m.Size, Failed, err.Error())
		return
	}
	z.names.link(m.Name, string(target), m.EntryAt, false)
}

// decoded scans a member that has to be decoded, or that claims to be
// encrypted.
func (z *zipScan) decoded(ctx context.Context, m *zipdir.Member) error {
	open, err := zipDecoder(z.a.run, m, func() io.Reader { return z.a.Section(m.DataAt, m.Packed) })
	if err != nil {
		z.out.unread(m.Name, m.Size, Inconclusive, err.Error())
		return nil
	}
	sum := crc32.NewIEEE()
	x, err := z.a.expand(m.Packed, sum, open)
	defer x.close()
	if errors.Is(err, ErrBudget) {
		z.out.unread(m.Name, m.Size, Inconclusive, err.Error())
		return err
	}
	right := err == nil && x.size == m.Size && sum.Sum32() == m.CRC
	if m.Flags&zipFlagOpaque != 0 {
		if !right {
			z.out.unread(m.Name, m.Size, Inconclusive, "it is encrypted")
			if err != nil {
				return nil
			}
			// torch neither looks at the bits of the local header nor at the
			// checksum: what decodes may be plain all the same.
			return z.child(ctx, m, x, x.size)
		}
		z.finding(ruleZipFlag, m, "flags %#x, but the content is plain", m.Flags)
	}
	switch {
	case errors.Is(err, errBomb):
		z.finding(ruleBomb, m, "%d bytes decode to more than %d", m.Packed, x.size)
	case !right && (m.Size != x.size || sum.Sum32() != m.CRC):
		z.wrong(m, x.size, sum.Sum32())
	}
	if cerr := z.child(ctx, m, x, x.size); cerr != nil {
		return cerr
	}
	if err != nil {
		z.out.unread(m.Name, m.Size, completenessOf(err), fmt.Sprintf("decoding ended early: %v", err))
	}
	return nil
}

func (z *zipScan) checksum(m *zipdir.Member) error {
	sum, n := uint32(0), m.Packed
	p, err := z.a.held(m.DataAt, m.Packed)
	if p != nil {
		sum = crc32.ChecksumIEEE(p)
	} else {
		if z.buf == nil {
			z.buf = make([]byte, 64<<10)
		}
		h := crc32.NewIEEE()
		n, err = io.CopyBuffer(h, onlyReader{z.a.Section(m.DataAt, m.Packed)}, z.buf)
		sum = h.Sum32()
	}
	if err != nil {
		return err
	}
	if n != m.Size || sum != m.CRC {
		if m.Hidden && m.CRC == 0 {
			return nil // streamed: the sum was to follow
		}
		z.wrong(m, n, sum)
	}
	return nil
}

func (z *zipScan) wrong(m *zipdir.Member, size int64, crc uint32) {
	z.finding(ruleZipCRC, m, "%d bytes with checksum %08x, the archive states %d and %08x", size, crc, m.Size, m.CRC)
}

// onlyReader hides WriteTo, which would bring a buffer of its own.
type onlyReader struct{ io.Reader }

// zipDecoder returns how to open the content of a member from its start.
func zipDecoder(run *run, m *zipdir.Member, raw func() io.Reader) (func() (io.Reader, error), error) {
	switch m.Method {
	case 0:
		return func() (io.Reader, error) { return raw(), nil }, nil
	case 8:
		return func() (io.Reader, error) { return run.inflate(raw()), nil }, nil
	case 9:
		return func() (io.Reader, error) { return deflate64.NewReader(raw()), nil }, nil
	case 12:
		return func() (io.Reader, error) { return bzip2.NewReader(raw()), nil }, nil
	case 14:
		size := uint64(m.Size)
		if m.Flags&zipFlagLZMAEnd != 0 {
			size = math.MaxUint64 // the stream says where it ends
		}
		return func() (io.Reader, error) { return zipLZMA(run, raw(), size, m.Size) }, nil
	case 93:
		return func() (io.Reader, error) { return newZstd(raw()) }, nil
	case 95:
		return func() (io.Reader, error) {
			r, _, err := openXZ(run, newCountReader(raw(), m.Packed))
			return r, err
		}, nil
	}
	return nil, fmt.Errorf("compression method %d is not supported", m.Method)
}

// zipFlagLZMAEnd says that a stream of LZMA has a mark at its end.
const zipFlagLZMAEnd = 1 << 1

// zipLZMA reads a stream of method 14: the version of the encoder and the length
// of the properties, two bytes each, the properties, and the stream. Those and
// the size are the header of the old format. The dictionary need not be larger
// than what the archive says that the member decodes to.
func zipLZMA(run *run, raw io.Reader, size uint64, claimed int64) (io.Reader, error) {
	var head [9]byte
	if _, err := io.ReadFull(raw, head[:]); err != nil {
		return nil, unexpectedEOF(err)
	}
	if n := binary.LittleEndian.Uint16(head[2:]); n != 5 {
		return nil, fmt.Errorf("LZMA with %d bytes of properties", n)
	}
	if dict := binary.LittleEndian.Uint32(head[5:]); int64(dict) > claimed {
		binary.LittleEndian.PutUint32(head[5:], uint32(max(claimed, 0)))
	}
	header := binary.LittleEndian.AppendUint64(head[4:9:9], size)
	z, _, err := openLZMA(run, newCountReader(io.MultiReader(bytes.NewReader(header), raw), maxCounted))
	return z, err
}

// newZstd is a decoder without goroutines whose window is bounded.
func newZstd(r io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(zstdWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// zstdWindow is above what the zstd command uses up to level 19.
const zstdWindow = 32 << 20
