package scan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// TestRepositoryFiles has what configurations of models can make a loader do,
// each with look-alikes that do nothing.
func TestRepositoryFiles(t *testing.T) {
	const (
		autoMap, remote, trust = "scan.config.auto-map", "scan.config.remote-repository", "scan.config.trust-remote-code"
		pipeline, imported     = "scan.config.custom-pipeline", "scan.config.imported-name"
		target, tag            = "scan.config.hydra-target", "scan.yaml.python-tag"
		shardPath, shardFormat = "scan.repo.shard-path", "scan.repo.shard-format"
	)
	for _, tt := range []struct {
		name, file, text string
		severity         prerun.Severity // the worst; 0 for none
		want             string
	}{
		// Code of the model, and of others.
		{"auto_map_everywhere", "video_preprocessor_config.json", `{"auto_map": {"AutoProcessor": "processing_x.X"}}`, prerun.Medium, autoMap},
		{"auto_map_generation", "generation_config.json", `{"a": [{"auto_map": "x.Y"}]}`, prerun.Medium, autoMap},
		{"auto_map_escaped", "config.json", `{"auto\u005fmap": {"AutoModel": "x.Y"}}`, prerun.Medium, autoMap},
		{"auto_map_remote_list", "config.json", `{"auto_map": {"AutoTokenizer": [null, "a/b--x.Y"]}}`, prerun.Medium, remote},
		{"auto_map_none", "config.json", `{"auto_map": {}, "auto_maps": {"a": "b.C"}, "map": "auto_map"}`, 0, ""},
		{"auto_map_null", "config.json", `{"auto_map": {"AutoTokenizer": [null, null]}}`, 0, ""},
		{"trust_number", "config.json", `{"trust_remote_code": 1}`, prerun.Medium, trust},
		{"trust_text", "config.json", `{"trust_remote_code": "True"}`, prerun.Medium, trust},
		{"trust_modelscope", "configuration.json", `{"allow_remote": true}`, prerun.Medium, trust},
		{"trust_schema", "schema.json", `{"properties": {"trust_remote_code": {"type": "boolean"}, "x": {"trust_remote_code": "Whether to trust"}}}`, 0, ""},
		{"trust_off", "config.json", `{"trust_remote_code": 0, "a": {"trust_remote_code": ""}, "b": {"trust_remote_code": null}, "c": {"trust_remote_code": []}}`, 0, ""},
		{"trust_text_off", "adapter_config.json", `{"tokenizer_kwargs": {"trust_remote_code": "false"}}`, prerun.Medium, trust}, // Python takes any text
		{"trust_list", "adapter_config.json", `{"tokenizer_kwargs": {"trust_remote_code": [0]}}`, prerun.Medium, trust},
		{"pipelines", "config.json", `{"custom_pipelines": {"x": {"impl": "a.B"}}}`, prerun.Medium, pipeline},
		{"pipelines_none", "config.json", `{"custom_pipelines": {}}`, 0, ""},

		// Names that loaders import.
		{"activation", "2_Dense/config.json", `{"activation_function": "torch.nn.modules.activation.Tanh"}`, 0, ""},
		{"activation_name", "config.json", `{"activation_function": "gelu_new"}`, 0, ""},
		{"activation_own", "2_Dense/config.json", `{"activation_function": "mine.Act"}`, prerun.Medium, imported},
		{"activation_system", "2_Dense/config.json", `{"activation_function": "os.system"}`, prerun.High, imported},
		{"activation_through_torch", "config.json", `{"sbert_ce_default_activation_function": "torch.utils.os.abort"}`, prerun.High, imported},
		{"activation_dunder", "config.json", `{"activation_fn": "torch.nn.__builtins__.exec"}`, prerun.High, imported},
		{"adapter", "adapter_config.json", `{"base_model_name_or_path": "a/b", "auto_mapping": {"parent_library": "transformers.models.bert.modeling_bert", "base_model_class": "B"}, "megatron_core": "megatron.core"}`, 0, ""},
		{"adapter_own", "adapter_config.json", `{"auto_mapping": {"parent_library": "mine.models"}}`, prerun.Medium, imported},
		{"adapter_system", "adapter_config.json", `{"auto_mapping": {"parent_library": "os", "base_model_class": "system"}}`, prerun.High, imported},
		{"adapter_megatron", "adapter_config.json", `{"megatron_core": "evil.core"}`, prerun.Medium, imported},
		{"mlflow", "MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n", 0, ""},
		{"mlflow_own", "MLmodel", "flavors:\n  python_function:\n    loader_module: evil.loader\n", prerun.Medium, imported},

		// Parts of a model.
		{"modules", "modules.json", `[{"type": "sentence_transformers.models.Transformer", "path": ""}, {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]`, 0, ""},
		{"modules_own", "modules.json", `[{"type": "custom_st.Transformer"}]`, prerun.Medium, pipeline},
		{"modules_similar", "modules.json", `[{"type": "sentence_transformersx.models.Pooling"}]`, prerun.Medium, pipeline},
		{"modules_through", "modules.json", `[{"type": "sentence_transformers.util.os.system"}]`, prerun.Medium, pipeline},
		{"modules_path", "modules.json", `[{"type": "sentence_transformers.models.Pooling", "path": "../../etc"}]`, prerun.High, shardPath},
		{"router", "router_config.json", `{"types": {"a": "sentence_transformers.models.Pooling"}, "structure": {"query": ["a"]}}`, 0, ""},
		{"router_own", "router_config.json", `{"types": {"a": "os.system"}, "structure": {}}`, prerun.Medium, pipeline},
		{"index", "model_index.json", `{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30", "unet": ["diffusers", "U"], "safety_checker": ["stable_diffusion", "S"], "feature_extractor": [null, null], "sizes": [1, 2]}`, 0, ""},
		{"index_own", "model_index.json", `{"unet": ["my_unet", "U"]}`, prerun.Medium, pipeline},
		{"index_dotted", "model_index.json", `{"unet": ["stable_diffusion.evil", "U"]}`, prerun.Medium, pipeline},
		{"index_two_names", "model_index.json", `{"unet": ["stable_diffusion stable_diffusion_xl", "U"]}`, prerun.Medium, pipeline},
		{"index_through", "model_index.json", `{"unet": ["transformers.utils.os", "system"]}`, prerun.Medium, pipeline},
		{"index_class_list", "model_index.json", `{"_class_name": ["pipeline", "Mine"]}`, prerun.Medium, pipeline},
		{"index_three", "model_index.json", `{"unet": ["evil", "U", {}]}`, prerun.Medium, pipeline},
		{"modular", "modular_model_index.json", `{"unet": ["diffusers", "U", {"repo": null}]}`, 0, ""},
		{"modular_remote", "modular_model_index.json", `{"unet": ["diffusers", "U", {"repo": "other/repository"}]}`, prerun.Medium, remote},

		// Targets of Hydra and of tags.
		{"hydra", "a.yaml", "_target_: torch.nn.Linear\n", prerun.Low, target},
		{"hydra_evaluation", "a.yaml", "_target_: nemo.eval.metrics.Wer\n", prerun.Low, target},
		{"hydra_through", "a.yaml", "_target_: nemo.utils.os.system\n", prerun.High, target},
		{"hydra_collect", "a.json", `{"_target_": "torch.utils.collect_env.run"}`, prerun.High, target},
		{"hydra_dunder", "a.json", `{"_target_": "nemo.x.__globals__.get"}`, prerun.High, target},
		{"hydra_pickle", "a.json", `{"_target_": "numpy.load"}`, prerun.High, target},
		{"hyperpyyaml", "hyperparams.yaml", "a: !new:speechbrain.X\n  b: 1\nc: !ref <a>\n", prerun.Low, target},
		{"hyperpyyaml_system", "hyperparams.yaml", "a: !apply:os.system [id]\n", prerun.High, target},
		{"hyperpyyaml_name", "hyperparams.yaml", "a: !name:subprocess.run\n", prerun.High, target},
		{"tag_handle", "a.yaml", "%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system [id]\n", prerun.High, tag},
		{"tag_split_handle", "a.yaml", "%TAG !p! tag:yaml.org,2002:pyth\n---\na: !p!on/name:os.system\n", prerun.High, tag},
		{"tag_escaped", "a.yaml", "a: !!%70ython/name:os.system\n", prerun.High, tag},
		{"tag_on_key", "a.yaml", "? !!python/name:os.system\n: b\n", prerun.High, tag},
		{"tag_second_document", "a.yaml", "a: 1\n---\n- !!python/module:os\n", prerun.High, tag},
		{"tags_of_yaml", "a.yaml", "a: !!str 1\nb: !!set {x}\nc: \"!!python/name:os.system\"\n", 0, ""},

		// JSON that a strict parser refuses or that is long.
		{"not_json_and_silent", "x.json", `{"a": NaN}`, 0, ""},
		{"lines_of_json", "train.jsonl", `{"auto_map": 1}` + "\n" + `{"_target_": "x"}` + "\n", 0, ""},
		{"long_table", "merges_table.json", `{"a": "` + strings.Repeat("x", 3<<20) + `"}`, 0, ""},
		{"tokenizer", "tokenizer.json", `{"model": {"vocab": {"auto_map": 1, "` + strings.Repeat("x", 3<<20) + `": 2}}}`, 0, ""},
		{"base_model", "config.json", `{"_name_or_path": "/home/user/model", "tokenizer_class": "X", "id2label": {"0": "os.system"}}`, 0, ""},
		{"index_absolute", "model.safetensors.index.json", `{"weight_map": {"a": "/etc/passwd"}}`, prerun.High, shardPath},
		{"index_climbs", "pytorch_model.bin.index.json", `{"weight_map": {"a": "x/../../y.bin"}}`, prerun.High, shardPath},
		{"index_url", "model.safetensors.index.json", `{"weight_map": {"a": "https://x/y.safetensors"}}`, prerun.High, shardPath},
		{"index_no_map", "model.safetensors.index.json", `{"metadata": {"total_size": 1}}`, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, tt.file, []byte(tt.text))
			worst := prerun.Unrated
			for _, x := range f.Findings {
				worst = max(worst, x.Severity)
			}
			if got := strings.Join(rules(f), " "); got != tt.want || worst != tt.severity || f.Completeness != scan.Complete {
				report(t, f)
				t.Errorf("%s %q, %s; want %s %q", worst, got, f.Completeness, tt.severity, tt.want)
			}
		})
	}
	for name, text := range map[string]string{
		"not_json.json":    `{"_target_": "os.system", "a": NaN}`,
		"two_values.json":  `{"trust_remote_code": true} {}`,
		"long.json":        `{"a": "` + strings.Repeat("x", 3<<20) + `", "_target_": "os.system"}`,
		"x/config.json":    `{"a": Infinity}`,
		"a.index.json":     `{"weight_map": {"a": "model-1.safetensors"}}`,
		"long/config.json": `{"a": "` + strings.Repeat("x", 17<<20) + `"}`,
	} {
		if f := one(t, scan.Scanner{}, name, []byte(text)); f.Completeness == scan.Complete || f.Verdict == scan.Clean {
			report(t, f)
			t.Errorf("%s: %s, %s", name, f.Verdict, f.Completeness)
		}
	}
}

