package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
	"github.com/prerun/prerun/internal/strictjson"
)

// tensorflowFormat walks the operators of SavedModels, MetaGraphs (.meta) and
// frozen graphs, those of functions included, and the layers of Keras that old
// SavedModels describe. Facts: "framework", "version" of TensorFlow.
type tensorflowFormat struct{}

var (
	ruleTFFile = prerun.Rule{
		ID: "scan.tensorflow.file-operator", Title: "operator that touches files", Severity: prerun.High,
		Help: "The graph reads, writes or lists files of the host while it runs, under a name that the model chooses. A model for inference needs none of these operators. Saving and restoring, which every SavedModel has, are meant only where the graph gives them a name of its own instead of the one that the saver feeds: high for one outside of the model, medium for one that is computed or comes from an input. Export the model without them, or find out what it needs the file for before you run it.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
	ruleTFAsset = prerun.Rule{
		ID: "scan.tensorflow.asset-path", Title: "asset outside the model", Severity: prerun.High,
		Help: "The model names an asset outside its own folder, under an absolute or climbing path. Loading it reads that file of the host. Do not load the model.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel},
	}
	ruleTFPython = prerun.Rule{
		ID: "scan.tensorflow.python-operator", Title: "operator that runs Python", Severity: prerun.High,
		Help: "The graph calls back into Python or starts programs. Such operators only work in the process that made them, or as an attack. Do not load the model.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
)

func (tensorflowFormat) Info() Info {
	return Info{
		ID: "tensorflow", Extensions: []string{".pb"}, Operators: []string{"tensorflow", "keras"},
		Rules: slices.Concat([]prerun.Rule{ruleTFFile, ruleTFPython, ruleTFAsset}, kerasRules),
	}
}

// Match looks for a schema version and a MetaGraph, for a first node, or for
// what a lone MetaGraph (.meta) says of itself.
func (tensorflowFormat) Match(p Probe) Match {
	if len(p.Head) > 8 && (p.Starts("\x08\x01\x12") || tfNode(p) || tfMeta(p)) {
		return Maybe
	}
	return No
}

// tfFirst yields the fields of the first field of a message, which has to be of
// that number.
func tfFirst(p Probe, num int32, yield func(g wire.Field) bool) {
	wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		if f.Is(num, wire.Bytes) && f.Off < int64(len(p.Head)) {
			wire.Head(p.Head[f.Off:min(f.End(), int64(len(p.Head)))], f.Len, yield)
		}
		return false
	})
}

// tfNode reports whether the head starts with a node: name and operator.
func tfNode(p Probe) bool {
	names := 0
	tfFirst(p, 1, func(g wire.Field) bool {
		if !g.Is(1, wire.Bytes) && !g.Is(2, wire.Bytes) || g.Len == 0 || g.Len >= 500 {
			return false
		}
		names++
		return names < 2
	})
	return names == 2
}

// tfMeta reports whether the head starts with what a MetaGraph says of itself:
// nothing but its fields, and among them operators, tags or a version.
func tfMeta(p Probe) bool {
	telling, known := false, true
	tfFirst(p, 1, func(g wire.Field) bool {
		switch {
		case g.Is(2, wire.Bytes), g.Is(4, wire.Bytes), g.Is(5, wire.Bytes), g.Is(6, wire.Bytes):
			telling = true
		case g.Is(1, wire.Bytes), g.Is(3, wire.Bytes), g.Is(7, wire.Varint), g.Is(8, wire.Bytes):
		default:
			known = false
		}
		return known
	})
	return telling && known
}

type tfScan struct {
	a     *Artifact
	out   *Sink
	w     *wire.Reader
	nodes int
	seen  map[string]bool
	flow  *tfFlow
	scope string // the function whose nodes are read; "" for the graph
}

