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

// tree is a list of small dictionaries with the same keys, framed as protocol 4
// does it.
func tree(n int) []byte {
	var p, frame program
	keys := []string{"name", "size", "id"}
	frame.Write(asm(pickle.OpEmptyList, pickle.OpMemoize, pickle.OpMark))
	for i := range n {
		frame.Write(asm(pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpMark))
		for k, value := range [][]byte{
			asm(str("model.layers."+strconv.Itoa(i)+".weight"), pickle.OpMemoize),
			asm(pickle.OpBinfloat, u64(i)), asm(pickle.OpBinint, u32(i)),
		} {
			if i == 0 {
				frame.Write(asm(str(keys[k]), pickle.OpMemoize, value))
			} else {
				frame.Write(asm(pickle.OpBinget, []int{2, 4, 5}[k], value))
			}
		}
		frame.WriteByte(byte(pickle.OpSetitems))
		if i%1000 == 999 {
			frame.Write(asm(pickle.OpAppends, pickle.OpMark))
		}
		if frame.Len() > 64<<10 {
			p.Write(asm(pickle.OpFrame, u64(frame.Len()), frame.Bytes()))
			frame.Reset()
		}
	}
	return asm(pickle.OpProto, 4, p.Bytes(), frame.Bytes(), pickle.OpAppends, pickle.OpStop)
}

// estimator is a fitted model as scikit-learn pickles it: an object with a
// state of numbers, strings, an array and a scalar.
func estimator() []byte {
	array := func(data int) []byte {
		return asm(pickle.OpGlobal, "numpy._core.multiarray\n_reconstruct\n", pickle.OpGlobal, "numpy\nndarray\n",
			pickle.OpBinint1, 0, pickle.OpTuple1, pickle.OpShortBinbytes, 1, "b", pickle.OpTuple3, pickle.OpReduce, pickle.OpMemoize,
			pickle.OpMark, pickle.OpBinint1, 1, pickle.OpBinint1, data/8, pickle.OpTuple1,
			pickle.OpGlobal, "numpy\ndtype\n", str("f8"), pickle.OpNewfalse, pickle.OpNewtrue, pickle.OpTuple3, pickle.OpReduce, pickle.OpMemoize,
			pickle.OpMark, pickle.OpBinint1, 3, str("<"), pickle.OpNone, pickle.OpNone, pickle.OpNone,
			pickle.OpBinint, u32(1<<32-1), pickle.OpBinint, u32(1<<32-1), pickle.OpBinint1, 0, pickle.OpTuple, pickle.OpBuild,
			pickle.OpNewfalse, pickle.OpShortBinbytes, data, make([]byte, data), pickle.OpTuple, pickle.OpBuild)
	}
	p := asm(pickle.OpProto, 4, pickle.OpGlobal, "sklearn.linear_model._logistic\nLogisticRegression\n", pickle.OpMemoize,
		pickle.OpEmptyTuple, pickle.OpNewobj, pickle.OpMemoize, pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpMark)
	for i, key := range []string{"penalty", "dual", "tol", "C", "fit_intercept", "class_weight", "random_state", "solver", "max_iter", "verbose"} {
		p = asm(p, str(key), pickle.OpMemoize, pickle.OpBinfloat, u64(i))
	}
	for _, key := range []string{"classes_", "coef_", "intercept_", "n_iter_", "feature_names_in_"} {
		p = asm(p, str(key), pickle.OpMemoize, array(200))
	}
	return asm(p, str("_sklearn_version"), pickle.OpMemoize, str("1.7.2"), pickle.OpMemoize, pickle.OpSetitems, pickle.OpBuild, pickle.OpStop)
}

// settings is a small dictionary.
func settings() []byte {
	p := asm(pickle.OpProto, 4, pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpMark)
	for i := range 10 {
		p = asm(p, str("parameter_"+strconv.Itoa(i)), pickle.OpMemoize, pickle.OpBinint, u32(i))
	}
	return asm(p, pickle.OpSetitems, pickle.OpStop)
}
