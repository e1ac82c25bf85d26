package provenance_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/provenance"
)

// Statements that other tools made and signed are read, whoever signed them.
func TestCorpusStatements(t *testing.T) {
	root := os.DirFS(testutil.Corpus(t, "oms"))
	n := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".sig") {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		b, err := dsse.ParseBundle(data)
		if err != nil {
			return nil // the corpus holds broken bundles too
		}
		if _, err := provenance.ParseStatement(b.Envelope.Payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		n++
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d statements read, error %v", n, err)
	}
}
