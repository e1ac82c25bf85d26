package scan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// tensorflowFormat walks the operators of SavedModels and frozen graphs, those
// of functions included. Facts: "framework", "version" of TensorFlow.
type tensorflowFormat struct{}

var (
	ruleTFFile = prerun.Rule{
		ID: "scan.tensorflow.file-operator", Title: "operator that touches files", Severity: prerun.High,
		Help: "The graph reads, writes or lists files of the host while it runs, under a name that the model chooses. A model for inference needs none of these operators. Saving, restoring and decoding, which every SavedModel has, are not meant.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
	ruleTFPython = prerun.Rule{
		ID: "scan.tensorflow.python-operator", Title: "operator that runs Python", Severity: prerun.High,
		Help: "The graph calls back into Python or starts programs. Such operators only work in the process that made them, or as an attack. Do not load the model.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
)

func (tensorflowFormat) Info() Info {
	return Info{ID: "tensorflow", Extensions: []string{".pb"}, Operators: []string{"tensorflow"}, Rules: []prerun.Rule{ruleTFFile, ruleTFPython}}
}

// Match looks for a schema version and a MetaGraph, or for a first node.
func (tensorflowFormat) Match(p Probe) Match {
	if len(p.Head) > 8 && (strings.HasPrefix(string(p.Head), "\x08\x01\x12") || p.Head[0] == 0x0a && tfNode(p.Head)) {
		return Maybe
	}
	return No
}

// tfNode reports whether the head starts with a node: name and operator.
func tfNode(head []byte) bool {
	w := wire.NewReader(sliceReader(head), int64(len(head)))
	names := 0
	err := w.Walk(0, int64(len(head)), func(f wire.Field) error {
		if !f.Is(1, wire.Bytes) {
			return ErrNotFormat
		}
		return w.Walk(f.Off, f.End(), func(g wire.Field) error {
			if (g.Is(1, wire.Bytes) || g.Is(2, wire.Bytes)) && g.Len > 0 && g.Len < 500 {
				if names++; names == 2 {
					return errEnough
				}
				return nil
			}
			return ErrNotFormat
		})
	})
	return errors.Is(err, errEnough)
}

type tfScan struct {
	a     *Artifact
	out   *Sink
	w     *wire.Reader
	nodes int
	seen  map[string]bool
}

func (tensorflowFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &tfScan{a: a, out: out, w: wire.NewReader(a, a.Size), seen: make(map[string]bool)}
	var err error
	if a.Head[0] == 0x0a {
		err = s.graph(wire.Field{Len: a.Size})
	} else {
		err = s.w.Walk(0, a.Size, func(f wire.Field) error {
			if f.Is(2, wire.Bytes) {
				return s.metaGraph(f)
			}
			return nil
		})
	}
	if s.nodes == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("tensorflow: no nodes: %w", ErrNotFormat)
	}
	out.Fact("framework", "tensorflow")
	if err == nil {
		out.Claim(0, a.Size)
	}
	return err
}

func (s *tfScan) metaGraph(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return s.w.Walk(g.Off, g.End(), func(h wire.Field) error {
				if !h.Is(5, wire.Bytes) {
					return nil
				}
				version, _, err := s.w.Text(h, 40)
				s.out.Fact("version", excerpt(version, 40))
				return err
			})
		case g.Is(2, wire.Bytes):
			return s.graph(g)
		}
		return nil
	})
}

func (s *tfScan) graph(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return s.node(g)
		case g.Is(2, wire.Bytes): // library of functions
			return s.w.Walk(g.Off, g.End(), func(h wire.Field) error {
				if !h.Is(1, wire.Bytes) {
					return nil
				}
				return s.w.Walk(h.Off, h.End(), func(n wire.Field) error {
					if n.Is(3, wire.Bytes) {
						return s.node(n)
					}
					return nil
				})
			})
		}
		return nil
	})
}

// tfOperators are those that no model for inference needs. Save, Restore,
// Assert, Print and Decode stand in ordinary ones.
var tfOperators = map[string]prerun.Rule{
	"ReadFile": ruleTFFile, "WriteFile": ruleTFFile, "MatchingFiles": ruleTFFile, "MatchingFilesDataset": ruleTFFile,
	"TextLineDataset": ruleTFFile, "TFRecordDataset": ruleTFFile, "TFRecordDatasetV2": ruleTFFile, "FixedLengthRecordDatasetV2": ruleTFFile,
	"PyFunc": ruleTFPython, "PyFuncStateless": ruleTFPython, "EagerPyFunc": ruleTFPython, "PyCall": ruleTFPython, "ShellExecute": ruleTFPython,
}

func (s *tfScan) node(f wire.Field) error {
	s.nodes++
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		if !g.Is(2, wire.Bytes) {
			return nil
		}
		op, _, err := s.w.Text(g, 100)
		s.out.Operator(Operator{Kind: "tensorflow", Name: op, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
		if rule, ok := tfOperators[op]; ok && !s.seen[op] {
			s.seen[op] = true
			s.out.Finding(prerun.Finding{
				Rule:       rule,
				Confidence: prerun.ConfidenceHigh,
				Locations:  []prerun.Location{{Offset: f.At, Length: f.Off - f.At + f.Len}},
				Message:    fmt.Sprintf("operator %s", op),
				Key:        op,
			})
		}
		return err
	})
}
