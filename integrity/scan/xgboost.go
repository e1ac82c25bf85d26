package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
)

// xgboostFormat reads models of XGBoost: UBJSON, which it saves by default and
// keeps in pickles of a Booster, JSON, and the binary format that releases
// before 3.1 wrote, with its mark "binf" or without. Such models hold numbers
// and a few texts; nothing in them is executed. What they can do is state sizes
// and indices that do not fit, because the library follows an index of a tree
// without holding it against the tree. Facts: "framework", "booster",
// "objective", "trees", "version".
//
// Thresholds, statistics and categories are passed over, and so are members
// that the library ignores. Of the binary format the trees are measured and
// their nodes' children checked; weights of linear boosters are only counted.
type xgboostFormat struct{}

var (
	ruleXGBoostLayout = prerun.Rule{
		ID: "scan.xgboost.tree-layout", Title: "tree whose parts do not fit", Severity: prerun.Medium,
		Help: "A tree states a number of nodes that its arrays do not have, or a node names a child, a feature or categories that do not exist. XGBoost never writes such a model, and reads outside its buffers when it follows one. Do not load the file.",
		Refs: []prerun.Reference{cwe("CWE-125"), refUnsafeModel},
	}
	ruleXGBoostAttribute = prerun.Rule{
		ID: "scan.xgboost.attribute-code", Title: "code in an attribute", Severity: prerun.Low,
		Help: "An attribute of the model looks like program code, markup or a pickle. XGBoost keeps attributes as text, but programs that show, evaluate or unpickle them may not. Remove it or find out who wrote it.",
		Refs: []prerun.Reference{refSupply},
	}
)

func (xgboostFormat) Info() Info {
	return Info{
		ID: "xgboost", Within: []string{"text", "json"}, Extensions: []string{".ubj", ".xgb"},
		Rules: []prerun.Rule{ruleXGBoostLayout, ruleXGBoostAttribute},
	}
}

func (xgboostFormat) Match(p Probe) Match {
	switch {
	case startsUBJ(p.Head), xgboostBinary(p.Head) >= 0:
		return Maybe
	case (configFormat{}).Match(p) == Maybe && (bytes.Contains(p.Head, []byte(`"learner"`)) || bytes.Contains(p.Tail, []byte(`"learner"`))):
		return Maybe
	}
	return No
}

// startsUBJ reports whether p starts like an object of UBJSON as XGBoost writes
// it: lengths of keys take eight bytes.
func startsUBJ(p []byte) bool {
	return len(p) > 10 && p[0] == '{' && p[1] == 'L' && binary.BigEndian.Uint64(p[2:]) <= docKey && isLetter(p[10])
}

func (xgboostFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	x := &xgboostScan{a: a, out: out}
	if at := xgboostBinary(a.Head); at >= 0 {
		return x.binary(int64(at))
	}
	d := &docWalker{forward: newForward(a, 0), value: x.value, list: x.list, close: x.closed, skips: x.skips}
	x.d = d
	var err error
	if startsUBJ(a.Head) {
		err = d.ubj(0)
	} else {
		err = d.json()
	}
	if !x.learner && !x.within() && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("xgboost: %w", ErrNotFormat)
	}
	out.Fact("framework", "xgboost")
	if err != nil {
		return err
	}
	x.out.Claim(0, d.off)
	x.booster("trees in the model", x.declared, x.trees)
	x.facts()
	return nil
}

// An xgboostScan is the reading of one model.
type xgboostScan struct {
	a   *Artifact
	out *Sink
	d   *docWalker

	learner  bool
	trees    int64
	faults   int   // trees reported
	declared int64 // trees, as the parameters state them; 0 when they do not
	tree     xgboostTree
	inside   string // the array of a tree whose numbers are read, when they have a type
	version  []string
	name     string // of the booster
	goal     string // objective
}

