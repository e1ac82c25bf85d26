package validate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/validate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A memFile is a journal in memory.
type memFile struct {
	data []byte
	at   int64

	syncs     int
	failAfter int // writes until one fails; 0 means never
}

func (f *memFile) Read(p []byte) (int, error) {
	if f.at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	if f.failAfter > 0 {
		if f.failAfter--; f.failAfter == 0 {
			return 0, errors.New("no space left on device")
		}
	}
	f.data = append(f.data[:f.at], p...)
	f.at += int64(len(p))
	return len(p), nil
}

func (f *memFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		f.at = offset
	case io.SeekCurrent:
		f.at += offset
	case io.SeekEnd:
		f.at = int64(len(f.data)) + offset
	}
	return f.at, nil
}

func (f *memFile) Truncate(size int64) error {
	f.data = f.data[:size]
	return nil
}

func (f *memFile) Sync() error {
	f.syncs++
	return nil
}

// target answers what fn says, the same each time.
func target(fn func(req validate.Request) (string, error)) validate.TargetFunc {
	return validate.TargetFunc{
		ID:           "test@1",
		SameEachTime: true,
		Fn: func(_ context.Context, req validate.Request) (validate.Response, error) {
			text, err := fn(req)
			return validate.Response{Text: text, Model: "test-1", InputTokens: 3, OutputTokens: 1}, err
		},
	}
}

// cases returns n cases that expect "yes".
func cases(n int) []validate.Case {
	out := make([]validate.Case, n)
	for i := range out {
		out[i] = validate.Case{ID: fmt.Sprintf("c%03d", i), Input: fmt.Sprintf("question %d", i), Expect: "yes"}
	}
	return out
}

func suite(n int, requirements ...validate.Requirement) *validate.Suite {
	return &validate.Suite{Name: "suite.yaml", Cases: cases(n), Requirements: requirements}
}

func rate(limit float64) validate.Requirement {
	return validate.Requirement{Name: "rate", Kind: validate.RateAtMost, Limit: limit, Scorer: validate.Exact{}}
}

// failFirst answers wrongly for the first n cases of the suite.
func failFirst(n int) validate.TargetFunc { return failBetween(0, n) }

func failBetween(from, to int) validate.TargetFunc {
	return target(func(req validate.Request) (string, error) {
		var i int
		fmt.Sscanf(req.Case, "c%d", &i)
		if from <= i && i < to {
			return "no", nil
		}
		return "yes", nil
	})
}

func run(t *testing.T, r validate.Runner, s *validate.Suite, tgt validate.Target) *validate.Report {
	t.Helper()
	rep, err := r.Run(t.Context(), s, tgt)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func encode(t *testing.T, rep *validate.Report) string {
	t.Helper()
	data, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestVerdictOfARate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		n, fails int
		limit    float64
		want     validate.Verdict
		needed   int
	}{
		{"none_of_59", 59, 0, .05, validate.Pass, 0},
		{"one_of_93", 93, 1, .05, validate.Pass, 0},
		{"one_of_92", 92, 1, .05, validate.Inconclusive, 93},
		{"mean_below_limit_is_no_pass", 100, 4, .05, validate.Inconclusive, 181},
		{"above_limit_not_yet_proven", 100, 8, .05, validate.Inconclusive, 286},
		{"proven", 100, 11, .05, validate.Fail, 361},
		{"all", 60, 60, .05, validate.Fail, 1481},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := run(t, validate.Runner{}, suite(tt.n, rate(tt.limit)), failFirst(tt.fails))
			d := rep.Requirements[0]
			if d.Verdict != tt.want || rep.Verdict != tt.want || d.Failures != tt.fails || d.Clusters != tt.n {
				t.Errorf("got %s with %d of %d: %s", d.Verdict, d.Failures, d.Clusters, d.Reason)
			}
			if d.Needed != tt.needed {
				t.Errorf("needed %d, want %d", d.Needed, tt.needed)
			}
			if d.Lower > d.Estimate || d.Estimate > d.Upper {
				t.Errorf("estimate %g outside %g and %g", d.Estimate, d.Lower, d.Upper)
			}
		})
	}
}

