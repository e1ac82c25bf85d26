package oci

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
)

// An Image is a model in a registry or layout: its manifest, pinned by digest.
// Whoever wrote the manifest is trusted for nothing in it; that is what
// [Verifier] is for.
type Image struct {
	Reference    string        // as it was asked for
	Digest       digest.Digest // of the manifest: what Reference meant at that time
	Index        digest.Digest // of the index that it was chosen from, "" if none
	MediaType    string
	ArtifactType string
	Format       string // FormatModelPack, ...
	Size         int64  // of the manifest, in bytes
	Config       Descriptor
	Layers       []Layer // in the order of the manifest
	Annotations  map[string]string
}

// A Layer is a file of a model, or an archive of several.
type Layer struct {
	Descriptor

	// Name is the path of the file in the model, a clean relative path that no
	// other layer has. An archive is called after the folder that it holds, with
	// the suffix of its kind such as ".tar". "" means that nothing names it.
	Name    string
	Archive bool
}

// A Reader finds images. The zero value reads references that name one image.
type Reader struct {
	// Platform chooses from an index, as os/architecture or
	// os/architecture/variant. "" chooses nothing: an index is an error.
	Platform string
}

// Image resolves a tag or a digest once, and reads the manifest and, in a KitOps
// image, the config; no layer. From then on the digest is what counts, wherever
// the tag points. A digest by SHA-256 must match what the store returns.
//
// The error wraps [ErrDigest], [ErrMalformed] or [ErrName], for which [Rejected]
// reports true; an [IndexError], [integrity.ErrUnsupported], a
// [limits.Error] or what the store says, when nothing is known.
func (rd Reader) Image(ctx context.Context, store Store, ref string) (*Image, error) {
	if store == nil {
		return nil, errNoStore
	}
	if isDigest(ref) {
		if _, err := parseDigest(ref); err != nil {
			return nil, err
		}
	}
	content, d, stated, err := fetchManifest(ctx, store, ref)
	if err != nil {
		return nil, err
	}
	m, isIndex, err := parseManifest(content, stated)
	if err != nil {
		return nil, err
	}
	img := &Image{Reference: ref}
	if isIndex {
		child, err := rd.choose(ref, d, m)
		if err != nil {
			return nil, err
		}
		img.Index = d
		if content, d, stated, err = fetchManifest(ctx, store, child.Digest.String()); err != nil {
			return nil, err
		}
		if m, isIndex, err = parseManifest(content, stated); err != nil {
			return nil, err
		}
		if isIndex {
			return nil, &Error{Kind: integrity.ErrUnsupported, Reference: ref, Digest: d, Detail: "an index in an index"}
		}
	}
	img.Digest, img.Size = d, int64(len(content))
	if err := img.fill(ctx, store, m); err != nil {
		return nil, err
	}
	return img, nil
}

func (rd Reader) choose(ref string, d digest.Digest, m *wireManifest) (Descriptor, error) {
	all, err := descriptors(m.Manifests)
	if err != nil {
		return Descriptor{}, &Error{Kind: ErrMalformed, Reference: ref, Digest: d, Err: err}
	}
	var found []Descriptor
	for _, c := range all {
		if rd.Platform != "" && c.Platform == rd.Platform {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return Descriptor{}, &IndexError{Reference: ref, Digest: d, Choices: all}
	}
	return found[0], nil
}

func (img *Image) fill(ctx context.Context, store Store, m *wireManifest) error {
	img.MediaType = cmp.Or(m.MediaType, typeManifest)
	img.ArtifactType = cmp.Or(m.ArtifactType, m.Config.MediaType)
	img.Annotations = m.Annotations
	img.Format = formatOf(m)
	config, err := m.Config.descriptor()
	if err != nil {
		return &Error{Kind: ErrMalformed, Reference: img.Reference, Digest: img.Digest, Detail: "config", Err: err}
	}
	img.Config = config
	layers, err := descriptors(m.Layers)
	if err != nil {
		return &Error{Kind: ErrMalformed, Reference: img.Reference, Digest: img.Digest, Detail: "layers", Err: err}
	}
	for _, d := range layers {
		img.Layers = append(img.Layers, Layer{Descriptor: d})
	}
	var kit *kitfile
	if img.Format == FormatKitOps {
		data, err := fetchBlob(ctx, store, config, MaxConfig)
		if err != nil {
			return err
		}
		if kit, err = parseKitfile(data); err != nil {
			return &Error{Kind: ErrMalformed, Reference: img.Reference, Digest: config.Digest, Detail: "config", Err: err}
		}
	}
	return nameLayers(img, m.Layers, kit)
}

// Manifest lists the layers by name and digest, as an [integrity.Hasher] lists a
// folder in which each layer is a file. It fails with [ErrUnnamed] when a layer
// has no name: a list without it would let the layer be anything.
//
// Layers under a path that is never part of a model, such as .gitattributes,
// are left out, as the hasher leaves them out, and named as uncovered. The
// config and the annotations are no files; see [Signing.Whole].
func (img *Image) Manifest() (*integrity.Manifest, error) {
	if img == nil {
		return nil, errNoImage
	}
	m := &integrity.Manifest{Parameters: integrity.Parameters{Algorithm: integrity.SHA256}}
	for i, l := range img.Layers {
		if l.Name == "" {
			return nil, &Error{
				Kind: ErrUnnamed, Reference: img.Reference, Digest: l.Digest,
				Detail: fmt.Sprintf("layer %d of type %q in a %s image", i, l.MediaType, img.Format),
			}
		}
		if ignored(l.Name) {
			m.Uncovered = append(m.Uncovered, l.Name)
			continue
		}
		m.Resources = append(m.Resources, integrity.Resource{Path: l.Name, Digest: l.Digest})
	}
	if len(m.Resources) == 0 {
		return nil, &Error{Kind: integrity.ErrEmpty, Reference: img.Reference, Digest: img.Digest}
	}
	slices.Sort(m.Uncovered)
	m.Sort()
	return m, m.Check()
}

// wholeManifest is Manifest with the image's own manifest among the files,
// which pins the rest of it.
func (img *Image) wholeManifest() (*integrity.Manifest, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	m.Resources = append(m.Resources, img.resource())
	m.Sort()
	return m, m.Check()
}

func (img *Image) resource() integrity.Resource {
	return integrity.Resource{Path: blobName(digestx.Hex(img.Digest)), Digest: img.Digest}
}

// ignored reports whether a layer lies below a path that is never signed.
func ignored(name string) bool {
	return slices.ContainsFunc(integrity.DefaultIgnore(), func(p string) bool {
		return name == p || len(name) > len(p) && name[:len(p)] == p && name[len(p)] == '/'
	})
}
