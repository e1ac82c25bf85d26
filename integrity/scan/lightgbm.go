package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/prerun/prerun"
)

// lightgbmFormat reads the text in which LightGBM saves models. It is data
// only; but the library seeks to each tree by the sizes that the header states
// and follows the children of nodes without checking them. Facts: "framework",
// "objective", "trees", "version".
//
// Nodes of linear trees and the bits of categorical splits are counted, not
// followed. The JSON that LightGBM exports cannot be loaded by it, and is read
// as any JSON.
type lightgbmFormat struct{}

var ruleLightGBMLayout = prerun.Rule{
	ID: "scan.lightgbm.tree-layout", Title: "tree whose parts do not fit", Severity: prerun.Medium,
	Help: "The header states other sizes than the trees have, a tree has lists that do not fit its number of leaves, or a node names a child or feature that does not exist. LightGBM never writes such a model, and reads outside its buffers when it follows one. Do not load the file.",
	Refs: []prerun.Reference{cwe("CWE-125"), refUnsafeModel},
}

func (lightgbmFormat) Info() Info {
	return Info{ID: "lightgbm", Within: []string{"text"}, Extensions: []string{".lgb"}, Rules: []prerun.Rule{ruleLightGBMLayout}}
}

func (lightgbmFormat) Match(p Probe) Match {
	if startsLightGBM(p.Head) {
		return Maybe
	}
	return No
}

func startsLightGBM(p []byte) bool {
	rest, ok := bytes.CutPrefix(p, []byte("tree"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, "\r\n"), []byte("version=v")) && len(rest) > 0 && rest[0] < ' '
}

func (lightgbmFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	l := &lightgbmScan{forward: newForward(a, 0), out: out, features: -1}
	err := l.lines()
	if errors.Is(err, ErrBudget) {
		return err
	}
	out.Fact("framework", "lightgbm")
	out.Fact("trees", strconv.Itoa(len(l.starts)))
	if err == nil {
		out.Claim(0, a.Size)
		l.sizes()
	}
	return err
}

// A lightgbmScan is the reading of one model.
type lightgbmScan struct {
	*forward
	out *Sink

	features int64   // the highest index, -1 when it is not stated
	stated   []int64 // sizes of trees, as the header has them
	starts   []int64 // of trees
	end      int64   // of trees, 0 before it was met
	faults   int     // trees reported
	tree     lightgbmTree
}

// A lightgbmTree is what one tree states.
type lightgbmTree struct {
	leaves, cats    int64
	inner, leaf     int64 // lowest and highest child: ~leaf, and inner node
	lowest, feature int64 // of features
	boundary        int64 // the last
	back            bool  // a child does not stand behind its parent
	counts          [len(lightgbmLists)]int64
}

// treeFaults bounds the trees of one model that are reported.
const treeFaults = 64

// lightgbmLists are lists of a tree; all but the last three have an item for
// each inner node.
var lightgbmLists = [...]string{"split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value", "cat_boundaries", "cat_threshold"}

const (
	lightgbmLeaf = len(lightgbmLists) - 3 + iota
	lightgbmBoundaries
	lightgbmBits
)

// lines reads lines of a name, an equals sign and a list.
func (l *lightgbmScan) lines() error {
	for {
		at := l.off
		key, c, err := l.word('=', 32)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && l.left() == 0:
			if l.end == 0 {
				return fmt.Errorf("offset %d: the file ends among its trees: %w", l.off, io.ErrUnexpectedEOF)
			}
			return nil
		case err != nil:
			return err
		}
		switch {
		case l.end > 0:
			// Importances and parameters follow, which are for people.
		case key == "Tree" && c == '=':
			if err := l.next(at); err != nil {
				return err
			}
		case key == "end of trees":
			l.check()
			l.end = at
		}
		if c != '=' {
			continue
		}
		if err := l.list(key); err != nil {
			return err
		}
	}
}

// word takes what stands before an end or the end of the line, and that; it
// keeps the first bytes.
func (l *lightgbmScan) word(end byte, keep int) (string, byte, error) {
	var w []byte
	for {
		c, err := l.byte()
		switch {
		case err != nil && len(w) > 0 && isEOF(err):
			return string(w), '\n', nil
		case err != nil:
			return "", 0, err
		case c == end || c == '\n':
			return string(bytes.TrimSuffix(w, []byte("\r"))), c, nil
		case len(w) < keep:
			w = append(w, c)
		}
	}
}

// count passes over a line and counts its words.
func (l *lightgbmScan) count() (n int64, err error) {
	inside := false
	for {
		c, err := l.byte()
		switch {
		case err != nil && !isEOF(err):
			return 0, err
		case err != nil, c == '\n':
			return n, nil
		case c <= ' ':
			inside = false
		case !inside:
			inside = true
			n++
		}
	}
}

// next starts the tree at an offset.
func (l *lightgbmScan) next(at int64) error {
	l.check()
	if err := l.a.Spend(Entries, 1); err != nil {
		return err
	}
	l.starts = append(l.starts, at)
	l.tree = lightgbmTree{leaves: -1}
	return nil
}

