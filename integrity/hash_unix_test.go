//go:build unix

package integrity_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prerun/prerun/integrity"
)

// TestFIFO: opening a pipe would wait for ever.
func TestFIFO(t *testing.T) {
	signer, trust := testKeys(t, "fifo")
	dir, fsys := writeTree(t, map[string]string{"a": "x"})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	if err := syscall.Mkfifo(filepath.Join(dir, "p"), 0o600); err != nil {
		t.Skip(err)
	}
	_, err := integrity.Hasher{}.Hash(t.Context(), fsys)
	wantKind(t, err, integrity.ErrSpecial)
	_, err = integrity.Hasher{}.HashFile(t.Context(), fsys, "p")
	wantKind(t, err, integrity.ErrSpecial)
	r, err := integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
	checkSource(t, r, err)
}
