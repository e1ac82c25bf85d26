package integrity

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/blake2b"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/blake3tree"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/sha256mb"
)

// The algorithms of the format, as manifests write them.
const (
	SHA256  = "sha256"  // the default, and the only one that every tool knows
	BLAKE2b = "blake2b" // of 512 bits
	BLAKE3  = "blake3"  // the fastest: one file is hashed on all cores
)

// DefaultShardSize is the shard size of the Python tool.
const DefaultShardSize = 1_000_000_000

// MaxResources bounds the resources of one manifest.
const MaxResources = limits.MaxTreeFiles

// An algorithm of the format.
type algorithm struct {
	size  int
	make  func() hash.Hash
	lanes func() int // streams that one core hashes at once
	part  int64      // of a resource, that can be hashed on its own; 0 is none
}

var algorithms = map[string]algorithm{
	SHA256:  {sha256.Size, func() hash.Hash { return sha256mb.New() }, sha256mb.Lanes, 0},
	BLAKE2b: {blake2b.Size, newBLAKE2b, oneLane, 0},
	BLAKE3:  {blake3tree.Size, func() hash.Hash { return blake3tree.New() }, oneLane, partSize},
}

func newBLAKE2b() hash.Hash {
	h, _ := blake2b.New512(nil) // the error is for keys that are too long
	return h
}

func oneLane() int { return 1 }

// Parameters say how a manifest was made. They are recorded in the signature,
// and a verifier follows them.
type Parameters struct {
	Algorithm     string   // of each resource: SHA256, BLAKE2b or BLAKE3
	ShardSize     int64    // in bytes; 0 means that each file is one resource
	AllowSymlinks bool     // links stand for the file that they lead to
	Ignore        []string // paths left out, each with what lies below
}

// Method is the format's word for the parameters: "files" or "shards".
func (p Parameters) Method() string {
	if p.ShardSize > 0 {
		return "shards"
	}
	return "files"
}

// A Resource is a file of a model, or a range of one, and its digest.
type Resource struct {
	Path   string // relative to the model, slash-separated
	Start  int64  // of a shard: its first byte
	End    int64  // of a shard: the byte after its last; 0 means the whole file
	Digest digest.Digest
}

// Name is how the format writes the resource: PATH or PATH:START:END.
func (r Resource) Name() string {
	if r.End == 0 {
		return r.Path
	}
	return joinShard(r.Path, r.Start, r.End)
}

// A Manifest lists what a model consists of. A [Hasher] makes one from files;
// one may also be filled with digests that are known from elsewhere, sorted
// with [Manifest.Sort] and signed.
type Manifest struct {
	Parameters
	Resources  []Resource // the order that the root digest follows
	SingleFile bool       // the model is one file, not a folder holding it

	// Uncovered are paths that a [Hasher] met and that no resource stands for:
	// empty files when hashing by shards, and links to folders. It is not
	// recorded in a signature.
	Uncovered []string
}

// Root is the root digest: SHA-256 over the raw digests of all resources in
// listed order, whatever their algorithm. It is "" when a digest is malformed.
// See the package comment for what it does not commit to.
func (m *Manifest) Root() digest.Digest { return rootOf(m.Resources) }

// PythonRoot is the root digest in the order of the Python tool, which sorts
// paths by component and shards by number. It is what that tool's digest
// command prints; the bundle's own order decides in verification.
func (m *Manifest) PythonRoot() digest.Digest {
	sorted := slices.Clone(m.Resources)
	slices.SortFunc(sorted, pythonOrder)
	return rootOf(sorted)
}

func rootOf(resources []Resource) digest.Digest {
	h := sha256.New()
	var raw []byte
	for _, r := range resources {
		var err error
		if raw, err = hex.AppendDecode(raw[:0], []byte(digestx.Hex(r.Digest))); err != nil || len(raw) == 0 {
			return ""
		}
		h.Write(raw)
	}
	return digestx.FromSHA256(h.Sum(nil))
}

// Sort puts the resources in the order of the specification: by the code
// points of their names. The name of a shard counts as text there, so f:16:24
// comes before f:8:16.
func (m *Manifest) Sort() {
	if m.ShardSize == 0 {
		slices.SortStableFunc(m.Resources, func(a, b Resource) int { return strings.Compare(a.Path, b.Path) })
		return
	}
	type named struct {
		name string
		Resource
	}
	all := make([]named, len(m.Resources)) // one name each, not one for each comparison
	for i, r := range m.Resources {
		all[i] = named{r.Name(), r}
	}
	slices.SortStableFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for i := range all {
		m.Resources[i] = all[i].Resource
	}
}

// pythonOrder compares paths component by component, then shards by number.
func pythonOrder(a, b Resource) int {
	return cmp.Or(comparePaths(a.Path, b.Path), cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
}

func comparePaths(a, b string) int {
	rank := func(c byte) int {
		if c == '/' {
			return -1 // a component ends before any longer one goes on
		}
		return int(c)
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return cmp.Compare(rank(a[i]), rank(b[i]))
		}
	}
	return cmp.Compare(len(a), len(b))
}

