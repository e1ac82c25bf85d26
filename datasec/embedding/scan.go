package embedding

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/linalg"
)

// A Metric says which neighbours are near. It is an enumeration and no
// function so that similarities and distances cannot be confused.
type Metric uint8

// Metrics. Cosine is the zero value.
const (
	Cosine    Metric = iota // the angle
	Dot                     // the inner product
	Euclidean               // the distance
)

var metricNames = [...]string{"cosine", "dot", "euclidean"}

func (m Metric) String() string {
	if int(m) < len(metricNames) {
		return metricNames[m]
	}
	return fmt.Sprintf("metric(%d)", uint8(m))
}

// A Scanner looks for tampering in embedding vectors. The zero value runs every
// detector with the vectors themselves as queries. It is safe for concurrent
// use.
type Scanner struct {
	Queries    Matrix  // of the corpus's users, asked as well as the vectors themselves; nil means none
	Metric     Metric  // of the index that serves the vectors
	K          int     // neighbours of a query; 0 means 10, or less for tiny sets
	FDR        float64 // false discovery rate of the hub detectors; 0 means 0.02
	NormZ      float64 // robust z-score of an outlier's length; 0 means 8
	MaxBytes   int64   // of vectors in memory, four for each element; 0 means 2 GiB, beyond is a gap
	MaxQueries int     // queries beyond are sampled; 0 means 20000
	Workers    int     // 0 means GOMAXPROCS; results do not depend on it
	Seed       uint64  // of the sample of queries
}

func (s Scanner) withDefaults() Scanner {
	if s.K <= 0 {
		s.K = 10
	}
	if !(s.FDR > 0 && s.FDR < 1) {
		s.FDR = 0.02
	}
	if !(s.NormZ > 0) {
		s.NormZ = 8
	}
	if s.MaxBytes <= 0 {
		s.MaxBytes = 2 << 30
	}
	if s.MaxQueries <= 0 {
		s.MaxQueries = 20_000
	}
	if s.Workers <= 0 {
		s.Workers = runtime.GOMAXPROCS(0)
	}
	return s
}

// A Test is the figures of one detector.
type Test struct {
	Name    string  `json:"name"`    // "hits" or "reach"
	Over    string  `json:"over"`    // what was asked: "vectors" or "queries"
	N       int     `json:"n"`       // vectors judged
	Queries int     `json:"queries"` // asked
	K       int     `json:"k"`
	P       float64 `json:"p"`   // the smallest p-value
	Row     int     `json:"row"` // of the vector that has it
	Q       float64 `json:"q"`   // false discovery rate at which findings are made
	Found   int     `json:"found"`
}

// A Hub is one vector of those with the largest reach.
type Hub struct {
	Row         int     `json:"row"`
	Over        string  `json:"over"` // what was asked: "vectors" or "queries"
	ID          string  `json:"id,omitempty"`
	Hits        int     `json:"hits"`        // queries that have it among their neighbours
	Expected    float64 `json:"expected"`    // hits of an average vector
	Independent float64 `json:"independent"` // effective number of unrelated queries among them
	HitsP       float64 `json:"hits_p"`
	ReachP      float64 `json:"reach_p"`
}

