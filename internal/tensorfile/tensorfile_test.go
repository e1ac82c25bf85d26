package tensorfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/x448/float16"
	"pgregory.net/rapid"

	"github.com/prerun/prerun/internal/tensorfile"
)

// safetensors writes a file with that header, followed by n data bytes.
func safetensors(header string, n int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return append(out, make([]byte, n)...)
}

// npy writes a version 1 file, padded as NumPy pads.
func npy(dict string, data []byte) []byte {
	pad := 63 - (10+len(dict))%64
	header := dict + strings.Repeat(" ", pad) + "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(out[8:], uint16(len(header)))
	return append(append(out, header...), data...)
}

func parseSafetensors(b []byte) (*tensorfile.Safetensors, error) {
	return tensorfile.ParseSafetensors(bytes.NewReader(b), int64(len(b)))
}

func parseNPY(b []byte) (*tensorfile.Array, error) {
	return tensorfile.ParseNPY(bytes.NewReader(b), int64(len(b)))
}

func TestSafetensors(t *testing.T) {
	header := `{"b":{"dtype":"F16","shape":[2,2],"data_offsets":[4,12]},` +
		`"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},` +
		`"none":{"dtype":"I64","shape":[0,3],"data_offsets":[12,12]}}   `
	got, err := parseSafetensors(safetensors(header, 12))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(8 + len(header))
	want := &tensorfile.Safetensors{
		Tensors: []tensorfile.Tensor{
			{Name: "a", DType: tensorfile.F32, Shape: []int64{}, Offset: at, Length: 4},
			{Name: "b", DType: tensorfile.F16, Shape: []int64{2, 2}, Offset: at + 4, Length: 8},
			{Name: "none", DType: tensorfile.I64, Shape: []int64{0, 3}, Offset: at + 12},
		},
		Metadata: map[string]string{"format": "pt"},
		DataAt:   at, Size: at + 12,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Tensor("b") == nil || got.Tensor("c") != nil {
		t.Error("lookup by name")
	}
}

func TestSafetensorsRefuses(t *testing.T) {
	one := func(dtype, shape, offsets string) []byte {
		return safetensors(fmt.Sprintf(`{"t":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets), 8)
	}
	for _, tt := range []struct {
		name  string
		data  []byte
		fault tensorfile.Fault
		class error
		text  string
	}{
		{"empty", nil, tensorfile.Truncated, tensorfile.ErrMalformed, "offset 0"},
		{"short", []byte("1234567"), tensorfile.Truncated, tensorfile.ErrMalformed, "offset 7"},
		{"huge_header", bytes.Repeat([]byte{0xff}, 16), tensorfile.BadHeader, tensorfile.ErrMalformed, "format allows"},
		{"cut_header", safetensors("{}", 0)[:9], tensorfile.Truncated, tensorfile.ErrMalformed, "in a file of 9"},
		{"no_brace", safetensors(" {}", 0), tensorfile.BadHeader, tensorfile.ErrMalformed, "does not start"},
		{"no_header", safetensors("", 4), tensorfile.BadHeader, tensorfile.ErrMalformed, "does not start"},
		{"not_json", safetensors(`{"a"}`, 0), tensorfile.BadHeader, tensorfile.ErrMalformed, "offset 12"},
		{"duplicate", safetensors(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), tensorfile.BadHeader, tensorfile.ErrMalformed, "duplicate"},
		{"two_values", safetensors(`{} {}`, 0), tensorfile.BadHeader, tensorfile.ErrMalformed, "more data"},
		{"metadata_number", safetensors(`{"__metadata__":{"a":1}}`, 0), tensorfile.BadHeader, tensorfile.ErrMalformed, "no string"},
		{"unknown_member", safetensors(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}}`, 1), tensorfile.BadHeader, tensorfile.ErrMalformed, `unknown member "x"`},
		{"missing_member", safetensors(`{"a":{"dtype":"U8","shape":[]}}`, 1), tensorfile.BadHeader, tensorfile.ErrMalformed, "missing"},
		{"dtype", one(`"F33"`, `[2]`, `[0,8]`), tensorfile.BadDType, tensorfile.ErrMalformed, `"F33"`},
		{"dtype_kind", one(`1`, `[2]`, `[0,8]`), tensorfile.BadDType, tensorfile.ErrMalformed, "unknown dtype"},
		{"dtype_internal", one(`"opaque"`, `[2]`, `[0,8]`), tensorfile.BadDType, tensorfile.ErrMalformed, "unknown dtype"},
		{"negative", one(`"F32"`, `[-2]`, `[0,8]`), tensorfile.BadShape, tensorfile.ErrMalformed, "natural"},
		{"fraction", one(`"F32"`, `[2.0]`, `[0,8]`), tensorfile.BadShape, tensorfile.ErrMalformed, "natural"},
		{"overflow", one(`"F32"`, `[4294967296,4294967296,4]`, `[0,8]`), tensorfile.BadShape, tensorfile.ErrMalformed, "overflows"},
		{"overflow_bits", one(`"F64"`, `[4611686018427387904]`, `[0,8]`), tensorfile.BadShape, tensorfile.ErrMalformed, "overflows"},
		{"reversed", one(`"F32"`, `[2]`, `[8,0]`), tensorfile.BadHeader, tensorfile.ErrMalformed, "no range"},
		{"size", one(`"F32"`, `[3]`, `[0,8]`), tensorfile.BadSize, tensorfile.ErrMalformed, "takes 96 bits"},
		{"odd_bits", one(`"F4"`, `[15]`, `[0,8]`), tensorfile.BadSize, tensorfile.ErrMalformed, "takes 60 bits"},
		{"hole_before", one(`"F32"`, `[1]`, `[4,8]`), tensorfile.Hole, tensorfile.ErrMalformed, "belong to no tensor"},
		{"trailing", one(`"F32"`, `[1]`, `[0,4]`), tensorfile.Trailing, tensorfile.ErrMalformed, "4 bytes after"},
		{"truncated", one(`"F32"`, `[4]`, `[0,16]`), tensorfile.Truncated, tensorfile.ErrMalformed, "the file at"},
		{"overlap", safetensors(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6), tensorfile.Overlap, tensorfile.ErrMalformed, "by 2 bytes"},
		{"empty_inside", safetensors(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`, 4), tensorfile.Overlap, tensorfile.ErrMalformed, "inside another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseSafetensors(tt.data)
			e, ok := errors.AsType[*tensorfile.Error](err)
			if !ok {
				t.Fatalf("got error %v", err)
			}
			if e.Fault != tt.fault || !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got fault %d, %v; want fault %d, %v, text %q", e.Fault, err, tt.fault, tt.class, tt.text)
			}
		})
	}
}

func TestSafetensorsHeaderLimit(t *testing.T) {
	size := int64(tensorfile.MaxHeader + 100)
	r := io.NewSectionReader(zeros{}, 0, size)
	b := binary.LittleEndian.AppendUint64(nil, tensorfile.MaxHeader+1)
	_, err := tensorfile.ParseSafetensors(prefixed{append(b, '{'), r}, size)
	if !errors.Is(err, tensorfile.ErrLimit) {
		t.Errorf("got %v, want ErrLimit", err)
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

type prefixed struct {
	head []byte
	rest io.ReaderAt
}

func (r prefixed) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.rest.ReadAt(p, off)
	if off < int64(len(r.head)) {
		copy(p, r.head[off:])
	}
	return n, err
}

func TestNPY(t *testing.T) {
	for _, tt := range []struct {
		name, dict string
		n          int
		want       tensorfile.Array
	}{
		{"matrix", `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, 48, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.F32, Shape: []int64{3, 4}, Length: 48}, Descr: "'<f4'", ItemSize: 4}},
		{"vector_python2", `{'descr': '>i2', 'fortran_order': True, 'shape': (3L,), }`, 7, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.I16, BigEndian: true, Shape: []int64{3}, Length: 6}, Descr: "'>i2'", ItemSize: 2, Fortran: true, Trailing: 1}},
		{"scalar", `{"descr": "|b1", "fortran_order": False, "shape": ()}`, 1, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.Bool, Shape: []int64{}, Length: 1}, Descr: `"|b1"`, ItemSize: 1}},
		{"objects", `{'descr': '|O', 'fortran_order': False, 'shape': (1000000,), }`, 9, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.Object, Shape: []int64{1000000}, Length: 9}, Descr: "'|O'", HasObject: true}},
		{"text", `{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }`, 24, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.Opaque, Shape: []int64{2}, Length: 24}, Descr: "'<U3'", ItemSize: 12}},
		{"record", `{'descr': [('a', '<f4'), (('title', 'b'), '|S3', (2, 2)), ('c', [('d', '<M8[ns]')])], 'fortran_order': False, 'shape': (1,), }`, 24, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.Opaque, Shape: []int64{1}, Length: 24}, Descr: "[('a', '<f4'), (('title', 'b'), '|S3', (2, 2)), ('c', [('d', '<M8[ns]')])]", ItemSize: 24}},
		{"hidden_object", `{'descr': [('a', '<f4'), ('c', [('d', '|O')])], 'fortran_order': False, 'shape': (1,), }`, 24, tensorfile.Array{Tensor: tensorfile.Tensor{DType: tensorfile.Object, Shape: []int64{1}, Length: 24}, Descr: "[('a', '<f4'), ('c', [('d', '|O')])]", HasObject: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := npy(tt.dict, make([]byte, tt.n))
			got, err := parseNPY(data)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Major, tt.want.Offset = 1, int64(len(data)-tt.n)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNPYVersions(t *testing.T) {
	dict := `{'descr': [('é', '<f4')], 'fortran_order': False, 'shape': (1,), }` + "\n"
	for major := byte(2); major <= 3; major++ {
		b := append([]byte("\x93NUMPY"), major, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(dict)))
		b = append(append(b, dict...), 0, 0, 0, 0)
		a, err := parseNPY(b)
		if err != nil || a.Major != major || a.Length != 4 {
			t.Errorf("version %d: %+v, %v", major, a, err)
		}
	}
}

func TestNPYRefuses(t *testing.T) {
	dict := func(descr, order, shape string) []byte {
		return npy(fmt.Sprintf(`{'descr': %s, 'fortran_order': %s, 'shape': %s, }`, descr, order, shape), make([]byte, 16))
	}
	version := func(major, minor byte) []byte {
		b := dict(`'<f4'`, `False`, `(4,)`)
		b[6], b[7] = major, minor
		return b
	}
	for _, tt := range []struct {
		name  string
		data  []byte
		fault tensorfile.Fault
		class error
	}{
		{"empty", nil, tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"magic", []byte("\x93NUMPX\x01\x00\x00\x00\x00\x00"), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"version_4", version(4, 0), tensorfile.BadHeader, tensorfile.ErrUnsupported},
		{"version_1_1", version(1, 1), tensorfile.BadHeader, tensorfile.ErrUnsupported},
		{"cut_prefix", []byte("\x93NUMPY\x02\x00\x00\x00"), tensorfile.Truncated, tensorfile.ErrMalformed},
		{"cut_header", dict(`'<f4'`, `False`, `(4,)`)[:40], tensorfile.Truncated, tensorfile.ErrMalformed},
		{"cut_data", dict(`'<f4'`, `False`, `(5,)`), tensorfile.Truncated, tensorfile.ErrMalformed},
		{"no_dict", npy(`('<f4',)`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"two_dicts", npy(`{'descr': '<f4', 'fortran_order': False, 'shape': ()} {}`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"call", npy(`__import__('os')`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"expression", dict(`'<f4'`, `False`, `(2*2,)`), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"duplicate", npy(`{'descr': '<f4', 'descr': '|O', 'fortran_order': False, 'shape': ()}`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"missing", npy(`{'descr': '<f4', 'shape': ()}`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"unknown_key", npy(`{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"order_int", dict(`'<f4'`, `0`, `(4,)`), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"shape_list", dict(`'<f4'`, `False`, `[4]`), tensorfile.BadShape, tensorfile.ErrMalformed},
		{"shape_int", dict(`'<f4'`, `False`, `(4)`), tensorfile.BadShape, tensorfile.ErrMalformed},
		{"shape_negative", dict(`'<f4'`, `False`, `(-4,)`), tensorfile.BadShape, tensorfile.ErrMalformed},
		{"shape_overflow", dict(`'<f4'`, `False`, `(4294967296, 4294967296)`), tensorfile.BadShape, tensorfile.ErrMalformed},
		{"shape_too_big", dict(`'<f4'`, `False`, `(99999999999999999999,)`), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"item_overflow", dict(`'<U1000000000000'`, `False`, `(10000000,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"native_order", dict(`'=f4'`, `False`, `(4,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"no_order", dict(`'f4'`, `False`, `(4,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"order_missing", dict(`'|f4'`, `False`, `(4,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"unknown_type", dict(`'<q4'`, `False`, `(4,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"descr_int", dict(`4`, `False`, `(4,)`), tensorfile.BadDType, tensorfile.ErrMalformed},
		{"deep", npy(strings.Repeat("(", 100), nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
		{"open_string", npy(`{'descr`, nil), tensorfile.BadHeader, tensorfile.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseNPY(tt.data)
			e, ok := errors.AsType[*tensorfile.Error](err)
			if !ok {
				t.Fatalf("got error %v", err)
			}
			if e.Fault != tt.fault || !errors.Is(err, tt.class) {
				t.Errorf("got fault %d, %v; want fault %d, %v", e.Fault, err, tt.fault, tt.class)
			}
		})
	}
}

func TestDTypes(t *testing.T) {
	for d := tensorfile.Bool; d <= tensorfile.C64; d++ {
		if got := tensorfile.ParseDType(d.String()); got != d {
			t.Errorf("%s parses as %s", d, got)
		}
		if d.Bits() == 0 {
			t.Errorf("%s has no size", d)
		}
	}
}

func TestHalfEqualsReference(t *testing.T) {
	src := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	dst := make([]float32, 1<<16)
	if err := tensorfile.Float32(dst, src, tensorfile.F16, false); err != nil {
		t.Fatal(err)
	}
	for i, got := range dst {
		if want := float16.Frombits(uint16(i)).Float32(); math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("code %#04x: %v, want %v", i, got, want)
		}
	}
}

func TestSmallFloats(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, tt := range []struct {
		d    tensorfile.DType
		code byte
		want float32
	}{
		{tensorfile.F8E4M3, 0x00, 0},
		{tensorfile.F8E4M3, 0x01, 1.0 / 512},
		{tensorfile.F8E4M3, 0x08, 1.0 / 64},
		{tensorfile.F8E4M3, 0x38, 1},
		{tensorfile.F8E4M3, 0x7e, 448},
		{tensorfile.F8E4M3, 0xfe, -448},
		{tensorfile.F8E5M2, 0x01, 1.0 / 65536},
		{tensorfile.F8E5M2, 0x3c, 1},
		{tensorfile.F8E5M2, 0x7b, 57344},
		{tensorfile.F8E5M2, 0x7c, inf},
		{tensorfile.F8E4M3FNUZ, 0x40, 1},
		{tensorfile.F8E4M3FNUZ, 0x7f, 240},
		{tensorfile.F8E5M2FNUZ, 0x40, 1},
		{tensorfile.F8E5M2FNUZ, 0x7f, 57344},
		{tensorfile.F8E8M0, 127, 1},
		{tensorfile.F8E8M0, 254, float32(math.Ldexp(1, 127))},
		{tensorfile.I8, 0xff, -1},
		{tensorfile.Bool, 2, 1},
	} {
		var got [1]float32
		if err := tensorfile.Float32(got[:], []byte{tt.code}, tt.d, false); err != nil {
			t.Fatal(err)
		}
		if got[0] != tt.want {
			t.Errorf("%s %#02x: %v, want %v", tt.d, tt.code, got[0], tt.want)
		}
	}
	for d, code := range map[tensorfile.DType]byte{
		tensorfile.F8E4M3: 0x7f, tensorfile.F8E5M2: 0x7d, tensorfile.F8E4M3FNUZ: 0x80, tensorfile.F8E5M2FNUZ: 0x80, tensorfile.F8E8M0: 0xff,
	} {
		var got [1]float64
		if err := tensorfile.Float64(got[:], []byte{code}, d, false); err != nil {
			t.Fatal(err)
		}
		if !math.IsNaN(got[0]) {
			t.Errorf("%s %#02x: %v, want NaN", d, code, got[0])
		}
	}
}

// Decoding in either precision and byte order tells one value.
func TestDecodeAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]tensorfile.DType{
			tensorfile.Bool, tensorfile.U8, tensorfile.I8, tensorfile.U16, tensorfile.I16, tensorfile.U32, tensorfile.I32,
			tensorfile.U64, tensorfile.I64, tensorfile.F16, tensorfile.BF16, tensorfile.F32, tensorfile.F64, tensorfile.F8E4M3, tensorfile.F8E5M2,
		}).Draw(t, "dtype")
		n, size := rapid.IntRange(0, 9).Draw(t, "n"), int(d.Bits()/8)
		little := rapid.SliceOfN(rapid.Byte(), n*size, n*size).Draw(t, "bytes")
		big := make([]byte, len(little))
		for i := range little {
			big[i] = little[i/size*size+size-1-i%size]
		}
		var wide [2][]float64
		narrow := make([]float32, n)
		for i, src := range [][]byte{little, big} {
			wide[i] = make([]float64, n)
			if err := tensorfile.Float64(wide[i], src, d, i == 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := tensorfile.Float32(narrow, little, d, false); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			a, b := wide[0][i], wide[1][i]
			if math.Float64bits(a) != math.Float64bits(b) {
				t.Fatalf("element %d: %v little, %v big", i, a, b)
			}
			if c := float64(narrow[i]); !math.IsNaN(a) && c != float64(float32(a)) {
				// one rounding of a 64-bit integer may differ from two by one step
				if d != tensorfile.I64 && d != tensorfile.U64 || math.Abs(c-a) > math.Abs(a)/(1<<23) {
					t.Fatalf("element %d: %v in 32 bits, %v in 64", i, c, a)
				}
			}
		}
	})
}

func TestReadWindows(t *testing.T) {
	const n = 50_000 // more than one window
	data := make([]byte, 0, 4*n)
	for i := range n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)))
	}
	tensor := &tensorfile.Tensor{DType: tensorfile.F32, Shape: []int64{n}, Length: 4 * n}
	dst := make([]float32, n-3)
	if err := tensorfile.ReadFloat32(bytes.NewReader(data), tensor, 3, dst); err != nil {
		t.Fatal(err)
	}
	for i, v := range dst {
		if v != float32(i+3) {
			t.Fatalf("element %d: %v", i, v)
		}
	}
	for name, err := range map[string]error{
		"beyond":   tensorfile.ReadFloat32(bytes.NewReader(data), tensor, 4, dst),
		"negative": tensorfile.ReadFloat32(bytes.NewReader(data), tensor, -1, dst),
		"cut":      tensorfile.ReadFloat32(bytes.NewReader(data[:4*n-1]), tensor, 3, dst),
		"type":     tensorfile.ReadFloat32(bytes.NewReader(data), &tensorfile.Tensor{DType: tensorfile.F4, Shape: []int64{n}}, 0, dst[:2]),
		"fails":    tensorfile.ReadFloat64(iotestErr{}, tensor, 0, make([]float64, 2)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := tensorfile.ReadFloat64(iotestErr{}, tensor, 0, make([]float64, 2)); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

type iotestErr struct{}

func (iotestErr) ReadAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

// allocated is what f allocates, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Hostile headers: the ones with most nodes for a byte.
func TestAllocationBound(t *testing.T) {
	zeros := strings.Repeat("0,", 1<<18) + "0"
	for name, f := range map[string]struct {
		data  []byte
		parse func([]byte)
	}{
		"shape":        {safetensors(`{"a":{"dtype":"U8","shape":[`+zeros+`],"data_offsets":[0,0]}}`, 0), func(b []byte) { _, _ = parseSafetensors(b) }},
		"empty_arrays": {safetensors(`{"a":[`+strings.Repeat("[],", 1<<18)+`[]]}`, 0), func(b []byte) { _, _ = parseSafetensors(b) }},
		"tuple":        {append([]byte("\x93NUMPY\x02\x00\x00\x00\x08\x00("), []byte(zeros)...), func(b []byte) { _, _ = parseNPY(b) }},
	} {
		if got, limit := allocated(func() { f.parse(f.data) }), uint64(256*len(f.data)+1<<16); got > limit {
			t.Errorf("%s: %d bytes for %d of input, the limit is %d", name, got, len(f.data), limit)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"k":"v"}}`, 8))
	f.Add(safetensors(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F4","shape":[4],"data_offsets":[4,6]}}`, 6))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSafetensors(data)
		if err != nil {
			if _, ok := errors.AsType[*tensorfile.Error](err); !ok {
				t.Fatalf("error without offset: %v", err)
			}
			return
		}
		end := s.DataAt
		for i := range s.Tensors {
			v := &s.Tensors[i]
			if v.Offset != end || v.Elements()*v.DType.Bits() != 8*v.Length {
				t.Fatalf("tensor %d at %d: %+v", i, end, v)
			}
			end += v.Length
		}
		if end != int64(len(data)) {
			t.Fatalf("tensors end at %d of %d", end, len(data))
		}
	})
}

func FuzzNPY(f *testing.F) {
	f.Add(npy(`{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }`, make([]byte, 16)))
	f.Add(npy(`{'descr': [('a', '<f4'), ('b', '|S3', (2,))], 'fortran_order': False, 'shape': (1,), }`, make([]byte, 16)))
	f.Add(npy(`{'descr': '|O', 'fortran_order': False, 'shape': (1,), }`, []byte("\x80\x04N.")))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseNPY(data)
		if err != nil {
			if _, ok := errors.AsType[*tensorfile.Error](err); !ok {
				t.Fatalf("error without offset: %v", err)
			}
			return
		}
		if a.Offset+a.Length+a.Trailing != int64(len(data)) || a.Length < 0 || a.Trailing < 0 {
			t.Fatalf("%+v in %d bytes", a, len(data))
		}
		if n := a.Elements(); a.DType.Decodable() && n > 0 {
			if err := tensorfile.ReadFloat64(bytes.NewReader(data), &a.Tensor, n-1, make([]float64, 1)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const n = 1 << 20
	for _, d := range []tensorfile.DType{tensorfile.F16, tensorfile.BF16, tensorfile.F32, tensorfile.F64, tensorfile.F8E4M3} {
		b.Run(d.String(), func(b *testing.B) {
			tensor := &tensorfile.Tensor{DType: d, Shape: []int64{n}, Length: n * d.Bits() / 8}
			r := bytes.NewReader(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, int(tensor.Length)/8))
			dst := make([]float32, n)
			b.SetBytes(tensor.Length)
			b.ReportAllocs()
			for b.Loop() {
				if err := tensorfile.ReadFloat32(r, tensor, 0, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