func (tensorflowFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &tfScan{a: a, out: out, w: wire.NewReader(a, a.Size), seen: make(map[string]bool), flow: newTFFlow()}
	defer func() { a.run.release(Memory, s.flow.kept) }()
	whole := wire.Field{Len: a.Size}
	var err error
	switch {
	case strings.HasPrefix(string(a.Head), "\x08"):
		err = s.w.Walk(0, a.Size, func(f wire.Field) error {
			if f.Is(2, wire.Bytes) {
				return s.metaGraph(f)
			}
			return nil
		})
	case tfNode(a.Probe):
		// A MetaGraph can be made to start like a graph; then nothing but the
		// other reading finds its nodes. What that one cannot read says nothing.
		err = s.graph(whole)
		s.files()
		if tfMeta(a.Probe) {
			err = firstBudget(err, s.metaGraph(whole))
		}
	default:
		err = s.metaGraph(whole)
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

// firstBudget is err, or that of a second reading when it ran out of budget.
func firstBudget(err, second error) error {
	if err == nil && errors.Is(second, ErrBudget) {
		return second
	}
	return err
}

// files judges the names of files of one graph, and forgets the graph.
func (s *tfScan) files() {
	s.flow.files(s.out)
	s.a.run.release(Memory, s.flow.kept)
	s.flow = newTFFlow()
}

func (s *tfScan) metaGraph(f wire.Field) error {
	defer s.files()
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return s.w.Walk(g.Off, g.End(), func(h wire.Field) error {
				if !h.Is(5, wire.Bytes) {
					return nil
				}
				version, _, err := s.w.Text(h, 40)
				if !binaryIn([]byte(version)) {
					s.out.Fact("version", excerpt(version, 40))
				}
				return err
			})
		case g.Is(2, wire.Bytes):
			return s.graph(g)
		case g.Is(3, wire.Bytes): // of the saver: the name of the tensor that it feeds
			return lenient(s.tensorName(g, s.flow.savers))
		case g.Is(4, wire.Bytes):
			return lenient(s.collection(g))
		case g.Is(6, wire.Bytes):
			return s.asset(g)
		case g.Is(7, wire.Bytes):
			return s.objects(g)
		}
		return nil
	})
}

// asset checks where a file that the graph needs is said to be.
func (s *tfScan) asset(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return lenient(s.below(f, 1, func(t wire.Field) error { return s.tensorName(t, s.flow.assets) }))
		case !g.Is(2, wire.Bytes):
			return nil
		}
		name, _, err := s.w.Text(g, ProbeSize)
		if shown := excerpt(name, 120); err == nil && outside(name) {
			graphFinding(s.out, ruleTFAsset, 0, flatbuf.Range{Off: f.At, Len: f.End() - f.At}, shown, "the asset %q is outside the model", shown)
		}
		return err
	})
}

// collection reads the assets that TensorFlow 1 lists in a collection: the name
// of it (1), and in its value (2) a list (5) of messages (1) with their type (1)
// and content (2).
func (s *tfScan) collection(f wire.Field) error {
	name := ""
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(1, wire.Bytes):
			name, _, err = s.w.Text(g, 100)
		case g.Is(2, wire.Bytes) && name == "saved_model_assets":
			return s.below(g, 5, func(list wire.Field) error {
				return s.below(list, 1, func(message wire.Field) error {
					return s.below(message, 2, s.asset)
				})
			})
		}
		return err
	})
}

// objects looks for layers of Keras among the objects of a SavedModel, which
// versions before 2.5 describe there.
func (s *tfScan) objects(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		if !g.Is(1, wire.Bytes) {
			return nil
		}
		return s.w.Walk(g.Off, g.End(), func(h wire.Field) error {
			if !h.Is(4, wire.Bytes) {
				return nil
			}
			return kerasLayer(s.out, s.w, h, 1, 3)
		})
	})
}

func (s *tfScan) graph(f wire.Field) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return s.node(g)
		case g.Is(2, wire.Bytes): // library of functions
			return s.below(g, 1, s.function)
		}
		return nil
	})
}

