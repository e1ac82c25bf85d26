package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// onnxFormat walks ONNX models: graphs, functions, tensors, wherever they
// nest. Facts: "producer", "ir_version", "opsets", "external_data" the number
// of tensors kept in other files.
type onnxFormat struct{}

var (
	ruleOnnxPath = prerun.Rule{
		ID: "scan.onnx.external-path", Title: "external data outside the model's folder", Severity: prerun.High,
		Help: "A tensor's data is said to be in a file outside the model's folder. Loading the model reads that file of the host into the weights; checks in several versions of onnx could be bypassed. Do not load the model.",
		Refs: []prerun.Reference{
			refTraversal, cve("2022-25882"), cve("2024-27318"), cve("2025-51480"), cve("2026-27489"), cve("2026-34446"), cve("2026-34447"),
		},
	}
	ruleOnnxLink = prerun.Rule{
		ID: "scan.onnx.external-link", Title: "external data behind a link", Severity: prerun.Medium,
		Help: "A tensor's data is reached through a symbolic link, so what is loaded may lie outside the model's folder and may change after the scan. Replace the link by the file.",
		Refs: []prerun.Reference{refLink, cve("2026-34447")},
	}
	ruleOnnxRange = prerun.Rule{
		ID: "scan.onnx.external-range", Title: "external data beyond its file", Severity: prerun.Medium,
		Help: "A tensor claims bytes beyond the end of the external file, or a negative or unreadable range. Loaders crash, or read memory they should not. Do not load the model; export it again.",
		Refs: []prerun.Reference{cwe("CWE-125")},
	}
	ruleOnnxDomain = prerun.Rule{
		ID: "scan.onnx.custom-operator", Title: "operator that needs foreign code", Severity: prerun.Medium,
		Help: "The model uses operators of a domain that neither ONNX nor its runtime defines and that the model does not define as a function. It only runs together with a native library from somewhere else. Review where that library comes from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleOnnxPython = prerun.Rule{
		ID: "scan.onnx.python-operator", Title: "operator that runs Python", Severity: prerun.High,
		Help: "The model holds an operator that hands control to Python code by name. An exported model does not need one. Do not load the model where such operators are enabled.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	ruleOnnxSize = prerun.Rule{
		ID: "scan.onnx.size-claim", Title: "tensor that is not as large as it says", Severity: prerun.Medium,
		Help: "The shape and type of a tensor do not agree with the bytes stored for it, or overflow. Loaders that believe the shape allocate far too much or read beyond the data. Do not load the model; export it again.",
		Refs: []prerun.Reference{cve("2024-27319"), cwe("CWE-789"), cwe("CWE-125")},
	}
	ruleOnnxRecursion = prerun.Rule{
		ID: "scan.onnx.function-recursion", Title: "function that calls itself", Severity: prerun.Medium,
		Help: "Functions of the model call each other in a circle. Expanding them, as runtimes do, never ends. The format forbids it. Do not load the model.",
		Refs: []prerun.Reference{cwe("CWE-674")},
	}
)

func (onnxFormat) Info() Info {
	return Info{
		ID: "onnx", Extensions: []string{".onnx"}, Operators: []string{"onnx"},
		Rules: []prerun.Rule{
			ruleOnnxPath, ruleOnnxLink, ruleOnnxRange, ruleOnnxDomain, ruleOnnxPython, ruleOnnxSize, ruleOnnxRecursion,
		},
	}
}

// onnxModel is the wire type of each field of a model.
var onnxModel = map[int32]bool{ // true: bytes, false: varint
	1: false, 2: true, 3: true, 4: true, 5: false, 6: true, 7: true, 8: true, 14: true, 20: true, 25: true, 26: true,
}

var errEnough = errors.New("enough")

