package flatbuf_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/internal/testutil"
)

func open(data []byte) *flatbuf.Buffer {
	return flatbuf.New(bytes.NewReader(data), int64(len(data)))
}

func sample() []byte {
	return build.FlatBuffer("TEST", nil, build.Flat{
		0: uint8(5),
		1: int32(-3),
		2: uint64(1 << 40),
		3: "text",
		4: []int32{1, -2},
		5: []build.Flat{{0: uint32(7)}, {}},
		7: []byte("blob"),
		8: build.Flat{1: []uint64{9}},
	})
}

func TestAccessors(t *testing.T) {
	b := open(sample())
	root := b.Root()
	list, numbers := root.Vector(5, 4), root.Vector(4, 4)
	blob := root.Blob(7)
	got := []any{
		root.Uint8(0, 0), root.Int32(1, 0), root.Uint64(2, 0), root.Text(3, 100), root.Text(3, 2), numbers.Len(), numbers.Int32(1),
		list.Len(), list.Table(0).Uint32(0, 0), list.Table(1).Uint32(0, 8), root.Has(6), root.Has(99), string(sample()[blob.Off:blob.End()]),
		root.Table(8).Vector(1, 8).Uint64(0), root.Table(6).IsZero(), root.Text(99, 9), root.Uint8(99, 4), numbers.Uint32(2), numbers.Uint64(0),
	}
	want := []any{
		uint8(5), int32(-3), uint64(1 << 40), "text", "te", int64(2), int32(-2),
		int64(2), uint32(7), uint32(8), false, false, "blob",
		uint64(9), true, "", uint8(4), uint32(0), uint64(0),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b.Err() != nil {
		t.Error(b.Err())
	}
}

// TestUsed says which bytes the walk did not meet: those of the blob.
func TestUsed(t *testing.T) {
	data := build.FlatBuffer("TEST", nil, build.Flat{0: make([]byte, 1000), 1: "text"})
	b := open(data)
	root := b.Root()
	blob := root.Blob(0)
	root.Text(1, 10)
	if got := b.Used(); len(got) != 2 || got[0].End() != blob.Off || got[1].Off != blob.End() || got[1].End() != int64(len(data)) {
		t.Errorf("used %v around %v", got, blob)
	}
	b.Use(blob.Off, blob.Len)
	if got := b.Used(); !slices.Equal(got, []flatbuf.Range{{Off: 0, Len: int64(len(data))}}) {
		t.Errorf("used %v", got)
	}
	b.Use(0, 1<<40)
	if !errors.Is(b.Err(), flatbuf.ErrMalformed) {
		t.Errorf("a range outside: %v", b.Err())
	}
}

func TestMalformed(t *testing.T) {
	set := func(at int, v byte) []byte {
		data := sample()
		data[at] = v
		return data
	}
	deep := build.Flat{}
	for range 100 {
		deep = build.Flat{8: deep}
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "root reference of 4 bytes"},
		{"root_outside", set(3, 0x7f), "table of 4 bytes, the file has"},
		{"vtable_odd", set(8, 7), "vtable of 7 bytes"},
		{"vtable_empty", set(8, 0), "vtable of 0 bytes"},
		{"table_size", set(11, 0xff), "table of"},
		{"field_outside", set(13, 0xff), "field 0 lies at"},
		{"field_in_header", set(12, 1), "field 0 lies at 1"},
		{"text_reference", func() []byte {
			data := sample()
			i := bytes.Index(data, []byte("text")) - 4
			data[i+3] = 0x7f
			return data
		}(), "string of"},
		{"cut", sample()[:40], "of"},
		{"deep", build.FlatBuffer("TEST", nil, deep), "nest deeper than 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(tt.data)
			walk(b.Root())
			if err := b.Err(); !errors.Is(err, flatbuf.ErrMalformed) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "offset ") {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if r := b.Root(); !r.IsZero() || r.Text(3, 4) != "" || r.Vector(4, 4).Len() != 0 {
				t.Error("a buffer with an error still answers")
			}
		})
	}
}

// TestShared makes one table look like many.
func TestShared(t *testing.T) {
	data := build.FlatBuffer("TEST", nil, build.Flat{0: []build.Flat{{}, {}}})
	data = append(data, make([]byte, 4000)...)
	b := open(data)
	list := b.Root().Vector(0, 4)
	n := 0
	for range 1 << 20 {
		if list.Table(0).IsZero() {
			break
		}
		n++
	}
	if n > len(data) || !errors.Is(b.Err(), flatbuf.ErrMalformed) {
		t.Errorf("%d tables of %d bytes: %v", n, len(data), b.Err())
	}
}

