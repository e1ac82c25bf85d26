package integrity_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
)

func TestHash(t *testing.T) {
	m := mustHash(t, integrity.Hasher{Ignore: []string{"tmp", "model.sig"}}, tiny())
	want := &integrity.Manifest{
		Parameters: integrity.Parameters{Algorithm: "sha256", Ignore: []string{".git", ".gitattributes", ".github", ".gitignore", "model.sig", "tmp"}},
		Resources: []integrity.Resource{
			{Path: "a.txt", Digest: "sha256:" + sumA},
			{Path: "sub/w.bin", Digest: "sha256:" + sumW},
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m.Root() != tinyRoot {
		t.Errorf("root %s, want %s", m.Root(), tinyRoot)
	}
}

func TestHashFile(t *testing.T) {
	m, err := integrity.Hasher{}.HashFile(t.Context(), tiny(), "sub/w.bin")
	if err != nil {
		t.Fatal(err)
	}
	want := &integrity.Manifest{
		Parameters: integrity.Parameters{Algorithm: "sha256"},
		Resources:  []integrity.Resource{{Path: "w.bin", Digest: "sha256:" + sumW}},
		SingleFile: true,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, kind := range map[string]error{"sub": integrity.ErrSpecial, "absent": integrity.ErrRead} {
		_, err := integrity.Hasher{}.HashFile(t.Context(), tiny(), name)
		wantKind(t, err, kind)
	}
	for _, name := range []string{"", ".", "../a.txt", "/a.txt"} {
		if _, err := (integrity.Hasher{}).HashFile(t.Context(), tiny(), name); err == nil {
			t.Errorf("hashed %q", name)
		}
	}
}

// A hashDefect is a model, or a wish, that cannot be hashed.
type hashDefect struct {
	name string
	h    integrity.Hasher
	fsys fs.FS
	want error
}

func hashDefects(t *testing.T) []hashDefect {
	dir, linked := writeTree(t, map[string]string{"a": "x"})
	symlink(t, "a", dir, "l")
	growing := fstest.MapFS{"a": {Data: []byte("x")}}
	return []hashDefect{
		{"empty", integrity.Hasher{}, fstest.MapFS{}, integrity.ErrEmpty},
		{"only_ignored", integrity.Hasher{Ignore: []string{"a"}}, fstest.MapFS{"a": {}}, integrity.ErrEmpty},
		{"only_empty_files_sharded", integrity.Hasher{ShardSize: 8}, fstest.MapFS{"a": {}}, integrity.ErrEmpty},
		{"link", integrity.Hasher{}, linked, integrity.ErrSymlink},
		{"unreadable", integrity.Hasher{}, brokenFS{tiny(), "a.txt"}, integrity.ErrRead},
		{"unreadable_folder", integrity.Hasher{}, brokenFS{tiny(), "sub"}, integrity.ErrRead},
		{"pipe", integrity.Hasher{}, fstest.MapFS{"a": {Mode: fs.ModeNamedPipe}}, integrity.ErrSpecial},
		{"socket", integrity.Hasher{}, fstest.MapFS{"a": {Mode: fs.ModeSocket}}, integrity.ErrSpecial},
		{"device", integrity.Hasher{}, fstest.MapFS{"a": {Mode: fs.ModeDevice}}, integrity.ErrSpecial},
		{"grown_since_listed", integrity.Hasher{}, openFS{growing, func(name string) {
			if name == "a" {
				growing["a"].Data = []byte("xy")
			}
		}}, integrity.ErrChanged},
		{"invalid_name", integrity.Hasher{}, fstest.MapFS{"a\xff": {}}, integrity.ErrUnsupported},
		{"unknown_algorithm", integrity.Hasher{Algorithm: "md5"}, tiny(), integrity.ErrUnsupported},
		{"too_many_shards", integrity.Hasher{ShardSize: 1}, fstest.MapFS{"a": {Data: make([]byte, limits.MaxTreeFiles+1)}}, integrity.ErrUnsupported},
	}
}

func TestHashRefuses(t *testing.T) {
	for _, tt := range hashDefects(t) {
		t.Run(tt.name, func(t *testing.T) {
			m, err := tt.h.Hash(t.Context(), tt.fsys)
			wantKind(t, err, tt.want)
			if m != nil {
				t.Errorf("and yet a manifest: %v", m)
			}
		})
	}
	for _, h := range []integrity.Hasher{
		{ShardSize: -1},
		{Ignore: []string{"/etc"}},
		{Ignore: []string{"../x"}},
		{Ignore: []string{"."}},
		{Ignore: []string{"*.bin"}},
	} {
		if _, err := h.Hash(t.Context(), tiny()); err == nil {
			t.Errorf("hashed with %+v", h)
		}
	}
}

func TestSymlinks(t *testing.T) {
	outside, _ := writeTree(t, map[string]string{"secret": "s", "folder/f": "f"})
	dir, fsys := writeTree(t, map[string]string{"a": "x", "d/f": "y"})
	allow := integrity.Hasher{AllowSymlinks: true}

	symlink(t, "a", dir, "inside")
	symlink(t, "../a", dir, "d/up")
	symlink(t, "inside", dir, "twice")
	symlink(t, "d/../d/up", dir, "through")
	symlink(t, "d", dir, "folder")
	m := mustHash(t, allow, fsys)
	var names []string
	for name, d := range m.Files() {
		names = append(names, name)
		if want := digestx.Of([]byte("x")); name != "d/f" && d != want {
			t.Errorf("%s has digest %s, want %s", name, d, want)
		}
	}
	if diff := cmp.Diff([]string{"a", "d/f", "d/up", "inside", "through", "twice"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"folder"}, m.Uncovered); diff != "" {
		t.Errorf("uncovered (-want +got):\n%s", diff)
	}
	signer, trust := testKeys(t, "links")
	bundle := mustSign(t, m, signer)
	r, err := integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
	if err != nil || !slices.Equal(r.Uncovered, []string{"folder"}) {
		t.Errorf("verify: %v, uncovered %v", err, r.Uncovered)
	}
	_, err = integrity.Verifier{ForbidSymlinks: true}.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrManifest)

	for name, target := range map[string]string{
		"absolute": filepath.Join(outside, "secret"),
		"relative": "../" + filepath.Base(outside) + "/secret",
		"broken":   "nowhere",
		"cycle":    "l",
	} {
		t.Run(name, func(t *testing.T) {
			dir, rooted := writeTree(t, map[string]string{"a": "x"})
			symlink(t, target, dir, "l")
			for _, fsys := range []fs.FS{rooted, os.DirFS(dir)} { // the second would follow it out
				_, err := allow.Hash(t.Context(), fsys)
				wantKind(t, err, integrity.ErrSymlink)
				_, err = allow.HashFile(t.Context(), fsys, "l")
				wantKind(t, err, integrity.ErrSymlink)
			}
		})
	}
	t.Run("swapped_after_signing", func(t *testing.T) {
		dir, _ := writeTree(t, map[string]string{"a": "s", "b": "x"})
		symlink(t, "a", dir, "l")
		bundle := mustSign(t, mustHash(t, allow, os.DirFS(dir)), signer)
		remove("l")(t, dir)
		symlink(t, filepath.Join(outside, "secret"), dir, "l") // the same content, outside
		r, err := integrity.Verifier{}.Verify(t.Context(), os.DirFS(dir), bundle, trust)
		wantKind(t, err, integrity.ErrMismatch)
		if len(r.Differences) != 1 || r.Differences[0].Change != integrity.KindChanged {
			t.Errorf("differences %v", r.Differences)
		}
	})
	t.Run("below_ignored_path", func(t *testing.T) {
		dir, fsys := writeTree(t, map[string]string{"a": "x", "tmp/x": ""})
		symlink(t, "/etc", dir, "tmp/l")
		if _, err := (integrity.Hasher{Ignore: []string{"tmp"}}).Hash(t.Context(), fsys); err != nil {
			t.Error(err)
		}
	})
	t.Run("single_file_through_link", func(t *testing.T) {
		dir, fsys := writeTree(t, map[string]string{"d/f": "x"})
		symlink(t, "d", dir, "e")
		_, err := integrity.Hasher{}.HashFile(t.Context(), fsys, "e/f")
		wantKind(t, err, integrity.ErrSymlink)
		if m, err := allow.HashFile(t.Context(), fsys, "e/f"); err != nil || m.Resources[0].Path != "f" {
			t.Errorf("%v, %v", m, err)
		}
	})
}

func TestSingleFile(t *testing.T) {
	signer, trust := testKeys(t, "file")
	content := strings.Repeat("weights ", 10)
	_, fsys := writeTree(t, map[string]string{"models/m.bin": content, "models/other": "o", "bad.bin": "weights", "w": content})
	for _, form := range []integrity.Form{integrity.FormSpec, integrity.FormPython} {
		for _, shard := range []int64{0, 16} {
			m, err := integrity.Hasher{ShardSize: shard}.HashFile(t.Context(), fsys, "models/m.bin")
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := integrity.Signing{Form: form}.Sign(t.Context(), m, signer)
			if err != nil {
				t.Fatal(err)
			}
			r, err := integrity.Verifier{}.VerifyFile(t.Context(), fsys, "models/m.bin", bundle, trust)
			if err != nil || r.Manifest.Resources[0].Path != "m.bin" {
				t.Errorf("form %d shard %d: %v", form, shard, err)
			}
			for name, want := range map[string]error{"bad.bin": integrity.ErrMismatch, "absent": integrity.ErrMismatch, "models": integrity.ErrMismatch} {
				_, err := integrity.Verifier{}.VerifyFile(t.Context(), fsys, name, bundle, trust)
				wantKind(t, err, want)
			}
			// Only the Python form does not name the file.
			_, err = integrity.Verifier{}.VerifyFile(t.Context(), fsys, "w", bundle, trust)
			if (err == nil) != (form == integrity.FormPython) {
				t.Errorf("form %d shard %d: under another name: %v", form, shard, err)
			}
			sub, err := fs.Sub(fsys, "models")
			if err != nil {
				t.Fatal(err)
			}
			_, err = integrity.Verifier{}.Verify(t.Context(), sub, bundle, trust)
			wantKind(t, err, integrity.ErrMismatch)
		}
	}
	_, err := integrity.Verifier{}.VerifyFile(t.Context(), fsys, "../x", nil, trust)
	if err == nil {
		t.Error("a name out of the root was accepted")
	}
}

func TestEmptyFilesOfShards(t *testing.T) {
	signer, trust := testKeys(t, "empty")
	tree := fstest.MapFS{"a": {Data: []byte("x")}, "__init__.py": {}}
	m := mustHash(t, integrity.Hasher{ShardSize: 8}, tree)
	if diff := cmp.Diff([]string{"__init__.py"}, m.Uncovered); diff != "" {
		t.Errorf("uncovered (-want +got):\n%s", diff)
	}
	tree["sub/__init__.py"] = &fstest.MapFile{}
	r, err := integrity.Verifier{}.Verify(t.Context(), tree, mustSign(t, m, signer), trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"__init__.py", "sub/__init__.py"}, r.Uncovered); diff != "" {
		t.Errorf("uncovered (-want +got):\n%s", diff)
	}
}

func TestIgnored(t *testing.T) {
	signer, trust := testKeys(t, "ignored")
	dir, fsys := writeTree(t, map[string]string{"a": "x", "hidden/w.safetensors": "w", "hidden/README": "", "notes": ""})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{Ignore: []string{"hidden", "notes"}}, fsys), signer)
	r, err := integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hidden", "notes"}, r.Ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"integrity.coverage.loadable-ignored hidden/w.safetensors"}, ruleIDs(r, 1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	write("new", "n")(t, dir)
	_, err = integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
	if _, err = (integrity.Verifier{Ignore: []string{"new"}}).Verify(t.Context(), fsys, bundle, trust); err != nil {
		t.Errorf("the caller's own list: %v", err)
	}
	r, err = integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, bundle, trust)
	if err != nil || !slices.Equal(r.Unsigned, []string{"new"}) {
		t.Errorf("tolerating unsigned files: %v, %v", err, r.Unsigned)
	}
	remove("a")(t, dir)
	_, err = integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
	if _, err := (integrity.Verifier{Ignore: []string{"/abs"}}).Verify(t.Context(), fsys, bundle, trust); err == nil {
		t.Error("an absolute ignored path was accepted")
	}
	// A signed file that the caller ignores is missing, not passed over.
	write("a", "x")(t, dir)
	_, err = integrity.Verifier{Ignore: []string{"a", "new"}}.Verify(t.Context(), fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
}

