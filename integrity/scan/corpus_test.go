package scan_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/internal/testutil"
)

// TestCorpus runs the files of picklescan's own tests. Its manifest says which
// are malicious; what we say must not depend on their names.
func TestCorpus(t *testing.T) {
	dir := testutil.Corpus(t, "picklescan")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Files []struct {
			File, Verdict string
		}
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	res, err := scan.Scanner{}.Scan(t.Context(), root.FS())
	if err != nil {
		t.Fatal(err)
	}
	byPath := make(map[string]*scan.FileResult)
	for i := range res.Files {
		byPath[res.Files[i].Path] = &res.Files[i]
	}
	malicious, grave, clean := 0, 0, 0
	for _, m := range manifest.Files {
		f := byPath[m.File]
		if f == nil {
			t.Errorf("%s: no result", m.File)
			continue
		}
		if m.Verdict == "malicious" {
			malicious++
			if f.Verdict == scan.Malicious {
				grave++
			} else {
				t.Logf("%s: %s, %s", m.File, f.Verdict, f.Completeness)
			}
			if f.Verdict < scan.Suspicious {
				report(t, f)
				t.Errorf("%s: %s", m.File, f.Verdict)
			}
			continue
		}
		if f.Verdict >= scan.Suspicious {
			report(t, f)
			t.Errorf("%s: %s", m.File, f.Verdict)
		}
		if f.Verdict == scan.Clean && f.Completeness == scan.Complete {
			clean++
		} else {
			t.Logf("%s: %s, %s %v", m.File, f.Verdict, f.Completeness, f.Gaps)
		}
	}
	if malicious != 95 || grave != 95 || clean != 11 {
		t.Errorf("%d of %d malicious files are called malicious, %d benign ones clean; want 95 of 95 and 11", grave, malicious, clean)
	}
}

func report(t *testing.T, top *scan.FileResult) {
	t.Helper()
	for f := range top.All() {
		t.Logf("%s: %s %s %v %v", f.Path, f.Verdict, f.Completeness, f.Formats, f.Facts)
		for _, x := range f.Findings {
			t.Logf("   %s %s @%d: %s", x.Severity, x.Rule.ID, x.Locations[0].Offset, x.Message)
		}
		for _, x := range f.Gaps {
			t.Logf("   gap @%d: %s", x.Location.Offset, x.Reason)
		}
	}
}

var _ prerun.Source = (*scan.Result)(nil)
