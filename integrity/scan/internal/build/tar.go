package build

import (
	"bytes"
	"fmt"
	"strconv"
)

// PAX is the content of an extended header of tar: keys and values.
func PAX(pairs ...string) (out []byte) {
	for i := 0; i < len(pairs); i += 2 {
		rec := fmt.Sprintf(" %s=%s\n", pairs[i], pairs[i+1])
		n := len(rec) + 1
		for len(strconv.Itoa(n))+len(rec) != n {
			n++
		}
		out = append(out, strconv.Itoa(n)+rec...)
	}
	return out
}

// PatchTar writes over the first header of a tar archive, at that offset, and
// makes its checksum right.
func PatchTar(archive []byte, at int, field string) []byte {
	out := bytes.Clone(archive)
	copy(out[at:], field)
	copy(out[148:], "        ")
	sum := 0
	for _, c := range out[:512] {
		sum += int(c)
	}
	copy(out[148:], fmt.Sprintf("%06o\x00 ", sum))
	return out
}

// OctalTar is a number as headers of tar have it, in 12 bytes.
func OctalTar(n int) []byte { return fmt.Appendf(nil, "%011o\x00", n) }
