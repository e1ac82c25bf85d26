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
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
	"github.com/prerun/prerun/internal/strictjson"
)

// paddleFormat walks the operators of PaddlePaddle programs in protocol buffers
// (.pdmodel, __model__). Operators of custom libraries have no mark of their
// own in this form and are not told from Paddle's. What engines such as
// TensorRT were given is not looked into.
//
// Facts: "framework", "version", "operators" the number of operators.
type paddleFormat struct{}

var (
	rulePaddlePython = prerun.Rule{
		ID: "scan.paddle.python-operator", Title: "operator that runs Python", Severity: prerun.High,
		Help: "The program calls back into Python, by the number of a function in the process that made it. Such an operator only works there, or as an attack. Do not load the model.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	rulePaddleFile = prerun.Rule{
		ID: "scan.paddle.file-operator", Title: "operator that touches files", Severity: prerun.High,
		Help: "The program reads or writes files of the host while it runs, under a name that the model chooses. A model for inference needs none of these operators; its parameters are loaded by the program around it. Do not run the model; export it without.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
	rulePaddleNetwork = prerun.Rule{
		ID: "scan.paddle.network-operator", Title: "operator that talks to other hosts", Severity: prerun.Medium,
		Help: "The program sends or receives over the network while it runs, as training on several hosts does. A model for inference needs no such operator. Export it for inference.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	rulePaddleCustom = prerun.Rule{
		ID: "scan.paddle.custom-operator", Title: "operator that needs foreign code", Severity: prerun.Medium,
		Help: "The program uses an operator of a custom library. It only runs together with native code from somewhere else. Review where that library comes from.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
)

func (paddleFormat) Info() Info {
	return Info{ID: "paddle", Extensions: []string{".pdmodel"}, Operators: []string{"paddle"}, Rules: []prerun.Rule{rulePaddlePython, rulePaddleFile, rulePaddleNetwork}}
}

// Match looks for a block with its number and its parent's.
func (paddleFormat) Match(p Probe) Match {
	if len(p.Head) < 6 || p.Head[0] != 0x0a {
		return No
	}
	found := No
	wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		var fields []int32
		wire.Head(p.Head[f.Off:], f.Len, func(g wire.Field) bool {
			fields = append(fields, g.Num)
			return (g.Is(1, wire.Varint) || g.Is(2, wire.Varint)) && len(fields) < 2
		})
		if f.Num == 1 && len(fields) == 2 && fields[0]+fields[1] == 3 {
			found = Maybe
		}
		return false
	})
	return found
}

// paddleOperators are those that no model for inference needs.
var paddleOperators = map[string]prerun.Rule{
	"py_func": rulePaddlePython, "py_layer": rulePaddlePython, "pylayer": rulePaddlePython,
	"read_file": rulePaddleFile, "load": rulePaddleFile, "load_combine": rulePaddleFile, "save": rulePaddleFile, "save_combine": rulePaddleFile,
	"listen_and_serv": rulePaddleNetwork, "heter_listen_and_serv": rulePaddleNetwork, "send": rulePaddleNetwork, "recv": rulePaddleNetwork,
	"send_barrier": rulePaddleNetwork, "fetch_barrier": rulePaddleNetwork, "send_and_recv": rulePaddleNetwork, "checkpoint_notify": rulePaddleNetwork,
	"c_comm_init": rulePaddleNetwork, "c_gen_nccl_id": rulePaddleNetwork, "c_gen_xccl_id": rulePaddleNetwork, "gen_nccl_id": rulePaddleNetwork,
	"distributed_lookup_table": rulePaddleNetwork, "comm_init_all": rulePaddleNetwork,
}

type paddleScan struct {
	out    *Sink
	w      *wire.Reader
	blocks int
	ops    int
	seen   map[string]bool
}

func (paddleFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &paddleScan{out: out, w: wire.NewReader(a, a.Size), seen: map[string]bool{}}
	claimed := int64(0)
	err := s.w.Walk(0, a.Size, func(f wire.Field) error {
		switch {
		case f.Is(1, wire.Bytes):
			return s.block(f)
		case f.Is(4, wire.Bytes):
			return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
				if g.Is(1, wire.Varint) {
					out.Fact("version", strconv.FormatUint(g.Value, 10))
				}
				return nil
			})
		case f.Type == wire.Bytes && f.Num > 5: // no version of the format has it
			out.Claim(claimed, f.Off-claimed)
			claimed = f.End()
		}
		return nil
	})
	if s.blocks == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("paddle: no block: %w", ErrNotFormat)
	}
	if err != nil {
		return fmt.Errorf("paddle: %w", err)
	}
	out.Fact("framework", "paddle")
	out.Fact("operators", strconv.Itoa(s.ops))
	out.Claim(claimed, a.Size-claimed)
	return nil
}

