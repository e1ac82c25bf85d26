package embedding_test

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/datasec/embedding/embeddingtest"
	"github.com/prerun/prerun/internal/linalg"
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
		t.Logf("seed %d: clean p %.2g, planted %+v", seed, clean.Tests[3].P, poisoned.Tests[3])
		// a hub for all vectors is found beside queries too
		hub = embeddingtest.Hub(vectors, vectors, lsaDim, 10)
		both := scan(t, s, dense(t, lsaDim, append(vectors, hub...)))
		if got := flagged(both, prerun.Medium); len(got) != 1 {
			misses++
		}
	}
	if misses > 3 {
		t.Errorf("%d of %d hubs missed", misses, 2*seeds)
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

// attacks place one vector among n others.
var attacks = []struct {
	name  string
	place func(vectors []float32, dim int, rng *rand.Rand) []float32
}{
	{"ascent", func(vectors []float32, dim int, _ *rand.Rand) []float32 {
		return embeddingtest.Hub(vectors, vectors, dim, 10)
	}},
	{"mean", func(vectors []float32, dim int, _ *rand.Rand) []float32 {
		mean := make([]float32, dim)
		for i, x := range vectors {
			mean[i%dim] += x
		}
		return unit(mean, dim)
	}},
	{"topic", func(vectors []float32, dim int, rng *rand.Rand) []float32 { // only the tenth nearest to one vector
		n := len(vectors) / dim
		centre := rng.IntN(n)
		products := make([]float32, n)
		linalg.Products(products, vectors[centre*dim:(centre+1)*dim], vectors, dim)
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(products[b], products[a]), cmp.Compare(a, b)) })
		var near []float32
		for _, i := range order[:n/10] {
			near = append(near, vectors[i*dim:(i+1)*dim]...)
		}
		return embeddingtest.Hub(vectors, near, dim, 10)
	}},
}

// TestHubRates measures misses and false alarms on embeddings that were made
// elsewhere: for every matrix of the folder samples of 400 vectors, clean and
// with one vector planted by each attack. A matrix of at most 800 is one sample.
// Samples count by what stands before the last hyphen of the file's name.
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
	type rates struct {
		sets, falseAlarms, beside int
		found, popular            map[string]int
		hits                      map[string][]int
	}
	byGroup := map[string]*rates{}
	for _, name := range names {
		group := name[:max(0, strings.LastIndexByte(name, '-'))]
		r := byGroup[group]
		if r == nil {
			r = &rates{found: map[string]int{}, popular: map[string]int{}, hits: map[string][]int{}}
			byGroup[group] = r
		}
		m, err := embedding.Open(root.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		dim := m.Dim()
		for seed, vectors := range samples(t, m) {
			n := len(vectors) / dim
			r.sets++
			if len(flagged(scan(t, embedding.Scanner{}, dense(t, dim, vectors)), prerun.Medium)) > 0 {
				r.falseAlarms++
			}
			for _, attack := range attacks {
				hub := attack.place(vectors, dim, rand.New(rand.NewPCG(seed, 13)))
				result := scan(t, embedding.Scanner{K: 10}, dense(t, dim, append(slices.Clone(vectors), hub...)))
				for f := range result.Findings() {
					planted := slices.Contains(strings.Fields(f.Evidence["rows"]), fmt.Sprint(n))
					switch {
					case f.Rule.ID == "embedding.hub.anomalous" && planted:
						r.found[attack.name]++
					case f.Rule.ID == "embedding.hub.frequent" && planted:
						r.popular[attack.name]++
					case f.Severity.AtLeast(prerun.Medium):
						r.beside++
					}
				}
				for _, h := range result.Hubs {
					if h.Row == n {
						r.hits[attack.name] = append(r.hits[attack.name], h.Hits)
					}
				}
			}
		}
	}
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		r := byGroup[group]
		cells := []string{group, fmt.Sprint(r.sets), fmt.Sprint(r.falseAlarms + r.beside)}
		for _, attack := range attacks {
			slices.Sort(r.hits[attack.name])
			median := "<"
			if h := r.hits[attack.name]; len(h) > r.sets/2 {
				median = fmt.Sprint(h[len(h)/2])
			}
			cells = append(cells, fmt.Sprintf("%d + %d", r.found[attack.name], r.popular[attack.name]), median)
		}
		t.Logf("| %s |", strings.Join(cells, " | "))
	}
}

// samples yields the sets of a matrix by seed.
func samples(t *testing.T, m embedding.Matrix) iter.Seq2[uint64, []float32] {
	const size, count = 400, 20
	dim := m.Dim()
	all := make([]float32, m.Len()*dim)
	if err := m.ReadBlock(t.Context(), all, 0); err != nil {
		t.Fatal(err)
	}
	return func(yield func(uint64, []float32) bool) {
		if m.Len() <= 2*size {
			yield(0, all)
			return
		}
		for seed := range uint64(count) {
			var vectors []float32
			for _, i := range rand.New(rand.NewPCG(seed, 11)).Perm(m.Len())[:size] {
				vectors = append(vectors, all[i*dim:(i+1)*dim]...)
			}
			if !yield(seed, vectors) {
				return
			}
		}
	}
}
