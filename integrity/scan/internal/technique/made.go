package technique

import (
	"iter"
	"path"
	"strings"

	"github.com/prerun/prerun/internal/pickle/evade"
)

// An Entry is a file in the manifest that the script reads.
type Entry struct {
	File         string   `json:"file"` // in a folder of its own, under the name that it pretends
	Techniques   []string `json:"techniques"`
	Rows         []string `json:"rows"` // of the catalogue, one for each technique
	Open         []string `json:"open"` // how to get at the pickle, outermost first
	Dormant      bool     `json:"dormant,omitempty"`
	Behind       bool     `json:"behind,omitempty"`
	Containers   int      `json:"-"`                 // techniques that make a file of a file
	Verdict      string   `json:"verdict,omitempty"` // ours
	Completeness string   `json:"completeness,omitempty"`
}

// Make yields the files of all techniques, then of all pairs that compose.
func Make(call evade.Call, pairs bool) iter.Seq2[Entry, *evade.Draft] {
	return func(yield func(Entry, *evade.Draft) bool) {
		all := All()
		more := true
		try := func(ts ...evade.Technique) {
			d, ok := evade.Build(call, ts...)
			if !ok || !more {
				return
			}
			e := Entry{Open: d.Open, Behind: d.Behind}
			for _, t := range ts {
				e.Techniques, e.Rows = append(e.Techniques, t.Name), append(e.Rows, t.Row)
				e.Dormant = e.Dormant || t.Dormant
				if t.Takes == evade.File {
					e.Containers++
				}
			}
			e.File = path.Join(strings.Join(e.Techniques, "+"), d.Name)
			more = yield(e, d)
		}
		for _, t := range all {
			try(t)
		}
		if !pairs {
			return
		}
		for a, b := range evade.Pairs(all) {
			try(a, b)
		}
	}
}
