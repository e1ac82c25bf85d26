package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/integrity/scan"
)

// tensors is a safetensors file of one tensor of n bytes.
func tensors(n int) string {
	header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, n, n)
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + strings.Repeat("\x07", n)
}

const attack = "\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R."

// tarOf is an archive of files, by name.
func tarOf(files map[string]string) string {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		must(err)
	}
	must(w.Close())
	return out.String()
}

func zipped(s string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(s))
	must(err)
	must(w.Close())
	return out.String()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func files(t testing.TB, store oci.Store, ref string) fs.FS {
	t.Helper()
	tree, err := resolve(t, store, ref).Files(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTree(t *testing.T) {
	store := newMemory()
	store.add("v1", build(modelPackConfig, "{}",
		layer{rawWeight, "one", pathed("a/b/one.bin")}, layer{rawWeight, "two", pathed("a/two.bin")},
		layer{rawWeight, "", pathed("empty")}, layer{rawWeight, "nameless", nil}))
	tree := files(t, store, "v1")
	unnamed := "blobs/sha256/" + sum([]byte("nameless"))[len("sha256:"):]
	if err := fstest.TestFS(tree, "a/b/one.bin", "a/two.bin", "empty", unnamed); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"a/b/one.bin": "one", "empty": "", unnamed: "nameless"} {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"nowhere", "a/b/one.bin/x", "../a", "/a"} {
		if _, err := tree.Open(name); err == nil {
			t.Errorf("opened %q", name)
		}
	}
}

// What cannot be a tree is no tree with one of the two left out.
func TestTreeClash(t *testing.T) {
	unnamed := "blobs/sha256/" + sum([]byte("1"))[len("sha256:"):]
	for name, names := range map[string][]string{
		"file_and_folder": {"a", "a/b"}, "folder_and_file": {"a/b/c", "a/b"}, "unnamed": {unnamed, ""},
	} {
		store := newMemory()
		var layers []layer
		for i, n := range names {
			l := layer{rawWeight, "1", nil}
			if n != "" {
				l = layer{rawWeight, fmt.Sprint(i), pathed(n)}
			}
			layers = append(layers, l)
		}
		store.add("v1", build(modelPackConfig, "{}", layers...))
		image, err := oci.Reader{}.Image(t.Context(), store, "v1")
		if err == nil {
			_, err = image.Files(t.Context(), store)
		}
		if !errors.Is(err, oci.ErrName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each way in which models lie in registries is scanned where it is.
func TestScanImages(t *testing.T) {
	folder := map[string]string{"m/good.safetensors": tensors(100), "m/bad.pkl": attack}
	gguf := "GGUF\x03\x00\x00\x00" + strings.Repeat("\x00", 16)
	for _, tt := range []struct {
		name string
		img  image
		want []string
	}{
		{"modelpack", build(modelPackConfig, "{}", layer{rawWeight, tensors(5000), pathed("w.safetensors")}, layer{rawWeight, attack, pathed("x/model.bin")}), []string{"x/model.bin"}},
		{"modelpack_tar", build(modelPackConfig, "{}", layer{"application/vnd.cncf.model.weight.v1.tar", tarOf(folder), pathed("all")}), []string{"all.tar!/m/bad.pkl"}},
		{"kitops", build(kitConfig, `{"model":{"path":"m"}}`, layer{kitLayer + "model.v1.tar+gzip", zipped(tarOf(folder)), nil}), []string{"m.tar.gz!/m.tar!/m/bad.pkl"}},
		{"ollama", build(imageConfig, "{}", layer{ollamaLayer + "model", gguf, nil}, layer{ollamaLayer + "template", "{{ .Prompt }}", nil}), nil},
		{"unnamed", build("application/vnd.oci.empty.v1+json", "{}", layer{"application/octet-stream", attack, nil}), []string{"blobs/sha256/" + sum([]byte(attack))[len("sha256:"):]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			registry := serve(t, true)
			push(t, registry, "v1", tt.img)
			image := resolve(t, registry, "v1")
			res, err := scan.Scanner{}.Scan(t.Context(), files(t, registry, "v1"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for f := range res.Findings() {
				if f.Rule.ID == "scan.pickle.call-on-load" {
					got = append(got, f.Path())
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for g := range res.Gaps() {
				t.Errorf("gap %v", g)
			}
			for s := range res.Subjects() {
				if !slices.ContainsFunc(image.Layers, func(l oci.Layer) bool { return l.Digest.String() == s.Digest }) {
					t.Errorf("subject %v is no layer", s)
				}
			}
		})
	}
}

// A registry that answers parts with other content than the whole is found out
// by a scan that computes digests.
func TestScanHostileRegistry(t *testing.T) {
	content := attack + strings.Repeat("\x00", 3<<20)
	store := newMemory()
	store.add("v1", build(modelPackConfig, "{}", layer{rawWeight, content, pathed("m.pkl")}))
	tree := files(t, store, "v1")
	store.blobs[resolve(t, store, "v1").Layers[0].Digest] = []byte(strings.Repeat("\x00", len(content)))
	res, err := scan.Scanner{}.Scan(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	if v := prerun.Decide(res, prerun.Medium); v == prerun.Pass || res.Completeness() != scan.Failed {
		t.Errorf("%v, %v", v, res.Completeness())
	}
}

// A scan without digests costs what the formats look at, not the model.
func TestScanFetchesLittle(t *testing.T) {
	const size = 24 << 20
	var sent atomic.Int64
	registry := serve(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&counter{w, &sent}, r) })
	})
	push(t, registry, "v1", build(modelPackConfig, "{}", layer{rawWeight, tensors(size), pathed("w.safetensors")}))
	for _, tt := range []struct {
		partial  bool
		min, max int64
	}{{true, 1, 3 << 20}, {false, size, size + 4<<20}} {
		sent.Store(0)
		res, err := scan.Scanner{NoDigests: tt.partial}.Scan(t.Context(), files(t, registry, "v1"))
		if err != nil || res.Verdict() != scan.Clean {
			t.Fatalf("%v, %v", res, err)
		}
		if n := sent.Load(); n < tt.min || n > tt.max {
			t.Errorf("partial %t: %d bytes", tt.partial, n)
		}
	}
}

type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// Many small reads in order are few requests.
func TestBlobReadAhead(t *testing.T) {
	content := large()
	store := &requests{memory: newMemory()}
	d := descriptorOf(content)
	store.blobs[d.Digest] = content
	b, err := oci.OpenBlob(t.Context(), store, d)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	for off := int64(0); off < d.Size; off += 1000 {
		if n, err := b.ReadAt(buf, off); !bytes.Equal(buf[:n], content[off:off+int64(n)]) || err != nil && off+1000 < d.Size {
			t.Fatalf("at %d: %v", off, err)
		}
	}
	if diff := cmp.Diff([]int64{1, 2, 4, 5}, store.chunks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := b.Verify(); err != nil || len(store.chunks) != 4 {
		t.Errorf("%v after %d requests", err, len(store.chunks))
	}
}
