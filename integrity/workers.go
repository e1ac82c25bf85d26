package integrity

import (
	"context"
	"sync"

	"github.com/prerun/prerun/internal/sha256mb"
)

// hash does all jobs. Errors are left in them.
func (e *engine) hash(ctx context.Context) {
	lanes := e.alg.lanes()
	n := min(len(e.jobs), e.workers*lanes)
	if n == 0 {
		return
	}
	workers := min(e.workers, n)
	buffer := max(minBuffer, roundSize*workers/n)
	if n < e.workers {
		buffer = aheadSize
	}
	buffer = int(min(int64(buffer), max(1, e.jobs[0].end-e.jobs[0].start))) // the first job is the largest
	p := pool{workers: workers, lanes: lanes, live: n}
	p.moved.L = &p.mu
	for range n {
		p.idle = append(p.idle, &stream{
			engine: e, hash: e.alg.make(),
			spare: make([]byte, buffer), now: chunk{buffer: make([]byte, buffer)},
		})
	}
	all := append([]*stream(nil), p.idle...)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { (&worker{engine: e}).work(ctx, &p) })
	}
	wg.Wait()
	for _, s := range all {
		s.close()
	}
}

// A pool holds the streams that no worker has in hand. Streams are not bound to
// workers: when few are left, they spread out again.
type pool struct {
	workers, lanes int

	mu    sync.Mutex
	moved sync.Cond
	idle  []*stream
	live  int // idle or in hand
}

// take moves a fair share of all streams to hand. None means that there is
// nothing left to do.
func (p *pool) take(hand []*stream) []*stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) == 0 && p.live > 0 {
		p.moved.Wait()
	}
	n := min(len(p.idle), sha256mb.Share(p.live, p.workers), p.lanes)
	hand = append(hand, p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	return hand
}

// put gives streams back, of which ended many have ended since they were taken.
func (p *pool) put(hand []*stream, ended int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, hand...)
	p.live -= ended
	p.moved.Broadcast()
}

// stop leaves nothing to do.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle, p.live = nil, 0
	p.moved.Broadcast()
}

type worker struct {
	*engine
	hand   []*stream
	busy   []*stream
	lanes  []*sha256mb.Digest
	pieces [][]byte
}

// work hashes a round of chunks, while another goroutine reads the next.
func (w *worker) work(ctx context.Context, p *pool) {
	for {
		w.hand = p.take(w.hand[:0])
		if len(w.hand) == 0 {
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, s := range w.hand {
				s.read(ctx)
			}
		})
		w.round()
		wg.Wait()
		if ctx.Err() != nil {
			p.stop()
			return
		}
		taken := len(w.hand)
		kept := w.hand[:0]
		for _, s := range w.hand {
			if s.turn() {
				kept = append(kept, s)
			}
		}
		p.put(kept, taken-len(kept))
	}
}

// round hashes the chunks at hand, all streams side by side.
func (w *worker) round() {
	var bytes int64
	for {
		w.busy, w.pieces = w.busy[:0], w.pieces[:0]
		for _, s := range w.hand {
			if p := s.piece(); len(p) > 0 {
				w.busy, w.pieces = append(w.busy, s), append(w.pieces, p)
			}
		}
		if len(w.busy) == 0 {
			break
		}
		w.write()
		for i, s := range w.busy {
			bytes += int64(len(w.pieces[i]))
			s.advance(len(w.pieces[i]))
		}
	}
	if bytes > 0 {
		w.report(bytes)
	}
}

func (w *worker) write() {
	w.lanes = w.lanes[:0]
	for i, s := range w.busy {
		if d, ok := s.hash.(*sha256mb.Digest); ok {
			w.lanes = append(w.lanes, d)
		} else {
			s.hash.Write(w.pieces[i])
		}
	}
	if len(w.lanes) > 0 {
		sha256mb.Write(w.lanes, w.pieces)
	}
}
