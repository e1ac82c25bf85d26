package oci_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/internal/keys"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	repository   = "models/tiny"
)

// An object is JSON in the making.
type object = map[string]any

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(h[:])
}

func descriptor(mediaType string, content []byte, annotations map[string]string) object {
	d := object{"mediaType": mediaType, "digest": sum(content), "size": len(content)}
	if annotations != nil {
		d["annotations"] = annotations
	}
	return d
}

func titled(name string) map[string]string {
	return map[string]string{"org.opencontainers.image.title": name}
}

func pathed(name string) map[string]string {
	return map[string]string{"org.cncf.model.filepath": name}
}

// An image under construction.
type image struct {
	manifest []byte
	blobs    [][]byte
}

func (i image) digest() digest.Digest { return digest.Digest(sum(i.manifest)) }

type layer struct {
	mediaType, content string
	annotations        map[string]string
}

func build(configType, config string, layers ...layer) image {
	img := image{blobs: [][]byte{[]byte(config)}}
	var list []object
	for _, l := range layers {
		img.blobs = append(img.blobs, []byte(l.content))
		list = append(list, descriptor(l.mediaType, []byte(l.content), l.annotations))
	}
	img.manifest = marshal(object{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": descriptor(configType, []byte(config), nil), "layers": list,
	})
	return img
}

const (
	modelPackConfig = "application/vnd.cncf.model.config.v1+json"
	rawWeight       = "application/vnd.cncf.model.weight.v1.raw"
)

// tiny is the model of most tests.
func tiny() image {
	return build(modelPackConfig, `{"config":{"format":"safetensors"}}`,
		layer{"application/vnd.cncf.model.weight.config.v1.raw", `{"layers":2}`, pathed("config.json")},
		layer{rawWeight, "weights", pathed("model/model.safetensors")})
}

// memory is a [oci.Store] of somebody else.
type memory struct {
	tags      map[string]digest.Digest
	blobs     map[digest.Digest][]byte
	referrers []oci.Descriptor
}

func newMemory() *memory {
	return &memory{make(map[string]digest.Digest), make(map[digest.Digest][]byte), nil}
}

func (m *memory) add(tag string, img image) {
	for _, b := range append(img.blobs, img.manifest) {
		m.blobs[digest.Digest(sum(b))] = b
	}
	m.tags[tag] = img.digest()
}

func (m *memory) Manifest(_ context.Context, ref string) ([]byte, string, error) {
	d, ok := m.tags[ref]
	if !ok {
		d = digest.Digest(ref)
	}
	content, ok := m.blobs[d]
	if !ok {
		return nil, "", oci.ErrNotFound
	}
	return content, "", nil
}

func (m *memory) Range(_ context.Context, blob oci.Descriptor, offset, length int64) (io.ReadCloser, error) {
	content, ok := m.blobs[blob.Digest]
	if !ok {
		return nil, oci.ErrNotFound
	}
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(content), offset, length)), nil
}

func (m *memory) Referrers(context.Context, digest.Digest) ([]oci.Descriptor, error) {
	return m.referrers, nil
}

func (m *memory) Push(_ context.Context, _ digest.Digest, manifest []byte, blobs ...[]byte) error {
	for _, b := range append(slices.Clone(blobs), manifest) {
		m.blobs[digest.Digest(sum(b))] = b
	}
	m.referrers = append(m.referrers, oci.Descriptor{Digest: digest.Digest(sum(manifest))})
	return nil
}

// serve runs a registry, with handlers in front of it.
func serve(t testing.TB, referrers bool, wrap ...func(http.Handler) http.Handler) *oci.Registry {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	for _, w := range wrap {
		h = w(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &oci.Registry{
		Repository: strings.TrimPrefix(server.URL, "http://") + "/" + repository,
		Transport:  server.Client().Transport,
	}
}

// push uploads an image by plain requests, as another tool would.
func push(t testing.TB, r *oci.Registry, tag string, img image) {
	t.Helper()
	host, repo, _ := strings.Cut(r.Repository, "/")
	base := "http://" + host + "/v2/" + repo
	do := func(method, url, contentType string, body []byte) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		resp, err := r.Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s", method, url, resp.Status)
		}
		return resp
	}
	for _, b := range img.blobs {
		u, err := do(http.MethodPost, base+"/blobs/uploads/", "", nil).Location()
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("digest", sum(b))
		u.RawQuery = q.Encode()
		do(http.MethodPut, u.String(), "application/octet-stream", b)
	}
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(img.manifest, &m); err != nil {
		t.Fatal(err)
	}
	do(http.MethodPut, base+"/manifests/"+tag, m.MediaType, img.manifest)
}

// layout writes images to a layout, by their tags.
func layout(t testing.TB, images map[string]image) *oci.Layout {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	write := func(name string, data []byte) {
		if err := root.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.MkdirAll("blobs/sha256", 0o755); err != nil {
		t.Fatal(err)
	}
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	list := []object{}
	for _, tag := range slices.Sorted(maps.Keys(images)) {
		img := images[tag]
		for _, b := range append(img.blobs, img.manifest) {
			write("blobs/sha256/"+sum(b)[len("sha256:"):], b)
		}
		list = append(list, descriptor(manifestType, img.manifest, map[string]string{"org.opencontainers.image.ref.name": tag}))
	}
	write("index.json", marshal(object{"schemaVersion": 2, "manifests": list, "annotations": object{"kept": "yes"}}))
	return &oci.Layout{Root: root}
}

func signer(label string) prerun.Signer {
	s, err := integrity.NewKeySigner(keys.Demo(label))
	if err != nil {
		log.Fatal(err)
	}
	return s
}

func trust(label string) prerun.Verifier {
	v, err := integrity.NewKeyVerifier(keys.Demo(label).Public())
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func resolve(t testing.TB, store oci.Store, ref string) *oci.Image {
	t.Helper()
	img, err := oci.Reader{}.Image(t.Context(), store, ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// sign signs an image and attaches the bundle.
func sign(t testing.TB, store oci.Pusher, img *oci.Image, label string) oci.Descriptor {
	t.Helper()
	bundle, err := oci.Signing{Name: "tiny"}.Sign(t.Context(), img, signer(label))
	if err != nil {
		t.Fatal(err)
	}
	d, err := oci.Attach(t.Context(), store, img, bundle)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func ruleIDs(src prerun.Source) []string {
	var ids []string
	for f := range src.Findings() {
		ids = append(ids, f.Rule.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// requests counts the chunks that each request asks for.
type requests struct {
	*memory
	chunks []int64
}

func (r *requests) Range(ctx context.Context, blob oci.Descriptor, offset, length int64) (io.ReadCloser, error) {
	r.chunks = append(r.chunks, (length+1<<20-1)/(1<<20))
	return r.memory.Range(ctx, blob, offset, length)
}
