package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

func TestWiring(t *testing.T) {
	check := func(id string, needs, gives []string) pipeline.Check {
		return &fake{id: id, needs: needs, gives: gives, result: passes()}
	}
	for _, tt := range []struct {
		name   string
		checks []pipeline.Check
		skip   []string
		want   string
	}{
		{"nil_check", []pipeline.Check{nil}, nil, "check 0 is nil"},
		{"no_id", []pipeline.Check{check("", nil, nil)}, nil, "has no id"},
		{"one_id_twice", []pipeline.Check{check("a", nil, nil), check("a", nil, nil)}, nil, `two checks are called "a"`},
		{"missing_producer", []pipeline.Check{check("a", []string{"x"}, nil)}, nil, `"a" needs "x", which no check gives`},
		{"two_producers", []pipeline.Check{check("a", nil, []string{"x"}), check("b", nil, []string{"x"})}, nil, `"a" and "b" both give "x"`},
		{"gives_twice", []pipeline.Check{check("a", nil, []string{"x", "x"})}, nil, `both give "x"`},
		{"needs_itself", []pipeline.Check{check("a", []string{"x"}, []string{"x"})}, nil, "needs, through others, what it gives"},
		{"cycle", []pipeline.Check{
			check("a", []string{"z"}, []string{"x"}), check("b", []string{"x"}, []string{"y"}), check("c", []string{"y"}, []string{"z"}),
		}, nil, "needs, through others, what it gives"},
		{"skip_of_nothing", []pipeline.Check{check("a", nil, nil)}, []string{"b"}, `"b" is to be skipped and is no check`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := pipeline.Gate{Profile: requiring("a"), Checks: tt.checks, Skip: tt.skip, Now: now}
			d, err := g.Run(t.Context())
			if !errors.Is(err, pipeline.ErrWiring) || d != nil || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

const number pipeline.Fact[int] = "test.number"

// A producer ends before what needs it starts, whatever the ids and the number
// of workers say.
func TestOrder(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		var mu sync.Mutex
		var ran []string
		step := func(id string, needs, gives []string) pipeline.Check {
			return &fake{id: id, needs: needs, gives: gives, run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
				mu.Lock()
				ran = append(ran, id)
				mu.Unlock()
				for _, name := range gives {
					if err := pipeline.Put(in, pipeline.Fact[int](name), len(id)); err != nil {
						return nil, err
					}
				}
				return passes(), nil
			}}
		}
		g := fakeGate(step("a", []string{"2"}, nil), step("b", []string{"1"}, []string{"2"}), step("c", nil, []string{"1"}), step("d", nil, nil))
		g.Workers = workers
		d, err := g.Run(t.Context())
		if err != nil || d.Verdict != prerun.Pass {
			t.Fatalf("workers=%d: %v, %v", workers, d, err)
		}
		a, b, c := slices.Index(ran, "a"), slices.Index(ran, "b"), slices.Index(ran, "c")
		if len(ran) != 4 || c > b || b > a {
			t.Errorf("workers=%d: ran %v", workers, ran)
		}
	}
}

func TestFacts(t *testing.T) {
	give := func(f func(in *pipeline.Input) error) *fake {
		return &fake{id: "giver", gives: []string{string(number)}, run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
			return passes(), f(in)
		}}
	}
	take := func(f func(in *pipeline.Input) error) *fake {
		return &fake{id: "taker", needs: []string{string(number)}, run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
			return passes(), f(in)
		}}
	}
	seven := func(in *pipeline.Input) error { return pipeline.Put(in, number, 7) }
	get := func(in *pipeline.Input) error {
		if n, err := pipeline.Get(in, number); err != nil || n != 7 {
			return fmt.Errorf("got %d, %w", n, err)
		}
		return nil
	}
	for _, tt := range []struct {
		name         string
		giver, taker *fake
		want         [2]string // outcomes
		reason       string    // of the one that is not satisfied first
	}{
		{"given", give(seven), take(get), [2]string{"pass", "pass"}, ""},
		{"not_given", give(func(*pipeline.Input) error { return nil }), take(get), [2]string{"error", "skipped"}, "passed without giving"},
		{"given_twice", give(func(in *pipeline.Input) error { return errors.Join(seven(in), seven(in)) }), take(get), [2]string{"error", "skipped"}, "twice"},
		{"undeclared_put", give(func(in *pipeline.Input) error {
			return errors.Join(seven(in), pipeline.Put(in, pipeline.Fact[int]("other"), 1))
		}), take(get), [2]string{"error", "skipped"}, "not declared"},
		{"undeclared_get", give(seven), take(func(in *pipeline.Input) error {
			_, err := pipeline.Get(in, pipeline.Fact[int]("other"))
			return err
		}), [2]string{"pass", "error"}, "not declared"},
		{"other_type", give(seven), take(func(in *pipeline.Input) error {
			_, err := pipeline.Get(in, pipeline.Fact[string](number))
			return err
		}), [2]string{"pass", "error"}, "another type"},
		{"given_then_error", give(func(in *pipeline.Input) error { return errors.Join(seven(in), errors.New("late")) }), take(get), [2]string{"error", "skipped"}, "late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := runFakes(t, tt.giver, tt.taker)
			got := [2]string{result(t, d, "giver").Outcome.String(), result(t, d, "taker").Outcome.String()}
			if got != tt.want {
				t.Errorf("outcomes %v, want %v", got, tt.want)
			}
			reasons := result(t, d, "giver").Reason + result(t, d, "taker").Reason
			if !strings.Contains(reasons, tt.reason) {
				t.Errorf("reasons %q lack %q", reasons, tt.reason)
			}
		})
	}
}

