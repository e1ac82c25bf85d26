package oci

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// Formats of model images, as [Image.Format] names them.
const (
	FormatModelPack = "modelpack" // CNCF ModelPack
	FormatKitOps    = "kitops"    // ModelKit
	FormatDocker    = "docker"    // Docker Model Runner
	FormatOllama    = "ollama"
	FormatArtifact  = "artifact" // anything else whose layers carry titles
)

const (
	titleAnnotation    = "org.opencontainers.image.title"
	filepathAnnotation = "org.cncf.model.filepath"

	kitopsConfig = "application/vnd.kitops.modelkit.config.v1+json"
	kitopsLayer  = "application/vnd.kitops.modelkit."
	ollamaLayer  = "application/vnd.ollama.image."
	dockerLayer  = "application/vnd.docker.ai."
)

const maxName = 4096 // bytes of a layer's name

func formatOf(m *wireManifest) string {
	config := m.Config.MediaType
	switch {
	case strings.HasPrefix(config, "application/vnd.cncf.model.config."):
		return FormatModelPack
	case config == kitopsConfig:
		return FormatKitOps
	case strings.HasPrefix(config, "application/vnd.docker.ai.model.config."):
		return FormatDocker
	}
	for _, l := range m.Layers {
		if strings.HasPrefix(l.MediaType, ollamaLayer) {
			return FormatOllama
		}
	}
	return FormatArtifact
}

// nameLayers gives each layer the name of the file that it is: the annotation
// for it where there is one, else what the format's own tools go by. A layer
// may remain without a name.
func nameLayers(img *Image, wire []wireDescriptor, kit *kitfile) error {
	roles := make(map[string]int) // layers of each role
	for _, l := range img.Layers {
		roles[roleOf(img.Format, l.MediaType)]++
	}
	seen := make(map[string]int)
	for i := range img.Layers {
		l := &img.Layers[i]
		role := roleOf(img.Format, l.MediaType)
		nth := seen[role]
		seen[role]++
		name, err := annotatedName(l.Annotations)
		if err != nil {
			return &Error{Kind: ErrName, Reference: img.Reference, Digest: l.Digest, Err: err}
		}
		switch {
		case name != "":
		case img.Format == FormatKitOps:
			name = kit.name(role, nth, l.Digest.String())
		case img.Format == FormatOllama:
			if name = wire[i].Name; name == "" {
				name = ollamaName(l.MediaType, role, nth, roles[role])
			}
		case img.Format == FormatDocker && role != "":
			name = numbered(dockerName(role), nth, roles[role])
		}
		if name == "" {
			continue
		}
		ext := archiveExt(l.MediaType)
		l.Archive = ext != ""
		if l.Archive && !isArchiveName(name) {
			if name = path.Clean(name); name == "." { // the whole working folder
				name = role
			}
			name += ext
		}
		if err := checkName(name); err != nil {
			return &Error{Kind: ErrName, Reference: img.Reference, Digest: l.Digest, Err: err}
		}
		l.Name = name
	}
	return checkNames(img)
}

// annotatedName reads the annotations that state a file name. Where both do,
// they must agree: tools differ in which one they follow.
func annotatedName(annotations map[string]string) (string, error) {
	title, filepath := annotations[titleAnnotation], annotations[filepathAnnotation]
	switch {
	case filepath == "":
		return title, nil
	case title != "" && title != filepath && title != path.Base(filepath):
		return "", fmt.Errorf("called %q and %q", filepath, title)
	}
	return filepath, nil
}

