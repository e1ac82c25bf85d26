package scan_test

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
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
		} else if pairs++; testing.Short() && pairs%20 != 0 {
			continue
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

// A sample of what three techniques of pickles make of a denied call is not
// clean either. Of all 753 594 triples, those with a dormant technique too, 206
// are less than suspicious, all of them dormant; CPython ran the call of none but
// was not given the 28 with a long first line. The payload is text or bytes in a
// pickle that nothing hands to a loader, and that pickle lies in a literal
// itself, without a marker byte, or behind bytes of no pickle. Dormant ones are
// left out here.
func TestThreeTechniques(t *testing.T) {
	const every = 499 // of some 750 000 triples
	all := evade.Techniques()
	n, tried := 0, 0
	for a, b := range evade.Pairs(all) {
		for _, c := range all {
			if b.Gives > c.Takes || a.Dormant || b.Dormant || c.Dormant {
				continue
			}
			if n++; n%every != 0 {
				continue
			}
			d, ok := evade.Build(technique.Denied(), a, b, c)
			if !ok {
				continue
			}
			tried++
			if got := one(t, scan.Scanner{NoDigests: true}, d.Name, d.Data).Verdict; got < scan.Suspicious && !d.Behind || got == scan.Clean {
				t.Errorf("%s+%s+%s: %s", a.Name, b.Name, c.Name, got)
			}
		}
	}
	t.Logf("%d of %d triples", tried, n)
}

// A pickle of protocol 0 is found by its calls, however long its first lines are
// and whatever its file is called.
func TestLongLines(t *testing.T) {
	words, digits := strings.Repeat("weights ", 2000), strings.Repeat("1", 6000)
	for _, first := range []string{"V" + words, "S'" + words + "'", "P" + words, "I" + digits, "L" + digits + "L", "F0." + digits, "F0." + digits + digits, "Np" + strings.Repeat(" ", 9000) + "1\n0g" + strings.Repeat("0", 9000) + "1", "N0V" + words, "(lp0\nV" + words} {
		data := []byte(first + "\n0cos\nsystem\n(S'echo hello'\ntR.")
		for _, name := range []string{"model.pkl", "model.bin", "README.md", "notes", "x.json"} {
			if f := one(t, scan.Scanner{NoDigests: true}, name, data); f.Verdict != scan.Malicious {
				report(t, f)
				t.Errorf("%s that starts with %q: %s", name, first[:4], f.Verdict)
			}
		}
	}
	literal := func(text string) []byte { // with nothing in it
		return slices.Concat([]byte("\x80\x04X"), binary.LittleEndian.AppendUint32(nil, uint32(len(text))), []byte(text), []byte("."))
	}
	for _, text := range []string{"V" + words, "Very long " + words, "V" + words + "\n0c\nof text\nR.", "P" + words + "\n.", strings.Repeat("Vnd", 3000)} {
		if f := one(t, scan.Scanner{}, "model.pkl", literal(text)); f.Verdict != scan.Clean || f.Completeness != scan.Complete || len(f.Findings) > 0 {
			report(t, f)
			t.Errorf("a literal that starts with %q: %s", text[:8], f.Verdict)
		}
	}
	for _, first := range []string{"V" + words, "I am " + words, "See " + words, "Let " + words, "For " + words, "class " + words} {
		for _, rest := range []string{"\n\nAnother paragraph.\n", "\nconclusion\nThe end.\n", ""} {
			f := one(t, scan.Scanner{NoDigests: true}, "README.md", []byte(first+rest))
			if f.Verdict != scan.Clean || f.Completeness != scan.Complete || len(f.Findings) > 0 {
				report(t, f)
				t.Errorf("a text that starts with %q and ends in %q: %s", first[:8], rest, f.Verdict)
			}
		}
	}
}
