package scan_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/testutil"
)

// xgboostModels are models in all three formats, sound ones first.
func xgboostModels() []row {
	stump, leaf := build.Stump(), build.XGBoostTree{}
	with := func(change func(*build.XGBoostTree)) []byte {
		s := build.Stump()
		change(&s)
		return build.XGBoost(2, "best", "1", leaf, s)
	}
	binary := func(change func(*build.XGBoostTree)) []byte {
		s := build.Stump()
		change(&s)
		return build.XGBoostBinary("binf", "gbtree", "", leaf, s)
	}
	ok := build.XGBoost(2, "best", "1", leaf, stump)
	const text = `{"learner": {"attributes": {"a": "b"}, "gradient_booster": {"name": "gbtree", "model": {"gbtree_model_param": {"num_trees": "1"},
		"trees": [{"id": 0, "left_children": [1, -1, -1], "right_children": [2, -1, -1], "base_weights": [1E-3, NaN, -2.5], "split_indices": [0, 0, 0],
		"tree_param": {"num_nodes": "3", "num_feature": "4"}}]}}, "objective": {"name": "x"}}, "version": [2, 0, 3]}`
	layout := []string{"scan.xgboost.tree-layout"}
	return []row{
		{"ubj", "m.ubj", ok, scan.Clean, scan.Complete, nil},
		{"ubj_any_name", "m", ok, scan.Clean, scan.Complete, nil},
		{"ubj_no_trees", "m.ubj", build.XGBoost(0, "a", "b"), scan.Clean, scan.Complete, nil},
		{"ubj_url", "m.ubj", build.XGBoost(1, "home", "https://example.org/model?x=(y)", leaf), scan.Clean, scan.Complete, nil},
		{"ubj_checkpoint", "m.ubj", build.UBJObject("Config", build.UBJObject("learner", build.UBJObject()), "Model", ok), scan.Clean, scan.Complete, nil},
		{"ubj_other", "m.bin", build.UBJObject("weights", build.UBJInts(1, 2, 3)), scan.Unknown, scan.Inconclusive, nil},
		{"ubj_categories", "m.ubj", with(func(x *build.XGBoostTree) { x.Categories, x.Sizes = []int32{1, 2}, []int32{2} }), scan.Clean, scan.Complete, nil},
		{"json", "m.json", []byte(text), scan.Clean, scan.Complete, nil},
		{"json_pruned", "m.json", []byte(strings.NewReplacer(`"split_indices": [0, 0, 0]`, `"split_indices": [0, 2147483647, 0]`, `"num_nodes"`, `"num_deleted": "1", "num_nodes"`).Replace(text)), scan.Clean, scan.Complete, nil},
		{"json_large", "m.json", []byte(strings.Replace(text, "[1E-3", "["+strings.Repeat("1.5,", 800_000)+"1E-3", 1)), scan.Clean, scan.Complete, nil},
		{"json_other", "m.json", []byte(`{"a": "learner"}`), scan.Clean, scan.Complete, nil},
		{"binary", "m.model", build.XGBoostBinary("binf", "gbtree", "x", leaf, stump), scan.Clean, scan.Complete, nil},
		{"binary_raw", "m.model", build.XGBoostBinary("", "gbtree", "", stump), scan.Clean, scan.Complete, nil},
		{"binary_linear", "m.model", build.XGBoostBinary("", "gblinear", "x"), scan.Clean, scan.Complete, nil},
		{"binary_other", "m.model", build.XGBoostBinary("binf", "gbforest", ""), scan.Unknown, scan.Complete, nil},

		{"ubj_count", "m.ubj", build.XGBoost(3, "a", "b", leaf), scan.Suspicious, scan.Complete, layout},
		{"ubj_nodes", "m.ubj", with(func(x *build.XGBoostTree) { x.Nodes = 4 }), scan.Suspicious, scan.Complete, layout},
		{"ubj_arrays", "m.ubj", with(func(x *build.XGBoostTree) { x.Right = x.Right[:2] }), scan.Suspicious, scan.Complete, layout},
		{"ubj_child", "m.ubj", with(func(x *build.XGBoostTree) { x.Left[0] = 3 }), scan.Suspicious, scan.Complete, layout},
		{"ubj_negative", "m.ubj", with(func(x *build.XGBoostTree) { x.Left[1] = -7 }), scan.Suspicious, scan.Complete, layout},
		{"ubj_feature", "m.ubj", with(func(x *build.XGBoostTree) { x.Feature[0] = 4 }), scan.Suspicious, scan.Complete, layout},
		{"ubj_categories_claim", "m.ubj", with(func(x *build.XGBoostTree) { x.Sizes = []int32{9} }), scan.Suspicious, scan.Complete, layout},
		{"ubj_code", "m.ubj", build.XGBoost(1, "init", "__import__('os').system('id')", leaf), scan.Clean, scan.Complete, []string{"scan.xgboost.attribute-code"}},
		{"ubj_pickle", "m.ubj", build.XGBoost(1, "state", "gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjANpZJSFlFKULg==", leaf), scan.Clean, scan.Complete, []string{"scan.xgboost.attribute-code"}},
		{"ubj_cut", "m.ubj", ok[:len(ok)-30], scan.Unknown, scan.Failed, nil},
		{"ubj_number", "m.ubj", build.UBJObject("learner", build.UBJObject("gradient_booster", build.UBJObject("model", build.UBJObject("gbtree_model_param", build.UBJObject("num_trees", build.UBJText("-1")))))), scan.Unknown, scan.Failed, nil},
		{"ubj_root_again", "m.ubj", with(func(x *build.XGBoostTree) { x.Left[0] = 0 }), scan.Suspicious, scan.Complete, layout},
		{"ubj_back", "m.ubj", with(func(x *build.XGBoostTree) { x.Right[1] = 1 }), scan.Suspicious, scan.Complete, layout},
		{"json_back", "m.json", []byte(strings.Replace(text, "[2, -1", "[0, -1", 1)), scan.Suspicious, scan.Complete, layout},
		{"binary_back", "m.model", binary(func(x *build.XGBoostTree) { x.Right[0] = 0 }), scan.Suspicious, scan.Complete, layout},
		{"json_not_pruned", "m.json", []byte(strings.Replace(text, `"split_indices": [0, 0, 0]`, `"split_indices": [2147483647, 0, 0]`, 1)), scan.Suspicious, scan.Complete, layout},
		{"json_child", "m.json", []byte(strings.Replace(text, "[1, -1", "[100, -1", 1)), scan.Suspicious, scan.Complete, layout},
		{"json_cut", "m.json", []byte(text[:len(text)-40]), scan.Unknown, scan.Failed, nil},
		{"binary_child", "m.model", binary(func(x *build.XGBoostTree) { x.Right[0] = 1 << 20 }), scan.Suspicious, scan.Complete, layout},
		{"binary_feature", "m.model", binary(func(x *build.XGBoostTree) { x.Feature[0] = 4 }), scan.Suspicious, scan.Complete, layout},
		{"binary_size", "m.model", binary(func(x *build.XGBoostTree) { x.Nodes = 1 << 30 }), scan.Unknown, scan.Failed, nil},
		{"binary_code", "m.model", build.XGBoostBinary("binf", "gbtree", "eval(x)", leaf), scan.Clean, scan.Complete, []string{"scan.xgboost.attribute-code"}},
	}
}

func TestXGBoost(t *testing.T) {
	runRows(t, xgboostModels())
	ok := build.XGBoost(2, "best", "1", build.XGBoostTree{}, build.Stump())
	facts(t, "m.ubj", ok, map[string]string{"framework": "xgboost", "booster": "gbtree", "objective": "reg:squarederror", "trees": "2", "version": "3.2.0"})
}

