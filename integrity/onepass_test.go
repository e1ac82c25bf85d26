package integrity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun/integrity"
)

// everyVariant has each algorithm, by files and by shards.
var everyVariant = []integrity.Variant{
	{},
	{Algorithm: integrity.BLAKE2b},
	{Algorithm: integrity.BLAKE3},
	{ShardSize: 1000},
	{Algorithm: integrity.BLAKE2b, ShardSize: 1 << 20},
	{Algorithm: integrity.BLAKE3, ShardSize: 1<<20 + 1},
}

// separately hashes by one variant after another.
func separately(ctx context.Context, h integrity.Hasher, fsys fs.FS, variants []integrity.Variant) (out []*integrity.Manifest, err error) {
	for _, v := range variants {
		h.Algorithm, h.ShardSize = v.Algorithm, v.ShardSize
		m, e := h.Hash(ctx, fsys)
		out, err = append(out, m), errors.Join(err, e)
	}
	return out, err
}

// A meter counts how often each file is opened and how many bytes are read of it.
type meter struct {
	fs.FS
	mu           sync.Mutex
	opens, bytes map[string]int64
}

func newMeter(fsys fs.FS) *meter {
	return &meter{FS: fsys, opens: map[string]int64{}, bytes: map[string]int64{}}
}

func (m *meter) Open(name string) (fs.File, error) {
	f, err := m.FS.Open(name)
	if err != nil || isFolder(f) {
		return f, err
	}
	m.add(m.opens, name, 1)
	return meteredFile{f, m, name}, nil
}

// Looking at a file is not opening it.
func (m *meter) Stat(name string) (fs.FileInfo, error)  { return fs.Stat(m.FS, name) }
func (m *meter) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(m.FS, name) }
func (m *meter) ReadLink(name string) (string, error)   { return fs.ReadLink(m.FS, name) }

func isFolder(f fs.File) bool {
	info, err := f.Stat()
	return err == nil && info.IsDir()
}

func (m *meter) add(count map[string]int64, name string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count[name] += n
}

type meteredFile struct {
	fs.File
	m    *meter
	name string
}

func (f meteredFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.m.add(f.m.bytes, f.name, int64(n))
	return n, err
}

// check compares what was read with the files.
func (m *meter) check(t interface{ Errorf(string, ...any) }, sizes map[string]int64) {
	opens := map[string]int64{}
	for name := range sizes {
		opens[name] = 1
	}
	if diff := cmp.Diff(opens, m.opens); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sizes, m.bytes); diff != "" {
		t.Errorf("bytes read (-want +got):\n%s", diff)
	}
}

func sizesOf(tree fstest.MapFS) map[string]int64 {
	out := map[string]int64{}
	for name, f := range tree {
		out[name] = int64(len(f.Data))
	}
	return out
}

// blockTree has files about the sizes of blocks, and more of them than are open
// at once.
func blockTree() fstest.MapFS {
	random := rand.NewChaCha8([32]byte{})
	tree := fstest.MapFS{}
	for i, size := range []int{0, 1, 63, 64, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 5} {
		data := make([]byte, size)
		random.Read(data)
		tree[fmt.Sprintf("f%02d", i)] = &fstest.MapFile{Data: data}
	}
	for i := range 50 {
		tree[fmt.Sprintf("small/%02d", i)] = &fstest.MapFile{Data: fmt.Append(nil, i)}
	}
	return tree
}

func TestHashEach(t *testing.T) {
	blocks := blockTree()
	for name, tree := range map[string]fstest.MapFS{
		"blocks": blocks,
		"one":    {"w": blocks["f10"]},
		"empty":  {"e": {}, "f": {Data: []byte("f")}},
	} {
		want, err := separately(t.Context(), integrity.Hasher{}, tree, everyVariant)
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{1, 2, 5} {
			m := newMeter(tree)
			got, err := integrity.Hasher{Workers: workers}.HashEach(t.Context(), m, everyVariant...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, workers %d (-separate +each):\n%s", name, workers, diff)
			}
			m.check(t, sizesOf(tree))
		}
	}
}

