package pickle_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/testutil"
)

func named(trace *pickle.Trace) []string {
	var names []string
	for _, g := range trace.Globals {
		names = append(names, g.Module+"."+g.Name)
	}
	return names
}

func TestStreams(t *testing.T) {
	one := asm(pickle.OpProto, 2, call("m", "f", "x"), pickle.OpStop)
	none := asm(pickle.OpProto, 2, pickle.OpNone, pickle.OpStop)
	old := asm(pickle.OpGlobal, "m\nf\n", pickle.OpMark, pickle.OpString, "'x'\n", pickle.OpTuple, pickle.OpReduce, pickle.OpStop)
	type stream struct {
		Start, End          int64
		Complete, Recovered bool
	}
	for _, tt := range []struct {
		name string
		data []byte
		want []stream
	}{
		{"empty", nil, nil},
		{"one", one, []stream{{0, 13, true, false}}},
		{"stacked", asm(none, one), []stream{{0, 4, true, false}, {4, 17, true, false}}},
		{"junk_byte_between", asm(none, 0, one), []stream{{0, 4, true, false}, {5, 18, true, true}}},
		{"junk_between", asm(none, bytes.Repeat([]byte{0}, 70000), one), []stream{{0, 4, true, false}, {70004, 70017, true, true}}},
		{"old_protocol_after_junk", asm(none, "\x00\x00", old), []stream{{0, 4, true, false}, {6, 20, true, true}}},
		{"text_first", asm("version https://example.test/spec\n", one), []stream{{0, 0, false, false}, {34, 47, true, true}}},
		{"behind_a_break", asm(none[:3], 0xff, one), []stream{{0, 3, false, false}, {4, 17, true, true}}},
		{"inside_a_cut_string", asm(pickle.OpBinunicode, u32(1<<30), one), []stream{{0, 0, false, false}, {5, 18, true, true}}},
		{"trailing_zeros", asm(none, make([]byte, 100)), []stream{{0, 4, true, false}}},
		{"no_stop", one[:12], []stream{{0, 12, false, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := scan(t, tt.data)
			var got []stream
			for _, s := range trace.Streams {
				got = append(got, stream{s.Start, s.End, s.Complete, s.Recovered})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("streams (-want +got):\n%s", diff)
			}
			checkRanges(t, trace)
		})
	}
}

// checkRanges fails when ranges overlap, leave holes or go beyond the file.
func checkRanges(t testing.TB, trace *pickle.Trace) {
	t.Helper()
	pos := int64(0)
	for _, r := range trace.Ranges {
		if r.Start != pos || r.End <= r.Start || r.End > trace.Size {
			t.Fatalf("range %+v behind offset %d of %d", r, pos, trace.Size)
		}
		pos = r.End
	}
	if pos != trace.Size {
		t.Fatalf("ranges end at %d of %d", pos, trace.Size)
	}
}

func compressed(t testing.TB, w func(io.Writer) io.WriteCloser, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := w(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNested(t *testing.T) {
	inner := asm(pickle.OpProto, 4, call("os", "system", "true"), pickle.OpStop)
	old := []byte("cos\nsystem\n(S'true'\ntR.")
	deflate := func(b []byte) []byte {
		return compressed(t, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, b)
	}
	zip := func(b []byte) []byte {
		return compressed(t, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }, b)
	}
	b64 := func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }
	torch := asm(pickle.OpProto, 2, pickle.OpLong1, 10, "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", pickle.OpStop)
	latin := []byte(strings.Map(func(r rune) rune { return r }, latin1(inner)))
	for _, tt := range []struct {
		name  string
		data  []byte
		plain []byte
		want  []string
	}{
		{"raw", inner, inner, nil},
		{"protocol_0", old, old, nil},
		{"torch", torch, torch, nil},
		{"base64", b64(inner), inner, []string{"base64"}},
		{"base64_protocol_0", b64(old), old, []string{"base64"}},
		{"base64_url", []byte(base64.RawURLEncoding.EncodeToString(inner)), inner, []string{"base64"}},
		{"hex", []byte(hex.EncodeToString(inner)), inner, []string{"hex"}},
		{"zlib", deflate(inner), inner, []string{"zlib"}},
		{"gzip", zip(inner), inner, []string{"gzip"}},
		{"latin1", latin, inner, []string{"latin1"}},
		{"base64_zlib", b64(deflate(inner)), inner, []string{"base64", "zlib"}},
		{"base64_gzip_hex", b64(zip([]byte(hex.EncodeToString(inner)))), inner, []string{"base64", "gzip", "hex"}},
		{"base64_twice", b64(b64(inner)), inner, []string{"base64", "base64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, op := range []pickle.Op{pickle.OpBinbytes, pickle.OpBinunicode} {
				data := asm(op, u32(len(tt.data)), tt.data, pickle.OpStop)
				trace := scan(t, data)
				if len(trace.Nested) != 1 {
					t.Fatalf("%s: nested %+v", op, trace.Nested)
				}
				n := trace.Nested[0]
				if n.Offset != 5 || n.Length != int64(len(tt.data)) || !slices.Equal(n.Encodings, tt.want) {
					t.Errorf("%s: %+v, want encodings %q", op, n, tt.want)
				}
				got, err := n.Extract(bytes.NewReader(data), 1<<20)
				if err != nil || !bytes.Equal(got, tt.plain) {
					t.Errorf("%s: extracted %q, %v", op, got, err)
				}
			}
		})
	}
	t.Run("behind_long_literals", func(t *testing.T) {
		long := asm(pickle.OpBinunicode, u32(6000), strings.Repeat("weight", 1000))
		huge := asm(pickle.OpBinbytes, u32(2<<20), make([]byte, 2<<20))
		body := call("os", "system", "id")
		for _, in := range [][]byte{
			asm(huge, pickle.OpPop, body, pickle.OpStop),
			asm(long, pickle.OpPop, long, pickle.OpPop, huge, pickle.OpPop, body, pickle.OpStop),
			asm(long, long, huge, pickle.OpTuple3, pickle.OpPop, body, pickle.OpStop),
			asm(pickle.OpMark, huge, long, pickle.OpTuple, pickle.OpPop, body, pickle.OpStop),
			asm(pickle.OpEmptyDict, long, huge, pickle.OpSetitem, pickle.OpPop, body, pickle.OpStop),
			asm(bytes.Repeat(asm(long, pickle.OpPop), 400), body, pickle.OpStop),
		} {
			if n := scan(t, asm(pickle.OpBinbytes, u32(len(in)), in, pickle.OpStop)).Nested; len(n) == 0 || n[0].Offset != 5 {
				t.Errorf("%d bytes that start with %q: nested %+v", len(in), in[:9], n)
			}
		}
		for _, in := range [][]byte{
			asm(huge, make([]byte, 1<<20)),
			asm(huge, pickle.OpPop, "weights and more weights"),
			asm(pickle.OpBinunicode, u32(1<<20), make([]byte, 3<<20)),
			bytes.Repeat([]byte("X\x10\x20\x00\x00"), 1<<19),
		} {
			if n := scan(t, asm(pickle.OpBinbytes, u32(len(in)), in, pickle.OpStop)).Nested; n != nil {
				t.Errorf("%d bytes that start with %q pass for a nested pickle: %+v", len(in), in[:9], n)
			}
		}
	})
	t.Run("quoted", func(t *testing.T) {
		var s strings.Builder
		for _, c := range inner {
			fmt.Fprintf(&s, `\x%02x`, c)
		}
		data := asm(pickle.OpString, "'", s.String(), "'\n", pickle.OpStop)
		trace := scan(t, data)
		if len(trace.Nested) != 1 {
			t.Fatalf("nested %+v", trace.Nested)
		}
		if got, err := trace.Nested[0].Extract(bytes.NewReader(data), 1<<20); err != nil || !bytes.Equal(got, inner) {
			t.Errorf("extracted %q, %v", got, err)
		}
	})
	t.Run("bomb", func(t *testing.T) {
		data := asm(pickle.OpBinbytes, u32(0), pickle.OpStop)
		z := deflate(asm(inner, make([]byte, 1<<20)))
		data = asm(pickle.OpBinbytes, u32(len(z)), z, pickle.OpStop, data)
		if _, err := scan(t, data).Nested[0].Extract(bytes.NewReader(data), 1<<16); err == nil {
			t.Error("a megabyte passes a limit of 64 KiB")
		}
	})
	for _, text := range []string{
		"model.layers.0.self_attn.q_proj.weight", "BertForSequenceClassification", "(Collections)", "c\nd", "]}",
		"aGVsbG8gd29ybGQgdGhpcyBpcyBub3QgYSBwaWNrbGU=", "0123456789abcdef0123456789abcdef", "N.", "I am a sentence.\nSo am I.\n",
		"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "(lp0\n.",
	} {
		if n := scan(t, asm(pickle.OpBinunicode, u32(len(text)), text, pickle.OpStop)).Nested; n != nil {
			t.Errorf("%q passes for a nested pickle: %+v", text, n)
		}
	}
}

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// joblibArray is how joblib writes an array: a wrapper object, then the bytes.
func joblibArray(dtype string, n int, raw []byte) []byte {
	return asm(
		pickle.OpGlobal, "joblib.numpy_pickle\nNumpyArrayWrapper\n", pickle.OpEmptyTuple, pickle.OpNewobj,
		pickle.OpEmptyDict, pickle.OpMark,
		str("shape"), pickle.OpBinint1, n, pickle.OpTuple1,
		str("dtype"), pickle.OpGlobal, "numpy\ndtype\n", str(dtype), pickle.OpNewfalse, pickle.OpNewtrue, pickle.OpTuple3, pickle.OpReduce,
		str("numpy_array_alignment_bytes"), pickle.OpBinint1, 16,
		pickle.OpSetitems, pickle.OpBuild, raw)
}

func TestJoblib(t *testing.T) {
	body := call("hidden", "f", "x")
	padding := asm(3, 0xff, 0xff, 0xff)
	inner := asm(pickle.OpProto, 2, call("inner", "f", "x"), pickle.OpStop)
	tail := asm(pickle.OpPop, call("behind", "f", "x"), pickle.OpStop)

	t.Run("raw", func(t *testing.T) {
		data := asm(pickle.OpProto, 4, joblibArray("f8", 2, asm(padding, make([]byte, 16))), tail)
		trace := scan(t, data)
		if s := trace.Streams[0]; !s.Complete || s.End != int64(len(data)) {
			t.Errorf("stream %+v", s)
		}
		if names := named(trace); !slices.Contains(names, "behind.f") {
			t.Errorf("globals %q", names)
		}
		if r := trace.Ranges; len(r) != 3 || r[1].Kind != pickle.Data || r[1].End-r[1].Start != 20 {
			t.Errorf("ranges %+v", r)
		}
		checkRanges(t, trace)
	})
	t.Run("opcodes_in_the_data", func(t *testing.T) {
		// joblib skips them; pickle.load of the same file runs them.
		code := asm(pickle.OpBinint2, 0xff, 0xff, body) // the padding, then a call
		raw := asm(code, bytes.Repeat([]byte{byte(pickle.OpNone)}, 2))
		raw[0] = 2
		raw = asm(2, 0xff, 0xff, body)
		data := asm(pickle.OpProto, 4, joblibArray("S1", len(raw)-3, raw), tail)
		data = bytes.Replace(data, asm(2, 0xff, 0xff, body), asm(int(pickle.OpBinint2), "ab", body), 1)
		data = bytes.Replace(data, asm(str("numpy_array_alignment_bytes"), pickle.OpBinint1, 16), nil, 1)
		data = bytes.Replace(data, asm(str("shape"), pickle.OpBinint1, len(raw)-3), asm(str("shape"), pickle.OpBinint1, len(raw)), 1)
		trace := scan(t, data)
		for _, g := range trace.Globals {
			if g.Module == "hidden" && g.Reading == pickle.Plain && !g.AfterFault {
				return
			}
		}
		t.Errorf("globals %+v", trace.Globals)
	})
	t.Run("objects", func(t *testing.T) {
		data := asm(pickle.OpProto, 4, joblibArray("O8", 1, inner), tail)
		trace := scan(t, data)
		if names := named(trace); !slices.Contains(names, "inner.f") || !slices.Contains(names, "behind.f") {
			t.Errorf("globals %q", names)
		}
		if s := trace.Streams; !s[0].Complete || !s[1].Inner || !s[1].Complete {
			t.Errorf("streams %+v", s)
		}
	})
	t.Run("impossible", func(t *testing.T) {
		for _, dtype := range []string{"V2147483647", "U999999999", "f8"} {
			data := asm(pickle.OpProto, 4, joblibArray(dtype, 255, padding), tail)
			trace := scan(t, data)
			if trace.Streams[0].Complete {
				t.Errorf("%s: an array larger than the file passes", dtype)
			}
		}
	})
}

// legacyTorch is what torch.save wrote before it wrote zip files.
func legacyTorch(object []byte, count int, storage []byte) []byte {
	return asm(
		pickle.OpProto, 2, pickle.OpLong1, 10, "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", pickle.OpStop,
		pickle.OpProto, 2, pickle.OpBinint2, u16(1001), pickle.OpStop,
		pickle.OpProto, 2, pickle.OpEmptyDict, pickle.OpStop,
		pickle.OpProto, 2, object,
		pickle.OpMark, str("storage"), pickle.OpGlobal, "torch\nFloatStorage\n", str("0"), str("cpu"),
		pickle.OpBinint1, count, pickle.OpNone, pickle.OpTuple, pickle.OpBinpersid, pickle.OpStop,
		pickle.OpProto, 2, pickle.OpEmptyList, pickle.OpMark, str("0"), pickle.OpAppends, pickle.OpStop,
		u64(count), storage)
}

func TestLegacyTorch(t *testing.T) {
	// The storage holds what would read as another pickle; torch does not.
	storage := make([]byte, 40)
	copy(storage, asm(pickle.OpProto, 2, call("data", "f", "x"), pickle.OpStop))
	object := asm(pickle.OpNone, pickle.OpPop)

	trace := scan(t, legacyTorch(object, 10, storage))
	if len(trace.Streams) != 5 {
		t.Errorf("%d streams, want 5", len(trace.Streams))
	}
	if names := named(trace); !slices.Equal(names, []string{"torch.FloatStorage"}) {
		t.Errorf("globals %q", names)
	}
	last := trace.Ranges[len(trace.Ranges)-1]
	if last.Kind != pickle.Data || last.End-last.Start != 48 {
		t.Errorf("ranges %+v", trace.Ranges)
	}
	checkRanges(t, trace)

	// A count that the object does not state claims nothing, and what lies
	// there is read.
	lying := legacyTorch(object, 10, storage)
	lying[len(lying)-48] = 11
	if names := named(scan(t, lying)); !slices.Contains(names, "data.f") {
		t.Errorf("globals %q, want data.f", names)
	}
	// A payload in any of the streams is found.
	hidden := legacyTorch(asm(call("os", "system", "x"), pickle.OpPop), 10, storage)
	if names := named(scan(t, hidden)); !slices.Contains(names, "os.system") {
		t.Errorf("globals %q, want os.system", names)
	}
}

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want pickle.Likelihood
	}{
		{"protocol_4", vocabulary(1000), pickle.Certain},
		{"protocol_0_call", []byte("cos\nsystem\n(S'true'\ntR."), pickle.Certain},
		{"protocol_0_list", []byte("(lp0\nI1\naI2\na."), pickle.Possible},
		{"inst", []byte("(S'true'\nios\nsystem\n."), pickle.Certain},
		{"no_marker", asm(str("os"), str("system"), pickle.OpStackGlobal, pickle.OpStop), pickle.Certain},
		{"broken_behind_a_call", asm(call("os", "system", "x"), 0, 0, 0), pickle.Certain},
		{"framed", asm(pickle.OpProto, 4, pickle.OpFrame, u64(100), pickle.OpNone, pickle.OpStop), pickle.Certain},
		{"large_literal", asm(pickle.OpProto, 4, pickle.OpBinbytes8, u64(1<<33)), pickle.Possible},
		{"none", asm(pickle.OpNone, pickle.OpStop), pickle.Possible},

		{"empty", nil, pickle.Unlikely},
		{"png", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), pickle.Unlikely},
		{"zip", []byte("PK\x03\x04\x14\x00\x00\x00\x08\x00\n"), pickle.Unlikely},
		{"elf", []byte("\x7fELF\x02\x01\x01\x00\x00\x00"), pickle.Unlikely},
		{"npy", []byte("\x93NUMPY\x01\x00v\x00{'descr'"), pickle.Unlikely},
		{"gguf", []byte("GGUF\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"), pickle.Unlikely},
		{"safetensors", []byte("\x40\x00\x00\x00\x00\x00\x00\x00{\"a\":{\"dtype\":\"F32\""), pickle.Unlikely},
		{"json", []byte("{\"architectures\": [\"BertModel\"]}"), pickle.Unlikely},
		{"text", []byte("In the beginning was the word.\nAnd so on.\n"), pickle.Unlikely},
		{"python", []byte("import os\n\nclass A:\n    pass\n"), pickle.Unlikely},
		{"csv", []byte("Name,Label\n1,ham\n2,spam\n"), pickle.Unlikely},
		{"yaml", []byte("(no): yes\n"), pickle.Unlikely},
		{"zeros", make([]byte, 4096), pickle.Unlikely},
		{"bad_name", []byte("cmod\n\xf8\n"), pickle.Unlikely},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := pickle.Sniff(tt.data[:min(len(tt.data), 4096)], int64(len(tt.data))); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// What the stream does to the running interpreter is followed.
