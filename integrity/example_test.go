package integrity_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// exampleModel stands for root.FS() of an os.Root, and exampleKey for the
// signer's key.
var (
	exampleModel = fstest.MapFS{
		"config.json":       {Data: []byte(`{"layers":2}`)},
		"model.safetensors": {Data: []byte("weights")},
	}
	exampleKey = keys.Demo("integrity example")
)

// Sign a model folder, and verify it before loading.
func Example() {
	ctx := context.Background()
	signer, err := integrity.NewKeySigner(exampleKey)
	if err != nil {
		log.Fatal(err)
	}
	manifest, err := integrity.Hasher{}.Hash(ctx, exampleModel)
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := integrity.Signing{Name: "example"}.Sign(ctx, manifest, signer)
	if err != nil {
		log.Fatal(err)
	}

	trust, err := integrity.NewKeyVerifier(exampleKey.Public())
	if err != nil {
		log.Fatal(err)
	}
	result, err := integrity.Verifier{}.Verify(ctx, exampleModel, bundle, trust)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Verified(), result.Signed.Method, result.Manifest.Root())
	// Output: true key sha256:314a5707ebb260bca7de8eac3868d265e9113f394cf0bfae4349ebd2585ab3d9
}

// A manifest has a digest for each file and one for the model.
func ExampleHasher_Hash() {
	m, err := integrity.Hasher{}.Hash(context.Background(), exampleModel)
	if err != nil {
		log.Fatal(err)
	}
	for name, digest := range m.Files() {
		fmt.Println(name, digest)
	}
	// Output:
	// config.json sha256:868b289781a58a4c21472c5ee225bfe5232eccee4e3005ec42840334d603e33e
	// model.safetensors sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c
}

// A platform reads an upload once: for the signature, for a store that is
// addressed by BLAKE3, and for verifying in parallel.
func ExampleHasher_HashEach() {
	manifests, err := integrity.Hasher{}.HashEach(context.Background(), exampleModel,
		integrity.Variant{},
		integrity.Variant{Algorithm: integrity.BLAKE3},
		integrity.Variant{ShardSize: 8},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range manifests {
		fmt.Println(m.Algorithm, m.Method(), len(m.Resources), m.Root())
	}
	// Output:
	// sha256 files 2 sha256:314a5707ebb260bca7de8eac3868d265e9113f394cf0bfae4349ebd2585ab3d9
	// blake3 files 2 sha256:2ff113e5b9e2bf5cc7f6d52494e9268d3ef46075c8145c40401e9c344e575b87
	// sha256 shards 3 sha256:3895e9f7bc4650ee45a16d22a0c6e59e434eb415c801b33502cafc2d875350db
}

// The digests of one file, by which several registries know it.
func ExampleHasher_HashFileEach() {
	manifests, err := integrity.Hasher{}.HashFileEach(context.Background(), exampleModel, "model.safetensors",
		integrity.Variant{Algorithm: integrity.SHA256},
		integrity.Variant{Algorithm: integrity.BLAKE3},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range manifests {
		fmt.Println(m.Resources[0].Digest)
	}
	// Output:
	// sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c
	// blake3:3edc5c4a5df8c79ef4f8dbdc373cd21ca041ccf39fe5693250d004092094dc4a
}

// A model that differs from what was signed is described file by file.
func ExampleVerifier_Verify() {
	ctx := context.Background()
	signer, _ := integrity.NewKeySigner(exampleKey)
	trust, _ := integrity.NewKeyVerifier(exampleKey.Public())
	manifest, _ := integrity.Hasher{}.Hash(ctx, exampleModel)
	bundle, _ := integrity.Signing{}.Sign(ctx, manifest, signer)

	tampered := fstest.MapFS{
		"config.json":       exampleModel["config.json"],
		"model.safetensors": {Data: []byte("Weights")},
		"modeling.py":       {Data: []byte("import os")},
	}
	result, err := integrity.Verifier{}.Verify(ctx, tampered, bundle, trust)
	fmt.Println(err)
	fmt.Println(integrity.Rejected(err), prerun.Decide(result, prerun.Medium))
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Path())
	}
	// Output:
	// model differs from what was signed: "model.safetensors" modified; "modeling.py" extra
	// true fail
	// critical integrity.model.modified model.safetensors
	// high integrity.model.extra modeling.py
}

// Load only part of a model, and verify only that part.
func ExampleVerifier_VerifyPaths() {
	ctx := context.Background()
	signer, _ := integrity.NewKeySigner(exampleKey)
	trust, _ := integrity.NewKeyVerifier(exampleKey.Public())
	manifest, _ := integrity.Hasher{}.Hash(ctx, exampleModel)
	bundle, _ := integrity.Signing{}.Sign(ctx, manifest, signer)

	result, err := integrity.Verifier{}.VerifyPaths(ctx, exampleModel, []string{"config.json"}, bundle, trust)
	fmt.Println(err)
	for s := range result.Subjects() {
		fmt.Println(s.Path)
	}
	// Output:
	// <nil>
	// config.json
	// model.sig
}

