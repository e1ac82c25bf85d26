package scantest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/scantest"
)

// toy is a small format without defects: "TOY", a count, that many bytes.
type toy struct {
	scan  func(a *scan.Artifact, out *scan.Sink) error // nil does nothing more
	match func(p scan.Probe) scan.Match
	info  func(i *scan.Info)
}

var toyRule = prerun.Rule{ID: "scan.toy.loud", Title: "loud toy", Severity: prerun.Medium, Help: "Turn it down."}

func (f toy) Info() scan.Info {
	i := scan.Info{ID: "toy", Extensions: []string{".toy"}, Rules: []prerun.Rule{toyRule}}
	if f.info != nil {
		f.info(&i)
	}
	return i
}

func (f toy) Match(p scan.Probe) scan.Match {
	if f.match != nil {
		return f.match(p)
	}
	if p.Starts("TOY") && p.Size >= 7 {
		return scan.Certain
	}
	return scan.No
}

func (f toy) Scan(_ context.Context, a *scan.Artifact, out *scan.Sink) error {
	n := int64(binary.LittleEndian.Uint32(a.Head[3:]))
	if n > a.Size-7 {
		return fmt.Errorf("%d bytes, the file has %d", n, a.Size-7)
	}
	data, err := a.Bytes(7, n)
	if err != nil {
		return err
	}
	out.Claim(0, 7+n)
	if strings.Contains(string(data), "!") {
		out.Finding(prerun.Finding{Rule: toyRule, Message: "it is loud"})
	}
	if f.scan != nil {
		return f.scan(a, out)
	}
	return nil
}

// Version makes results of toys fit for a cache.
func (toy) Version() string { return "1" }

func toyFile(text string) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte("TOY"), uint32(len(text))), text...)
}

var calls atomic.Int64

// defects are formats that break one promise each, and what the kit says.
var defects = map[string]struct {
	format scan.Format
	want   string
}{
	"none": {toy{}, ""},
	"panic": {toy{scan: func(a *scan.Artifact, _ *scan.Sink) error {
		_ = a.Head[a.Size+1]
		return nil
	}}, "panic"},
	"claim_outside": {toy{scan: func(a *scan.Artifact, out *scan.Sink) error { out.Claim(0, a.Size+1); return nil }}, "it claimed"},
	"finding_outside": {toy{scan: func(a *scan.Artifact, out *scan.Sink) error {
		out.Finding(prerun.Finding{Rule: toyRule, Message: "m", Locations: []prerun.Location{{Offset: a.Size, Length: 9}}})
		return nil
	}}, "finding of scan.toy.loud at bytes"},
	"unpublished_rule": {toy{info: func(i *scan.Info) { i.Rules = nil }}, "is not published"},
	"unrated_rule":     {toy{info: func(i *scan.Info) { i.Rules[0].Severity = 0 }}, "not rated"},
	"other_every_time": {toy{scan: func(_ *scan.Artifact, out *scan.Sink) error {
		out.Fact("call", fmt.Sprint(calls.Add(1)))
		return nil
	}}, "another result"},
	"changing_info": {toy{info: func(i *scan.Info) { i.Extensions = append(i.Extensions, fmt.Sprintf(".x%d", calls.Add(1))) }}, "Info differs"},
	"bad_id":        {toy{info: func(i *scan.Info) { i.ID = "Toy" }}, "lower-case"},
	"allocates": {toy{scan: func(*scan.Artifact, *scan.Sink) error {
		sink = make([]byte, 130<<20)
		return nil
	}}, "were allocated"},
	"budget_swallowed": {toy{scan: func(a *scan.Artifact, out *scan.Sink) error {
		if _, err := a.Bytes(0, a.Size); err != nil {
			out.Fact("short", "yes")
		}
		return nil
	}}, ""}, // the engine notes the refusal
	"too_eager": {toy{match: func(p scan.Probe) scan.Match {
		if len(p.Head) > 7 && p.Starts("TOY") {
			return scan.Certain
		}
		return scan.Maybe // of everything
	}}, "recognised"},
	"never": {toy{match: func(scan.Probe) scan.Match { return scan.No }}, "not recognised"},
	"by_name": {toy{match: func(p scan.Probe) scan.Match {
		if p.Ext() == ".toy" && p.Size >= 7 {
			return scan.Certain
		}
		return scan.No
	}}, "under a name without meaning"},
}

var sink []byte

const defectEnv = "PRERUN_SCANTEST_DEFECT"

// TestOneDefect runs the kit over the format that the environment names.
func TestOneDefect(t *testing.T) {
	d, ok := defects[os.Getenv(defectEnv)]
	if !ok {
		t.Skip("run by TestDefects")
	}
	scantest.TestFormat(t, d.format, []scantest.Sample{
		{Name: "a.toy", Data: toyFile("quiet")},
		{Name: "b.toy", Data: toyFile("LOUD!"), Rules: []string{"scan.toy.loud"}},
	}, []scantest.Sample{{Name: "a.txt", Data: []byte("Some words.\n")}, {Name: "noise", Data: []byte{0xff, 0xd8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}})
}

// TestDefects holds the kit to what it promises: each defect is found, and a
// format without one passes.
func TestDefects(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestOneDefect$", "-test.count=1")
			cmd.Env = append(os.Environ(), defectEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (d.want != "") || !strings.Contains(string(out), d.want) {
				t.Errorf("%v, want %q:\n%.2000s", err, d.want, out)
			}
		})
	}
}