// Match walks the fields at the start: the format has no magic number, but few
// other messages have only these fields, of these types.
func (onnxFormat) Match(p Probe) Match {
	if len(p.Head) < 8 || p.Head[0] > 0xd2 || p.Head[0] < 8 {
		return No
	}
	var version, telling, fields int
	head := wire.NewReader(sliceReader(p.Head), int64(len(p.Head)))
	whole := p.Size == int64(len(p.Head))
	err := head.Walk(0, int64(len(p.Head)), func(f wire.Field) error {
		isBytes, known := onnxModel[f.Num]
		if !known || isBytes != (f.Type == wire.Bytes) || !isBytes && f.Type != wire.Varint {
			return ErrNotFormat
		}
		fields++
		switch f.Num {
		case 1:
			if f.Value == 0 || f.Value > 64 {
				return ErrNotFormat
			}
			version++
		case 7, 8, 2:
			telling++
		}
		return nil
	})
	if errors.Is(err, ErrNotFormat) || version != 1 || err != nil && whole {
		return No
	}
	// A graph is longer than the head; what matters is that its tag stands there.
	if telling == 0 && !(err != nil && fields > 0) {
		return No
	}
	return Maybe
}

// sliceReader is the smallest io.ReaderAt over bytes.
type sliceReader []byte

func (s sliceReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(s)) {
		return 0, fs.ErrInvalid
	}
	n := copy(p, s[off:])
	if n < len(p) {
		return n, errEnough
	}
	return n, nil
}

// onnxDepth bounds graphs within attributes within graphs.
const onnxDepth = 32

// An onnxScan is the walk over one model.
type onnxScan struct {
	a        *Artifact
	out      *Sink
	w        *wire.Reader
	uses     map[onnxOperator]int64 // foreign operators, and where the first of each is
	defined  map[onnxOperator]bool  // functions of the model's own
	calls    map[string][]string    // function to the operators it uses, both as domain:name
	opsets   []string
	external int
	unknown  []wire.Field
}

// An onnxOperator is named by these; functions of one name differ by overload.
type onnxOperator struct{ domain, name, overload string }

func (o onnxOperator) id() string {
	if o.overload == "" {
		return o.domain + ":" + o.name
	}
	return o.domain + ":" + o.name + ":" + o.overload
}

// maxOnnxUses bounds the foreign operators that are told apart.
const maxOnnxUses = 1 << 16

func (onnxFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &onnxScan{
		a: a, out: out, w: wire.NewReader(a, a.Size),
		uses: map[onnxOperator]int64{}, defined: map[onnxOperator]bool{}, calls: map[string][]string{},
	}
	graphs := 0
	err := s.w.Walk(0, a.Size, func(f wire.Field) error { return s.model(f, &graphs) })
	if graphs == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("onnx: no graph: %w", ErrNotFormat)
	}
	if err != nil {
		return err
	}
	s.claim()
	slices.Sort(s.opsets)
	out.Fact("opsets", strings.Join(s.opsets, " "))
	if s.external > 0 {
		out.Fact("external_data", strconv.Itoa(s.external))
	}
	s.customDomains()
	s.recursion()
	return nil
}

// claim takes the whole file but the fields that the format does not know.
func (s *onnxScan) claim() {
	slices.SortFunc(s.unknown, func(a, b wire.Field) int { return int(a.At - b.At) })
	pos := int64(0)
	for _, f := range s.unknown {
		s.out.Claim(pos, f.Off-pos)
		pos = f.End()
	}
	s.out.Claim(pos, s.a.Size-pos)
}

// skip notes a field of bytes that no version of the format defines.
func (s *onnxScan) skip(f wire.Field) error {
	if f.Type == wire.Bytes && len(s.unknown) < 10_000 {
		s.unknown = append(s.unknown, f)
	}
	return nil
}

func (s *onnxScan) text(f wire.Field, max int64) (string, error) {
	t, cut, err := s.w.Text(f, max)
	if cut {
		t += "…"
	}
	return t, err
}