// walk asks every slot for what the sample has there.
func walk(t flatbuf.Table) {
	if t.IsZero() {
		return
	}
	for slot := range 10 {
		switch slot {
		case 0:
			t.Uint8(slot, 0)
		case 1:
			t.Int32(slot, 0)
		case 2:
			t.Uint64(slot, 0)
		case 3:
			t.Text(slot, 100)
		case 4:
			v := t.Vector(slot, 4)
			for i := range min(v.Len(), 100) {
				v.Uint32(i)
			}
		case 5:
			v := t.Vector(slot, 4)
			for i := range min(v.Len(), 100) {
				v.Table(i).Uint32(0, 0)
			}
		case 7:
			t.Blob(slot)
		case 8:
			walk(t.Table(slot))
		}
	}
}

func TestFlexTexts(t *testing.T) {
	// As TensorFlow Lite's converter writes the options of an operator.
	real := "\x03Erf\x00\x17\x12\x03Erf\x1a\x00*\x07\n\x01T\x12\x020\x012\x05\n\x03Erf\x00\x02\x1e\x1a\x14\x14\x04(\x01"
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name string
		data string
		want []string
	}{
		{"converter", real, []string{"Erf", "\x12\x03Erf\x1a\x00*\x07\n\x01T\x12\x020\x012\x05\n\x03Erf"}},
		{"built", string(build.FlexTexts("a", "")), []string{"a", ""}},
		{"wide", string(build.FlexTexts(long, "b")), []string{long, "b"}},
		{"number", "\x01\x07\x04\x02\x28\x01", []string{""}},
		{"typed", "\x01a\x00\x01\x03\x01\x38\x01", []string{"a"}},

		{"empty", "", nil},
		{"short", "\x28\x01", nil},
		{"no_vector", "\x01\x14\x01", nil},
		{"root_width", "\x00\x00\x28\x03", nil},
		{"root_reference", "\x09\x28\x01", nil},
		{"count", "\xff\x01\x14\x02\x28\x01", nil},
		{"text_reference", "\x01\x40\x14\x02\x28\x01", nil},
		{"text_length", "\x40a\x00\x01\x03\x14\x02\x28\x01", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := flatbuf.FlexTexts([]byte(tt.data))
			if tt.want == nil {
				if !errors.Is(err, flatbuf.ErrMalformed) {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, b := range got {
				texts = append(texts, string(b))
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzFlex(f *testing.F) {
	f.Add(build.FlexTexts("a", "bc"))
	f.Add([]byte("\x01a\x00\x01\x03\x01\x38\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		texts, err := flatbuf.FlexTexts(data)
		if err != nil && !errors.Is(err, flatbuf.ErrMalformed) {
			t.Error(err)
		}
		if len(texts) > len(data) {
			t.Errorf("%d texts in %d bytes", len(texts), len(data))
		}
	})
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// TestReadError passes on what the reader says, and a size that was a lie.
func TestReadError(t *testing.T) {
	b := flatbuf.New(failing{}, 100)
	if b.Root(); !errors.Is(b.Err(), io.ErrClosedPipe) {
		t.Error(b.Err())
	}
	b = flatbuf.New(bytes.NewReader(make([]byte, 10)), 100)
	if b.Root(); !errors.Is(b.Err(), io.ErrUnexpectedEOF) {
		t.Error(b.Err())
	}
}

// TestAlloc holds a walk over 8 MiB to its cache and its ranges.
func TestAlloc(t *testing.T) {
	list := make([]build.Flat, 1<<16)
	for i := range list {
		list[i] = build.Flat{0: make([]byte, 100)}
	}
	data := build.FlatBuffer("TEST", nil, build.Flat{5: list})
	testutil.AllocBound(t, flatbuf.PageSize*flatbuf.Pages+8<<20, func() {
		b := open(data)
		v := b.Root().Vector(5, 4)
		for i := range v.Len() {
			v.Table(i).Blob(0)
		}
		if b.Err() != nil || v.Len() != 1<<16 {
			t.Error(b.Err())
		}
	})
}

func FuzzFlat(f *testing.F) {
	f.Add(sample())
	f.Add(build.TFLite(make([]byte, 8), nil, "X"))
	f.Add(build.ExecuTorch([]string{"aten::a"}, []string{"B"}, nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := open(data)
		walk(b.Root())
		end := int64(0)
		for _, r := range b.Used() {
			if r.Off < end || r.Len <= 0 || r.End() > int64(len(data)) {
				t.Errorf("range %+v of %d bytes, the last one ended at %d", r, len(data), end)
			}
			end = r.End()
		}
	})
}