// TestIgnoredWeights: what is left out by default may hide weights as well, and
// so may what is not signed.
func TestIgnoredWeights(t *testing.T) {
	signer, trust := testKeys(t, "ignored")
	dir, fsys := writeTree(t, map[string]string{"a": "x"})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	write(".git/HEAD", "h")(t, dir)
	write(".git/w.safetensors", "w")(t, dir)
	write(".github/x/run.PY", "w")(t, dir)
	write("new.bin", "w")(t, dir)
	r, err := integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, bundle, trust)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"integrity.coverage.loadable-ignored .git/w.safetensors",
		"integrity.coverage.loadable-ignored .github/x/run.PY",
		"integrity.coverage.unsigned new.bin",
	}
	if diff := cmp.Diff(want, ruleIDs(r, prerun.Low)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for f := range r.Findings() {
		if !strings.HasPrefix(f.Message, "weights or code ") {
			t.Errorf("%s: %s", f.Path(), f.Message)
		}
	}
}

// TestHardLinks: a second name is reported, and no more.
func TestHardLinks(t *testing.T) {
	needIdentity(t)
	signer, trust := testKeys(t, "links")
	dir, fsys := writeTree(t, map[string]string{"a": "x", "d/b": "y", "c": "z"})
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	for name, other := range map[string]string{"a": filepath.Join(t.TempDir(), "outside"), "d/b": filepath.Join(dir, ".git")} {
		if err := os.Link(filepath.Join(dir, name), other); err != nil {
			t.Skip(err)
		}
	}
	r, err := integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
	checkSource(t, r, err)
	if diff := cmp.Diff([]string{"a", "d/b"}, r.HardLinks); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"integrity.coverage.hard-link a", "integrity.coverage.hard-link d/b"}, ruleIDs(r, prerun.Info)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A file system of another kind says so itself.
	r, err = integrity.Verifier{}.Verify(t.Context(), linkedFS{fstest.MapFS{"a": {Data: []byte("x")}, "d/b": {Data: []byte("y")}, "c": {Data: []byte("z")}}}, bundle, trust)
	if diff := cmp.Diff([]string{"c"}, r.HardLinks); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// linkedFS says that its file c has two names.
