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
	"github.com/prerun/prerun/internal/strictjson"
)

// mxnetFormat reads the graphs of Apache MXNet (-symbol.json): the operators of
// all nodes and of subgraphs within them. Operators of libraries that the
// program loads itself have no mark of their own and are not told from MXNet's.
// Facts: "framework", "version", "operators" the number of nodes.
type mxnetFormat struct{}

var (
	ruleMXCustom = prerun.Rule{
		ID: "scan.mxnet.custom-operator", Title: "operator that is Python code", Severity: prerun.Medium,
		Help: "The graph has an operator that the program around it has to register as a Python class. What it computes is not in the file. Review that class.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleMXNative = prerun.Rule{
		ID: "scan.mxnet.native-operator", Title: "operator that is an address", Severity: prerun.High,
		Help: "The graph has an operator whose parameter is an address in memory, which is called when it runs. It has meaning only in the process that made it; from a file it is an attack. Do not load the model.",
		Refs: []prerun.Reference{cwe("CWE-822"), refUnsafeModel},
	}
	ruleMXFile = prerun.Rule{
		ID: "scan.mxnet.file-operator", Title: "operator that reads files", Severity: prerun.High,
		Help: "The graph reads files of the host while it runs, under a name that the model chooses. A model for inference needs no such operator. Do not run the model; export it without.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
)

func (mxnetFormat) Info() Info {
	return Info{ID: "mxnet", Within: []string{"text", "json"}, Operators: []string{"mxnet"}, Rules: []prerun.Rule{ruleMXCustom, ruleMXNative, ruleMXFile}}
}

func (mxnetFormat) Match(p Probe) Match {
	if (configFormat{}).Match(p) != Maybe {
		return No
	}
	if strings.HasSuffix(p.Base(), "symbol.json") || p.holds(`"arg_nodes"`) || p.holds(`"mxnet_version"`) {
		return Maybe
	}
	return No
}

// mxnetOperators are those that do more than compute, without the prefix of
// NumPy's.
var mxnetOperators = map[string]prerun.Rule{
	"Custom": ruleMXCustom, "_CustomFunction": ruleMXNative, "_Native": ruleMXNative, "_NDArray": ruleMXNative,
	"_cvimread": ruleMXFile,
}

func (mxnetFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	root, err := graphJSON(a, out, "mxnet", `"nodes"`)
	if root == nil {
		return err
	}
	s := &mxnetScan{configScan: configScan{a: a, out: out}}
	if root.Get("attrs").Get("dltype") != nil || !s.graph(root, "", 0) { // TVM writes the same shape
		return fmt.Errorf("mxnet: %w", ErrNotFormat)
	}
	out.Fact("framework", "mxnet")
	out.Fact("operators", strconv.Itoa(s.ops))
	if v := root.Get("attrs").Get("mxnet_version"); v != nil && len(v.Items) == 2 {
		out.Fact("version", excerpt(v.Items[1].Text, 20))
	}
	out.Claim(0, a.Size)
	return nil
}

type mxnetScan struct {
	configScan
	ops int
}

// graph looks at one graph and reports whether it is one.
func (s *mxnetScan) graph(v *strictjson.Value, at string, depth int) bool {
	nodes := v.Get("nodes")
	if nodes == nil || nodes.Kind != strictjson.Array || v.Get("heads") == nil && v.Get("arg_nodes") == nil {
		return false
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		s.ops++
		where := fmt.Sprintf("%s/nodes/%d", at, i)
		s.node(n, where)
		sub := n.Get("subgraphs")
		if sub == nil || depth > 32 {
			continue // the parser's own limit on depth is lower
		}
		for k := range sub.Items {
			s.graph(&sub.Items[k], fmt.Sprintf("%s/subgraphs/%d", where, k), depth+1)
		}
	}
	return true
}

func (s *mxnetScan) node(n *strictjson.Value, at string) {
	op := textOf(n.Get("op"))
	s.out.Operator(Operator{Kind: "mxnet", Name: op, Location: prerun.Location{Line: n.Line, Column: n.Column, Fragment: at}})
	name := op
	if numpy, ok := strings.CutPrefix(op, "_npi_"); ok {
		name = "_" + numpy
		if numpy == "Custom" {
			name = numpy
		}
	}
	rule, ok := mxnetOperators[name]
	if !ok {
		return
	}
	kind := op
	for _, member := range []string{"attrs", "attr", "param"} { // of versions 1.2, 0.9 and before
		for _, key := range []string{"op_type", "filename", "info"} {
			if v := textOf(n.Get(member).Get(key)); v != "" {
				kind = v
			}
		}
	}
	s.finding(rule, 0, n, at, excerpt(op+":"+kind, 120), "node %q is the operator %s, %q", excerpt(textOf(n.Get("name")), 80), excerpt(op, 40), excerpt(kind, 120))
}

// mxnetParamsFormat reads lists of arrays of Apache MXNet (.params, .nd): the
// header of each array and the names behind them. Data is not read. Facts:
// "framework", "tensors".
type mxnetParamsFormat struct{}

func (mxnetParamsFormat) Info() Info {
	return Info{ID: "mxnet-params", Extensions: []string{".params"}}
}

const mxnetMagic = "\x12\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func (mxnetParamsFormat) Match(p Probe) Match {
	if p.Starts(mxnetMagic) && len(p.Head) >= 24 {
		return Certain
	}
	return No
}

// Magic numbers of arrays with 64-bit dimensions; the first four bytes of older
// ones are the number of dimensions.
const (
	mxnetV1 = 0xf993fac8
	mxnetV2 = 0xf993fac9 // with the way of storing
	mxnetV3 = 0xf993faca // with shapes of NumPy, in which zero dimensions are a scalar
)

