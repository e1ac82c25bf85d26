package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
	"github.com/prerun/prerun/internal/strictjson"
)

// coremlFormat walks Core ML models (.mlmodel, and the one in a package):
// pipelines and all models in them, layers of neural networks wherever control
// flow nests them, operations of ML programs and the weight files they name.
// Constants that an ML program holds within lists or dictionaries are not
// looked at. Compiled models (.mlmodelc) are not read.
//
// Facts: "framework", "version" of the specification, "models" in a pipeline,
// "operators" the number of layers and operations.
type coremlFormat struct{}

var (
	ruleCoreMLModel = prerun.Rule{
		ID: "scan.coreml.custom-model", Title: "model that is a class of the app", Severity: prerun.Medium,
		Help: "The model is only a name and parameters for a class that the app brings and that runs with the app's rights. What it computes is not in the file. Review that class.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleCoreMLLayer = prerun.Rule{
		ID: "scan.coreml.custom-layer", Title: "layer that is a class of the app", Severity: prerun.Medium,
		Help: "A layer of the network is computed by a class that the app brings and that runs with the app's rights. It is not in the file. Review that class.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleCoreMLLink = prerun.Rule{
		ID: "scan.coreml.linked-model", Title: "model that stands for another file", Severity: prerun.Medium,
		Help: "The model is a reference to a compiled model elsewhere, which was not part of what was scanned, hashed or signed. The finding is high when it is looked for outside the model's folder. Ship the model itself.",
		Refs: []prerun.Reference{refForeignCode, refTraversal},
	}
	ruleCoreMLPath = prerun.Rule{
		ID: "scan.coreml.weights-path", Title: "weights outside the model's folder", Severity: prerun.High,
		Help: "An ML program names a weight file outside its own folder, under an absolute or climbing name. Loading it reads that file of the host. Do not load the model.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
	ruleCoreMLRange = prerun.Rule{
		ID: "scan.coreml.weights-range", Title: "weights beyond their file", Severity: prerun.Medium,
		Help: "A constant of an ML program starts beyond the end of the weight file. Loaders crash, or read memory they should not. Do not load the model; export it again.",
		Refs: []prerun.Reference{cwe("CWE-125")},
	}
	ruleCoreMLManifest = prerun.Rule{
		ID: "scan.coreml.manifest-path", Title: "package item outside the package", Severity: prerun.High,
		Help: "The manifest of a Core ML package names an item outside the package, under an absolute or climbing path. Opening the package reads that file of the host. Do not open it.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
)

func (coremlFormat) Info() Info {
	return Info{
		ID: "coreml", Extensions: []string{".mlmodel"}, Operators: []string{"coreml"},
		Rules: []prerun.Rule{ruleCoreMLModel, ruleCoreMLLayer, ruleCoreMLLink, ruleCoreMLPath, ruleCoreMLRange},
	}
}

// coremlType reports the fields of a model of which one says what it is.
func coremlType(num int32) bool {
	switch {
	case num >= 200 && num <= 202, num >= 300 && num <= 304, num >= 400 && num <= 404, num >= 500 && num <= 502,
		num == 555, num == 556, num == 560, num >= 600 && num <= 610, num == 900, num >= 2000 && num <= 2006, num == 3000:
		return true
	}
	return false
}

// Match wants a version and a type, whose numbers no other format uses. Where
// the type stands beyond the head, there must be nothing but a version and a
// description before it.
func (coremlFormat) Match(p Probe) Match {
	version, types, others, description := false, false, false, false
	wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		switch {
		case f.Is(1, wire.Varint) && f.Value > 0 && f.Value < 64:
			version = true
		case coremlType(f.Num) && f.Type == wire.Bytes:
			types = true
		case f.Is(2, wire.Bytes):
			description = true
		case !f.Is(10, wire.Varint):
			others = true
		}
		return true
	})
	if types && (version || !others) || version && description && !others && p.Size > int64(len(p.Head)) {
		return Maybe
	}
	return No
}

// coremlDepth bounds models within models and blocks within blocks.
const coremlDepth = 32

