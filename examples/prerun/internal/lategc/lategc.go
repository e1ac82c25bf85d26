// Package lategc puts off the first garbage collection of a program that imports
// it until 64 MiB are in use, and lets the heap grow to three times of what is
// live, instead of twice, as long as that is below 64 MiB. Most runs of a command
// end before the first; collecting the few MiB that linked packages allocate at
// the start took them a sixth of their time.
//
// Go initialises packages in the order of their paths once all that they import
// are, and this one imports next to nothing: it comes before most of the others.
package lategc

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const little = 64 << 20

var _ = postpone()

// postpone brings back what was set once something was collected.
func postpone() runtime.Cleanup {
	percent := debug.SetGCPercent(-1)
	limit := debug.SetMemoryLimit(little)
	return after(func() {
		debug.SetMemoryLimit(limit)
		adapt(percent, 0)
	})
}

// adapt sets the growth of the heap after each collection; now is what it is, and
// 0 at first.
func adapt(percent, now int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	want := percent
	if live[0].Value.Uint64() < little {
		want = 2 * percent
	}
	if want != now {
		debug.SetGCPercent(want)
	}
	after(func() { adapt(percent, want) })
}

// after calls a function after the next collection.
func after(f func()) runtime.Cleanup {
	return runtime.AddCleanup(new([32]byte), func(f func()) { f() }, f)
}
