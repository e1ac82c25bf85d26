package oci_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/integrity/oci"
)

// large is a blob of several chunks, all different.
func large() []byte {
	var b bytes.Buffer
	for i := range 11 {
		b.Write(bytes.Repeat([]byte{byte(i + 1)}, 1<<20))
	}
	b.WriteString("end")
	return b.Bytes()
}

func descriptorOf(content []byte) oci.Descriptor {
	return oci.Descriptor{Digest: digest.Digest(sum(content)), Size: int64(len(content))}
}

func TestBlob(t *testing.T) {
	content := large()
	img := build(modelPackConfig, "{}", layer{rawWeight, string(content), pathed("w")}, layer{rawWeight, "", pathed("empty")})
	registry := serve(t, true)
	push(t, registry, "v1", img)
	for name, store := range map[string]oci.Store{"registry": registry, "layout": layout(t, map[string]image{"v1": img})} {
		t.Run(name, func(t *testing.T) {
			layers := resolve(t, store, "v1").Layers
			b, err := oci.OpenBlob(t.Context(), store, layers[0].Descriptor)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []struct{ off, n int }{{5 << 20, 10}, {1<<20 - 2, 4}, {len(content) - 3, 3}, {0, 3 << 20}, {2 << 20, 9 << 20}} {
				p := make([]byte, at.n)
				if n, err := b.ReadAt(p, int64(at.off)); n != at.n || err != nil || !bytes.Equal(p, content[at.off:at.off+at.n]) {
					t.Errorf("%d bytes at %d: %d, %v", at.n, at.off, n, err)
				}
			}
			if n, err := b.ReadAt(make([]byte, 8), b.Size()-3); n != 3 || err != io.EOF {
				t.Errorf("beyond the end: %d, %v", n, err)
			}
			if _, err := b.ReadAt(make([]byte, 8), -1); err == nil {
				t.Error("before the start")
			}
			if err := b.Verify(); err != nil {
				t.Error(err)
			}
			empty, err := oci.OpenBlob(t.Context(), store, layers[1].Descriptor)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := empty.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF || empty.Verify() != nil {
				t.Errorf("empty: %d, %v", n, err)
			}
		})
	}
}

// A store that lies is found out by the end of a full read, or by Verify.
func TestBlobHostile(t *testing.T) {
	content := large()
	store := newMemory()
	d := descriptorOf(content)
	open := func(ctx context.Context) *oci.Blob {
		b, err := oci.OpenBlob(ctx, store, d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	changed := bytes.Clone(content)
	changed[5<<20]++

	store.blobs[d.Digest] = changed
	if _, err := io.Copy(io.Discard, io.NewSectionReader(open(t.Context()), 0, d.Size)); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("read whole: %v", err)
	}
	if err := open(t.Context()).Verify(); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("verify: %v", err)
	}
	last := open(t.Context())
	if _, err := last.ReadAt(make([]byte, 1), d.Size-1); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(last, 0, d.Size)); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("read whole after its end: %v", err)
	}

	// Bad bytes to whoever reads a part, good bytes to whoever checks.
	b := open(t.Context())
	if _, err := b.ReadAt(make([]byte, 1), 5<<20); err != nil {
		t.Fatal(err)
	}
	store.blobs[d.Digest] = content
	if err := b.Verify(); !errors.Is(err, oci.ErrDigest) || !strings.Contains(err.Error(), "changed between two reads") {
		t.Errorf("two faces: %v", err)
	}
	if _, err := b.ReadAt(make([]byte, 1), 0); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("after that: %v", err)
	}

	store.blobs[d.Digest] = content[:1<<20]
	if err := open(t.Context()).Verify(); err == nil {
		t.Error("a short blob is whole")
	}
	ctx, cancel := context.WithCancel(t.Context())
	b = open(ctx)
	cancel()
	if _, err := b.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, bad := range []oci.Descriptor{{Digest: "sha256:../x", Size: 1}, {Digest: d.Digest, Size: -1}, {}} {
		if _, err := oci.OpenBlob(t.Context(), store, bad); err == nil {
			t.Errorf("opened %v", bad)
		}
	}
	if b, err := oci.OpenBlob(t.Context(), store, oci.Descriptor{Digest: d.Digest}); err != nil || !errors.Is(b.Verify(), oci.ErrDigest) {
		t.Errorf("a size of 0: %v", err)
	}
}

// Registries that do not keep to ranges.
func TestBlobRanges(t *testing.T) {
	content := large()
	d := descriptorOf(content)
	for name, h := range map[string]http.HandlerFunc{
		"ignored": answer("", content),
		"other_range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[:10])
		},
		"unsatisfiable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
	} {
		b, err := oci.OpenBlob(t.Context(), serve(t, true, instead("/blobs/", h)), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReadAt(make([]byte, 4), 3<<20); !errors.Is(err, oci.ErrRegistry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
