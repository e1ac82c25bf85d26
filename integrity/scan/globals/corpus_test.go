package globals_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/testutil"
)

type entry struct {
	File    string
	Verdict string
	Globals []struct {
		Module, Name string
		PeerLevel    string `json:"peer_level"`
	}
}

// corpus calls f for every file of the corpus that is a bare pickle.
func corpus(t *testing.T, f func(t *testing.T, e entry, data []byte)) {
	root := testutil.Corpus(t, "picklescan")
	text, err := os.ReadFile(filepath.Join(root, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Files []entry }
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range manifest.Files {
		data, err := os.ReadFile(filepath.Join(root, e.File))
		if err != nil {
			t.Fatal(err)
		}
		if pickle.Sniff(data, int64(len(data))) == pickle.Unlikely {
			continue
		}
		n++
		t.Run(filepath.Base(e.File), func(t *testing.T) { f(t, e, data) })
	}
	if n < 90 {
		t.Errorf("%d bare pickles in the corpus, want 90 or more", n)
	}
}

func scan(t *testing.T, data []byte) *pickle.Trace {
	t.Helper()
	trace, err := pickle.Machine{}.Scan(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// Every dangerous global that the corpus names is found under that name, and
// at least as grave; every malicious pickle is malicious, every benign one
// yields nothing above low.
func TestCorpus(t *testing.T) {
	corpus(t, func(t *testing.T, e entry, data []byte) {
		trace := scan(t, data)
		found := globals.Policy{}.Assess(trace)
		worst := globals.Allowed
		for _, a := range found {
			worst = max(worst, a.Level)
		}
		if e.Verdict == "benign" {
			if worst > globals.Low {
				t.Errorf("benign, and graded %s: %+v", worst, found)
			}
			return
		}
		if worst != globals.Malicious {
			t.Errorf("malicious, and graded %s: %+v", worst, found)
		}
		for _, want := range e.Globals {
			if want.Module == "unknown" || want.Module == "42" {
				want.Module = "" // operands that are no strings: a dynamic import
			}
			level := globals.Allowed
			for _, a := range found {
				if a.Module == want.Module && a.Name == want.Name {
					level = max(level, a.Level)
				}
			}
			floor := globals.Allowed
			switch want.PeerLevel {
			case "dangerous":
				floor = globals.Malicious
				if want.Module == "" {
					floor = globals.Suspicious // behind the fault of a missing memo key
				}
			case "suspicious":
				floor = globals.Suspicious
			}
			if want.Module == "__builtin__" && want.Name == "dict" {
				floor = globals.Allowed // a type; what is done with it is graded by itself
			}
			if level < floor {
				t.Errorf("%s.%s is %s in the corpus and graded %s", want.Module, want.Name, want.PeerLevel, level)
			}
		}
	})
}
