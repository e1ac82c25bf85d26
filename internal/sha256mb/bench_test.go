package sha256mb_test

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"
)

func checkFile(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: go generate ./internal/sha256mb", name)
	}
}

// benchmarkRatio runs f and its reference in turn and reports how much faster f
// was, by the fastest run of each: interruptions only ever add time.
func benchmarkRatio(b *testing.B, bytes int, f, reference func()) {
	b.SetBytes(int64(bytes))
	var ours, theirs []time.Duration
	for b.Loop() {
		start := time.Now()
		f()
		ours = append(ours, time.Since(start))
		b.StopTimer()
		start = time.Now()
		reference()
		theirs = append(theirs, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(float64(slices.Min(theirs))/float64(slices.Min(ours)), "x-stdlib")
	b.ReportMetric(float64(bytes)/1e9/slices.Min(ours).Seconds(), "GB/s-best")
}
