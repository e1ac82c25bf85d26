package integrity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/prerun/prerun/internal/walk"
)

// A Hasher makes manifests. The zero value hashes whole files by SHA-256,
// refuses symbolic links, and leaves out only [DefaultIgnore]. It is safe for
// concurrent use, and the manifest does not depend on Workers.
type Hasher struct {
	Algorithm string // "" means SHA256
	ShardSize int64  // in bytes; 0 means whole files

	// AllowSymlinks makes a link to a file stand for that file's content. A
	// link out of the model remains an error, as does a broken one.
	AllowSymlinks bool

	// InsecureExternalSymlinks also follows links out of the model, as far as
	// the file system does. What they lead to is not under the root, and may be
	// something else on the next machine.
	InsecureExternalSymlinks bool

	// Ignore lists paths to leave out, with all that lies below: relative,
	// slash-separated, no patterns. The bundle's own path belongs here when it
	// lies inside the model. The list is recorded in the manifest.
	Ignore []string

	// Cache spares reading files that it has seen in the same state; nil reads
	// every file. See [Cache] for what it cannot see.
	Cache *Cache

	Workers int // 0 means GOMAXPROCS

	// Progress is told the bytes hashed and the bytes in all, now and then, by
	// one goroutine at a time; nil is told nothing.
	Progress func(done, total int64)
}

// Hash makes the manifest of a folder, in the order of the specification. It
// reads every file once. Errors wrap [ErrRead], [ErrChanged], [ErrSymlink],
// [ErrSpecial], [ErrEmpty] or [ErrUnsupported], or are the context's; all bad
// files are named, by path.
func (h Hasher) Hash(ctx context.Context, fsys fs.FS) (*Manifest, error) {
	p, err := h.parameters()
	if err != nil {
		return nil, err
	}
	t, ignore, err := h.list(ctx, fsys)
	if err != nil {
		return nil, err
	}
	p.Ignore = ignore
	return h.hash(ctx, fsys, t, p)
}

// list finds what there is to hash. It also returns the list of ignored paths
// as a manifest records it.
func (h Hasher) list(ctx context.Context, fsys fs.FS) (*tree, []string, error) {
	if fsys == nil {
		return nil, nil, errNoModel
	}
	ignore, err := newIgnoreList(h.Ignore)
	if err != nil {
		return nil, nil, err
	}
	if err := checkNoGlob(h.Ignore); err != nil {
		return nil, nil, err
	}
	t, err := listTree(ctx, fsys, ignore, h.links())
	if err != nil {
		return nil, nil, listError(ctx, err)
	}
	return t, slices.Sorted(maps.Keys(ignore)), nil
}

// HashFile makes the manifest of a model that is one file. Its resource has the
// file's base name. Errors are those of [Hasher.Hash].
func (h Hasher) HashFile(ctx context.Context, fsys fs.FS, name string) (*Manifest, error) {
	p, err := h.parameters()
	if err != nil {
		return nil, err
	}
	t, err := h.listFile(ctx, fsys, name)
	if err != nil {
		return nil, err
	}
	m, err := h.hash(ctx, fsys, t, p)
	if err != nil {
		return nil, err
	}
	m.rename(path.Base(name))
	return m, nil
}

// listFile is list for a model that is one file.
func (h Hasher) listFile(ctx context.Context, fsys fs.FS, name string) (*tree, error) {
	if fsys == nil {
		return nil, errNoModel
	}
	if err := checkPath(name); err != nil {
		return nil, fmt.Errorf("model %q: %w", name, err)
	}
	t, err := fileTree(fsys, name, h.links())
	if err != nil {
		return nil, listError(ctx, err)
	}
	if t.irregular[name] == folder {
		return nil, newError(ErrSpecial, name, "folder")
	}
	return t, nil
}

// rename makes m the manifest of a single file of that name.
func (m *Manifest) rename(name string) {
	m.SingleFile = true
	for i := range m.Resources {
		m.Resources[i].Path = name
	}
}

func (h Hasher) links() links { return links{h.AllowSymlinks, h.InsecureExternalSymlinks} }

func (h Hasher) parameters() (Parameters, error) {
	p := Parameters{Algorithm: h.Algorithm, ShardSize: h.ShardSize, AllowSymlinks: h.AllowSymlinks}
	if p.Algorithm == "" {
		p.Algorithm = SHA256
	}
	switch {
	case algorithms[p.Algorithm].size == 0:
		return p, newError(ErrUnsupported, "", "algorithm %q", p.Algorithm)
	case p.ShardSize < 0:
		return p, fmt.Errorf("shard size %d is negative", p.ShardSize)
	}
	return p, nil
}

// listError classes an error of listing a model. A name that cannot stand in a
// manifest and a tree beyond the limits were read well and are not supported.
func listError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, walk.ErrName):
		return &Error{Kind: ErrUnsupported, Err: err}
	}
	return &Error{Kind: ErrRead, Err: err}
}

func (h Hasher) hash(ctx context.Context, fsys fs.FS, t *tree, p Parameters) (*Manifest, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	m, bad, err := h.hashSources(ctx, fsys, t.files, p)
	if err != nil {
		return nil, err
	}
	return m.complete(t, bad)
}

// check returns an error for each thing that is no file and not to be passed
// over.
func (t *tree) check() error {
	var errs []error
	for _, name := range sortedKeys(t.irregular) {
		if odd := t.irregular[name]; odd.kind != nil {
			errs = append(errs, newError(odd.kind, name, "%s", odd.detail))
		}
	}
	return errors.Join(errs...)
}

// complete makes m the manifest of the tree, of which no file may be bad.
func (m *Manifest) complete(t *tree, bad map[string]error) (*Manifest, error) {
	var errs []error
	for _, name := range sortedKeys(bad) {
		errs = append(errs, bad[name])
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(m.Resources) == 0 {
		return nil, &Error{Kind: ErrEmpty}
	}
	m.Uncovered = append(m.Uncovered, t.uncovered...)
	slices.Sort(m.Uncovered)
	return m, nil
}

// hashSources is the core that hashing and verifying share. Files that could
// not be hashed are in the map, and not in the manifest.
func (h Hasher) hashSources(ctx context.Context, fsys fs.FS, files []source, p Parameters) (*Manifest, map[string]error, error) {
	results, err := newEngine(fsys, p, h.Workers, h.Cache, h.Progress).run(ctx, files)
	if err != nil {
		return nil, nil, err
	}
	m, bad := collect(p, files, results)
	return m, bad, nil
}

// collect makes a manifest of the files that were hashed.
func collect(p Parameters, files []source, results []fileResult) (*Manifest, map[string]error) {
	m := &Manifest{Parameters: p, Resources: make([]Resource, 0, len(files))}
	bad := make(map[string]error)
	for i, r := range results {
		switch {
		case r.err != nil:
			bad[files[i].name] = r.err
		case len(r.resources) == 0:
			m.Uncovered = append(m.Uncovered, files[i].name)
		default:
			m.Resources = append(m.Resources, r.resources...)
		}
	}
	m.Sort()
	return m, bad
}
