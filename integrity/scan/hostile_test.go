package scan_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/testutil"
)

// hostile makes inputs that claim, nest, repeat or expand to as much as their
// format can say. None may be called clean but pickles that only repeat
// themselves, and none may cost more than the limits allow.
func hostile() map[string]func() []byte {
	le := binary.LittleEndian
	return map[string]func() []byte{
		"zip_sizes.zip": func() []byte {
			b := build.Zip(build.Member{Name: "a", Data: []byte("x"), Method: 8})
			for _, sig := range []string{"PK\x03\x04", "PK\x01\x02"} {
				at := bytes.Index(b, []byte(sig)) + map[string]int{"PK\x03\x04": 18, "PK\x01\x02": 20}[sig]
				le.PutUint32(b[at+4:], 0xfffffffe)
			}
			return b
		},
		"zip_overlap.zip":  func() []byte { return zipOverlap(300, 1<<20) },
		"zip_members.zip":  func() []byte { return zipMembers(30_000) },
		"zip_names.zip":    func() []byte { return zipNames(200) },
		"gzip_bomb.gz":     func() []byte { return deepGzip(300, 1) },
		"gzip_nested.gz":   func() []byte { return deepGzip(64, 12) },
		"xz_dictionary.xz": func() []byte { return xzBlock(0x21, 28) },
		"7z_members.7z": func() []byte {
			ms := make([]build.SevenZipMember, 30_000)
			for i := range ms {
				ms[i].Name = "/same"
			}
			return build.SevenZip{Members: ms, PackHead: true}.Bytes()
		},
		"hdf5_texts.h5": func() []byte {
			m := build.HDF5Text("model_config", "")
			m.Body = append(m.Body[:len(m.Body)-4], 2, 2, 0, 1, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0)
			m.Body[6] = 20 // the size of the dataspace
			return build.HDF5{Messages: slices.Repeat([]build.HDF5Message{m}, 1000)}.Bytes()
		},
		"hdf5_links.h5": func() []byte {
			return build.HDF5{Messages: slices.Repeat([]build.HDF5Message{build.HDF5Link("a", "/b", "c")}, 100_000)}.Bytes()
		},
		"nesting.yaml": func() []byte { return []byte(strings.Repeat("[", 1<<20)) },
		"items.yaml":   func() []byte { return []byte(strings.Repeat("- !!python/x\n", 80_000)) },
		"aliases.yaml": func() []byte {
			out := []byte("a0: &a0 {_target_: os.system}\n")
			for i := 1; i < 60; i++ {
				out = fmt.Appendf(out, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
			}
			return out
		},
		"tar_members.tar":    func() []byte { return tarMembers(30_000) },
		"tar_long_names.tar": func() []byte { return tarLongNames(20) },
		"tar_sparse.tar": func() []byte {
			var ms []build.TarMember
			for i := range 300 {
				ms = append(ms, build.TarMember{Name: "p", Kind: 'x', Data: build.PAX("GNU.sparse.size", "209715200", "GNU.sparse.name", itoa(i), "GNU.sparse.map", "0,6")},
					build.TarMember{Name: "x", Data: []byte("hello\n")})
			}
			return build.Tar(ms...)
		},
		"zip_dictionaries.zip": func() []byte {
			ms := make([]build.Member, 200)
			for i := range ms {
				ms[i] = build.Member{Name: itoa(i), Data: []byte("hello\n"), Method: 14, Flags: 2, SizeDelta: 64 << 20}
			}
			return bytes.ReplaceAll(build.Zip(ms...), []byte("\x05\x00\x5d\x00\x00\x01\x00"), []byte("\x05\x00\x5d\x00\x00\x00\x04"))
		},
		"safetensors_header":  func() []byte { return le.AppendUint64(nil, 100_000_000) },
		"safetensors_nesting": func() []byte { return build.Safetensors(`{"a":`+strings.Repeat("[", 1<<20), nil) },
		"safetensors_tensors": func() []byte { return build.Safetensors(manyTensors(100_000), nil) },
		"npy_shape.npy":       func() []byte { return build.NPY("<f8", "("+strings.Repeat("9223372036854775807, ", 60)+")", nil) },
		"npy_nesting.npy":     func() []byte { return build.NPY("<f8", strings.Repeat("(", 50_000), nil) },
		"onnx_nesting.onnx":   func() []byte { return build.ONNX([]build.Proto{nestedNode(100)}, nil) },
		"onnx_dims.onnx": func() []byte {
			return build.ONNX(nil, []build.Proto{build.Tensor("w", slices.Repeat([]uint64{1 << 62}, 5000), nil)})
		},
		"onnx_nodes.onnx":    func() []byte { return build.ONNX(slices.Repeat([]build.Proto{build.Node("PyOp", "x")}, 50_000), nil) },
		"config.json":        func() []byte { return []byte("{\"auto_map\":[" + strings.Repeat("0,", 5<<20) + "0]}") },
		"deep/config.json":   func() []byte { return []byte(strings.Repeat(`{"a":`, 1<<20)) },
		"many/config.json":   func() []byte { return []byte("[" + strings.Repeat(`{"auto_map":"x--y"},`, 100_000) + "0]") },
		"pickle_frame.pkl":   func() []byte { return append([]byte("\x80\x04\x95"), bytes.Repeat([]byte{0xff}, 8)...) },
		"pickle_long.pkl":    func() []byte { return append([]byte("\x80\x02\x8b\xff\xff\xff\x7f"), 1, 2, 3) },
		"pickle_unicode.pkl": func() []byte { return append([]byte("\x80\x04\x8d"), bytes.Repeat([]byte{0x7f}, 8)...) },
		"pickle_memo.pkl": func() []byte {
			return slices.Concat([]byte("\x80\x02"), bytes.Repeat([]byte("Nr\xff\xff\xff\x7f"), 200_000), []byte("."))
		},
		"pickle_marks.pkl":   func() []byte { return slices.Concat([]byte("\x80\x02"), bytes.Repeat([]byte("("), 2<<20), []byte(".")) },
		"pickle_laughs.pkl":  func() []byte { return laughs() },
		"pickle_globals.pkl": func() []byte { return manyGlobals(20_000) },
		"starts.bin":         func() []byte { return bytes.Repeat([]byte("PK\x03\x04\x14\x00\x00\x00\x00\x00"), 100_000) },
		"starts_gzip.bin":    func() []byte { return bytes.Repeat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), 100_000) },
		"starts_pickle.bin":  func() []byte { return append([]byte{0xff}, bytes.Repeat([]byte("\x80\x04cos\nsystem\n"), 50_000)...) },
		"starts_elf.bin":     func() []byte { return append([]byte{0xff}, bytes.Repeat(build.ELF(), 20_000)...) },
	}
}