func TestRateAtLeastIsTheSameClaim(t *testing.T) {
	for _, fails := range []int{0, 1, 4, 11} {
		atMost := rate(.05)
		atLeast := atMost
		atLeast.Name, atLeast.Kind, atLeast.Limit = "at least", validate.RateAtLeast, .95
		rep := run(t, validate.Runner{}, suite(100, atMost, atLeast), failFirst(fails))
		a, b := rep.Requirements[0], rep.Requirements[1]
		if a.Verdict != b.Verdict {
			t.Errorf("%d failures: %s and %s", fails, a.Verdict, b.Verdict)
		}
		if diff := a.Bound - (1 - b.Bound); diff > 1e-12 || diff < -1e-12 {
			t.Errorf("bounds %g and %g", a.Bound, b.Bound)
		}
		if b.Lower > b.Estimate || b.Estimate > b.Upper || b.Bound != b.Lower {
			t.Errorf("%+v", b)
		}
	}
}

func TestNothingIsNeverAPass(t *testing.T) {
	broken := target(func(validate.Request) (string, error) { return "", errors.New("no connection, token=abcdefgh") })
	rep := run(t, validate.Runner{}, suite(100, rate(.05)), broken)
	if rep.Verdict != validate.Error || rep.FaultCount != 100 {
		t.Errorf("all errors: %s, %d faults", rep.Verdict, rep.FaultCount)
	}
	if text := encode(t, rep); strings.Contains(text, "abcdefgh") {
		t.Error("the report shows a secret")
	}

	var zero validate.Report
	gaps := 0
	for range zero.Gaps() {
		gaps++
	}
	if zero.Verdict != validate.Error || gaps == 0 {
		t.Errorf("zero report: %s with %d gaps", zero.Verdict, gaps)
	}
	var none *validate.Report
	for range none.Findings() {
		t.Error("a nil report has a finding")
	}

	for name, s := range map[string]*validate.Suite{
		"nil":             nil,
		"no cases":        suite(0, rate(.05)),
		"no requirements": suite(100),
		"no match": suite(100, func() validate.Requirement {
			r := rate(.05)
			r.Where.Tags = []string{"nobody"}
			return r
		}()),
	} {
		if _, err := (validate.Runner{}).Run(t.Context(), s, failFirst(0)); !errors.Is(err, validate.ErrSuite) {
			t.Errorf("%s: got %v, want an invalid suite", name, err)
		}
	}
}

func TestErrorBudget(t *testing.T) {
	flaky := target(func(req validate.Request) (string, error) {
		if req.Case < "c003" {
			return "", errors.New("overloaded")
		}
		return "yes", nil
	})
	for _, tt := range []struct {
		name   string
		budget float64
		strict bool
		want   validate.Verdict
	}{
		{"none_tolerated", 0, false, validate.Error},
		{"within_budget", .03, false, validate.Pass},
		{"over_budget", .02, false, validate.Error},
		{"errors_fail", 0, true, validate.Inconclusive},
	} {
		r := rate(.05)
		r.ErrorBudget, r.ErrorsFail = tt.budget, tt.strict
		rep := run(t, validate.Runner{}, suite(100, r), flaky)
		if rep.Verdict != tt.want {
			t.Errorf("%s: %s, %s", tt.name, rep.Verdict, rep.Requirements[0].Reason)
		}
	}
	// A violation stays proven whatever else is missing.
	bad := target(func(req validate.Request) (string, error) {
		if req.Case < "c003" {
			return "", errors.New("overloaded")
		}
		return "no", nil
	})
	if rep := run(t, validate.Runner{}, suite(100, rate(.05)), bad); rep.Verdict != validate.Fail {
		t.Errorf("failures beside errors: %s", rep.Verdict)
	}
}

func TestPanicsAreErrors(t *testing.T) {
	wild := target(func(validate.Request) (string, error) { panic("target") })
	if rep := run(t, validate.Runner{}, suite(59, rate(.05)), wild); rep.Verdict != validate.Error {
		t.Errorf("target: %s", rep.Verdict)
	}
	r := rate(.05)
	r.Scorer = validate.ScorerFunc{ID: "wild", Fn: func(context.Context, validate.Case, validate.Response) (bool, error) { panic("scorer") }}
	rep := run(t, validate.Runner{}, suite(59, r), failFirst(0))
	if rep.Verdict != validate.Error || !strings.Contains(rep.Faults[0].Text, "panicked: scorer") {
		t.Errorf("scorer: %s %v", rep.Verdict, rep.Faults)
	}
}

