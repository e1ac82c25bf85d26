package scan_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/scantest"
	"github.com/prerun/prerun/internal/testutil"
)

// A formatCase is one file and what is to be said of it.
type formatCase struct {
	name     string
	file     string
	data     []byte
	beside   map[string][]byte // other files of its folder
	verdict  scan.Verdict
	complete scan.Completeness
	want     []string // rule ids
}

func runFormats(t *testing.T, cases []formatCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string][]byte{tt.file: tt.data}
			maps.Copy(files, tt.beside)
			var f *scan.FileResult
			res := folder(t, scan.Scanner{}, files)
			for i := range res.Files {
				if res.Files[i].Path == tt.file {
					f = &res.Files[i]
				}
			}
			if f == nil {
				t.Fatal("not scanned")
			}
			judge(t, f, tt.verdict, tt.complete, tt.want)
		})
	}
}

func TestTFLite(t *testing.T) {
	weights := make([]byte, 64)
	labels := build.Zip(build.Member{Name: "labels.txt", Data: []byte("cat\ndog\n")})
	plain := build.TFLite(weights, nil)
	change := func(f func(m build.Flat)) []byte { return build.TFLite(weights, f) }
	graph := func(m build.Flat) build.Flat { return m[2].([]build.Flat)[0] }
	control := func(m build.Flat, kind int32, options build.Flat) {
		m[1] = []build.Flat{{0: uint8(kind), 3: kind}}
		graph(m)[3] = []build.Flat{{0: uint32(0), 3: uint8(92), 4: options}}
	}
	external := func(name string, off, size uint64) []byte {
		return change(func(m build.Flat) {
			graph(m)[0].([]build.Flat)[0][10] = uint32(7)
			m[8] = []build.Flat{{0: name}}
			m[9] = []build.Flat{{0: uint32(7), 1: uint32(0), 2: off, 3: size}}
		})
	}
	behind := func(off, size uint64) []byte {
		return append(change(func(m build.Flat) { m[4].([]build.Flat)[1] = build.Flat{1: off, 2: size} }), build.ELF()...)
	}
	flex := func(options []byte) []byte {
		return build.TFLite(weights, func(m build.Flat) { graph(m)[3].([]build.Flat)[1][5] = options }, "FlexAdd")
	}
	inline := uint64(len(behind(4, 4)) - 64)

	runFormats(t, []formatCase{
		{"plain", "m.tflite", plain, nil, scan.Clean, scan.Complete, nil},
		{"any_name", "model", plain, nil, scan.Clean, scan.Complete, nil},
		{"no_subgraphs", "m.tflite", change(func(m build.Flat) { delete(m, 2) }), nil, scan.Clean, scan.Complete, nil},
		{"associated_files", "m.tflite", append(plain[:len(plain):len(plain)], labels...), nil, scan.Clean, scan.Complete, nil},
		{"known_custom", "m.tflite", build.TFLite(weights, nil, "TFLite_Detection_PostProcess", "edgetpu-custom-op"), nil, scan.Clean, scan.Complete, nil},
		{"flex", "m.tflite", build.TFLite(weights, nil, "FlexErf", "FlexSaveV2"), nil, scan.Clean, scan.Complete, nil},
		{"weights_like_elf", "m.tflite", build.TFLite(build.ELF(), nil), nil, scan.Clean, scan.Complete, nil},
		{"data_behind", "m.tflite", behind(inline, 64), nil, scan.Clean, scan.Complete, nil},
		{"while", "m.tflite", change(func(m build.Flat) {
			control(m, 119, build.Flat{0: int32(1), 1: int32(2)})
			m[2] = append(m[2].([]build.Flat), build.Flat{}, build.Flat{})
		}), nil, scan.Clean, scan.Complete, nil},
		{"external", "m.tflite", external("w.data", 4, 12), map[string][]byte{"w.data": make([]byte, 16)}, scan.Clean, scan.Complete, nil},
		{"associated_names", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "a..b/labels..txt", Data: []byte("x")})...), nil, scan.Clean, scan.Complete, nil},
		{"associated_pickle_silent", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "x", Data: build.Harmless()})...), nil, scan.Clean, scan.Complete, nil},
		{"flex_options", "m.tflite", flex(build.FlexTexts("Add", string(build.Proto(nil).Text(1, "ReadFile").Text(2, "Add")))), nil, scan.Clean, scan.Complete, nil},
		{"flex_twice", "m.tflite", build.TFLite(weights, nil, "FlexAdd", "FlexAdd"), nil, scan.Clean, scan.Complete, nil},
		{"inline_data", "m.tflite", change(func(m build.Flat) { m[4].([]build.Flat)[1] = build.Flat{0: make([]byte, 64)} }), nil, scan.Clean, scan.Complete, nil},
		{"optional_input", "m.tflite", change(func(m build.Flat) { graph(m)[3].([]build.Flat)[0][1] = []int32{-1} }), nil, scan.Clean, scan.Complete, nil},
		{"two_tensors_one_buffer", "m.tflite", change(func(m build.Flat) { ts := graph(m)[0].([]build.Flat); graph(m)[0] = append(ts, ts[0]) }), nil, scan.Clean, scan.Complete, nil},
		{"if", "m.tflite", change(func(m build.Flat) {
			control(m, 118, build.Flat{0: int32(1), 1: int32(2)})
			m[2] = append(m[2].([]build.Flat), build.Flat{}, build.Flat{})
		}), nil, scan.Clean, scan.Complete, nil},
		{"one_subgraph_twice", "m.tflite", change(func(m build.Flat) {
			control(m, 118, build.Flat{0: int32(1), 1: int32(1)})
			m[2] = append(m[2].([]build.Flat), build.Flat{})
		}), nil, scan.Clean, scan.Complete, nil},
		{"external_folder", "m.tflite", external("a/../w.data", 0, 16), map[string][]byte{"w.data": make([]byte, 16)}, scan.Clean, scan.Complete, nil},
		{"external_whole", "m.tflite", external("w.data", 0, 16), map[string][]byte{"w.data": make([]byte, 16)}, scan.Clean, scan.Complete, nil},

		{"associated_traversal", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "../x", Data: []byte("x")})...), nil, scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"associated_pickle", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "x", Data: build.Attack()})...), nil, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"custom", "m.tflite", build.TFLite(weights, nil, "Evil", "Evil"), nil, scan.Suspicious, scan.Complete, []string{"scan.tflite.custom-operator"}},
		{"flex_read", "m.tflite", build.TFLite(weights, nil, "FlexReadFile"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"flex_python", "m.tflite", build.TFLite(weights, nil, "FlexEagerPyFunc"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"flex_disguised", "m.tflite", flex(build.FlexTexts("Add", string(build.Proto(nil).Text(1, "n").Text(2, "ReadFile")))), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"flex_unreadable", "m.tflite", flex([]byte("\x00\x01\x02\x03")), nil, scan.Unknown, scan.Inconclusive, nil},
		{"flex_no_node", "m.tflite", flex(build.FlexTexts("Add")), nil, scan.Unknown, scan.Inconclusive, nil},
		{"elf_behind", "m.tflite", behind(inline-4, 4), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"elf_in_unused_buffer", "m.tflite", change(func(m build.Flat) {
			m[4] = append(m[4].([]build.Flat), build.Flat{0: build.ELF()})
		}), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"elf_in_metadata", "m.tflite", change(func(m build.Flat) { m[4].([]build.Flat)[2] = build.Flat{0: build.ELF()} }), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"data_outside", "m.tflite", behind(1<<40, 4), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable", "scan.tflite.layout"}},
		{"data_overflow", "m.tflite", change(func(m build.Flat) { m[4].([]build.Flat)[1] = build.Flat{1: uint64(8), 2: ^uint64(0)} }), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.layout"}},
		{"no_such_buffer", "m.tflite", change(func(m build.Flat) { graph(m)[0].([]build.Flat)[0][2] = uint32(9) }), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.layout"}},
		{"no_such_tensor", "m.tflite", change(func(m build.Flat) { graph(m)[3].([]build.Flat)[0][1] = []int32{-2} }), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.layout"}},
		{"no_such_operator", "m.tflite", change(func(m build.Flat) { graph(m)[3].([]build.Flat)[0][0] = uint32(9) }), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.layout"}},
		{"no_such_subgraph", "m.tflite", change(func(m build.Flat) { control(m, 118, build.Flat{0: int32(0), 1: int32(-5)}) }), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.layout", "scan.tflite.subgraph-recursion"}},
		{"recursion", "m.tflite", change(func(m build.Flat) { control(m, 119, build.Flat{0: int32(0), 1: int32(0)}) }), nil, scan.Suspicious, scan.Complete, []string{"scan.tflite.subgraph-recursion"}},
		{"external_absolute", "m.tflite", external("/etc/passwd", 0, 0), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.external-path"}},
		{"external_climbs", "m.tflite", external("a/../../x", 0, 0), nil, scan.Malicious, scan.Complete, []string{"scan.tflite.external-path"}},
		{"external_range", "m.tflite", external("w.data", 8, 12), map[string][]byte{"w.data": make([]byte, 16)}, scan.Malicious, scan.Complete, []string{"scan.tflite.layout"}},
		{"external_missing", "m.tflite", external("w.data", 0, 4), nil, scan.Unknown, scan.Inconclusive, nil},
		{"cut", "m.tflite", plain[:len(plain)/2], nil, scan.Unknown, scan.Failed, nil},
		{"wild_root", "m.tflite", append([]byte("\xff\xff\xff\x7fTFL3"), make([]byte, 40)...), nil, scan.Unknown, scan.Failed, nil},
		{"version", "m.tflite", change(func(m build.Flat) { m[0] = uint32(9) }), nil, scan.Unknown, scan.Failed, nil},
	})
}

func TestExecuTorch(t *testing.T) {
	data := make([]byte, 64)
	add := []string{"aten::add", "executorch_prim::et_view"}
	segments := func(p build.Flat) []build.Flat { return p[4].([]build.Flat) }
	change := func(f func(p build.Flat)) []byte { return build.ExecuTorch(add, []string{"XnnpackBackend"}, data, f) }
	plain := change(nil)
	header := func(at int, v byte) []byte {
		b := bytes.Clone(plain)
		b[at] = v
		return b
	}
	runFormats(t, []formatCase{
		{"plain", "m.pte", plain, nil, scan.Clean, scan.Complete, nil},
		{"any_name", "model", plain, nil, scan.Clean, scan.Complete, nil},
		{"no_delegate", "m.pte", build.ExecuTorch(add, nil, data, nil), nil, scan.Clean, scan.Complete, nil},
		{"no_header", "m.pte", build.FlatBuffer("ET12", nil, build.Flat{1: []build.Flat{{0: "forward"}}}), nil, scan.Clean, scan.Complete, nil},
		{"weights_like_elf", "m.pte", build.ExecuTorch(add, nil, build.ELF(), nil), nil, scan.Clean, scan.Complete, nil},
		{"inline_constants", "m.pte", change(func(p build.Flat) { p[2] = []build.Flat{{0: build.ELF()}} }), nil, scan.Clean, scan.Complete, nil},
		{"named_data", "m.pte", change(func(p build.Flat) { p[7] = []build.Flat{{0: "w", 1: uint32(0)}} }), nil, scan.Clean, scan.Complete, nil},
		{"quantised_kernels", "m.pte", build.ExecuTorch([]string{"quantized_decomposed::quantize_per_tensor", "dim_order_ops::_to_dim_order_copy", "aten::add.out"}, nil, data, nil), nil, scan.Clean, scan.Complete, nil},
		{"delegates", "m.pte", build.ExecuTorch(add, []string{"XnnpackBackend", "CoreMLBackend", "QnnBackend", "VulkanBackend"}, data, nil), nil, scan.Clean, scan.Complete, nil},
		{"segment_empty", "m.pte", change(func(p build.Flat) { segments(p)[0][1] = uint64(0); delete(p, 5) }), nil, scan.Clean, scan.Complete, nil},
		{"constants_at_the_end", "m.pte", change(func(p build.Flat) { p[5] = build.Flat{0: uint32(0), 1: []uint64{0, 63, 64}} }), nil, scan.Clean, scan.Complete, nil},
		{"named_evil", "m.pte", change(func(p build.Flat) { p[7] = []build.Flat{{0: "evil::run", 1: uint32(0)}, {0: "../x", 1: uint32(0)}} }), nil, scan.Clean, scan.Complete, nil},
		{"two_methods", "m.pte", change(func(p build.Flat) { p[1] = append(p[1].([]build.Flat), build.Flat{0: "EvilBackend"}) }), nil, scan.Clean, scan.Complete, nil},
		{"inline_delegate_data", "m.pte", change(func(p build.Flat) { p[3] = []build.Flat{{0: make([]byte, 99)}} }), nil, scan.Clean, scan.Complete, nil},

		{"kernel", "m.pte", build.ExecuTorch([]string{"evil::run"}, nil, data, nil), nil, scan.Suspicious, scan.Complete, []string{"scan.executorch.custom-kernel"}},
		{"kernel_no_library", "m.pte", build.ExecuTorch([]string{"run"}, nil, data, nil), nil, scan.Suspicious, scan.Complete, []string{"scan.executorch.custom-kernel"}},
		{"delegate", "m.pte", build.ExecuTorch(add, []string{"EvilBackend"}, data, nil), nil, scan.Suspicious, scan.Complete, []string{"scan.executorch.unknown-delegate"}},
		{"delegate_elf", "m.pte", build.ExecuTorch(add, []string{"CudaBackend"}, build.ELF(), func(p build.Flat) { delete(p, 5) }), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"inline_delegate_elf", "m.pte", change(func(p build.Flat) { p[3] = []build.Flat{{0: build.ELF()}} }), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"segment_outside", "m.pte", change(func(p build.Flat) { segments(p)[0][1] = uint64(1 << 50) }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"segment_overflow", "m.pte", change(func(p build.Flat) { segments(p)[0] = build.Flat{0: uint64(4), 1: ^uint64(0)} }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"constant_outside", "m.pte", change(func(p build.Flat) { p[5] = build.Flat{0: uint32(0), 1: []uint64{0, 65}} }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"no_such_segment", "m.pte", change(func(p build.Flat) { p[5] = build.Flat{0: uint32(3), 1: []uint64{0}} }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"no_named_segment", "m.pte", change(func(p build.Flat) { p[7] = []build.Flat{{0: "w", 1: uint32(4)}} }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"no_such_operator", "m.pte", change(func(p build.Flat) { delete(p[1].([]build.Flat)[0], 6) }), nil, scan.Malicious, scan.Complete, []string{"scan.executorch.layout"}},
		{"header_outside", "m.pte", header(22, 1), nil, scan.Malicious, scan.Failed, []string{"scan.executorch.layout"}},
		{"header_cut", "m.pte", header(12, 3), nil, scan.Unknown, scan.Failed, nil},
		{"cut", "m.pte", plain[:60], nil, scan.Malicious, scan.Failed, []string{"scan.executorch.layout"}},
	})
}

func TestCoreML(t *testing.T) {
	p := func() build.Proto { return nil }
	dense := p().Text(1, "fc").Bytes(140, p().Int(1, 4))
	custom := p().Text(1, "c").Bytes(500, p().Text(10, "EvilLayer"))
	network := build.CoreML(500, build.CoreMLNetwork(dense))
	program := func(file string, off uint64) []byte { return build.CoreML(502, build.CoreMLProgram(file, off)) }
	weights := map[string][]byte{"weights/weight.bin": build.CoreMLWeights(make([]byte, 16), make([]byte, 70))}
	pipeline := func(field int32, models ...build.Proto) []byte {
		var list build.Proto
		for _, m := range models {
			list = list.Bytes(1, m)
		}
		if field != 202 {
			list = p().Bytes(1, list)
		}
		return build.CoreML(field, list)
	}
	linked := func(name, search string) []byte {
		return build.CoreML(556, p().Bytes(1, p().Bytes(1, p().Text(1, name)).Bytes(2, p().Text(1, search))))
	}
	deep := p()
	for range 200 {
		deep = build.CoreMLNetwork(p().Bytes(605, p().Bytes(1, deep)))
	}
	manifest := func(path string) []byte {
		return mustJSON(map[string]any{"fileFormatVersion": "1.0.0", "itemInfoEntries": map[string]any{"a": map[string]string{"path": path}}})
	}
	cutBlob := build.CoreMLWeights(make([]byte, 100))

	runFormats(t, []formatCase{
		{"network", "m.mlmodel", network, nil, scan.Clean, scan.Complete, nil},
		{"any_name", "model", network, nil, scan.Clean, scan.Complete, nil},
		{"type_first", "m.mlmodel", p().Bytes(500, build.CoreMLNetwork(dense)).Int(1, 4), nil, scan.Clean, scan.Complete, nil},
		{"trees", "m.mlmodel", build.CoreML(402, p().Bytes(1, make([]byte, 5000))), nil, scan.Clean, scan.Complete, nil},
		{"long_description", "m.mlmodel", p().Int(1, 1).Bytes(2, p().Text(1, strings.Repeat("x", 9000))).Bytes(500, build.CoreMLNetwork(dense)), nil, scan.Clean, scan.Complete, nil},
		{"control_flow", "m.mlmodel", build.CoreML(500, build.CoreMLNetwork(
			p().Bytes(605, p().Bytes(1, build.CoreMLNetwork(dense)).Bytes(2, build.CoreMLNetwork(dense))),
			p().Bytes(615, p().Text(2, "c").Bytes(4, build.CoreMLNetwork(dense))))), nil, scan.Clean, scan.Complete, nil},
		{"pipeline", "m.mlmodel", pipeline(202, network, network), nil, scan.Clean, scan.Complete, nil},
		{"pipeline_classifier", "m.mlmodel", pipeline(200, network), nil, scan.Clean, scan.Complete, nil},
		{"program", "m.mlmodel", program("@model_path/weights/weight.bin", 64), weights, scan.Clean, scan.Complete, nil},
		{"vision", "m.mlmodel", build.CoreML(2002, p().Int(1, 1)), nil, scan.Clean, scan.Complete, nil},
		{"weights", "weight.bin", build.CoreMLWeights(make([]byte, 16), build.ELF()), nil, scan.Clean, scan.Complete, nil},
		{"manifest", "Manifest.json", manifest("com.apple.CoreML/model.mlmodel"), nil, scan.Clean, scan.Complete, nil},
		{"other_manifest", "Manifest.json", []byte(`{"path": "/x"}`), nil, scan.Clean, scan.Complete, nil},

		{"custom_layer", "m.mlmodel", build.CoreML(403, build.CoreMLNetwork(dense, custom)), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.custom-layer"}},
		{"custom_layer_in_loop", "m.mlmodel", build.CoreML(500, build.CoreMLNetwork(p().Bytes(615, p().Text(2, "c").Bytes(4, build.CoreMLNetwork(custom))))), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.custom-layer"}},
		{"custom_layer_in_branch", "m.mlmodel", build.CoreML(500, build.CoreMLNetwork(p().Bytes(605, p().Bytes(2, build.CoreMLNetwork(custom))))), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.custom-layer"}},
		{"custom_model", "m.mlmodel", build.CoreML(555, p().Text(10, "EvilModel")), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.custom-model"}},
		{"custom_in_pipeline", "m.mlmodel", pipeline(201, network, pipeline(202, build.CoreML(555, p().Text(10, "EvilModel")))), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.custom-model"}},
		{"linked", "m.mlmodel", linked("Other.mlmodelc", "$BUNDLE_MAIN:models"), nil, scan.Suspicious, scan.Complete, []string{"scan.coreml.linked-model"}},
		{"linked_outside", "m.mlmodel", linked("Other.mlmodelc", "models:../../x"), nil, scan.Malicious, scan.Complete, []string{"scan.coreml.linked-model"}},
		{"weights_absolute", "m.mlmodel", program("/etc/passwd", 0), nil, scan.Malicious, scan.Complete, []string{"scan.coreml.weights-path"}},
		{"weights_climb", "m.mlmodel", program("@model_path/../../x", 0), nil, scan.Malicious, scan.Complete, []string{"scan.coreml.weights-path"}},
		{"weights_range", "m.mlmodel", program("@model_path/weights/weight.bin", 1<<40), weights, scan.Suspicious, scan.Complete, []string{"scan.coreml.weights-range"}},
		{"weights_missing", "m.mlmodel", program("@model_path/weights/weight.bin", 64), nil, scan.Unknown, scan.Inconclusive, nil},
		{"serialized", "m.mlmodel", build.CoreML(3000, p().Text(1, "x").Bytes(2, []byte("y"))), nil, scan.Unknown, scan.Inconclusive, nil},
		{"elf_in_unknown_field", "m.mlmodel", network.Bytes(190, build.ELF()), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"elf_in_late_field", "m.mlmodel", build.CoreML(402, p().Bytes(1, make([]byte, 5000))).Bytes(190, build.ELF()), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"deep", "m.mlmodel", build.CoreML(500, deep), nil, scan.Unknown, scan.Failed, nil},
		{"cut", "m.mlmodel", network[:len(network)-3], nil, scan.Unknown, scan.Inconclusive, nil},
		{"weights_elf_between", "weight.bin", slices.Concat(cutBlob, make([]byte, 28), build.ELF()), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"weights_cut", "weight.bin", cutBlob[:200], nil, scan.Unknown, scan.Failed, nil},
		{"manifest_climbs", "Manifest.json", manifest("../../.ssh/id_rsa"), nil, scan.Malicious, scan.Complete, []string{"scan.coreml.manifest-path"}},
		{"manifest_absolute", "Manifest.json", manifest("/etc/passwd"), nil, scan.Malicious, scan.Complete, []string{"scan.coreml.manifest-path"}},
	})
}

func TestOpenVINO(t *testing.T) {
	bin := map[string][]byte{"m.bin": make([]byte, 16)}
	plain := build.OpenVINO("0", "16", `<layer id="1" name="r" type="ReLU" version="opset13"/>`)
	layer := func(s string) []byte { return build.OpenVINO("0", "16", s) }
	text := func(old, new string) []byte { return bytes.Replace(plain, []byte(old), []byte(new), 1) }

	runFormats(t, []formatCase{
		{"plain", "m.xml", plain, bin, scan.Clean, scan.Complete, nil},
		{"weights", "m.bin", make([]byte, 16), map[string][]byte{"m.xml": plain}, scan.Clean, scan.Complete, nil},
		{"no_weights_needed", "m.xml", build.OpenVINO("0", "0"), nil, scan.Clean, scan.Complete, nil},
		{"body", "m.xml", layer(`<layer name="l" type="Loop" version="opset5"><body><layers><layer name="x" type="Add" version="opset1"/></layers></body></layer>`), bin, scan.Clean, scan.Complete, nil},
		{"tokenizer", "m.xml", layer(`<layer name="t" type="BPETokenizer" version="extension"/>`), bin, scan.Clean, scan.Complete, nil},
		{"bom", "m.xml", append([]byte("\xef\xbb\xbf"), plain...), bin, scan.Clean, scan.Complete, nil},
		{"other_xml", "m.xml", []byte(`<svg><g/></svg>`), nil, scan.Clean, scan.Complete, nil},
		{"other_doctype", "page.xml", []byte(`<!DOCTYPE html><html></html>`), nil, scan.Clean, scan.Complete, nil},
		{"other_broken", "page.xml", []byte("<p>a & b"), nil, scan.Clean, scan.Complete, nil},

		{"custom", "m.xml", layer(`<layer name="e" type="Evil" version="extension"/>`), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.custom-layer"}},
		{"custom_set", "m.xml", layer(`<layer name="e" type="ReLU" version="opsetx"/>`), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.custom-layer"}},
		{"custom_unnamed_set", "m.xml", layer(`<layer name="e" type="Evil"/>`), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.custom-layer"}},
		{"custom_in_body", "m.xml", layer(`<layer name="l" type="If" version="opset8"><then_body><layers><layer name="x" type="Evil" version="own"/></layers></then_body></layer>`), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.custom-layer"}},
		{"library", "m.xml", text("Runtime_version value=\"2025.3.0\"", "extension path=\"../libevil.so\""), bin, scan.Malicious, scan.Complete, []string{"scan.openvino.library-reference"}},
		{"doctype", "m.xml", text("<net", "<!DOCTYPE net>\n<net"), bin, scan.Suspicious, scan.Complete, []string{"scan.xml.document-type"}},
		{"entity", "m.xml", text("<net", "<!DOCTYPE net [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\n<net"), bin, scan.Malicious, scan.Complete, []string{"scan.xml.document-type"}},
		{"entity_used", "m.xml", text("<net name=\"tiny\"", "<!DOCTYPE net [<!ENTITY x \"y\">]>\n<net name=\"&x;\""), bin, scan.Malicious, scan.Failed, []string{"scan.xml.document-type"}},
		{"range", "m.xml", build.OpenVINO("8", "16"), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.weights-range"}},
		{"range_negative", "m.xml", build.OpenVINO("-8", "16"), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.weights-range"}},
		{"padded", "m.xml", text("<net", "<!--"+strings.Repeat("x", 9000)+"-->\n<net"), bin, scan.Clean, scan.Complete, nil},
		{"padded_custom", "m.xml", bytes.Replace(layer(`<layer type="Evil" version="own"/>`), []byte("<net"), []byte("<!--"+strings.Repeat("x", 9000)+"-->\n<net"), 1), bin, scan.Suspicious, scan.Complete, []string{"scan.openvino.custom-layer"}},
		{"missing", "m.xml", plain, nil, scan.Unknown, scan.Inconclusive, nil},
		{"old", "m.xml", text(`version="11"`, `version="6"`), bin, scan.Unknown, scan.Inconclusive, nil},
		{"cut", "m.xml", plain[:len(plain)/2], bin, scan.Unknown, scan.Failed, nil},
		{"mismatched", "m.xml", text("</layers>", "</layer>"), bin, scan.Unknown, scan.Failed, nil},
		{"broken_before_root", "m.xml", append([]byte("<?xml version=\"1.0\"?>\n<a & b>"), plain...), bin, scan.Unknown, scan.Failed, nil},
		{"utf16_alone", "m.xml", []byte("\xff\xfe<\x00n\x00e\x00t\x00>\x00"), nil, scan.Unknown, scan.Failed, nil},
		{"utf16", "m.xml", []byte("\xff\xfe<\x00n\x00e\x00t\x00>\x00"), bin, scan.Unknown, scan.Failed, nil},
		{"deep", "m.xml", []byte("<net>" + strings.Repeat("<a>", 1000)), bin, scan.Unknown, scan.Inconclusive, nil},
		{"weights_elf", "m.bin", slices.Concat(make([]byte, 16), build.ELF()), map[string][]byte{"m.xml": plain}, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"weights_of_other_xml", "m.bin", make([]byte, 16), map[string][]byte{"m.xml": []byte(`<svg><g/></svg>`)}, scan.Unknown, scan.Inconclusive, nil},
		{"weights_of_empty_xml", "m.bin", make([]byte, 16), map[string][]byte{"m.xml": {}}, scan.Unknown, scan.Inconclusive, nil},
		{"weights_of_text", "pytorch_model.bin", make([]byte, 16), map[string][]byte{"pytorch_model.xml": []byte("net\n")}, scan.Unknown, scan.Inconclusive, nil},
		{"weights_zip", "pytorch_model.bin", build.Zip(build.Member{Name: "a/data.pkl", Data: build.Attack()}), map[string][]byte{"pytorch_model.xml": plain}, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"weights_tar", "pytorch_model.bin", build.Tar(build.TarMember{Name: "a/data.pkl", Data: build.Attack()}), map[string][]byte{"pytorch_model.xml": plain}, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"weights_pickle_of_other_xml", "pytorch_model.bin", build.Harmless(), map[string][]byte{"pytorch_model.xml": []byte(`<svg/>`)}, scan.Clean, scan.Complete, nil},
		{"zipped", "m.zip", build.Zip(build.Member{Name: "m.xml", Data: plain}, build.Member{Name: "m.bin", Data: make([]byte, 16)}), nil, scan.Clean, scan.Complete, nil},
		{"zipped_other_xml", "m.zip", build.Zip(build.Member{Name: "m.xml", Data: []byte(`<svg/>`)}, build.Member{Name: "m.bin", Data: make([]byte, 16)}), nil, scan.Unknown, scan.Inconclusive, nil},
		{"weights_pickle", "m.bin", build.Attack(), map[string][]byte{"m.xml": plain}, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
	})
}

func paddleJSON(ops ...string) []byte {
	var list strings.Builder
	for _, op := range ops {
		list.WriteString(`,{"#":"` + op + `","A":[{"AT":{"#":"0.a_str","D":"x"},"N":"name"}],"I":[{"%":1}],"O":[]}`)
	}
	return []byte(`{"base_code":{"magic":"pir","trainable":true,"version":4},"program":{"regions":[{"#":"region_0","blocks":[{"#":"block_0","args":[],"ops":[` +
		`{"#":"p","A":[0,1,1,"w"],"DA":[],"O":{"%":1},"OA":[1,0,1],"QA":[]}` + list.String() + `]}]}]}}`)
}

func TestPaddle(t *testing.T) {
	matmul := build.PaddleOp("matmul_v2")
	nested := []byte(strings.Replace(string(paddleJSON("1.if")), `"O":[]}`, `"O":[],"regions":[{"#":"region_1","blocks":[{"#":"b","ops":[{"#":"3.evil","I":[],"O":[]}]}]}]}`, 1))
	runFormats(t, []formatCase{
		{"program", "m.pdmodel", build.Paddle(build.PaddleOp("feed"), matmul, build.PaddleOp("fetch"), build.PaddleOp("assert"), build.PaddleOp("print")), nil, scan.Clean, scan.Complete, nil},
		{"any_name", "__model__", build.Paddle(matmul), nil, scan.Clean, scan.Complete, nil},
		{"empty", "m.pdmodel", build.Paddle(), nil, scan.Clean, scan.Complete, nil},
		{"json", "m.json", paddleJSON("1.matmul", "1.relu_", "2.yield"), nil, scan.Clean, scan.Complete, nil},
		{"json_strings", "m.json", paddleJSON("1.save_image", "1.load_state"), nil, scan.Clean, scan.Complete, nil},
		{"params", "m.pdiparams", build.PaddleParams(2, 0, 8), nil, scan.Clean, scan.Complete, nil},
		{"params_pickle", "m.pdparams", build.Harmless(), nil, scan.Clean, scan.Complete, nil},
		{"control", "m.pdmodel", build.Paddle(build.PaddleOp("while"), build.PaddleOp("conditional_block"), matmul), nil, scan.Clean, scan.Complete, nil},
		{"like_files", "m.pdmodel", build.Paddle(build.PaddleOp("lod_reset"), build.PaddleOp("save_shape"), build.PaddleOp("reader")), nil, scan.Clean, scan.Complete, nil},
		{"like_python", "m.pdmodel", build.Paddle(build.PaddleOp("py_func_like"), build.PaddleOp("layer_norm")), nil, scan.Clean, scan.Complete, nil},
		{"two_blocks", "m.pdmodel", append(build.Paddle(matmul), build.Paddle(build.PaddleOp("relu"))...), nil, scan.Clean, scan.Complete, nil},
		{"json_builtins", "m.json", paddleJSON("0.parameter", "1.full", "1.data", "1.fetch"), nil, scan.Clean, scan.Complete, nil},
		{"json_regions", "m.json", []byte(strings.Replace(string(nested), "3.evil", "1.add", 1)), nil, scan.Clean, scan.Complete, nil},
		{"json_like_custom", "m.json", paddleJSON("1.evil_like", "1.pylayer_norm"), nil, scan.Clean, scan.Complete, nil},
		{"params_none", "m.pdiparams", build.PaddleParams(1), nil, scan.Clean, scan.Complete, nil},

		{"py_func", "m.pdmodel", build.Paddle(matmul, build.PaddleOp("py_func")), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.python-operator"}},
		{"pylayer", "m.pdmodel", build.Paddle(build.PaddleOp("pylayer")), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.python-operator"}},
		{"read_file", "m.pdmodel", build.Paddle(build.PaddleOp("read_file")), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.file-operator"}},
		{"save", "x", build.Paddle(build.PaddleOp("save_combine"), build.PaddleOp("load")), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.file-operator"}},
		{"second_block", "m.pdmodel", append(build.Paddle(matmul), build.Paddle(build.PaddleOp("py_func"))...), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.python-operator"}},
		{"network", "m.pdmodel", build.Paddle(build.PaddleOp("listen_and_serv")), nil, scan.Suspicious, scan.Complete, []string{"scan.paddle.network-operator"}},
		{"engine", "m.pdmodel", build.Paddle(build.PaddleOp("tensorrt_engine")), nil, scan.Unknown, scan.Inconclusive, nil},
		{"elf_in_unknown_field", "m.pdmodel", build.Paddle(matmul).Bytes(9, build.ELF()), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"cut", "m.pdmodel", build.Paddle(matmul)[:30], nil, scan.Unknown, scan.Inconclusive, nil},
		{"json_custom", "m.json", paddleJSON("1.matmul", "3.evil"), nil, scan.Suspicious, scan.Complete, []string{"scan.paddle.custom-operator"}},
		{"json_nested", "m.json", nested, nil, scan.Suspicious, scan.Complete, []string{"scan.paddle.custom-operator"}},
		{"json_py_func", "m.json", paddleJSON("1.py_func"), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.python-operator"}},
		{"json_file", "m.json", paddleJSON("1.load_combine"), nil, scan.Malicious, scan.Complete, []string{"scan.paddle.file-operator"}},
		{"json_network", "m.json", paddleJSON("1.comm_init_all"), nil, scan.Suspicious, scan.Complete, []string{"scan.paddle.network-operator"}},
		{"json_engine", "m.json", paddleJSON("1.tensorrt_engine"), nil, scan.Unknown, scan.Inconclusive, nil},
		{"json_broken", "m.json", paddleJSON("1.matmul")[:120], nil, scan.Unknown, scan.Failed, nil},
		{"params_cut", "m.pdiparams", build.PaddleParams(2, 8)[:60], nil, scan.Unknown, scan.Failed, nil},
		{"params_elf_behind", "m.pdiparams", append(build.PaddleParams(2), build.ELF()...), nil, scan.Malicious, scan.Failed, []string{"scan.file.embedded-executable"}},
		{"params_attack", "m.pdparams", build.Attack(), nil, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
	})
}

func TestMXNet(t *testing.T) {
	symbol := func(op, attrs string) []byte {
		return []byte(`{"nodes": [{"op": "null", "name": "data", "inputs": []}, {"op": "` + op + `", "name": "n", "attrs": ` + attrs +
			`, "inputs": [[0, 0, 0]]}], "arg_nodes": [0], "heads": [[1, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}`)
	}
	inner := string(symbol("Custom", `{"op_type": "evil"}`))
	loop := []byte(strings.Replace(string(symbol("_foreach", "{}")), `"inputs": [[0, 0, 0]]`, `"inputs": [], "subgraphs": [`+inner+`]`, 1))
	float := build.MXNetArray(2, 3)
	old := append([]byte{2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 24)...)
	none := []byte("\xc9\xfa\x93\xf9\x00\x00\x00\x00\x00\x00\x00\x00")
	scalar := append([]byte("\xca\xfa\x93\xf9\x00\x00\x00\x00\x00\x00\x00\x00"), make([]byte, 16)...)
	row := []byte("\xc9\xfa\x93\xf9\x01\x00\x00\x00" + // sparse: one row of two
		"\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x02\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x06\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00" + "12345678" + "12345678")
	params := build.MXNetParams([]string{"arg:w"}, float)

	runFormats(t, []formatCase{
		{"symbol", "m-symbol.json", symbol("FullyConnected", `{"num_hidden": "3"}`), nil, scan.Clean, scan.Complete, nil},
		{"any_name", "graph.json", symbol("Convolution", `{}`), nil, scan.Clean, scan.Complete, nil},
		{"word_elsewhere", "m-symbol.json", symbol("Activation", `{"act_type": "Custom", "op_type": "_Native"}`), nil, scan.Clean, scan.Complete, nil},
		{"tvm", "graph.json", []byte(`{"nodes": [{"op": "tvm_op", "name": "n"}], "arg_nodes": [], "heads": [[0, 0, 0]], "attrs": {"dltype": ["list_str", []]}}`), nil, scan.Clean, scan.Complete, nil},
		{"other_json", "x-symbol.json", []byte(`{"nodes": []}`), nil, scan.Clean, scan.Complete, nil},
		{"params", "m.params", params, nil, scan.Clean, scan.Complete, nil},
		{"params_no_names", "m.params", build.MXNetParams(nil, float, old, none, scalar, row), nil, scan.Clean, scan.Complete, nil},
		{"params_empty", "m.params", build.MXNetParams(nil), nil, scan.Clean, scan.Complete, nil},

		{"custom", "m-symbol.json", symbol("Custom", `{"op_type": "evil"}`), nil, scan.Suspicious, scan.Complete, []string{"scan.mxnet.custom-operator"}},
		{"custom_numpy", "m-symbol.json", symbol("_npi_Custom", `{"op_type": "evil"}`), nil, scan.Suspicious, scan.Complete, []string{"scan.mxnet.custom-operator"}},
		{"custom_in_loop", "m-symbol.json", loop, nil, scan.Suspicious, scan.Complete, []string{"scan.mxnet.custom-operator"}},
		{"native", "m-symbol.json", symbol("_Native", `{"info": "0x7f0000000000"}`), nil, scan.Malicious, scan.Complete, []string{"scan.mxnet.native-operator"}},
		{"ndarray", "x.json", symbol("_NDArray", `{"info": "4096"}`), nil, scan.Malicious, scan.Complete, []string{"scan.mxnet.native-operator"}},
		{"imread", "m-symbol.json", symbol("_cvimread", `{"filename": "/etc/passwd"}`), nil, scan.Malicious, scan.Complete, []string{"scan.mxnet.file-operator"}},
		{"imread_numpy", "m-symbol.json", symbol("_npi_cvimread", `{"filename": "/etc/passwd"}`), nil, scan.Malicious, scan.Complete, []string{"scan.mxnet.file-operator"}},
		{"broken", "m-symbol.json", symbol("Custom", `{"op_type": "evil"}`)[:90], nil, scan.Unknown, scan.Failed, nil},
		{"params_elf_behind", "m.params", append(params[:len(params):len(params)], build.ELF()...), nil, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"params_overflow", "m.params", build.MXNetParams(nil, build.MXNetArray(1<<40, 1<<40)), nil, scan.Unknown, scan.Failed, nil},
		{"params_too_long", "m.params", build.MXNetParams(nil, build.MXNetArray(1<<40)), nil, scan.Unknown, scan.Failed, nil},
		{"params_names", "m.params", build.MXNetParams([]string{"a", "b"}, float), nil, scan.Unknown, scan.Failed, nil},
		{"params_cut", "m.params", params[:50], nil, scan.Unknown, scan.Failed, nil},
		{"params_count", "m.params", append([]byte(mxnetCount), bytes.Repeat([]byte{0xff}, 16)...), nil, scan.Unknown, scan.Failed, nil},
	})
}

const mxnetCount = "\x12\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// tfConst is a node that holds a text.
func tfConst(name, text string) build.Proto {
	tensor := build.Proto(nil).Int(1, 7).Bytes(8, []byte(text))
	return build.Proto(nil).Text(1, name).Text(2, "Const").Bytes(5, build.Proto(nil).Text(1, "value").Bytes(2, build.Proto(nil).Bytes(8, tensor)))
}

// metaGraph is a lone MetaGraph of these operators.
func metaGraph(info build.Proto, ops ...string) build.Proto {
	return build.Proto(nil).Bytes(1, info).Bytes(2, frozenGraph(ops...))
}

// savedModelWith is a SavedModel whose MetaGraph has a further field.
func savedModelWith(field int32, message build.Proto) []byte {
	return build.Proto(nil).Int(1, 1).Bytes(2, metaGraph(build.Proto(nil).Text(5, "2.4.0"), "MatMul").Bytes(protowire.Number(field), message))
}

// kerasObject is an object of Keras, by the numbers of its kind and metadata.
func kerasObject(kind, metadata int32, config string) build.Proto {
	return build.Proto(nil).Bytes(protowire.Number(kind), []byte("_tf_keras_sequential")).Bytes(protowire.Number(metadata), []byte(config))
}

func TestTensorFlowFiles(t *testing.T) {
	stripped := build.Proto(nil).Bytes(2, build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "MatMul"))).Text(4, "train").Text(5, "1.15.0")
	// An operator list that is no list, but that parsers skip: the MetaGraph
	// starts like a graph.
	disguised := build.Proto(nil).Text(1, "n").Text(2, "X0")
	lambda := `{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {"function": {"class_name": "__tuple__", "items": ["4wEAAAA=", null]}}}]}}`
	dense := `{"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"units": 3}}]}}`
	keras := func(config string) []byte {
		return build.Proto(nil).Bytes(1, build.Proto(nil).Text(3, "root").Bytes(4, []byte("_tf_keras_sequential")).Bytes(5, []byte(config)).Bytes(6, build.Proto(nil).Int(1, 2)))
	}
	objects := func(config string) []byte {
		return savedModelWith(7, build.Proto(nil).Bytes(1, build.Proto(nil).Bytes(4, kerasObject(1, 3, config))))
	}
	table := func(file string) []byte {
		node := build.Proto(nil).Text(1, "init").Text(2, "InitializeTableFromTextFileV2").Text(3, "table").Text(3, "name:output:0")
		return append(append(frozenGraph("MatMul"), build.Proto(nil).Bytes(1, tfConst("name", file))...), build.Proto(nil).Bytes(1, node)...)
	}
	asset := func(name string) []byte { return savedModelWith(6, build.Proto(nil).Text(2, name)) }
	data := map[string][]byte{"m.data-00000-of-00001": make([]byte, 100)}
	entry := build.BundleEntry{Name: "layer/bias", Off: 0, Size: 40}
	index := func(more ...build.BundleEntry) []byte {
		return build.Checkpoint(1, 0, append([]build.BundleEntry{entry, {Name: "layer/kernel", Off: 40, Size: 60}}, more...)...)
	}
	riegeli := append([]byte("\x83\xaf\x70\xd1\x0d\x88\x4a\x3f\x00\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00"+
		"\x91\xba\xc2\x3c\x92\x87\xe1\xa9"), make([]byte, 100)...)
	fingerprint := build.Proto(nil).Int(1, 1<<60).Int(2, 5).Bytes(6, build.Proto(nil).Int(1, 4)).Text(7, "123")

	runFormats(t, []formatCase{
		{"meta", "m.meta", metaGraph(stripped, "MatMul"), nil, scan.Clean, scan.Complete, nil},
		{"meta_tags", "m.meta", metaGraph(build.Proto(nil).Text(4, "serve"), "MatMul"), nil, scan.Clean, scan.Complete, nil},
		{"asset", "saved_model.pb", asset("vocab.txt"), nil, scan.Clean, scan.Complete, nil},
		{"table", "m.pb", table("vocab.txt"), nil, scan.Clean, scan.Complete, nil},
		{"table_named_later", "m.pb", table("assets/../vocab.txt"), nil, scan.Clean, scan.Complete, nil},
		{"keras", "keras_metadata.pb", keras(dense), nil, scan.Clean, scan.Complete, nil},
		{"keras_in_saved_model", "saved_model.pb", objects(dense), nil, scan.Clean, scan.Complete, nil},
		{"checkpoint", "m.index", index(), data, scan.Clean, scan.Complete, nil},
		{"checkpoint_empty", "m.index", build.Checkpoint(1, 0), nil, scan.Clean, scan.Complete, nil},
		{"shard", "m.data-00000-of-00001", make([]byte, 100), map[string][]byte{"m.index": index()}, scan.Clean, scan.Complete, nil},
		{"shard_alone", "m.data-00000-of-00001", make([]byte, 100), nil, scan.Unknown, scan.Complete, nil},
		{"fingerprint", "fingerprint.pb", fingerprint, nil, scan.Clean, scan.Complete, nil},
		{"text", "graph.pbtxt", []byte("# graph\nnode {\n  name: \"x\" op: \"MatMul\"\n  attr { key: \"v\" value { s: \"ReadFile\" } }\n}\nversions < producer: 1 >\n"), nil, scan.Clean, scan.Complete, nil},
		{"text_label_map", "labels.pbtxt", []byte("item { id: 1 name: 'cat' }\n"), nil, scan.Clean, scan.Complete, nil},
		{"text_op_elsewhere", "graph.pbtxt", []byte("meta_info_def { stripped_op_list { op { name: \"ReadFile\" } } } graph_def { node { op: 'MatMul' } op: 'ReadFile' }"), nil, scan.Clean, scan.Complete, nil},
		{"text_in_prose", "README.md", []byte("# Nodes\n\nSuch as\n\n    node { op: 'PyFunc' }\n"), nil, scan.Clean, scan.Complete, nil},
		{"text_any_name", "graph.txt", []byte("node { op: 'MatMul' }"), nil, scan.Clean, scan.Complete, nil},

		{"meta_read", "m.meta", metaGraph(stripped, "MatMul", "ReadFile"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"meta_disguised", "m.meta", metaGraph(disguised, "MatMul", "PyFunc"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"reader", "m.pb", frozenGraph("WholeFileReaderV2"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"asset_climbs", "saved_model.pb", asset("../../etc/passwd"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.asset-path"}},
		{"table_absolute", "m.pb", table("/etc/passwd"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"keras_lambda", "keras_metadata.pb", keras(lambda), nil, scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_any_name", "x", keras(lambda), nil, scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_lambda_in_saved_model", "saved_model.pb", objects(lambda), nil, scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_broken", "keras_metadata.pb", keras(lambda[:40]), nil, scan.Unknown, scan.Failed, nil},
		{"checkpoint_range", "m.index", index(build.BundleEntry{Name: "z", Off: 90, Size: 20}), data, scan.Suspicious, scan.Complete, []string{"scan.tensorflow.checkpoint-range"}},
		{"checkpoint_negative", "m.index", index(build.BundleEntry{Name: "z", Off: ^uint64(0), Size: 20}), data, scan.Suspicious, scan.Complete, []string{"scan.tensorflow.checkpoint-range"}},
		{"checkpoint_shard", "m.index", index(build.BundleEntry{Name: "z", Shard: 1}), data, scan.Suspicious, scan.Complete, []string{"scan.tensorflow.checkpoint-range"}},
		{"checkpoint_missing", "m.index", index(), nil, scan.Unknown, scan.Inconclusive, nil},
		{"checkpoint_compressed", "m.index", build.Checkpoint(1, 1, entry), data, scan.Unknown, scan.Inconclusive, nil},
		{"shard_elf", "m.data-00000-of-00001", append(make([]byte, 100), build.ELF()...), map[string][]byte{"m.index": index()}, scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"other_table", "x.ldb", append(make([]byte, 40), "\x57\xfb\x80\x8b\x24\x75\x47\xdb"...), nil, scan.Unknown, scan.Complete, nil},
		{"not_fingerprint", "fingerprint.pb", fingerprint.Bytes(9, []byte("x")), nil, scan.Unknown, scan.Inconclusive, nil},
		{"chunked", "saved_model.cpb", riegeli, nil, scan.Unknown, scan.Inconclusive, nil},
		{"text_any_name_read", "graph.txt", []byte("# c\n\n node: { op: 'PyFunc' }"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"other_message", "x.pb", build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "a b").Text(2, "c d")), nil, scan.Unknown, scan.Inconclusive, nil},
		{"text_read", "graph.pbtxt", []byte("node { name: 'x' op: \"ReadFile\" }"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"text_escaped", "graph.pbtxt", []byte(`node { name: "x" op: "\x50y" 'F\165nc' }`), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"text_function", "saved_model.pbtxt", []byte("meta_graphs { graph_def { library { function { node_def: < op: # c\n 'EagerPyFunc' > } } } }"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"text_list", "graph.pbtxt", []byte("node: [ { op: 'MatMul' attr { key: 'a' } }, { op: 'PyFunc' } ]"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"text_padded", "graph.pbtxt", []byte("#" + strings.Repeat("x", 9000) + "\nnode { op: 'PyFunc' }"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"text_cut", "graph.pbtxt", []byte("node { op: 'MatMul' } node { op: 'Py"), nil, scan.Unknown, scan.Failed, nil},
		{"text_open", "graph.pbtxt", []byte("node { op: 'MatMul' "), nil, scan.Unknown, scan.Failed, nil},
	})
}

// cntkModel is a function with these primitive functions in its list.
func cntkModel(functions ...build.Proto) build.Proto {
	return build.CNTKDict("type", build.CNTKText("CompositeFunction"), "root", build.CNTKText("x"), "primitive_functions", build.CNTKList(functions...))
}

func TestEngines(t *testing.T) {
	times := build.CNTKInner(build.CNTKDict("type", build.CNTKText("PrimitiveFunction"), "op", build.CNTKText("Times"), "name", build.CNTKText("module")))
	user := func(module string) build.Proto {
		return build.CNTKInner(build.CNTKDict("op", build.CNTKText("MyOp"), "module", build.CNTKText(module), "deserialize_method", build.CNTKText("create")))
	}
	native := build.CNTKInner(build.CNTKDict("type", build.CNTKText("NativeUserDefinedFunction")))
	deep := build.CNTKDict("a", build.CNTKText("b"))
	for range 100 {
		deep = build.CNTKDict("a", build.CNTKInner(deep))
	}
	engine := func(parts ...[]byte) []byte {
		return slices.Concat([]byte("ptrt"), make([]byte, 60), slices.Concat(parts...))
	}
	cubin := build.ELF()
	cubin[18] = 190
	closed := func(magic string, more []byte) []byte { return slices.Concat([]byte(magic), make([]byte, 60), more) }

	runFormats(t, []formatCase{
		{"cntk", "m.cntk", cntkModel(times, times), nil, scan.Clean, scan.Complete, nil},
		{"cntk_any_name", "model", cntkModel(times), nil, scan.Clean, scan.Complete, nil},
		{"cntk_module_alone", "m.cntk", cntkModel(build.CNTKInner(build.CNTKDict("module", build.CNTKText("x")))), nil, scan.Clean, scan.Complete, nil},

		// What cannot be read is a gap, with or without a finding.
		{"tensorrt", "m.engine", engine(cubin, []byte("BatchedNMS_TRT"), cubin), nil, scan.Unknown, scan.Inconclusive, nil},
		{"tensorrt_old", "m.plan", append([]byte("ftrt"), make([]byte, 60)...), nil, scan.Unknown, scan.Inconclusive, nil},
		{"rknn", "m.rknn", closed("RKNN", nil), nil, scan.Unknown, scan.Inconclusive, nil},
		{"cntk_v1", "m.dnn", closed("B\x00C\x00N\x00\x00\x00", nil), nil, scan.Unknown, scan.Inconclusive, nil},
		{"rknn_short", "x", []byte("RKNN"), nil, scan.Clean, scan.Complete, nil}, // a word in a text

		{"cntk_user_function", "m.cntk", cntkModel(times, user("evil")), nil, scan.Malicious, scan.Complete, []string{"scan.cntk.user-function"}},
		{"cntk_native", "x", cntkModel(native), nil, scan.Malicious, scan.Complete, []string{"scan.cntk.user-function"}},
		{"cntk_deep", "m.cntk", deep, nil, scan.Unknown, scan.Failed, nil},
		{"cntk_cut", "m.cntk", cntkModel(times)[:80], nil, scan.Unknown, scan.Failed, nil},
		{"tensorrt_host", "m.engine", engine(cubin, build.ELF()), nil, scan.Suspicious, scan.Inconclusive, []string{"scan.tensorrt.host-code"}},
		{"tensorrt_host_late", "m.engine", engine(make([]byte, 600_000), build.PE()), nil, scan.Suspicious, scan.Inconclusive, []string{"scan.tensorrt.host-code"}},
		{"rknn_elf", "m.rknn", closed("RKNN", build.ELF()), nil, scan.Malicious, scan.Inconclusive, []string{"scan.file.embedded-executable"}},
		{"cntk_v1_pickle", "m.dnn", closed("B\x00C\x00N\x00\x00\x00", build.Attack()), nil, scan.Malicious, scan.Inconclusive, []string{"scan.file.hidden-content", "scan.pickle.call-on-load"}},
	})
	f := one(t, scan.Scanner{}, "m.engine", engine([]byte("BatchedNMS_TRT\x00CustomGeluPluginDynamic\x00_TRT")))
	if got, want := f.Facts["plugins"], "BatchedNMS_TRT CustomGeluPluginDynamic _TRT"; got != want {
		t.Errorf("plugins %q, want %q", got, want)
	}
}

// TestGraphFacts states what each format says of an ordinary file.
func TestGraphFacts(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want map[string]string
	}{
		{"m.tflite", build.TFLite(nil, nil, "Own"), map[string]string{"framework": "tflite", "version": "3", "operators": "2", "custom_operators": "Own"}},
		{"m.pte", build.ExecuTorch([]string{"aten::a"}, []string{"B", "A"}, nil, nil), map[string]string{"framework": "executorch", "version": "0", "operators": "1", "delegates": "A B"}},
		{"m.mlmodel", build.CoreML(500, build.CoreMLNetwork(nil, nil)), map[string]string{"framework": "coreml", "version": "4", "operators": "2"}},
		{"m.xml", build.OpenVINO("0", "0"), map[string]string{"framework": "openvino", "version": "11", "operators": "1"}},
		{"m.pdmodel", build.Paddle(build.PaddleOp("a")), map[string]string{"framework": "paddle", "version": "2006001", "operators": "1"}},
		{"m.json", paddleJSON("1.a"), map[string]string{"framework": "paddle", "version": "4", "operators": "2"}},
		{"m.pdiparams", build.PaddleParams(1, 2), map[string]string{"framework": "paddle", "tensors": "2"}},
		{"m.params", build.MXNetParams(nil, build.MXNetArray(2)), map[string]string{"framework": "mxnet", "tensors": "1"}},
		{"m.index", build.Checkpoint(3, 0), map[string]string{"framework": "tensorflow", "tensors": "0", "shards": "3"}},
		{"m.meta", metaGraph(build.Proto(nil).Text(5, "2.1"), "A"), map[string]string{"framework": "tensorflow", "version": "2.1"}},
		{"m.pbtxt", []byte("node { op: 'A' }"), map[string]string{"framework": "tensorflow", "operators": "1"}},
		{"m.cntk", cntkModel(build.CNTKInner(build.CNTKDict("op", build.CNTKText("Times")))), map[string]string{"framework": "cntk", "operators": "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, one(t, scan.Scanner{}, tt.name, tt.data).Facts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestGraphConformance runs the kit for authors of formats on each format, which
// must not recognise the files of any other.
func TestGraphConformance(t *testing.T) {
	samples := map[string]scantest.Sample{
		"tflite":                {Name: "m.tflite", Data: build.TFLite(make([]byte, 16), nil, "Own"), Rules: []string{"scan.tflite.custom-operator"}},
		"executorch":            {Name: "m.pte", Data: build.ExecuTorch([]string{"own::a"}, nil, make([]byte, 16), nil), Rules: []string{"scan.executorch.custom-kernel"}},
		"coreml":                {Name: "m.mlmodel", Data: build.CoreML(555, build.Proto(nil).Text(10, "Own")), Rules: []string{"scan.coreml.custom-model"}},
		"coreml-weights":        {Name: "weight", Data: build.CoreMLWeights(make([]byte, 16))},
		"coreml-package":        {Name: "Manifest.json", Data: []byte(`{"itemInfoEntries": {"a": {"path": "/x"}}}`), Rules: []string{"scan.coreml.manifest-path"}, Named: true},
		"openvino":              {Name: "m.xml", Data: build.OpenVINO("0", "0", `<layer type="Own" version="own"/>`), Rules: []string{"scan.openvino.custom-layer"}},
		"paddle":                {Name: "m.pdmodel", Data: build.Paddle(build.PaddleOp("py_func")), Rules: []string{"scan.paddle.python-operator"}},
		"paddle-json":           {Name: "m.json", Data: paddleJSON("3.own"), Rules: []string{"scan.paddle.custom-operator"}},
		"paddle-params":         {Name: "m.pdiparams", Data: build.PaddleParams(1, 2)},
		"mxnet":                 {Name: "m-symbol.json", Data: mxnetNode("Custom", "op_type", "own"), Rules: []string{"scan.mxnet.custom-operator"}},
		"mxnet-params":          {Name: "m.params", Data: build.MXNetParams([]string{"w"}, build.MXNetArray(2))},
		"tensorflow":            {Name: "m.meta", Data: metaGraph(build.Proto(nil).Text(5, "2.1"), "PyFunc"), Rules: []string{"scan.tensorflow.python-operator"}},
		"tensorflow-checkpoint": {Name: "m.index", Data: build.Checkpoint(1, 0, build.BundleEntry{Name: "w", Shard: 2}), Rules: []string{"scan.tensorflow.checkpoint-range"}},
		"tensorflow-text":       {Name: "m.pbtxt", Data: []byte("node { op: 'PyFunc' }"), Rules: []string{"scan.tensorflow.python-operator"}},
		"keras-metadata":        {Name: "m.pb", Data: build.Proto(nil).Bytes(1, kerasObject(4, 5, `{"class_name": "Lambda", "config": {}}`)), Rules: []string{"scan.keras.lambda"}},
		"cntk":                  {Name: "m.cntk", Data: cntkModel(build.CNTKInner(build.CNTKDict("type", build.CNTKText("NativeUserDefinedFunction")))), Rules: []string{"scan.cntk.user-function"}},
		"tensorrt":              {Name: "m.engine", Data: slices.Concat([]byte("ptrt"), make([]byte, 60), build.ELF()), Rules: []string{"scan.tensorrt.host-code"}},
		"rknn":                  {Name: "m.rknn", Data: append([]byte("RKNN"), make([]byte, 60)...)},
	}
	for _, id := range slices.Sorted(maps.Keys(samples)) {
		t.Run(id, func(t *testing.T) {
			scantest.TestFormat(t, only(id)[0], []scantest.Sample{samples[id]}, []scantest.Sample{{Name: "x", Data: []byte("text\n")}})
			for other, sample := range samples {
				if f := one(t, scan.Scanner{Formats: only(id)}, "x", sample.Data); other != id && len(f.Formats) > 0 {
					t.Errorf("recognises a file of %s", other)
				}
			}
		})
	}
}

// TestXMLMemory holds documents that want to be kept in memory to the bounds.
func TestXMLMemory(t *testing.T) {
	attribute := ` a="` + strings.Repeat("x", 1<<20) + `"`
	for name, tt := range map[string]struct {
		data string
		want string
	}{
		"nested_tags":   {"<net>" + strings.Repeat("<a"+attribute+">", 20), "nested tags of more than"},
		"one_attribute": {"<net><a b=\"" + strings.Repeat("x", 18<<20), "text or tag of more than"},
		"one_text":      {"<net>" + strings.Repeat("x", 18<<20), "text or tag of more than"},
		"flat_tags":     {"<net>" + strings.Repeat("<a"+attribute+"/>", 20) + "</net>", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := scan.Scanner{Formats: only("openvino"), NoDigests: true}
			var f *scan.FileResult
			testutil.AllocBound(t, 256<<20, func() { f = one(t, s, "m.xml", []byte(tt.data)) })
			if got := strings.Join(reasons(f), "\n"); tt.want != "" && !strings.Contains(got, tt.want) || tt.want == "" && strings.Contains(got, "more than") {
				t.Errorf("gaps %q, want %q", got, tt.want)
			}
		})
	}
}

// graphSeeds are one file of each format of graphs.
func graphSeeds() [][]byte {
	return [][]byte{
		build.TFLite(make([]byte, 16), nil, "FlexReadFile", "Own"),
		build.ExecuTorch([]string{"aten::add", "own::run"}, []string{"XnnpackBackend"}, make([]byte, 16), nil),
		build.CoreML(500, build.CoreMLNetwork(build.Proto(nil).Bytes(500, build.Proto(nil).Text(10, "Own")))),
		build.CoreML(502, build.CoreMLProgram("/x", 3)),
		build.CoreML(556, build.Proto(nil).Bytes(1, build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "x")))),
		build.CoreMLWeights(make([]byte, 16), make([]byte, 3)),
		build.OpenVINO("0", "16", `<layer type="Own" version="own"/>`),
		build.Paddle(build.PaddleOp("py_func"), build.PaddleOp("x_engine")),
		build.PaddleParams(2, 3),
		cntkModel(build.CNTKInner(build.CNTKDict("module", build.CNTKText("x"), "deserialize_method", build.CNTKText("y")))),
		slices.Concat([]byte("ptrt"), make([]byte, 60), []byte("a_TRTPlugin"), build.ELF()),
		build.Checkpoint(2, 0, build.BundleEntry{Name: "a", Off: 1, Size: 2}, build.BundleEntry{Name: "ab", Shard: 1}),
		[]byte("node { op: \"\\x50y\" 'Func' } # c\nnode: [<op:'a'>]"),
		build.Proto(nil).Bytes(1, build.Proto(nil).Bytes(4, []byte("_tf_keras_x")).Bytes(5, []byte(`{"class_name": "Lambda", "config": {}}`))),
		paddleJSON("3.x", "1.py_func"),
		build.MXNetParams([]string{"a"}, build.MXNetArray(2, 3)),
		[]byte(`{"nodes": [{"op": "Custom", "name": "n", "param": {"op_type": "x"}, "subgraphs": []}], "heads": []}`),
		[]byte(`<!DOCTYPE net [<!ENTITY x "y">]><net version="11"><a b="x.so">&amp;</a></net>`),
	}
}

// fuzzGraph fuzzes one format from the files of all of them.
func fuzzGraph(f *testing.F, id, name string) {
	for _, s := range graphSeeds() {
		f.Add(s)
	}
	formats := only(id)
	f.Fuzz(func(t *testing.T, data []byte) { check(t, name, data[:min(len(data), 16<<10)], formats) })
}

func FuzzTFLite(f *testing.F) { fuzzGraph(f, "tflite", "a.tflite") }

func FuzzCoreML(f *testing.F) { fuzzGraph(f, "coreml", "a.mlmodel") }

func FuzzCoreMLWeights(f *testing.F) { fuzzGraph(f, "coreml-weights", "a.bin") }

func FuzzOpenVINO(f *testing.F) { fuzzGraph(f, "openvino", "a.xml") }

func FuzzPaddle(f *testing.F) { fuzzGraph(f, "paddle", "a.pdmodel") }

func FuzzPaddleJSON(f *testing.F) { fuzzGraph(f, "paddle-json", "a.json") }

func FuzzPaddleParams(f *testing.F) { fuzzGraph(f, "paddle-params", "a.pdiparams") }

func FuzzMXNet(f *testing.F) { fuzzGraph(f, "mxnet", "a-symbol.json") }

func FuzzMXNetParams(f *testing.F) { fuzzGraph(f, "mxnet-params", "a.params") }

func FuzzCheckpoint(f *testing.F) { fuzzGraph(f, "tensorflow-checkpoint", "a.index") }

func FuzzTensorFlowText(f *testing.F) { fuzzGraph(f, "tensorflow-text", "a.pbtxt") }

func FuzzKerasMetadata(f *testing.F) { fuzzGraph(f, "keras-metadata", "keras_metadata.pb") }

func FuzzCNTK(f *testing.F) { fuzzGraph(f, "cntk", "a.cntk") }

func FuzzTensorRT(f *testing.F) { fuzzGraph(f, "tensorrt", "a.engine") }

func FuzzExecuTorch(f *testing.F) { fuzzGraph(f, "executorch", "a.pte") }
