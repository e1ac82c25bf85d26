package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// torch7Format walks the files of torch.save of Lua Torch, in binary (little
// endian, with 8 bytes for a long) and in text. Facts: "framework", "objects",
// "functions", "classes".
//
// Such a file may hold functions: the loader compiles them, or takes them as
// byte code, which Lua does not verify, and the model calls them when it is
// applied. Classes are looked up by name in what the program has registered.
// Classes other than tensors and storages are read as tables, as all of nn are;
// a class with a reader of its own, such as tds.Hash, ends the walk with a gap,
// and so do files of 32-bit machines and of big-endian ones.
type torch7Format struct{}

var (
	ruleTorch7Function = prerun.Rule{
		ID: "scan.torch7.function", Title: "model that holds a function", Severity: prerun.High,
		Help: "The file holds a Lua function as source or byte code. torch.load makes it callable with all the rights of the program, and byte code can break out of Lua altogether. It runs when the model calls it. Do not load the file; save a model whose classes the program has.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleTorch7Bytecode = prerun.Rule{
		ID: "scan.torch7.bytecode-text", Title: "byte code in a text", Severity: prerun.Medium,
		Help: "A text of the model is compiled Lua code. Loading does not run it, but models do not hold programs: it is what some later code hands to load. Do not use the file.",
		Refs: []prerun.Reference{refEmbedded},
	}
	ruleTorch7Layout = prerun.Rule{
		ID: "scan.torch7.tensor-layout", Title: "tensor outside its storage", Severity: prerun.Medium,
		Help: "The shape, strides and offset of a tensor reach beyond the storage that it names, or are negative. Torch does not check them and reads or writes what lies there in memory. Do not load the file.",
		Refs: []prerun.Reference{cwe("CWE-125"), cwe("CWE-190")},
	}
)

func (torch7Format) Info() Info {
	return Info{
		ID: "torch7", Within: []string{"text"}, Extensions: []string{".t7"},
		Rules: []prerun.Rule{ruleTorch7Function, ruleTorch7Bytecode, ruleTorch7Layout},
	}
}

// Types of objects.
const (
	torch7Nil      = 0
	torch7Number   = 1
	torch7String   = 2
	torch7Table    = 3
	torch7Object   = 4
	torch7Bool     = 5
	torch7Function = 6 // and two more with a number of their own
)

func (torch7Format) Match(p Probe) Match {
	if torch7Binary(p) || torch7Text(p.Head) {
		return Maybe
	}
	return No
}

// torch7Binary tests the first object: its type, its number, what follows.
func torch7Binary(p Probe) bool {
	if len(p.Head) < 12 {
		return false
	}
	le := binary.LittleEndian
	typ, number, n := le.Uint32(p.Head), le.Uint32(p.Head[4:]), int64(le.Uint32(p.Head[8:]))
	switch typ {
	case torch7Table:
		return number == 1 && n <= p.Size/8
	case torch7Object:
		return number == 1 && n > 0 && n <= torch7Name && len(p.Head) > 13 && (string(p.Head[12:14]) == "V " || isLetter(p.Head[12]))
	case torch7Function:
		return int64(number) <= p.Size-8 && number > 0
	case torch7Function + 1, torch7Function + 2:
		return number == 1 && n > 0 && n <= p.Size-12
	}
	return false
}

// torch7Text tests the text form, which is lines of numbers and texts: only
// those that start with a class are told from other numbers.
func torch7Text(head []byte) bool {
	rest, ok := strings.CutPrefix(string(head[:min(len(head), 64)]), "4\n1\n")
	if !ok {
		return false
	}
	n, rest, ok := strings.Cut(rest, "\n")
	size, err := strconv.Atoi(n)
	return ok && err == nil && size > 0 && size <= torch7Name && rest != "" && (strings.HasPrefix(rest, "V ") || isLetter(rest[0]))
}

const (
	torch7Name  = 256 // bytes of the name of a class
	torch7Depth = 2000
	torch7Dims  = 64
	torch7Shown = 32 // classes in the facts
)

