package build

import (
	"encoding/binary"
	"fmt"
	"math"
)

var be = binary.BigEndian

// A UBJ is one value of UBJSON, as XGBoost writes it.
type UBJ []byte

func ubjLength(n int) []byte { return be.AppendUint64([]byte{'L'}, uint64(n)) }

// UBJText is a string.
func UBJText(s string) UBJ { return append(append(UBJ("S"), ubjLength(len(s))...), s...) }

// UBJInt is a small number.
func UBJInt(n int8) UBJ { return UBJ{'i', byte(n)} }

// UBJObject has members of alternating names and values.
func UBJObject(members ...any) UBJ {
	out := UBJ("{")
	for i := 0; i+1 < len(members); i += 2 {
		name := members[i].(string)
		out = append(append(out, ubjLength(len(name))...), name...)
		out = append(out, members[i+1].(UBJ)...)
	}
	return append(out, '}')
}

// UBJArray is counted.
func UBJArray(items ...UBJ) UBJ {
	out := append(UBJ("[#"), ubjLength(len(items))...)
	for _, it := range items {
		out = append(out, it...)
	}
	return out
}

// UBJInts is an array of 32-bit numbers with their type in front.
func UBJInts(items ...int32) UBJ {
	out := append(UBJ("[$l#"), ubjLength(len(items))...)
	for _, n := range items {
		out = be.AppendUint32(out, uint32(n))
	}
	return out
}

// An XGBoostTree is one tree of a model. The zero value is one leaf.
type XGBoostTree struct {
	Left, Right, Feature []int32
	Nodes                int // as the tree states; 0 means as many as Left
	Features             int // 0 means 4
	Categories, Sizes    []int32
}

// Stump is a tree of one split.
func Stump() XGBoostTree {
	return XGBoostTree{Left: []int32{1, -1, -1}, Right: []int32{2, -1, -1}, Feature: []int32{3, 0, 0}}
}

func (t XGBoostTree) fields() (left, right, feature []int32, nodes, features int) {
	left, right, feature, nodes, features = t.Left, t.Right, t.Feature, t.Nodes, t.Features
	if left == nil {
		left, right, feature = []int32{-1}, []int32{-1}, []int32{0}
	}
	if nodes == 0 {
		nodes = len(left)
	}
	if features == 0 {
		features = 4
	}
	return left, right, feature, nodes, features
}

// XGBoost is a model in UBJSON that states that number of trees, with one
// attribute.
func XGBoost(stated int, key, attribute string, trees ...XGBoostTree) UBJ {
	var list []UBJ
	for _, t := range trees {
		left, right, feature, nodes, features := t.fields()
		list = append(list, UBJObject(
			"categories", UBJInts(t.Categories...), "categories_sizes", UBJInts(t.Sizes...),
			"left_children", UBJInts(left...), "right_children", UBJInts(right...), "split_indices", UBJInts(feature...),
			"tree_param", UBJObject("num_feature", UBJText(fmt.Sprint(features)), "num_nodes", UBJText(fmt.Sprint(nodes)), "size_leaf_vector", UBJText("1")),
		))
	}
	return UBJObject(
		"learner", UBJObject(
			"attributes", UBJObject(key, UBJText(attribute)),
			"gradient_booster", UBJObject(
				"model", UBJObject(
					"gbtree_model_param", UBJObject("num_trees", UBJText(fmt.Sprint(stated))),
					"trees", UBJArray(list...),
				),
				"name", UBJText("gbtree"),
			),
			"objective", UBJObject("name", UBJText("reg:squarederror")),
		),
		"version", UBJArray(UBJInt(3), UBJInt(2), UBJInt(0)),
	)
}