type coremlScan struct {
	a      *Artifact
	out    *Sink
	w      *wire.Reader
	types  int
	models int
	ops    int
	pos    int64            // up to which bytes are claimed
	files  map[string]Entry // weight files by name; of size -1 when not to be looked at
	custom map[string]bool
}

func (coremlFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &coremlScan{a: a, out: out, w: wire.NewReader(a, a.Size), files: map[string]Entry{}, custom: map[string]bool{}}
	err := s.model(wire.Field{Len: a.Size}, 1)
	if s.types == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("coreml: no model: %w", ErrNotFormat)
	}
	if err != nil {
		return fmt.Errorf("coreml: %w", err)
	}
	out.Fact("framework", "coreml")
	out.Fact("operators", strconv.Itoa(s.ops))
	if s.models > 1 {
		out.Fact("models", strconv.Itoa(s.models-1))
	}
	out.Claim(s.pos, a.Size-s.pos)
	return nil
}

func (s *coremlScan) finding(rule prerun.Rule, sev prerun.Severity, f wire.Field, key, format string, args ...any) {
	graphFinding(s.out, rule, sev, flatbuf.Range{Off: f.At, Len: f.End() - f.At}, key, format, args...)
}

// each walks the fields of bytes within a message.
func (s *coremlScan) each(f wire.Field, yield func(g wire.Field) error) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		if g.Type != wire.Bytes {
			return nil
		}
		return yield(g)
	})
}

func (s *coremlScan) tooDeep(f wire.Field, depth int) error {
	if depth > coremlDepth {
		return fmt.Errorf("offset %d: models nest deeper than %d", f.At, coremlDepth)
	}
	return nil
}

func (s *coremlScan) model(f wire.Field, depth int) error {
	if err := s.tooDeep(f, depth); err != nil {
		return err
	}
	s.models++
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Varint):
			if depth == 1 {
				s.out.Fact("version", strconv.FormatUint(g.Value, 10))
			}
		case g.Type != wire.Bytes, g.Num == 2:
		case coremlType(g.Num):
			s.types++
			return s.typed(g, depth)
		default: // no version of the format has it: searched for what it hides
			if g.Off > s.pos {
				s.out.Claim(s.pos, g.Off-s.pos)
				s.pos = g.End()
			}
		}
		return nil
	})
}

func (s *coremlScan) typed(f wire.Field, depth int) error {
	switch f.Num {
	case 200, 201:
		return s.each(f, func(g wire.Field) error {
			if g.Num == 1 {
				return s.pipeline(g, depth)
			}
			return nil
		})
	case 202:
		return s.pipeline(f, depth)
	case 303, 403, 500:
		return s.network(f, depth)
	case 502:
		return s.program(f, depth)
	case 555:
		name, err := s.field(f, 10)
		s.finding(ruleCoreMLModel, 0, f, name, "the model is the class %q of the app", name)
		return err
	case 556:
		return s.linked(f)
	case 3000:
		name, err := s.field(f, 1)
		s.out.Gap(fmt.Sprintf("the serialised model %q was not looked into", name), f.At, f.End()-f.At)
		return err
	}
	return nil
}

// field is the text of a field within a message, fit to be shown.
func (s *coremlScan) field(f wire.Field, num int32) (string, error) {
	name := ""
	err := s.each(f, func(g wire.Field) error {
		if g.Num != num {
			return nil
		}
		t, _, err := s.w.Text(g, 500)
		name = excerpt(t, 120)
		return err
	})
	return name, err
}

func (s *coremlScan) pipeline(f wire.Field, depth int) error {
	return s.each(f, func(g wire.Field) error {
		if g.Num == 1 {
			return s.model(g, depth+1)
		}
		return nil
	})
}

func (s *coremlScan) network(f wire.Field, depth int) error {
	if err := s.tooDeep(f, depth); err != nil {
		return err
	}
	return s.each(f, func(g wire.Field) error {
		if g.Num != 1 {
			return nil
		}
		s.ops++
		return s.each(g, func(h wire.Field) error {
			switch h.Num {
			case 500:
				name, err := s.field(h, 10)
				s.operator(h, name)
				if !s.custom[name] && len(s.custom) < 10_000 {
					s.custom[name] = true
					s.finding(ruleCoreMLLayer, 0, g, name, "a layer is the class %q of the app", name)
				}
				return err
			case 605: // branch
				return s.each(h, func(n wire.Field) error { return s.network(n, depth+1) })
			case 615: // loop: 2 is the name of its condition
				return s.each(h, func(n wire.Field) error {
					if n.Num == 2 {
						return nil
					}
					return s.network(n, depth+1)
				})
			}
			return nil
		})
	})
}

