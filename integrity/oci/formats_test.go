package oci_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/oci"
)

const (
	kitConfig    = "application/vnd.kitops.modelkit.config.v1+json"
	kitLayer     = "application/vnd.kitops.modelkit."
	dockerConfig = "application/vnd.docker.ai.model.config.v0.1+json"
	imageConfig  = "application/vnd.docker.container.image.v1+json"
	ollamaLayer  = "application/vnd.ollama.image."
)

var formats = []struct {
	name, format string
	image        image
	want         []string // names of the layers
}{
	{
		"modelpack", oci.FormatModelPack,
		build(modelPackConfig, "{}",
			layer{rawWeight, "1", map[string]string{"org.cncf.model.filepath": "w/a.safetensors", "org.opencontainers.image.title": "a.safetensors"}},
			layer{"application/vnd.cncf.model.weight.v1.gguf", "2", titled("b.gguf")},
			layer{"application/vnd.cncf.model.code.v1.tar+gzip", "3", pathed("src")},
			layer{"application/vnd.cncf.model.doc.v1.tar+zstd", "4", pathed("docs.tar.zst")}),
		[]string{"w/a.safetensors", "b.gguf", "src.tar.gz", "docs.tar.zst"},
	},
	{
		"kitops_by_digest", oci.FormatKitOps,
		build(kitConfig, `{"manifestVersion":"1","model":{"name":"m","path":"./model","digest":"`+sum([]byte("1"))+`","parts":[{"path":"lora","digest":"`+sum([]byte("2"))+
			`"}]},"docs":[{"path":"README.md","digest":"`+sum([]byte("4"))+`"},{"path":"docs/","digest":"`+sum([]byte("3"))+`"}]}`,
			layer{kitLayer + "model.v1.tar+gzip", "1", nil},
			layer{kitLayer + "modelpart.v1.tar", "2", nil},
			layer{kitLayer + "docs.v1.tar", "3", nil},
			layer{kitLayer + "docs.v1.tar", "4", nil}),
		[]string{"model.tar.gz", "lora.tar", "docs.tar", "README.md.tar"},
	},
	{
		"kitops_by_order", oci.FormatKitOps,
		build(kitConfig, `{"model":{"path":"model.gguf"},"code":[{"path":"."}],"datasets":[{"path":"data/a"},{"path":"data/b"}],"prompts":[{"path":"p.md"}]}`,
			layer{kitLayer + "model.v1.tar", "1", nil},
			layer{kitLayer + "code.v1.tar+zstd", "2", nil},
			layer{kitLayer + "dataset.v1.tar", "3", nil},
			layer{kitLayer + "dataset.v1.tar", "4", nil},
			layer{kitLayer + "dataset.v1.tar", "5", nil},
			layer{kitLayer + "prompt.v1.tar", "6", nil}),
		[]string{"model.gguf.tar", "code.tar.zst", "data/a.tar", "data/b.tar", "", "p.md.tar"},
	},
	{
		"docker", oci.FormatDocker,
		build(dockerConfig, "{}",
			layer{"application/vnd.docker.ai.gguf.v3", "1", nil},
			layer{"application/vnd.docker.ai.license", "2", nil},
			layer{"application/vnd.docker.ai.license", "3", nil},
			layer{"application/vnd.docker.ai.chat.template.jinja", "4", nil},
			layer{"application/vnd.docker.ai.vllm.config.tar", "5", nil},
			layer{"application/vnd.docker.ai.model.file", "6", pathed("tokenizer.json")},
			layer{"application/vnd.docker.ai.model.file", "7", nil}),
		[]string{"model.gguf", "LICENSE-1", "LICENSE-2", "template.jinja", "vllm-config.tar", "tokenizer.json", ""},
	},
	{
		"ollama", oci.FormatOllama,
		build(imageConfig, "{}",
			layer{ollamaLayer + "model", "1", nil},
			layer{ollamaLayer + "template", "2", nil},
			layer{ollamaLayer + "license", "3", nil},
			layer{ollamaLayer + "license", "4", nil},
			layer{ollamaLayer + "tensor; name=blk.0; dtype=F16; shape=2", "5", nil},
			layer{ollamaLayer + "novelty", "6", nil}),
		[]string{"model", "template", "license-1", "license-2", "tensor/blk.0", ""},
	},
	{
		"artifact", oci.FormatArtifact,
		build("application/vnd.oci.empty.v1+json", "{}",
			layer{"application/octet-stream", "1", titled("weights.bin")},
			layer{"application/vnd.oci.image.layer.v1.tar+gzip", "2", titled("folder")},
			layer{"application/vnd.oci.image.layer.v1.tar+gzip", "3", nil}),
		[]string{"weights.bin", "folder.tar.gz", ""},
	},
}

func TestFormats(t *testing.T) {
	for _, tt := range formats {
		t.Run(tt.name, func(t *testing.T) {
			store := newMemory()
			store.add("v1", tt.image)
			img := resolve(t, store, "v1")
			var got []string
			for _, l := range img.Layers {
				got = append(got, l.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || img.Format != tt.format {
				t.Errorf("format %s (-want +got):\n%s", img.Format, diff)
			}
		})
	}
}

// Ollama states the names of tensors beside the digest.
func TestOllamaNames(t *testing.T) {
	img := build(imageConfig, "{}", layer{ollamaLayer + "json", "{}", nil})
	img.manifest = bytes.Replace(img.manifest, []byte(`"layers":[{`), []byte(`"layers":[{"name":"text_encoder/config.json",`), 1)
	store := newMemory()
	store.add("v1", img)
	if got := resolve(t, store, "v1").Layers[0].Name; got != "text_encoder/config.json" {
		t.Errorf("got %q", got)
	}
}

// The config of a KitOps image names the layers, so it is held to its digest.
func TestKitfileExchanged(t *testing.T) {
	img := build(kitConfig, `{"model":{"path":"a"}}`, layer{kitLayer + "model.v1.tar", "1", nil})
	store := newMemory()
	store.add("v1", img)
	for d, content := range store.blobs {
		if bytes.HasPrefix(content, []byte(`{"model":`)) {
			store.blobs[d] = []byte(`{"model":{"path":"b"}}`)
		}
	}
	if _, err := (oci.Reader{}).Image(t.Context(), store, "v1"); !oci.Rejected(err) {
		t.Error(err)
	}
}
