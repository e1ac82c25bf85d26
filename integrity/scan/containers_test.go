package scan_test

import (
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// A container is an archive that the usual loaders were seen to read otherwise
// than a simple reader does, or one that only looks like it.
type container struct {
	name, file string
	data       []byte
	rule       string // "" for those that are in order
}

func containers() []container {
	return slices.Concat(tarContainers(), zipContainers(), npyContainers(), hdf5Containers(), rContainers())
}

// TestContainers has one attack in each container, put where the loader finds it
// (ADVERSARY.md has which). The look-alikes must not have a finding of medium
// severity or above.
func TestContainers(t *testing.T) {
	for _, c := range containers() {
		t.Run(c.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, c.file, c.data)
			if c.rule == "" {
				if f.Verdict != scan.Clean || f.Completeness != scan.Complete {
					t.Errorf("%s, %s: %q %+v", f.Verdict, f.Completeness, rules(f), f.Gaps)
				}
				return
			}
			if !slices.Contains(rules(f), c.rule) {
				t.Errorf("%s, %s: %q without %s", f.Verdict, f.Completeness, rules(f), c.rule)
			}
		})
	}
}

// tarContainers: torch.load extracts the member "storages" and unpickles it.
func tarContainers() []container {
	const found, odd = "scan.pickle.call-on-load", "scan.tar.ambiguous-member"
	attack, fine := build.Attack(), build.Harmless()
	text := build.TarMember{Name: "readme", Data: []byte("hello\n")}
	layout := func(storages []byte) []build.TarMember {
		return []build.TarMember{{Name: "storages", Data: storages}, {Name: "pickle", Data: fine}, {Name: "tensors", Data: fine}}
	}
	hidden := build.Tar(layout(attack)...)
	ext := func(kind byte, pairs ...string) build.TarMember {
		return build.TarMember{Name: "p", Kind: kind, Data: build.PAX(pairs...)}
	}
	around := func(kind byte, name string) []byte {
		return build.Tar(text, build.TarMember{Name: name, Kind: kind, Data: hidden})
	}
	sparse := func(content []byte) []byte {
		data := build.Tar(build.TarMember{Name: "storages", Kind: 'S', Data: content}, build.TarMember{Name: "pickle", Data: fine})
		field := func(n int) string { return string(build.OctalTar(n)) }
		return build.PatchTar(data, 386, field(0)+field(4)+field(4)+field(len(content)-4)+field(len(content))+field(0)+field(0)+field(0)+
			"\x00"+field(len(content)))
	}
	version1 := func(content []byte) []byte {
		block := make([]byte, 512)
		copy(block, "1\n0\n"+itoa(len(content))+"\n")
		return build.Tar(ext('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "storages", "GNU.sparse.realsize", itoa(len(content))),
			build.TarMember{Name: "x", Data: append(block, content...)}, build.TarMember{Name: "pickle", Data: fine})
	}
	return []container{
		{"tar/folder_with_size", "m.pt", around('5', "d"), found},
		{"tar/folder_with_size_is_odd", "m.pt", around('5', "d"), odd},
		{"tar/old_folder_with_size", "m.pt", around(0, "d/"), found},
		{"tar/pipe_with_size", "m.pt", around('6', "d"), found},
		{"tar/renamed_folder", "m.pt", build.Tar(ext('x', "path", "storages"), build.TarMember{Name: "d/", Data: attack}), found},
		{"tar/size_zero", "m.pt", build.Tar(text, ext('x', "size", "0"), build.TarMember{Name: "a", Data: hidden}), found},
		{"tar/first_size", "m.pt", build.Tar(text, ext('X', "size", "0"), ext('x', "size", itoa(len(hidden))), build.TarMember{Name: "a", Data: hidden}), found},
		{"tar/octal_prefix", "m.pt", build.PatchTar(hidden, 124, "0o"+string(build.OctalTar(len(attack)))[2:]), found},
		{"tar/octal_prefix_is_odd", "m.pt", build.PatchTar(hidden, 124, "0o"+string(build.OctalTar(len(attack)))[2:]), odd},
		{"tar/malformed_record", "m.pt", build.Tar(append([]build.TarMember{{Name: "p", Kind: 'x', Data: []byte("no record")}}, layout(attack)...)...), found},
		{"tar/sparse", "m.pt", sparse(attack), found},
		{"tar/sparse_1.0", "m.pt", version1(attack), found},
		{"tar/sparse_bomb", "m.tar", build.Tar(ext('x', "GNU.sparse.size", "99999999999999", "GNU.sparse.name", "a", "GNU.sparse.map", "0,6"), text), "scan.archive.bomb"},
		{"tar/sparse_backwards", "m.tar", build.Tar(ext('x', "GNU.sparse.size", "6", "GNU.sparse.name", "a", "GNU.sparse.map", "3,3,0,3"), text), odd},
		{"tar/prefix_of_gnu", "m.tar", build.PatchTar(build.PatchTar(build.Tar(text), 257, "ustar  \x00"), 345, "../../tmp"), "scan.archive.path-traversal"},

		{"tar/fine", "m.pt", build.Tar(layout(fine)...), ""},
		{"tar/fine_folders", "m.tar", build.Tar(build.TarMember{Name: "d", Kind: '5'}, build.TarMember{Name: "e/"}, text), ""},
		{"tar/fine_renamed", "m.tar", build.Tar(ext('x', "path", "storages"), build.TarMember{Name: "d/", Data: fine}), ""},
		{"tar/fine_size", "m.tar", build.Tar(ext('x', "size", "6", "path", "a"), text), ""},
		{"tar/fine_global", "m.tar", build.Tar(ext('g', "comment", "0123456789abcdef"), text), ""},
		{"tar/fine_number", "m.tar", build.PatchTar(build.Tar(text), 124, "         6 "), ""},
		{"tar/fine_base_256", "m.tar", build.PatchTar(build.Tar(text), 124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06"), ""},
		{"tar/fine_sparse", "m.pt", sparse(fine), ""},
		{"tar/fine_sparse_1.0", "m.pt", version1(fine), ""},
		{"tar/fine_holes", "m.tar", build.Tar(ext('x', "GNU.sparse.size", "1000000", "GNU.sparse.name", "a", "GNU.sparse.map", "0,3,999997,3"), text), ""},
		{"tar/fine_times_of_gnu", "m.tar", build.PatchTar(build.PatchTar(build.Tar(text), 257, "ustar  \x00"), 345, "15037634127\x0015037634127\x00"), ""},
		{"tar/fine_links", "m.tar", build.Tar(text, build.TarMember{Name: "l", Link: "readme", Kind: '1'}, build.TarMember{Name: "s", Link: "readme", Kind: '2'}), ""},
	}
}

// zipContainers: torch.load reads data.pkl of the directory that it finds, Keras,
// NumPy and skops that of Python's zipfile.
func zipContainers() []container {
	const found, ends, flag = "scan.pickle.call-on-load", "scan.zip.directory-mismatch", "scan.zip.false-flag"
	attack, fine := build.Attack(), build.Harmless()
	shown := func() []build.Member {
		return []build.Member{{Name: "a/data.pkl", Data: fine}, {Name: "a/version", Data: []byte("3\n")}, {Name: "a/data/0"}}
	}
	hidden := func(data []byte) []build.Member {
		return []build.Member{{Name: "a/data.pkl", Data: data, Method: 8}, {Name: "a/version", Data: []byte("3\n")}}
	}
	xz := func(data []byte) []byte {
		return compressed(func(w io.Writer) io.WriteCloser { z, _ := xz.NewWriter(w); return z }, data)
	}
	zst := func(data []byte) []byte { return compressed(newZstdWriter, data) }
	packed := func(method uint16, data, content []byte) []byte {
		return build.Zip(build.Member{Name: "a/data.pkl", Data: data, Content: content, Method: method})
	}
	stored := func(data []byte) []byte { // one block of Deflate64
		return append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte{1}, uint16(len(data))), ^uint16(len(data))), data...)
	}
	link := func(creator uint8, target string) []byte {
		return build.Zip(build.Member{Name: "l", Data: []byte(target), UnixMode: 0o120777, Creator: creator}, build.Member{Name: "x", Data: []byte("hello\n")})
	}
	return []container{
		{"zip/by_locator", "m.pt", build.TwoDirectories(build.ByLocator, shown(), hidden(attack)), found},
		{"zip/beside_locator", "m.pt", build.TwoDirectories(build.BesideIt, shown(), hidden(attack)), found},
		{"zip/beside_locator_is_odd", "m.pt", build.TwoDirectories(build.BesideIt, shown(), hidden(fine)), ends},
		{"zip/plain_end", "m.pt", build.TwoDirectories(build.PlainEnd, shown(), hidden(attack)), found},
		{"zip/plain_end_is_odd", "m.pt", build.TwoDirectories(build.PlainEnd, shown(), hidden(fine)), ends},
		{"zip/flag_in_local_header", "m.pt", build.Zip(build.Member{Name: "a/data.pkl", Data: attack, LocalFlags: 1, WrongCRC: true}), found},
		{"zip/flag_false", "m.pt", build.Zip(build.Member{Name: "a/data.pkl", Data: attack, Flags: 1}), flag},
		{"zip/deflate64", "m.zip", packed(9, stored(attack), attack), found},
		{"zip/xz", "m.zip", packed(95, xz(attack), attack), found},
		{"zip/zstd", "m.zip", packed(93, zst(attack), attack), found},
		{"zip/link_of_beos", "m.zip", link(16, "/etc/passwd"), "scan.archive.link"},

		{"zip/fine", "m.pt", build.Zip(hidden(fine)...), ""},
		{"zip/fine_wide", "m.pt", build.TwoDirectories(build.SameInBoth, shown(), nil), ""},
		{"zip/fine_deflate64", "m.zip", packed(9, stored(fine), fine), ""},
		{"zip/fine_xz", "m.zip", packed(95, xz(fine), fine), ""},
		{"zip/fine_zstd", "m.zip", packed(93, zst(fine), fine), ""},
		{"zip/fine_link", "m.zip", link(16, "x"), ""},
		{"zip/fine_of_dos", "m.zip", link(10, "/etc/passwd"), ""}, // no reader makes a link of it
		{"zip/fine_record_in_storage", "m.pt", torchZip(build.TwoDirectories(build.SameInBoth, shown(), nil)[300:]), ""},
	}
}

