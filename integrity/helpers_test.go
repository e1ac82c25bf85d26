package integrity_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

func TestMain(m *testing.M) {
	if runMemoryChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// testKeys is a signer and a verifier of one key derived from a label.
func testKeys(t testing.TB, label string) (*integrity.KeySigner, *integrity.KeyVerifier) {
	t.Helper()
	return keyPairOf(t, keys.Demo(label))
}

// keyPairOf is a signer and a verifier of a key.
func keyPairOf(t testing.TB, key crypto.Signer) (*integrity.KeySigner, *integrity.KeyVerifier) {
	t.Helper()
	signer, err := integrity.NewKeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewKeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, trust
}

// tiny is the example of the format's description, with its real digests.
func tiny() fstest.MapFS {
	return fstest.MapFS{
		"a.txt":     {Data: []byte("hello\n")},
		"sub/w.bin": {Data: []byte{0, 1, 2, 3}},
	}
}

const (
	tinyRoot = "sha256:c89e79b2704427fbf5eb7d07bf425c44d7c5b362e1841ae65525d61c8d8d157d"
	sumA     = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	sumW     = "054edec1d0211f624fed0cbca9d4f9400b0e491c43742af2c5b0abebf0c990d8"
)

func mustHash(t testing.TB, h integrity.Hasher, fsys fs.FS) *integrity.Manifest {
	t.Helper()
	m, err := h.Hash(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustSign(t testing.TB, m *integrity.Manifest, signer prerun.Signer) []byte {
	t.Helper()
	bundle, err := integrity.Signing{Name: "tiny"}.Sign(t.Context(), m, signer)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// A resource of a hand-written statement; Alg "" is sha256.
type resource struct{ Name, Digest, Alg string }

const serializeFiles = `{"method":"files","hash_type":"sha256","allow_symlinks":false}`

// statement writes a statement by hand, with the root digest that belongs to
// the resources, so that a test can break one thing alone.
func statement(serialization string, resources ...resource) string {
	h := sha256.New()
	var list []string
	for _, r := range resources {
		raw, err := hex.DecodeString(r.Digest)
		if err != nil {
			panic(err)
		}
		h.Write(raw)
		if r.Alg == "" {
			r.Alg = "sha256"
		}
		name, err := json.Marshal(r.Name)
		if err != nil {
			panic(err)
		}
		list = append(list, fmt.Sprintf(`{"name":%s,"algorithm":%q,"digest":%q}`, name, r.Alg, r.Digest))
	}
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"tiny","digest":{"sha256":"%x"}}],`+
		`"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[%s],"serialization":%s}}`,
		h.Sum(nil), strings.Join(list, ","), serialization)
}

// replace is strings.Replace that insists on exactly one place.
func replace(t testing.TB, s, old, new string) string {
	t.Helper()
	if n := strings.Count(s, old); n != 1 {
		t.Fatalf("%q occurs %d times", old, n)
	}
	return strings.Replace(s, old, new, 1)
}

func ruleIDs(r *integrity.Result, threshold prerun.Severity) []string {
	var out []string
	for f := range r.Findings() {
		if f.Severity.AtLeast(threshold) {
			out = append(out, f.Rule.ID+" "+f.Path())
		}
	}
	return out
}

// checkSource holds a result to the contract of its vocabulary.
func checkSource(t testing.TB, r *integrity.Result, err error) {
	t.Helper()
	for f := range r.Findings() {
		if e := f.Check(); e != nil {
			t.Error(e)
		}
	}
	want := prerun.Pass
	switch {
	case integrity.Rejected(err):
		want = prerun.Fail
	case err != nil:
		want = prerun.Incomplete
	}
	if got := prerun.Decide(r, prerun.Medium); got != want {
		t.Errorf("verdict %v for error %v, want %v", got, err, want)
	}
	if r.Verified() != (err == nil) {
		t.Errorf("Verified is %v for error %v", r.Verified(), err)
	}
}

// A spyFS counts what is opened.
type spyFS struct {
	fs.FS
	opened *atomic.Int64
}

func spy(fsys fs.FS) spyFS { return spyFS{fsys, new(atomic.Int64)} }

func (s spyFS) Open(name string) (fs.File, error) {
	s.opened.Add(1)
	return s.FS.Open(name)
}

// writeTree makes files in a new folder and opens it as a root.
func writeTree(t testing.TB, files map[string]string) (dir string, fsys fs.FS) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return dir, root.FS()
}

func symlink(t testing.TB, target, dir, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