func zipOverlap(members, size int) []byte {
	ms := []build.Member{{Name: "a", Data: make([]byte, size), Method: 8}}
	for i := range members {
		ms = append(ms, build.Member{Name: fmt.Sprint(i), Data: ms[0].Data[:0], Method: 8, Same: 1})
	}
	data := build.Zip(ms...)
	// Every directory entry takes the sizes of the first one.
	first := bytes.Index(data, []byte("PK\x01\x02"))
	for at := first; at >= 0 && at+46 <= len(data) && string(data[at:at+4]) == "PK\x01\x02"; {
		copy(data[at+16:at+28], data[first+16:first+28])
		at += 46 + int(binary.LittleEndian.Uint16(data[at+28:]))
	}
	return data
}

func zipMembers(n int) []byte {
	ms := make([]build.Member, n)
	for i := range ms {
		ms[i] = build.Member{Name: fmt.Sprintf("../%d", i)}
	}
	return build.Zip(ms...)
}

func zipNames(n int) []byte {
	ms := make([]build.Member, n)
	for i := range ms {
		ms[i] = build.Member{Name: fmt.Sprint(i) + strings.Repeat("/..", 20_000)}
	}
	return build.Zip(ms...)
}

// deepGzip packs that many mebibytes of zeros again and again.
func deepGzip(mebibytes, levels int) []byte {
	data := make([]byte, 1<<20)
	for level := range levels {
		var out bytes.Buffer
		w, _ := gzip.NewWriterLevel(&out, flate.BestSpeed) // the level is valid
		for range mebibytes {
			w.Write(data)
		}
		w.Close()
		data = out.Bytes()
		if level == 0 {
			mebibytes = 1
		}
	}
	return data
}

func tarMembers(n int) []byte {
	ms := make([]build.TarMember, n)
	for i := range ms {
		ms[i] = build.TarMember{Name: "/same", Kind: '1', Link: "../x"}
	}
	return build.Tar(ms...)
}

func tarLongNames(n int) []byte {
	var ms []build.TarMember
	for range n {
		ms = append(ms, build.TarMember{Name: "L", Kind: 'L', Data: bytes.Repeat([]byte("../"), 300_000)}, build.TarMember{Name: "x"})
	}
	return build.Tar(ms...)
}