// operator tells of an operation of a program or the class of a custom layer.
func (s *coremlScan) operator(f wire.Field, name string) {
	s.out.Operator(Operator{Kind: "coreml", Name: name, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
}

// linked reads where another model is looked for: a file name, and folders
// separated by colons.
func (s *coremlScan) linked(f wire.Field) error {
	var name, search string
	err := s.each(f, func(g wire.Field) error {
		return s.each(g, func(h wire.Field) error {
			return s.each(h, func(v wire.Field) error {
				t, _, err := s.w.Text(v, ProbeSize)
				if h.Num == 1 {
					name = t
				} else {
					search = t
				}
				return err
			})
		})
	})
	sev := prerun.Medium
	if outside(name) {
		sev = prerun.High
	}
	for dir := range strings.SplitSeq(search, ":") {
		if dir != "" && !strings.HasPrefix(dir, "$BUNDLE_") && outside(dir) {
			sev = prerun.High
		}
	}
	s.finding(ruleCoreMLLink, sev, f, excerpt(name, 120), "the model is the file %q, looked for in %q", excerpt(name, 120), excerpt(search, 120))
	return err
}

// program walks an ML program: functions by name, for each a block by opset.
func (s *coremlScan) program(f wire.Field, depth int) error {
	return s.entries(f, 2, func(fn wire.Field) error {
		return s.entries(fn, 3, func(b wire.Field) error { return s.block(b, depth+1) })
	})
}

// entries yields the values of a map, whose entries are fields of that number.
func (s *coremlScan) entries(f wire.Field, num int32, yield func(v wire.Field) error) error {
	return s.each(f, func(e wire.Field) error {
		if e.Num != num {
			return nil
		}
		return s.each(e, func(v wire.Field) error {
			if v.Num == 2 {
				return yield(v)
			}
			return nil
		})
	})
}

func (s *coremlScan) block(f wire.Field, depth int) error {
	if err := s.tooDeep(f, depth); err != nil {
		return err
	}
	return s.each(f, func(o wire.Field) error {
		if o.Num != 3 {
			return nil
		}
		s.ops++
		err := s.each(o, func(g wire.Field) error {
			switch g.Num {
			case 1:
				name, _, err := s.w.Text(g, 100)
				s.operator(o, name)
				return err
			case 4:
				return s.block(g, depth+1)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.entries(o, 5, s.value); err != nil {
			return err
		}
		return s.entries(o, 2, func(argument wire.Field) error {
			return s.each(argument, func(binding wire.Field) error {
				return s.each(binding, func(v wire.Field) error {
					if v.Num == 2 {
						return s.value(v)
					}
					return nil
				})
			})
		})
	})
}

// value looks for a constant that is kept in a file.
func (s *coremlScan) value(f wire.Field) error {
	return s.each(f, func(g wire.Field) error {
		if g.Num != 5 {
			return nil
		}
		var name string
		var off uint64
		err := s.w.Walk(g.Off, g.End(), func(h wire.Field) (err error) {
			switch {
			case h.Is(1, wire.Bytes):
				name, _, err = s.w.Text(h, ProbeSize)
			case h.Is(2, wire.Varint):
				off = h.Value
			}
			return err
		})
		s.weights(g, name, off)
		return err
	})
}

func (s *coremlScan) weights(f wire.Field, name string, off uint64) {
	shown := excerpt(name, 120)
	e, seen := s.files[name]
	if !seen {
		location := strings.TrimPrefix(name, "@model_path/")
		var linked, ok bool
		e, linked, ok = s.a.sibling(location)
		switch {
		case outside(location) || linked:
			s.finding(ruleCoreMLPath, 0, f, shown, "weights are said to be in %q", shown)
			e.Size = -1
		case !ok:
			s.out.Gap(fmt.Sprintf("weights file %q is not here", shown), f.At, f.End()-f.At)
			e.Size = -1
		}
		if len(s.files) < 1000 {
			s.files[name] = e
		}
	}
	if e.Size >= 0 && off >= uint64(e.Size) {
		s.finding(ruleCoreMLRange, 0, f, shown, "a constant starts at %d of %q, which has %d bytes", off, shown, e.Size)
	}
}

// coremlWeightsFormat reads the weight files of ML programs: entries that each
// say where their data is. Facts: "tensors".
type coremlWeightsFormat struct{}

func (coremlWeightsFormat) Info() Info { return Info{ID: "coreml-weights"} }

const (
	coremlSentinel = "\xef\xbe\xad\xde"
	coremlEntry    = 64 // bytes of the header, of an entry, and of alignment
)

func (coremlWeightsFormat) Match(p Probe) Match {
	if h := p.Head; len(h) >= 2*coremlEntry && string(h[4:8]) == "\x02\x00\x00\x00" && string(h[64:68]) == coremlSentinel &&
		strings.Trim(string(h[8:64]), "\x00") == "" {
		return Certain
	}
	return No
}

func (coremlWeightsFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	le := binary.LittleEndian
	count := le.Uint32(a.Head)
	out.Fact("tensors", strconv.FormatUint(uint64(count), 10))
	out.Claim(0, coremlEntry)
	pos := int64(coremlEntry)
	var e [coremlEntry]byte
	for i := range count {
		if err := ctx.Err(); err != nil {
			return err
		}
		if pos > a.Size-coremlEntry {
			return fmt.Errorf("coreml-weights: offset %d: entry %d of %d is cut", pos, i, count)
		}
		if err := a.Spend(Entries, 1); err != nil {
			return err
		}
		if _, err := a.ReadAt(e[:], pos); err != nil && !isEOF(err) {
			return err
		}
		size, off := le.Uint64(e[8:]), le.Uint64(e[16:])
		if string(e[:4]) != coremlSentinel || off < uint64(pos+coremlEntry) || off > uint64(a.Size) || size > uint64(a.Size)-off {
			return fmt.Errorf("coreml-weights: offset %d: entry %d: %d bytes at %d of %d", pos, i, size, off, a.Size)
		}
		out.Claim(pos, coremlEntry)
		out.Claim(int64(off), int64(size))
		pos = (int64(off+size) + coremlEntry - 1) / coremlEntry * coremlEntry
	}
	return nil
}

// coremlPackageFormat reads the manifest of a Core ML package (.mlpackage): the
// paths of its items. The items are files of the folder and scanned as such.
// Facts: "framework".
type coremlPackageFormat struct{}

func (coremlPackageFormat) Info() Info {
	return Info{ID: "coreml-package", Within: []string{"text", "json"}, Rules: []prerun.Rule{ruleCoreMLManifest}}
}

func (coremlPackageFormat) Match(p Probe) Match {
	if p.Base() == "Manifest.json" {
		return Maybe
	}
	return No
}

func (coremlPackageFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	data, err := a.small(out, "manifest")
	if data == nil {
		return err
	}
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 16})
	if err != nil {
		if strings.Contains(string(data), "itemInfoEntries") {
			return fmt.Errorf("coreml-package: %w", err)
		}
		return fmt.Errorf("coreml-package: %w: %w", err, ErrNotFormat)
	}
	items := root.Get("itemInfoEntries")
	if items == nil || items.Kind != strictjson.Object {
		return fmt.Errorf("coreml-package: %w", ErrNotFormat)
	}
	out.Fact("framework", "coreml")
	c := configScan{a: a, out: out}
	for i := range items.Members {
		m := &items.Members[i]
		v := m.Value.Get("path")
		if v == nil {
			continue
		}
		at := "/itemInfoEntries/" + pointerEscaper.Replace(m.Name) + "/path"
		if shown := excerpt(textOf(v), 120); outside(textOf(v)) {
			c.finding(ruleCoreMLManifest, 0, v, at, shown, "the item %q is outside the package", shown)
		}
	}
	return nil
}
