package scan_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
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
	if scanned.Add(1) <= 2000 { // the pairs of techniques are ten times as many
		encodes(t, res)
	}
	return &res.Files[0]
}

var scanned atomic.Int64

// encodes holds a result to what is true for every one: it is read back from
// its encoding as it was.
func encodes(t testing.TB, res *scan.Result) []byte {
	t.Helper()
	data, err := res.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := scan.ParseResult(data)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, data)
	}
	same := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s read back (-want +got):\n%s", name, cmp.Diff(a, b))
		}
	}
	same("subjects", slices.Collect(res.Subjects()), slices.Collect(again.Subjects()))
	same("findings", slices.Collect(res.Findings()), slices.Collect(again.Findings()))
	same("gaps", slices.Collect(res.Gaps()), slices.Collect(again.Gaps()))
	same("globals", res.Globals, again.Globals)
	same("verdict", res.Verdict(), again.Verdict())
	return data
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
	encodes(t, res)
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

// judge holds a file against what it must come to.
func judge(t *testing.T, f *scan.FileResult, verdict scan.Verdict, complete scan.Completeness, want []string) {
	t.Helper()
	if f.Verdict != verdict || f.Completeness != complete || !slices.Equal(rules(f), want) {
		report(t, f)
		t.Errorf("%s, %s; want %s, %s\n%s", f.Verdict, f.Completeness, verdict, complete, cmp.Diff(want, rules(f)))
	}
	if (f.Completeness == scan.Complete) != (len(reasons(f)) == 0) {
		t.Errorf("%s, but gaps are %q", f.Completeness, reasons(f))
	}
	for _, r := range reasons(f) {
		if strings.Contains(r, "fault in format") {
			t.Error(r)
		}
	}
}
