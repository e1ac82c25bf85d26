package pickle

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// someSize is the size of content of which only a head is known.
const someSize = math.MaxInt32

// A Likelihood says how sure [Sniff] is.
type Likelihood uint8

// Likelihoods.
const (
	Unlikely Likelihood = iota
	Possible            // starts like one; scan it when the name says pickle
	Certain             // scan it whatever the name says
)

// Sniff says whether content of size bytes that starts with head is a pickle
// of any protocol, with or without its marker byte. 4 KiB of head are enough.
func Sniff(head []byte, size int64) Likelihood {
	return probe(head[:min(len(head), sniffSize)], max(size, int64(len(head)))).likelihood()
}

// SniffLine reports whether content that [Sniff] takes for unlikely may be a
// pickle all the same, whose first lines are longer than the head. Texts of long
// lines are like that too; running them tells.
func SniffLine(head []byte, size int64) bool {
	return probe(head[:min(len(head), sniffSize)], max(size, int64(len(head)))).line
}

// mayStart are the opcodes that can run on an empty stack.
var mayStart = opSet(OpMark, OpNone, OpNewtrue, OpNewfalse, OpEmptyList, OpEmptyDict, OpEmptyTuple,
	OpEmptySet, OpBinint1, OpBinint2, OpBinint, OpBinfloat, OpInt, OpLong, OpFloat, OpLong1, OpLong4,
	OpString, OpUnicode, OpShortBinstring, OpBinstring, OpShortBinbytes, OpBinbytes, OpBinbytes8,
	OpBytearray8, OpShortBinunicode, OpBinunicode, OpBinunicode8, OpGlobal, OpProto, OpFrame,
	OpExt1, OpExt2, OpExt4, OpPersid, OpNextBuffer)

func opSet(ops ...Op) (set [256]bool) {
	for _, op := range ops {
		set[op] = true
	}
	return set
}

// A probed says what the first bytes of a would-be stream are.
type probed struct {
	ops      int  // opcodes executed before anything went wrong
	globals  int  // GLOBAL, INST, STACK_GLOBAL and EXT among them
	acts     int  // calls and BUILDs among them
	proto    bool // starts with PROTO 0 to 5
	stopped  bool // reached STOP with a value
	end      int  // bytes consumed
	ranOut   bool // the head ended first, and what its last opcode claims may follow
	line     bool // the head ended within a line that is an argument
	trailing bool // the data ended without STOP, no other fault
}

func (p probed) likelihood() Likelihood {
	switch {
	case p.globals > 0 && (p.stopped || p.proto || p.acts > 0 || p.ops >= 2):
		return Certain
	case p.proto && (p.stopped || p.ranOut || p.ops >= 4):
		return Certain
	case p.stopped && p.ops >= 2:
		return Possible
	case p.ranOut && p.ops >= 8:
		return Certain
	case p.ranOut, p.proto, p.globals > 0:
		return Possible
	}
	return Unlikely
}