func (torch7Format) Scan(_ context.Context, a *Artifact, out *Sink) error {
	t := &torch7Scan{rReader: rReader{newForward(a, 0), binary.LittleEndian}, out: out, seen: make(map[int32]int64), classes: make(map[string]bool)}
	defer func() { a.run.release(Memory, t.held) }()
	t.ascii = torch7Text(a.Head)
	if t.ascii {
		t.order = nil
	}
	_, err := t.object(0)
	if err == nil && t.ascii {
		t.space() // the last line ends
	}
	whole := err == nil && t.left() == 0
	if !whole && len(t.classes) == 0 && t.functions == 0 && a.Ext() != ".t7" && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("torch7: %w", ErrNotFormat)
	}
	out.Fact("framework", "torch7")
	out.Fact("objects", strconv.Itoa(len(t.seen)))
	out.Fact("functions", strconv.Itoa(t.functions))
	names := sortedKeys(t.classes)
	out.Fact("classes", excerpt(strings.Join(names[:min(len(names), torch7Shown)], " "), 400))
	if err == nil {
		out.Claim(0, t.off)
	}
	return err
}

// A torch7Scan is the reading of one file. The primitive values of its text
// form are words like those of R.
type torch7Scan struct {
	rReader
	out   *Sink
	ascii bool
	held  int64

	seen      map[int32]int64 // objects by number, with the elements of storages
	classes   map[string]bool
	functions int
}

// long is a number of eight bytes.
func (t *torch7Scan) long() (int64, error) {
	if !t.ascii {
		v, err := t.u64(binary.LittleEndian)
		return int64(v), err
	}
	at := t.off
	w, err := t.word()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("offset %d: %q in place of a number", at, excerpt(w, 40))
	}
	return n, nil
}

// string takes a text behind its length and keeps the first bytes.
func (t *torch7Scan) string(keep int64) (string, int64, error) {
	n, err := t.int()
	if err != nil {
		return "", 0, err
	}
	at := t.off
	if n < 0 {
		return "", 0, fmt.Errorf("offset %d: a text of %d bytes", at, n)
	}
	s, err := t.text(uint64(n), keep)
	return s, at, err
}

// object reads one object and returns how many elements it has as a storage,
// -1 when it is none.
func (t *torch7Scan) object(depth int) (int64, error) {
	if depth++; depth > torch7Depth {
		return -1, fmt.Errorf("offset %d: nested more than %d deep", t.off, torch7Depth)
	}
	at := t.off
	typ, err := t.int()
	if err != nil {
		return -1, err
	}
	switch typ {
	case torch7Nil:
		return -1, nil
	case torch7Number:
		return -1, t.numbers(1, 8, 1)
	case torch7Bool:
		_, err := t.int()
		return -1, err
	case torch7String:
		s, at, err := t.string(8)
		if luaCode(s) && err == nil {
			t.finding(ruleTorch7Bytecode, at, "bytecode", "a text is compiled Lua code")
		}
		return -1, err
	case torch7Function:
		return -1, t.function(at, depth)
	case torch7Table, torch7Object, torch7Function + 1, torch7Function + 2:
	default:
		return -1, fmt.Errorf("offset %d: object of type %d", at, typ)
	}
	number, err := t.int()
	if err != nil {
		return -1, err
	}
	if n, ok := t.seen[number]; ok {
		return n, nil
	}
	if err := t.keep(number, -1); err != nil {
		return -1, err
	}
	switch typ {
	case torch7Table:
		return -1, t.table(depth)
	case torch7Object:
		n, err := t.class(at, depth)
		t.seen[number] = n
		return n, err
	}
	return -1, t.function(at, depth)
}

// keep remembers an object: later ones refer to it by number.
func (t *torch7Scan) keep(number int32, n int64) error {
	const cost = 32
	if err := t.a.Spend(Memory, cost); err != nil {
		return err
	}
	t.held += cost
	t.seen[number] = n
	return nil
}

func (t *torch7Scan) table(depth int) error {
	n, err := t.int()
	if err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("offset %d: a table of %d entries", t.off, n)
	}
	for range 2 * int64(n) {
		if _, err := t.object(depth); err != nil {
			return err
		}
	}
	return nil
}

