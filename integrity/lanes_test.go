package integrity_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/blake2b"
	"lukechampine.com/blake3"

	"github.com/prerun/prerun/integrity"
)

// lanesTree has files of all sizes around those of blocks and buffers.
func lanesTree(n int) fstest.MapFS {
	tree := fstest.MapFS{}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		size := []int{rng.IntN(200), rng.IntN(1 << 13), rng.IntN(300_000), 64<<10 + rng.IntN(3) - 1}[i%4]
		data := make([]byte, size)
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		tree[fmt.Sprintf("f%03d", i)] = &fstest.MapFile{Data: data}
	}
	tree["large"] = &fstest.MapFile{Data: make([]byte, 3<<20+1)}
	tree["zero"] = &fstest.MapFile{}
	return tree
}

// sums are the digests of other implementations.
var sums = map[string]func(p []byte) []byte{
	integrity.SHA256:  func(p []byte) []byte { s := sha256.Sum256(p); return s[:] },
	integrity.BLAKE2b: func(p []byte) []byte { s := blake2b.Sum512(p); return s[:] },
	integrity.BLAKE3:  func(p []byte) []byte { s := blake3.Sum256(p); return s[:] },
}

// checkManifest compares a manifest with digests that each resource has alone.
func checkManifest(t *testing.T, m *integrity.Manifest, tree fstest.MapFS) {
	t.Helper()
	covered := make(map[string]int64)
	for _, r := range m.Resources {
		data := tree[r.Path].Data
		if r.End > 0 {
			data = data[r.Start:r.End]
		}
		covered[r.Path] += int64(len(data))
		want := digest.Digest(fmt.Sprintf("%s:%x", m.Algorithm, sums[m.Algorithm](data)))
		if r.Digest != want {
			t.Fatalf("shards of %d: %s has %s, want %s", m.ShardSize, r.Name(), r.Digest, want)
		}
	}
	for name, f := range tree {
		if covered[name] != int64(len(f.Data)) {
			t.Errorf("%d of %d bytes of %s were hashed", covered[name], len(f.Data), name)
		}
	}
}

// TestLanes: files that are hashed side by side have the digests that each has
// alone.
func TestLanes(t *testing.T) {
	for algorithm := range sums {
		for _, files := range []int{0, 1, 2, 7, 60} {
			tree := lanesTree(files)
			for _, shard := range []int64{0, 5000, 64 << 10, 100_000, 1 << 20} {
				for _, workers := range []int{1, 2, 5} {
					h := integrity.Hasher{Algorithm: algorithm, ShardSize: shard, Workers: workers}
					checkManifest(t, mustHash(t, h, tree), tree)
				}
			}
		}
	}
}

// TestParts: a resource that is hashed in parts has the digest of the whole.
func TestParts(t *testing.T) {
	data := make([]byte, 49<<20+5)
	for i := range data {
		data[i] = byte(i>>16) ^ byte(i)
	}
	tree := fstest.MapFS{
		"large": {Data: data}, "two": {Data: data[:32<<20]}, "two_and_one": {Data: data[:32<<20+1]},
		"one": {Data: data[:16<<20]}, "small": {Data: data[:100]}, "zero": {},
	}
	for _, shard := range []int64{0, 16 << 20, 33<<20 + 1} {
		for _, workers := range []int{1, 3} {
			h := integrity.Hasher{Algorithm: integrity.BLAKE3, ShardSize: shard, Workers: workers}
			checkManifest(t, mustHash(t, h, tree), tree)
		}
	}
	// Without seeking, a file is one job.
	const size = 40 << 20
	m := mustHash(t, integrity.Hasher{Algorithm: integrity.BLAKE3}, sparse{"big": size})
	if want := fmt.Sprintf("blake3:%x", blake3.Sum256(make([]byte, size))); string(m.Resources[0].Digest) != want {
		t.Errorf("%s, want %s", m.Resources[0].Digest, want)
	}
}

// TestLanesWithBadFiles: a file that cannot be read does not change the others
// on the same core, and all bad files are named.
func TestLanesWithBadFiles(t *testing.T) {
	tree := lanesTree(40)
	scratched := scratchedFS{tree, map[string]bool{"f002": true, "f006": true, "large": true}}
	_, err := integrity.Hasher{Workers: 1}.Hash(t.Context(), scratched)
	if !errors.Is(err, integrity.ErrRead) {
		t.Fatalf("error %v, want %v", err, integrity.ErrRead)
	}
	var bad []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		if e, ok := errors.AsType[*integrity.Error](err); ok {
			bad = append(bad, e.Path)
		}
	}
	if got := fmt.Sprint(bad); got != "[f002 f006 large]" {
		t.Errorf("bad files %s", got)
	}
	signer, trust := testKeys(t, "torn")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tree), signer)
	r, err := integrity.Verifier{}.Verify(t.Context(), scratched, bundle, trust)
	wantKind(t, err, integrity.ErrRead)
	if len(r.Differences) > 0 {
		t.Errorf("differences %v among files that could be read", r.Differences)
	}
}

type scratchedFS struct {
	fs.FS
	torn map[string]bool
}

func (t scratchedFS) Open(name string) (fs.File, error) {
	f, err := t.FS.Open(name)
	if err == nil && t.torn[name] {
		return &halfFile{File: f}, nil
	}
	return f, err
}

// A halfFile fails at its second read.
type halfFile struct {
	fs.File
	reads int
}

func (f *halfFile) Read(p []byte) (int, error) {
	if f.reads++; f.reads > 1 {
		return 0, errors.New("bad sector")
	}
	return f.File.Read(p[:len(p)/2])
}
