package pickle_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
	"github.com/prerun/prerun/internal/testutil"
)

// An answer is what one of CPython's readers did with a pickle.
type answer struct {
	Globals [][2]string
	Calls   int
	Done    bool
	End     int64
	Ops     int64
	Error   string
}

// oracle asks CPython, with every name replaced by something inert.
func oracle(t *testing.T, programs [][]byte) []map[string]answer {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		testutil.Missing(t, "python3", "install CPython 3.8 or newer")
	}
	var in bytes.Buffer
	for _, p := range programs {
		in.WriteString(hex.EncodeToString(p) + "\n")
	}
	cmd := exec.CommandContext(t.Context(), python, "-I", filepath.Join("testdata", "oracle.py"))
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	var answers []map[string]answer
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var a map[string]answer
		if err := json.Unmarshal(sc.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(programs) {
		t.Fatalf("%d answers for %d programs", len(answers), len(programs))
	}
	return answers
}

// randomProgram is a pickle that mostly makes sense: operands are on the stack
// when they are needed, more often than not.
func randomProgram(r *rand.Rand) []byte {
	var p program
	words := []string{"os", "system", "builtins", "eval", "a.b", "x"}
	word := func() string { return words[r.IntN(len(words))] }
	literal := func() []byte {
		w := word()
		switch r.IntN(12) {
		case 0:
			return asm(pickle.OpBinunicode, u32(len(w)), w)
		case 1:
			return asm(pickle.OpBinunicode8, u64(len(w)), w)
		case 2:
			return asm(pickle.OpUnicode, w, "\n")
		case 3:
			return asm(pickle.OpString, "'"+w+"'\n")
		case 4:
			return asm(pickle.OpShortBinstring, len(w), w)
		case 5:
			return asm(pickle.OpBinstring, u32(len(w)), w)
		case 6:
			return asm(pickle.OpShortBinbytes, len(w), w)
		case 7:
			return asm(pickle.OpUnicode, `\u00`+hex.EncodeToString([]byte(w[:1]))+w[1:], "\n")
		}
		return str(w)
	}
	object := func() []byte {
		switch r.IntN(6) {
		case 0:
			return asm(literal(), literal(), pickle.OpStackGlobal)
		case 1:
			return asm(pickle.OpMark, literal(), pickle.OpInst, word()+"\n"+word()+"\n")
		}
		return asm(pickle.OpGlobal, word()+"\n"+word()+"\n")
	}
	numbers := []string{"1", "-7", "010", "0x10", "0b1", "0o7", "1_0", " 3", "+1", "99999999999999999999", "0", "00", "01", "x"}
	steps := []func() []byte{
		literal, literal, object, object,
		func() []byte { return asm(object(), pickle.OpEmptyTuple, pickle.OpReduce) },
		func() []byte { return asm(object(), literal(), pickle.OpTuple1, pickle.OpReduce) },
		func() []byte { return asm(object(), literal(), pickle.OpTuple1, pickle.OpNewobj) },
		func() []byte { return asm(pickle.OpMark, object(), literal(), pickle.OpObj) },
		func() []byte { return asm(object(), pickle.OpEmptyTuple, pickle.OpEmptyDict, pickle.OpNewobjEx) },
		func() []byte { return asm(pickle.OpEmptyDict, pickle.OpBuild) },
		func() []byte { return asm(pickle.OpMemoize) },
		func() []byte { return asm(pickle.OpBinput, r.IntN(6)) },
		func() []byte { return asm(pickle.OpBinget, r.IntN(6)) },
		func() []byte { return asm(pickle.OpPut, numbers[r.IntN(len(numbers))]+"\n") },
		func() []byte { return asm(pickle.OpGet, numbers[r.IntN(len(numbers))]+"\n") },
		func() []byte { return asm(pickle.OpInt, numbers[r.IntN(len(numbers))]+"\n") },
		func() []byte { return asm(pickle.OpLong, numbers[r.IntN(len(numbers))]+"L\n") },
		func() []byte { return asm(pickle.OpFloat, "1.5\n") },
		func() []byte { return asm(pickle.OpDup, pickle.OpPop) },
		func() []byte { return asm(pickle.OpMark, pickle.OpPop) },
		func() []byte { return asm(pickle.OpMark, literal(), pickle.OpPopMark) },
		func() []byte { return asm(pickle.OpPop) },
		func() []byte { return asm(pickle.OpMark, literal(), literal(), pickle.OpDict) },
		func() []byte { return asm(pickle.OpEmptyList, literal(), pickle.OpAppend) },
		func() []byte { return asm(literal(), pickle.OpBinpersid) },
		func() []byte { return asm(pickle.OpProto, r.IntN(7)) },
		func() []byte { return asm(pickle.OpFrame, u64(r.IntN(24))) },
		func() []byte {
			// No lengths and indices of four bytes and more: CPython allocates
			// what they claim.
			for {
				switch op := pickle.Op(r.IntN(256)); op {
				case pickle.OpLongBinput, pickle.OpBinstring, pickle.OpBinbytes, pickle.OpBinunicode, pickle.OpLong4,
					pickle.OpBinbytes8, pickle.OpBinunicode8, pickle.OpBytearray8, pickle.OpFrame:
				default:
					return asm(op)
				}
			}
		},
	}
	if r.IntN(3) > 0 {
		p.Write(asm(pickle.OpProto, 2+r.IntN(4)))
	}
	for range 1 + r.IntN(14) {
		p.Write(steps[r.IntN(len(steps))]())
	}
	p.Write(asm(pickle.OpStop))
	if r.IntN(8) == 0 { // broken off
		p.Truncate(r.IntN(p.Len()))
	}
	return p.Bytes()
}

// Whatever any reader of CPython looks up or calls, the trace holds: it is a
// superset of them all. Where pickletools decodes to the end, so do we, to the
// same byte.
func TestSupersetOfCPython(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	programs := make([][]byte, 6000)
	for i := range programs {
		programs[i] = randomProgram(r)
	}
	programs = append(programs, readings()...)
	resolved, called := 0, 0
	for i, a := range oracle(t, programs) {
		trace := scan(t, programs[i])
		have := make(map[[2]string]bool)
		for _, g := range trace.Globals {
			have[[2]string{g.Module, g.Name}] = true
		}
		var calls int64
		for _, c := range trace.Calls {
			calls += c.Count
		}
		for reader, ans := range a {
			resolved += len(ans.Globals)
			called += ans.Calls
			for _, g := range ans.Globals {
				if !have[g] {
					t.Errorf("%s resolves %q in %q; the trace has %+v", reader, g, programs[i], trace.Globals)
				}
			}
			if int64(ans.Calls) > calls {
				t.Errorf("%s performs %d calls in %q; the trace has %d", reader, ans.Calls, programs[i], calls)
			}
			if reader != "pickletools" && ans.Done && trace.Streams[0].Faults != nil && len(trace.Streams) == 1 {
				t.Errorf("%s loads %q; the trace says %v", reader, programs[i], trace.Streams[0].Faults)
			}
		}
		if tools := a["pickletools"]; tools.Done {
			if s := trace.Streams[0]; s.End != tools.End || s.Ops != tools.Ops {
				t.Errorf("pickletools decodes %d opcodes to offset %d of %q; the trace %d to %d, faults %v",
					tools.Ops, tools.End, programs[i], s.Ops, s.End, s.Faults)
			}
		}
		if t.Failed() && i > 200 {
			t.FailNow()
		}
	}
	if resolved < 10000 || called < 1000 {
		t.Errorf("CPython resolved %d names and performed %d calls; too few to mean anything", resolved, called)
	}
}