func (s *onnxScan) model(f wire.Field, graphs *int) error {
	switch {
	case f.Is(1, wire.Varint):
		s.out.Fact("ir_version", strconv.FormatUint(f.Value, 10))
	case f.Is(2, wire.Bytes):
		t, err := s.text(f, 80)
		s.out.Fact("producer", excerpt(t, 80))
		return err
	case f.Is(7, wire.Bytes):
		*graphs++
		return s.graph(f, "", 1)
	case f.Is(8, wire.Bytes):
		return s.opset(f)
	case f.Is(20, wire.Bytes):
		return s.w.Walk(f.Off, f.End(), func(t wire.Field) error {
			if t.Is(1, wire.Bytes) || t.Is(2, wire.Bytes) {
				return s.graph(t, "", 1)
			}
			return nil
		})
	case f.Is(25, wire.Bytes):
		return s.function(f)
	default:
		if _, ok := onnxModel[f.Num]; !ok {
			return s.skip(f)
		}
	}
	return nil
}

func (s *onnxScan) opset(f wire.Field) error {
	domain, version := "", uint64(0)
	err := s.w.Walk(f.Off, f.End(), func(t wire.Field) (err error) {
		switch {
		case t.Is(1, wire.Bytes):
			domain, err = s.text(t, 200)
		case t.Is(2, wire.Varint):
			version = t.Value
		}
		return err
	})
	if len(s.opsets) < 100 {
		s.opsets = append(s.opsets, fmt.Sprintf("%s:%d", excerpt(onnxDomain(domain), 80), version))
	}
	return err
}

// onnxDomain gives the default domain its name.
func onnxDomain(d string) string {
	if d == "" {
		return "ai.onnx"
	}
	return d
}

func (s *onnxScan) graph(f wire.Field, function string, depth int) error {
	if depth > onnxDepth {
		return fmt.Errorf("offset %d: graphs nest deeper than %d", f.At, onnxDepth)
	}
	return s.w.Walk(f.Off, f.End(), func(t wire.Field) error {
		switch {
		case t.Is(1, wire.Bytes):
			return s.node(t, function, depth)
		case t.Is(5, wire.Bytes):
			return s.tensor(t)
		case t.Is(15, wire.Bytes):
			return s.sparse(t)
		case t.Num > 16:
			return s.skip(t)
		}
		return nil
	})
}

func (s *onnxScan) sparse(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(t wire.Field) error {
		if t.Is(1, wire.Bytes) || t.Is(2, wire.Bytes) {
			return s.tensor(t)
		}
		return nil
	})
}

