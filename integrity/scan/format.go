package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/prerun/prerun"
)

// A Format recognises one kind of content and reads it. It is the extension
// point of this package. Implementations are used by several goroutines at
// once and keep no state between calls.
type Format interface {
	// Info describes the format. It returns the same value every time.
	Info() Info

	// Match says from the edges of an artefact whether Scan should run.
	Match(p Probe) Match

	// Scan reads the artefact and tells out what it finds. It must return an
	// error wrapping [ErrNotFormat] when the content turns out to be something
	// else, in which case all it told out is dropped; an error wrapping
	// [ErrBudget] when a read or [Artifact.Spend] returned one; any other error
	// means that the artefact is of this format and could not be read on, and
	// becomes a gap. It starts no goroutine that outlives the call and keeps
	// neither a nor out.
	Scan(ctx context.Context, a *Artifact, out *Sink) error
}

// Info describes a [Format].
type Info struct {
	ID string // lower case, such as "safetensors"; stands in FileResult.Formats

	// Extensions are the lower-case endings, with the dot, of files that
	// loaders open as this format. A file with one of them that no format
	// recognises is a gap.
	Extensions []string

	// Within names broader formats that describe the same bytes: a NumPy
	// archive lies within zip. Two formats that recognise one file and are not
	// related this way make it a polyglot. "*" stands for all: the format is
	// recognised by its place, and its bytes may be anything.
	Within []string

	// Operators are the kinds of operators that Scan tells of by
	// [Sink.Operator], such as "onnx"; nil when it does not.
	Operators []string

	Rules []prerun.Rule // every rule that Scan can emit
}

// A Match is how sure [Format.Match] is.
type Match uint8

// Matches. Maybe and Certain both run the format; they differ in what an
// [ErrNotFormat] from a file with the format's own magic number would mean:
// after Certain it is a gap, after Maybe it is nothing.
const (
	No Match = iota
	Maybe
	Certain
)

// ErrNotFormat is wrapped by errors of [Format.Scan] for content that is not of
// that format after all.
var ErrNotFormat = errors.New("not of this format")

// ProbeSize is how much of either end of an artefact a [Probe] holds.
const ProbeSize = 4096

// A Probe is what recognition may look at. Slices must not be changed.
type Probe struct {
	Path string // nested path for reports, see prerun.NestPath
	Name string // raw name in Tree, slash-separated
	Size int64
	Head []byte // the first ProbeSize bytes, or all
	Tail []byte // the last ProbeSize bytes, or all
	Tree *Tree  // the names around it; nil when there are none
}

// Base is the last element of the name.
func (p Probe) Base() string { return path.Base(p.Name) }

// Ext is the lower-case extension of the name with its dot, or "".
func (p Probe) Ext() string { return strings.ToLower(path.Ext(p.Base())) }

// Starts reports whether the content starts with that magic number.
func (p Probe) Starts(magic string) bool { return bytes.HasPrefix(p.Head, []byte(magic)) }

// holds reports whether either end holds that text.
func (p Probe) holds(text string) bool {
	return bytes.Contains(p.Head, []byte(text)) || bytes.Contains(p.Tail, []byte(text))
}

// An Artifact is one file, or one thing inside a file, as a format reads it.
// Reads are charged to the budget that the whole file shares.
type Artifact struct {
	Probe
	r   io.ReaderAt
	run *run
	lvl int // levels of nesting above it

	zip *zipRead // once a format read it as one

	tentative bool // a range that merely starts like something
	dormant   bool // not reached by loading
}

// ReadAt implements [io.ReaderAt] within the artefact's size. Once the budget
// is spent it fails with a [*BudgetError].
func (a *Artifact) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= a.Size {
		return 0, io.EOF
	}
	short := int64(len(p)) > a.Size-off
	if short {
		p = p[:a.Size-off]
	}
	if err := a.run.spend(Bytes, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := a.r.ReadAt(p, off)
	switch {
	case n == len(p) && short:
		return n, io.EOF
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF // the size was a lie
	}
	return n, err
}

// Section is a reader of n bytes from off, cut at the end of the artefact.
func (a *Artifact) Section(off, n int64) *io.SectionReader {
	off = min(max(off, 0), a.Size)
	return io.NewSectionReader(a, off, min(max(n, 0), a.Size-off))
}

// Bytes reads exactly n bytes from off. It allocates no more than the artefact
// holds there.
func (a *Artifact) Bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > a.Size || n > a.Size-off {
		return nil, io.ErrUnexpectedEOF
	}
	if n > a.run.lim.Memory {
		return nil, a.run.exhausted(Memory)
	}
	buf := make([]byte, n)
	if n == 0 {
		return buf, nil
	}
	_, err := a.ReadAt(buf, off)
	return buf, err
}

// small reads all of an artefact that is small where it is what it seems.
func (a *Artifact) small(out *Sink, what string) ([]byte, error) {
	return a.atMost(maxConfig, out, what)
}

// atMost reads all of an artefact of at most so many bytes. It returns nil with
// an error, and for a larger one, which is a gap.
func (a *Artifact) atMost(most int64, out *Sink, what string) ([]byte, error) {
	if a.Size > most {
		out.Gap(fmt.Sprintf("%s of %d bytes; %d are read", what, a.Size, most), 0, 0)
		return nil, nil
	}
	data, err := a.peek(0, a.Size)
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Spend takes n of a resource from the budget of the whole file and fails with
// a [*BudgetError] when there is not as much left.
func (a *Artifact) Spend(r Resource, n int64) error { return a.run.spend(r, n) }

// Left is how much of a resource the whole file may still use.
func (a *Artifact) Left(r Resource) int64 { return a.run.left(r) }
