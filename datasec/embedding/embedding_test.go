package embedding_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/datasec/embedding/embeddingtest"
	"github.com/prerun/prerun/internal/linalg"
	"github.com/prerun/prerun/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gaussian is n vectors of dim elements without structure.
func gaussian(seed uint64, n, dim int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 3))
	data := make([]float32, n*dim)
	for i := range data {
		data[i] = float32(rng.NormFloat64())
	}
	return data
}

// unit scales the vectors to length one.
func unit(data []float32, dim int) []float32 {
	for i := 0; i < len(data); i += dim {
		linalg.Normalize(data[i : i+dim])
	}
	return data
}

// npy writes a NumPy file of float32 vectors.
func npy(dim int, data []float32) []byte {
	return npyOf("<f4", false, len(data)/dim, dim, float32s(data))
}

func npyOf(descr string, fortran bool, rows, cols int, data []byte) []byte {
	order := "False"
	if fortran {
		order = "True"
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d), }", descr, order, rows, cols)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(out[8:], uint16(len(header)))
	return append(append(out, header...), data...)
}

func float32s(data []float32) []byte {
	var out []byte
	for _, v := range data {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func safetensors(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

// said lists what a source says.
func said(src prerun.Source) []string {
	var out []string
	for f := range src.Findings() {
		out = append(out, fmt.Sprintf("%s %s %s", f.Rule.ID, f.Severity, f.Evidence["rows"]))
	}
	for g := range src.Gaps() {
		out = append(out, "gap: "+g.Reason)
	}
	return out
}

func TestOpen(t *testing.T) {
	want := [][]float32{{1, 2, 3}, {4, 5, 6}}
	flat := []float32{1, 2, 3, 4, 5, 6}
	var doubles, halves, bigEndian []byte
	for _, v := range flat {
		doubles = binary.LittleEndian.AppendUint64(doubles, math.Float64bits(float64(v)))
		bigEndian = binary.BigEndian.AppendUint32(bigEndian, math.Float32bits(v))
	}
	for _, h := range []uint16{0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600} {
		halves = binary.LittleEndian.AppendUint16(halves, h)
	}
	for name, data := range map[string][]byte{
		"npy":         npy(3, flat),
		"npy_f8":      npyOf("<f8", false, 2, 3, doubles),
		"npy_f2":      npyOf("<f2", false, 2, 3, halves),
		"npy_big":     npyOf(">f4", false, 2, 3, bigEndian),
		"npy_fortran": npyOf("<f4", true, 2, 3, float32s([]float32{1, 4, 2, 5, 3, 6})),
		"safetensors": safetensors(`{"e":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"n":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}`, append(float32s(flat), make([]byte, 8)...)),
		"json_arrays": []byte("[1,2,3]\n\n [4, 5.0, 6e0] \n"),
		"jsonl":       []byte(`{"id":"a","embedding":[1,2,3],"text":"x"}` + "\n" + `{"id":7,"embedding":[4,5,6]}`),
		"jsonl_crlf":  []byte("{\"vector\":[1,2,3]}\r\n{\"vector\":[4,5,6]}\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := embedding.Open(fstest.MapFS{"e": {Data: data}}, "e")
			if err != nil {
				t.Fatal(err)
			}
			embeddingtest.TestMatrix(t, m, want)
			if !strings.HasPrefix(m.Digest(), "sha256:") {
				t.Errorf("digest %q", m.Digest())
			}
		})
	}
	m, err := embedding.Open(fstest.MapFS{"e": {Data: []byte(`{"id":"a","embedding":[1]}` + "\n" + `{"id":7,"embedding":[2]}` + "\n" + `{"embedding":[3]}`)}}, "e")
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{m.ID(0), m.ID(1), m.ID(2), m.ID(3)}; !slices.Equal(got, []string{"a", "7", "", ""}) {
		t.Errorf("ids %q", got)
	}
}

func TestOpenTensor(t *testing.T) {
	two := safetensors(`{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}`, float32s([]float32{1, 2, 3, 4}))
	tree := fstest.MapFS{"e": {Data: two}}
	if _, err := embedding.Open(tree, "e"); !errors.Is(err, embedding.ErrNoTensor) || !strings.Contains(err.Error(), `"a" and "b"`) {
		t.Errorf("two tensors: %v", err)
	}
	m, err := embedding.OpenTensor(tree, "e", "b")
	if err != nil {
		t.Fatal(err)
	}
	embeddingtest.TestMatrix(t, m, [][]float32{{3, 4}})
	if _, err := embedding.OpenTensor(tree, "e", "c"); !errors.Is(err, embedding.ErrNoTensor) {
		t.Errorf("no such tensor: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no vectors in a known format"},
		{"text", []byte("hello"), "no vectors in a known format"},
		{"npy_objects", npyOf("|O", false, 2, 2, []byte("cos\nsystem\n")), "holds no vectors"},
		{"npy_text", npyOf("<U1", false, 2, 2, make([]byte, 16)), "holds no vectors"},
		{"npy_bool", npyOf("|b1", false, 2, 2, make([]byte, 4)), "holds no vectors"},
		{"npy_no_columns", npyOf("<f4", false, 2, 0, nil), "holds no vectors"},
		{"npy_cut", npy(3, make([]float32, 6))[:140], "offset 140"},
		{"safetensors_hole", safetensors(`{"e":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}`, make([]byte, 12)), "belong to no tensor"},
		{"safetensors_no_matrix", safetensors(`{"e":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)), "no such tensor"},
		{"line_text", []byte("[1,2]\n[1,\"x\"]"), "vector 1, line at offset 6: element 1 is no number"},
		{"line_nan", []byte("[1,NaN]"), "line 1 column 4"},
		{"line_nested", []byte("[[1,2]]"), "element 0 is no number"},
		{"line_without", []byte(`{"text":"x"}`), "no array"},
		{"line_duplicate", []byte(`{"embedding":[1],"embedding":[2]}`), "duplicate"},
		{"line_cut", []byte("[1,2"), "vector 0"},
		{"lines_empty", []byte("[]\n[]"), "no line has numbers"},
		{"long_line", []byte("[" + strings.Repeat("1,", 1<<19) + "1]"), "the limit is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := embedding.Open(fstest.MapFS{"e": {Data: tt.data}}, "e")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `"e": `) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := embedding.Open(fstest.MapFS{}, "e"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestNewDenseRefuses(t *testing.T) {
	for _, tt := range []struct {
		dim  int
		data []float32
		ids  []string
	}{{0, nil, nil}, {-1, nil, nil}, {2, make([]float32, 3), nil}, {2, make([]float32, 4), []string{"a"}}} {
		if _, err := embedding.NewDense(tt.dim, tt.data, tt.ids); err == nil {
			t.Errorf("%+v was accepted", tt)
		}
	}
	if err := (&embedding.Dense{}).ReadBlock(t.Context(), nil, 0); err == nil {
		t.Error("the zero value was read")
	}
}

func TestHygiene(t *testing.T) {
	const n, dim = 200, 16
	base := gaussian(1, n, dim)
	with := func(change func(row func(i int) []float32)) embedding.Matrix {
		data := slices.Clone(base)
		change(func(i int) []float32 { return data[i*dim : (i+1)*dim] })
		return dense(t, dim, data)
	}
	for _, tt := range []struct {
		name string
		m    embedding.Matrix
		want []string
	}{
		{"clean", dense(t, dim, base), nil},
		{"nan", with(func(row func(int) []float32) { row(7)[3] = float32(math.NaN()); row(9)[0] = float32(math.NaN()) }), []string{"embedding.vector.nan high 7 9"}},
		{"inf", with(func(row func(int) []float32) { row(7)[3] = float32(math.Inf(-1)) }), []string{"embedding.vector.inf high 7"}},
		{"inf_and_nan_in_one", with(func(row func(int) []float32) { row(7)[3], row(7)[4] = float32(math.Inf(-1)), float32(math.NaN()) }), []string{"embedding.vector.nan high 7"}},
		{"zero", with(func(row func(int) []float32) { clear(row(0)) }), []string{"embedding.vector.zero low 0"}},
		{"equal", with(func(row func(int) []float32) { copy(row(50), row(3)); copy(row(60), row(3)) }), []string{"embedding.vector.duplicate info 50 60"}},
		{"long", with(func(row func(int) []float32) {
			for i := range row(4) {
				row(4)[i] *= 30
			}
		}), []string{"embedding.vector.norm low 4"}},
		{"short", with(func(row func(int) []float32) {
			for i := range row(4) {
				row(4)[i] *= 1e-6
			}
		}), nil}, // half its median below it: within eight times so wide a spread
		{"largest_float", with(func(row func(int) []float32) { row(4)[1] = math.MaxFloat32 }), []string{"embedding.vector.norm low 4"}},
		{"nothing", dense(t, dim, nil), []string{"gap: there are no vectors"}},
		{"only_zeros", dense(t, dim, make([]float32, 120*dim)), []string{"embedding.vector.zero low 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 …", "gap: no vector can be compared"}},
		{"few", dense(t, dim, base[:99*dim]), []string{"gap: hubness needs 100 vectors and 30 queries, there are 99 and 99"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := scan(t, embedding.Scanner{}, tt.m)
			if diff := gocmp.Diff(tt.want, said(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for f := range r.Findings() {
				if err := f.Check(); err != nil {
					t.Error(err)
				}
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRagged(t *testing.T) {
	var lines strings.Builder
	for i := range 120 {
		fmt.Fprintf(&lines, "{\"id\":\"doc %d\",\"embedding\":[%d,%d,1%s]}\n", i, i%11, i%7, map[int]string{5: ",1"}[i])
	}
	m, err := embedding.Open(fstest.MapFS{"e": {Data: []byte(lines.String())}}, "e")
	if err != nil {
		t.Fatal(err)
	}
	r := scan(t, embedding.Scanner{}, m)
	var keys []string
	for f := range r.Findings() {
		if f.Rule.ID == "embedding.vector.dimension" {
			keys = append(keys, f.Key+" "+f.Evidence["rows"])
		}
	}
	if diff := gocmp.Diff([]string{"doc 5 5"}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestScanGaps(t *testing.T) {
	m := dense(t, 8, gaussian(1, 150, 8))
	bad := gaussian(2, 50, 8)
	bad[3] = float32(math.NaN())
	for _, tt := range []struct {
		name string
		s    embedding.Scanner
		want string
	}{
		{"memory", embedding.Scanner{MaxBytes: 100}, "150 vectors of dimension 8 take more memory than the limit of 100 bytes"},
		{"metric", embedding.Scanner{Metric: 9}, "metric(9) is not known"},
		{"query_dimension", embedding.Scanner{Queries: dense(t, 4, gaussian(1, 50, 4))}, "queries have dimension 4, vectors 8"},
		{"no_queries", embedding.Scanner{Queries: dense(t, 8, nil)}, "there are no queries"},
		{"few_queries", embedding.Scanner{Queries: dense(t, 8, gaussian(1, 20, 8))}, "hubness needs 100 vectors and 30 queries, there are 150 and 20"},
		{"bad_query", embedding.Scanner{Queries: dense(t, 8, bad)}, "1 of 50 queries are no finite vectors of dimension 8 other than zero, and were not asked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := scan(t, tt.s, m)
			if diff := gocmp.Diff([]string{"gap: " + tt.want}, said(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if prerun.Decide(r, prerun.Medium) != prerun.Incomplete {
				t.Error("a gap that does not count")
			}
		})
	}
}

type failing struct{ embedding.Matrix }

func (failing) ReadBlock(context.Context, []float32, int) error { return fs.ErrPermission }

func TestScanErrors(t *testing.T) {
	m := dense(t, 8, gaussian(1, 150, 8))
	if _, err := (embedding.Scanner{}).Scan(t.Context(), "e", failing{m}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("matrix: %v", err)
	}
	if _, err := (embedding.Scanner{Queries: failing{m}}).Scan(t.Context(), "e", m); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("queries: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (embedding.Scanner{}).Scan(ctx, "e", m); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestZeroResult(t *testing.T) {
	for _, r := range []*embedding.Result{nil, {}} {
		if got := prerun.Decide(r, prerun.Medium); got != prerun.Incomplete {
			t.Errorf("%v", got)
		}
	}
}

func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range embedding.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] || !strings.HasPrefix(r.ID, "embedding.") {
			t.Errorf("rule id %q", r.ID)
		}
		seen[r.ID] = true
	}
}

func report(t interface{ Fatal(...any) }, s embedding.Scanner, m embedding.Matrix) string {
	r, err := s.Scan(context.Background(), "e", m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + strings.Join(said(r), "\n")
}

// The number of workers changes no byte, with any metric and with a sample.
func TestWorkerIndependence(t *testing.T) {
	m := dense(t, 12, gaussian(5, 700, 12))
	for metric := embedding.Cosine; metric <= embedding.Euclidean; metric++ {
		for _, limit := range []int{0, 300} {
			s := embedding.Scanner{Metric: metric, MaxQueries: limit, Workers: 1}
			want := report(t, s, m)
			for _, workers := range []int{2, 8} {
				s.Workers = workers
				if got := report(t, s, m); got != want {
					t.Errorf("%s, %d workers:\n%s\n%s", metric, workers, want, got)
				}
			}
		}
	}
}

// Hits are those of the definition: sort all vectors by the metric.
func TestNeighboursAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, dim := rapid.IntRange(100, 140).Draw(t, "n"), rapid.IntRange(1, 9).Draw(t, "dim")
		k := rapid.IntRange(1, 10).Draw(t, "k")
		metric := embedding.Metric(rapid.IntRange(0, 2).Draw(t, "metric"))
		data := gaussian(rapid.Uint64().Draw(t, "seed"), n, dim)
		for range rapid.IntRange(0, 20).Draw(t, "copies") { // equal vectors make ties
			from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			copy(data[to*dim:(to+1)*dim], data[from*dim:(from+1)*dim])
		}
		queries := gaussian(1, 60, dim)
		copy(queries, data[:dim])
		m, err := embedding.NewDense(dim, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		asked, err := embedding.NewDense(dim, queries, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := embedding.Scanner{K: k, Metric: metric, Queries: asked}.Scan(context.Background(), "e", m)
		if err != nil {
			t.Fatal(err)
		}
		hits := bruteForce(data, queries, dim, k, metric)
		total := 0
		for _, h := range hits {
			total += h
		}
		if total != 60*k {
			t.Fatalf("%d hits of %d", total, 60*k)
		}
		for _, h := range r.Hubs {
			if h.Over == "queries" && h.Hits != hits[h.Row] {
				t.Fatalf("row %d: %d hits, want %d", h.Row, h.Hits, hits[h.Row])
			}
		}
	})
}

func bruteForce(data, queries []float32, dim, k int, metric embedding.Metric) []int {
	data, queries = slices.Clone(data), slices.Clone(queries)
	n := len(data) / dim
	norms := make([]float64, n)
	for i := range n {
		norms[i] = linalg.Norm(data[i*dim : (i+1)*dim])
	}
	if metric == embedding.Cosine {
		unit(data, dim)
		unit(queries, dim)
	}
	hits := make([]int, n)
	for q := range len(queries) / dim {
		score, order := make([]float32, n), make([]int, n)
		for i := range n {
			order[i] = i
			score[i] = linalg.Dot(queries[q*dim:(q+1)*dim], data[i*dim:(i+1)*dim])
			if metric == embedding.Euclidean {
				score[i] += float32(-norms[i] * norms[i] / 2)
			}
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(score[b], score[a]), cmp.Compare(a, b)) })
		for _, i := range order[:k] {
			hits[i]++
		}
	}
	return hits
}

// The order of the vectors changes no count.
func TestOrderIndependence(t *testing.T) {
	const n, dim = 300, 6
	data := gaussian(8, n, dim)
	counts := func(order []int) (hits []int) {
		var shuffled []float32
		for _, i := range order {
			shuffled = append(shuffled, data[i*dim:(i+1)*dim]...)
		}
		for _, h := range scan(t, embedding.Scanner{}, dense(t, dim, shuffled)).Hubs {
			hits = append(hits, h.Hits)
		}
		return hits
	}
	rng := rand.New(rand.NewPCG(1, 1))
	order := rng.Perm(n)
	want := counts(order)
	for range 5 {
		rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
		if diff := gocmp.Diff(want, counts(order)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A large set and few queries: the median vector has no hit at all, and the one
// hub is found all the same.
func TestHubAmongManyVectors(t *testing.T) {
	const n, dim, asked = 5000, 24, 300
	vectors, queries := gaussian(1, n, dim), gaussian(2, asked, dim)
	for i := range queries { // users ask about things that have something in common
		queries[i] = 0.8*queries[i] + 1
	}
	s := embedding.Scanner{Queries: dense(t, dim, queries)}
	for _, f := range flagged(scan(t, s, dense(t, dim, vectors)), prerun.Medium) {
		t.Logf("without a hub: %s", f)
	}
	hub := embeddingtest.Hub(vectors, queries, dim, 10)
	got := flagged(scan(t, s, dense(t, dim, append(vectors, hub...))), prerun.Medium)
	if !slices.Contains(got, fmt.Sprintf("embedding.hub.anomalous %d", n)) {
		t.Errorf("%q", got)
	}
}

func TestAllocationBound(t *testing.T) {
	const n, dim = 4000, 32
	m := dense(t, dim, gaussian(1, n, dim))
	testutil.AllocBound(t, 5*4*n*dim+6<<20, func() {
		scan(t, embedding.Scanner{Workers: 1}, m)
	})
	claims := npyOf("<f4", false, 1<<30, 1<<10, nil)
	testutil.AllocBound(t, 1<<20, func() {
		if _, err := embedding.Open(fstest.MapFS{"e": {Data: claims}}, "e"); err == nil {
			t.Error("a file without data was read")
		}
	})
	nodes := []byte(strings.Repeat("["+strings.Repeat("0,", 5000)+"0]\n", 50))
	testutil.AllocBound(t, uint64(400*len(nodes))+1<<20, func() {
		if _, err := embedding.Open(fstest.MapFS{"e": {Data: nodes}}, "e"); err != nil {
			t.Error(err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(npy(2, []float32{1, 2, 3, 4}))
	f.Add(safetensors(`{"e":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add([]byte(`{"id":"a","embedding":[1,2]}` + "\n[3,4]\n[5]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := embedding.Open(fstest.MapFS{"e": {Data: data}}, "e")
		if err != nil {
			return
		}
		if m.Dim() <= 0 || m.Len()*m.Dim() > 8*len(data) {
			t.Fatalf("%d vectors of dimension %d from %d bytes", m.Len(), m.Dim(), len(data))
		}
		r, err := embedding.Scanner{Workers: 1}.Scan(t.Context(), "e", m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
		for f := range r.Findings() {
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	data := gaussian(1, 2000, 64)
	var lines bytes.Buffer
	for i := range 2000 {
		line, err := json.Marshal(data[i*64 : (i+1)*64])
		if err != nil {
			b.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	for name, file := range map[string][]byte{"npy": npy(64, data), "jsonl": lines.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := embedding.Open(fstest.MapFS{"e": {Data: file}}, "e"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScan is dominated by exact neighbours.
func BenchmarkScan(b *testing.B) {
	for _, size := range []struct{ n, dim int }{{400, 64}, {4000, 64}, {4000, 384}} {
		b.Run(fmt.Sprintf("%dx%d", size.n, size.dim), func(b *testing.B) {
			m := dense(b, size.dim, gaussian(1, size.n, size.dim))
			b.ReportAllocs()
			for b.Loop() {
				scan(b, embedding.Scanner{}, m)
			}
			b.ReportMetric(2*float64(size.n)*float64(size.n)*float64(size.dim)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
