package datasec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/prerun/prerun"
)

// A Scanner looks for signals of poisoning in the rows of a data set. The zero
// value runs every built-in detector. It is safe for concurrent use.
type Scanner struct {
	Detectors []Detector // nil means Builtin(); an empty list reads for the manifest alone, which is a gap
	Against   *Manifest  // of the trusted data set; nil compares with nothing
	Workers   int        // 0 means GOMAXPROCS; results do not depend on it
	Seed      uint64     // of hashed tables; 0 is a seed like any other
}

// ErrConfig is the class of errors of a scan that could not start.
var ErrConfig = errors.New("scan cannot start")

// Scan reads every shard once for each pass that a detector asks for and
// returns what was found. What could not be read is a gap of the result; an
// error means that the scan itself failed: a cancelled context, the same shard
// or detector twice (wrapping [ErrConfig]), a detector that broke its contract.
//
// Memory is what the detectors state, once for each worker, plus some batches
// of rows.
func (s Scanner) Scan(ctx context.Context, shards ...Shard) (*Result, error) {
	detectors := s.Detectors
	if detectors == nil {
		detectors = Builtin()
	}
	if err := check(detectors, shards); err != nil {
		return nil, err
	}
	params := Params{Seed: s.Seed}
	jobs := make([]*job, len(detectors))
	for i, d := range detectors {
		jobs[i] = &job{name: d.Info().Name, newState: func() State { return d.New(params) }}
	}
	first, err := s.pass(ctx, shards, jobs, true)
	if err != nil {
		return nil, err
	}
	res := newResult(first)
	for pass, active := 2, next(jobs); len(active) > 0; pass, active = pass+1, next(active) {
		if pass > maxPasses {
			return nil, fmt.Errorf("detector %q asks for more than %d passes", active[0].name, maxPasses)
		}
		again, err := s.pass(ctx, shards, active, false)
		if err != nil {
			return nil, err
		}
		res.compare(again, pass)
	}
	for _, j := range jobs {
		rep, err := j.finalize()
		if err != nil {
			return nil, err
		}
		res.add(rep)
	}
	if len(detectors) == 0 && s.Against == nil {
		res.gaps = append(res.gaps, prerun.Gap{Reason: "no detector looked at the rows"})
	}
	if s.Against != nil {
		res.findings = append(res.findings, res.against(s.Against)...)
	}
	res.seal()
	return res, nil
}

func check(detectors []Detector, shards []Shard) error {
	names := make(map[string]bool)
	for _, d := range detectors {
		name := d.Info().Name
		if name == "" || names[name] {
			return fmt.Errorf("%w: detector %q has no name or is given twice", ErrConfig, name)
		}
		names[name] = true
	}
	paths := make(map[string]bool)
	for _, sh := range shards {
		if p := sh.Path(); p == "" || paths[p] {
			return fmt.Errorf("%w: shard %q has no path or is given twice", ErrConfig, p)
		}
		paths[sh.Path()] = true
	}
	return nil
}

// A job is a detector on its way through the passes.
type job struct {
	name     string
	newState func() State
	merged   State
}

// next prepares the jobs that want the data again.
func next(jobs []*job) []*job {
	var active []*job
	for _, j := range jobs {
		if m, ok := j.merged.(MultiPass); ok {
			if f := m.Next(); f != nil {
				j.newState = f
				active = append(active, j)
			}
		}
	}
	return active
}

// guard turns a panic of a detector, which may be anybody's code, into an
// error: one in a goroutine of ours would end the caller's process.
func (j *job) guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("detector %q panicked: %v", j.name, r)
	}
}

func (j *job) observe(s State, rows []Record) (err error) {
	defer j.guard(&err)
	for i := range rows {
		s.Observe(&rows[i])
	}
	return nil
}

func (j *job) merge(states []State) (err error) {
	defer j.guard(&err)
	j.merged = states[0]
	for _, s := range states[1:] {
		if err := j.merged.Merge(s); err != nil {
			return fmt.Errorf("detector %q: %w", j.name, err)
		}
	}
	return nil
}

func (j *job) finalize() (rep Report, err error) {
	defer j.guard(&err)
	return j.merged.Finalize(), nil
}

