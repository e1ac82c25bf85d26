package weights

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/linalg"
	"github.com/prerun/prerun/internal/tensorfile"
)

// windowElements are decoded at once: 128 KiB of doubles stay in the cache.
const windowElements = 16 << 10

// minRow is the shortest row that is compared with others: shorter ones of
// narrow types are equal by chance.
const minRow = 16

// minRows is the fewest rows whose lengths have a spread.
const minRows = 32

// noLength marks rows that are not all finite: they have findings of their own.
const noLength = -1

type tensorResult struct {
	Tensor
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// A pass holds the state of reading one tensor.
type pass struct {
	t          *stored
	rows, cols int64 // cols is 0 where rows are not looked at
	raw        []byte
	values     []float64

	sum, squares float64
	body         float64 // squares of elements that are not huge
	finite       int64
	huge         []int64 // the first elements of huge magnitude
	huges        int64
	firstNaN     int64
	firstInf     int64
	peak         float64 // largest magnitude of a finite element
	peakAt       int64
	stats        Tensor

	norms  []float64
	hashes []uint64
	seed   maphash.Seed
}

func (s Scanner) scanTensor(ctx context.Context, t *stored) tensorResult {
	p := &pass{t: t, firstNaN: -1, firstInf: -1, peakAt: -1}
	p.stats = Tensor{File: t.path, Name: t.Name, DType: t.DType.String(), Shape: slices.Clone(t.Shape), Elements: t.Elements()}
	out := tensorResult{}
	gap := func(reason string) {
		out.gaps = append(out.gaps, prerun.Gap{Location: t.location(), Reason: fmt.Sprintf("tensor %q: %s", t.Name, reason)})
	}
	if !t.DType.Decodable() {
		gap(fmt.Sprintf("elements of type %s are not decoded", t.DType))
		out.Tensor = p.stats
		return out
	}
	if rows, cols := t.Rows(); rowsMatter(&t.Tensor) {
		if rows > s.MaxRows || cols > s.MaxRow {
			gap(fmt.Sprintf("%d rows of %d elements are too many for tests of rows, the limits are %d and %d", rows, cols, s.MaxRows, s.MaxRow))
		} else {
			p.rows, p.cols = rows, cols
			p.norms, p.hashes = make([]float64, rows), make([]uint64, rows)
			p.seed = maphash.MakeSeed()
		}
	}
	if err := p.read(ctx); err != nil {
		gap(err.Error())
		out.Tensor = p.stats
		return out
	}
	p.finish()
	out.findings = append(p.valueFindings(), s.rowFindings(p)...)
	out.Tensor = p.stats
	return out
}

// rowsMatter reports whether the first axis of t counts things of one kind,
// such as tokens or units, with enough numbers each to tell them apart.
func rowsMatter(t *tensorfile.Tensor) bool {
	rows, cols := t.Rows()
	return t.DType.Float() && t.DType != tensorfile.F8E8M0 && rows > 1 && cols >= minRow
}

// read passes over the elements once, whole rows at a time where rows count.
func (p *pass) read(ctx context.Context) error {
	step := int64(windowElements)
	if p.cols > 0 {
		step = max(1, step/p.cols) * p.cols
	}
	total := p.stats.Elements
	step = min(step, total)
	size := p.t.DType.Bits() / 8
	p.raw, p.values = make([]byte, step*size), make([]float64, step)
	for at := int64(0); at < total; at += step {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(step, total-at)
		raw, values := p.raw[:n*size], p.values[:n]
		if got, err := p.t.r.ReadAt(raw, p.t.Offset+at*size); got < len(raw) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("offset %d: %w", p.t.Offset+at*size+int64(got), err)
		}
		if err := tensorfile.Float64(values, raw, p.t.DType, p.t.BigEndian); err != nil {
			return err
		}
		if p.cols == 0 {
			p.run(values, at)
			continue
		}
		for i := int64(0); i < n; i += p.cols {
			row := (at + i) / p.cols
			bad := p.stats.NaN + p.stats.PosInf + p.stats.NegInf
			p.norms[row] = math.Sqrt(p.run(values[i:i+p.cols], at+i))
			if p.stats.NaN+p.stats.PosInf+p.stats.NegInf > bad {
				p.norms[row] = noLength
			}
			p.hashes[row] = maphash.Bytes(p.seed, raw[i*size:(i+p.cols)*size])
		}
	}
	return nil
}

