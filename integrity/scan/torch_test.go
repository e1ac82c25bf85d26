package scan_test

import (
	"bytes"
	"compress/zlib"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// script is a TorchScript archive with one source file.
func script(code string) []byte {
	return build.Zip(build.Member{Name: "m/data.pkl", Data: build.Harmless()}, build.Member{Name: "m/version", Data: []byte("3\n")},
		build.Member{Name: "m/byteorder", Data: []byte("little")}, build.Member{Name: "m/constants.pkl", Data: []byte("\x80\x02).")},
		build.Member{Name: "m/code/__torch__/net.py", Data: []byte(code), Method: 8}, build.Member{Name: "m/data/0", Data: make([]byte, 16)})
}

// ordinaryScript is what the exporter writes.
const ordinaryScript = `class Net(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  training : bool
  conv : __torch__.torch.nn.modules.conv.Conv2d
  def forward(self: __torch__.net.Net,
    x: Tensor) -> Tensor:
    _0 = __torch__.torch.nn.functional.relu
    _1 = "eval(__import__('os'))"  # torch.from_file("x")
    x0 = torch.conv2d(x, self.weight, None, [1, 1])
    if torch.gt(torch.size(x0, 0), 1):
      ops.prim.RaiseException("import os", "builtins.ValueError")
    x1 = ops.quantized.add(x0, x0, 1., 0)
    return annotate(Tensor, torch.to(x1, dtype=6))
`

func TestTorch(t *testing.T) {
	ok, attack := build.TorchLegacy([16]byte{}), build.Attack()
	tarred := func(object []byte) []byte {
		return build.Tar(build.TarMember{Name: "storages", Data: []byte("\x80\x02K\x00.")}, build.TarMember{Name: "tensors", Data: []byte("\x80\x02K\x00.")},
			build.TarMember{Name: "pickle", Data: object}, build.TarMember{Name: "sys_info", Data: build.Harmless()})
	}
	var elf [16]byte
	copy(elf[:], build.ELF())
	bad := []string{"scan.pickle.call-on-load"}
	// A module of the old layout names its classes by persistent ids.
	class := func(kind, global, call string) []byte {
		return []byte("\x80\x02(X\x06\x00\x00\x00" + kind + "c" + global + "NNtQ" + call + "0" + string(build.TorchObject()[2:]))
	}
	module := func(object []byte) []byte { return bytes.Replace(ok, build.TorchObject(), object, 1) }
	own := func(member, name string) []byte {
		return build.Zip(build.Member{Name: "m/data.pkl", Data: []byte("\x80\x02c" + name + "\n)\x81}b.")},
			build.Member{Name: "m/constants.pkl", Data: []byte("\x80\x02).")}, build.Member{Name: "m/" + member, Data: []byte(ordinaryScript)})
	}
	with := func(line string) []byte { return script(ordinaryScript + "    " + line + "\n") }
	runRows(t, []row{
		{"legacy", "m.pt", ok, scan.Clean, scan.Complete, nil},
		{"legacy_noise", "m.pt", build.TorchLegacy(elf), scan.Clean, scan.Complete, nil},
		{"legacy_attack", "m.pt", bytes.Replace(ok, build.TorchObject(), attack, 1), scan.Malicious, scan.Complete, bad},
		{"legacy_attack_first", "m.pt", append(slices.Clone(attack), ok...), scan.Malicious, scan.Complete, bad},
		{"legacy_attack_last", "m.pt", append(slices.Clone(ok), attack...), scan.Malicious, scan.Complete, bad},
		{"legacy_attack_behind_junk", "m.pt", slices.Concat(ok[:14], []byte{0xff}, attack), scan.Malicious, scan.Failed, bad},
		{"legacy_class", "m.pt", module(class("module", "torch.nn.modules.linear\nLinear\n", ")\x81}b")), scan.Clean, scan.Complete, nil},
		{"legacy_class_unknown", "m.pt", module(class("module", "mine\nThing\n", ")\x81}b")), scan.Suspicious, scan.Complete, []string{"scan.pickle.unlisted-call"}},
		{"legacy_class_attack", "m.pt", module(class("module", "os\nsystem\n", "X\x02\x00\x00\x00id\x85R")), scan.Malicious, scan.Complete, bad},
		{"legacy_class_other_id", "m.pt", module(class("object", "torch.nn.modules.linear\nLinear\n", ")\x81}b")), scan.Suspicious, scan.Complete, []string{"scan.pickle.computed-call"}},
		{"legacy_class_elsewhere", "m.pkl", class("module", "torch.nn.modules.linear\nLinear\n", ")\x81}b"), scan.Suspicious, scan.Complete, []string{"scan.pickle.computed-call"}},
		{"tar", "m.pt", tarred(build.Harmless()), scan.Clean, scan.Complete, []string{"scan.torch.tar-layout"}},
		{"tar_attack", "m.pt", tarred(attack), scan.Malicious, scan.Complete, append(slices.Clone(bad), "scan.torch.tar-layout")},

		{"script", "m.pt", script(ordinaryScript), scan.Clean, scan.Complete, nil},
		{"script_own_class", "m.pt", own("code/__torch__/net.py", "__torch__.net\nNet"), scan.Clean, scan.Complete, nil},
		{"legacy_class_conv", "m.pt", module(class("module", "torch.nn.modules.conv\nConv2d\n", ")\x81}b")), scan.Clean, scan.Complete, nil},
		{"legacy_any_name", "model", ok, scan.Clean, scan.Complete, nil},
		{"script_names", "m.pt", with(`evaluate = self.eval_mode`), scan.Clean, scan.Complete, nil},
		{"script_like_save", "m.pt", with(`x2 = self.save`), scan.Clean, scan.Complete, nil},
		{"script_strings", "m.pt", with(`x2 = "import os; torch.from_file(x)"`), scan.Clean, scan.Complete, nil},
		{"script_comment", "m.pt", with(`x2 = x1  # ops.aten.save(x1, "/root/x"); import os`), scan.Clean, scan.Complete, nil},
		{"script_getattr_number", "m.pt", with(`x2 = getattr(self.blocks, "12")`), scan.Clean, scan.Complete, nil},
		{"script_prim", "m.pt", with(`x2 = ops.prim.NumToTensor(torch.size(x1, 0))`), scan.Clean, scan.Complete, nil},
		{"script_aten", "m.pt", with(`x2 = ops.aten.sym_size(x1, 0)`), scan.Clean, scan.Complete, nil},
		{"script_quantised", "m.pt", with(`x2 = ops.quantized.linear_dynamic(x1, self._packed_params)`), scan.Clean, scan.Complete, nil},
		{"script_packed", "m.pt", with(`x2 = __torch__.torch.classes.quantized.LinearPackedParamsBase`), scan.Clean, scan.Complete, nil},
		{"script_constant", "m.pt", with(`x2 = CONSTANTS.c0`), scan.Clean, scan.Complete, nil},
		{"script_uninitialised", "m.pt", with(`x2 = uninitialized(Tensor)`), scan.Clean, scan.Complete, nil},
		{"script_cast", "m.pt", with(`x2 = unchecked_cast(Tensor, x1)`), scan.Clean, scan.Complete, nil},
		{"script_isinstance", "m.pt", with(`x2 = isinstance(x1, Tensor)`), scan.Clean, scan.Complete, nil},
		{"script_division", "m.pt", with(`x2 = torch.__round_to_zero_floordiv(torch.len(x1), 2)`), scan.Clean, scan.Complete, nil},
		{"script_class_without_source", "m.pt", own("code/__torch__/other.py", "__torch__.net\nNet"), scan.Suspicious, scan.Complete, []string{"scan.pickle.unlisted-call"}},
		{"script_class_of_python", "m.pt", own("code/net.py", "net\nNet"), scan.Suspicious, scan.Complete, []string{"scan.pickle.unlisted-call"}},
		{"script_operators", "m.pt", with(`if torch.__not__(torch.__contains__([1, 2], getattr(self.seq, "0"))):`), scan.Clean, scan.Complete, nil},
		{"script_getattr", "m.pt", with(`x2 = getattr(x, "__class__")`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
		{"script_getattr_computed", "m.pt", with(`x2 = getattr(x, y)`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
		{"script_operator_attribute", "m.pt", with(`x2 = torch.__not__.__globals__`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
		{"script_from_file", "m.pt", with(`x2 = torch.from_file("/etc/passwd", False, 10)`), scan.Malicious, scan.Complete, []string{"scan.torchscript.reaching-operator"}},
		{"script_save", "m.pt", with(`ops.aten.save(x1, "/root/x")`), scan.Malicious, scan.Complete, []string{"scan.torchscript.reaching-operator"}},
		{"script_library", "m.pt", with(`x2 = ops.torch_scatter.sum(x1)`), scan.Clean, scan.Complete, []string{"scan.torchscript.custom-operator"}},
		{"script_class_like_packed", "m.pt", with(`x2 = __torch__.torch.classes.quantized_more.Thing()`), scan.Clean, scan.Complete, []string{"scan.torchscript.custom-operator"}},
		{"script_class", "m.pt", with(`x2 = __torch__.torch.classes.mine.Thing()`), scan.Clean, scan.Complete, []string{"scan.torchscript.custom-operator"}},
		{"script_eval", "m.pt", with(`eval("1")`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
		{"script_import", "m.pt", with(`import os`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
		{"script_dunder", "m.pt", with(`x2 = x.__class__`), scan.Suspicious, scan.Complete, []string{"scan.torchscript.python-code"}},
	})
	for name, want := range map[string]map[string]string{
		"legacy": {"framework": "torch", "layout": "legacy", "version": "1001", "weights_only": "yes"},
		"tar":    {"framework": "torch", "layout": "tar"},
		"script": {"framework": "torchscript", "version": "3", "byteorder": "little"},
		"dill":   {"pickler": "dill"},
	} {
		data := map[string][]byte{
			"legacy": ok, "tar": tarred(build.Harmless()), "script": script(ordinaryScript), "dill": []byte("\x80\x02cdill._dill\n_create_type\n."),
		}[name]
		f := one(t, scan.Scanner{}, "m.pt", data)
		for k, v := range want {
			if f.Facts[k] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, f.Facts[k], v)
			}
		}
	}
}

// TestJoblib puts an attack into each compression that joblib writes; bzip2,
// for which there is no writer, stands in TestFormats.
func TestJoblib(t *testing.T) {
	attack := slices.Concat([]byte("\x80\x03"), build.Attack()[2:])
	for name, pack := range map[string]func([]byte) []byte{
		"raw": func(b []byte) []byte { return b },
		"zlib": func(b []byte) []byte {
			return compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, b)
		},
		"gzip": build.Gzip,
		"xz":   xzOf,
		"lzma": lzmaOf,
		"lz4":  func(b []byte) []byte { return lz4Of(b) },
	} {
		for _, file := range []string{"m.joblib", "m.pkl", "m"} {
			if f := one(t, scan.Scanner{}, file, pack(attack)); f.Verdict != scan.Malicious || f.Completeness != scan.Complete {
				report(t, f)
				t.Errorf("%s as %s: %s, %s", name, file, f.Verdict, f.Completeness)
			}
			if f := one(t, scan.Scanner{}, file, pack(build.Harmless())); f.Verdict != scan.Clean {
				report(t, f)
				t.Errorf("%s as %s: %s, %s", name, file, f.Verdict, f.Completeness)
			}
		}
	}
}

func TestServedModels(t *testing.T) {
	mar := func(manifest string, more ...build.Member) []byte {
		return build.Zip(append(more, build.Member{Name: "model.pt", Data: torchZip(nil)}, build.Member{Name: "MAR-INF/MANIFEST.json", Data: []byte(manifest), Method: 8})...)
	}
	own := build.Member{Name: "handler.py", Data: []byte("import torch\n")}
	nemo := func(config string) []byte {
		return build.Tar(build.TarMember{Name: "./model_config.yaml", Data: []byte(config)}, build.TarMember{Name: "./model_weights.ckpt", Data: torchZip(nil)})
	}
	gguf := build.Member{Name: "m.gguf", Data: gguf(nil, 0, 0)}
	ape := append([]byte("MZqFpD='\n"), make([]byte, 500)...)
	runRows(t, []row{
		{"mar", "m.mar", mar(`{"model": {"handler": "image_classifier", "serializedFile": "model.pt"}}`), scan.Clean, scan.Complete, nil},
		{"mar_text_handler", "m.mar", mar(`{"model": {"handler": "text_classifier", "modelName": "handler.py", "modelVersion": "1.0"}}`), scan.Clean, scan.Complete, nil},
		{"mar_labels", "m.mar", mar(`{"model": {"handler": "object_detector", "serializedFile": "model.pt"}}`, build.Member{Name: "index_to_name.json", Data: []byte(`{"0": "os.system"}`)}), scan.Clean, scan.Complete, nil},
		{"mar_requirements_unnamed", "m.mar", mar(`{"model": {"handler": "image_segmenter"}}`, build.Member{Name: "requirements.txt", Data: []byte("torch\n")}), scan.Clean, scan.Complete, nil},
		{"mar_pickle", "m.mar", mar(`{"model": {"handler": "image_classifier"}}`, build.Member{Name: "x.bin", Data: build.Harmless()}), scan.Clean, scan.Complete, nil},
		{"mar_handler", "m.mar", mar(`{"model": {"handler": "handler.py:handle"}}`, own), scan.Suspicious, scan.Complete, []string{"scan.repo.python-code", "scan.torchserve.handler"}},
		{"mar_handler_elsewhere", "m.mar", mar(`{"model": {"handler": "../../evil.py"}}`), scan.Malicious, scan.Complete, []string{"scan.torchserve.handler"}},
		{"mar_requirements", "m.mar", mar(`{"model": {"handler": "image_classifier", "requirementsFile": "requirements.txt"}}`), scan.Clean, scan.Complete, []string{"scan.torchserve.requirements"}},
		{"mar_attack", "m.mar", mar(`{"model": {"handler": "image_classifier"}}`, build.Member{Name: "x.bin", Data: build.Attack()}), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"mar_broken", "m.mar", mar(`{"model": `), scan.Unknown, scan.Failed, nil},

		{"nemo", "m.nemo", nemo("target: nemo.X\nencoder:\n  d_model: 4\n"), scan.Clean, scan.Complete, nil},
		{"nemo_words", "m.nemo", nemo("target: nemo.X\nnote: 'os.system and subprocess.run'\npath: ../data\n"), scan.Clean, scan.Complete, nil},
		{"nemo_targets", "m.nemo", nemo("targets: [os.system]\nmy_target_: os.system\n"), scan.Clean, scan.Complete, nil},
		{"nemo_gzip_plain", "m.nemo", build.Gzip(nemo("encoder:\n  d_model: 4\n")), scan.Clean, scan.Complete, nil},
		{"yaml_tags", "a.yaml", []byte("a: !!str 1\nb: !!binary aGk=\nc: !<tag:yaml.org,2002:int> 3\n"), scan.Clean, scan.Complete, nil},
		{"yaml_text_of_a_tag", "a.yaml", []byte("a: '!!python/object/apply:os.system [id]'\n# !!python/name:os.system\n"), scan.Clean, scan.Complete, nil},
		{"yaml_no_remote", "config.yml", []byte("trust_remote_code: False\n"), scan.Clean, scan.Complete, nil},
		{"yaml_alias_plain", "hparams.yaml", []byte("a: &x os.system\nb:\n  target: *x\n"), scan.Clean, scan.Complete, nil},
		{"llamafile_model_alone", "m.zip", build.Zip(gguf, build.Member{Name: ".args", Data: []byte("--host\n0.0.0.0\n")}), scan.Clean, scan.Complete, nil},
		{"llamafile_model_bare", "m.gguf", gguf.Data, scan.Clean, scan.Complete, nil},
		{"nemo_target", "m.nemo", nemo("encoder:\n  _target_: nemo.collections.asr.X\n"), scan.Clean, scan.Complete, []string{"scan.config.hydra-target"}},
		{"nemo_system", "m.nemo", nemo("encoder: {\"_targ\\x65t_\": os.system}\n"), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"nemo_tag", "m.nemo", nemo("a: !!python/object/apply:os.system [id]\n"), scan.Malicious, scan.Complete, []string{"scan.yaml.python-tag"}},
		{"nemo_gzip", "m.nemo", build.Gzip(nemo("_target_: subprocess.run\n")), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"yaml", "hparams.yaml", []byte("a: &x [1, 2]\nb: *x\n---\nc: !own 1\n"), scan.Clean, scan.Complete, nil},
		{"yaml_alias", "hparams.yaml", []byte("a: &x os.system\nb:\n  _target_: *x\n"), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"yaml_remote", "config.yml", []byte("trust_remote_code: True\n"), scan.Suspicious, scan.Complete, []string{"scan.config.trust-remote-code"}},
		{"yaml_verbatim_tag", "a.yaml", []byte("a: !<tag:yaml.org,2002:python/name:os.system> x\n"), scan.Malicious, scan.Complete, []string{"scan.yaml.python-tag"}},
		{"yaml_broken", "a.yaml", []byte("a: [1\nb: }\n"), scan.Unknown, scan.Failed, nil},
		{"yaml_large", "a.yaml", []byte(strings.Repeat("# pad\n", 200_000)), scan.Unknown, scan.Inconclusive, nil},

		{"llamafile", "m.llamafile", build.Archive{Members: []build.Member{gguf}, Prefix: ape}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.file.executable", "scan.llamafile.program", "scan.zip.prefix-data"}},
		{"llamafile_elf", "m", build.Archive{Members: []build.Member{gguf}, Prefix: build.ELF()}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.file.executable", "scan.llamafile.program", "scan.zip.prefix-data"}},
		{"llamafile_attack", "m", build.Archive{Members: []build.Member{gguf, {Name: "x", Data: build.Attack()}}, Prefix: build.PE()}.Bytes(), scan.Malicious, scan.Complete, []string{"scan.file.executable", "scan.llamafile.program", "scan.pickle.call-on-load", "scan.zip.prefix-data"}},
	})
}

// FuzzTorchScript starts at source files.
func FuzzTorchScript(f *testing.F) {
	f.Add([]byte(ordinaryScript))
	f.Add([]byte("eval('a\\'b')  # x\nops.a.b(torch.save)\nimport x\n"))
	formats := append(only("zip"), only("torchscript")...)
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "m.pt", script(string(data)), formats) })
}

// FuzzYAML starts at configurations.
func FuzzYAML(f *testing.F) {
	f.Add([]byte("a: &x os.system\nb:\n  - _target_: *x\n  - !!python/name:a.b c\n"))
	f.Add([]byte("{a: [1, {_target_: 2}], trust_remote_code: true}\n---\nb"))
	formats := only("yaml")
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.yaml", data, formats) })
}

// FuzzServe starts at manifests of model servers.
func FuzzServe(f *testing.F) {
	f.Add([]byte(`{"model": {"handler": "a.py:b", "requirementsFile": "c"}}`))
	formats := append(only("zip"), only("torchserve-manifest")...)
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, "m.mar", build.Zip(build.Member{Name: "MAR-INF/MANIFEST.json", Data: data}), formats)
	})
}