type linkedFS struct{ fstest.MapFS }

func (l linkedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := l.MapFS.ReadDir(name)
	for i, e := range list {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if e.Name() == "c" {
			list[i] = fs.FileInfoToDirEntry(linkedInfo{info})
		}
	}
	return list, err
}

type linkedInfo struct{ fs.FileInfo }

func (linkedInfo) Links() uint64 { return 2 }

func TestCaseCollision(t *testing.T) {
	signer, trust := testKeys(t, "case")
	tree := fstest.MapFS{"Vocab.txt": {Data: []byte("a")}, "vocab.txt": {Data: []byte("b")}, "other": {}}
	m := mustHash(t, integrity.Hasher{}, tree)
	r, err := integrity.Verifier{}.Verify(t.Context(), tree, mustSign(t, m, signer), trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"integrity.coverage.case-collision vocab.txt"}, ruleIDs(r, prerun.Info)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Collect(r.Findings()), slices.Collect(m.Findings())); diff != "" {
		t.Errorf("who verifies is told something else than who signs (-verify +sign):\n%s", diff)
	}
	for f := range mustHash(t, integrity.Hasher{}, tiny()).Findings() {
		t.Errorf("%+v", f)
	}
}

// A shiftyFS changes a file while it is read.
type shiftyFS struct {
	fs.FS
	name  string
	shift func()
}

