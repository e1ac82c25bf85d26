package scan

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// A Store keeps the entries of a [Cache]. Get returns nil, nil for an absent
// key. Keys are 64 hexadecimal digits. A store that fails slows a scan down and
// never changes its result. Implementations are safe for concurrent use.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// A Cache keeps the results of files that were scanned before. The zero value
// keeps nothing.
//
// A file is looked up by its name and its content's digest, the rule sets, the
// formats, the limits, and the version of the program; what its formats asked
// of the names around it is kept with the result and asked again. So a result
// from the cache is the one that a scan would give. What depends on more than
// that is not kept: results of a spent wall clock, of files that could not be
// read or parsed to their end, that changed meanwhile, or that a format without
// a version looked at ([Versioned]). With [Scanner.NoDigests], nothing is known
// by its content, and the cache is not used.
//
// Looking up costs one reading of the file for its digest, which a scan costs
// anyway; a file that is not there is read once more, to see that it is still
// the same.
//
// Whoever can write to the store can hide findings. Entries are sealed with
// Secret, so that one who can write but does not know it achieves nothing; an
// entry for one file does not pass for another's. Old entries can be brought
// back, which is harmless: an entry stays true.
type Cache struct {
	Store  Store  // nil keeps nothing
	Secret []byte // at least 16 bytes, the same wherever the cache is used

	// Version names the program that scans, such as its release or the digest of
	// its file: entries of another version are not used. It is required. The
	// versions of the modules that the program says it is built of count besides.
	Version string

	// InsecureNoSecret seals entries without a secret. Then damage is noticed,
	// and forgery is not: everybody who can write to the store is trusted.
	InsecureNoSecret bool
}

// Versioned is a [Format] whose results may be kept in a [Cache]: its answers
// are the same for the same version, content, name, tree and limits. Built-in
// formats are.
type Versioned interface {
	Format
	Version() string // of its logic and its options
}

// ErrCache is wrapped by the error for a [Cache] that cannot be used.
var ErrCache = errors.New("scan cache")

const (
	cacheSchema = "prerun/scan-cache/v1"
	maxEntry    = 16 << 20 // bytes of an entry
	minSecret   = 16       // bytes
)

// A sealed cache is one that is in use by a scan.
type sealed struct {
	Cache
	base string // what every key of the scan depends on
}

// use checks the cache and prepares it; nil means that nothing is kept.
func (c Cache) use(s Scanner, formats []Format) (*sealed, error) {
	switch {
	case c.Store == nil:
		return nil, nil
	case c.Version == "":
		return nil, fmt.Errorf("%w: it needs a version", ErrCache)
	case len(c.Secret) < minSecret && !c.InsecureNoSecret:
		return nil, fmt.Errorf("%w: it needs a secret of %d bytes at least", ErrCache, minSecret)
	case len(c.Secret) > 0 && c.InsecureNoSecret:
		return nil, fmt.Errorf("%w: it has a secret and is to have none", ErrCache)
	case s.NoDigests:
		return nil, nil
	}
	h := sha256.New()
	frame(h, cacheSchema, ResultSchema, c.Version)
	if info, ok := debug.ReadBuildInfo(); ok {
		frame(h, info.String())
	}
	frame(h, fmt.Sprintf("%#v", s.Limits.withDefaults()))
	for _, f := range formats {
		version, ok := versionOf(f)
		if !ok {
			return nil, nil
		}
		frame(h, "format", f.Info().ID, version, fmt.Sprintf("%#v", f.Info().Rules))
	}
	for _, set := range s.RuleSets {
		frame(h, "rule set", set.name, string(set.digest))
	}
	frame(h, fmt.Sprintf("%#v", Rules()))
	return &sealed{c, hex.EncodeToString(h.Sum(nil))}, nil
}

// frame hashes texts such that no two lists run together.
func frame(h hash.Hash, texts ...string) {
	for _, s := range texts {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
}

// versionOf is what a format's answers depend on besides its input.
func versionOf(f Format) (string, bool) {
	if v, ok := f.(Versioned); ok {
		return "version " + v.Version(), true
	}
	t := reflect.TypeOf(f)
	return "built in " + t.String(), t.PkgPath() == reflect.TypeFor[Scanner]().PkgPath()
}

// Version implements [Versioned].
func (f pickleFormat) Version() string {
	deny := "built in"
	if f.policy.Deny != nil {
		deny = fmt.Sprintf("%v", *f.policy.Deny)
	}
	h := sha256.New()
	frame(h, fmt.Sprintf("%t %v", f.policy.Profiles == nil, f.policy.Profiles), deny)
	return hex.EncodeToString(h.Sum(nil))
}

func (c *sealed) key(name string, size int64, d digest.Digest) string {
	h := sha256.New()
	frame(h, c.base, name, fmt.Sprint(size), string(d))
	return hex.EncodeToString(h.Sum(nil))
}

// seal is the mark that stands before an entry.
func (c *sealed) seal(key string, payload []byte) string {
	h := sha256.New()
	if !c.InsecureNoSecret {
		h = hmac.New(sha256.New, c.Secret)
	}
	frame(h, cacheSchema, key)
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil))
}

