package scan

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
)

// ggufFormat reads the header of GGUF files: metadata, templates and the layout
// of the tensors. Tensor bytes are not read. Facts: "architecture", "tensors",
// "version", "chat_template" the digest of the default template.
type ggufFormat struct{}

var ruleGGUFLayout = prerun.Rule{
	ID: "scan.gguf.layout", Title: "tensor outside the file or over another", Severity: prerun.High,
	Help: "The header places a tensor beyond the end of the file, over another tensor, at a forbidden alignment, or gives it a shape whose size overflows. Loaders with unchecked arithmetic read or write outside their buffers; several such faults became CVEs. Do not load the file.",
	Refs: []prerun.Reference{
		cwe("CWE-125"),
		cwe("CWE-190"),
		cve("2024-21802"), cve("2024-21825"), cve("2024-21836"), cve("2024-23496"), cve("2024-23605"),
		cve("2024-25664"), cve("2024-25665"), cve("2024-25666"), cve("2024-25667"), cve("2024-25668"),
		cve("2025-53630"), cve("2026-27940"), cve("2026-7482"),
	},
}

func (ggufFormat) Info() Info {
	return Info{ID: "gguf", Extensions: []string{".gguf"}, Rules: []prerun.Rule{ruleGGUFLayout, ruleTemplateAttack, ruleTemplateReach}}
}

func (ggufFormat) Match(p Probe) Match {
	if p.Starts("GGUF") && len(p.Head) >= 24 {
		return Certain
	}
	return No
}

const (
	ggufMaxText  = 16 << 20 // bytes of one string that is kept
	ggufMaxKeys  = 1 << 16
	ggufMaxItems = 1 << 28
)

// A ggufScan reads forward through the header.
type ggufScan struct {
	a     *Artifact
	out   *Sink
	r     *bufio.Reader
	off   int64
	wide  bool // version 2 and above: 64-bit counts
	align uint64
}

func (ggufFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	s := &ggufScan{a: a, out: out, r: bufio.NewReaderSize(a.Section(0, a.Size), 64<<10), align: 32}
	err := s.header(ctx)
	if isEOF(err) {
		err = fmt.Errorf("offset %d: the header is cut: %w", s.off, err)
	}
	return err
}

// isEOF reports an end of input that came early.
func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func (s *ggufScan) read(n int64) ([]byte, error) {
	if n > ggufMaxText || n > s.a.Size-s.off {
		return nil, fmt.Errorf("offset %d: %d bytes of text, %d are left in the file", s.off, n, s.a.Size-s.off)
	}
	buf := make([]byte, n)
	m, err := io.ReadFull(s.r, buf)
	s.off += int64(m)
	return buf, err
}

func (s *ggufScan) u32() (uint32, error) { return le32(s.r, &s.off) }
func (s *ggufScan) u64() (uint64, error) { return le64(s.r, &s.off) }

// count is a number of things, of the width that the version has.
func (s *ggufScan) count() (uint64, error) {
	if s.wide {
		return s.u64()
	}
	v, err := s.u32()
	return uint64(v), err
}

func (s *ggufScan) text() (string, error) {
	n, err := s.count()
	if err != nil {
		return "", err
	}
	if n > uint64(s.a.Size) {
		return "", fmt.Errorf("offset %d: string of %d bytes in a file of %d", s.off, n, s.a.Size)
	}
	b, err := s.read(int64(n))
	return string(b), err
}

func (s *ggufScan) skip(n uint64) error {
	if n > uint64(s.a.Size-s.off) {
		return fmt.Errorf("offset %d: %d bytes, %d are left in the file", s.off, n, s.a.Size-s.off)
	}
	m, err := s.r.Discard(int(n))
	s.off += int64(m)
	return err
}

