package scan_test

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// TestFormats has one row for each thing a format can say, and rows in which
// it must say nothing.
func TestFormats(t *testing.T) {
	floats := make([]byte, 16)
	pkl := build.Harmless()
	text := []byte("hello\n")
	const header = `{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`
	relu := []build.Proto{build.Node("Relu", "")}
	zipOf := func(ms ...build.Member) []byte { return build.Zip(ms...) }

	for _, tt := range []struct {
		name     string
		file     string
		data     []byte
		verdict  scan.Verdict
		complete scan.Completeness
		want     []string // rule ids
	}{
		// What ordinary tools write.
		{"empty", "a.bin", nil, scan.Clean, scan.Complete, nil},
		{"text", "README.md", text, scan.Clean, scan.Complete, nil},
		{"text_utf8", "vocab.txt", []byte("ä\nö\n日本\n"), scan.Clean, scan.Complete, nil},
		{"json", "vocab.json", []byte(`{"a": 1}`), scan.Clean, scan.Complete, nil},
		{"json_lines", "train.jsonl", []byte("{\"a\": 1}\n{\"a\": 2}\n"), scan.Clean, scan.Complete, nil},
		{"config", "config.json", []byte(`{"model_type": "bert", "_name_or_path": "a/b", "id2label": {"0": "eval"}}`), scan.Clean, scan.Complete, nil},
		{"safetensors", "m.safetensors", build.Safetensors(header, floats), scan.Clean, scan.Complete, nil},
		{"safetensors_padded", "m.safetensors", build.Safetensors(header+"    ", floats), scan.Clean, scan.Complete, nil},
		{"safetensors_any_name", "weights", build.Safetensors(header, floats), scan.Clean, scan.Complete, nil},
		{"npy", "a.npy", build.NPY("<f4", "(4,)", floats), scan.Clean, scan.Complete, nil},
		{"npy_objects", "a.npy", build.NPY("|O", "(1,)", pkl), scan.Clean, scan.Complete, nil},
		{"npy_several", "a.npy", append(build.NPY("<f4", "(4,)", floats), build.NPY("<f4", "(4,)", floats)...), scan.Clean, scan.Complete, nil},
		{"onnx", "m.onnx", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{2, 2}, floats)}), scan.Clean, scan.Complete, nil},
		{"onnx_no_name", "m", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{4}, floats)}), scan.Clean, scan.Complete, nil},
		{"onnx_function", "m.onnx", build.ONNX([]build.Proto{build.Node("F", "own")}, nil, func(m build.Proto) build.Proto {
			return m.Bytes(25, build.Proto(nil).Text(1, "F").Text(10, "own").Bytes(7, build.Node("Relu", "")))
		}), scan.Clean, scan.Complete, nil},
		{"pickle", "a.pkl", pkl, scan.Clean, scan.Complete, nil},
		{"pickle_memo", "a.pkl", []byte("\x80\x02}r\xff\xff\xff\x7f."), scan.Suspicious, scan.Complete, []string{"scan.pickle.memo-bomb"}},
		{"pickle_memo_text", "a.pkl", []byte("\x80\x02}p5000000\n."), scan.Suspicious, scan.Complete, []string{"scan.pickle.memo-bomb"}},
		{"pickle_memo_small", "a.pkl", []byte("\x80\x02}r\xff\xff\x00\x00."), scan.Clean, scan.Complete, nil},
		{"pickle_in_pickle", "a.pkl", slices.Concat([]byte("\x80\x02U"), []byte{byte(len(pkl))}, pkl, []byte(".")), scan.Clean, scan.Complete, nil},
		{"pickle_attack_in_pickle", "a.pkl", slices.Concat([]byte("\x80\x02U"), []byte{byte(len(build.Attack()))}, build.Attack(), []byte(".")), scan.Suspicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"pickle_long_literal", "a.pkl", slices.Concat([]byte("\x80\x02X\x00\x20\x00\x00"), bytes.Repeat([]byte("weights "), 1024), []byte(".")), scan.Clean, scan.Complete, nil},
		{"pickle_protocol_1", "a.pkl", slices.Concat([]byte("X\x00\x20\x00\x00"), bytes.Repeat([]byte("weights "), 1024), []byte(".")), scan.Clean, scan.Complete, nil},
		{"pickle_object_array", "a.pkl", []byte("\x80\x02cnumpy.core._internal\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R."), scan.Clean, scan.Complete, nil},
		{"zip", "a.zip", zipOf(build.Member{Name: "a/data.pkl", Data: pkl}, build.Member{Name: "a/version", Data: []byte("3\n"), Method: 8}), scan.Clean, scan.Complete, nil},
		{"zip_comment", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, Comment: []byte("made by a test")}.Bytes(), scan.Clean, scan.Complete, nil},
		{"zip_in_zip", "a.zip", zipOf(build.Member{Name: "b.zip", Data: zipOf(build.Member{Name: "c", Data: text})}), scan.Clean, scan.Complete, nil},
		{"zip_empty", "a.zip", zipOf(), scan.Clean, scan.Complete, nil},
		{"tar", "a.tar", build.Tar(build.TarMember{Name: "d/", Kind: '5'}, build.TarMember{Name: "d/a", Data: text}), scan.Clean, scan.Complete, nil},
		{"gzip", "a.pkl.gz", build.Gzip(pkl), scan.Clean, scan.Complete, nil},
		{"gzip_members", "a.txt.gz", append(build.Gzip(text), build.Gzip(text)...), scan.Clean, scan.Complete, nil},
		{"tgz", "a.tgz", build.Gzip(build.Tar(build.TarMember{Name: "a", Data: text})), scan.Clean, scan.Complete, nil},

		// Nothing recognises it.
		{"noise", "picture", []byte{0xff, 0xd8, 0, 1, 2, 3}, scan.Unknown, scan.Complete, nil},
		{"noise_loadable", "model.pt", []byte{0xff, 0xd8, 0, 1, 2, 3}, scan.Unknown, scan.Inconclusive, nil},
		{"lfs_pointer", "m.safetensors", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), scan.Unknown, scan.Inconclusive, nil},

		// The engine.
		{"executable", "lib", build.ELF(), scan.Suspicious, scan.Complete, []string{"scan.file.executable"}},
		{"executable_pe", "lib", build.PE(), scan.Suspicious, scan.Complete, []string{"scan.file.executable"}},
		{"executable_in_weights", "m.safetensors", build.Safetensors(`{"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}`, build.ELF()), scan.Clean, scan.Complete, nil},
		{
			"executable_appended", "m.safetensors", build.Safetensors(header, append(floats[:16:16], build.ELF()...)), scan.Malicious, scan.Complete,
			[]string{"scan.file.embedded-executable", "scan.safetensors.layout"},
		},
		{
			"mz_alone", "m.safetensors", build.Safetensors(header, append(floats[:16:16], bytes.Repeat([]byte("MZ\x90\x00"), 40)...)), scan.Suspicious, scan.Complete,
			[]string{"scan.safetensors.layout"},
		},
		{
			"zip_behind_pickle", "a.pt", append(pkl[:len(pkl):len(pkl)], zipOf(build.Member{Name: "x", Data: text})...), scan.Suspicious, scan.Complete,
			[]string{"scan.file.polyglot", "scan.zip.prefix-data"},
		},
		{
			"zip_hidden", "m.safetensors", build.Safetensors(header, slices.Concat(floats, zipOf(build.Member{Name: "x", Data: text}), make([]byte, 100))), scan.Suspicious, scan.Complete,
			[]string{"scan.file.polyglot", "scan.safetensors.layout", "scan.zip.prefix-data", "scan.zip.trailing-data"},
		},

		// safetensors.
		{
			"safetensors_hole", "m.safetensors", build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[4,20]}}`, append(floats, 0, 0, 0, 0)), scan.Suspicious, scan.Complete,
			[]string{"scan.safetensors.layout"},
		},
		{
			"safetensors_overlap", "m.safetensors", build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, floats), scan.Suspicious, scan.Complete,
			[]string{"scan.safetensors.layout"},
		},
		{"safetensors_cut", "m.safetensors", build.Safetensors(header, floats[:8]), scan.Unknown, scan.Failed, nil},
		{"safetensors_twice", "m.safetensors", build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, floats), scan.Unknown, scan.Failed, nil},
		{"safetensors_size", "m.safetensors", build.Safetensors(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}`, floats), scan.Unknown, scan.Failed, nil},
		{
			"safetensors_code", "m.safetensors", build.Safetensors(`{"__metadata__":{"format":"pt","x":"__import__('os')"},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, floats), scan.Clean, scan.Complete,
			[]string{"scan.safetensors.metadata"},
		},

		// npy.
		{"npy_trailing", "a.npy", build.NPY("<f4", "(2,)", floats), scan.Clean, scan.Complete, []string{"scan.npy.trailing-data"}},
		{"npy_huge", "a.npy", build.NPY("<f4", "(9223372036854775807, 9)", floats), scan.Unknown, scan.Failed, nil},
		{"npy_version", "a.npy", []byte("\x93NUMPY\x09\x00\x00\x00"), scan.Unknown, scan.Failed, nil},

		// ONNX.
		{"onnx_traversal", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "../../etc/passwd")}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_traversal_inside", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "junk/../../x")}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_absolute", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "/etc/passwd")}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_drive", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", `C:\x`)}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_unc", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", `\\host\x`)}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_traversal_late", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, append(manyPairs(40), "location", "../x")...)}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_traversal_replaced", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "../x", "location", "w.bin")}), scan.Malicious, scan.Complete, []string{"scan.onnx.external-path"}},
		{"onnx_missing", "m.onnx", build.ONNX(relu, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "w.bin")}), scan.Unknown, scan.Inconclusive, nil},
		{"onnx_function_hides_no_other", "m.onnx", build.ONNX([]build.Proto{build.Node("F", "own"), build.Node("G", "own")}, nil, func(m build.Proto) build.Proto {
			return m.Bytes(25, build.Proto(nil).Text(1, "F").Text(10, "own").Bytes(7, build.Node("Relu", "")))
		}), scan.Suspicious, scan.Complete, []string{"scan.onnx.custom-operator"}},
		{"onnx_custom", "m.onnx", build.ONNX([]build.Proto{build.Node("Magic", "evil.corp")}, nil), scan.Suspicious, scan.Complete, []string{"scan.onnx.custom-operator"}},
		{"onnx_python", "m.onnx", build.ONNX([]build.Proto{build.Node("PythonOp", "com.microsoft")}, nil), scan.Malicious, scan.Complete, []string{"scan.onnx.python-operator"}},
		{"onnx_size", "m.onnx", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{400}, floats)}), scan.Suspicious, scan.Complete, []string{"scan.onnx.size-claim"}},
		{"onnx_overflow", "m.onnx", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{1 << 40, 1 << 40}, floats)}), scan.Suspicious, scan.Complete, []string{"scan.onnx.size-claim"}},
		{"onnx_recursion", "m.onnx", build.ONNX([]build.Proto{build.Node("F", "own")}, nil, func(m build.Proto) build.Proto {
			return m.Bytes(25, build.Proto(nil).Text(1, "F").Text(10, "own").Bytes(7, build.Node("F", "own")))
		}), scan.Suspicious, scan.Complete, []string{"scan.onnx.function-recursion"}},
		{"onnx_cut", "m.onnx", build.ONNX(relu, []build.Proto{build.Tensor("w", []uint64{4}, floats)})[:40], scan.Unknown, scan.Inconclusive, nil},

		// zip.
		{"zip_traversal", "a.zip", zipOf(build.Member{Name: "../x", Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"zip_traversal_back", "a.zip", zipOf(build.Member{Name: "a/../../a/x", Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"zip_absolute", "a.zip", zipOf(build.Member{Name: "/etc/x", Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.absolute-path"}},
		{"zip_drive", "a.zip", zipOf(build.Member{Name: `C:\x`, Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.absolute-path"}},
		{"zip_backslash", "a.zip", zipOf(build.Member{Name: `a\b`, Data: text}), scan.Suspicious, scan.Complete, []string{"scan.archive.odd-name"}},
		{"zip_nul", "a.zip", zipOf(build.Member{Name: "a\x00.txt", Data: text}), scan.Suspicious, scan.Complete, []string{"scan.archive.odd-name"}},
		{"zip_link", "a.zip", zipOf(build.Member{Name: "l", Data: []byte("x"), UnixMode: 0o120777}), scan.Clean, scan.Complete, []string{"scan.archive.link"}},
		{"zip_link_out", "a.zip", zipOf(build.Member{Name: "l", Data: []byte("/etc"), UnixMode: 0o120777}), scan.Malicious, scan.Complete, []string{"scan.archive.link"}},
		{"zip_device", "a.zip", zipOf(build.Member{Name: "d", UnixMode: 0o020777}), scan.Suspicious, scan.Complete, []string{"scan.archive.special-member"}},
		{"zip_duplicate", "a.zip", zipOf(build.Member{Name: "a", Data: text}, build.Member{Name: "a", Data: pkl}), scan.Suspicious, scan.Complete, []string{"scan.archive.duplicate-name"}},
		{"zip_names_differ", "a.zip", zipOf(build.Member{Name: "data.pkl", Local: "datap.kl", Data: pkl}), scan.Suspicious, scan.Complete, []string{"scan.zip.name-mismatch"}},
		{"zip_size_lie", "a.zip", zipOf(build.Member{Name: "a", Data: text, SizeDelta: 9}), scan.Suspicious, scan.Complete, []string{"scan.zip.header-mismatch", "scan.zip.wrong-checksum"}},
		{"zip_crc", "a.zip", zipOf(build.Member{Name: "a", Data: text, WrongCRC: true}), scan.Suspicious, scan.Complete, []string{"scan.zip.wrong-checksum"}},
		{"zip_crc_deflated", "a.zip", zipOf(build.Member{Name: "a", Data: text, Method: 8, WrongCRC: true}), scan.Suspicious, scan.Complete, []string{"scan.zip.wrong-checksum"}},
		{"zip_flag_1", "a.zip", zipOf(build.Member{Name: "a", Data: text, Flags: 1}), scan.Suspicious, scan.Complete, []string{"scan.zip.false-flag"}},
		{"zip_flag_40", "a.zip", zipOf(build.Member{Name: "a", Data: text, Method: 8, Flags: 0x40}), scan.Suspicious, scan.Complete, []string{"scan.zip.false-flag"}},
		{"zip_encrypted", "a.zip", zipOf(build.Member{Name: "a", Data: text, WrongCRC: true, Flags: 1}), scan.Unknown, scan.Inconclusive, nil},
		{"zip_method", "a.zip", zipOf(build.Member{Name: "a", Data: text, Method: 99}), scan.Unknown, scan.Inconclusive, nil},
		{"zip_lzma", "a.npz", zipOf(build.Member{Name: "a.pkl", Data: pkl, Method: 14}, build.Member{Name: "b", Data: text, Method: 14, Flags: 2}), scan.Clean, scan.Complete, nil},
		{"zip_lzma_attack", "a.npz", zipOf(build.Member{Name: "a.pkl", Data: build.Attack(), Method: 14, Flags: 2}), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"zip_lzma_crc", "a.zip", zipOf(build.Member{Name: "a", Data: text, Method: 14, WrongCRC: true}), scan.Suspicious, scan.Complete, []string{"scan.zip.wrong-checksum"}},
		{"zip_lzma_properties", "a.zip", bytes.Replace(zipOf(build.Member{Name: "a", Data: text, Method: 14}), []byte{9, 20, 5, 0}, []byte{9, 20, 4, 0}, 1), scan.Suspicious, scan.Failed, []string{"scan.zip.wrong-checksum"}},
		{"zip_hidden_member", "a.zip", zipOf(build.Member{Name: "a", Data: text}, build.Member{Name: "b.pkl", Data: pkl, Hidden: true}), scan.Suspicious, scan.Complete, []string{"scan.zip.hidden-member"}},
		{"zip_no_local", "a.zip", zipOf(build.Member{Name: "a", Data: text}, build.Member{Name: "b", Data: text, NoLocal: true}), scan.Suspicious, scan.Failed, []string{"scan.zip.header-mismatch"}},
		{"zip_overlap", "a.zip", zipOf(build.Member{Name: "a", Data: text}, build.Member{Name: "a2", Data: text, Same: 1}), scan.Suspicious, scan.Complete, []string{"scan.file.range-overlap", "scan.zip.name-mismatch"}},
		{"zip_prefix", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, Prefix: []byte{1, 0, 2, 0}}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.zip.prefix-data"}},
		{"zip_suffix", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, Suffix: make([]byte, 9)}.Bytes(), scan.Clean, scan.Complete, []string{"scan.zip.trailing-data"}},
		{"zip_count", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, CountDelta: 3}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.zip.directory-mismatch"}},
		{"zip_no_end", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, NoEnd: true}.Bytes(), scan.Suspicious, scan.Complete, []string{"scan.zip.directory-mismatch", "scan.zip.hidden-member"}},
		{
			"zip_two_ends", "a.zip", build.Archive{Members: []build.Member{{Name: "a", Data: text}}, Comment: zipOf(build.Member{Name: "b", Data: text})}.Bytes(), scan.Suspicious, scan.Complete,
			[]string{"scan.file.range-overlap", "scan.zip.directory-mismatch", "scan.zip.prefix-data"},
		},

		// tar.
		{"tar_traversal", "a.tar", build.Tar(build.TarMember{Name: "../x", Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.path-traversal"}},
		{"tar_absolute", "a.tar", build.Tar(build.TarMember{Name: "/x", Data: text}), scan.Malicious, scan.Complete, []string{"scan.archive.absolute-path"}},
		{"tar_link", "a.tar", build.Tar(build.TarMember{Name: "d/l", Link: "../x", Kind: '2'}), scan.Clean, scan.Complete, []string{"scan.archive.link"}},
		{"tar_link_out", "a.tar", build.Tar(build.TarMember{Name: "l", Link: "../x", Kind: '2'}), scan.Malicious, scan.Complete, []string{"scan.archive.link"}},
		{"tar_hard_link_out", "a.tar", build.Tar(build.TarMember{Name: "d/l", Link: "../x", Kind: '1'}), scan.Malicious, scan.Complete, []string{"scan.archive.link"}},
		{"tar_device", "a.tar", build.Tar(build.TarMember{Name: "d", Kind: '3'}), scan.Suspicious, scan.Complete, []string{"scan.archive.special-member"}},
		{"tar_duplicate", "a.tar", build.Tar(build.TarMember{Name: "a", Data: text}, build.TarMember{Name: "./a", Data: text}), scan.Suspicious, scan.Complete, []string{"scan.archive.duplicate-name"}},
		{"tar_trailing", "a.tar", append(build.Tar(build.TarMember{Name: "a", Data: text}), 1, 2, 3), scan.Clean, scan.Complete, []string{"scan.tar.trailing-data"}},
		{"tar_cut", "a.tar", build.Tar(build.TarMember{Name: "a", Data: make([]byte, 5000)})[:1024], scan.Unknown, scan.Failed, nil},

		// torch.
		{"torch", "m.pt", torchZip(nil), scan.Clean, scan.Complete, nil},
		{"torch_storage_like_elf", "m.pt", torchZip(build.ELF()), scan.Clean, scan.Complete, nil},
		{"torch_storage_like_zlib", "m.pt", torchZip([]byte("\x78\x9c\x4b\x4c\x4a\x06\xff\xff\xff\xff\xff\xff")), scan.Clean, scan.Complete, nil},
		{"torch_storage_like_xz", "m.pt", torchZip([]byte("\xfd7zXZ\x00\x00\x04aaaaaaaa")), scan.Clean, scan.Complete, nil},
		{"elf_beside_storages", "m.pt", zipOf(build.Member{Name: "a/data.pkl", Data: pkl}, build.Member{Name: "a/lib", Data: build.ELF()}), scan.Suspicious, scan.Complete, []string{"scan.file.executable"}},

		// Compressed streams.
		{"zlib", "a.z", compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, pkl), scan.Clean, scan.Complete, nil},
		{"zlib_attack", "a.joblib", compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, build.Attack()), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"zlib_trailing", "a.z", append(compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, text), 1, 2), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"zstd_attack", "a.zst", compressed(newZstdWriter, build.Attack()), scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"}},
		{"zstd_cut", "a.zst", compressed(newZstdWriter, bytes.Repeat([]byte("abcdefgh"), 90_000))[:60], scan.Unknown, scan.Failed, nil},
		{"bzip2", "a.bz2", bzip2Hello, scan.Clean, scan.Complete, nil},
		{"gzip_trailing", "a.gz", append(build.Gzip(text), 0, 0, 0), scan.Clean, scan.Complete, []string{"scan.compressed.trailing-data"}},
		{"gzip_cut", "a.gz", build.Gzip(bytes.Repeat(text, 1000))[:40], scan.Unknown, scan.Failed, nil},

		// GGUF.
		{"gguf", "m.gguf", gguf(nil, 0, 0), scan.Clean, scan.Complete, nil},
		{"gguf_template", "m.gguf", gguf([]string{"tokenizer.chat_template", ordinaryTemplate}, 0, 0), scan.Clean, scan.Complete, nil},
		{"gguf_attack", "m.gguf", gguf([]string{"tokenizer.chat_template", "{{ ''.__class__ }}"}, 0, 0), scan.Malicious, scan.Complete, []string{"scan.template.attack"}},
		{"gguf_named_template", "m.gguf", gguf([]string{"tokenizer.chat_template.tool", "{{ x|attr('y') }}"}, 0, 0), scan.Suspicious, scan.Complete, []string{"scan.template.unusual-access"}},
		{"gguf_twice", "m.gguf", gguf([]string{"a", "1", "a", "2"}, 0, 0), scan.Unknown, scan.Failed, nil},
		{"gguf_outside", "m.gguf", gguf(nil, 1<<20, 0), scan.Malicious, scan.Complete, []string{"scan.gguf.layout"}},
		{"gguf_unaligned", "m.gguf", gguf(nil, 3, 0), scan.Malicious, scan.Complete, []string{"scan.gguf.layout"}},
		{"gguf_overflow", "m.gguf", gguf(nil, 0, 1<<62), scan.Malicious, scan.Complete, []string{"scan.gguf.layout"}},
		{"gguf_cut", "m.gguf", gguf(nil, 0, 0)[:70], scan.Unknown, scan.Failed, nil},
		{"gguf_counts", "m.gguf", append([]byte("GGUF\x03\x00\x00\x00"), bytes.Repeat([]byte{0x7f}, 16)...), scan.Unknown, scan.Failed, nil},

		// Keras.
		{"keras", "config.json", []byte(`{"module": "keras", "class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}, "registered_name": null}]}}`), scan.Clean, scan.Complete, nil},
		{"keras_lambda", "config.json", []byte(`{"module": "keras", "class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}]}}`), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_lambda_old", "model.json", []byte(`{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEAAAA=", null, null]}}]}}`), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_lambda_tuple", "model.json", []byte(`{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {"function": {"class_name": "__tuple__", "items": ["4wEAAAA=\n", null, null]}}}]}}`), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_lambda_named", "config.json", []byte(`{"class_name": "Model", "config": {"layers": [{"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"module": "builtins", "class_name": "function", "config": "f", "registered_name": "function"}}}]}}`), scan.Malicious, scan.Complete, []string{"scan.keras.lambda"}},
		{"keras_foreign", "config.json", []byte(`{"class_name": "X", "config": {"layers": [{"module": "my.package", "class_name": "Layer", "config": {}}]}}`), scan.Suspicious, scan.Complete, []string{"scan.keras.foreign-module"}},
		{"keras_system", "config.json", []byte(`{"class_name": "X", "config": {"activation": {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}}}`), scan.Malicious, scan.Complete, []string{"scan.keras.foreign-module"}},
		{"keras_get_file", "config.json", []byte(`{"class_name": "X", "config": {"f": {"module": "keras.utils", "class_name": "function", "config": "get_file"}}}`), scan.Malicious, scan.Complete, []string{"scan.keras.gadget"}},

		// TensorFlow.
		{"tf", "saved_model.pb", savedModel("MatMul", "SaveV2", "RestoreV2", "Assert"), scan.Clean, scan.Complete, nil},
		{"tf_read", "saved_model.pb", savedModel("ReadFile"), scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"tf_python", "saved_model.pb", savedModel("EagerPyFunc"), scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"tf_any_name", "x", savedModel("WriteFile"), scan.Malicious, scan.Complete, []string{"scan.tensorflow.file-operator"}},
		{"tf_frozen", "frozen.pb", frozenGraph("PyFunc"), scan.Malicious, scan.Complete, []string{"scan.tensorflow.python-operator"}},
		{"tf_cut", "saved_model.pb", savedModel("MatMul")[:30], scan.Unknown, scan.Inconclusive, nil},

		// Templates.
		{"template", "chat_template.jinja", []byte(ordinaryTemplate), scan.Clean, scan.Complete, nil},
		{"template_config", "tokenizer_config.json", mustJSON(map[string]any{"chat_template": ordinaryTemplate}), scan.Clean, scan.Complete, nil},
		{
			"template_list", "tokenizer_config.json", mustJSON(map[string]any{"chat_template": []any{map[string]string{"name": "x", "template": "{{ cycler.__init__ }}"}}}),
			scan.Malicious, scan.Complete,
			[]string{"scan.template.attack", "scan.template.unusual-access"},
		},
		{"template_escaped", "chat_template.jinja", []byte(`{{ x["\x5f\x5fclass\x5f\x5f"] }}`), scan.Malicious, scan.Complete, []string{"scan.template.attack"}},
		{"template_concatenated", "chat_template.jinja", []byte(`{% set a = "__" ~ "cla" ~ "ss__" %}`), scan.Malicious, scan.Complete, []string{"scan.template.attack", "scan.template.unusual-access"}},
		{"template_popen", "chat_template.jinja", []byte(`{{ x.popen("id") }}`), scan.Malicious, scan.Complete, []string{"scan.template.attack"}},
		{"template_include", "chat_template.jinja", []byte(`{%- include "/etc/passwd" -%}`), scan.Suspicious, scan.Complete, []string{"scan.template.unusual-access"}},
		{"template_padded", "chat_template.jinja", []byte(strings.Repeat("padding ", 100_000) + "{{ ''.__class__ }}"), scan.Malicious, scan.Complete, []string{"scan.template.attack"}},
		{"template_comment", "chat_template.jinja", []byte("{# __class__ eval( #} and __class__ outside"), scan.Clean, scan.Complete, nil},

		// Configuration and code.
		{"auto_map", "config.json", []byte(`{"auto_map": {"AutoModel": "modeling_x.X"}}`), scan.Suspicious, scan.Complete, []string{"scan.config.auto-map"}},
		{"auto_map_nested", "config.json", []byte(`{"text_config": {"auto_map": {"AutoModel": ["modeling_x.X", null]}}}`), scan.Suspicious, scan.Complete, []string{"scan.config.auto-map"}},
		{"auto_map_remote", "tokenizer_config.json", []byte(`{"auto_map": {"AutoTokenizer": ["other/repo--tok.T", null]}}`), scan.Suspicious, scan.Complete, []string{"scan.config.remote-repository"}},
		{"trust_remote", "config.json", []byte(`{"trust_remote_code": true}`), scan.Suspicious, scan.Complete, []string{"scan.config.trust-remote-code"}},
		{"trust_remote_off", "config.json", []byte(`{"trust_remote_code": false}`), scan.Clean, scan.Complete, nil},
		{"custom_pipelines", "config.json", []byte(`{"custom_pipelines": {"x": {"impl": "y.Z"}}}`), scan.Suspicious, scan.Complete, []string{"scan.config.custom-pipeline"}},
		{"hydra", "x.json", []byte(`{"_target_": "os.system"}`), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"fiddle", "context/io.json", fiddle("subprocess", "Popen"), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"fiddle_attribute", "context/io.json", fiddle("nemo.utils", "os.system"), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"fiddle_builtin", "context/io.json", fiddle("builtins", "eval"), scan.Malicious, scan.Complete, []string{"scan.config.hydra-target"}},
		{"fiddle_own", "context/io.json", fiddle("nemo.collections.llm.gpt.model.llama", "LlamaModel"), scan.Clean, scan.Complete, nil},
		{"fiddle_type", "context/io.json", fiddle("builtins", "dict"), scan.Clean, scan.Complete, nil},
		{"fiddle_words", "x.json", []byte(`{"type": "function", "module": "os", "name": "system"}`), scan.Clean, scan.Complete, nil},
		{"fiddle_cut", "context/io.json", fiddle("subprocess", "Popen")[:150], scan.Unknown, scan.Failed, nil},
		{"hydra_own", "x.json", []byte(`{"_target_": "nemo.core.X"}`), scan.Clean, scan.Complete, []string{"scan.config.hydra-target"}},
		{"modules", "modules.json", []byte(`[{"type": "sentence_transformers.models.Pooling"}, {"type": "evil.X"}]`), scan.Suspicious, scan.Complete, []string{"scan.config.custom-pipeline"}},
		{"model_index", "model_index.json", []byte(`{"_class_name": "P", "unet": ["diffusers", "U"], "x": ["evil", "X"]}`), scan.Suspicious, scan.Complete, []string{"scan.config.custom-pipeline"}},
		{"config_twice", "config.json", []byte(`{"auto_map": {}, "auto_map": {}}`), scan.Unknown, scan.Failed, nil},
		{"script", "run.sh", []byte("#!/bin/sh\n"), scan.Clean, scan.Complete, []string{"scan.repo.script"}},
		{"bytecode", "x.pyc", append([]byte("\xa7\x0d\r\n"), make([]byte, 20)...), scan.Suspicious, scan.Complete, []string{"scan.repo.python-bytecode"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, tt.file, tt.data)
			judge(t, f, tt.verdict, tt.complete, tt.want)
		})
	}
}

func frozenGraph(ops ...string) build.Proto {
	var g build.Proto
	for _, op := range ops {
		g = g.Bytes(1, build.Proto(nil).Text(1, "node").Text(2, op).Bytes(5, build.Proto(nil).Text(1, "T").Bytes(2, build.Proto(nil).Int(6, 1))))
	}
	return g
}

// savedModel hides the operators in a function of the graph's library.
func savedModel(ops ...string) []byte {
	f := build.Proto(nil).Bytes(1, build.Proto(nil).Text(1, "f"))
	for _, op := range ops {
		f = f.Bytes(3, build.Proto(nil).Text(1, "node").Text(2, op))
	}
	graph := frozenGraph("PartitionedCall").Bytes(2, build.Proto(nil).Bytes(1, f))
	meta := build.Proto(nil).Bytes(1, build.Proto(nil).Text(4, "serve").Text(5, "2.16.1")).Bytes(2, graph)
	return build.Proto(nil).Int(1, 1).Bytes(2, meta)
}

// bzip2Hello is "hello\n" as the bzip2 program writes it; the standard library
// only reads the format.
var bzip2Hello = []byte("\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xc1\xc0\x80\xe2\x00\x00\x01\x41\x00\x00\x10\x02\x44\xa0\x00\x30\xcd\x00\xc3\x46\x29\x97\x17\x72\x45\x38\x50\x90\xc1\xc0\x80\xe2")

func compressed(open func(io.Writer) io.WriteCloser, data []byte) []byte {
	var out bytes.Buffer
	w := open(&out)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func newZstdWriter(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return z
}

// ordinaryTemplate uses what chat templates use.
const ordinaryTemplate = `{%- set ns = namespace(found=false) -%}{{ bos_token }}{% for message in messages %}` +
	`{% if message["role"] == 'user' and loop.index0 % 2 != 0 %}{{ raise_exception('a "b" __c') }}{% endif %}` +
	`{{ '<|' + message['role'] + '|>\n' + message['content'] | trim + eos_token }}{% set ns.found = true %}{% endfor %}` +
	`{{ tools | tojson(indent=4) }}{{ strftime_now("%d %b %Y") }}{{ messages[0]['role'].split('_')[-1] }}`

func gguf(pairs []string, off, dim uint64) []byte {
	dims := []uint64{4}
	if dim > 0 {
		dims = []uint64{dim, dim}
	}
	return build.GGUF(pairs, []build.GGUFTensor{{Name: "a", Dims: dims, Type: 0, Off: off}}, make([]byte, 64))
}

func torchZip(storage []byte) []byte {
	return build.Zip(build.Member{Name: "a/data.pkl", Data: build.Harmless()}, build.Member{Name: "a/version", Data: []byte("3\n")},
		build.Member{Name: "a/data/0", Data: storage})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// TestPickleEverywhere puts one attack into each container: it has to be found
// under its nested path.
func TestPickleEverywhere(t *testing.T) {
	attack := build.Attack()
	zipped := build.Zip(build.Member{Name: "a/data.pkl", Data: attack})
	for name, tt := range map[string]struct {
		data []byte
		path string
	}{
		"model.pkl":         {attack, "model.pkl"},
		"model.safetensors": {attack, "model.safetensors"}, // a wrong name
		"noextension":       {attack, "noextension"},
		"a.npy":             {build.NPY("|O", "(1,)", attack), "a.npy!/objects"},
		"a.zip":             {zipped, "a.zip!/a/data.pkl"},
		"b.zip":             {build.Zip(build.Member{Name: "x", Data: zipped, Method: 8}), "b.zip!/x!/a/data.pkl"},
		"hidden.zip":        {build.Zip(build.Member{Name: "x", Data: []byte("x")}, build.Member{Name: "h", Data: attack, Hidden: true}), "hidden.zip!/h"},
		"a.tar":             {build.Tar(build.TarMember{Name: "pickle", Data: attack}), "a.tar!/pickle"},
		"a.pkl.gz":          {build.Gzip(attack), "a.pkl.gz!/a.pkl"},
		"a.joblib":          {build.Gzip(zipped), "a.joblib!/a!/a/data.pkl"},
		"appended.pt":       {append(zipped[:len(zipped):len(zipped)], attack...), "appended.pt!/offset-"},
	} {
		t.Run(name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, name, tt.data)
			if f.Verdict != scan.Malicious {
				report(t, f)
				t.Fatalf("verdict %s", f.Verdict)
			}
			for g := range f.All() {
				if len(g.Findings) > 0 && strings.HasPrefix(g.Path, tt.path) {
					return
				}
			}
			report(t, f)
			t.Errorf("no finding at %s", tt.path)
		})
	}
}

// fiddle is a configuration as NeMo 2 keeps it: an object made by that callable.
func fiddle(module, name string) []byte {
	ref := func(module, name string) string {
		return fmt.Sprintf(`{"type": "pyref", "module": %q, "name": %q}`, module, name)
	}
	return []byte(`{"version": "0.0.1", "root": {"type": "ref", "key": "a_1"}, "objects": {"a_1": {"type": ` + ref("fiddle._src.config", "Config") +
		`, "items": [["Attr(name='x')", {"type": "leaf", "value": 1, "paths": ["<root>.x"]}]], "metadata": {"type": ` + ref("fiddle._src.config", "BuildableTraverserMetadata") +
		`, "items": [["IdentityElement()", ` + ref(module, name) + `]]}}}, "refcounts": {"a_1": 1}}`)
}

// manyPairs are keys of external data that mean nothing.
func manyPairs(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("key%d", i), "x")
	}
	return out
}
