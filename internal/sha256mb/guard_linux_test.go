package sha256mb_test

import (
	"syscall"
	"testing"

	"github.com/prerun/prerun/internal/sha256mb"
)

// TestGuard: the streams are only read, and nothing before or behind them is.
// Each lies against the edge of memory that is read-only, with a page on either
// side that traps.
func TestGuard(t *testing.T) {
	const size = 640
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(memory)
	inner := memory[page : 2*page]
	copy(inner, random(9, page))
	for _, p := range []struct {
		at   []byte
		prot int
	}{{memory[:page], syscall.PROT_NONE}, {inner, syscall.PROT_READ}, {memory[2*page:], syscall.PROT_NONE}} {
		if err := syscall.Mprotect(p.at, p.prot); err != nil {
			t.Fatal(err)
		}
	}
	sha256mb.EachMachine(t, func(t *testing.T) {
		for k := 1; k <= 16; k++ {
			streams := make([][]byte, k)
			for i := range streams {
				streams[i] = inner[:size]
				if i%2 == 0 {
					streams[i] = inner[page-size-i:]
				}
			}
			check(t, streams, sums(streams, all))
		}
	})
}