func TestReportDoesNotDependOnConcurrency(t *testing.T) {
	s := suite(120, rate(.05), validate.Requirement{
		Name: "edits", Kind: validate.Invariance, Limit: .05,
		Transforms: []validate.Transform{transform(t, "upper-case", ""), transform(t, "suffix", "!")},
	})
	want := encode(t, run(t, validate.Runner{Seed: 7, Concurrency: 1}, s, failFirst(5)))
	for _, n := range []int{2, 8, 64} {
		if got := encode(t, run(t, validate.Runner{Seed: 7, Concurrency: n}, s, failFirst(5))); got != want {
			t.Errorf("concurrency %d changes the report", n)
		}
	}
}

func transform(t *testing.T, name, param string) validate.Transform {
	t.Helper()
	tr, err := validate.NewTransform(name, param)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestResumeAtEveryByte cuts the journal of a finished run at every offset and
// goes on: the report is the same to the byte, and nothing is asked twice but
// what the cut removed.
func TestResumeAtEveryByte(t *testing.T) {
	s := suite(8, rate(.32))
	tgt := target(func(req validate.Request) (string, error) {
		switch req.Case {
		case "c003":
			return "no", nil
		case "c005":
			return "\xff invalid", nil
		case "c007":
			return "", errors.New("broken")
		}
		return "yes", nil
	})
	whole := &memFile{}
	want := encode(t, run(t, validate.Runner{Journal: whole, Concurrency: 2}, s, tgt))
	for cut := range len(whole.data) + 1 {
		file := &memFile{data: append([]byte(nil), whole.data[:cut]...)}
		rep := run(t, validate.Runner{Journal: file, Concurrency: 1}, s, tgt)
		if got := encode(t, rep); got != want {
			t.Fatalf("cut at %d: another report:\n%s\n%s", cut, got, want)
		}
		if rep.Stats.Asked+rep.Stats.Reused != 8 {
			t.Fatalf("cut at %d: asked %d, reused %d", cut, rep.Stats.Asked, rep.Stats.Reused)
		}
		lines := strings.Count(string(whole.data[:cut]), "\n")
		if cut > 0 && whole.data[cut-1] != '\n' && rep.Stats.DroppedBytes == 0 {
			t.Fatalf("cut at %d: no note of the cut record (%d lines)", cut, lines)
		}
		if cut%8 != 0 {
			continue
		}
		again := run(t, validate.Runner{Journal: file}, s, tgt)
		if again.Stats.Asked != 0 || encode(t, again) != want {
			t.Fatalf("cut at %d: the repaired journal is not whole", cut)
		}
	}
}

// TestCorruptJournal flips each byte in turn. What precedes the damage is used,
// the rest is asked again, and a damaged header is refused, not overwritten.
func TestCorruptJournal(t *testing.T) {
	s := suite(8, rate(.32))
	whole := &memFile{}
	want := encode(t, run(t, validate.Runner{Journal: whole, Concurrency: 1}, s, failFirst(1)))
	header := strings.IndexByte(string(whole.data), '\n') + 1
	for i := range whole.data {
		file := &memFile{data: append([]byte(nil), whole.data...)}
		file.data[i] ^= 1
		before := string(file.data)
		rep, err := validate.Runner{Journal: file, Concurrency: 1}.Run(t.Context(), s, failFirst(1))
		if i < header {
			if !errors.Is(err, validate.ErrJournal) || string(file.data) != before {
				t.Fatalf("byte %d: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		if encode(t, rep) != want || rep.Stats.DroppedBytes == 0 || rep.Stats.DroppedWhy == "" {
			t.Fatalf("byte %d: dropped %d, %q", i, rep.Stats.DroppedBytes, rep.Stats.DroppedWhy)
		}
	}
}

func TestJournalOfAnotherRun(t *testing.T) {
	file := &memFile{}
	s := suite(59, rate(.05))
	run(t, validate.Runner{Journal: file}, s, failFirst(0))
	before := string(file.data)
	other := failFirst(0)
	other.ID = "test@2"
	for name, attempt := range map[string]func() error{
		"seed": func() error {
			_, err := validate.Runner{Journal: file, Seed: 1}.Run(t.Context(), s, failFirst(0))
			return err
		},
		"target": func() error {
			_, err := validate.Runner{Journal: file}.Run(t.Context(), s, other)
			return err
		},
		"suite": func() error {
			_, err := validate.Runner{Journal: file}.Run(t.Context(), suite(59, rate(.06)), failFirst(0))
			return err
		},
	} {
		err := attempt()
		e, ok := errors.AsType[*validate.JournalError](err)
		if !ok || e.Field != name || !errors.Is(err, validate.ErrJournal) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	diary := &memFile{data: []byte("dear diary\n")}
	if _, err := (validate.Runner{Journal: diary}).Run(t.Context(), s, failFirst(0)); !errors.Is(err, validate.ErrJournal) {
		t.Errorf("a file that is no journal: %v", err)
	}
	if string(diary.data) != "dear diary\n" || string(file.data) != before {
		t.Error("a file that was refused was changed")
	}
}

// TestInFlightIsMarked: what a killed run had sent is asked again and, for a
// target that may answer otherwise, named.
func TestInFlightIsMarked(t *testing.T) {
	s := suite(59, rate(.05))
	file := &memFile{}
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	stop := target(func(validate.Request) (string, error) {
		if n.Add(1) == 20 {
			cancel() // the twentieth request is in flight when the run dies
		}
		return "yes", nil
	})
	stop.SameEachTime = false
	if _, err := (validate.Runner{Journal: file, Concurrency: 1}).Run(ctx, s, stop); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	rep := run(t, validate.Runner{Journal: file}, s, stop)
	if rep.Stats.Reused != 19 || rep.Stats.Asked != 40 || len(rep.AskedAgain) != 1 {
		t.Errorf("reused %d, asked %d, marked %v", rep.Stats.Reused, rep.Stats.Asked, rep.AskedAgain)
	}
	if rep.Verdict != validate.Pass {
		t.Errorf("%s", rep.Verdict)
	}
}

func TestRetryErrors(t *testing.T) {
	s := suite(59, rate(.05))
	file := &memFile{}
	up := false
	tgt := target(func(req validate.Request) (string, error) {
		if !up && req.Case == "c004" {
			return "", errors.New("overloaded")
		}
		return "yes", nil
	})
	if rep := run(t, validate.Runner{Journal: file}, s, tgt); rep.Verdict != validate.Error {
		t.Fatalf("%s", rep.Verdict)
	}
	up = true
	if rep := run(t, validate.Runner{Journal: file}, s, tgt); rep.Verdict != validate.Error || rep.Stats.Asked != 0 {
		t.Errorf("a journaled error: %s, asked %d", rep.Verdict, rep.Stats.Asked)
	}
	if rep := run(t, validate.Runner{Journal: file, RetryErrors: true}, s, tgt); rep.Verdict != validate.Pass || rep.Stats.Asked != 1 {
		t.Errorf("asked for: %s, asked %d", rep.Verdict, rep.Stats.Asked)
	}
}

// TestJournalMemory: a line without an end does not fill memory.
func TestJournalMemory(t *testing.T) {
	s := suite(59, rate(.05))
	file := &memFile{}
	run(t, validate.Runner{Journal: file}, s, failFirst(0))
	size := len(file.data)
	file.data = append(file.data, strings.Repeat("a", 64<<20)...)
	testutil.AllocBound(t, 24<<20, func() {
		rep := run(t, validate.Runner{Journal: file}, s, failFirst(0))
		if rep.Stats.DroppedBytes != 64<<20 || rep.Stats.Asked != 0 || len(file.data) != size {
			t.Errorf("%+v", rep.Stats)
		}
	})
}

func TestJournalThatCannotBeWritten(t *testing.T) {
	for after := 1; after < 20; after++ {
		file := &memFile{failAfter: after}
		rep, err := validate.Runner{Journal: file}.Run(t.Context(), suite(59, rate(.05)), failFirst(0))
		if err == nil || rep != nil {
			t.Fatalf("after %d writes: no error", after)
		}
	}
}
