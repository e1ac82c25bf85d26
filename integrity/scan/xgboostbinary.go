package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Sizes of the fixed parts of a binary model, which is little-endian. Most of
// each is reserved.
const (
	xgboostHead  = 136 // the learner's parameters
	xgboostGBT   = 160 // the tree booster's
	xgboostTrees = 148 // each tree's
	xgboostNode  = 20
	xgboostStat  = 16
	xgboostName  = 64 // bytes of a name, at most
)

// xgboostBinary returns where the parameters of a binary model start, -1 when
// head is of no such model. They have no magic number of their own, but the
// names of objective and booster behind them are unmistakable.
func xgboostBinary(head []byte) int {
	at := 0
	if strings.HasPrefix(string(head[:min(4, len(head))]), "binf") {
		at = 4
	}
	objective, rest, ok := xgboostText(head[min(len(head), at+xgboostHead):])
	if !ok {
		return -1
	}
	booster, _, ok := xgboostText(rest)
	if !ok || strings.Trim(objective, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_@") != "" {
		return -1
	}
	switch booster {
	case "gbtree", "dart", "gblinear":
		return at
	}
	return -1
}

// xgboostText takes a text behind its length of eight bytes.
func xgboostText(p []byte) (text string, rest []byte, ok bool) {
	if len(p) < 8 {
		return "", nil, false
	}
	n := binary.LittleEndian.Uint64(p)
	if n == 0 || n > xgboostName || n > uint64(len(p)-8) {
		return "", nil, false
	}
	return string(p[8 : 8+n]), p[8+n:], true
}

// binary reads the model whose parameters start at off.
func (x *xgboostScan) binary(off int64) error {
	x.out.Fact("framework", "xgboost")
	head := x.a.Head[off:]
	le := binary.LittleEndian
	attributes := le.Uint32(head[12:]) != 0
	x.version = []string{fmt.Sprint(le.Uint32(head[20:])), fmt.Sprint(le.Uint32(head[24:]))}
	if le.Uint32(head[20:]) == 0 {
		x.version = nil // before 1.0 they were not recorded
	}
	var rest []byte
	x.goal, rest, _ = xgboostText(head[xgboostHead:])
	x.name, _, _ = xgboostText(rest)
	f := newForward(x.a, off+xgboostHead+16+int64(len(x.goal)+len(x.name)))
	var err error
	if x.name == "gblinear" {
		err = x.linear(f)
	} else {
		err = x.forest(f)
	}
	if err == nil && attributes {
		err = x.attributes(f)
	}
	x.facts()
	if err == nil {
		// Names of evaluation metrics may follow, and nothing else.
		x.out.Claim(0, f.off)
	}
	return err
}

// linear passes over a vector of weights.
func (x *xgboostScan) linear(f *forward) error {
	if err := f.skip(xgboostHead); err != nil {
		return err
	}
	return x.floats(f)
}

func (x *xgboostScan) floats(f *forward) error {
	n, err := f.u64(binary.LittleEndian)
	if err != nil {
		return err
	}
	if err := f.room(n, 4); err != nil {
		return err
	}
	return f.skip(4 * n)
}

func (x *xgboostScan) forest(f *forward) error {
	var p [xgboostGBT]byte
	if err := f.read(p[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(p[:])
	if err := f.room(uint64(n), xgboostTrees); err != nil {
		return err
	}
	for range n {
		if err := x.a.Spend(Entries, 1); err != nil {
			return err
		}
		if err := x.binaryTree(f); err != nil {
			return err
		}
		x.trees++
	}
	if err := f.skip(4 * uint64(n)); err != nil { // the class that each is for
		return err
	}
	if x.name == "dart" && n > 0 {
		return x.floats(f) // weights of trees
	}
	return nil
}

func (x *xgboostScan) binaryTree(f *forward) error {
	at := f.off
	var p [xgboostTrees]byte
	if err := f.read(p[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	nodes, features := le.Uint32(p[4:]), le.Uint32(p[16:])
	if leaf := le.Uint32(p[20:]); nodes > math.MaxInt32 || leaf > 1 {
		return fmt.Errorf("offset %d: a tree of %d nodes with leaves of %d values", at, nodes, leaf)
	}
	if err := f.room(uint64(nodes), xgboostNode+xgboostStat); err != nil {
		return err
	}
	fault := ""
	for i := range nodes {
		n, err := f.take(xgboostNode)
		if err != nil {
			return err
		}
		left, right, split := le.Uint32(n[4:]), le.Uint32(n[8:]), le.Uint32(n[12:])
		if fault != "" || split == math.MaxUint32 { // a deleted node
			continue
		}
		switch feature := split &^ (1 << 31); {
		case left == math.MaxUint32: // a leaf
		case left >= nodes, right >= nodes:
			fault = fmt.Sprintf("%d nodes, node %d names nodes %d and %d as its children", nodes, i, int32(left), int32(right))
		case left <= i, right <= i:
			fault = fmt.Sprintf("node %d names nodes %d and %d as its children", i, left, right)
		case features > 0 && feature >= features:
			fault = fmt.Sprintf("%d features, node %d splits at feature %d", features, i, feature)
		}
	}
	if fault != "" && x.faults < treeFaults {
		x.layout(at, fault)
	}
	return f.skip(uint64(nodes) * xgboostStat)
}

// attributes reads pairs of texts.
func (x *xgboostScan) attributes(f *forward) error {
	n, err := f.u64(binary.LittleEndian)
	if err != nil {
		return err
	}
	if err := f.room(n, 16); err != nil {
		return err
	}
	if n > 1<<16 {
		return errors.New("more than 65536 attributes")
	}
	for range n {
		at := f.off
		var pair [2]string
		for i := range pair {
			size, err := f.u64(binary.LittleEndian)
			if err != nil {
				return err
			}
			if pair[i], err = f.text(size, docText); err != nil {
				return err
			}
		}
		x.attribute(pair[0], pair[1], at)
	}
	return nil
}