// XGBoostBinary is a model in the format that XGBoost wrote before UBJSON.
func XGBoostBinary(mark, booster, attribute string, trees ...XGBoostTree) []byte {
	text := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	head := make([]byte, 136)
	le.PutUint32(head, math.Float32bits(0.5))
	le.PutUint32(head[4:], 4)
	if attribute != "" {
		head[12] = 1
	}
	le.PutUint32(head[20:], 2)
	b := text(text(append([]byte(mark), head...), "reg:linear"), booster)
	if booster == "gblinear" {
		b = le.AppendUint64(append(b, make([]byte, 136)...), 5)
		b = append(b, make([]byte, 20)...)
	} else {
		b = append(le.AppendUint32(b, uint32(len(trees))), make([]byte, 156)...)
		for _, t := range trees {
			left, right, feature, nodes, features := t.fields()
			var p [148]byte
			le.PutUint32(p[4:], uint32(nodes))
			le.PutUint32(p[16:], uint32(features))
			b = append(b, p[:]...)
			for i := range left {
				b = le.AppendUint32(b, math.MaxUint32)
				b = le.AppendUint32(le.AppendUint32(b, uint32(left[i])), uint32(right[i]))
				b = le.AppendUint32(le.AppendUint32(b, uint32(feature[i])), 0)
			}
			b = append(b, make([]byte, 16*len(left))...)
		}
		b = append(b, make([]byte, 4*len(trees))...)
	}
	if attribute != "" {
		b = text(text(le.AppendUint64(b, 1), "note"), attribute)
	}
	return b
}

// An R is one item of a serialisation of R in its binary form.
type R []byte

// R items without anything below them.
const (
	RNil     = 254
	RUnbound = 252
	RGlobal  = 253
)

// RInt is a number by itself: flags, lengths and counts.
func RInt(n int) R { return be.AppendUint32(nil, uint32(n)) }

// RCat joins what stands one behind the other.
func RCat(parts ...R) R {
	var out R
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// RChars is a text.
func RChars(s string) R { return RCat(RInt(9|1<<18), RInt(len(s)), R(s)) }

// RSymbol is a name that was not used before.
func RSymbol(name string) R { return RCat(RInt(1), RChars(name)) }

// RStrings is a character vector.
func RStrings(texts ...string) R {
	out := RCat(RInt(16), RInt(len(texts)))
	for _, t := range texts {
		out = append(out, RChars(t)...)
	}
	return out
}

// RReals is a numeric vector of that many zeros.
func RReals(n int) R { return RCat(RInt(14), RInt(n), make(R, 8*n)) }

// RList is a list.
func RList(items ...R) R { return RCat(RInt(19), RInt(len(items)), RCat(items...)) }

// RPairs is a pairlist; its items have no names.
func RPairs(items ...R) R {
	var out R
	for _, it := range items {
		out = RCat(out, RInt(2), it)
	}
	return RCat(out, RInt(RNil))
}

// RCall is a call of a function by name.
func RCall(callee R, args ...R) R { return RCat(RInt(6), callee, RPairs(args...)) }

// RPromise is an expression with its value and, unless that is nil, its
// environment.
func RPromise(env, value, code R) R {
	flags := 5
	if env != nil {
		flags |= 1 << 10
	}
	return RCat(RInt(flags), env, value, code)
}

// RClosure is a function without arguments, of the global environment.
func RClosure(body R) R { return RCat(RInt(3|1<<10), RInt(RGlobal), RInt(RNil), body) }

// RBytecode is compiled code of those constants.
func RBytecode(constants ...R) R {
	out := RCat(RInt(21), RInt(1), RInt(13), RInt(1), RInt(12), RInt(len(constants)))
	for _, c := range constants {
		out = RCat(out, RInt(0), c)
	}
	return out
}

// REnvironment has variables of alternating names and values.
func REnvironment(vars ...any) R {
	out := RCat(RInt(4), RInt(0), RInt(RGlobal))
	for i := 0; i+1 < len(vars); i += 2 {
		out = RCat(out, RInt(2|1<<10), RSymbol(vars[i].(string)), vars[i+1].(R))
	}
	return RCat(out, RInt(RNil), RInt(RNil), RInt(RNil))
}

// RAltrep is a vector of a class of a package.
func RAltrep(class, pkg string, state R) R {
	return RCat(RInt(238), RPairs(RSymbol(class), RSymbol(pkg), RStrings()), state, RInt(RNil))
}

// RDS is a file of one object.
func RDS(version int, item R) []byte {
	out := RCat(R("X\n"), RInt(version), RInt(4<<16|2<<8|2), RInt(3<<16|5<<8))
	if version == 3 {
		out = RCat(out, RInt(5), R("UTF-8"))
	}
	return append(out, item...)
}
