package scan_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// TestExportedProgram has expressions that torch 2.15 was seen to run, and
// those that torch.export writes.
func TestExportedProgram(t *testing.T) {
	for text, want := range map[string]scan.Verdict{
		`Symbol('s77', positive=True, integer=True)`:                                    scan.Clean,
		`Add(FloorDiv(Symbol('s0', positive=True), Integer(2)), Float('0.5', prec=53))`: scan.Clean,
		`L['x'].size()[0] >= 2 and not (L['x'].size()[1] == 3)`:                         scan.Clean,
		`__import__("os").mkdir("/tmp/x")`:                                              scan.Malicious,
		`eval('1')`:                                                                     scan.Malicious,
		`exec("\x5f\x5fimport\x5f\x5f")`:                                                scan.Malicious,
		`S('open(1)')`:                                                                  scan.Malicious,
		`Symbol('s0').func.mro()`:                                                       scan.Malicious,
		`(lambda: 1)()`:                                                                 scan.Malicious,
		`getattr(Symbol('s0'), 'name')`:                                                 scan.Malicious,
		`Symbol('s0`:                                                                    scan.Malicious,
	} {
		for _, graph := range [][]byte{
			mustJSON(map[string]any{"symbol": map[string]any{"as_expr": map[string]any{"expr_str": text}}}),
			mustJSON(map[string]any{"guards_code": []string{text}}),
		} {
			archive := build.Zip(build.Member{Name: "m/archive_format", Data: []byte("pt2")}, build.Member{Name: "m/models/model.json", Data: graph})
			if got := one(t, scan.Scanner{}, "m.pt2", archive); got.Verdict != want {
				t.Errorf("%s: %v, want %v", text, got.Verdict, want)
			}
		}
	}
}

// TestTensorFlowNamedFiles has operators of ordinary graphs that are given
// files of the host; TensorFlow 2.21 was seen to write and read them.
func TestTensorFlowNamedFiles(t *testing.T) {
	text := func(node, value string) build.Proto {
		tensor := build.Proto(nil).Int(1, 7).Bytes(8, []byte(value))
		return build.Proto(nil).Bytes(1, []byte(node)).Bytes(2, []byte("Const")).
			Bytes(5, build.Proto(nil).Bytes(1, []byte("value")).Bytes(2, build.Proto(nil).Bytes(8, tensor)))
	}
	node := func(op string, inputs ...string) build.Proto {
		n := build.Proto(nil).Bytes(1, []byte("n")).Bytes(2, []byte(op))
		for _, in := range inputs {
			n = n.Bytes(3, []byte(in))
		}
		return n
	}
	printed := func(stream string) build.Proto {
		return node("PrintV2", "x").Bytes(5, build.Proto(nil).Bytes(1, []byte("output_stream")).Bytes(2, build.Proto(nil).Bytes(2, []byte(stream))))
	}
	for name, tt := range map[string]struct {
		nodes []build.Proto
		want  scan.Verdict
	}{
		"save":             {[]build.Proto{text("f", "/tmp/x"), node("SaveV2", "f", "names", "x")}, scan.Malicious},
		"save up":          {[]build.Proto{text("f", "../../x"), node("SaveV2", "f:output:0", "names", "x")}, scan.Malicious},
		"save model":       {[]build.Proto{text("f", "model"), node("SaveV2", "f", "names", "x")}, scan.Clean},
		"restore":          {[]build.Proto{text("f", "/etc/x"), node("RestoreV2", "f", "names")}, scan.Malicious},
		"cache":            {[]build.Proto{text("f", "/tmp/x"), node("CacheDatasetV2", "d", "f", "c")}, scan.Malicious},
		"cache in memory":  {[]build.Proto{text("f", ""), node("CacheDatasetV2", "d", "f", "c")}, scan.Clean},
		"summary":          {[]build.Proto{text("f", "/tmp/x"), node("CreateSummaryFileWriter", "w", "f")}, scan.Malicious},
		"mapped":           {[]build.Proto{node("ImmutableConst")}, scan.Malicious},
		"print":            {[]build.Proto{printed("stderr")}, scan.Clean},
		"print to a file":  {[]build.Proto{printed("file:///tmp/x")}, scan.Malicious},
		"a text elsewhere": {[]build.Proto{text("f", "/tmp/x"), node("SaveV2", "g", "names", "x")}, scan.Clean},
	} {
		graph := build.Proto(nil)
		for _, n := range tt.nodes {
			graph = graph.Bytes(1, n)
		}
		if got := one(t, scan.Scanner{}, "g.pb", graph); got.Verdict != tt.want {
			report(t, got)
			t.Errorf("%s: %v, want %v", name, got.Verdict, tt.want)
		}
	}
}

func TestYAMLDisguised(t *testing.T) {
	for name, text := range map[string]string{
		"alias":       "a: &t _target_\nm: {*t : os.system}\n",
		"interpolate": "x: os.system\nm: {_target_: \"${x}\"}\n",
		"utf16le":     string(encoded("\ufeffa: !!python/object/apply:os.mkdir [x]\n", "utf16le")),
		"utf16be":     string(encoded("\ufeffa: !!python/object/apply:os.mkdir [x]\n", "utf16be")),
	} {
		if got := one(t, scan.Scanner{}, "model_config.yaml", []byte(text)); got.Verdict != scan.Suspicious && got.Verdict != scan.Malicious {
			report(t, got)
			t.Errorf("%s: %v", name, got.Verdict)
		}
	}
	if got := one(t, scan.Scanner{}, "c.yaml", []byte("m: {_target_: hydra.utils.get_method, path: os.system}\n")); got.Verdict != scan.Suspicious {
		t.Errorf("hydra: %v, want suspicious", got.Verdict)
	}
	for module, want := range map[string]scan.Verdict{"evil": scan.Suspicious, "mlflow.sklearn": scan.Clean} {
		if got := one(t, scan.Scanner{}, "MLmodel", []byte("flavors:\n  python_function:\n    loader_module: "+module+"\n    code: code\n")); got.Verdict != want {
			t.Errorf("%s: %v, want %v", module, got.Verdict, want)
		}
	}
}
