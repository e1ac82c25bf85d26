package scan_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
)

// A formatNote is what FORMATS.md says of one format, in Markdown.
type formatNote struct {
	kind    string // what files these are
	checked string
	limits  string // what is not looked at
}

// formatNotes has one note for each format that [scan.Builtin] lists.
var formatNotes = map[string]formatNote{
	"pickle": {
		"pickles: of Python, joblib, dill, cloudpickle, torch before 1.6, pandas, scikit-learn",
		"all opcodes of protocols 0 to 5 as each implementation reads them: what is imported, called and changed on load; streams one behind the other, pickles in literals; array data between opcodes as joblib writes it; names of XGBoost and CatBoost models inside",
		"values are followed as far as calls need them; what a callable that is allowed does is known from its name and arguments, not from its source",
	},
	"zip": {
		"archives: torch, NumPy .npz, Keras 3, skops, TorchServe and any other",
		"central directory against local headers, flags, checksums, overlap, hidden members, prefix and tail; names that leave the folder; links; every member is read as a file",
		"encrypted members and methods other than store, deflate, deflate64, bzip2, lzma, xz and zstd are gaps (PPMd, Implode)",
	},
	"torch":         {"archives of torch.save and TorchScript (by their members)", "what the archive is; its members are read by zip, pickle and torchscript", "archives of torch.export are read as zip, with everything inside"},
	"torchserve":    {"TorchServe archives in zip (by their manifest)", "see torchserve-manifest", "-"},
	"torch-storage": {"tensor bytes in a torch archive (by place)", "that no loader takes them for anything but numbers", "the bytes: any may stand there"},
	"tar":           {"tar of all dialects: torch before 2018, NeMo, layers", "checksums, names, links, devices, duplicates, tail; members that readers take differently; every member is read as a file, with its holes", "-"},
	"tar-model":     {"NeMo models and tar files of torch (by their members)", "what the archive is; its members are read by tar, yaml and pickle", "-"},
	"7z":            {"7z archives", "names, links, checksums; every member is read as a file", "encrypted content, PPMd and filters for machines other than x86 are gaps"},
	"safetensors":   {"safetensors", "header: strict JSON, ranges without hole, overlap or excess, types, shapes; code in metadata", "tensor bytes are not read"},
	"npy":           {"NumPy arrays", "header, size, data behind the array; an array of objects is read as a pickle", "numbers are not read"},
	"onnx":          {"ONNX", "graphs, functions and tensors wherever they nest: paths of external data and of engines, custom domains, Python operators, size claims, recursion", "what operators compute"},
	"tensorflow":    {"SavedModels, MetaGraphs, frozen graphs", "operators of all graphs and functions: files, Python, native code; names of files, followed through graph and functions; layers of Keras in old SavedModels", "what operators compute"},
	"gguf":          {"GGUF", "metadata, chat templates, layout of tensors", "tensor bytes are not read"},
	"text":          {"plain text", "whether it is text; pointers of Git LFS in the place of models are gaps", "-"},
	"json":          {"JSON, above all configuration of Hugging Face repositories", "`auto_map`, `trust_remote_code`, other repositories, custom pipelines, imported names, Hydra targets, paths and kernels that loaders open, patterns that hang, templates, indices of shards", "-"},
	"keras-config":  {"architectures of Keras as JSON", "Lambda layers, modules and functions that are looked up, functions that reach out", "code of a Lambda layer is reported, not read"},
	"keras":         {"archives of Keras 3 (by their members)", "members that Keras does not write; the others are read as keras-config and hdf5", "-"},
	"hdf5":          {"HDF5, among it Keras models and weights", "external links and storage, virtual datasets, filters, bytes before and behind; configuration of Keras in attributes", "numbers are not read; what is in formats of HDF5 that Keras does not write is a gap"},
	"jinja":         {"templates (by name; chat templates wherever configuration, GGUF or Keras keep them)", "tokens as Jinja's lexer makes them, whatever the size: access to internals, names put together, includes", "templates are never rendered"},
	"python":        {"Python source and bytecode beside models (by name and content)", "that it is there, and what configuration lets a loader import", "source is not judged"},
	"torchscript":   {"source of TorchScript in a torch archive (by place)", "operators that reach for files, processes or Python", "what the model computes"},
	"mlflow-module": {"MLflow's names of modules (pickle_module_info.txt, keras_module.txt)", "the module that is imported", "-"},
	"yaml":          {"YAML (by name, and any text with such tags)", "tags that build Python objects, Hydra targets, imported names, templates, paths of MLmodel", "anchors are not expanded"},
	"tflite":        {"TensorFlow Lite, LiteRT", "tables, operators, subgraphs, buffers; custom operators, Flex operators, what delegates ask for", "tensor bytes; options of operators that name neither a subgraph nor a node; code of delegates in custom operators"},
	"onnxruntime":   {"models in ONNX Runtime's own format", "operators of all graphs: custom domains, Python operators, engines", "values of tensors; what operators compute"},
	"executorch":    {"ExecuTorch programs", "operators, delegates and segments of every method", "values and the instructions over them; data of delegates"},
	"coreml":        {"Core ML models", "models in pipelines, layers, operations, paths and ranges of weights, custom layers and models", "constants within lists and dictionaries; compiled models (.mlmodelc)"},
	"coreml-weights": {
		"weight files of ML programs", "entries and their ranges", "numbers are not read",
	},
	"coreml-package":         {"manifest of a Core ML package", "paths of its items", "-"},
	"openvino":               {"OpenVINO models (XML)", "document types and entities, layers of foreign extensions, ranges of the weights", "of models before version 10 ranges only"},
	"openvino-weights":       {"weights beside such a model (by place)", "searched for programs and hidden files", "-"},
	"paddle":                 {"PaddlePaddle programs", "operators that reach for files, Python or engines, in all blocks", "operators of custom libraries have no mark and are not told from Paddle's; what engines were given"},
	"paddle-json":            {"PaddlePaddle programs of version 3", "the same in the JSON form", "the same"},
	"paddle-params":          {"parameters of PaddlePaddle", "headers of tensors", "numbers are not read"},
	"mxnet":                  {"graphs of Apache MXNet", "operators of nodes and subgraphs", "operators of libraries that the program loads have no mark"},
	"mxnet-params":           {"arrays of Apache MXNet", "headers and names", "numbers are not read"},
	"tensorflow-checkpoint":  {"index of a TensorFlow checkpoint", "the table, and the ranges of tensors in data files", "compressed tables are gaps; TensorFlow writes none"},
	"tensorflow-shard":       {"data files of a TensorFlow checkpoint (by place)", "searched for programs and hidden files", "-"},
	"tfjs-weights":           {"data files of TensorFlow.js (by place)", "searched for programs and hidden files", "-"},
	"onnx-tensor":            {"a tensor of ONNX in a file of its own", "type, shape and size of the data", "one whose data is in other files is not recognised"},
	"tensorflow-text":        {"graphs of TensorFlow in text", "operators, as of the binary form", "what operators compute"},
	"keras-metadata":         {"keras_metadata.pb of Keras 2", "configuration of every layer, as keras-config", "-"},
	"tensorflow-fingerprint": {"fingerprint.pb of a SavedModel", "its fields", "-"},
	"riegeli":                {"records of Riegeli, such as a SavedModel in chunks", "its mark", "**records are not read: never complete**"},
	"cntk":                   {"CNTK models of version 2", "dictionaries: functions of the user's, which name code to load", "what functions compute"},
	"cntk-v1":                {"CNTK models of version 1", "its mark; searched for programs", "**the graph is not read: never complete**"},
	"tensorrt":               {"engines of TensorRT", "searched for programs of the host; words like names of plug-ins", "**layers are compiled: never complete**"},
	"rknn":                   {"RKNN models", "its mark; searched for programs", "**layers are compiled: never complete**"},
	"xgboost":                {"XGBoost: UBJSON, JSON, the old binary", "trees: sizes and indices; code in texts", "thresholds, statistics, categories"},
	"lightgbm":               {"LightGBM text", "trees: sizes, children", "linear trees and categorical splits are counted; exported JSON is read as any JSON"},
	"catboost":               {"CatBoost: binary, JSON", "trees, splits and their tables; code in metadata", "parts behind the flat buffer are searched, not walked; of JSON symmetric trees"},
	"pmml":                   {"PMML", "document types, inclusion, references, functions of an engine's own, extensions", "expressions are not evaluated, references between elements not followed"},
	"skops":                  {"archives of skops (by name)", "members are read by zip, skops-schema and npy", "-"},
	"skops-schema":           {"schema of such an archive", "every class and function it names, judged as a pickle's", "names that numpy finds by text; of more than 16 MiB nothing, which is a gap"},
	"skops-bytes":            {"bytes objects in such an archive (by place)", "searched for programs and hidden files", "-"},
	"r":                      {"R data: saveRDS, save; in XDR, binary and text", "promises, byte code, mapped files; calls and functions by what they name", "computed names; hooks are never run; packages are code of the machine"},
	"torch7":                 {"Lua Torch, binary and text", "objects; functions and byte code; classes", "classes with a reader of their own, 32-bit and big-endian files are gaps"},
	"ggml":                   {"GGML before GGUF", "header, vocabulary, tensors of Llama, GPT-2 and GPT-J layouts, adapters", "other layouts, such as Whisper's, are gaps"},
	"msgpack":                {"Flax MessagePack", "arrays, their types and sizes; extensions; names used twice", "numbers are not read"},
	"orbax":                  {"JSON of JAX checkpoints and zarr arrays", "names, paths, types that restoring asks for", "-"},
	"ocdbt":                  {"manifest of TensorStore's database", "checksum, configuration, table of data files", "the tree of keys"},
	"array-chunk":            {"bytes of zarr arrays and of that database (by place)", "searched for programs and hidden files", "-"},
	"llamafile":              {"llamafiles", "that it is a program, arguments it starts with; the archive's members by zip and gguf", "the program"},
	"torchserve-manifest":    {"manifest of TorchServe in zip, tar or folder", "the handler and requirements it runs and installs", "the handler's source"},
	"gzip":                   {"gzip", "the content, under the name without its ending; data behind the stream", "-"},
	"zfile":                  {"zlib behind a header, as joblib wrote it until 2015", "the same", "-"},
	"zlib":                   {"zlib, as joblib writes it", "the same", "-"},
	"bzip2":                  {"bzip2", "the same", "-"},
	"zstd":                   {"Zstandard", "the same", "streams that need a dictionary are gaps"},
	"xz":                     {"xz", "the same", "filters other than LZMA2, x86 and delta are gaps"},
	"lzma":                   {"LZMA alone", "the same", "-"},
	"lz4":                    {"LZ4 frames", "the same", "streams that need a dictionary are gaps"},
	"opaque-container":       {"RAR and cabinet archives", "their marks", "**content is not decoded: never complete**"},
}

