package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// msgpackFormat reads the MessagePack files that Flax saves and the ones of old
// Orbax checkpoints: maps of names to arrays in extension types 1 (array), 2
// (complex number) and 3 (scalar). Array bytes are not read; loose byte strings
// are left to the search for hidden content. Facts: "framework" (flax, or orbax
// when arrays stand in files of their own), "tensors".
type msgpackFormat struct{}

var (
	ruleMsgpackArray = prerun.Rule{
		ID: "scan.msgpack.array-layout", Title: "array that is not what it says", Severity: prerun.Medium,
		Help: "An array's shape and element type do not multiply to the bytes it has, overflow, or its extension holds something other than shape, type and bytes. Flax refuses it; other readers of the same extension number treat the bytes as a pickle. Save the model anew with the original program.",
		Refs: []prerun.Reference{cwe("CWE-190"), refAmbiguous},
	}
	ruleMsgpackObject = prerun.Rule{
		ID: "scan.msgpack.object-array", Title: "array of Python objects", Severity: prerun.High,
		Help: "An array has elements that are Python objects. Flax never writes one; msgpack-numpy unpickles its bytes, which runs what they say. Do not load the file, and load MessagePack without object hooks.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleMsgpackExtension = prerun.Rule{
		ID: "scan.msgpack.extension", Title: "extension type that is not Flax's", Severity: prerun.Low,
		Help: "The file has values of a MessagePack extension type other than array, complex number, scalar and time. What they do depends on the hook of the program that loads the file; some hooks unpickle. Their bytes were scanned as if they were files. Find out which program wrote it.",
		Refs: []prerun.Reference{refDeserialize},
	}
	ruleMsgpackKey = prerun.Rule{
		ID: "scan.msgpack.duplicate-key", Title: "name that is used twice", Severity: prerun.Medium,
		Help: "A map has the same key twice. Readers disagree on which value counts, so that one is reviewed and the other loaded. No exporter writes such files. Do not load the file.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleMsgpackTrailing = prerun.Rule{
		ID: "scan.msgpack.trailing-data", Title: "data after the value", Severity: prerun.Low,
		Help: "Bytes follow the value that the file consists of. Flax refuses such a file, streaming readers go on. They were searched for hidden content. Write the file again without them.",
		Refs: []prerun.Reference{refAmbiguous},
	}
)

func (msgpackFormat) Info() Info {
	return Info{
		ID: "msgpack", Extensions: []string{".msgpack"},
		Rules: []prerun.Rule{
			ruleMsgpackArray, ruleMsgpackObject, ruleMsgpackExtension, ruleMsgpackKey, ruleMsgpackTrailing, ruleCheckpointPath,
		},
	}
}

// Match takes a file of any name for a map when its first key is a text, and a
// file of the right name for any container.
func (msgpackFormat) Match(p Probe) Match {
	if len(p.Head) == 0 {
		return No
	}
	skip := 0
	switch c := p.Head[0]; {
	case c > 0x80 && c <= 0x8f:
		skip = 1
	case c == 0xde:
		skip = 3
	case c == 0xdf:
		skip = 5
	}
	if skip > 0 && len(p.Head) > skip {
		switch c := p.Head[skip]; {
		case c >= 0xa0 && c <= 0xbf, c >= 0xd9 && c <= 0xdb, c == 0xc4:
			return Maybe
		}
	}
	if msgpackName(p) && p.Head[0] >= 0x80 && p.Head[0] != 0xc1 {
		return Maybe
	}
	return No
}

func msgpackName(p Probe) bool {
	return p.Ext() == ".msgpack" || p.Base() == "checkpoint" || strings.HasPrefix(p.Base(), "checkpoint_")
}

// Bounds of one file.
const (
	msgpackDepth  = 1024 // what msgpack-python's stack holds
	msgpackWindow = 4096 // bytes read at once
	msgpackKey    = 64 << 10
	msgpackDims   = 64 // NumPy's limit
	msgpackLoose  = 16 // bytes up to which a byte string can hide nothing
)

// Kinds of MessagePack values.
const (
	mpNil = iota
	mpBool
	mpInt
	mpFloat
	mpText
	mpBytes
	mpArray
	mpMap
	mpExt
)

// A mpHead is what stands before a value's content. Num is the length in bytes,
// the number of items, or the value of a natural number, bool or nil (0).
type mpHead struct {
	kind int
	num  uint64
	neg  bool // a negative number
	ext  int8
	at   int64
}

