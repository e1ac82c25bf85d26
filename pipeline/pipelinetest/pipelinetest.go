// Package pipelinetest checks other people's checks for package pipeline: that
// they describe themselves, find what they should and nothing else, answer the
// same every time and for any number of workers, honour cancellation, need
// nothing of their input that a gate need not give, and can be cached where they
// say so.
package pipelinetest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

// A Case is a check with something to look at, and what should come of it.
type Case struct {
	Name    string
	Check   pipeline.Check
	With    []pipeline.Check // producers of the facts that it needs
	Outcome pipeline.Outcome // in a gate whose threshold is medium
	Rules   []string         // ids of the findings, sorted, each once; nil for none
}

// Now is the time that the kit's gates judge by.
var Now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// TestCheck runs the contract over every case. One of them should pass and one
// should not: a check that never says no is no check. Goroutines that a check
// leaves behind are not looked for; use goleak in TestMain.
func TestCheck(t *testing.T, cases ...Case) {
	t.Helper()
	satisfied := 0
	for _, c := range cases {
		if c.Outcome.Satisfied() {
			satisfied++
		}
		t.Run(c.Name, func(t *testing.T) {
			k := kit{t, c}
			k.meta()
			want := k.outcome()
			k.repeatable(want)
			k.cancelled(want)
			k.bareInput()
			k.cacheable()
		})
	}
	if satisfied == 0 || satisfied == len(cases) {
		t.Errorf("%d of %d cases pass: a check needs cases that pass and cases that do not", satisfied, len(cases))
	}
}

type kit struct {
	t *testing.T
	c Case
}

// meta holds the description to its form.
func (k kit) meta() {
	k.t.Helper()
	m := k.c.Check.Meta()
	if again := k.c.Check.Meta(); !reflect.DeepEqual(m, again) {
		k.t.Errorf("Meta differs from call to call: %+v, then %+v", m, again)
	}
	for part := range strings.SplitSeq(m.ID, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			k.t.Errorf("id %q is not made of lower-case words with dots between them", m.ID)
		}
	}
	if !strings.Contains(m.ID, ".") {
		k.t.Errorf("id %q has one part; begin with a name of your own", m.ID)
	}
	if m.Timeout < 0 {
		k.t.Errorf("negative timeout %v", m.Timeout)
	}
	for name, list := range map[string][]string{"Needs": m.Needs, "Gives": m.Gives, "Items": m.Items, "Controls": m.Controls} {
		sorted := slices.Sorted(slices.Values(list))
		if slices.Contains(list, "") || len(slices.Compact(sorted)) != len(list) {
			k.t.Errorf("%s %q holds an empty entry, or one twice", name, list)
		}
	}
	if _, ok := k.c.Check.(pipeline.Digester); ok && len(m.Needs)+len(m.Gives) > 0 {
		k.t.Error("a check with facts is never cached: CacheKey is of no use")
	}
}

// A wrapped check lets the kit change what the inner one is given, and see what
// it returns.
type wrapped struct {
	pipeline.Check
	edit   func(context.Context, *pipeline.Input) (context.Context, *pipeline.Input)
	mu     sync.Mutex
	result *pipeline.Result
	err    error
	failed any // what it panicked with
}

func (w *wrapped) Run(ctx context.Context, in *pipeline.Input) (result *pipeline.Result, err error) {
	if w.edit != nil {
		ctx, in = w.edit(ctx, in)
	}
	defer func() {
		p := recover()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.result, w.err, w.failed = result, err, p
	}()
	return w.Check.Run(ctx, in)
}

