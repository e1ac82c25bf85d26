package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun/internal/digestx"
)

// Files shows the layers of an image as a tree of files, for a scanner: each
// opened file is a [Blob], so only what is read is fetched, and all of it only
// by who reads all of it. A layer without a name is called
// blobs/sha256/ and its digest, so that none is left out. Names of which one
// would be both a file and a folder wrap [ErrName].
//
// Who reads a file from start to end, as a scanner does that computes digests,
// gets content that matches the manifest or an error. Who reads only parts has
// the store's word for them.
func (img *Image) Files(ctx context.Context, store Store) (fs.FS, error) {
	switch {
	case store == nil:
		return nil, errNoStore
	case img == nil:
		return nil, errNoImage
	}
	t := &tree{ctx: ctx, store: store, nodes: map[string]*node{".": {name: ".", dir: true}}}
	for i := range img.Layers {
		l := &img.Layers[i]
		name := cmp.Or(l.Name, blobName(digestx.Hex(l.Digest)))
		if !t.add(name, l.Descriptor) {
			return nil, &Error{Kind: ErrName, Reference: img.Reference, Digest: l.Digest, Detail: fmt.Sprintf("%q is used twice, or as a file and as a folder", name)}
		}
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return t, nil
}

// A tree is an [fs.FS] over blobs.
type tree struct {
	ctx   context.Context
	store Store
	nodes map[string]*node
}

// A node is a layer or a folder. It is its own [fs.FileInfo] and [fs.DirEntry].
type node struct {
	name    string // the last element
	dir     bool
	blob    Descriptor
	entries []fs.DirEntry
}

func (n *node) Name() string               { return n.name }
func (n *node) Size() int64                { return n.blob.Size }
func (n *node) ModTime() time.Time         { return time.Time{} }
func (n *node) IsDir() bool                { return n.dir }
func (n *node) Sys() any                   { return nil }
func (n *node) Type() fs.FileMode          { return n.Mode().Type() }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
func (n *node) Mode() fs.FileMode {
	if n.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// add puts a layer in its folders, and reports false when its place is taken.
func (t *tree) add(name string, blob Descriptor) bool {
	if !fs.ValidPath(name) || name == "." || t.nodes[name] != nil {
		return false
	}
	n := &node{name: path.Base(name), blob: blob}
	t.nodes[name] = n
	for name != "." {
		name = path.Dir(name)
		parent, known := t.nodes[name]
		if !known {
			parent = &node{name: path.Base(name), dir: true}
			t.nodes[name] = parent
		}
		if !parent.dir {
			return false
		}
		parent.entries = append(parent.entries, n)
		if known {
			break
		}
		n = parent
	}
	return true
}

func (t *tree) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n := t.nodes[name]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// Open implements [fs.FS]. Files are [io.ReaderAt].
func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return &folder{node: n, rest: n.entries}, nil
	}
	b, err := OpenBlob(t.ctx, t.store, n.blob)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{Blob: b, node: n, r: io.NewSectionReader(b, 0, b.Size())}, nil
}

// Stat implements [fs.StatFS].
func (t *tree) Stat(name string) (fs.FileInfo, error) { return t.find("stat", name) }

// ReadDir implements [fs.ReadDirFS].
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a folder")}
	}
	return slices.Clone(n.entries), nil
}

// A file is an open layer.
type file struct {
	*Blob
	node *node
	r    *io.SectionReader
}

func (f *file) Stat() (fs.FileInfo, error)                   { return f.node, nil }
func (f *file) Read(p []byte) (int, error)                   { return f.r.Read(p) }
func (f *file) Seek(offset int64, whence int) (int64, error) { return f.r.Seek(offset, whence) }
func (f *file) Close() error                                 { return nil }

// A folder is an open folder.
type folder struct {
	node *node
	rest []fs.DirEntry
}

func (d *folder) Stat() (fs.FileInfo, error) { return d.node, nil }
func (d *folder) Close() error               { return nil }

func (d *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.name, Err: errors.New("is a folder")}
}

func (d *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	out := slices.Clone(d.rest[:n])
	d.rest = d.rest[n:]
	return out, nil
}