// A msgpackScan walks forward through the file and keeps one window of it.
type msgpackScan struct {
	a      *Artifact
	out    *Sink
	buf    []byte
	base   int64 // offset of buf
	off    int64
	claim  int64 // from where nothing was claimed yet
	held   int64 // bytes of keys that are kept
	arrays int
	stored bool // a value stands for an array in a file of its own
}

func (msgpackFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	s := &msgpackScan{a: a, out: out}
	top, err := s.head(a.Size)
	if err == nil && top.kind < mpArray || errors.Is(err, errMsgpackByte) || top.kind == mpMap && top.num == 0 && a.Size > 1 {
		return fmt.Errorf("msgpack: %w", ErrNotFormat)
	}
	if err == nil {
		err = s.content(ctx, top, a.Size, 0)
	}
	named := msgpackName(a.Probe)
	if s.arrays == 0 && !s.stored && !named && (err != nil || s.off < a.Size) && !errors.Is(err, ErrBudget) && context.Cause(ctx) == nil {
		return fmt.Errorf("msgpack: %w", ErrNotFormat) // other bytes that start alike
	}
	out.Claim(s.claim, s.off-s.claim)
	switch {
	case s.stored:
		out.Fact("framework", "orbax")
	case s.arrays > 0:
		out.Fact("framework", "flax")
	}
	out.Fact("tensors", strconv.Itoa(s.arrays))
	if err != nil {
		return fmt.Errorf("msgpack: %w", err)
	}
	if s.off < a.Size {
		s.finding(ruleMsgpackTrailing, s.off, a.Size-s.off, "", "%d bytes follow the value", a.Size-s.off)
	}
	return nil
}

func (s *msgpackScan) finding(rule prerun.Rule, off, n int64, key, format string, args ...any) {
	s.out.report(rule, 0, prerun.Location{Offset: off, Length: n}, key, format, args...)
}

var errMsgpackByte = errors.New("byte c1 starts no value")

// peek returns n bytes from the current offset, at most a window's worth.
func (s *msgpackScan) peek(n int, end int64) ([]byte, error) {
	if int64(n) > end-s.off {
		return nil, fmt.Errorf("offset %d: %d bytes, %d are left", s.off, n, end-s.off)
	}
	if from := s.off - s.base; from >= 0 && from+int64(n) <= int64(len(s.buf)) {
		return s.buf[from : from+int64(n)], nil
	}
	if s.buf == nil {
		s.buf = make([]byte, msgpackWindow)
	}
	s.base = s.off
	s.buf = s.buf[:min(msgpackWindow, s.a.Size-s.off)]
	if m, err := s.a.ReadAt(s.buf, s.off); m < len(s.buf) {
		s.buf = s.buf[:0]
		return nil, err
	}
	return s.buf[:n], nil
}

func (s *msgpackScan) take(n int, end int64) ([]byte, error) {
	b, err := s.peek(n, end)
	if err == nil {
		s.off += int64(n)
	}
	return b, err
}