// fileInfo is what a pass learned about a shard.
type fileInfo struct {
	path   string
	digest digest.Digest // "" when the shard has none or was not read to its end
	rows   int64         // that were read
	broken int64         // that were not
	gaps   []prerun.Gap
}

const maxRowGaps = 100 // of one shard that are listed one by one

type passResult struct {
	files []fileInfo // in the order of the shards
	root  lattice    // of the first pass only
}

// Rows travel in batches, because a channel operation costs more than a row.
const (
	batchRows  = 256
	batchBytes = 1 << 20
)

// pass reads all shards once. Readers and observers are separate, so that one
// large file keeps all workers busy; which worker sees which row does not
// matter, since states forget the order.
func (s Scanner) pass(ctx context.Context, shards []Shard, jobs []*job, first bool) (*passResult, error) {
	workers := s.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	out := &passResult{files: make([]fileInfo, len(shards))}
	batches := make(chan []Record, workers)
	group, ctx := errgroup.WithContext(ctx)

	group.Go(func() error {
		defer close(batches)
		var readers errgroup.Group
		readers.SetLimit(workers)
		for i, sh := range shards {
			readers.Go(func() error {
				info, err := read(ctx, sh, batches)
				out.files[i] = info
				return err
			})
		}
		return readers.Wait()
	})

	states := make([][]State, len(jobs)) // by job, then by worker
	for i, j := range jobs {
		for range workers {
			states[i] = append(states[i], j.newState())
		}
	}
	var mu sync.Mutex
	for w := range workers {
		group.Go(func() error {
			var root lattice
			for rows := range batches {
				for i, j := range jobs {
					if err := j.observe(states[i][w], rows); err != nil {
						return err
					}
				}
				if first {
					for i := range rows {
						root.add(rows[i].Digest())
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out.root.merge(&root)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, j := range jobs {
		if err := j.merge(states[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// read sends the rows of a shard. Its error is the context's.
func read(ctx context.Context, sh Shard, batches chan<- []Record) (fileInfo, error) {
	info := fileInfo{path: sh.Path()}
	records := sh.Records(ctx)
	if h, ok := sh.(Hasher); ok {
		records = h.Hashed(ctx, func(d digest.Digest) { info.digest = d })
	}
	var batch []Record
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		select {
		case batches <- batch:
			batch, size = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for rec, err := range records {
		switch {
		case errors.Is(err, ErrRow):
			info.broken++
			if info.broken <= maxRowGaps {
				info.gaps = append(info.gaps, rowGap(info.path, err))
			}
			continue
		case err != nil:
			if ctx.Err() != nil {
				return info, ctx.Err()
			}
			info.gaps = append(info.gaps, shardGap(info.path, err))
			continue
		}
		info.rows++
		batch = append(batch, rec)
		for _, f := range rec.Fields {
			size += len(f.Name) + len(f.Value)
		}
		if len(batch) == batchRows || size >= batchBytes {
			if err := flush(); err != nil {
				return info, err
			}
		}
	}
	if more := info.broken - maxRowGaps; more > 0 {
		info.gaps = append(info.gaps, prerun.Gap{
			Location: prerun.Location{Path: info.path},
			Reason:   fmt.Sprintf("%d more rows could not be read", more),
		})
	}
	return info, cmp.Or(flush(), ctx.Err())
}

func rowGap(path string, err error) prerun.Gap {
	gap := prerun.Gap{Location: prerun.Location{Path: path}, Reason: err.Error()}
	if e, ok := errors.AsType[*RowError](err); ok {
		gap.Location.Line = e.Line
		gap.Location.Fragment = fmt.Sprintf("row=%d", e.Row)
		gap.Reason = fmt.Sprintf("row not read, at offset %d: %v", e.Offset, e.Err)
	}
	return gap
}

func shardGap(path string, err error) prerun.Gap {
	gap := prerun.Gap{Location: prerun.Location{Path: path}, Reason: err.Error()}
	if e, ok := errors.AsType[*ShardError](err); ok {
		gap.Reason = fmt.Sprintf("not read beyond row %d: %v", e.Rows, e.Err)
	}
	return gap
}
