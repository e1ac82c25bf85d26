package walk_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/walk"
)

func paths(entries []walk.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Path+" "+e.Kind.String())
	}
	return out
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a/x", "a-1"} {
		if err := os.MkdirAll(dir+"/a", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := walk.Files(t.Context(), root.FS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a folder", "a-1 regular file", "a/x regular file", "b regular file", "link symbolic link"}
	if diff := cmp.Diff(want, paths(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = walk.Files(t.Context(), root.FS(), func(p string) bool { return p == "a" })
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"a-1 regular file", "b regular file", "link symbolic link"}
	if diff := cmp.Diff(want, paths(got)); diff != "" {
		t.Errorf("skipping a (-want +got):\n%s", diff)
	}
}

func TestFilesRefuses(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	deep := strings.Repeat("d/", limits.MaxTreeDepth) + "f"
	for _, tt := range []struct {
		name string
		ctx  context.Context
		tree fs.FS
		want error
	}{
		{"cancelled", cancelled, fstest.MapFS{"a": {}}, context.Canceled},
		{"invalid_name", t.Context(), fstest.MapFS{"a\xff": {}}, walk.ErrName},
		{"no_root", t.Context(), os.DirFS(t.TempDir() + "/absent"), fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := walk.Files(tt.ctx, tt.tree, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v; want error %v", paths(got), err, tt.want)
			}
		})
	}
	if _, err := walk.Files(t.Context(), fstest.MapFS{deep: {}}, nil); err == nil {
		t.Error("a tree that is too deep was listed")
	} else if _, ok := errors.AsType[*limits.Error](err); !ok {
		t.Errorf("too deep: %v", err)
	}
}
