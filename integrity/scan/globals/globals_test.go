package globals_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/pickle"
)

func TestGrade(t *testing.T) {
	for _, tt := range []struct {
		module, name string
		level        globals.Level
		effect       globals.Effect
		profile      string
	}{
		{"os", "system", globals.Malicious, globals.Execute, ""},
		{"os.path", "join", globals.Malicious, globals.Execute, ""},
		{"osmosis", "system2", globals.Low, "", ""},
		{"mypackage.os", "Thing", globals.Low, "", ""},
		{"mypackage", "os", globals.Malicious, globals.Execute, ""},
		{"mypackage", "sys.modules", globals.Malicious, globals.Inspect, ""},
		{"mypackage", "Thing.system", globals.Malicious, globals.Execute, ""},
		{"builtins", "eval", globals.Malicious, globals.Execute, ""},
		{"builtins", "print", globals.Malicious, globals.Execute, ""},
		{"builtins", "set", globals.Allowed, "", "builtins"},
		{"__builtin__", "set", globals.Allowed, "", "builtins"},
		{"__builtin__", "unicode", globals.Allowed, "", "builtins"},
		{"__builtin__", "execfile", globals.Malicious, globals.Execute, ""},
		{"exceptions", "StandardError", globals.Allowed, "", "builtins"},
		{"copy_reg", "_reconstructor", globals.Allowed, "", "std"},
		{"copyreg", "add_extension", globals.Malicious, globals.Execute, ""},
		{"commands", "getoutput", globals.Malicious, globals.Execute, ""},
		{"_codecs", "encode", globals.Allowed, "", "std"},
		{"_codecs", "decode", globals.Malicious, globals.Private, ""},
		{"torch", "FloatStorage", globals.Allowed, "", "torch-weights-only"},
		{"torch", "load", globals.Malicious, globals.Load, ""},
		{"torch.jit._pickle", "build_intlist", globals.Allowed, "", "torch-module"},
		{"torch.jit._script", "ScriptModule", globals.Malicious, globals.Execute, ""},
		{"sklearn.ensemble._forest", "RandomForestClassifier", globals.Allowed, "", "sklearn"},
		{"sklearn.ensemble.forest", "RandomForestClassifier", globals.Allowed, "", "sklearn"},
		{"joblib.numpy_pickle", "NumpyArrayWrapper", globals.Allowed, "", "sklearn"},
		{"joblib.numpy_pickle", "load", globals.Malicious, globals.Load, ""},
		{"uuid", "UUID", globals.Allowed, "", "std"},
		{"uuid", "_get_command_stdout", globals.Malicious, globals.Execute, ""},
		{"torch.utils._config_module", "ConfigModule.load_config", globals.Malicious, globals.Execute, ""},
		{"pathlib", "Path", globals.Allowed, "", "std"},
		{"pathlib", "Path.write_text", globals.Malicious, globals.File, ""},
		{"pickle", "loads", globals.Malicious, globals.Load, ""},
		{"modelscan", "x", globals.Malicious, globals.Scanner, ""},
		{"mypackage", "Thing.__init__", globals.Suspicious, globals.Inspect, ""},
		{"__main__", "Net", globals.Low, "", ""},
		{"", "", globals.Low, "", ""},
	} {
		g := globals.Policy{}.Grade(tt.module, tt.name)
		if g.Level != tt.level || g.Effect != tt.effect || g.Profile != tt.profile {
			t.Errorf("%s.%s: %+v, want %s %s %s", tt.module, tt.name, g, tt.level, tt.effect, tt.profile)
		}
	}
}

