package pickle

import (
	"math"
	"math/bits"
	"strings"
)

// An Overrun is a tensor that torch is told to lay over bytes which its storage
// does not have, or of which running the stream alone would tell where it lies.
type Overrun struct {
	Offset     int64
	Stream     int
	Global     int   // index in Trace.Globals of what makes the tensor
	Need       int64 // bytes from the storage's start to the tensor's end, saturated; -1 before its start
	Have       int64 // bytes of the storage, by its persistent id
	Computed   bool  // the stream does not state a number
	Reading    Reading
	AfterFault bool
}

// tensor checks the arguments of a call that lays a tensor over a storage: the
// storage, where the tensor starts, its shape and its strides, in elements.
// They are checked here, because calls that differ in numbers are one entry.
func (m *machine) tensor(class int, args value) {
	if args.typ() != Tuple || !m.known[class].torch {
		return
	}
	var a [7]value
	n := m.first(args, a[:])
	for depth := 0; n > 2 && a[0].typ() == GlobalRef && a[2].typ() == Tuple; depth++ { // _rebuild_from_type: what makes it, its type, arguments
		if class = a[0].global(); depth > walkDepth || !m.known[class].torch {
			return
		}
		n = m.first(a[2], a[:])
	}
	if n < 4 || a[0].typ() != Persistent {
		return
	}
	numel, element, ok := m.storage(a[0])
	if !ok {
		return
	}
	o := Overrun{
		Offset: m.opAt, Stream: m.stream, Global: class, Have: max(element, 1).bytes(numel),
		Reading: m.reading, AfterFault: m.faulty,
	}
	if n == 7 && a[6].typ() == GlobalRef { // _rebuild_tensor_v3: a type for bytes
		element = torchElement(m.t.Globals[a[6].global()].Name)
	}
	end, ok := m.extent(a[1], a[2], a[3])
	switch {
	case !ok:
		o.Computed = true
	case end < 0:
		o.Need = -1
	default:
		if o.Need = element.bytes(end); o.Need <= o.Have {
			return
		}
	}
	if len(m.t.Overruns) >= m.lim.Records {
		m.exceed("Records")
		return
	}
	m.t.Overruns = append(m.t.Overruns, o)
}

// first copies the first items of a container and returns how many.
func (m *machine) first(v value, out []value) (n int) {
	m.heap.each(v, func(item value) bool {
		out[n] = item
		n++
		return n < len(out)
	})
	return n
}

// storage reads the persistent id of a storage: "storage", its class, key and
// device, the number of elements, and in old files a view: key, offset, number.
func (m *machine) storage(v value) (numel int64, e torchSize, ok bool) {
	var held [1]value
	var id, view [6]value
	if m.first(v, held[:]) != 1 || held[0].typ() != Tuple {
		return 0, 0, false
	}
	n := m.first(held[0], id[:])
	kind, _, _ := m.name(id[0])
	if n < 5 || kind != "storage" || id[1].typ() != GlobalRef || id[4].typ() != Int {
		return 0, 0, false
	}
	numel = m.number(id[4])
	if n == 6 && id[5].typ() == Tuple && m.first(id[5], view[:]) == 3 && view[2].typ() == Int {
		numel = min(numel, m.number(view[2]))
	}
	return max(numel, 0), torchElement(m.t.Globals[id[1].global()].Name), true
}

// number is the value of an Int; what 64 bits do not hold is the largest.
func (m *machine) number(v value) int64 {
	if n, ok := m.integer(v); ok {
		return n
	}
	return math.MaxInt64
}

// extent is the number of elements up to the end of the last, -1 when one of
// the numbers is negative. It is not ok where they are no numbers.
func (m *machine) extent(offset, shape, strides value) (end int64, ok bool) {
	if offset.typ() != Int || shape.typ() != Tuple || strides.typ() != Tuple {
		return 0, false
	}
	var sizes, steps [keepPlain]value
	n := m.first(shape, sizes[:])
	if m.first(strides, steps[:]) != n || m.heap.len(shape) > keepPlain || m.heap.len(strides) != m.heap.len(shape) {
		return 0, true // torch refuses it: its dimensions end at 64
	}
	last := uint64(max(m.number(offset), -1))
	negative, empty := m.number(offset) < 0, false
	for i := range n {
		size, step := sizes[i], steps[i]
		if size.typ() != Int || step.typ() != Int {
			return 0, false
		}
		negative = negative || m.number(size) < 0 || m.number(step) < 0
		if empty = empty || m.number(size) == 0; empty || negative {
			continue
		}
		hi, reach := bits.Mul64(uint64(m.number(size)-1), uint64(m.number(step)))
		last = min(last, math.MaxInt64-1) + min(reach, math.MaxInt64-1)
		if hi != 0 {
			last = math.MaxInt64 - 1
		}
	}
	switch {
	case negative:
		return -1, true
	case empty:
		return 0, true
	}
	return int64(min(last, math.MaxInt64-1)) + 1, true
}

// A torchSize is how many bytes an element has; where it is negative, a byte
// has that many elements.
type torchSize int64

func (e torchSize) bytes(elements int64) int64 {
	switch {
	case e < 0:
		return elements/int64(-e) + min(elements%int64(-e), 1)
	case elements > math.MaxInt64/int64(e):
		return math.MaxInt64
	}
	return elements * int64(e)
}

// TorchStorage is how many bytes a storage of a class such as "FloatStorage"
// holds that has that many elements, saturated. Bytes count as elements where
// a byte holds several.
func TorchStorage(class string, elements int64) int64 {
	return max(torchElement(class), 1).bytes(max(elements, 0))
}

// torchElement is the size of the elements of a storage class or a dtype of
// torch. What is not known counts as bytes, so that too little is asked for.
func torchElement(name string) torchSize {
	switch strings.TrimSuffix(name, "Storage") {
	case "ComplexDouble", "complex128":
		return 16
	case "Double", "Long", "ComplexFloat", "float64", "int64", "uint64", "complex64":
		return 8
	case "Float", "Int", "QInt32", "float32", "int32", "uint32", "qint32", "complex32":
		return 4
	case "Half", "BFloat16", "Short", "float16", "bfloat16", "int16", "uint16", "bits16":
		return 2
	case "QUInt4x2":
		return -2
	case "QUInt2x4":
		return -4
	}
	return 1
}
