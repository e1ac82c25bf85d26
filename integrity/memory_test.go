package integrity_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// manyFS has n files in folders of 1000, each holding its own name.
type manyFS struct{ n int }

func manyName(i int) string { return fmt.Sprintf("layer%03d/part%05d.bin", i/1000, i) }

func (m manyFS) Open(name string) (fs.File, error) {
	_, number, ok := strings.Cut(strings.TrimSuffix(name, ".bin"), "/part")
	if i, err := strconv.Atoi(number); ok && err == nil && i < m.n && manyName(i) == name {
		return &manyFile{manyInfo{name: name[strings.LastIndexByte(name, '/')+1:], size: int64(len(name))}, strings.NewReader(name)}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (m manyFS) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return manyInfo{name: ".", dir: true}, nil
	}
	f, err := m.Open(name)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

func (m manyFS) ReadDir(name string) (out []fs.DirEntry, err error) {
	if name == "." {
		for i := 0; i < m.n; i += 1000 {
			out = append(out, fs.FileInfoToDirEntry(manyInfo{name: fmt.Sprintf("layer%03d", i/1000), dir: true}))
		}
		return out, nil
	}
	layer, err := strconv.Atoi(strings.TrimPrefix(name, "layer"))
	for i := layer * 1000; i < min(m.n, layer*1000+1000); i++ {
		full := manyName(i)
		out = append(out, fs.FileInfoToDirEntry(manyInfo{name: full[len(name)+1:], size: int64(len(full))}))
	}
	return out, err
}

type manyInfo struct {
	name string
	size int64
	dir  bool
	_    [144]byte // as large as what the operating system says of a file
}

func (i manyInfo) Name() string       { return i.name }
func (i manyInfo) Size() int64        { return i.size }
func (i manyInfo) ModTime() time.Time { return time.Time{} }
func (i manyInfo) IsDir() bool        { return i.dir }
func (i manyInfo) Sys() any           { return nil }
func (i manyInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type manyFile struct {
	info manyInfo
	*strings.Reader
}

func (f *manyFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *manyFile) Close() error               { return nil }

// memoryModels are models that are large or have many files.
var memoryModels = map[string]struct {
	fsys fs.FS
	h    integrity.Hasher
}{
	"large":        {sparse{"w": 256 << 20}, integrity.Hasher{}},
	"large_shards": {sparse{"w": 1 << 30}, integrity.Hasher{ShardSize: 64 << 20}},
	"large_blake3": {sparse{"w": 4 << 30}, integrity.Hasher{Algorithm: integrity.BLAKE3}},
	"many":         {manyFS{100_000}, integrity.Hasher{}},
}

const memoryEnv = "PRERUN_INTEGRITY_MEMORY_CHILD"

// runMemoryChild signs and verifies a model when the test binary was started for
// it, and prints the most memory that verifying had in use, and the size of the
// manifest: the statement, and what was signed and what was found in memory.
func runMemoryChild() bool {
	name := os.Getenv(memoryEnv)
	if name == "" {
		return false
	}
	model := memoryModels[name]
	model.h.Workers = 2
	key := keys.Demo("memory")
	ctx := context.Background()
	signer, err := integrity.NewKeySigner(key)
	check(err)
	trust, err := integrity.NewKeyVerifier(key.Public())
	check(err)
	manifest, err := model.h.Hash(ctx, model.fsys)
	check(err)
	bundle, err := integrity.Signing{}.Sign(ctx, manifest, signer)
	check(err)
	inMemory := 0
	for _, r := range manifest.Resources {
		inMemory += int(unsafe.Sizeof(r)) + len(r.Path) + len(r.Digest)
	}
	manifest = nil
	runtime.GC()
	stop := watchMemory()
	r, err := integrity.Verifier{Workers: 2}.Verify(ctx, model.fsys, bundle, trust)
	peak := stop()
	check(err)
	fmt.Printf("%d %d\n", peak, len(r.Signed.Payload)+2*inMemory)
	return true
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// watchMemory samples memory until it is stopped, and returns the most that was
// in use beyond what was at the start.
func watchMemory() (stop func() uint64) {
	read := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapInuse + s.StackInuse
	}
	base := read()
	done, out := make(chan struct{}), make(chan uint64)
	go func() {
		peak := base
		for {
			select {
			case <-done:
				out <- max(peak, read()) - base
				return
			case <-time.After(time.Millisecond):
				peak = max(peak, read())
			}
		}
	}()
	return func() uint64 { close(done); return <-out }
}

// TestPeakMemory verifies large models in processes of their own: memory is at
// most 64 MiB above the manifest. The collector runs often there, so that what is
// measured is in use, and not garbage.
func TestPeakMemory(t *testing.T) {
	if testing.Short() || portable {
		t.Skip("gigabytes are hashed")
	}
	for name := range memoryModels {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), memoryEnv+"="+name, "GOGC=10", "GOMAXPROCS=2")
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var peak, manifest int
			if _, err := fmt.Sscan(string(out), &peak, &manifest); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			t.Logf("peak %d bytes, of which the manifest %d", peak, manifest)
			if peak > manifest+64<<20 {
				t.Errorf("%d bytes above the manifest of %d", peak-manifest, manifest)
			}
		})
	}
}