// A Result is what a scan found. It is a [prerun.Source].
type Result struct {
	Name  string `json:"name"`
	Rows  int    `json:"rows"`
	Dim   int    `json:"dim"`
	Sound int    `json:"sound"` // rows that are finite vectors of that dimension other than zero

	MedianNorm float64 `json:"median_norm"` // of the sound ones
	Queries    int     `json:"queries"`     // that were asked, or vectors where there are none
	Tests      []Test  `json:"tests"`
	Hubs       []Hub   `json:"hubs"` // the ten of largest reach among the vectors, and among the queries, suspicious or not

	scanned  bool
	flagged  map[int]prerun.Severity // hubs by row
	subject  prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// Subjects is the scanned matrix.
func (r *Result) Subjects() iter.Seq[prerun.Subject] { return r.source().Subjects() }

// Findings ranges over what was found, by row.
func (r *Result) Findings() iter.Seq[prerun.Finding] { return r.source().Findings() }

// Gaps ranges over what could not be checked.
func (r *Result) Gaps() iter.Seq[prerun.Gap] { return r.source().Gaps() }

func (r *Result) source() prerun.Source {
	if r == nil || !r.scanned {
		return prerun.NewSource(nil, nil, nil)
	}
	return prerun.NewSource([]prerun.Subject{r.subject}, r.findings, r.gaps)
}

// Scan looks at the vectors of m, which reports call name. The error is that of
// the context or of a matrix; everything else that stops a check is a gap. The
// cost is that of queries × vectors × dimension multiplications.
func (s Scanner) Scan(ctx context.Context, name string, m Matrix) (*Result, error) {
	s = s.withDefaults()
	r := &Result{Name: name, Rows: m.Len(), Dim: m.Dim(), scanned: true, flagged: map[int]prerun.Severity{}}
	r.subject.Path = prerun.EscapePath(name)
	if d, ok := m.(Digested); ok {
		r.subject.Digest = d.Digest()
	}
	if s.Metric > Euclidean {
		r.gap(fmt.Sprintf("%s is not known", s.Metric))
		return r, nil
	}
	vectors, err := s.load(ctx, r, m)
	if err != nil || vectors == nil {
		return r.orErr(err)
	}
	r.hygiene(s, m, vectors)
	if err := s.hubs(ctx, r, m, vectors, nil); err != nil {
		return nil, err
	}
	if s.Queries == nil {
		return r, nil
	}
	queries, err := s.loadQueries(ctx, r)
	if err != nil || queries == nil {
		return r.orErr(err)
	}
	return r.orErr(s.hubs(ctx, r, m, vectors, queries))
}

func (r *Result) orErr(err error) (*Result, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Result) gap(reason string) {
	r.gaps = append(r.gaps, prerun.Gap{Location: prerun.Location{Path: r.subject.Path}, Reason: reason})
}

// A set is vectors in memory, those that can be compared with others.
type set struct {
	dim    int
	data   []float32     // as stored; with Cosine of length one
	rows   []int         // the number in the matrix of each
	norms  []float64     // as stored
	copies map[int][]int // rows that were left out, by the row that stands for them
	flawed flaws
}

func (v *set) len() int { return len(v.rows) }

func (v *set) row(i int) []float32 { return v.data[i*v.dim : (i+1)*v.dim] }

// flaws are the rows that cannot be compared, by what is wrong with them.
type flaws struct{ nan, inf, zero, ragged []int }

// blockRows are read and multiplied at once.
const blockRows = 128

// load reads all vectors and sorts out the flawed ones. It returns nil after a
// gap.
func (s Scanner) load(ctx context.Context, r *Result, m Matrix) (*set, error) {
	n, dim := m.Len(), m.Dim()
	switch {
	case n <= 0 || dim <= 0:
		r.gap("there are no vectors")
		return nil, nil
	case int64(n) > s.MaxBytes/4/int64(dim):
		r.gap(fmt.Sprintf("%d vectors of dimension %d take more memory than the limit of %d bytes", n, dim, s.MaxBytes))
		return nil, nil
	}
	v := &set{dim: dim, data: make([]float32, 0, n*dim), rows: make([]int, 0, n), norms: make([]float64, 0, n)}
	return v, v.read(ctx, m, func(yield func(first, count int) bool) {
		for at := 0; at < n; at += blockRows {
			if !yield(at, min(blockRows, n-at)) {
				return
			}
		}
	})
}

// read takes in the spans of rows that spans yields.
func (v *set) read(ctx context.Context, m Matrix, spans iter.Seq2[int, int]) error {
	ragged, _ := m.(Ragged)
	block := make([]float32, min(blockRows, m.Len())*v.dim)
	for first, count := range spans {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		dst := block[:count*v.dim]
		if err := m.ReadBlock(ctx, dst, first); err != nil {
			return fmt.Errorf("rows %d to %d: %w", first, first+count, err)
		}
		for i := range count {
			if row := first + i; ragged != nil && ragged.RowDim(row) != v.dim {
				v.flawed.ragged = append(v.flawed.ragged, row)
			} else {
				v.add(row, dst[i*v.dim:(i+1)*v.dim])
			}
		}
	}
	return nil
}

func (v *set) add(row int, x []float32) {
	norm := linalg.Norm(x)
	switch {
	case norm == 0:
		v.flawed.zero = append(v.flawed.zero, row)
	case math.IsNaN(norm):
		v.flawed.nan = append(v.flawed.nan, row)
	case math.IsInf(norm, 0): // squares of finite elements do not overflow
		v.flawed.inf = append(v.flawed.inf, row)
	default:
		v.rows, v.norms, v.data = append(v.rows, row), append(v.norms, norm), append(v.data, x...)
	}
}

// loadQueries reads the queries, or a sample of them in order.
func (s Scanner) loadQueries(ctx context.Context, r *Result) (*set, error) {
	m := s.Queries
	n, dim := m.Len(), m.Dim()
	switch {
	case dim != r.Dim:
		r.gap(fmt.Sprintf("queries have dimension %d, vectors %d", dim, r.Dim))
		return nil, nil
	case n <= 0:
		r.gap("there are no queries")
		return nil, nil
	}
	picked := s.pick(n)
	if int64(len(picked)) > s.MaxBytes/4/int64(dim) {
		r.gap(fmt.Sprintf("%d queries of dimension %d take more memory than the limit of %d bytes", len(picked), dim, s.MaxBytes))
		return nil, nil
	}
	v := &set{dim: dim}
	err := v.read(ctx, m, func(yield func(first, count int) bool) {
		for i := 0; i < len(picked); {
			n := 1
			for n < blockRows && i+n < len(picked) && picked[i+n] == picked[i]+n {
				n++
			}
			if !yield(picked[i], n) {
				return
			}
			i += n
		}
	})
	if err != nil {
		return nil, fmt.Errorf("queries: %w", err)
	}
	if flawed := len(picked) - v.len(); flawed > 0 {
		r.gap(fmt.Sprintf("%d of %d queries are no finite vectors of dimension %d other than zero, and were not asked", flawed, len(picked), dim))
	}
	return v, nil
}

// pick returns all of n numbers, or MaxQueries of them at random, in order.
func (s Scanner) pick(n int) []int {
	out := make([]int, 0, min(n, s.MaxQueries))
	if n <= s.MaxQueries {
		for i := range n {
			out = append(out, i)
		}
		return out
	}
	rng := rand.New(rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15))
	for i := range n { // each with the chance that leaves exactly MaxQueries
		if rng.IntN(n-i) < s.MaxQueries-len(out) {
			out = append(out, i)
		}
	}
	return out
}

