package pickle

// An Op is an opcode of protocols 0 to 5.
type Op byte

// The 68 opcodes.
const (
	OpInt             Op = 0x49
	OpBinint          Op = 0x4a
	OpBinint1         Op = 0x4b
	OpBinint2         Op = 0x4d
	OpLong            Op = 0x4c
	OpLong1           Op = 0x8a
	OpLong4           Op = 0x8b
	OpString          Op = 0x53
	OpBinstring       Op = 0x54
	OpShortBinstring  Op = 0x55
	OpBinbytes        Op = 0x42
	OpShortBinbytes   Op = 0x43
	OpBinbytes8       Op = 0x8e
	OpBytearray8      Op = 0x96
	OpNextBuffer      Op = 0x97
	OpReadonlyBuffer  Op = 0x98
	OpNone            Op = 0x4e
	OpNewtrue         Op = 0x88
	OpNewfalse        Op = 0x89
	OpUnicode         Op = 0x56
	OpShortBinunicode Op = 0x8c
	OpBinunicode      Op = 0x58
	OpBinunicode8     Op = 0x8d
	OpFloat           Op = 0x46
	OpBinfloat        Op = 0x47
	OpEmptyList       Op = 0x5d
	OpAppend          Op = 0x61
	OpAppends         Op = 0x65
	OpList            Op = 0x6c
	OpEmptyTuple      Op = 0x29
	OpTuple           Op = 0x74
	OpTuple1          Op = 0x85
	OpTuple2          Op = 0x86
	OpTuple3          Op = 0x87
	OpEmptyDict       Op = 0x7d
	OpDict            Op = 0x64
	OpSetitem         Op = 0x73
	OpSetitems        Op = 0x75
	OpEmptySet        Op = 0x8f
	OpAdditems        Op = 0x90
	OpFrozenset       Op = 0x91
	OpPop             Op = 0x30
	OpDup             Op = 0x32
	OpMark            Op = 0x28
	OpPopMark         Op = 0x31
	OpGet             Op = 0x67
	OpBinget          Op = 0x68
	OpLongBinget      Op = 0x6a
	OpPut             Op = 0x70
	OpBinput          Op = 0x71
	OpLongBinput      Op = 0x72
	OpMemoize         Op = 0x94
	OpExt1            Op = 0x82
	OpExt2            Op = 0x83
	OpExt4            Op = 0x84
	OpGlobal          Op = 0x63
	OpStackGlobal     Op = 0x93
	OpReduce          Op = 0x52
	OpBuild           Op = 0x62
	OpInst            Op = 0x69
	OpObj             Op = 0x6f
	OpNewobj          Op = 0x81
	OpNewobjEx        Op = 0x92
	OpProto           Op = 0x80
	OpStop            Op = 0x2e
	OpFrame           Op = 0x95
	OpPersid          Op = 0x50
	OpBinpersid       Op = 0x51
)

// An argument is how an opcode's operand stands in the file. Integers are
// little-endian.
type argument uint8

const (
	argInvalid argument = iota // no opcode
	argNone
	argU1
	argU2
	argI4
	argU4
	argU8
	argF8    // big-endian
	argLine  // to the next newline
	argLines // two lines
	argLen1  // length and as many bytes
	argLen4
	argLen8
)

type opcode struct {
	name     string
	argument argument
	protocol uint8 // that introduced it
}