// checkName accepts a name that is the same file on every system: relative,
// clean, within the model, and without what a terminal or Windows would read
// differently.
func checkName(name string) error {
	switch {
	case len(name) > maxName || strings.Count(name, "/") > limits.MaxTreeDepth:
		return fmt.Errorf("a name of %d bytes in %d folders", len(name), strings.Count(name, "/"))
	case name == "." || !fs.ValidPath(name):
		return fmt.Errorf("%q is not a clean relative path", name)
	case strings.ContainsRune(name, '\\') || len(name) > 1 && name[1] == ':':
		return fmt.Errorf("%q is another path on Windows", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q holds a control character", name)
	}
	return nil
}

// checkNames refuses names that cannot all be files of one folder.
func checkNames(img *Image) error {
	byName := make(map[string]Layer, len(img.Layers))
	bad := func(l Layer, format string, args ...any) error {
		return &Error{Kind: ErrName, Reference: img.Reference, Digest: l.Digest, Detail: fmt.Sprintf(format, args...)}
	}
	for _, l := range img.Layers {
		if l.Name == "" {
			continue
		}
		if other, ok := byName[l.Name]; ok {
			return bad(l, "%q is the name of %s too", l.Name, other.Digest)
		}
		byName[l.Name] = l
	}
	for _, l := range img.Layers {
		if l.Name == "" {
			continue
		}
		for dir := path.Dir(l.Name); dir != "."; dir = path.Dir(dir) {
			if other, ok := byName[dir]; ok {
				return bad(l, "%q lies below %q, the file %s", l.Name, dir, other.Digest)
			}
		}
	}
	return nil
}

// roleOf is what a layer is for, by its media type; "" when unknown.
func roleOf(format, mediaType string) string {
	base, _, _ := strings.Cut(mediaType, ";")
	base = strings.TrimSpace(base)
	switch format {
	case FormatKitOps:
		role, ok := strings.CutPrefix(base, kitopsLayer)
		role, _, _ = strings.Cut(role, ".")
		if ok {
			return role
		}
	case FormatOllama:
		if role, ok := strings.CutPrefix(base, ollamaLayer); ok {
			return role
		}
	case FormatDocker:
		if role, ok := strings.CutPrefix(base, dockerLayer); ok {
			return role
		}
	}
	return ""
}

// dockerName is the file that Docker Model Runner makes of a layer of a role.
func dockerName(role string) string {
	switch role {
	case "gguf.v3":
		return "model.gguf"
	case "safetensors":
		return "model.safetensors"
	case "dduf":
		return "model.dduf"
	case "mmproj":
		return "model.mmproj"
	case "license":
		return "LICENSE"
	case "chat.template.jinja":
		return "template.jinja"
	case "vllm.config.tar":
		return "vllm-config"
	}
	return "" // model.file and dir.tar carry their path
}

// ollamaName is a name for a layer that has none: its role, since Ollama keeps
// layers by role. Tensors and configs name themselves in their media type.
func ollamaName(mediaType, role string, nth, of int) string {
	if _, params, err := mime.ParseMediaType(mediaType); err == nil && params["name"] != "" {
		return role + "/" + params["name"]
	}
	switch role {
	case "model", "adapter", "projector", "template", "prompt", "system", "params", "messages", "license", "embed":
		return numbered(role, nth, of)
	}
	return ""
}

// numbered tells several layers of one role apart by their order.
func numbered(name string, nth, of int) string {
	if name == "" || of == 1 {
		return name
	}
	stem, ext := name, path.Ext(name)
	stem = strings.TrimSuffix(stem, ext)
	return stem + "-" + strconv.Itoa(nth+1) + ext
}

// archiveExt is the file name suffix of a layer that holds several files.
func archiveExt(mediaType string) string {
	base, _, _ := strings.Cut(mediaType, ";")
	for suffix, ext := range map[string]string{
		".tar": ".tar", ".tar+gzip": ".tar.gz", ".tar.gzip": ".tar.gz", ".tar+zstd": ".tar.zst", ".tar.zstd": ".tar.zst",
	} {
		if strings.HasSuffix(strings.TrimSpace(base), suffix) {
			return ext
		}
	}
	return ""
}

func isArchiveName(name string) bool {
	for _, ext := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return false
}

// A kitfile is the config of a KitOps image: it names the layers.
type kitfile struct {
	Model *struct {
		kitEntry
		Parts []kitEntry `json:"parts"`
	} `json:"model"`
	Code     []kitEntry `json:"code"`
	Datasets []kitEntry `json:"datasets"`
	Docs     []kitEntry `json:"docs"`
	Prompts  []kitEntry `json:"prompts"`
}

type kitEntry struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
}

func parseKitfile(data []byte) (*kitfile, error) {
	k := new(kitfile)
	_, err := strictjson.Unmarshal(data, k, strictjson.Options{AllowUnknown: true})
	return k, err
}

// name finds the nth layer of a role in the Kitfile: by digest where the file
// states digests, else by order, as KitOps does.
func (k *kitfile) name(role string, nth int, digest string) string {
	var entries []kitEntry
	switch role {
	case "model":
		if k.Model != nil {
			entries = []kitEntry{k.Model.kitEntry}
		}
	case "modelpart":
		if k.Model != nil {
			entries = k.Model.Parts
		}
	case "code":
		entries = k.Code
	case "dataset":
		entries = k.Datasets
	case "docs":
		entries = k.Docs
	case "prompt":
		entries = k.Prompts
	}
	if nth < len(entries) && (entries[nth].Digest == "" || entries[nth].Digest == digest) {
		return cleanKitPath(entries[nth].Path)
	}
	for _, e := range entries {
		if e.Digest == digest {
			return cleanKitPath(e.Path)
		}
	}
	return ""
}

// cleanKitPath undoes the ways in which people write a path by hand. What leads
// out of the model stays, and is refused with the other names.
func cleanKitPath(p string) string {
	if p == "" {
		return "."
	}
	return path.Clean(p)
}

// blobName is where an OCI layout keeps a blob, and the name by which a signed
// manifest lists the image itself.
func blobName(hexDigest string) string { return "blobs/sha256/" + hexDigest }

// checkHex guards against a digest that is a path.
func checkHex(s string) error {
	if raw, err := hex.DecodeString(s); err != nil || len(raw) != 32 || strings.ToLower(s) != s {
		return errors.New("not a digest by " + integrity.SHA256)
	}
	return nil
}
