package scan_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// TestOnnxRuntime has models in ONNX Runtime's own format.
func TestOnnxRuntime(t *testing.T) {
	node := func(op, domain string, attributes ...build.Flat) build.Flat {
		return build.Flat{0: "n", 2: domain, 5: op, 10: attributes}
	}
	model := func(data []byte, nodes ...build.Flat) []byte {
		graph := build.Flat{0: []build.Flat{{0: "w", 4: data}}, 2: nodes}
		return build.FlatBuffer("ORTM", nil, build.Flat{0: "1.32.0", 1: build.Flat{7: graph}})
	}
	floats := make([]byte, 64)
	inside := build.Flat{0: "body", 7: build.Flat{2: []build.Flat{node("Magic", "evil.corp")}}}
	runRows(t, []row{
		{"model", "m.ort", model(floats, node("Relu", ""), node("FusedConv", "com.microsoft")), scan.Clean, scan.Complete, nil},
		{"any_name", "m", model(floats, node("Relu", "ai.onnx")), scan.Clean, scan.Complete, nil},
		{"branches", "m.ort", model(floats, node("If", "", build.Flat{12: []build.Flat{{2: []build.Flat{node("Relu", "")}}}})), scan.Clean, scan.Complete, nil},
		{"weights_like_elf", "m.ort", model(build.ELF(), node("Relu", "")), scan.Clean, scan.Complete, nil},
		{"other", "m.ort", []byte("ONNX Runtime is a library, and this is no model of it"), scan.Unknown, scan.Inconclusive, nil},

		{"custom", "m.ort", model(floats, node("Magic", "evil.corp")), scan.Suspicious, scan.Complete, []string{"scan.onnx.custom-operator"}},
		{"custom_inside", "m.ort", model(floats, node("Loop", "", inside)), scan.Suspicious, scan.Complete, []string{"scan.onnx.custom-operator"}},
		{"python", "m.ort", model(floats, node("PythonOp", "com.microsoft")), scan.Malicious, scan.Complete, []string{"scan.onnx.python-operator"}},
		{"engine", "m.ort", model(floats, node("EPContext", "com.microsoft")), scan.Unknown, scan.Inconclusive, nil},
		{"cut", "m.ort", model(floats, node("Relu", ""))[:60], scan.Unknown, scan.Failed, nil},
		{"no_graph", "m.ort", build.FlatBuffer("ORTM", nil, build.Flat{0: "1.32.0"}), scan.Unknown, scan.Failed, nil},
	})
}
