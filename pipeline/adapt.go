package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/walk"
)

// under puts the paths of a source below a folder of the gate, so that a report
// over several folders says which file is meant. Paths in keep are paths of the
// gate already.
func under(dir string, src prerun.Source, keep ...string) prerun.Source {
	if dir == "." || dir == "" {
		return src
	}
	dir = prerun.EscapePath(dir)
	move := func(p string) string {
		switch {
		case p == "." || p == "":
			return dir
		case slices.Contains(keep, p):
			return p
		}
		return dir + "/" + p
	}
	var subjects []prerun.Subject
	for s := range src.Subjects() {
		s.Path = move(s.Path)
		subjects = append(subjects, s)
	}
	var findings []prerun.Finding
	for f := range src.Findings() {
		f.Subject.Path = move(f.Subject.Path)
		f.Locations = slices.Clone(f.Locations)
		for i := range f.Locations {
			f.Locations[i].Path = move(f.Locations[i].Path)
		}
		findings = append(findings, f)
	}
	var gaps []prerun.Gap
	for g := range src.Gaps() {
		g.Location.Path = move(g.Location.Path)
		gaps = append(gaps, g)
	}
	return prerun.NewSource(subjects, findings, gaps)
}

// subTree is the tree below dir, which must be a folder.
func subTree(fsys fs.FS, dir string) (fs.FS, error) {
	if dir == "" || dir == "." {
		return fsys, nil
	}
	info, err := fs.Stat(fsys, dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%q is no folder", dir)
	}
	return fs.Sub(fsys, dir)
}

// contentOf names the content below a folder for the cache: each path with the
// digest of its bytes, read in full, never sampled.
func contentOf(ctx context.Context, fsys fs.FS, dir string) ([]string, error) {
	tree, err := subTree(fsys, dir)
	if err != nil {
		return nil, err
	}
	entries, err := walk.Files(ctx, tree, nil)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		key := fmt.Sprintf("%s %s/%s", e.Kind, dir, e.Path)
		switch e.Kind {
		case walk.Regular:
			sum, err := fileDigest(tree, e.Path)
			if err != nil {
				return nil, err
			}
			key += " " + sum
		case walk.Symlink:
			target, err := fs.ReadLink(tree, e.Path)
			if err != nil {
				return nil, err
			}
			key += " " + digestx.Of([]byte(target)).String()
		}
		out = append(out, key)
	}
	return out, nil
}

func fileDigest(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return digestx.FromSHA256(h.Sum(nil)).String(), nil
}

// filesContent is contentOf for single files.
func filesContent(fsys fs.FS, names ...string) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == "" {
			continue
		}
		sum, err := fileDigest(fsys, name)
		if err != nil {
			return nil, err
		}
		out = append(out, path.Clean(name)+" "+sum)
	}
	return out, nil
}

// optionsKey names options for the cache by all their fields, exported or not.
// It reports false where a field holds a pointer, a function or a channel, of
// which an address says nothing.
func optionsKey(options any) (string, bool) {
	return fmt.Sprintf("%#v", options), nameable(reflect.ValueOf(options))
}

func nameable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return v.IsNil()
	case reflect.Interface:
		return v.IsNil() || nameable(v.Elem())
	case reflect.Map: // fmt sorts by key
		for it := v.MapRange(); it.Next(); {
			if !nameable(it.Key()) || !nameable(it.Value()) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !nameable(v.Index(i)) {
				return false
			}
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if !nameable(field) {
				return false
			}
		}
	}
	return true
}

// rulesKey names a table of rules for the cache, so that a result is not older
// than what its rules say.
func rulesKey(rules []prerun.Rule) string {
	return "rules " + digestx.Of(fmt.Appendf(nil, "%#v", rules)).String()
}

func compareSubjects(a, b prerun.Subject) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Digest, b.Digest))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
