//go:build race

package scan_test

// raceEnabled: sync.Pool drops what it should keep under the race detector, so
// that allocations say nothing about the code.
const raceEnabled = true
