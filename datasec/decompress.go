package datasec

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	maxWindow  = 64 << 20 // bytes of history a zstd frame may ask for
	ratioSlack = 4 << 20  // decompressed bytes before the ratio counts
)

// budget is the decompressed text of a file. It fails, rather than end, when
// the text is larger than its limits.
type budget struct {
	r   io.Reader
	raw *counted // nil when the text is not compressed
	n   int64
	lim Limits
}

func (b *budget) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.lim.Bytes:
		return 0, fmt.Errorf("more than %d bytes", b.lim.Bytes)
	case b.raw != nil && b.n > ratioSlack && b.n/b.lim.Ratio > b.raw.n:
		return 0, fmt.Errorf("%d compressed bytes decompress to more than %d times their size", b.raw.n, b.lim.Ratio)
	}
	return n, err
}

// decompress makes text read the content of raw and returns what releases the
// decoder. The format is told by content, since names lie.
func decompress(raw *counted, text *budget) (func(), error) {
	in := bufio.NewReaderSize(raw, 64<<10)
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		text.r = z
		return func() { z.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		text.r = z
		return z.Close, nil
	}
	text.r, text.raw = in, nil
	return func() {}, nil
}