// facts checks what a file states.
func facts(t *testing.T, name string, data []byte, want map[string]string) {
	t.Helper()
	f := one(t, scan.Scanner{}, name, data)
	for k, v := range want {
		if f.Facts[k] != v {
			t.Errorf("%s: %s is %q, want %q", name, k, f.Facts[k], v)
		}
	}
}

// rData are files of R: those that ordinary work makes, and others.
func rData() []row {
	sym, call, str := build.RSymbol, build.RCall, build.RStrings
	unbound, null, global := build.RInt(build.RUnbound), build.RInt(build.RNil), build.RInt(build.RGlobal)
	system := call(sym("system"), str("id"))
	formula := call(sym("~"), sym("y"), call(sym("log"), sym("x")))
	rds := func(item build.R) []byte { return build.RDS(3, item) }
	rda := func(items ...build.R) []byte {
		var vars build.R
		for _, it := range items {
			vars = build.RCat(vars, build.RInt(2|1<<10), sym("v"), it)
		}
		return append([]byte("RDX3\n"), rds(build.RCat(vars, null))...)
	}
	ascii := func(code string) []byte {
		return []byte("A\n3\n262658\n197888\n5\nUTF-8\n6\n1\n262153\n" + code + "\n2\n16\n1\n262153\n2\nid\n254\n")
	}
	native := []byte("B\n\x02\x00\x00\x00\x02\x02\x04\x00\x00\x03\x02\x00\x0d\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00")
	promise, dangerous := []string{"scan.r.promise"}, []string{"scan.r.dangerous-call"}
	both := []string{"scan.r.dangerous-call", "scan.r.promise"}
	return []row{
		{"null", "m.rds", rds(null), scan.Clean, scan.Complete, nil},
		{"version_2", "m.rds", build.RDS(2, build.RList(build.RReals(3), str("a", "b"))), scan.Clean, scan.Complete, nil},
		{"any_name", "model", rds(build.RReals(3)), scan.Clean, scan.Complete, nil},
		{"formula", "m.rds", rds(build.RList(formula)), scan.Clean, scan.Complete, nil},
		{"closure", "m.rds", rds(build.RList(build.RClosure(call(sym("exp"), sym("eta"))))), scan.Clean, scan.Complete, nil},
		{"closure_compiled", "m.rds", rds(build.RClosure(build.RBytecode(call(sym("exp"), sym("eta")), sym("url")))), scan.Clean, scan.Complete, nil},
		{"closure_get", "m.rds", rds(build.RClosure(call(sym("do.call"), str("rbind"), sym("x")))), scan.Clean, scan.Complete, nil},
		{"closure_parse", "m.rds", rds(build.RClosure(call(sym("parse"), str("a system of b + sources(x)")))), scan.Clean, scan.Complete, nil},
		{"text_system", "m.rds", rds(str("system", "system('id')")), scan.Clean, scan.Complete, nil},
		{"environment", "m.rds", rds(build.REnvironment("x", build.RReals(1), "f", build.RClosure(sym("x")))), scan.Clean, scan.Complete, nil},
		{"promise_forced", "m.rds", rds(build.REnvironment("x", build.RPromise(nil, build.RReals(1), call(sym("f"))))), scan.Clean, scan.Complete, nil},
		{"promise_constant", "m.rds", rds(build.REnvironment("x", build.RPromise(nil, unbound, build.RReals(1)))), scan.Clean, scan.Complete, nil},
		{"sequence", "m.rds", rds(build.RAltrep("compact_intseq", "base", build.RReals(3))), scan.Clean, scan.Complete, nil},
		{"rda", "m.rda", rda(build.RReals(2), build.RList(formula)), scan.Clean, scan.Complete, nil},
		{"ascii", "m.rds", ascii("2\nlm"), scan.Clean, scan.Complete, nil},
		{"native", "m.rds", native, scan.Clean, scan.Complete, nil},
		{"gzip", "m.rds", build.Gzip(rds(formula)), scan.Clean, scan.Complete, nil},
		{"text", "X", []byte("X\nY\nZ\n"), scan.Clean, scan.Complete, nil},
		{"text_a", "a.txt", []byte("A\n2\n3\n4\n"), scan.Clean, scan.Complete, nil},
		{"text_words", "a.txt", []byte("A\n2\nbananas\n"), scan.Clean, scan.Complete, nil},

		{"promise", "m.rds", rds(build.RPromise(nil, unbound, system)), scan.Malicious, scan.Complete, both},
		{"promise_harmless", "m.rds", rds(build.RPromise(nil, unbound, call(sym("f")))), scan.Malicious, scan.Complete, promise},
		{"promise_compiled", "m.rds", rds(build.RPromise(nil, unbound, build.RBytecode(sym("system")))), scan.Malicious, scan.Complete, both},
		{"promise_in_list", "m.rds", rds(build.RList(build.RReals(1), build.RPromise(global, unbound, call(sym("f"))))), scan.Malicious, scan.Complete, promise},
		{"promise_in_workspace", "m.RData", rda(build.RPromise(global, unbound, call(sym("f")))), scan.Malicious, scan.Complete, promise},
		{"promise_in_gzip", "m.rds", build.Gzip(rds(build.RPromise(nil, unbound, system))), scan.Malicious, scan.Complete, both},
		{"promise_unowned", "m.rds", rds(build.REnvironment("x", build.RPromise(nil, unbound, call(sym("f"))))), scan.Malicious, scan.Complete, promise},
		{"promise_in_value", "m.rds", rds(build.REnvironment("x", build.RPairs(build.RPromise(global, unbound, call(sym("f")))))), scan.Malicious, scan.Complete, promise},
		{"pending", "m.rds", rds(build.REnvironment("x", build.RPromise(global, unbound, call(sym("stop"))))), scan.Clean, scan.Complete, []string{"scan.r.pending-argument"}},
		{"pending_dots", "m.rds", rds(build.REnvironment("...", build.RCat(build.RInt(17), build.RPromise(global, unbound, call(sym("f"))), null))), scan.Clean, scan.Complete, []string{"scan.r.pending-argument"}},
		{"pending_system", "m.rds", rds(build.REnvironment("x", build.RPromise(global, unbound, system))), scan.Malicious, scan.Complete, []string{"scan.r.dangerous-call", "scan.r.pending-argument"}},
		{"call_system", "m.rds", rds(system), scan.Suspicious, scan.Complete, dangerous},
		{"call_base_system", "m.rds", rds(call(call(sym("::"), sym("base"), sym("system")), str("id"))), scan.Suspicious, scan.Complete, dangerous},
		{"call_by_text", "m.rds", rds(call(sym("do.call"), str("system"), str("id"))), scan.Suspicious, scan.Complete, dangerous},
		{"call_parsed", "m.rds", rds(call(sym("eval"), call(sym("parse"), str("if (x) y else base::system('id')")))), scan.Suspicious, scan.Complete, dangerous},
		{"formula_system", "m.rds", rds(call(sym("~"), sym("y"), call(sym("I"), system))), scan.Suspicious, scan.Complete, dangerous},
		{"closure_system", "m.rds", rds(build.RClosure(call(sym("{"), system))), scan.Suspicious, scan.Complete, dangerous},
		{"closure_reference", "m.rds", rds(build.RList(sym("system"), call(build.RInt(1<<8|255), str("id")))), scan.Suspicious, scan.Complete, dangerous},
		{"closure_compiled_system", "m.rds", rds(build.RClosure(build.RBytecode(call(sym("exp")), sym("system")))), scan.Suspicious, scan.Complete, dangerous},
		{"ascii_system", "m.rds", ascii("6\nsystem"), scan.Suspicious, scan.Complete, dangerous},
		{"ascii_escaped", "m.rds", ascii("6\nsys\\164em"), scan.Suspicious, scan.Complete, dangerous},
		{"bytecode", "m.rds", rds(build.RList(build.RBytecode(sym("x")))), scan.Suspicious, scan.Complete, []string{"scan.r.loose-bytecode"}},
		{"mapped", "m.rds", rds(build.RAltrep("mmap_real", "base", build.RPairs(str("/etc/passwd")))), scan.Malicious, scan.Complete, []string{"scan.r.mapped-file"}},
		{"foreign_vector", "m.rds", rds(build.RAltrep("vroom_chr", "vroom", str("x"))), scan.Clean, scan.Complete, []string{"scan.r.package-vector"}},
		{"cut", "m.rds", rds(build.RReals(8))[:60], scan.Unknown, scan.Failed, nil},
		{"huge", "m.rds", rds(build.RCat(build.RInt(14), build.RInt(-1), build.RInt(1), build.RInt(0))), scan.Unknown, scan.Failed, nil},
		{"reference", "m.rds", rds(build.RInt(7<<8 | 255)), scan.Unknown, scan.Failed, nil},
		{"unknown_type", "m.rds", rds(build.RInt(77)), scan.Unknown, scan.Failed, nil},
		{"deep", "m.rds", rds(build.R(strings.Repeat("\x00\x00\x00\x13\x00\x00\x00\x01", 6000))), scan.Unknown, scan.Failed, nil},
	}
}