// normShare is the share of vectors above which long or short ones are the
// shape of the set and no outliers; normRatio is how many times the median they
// are at least, or at most the inverse.
const (
	normShare = 0.01
	normRatio = 3
)

func (r *Result) hygiene(s Scanner, m Matrix, v *set) {
	r.Sound = v.len()
	for _, f := range []struct {
		rule prerun.Rule
		rows []int
		what string
	}{
		{ruleNaN, v.flawed.nan, "not a number"},
		{ruleInf, v.flawed.inf, "infinite"},
		{ruleDimension, v.flawed.ragged, "of another dimension"},
		{ruleZero, v.flawed.zero, "all zero"},
	} {
		if len(f.rows) > 0 {
			r.find(m, f.rule, prerun.ConfidenceHigh, f.rows, fmt.Sprintf("%d of %d vectors are %s", len(f.rows), r.Rows, f.what), nil)
		}
	}
	if v.len() == 0 {
		r.gap("no vector can be compared")
		return
	}
	if equal := v.equalRows(); len(equal) > 0 {
		r.find(m, ruleDuplicate, prerun.ConfidenceHigh, equal, fmt.Sprintf("%d of %d vectors are equal to an earlier one", len(equal), r.Rows), nil)
	}
	spread := linalg.RobustSpread(v.norms)
	r.MedianNorm = spread.Median
	if v.len() < minVectors {
		return
	}
	var odd []int
	for i, n := range v.norms {
		if (n >= normRatio*spread.Median || normRatio*n <= spread.Median) && math.Abs(spread.Z(n)) >= s.NormZ {
			odd = append(odd, v.rows[i])
		}
	}
	if len(odd) > 0 && float64(len(odd)) <= max(1, normShare*float64(v.len())) {
		r.find(m, ruleNorm, prerun.ConfidenceMedium, odd, fmt.Sprintf("%d of %d vectors are at least %d times as long or as short as the median", len(odd), r.Rows, normRatio),
			map[string]string{"median": fmt.Sprintf("%.6g", spread.Median)})
	}
}

// equalRows returns the rows that are equal to an earlier one.
func (v *set) equalRows() []int {
	order := make([]int, v.len())
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(v.compareRows(a, b), cmp.Compare(a, b)) })
	var equal []int
	for i := 1; i < len(order); i++ {
		if v.compareRows(order[i-1], order[i]) == 0 {
			equal = append(equal, v.rows[order[i]])
		}
	}
	slices.Sort(equal)
	return equal
}

func (v *set) compareRows(a, b int) int {
	if c := cmp.Compare(v.norms[a], v.norms[b]); c != 0 {
		return c // nearly always decides
	}
	return slices.Compare(v.row(a), v.row(b))
}

// maxListed is how many rows a finding lists.
const maxListed = 20

func (r *Result) find(m Matrix, rule prerun.Rule, c prerun.Confidence, rows []int, message string, evidence map[string]string) {
	if evidence == nil {
		evidence = map[string]string{}
	}
	named, _ := m.(Named)
	var list strings.Builder
	var at []prerun.Location
	for i, row := range rows {
		if i == maxListed {
			list.WriteString(" …")
			break
		}
		if i > 0 {
			list.WriteByte(' ')
		}
		fmt.Fprint(&list, row)
		at = append(at, prerun.Location{Path: r.subject.Path, Fragment: fmt.Sprintf("vector=%d", row)})
	}
	evidence["rows"] = list.String()
	key := ""
	if named != nil && (len(rows) == 1 || rule.ID == ruleHub.ID || rule.ID == ruleFrequent.ID) {
		if id := named.ID(rows[0]); id != "" {
			key = excerpt(id)
			evidence["id"] = key
		}
	}
	r.findings = append(r.findings, prerun.Finding{
		Rule: rule, Severity: rule.Severity, Confidence: c, Subject: r.subject,
		Locations: at, Message: message, Evidence: evidence, Key: key,
	})
}
