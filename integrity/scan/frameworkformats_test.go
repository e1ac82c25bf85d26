package scan_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/testutil"
)

// flaxFile is what flax 0.12 writes for a tree with float32 and bfloat16
// arrays, a scalar, a complex number, a text, a list and None.
const flaxFile = "86a6706172616d7381a564656e736582a66b65726e656cc73e0193920403a7666c6f61743332c4300000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803fa462696173c71401939103a862666c6f61743136c406000000000000a473746570c70e039390a5696e743332c40403000000a163c7130292cb3ff0000000000000cb4000000000000000a166cb3fe0000000000000a173a46e616d65a16c82a130c72301939103a5696e743634c418000000000000000001000000000000000200000000000000a131c0"

// ocdbtFile is a manifest of TensorStore 0.1.80, with zstd; it names the data
// file below.
const (
	ocdbtFile = "0cdb3a2a7100000000000000000128b52ffd2056b102001f7438591125414c98052fcb307a85ae00800880c2d72f040100000000" +
		"012200642f34376163323330393533626131613132363631366466373332336339336138620101000000e7020ae7020078fd3298421eeb18002450af80"
	ocdbtData = "d/47ac230953ba1a126616df7323c93a8b"
)

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

// byPath lists the rules found in each file of a folder.
func byPath(res *scan.Result) map[string][]string {
	got := make(map[string][]string)
	for i := range res.Files {
		if ids := rules(&res.Files[i]); ids != nil {
			got[res.Files[i].Path] = ids
		}
	}
	return got
}