// Files ranges over the paths of the model in listed order, each with the
// digest of the whole file. The digest is "" where only shards of it are known.
func (m *Manifest) Files() iter.Seq2[string, digest.Digest] {
	return func(yield func(string, digest.Digest) bool) {
		shards := make(map[string]int)
		if m.ShardSize > 0 {
			for _, r := range m.Resources {
				shards[r.Path]++
			}
		}
		for _, r := range m.Resources {
			n := shards[r.Path]
			switch {
			case n == 0 || n == 1: // a lone shard is the whole file
				if !yield(r.Path, r.Digest) {
					return
				}
			case r.Start == 0:
				if !yield(r.Path, "") {
					return
				}
			}
		}
	}
}

// Findings ranges over what a signer should know of the names before signing,
// and every verification reports: those that differ in case only, of which some
// file systems keep one. They are no error, and come by folded name.
func (m *Manifest) Findings() iter.Seq[prerun.Finding] {
	return func(yield func(prerun.Finding) bool) {
		type folded struct{ lower, name string }
		var names []folded
		for name := range m.Files() {
			names = append(names, folded{strings.ToLower(name), name})
		}
		slices.SortStableFunc(names, func(a, b folded) int { return strings.Compare(a.lower, b.lower) })
		first := 0 // of those that are equal
		for i := 1; i < len(names); i++ {
			if names[i].lower != names[first].lower {
				first = i
				continue
			}
			message := fmt.Sprintf("the name differs from %q in case only", names[first].name)
			if !yield(newFinding(ruleCase, names[i].name, "", message, nil)) {
				return
			}
		}
	}
}

// Check returns an error of kind [ErrManifest] when the manifest contradicts
// itself or could not describe a model: no resource, or too many; a digest that
// does not fit the algorithm; a path that is not clean, relative and unique;
// shards that overlap, leave a gap or have another size than stated.
func (m *Manifest) Check() error {
	if m == nil {
		return newError(ErrManifest, "", "no manifest was given")
	}
	alg, ok := algorithms[m.Algorithm]
	switch {
	case !ok:
		return newError(ErrManifest, "", "unknown algorithm %q", m.Algorithm)
	case m.ShardSize < 0:
		return newError(ErrManifest, "", "shard size %d", m.ShardSize)
	case len(m.Resources) == 0:
		return newError(ErrManifest, "", "no resources")
	case len(m.Resources) > MaxResources:
		return newError(ErrManifest, "", "%d resources, the limit is %d", len(m.Resources), MaxResources)
	}
	if _, err := newIgnoreList(m.Ignore); err != nil {
		return &Error{Kind: ErrManifest, Err: err}
	}
	for _, r := range m.Resources {
		if err := m.checkResource(r, alg.size); err != nil {
			return err
		}
	}
	return m.checkRanges()
}

func (m *Manifest) checkResource(r Resource, size int) error {
	if r.Path != selfName || !m.SingleFile {
		if err := checkPath(r.Path); err != nil {
			return &Error{Kind: ErrManifest, Path: r.Name(), Err: err}
		}
	}
	if got := digestx.Algorithm(r.Digest); got != m.Algorithm {
		return newError(ErrManifest, r.Name(), "digest by %q in a manifest by %q", got, m.Algorithm)
	}
	if text := digestx.Hex(r.Digest); !isHex(text, size) {
		return newError(ErrManifest, r.Name(), "digest %q is not %d bytes of lower-case hexadecimal", text, size)
	}
	return nil
}

// isHex reports whether text is size bytes of lower-case hexadecimal.
func isHex(text string, size int) bool {
	return len(text) == hex.EncodedLen(size) && strings.Trim(text, "0123456789abcdef") == ""
}

// checkRanges looks at the resources of each path together.
func (m *Manifest) checkRanges() error {
	sorted := slices.Clone(m.Resources)
	slices.SortFunc(sorted, pythonOrder)
	if m.SingleFile && sorted[0].Path != sorted[len(sorted)-1].Path {
		return newError(ErrManifest, "", "several files in a single-file model")
	}
	var prev Resource
	for _, r := range sorted {
		if m.ShardSize == 0 {
			if r.Start != 0 || r.End != 0 {
				return newError(ErrManifest, r.Name(), "a range where whole files are listed")
			}
			if r.Path == prev.Path {
				return newError(ErrManifest, r.Path, "listed twice")
			}
			prev = r
			continue
		}
		if err := m.checkShard(prev, r); err != nil {
			return err
		}
		prev = r
	}
	return nil
}

func (m *Manifest) checkShard(prev, r Resource) error {
	if r.End <= r.Start {
		return newError(ErrManifest, r.Name(), "not a range, where ranges are listed")
	}
	if r.End-r.Start > m.ShardSize {
		return newError(ErrManifest, r.Name(), "%d bytes in shards of %d", r.End-r.Start, m.ShardSize)
	}
	if r.Path != prev.Path {
		if r.Start != 0 {
			return newError(ErrManifest, r.Name(), "the file's shards do not start at 0")
		}
		return nil
	}
	switch {
	case r.Start == prev.Start && r.End == prev.End:
		return newError(ErrManifest, r.Name(), "listed twice")
	case r.Start < prev.End:
		return newError(ErrManifest, r.Name(), "overlaps the shard that ends at %d", prev.End)
	case r.Start > prev.End:
		return newError(ErrManifest, r.Name(), "a gap after the shard that ends at %d", prev.End)
	case prev.End-prev.Start != m.ShardSize:
		return newError(ErrManifest, prev.Name(), "%d bytes, and not the file's last shard", prev.End-prev.Start)
	}
	return nil
}
