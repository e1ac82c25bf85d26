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
	Method uint16 // 0, 8, or 14, of which flag 2 says that the stream has an end mark; others take Data as packed, see Content

	Content []byte // what Data decodes to, for other methods

	Local      string // name in the local header, when it differs
	Flags      uint16 // in both headers
	LocalFlags uint16 // in the local header only
	Creator    uint8  // the system that wrote it; 0 means Unix
	WrongCRC   bool
	SizeDelta  int32  // added to the claimed size in the directory
	UnixMode   uint32 // file type and permissions
	Hidden     bool   // no directory entry
	NoLocal    bool   // the directory entry leads to no header
	Same       int    // when > 0: shares the local header of that member, counted from 1
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
	body, directory, count := a.parts(0)
	out := append(bytes.Clone(a.Prefix), body...)
	if a.NoEnd {
		return out
	}
	out = append(out, directory...)
	out = append(out, end(count+a.CountDelta, len(directory), len(body), len(a.Comment))...)
	return append(append(out, a.Comment...), a.Suffix...)
}

// parts are what stands before the end record, when base bytes come before it.
func (a Archive) parts(base int) (body, directory []byte, count int) {
	var out, dir bytes.Buffer
	offsets := make([]uint32, len(a.Members))
	for i, m := range a.Members {
		if m.Same > 0 {
			offsets[i] = offsets[m.Same-1]
			continue
		}
		offsets[i] = uint32(base + out.Len())
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
		write(&out, uint16(20), m.Flags|m.LocalFlags, m.Method, uint16(0), uint16(0x21), m.crc(), uint32(len(packed)), uint32(len(m.content())),
			uint16(len(name)), uint16(0))
		out.WriteString(name)
		out.Write(packed)
	}
	for i, m := range a.Members {
		if m.Hidden {
			continue
		}
		count++
		creator := uint16(3)
		if m.Creator != 0 {
			creator = uint16(m.Creator)
		}
		dir.WriteString("PK\x01\x02")
		write(&dir, creator<<8|20, uint16(20), m.Flags, m.Method, uint16(0), uint16(0x21), m.crc(),
			uint32(len(m.packed())), uint32(len(m.content()))+uint32(m.SizeDelta), uint16(len(m.Name)), uint16(0), uint16(0),
			uint16(0), uint16(0), m.UnixMode<<16, offsets[i])
		dir.WriteString(m.Name)
	}
	return out.Bytes(), dir.Bytes(), count
}

func end(count, size, start, comment int) []byte {
	var out bytes.Buffer
	out.WriteString("PK\x05\x06")
	write(&out, uint16(0), uint16(0), uint16(count), uint16(count), uint32(size), uint32(start), uint16(comment))
	return out.Bytes()
}

func wideEnd(count, size, start int) []byte {
	var out bytes.Buffer
	out.WriteString("PK\x06\x06")
	write(&out, uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), uint64(count), uint64(count), uint64(size), uint64(start))
	return out.Bytes()
}

// Which directory readers of [TwoDirectories] find the hidden members by.
const (
	ByLocator  = iota // the zip64 record that the locator names
	BesideIt          // the zip64 record before the locator
	PlainEnd          // the end record, beside its zip64 part
	SameInBoth        // none: both zip64 records are of the shown members
)

// TwoDirectories is an archive whose last shown member has the hidden ones in its
// content, behind some bytes, and which has a directory of each.
func TwoDirectories(kind int, shown, hidden []Member) []byte {
	noise := bytes.Repeat([]byte{0x11, 0x22}, 100)
	last := &shown[len(shown)-1]
	before, _, _ := Archive{Members: shown[:len(shown)-1]}.parts(0)
	inner, hiddenDir, hiddenCount := Archive{Members: hidden}.parts(len(before) + 30 + len(last.Name) + len(noise))
	last.Data = append(noise, inner...)
	out, dir, count := Archive{Members: shown}.parts(0)
	all := uint32(1<<32 - 1)
	plain := end(1<<16-1, int(int32(all)), int(int32(all)), 0)
	locator := func(at int) []byte {
		return append(le.AppendUint64([]byte("PK\x06\x07\x00\x00\x00\x00"), uint64(at)), 1, 0, 0, 0)
	}
	put := func(dir []byte, count int) (at int) {
		start := len(out)
		out = append(out, dir...)
		at = len(out)
		out = append(out, wideEnd(count, len(dir), start)...)
		return at
	}
	switch kind {
	case ByLocator:
		at := put(hiddenDir, hiddenCount)
		put(dir, count)
		return append(append(out, locator(at)...), plain...)
	case BesideIt:
		at := put(dir, count)
		put(hiddenDir, hiddenCount)
		return append(append(out, locator(at)...), plain...)
	case PlainEnd:
		start := len(out)
		out = append(out, hiddenDir...)
		at := put(dir, count)
		return append(append(out, locator(at)...), end(hiddenCount, len(hiddenDir), start, 0)...)
	}
	start := len(out)
	at := put(dir, count)
	return append(append(out, locator(at)...), end(count, len(dir), start, 0)...)
}

func (m Member) crc() uint32 {
	sum := crc32.ChecksumIEEE(m.content())
	if m.WrongCRC {
		sum ^= 1
	}
	return sum
}

func (m Member) content() []byte {
	if m.Content != nil {
		return m.Content
	}
	return m.Data
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