// uint reads a big-endian number of n bytes.
func (s *msgpackScan) uint(n int, end int64) (uint64, error) {
	b, err := s.take(n, end)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-n:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

// head reads up to where a value's content starts.
func (s *msgpackScan) head(end int64) (mpHead, error) {
	h := mpHead{at: s.off}
	c, err := s.uint(1, end)
	if err != nil {
		return h, err
	}
	sized := func(kind, width int) (mpHead, error) {
		h.kind = kind
		h.num, err = s.uint(width, end)
		return h, err
	}
	switch {
	case c <= 0x7f:
		h.kind, h.num = mpInt, c
	case c <= 0x8f:
		h.kind, h.num = mpMap, c&0x0f
	case c <= 0x9f:
		h.kind, h.num = mpArray, c&0x0f
	case c <= 0xbf:
		h.kind, h.num = mpText, c&0x1f
	case c >= 0xe0:
		h.kind, h.neg = mpInt, true
	case c == 0xc0:
		h.kind = mpNil
	case c == 0xc1:
		return h, fmt.Errorf("offset %d: %w", h.at, errMsgpackByte)
	case c <= 0xc3:
		h.kind, h.num = mpBool, c&1
	case c <= 0xc6:
		return sized(mpBytes, 1<<(c-0xc4))
	case c <= 0xc9:
		if _, err := sized(mpExt, 1<<(c-0xc7)); err != nil {
			return h, err
		}
		return s.extension(h, end)
	case c <= 0xcb:
		if _, err := sized(mpFloat, 4<<(c-0xca)); err != nil {
			return h, err
		}
	case c <= 0xcf:
		return sized(mpInt, 1<<(c-0xcc))
	case c <= 0xd3:
		width := 1 << (c - 0xd0)
		if _, err := sized(mpInt, width); err != nil {
			return h, err
		}
		h.neg = h.num>>(8*width-1) != 0
	case c <= 0xd8:
		h.kind, h.num = mpExt, 1<<(c-0xd4)
		return s.extension(h, end)
	case c <= 0xdb:
		return sized(mpText, 1<<(c-0xd9))
	case c <= 0xdd:
		return sized(mpArray, 2<<(c-0xdc))
	default:
		return sized(mpMap, 2<<(c-0xde))
	}
	return h, nil
}

func (s *msgpackScan) extension(h mpHead, end int64) (mpHead, error) {
	code, err := s.uint(1, end)
	h.ext = int8(code)
	return h, err
}

// skip leaves out the content of a text, byte string or extension.
func (s *msgpackScan) skip(h mpHead, end int64) error {
	if h.num > uint64(end-s.off) {
		return fmt.Errorf("offset %d: %d bytes, %d are left", h.at, h.num, end-s.off)
	}
	s.off += int64(h.num)
	return nil
}

// content reads what follows a head.
func (s *msgpackScan) content(ctx context.Context, h mpHead, end int64, depth int) error {
	if err := s.a.Spend(Opcodes, 1); err != nil {
		return err
	}
	switch h.kind {
	case mpText:
		return s.text(h, end)
	case mpBytes:
		return s.loose(h, end)
	case mpExt:
		return s.ext(ctx, h, end)
	case mpArray, mpMap:
	default:
		return nil
	}
	// Each item takes a byte at least: a count that does not fit is a lie.
	room := uint64(end - s.off)
	if h.kind == mpMap {
		room /= 2
	}
	if h.num > room {
		return fmt.Errorf("offset %d: %d items in %d bytes", h.at, h.num, end-s.off)
	}
	if depth >= msgpackDepth {
		return fmt.Errorf("offset %d: nested more than %d deep", h.at, msgpackDepth)
	}
	if h.kind == mpMap {
		return s.mapping(ctx, h, end, depth)
	}
	for range h.num {
		v, err := s.head(end)
		if err != nil {
			return err
		}
		if err := s.content(ctx, v, end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// numpyMap is what msgpack-numpy writes for an array.
type numpyMap struct {
	array, object bool
	data          span
}

func (s *msgpackScan) mapping(ctx context.Context, h mpHead, end int64, depth int) error {
	seen := make(map[string]struct{}, min(h.num, 64))
	held := s.held
	defer func() { s.held = held }()
	var array numpyMap
	for range h.num {
		key, text, err := s.key(ctx, end, depth)
		if err != nil {
			return err
		}
		if text != "" {
			if _, twice := seen[text]; twice {
				shown := excerpt(text[1:], 80)
				s.finding(ruleMsgpackKey, key.at, s.off-key.at, shown, "key %q stands there twice", shown)
			} else if s.held += int64(len(text)) + 64; s.held > s.a.run.lim.Memory {
				return s.a.run.exhausted(Memory)
			}
			seen[text] = struct{}{}
		}
		v, err := s.head(end)
		if err != nil {
			return err
		}
		if err := array.note(s, text, v, end); err != nil {
			return err
		}
		if err := s.content(ctx, v, end, depth+1); err != nil {
			return err
		}
	}
	if array.array && array.object {
		s.finding(ruleMsgpackObject, h.at, s.off-h.at, "msgpack-numpy", "an array as msgpack-numpy pickles it")
		if n := array.data.end - array.data.off; n > 0 {
			if n > msgpackLoose { // left out by loose
				s.out.Claim(array.data.off, n)
			}
			return s.child(ctx, "objects", array.data)
		}
	}
	return nil
}

// key reads a key. Its text is empty when there is nothing to compare, and
// starts with the kind: 1 and "1" are two keys.
func (s *msgpackScan) key(ctx context.Context, end int64, depth int) (mpHead, string, error) {
	key, err := s.head(end)
	if err != nil {
		return key, "", err
	}
	if key.kind == mpInt && !key.neg {
		return key, "i" + strconv.FormatUint(key.num, 10), nil
	}
	if key.kind != mpText && key.kind != mpBytes {
		return key, "", s.content(ctx, key, end, depth+1)
	}
	if key.num > msgpackKey {
		s.out.Gap(fmt.Sprintf("a key of %d bytes was not compared with others", key.num), key.at, 0)
		return key, "", s.skip(key, end)
	}
	b, err := s.small(key, end)
	return key, "s" + string(b), err
}

// small reads the content of a text or byte string of at most msgpackKey bytes.
func (s *msgpackScan) small(h mpHead, end int64) ([]byte, error) {
	if h.num <= msgpackWindow {
		return s.take(int(h.num), end)
	}
	from := s.off
	if err := s.skip(h, end); err != nil {
		return nil, err
	}
	return s.a.Bytes(from, int64(h.num))
}

// note takes down a member that makes a map an array of msgpack-numpy. The
// value's head was read, its content was not.
func (m *numpyMap) note(s *msgpackScan, key string, v mpHead, end int64) error {
	switch {
	case key == "snd":
		m.array = v.kind == mpBool && v.num == 1
	case key == "sdata" && v.kind == mpBytes:
		m.data = span{s.off, s.off + int64(min(v.num, uint64(end-s.off)))}
	case key == "skind" && (v.kind == mpText || v.kind == mpBytes) && v.num == 1:
		b, err := s.peek(1, end)
		if err != nil {
			return err
		}
		m.object = b[0] == 'O'
	}
	return nil
}

// placeholder starts the texts that stand for arrays in an Orbax checkpoint;
// the name of a folder follows.
const placeholder = "PLACEHOLDER://"

func (s *msgpackScan) text(h mpHead, end int64) error {
	if h.num < uint64(len(placeholder)) || h.num > uint64(end-s.off) {
		return s.skip(h, end)
	}
	b, err := s.peek(int(min(h.num, msgpackWindow)), end)
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(string(b[:len(placeholder)]), placeholder); ok {
		name += string(b[len(placeholder):])
		s.stored = true
		if leaves(name) {
			shown := excerpt(name, 120)
			s.finding(ruleCheckpointPath, h.at, int64(len(b)), shown, "an array is said to be in %q", shown)
		}
	}
	return s.skip(h, end)
}

// loose is a byte string that is no array's: nothing loads it, so what it hides
// is looked for.
func (s *msgpackScan) loose(h mpHead, end int64) error {
	from := s.off
	if err := s.skip(h, end); err != nil || h.num <= msgpackLoose {
		return err
	}
	if err := s.a.Spend(Entries, 1); err != nil {
		return err
	}
	s.out.Claim(s.claim, from-s.claim)
	s.claim = s.off
	return nil
}

func (s *msgpackScan) child(ctx context.Context, name string, at span) error {
	return s.out.Child(ctx, Child{
		Name: fmt.Sprintf("%s-%d", name, at.off), Reader: s.a.Section(at.off, at.end-at.off), Size: at.end - at.off,
	})
}

// ext reads an extension. One that is not what its number says is handed to the
// other formats, because programs give the numbers meanings of their own.
func (s *msgpackScan) ext(ctx context.Context, h mpHead, end int64) error {
	at := span{off: s.off}
	if err := s.skip(h, end); err != nil {
		return err
	}
	at.end = s.off
	switch h.ext {
	case 1, 3:
		s.arrays++
		s.off = at.off
		bad, err := s.array(h, at)
		s.off = at.end
		if err != nil || bad == "" {
			return err
		}
		s.finding(ruleMsgpackArray, h.at, at.end-h.at, bad, "the extension of an array: %s", bad)
	case 2:
		s.off = at.off
		ok, err := s.complex(at.end)
		s.off = at.end
		if err != nil || ok {
			return err
		}
		s.finding(ruleMsgpackArray, h.at, at.end-h.at, "complex", "the extension of a complex number holds something else")
	case -1:
		if h.num == 4 || h.num == 8 || h.num == 12 {
			return nil
		}
		fallthrough
	default:
		s.finding(ruleMsgpackExtension, h.at, at.end-h.at, strconv.Itoa(int(h.ext)), "extension type %d of %d bytes", h.ext, h.num)
	}
	if at.end == at.off {
		return nil
	}
	return s.child(ctx, fmt.Sprintf("extension-%d", h.ext), at)
}

func (s *msgpackScan) complex(end int64) (bool, error) {
	list, err := s.head(end)
	if err != nil || list.kind != mpArray || list.num != 2 {
		return false, hard(err)
	}
	for range 2 {
		if v, err := s.head(end); err != nil || v.kind != mpFloat && v.kind != mpInt {
			return false, hard(err)
		}
	}
	return s.off == end, nil
}

// hard keeps the errors that say nothing about the content.
func hard(err error) error {
	if errors.Is(err, ErrBudget) {
		return err
	}
	return nil
}

// array reads shape, element type and bytes, and says what is wrong with them.
// When the parts are there but disagree that is a finding of its own.
func (s *msgpackScan) array(h mpHead, at span) (bad string, err error) {
	list, err := s.head(at.end)
	if err != nil || list.kind != mpArray || list.num != 3 {
		return "no list of three", hard(err)
	}
	shape, err := s.head(at.end)
	if err != nil || shape.kind != mpArray || shape.num > msgpackDims {
		return "no shape", hard(err)
	}
	elements, overflow := uint64(1), false
	for range shape.num {
		d, err := s.head(at.end)
		if err != nil || d.kind != mpInt || d.neg {
			return "no shape", hard(err)
		}
		hi, lo := bits.Mul64(elements, d.num)
		overflow = overflow || hi != 0 || lo > math.MaxInt64
		elements = lo
	}
	name, err := s.head(at.end)
	if err != nil || name.kind != mpText && name.kind != mpBytes || name.num > 256 {
		return "no element type", hard(err)
	}
	b, err := s.take(int(name.num), at.end)
	if err != nil {
		return "no element type", hard(err)
	}
	dtype := string(b)
	data, err := s.head(at.end)
	if err != nil || data.kind != mpText && data.kind != mpBytes || data.num != uint64(at.end-s.off) {
		return "no bytes to its end", hard(err)
	}
	shown := excerpt(dtype, 40)
	width, known := numpyBits(dtype)
	hi, size := bits.Mul64(elements, width)
	switch {
	case objectDtype(dtype):
		s.finding(ruleMsgpackObject, h.at, s.off-h.at, shown, "elements of type %q", shown)
	case overflow || hi != 0:
		s.finding(ruleMsgpackArray, h.at, s.off-h.at, shown, "the shape of an array of %q overflows", shown)
	case !known:
		s.out.Gap(fmt.Sprintf("array of type %q, whose size is not known", shown), h.at, at.end-h.at)
	case size != 8*data.num:
		s.finding(ruleMsgpackArray, h.at, s.off-h.at, shown, "%d elements of type %q in %d bytes", elements, shown, data.num)
	}
	return "", nil
}

// objectDtype reports element types that hold Python objects, alone or as one
// field of several.
func objectDtype(dtype string) bool {
	for part := range strings.SplitSeq(dtype, ",") {
		part = strings.TrimLeft(strings.TrimSpace(part), "<>=|0123456789()")
		if part == "O" || part == "O8" || part == "O4" || strings.HasPrefix(part, "object") {
			return true
		}
	}
	return false
}

// numpyBits is the size of one element, by NumPy's name or its type string.
// Types of less than a byte take one in memory.
func numpyBits(dtype string) (uint64, bool) {
	switch dtype {
	case "bool", "int2", "uint2", "int4", "uint4", "?", "|b1":
		return 8, true
	case "bfloat16":
		return 16, true
	}
	switch {
	case strings.HasPrefix(dtype, "float8_"), strings.HasPrefix(dtype, "float4_"), strings.HasPrefix(dtype, "float6_"):
		return 8, true
	case strings.HasPrefix(dtype, "datetime64"), strings.HasPrefix(dtype, "timedelta64"):
		return 64, true
	}
	for _, family := range []string{"float", "uint", "int", "complex", "str", "bytes", "void"} {
		if digits, ok := strings.CutPrefix(dtype, family); ok {
			n, err := strconv.ParseUint(digits, 10, 31)
			return n, err == nil && n%8 == 0 && n > 0
		}
	}
	short := strings.TrimLeft(dtype, "<>=|")
	if len(short) < 2 {
		return 0, false
	}
	unit := map[byte]uint64{'f': 8, 'i': 8, 'u': 8, 'c': 8, 'b': 8, 'S': 8, 'V': 8, 'U': 32, 'M': 0, 'm': 0}[short[0]]
	n, err := strconv.ParseUint(short[1:], 10, 31)
	return n * unit, err == nil && unit > 0 && n > 0
}
