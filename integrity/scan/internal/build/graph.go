package build

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Flat is a table of a flat buffer by slot. Values are uint8, uint32, int32,
// uint64, string, []byte, []int32, []uint64, Flat or []Flat.
type Flat map[int]any

// FlatBuffer is a flat buffer with that root table. Extra bytes, such as an
// extended header, stand between the identifier and the first table.
func FlatBuffer(identifier string, extra []byte, root Flat) []byte {
	out := append(append(make([]byte, 4), identifier...), extra...)
	pad := func() {
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	var write func(v any) int // returns where v starts
	patch := func(at int, v any) {
		to := write(v)
		le.PutUint32(out[at:], uint32(to-at))
	}
	write = func(v any) int {
		pad()
		start := len(out)
		switch v := v.(type) {
		case string:
			out = append(append(le.AppendUint32(out, uint32(len(v))), v...), 0)
		case []byte:
			out = append(le.AppendUint32(out, uint32(len(v))), v...)
		case []int32:
			out = le.AppendUint32(out, uint32(len(v)))
			for _, x := range v {
				out = le.AppendUint32(out, uint32(x))
			}
		case []uint64:
			out = le.AppendUint32(out, uint32(len(v)))
			for _, x := range v {
				out = le.AppendUint64(out, x)
			}
		case []Flat:
			out = append(le.AppendUint32(out, uint32(len(v))), make([]byte, 4*len(v))...)
			for i, t := range v {
				patch(start+4+4*i, t)
			}
		case Flat:
			return flatTable(&out, v, patch)
		}
		return start
	}
	patch(0, root)
	return out
}

// flatTable writes a vtable and its table, then what the table refers to.
func flatTable(out *[]byte, t Flat, patch func(at int, v any)) int {
	slots := slices.Sorted(maps.Keys(t))
	n := 0
	if len(slots) > 0 {
		n = slots[len(slots)-1] + 1
	}
	vtable := make([]byte, 4+2*n)
	inline := make([]byte, 4)
	refs := make(map[int]any)
	var order []int
	for _, slot := range slots {
		le.PutUint16(vtable[4+2*slot:], uint16(len(inline)))
		switch v := t[slot].(type) {
		case uint8:
			inline = append(inline, v, 0, 0, 0)
		case uint32:
			inline = le.AppendUint32(inline, v)
		case int32:
			inline = le.AppendUint32(inline, uint32(v))
		case uint64:
			inline = le.AppendUint64(inline, v)
		default:
			order = append(order, len(inline))
			refs[len(inline)] = v
			inline = append(inline, 0, 0, 0, 0)
		}
	}
	le.PutUint16(vtable, uint16(len(vtable)))
	le.PutUint16(vtable[2:], uint16(len(inline)))
	at := len(*out)
	*out = append(*out, vtable...)
	for len(*out)%4 != 0 {
		*out = append(*out, 0)
	}
	start := len(*out)
	le.PutUint32(inline, uint32(start-at))
	*out = append(*out, inline...)
	for _, off := range order {
		patch(start+off, refs[off])
	}
	return start
}

// FlexTexts is a FlexBuffer of a vector of strings, of widths of two bytes.
func FlexTexts(texts ...string) []byte {
	var out []byte
	at := make([]int, len(texts))
	for i, t := range texts {
		out = le.AppendUint16(out, uint16(len(t)))
		at[i] = len(out)
		out = append(append(out, t...), 0)
	}
	out = le.AppendUint16(out, uint16(len(texts)))
	vector := len(out)
	for _, a := range at {
		out = le.AppendUint16(out, uint16(len(out)-a))
	}
	for range texts {
		out = append(out, 5<<2|1)
	}
	out = le.AppendUint16(out, uint16(len(out)-vector))
	return append(out, 10<<2|1, 2)
}

// TFLite is a model with one subgraph that runs these custom operators once
// each, those of TensorFlow with a node, and with a tensor in the buffer. Change edits the root before it is
// written.
func TFLite(buffer []byte, change func(model Flat), custom ...string) []byte {
	codes := []Flat{{0: uint8(0), 3: int32(0)}}
	ops := []Flat{{0: uint32(0), 1: []int32{0, -1}, 2: []int32{0}}}
	for i, name := range custom {
		codes = append(codes, Flat{0: uint8(32), 1: name, 3: int32(32)})
		op := Flat{0: uint32(i + 1), 1: []int32{0}, 2: []int32{0}}
		if flex, ok := strings.CutPrefix(name, "Flex"); ok {
			op[5] = FlexTexts(flex, string(Proto(nil).Text(1, "n").Text(2, flex)))
		}
		ops = append(ops, op)
	}
	model := Flat{
		0: uint32(3),
		1: codes,
		2: []Flat{{0: []Flat{{0: []int32{1, 4}, 2: uint32(1), 3: "weight"}}, 1: []int32{0}, 2: []int32{0}, 3: ops, 4: "main"}},
		3: "made by a test",
		4: []Flat{{}, {0: buffer}, {0: []byte("1.5.0")}},
		6: []Flat{{0: "min_runtime_version", 1: uint32(2)}},
	}
	if change != nil {
		change(model)
	}
	return FlatBuffer("TFL3", nil, model)
}

// ExecuTorch is a program with one method. The data becomes its only segment.
func ExecuTorch(operators, delegates []string, data []byte, change func(program Flat)) []byte {
	var ops, dels, calls []Flat
	for i, name := range operators {
		ops = append(ops, Flat{0: name, 1: "out"})
		calls = append(calls, Flat{0: uint8(1), 1: Flat{0: int32(i)}})
	}
	for i, id := range delegates {
		dels = append(dels, Flat{0: id, 1: Flat{0: uint8(1), 1: uint32(0)}})
		calls = append(calls, Flat{0: uint8(2), 1: Flat{0: int32(i)}})
	}
	program := Flat{
		0: uint32(0),
		1: []Flat{{0: "forward", 5: []Flat{{2: calls}}, 6: ops, 7: dels}},
		4: []Flat{{0: uint64(0), 1: uint64(len(data))}},
		5: Flat{0: uint32(0), 1: []uint64{0, 0}},
	}
	if change != nil {
		change(program)
	}
	header := append(append([]byte("eh00"), 32, 0, 0, 0), make([]byte, 24)...)
	out := FlatBuffer("ET12", header, program)
	for len(out)%16 != 0 {
		out = append(out, 0)
	}
	le.PutUint64(out[16:], uint64(len(out)))
	le.PutUint64(out[24:], uint64(len(out)))
	le.PutUint64(out[32:], uint64(len(data)))
	return append(out, data...)
}

// CoreML is a Core ML model of that type, a field of the oneof.
func CoreML(field int32, model Proto) Proto {
	description := Proto(nil).Bytes(1, Proto(nil).Text(1, "x")).Bytes(10, Proto(nil).Text(1, "y"))
	return Proto(nil).Int(1, 4).Bytes(2, description).Bytes(protowire.Number(field), model)
}

// CoreMLNetwork is a neural network of these layers.
func CoreMLNetwork(layers ...Proto) Proto {
	var n Proto
	for _, l := range layers {
		n = n.Bytes(1, l)
	}
	return n
}

// CoreMLProgram is an ML program that reads a constant from a file.
func CoreMLProgram(file string, off uint64) Proto {
	blob := Proto(nil).Text(1, file).Int(2, off)
	value := Proto(nil).Bytes(2, Proto(nil).Int(1, 1)).Bytes(5, blob)
	constant := Proto(nil).Text(1, "const").Bytes(5, Proto(nil).Text(1, "val").Bytes(2, value))
	nested := Proto(nil).Text(1, "cond").Bytes(4, Proto(nil).Bytes(3, constant))
	function := Proto(nil).Text(2, "CoreML5").Bytes(3, Proto(nil).Text(1, "CoreML5").Bytes(2, Proto(nil).Bytes(3, nested)))
	return Proto(nil).Int(1, 1).Bytes(2, Proto(nil).Text(1, "main").Bytes(2, function))
}

// CoreMLWeights is a weights file of these constants.
func CoreMLWeights(blobs ...[]byte) []byte {
	out := append(le.AppendUint32(le.AppendUint32(nil, uint32(len(blobs))), 2), make([]byte, 56)...)
	for _, b := range blobs {
		for len(out)%64 != 0 {
			out = append(out, 0)
		}
		out = le.AppendUint32(le.AppendUint32(out, 0xdeadbeef), 1)
		out = le.AppendUint64(le.AppendUint64(out, uint64(len(b))), uint64(len(out)+56))
		out = append(append(out, make([]byte, 40)...), b...)
	}
	return out
}

// OpenVINO is the XML of a model with a constant and these further layers.
func OpenVINO(off, size string, layers ...string) []byte {
	return []byte(`<?xml version="1.0"?>
<net name="tiny" version="11">
	<layers>
		<layer id="0" name="c" type="Const" version="opset1"><data element_type="f32" shape="4" offset="` + off + `" size="` + size + `"/></layer>
		` + strings.Join(layers, "\n") + `
	</layers>
	<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>
	<rt_info><Runtime_version value="2025.3.0"/></rt_info>
</net>
`)
}

// PaddleOp is an operator of a Paddle program.
func PaddleOp(kind string) Proto {
	return Proto(nil).Bytes(1, Proto(nil).Text(1, "X").Text(2, "x")).Text(3, kind).Bytes(4, Proto(nil).Text(1, "file_path").Int(2, 2).Text(5, "/tmp/x"))
}

// Paddle is a program of one block.
func Paddle(ops ...Proto) Proto {
	block := Proto(nil).Int(1, 0).Int(2, ^uint64(0))
	for _, o := range ops {
		block = block.Bytes(4, o)
	}
	return Proto(nil).Bytes(1, block).Bytes(4, Proto(nil).Int(1, 2006001))
}

// PaddleParams is a file of tensors of float32 with these numbers of elements.
func PaddleParams(elements ...int) []byte {
	var out []byte
	for _, n := range elements {
		desc := Proto(nil).Int(1, 5).Int(2, uint64(n))
		out = le.AppendUint32(append(out, make([]byte, 16)...), uint32(len(desc)))
		out = append(append(out, desc...), make([]byte, 4*n)...)
	}
	return out
}

// MXNetParams is a list of arrays that are given as they stand in the file.
func MXNetParams(names []string, arrays ...[]byte) []byte {
	out := le.AppendUint64(make([]byte, 0, 64), 0x112)
	out = le.AppendUint64(le.AppendUint64(out, 0), uint64(len(arrays)))
	for _, a := range arrays {
		out = append(out, a...)
	}
	out = le.AppendUint64(out, uint64(len(names)))
	for _, n := range names {
		out = append(le.AppendUint64(out, uint64(len(n))), n...)
	}
	return out
}

// MXNetArray is a dense array of float32 of the second version.
func MXNetArray(dims ...uint64) []byte {
	out := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 0xf993fac9), 0), uint32(len(dims)))
	n := uint64(4)
	for _, d := range dims {
		out = le.AppendUint64(out, d)
		n *= d
	}
	out = append(out, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(out, make([]byte, min(n, 1<<10))...)
}

