package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/internal/tensorfile"
)

// safetensorsFormat reads the header of safetensors files and leaves the
// tensors alone. Facts: "tensors" their number, "framework" from the metadata.
type safetensorsFormat struct{}

var (
	ruleSafetensorsLayout = prerun.Rule{
		ID: "scan.safetensors.layout", Title: "bytes that belong to no tensor, or to two", Severity: prerun.Medium,
		Help: "The tensors do not tile the data of the file: there are holes, overlaps or bytes after the last one. The format forbids this, because such bytes can hide something. The reference loader refuses the file; others may not. Do not load the file; write its tensors again.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleSafetensorsMetadata = prerun.Rule{
		ID: "scan.safetensors.metadata", Title: "code in metadata", Severity: prerun.Low,
		Help: "A metadata entry or tensor name looks like program code, a template, markup or a pickle. Loaders treat it as text, but tools that show or evaluate it may not. Remove it or find out who wrote it.",
		Refs: []prerun.Reference{refSupply},
	}
)

func (safetensorsFormat) Info() Info {
	return Info{
		ID: "safetensors", Extensions: []string{".safetensors"},
		Rules: []prerun.Rule{ruleSafetensorsLayout, ruleSafetensorsMetadata},
	}
}

func (safetensorsFormat) Match(p Probe) Match {
	if len(p.Head) < 10 || p.Head[8] != '{' {
		return No
	}
	if n := binary.LittleEndian.Uint64(p.Head); n < 2 || n > 100_000_000 {
		return No
	}
	if c := bytes.TrimLeft(p.Head[9:], " \t\r\n"); len(c) == 0 || c[0] != '"' && c[0] != '}' {
		return No
	}
	return Certain
}

func (safetensorsFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	st, err := tensorfile.ParseSafetensors(a, a.Size)
	fault, _ := errors.AsType[*tensorfile.Error](err)
	if st == nil {
		return err
	}
	out.Claim(0, st.DataAt)
	out.Fact("tensors", strconv.Itoa(len(st.Tensors)))
	if f := st.Metadata["format"]; f != "" {
		out.Fact("framework", excerpt(f, 40))
	}
	safetensorsTexts(st, out)
	if err == nil {
		out.Claim(st.DataAt, a.Size-st.DataAt)
		return nil
	}
	end := st.DataAt
	for _, t := range st.Tensors {
		if off := max(t.Offset, end); t.Offset+t.Length <= a.Size && t.Offset+t.Length > off {
			out.Claim(off, t.Offset+t.Length-off)
			end = t.Offset + t.Length
		}
	}
	if fault == nil || fault.Fault == tensorfile.Truncated {
		return err
	}
	out.Finding(prerun.Finding{
		Rule:       ruleSafetensorsLayout,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: fault.Offset, Length: 1}},
		Message:    redact.Text(fault.Error()),
	})
	return nil
}

// safetensorsTexts looks at what a header says beside numbers.
func safetensorsTexts(st *tensorfile.Safetensors, out *Sink) {
	report := func(where, key, what string) {
		shown := excerpt(key, 80)
		out.Finding(prerun.Finding{
			Rule:       ruleSafetensorsMetadata,
			Confidence: prerun.ConfidenceMedium,
			Locations:  []prerun.Location{{Offset: 8, Length: st.DataAt - 8}},
			Message:    fmt.Sprintf("%s %q holds %s", where, shown, what),
			Key:        shown,
		})
	}
	for _, k := range slices.Sorted(maps.Keys(st.Metadata)) {
		if what := codeIn(k + "\n" + st.Metadata[k]); what != "" {
			report("metadata entry", k, what)
		}
	}
	for _, t := range st.Tensors {
		if what := codeIn(t.Name); what != "" {
			report("tensor name", t.Name, what)
		}
	}
}