// An xgboostTree is what one tree says of itself, until its end.
type xgboostTree struct {
	at       int64
	nodes    int64 // as it states, -1 when it does not
	features int64
	deleted  int64
	pruned   int64    // nodes marked as deleted
	child    int64    // the highest index of a child
	feature  int64    // the highest index of a feature
	lowest   int64    // the lowest index of either
	taken    int64    // categories that nodes claim
	back     bool     // a child does not stand behind its parent
	read     [2]int64 // children read: left, right
	counts   [len(xgboostArrays)]int64
}

// xgboostArrays have one item for each node.
var xgboostArrays = [...]string{"left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left", "categories"}

const xgboostCategories = len(xgboostArrays) - 1 // which is the exception

func newXGBoostTree(at int64) xgboostTree {
	t := xgboostTree{at: at, nodes: -1}
	for i := range t.counts {
		t.counts[i] = -1
	}
	return t
}

// field is the path inside a tree: nil outside of one.
func (x *xgboostScan) field() []string {
	for i, k := range x.d.path {
		if k == "trees" && i > 0 && x.d.path[i-1] == "model" && i+1 < len(x.d.path) {
			return x.d.path[i+2:]
		}
	}
	return nil
}

// skips reports arrays of numbers that are not checked. Those that are have
// their place looked up once.
func (x *xgboostScan) skips() bool {
	f := x.field()
	if len(f) != 1 {
		return true
	}
	if x.tree.at == 0 {
		x.start(x.d.off)
	}
	switch f[0] {
	case "left_children", "right_children", "split_indices", "categories_sizes":
		x.inside = f[0]
		return false
	}
	return true
}

// within reports whether the walk is, or an error ended it, inside a learner.
func (x *xgboostScan) within() bool {
	path := x.d.path
	if len(path) > 1 && path[0] == "Model" {
		path = path[1:]
	}
	return len(path) > 1 && path[0] == "learner"
}

func (x *xgboostScan) start(at int64) { x.tree = newXGBoostTree(at) }

func (x *xgboostScan) value(v docValue) error {
	if x.inside != "" {
		x.tree.number(x.inside, v)
		return nil
	}
	path := x.d.path
	x.learner = x.learner || x.within()
	if f := x.field(); f != nil {
		return x.node(f, v)
	}
	switch {
	case v.kind == 's' && x.d.at("gbtree_model_param", "num_trees"):
		n, err := strconv.ParseInt(v.text, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("offset %d: %q trees", v.off, excerpt(v.text, 40))
		}
		x.declared = n
	case v.kind == 's' && x.d.at("gradient_booster", "name"):
		x.name = v.text
	case v.kind == 's' && x.d.at("learner", "objective", "name"):
		x.goal = v.text
	case v.kind == 's' && len(path) > 1 && path[len(path)-2] == "attributes":
		x.attribute(path[len(path)-1], v.text, v.off)
	case v.kind == 'i' && x.d.at("version", "") && len(x.version) < 3:
		x.version = append(x.version, strconv.FormatInt(v.num, 10))
	}
	return nil
}

// node takes one value of a tree.
func (x *xgboostScan) node(field []string, v docValue) error {
	t := &x.tree
	if t.at == 0 {
		x.start(v.off)
	}
	switch {
	case len(field) == 2 && field[0] == "tree_param":
		n, err := strconv.ParseInt(v.text, 10, 64)
		if v.kind != 's' || err != nil || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("offset %d: %s of a tree is %q", v.off, excerpt(field[1], 40), excerpt(v.text, 40))
		}
		switch field[1] {
		case "num_nodes":
			t.nodes = n
		case "num_feature":
			t.features = n
		case "num_deleted":
			t.deleted = n
		}
	case len(field) == 2 && v.kind == 'i':
		t.number(field[0], v)
	}
	return nil
}

// number takes an item of an array of a tree.
func (t *xgboostTree) number(array string, v docValue) {
	switch array {
	case "left_children", "right_children":
		side := &t.read[0]
		if array == "right_children" {
			side = &t.read[1]
		}
		t.back = t.back || v.num >= 0 && v.num <= *side
		*side++
		t.child = max(t.child, v.num)
		t.lowest = min(t.lowest, v.num)
	case "split_indices":
		if v.num == math.MaxInt32 || v.num == math.MaxUint32 { // of a node that was pruned
			t.pruned++
		} else {
			t.feature = max(t.feature, v.num)
		}
		t.lowest = min(t.lowest, v.num)
	case "categories_sizes":
		if v.num >= 0 && v.num <= math.MaxInt32 {
			t.taken += v.num
		}
	}
}

