package scan

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/walk"
)

// The cache of the Hugging Face hub keeps one folder for each repository, such
// as models--org--name:
//
//	blobs/<hash>                    content, once
//	refs/main                       the revision that a branch is at
//	snapshots/<revision>/<file>     a link to ../../blobs/<hash>
//
// A blob's name is the SHA-256 of its content when the hub keeps it as a large
// file, and git's SHA-1 otherwise. Blobs are scanned under the names that
// snapshots give them, because loaders and formats go by those.
var (
	ruleSnapshotLink = prerun.Rule{
		ID: "scan.tree.snapshot-link", Title: "snapshot link that leads to no blob", Severity: prerun.Medium,
		Help: "A link in a snapshot of a Hugging Face cache leads to something other than a blob of the same repository. The hub's client never makes such a link: whoever loads this file gets content of another repository, another revision or a file that is not under the hub's names. Delete the snapshot and download it again.",
		Refs: []prerun.Reference{refLink, refSupply},
	}
	ruleBlobMismatch = prerun.Rule{
		ID: "scan.tree.blob-mismatch", Title: "blob that is not what its name says", Severity: prerun.Medium,
		Help: "A blob of a Hugging Face cache is named by the hash of its content, and its content has another hash. It was changed after the download, or the download broke, and every snapshot that links to it loads the changed content. Delete the blob and download it again.",
		Refs: []prerun.Reference{cwe("CWE-345"), refSupply},
	}
)

// A hub is what is known about the repositories of a Hugging Face cache in a
// tree. The zero value knows none.
type hub struct {
	roots map[string]bool   // folders of repositories
	blobs map[string]*blob  // by path
	links map[string]string // links of snapshots that lead to blobs, and their blobs
}

// A blob is one file of a repository's blobs folder.
type blob struct {
	names []int // which results are its content under snapshots' names
	once  sync.Once
	sum   digest.Digest
	git   string
	err   error
}

// readHub finds repositories by their folders, and what the links of their
// snapshots lead to.
func (t *target) readHub(list []walk.Entry) {
	t.hub = hub{roots: make(map[string]bool), blobs: make(map[string]*blob), links: make(map[string]string)}
	for _, e := range list {
		root, ok := strings.CutSuffix("/"+e.Path, "/snapshots")
		root = path.Join(".", strings.TrimPrefix(root, "/"))
		if blobs, _ := t.tree.Lookup(path.Join(root, "blobs")); ok && e.Kind == walk.Dir && blobs.Mode.IsDir() {
			t.hub.roots[root] = true
		}
	}
	if len(t.hub.roots) == 0 {
		return
	}
	view := make([]Entry, len(list))
	for i, e := range list {
		view[i] = Entry{Name: e.Path, Size: e.Size, Mode: e.Info.Mode().Type()}
		switch e.Kind {
		case walk.Regular:
			if root, ok := t.hub.repository(e.Path, "blobs"); ok && path.Dir(e.Path) == path.Join(root, "blobs") {
				t.hub.blobs[e.Path] = &blob{}
			}
		case walk.Symlink:
			root, ok := t.hub.repository(e.Path, "snapshots")
			to, err := t.resolve(e.Path)
			if target, _ := t.tree.Lookup(to); ok && err == nil && path.Dir(to) == path.Join(root, "blobs") && target.Mode.IsRegular() {
				t.hub.links[e.Path] = to
				view[i].Size, view[i].Mode = target.Size, 0
			}
		}
	}
	t.view = NewTree(view) // in which accepted links are the files they stand for
}

// repository is the outermost repository that has the name within one of its
// folders.
func (h *hub) repository(name, folder string) (root string, ok bool) {
	for i := 0; ; {
		k := strings.Index("/"+name[i:], "/"+folder+"/")
		if k < 0 {
			return "", false
		}
		root = path.Join(".", name[:max(i+k-1, 0)])
		if h.roots[root] {
			return root, true
		}
		i += k + len(folder)
	}
}

// named tells the hub which results are blobs under their snapshots' names.
func (h *hub) named(names []walk.Entry) {
	for i, e := range names {
		if b := h.blobs[h.links[e.Path]]; b != nil {
			b.names = append(b.names, i)
		}
	}
}

