package datasec

import (
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
)

// A Result is what a scan found. It implements [prerun.Source]; its zero value
// is one that looked at nothing. It is safe for concurrent use.
type Result struct {
	files    []fileInfo
	rows     int64
	root     digest.Digest
	findings []prerun.Finding
	gaps     []prerun.Gap
	figures  []Figures
	source   prerun.Source
}

var _ prerun.Source = (*Result)(nil)

func newResult(first *passResult) *Result {
	r := &Result{files: first.files}
	complete := len(r.files) > 0
	for _, f := range r.files {
		r.rows += f.rows
		r.gaps = append(r.gaps, f.gaps...)
		complete = complete && len(f.gaps) == 0
	}
	if complete {
		r.root = first.root.root()
	}
	return r
}

// compare checks that a later pass read what the first one did. Without that,
// detectors of several passes would speak of rows that are not there.
func (r *Result) compare(again *passResult, pass int) {
	for i, f := range again.files {
		first := &r.files[i]
		if f.digest == first.digest && f.rows == first.rows && f.broken == first.broken {
			continue
		}
		r.root = ""
		r.gaps = append(r.gaps, prerun.Gap{
			Location: prerun.Location{Path: f.path},
			Reason:   fmt.Sprintf("changed during the scan: pass %d read other content than pass 1", pass),
		})
	}
}

func (r *Result) add(rep Report) {
	r.findings = append(r.findings, rep.Findings...)
	r.gaps = append(r.gaps, rep.Gaps...)
	r.figures = append(r.figures, rep.Figures...)
}

// seal fills subjects and order.
func (r *Result) seal() {
	sortFiles(r.files)
	digests := make(map[string]string)
	var subjects []prerun.Subject
	if r.root != "" {
		subjects = append(subjects, prerun.Subject{Path: ".", Digest: string(r.root)})
		digests["."] = string(r.root)
	}
	for _, f := range r.files {
		subjects = append(subjects, prerun.Subject{Path: f.path, Digest: string(f.digest)})
		digests[f.path] = string(f.digest)
	}
	for i := range r.findings {
		f := &r.findings[i]
		if f.Subject.Path == "" {
			f.Subject.Path = f.Path()
		}
		if f.Subject.Digest == "" {
			f.Subject.Digest = digests[f.Subject.Path]
		}
	}
	r.source = prerun.NewSource(subjects, r.findings, r.gaps)
}

// Subjects yields the data set as a whole, with path "." and its [Result.Root],
// unless rows are missing, and then each file with the digest of its bytes.
func (r *Result) Subjects() iter.Seq[prerun.Subject] { return r.spoken().Subjects() }

// Findings yields what was found in the order of [prerun.Sort].
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.spoken().Findings() }

// Gaps yields the files and rows that could not be read and what detectors
// could not decide, by location.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.spoken().Gaps() }

func (r *Result) spoken() prerun.Source {
	if r == nil || r.source == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return r.source
}

// Root identifies the rows of the data set, whatever files they stand in and
// in whatever order; see [Manifest]. It is "" when a row or file could not be
// read.
func (r *Result) Root() digest.Digest { return r.root }

// Rows is how many rows were read.
func (r *Result) Rows() int64 { return r.rows }

// Figures are what the detectors measured, in the order of the detectors.
func (r *Result) Figures() []Figures { return slices.Clone(r.figures) }
