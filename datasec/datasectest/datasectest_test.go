package datasectest_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/datasectest"
)

// counter is a detector that counts rows, with the flaw that its name says.
type counter string

var rule = prerun.Rule{ID: "test.rows.some", Title: "Some rows", Severity: prerun.Low, Help: "Rows that say x."}

func (c counter) Info() datasec.Info {
	r := rule
	if c == "unrated" {
		r.Severity = prerun.Unrated
	}
	return datasec.Info{Name: "counter", Version: 1, Rules: []prerun.Rule{r}}
}

func (c counter) New(datasec.Params) datasec.State { return &count{flaw: c} }

type count struct {
	flaw counter
	n    uint64
	last uint64
}

func (s *count) Observe(r *datasec.Record) {
	if strings.Contains(r.Fields[0].Value, "x") && (s.flaw != "blind" || r.Row == 0) || s.flaw == "eager" {
		s.n++
		s.last = uint64(r.Row) + 1
	}
	if s.flaw == "writes" {
		r.Fields[0].Value = ""
	}
}

func (s *count) Merge(other datasec.State) error {
	t, ok := other.(*count)
	if !ok {
		if s.flaw == "takes anything" {
			return nil
		}
		return &datasec.StateError{Detector: "counter", Reason: "foreign"}
	}
	s.n += t.n
	s.last = t.last
	return nil
}

func (s *count) MarshalBinary() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(nil, s.n)
	if s.flaw == "ordered" {
		b = binary.BigEndian.AppendUint64(b, s.last)
	}
	return b, nil
}

func (s *count) UnmarshalBinary(b []byte) error {
	if len(b) < 8 || len(b) > 8 && s.flaw == "" {
		return &datasec.StateError{Detector: "counter", Reason: "not 8 bytes"}
	}
	s.n = binary.BigEndian.Uint64(b)
	return nil
}

func (s *count) Finalize() (rep datasec.Report) {
	if s.flaw == "restless" {
		s.n++
	}
	if s.n > 0 {
		rep.Findings = []prerun.Finding{{Rule: rule, Severity: rule.Severity, Subject: prerun.Subject{Path: "."}, Message: "rows"}}
	}
	return rep
}

const flawVariable = "DATASECTEST_FLAW"

var (
	positive = datasectest.Rows("d", "x", "a", "b")
	negative = datasectest.Rows("d", "a", "b")
)

// TestFlawed is run by TestKit in a process of its own, because it is to fail.
func TestFlawed(t *testing.T) {
	flaw, ok := os.LookupEnv(flawVariable)
	if !ok {
		t.Skip("run by TestKit")
	}
	datasectest.TestDetector(t, counter(flaw), positive, negative)
}

func TestKit(t *testing.T) {
	for _, tt := range []struct{ flaw, want string }{
		{"", ""},
		{"unrated", "not rated"},
		{"blind", "first it found"},
		{"eager", "found something in the negative rows"},
		{"writes", "a row was changed"},
		{"takes anything", "merge with a foreign state"},
		{"ordered", "ends in other bytes"},
		{"restless", "changed the state"},
		{"long", "a byte too many"},
	} {
		t.Run(strings.ReplaceAll(tt.flaw, " ", "_"), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFlawed$")
			cmd.Env = append(os.Environ(), flawVariable+"="+tt.flaw)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (tt.want != "") {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("said nothing of %q:\n%s", tt.want, out)
			}
		})
	}
}
