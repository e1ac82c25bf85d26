package integrity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prerun/prerun/internal/sha256mb"
)

// wideSeats is how many files are open at once for each worker, at least: opening
// a small one takes longer than hashing it.
const wideSeats = 8

// A Variant is one way to hash a model.
type Variant struct {
	Algorithm string // "" means SHA256
	ShardSize int64  // in bytes; 0 means whole files
}

// HashEach makes a manifest of a folder by each variant, in their order, in one
// pass: every file is opened once and every byte is read once, and Progress
// counts it once. The manifests are those of [Hasher.Hash], and so are the errors;
// no variant, one that is given twice, and a hasher that has an algorithm or a
// shard size of its own are errors too.
//
// The files, and the digests of one file, are spread over the workers, so that one
// large file takes as long as the slowest of its digests. A file that a [Cache]
// knows by some variants is read for the others alone. Where reading costs
// nothing, several calls of Hash may be faster on one large file: by shards or
// BLAKE3 they read it at several places at once.
func (h Hasher) HashEach(ctx context.Context, fsys fs.FS, variants ...Variant) ([]*Manifest, error) {
	each, err := h.parametersOf(variants)
	if err != nil {
		return nil, err
	}
	t, ignore, err := h.list(ctx, fsys)
	if err != nil {
		return nil, err
	}
	for i := range each {
		each[i].Ignore = slices.Clone(ignore)
	}
	return h.hashEach(ctx, fsys, t, each)
}

// HashFileEach is [Hasher.HashEach] for a model that is one file, as
// [Hasher.HashFile] has it.
func (h Hasher) HashFileEach(ctx context.Context, fsys fs.FS, name string, variants ...Variant) ([]*Manifest, error) {
	each, err := h.parametersOf(variants)
	if err != nil {
		return nil, err
	}
	t, err := h.listFile(ctx, fsys, name)
	if err != nil {
		return nil, err
	}
	out, err := h.hashEach(ctx, fsys, t, each)
	if err != nil {
		return nil, err
	}
	for _, m := range out {
		m.rename(path.Base(name))
	}
	return out, nil
}

func (h Hasher) parametersOf(variants []Variant) ([]Parameters, error) {
	if h.Algorithm != "" || h.ShardSize != 0 {
		return nil, errors.New("a hasher with an algorithm or a shard size of its own, where variants have theirs")
	}
	if len(variants) == 0 {
		return nil, errors.New("no variant to hash by")
	}
	seen := make(map[Variant]int, len(variants))
	out := make([]Parameters, len(variants))
	for i, v := range variants {
		h.Algorithm, h.ShardSize = v.Algorithm, v.ShardSize
		p, err := h.parameters()
		if err != nil {
			return nil, fmt.Errorf("variant %d: %w", i, err)
		}
		v.Algorithm = p.Algorithm
		if first, ok := seen[v]; ok {
			return nil, fmt.Errorf("variants %d and %d are the same", first, i)
		}
		seen[v], out[i] = i, p
	}
	return out, nil
}

