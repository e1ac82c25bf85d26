package evade

import (
	"strings"

	"github.com/prerun/prerun/internal/pickle"
)

// codes are ways to change instructions that call something into others that
// call it too.
func codes() []Technique {
	way := func(name, row string, f func(*Draft)) Technique {
		return Technique{Name: name, Row: row, Takes: Code, Gives: Code, Apply: f}
	}
	// before and behind put instructions there.
	before := func(name, row string, code ...Instruction) Technique {
		return way(name, row, func(d *Draft) { d.Code = join(code, d.Code) })
	}
	behind := func(name, row string, code ...Instruction) Technique {
		return way(name, row, func(d *Draft) { d.Code = join(d.Code, code) })
	}
	// noise stands behind everything that leaves a value.
	noise := func(name, row string, make func(*Draft) []Instruction) Technique {
		return way(name, row, func(d *Draft) {
			var out []Instruction
			for _, in := range d.Code {
				if out = append(out, in); in.Top {
					out = append(out, make(d)...)
				}
			}
			d.Code = out
		})
	}
	still := func(code ...Instruction) func(*Draft) []Instruction {
		return func(*Draft) []Instruction { return code }
	}
	// launder sends every value through the memo.
	launder := func(name string, in, out pickle.Op) Technique {
		return noise(name, "4.4#2", func(d *Draft) []Instruction {
			k := d.newKey()
			return join(put(in, k), op(pickle.OpPop), get(out, k))
		})
	}
	pop, none := op(pickle.OpPop), op(pickle.OpNone)
	inMemo, again := &key{91}, &key{77}
	huge := line(pickle.OpPut, "18446744073709551616")
	huge.key = &key{-1}
	return []Technique{
		noise("dup-pop", "4.4#3", still(op(pickle.OpDup), pop)),
		noise("mark-pop", "4.4#3", still(op(pickle.OpMark), pop)),
		noise("none-pop", "4.4#3", still(none, pop)),
		noise("tuple-pop", "4.4#3", still(op(pickle.OpEmptyTuple), pop)),
		noise("pop-mark", "4.4#3", still(op(pickle.OpMark), none, op(pickle.OpPopMark))),
		noise("number-pop", "4.4#3", still(integer(7), op(pickle.OpTuple1), pop)),
		launder("put-get", pickle.OpPut, pickle.OpGet),
		launder("binput-binget", pickle.OpBinput, pickle.OpBinget),
		launder("long-binput-get", pickle.OpLongBinput, pickle.OpGet),
		launder("memoize-long-binget", pickle.OpMemoize, pickle.OpLongBinget),
		way("mixed-memo", "4.4#2", func(d *Draft) {
			// Each value through another pair of memo instructions.
			puts := [...]pickle.Op{pickle.OpMemoize, pickle.OpPut, pickle.OpBinput, pickle.OpLongBinput}
			gets := [...]pickle.Op{pickle.OpLongBinget, pickle.OpBinget, pickle.OpGet}
			var out []Instruction
			n := 0
			for _, in := range d.Code {
				if out = append(out, in); in.Top {
					k := d.newKey()
					out = append(out, put(puts[n%len(puts)], k), pop, get(gets[n%len(gets)], k))
					n++
				}
			}
			d.Code = out
		}),
		noise("memoize", "4.4#2", func(d *Draft) []Instruction { return join(put(pickle.OpMemoize, d.newKey())) }),
		noise("memo-redefined", "4.4#15", still(put(pickle.OpBinput, again), none, put(pickle.OpBinput, again), pop)),
		behind("missing-key-behind", "4.4#2", pop, op(pickle.OpBinget, 250)),
		behind("global-of-int-behind", "4.4#2", pop, integer(42), str("system"), op(pickle.OpStackGlobal)),

		behind("popped", "4.4#5", pop, none),
		way("popped-by-mark", "4.4#5", func(d *Draft) {
			d.Code = join(none, op(pickle.OpMark), d.Code, op(pickle.OpPopMark))
		}),
		behind("overwritten", "4.4#5", put(pickle.OpBinput, inMemo), pop, none, put(pickle.OpBinput, inMemo)),
		way("in-tuple", "4.4#5", func(d *Draft) {
			d.Code = join(op(pickle.OpMark), none, d.Code, none, op(pickle.OpTuple))
		}),
		way("in-dict", "4.4#5", func(d *Draft) {
			d.Code = join(op(pickle.OpEmptyDict), str("state"), d.Code, op(pickle.OpSetitem))
		}),

		before("int-hex", "4.4#11", line(pickle.OpInt, "0x10"), pop),
		before("int-binary", "4.4#11", line(pickle.OpInt, "0b11"), pop),
		before("int-octal", "4.4#11", line(pickle.OpInt, "0o17"), pop),
		before("int-old-octal", "4.4#11", line(pickle.OpInt, "010"), pop),
		before("int-signed-bool", "4.4#11", line(pickle.OpInt, "+1"), pop),
		before("int-underscore", "4.4#11", line(pickle.OpInt, "1_0"), pop),
		before("long-hex", "4.4#11", line(pickle.OpLong, "0x10L"), pop),
		before("string-not-ascii", "4.4#12", line(pickle.OpString, "'\xc3\xa9'"), pop),
		before("binstring-not-ascii", "4.4#12", counted(pickle.OpBinstring, 4, "\xc3\xa9"), pop),
		before("string-latin1", "4.4#12", line(pickle.OpString, "'\xe9'"), pop),
		before("global-not-ascii", "4.1", global("prerun_mark", "\u00e9"), pop),
		before("put-huge", "4.4#15", none, huge, pop),
		before("leftover-value", "4.4#15", none),
		before("leftover-mark", "4.4#15", none, op(pickle.OpMark)),
		way("protocol-switch", "4.4#8", func(d *Draft) {
			p := d.protocol()
			d.Code = join(op(pickle.OpProto, byte(p)), d.Code)
			if d.Min, d.Max = 2, 2; p < 3 {
				d.Min, d.Max = 4, 4
			}
		}),
		way("protocol-switch-late", "4.4#8", func(d *Draft) {
			p := d.protocol()
			d.Code = join(none, pop, op(pickle.OpProto, byte(p)), d.Code)
			d.Min, d.Max = 0, 0
		}),
		behind("protocol-6-behind", "4.3", op(pickle.OpProto, 6)),
		behind("persistent-id", "4.4#19", op(pickle.OpBinpersid)),
		behind("persistent-line", "4.4#19", pop, line(pickle.OpPersid, "id")),
		behind("next-buffer-behind", "4.4#19", pop, op(pickle.OpNextBuffer), op(pickle.OpReadonlyBuffer)),
		before("many-dups", "4.4#29", join(none, repeat(120, op(pickle.OpDup), pop), pop)...),
		before("laughs", "4.4#29", join(str("lol"), put(pickle.OpBinput, &key{92}), laughs(6), pop)...),
		before("long-literal", "4.4#29", str(strings.Repeat("weights ", 1200)), pop),
		before("text-like", "4.4#24", line(pickle.OpUnicode, "ersion https://git-lfs.github.com/spec/v1"), pop),
	}
}

func repeat(n int, code ...Instruction) []Instruction {
	var out []Instruction
	for range n {
		out = append(out, code...)
	}
	return out
}

// laughs nests tuples that each hold the one before three times.
func laughs(n int) []Instruction {
	return repeat(n, op(pickle.OpDup), op(pickle.OpDup), op(pickle.OpTuple3))
}