// npyContainers: numpy.load with allow_pickle unpickles an array of objects,
// however its type is written.
func npyContainers() []container {
	const found = "scan.pickle.call-on-load"
	text := []byte("cos\nsystem\n(S'echo'\ntR.") // nothing that a search for pickles finds
	npy := func(header string, data []byte) []byte {
		return append(append(binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(header))), header...), data...)
	}
	of := func(descr string) string {
		return "{'descr': " + descr + ", 'fortran_order': False, 'shape': (1,), }\n"
	}
	return []container{
		{"npy/object", "a.npy", npy(of("'|O'"), text), found},
		{"npy/object_8", "a.npy", npy(of("'O8'"), text), found},
		{"npy/object_by_name", "a.npy", npy(of("'object'"), text), found},
		{"npy/object_in_list", "a.npy", npy(of("'i4,O'"), text), found},
		{"npy/raw_literal", "a.npy", npy(of("r'|O'"), text), found},
		{"npy/two_literals", "a.npy", npy(of("'|' 'O'"), text), found},
		{"npy/comment", "a.npy", npy(of("# '<f4'\n'|O'"), text), found},
		{"npy/second_key", "a.npy", npy("{'descr': '<f4', "+of("'|O'")[1:], text), found},
		{"npy/any_member", "a.npz", build.Zip(build.Member{Name: "evil", Data: npy(of("'|O'"), text)}), found},

		{"npy/fine", "a.npy", npy(of("'<f4'"), []byte("1234")), ""},
		{"npy/fine_record", "a.npy", npy(of("[('a', '<f4'), ('O', '<i4')]"), []byte("12345678")), ""},
		{"npy/fine_object", "a.npy", npy(of("'|O'"), build.Harmless()), ""},
		{"npy/fine_member", "a.npz", build.Zip(build.Member{Name: "a", Data: npy(of("'<f4'"), []byte("1234"))}), ""},
	}
}