// A BundleEntry is what a checkpoint's index says of one tensor.
type BundleEntry struct {
	Name             string
	Shard, Off, Size uint64
}

// Checkpoint is the index of a TensorFlow checkpoint. Its blocks are said to be
// of that compression.
func Checkpoint(shards uint64, compression byte, entries ...BundleEntry) []byte {
	var out []byte
	block := func(pairs ...string) (handle []byte) {
		off, last := len(out), ""
		for i := 0; i < len(pairs); i += 2 {
			shared := 0
			for shared < len(last) && shared < len(pairs[i]) && last[shared] == pairs[i][shared] {
				shared++
			}
			last = pairs[i]
			for _, n := range []int{shared, len(last) - shared, len(pairs[i+1])} {
				out = protowire.AppendVarint(out, uint64(n))
			}
			out = append(append(out, last[shared:]...), pairs[i+1]...)
		}
		out = le.AppendUint32(le.AppendUint32(out, 0), 1)
		handle = protowire.AppendVarint(protowire.AppendVarint(nil, uint64(off)), uint64(len(out)-off))
		out = append(out, compression, 0, 0, 0, 0)
		return handle
	}
	pairs := []string{"", string(Proto(nil).Int(1, shards).Bytes(3, Proto(nil).Int(1, 1)))}
	for _, e := range entries {
		pairs = append(pairs, e.Name, string(Proto(nil).Int(1, 1).Bytes(2, nil).Int(3, e.Shard).Int(4, e.Off).Int(5, e.Size)))
	}
	data := block(pairs...)
	meta := block()
	index := block("~", string(data))
	foot := append(append(make([]byte, 0, 40), meta...), index...)
	return append(append(out, foot[:40]...), "\x57\xfb\x80\x8b\x24\x75\x47\xdb"...)
}

// CNTKText is a text in a dictionary of CNTK.
func CNTKText(text string) Proto { return Proto(nil).Int(1, 1).Int(2, 6).Text(8, text) }

// CNTKDict is a dictionary of CNTK of these keys and values, in turn.
func CNTKDict(pairs ...any) Proto {
	d := Proto(nil).Int(1, 1)
	for i := 0; i+1 < len(pairs); i += 2 {
		d = d.Bytes(2, Proto(nil).Text(1, pairs[i].(string)).Bytes(2, pairs[i+1].(Proto)))
	}
	return d
}

// CNTKInner is a dictionary as a value.
func CNTKInner(d Proto) Proto { return Proto(nil).Int(1, 1).Int(2, 10).Bytes(12, d) }

// CNTKList is a list of values as a value.
func CNTKList(values ...Proto) Proto {
	var v Proto
	for _, x := range values {
		v = v.Bytes(1, x)
	}
	return Proto(nil).Int(1, 1).Int(2, 9).Bytes(11, v)
}
