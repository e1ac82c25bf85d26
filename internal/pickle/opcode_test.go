package pickle_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
)

// What each of the 68 opcodes does, seen in what the loader would return. The
// first opcode of each entry that is no scaffolding is the one under test.
func TestOpcodes(t *testing.T) {
	const quote = "'"
	tests := []struct {
		op      pickle.Op
		program []byte
		want    string
	}{
		{pickle.OpNone, asm(pickle.OpNone), "None"},
		{pickle.OpNewtrue, asm(pickle.OpNewtrue), "True"},
		{pickle.OpNewfalse, asm(pickle.OpNewfalse), "False"},
		{pickle.OpEmptyList, asm(pickle.OpEmptyList), "[]"},
		{pickle.OpEmptyDict, asm(pickle.OpEmptyDict), "{}"},
		{pickle.OpEmptyTuple, asm(pickle.OpEmptyTuple), "()"},
		{pickle.OpEmptySet, asm(pickle.OpEmptySet), "{}"},

		{pickle.OpMark, asm(pickle.OpMark, pickle.OpTuple), "()"},
		{pickle.OpPop, asm(pickle.OpNone, pickle.OpNewtrue, pickle.OpPop), "None"},
		{pickle.OpPop, asm(pickle.OpNone, pickle.OpMark, pickle.OpPop), "None"},
		{pickle.OpPopMark, asm(pickle.OpNone, pickle.OpMark, pickle.OpNewtrue, pickle.OpPopMark), "None"},
		{pickle.OpDup, asm(pickle.OpNone, pickle.OpDup, pickle.OpTuple2), "(None, None)"},
		{pickle.OpStop, asm(pickle.OpNone), "None"},

		{pickle.OpAppend, asm(pickle.OpEmptyList, pickle.OpNone, pickle.OpAppend), "[None]"},
		{pickle.OpAppends, asm(pickle.OpEmptyList, pickle.OpMark, pickle.OpNone, pickle.OpNewtrue, pickle.OpAppends), "[None, True]"},
		{pickle.OpSetitem, asm(pickle.OpEmptyDict, str("k"), pickle.OpNone, pickle.OpSetitem), "{'k': None}"},
		{pickle.OpSetitems, asm(pickle.OpEmptyDict, pickle.OpMark, str("k"), pickle.OpNone, str("l"), pickle.OpNone, pickle.OpSetitems), "{'k': None, 'l': None}"},
		{pickle.OpAdditems, asm(pickle.OpEmptySet, pickle.OpMark, pickle.OpNone, pickle.OpAdditems), "{None}"},
		{pickle.OpFrozenset, asm(pickle.OpMark, pickle.OpNone, pickle.OpFrozenset), "{None}"},
		{pickle.OpList, asm(pickle.OpMark, pickle.OpNone, pickle.OpList), "[None]"},
		{pickle.OpDict, asm(pickle.OpMark, str("k"), pickle.OpNone, pickle.OpDict), "{'k': None}"},
		{pickle.OpTuple, asm(pickle.OpMark, pickle.OpNone, pickle.OpTuple), "(None,)"},
		{pickle.OpTuple1, asm(pickle.OpNone, pickle.OpTuple1), "(None,)"},
		{pickle.OpTuple2, asm(pickle.OpNone, pickle.OpNone, pickle.OpTuple2), "(None, None)"},
		{pickle.OpTuple3, asm(pickle.OpNone, pickle.OpNone, pickle.OpNone, pickle.OpTuple3), "(None, None, None)"},

		{pickle.OpStackGlobal, asm(str("m"), str("n"), pickle.OpStackGlobal), "m.n"},
		{pickle.OpReduce, asm(pickle.OpGlobal, "m\nn\n", pickle.OpEmptyTuple, pickle.OpReduce), "<result of m.n>"},
		{pickle.OpBuild, asm(pickle.OpGlobal, "m\nn\n", pickle.OpEmptyTuple, pickle.OpReduce, pickle.OpNone, pickle.OpBuild), "<result of m.n>"},
		{pickle.OpObj, asm(pickle.OpMark, pickle.OpGlobal, "m\nn\n", pickle.OpNone, pickle.OpObj), "<result of m.n>"},
		{pickle.OpNewobj, asm(pickle.OpGlobal, "m\nn\n", pickle.OpEmptyTuple, pickle.OpNewobj), "<result of m.n>"},
		{pickle.OpNewobjEx, asm(pickle.OpGlobal, "m\nn\n", pickle.OpEmptyTuple, pickle.OpEmptyDict, pickle.OpNewobjEx), "<result of m.n>"},
		{pickle.OpBinpersid, asm(str("id"), pickle.OpBinpersid), "<persistent 'id'>"},
		{pickle.OpPersid, asm(pickle.OpPersid, "id\n"), "<persistent 'id'>"},
		{pickle.OpMemoize, asm(pickle.OpNone, pickle.OpMemoize, pickle.OpPop, pickle.OpBinget, 0), "None"},
		{pickle.OpNextBuffer, asm(pickle.OpNextBuffer), "<buffer>"},
		{pickle.OpReadonlyBuffer, asm(pickle.OpNextBuffer, pickle.OpReadonlyBuffer), "<buffer>"},
		{pickle.OpGlobal, asm(pickle.OpGlobal, "m\nn\n"), "m.n"},
		{pickle.OpInst, asm(pickle.OpMark, pickle.OpNone, pickle.OpInst, "m\nn\n"), "<result of m.n>"},
		{pickle.OpExt1, asm(pickle.OpExt1, 7), "."},
		{pickle.OpExt2, asm(pickle.OpExt2, u16(700)), "."},
		{pickle.OpExt4, asm(pickle.OpExt4, u32(70000)), "."},

		{pickle.OpBinint1, asm(pickle.OpBinint1, 255), "255"},
		{pickle.OpBinint2, asm(pickle.OpBinint2, u16(65535)), "65535"},
		{pickle.OpBinint, asm(pickle.OpBinint, u32(0xffffffff)), "-1"},
		{pickle.OpBinget, asm(pickle.OpNone, pickle.OpBinput, 9, pickle.OpPop, pickle.OpBinget, 9), "None"},
		{pickle.OpBinput, asm(pickle.OpNone, pickle.OpBinput, 9), "None"},
		{pickle.OpLongBinget, asm(pickle.OpNone, pickle.OpLongBinput, u32(1<<31), pickle.OpPop, pickle.OpLongBinget, u32(1<<31)), "None"},
		{pickle.OpLongBinput, asm(pickle.OpNone, pickle.OpLongBinput, u32(1)), "None"},
		{pickle.OpProto, asm(pickle.OpProto, 5, pickle.OpNone), "None"},
		{pickle.OpFrame, asm(pickle.OpFrame, u64(2), pickle.OpNone), "None"},
		{pickle.OpBinfloat, asm(pickle.OpBinfloat, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), "1.5"},

		{pickle.OpInt, asm(pickle.OpInt, "-12\n"), "-12"},
		{pickle.OpInt, asm(pickle.OpInt, "01\n"), "True"},
		{pickle.OpInt, asm(pickle.OpInt, "00\n"), "False"},
		{pickle.OpLong, asm(pickle.OpLong, "-12L\n"), "-12"},
		{pickle.OpLong, asm(pickle.OpLong, "123456789012345678901\n"), "123456789012345678901"},
		{pickle.OpFloat, asm(pickle.OpFloat, "1.5e3\n"), "1.5e3"},
		{pickle.OpString, asm(pickle.OpString, `'a\x41\101\'b'`, "\n"), `'aAA` + quote + `b'`},
		{pickle.OpString, asm(pickle.OpString, `"a"`, "\n"), "'a'"},
		{pickle.OpUnicode, asm(pickle.OpUnicode, `\u0061\U00000062c`, "\n"), "'abc'"},
		{pickle.OpUnicode, asm(pickle.OpUnicode, `\\u0061`, "\n"), `'\\u0061'`},
		{pickle.OpGet, asm(pickle.OpNone, pickle.OpPut, "9\n", pickle.OpPop, pickle.OpGet, "9\n"), "None"},
		{pickle.OpPut, asm(pickle.OpNone, pickle.OpPut, "9\n"), "None"},

		{pickle.OpLong1, asm(pickle.OpLong1, 0), "0"},
		{pickle.OpLong1, asm(pickle.OpLong1, 1, 0xff), "-1"},
		{pickle.OpLong1, asm(pickle.OpLong1, 10, "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"), "0x1950a86a20f9469cfc6c"},
		{pickle.OpLong4, asm(pickle.OpLong4, u32(2), 0, 1), "256"},
		{pickle.OpLong4, asm(pickle.OpLong4, u32(9), 0, 0, 0, 0, 0, 0, 0, 0, 0xff), "-0x10000000000000000"},
		{pickle.OpShortBinstring, asm(pickle.OpShortBinstring, 1, "a"), "'a'"},
		{pickle.OpShortBinbytes, asm(pickle.OpShortBinbytes, 1, "a"), "b'a'"},
		{pickle.OpShortBinunicode, asm(pickle.OpShortBinunicode, 1, "a"), "'a'"},
		{pickle.OpBinstring, asm(pickle.OpBinstring, u32(1), "a"), "'a'"},
		{pickle.OpBinbytes, asm(pickle.OpBinbytes, u32(1), "a"), "b'a'"},
		{pickle.OpBinunicode, asm(pickle.OpBinunicode, u32(1), "a"), "'a'"},
		{pickle.OpBinbytes8, asm(pickle.OpBinbytes8, u64(1), "a"), "b'a'"},
		{pickle.OpBinunicode8, asm(pickle.OpBinunicode8, u64(1), "a"), "'a'"},
		{pickle.OpBytearray8, asm(pickle.OpBytearray8, u64(1), "a"), "b'a'"},
	}
	tested := make(map[pickle.Op]bool)
	for i, tt := range tests {
		tested[tt.op] = true
		t.Run(fmt.Sprintf("%02d_%s", i, tt.op), func(t *testing.T) {
			data := asm(tt.program, pickle.OpStop)
			trace := scan(t, data)
			if len(trace.Streams) != 1 {
				t.Fatalf("streams: %+v", trace.Streams)
			}
			s := trace.Streams[0]
			if !s.Complete || s.End != int64(len(data)) || len(trace.Exceeded) > 0 || !s.Opcodes.Has(tt.op) {
				t.Errorf("stream: %+v", s)
			}
			if got := s.Result.String(); got != tt.want {
				t.Errorf("result %s, want %s", got, tt.want)
			}
		})
		// Cut anywhere, it must not be complete, nor panic.
		for n := range len(tt.program) {
			if s := scan(t, tt.program[:n]); n > 0 && s.Streams[0].Complete {
				t.Errorf("%s: the first %d bytes pass for complete", tt.op, n)
			}
		}
	}
	for b := range 256 {
		op := pickle.Op(b)
		if op.Known() != tested[op] {
			t.Errorf("%s: known %v, tested %v", op, op.Known(), tested[op])
		}
		if !op.Known() {
			s := scan(t, asm(pickle.OpNone, b, pickle.OpStop)).Streams[0]
			if s.Complete || s.End != 1 || len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Reason, "none that a loader knows") {
				t.Errorf("%s: %+v", op, s)
			}
		}
	}
}

