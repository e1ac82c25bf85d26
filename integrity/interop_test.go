package integrity_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func peerScript(t *testing.T, script string, args ...string) (ok bool, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), append([]string{"-c", script}, args...)...)
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
	signer, err := integrity.NewKeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewKeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write("key", string(private))(t, dir)
	write("pub", string(public))(t, dir)
	return keyPair{key, dir + "/key", dir + "/pub", signer, trust}
}

var curves = map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}

// damages are what both tools must refuse.
var damages = map[string]func(t *testing.T, dir string){
	"flipped": write("onnx.txt", "D"),
	"added":   write("new", "n"),
	"removed": remove("a b"),
	"renamed": rename("onnx.txt", "onnx.tx"),
}

// TestInteropKey: bundles of method key, in both directions.
func TestInteropKey(t *testing.T) {
	python(t)
	for name, curve := range curves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyPair(t, curve)
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
			for damage, apply := range damages {
				dir, fsys := writeTree(t, interopFiles)
				m := mustHash(t, integrity.Hasher{Ignore: []string{"model.sig", "tmp"}}, fsys)
				write("model.sig", string(mustSign(t, m, k.signer)))(t, dir)
				apply(t, dir)
				if ok, _ := peer(t, "verify", "key", "--signature", dir+"/model.sig", "--public_key", k.public, dir); ok {
					t.Errorf("%s: the peer accepts ours", damage)
				}
				if _, err := (integrity.Verifier{Ignore: []string{"model.sig"}}).Verify(t.Context(), fsys, theirs, k.trust); !integrity.Rejected(err) {
					t.Errorf("%s: theirs: %v", damage, err)
				}
			}
			other := newKeyPair(t, curve)
			if ok, _ := peer(t, "verify", "key", "--signature", inside, "--public_key", other.public, dir); ok {
				t.Error("the peer accepts ours by another key")
			}
		})
	}
}