// function reads a function of the library: its signature, nodes and results.
func (s *tfScan) function(f wire.Field) error {
	var sc tfScope
	name := ""
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		switch {
		case g.Is(1, wire.Bytes):
			return lenient(s.signature(g, &name, &sc))
		case g.Is(4, wire.Bytes) && len(sc.returns) < 10_000:
			return lenient(s.below(g, 2, func(t wire.Field) error {
				from, _, err := s.w.Text(t, 300)
				sc.returns = append(sc.returns, from)
				return err
			}))
		}
		return nil
	})
	if err != nil {
		return err
	}
	sc.nodes = make(map[string]*tfScopeNode)
	if name == "" {
		name = "\x00"
	}
	s.flow.scopes[name] = &sc
	s.scope = name
	err = s.below(f, 3, s.node)
	s.scope = ""
	return err
}

// signature reads the name and the arguments of a function.
func (s *tfScan) signature(f wire.Field, name *string, sc *tfScope) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(1, wire.Bytes):
			*name, _, err = s.w.Text(g, 300)
		case g.Is(2, wire.Bytes) && len(sc.args) < 10_000:
			var arg string
			err = s.below(g, 1, func(t wire.Field) (err error) {
				arg, _, err = s.w.Text(t, 300)
				return err
			})
			sc.args = append(sc.args, arg)
		}
		return err
	})
}

// lenient passes over what merely follows names: a message may be read as one
// that it is not.
func lenient(err error) error {
	if errors.Is(err, ErrBudget) {
		return err
	}
	return nil
}

// tensorName takes the node of a tensor that is named first in a message.
func (s *tfScan) tensorName(f wire.Field, into map[string]bool) error {
	return s.below(f, 1, func(t wire.Field) error {
		name, _, err := s.w.Text(t, 300)
		node, _, _ := strings.Cut(name, ":")
		if len(into) < 10_000 {
			into[node] = true
		}
		return err
	})
}

// tfOperators are those that no model for inference needs. Save, Restore,
// Assert, Print and Decode stand in ordinary ones.
var tfOperators = map[string]prerun.Rule{
	"ReadFile": ruleTFFile, "WriteFile": ruleTFFile, "MatchingFiles": ruleTFFile, "MatchingFilesDataset": ruleTFFile,
	"TextLineDataset": ruleTFFile, "TFRecordDataset": ruleTFFile, "TFRecordDatasetV2": ruleTFFile, "FixedLengthRecordDataset": ruleTFFile,
	"FixedLengthRecordDatasetV2": ruleTFFile, "CSVDataset": ruleTFFile, "CSVDatasetV2": ruleTFFile, "LMDBDataset": ruleTFFile, "SqlDataset": ruleTFFile,
	"WholeFileReader": ruleTFFile, "WholeFileReaderV2": ruleTFFile, "TextLineReader": ruleTFFile, "TextLineReaderV2": ruleTFFile,
	"TFRecordReader": ruleTFFile, "TFRecordReaderV2": ruleTFFile, "FixedLengthRecordReader": ruleTFFile, "FixedLengthRecordReaderV2": ruleTFFile,
	"LMDBReader": ruleTFFile, "RecordInput": ruleTFFile, "ImmutableConst": ruleTFFile, "SnapshotDataset": ruleTFFile, "SnapshotDatasetV2": ruleTFFile,
	"SnapshotDatasetReader": ruleTFFile, "SnapshotChunkDataset": ruleTFFile, "ListSnapshotChunksDataset": ruleTFFile,
	"ExperimentalCSVDataset": ruleTFFile, "ExperimentalLMDBDataset": ruleTFFile, "ExperimentalSqlDataset": ruleTFFile, "ExperimentalMatchingFilesDataset": ruleTFFile,
	"LoadDataset": ruleTFFile, "SaveDataset": ruleTFFile, "SaveDatasetV2": ruleTFFile,
	"PyFunc": ruleTFPython, "PyFuncStateless": ruleTFPython, "EagerPyFunc": ruleTFPython, "PyCall": ruleTFPython, "ShellExecute": ruleTFPython,
}

// maxInputs bounds the inputs of one operator that are followed.
const maxInputs = 10_000

