package scan_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/technique"
	"github.com/prerun/prerun/internal/pickle/evade"
)

// Whatever hides the call of a denied function, alone or together with another
// technique, the file is malicious; where nothing calls it on load, the file is
// suspicious at least. A pickle that does not start where its file does, so that
// no loader finds it by itself, leaves the file anything but clean.
func TestTechniques(t *testing.T) {
	type file struct {
		name    string
		data    *evade.Draft
		dormant bool
	}
	all := technique.All()
	files := make(chan file, 64)
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range files {
				want := scan.Malicious
				if f.dormant {
					want = scan.Suspicious
				}
				got := one(t, scan.Scanner{NoDigests: true}, f.data.Name, f.data.Data)
				if got.Verdict < want && !f.data.Behind || got.Verdict == scan.Clean {
					if wrong.Add(1) < 100 {
						t.Errorf("%s: %s, want %s", f.name, got.Verdict, want)
					}
				}
			}
		})
	}
	for _, a := range all {
		d, ok := evade.Build(technique.Denied(), a)
		if !ok {
			t.Errorf("%s cannot be built", a.Name)
			continue
		}
		files <- file{a.Name, d, a.Dormant}
	}
	pairs := 0
	for a, b := range evade.Pairs(all) {
		if d, ok := evade.Build(technique.Denied(), a, b); ok {
			pairs++
			files <- file{a.Name + "+" + b.Name, d, a.Dormant || b.Dormant}
		}
	}
	close(files)
	wg.Wait()
	if pairs < 15_000 {
		t.Errorf("%d pairs compose, want 15000 or more", pairs)
	}
	t.Logf("%d techniques, %d pairs, %d wrong", len(all), pairs, wrong.Load())
}