func (s *onnxScan) node(f wire.Field, function string, depth int) error {
	var op, domain, overload string
	err := s.w.Walk(f.Off, f.End(), func(t wire.Field) (err error) {
		switch {
		case t.Is(4, wire.Bytes):
			op, err = s.text(t, 200)
		case t.Is(7, wire.Bytes):
			domain, err = s.text(t, 200)
		case t.Is(8, wire.Bytes):
			overload, err = s.text(t, 200)
		case t.Is(5, wire.Bytes):
			return s.attribute(t, function, depth)
		case t.Num > 10:
			return s.skip(t)
		}
		return err
	})
	domain = onnxDomain(domain)
	s.out.Operator(Operator{Kind: "onnx", Domain: domain, Name: op, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
	id := onnxOperator{domain, op, overload}
	if !knownDomain(domain) {
		switch _, again := s.uses[id]; {
		case again:
		case len(s.uses) == maxOnnxUses:
			s.out.Gap("more foreign operators than are told apart", f.At, f.End()-f.At)
		default:
			s.uses[id] = f.At
		}
	}
	if function != "" && len(s.calls[function]) < 10_000 {
		s.calls[function] = append(s.calls[function], id.id())
	}
	if (op == "PyOp" || op == "PythonOp" || op == "PythonOpGrad" || op == "PyFunc") && !s.out.full(ruleOnnxPython, 0) {
		shown := excerpt(domain+":"+op, 120)
		s.finding(ruleOnnxPython, f, shown, "operator %q hands control to Python", shown)
	}
	if op == "EPContext" && err == nil {
		return s.engine(f)
	}
	return err
}

// engine reads a node that stands for a graph compiled for an accelerator: the
// runtime hands a file, or the bytes in the node, to the accelerator's library.
func (s *onnxScan) engine(node wire.Field) error {
	s.out.Gap("a node holds an engine for an accelerator, which is not read", node.At, node.End()-node.At)
	embedded, cache, source := true, wire.Field{}, ""
	err := s.w.Walk(node.Off, node.End(), func(t wire.Field) error {
		if !t.Is(5, wire.Bytes) {
			return nil
		}
		var name string
		var number uint64
		var text wire.Field
		err := s.w.Walk(t.Off, t.End(), func(g wire.Field) (err error) {
			switch {
			case g.Is(1, wire.Bytes):
				name, err = s.text(g, 80)
			case g.Is(3, wire.Varint):
				number = g.Value
			case g.Is(4, wire.Bytes):
				text = g
			}
			return err
		})
		switch name {
		case "embed_mode":
			embedded = number != 0
		case "ep_cache_context":
			cache = text
		case "onnx_model_filename":
			if source, _, err = s.w.Text(text, ProbeSize); err == nil && source != "" {
				s.engineFile(t, source)
			}
		}
		return err
	})
	switch {
	case err != nil || cache.Len == 0:
		return err
	case embedded:
		return s.skip(cache) // searched for programs, as what no format knows
	}
	file, _, err := s.w.Text(cache, ProbeSize)
	if err == nil {
		s.engineFile(cache, file)
	}
	return err
}

// engineFile judges where the file of an engine is said to be.
func (s *onnxScan) engineFile(f wire.Field, file string) {
	shown := excerpt(file, 120)
	switch _, linked, ok := s.a.sibling(file); {
	case outside(file):
		s.finding(ruleOnnxPath, f, shown, "an engine is said to be in %q", shown)
	case linked:
		s.finding(ruleOnnxLink, f, shown, "%q, an engine, is reached through a link", shown)
	case !ok:
		s.out.Gap(fmt.Sprintf("engine %q is not here", shown), f.At, f.Off-f.At+f.Len)
	}
}

func (s *onnxScan) attribute(f wire.Field, function string, depth int) error {
	return s.w.Walk(f.Off, f.End(), func(t wire.Field) error {
		switch {
		case t.Is(5, wire.Bytes), t.Is(10, wire.Bytes):
			return s.tensor(t)
		case t.Is(6, wire.Bytes), t.Is(11, wire.Bytes):
			return s.graph(t, function, depth+1)
		case t.Is(22, wire.Bytes), t.Is(23, wire.Bytes):
			return s.sparse(t)
		case t.Num > 23:
			return s.skip(t)
		}
		return nil
	})
}

func (s *onnxScan) function(f wire.Field) error {
	var name, domain, overload string
	err := s.w.Walk(f.Off, f.End(), func(t wire.Field) (err error) {
		switch {
		case t.Is(1, wire.Bytes):
			name, err = s.text(t, 200)
		case t.Is(10, wire.Bytes):
			domain, err = s.text(t, 200)
		case t.Is(13, wire.Bytes):
			overload, err = s.text(t, 200)
		}
		return err
	})
	if err != nil {
		return err
	}
	defined := onnxOperator{onnxDomain(domain), name, overload}
	id := defined.id()
	if len(s.defined) < maxOnnxUses && !strings.Contains(id, "…") {
		s.defined[defined] = true
	}
	if len(s.calls) < 10_000 {
		s.calls[id] = append(s.calls[id], []string{}...)
	}
	return s.w.Walk(f.Off, f.End(), func(t wire.Field) error {
		switch {
		case t.Is(7, wire.Bytes):
			return s.node(t, id, 1)
		case t.Is(11, wire.Bytes):
			return s.attribute(t, id, 1)
		case t.Num > 14:
			return s.skip(t)
		}
		return nil
	})
}

func (s *onnxScan) finding(rule prerun.Rule, f wire.Field, key, format string, args ...any) {
	s.out.Finding(prerun.Finding{
		Rule:       rule,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: f.At, Length: f.Off - f.At + f.Len}},
		Message:    fmt.Sprintf(format, args...),
		Key:        key,
	})
}

