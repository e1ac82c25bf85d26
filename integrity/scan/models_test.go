package scan_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
)

// A modelFile is an entry of testdata/models/MANIFEST.json. Its kind is "data"
// for a format that holds data only, "raw" for bytes that mean nothing without
// the file that refers to them, and "pickle" for what runs on load.
type modelFile struct{ Path, Kind, SHA256 string }

// TestModels scans what the real frameworks write. Ordinary models must not
// raise an alarm: data-only formats nothing above info, pickles nothing above
// low.
func TestModels(t *testing.T) {
	dir := filepath.Join("testdata", "models")
	data, err := os.ReadFile(filepath.Join(dir, "MANIFEST.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Files []modelFile }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	res, err := scan.Scanner{}.Scan(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*scan.FileResult)
	for i := range res.Files {
		if name := res.Files[i].Path; path.Dir(name) != "." {
			files[name] = &res.Files[i]
		}
	}
	for _, m := range manifest.Files {
		f := files[m.Path]
		if f == nil {
			t.Errorf("%s: not there", m.Path)
			continue
		}
		delete(files, m.Path)
		if got := f.Digest.Encoded(); got != m.SHA256 {
			t.Errorf("%s: digest %s, the manifest has %s", m.Path, got, m.SHA256)
		}
		most := prerun.Info
		if m.Kind == "pickle" {
			most = prerun.Low
		}
		bad := false
		for x := range f.All() {
			for _, finding := range x.Findings {
				bad = bad || finding.Severity > most
			}
			for _, g := range x.Globals {
				if g.Grade != "allowed" && g.Grade != "unlisted" {
					t.Errorf("%s: %s.%s is called %s, without a finding", x.Path, g.Module, g.Name, g.Grade)
				}
			}
		}
		known := len(f.Formats) > 0 && f.Completeness == scan.Complete
		if bad || !known && m.Kind != "raw" {
			report(t, f)
			t.Errorf("%s (%s): %s, %s", m.Path, m.Kind, f.Verdict, f.Completeness)
		}
	}
	for name := range files {
		t.Errorf("%s: not in the manifest", name)
	}
}

// TestModelsBudget holds the committed models to their budget.
func TestModelsBudget(t *testing.T) {
	const budget = 8 << 20
	var total int64
	err := fs.WalkDir(os.DirFS("testdata"), "models", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > budget {
		t.Errorf("the models take %d bytes, more than %d", total, budget)
	}
}

// TestOmegaConf has configurations as OmegaConf pickles them, and what becomes
// of them when a name in them is another, or a call is put in.
func TestOmegaConf(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "models", "omegaconf", "config.protocol2.pkl"))
	if err != nil {
		t.Fatal(err)
	}
	const node = "comegaconf.nodes\nAnyNode\n"
	with := func(name string) []byte { return bytes.Replace(data, []byte(node), []byte(name), 1) }
	ending := func(code string) []byte { return append(bytes.Clone(data[:len(data)-1]), code+"."...) }
	for name, tt := range map[string]struct {
		data []byte
		want scan.Verdict
	}{
		"as it is":                  {data, scan.Clean},
		"another node":              {with("comegaconf.nodes\nStringNode\n"), scan.Clean},
		"Any":                       {with("ctyping\nAny\n"), scan.Clean},
		"os.system in its place":    {with("cos\nsystem\n"), scan.Malicious},
		"through a module of it":    {with("comegaconf.base\nos.system\n"), scan.Malicious},
		"a resolver":                {with("comegaconf\nOmegaConf.register_new_resolver\n"), scan.Malicious},
		"a file":                    {with("comegaconf.omegaconf\nOmegaConf.load\n"), scan.Malicious},
		"a method":                  {with("comegaconf.dictconfig\nDictConfig._to_object\n"), scan.Suspicious},
		"a function of it":          {with("comegaconf._utils\nget_yaml_loader\n"), scan.Suspicious},
		"evaluated hints":           {with("ctyping\nget_type_hints\n"), scan.Malicious},
		"a call behind it":          {ending("0cos\nsystem\nX\x02\x00\x00\x00id\x85R"), scan.Malicious},
		"a class that it makes":     {ending("0comegaconf.dictconfig\nDictConfig\ncmine\nConfig\n\x85R"), scan.Suspicious},
		"a function as its content": {ending("0comegaconf.nodes\nAnyNode\ncmine\nf\n\x85R"), scan.Suspicious},
		"a write to the class":      {ending("0comegaconf.dictconfig\nDictConfig\n}X\x01\x00\x00\x00aX\x01\x00\x00\x00bsb"), scan.Malicious},
	} {
		if got := one(t, scan.Scanner{}, "config.pkl", tt.data); got.Verdict != tt.want {
			report(t, got)
			t.Errorf("%s: %v, want %v", name, got.Verdict, tt.want)
		}
	}
}

// TestModelsUnnamed holds recognition to content: under a number for a name a
// model is what it was, but for those that only a name makes one.
func TestModelsUnnamed(t *testing.T) {
	exceptions := []struct{ pattern, reason string }{
		{"flax/orbax/_*", "JSON like any other: restoring opens it by its name"},
		{"onnx/tensor.pb", "a few numbered fields, which many messages have"},
		{"skops/*.skops", "a zip archive with a schema.json, which is read as that of skops under any name of the archive"},
		{"tensorflow/*/fingerprint.pb", "five numbers"},
		{"transformers/*/chat_template.jinja", "a template is text: what renders it opens it by its name"},
		{"transformers/*/*/chat_template.jinja", "the same"},
	}
	used := make(map[string]bool)
	dir := filepath.Join("testdata", "models")
	var manifest struct{ Files []modelFile }
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(dir, "MANIFEST.json"))), &manifest); err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Files {
		data := must(os.ReadFile(filepath.Join(dir, filepath.FromSlash(m.Path))))
		named, bare := one(t, scan.Scanner{}, path.Base(m.Path), data), one(t, scan.Scanner{}, "12345", data)
		if slices.Equal(named.Formats, bare.Formats) {
			continue
		}
		excepted := false
		for _, e := range exceptions {
			if ok, err := path.Match(e.pattern, m.Path); err != nil {
				t.Fatal(err)
			} else if ok {
				excepted, used[e.pattern] = true, true
			}
		}
		if !excepted {
			t.Errorf("%s is %q, without its name %q", m.Path, named.Formats, bare.Formats)
		}
	}
	for _, e := range exceptions {
		if !used[e.pattern] {
			t.Errorf("%s needs no exception (%s)", e.pattern, e.reason)
		}
	}
}