func TestMsgpack(t *testing.T) {
	floats := make([]byte, 16)
	s := build.Str
	params := func(v build.Msgpack) []byte { return build.Map(s("params"), v) }
	array := build.NDArray("float32", floats, 2, 2)
	numpy := func(kind string, data []byte) build.Msgpack {
		return build.Map(s("nd"), build.Msgpack{0xc3}, s("type"), s("|O"), s("kind"), s(kind), s("shape"), build.List(build.Uint(1)), s("data"), build.Bin(data))
	}
	deep := func(n int) []byte {
		return slices.Concat([]byte("\x81\xa1a"), bytes.Repeat([]byte{0x91}, n), array)
	}
	runRows(t, []row{
		// What Flax, msgpack-numpy and others write.
		{"flax", "flax_model.msgpack", unhex(flaxFile), scan.Clean, scan.Complete, nil},
		{"flax_any_name", "weights", unhex(flaxFile), scan.Clean, scan.Complete, nil},
		{"scalar", "a.msgpack", params(build.Ext(3, build.NDArray("int32", floats[:4])[6:])), scan.Clean, scan.Complete, nil},
		{"complex", "a.msgpack", params(build.Ext(2, append([]byte("\x92\xcb"), append(append(floats[:8:8], 0xcb), floats[:8]...)...))), scan.Clean, scan.Complete, nil},
		{"bfloat16", "a.msgpack", params(build.NDArray("bfloat16", floats, 8)), scan.Clean, scan.Complete, nil},
		{"float8", "a.msgpack", params(build.NDArray("float8_e4m3fn", floats, 16)), scan.Clean, scan.Complete, nil},
		{"int4", "a.msgpack", params(build.NDArray("int4", floats, 16)), scan.Clean, scan.Complete, nil},
		{"type_string", "a.msgpack", params(build.NDArray("<f4", floats, 4)), scan.Clean, scan.Complete, nil},
		{"unicode", "a.msgpack", params(build.NDArray("str64", floats, 2)), scan.Clean, scan.Complete, nil},
		{"empty_array", "a.msgpack", params(build.NDArray("float32", nil, 0, 1<<40)), scan.Clean, scan.Complete, nil},
		{"array_like_elf", "a.msgpack", params(build.NDArray("uint8", build.ELF(), 64)), scan.Clean, scan.Complete, nil},
		{"array_like_pickle", "a.msgpack", params(build.NDArray("uint8", build.Attack(), uint64(len(build.Attack())))), scan.Clean, scan.Complete, nil},
		{"empty", "a.msgpack", []byte{0x80}, scan.Clean, scan.Complete, nil},
		{"timestamp", "a.msgpack", params(build.Ext(-1, floats[:12])), scan.Clean, scan.Complete, nil},
		{"numpy", "a.msgpack", params(numpy("V", floats)), scan.Clean, scan.Complete, nil},
		{"loose_bytes", "a.msgpack", params(build.Bin([]byte("sixteen bytes and more"))), scan.Clean, scan.Complete, nil},
		{"number_and_text_keys", "a.msgpack", build.Map(build.Uint(1), array, s("1"), array, s("i1"), array), scan.Clean, scan.Complete, nil},
		{"depth", "a.msgpack", deep(1000), scan.Clean, scan.Complete, nil},
		{"checkpoint", "checkpoint", params(s("PLACEHOLDER://params.dense.kernel")), scan.Clean, scan.Complete, nil},

		// Other things that start alike.
		{"text", "a.msgpack", []byte("{\"a\": 1}\n"), scan.Unknown, scan.Inconclusive, nil},
		{"noise", "x", append([]byte("\x81\xa1a"), bytes.Repeat([]byte{0xc1, 0x7f}, 50)...), scan.Unknown, scan.Complete, nil},
		{"noise_after", "x", append([]byte("\x81\xa1a\x01"), bytes.Repeat([]byte{0xc1, 0x7f}, 50)...), scan.Unknown, scan.Complete, nil},
		{"pickle_of_that_name", "a.msgpack", build.Attack(), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},

		// Attacks.
		{"object", "a.msgpack", params(build.NDArray("object", floats, 2)), scan.Malicious, scan.Complete, []string{"scan.msgpack.object-array"}},
		{"object_short", "a.msgpack", params(build.NDArray("|O", floats, 2)), scan.Malicious, scan.Complete, []string{"scan.msgpack.object-array"}},
		{"object_field", "a.msgpack", params(build.NDArray("f4, 2O", floats, 2)), scan.Malicious, scan.Complete, []string{"scan.msgpack.object-array"}},
		{"object_scalar", "a.msgpack", params(build.Ext(3, build.NDArray("object", floats, 2)[6:])), scan.Malicious, scan.Complete, []string{"scan.msgpack.object-array"}},
		{
			"numpy_pickle", "a.msgpack", params(numpy("O", build.Attack())), scan.Malicious, scan.Complete,
			[]string{"scan.msgpack.object-array", "scan.pickle.call-on-load"},
		},
		{
			"numpy_bytes_keys", "weights", build.Map(s("x"), array, s("y"), build.Map(
				build.Bin([]byte("nd")), build.Msgpack{0xc3}, build.Bin([]byte("kind")), build.Bin([]byte("O")), build.Bin([]byte("data")), build.Bin([]byte("cos\nsystem\n(S'id'\ntR.")))),
			scan.Malicious, scan.Complete,
			[]string{"scan.msgpack.object-array", "scan.pickle.call-on-load"},
		},
		{"shape", "a.msgpack", params(build.NDArray("float32", floats, 2, 3)), scan.Suspicious, scan.Complete, []string{"scan.msgpack.array-layout"}},
		{"shape_overflow", "a.msgpack", params(build.NDArray("float32", floats, 1<<62, 4, 4)), scan.Suspicious, scan.Complete, []string{"scan.msgpack.array-layout"}},
		{"shape_negative", "a.msgpack", params(build.Ext(1, build.List(build.List(build.Msgpack{0xff}), s("float32"), build.Bin(floats)))), scan.Suspicious, scan.Complete, []string{"scan.msgpack.array-layout"}},
		{"extension_1_pickle", "a.msgpack", params(build.Ext(1, build.Attack())), scan.Malicious, scan.Complete, []string{"scan.msgpack.array-layout", "scan.pickle.call-on-load"}},
		{"extension_2_pickle", "a.msgpack", params(build.Ext(2, []byte("cos\nsystem\n(S'id'\ntR."))), scan.Malicious, scan.Complete, []string{"scan.msgpack.array-layout", "scan.pickle.call-on-load"}},
		{"extension_own", "a.msgpack", params(build.Ext(42, floats)), scan.Clean, scan.Complete, []string{"scan.msgpack.extension"}},
		{"extension_time_of_5_bytes", "a.msgpack", params(build.Ext(-1, floats[:5])), scan.Clean, scan.Complete, []string{"scan.msgpack.extension"}},
		{"extension_pickle", "a.msgpack", params(build.Ext(42, build.Attack())), scan.Malicious, scan.Complete, []string{"scan.msgpack.extension", "scan.pickle.call-on-load"}},
		{"extension_executable", "a.msgpack", params(build.Ext(42, build.ELF())), scan.Suspicious, scan.Complete, []string{"scan.file.executable", "scan.msgpack.extension"}},
		{"loose_executable", "a.msgpack", params(build.Bin(build.ELF())), scan.Malicious, scan.Complete, []string{"scan.file.embedded-executable"}},
		{"loose_pickle", "a.msgpack", params(build.Bin(build.Attack())), scan.Malicious, scan.Complete, []string{"scan.file.hidden-content", "scan.pickle.call-on-load"}},
		{"twice", "a.msgpack", build.Map(s("a"), array, s("a"), array), scan.Suspicious, scan.Complete, []string{"scan.msgpack.duplicate-key"}},
		{"twice_other_encoding", "a.msgpack", build.Map(s("a"), array, build.Msgpack("\xa1a"), array), scan.Suspicious, scan.Complete, []string{"scan.msgpack.duplicate-key"}},
		{"twice_inside", "a.msgpack", params(build.Map(s("a"), array, build.Bin([]byte("a")), array)), scan.Suspicious, scan.Complete, []string{"scan.msgpack.duplicate-key"}},
		{"twice_number", "a.msgpack", build.Map(build.Uint(1), array, build.Msgpack{1}, array), scan.Suspicious, scan.Complete, []string{"scan.msgpack.duplicate-key"}},
		{"trailing", "a.msgpack", append(params(array), 0, 1, 2), scan.Clean, scan.Complete, []string{"scan.msgpack.trailing-data"}},
		{
			"trailing_pickle", "a.msgpack", append(params(array), build.Attack()...), scan.Malicious, scan.Complete,
			[]string{"scan.file.hidden-content", "scan.msgpack.trailing-data", "scan.pickle.call-on-load"},
		},
		{"placeholder_out", "checkpoint", params(s("PLACEHOLDER://../../etc/passwd")), scan.Malicious, scan.Complete, []string{"scan.orbax.path"}},
		{"placeholder_absolute", "x", params(s("PLACEHOLDER:///etc/passwd")), scan.Malicious, scan.Complete, []string{"scan.orbax.path"}},

		// What cannot be read is not clean.
		{"cut", "a.msgpack", unhex(flaxFile)[:100], scan.Unknown, scan.Failed, nil},
		{"cut_any_name", "x", unhex(flaxFile)[:200], scan.Unknown, scan.Failed, nil},
		{"never_used_byte", "a.msgpack", params(build.Msgpack{0xc1}), scan.Unknown, scan.Failed, nil},
		{"count", "a.msgpack", []byte("\x81\xa1a\xdd\xff\xff\xff\xff"), scan.Unknown, scan.Failed, nil},
		{"too_deep", "a.msgpack", deep(2000), scan.Unknown, scan.Failed, nil},
		{"unknown_type", "a.msgpack", params(build.NDArray("quaternion", floats, 1)), scan.Unknown, scan.Inconclusive, nil},
		{"long_key", "a.msgpack", build.Map(build.Msgpack(append([]byte("\xdb\x00\x02\x00\x00"), make([]byte, 1<<17)...)), array), scan.Unknown, scan.Inconclusive, nil},
	})
}

