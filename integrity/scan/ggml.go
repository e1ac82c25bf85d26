package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/prerun/prerun"
)

// ggmlFormat reads the formats that came before GGUF: "ggml" without a version,
// "ggmf", "ggjt" and the adapters "ggla". They hold numbers and a vocabulary;
// the loaders of their time believed every length. Facts: "framework",
// "version", "tensors", "vocabulary".
//
// Header, vocabulary and tensors of the Llama layout are walked, and those of
// adapters. "ggml" is the mark of other layouts as well, one for each model
// family: where the vocabulary follows a header of four to eleven numbers, as
// for GPT-2 and GPT-J, it is walked too; anything else, such as Whisper's
// filters, is a gap. The sizes of quantised tensors changed over the years
// without a mark, so that a tensor counts as too long only when it is by each
// table.
type ggmlFormat struct{}

var ruleGGMLLayout = prerun.Rule{
	ID: "scan.ggml.layout", Title: "length that the file does not have", Severity: prerun.Medium,
	Help: "The vocabulary or a tensor is longer than the file, has more than four dimensions, or a shape whose size overflows. Loaders of these old formats allocate and read by such numbers unchecked. The file is cut, or was made to break them. Do not load it; use a GGUF model.",
	Refs: []prerun.Reference{cwe("CWE-125"), cwe("CWE-190")},
}

func (ggmlFormat) Info() Info {
	return Info{ID: "ggml", Extensions: []string{".ggml"}, Rules: []prerun.Rule{ruleGGMLLayout}}
}

// ggmlKind names what a file starts like: the mark is a number, so its letters
// stand backwards.
func ggmlKind(head []byte) string {
	if len(head) < 40 {
		return ""
	}
	version := binary.LittleEndian.Uint32(head[4:])
	switch string(head[:4]) {
	case "lmgg":
		return "ggml"
	case "fmgg":
		if version == 1 {
			return "ggmf"
		}
	case "tjgg":
		if version >= 1 && version <= 3 {
			return "ggjt"
		}
	case "algg":
		if version == 1 {
			return "ggla"
		}
	}
	return ""
}

func (ggmlFormat) Match(p Probe) Match {
	if ggmlKind(p.Head) == "" {
		return No
	}
	return Certain
}

func (ggmlFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	g := &ggmlScan{a: a, out: out, kind: ggmlKind(a.Head)}
	out.Fact("framework", g.kind)
	if g.kind != "ggml" {
		out.Fact("version", strconv.Itoa(int(binary.LittleEndian.Uint32(a.Head[4:]))))
	}
	layouts := []ggmlLayout{{numbers: 7, scores: true, start: 8}}
	switch g.kind {
	case "ggla":
		layouts[0] = ggmlLayout{numbers: 2, start: 8, adapter: true}
	case "ggml":
		layouts = []ggmlLayout{{numbers: 7, start: 4}}
		for n := int64(4); n <= 11; n++ {
			layouts = append(layouts, ggmlLayout{numbers: n, start: 4, again: true})
		}
	}
	return g.choose(layouts)
}

// A ggmlLayout is what stands before the tensors.
type ggmlLayout struct {
	start   int64
	numbers int64 // in the header; the first is the size of the vocabulary
	again   bool  // which stands there again before the vocabulary
	scores  bool  // of the words
	adapter bool  // no vocabulary
}

type ggmlScan struct {
	a    *Artifact
	out  *Sink
	kind string
}

// A ggmlFault is a length that the file does not have.
type ggmlFault struct {
	at   int64
	what string
}

func (f *ggmlFault) Error() string { return fmt.Sprintf("offset %d: %s", f.at, f.what) }

// choose takes the layout whose reading ends with the file, or else the first.
func (g *ggmlScan) choose(layouts []ggmlLayout) error {
	var first error
	for i, l := range layouts {
		if l.again && !g.repeats(l) {
			continue
		}
		for _, old := range []bool{true, false} {
			words, tensors, err := g.read(l, old)
			switch {
			case errors.Is(err, ErrBudget):
				return err
			case err == nil:
				if !l.adapter {
					g.out.Fact("vocabulary", strconv.FormatUint(words, 10))
				}
				g.out.Fact("tensors", strconv.Itoa(tensors))
				g.out.Claim(0, g.a.Size)
				return nil
			case i == 0 || first == nil:
				first = err // of the newer table, which is the likelier of two wrong ones
			}
		}
	}
	if f, ok := errors.AsType[*ggmlFault](first); ok && g.kind != "ggml" {
		g.out.Finding(prerun.Finding{
			Rule:       ruleGGMLLayout,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: f.at, Length: 1}},
			Message:    f.what,
		})
		g.out.Claim(0, f.at)
		return nil
	}
	if g.kind == "ggml" {
		return fmt.Errorf("a layout that is not read: %w: %w", first, errUnsupported)
	}
	return first
}