var mxnetBytes = []uint64{4, 8, 2, 1, 4, 1, 8, 1, 2, 2, 4, 8, 2} // of an element by type

type mxnetArrays struct {
	a   *Artifact
	r   *bufio.Reader
	pos int64
}

func (mxnetParamsFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	s := &mxnetArrays{a: a, pos: 16}
	s.seek(s.pos)
	count, err := s.u64()
	if err != nil || count > uint64(a.Size)/4 {
		return fmt.Errorf("mxnet-params: offset 16: %d arrays in %d bytes", count, a.Size)
	}
	for i := range count {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.Spend(Entries, 1); err != nil {
			return err
		}
		if err := s.array(); err != nil {
			return fmt.Errorf("mxnet-params: offset %d: array %d: %w", s.pos, i, cut(err))
		}
	}
	if err := s.names(count); err != nil {
		return fmt.Errorf("mxnet-params: offset %d: names: %w", s.pos, cut(err))
	}
	out.Claim(0, s.pos)
	out.Fact("framework", "mxnet")
	out.Fact("tensors", strconv.FormatUint(count, 10))
	return nil
}

// cut names an end of file that came early.
func cut(err error) error {
	if isEOF(err) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// seek goes on from pos, through the buffer where that has it.
func (s *mxnetArrays) seek(pos int64) {
	if s.r != nil && pos >= s.pos && pos-s.pos <= int64(s.r.Buffered()) {
		s.r.Discard(int(pos - s.pos))
	} else {
		section := s.a.Section(pos, s.a.Size-pos)
		if s.r == nil {
			s.r = bufio.NewReaderSize(section, 4<<10)
		}
		s.r.Reset(section)
	}
	s.pos = pos
}

func (s *mxnetArrays) u32() (uint32, error) { return le32(s.r, &s.pos) }
func (s *mxnetArrays) u64() (uint64, error) { return le64(s.r, &s.pos) }

// shape returns the number of elements, and false for an array without any
// data.
func (s *mxnetArrays) shape(numpy bool) (elements uint64, some bool, err error) {
	n, err := s.u32()
	if err != nil {
		return 0, false, err
	}
	return s.dims(n, true, numpy)
}

func (s *mxnetArrays) dims(n uint32, wide, numpy bool) (elements uint64, some bool, err error) {
	switch {
	case int32(n) == -1 && numpy, n == 0 && !numpy:
		return 0, false, nil
	case n > 64:
		return 0, false, fmt.Errorf("%d dimensions", n)
	}
	elements = 1
	for range n {
		var d uint64
		if wide {
			d, err = s.u64()
		} else {
			var d32 uint32
			d32, err = s.u32()
			d = uint64(d32)
		}
		if err != nil {
			return 0, false, err
		}
		hi, lo := bits.Mul64(elements, d)
		if hi != 0 || lo > 1<<62 {
			return 0, false, errors.New("its shape overflows")
		}
		elements = lo
	}
	return elements, true, nil
}

// array goes over one array: for sparse ones with the arrays that say where
// the data belongs.
func (s *mxnetArrays) array() error {
	magic, err := s.u32()
	if err != nil {
		return err
	}
	aux, numpy := 0, magic == mxnetV3
	var elements, stored uint64
	var some bool
	switch magic {
	case mxnetV2, mxnetV3:
		kind, err := s.u32()
		if err != nil {
			return err
		}
		switch int32(kind) {
		case -1, 0: // dense
		case 1: // rows
			aux = 1
		case 2: // compressed rows
			aux = 2
		default:
			return fmt.Errorf("storage type %d", kind)
		}
		if aux > 0 {
			if stored, _, err = s.shape(numpy); err != nil {
				return err
			}
		}
		elements, some, err = s.shape(numpy)
		if err != nil {
			return err
		}
	case mxnetV1:
		elements, some, err = s.shape(false)
	default:
		elements, some, err = s.dims(magic, false, false)
	}
	if err != nil || !some {
		return err
	}
	if aux > 0 {
		elements = stored
	}
	if _, err := s.u64(); err != nil { // device
		return err
	}
	return s.data(elements, aux, numpy)
}

func (s *mxnetArrays) data(elements uint64, aux int, numpy bool) error {
	kind, err := s.u32()
	if err != nil {
		return err
	}
	sizes := [][2]uint64{{uint64(kind), elements}}
	for range aux {
		kind, err := s.u32()
		if err != nil {
			return err
		}
		n, _, err := s.shape(numpy)
		if err != nil {
			return err
		}
		sizes = append(sizes, [2]uint64{uint64(kind), n})
	}
	for _, x := range sizes {
		if x[0] >= uint64(len(mxnetBytes)) {
			return fmt.Errorf("element type %d", x[0])
		}
		hi, n := bits.Mul64(x[1], mxnetBytes[x[0]])
		if left := uint64(s.a.Size - s.pos); hi != 0 || n > left {
			return fmt.Errorf("%d elements of type %d, %d bytes are left", x[1], x[0], left)
		}
		s.seek(s.pos + int64(n))
	}
	return nil
}

func (s *mxnetArrays) names(arrays uint64) error {
	count, err := s.u64()
	if err != nil {
		return err
	}
	if count != 0 && count != arrays {
		return fmt.Errorf("%d names for %d arrays", count, arrays)
	}
	for range count {
		n, err := s.u64()
		if err != nil {
			return err
		}
		if n > uint64(s.a.Size-s.pos) {
			return fmt.Errorf("name of %d bytes, %d are left", n, s.a.Size-s.pos)
		}
		s.seek(s.pos + int64(n))
	}
	return nil
}
