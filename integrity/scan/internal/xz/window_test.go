package xz_test

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/prerun/prerun/integrity/scan/internal/xz"
)

// What a window leaves of a dictionary is enough to decode the data, and no
// more than it decodes to where all of it is in sight.
func TestWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	const dict = 1 << 20
	for name, tt := range map[string]struct {
		data []byte
		want int64
	}{
		"nothing":        {nil, lzma.MinDictCap},
		"short":          {[]byte("short"), lzma.MinDictCap},
		"zeros":          {make([]byte, 600<<10), 600 << 10},
		"more_than_that": {make([]byte, 3<<20), dict},
		"stored":         {noise[:20<<10], 20 << 10},
		"out_of_sight":   {noise, dict},
		"far_apart":      {append(append(bytes.Clone(noise[:9000]), make([]byte, 300<<10)...), noise[:9000]...), 9000 + 300<<10 + 9000},
	} {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := lzma.Writer2Config{DictCap: dict}.NewWriter2(&packed)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(tt.data)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			src := bufio.NewReaderSize(&packed, 64<<10)
			got := xz.Window(src, dict)
			if got != tt.want {
				t.Errorf("window of %d, want %d", got, tt.want)
			}
			z, err := lzma.Reader2Config{DictCap: int(got)}.NewReader2(src)
			if err != nil {
				t.Fatal(err)
			}
			if all, err := io.ReadAll(z); err != nil || !bytes.Equal(all, tt.data) {
				t.Errorf("decoded %d bytes of %d: %v", len(all), len(tt.data), err)
			}
		})
	}
	for name, data := range map[string]string{
		"cut":             "\xe0\xff\xff",
		"no_end":          "\x01\x00\x00a",
		"chunk_beyond":    "\x01\xff\xff" + "abc",
		"packed_beyond":   "\xe0\x00\x00\xff\xff\x5d",
		"nothing_at_all":  "",
		"control_at_once": "\xff",
	} {
		if got := xz.Window(bufio.NewReader(bytes.NewReader([]byte(data))), dict); got != dict {
			t.Errorf("%s: window of %d of data that goes on", name, got)
		}
	}
}
