package build_test

import (
	"bytes"
	"compress/bzip2"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// The standard library reads back what the encoder here wrote.
func TestBzip2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.ByteRange(0, rapid.Byte().Draw(t, "top"))).Draw(t, "data")
		data = bytes.Repeat(data, rapid.IntRange(1, 4).Draw(t, "times"))
		got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(build.Bzip2(data))))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q reads back as %q: %v", data, got, err)
		}
	})
}