func TestSideEffects(t *testing.T) {
	write := func(module, name, key string, v ...any) []byte {
		return asm(pickle.OpGlobal, module+"\n"+name+"\n", pickle.OpEmptyDict, str(key), asm(v...), pickle.OpSetitem, pickle.OpBuild, pickle.OpPop)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
		how  pickle.How
	}{
		{
			"registered_extension",
			asm(pickle.OpGlobal, "copyreg\nadd_extension\n", str("os"), str("system"), pickle.OpBinint1, 66, pickle.OpTuple3, pickle.OpReduce, pickle.OpPop, pickle.OpExt1, 66),
			"os.system", pickle.Extension,
		},
		{
			"written_extension",
			asm(pickle.OpGlobal, "copyreg\n_inverted_registry\n", pickle.OpBinint1, 66, str("os"), str("system"), pickle.OpTuple2, pickle.OpSetitem, pickle.OpPop, pickle.OpExt1, 66),
			"os.system", pickle.Extension,
		},
		{
			"laundered_operand",
			asm(write("torch", "_utils", "x", str("os")), str("torch._utils"), str("x"), pickle.OpStackGlobal, str("system"), pickle.OpStackGlobal),
			"os.system", pickle.Rewritten,
		},
		{
			"slots",
			asm(pickle.OpGlobal, "torch\n_utils\n", pickle.OpNone, pickle.OpEmptyDict, str("x"), str("os"), pickle.OpSetitem, pickle.OpTuple2, pickle.OpBuild, pickle.OpPop,
				str("torch._utils"), str("x"), pickle.OpStackGlobal, str("system"), pickle.OpStackGlobal),
			"os.system", pickle.Rewritten,
		},
		{
			"across_streams",
			asm(write("torch", "_utils", "x", str("os")), pickle.OpNone, pickle.OpStop, pickle.OpProto, 4,
				str("torch._utils"), str("x"), pickle.OpStackGlobal, str("system"), pickle.OpStackGlobal),
			"os.system", pickle.Rewritten,
		},
		{
			"computed",
			asm(pickle.OpGlobal, "m\nf\n", pickle.OpEmptyTuple, pickle.OpReduce, str("system"), pickle.OpStackGlobal),
			".system", pickle.Computed,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := scan(t, asm(tt.data, pickle.OpStop))
			for _, g := range trace.Globals {
				if g.Module+"."+g.Name == tt.want && g.How == tt.how {
					return
				}
			}
			t.Errorf("globals %+v, want %s %s", trace.Globals, tt.how, tt.want)
		})
	}
}

