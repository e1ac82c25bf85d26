package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/flatbuf"
	"github.com/prerun/prerun/integrity/scan/internal/wire"
)

// cntkFormat walks the dictionaries of Microsoft Cognitive Toolkit models of
// version 2: functions of the user's, which name code to load. Facts:
// "framework", "operators" the number of functions.
type cntkFormat struct{}

var ruleCNTKFunction = prerun.Rule{
	ID: "scan.cntk.user-function", Title: "function that loads code by name", Severity: prerun.High,
	Help: "The model holds a function of its author's, as the name of a library or Python module and of a function in it. Loading the model loads that code and calls it, whatever the name leads to. Do not load the model unless you know both.",
	Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
}

func (cntkFormat) Info() Info {
	return Info{ID: "cntk", Extensions: []string{".cntk"}, Operators: []string{"cntk"}, Rules: []prerun.Rule{ruleCNTKFunction}}
}

// Match looks for a version and an entry of a dictionary: a name and a value
// that starts with its own version and type.
func (cntkFormat) Match(p Probe) Match {
	if len(p.Head) < 12 || p.Head[0] != 0x08 || p.Head[2] != 0x12 {
		return No
	}
	found := No
	wire.Head(p.Head, p.Size, func(f wire.Field) bool {
		if f.Is(1, wire.Varint) {
			return f.Value < 64
		}
		name := false
		wire.Head(p.Head[f.Off:], f.Len, func(g wire.Field) bool {
			switch {
			case g.Is(1, wire.Bytes) && g.Len > 0 && g.Len < 100:
				name = true
				return true
			case g.Is(2, wire.Bytes) && name && f.Off+g.Off+4 <= int64(len(p.Head)):
				if v := p.Head[f.Off+g.Off:]; v[0] == 0x08 && v[2] == 0x10 && v[3] <= 11 {
					found = Maybe
				}
			}
			return false
		})
		return false
	})
	return found
}

// cntkDepth bounds dictionaries within dictionaries.
const cntkDepth = 64

type cntkScan struct {
	out     *Sink
	w       *wire.Reader
	entries int
	ops     int
}

func (cntkFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &cntkScan{out: out, w: wire.NewReader(a, a.Size)}
	err := s.dictionary(wire.Field{Len: a.Size}, 1)
	if s.entries == 0 && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("cntk: no entries: %w", ErrNotFormat)
	}
	if err != nil {
		return fmt.Errorf("cntk: %w", err)
	}
	out.Fact("framework", "cntk")
	out.Fact("operators", strconv.Itoa(s.ops))
	out.Claim(0, a.Size)
	return nil
}

