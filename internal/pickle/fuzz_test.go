package pickle_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/pickle/evade"
	"github.com/prerun/prerun/internal/testutil"
)

// FuzzScan holds that no input panics, that offsets lie in the file, that
// ranges cover it, that memory is bounded by the input, and that bursts make the
// same trace of the same bytes.
func FuzzScan(f *testing.F) {
	for _, p := range readings() {
		f.Add(p)
	}
	evasions(false, func(_ string, data []byte) { f.Add(data) })
	f.Add(vocabulary(20))
	f.Add(forest(5))
	f.Add(legacyTorch(asm(pickle.OpNone, pickle.OpPop), 2, make([]byte, 8)))
	f.Add(asm(pickle.OpProto, 4, joblibArray("f8", 1, asm(0, make([]byte, 8))), pickle.OpStop))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		var trace *pickle.Trace
		testutil.AllocBound(t, uint64(1<<20+1024*len(data)), func() { trace = scan(t, data) })
		checkRanges(t, trace)
		size := int64(len(data))
		for _, s := range trace.Streams {
			if s.Start < 0 || s.End < s.Start || s.End > size {
				t.Fatalf("stream %+v of %d bytes", s, size)
			}
		}
		for _, g := range trace.Globals {
			if g.Offset < 0 || g.Offset >= size || g.Stream >= len(trace.Streams) {
				t.Fatalf("global %+v of %d bytes", g, size)
			}
		}
		for i, c := range trace.Calls {
			if c.Offset < 0 || c.Offset >= size || c.Global >= len(trace.Globals) || c.Via >= i {
				t.Fatalf("call %d %+v of %d bytes", i, c, size)
			}
			_ = c.Args.String()
		}
		for _, n := range trace.Nested {
			if n.Offset < 0 || n.Length < 0 || n.Offset+n.Length > size {
				t.Fatalf("nested %+v of %d bytes", n, size)
			}
			_, _ = n.Extract(bytes.NewReader(data), 1<<16) // any error will do
		}
		if again := stepwise(t, data); !reflect.DeepEqual(trace, again) {
			t.Fatalf("bursts and steps differ:\n%+v\n%+v", trace, again)
		}
		pickle.Sniff(data[:min(len(data), 4096)], size)
	})
}

// FuzzEvade holds that the callee is found however two techniques hide it,
// whatever it is called with.
func FuzzEvade(f *testing.F) {
	all := evade.Techniques()
	for i := range all {
		f.Add(uint8(i), uint8(3*i), "echo hello")
	}
	f.Fuzz(func(t *testing.T, a, b uint8, argument string) {
		call := payload
		call.Argument = strings.ToValidUTF8(argument[:min(len(argument), 40)], "?")
		d, ok := evade.Build(call, all[int(a)%len(all)], all[int(b)%len(all)])
		if ok && !reached(t, d.Data, 0) {
			t.Errorf("%s+%s: the trace of %q does not hold the callee", all[int(a)%len(all)].Name, all[int(b)%len(all)].Name, d.Data)
		}
	})
}
