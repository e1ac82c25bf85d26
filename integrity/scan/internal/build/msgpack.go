package build

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// A Msgpack is a MessagePack value being written.
type Msgpack []byte

// Map is a map of alternating keys and values.
func Map(pairs ...Msgpack) Msgpack {
	return slices.Concat(append([]Msgpack{be.AppendUint16([]byte{0xde}, uint16(len(pairs)/2))}, pairs...)...)
}

// List is an array.
func List(items ...Msgpack) Msgpack {
	return slices.Concat(append([]Msgpack{be.AppendUint16([]byte{0xdc}, uint16(len(items)))}, items...)...)
}

// Str is a text.
func Str(s string) Msgpack {
	return append(be.AppendUint16([]byte{0xda}, uint16(len(s))), s...)
}

// Bin is a byte string.
func Bin(b []byte) Msgpack { return append(be.AppendUint32([]byte{0xc6}, uint32(len(b))), b...) }

// Uint is a natural number.
func Uint(n uint64) Msgpack { return be.AppendUint64([]byte{0xcf}, n) }

// Ext is an extension.
func Ext(code int8, data []byte) Msgpack {
	return append(append(be.AppendUint32([]byte{0xc9}, uint32(len(data))), byte(code)), data...)
}

// NDArray is an array as Flax writes it.
func NDArray(dtype string, data []byte, shape ...uint64) Msgpack {
	var dims []Msgpack
	for _, d := range shape {
		dims = append(dims, Uint(d))
	}
	return Ext(1, List(List(dims...), Str(dtype), Bin(data)))
}

// OCDBT is an uncompressed manifest of TensorStore's database that names data
// files, without sharing prefixes.
func OCDBT(paths ...string) []byte {
	body := append(make([]byte, 16), 0, 100, 100, 4, 0)
	body = binary.AppendUvarint(body, uint64(len(paths)))
	for range max(len(paths), 1) - 1 {
		body = append(body, 0)
	}
	for _, p := range paths {
		body = binary.AppendUvarint(body, uint64(len(p)))
	}
	for range paths {
		body = append(body, 0)
	}
	for _, p := range paths {
		body = append(body, p...)
	}
	return OCDBTBody(0, append(body, 0, 0))
}

// OCDBTBody is a manifest with that body.
func OCDBTBody(compression byte, body []byte) []byte {
	out := be.AppendUint32(nil, 0x0cdb3a2a)
	out = le.AppendUint64(out, uint64(12+2+len(body)+4))
	out = append(append(out, 0, compression), body...)
	return le.AppendUint32(out, crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
}