// An entry of the cache, behind its seal and a line's end.
type wireEntry struct {
	Asked  []asked    `json:"asked"` // of the names around the file
	Result wireResult `json:"result,required"`
}

// get returns the result that is kept for a file, if it still holds.
func (c *sealed) get(ctx context.Context, key, path string, size int64, tree *Tree) (FileResult, bool) {
	none := FileResult{}
	value, err := c.Store.Get(ctx, key)
	if err != nil || len(value) > maxEntry {
		return none, false
	}
	mark, payload, ok := bytes.Cut(value, []byte("\n"))
	if !ok || !hmac.Equal(mark, []byte(c.seal(key, payload))) {
		return none, false
	}
	var w wireEntry
	if _, err := strictjson.Unmarshal(payload, &w, strictjson.Options{Limits: strictjson.Limits{Bytes: maxEntry, Depth: 512}}); err != nil {
		return none, false
	}
	for _, a := range w.Asked {
		if tree.answer(a.Kind, a.Name) != a.Answer {
			return none, false
		}
	}
	res, err := w.Result.result()
	if err != nil || len(res.Files) != 1 {
		return none, false
	}
	f := res.Files[0]
	f.worst = [...]prerun.Severity{Suspicious: prerun.Medium, Malicious: prerun.High}[f.Verdict]
	return f, f.Path == path && f.Size == size
}

// put keeps a result. What the store says does not matter.
func (c *sealed) put(ctx context.Context, key string, f *FileResult, asked []asked) {
	res := Result{Files: []FileResult{*f}}
	w, err := res.wire()
	if err != nil {
		return
	}
	payload, err := json.Marshal(wireEntry{asked, w})
	if err != nil || len(payload) > maxEntry-100 {
		return
	}
	_ = c.Store.Put(ctx, key, append([]byte(c.seal(key, payload)+"\n"), payload...))
}

// cached scans one top-level file, or remembers the scan.
func (t *target) cached(ctx context.Context, name, real string, r io.ReaderAt, size int64) FileResult {
	b := t.blobAt(real)
	b.hash(ctx, real, r, size)
	key := t.cache.key(name, size, b.sum)
	res, known := FileResult{}, false
	if b.err == nil {
		res, known = t.cache.get(ctx, key, prerun.EscapePath(name), size, t.view)
	}
	if !known {
		watched, tree := &watchedReader{ReaderAt: r, size: size}, t.view.watched()
		res = t.fresh(ctx, name, watched, size, tree)
		again, err := hashOf(ctx, watched, size)
		switch {
		case b.err != nil: // which digest says
		case err == nil && again != b.sum:
			res.changed()
		case err == nil && ctx.Err() == nil && res.Completeness != Failed && !res.hurried && !watched.failed.Load() && !tree.log.full():
			t.cache.put(ctx, key, &res, tree.log.list())
		}
	}
	t.digest(ctx, &res, real, b, r, size)
	res.conclude()
	return res
}

// A watchedReader notices reads that fail: they may succeed the next time.
type watchedReader struct {
	io.ReaderAt
	size   int64
	failed atomic.Bool
}

func (w *watchedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.ReaderAt.ReadAt(p, off)
	if n < len(p) && (off+int64(n) < w.size || err != nil && !errors.Is(err, io.EOF)) {
		w.failed.Store(true)
	}
	return n, err
}

// view implements viewer: what is in memory cannot fail.
func (w *watchedReader) view(off, n int64) ([]byte, int64) { return viewOf(w.ReaderAt, off, n) }

// A FolderStore is a [Store] in a folder, one file for each entry. It never
// deletes: empty the folder to start anew. Programs may share it.
type FolderStore struct{ Root *os.Root }

// Get implements [Store].
func (s FolderStore) Get(_ context.Context, key string) ([]byte, error) {
	name, err := entryName(key)
	if err != nil {
		return nil, err
	}
	f, err := s.Root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return limits.ReadAll(f, maxEntry)
}

// Put implements [Store]. An entry appears whole or not at all.
func (s FolderStore) Put(_ context.Context, key string, value []byte) error {
	name, err := entryName(key)
	if err != nil {
		return err
	}
	if err := s.Root.Mkdir(name[:2], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	temp := name + "." + hex.EncodeToString(random[:])
	f, err := s.Root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.Root.Remove(temp))
	}
	return s.Root.Rename(temp, name)
}

func entryName(key string) (string, error) {
	if len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: key %q", ErrCache, key)
	}
	return key[:2] + "/" + key[2:], nil
}