func TestR(t *testing.T) {
	runRows(t, rData())
	facts(t, "m.rds", build.RDS(3, build.RList(build.RClosure(build.RCall(build.RSymbol("f"))))),
		map[string]string{"framework": "r", "version": "4.2.2", "functions": "1", "calls": "1"})
}

// lightgbmTree is a tree of three leaves, as LightGBM writes it, with some lines
// changed.
func lightgbmTree(changes ...string) string {
	t := "num_leaves=3\nnum_cat=0\nsplit_feature=0 2\nsplit_gain=1 2\nthreshold=0.5 -1e-3\ndecision_type=2 2\nleft_child=1 -1\nright_child=-2 -3\n" +
		"leaf_value=0.1 0.2 -inf\nleaf_count=1 2 3\ninternal_value=0 0\nis_linear=0\nshrinkage=1\n"
	for i := 0; i+1 < len(changes); i += 2 {
		t = strings.Replace(t, changes[i], changes[i+1], 1)
	}
	return t
}

func lightgbmModels() []row {
	const stump = "num_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\nright_child=\nleaf_value=0.25\nshrinkage=1\n"
	ok := build.LightGBM(0, lightgbmTree(), stump)
	with := func(changes ...string) []byte { return build.LightGBM(0, stump, lightgbmTree(changes...)) }
	categories := []string{"num_cat=0", "num_cat=1\ncat_boundaries=0 2\ncat_threshold=1 2"}
	layout := []string{"scan.lightgbm.tree-layout"}
	return []row{
		{"model", "m.txt", ok, scan.Clean, scan.Complete, nil},
		{"any_name", "model", ok, scan.Clean, scan.Complete, nil},
		{"no_trees", "m.txt", build.LightGBM(0), scan.Clean, scan.Complete, nil},
		{"no_sizes", "m.txt", bytes.Replace(ok, []byte("tree_sizes="), []byte("tree_sizez="), 1), scan.Clean, scan.Complete, nil},
		{"categories", "m.txt", with(categories...), scan.Clean, scan.Complete, nil},
		{"parameters", "m.txt", bytes.Replace(ok, []byte("[data: train.csv]"), []byte("[data: /home/u/num_leaves=99]\nleft_child=77"), 1), scan.Clean, scan.Complete, nil},
		{"text_tree", "a.txt", []byte("tree\nbark\n"), scan.Clean, scan.Complete, nil},
		{"text_version", "a.txt", []byte("tree version=v4\n"), scan.Clean, scan.Complete, nil},

		{"size", "m.txt", build.LightGBM(7, lightgbmTree()), scan.Suspicious, scan.Complete, layout},
		{"size_count", "m.txt", bytes.Replace(ok, []byte("tree_sizes="), []byte("tree_sizes=9 "), 1), scan.Suspicious, scan.Complete, layout},
		{"left_child", "m.txt", with("left_child=1", "left_child=2"), scan.Suspicious, scan.Complete, layout},
		{"left_child_back", "m.txt", with("left_child=1", "left_child=0"), scan.Suspicious, scan.Complete, layout},
		{"right_leaf", "m.txt", with("-2 -3", "-2 -4"), scan.Suspicious, scan.Complete, layout},
		{"feature", "m.txt", with("split_feature=0 2", "split_feature=0 3"), scan.Suspicious, scan.Complete, layout},
		{"feature_negative", "m.txt", with("split_feature=0 2", "split_feature=0 -1"), scan.Suspicious, scan.Complete, layout},
		{"leaves", "m.txt", with("num_leaves=3", "num_leaves=300000"), scan.Suspicious, scan.Complete, layout},
		{"no_leaves", "m.txt", with("num_leaves=3\n", ""), scan.Suspicious, scan.Complete, layout},
		{"values", "m.txt", with(" -inf", ""), scan.Suspicious, scan.Complete, layout},
		{"categories_missing", "m.txt", with(categories[0], "num_cat=1"), scan.Suspicious, scan.Complete, layout},
		{"categories_beyond", "m.txt", with(categories[0], "num_cat=1\ncat_boundaries=0 2000000\ncat_threshold=1 2"), scan.Suspicious, scan.Complete, layout},
		{"categories_down", "m.txt", with(categories[0], "num_cat=2\ncat_boundaries=0 9 1\ncat_threshold=1"), scan.Suspicious, scan.Complete, layout},
		{"number", "m.txt", with("left_child=1", "left_child=x"), scan.Unknown, scan.Failed, nil},
		{"cut", "m.txt", ok[:len(ok)/2], scan.Unknown, scan.Failed, nil},
	}
}

func TestLightGBM(t *testing.T) {
	runRows(t, lightgbmModels())
	facts(t, "m.txt", build.LightGBM(0, lightgbmTree()), map[string]string{"framework": "lightgbm", "trees": "1", "version": "v4", "objective": "binary"})
}