// dictionary reads the entries of one and judges it by those that are text.
func (s *cntkScan) dictionary(f wire.Field, depth int) error {
	if depth > cntkDepth {
		return fmt.Errorf("offset %d: dictionaries nest deeper than %d", f.At, cntkDepth)
	}
	words := make(map[string]string)
	err := s.w.Walk(f.Off, f.End(), func(e wire.Field) error {
		if !e.Is(2, wire.Bytes) {
			return nil
		}
		s.entries++
		key := ""
		return s.w.Walk(e.Off, e.End(), func(g wire.Field) (err error) {
			switch {
			case g.Is(1, wire.Bytes):
				key, _, err = s.w.Text(g, 200)
			case g.Is(2, wire.Bytes):
				var text string
				text, err = s.value(g, depth)
				if slices.Contains([]string{"module", "deserialize_method", "op", "type"}, key) {
					words[key] = text
				}
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	if op := words["op"]; op != "" {
		s.ops++
		s.out.Operator(Operator{Kind: "cntk", Name: op, Location: prerun.Location{Offset: f.At, Length: f.End() - f.At}})
	}
	_, module := words["module"]
	_, method := words["deserialize_method"]
	if module && method || words["type"] == "NativeUserDefinedFunction" {
		shown := excerpt(words["module"]+":"+words["deserialize_method"], 120)
		graphFinding(s.out, ruleCNTKFunction, 0, flatbuf.Range{Off: f.At, Len: f.End() - f.At}, shown, "loading calls %q", shown)
	}
	return nil
}

// value goes through lists (11) and dictionaries (12) in a value, and returns
// its text (8) if it has one.
func (s *cntkScan) value(f wire.Field, depth int) (text string, err error) {
	err = s.w.Walk(f.Off, f.End(), func(g wire.Field) (err error) {
		switch {
		case g.Is(8, wire.Bytes):
			text, _, err = s.w.Text(g, 500)
		case g.Is(11, wire.Bytes):
			if depth > cntkDepth {
				return fmt.Errorf("offset %d: dictionaries nest deeper than %d", f.At, cntkDepth)
			}
			return s.w.Walk(g.Off, g.End(), func(v wire.Field) error {
				if !v.Is(1, wire.Bytes) {
					return nil
				}
				_, err := s.value(v, depth+1)
				return err
			})
		case g.Is(12, wire.Bytes):
			return s.dictionary(g, depth+1)
		}
		return err
	})
	return text, err
}

// A closedFormat is one whose graph cannot be read: what is in it stays a gap,
// and its bytes are searched like those of any file. Facts: "framework".
type closedFormat struct {
	id, ext, framework string
	magic, what        string
}

func closedFormats() []Format {
	return []Format{
		closedFormat{"cntk-v1", ".dnn", "cntk", "B\x00C\x00N\x00\x00\x00", "networks of version 1 of CNTK are not read"},
		closedFormat{"rknn", ".rknn", "rknn", "RKNN", "operators of compiled RKNN models cannot be read"},
	}
}

func (f closedFormat) Info() Info { return Info{ID: f.id, Extensions: []string{f.ext}} }

func (f closedFormat) Match(p Probe) Match {
	if p.Starts(f.magic) && p.Size >= 16 {
		return Certain
	}
	return No
}

func (f closedFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	out.Fact("framework", f.framework)
	out.Claim(0, int64(len(f.magic)))
	out.Gap(f.what, 0, a.Size)
	return nil
}

// tensorrtFormat recognises engines of NVIDIA TensorRT (.engine, .plan). They
// are compiled for one device, their layers and plugins cannot be read, and so
// they are never complete. What is checked is whether they carry code for the
// host. Facts: "framework", "plugins" words in them that look like the names of
// plugins.
type tensorrtFormat struct{}

var ruleTensorRTHost = prerun.Rule{
	ID: "scan.tensorrt.host-code", Title: "engine that carries code for the host", Severity: prerun.Medium,
	Help: "The engine holds a native program for the host: the lean runtime of a version-compatible engine, or plugins that were serialised with it. The runtime loads it when host code is allowed. Build the engine without it, or build it yourself.",
	Refs: []prerun.Reference{refForeignCode, refEmbedded},
}

func (tensorrtFormat) Info() Info {
	return Info{ID: "tensorrt", Extensions: []string{".engine", ".plan", ".trt"}, Rules: []prerun.Rule{ruleTensorRTHost}}
}

func (tensorrtFormat) Match(p Probe) Match {
	if (p.Starts("ptrt") || p.Starts("ftrt")) && p.Size >= 32 {
		return Certain
	}
	return No
}

// cudaMachine is the machine of programs for the GPU in their ELF header, which
// every engine is full of.
const cudaMachine = 190

func (tensorrtFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	out.Fact("framework", "tensorrt")
	out.Claim(0, a.Size) // searched here, because the engine's own search knows no GPU
	out.Gap("layers and plugins of a TensorRT engine cannot be read", 0, a.Size)
	plugins := make(map[string]bool)
	buf := a.run.buffer()
	defer a.run.recycle(buf)
	for off := int64(0); off < a.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		w := buf[:min(int64(len(buf)), a.Size-off)]
		if _, err := a.ReadAt(w, off); err != nil && !isEOF(err) {
			return err
		}
		limit := len(w)
		if off+int64(len(w)) < a.Size {
			limit -= searchOverlap
		}
		for i := range limit {
			switch w[i] {
			case 0x7f, 'M', 0xcf, 0xce, 0xca:
				hostCode(a, out, w[i:], off+int64(i))
			case '_', 'P':
				plugin(plugins, w, i)
			}
		}
		off += int64(limit)
	}
	if len(plugins) > 0 {
		out.Fact("plugins", strings.Join(sortedKeys(plugins), " "))
	}
	return nil
}

func hostCode(a *Artifact, out *Sink, w []byte, off int64) {
	kind := executable(a, w, off)
	if kind == "" || kind == "ELF" && (w[18] == cudaMachine && w[19] == 0) {
		return
	}
	graphFinding(out, ruleTensorRTHost, 0, flatbuf.Range{Off: off, Len: min(64, a.Size-off)}, kind, "native code (%s) at offset %d", kind, off)
}

// plugin keeps the word around i when it looks like the name of a plugin, as
// "BatchedNMS_TRT" and "CustomGeluPluginDynamic" do.
func plugin(names map[string]bool, w []byte, i int) {
	const longest = 64
	if len(names) >= 20 || !strings.HasPrefix(string(w[i:min(i+6, len(w))]), "_TRT") && string(w[i:min(i+6, len(w))]) != "Plugin" {
		return
	}
	from, to := i, i
	for from > max(0, i-longest) && word(w[from-1]) {
		from--
	}
	for to < min(len(w), i+longest) && word(w[to]) {
		to++
	}
	names[excerpt(string(w[from:to]), 80)] = true
}
