package oci_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/integrity/scan"
)

// Sign a model where it lies, and verify it there: no layer is fetched.
func Example() {
	ctx := context.Background()
	store := newMemory() // stands for &oci.Registry{...}
	store.add("v1", tiny())

	image, err := oci.Reader{}.Image(ctx, store, "v1")
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := oci.Signing{Name: "tiny", Whole: true}.Sign(ctx, image, signer("us"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := oci.Attach(ctx, store, image, bundle); err != nil {
		log.Fatal(err)
	}

	result, err := oci.Verifier{RequireWhole: true}.Verify(ctx, store, image, trust("us"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Verified(), result.Signature.Signed.Method)
	for _, l := range image.Layers {
		fmt.Println(l.Name, l.Digest.Encoded()[:12], l.Size)
	}
	// Output:
	// true key
	// config.json 868b289781a5 12
	// model/model.safetensors 9a129038d9a0 7
}

// Scan a model in a registry without pulling it: formats read what they need
// by range requests. With NoDigests that is all that is fetched, and the
// registry's word for it; without, each layer is read once, and proven to be
// what the manifest names.
func ExampleImage_Files() {
	ctx := context.Background()
	store := &requests{memory: newMemory()} // stands for &oci.Registry{...}
	store.add("v1", build(modelPackConfig, "{}",
		layer{rawWeight, tensors(40<<20 - 4096), pathed("model.safetensors")},
		layer{rawWeight, attack, pathed("optimizer.pt")}))

	image, err := oci.Reader{}.Image(ctx, store, "v1")
	if err != nil {
		log.Fatal(err)
	}
	files, err := image.Files(ctx, store)
	if err != nil {
		log.Fatal(err)
	}
	result, err := scan.Scanner{NoDigests: true, Workers: 1}.Scan(ctx, files)
	if err != nil {
		log.Fatal(err)
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Path())
	}
	fmt.Println("requests, in MiB:", store.chunks)
	// Output:
	// critical scan.pickle.call-on-load optimizer.pt
	// requests, in MiB: [1 1 1]
}

// A registry is reached through the transport that is handed in.
func ExampleRegistry() {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(discard{}, "", 0))))
	defer server.Close()
	store := &oci.Registry{
		Repository: strings.TrimPrefix(server.URL, "http://") + "/models/tiny",
		Transport:  http.DefaultTransport,
	}
	_, err := oci.Reader{}.Image(context.Background(), store, "v1")
	fmt.Println(oci.Rejected(err), strings.HasSuffix(err.Error(), "registry answered 404 Not Found"))
	// Output: false true
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// A layer is read in parts, as a scanner does, and checked in the end.
func ExampleBlob() {
	ctx := context.Background()
	store := newMemory()
	store.add("v1", tiny())
	image, err := oci.Reader{}.Image(ctx, store, "v1")
	if err != nil {
		log.Fatal(err)
	}
	blob, err := oci.OpenBlob(ctx, store, image.Layers[0].Descriptor)
	if err != nil {
		log.Fatal(err)
	}
	part := make([]byte, 8)
	if _, err := blob.ReadAt(part, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v\n", part, blob.Verify())
	// Output: "layers" <nil>
}
