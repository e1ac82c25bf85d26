package integrity

import (
	"cmp"
	"context"
	"encoding/hex"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/blake3tree"
)

const (
	roundSize = 256 << 10 // a worker hashes this much at a time, and reads as much ahead
	minBuffer = 64 << 10  // of one stream; reads of the page cache gain little above
	aheadSize = 2 << 20   // of one stream that an idle core reads for: handing over costs as much as hashing 30 KiB
	jobSize   = 32 << 20  // small shards are hashed in runs of at least this
	partSize  = 16 << 20  // a larger resource is hashed in parts of this, where that can be done
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// An engine hashes files. The work is cut into jobs, jobs are lined up in
// streams, and workers hash as many streams at once as one core can.
type engine struct {
	fsys     fs.FS
	p        Parameters
	alg      algorithm
	workers  int
	cache    *Cache // may be nil
	progress func(done, total int64)

	files   []source
	results []fileResult
	jobs    []job
	next    atomic.Int64 // of jobs, to be claimed

	done  atomic.Int64
	total int64
	mu    sync.Mutex // held while progress runs
}

func newEngine(fsys fs.FS, p Parameters, workers int, cache *Cache, progress func(done, total int64)) *engine {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &engine{fsys: fsys, p: p, alg: algorithms[p.Algorithm], workers: workers, cache: cache, progress: progress}
}

// A fileResult has the resources of one file, or the reason why there are none.
type fileResult struct {
	resources []Resource
	err       error
}

// A job is a run of resources of one file, read from first to last, or a part
// of one resource.
type job struct {
	file        int
	first, last int   // of the file's resources: [first, last)
	start, end  int64 // of the file's bytes
	part        bool
	chain       blake3tree.Chain // of a part
	err         error
}

// run hashes all files. Only cancelling and too many resources end it early.
func (e *engine) run(ctx context.Context, files []source) ([]fileResult, error) {
	e.files = files
	if err := e.plan(); err != nil {
		return nil, err
	}
	e.hash(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// The error that is kept must not depend on which worker was first.
	slices.SortFunc(e.jobs, func(a, b job) int { return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.start, b.start)) })
	for _, j := range e.jobs {
		if r := &e.results[j.file]; j.err != nil && r.err == nil {
			*r = fileResult{err: j.err}
		}
	}
	e.joinParts()
	if e.cache != nil {
		for _, j := range e.jobs {
			if r := &e.results[j.file]; j.start == 0 && r.err == nil {
				e.cache.keep(files[j.file].info, e.p, r.resources)
			}
		}
	}
	return e.results, nil
}

// plan makes a slot for each digest, so that workers share nothing, and jobs
// from the largest to the smallest, so that none is left alone at the end.
func (e *engine) plan() error {
	e.results = make([]fileResult, len(e.files))
	e.jobs = make([]job, 0, len(e.files))
	var resources int64
	for i, f := range e.files {
		size := f.size
		n := resourcesIn(size, e.p.ShardSize)
		if resources += n; resources > MaxResources {
			return newError(ErrUnsupported, "", "more than %d resources", MaxResources)
		}
		e.results[i].resources = make([]Resource, n)
		before := len(e.jobs)
		e.planFile(i)
		if e.cache != nil && e.cache.fill(f.info, e.p, e.results[i].resources) {
			e.jobs = e.jobs[:before]
			continue
		}
		if len(e.jobs) > before+1 && !e.seeks(f) {
			e.jobs = append(e.jobs[:before], job{file: i, last: int(n), end: size})
		}
		e.total += size
	}
	slices.SortStableFunc(e.jobs, func(a, b job) int { return cmp.Compare(b.end-b.start, a.end-a.start) })
	return nil
}

// resourcesIn is how many resources a file of that size has.
func resourcesIn(size, shard int64) int64 {
	if shard == 0 {
		return 1
	}
	n := size / shard
	if size%shard > 0 {
		n++
	}
	return n
}

// planFile names the resources of a file and cuts it into jobs.
func (e *engine) planFile(i int) {
	f, resources := e.files[i], e.results[i].resources
	size := f.size
	length := e.p.ShardSize
	if length == 0 {
		length = size
	}
	j := job{file: i}
	for k := range resources {
		start, end := int64(k)*length, size
		if size-start > length {
			end = start + length
		}
		resources[k].Path = f.name
		if e.p.ShardSize > 0 {
			resources[k].Start, resources[k].End = start, end
		}
		j.last, j.end = k+1, end
		switch {
		case e.alg.part > 0 && end-start > e.alg.part: // no run is pending: a shard is as large as those before
			for at := start; at < end; at += e.alg.part {
				e.jobs = append(e.jobs, job{file: i, first: k, last: k + 1, start: at, end: min(end, at+e.alg.part), part: true})
			}
		case j.end-j.start >= jobSize || end == size:
			e.jobs = append(e.jobs, j)
		default:
			continue
		}
		j = job{file: i, first: k + 1, start: end}
	}
}

// joinParts makes the digests of resources that were hashed in parts. The jobs
// are in the order of the files.
func (e *engine) joinParts() {
	for jobs := e.jobs; len(jobs) > 0; {
		n := 1
		for n < len(jobs) && jobs[n].part && jobs[n].file == jobs[0].file && jobs[n].first == jobs[0].first {
			n++
		}
		if r := &e.results[jobs[0].file]; jobs[0].part && r.err == nil {
			var parts []blake3tree.Chain
			for _, j := range jobs[:n] {
				parts = append(parts, j.chain)
			}
			r.resources[jobs[0].first].Digest = e.digest(blake3tree.Root(nil, parts))
		}
		jobs = jobs[n:]
	}
}

func (e *engine) digest(sum []byte) digest.Digest {
	text := make([]byte, 0, len(e.p.Algorithm)+1+hex.EncodedLen(len(sum)))
	text = append(append(text, e.p.Algorithm...), ':')
	return digest.Digest(hex.AppendEncode(text, sum))
}

// seeks reports whether several jobs can each begin at their own part of a
// file. If it cannot be opened, any job will find out why.
func (e *engine) seeks(f source) bool {
	file, err := e.fsys.Open(f.real)
	if err != nil {
		return true
	}
	defer file.Close()
	_, ok := file.(io.Seeker)
	return ok
}

func (e *engine) report(n int64) {
	if e.progress == nil {
		e.done.Add(n)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.progress(e.done.Add(n), e.total)
}