// TestFormatReference keeps FORMATS.md equal to the formats and their notes.
func TestFormatReference(t *testing.T) {
	const command = "go generate ./integrity/scan"
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Formats of integrity/scan\n\nWritten by `%s`. Do not edit.\n\n", command)
	b.WriteString(`A file is recognised by its content, whatever it is called, unless it says
otherwise here. An ending says that a file of that name which nothing recognises
is a gap. Whatever a format does not claim of a file is searched for programs,
pickles and archives; what it cannot read is a gap. "Never complete" means that
such a file is never clean. Kinds of operators are those that rule sets name.

| format | files | endings | operators | checked | not looked at |
|---|---|---|---|---|---|
`)
	seen := make(map[string]bool)
	for _, f := range scan.Builtin() {
		i := f.Info()
		n, ok := formatNotes[i.ID]
		if seen[i.ID] = true; !ok || n.kind == "" || n.checked == "" || n.limits == "" {
			t.Errorf("format %s has no note: add it to formatreference_test.go, and run %s", i.ID, command)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n",
			i.ID, n.kind, listed(i.Extensions), listed(i.Operators), n.checked, n.limits)
	}
	for id := range formatNotes {
		if !seen[id] {
			t.Errorf("there is no format %q", id)
		}
	}
	if *update {
		if err := os.WriteFile("FORMATS.md", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("FORMATS.md"); err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("FORMATS.md does not say what the formats and their notes say (%v): run %s", err, command)
	}
}

func listed(s []string) string {
	if len(s) == 0 {
		return "-"
	}
	return strings.Join(s, " ")
}