// hdf5Containers: Keras opens what h5py opens, and h5py looks for the structure at
// every power of two.
func hdf5Containers() []container {
	const lambda, link = "scan.keras.lambda", "scan.hdf5.external-link"
	config := func(class string) string {
		return `{"class_name": "Sequential", "config": {"layers": [{"module": "keras.layers", "class_name": "` + class + `", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}]}}`
	}
	bad, fine := config("Lambda"), `{"class_name": "Sequential", "config": {"layers": []}}`
	named := func(text string) []byte {
		return build.HDF5{NamedType: len(text), Messages: []build.HDF5Message{build.HDF5NamedText("model_config", text)}}.Bytes()
	}
	// behind has the structure where other formats have the numbers of a tensor.
	behind := func(at int, file string) []byte {
		h := build.HDF5{Prefix: make([]byte, at), Messages: []build.HDF5Message{build.HDF5Link("w", file, "/w")}}.Bytes()
		header := `{"w": {"dtype": "U8", "shape": [` + itoa(len(h)-200) + `], "data_offsets": [0, ` + itoa(len(h)-200) + `]}}`
		copy(h, build.Safetensors(header+strings.Repeat(" ", 192-len(header)), nil))
		return h
	}
	plain := behind(4096, "w.h5")
	copy(plain[4096:], make([]byte, 8))
	return []container{
		{"hdf5/named_type", "m.h5", named(bad), lambda},
		{"hdf5/in_a_tensor", "m.h5", behind(4096, "/etc/passwd"), link},
		{"hdf5/in_a_tensor_of_any_name", "m", behind(4096, "/etc/passwd"), link},
		{"hdf5/in_a_tensor_far_behind", "m.h5", behind(1<<20, "/etc/passwd"), link},
		{"hdf5/in_a_tensor_is_odd", "m.h5", behind(4096, "w.h5"), "scan.file.polyglot"},
		{"hdf5/in_an_archive", "m.keras", build.Zip(build.Member{Name: "model.weights.h5", Data: behind(8192, "/etc/passwd")}), link},

		{"hdf5/fine_named_type", "m.h5", named(fine), ""},
		{"hdf5/fine_far_behind", "m.h5", build.HDF5{Prefix: make([]byte, 1<<16)}.Bytes(), ""},
		{"hdf5/fine_tensor", "m.safetensors", plain, ""},
	}
}