func (s shiftyFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err == nil && name == s.name {
		return &shiftyFile{File: f, shift: s.shift}, nil
	}
	return f, err
}

type shiftyFile struct {
	fs.File
	shift func()
}

func (f *shiftyFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if f.shift != nil {
		f.shift()
		f.shift = nil
	}
	return n, err
}

func TestChangedWhileRead(t *testing.T) {
	signer, trust := testKeys(t, "changed")
	for _, shard := range []int64{0, 4} {
		for name, shift := range map[string]func(path string) error{
			"appended": func(path string) error {
				f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.WriteString("more")
				return err
			},
			"truncated": func(path string) error { return os.Truncate(path, 2) },
			"times_restored": func(path string) error {
				info, err := os.Stat(path)
				if err != nil {
					return err
				}
				return errors.Join(os.WriteFile(path, []byte("0123456780"), 0o644), os.Chtimes(path, time.Time{}, info.ModTime()))
			},
			"rewritten": func(path string) error {
				return errors.Join(os.WriteFile(path, []byte("0123456780"), 0o644), os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)))
			},
		} {
			t.Run(fmt.Sprintf("%s_%d", name, shard), func(t *testing.T) {
				if name == "times_restored" {
					needIdentity(t)
				}
				dir, fsys := writeTree(t, map[string]string{"a": "0123456789", "b": "b"})
				bundle := mustSign(t, mustHash(t, integrity.Hasher{ShardSize: shard}, fsys), signer)
				shifty := func() shiftyFS {
					return shiftyFS{fsys, "a", func() {
						if err := shift(filepath.Join(dir, "a")); err != nil {
							t.Error(err)
						}
					}}
				}
				_, err := integrity.Hasher{ShardSize: shard}.Hash(t.Context(), shifty())
				wantKind(t, err, integrity.ErrChanged)
				write("a", "0123456789")(t, dir)
				_, err = integrity.Hasher{}.HashEach(t.Context(), shifty(), integrity.Variant{ShardSize: shard}, integrity.Variant{Algorithm: integrity.BLAKE3})
				wantKind(t, err, integrity.ErrChanged)
				write("a", "0123456789")(t, dir)
				r, err := integrity.Verifier{}.Verify(t.Context(), shifty(), bundle, trust)
				wantKind(t, err, integrity.ErrChanged)
				checkSource(t, r, err)
			})
		}
	}
	t.Run("replaced_before_opening", func(t *testing.T) {
		dir, fsys := writeTree(t, map[string]string{"a": "x", "other": "x"})
		same := time.Unix(1e9, 0)
		for _, name := range []string{"a", "other"} {
			if err := os.Chtimes(filepath.Join(dir, name), same, same); err != nil {
				t.Fatal(err)
			}
		}
		swapped := openFS{fsys, func(name string) {
			if name == "a" {
				rename("other", "a")(t, dir)
			}
		}}
		_, err := integrity.Hasher{Workers: 1}.Hash(t.Context(), swapped)
		if !errors.Is(err, integrity.ErrChanged) {
			t.Errorf("error %v, want %v", err, integrity.ErrChanged)
		}
	})
	t.Run("rewritten_without_identity", func(t *testing.T) {
		tree := fstest.MapFS{"a": {Data: []byte("x"), ModTime: time.Unix(1e9, 0)}}
		rewritten := openFS{tree, func(name string) {
			if name == "a" {
				tree["a"] = &fstest.MapFile{Data: []byte("y"), ModTime: time.Unix(1e9, 1)}
			}
		}}
		_, err := integrity.Hasher{Workers: 1}.Hash(t.Context(), rewritten)
		wantKind(t, err, integrity.ErrChanged)
	})
}