// TestShards reads indices beside their files.
func TestShards(t *testing.T) {
	shard := build.Safetensors(smallHeader, make([]byte, 16))
	index := func(names ...string) []byte {
		weights := make(map[string]string)
		for i, n := range names {
			weights[string(rune('a'+i))] = n
		}
		return mustJSON(map[string]any{"metadata": map[string]int{"total_size": 16}, "weight_map": weights})
	}
	for _, tt := range []struct {
		name     string
		index    []byte
		want     []string
		complete scan.Completeness
	}{
		{"all_here", index("1.safetensors", "2.safetensors", "1.safetensors"), nil, scan.Complete},
		{"one_missing", index("1.safetensors", "3.safetensors"), nil, scan.Inconclusive},
		{"other_kind", index("1.safetensors", "x.bin"), []string{"scan.repo.shard-format"}, scan.Complete},
		{"upwards", index("1.safetensors", "../x.safetensors"), []string{"scan.repo.shard-path"}, scan.Complete},
		{"backslash", index(`..\x.safetensors`), []string{"scan.repo.shard-path"}, scan.Complete},
	} {
		res := folder(t, scan.Scanner{}, map[string][]byte{
			"m/model.safetensors.index.json": tt.index, "m/1.safetensors": shard, "m/2.safetensors": shard, "m/x.bin": build.Harmless(),
		})
		if got := byPath(res)["m/model.safetensors.index.json"]; !slices.Equal(got, tt.want) || res.Completeness() != tt.complete {
			t.Errorf("%s: %v, %s", tt.name, got, res.Completeness())
		}
	}
}