var opcodes = [256]opcode{
	OpInt:             {"INT", argLine, 0},
	OpBinint:          {"BININT", argI4, 1},
	OpBinint1:         {"BININT1", argU1, 1},
	OpBinint2:         {"BININT2", argU2, 1},
	OpLong:            {"LONG", argLine, 0},
	OpLong1:           {"LONG1", argLen1, 2},
	OpLong4:           {"LONG4", argLen4, 2},
	OpString:          {"STRING", argLine, 0},
	OpBinstring:       {"BINSTRING", argLen4, 1},
	OpShortBinstring:  {"SHORT_BINSTRING", argLen1, 1},
	OpBinbytes:        {"BINBYTES", argLen4, 3},
	OpShortBinbytes:   {"SHORT_BINBYTES", argLen1, 3},
	OpBinbytes8:       {"BINBYTES8", argLen8, 4},
	OpBytearray8:      {"BYTEARRAY8", argLen8, 5},
	OpNextBuffer:      {"NEXT_BUFFER", argNone, 5},
	OpReadonlyBuffer:  {"READONLY_BUFFER", argNone, 5},
	OpNone:            {"NONE", argNone, 0},
	OpNewtrue:         {"NEWTRUE", argNone, 2},
	OpNewfalse:        {"NEWFALSE", argNone, 2},
	OpUnicode:         {"UNICODE", argLine, 0},
	OpShortBinunicode: {"SHORT_BINUNICODE", argLen1, 4},
	OpBinunicode:      {"BINUNICODE", argLen4, 1},
	OpBinunicode8:     {"BINUNICODE8", argLen8, 4},
	OpFloat:           {"FLOAT", argLine, 0},
	OpBinfloat:        {"BINFLOAT", argF8, 1},
	OpEmptyList:       {"EMPTY_LIST", argNone, 1},
	OpAppend:          {"APPEND", argNone, 0},
	OpAppends:         {"APPENDS", argNone, 1},
	OpList:            {"LIST", argNone, 0},
	OpEmptyTuple:      {"EMPTY_TUPLE", argNone, 1},
	OpTuple:           {"TUPLE", argNone, 0},
	OpTuple1:          {"TUPLE1", argNone, 2},
	OpTuple2:          {"TUPLE2", argNone, 2},
	OpTuple3:          {"TUPLE3", argNone, 2},
	OpEmptyDict:       {"EMPTY_DICT", argNone, 1},
	OpDict:            {"DICT", argNone, 0},
	OpSetitem:         {"SETITEM", argNone, 0},
	OpSetitems:        {"SETITEMS", argNone, 1},
	OpEmptySet:        {"EMPTY_SET", argNone, 4},
	OpAdditems:        {"ADDITEMS", argNone, 4},
	OpFrozenset:       {"FROZENSET", argNone, 4},
	OpPop:             {"POP", argNone, 0},
	OpDup:             {"DUP", argNone, 0},
	OpMark:            {"MARK", argNone, 0},
	OpPopMark:         {"POP_MARK", argNone, 1},
	OpGet:             {"GET", argLine, 0},
	OpBinget:          {"BINGET", argU1, 1},
	OpLongBinget:      {"LONG_BINGET", argU4, 1},
	OpPut:             {"PUT", argLine, 0},
	OpBinput:          {"BINPUT", argU1, 1},
	OpLongBinput:      {"LONG_BINPUT", argU4, 1},
	OpMemoize:         {"MEMOIZE", argNone, 4},
	OpExt1:            {"EXT1", argU1, 2},
	OpExt2:            {"EXT2", argU2, 2},
	OpExt4:            {"EXT4", argI4, 2},
	OpGlobal:          {"GLOBAL", argLines, 0},
	OpStackGlobal:     {"STACK_GLOBAL", argNone, 4},
	OpReduce:          {"REDUCE", argNone, 0},
	OpBuild:           {"BUILD", argNone, 0},
	OpInst:            {"INST", argLines, 0},
	OpObj:             {"OBJ", argNone, 1},
	OpNewobj:          {"NEWOBJ", argNone, 2},
	OpNewobjEx:        {"NEWOBJ_EX", argNone, 4},
	OpProto:           {"PROTO", argU1, 2},
	OpStop:            {"STOP", argNone, 0},
	OpFrame:           {"FRAME", argU8, 4},
	OpPersid:          {"PERSID", argLine, 0},
	OpBinpersid:       {"BINPERSID", argNone, 1},
}

func (o Op) String() string {
	if name := opcodes[o].name; name != "" {
		return name
	}
	return "opcode " + hexByte(byte(o))
}

// Known reports whether o is one of the 68.
func (o Op) Known() bool { return opcodes[o].argument != argInvalid }

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return "0x" + string([]byte{digits[b>>4], digits[b&15]})
}

// An OpSet is a set of opcodes.
type OpSet [4]uint64

// Has reports whether o is in the set.
func (s OpSet) Has(o Op) bool { return s[o>>6]>>(o&63)&1 != 0 }

// Add puts o into the set.
func (s *OpSet) Add(o Op) { s[o>>6] |= 1 << (o & 63) }
