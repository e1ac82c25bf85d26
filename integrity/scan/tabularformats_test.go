package scan_test

import (
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
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

func FuzzXGBoost(f *testing.F) { fuzzTabular(f, "xgboost", "m.ubj", xgboostModels()) }
func FuzzR(f *testing.F)       { fuzzTabular(f, "r", "m.rds", rData()) }