type openFS struct {
	fs.FS
	before func(name string)
}

func (o openFS) Open(name string) (fs.File, error) {
	o.before(name)
	return o.FS.Open(name)
}

func TestHashCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	tree := fstest.MapFS{"a": {Data: make([]byte, 4<<20)}}
	h := integrity.Hasher{Progress: func(done, total int64) { cancel(stop) }}
	if m, err := h.Hash(ctx, tree); m != nil || !errors.Is(err, stop) {
		t.Errorf("%v, %v; want the cause of the cancellation", m, err)
	}
	signer, trust := testKeys(t, "cancel")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tree), signer)
	ctx, cancel = context.WithCancelCause(t.Context())
	v := integrity.Verifier{Progress: func(done, total int64) { cancel(stop) }}
	r, err := v.Verify(ctx, tree, bundle, trust)
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	checkSource(t, r, err)
}

func TestProgress(t *testing.T) {
	tree := fstest.MapFS{"a": {Data: make([]byte, 3<<20)}, "b": {Data: make([]byte, 1<<20)}, "c": {}}
	var last, total int64
	h := integrity.Hasher{ShardSize: 1 << 20, Progress: func(d, n int64) {
		if d < last {
			t.Errorf("%d after %d", d, last)
		}
		last, total = d, n
	}}
	mustHash(t, h, tree)
	if last != 4<<20 || total != 4<<20 {
		t.Errorf("ended at %d of %d", last, total)
	}
}

