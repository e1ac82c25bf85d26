package scan

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
)

// executorchFormat walks ExecuTorch programs: the operators and delegates of
// every method, and the segments behind the flat buffer. Values and the
// instructions over them are not interpreted; data of delegates is code for
// another runtime or chip, is not looked into, and is searched for native
// programs like any unclaimed part of a file. The zip archives for PyTorch
// Mobile (.ptl) are read as TorchScript.
//
// Facts: "framework", "version" of the schema, "delegates" the backends that
// run parts of it, "operators" the number of distinct operators.
type executorchFormat struct{}

var (
	ruleETKernel = prerun.Rule{
		ID: "scan.executorch.custom-kernel", Title: "operator that needs foreign code", Severity: prerun.Medium,
		Help: "The program calls an operator of a library that ExecuTorch does not bring. It only runs together with native kernels from somewhere else. Review where they come from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleETDelegate = prerun.Rule{
		ID: "scan.executorch.unknown-delegate", Title: "delegate that needs foreign code", Severity: prerun.Medium,
		Help: "Parts of the program are handed to a backend that is none of ExecuTorch's. It only runs together with a native library from somewhere else. Review where that library comes from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleETLayout = prerun.Rule{
		ID: "scan.executorch.layout", Title: "segment or reference outside the program", Severity: prerun.High,
		Help: "The program's header, a segment or a call refers to a place or a number that does not exist. The runtime reads beyond its memory unless it was built to verify programs. Do not load the file.",
		Refs: []prerun.Reference{cwe("CWE-125"), cwe("CWE-129")},
	}
)

func (executorchFormat) Info() Info {
	return Info{ID: "executorch", Extensions: []string{".pte"}, Operators: []string{"executorch"}, Rules: []prerun.Rule{ruleETKernel, ruleETDelegate, ruleETLayout}}
}

func (executorchFormat) Match(p Probe) Match {
	if len(p.Head) >= 8 && string(p.Head[4:6]) == "ET" && decimal(p.Head[6:8]) {
		return Certain
	}
	return No
}

func decimal(p []byte) bool {
	return !slices.ContainsFunc(p, func(c byte) bool { return c < '0' || c > '9' })
}

// Slots of the tables, by the schema of identifier ET12.
const (
	etProgramPlans     = 1
	etProgramConstants = 2
	etProgramInline    = 3
	etProgramSegments  = 4
	etProgramConstSeg  = 5
	etProgramMutable   = 6
	etProgramNamed     = 7

	etPlanName      = 0
	etPlanValues    = 2
	etPlanChains    = 5
	etPlanOperators = 6
	etPlanDelegates = 7

	etChainInstructions = 2

	etCallKernel   = 1 // types of instructions
	etCallDelegate = 2
)

// etHeaderAt is where an extended header stands: behind root and identifier.
const etHeaderAt = 8

type etScan struct {
	a   *Artifact
	out *Sink
	b   *flatbuf.Buffer

	base      int64 // of the segments
	program   int64 // size of the flat buffer
	segments  []flatbuf.Range
	operators map[string]bool
	delegates map[string]bool
}

func (executorchFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &etScan{a: a, out: out, program: a.Size, operators: map[string]bool{}, delegates: map[string]bool{}}
	header, err := s.header()
	if err != nil {
		return err
	}
	s.b = flatbuf.New(a, s.program)
	p := s.b.Root()
	s.data(p)
	plans := p.Vector(etProgramPlans, 4)
	for i := range plans.Len() {
		s.plan(plans.Table(i))
	}
	if err := flatErr("executorch", s.b); err != nil {
		return err
	}
	out.Fact("framework", "executorch")
	out.Fact("version", strconv.FormatUint(uint64(p.Uint32(0, 0)), 10))
	out.Fact("operators", strconv.Itoa(len(s.operators)))
	if len(s.delegates) > 0 {
		out.Fact("delegates", strings.Join(sortedKeys(s.delegates), " "))
	}
	s.claim(p, header)
	return nil
}

