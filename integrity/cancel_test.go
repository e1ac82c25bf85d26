package integrity_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun/integrity"
)

// A countingFS counts the reads of its files, and calls at once, at the one
// numbered stop.
type countingFS struct {
	fs.FS
	reads *atomic.Int64
	stop  int64
	at    func()
	mu    *sync.Mutex // no read is counted while at runs
}

func (c countingFS) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if d, ok := f.(fs.ReadDirFile); ok {
		return d, nil
	}
	if s, ok := f.(interface {
		fs.File
		Seek(offset int64, whence int) (int64, error)
	}); ok {
		return countingSeeker{countingFile{f, &c}, s.Seek}, nil
	}
	return countingFile{f, &c}, nil
}

type countingFile struct {
	fs.File
	c *countingFS
}

func (f countingFile) Read(p []byte) (int, error) {
	f.c.mu.Lock()
	if f.c.reads.Add(1) == f.c.stop {
		f.c.at()
	}
	f.c.mu.Unlock()
	return f.File.Read(p)
}

type countingSeeker struct {
	countingFile
	seek func(offset int64, whence int) (int64, error)
}

func (f countingSeeker) Seek(offset int64, whence int) (int64, error) { return f.seek(offset, whence) }

// cancelPaths are the ways in which bytes are read.
func cancelPaths(t testing.TB) map[string]func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
	files := fstest.MapFS{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		files[name] = &fstest.MapFile{Data: make([]byte, 8<<20)}
	}
	small := fstest.MapFS{}
	for i := range 5000 {
		small[manyName(i)] = &fstest.MapFile{Data: []byte("small")}
	}
	one := fstest.MapFS{"w": {Data: make([]byte, 64<<20)}}
	signer, trust := testKeys(t, "cancel")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, files), signer)
	hash := func(fsys fs.FS, h integrity.Hasher) func(context.Context, func(fs.FS) fs.FS) error {
		return func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
			h.Workers = 2
			_, err := h.Hash(ctx, wrap(fsys))
			return err
		}
	}
	each := func(fsys fs.FS) func(context.Context, func(fs.FS) fs.FS) error {
		return func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
			_, err := integrity.Hasher{Workers: 2}.HashEach(ctx, wrap(fsys), everyVariant...)
			return err
		}
	}
	return map[string]func(context.Context, func(fs.FS) fs.FS) error{
		"each_one_file":   each(one),
		"each_files":      each(files),
		"each_many_files": each(small),
		"one_file":        hash(one, integrity.Hasher{}),
		"files":           hash(files, integrity.Hasher{}),
		"shards":          hash(one, integrity.Hasher{ShardSize: 4 << 20}),
		"small_shards":    hash(one, integrity.Hasher{ShardSize: 1 << 10}),
		"blake2b":         hash(files, integrity.Hasher{Algorithm: integrity.BLAKE2b}),
		"blake3_one_file": hash(one, integrity.Hasher{Algorithm: integrity.BLAKE3}),
		"many_files":      hash(small, integrity.Hasher{}),
		"verify": func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
			_, err := integrity.Verifier{Workers: 2}.Verify(ctx, wrap(files), bundle, trust)
			return err
		},
		"verify_paths": func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
			_, err := integrity.Verifier{Workers: 2}.VerifyPaths(ctx, wrap(files), []string{"a", "b", "c"}, bundle, trust)
			return err
		},
	}
}

// TestCancelReads: after a cancellation no read begins but those that workers
// were about to make.
func TestCancelReads(t *testing.T) {
	for name, run := range cancelPaths(t) {
		for _, stop := range []int64{1, 5, 20} {
			ctx, cancel := context.WithCancel(t.Context())
			reads := new(atomic.Int64)
			err := run(ctx, func(fsys fs.FS) fs.FS { return countingFS{fsys, reads, stop, cancel, new(sync.Mutex)} })
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: cancelled at read %d: %v", name, stop, err)
			}
			const inHand = 2 * 2 // a read and the look for the end, of each worker
			if n := reads.Load(); n > stop+inHand {
				t.Errorf("%s: cancelled at read %d, and %d followed", name, stop, n-stop)
			}
		}
	}
}

// BenchmarkCancel reports the longest time from a cancellation to the return, over
// cancellations spread evenly over the whole run.
func BenchmarkCancel(b *testing.B) {
	paths := cancelPaths(b)
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), make([]byte, 256<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	paths["file_on_disk"] = func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
		_, err := integrity.Hasher{}.Hash(ctx, wrap(os.DirFS(dir)))
		return err
	}
	signer, trust := testKeys(b, "cancel")
	bundle := mustSign(b, mustHash(b, integrity.Hasher{}, manyFS{100_000}), signer)
	paths["verify_100000_files"] = func(ctx context.Context, wrap func(fs.FS) fs.FS) error {
		_, err := integrity.Verifier{}.Verify(ctx, wrap(manyFS{100_000}), bundle, trust)
		return err
	}
	for _, name := range sortedNames(paths) {
		b.Run(name, func(b *testing.B) {
			same := func(fsys fs.FS) fs.FS { return fsys }
			start := time.Now()
			if err := paths[name](b.Context(), same); err != nil {
				b.Fatal(err)
			}
			whole := time.Since(start)
			const steps = 16
			var worst time.Duration
			for b.Loop() {
				for i := range steps {
					ctx, cancel := context.WithCancel(b.Context())
					var at atomic.Int64
					timer := time.AfterFunc(whole*time.Duration(i)/steps, func() {
						at.Store(time.Now().UnixNano())
						cancel()
					})
					err := paths[name](ctx, same)
					end := time.Now().UnixNano()
					timer.Stop()
					cancel()
					if err != nil {
						worst = max(worst, time.Duration(end-at.Load()))
					}
				}
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
		})
	}
}