func (x *xgboostScan) list(n uint64) error {
	x.inside = ""
	f := x.field()
	if len(f) != 1 || n > math.MaxInt64 {
		return nil
	}
	if i := slices.Index(xgboostArrays[:], f[0]); i >= 0 {
		if x.tree.at == 0 {
			x.start(x.d.off)
		}
		x.tree.counts[i] = int64(n)
	}
	return nil
}

func (x *xgboostScan) closed() error {
	if f := x.field(); f != nil && len(f) == 0 {
		x.check()
		x.trees++
		x.tree = xgboostTree{}
	}
	return nil
}

// check holds a tree that was read to its end against what it states.
func (x *xgboostScan) check() {
	t := x.tree
	if t.at == 0 || t.nodes < 0 || x.faults == treeFaults {
		return // without a number of nodes the library refuses the model
	}
	for i, n := range t.counts {
		if n >= 0 && n != t.nodes && i != xgboostCategories {
			x.layout(t.at, fmt.Sprintf("%d nodes, %s has %d items", t.nodes, xgboostArrays[i], n))
			return
		}
	}
	switch {
	case t.child >= t.nodes:
		x.layout(t.at, fmt.Sprintf("%d nodes, one names node %d as its child", t.nodes, t.child))
	case t.back: // the library makes them behind, and follows them without an end
		x.layout(t.at, "a node names one before it, or itself, as its child")
	case t.lowest < -1:
		x.layout(t.at, fmt.Sprintf("a node names index %d", t.lowest))
	case t.pruned > t.deleted:
		x.layout(t.at, fmt.Sprintf("%d nodes that were pruned, it states %d", t.pruned, t.deleted))
	case t.features > 0 && t.feature >= t.features:
		x.layout(t.at, fmt.Sprintf("%d features, a node splits at feature %d", t.features, t.feature))
	case t.taken > max(t.counts[xgboostCategories], 0):
		x.layout(t.at, fmt.Sprintf("nodes claim %d categories of %d", t.taken, max(t.counts[xgboostCategories], 0)))
	}
}

func (x *xgboostScan) layout(at int64, what string) {
	x.faults++
	x.out.report(ruleXGBoostLayout, 0, prerun.Location{Offset: at, Length: 1}, strconv.FormatInt(x.trees, 10), "tree %d: %s", x.trees, what)
}

// booster holds a count against what was found. Binary models and those of
// linear boosters have none.
func (x *xgboostScan) booster(what string, declared, found int64) {
	if declared != 0 && declared != found {
		x.layout(0, fmt.Sprintf("the parameters state %d, there are %d %s", declared, found, what))
	}
}

func (x *xgboostScan) attribute(key, text string, at int64) {
	what := codeIn(key + "\n" + text)
	if what == "" && slices.Contains(globals.Classify(text), globals.Payload) {
		what = "a pickle"
	}
	if what == "" || x.out.full(ruleXGBoostAttribute, 0) {
		return
	}
	shown := excerpt(key, 80)
	x.out.Finding(prerun.Finding{
		Rule:       ruleXGBoostAttribute,
		Confidence: prerun.ConfidenceMedium,
		Locations:  []prerun.Location{{Offset: at, Length: 1}},
		Message:    fmt.Sprintf("attribute %q holds %s", shown, what),
		Key:        shown,
	})
}

func (x *xgboostScan) facts() {
	for _, f := range []struct{ key, value string }{
		{"booster", x.name}, {"objective", x.goal}, {"version", strings.Join(x.version, ".")},
	} {
		if f.value != "" {
			x.out.Fact(f.key, excerpt(f.value, 60))
		}
	}
	x.out.Fact("trees", strconv.FormatInt(x.trees, 10))
}
