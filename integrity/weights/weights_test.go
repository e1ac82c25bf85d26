package weights_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tensor is a float32 tensor that a test is about to store.
type tensor struct {
	name  string
	dtype string // "" means F32
	shape []int
	data  []float64
}

// trained fills a tensor with what training leaves: normal values.
func trained(seed uint64, name string, shape ...int) tensor {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]float64, n)
	for i := range data {
		data[i] = 0.05 * rng.NormFloat64()
	}
	return tensor{name: name, shape: shape, data: data}
}

func (t tensor) as(dtype string) tensor { t.dtype = dtype; return t }

func (t tensor) bytes() []byte {
	var out []byte
	for _, v := range t.data {
		switch t.dtype {
		case "", "F32":
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
		case "BF16":
			out = binary.LittleEndian.AppendUint16(out, uint16(math.Float32bits(float32(v))>>16))
		case "F64":
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		case "I64":
			out = binary.LittleEndian.AppendUint64(out, uint64(int64(v)))
		case "U8", "F8_E4M3":
			out = append(out, byte(v))
		}
	}
	return out
}

// file writes a safetensors file.
func file(tensors ...tensor) []byte {
	header := map[string]any{}
	var data []byte
	for _, t := range tensors {
		b := t.bytes()
		dtype := t.dtype
		if dtype == "" {
			dtype = "F32"
		}
		shape := t.shape
		if shape == nil {
			shape = []int{}
		}
		header[t.name] = map[string]any{"dtype": dtype, "shape": shape, "data_offsets": []int{len(data), len(data) + len(b)}}
		data = append(data, b...)
	}
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(h)))
	return append(append(out, h...), data...)
}

func tree(tensors ...tensor) fstest.MapFS {
	return fstest.MapFS{"model.safetensors": {Data: file(tensors...)}}
}

