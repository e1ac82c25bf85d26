package scan_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/technique"
	"github.com/prerun/prerun/internal/pickle/evade"
	"github.com/prerun/prerun/internal/testutil"
)

// Whatever a real CPython executes is suspicious here, and malicious where what
// it calls is denied. The files are harmless; TECHNIQUES.md has what each
// version of CPython makes of those of one technique.
func TestWhatRunsIsFound(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine builds and scans; it runs without the race detector")
	}
	python := os.Getenv("PRERUN_PYTHON")
	if python == "" {
		var err error
		if python, err = exec.LookPath("python3"); err != nil {
			testutil.Missing(t, "python3", "install CPython 3.6 or newer, or name one in PRERUN_PYTHON")
		}
	}
	dir := t.TempDir()
	entries := make(map[string]technique.Entry)
	harmless, denied := make(map[string]*evade.Draft), make(map[string]*evade.Draft)
	var list []technique.Entry
	made, pairs := 0, 3 // of so many one; run.py runs them all
	if testing.Short() {
		pairs = 20
	}
	for e, d := range technique.Make(technique.Harmless(), true) {
		if len(e.Techniques) == 2 && e.Containers > 0 {
			continue // what is wrapped runs as it does when it is not
		}
		if made++; len(e.Techniques) == 2 && made%pairs != 0 {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(e.File))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, d.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		entries[e.File], harmless[e.File] = e, d
		list = append(list, e)
	}
	for e, d := range technique.Make(technique.Denied(), true) {
		denied[e.File] = d
	}
	text, err := json.Marshal(map[string]any{"Files": list})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-I", filepath.Join("testdata", "oracle", "run.py"), "run", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, stderr.String())
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Scan()
	version := lines.Text()
	read, ran := 0, 0
	for lines.Scan() {
		file, loaders, _ := strings.Cut(lines.Text(), "\t")
		read++
		if loaders == "" {
			continue
		}
		ran++
		e, ok := entries[file]
		if !ok {
			t.Fatalf("%s: no such file was written", file)
		}
		if got := one(t, scan.Scanner{NoDigests: true}, harmless[file].Name, harmless[file].Data).Verdict; got < scan.Suspicious {
			t.Errorf("%s: %s, but %s runs it by %s", file, got, version, loaders)
		}
		// Dormant pickles run only where a loader starts in the middle.
		if got := one(t, scan.Scanner{NoDigests: true}, denied[file].Name, denied[file].Data).Verdict; got < scan.Malicious && !(e.Dormant && loaders == "m") {
			t.Errorf("%s: %s with a denied call, but %s runs it by %s", file, got, version, loaders)
		}
	}
	if read != len(entries) || ran < read/2 {
		t.Errorf("%s read %d of %d files and ran %d", version, read, len(entries), ran)
	}
	t.Logf("%s runs %d of %d files", version, ran, read)
}
