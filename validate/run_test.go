package validate_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prerun/prerun/validate"
)

// BenchmarkRun measures what the harness costs a case, with a target that costs
// nothing: questions, journal, scoring and decision.
func BenchmarkRun(b *testing.B) {
	const n = 2000
	for _, bm := range []struct {
		name    string
		journal func() validate.Journal
	}{
		{"no_journal", func() validate.Journal { return nil }},
		{"journal", func() validate.Journal { return &memFile{} }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s, tgt := suite(n, rate(.05)), failFirst(0)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (validate.Runner{Journal: bm.journal()}).Run(b.Context(), s, tgt); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/case")
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	s := suite(2000, rate(.05))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (validate.Runner{}).Plan(s); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTimeout: a target that never answers, but heeds its context, is an error
// outcome after the time-out, and what answers in time is not.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := validate.TargetFunc{ID: "slow@1", Fn: func(ctx context.Context, req validate.Request) (validate.Response, error) {
			span := time.Second
			if req.Case == "c003" {
				span = time.Hour
			}
			select {
			case <-time.After(span):
				return validate.Response{Text: "yes"}, nil
			case <-ctx.Done():
				return validate.Response{}, ctx.Err()
			}
		}}
		r := rate(.05)
		r.ErrorBudget = .02
		start := time.Now()
		rep := run(t, validate.Runner{Timeout: time.Minute, Concurrency: 60}, suite(60, r), slow)
		if rep.Verdict != validate.Pass || rep.FaultCount != 1 || rep.Requirements[0].Errors != 1 {
			t.Errorf("%s: %s", rep.Verdict, rep.Requirements[0].Reason)
		}
		if rep.Stats.Duration != time.Minute || time.Since(start) != time.Minute {
			t.Errorf("took %s", rep.Stats.Duration)
		}
	})
}

// TestCancel: a run that is told to stop returns, asks no more, and says why.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		slow := validate.TargetFunc{ID: "slow@1", Fn: func(ctx context.Context, _ validate.Request) (validate.Response, error) {
			asked++
			<-ctx.Done()
			return validate.Response{}, ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rep, err := validate.Runner{Concurrency: 1}.Run(ctx, suite(60, rate(.05)), slow)
		if rep != nil || err == nil || asked != 1 {
			t.Errorf("%v, %v, asked %d", rep, err, asked)
		}
	})
}

// TestKill kills a process in the middle of a run, twice, and lets a third
// finish: the report is that of a run that nobody disturbed.
func TestKill(t *testing.T) {
	s := suite(200, rate(.05))
	slow := target(func(req validate.Request) (string, error) {
		time.Sleep(2 * time.Millisecond)
		if req.Case == "c100" {
			return "no", nil
		}
		return "yes", nil
	})
	runner := validate.Runner{Seed: 9, Concurrency: 2}
	if path := os.Getenv("PRERUN_TEST_JOURNAL"); path != "" { // the child
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		runner.Journal = file
		run(t, runner, s, slow)
		return
	}
	path := filepath.Join(t.TempDir(), "journal")
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	for _, grown := range []int64{3_000, 12_000} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "PRERUN_TEST_JOURNAL="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); size() < grown && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	resumed := runner
	resumed.Journal = file
	got := run(t, resumed, s, slow)
	if encode(t, got) != encode(t, run(t, runner, s, slow)) {
		t.Error("the report differs")
	}
	if got.Stats.Reused == 0 || got.Stats.Asked == 0 {
		t.Errorf("%+v", got.Stats)
	}
}