func manyTensors(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"%d":{"dtype":"F32","shape":[0],"data_offsets":[5,5]},`, i)
	}
	b.WriteString(`"z":{"dtype":"F32","shape":[0],"data_offsets":[5,5]}}`)
	return b.String()
}

func nestedNode(depth int) build.Proto {
	n := build.Node("If", "")
	if depth > 0 {
		n = n.Bytes(5, build.Proto(nil).Bytes(6, build.Proto(nil).Bytes(1, nestedNode(depth-1))))
	}
	return n
}

// laughs doubles a tuple through the memo, forty times.
func laughs() []byte {
	out := []byte("\x80\x02X\x03\x00\x00\x00lolq\x00")
	for i := byte(1); i < 40; i++ {
		out = append(out, 'h', i-1, 'h', i-1, 0x86, 'q', i)
	}
	return append(out, '.')
}

func manyGlobals(n int) []byte {
	var out bytes.Buffer
	out.WriteString("\x80\x02")
	for i := range n {
		fmt.Fprintf(&out, "cos\nsystem%d\n)R0", i)
	}
	out.WriteString("N.")
	return out.Bytes()
}

// hostileEnv, when set, makes the test binary a child of TestHostileMemory:
// "scan" scans the hostile inputs, "spend" only asks for more than it may have.
const hostileEnv = "PRERUN_SCAN_HOSTILE_CHILD"

// dataLimit is what the child may write to, in KiB: heap, stacks and whatever
// the C library adds in a binary built with cgo. Addresses that are only
// reserved, gigabytes of them in some builds, do not count.
const dataLimit = 512 << 10

// runHostileChild scans the hostile inputs when the test binary was started for
// that, and reports whether it was.
func runHostileChild() bool {
	switch os.Getenv(hostileEnv) {
	case "":
		return false
	case "spend":
		var spent [][]byte
		for range dataLimit >> 10 {
			spent = append(spent, bytes.Repeat([]byte{1}, 1<<20))
		}
		fmt.Println(len(spent), "MiB")
		return true
	}
	s := scan.Scanner{Workers: 1, NoDigests: true}
	inputs := hostile()
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		data := inputs[name]()
		debug.FreeOSMemory() // what the test itself made is not what is measured
		res, err := s.ScanFile(context.Background(), name, bytes.NewReader(data), int64(len(data)))
		if err != nil {
			fmt.Println(name, err)
			os.Exit(1)
		}
		fmt.Println(name, res.Verdict(), res.Completeness())
	}
	return true
}

// TestHostileMemory scans the hostile inputs in a process that is killed, in
// effect, when it asks for more memory than the limits promise.
func TestHostileMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("starts a process, whose memory the race detector would use up")
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs ulimit -d as Linux has it")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := func(task string) ([]byte, error) {
		// Threads of C take their stack from ulimit -s, and write to little of it.
		cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -s 1024 && ulimit -d %d && exec %q", dataLimit, exe))
		cmd.Env = append(os.Environ(), hostileEnv+"="+task, "GOMAXPROCS=2", "GOGC=50")
		return cmd.CombinedOutput()
	}
	if out, err := child("spend"); err == nil {
		t.Skipf("this system does not hold a process to ulimit -d: it spent %s", out)
	} else if !bytes.Contains(out, []byte("allocate memory")) && !bytes.Contains(out, []byte("out of memory")) {
		t.Fatalf("the child that asks for too much ends otherwise: %v\n%s", err, out[:min(len(out), 1000)])
	}
	out, err := child("scan")
	if err != nil {
		t.Fatalf("%v\n%s", err, out[:min(len(out), 3000)])
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(hostile()) {
		t.Errorf("%d results\n%s", len(lines), out)
	}
	for _, line := range lines {
		if strings.HasSuffix(line, "clean complete") && !strings.HasPrefix(line, "pickle_") {
			t.Error(line)
		}
	}
}

// TestHostile holds the same inputs against a bound on all that is allocated,
// freed or not.
func TestHostile(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine reads; it runs without the race detector")
	}
	for name, input := range hostile() {
		t.Run(name, func(t *testing.T) {
			data := input()
			var f *scan.FileResult
			bound := uint64(800<<20 + 64*len(data)) // three times Limits.Bomb
			testutil.AllocBound(t, bound, func() { f = one(t, scan.Scanner{NoDigests: true}, name, data) })
			if f.Verdict == scan.Clean && !strings.HasPrefix(name, "pickle_") {
				report(t, f)
				t.Error("clean")
			}
		})
	}
}

// A call behind millions of plain values is found, and where there are more of
// them than are kept the file is not clean.
func TestPickleBehindPlainData(t *testing.T) {
	const call = "cos\nsystem\nX\x02\x00\x00\x00id\x85R."
	tuples := bytes.Repeat([]byte("K\x07\x850"), 5_000_000)
	stack := bytes.Repeat([]byte("K\x07"), 5_000_000)
	f := one(t, scan.Scanner{}, "m.pkl", slices.Concat([]byte("\x80\x04"), tuples, []byte(call)))
	judge(t, f, scan.Malicious, scan.Complete, []string{"scan.pickle.call-on-load"})
	f = one(t, scan.Scanner{}, "m.pkl", slices.Concat([]byte("\x80\x04("), stack, []byte("t0"), []byte(call)))
	judge(t, f, scan.Unknown, scan.Failed, nil)
}
