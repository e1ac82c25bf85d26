package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// tfliteFormat walks TensorFlow Lite (LiteRT) models: operators, subgraphs,
// buffers, also those that lie behind the flat buffer or in other files.
// Tensor bytes are not read, and of the options of operators those that name a
// subgraph or a node of TensorFlow; bytes that nothing refers to, and metadata,
// are searched like any unclaimed part of a file. A zip archive of associated
// files may follow the model, as the metadata library writes it.
//
// A delegate compiled into a custom operator (Edge TPU, Ethos-U) is machine
// code for that device and is not looked into.
//
// Facts: "framework", "version" of the schema, "operators" the number of kinds
// of operators, "custom_operators" their names.
type tfliteFormat struct{}

var (
	ruleTFLiteCustom = prerun.Rule{
		ID: "scan.tflite.custom-operator", Title: "operator that needs foreign code", Severity: prerun.Medium,
		Help: "The model uses an operator that neither TensorFlow Lite nor its support libraries bring. It only runs together with native code from somewhere else, which is registered under that name. Review where that code comes from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleTFLiteLayout = prerun.Rule{
		ID: "scan.tflite.layout", Title: "reference outside the model", Severity: prerun.High,
		Help: "An operator, tensor or buffer of the model refers to a place or a number that does not exist. Runtimes that do not verify models read or write outside their memory. Do not load the file.",
		Refs: []prerun.Reference{
			cwe("CWE-125"),
			cwe("CWE-787"),
			cve("2020-15211"),
		},
	}
	ruleTFLiteRecursion = prerun.Rule{
		ID: "scan.tflite.subgraph-recursion", Title: "subgraph that runs itself", Severity: prerun.Medium,
		Help: "Control flow of the model leads from a subgraph back to itself. Runtimes recurse until their stack is full. The converter writes no such models. Do not run the model.",
		Refs: []prerun.Reference{cwe("CWE-674"), cve("2021-29591")},
	}
	ruleTFLitePath = prerun.Rule{
		ID: "scan.tflite.external-path", Title: "weights outside the model's folder", Severity: prerun.High,
		Help: "The model keeps weights in a file outside its own folder, under an absolute or climbing name. Loading it reads that file of the host. Do not load the model.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
)

func (tfliteFormat) Info() Info {
	return Info{
		ID: "tflite", Within: []string{"zip"}, Extensions: []string{".tflite"}, Operators: []string{"tflite", "tensorflow"},
		Rules: []prerun.Rule{ruleTFLiteCustom, ruleTFLiteLayout, ruleTFLiteRecursion, ruleTFLitePath, ruleTFFile, ruleTFPython},
	}
}

// tfliteHead reports the identifier of a model.
func tfliteHead(p Probe) bool { return len(p.Head) >= 8 && string(p.Head[4:8]) == "TFL3" }

func (tfliteFormat) Match(p Probe) Match {
	if tfliteHead(p) {
		return Certain
	}
	return No
}

// Slots of the tables, by the schema of version 3.
const (
	tflModelVersion  = 0
	tflModelCodes    = 1
	tflModelGraphs   = 2
	tflModelBuffers  = 4
	tflModelMetaBufs = 5
	tflModelMetadata = 6
	tflModelGroups   = 8
	tflModelExternal = 9

	tflCodeOld    = 0
	tflCodeCustom = 1
	tflCodeNew    = 3

	tflGraphTensors   = 0
	tflGraphInputs    = 1
	tflGraphOutputs   = 2
	tflGraphOperators = 3

	tflTensorBuffer   = 2
	tflTensorName     = 3
	tflTensorExternal = 10

	tflOpCode       = 0
	tflOpInputs     = 1
	tflOpOutputs    = 2
	tflOpOptions    = 4
	tflOpCustom     = 5
	tflOpLargeOff   = 9
	tflOpLargeSize  = 10
	tflCustom       = 32
	tflIf           = 118
	tflWhile        = 119
	tflCallOnce     = 129
	tflMaxOperators = 1 << 16 // kinds of operators that are kept
	tflMaxOptions   = 1 << 20 // bytes of options that are read
)

// A tfliteScan is the walk over one model.
type tfliteScan struct {
	a   *Artifact
	out *Sink
	b   *flatbuf.Buffer

	codes   []tfliteCode
	buffers int64
	needed  []bool            // buffers that a tensor has its data in
	blobs   []flatbuf.Range   // data of buffers
	graphs  int64             //
	calls   map[int64][]int64 // subgraph to the subgraphs that it runs
	extIDs  map[uint32]bool
	flexed  map[string]bool // operators of TensorFlow that were judged
}

type tfliteCode struct {
	builtin int32
	custom  string
	at      flatbuf.Range
}

func (tfliteFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &tfliteScan{a: a, out: out, b: flatbuf.New(a, a.Size), calls: map[int64][]int64{}, extIDs: map[uint32]bool{}, flexed: map[string]bool{}}
	model := s.b.Root()
	s.model(model)
	if err := flatErr("tflite", s.b); err != nil {
		return err
	}
	if v := model.Uint32(tflModelVersion, 0); v != 3 {
		return fmt.Errorf("tflite: schema version %d", v)
	}
	out.Fact("framework", "tflite")
	out.Fact("version", "3")
	s.operators()
	s.recursion()
	for _, r := range s.b.Used() {
		out.Claim(r.Off, r.Len)
	}
	return nil
}

func (s *tfliteScan) layout(t flatbuf.Table, key, format string, args ...any) {
	graphFinding(s.out, ruleTFLiteLayout, 0, flatbuf.Range{Off: t.Offset(), Len: 4}, key, format, args...)
}

func (s *tfliteScan) model(m flatbuf.Table) {
	codes := m.Vector(tflModelCodes, 4)
	for i := range min(codes.Len(), tflMaxOperators) {
		s.code(codes.Table(i))
	}
	if codes.Len() > tflMaxOperators {
		s.b.Fail(fmt.Errorf("more than %d kinds of operators", tflMaxOperators))
	}
	s.external(m)
	buffers := m.Vector(tflModelBuffers, 4)
	s.buffers = buffers.Len()
	for i := range buffers.Len() {
		s.buffer(i, buffers.Table(i))
	}
	s.needed = make([]bool, len(s.blobs))
	graphs := m.Vector(tflModelGraphs, 4)
	s.graphs = graphs.Len()
	for i := range graphs.Len() {
		s.graph(i, graphs.Table(i))
	}
	for i, needed := range s.needed {
		if needed {
			s.b.Use(s.blobs[i].Off, s.blobs[i].Len)
		}
	}
	meta := m.Vector(tflModelMetadata, 4)
	for i := range meta.Len() {
		t := meta.Table(i)
		name := t.Text(0, 80)
		if n := t.Uint32(1, 0); int64(n) >= s.buffers {
			s.layout(t, excerpt(name, 80), "metadata %q is in buffer %d of %d", excerpt(name, 80), n, s.buffers)
		}
	}
	m.Vector(tflModelMetaBufs, 4)
}

// code reads one kind of operator. Models before and after the list of builtin
// operators outgrew a byte have the number in different slots; the larger one
// counts.
func (s *tfliteScan) code(t flatbuf.Table) {
	c := tfliteCode{at: flatbuf.Range{Off: t.Offset(), Len: 4}}
	c.builtin = max(int32(int8(t.Uint8(tflCodeOld, 0))), t.Int32(tflCodeNew, 0))
	c.custom = t.Text(tflCodeCustom, 200)
	s.codes = append(s.codes, c)
}

// buffer notes where the data of a buffer is: within the flat buffer, or
// behind it for models above 2 GiB.
func (s *tfliteScan) buffer(i int64, t flatbuf.Table) {
	if i >= 1<<20 { // tables take memory here: further ones stay unclaimed
		return
	}
	blob := t.Blob(0)
	if off, size := t.Uint64(1, 0), t.Uint64(2, 0); off > 1 {
		if off > uint64(s.a.Size) || size > uint64(s.a.Size)-off {
			s.layout(t, strconv.FormatInt(i, 10), "buffer %d: %d bytes at %d, the file has %d", i, size, off, s.a.Size)
		} else {
			blob = flatbuf.Range{Off: int64(off), Len: int64(size)}
		}
	}
	s.blobs = append(s.blobs, blob)
}

func (s *tfliteScan) graph(i int64, g flatbuf.Table) {
	tensors := g.Vector(tflGraphTensors, 4)
	for k := range tensors.Len() {
		t := tensors.Table(k)
		n := int64(t.Uint32(tflTensorBuffer, 0))
		if n >= s.buffers {
			s.layout(t, "tensor", "subgraph %d: tensor %d has its data in buffer %d of %d", i, k, n, s.buffers)
		}
		if n < int64(len(s.needed)) {
			s.needed[n] = true
		}
		t.Text(tflTensorName, 0)
		t.Vector(0, 4)
		if id := t.Uint32(tflTensorExternal, 0); id != 0 && !s.extIDs[id] {
			s.layout(t, "external", "subgraph %d: tensor %d has its data in external buffer %d, which is not there", i, k, id)
		}
	}
	for _, slot := range []int{tflGraphInputs, tflGraphOutputs} {
		s.indices(g, slot, tensors.Len(), fmt.Sprintf("subgraph %d", i))
	}
	ops := g.Vector(tflGraphOperators, 4)
	for k := range ops.Len() {
		s.operator(i, k, ops.Table(k), tensors.Len())
	}
}

// indices checks a list of tensor numbers; -1 stands for a tensor left out.
func (s *tfliteScan) indices(t flatbuf.Table, slot int, tensors int64, what string) {
	v := t.Vector(slot, 4)
	for i := range v.Len() {
		if n := int64(v.Int32(i)); n < -1 || n >= tensors {
			s.layout(t, "index", "%s refers to tensor %d of %d", what, n, tensors)
			return
		}
	}
}

func (s *tfliteScan) operator(graph, k int64, t flatbuf.Table, tensors int64) {
	what := fmt.Sprintf("subgraph %d: operator %d", graph, k)
	s.indices(t, tflOpInputs, tensors, what)
	s.indices(t, tflOpOutputs, tensors, what)
	options := []flatbuf.Range{t.Blob(tflOpCustom)}
	if off, size := t.Uint64(tflOpLargeOff, 0), t.Uint64(tflOpLargeSize, 0); off > 1 {
		if off > uint64(s.a.Size) || size > uint64(s.a.Size)-off {
			s.layout(t, "options", "%s: %d bytes of options at %d, the file has %d", what, size, off, s.a.Size)
		} else {
			options = append(options, flatbuf.Range{Off: int64(off), Len: int64(size)})
		}
	}
	n := int64(t.Uint32(tflOpCode, 0))
	if n >= int64(len(s.codes)) {
		s.layout(t, "operator", "%s is of kind %d of %d", what, n, len(s.codes))
		return
	}
	callees := 0
	switch s.codes[n].builtin {
	case tflIf, tflWhile:
		callees = 2
	case tflCallOnce:
		callees = 1
	case tflCustom:
		if strings.HasPrefix(s.codes[n].custom, "Flex") {
			s.flex(t, what, options)
		}
	}
	if callees == 0 {
		return
	}
	o := t.Table(tflOpOptions)
	for slot := range callees {
		callee := int64(o.Int32(slot, 0))
		if callee < 0 || callee >= s.graphs {
			s.layout(t, "subgraph", "%s runs subgraph %d of %d", what, callee, s.graphs)
		} else if calls := s.calls[graph]; !slices.Contains(calls, callee) && len(calls) < 1000 {
			s.calls[graph] = append(calls, callee)
		}
	}
}

// flex reads the node of TensorFlow in the options of a Flex operator: what
// runs is the operator that the node names, whatever the kind is called.
func (s *tfliteScan) flex(t flatbuf.Table, what string, options []flatbuf.Range) {
	for _, r := range options {
		if r.Len == 0 || s.b.Err() != nil {
			continue
		}
		err := fmt.Errorf("%d bytes of options", r.Len)
		if r.Len <= tflMaxOptions {
			err = s.flexNode(r)
		}
		if errors.Is(err, ErrBudget) {
			s.b.Fail(err)
		} else if err != nil {
			s.out.Gap(fmt.Sprintf("%s: the node of TensorFlow cannot be read: %v", what, err), r.Off, r.Len)
		}
	}
}

func (s *tfliteScan) flexNode(r flatbuf.Range) error {
	data, err := s.a.Bytes(r.Off, r.Len)
	if err != nil {
		return err
	}
	texts, err := flatbuf.FlexTexts(data)
	if err != nil {
		return err
	}
	if len(texts) < 2 {
		return fmt.Errorf("%d texts in its options", len(texts))
	}
	w := wire.NewReader(sliceReader(texts[1]), int64(len(texts[1])))
	return w.Walk(0, int64(len(texts[1])), func(f wire.Field) error {
		if !f.Is(2, wire.Bytes) {
			return nil
		}
		op, _, err := w.Text(f, 100)
		s.tensorflow(op, r)
		return err
	})
}

// tensorflow judges an operator of TensorFlow, once.
func (s *tfliteScan) tensorflow(op string, at flatbuf.Range) {
	if s.flexed[op] || len(s.flexed) >= 10_000 {
		return
	}
	s.flexed[op] = true
	s.out.Operator(Operator{Kind: "tensorflow", Name: op, Location: prerun.Location{Offset: at.Off, Length: at.Len}})
	if rule, ok := tfOperators[op]; ok {
		graphFinding(s.out, rule, 0, at, op, "operator %s", op)
	}
}

// external reads the files that hold weights of the model, as newer versions
// have them: groups are file names, buffers are ranges of them.
func (s *tfliteScan) external(m flatbuf.Table) {
	groups, buffers := m.Vector(tflModelGroups, 4), m.Vector(tflModelExternal, 4)
	names := make([]string, 0, min(groups.Len(), 1000))
	for i := range groups.Len() {
		t := groups.Table(i)
		name := t.Text(0, ProbeSize)
		shown := excerpt(name, 120)
		at := flatbuf.Range{Off: t.Offset(), Len: 4}
		_, linked, found := s.a.sibling(name)
		switch {
		case outside(name) || linked:
			graphFinding(s.out, ruleTFLitePath, 0, at, shown, "weights are said to be in %q", shown)
			name = ""
		case !found && s.b.Err() == nil:
			s.out.Gap(fmt.Sprintf("weights file %q is not here", shown), at.Off, at.Len)
			name = ""
		}
		if len(names) < 1000 {
			names = append(names, name)
		}
	}
	for i := range buffers.Len() {
		t := buffers.Table(i)
		if len(s.extIDs) < 1<<20 {
			s.extIDs[t.Uint32(0, 0)] = true
		}
		group := t.Uint32(1, 0)
		if int64(group) >= groups.Len() {
			s.layout(t, "group", "external buffer %d is in file %d of %d", i, group, groups.Len())
		}
		if int64(group) >= int64(len(names)) || names[group] == "" {
			continue
		}
		off, size := t.Uint64(2, 0), t.Uint64(3, 0)
		if e, _, _ := s.a.sibling(names[group]); off > uint64(e.Size) || size > uint64(e.Size)-off {
			shown := excerpt(names[group], 120)
			s.layout(t, shown, "external buffer %d: %d bytes at %d of %q, which has %d", i, size, off, shown, e.Size)
		}
	}
}

// tfliteKnown are custom operators that come with the runtime, its support
// libraries or a common accelerator.
var tfliteKnown = []string{
	"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess", "Rfft2d", "Irfft2d", "Multinomial",
	"RandomStandardNormal", "RandomUniform", "Roll", "Sign", "Conv3D", "Atan2", "Bucketize", "ReduceProd", "ReduceAll",
	"MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias", "TransformTensorBilinear", "TransformLandmarks", "Landmarks2TransformMatrix",
	"NGrams", "TFSentencepieceTokenizeOp", "WhitespaceTokenizeWithOffsetsV2", "FastWordpieceTokenizeWithOffsetsV2", "FastBertNormalize", "RaggedTensorToTensor", "RaggedRange",
	"SignalFramer", "SignalFftAutoScale", "SignalRfft", "SignalIrfft", "SignalWindow", "SignalEnergy", "SignalFilterBank", "SignalFilterBankLog",
	"SignalFilterBankSpectralSubtraction", "SignalFilterBankSquareRoot", "SignalDelay", "SignalOverlapAdd", "SignalPCAN", "SignalStacker",
	"edgetpu-custom-op", "ethos-u", "odml.update_kv_cache", "odml.update_external_kv_cache", "odml.scaled_dot_product_attention", "odml.rms_norm", "DISPATCH_OP",
}

// operators judges the kinds of operators. A Flex operator is one of
// TensorFlow's, run by TensorFlow.
func (s *tfliteScan) operators() {
	s.out.Fact("operators", strconv.Itoa(len(s.codes)))
	var own []string
	seen := make(map[string]bool)
	for _, c := range s.codes {
		if c.builtin != tflCustom || seen[c.custom] {
			continue
		}
		seen[c.custom] = true
		at := prerun.Location{Offset: c.at.Off, Length: c.at.Len}
		s.out.Operator(Operator{Kind: "tflite", Name: c.custom, Location: at})
		shown := excerpt(c.custom, 80)
		if len(own) < 20 {
			own = append(own, shown)
		}
		if op, flex := strings.CutPrefix(c.custom, "Flex"); flex {
			s.tensorflow(op, c.at)
			continue
		}
		if !slices.Contains(tfliteKnown, c.custom) {
			graphFinding(s.out, ruleTFLiteCustom, 0, c.at, shown, "operator %q needs code from outside the model", shown)
		}
	}
	if len(own) > 0 {
		slices.Sort(own)
		s.out.Fact("custom_operators", strings.Join(own, " "))
	}
}

// recursion reports the first subgraph that reaches itself. Without an answer
// after a bounded search it reports nothing: there are at most 1000 calls from
// a subgraph, and each subgraph is entered once.
func (s *tfliteScan) recursion() {
	state := make(map[int64]int) // 1 on the path, 2 done
	var visit func(g int64, depth int) bool
	visit = func(g int64, depth int) bool {
		if state[g] == 2 {
			return false
		}
		if state[g] == 1 || depth > 10_000 {
			return true
		}
		state[g] = 1
		if slices.ContainsFunc(s.calls[g], func(c int64) bool { return visit(c, depth+1) }) {
			return true
		}
		state[g] = 2
		return false
	}
	for g := range s.graphs {
		if len(s.calls[g]) > 0 && visit(g, 0) {
			graphFinding(s.out, ruleTFLiteRecursion, 0, flatbuf.Range{Len: 8}, "subgraph", "subgraph %d reaches itself", g)
			return
		}
	}
}
