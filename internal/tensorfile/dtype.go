package tensorfile

// A DType is the type of the elements of a tensor.
type DType uint8

// Element types. Opaque stands for NumPy types that hold no plain numbers
// (strings, dates, records); their size is in [Array.ItemSize].
const (
	InvalidDType DType = iota
	Bool
	U8
	I8
	U16
	I16
	U32
	I32
	U64
	I64
	F16
	BF16
	F32
	F64
	F8E4M3
	F8E5M2
	F8E8M0
	F8E4M3FNUZ
	F8E5M2FNUZ
	F6E2M3
	F6E3M2
	F4
	C64
	C128   // NumPy only
	Object // NumPy only: the data is a pickle
	Opaque // NumPy only
	dtypeCount
)

// dtypes has the name that safetensors uses, or for NumPy's own types one of
// ours, and the bits of one element.
var dtypes = [dtypeCount]struct {
	name string
	bits int64
}{
	InvalidDType: {"invalid", 0},
	Bool:         {"BOOL", 8},
	U8:           {"U8", 8},
	I8:           {"I8", 8},
	U16:          {"U16", 16},
	I16:          {"I16", 16},
	U32:          {"U32", 32},
	I32:          {"I32", 32},
	U64:          {"U64", 64},
	I64:          {"I64", 64},
	F16:          {"F16", 16},
	BF16:         {"BF16", 16},
	F32:          {"F32", 32},
	F64:          {"F64", 64},
	F8E4M3:       {"F8_E4M3", 8},
	F8E5M2:       {"F8_E5M2", 8},
	F8E8M0:       {"F8_E8M0", 8},
	F8E4M3FNUZ:   {"F8_E4M3FNUZ", 8},
	F8E5M2FNUZ:   {"F8_E5M2FNUZ", 8},
	F6E2M3:       {"F6_E2M3", 6},
	F6E3M2:       {"F6_E3M2", 6},
	F4:           {"F4", 4},
	C64:          {"C64", 64},
	C128:         {"C128", 128},
	Object:       {"object", 0},
	Opaque:       {"opaque", 0},
}

// ParseDType returns the type that safetensors calls name, or InvalidDType.
func ParseDType(name string) DType {
	for d := Bool; d <= C64; d++ {
		if dtypes[d].name == name {
			return d
		}
	}
	return InvalidDType
}

// String is the name that safetensors uses.
func (d DType) String() string {
	if d < dtypeCount {
		return dtypes[d].name
	}
	return dtypes[InvalidDType].name
}

// Bits is the size of one element, 0 when the type does not fix it.
func (d DType) Bits() int64 {
	if d < dtypeCount {
		return dtypes[d].bits
	}
	return 0
}

// Float reports whether elements are real floating-point numbers, which can be
// NaN.
func (d DType) Float() bool {
	switch d {
	case F16, BF16, F32, F64, F8E4M3, F8E5M2, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ, F6E2M3, F6E3M2, F4:
		return true
	}
	return false
}

// Decodable reports whether [Float32] and [Float64] decode the type. The 4- and
// 6-bit types are not: their packing is up to the program that wrote them.
func (d DType) Decodable() bool { return d >= Bool && d <= F8E5M2FNUZ }