// said lists what a source says: rule, severity and the rows or elements.
func said(src prerun.Source) []string {
	var out []string
	for f := range src.Findings() {
		where := f.Evidence["rows"]
		for _, k := range []string{"element", "flipped"} {
			if v, ok := f.Evidence[k]; ok {
				where = k + " " + v
			}
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", f.Rule.ID, f.Severity, f.Key, where)))
	}
	for g := range src.Gaps() {
		out = append(out, "gap: "+g.Reason)
	}
	return out
}

func (t tensor) with(change func(data []float64)) tensor {
	t.data = slices.Clone(t.data)
	change(t.data)
	return t
}

func TestScan(t *testing.T) {
	embed := trained(1, "embed", 400, 32)
	layer := trained(2, "layer.0", 64, 64)
	mask := tensor{name: "mask", shape: []int{4, 4}, data: make([]float64, 16)}
	mask.data[1] = math.Inf(-1)
	for _, tt := range []struct {
		name string
		tree fstest.MapFS
		want []string
	}{
		{"trained", tree(embed, layer, trained(3, "bias", 64)), nil},
		{"trained_bf16", tree(embed.as("BF16"), layer.as("BF16")), nil},
		{"trained_f64", tree(embed.as("F64")), nil},
		{"integers", tree(tensor{name: "ids", dtype: "I64", shape: []int{64, 16}, data: make([]float64, 1024)}), nil},
		{"scalar", tree(tensor{name: "t", data: []float64{1}}), nil},
		{"empty_tensor", tree(tensor{name: "t", shape: []int{0, 32}}), nil},
		{"nan", tree(layer.with(func(d []float64) { d[70] = math.NaN(); d[71] = math.NaN() })), []string{"weights.value.nan high layer.0 element 70"}},
		{"inf", tree(layer.with(func(d []float64) { d[5] = math.Inf(-1) })), []string{"weights.value.inf high layer.0 element 5"}},
		{"inf_f64", tree(layer.with(func(d []float64) { d[5] = math.Inf(1) }).as("F64")), []string{"weights.value.inf high layer.0 element 5"}},
		{"nan_float8", tree(tensor{name: "q", dtype: "F8_E4M3", shape: []int{2, 2}, data: []float64{1, 2, 0x7f, 3}}), []string{"weights.value.nan high q element 2"}},
		{"mask", tree(mask), []string{"weights.value.inf info mask element 1"}},
		{"mask_with_nan", tree(mask.with(func(d []float64) { d[3] = math.NaN() })), []string{
			"weights.value.inf high mask element 1", "weights.value.nan high mask element 3",
		}},
		{"exponent_bit", tree(layer.with(func(d []float64) { d[9] = 1e30 })), []string{"weights.row.outlier low layer.0 0", "weights.value.extreme medium layer.0 element 9"}},
		{"overflowing_squares", tree(layer.as("F64").with(func(d []float64) { d[9] = 1e200 })), []string{"weights.row.outlier low layer.0 0", "weights.value.extreme medium layer.0 element 9"}},
		{"exponent_bits", tree(embed.with(func(d []float64) { d[9], d[5000] = 1e30, -1e25 })), []string{"weights.row.outlier low embed 0 156", "weights.value.extreme medium embed element 9 5000"}},
		{"large_everywhere", tree(layer.with(func(d []float64) {
			for i := range d {
				d[i] *= 1e12
			}
		})), nil},
		{"mask_fill", tree(tensor{name: "masked_bias", data: []float64{-1e9}}), nil},
		{"padding_row", tree(embed.with(func(d []float64) { clear(d[:32]) })), []string{"weights.row.zero info embed 0"}},
		{"equal_rows", tree(embed.with(func(d []float64) { copy(d[320:352], d[32:64]) })), []string{"weights.row.duplicate info embed 10"}},
		{"nan_row_is_not_zero", tree(embed.with(func(d []float64) { clear(d[:32]); d[3] = math.NaN() })), []string{"weights.value.nan high embed element 3"}},
		{"long_row", tree(embed.with(func(d []float64) {
			for i := range 32 {
				d[96+i] *= 9
			}
		})), []string{"weights.row.outlier low embed 3"}},
		{"many_long_rows", tree(embed.with(func(d []float64) {
			for i := range 32 * 40 {
				d[i] *= 9
			}
		})), nil},
		{"short_rows_are_equal_by_chance", tree(tensor{name: "pairs", shape: []int{64, 2}, data: slices.Repeat([]float64{1, 2}, 64)}), nil},
		{"nothing", fstest.MapFS{"README.md": {Data: []byte("hello")}}, []string{"gap: nothing was looked at"}},
		{"broken", fstest.MapFS{"a.safetensors": {Data: []byte("hello")}}, []string{"gap: offset 5: 5 bytes, too short for the length of a header"}},
		{"unsupported", tree(tensor{name: "q", dtype: "F4", shape: []int{0}}), []string{`gap: tensor "q": elements of type F4 are not decoded`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, workers := range []int{1, 2, 8} {
				r, err := weights.Scanner{Workers: workers}.Scan(t.Context(), tt.tree)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, said(r)); diff != "" {
					t.Errorf("workers=%d (-want +got):\n%s", workers, diff)
				}
				for f := range r.Findings() {
					if err := f.Check(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestStatistics(t *testing.T) {
	r, err := weights.Scanner{}.Scan(t.Context(), tree(tensor{name: "t", shape: []int{2, 4}, data: []float64{0, 1, 2, 3, -4, math.Inf(1), math.Inf(-1), math.NaN()}}))
	if err != nil {
		t.Fatal(err)
	}
	want := []weights.Tensor{{
		File: "model.safetensors", Name: "t", DType: "F32", Shape: []int64{2, 4}, Elements: 8,
		NaN: 1, PosInf: 1, NegInf: 1, Zero: 1, Min: -4, Max: 3, Mean: 0.4, Std: math.Sqrt(30.0/5 - 0.16),
	}}
	if diff := cmp.Diff(want, r.Tensors); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTree(t *testing.T) {
	good := file(trained(1, "a", 64, 16))
	r, err := weights.Scanner{}.Scan(t.Context(), fstest.MapFS{
		"a/model.safetensors": {Data: good},
		"b/renamed":           {Data: good}, // found by content
		"c.safetensors":       {Data: []byte("a/model.safetensors"), Mode: 0o777 | 1<<27},
		"model.onnx":          {Data: []byte("onnx")},
		"notes.txt":           {Data: []byte("text")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for s := range r.Subjects() {
		subjects = append(subjects, s.Path)
	}
	if diff := cmp.Diff([]string{"a/model.safetensors", "b/renamed"}, subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"model.onnx"}, r.Others); diff != "" {
		t.Errorf("others (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gap: a symbolic link is not read"}, said(r)); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestRowLimitsAreGaps(t *testing.T) {
	for _, s := range []weights.Scanner{{MaxRows: 10}, {MaxRow: 20}} {
		r, err := s.Scan(t.Context(), tree(trained(1, "t", 64, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if prerun.Decide(r, prerun.Medium) != prerun.Incomplete || r.Tensors[0].Std == 0 {
			t.Errorf("%+v: %v, statistics %+v", s, said(r), r.Tensors[0])
		}
	}
}

func TestReadErrorsAreGaps(t *testing.T) {
	data := file(trained(1, "t", 64, 32))
	r, err := weights.Scanner{}.ScanFile(t.Context(), "m", cut{data, 1000}, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got := said(r); len(got) != 1 || !strings.Contains(got[0], "disk on fire") {
		t.Errorf("%q", got)
	}
}

type cut struct {
	data []byte
	at   int64
}

func (c cut) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.at {
		return 0, errors.New("disk on fire")
	}
	return copy(p, c.data[off:]), nil
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := tree(trained(1, "t", 64, 32))
	if _, err := (weights.Scanner{}).Scan(ctx, data); !errors.Is(err, context.Canceled) {
		t.Errorf("scan: %v", err)
	}
	if _, err := (weights.Scanner{}).Compare(ctx, data, data); !errors.Is(err, context.Canceled) {
		t.Errorf("compare: %v", err)
	}
}

func TestZeroResults(t *testing.T) {
	for name, src := range map[string]prerun.Source{
		"result": &weights.Result{}, "delta": &weights.Delta{}, "nil_result": (*weights.Result)(nil), "nil_delta": (*weights.Delta)(nil),
	} {
		if got := prerun.Decide(src, prerun.Medium); got != prerun.Incomplete {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCompare(t *testing.T) {
	embed, layer := trained(1, "embed", 2000, 32), trained(2, "layer", 64, 64)
	flip := func(at int, bit uint) func([]float64) {
		return func(d []float64) {
			d[at] = float64(math.Float32frombits(math.Float32bits(float32(d[at])) ^ 1<<bit))
		}
	}
	longer := trained(1, "embed", 2000, 32)
	longer.shape, longer.data = []int{2001, 32}, append(slices.Clone(embed.data), make([]float64, 32)...)
	for _, tt := range []struct {
		name          string
		base, derived fstest.MapFS
		want          []string
	}{
		{"equal", tree(embed, layer), tree(embed, layer), nil},
		{"fine_tuned", tree(embed, layer), tree(embed.with(noise), layer.with(noise)), nil},
		{"missing_and_extra", tree(embed, layer), tree(embed, trained(3, "head", 4)), []string{
			"weights.delta.missing-tensor low layer", "weights.delta.extra-tensor low head",
		}},
		{"flipped_exponent", tree(layer), tree(layer.with(flip(100, 30))), []string{"weights.delta.bit-flip high layer flipped 100"}},
		{"flipped_twice", tree(layer), tree(layer.with(flip(100, 31)).with(flip(7, 24))), []string{"weights.delta.bit-flip high layer flipped 7 100"}},
		{"last_place", tree(layer), tree(layer.with(flip(100, 0))), []string{"weights.delta.bit-flip low layer flipped 100"}},
		{"two_bits", tree(layer), tree(layer.with(flip(100, 30)).with(flip(100, 3))), nil},
		{"edited_row", tree(embed), tree(embed.with(func(d []float64) { noise(d[32*9 : 32*10]); noise(d[32*700 : 32*701]) })), []string{"weights.delta.edited-rows medium embed 9 700"}},
		{"a_tenth_of_the_rows", tree(embed), tree(embed.with(func(d []float64) { noise(d[:32*200]) })), nil},
		{"longer_vocabulary", tree(embed), tree(longer), []string{"weights.delta.reshaped-tensor low embed"}},
		{"reshaped", tree(layer), tree(tensor{name: "layer", shape: []int{32, 128}, data: layer.data}), []string{
			"weights.delta.reshaped-tensor low layer", `gap: tensor "layer": the shapes have nothing in common that could be compared`,
		}},
		{"narrower_type", tree(layer), tree(layer.as("BF16")), nil},
		{"no_base", fstest.MapFS{}, tree(layer), []string{"weights.delta.extra-tensor low layer", "gap: base model: no safetensors file"}},
		{"no_model", tree(layer), fstest.MapFS{}, []string{"weights.delta.missing-tensor low layer", "gap: nothing was looked at"}},
		{"broken_base", fstest.MapFS{"b.safetensors": {Data: []byte("x")}}, tree(layer), []string{
			"weights.delta.extra-tensor low layer", "gap: base model: offset 1: 1 bytes, too short for the length of a header",
		}},
		{"twice_in_one_model", tree(layer), fstest.MapFS{"1.safetensors": {Data: file(layer)}, "2.safetensors": {Data: file(layer)}}, []string{
			`gap: tensor "layer" is in "1.safetensors" as well; the first one is compared`,
		}},
		{"sharded", tree(embed, layer), fstest.MapFS{"1.safetensors": {Data: file(layer)}, "2.safetensors": {Data: file(embed)}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, workers := range []int{1, 2, 8} {
				d, err := weights.Scanner{Workers: workers}.Compare(t.Context(), tt.base, tt.derived)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, said(d)); diff != "" {
					t.Errorf("workers=%d (-want +got):\n%s", workers, diff)
				}
			}
		})
	}
}

func noise(d []float64) {
	rng := rand.New(rand.NewPCG(99, 1))
	for i := range d {
		d[i] += 0.01 * rng.NormFloat64()
	}
}

func TestDeltaStatistics(t *testing.T) {
	base := tensor{name: "t", shape: []int{2, 2}, data: []float64{3, 4, 0, math.NaN()}}
	derived := base.with(func(d []float64) { d[2] = 12 })
	d, err := weights.Scanner{}.CompareFiles(t.Context(), open("base", file(base)), open("derived", file(derived)))
	if err != nil {
		t.Fatal(err)
	}
	want := []weights.TensorDelta{{
		File: "derived", BaseFile: "base", Name: "t", DType: "F32", BaseDType: "F32", Shape: []int64{2, 2}, BaseShape: []int64{2, 2},
		Elements: 4, Changed: 1, Share: 0.25, DeltaNorm: 12, BaseNorm: 5, Relative: 2.4,
	}}
	if diff := cmp.Diff(want, d.Tensors); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d.Elements != 4 || d.Changed != 1 || d.Relative != 2.4 {
		t.Errorf("%+v", d)
	}
}

func open(name string, data []byte) weights.File {
	return weights.File{Name: name, Reader: bytes.NewReader(data), Size: int64(len(data))}
}

func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range weights.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] || !strings.HasPrefix(r.ID, "weights.") {
			t.Errorf("rule id %q", r.ID)
		}
		seen[r.ID] = true
	}
}

// The order of tensors in a file and the number of workers change nothing that
// is counted.
func TestOrderIndependence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tensors []tensor
		for i := range rapid.IntRange(1, 4).Draw(t, "tensors") {
			v := trained(uint64(i), fmt.Sprint("t", i), rapid.IntRange(1, 50).Draw(t, "rows"), rapid.IntRange(1, 40).Draw(t, "cols"))
			if rapid.Bool().Draw(t, "nan") {
				v.data[len(v.data)/2] = math.NaN()
			}
			tensors = append(tensors, v)
		}
		scan := func(workers int, tensors []tensor) map[string]weights.Tensor {
			r, err := weights.Scanner{Workers: workers}.Scan(context.Background(), tree(tensors...))
			if err != nil {
				t.Fatal(err)
			}
			out := map[string]weights.Tensor{}
			for _, s := range r.Tensors {
				out[s.Name] = s
			}
			return out
		}
		a := scan(1, tensors)
		slices.Reverse(tensors)
		if diff := cmp.Diff(a, scan(3, tensors)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// One changed byte of the weights is always a changed element.
func TestEveryChangeIsSeen(t *testing.T) {
	base := file(trained(1, "t", 8, 20))
	header := int(binary.LittleEndian.Uint64(base)) + 8
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(header, len(base)-1).Draw(t, "at")
		derived := slices.Clone(base)
		derived[at] ^= rapid.ByteRange(1, 255).Draw(t, "xor")
		d, err := weights.Scanner{}.CompareFiles(context.Background(), open("m", base), open("m", derived))
		if err != nil {
			t.Fatal(err)
		}
		if d.Changed != 1 {
			t.Fatalf("%d changed", d.Changed)
		}
	})
}

func TestAllocationBound(t *testing.T) {
	data := file(trained(1, "t", 4000, 64))
	testutil.AllocBound(t, uint64(2*len(data)+4<<20), func() {
		if _, err := (weights.Scanner{Workers: 1}).ScanFile(t.Context(), "m", bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
	})
	huge := []byte(`{"t":{"dtype":"F32","shape":[1000000000,1000000],"data_offsets":[0,4000000000000000]}}`)
	claims := append(binary.LittleEndian.AppendUint64(nil, uint64(len(huge))), huge...)
	size := 4_000_000_000_000_000 + int64(len(claims))
	testutil.AllocBound(t, 4<<20, func() { // it claims more than it has
		r, err := weights.Scanner{}.ScanFile(t.Context(), "m", bytes.NewReader(claims), size)
		if err != nil || prerun.Decide(r, prerun.Medium) != prerun.Incomplete {
			t.Errorf("%v, %v", said(r), err)
		}
	})
}

func FuzzScanFile(f *testing.F) {
	f.Add(file(trained(1, "t", 40, 16), trained(2, "b", 4).as("BF16")))
	f.Add(file(trained(1, "t", 2, 2).as("F64")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := weights.Scanner{Workers: 1}.ScanFile(t.Context(), "m", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Tensors) == 0 && len(said(r)) == 0 && !bytes.Contains(data, []byte("{")) {
			t.Fatal("silence over a file without a header")
		}
		for f := range r.Findings() {
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := json.Marshal(r.Tensors); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	for _, dtype := range []string{"F32", "BF16"} {
		b.Run(dtype, func(b *testing.B) {
			data := file(trained(1, "embed", 8192, 512).as(dtype), trained(2, "layer", 1024, 1024).as(dtype))
			r := io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (weights.Scanner{Workers: 1}).ScanFile(b.Context(), "m", r, r.Size()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompare(b *testing.B) {
	layer := trained(1, "layer", 2048, 1024)
	base, derived := file(layer), file(layer.with(noise))
	b.SetBytes(int64(len(base)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (weights.Scanner{Workers: 1}).CompareFiles(b.Context(), open("base", base), open("derived", derived)); err != nil {
			b.Fatal(err)
		}
	}
}