// A call is in the trace although its result is popped, overwritten or never
// read, and although calls like it were made before.
func TestCallsStay(t *testing.T) {
	trace := scan(t, asm(
		call("m", "popped", "x"), pickle.OpPop,
		call("m", "overwritten", "x"), pickle.OpBinput, 0, pickle.OpPop, pickle.OpNone, pickle.OpBinput, 0, pickle.OpPop,
		pickle.OpMark, call("m", "marked", "x"), pickle.OpPopMark,
		bytes.Repeat(asm(call("m", "often", "x"), pickle.OpPop), 1000),
		call("m", "often", "y"), pickle.OpPop,
		pickle.OpGlobal, "m\nchain\n", pickle.OpEmptyTuple, pickle.OpReduce, str("z"), pickle.OpTuple1, pickle.OpReduce,
		pickle.OpStop))
	type made struct {
		Callee, Args string
		Count        int64
		Via          int
	}
	var got []made
	for _, c := range trace.Calls {
		got = append(got, made{c.Callee.String(), c.Args.String(), c.Count, c.Via})
	}
	want := []made{
		{"m.popped", "('x',)", 1, -1},
		{"m.overwritten", "('x',)", 1, -1},
		{"m.marked", "('x',)", 1, -1},
		{"m.often", "('x',)", 1000, -1},
		{"m.often", "('y',)", 1, -1},
		{"m.chain", "()", 1, -1},
		{"<result of m.chain>", "('z',)", 1, 5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// Lengths, indices and counts that a few bytes claim cost nothing, and every
// limit that is met is reported.
func TestBounds(t *testing.T) {
	laughs := asm(pickle.OpProto, 2, pickle.OpEmptyList, pickle.OpBinput, 0)
	for i := range 64 {
		laughs = asm(laughs, pickle.OpEmptyList, bytes.Repeat(asm(pickle.OpBinget, i), 8), bytes.Repeat(asm(pickle.OpPop), 7), pickle.OpAppend, pickle.OpBinput, i+1)
	}
	deep := asm(bytes.Repeat(asm(pickle.OpEmptyList), 100000), bytes.Repeat(asm(pickle.OpAppend), 99999), pickle.OpStop)
	self := asm(pickle.OpEmptyList, pickle.OpBinput, 0, pickle.OpBinget, 0, pickle.OpAppend, pickle.OpStop)
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"bytes8", asm(pickle.OpBinbytes8, u64(1<<62))},
		{"bytearray8", asm(pickle.OpBytearray8, u64(1<<63))},
		{"unicode8", asm(pickle.OpBinunicode8, u64(1<<64-1))},
		{"long4", asm(pickle.OpLong4, u32(1<<31-1))},
		{"frame", asm(pickle.OpFrame, u64(1<<63), pickle.OpNone, pickle.OpStop)},
		{"long_binput", asm(pickle.OpNone, pickle.OpLongBinput, u32(1<<32-1), pickle.OpStop)},
		{"put", asm(pickle.OpNone, pickle.OpPut, "4294967295\n", pickle.OpStop)},
		{"laughs", asm(laughs, pickle.OpStop)},
		{"deep", deep},
		{"deep_tuple", asm(pickle.OpEmptyTuple, bytes.Repeat(asm(pickle.OpTuple1), 100000), pickle.OpStop)},
		{"self", self},
		{"marks", bytes.Repeat(asm(pickle.OpMark), 100000)},
		{"dups", asm(pickle.OpNone, bytes.Repeat(asm(pickle.OpDup), 100000))},
		{"globals", bytes.Repeat([]byte("ca\nb\n"), 20000)},
		{"long_line", asm(pickle.OpGlobal, bytes.Repeat([]byte("a"), 1<<20), "\nb\n", pickle.OpStop)},
		{"long_number", asm(pickle.OpLong, bytes.Repeat([]byte("9"), 1<<20), "L\n", pickle.OpStop)},
		{"no_newline", bytes.Repeat([]byte("V"), 1<<20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testutil.AllocBound(t, uint64(1<<20+320*len(tt.data)), func() {
				checkRanges(t, scan(t, tt.data))
			})
		})
	}

	many := func(n int) []byte { // calls that differ
		var p program
		for i := range n {
			p.Write(asm(call("m", "f", fmt.Sprint(i)), pickle.OpPop))
		}
		return asm(p.Bytes(), pickle.OpNone, pickle.OpStop)
	}
	for _, tt := range []struct {
		limit  string
		limits pickle.Limits
		data   []byte
	}{
		{"Ops", pickle.Limits{Ops: 10}, bytes.Repeat(asm(pickle.OpNone), 20)},
		{"Stack", pickle.Limits{Stack: 10}, bytes.Repeat(asm(pickle.OpNone), 20)},
		{"Stack", pickle.Limits{Stack: 10}, bytes.Repeat(asm(pickle.OpMark), 20)},
		{"Memo", pickle.Limits{Memo: 10}, asm(pickle.OpNone, bytes.Repeat(asm(pickle.OpMemoize), 20), pickle.OpStop)},
		{"Values", pickle.Limits{Values: 10}, asm(bytes.Repeat(asm(pickle.OpEmptyList), 20), pickle.OpStop)},
		{"Texts", pickle.Limits{Texts: 10}, many(20)},
		{"Streams", pickle.Limits{Streams: 2}, bytes.Repeat(asm(pickle.OpProto, 2, pickle.OpNone, pickle.OpStop), 4)},
		{"Records", pickle.Limits{Records: 10}, bytes.Repeat(asm(str("id"), pickle.OpBinpersid), 20)},
	} {
		t.Run("limit_"+tt.limit, func(t *testing.T) {
			trace, err := pickle.Machine{Limits: tt.limits}.Scan(t.Context(), bytes.NewReader(tt.data), int64(len(tt.data)))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range trace.Exceeded {
				if e.Limit == tt.limit {
					return
				}
			}
			t.Errorf("exceeded %+v, want %s", trace.Exceeded, tt.limit)
		})
	}
	t.Run("wide_arguments", func(t *testing.T) {
		// One tuple of many values, handed to call after call in a few bytes.
		data := asm(pickle.OpMark, bytes.Repeat(asm(str("0123456789abcdef")), 500), pickle.OpTuple, pickle.OpBinput, 0, pickle.OpPop,
			pickle.OpGlobal, "m\nf\n", pickle.OpBinput, 1, pickle.OpPop)
		for i := range 20000 {
			data = append(data, asm(pickle.OpBinget, 1, pickle.OpBinget, 0, str(fmt.Sprint(i)), pickle.OpTuple2, pickle.OpReduce, pickle.OpPop)...)
		}
		data = asm(data, pickle.OpNone, pickle.OpStop)
		var trace *pickle.Trace
		testutil.AllocBound(t, uint64(16<<20+320*len(data)), func() {
			m := pickle.Machine{Limits: pickle.Limits{Texts: 8 << 20}}
			var err error
			if trace, err = m.Scan(t.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
				t.Fatal(err)
			}
		})
		if g := trace.Globals[0]; g.Calls != 20000 {
			t.Errorf("%d calls", g.Calls)
		}
	})
	t.Run("unseen", func(t *testing.T) {
		trace, err := pickle.Machine{Limits: pickle.Limits{Records: 10}}.Scan(t.Context(), bytes.NewReader(many(20)), int64(len(many(20))))
		if err != nil {
			t.Fatal(err)
		}
		if g := trace.Globals[0]; g.Calls != 20 || g.Unseen != 10 {
			t.Errorf("%d calls, %d unseen; want 20, 10", g.Calls, g.Unseen)
		}
	})
}

type failing struct{ io.ReaderAt }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 0 {
		return 0, io.ErrClosedPipe
	}
	return f.ReaderAt.ReadAt(p, off)
}

