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

// LightGBM is a saved model of trees given as their lines, "num_leaves=2" and
// so on. delta is added to the size that the header states of the last.
func LightGBM(delta int, trees ...string) []byte {
	var body, sizes string
	for i, t := range trees {
		block := fmt.Sprintf("Tree=%d\n%s\n\n", i, t)
		n := len(block)
		if i == len(trees)-1 {
			n += delta
		}
		body += block
		sizes += fmt.Sprintf(" %d", n)
	}
	return []byte("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\nobjective=binary sigmoid:1\n" +
		"feature_names=a b c\nfeature_infos=none none none\ntree_sizes=" + sizes[min(1, len(sizes)):] + "\n\n" + body +
		"end of trees\n\nfeature_importances:\na=1\n\nparameters:\n[boosting: gbdt]\n[data: train.csv]\nend of parameters\n\npandas_categorical:null\n")
}

// CatBoostTrees are the arrays of a model. The zero value of a field stands for
// what a model of one tree of two splits has.
type CatBoostTrees struct {
	Splits, Sizes, Starts []int32
	Leaves                int
	Dimension             uint32
	Steps, LeafIDs        []int32 // of trees that are not symmetric
	Key, Value            string  // of the metadata
}

// CatBoost is a model in binary form.
func CatBoost(t CatBoostTrees) []byte {
	if t.Splits == nil {
		t.Splits = []int32{0, 2}
	}
	if t.Sizes == nil {
		t.Sizes, t.Starts = []int32{2}, []int32{0}
	}
	if t.Leaves == 0 {
		t.Leaves = 4
	}
	if t.Dimension == 0 {
		t.Dimension = 1
	}
	trees := Flat{
		0: t.Dimension, 1: t.Splits, 2: t.Sizes, 3: t.Starts,
		5: []Flat{{1: uint32(0), 3: make([]int32, 3)}}, 8: make([]uint64, t.Leaves),
	}
	if t.Steps != nil {
		trees[10], trees[11] = t.Steps, t.LeafIDs
	}
	core := FlatBuffer("", nil, Flat{
		0: "FlabuffersModel_v1", 1: trees,
		2: []Flat{{0: t.Key, 1: t.Value}},
	})
	return append(le.AppendUint32([]byte("CBM1"), uint32(len(core))), core...)
}

// Skops is an archive with that schema.
func Skops(schema string, more ...Member) []byte {
	return Zip(append(more, Member{Name: "schema.json", Data: []byte(schema), Method: 8})...)
}

// A T7 is one object of Lua Torch in binary form.
type T7 []byte

func t7Int(n int) []byte { return le.AppendUint32(nil, uint32(n)) }

func t7Text(s string) []byte { return append(t7Int(len(s)), s...) }

func t7Longs(longs []int) (out []byte) {
	for _, n := range longs {
		out = le.AppendUint64(out, uint64(n))
	}
	return out
}

// T7Nil is nothing.
func T7Nil() T7 { return t7Int(0) }

// T7Number is a number.
func T7Number(v float64) T7 { return le.AppendUint64(t7Int(1), math.Float64bits(v)) }

// T7String is a text.
func T7String(s string) T7 { return append(t7Int(2), t7Text(s)...) }

// T7Table has alternating keys and values.
func T7Table(number int, entries ...T7) T7 {
	out := append(append(t7Int(3), t7Int(number)...), t7Int(len(entries)/2)...)
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}

// T7Object is an object of a class, with what its reader takes.
func T7Object(number int, class string, content T7) T7 {
	out := append(append(t7Int(4), t7Int(number)...), t7Text("V 1")...)
	return append(append(out, t7Text(class)...), content...)
}

// T7Function is a function of type 6, 7 or 8.
func T7Function(kind, number int, code string, upvalues T7) T7 {
	out := t7Int(kind)
	if kind != 6 {
		out = append(out, t7Int(number)...)
	}
	return append(append(out, t7Text(code)...), upvalues...)
}

// T7Tensor is a tensor of floats over a storage of that many.
func T7Tensor(number int, shape, strides []int, off, storage int) T7 {
	s := T7Object(number+1, "torch.FloatStorage", append(t7Longs([]int{storage}), make([]byte, 4*storage)...))
	return T7Object(number, "torch.FloatTensor", append(append(append(append(t7Int(len(shape)), t7Longs(shape)...), t7Longs(strides)...), t7Longs([]int{off})...), s...))
}

// A GGMLTensor is one tensor of [GGML].
type GGMLTensor struct {
	Dims []uint32
	Type uint32
	Data int // bytes behind it
	Name string
}

// GGML is a model in one of the formats before GGUF: the mark as it stands in
// the file, its version unless that is 0, the header, words and tensors.
func GGML(mark string, version uint32, header []uint32, words []string, tensors ...GGMLTensor) []byte {
	b := []byte(mark)
	if version > 0 {
		b = le.AppendUint32(b, version)
	}
	for _, n := range header {
		b = le.AppendUint32(b, n)
	}
	for _, w := range words {
		b = append(le.AppendUint32(b, uint32(len(w))), w...)
		if version > 0 {
			b = append(b, 0, 0, 0, 0)
		}
	}
	for _, t := range tensors {
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, uint32(len(t.Dims))), uint32(len(t.Name))), t.Type)
		for _, d := range t.Dims {
			b = le.AppendUint32(b, d)
		}
		b = append(b, t.Name...)
		for (mark == "tjgg" || mark == "algg") && len(b)%32 != 0 {
			b = append(b, 0)
		}
		b = append(b, make([]byte, t.Data)...)
	}
	return b
}
