package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

func fields(data []byte) (out []string, err error) {
	r := wire.NewReader(bytes.NewReader(data), int64(len(data)))
	err = r.Walk(0, int64(len(data)), func(f wire.Field) error {
		text, _, err := r.Text(f, 8)
		out = append(out, fmt.Sprintf("%d/%d %d %q", f.Num, f.Type, f.Value, text))
		return err
	})
	return out, err
}

// TestWalk crosses the window several times, in a message whose long fields
// are skipped.
func TestWalk(t *testing.T) {
	var m build.Proto
	var want []string
	for i := range 50 {
		m = m.Int(1, uint64(i)).Bytes(2, []byte(fmt.Sprintf("%04d", i)+strings.Repeat("x", 997*i)))
		text := fmt.Sprintf("%04d", i)
		if i > 0 {
			text += "xxxx"
		}
		want = append(want, fmt.Sprintf(`1/0 %d ""`, i), fmt.Sprintf("2/2 0 %q", text))
	}
	m = protowire.AppendFixed32(protowire.AppendTag(m, 3, protowire.Fixed32Type), 7)
	m = protowire.AppendFixed64(protowire.AppendTag(m, 4, protowire.Fixed64Type), 8)
	got, err := fields(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(want, `3/5 7 ""`, `4/1 8 ""`), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMalformed(t *testing.T) {
	for name, data := range map[string][]byte{
		"cut_tag":    {0x80},
		"cut_varint": {0x08, 0x80},
		"cut_fixed":  {0x0d, 1, 2},
		"long":       {0x12, 5, 'a'},
		"huge":       append([]byte{0x12}, bytes.Repeat([]byte{0xff}, 9)...),
		"group":      {0x0b},
		"zero":       {0, 0},
	} {
		if _, err := fields(data); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte(build.Proto(nil).Int(1, 300).Text(2, "abc").Bytes(3, build.Proto(nil).Int(1, 1))))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := int64(len(data))
		r := wire.NewReader(bytes.NewReader(data), size)
		last := int64(-1)
		r.Walk(0, size, func(f wire.Field) error {
			if f.At <= last || f.Type == wire.Bytes && (f.Len < 0 || f.End() > size) {
				t.Errorf("field at %d after %d, %d bytes at %d of %d", f.At, last, f.Len, f.Off, size)
			}
			last = f.At
			return nil
		})
	})
}

// TestHead sees the tag of a field that reaches beyond what is at hand.
func TestHead(t *testing.T) {
	m := build.Proto(nil).Int(1, 9).Text(2, "abc").Bytes(3, make([]byte, 100)).Int(4, 1)
	for _, tt := range []struct {
		name string
		head []byte
		size int
		want string
		ok   bool
	}{
		{"whole", m, len(m), "1 2 3 4 ", true},
		{"long_field", m[:20], len(m), "1 2 3 ", true},
		{"cut_in_tag", m[:8], len(m), "1 2 ", true},
		{"cut_file", m[:20], 20, "1 2 ", false},
		{"malformed", []byte("\x08\x01\x00"), 3, "1 ", false},
		{"empty", nil, 0, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			ok := wire.Head(tt.head, int64(tt.size), func(f wire.Field) bool {
				got += fmt.Sprint(f.Num, " ")
				return true
			})
			if got != tt.want || ok != tt.ok {
				t.Errorf("%q %v, want %q %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}
