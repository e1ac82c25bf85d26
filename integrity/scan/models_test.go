package scan_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