// known domains are those that ONNX and its runtime bring their own operators
// for.
func knownDomain(d string) bool {
	switch d {
	case "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.contrib",
		"com.microsoft", "com.microsoft.nchwc", "com.microsoft.dml", "com.microsoft.experimental", "com.ms.internal.nhwc":
		return true
	}
	return false
}

// customDomains reports each foreign domain by the first of its operators that
// the model does not define itself.
func (s *onnxScan) customDomains() {
	first := make(map[string]onnxOperator)
	for use, at := range s.uses {
		was, again := first[use.domain]
		if !s.defined[use] && (!again || at < s.uses[was]) {
			first[use.domain] = use
		}
	}
	for _, d := range sortedKeys(first) {
		shown := excerpt(d, 80)
		s.out.Finding(prerun.Finding{
			Rule:       ruleOnnxDomain,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: s.uses[first[d]], Length: 1}},
			Message:    fmt.Sprintf("operator %q of domain %q needs code from outside the model", excerpt(first[d].name, 80), shown),
			Key:        shown,
		})
	}
}

// recursion reports the first function, by name, that reaches itself.
func (s *onnxScan) recursion() {
	state := make(map[string]int) // 1 on the path, 2 done
	for _, id := range sortedKeys(s.calls) {
		if s.circular(id, state, 0) {
			shown := excerpt(id, 120)
			s.out.Finding(prerun.Finding{
				Rule:       ruleOnnxRecursion,
				Confidence: prerun.ConfidenceHigh,
				Message:    fmt.Sprintf("function %q reaches itself", shown),
				Key:        shown,
			})
			return
		}
	}
}

func (s *onnxScan) circular(id string, state map[string]int, depth int) bool {
	callees, defined := s.calls[id]
	if !defined || state[id] == 2 {
		return false
	}
	if state[id] == 1 || depth > 10_000 {
		return true
	}
	state[id] = 1
	for _, c := range callees {
		if s.circular(c, state, depth+1) {
			return true
		}
	}
	state[id] = 2
	return false
}

// onnxBits is the bits of one element by data type; 0 where it is not fixed.
var onnxBits = [...]uint64{
	1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
	16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}

// A tensorClaim is what one tensor says about itself.
type tensorClaim struct {
	name     string
	elements uint64
	overflow bool
	dtype    uint64
	raw      *wire.Field
	typed    bool              // values in a field of their type
	external map[string]string // what loaders read: the last value of a key counts
	replaced []string          // locations that a later one replaces
	outside  bool              // data_location says external
}

func (s *onnxScan) tensor(f wire.Field) error {
	t := tensorClaim{elements: 1}
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) error { return s.tensorField(g, &t) })
	if err != nil {
		return err
	}
	shown := excerpt(t.name, 80)
	var width uint64
	if t.dtype < uint64(len(onnxBits)) {
		width = onnxBits[t.dtype]
	}
	hi, total := bits.Mul64(t.elements, width)
	if t.overflow || hi != 0 || total > 1<<62 {
		s.finding(ruleOnnxSize, f, shown, "tensor %q: its shape overflows", shown)
		return nil
	}
	bytes := int64((total + 7) / 8)
	switch {
	case t.outside || len(t.external) > 0:
		s.external++
		s.externalData(f, t, shown, bytes)
	case t.raw != nil && width > 0 && t.raw.Len != bytes:
		s.finding(ruleOnnxSize, f, shown, "tensor %q: %d bytes stored, its shape takes %d", shown, t.raw.Len, bytes)
	case t.raw == nil && !t.typed && bytes > 1<<20:
		s.finding(ruleOnnxSize, f, shown, "tensor %q: its shape takes %d bytes, none are stored", shown, bytes)
	}
	return nil
}

