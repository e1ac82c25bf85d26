package provenance_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/prerun/prerun/provenance/provenancetest"
)

func TestThirdPartySource(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range []string{"a.json", "b.json"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: 2, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	provenancetest.TestSource(t, tarball(archive.Bytes()), 2)
}