// What a check does wrong is its own error: the others run, the gate says no,
// and nothing that the check quotes reaches the report unmasked.
func TestContainment(t *testing.T) {
	secret := "token=hunter2hunter2"
	for _, tt := range []struct {
		name string
		bad  *fake
		want string
	}{
		{"error", &fake{err: errors.New("no luck, " + secret + "\x1b[2J")}, "no luck"},
		{"panic", &fake{run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) { panic("ouch " + secret) }}, "panic: ouch"},
		{"nil_map", &fake{run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
			return nil, fill(nil)
		}}, "panic: assignment to entry in nil map"},
		{"goexit", &fake{run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) { runtime.Goexit(); return nil, nil }}, "ended without a result"},
		{"panicking_source", &fake{result: &pipeline.Result{Source: (*brokenSource)(nil)}}, "panic: "},
		{"unreportable", &fake{result: found(prerun.Finding{Severity: prerun.Low, Message: secret})}, "cannot be reported"},
		{"unwritable_figure", &fake{result: &pipeline.Result{Outcome: pipeline.Pass, Facts: map[string]any{"x": math.NaN()}}}, `figure "x" cannot be written`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.bad.id = "bad"
			d := runFakes(t, tt.bad, &fake{id: "good", result: passes()})
			bad := result(t, d, "bad")
			if bad.Outcome != pipeline.Errored || !strings.Contains(bad.Reason, tt.want) {
				t.Errorf("%v: %q, want %q", bad.Outcome, bad.Reason, tt.want)
			}
			if good := result(t, d, "good"); good.Outcome != pipeline.Pass {
				t.Errorf("the other check: %v", good.Outcome)
			}
			if d.Verdict != prerun.Fail || !slices.Contains(open(d), "pipeline.check.error") {
				t.Errorf("verdict %v, findings %v", d.Verdict, open(d))
			}
			if text := rendered(t, d); strings.Contains(text, "hunter2") || strings.Contains(text, "\x1b") {
				t.Error("a secret or an escape is in the report")
			}
		})
	}
}

func fill(m map[string]int) error {
	m["a"] = 1
	return nil
}

type brokenSource struct{ prerun.Source }

