package flatbuf

import (
	"encoding/binary"
	"fmt"
)

// maxFlex bounds the elements of a vector that [FlexTexts] reads.
const maxFlex = 1 << 16

// FlexTexts reads a FlexBuffer, which is the form without a schema, whose root
// is a vector, and returns its strings and blobs in order; elements of other
// types are empty. Nothing is copied.
func FlexTexts(p []byte) ([][]byte, error) {
	f := flex(p)
	end := len(p)
	if end < 3 {
		return nil, f.malformed(0, "%d bytes", end)
	}
	width, packed := int(p[end-1]), p[end-2]
	at, err := f.follow(end-2-width, width)
	if err != nil {
		return nil, err
	}
	elem := 1 << (packed & 3)
	typed := packed>>2 == 13 || packed>>2 == 14 // of keys, of strings
	if packed>>2 != 10 && !typed {
		return nil, f.malformed(end-2, "type %d at the root", packed>>2)
	}
	n, err := f.number(at-elem, elem)
	if err != nil {
		return nil, err
	}
	room := elem + 1 // of an element and its type
	if typed {
		room = elem
	}
	if n > maxFlex || int(n)*room > end-at {
		return nil, f.malformed(at, "vector of %d elements", n)
	}
	texts := make([][]byte, n)
	for i := range texts {
		kind := byte(5 << 2)
		if typed {
			kind |= packed & 3
		} else {
			kind = p[at+int(n)*elem+i]
		}
		if k := kind >> 2; k != 5 && k != 25 { // strings, blobs
			continue
		}
		to, err := f.follow(at+i*elem, elem)
		if err != nil {
			return nil, err
		}
		inner := 1 << (kind & 3)
		size, err := f.number(to-inner, inner)
		if err != nil {
			return nil, err
		}
		if size > uint64(end-to) {
			return nil, f.malformed(to, "text of %d bytes", size)
		}
		texts[i] = p[to : to+int(size)]
	}
	return texts, nil
}

type flex []byte

func (f flex) malformed(off int, format string, args ...any) error {
	return fmt.Errorf("offset %d: %s: %w", off, fmt.Sprintf(format, args...), ErrMalformed)
}

// number reads an unsigned number of 1, 2, 4 or 8 bytes.
func (f flex) number(off, width int) (uint64, error) {
	if off < 0 || width > len(f)-off {
		return 0, f.malformed(off, "number of %d bytes", width)
	}
	p := f[off:]
	switch width {
	case 1:
		return uint64(p[0]), nil
	case 2:
		return uint64(binary.LittleEndian.Uint16(p)), nil
	case 4:
		return uint64(binary.LittleEndian.Uint32(p)), nil
	case 8:
		return binary.LittleEndian.Uint64(p), nil
	}
	return 0, f.malformed(off, "number of %d bytes", width)
}

// follow resolves a reference, which leads back.
func (f flex) follow(off, width int) (int, error) {
	n, err := f.number(off, width)
	if err != nil {
		return 0, err
	}
	if n == 0 || n > uint64(off) {
		return 0, f.malformed(off, "reference %d bytes back", n)
	}
	return off - int(n), nil
}
