package scan_test

import (
	"runtime"
	"sync"
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
		technique.Entry
		*evade.Draft
	}
	files := make(chan file, 64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range files {
				want := scan.Malicious
				if f.Entry.Dormant {
					want = scan.Suspicious
				}
				got := one(t, scan.Scanner{NoDigests: true}, f.Name, f.Data)
				if got.Verdict < want && !f.Entry.Behind || got.Verdict == scan.Clean {
					t.Errorf("%s: %s, want %s", f.File, got.Verdict, want)
				}
			}
		})
	}
	single, pairs := 0, 0
	for e, d := range technique.Make(technique.Denied(), true) {
		if len(e.Techniques) == 1 {
			single++
		} else {
			pairs++
		}
		files <- file{e, d}
	}
	close(files)
	wg.Wait()
	if all := len(technique.All()); single != all {
		t.Errorf("%d of %d techniques can be built alone", single, all)
	}
	if pairs < 18_000 {
		t.Errorf("%d pairs compose, want 18000 or more", pairs)
	}
	t.Logf("%d techniques, %d pairs", single, pairs)
}
