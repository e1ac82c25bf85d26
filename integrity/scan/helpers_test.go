package scan_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/prerun/prerun/integrity/scan"
)

func TestMain(m *testing.M) {
	if runHostileChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// one scans a single file.
func one(t testing.TB, s scan.Scanner, name string, data []byte) *scan.FileResult {
	t.Helper()
	res, err := s.ScanFile(t.Context(), name, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return &res.Files[0]
}

// folder scans a tree.
func folder(t testing.TB, s scan.Scanner, files map[string][]byte) *scan.Result {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	res, err := s.Scan(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// rules lists the distinct rule ids of a file and all inside it.
func rules(top *scan.FileResult) []string {
	set := make(map[string]bool)
	for f := range top.All() {
		for _, x := range f.Findings {
			set[x.Rule.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// reasons lists the gaps of a file and all inside it.
func reasons(top *scan.FileResult) []string {
	var out []string
	for f := range top.All() {
		for _, g := range f.Gaps {
			out = append(out, g.Location.Path+": "+g.Reason)
		}
	}
	return out
}
