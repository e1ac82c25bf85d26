package globals_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/pickle"
)

// asm joins opcodes, texts, bytes and single byte values.
func asm(parts ...any) []byte {
	var b bytes.Buffer
	for _, part := range parts {
		switch part := part.(type) {
		case pickle.Op:
			b.WriteByte(byte(part))
		case int:
			b.WriteByte(byte(part))
		case string:
			b.WriteString(part)
		case []byte:
			b.Write(part)
		case uint32:
			b.Write(binary.LittleEndian.AppendUint32(nil, part))
		case uint64:
			b.Write(binary.LittleEndian.AppendUint64(nil, part))
		default:
			panic(part)
		}
	}
	return b.Bytes()
}

func str(s string) []byte { return asm(pickle.OpShortBinunicode, len(s), s) }

// stop ends a stream in a way that leaves a value whatever stands below.
var stop = asm(pickle.OpNone, pickle.OpStop)

const command = "echo hello"

// operands are the encodings of a string that STACK_GLOBAL accepts.
func operands(s string) map[string][]byte {
	var hex strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&hex, `\x%02x`, c)
	}
	var uni strings.Builder
	for _, c := range s {
		fmt.Fprintf(&uni, `\u%04x`, c)
	}
	return map[string][]byte{
		"SHORT_BINUNICODE": str(s),
		"BINUNICODE":       asm(pickle.OpBinunicode, uint32(len(s)), s),
		"BINUNICODE8":      asm(pickle.OpBinunicode8, uint64(len(s)), s),
		"UNICODE":          asm(pickle.OpUnicode, uni.String(), "\n"),
		"STRING":           asm(pickle.OpString, "'", hex.String(), "'\n"),
		"SHORT_BINSTRING":  asm(pickle.OpShortBinstring, len(s), s),
		"BINSTRING":        asm(pickle.OpBinstring, uint32(len(s)), s),
	}
}

// noise leaves the stack as it was.
var noise = map[string][]byte{
	"none":     nil,
	"dup_pop":  asm(pickle.OpDup, pickle.OpPop),
	"mark_pop": asm(pickle.OpMark, pickle.OpPop),
	"none_pop": asm(pickle.OpNone, pickle.OpPop),
	"tuple":    asm(pickle.OpEmptyTuple, pickle.OpPop),
	"pop_mark": asm(pickle.OpMark, pickle.OpNone, pickle.OpPopMark),
	"memoize":  asm(pickle.OpMemoize),
	"binput":   asm(pickle.OpBinput, 77),
	"get":      asm(pickle.OpPut, "5\n", pickle.OpPop, pickle.OpGet, "5\n"),
	"long_get": asm(pickle.OpLongBinput, uint32(1<<20), pickle.OpPop, pickle.OpLongBinget, uint32(1<<20)),
	"proto":    asm(pickle.OpProto, 4),
	"int":      asm(pickle.OpInt, "0x10\n", pickle.OpPop),
	"string":   asm(pickle.OpString, "'\xe9'\n", pickle.OpPop),
}

// Every way to write the operands, crossed with every kind of noise between
// them and every opcode that calls: all resolve to the same call.
func TestOperandsNoiseAndCalls(t *testing.T) {
	calls := map[string]func(f []byte) []byte{
		"REDUCE": func(f []byte) []byte { return asm(f, str(command), pickle.OpTuple1, pickle.OpReduce) },
		"OBJ":    func(f []byte) []byte { return asm(pickle.OpMark, f, str(command), pickle.OpObj) },
		"NEWOBJ": func(f []byte) []byte { return asm(f, str(command), pickle.OpTuple1, pickle.OpNewobj) },
		"NEWOBJ_EX": func(f []byte) []byte {
			return asm(f, str(command), pickle.OpTuple1, pickle.OpEmptyDict, pickle.OpNewobjEx)
		},
		"list_args": func(f []byte) []byte { return asm(f, pickle.OpMark, str(command), pickle.OpList, pickle.OpReduce) },
		"build_list": func(f []byte) []byte {
			return asm(f, pickle.OpEmptyList, str(command), pickle.OpAppend, pickle.OpReduce)
		},
	}
	for call, make := range calls {
		for enc, module := range operands("os") {
			for gap, between := range noise {
				name := operands("system")[enc]
				program := asm(pickle.OpProto, 4, make(asm(module, between, name, between, pickle.OpStackGlobal, between)), pickle.OpPop, stop)
				trace := scan(t, program)
				found := globals.Policy{}.Assess(trace)
				if !slices.ContainsFunc(found, func(a globals.Assessment) bool {
					return a.Level == globals.Malicious && a.Module == "os" && a.Name == "system" && a.Calls == 1 &&
						slices.Contains(a.Classes, globals.Shell) && !a.Dormant
				}) {
					t.Errorf("%s, %s, %s: %+v of %q", call, enc, gap, found, program)
				}
			}
		}
	}
}