// TestHashMemory: what is allocated does not grow with the files.
func TestHashMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustHash(t, integrity.Hasher{Workers: 2, ShardSize: 8 << 20}, sparse{"big": 256 << 20})
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*integrity.AheadSize+1<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}

// sparse is a tree of files of zeros, which have no memory of their own and
// know neither how to seek nor their own time.
type sparse map[string]int64

func (s sparse) Open(name string) (fs.File, error) {
	if name == "." {
		tree := fstest.MapFS{}
		for name := range s {
			tree[name] = &fstest.MapFile{}
		}
		f, err := tree.Open(".")
		return sparseDir{f.(fs.ReadDirFile), s}, err
	}
	return &sparseFile{name, s[name], s[name]}, nil
}

type sparseDir struct {
	fs.ReadDirFile
	s sparse
}

func (d sparseDir) ReadDir(n int) ([]fs.DirEntry, error) {
	list, err := d.ReadDirFile.ReadDir(n)
	for i, e := range list {
		list[i] = fs.FileInfoToDirEntry(&sparseFile{e.Name(), d.s[e.Name()], 0})
	}
	return list, err
}

type sparseFile struct {
	name string
	size int64
	left int64
}

func (f *sparseFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), f.left)
	clear(p[:n])
	f.left -= n
	return int(n), nil
}
func (f *sparseFile) Close() error               { return nil }
func (f *sparseFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *sparseFile) Name() string               { return f.name }
func (f *sparseFile) Size() int64                { return f.size }
func (f *sparseFile) Mode() fs.FileMode          { return 0o444 }
func (f *sparseFile) ModTime() time.Time         { return time.Time{} }
func (f *sparseFile) IsDir() bool                { return false }
func (f *sparseFile) Sys() any                   { return nil }

// TestShardsWithoutSeek reads a file that cannot seek in more than one job.
func TestShardsWithoutSeek(t *testing.T) {
	const size = 130 << 20 // three jobs
	m := mustHash(t, integrity.Hasher{ShardSize: 64 << 20}, sparse{"big": size})
	zeros := sha256.New()
	zeros.Write(make([]byte, size-128<<20))
	last := m.Resources[len(m.Resources)-1] // by text: 0, 134217728, 67108864
	for _, r := range m.Resources {
		if r.Start == 128<<20 {
			last = r
		}
	}
	if want := digestx.FromSHA256(zeros.Sum(nil)); last.Digest != want || len(m.Resources) != 3 {
		t.Errorf("last shard %s, want %s", last.Digest, want)
	}
}

