package integrity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/testutil"
)

// A fixture is a model of the Python tool's own tests, made by code.
type fixture struct {
	golden string // the name of its golden files
	model  string // the name of its subject
	file   string // of a single-file model
	fsys   fs.FS
}

func fixtures(t *testing.T) []fixture {
	t.Helper()
	const simple = "This is a simple model"
	sample := map[string]string{}
	for _, name := range []string{"d0/f00", "d0/f01", "d0/f02", "d1/f10", "d1/f11", "d1/f12", "f0", "f1", "f2", "f3"} {
		folder, file, nested := strings.Cut(name, "/")
		if !nested {
			folder, file = "root", folder
		}
		sample[name] = fmt.Sprintf("This is file %s in %s.", file, folder)
	}
	deep := map[string]string{}
	for _, file := range []string{"f0", "f1", "f2", "f3"} {
		deep["d0/d1/d2/d3/d4/"+file] = fmt.Sprintf("This is file %s.", file)
	}
	tree := func(files map[string]string) fs.FS {
		_, fsys := writeTree(t, files)
		return fsys
	}
	outside, _ := writeTree(t, map[string]string{"target": simple})
	linked := t.TempDir()
	symlink(t, filepath.Join(outside, "target"), linked, "symlink_file")
	return []fixture{
		{"sample_model_folder", "sample_model", "", tree(sample)},
		{"deep_model_folder", "deep_model", "", tree(deep)},
		{"sample_model_file", "file_model", "file_model", tree(map[string]string{"file_model": simple})},
		{"empty_model_file", "empty_file_model", "empty_file_model", tree(map[string]string{"empty_file_model": ""})},
		{"empty_model_folder", "empty_folder_model", "", tree(nil)},
		{"model_folder_with_empty_file", "empty_file_inside_model", "", tree(map[string]string{"empty_file": ""})},
		{"symlink_model_folder", "symlink_model", "", os.DirFS(linked)},
	}
}

var goldenKinds = []struct {
	suffix, listing string
	shard           int64
}{
	{"", "file", 0},
	{"_shard", "file_shard", integrity.DefaultShardSize},
	{"_small_shards", "file_shard", 8},
}

// pythonOrder sorts by path component, then by number.
func pythonOrder(m *integrity.Manifest) {
	slices.SortStableFunc(m.Resources, func(a, b integrity.Resource) int {
		if c := slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/")); c != 0 {
			return c
		}
		return int(a.Start - b.Start)
	})
}