func (h Hasher) hashEach(ctx context.Context, fsys fs.FS, t *tree, each []Parameters) ([]*Manifest, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	p, err := newPass(fsys, t.files, each, h.Workers, h.Cache)
	if err != nil {
		return nil, err
	}
	if err := p.run(ctx, h.Progress); err != nil {
		return nil, err
	}
	out := make([]*Manifest, len(each))
	bad := make(map[string]error) // an empty file is read for whole files alone
	for i, v := range p.variants {
		var own map[string]error
		out[i], own = collect(v.p, t.files, v.results)
		maps.Copy(bad, own)
	}
	for i, m := range out {
		if out[i], err = m.complete(t, bad); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A pass hashes files in several ways while it reads them once. It goes by
// rounds: the blocks that the last one read are hashed, while the next are read.
type pass struct {
	reader   *engine   // its jobs are the files that must be read
	variants []*engine // each has a job for each file, without resources where there is nothing to hash
	seats    []*seat
	workers  []worker
	tasks    [][]*stream // of a round, the longest first
	lanes    []*stream   // by SHA-256, of a round
}

// A seat has one file after another: a stream that reads it, and for each variant
// one that hashes what was read.
type seat struct {
	read *stream
	hash []*stream
}

// newPass says what is to be read and hashed.
func newPass(fsys fs.FS, files []source, each []Parameters, workers int, cache *Cache) (*pass, error) {
	p := &pass{reader: newEngine(fsys, Parameters{}, workers, nil, nil)}
	p.reader.files = files
	for _, params := range each {
		v := newEngine(fsys, params, workers, cache, nil)
		if err := v.planWhole(files); err != nil {
			return nil, err
		}
		p.variants = append(p.variants, v)
	}
	for i, f := range files {
		if slices.ContainsFunc(p.variants, func(v *engine) bool { return v.jobs[i].last > 0 }) {
			p.reader.jobs = append(p.reader.jobs, job{file: i, end: f.size})
			p.reader.total += f.size
		}
	}
	slices.SortStableFunc(p.reader.jobs, func(a, b job) int { return cmp.Compare(b.end, a.end) })
	p.seat()
	return p, nil
}

// planWhole makes one job of each file.
func (e *engine) planWhole(files []source) error {
	e.files = files
	e.results = make([]fileResult, len(files))
	e.jobs = make([]job, len(files))
	var resources int64
	for i, f := range files {
		n := resourcesIn(f.size, e.p.ShardSize)
		if resources += n; resources > MaxResources {
			return newError(ErrUnsupported, "", "more than %d resources", MaxResources)
		}
		list := make([]Resource, n)
		for k := range list {
			list[k].Path = f.name
			if start := int64(k) * e.p.ShardSize; e.p.ShardSize > 0 {
				list[k].Start, list[k].End = start, start+min(e.p.ShardSize, f.size-start)
			}
		}
		e.results[i].resources = list
		e.jobs[i] = job{file: i, end: f.size}
		if e.cache == nil || !e.cache.fill(f.info, e.p, list) {
			e.jobs[i].last = int(n)
		}
	}
	return nil
}

// seat makes the seats, whose buffers together are as large for few as for many.
func (p *pass) seat() {
	e := p.reader
	n := min(len(e.jobs), e.workers*max(wideSeats, sha256mb.Lanes()))
	if n == 0 {
		return
	}
	block := max(minBuffer, roundSize*e.workers/n)
	if n < e.workers {
		block = aheadSize
	}
	block = int(min(int64(block), max(1, e.jobs[0].end))) // the first job is the largest
	for range n {
		s := &seat{read: &stream{engine: e, spare: make([]byte, block), now: chunk{buffer: make([]byte, block)}}}
		for _, v := range p.variants {
			s.hash = append(s.hash, &stream{engine: v, hash: v.alg.make()})
		}
		p.seats = append(p.seats, s)
	}
	p.workers = make([]worker, e.workers)
	for i := range p.workers {
		p.workers[i].engine = e
	}
}

// run reads and hashes all files. Only cancelling ends it early.
func (p *pass) run(ctx context.Context, progress func(done, total int64)) error {
	defer func() {
		for _, s := range p.seats {
			s.read.close()
		}
	}()
	var done int64
	for len(p.seats) > 0 && ctx.Err() == nil {
		if p.round(ctx); ctx.Err() != nil {
			break
		}
		before, kept := done, p.seats[:0]
		for _, s := range p.seats {
			done += int64(len(s.read.now.data))
			if s.turn() {
				kept = append(kept, s)
			}
		}
		p.seats = kept
		if progress != nil && done > before {
			progress(done, p.reader.total)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.finish()
	return nil
}

// round hashes the blocks at hand and reads the next.
func (p *pass) round(ctx context.Context) {
	p.deal()
	var wg sync.WaitGroup
	p.share(&wg, len(p.seats), func(_ *worker, i int) { p.seats[i].read.read(ctx) })
	p.share(&wg, len(p.tasks), func(w *worker, i int) {
		if ctx.Err() == nil {
			w.hand = append(w.hand[:0], p.tasks[i]...)
			w.round()
		}
	})
	wg.Wait()
}

// share lets each worker do one of n things after another.
func (p *pass) share(wg *sync.WaitGroup, n int, do func(w *worker, i int)) {
	next := new(atomic.Int64)
	for k := range min(n, len(p.workers)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(&p.workers[k], i)
			}
		})
	}
}

// slowestFirst are the algorithms, by what a byte costs.
var slowestFirst = [...]string{BLAKE2b, SHA256, BLAKE3}

// deal makes tasks of what there is to hash: one of each stream, or of as many by
// SHA-256 as are hashed best together.
func (p *pass) deal() {
	p.tasks, p.lanes = p.tasks[:0], p.lanes[:0]
	for _, algorithm := range slowestFirst {
		for _, s := range p.seats {
			for i, h := range s.hash {
				switch {
				case h.p.Algorithm != algorithm || len(h.piece()) == 0:
				case algorithm == SHA256:
					p.lanes = append(p.lanes, h)
				default:
					p.tasks = append(p.tasks, s.hash[i:i+1])
				}
			}
		}
		if n := len(p.lanes); algorithm == SHA256 && n > 0 {
			p.tasks = slices.AppendSeq(p.tasks, slices.Chunk(p.lanes, sha256mb.Share(n, len(p.workers))))
		}
	}
}

// turn gives the block that was read ahead to those who hash it. It reports
// whether there is one.
func (s *seat) turn() bool {
	r := s.read
	r.spare, r.now = r.now.buffer, r.ahead
	if r.now.job == nil {
		return false
	}
	for _, h := range s.hash {
		h.ahead = chunk{}
		if j := &h.jobs[r.now.job.file]; j.last > 0 {
			h.ahead = chunk{job: j, first: r.now.first, data: r.now.data}
		}
		h.turn()
	}
	return true
}

// finish gives each variant the errors of reading, and the cache what was read
// without.
func (p *pass) finish() {
	for _, j := range p.reader.jobs {
		for _, v := range p.variants {
			r := &v.results[j.file]
			switch {
			case v.jobs[j.file].last == 0: // read for others
			case j.err != nil:
				*r = fileResult{err: j.err}
			case v.cache != nil:
				v.cache.keep(v.files[j.file].info, v.p, r.resources)
			}
		}
	}
}