// A check that runs out of time is an error; the clock is the test's.
func TestTimeouts(t *testing.T) {
	slow := func(d time.Duration) func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
		return func(ctx context.Context, _ *pipeline.Input) (*pipeline.Result, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(d):
				return passes(), nil
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		g := fakeGate(
			&fake{id: "default", run: slow(9 * time.Minute)},
			&fake{id: "default.slow", run: slow(11 * time.Minute)},
			&fake{id: "own", timeout: time.Hour, run: slow(59 * time.Minute)},
			&fake{id: "own.slow", timeout: time.Second, run: slow(time.Minute)},
			&fake{id: "deaf", timeout: time.Second, run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
				time.Sleep(time.Minute)
				return passes(), nil
			}},
		)
		g.Workers = 8
		d, err := g.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"default.slow": "error", "own.slow": "error", "deaf": "error"}
		if diff := cmp.Diff(want, unsatisfied(d)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := result(t, d, "deaf").Reason; got != "it did not end within 1s" {
			t.Errorf("reason %q", got)
		}
	})
}

// A gate that is cancelled, before or while it runs, decides nothing.
func TestCancellation(t *testing.T) {
	cause := errors.New("enough")
	for _, tt := range []struct {
		name string
		when func(cancel context.CancelCauseFunc) *fake
	}{
		{"before", func(cancel context.CancelCauseFunc) *fake {
			cancel(cause)
			return &fake{id: "a", result: passes()}
		}},
		{"while", func(cancel context.CancelCauseFunc) *fake {
			return &fake{id: "a", run: func(ctx context.Context, _ *pipeline.Input) (*pipeline.Result, error) {
				cancel(cause)
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		}},
		{"ignored_by_the_check", func(cancel context.CancelCauseFunc) *fake {
			return &fake{id: "a", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
				cancel(cause)
				return passes(), nil
			}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			g := fakeGate(tt.when(cancel), &fake{id: "b", result: passes()}, &fake{id: "c", result: passes()})
			g.Workers = 1
			if d, err := g.Run(ctx); !errors.Is(err, cause) || d != nil {
				t.Errorf("got %v, %v", d, err)
			}
		})
	}
	t.Run("real_checks", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		w.answer = func(s string) (string, error) { cancel(cause); return s, nil }
		if d, err := w.gate().Run(ctx); !errors.Is(err, cause) || d != nil {
			t.Errorf("got %v, %v", d, err)
		}
	})
}

// Workers bounds how many checks run at once, and connections have a bound of
// their own.
func TestConcurrency(t *testing.T) {
	for _, tt := range []struct {
		workers int
		network bool
		most    int64
	}{{1, false, 1}, {3, false, 3}, {1, true, 4}} {
		synctest.Test(t, func(t *testing.T) {
			var running, most atomic.Int64
			var checks []pipeline.Check
			for i := range 20 {
				checks = append(checks, &fake{id: fmt.Sprint("c", i), network: tt.network, run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
					n := running.Add(1)
					defer running.Add(-1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second)
					return passes(), nil
				}})
			}
			g := fakeGate(checks...)
			g.Workers = tt.workers
			if _, err := g.Run(t.Context()); err != nil || most.Load() != tt.most {
				t.Errorf("%+v: %d at once, %v", tt, most.Load(), err)
			}
		})
	}
}

func TestInput(t *testing.T) {
	var got *pipeline.Input
	g := fakeGate(&fake{id: "a", run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
		got = in
		in.Progress(1, 2)
		in.Log.Info("discarded")
		return passes(), nil
	}})
	g.Seed, g.Workers = 9, 3
	var events []pipeline.Event
	g.Progress = func(e pipeline.Event) { events = append(events, e) }
	if _, err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !got.Now.Equal(now) || got.Seed != 9 || got.Workers != 3 {
		t.Errorf("input %+v", got)
	}
	want := []pipeline.Event{{Check: "a", Part: 1, Total: 2}, {Check: "a", Done: true, Outcome: pipeline.Pass}}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Skipping or leaving out a required check is a no that says so; skipping