func (s *tfScan) node(f wire.Field) error {
	var name, op, output string
	n := tfScopeNode{at: f}
	err := s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(1, wire.Bytes):
			name, _, err = s.w.Text(g, 300)
		case g.Is(2, wire.Bytes):
			op, _, err = s.w.Text(g, 100)
		case g.Is(3, wire.Bytes) && len(n.inputs) < maxInputs:
			var input string
			input, _, err = s.w.Text(g, 300)
			if !strings.HasPrefix(input, "^") {
				n.inputs = append(n.inputs, input)
			}
		case g.Is(5, wire.Bytes) && op == "PrintV2":
			return s.printed(g, &output)
		case g.Is(5, wire.Bytes):
			return lenient(s.attribute(g, &n))
		}
		return err
	})
	if !tfOperator(op) {
		return err
	}
	s.nodes++
	s.out.Operator(Operator{Kind: "tensorflow", Name: op, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
	n.op = op
	s.flow.keep(s.a, s.scope, name, &n)
	if output != "" && !s.seen[op] {
		s.seen[op] = true
		s.finding(ruleTFFile, f, op, "operator %s writes to %q", op, excerpt(output, 120))
	}
	if rule, ok := tfOperators[op]; ok && !s.seen[op] {
		s.seen[op] = true
		s.finding(rule, f, op, "operator %s", op)
	}
	return err
}

// tfOperator reports what can be the name of an operator, so that other messages
// of the same shape are not taken for graphs.
func tfOperator(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '>' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

func (s *tfScan) finding(rule prerun.Rule, f wire.Field, key, format string, args ...any) {
	graphFinding(s.out, rule, 0, flatbuf.Range{Off: f.At, Len: f.End() - f.At}, key, format, args...)
}

// attribute keeps what an attribute says of names: a function (10), functions in
// a list (1, 9), and of a tensor (8) its texts (8), or its content (4).
func (s *tfScan) attribute(f wire.Field, n *tfScopeNode) error {
	call := func(g wire.Field) error {
		return s.below(g, 1, func(t wire.Field) error {
			name, _, err := s.w.Text(t, 300)
			if len(n.calls) < 1000 {
				n.calls = append(n.calls, name)
			}
			return err
		})
	}
	return s.below(f, 2, func(v wire.Field) error {
		return s.w.Walk(v.Off, v.End(), func(g wire.Field) error {
			switch {
			case g.Is(10, wire.Bytes):
				return call(g)
			case g.Is(1, wire.Bytes):
				return s.below(g, 9, call)
			case g.Is(8, wire.Bytes):
				return s.texts(g, n)
			}
			return nil
		})
	})
}

// texts keeps those of a tensor that may be names of files.
func (s *tfScan) texts(f wire.Field, n *tfScopeNode) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		if !g.Is(4, wire.Bytes) && !g.Is(8, wire.Bytes) || len(n.texts) >= 1000 || g.Len == 0 || g.Len > ProbeSize {
			return nil
		}
		text, _, err := s.w.Text(g, ProbeSize)
		all := []string{text}
		if g.Num == 4 {
			all = tfTexts([]byte(text))
		}
		for _, t := range all {
			if t != "" && (outside(t) || tfPart(t)) {
				n.texts = append(n.texts, t)
			}
		}
		return err
	})
}

// below yields the fields of bytes of that number within a message.
func (s *tfScan) below(f wire.Field, num int32, yield func(g wire.Field) error) error {
	return s.w.Walk(f.Off, f.End(), func(g wire.Field) error {
		if g.Is(num, wire.Bytes) {
			return yield(g)
		}
		return nil
	})
}

// printed finds out where an operator prints to, when that is a file: the value
// (2) of the attribute "output_stream" (1) is a text (2).
func (s *tfScan) printed(f wire.Field, output *string) error {
	return s.below(f, 2, func(v wire.Field) error {
		return s.below(v, 2, func(t wire.Field) error {
			text, _, err := s.w.Text(t, ProbeSize)
			if strings.HasPrefix(text, "file:") {
				*output = text
			}
			return err
		})
	})
}