// repeats reports whether the size of the vocabulary stands behind the header.
func (g *ggmlScan) repeats(l ggmlLayout) bool {
	at := l.start + 4*l.numbers
	if int64(len(g.a.Head)) < at+4 {
		return false
	}
	le := binary.LittleEndian
	return le.Uint32(g.a.Head[at:]) == le.Uint32(g.a.Head[l.start:])
}

// read walks the file by one layout and one table of sizes.
func (g *ggmlScan) read(l ggmlLayout, old bool) (words uint64, tensors int, err error) {
	f := newForward(g.a, l.start)
	le := binary.LittleEndian
	n, err := f.u32(le)
	if err != nil {
		return 0, 0, err
	}
	skip := 4 * (l.numbers - 1)
	if l.again {
		skip += 4
	}
	if err := f.skip(uint64(skip)); err != nil {
		return 0, 0, err
	}
	if !l.adapter {
		if words = uint64(n); f.room(words, 4) != nil {
			return 0, 0, &ggmlFault{l.start, fmt.Sprintf("a vocabulary of %d words in a file of %d bytes", n, g.a.Size)}
		}
		for i := range words {
			at := f.off
			size, err := f.u32(le)
			if err != nil {
				return 0, 0, err
			}
			if f.room(uint64(size), 1) != nil {
				return 0, 0, &ggmlFault{at, fmt.Sprintf("word %d of %d bytes, %d are left", i, size, f.left())}
			}
			n := uint64(size)
			if l.scores {
				n += 4
			}
			if err := f.skip(n); err != nil {
				return 0, 0, err
			}
		}
	}
	for ; f.left() > 0; tensors++ {
		if err := g.a.Spend(Entries, 1); err != nil {
			return 0, 0, err
		}
		if err := g.tensor(f, old); err != nil {
			return 0, 0, err
		}
	}
	return words, tensors, nil
}

// ggmlOld are blocks before the spring of 2023, where they differ.
var ggmlOld = map[uint32]ggmlType{2: {32, 20}, 3: {32, 24}, 4: {16, 10}, 5: {16, 12}, 8: {32, 36}, 9: {32, 40}}

func (g *ggmlScan) tensor(f *forward, old bool) error {
	at := f.off
	var head [3]uint32 // dimensions, length of the name, type
	for i := range head {
		var err error
		if head[i], err = f.u32(binary.LittleEndian); err != nil {
			return err
		}
	}
	if head[0] > 4 || head[1] > docText {
		return &ggmlFault{at, fmt.Sprintf("a tensor of %d dimensions with a name of %d bytes", head[0], head[1])}
	}
	elements, over := uint64(1), false
	for range head[0] {
		d, err := f.u32(binary.LittleEndian)
		if err != nil {
			return err
		}
		hi, lo := bits.Mul64(elements, uint64(d))
		over = over || hi != 0 || lo > 1<<48
		elements = lo
	}
	if err := f.skip(uint64(head[1])); err != nil {
		return err
	}
	if g.kind == "ggjt" || g.kind == "ggla" {
		if err := f.skip(uint64(-f.off & 31)); err != nil {
			return err
		}
	}
	block, ok := ggmlOld[head[2]]
	if !old || !ok {
		block, ok = ggmlTypes[head[2]]
	}
	switch {
	case over:
		return &ggmlFault{at, "a tensor whose shape overflows"}
	case !ok:
		return fmt.Errorf("offset %d: tensor of type %d: %w", at, head[2], errUnsupported)
	}
	if elements%block.block != 0 {
		return &ggmlFault{at, fmt.Sprintf("%d elements are no multiple of the block of their type, %d", elements, block.block)}
	}
	size := elements / block.block * block.bytes
	if f.room(size, 1) != nil {
		return &ggmlFault{at, fmt.Sprintf("a tensor of %d bytes, %d are left", size, f.left())}
	}
	return f.skip(size)
}
