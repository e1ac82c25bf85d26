package embedding_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/datasec/embedding/embeddingtest"
	"github.com/prerun/prerun/internal/linalg"
)

// plant appends copies of one hub, each moved a little.
func plant(vectors []float32, copies int, seed uint64) []float32 {
	hub := embeddingtest.Hub(vectors, vectors, lsaDim, 10)
	rng := rand.New(rand.NewPCG(seed, 5))
	data := slices.Clone(vectors)
	for range copies {
		h := slices.Clone(hub)
		for i := range h {
			h[i] += float32(0.01 * rng.NormFloat64())
		}
		linalg.Normalize(h)
		data = append(data, h...)
	}
	return data
}

// Copies of one hub share its hits and are each other's neighbours. They are
// one finding that names them all.
func TestCopiesOfOneHub(t *testing.T) {
	const n, seeds = 400, 5
	var sets [seeds][]float32
	for seed := range sets {
		_, sets[seed] = fitLSA(sampleText(t, 200+uint64(seed), n), uint64(seed))
	}
	for _, copies := range []int{1, 3, 5, 10, 30} {
		found := 0
		for seed, vectors := range sets {
			r := scan(t, embedding.Scanner{}, dense(t, lsaDim, plant(vectors, copies, uint64(seed))))
			for f := range r.Findings() {
				var row int
				if _, err := fmt.Sscan(f.Evidence["rows"], &row); err != nil {
					t.Fatal(err)
				}
				switch {
				case !f.Severity.AtLeast(prerun.Medium):
				case row == n && len(f.Locations) == min(copies, 20):
					found++
				default:
					t.Errorf("%d copies, seed %d: %s", copies, seed, f.Message)
				}
			}
		}
		if missed := seeds - found; missed > 1 {
			t.Errorf("%d copies: missed %d of %d", copies, missed, seeds)
		}
		t.Logf("%d copies in %d vectors: found %d of %d", copies, n, found, seeds)
	}
}
