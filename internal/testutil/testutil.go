// Package testutil holds what tests of several packages need.
package testutil

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Root is the module's root folder, found from the test's own.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// Corpus is a path inside the third-party test data, which is no part of the
// repository: PRERUN_CORPUS names it, and it is ../shared/corpus beside the
// checkout otherwise. Without it the test skips, or fails when CI is true.
func Corpus(t testing.TB, elem ...string) string {
	t.Helper()
	dir := os.Getenv("PRERUN_CORPUS")
	if dir == "" {
		dir = filepath.Join(Root(t), "..", "shared", "corpus")
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the test corpus is missing; set PRERUN_CORPUS to its folder")
		}
		Missing(t, "the test corpus", "set PRERUN_CORPUS to its folder")
	}
	return path
}

// Missing skips the test because a program that is no part of the repository is
// absent. The CI script installs what it can, and counts and names what was
// skipped all the same.
func Missing(t testing.TB, what, remedy string) {
	t.Helper()
	t.Skipf("%s is missing; %s", what, remedy)
}

// AllocBound fails the test when f allocates more than max bytes in all, freed
// or not: what bounds the total bounds the peak.
func AllocBound(t testing.TB, max uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > max {
		t.Errorf("allocated %d bytes, the bound is %d", got, max)
	}
}

// ExportedErrors are the names of the sentinels that the package in a folder
// declares, sorted: a table of one case for each can see that none is missing.
func ExportedErrors(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	names, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						out = append(out, id.Name)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