// The tables agree with themselves: nothing stands on both lists, no entry is
// shadowed by another spelling, and every name could be imported.
func TestTables(t *testing.T) {
	deny := globals.Denied()
	n := 0
	for _, p := range globals.Profiles() {
		if len(p.Names) == 0 {
			t.Errorf("profile %s is empty", p.Name)
		}
		for module, names := range p.Names {
			for _, name := range names {
				n++
				plain := strings.TrimLeft(name, "!>?~/")
				if _, both := deny.Names[[2]string{module, plain}]; both {
					t.Errorf("%s.%s is on both lists", module, plain)
				}
				if g := (globals.Policy{}).Grade(module, plain); g.Level != globals.Allowed {
					t.Errorf("%s.%s stands in profile %s and is graded %s: %s", module, plain, p.Name, g.Level, g.Reason)
				}
				if strings.Trim(module+plain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != "" {
					t.Errorf("%s.%s is no Python name", module, plain)
				}
			}
		}
	}
	if n < 1000 || len(deny.Modules) < 100 || len(deny.Names) < 60 {
		t.Errorf("%d names allowed, %d modules and %d names denied: a table was lost", n, len(deny.Modules), len(deny.Names))
	}
}

func TestParse(t *testing.T) {
	profiles, err := globals.ParseProfiles("# mine\nprofile mine\n\na b.c: X !Y\nb.c: Z\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []globals.Profile{{Name: "mine", Names: map[string][]string{"a": {"X", "!Y"}, "b.c": {"X", "!Y", "Z"}}}}
	if diff := cmp.Diff(want, profiles); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	for _, text := range []string{"a: X\n", "profile\n", "profile p\na b c\n", "profile p\na:\n"} {
		if _, err := globals.ParseProfiles(text); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	deny, err := globals.ParseDeny("execute module a b\nfile name c: D E\nimport component f\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&globals.DenyList{
		Modules:    map[string]globals.Effect{"a": globals.Execute, "b": globals.Execute},
		Names:      map[[2]string]globals.Effect{{"c", "D"}: globals.File, {"c", "E"}: globals.File},
		Components: map[string]globals.Effect{"f": globals.Import},
	}, deny); diff != "" {
		t.Errorf("deny list (-want +got):\n%s", diff)
	}
	for _, text := range []string{"execute\n", "harm module a\n", "execute names a: b\n", "execute name a b\n", "execute name a:\n"} {
		if _, err := globals.ParseDeny(text); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestClassify(t *testing.T) {
	for text, want := range map[string][]globals.Class{
		"":                            nil,
		"relu":                        nil,
		"model.layers.0.attn.weight":  nil,
		"The cat sat on the mat.":     nil,
		"a sentence; and another one": nil,
		"importance":                  nil,
		"from scratch":                nil,
		"class labels":                nil,
		"find the best":               nil,
		"0.1.2":                       nil,
		"and/or":                      nil,
		"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": nil,
		"echo hello":                    {globals.Shell},
		"whoami":                        {globals.Shell},
		"cat flag.txt":                  {globals.Shell},
		"curl http://example.test/x|sh": {globals.Shell, globals.URL},
		"/bin/sh -c id":                 {globals.Shell, globals.Path},
		"x && y":                        {globals.Shell},
		"https://example.test/":         {globals.URL},
		"192.0.2.1":                     {globals.URL},
		"192.0.2.1:4444":                {globals.URL},
		"2001:db8::1":                   {globals.URL},
		"/etc/passwd":                   {globals.Path},
		"~/.ssh/id_rsa":                 {globals.Path},
		"../../x":                       {globals.Path},
		`C:\Windows`:                    {globals.Path},
		"import os":                     {globals.Source},
		"x = 1; import os":              {globals.Source},
		"from os import system":         {globals.Source},
		"def f(x): return x":            {globals.Source},
		"__import__('os')":              {globals.Source},
		"YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXpBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWjAx": {globals.Encoded},
		"cos\nsystem\n(S'true'\ntR.":       {globals.Payload},
		"Y29zCnN5c3RlbQooUyd0cnVlJwp0Ui4=": {globals.Payload},
	} {
		if got := globals.Classify(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWeightsOnly(t *testing.T) {
	storage := asm(pickle.OpMark, pickle.OpShortBinstring, 7, "storage", pickle.OpGlobal, "torch\nFloatStorage\n",
		pickle.OpBinunicode, uint32(1), "0", pickle.OpBinunicode, uint32(3), "cpu", pickle.OpBinint1, 4, pickle.OpTuple, pickle.OpBinpersid)
	ordered := asm(pickle.OpGlobal, "collections\nOrderedDict\n", pickle.OpEmptyTuple, pickle.OpReduce)
	tensor := asm(pickle.OpGlobal, "torch._utils\n_rebuild_tensor_v2\n", pickle.OpMark, storage, pickle.OpBinint1, 0,
		pickle.OpBinint1, 4, pickle.OpTuple1, pickle.OpBinint1, 1, pickle.OpTuple1, pickle.OpNewfalse, ordered, pickle.OpTuple, pickle.OpReduce)
	key := asm(pickle.OpBinunicode, uint32(1), "w")
	for _, tt := range []struct {
		name string
		data []byte
		want string // in a reason; empty when it loads
	}{
		{"state_dict", asm(ordered, pickle.OpMark, key, tensor, pickle.OpSetitems), ""},
		{"python_2_set", asm(pickle.OpGlobal, "__builtin__\nset\n", pickle.OpEmptyList, pickle.OpTuple1, pickle.OpReduce), ""},
		{"list", asm(pickle.OpEmptyList, pickle.OpMark, tensor, pickle.OpAppends), ""},
		{"persistent_int", asm(pickle.OpBinint1, 0, pickle.OpBinpersid), ""},
		{"module", asm(pickle.OpGlobal, "torch.nn.modules.linear\nLinear\n", pickle.OpEmptyTuple, pickle.OpNewobj), "torch.nn.modules.linear.Linear"},
		{"system", asm(pickle.OpGlobal, "os\nsystem\n"), "os.system"},
		{"stack_global", asm(key, key, pickle.OpStackGlobal), "STACK_GLOBAL"},
		{"memoize", asm(pickle.OpNone, pickle.OpMemoize), "MEMOIZE"},
		{"short_text", asm(str("x")), "SHORT_BINUNICODE"},
		{"append_to_dict", asm(ordered, pickle.OpNone, pickle.OpAppend), "which is no list"},
		{"setitem_on_tensor", asm(tensor, key, pickle.OpNone, pickle.OpSetitem), "which is no dict"},
		{"build_on_bytes", asm(pickle.OpGlobal, "_codecs\nencode\n", key, key, pickle.OpTuple2, pickle.OpReduce, pickle.OpEmptyDict, pickle.OpBuild), "BUILD on a result of"},
		{"build_on_ordered", asm(ordered, pickle.OpEmptyDict, pickle.OpBuild), ""},
		{"persistent_text", asm(key, pickle.OpBinpersid), "no storage"},
		{"computed_call", asm(ordered, pickle.OpEmptyTuple, pickle.OpReduce), "<result of"},
		{"broken", asm(pickle.OpPop), "is broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok, blockers := globals.WeightsOnly(scan(t, asm(pickle.OpProto, 2, tt.data, pickle.OpStop)))
			if ok != (tt.want == "") || ok != (len(blockers) == 0) {
				t.Fatalf("loadable %v: %+v", ok, blockers)
			}
			if tt.want != "" && !slices.ContainsFunc(blockers, func(b globals.Blocker) bool { return strings.Contains(b.Reason, tt.want) }) {
				t.Errorf("%+v, want %q", blockers, tt.want)
			}
		})
	}
	if ok, _ := globals.WeightsOnly(scan(t, nil)); ok {
		t.Error("an empty file passes for loadable")
	}
}

// A call that is one of more than are kept is not taken for a harmless one.
func TestUnseenCalls(t *testing.T) {
	var b bytes.Buffer
	b.Write(asm(pickle.OpProto, 4))
	for i := range 40 {
		b.Write(asm(pickle.OpGlobal, "builtins\nsorted\n", str(fmt.Sprint(i)), pickle.OpTuple1, pickle.OpReduce, pickle.OpPop))
	}
	b.Write(stop)
	m := pickle.Machine{Limits: pickle.Limits{Records: 20}}
	trace, err := m.Scan(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	found := globals.Policy{}.Assess(trace)
	if len(found) != 1 || found[0].Level != globals.Suspicious || found[0].Cause != globals.CheckedCall {
		t.Errorf("%+v", found)
	}
}

// Every cause has a name of its own, and each is reached by some trace of the
// tests above or below.
func TestCauses(t *testing.T) {
	seen := make(map[globals.Cause]bool)
	for _, c := range globals.Causes() {
		if seen[c] || c == "" {
			t.Errorf("cause %q twice", c)
		}
		seen[c] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d causes", len(seen))
	}
}

func FuzzAssess(f *testing.F) {
	f.Add([]byte("cos\nsystem\n(S'true'\ntR."))
	f.Add(asm(pickle.OpProto, 4, str("os"), str("system"), pickle.OpStackGlobal, pickle.OpStop))
	f.Add(asm(pickle.OpGlobal, "builtins\ngetattr\n", pickle.OpGlobal, "collections\nCounter\n", str("x"), pickle.OpTuple2, pickle.OpReduce, pickle.OpStop))
	f.Add(asm(pickle.OpGlobal, "functools\npartial\n", pickle.OpGlobal, "m\nf\n", pickle.OpTuple1, pickle.OpReduce, pickle.OpEmptyDict, pickle.OpBuild, pickle.OpStop))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<13 {
			return
		}
		trace := scan(t, data)
		found := globals.Policy{}.Assess(trace)
		for i, a := range found {
			if a.Detail == "" || a.Level == globals.Allowed || !slices.Contains(globals.Causes(), a.Cause) {
				t.Fatalf("%+v", a)
			}
			if i > 0 && found[i-1].Offset > a.Offset {
				t.Fatalf("offset %d behind %d", a.Offset, found[i-1].Offset)
			}
		}
		globals.WeightsOnly(trace)
	})
}

// A trace of a pickle is judged; the policy adds a profile of one's own.
func ExamplePolicy_Assess() {
	data := []byte("(imypackage\nNet\n(dS'layers'\nI3\nsb.")
	trace, err := pickle.Machine{}.Scan(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range (globals.Policy{}).Assess(trace) {
		fmt.Printf("%s %s at %d: %s\n", a.Level, a.Cause, a.Offset, a.Detail)
	}
	own, err := globals.ParseProfiles("profile mypackage\nmypackage: Net\n")
	if err != nil {
		fmt.Println(err)
		return
	}
	policy := globals.Policy{Profiles: append(globals.Profiles(), own...)}
	fmt.Println("with a profile of its own:", len(policy.Assess(trace)))
	// Output:
	// suspicious unlisted-call at 1: "mypackage.Net" is called and on no list
	// with a profile of its own: 0
}

func ExamplePolicy_Grade() {
	for _, name := range [][2]string{{"posix", "system"}, {"collections", "OrderedDict"}, {"mypackage", "Net"}} {
		g := globals.Policy{}.Grade(name[0], name[1])
		fmt.Printf("%s: %s %q %q\n", name[1], g.Level, g.Effect, g.Profile)
	}
	// Output:
	// system: malicious "execute" ""
	// OrderedDict: allowed "" "std"
	// Net: low "" ""
}

func BenchmarkAssess(b *testing.B) {
	var p bytes.Buffer
	p.Write(asm(pickle.OpProto, 4))
	for i := range 1000 {
		p.Write(asm(pickle.OpGlobal, fmt.Sprintf("mypackage.m%d\nNet\n", i), str("name"), pickle.OpTuple1, pickle.OpReduce, pickle.OpPop))
	}
	p.Write(stop)
	trace, err := pickle.Machine{}.Scan(b.Context(), bytes.NewReader(p.Bytes()), int64(p.Len()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		globals.Policy{}.Assess(trace)
	}
}
