package filter_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/prerun/prerun/integrity/scan/internal/filter"
)

// TestX86 turns targets back that were made absolute: of a call at the start,
// of one across the reads, and none of what is no instruction.
func TestX86(t *testing.T) {
	call := func(target uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{0xe8}, target) }
	pad := make([]byte, 40_000)
	for i := range pad {
		pad[i] = 0x90
	}
	for _, tt := range []struct {
		name     string
		in, want []byte
	}{
		{"empty", nil, nil},
		{"short", []byte{0xe8, 1, 2}, []byte{0xe8, 1, 2}},
		{"call", call(0x105), call(0x100)},
		{"backwards", call(1), call(0xfffffffc)},
		{"far", call(0x12345678), call(0x12345678)},
		{"late", append(bytes.Clone(pad), call(40_005+7)...), append(bytes.Clone(pad), call(7)...)},
		{"two", append(call(0x105), call(0x10a)...), append(call(0x100), call(0x100)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(tt.in), iotest.OneByteReader(bytes.NewReader(tt.in)), iotest.DataErrReader(bytes.NewReader(tt.in))} {
				got, err := io.ReadAll(filter.NewX86(r))
				if err != nil || !bytes.Equal(got, tt.want) {
					t.Errorf("%x, %v", got[max(0, len(got)-20):], err)
				}
			}
		})
	}
	broken := errors.New("broken")
	got, err := io.ReadAll(filter.NewX86(io.MultiReader(bytes.NewReader(pad[:9]), iotest.ErrReader(broken))))
	if len(got) != 9 || !errors.Is(err, broken) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