// TestGoldenStatements reproduces the statements of the Python tool as JSON
// values. Seven of them are of models without content, which may not be signed.
func TestGoldenStatements(t *testing.T) {
	testutil.Corpus(t, "oms") // without it the whole test skips
	empty := 0
	for _, f := range fixtures(t) {
		for _, kind := range goldenKinds {
			t.Run(f.golden+kind.suffix, func(t *testing.T) {
				golden, err := os.ReadFile(testutil.Corpus(t, "oms", "golden", "statements", f.golden+kind.suffix))
				if err != nil {
					t.Fatal(err)
				}
				m, err := f.hash(t, kind.shard)
				if errors.Is(err, integrity.ErrEmpty) {
					empty++
					if _, err := integrity.ParseStatement(golden, false, false); !errors.Is(err, integrity.ErrStatement) {
						t.Errorf("an empty model: %v, want %v", err, integrity.ErrStatement)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				m.Ignore = nil // the goldens record none
				root := m.PythonRoot()
				pythonOrder(m)
				if m.Root() != root {
					t.Errorf("root in Python's order is %s, PythonRoot says %s", m.Root(), root)
				}
				ours, err := integrity.Signing{Name: f.model, Form: integrity.FormPython}.Statement(m)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(jsonValue(t, golden), jsonValue(t, ours)); diff != "" {
					t.Errorf("(-golden +ours):\n%s", diff)
				}
				parsed, err := integrity.ParseStatement(golden, false, false)
				if err != nil {
					t.Fatal(err)
				}
				if f.file != "" {
					for i := range m.Resources {
						m.Resources[i].Path = "."
					}
				}
				if diff := cmp.Diff(m, parsed); diff != "" {
					t.Errorf("parsed golden (-want +got):\n%s", diff)
				}
			})
		}
	}
	if !t.Failed() && empty != 7 {
		t.Errorf("%d models without content, want 7", empty)
	}
}

func (f fixture) hash(t *testing.T, shard int64) (*integrity.Manifest, error) {
	t.Helper()
	h := integrity.Hasher{ShardSize: shard, AllowSymlinks: true, InsecureExternalSymlinks: true}
	if f.file != "" {
		return h.HashFile(t.Context(), f.fsys, f.file)
	}
	return h.Hash(t.Context(), f.fsys)
}

func jsonValue(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGoldenListings reproduces the hash listings of the Python tool.
func TestGoldenListings(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, kind := range goldenKinds {
			name := f.golden
			if kind.shard == 8 {
				name += kind.suffix
			}
			t.Run(kind.listing+"/"+name, func(t *testing.T) {
				golden, err := os.ReadFile(testutil.Corpus(t, "oms", "golden", "serializer", kind.listing, name))
				if err != nil {
					t.Fatal(err)
				}
				var ours []string
				m, err := f.hash(t, kind.shard)
				switch {
				case errors.Is(err, integrity.ErrEmpty):
					m = &integrity.Manifest{}
				case err != nil:
					t.Fatal(err)
				}
				pythonOrder(m)
				for _, r := range m.Resources {
					if f.file != "" {
						r.Path = "."
					}
					ours = append(ours, r.Name()+":"+digestx.Hex(r.Digest))
				}
				if diff := cmp.Diff(strings.Fields(string(golden)), ours, cmp.Transformer("nil", func(s []string) string {
					return strings.Join(s, "\n")
				})); diff != "" {
					t.Errorf("(-golden +ours):\n%s", diff)
				}
			})
		}
	}
}

// TestRoots holds the roots that the format's description states.
func TestRoots(t *testing.T) {
	want := map[string][3]string{ // whole files; shards of 8 in Python's order; in the specification's
		"sample_model": {
			"143cc682e555951649f18e2761c3d526d2502996f5e32dc187ef7f8a614f8df7",
			"2139af57fd2a4f324ac7cd0fc04898cce73d0871b363c8eb3fc07ab7da4c8445",
			"989f516c0443d9323aa23a81e5734f9e5a13d9f56cb9422efd4780caeeaaf3d1",
		},
		"deep_model": {
			"18b5a45fe7983f7194e8ffd96c80f5f0ec53191bf4a32b6aff293f043e816d7a",
			"fe81b684c60474cea9b27ba1de9993e54bb19806664613758aa4d335ee398497",
			"fe81b684c60474cea9b27ba1de9993e54bb19806664613758aa4d335ee398497",
		},
		"file_model": {
			"002d162f867c5eee944e5080d25829b6625be0e3f081f6fbafc7dd655ca2e178",
			"57d54248751a51781ac2bed647670df0c45d3926e337021585c34a82384b6573",
			"669c9f7a33cce0dc93eb486b52a21744fe0214133d2e4e45c9158502816f5731",
		},
	}
	for _, f := range fixtures(t) {
		roots, ok := want[f.model]
		if !ok {
			continue
		}
		files, err := f.hash(t, 0)
		if err != nil {
			t.Fatal(err)
		}
		shards, err := f.hash(t, 8)
		if err != nil {
			t.Fatal(err)
		}
		got := [3]string{digestx.Hex(files.Root()), digestx.Hex(shards.PythonRoot()), digestx.Hex(shards.Root())}
		if diff := cmp.Diff(roots, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.model, diff)
		}
	}
}

// TestRootOrder is the example where the two orders disagree on whole files.
func TestRootOrder(t *testing.T) {
	_, fsys := writeTree(t, map[string]string{"onnx-int8.bin": "B", "onnx/model.onnx": "A"})
	m := mustHash(t, integrity.Hasher{}, fsys)
	if got, want := digestx.Hex(m.Root()), "f6d120611fbd704685a217bc41c0779e290ab256e2140d3ef7686a84cb263779"; got != want {
		t.Errorf("root %s, want %s", got, want)
	}
	if got, want := digestx.Hex(m.PythonRoot()), "63956f0ce48edc48a0d528cb0b5d58e4d625afb14d63ca1bb9950eb657d61f40"; got != want {
		t.Errorf("Python root %s, want %s", got, want)
	}
}
