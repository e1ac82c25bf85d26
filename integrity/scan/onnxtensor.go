package scan

import (
	"context"
	"fmt"
	"math/bits"
	"path"
	"regexp"
	"strconv"

	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// onnxTensorFormat reads a tensor of ONNX in a file of its own, as runtimes
// keep inputs and outputs of tests. Facts: "dtype", the number of its type.
//
// It is data. A tensor whose data lies in other files is none of these.
type onnxTensorFormat struct{}

func (onnxTensorFormat) Info() Info { return Info{ID: "onnx-tensor"} }

// Fields of a TensorProto.
const (
	tensorDims = 1
	tensorType = 2
	tensorName = 8
	tensorRaw  = 9
	tensorDoc  = 12
)

func (onnxTensorFormat) Match(p Probe) Match {
	if p.Ext() != ".pb" || p.Base() == "fingerprint.pb" { // TensorFlow's, numbers under the same numbers
		return No
	}
	dtype, ok := uint64(0), true
	whole := wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		if f.Is(tensorType, wire.Varint) {
			dtype = f.Value
		}
		ok = ok && onnxTensorField(f)
		return ok
	})
	if whole && ok && dtype > 0 && dtype < uint64(len(onnxBits)) {
		return Maybe
	}
	return No
}

// onnxTensorField reports a field that a tensor with its data inside has.
func onnxTensorField(f wire.Field) bool {
	switch f.Num {
	case tensorType:
		return f.Type == wire.Varint
	case tensorDims, 5, 7, 11: // numbers, packed or one by one
		return f.Type == wire.Varint || f.Type == wire.Bytes
	case 4:
		return f.Type == wire.Fixed32 || f.Type == wire.Bytes
	case 10:
		return f.Type == wire.Fixed64 || f.Type == wire.Bytes
	case 6, tensorName, tensorRaw, tensorDoc:
		return f.Type == wire.Bytes
	}
	return false
}

func (onnxTensorFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	var dtype uint64
	elements, overflow := uint64(1), false
	raw := int64(-1)
	types := 0
	w := wire.NewReader(a, a.Size)
	err := w.Walk(0, a.Size, func(f wire.Field) error {
		if err := a.Spend(Entries, 1); err != nil {
			return err
		}
		switch {
		case !onnxTensorField(f):
			return fmt.Errorf("onnx-tensor: offset %d: field %d: %w", f.At, f.Num, ErrNotFormat)
		case f.Num == tensorType:
			dtype = f.Value
			types++
		case f.Is(tensorDims, wire.Varint):
			hi, lo := bits.Mul64(elements, f.Value)
			elements, overflow = lo, overflow || hi > 0
		case f.Is(tensorDims, wire.Bytes):
			return fmt.Errorf("onnx-tensor: offset %d: packed dimensions: %w", f.At, ErrNotFormat)
		case f.Num == tensorRaw:
			raw = f.Len
		}
		return nil
	})
	if err != nil {
		return err
	}
	if types != 1 || dtype == 0 || dtype >= uint64(len(onnxBits)) {
		return fmt.Errorf("onnx-tensor: type %d: %w", dtype, ErrNotFormat)
	}
	if raw < 0 && (overflow || elements > uint64(a.Size)) {
		return fmt.Errorf("onnx-tensor: %d elements in %d bytes: %w", elements, a.Size, ErrNotFormat)
	}
	if raw >= 0 {
		hi, total := bits.Mul64(elements, onnxBits[dtype])
		if overflow || hi > 0 || (total+7)/8 != uint64(raw) {
			return fmt.Errorf("onnx-tensor: %d bytes for %d elements of type %d: %w", raw, elements, dtype, ErrNotFormat)
		}
	}
	out.Fact("dtype", strconv.FormatUint(dtype, 10))
	out.Claim(0, a.Size)
	return nil
}

var tfjsName = regexp.MustCompile(`^group\d+-shard\d+of\d+(?:\.bin)?$`)

// tfjsShard reports the weights of a TensorFlow.js model, by the names that its
// converter gives them and the model beside them.
func tfjsShard(p Probe) bool {
	if !tfjsName.MatchString(p.Base()) {
		return false
	}
	for _, name := range []string{"model.json", "weights_manifest.json"} {
		if _, ok := p.Tree.Lookup(path.Join(path.Dir(p.Name), name)); ok {
			return true
		}
	}
	return false
}