// run takes a run of elements in, at least one, and returns its sum of squares.
// Its comparisons know nothing of NaN, which shows in the sum.
func (p *pass) run(x []float64, at int64) float64 {
	var s0, s1, q0, q1 float64
	zeros := int64(0)
	lo, hi := p.stats.Min, p.stats.Max // so that the comparisons below nearly always fail
	if p.peakAt < 0 {
		lo, hi = x[0], x[0]
	}
	i := 0
	for ; i+2 <= len(x); i += 2 {
		a, b := x[i], x[i+1]
		s0 += a
		s1 += b
		q0 += float64(a * a)
		q1 += float64(b * b)
		if a == 0 {
			zeros++
		}
		if b == 0 {
			zeros++
		}
		if a < lo {
			lo = a
		}
		if a > hi {
			hi = a
		}
		if b < lo {
			lo = b
		}
		if b > hi {
			hi = b
		}
	}
	if i < len(x) {
		a := x[i]
		s0 += a
		q0 += float64(a * a)
		if a == 0 {
			zeros++
		}
		lo, hi = min(lo, a), max(hi, a)
	}
	squares := q0 + q1
	if !(squares < hugeValue*hugeValue) {
		return p.slowRun(x, at) // NaN and infinities end up in the sum of squares
	}
	p.stats.Zero += zeros
	p.extend(lo, hi, x, at)
	p.finite += int64(len(x))
	p.sum += s0 + s1
	p.squares += squares
	p.body += squares
	return squares
}

// extend widens the range of finite values and remembers the largest one.
func (p *pass) extend(lo, hi float64, x []float64, at int64) {
	if p.peakAt < 0 {
		p.stats.Min, p.stats.Max = lo, hi
	}
	p.stats.Min, p.stats.Max = min(p.stats.Min, lo), max(p.stats.Max, hi)
	if m := max(-lo, hi); p.peakAt < 0 || m > p.peak { // then it is in x
		i := slices.IndexFunc(x, func(v float64) bool { return math.Abs(v) == m })
		p.peak, p.peakAt = m, at+int64(i)
	}
}

// slowRun is run for elements that are not all finite and of ordinary size.
func (p *pass) slowRun(x []float64, at int64) float64 {
	var squares float64
	for i, v := range x {
		pos := at + int64(i)
		switch {
		case math.IsNaN(v):
			if p.stats.NaN++; p.firstNaN < 0 {
				p.firstNaN = pos
			}
			continue
		case math.IsInf(v, 0):
			if v > 0 {
				p.stats.PosInf++
			} else {
				p.stats.NegInf++
			}
			if p.firstInf < 0 {
				p.firstInf = pos
			}
			continue
		case v == 0:
			p.stats.Zero++
		}
		p.extend(v, v, x[i:i+1], pos)
		p.finite++
		p.sum += v
		p.squares += float64(v * v)
		squares += float64(v * v)
		if math.Abs(v) < hugeValue {
			p.body += float64(v * v)
		} else if p.huges++; len(p.huge) < maxListed {
			p.huge = append(p.huge, pos)
		}
	}
	return min(squares, math.MaxFloat64)
}

func (p *pass) finish() {
	if p.finite == 0 {
		return
	}
	n := float64(p.finite)
	p.stats.Mean = clamp(p.sum / n)
	p.stats.Std = clamp(math.Sqrt(max(0, p.squares/n-p.stats.Mean*p.stats.Mean)))
}

// clamp keeps sums of doubles at the edge of their range representable in
// JSON.
func clamp(v float64) float64 {
	switch {
	case math.IsNaN(v) || v > math.MaxFloat64:
		return math.MaxFloat64
	case v < -math.MaxFloat64:
		return -math.MaxFloat64
	}
	return v
}

// Elements are extreme when they are this large in themselves and this many
// times the root mean square of the others, and few. Masks filled with a large
// negative number and tensors of a few elements are no weights.
const (
	hugeValue    = 1e9
	extremeRatio = 1e6
	extremeShare = 1e-3
	extremeMin   = 64
)