// function reads code and the variables that it closes over.
func (t *torch7Scan) function(at int64, depth int) error {
	code, _, err := t.string(64)
	if err != nil {
		return err
	}
	t.functions++
	what := "Lua source"
	if luaCode(code) {
		what = "compiled Lua code"
	}
	t.finding(ruleTorch7Function, at, "function", "function %d of the file is %s", t.functions, what)
	_, err = t.object(depth)
	return err
}

func luaCode(s string) bool { return strings.HasPrefix(s, "\x1bLua") || strings.HasPrefix(s, "\x1bLJ") }

// class reads an object of a class by name.
func (t *torch7Scan) class(at int64, depth int) (int64, error) {
	name, _, err := t.string(torch7Name)
	if err != nil {
		return -1, err
	}
	if strings.HasPrefix(name, "V ") { // files from before versions have none
		if name, _, err = t.string(torch7Name); err != nil {
			return -1, err
		}
	}
	if !torch7Class(name) {
		return -1, fmt.Errorf("offset %d: class %q", at, excerpt(name, 60))
	}
	if len(t.classes) < 4*torch7Shown {
		t.classes[name] = true
	}
	lib, short, _ := strings.Cut(name, ".")
	if lib == "torch" {
		if kind, ok := strings.CutSuffix(short, "Storage"); ok {
			return t.storage(kind)
		}
		if _, ok := strings.CutSuffix(short, "Tensor"); ok {
			return -1, t.tensor(at, depth)
		}
	}
	_, err = t.object(depth)
	return -1, err
}

func torch7Class(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == ""
}

// torch7Widths are the bytes of an element by the name of its storage.
var torch7Widths = map[string]int64{
	"Byte": 1, "Char": 1, "Short": 2, "Int": 4, "Long": 8, "Half": 2, "Float": 4, "Double": 8,
	"Cuda": 4, "CudaByte": 1, "CudaChar": 1, "CudaShort": 2, "CudaInt": 4, "CudaLong": 8, "CudaHalf": 2, "CudaDouble": 8, "Cl": 4,
}

func (t *torch7Scan) storage(kind string) (int64, error) {
	n, err := t.long()
	if err != nil {
		return -1, err
	}
	width, ok := torch7Widths[kind]
	if !ok || n < 0 {
		return -1, fmt.Errorf("offset %d: a storage of %d elements of %q", t.off, n, excerpt(kind, 40))
	}
	if t.ascii && kind == "Char" {
		return n, t.skip(uint64(n)) // written as they are
	}
	return n, t.numbers(uint64(n), width, 1)
}

// tensor reads shape, strides, offset and storage.
func (t *torch7Scan) tensor(at int64, depth int) error {
	dims, err := t.int()
	if err != nil {
		return err
	}
	if dims < 0 || dims > torch7Dims {
		return fmt.Errorf("offset %d: a tensor of %d dimensions", at, dims)
	}
	numbers := make([]int64, 2*dims+1)
	for i := range numbers {
		if numbers[i], err = t.long(); err != nil {
			return err
		}
	}
	n, err := t.object(depth)
	if err != nil {
		return err
	}
	end, ok := torch7End(numbers[:dims], numbers[dims:2*dims], numbers[2*dims]-1)
	if !ok || end > max(n, 0) {
		t.finding(ruleTorch7Layout, at, "tensor", "a tensor of shape %v, strides %v and offset %d over a storage of %d elements",
			numbers[:dims], numbers[dims:2*dims], numbers[2*dims], max(n, 0))
	}
	return nil
}

// torch7End is the element behind the last one that a tensor reaches.
func torch7End(shape, strides []int64, off int64) (int64, bool) {
	if len(shape) == 0 {
		return 0, true
	}
	end := uint64(off) + 1
	ok := off >= 0
	for i, n := range shape {
		if n < 0 || strides[i] < 0 {
			return 0, false
		}
		if n == 0 {
			return 0, true
		}
		hi, step := bits.Mul64(uint64(n-1), uint64(strides[i]))
		end += step
		ok = ok && hi == 0 && step < 1<<60 && end < 1<<61
	}
	return int64(end), ok
}

func (t *torch7Scan) finding(rule prerun.Rule, at int64, key, format string, args ...any) {
	t.out.report(rule, 0, prerun.Location{Offset: at, Length: 1}, key, format, args...)
}
