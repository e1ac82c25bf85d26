package integrity

import (
	"cmp"
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

const (
	bufferSize = 512 << 10 // page-cache reads gain nothing above; see benchmarks
	jobSize    = 64 << 20  // small shards are hashed in runs of at least this
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// An engine hashes files, each worker with one buffer and one hash of its own.
type engine struct {
	fsys     fs.FS
	p        Parameters
	workers  int
	cache    *Cache // may be nil
	progress func(done, total int64)
	done     atomic.Int64
	total    int64
	mu       sync.Mutex // held while progress runs
}

func newEngine(fsys fs.FS, p Parameters, workers int, cache *Cache, progress func(done, total int64)) *engine {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &engine{fsys: fsys, p: p, workers: workers, cache: cache, progress: progress}
}

// A fileResult has the resources of one file, or the reason why there are none.
type fileResult struct {
	resources []Resource
	err       error
}

// A job is a run of resources of one file, read from first to last.
type job struct {
	file        int
	first, last int // of the file's resources: [first, last)
	bytes       int64
	err         error
}

// run hashes all files. Only cancelling and too many resources end it early.
func (e *engine) run(ctx context.Context, files []source) ([]fileResult, error) {
	results, jobs, err := e.plan(files)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(e.workers, len(jobs)) {
		wg.Go(func() {
			buf := make([]byte, min(bufferSize, max(1, jobs[0].bytes))) // the first job is the largest
			w := worker{e, algorithms[e.p.Algorithm].make(), buf, nil}
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return
				}
				j := &jobs[i]
				j.err = w.do(ctx, &files[j.file], results[j.file].resources[j.first:j.last])
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// The error that is kept must not depend on which worker was first.
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.first, b.first)) })
	for _, j := range jobs {
		if r := &results[j.file]; j.err != nil && r.err == nil {
			*r = fileResult{err: j.err}
		}
	}
	if e.cache != nil {
		for _, j := range jobs {
			if r := &results[j.file]; j.first == 0 && r.err == nil {
				e.cache.keep(files[j.file].info, e.p, r.resources)
			}
		}
	}
	return results, nil
}

// plan makes a slot for each digest, so that workers share nothing, and jobs
// from the largest to the smallest, so that none is left alone at the end.
func (e *engine) plan(files []source) ([]fileResult, []job, error) {
	results := make([]fileResult, len(files))
	var jobs []job
	var resources int64
	for i, f := range files {
		size := f.info.Size()
		n := int64(1)
		if e.p.ShardSize > 0 {
			n = size / e.p.ShardSize
			if size%e.p.ShardSize > 0 {
				n++
			}
		}
		if resources += n; resources > MaxResources {
			return nil, nil, newError(ErrUnsupported, "", "more than %d resources", MaxResources)
		}
		results[i].resources = make([]Resource, n)
		planned := e.planFile(jobs, i, f, results[i].resources)
		if e.cache != nil && e.cache.fill(f.info, e.p, results[i].resources) {
			continue
		}
		jobs = planned
		e.total += size
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(b.bytes, a.bytes) })
	return results, jobs, nil
}

func (e *engine) planFile(jobs []job, i int, f source, resources []Resource) []job {
	size := f.info.Size()
	if e.p.ShardSize == 0 {
		resources[0].Path = f.name
		return append(jobs, job{file: i, last: 1, bytes: size})
	}
	j := job{file: i}
	for k := range resources {
		start := int64(k) * e.p.ShardSize
		end := size
		if size-start > e.p.ShardSize {
			end = start + e.p.ShardSize
		}
		resources[k] = Resource{Path: f.name, Start: start, End: end}
		j.last, j.bytes = k+1, j.bytes+end-start
		if j.bytes >= jobSize || end == size {
			jobs = append(jobs, j)
			j = job{file: i, first: k + 1}
		}
	}
	return jobs
}

type worker struct {
	*engine
	hash hash.Hash
	buf  []byte
	sum  []byte
}

// do fills the digests of a run of resources. The file must look the same when
// listed, opened and read to the end of the run.
func (w *worker) do(ctx context.Context, f *source, run []Resource) error {
	file, err := w.fsys.Open(f.real)
	if err != nil {
		return &Error{Kind: ErrRead, Path: f.name, Err: err}
	}
	defer file.Close()
	if err := unchanged(f, file); err != nil {
		return err
	}
	if err := skip(file, run[0].Start); err != nil {
		return readError(f.name, err)
	}
	for i := range run {
		want := run[i].End - run[i].Start
		if run[i].End == 0 {
			want = f.info.Size()
		}
		n, err := w.hashN(ctx, file, want)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return readError(f.name, err)
		case n < want:
			return newError(ErrChanged, f.name, "ends at byte %d", run[i].Start+n)
		}
		w.sum = w.hash.Sum(w.sum[:0])
		run[i].Digest = digest.NewDigestFromBytes(digest.Algorithm(w.p.Algorithm), w.sum)
	}
	if last := run[len(run)-1].End; last == 0 || last == f.info.Size() {
		switch n, err := io.ReadFull(file, w.buf[:1]); {
		case n > 0:
			return newError(ErrChanged, f.name, "longer than its %d bytes", f.info.Size())
		case err != io.EOF:
			return readError(f.name, err)
		}
	}
	return unchanged(f, file)
}

func readError(name string, err error) error {
	return &Error{Kind: ErrRead, Path: name, Err: err}
}

// hashN reads up to want bytes into the hash.
func (w *worker) hashN(ctx context.Context, r io.Reader, want int64) (n int64, err error) {
	w.hash.Reset()
	for n < want {
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		k, err := io.ReadFull(r, w.buf[:min(int64(len(w.buf)), want-n)])
		w.hash.Write(w.buf[:k])
		n += int64(k)
		w.report(int64(k))
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
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

// skip moves to an offset: at once where the file can, by reading elsewhere.
func skip(file fs.File, offset int64) error {
	if offset == 0 {
		return nil
	}
	if s, ok := file.(io.Seeker); ok {
		_, err := s.Seek(offset, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, file, offset)
	return err
}

// unchanged compares an open file with what was listed under its name: kind,
// size, modification time and, where the operating system gives it, identity.
func unchanged(f *source, file fs.File) error {
	now, err := file.Stat()
	if err != nil {
		return readError(f.name, err)
	}
	then := f.info
	switch {
	case !now.Mode().IsRegular():
		return newError(ErrChanged, f.name, "no longer a regular file")
	case now.Size() != then.Size():
		return newError(ErrChanged, f.name, "was %d bytes, now %d", then.Size(), now.Size())
	case !now.ModTime().Equal(then.ModTime()):
		return newError(ErrChanged, f.name, "was written to meanwhile")
	case hasIdentity(now) && hasIdentity(then) && !os.SameFile(now, then):
		return newError(ErrChanged, f.name, "was replaced meanwhile")
	}
	a, okA := systemState(then)
	b, okB := systemState(now)
	if okA && okB && a != b { // its time of modification was set back
		return newError(ErrChanged, f.name, "was changed meanwhile")
	}
	return nil
}

// hasIdentity reports whether os.SameFile means anything for info: it knows
// only what package os itself made.
func hasIdentity(info fs.FileInfo) bool { return os.SameFile(info, info) }
