package oci_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/oci"
)

// TestNil: whoever forgets an argument is told, and the program goes on.
func TestNil(t *testing.T) {
	ctx := t.Context()
	store := layout(t, map[string]image{"v1": tiny()})
	img, err := oci.Reader{}.Image(ctx, store, "v1")
	if err != nil {
		t.Fatal(err)
	}
	signer, trust := signer("nil"), trust("nil")
	bundle, err := oci.Signing{}.Sign(ctx, img, signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"image_store":    func() error { _, err := oci.Reader{}.Image(ctx, nil, "v1"); return err },
		"files_store":    func() error { _, err := img.Files(ctx, nil); return err },
		"files_image":    func() error { _, err := (*oci.Image)(nil).Files(ctx, store); return err },
		"manifest":       func() error { _, err := (*oci.Image)(nil).Manifest(); return err },
		"blob_store":     func() error { _, err := oci.OpenBlob(ctx, nil, img.Layers[0].Descriptor); return err },
		"sign_image":     func() error { _, err := oci.Signing{}.Sign(ctx, nil, signer); return err },
		"sign_signer":    func() error { _, err := oci.Signing{}.Sign(ctx, img, nil); return err },
		"attach_store":   func() error { _, err := oci.Attach(ctx, nil, img, bundle); return err },
		"attach_image":   func() error { _, err := oci.Attach(ctx, store, nil, bundle); return err },
		"attach_bundle":  func() error { _, err := oci.Attach(ctx, store, img, nil); return err },
		"verify_store":   func() error { _, err := oci.Verifier{}.Verify(ctx, nil, img, trust); return err },
		"verify_image":   func() error { _, err := oci.Verifier{}.Verify(ctx, store, nil, trust); return err },
		"verify_trust":   func() error { _, err := oci.Verifier{}.Verify(ctx, store, img, nil); return err },
		"in_files_store": func() error { _, err := oci.Verifier{}.VerifyFiles(ctx, nil, img, nil, trust); return err },
		"in_files_tree":  func() error { _, err := oci.Verifier{}.VerifyFiles(ctx, store, img, nil, trust); return err },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			if call() == nil {
				t.Error("no error")
			}
		})
	}
}
