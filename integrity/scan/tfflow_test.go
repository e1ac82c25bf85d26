package scan_test

import (
	"encoding/binary"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// A tfNode is a node of a TensorFlow graph that a test writes down.
type tfNode struct {
	name, op string
	inputs   []string
	text     string // of a constant
	packed   bool   // the text is the tensor's content
	calls    string // the function in attribute f
}

func (n tfNode) proto() build.Proto {
	p := build.Proto(nil).Text(1, n.name).Text(2, n.op)
	for _, in := range n.inputs {
		p = p.Text(3, in)
	}
	attr := func(name string, value build.Proto) {
		p = p.Bytes(5, build.Proto(nil).Text(1, name).Bytes(2, value))
	}
	if n.op == "Const" {
		tensor := build.Proto(nil).Int(1, 7)
		if n.packed {
			tensor = tensor.Bytes(4, append(binary.AppendUvarint(nil, uint64(len(n.text))), n.text...))
		} else {
			tensor = tensor.Bytes(8, []byte(n.text))
		}
		attr("value", build.Proto(nil).Bytes(8, tensor))
	}
	if n.calls != "" {
		attr("f", build.Proto(nil).Bytes(10, build.Proto(nil).Text(1, n.calls)))
	}
	return p
}

type tfFunction struct {
	name  string
	args  []string
	ret   string
	nodes []tfNode
}

// A tfMeta is a MetaGraph: its graph, functions, the tensor of the saver and
// that of an asset.
type tfMeta struct {
	nodes        []tfNode
	functions    []tfFunction
	saver, asset string
	listed       string // a path of an asset in the collection of TensorFlow 1
}

func (m tfMeta) proto() build.Proto {
	graph := build.Proto(nil)
	for _, n := range m.nodes {
		graph = graph.Bytes(1, n.proto())
	}
	library := build.Proto(nil)
	for _, f := range m.functions {
		sig := build.Proto(nil).Text(1, f.name)
		for _, a := range f.args {
			sig = sig.Bytes(2, build.Proto(nil).Text(1, a))
		}
		p := build.Proto(nil).Bytes(1, sig)
		for _, n := range f.nodes {
			p = p.Bytes(3, n.proto())
		}
		if f.ret != "" {
			p = p.Bytes(4, build.Proto(nil).Text(1, "out").Text(2, f.ret))
		}
		library = library.Bytes(1, p)
	}
	meta := build.Proto(nil).Bytes(1, build.Proto(nil).Text(4, "serve").Text(5, "2.16.1")).Bytes(2, graph.Bytes(2, library))
	if m.saver != "" {
		meta = meta.Bytes(3, build.Proto(nil).Text(1, m.saver))
	}
	if m.asset != "" {
		meta = meta.Bytes(6, build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, m.asset)).Text(2, "vocab.txt"))
	}
	if m.listed != "" {
		def := build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "c:0")).Text(2, m.listed)
		list := build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "type.googleapis.com/tensorflow.AssetFileDef").Bytes(2, def))
		meta = meta.Bytes(4, build.Proto(nil).Text(1, "saved_model_assets").Bytes(2, build.Proto(nil).Bytes(5, list)))
	}
	return meta
}

