package scantest_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/scantest"
)

// TestBuiltin holds the formats of the package to what it asks of others.
func TestBuiltin(t *testing.T) {
	text := scantest.Sample{Name: "a.txt", Data: []byte("Some words.\n")}
	noise := scantest.Sample{Name: "noise", Data: []byte{0xff, 0xd8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}
	floats := make([]byte, 16)
	samples := map[string][]scantest.Sample{
		"pickle": {
			{Name: "a.pkl", Data: build.Harmless()},
			{Name: "b.pkl", Data: build.Attack(), Rules: []string{"scan.pickle.call-on-load"}},
		},
		"zip": {
			{Name: "a.zip", Data: build.Zip(build.Member{Name: "a", Data: floats}, build.Member{Name: "b", Data: floats, Method: 8})},
			{Name: "b.zip", Data: build.Zip(build.Member{Name: "../a", Data: floats}), Rules: []string{"scan.archive.path-traversal"}},
		},
		"tar": {
			{Name: "a.tar", Data: build.Tar(build.TarMember{Name: "a", Data: floats})},
			{Name: "b.tar", Data: build.Tar(build.TarMember{Name: "l", Link: "/", Kind: '2'}), Rules: []string{"scan.archive.link"}},
		},
		"safetensors": {{Name: "m.safetensors", Data: build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, floats)}},
		"npy":         {{Name: "a.npy", Data: build.NPY("<f4", "(4,)", floats)}},
		"onnx": {
			{Name: "m.onnx", Data: build.ONNX([]build.Proto{build.Node("Relu", "")}, []build.Proto{build.Tensor("w", []uint64{4}, floats)})},
			{
				Name:  "n.onnx",
				Data:  build.ONNX(nil, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "/x")}),
				Rules: []string{"scan.onnx.external-path"},
			},
		},
		"gguf":  {{Name: "m.gguf", Data: build.GGUF([]string{"tokenizer.chat_template", "{{ a.__class__ }}"}, []build.GGUFTensor{{Name: "a", Dims: []uint64{4}}}, floats), Rules: []string{"scan.template.attack"}}},
		"torch": {{Name: "m.pt", Data: build.Zip(build.Member{Name: "a/data.pkl", Data: build.Harmless()}, build.Member{Name: "a/version", Data: []byte("3\n")})}},
		"jinja": {{Name: "chat_template.jinja", Data: []byte("{{ lipsum.x }}"), Rules: []string{"scan.template.unusual-access"}, Named: true}},
		"tensorflow": {{
			Name:  "saved_model.pb",
			Data:  build.Proto(nil).Int(1, 1).Bytes(2, build.Proto(nil).Bytes(2, build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "n").Text(2, "PyFunc")))),
			Rules: []string{"scan.tensorflow.python-operator"},
		}},
		"keras-config": {{Name: "config.json", Data: []byte(`{"class_name": "Lambda", "config": {"function": ["4wEA"]}}`), Rules: []string{"scan.keras.lambda"}}},
		"text":         {text},
		"json":         {{Name: "config.json", Data: []byte(`{"auto_map": {"A": "b.C"}}`), Rules: []string{"scan.config.auto-map"}}},
		"python":       {{Name: "x.py", Data: []byte("import os\n"), Named: true}},
		"gzip":         {{Name: "a.gz", Data: build.Gzip(floats)}},
		"7z": {
			{Name: "a.7z", Data: build.SevenZip{Members: []build.SevenZipMember{{Name: "a", Data: floats}}, Codec: build.LZMA2Codec, PackHead: true}.Bytes()},
			{Name: "b.7z", Data: build.SevenZip{Members: []build.SevenZipMember{{Name: "../a", Data: floats}}}.Bytes(), Rules: []string{"scan.archive.path-traversal"}},
		},
		"hdf5": {
			{Name: "m.h5", Data: build.HDF5{Messages: []build.HDF5Message{build.HDF5Text("backend", "jax")}}.Bytes()},
			{Name: "n.h5", Data: build.HDF5{Messages: []build.HDF5Message{build.HDF5Link("a", "/etc/x", "b")}}.Bytes(), Rules: []string{"scan.hdf5.external-link"}},
		},
		"keras": {{Name: "m.keras", Data: build.Zip(
			build.Member{Name: "metadata.json", Data: []byte("{}")}, build.Member{Name: "config.json", Data: []byte("{}")},
			build.Member{Name: "model.weights.h5", Data: build.HDF5{}.Bytes()}, build.Member{Name: "x", Data: floats},
		), Rules: []string{"scan.keras.foreign-member"}}},
		"torchserve": {{Name: "m.mar", Data: build.Zip(
			build.Member{Name: "MAR-INF/MANIFEST.json", Data: []byte(`{"model": {"handler": "/x.py"}}`)},
		)}},
		"yaml":      {{Name: "a.yaml", Data: []byte("a: !!python/name:os.system x\n"), Rules: []string{"scan.yaml.python-tag"}, Named: true}},
		"tar-model": {{Name: "m.nemo", Data: build.Tar(build.TarMember{Name: "model_config.yaml", Data: floats})}},
		"xgboost": {
			{Name: "m.ubj", Data: build.XGBoost(1, "a", "b", build.Stump())},
			{Name: "m.model", Data: build.XGBoostBinary("binf", "gbtree", "eval(x)", build.Stump()), Rules: []string{"scan.xgboost.attribute-code"}},
		},
		"lightgbm": {{Name: "m.txt", Data: build.LightGBM(1, "num_leaves=1\nnum_cat=0\nleaf_value=1"), Rules: []string{"scan.lightgbm.tree-layout"}}},
		"catboost": {
			{Name: "m.cbm", Data: build.CatBoost(build.CatBoostTrees{})},
			{Name: "n.cbm", Data: build.CatBoost(build.CatBoostTrees{Leaves: 3}), Rules: []string{"scan.catboost.tree-layout"}},
		},
		"pmml": {{Name: "m.pmml", Data: []byte(`<PMML><Apply function="a.B"/></PMML>`), Rules: []string{"scan.pmml.java-function"}}},
		"skops": {
			{Name: "m.skops", Data: build.Skops("{}"), Named: true},
			{Name: "n.skops", Data: build.Harmless(), Rules: []string{"scan.skops.joblib-fallback"}, Named: true},
		},
		"skops-schema": {{Name: "schema.json", Data: []byte(`{"__loader__": "TypeNode", "__module__": "os", "__class__": "system"}`), Rules: []string{"scan.skops.dangerous-type"}, Named: true}},
		"r": {
			{Name: "m.rds", Data: build.RDS(3, build.RList(build.RReals(2), build.RClosure(build.RSymbol("x"))))},
			{Name: "n.rds", Data: build.RDS(2, build.RPromise(nil, build.RInt(build.RUnbound), build.RSymbol("x"))), Rules: []string{"scan.r.promise"}},
		},
		"torch7": {
			{Name: "m.t7", Data: build.T7Tensor(1, []int{2, 2}, []int{2, 1}, 1, 4)},
			{Name: "n.t7", Data: build.T7Function(8, 1, "\x1bLua", build.T7Nil()), Rules: []string{"scan.torch7.function"}},
		},
		"ggml": {
			{Name: "m.ggml", Data: build.GGML("tjgg", 3, []uint32{1, 8, 8, 8, 8, 8, 0}, []string{"a"}, build.GGMLTensor{Dims: []uint32{4}, Data: 16, Name: "w"})},
			{Name: "n.ggml", Data: build.GGML("fmgg", 1, []uint32{9, 8, 8, 8, 8, 8, 0}, []string{"a"}), Rules: []string{"scan.ggml.layout"}},
		},
		"opaque-container": {
			{Name: "a.rar", Data: []byte("Rar!\x1a\x07\x01\x00aaaaaaaaaaaaaaaaaaaaaaaa")},
		},
	}
	for _, f := range scan.Builtin() {
		id := f.Info().ID
		positives := samples[id]
		if positives == nil {
			continue // codecs without a writer in the standard library
		}
		t.Run(id, func(t *testing.T) {
			negatives := []scantest.Sample{noise}
			if id != "text" {
				negatives = append(negatives, text)
			}
			scantest.TestFormat(t, f, positives, negatives)
		})
	}
}