// gate runs the case and returns what the gate made of it.
func (k kit) gate(w *wrapped, workers int, cache pipeline.Cache) pipeline.CheckResult {
	k.t.Helper()
	w.Check = k.c.Check
	id := k.c.Check.Meta().ID
	var check pipeline.Check = w
	if cache != nil {
		check = k.c.Check // a wrapper is no Digester
	}
	g := pipeline.Gate{
		Profile: pipeline.Profile{
			Tier:   pipeline.LOW,
			Items:  []pipeline.Item{{ID: "KIT", Title: "conformance", Tier: pipeline.LOW, Checks: []string{id}}},
			FailOn: prerun.Medium,
		},
		Checks: append([]pipeline.Check{check}, k.c.With...), Now: Now, Seed: 1, Workers: workers, Cache: cache,
	}
	d, err := g.Run(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, c := range d.Checks {
		if c.ID == id {
			return c
		}
	}
	k.t.Fatalf("the gate knows no check %q", id)
	return pipeline.CheckResult{}
}

// outcome runs the case once and returns its result as text.
func (k kit) outcome() string {
	k.t.Helper()
	var w wrapped
	got := k.gate(&w, 1, nil)
	if w.failed != nil {
		k.t.Fatalf("panic: %v", w.failed)
	}
	if got.Outcome != k.c.Outcome {
		k.t.Errorf("outcome %v, want %v: %s", got.Outcome, k.c.Outcome, got.Reason)
	}
	var rules []string
	if w.result != nil && w.result.Source != nil {
		for f := range w.result.Source.Findings() {
			if err := f.Check(); err != nil {
				k.t.Error(err)
			}
			rules = append(rules, f.Rule.ID)
		}
	}
	slices.Sort(rules)
	if rules = slices.Compact(rules); !slices.Equal(rules, k.c.Rules) {
		k.t.Errorf("findings by %q, want %q", rules, k.c.Rules)
	}
	return text(k.t, w.result)
}

// repeatable runs the case for several numbers of workers, and side by side.
func (k kit) repeatable(want string) {
	k.t.Helper()
	for _, workers := range []int{1, 2, 8} {
		var w wrapped
		k.gate(&w, workers, nil)
		if diff := difference(want, text(k.t, w.result)); diff != "" {
			k.t.Errorf("another result with %d workers:\n%s", workers, diff)
		}
	}
	var side [4]wrapped
	var wg sync.WaitGroup
	for i := range side {
		wg.Go(func() { k.gate(&side[i], 2, nil) })
	}
	wg.Wait()
	for i := range side {
		if diff := difference(want, text(k.t, side[i].result)); diff != "" {
			k.t.Errorf("another result when it runs beside itself:\n%s", diff)
		}
	}
}

// cancelled runs the check under a context that is over: it must return an
// error, or, having needed no time, the whole result, and never a part of it.
func (k kit) cancelled(want string) {
	k.t.Helper()
	w := wrapped{edit: func(ctx context.Context, in *pipeline.Input) (context.Context, *pipeline.Input) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, in
	}}
	k.gate(&w, 1, nil)
	if w.err == nil {
		if diff := difference(want, text(k.t, w.result)); diff != "" {
			k.t.Errorf("a cancelled run gives another result and no error:\n%s", diff)
		}
	}
}

// bareInput runs the check with everything at its zero value that may be.
func (k kit) bareInput() {
	k.t.Helper()
	w := wrapped{edit: func(ctx context.Context, in *pipeline.Input) (context.Context, *pipeline.Input) {
		bare := *in
		bare.Now, bare.Seed, bare.Workers = time.Time{}, 0, 0
		return ctx, &bare
	}}
	k.gate(&w, 1, nil)
	if w.failed != nil {
		k.t.Errorf("panic with a zero Now, Seed and Workers: %v", w.failed)
	}
}

// cacheable compares a result from the cache with one that was computed.
func (k kit) cacheable() {
	k.t.Helper()
	d, ok := k.c.Check.(pipeline.Digester)
	if !ok {
		return
	}
	first, err := d.CacheKey(k.t.Context())
	if err != nil && k.c.Outcome.Satisfied() {
		k.t.Errorf("CacheKey: %v", err)
	}
	second, again := d.CacheKey(k.t.Context())
	if (err == nil) != (again == nil) || !slices.Equal(first, second) {
		k.t.Errorf("CacheKey differs from call to call: %q, %v, then %q, %v", first, err, second, again)
	}
	var cache pipeline.MemoryCache
	want := shown(k.t, k.gate(&wrapped{}, 1, nil))
	for _, when := range []string{"that fills the cache", "from the cache"} {
		if diff := difference(want, shown(k.t, k.gate(&wrapped{}, 1, &cache))); diff != "" {
			k.t.Errorf("a run %s gives another result:\n%s", when, diff)
		}
	}
}

// shown writes what a gate made of a check.
func shown(t *testing.T, c pipeline.CheckResult) string {
	t.Helper()
	facts := make(map[string]any)
	for name, value := range c.Facts {
		facts[name] = value
	}
	return text(t, &pipeline.Result{Outcome: c.Outcome, Reason: c.Reason, Source: c.Source(), Facts: facts, Intervals: c.Intervals})
}

// difference is the first line in which two texts differ, or "".
func difference(want, got string) string {
	if want == got {
		return ""
	}
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("- %s\n+ %s", a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines became %d", len(a), len(b))
}

// text writes a result so that two can be compared.
func text(t *testing.T, r *pipeline.Result) string {
	t.Helper()
	if r == nil {
		return ""
	}
	out := struct {
		Subjects  []prerun.Subject
		Findings  []prerun.Finding
		Gaps      []prerun.Gap
		Facts     map[string]any
		Intervals any
		Graphs    any
		Inputs    []prerun.Subject
		Outcome   pipeline.Outcome
		Reason    string
		Err       string
	}{Facts: r.Facts, Intervals: r.Intervals, Graphs: r.Graphs, Inputs: r.Inputs, Outcome: r.Outcome, Reason: r.Reason}
	if r.Err != nil {
		out.Err = r.Err.Error()
	}
	if src := r.Source; src != nil {
		out.Subjects, out.Findings, out.Gaps = slices.Collect(src.Subjects()), slices.Collect(src.Findings()), slices.Collect(src.Gaps())
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return fmt.Sprintf("a figure cannot be written: %v", err)
	}
	return string(data)
}