// header reads the extended header, where there is one, and returns its size.
func (s *etScan) header() (int64, error) {
	h := s.a.Head[min(etHeaderAt, len(s.a.Head)):]
	if len(h) < 4 || string(h[:2]) != "eh" || !decimal(h[2:4]) {
		return 0, nil
	}
	le := binary.LittleEndian
	if len(h) < 24 || le.Uint32(h[4:]) < 24 {
		return 0, fmt.Errorf("executorch: offset %d: extended header is cut", etHeaderAt)
	}
	program, base := le.Uint64(h[8:]), le.Uint64(h[16:])
	if size := uint64(s.a.Size); program > size || base > size || base != 0 && base < program {
		graphFinding(s.out, ruleETLayout, 0, flatbuf.Range{Off: etHeaderAt, Len: 24}, "header",
			"program of %d bytes and segments from %d, the file has %d", program, base, size)
		return 0, fmt.Errorf("executorch: offset %d: extended header leads out of the file", etHeaderAt)
	}
	s.program, s.base = int64(program), int64(base)
	return int64(le.Uint32(h[4:])), nil
}

func (s *etScan) layout(t flatbuf.Table, key, format string, args ...any) {
	graphFinding(s.out, ruleETLayout, 0, flatbuf.Range{Off: t.Offset(), Len: 4}, key, format, args...)
}

// data reads where the segments are, and what refers to them.
func (s *etScan) data(p flatbuf.Table) {
	segments := p.Vector(etProgramSegments, 4)
	for i := range segments.Len() {
		t := segments.Table(i)
		off, size := t.Uint64(0, 0), t.Uint64(1, 0)
		left := uint64(s.a.Size - s.base)
		if off > left || size > left-off {
			s.layout(t, "segment", "segment %d: %d bytes at %d, %d are left in the file", i, size, off, left)
			off, size = 0, 0
		}
		s.segments = append(s.segments, flatbuf.Range{Off: s.base + int64(off), Len: int64(size)})
	}
	s.subsegments(p.Table(etProgramConstSeg), "constant")
	mutable := p.Vector(etProgramMutable, 4)
	for i := range mutable.Len() {
		s.subsegments(mutable.Table(i), "mutable")
	}
	named := p.Vector(etProgramNamed, 4)
	for i := range named.Len() {
		t := named.Table(i)
		key := excerpt(t.Text(0, 200), 80)
		if n := t.Uint32(1, 0); int64(n) >= segments.Len() {
			s.layout(t, "named", "data %q is in segment %d of %d", key, n, segments.Len())
		}
	}
}

func (s *etScan) subsegments(t flatbuf.Table, what string) {
	if t.IsZero() {
		return
	}
	offsets := t.Vector(1, 8)
	n := int64(t.Uint32(0, 0))
	if offsets.Len() == 0 {
		return
	}
	if n >= int64(len(s.segments)) {
		s.layout(t, what, "%s data is in segment %d of %d", what, n, len(s.segments))
		return
	}
	for i := range offsets.Len() {
		if off := offsets.Uint64(i); off > uint64(s.segments[n].Len) {
			s.layout(t, what, "%s data at %d of a segment of %d bytes", what, off, s.segments[n].Len)
			return
		}
	}
}

func (s *etScan) plan(t flatbuf.Table) {
	method := excerpt(t.Text(etPlanName, 200), 80)
	operators, delegates := t.Vector(etPlanOperators, 4), t.Vector(etPlanDelegates, 4)
	for i := range operators.Len() {
		o := operators.Table(i)
		s.operator(o, o.Text(0, 200), o.Text(1, 200))
	}
	for i := range delegates.Len() {
		s.delegate(delegates.Table(i))
	}
	chains := t.Vector(etPlanChains, 4)
	for i := range chains.Len() {
		instructions := chains.Table(i).Vector(etChainInstructions, 4)
		for k := range instructions.Len() {
			in := instructions.Table(k)
			list, what := operators.Len(), "operator"
			switch in.Uint8(0, 0) {
			case etCallDelegate:
				list, what = delegates.Len(), "delegate"
			case etCallKernel:
			default:
				continue
			}
			if n := int64(in.Table(1).Int32(0, 0)); (n < 0 || n >= list) && s.b.Err() == nil {
				s.layout(in, what, "method %q calls %s %d of %d", method, what, n, list)
			}
		}
	}
}