// TestHashEachLaw: any variants of any tree are what hashing by each gives, and
// each file is opened and read once.
func TestHashEachLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		if rapid.Bool().Draw(t, "empty file") {
			tree["empty"] = &fstest.MapFile{}
		}
		variants := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) integrity.Variant {
			return integrity.Variant{
				Algorithm: rapid.SampledFrom([]string{integrity.SHA256, integrity.BLAKE2b, integrity.BLAKE3}).Draw(t, "algorithm"),
				ShardSize: rapid.Int64Range(0, 50).Draw(t, "shard"),
			}
		}), 1, 6, rapid.ID[integrity.Variant]).Draw(t, "variants")
		h := integrity.Hasher{Workers: rapid.IntRange(0, 5).Draw(t, "workers")}
		want, wantErr := separately(t.Context(), h, tree, variants)
		m := newMeter(tree)
		got, err := h.HashEach(t.Context(), m, variants...)
		if wantErr != nil || err != nil {
			t.Fatalf("separately %v, each %v", wantErr, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-separate +each):\n%s", diff)
		}
		sizes := sizesOf(tree)
		if !slices.ContainsFunc(variants, func(v integrity.Variant) bool { return v.ShardSize == 0 }) {
			delete(sizes, "empty") // has no shard
		}
		m.check(t, sizes)
	})
}

func TestHashFileEach(t *testing.T) {
	tree := blockTree()
	m := newMeter(tree)
	got, err := integrity.Hasher{}.HashFileEach(t.Context(), m, "small/07", everyVariant...)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range everyVariant {
		want, err := integrity.Hasher{Algorithm: v.Algorithm, ShardSize: v.ShardSize}.HashFile(t.Context(), tree, "small/07")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("%+v (-separate +each):\n%s", v, diff)
		}
	}
	m.check(t, map[string]int64{"small/07": 1})
	for name, kind := range map[string]error{"small": integrity.ErrSpecial, "absent": integrity.ErrRead} {
		_, err := integrity.Hasher{}.HashFileEach(t.Context(), tree, name, everyVariant...)
		wantKind(t, err, kind)
	}
	for _, name := range []string{"", "../f00", "/f00"} {
		if _, err := (integrity.Hasher{}).HashFileEach(t.Context(), tree, name, everyVariant...); err == nil {
			t.Errorf("hashed %q", name)
		}
	}
	if _, err := (integrity.Hasher{}).HashFileEach(t.Context(), tree, "f00"); err == nil {
		t.Error("hashed by no variant")
	}
}

// TestHashEachRefuses: what Hash refuses for one variant is refused for all.
func TestHashEachRefuses(t *testing.T) {
	for first := range 2 {
		for _, tt := range hashDefects(t) {
			t.Run(fmt.Sprintf("%s_%d", tt.name, first), func(t *testing.T) {
				variants := []integrity.Variant{{Algorithm: tt.h.Algorithm, ShardSize: tt.h.ShardSize}, {Algorithm: integrity.BLAKE3}}
				if first == 1 {
					slices.Reverse(variants)
				}
				tt.h.Algorithm, tt.h.ShardSize = "", 0
				m, err := tt.h.HashEach(t.Context(), tt.fsys, variants...)
				wantKind(t, err, tt.want)
				if m != nil {
					t.Errorf("and yet manifests: %v", m)
				}
			})
		}
	}
	type variants = []integrity.Variant
	for name, tt := range map[string]struct {
		h        integrity.Hasher
		variants variants
		want     string
	}{
		"none":            {integrity.Hasher{}, nil, "no variant"},
		"twice":           {integrity.Hasher{}, variants{{}, {ShardSize: 8}, {}}, "variants 0 and 2"},
		"twice_default":   {integrity.Hasher{}, variants{{Algorithm: integrity.SHA256}, {}}, "variants 0 and 1"},
		"negative_shard":  {integrity.Hasher{}, variants{{}, {ShardSize: -1}}, "variant 1: shard size -1"},
		"own_algorithm":   {integrity.Hasher{Algorithm: integrity.BLAKE3}, variants{{}}, "of its own"},
		"own_shard_size":  {integrity.Hasher{ShardSize: 8}, variants{{}}, "of its own"},
		"ignored_pattern": {integrity.Hasher{Ignore: []string{"*.bin"}}, variants{{}}, "*.bin"},
	} {
		m, err := tt.h.HashEach(t.Context(), tiny(), tt.variants...)
		if err == nil || m != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want an error about %q", name, m, err, tt.want)
		}
	}
}

