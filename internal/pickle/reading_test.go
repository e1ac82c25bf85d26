package pickle_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
)

// A reading is a pickle that readers take differently.
type reading struct {
	name string
	data []byte
	kind pickle.Kind
	// What some reader looks up, and the reading in which the trace has it.
	global  string
	reading pickle.Reading
}

func readingCases() []reading {
	payload := asm(call("m", "f", "x"), pickle.OpStop)
	// An argument of four bytes that a frame cuts after the first: read on, it
	// is a string of 263 bytes; read by C from a file, one of a single byte,
	// and the call behind it runs.
	hidden := asm(pickle.OpFrame, u64(2), pickle.OpBinbytes, 7, u32(1), "x", payload)
	hidden = append(hidden, bytes.Repeat([]byte{'p'}, 300)...)
	return []reading{
		{"straddle_length", hidden, pickle.FrameStraddle, "m.f", pickle.CFile},
		{
			"straddle_line", asm(pickle.OpFrame, u64(4), "cmac", "builtins\nprint\n", pickle.OpStop),
			pickle.FrameStraddle, "builtins.print", pickle.CFile,
		},
		{
			"straddle_line_linear", asm(pickle.OpFrame, u64(4), "cmac", "builtins\nprint\n", pickle.OpStop),
			pickle.FrameStraddle, "macbuiltins.print", pickle.Linear,
		},
		{"straddle_text", asm(pickle.OpFrame, u64(4), str("zzsystem")[:4], "mm", pickle.OpShortBinunicode, 1, "o", str("f"), pickle.OpStackGlobal, pickle.OpStop), pickle.FrameStraddle, "", 0},
		{"frame_overrun", asm(pickle.OpFrame, u64(1<<40), payload), pickle.FrameOverrun, "m.f", pickle.Linear},
		{"frame_nested", asm(pickle.OpFrame, u64(60), pickle.OpFrame, u64(3), payload, bytes.Repeat([]byte("0"), 60)), pickle.FrameNested, "m.f", pickle.Linear},
		{"int_hex", asm(pickle.OpInt, "0x10\n", pickle.OpPop, payload), pickle.IntegerLiteral, "m.f", pickle.Linear},
		{"int_octal", asm(pickle.OpInt, "010\n", pickle.OpPop, payload), pickle.IntegerLiteral, "m.f", pickle.Linear},
		{"int_nul", asm(pickle.OpInt, "5\x00junk\n", pickle.OpPop, payload), pickle.IntegerLiteral, "m.f", pickle.Linear},
		{"int_bool", asm(pickle.OpInt, "+1\n", pickle.OpPop, payload), pickle.IntegerLiteral, "m.f", pickle.Linear},
		{"long_hex", asm(pickle.OpLong, "0x10L\n", pickle.OpPop, payload), pickle.IntegerLiteral, "m.f", pickle.Linear},
		{"string_not_ascii", asm(pickle.OpString, "'\xe9'\n", pickle.OpPop, payload), pickle.StringEncoding, "m.f", pickle.Linear},
		{"name_not_ascii", asm(pickle.OpGlobal, "m\u00e9\nf\n", pickle.OpStop), pickle.NameEncoding, "m\u00e9.f", pickle.Linear},
		{"put_huge", asm(pickle.OpNone, pickle.OpPut, "99999999999999999999\n", pickle.OpPop, payload), pickle.MemoKey, "m.f", pickle.Linear},
		{"put_again", asm(pickle.OpNone, pickle.OpBinput, 0, pickle.OpBinput, 0, pickle.OpPop, payload), pickle.MemoRedefined, "m.f", pickle.Linear},
		{"leftover", asm(pickle.OpNone, pickle.OpMark, payload), pickle.StackLeftover, "m.f", pickle.Linear},
		{"protocol_6", asm(pickle.OpProto, 6, payload), pickle.ProtocolUnknown, "m.f", pickle.Linear},
		{"protocol_moved", asm(pickle.OpNone, pickle.OpPop, pickle.OpProto, 4, payload), pickle.ProtocolMoved, "m.f", pickle.Linear},
		{"unterminated", asm(pickle.OpMark, pickle.OpNone, pickle.OpInst, "m\nfX"), pickle.UnterminatedLine, "m.f", pickle.Linear},
		{"list_of_arguments", asm(pickle.OpGlobal, "m\nf\n", pickle.OpMark, pickle.OpNone, pickle.OpList, pickle.OpReduce, pickle.OpStop), pickle.ArgumentType, "m.f", pickle.Linear},
	}
}

func readings() (programs [][]byte) {
	for _, c := range readingCases() {
		programs = append(programs, c.data)
	}
	return programs
}

func TestDivergences(t *testing.T) {
	for _, tt := range readingCases() {
		t.Run(tt.name, func(t *testing.T) {
			trace := scan(t, tt.data)
			var kinds []pickle.Kind
			for _, d := range trace.Divergences {
				kinds = append(kinds, d.Kind)
			}
			if !slices.Contains(kinds, tt.kind) {
				t.Errorf("divergences %q, want %q", kinds, tt.kind)
			}
			if tt.global == "" {
				return
			}
			for _, g := range trace.Globals {
				if g.Module+"."+g.Name == tt.global && g.Reading == tt.reading {
					return
				}
			}
			t.Errorf("globals %+v, want %s in the %s reading", trace.Globals, tt.global, tt.reading)
		})
	}
}

// Ordinary pickles diverge nowhere.
func TestNoDivergence(t *testing.T) {
	for _, data := range [][]byte{
		vocabulary(100), forest(100),
		asm(pickle.OpProto, 4, pickle.OpFrame, u64(7), pickle.OpMark, pickle.OpTuple, pickle.OpMemoize, pickle.OpPop,
			pickle.OpBinget, 0, pickle.OpStop),
		asm(pickle.OpProto, 4, pickle.OpFrame, u64(2), pickle.OpNone, pickle.OpPop, pickle.OpBinbytes, u32(3), "abc", pickle.OpStop),
	} {
		trace := scan(t, data)
		if len(trace.Divergences) > 0 || !trace.Streams[0].Complete || len(trace.Streams) != 1 {
			t.Errorf("%.40q: %+v, %+v", data, trace.Divergences, trace.Streams)
		}
	}
}
