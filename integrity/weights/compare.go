package weights

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math"
	"math/bits"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/tensorfile"
)

// A TensorDelta is what sets one tensor of a derived model apart from the
// tensor of that name in its base. Counts are over the elements, or rows, that
// both have. Where the types are equal an element has changed when its bits
// have, otherwise when its value has.
type TensorDelta struct {
	File        string  `json:"file"`
	BaseFile    string  `json:"base_file"`
	Name        string  `json:"name"`
	DType       string  `json:"dtype"`
	BaseDType   string  `json:"base_dtype"`
	Shape       []int64 `json:"shape"`
	BaseShape   []int64 `json:"base_shape"`
	Elements    int64   `json:"elements"`
	Changed     int64   `json:"changed"`
	Share       float64 `json:"share"`      // Changed / Elements
	DeltaNorm   float64 `json:"delta_norm"` // Euclidean length of the difference, over finite elements
	BaseNorm    float64 `json:"base_norm"`  // of the base's elements
	Relative    float64 `json:"relative"`   // DeltaNorm / BaseNorm; 0 when the base is zero
	BitFlips    int64   `json:"bit_flips"`  // changed elements that differ in one bit
	ChangedRows int64   `json:"changed_rows"`
	Rows        int64   `json:"rows"`    // 0 where the first axis is not looked at
	RowIDs      []int64 `json:"row_ids"` // the first changed rows, at most 20
}