// kerasLayer reads an object of Keras in a message: its kind and its metadata,
// which is the configuration of a layer in JSON.
func kerasLayer(out *Sink, w *wire.Reader, f wire.Field, kind, metadata int32) error {
	var id string
	var text wire.Field
	err := w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(kind, wire.Bytes):
			id, _, err = w.Text(g, 100)
		case g.Is(metadata, wire.Bytes):
			text = g
		}
		return err
	})
	if err != nil || text.Len == 0 || !strings.HasPrefix(id, "_tf_keras") {
		return err
	}
	if text.Len > maxConfig {
		out.Gap(fmt.Sprintf("configuration of %d bytes; %d are read", text.Len, maxConfig), text.Off, text.Len)
		return nil
	}
	data, _, err := w.Text(text, maxConfig)
	if err != nil {
		return err
	}
	root, err := strictjson.Parse([]byte(data), strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 18})
	if err != nil {
		return fmt.Errorf("offset %d: configuration: %w", text.Off, err)
	}
	k := kerasScan{out: out, in: &prerun.Location{Offset: text.Off, Length: text.Len}}
	k.walk(root, "", 0)
	return nil
}

// kerasMetadataFormat reads what Keras 2 writes beside a SavedModel
// (keras_metadata.pb): the configuration of every layer. Facts: "framework".
type kerasMetadataFormat struct{}

func (kerasMetadataFormat) Info() Info {
	return Info{ID: "keras-metadata", Operators: []string{"keras"}, Rules: kerasRules}
}

// Match looks for an object with a kind of Keras.
func (kerasMetadataFormat) Match(p Probe) Match {
	if len(p.Head) > 4 && p.Head[0] == 0x0a && (p.Base() == "keras_metadata.pb" || strings.Contains(string(p.Head[:min(256, len(p.Head))]), "_tf_keras")) {
		return Maybe
	}
	return No
}

func (kerasMetadataFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	w := wire.NewReader(a, a.Size)
	objects := 0
	err := w.Walk(0, a.Size, func(f wire.Field) error {
		if !f.Is(1, wire.Bytes) {
			return nil
		}
		objects++
		return kerasLayer(out, w, f, 4, 5)
	})
	if objects == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("keras-metadata: %w", ErrNotFormat)
	}
	if err != nil {
		return fmt.Errorf("keras-metadata: %w", err)
	}
	out.Fact("framework", "keras")
	out.Claim(0, a.Size)
	return nil
}

// tfFingerprintFormat recognises fingerprint.pb of a SavedModel: five hashes of
// its parts, which nothing but a comparison reads.
type tfFingerprintFormat struct{}

func (tfFingerprintFormat) Info() Info { return Info{ID: "tensorflow-fingerprint"} }

func (tfFingerprintFormat) Match(p Probe) Match {
	hashes, known := 0, true
	if p.Size > 512 || p.Base() != "fingerprint.pb" {
		return No
	}
	ok := wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		switch {
		case f.Num >= 1 && f.Num <= 5 && f.Type == wire.Varint:
			hashes++
		case !f.Is(6, wire.Bytes) && !f.Is(7, wire.Bytes):
			known = false
		}
		return true
	})
	if ok && known && hashes > 0 {
		return Maybe
	}
	return No
}

func (tfFingerprintFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	out.Claim(0, a.Size)
	return nil
}

// riegeliFormat recognises files of Riegeli records, such as the chunked form
// of a SavedModel (.cpb). The records are compressed and transposed and are not
// read, so such a file is never complete.
type riegeliFormat struct{}

func (riegeliFormat) Info() Info { return Info{ID: "riegeli", Extensions: []string{".cpb"}} }

func (riegeliFormat) Match(p Probe) Match {
	if p.Starts("\x83\xaf\x70\xd1\x0d\x88\x4a\x3f\x00\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x91\xba\xc2\x3c\x92\x87\xe1\xa9") {
		return Certain
	}
	return No
}

func (riegeliFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	out.Claim(0, min(64, a.Size))
	out.Gap("records of Riegeli, such as the chunks of a SavedModel, are not read", 64, max(a.Size-64, 0))
	return nil
}