// The catalogue of ways around scanners, as far as they lie in the pickle.
// What runs when the file is loaded is malicious; what needs another hand is
// suspicious; nothing is clean.
func TestCatalogue(t *testing.T) {
	system := asm(pickle.OpGlobal, "os\nsystem\n", str(command), pickle.OpTuple1, pickle.OpReduce)
	reduce := func(module, name string, args ...any) []byte {
		return asm(pickle.OpGlobal, module, "\n", name, "\n", pickle.OpMark, asm(args...), pickle.OpTuple, pickle.OpReduce)
	}
	global := func(module, name string) []byte { return asm(pickle.OpGlobal, module, "\n", name, "\n") }
	inner := asm(pickle.OpProto, 4, system, pickle.OpStop)
	bin := func(b []byte) []byte { return asm(pickle.OpBinbytes, uint32(len(b)), b) }
	straddle := asm(pickle.OpProto, 4, pickle.OpFrame, uint64(2), pickle.OpBinbytes, 7, uint32(1), "x", system, stop, bytes.Repeat([]byte{'p'}, 300))
	register := func(code int) []byte {
		return asm(reduce("copyreg", "add_extension", str("os"), str("system"), pickle.OpBinint1, code), pickle.OpPop)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want globals.Level
	}{
		{"inst", asm("(S'echo hello'\nios\nsystem\n."), globals.Malicious},
		{"inst_unterminated", asm("(S'echo hello'\nios\nsystemX"), globals.Malicious},
		{"popped", asm(system, pickle.OpPop, stop), globals.Malicious},
		{"overwritten_in_memo", asm(system, pickle.OpBinput, 0, pickle.OpPop, pickle.OpNone, pickle.OpBinput, 0, pickle.OpStop), globals.Malicious},
		{"memo_and_memoize", asm(pickle.OpProto, 4, str("os"), pickle.OpBinput, 7, str("system"), pickle.OpMemoize, pickle.OpPop, pickle.OpBinget, 1, pickle.OpStackGlobal, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"missing_memo_key_behind", asm(system, pickle.OpPop, str("os"), pickle.OpBinget, 9, pickle.OpStackGlobal, pickle.OpStop), globals.Malicious},
		{"operand_of_wrong_type", asm(pickle.OpBinint1, 42, str("system"), pickle.OpStackGlobal, pickle.OpStop), globals.Suspicious},
		{"operand_from_call", asm(reduce("builtins", "str", str("os")), str("system"), pickle.OpStackGlobal, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"build_function", asm(global("numpy", "size"), pickle.OpEmptyDict, str("__globals__"), pickle.OpNone, pickle.OpSetitem, pickle.OpBuild, pickle.OpStop), globals.Malicious},
		{"build_module_builtins", asm(global("numpy", "__builtins__"), stop), globals.Malicious},
		{"setitem_on_live_dict", asm(global("sys", "modules"), str("os"), pickle.OpNone, pickle.OpSetitem, pickle.OpStop), globals.Malicious},
		{"append_to_live_list", asm(global("mypackage", "hooks"), global("mypackage", "f"), pickle.OpAppend, pickle.OpStop), globals.Malicious},
		{"laundered_string", asm(
			pickle.OpProto, 4, str("torch"), str("_utils"), pickle.OpStackGlobal, pickle.OpEmptyDict, str("x"), str("os"), pickle.OpSetitem, pickle.OpBuild, pickle.OpPop,
			str("torch._utils"), str("x"), pickle.OpStackGlobal, str("system"), pickle.OpStackGlobal, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"extension_registered", asm(register(66), pickle.OpExt1, 66, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"extension_unknown", asm(pickle.OpExt1, 66, pickle.OpStop), globals.Suspicious},
		{"extension_written", asm(global("copyreg", "_inverted_registry"), pickle.OpBinint1, 66, str("os"), str("system"), pickle.OpTuple2, pickle.OpSetitem, pickle.OpPop, pickle.OpExt1, 66, stop), globals.Malicious},
		{"dotted", asm(pickle.OpProto, 4, str("pathlib"), str("os.system"), pickle.OpStackGlobal, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"dotted_after_switch", asm(pickle.OpProto, 2, pickle.OpNone, pickle.OpPop, pickle.OpProto, 4, global("pathlib", "os.system"), stop), globals.Malicious},
		{"dotted_through_allowed", asm(pickle.OpProto, 4, global("collections", "OrderedDict.__init__.__globals__"), stop), globals.Malicious},
		{"module_as_attribute", asm(global("pathlib", "os"), stop), globals.Malicious},
		{"alias_commands", asm(reduce("commands", "getoutput", str(command)), pickle.OpStop), globals.Malicious},
		{"alias_cpickle", asm(reduce("cPickle", "loads", bin(inner)), pickle.OpStop), globals.Malicious},
		{"alias_urllib", asm(reduce("urllib", "urlopen", str("http://example.test/")), pickle.OpStop), globals.Malicious},
		{"alias_name", asm(reduce("__builtin__", "reduce", global("os", "system"), str("x")), pickle.OpStop), globals.Malicious},
		{"truncated", asm(pickle.OpProto, 4, system), globals.Malicious},
		{"invalid_opcode_behind", asm(pickle.OpProto, 4, system, 0xff, 0xff), globals.Malicious},
		{"integer_base", asm(pickle.OpInt, "0x10\n", pickle.OpPop, system, pickle.OpStop), globals.Malicious},
		{"long_base", asm(pickle.OpLong, "0b11L\n", pickle.OpPop, system, pickle.OpStop), globals.Malicious},
		{"string_encoding", asm(pickle.OpString, "'\xff'\n", pickle.OpPop, system, pickle.OpStop), globals.Malicious},
		{"frame_straddle", straddle, globals.Malicious},
		{"frame_too_long", asm(pickle.OpProto, 4, pickle.OpFrame, uint64(1<<50), system, pickle.OpStop), globals.Malicious},
		{"frame_in_frame", asm(pickle.OpProto, 4, pickle.OpFrame, uint64(200), pickle.OpFrame, uint64(9), system, pickle.OpStop, make([]byte, 200)), globals.Malicious},
		{"leftover", asm(pickle.OpNone, pickle.OpMark, system, pickle.OpStop), globals.Malicious},
		{"memo_redefined", asm(str("posixpath"), pickle.OpBinput, 0, pickle.OpPop, str("os"), pickle.OpBinput, 0, pickle.OpPop, pickle.OpBinget, 0, str("system"), pickle.OpStackGlobal, str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"huge_put", asm(pickle.OpNone, pickle.OpPut, "18446744073709551616\n", pickle.OpPop, system, pickle.OpStop), globals.Malicious},
		{"second_stream", asm(stop, inner), globals.Malicious},
		{"fifth_stream", asm(stop, stop, stop, stop, inner), globals.Malicious},
		{"stream_behind_junk_byte", asm(pickle.OpProto, 2, stop, 0, inner), globals.Malicious},
		{"computed_magic", asm(pickle.OpProto, 2, reduce("__builtin__", "eval", str("0x1950A86A20F9469CFC6C")), pickle.OpStop), globals.Malicious},
		{"nested_loads", asm(reduce("pickle", "loads", bin(inner)), pickle.OpStop), globals.Malicious},
		{"nested_torch_bytes_unseen", asm(reduce("torch.storage", "_load_from_bytes", reduce("builtins", "bytes", str("x"))), pickle.OpStop), globals.Malicious},
		{"nested_in_deque", asm(reduce("collections", "deque", reduce("builtins", "map", global("os", "system"), pickle.OpMark, str(command), pickle.OpList)), pickle.OpStop), globals.Malicious},
		{"persistent_id_content", asm(system, pickle.OpBinpersid, pickle.OpStop), globals.Malicious},
		{"no_marker", asm("cos\nsystem\n(S'echo hello'\ntR."), globals.Malicious},
		{"submodule", asm(reduce("asyncio.unix_events", "_UnixSubprocessTransport._start", str(command)), pickle.OpStop), globals.Malicious},
		{"resolve_name", asm(reduce("pkgutil", "resolve_name", str("os:system")), pickle.OpStop), globals.Malicious},
		{"import_module", asm(reduce("importlib", "import_module", str("os")), pickle.OpStop), globals.Malicious},
		{"locate", asm(reduce("pydoc", "locate", str("os.system")), pickle.OpStop), globals.Malicious},
		{"attrgetter", asm(reduce("operator", "attrgetter", str("system")), pickle.OpStop), globals.Malicious},
		{"partial", asm(reduce("functools", "partial", global("os", "system"), str(command)), pickle.OpEmptyTuple, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"partial_of_unknown", asm(reduce("functools", "partial", global("mypackage", "f"), str(command)), pickle.OpStop), globals.Suspicious},
		{"partial_of_loader", asm(reduce("functools", "partial", global("torch.storage", "_load_from_bytes"), bin(inner)), pickle.OpStop), globals.Malicious},
		{"dill_array", asm(reduce("dill._dill", "_create_array", global("os", "system"), str(command), pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"dill_array_of_unknown", asm(reduce("dill._dill", "_create_array", global("mypackage", "f"), str("x"), pickle.OpNone), pickle.OpStop), globals.Suspicious},
		{"dill_array_of_loader", asm(reduce("dill._dill", "_create_array", global("torch.storage", "_load_from_bytes"), bin(inner), pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"dill_array_of_getattr", asm(reduce("dill._dill", "_create_array", global("builtins", "getattr"), str("x"), pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"class_calls_argument", asm(reduce("torchvision.models.mobilenetv2", "MobileNetV2", global("mypackage", "f")), pickle.OpStop), globals.Suspicious},
		{"getattr", asm(reduce("builtins", "getattr", global("collections", "OrderedDict"), str("__init__")), pickle.OpStop), globals.Malicious},
		{"getattr_computed", asm(reduce("builtins", "getattr", global("collections", "OrderedDict"), reduce("builtins", "str", str("x"))), pickle.OpStop), globals.Malicious},
		{"getattr_not_called", asm(global("builtins", "getattr"), pickle.OpStop), globals.Malicious},
		{"builtins_import", asm(reduce("builtins", "__import__", str("os")), pickle.OpStop), globals.Malicious},
		{"file", asm(reduce("_io", "FileIO", str("/etc/passwd")), pickle.OpStop), globals.Malicious},
		{"path_write", asm(reduce("pathlib", "Path.write_text", str("x")), pickle.OpStop), globals.Malicious},
		{"dns", asm(reduce("ssl", "get_server_certificate", str("example.test"), pickle.OpBinint1, 80), pickle.OpStop), globals.Malicious},
		{"pandas", asm(reduce("pandas", "read_csv", str("http://example.test/")), pickle.OpStop), globals.Malicious},
		{"scanner", asm(global("picklescan.scanner", "scan_file_path"), pickle.OpStop), globals.Malicious},
		{"marshal", asm(reduce("marshal", "loads", bin([]byte("\xe3\x00"))), pickle.OpStop), globals.Malicious},
		{"code", asm(reduce("types", "CodeType", pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"map", asm(reduce("builtins", "map", global("mypackage", "f"), pickle.OpEmptyList), pickle.OpStop), globals.Suspicious},
		{"filter_of_result", asm(reduce("builtins", "filter", reduce("builtins", "str"), pickle.OpEmptyList), pickle.OpStop), globals.Suspicious},
		{"iter_callable", asm(reduce("builtins", "iter", global("collections", "Counter"), pickle.OpNone), pickle.OpStop), globals.Suspicious},
		{"format", asm(reduce("builtins", "str.format", str("{0.__class__}"), pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"unlisted_gadget", asm(reduce("somelib.tools", "run", str(command)), pickle.OpStop), globals.Malicious},
		{"unlisted_plain", asm(reduce("somelib.tools", "Thing", str("name")), pickle.OpStop), globals.Suspicious},
		{"called_result", asm(reduce("builtins", "dict"), str(command), pickle.OpTuple1, pickle.OpReduce, pickle.OpStop), globals.Malicious},
		{"private_stdlib", asm(reduce("_opcode", "stack_effect", pickle.OpNone), pickle.OpStop), globals.Malicious},
		{"look_alike", asm(pickle.OpProto, 4, str("ｏｓ"), str("system"), pickle.OpStackGlobal, pickle.OpStop), globals.Suspicious},
		{"carriage_return", asm(global("builtins\r", "eval"), stop), globals.Suspicious},
		{"encoded_payload", asm(reduce("somelib", "restore", str(base64.StdEncoding.EncodeToString(inner))), pickle.OpStop), globals.Malicious},
		{"transformer_function", asm(global("sklearn.preprocessing._function_transformer", "FunctionTransformer"), pickle.OpEmptyTuple, pickle.OpNewobj,
			pickle.OpEmptyDict, str("func"), global("somelib", "f"), pickle.OpSetitem, pickle.OpBuild, pickle.OpStop), globals.Suspicious},
		{"array_elsewhere", asm(wrapper("NDArrayWrapper", str("/tmp/a.npy")), pickle.OpStop), globals.Malicious},
		{"array_above", asm(wrapper("ZNDArrayWrapper", str("../a.npy")), pickle.OpStop), globals.Malicious},
		{"array_backslash", asm(wrapper("NDArrayWrapper", str(`d\a.npy`)), pickle.OpStop), globals.Malicious},
		{"array_computed", asm(wrapper("NDArrayWrapper", reduce("builtins", "str", str("x"))), pickle.OpStop), globals.Suspicious},
		{"array_by_arguments", asm(reduce("joblib.numpy_pickle", "NDArrayWrapper", str("/tmp/a.npy"), global("numpy", "ndarray"), pickle.OpNewtrue), pickle.OpStop), globals.Malicious},
		{"array_computed_argument", asm(reduce("joblib.numpy_pickle", "NDArrayWrapper", reduce("builtins", "str", str("x")), global("numpy", "ndarray"), pickle.OpNewtrue), pickle.OpStop), globals.Suspicious},
		{"array_unlisted_class", asm(wrapper("NDArrayWrapper", str("a.npy"), str("subclass"), global("somelib", "f"), pickle.OpSetitem), pickle.OpStop), globals.Suspicious},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := globals.Policy{}.Assess(scan(t, tt.data))
			worst := globals.Allowed
			for _, a := range found {
				worst = max(worst, a.Level)
			}
			if worst < tt.want {
				t.Errorf("graded %s, want %s: %+v", worst, tt.want, found)
			}
		})
	}
}

// wrapper is what joblib before 0.10 wrote for an array in a file of its own.
func wrapper(class string, file []byte, more ...any) []byte {
	return asm(pickle.OpGlobal, "joblib.numpy_pickle\n", class, "\n", pickle.OpEmptyTuple, pickle.OpNewobj,
		pickle.OpEmptyDict, str("filename"), file, pickle.OpSetitem, asm(more...), pickle.OpBuild)
}

// Ordinary models name and call nothing that is reported above low.
func TestOrdinary(t *testing.T) {
	reduce := func(module, name string, args ...any) []byte {
		return asm(pickle.OpGlobal, module, "\n", name, "\n", pickle.OpMark, asm(args...), pickle.OpTuple, pickle.OpReduce)
	}
	storage := asm(pickle.OpMark, str("storage"), pickle.OpGlobal, "torch\nFloatStorage\n", str("0"), str("cpu"), pickle.OpBinint1, 4, pickle.OpTuple, pickle.OpBinpersid)
	tensor := reduce("torch._utils", "_rebuild_tensor_v2", storage, pickle.OpBinint1, 0, pickle.OpBinint1, 4, pickle.OpTuple1,
		pickle.OpBinint1, 1, pickle.OpTuple1, pickle.OpNewfalse, reduce("collections", "OrderedDict"))
	legacy := asm(pickle.OpProto, 2, pickle.OpLong1, 10, "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", pickle.OpStop)
	for _, tt := range []struct {
		name string
		data []byte
		want globals.Level
	}{
		{"state_dict", asm(reduce("collections", "OrderedDict"), str("w"), tensor, pickle.OpSetitem), globals.Allowed},
		{"parameter", reduce("torch._utils", "_rebuild_parameter", tensor, pickle.OpNewtrue, reduce("collections", "OrderedDict")), globals.Allowed},
		{"module", asm(pickle.OpGlobal, "torch.nn.modules.linear\nLinear\n", pickle.OpEmptyTuple, pickle.OpNewobj, pickle.OpEmptyDict, str("in_features"), pickle.OpBinint1, 3, pickle.OpSetitem, pickle.OpBuild), globals.Allowed},
		{"numpy", reduce("numpy.core.multiarray", "_reconstruct", pickle.OpGlobal, "numpy\nndarray\n", pickle.OpBinint1, 0, pickle.OpTuple1, str("b")), globals.Allowed},
		{"old_object", asm(reduce("copy_reg", "_reconstructor", pickle.OpGlobal, "sklearn.linear_model.logistic\nLogisticRegression\n", pickle.OpGlobal, "__builtin__\nobject\n", pickle.OpNone), pickle.OpEmptyDict, pickle.OpBuild), globals.Allowed},
		{"bytes_in_protocol_2", reduce("_codecs", "encode", str("abc"), str("latin1")), globals.Allowed},
		{"partial", reduce("functools", "partial", pickle.OpGlobal, "torch.nn.modules.normalization\nLayerNorm\n"), globals.Allowed},
		{"dill_array", reduce("dill._dill", "_create_array", pickle.OpGlobal, "numpy.core.multiarray\n_reconstruct\n", pickle.OpEmptyTuple, pickle.OpEmptyTuple), globals.Allowed},
		{"array_beside", wrapper("NDArrayWrapper", str("model.pkl_01.npy"), str("subclass"), pickle.OpGlobal, "numpy\nndarray\n", pickle.OpSetitem), globals.Allowed},
		{"array_beside_by_arguments", reduce("joblib.numpy_pickle", "NDArrayWrapper", str("model.pkl_01.npy"), pickle.OpGlobal, "numpy\nndarray\n", pickle.OpNewtrue), globals.Allowed},
		{"defaultdict", reduce("collections", "defaultdict", pickle.OpGlobal, "builtins\nlist\n"), globals.Allowed},
		{"path", reduce("pathlib", "PosixPath", str("/"), str("data")), globals.Allowed},
		{"uuid", asm(pickle.OpGlobal, "uuid\nUUID\n", pickle.OpEmptyTuple, pickle.OpNewobj), globals.Allowed},
		{"tensor_in_plain_pickle", reduce("torch.storage", "_load_from_bytes", pickle.OpBinbytes, uint32(len(legacy)), legacy), globals.Low},
		{"ultralytics", reduce("builtins", "getattr", pickle.OpGlobal, "ultralytics.nn.modules.head\nDetect\n", str("forward")), globals.Low},
		{"own_class_named", asm(pickle.OpGlobal, "mypackage\nLabel\n"), globals.Low},
		{"exception", reduce("builtins", "ValueError", str("x")), globals.Allowed},
		{"map_of_numbers", reduce("builtins", "sorted", pickle.OpEmptyList), globals.Allowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := scan(t, asm(pickle.OpProto, 2, tt.data, pickle.OpStop))
			found := globals.Policy{}.Assess(trace)
			worst := globals.Allowed
			for _, a := range found {
				worst = max(worst, a.Level)
			}
			if worst != tt.want {
				t.Errorf("graded %s, want %s: %+v", worst, tt.want, found)
			}
			if !trace.Streams[0].Complete {
				t.Errorf("stream %+v", trace.Streams[0])
			}
		})
	}
}