// rContainers: what R calls when a model predicts, or when the session ends, once
// the file was loaded.
func rContainers() []container {
	const reach, computed = "scan.r.dangerous-call", "scan.r.computed-name"
	sym, call, text := build.RSymbol, build.RCall, build.RStrings
	function := func(body build.R) []byte { return build.RDS(3, build.RList(build.RClosure(body))) }
	paste := call(sym("paste0"), text("sys"), text("tem"))
	return []container{
		{"r/lapply", "m.rds", function(call(sym("lapply"), text("id"), text("system"))), reach},
		{"r/lapply_itself", "m.rds", function(call(sym("lapply"), text("id"), sym("system"))), reach},
		{"r/map", "m.rds", function(call(sym("Map"), text("system"), text("id"))), reach},
		{"r/reduce", "m.rds", function(call(sym("Reduce"), text("system"), call(sym("list"), text("id")))), reach},
		{"r/call", "m.rds", function(call(sym("eval"), call(sym("call"), text("system"), text("id")))), reach},
		{"r/as_name", "m.rds", function(call(sym("as.name"), text("system"))), reach},
		{"r/get_pasted", "m.rds", function(call(call(sym("get"), paste), text("id"))), computed},
		{"r/do_call_pasted", "m.rds", function(call(sym("do.call"), paste, call(sym("list"), text("id")))), computed},
		{"r/parse_raw", "m.rds", function(call(sym("parse"), call(sym("rawToChar"), sym("x")))), computed},
		{"r/writes", "m.rds", function(call(sym("file.create"), text("x"))), reach},
		{"r/last", "m.rda", workspace(".Last"), "scan.r.session-hook"},
		{"r/first", "m.rda", workspace(".First"), "scan.r.session-hook"},
		{"r/library", "m.rda", workspace("library"), "scan.r.masked-function"},
		{"r/method", "m.rda", workspace("print.data.frame"), "scan.r.masked-function"},

		{"r/fine_lapply", "m.rds", function(call(sym("lapply"), sym("x"), sym("mean"))), ""},
		{"r/fine_variable", "m.rds", function(call(sym("lapply"), sym("url"), text("mean"))), ""},
		{"r/fine_formula", "m.rds", function(call(sym("str2lang"), paste)), ""},
		{"r/fine_get", "m.rds", function(call(sym("get"), text("mean"))), ""},
		{"r/fine_get_variable", "m.rds", function(call(sym("get"), sym("name"))), ""},
		{"r/fine_do_call", "m.rds", function(call(sym("do.call"), text("sum"), call(sym("paste"), text("x")))), ""},
		{"r/fine_paste", "m.rds", function(call(sym("stop"), paste)), ""},
		{"r/fine_text", "m.rds", function(call(sym("stop"), text("system"))), ""},
		{"r/fine_helper", "m.rda", workspace("predict_mine"), ""},
		{"r/fine_method", "m.rda", workspace("print.mymodel"), ""},
		{"r/fine_hidden", "m.rda", workspace(".helper"), ""},
		{"r/fine_no_workspace", "m.rds", build.RDS(3, build.RList(build.RClosure(call(sym("print"))))), ""},
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
