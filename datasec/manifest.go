package datasec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

const manifestSchema = "prerun/dataset-manifest/v1"

// A Manifest says which rows a data set consists of, and in which files they
// stood. Root identifies the rows: it is the same for a copy that is cut into
// other files or ordered otherwise, as long as field names and values are the
// same. It is the SHA-256 of "prerun data set root v1\n", the number of rows as
// a big-endian number of eight bytes, and 1024 sums modulo 2^32, little-endian:
// of the first 4096 bytes that AES-256 in counter mode, from a counter of zero,
// makes of each row's [Record.Digest] as its key.
type Manifest struct {
	Root  digest.Digest
	Rows  int64
	Files []ManifestFile // by ascending path
}

// A ManifestFile is one file of a data set as it stood.
type ManifestFile struct {
	Path   string
	Digest digest.Digest // of the stored bytes, compressed ones as they are
	Rows   int64
}

// Errors about manifests.
var (
	// ErrManifest: the bytes are not a manifest.
	ErrManifest = errors.New("not a data set manifest")
	// ErrIncomplete: rows are missing from the result, so it identifies nothing.
	ErrIncomplete = errors.New("data set was not read completely")
)

type manifestJSON struct {
	Schema string             `json:"schema,required"`
	Root   string             `json:"root,required"`
	Rows   int64              `json:"rows,required"`
	Files  []manifestFileJSON `json:"files,required"`
}

type manifestFileJSON struct {
	Path   string `json:"path,required"`
	Digest string `json:"digest,required"`
	Rows   int64  `json:"rows,required"`
}

// Encode writes the manifest as JSON, the same bytes for the same manifest.
func (m *Manifest) Encode() []byte {
	// The tags of manifestJSON are those of the strict decoder; encoding/json
	// would read "required" as an option it does not know, and ignore it.
	out := manifestJSON{manifestSchema, string(m.Root), m.Rows, []manifestFileJSON{}}
	for _, f := range m.Files {
		out.Files = append(out.Files, manifestFileJSON{f.Path, string(f.Digest), f.Rows})
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		panic(err) // strings and integers always encode
	}
	return buf.Bytes()
}

// ParseManifest reads what [Manifest.Encode] writes. Unknown and duplicate
// names, malformed digests, unsorted or repeated paths are errors that wrap
// [ErrManifest].
func ParseManifest(data []byte) (*Manifest, error) {
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: limits.MaxBundle})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	var in manifestJSON
	if _, err := strictjson.Decode(v, &in, strictjson.Options{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if in.Schema != manifestSchema {
		return nil, fmt.Errorf("%w: schema %q, want %q", ErrManifest, in.Schema, manifestSchema)
	}
	m := &Manifest{Rows: in.Rows}
	if m.Root, err = digestx.Parse(in.Root); err != nil {
		return nil, fmt.Errorf("%w: root: %w", ErrManifest, err)
	}
	rows := int64(0)
	for i, f := range in.Files {
		d, err := digestx.Parse(f.Digest)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: file %q: %w", ErrManifest, f.Path, err)
		case f.Path == "" || prerun.EscapePath(f.Path) != f.Path && !strings.Contains(f.Path, "%"):
			return nil, fmt.Errorf("%w: path %q", ErrManifest, f.Path)
		case i > 0 && in.Files[i-1].Path >= f.Path:
			return nil, fmt.Errorf("%w: path %q is out of order", ErrManifest, f.Path)
		case f.Rows < 0 || f.Rows > in.Rows-rows:
			return nil, fmt.Errorf("%w: file %q: rows do not add up to %d", ErrManifest, f.Path, in.Rows)
		}
		rows += f.Rows
		m.Files = append(m.Files, ManifestFile{f.Path, d, f.Rows})
	}
	if rows != in.Rows {
		return nil, fmt.Errorf("%w: rows of files add up to %d, not %d", ErrManifest, rows, in.Rows)
	}
	return m, nil
}

// Manifest is the result as a baseline for later scans. It returns an error
// wrapping [ErrIncomplete] when a row or file could not be read.
func (r *Result) Manifest() (*Manifest, error) {
	if r == nil || r.root == "" {
		return nil, ErrIncomplete
	}
	m := &Manifest{Root: r.root, Rows: r.rows}
	for _, f := range r.files {
		if f.digest == "" {
			return nil, fmt.Errorf("%q: no digest: %w", f.path, ErrIncomplete)
		}
		m.Files = append(m.Files, ManifestFile{f.path, f.digest, f.rows})
	}
	return m, nil
}

// against compares what was read with a manifest. Equal rows in other files
// are worth a remark; other rows are a finding for each file that differs.
func (r *Result) against(m *Manifest) []prerun.Finding {
	var out []prerun.Finding
	add := func(path, key, message string, rule prerun.Rule) {
		out = append(out, prerun.Finding{
			Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceHigh,
			Locations: []prerun.Location{{Path: path}}, Key: key, Message: message,
			Evidence: map[string]string{"manifest_root": string(m.Root), "root": string(r.root)},
		})
	}
	want := make(map[string]ManifestFile, len(m.Files))
	for _, f := range m.Files {
		want[f.Path] = f
	}
	same := r.root == m.Root && r.root != ""
	rule := ruleMismatch
	if same {
		rule = ruleResharded
	}
	for _, f := range r.files {
		w, known := want[f.path]
		delete(want, f.path)
		switch {
		case !known:
			add(f.path, "extra", "the manifest does not list the file", rule)
		case f.digest == "": // a gap says why
		case f.digest != w.Digest:
			add(f.path, "modified", fmt.Sprintf("the file's digest is %s, the manifest says %s", f.digest, w.Digest), rule)
		}
	}
	for _, f := range m.Files {
		if _, missing := want[f.Path]; missing {
			add(f.Path, "missing", "the manifest lists the file, which is not among what was scanned", rule)
		}
	}
	if same && len(out) > 0 {
		out = out[:0]
		add(".", "resharded", "the rows are those of the manifest, in other files or another order", ruleResharded)
	}
	if !same && r.root != "" && len(out) == 0 {
		add(".", "root", fmt.Sprintf("the root is %s, the manifest says %s", r.root, m.Root), ruleMismatch)
	}
	return out
}

func sortFiles(files []fileInfo) {
	slices.SortFunc(files, func(a, b fileInfo) int { return strings.Compare(a.path, b.path) })
}
