package scan_test

import (
	"slices"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// A weakness is a CVE of a loader or of a scanner, with a file that attacks
// through it.
type weakness struct {
	id   string
	what string
	file string
	data []byte
	rule string // that has to speak, and to cite the CVE
}

func weaknesses() []weakness {
	floats := make([]byte, 16)
	relu := []build.Proto{build.Node("Relu", "")}
	onnx := func(location string) []byte {
		return build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", location)})
	}
	zipped := func(m build.Member) []byte { return build.Zip(m) }
	call := func(module, name string) []byte {
		return []byte("\x80\x02c" + module + "\n" + name + "\nX\x02\x00\x00\x00id\x85R.")
	}
	keras := func(object string) []byte {
		return []byte(`{"class_name": "Functional", "config": {"layers": [` + object + `]}}`)
	}
	lambda := `{"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}`
	badGGUF := func(off, dim uint64, typ uint32) []byte {
		return build.GGUF(nil, []build.GGUFTensor{{Name: "a", Dims: []uint64{dim, 4}, Type: typ, Off: off}}, make([]byte, 64))
	}
	return []weakness{
		{"2019-6446", "numpy.load unpickles object arrays", "a.npy", build.NPY("|O", "(1,)", build.Attack()), "scan.pickle.call-on-load"},
		{"2022-45907", "torch.jit.annotations.parse_type_line evaluates its text", "a.pkl", call("torch.jit.annotations", "parse_type_line"), "scan.pickle.call-on-load"},
		{"2024-5480", "torch.distributed.rpc calls any function", "a.pkl", call("torch.distributed.rpc", "rpc_sync"), "scan.pickle.call-on-load"},
		{"2024-48063", "torch.distributed.rpc.RemoteModule unpickles", "a.pkl", call("torch.distributed.rpc", "RemoteModule"), "scan.pickle.call-on-load"},
		{"2025-1716", "picklescan did not know pip.main", "a.pkl", call("pip", "main"), "scan.pickle.call-on-load"},
		{"2025-1889", "picklescan went by the ending of members", "m.pt", build.Zip(build.Member{Name: "a/data.pkl", Data: build.Harmless()}, build.Member{Name: "a/x.config", Data: build.Attack()}), "scan.pickle.call-on-load"},
		{"2025-10155", "picklescan went by the ending of the file", "model.bin", build.Attack(), "scan.pickle.call-on-load"},
		{"2025-10156", "picklescan stopped at a wrong checksum", "m.zip", zipped(build.Member{Name: "data.pkl", Data: build.Harmless(), WrongCRC: true}), "scan.zip.wrong-checksum"},
		{"2025-10157", "picklescan did not know submodules", "a.pkl", call("asyncio.unix_events", "_UnixSubprocessTransport._start"), "scan.pickle.call-on-load"},
		{"2025-1944", "picklescan went by one of two names", "m.zip", zipped(build.Member{Name: "data.pkl", Local: "datap.kl", Data: build.Harmless()}), "scan.zip.name-mismatch"},
		{"2025-1945", "picklescan believed the flags of a member", "m.zip", zipped(build.Member{Name: "data.pkl", Data: build.Harmless(), Flags: 0x20}), "scan.zip.false-flag"},
		{"2025-32434", "torch.load runs old tar files despite weights_only", "m.pt", build.Tar(build.TarMember{Name: "pickle", Data: build.Harmless()}, build.TarMember{Name: "storages", Data: floats}, build.TarMember{Name: "tensors", Data: floats}), "scan.torch.tar-layout"},
		{"2026-24747", "torch.load sets items of tensors despite weights_only", "m.pt", torchModel(torchTensor("torch._utils\n_rebuild_tensor_v2", torchStorage("torch\nFloatStorage", 4), 0, []any{4}, []any{1}, "\x89", "N")+"I0\nI7\ns", 16), "scan.pickle.tensor-write"},

		{"2024-3660", "Keras before 2.13 runs Lambda layers", "config.json", keras(lambda), "scan.keras.lambda"},
		{"2025-9905", "Keras runs Lambda layers of H5 files in safe mode", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("model_config", string(keras(lambda)))}}.Bytes(), "scan.keras.lambda"},
		{"2025-1550", "Keras imports any module", "config.json", keras(`{"module": "os", "class_name": "function", "config": "system"}`), "scan.keras.foreign-module"},
		{"2025-8747", "keras.utils.get_file downloads", "config.json", keras(`{"module": "keras.utils", "class_name": "function", "config": "get_file"}`), "scan.keras.gadget"},
		{"2025-9906", "a configuration switches safe mode off", "config.json", keras(`{"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}`), "scan.keras.gadget"},
		{"2025-49655", "TorchModuleWrapper unpickles", "config.json", keras(`{"module": "keras.utils", "class_name": "TorchModuleWrapper", "config": {}}`), "scan.keras.gadget"},
		{"2026-1462", "TFSMLayer loads a foreign SavedModel", "config.json", keras(`{"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}}`), "scan.keras.gadget"},
		{"2026-1669", "Keras reads external links of H5 files", "m.h5", build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "/etc/passwd", "/b")}}.Bytes(), "scan.hdf5.external-link"},

		{"2022-25882", "external data upwards", "m.onnx", onnx("../../etc/passwd"), "scan.onnx.external-path"},
		{"2024-27318", "external data upwards behind a folder", "m.onnx", onnx("junk/../../x"), "scan.onnx.external-path"},
		{"2025-51480", "external data at an absolute path", "m.onnx", onnx("/etc/passwd"), "scan.onnx.external-path"},
		{"2026-27489", "external data behind a drive", "m.onnx", onnx(`C:\x`), "scan.onnx.external-path"},
		{"2026-34446", "external data upwards with backslashes", "m.onnx", onnx(`..\..\x`), "scan.onnx.external-path"},
		{"2026-34447", "external data on a share", "m.onnx", onnx(`\\host\x`), "scan.onnx.external-path"},
		{"2024-27319", "a failed check reads beyond its text", "m.onnx", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{400}, floats)}), "scan.onnx.size-claim"},

		{"2024-21802", "sizes of tensors overflow", "m.gguf", badGGUF(0, 1<<62, 0), "scan.gguf.layout"},
		{"2024-21825", "shapes overflow", "m.gguf", badGGUF(0, 1<<63, 0), "scan.gguf.layout"},
		{"2024-21836", "counts overflow", "m.gguf", badGGUF(0, 1<<40, 0), "scan.gguf.layout"},
		{"2024-23496", "a tensor beyond the file", "m.gguf", badGGUF(1<<20, 1, 0), "scan.gguf.layout"},
		{"2024-23605", "a tensor that ends beyond the file", "m.gguf", badGGUF(32, 64, 0), "scan.gguf.layout"},
		{"2024-25664", "offsets are not checked", "m.gguf", badGGUF(1<<63, 1, 0), "scan.gguf.layout"},
		{"2024-25665", "offsets are not aligned", "m.gguf", badGGUF(3, 1, 0), "scan.gguf.layout"},
		{"2024-25666", "blocks are not whole", "m.gguf", badGGUF(0, 5, 2), "scan.gguf.layout"},
		{"2024-25667", "sizes of blocks overflow", "m.gguf", badGGUF(0, 1<<61, 2), "scan.gguf.layout"},
		{"2024-25668", "sizes are not checked", "m.gguf", badGGUF(0, 1<<32, 0), "scan.gguf.layout"},
		{"2025-53630", "the sum of sizes overflows", "m.gguf", badGGUF(1<<64-32, 8, 0), "scan.gguf.layout"},
		{"2026-27940", "the sum of sizes overflows with padding", "m.gguf", badGGUF(1<<64-64, 15, 0), "scan.gguf.layout"},
		{"2026-7482", "false shapes read beyond the file", "m.gguf", badGGUF(0, 1<<20, 1), "scan.gguf.layout"},
		{"2024-34359", "llama_cpp_python renders templates without a sandbox", "m.gguf", gguf([]string{"tokenizer.chat_template", "{{ ''.__class__ }}"}, 0, 0), "scan.template.attack"},

		{"2025-23304", "NeMo calls what a configuration names", "m.nemo", build.Tar(build.TarMember{Name: "model_config.yaml", Data: []byte("_target_: os.system\n")}), "scan.config.hydra-target"},
		{"2025-54412", "skops shows one class for an operator and calls another", "m.skops", build.Skops(`{"__class__": "call", "__module__": "sklearn.linear_model", "__loader__": "OperatorFuncNode", "attrs": {}}`), "scan.skops.type-confusion"},
		{"2025-54413", "skops shows one class for a method and takes it of another", "m.skops", build.Skops(`{"__class__": "str", "__module__": "builtins", "__loader__": "MethodNode", "content": {"func": "f", "obj": {"__class__": "X", "__module__": "mylib", "__loader__": "ObjectNode"}}}`), "scan.skops.type-confusion"},
		{"2025-54886", "Card.get_model of skops unpickles what is no archive", "m.skops", build.Attack(), "scan.skops.joblib-fallback"},
		{"2024-27322", "R evaluates promises of files", "m.rds", build.RDS(3, build.RPromise(nil, build.RInt(build.RUnbound), build.RCall(build.RSymbol("f")))), "scan.r.promise"},
	}
}

// TestKnownWeaknesses holds that each CVE has a file that attacks through it,
// a rule that finds that, and a reference to look it up by.
func TestKnownWeaknesses(t *testing.T) {
	cited := make(map[string][]string)
	for _, r := range scan.Rules() {
		for _, ref := range r.Refs {
			if ref.Catalogue == "CVE" {
				cited[ref.ID] = append(cited[ref.ID], r.ID)
			}
		}
	}
	tested := make(map[string]bool)
	for _, w := range weaknesses() {
		id := "CVE-" + w.id
		t.Run(id, func(t *testing.T) {
			if tested[id] {
				t.Error("it stands there twice")
			}
			f := one(t, scan.Scanner{}, w.file, w.data)
			if f.Verdict == scan.Clean && w.rule != "scan.torch.tar-layout" || !slices.Contains(rules(f), w.rule) {
				report(t, f)
				t.Errorf("%s: no finding of %s", w.what, w.rule)
			}
			if !slices.Contains(cited[id], w.rule) {
				t.Errorf("%s is cited by %q, not by %s", id, cited[id], w.rule)
			}
		})
		tested[id] = true
	}
}