func (s *ggufScan) header(ctx context.Context) error {
	if err := s.skip(4); err != nil {
		return err
	}
	version, err := s.u32()
	if err != nil {
		return err
	}
	if version == 0 || version > 3 {
		return fmt.Errorf("offset 4: version %d; big-endian files are not read", version)
	}
	s.wide = version > 1
	s.out.Fact("version", strconv.Itoa(int(version)))
	tensors, err := s.count()
	if err != nil {
		return err
	}
	keys, err := s.count()
	if err != nil {
		return err
	}
	// A key takes at least 8 bytes, a tensor 24: counts that do not fit are lies.
	if room := uint64(s.a.Size); keys > ggufMaxKeys || keys > room/8 || tensors > room/24 {
		return fmt.Errorf("offset 8: %d tensors and %d keys in a file of %d bytes", tensors, keys, s.a.Size)
	}
	s.out.Fact("tensors", strconv.FormatUint(tensors, 10))
	seen := make(map[string]bool, min(keys, 1024))
	for range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.pair(seen); err != nil {
			return err
		}
	}
	return s.tensors(ctx, tensors)
}

// ggufSizes are the bytes of each fixed-size value type.
var ggufSizes = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

const (
	ggufString = 8
	ggufArray  = 9
)

func (s *ggufScan) pair(seen map[string]bool) error {
	at := s.off
	key, err := s.text()
	if err != nil {
		return err
	}
	if seen[key] {
		return fmt.Errorf("offset %d: key %q stands there twice", at, excerpt(key, 80))
	}
	seen[key] = true
	typ, err := s.u32()
	if err != nil {
		return err
	}
	switch {
	case typ == ggufString:
		value, err := s.text()
		if err != nil {
			return err
		}
		s.string(key, value, at)
		return nil
	case typ == 4 && key == "general.alignment":
		v, err := s.u32()
		if s.align = uint64(v); err == nil && bits.OnesCount32(v) != 1 {
			return fmt.Errorf("offset %d: alignment %d is no power of two", at, v)
		}
		return err
	}
	if typ == ggufArray && chatTemplateKey(key) {
		return s.templates(key, at)
	}
	return s.value(typ, 0)
}

// templates reads an array of texts under the key of a template: transformers
// takes an array of one for its item.
func (s *ggufScan) templates(key string, at int64) error {
	return s.array(func(item uint32) error {
		if item != ggufString {
			return s.value(item, 1)
		}
		text, err := s.text()
		if err == nil {
			s.string(key, text, at)
		}
		return err
	})
}

// array reads an array by its items; those of a fixed size are skipped at once.
func (s *ggufScan) array(each func(item uint32) error) error {
	item, err := s.u32()
	if err != nil {
		return err
	}
	n, err := s.count()
	if err != nil {
		return err
	}
	if n > ggufMaxItems {
		return fmt.Errorf("offset %d: array of %d items", s.off, n)
	}
	if size, ok := ggufSizes[item]; ok {
		return s.skip(size * n)
	}
	for range n {
		if err := each(item); err != nil {
			return err
		}
	}
	return nil
}

func chatTemplateKey(key string) bool {
	return key == "tokenizer.chat_template" || strings.HasPrefix(key, "tokenizer.chat_template.")
}

// value skips one value.
func (s *ggufScan) value(typ uint32, depth int) error {
	if size, ok := ggufSizes[typ]; ok {
		return s.skip(size)
	}
	switch {
	case typ == ggufString:
		n, err := s.count()
		if err != nil {
			return err
		}
		return s.skip(n)
	case typ != ggufArray || depth > 4:
		return fmt.Errorf("offset %d: value type %d, or arrays nested too deep", s.off, typ)
	}
	return s.array(func(item uint32) error { return s.value(item, depth+1) })
}

// string looks at the texts that mean something.
func (s *ggufScan) string(key, value string, at int64) {
	switch {
	case key == "general.architecture":
		s.out.Fact("architecture", excerpt(value, 60))
	case chatTemplateKey(key):
		if key == "tokenizer.chat_template" {
			s.out.Fact("chat_template", string(digestx.Of([]byte(value))))
		}
		template(s.out, value, prerun.Location{Offset: at, Length: s.off - at, Fragment: excerpt(key, 80)})
	}
}

