package scan

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// An Entry is one name of a [Tree].
type Entry struct {
	Name string // raw, slash-separated, relative to the root of the tree
	Size int64
	Mode fs.FileMode // type bits
}

// A Tree is the names around an artefact: those of the scanned folder, or of
// the container that holds it. It answers without touching any file, and a nil
// tree is empty.
type Tree struct {
	byName  map[string]Entry
	byDir   map[string][]Entry // sorted by name
	weights map[string]bool    // folders that hold a model file or its configuration

	log *treeLog // nil unless somebody wants to know what is asked
}

// NewTree makes a tree of entries. Of equal names the last one counts, as for
// most readers of archives.
func NewTree(entries []Entry) *Tree {
	t := &Tree{
		byName:  make(map[string]Entry, len(entries)),
		byDir:   make(map[string][]Entry),
		weights: make(map[string]bool),
	}
	for _, e := range entries {
		e.Name = strings.TrimSuffix(e.Name, "/")
		t.byName[e.Name] = e
	}
	for name, e := range t.byName {
		dir := path.Dir(name)
		t.byDir[dir] = append(t.byDir[dir], e)
		if (weightsExtension(path.Ext(name)) || modelConfig(path.Base(name))) && !e.Mode.IsDir() {
			t.weights[dir] = true
		}
	}
	for _, list := range t.byDir {
		slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	}
	return t
}

// Lookup finds a name exactly as it stands in the tree.
func (t *Tree) Lookup(name string) (Entry, bool) {
	if t == nil {
		return Entry{}, false
	}
	t.note(askLookup, name)
	e, ok := t.byName[name]
	return e, ok
}

// Dir lists what lies directly in a folder, "." for the root, by name. The
// slice must not be changed.
func (t *Tree) Dir(dir string) []Entry {
	if t == nil {
		return nil
	}
	t.note(askDir, dir)
	return t.byDir[dir]
}

// besideWeights reports whether a folder, or one above it, holds a model file or
// a model's configuration.
func (t *Tree) besideWeights(dir string) bool {
	if t == nil {
		return false
	}
	t.note(askWeights, dir)
	for range maxParents {
		if t.weights[dir] {
			return true
		}
		if dir == "." || dir == "/" {
			break
		}
		dir = path.Dir(dir)
	}
	return false
}

// maxParents bounds the climb from a name that the attacker wrote.
const maxParents = 64

// modelConfig reports the configurations that lie at the top of a model whose
// weights may be in folders below.
func modelConfig(base string) bool {
	switch base {
	case "config.json", "model_index.json", "modules.json", "tokenizer_config.json", "adapter_config.json",
		"generation_config.json", "preprocessor_config.json", "processor_config.json":
		return true
	}
	return false
}

// weightsExtension reports whether files with that extension hold parameters.
func weightsExtension(ext string) bool {
	switch strings.ToLower(ext) {
	case ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5",
		".keras", ".onnx", ".gguf", ".ggml", ".pb", ".tflite", ".npz", ".msgpack", ".pdparams", ".nemo", ".mlmodel":
		return true
	}
	return false
}

// loadable reports whether some framework opens files with that extension as a
// model, or as a container of models.
func loadable(ext string) bool {
	if weightsExtension(ext) {
		return true
	}
	switch ext {
	case ".dill", ".npy", ".pdmodel", ".pdiparams", ".params", ".t7", ".mar",
		".rds", ".rda", ".rdata", ".ubj", ".cbm", ".pte", ".ptd", ".bpte", ".ptl", ".engine", ".plan", ".rknn", ".cntk",
		".skops", ".pmml", ".zip", ".tar", ".tgz", ".7z", ".rar", ".gz", ".xz", ".bz2", ".lzma", ".zst", ".lz4", ".z":
		return true
	}
	return false
}
