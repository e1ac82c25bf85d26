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
	for module, want := range map[string]scan.Verdict{"evil": scan.Suspicious, "mlflow.sklearn": scan.Clean} {
		if got := one(t, scan.Scanner{}, "MLmodel", []byte("flavors:\n  python_function:\n    loader_module: "+module+"\n    code: code\n")); got.Verdict != want {
			t.Errorf("%s: %v, want %v", module, got.Verdict, want)
		}
	}
}

// TestHydra has configurations with what Hydra 1.3.2, and mostly 1.3.8 as well,
// were seen to do with them under OmegaConf 2.3.1: run os.mkdir, import a module
// or nothing.
func TestHydra(t *testing.T) {
	const path = `{"_target_": "pathlib.Path", "_args_": ["/x"]}`
	for text, want := range map[string]scan.Verdict{
		`{"_target_": "os.mkdir", "path": "/x"}`:                                                               scan.Malicious,
		`[{"_target_": "os.mkdir", "path": "/x"}]`:                                                             scan.Malicious,
		`{"_target_": "builtins.dict", "a": {"b": [{"_target_": "os.mkdir", "path": "/x"}]}}`:                  scan.Malicious,
		`{"_target_": "builtins.eval", "_args_": ["1"]}`:                                                       scan.Malicious,
		`{"_target_": "random._os.mkdir", "path": "/x"}`:                                                       scan.Malicious,
		`{"_target_": "logging.os.mkdir", "path": "/x"}`:                                                       scan.Malicious,
		`{"_target_": "pathlib.Path.mkdir", "_args_": [` + path + `]}`:                                         scan.Malicious,
		`{"_target_": "mine.pathlib.Path.write_text", "_args_": [` + path + `, "x"]}`:                          scan.Malicious,
		`{"_target_": "mine.np.load", "file": "x.npy"}`:                                                        scan.Malicious,
		`{"_target_": "typing.get_type_hints", "obj": 1}`:                                                      scan.Malicious,
		`{"_target_": "yaml.load", "stream": "x", "Loader": {"_target_": "yaml.Loader", "_partial_": true}}`:   scan.Malicious,
		`{"_target_": "operator.methodcaller", "_args_": ["mkdir"]}`:                                           scan.Malicious,
		`{"_target_": "pydoc.locate", "path": "os.mkdir"}`:                                                     scan.Malicious,
		`{"_target_": "functools.reduce", "_args_": [1, 2]}`:                                                   scan.Malicious,
		`{"_target_": "contextvars.Context.run", "_args_": [1, 2]}`:                                            scan.Malicious,
		`{"_target_": "omegaconf.OmegaConf.register_new_resolver", "name": "x", "resolver": 1}`:                scan.Malicious,
		`{"_target_": "hydra.utils.get_method", "path": "os.mkdir"}`:                                           scan.Malicious,
		`{"_target_": "hydra.utils.get_method", "_args_": ["os.mkdir"]}`:                                       scan.Malicious,
		`{"_target_": "hydra._internal.utils._locate", "path": "os.mkdir"}`:                                    scan.Malicious,
		`{"_target_": "builtins.map", "_args_": [{"_target_": "os.mkdir", "_partial_": true}, ["/x"]]}`:        scan.Malicious,
		`{"_target_": "functools.partial", "_args_": [{"_target_": "hydra.utils.get_method", "path": "m.f"}]}`: scan.Suspicious,
		`{"_target_": "hydra.utils.get_class", "path": "evil.X"}`:                                              scan.Suspicious,
		`{"_target_": "builtins.getattr", "_args_": [` + path + `, "mkdir"]}`:                                  scan.Suspicious,
		`{"_target_": "mine.util.import_from_string", "name": "a.b"}`:                                          scan.Suspicious,
		`{"x": "os", "z": {"_target_": "${x}.mkdir"}}`:                                                         scan.Suspicious,
		`{"_target_": "${oc.env:FOO,os.mkdir}"}`:                                                               scan.Suspicious,
		`{"_target_": "${oc.decode:os.mkdir}"}`:                                                                scan.Suspicious,
		`{"x": "${oc.create:{_target_: os.mkdir, path: /x}}"}`:                                                 scan.Suspicious,
		`{"p": "{_tar", "q": "get_: os.mkdir}", "r": "${p}${q}", "x": "${oc.create:${r}}"}`:                    scan.Suspicious,
		`{"c": "create", "x": "a ${ oc.${c}:{b: c}}"}`:                                                         scan.Suspicious,

		`{"_target_": "functools.partial", "_args_": [{"_target_": "torch.optim.Adam", "_partial_": true}]}`: scan.Clean,
		`{"_target_": "torch.nn.Linear", "in_features": 4}`:                                                  scan.Clean,
		`{"_target_": "nemo.eval.metrics.Wer", "path": "os.mkdir"}`:                                          scan.Clean,
		`{"_target_": "mine.io.reader.Load", "file": "pickle.txt"}`:                                          scan.Clean,
		`{"_target_": "mine.torch.Linear"}`:                                                                  scan.Clean,
		`{"_target_": "builtins.dict", "a": 1}`:                                                              scan.Clean,
		`{"_target_": "pathlib.Path", "_args_": ["/x"]}`:                                                     scan.Clean,
		`{"_target_": ["os", "mkdir"]}`:                                                                      scan.Clean,
		`{"_Target_": "os.mkdir"}`:                                                                           scan.Clean,
		`{"x": "${a.b}", "y": "${oc.env:HOME}", "z": "${a.${b}}", "w": "${oc.decode:${oc.env:N,1}}"}`:        scan.Clean,
		`{"x": "${oc.select:a,${b}}", "y": "${now:%Y}", "z": "${hydra:runtime.cwd}", "k": "${x:-${y}}"}`:     scan.Clean,
		"{\"js\": \"`${a ? `${b}` : c}`\", \"open\": \"${ ${ ${\", \"text\": \"oc.create: x\"}":              scan.Clean,
		`{"x": "os.mkdir", "path": "builtins.eval"}`:                                                         scan.Clean,
	} {
		for _, name := range []string{"x.json", "x.yaml"} {
			if got := one(t, scan.Scanner{}, name, []byte(text)); got.Verdict != want {
				report(t, got)
				t.Errorf("%s: %s: %v, want %v", name, text, got.Verdict, want)
			}
		}
	}
}