func catboostModels() []row {
	trees := func(change func(*build.CatBoostTrees)) []byte {
		var t build.CatBoostTrees
		change(&t)
		return build.CatBoost(t)
	}
	ok := build.CatBoost(build.CatBoostTrees{})
	const text = `{"features_info": {"float_features": []}, "model_info": {"note": "x"}, "oblivious_trees": [{"leaf_values": [1, 2.5, -3, 4], "leaf_weights": [1, 1, 1, 1],
		"splits": [{"border": 0.5, "split_index": 0}, {"border": -1, "split_index": 1}]}], "scale_and_bias": [1, [0]]}`
	lossguide := func(steps, ids []int32) []byte {
		return trees(func(t *build.CatBoostTrees) {
			t.Splits, t.Sizes, t.Starts, t.Leaves, t.Steps, t.LeafIDs = []int32{0, 0, 0}, []int32{3}, []int32{0}, 2, steps, ids
		})
	}
	layout := []string{"scan.catboost.tree-layout"}
	return []row{
		{"cbm", "m.cbm", ok, scan.Clean, scan.Complete, nil},
		{"cbm_any_name", "model", ok, scan.Clean, scan.Complete, nil},
		{"cbm_two_values", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Dimension, t.Leaves = 2, 8 }), scan.Clean, scan.Complete, nil},
		{"cbm_lossguide", "m.cbm", lossguide([]int32{1 | 2<<16, 0, 0}, []int32{-1, 0, 1}), scan.Clean, scan.Complete, nil},
		{"cbm_parts", "m.cbm", append(ok[:len(ok):len(ok)], "\x08\x00\x00\x00statistics"...), scan.Clean, scan.Complete, nil},
		{"cbm_metadata", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Key, t.Value = "params", `{"loss": "x"}` }), scan.Clean, scan.Complete, nil},
		{"json", "m.json", []byte(text), scan.Clean, scan.Complete, nil},
		{"json_trees", "m.json", []byte(`{"features_info": {}, "trees": [{"left": {"value": 1}, "right": {"value": 2}, "split": {}}]}`), scan.Clean, scan.Complete, nil},
		{"json_other", "m.json", []byte(`{"features_info": 1}`), scan.Clean, scan.Complete, nil},

		{"cbm_sizes", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Sizes, t.Starts = []int32{3}, []int32{0} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_sizes_short", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Sizes, t.Starts = []int32{1}, []int32{0} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_start", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Sizes, t.Starts = []int32{2}, []int32{1} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_starts", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Sizes, t.Starts = []int32{2}, []int32{0, 2} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_deep", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Splits, t.Sizes, t.Starts = make([]int32, 31), []int32{31}, []int32{0} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_leaves", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Leaves = 3 }), scan.Suspicious, scan.Complete, layout},
		{"cbm_split", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Splits = []int32{0, 3} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_split_negative", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Splits = []int32{0, -1} }), scan.Suspicious, scan.Complete, layout},
		{"cbm_dimension", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Dimension = 1 << 31 }), scan.Suspicious, scan.Complete, layout},
		{"cbm_step", "m.cbm", lossguide([]int32{1 | 9<<16, 0, 0}, []int32{-1, 0, 1}), scan.Suspicious, scan.Complete, layout},
		{"cbm_leaf", "m.cbm", lossguide([]int32{1 | 2<<16, 0, 0}, []int32{-1, 0, 7}), scan.Suspicious, scan.Complete, layout},
		{"cbm_steps", "m.cbm", lossguide([]int32{1 | 2<<16}, []int32{0}), scan.Suspicious, scan.Complete, layout},
		{"cbm_code", "m.cbm", trees(func(t *build.CatBoostTrees) { t.Key, t.Value = "hook", "__import__('os')" }), scan.Clean, scan.Complete, []string{"scan.catboost.metadata-code"}},
		{"cbm_length", "m.cbm", append([]byte("CBM1\xff\xff\xff\x7f"), ok[8:]...), scan.Unknown, scan.Failed, nil},
		{"cbm_version", "m.cbm", bytes.Replace(ok, []byte("Model_v1"), []byte("Model_v9"), 1), scan.Unknown, scan.Failed, nil},
		{"cbm_noise", "m.cbm", append([]byte("CBM1\x10\x00\x00\x00"), bytes.Repeat([]byte{0xee}, 16)...), scan.Unknown, scan.Failed, nil},
		{"json_leaves", "m.json", []byte(strings.Replace(text, "2.5, ", "", 1)), scan.Suspicious, scan.Complete, layout},
		{"json_code", "m.json", []byte(strings.Replace(text, `"note": "x"`, `"note": "eval(x)"`, 1)), scan.Clean, scan.Complete, []string{"scan.catboost.metadata-code"}},
		{"json_cut", "m.json", []byte(text[:len(text)-10]), scan.Unknown, scan.Failed, nil},
	}
}

func TestCatBoost(t *testing.T) {
	runRows(t, catboostModels())
	facts(t, "m.cbm", build.CatBoost(build.CatBoostTrees{}), map[string]string{"framework": "catboost", "trees": "1"})
}

// TestBoosterInPickle reads the model that a pickle of a booster holds.
func TestBoosterInPickle(t *testing.T) {
	in := func(op byte, model []byte) []byte {
		n := len(model)
		return slices.Concat([]byte{0x80, 3, op, byte(n), byte(n >> 8), 0, 0}, model, []byte("."))
	}
	bad := build.Stump()
	bad.Left[0] = 9
	runRows(t, []row{
		{"xgboost", "m.pkl", in('B', build.XGBoost(1, "a", "b", build.Stump())), scan.Clean, scan.Complete, nil},
		{"lightgbm", "m.pkl", in('X', build.LightGBM(0, lightgbmTree())), scan.Clean, scan.Complete, nil},
		{"catboost", "m.pkl", in('B', build.CatBoost(build.CatBoostTrees{})), scan.Clean, scan.Complete, nil},
		{"xgboost_bad", "m.pkl", in('B', build.XGBoost(1, "a", "b", bad)), scan.Suspicious, scan.Complete, []string{"scan.xgboost.tree-layout"}},
		{"lightgbm_bad", "m.pkl", in('X', build.LightGBM(5, lightgbmTree())), scan.Suspicious, scan.Complete, []string{"scan.lightgbm.tree-layout"}},
		{"catboost_bad", "m.pkl", in('B', build.CatBoost(build.CatBoostTrees{Leaves: 3})), scan.Suspicious, scan.Complete, []string{"scan.catboost.tree-layout"}},
	})
}

