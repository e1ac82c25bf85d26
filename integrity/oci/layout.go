package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
)

const (
	refNameAnnotation = "org.opencontainers.image.ref.name"

	maxScanned  = 4096     // blobs of a layout that are looked at for a subject
	maxScanSize = 64 << 10 // bytes of a blob that may be a referrer
)

// A Layout is an OCI image layout in a folder. It is a [Pusher], safe for
// concurrent reading; pushing is not coordinated between processes. Links in
// the folder are not followed.
type Layout struct {
	Root *os.Root // holds oci-layout, index.json and blobs
}

// read returns a regular file of at most max bytes.
func (l *Layout) read(name string, max int64) ([]byte, error) {
	f, _, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := limits.ReadAll(f, max)
	if e, ok := errors.AsType[*limits.Error](err); ok {
		e.Name = name
	}
	return data, err
}

// open opens a regular file. It is looked at first: opening a pipe would wait
// for whoever holds its other end.
func (l *Layout) open(name string) (*os.File, fs.FileInfo, error) {
	if l.Root == nil {
		return nil, nil, errors.New("layout: no folder")
	}
	info, err := l.Root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &Error{Kind: ErrNotFound, Detail: fmt.Sprintf("%q in the layout", name)}
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, &Error{Kind: ErrMalformed, Detail: fmt.Sprintf("%q in the layout is no regular file", name)}
	}
	f, err := l.Root.Open(name)
	return f, info, err
}

func (l *Layout) index() ([]byte, []Descriptor, error) {
	content, err := l.read("index.json", MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	list, err := parseIndex(content, typeIndex, "index.json")
	return content, list, err
}

// Manifest implements [Store]. A tag is what index.json annotates as
// org.opencontainers.image.ref.name; "" is the only image of the layout,
// whatever it is called.
func (l *Layout) Manifest(ctx context.Context, ref string) ([]byte, string, error) {
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	if isDigest(ref) {
		d, err := parseDigest(ref)
		if err != nil {
			return nil, "", err
		}
		content, err := l.read(blobName(digestx.Hex(d)), MaxManifest)
		return content, "", err
	}
	_, list, err := l.index()
	if err != nil {
		return nil, "", err
	}
	var found []Descriptor
	for _, d := range list {
		if name := d.Annotations[refNameAnnotation]; name == ref && ref != "" || ref == "" && !isBundleType(d.ArtifactType) && !isFallbackTag(name) {
			found = append(found, d)
		}
	}
	found = slices.CompactFunc(found, func(a, b Descriptor) bool { return a.Digest == b.Digest })
	switch len(found) {
	case 0:
		return nil, "", &Error{Kind: ErrNotFound, Reference: ref, Detail: "no such name in index.json"}
	case 1:
	default:
		return nil, "", &IndexError{Reference: ref, Digest: found[0].Digest, Choices: found}
	}
	content, err := l.read(blobName(digestx.Hex(found[0].Digest)), MaxManifest)
	if err != nil {
		return nil, "", err
	}
	if got := digestx.Of(content); got != found[0].Digest {
		return nil, "", &Error{Kind: ErrDigest, Reference: found[0].Digest.String(), Digest: got}
	}
	return content, found[0].MediaType, nil
}

// isFallbackTag reports whether a name can be that of a list of referrers.
func isFallbackTag(name string) bool {
	const prefix = "sha256-"
	return len(name) == len(prefix)+64 && name[:len(prefix)] == prefix && checkHex(name[len(prefix):]) == nil
}

// Range implements [Store].
func (l *Layout) Range(ctx context.Context, blob Descriptor, offset, length int64) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, err := parseDigest(blob.Digest.String()); err != nil {
		return nil, err
	}
	f, info, err := l.open(blobName(digestx.Hex(blob.Digest)))
	if err != nil {
		return nil, err
	}
	if info.Size() != blob.Size {
		f.Close()
		return nil, &Error{Kind: ErrDigest, Reference: blob.Digest.String(), Detail: fmt.Sprintf("the file has %d bytes, the manifest says %d", info.Size(), blob.Size)}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, length), f}, nil
}

// Referrers implements [Store]. Tools disagree on where a layout lists
// referrers, so candidates are what index.json lists, what the fallback tag
// lists, and small blobs that state the image as a subject.
func (l *Layout) Referrers(ctx context.Context, image digest.Digest) ([]Descriptor, error) {
	_, list, err := l.index()
	if err != nil {
		return nil, err
	}
	var all []Descriptor
	for _, d := range list {
		// An index lists every image of the layout; those that do not mention this
		// one are nobody's claim about it.
		content, err := l.read(blobName(digestx.Hex(d.Digest)), MaxManifest)
		if err == nil && d.Digest != image && d.MediaType != typeIndex && bytes.Contains(content, []byte(image)) {
			all = append(all, d)
		}
	}
	tag := fallbackTag(image)
	content, mediaType, err := l.Manifest(ctx, tag)
	switch {
	case err == nil:
		if list, err = parseIndex(content, mediaType, tag); err != nil {
			return nil, err
		}
		all = append(all, list...)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	found, err := l.scan(ctx, image)
	if err != nil {
		return nil, err
	}
	return appendReferrers(all, found, "layout")
}

// scan looks for manifests that no index lists.
func (l *Layout) scan(ctx context.Context, image digest.Digest) ([]Descriptor, error) {
	dir, err := l.Root.Open("blobs/sha256")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxScanned + 1)
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case len(entries) > maxScanned:
		return nil, nil // a store of many images; such have their lists
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return bytes.Compare([]byte(a.Name()), []byte(b.Name())) })
	var found []Descriptor
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxScanSize || checkHex(e.Name()) != nil {
			continue
		}
		content, err := l.read(path.Join("blobs/sha256", e.Name()), maxScanSize)
		if err != nil || !bytes.Contains(content, []byte(`"subject"`)) || !bytes.Contains(content, []byte(image)) {
			continue
		}
		if d, err := parseDigest("sha256:" + e.Name()); err == nil {
			found = append(found, Descriptor{MediaType: typeManifest, Digest: d, Size: info.Size()})
		}
	}
	return found, nil
}

// Push implements [Pusher]: the manifest is listed in index.json.
func (l *Layout) Push(ctx context.Context, image digest.Digest, manifest []byte, blobs ...[]byte) error {
	old, _, err := l.index()
	if err != nil {
		return err
	}
	index, changed, err := addToIndex(old, manifest)
	if err != nil {
		return err
	}
	for _, content := range append(slices.Clone(blobs), manifest) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.write(blobName(digestx.Hex(digestx.Of(content))), content); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return l.write("index.json", index)
}

// write replaces a file at once.
func (l *Layout) write(name string, content []byte) error {
	temp := name + ".part"
	if err := l.Root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.Root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return l.Root.Rename(temp, name)
}
