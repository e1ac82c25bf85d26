package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/strictjson"
)

// Media types of manifests.
const (
	typeManifest       = "application/vnd.oci.image.manifest.v1+json"
	typeIndex          = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeEmpty          = "application/vnd.oci.empty.v1+json"
)

// A wireManifest is an image manifest or an index.
type wireManifest struct {
	SchemaVersion int               `json:"schemaVersion,required"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *wireDescriptor   `json:"config"`
	Layers        []wireDescriptor  `json:"layers"`
	Subject       *wireDescriptor   `json:"subject"`
	Manifests     []wireDescriptor  `json:"manifests"`
	FSLayers      *strictjson.Value `json:"fsLayers"`
	Annotations   map[string]string `json:"annotations"`
}

type wireDescriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest,required"`
	Size         int64             `json:"size,required"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Name         string            `json:"name"` // Ollama's
	Platform     *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	} `json:"platform"`
}

func (w wireDescriptor) descriptor() (Descriptor, error) {
	d, err := parseDigest(w.Digest)
	switch {
	case err != nil:
		return Descriptor{}, err
	case w.Size < 0:
		return Descriptor{}, fmt.Errorf("%s: size %d", d, w.Size)
	}
	out := Descriptor{
		MediaType: w.MediaType, Digest: d, Size: w.Size,
		ArtifactType: w.ArtifactType, Annotations: w.Annotations,
	}
	if p := w.Platform; p != nil {
		out.Platform = strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
	}
	return out, nil
}

func descriptors(list []wireDescriptor) ([]Descriptor, error) {
	out := make([]Descriptor, 0, len(list))
	for _, w := range list {
		d, err := w.descriptor()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// parseDigest accepts digests by SHA-256, the algorithm of everything that this
// package compares.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digestx.Parse(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a digest", s)
	}
	if alg := digestx.Algorithm(d); alg != integrity.SHA256 {
		return "", &Error{Kind: integrity.ErrUnsupported, Digest: d, Detail: "digests other than sha256"}
	}
	return d, nil
}

// isDigest tells digests from tags, which hold no colon.
func isDigest(ref string) bool { return strings.Contains(ref, ":") }

// parseManifest reads a manifest or an index. One that could be read as both is
// refused, as is one that contradicts the media type stated beside it: another
// reader may believe the other half.
func parseManifest(content []byte, stated string) (m *wireManifest, index bool, err error) {
	m = new(wireManifest)
	if _, err := strictjson.Unmarshal(content, m, strictjson.Options{AllowUnknown: true}); err != nil {
		return nil, false, &Error{Kind: ErrMalformed, Digest: digestx.Of(content), Err: err}
	}
	stated, _, _ = strings.Cut(stated, ";")
	stated = strings.TrimSpace(stated)
	isImage := m.Config != nil || len(m.Layers) > 0
	index = !isImage && (m.Manifests != nil || strings.HasSuffix(m.MediaType, "index.v1+json"))
	bad := func(format string, args ...any) (*wireManifest, bool, error) {
		return nil, false, &Error{Kind: ErrMalformed, Digest: digestx.Of(content), Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case m.SchemaVersion == 1 || m.FSLayers != nil:
		return nil, false, &Error{Kind: integrity.ErrUnsupported, Digest: digestx.Of(content), Detail: "manifest of schema version 1"}
	case m.SchemaVersion != 2:
		return bad("schema version %d", m.SchemaVersion)
	case isImage && m.Manifests != nil:
		return bad("both an image and an index")
	case !isImage && !index:
		return bad("neither an image nor an index")
	case !index && m.Config == nil:
		return bad("no config")
	}
	for _, t := range []string{m.MediaType, stated} {
		switch t {
		case typeIndex, typeDockerList:
			if !index {
				return bad("an image called %q", t)
			}
		case typeManifest, typeDockerManifest:
			if index {
				return bad("an index called %q", t)
			}
		default:
			if t != "" && t == m.MediaType {
				return bad("media type %q", t)
			}
		}
	}
	return m, index, nil
}