// TestMsgpackCost bounds what the walk allocates, whatever the file claims, and
// holds it to its budgets.
func TestMsgpackCost(t *testing.T) {
	keys := func(n int) []byte {
		var pairs []build.Msgpack
		for i := range n {
			pairs = append(pairs, build.Str(fmt.Sprintf("key-%06d", i)), build.Uint(1))
		}
		return append(build.Map(build.Str("a"), build.NDArray("uint8", nil, 0), build.Str("b")), build.Map(pairs...)...)
	}
	big := build.Map(build.Str("a"), build.NDArray("uint8", make([]byte, 32<<20), 32<<20))
	for name, data := range map[string][]byte{
		"weights": big,
		"items":   append([]byte("\xdd\x00\x10\x00\x00"), make([]byte, 1<<20)...),
		"loose":   append([]byte("\xdd\x00\x00\x80\x00"), bytes.Repeat(build.Bin(make([]byte, 17)), 1<<15)...),
	} {
		if !raceEnabled {
			testutil.AllocBound(t, 8<<20, func() { one(t, scan.Scanner{NoDigests: true}, name+".msgpack", data) })
		}
	}
	data := keys(60_000)
	data[0], data[2] = 0xde, 2 // two members
	if f := one(t, scan.Scanner{Limits: scan.Limits{Memory: 1 << 20}}, "a.msgpack", data); f.Completeness != scan.Inconclusive || !strings.Contains(strings.Join(reasons(f), ""), "held in memory") {
		report(t, f)
		t.Error("the memory of keys is not bounded")
	}
	if f := one(t, scan.Scanner{}, "a.msgpack", data); f.Verdict != scan.Clean {
		report(t, f)
		t.Error("not clean with the default limits")
	}
	if f := one(t, scan.Scanner{Limits: scan.Limits{Opcodes: 100}}, "a.msgpack", data); f.Completeness != scan.Inconclusive {
		report(t, f)
		t.Error("the number of values is not bounded")
	}
}

