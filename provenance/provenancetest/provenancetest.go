// Package provenancetest holds what authors of evidence sources call from
// their own tests.
package provenancetest

import (
	"bytes"
	"context"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/prerun/prerun/provenance"
)

// TestSource tests a source that can be read and holds the given number of
// documents, from 2 upwards, against the contract of
// [provenance.EvidenceSource]: it can be ranged over again and gives the same,
// it ends when its consumer stops, it does not go on for ever once its context
// is done, and its names are those of reports: relative, clean, different from
// each other. A document that cannot be read counts like any other, and must
// have a name.
//
// A source that is a [provenance.ClaimSource] has its claims ranged over in the
// same way.
func TestSource(t *testing.T, src provenance.EvidenceSource, documents int) {
	t.Helper()
	if documents < 2 {
		t.Fatalf("a source of %d documents cannot show how it ends early; give it 2", documents)
	}
	first := read(t, src)
	if len(first) != documents {
		t.Fatalf("%d documents, want %d", len(first), documents)
	}
	seen := make(map[string]bool)
	for _, e := range first {
		name := e.Name + ":" + strconv.Itoa(e.Line)
		if seen[name] {
			t.Errorf("two documents are named %q, line %d", e.Name, e.Line)
		}
		seen[name] = true
		if e.Name == "" || path.IsAbs(e.Name) || path.Clean(e.Name) != e.Name || strings.HasPrefix(e.Name, "../") {
			t.Errorf("the name %q is empty, absolute or not clean", e.Name)
		}
	}
	again := read(t, src)
	if len(again) != len(first) {
		t.Fatalf("%d documents the second time, %d the first", len(again), len(first))
	}
	for i := range first {
		if a, b := first[i], again[i]; a.Name != b.Name || a.Line != b.Line || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("document %d is %q, line %d the second time, and was %q, line %d, or has other data", i, b.Name, b.Line, a.Name, a.Line)
		}
	}
	n := 0
	for range src.Attestations(t.Context()) {
		n++
		break // a source that goes on makes the runtime panic
	}
	if n != 1 {
		t.Error("nothing the third time")
	}
	ended(t, src, documents)
	if claims, ok := src.(provenance.ClaimSource); ok {
		testClaims(t, claims)
	}
}

func read(t *testing.T, src provenance.EvidenceSource) []provenance.Evidence {
	t.Helper()
	var out []provenance.Evidence
	for e, err := range src.Attestations(t.Context()) {
		if err != nil && e.Name == "" {
			t.Fatalf("the source failed: %v", err)
		}
		e.Data = bytes.Clone(e.Data)
		out = append(out, e)
	}
	return out
}

func ended(t *testing.T, src provenance.EvidenceSource, documents int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for range src.Attestations(ctx) {
		if n++; n > documents+1 {
			t.Error("the source goes on after its context is done")
			break
		}
	}
}

func testClaims(t *testing.T, src provenance.ClaimSource) {
	t.Helper()
	counts := [2]int{}
	for i := range counts {
		for c, err := range src.Claims(t.Context()) {
			if err != nil {
				t.Fatalf("claims: %v", err)
			}
			if c.Source == "" {
				t.Errorf("claim %d does not say who makes it", counts[i])
			}
			counts[i]++
		}
	}
	if counts[0] != counts[1] {
		t.Errorf("%d claims the second time, %d the first", counts[1], counts[0])
	}
	for range src.Claims(t.Context()) {
		break
	}
}
