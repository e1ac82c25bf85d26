package build

import "slices"

// An HDF5 is a file of superblock version 2 whose root group holds everything
// in one object header, without checksums.
type HDF5 struct {
	Messages []HDF5Message
	Prefix   []byte // a block before the structure
	Suffix   []byte // after the end by the file's own account

	NamedType int // when > 0: an object before the root that is a type of texts of that size
}

// An HDF5Message is one message of an object header.
type HDF5Message struct {
	Type byte
	Body []byte
}

// HDF5Text is an attribute of one text.
func HDF5Text(name, value string) HDF5Message {
	b := []byte{3, 0}
	b = le.AppendUint16(b, uint16(len(name)+1))
	b = le.AppendUint16(b, 8)
	b = append(le.AppendUint16(b, 4), 0)
	b = append(append(b, name...), 0)
	b = le.AppendUint32(append(b, 0x13, 0, 0, 0), uint32(len(value))) // a text of that size
	b = append(b, 2, 0, 0, 0)                                         // a scalar
	return HDF5Message{0x0c, append(b, value...)}
}

// HDF5Link is a soft link (type 1), or an external one (type 64) when file is
// set.
func HDF5Link(name, file, target string) HDF5Message {
	value, kind := []byte(target), byte(1)
	if file != "" {
		value, kind = slices.Concat([]byte{0}, []byte(file), []byte{0}, []byte(target), []byte{0}), 64
	}
	b := append([]byte{1, 8, kind, byte(len(name))}, name...)
	return HDF5Message{6, append(le.AppendUint16(b, uint16(len(value))), value...)}
}

// HDF5Filter is a pipeline of one filter.
func HDF5Filter(id uint16) HDF5Message {
	b := le.AppendUint16([]byte{2, 1}, id)
	if id >= 256 {
		b = le.AppendUint16(b, 0)
	}
	return HDF5Message{0x0b, append(b, 0, 0, 0, 0)}
}

// Bytes builds the file.
func (h HDF5) Bytes() []byte {
	var types []byte
	if h.NamedType > 0 {
		types = objectHeader([]HDF5Message{{3, le.AppendUint32([]byte{0x13, 0, 0, 0}, uint32(h.NamedType))}})
	}
	root := objectHeader(h.Messages)
	b := []byte("\x89HDF\r\n\x1a\n\x02\x08\x08\x00")
	b = le.AppendUint64(b, uint64(len(h.Prefix)))
	b = le.AppendUint64(b, 1<<64-1)
	b = le.AppendUint64(b, uint64(48+len(types)+len(root)+len(h.Prefix)))
	b = append(le.AppendUint64(b, uint64(48+len(types))), 0, 0, 0, 0)
	return slices.Concat(h.Prefix, b, types, root, h.Suffix)
}

func objectHeader(messages []HDF5Message) []byte {
	var header []byte
	for _, m := range messages {
		header = append(le.AppendUint16(append(header, m.Type), uint16(len(m.Body))), 0)
		header = append(header, m.Body...)
	}
	b := le.AppendUint32([]byte("OHDR\x02\x02"), uint32(len(header)))
	return append(append(b, header...), 0, 0, 0, 0)
}

// HDF5NamedText is an attribute of one text whose type is the object at offset
// 48, see NamedType.
func HDF5NamedText(name, value string) HDF5Message {
	b := []byte{3, 1}
	b = le.AppendUint16(b, uint16(len(name)+1))
	b = le.AppendUint16(b, 10)
	b = append(le.AppendUint16(b, 4), 0)
	b = append(append(b, name...), 0)
	b = append(le.AppendUint64(append(b, 3, 2), 48), 2, 0, 0, 0)
	return HDF5Message{0x0c, append(b, value...)}
}
