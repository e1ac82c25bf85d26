package build

import (
	"bytes"
	"compress/gzip"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Harmless is a pickle of {"a": 1}, protocol 2.
func Harmless() []byte { return []byte("\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.") }

// Attack is a pickle that calls os.system("echo"), protocol 2.
func Attack() []byte { return []byte("\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R.") }

// Safetensors is a file of that header and data.
func Safetensors(header string, data []byte) []byte {
	return append(append(le.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// NPY is a version 1 array file.
func NPY(descr, shape string, data []byte) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape)
	for (10+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), le.AppendUint16(nil, uint16(len(header)))...)
	return append(append(out, header...), data...)
}

// A TarMember is one entry of [Tar].
type TarMember struct {
	Name, Link string
	Kind       byte // type flag; 0 means a regular file
	Data       []byte
}

// Tar is a ustar archive.
func Tar(members ...TarMember) []byte {
	var out bytes.Buffer
	for _, m := range members {
		var h [512]byte
		copy(h[:100], m.Name)
		copy(h[100:], "0000644\x00")
		copy(h[108:], "0000000\x00")
		copy(h[116:], "0000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00", len(m.Data)))
		copy(h[136:], "00000000000\x00")
		copy(h[148:], "        ")
		h[156] = '0'
		if m.Kind != 0 {
			h[156] = m.Kind
		}
		copy(h[157:257], m.Link)
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		out.Write(h[:])
		out.Write(m.Data)
		out.Write(make([]byte, (512-len(m.Data)%512)%512))
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// Gzip compresses with the standard library.
func Gzip(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

// ELF is the header of a native program, and nothing behind it.
func ELF() []byte {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], 2)
	le.PutUint16(h[18:], 62)
	le.PutUint32(h[20:], 1)
	return h
}

// PE is the smallest header that looks like a Windows program.
func PE() []byte {
	h := make([]byte, 128)
	copy(h, "MZ")
	le.PutUint32(h[60:], 64)
	copy(h[64:], "PE\x00\x00\x64\x86")
	return h
}

// A Proto is a protobuf message being written.
type Proto []byte

// Int appends a varint field.
func (p Proto) Int(num protowire.Number, v uint64) Proto {
	return protowire.AppendVarint(protowire.AppendTag(p, num, protowire.VarintType), v)
}

// Bytes appends a field of bytes.
func (p Proto) Bytes(num protowire.Number, v []byte) Proto {
	return protowire.AppendBytes(protowire.AppendTag(p, num, protowire.BytesType), v)
}

// Text appends a string field.
func (p Proto) Text(num protowire.Number, v string) Proto { return p.Bytes(num, []byte(v)) }

// Tensor is an ONNX tensor of floats with raw data.
func Tensor(name string, dims []uint64, raw []byte) Proto {
	var t Proto
	for _, d := range dims {
		t = t.Int(1, d)
	}
	return t.Int(2, 1).Text(8, name).Bytes(9, raw)
}

// ExternalTensor is an ONNX tensor of floats whose data is in another file.
func ExternalTensor(name string, dims []uint64, entries ...string) Proto {
	var t Proto
	for _, d := range dims {
		t = t.Int(1, d)
	}
	t = t.Int(2, 1).Text(8, name)
	for i := 0; i+1 < len(entries); i += 2 {
		t = t.Bytes(13, Proto(nil).Text(1, entries[i]).Text(2, entries[i+1]))
	}
	return t.Int(14, 1)
}

// Node is an ONNX node.
func Node(op, domain string) Proto {
	n := Proto(nil).Text(1, "x").Text(2, "y").Text(4, op)
	if domain != "" {
		n = n.Text(7, domain)
	}
	return n
}

// ONNX is a model with a graph of these nodes and initializers.
func ONNX(nodes, tensors []Proto, more ...func(Proto) Proto) []byte {
	var g Proto
	for _, n := range nodes {
		g = g.Bytes(1, n)
	}
	g = g.Text(2, "main")
	for _, t := range tensors {
		g = g.Bytes(5, t)
	}
	m := Proto(nil).Int(1, 9).Text(2, "test").Bytes(7, g).Bytes(8, Proto(nil).Int(2, 17))
	for _, f := range more {
		m = f(m)
	}
	return m
}

// A GGUFTensor is one tensor entry of [GGUF].
type GGUFTensor struct {
	Name string
	Dims []uint64
	Type uint32
	Off  uint64
}

// GGUF is a version 3 file. Pairs are keys and string values.
func GGUF(pairs []string, tensors []GGUFTensor, data []byte) []byte {
	text := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(pairs)/2+1))
	b = le.AppendUint32(text(b, "tokens"), 9) // an array of strings
	b = text(text(le.AppendUint64(le.AppendUint32(b, 8), 2), "a"), "b")
	for i := 0; i+1 < len(pairs); i += 2 {
		b = text(le.AppendUint32(text(b, pairs[i]), 8), pairs[i+1])
	}
	for _, t := range tensors {
		b = le.AppendUint32(text(b, t.Name), uint32(len(t.Dims)))
		for _, d := range t.Dims {
			b = le.AppendUint64(b, d)
		}
		b = le.AppendUint64(le.AppendUint32(b, t.Type), t.Off)
	}
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, data...)
}
