package provenance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"

	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/walk"
)

// MaxEvidence bounds one piece of evidence, in bytes: a statement of
// [MaxStatement] in base64, its signature and its certificates.
const MaxEvidence = 32 << 20

// Evidence is one document that may hold an attestation: a Sigstore bundle, a
// DSSE envelope, or a bare statement, which proves nothing but may claim a
// parent. None of it is trusted, its name included.
type Evidence struct {
	Name string // shown in reports: slash-separated, relative, never a path of the host
	Line int    // of a file with one document per line, from 1; 0 where it is the whole file
	Data []byte // JSON
}

// An EvidenceSource offers evidence. The order does not matter to a
// [Verifier].
//
// An error that comes with a named Evidence says that this document could not
// be read, and the sequence may go on; an error without a name says that the
// source failed and ends the verification. The sequence must end early when
// asked to, and should end when ctx is done. It may keep Data; nobody changes
// it.
type EvidenceSource interface {
	Attestations(ctx context.Context) iter.Seq2[Evidence, error]
}

// A ClaimSource is an [EvidenceSource] that also knows of parents nobody
// signed for: from a model card, from metadata in a file, or from a comparison
// of bytes. An error ends the verification. Claims draw edges; they never meet
// a requirement.
type ClaimSource interface {
	EvidenceSource
	Claims(ctx context.Context) iter.Seq2[Claim, error]
}

// A Claim says without a signature that Child was made from Parent.
type Claim struct {
	Child, Parent Descriptor
	Observed      bool   // found in the bytes, not merely written down
	Source        string // who says so: "README.md base_model"
}

// Memory is a source of documents in hand.
func Memory(documents ...Evidence) EvidenceSource { return memory(slices.Clone(documents)) }

type memory []Evidence

func (m memory) Attestations(context.Context) iter.Seq2[Evidence, error] {
	return func(yield func(Evidence, error) bool) {
		for _, e := range m {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Sources joins several sources into one, which is a [ClaimSource].
type Sources []EvidenceSource

// Attestations yields what each source yields, in order.
func (s Sources) Attestations(ctx context.Context) iter.Seq2[Evidence, error] {
	return func(yield func(Evidence, error) bool) {
		for _, src := range s {
			for e, err := range src.Attestations(ctx) {
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// Claims yields what each source that is a [ClaimSource] yields, in order.
func (s Sources) Claims(ctx context.Context) iter.Seq2[Claim, error] {
	return func(yield func(Claim, error) bool) {
		for _, src := range s {
			claims, ok := src.(ClaimSource)
			if !ok {
				continue
			}
			for c, err := range claims.Claims(ctx) {
				if !yield(c, err) {
					return
				}
			}
		}
	}
}

// Dir is the evidence in a tree: files whose name ends in .json or .sigstore,
// such as model.sigstore.json, hold one document; files whose name ends in
// .jsonl, such as model.intoto.jsonl, hold one on each line. Other files are
// not read. Links are not followed; one that has such a name is reported as
// unreadable.
func Dir(fsys fs.FS) EvidenceSource { return dir{fsys} }

type dir struct{ fsys fs.FS }

func (d dir) Attestations(ctx context.Context) iter.Seq2[Evidence, error] {
	return func(yield func(Evidence, error) bool) {
		entries, err := walk.Files(ctx, d.fsys, nil)
		if err != nil {
			yield(Evidence{}, fmt.Errorf("evidence: %w", err))
			return
		}
		for _, e := range entries {
			ext := path.Ext(e.Path)
			if e.Kind == walk.Dir || ext != ".json" && ext != ".jsonl" && ext != ".sigstore" {
				continue
			}
			if ctx.Err() != nil {
				return // the verifier asks the context, not us
			}
			if e.Kind != walk.Regular {
				if !yield(Evidence{Name: e.Path}, fmt.Errorf("%q is a %s", e.Path, e.Kind)) {
					return
				}
				continue
			}
			read := readWhole
			if ext == ".jsonl" {
				read = readLines
			}
			if !read(d.fsys, e.Path, yield) {
				return
			}
		}
	}
}

func readWhole(fsys fs.FS, name string, yield func(Evidence, error) bool) (more bool) {
	data, err := limits.ReadFile(fsys, name, MaxEvidence)
	return yield(Evidence{Name: name, Data: data}, err)
}

// readLines yields each line that is not blank. A line beyond [MaxEvidence]
// ends the file with an error: what follows it was not read.
func readLines(fsys fs.FS, name string, yield func(Evidence, error) bool) (more bool) {
	f, err := fsys.Open(name)
	if err != nil {
		return yield(Evidence{Name: name}, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, MaxEvidence)
	line := 0
	for lines.Scan() {
		line++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if !yield(Evidence{name, line, bytes.Clone(lines.Bytes())}, nil) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		return yield(Evidence{Name: name, Line: line + 1}, fmt.Errorf("%q: line %d: %w", name, line+1, err))
	}
	return true
}