func TestOrbax(t *testing.T) {
	const metadata = `{"tree_metadata": {"('params', 'w')": {"key_metadata": [{"key": "params", "key_type": 2}, {"key": "w", "key_type": 2}],
		"value_metadata": {"value_type": "jax.Array", "skip_deserialize": false}}, "('n',)": {"key_metadata": [{"key": "n", "key_type": 2}],
		"value_metadata": {"value_type": "own.Handler"}}}, "use_ocdbt": true, "use_zarr3": false, "custom_metadata": null}`
	const zarray = `{"chunks":[2],"compressor":{"id":"zstd","level":1},"dtype":"<f4","fill_value":null,"filters":null,"order":"C","shape":[2],"zarr_format":2}`
	checkpoint := map[string][]byte{
		"_METADATA":                      []byte(metadata),
		"_CHECKPOINT_METADATA":           []byte(`{"item_handlers": {"state": "orbax.checkpoint.PyTreeCheckpointHandler", "x": "mine.Handler"}, "init_timestamp_nsecs": 1}`),
		"_sharding":                      []byte(`{"cGFyYW1zLnc=": "{\"sharding_type\": \"NamedSharding\"}"}`),
		"array_metadatas/process_0":      []byte(`{"array_metadatas": [{"array_metadata": {"param_name": "w", "write_shape": [3]}}]}`),
		"manifest.ocdbt":                 unhex(ocdbtFile),
		ocdbtData:                        {0x0c, 0xdb, 0x20, 0xde, 1, 2, 3},
		"ocdbt.process_0/manifest.ocdbt": build.OCDBT("d/00000000000000000000000000000000"),
		"ocdbt.process_0/d/00000000000000000000000000000000": build.ELF(), // bytes of a tensor
		"w/.zarray": []byte(zarray), "w/0": compressed(newZstdWriter, make([]byte, 8)), "w/0.0": []byte("\x28\xb5\x2f\xfd no zstd"),
		"z/zarr.json": []byte(`{"zarr_format": 3, "node_type": "array", "codecs": [{"name": "bytes"}, {"name": "zstd"}]}`),
		"z/c/0/1":     append(compressed(newZstdWriter, make([]byte, 8)), 1, 2, 3, 4), "z/c/1/1": []byte("\x1f\x8b\x08\x00rest"),
		"commit_success.txt": []byte("Checkpoint commit was successful\n"),
		"checkpoint":         build.Map(build.Str("w"), build.Str("PLACEHOLDER://params.w")),
	}
	res := folder(t, scan.Scanner{}, checkpoint)
	for i := range res.Files {
		if f := &res.Files[i]; len(rules(f)) > 0 && !slices.Equal(rules(f), []string{"scan.compressed.trailing-data"}) || len(reasons(f)) > 0 || f.Verdict != scan.Clean {
			report(t, f)
			t.Error("not clean")
		}
	}
	facts := make(map[string]string)
	for _, f := range res.Files {
		maps.Copy(facts, f.Facts)
	}
	want := map[string]string{"framework": "orbax", "tensors": "0", "value_types": "jax.Array, own.Handler", "handlers": "mine.Handler, orbax.checkpoint.PyTreeCheckpointHandler"}
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}

	alone := func(name, text string) *scan.FileResult { return one(t, scan.Scanner{}, name, []byte(text)) }
	for _, tt := range []struct{ name, file, text, want string }{
		{"named_tuple", "_METADATA", `{"a": {"category": "namedtuple", "module_name": "os", "clazz": "P"}}`, ""},
		{"own_folder", "a/.zarray", strings.Replace(zarray, "zstd", "blosc", 1), ""},
		{"relative_store", "_METADATA", `{"kvstore": {"driver": "file", "path": "arrays/w/"}}`, ""},
		{"word_pickle_elsewhere", ".zattrs", `{"title": "pickle", "kind": {"name": "pickled"}}`, ""},
		{"parameter_climbs", "_METADATA", `{"key_metadata": [{"key": "../../etc/passwd", "key_type": 2}]}`, "scan.orbax.path"},
		{"parameter_absolute", "_METADATA", `{"key_metadata": [{"key": "/etc/passwd"}]}`, "scan.orbax.path"},
		{"parameter_in_parts", "_METADATA", `{"key_metadata": [{"key": "a/../"}, {"key": "/../b"}]}`, "scan.orbax.path"},
		{"store_absolute", "array_metadatas/process_0", `{"kvstore": {"driver": "file", "path": "/home/x/"}}`, "scan.orbax.path"},
		{"store_remote", "_METADATA", `{"base": {"driver": "gcs", "bucket": "b", "path": "p"}}`, "scan.orbax.path"},
		{"store_http", "_METADATA", `{"kvstore": {"driver": "http", "base_url": "http://x"}}`, "scan.orbax.path"},
		{"store_url", "zarr.json", `{"kvstore": "s3://bucket/x"}`, "scan.orbax.path"},
		{"store_file_url", "zarr.json", `{"base": "file:///etc/"}`, "scan.orbax.path"},
		{"sharding_climbs", "_sharding", `{"Li4vLi4vZXRjL3Bhc3N3ZA==": "{}"}`, "scan.orbax.path"},
		{"zarr_pickle", ".zarray", `{"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}`, "scan.zarr.pickle-codec"},
		{"zarr_pickle_consolidated", ".zmetadata", `{"metadata": {"a/.zarray": {"filters": [{"id": "Pickle"}]}}}`, "scan.zarr.pickle-codec"},
		{"zarr3_pickle", "zarr.json", `{"codecs": [{"name": "numcodecs.pickle"}]}`, "scan.zarr.pickle-codec"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := alone(tt.file, tt.text)
			if got := strings.Join(rules(f), " "); got != tt.want || f.Completeness != scan.Complete {
				report(t, f)
				t.Errorf("rules %q, want %q", got, tt.want)
			}
		})
	}
	for name, text := range map[string]string{"_METADATA": `{"a": 1, "a": 2}`, "_sharding": `{"a":`} {
		if f := alone(name, text); f.Completeness == scan.Complete || f.Verdict == scan.Clean {
			report(t, f)
			t.Errorf("%s: broken, but %s", name, f.Verdict)
		}
	}
}

