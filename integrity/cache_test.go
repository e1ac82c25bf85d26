package integrity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
)

// needIdentity skips where the system cannot tell two states of a file apart.
func needIdentity(t *testing.T) {
	t.Helper()
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := integrity.SystemIdentity(info); !ok {
		t.Skip("this system gives files no identity")
	}
}

// later lets files that a test has just written count as settled.
func later() time.Time { return time.Now().Add(time.Hour) }

// A readSpy notes which files were opened.
type readSpy struct {
	fs.FS
	names map[string]bool
}

func (s readSpy) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err == nil {
		if info, e := f.Stat(); e == nil && !info.IsDir() {
			s.names[name] = true
		}
	}
	return f, err
}

// hashed hashes and says which files were read.
func hashed(t *testing.T, h integrity.Hasher, fsys fs.FS) (m *integrity.Manifest, read map[string]bool) {
	t.Helper()
	h.Workers = 1
	spy := readSpy{fsys, map[string]bool{}}
	return mustHash(t, h, spy), spy.names
}

func set(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, name := range names {
		out[name] = true
	}
	return out
}

func TestCache(t *testing.T) {
	needIdentity(t)
	for _, shard := range []int64{0, 8} {
		dir, fsys := writeTree(t, map[string]string{"README": "read me", "w1": "weights one, long", "d/w2": "weights two"})
		cache := &integrity.Cache{Now: later}
		h := integrity.Hasher{ShardSize: shard, Cache: cache}
		want := mustHash(t, integrity.Hasher{ShardSize: shard}, fsys)
		check := func(step string, want *integrity.Manifest, read ...string) {
			t.Helper()
			got, opened := hashed(t, h, fsys)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step, diff)
			}
			if diff := cmp.Diff(set(read...), opened); diff != "" {
				t.Errorf("%s: read (-want +got):\n%s", step, diff)
			}
		}
		check("first", want, "README", "w1", "d/w2")
		check("again", want)
		write("README", "changed")(t, dir)
		want = mustHash(t, integrity.Hasher{ShardSize: shard}, fsys)
		check("one edited", want, "README")

		// Other content of the same size, with the old times put back.
		info, err := os.Stat(filepath.Join(dir, "w1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
		write("w1", "Weights one, long")(t, dir)
		if err := os.Chtimes(filepath.Join(dir, "w1"), time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		want = mustHash(t, integrity.Hasher{ShardSize: shard}, fsys)
		check("times restored", want, "w1")

		rename("README", "README.md")(t, dir) // a rename may or may not change the identity
		want = mustHash(t, integrity.Hasher{ShardSize: shard}, fsys)
		if got, _ := hashed(t, h, fsys); cmp.Diff(want, got) != "" {
			t.Errorf("renamed: %v", cmp.Diff(want, got))
		}

		// Other parameters have other digests.
		h.ShardSize += 4
		want = mustHash(t, integrity.Hasher{ShardSize: h.ShardSize}, fsys)
		check("other shards", want, "README.md", "w1", "d/w2")

		var stored bytes.Buffer
		if err := cache.Store(&stored); err != nil {
			t.Fatal(err)
		}
		loaded := &integrity.Cache{Now: later}
		if err := loaded.Load(bytes.NewReader(stored.Bytes())); err != nil {
			t.Fatal(err)
		}
		h.Cache = loaded
		check("loaded", want)
		var again bytes.Buffer
		if err := loaded.Store(&again); err != nil {
			t.Fatal(err)
		}
		if again.Len() >= stored.Len() || !strings.HasPrefix(again.String(), "prerun hash cache 1\n") {
			t.Errorf("%d bytes stored after %d: what nobody asked for was kept", again.Len(), stored.Len())
		}
	}
}

func TestCacheVerify(t *testing.T) {
	needIdentity(t)
	signer, trust := testKeys(t, "cache")
	dir, fsys := writeTree(t, map[string]string{"a": "aaaa", "b": "bbbb"})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	v := integrity.Verifier{InsecureCache: &integrity.Cache{Now: later}, Workers: 1}
	for _, want := range []map[string]bool{set("a", "b"), set()} {
		spy := readSpy{fsys, map[string]bool{}}
		if _, err := v.Verify(t.Context(), spy, bundle, trust); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, spy.names); diff != "" {
			t.Errorf("read (-want +got):\n%s", diff)
		}
	}
	write("a", "aaab")(t, dir)
	_, err := v.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
}

// TestCacheUnsettled: what has just been written may be written again within
// the same tick, so it is not remembered. Nor is what has no identity.
func TestCacheUnsettled(t *testing.T) {
	_, fsys := writeTree(t, map[string]string{"a": "x"})
	h := integrity.Hasher{Cache: new(integrity.Cache)}
	for range 2 {
		if _, read := hashed(t, h, fsys); !read["a"] {
			t.Error("a fresh file was not read")
		}
	}
	h.Cache.Now = later
	for range 2 {
		if _, read := hashed(t, h, fstest.MapFS{"a": {Data: []byte("x")}}); !read["a"] {
			t.Error("a file without identity was not read")
		}
	}
}