// another one is a no as well.
func TestRequired(t *testing.T) {
	a, b := &fake{id: "a", result: passes()}, &fake{id: "b", result: passes()}
	for _, tt := range []struct {
		name     string
		checks   []pipeline.Check
		skip     []string
		findings []string
	}{
		{"left_out", []pipeline.Check{b}, nil, []string{"pipeline.gate.required-missing"}},
		{"skipped", []pipeline.Check{a, b}, []string{"a"}, []string{"pipeline.gate.required-missing"}},
		{"optional_skipped", []pipeline.Check{a, b}, []string{"b"}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := pipeline.Gate{Profile: requiring("a"), Checks: tt.checks, Skip: tt.skip, Now: now}
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.Verdict != prerun.Fail {
				t.Errorf("verdict %v", d.Verdict)
			}
			if diff := cmp.Diff(tt.findings, open(d)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// Findings beyond the bound are not kept, and what is not kept is a gap.
func TestFindingsAreBounded(t *testing.T) {
	list := make([]prerun.Finding, 100_001)
	for i := range list {
		list[i] = finding("test.rule.low", prerun.Low)
	}
	d := runFakes(t, &fake{id: "a", result: found(list...)})
	if got := result(t, d, "a").Outcome; got != pipeline.Inconclusive {
		t.Errorf("outcome %v", got)
	}
	if n := len(open(d)); n != 100_000 {
		t.Errorf("%d findings kept", n)
	}
}

// A check may be shown other bytes than those that were verified: that is found
// by their digests.
func TestModelChangedMeanwhile(t *testing.T) {
	w := newWorld(t)
	g := w.gate()
	verified := digestOf(w, "model/config.json")
	other := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		path, digest string
		found        bool
	}{
		{"model/config.json", verified, false},
		{"model/config.json", "", false},
		{"model/config.json", "sha512:" + strings.Repeat("0", 128), false},
		{"other/config.json", other, false},
		{"model/config.json", other, true},
	} {
		again := *g
		src := prerun.NewSource([]prerun.Subject{{Path: tt.path, Digest: tt.digest}}, nil, nil)
		again.Checks = append(slices.Clone(g.Checks), &fake{id: "late", result: &pipeline.Result{Source: src}})
		d, err := again.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if found := slices.Contains(open(d), "pipeline.gate.changed-meanwhile"); found != tt.found || found != (d.Verdict == prerun.Fail) {
			t.Errorf("%+v: %v, %v", tt, d.Verdict, open(d))
		}
	}
}

// The same inputs give the same report and the same verdict, byte for byte.
func TestDeterminism(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	w := newWorld(t)
	w.put("prompts/other.txt", []byte("x"))
	w.flip("data/train.jsonl")
	w.answer = func(s string) (string, error) {
		if strings.HasSuffix(s, "3") {
			return "no", nil
		}
		return s, nil
	}
	var want string
	for _, procs := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(procs)
		for _, workers := range []int{0, 1, 2, 8} {
			g := w.gate()
			g.Workers = workers
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := d.Sign(t.Context(), w.config().Info("gate.yaml"), signer(t, "gate"))
			if err != nil {
				t.Fatal(err)
			}
			got := rendered(t, d) + string(bundle)
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("GOMAXPROCS=%d Workers=%d: other bytes:\n%s", procs, workers, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
		}
	}
}

// Checks that end in any order give one report.
func TestOrderOfEndingDoesNotShow(t *testing.T) {
	var want string
	for i := range 6 {
		synctest.Test(t, func(t *testing.T) {
			var checks []pipeline.Check
			for j := range 6 {
				checks = append(checks, &fake{id: fmt.Sprint("c", j), run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
					time.Sleep(time.Duration((i*j)%7) * time.Second)
					return found(findingAt("test.rule.medium", prerun.Medium, fmt.Sprint("f", j%2)), findingAt("test.rule.low", prerun.Low, "f0")), nil
				}})
			}
			g := fakeGate(checks...)
			g.Workers = 6
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := rendered(t, d)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("run %d gives another report", i)
			}
		})
	}
}

func BenchmarkGate(b *testing.B) {
	var checks []pipeline.Check
	for i := range 10 {
		var findings []prerun.Finding
		for j := range 100 {
			findings = append(findings, findingAt("test.rule.low", prerun.Low, fmt.Sprintf("model/file-%d-%d", i, j)))
		}
		checks = append(checks, &fake{id: fmt.Sprint("c", i), result: found(findings...)})
	}
	g := fakeGate(checks...)
	b.ReportAllocs()
	for b.Loop() {
		if d, err := g.Run(b.Context()); err != nil || d.Verdict != prerun.Pass {
			b.Fatal(d, err)
		}
	}
}