// probe executes b, the start of total bytes, over kinds of values alone. It is
// a small twin of machine.run that stops at the first thing no loader would do.
func probe(b []byte, total int64) (p probed) {
	const depth = 256
	whole := total <= int64(len(b))
	var (
		stack [depth]byte // 's' string, 't' tuple, 'c' container, 'g' callable or object, 'o' other
		n     int
		marks [32]int
		nm    int
		memo  [256]byte
		memos int
	)
	fence := func() int {
		if nm > 0 {
			return marks[nm-1]
		}
		return 0
	}
	i := 0
	for {
		if i >= len(b) {
			p.ranOut, p.trailing = !whole, whole
			return p
		}
		p.end = i
		op := Op(b[i])
		i++
		push := byte(0)
		pops := 0
		switch opcodes[op].argument {
		case argInvalid:
			return p
		case argLine, argLines:
			lines := 1
			if opcodes[op].argument == argLines {
				lines = 2
			}
			from := i
			for range lines {
				k := bytes.IndexByte(b[i:], '\n')
				if k < 0 {
					p.line = !whole
					p.ranOut = !whole && (p.proto || len(b)-from < 1024)
					return p
				}
				i += k + 1
			}
			if !plausible(op, b[from:i-1], p.proto) {
				return p
			}
		default:
			size, ok := argumentSize(op, b[i:])
			if !ok || size > uint64(len(b)-i) {
				// A length that the file could hold says nothing yet.
				p.ranOut = !whole && (!ok || size <= uint64(total-int64(i)))
				return p
			}
			if op == OpProto && b[i] > 5 {
				return p
			}
			i += int(size)
		}
		switch op {
		case OpMark:
			if nm == len(marks) {
				return p
			}
			marks[nm] = n
			nm++
		case OpStop:
			if n > fence() {
				p.ops++
				p.stopped, p.end = true, i
			}
			return p
		case OpPop:
			if nm > 0 && marks[nm-1] == n {
				nm--
			} else {
				pops = 1
			}
		case OpPopMark, OpTuple, OpList, OpDict, OpFrozenset, OpAppends, OpAdditems, OpSetitems, OpInst, OpObj:
			if nm == 0 {
				return p
			}
			nm--
			items := n - marks[nm]
			n = marks[nm]
			switch op {
			case OpTuple:
				push = 't'
			case OpList, OpFrozenset:
				push = 'c'
			case OpDict:
				if items%2 != 0 {
					return p
				}
				push = 'c'
			case OpInst:
				push = 'g'
				p.globals++
				p.acts++
			case OpObj:
				if items == 0 {
					return p
				}
				push = 'g'
				p.acts++
			case OpAppends, OpAdditems, OpSetitems:
				if n <= fence() || stack[n-1] != 'c' && stack[n-1] != 'g' {
					return p
				}
			}
		case OpDup:
			if n <= fence() {
				return p
			}
			push = stack[n-1]
		case OpAppend, OpSetitem:
			if op == OpSetitem {
				pops = 2
			} else {
				pops = 1
			}
			if n-pops <= fence() || stack[n-pops-1] != 'c' && stack[n-pops-1] != 'g' {
				return p
			}
		case OpTuple1, OpTuple2, OpTuple3:
			pops, push = int(op-OpTuple1)+1, 't'
		case OpEmptyTuple:
			push = 't'
		case OpEmptyList, OpEmptyDict, OpEmptySet:
			push = 'c'
		case OpString, OpUnicode, OpShortBinstring, OpBinstring, OpShortBinunicode, OpBinunicode, OpBinunicode8:
			push = 's'
		case OpGlobal, OpExt1, OpExt2, OpExt4:
			push = 'g'
			p.globals++
		case OpStackGlobal:
			if n-2 < fence() || stack[n-1] == 'o' || stack[n-2] == 'o' {
				return p
			}
			pops, push = 2, 'g'
			p.globals++
		case OpReduce, OpNewobj:
			if n-2 < fence() || stack[n-1] == 'o' || stack[n-2] != 'g' {
				return p
			}
			pops, push = 2, 'g'
			p.acts++
		case OpNewobjEx:
			if n-3 < fence() || stack[n-3] != 'g' {
				return p
			}
			pops, push = 3, 'g'
			p.acts++
		case OpBuild:
			if n-2 < fence() || stack[n-2] != 'g' {
				return p
			}
			pops = 1
			p.acts++
		case OpBinpersid:
			pops, push = 1, 'g'
		case OpPersid, OpNextBuffer:
			push = 'g'
		case OpReadonlyBuffer:
			if n <= fence() {
				return p
			}
		case OpMemoize, OpBinput, OpLongBinput, OpPut:
			if n <= fence() {
				return p
			}
			key := memos
			if op == OpBinput {
				key = int(b[i-1])
			}
			if key < len(memo) && op != OpPut && op != OpLongBinput {
				memo[key] = stack[n-1]
			}
			memos++
		case OpBinget:
			if push = memo[b[i-1]]; push == 0 {
				push = 'g'
			}
			if memos == 0 {
				return p
			}
		case OpLongBinget, OpGet:
			if memos == 0 {
				return p
			}
			push = 'g' // may be anything
		case OpProto:
			p.proto = p.proto || p.ops == 0
		case OpFrame:
		default:
			push = 'o'
		}
		if n-pops < fence() {
			return p
		}
		n -= pops
		if push != 0 {
			if n == depth { // forget the bottom half
				if nm > 0 {
					return p
				}
				n = copy(stack[:], stack[depth/2:])
			}
			stack[n] = push
			n++
		}
		p.ops++
	}
}

// argumentSize is the size of an argument that is no line, at the start of b.
func argumentSize(op Op, b []byte) (uint64, bool) {
	switch opcodes[op].argument {
	case argU1:
		return 1, true
	case argU2:
		return 2, true
	case argI4, argU4:
		return 4, true
	case argU8, argF8:
		return 8, true
	case argLen1:
		if len(b) >= 1 {
			return 1 + uint64(b[0]), true
		}
		return 0, false
	case argLen4:
		if len(b) >= 4 {
			return 4 + uint64(binary.LittleEndian.Uint32(b)), true
		}
		return 0, false
	case argLen8:
		if len(b) >= 8 {
			if n := binary.LittleEndian.Uint64(b); n < 1<<62 {
				return 8 + n, true
			}
			return 1 << 62, true
		}
		return 0, false
	}
	return 0, true
}

// plausible reports whether some loader takes the argument lines of op; names
// must look like names, unless a protocol stated before leaves no doubt.
func plausible(op Op, arg []byte, certain bool) bool {
	switch op {
	case OpInt, OpLong:
		arg = bytes.TrimSuffix(arg, []byte("L"))
		return parseInt(arg[:min(len(arg), maxNumber)], true).ok
	case OpGet, OpPut:
		return parseInt(arg[:min(len(arg), maxNumber)], false).ok
	case OpFloat:
		return validFloat(arg)
	case OpString:
		_, ok := dequote(arg)
		return ok
	case OpPersid:
		return ascii(arg)
	case OpGlobal, OpInst:
		module, name, _ := bytes.Cut(arg, []byte("\n"))
		return dotted(module) && dotted(name) || certain && validName(module) && validName(name)
	}
	return true
}

// dotted reports whether b is a chain of identifiers. Letters that are not
// ASCII are taken for what they are.
func dotted(b []byte) bool {
	if !validName(b) {
		return false
	}
	start := true
	for _, c := range b {
		switch {
		case c == '.':
			if start {
				return false
			}
			start = true
			continue
		case c >= '0' && c <= '9':
			if start {
				return false
			}
		case c == '_', c|0x20 >= 'a' && c|0x20 <= 'z', c >= utf8.RuneSelf:
		default:
			return false
		}
		start = false
	}
	return !start
}