func skopsModels() []row {
	node := func(loader, module, class, more string) string {
		return fmt.Sprintf(`{"__class__": %q, "__module__": %q, "__loader__": %q%s}`, class, module, loader, more)
	}
	schema := func(content string) string {
		return node("ListNode", "builtins", "list", `, "content": [`+content+`], "protocol": 2, "_skops_version": "0.16.0"`)
	}
	model := node("ObjectNode", "sklearn.linear_model._logistic", "LogisticRegression", `, "content": `+node("DictNode", "builtins", "dict", `, "content": {"C": `+
		node("JsonNode", "builtins", "str", `, "content": "1.0", "is_json": true`)+`}`))
	file := func(content string) []byte { return build.Skops(schema(content)) }
	method := func(module, class, owner, name string) string {
		return node("MethodNode", module, class, fmt.Sprintf(`, "content": {"obj": %s, "func": %q}`, owner, name))
	}
	getter := func(module, class string) string {
		return node("OperatorFuncNode", module, class, `, "attrs": `+node("TupleNode", "builtins", "tuple", `, "content": []`))
	}
	generator := func(name string) string {
		return node("RandomGeneratorNode", "numpy.random._generator", "Generator", `, "content": {"bit_generator": `+node("DictNode", "builtins", "dict",
			`, "content": {"bit_generator": `+node("JsonNode", "builtins", "str", fmt.Sprintf(`, "content": "\"%s\""`, name))+`}`)+`}`)
	}
	confusion, denied, unlisted := []string{"scan.skops.type-confusion"}, []string{"scan.skops.dangerous-type"}, []string{"scan.skops.unlisted-type"}
	pickled := []byte("\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.")
	return []row{
		{"model", "m.skops", file(model), scan.Clean, scan.Complete, nil},
		{"any_name", "m.zip", file(model), scan.Clean, scan.Complete, nil},
		{"array", "m.skops", build.Skops(schema(node("NdArrayNode", "numpy", "ndarray", `, "type": "numpy", "file": "a.npy"`)), build.Member{Name: "a.npy", Data: build.NPY("<f4", "(4,)", make([]byte, 16))}), scan.Clean, scan.Complete, nil},
		{"bytes", "m.skops", build.Skops(schema(node("BytesNode", "builtins", "bytes", `, "file": "0b52f873-1ebb-429c-af30-a7223831c745.bin"`)),
			build.Member{Name: "0b52f873-1ebb-429c-af30-a7223831c745.bin", Data: []byte("x")}), scan.Clean, scan.Complete, nil},
		{"text", "m.skops", file(node("JsonNode", "builtins", "str", `, "content": "\"os.system\""`)), scan.Clean, scan.Complete, nil},
		{"generator", "m.skops", file(generator("PCG64")), scan.Clean, scan.Complete, nil},
		{"zip_other", "m.zip", build.Zip(build.Member{Name: "schema.json", Data: []byte(`{"type": "object"}`)}), scan.Clean, scan.Complete, nil},
		{"zip_none", "m.zip", build.Zip(build.Member{Name: "a", Data: []byte("x")}), scan.Clean, scan.Complete, nil},

		{"function", "m.skops", file(node("FunctionNode", "os", "system", "")), scan.Malicious, scan.Complete, denied},
		{"function_protocol_0", "m.skops", file(node("FunctionNode", "builtins", "list", `, "content": {"module_path": "os", "function": "system"}`)), scan.Malicious, scan.Complete, denied},
		{"constructor", "m.skops", file(node("ConstructorFromReduceNode", "subprocess", "Popen", `, "content": []`)), scan.Malicious, scan.Complete, denied},
		{"deep", "m.skops", file(strings.Replace(model, `"1.0"`, `"1.0", "x": [`+node("TypeNode", "posix", "system", "")+`]`, 1)), scan.Malicious, scan.Complete, denied},
		{"deep_in_list", "m.skops", file(node("TupleNode", "builtins", "tuple", `, "content": [`+model+`, `+node("TypeNode", "posix", "system", "")+`]`)), scan.Malicious, scan.Complete, denied},
		{"unlisted", "m.skops", file(node("ObjectNode", "mylib", "Model", "")), scan.Clean, scan.Complete, unlisted},
		{"method", "m.skops", file(method("sklearn.linear_model._logistic", "LogisticRegression", model, "predict")), scan.Clean, scan.Complete, unlisted},
		{"method_confused", "m.skops", file(method("builtins", "str", model, "predict")), scan.Malicious, scan.Complete, []string{"scan.skops.type-confusion", "scan.skops.unlisted-type"}},
		{"operator", "m.skops", file(getter("operator", "itemgetter")), scan.Clean, scan.Complete, unlisted},
		{"operator_caller", "m.skops", file(getter("operator", "methodcaller")), scan.Suspicious, scan.Complete, unlisted},
		{"operator_confused", "m.skops", file(getter("sklearn.linear_model", "call")), scan.Malicious, scan.Complete, confusion},
		{"generator_other", "m.skops", file(generator("seed")), scan.Malicious, scan.Complete, confusion},
		{"pickle", "m.skops", pickled, scan.Suspicious, scan.Complete, []string{"scan.skops.joblib-fallback"}},
		{"pickle_attack", "m.skops", build.Attack(), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load", "scan.skops.joblib-fallback"}},
		{"array_attack", "m.skops", build.Skops(schema(model), build.Member{Name: "a.npy", Data: build.NPY("|O", "(1,)", build.Attack())}), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"schema_cut", "m.skops", build.Skops(schema(model)[:90]), scan.Unknown, scan.Failed, nil},
	}
}

func TestSkops(t *testing.T) {
	rows := skopsModels()
	runRows(t, rows)
	facts(t, "m.skops", rows[0].data, map[string]string{"framework": "skops"})
	f := one(t, scan.Scanner{}, "m.skops", rows[0].data)
	if len(f.Inside) != 1 {
		t.Fatalf("%d members", len(f.Inside))
	}
	schema := f.Inside[0]
	if diff := cmp.Diff(map[string]string{"framework": "skops", "protocol": "2", "version": "0.16.0"}, schema.Facts); diff != "" {
		t.Error(diff)
	}
	want := scan.Global{Module: "sklearn.linear_model._logistic", Name: "LogisticRegression", Grade: "allowed"}
	if !slices.Contains(schema.Globals, want) {
		t.Errorf("globals %v, without %v", schema.Globals, want)
	}
}

func pmmlModels() []row {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	doc := func(body string) []byte {
		return []byte(head + `<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://a b.xsd">` +
			`<Header><Application name="test"/></Header>` + body + `</PMML>`)
	}
	doctype := []string{"scan.xml.document-type"}
	typed := func(declaration string) []byte {
		return []byte(head + declaration + strings.TrimPrefix(string(doc(`<DataDictionary/>`)), head))
	}
	return []row{
		{"model", "m.pmml", doc(`<TreeModel functionName="regression"><Node id="0"><True/></Node></TreeModel>`), scan.Clean, scan.Complete, nil},
		{"any_name", "m.xml", doc(``), scan.Clean, scan.Complete, nil},
		{"extension", "m.pmml", doc(`<Extension name="author" value="the ecosystem (us)"/>`), scan.Clean, scan.Complete, nil},
		{"apply", "m.pmml", doc(`<Apply function="x-expm1"><Apply function="+"/><Constant>1.5</Constant></Apply>`), scan.Clean, scan.Complete, nil},
		{"comment", "m.pmml", doc(`<!-- <!DOCTYPE x> <xi:include href="y"/> --><Extension><![CDATA[<include href="z"/>]]></Extension>`), scan.Clean, scan.Complete, nil},
		{"xml_other", "a.xml", []byte(head + `<a><b href="x"/></a>`), scan.Clean, scan.Complete, nil},

		{"doctype", "m.pmml", typed(`<!DOCTYPE PMML>`), scan.Suspicious, scan.Complete, doctype},
		{"doctype_system", "m.pmml", typed(`<!DOCTYPE PMML SYSTEM "http://example.org/x.dtd">`), scan.Malicious, scan.Complete, doctype},
		{"entity", "m.pmml", typed(`<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]>`), scan.Malicious, scan.Complete, doctype},
		{"include", "m.pmml", doc(`<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>`), scan.Malicious, scan.Complete, []string{"scan.pmml.external-reference"}},
		{"reference", "m.pmml", doc(`<TableLocator><Extension xlink:href="http://example.org/t.csv"/></TableLocator>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.external-reference"}},
		{"class", "m.pmml", doc(`<Apply function="com.example.Shell"/>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.java-function"}},
		{"extension_code", "m.pmml", doc(`<Extension name="init" value="Runtime.exec(x); eval(y)"/>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.extension-code"}},
		{"extension_text", "m.pmml", doc(`<Extension>eval(x)</Extension>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.extension-code"}},
		{"extension_cdata", "m.pmml", doc(`<Extension><a><![CDATA[if (a < b) eval(x)]]></a></Extension>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.extension-code"}},
		{"extension_script", "m.pmml", doc(`<Extension><script>1</script></Extension>`), scan.Suspicious, scan.Complete, []string{"scan.pmml.extension-code"}},
		{"cut", "m.pmml", doc(`<Node>`), scan.Unknown, scan.Failed, nil},
		{"not_pmml", "m.pmml", []byte(head + `<html/>`), scan.Unknown, scan.Inconclusive, nil},
		{"utf16", "m.pmml", []byte("\xff\xfe<\x00P\x00M\x00M\x00L\x00/\x00>\x00"), scan.Unknown, scan.Failed, nil},
	}
}

func TestPMML(t *testing.T) {
	rows := pmmlModels()
	runRows(t, rows)
	facts(t, "m.pmml", rows[0].data, map[string]string{"framework": "pmml", "version": "4.4", "application": "test", "extensions": "0"})
}

func torch7Models() []row {
	tensor := build.T7Tensor(3, []int{2, 3}, []int{3, 1}, 1, 6)
	linear := build.T7Object(1, "nn.Linear", build.T7Table(2, build.T7String("weight"), tensor, build.T7String("train"), build.T7Number(1)))
	table := build.T7Table(1, build.T7Number(1), linearAt(2, tensor))
	with := func(v build.T7) []byte { return build.T7Table(1, build.T7String("forward"), v) }
	shaped := func(shape, strides []int, off, storage int) []byte {
		return with(build.T7Tensor(2, shape, strides, off, storage))
	}
	code, bytecode := []string{"scan.torch7.function"}, "\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00"
	const text = "4\n1\n3\nV 1\n9\nnn.Linear\n3\n2\n1\n2\n6\nweight\n4\n3\n3\nV 1\n17\ntorch.FloatTensor\n1\n2\n1\n1\n4\n4\n3\nV 1\n18\ntorch.FloatStorage\n2\n0.5 -1e-3\n"
	return []row{
		{"module", "m.t7", linear, scan.Clean, scan.Complete, nil},
		{"any_name", "model.net", linear, scan.Clean, scan.Complete, nil},
		{"table", "m.t7", table, scan.Clean, scan.Complete, nil},
		{"table_any_name", "model", table, scan.Clean, scan.Complete, nil},
		{"shared", "m.t7", build.T7Table(1, build.T7Number(1), tensor, build.T7Number(2), build.T7(tensor[:8])), scan.Clean, scan.Complete, nil},
		{"text_form", "m.t7", []byte(text), scan.Clean, scan.Complete, nil},
		{"empty_tensor", "m.t7", shaped(nil, nil, 1, 0), scan.Clean, scan.Complete, nil},
		{"zero_tensor", "m.t7", shaped([]int{0, 3}, []int{3, 1}, 1, 0), scan.Clean, scan.Complete, nil},
		{"expanded_tensor", "m.t7", shaped([]int{1000, 6}, []int{0, 1}, 1, 6), scan.Clean, scan.Complete, nil},
		{"numbers", "a.txt", []byte("4\n1\n3\n5\n"), scan.Clean, scan.Complete, nil},
		{"noise", "a.bin", []byte("\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x63\x00\x00\x00\x01"), scan.Unknown, scan.Inconclusive, nil},

		{"function", "m.t7", with(build.T7Function(8, 2, bytecode, build.T7Table(3))), scan.Malicious, scan.Complete, code},
		{"function_legacy", "m.t7", with(build.T7Function(7, 2, bytecode, build.T7Table(3))), scan.Malicious, scan.Complete, code},
		{"function_source", "m.t7", with(build.T7Function(6, 0, "return os.execute('id')", build.T7Nil())), scan.Malicious, scan.Complete, code},
		{"function_first", "model", build.T7Function(8, 1, "\x1bLJ\x02\x02", build.T7Table(2)), scan.Malicious, scan.Complete, code},
		{"function_in_text", "m.t7", []byte(strings.Replace(text, "\n6\nweight\n4\n3\n", "\n6\nweight\n8\n9\n9\nos.exit()\n3\n8\n0\n4\n3\n", 1)), scan.Malicious, scan.Complete, code},
		{"bytecode_text", "m.t7", with(build.T7String(bytecode)), scan.Suspicious, scan.Complete, []string{"scan.torch7.bytecode-text"}},
		{"tensor_beyond", "m.t7", shaped([]int{2, 4}, []int{4, 1}, 1, 6), scan.Suspicious, scan.Complete, []string{"scan.torch7.tensor-layout"}},
		{"tensor_offset", "m.t7", shaped([]int{6}, []int{1}, 2, 6), scan.Suspicious, scan.Complete, []string{"scan.torch7.tensor-layout"}},
		{"tensor_before", "m.t7", shaped([]int{1}, []int{1}, 0, 6), scan.Suspicious, scan.Complete, []string{"scan.torch7.tensor-layout"}},
		{"tensor_stride", "m.t7", shaped([]int{2}, []int{math.MaxInt}, 1, 6), scan.Suspicious, scan.Complete, []string{"scan.torch7.tensor-layout"}},
		{"class_own_reader", "m.t7", with(build.T7Object(2, "tds.Hash", build.T7(bytes.Repeat([]byte{99}, 8)))), scan.Unknown, scan.Failed, nil},
		{"cut", "m.t7", linear[:len(linear)-9], scan.Unknown, scan.Failed, nil},
		{"deep", "m.t7", bytes.Repeat([]byte("\x06\x00\x00\x00\x01\x00\x00\x00x"), 3000), scan.Malicious, scan.Failed, code},
	}
}

// linearAt is a module with a tensor, numbered from n.
func linearAt(n int, tensor build.T7) build.T7 {
	return build.T7Object(n, "nn.Linear", build.T7Table(n+10, build.T7String("weight"), tensor))
}

func TestTorch7(t *testing.T) {
	rows := torch7Models()
	runRows(t, rows)
	facts(t, "m.t7", rows[0].data, map[string]string{"framework": "torch7", "functions": "0", "classes": "nn.Linear torch.FloatStorage torch.FloatTensor"})
}

func ggmlModels() []row {
	header, words := []uint32{2, 32, 64, 4, 1, 8, 0}, []string{"a", "bc"}
	f32 := build.GGMLTensor{Dims: []uint32{4, 2}, Data: 32, Name: "w"}
	q4 := func(n int) build.GGMLTensor { return build.GGMLTensor{Dims: []uint32{32}, Type: 2, Data: n, Name: "q"} }
	last := func(t build.GGMLTensor) []byte { return build.GGML("tjgg", 3, header, words, f32, t) }
	layout := []string{"scan.ggml.layout"}
	return []row{
		{"ggml", "m.bin", build.GGML("lmgg", 0, header, words, f32), scan.Clean, scan.Complete, nil},
		{"ggml_gpt2", "m.ggml", build.GGML("lmgg", 0, []uint32{2, 32, 64, 4, 1, 0, 2}, words, f32, q4(20)), scan.Clean, scan.Complete, nil},
		{"ggmf", "m.bin", build.GGML("fmgg", 1, header, words, f32), scan.Clean, scan.Complete, nil},
		{"ggjt_1", "m.bin", build.GGML("tjgg", 1, header, words, f32, q4(20)), scan.Clean, scan.Complete, nil},
		{"ggjt_3", "model", build.GGML("tjgg", 3, header, words, f32, q4(18), f32), scan.Clean, scan.Complete, nil},
		{"ggla", "m.bin", build.GGML("algg", 1, []uint32{8, 16}, nil, f32), scan.Clean, scan.Complete, nil},
		{"whisper", "m.bin", build.GGML("lmgg", 0, []uint32{9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 80, 201}, words, f32), scan.Unknown, scan.Inconclusive, nil},
		{"other_mark", "m.bin", build.GGML("xmgg", 0, header, words, f32), scan.Unknown, scan.Inconclusive, nil},
		{"ggjt_version", "m.bin", build.GGML("tjgg", 9, header, words, f32), scan.Unknown, scan.Inconclusive, nil},

		{"vocabulary", "m.bin", build.GGML("tjgg", 3, []uint32{1 << 31, 1, 1, 1, 1, 1, 0}, words, f32), scan.Suspicious, scan.Complete, layout},
		{"word", "m.bin", bytes.Replace(last(f32), []byte("\x02\x00\x00\x00bc"), []byte("\xff\xff\xff\xffbc"), 1), scan.Suspicious, scan.Complete, layout},
		{"tensor_long", "m.bin", last(build.GGMLTensor{Dims: []uint32{4, 4}, Data: 32, Name: "x"}), scan.Suspicious, scan.Complete, layout},
		{"tensor_overflow", "m.bin", last(build.GGMLTensor{Dims: []uint32{1 << 31, 1 << 31, 4}, Name: "x"}), scan.Suspicious, scan.Complete, layout},
		{"tensor_dimensions", "m.bin", last(build.GGMLTensor{Dims: make([]uint32, 9), Name: "x"}), scan.Suspicious, scan.Complete, layout},
		{"tensor_block", "m.bin", last(build.GGMLTensor{Dims: []uint32{33}, Type: 2, Data: 64, Name: "x"}), scan.Suspicious, scan.Complete, layout},
		{"adapter_long", "m.bin", build.GGML("algg", 1, []uint32{8, 16}, nil, build.GGMLTensor{Dims: []uint32{99}, Name: "x"}), scan.Suspicious, scan.Complete, layout},
		{"tensor_type", "m.bin", last(build.GGMLTensor{Dims: []uint32{4}, Type: 99, Name: "x"}), scan.Unknown, scan.Inconclusive, nil},
		{"cut", "m.bin", last(f32)[:50], scan.Suspicious, scan.Complete, layout},
	}
}

func TestGGML(t *testing.T) {
	rows := ggmlModels()
	runRows(t, rows)
	facts(t, "m.bin", rows[4].data, map[string]string{"framework": "ggjt", "version": "3", "tensors": "3", "vocabulary": "2"})
}

// TestTabularMemory holds each parser to a bound on all that it allocates,
// whatever lengths and counts a file states. None of them is found clean.
func TestTabularMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	many := func(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }
	ubj := func(tail string) []byte {
		return append(build.UBJObject("learner", build.UBJObject("a", build.UBJInt(1)))[:28], tail...)
	}
	rds := func(items ...build.R) []byte { return build.RDS(3, build.RCat(items...)) }
	for _, tt := range []struct {
		id, file string
		data     []byte
		bound    uint64 // MiB
	}{
		{"xgboost", "string.ubj", ubj("SL\x00\x00\x00\x00\x7f\xff\xff\xff"), 1},
		{"xgboost", "array.ubj", ubj("[$l#L\x3f\xff\xff\xff\xff\xff\xff\xff"), 1},
		{"xgboost", "nothing.ubj", ubj("[$Z#L\x3f\xff\xff\xff\xff\xff\xff\xff"), 1},
		{"xgboost", "deep.ubj", ubj(string(many("[", 1<<20))), 1},
		{"xgboost", "deep.json", slices.Concat([]byte(`{"learner": `), many("[", 1<<20)), 1},
		{"xgboost", "text.json", slices.Concat([]byte(`{"learner": {"attributes": {"a": "`), many("\\u0041", 1<<20)), 1},
		{"xgboost", "trees.model", build.XGBoostBinary("binf", "gbtree", "", build.XGBoostTree{Nodes: 1<<31 - 1}), 1},
		{"lightgbm", "sizes.txt", slices.Concat([]byte("tree\nversion=v4\ntree_sizes="), many("1 ", 1<<20)), 24},
		{"lightgbm", "trees.txt", slices.Concat([]byte("tree\nversion=v4\n"), many("Tree=0\n", 1<<18)), 24},
		{"lightgbm", "line.txt", slices.Concat([]byte("tree\nversion=v4\n"), many("x", 4<<20)), 1},
		{"catboost", "vector.cbm", bytes.Replace(build.CatBoost(build.CatBoostTrees{}), []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x02"), []byte("\xff\xff\xff\x7f\x00\x00\x00\x00\x02"), 1), 2},
		{"skops-schema", "schema.json", slices.Concat([]byte(`{"__loader__": "ListNode", "__module__": "a", "content": [`), many("[],", 1<<20), []byte("[]]}")), 256},
		{"pmml", "deep.pmml", slices.Concat([]byte("<PMML>"), many("<a>", 1<<18)), 16},
		{"pmml", "text.pmml", slices.Concat([]byte("<PMML>"), many("x", 20<<20)), 128},
		{"r", "vector.rds", rds(build.RInt(19), build.RInt(1<<31-1)), 1},
		{"r", "long.rds", rds(build.RInt(14), build.RInt(-1), build.RInt(1<<15), build.RInt(-1)), 1},
		{"r", "text.rds", rds(build.RInt(9), build.RInt(1<<31-1)), 1},
		{"r", "symbols.rds", rds(build.RInt(19), build.RInt(1<<20), build.R(many(string(build.RSymbol("abcdefgh")), 1<<18))), 64},
		{"r", "deep.rds", rds(build.R(many("\x00\x00\x00\x06", 1<<20))), 16},
		{"r", "tail.rds", rds(build.R(many("\x00\x00\x00\x02\x00\x00\x00\xfe", 1<<20))), 1},
		{"torch7", "storage.t7", build.T7Object(1, "torch.FloatStorage", build.T7("\xff\xff\xff\xff\xff\xff\xff\x3f")), 1},
		{"torch7", "text.t7", build.T7Table(1, build.T7("\x02\x00\x00\x00\xff\xff\xff\x7f"), build.T7Nil()), 1},
		{"torch7", "objects.t7", many("\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00", 1<<18), 16},
		{"ggml", "words.ggml", build.GGML("tjgg", 3, []uint32{1<<32 - 1, 1, 1, 1, 1, 1, 0}, []string{"a"}), 1},
		{"ggml", "tensors.ggml", build.GGML("algg", 1, []uint32{8, 16}, nil, slices.Repeat([]build.GGMLTensor{{}}, 1<<18)...), 8},
	} {
		t.Run(tt.id+"_"+tt.file, func(t *testing.T) {
			s := scan.Scanner{Formats: only(tt.id), NoDigests: true}
			var f *scan.FileResult
			testutil.AllocBound(t, tt.bound<<20, func() { f = one(t, s, tt.file, tt.data) })
			if f.Verdict == scan.Clean || len(f.Formats) == 0 {
				report(t, f)
				t.Errorf("%s, formats %v", f.Verdict, f.Formats)
			}
		})
	}
}

func tabularExamples() map[string]ruleExample {
	stump := build.Stump()
	stump.Left[0] = 9
	sym, call, global := build.RSymbol, build.RCall, build.RInt(build.RGlobal)
	unbound, null := build.RInt(build.RUnbound), build.RInt(build.RNil)
	node := func(loader, module, class, more string) []byte {
		return build.Skops(fmt.Sprintf(`{"__class__": %q, "__module__": %q, "__loader__": %q%s}`, class, module, loader, more))
	}
	pmml := func(body string) []byte { return []byte("<PMML>" + body + "</PMML>") }
	return map[string]ruleExample{
		"scan.xgboost.tree-layout":     {looks: "a tree of three nodes whose root has node 9 as its left child.", file: "model.ubj", data: build.XGBoost(1, "a", "b", stump)},
		"scan.xgboost.attribute-code":  {looks: "an attribute that holds `__import__('os')`.", file: "model.ubj", data: build.XGBoost(1, "init", "__import__('os')", build.XGBoostTree{})},
		"scan.lightgbm.tree-layout":    {looks: "a header that states seven bytes more for the tree than it has.", file: "model.txt", data: build.LightGBM(7, lightgbmTree())},
		"scan.catboost.tree-layout":    {looks: "a symmetric tree of two splits with three values of leaves.", file: "model.cbm", data: build.CatBoost(build.CatBoostTrees{Leaves: 3})},
		"scan.catboost.metadata-code":  {looks: "a metadata entry that holds `__import__('os')`.", file: "model.cbm", data: build.CatBoost(build.CatBoostTrees{Key: "hook", Value: "__import__('os')"})},
		"scan.pmml.external-reference": {looks: "`<xi:include href=\"file:///etc/passwd\"/>`.", file: "model.pmml", data: pmml(`<xi:include href="file:///etc/passwd"/>`)},
		"scan.pmml.java-function":      {looks: "`<Apply function=\"com.example.Shell\"/>`.", file: "model.pmml", data: pmml(`<Apply function="com.example.Shell"/>`)},
		"scan.pmml.extension-code":     {looks: "an extension with the value `eval(x)`.", file: "model.pmml", data: pmml(`<Extension value="eval(x)"/>`)},
		"scan.skops.type-confusion":    {looks: "an `OperatorFuncNode` of module `sklearn.linear_model` and class `call`, which skops 0.11 looks up in `operator`.", file: "model.skops", data: node("OperatorFuncNode", "sklearn.linear_model", "call", "")},
		"scan.skops.dangerous-type":    {looks: "a `FunctionNode` of `os.system`.", file: "model.skops", data: node("FunctionNode", "os", "system", "")},
		"scan.skops.unlisted-type":     {looks: "an `ObjectNode` of `mylib.Model`.", file: "model.skops", data: node("ObjectNode", "mylib", "Model", "")},
		"scan.skops.joblib-fallback":   {looks: "a pickle called `model.skops`.", file: "model.skops", data: build.Attack(), also: []string{"scan.pickle.call-on-load"}},
		"scan.r.promise":               {looks: "a promise without environment and value for the call `f()`.", file: "model.rds", data: build.RDS(3, build.RPromise(nil, unbound, call(sym("f"))))},
		"scan.r.pending-argument":      {looks: "an environment whose variable `x` is the promise of a call.", file: "model.rds", data: build.RDS(3, build.REnvironment("x", build.RPromise(global, unbound, call(sym("f")))))},
		"scan.r.dangerous-call":        {looks: "the formula `y ~ I(system(\"id\"))`.", file: "model.rds", data: build.RDS(3, call(sym("~"), sym("y"), call(sym("I"), call(sym("system"), build.RStrings("id")))))},
		"scan.r.computed-name":         {looks: "the call `get(paste0(\"sys\", \"tem\"))(\"id\")`.", file: "model.rds", data: build.RDS(3, call(call(sym("get"), call(sym("paste0"), build.RStrings("sys"), build.RStrings("tem"))), build.RStrings("id")))},
		"scan.r.session-hook":          {looks: "a workspace with a function `.Last`.", file: "model.rda", data: workspace(".Last")},
		"scan.r.masked-function":       {looks: "a workspace with a function `library`.", file: "model.rda", data: workspace("library")},
		"scan.r.loose-bytecode":        {looks: "a list of compiled code.", file: "model.rds", data: build.RDS(3, build.RList(build.RBytecode(null)))},
		"scan.r.mapped-file":           {looks: "a vector of class `mmap_real` over `/etc/passwd`.", file: "model.rds", data: build.RDS(3, build.RAltrep("mmap_real", "base", build.RPairs(build.RStrings("/etc/passwd"))))},
		"scan.r.package-vector":        {looks: "a vector of class `vroom_chr` of the package `vroom`.", file: "model.rds", data: build.RDS(3, build.RAltrep("vroom_chr", "vroom", null))},
		"scan.torch7.function":         {looks: "a table whose entry `forward` is byte code of Lua.", file: "model.t7", data: build.T7Table(1, build.T7String("forward"), build.T7Function(8, 2, "\x1bLuaQ", build.T7Table(3)))},
		"scan.torch7.bytecode-text":    {looks: "a text that is byte code of Lua.", file: "model.t7", data: build.T7Table(1, build.T7String("x"), build.T7String("\x1bLuaQ"))},
		"scan.torch7.tensor-layout":    {looks: "a tensor of eight elements over a storage of six.", file: "model.t7", data: build.T7Table(1, build.T7String("x"), build.T7Tensor(2, []int{8}, []int{1}, 1, 6))},
		"scan.ggml.layout":             {looks: "a vocabulary of two thousand million words in a small file.", file: "model.ggml", data: build.GGML("tjgg", 3, []uint32{1 << 31, 1, 1, 1, 1, 1, 0}, []string{"a"})},
	}
}

// fuzzTabular starts at the files of a table of tests.
func fuzzTabular(f *testing.F, id, name string, rows []row) {
	for _, r := range rows {
		if len(r.data) < 8<<10 {
			f.Add(r.data)
		}
	}
	formats := only(id)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 16<<10 {
			check(t, name, data, formats)
		}
	})
}

func FuzzXGBoost(f *testing.F)  { fuzzTabular(f, "xgboost", "m.ubj", xgboostModels()) }
func FuzzLightGBM(f *testing.F) { fuzzTabular(f, "lightgbm", "m.txt", lightgbmModels()) }
func FuzzCatBoost(f *testing.F) { fuzzTabular(f, "catboost", "m.cbm", catboostModels()) }
func FuzzPMML(f *testing.F)     { fuzzTabular(f, "pmml", "m.pmml", pmmlModels()) }
func FuzzR(f *testing.F)        { fuzzTabular(f, "r", "m.rds", rData()) }
func FuzzTorch7(f *testing.F)   { fuzzTabular(f, "torch7", "m.t7", torch7Models()) }
func FuzzGGML(f *testing.F)     { fuzzTabular(f, "ggml", "m.ggml", ggmlModels()) }

// FuzzSkops starts at schemas.
func FuzzSkops(f *testing.F) {
	f.Add([]byte(`{"__loader__": "MethodNode", "__class__": "a", "__module__": "b", "content": {"obj": {"__class__": "c"}, "func": "d"}}`))
	f.Add([]byte(`{"__loader__": "OperatorFuncNode", "__class__": "call", "__module__": "os", "attrs": [{"__loader__": "RandomGeneratorNode", "content": {"bit_generator": {"content": "x"}}}]}`))
	formats := only("skops-schema")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 16<<10 {
			check(t, "schema.json", data, formats)
		}
	})
}

func BenchmarkTabular(b *testing.B) {
	tree := build.XGBoostTree{Left: make([]int32, 1000), Right: make([]int32, 1000), Feature: make([]int32, 1000)}
	for i := range tree.Left {
		tree.Left[i], tree.Right[i] = -1, -1
	}
	numbers := strings.Repeat("-1.25,", 500_000)
	for _, bb := range []struct {
		file string
		data []byte
	}{
		{"model.ubj", build.XGBoost(300, "a", "b", slices.Repeat([]build.XGBoostTree{tree}, 300)...)},
		{"model.json", []byte(`{"learner": {"x": [` + numbers + `0]}}`)},
		{"model.txt", build.LightGBM(0, slices.Repeat([]string{lightgbmTree()}, 10_000)...)},
		{"model.rds", build.RDS(3, build.RList(slices.Repeat([]build.R{build.RCall(build.RSymbol("f"), build.RStrings("a"))}, 20_000)...))},
		{"model.t7", build.T7Table(1, slices.Repeat([]build.T7{build.T7Number(1)}, 200_000)...)},
	} {
		b.Run(bb.file, func(b *testing.B) {
			b.SetBytes(int64(len(bb.data)))
			b.ReportAllocs()
			for b.Loop() {
				one(b, scan.Scanner{NoDigests: true}, bb.file, bb.data)
			}
		})
	}
}

// workspace is a file of save with one function of that name.
func workspace(name string) []byte {
	function := build.RClosure(build.RCall(build.RSymbol("invisible")))
	vars := build.RCat(build.RInt(2|1<<10), build.RSymbol(name), function, build.RInt(build.RNil))
	return append([]byte("RDX3\n"), build.RDS(3, vars)...)
}