// TestHashEachNamesAll: each file that cannot be read is named once, whichever
// variants it has resources by.
func TestHashEachNamesAll(t *testing.T) {
	tree := fstest.MapFS{"a": {Data: []byte("a")}, "b": {}, "c": {Data: []byte("c")}}
	_, err := integrity.Hasher{}.HashEach(t.Context(), brokenFS{brokenFS{tree, "a"}, "b"}, integrity.Variant{ShardSize: 8}, integrity.Variant{}, integrity.Variant{Algorithm: integrity.BLAKE3})
	wantKind(t, err, integrity.ErrRead)
	var names []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if e, ok := errors.AsType[*integrity.Error](err); ok {
				names = append(names, e.Path)
			}
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHashEachCancel(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	h := integrity.Hasher{Progress: func(done, total int64) { cancel(stop) }}
	m, err := h.HashEach(ctx, fstest.MapFS{"a": {Data: make([]byte, 4<<20)}}, everyVariant[:3]...)
	if m != nil || !errors.Is(err, stop) {
		t.Errorf("%v, %v; want the cause of the cancellation", m, err)
	}
}

// TestHashEachProgress: a byte counts once, whatever is made of it.
func TestHashEachProgress(t *testing.T) {
	tree := fstest.MapFS{"a": {Data: make([]byte, 3<<20)}, "b": {Data: make([]byte, 1<<20)}, "c": {}}
	var last int64
	h := integrity.Hasher{Progress: func(done, total int64) {
		if done <= last || total != 4<<20 {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}}
	if _, err := h.HashEach(t.Context(), tree, everyVariant[:3]...); err != nil {
		t.Fatal(err)
	}
	if last != 4<<20 {
		t.Errorf("ended at %d", last)
	}
}

// TestHashEachMemory: what is allocated does not grow with the files.
func TestHashEachMemory(t *testing.T) {
	for name, tree := range map[string]sparse{"one": {"w": 128 << 20}, "two": {"v": 64 << 20, "w": 64 << 20}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := integrity.Hasher{Workers: 2}.HashEach(t.Context(), tree, everyVariant[0], everyVariant[2], integrity.Variant{ShardSize: 8 << 20})
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err != nil || got > 2*integrity.AheadSize+1<<20 {
			t.Errorf("%s: %v, allocated %d bytes", name, err, got)
		}
	}
}

// TestHashEachCache: a file is read for the variants that the cache lacks, and
// what it learns is what the others ask for.
func TestHashEachCache(t *testing.T) {
	needIdentity(t)
	dir, fsys := writeTree(t, map[string]string{"a": "x", "b": "yy", "empty": ""})
	cache := &integrity.Cache{Now: later}
	h := integrity.Hasher{Cache: cache}
	byFile, byShard, blake := integrity.Variant{}, integrity.Variant{ShardSize: 1}, integrity.Variant{Algorithm: integrity.BLAKE3}
	for _, step := range []struct {
		change   string // content of a
		variants []integrity.Variant
		read     map[string]int64
	}{
		{"", []integrity.Variant{byFile}, map[string]int64{"a": 1, "b": 2, "empty": 0}},
		{"", []integrity.Variant{byFile, blake}, map[string]int64{"a": 1, "b": 2, "empty": 0}},
		{"", []integrity.Variant{blake, byFile}, map[string]int64{}},
		{"", []integrity.Variant{byShard, byFile}, map[string]int64{"a": 1, "b": 2}},
		{"zzz", []integrity.Variant{byFile, byShard, blake}, map[string]int64{"a": 3}},
		{"", []integrity.Variant{byFile, byShard, blake}, map[string]int64{}},
	} {
		if step.change != "" {
			write("a", step.change)(t, dir)
		}
		m := newMeter(fsys)
		var last, sum int64
		h.Progress = func(done, total int64) { last = total }
		got, err := h.HashEach(t.Context(), m, step.variants...)
		if err != nil {
			t.Fatal(err)
		}
		want, err := separately(t.Context(), integrity.Hasher{}, fsys, step.variants)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-separate +each):\n%s", step, diff)
		}
		m.check(t, step.read)
		for n := range maps.Values(step.read) {
			sum += n
		}
		if last != sum {
			t.Errorf("%+v: progress to %d, of %d bytes", step, last, sum)
		}
	}
	m := newMeter(fsys)
	h.Algorithm = integrity.BLAKE3
	mustHash(t, h, m)
	m.check(t, map[string]int64{})
}

