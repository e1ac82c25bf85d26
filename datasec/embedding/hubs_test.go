package embedding_test

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/datasec/embedding/embeddingtest"
)

func dense(tb testing.TB, dim int, data []float32) *embedding.Dense {
	tb.Helper()
	m, err := embedding.NewDense(dim, data, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func scan(tb testing.TB, s embedding.Scanner, m embedding.Matrix) *embedding.Result {
	tb.Helper()
	r, err := s.Scan(tb.Context(), "embeddings.npy", m)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// flagged lists the rows of findings at a severity.
func flagged(src prerun.Source, severity prerun.Severity) []string {
	var out []string
	for f := range src.Findings() {
		if f.Severity.AtLeast(severity) {
			out = append(out, f.Rule.ID+" "+f.Evidence["rows"])
		}
	}
	return out
}

// Twenty samples of real text: clean ones pass, and the one planted hub is the
// one finding. Rates over more sets are in benchmarks/embedding-hubs.md.
func TestHubsInRealText(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	falseAlarms, misses := 0, 0
	for seed := range seeds {
		_, vectors := fitLSA(sampleText(t, uint64(seed), 400), uint64(seed))
		clean := scan(t, embedding.Scanner{}, dense(t, lsaDim, vectors))
		for _, f := range flagged(clean, prerun.Medium) {
			t.Errorf("seed %d: clean, but %s", seed, f)
			falseAlarms++
		}
		hub := embeddingtest.Hub(vectors, vectors, lsaDim, 10)
		poisoned := scan(t, embedding.Scanner{}, dense(t, lsaDim, append(vectors, hub...)))
		if got := flagged(poisoned, prerun.Medium); len(got) != 1 || got[0] != "embedding.hub.anomalous 400" {
			t.Logf("seed %d: planted, got %q, %+v", seed, got, poisoned.Hubs[0])
			misses++
		}
		t.Logf("seed %d: clean p %.2g, planted %+v", seed, clean.Tests[1].P, poisoned.Hubs[0])
	}
	if misses > seeds/10 {
		t.Errorf("%d of %d hubs missed", misses, seeds)
	}
	t.Logf("%d false alarms, %d misses in %d samples", falseAlarms, misses, seeds)
}

func TestHubsOverQueries(t *testing.T) {
	misses := 0
	const seeds = 10
	for seed := range uint64(seeds) {
		text := sampleText(t, 100+seed, 550)
		model, vectors := fitLSA(text[:400], seed)
		queries := model.embed(text[400:])
		s := embedding.Scanner{Queries: dense(t, lsaDim, queries)}
		clean := scan(t, s, dense(t, lsaDim, vectors))
		if got := flagged(clean, prerun.Medium); len(got) > 0 {
			t.Errorf("seed %d: clean, but %q", seed, got)
		}
		hub := embeddingtest.Hub(vectors, queries, lsaDim, 10)
		poisoned := scan(t, s, dense(t, lsaDim, append(vectors, hub...)))
		if got := flagged(poisoned, prerun.Medium); len(got) != 1 || got[0] != "embedding.hub.anomalous 400" {
			misses++
		}
		t.Logf("seed %d: clean p %.2g, planted %+v", seed, clean.Tests[1].P, poisoned.Hubs[0])
	}
	if misses > 2 {
		t.Errorf("%d of %d hubs missed", misses, seeds)
	}
}

// Vectors without any structure have natural hubs in high dimension.
func TestNoHubsInNoise(t *testing.T) {
	for _, dim := range []int{8, 64, 384} {
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, uint64(dim)))
			data := make([]float32, 600*dim)
			for i := range data {
				data[i] = float32(rng.NormFloat64())
			}
			t.Run(fmt.Sprintf("dim%d_seed%d", dim, seed), func(t *testing.T) {
				if got := flagged(scan(t, embedding.Scanner{}, dense(t, dim, data)), prerun.Medium); len(got) > 0 {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

var hubSets = flag.String("hubs", "", "folder of NumPy matrices whose clean and poisoned samples TestHubRates judges")

// TestHubRates measures misses and false alarms on embeddings that somebody
// made elsewhere: for every file NAME.npy, and NAME.queries.npy where it
// exists, samples of 400 vectors, clean and with one planted hub.
func TestHubRates(t *testing.T) {
	if *hubSets == "" {
		t.Skip("-hubs names no folder")
	}
	root, err := os.OpenRoot(*hubSets)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), "*.npy")
	if err != nil {
		t.Fatal(err)
	}
	const size, samples = 400, 20
	for _, name := range names {
		m, err := embedding.Open(root.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		dim := m.Dim()
		all := make([]float32, m.Len()*dim)
		if err := m.ReadBlock(t.Context(), all, 0); err != nil {
			t.Fatal(err)
		}
		falseAlarms, found, others, sets := 0, 0, 0, 0
		var hits []int
		for seed := range uint64(samples) {
			rng := rand.New(rand.NewPCG(seed, 11))
			var vectors []float32
			if m.Len() <= 2*size { // one set in itself, such as one fitted LSA
				if seed > 0 {
					break
				}
				vectors = slices.Clone(all)
			} else {
				for _, i := range rng.Perm(m.Len())[:size] {
					vectors = append(vectors, all[i*dim:(i+1)*dim]...)
				}
			}
			sets++
			n := len(vectors) / dim
			if len(flagged(scan(t, embedding.Scanner{}, dense(t, dim, vectors)), prerun.Medium)) > 0 {
				falseAlarms++
			}
			hub := embeddingtest.Hub(vectors, vectors, dim, 10)
			r := scan(t, embedding.Scanner{}, dense(t, dim, append(vectors, hub...)))
			for _, f := range flagged(r, prerun.Medium) {
				if f == fmt.Sprintf("embedding.hub.anomalous %d", n) {
					found++
				} else {
					others++
				}
			}
			if r.Hubs[0].Row == n {
				hits = append(hits, r.Hubs[0].Hits)
			}
		}
		t.Logf("%s: %d sets: false alarms %d clean, %d beside the hub; hubs found %d; hits %d", name, sets, falseAlarms, others, found, hits)
	}
}
