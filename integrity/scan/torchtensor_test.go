package scan_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// asPickle writes a value as the text opcodes of a pickle: ints, strings for
// instructions as they are, and tuples.
func asPickle(v any) string {
	switch v := v.(type) {
	case int:
		return fmt.Sprintf("I%d\n", v)
	case string:
		return v
	case []any:
		var b strings.Builder
		b.WriteByte('(')
		for _, item := range v {
			b.WriteString(asPickle(item))
		}
		return b.String() + "t"
	}
	panic(v)
}

func pickleText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// torchStorage is the persistent id of a storage in the file 0.
func torchStorage(class string, numel any, more ...any) string {
	return asPickle(append([]any{pickleText("storage"), "c" + class + "\n", pickleText("0"), pickleText("cpu"), numel}, more...)) + "Q"
}

// torchTensor calls a function of torch with a storage and what follows it.
func torchTensor(function, storage string, arguments ...any) string {
	return "c" + function + "\n" + asPickle(append([]any{storage}, arguments...)) + "R"
}

// torchModel is an archive with one pickle and one file of data.
func torchModel(code string, data int) []byte {
	return build.Zip(build.Member{Name: "m/data.pkl", Data: []byte("\x80\x02" + code + ".")}, build.Member{Name: "m/version", Data: []byte("3\n")},
		build.Member{Name: "m/data/0", Data: make([]byte, data)})
}

