package sigstore_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/testutil"
)

func TestCorpus(t *testing.T) {
	data, err := os.ReadFile(testutil.Corpus(t, "oms", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Dir, Method, Identity, Issuer string
			Ignore                        []string
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range file.Vectors {
		if v.Method != integrity.MethodSigstore {
			continue
		}
		n++
		t.Run(path.Base(v.Dir), func(t *testing.T) {
			dir := testutil.Corpus(t, "oms", filepath.FromSlash(v.Dir))
			bundle, err := os.ReadFile(filepath.Join(dir, "model.sig"))
			if err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			trust := sigstore.Verifier{Identities: []sigstore.Identity{{Subject: v.Identity, Issuer: v.Issuer}}}
			verifier := integrity.Verifier{Ignore: append([]string{"model.sig"}, v.Ignore...)}
			r, err := verifier.Verify(t.Context(), root.FS(), bundle, trust)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", *r.Signed)
		})
	}
	if n != 4 {
		t.Errorf("%d bundles, want 4", n)
	}
}