// An error of the reader is the error of the scan, with the trace up to there.
func TestReaderError(t *testing.T) {
	data := asm(call("m", "f", "x"), pickle.OpPop, vocabulary(100000))
	trace, err := pickle.Machine{}.Scan(t.Context(), failing{bytes.NewReader(data)}, int64(len(data)))
	if err == nil || trace == nil || trace.Streams[0].Complete || !slices.Equal(named(trace), []string{"m.f"}) {
		t.Errorf("error %v, trace %+v", err, trace)
	}
	if _, err := (pickle.Machine{}).Scan(t.Context(), bytes.NewReader(data[:10]), int64(len(data))); err == nil {
		t.Error("a file shorter than its size passes")
	}
}

func TestLiteral(t *testing.T) {
	var got []string
	m := pickle.Machine{Literal: func(l pickle.Literal) {
		got = append(got, fmt.Sprintf("%s@%d+%d %s %q", l.Op, l.Offset, l.Length, l.Type, l.Head[:min(len(l.Head), 12)]))
	}}
	long := bytes.Repeat([]byte("x"), 300000)
	data := asm(str("a shorter text"), str("long enough text"), pickle.OpString, "'text in quotes, 25 bytes'\n", pickle.OpBinbytes, u32(len(long)), long, pickle.OpStop)
	if _, err := m.Scan(t.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`SHORT_BINUNICODE@18+16 str "long enough "`,
		`STRING@36+24 str "text in quot"`,
		`BINBYTES@67+300000 bytes "xxxxxxxxxxxx"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("literals (-want +got):\n%s", diff)
	}
}

// Streams that fault early and decode on for long cost no more than a few
// passes over the file.
func TestLinearTime(t *testing.T) {
	faulty := asm(pickle.OpProto, 2, pickle.OpGlobal, "m\nf\n", pickle.OpBinget, 9, pickle.OpPop)
	whole := asm(pickle.OpProto, 2, pickle.OpNone, pickle.OpStop)
	straddled := asm(pickle.OpFrame, u64(3), pickle.OpBinint2, "aaa", pickle.OpNone, pickle.OpStop)
	for _, tt := range []struct {
		name string
		unit []byte
	}{
		{"faults", faulty},
		{"faults_between", asm(whole, faulty)},
		{"straddles", straddled},
		{"undecodable", asm(faulty, 0xff)},
		{"cut_strings", asm(pickle.OpProto, 2, pickle.OpNone, pickle.OpBinunicode, u32(1<<30))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := bytes.Repeat(tt.unit, 3000)
			if ops := scan(t, data).Ops; ops > int64(8*len(data)+1<<17) {
				t.Errorf("%d opcodes executed for %d bytes", ops, len(data))
			}
		})
	}
}