// TestPythonBesideModels finds source where loaders look for it.
func TestPythonBesideModels(t *testing.T) {
	source := []byte("import os\n")
	for _, tt := range []struct {
		name, file string
		beside     string
		want       string
	}{
		{"weights", "modeling.py", "model.safetensors", "scan.repo.python-code"},
		{"weights_above", "code/modeling.py", "model.safetensors", "scan.repo.python-code"},
		{"configuration", "modeling.py", "model_index.json", "scan.repo.python-code"},
		{"weights_below", "modeling.py", "config.json", "scan.repo.python-code"},
		{"generate", "custom_generate/generate.py", "config.json", "scan.repo.custom-generate"},
		{"generate_alone", "m/custom_generate/helper.py", "README.md", "scan.repo.custom-generate"},
		{"program", "main.py", "README.md", ""},
		{"similar_folder", "not_custom_generate/x.py", "README.md", ""},
	} {
		res := folder(t, scan.Scanner{}, map[string][]byte{tt.file: source, tt.beside: []byte("{}")})
		if got := strings.Join(byPath(res)[tt.file], " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestMLflow has descriptions of which MLflow 2.22 was seen to run what they
// name outside of the model, or joins to its folder by its source.
func TestMLflow(t *testing.T) {
	flavour := func(members string) string {
		return "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    " + members + "\n"
	}
	for text, want := range map[string][]string{
		flavour("model_path: ../.."):                                             {"scan.repo.shard-path"},
		flavour("data: /etc/x"):                                                  {"scan.repo.shard-path"},
		flavour("data: file:///etc/x"):                                           {"scan.repo.shard-path"},
		flavour("data: file:/etc/x"):                                             {"scan.repo.shard-path"},
		flavour("data: s3://bucket/x"):                                           {"scan.repo.shard-path"},
		flavour(`data: 'C:\x'`):                                                  {"scan.repo.shard-path"},
		flavour(`data: '..\x'`):                                                  {"scan.repo.shard-path"},
		flavour("data: a/../../x"):                                               {"scan.repo.shard-path"},
		flavour("data: '%2e%2e%2fx'"):                                            {"scan.repo.shard-path"},
		flavour("data: '%2Fetc'"):                                                {"scan.repo.shard-path"},
		flavour("code: ../code"):                                                 {"scan.repo.shard-path"},
		flavour("python_model: ../evil.pkl"):                                     {"scan.repo.shard-path"},
		flavour("env: ../../conda.yaml"):                                         {"scan.repo.shard-path"},
		flavour("env: {conda: /x/conda.yaml, virtualenv: python_env.yaml}"):      {"scan.repo.shard-path"},
		flavour("artifacts: {a: {path: /etc/x, uri: /tmp/x}}"):                   {"scan.repo.shard-path"},
		flavour("whatever: ../../x"):                                             {"scan.repo.shard-path"},
		"flavors: {sklearn: {pickled_model: ../x.pkl}}":                          {"scan.repo.shard-path"},
		"flavors: {pytorch: {model_data: ../data}}":                              {"scan.repo.shard-path"},
		"flavors: {pytorch: {extra_files: [{path: /etc/x}]}}":                    {"scan.repo.shard-path"},
		"flavors: {tensorflow: {saved_model_dir: /tfmodel}}":                     {"scan.repo.shard-path"},
		"flavors: {transformers: {model_binary: ../x}}":                          {"scan.repo.shard-path"},
		"flavors: {keras: {keras_module: evil, data: data}}":                     {"scan.config.imported-name"},
		"flavors: {xgboost: {model_class: evil.X, data: m.xgb}}":                 {"scan.config.imported-name"},
		"x: &m {data: ../..}\nflavors: {keras: *m}":                              {"scan.repo.shard-path"},
		"x: &m {data: ../..}\nflavors: {keras: {<<: *m}}":                        {"scan.repo.shard-path"},
		"x: &m {data: ../..}\nflavors: {keras: {<<: [{a: b}, *m]}}":              {"scan.repo.shard-path"},
		"x: &m ../..\nflavors: {keras: {data: *m}}":                              {"scan.repo.shard-path"},
		"saved_input_example_info: {artifact_path: ../x, type: dataframe}":       {"scan.repo.shard-path"},
		flavour("data: model.pkl\n    env: {conda: conda.yaml}\n    code: code"): nil,
		flavour("model_path: model\n    env: conda.yaml"):                        nil,
		flavour("artifacts: {a: {path: artifacts/x, uri: /tmp/x}}"):              nil,
		flavour("model_code_path: /home/me/agent.py"):                            nil,
		flavour("model_config: {llm: ../x, index: /data}"):                       nil,
		flavour("python_version: 3.11.7\n    predict_fn: predict"):               nil,
		"flavors: {sklearn: {pickled_model: model.pkl, code: null}}":             nil,
		"flavors: {xgboost: {model_class: xgboost.sklearn.XGBClassifier}}":       nil,
		"flavors: {keras: {keras_module: tensorflow.keras, data: data}}":         nil,
		"flavors: {transformers: {source_model_name: bert/base, task: a/b}}":     nil,
		"artifact_path: mlflow-artifacts:/1/models/m/artifacts\nrun_id: ../x":    nil,
		"metadata: {data: ../../x}\nsignature: {inputs: '[]'}":                   nil,
		"saved_input_example_info: {artifact_path: x.json, type: dataframe}":     nil,
	} {
		f := one(t, scan.Scanner{}, "m/MLmodel", []byte(text))
		if got := rules(f); !slices.Equal(got, want) || f.Completeness != scan.Complete {
			report(t, f)
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	var bomb strings.Builder
	bomb.WriteString("x0: &x0 {a: b}\n")
	for i := range 30 {
		bomb.WriteString(fmt.Sprintf("x%d: &x%d {a: *x%d, b: *x%d, <<: [*x%d, *x%d]}\n", i+1, i+1, i, i, i, i))
	}
	if f := one(t, scan.Scanner{}, "MLmodel", []byte(bomb.String()+"flavors: *x30\n")); f.Completeness == scan.Complete {
		t.Error("aliases that multiply are read to the end")
	}
	for text, want := range map[string]scan.Verdict{
		"evil": scan.Suspicious, "evil.x\n": scan.Suspicious, "os": scan.Malicious,
		"mlflow.pytorch.pickle_module": scan.Clean, "pickle": scan.Clean, "cloudpickle\n": scan.Clean,
	} {
		if f := one(t, scan.Scanner{}, "data/pickle_module_info.txt", []byte(text)); f.Verdict != want {
			report(t, f)
			t.Errorf("%q: %v, want %v", text, f.Verdict, want)
		}
	}
	if f := one(t, scan.Scanner{}, "data/keras_module.txt", []byte("tensorflow.keras")); f.Verdict != scan.Clean {
		t.Errorf("Keras: %v", f.Verdict)
	}
}

// TestSentenceTransformers has configurations of which version 3.0.1 was seen
// to import what they name; version 6 does so when remote code is trusted.
func TestSentenceTransformers(t *testing.T) {
	for _, tt := range []struct {
		file, text string
		want       []string
	}{
		{"1/config.json", `{"types": {"q": "evil.X"}}`, []string{"scan.config.custom-pipeline"}},
		{"1/router_config.json", `{"types": {"q": "evil.X"}, "structure": {}}`, []string{"scan.config.custom-pipeline"}},
		{"1/router_config.json", `{"types": {"../q": "sentence_transformers.models.Dense"}}`, []string{"scan.repo.shard-path"}},
		{"1/wordembedding_config.json", `{"tokenizer_class": "evil.X"}`, []string{"scan.config.imported-name"}},
		{"1/wordembedding_config.json", `{"tokenizer_class": "sentence_transformers.os.system"}`, []string{"scan.config.imported-name"}},
		{"modules.json", `[{"type": "sentence_transformers.util.torch", "path": "x.pt"}]`, []string{"scan.config.custom-pipeline"}},
		{"modules.json", `[{"type": "sentence_transformers.models.Dense", "path": "../x"}]`, []string{"scan.repo.shard-path"}},
		{"sentence_bert_config.json", `{"model_args": {"file_name": "../../x.onnx"}}`, []string{"scan.repo.shard-path"}},
		{"sentence_bert_config.json", `{"tokenizer_name_or_path": "/tmp/x"}`, []string{"scan.repo.shard-path"}},
		{"sentence_bert_config.json", `{"config_args": {"trust_remote_code": true}}`, []string{"scan.config.trust-remote-code"}},
		{"settings.json", `{"llm": {"object_constructor": "evil.X", "object_kwargs": {}}}`, []string{"scan.config.imported-name"}},

		{"1/config.json", `{"types": {"q": "sentence_transformers.models.Dense.Dense"}}`, nil},
		{"1/router_config.json", `{"types": {"a_0": "sentence_transformers.sparse_encoder.modules.mlm_transformer.MLMTransformer"}, "structure": {}}`, nil},
		{"config.json", `{"types": {"a": "int", "b": ["x.y"]}, "types2": 1}`, nil},
		{"data.json", `{"types": {"a": "b.c"}}`, nil},
		{"1/wordembedding_config.json", `{"tokenizer_class": "sentence_transformers.models.tokenizer.WhitespaceTokenizer.WhitespaceTokenizer"}`, nil},
		{"tokenizer_config.json", `{"tokenizer_class": "BertTokenizerFast"}`, nil},
		{"modules.json", `[{"type": "sentence_transformers.models.Transformer", "path": ""}, {"type": "pylate.models.Dense.Dense", "path": "1_Dense"}]`, nil},
		{"sentence_bert_config.json", `{"max_seq_length": 512, "do_lower_case": false, "modality_config": {"text": {"method": "forward"}}}`, nil},
		{"sentence_bert_config.json", `{"tokenizer_name_or_path": "google/bert", "model_args": {"file_name": "onnx/model.onnx"}}`, nil},
		{"settings.json", `{"llm": {"object_constructor": "llama_index.llms.openai.base.OpenAI", "object_kwargs": {}}}`, nil},
	} {
		f := one(t, scan.Scanner{}, tt.file, []byte(tt.text))
		if got := rules(f); !slices.Equal(got, tt.want) {
			report(t, f)
			t.Errorf("%s %s: %q, want %q", tt.file, tt.text, got, tt.want)
		}
	}
}

// TestJSONPickle has texts that jsonpickle 4.1 was seen to run, in safe mode
// too, and what it writes of harmless values.
func TestJSONPickle(t *testing.T) {
	for text, want := range map[string]scan.Verdict{
		`{"py/reduce": [{"py/type": "os.mkdir"}, {"py/tuple": ["x"]}]}`:                    scan.Malicious,
		`{"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": ["x"]}]}`:                scan.Malicious,
		`{"a": [{"py/object": "posix.mkdir", "py/newargsex": [["x"], {}]}]}`:               scan.Malicious,
		`{"py/repr": "os/os.mkdir('x')"}`:                                                  scan.Suspicious,
		`{"py/object": "mine.Net", "layers": 3}`:                                           scan.Suspicious,
		`{"py/object": "collections.OrderedDict", "py/reduce": []}`:                        scan.Clean,
		`{"py/type": "datetime.datetime", "py/tuple": [1]}`:                                scan.Clean,
		`{"py/object": "builtins.dict"}`:                                                   scan.Clean,
		`{"py/id": 1, "py/set": ["a"], "py/b64": "eA==", "py/tuple": ["os.mkdir"]}`:        scan.Clean,
		`{"text": "\"py/object\": \"os.mkdir\"", "object": "os.mkdir", "py": "os.system"}`: scan.Clean,
	} {
		if f := one(t, scan.Scanner{}, "model.json", []byte(text)); f.Verdict != want {
			report(t, f)
			t.Errorf("%s: %v, want %v", text, f.Verdict, want)
		}
	}
}

// A vocabulary is read without a tree, unless it holds words of a configuration.
func TestVocabulary(t *testing.T) {
	plain := `{"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"auto":1,"_map":2},"merges":["a b"]}}`
	for name, tt := range map[string]struct {
		data string
		want []string
		id   string
	}{
		"plain":       {plain, nil, "json"},
		"auto_map":    {`{"auto_map":{"AutoModel":"m.M"},"vocab":{}}`, []string{"scan.config.auto-map"}, "json"},
		"escaped":     {`{"auto\u005fmap":{"AutoModel":"m.M"}}`, []string{"scan.config.auto-map"}, "json"},
		"target":      {`{"a":[{"_target_":"os.system"}]}`, []string{"scan.config.hydra-target"}, "json"},
		"template":    {`{"some_template":"{{ x.__globals__ }}"}`, []string{"scan.template.attack"}, "json"},
		"twice":       {`{"a":0,"a":1}`, nil, "text"},
		"cut":         {plain[:40], nil, "text"},
		"jsonpickle":  {`{"py/object":"os.system"}`, []string{"scan.config.imported-name"}, "json"},
		"switch":      {`{"trust_remote_code":1}`, []string{"scan.config.trust-remote-code"}, "json"},
		"switched_by": {`{"added":{"trust_remote_code":0}}`, nil, "json"},
	} {
		f := one(t, scan.Scanner{}, "tokenizer.json", []byte(tt.data))
		var got []string
		for _, x := range f.Findings {
			got = append(got, x.Rule.ID)
		}
		if !slices.Equal(got, tt.want) || !slices.Contains(f.Formats, tt.id) {
			t.Errorf("%s: %v, %v; want %v as %s", name, f.Formats, got, tt.want, tt.id)
		}
	}
}
