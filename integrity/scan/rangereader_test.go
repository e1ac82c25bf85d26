package scan_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// remote counts the requests for content, and checks that each is one that a
// RangeReader promises.
type remote struct {
	data            []byte
	block           int64
	requests, bytes int
	odd             bool
	fail            error
}

func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	r.requests++
	r.bytes += len(p)
	end := off + int64(len(p))
	if off%r.block != 0 || end%r.block != 0 && end != int64(len(r.data)) || end > int64(len(r.data)) || len(p) == 0 {
		r.odd = true
	}
	if r.fail != nil {
		return 0, r.fail
	}
	return copy(p, r.data[off:]), nil
}

func TestRangeReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		block, blocks := rapid.IntRange(1, 9).Draw(t, "block"), rapid.IntRange(1, 6).Draw(t, "blocks")
		src := &remote{data: make([]byte, rapid.IntRange(0, 100).Draw(t, "size")), block: int64(block)}
		for i := range src.data {
			src.data[i] = byte(i)
		}
		r := &scan.RangeReader{Source: src, Size: int64(len(src.data)), Block: block, Blocks: blocks}
		for range 20 {
			off, n := rapid.Int64Range(0, 110).Draw(t, "off"), rapid.IntRange(0, 60).Draw(t, "n")
			got, want := make([]byte, n), make([]byte, n)
			gn, gerr := r.ReadAt(got, off)
			wn, werr := bytes.NewReader(src.data).ReadAt(want, off)
			if n == 0 {
				werr = nil // nothing asked, nothing missing
			}
			if gn != wn || !bytes.Equal(got, want) || gerr != werr {
				t.Fatalf("%d bytes at %d: %d %v, want %d %v", n, off, gn, gerr, wn, werr)
			}
		}
		if src.odd {
			t.Fatal("a request is not of whole blocks")
		}
	})
}

func TestRangeReaderRequests(t *testing.T) {
	data := make([]byte, 8<<20)
	for i := range data {
		data[i] = byte(rand.N(256))
	}
	read := func(step, size int64) *remote {
		src := &remote{data: data, block: 256 << 10}
		r := &scan.RangeReader{Source: src, Size: int64(len(data))}
		buf := make([]byte, size)
		for off := int64(0); off < int64(len(data)); off += step {
			if _, err := r.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		return src
	}
	if src := read(4, 4); src.requests > 8 || src.bytes != len(data) {
		t.Errorf("small steps: %d requests of %d bytes", src.requests, src.bytes)
	}
	if src := read(1<<20, 4); src.requests != 8 || src.bytes != 8*256<<10 {
		t.Errorf("jumps: %d requests of %d bytes", src.requests, src.bytes)
	}
}

func TestRangeReaderErrors(t *testing.T) {
	src := &remote{data: make([]byte, 10), block: 4, fail: io.ErrClosedPipe}
	r := &scan.RangeReader{Source: src, Size: 10, Block: 4}
	if n, err := r.ReadAt(make([]byte, 3), 2); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("%d, %v", n, err)
	}
	src.fail = nil
	if n, err := r.ReadAt(make([]byte, 3), 2); n != 3 || err != nil {
		t.Errorf("after that: %d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 3), -1); err == nil {
		t.Error("before the start")
	}
	short := &scan.RangeReader{Source: bytes.NewReader(make([]byte, 3)), Size: 10, Block: 4}
	if _, err := short.ReadAt(make([]byte, 3), 0); err != io.ErrUnexpectedEOF {
		t.Errorf("a size that is a lie: %v", err)
	}
}

// A scan through a RangeReader says what it says of the file itself, with few
// requests.
func TestScanThroughRangeReader(t *testing.T) {
	var members []build.Member
	for range 200 {
		members = append(members, build.Member{Name: "m", Data: build.Attack()})
	}
	data := build.Zip(members...)
	src := &remote{data: data, block: 4096}
	r := &scan.RangeReader{Source: src, Size: int64(len(data)), Block: 4096}
	got, err := scan.Scanner{}.ScanFile(t.Context(), "a.zip", r, r.Size)
	if err != nil {
		t.Fatal(err)
	}
	want := one(t, scan.Scanner{}, "a.zip", data)
	if got.Files[0].Digest != want.Digest || got.Verdict() != want.Verdict || len(rules(&got.Files[0])) != len(rules(want)) {
		t.Errorf("%v, want %v", got.Files[0].Verdict, want.Verdict)
	}
	if src.requests > 10 {
		t.Errorf("%d requests for %d bytes", src.requests, len(data))
	}
}
