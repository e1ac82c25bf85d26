// Package outfile writes what the programs of this folder leave behind: files
// that are either whole or absent, and the folder of a gate's reports.
package outfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prerun/prerun/pipeline/report"
)

// Write puts data into a temporary file beside path, flushes it to disk and
// renames it, so that a reader sees the old file or the new one and never half
// of it. Errors name path, not the temporary file.
func Write(path string, data []byte, perm os.FileMode) error {
	err := write(path, data, perm)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	} else if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

func write(path string, data []byte, perm os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second close is harmless
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Verdict is the name of a gate's signed verdict in the folder of its reports.
const Verdict = "verdict.sigstore.json"

// Gate writes a gate's report.html, report.sarif and report.json into a folder,
// which it makes, and its verdict where there is one. A verdict of an earlier
// run is removed first: it must not stand beside reports that it does not belong
// to.
func Gate(dir string, doc report.Document, verdict []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	verdictFile := filepath.Join(dir, Verdict)
	if err := os.Remove(verdictFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, out := range []struct {
		name  string
		write report.Writer
	}{
		{"report.html", report.HTML},
		{"report.sarif", report.SARIF},
		{"report.json", report.JSON},
	} {
		var buf bytes.Buffer
		if err := out.write(&buf, doc); err != nil {
			return fmt.Errorf("%s: %w", out.name, err)
		}
		if err := Write(filepath.Join(dir, out.name), buf.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if verdict == nil {
		return nil
	}
	return Write(verdictFile, verdict, 0o644)
}
