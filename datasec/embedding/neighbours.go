package embedding

import (
	"context"
	"sync/atomic"

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
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range min(workers, (nq+blockRows-1)/blockRows) {
		g.Go(func() error {
			block := make([]float32, 0, blockRows*vectors.dim)
			products := make([]float32, blockRows*candidateRows)
			b := &nearest{k: k, scores: make([]float32, blockRows*k), found: make([]int, blockRows)}
			self := make([]int, blockRows)
			for {
				first := int(next.Add(blockRows)) - blockRows
				if first >= nq {
					return nil
				}
				count := min(blockRows, nq-first)
				block = block[:0]
				for i := range count {
					self[i] = -1
					q := first + i
					if asked != nil {
						q = asked[first+i]
						self[i] = q
					}
					block = append(block, queries.row(q)...)
				}
				clear(b.found)
				b.rows = out[first*k : (first+count)*k]
				for at := 0; at < n; at += candidateRows {
					if err := context.Cause(gctx); err != nil {
						return err
					}
					m := min(candidateRows, n-at)
					linalg.Products(products, block, vectors.data[at*vectors.dim:(at+m)*vectors.dim], vectors.dim)
					for i := range count {
						b.offerAll(i, products[i*m:(i+1)*m], bias[at:at+m], at, self[i])
					}
				}
			}
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

// offerAll offers a run of candidates to query i, without itself.
func (b *nearest) offerAll(i int, products, bias []float32, at, self int) {
	for j, p := range products {
		if c := at + j; c != self {
			b.offer(i, p+bias[j], int32(c))
		}
	}
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