// block counts only when it has what every block has.
func (s *paddleScan) block(f wire.Field) error {
	index, body := false, false
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Varint):
			index = true
		case g.Is(3, wire.Bytes):
			body = true
		case g.Is(4, wire.Bytes):
			body = true
			return s.operator(g)
		}
		return nil
	})
	if index && (body || f.Len < 32) {
		s.blocks++
	}
	return err
}

func (s *paddleScan) operator(f wire.Field) error {
	s.ops++
	name := ""
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		if g.Is(3, wire.Bytes) {
			name, _, err = s.w.Text(g, 200)
		}
		return err
	})
	s.out.Operator(Operator{Kind: "paddle", Name: name, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
	rule, bad := paddleOperators[name]
	engine := strings.HasSuffix(name, "_engine") || name == "cinn_launch"
	if err != nil || !bad && !engine || s.seen[name] {
		return err
	}
	s.seen[name] = true
	if engine {
		s.out.Gap(fmt.Sprintf("what operator %q was given is not looked into", excerpt(name, 80)), f.At, f.End()-f.At)
		return nil
	}
	graphFinding(s.out, rule, 0, flatbuf.Range{Off: f.At, Len: f.End() - f.At}, name, "operator %s", name)
	return nil
}

// paddleJSONFormat reads PaddlePaddle programs in the JSON form of version 3:
// regions of blocks of operators, whose names start with the number of their
// dialect. Facts: as those of the older form.
type paddleJSONFormat struct{}

func (paddleJSONFormat) Info() Info {
	return Info{
		ID: "paddle-json", Within: []string{"text", "json"}, Operators: []string{"paddle"},
		Rules: []prerun.Rule{rulePaddlePython, rulePaddleFile, rulePaddleNetwork, rulePaddleCustom},
	}
}

func (paddleJSONFormat) Match(p Probe) Match {
	if (configFormat{}).Match(p) == Maybe && p.holds(`"base_code"`) {
		return Maybe
	}
	return No
}

// Bounds of graphs in JSON.
const (
	maxGraphJSON = 64 << 20
	maxGraphNode = 1 << 21
)

// graphJSON parses a graph in JSON. telling is a member that only this format
// has: with it, what cannot be parsed is an error and not another format.
func graphJSON(a *Artifact, out *Sink, id, telling string) (*strictjson.Value, error) {
	data, err := a.atMost(min(maxGraphJSON, a.Left(Memory)), out, "graph")
	if data == nil {
		return nil, err
	}
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxGraphJSON, Nodes: maxGraphNode})
	switch {
	case err != nil && strings.Contains(string(a.Head), telling):
		return nil, fmt.Errorf("%s: %w", id, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %w", id, err, ErrNotFormat)
	}
	return root, nil
}

func (paddleJSONFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	root, err := graphJSON(a, out, "paddle-json", `"base_code"`)
	if root == nil {
		return err
	}
	if textOf(root.Get("base_code").Get("magic")) != "pir" {
		return fmt.Errorf("paddle-json: %w", ErrNotFormat)
	}
	out.Fact("framework", "paddle")
	if v := root.Get("base_code").Get("version"); v != nil && v.Kind == strictjson.Number {
		out.Fact("version", excerpt(v.Text, 20))
	}
	s := &paddleJSONScan{configScan: configScan{a: a, out: out}, seen: map[string]bool{}}
	s.walk(root.Get("program"), "/program", 0)
	out.Fact("operators", strconv.Itoa(s.ops))
	out.Claim(0, a.Size)
	return nil
}

type paddleJSONScan struct {
	configScan
	ops  int
	seen map[string]bool
}

// paddleDialects names the dialects by their number: 0 builtin, 1 of Paddle, 2
// of control flow, 3 of custom operators, 4 of distribution.
const paddleCustomDialect = "3"

// walk looks at everything that an operator may be in: regions, blocks and the
// attributes that hold them. Only operators have an "I" or an "O".
func (s *paddleJSONScan) walk(v *strictjson.Value, at string, depth int) {
	if v == nil || depth > 200 {
		return // the parser's own limit on depth is lower
	}
	if id := v.Get("#"); v.Kind == strictjson.Object && id != nil && (v.Get("O") != nil || v.Get("I") != nil) {
		s.operator(v, textOf(id), at)
	}
	for i := range v.Items {
		s.walk(&v.Items[i], fmt.Sprintf("%s/%d", at, i), depth+1)
	}
	for i := range v.Members {
		s.walk(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name), depth+1)
	}
}

