package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
)

// catboostFormat reads models of CatBoost: the binary form, a flat buffer
// behind "CBM1" and its length, and JSON. They are data only; but the library
// indexes its arrays by what they say. Facts: "framework", "trees", "version".
//
// Statistics of categorical features, text and embedding calculators lie behind
// the flat buffer as parts of their own; those are not walked, but searched for
// hidden content. Of JSON the symmetric trees are checked.
type catboostFormat struct{}

var (
	ruleCatBoostLayout = prerun.Rule{
		ID: "scan.catboost.tree-layout", Title: "trees whose parts do not fit", Severity: prerun.Medium,
		Help: "The sizes, splits or leaves of the model's trees do not fit one another. CatBoost never writes such a model, and reads outside its arrays when it applies one. Do not load the file.",
		Refs: []prerun.Reference{cwe("CWE-125"), refUnsafeModel},
	}
	ruleCatBoostInfo = prerun.Rule{
		ID: "scan.catboost.metadata-code", Title: "code in metadata", Severity: prerun.Low,
		Help: "An entry of the model's metadata looks like program code, markup or a pickle. CatBoost treats it as text, but tools that show or evaluate it may not. Remove it or find out who wrote it.",
		Refs: []prerun.Reference{refSupply},
	}
)

func (catboostFormat) Info() Info {
	return Info{
		ID: "catboost", Within: []string{"text", "json"}, Extensions: []string{".cbm"},
		Rules: []prerun.Rule{ruleCatBoostLayout, ruleCatBoostInfo},
	}
}

const catboostMagic = "CBM1"

func (catboostFormat) Match(p Probe) Match {
	switch {
	case p.Starts(catboostMagic) && len(p.Head) > 16:
		return Certain
	case (configFormat{}).Match(p) == Maybe && bytes.Contains(p.Head, []byte(`"features_info"`)):
		return Maybe
	}
	return No
}

func (catboostFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	c := &catboostScan{a: a, out: out}
	if a.Starts(catboostMagic) {
		out.Fact("framework", "catboost")
		return c.binary()
	}
	return c.json()
}

// A catboostScan is the reading of one model.
type catboostScan struct {
	a     *Artifact
	out   *Sink
	faced bool // a fault of the trees was reported
}

// Slots of the tables.
const (
	catboostVersion = 0 // of the core
	catboostTrees   = 1
	catboostInfo    = 2

	catboostDimension = 0 // of the trees
	catboostSplits    = 1
	catboostSizes     = 2
	catboostStarts    = 3
	catboostFloats    = 5
	catboostOneHot    = 6
	catboostCtrs      = 7
	catboostLeaves    = 8
	catboostSteps     = 10
	catboostLeafIDs   = 11
	catboostEstimated = 13
)

// catboostDeepest is the depth that symmetric trees may have.
const catboostDeepest = 16

func (c *catboostScan) binary() error {
	n := int64(binary.LittleEndian.Uint32(c.a.Head[4:]))
	if n > c.a.Size-8 {
		return fmt.Errorf("offset 4: a model of %d bytes, %d are left", n, c.a.Size-8)
	}
	b := flatbuf.New(c.a.Section(8, n), n)
	core := b.Root()
	if v := core.Text(catboostVersion, 60); b.Err() == nil && v != "FlabuffersModel_v1" {
		return fmt.Errorf("offset 8: model of version %q", excerpt(v, 60))
	}
	c.trees(b, core.Table(catboostTrees))
	info := core.Vector(catboostInfo, 4)
	for i := range info.Len() {
		kv := info.Table(i)
		c.info(kv.Text(0, docKey), kv.Text(1, docText), 8+kv.Offset())
	}
	if err := b.Err(); err != nil {
		return fmt.Errorf("behind offset 8: %w", err)
	}
	c.out.Claim(0, 8+n)
	return nil
}

