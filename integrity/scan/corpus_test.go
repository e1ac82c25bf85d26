package scan_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/internal/testutil"
)

// TestCorpus holds each file of picklescan's own tests against its manifest:
// the verdict, which must not depend on the file's name, and the globals that
// picklescan's tests expect, under the names that are written in the file.
func TestCorpus(t *testing.T) {
	dir := testutil.Corpus(t, "picklescan")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	type global struct {
		Module, Name string
		PeerLevel    string `json:"peer_level"`
	}
	var manifest struct {
		Files []struct {
			File, Verdict string
			Globals       []global
		}
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	// What is benign and still not clean: nothing in it can be read.
	unread := map[string]scan.Completeness{
		"benign_password_protected.zip": scan.Inconclusive,
		"bad_pytorch.pt":                scan.Inconclusive,
		"not_a_pickle.bin":              scan.Inconclusive,
	}
	count := make(map[scan.Verdict]int)
	for _, m := range manifest.Files {
		t.Run(path.Base(m.File), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(m.File)))
			if err != nil {
				t.Fatal(err)
			}
			f := one(t, scan.Scanner{}, m.File, data)
			verdict, completeness := scan.Clean, scan.Complete
			if c, ok := unread[path.Base(m.File)]; ok {
				verdict, completeness = scan.Unknown, c
			}
			switch m.Verdict {
			case "malicious": // every payload of the corpus runs on load
				verdict, completeness = scan.Malicious, f.Completeness
			case "benign":
				if n := findings(f, prerun.Medium); n > 0 {
					t.Errorf("%d findings of medium or above", n)
				}
			default:
				t.Fatalf("verdict %q", m.Verdict)
			}
			if f.Verdict != verdict || f.Completeness != completeness {
				t.Errorf("%s, %s; want %s, %s", f.Verdict, f.Completeness, verdict, completeness)
			}
			count[f.Verdict]++
			named := make(map[global]string)
			for inside := range f.All() {
				for _, g := range inside.Globals {
					named[global{Module: g.Module, Name: g.Name}] = g.Grade
				}
			}
			for _, want := range m.Globals {
				key := global{Module: want.Module, Name: want.Name}
				if want.Module == "unknown" || want.Module == "42" {
					key.Module = "" // an operand that is no string: an import of a computed name
				}
				grade, ok := named[key]
				switch {
				case !ok:
					t.Errorf("%s.%s is not among the globals %v", want.Module, want.Name, named)
				case want.PeerLevel == "dangerous" && grade != "dangerous" && key.Module != "":
					t.Errorf("%s.%s is dangerous in the corpus and %s here", want.Module, want.Name, grade)
				}
			}
			if t.Failed() {
				report(t, f)
			}
		})
	}
	if count[scan.Malicious] != 95 || count[scan.Clean] != 11 || count[scan.Unknown] != 3 {
		t.Errorf("verdicts %v; want 95 malicious, 11 clean, 3 unknown", count)
	}
}

// findings counts those of that severity or above in a file and all inside it.
func findings(top *scan.FileResult, least prerun.Severity) (n int) {
	for f := range top.All() {
		for _, x := range f.Findings {
			if x.Severity >= least {
				n++
			}
		}
	}
	return n
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
