package integrity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// python is the interpreter that has the peer's tool, model-signing 1.1.1 with
// pyopenssl, which it needs and does not ask for.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PRERUN_MODEL_SIGNING")
	if path == "" {
		t.Skip("the Python tool model-signing is missing; set PRERUN_MODEL_SIGNING to a Python that has it")
	}
	return path
}

// peer runs the tool and reports whether it succeeded.
func peer(t *testing.T, args ...string) (ok bool, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), append([]string{"-m", "model_signing"}, args...)...)
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return err == nil, string(out)
}

// interopFiles have names that the two orders, JSON and careless code treat
// differently.
var interopFiles = map[string]string{
	"onnx-int8.bin":   "B",
	"onnx/model.onnx": "A",
	"onnx.txt":        "C",
	"a b":             "space",
	"ünï/文.txt":       "unicode",
	"q'\"<&>":         "quotes",
	"deep/er/and/er":  strings.Repeat("deeper ", 10),
	"empty":           "",
	"sub/.git/x":      "not ignored",
}

// A keyPair is a key in files, as the peer wants it.
type keyPair struct {
	key             crypto.Signer
	private, public string
	signer          prerun.Signer
	trust           prerun.Verifier
}

func newKeyPair(t *testing.T, curve elliptic.Curve) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := keys.MarshalPrivate(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, trust := keyPairOf(t, key)
	dir := t.TempDir()
	write("key", string(private))(t, dir)
	write("pub", string(public))(t, dir)
	return keyPair{key, dir + "/key", dir + "/pub", signer, trust}
}

// TestInteropCommand runs the command as a user does, in both directions and
// with the bundle inside the model. TestInteropMatrix is the wider test.
func TestInteropCommand(t *testing.T) {
	python(t)
	k := newKeyPair(t, elliptic.P256())
	dir, fsys := writeTree(t, interopFiles)
	write("tmp/x", "ignored")(t, dir)
	inside := filepath.Join(dir, "model.sig")

	m := mustHash(t, integrity.Hasher{Ignore: []string{"model.sig", "tmp"}}, fsys)
	write("model.sig", string(mustSign(t, m, k.signer)))(t, dir)
	if ok, out := peer(t, "verify", "key", "--signature", inside, "--public_key", k.public, dir); !ok {
		t.Errorf("ours, inside the model: %s", out)
	}
	outside := filepath.Join(t.TempDir(), "sig")
	if ok, out := peer(t, "sign", "key", "--signature", outside, "--private_key", k.private,
		"--ignore-paths", filepath.Join(dir, "tmp"), "--ignore-paths", inside, dir); !ok {
		t.Fatalf("the peer signs: %s", out)
	}
	theirs, err := os.ReadFile(outside)
	if err != nil {
		t.Fatal(err)
	}
	r, err := integrity.Verifier{}.Verify(t.Context(), fsys, theirs, k.trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := integrity.Diff(m, r.Manifest); diff != nil {
		t.Errorf("the two manifests differ: %v", diff)
	}
	other := newKeyPair(t, elliptic.P256())
	if ok, _ := peer(t, "verify", "key", "--signature", inside, "--public_key", other.public, dir); ok {
		t.Error("the peer accepts ours by another key")
	}
	write("onnx.txt", "D")(t, dir)
	if ok, _ := peer(t, "verify", "key", "--signature", inside, "--public_key", k.public, dir); ok {
		t.Error("the peer accepts ours for another model")
	}
	_, err = integrity.Verifier{}.Verify(t.Context(), fsys, theirs, k.trust)
	wantKind(t, err, integrity.ErrMismatch)
}
