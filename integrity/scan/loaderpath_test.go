package scan_test

import (
	"slices"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
)

// TestLoaderPaths has what configurations make transformers, PEFT, diffusers
// and timm open, fetch and match, each seen to do so with the real library, and
// members that look like it and do nothing of the kind.
func TestLoaderPaths(t *testing.T) {
	const (
		outside, shard = "scan.config.outside-path", "scan.repo.shard-path"
		remote, bomb   = "scan.config.remote-repository", "scan.config.pattern-bomb"
		pipeline, name = "scan.config.custom-pipeline", "scan.config.imported-name"
	)
	for _, tt := range []struct{ name, file, text, want string }{
		// Files that tokenizers and processors open.
		{"vocabulary", "tokenizer_config.json", `{"tokenizer_class": "BertTokenizer", "vocab_file": "/etc/passwd"}`, outside},
		{"vocabulary_up", "tokenizer_config.json", `{"vocab_file": "../../secret.txt"}`, outside},
		{"vocabulary_by_special_tokens", "special_tokens_map.json", `{"vocab_file": "/etc/passwd", "unk_token": "[UNK]"}`, outside},
		{"tokenizer_file", "special_tokens_map.json", `{"tokenizer_file": "C:\\x\\tokenizer.json"}`, outside},
		{"merges", "tokenizer_config.json", `{"merges_file": "..\\merges.txt"}`, outside},
		{"positional", "tokenizer_config.json", `{"init_inputs": ["/etc/passwd"]}`, outside},
		{"versioned_tokenizer", "tokenizer_config.json", `{"fast_tokenizer_files": ["tokenizer.json", "../x/tokenizer.4.0.0.json"]}`, outside},
		{"versioned_configuration", "config.json", `{"configuration_files": ["../config.4.0.0.json"]}`, outside},
		{"inside_versioned", "config.4.0.0.json", `{"configuration_files": ["../config.4.0.0.json"]}`, outside},
		{"class_info", "preprocessor_config.json", `{"repo_path": "/home/user", "class_info_file": "info.json"}`, outside},
		{"audio_tokenizer", "processor_config.json", `{"audio_tokenizer": {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "/x"}}`, outside},
		{"voice", "speaker_embeddings_path.json", `{"v": {"semantic_prompt": "../x.npy"}}`, outside},

		{"vocabulary_here", "tokenizer_config.json", `{"vocab_file": "vocab.txt", "merges_file": null, "spm_file": "source.spm", "tokenizer_file": "sub/tokenizer.json"}`, ""},
		{"not_opened", "tokenizer_config.json", `{"special_tokens_map_file": "/root/.cache/special_tokens_map.json", "name_or_path": "/home/x/model"}`, ""},
		{"other_file", "training.json", `{"vocab_file": "/data/vocab.txt"}`, ""},
		{"positional_none", "tokenizer_config.json", `{"init_inputs": [], "fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.0.json"]}`, ""},
		{"versioned_here", "config.json", `{"configuration_files": ["config.4.0.0.json", "config.json"]}`, ""},
		{"class_info_of_hub", "preprocessor_config.json", `{"repo_path": "shi-labs/oneformer_demo", "class_info_file": "ade20k_panoptic.json"}`, ""},
		{"audio_tokenizer_of_hub", "processor_config.json", `{"audio_tokenizer": {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "descript/dac_44khz"}}`, ""},
		{"base_model", "adapter_config.json", `{"base_model_name_or_path": "/home/user/base"}`, ""},

		// Weights.
		{"weights", "config.json", `{"transformers_weights": "../../other.safetensors"}`, shard},
		{"checkpoint", "config.json", `{"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "/tmp/x.pth"}}`, shard},
		{"checkpoint_of_backbone", "config.json", `{"backbone_kwargs": {"checkpoint_path": "../x.pth"}}`, shard},
		{"local_folder", "config.json", `{"architecture": "local-dir:/tmp/x"}`, shard},
		{"index_of_variant", "model.safetensors.index.fp16.json", `{"weight_map": {"w": "../x.safetensors"}}`, shard},
		{"weights_here", "config.json", `{"transformers_weights": "model-q4.safetensors", "backbone": "resnet50", "architecture": "local-dir:parts/x", "model_args": {"depth": 3}}`, ""},
		{"slashes", "config.json", `{"architecture": "/x", "backbone": "facebook/dinov2-base"}`, ""},

		// Kernels.
		{"kernel", "config.json", `{"_attn_implementation": "other/kernel:attn"}`, remote},
		{"kernel_internal", "config.json", `{"_attn_implementation_internal": "other/kernel@main"}`, remote},
		{"kernel_of_part", "config.json", `{"text_config": {"attn_implementation": {"": "sdpa", "vision_config": "paged|other/kernel"}}}`, remote},
		{"kernel_of_experts", "config.json", `{"experts_implementation": "other/experts"}`, remote},
		{"kernel_own", "config.json", `{"attn_implementation": "flash_attention_2", "_attn_implementation": "paged|sdpa", "experts_implementation": "grouped_mm"}`, ""},

		// Modules.
		{"type_hint", "modular_model_index.json", `{"unet": [null, null, {"type_hint": ["evil", "X"]}]}`, pipeline},
		{"type_hint_own", "modular_model_index.json", `{"unet": [null, null, {"type_hint": ["diffusers", "UNet2DConditionModel"]}], "x": [null, null], "y": [null, null, {"type_hint": null}]}`, ""},
		{"parent", "adapter_config.json", `{"auto_mapping": {"parent_library": "evil", "base_model_class": "X"}}`, name},
		{"parent_own", "adapter_config.json", `{"auto_mapping": {"parent_library": "transformers"}, "a": {"parent_library": "timm"}, "b": {"parent_library": "__main__"}, "c": {"parent_library": null}}`, ""},

		// Patterns.
		{"pattern", "adapter_config.json", `{"target_modules": "(([a-z.0-9]+)+)+!"}`, bomb},
		{"pattern_branch", "adapter_config.json", `{"exclude_modules": "x(?:a|\\w*){2,}y"}`, bomb},
		{"pattern_plain", "adapter_config.json", `{"target_modules": ".*(self_attn|mlp).*\\.(q_proj|v_proj)$", "exclude_modules": "model(\\.layers\\.\\d+)*", "layers_pattern": "^(?!.*visual).*(?:[\\]+(*]+)"}`, ""},
		{"pattern_bounded", "adapter_config.json", `{"target_modules": "(a+){2}(b{1,3})+(c+)?\\(d+\\)+"}`, ""},
		{"pattern_list", "adapter_config.json", `{"target_modules": ["q_proj", "(a+)+"]}`, ""},
	} {
		res := folder(t, scan.Scanner{}, map[string][]byte{"m/" + tt.file: []byte(tt.text)})
		got := byPath(res)["m/"+tt.file]
		if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}
