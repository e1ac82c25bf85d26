package scan

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/walk"
)

// A Scanner scans files and folders. The zero value runs every built-in format
// with the default limits and hashes every file. It is safe for concurrent use.
type Scanner struct {
	Formats   []Format   // nil means [Builtin]
	Limits    Limits     // zero fields mean the documented defaults
	RuleSets  []*RuleSet // further rules, see [ParseRuleSet]; nil means none
	Workers   int        // files read at once; 0 means GOMAXPROCS. Results do not depend on it
	Cache     Cache      // of results; the zero value keeps none
	NoDigests bool       // leaves out the digests, and with them the check of blobs against their names, so that large files cost only what their format reads
}

// Scan reads every file of a tree. Links are not followed out of it; a link to
// a file inside is read under both names, except that the blobs of a Hugging
// Face cache are read under the names of snapshots only. Errors are the
// context's, a format, rule set or cache that cannot be used, and a tree that
// cannot be listed; everything about a single file is in its result.
func (s Scanner) Scan(ctx context.Context, fsys fs.FS) (*Result, error) {
	t, err := s.target()
	if err != nil {
		return nil, err
	}
	list, err := walk.Files(ctx, fsys, nil)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	t.fsys, t.tree = fsys, treeOf(list)
	t.view = t.tree
	t.readHub(list)
	var names []walk.Entry
	for _, e := range list {
		if e.Kind != walk.Dir {
			names = append(names, e)
		}
	}
	t.hub.named(names)
	out := make([]FileResult, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.workers())
	for i, e := range names {
		if b := t.hub.blobs[e.Path]; b != nil && len(b.names) > 0 {
			continue // scanned under its names
		}
		g.Go(func() error {
			out[i] = t.entry(gctx, e)
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	orphans(out)
	for i, e := range names {
		if b := t.hub.blobs[e.Path]; b != nil && len(b.names) > 0 {
			out[i] = t.blob(ctx, b, e.Path, out)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return newResult(out, s.RuleSets), nil
}

// ScanFile reads one file. The name is a hint like any other; r is read only
// within size.
func (s Scanner) ScanFile(ctx context.Context, name string, r io.ReaderAt, size int64) (*Result, error) {
	t, err := s.target()
	if err != nil {
		return nil, err
	}
	if r == nil || size < 0 {
		return nil, fmt.Errorf("%q: no content of a known size", name)
	}
	if name == "" {
		return nil, errors.New("a file needs a name")
	}
	t.tree = NewTree([]Entry{{Name: name, Size: size}})
	t.view = t.tree
	res := t.content(ctx, name, name, r, size)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	files := []FileResult{res}
	orphans(files)
	return newResult(files, s.RuleSets), nil
}

func (s Scanner) workers() int {
	if s.Workers > 0 {
		return s.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// target checks the scanner's settings and makes them ready.
func (s Scanner) target() (*target, error) {
	formats := s.Formats
	if formats == nil {
		formats = Builtin()
	}
	seen := make(map[string]bool)
	out := make([]entry, len(formats))
	for i, f := range formats {
		if f == nil {
			return nil, fmt.Errorf("format %d is nil", i)
		}
		info := f.Info()
		if info.ID == "" || seen[info.ID] {
			return nil, fmt.Errorf("format %d: id %q is empty or used twice", i, info.ID)
		}
		seen[info.ID] = true
		out[i] = entry{f, info}
	}
	rules, err := newRulebook(s.RuleSets, out)
	if err != nil {
		return nil, err
	}
	cache, err := s.Cache.use(s, formats)
	if err != nil {
		return nil, err
	}
	if rules != nil && rules.allow != nil {
		for i, e := range out {
			if p, ok := e.format.(pickleFormat); ok {
				out[i].format = pickleFormat{p.policy.Allow(rules.allow...)}
			}
		}
	}
	return &target{scanner: s, formats: out, rules: rules, cache: cache}, nil
}

func treeOf(list []walk.Entry) *Tree {
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{Name: e.Path, Size: e.Size, Mode: e.Info.Mode().Type()}
	}
	return NewTree(entries)
}

// A target is one tree that is being scanned.
type target struct {
	fsys    fs.FS
	tree    *Tree // as it is
	view    *Tree // as formats see it
	hub     hub
	scanner Scanner
	formats []entry
	rules   *rulebook
	cache   *sealed // nil keeps nothing
	free    spare
}

// entry scans what stands under one name.
func (t *target) entry(ctx context.Context, e walk.Entry) FileResult {
	switch e.Kind {
	case walk.Regular:
		return t.open(ctx, e.Path, e.Path)
	case walk.Symlink:
		return t.link(ctx, e.Path)
	}
	return t.gap(e.Path, Inconclusive, "it is a special file and was not opened")
}

// gap is the result of something that was not read.
func (t *target) gap(name string, c Completeness, reason string) FileResult {
	p := prerun.EscapePath(name)
	return FileResult{
		Path:         p,
		Completeness: c,
		Gaps:         []prerun.Gap{{Location: prerun.Location{Path: p}, Reason: utf8Only(reason)}},
	}
}

// link scans what a link inside the tree leads to, under the link's name.
func (t *target) link(ctx context.Context, name string) FileResult {
	to, err := t.resolve(name)
	e, _ := t.tree.Lookup(to)
	var res FileResult
	switch {
	case err != nil:
		res = t.gap(name, Inconclusive, fmt.Sprintf("symbolic link not followed: %v", err))
	case to == "." || e.Mode.IsDir():
		res = FileResult{Path: prerun.EscapePath(name), Completeness: Complete, Formats: []string{"link"}}
	case e.Mode.IsRegular():
		res = t.open(ctx, name, to)
	default:
		res = t.gap(name, Inconclusive, "the symbolic link leads to a special file")
	}
	switch _, snapshot := t.hub.repository(name, "snapshots"); {
	case errors.Is(err, errEscape):
		res.attach(ruleLinkEscape, err.Error()+t.advice(name))
	case snapshot && err != nil:
		res.attach(ruleSnapshotLink, err.Error())
	case snapshot && t.hub.links[name] == "":
		res.attach(ruleSnapshotLink, fmt.Sprintf("the link leads to %q", excerpt(to, 120)))
	}
	res.conclude()
	if err == nil {
		if res.Facts == nil {
			res.Facts = make(map[string]string)
		}
		res.Facts["link"] = prerun.EscapePath(to)
	}
	return res
}

var errEscape = errors.New("it leads out of the scanned folder or to nothing")

// maxHops bounds chains of links, as operating systems do.
const maxHops = 40

// resolve follows links by name inside the listed tree only, so that nothing
// outside is touched, and returns a name without links.
func (t *target) resolve(name string) (string, error) {
	done, rest := ".", strings.Split(name, "/")
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", errEscape
			}
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		e, ok := t.tree.Lookup(next)
		switch {
		case !ok:
			return "", errEscape
		case e.Mode&fs.ModeSymlink == 0:
			done = next
			continue
		}
		if hops++; hops > maxHops {
			return "", errors.New("too many links in a chain")
		}
		to, err := fs.ReadLink(t.fsys, next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) || strings.ContainsAny(to, "\\\x00") || len(to) > 4096 {
			return "", errEscape
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return done, nil
}

// open scans the regular file at real under the given name.
func (t *target) open(ctx context.Context, name, real string) FileResult {
	f, err := t.fsys.Open(real)
	if err != nil {
		return t.gap(name, Failed, fmt.Sprintf("open: %v", err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return t.gap(name, Failed, fmt.Sprintf("stat: %v", err))
	case !info.Mode().IsRegular():
		return t.gap(name, Failed, "it is no regular file any more")
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		rr := &rereader{open: func() (io.ReadCloser, error) { return t.fsys.Open(real) }}
		defer rr.close()
		r = rr
	}
	return t.content(ctx, name, real, r, info.Size())
}

// content scans one top-level file, which stands at real, or remembers a scan
// of it.
func (t *target) content(ctx context.Context, name, real string, r io.ReaderAt, size int64) FileResult {
	r = inMemory(r, size)
	if t.cache != nil {
		return t.cached(ctx, name, real, r, size)
	}
	res := t.fresh(ctx, name, r, size, t.view)
	if !t.scanner.NoDigests {
		t.digest(ctx, &res, real, t.blobAt(real), r, size)
	}
	res.conclude()
	return res
}

// fresh scans one top-level file, but for its digest.
func (t *target) fresh(ctx context.Context, name string, r io.ReaderAt, size int64, tree *Tree) FileResult {
	run, timed, cancel := t.newRun(ctx, size)
	defer cancel()
	a := &Artifact{
		Probe: Probe{Path: prerun.EscapePath(name), Name: name, Size: size, Tree: tree},
		r:     r,
		run:   run,
	}
	res := run.scan(timed, a)
	run.finish(&res)
	res.hurried = timed.Err() != nil || run.spent[Time].Load()
	res.conclude()
	return res
}

// changed makes it the result of a file that was another one halfway.
func (f *FileResult) changed() {
	f.Completeness = Failed
	f.Gaps = append(f.Gaps, prerun.Gap{Location: prerun.Location{Path: f.Path}, Reason: "it changed while it was scanned"})
}

// finish adds to a top-level result what concerns the file as a whole.
func (r *run) finish(res *FileResult) {
	note := func(reason string) {
		res.Completeness = worse(res.Completeness, Inconclusive)
		res.Gaps = append(res.Gaps, prerun.Gap{Location: prerun.Location{Path: res.Path}, Reason: reason})
	}
	if r.dropped {
		note(fmt.Sprintf("more than %d findings and gaps; further ones are not listed", r.lim.Findings))
	}
	if res.Completeness == Complete {
		// A format swallowed the refusal; what it left out is unknown.
		for res := range resourceCount {
			if r.spent[res].Load() {
				note(r.exhausted(res).Error())
			}
		}
	}
	weightsOnly(res)
}

// weightsOnly lifts the answer of the pickles inside to the file, because that
// is what a loader opens.
func weightsOnly(top *FileResult) {
	answer := ""
	for f := range top.All() {
		v := f.Facts[factWeightsOnly]
		if answer == "" || strings.HasPrefix(v, "no") && answer == "yes" {
			answer = v
		}
	}
	if answer != "" {
		if top.Facts == nil {
			top.Facts = make(map[string]string)
		}
		top.Facts[factWeightsOnly] = answer
	}
}

// factWeightsOnly is the key under which pickles say whether torch.load opens
// them with weights_only.
const factWeightsOnly = "weights_only"

// hashOf reads the whole file. It is not part of the budget: the result names
// what was scanned, whatever it costs.
func hashOf(ctx context.Context, r io.ReaderAt, size int64, also ...hash.Hash) (digest.Digest, error) {
	h := sha256.New()
	if whole, _ := viewOf(r, 0, size); whole != nil {
		for _, w := range append(also, h) {
			w.Write(whole)
		}
		return digestx.FromSHA256(h.Sum(nil)), context.Cause(ctx)
	}
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; {
		if err := context.Cause(ctx); err != nil {
			return "", err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		n, err := r.ReadAt(p, off)
		h.Write(p[:n])
		for _, w := range also {
			w.Write(p[:n])
		}
		off += int64(n)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", fmt.Errorf("offset %d: %w", off, err)
		}
	}
	return digestx.FromSHA256(h.Sum(nil)), nil
}

// A rereader makes a file of a file system without random access readable at
// any offset by opening it again when a read goes backwards.
type rereader struct {
	open func() (io.ReadCloser, error)
	cur  io.ReadCloser
	pos  int64
}

func (r *rereader) ReadAt(p []byte, off int64) (int, error) {
	if r.cur == nil || off < r.pos {
		r.close()
		f, err := r.open()
		if err != nil {
			return 0, err
		}
		r.cur, r.pos = f, 0
	}
	n, err := io.CopyN(io.Discard, r.cur, off-r.pos)
	r.pos += n
	if err != nil {
		return 0, err
	}
	m, err := io.ReadFull(r.cur, p)
	r.pos += int64(m)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return m, err
}

func (r *rereader) close() {
	if r.cur != nil {
		r.cur.Close()
		r.cur = nil
	}
}
