package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
)

// Bounds on what a registry or layout may hand over. What is larger is an
// error.
const (
	MaxManifest  = 4 << 20  // bytes of a manifest, an index or a page of referrers
	MaxConfig    = 4 << 20  // bytes of a config that is read for names
	MaxBundle    = 16 << 20 // bytes of a signature bundle
	MaxPages     = 64       // of one list of referrers
	MaxReferrers = 1024     // of one image

	maxBundles = 128 << 20 // bytes of all bundles of one image that are tried
)

// A Descriptor points at content by its digest. All but the digest is a claim
// of whoever made it.
type Descriptor struct {
	MediaType    string
	Digest       digest.Digest // by SHA-256
	Size         int64         // in bytes
	ArtifactType string        // "" when not stated
	Platform     string        // os/architecture[/variant] of an image in an index
	Annotations  map[string]string
}

// A Store keeps images: a [Registry] or a [Layout], or another implementation.
// It need not be trusted: this package hashes whatever comes from it. Methods
// must stop when ctx ends, be safe for concurrent use, and return an error
// wrapping [ErrNotFound] for what is not there.
type Store interface {
	// Manifest returns the bytes of a manifest or index, at most MaxManifest,
	// and the media type that the store states for them, which may be "". ref
	// is a tag or a digest.
	Manifest(ctx context.Context, ref string) (content []byte, mediaType string, err error)

	// Range opens length bytes of a blob from offset, which lie within the
	// blob's stated size.
	Range(ctx context.Context, blob Descriptor, offset, length int64) (io.ReadCloser, error)

	// Referrers lists manifests that are said to refer to an image, in any
	// order. Each is a candidate: the caller fetches it and looks.
	Referrers(ctx context.Context, image digest.Digest) ([]Descriptor, error)
}

// A Pusher is a [Store] that can be added to.
type Pusher interface {
	Store

	// Push stores blobs and then a manifest whose subject is an image of the
	// store, such that Referrers of the image finds it. What is there already
	// stays as it is.
	Push(ctx context.Context, image digest.Digest, manifest []byte, blobs ...[]byte) error
}

// fetchManifest returns a manifest and its digest. With a digest as reference,
// the content must match it.
func fetchManifest(ctx context.Context, store Store, ref string) ([]byte, digest.Digest, string, error) {
	content, mediaType, err := store.Manifest(ctx, ref)
	if err != nil {
		return nil, "", "", err
	}
	if len(content) > MaxManifest {
		return nil, "", "", &limits.Error{Name: ref, Unit: "bytes", Max: MaxManifest}
	}
	got := digestx.Of(content)
	if isDigest(ref) && got.String() != ref {
		return nil, "", "", &Error{Kind: ErrDigest, Reference: ref, Digest: got}
	}
	return content, got, mediaType, nil
}

// fetchBlob reads a whole blob of at most max bytes and checks it.
func fetchBlob(ctx context.Context, store Store, blob Descriptor, max int64) ([]byte, error) {
	if blob.Size > max {
		return nil, &limits.Error{Name: blob.Digest.String(), Unit: "bytes", Max: max}
	}
	var content []byte
	if blob.Size > 0 {
		r, err := store.Range(ctx, blob, 0, blob.Size)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		content, err = limits.ReadAll(r, blob.Size)
		if _, ok := errors.AsType[*limits.Error](err); ok {
			return nil, &Error{Kind: ErrDigest, Reference: blob.Digest.String(), Detail: fmt.Sprintf("more than the %d bytes that it should have", blob.Size)}
		} else if err != nil {
			return nil, &Error{Kind: ErrRegistry, Digest: blob.Digest, Err: err}
		}
	}
	if got := digestx.Of(content); got != blob.Digest || int64(len(content)) != blob.Size {
		return nil, &Error{Kind: ErrDigest, Reference: blob.Digest.String(), Digest: got}
	}
	return content, nil
}
