package pickle_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/testutil"
)

// stepwise is what running one opcode after the other makes of data.
func stepwise(t testing.TB, data []byte) *pickle.Trace {
	t.Helper()
	trace, err := pickle.Machine{}.ScanStepwise(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// Bursts change nothing but the time.
func TestBursts(t *testing.T) {
	check := func(name string, data []byte) {
		if diff := cmp.Diff(stepwise(t, data), scan(t, data)); diff != "" {
			t.Errorf("%s (-stepwise +bursts):\n%s", name, diff)
		}
	}
	for _, tt := range readingCases() {
		check(tt.name, tt.data)
	}
	evasions(false, check)
	for i, data := range [][]byte{
		vocabulary(20000), tree(5000), forest(2000), estimator(), settings(), containers(40), old(500),
		asm(bytes.Repeat(asm(pickle.OpMark, pickle.OpNone), 300), bytes.Repeat(asm(pickle.OpTuple), 300), pickle.OpStop),
		asm(pickle.OpEmptyList, bytes.Repeat(asm(pickle.OpBinunicode, u32(70000), make([]byte, 70000), pickle.OpAppend), 5), pickle.OpStop),
		asm(pickle.OpMark, pickle.OpAppends), asm(pickle.OpNone, pickle.OpMark, pickle.OpMark, pickle.OpAppends, pickle.OpStop),
		asm(pickle.OpEmptyDict, pickle.OpMark, pickle.OpNone, pickle.OpSetitems, pickle.OpStop),
		asm(pickle.OpEmptyDict, pickle.OpMark, pickle.OpNone, pickle.OpNone, pickle.OpAppends, pickle.OpStop),
		asm(pickle.OpNone, pickle.OpMark, pickle.OpTuple2, pickle.OpStop),
		asm(pickle.OpMark, pickle.OpMemoize, pickle.OpBinget, 0, pickle.OpStop),
		asm(pickle.OpNone, pickle.OpLongBinput, u32(100), pickle.OpBinput, 1, pickle.OpMemoize, pickle.OpLongBinget, u32(100), pickle.OpStop),
	} {
		check(fmt.Sprint(i), data)
	}
}

// old is a dictionary as protocol 0 writes it, item by item.
func old(n int) []byte {
	var p program
	p.WriteString("(dp0\n")
	for i := range n {
		fmt.Fprintf(&p, "V%d\np%d\n(I%d\nF%d.5\ntp%d\ns", i, 2*i+1, i, i, 2*i+2)
	}
	return asm(p.Bytes(), pickle.OpStop)
}

// containers is a tuple of a list, a dictionary and a set that grow in turn by n
// items, and between them thousands of others come and go.
func containers(n int) []byte {
	p := asm(pickle.OpProto, 4, pickle.OpEmptyList, pickle.OpMemoize, pickle.OpEmptyDict, pickle.OpMemoize, pickle.OpEmptySet, pickle.OpMemoize)
	other := asm(pickle.OpMark, bytes.Repeat(asm(pickle.OpNone), 50), pickle.OpTuple, pickle.OpPop)
	for i := range n {
		p = asm(p, pickle.OpBinget, 0, pickle.OpBinint1, i, pickle.OpTuple1, pickle.OpAppend, pickle.OpPop,
			pickle.OpBinget, 1, str(fmt.Sprint("key", i)), pickle.OpBinint1, i, pickle.OpTuple1, pickle.OpSetitem, pickle.OpPop)
		if i%3 == 0 {
			p = asm(p, bytes.Repeat(other, 50))
		}
		p = asm(p, pickle.OpBinget, 2, pickle.OpMark, pickle.OpBinint1, i, pickle.OpBinint1, i+1, pickle.OpAdditems, pickle.OpPop)
	}
	return asm(p, pickle.OpTuple3, pickle.OpStop)
}

// What was put into containers comes out of them in order.
func TestContainers(t *testing.T) {
	const n = 40
	trace := scan(t, containers(n))
	var got [3][]string
	for i := range got {
		c := trace.Streams[0].Result.Items[i]
		if c.Cut() && c.Type != pickle.Set {
			t.Errorf("%d of %d items of a %s are kept", len(c.Items), c.Len, c.Type)
		}
		for _, v := range c.Items {
			got[i] = append(got[i], v.String())
		}
	}
	var want [3][]string
	for i := range n {
		tuple := fmt.Sprintf("(%d,)", i)
		want[0] = append(want[0], tuple)
		want[1] = append(want[1], fmt.Sprintf("'key%d'", i), tuple)
		if i < 32 { // plain data beyond the 64th item is not kept
			want[2] = append(want[2], fmt.Sprint(i), fmt.Sprint(i+1))
		}
	}
	want[2] = want[2][:64]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func TestLiteralValues(t *testing.T) {
	long := strings.Repeat("0123456789", 7000)
	for _, tt := range []struct {
		data []byte
		want pickle.Value
	}{
		{asm(pickle.OpBinint1, 255), pickle.Value{Type: pickle.Int, Int: 255}},
		{asm(pickle.OpBinint, u32(1<<32-1)), pickle.Value{Type: pickle.Int, Int: -1}},
		{asm(pickle.OpLong1, 0), pickle.Value{Type: pickle.Int}},
		{asm(pickle.OpLong1, 7, "\xff\xff\xff\xff\xff\xff\x7f"), pickle.Value{Type: pickle.Int, Int: 1<<55 - 1}},
		{asm(pickle.OpLong1, 7, "\x00\x00\x00\x00\x00\x00\x80"), pickle.Value{Type: pickle.Int, Int: -1 << 55}},
		{asm(pickle.OpLong1, 8, u64(1<<55)), pickle.Value{Type: pickle.Int, Int: 1 << 55}},
		{asm(pickle.OpLong1, 8, u64(1<<63)), pickle.Value{Type: pickle.Int, Int: math.MinInt64}},
		{asm(pickle.OpLong1, 9, u64(1<<63), 0), pickle.Value{Type: pickle.Int, Text: "0x8000000000000000", Offset: 2, Len: 9}},
		{asm(pickle.OpInt, "9223372036854775807\n"), pickle.Value{Type: pickle.Int, Int: math.MaxInt64}},
		{asm(pickle.OpLong, "-36028797018963969L\n"), pickle.Value{Type: pickle.Int, Int: -1<<55 - 1}},
		{asm(pickle.OpLong, "9223372036854775808L\n"), pickle.Value{Type: pickle.Int, Text: "9223372036854775808", Offset: 1, Len: 19}},
		{asm(pickle.OpLong, long, "\n"), pickle.Value{Type: pickle.Int, Text: "integer of 70000 bytes", Offset: 1, Len: 70000}},
		{asm(pickle.OpInt, "01\n"), pickle.Value{Type: pickle.Bool, Int: 1}},
		{asm(pickle.OpNewfalse), pickle.Value{Type: pickle.Bool}},
		{asm(pickle.OpBinfloat, []byte{0xc0, 0x04, 0, 0, 0, 0, 0, 0}), pickle.Value{Type: pickle.Float, Text: "-2.5"}},
		{asm(pickle.OpFloat, "2.50\n"), pickle.Value{Type: pickle.Float, Text: "2.50", Offset: 1}},
		{asm(str("")), pickle.Value{Type: pickle.Str, Offset: 2}},
		{asm(str("text")), pickle.Value{Type: pickle.Str, Text: "text", Offset: 2, Len: 4}},
		{asm(pickle.OpBinunicode, u32(70000), long), pickle.Value{Type: pickle.Str, Text: long[:4096], Offset: 5, Len: 70000}},
		{asm(pickle.OpBinunicode, u32(65535), long[:65535]), pickle.Value{Type: pickle.Str, Text: long[:4096], Offset: 5, Len: 65535}},
		{asm(pickle.OpBinbytes, u32(65534), long[:65534]), pickle.Value{Type: pickle.Bytes, Text: long[:4096], Offset: 5, Len: 65534}},
	} {
		trace := scan(t, asm(tt.data, pickle.OpMemoize, pickle.OpPop, pickle.OpBinget, 0, pickle.OpStop))
		if diff := cmp.Diff(tt.want, trace.Streams[0].Result); diff != "" {
			t.Errorf("%.40q (-want +got):\n%s", tt.data, diff)
		}
	}
}

// However much plain data stands before a call, it is found, or the trace says
// that a limit was met.
func TestBehindPlainData(t *testing.T) {
	const many = 5_000_000
	numbers := asm(pickle.OpMark, bytes.Repeat(asm(pickle.OpBinint1, 7), 1000), pickle.OpAppends)
	for _, tt := range []struct {
		name     string
		plain    []byte
		values   int // limit
		exceeded string
	}{
		{"numbers", asm(pickle.OpEmptyList, bytes.Repeat(numbers, many/1000), pickle.OpPop), 0, ""},
		{"tuples", bytes.Repeat(asm(pickle.OpBinint1, 7, pickle.OpTuple1, pickle.OpPop), many), 0, ""},
		{"dictionaries", bytes.Repeat(asm(pickle.OpEmptyDict, pickle.OpNone, pickle.OpNone, pickle.OpSetitem, pickle.OpPop), many/5), 0, ""},
		{"memoized", bytes.Repeat(asm(pickle.OpNone, pickle.OpMemoize, pickle.OpPop), many/5), 0, ""},
		{"one_batch", asm(pickle.OpEmptyList, pickle.OpMark, bytes.Repeat(asm(pickle.OpNone), many), pickle.OpAppends, pickle.OpPop), 0, "Stack"},
		{"too_many_tuples", bytes.Repeat(asm(pickle.OpNone, pickle.OpTuple1, pickle.OpPop), many/5), 1 << 20, "Values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := asm(pickle.OpProto, 4, tt.plain, call("os", "system", "true"), pickle.OpStop)
			var trace *pickle.Trace
			testutil.AllocBound(t, 256<<20, func() {
				m := pickle.Machine{Limits: pickle.Limits{Values: tt.values}}
				var err error
				if trace, err = m.Scan(t.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
					t.Fatal(err)
				}
			})
			var exceeded strings.Builder
			for _, x := range trace.Exceeded {
				exceeded.WriteString(x.Limit)
			}
			if exceeded.String() != tt.exceeded {
				t.Errorf("exceeded %q, want %q", exceeded.String(), tt.exceeded)
			}
			if tt.exceeded == "Stack" {
				return
			}
			if !slices.ContainsFunc(trace.Calls, func(c pickle.Call) bool { return c.Callee.Text == "os.system" }) {
				t.Errorf("calls %+v", trace.Calls)
			}
			if s := trace.Streams[0]; !s.Complete {
				t.Errorf("stream %+v", s)
			}
		})
	}
}

// A tuple that a fault puts into itself, and pairs of pairs, are walked no longer
// than others.
func TestTuplesInTuples(t *testing.T) {
	inItself := func(items ...any) []byte {
		return asm(asm(items...), pickle.OpTuple, pickle.OpBinput, 1, pickle.OpBinget, 1, pickle.OpAppend, pickle.OpPop)
	}
	function := asm(pickle.OpGlobal, "torch\nf\n")
	pairs := asm(pickle.OpNone, bytes.Repeat(asm(pickle.OpDup, pickle.OpTuple2), 64))
	for _, p := range [][]byte{
		asm(inItself(pickle.OpMark, function, pickle.OpNone), function, pickle.OpBinget, 1, pickle.OpReduce),
		asm(inItself(pickle.OpMark, pickle.OpNone), pickle.OpNone, pickle.OpBinget, 1, pickle.OpBuild),
		asm(pickle.OpNone, pairs, pickle.OpBuild),
		asm(function, pairs, pickle.OpReduce),
	} {
		scan(t, asm(pickle.OpProto, 4, p, pickle.OpStop))
	}
}

// Writes of one large dictionary after the other are kept within the limits, and
// looked at in proportion to the file.
func TestManyWrites(t *testing.T) {
	p := asm(pickle.OpProto, 4, pickle.OpEmptyDict, pickle.OpMark)
	for i := range 256 {
		p = asm(p, pickle.OpBinunicode, u32(4000), strings.Repeat(fmt.Sprintf("k%07d", i), 500), pickle.OpNone)
	}
	p = asm(p, pickle.OpSetitems, pickle.OpBinput, 0, pickle.OpPop, pickle.OpGlobal, "m\nf\n", pickle.OpBinput, 1, pickle.OpPop,
		bytes.Repeat(asm(pickle.OpBinget, 1, pickle.OpBinget, 0, pickle.OpBuild, pickle.OpPop), 2000), pickle.OpNone, pickle.OpStop)
	var trace *pickle.Trace
	testutil.AllocBound(t, 600<<20, func() { trace = scan(t, p) })
	var limits []string
	for _, x := range trace.Exceeded {
		limits = append(limits, x.Limit)
	}
	slices.Sort(limits)
	if diff := cmp.Diff([]string{"Ops", "Texts"}, limits); diff != "" || len(trace.Writes) != 2000 {
		t.Errorf("%d writes, exceeded (-want +got):\n%s", len(trace.Writes), diff)
	}
}

// MEMOIZE sets the key that is as large as the memo, whether set or not.
func TestMemoizeMeetsKey(t *testing.T) {
	data := asm(pickle.OpNone, pickle.OpLongBinput, u32(100), bytes.Repeat(asm(pickle.OpMemoize), 103),
		pickle.OpBinget, 99, pickle.OpBinget, 100, pickle.OpBinget, 101, pickle.OpStop)
	var faults []string
	for _, f := range scan(t, data).Streams[0].Faults {
		faults = append(faults, f.Reason)
	}
	if diff := cmp.Diff([]string{"memo key 101 is not set"}, faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}
