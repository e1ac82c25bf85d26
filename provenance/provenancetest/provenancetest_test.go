package provenancetest_test

import (
	"context"
	"iter"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/provenance/provenancetest"
)

func TestOwnSources(t *testing.T) {
	dir := provenance.Dir(fstest.MapFS{
		"a.json":         {Data: []byte("{}")},
		"b/c.jsonl":      {Data: []byte("{}\n{}\n")},
		"not evidence.x": {Data: []byte("{}")},
	})
	provenancetest.TestSource(t, dir, 3)
	memory := provenance.Memory(provenance.Evidence{Name: "m"}, provenance.Evidence{Name: "m", Line: 1})
	provenancetest.TestSource(t, memory, 2)
	provenancetest.TestSource(t, provenance.Sources{dir, memory, claimed{memory}}[:2], 5)
	provenancetest.TestSource(t, claimed{memory}, 2)
}

type claimed struct{ provenance.EvidenceSource }

func (claimed) Claims(context.Context) iter.Seq2[provenance.Claim, error] {
	return func(yield func(provenance.Claim, error) bool) {
		_ = yield(provenance.Claim{Source: "a"}, nil) && yield(provenance.Claim{Source: "b"}, nil)
	}
}