func TestOCDBT(t *testing.T) {
	good := build.OCDBT()
	edit := func(f func([]byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	runRows(t, []row{
		{"empty", "manifest.ocdbt", good, scan.Clean, scan.Complete, nil},
		{"numbered", "manifest.ocdbt", build.OCDBTBody(0, append(make([]byte, 16), 1, 0, 0, 0, 0)), scan.Clean, scan.Complete, nil},
		{"missing", "manifest.ocdbt", unhex(ocdbtFile), scan.Unknown, scan.Inconclusive, nil},
		{"climbs", "manifest.ocdbt", build.OCDBT("../../etc/passwd"), scan.Malicious, scan.Complete, []string{"scan.orbax.path"}},
		{"absolute", "x", build.OCDBT("/etc/passwd"), scan.Malicious, scan.Complete, []string{"scan.orbax.path"}},
		{"zstd_climbs", "x", build.OCDBTBody(1, compressed(newZstdWriter, build.OCDBT("a/../../b")[14:])), scan.Malicious, scan.Complete, []string{"scan.orbax.path"}},
		{"length", "manifest.ocdbt", append(bytes.Clone(good), 0), scan.Unknown, scan.Failed, nil},
		{"checksum", "manifest.ocdbt", edit(func(b []byte) { b[20] ^= 1 }), scan.Unknown, scan.Failed, nil},
		{"cut", "manifest.ocdbt", good[:20], scan.Unknown, scan.Failed, nil},
		{"compression", "manifest.ocdbt", build.OCDBTBody(9, nil), scan.Unknown, scan.Failed, nil},
		{"zstd_broken", "manifest.ocdbt", build.OCDBTBody(1, []byte("none")), scan.Unknown, scan.Failed, nil},
		{"zstd_bomb", "manifest.ocdbt", build.OCDBTBody(1, compressed(newZstdWriter, make([]byte, 20<<20))), scan.Unknown, scan.Inconclusive, nil},
		{"count", "manifest.ocdbt", build.OCDBTBody(0, append(make([]byte, 21), 0xff, 0xff, 3)), scan.Unknown, scan.Failed, nil},
		{"other_name", "a.ocdbt", []byte("text\n"), scan.Unknown, scan.Inconclusive, nil},
	})
}

func TestLlamafile(t *testing.T) {
	model := build.Member{Name: "m.gguf", Data: gguf(nil, 0, 0)}
	ape := append([]byte("MZqFpD='\n"), make([]byte, 500)...)
	file := func(prefix []byte, args string, more ...build.Member) []byte {
		ms := append([]build.Member{model}, more...)
		if args != "" {
			ms = append(ms, build.Member{Name: ".args", Data: []byte(args), Method: 8})
		}
		return build.Archive{Members: ms, Prefix: prefix}.Bytes()
	}
	program := []string{"scan.file.executable", "scan.llamafile.program", "scan.zip.prefix-data"}
	reaches := []string{"scan.file.executable", "scan.llamafile.arguments", "scan.llamafile.program", "scan.zip.prefix-data"}
	runRows(t, []row{
		{"plain", "m.llamafile", file(ape, ""), scan.Suspicious, scan.Complete, program},
		{"any_name", "m", file(ape, ""), scan.Suspicious, scan.Complete, program},
		{"arguments", "m", file(ape, "-m\nm.gguf\n--host\n127.0.0.1\n-ngl\n999\n--mmproj\n/zip/m.gguf\n..."), scan.Suspicious, scan.Complete, program},
		{"not_for_windows", "m", file(append([]byte("jartsr='\n"), make([]byte, 99)...), ""), scan.Suspicious, scan.Complete, program},
		{"elf", "m", file(build.ELF(), ""), scan.Suspicious, scan.Complete, program},
		{"pe", "m", file(build.PE(), "--host=localhost\n"), scan.Suspicious, scan.Complete, program},
		{"upper_case", "m", build.Archive{Members: []build.Member{{Name: "M.GGUF", Data: model.Data}}, Prefix: ape}.Bytes(), scan.Suspicious, scan.Complete, program},

		{"host_own", "m", file(ape, "--host\nlocalhost\n--port\n8080\n"), scan.Suspicious, scan.Complete, program},
		{"host_own_6", "m", file(ape, "--host\n::1\n"), scan.Suspicious, scan.Complete, program},
		{"prompt", "m", file(ape, "-p\nA chat with --host 0.0.0.0 and ../x in it.\n"), scan.Suspicious, scan.Complete, program},
		{"member", "m", file(ape, "-m\n/zip/a/../m.gguf\n"), scan.Suspicious, scan.Complete, program},
		{"relative", "m", file(ape, "-m\na/../m.gguf\n"), scan.Suspicious, scan.Complete, program},
		{"dots", "m", file(ape, "-m\nm..gguf\n..."), scan.Suspicious, scan.Complete, program},
		{"like_log_file", "m", file(ape, "--log-disable\n--no-display-prompt\n"), scan.Suspicious, scan.Complete, program},
		{"template_plain", "m", file(ape, "", build.Member{Name: "n.gguf", Data: gguf([]string{"tokenizer.chat_template", "{{ messages[0]['content'] }}"}, 0, 0)}), scan.Suspicious, scan.Complete, program},
		{"other_arguments", "m", file(ape, "", build.Member{Name: "doc/.args", Data: []byte("--host\n0.0.0.0\n")}), scan.Suspicious, scan.Complete, program},

		{"archive_alone", "m.zip", build.Zip(model), scan.Clean, scan.Complete, nil},
		{"archive_arguments", "m.zip", build.Zip(model, build.Member{Name: ".args", Data: []byte("--rpc=10.0.0.1:1\n")}), scan.Clean, scan.Complete, nil},
		{"program_alone", "m", build.ELF(), scan.Suspicious, scan.Complete, []string{"scan.file.executable"}},
		{"no_model", "m", build.Archive{Members: []build.Member{{Name: "a.txt", Data: []byte("x")}}, Prefix: ape}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.file.executable", "scan.zip.prefix-data"}},

		{"host", "m", file(ape, "-m\nm.gguf\n--host\n0.0.0.0\n"), scan.Malicious, scan.Complete, reaches},
		{"host_joined", "m", file(ape, "--host=::\n"), scan.Malicious, scan.Complete, reaches},
		{"absolute", "m", file(ape, "-f\n/etc/passwd\n"), scan.Malicious, scan.Complete, reaches},
		{"climbs", "m", file(ape, "-m\n/zip/../etc/passwd\n"), scan.Malicious, scan.Complete, reaches},
		{"relative_climbs", "m", file(ape, "-m\n../other.gguf\n"), scan.Malicious, scan.Complete, reaches},
		{"drive", "m", file(ape, "-m\nC:\\x.gguf\n"), scan.Malicious, scan.Complete, reaches},
		{"url", "m", file(ape, "--model-url\nhttps://example.org/x\n"), scan.Malicious, scan.Complete, reaches},
		{"writes", "m", file(ape, "--log-file\nx\n"), scan.Malicious, scan.Complete, reaches},
		{"rpc", "m", file(ape, "--rpc=10.0.0.1:50052\n"), scan.Malicious, scan.Complete, reaches},
		{
			"template", "m", file(ape, "", build.Member{Name: "n.gguf", Data: gguf([]string{"tokenizer.chat_template", "{{ ''.__class__ }}"}, 0, 0)}), scan.Malicious, scan.Complete,
			append(program[:2:2], "scan.template.attack", "scan.zip.prefix-data"),
		},
		{"long_arguments", "m", file(ape, strings.Repeat("-x\n", 30_000)), scan.Suspicious, scan.Failed, program},
	})
}

func TestTorchServeManifest(t *testing.T) {
	manifest := func(model string) []byte { return []byte(`{"runtime": "python", "model": ` + model + `}`) }
	own := []byte("import torch\n")
	for _, tt := range []struct {
		name, model string
		files       []string // of Python, in the archive
		severity    string
	}{
		{"built_in", `{"handler": "image_classifier"}`, nil, ""},
		{"no_handler", `{"serializedFile": "m.pt"}`, nil, ""},
		{"handler_is_no_text", `{"handler": {"a": 1}}`, nil, ""},
		{"own", `{"handler": "handler.py"}`, []string{"handler.py"}, "medium"},
		{"own_without_ending", `{"handler": "handler"}`, []string{"handler.py"}, "medium"},
		{"own_function", `{"handler": "handler:run"}`, []string{"handler.py"}, "medium"},
		{"own_from_a_folder", `{"handler": "/home/x/handler.py:run"}`, []string{"handler.py"}, "medium"},
		{"shadows_built_in", `{"handler": "image_classifier"}`, []string{"image_classifier.py"}, "medium"},
		{"elsewhere", `{"handler": "handler.py"}`, []string{"other.py"}, "high"},
		{"module", `{"handler": "os:system"}`, nil, "high"},
		{"module_alone", `{"handler": "runpy"}`, nil, "high"},
		{"model_file", `{"handler": "image_classifier", "modelFile": "net.py"}`, []string{"net.py"}, "medium"},
		{"model_file_elsewhere", `{"handler": "image_classifier", "modelFile": "net.py"}`, nil, "high"},
	} {
		var zipped []build.Member
		var tarred []build.TarMember
		files := map[string][]byte{"m/MAR-INF/MANIFEST.json": manifest(tt.model)}
		for _, name := range tt.files {
			zipped = append(zipped, build.Member{Name: name, Data: own})
			tarred = append(tarred, build.TarMember{Name: name, Data: own})
			files["m/"+name] = own
		}
		zipped = append(zipped, build.Member{Name: "MAR-INF/MANIFEST.json", Data: manifest(tt.model), Method: 8})
		tarred = append(tarred, build.TarMember{Name: "MAR-INF/MANIFEST.json", Data: manifest(tt.model)})
		for holder, res := range map[string]*scan.Result{
			"zip":    folder(t, scan.Scanner{}, map[string][]byte{"m.mar": build.Zip(zipped...)}),
			"tgz":    folder(t, scan.Scanner{}, map[string][]byte{"m.tar.gz": build.Gzip(build.Tar(tarred...))}),
			"folder": folder(t, scan.Scanner{}, files),
		} {
			t.Run(tt.name+"_"+holder, func(t *testing.T) {
				got := ""
				for f := range res.Findings() {
					if f.Rule.ID == "scan.torchserve.handler" {
						got = f.Severity.String()
					}
				}
				if got != tt.severity || res.Completeness() != scan.Complete {
					for i := range res.Files {
						report(t, &res.Files[i])
					}
					t.Errorf("severity %q, want %q", got, tt.severity)
				}
			})
		}
	}
	for name, text := range map[string]string{"cut": `{"model": `, "twice": `{"model": {}, "model": {}}`, "none": `{}`, "list": `{"model": []}`, "yaml": "model:\n  handler: x\n"} {
		res := folder(t, scan.Scanner{}, map[string][]byte{"MAR-INF/MANIFEST.json": []byte(text)})
		if res.Completeness() == scan.Complete {
			t.Errorf("%s: complete", name)
		}
	}
}

func frameworkExamples() map[string]ruleExample {
	array := build.NDArray("float32", make([]byte, 4), 1)
	model := build.Member{Name: "m.gguf", Data: gguf(nil, 0, 0)}
	ape := append([]byte("MZqFpD='\n"), make([]byte, 500)...)
	member := func(v build.Msgpack) []byte { return build.Map(build.Str("w"), v) }
	return map[string]ruleExample{
		"scan.msgpack.array-layout":  {looks: "an array of shape (2, 3) and type float32 that has 4 bytes.", file: "flax_model.msgpack", data: member(build.NDArray("float32", make([]byte, 4), 2, 3))},
		"scan.msgpack.object-array":  {looks: "an array of type `object`.", file: "flax_model.msgpack", data: member(build.NDArray("object", make([]byte, 8), 1))},
		"scan.msgpack.extension":     {looks: "a value of extension type 42.", file: "flax_model.msgpack", data: member(build.Ext(42, []byte("x")))},
		"scan.msgpack.duplicate-key": {looks: "a map with two members `w`.", file: "flax_model.msgpack", data: build.Map(build.Str("w"), array, build.Str("w"), array)},
		"scan.msgpack.trailing-data": {looks: "a byte behind the last array.", file: "flax_model.msgpack", data: append(member(array), 0)},
		"scan.orbax.path":            {looks: "`PLACEHOLDER://../../etc/passwd` in the place of an array.", file: "checkpoint", data: member(build.Str("PLACEHOLDER://../../etc/passwd"))},
		"scan.zarr.pickle-codec":     {looks: "`\"filters\": [{\"id\": \"pickle\"}]`.", file: ".zarray", data: []byte(`{"dtype": "|O", "filters": [{"id": "pickle"}]}`)},
		"scan.config.imported-name":  {looks: "`\"activation_function\": \"os.system\"` in a layer's configuration.", file: "2_Dense/config.json", data: []byte(`{"activation_function": "os.system"}`)},
		"scan.config.outside-path":   {looks: "`\"vocab_file\": \"/etc/passwd\"` in `special_tokens_map.json`.", file: "special_tokens_map.json", data: []byte(`{"vocab_file": "/etc/passwd"}`)},
		"scan.config.pattern-bomb":   {looks: "`\"target_modules\": \"([a-z.]+)+!\"`.", file: "adapter_config.json", data: []byte(`{"target_modules": "([a-z.]+)+!"}`)},
		"scan.repo.shard-path":       {looks: "`\"weight_map\": {\"w\": \"../../other.safetensors\"}`.", file: "model.safetensors.index.json", data: []byte(`{"weight_map": {"w": "../../other.safetensors"}}`)},
		"scan.repo.shard-format":     {looks: "`\"weight_map\": {\"w\": \"weights.bin\"}` in an index of safetensors files.", file: "model.safetensors.index.json", data: []byte(`{"weight_map": {"w": "weights.bin"}}`)},
		"scan.repo.custom-generate":  {looks: "`custom_generate/generate.py`.", file: "custom_generate/generate.py", data: []byte("import os\n")},
		"scan.tree.snapshot-link": {
			looks: "`snapshots/<revision>/model.bin` links to `../../refs/main`.", file: "snapshots/" + revision + "/model.bin",
			links:  map[string]string{"snapshots/" + revision + "/model.bin": "../../refs/main"},
			beside: map[string][]byte{"refs/main": []byte(revision), "blobs/" + small(nil): nil},
		},
		"scan.tree.blob-mismatch": {
			looks: "a file `blobs/<sha256>` whose content has another SHA-256.", file: "blobs/" + large([]byte("x")), data: []byte("y"),
			beside: map[string][]byte{"snapshots/" + revision + "/a": []byte("a")},
		},
		"scan.llamafile.program": {
			looks: "a program for six systems with `m.gguf` in the zip archive at its end.", file: "m.llamafile",
			data: build.Archive{Members: []build.Member{model}, Prefix: ape}.Bytes(), also: []string{"scan.file.executable", "scan.zip.prefix-data"},
		},
		"scan.llamafile.arguments": {
			looks: "`--host 0.0.0.0` in the `.args` of a llamafile.", file: "m.llamafile",
			data: build.Archive{Members: []build.Member{model, {Name: ".args", Data: []byte("--host\n0.0.0.0\n")}}, Prefix: ape}.Bytes(),
			also: []string{"scan.file.executable", "scan.llamafile.program", "scan.zip.prefix-data"},
		},
	}
}

// FuzzMsgpack starts at maps, arrays and extensions.
func FuzzMsgpack(f *testing.F) {
	f.Add(unhex(flaxFile))
	f.Add([]byte(build.Map(build.Str("a"), build.Ext(1, []byte("x")), build.Str("a"), build.Bin(build.Attack()))))
	f.Add([]byte(build.Map(build.Str("nd"), build.Msgpack{0xc3}, build.Str("kind"), build.Str("O"), build.Str("data"), build.Bin([]byte("N.")))))
	f.Add([]byte("\x81\xa1a\xdd\x00\x00\x00\x02\xc7\x01\x02\x00\xd4\x03\x00"))
	formats := append(only("msgpack"), only("pickle")...)
	f.Fuzz(func(t *testing.T, data []byte) { check(t, "a.msgpack", data, formats) })
}

// FuzzOCDBT starts behind the checksum.
func FuzzOCDBT(f *testing.F) {
	f.Add(build.OCDBT("d/a", "../b")[14:])
	f.Add(append(make([]byte, 21), 2, 1, 3, 2, 0, 0, 'd', '/', 'a', 'b'))
	formats := only("ocdbt")
	f.Fuzz(func(t *testing.T, body []byte) { check(t, "manifest.ocdbt", build.OCDBTBody(0, body), formats) })
}

// FuzzOrbax starts at metadata, under each name that means something.
func FuzzOrbax(f *testing.F) {
	f.Add([]byte(`{"tree_metadata": {"a": {"key_metadata": [{"key": "../x"}], "value_metadata": {"value_type": "y"}}}, "item_handlers": ["z"]}`))
	f.Add([]byte(`{"Li4vYQ==": "{}", "kvstore": {"driver": "file", "path": "/"}, "filters": [{"id": "pickle"}]}`))
	formats := only("orbax")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"_METADATA", "_sharding"} {
			check(t, name, data, formats)
		}
	})
}
