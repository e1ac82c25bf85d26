package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
)

// onnxruntimeFormat walks models in ONNX Runtime's own format, a flat buffer of
// a graph that was made from ONNX: the operators of all graphs. Functions are
// expanded before such a file is written, so that it has none, and tensors lie
// inside. Their values are claimed and not read; the rest of the file that the
// walk does not meet is searched for programs. Facts: "framework",
// "ort_version".
type onnxruntimeFormat struct{}

func (onnxruntimeFormat) Info() Info {
	return Info{ID: "onnxruntime", Extensions: []string{".ort"}, Operators: []string{"onnx"}, Rules: []prerun.Rule{ruleOnnxDomain, ruleOnnxPython}}
}

func (onnxruntimeFormat) Match(p Probe) Match {
	if len(p.Head) >= 8 && string(p.Head[4:8]) == "ORTM" {
		return Certain
	}
	return No
}

// Slots of the tables, by the runtime's schema.
const (
	ortVersion = 0
	ortModel   = 1

	ortModelGraph = 7

	ortInitializers = 0
	ortNodes        = 2

	ortNodeDomain     = 2
	ortNodeOperator   = 5
	ortNodeAttributes = 10

	ortAttributeTensor  = 6
	ortAttributeGraph   = 7
	ortAttributeTensors = 11
	ortAttributeGraphs  = 12

	ortTensorData = 4
)

func (onnxruntimeFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &ortScan{out: out, b: flatbuf.New(a, a.Size), domains: make(map[string]bool)}
	root := s.b.Root()
	model := root.Table(ortModel)
	version := root.Text(ortVersion, 40)
	graph := model.Table(ortModelGraph)
	s.graph(graph, 1)
	if err := flatErr("onnxruntime", s.b); err != nil {
		return err
	}
	if graph.IsZero() {
		return errors.New("onnxruntime: no graph")
	}
	out.Fact("framework", "onnxruntime")
	out.Fact("ort_version", excerpt(version, 40))
	for _, r := range s.b.Used() {
		out.Claim(r.Off, r.Len)
	}
	return nil
}

// An ortScan is the walk over one model.
type ortScan struct {
	out     *Sink
	b       *flatbuf.Buffer
	domains map[string]bool // reported
}

func (s *ortScan) graph(g flatbuf.Table, depth int) {
	if depth > onnxDepth {
		s.b.Fail(fmt.Errorf("graphs nest deeper than %d", onnxDepth))
		return
	}
	s.tensors(g.Vector(ortInitializers, 4))
	nodes := g.Vector(ortNodes, 4)
	for i := range nodes.Len() {
		n := nodes.Table(i)
		s.node(n)
		attributes := n.Vector(ortNodeAttributes, 4)
		for k := range attributes.Len() {
			t := attributes.Table(k)
			s.tensor(t.Table(ortAttributeTensor))
			s.tensors(t.Vector(ortAttributeTensors, 4))
			if inner := t.Table(ortAttributeGraph); !inner.IsZero() {
				s.graph(inner, depth+1)
			}
			graphs := t.Vector(ortAttributeGraphs, 4)
			for j := range graphs.Len() {
				s.graph(graphs.Table(j), depth+1)
			}
		}
	}
}

func (s *ortScan) tensors(v flatbuf.Vector) {
	for i := range v.Len() {
		s.tensor(v.Table(i))
	}
}

// tensor takes the values of a tensor as belonging to the file.
func (s *ortScan) tensor(t flatbuf.Table) {
	if !t.IsZero() {
		data := t.Blob(ortTensorData)
		s.b.Use(data.Off, data.Len)
	}
}

func (s *ortScan) node(n flatbuf.Table) {
	domain, op := onnxDomain(n.Text(ortNodeDomain, 200)), n.Text(ortNodeOperator, 200)
	at := flatbuf.Range{Off: n.Offset(), Len: 4}
	s.out.Operator(Operator{Kind: "onnx", Domain: domain, Name: op, Location: prerun.Location{Offset: at.Off, Length: at.Len}})
	shown := excerpt(domain+":"+op, 120)
	switch {
	case op == "PyOp" || op == "PythonOp" || op == "PythonOpGrad" || op == "PyFunc":
		graphFinding(s.out, ruleOnnxPython, 0, at, shown, "operator %q hands control to Python", shown)
	case op == "EPContext":
		s.out.Gap("a node holds an engine for an accelerator, which is not read", at.Off, at.Len)
	}
	if !knownDomain(domain) && !s.domains[domain] && len(s.domains) < maxOnnxUses {
		s.domains[domain] = true
		graphFinding(s.out, ruleOnnxDomain, 0, at, excerpt(domain, 80), "operator %q of domain %q needs code from outside the model", excerpt(op, 80), excerpt(domain, 80))
	}
}
