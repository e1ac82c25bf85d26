package tardir

import (
	"bytes"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// A plain is one header block.
type plain struct {
	name, other string
	link        string
	kind        byte
	dir         bool
	size        int64
	at, dataAt  int64
	odd         string
}

func parse(block []byte, off int64) plain {
	h := plain{
		name: text(block[:100]), link: text(block[157:257]), kind: block[156],
		at: off, dataAt: off + BlockSize,
	}
	size, ordinary, _ := number(block[124:136])
	if h.size = size; size < 0 && size > -BlockSize {
		h.size = 0 // Python goes on behind the header
	}
	if !ordinary {
		h.odd = "its size is written as no ordinary writer does, and readers take it differently"
	} else if _, ordinary, _ := number(block[148:156]); !ordinary {
		h.odd = "its checksum is written as no ordinary writer does, and some readers refuse it"
	}
	h.dir = h.kind == '5' || h.kind == 0 && strings.HasSuffix(h.name, "/")
	h.other = h.name
	if prefix := text(block[345:500]); prefix != "" && strings.IndexByte("LKS", h.kind) < 0 {
		// GNU keeps times there, which Python takes for a prefix all the same.
		if h.other = prefix + "/" + h.name; string(block[257:263]) == "ustar\x00" {
			h.name = h.other
		}
	}
	return h
}

func (h plain) mode() fs.FileMode {
	switch h.kind {
	case '2':
		return fs.ModeSymlink
	case '3':
		return fs.ModeDevice | fs.ModeCharDevice
	case '4':
		return fs.ModeDevice
	case '6':
		return fs.ModeNamedPipe
	}
	if h.dir {
		return fs.ModeDir
	}
	return 0
}

func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// checksums are the sums with the checksum field as spaces; old writers summed
// signed bytes.
func checksums(block []byte) (unsigned, signed int64) {
	for i, c := range block {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

// number reads a field as Python does: base 256, or the text up to the first
// NUL as an octal number in Python's notation. ordinary reports that all readers
// take it for the same.
func number(field []byte) (n int64, ordinary, ok bool) {
	if c := field[0]; c == 0x80 || c == 0xff {
		ordinary = c == 0x80
		for _, b := range field[1:] {
			if n > 1<<54 {
				return 0, false, false
			}
			n = n<<8 | int64(b)
		}
		if c == 0xff { // a negative number, of as many bytes as there are
			n = 0
			for _, b := range field[max(1, len(field)-8):] {
				n = n<<8 | int64(b)
			}
			if n > 0 || n < -1<<54 {
				return 0, false, false
			}
		}
		return n, ordinary, true
	}
	head, tail, _ := bytes.Cut(field, []byte{0})
	s := string(head)
	n, ordinary, ok = pyInt(s, 8)
	// Some readers skip NUL bytes before a number.
	ordinary = ordinary && (strings.TrimLeft(s, " ") != "" || len(bytes.Trim(tail, "\x00 ")) == 0)
	return n, ordinary, ok
}

// pyInt reads an ASCII number as Python's int does: white space around it, a
// sign, the prefix of octal numbers, underscores between digits. Nothing at all
// is zero. plain reports that it has nothing of the kind but spaces.
func pyInt(s string, base int) (n int64, plain, ok bool) {
	digits := strings.Trim(s, " ")
	plain = digits == "" || strings.Trim(digits, "0123456789") == ""
	digits = strings.Trim(s, " \t\n\v\f\r\x1c\x1d\x1e\x1f")
	if digits == "" {
		return 0, plain, base == 8
	}
	negative := digits[0] == '-'
	if negative || digits[0] == '+' {
		digits = digits[1:]
	}
	if base == 8 && (strings.HasPrefix(digits, "0o") || strings.HasPrefix(digits, "0O")) {
		digits = strings.TrimPrefix(digits[2:], "_")
	}
	if digits == "" || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return 0, plain, false
	}
	u, err := strconv.ParseUint(strings.ReplaceAll(digits, "_", ""), base, 62)
	if err != nil || u > math.MaxInt64/2 {
		return 0, plain, false
	}
	if n = int64(u); negative {
		n = -n
	}
	return n, plain, true
}
