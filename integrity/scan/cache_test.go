package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// shelf is a store in memory that counts.
type shelf struct {
	mu         sync.Mutex
	values     map[string][]byte
	hits, puts int
	fail       error
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.values[key]; v != nil {
		s.hits++
		return v, s.fail
	}
	return nil, s.fail
}

func (s *shelf) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = make(map[string][]byte)
	}
	s.puts++
	s.values[key] = bytes.Clone(value)
	return s.fail
}

// counts returns what happened since the last call.
func (s *shelf) counts() (hits, puts int) {
	hits, puts = s.hits, s.puts
	s.hits, s.puts = 0, 0
	return hits, puts
}

func cacheOf(s scan.Store) scan.Cache {
	return scan.Cache{Store: s, Secret: []byte("0123456789abcdef"), Version: "test"}
}

func scanTree(t interface{ Fatal(...any) }, s scan.Scanner, fsys fstest.MapFS) (*scan.Result, []byte) {
	res, err := s.Scan(context.Background(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	data, err := res.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return res, data
}

// A scan with a cache gives what a scan without one gives, whatever is added,
// changed, renamed and removed between scans.
func TestCacheLaw(t *testing.T) {
	contents := [][]byte{
		[]byte("words\n"), build.Attack(), build.Harmless(), build.ELF(), []byte(`{"auto_map": {"A": "b.C"}}`), []byte("import os\n"),
		{0xff, 1},
		nil,
		build.Safetensors(smallHeader, make([]byte, 16)), build.Zip(build.Member{Name: "../x", Data: build.Attack()}),
		build.ONNX(nil, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "b.data", "length", "16")}),
		make([]byte, 16), make([]byte, 8), build.Gzip([]byte("words\n"))[:12], imports("acme.loader", "f", ""),
	}
	names := []string{"a.onnx", "b.data", "c.py", "d/c.py", "d/m.safetensors", "config.json", "d/e/x.pkl", "noise.bin", "blobs/abc"}
	rules := acmeRules(t)
	rapid.Check(t, func(t *rapid.T) {
		store := &shelf{}
		fsys := fstest.MapFS{}
		if rapid.Bool().Draw(t, "hub") { // of Hugging Face, where a link gives a blob its name
			fsys["snapshots/r/m.pkl"] = &fstest.MapFile{Data: []byte("../../blobs/abc"), Mode: fs.ModeSymlink | 0o777}
		}
		for range rapid.IntRange(1, 5).Draw(t, "scans") {
			for range rapid.IntRange(0, 4).Draw(t, "edits") {
				name := rapid.SampledFrom(names).Draw(t, "name")
				if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
					delete(fsys, name)
					continue
				}
				fsys[name] = &fstest.MapFile{Data: rapid.SampledFrom(contents).Draw(t, "content")}
			}
			s := scan.Scanner{Workers: rapid.IntRange(1, 3).Draw(t, "workers")}
			if rapid.Bool().Draw(t, "rules") {
				s.RuleSets = []*scan.RuleSet{rules}
			}
			_, want := scanTree(t, s, fsys)
			s.Cache = cacheOf(store)
			res, got := scanTree(t, s, fsys)
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Fatalf("(-fresh +cached):\n%s", diff)
			}
			if diff := cmp.Diff(prerun.Decide(res, prerun.Medium), func() prerun.Verdict {
				r, _ := scanTree(t, scan.Scanner{RuleSets: s.RuleSets}, fsys)
				return prerun.Decide(r, prerun.Medium)
			}()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestCache(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, data := range mixed() {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	store := &shelf{}
	s := scan.Scanner{Cache: cacheOf(store)}
	_, want := scanTree(t, s, fsys)
	if hits, puts := store.counts(); hits != 0 || puts != len(fsys) {
		t.Errorf("first: %d hits, %d puts of %d", hits, puts, len(fsys))
	}
	_, got := scanTree(t, s, fsys)
	if hits, puts := store.counts(); hits != len(fsys) || puts != 0 || !bytes.Equal(want, got) {
		t.Errorf("again: %d hits, %d puts, same %t", hits, puts, bytes.Equal(want, got))
	}
	fsys["README.md"] = &fstest.MapFile{Data: []byte("# another\n")}
	scanTree(t, s, fsys)
	if hits, puts := store.counts(); hits != len(fsys)-1 || puts != 1 {
		t.Errorf("one changed: %d hits, %d puts", hits, puts)
	}
	// The finding about code beside weights depends on the other file.
	delete(fsys, "model.safetensors")
	delete(fsys, "m.onnx")
	delete(fsys, "config.json")
	res, _ := scanTree(t, s, fsys)
	for f := range res.Findings() {
		if f.Rule.ID == "scan.repo.python-code" {
			t.Error("there are no weights any more")
		}
	}
}

// Every setting that changes results is part of what is looked up.
func TestCacheMisses(t *testing.T) {
	base := scan.Scanner{Cache: cacheOf(nil)}
	own := append(scan.Builtin(), Format(versioned{acme{}, "1"}))
	for name, change := range map[string]func(s *scan.Scanner){
		"version":   func(s *scan.Scanner) { s.Cache.Version = "other" },
		"secret":    func(s *scan.Scanner) { s.Cache.Secret = []byte("fedcba9876543210") },
		"no_secret": func(s *scan.Scanner) { s.Cache.Secret, s.Cache.InsecureNoSecret = nil, true },
		"limits":    func(s *scan.Scanner) { s.Limits.Depth = 3 },
		"rules":     func(s *scan.Scanner) { s.RuleSets = []*scan.RuleSet{acmeRules(t)} },
		"formats":   func(s *scan.Scanner) { s.Formats = scan.Builtin()[1:] },
		"own":       func(s *scan.Scanner) { s.Formats = own },
		"own_other_version": func(s *scan.Scanner) {
			s.Formats = append(slices.Clone(own[:len(own)-1]), versioned{acme{}, "2"})
		},
		"policy": func(s *scan.Scanner) {
			s.Formats = append([]scan.Format{scan.Pickles(globals.Policy{Profiles: []globals.Profile{}})}, scan.Builtin()[1:]...)
		},
		"deny": func(s *scan.Scanner) {
			s.Formats = append([]scan.Format{scan.Pickles(globals.Policy{Deny: &globals.DenyList{}})}, scan.Builtin()[1:]...)
		},
		"no_digests": func(s *scan.Scanner) { s.NoDigests = true },
	} {
		store := &shelf{}
		first := base
		first.Cache.Store = store
		if name == "own_other_version" {
			first.Formats = own
		}
		fsys := fstest.MapFS{"a.pkl": {Data: build.Attack()}}
		scanTree(t, first, fsys)
		if _, puts := store.counts(); puts != 1 {
			t.Fatalf("%s: %d puts", name, puts)
		}
		second := first
		change(&second)
		_, want := scanTree(t, withoutCache(second), fsys)
		_, got := scanTree(t, second, fsys)
		_, puts := store.counts()
		if wantPuts := map[bool]int{true: 0, false: 1}[name == "no_digests"]; puts != wantPuts || !bytes.Equal(want, got) {
			t.Errorf("%s: %d puts, same %t", name, puts, bytes.Equal(want, got))
		}
	}
}

type Format = scan.Format

type versioned struct {
	Format
	version string
}

func (v versioned) Version() string { return v.version }

func withoutCache(s scan.Scanner) scan.Scanner {
	s.Cache = scan.Cache{}
	return s
}

// Entries that somebody damaged, forged without the secret, or moved to another
// file are not believed.
func TestCacheHostile(t *testing.T) {
	store := &shelf{}
	s := scan.Scanner{Cache: cacheOf(store)}
	fsys := fstest.MapFS{"a.pkl": {Data: build.Attack()}, "b.pkl": {Data: build.Harmless()}}
	_, want := scanTree(t, s, fsys)
	good := maps.Clone(store.values)
	keys := slices.Sorted(maps.Keys(good))
	refuse := func(name string, s scan.Scanner) {
		t.Helper()
		if _, got := scanTree(t, s, fsys); !bytes.Equal(want, got) {
			t.Errorf("%s: another result", name)
		}
	}
	for _, key := range keys {
		value := good[key]
		for i := 0; i < len(value); i += 7 {
			bad := bytes.Clone(value)
			bad[i] ^= 1
			store.values = map[string][]byte{key: bad}
			refuse(fmt.Sprintf("bit of byte %d", i), s)
			store.values = map[string][]byte{key: value[:i]}
			refuse(fmt.Sprintf("cut at %d", i), s)
		}
	}
	store.values = map[string][]byte{keys[0]: good[keys[1]], keys[1]: good[keys[0]]}
	refuse("exchanged", s)
	store.values = map[string][]byte{keys[0]: make([]byte, 20<<20), keys[1]: {}}
	refuse("huge and empty", s)

	// Without a secret, whoever writes can seal: that is what its name says. An
	// entry for another file does not pass even so.
	store.values = nil
	open := scan.Scanner{Cache: scan.Cache{Store: store, Version: "test", InsecureNoSecret: true}}
	scanTree(t, open, fsys)
	keys = slices.Sorted(maps.Keys(store.values))
	store.values = map[string][]byte{keys[0]: store.values[keys[1]], keys[1]: store.values[keys[0]]}
	refuse("exchanged without a secret", open)

	store.fail = errors.New("broken")
	refuse("store that fails", s)
}

// What depends on more than the content is not kept.
func TestNotCached(t *testing.T) {
	attack := build.Attack()
	large := append(build.Attack(), make([]byte, 300<<10)...) // small files are read once
	slow := fake{id: "slow", scan: func(ctx context.Context, _ *scan.Artifact, _ *scan.Sink) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	for name, tt := range map[string]struct {
		scanner scan.Scanner
		reader  io.ReaderAt
	}{
		"no_version_of_a_format": {scan.Scanner{Formats: append(scan.Builtin(), acme{})}, bytes.NewReader(attack)},
		"out_of_time":            {scan.Scanner{Formats: []scan.Format{versioned{slow, "1"}}, Limits: scan.Limits{Time: time.Millisecond}}, bytes.NewReader(attack)},
		"malformed":              {scan.Scanner{}, bytes.NewReader(attack[:len(attack)-1])},
		"reads_fail_at_times":    {scan.Scanner{}, &failing{ReaderAt: bytes.NewReader(large), after: 1, times: 1}},
		"reads_fail":             {scan.Scanner{}, &failing{ReaderAt: bytes.NewReader(large), times: 1000}},
	} {
		store := &shelf{}
		tt.scanner.Cache = cacheOf(store)
		size := int64(len(attack))
		if _, ok := tt.reader.(*failing); ok {
			size = int64(len(large))
		} else if name == "malformed" {
			size--
		}
		if _, err := tt.scanner.ScanFile(t.Context(), "a.pkl", tt.reader, size); err != nil {
			t.Fatal(err)
		}
		if _, puts := store.counts(); puts != 0 {
			t.Errorf("%s: kept", name)
		}
	}
	// A file that changes between its reading for the digest and the scan.
	store := &shelf{}
	changing := &failing{ReaderAt: bytes.NewReader(large), first: bytes.Repeat([]byte("a"), len(large))}
	res, err := scan.Scanner{Cache: cacheOf(store)}.ScanFile(t.Context(), "a.txt", changing, int64(len(large)))
	if err != nil {
		t.Fatal(err)
	}
	if f := &res.Files[0]; f.Completeness != scan.Failed || !strings.Contains(strings.Join(reasons(f), "\n"), "changed while") || store.puts != 0 {
		t.Errorf("%s: %v, %d kept", f.Completeness, reasons(f), store.puts)
	}
}

// failing is a reader of which some reads fail, or give something else first.
type failing struct {
	io.ReaderAt
	after, times int
	first        []byte
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case f.first != nil:
		n := copy(p, f.first[off:])
		f.first = nil
		return n, nil
	case f.after > 0:
		f.after--
	case f.times > 0:
		f.times--
		return 0, io.ErrClosedPipe
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestCacheErrors(t *testing.T) {
	for name, c := range map[string]scan.Cache{
		"no_version":   {Store: &shelf{}, Secret: make([]byte, 16)},
		"no_secret":    {Store: &shelf{}, Version: "1"},
		"short_secret": {Store: &shelf{}, Version: "1", Secret: make([]byte, 15)},
		"both":         {Store: &shelf{}, Version: "1", Secret: make([]byte, 16), InsecureNoSecret: true},
	} {
		if _, err := (scan.Scanner{Cache: c}).ScanFile(t.Context(), "a", bytes.NewReader(nil), 0); !errors.Is(err, scan.ErrCache) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All built-in formats have results that may be kept.
func TestBuiltinIsCached(t *testing.T) {
	store := &shelf{}
	one(t, scan.Scanner{Cache: cacheOf(store)}, "a", []byte("x"))
	if _, puts := store.counts(); puts != 1 {
		t.Error("some built-in format has no version")
	}
}

func TestFolderStore(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	store := scan.FolderStore{Root: root}
	key := strings.Repeat("0a", 32)
	if v, err := store.Get(t.Context(), key); v != nil || err != nil {
		t.Errorf("absent: %q, %v", v, err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := store.Put(context.Background(), key, []byte("value")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v, err := store.Get(t.Context(), key); string(v) != "value" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	list, err := root.FS().(interface {
		ReadDir(string) ([]os.DirEntry, error)
	}).ReadDir("0a")
	if err != nil || len(list) != 1 {
		t.Errorf("%v, %v: files were left behind", list, err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("g", 64), "../" + key[:61]} {
		if _, err := store.Get(t.Context(), bad); !errors.Is(err, scan.ErrCache) {
			t.Errorf("%q: %v", bad, err)
		}
		if err := store.Put(t.Context(), bad, nil); !errors.Is(err, scan.ErrCache) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// BenchmarkCache scans a folder whose scan costs more than its digest.
func BenchmarkCache(b *testing.B) {
	fsys := fstest.MapFS{}
	size := 0
	for i := range 100 {
		var code bytes.Buffer
		code.WriteString("\x80\x02]")
		for j := range 20_000 {
			fmt.Fprintf(&code, "X\x08\x00\x00\x00%04d%04dq\x01a", i, j%10_000)
		}
		code.WriteString(".")
		fsys[fmt.Sprintf("%d.pkl", i)] = &fstest.MapFile{Data: code.Bytes()}
		size += code.Len()
	}
	for name, cache := range map[string]scan.Cache{"fresh": {}, "cached": cacheOf(&shelf{})} {
		b.Run(name, func(b *testing.B) {
			s := scan.Scanner{Cache: cache}
			scanTree(b, s, fsys)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				scanTree(b, s, fsys)
			}
		})
	}
}
