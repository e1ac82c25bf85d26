package embedding_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/datasec/embedding/embeddingtest"
)

func ExampleScanner_Scan() {
	vectors := unit(gaussian(1, 400, 64), 64)
	vectors = append(vectors, embeddingtest.Hub(vectors, vectors, 64, 10)...) // the attack
	corpus := fstest.MapFS{"embeddings.npy": {Data: npy(64, vectors)}}        // os.Root.FS() in earnest

	m, err := embedding.Open(corpus, "embeddings.npy")
	if err != nil {
		log.Fatal(err)
	}
	result, err := embedding.Scanner{}.Scan(context.Background(), "embeddings.npy", m)
	if err != nil {
		log.Fatal(err)
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Locations[0].Fragment)
	}
	fmt.Println(prerun.Decide(result, prerun.Medium))
	// Output:
	// high embedding.hub.anomalous vector=400
	// fail
}

// table stands for a database of vectors: rows by key, read on demand.
type table struct {
	keys []string
	rows map[string][]float32
}

func (t *table) Len() int          { return len(t.keys) }
func (t *table) Dim() int          { return len(t.rows[t.keys[0]]) }
func (t *table) ID(row int) string { return t.keys[row] }

func (t *table) ReadBlock(_ context.Context, dst []float32, row int) error {
	n := len(dst) / t.Dim()
	if row < 0 || row+n > len(t.keys) {
		return fmt.Errorf("rows %d to %d of %d", row, row+n, len(t.keys))
	}
	for i, key := range t.keys[row : row+n] {
		copy(dst[i*t.Dim():], t.rows[key])
	}
	return nil
}

func newTable(n, dim int) *table {
	t, data := &table{rows: map[string][]float32{}}, gaussian(1, n, dim)
	for i := range n {
		key := fmt.Sprintf("doc-%03d", i)
		t.keys = append(t.keys, key)
		t.rows[key] = data[i*dim : (i+1)*dim]
	}
	return t
}

// Any database is a [embedding.Matrix].
func ExampleMatrix() {
	db := newTable(200, 8)
	clear(db.rows["doc-042"])

	result, err := embedding.Scanner{}.Scan(context.Background(), "vectors", db)
	if err != nil {
		log.Fatal(err)
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Key)
	}
	// Output:
	// low embedding.vector.zero doc-042
}

func TestThirdPartyMatrix(t *testing.T) {
	db := newTable(30, 4)
	var want [][]float32
	for _, key := range db.keys {
		want = append(want, db.rows[key])
	}
	embeddingtest.TestMatrix(t, db, want)
}