// codeIn names what makes a text look like something to run, or "".
func codeIn(text string) string {
	lower := bytes.ToLower([]byte(text))
	for _, c := range []struct{ sign, what string }{
		{"__import__", "Python code"},
		{"os.system", "Python code"},
		{"subprocess.", "Python code"},
		{"eval(", "code"},
		{"exec(", "code"},
		{"<script", "markup with a script"},
		{"javascript:", "a script link"},
		{"__globals__", "a template attack"},
		{"__subclasses__", "a template attack"},
		{"\x80\x04\x95", "a pickle"},
		{"gaswv", "an encoded pickle"},
	} {
		if bytes.Contains(lower, []byte(c.sign)) {
			return c.what
		}
	}
	return ""
}

// npyFormat reads the header of NumPy arrays. An array of objects holds a
// pickle, which is handed to the engine. Facts: "dtype".
type npyFormat struct{}

var ruleNpyTrailing = prerun.Rule{
	ID: "scan.npy.trailing-data", Title: "data after the array", Severity: prerun.Low,
	Help: "Bytes follow the array. NumPy ignores them; numpy.save to an open file writes several arrays one after the other. They were searched for executables and hidden content. Save the array again if you expect only one.",
	Refs: []prerun.Reference{refAmbiguous},
}

func (npyFormat) Info() Info {
	return Info{ID: "npy", Extensions: []string{".npy"}, Rules: []prerun.Rule{ruleNpyTrailing}}
}

func (npyFormat) Match(p Probe) Match {
	if p.Starts("\x93NUMPY") {
		return Certain
	}
	return No
}

func (npyFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	off := int64(0)
	for n := 0; ; n++ {
		end, err := npyAt(ctx, a, out, off, n)
		if err != nil || end == a.Size {
			return err
		}
		var magic [6]byte
		if _, err := a.ReadAt(magic[:], end); err != nil || string(magic[:]) != "\x93NUMPY" {
			out.Finding(prerun.Finding{
				Rule:       ruleNpyTrailing,
				Confidence: prerun.ConfidenceHigh,
				Locations:  []prerun.Location{{Offset: end, Length: a.Size - end}},
				Message:    fmt.Sprintf("%d bytes follow the array", a.Size-end),
			})
			return nil
		}
		if err := a.Spend(Entries, 1); err != nil {
			return err
		}
		off = end
	}
}

// npyAt reads the array at off, the n-th of a file that holds several, and
// returns where it ends.
func npyAt(ctx context.Context, a *Artifact, out *Sink, off int64, n int) (int64, error) {
	arr, err := tensorfile.ParseNPY(a.Section(off, a.Size-off), a.Size-off)
	if err != nil {
		if cerr := npyBehind(ctx, a, out, off); cerr != nil {
			return 0, cerr
		}
		return 0, fmt.Errorf("array at offset %d: %w", off, err)
	}
	if n == 0 {
		out.Fact("dtype", excerpt(arr.Descr, 80))
	}
	end := off + arr.Offset + arr.Length
	out.Claim(off, end-off)
	if !arr.HasObject {
		return end, nil
	}
	name := "objects"
	if n > 0 {
		name = fmt.Sprintf("objects-%d", n)
	}
	return end, out.Child(ctx, Child{Name: name, Reader: a.Section(off+arr.Offset, arr.Length), Size: arr.Length})
}

// npyBehind hands over what follows a header that NumPy may understand all the
// same: its types have more names than are known here, and of an array of objects
// a pickle follows.
func npyBehind(ctx context.Context, a *Artifact, out *Sink, off int64) error {
	var head [12]byte
	if _, err := a.ReadAt(head[:], off); err != nil || string(head[:6]) != "\x93NUMPY" {
		return nil
	}
	start := off + 10 + int64(binary.LittleEndian.Uint16(head[8:]))
	if head[6] > 1 {
		start = off + 12 + int64(binary.LittleEndian.Uint32(head[8:]))
	}
	if start >= a.Size {
		return nil
	}
	out.Claim(off, a.Size-off)
	return out.Child(ctx, Child{Name: "objects", Reader: a.Section(start, a.Size-start), Size: a.Size - start})
}
