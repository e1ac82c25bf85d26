package blake3tree_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"lukechampine.com/blake3"

	"github.com/prerun/prerun/internal/blake3tree"
)

// pattern is the input of the published test vectors: 0 to 250, repeated.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}

func sum(p []byte, step int) []byte {
	d := blake3tree.New()
	for len(p) > 0 {
		n := min(step, len(p))
		d.Write(p[:n])
		p = p[n:]
	}
	return d.Sum(nil)
}

// TestVectors: digests from the test vectors of the BLAKE3 authors.
func TestVectors(t *testing.T) {
	for n, want := range map[int]string{
		0:    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:    "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
	} {
		if got := hex.EncodeToString(sum(pattern(n), max(1, n))); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

var lengths = []int{
	0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 5120, 15 << 10, 16<<10 - 1, 16 << 10, 16<<10 + 1, 17 << 10, 32 << 10, 32<<10 + 1, 48 << 10, 49<<10 + 7, 100_000, 1<<18 + 1, 1<<20 - 1,
}

func TestAgainstPeer(t *testing.T) {
	for _, n := range lengths {
		p := pattern(n)
		want := blake3.Sum256(p)
		for _, step := range []int{1 + n/7, 1 << 10, 16 << 10, 16<<10 + 1, 1 << 20} {
			if got := sum(p, step); !bytes.Equal(got, want[:]) {
				t.Errorf("%d bytes in steps of %d: %x, want %x", n, step, got, want)
			}
		}
	}
}

// byParts hashes each part on its own.
func byParts(p []byte, size int) []byte {
	d := blake3tree.New()
	var parts []blake3tree.Chain
	for at := 0; at < len(p); at += size {
		d.ResetAt(int64(at))
		d.Write(p[at:min(len(p), at+size)])
		parts = append(parts, d.Chain())
	}
	return blake3tree.Root(nil, parts)
}

func TestParts(t *testing.T) {
	for _, size := range []int{16 << 10, 32 << 10, 128 << 10} {
		for _, n := range lengths {
			if n <= size {
				continue
			}
			p := pattern(n)
			want := blake3.Sum256(p)
			if got := byParts(p, size); !bytes.Equal(got, want[:]) {
				t.Errorf("%d bytes in parts of %d: %x, want %x", n, size, got, want)
			}
		}
	}
}

// TestSum: asking for the digest does not disturb the stream.
func TestSum(t *testing.T) {
	p := pattern(40_000)
	d := blake3tree.New()
	for round := range 2 {
		for at := 0; at < len(p); at += 1777 {
			want := blake3.Sum256(p[:at])
			if got := d.Sum([]byte("x")); string(got) != "x"+string(want[:]) {
				t.Fatalf("round %d, %d bytes: %x", round, at, got)
			}
			d.Write(p[at:min(len(p), at+1777)])
		}
		d.Reset()
	}
}

func FuzzParts(f *testing.F) {
	f.Add(uint32(70_000), uint8(3), uint16(1000))
	f.Add(uint32(16<<10+1), uint8(0), uint16(1))
	f.Fuzz(func(t *testing.T, length uint32, seed uint8, step uint16) {
		p := pattern(int(length % (80 << 10)))
		for i := range p {
			p[i] ^= seed
		}
		want := blake3.Sum256(p)
		if got := sum(p, int(step)+512); !bytes.Equal(got, want[:]) {
			t.Errorf("%d bytes in steps: %x, want %x", len(p), got, want)
		}
		if len(p) > 16<<10 {
			if got := byParts(p, 16<<10); !bytes.Equal(got, want[:]) {
				t.Errorf("%d bytes in parts: %x, want %x", len(p), got, want)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, d := pattern(size), blake3tree.New()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				d.Reset()
				d.Write(p)
				d.Sum(nil)
			}
		})
	}
}
