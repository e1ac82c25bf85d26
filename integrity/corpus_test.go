package integrity_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/testutil"
)

type vector struct {
	Dir, Method, Model, Trust, Identity, Issuer string
	Ignore                                      []string
}

// vectors are the bundles of past releases of the Python tool.
func vectors(t *testing.T, method string) []vector {
	t.Helper()
	data, err := os.ReadFile(testutil.Corpus(t, "oms", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var out []vector
	for _, v := range file.Vectors {
		if v.Method == method {
			out = append(out, v)
		}
	}
	return out
}

func (v vector) verify(t *testing.T, verifier integrity.Verifier, trust prerun.Verifier) (*integrity.Result, error) {
	t.Helper()
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
	verifier.Ignore = append([]string{"model.sig"}, v.Ignore...)
	if v.Model != "." {
		return verifier.VerifyFile(t.Context(), root.FS(), v.Model, bundle, trust)
	}
	return verifier.Verify(t.Context(), root.FS(), bundle, trust)
}

func corpusFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(testutil.Corpus(t, "oms", "signed", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCorpusKey(t *testing.T) {
	pub, err := integrity.ParsePublicKey(corpusFile(t, "keys/signing-key-pub.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewKeyVerifier(pub)
	if err != nil {
		t.Fatal(err)
	}
	lenient := map[string][]string{
		"v0.3.1-elliptic-key": {"trust", "python-single-file"},
		"v1.0.0-elliptic-key": {"trust", "python-single-file"},
		"v1.0.1-elliptic-key": {"trust"},
	}
	all := vectors(t, "key")
	if len(all) != 4 {
		t.Errorf("%d bundles, want 4", len(all))
	}
	for _, v := range all {
		t.Run(path.Base(v.Dir), func(t *testing.T) {
			r, err := v.verify(t, integrity.Verifier{}, trust)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Verified() || prerun.Decide(r, prerun.Low) != prerun.Pass {
				t.Errorf("verified, and yet %+v", r)
			}
			if diff := cmp.Diff(lenient[path.Base(v.Dir)], codes(r)); diff != "" {
				t.Errorf("leniencies (-want +got):\n%s", diff)
			}
		})
	}
}

func codes(r *integrity.Result) []string {
	var out []string
	for _, l := range r.Leniencies {
		out = append(out, l.Code)
	}
	return out
}