// A model server calls a guard before it loads a model.
func ExampleVerifier_Guard() {
	ctx := context.Background()
	signer, _ := integrity.NewKeySigner(exampleKey)
	trust, _ := integrity.NewKeyVerifier(exampleKey.Public())
	manifest, _ := integrity.Hasher{}.Hash(ctx, exampleModel)
	bundle, _ := integrity.Signing{}.Sign(ctx, manifest, signer)

	guard := integrity.Verifier{Strict: true}.Guard(bundle, trust)
	load := func(model fs.FS) error {
		if err := guard(ctx, model); err != nil {
			return fmt.Errorf("not loaded: %w", err)
		}
		return nil // load it
	}
	fmt.Println(load(exampleModel))
	fmt.Println(load(fstest.MapFS{"config.json": exampleModel["config.json"]}))
	// Output:
	// <nil>
	// not loaded: model differs from what was signed: "model.safetensors" missing
}

// Verify a large model again after one file of it was edited and signed anew:
// only that file is read.
func ExampleVerifier_incremental() {
	ctx := context.Background()
	signer, _ := integrity.NewKeySigner(exampleKey)
	trust, _ := integrity.NewKeyVerifier(exampleKey.Public())
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

	sign := func() []byte { // by somebody else, who reads everything
		manifest, err := integrity.Hasher{}.Hash(ctx, root.FS())
		if err != nil {
			log.Fatal(err)
		}
		bundle, err := integrity.Signing{}.Sign(ctx, manifest, signer)
		if err != nil {
			log.Fatal(err)
		}
		return bundle
	}

	// As if the files were old: what has just been written is not remembered.
	cache := &integrity.Cache{Now: func() time.Time { return time.Now().Add(time.Minute) }}
	root.WriteFile("model.bin", []byte("many gigabytes of weights"), 0o644)
	for _, readme := range []string{"read me", "read me first"} {
		root.WriteFile("README.md", []byte(readme), 0o644)
		var read int64
		v := integrity.Verifier{InsecureCache: cache, Progress: func(done, total int64) { read = done }}
		result, err := v.Verify(ctx, root.FS(), sign(), trust)
		fmt.Println(result.Verified(), err, read, "bytes read")
	}
	// Output:
	// true <nil> 32 bytes read
	// true <nil> 13 bytes read
}

// remoteSigner has a service sign: it is all that a key management system or a
// token needs to implement.
type remoteSigner struct {
	service func(ctx context.Context, payloadType string, payload []byte) ([]byte, error)
}

func (s remoteSigner) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	bundle, err := s.service(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("signing service: %w", err)
	}
	return bundle, nil
}

// A signer is one method. What it returns is checked before it is handed on.
func ExampleSigning_Sign_remote() {
	ctx := context.Background()
	manifest, _ := integrity.Hasher{}.Hash(ctx, exampleModel)
	down := remoteSigner{func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("unavailable") }}
	_, err := integrity.Signing{}.Sign(ctx, manifest, down)
	fmt.Println(err)
	rogue := remoteSigner{func(context.Context, string, []byte) ([]byte, error) { return []byte("{}"), nil }}
	_, err = integrity.Signing{}.Sign(ctx, manifest, rogue)
	fmt.Println(errors.Is(err, integrity.ErrBundle))
	// Output:
	// signing service: unavailable
	// true
}

// anyOf trusts what one of several verifiers trusts, such as the keys of
// several teams.
type anyOf []prerun.Verifier

func (a anyOf) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	var errs []error
	for _, v := range a {
		signed, err := v.Verify(ctx, bundle)
		if err == nil {
			return signed, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Trust is one method, too.
func ExampleVerifier_trust() {
	ctx := context.Background()
	signer, _ := integrity.NewKeySigner(exampleKey)
	manifest, _ := integrity.Hasher{}.Hash(ctx, exampleModel)
	bundle, _ := integrity.Signing{}.Sign(ctx, manifest, signer)

	ours, _ := integrity.NewKeyVerifier(exampleKey.Public())
	theirs, _ := integrity.NewKeyVerifier(keys.Demo("another team").Public())
	_, err := integrity.Verifier{}.Verify(ctx, exampleModel, bundle, anyOf{theirs, ours})
	fmt.Println(err)
	_, err = integrity.Verifier{}.Verify(ctx, exampleModel, bundle, anyOf{theirs})
	fmt.Println(errors.Is(err, integrity.ErrUntrusted))
	// Output:
	// <nil>
	// true
}