// PyTorch before 2.10 sets items of tensors and believes what a pickle says of
// their sizes (CVE-2026-24747).
func TestTensorMemory(t *testing.T) {
	const v2, v3, quantised = "torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_tensor_v3", "torch._utils\n_rebuild_qtensor"
	floats := torchStorage("torch\nFloatStorage", 4)
	bytes := torchStorage("torch.storage\nUntypedStorage", 16)
	hooks := "ccollections\nOrderedDict\n)R"
	size := func(n ...any) []any { return n }
	tensor := func(offset any, shape, strides any) string {
		return torchTensor(v2, floats, offset, shape, strides, "\x89", hooks)
	}
	plain := tensor(0, size(4), size(1))
	typed := func(function string, tail ...any) string {
		return "ctorch._tensor\n" + function + "\n" + asPickle([]any{"c" + v2 + "\n", "ctorch\nTensor\n", size(append([]any{floats}, tail...)...), "}"}) + "R"
	}
	write, sized := []string{"scan.pickle.tensor-write"}, []string{"scan.pickle.tensor-size"}
	clean := func(name, code string) row {
		return row{name, "m.pt", torchModel(code, 16), scan.Clean, scan.Complete, nil}
	}
	bad := func(name, code string, rules []string) row {
		return row{name, "m.pt", torchModel(code, 16), scan.Malicious, scan.Complete, rules}
	}
	runRows(t, []row{
		clean("state", "}"+pickleText("w")+plain+"s"),
		clean("slice", tensor(1, size(3), size(1))),
		clean("transposed", tensor(0, size(2, 2), size(1, 2))),
		clean("expanded", tensor(3, size(1000, 1000), size(0, 0))),
		clean("scalar", tensor(3, size(), size())),
		clean("empty", tensor(9, size(0, 5), size(5, 1))),
		clean("two_shapes", asPickle(size(plain, tensor(0, size(2, 2), size(2, 1))))),
		clean("bytes", torchTensor(v3, bytes, 0, size(4), size(1), "\x89", hooks, "ctorch\nuint32\n", "N")),
		clean("new_dtype", torchTensor(v3, bytes, 0, size(16), size(1), "\x89", hooks, "ctorch\nfloat8_e4m3fn\n", "N")),
		clean("quantised", torchTensor(quantised, torchStorage("torch\nQInt8Storage", 16), 0, size(4, 4), size(4, 1), asPickle(size("ctorch\nper_tensor_affine\n", "F0.1\n", 0)), "\x89", hooks)),
		clean("half_bytes", torchTensor(quantised, torchStorage("torch\nQUInt4x2Storage", 16), 0, size(31), size(1), asPickle(size("ctorch\nper_tensor_affine\n", "F0.1\n", 0)), "\x89", hooks)),
		clean("sparse", "ctorch._utils\n_rebuild_sparse_tensor\n"+asPickle(size("ctorch.serialization\n_get_layout\n"+asPickle(size(pickleText("torch.sparse_coo")))+"R", size(plain, plain, size(10, 10), "\x89")))+"R"),
		clean("nested", "ctorch._utils\n_rebuild_nested_tensor\n"+asPickle(size(plain, plain, plain, plain))+"R"),
		clean("meta", "ctorch._utils\n_rebuild_meta_tensor_no_storage\n"+asPickle(size("ctorch\nfloat32\n", size(1<<30, 1<<30), size(1<<30, 1), "\x89"))+"R"),
		clean("subclass", typed("_rebuild_from_type_v2", 0, size(4), size(1), "\x89", hooks)),
		clean("ordered_dict", hooks+pickleText("w")+plain+"s"),
		clean("list", "]"+plain+"a"),
		clean("old_view", torchTensor(v2, torchStorage("torch\nFloatStorage", 4, size(pickleText("1"), 2, 2)), 0, size(2), size(1), "\x89", hooks)),

		{"traced_inputs", "m.pt", build.Zip(build.Member{Name: "m/traced_inputs.pkl", Data: []byte("\x80\x02" + floats + ".")}, build.Member{Name: "m/traced_inputs/0"}), scan.Clean, scan.Complete, nil},

		bad("setitem", plain+"I0\nI7\ns", write),
		bad("setitems", plain+"(I0\nI7\nI1\nI8\nu", write),
		bad("append", plain+"I7\na", write),
		bad("appends", plain+"(I7\nI8\ne", write),
		bad("memo", plain+"q\x010h\x01I0\nI7\ns", write),
		bad("parameter", "ctorch._utils\n_rebuild_parameter\n"+asPickle(size(plain, "\x88", hooks))+"RI0\nI7\ns", write),
		bad("storage", floats+"I0\nI7\ns", []string{"scan.pickle.computed-call", write[0]}),
		bad("shape", tensor(0, size(5), size(1)), sized),
		bad("after_another", asPickle(size(plain, tensor(0, size(1<<20), size(1)))), sized),
		bad("offset", tensor(1, size(4), size(1)), sized),
		bad("strides", tensor(0, size(2, 2), size(3, 1)), sized),
		bad("overflow", tensor(0, size("L4611686018427387904L\n", "L4611686018427387904L\n"), size("L4611686018427387904L\n", 1)), sized),
		bad("beyond_64_bits", tensor(0, size("L99999999999999999999L\n"), size(1)), sized),
		bad("negative_offset", tensor(-1, size(4), size(1)), sized),
		bad("negative_stride", tensor(0, size(4), size(-1)), sized),
		bad("bytes_as_doubles", torchTensor(v3, bytes, 0, size(3), size(1), "\x89", hooks, "ctorch\nfloat64\n", "N"), sized),
		bad("quantised_shape", torchTensor(quantised, torchStorage("torch\nQInt8Storage", 16), 0, size(5, 4), size(4, 1), asPickle(size("ctorch\nper_tensor_affine\n", "F0.1\n", 0)), "\x89", hooks), sized),
		bad("subclass_shape", typed("_rebuild_from_type_v2", 0, size(5), size(1), "\x89", hooks), sized),
		bad("old_state", "ctorch\nFloatTensor\n)\x81"+asPickle(size(floats, 0, size(5), size(1)))+"b", sized),
		bad("old_view_shape", torchTensor(v2, torchStorage("torch\nFloatStorage", 4, size(pickleText("1"), 2, 2)), 0, size(4), size(1), "\x89", hooks), sized),
		bad("storage_beyond_file", torchTensor(v2, torchStorage("torch\nFloatStorage", 5), 0, size(4), size(1), "\x89", hooks), sized),
		bad("storage_of_larger_type", torchTensor(v2, torchStorage("torch\nDoubleStorage", 4), 0, size(4), size(1), "\x89", hooks), sized),
		bad("storage_alone", torchStorage("torch\nFloatStorage", "L1099511627776L\n"), sized),
		{"computed", "m.pt", torchModel(tensor(0, "ctorch\nSize\n"+asPickle(size(size(5)))+"R", size(1)), 16), scan.Unknown, scan.Inconclusive, nil},
	})
}