// list reads the items of a line, one by one: a tree may have millions.
func (l *lightgbmScan) list(key string) error {
	if l.end > 0 || !lightgbmRead[key] {
		n, err := l.count()
		if which := slices.Index(lightgbmLists[:], key); which >= 0 && l.end == 0 {
			l.tree.counts[which] = n
		}
		return err
	}
	n := int64(0)
	for c := byte(' '); c != '\n'; {
		var w string
		var err error
		if w, c, err = l.word(' ', 64); err != nil {
			return err
		}
		if w == "" {
			continue
		}
		n++
		if err := l.item(key, w, n-1); err != nil {
			return err
		}
	}
	if which := slices.Index(lightgbmLists[:], key); which >= 0 {
		l.tree.counts[which] = n
	}
	return nil
}

// lightgbmRead are the lists whose items are looked at; of others they are
// counted.
var lightgbmRead = map[string]bool{
	"tree_sizes": true, "max_feature_idx": true, "version": true, "objective": true,
	"num_leaves": true, "num_cat": true, "left_child": true, "right_child": true, "split_feature": true, "cat_boundaries": true,
}

// item takes what of a list is checked.
func (l *lightgbmScan) item(key, w string, i int64) error {
	if len(l.starts) == 0 {
		return l.header(key, w, i == 0)
	}
	t := &l.tree
	switch key {
	case "tree_sizes", "max_feature_idx", "version", "objective":
		return nil
	}
	n, err := strconv.ParseInt(w, 10, 32)
	if err != nil {
		return fmt.Errorf("offset %d: %q in %s", l.off, excerpt(w, 40), key)
	}
	switch key {
	case "num_leaves":
		t.leaves = n
	case "num_cat":
		t.cats = n
	case "split_feature":
		t.feature, t.lowest = max(t.feature, n), min(t.lowest, n)
	case "cat_boundaries":
		if n < t.boundary {
			n = math.MaxInt32 // they do not go down
		}
		t.boundary = n
	default:
		t.back = t.back || n >= 0 && n <= i
		t.inner, t.leaf = max(t.inner, n), max(t.leaf, ^n)
	}
	return nil
}

func (l *lightgbmScan) header(key, w string, first bool) error {
	switch {
	case key == "tree_sizes":
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("offset %d: %q in tree_sizes", l.off, excerpt(w, 40))
		}
		if err := l.a.Spend(Entries, 1); err != nil {
			return err
		}
		l.stated = append(l.stated, n)
	case key == "max_feature_idx":
		n, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			return fmt.Errorf("offset %d: %q in max_feature_idx", l.off, excerpt(w, 40))
		}
		l.features = n
	case first && (key == "version" || key == "objective"):
		l.out.Fact(key, excerpt(w, 40))
	}
	return nil
}

// check holds the tree that ends here against what it states.
func (l *lightgbmScan) check() {
	t := &l.tree
	if len(l.starts) == 0 || l.faults == treeFaults {
		return
	}
	if t.leaves < 1 {
		l.layout(fmt.Sprintf("%d leaves", t.leaves))
		return
	}
	for i, n := range t.counts {
		want := t.leaves - 1
		switch i {
		case lightgbmLeaf:
			want = t.leaves
		case lightgbmBoundaries:
			if want = 0; t.cats > 0 {
				want = t.cats + 1
			}
		case lightgbmBits:
			want = t.boundary
		}
		if n != want {
			l.layout(fmt.Sprintf("%d leaves, %d categorical splits, %s has %d items", t.leaves, t.cats, lightgbmLists[i], n))
			return
		}
	}
	switch {
	case t.inner > 0 && t.inner >= t.leaves-1:
		l.layout(fmt.Sprintf("%d inner nodes, one names node %d as its child", t.leaves-1, t.inner))
	case t.back: // the library makes them behind, and follows them without an end
		l.layout("a node names one before it, or itself, as its child")
	case t.leaf >= t.leaves:
		l.layout(fmt.Sprintf("%d leaves, a node names leaf %d", t.leaves, t.leaf))
	case t.lowest < 0, l.features >= 0 && t.feature > l.features:
		l.layout(fmt.Sprintf("features up to %d, a node splits at feature %d", l.features, max(t.feature, -t.lowest)))
	}
}

// sizes holds the header against where the trees stand.
func (l *lightgbmScan) sizes() {
	if len(l.stated) == 0 {
		return // before version 2.2
	}
	if len(l.stated) != len(l.starts) {
		l.report(0, "count", "the header states %d trees, there are %d", len(l.stated), len(l.starts))
		return
	}
	for i, n := range l.stated {
		end := l.end
		if i+1 < len(l.starts) {
			end = l.starts[i+1]
		}
		if got := end - l.starts[i]; got != n {
			l.report(l.starts[i], "size", "tree %d has %d bytes, the header states %d", i, got, n)
			return
		}
	}
}

func (l *lightgbmScan) layout(what string) {
	l.faults++
	n := len(l.starts) - 1
	l.report(l.starts[n], strconv.Itoa(n), "tree %d: %s", n, what)
}

func (l *lightgbmScan) report(at int64, key, format string, args ...any) {
	l.out.report(ruleLightGBMLayout, 0, prerun.Location{Offset: at, Length: 1}, key, format, args...)
}