// blob is the result of a blob that snapshots name: its content is scanned
// under those names, so that its own result is what they say, and whether it is
// what its name says.
func (t *target) blob(ctx context.Context, b *blob, name string, results []FileResult) FileResult {
	res := FileResult{Path: prerun.EscapePath(name), Completeness: Complete, Formats: []string{"blob"}}
	for _, i := range b.names {
		res.Size = results[i].Size
		res.worst = max(res.worst, results[i].worst)
		res.Completeness = worse(res.Completeness, results[i].Completeness)
	}
	res.Facts = map[string]string{"snapshot": results[b.names[0]].Path}
	if !t.scanner.NoDigests {
		f, err := t.fsys.Open(name)
		if err != nil {
			return t.gap(name, Failed, fmt.Sprintf("open: %v", err))
		}
		defer f.Close()
		t.digest(ctx, &res, name, b, &sequential{r: f}, res.Size)
	}
	res.conclude()
	return res
}

// A sequential reads a file forward only, as hashing does.
type sequential struct {
	r   io.Reader
	pos int64
}

func (s *sequential) ReadAt(p []byte, off int64) (int, error) {
	if off != s.pos {
		return 0, errors.New("read out of order")
	}
	n, err := io.ReadFull(s.r, p)
	s.pos += int64(n)
	return n, err
}

// blobAt is what stands at a real name, hub or not.
func (t *target) blobAt(real string) *blob {
	if b := t.hub.blobs[real]; b != nil {
		return b
	}
	return &blob{}
}

// hash hashes the content that stands at the real name, once for all names.
func (b *blob) hash(ctx context.Context, real string, r io.ReaderAt, size int64) {
	b.once.Do(func() {
		git := sha1.New()
		fmt.Fprintf(git, "blob %d\x00", size)
		also := []hash.Hash{git}
		if len(path.Base(real)) != hex.EncodedLen(sha1.Size) {
			also = nil
		}
		b.sum, b.err = hashOf(ctx, r, size, also...)
		b.git = hex.EncodeToString(git.Sum(nil))
	})
}

// digest gives a result the digest of its content, which stands at the real
// name, and compares a blob with its name.
func (t *target) digest(ctx context.Context, res *FileResult, real string, b *blob, r io.ReaderAt, size int64) {
	b.hash(ctx, real, r, size)
	if b.err != nil {
		res.Completeness = Failed
		res.Gaps = append(res.Gaps, prerun.Gap{Location: prerun.Location{Path: res.Path}, Reason: utf8Only(fmt.Sprintf("hash: %v", b.err))})
		return
	}
	res.Digest = b.sum
	if t.hub.blobs[real] == nil || prerun.EscapePath(real) != res.Path {
		return
	}
	base := path.Base(real)
	got := ""
	switch {
	case strings.Trim(base, "0123456789abcdef") != "":
	case len(base) == len(b.git):
		got = b.git
	case len(base) == len(digestx.Hex(b.sum)):
		got = digestx.Hex(b.sum)
	}
	if got != "" && got != base {
		res.attach(ruleBlobMismatch, fmt.Sprintf("the hash of its content starts with %s, its name with %s", got[:12], base[:12]))
	}
}

// attach adds a finding about a file as such.
func (f *FileResult) attach(rule prerun.Rule, message string) {
	f.Findings = append(f.Findings, prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    prerun.Subject{Path: f.Path},
		Locations:  []prerun.Location{{Path: f.Path}},
		Message:    message,
	})
	f.worst = max(f.worst, rank(rule.Severity))
}

// advice explains a link that cannot be followed because only a part of a cache
// was opened.
func (t *target) advice(name string) string {
	to, err := fs.ReadLink(t.fsys, name)
	if err != nil {
		return ""
	}
	up := strings.Count(to, "../")
	rest := strings.TrimPrefix(to, strings.Repeat("../", up))
	base, ok := strings.CutPrefix(rest, "blobs/")
	up -= strings.Count(name, "/")
	if !ok || up < 1 || len(base) != 40 && len(base) != 64 || strings.Trim(base, "0123456789abcdef") != "" {
		return ""
	}
	return fmt.Sprintf("; it is a link into the blobs of a Hugging Face cache: scan the folder of the repository, which is %s, instead of this one", strings.TrimSuffix(strings.Repeat("../", up), "/"))
}