func TestDiff(t *testing.T) {
	before := fstest.MapFS{"same": {Data: []byte("s")}, "mod": {Data: []byte("aaaabbbb")}, "gone": {Data: []byte("g")}, "f": {Data: []byte("f")}, "d/x": {Data: []byte("x")}}
	after := fstest.MapFS{"same": {Data: []byte("s")}, "mod": {Data: []byte("aaaacbbbd")}, "new": {Data: []byte("n")}, "f/x": {Data: []byte("f")}, "d": {Data: []byte("x")}}
	for _, shard := range []int64{0, 4} {
		h := integrity.Hasher{ShardSize: shard}
		want, got := mustHash(t, h, before), mustHash(t, h, after)
		var lines []string
		for _, d := range integrity.Diff(want, got) {
			lines = append(lines, fmt.Sprintf("%v%v", d, d.Shards))
		}
		mod := `"mod" modified[]`
		if shard > 0 {
			mod = `"mod" modified[{4 8} {8 9}]`
		}
		expect := []string{
			`"d" kind changed (file in place of a folder)[]`,
			`"d/x" missing[]`,
			`"f" kind changed (folder)[]`,
			`"f/x" extra[]`,
			`"gone" missing[]`,
			mod,
			`"new" extra[]`,
		}
		if diff := cmp.Diff(expect, lines); diff != "" {
			t.Errorf("shard %d (-want +got):\n%s", shard, diff)
		}
		if d := integrity.Diff(want, want); d != nil {
			t.Errorf("a manifest differs from itself: %v", d)
		}
	}
}

// TestManyFiles signs and verifies a manifest of 100 000 files.
func TestManyFiles(t *testing.T) {
	const n = 100_000
	m := &integrity.Manifest{Parameters: integrity.Parameters{Algorithm: integrity.SHA256}}
	for i := range n {
		name := fmt.Sprintf("layer%03d/part%05d.bin", i%1000, i)
		m.Resources = append(m.Resources, integrity.Resource{Path: name, Digest: digestx.Of([]byte(name))})
	}
	m.Sort()
	payload, err := integrity.Signing{Name: "many"}.Statement(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := integrity.ParseStatement(payload, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Resources, got.Resources) || m.Root() != got.Root() {
		t.Error("read something else than was written")
	}
}

func benchmarkHash(b *testing.B, h integrity.Hasher, files map[string]int64) {
	dir := b.TempDir()
	var total int64
	random := rand.NewChaCha8([32]byte{})
	for name, size := range files {
		data := make([]byte, size)
		random.Read(data)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			b.Fatal(err)
		}
		total += size
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	b.SetBytes(total)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Hash(b.Context(), root.FS()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	b.Run("one_file_256MiB", func(b *testing.B) {
		benchmarkHash(b, integrity.Hasher{}, map[string]int64{"w": 256 << 20})
	})
	b.Run("one_file_256MiB_sharded", func(b *testing.B) {
		benchmarkHash(b, integrity.Hasher{ShardSize: 64 << 20}, map[string]int64{"w": 256 << 20})
	})
	files := map[string]int64{}
	for i := range 1000 {
		files[fmt.Sprintf("f%04d", i)] = 4 << 10
	}
	b.Run("1000_files_4KiB", func(b *testing.B) { benchmarkHash(b, integrity.Hasher{}, files) })
	b.Run("stdlib_256MiB", func(b *testing.B) { // the bound of the first, without reading
		data := make([]byte, 256<<20)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
}

// BenchmarkManifest writes and reads the statement of 100 000 files.
func BenchmarkManifest(b *testing.B) {
	m := &integrity.Manifest{Parameters: integrity.Parameters{Algorithm: integrity.SHA256}}
	for i := range 100_000 {
		name := fmt.Sprintf("layer%03d/part%05d.bin", i%1000, i)
		m.Resources = append(m.Resources, integrity.Resource{Path: name, Digest: digestx.Of([]byte(name))})
	}
	m.Sort()
	payload, err := integrity.Signing{}.Statement(m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (integrity.Signing{}).Statement(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := integrity.ParseStatement(payload, false, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkVerify is a small model, where everything but reading counts.
func BenchmarkVerify(b *testing.B) {
	signer, trust := testKeys(b, "benchmark")
	bundle := mustSign(b, mustHash(b, integrity.Hasher{}, tiny()), signer)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (integrity.Verifier{}).Verify(b.Context(), tiny(), bundle, trust); err != nil {
			b.Fatal(err)
		}
	}
}
