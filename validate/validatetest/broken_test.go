package validatetest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/validatetest"
)

const childEnv = "PRERUN_TEST_BROKEN"

// child runs one case of TestBroken in a process of its own, where the kit may
// fail without failing this one.
func child(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$")
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

func TestBroken(t *testing.T) {
	name := os.Getenv(childEnv)
	if name == "" {
		return // a child's part only
	}
	answer := func(text string) func(context.Context, validate.Request) (validate.Response, error) {
		return func(context.Context, validate.Request) (validate.Response, error) {
			return validate.Response{Text: text}, nil
		}
	}
	good := validate.TargetFunc{ID: "good@1", SameEachTime: true, Fn: answer("yes")}
	switch name {
	case "unsteady_name":
		validatetest.TestTarget(t, unsteady{good})
	case "panics":
		good.Fn = func(_ context.Context, req validate.Request) (validate.Response, error) {
			return validate.Response{Text: req.Input[:1]}, nil // and on an empty input?
		}
		validatetest.TestTarget(t, good)
	case "negative":
		good.Fn = func(context.Context, validate.Request) (validate.Response, error) {
			return validate.Response{InputTokens: -1}, nil
		}
		validatetest.TestTarget(t, good)
	case "not_deterministic":
		good.Fn = func(context.Context, validate.Request) (validate.Response, error) {
			return validate.Response{Text: fmt.Sprint(rand.Uint64())}, nil
		}
		validatetest.TestTarget(t, good)
	case "bad_digest":
		good.ModelDigest = "ABC"
		validatetest.TestTarget(t, good)
	case "fickle_scorer":
		n := 0
		validatetest.TestScorer(t, validate.ScorerFunc{ID: "fickle", Fn: func(context.Context, validate.Case, validate.Response) (bool, error) {
			n++
			return n%2 == 0, nil
		}}, validate.Case{}, "a", "b")
	case "panicking_scorer":
		validatetest.TestScorer(t, validate.ScorerFunc{ID: "wild", Fn: func(_ context.Context, _ validate.Case, r validate.Response) (bool, error) {
			switch r.Text {
			case "a", "b":
				return r.Text == "a", nil
			case "":
				panic("empty")
			}
			return false, errors.New("unknown")
		}}, validate.Case{}, "a", "b")
	case "failing_suite":
		s := &validate.Suite{Name: "s", Requirements: []validate.Requirement{
			{Name: "r", Kind: validate.RateAtMost, Limit: .5, Scorer: validate.Exact{Value: "no"}},
		}}
		for i := range 10 {
			s.Cases = append(s.Cases, validate.Case{ID: fmt.Sprint(i)})
		}
		validatetest.Run(t, validate.Runner{}, s, good)
	}
}

type unsteady struct{ validate.TargetFunc }

func (unsteady) Name() string { return fmt.Sprint(rand.Uint64()) }
