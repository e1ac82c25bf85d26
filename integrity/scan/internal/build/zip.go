// Package build writes the files that the tests of package scan read: small
// models, and archives that are wrong in exactly one way. It is imported by
// tests only.
package build

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"

	"github.com/ulikunitz/xz/lzma"
)

var le = binary.LittleEndian

// A Member is one entry of [Zip]. Its zero fields are those of an honest,
// stored member.
type Member struct {
	Name   string
	Data   []byte
	Method uint16 // 0, 8, or 14, of which flag 2 says that the stream has an end mark

	Local     string // name in the local header, when it differs
	Flags     uint16 // in both headers
	WrongCRC  bool
	SizeDelta int32  // added to the claimed size in the directory
	UnixMode  uint32 // file type and permissions
	Hidden    bool   // no directory entry
	NoLocal   bool   // the directory entry leads to no header
	Same      int    // when > 0: shares the local header of that member, counted from 1
}

// An Archive is a zip archive to be.
type Archive struct {
	Members    []Member
	Prefix     []byte // before the first member; offsets do not count it
	Suffix     []byte // after the end record
	Comment    []byte
	CountDelta int  // added to the number of members in the end record
	NoEnd      bool // neither directory nor end record
}

// Zip builds an archive of honest members.
func Zip(members ...Member) []byte { return Archive{Members: members}.Bytes() }

// Bytes builds the archive.
func (a Archive) Bytes() []byte {
	var out bytes.Buffer
	offsets := make([]uint32, len(a.Members))
	for i, m := range a.Members {
		if m.Same > 0 {
			offsets[i] = offsets[m.Same-1]
			continue
		}
		offsets[i] = uint32(out.Len())
		if m.NoLocal {
			offsets[i] = 1 << 30
			continue
		}
		name := m.Name
		if m.Local != "" {
			name = m.Local
		}
		packed := m.packed()
		out.WriteString("PK\x03\x04")
		write(&out, uint16(20), m.Flags, m.Method, uint16(0), uint16(0x21), m.crc(), uint32(len(packed)), uint32(len(m.Data)),
			uint16(len(name)), uint16(0))
		out.WriteString(name)
		out.Write(packed)
	}
	if a.NoEnd {
		return append(bytes.Clone(a.Prefix), out.Bytes()...)
	}
	start, count := out.Len(), 0
	for i, m := range a.Members {
		if m.Hidden {
			continue
		}
		count++
		out.WriteString("PK\x01\x02")
		write(&out, uint16(3<<8|20), uint16(20), m.Flags, m.Method, uint16(0), uint16(0x21), m.crc(),
			uint32(len(m.packed())), uint32(len(m.Data))+uint32(m.SizeDelta), uint16(len(m.Name)), uint16(0), uint16(0),
			uint16(0), uint16(0), m.UnixMode<<16, offsets[i])
		out.WriteString(m.Name)
	}
	size := out.Len() - start
	count += a.CountDelta
	out.WriteString("PK\x05\x06")
	write(&out, uint16(0), uint16(0), uint16(count), uint16(count), uint32(size), uint32(start), uint16(len(a.Comment)))
	out.Write(a.Comment)
	out.Write(a.Suffix)
	return append(bytes.Clone(a.Prefix), out.Bytes()...)
}

func (m Member) crc() uint32 {
	sum := crc32.ChecksumIEEE(m.Data)
	if m.WrongCRC {
		sum ^= 1
	}
	return sum
}

func (m Member) packed() []byte {
	var out bytes.Buffer
	switch m.Method {
	case 8:
	case 14:
		conf := lzma.WriterConfig{DictCap: 1 << 16, EOSMarker: m.Flags&2 != 0, Size: int64(len(m.Data)), SizeInHeader: m.Flags&2 == 0}
		w, err := conf.NewWriter(&out)
		if err != nil {
			panic(err)
		}
		w.Write(m.Data)
		w.Close()
		stream := out.Bytes()
		return append(append([]byte{9, 20, 5, 0}, stream[:5]...), stream[13:]...)
	default:
		return m.Data
	}
	w, _ := flate.NewWriter(&out, flate.BestCompression) // the level is valid
	w.Write(m.Data)
	w.Close()
	return out.Bytes()
}

func write(out *bytes.Buffer, fields ...any) {
	for _, f := range fields {
		switch v := f.(type) {
		case uint16:
			out.Write(le.AppendUint16(nil, v))
		case uint32:
			out.Write(le.AppendUint32(nil, v))
		case uint64:
			out.Write(le.AppendUint64(nil, v))
		}
	}
}
