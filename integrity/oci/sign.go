package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/strictjson"
)

const (
	bundlePrefix  = "application/vnd.dev.sigstore.bundle"
	predicateType = "https://model_signing/signature/v1.0"
)

var emptyConfig = []byte("{}")

// isBundleType reports whether a media type is that of a Sigstore bundle, of
// whatever version.
func isBundleType(mediaType string) bool { return strings.HasPrefix(mediaType, bundlePrefix) }

// Signing says how an image is signed.
type Signing struct {
	// Name is what the signer calls the model; "" means "model". See
	// [integrity.Signing].
	Name string

	// Whole signs the manifest of the image along with the layers, and so the
	// config, the annotations and the order of the layers. Without it, whoever
	// can push may exchange those, and the signature still verifies; with it,
	// the bundle verifies this very image and no folder or other image with the
	// same files. In the statement the image is the file
	// blobs/sha256/HEX, as in a layout.
	Whole bool
}

// Sign signs an image by the digests in its manifest. No layer is read: the
// signature says that these digests are the model, as good as the signer knows.
func (s Signing) Sign(ctx context.Context, img *Image, signer prerun.Signer) ([]byte, error) {
	if img == nil {
		return nil, errNoImage
	}
	list := img.Manifest
	if s.Whole {
		list = img.wholeManifest
	}
	m, err := list()
	if err != nil {
		return nil, err
	}
	return integrity.Signing{Name: s.Name}.Sign(ctx, m, signer)
}

// Attach stores a bundle as a referrer of the image and returns the descriptor
// of the manifest that holds it. The same bundle gives the same manifest:
// attaching it again changes nothing.
func Attach(ctx context.Context, store Pusher, img *Image, bundle []byte) (Descriptor, error) {
	switch {
	case store == nil:
		return Descriptor{}, errNoStore
	case img == nil:
		return Descriptor{}, errNoImage
	case len(bundle) > MaxBundle:
		return Descriptor{}, fmt.Errorf("bundle of %d bytes, the limit is %d", len(bundle), MaxBundle)
	}
	if isModel, err := isModelSignature(bundle); err != nil {
		return Descriptor{}, err
	} else if !isModel {
		return Descriptor{}, &integrity.Error{Kind: integrity.ErrStatement, Detail: "not a model signature"}
	}
	subject := referrerBlob{img.MediaType, img.Digest, img.Size}
	manifest, err := json.Marshal(referrer{
		SchemaVersion: 2,
		MediaType:     typeManifest,
		ArtifactType:  dsse.MediaType,
		Config:        referrerBlob{typeEmpty, digestx.Of(emptyConfig), int64(len(emptyConfig))},
		Layers:        []referrerBlob{{dsse.MediaType, digestx.Of(bundle), int64(len(bundle))}},
		Subject:       subject,
		Annotations: map[string]string{
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": predicateType,
		},
	})
	if err != nil {
		return Descriptor{}, err
	}
	if err := store.Push(ctx, img.Digest, manifest, emptyConfig, bundle); err != nil {
		return Descriptor{}, err
	}
	return Descriptor{
		MediaType: typeManifest, Digest: digestx.Of(manifest), Size: int64(len(manifest)), ArtifactType: dsse.MediaType,
	}, nil
}

type referrer struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        referrerBlob      `json:"config"`
	Layers        []referrerBlob    `json:"layers"`
	Subject       referrerBlob      `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

type referrerBlob struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

// addToIndex adds a referrer to an index, or to a new one when old is nil. What
// stands there stays, member by member. changed is false when it is listed
// already.
func addToIndex(old, manifest []byte) (index []byte, changed bool, err error) {
	var r referrer
	if err := json.Unmarshal(manifest, &r); err != nil {
		return nil, false, err
	}
	entry := struct {
		referrerBlob
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}{referrerBlob{typeManifest, digestx.Of(manifest), int64(len(manifest))}, r.ArtifactType, r.Annotations}
	if old == nil {
		old = []byte(`{"schemaVersion":2,"mediaType":"` + typeIndex + `","manifests":[]}`)
	}
	// old was parsed strictly before, so this reads the same.
	var top map[string]json.RawMessage
	var list []json.RawMessage
	if err := json.Unmarshal(old, &top); err != nil {
		return nil, false, err
	}
	if raw := top["manifests"]; raw != nil {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, false, err
		}
	}
	for _, raw := range list {
		var have referrerBlob
		if err := json.Unmarshal(raw, &have); err != nil {
			return nil, false, err
		}
		if have.Digest == entry.Digest {
			return old, false, nil
		}
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		return nil, false, err
	}
	if top["manifests"], err = json.Marshal(append(list, raw)); err != nil {
		return nil, false, err
	}
	index, err = json.Marshal(top)
	return index, true, err
}

// isModelSignature tells model signatures from the other attestations that
// hang on an image. Nothing of the bundle is verified.
func isModelSignature(bundle []byte) (bool, error) {
	b, err := dsse.ParseBundle(bytes.Clone(bundle))
	if err != nil {
		return false, &integrity.Error{Kind: integrity.ErrBundle, Err: err}
	}
	v, err := strictjson.Parse(b.Envelope.Payload, strictjson.Limits{})
	if err != nil {
		return false, &integrity.Error{Kind: integrity.ErrStatement, Err: err}
	}
	t := v.Get("predicateType")
	return t != nil && strings.HasPrefix(t.Text, "https://model_signing/"), nil
}
