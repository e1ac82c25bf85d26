package tensorfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/x448/float16"
)

// Float32 decodes len(dst) elements from src, which must hold exactly that
// many. Integers beyond 2^24 and F64 values are rounded; F64 values out of range become
// infinite. Booleans are 0 and 1, and any other byte is 1 as well.
func Float32(dst []float32, src []byte, d DType, bigEndian bool) error {
	if err := checkDecode(len(dst), len(src), d); err != nil {
		return err
	}
	if bigEndian {
		src = swapped(src, int(d.Bits()/8))
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		table := halfTable()
		for i := range dst {
			dst[i] = table[binary.LittleEndian.Uint16(src[2*i:])]
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case U16, I16, U32, I32, U64, I64:
		integers(dst, src, d)
	default:
		table := byteTable(d)
		for i := range dst {
			dst[i] = table[src[i]]
		}
	}
	return nil
}

// Float64 is [Float32] in double precision; only 64-bit integers beyond 2^53
// are rounded.
func Float64(dst []float64, src []byte, d DType, bigEndian bool) error {
	if err := checkDecode(len(dst), len(src), d); err != nil {
		return err
	}
	if bigEndian {
		src = swapped(src, int(d.Bits()/8))
	}
	switch d {
	case F64:
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case F32:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case F16:
		table := halfTable()
		for i := range dst {
			dst[i] = float64(table[binary.LittleEndian.Uint16(src[2*i:])])
		}
	case BF16:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16))
		}
	case U16, I16, U32, I32, U64, I64:
		integers(dst, src, d)
	default:
		table := byteTable(d)
		for i := range dst {
			dst[i] = float64(table[src[i]])
		}
	}
	return nil
}

func checkDecode(elems, bytes int, d DType) error {
	if !d.Decodable() {
		return fmt.Errorf("elements of type %s: %w", d, ErrUnsupported)
	}
	if int64(bytes) != int64(elems)*d.Bits()/8 {
		return fmt.Errorf("%d bytes for %d elements of type %s", bytes, elems, d)
	}
	return nil
}

func integers[T float32 | float64](dst []T, src []byte, d DType) {
	switch d {
	case U16:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case I16:
		for i := range dst {
			dst[i] = T(int16(binary.LittleEndian.Uint16(src[2*i:])))
		}
	case U32:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case I32:
		for i := range dst {
			dst[i] = T(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case U64:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case I64:
		for i := range dst {
			dst[i] = T(int64(binary.LittleEndian.Uint64(src[8*i:])))
		}
	}
}

// swapped is a copy with the bytes of each element reversed. Big-endian files
// are rare enough to pay for the copy.
func swapped(src []byte, size int) []byte {
	out := make([]byte, len(src))
	for i := 0; i+size <= len(src); i += size {
		for j := range size {
			out[i+j] = src[i+size-1-j]
		}
	}
	return out
}

// halfTable maps all codes of IEEE binary16. A table is three times as fast as
// converting each element.
var halfTable = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = float16.Frombits(uint16(i)).Float32()
	}
	return t
})

func byteTable(d DType) *[256]float32 { return &byteTables()[d] }

var byteTables = sync.OnceValue(func() *[dtypeCount][256]float32 {
	t := new([dtypeCount][256]float32)
	for i := range 256 {
		b := byte(i)
		t[U8][i] = float32(b)
		t[I8][i] = float32(int8(b))
		t[F8E4M3][i] = float8(b, 3, 7, b&0x7f == 0x7f)
		t[F8E4M3FNUZ][i] = float8(b, 3, 8, b == 0x80)
		t[F8E5M2FNUZ][i] = float8(b, 2, 16, b == 0x80)
		t[F8E5M2][i] = float16.Frombits(uint16(b) << 8).Float32() // the high byte of binary16
		t[F8E8M0][i] = float32(math.Ldexp(1, i-127))
		if b != 0 {
			t[Bool][i] = 1
		}
	}
	t[F8E8M0][255] = float32(math.NaN())
	return t
})

// float8 decodes a finite-only 8-bit float with that many mantissa bits.
func float8(b byte, mantissa, bias int, nan bool) float32 {
	if nan {
		return float32(math.NaN())
	}
	frac := float64(b & (1<<mantissa - 1))
	exp := int(b&0x7f) >> mantissa
	if exp == 0 {
		exp = 1 // subnormal
	} else {
		frac += float64(int(1) << mantissa)
	}
	return float32(math.Copysign(math.Ldexp(frac, exp-bias-mantissa), float64(int8(b))))
}

// ReadFloat32 decodes len(dst) elements of t, starting with element first. The
// range must lie inside the tensor.
func ReadFloat32(r io.ReaderAt, t *Tensor, first int64, dst []float32) error {
	return readElements(r, t, first, dst, Float32)
}

// ReadFloat64 is [ReadFloat32] in double precision.
func ReadFloat64(r io.ReaderAt, t *Tensor, first int64, dst []float64) error {
	return readElements(r, t, first, dst, Float64)
}

// windowBytes is what is read at once; it divides by every element size.
const windowBytes = 64 << 10

var windows = sync.Pool{New: func() any { return new([windowBytes]byte) }}

func readElements[T float32 | float64](r io.ReaderAt, t *Tensor, first int64, dst []T,
	decode func([]T, []byte, DType, bool) error,
) error {
	if !t.DType.Decodable() {
		return &Error{Offset: t.Offset, Tensor: t.Name, Class: ErrUnsupported, Msg: fmt.Sprintf("elements of type %s are not decoded", t.DType)}
	}
	if n := t.Elements(); first < 0 || first > n || int64(len(dst)) > n-first {
		return &Error{
			Offset: t.Offset, Tensor: t.Name, Class: ErrMalformed,
			Msg: fmt.Sprintf("elements %d to %d of %d", first, first+int64(len(dst)), n),
		}
	}
	size := t.DType.Bits() / 8
	buf := windows.Get().(*[windowBytes]byte)
	defer windows.Put(buf)
	for at := t.Offset + first*size; len(dst) > 0; {
		n := min(len(dst), windowBytes/int(size))
		b := buf[:n*int(size)]
		if _, err := readFull(r, b, at); err != nil {
			return err
		}
		if err := decode(dst[:n], b, t.DType, t.BigEndian); err != nil {
			return err
		}
		dst, at = dst[n:], at+int64(len(b))
	}
	return nil
}