func (c *catboostScan) trees(b *flatbuf.Buffer, t flatbuf.Table) {
	if t.IsZero() {
		if b.Err() == nil {
			b.Fail(errors.New("a model without trees"))
		}
		return
	}
	splits, sizes, starts := t.Vector(catboostSplits, 4), t.Vector(catboostSizes, 4), t.Vector(catboostStarts, 4)
	steps, ids := t.Vector(catboostSteps, 4), t.Vector(catboostLeafIDs, 4)
	leaves, dimension := t.Vector(catboostLeaves, 8).Len(), int64(t.Int32(catboostDimension, 0))
	c.out.Fact("trees", strconv.FormatInt(sizes.Len(), 10))
	if dimension < 1 {
		c.layout("%d values in each leaf", dimension)
		return
	}
	symmetric := steps.Len() == 0
	if !symmetric && (steps.Len() != splits.Len() || ids.Len() != splits.Len()) {
		c.layout("%d splits, %d steps, %d leaf indices", splits.Len(), steps.Len(), ids.Len())
		return
	}
	if starts.Len() != 0 && starts.Len() != sizes.Len() {
		c.layout("%d trees, %d of them have a start", sizes.Len(), starts.Len())
		return
	}
	var nodes, need int64
	for i := range sizes.Len() {
		n := int64(sizes.Int32(i))
		switch {
		case n < 0 || n > splits.Len()-nodes:
			c.layout("tree %d has %d splits, %d of %d are left", i, n, splits.Len()-nodes, splits.Len())
			return
		case starts.Len() > 0 && int64(starts.Int32(i)) != nodes:
			c.layout("tree %d starts at split %d, the trees before it end at %d", i, starts.Int32(i), nodes)
			return
		case symmetric && n > catboostDeepest:
			c.layout("tree %d is %d deep", i, n)
			return
		case symmetric:
			need += dimension << n
		default:
			c.steps(steps, ids, nodes, n, leaves)
		}
		nodes += n
	}
	switch features := c.features(t); {
	case nodes != splits.Len():
		c.layout("trees of %d splits, there are %d", nodes, splits.Len())
	case symmetric && need != leaves:
		c.layout("the trees need %d values of leaves, there are %d", need, leaves)
	default:
		for i := range splits.Len() {
			if s := splits.Int32(i); s < 0 || int64(s) >= features {
				c.layout("split %d of %d at node %d", s, features, i)
				return
			}
		}
	}
}

// features counts the conditions that splits number.
func (c *catboostScan) features(t flatbuf.Table) (n int64) {
	for _, kind := range [...]struct{ slot, values int }{
		{catboostFloats, 3}, {catboostOneHot, 1}, {catboostCtrs, 1}, {catboostEstimated, 3},
	} {
		list := t.Vector(kind.slot, 4)
		for i := range list.Len() {
			n += list.Table(i).Vector(kind.values, 4).Len()
		}
	}
	return n
}

// steps checks n nodes of a tree that is not symmetric: distances to the
// children, 0 for none.
func (c *catboostScan) steps(steps, ids flatbuf.Vector, from, n, leaves int64) {
	for i := range n {
		step := steps.Uint32(from + i)
		left, right := int64(step&math.MaxUint16), int64(step>>16)
		if left >= n-i || right >= n-i {
			c.layout("node %d of %d leads %d and %d nodes on", i, n, left, right)
			return
		}
		if id := int64(ids.Uint32(from + i)); (left == 0 || right == 0) && id != math.MaxUint32 && id >= leaves {
			c.layout("node %d leads to leaf %d of %d", i, id, leaves)
			return
		}
	}
}

func (c *catboostScan) layout(format string, args ...any) {
	if c.faced || c.out.full(ruleCatBoostLayout, 0) {
		return
	}
	c.faced = true
	c.out.Finding(prerun.Finding{
		Rule:       ruleCatBoostLayout,
		Confidence: prerun.ConfidenceHigh,
		Message:    fmt.Sprintf(format, args...),
	})
}

func (c *catboostScan) info(key, value string, at int64) {
	if key == "catboost_version_info" {
		return // how the library was built
	}
	what := codeIn(key + "\n" + value)
	if what == "" || c.out.full(ruleCatBoostInfo, 0) {
		return
	}
	shown := excerpt(key, 80)
	c.out.Finding(prerun.Finding{
		Rule:       ruleCatBoostInfo,
		Confidence: prerun.ConfidenceMedium,
		Locations:  []prerun.Location{{Offset: at, Length: 1}},
		Message:    fmt.Sprintf("metadata entry %q holds %s", shown, what),
		Key:        shown,
	})
}

// json reads a model in JSON.
func (c *catboostScan) json() error {
	d := &docWalker{forward: newForward(c.a, 0)}
	var trees, splits, leaves int64
	model := false
	d.value = func(v docValue) error {
		if v.kind == 's' && len(d.path) == 2 && d.path[0] == "model_info" {
			c.info(d.path[1], v.text, v.off)
		}
		return nil
	}
	d.list = func(n uint64) error {
		switch {
		case n > math.MaxInt64:
		case d.at("oblivious_trees"), d.at("trees"):
			model = model || len(d.path) == 1
			trees = int64(n)
		case d.at("oblivious_trees", "", "splits"):
			splits = int64(n)
		case d.at("oblivious_trees", "", "leaf_values"):
			leaves = int64(n)
		}
		return nil
	}
	d.close = func() error {
		if !d.at("oblivious_trees", "") {
			return nil
		}
		if splits > catboostDeepest || leaves == 0 || leaves%(1<<splits) != 0 {
			c.layout("a tree of %d splits has %d values of leaves", splits, leaves)
		}
		splits, leaves = 0, 0
		return nil
	}
	err := d.json()
	if !model && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("catboost: %w", ErrNotFormat)
	}
	c.out.Fact("framework", "catboost")
	c.out.Fact("trees", strconv.FormatInt(trees, 10))
	if err == nil {
		c.out.Claim(0, d.off)
	}
	return err
}
