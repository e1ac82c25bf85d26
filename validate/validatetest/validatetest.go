// Package validatetest tests targets and scorers of other packages, and runs
// suites as Go tests.
package validatetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prerun/prerun/validate"
)

// TestTarget checks that a target keeps the contract of [validate.Target]: it has
// a steady name, answers ordinary and awkward inputs without a panic, answers
// several callers at once, gives up when its context has ended, and, where it
// is a [validate.Determinist], gives equal requests equal answers. It sends about
// twenty short requests.
func TestTarget(t *testing.T, target validate.Target) {
	t.Helper()
	t.Run("name", func(t *testing.T) {
		name := target.Name()
		if name == "" || !utf8.ValidString(name) || name != target.Name() {
			t.Errorf("name %q, then %q: want one steady UTF-8 text", name, target.Name())
		}
	})
	if d, ok := target.(validate.Digester); ok && d.Digest() != "" {
		t.Run("digest", func(t *testing.T) {
			if algorithm, hex, ok := strings.Cut(d.Digest(), ":"); !ok || algorithm == "" || hex == "" || strings.ToLower(hex) != hex {
				t.Errorf("digest %q is not algorithm:hex in lower case", d.Digest())
			}
		})
	}
	t.Run("inputs", func(t *testing.T) {
		for name, req := range map[string]validate.Request{
			"plain":        {Input: "Is this a question?"},
			"empty":        {},
			"unicode":      {Input: "naïve \u202e 你好 🙂"},
			"control":      {Input: "a\x00b\r\nc"},
			"long":         {Input: strings.Repeat("word ", 200)},
			"conversation": {System: "Be brief.", History: []validate.Message{{Role: "user", Text: "a"}, {Role: "assistant", Text: "b"}}, Input: "c"},
		} {
			if err := ask(t.Context(), target, req); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := ask(t.Context(), target, validate.Request{Input: fmt.Sprint("question ", i), Seed: uint64(i)}); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("ended_context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			// An answer is as good as an error: it may have been at hand.
			_, _ = target.Generate(ctx, validate.Request{Input: "late"})
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("still busy 30 seconds after the context ended")
		}
	})
	if d, ok := target.(validate.Determinist); ok && d.Deterministic() {
		t.Run("deterministic", func(t *testing.T) {
			req := validate.Request{Input: "the same again", Seed: 7}
			first, err := target.Generate(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if next, err := target.Generate(t.Context(), req); err != nil || next.Text != first.Text {
					t.Fatalf("answered %q, then %q (%v)", first.Text, next.Text, err)
				}
			}
		})
	}
}

func ask(ctx context.Context, target validate.Target, req validate.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panicked: %v", v)
		}
	}()
	res, err := target.Generate(ctx, req)
	if err == nil && (res.InputTokens < 0 || res.OutputTokens < 0 || res.Retries < 0) {
		return fmt.Errorf("negative counts: %+v", res)
	}
	return err
}

// TestScorer checks that a scorer passes pass and fails fail, keeps its name,
// answers the same each time and to several callers at once, and does not panic
// or change its mind about odd answers.
func TestScorer(t *testing.T, s validate.Scorer, c validate.Case, pass, fail string) {
	t.Helper()
	if name := s.Name(); name == "" || name != s.Name() {
		t.Errorf("name %q, then %q: want one steady text", name, s.Name())
	}
	for text, want := range map[string]bool{pass: true, fail: false} {
		for range 3 {
			if got, err := s.Score(t.Context(), c, validate.Response{Text: text}); err != nil || got != want {
				t.Errorf("answer %q: got %v (%v), want %v", text, got, err, want)
			}
		}
	}
	odd := []string{"", " ", "\x00", "\xff\xfe", strings.Repeat("a", 64<<10), "{", "\u202e"}
	var wg sync.WaitGroup
	for _, text := range odd {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("answer %.20q: panicked: %v", text, v)
				}
			}()
			first, err1 := s.Score(t.Context(), c, validate.Response{Text: text})
			next, err2 := s.Score(t.Context(), c, validate.Response{Text: text})
			if first != next || (err1 == nil) != (err2 == nil) {
				t.Errorf("answer %.20q: %v (%v), then %v (%v)", text, first, err1, next, err2)
			}
			if first && err1 != nil {
				t.Errorf("answer %.20q: passed with an error: %v", text, err1)
			}
		})
	}
	wg.Wait()
}

// Run runs a suite as subtests, one for each requirement, and returns the
// report. A requirement that is not PASS fails its test with the reason.
func Run(t *testing.T, runner validate.Runner, suite *validate.Suite, target validate.Target) *validate.Report {
	t.Helper()
	report, err := runner.Run(t.Context(), suite, target)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Requirements {
		t.Run(strings.ReplaceAll(d.Name, " ", "_"), func(t *testing.T) {
			if d.Verdict == validate.Pass {
				t.Logf("%s: %s", d.Verdict, d.Reason)
				return
			}
			t.Errorf("%s: %s", d.Verdict, d.Reason)
			for _, e := range d.Examples {
				t.Logf("case %s %s: %s", e.Case, e.Variant, e.Answer)
			}
		})
	}
	return report
}
