package scan_test

import (
	"slices"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// TestOnnxEngines has nodes that stand for what was compiled for an accelerator,
// in a file or in the node, and functions that differ by overload only.
func TestOnnxEngines(t *testing.T) {
	text := func(name, value string) build.Proto { return build.Proto(nil).Text(1, name).Text(4, value).Int(20, 3) }
	number := func(name string, value uint64) build.Proto {
		return build.Proto(nil).Text(1, name).Int(3, value).Int(20, 2)
	}
	node := func(attributes ...build.Proto) []byte {
		n := build.Proto(nil)
		for _, a := range attributes {
			n = n.Bytes(5, a)
		}
		return build.ONNX([]build.Proto{append(n, build.Node("EPContext", "com.microsoft")...)}, nil)
	}
	elf := "\x7fELF\x02\x01\x01" + string(make([]byte, 9)) + "\x02\x00\x3e\x00\x01\x00\x00\x00" + string(make([]byte, 100))
	function := func(node, function string) []byte {
		n := build.Node("F", "own")
		if node != "" {
			n = n.Text(8, node)
		}
		return build.ONNX([]build.Proto{n}, nil, func(m build.Proto) build.Proto {
			f := build.Proto(nil).Text(1, "F").Text(10, "own").Bytes(7, build.Node("Relu", ""))
			if function != "" {
				f = f.Text(13, function)
			}
			return m.Bytes(25, f)
		})
	}
	for _, tt := range []struct {
		name     string
		model    []byte
		want     []string
		complete scan.Completeness
	}{
		{"upwards", node(number("embed_mode", 0), text("ep_cache_context", "../engine.bin")), []string{"scan.onnx.external-path"}, scan.Inconclusive},
		{"absolute_mode_last", node(text("ep_cache_context", "/engine.bin"), number("embed_mode", 0)), []string{"scan.onnx.external-path"}, scan.Inconclusive},
		{"source", node(number("embed_mode", 1), text("onnx_model_filename", `..\m.onnx`)), []string{"scan.onnx.external-path"}, scan.Inconclusive},
		{"here", node(number("embed_mode", 0), text("ep_cache_context", "engine.bin")), nil, scan.Inconclusive},
		{"embedded", node(number("embed_mode", 1), text("ep_cache_context", "../not a name")), nil, scan.Inconclusive},
		{"embedded_program", node(text("ep_cache_context", elf)), []string{"scan.file.embedded-executable"}, scan.Inconclusive},
		{"other_operator", build.ONNX([]build.Proto{build.Node("Relu", "").Bytes(5, text("ep_cache_context", "../x"))}, nil), nil, scan.Complete},

		{"overload_other", function("", "a"), []string{"scan.onnx.custom-operator"}, scan.Complete},
		{"overload_missing", function("a", ""), []string{"scan.onnx.custom-operator"}, scan.Complete},
		{"overload", function("a", "a"), nil, scan.Complete},
	} {
		res := folder(t, scan.Scanner{}, map[string][]byte{"m/m.onnx": tt.model, "m/engine.bin": make([]byte, 64)})
		i := slices.IndexFunc(res.Files, func(f scan.FileResult) bool { return f.Path == "m/m.onnx" })
		if got := byPath(res)["m/m.onnx"]; !slices.Equal(got, tt.want) || res.Files[i].Completeness != tt.complete {
			report(t, &res.Files[i])
			t.Errorf("%s: %v, %s", tt.name, got, res.Files[i].Completeness)
		}
	}
}
