// Package lategc puts off the first garbage collection of a program that imports
// it until 64 MiB are in use. Most runs of a command end before; collecting the
// few MiB that linked packages allocate at the start took them a sixth of their
// time.
//
// Go initialises packages in the order of their paths once all that they import
// are, and this one imports next to nothing: it comes before most of the others.
package lategc

import (
	"runtime"
	"runtime/debug"
)

var _ = postpone()

// postpone brings back what was set once something was collected.
func postpone() runtime.Cleanup {
	percent := debug.SetGCPercent(-1)
	limit := debug.SetMemoryLimit(64 << 20)
	return runtime.AddCleanup(new([32]byte), func(percent int) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, percent)
}