// A slowFS reads at a limited rate, which all its files share.
type slowFS struct {
	fs.FS
	rate float64 // bytes per second
	mu   sync.Mutex
	free time.Time // when the bytes asked for so far have come
}

func (s *slowFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil || isFolder(f) {
		return f, err
	}
	return slowFile{f, s}, nil
}

type slowFile struct {
	fs.File
	s *slowFS
}

func (f slowFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.s.mu.Lock()
	if now := time.Now(); f.s.free.Before(now) {
		f.s.free = now
	}
	f.s.free = f.s.free.Add(time.Duration(float64(n) / f.s.rate * float64(time.Second)))
	wait := time.Until(f.s.free)
	f.s.mu.Unlock()
	if wait > 5*time.Millisecond { // a shorter sleep takes longer than it should
		time.Sleep(wait)
	}
	return n, err
}

// BenchmarkHashEach makes manifests in one pass and in a pass for each; a byte
// counts once.
func BenchmarkHashEach(b *testing.B) {
	const size = 64 << 20
	three := []integrity.Variant{{}, {Algorithm: integrity.BLAKE3}, {Algorithm: integrity.BLAKE2b}}
	data := bytes.Repeat([]byte("weights "), size/8)
	dir := b.TempDir()
	for i := range 41 {
		name, content := fmt.Sprintf("many/%02d", i), data[:len(data)/40]
		if i == 40 {
			name, content = "one/w", data
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	for _, bench := range []struct {
		name, folder string
		rate         float64
		variants     []integrity.Variant
	}{
		{"one_file", "one", 0, three},
		{"40_files", "many", 0, three},
		{"one_file_sha256_blake3", "one", 0, three[:2]},
		{"40_files_sha256_blake3", "many", 0, three[:2]},
		{"one_file_sha256_blake3_shards", "one", 0, append(three[:2:2], integrity.Variant{ShardSize: 16 << 20})},
		{"one_file_slow_reader", "one", 250e6, three},
		{"40_files_slow_reader", "many", 250e6, three},
	} {
		fsys, err := fs.Sub(root.FS(), bench.folder)
		if err != nil {
			b.Fatal(err)
		}
		if bench.rate > 0 {
			fsys = &slowFS{FS: fsys, rate: bench.rate}
		}
		for _, way := range []struct {
			name string
			hash func(context.Context) error
		}{
			{"one_pass", func(ctx context.Context) error {
				_, err := integrity.Hasher{}.HashEach(ctx, fsys, bench.variants...)
				return err
			}},
			{"a_pass_each", func(ctx context.Context) error {
				_, err := separately(ctx, integrity.Hasher{}, fsys, bench.variants)
				return err
			}},
		} {
			b.Run(bench.name+"/"+way.name, func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if err := way.hash(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
