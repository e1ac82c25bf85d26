package build

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"

	"github.com/ulikunitz/xz/lzma"
)

// A SevenZip is a 7z archive of one folder. Its zero fields are those of an
// honest archive whose content is stored.
type SevenZip struct {
	Members []SevenZipMember

	Codec    []byte // id; nil means copy, LZMA2 packs
	Props    []byte // of the codec
	Prefix   []byte // packed bytes before the folder that nothing uses
	Suffix   []byte // after the header
	PackHead bool   // packs the header with LZMA2
	WrongCRC bool   // of the members
	BadHead  bool   // a wrong checksum of the header
}

// A SevenZipMember is one file.
type SevenZipMember struct {
	Name     string
	Data     []byte
	UnixMode uint32 // file type and permissions
}

// LZMA2Codec is the id of LZMA2.
var LZMA2Codec = []byte{0x21}

// Bytes builds the archive.
func (z SevenZip) Bytes() []byte {
	var content []byte
	for _, m := range z.Members {
		content = append(content, m.Data...)
	}
	packed := content
	if bytes.Equal(z.Codec, LZMA2Codec) {
		packed = LZMA2(content)
		z.Props = []byte{8} // 64 KiB
	}
	body := append(bytes.Clone(z.Prefix), packed...)
	h := []byte{1}
	if len(z.Members) > 0 {
		h = append(h, 4)
		h = append(h, z.streams(len(z.Prefix), len(packed), len(content))...)
	}
	h = append(h, 5)
	h = append(number(h, len(z.Members)), 0x11)
	names := []byte{0}
	for _, m := range z.Members {
		for _, u := range append(utf16.Encode([]rune(m.Name)), 0) {
			names = le.AppendUint16(names, u)
		}
	}
	h = append(number(h, len(names)), names...)
	h = append(h, 0x15)
	h = append(number(h, 2+4*len(z.Members)), 1, 0)
	for _, m := range z.Members {
		h = le.AppendUint32(h, m.UnixMode<<16|0x8000)
	}
	h = append(h, 0, 0)
	if z.PackHead {
		p := LZMA2(h)
		e := number(number([]byte{0x17, 6}, len(body)), 1)
		e = append(number(append(e, 9), len(p)), 0, 7, 0x0b, 1, 0, 1, 0x21, 0x21, 1, 8, 0x0c)
		e = append(number(e, len(h)), 0x0a, 1)
		e = append(le.AppendUint32(e, crc32.ChecksumIEEE(h)), 0, 0)
		body, h = append(body, p...), e
	}
	var start []byte
	start = le.AppendUint64(start, uint64(len(body)))
	start = le.AppendUint64(start, uint64(len(h)))
	sum := crc32.ChecksumIEEE(h)
	if z.BadHead {
		sum ^= 1
	}
	start = le.AppendUint32(start, sum)
	out := append([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), le.AppendUint32(nil, crc32.ChecksumIEEE(start))...)
	return append(append(append(append(out, start...), body...), h...), z.Suffix...)
}

// streams describes one folder that all members share.
func (z SevenZip) streams(at, packed, size int) []byte {
	codec := z.Codec
	if codec == nil {
		codec = []byte{0}
	}
	b := number(number([]byte{6}, at), 1)
	b = append(number(append(b, 9), packed), 0, 7, 0x0b, 1, 0, 1, byte(len(codec))|0x20)
	b = append(b, codec...)
	b = append(number(b, len(z.Props)), z.Props...)
	b = append(number(append(b, 0x0c), size), 0, 8, 0x0d)
	b = append(number(b, len(z.Members)), 9)
	for _, m := range z.Members[:len(z.Members)-1] {
		b = number(b, len(m.Data))
	}
	b = append(b, 0x0a, 1)
	for _, m := range z.Members {
		sum := crc32.ChecksumIEEE(m.Data)
		if z.WrongCRC {
			sum ^= 1
		}
		b = le.AppendUint32(b, sum)
	}
	return append(b, 0, 0)
}

// number writes an integer as the format does, in nine bytes when it is large.
func number(b []byte, n int) []byte {
	if n < 0x80 {
		return append(b, byte(n))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0xff), uint64(n))
}

// LZMA2 packs with the module that also unpacks.
func LZMA2(data []byte) []byte {
	var out bytes.Buffer
	w, err := lzma.Writer2Config{DictCap: 1 << 16}.NewWriter2(&out)
	if err != nil {
		panic(err)
	}
	w.Write(data)
	w.Close()
	return out.Bytes()
}
