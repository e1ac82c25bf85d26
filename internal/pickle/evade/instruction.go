package evade

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun/internal/pickle"
)

// An Instruction is one opcode with its argument, or a few that belong
// together.
type Instruction struct {
	Bytes []byte
	Top   bool // leaves a value on the stack, above the last mark

	// Memo instructions get their key when the stream is assembled, because
	// MEMOIZE counts; one that has its key in Bytes says so for the count.
	memo pickle.Op
	key  *key
}

// A key is a memo entry.
type key struct{ n int }

var le = binary.LittleEndian

// op is an opcode with the bytes of its argument.
func op(o pickle.Op, argument ...byte) Instruction {
	top := o != pickle.OpMark && o != pickle.OpPop && o != pickle.OpPopMark && o != pickle.OpProto && o != pickle.OpFrame
	return Instruction{Bytes: append([]byte{byte(o)}, argument...), Top: top}
}

// line is an opcode whose argument is text up to a newline.
func line(o pickle.Op, text string) Instruction { return op(o, []byte(text+"\n")...) }

func global(module, name string) Instruction { return line(pickle.OpGlobal, module+"\n"+name) }

func str(s string) Instruction { return counted(pickle.OpBinunicode, 4, s) }

// short is the string encoding of protocol 4.
func short(s string) Instruction { return counted(pickle.OpShortBinunicode, 1, s) }

// counted is a string behind its length of width bytes.
func counted(o pickle.Op, width int, s string) Instruction {
	return op(o, append(le.AppendUint64(nil, uint64(len(s)))[:width:width], s...)...)
}

func integer(n int) Instruction { return op(pickle.OpBinint, le.AppendUint32(nil, uint32(n))...) }

// reduce calls module.name with arguments that code leaves on the stack.
func reduce(module, name string, arguments ...Instruction) []Instruction {
	return slices.Concat([]Instruction{global(module, name), op(pickle.OpMark)}, arguments,
		[]Instruction{op(pickle.OpTuple), op(pickle.OpReduce)})
}

func put(o pickle.Op, k *key) Instruction { return Instruction{Top: true, memo: o, key: k} }
func get(o pickle.Op, k *key) Instruction { return Instruction{Top: true, memo: o, key: k} }

// newKey is a memo key that no other instruction of the draft uses.
func (d *Draft) newKey() *key {
	d.keys++
	return &key{d.keys + 99}
}

// assemble writes instructions, and gives memo entries their keys.
func assemble(code []Instruction) []byte {
	var out []byte
	known := make(map[int]bool)
	for _, in := range code {
		switch in.memo {
		case pickle.OpMemoize:
			in.key.n = len(known)
			known[in.key.n] = true
			out = append(out, byte(in.memo))
		case pickle.OpPut, pickle.OpBinput, pickle.OpLongBinput:
			known[in.key.n] = true
			out = appendKey(out, in.memo, in.key.n)
		case pickle.OpGet, pickle.OpBinget, pickle.OpLongBinget:
			out = appendKey(out, in.memo, in.key.n)
		default:
			if in.key != nil {
				known[in.key.n] = true
			}
			out = append(out, in.Bytes...)
		}
	}
	return out
}

// appendKey writes a memo instruction, with a longer key where it must.
func appendKey(out []byte, o pickle.Op, n int) []byte {
	switch {
	case o == pickle.OpPut || o == pickle.OpGet:
		return append(append(append(out, byte(o)), strconv.Itoa(n)...), '\n')
	case n < 256 && o == pickle.OpBinput, n < 256 && o == pickle.OpBinget:
		return append(out, byte(o), byte(n))
	case o == pickle.OpBinput:
		o = pickle.OpLongBinput
	case o == pickle.OpBinget:
		o = pickle.OpLongBinget
	}
	return le.AppendUint32(append(out, byte(o)), uint32(n))
}

// stream assembles a pickle that states the protocol its code wants.
func (d *Draft) stream(code ...any) {
	d.bare(append([]any{op(pickle.OpProto, byte(d.protocol()))}, code...)...)
}

// bare assembles a pickle. What is in it is no concern of a pickle around it.
func (d *Draft) bare(code ...any) {
	d.Data, d.Code = assemble(join(code...)), nil
	d.Min, d.Max, d.keys = 0, pickle5, 0
}

// join makes one list of instructions and lists of them.
func join(parts ...any) []Instruction {
	var out []Instruction
	for _, part := range parts {
		switch part := part.(type) {
		case Instruction:
			out = append(out, part)
		case []Instruction:
			out = append(out, part...)
		default:
			panic(fmt.Sprintf("%T is no instruction", part))
		}
	}
	return out
}

// escape writes each byte of s by a format such as `\x%02x`.
func escape(format, s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&out, format, c)
	}
	return out.String()
}
