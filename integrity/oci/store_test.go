package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
)

// fill puts tiny into a registry as v1 and, with one layer changed, as v2.
func fill(t *testing.T, r *oci.Registry) *oci.Registry {
	push(t, r, "v1", tiny())
	push(t, r, "v2", other())
	return r
}

func other() image {
	return build(modelPackConfig, `{"config":{"format":"safetensors"}}`,
		layer{"application/vnd.cncf.model.weight.config.v1.raw", `{"layers":2}`, pathed("config.json")},
		layer{rawWeight, "Weights", pathed("model/model.safetensors")})
}

// realRegistry starts the registry program that PRERUN_REGISTRY names, on a
// loopback port, and skips the test when there is none.
func realRegistry(t *testing.T) *oci.Registry {
	program := os.Getenv("PRERUN_REGISTRY")
	if program == "" {
		t.Skip("PRERUN_REGISTRY names no registry program")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 600 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return &oci.Registry{Repository: addr + "/" + repository, Transport: transport}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the registry program does not listen")
	return nil
}

// A model is signed and verified where it is, in each kind of store.
func TestStores(t *testing.T) {
	for name, store := range map[string]oci.Pusher{
		"layout":                     layout(t, map[string]image{"v1": tiny(), "v2": other()}),
		"registry":                   fill(t, serve(t, true)),
		"registry_without_referrers": fill(t, serve(t, false)),
		"registry_of_pages_of_one":   fill(t, serve(t, true, paged)),
	} {
		t.Run(name, func(t *testing.T) { testStore(t, store) })
	}
}

// The same against a registry as it is deployed.
func TestRegistryProgram(t *testing.T) {
	store := fill(t, realRegistry(t))
	testStore(t, store)

	content := large()
	push(t, store, "large", build(modelPackConfig, "{}", layer{rawWeight, string(content), pathed("w")}))
	b, err := oci.OpenBlob(t.Context(), store, resolve(t, store, "large").Layers[0].Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 3)
	if _, err := b.ReadAt(p, b.Size()-3); err != nil || string(p) != "end" {
		t.Errorf("%q, %v", p, err)
	}
	if err := b.Verify(); err != nil {
		t.Error(err)
	}
}

// testStore signs v1 of a store and looks at it from all sides.
func testStore(t *testing.T, store oci.Pusher) {
	ctx := t.Context()
	img := resolve(t, store, "v1")
	if img.Digest != tiny().digest() || img.Format != oci.FormatModelPack {
		t.Fatalf("got %s, a %s image", img.Digest, img.Format)
	}

	r, err := oci.Verifier{}.Verify(ctx, store, img, trust("us"))
	if !errors.Is(err, oci.ErrUnsigned) || !oci.Rejected(err) || r.Verified() {
		t.Fatalf("unsigned: %v", err)
	}
	if diff := cmp.Diff([]string{"integrity.image.unsigned"}, ruleIDs(r)); diff != "" {
		t.Error(diff)
	}

	d := sign(t, store, img, "us")
	if again := sign(t, store, img, "us"); again.Digest != d.Digest {
		t.Errorf("attached again as %s, was %s", again.Digest, d.Digest)
	}
	sign(t, store, img, "a stranger")
	r, err = oci.Verifier{}.Verify(ctx, store, resolve(t, store, img.Digest.String()), trust("us"))
	if err != nil || !r.Verified() {
		t.Fatal(err)
	}
	if v := prerun.Decide(r, prerun.Low); v != prerun.Pass {
		t.Errorf("verdict %s, findings %v", v, ruleIDs(r))
	}
	if r.Signature.Name != "tiny" || r.Whole {
		t.Errorf("name %q, whole %t", r.Signature.Name, r.Whole)
	}

	r, err = oci.Verifier{}.Verify(ctx, store, img, trust("nobody"))
	if !errors.Is(err, integrity.ErrSignature) && !errors.Is(err, integrity.ErrUntrusted) || len(r.Rejected) != 2 {
		t.Errorf("other key: %v", err)
	}

	// The signature of one image does not do for another.
	v2 := resolve(t, store, "v2")
	bundle, err := oci.Signing{}.Sign(ctx, img, signer("us"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Attach(ctx, store, v2, bundle); err != nil {
		t.Fatal(err)
	}
	r, err = oci.Verifier{}.Verify(ctx, store, v2, trust("us"))
	if !errors.Is(err, integrity.ErrMismatch) || !oci.Rejected(err) {
		t.Errorf("other image: %v", err)
	}
	if diff := cmp.Diff([]string{"integrity.model.modified"}, ruleIDs(r)); diff != "" {
		t.Error(diff)
	}

	if _, err := (oci.Reader{}).Image(ctx, store, "v3"); !errors.Is(err, oci.ErrNotFound) || oci.Rejected(err) {
		t.Errorf("absent: %v", err)
	}
}

// What was fetched is held against the signature that verified the digests,
// and a folder that was signed as such verifies the image made of it.
func TestFiles(t *testing.T) {
	files := fstest.MapFS{
		"config.json":             {Data: []byte(`{"layers":2}`)},
		"model/model.safetensors": {Data: []byte("weights")},
	}
	tampered := maps.Clone(files)
	tampered["config.json"] = &fstest.MapFile{Data: []byte(`{"layers":3}`)}
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole_%t", whole), func(t *testing.T) {
			ctx := t.Context()
			store := newMemory()
			store.add("v1", tiny())
			img := resolve(t, store, "v1")
			bundle, err := oci.Signing{Whole: whole}.Sign(ctx, img, signer("us"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := oci.Attach(ctx, store, img, bundle); err != nil {
				t.Fatal(err)
			}
			r, err := oci.Verifier{}.VerifyFiles(ctx, store, img, files, trust("us"))
			if err != nil || !r.Verified() || r.Whole != whole {
				t.Errorf("whole %t: %v", r.Whole, err)
			}
			if v := prerun.Decide(r, prerun.Low); v != prerun.Pass {
				t.Errorf("verdict %s, findings %v", v, ruleIDs(r))
			}
			r, err = oci.Verifier{}.VerifyFiles(ctx, store, img, tampered, trust("us"))
			if !errors.Is(err, integrity.ErrMismatch) || r.Verified() {
				t.Errorf("tampered: %v", err)
			}
			if diff := cmp.Diff([]string{"integrity.model.modified"}, ruleIDs(r)); diff != "" {
				t.Error(diff)
			}
			_, err = oci.Verifier{RequireWhole: true, Integrity: integrity.Verifier{InsecureIgnoreUnsigned: true}}.Verify(ctx, store, img, trust("us"))
			if (err == nil) != whole {
				t.Errorf("whole required: %v", err)
			}
			// A signature of the files alone is that of the folder.
			_, err = integrity.Verifier{}.Verify(ctx, files, bundle, trust("us"))
			if (err == nil) == whole {
				t.Errorf("folder: %v", err)
			}
		})
	}
	t.Run("signed_as_folder", func(t *testing.T) {
		store := newMemory()
		store.add("v1", tiny())
		img := resolve(t, store, "v1")
		m, err := integrity.Hasher{}.Hash(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := integrity.Signing{}.Sign(t.Context(), m, signer("us"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oci.Attach(t.Context(), store, img, bundle); err != nil {
			t.Fatal(err)
		}
		if _, err := (oci.Verifier{}).Verify(t.Context(), store, img, trust("us")); err != nil {
			t.Error(err)
		}
	})
}

// The config of an image is only covered by a signature of the whole.
func TestWholeCoversConfig(t *testing.T) {
	changed := tiny()
	changed.manifest = bytes.Replace(changed.manifest, []byte("cncf.model.config"), []byte("cncf.model.config.x"), 1)
	for _, whole := range []bool{false, true} {
		store := newMemory()
		store.add("v1", tiny())
		store.add("v2", changed)
		bundle, err := oci.Signing{Whole: whole}.Sign(t.Context(), resolve(t, store, "v1"), signer("us"))
		if err != nil {
			t.Fatal(err)
		}
		v2 := resolve(t, store, "v2")
		if _, err := oci.Attach(t.Context(), store, v2, bundle); err != nil {
			t.Fatal(err)
		}
		_, err = oci.Verifier{}.Verify(t.Context(), store, v2, trust("us"))
		if whole != errors.Is(err, integrity.ErrMismatch) || !whole && err != nil {
			t.Errorf("whole %t: %v", whole, err)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	store := newMemory()
	store.add("v1", tiny())
	img := resolve(t, store, "v1")
	other, err := signer("us").Sign(t.Context(), integrity.StatementType, []byte(`{"predicateType":"https://slsa.dev/provenance/v1"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, bundle := range map[string][]byte{"empty": nil, "text": []byte("x"), "provenance": other} {
		if _, err := oci.Attach(t.Context(), store, img, bundle); !integrity.Rejected(err) || len(store.referrers) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := oci.Attach(t.Context(), store, img, make([]byte, oci.MaxBundle+1)); err == nil {
		t.Error("a bundle beyond the limit is attached")
	}
}

// A layout keeps what else is in its index, and finds what no index lists.
func TestLayout(t *testing.T) {
	ctx := t.Context()
	store := layout(t, map[string]image{"v1": tiny()})
	img := resolve(t, store, "")
	if img.Digest != tiny().digest() {
		t.Errorf("the only image is %s", img.Digest)
	}
	sign(t, store, img, "us")
	if again := resolve(t, store, ""); again.Digest != img.Digest {
		t.Errorf("with a signature, the only image is %s", again.Digest)
	}
	index, err := store.Root.ReadFile("index.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(index, []byte(`"kept":"yes"`)) {
		t.Errorf("index.json lost a member: %s", index)
	}

	unlisted := marshal(object{"schemaVersion": 2, "manifests": []object{descriptor(manifestType, tiny().manifest, nil)}})
	if err := store.Root.WriteFile("index.json", unlisted, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (oci.Verifier{}).Verify(ctx, store, img, trust("us")); err != nil {
		t.Errorf("unlisted referrer: %v", err)
	}

	blob := "blobs/sha256/" + strings.TrimPrefix(img.Digest.String(), "sha256:")
	if err := store.Root.WriteFile(blob, bytes.Replace(tiny().manifest, []byte("raw"), []byte("tar"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"", img.Digest.String()} {
		if _, err := (oci.Reader{}).Image(ctx, store, ref); !errors.Is(err, oci.ErrDigest) || !oci.Rejected(err) {
			t.Errorf("%q, altered: %v", ref, err)
		}
	}
	if err := store.Root.Remove(blob); err != nil {
		t.Fatal(err)
	}
	if err := store.Root.Symlink("../../index.json", blob); err != nil {
		t.Fatal(err)
	}
	if _, err := (oci.Reader{}).Image(ctx, store, ""); !errors.Is(err, oci.ErrMalformed) {
		t.Errorf("link: %v", err)
	}

	two := layout(t, map[string]image{"v1": tiny(), "v2": build(modelPackConfig, "{}")})
	if _, err := (oci.Reader{}).Image(ctx, two, ""); !errors.Is(err, oci.ErrIndex) {
		t.Errorf("two images: %v", err)
	}
	if _, err := (oci.Reader{}).Image(ctx, &oci.Layout{}, "v1"); err == nil {
		t.Error("a layout of nowhere")
	}
}
