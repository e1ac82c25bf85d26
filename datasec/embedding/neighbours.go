package embedding

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/prerun/prerun/internal/linalg"
)

// candidateRows are multiplied with a block of queries at once; the products
// stay in the cache.
const candidateRows = 256

// neighbours returns, for each query, the k vectors nearest to it, nearest
// first and of equally near ones the one with the lower number. Where the
// queries are the vectors themselves asked[i] is the vector that query i is,
// which is not its own neighbour.
//
// The unit of work is a fixed block of queries, and an inner product has the
// same bits wherever it is computed, so the answer does not depend on workers.
func neighbours(ctx context.Context, vectors, queries *set, asked []int, metric Metric, k, workers int) ([]int32, error) {
	nq, n := queries.len(), vectors.len()
	if asked != nil {
		nq = len(asked)
	}
	bias := make([]float32, n)
	if metric == Euclidean { // |q-v|² = |q|² - 2(q·v - |v|²/2)
		for i, norm := range vectors.norms {
			bias[i] = float32(-norm * norm / 2)
		}
	}
	out := make([]int32, nq*k)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for first := 0; first < nq; first += blockRows {
		g.Go(func() error {
			count := min(blockRows, nq-first)
			block := make([]float32, 0, count*vectors.dim)
			self := make([]int, count)
			for i := range count {
				self[i] = -1
				q := first + i
				if asked != nil {
					q = asked[first+i]
					self[i] = q
				}
				block = append(block, queries.row(q)...)
			}
			b := &nearest{k: k, scores: make([]float32, count*k), rows: out[first*k : (first+count)*k], found: make([]int, count)}
			products := make([]float32, count*candidateRows)
			for at := 0; at < n; at += candidateRows {
				if err := context.Cause(gctx); err != nil {
					return err
				}
				m := min(candidateRows, n-at)
				linalg.Products(products, block, vectors.data[at*vectors.dim:(at+m)*vectors.dim], vectors.dim)
				for i := range count {
					row := products[i*m : (i+1)*m]
					for j, p := range row {
						if c := at + j; c != self[i] {
							b.offer(i, p+bias[c], int32(c))
						}
					}
				}
			}
			return nil
		})
	}
	return out, g.Wait()
}

// nearest keeps the k best candidates of each query of a block, sorted.
// Candidates come in rising order, so a later equal score never wins.
type nearest struct {
	k      int
	scores []float32
	rows   []int32
	found  []int
}

func (b *nearest) offer(i int, score float32, row int32) {
	scores, rows := b.scores[i*b.k:(i+1)*b.k], b.rows[i*b.k:(i+1)*b.k]
	n := b.found[i]
	if n == b.k {
		if !(score > scores[n-1]) {
			return
		}
		n--
	} else {
		b.found[i]++
	}
	for n > 0 && score > scores[n-1] {
		scores[n], rows[n] = scores[n-1], rows[n-1]
		n--
	}
	scores[n], rows[n] = score, row
}
