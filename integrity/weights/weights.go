package weights

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/tensorfile"
	"github.com/prerun/prerun/internal/walk"
)

// A Scanner reads the weights of models. The zero value is ready to use; a
// scanner is safe for concurrent use.
type Scanner struct {
	Workers  int     // 0 means GOMAXPROCS; results do not depend on it
	OutlierZ float64 // robust z-score of an outlier row's length; 0 means 8
	MaxRows  int64   // rows of one tensor that row tests keep in memory; 0 means 16 Mi, beyond is a gap
	MaxRow   int64   // elements of one row that row tests keep in memory; 0 means 1 Mi, beyond is a gap
}

func (s Scanner) withDefaults() Scanner {
	if s.Workers <= 0 {
		s.Workers = runtime.GOMAXPROCS(0)
	}
	if s.OutlierZ <= 0 {
		s.OutlierZ = 8
	}
	if s.MaxRows <= 0 {
		s.MaxRows = 16 << 20
	}
	if s.MaxRow <= 0 {
		s.MaxRow = 1 << 20
	}
	return s
}

// A Tensor is what one pass over a tensor found. Min, Max, Mean and Std are
// over the finite elements and zero without any. Row counts are zero for
// tensors that row tests skip: integers, scales, vectors, and rows of fewer than
// 16 elements, which are equal by chance.
type Tensor struct {
	File      string  `json:"file"`
	Name      string  `json:"name"`
	DType     string  `json:"dtype"`
	Shape     []int64 `json:"shape"`
	Elements  int64   `json:"elements"`
	NaN       int64   `json:"nan"`
	PosInf    int64   `json:"pos_inf"`
	NegInf    int64   `json:"neg_inf"`
	Zero      int64   `json:"zero"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
	Mean      float64 `json:"mean"`
	Std       float64 `json:"std"`
	ZeroRows  int64   `json:"zero_rows"`
	EqualRows int64   `json:"equal_rows"` // rows that are equal to an earlier one, zeros aside
	LongRows  int64   `json:"long_rows"`  // outliers of length
}

// A Result is what a scan found. It is a [prerun.Source].
type Result struct {
	Tensors []Tensor // by file, then position in the file
	Others  []string // files of other tensor formats, by path: not looked into

	subjects []prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// Subjects ranges over the safetensors files, by path. Their digests are not
// computed here.
func (r *Result) Subjects() iter.Seq[prerun.Subject] { return r.source().Subjects() }

// Findings ranges over what was found, by path and position.
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.source().Findings() }

// Gaps ranges over what could not be checked, by path. A result without any
// safetensors file has one.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.source().Gaps() }

func (r *Result) source() prerun.Source {
	if r == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return prerun.NewSource(r.subjects, r.findings, r.gaps)
}

// Scan reads all safetensors files below the root of fsys, found by content or
// by the ending of their name. Links are not followed. A file that cannot be
// read is a gap; the error is that of the context or of the listing.
func (s Scanner) Scan(ctx context.Context, fsys fs.FS) (*Result, error) {
	s = s.withDefaults()
	m, err := openTree(ctx, fsys)
	if err != nil {
		return nil, err
	}
	defer m.close()
	r := &Result{Others: m.others, subjects: m.subjects, gaps: m.gaps}
	return r, s.scan(ctx, m, r)
}

// ScanFile reads one safetensors file of that size. Name is used in reports
// only.
func (s Scanner) ScanFile(ctx context.Context, name string, file io.ReaderAt, size int64) (*Result, error) {
	s = s.withDefaults()
	m := &model{}
	m.add(name, file, size)
	r := &Result{subjects: m.subjects, gaps: m.gaps}
	return r, s.scan(ctx, m, r)
}

func (s Scanner) scan(ctx context.Context, m *model, r *Result) error {
	out := make([]tensorResult, len(m.tensors))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.Workers)
	for i := range m.tensors {
		g.Go(func() error {
			out[i] = s.scanTensor(gctx, &m.tensors[i])
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range out {
		r.Tensors = append(r.Tensors, out[i].Tensor)
		r.findings = append(r.findings, out[i].findings...)
		r.gaps = append(r.gaps, out[i].gaps...)
	}
	return nil
}

// A model is the safetensors files of one tree, opened.
type model struct {
	tensors  []stored
	others   []string
	subjects []prerun.Subject
	gaps     []prerun.Gap
	files    []fs.File
}

// A stored tensor knows where its bytes are.
type stored struct {
	tensorfile.Tensor
	path string // of the file, escaped
	r    io.ReaderAt
}

// otherFormats are endings of files that hold weights in another format.
var otherFormats = []string{
	".bin", ".ckpt", ".gguf", ".h5", ".hdf5", ".joblib", ".keras", ".mlmodel", ".msgpack", ".npy", ".npz",
	".onnx", ".pb", ".pdparams", ".pickle", ".pkl", ".pt", ".pth", ".tflite",
}

func openTree(ctx context.Context, fsys fs.FS) (*model, error) {
	entries, err := walk.Files(ctx, fsys, nil)
	if err != nil {
		return nil, err
	}
	m := &model{}
	for _, e := range entries {
		named := strings.EqualFold(path.Ext(e.Path), ".safetensors")
		switch {
		case e.Kind == walk.Regular:
			m.open(fsys, e.Path, named)
		case e.Kind != walk.Dir && named:
			m.gap(prerun.Location{Path: prerun.EscapePath(e.Path)}, "a "+e.Kind.String()+" is not read")
		}
	}
	return m, nil
}

// open takes a file in when it is a safetensors file by name or content.
func (m *model) open(fsys fs.FS, name string, named bool) {
	f, err := fsys.Open(name)
	if err != nil {
		m.gap(prerun.Location{Path: prerun.EscapePath(name)}, fmt.Sprintf("cannot be opened: %v", cause(err)))
		return
	}
	file, ok := f.(io.ReaderAt)
	info, err := f.Stat()
	switch {
	case err == nil && ok && (named || looksLikeSafetensors(file, info.Size())):
		m.files = append(m.files, f)
		m.add(name, file, info.Size())
		return
	case named && err != nil:
		m.gap(prerun.Location{Path: prerun.EscapePath(name)}, fmt.Sprintf("has no size: %v", cause(err)))
	case named:
		m.gap(prerun.Location{Path: prerun.EscapePath(name)}, "cannot be read at random positions")
	case slices.Contains(otherFormats, strings.ToLower(path.Ext(name))):
		m.others = append(m.others, name)
	}
	_ = f.Close() // only read
}

// cause strips the path that fs errors repeat.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func looksLikeSafetensors(r io.ReaderAt, size int64) bool {
	var b [9]byte
	if size < int64(len(b)) {
		return false
	}
	if n, err := r.ReadAt(b[:], 0); n < len(b) || err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	n := binary.LittleEndian.Uint64(b[:8])
	return n > 1 && n <= uint64(size-8) && b[8] == '{'
}

// add parses a file's header. One that does not parse is a subject with a gap.
func (m *model) add(name string, file io.ReaderAt, size int64) {
	p := prerun.EscapePath(name)
	m.subjects = append(m.subjects, prerun.Subject{Path: p})
	st, err := tensorfile.ParseSafetensors(file, size)
	if err != nil {
		at := prerun.Location{Path: p}
		if e, ok := errors.AsType[*tensorfile.Error](err); ok {
			at.Offset = e.Offset
		}
		m.gap(at, err.Error())
		return
	}
	for i := range st.Tensors {
		m.tensors = append(m.tensors, stored{st.Tensors[i], p, file})
	}
}

func (m *model) gap(at prerun.Location, reason string) {
	m.gaps = append(m.gaps, prerun.Gap{Location: at, Reason: reason})
}

func (m *model) close() {
	for _, f := range m.files {
		_ = f.Close() // only read
	}
}

// byName maps names to tensors; names that several files hold are gaps.
func (m *model) byName() map[string]*stored {
	out := make(map[string]*stored, len(m.tensors))
	for i := range m.tensors {
		t := &m.tensors[i]
		if first, ok := out[t.Name]; ok {
			m.gap(t.location(), fmt.Sprintf("tensor %q is in %q as well; the first one is compared", t.Name, first.path))
			continue
		}
		out[t.Name] = t
	}
	return out
}

func (t *stored) location() prerun.Location {
	return prerun.Location{Path: t.path, Offset: t.Offset, Length: t.Length, Fragment: "tensor=" + prerun.EscapePath(t.Name)}
}

// element is the location of n elements from one on; row adds the row's number.
func (t *stored) element(first, n int64) prerun.Location {
	at := t.location()
	size := t.DType.Bits() / 8
	at.Offset, at.Length = t.Offset+first*size, n*size
	return at
}

func (t *stored) row(row, cols int64) prerun.Location {
	at := t.element(row*cols, cols)
	at.Fragment += fmt.Sprintf(",row=%d", row)
	return at
}

func (t *stored) finding(rule prerun.Rule, confidence prerun.Confidence, message string, evidence map[string]string, at ...prerun.Location) prerun.Finding {
	if len(at) == 0 {
		at = []prerun.Location{t.location()}
	}
	return prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: confidence,
		Subject: prerun.Subject{Path: t.path}, Locations: at,
		Message: message, Evidence: evidence, Key: prerun.EscapePath(t.Name),
	}
}

// maxListed is how many rows or elements a finding lists.
const maxListed = 20

// listed writes the first of total numbers.
func listed(first []int64, total int64) string {
	first = first[:min(len(first), maxListed)]
	s := strings.Trim(fmt.Sprint(first), "[]")
	if total > int64(len(first)) {
		s += " …"
	}
	return s
}

func (t *stored) rows(rows []int64, cols int64) []prerun.Location {
	var at []prerun.Location
	for _, r := range rows[:min(len(rows), maxListed)] {
		at = append(at, t.row(r, cols))
	}
	return at
}

func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func compareStored(a, b *stored) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Name, b.Name))
}
