package sevenzip_test

import (
	"testing"

	"github.com/prerun/prerun/integrity/scan/internal/sevenzip"
)

// FuzzParse takes headers without the archive around them.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\x01\x04\x06\x00\x01\x09\x05\x00\x07\x0b\x01\x00\x01\x01\x00\x0c\x05\x00\x00\x05\x01\x11\x05\x00a\x00\x00\x00\x00\x00"), int64(100))
	f.Add([]byte("\x17\x06\x00\x01\x09\x05\x00\x07\x0b\x01\x00\x01\x21\x21\x01\x08\x0c\x05\x00\x00"), int64(100))
	f.Fuzz(func(t *testing.T, data []byte, limit int64) {
		h, err := sevenzip.Parse(data, limit, func(n int64) error {
			if n > int64(len(data)) {
				t.Errorf("%d files of %d bytes", n, len(data))
			}
			return nil
		})
		if err != nil {
			return
		}
		for _, x := range h.Folders {
			if x.Packed > 0 && (x.At < 0 || x.At+x.Packed > limit) {
				t.Errorf("packed data at %d+%d of %d", x.At, x.Packed, limit)
			}
		}
		for _, x := range h.Files {
			if x.Folder >= 0 && (x.Offset < 0 || x.Size < 0 || x.Offset+x.Size > h.Folders[x.Folder].Size) {
				t.Errorf("a file at %d+%d of %d", x.Offset, x.Size, h.Folders[x.Folder].Size)
			}
		}
	})
}
