package pickle_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
)

// A program builds pickles opcode by opcode.
type program struct{ bytes.Buffer }

func asm(parts ...any) []byte {
	var p program
	for _, part := range parts {
		switch part := part.(type) {
		case pickle.Op:
			p.WriteByte(byte(part))
		case string:
			p.WriteString(part)
		case []byte:
			p.Write(part)
		case int:
			p.WriteByte(byte(part))
		case u16:
			p.Write(binary.LittleEndian.AppendUint16(nil, uint16(part)))
		case u32:
			p.Write(binary.LittleEndian.AppendUint32(nil, uint32(part)))
		case u64:
			p.Write(binary.LittleEndian.AppendUint64(nil, uint64(part)))
		default:
			panic(part)
		}
	}
	return p.Bytes()
}

type (
	u16 uint16
	u32 uint32
	u64 uint64
)

// str is a SHORT_BINUNICODE.
func str(s string) []byte { return asm(pickle.OpShortBinunicode, len(s), s) }

// call is a call of module.name with one string, by GLOBAL and REDUCE.
func call(module, name, arg string) []byte {
	return asm(pickle.OpGlobal, module+"\n", name+"\n", str(arg), pickle.OpTuple1, pickle.OpReduce)
}

func scan(t testing.TB, data []byte) *pickle.Trace {
	t.Helper()
	trace, err := pickle.Machine{}.Scan(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// vocabulary is what most large benign pickles are made of: a dictionary of
// memoised strings to numbers, as protocol 4 writes it.
func vocabulary(n int) []byte {
	var p program
	p.Write(asm(pickle.OpProto, 4, pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpMark))
	for i := range n {
		p.Write(asm(str("token_"+strconv.Itoa(i)), pickle.OpMemoize, pickle.OpBinint, u32(i)))
	}
	p.Write(asm(pickle.OpSetitems, pickle.OpStop))
	return p.Bytes()
}

// forest is many small objects: state dictionaries, tuples and calls.
func forest(n int) []byte {
	var p program
	p.Write(asm(pickle.OpProto, 4, pickle.OpEmptyList, pickle.OpMemoize, pickle.OpMark))
	p.Write(asm(pickle.OpGlobal, "my.module\nNode\n", pickle.OpMemoize, pickle.OpPop))
	for i := range n {
		p.Write(asm(pickle.OpBinget, 1, pickle.OpEmptyTuple, pickle.OpNewobj, pickle.OpMemoize,
			pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpMark, str("left"), pickle.OpMemoize, pickle.OpBinint, u32(i),
			str("value"), pickle.OpMemoize, pickle.OpBinfloat, u64(i), pickle.OpSetitems, pickle.OpBuild))
	}
	p.Write(asm(pickle.OpAppends, pickle.OpStop))
	return p.Bytes()
}