// TestCacheIdentify: whatever the caller's identity leaves out, a file of
// another size is another file.
func TestCacheIdentify(t *testing.T) {
	c := &integrity.Cache{Now: later, Identify: func(info fs.FileInfo) (integrity.Identity, bool) {
		return integrity.Identity{Key: info.Name(), Changed: info.ModTime()}, true
	}}
	for _, content := range []string{"x", "longer"} {
		if _, read := hashed(t, integrity.Hasher{Cache: c}, fstest.MapFS{"a": {Data: []byte(content)}}); !read["a"] {
			t.Errorf("%q was not read", content)
		}
	}
}

// TestCacheParanoid exchanges content under restored times before a verifier
// that believes the time of modification, one that asks the system, and one
// without a cache, which is the setting for the paranoid and the default.
func TestCacheParanoid(t *testing.T) {
	needIdentity(t)
	signer, trust := testKeys(t, "cache")
	dir, fsys := writeTree(t, map[string]string{"a": "aaaa"})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	byTime := &integrity.Cache{Now: later, Identify: func(info fs.FileInfo) (integrity.Identity, bool) {
		return integrity.Identity{Key: info.Name() + info.ModTime().String(), Changed: info.ModTime()}, true
	}}
	bySystem := &integrity.Cache{Now: later}
	for _, c := range []*integrity.Cache{byTime, bySystem} {
		if _, err := (integrity.Verifier{InsecureCache: c}).Verify(t.Context(), fsys, bundle, trust); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "a")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
	write("a", "aaab")(t, dir)
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := (integrity.Verifier{InsecureCache: byTime}).Verify(t.Context(), fsys, bundle, trust); err != nil {
		t.Errorf("by the time of modification, which was restored: %v", err)
	}
	for _, c := range []*integrity.Cache{bySystem, nil} {
		_, err := integrity.Verifier{InsecureCache: c}.Verify(t.Context(), fsys, bundle, trust)
		wantKind(t, err, integrity.ErrMismatch)
	}
}

func TestCacheLoadRefuses(t *testing.T) {
	const header = "prerun hash cache 1\n"
	for name, stored := range map[string]string{
		"empty":       "",
		"other":       "something else\n",
		"no_digest":   header + "sha256 0 1 \"x\"\n",
		"bad_digest":  header + "sha256 0 1 \"x\"\tsha256:00\n",
		"upper_case":  header + "sha256 0 1 \"x\"\tsha256:" + strings.ToUpper(sumA) + "\n",
		"cut_digests": header + "sha256 0 1 \"x\"\tsha256:" + sumA + "\tsha2\n",
	} {
		var c integrity.Cache
		if err := c.Load(strings.NewReader(stored)); err == nil {
			t.Errorf("%s: loaded", name)
		}
		var out bytes.Buffer
		if err := c.Store(&out); err != nil || out.String() != header {
			t.Errorf("%s: left %q, %v", name, out.String(), err)
		}
	}
	var c integrity.Cache
	broken := errors.New("broken")
	if err := c.Store(failingWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("stored into a broken writer: %v", err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func FuzzCacheLoad(f *testing.F) {
	f.Add("prerun hash cache 1\nsha256 0 1 \"x\"\tsha256:" + sumA + "\n")
	f.Fuzz(func(t *testing.T, s string) {
		var c integrity.Cache
		if c.Load(strings.NewReader(s)) != nil {
			return
		}
		if !strings.HasPrefix(s, "prerun hash cache 1") {
			t.Errorf("loaded %q", s)
		}
	})
}

// Keep a cache between runs: of a large model, only what changed is read.
func ExampleCache() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	if err := root.WriteFile("model.bin", []byte("weights"), 0o644); err != nil {
		log.Fatal(err)
	}

	// As if the file were old: what has just been written is not remembered.
	cache := &integrity.Cache{Now: func() time.Time { return time.Now().Add(time.Minute) }}
	for range 2 {
		var read int64
		h := integrity.Hasher{Cache: cache, Progress: func(done, total int64) { read = done }}
		m, err := h.Hash(context.Background(), root.FS())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(m.Resources), "file,", read, "bytes read")
		var stored bytes.Buffer // a file, in a program
		if err := cache.Store(&stored); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 1 file, 7 bytes read
	// 1 file, 0 bytes read
}

// TestCacheAlgorithms: what any algorithm leaves in a cache can be stored.
func TestCacheAlgorithms(t *testing.T) {
	needIdentity(t)
	_, fsys := writeTree(t, map[string]string{"a": "x", "b": "0123456789"})
	var stored bytes.Buffer
	var want []*integrity.Manifest
	c := &integrity.Cache{Now: later}
	hashers := []integrity.Hasher{
		{}, {Algorithm: integrity.BLAKE2b}, {Algorithm: integrity.BLAKE3}, {Algorithm: integrity.BLAKE3, ShardSize: 4},
	}
	for _, h := range hashers {
		h.Cache = c
		want = append(want, mustHash(t, h, fsys))
	}
	if err := c.Store(&stored); err != nil {
		t.Fatal(err)
	}
	loaded := &integrity.Cache{Now: later}
	if err := loaded.Load(&stored); err != nil {
		t.Fatal(err)
	}
	for i, h := range hashers {
		h.Cache = loaded
		got, read := hashed(t, h, fsys)
		if diff := cmp.Diff(want[i], got); diff != "" || len(read) > 0 {
			t.Errorf("%s: read %v (-want +got):\n%s", h.Algorithm, read, diff)
		}
	}
}
