package outfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/pipeline/report"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"first", "second"} {
		if err := outfile.Write(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
}

func TestWriteLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o755); err != nil { // a rename onto a folder fails
		t.Fatal(err)
	}
	if err := outfile.Write(path, []byte("x"), 0o644); err == nil {
		t.Fatal("a folder was replaced by a file")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v; want the folder alone", len(entries), err)
	}
	if err := outfile.Write(filepath.Join(dir, "absent", "f"), nil, 0o644); err == nil {
		t.Error("wrote into a folder that does not exist")
	}
}

func TestGateReplacesTheVerdict(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "reports")
	doc := report.Document{
		Command: "gate", Verdict: prerun.Pass,
		Source: prerun.NewSource([]prerun.Subject{{Path: "model"}}, nil, nil),
	}
	want := []string{"report.html", "report.json", "report.sarif", outfile.Verdict}
	for _, verdict := range [][]byte{[]byte("signed"), nil} {
		if err := outfile.Gate(dir, doc, verdict); err != nil {
			t.Fatal(err)
		}
		if verdict == nil {
			want = want[:3] // that of the run before is gone
		}
		if diff := cmp.Diff(want, names(t, dir)); diff != "" {
			t.Errorf("verdict %q (-want +got):\n%s", verdict, diff)
		}
	}
	doc.Facts = map[string]any{"unwritable": make(chan int)}
	if err := outfile.Gate(t.TempDir(), doc, nil); err == nil {
		t.Error("a report that cannot be rendered was written")
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
