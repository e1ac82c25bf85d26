package scan_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
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
			for name, data := range tt.beside {
				files[name] = data
			}
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
			if f.Verdict != tt.verdict || f.Completeness != tt.complete || !slices.Equal(rules(f), tt.want) {
				report(t, f)
				t.Errorf("%s, %s; want %s, %s\n%s", f.Verdict, f.Completeness, tt.verdict, tt.complete, cmp.Diff(tt.want, rules(f)))
			}
			if (f.Completeness == scan.Complete) != (len(reasons(f)) == 0) {
				t.Errorf("%s, but gaps are %q", f.Completeness, reasons(f))
			}
			for _, r := range reasons(f) {
				if strings.Contains(r, "fault in format") {
					t.Error(r)
				}
			}
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

		{"associated_traversal", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "../x", Data: []byte("x")})...), nil, scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"associated_pickle", "m.tflite", append(plain[:len(plain):len(plain)], build.Zip(build.Member{Name: "x", Data: build.Attack()})...), nil, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"custom", "m.tflite", build.TFLite(weights, nil, "Evil", "Evil"), nil, scan.Suspicious, scan.Complete, []string{"scan.tflite.custom-operator"}},
		{"flex_read", "m.tflite", build.TFLite(weights, nil, "FlexReadFile"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"flex_python", "m.tflite", build.TFLite(weights, nil, "FlexEagerPyFunc"), nil, scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
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

// graphSeeds are one file of each format of graphs.
func graphSeeds() [][]byte {
	return [][]byte{
		build.TFLite(make([]byte, 16), nil, "FlexReadFile", "Own"),
		build.ExecuTorch([]string{"aten::add", "own::run"}, []string{"XnnpackBackend"}, make([]byte, 16), nil),
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

func FuzzExecuTorch(f *testing.F) { fuzzGraph(f, "executorch", "a.pte") }
