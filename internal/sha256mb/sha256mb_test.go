package sha256mb_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/prerun/prerun/internal/sha256mb"
)

// random fills memory that starts at an odd address.
func random(seed uint64, n int) []byte {
	p := make([]byte, n+1)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(p)
	return p[1:]
}

func sums(streams [][]byte, split func(i, round, left int) int) [][]byte {
	d := make([]*sha256mb.Digest, len(streams))
	for i := range d {
		d[i] = sha256mb.New()
	}
	left := append([][]byte{}, streams...)
	for round, more := 0, true; more; round++ {
		more = false
		parts := make([][]byte, len(d))
		for i := range left {
			n := min(len(left[i]), split(i, round, len(left[i])))
			parts[i], left[i] = left[i][:n], left[i][n:]
			more = more || len(left[i]) > 0
		}
		sha256mb.Write(d, parts)
	}
	out := make([][]byte, len(d))
	for i := range d {
		out[i] = d[i].Sum(nil)
	}
	return out
}

func check(t *testing.T, streams, got [][]byte) {
	t.Helper()
	for i, p := range streams {
		if want := sha256.Sum256(p); !bytes.Equal(got[i], want[:]) {
			t.Errorf("stream %d of %d, %d bytes: %x, want %x", i, len(streams), len(p), got[i], want)
		}
	}
}

func all(_, _, left int) int { return left }

func TestPlain(t *testing.T) {
	for n := range 300 {
		p := random(1, n)
		if got, want := sha256mb.Plain(p), sha256.Sum256(p); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

// TestLanes: every number of streams, of equal and of unequal lengths.
func TestLanes(t *testing.T) {
	sha256mb.EachMachine(t, func(t *testing.T) {
		for k := range 36 {
			for _, size := range []int{0, 1, 55, 56, 63, 64, 65, 128, 4096, 70000} {
				streams := make([][]byte, k)
				for i := range streams {
					streams[i] = random(uint64(i), size)
				}
				check(t, streams, sums(streams, all))
				for i := range streams {
					streams[i] = streams[i][:size*(i*7%11)/11]
				}
				check(t, streams, sums(streams, all))
			}
		}
	})
}

// TestLengths: every length around the edges of blocks, on every lane.
func TestLengths(t *testing.T) {
	sha256mb.EachMachine(t, func(t *testing.T) {
		for from := 0; from < 400; from += 16 {
			streams := make([][]byte, 16)
			for i := range streams {
				streams[i] = random(uint64(from+i), from+i)
			}
			check(t, streams, sums(streams, all))
		}
	})
}

// TestSplits: a stream is the same however it is cut into writes.
func TestSplits(t *testing.T) {
	sha256mb.EachMachine(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			streams := make([][]byte, 1+rng.IntN(18))
			for i := range streams {
				streams[i] = random(uint64(i), rng.IntN(3000))
			}
			most := 1 + rng.IntN(700)
			check(t, streams, sums(streams, func(_, _, _ int) int { return rng.IntN(most + 1) }))
		}
	})
}

// TestSum: asking for the digest does not disturb the stream, which may be
// begun anew.
func TestSum(t *testing.T) {
	sha256mb.EachMachine(t, func(t *testing.T) {
		p := random(3, 200)
		d := sha256mb.New()
		for round := range 2 {
			for i := range p {
				want := sha256.Sum256(p[:i])
				if got := d.Sum([]byte("x")); string(got) != "x"+string(want[:]) {
					t.Fatalf("round %d, %d bytes: %x", round, i, got)
				}
				sha256mb.Write([]*sha256mb.Digest{d}, [][]byte{p[i : i+1]})
			}
			d.Reset()
		}
	})
}

func TestAllocations(t *testing.T) {
	d := []*sha256mb.Digest{sha256mb.New(), sha256mb.New(), sha256mb.New()}
	p := [][]byte{make([]byte, 1000), make([]byte, 100), nil}
	if n := testing.AllocsPerRun(100, func() { sha256mb.Write(d, p) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestGenerated: the assembly is what its generator prints.
func TestGenerated(t *testing.T) {
	want, err := exec.Command("go", "run", "./gen").Output()
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, "sha256mb_amd64.s", want)
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte("abc"), []byte{3, 1, 2}, uint8(64))
	f.Add(bytes.Repeat([]byte("0123456789"), 100), []byte{0, 200, 7, 0, 90, 255, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, uint8(200))
	f.Fuzz(func(t *testing.T, data, cuts []byte, most uint8) {
		data = data[:min(len(data), 2048)]
		streams := make([][]byte, min(len(cuts), 20))
		for i := range streams {
			at := min(int(cuts[i]), len(data))
			streams[i] = data[at:]
		}
		check(t, streams, sums(streams, func(i, round, _ int) int { return (i+round)%(int(most)+2)*5 + 1 }))
	})
}

// BenchmarkWrite hashes k streams at once. Its ratio is to crypto/sha256,
// measured between the runs so that both see the same machine.
func BenchmarkWrite(b *testing.B) {
	const size = 64 << 10
	for _, k := range []int{1, 2, 3, 4, 6, 8, 12, 16} {
		b.Run(fmt.Sprint(k), func(b *testing.B) {
			d := make([]*sha256mb.Digest, k)
			p := make([][]byte, k)
			for i := range d {
				d[i], p[i] = sha256mb.New(), random(uint64(i), size)
			}
			benchmarkRatio(b, k*size,
				func() { sha256mb.Write(d, p) },
				func() {
					for i := range p {
						sha256.Sum256(p[i])
					}
				})
		})
	}
}