func (p *pass) valueFindings() []prerun.Finding {
	t, st := p.t, &p.stats
	if !t.DType.Float() {
		return nil
	}
	var out []prerun.Finding
	if st.NaN > 0 {
		out = append(out, t.finding(ruleNaN, prerun.ConfidenceHigh,
			fmt.Sprintf("tensor %q: %s of %d not a number, first at element %d", t.Name, isOrAre(st.NaN), st.Elements, p.firstNaN),
			map[string]string{"count": fmt.Sprint(st.NaN), "element": fmt.Sprint(p.firstNaN)}, t.element(p.firstNaN, 1)))
	}
	if inf := st.PosInf + st.NegInf; inf > 0 {
		f := t.finding(ruleInf, prerun.ConfidenceHigh,
			fmt.Sprintf("tensor %q: %s of %d infinite, first at element %d", t.Name, isOrAre(inf), st.Elements, p.firstInf),
			map[string]string{"positive": fmt.Sprint(st.PosInf), "negative": fmt.Sprint(st.NegInf), "element": fmt.Sprint(p.firstInf)}, t.element(p.firstInf, 1))
		if st.NaN == 0 && st.PosInf == 0 && st.Zero == p.finite {
			f.Severity = prerun.Info
			f.Message = fmt.Sprintf("tensor %q holds only zeros and minus infinity, as an attention mask does", t.Name)
		}
		out = append(out, f)
	}
	if p.huges == 0 || st.Elements < extremeMin || float64(p.huges) > max(1, extremeShare*float64(st.Elements)) {
		return out
	}
	if rest := math.Sqrt(p.body / float64(max(1, p.finite-p.huges))); p.peak > extremeRatio*rest {
		var at []prerun.Location
		for _, i := range p.huge {
			at = append(at, t.element(i, 1))
		}
		out = append(out, t.finding(ruleExtreme, prerun.ConfidenceMedium,
			fmt.Sprintf("tensor %q: %s of magnitude up to %.3g at %d, the others %.3g", t.Name, plural(p.huges, "element"), p.peak, p.peakAt, rest),
			map[string]string{"element": listed(p.huge, p.huges), "magnitude": fmt.Sprintf("%.6g", p.peak), "others": fmt.Sprintf("%.6g", rest)}, at...))
	}
	return out
}

func isOrAre(n int64) string {
	if n == 1 {
		return "1 element is"
	}
	return fmt.Sprintf("%d elements are", n)
}

// outlierRatio is how many times the median an outlier's length is at least,
// whatever the spread: in a tensor of nearly equal rows a tiny difference has a
// large z-score. outlierShare is the share of rows above which long rows are
// the shape of the tensor and no outliers.
const (
	outlierRatio = 4
	outlierShare = 0.01
)

func (s Scanner) rowFindings(p *pass) []prerun.Finding {
	if p.cols == 0 {
		return nil
	}
	t, st := p.t, &p.stats
	var out []prerun.Finding
	report := func(rule prerun.Rule, c prerun.Confidence, rows []int64, what string, evidence map[string]string) {
		evidence["rows"] = listed(rows, int64(len(rows)))
		out = append(out, t.finding(rule, c, fmt.Sprintf("tensor %q: %s of %d %s", t.Name, plural(int64(len(rows)), "row"), p.rows, what), evidence, t.rows(rows, p.cols)...))
	}

	var zero []int64
	lengths := make([]float64, 0, p.rows)
	for i, n := range p.norms {
		switch {
		case n == 0:
			zero = append(zero, int64(i))
		case n > 0:
			lengths = append(lengths, n)
		}
	}
	if st.ZeroRows = int64(len(zero)); len(zero) > 0 {
		report(ruleZeroRow, prerun.ConfidenceHigh, zero, "all zero", map[string]string{})
	}
	if equal, first := p.equalRows(); len(equal) > 0 {
		st.EqualRows = int64(len(equal))
		report(ruleDuplicateRow, prerun.ConfidenceHigh, equal, "equal to an earlier one", map[string]string{"originals": listed(first, int64(len(first)))})
	}
	if len(lengths) < minRows {
		return out
	}
	spread := linalg.RobustSpread(lengths)
	var long []int64
	for i, n := range p.norms {
		if n >= outlierRatio*spread.Median && spread.Z(n) >= s.OutlierZ {
			long = append(long, int64(i))
		}
	}
	if share := float64(len(long)) / float64(p.rows); len(long) > 0 && (share <= outlierShare || len(long) == 1) {
		st.LongRows = int64(len(long))
		worst := slices.MaxFunc(long, func(a, b int64) int { return cmp.Compare(p.norms[a], p.norms[b]) })
		report(ruleOutlierRow, prerun.ConfidenceLow, long, fmt.Sprintf("at least %d times as long as the median", outlierRatio), map[string]string{
			"median": fmt.Sprintf("%.6g", spread.Median), "longest": fmt.Sprintf("%.6g", p.norms[worst]), "longest_row": fmt.Sprint(worst),
		})
	}
	return out
}

// equalRows returns the rows that are equal to an earlier one, and for each the
// first row of that content. Equal hash and equal length are a match: two
// different rows agree in 64 random bits and in their length once in far more
// models than there are. Rows of zeros have a rule of their own.
func (p *pass) equalRows() (equal, first []int64) {
	type content struct {
		hash uint64
		norm float64
	}
	seen := make(map[content]int64, len(p.hashes))
	for i, h := range p.hashes {
		if p.norms[i] <= 0 {
			continue
		}
		c := content{h, p.norms[i]}
		if j, ok := seen[c]; ok {
			equal, first = append(equal, int64(i)), append(first, j)
		} else {
			seen[c] = int64(i)
		}
	}
	return equal, first
}
