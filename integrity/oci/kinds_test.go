package oci_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/internal/testutil"
)

// TestKinds has one defect for each kind of error, which is of that kind and of
// no other.
func TestKinds(t *testing.T) {
	kinds := map[string]error{
		"ErrDigest": oci.ErrDigest, "ErrMalformed": oci.ErrMalformed, "ErrName": oci.ErrName,
		"ErrUnsigned": oci.ErrUnsigned, "ErrNotFound": oci.ErrNotFound, "ErrDenied": oci.ErrDenied,
		"ErrUnnamed": oci.ErrUnnamed, "ErrIndex": oci.ErrIndex, "ErrRegistry": oci.ErrRegistry,
	}
	read := func(store oci.Store, ref string) error {
		_, err := oci.Reader{}.Image(t.Context(), store, ref)
		return err
	}
	answered := func(status int) oci.Store {
		return serve(t, true, instead("/manifests/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	}
	holding := func(img image) *memory {
		store := newMemory()
		store.add("v1", img)
		return store
	}
	cases := map[string]func() error{
		"ErrDigest": func() error {
			other := answer(manifestType, other().manifest)
			return read(serve(t, true, instead("/manifests/", other)), tiny().digest().String())
		},
		"ErrMalformed": func() error { return read(holding(image{manifest: []byte(`{"schemaVersion":2}`)}), "v1") },
		"ErrName": func() error {
			return read(holding(build(modelPackConfig, "{}", layer{rawWeight, "x", pathed("../x")})), "v1")
		},
		"ErrUnsigned": func() error {
			store := holding(tiny())
			_, err := oci.Verifier{}.Verify(t.Context(), store, resolve(t, store, "v1"), trust("us"))
			return err
		},
		"ErrNotFound": func() error { return read(newMemory(), "v1") },
		"ErrDenied":   func() error { return read(answered(http.StatusForbidden), "v1") },
		"ErrUnnamed": func() error {
			_, err := resolve(t, holding(build(modelPackConfig, "{}", layer{rawWeight, "x", nil}, layer{rawWeight, "y", pathed("y")})), "v1").Manifest()
			return err
		},
		"ErrIndex": func() error {
			store := holding(tiny())
			store.add("index", image{manifest: marshal(object{
				"schemaVersion": 2, "mediaType": indexType,
				"manifests": []object{descriptor(manifestType, tiny().manifest, nil), descriptor(manifestType, other().manifest, nil)},
			})})
			return read(store, "index")
		},
		"ErrRegistry": func() error { return read(answered(http.StatusBadGateway), "v1") },
	}
	exported := testutil.ExportedErrors(t, ".")
	for what, names := range map[string][]string{"known": slices.Sorted(maps.Keys(kinds)), "covered": slices.Sorted(maps.Keys(cases))} {
		if diff := cmp.Diff(exported, names); diff != "" {
			t.Errorf("kinds (-exported +%s):\n%s", what, diff)
		}
	}
	for name, fail := range cases {
		t.Run(name, func(t *testing.T) {
			err := fail()
			for other, kind := range kinds {
				if errors.Is(err, kind) != (other == name) {
					t.Errorf("%v: of kind %s: %t", err, other, other != name)
				}
			}
			for _, kind := range []error{integrity.ErrBundle, integrity.ErrSignature, integrity.ErrUntrusted, integrity.ErrUnsupported} {
				if errors.Is(err, kind) {
					t.Errorf("%v is also %v", err, kind)
				}
			}
		})
	}
}