// A Delta is what sets a derived model apart from its base. It is a
// [prerun.Source] whose subjects are the derived model's files.
type Delta struct {
	Tensors []TensorDelta // that both have and that can be compared, by the derived model's files
	Missing []string      // names that only the base has, sorted
	Extra   []string      // names that only the derived model has, sorted

	Elements int64   // compared
	Changed  int64   // of those
	Relative float64 // of all compared tensors together

	subjects []prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// Subjects ranges over the derived model's files, by path.
func (d *Delta) Subjects() iter.Seq[prerun.Subject] { return d.source().Subjects() }

// Findings ranges over what was found, by path and position.
func (d *Delta) Findings() iter.Seq[prerun.Finding] { return d.source().Findings() }

// Gaps ranges over what could not be compared, by path.
func (d *Delta) Gaps() iter.Seq[prerun.Gap] { return d.source().Gaps() }

func (d *Delta) source() prerun.Source {
	if d == nil {
		return prerun.NewSource(nil, nil, nil)
	}
	return prerun.NewSource(d.subjects, d.findings, d.gaps)
}

// A File is an open safetensors file.
type File struct {
	Name   string // in reports
	Reader io.ReaderAt
	Size   int64
}

// Compare sets the model below the root of derived beside the one below the
// root of base. Tensors are matched by name, whatever files hold them. Both
// trees are read once; errors are those of [Scanner.Scan].
func (s Scanner) Compare(ctx context.Context, base, derived fs.FS) (*Delta, error) {
	b, err := openTree(ctx, base)
	if err != nil {
		return nil, err
	}
	defer b.close()
	d, err := openTree(ctx, derived)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return s.compare(ctx, b, d)
}

// CompareFiles is [Scanner.Compare] for models of one file each.
func (s Scanner) CompareFiles(ctx context.Context, base, derived File) (*Delta, error) {
	b, d := &model{}, &model{}
	b.add(base.Name, base.Reader, base.Size)
	d.add(derived.Name, derived.Reader, derived.Size)
	return s.compare(ctx, b, d)
}

func (s Scanner) compare(ctx context.Context, base, derived *model) (*Delta, error) {
	s = s.withDefaults()
	was, is := base.byName(), derived.byName()
	out := &Delta{subjects: derived.subjects, gaps: derived.gaps}
	for _, g := range base.gaps {
		g.Reason = "base model: " + g.Reason
		out.gaps = append(out.gaps, g)
	}
	if len(base.subjects) == 0 {
		out.gaps = append(out.gaps, prerun.Gap{Location: prerun.Location{Path: "."}, Reason: "base model: no safetensors file"})
	}
	var pairs []pair
	for _, t := range slices.SortedFunc(maps.Values(is), compareStored) {
		b, ok := was[t.Name]
		if !ok {
			out.Extra = append(out.Extra, t.Name)
			out.findings = append(out.findings, t.finding(ruleExtra, prerun.ConfidenceHigh, fmt.Sprintf("the base model has no tensor %q", t.Name), nil))
			continue
		}
		pairs = append(pairs, pair{base: b, derived: t})
	}
	for _, b := range slices.SortedFunc(maps.Values(was), compareStored) {
		if _, ok := is[b.Name]; !ok {
			out.Missing = append(out.Missing, b.Name)
			out.findings = append(out.findings, missing(b, derived))
		}
	}
	slices.Sort(out.Extra)
	slices.Sort(out.Missing)

	results := make([]deltaResult, len(pairs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.Workers)
	for i := range pairs {
		g.Go(func() error {
			results[i] = pairs[i].compare(gctx)
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var delta, norm float64
	for i := range results {
		r := &results[i]
		out.findings = append(out.findings, r.findings...)
		out.gaps = append(out.gaps, r.gaps...)
		if !r.compared {
			continue
		}
		out.Tensors = append(out.Tensors, r.TensorDelta)
		out.Elements += r.Elements
		out.Changed += r.Changed
		delta += r.DeltaNorm * r.DeltaNorm
		norm += r.BaseNorm * r.BaseNorm
	}
	out.Relative = ratio(math.Sqrt(delta), math.Sqrt(norm))
	return out, nil
}

// missing is a finding about the derived model, which has no place for it: it
// is filed at the derived model's first file.
func missing(b *stored, derived *model) prerun.Finding {
	at := prerun.Location{Path: "."}
	if len(derived.subjects) > 0 {
		at.Path = derived.subjects[0].Path
	}
	at.Fragment = "tensor=" + prerun.EscapePath(b.Name)
	return prerun.Finding{
		Rule: ruleMissing, Severity: ruleMissing.Severity, Confidence: prerun.ConfidenceHigh,
		Subject: prerun.Subject{Path: at.Path}, Locations: []prerun.Location{at},
		Message: fmt.Sprintf("tensor %q of the base model is missing", b.Name), Key: prerun.EscapePath(b.Name),
	}
}

type deltaResult struct {
	TensorDelta
	compared bool
	findings []prerun.Finding
	gaps     []prerun.Gap
}

type pair struct{ base, derived *stored }

func (p pair) compare(ctx context.Context) deltaResult {
	b, t := p.base, p.derived
	out := deltaResult{TensorDelta: TensorDelta{
		File: t.path, BaseFile: b.path, Name: t.Name, DType: t.DType.String(), BaseDType: b.DType.String(),
		Shape: slices.Clone(t.Shape), BaseShape: slices.Clone(b.Shape), Elements: t.Elements(),
	}}
	gap := func(reason string) {
		out.gaps = append(out.gaps, prerun.Gap{Location: t.location(), Reason: fmt.Sprintf("tensor %q: %s", t.Name, reason)})
	}
	for _, d := range []tensorfile.DType{b.DType, t.DType} {
		if !d.Decodable() {
			gap(fmt.Sprintf("elements of type %s are not decoded", d))
			return out
		}
	}
	rows, cols := t.Rows()
	if !slices.Equal(b.Shape, t.Shape) {
		out.findings = append(out.findings, t.finding(ruleReshaped, prerun.ConfidenceHigh,
			fmt.Sprintf("tensor %q has shape %v, in the base model %v", t.Name, t.Shape, b.Shape),
			map[string]string{"shape": fmt.Sprint(t.Shape), "base": fmt.Sprint(b.Shape)}))
		if len(t.Shape) < 2 || len(b.Shape) != len(t.Shape) || !slices.Equal(b.Shape[1:], t.Shape[1:]) {
			gap("the shapes have nothing in common that could be compared")
			return out
		}
		rows = min(rows, b.Shape[0])
		out.Elements = rows * cols
	}
	c := comparison{pair: p, delta: &out.TensorDelta, same: b.DType == t.DType}
	if rowsMatter(&t.Tensor) {
		c.cols, out.Rows = cols, rows
	}
	if err := c.read(ctx); err != nil {
		gap(err.Error())
		return out
	}
	out.compared = true
	out.DeltaNorm, out.BaseNorm = clamp(math.Sqrt(c.delta2)), clamp(math.Sqrt(c.base2))
	out.Relative = ratio(out.DeltaNorm, out.BaseNorm)
	out.Share = ratio(float64(out.Changed), float64(out.Elements))
	out.findings = append(out.findings, c.findings()...)
	return out
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return clamp(a / b)
}

// A comparison holds the state of reading two tensors side by side.
type comparison struct {
	pair
	delta         *TensorDelta
	same          bool  // type
	cols          int64 // 0 where rows are not looked at
	delta2, base2 float64
	lastRow       int64
	heavy         int64   // flips of the sign, the exponent or the top of the mantissa
	flips         []int64 // the first flipped elements
}

func (c *comparison) read(ctx context.Context) error {
	const step = windowElements
	n := min(step, c.delta.Elements)
	size, baseSize := c.derived.DType.Bits()/8, c.base.DType.Bits()/8
	raw, baseRaw := make([]byte, n*size), make([]byte, n*baseSize)
	values, baseValues := make([]float64, n), make([]float64, n)
	c.lastRow = -1
	for at := int64(0); at < c.delta.Elements; at += step {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(step, c.delta.Elements-at)
		if err := window(c.derived, at, raw[:n*size], values[:n]); err != nil {
			return err
		}
		if err := window(c.base, at, baseRaw[:n*baseSize], baseValues[:n]); err != nil {
			return fmt.Errorf("base model: %w", err)
		}
		for i, v := range values[:n] {
			w := baseValues[i]
			if finite := w * 0; finite == 0 {
				c.base2 += float64(w * w)
			}
			j := int64(i)
			differs := v != w
			if c.same {
				differs = string(raw[j*size:(j+1)*size]) != string(baseRaw[j*size:(j+1)*size])
			}
			if !differs {
				continue
			}
			if d := v - w; d*0 == 0 {
				c.delta2 += float64(d * d)
			}
			c.changed(at+j, raw[j*size:(j+1)*size], baseRaw[j*baseSize:(j+1)*baseSize])
		}
	}
	return nil
}

// changed takes in one changed element.
func (c *comparison) changed(at int64, now, was []byte) {
	c.delta.Changed++
	if c.cols > 0 {
		if row := at / c.cols; row != c.lastRow {
			c.lastRow = row
			c.delta.ChangedRows++
			if len(c.delta.RowIDs) < maxListed {
				c.delta.RowIDs = append(c.delta.RowIDs, row)
			}
		}
	}
	if !c.same {
		return
	}
	flipped, bit := 0, 0
	for i := range now { // little-endian
		if x := now[i] ^ was[i]; x != 0 {
			flipped += bits.OnesCount8(x)
			bit = 8*i + bits.Len8(x) - 1
		}
	}
	if flipped != 1 {
		return
	}
	if c.delta.BitFlips++; len(c.flips) < maxListed {
		c.flips = append(c.flips, at)
	}
	if bit >= heavyBit(c.derived.DType) {
		c.heavy++
	}
}

// heavyBit is the lowest bit whose flip changes a value by an eighth or more:
// the top two of the mantissa, the exponent and the sign.
func heavyBit(d tensorfile.DType) int {
	switch d {
	case tensorfile.F64:
		return 50
	case tensorfile.F32:
		return 21
	case tensorfile.F16:
		return 8
	case tensorfile.BF16:
		return 5
	}
	return int(d.Bits()) / 2
}

func window(t *stored, first int64, raw []byte, values []float64) error {
	at := t.Offset + first*t.DType.Bits()/8
	if n, err := t.r.ReadAt(raw, at); n < len(raw) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("offset %d: %w", at+int64(n), err)
	}
	return tensorfile.Float64(values, raw, t.DType, t.BigEndian)
}

// Flips are a finding while they are this few; rows are a few edited ones while
// they are this small a share of a table this large.
const (
	flipCount  = 8
	flipShare  = 1e-6
	editedRows = 256
	editShare  = 0.01
)

func (c *comparison) findings() []prerun.Finding {
	d, t := c.delta, c.derived
	if d.Changed == 0 {
		return nil
	}
	evidence := map[string]string{
		"changed": fmt.Sprint(d.Changed), "elements": fmt.Sprint(d.Elements), "relative": fmt.Sprintf("%.3g", d.Relative),
	}
	if d.BitFlips == d.Changed && float64(d.Changed) <= max(flipCount, flipShare*float64(d.Elements)) {
		evidence["flipped"] = listed(c.flips, d.BitFlips)
		var at []prerun.Location
		for _, i := range c.flips {
			at = append(at, t.element(i, 1))
		}
		f := t.finding(ruleBitFlip, prerun.ConfidenceHigh,
			fmt.Sprintf("tensor %q: %s of %d differ from the base model, each in one bit", t.Name, plural(d.Changed, "element"), d.Elements), evidence, at...)
		if c.heavy == 0 { // rounding does that, and it changes nothing
			f.Severity, f.Confidence = prerun.Low, prerun.ConfidenceLow
		}
		return []prerun.Finding{f}
	}
	if d.Rows >= editedRows && float64(d.ChangedRows) <= editShare*float64(d.Rows) {
		evidence["rows"] = listed(d.RowIDs, d.ChangedRows)
		return []prerun.Finding{t.finding(ruleEditedRows, prerun.ConfidenceMedium,
			fmt.Sprintf("tensor %q: %s of %d differ from the base model, the others are equal", t.Name, plural(d.ChangedRows, "row"), d.Rows),
			evidence, t.rows(d.RowIDs, c.cols)...)}
	}
	return nil
}