// etLibraries are the namespaces of operators that ExecuTorch brings kernels
// for.
var etLibraries = []string{
	"aten", "prims", "prim", "executorch_prim", "dim_order_ops", "quantized_decomposed", "llama", "executorch", "preprocess",
	"et_vk", "torchao", "cadence", "cortex_m", "coreml", "tosa",
}

func (s *etScan) operator(t flatbuf.Table, name, overload string) {
	full := name + "." + overload
	if s.operators[full] || len(s.operators) >= 1<<16 || name == "" {
		return
	}
	s.operators[full] = true
	library, op, qualified := strings.Cut(name, "::")
	s.out.Operator(Operator{Kind: "executorch", Domain: library, Name: op, Location: prerun.Location{Offset: t.Offset(), Length: 4}})
	if !qualified || !slices.Contains(etLibraries, library) {
		shown := excerpt(name, 80)
		graphFinding(s.out, ruleETKernel, 0, flatbuf.Range{Off: t.Offset(), Len: 4}, shown, "operator %q needs kernels from outside", shown)
	}
}

// etBackends are those that are part of ExecuTorch.
var etBackends = []string{
	"XnnpackBackend", "CoreMLBackend", "MPSBackend", "VulkanBackend", "QnnBackend", "EthosUBackend", "ArmBackend", "VgfBackend", "TOSABackend",
	"NeuropilotBackend", "EnnBackend", "OpenvinoBackend", "NeutronBackend", "CudaBackend", "MetalBackend", "WebGPUBackend", "MLXBackend",
}

func (s *etScan) delegate(t flatbuf.Table) {
	id := excerpt(t.Text(0, 200), 80)
	if data := t.Table(1); !data.IsZero() && data.Uint8(0, 0) == 1 {
		if n := int64(data.Uint32(1, 0)); n >= int64(len(s.segments)) {
			s.layout(t, "delegate", "data of delegate %q is in segment %d of %d", id, n, len(s.segments))
		}
	}
	if s.delegates[id] || len(s.delegates) >= 1000 {
		return
	}
	s.delegates[id] = true
	if !slices.Contains(etBackends, id) && s.b.Err() == nil {
		graphFinding(s.out, ruleETDelegate, 0, flatbuf.Range{Off: t.Offset(), Len: 4}, id, "delegate %q needs a library from outside", id)
	}
}

// claim takes the flat buffer and the weights. What delegates are given stays
// unclaimed, because for some of them it is a native library.
func (s *etScan) claim(p flatbuf.Table, header int64) {
	constants := p.Vector(etProgramConstants, 4)
	for i := range constants.Len() {
		r := constants.Table(i).Blob(0)
		s.b.Use(r.Off, r.Len)
	}
	if header > 0 {
		s.b.Use(0, min(etHeaderAt+header, s.program))
	}
	weights := flatbuf.Range{}
	if t := p.Table(etProgramConstSeg); !t.IsZero() {
		if n := int64(t.Uint32(0, 0)); n < int64(len(s.segments)) && t.Vector(1, 8).Len() > 0 {
			weights = s.segments[n]
		}
	}
	for _, r := range s.b.Used() {
		s.out.Claim(r.Off, r.Len)
	}
	if weights.Off >= s.program { // else it lies in the flat buffer and is searched
		s.out.Claim(weights.Off, weights.Len)
	}
}