// TestTensorFlowFlow has operators that are given the names of files by a
// detour. TensorFlow 2.21 was seen to write to each from a SavedModel with such
// nodes; the look-alikes are what it writes itself.
func TestTensorFlowFlow(t *testing.T) {
	const file = "/tmp/x"
	save := func(name string) tfNode {
		return tfNode{name: "save", op: "SaveV2", inputs: []string{name, "names", "slices", "x"}}
	}
	text := func(name, text string) tfNode { return tfNode{name: name, op: "Const", text: text} }
	op := func(name, op string, inputs ...string) tfNode { return tfNode{name: name, op: op, inputs: inputs} }
	call := func(name, op, function string, inputs ...string) tfNode {
		return tfNode{name: name, op: op, calls: function, inputs: inputs}
	}
	graph := func(nodes ...tfNode) []tfMeta { return []tfMeta{{nodes: nodes}} }
	saver := []tfFunction{{name: "traced_save", args: []string{"file_prefix", "var", "object"}, nodes: []tfNode{
		op("m", "StaticRegexFullMatch", "file_prefix"), text("c", ".part"), text("d", "_temp/part"),
		op("s", "Select", "m:output:0", "c:output:0", "d:output:0"), op("j", "StringJoin", "file_prefix", "s:output:0"),
		op("n", "ShardedFilename", "j:output:0", "i:output:0", "k:output:0"), text("names", "/dense/kernel"),
		{name: "w", op: "SaveV2", inputs: []string{"n:filename:0", "names:output:0", "slices", "var"}},
		op("p", "Pack", "n:filename:0", "^w"), op("q", "MergeV2Checkpoints", "p:output:0", "file_prefix"),
	}}}
	for name, tt := range map[string]struct {
		graphs []tfMeta
		want   scan.Verdict
	}{
		"identity":        {graph(text("c", file), op("i", "Identity", "c"), op("j", "Identity", "i"), save("j")), scan.Malicious},
		"join":            {graph(text("a", "/tmp/"), text("b", "x"), op("j", "StringJoin", "a", "b"), save("j")), scan.Malicious},
		"join of letters": {graph(text("a", "/"), text("b", "tmp"), op("j", "StringJoin", "a", "b"), save("j:0")), scan.Malicious},
		"join of dots":    {graph(text("a", "."), text("b", "./x"), op("j", "StringJoin", "a", "b"), save("j")), scan.Suspicious},
		"behind a feed":   {[]tfMeta{{nodes: []tfNode{op("saver_filename", "Placeholder"), text("b", "/../../x"), op("j", "StringJoin", "saver_filename", "b"), save("j")}, saver: "saver_filename:0"}}, scan.Malicious},
		"select":          {graph(text("a", file), text("b", "x"), op("s", "SelectV2", "x", "a", "b"), save("s")), scan.Malicious},
		"default":         {graph(text("a", file), op("p", "PlaceholderWithDefault", "a"), save("p")), scan.Malicious},
		"content":         {graph(tfNode{name: "a", op: "Const", text: file, packed: true}, save("a")), scan.Malicious},
		"gather":          {graph(text("a", file), op("p", "GatherV2", "a", "i", "k"), save("p")), scan.Malicious},
		"decoded":         {graph(text("a", "L3RtcC94"), op("p", "DecodeBase64", "a"), save("p")), scan.Suspicious},
		"cut":             {graph(text("a", "x/tmp/x"), op("p", "Substr", "a", "i", "k"), save("p")), scan.Suspicious},
		"format":          {graph(op("p", "StringFormat", "x"), save("p")), scan.Suspicious},
		"variable": {graph(text("a", file), op("v", "VarHandleOp"), op("s", "AssignVariableOp", "v", "a"),
			op("r", "ReadVariableOp", "v"), save("r")), scan.Malicious},
		"variable of a checkpoint": {graph(op("v", "VarHandleOp"), op("r", "ReadVariableOp", "v"), save("r")), scan.Suspicious},
		"input":                    {graph(op("p", "Placeholder"), save("p")), scan.Suspicious},
		"input beside a saver":     {[]tfMeta{{nodes: []tfNode{op("p", "Placeholder"), save("p")}, saver: "saver_filename:0"}}, scan.Suspicious},
		"argument": {[]tfMeta{{
			nodes:     []tfNode{text("c", file), call("k", "StatefulPartitionedCall", "f", "x", "c")},
			functions: []tfFunction{{name: "f", args: []string{"x", "p"}, nodes: []tfNode{save("p")}}},
		}}, scan.Malicious},
		"argument of an argument": {[]tfMeta{{
			nodes: []tfNode{text("c", file), call("k", "PartitionedCall", "g", "c")},
			functions: []tfFunction{
				{name: "f", args: []string{"p"}, nodes: []tfNode{save("p")}},
				{name: "g", args: []string{"q"}, nodes: []tfNode{call("k", "f", "", "q")}},
			},
		}}, scan.Malicious},
		"branch": {[]tfMeta{{
			nodes:     []tfNode{text("c", file), call("k", "If", "f", "x", "c")},
			functions: []tfFunction{{name: "f", args: []string{"p"}, nodes: []tfNode{save("p")}}},
		}}, scan.Malicious},
		"loop": {[]tfMeta{{
			nodes:     []tfNode{text("c", file), call("k", "While", "f", "x", "c")},
			functions: []tfFunction{{name: "f", args: []string{"i", "p"}, nodes: []tfNode{save("p")}}},
		}}, scan.Malicious},
		"data set": {[]tfMeta{{
			nodes:     []tfNode{text("c", file), call("k", "MapDataset", "f", "d", "c")},
			functions: []tfFunction{{name: "f", args: []string{"i", "p"}, nodes: []tfNode{save("p")}}},
		}}, scan.Malicious},
		"result": {[]tfMeta{{
			nodes:     []tfNode{call("k", "PartitionedCall", "f"), save("k")},
			functions: []tfFunction{{name: "f", ret: "c:output:0", nodes: []tfNode{text("c", file)}}},
		}}, scan.Malicious},
		"first of two graphs": {append(graph(text("c", file), save("c")), graph(text("c", "model"), save("c"))...), scan.Malicious},
		"same names":          {graph(text("c", file), save("c"), save("d"), text("d", "x")), scan.Malicious},
		"table":               {graph(text("c", "/etc/x"), op("i", "Identity", "c"), op("t", "InitializeTableFromTextFileV2", "h", "i")), scan.Malicious},
		"asset that is read":  {[]tfMeta{{nodes: []tfNode{text("c", "/etc/x"), op("r", "RestoreV2", "c")}, asset: "c:0"}}, scan.Malicious},

		"saver": {[]tfMeta{{nodes: []tfNode{
			op("saver_filename", "Placeholder"), text("object", "\x00://"),
			call("k", "StatefulPartitionedCall", "traced_save", "saver_filename", "v", "object"),
		}, functions: saver, saver: "saver_filename:0"}}, scan.Clean},
		"old saver": {[]tfMeta{{nodes: []tfNode{
			text("save/filename/input", "model"), op("save/filename", "PlaceholderWithDefault", "save/filename/input"),
			op("save/Const", "PlaceholderWithDefault", "save/filename"), text("p", "_temp_0a1b/part"), op("j", "StringJoin", "save/Const", "p"),
			op("n", "ShardedFilename", "j", "i", "k"), save("n"),
		}, saver: "save/Const:0"}}, scan.Clean},
		"labels":            {graph(text("c", "/m/01g317"), op("i", "Identity", "c"), op("save/Const", "Const"), save("save/Const")), scan.Clean},
		"names of tensors":  {graph(text("f", "model"), text("names", "/dense"), save("f")), scan.Clean},
		"asset":             {[]tfMeta{{nodes: []tfNode{text("c", "/home/me/vocab.txt"), op("t", "InitializeTableFromTextFileV2", "h", "c")}, asset: "c:0"}}, scan.Clean},
		"listed asset":      {[]tfMeta{{nodes: []tfNode{text("c", "/home/me/vocab.txt"), op("t", "InitializeTableFromTextFileV2", "h", "c")}, listed: "vocab.txt"}}, scan.Clean},
		"asset outside":     {[]tfMeta{{nodes: []tfNode{op("t", "NoOp")}, listed: "../../etc/passwd"}}, scan.Malicious},
		"asset in variable": {graph(op("p", "Placeholder"), op("v", "VarHandleOp"), op("s", "AssignVariableOp", "v", "p"), op("r", "ReadVariableOp", "v"), op("t", "InitializeTableFromTextFileV2", "h", "r")), scan.Clean},
		"cache in memory":   {graph(text("c", ""), op("d", "CacheDatasetV2", "x", "c", "h")), scan.Clean},
		"words":             {graph(text("c", "/etc/passwd"), op("l", "StringLower", "c"), op("j", "StringJoin", "l", "x")), scan.Clean},
	} {
		data := build.Proto(nil).Int(1, 1)
		for _, g := range tt.graphs {
			data = data.Bytes(2, g.proto())
		}
		if got := one(t, scan.Scanner{}, "saved_model.pb", data); got.Verdict != tt.want || got.Completeness != scan.Complete {
			report(t, got)
			t.Errorf("%s: %v, %v, want %v", name, got.Verdict, got.Completeness, tt.want)
		}
	}
	nodes := []tfNode{op("p", "Placeholder"), save("n59999")}
	for i := range 60_000 {
		nodes = append(nodes, op("n"+string(binary.AppendUvarint(nil, uint64(i))), "Identity", "p"))
	}
	small := scan.Scanner{Limits: scan.Limits{Memory: 4 << 20}}
	if got := one(t, small, "m.pb", build.Proto(nil).Int(1, 1).Bytes(2, tfMeta{nodes: nodes}.proto())); got.Completeness == scan.Complete {
		t.Error("a graph of which only a part was kept is complete")
	}
}
