package scan_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// A counter counts reads.
type counter struct {
	io.ReaderAt
	reads, bytes int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	c.bytes += len(p)
	return c.ReaderAt.ReadAt(p, off)
}

// A small file is read once and whole, its digest included; of a large one only
// what formats look at is.
func TestSmallFilesAreReadOnce(t *testing.T) {
	small := build.Zip(build.Member{Name: "a/data.pkl", Data: build.Attack()}, build.Member{Name: "config.json", Data: []byte("{}")})
	c := &counter{ReaderAt: bytes.NewReader(small)}
	res, err := scan.Scanner{}.ScanFile(t.Context(), "a.zip", c, int64(len(small)))
	if err != nil {
		t.Fatal(err)
	}
	if f := &res.Files[0]; f.Verdict != scan.Malicious || f.Digest == "" || c.reads != 1 || c.bytes != len(small) {
		t.Errorf("%s, %q, %d reads of %d bytes, the file has %d", f.Verdict, f.Digest, c.reads, c.bytes, len(small))
	}
	large := build.Safetensors(`{"w":{"dtype":"U8","shape":[307200],"data_offsets":[0,307200]}}`, make([]byte, 300<<10))
	c = &counter{ReaderAt: bytes.NewReader(large)}
	if _, err := (scan.Scanner{NoDigests: true}).ScanFile(t.Context(), "a.safetensors", c, int64(len(large))); err != nil || c.bytes > 100<<10 {
		t.Errorf("%d bytes read of %d: %v", c.bytes, len(large), err)
	}
}

// A file that cannot be read whole is a gap like any other.
func TestSmallFileThatFails(t *testing.T) {
	data := build.Attack()
	for name, tt := range map[string]struct {
		r    io.ReaderAt
		size int64
		want scan.Completeness
	}{
		"fails":   {&failing{ReaderAt: bytes.NewReader(data), times: 1000}, int64(len(data)), scan.Failed},
		"shorter": {bytes.NewReader(data), int64(len(data)) + 1, scan.Failed},
		"longer":  {bytes.NewReader(append(bytes.Clone(data), "x"...)), int64(len(data)), scan.Complete},
	} {
		res, err := scan.Scanner{}.ScanFile(t.Context(), "a.pkl", tt.r, tt.size)
		if err != nil {
			t.Fatal(err)
		}
		if f := &res.Files[0]; f.Completeness != tt.want {
			t.Errorf("%s: %s, want %s", name, f.Completeness, tt.want)
		}
	}
}