func (s *paddleJSONScan) operator(v *strictjson.Value, name, at string) {
	s.ops++
	dialect, op, _ := strings.Cut(name, ".")
	s.out.Operator(Operator{Kind: "paddle", Name: op, Location: prerun.Location{Line: v.Line, Column: v.Column, Fragment: at}})
	rule, bad := paddleOperators[strings.TrimSuffix(op, "_")] // in place
	engine := strings.HasSuffix(op, "_engine")
	custom := dialect == paddleCustomDialect
	if !bad && !engine && !custom || s.seen[name] || len(s.seen) >= 10_000 {
		return
	}
	s.seen[name] = true
	shown := excerpt(op, 80)
	switch {
	case custom:
		s.finding(rulePaddleCustom, 0, v, at, shown, "operator %q is of a custom library", shown)
	case engine:
		s.out.Gap(fmt.Sprintf("what operator %q was given is not looked into", shown), 0, 0)
	default:
		s.finding(rule, 0, v, at, shown, "operator %s", shown)
	}
}

// paddleParamsFormat reads the parameters of PaddlePaddle's inference models
// (.pdiparams): tensors, each with a header. Facts: "framework", "tensors".
type paddleParamsFormat struct{}

func (paddleParamsFormat) Info() Info {
	return Info{ID: "paddle-params", Extensions: []string{".pdiparams"}}
}

// paddleHeader is the version of a tensor with sequence levels, of which there
// are none in parameters, and of the tensor itself.
const paddleHeader = 4 + 8 + 4

func (paddleParamsFormat) Match(p Probe) Match {
	if len(p.Head) < paddleHeader+6 || strings.Trim(string(p.Head[:paddleHeader]), "\x00") != "" {
		return No
	}
	n := binary.LittleEndian.Uint32(p.Head[paddleHeader:])
	if n < 2 || n > 1024 || p.Head[paddleHeader+4] != 0x08 || p.Head[paddleHeader+5] > 40 {
		return No
	}
	return Maybe
}

// paddleBits is the bits of an element by data type; 0 where there is none.
var paddleBits = map[uint64]uint64{
	0: 8, 1: 16, 2: 32, 3: 64, 4: 16, 5: 32, 6: 64, 19: 64, 20: 8, 21: 8, 22: 16, 23: 64, 24: 128, 32: 8, 33: 8,
}

func (paddleParamsFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	w := wire.NewReader(a, a.Size)
	var tensors int
	for pos := int64(0); pos < a.Size; tensors++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, header, err := paddleTensor(a, w, pos)
		switch {
		case err != nil && tensors == 0 && !errors.Is(err, ErrBudget):
			return fmt.Errorf("paddle-params: %w: %w", err, ErrNotFormat)
		case err != nil:
			return fmt.Errorf("paddle-params: offset %d: tensor %d: %w", pos, tensors, err)
		}
		out.Claim(pos, header+n)
		pos += header + n
	}
	out.Fact("framework", "paddle")
	out.Fact("tensors", strconv.Itoa(tensors))
	return nil
}

// paddleTensor reads the header of one tensor and returns the length of its
// data and of the header.
func paddleTensor(a *Artifact, w *wire.Reader, pos int64) (data, header int64, err error) {
	if err := a.Spend(Entries, 1); err != nil {
		return 0, 0, err
	}
	h, err := a.Bytes(pos, paddleHeader+4)
	if err != nil {
		return 0, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(h[paddleHeader:]))
	header = paddleHeader + 4 + n
	if strings.Trim(string(h[:paddleHeader]), "\x00") != "" || n > 1024 || header > a.Size-pos {
		return 0, 0, errors.New("no header")
	}
	elements, kind, over := uint64(1), ^uint64(0), false
	err = w.Walk(pos+paddleHeader+4, pos+header, func(f wire.Field) error {
		switch {
		case f.Is(1, wire.Varint):
			kind = f.Value
		case f.Is(2, wire.Varint):
			hi, lo := bits.Mul64(elements, f.Value)
			over = over || hi != 0
			elements = lo
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	hi, size := bits.Mul64(elements, paddleBits[kind]/8)
	if over || hi != 0 || paddleBits[kind] == 0 || size > uint64(a.Size-pos-header) {
		return 0, 0, fmt.Errorf("%d elements of type %d, %d bytes are left", elements, kind, a.Size-pos-header)
	}
	return int64(size), header, nil
}
