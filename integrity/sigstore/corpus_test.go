package sigstore_test

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/testutil"
)

// logged is when the logs say that they recorded the signatures.
var logged = map[string]int64{
	"v0.3.1-sigstore": 1746234602, "v1.0.0-sigstore": 1746236086,
	"v1.0.1-sigstore": 1759851228, "v1.1.0-sigstore": 1760062340,
}

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
			trust := sigstore.Verifier{Root: sigstore.PublicGood(), Identities: []sigstore.Identity{{Subject: v.Identity, Issuer: v.Issuer}}}
			verifier := integrity.Verifier{Ignore: append([]string{"model.sig"}, v.Ignore...)}
			r, err := verifier.Verify(t.Context(), root.FS(), bundle, trust)
			if err != nil {
				t.Fatal(err)
			}
			if s := r.Signed; s.Signer != v.Identity || s.Issuer != v.Issuer || len(s.Chain) != 3 || len(s.Warnings) > 0 {
				t.Errorf("%q by %q, %d certificates, warnings %q", s.Signer, s.Issuer, len(s.Chain), s.Warnings)
			}
			at := time.Unix(logged[path.Base(v.Dir)], 0).UTC()
			want := map[string]time.Time{"https://rekor.sigstore.dev": at}
			if path.Base(v.Dir) == "v1.1.0-sigstore" { // the only one with a timestamp
				want[sigstore.PublicGoodServices().Timestamps[0]] = at
			}
			if diff := cmp.Diff(want, r.Signed.Times); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
			if len(r.Leniencies) > 0 {
				t.Errorf("leniencies %+v", r.Leniencies)
			}
			trust.Identities[0].Issuer = "https://accounts.example.org"
			_, err = verifier.Verify(t.Context(), root.FS(), bundle, trust)
			if !errors.Is(err, sigstore.ErrIdentity) || !errors.Is(err, integrity.ErrUntrusted) {
				t.Errorf("another issuer: %v", err)
			}
		})
	}
	if n != 4 {
		t.Errorf("%d bundles, want 4", n)
	}
}