func (s *onnxScan) tensorField(g wire.Field, t *tensorClaim) (err error) {
	dim := func(v uint64) {
		hi, lo := bits.Mul64(t.elements, v)
		t.overflow = t.overflow || hi != 0 || int64(v) < 0
		t.elements = lo
	}
	switch {
	case g.Is(1, wire.Varint):
		dim(g.Value)
	case g.Is(1, wire.Bytes):
		return s.packed(g, dim)
	case g.Is(2, wire.Varint):
		t.dtype = g.Value
	case g.Is(8, wire.Bytes):
		t.name, err = s.text(g, 200)
	case g.Is(9, wire.Bytes):
		t.raw = &g
	case g.Num >= 4 && g.Num <= 7, g.Num == 10, g.Num == 11:
		t.typed = true
	case g.Is(13, wire.Bytes):
		return s.externalEntry(g, t)
	case g.Is(14, wire.Varint):
		t.outside = g.Value == 1
	case g.Num > 16:
		return s.skip(g)
	}
	return err
}

// packed reads a list of varints; a shape has few.
func (s *onnxScan) packed(f wire.Field, yield func(uint64)) error {
	if f.Len > ProbeSize {
		return fmt.Errorf("offset %d: shape of %d bytes", f.At, f.Len)
	}
	text, _, err := s.w.Text(f, ProbeSize)
	if err != nil {
		return err
	}
	for p := []byte(text); len(p) > 0; {
		v, n := uvarint(p)
		if n <= 0 {
			return fmt.Errorf("offset %d: shape is cut", f.At)
		}
		yield(v)
		p = p[n:]
	}
	return nil
}

func uvarint(p []byte) (v uint64, n int) {
	for i, c := range p {
		if i == 10 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

func (s *onnxScan) externalEntry(f wire.Field, t *tensorClaim) error {
	var key, value string
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(1, wire.Bytes):
			key, err = s.text(g, 200)
		case g.Is(2, wire.Bytes):
			value, err = s.text(g, ProbeSize)
		}
		return err
	})
	if t.external == nil {
		t.external = make(map[string]string)
	}
	switch key {
	case "location", "offset", "length":
		if was, again := t.external[key]; again && key == "location" && len(t.replaced) < 16 {
			t.replaced = append(t.replaced, was)
		}
		t.external[key] = value
	}
	return err
}

// externalData judges where a tensor's data is said to be. Only names are
// looked at; the file itself is scanned as any other.
func (s *onnxScan) externalData(f wire.Field, t tensorClaim, tensor string, want int64) {
	location := t.external["location"]
	for _, l := range append(t.replaced, location) {
		if outside(l) {
			shown := excerpt(l, 120)
			s.finding(ruleOnnxPath, f, shown, "tensor %q: its data is said to be in %q", tensor, shown)
			return
		}
	}
	shown := excerpt(location, 120)
	e, linked, ok := s.a.sibling(location)
	if linked {
		s.finding(ruleOnnxLink, f, shown, "tensor %q: %q is reached through a link", tensor, shown)
		return
	}
	if !ok {
		s.out.Gap(fmt.Sprintf("external data %q of tensor %q is not here", shown, tensor), f.At, f.Off-f.At+f.Len)
		return
	}
	off, ok1 := natural(t.external["offset"])
	length, ok2 := natural(t.external["length"])
	if t.external["length"] == "" {
		length = want
	}
	if !ok1 || !ok2 || off > e.Size || length > e.Size-off {
		s.finding(ruleOnnxRange, f, shown, "tensor %q: bytes %q+%q of %q, which has %d", tensor,
			excerpt(t.external["offset"], 24), excerpt(t.external["length"], 24), shown, e.Size)
		return
	}
	if length != want && t.dtype < uint64(len(onnxBits)) && onnxBits[t.dtype] > 0 {
		s.finding(ruleOnnxSize, f, shown, "tensor %q: %d bytes in %q, its shape takes %d", tensor, length, shown, want)
	}
}

// natural reads a decimal number; the empty string is 0.
func natural(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 10, 62)
	return int64(n), err == nil
}