// TestInteropSingleFile: the peer reads a single file under its own name for
// it only.
func TestInteropSingleFile(t *testing.T) {
	k := newKeyPair(t, elliptic.P256())
	dir, fsys := writeTree(t, map[string]string{"w.bin": "weights"})
	m, err := integrity.Hasher{}.HashFile(t.Context(), fsys, "w.bin")
	if err != nil {
		t.Fatal(err)
	}
	for form, want := range map[integrity.Form]bool{integrity.FormPython: true, integrity.FormSpec: false} {
		bundle, err := integrity.Signing{Name: "w.bin", Form: form}.Sign(t.Context(), m, k.signer)
		if err != nil {
			t.Fatal(err)
		}
		sig := filepath.Join(t.TempDir(), "sig")
		if err := os.WriteFile(sig, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, out := peer(t, "verify", "key", "--signature", sig, "--public_key", k.public, dir+"/w.bin"); ok != want {
			t.Errorf("form %d: the peer says %v: %s", form, ok, out)
		}
	}
	sig := filepath.Join(t.TempDir(), "sig")
	if ok, out := peer(t, "sign", "key", "--signature", sig, "--private_key", k.private, dir+"/w.bin"); !ok {
		t.Fatal(out)
	}
	theirs, err := os.ReadFile(sig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (integrity.Verifier{}).VerifyFile(t.Context(), fsys, "w.bin", theirs, k.trust); err != nil {
		t.Error(err)
	}
}

// TestInteropSymlinks: links inside the model, in both directions. The peer
// must be told again what was signed.
func TestInteropSymlinks(t *testing.T) {
	k := newKeyPair(t, elliptic.P256())
	dir, fsys := writeTree(t, map[string]string{"a": "x", "d/y": "y"})
	symlink(t, "a", dir, "l")
	symlink(t, "d", dir, "folder") // neither tool enters it
	sig := filepath.Join(t.TempDir(), "sig")
	if err := os.WriteFile(sig, mustSign(t, mustHash(t, integrity.Hasher{AllowSymlinks: true}, fsys), k.signer), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, out := peer(t, "verify", "key", "--signature", sig, "--public_key", k.public, "--allow_symlinks", dir); !ok {
		t.Errorf("ours: %s", out)
	}
	if ok, out := peer(t, "sign", "key", "--signature", sig, "--private_key", k.private, "--allow_symlinks", dir); !ok {
		t.Fatal(out)
	}
	theirs, err := os.ReadFile(sig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (integrity.Verifier{}).Verify(t.Context(), fsys, theirs, k.trust); err != nil {
		t.Errorf("theirs: %v", err)
	}
}

// TestInteropCertificate: bundles of method certificate, in both directions.
func TestInteropCertificate(t *testing.T) {
	python(t)
	now := time.Now().Truncate(time.Second)
	valid := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour) }
	ca := func(c *x509.Certificate) { authority(c); valid(c) }
	root := issue(t, "root", nil, ca)
	middle := issue(t, "middle", root, ca)
	leaf := issue(t, "leaf", middle, func(c *x509.Certificate) {
		valid(c)
		c.NotBefore = now.Add(-time.Minute) // the peer asks whether the chain was valid then
	})
	dir, fsys := writeTree(t, interopFiles)
	files := t.TempDir()
	for name, c := range map[string]*testCert{"root": root, "middle": middle, "leaf": leaf} {
		write(name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))(t, files)
	}
	private, err := keys.MarshalPrivate(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	write("key", string(private))(t, files)

	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	sig := filepath.Join(files, "sig")
	if err := os.WriteFile(sig, mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, out := peer(t, "verify", "certificate", "--signature", sig, "--certificate_chain", files+"/root", dir); !ok {
		t.Errorf("ours: %s", out)
	}
	if ok, out := peer(t, "sign", "certificate", "--signature", sig, "--private_key", files+"/key",
		"--signing_certificate", files+"/leaf", "--certificate_chain", files+"/middle", dir); !ok {
		t.Fatal(out)
	}
	theirs, err := os.ReadFile(sig)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewCertificateVerifier(root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (integrity.Verifier{}).Verify(t.Context(), fsys, theirs, trust); err != nil {
		t.Errorf("theirs: %v", err)
	}
}

const peerSign = `
import sys, pathlib, model_signing
model, sig, key, hashing, size = sys.argv[1:]
config = model_signing.hashing.Config()
if size == "0":
    config.use_file_serialization(hashing_algorithm=hashing)
else:
    config.use_shard_serialization(hashing_algorithm=hashing, shard_size=int(size))
model_signing.signing.Config().use_elliptic_key_signer(private_key=pathlib.Path(key)).set_hashing_config(config).sign(pathlib.Path(model), pathlib.Path(sig))
`

const peerVerify = `
import sys, pathlib, model_signing
model, sig, pub = sys.argv[1:4]
config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=pathlib.Path(pub))
if len(sys.argv) > 4:
    hashing = model_signing.hashing.Config()
    if sys.argv[5] == "0":
        hashing.use_file_serialization(hashing_algorithm=sys.argv[4])
    else:
        hashing.use_shard_serialization(hashing_algorithm=sys.argv[4], shard_size=int(sys.argv[5]))
    config.set_hashing_config(hashing)
config.verify(pathlib.Path(model), pathlib.Path(sig))
`

// TestInteropAPI: what the peer's command cannot do and its library can.
func TestInteropAPI(t *testing.T) {
	k := newKeyPair(t, elliptic.P256())
	dir, fsys := writeTree(t, interopFiles)
	for _, tt := range []struct {
		hash string
		size int64
		want integrity.Parameters
	}{
		{"sha256", 0, integrity.Parameters{Algorithm: integrity.SHA256}},
		{"sha256", 8, integrity.Parameters{Algorithm: integrity.SHA256, ShardSize: 8}},
		{"sha256", integrity.DefaultShardSize, integrity.Parameters{Algorithm: integrity.SHA256, ShardSize: integrity.DefaultShardSize}},
		{"blake2", 0, integrity.Parameters{Algorithm: integrity.BLAKE2b}},
		{"blake2", 8, integrity.Parameters{Algorithm: integrity.BLAKE2b, ShardSize: 8}},
		{"blake3", 0, integrity.Parameters{Algorithm: integrity.BLAKE3}},
		{"blake3", 8, integrity.Parameters{Algorithm: integrity.BLAKE3}}, // the peer means files
	} {
		t.Run(fmt.Sprintf("%s_%d", tt.hash, tt.size), func(t *testing.T) {
			sig := filepath.Join(t.TempDir(), "sig")
			if ok, out := peerScript(t, peerSign, dir, sig, k.private, tt.hash, fmt.Sprint(tt.size)); !ok {
				t.Fatal(out)
			}
			theirs, err := os.ReadFile(sig)
			if err != nil {
				t.Fatal(err)
			}
			r, err := integrity.Verifier{}.Verify(t.Context(), fsys, theirs, k.trust)
			if err != nil {
				t.Fatal(err)
			}
			checkSource(t, r, err)
			if got := r.Manifest.Parameters; got.Algorithm != tt.want.Algorithm || got.ShardSize != tt.want.ShardSize {
				t.Errorf("signed by %s of %s", got.Method(), got.Algorithm)
			}
			write("onnx.txt", "changed")(t, dir)
			_, err = integrity.Verifier{}.Verify(t.Context(), fsys, theirs, k.trust)
			wantKind(t, err, integrity.ErrMismatch)
			write("onnx.txt", interopFiles["onnx.txt"])(t, dir)
		})
	}
}

// TestInteropAPIOurs: what we sign and the peer's command cannot verify.
func TestInteropAPIOurs(t *testing.T) {
	k := newKeyPair(t, elliptic.P256())
	dir, fsys := writeTree(t, interopFiles)
	for _, tt := range []struct {
		integrity.Hasher
		form integrity.Form
		as   []string // hashing and shard size that the peer's caller must name
		want bool
	}{
		{integrity.Hasher{ShardSize: 8}, integrity.FormPython, nil, true},
		{integrity.Hasher{ShardSize: 8}, integrity.FormSpec, nil, false},
		{integrity.Hasher{Algorithm: integrity.BLAKE3}, integrity.FormPython, nil, true},
		{integrity.Hasher{Algorithm: integrity.BLAKE3}, integrity.FormSpec, nil, true},
		{integrity.Hasher{Algorithm: integrity.BLAKE2b}, integrity.FormPython, []string{"blake2", "0"}, true},
		{integrity.Hasher{Algorithm: integrity.BLAKE2b}, integrity.FormPython, nil, false},
		{integrity.Hasher{Algorithm: integrity.BLAKE2b, ShardSize: 8}, integrity.FormPython, []string{"blake2", "8"}, true},
		{integrity.Hasher{Algorithm: integrity.BLAKE3, ShardSize: 8}, integrity.FormSpec, nil, false},
	} {
		t.Run(fmt.Sprintf("%s_%d_%d_%v", tt.Algorithm, tt.ShardSize, tt.form, tt.as), func(t *testing.T) {
			bundle, err := integrity.Signing{Name: "m", Form: tt.form}.Sign(t.Context(), mustHash(t, tt.Hasher, fsys), k.signer)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (integrity.Verifier{}).Verify(t.Context(), fsys, bundle, k.trust); err != nil {
				t.Errorf("ourselves: %v", err)
			}
			sig := filepath.Join(t.TempDir(), "sig")
			if err := os.WriteFile(sig, bundle, 0o600); err != nil {
				t.Fatal(err)
			}
			if ok, out := peerScript(t, peerVerify, append([]string{dir, sig, k.public}, tt.as...)...); ok != tt.want {
				t.Errorf("the peer says %v: %s", ok, bytes.TrimSpace([]byte(out)))
			}
		})
	}
}