// A ggmlType is a block of elements and its bytes.
type ggmlType struct{ block, bytes uint64 }

var ggmlTypes = map[uint32]ggmlType{
	0: {1, 4}, 1: {1, 2}, 2: {32, 18}, 3: {32, 20}, 6: {32, 22}, 7: {32, 24}, 8: {32, 34}, 9: {32, 36},
	10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, 15: {256, 292},
	16: {256, 66}, 17: {256, 74}, 18: {256, 98}, 19: {256, 50}, 20: {32, 18}, 21: {256, 110}, 22: {256, 82}, 23: {256, 136},
	24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, 29: {256, 56}, 30: {1, 2}, 34: {256, 54}, 35: {256, 66}, 39: {32, 17},
}

// A ggufTensor is where the header places a tensor, relative to the data.
type ggufTensor struct {
	name      string
	at        int64 // of its entry
	off, size uint64
}

func (s *ggufScan) tensors(ctx context.Context, n uint64) error {
	var list []ggufTensor
	seen := make(map[string]bool, min(n, 4096))
	names := int64(0)
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.a.Spend(Entries, 1); err != nil {
			return err
		}
		t, err := s.tensor()
		if err != nil {
			return err
		}
		if names += int64(len(t.name)); names > s.a.Left(Memory) {
			return s.a.run.exhausted(Memory)
		}
		if seen[t.name] {
			s.layout(t, "it stands there twice")
		}
		seen[t.name] = true
		list = append(list, t)
	}
	start := (uint64(s.off) + s.align - 1) / s.align * s.align
	s.out.Claim(0, min(int64(start), s.a.Size))
	if start > uint64(s.a.Size) {
		start = uint64(s.a.Size)
	}
	room := uint64(s.a.Size) - start
	end := uint64(0)
	for _, t := range list {
		switch {
		case t.off%s.align != 0:
			s.layout(t, fmt.Sprintf("offset %d is no multiple of %d", t.off, s.align))
		case t.off > room || t.size > room-t.off:
			s.layout(t, fmt.Sprintf("%d bytes at offset %d of %d", t.size, t.off, room))
		case t.off < end:
			s.layout(t, "it lies over the tensor before it")
		default:
			end = t.off + t.size
		}
	}
	s.out.Claim(int64(start), int64(room))
	return nil
}

func (s *ggufScan) layout(t ggufTensor, what string) {
	shown := excerpt(t.name, 80)
	s.out.report(ruleGGUFLayout, 0, prerun.Location{Offset: t.at, Length: 1}, shown, "tensor %q: %s", shown, what)
}

func (s *ggufScan) tensor() (ggufTensor, error) {
	t := ggufTensor{at: s.off}
	var err error
	if t.name, err = s.text(); err != nil {
		return t, err
	}
	rank, err := s.u32()
	if err != nil {
		return t, err
	}
	if rank > 4 {
		return t, fmt.Errorf("offset %d: tensor of %d dimensions", t.at, rank)
	}
	elements, overflow := uint64(1), false
	for range rank {
		d, err := s.count()
		if err != nil {
			return t, err
		}
		hi, lo := bits.Mul64(elements, d)
		overflow = overflow || hi != 0 || lo > 1<<62
		elements = lo
	}
	typ, err := s.u32()
	if err != nil {
		return t, err
	}
	if t.off, err = s.u64(); err != nil {
		return t, err
	}
	g, known := ggmlTypes[typ]
	switch {
	case overflow:
		s.layout(t, "its shape overflows")
	case !known:
		s.out.Gap(fmt.Sprintf("tensor %q has type %d, whose size is not known", excerpt(t.name, 80), typ), t.at, s.off-t.at)
	case elements%g.block != 0:
		s.layout(t, fmt.Sprintf("%d elements are no multiple of the block of its type, %d", elements, g.block))
	default:
		hi, size := bits.Mul64(elements/g.block, g.bytes)
		if t.size = size; hi != 0 || size > 1<<62 {
			s.layout(t, "its size overflows")
			t.size = 0
		}
	}
	return t, nil
}
