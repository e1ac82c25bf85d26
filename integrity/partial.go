package integrity

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

// VerifyPaths is [Verifier.Verify] for a part of the model: the files that are
// about to be used. A path names a signed file, or a folder with all that is
// signed below it. A nil error, and a result without findings, speak of these
// files alone: what else lies in the model, nobody looked at. The subjects of
// the result are the files that were verified.
func (v Verifier) VerifyPaths(ctx context.Context, fsys fs.FS, paths []string, bundle []byte, trust prerun.Verifier) (*Result, error) {
	switch {
	case fsys == nil:
		return nil, errNoModel
	case len(paths) == 0:
		return nil, fmt.Errorf("verify: no paths")
	}
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return nil, fmt.Errorf("path %q: %w", p, err)
		}
	}
	if _, err := newIgnoreList(v.Ignore); err != nil {
		return nil, err
	}
	r, err := v.open(ctx, bundle, trust)
	if err != nil {
		return r, err
	}
	err = v.comparePaths(ctx, fsys, paths, r)
	r.verified = err == nil
	return r, err
}

func (v Verifier) comparePaths(ctx context.Context, fsys fs.FS, paths []string, r *Result) error {
	outside := func(name string) bool {
		return !slices.ContainsFunc(paths, func(p string) bool { return contains(p, name) })
	}
	part := *r.Manifest
	part.Resources = slices.DeleteFunc(slices.Clone(part.Resources), func(res Resource) bool { return outside(res.Path) })
	r.describe(v.bundleName(), &part)
	t, err := v.list(ctx, fsys, r)
	if err != nil {
		return err
	}
	t.files = slices.DeleteFunc(t.files, func(f source) bool { return outside(f.name) })
	t.uncovered = slices.DeleteFunc(t.uncovered, outside)
	maps.DeleteFunc(t.irregular, func(name string, _ oddity) bool { return outside(name) })
	differences, bad, err := v.differences(ctx, fsys, t, &part, r)
	if err != nil {
		return r.fail(".", err)
	}
	// Asking for what nobody signed must not succeed by finding nothing wrong,
	// nor because unsigned files are tolerated beside signed ones.
	for _, p := range slices.Compact(slices.Sorted(slices.Values(paths))) {
		if slices.ContainsFunc(part.Resources, func(res Resource) bool { return contains(p, res.Path) }) {
			continue
		}
		found := false
		for i := range differences {
			if d := &differences[i]; contains(p, d.Path) {
				found = true
				d.Detail = cmp.Or(d.Detail, askedFor)
			}
		}
		if !found {
			differences = append(differences, Difference{Change: Extra, Path: p, Detail: askedFor})
		}
	}
	slices.SortStableFunc(differences, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return v.conclude(r, differences, bad)
}

const askedFor = "asked for, and nothing of this name was signed"

// contains reports whether name is path or lies below it.
func contains(path, name string) bool {
	return name == path || len(name) > len(path) && name[len(path)] == '/' && name[:len(path)] == path
}

// VerifyManifest is [Verifier.Verify] for a model whose digests are known from
// elsewhere, such as the layers of an image in a registry: the signed manifest
// is compared with got. Nothing is read, so the answer is as good as got is. A
// manifest made with other parameters than the signed ones cannot be compared
// and is an [ErrUnsupported].
func (v Verifier) VerifyManifest(ctx context.Context, got *Manifest, bundle []byte, trust prerun.Verifier) (*Result, error) {
	if got == nil {
		return nil, errNoModel
	}
	ignore, err := newIgnoreList(v.Ignore)
	if err != nil {
		return nil, err
	}
	r, err := v.open(ctx, bundle, trust)
	if err != nil {
		return r, err
	}
	want := r.Manifest
	r.describe(v.bundleName(), want)
	if got.Algorithm != want.Algorithm || got.ShardSize != want.ShardSize {
		return r, r.fail(".", newError(ErrUnsupported, "", "comparing %s by %s with what was signed, %s by %s",
			got.Method(), got.Algorithm, want.Method(), want.Algorithm))
	}
	for _, entry := range want.Ignore {
		ignore[entry] = true
	}
	found := &Manifest{Parameters: got.Parameters}
	seen := make(map[string]bool)
	for _, res := range got.Resources {
		if ignore.match(res.Path) {
			if !seen[res.Path] {
				seen[res.Path] = true
				r.Ignored = append(r.Ignored, res.Path)
			}
			continue
		}
		found.Resources = append(found.Resources, res)
	}
	err = v.conclude(r, diff(want, found, nil), nil)
	r.verified = err == nil
	return r, err
}

// Guard returns a function that a model server calls before it loads a model:
// it fails unless [Verifier.Verify] does not. The bundle is kept, not copied.
func (v Verifier) Guard(bundle []byte, trust prerun.Verifier) func(context.Context, fs.FS) error {
	return func(ctx context.Context, fsys fs.FS) error {
		_, err := v.Verify(ctx, fsys, bundle, trust)
		return err
	}
}