// Faults are where every loader stops. What is done before and behind them
// stays in the trace.
func TestFaults(t *testing.T) {
	before, after := call("m", "before", "x"), call("m", "after", "x")
	for _, tt := range []struct {
		name   string
		broken []byte
		want   string
	}{
		{"underflow", asm(pickle.OpPop, pickle.OpPop), "stack underflow"},
		{"fence", asm(pickle.OpMark, pickle.OpTuple1), "stack underflow"},
		{"no_mark", asm(pickle.OpTuple), "no mark"},
		{"missing_memo", asm(pickle.OpBinget, 3), "memo key 3 is not set"},
		{"missing_text_memo", asm(pickle.OpGet, "99999999999999999999\n"), "is not set"},
		{"bad_int", asm(pickle.OpInt, "two\n"), "is no number"},
		{"bad_float", asm(pickle.OpFloat, "two\n"), "is no number"},
		{"bad_key", asm(pickle.OpNone, pickle.OpPut, "0x1\n"), "is no memo key"},
		{"negative_put", asm(pickle.OpNone, pickle.OpPut, "-1\n"), "negative"},
		{"unquoted", asm(pickle.OpString, "abc\n"), "without quotes"},
		{"crossed_quotes", asm(pickle.OpString, "'abc\"\n"), "without quotes"},
		{"odd_dict", asm(pickle.OpMark, pickle.OpNone, pickle.OpDict), "odd number"},
		{"append_to_tuple", asm(pickle.OpEmptyTuple, pickle.OpNone, pickle.OpAppend), "APPEND on a tuple"},
		{"setitem_on_list", asm(pickle.OpEmptyList, pickle.OpNone, pickle.OpNone, pickle.OpSetitem), "SETITEM on a list"},
		{"global_of_int", asm(pickle.OpBinint1, 42, str("os"), pickle.OpStackGlobal), "STACK_GLOBAL of a int"},
		{"global_of_bytes", asm(pickle.OpShortBinbytes, 1, "m", str("n"), pickle.OpStackGlobal), "STACK_GLOBAL of bytes"},
		{"call_of_string", asm(str("f"), pickle.OpEmptyTuple, pickle.OpReduce), "REDUCE calls a str"},
		{"arguments_of_int", asm(pickle.OpGlobal, "m\nf\n", pickle.OpNone, pickle.OpReduce), "REDUCE with a None"},
		{"build_on_list", asm(pickle.OpEmptyList, str("state"), pickle.OpBuild), "BUILD on a list"},
		{"persid_not_ascii", asm(pickle.OpPersid, "\xff\n"), "not ASCII"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := scan(t, asm(before, tt.broken, after, pickle.OpStop))
			s := trace.Streams[0]
			if s.Complete || len(s.Faults) == 0 || !strings.Contains(s.Faults[0].Reason, tt.want) {
				t.Fatalf("faults %v, want %q", s.Faults, tt.want)
			}
			dead := map[string]bool{}
			for _, c := range trace.Calls {
				dead[c.Callee.Text] = c.AfterFault
			}
			if d, ok := dead["m.before"]; !ok || d {
				t.Errorf("the call before the fault: recorded %v, behind it %v", ok, d)
			}
			if d, ok := dead["m.after"]; !ok || !d {
				t.Errorf("the call behind the fault: recorded %v, behind it %v", ok, d)
			}
		})
	}
}
