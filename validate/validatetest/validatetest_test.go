package validatetest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/validatetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The way a third party uses the kit: its target through the conformance tests,
// its suite as subtests.
func TestThirdParty(t *testing.T) {
	echo := validate.TargetFunc{
		ID: "echo@1", SameEachTime: true, ModelDigest: "sha256:ab",
		Fn: func(ctx context.Context, req validate.Request) (validate.Response, error) {
			return validate.Response{Text: req.Input}, ctx.Err()
		},
	}
	validatetest.TestTarget(t, echo)
	validatetest.TestScorer(t, validate.Contains{}, validate.Case{ID: "a", Expect: "x"}, "a x", "y")

	suite := &validate.Suite{Name: "echo", Requirements: []validate.Requirement{
		{Name: "repeats the input", Kind: validate.RateAtMost, Limit: .1, Scorer: validate.Exact{}},
	}}
	for i := range 30 {
		suite.Cases = append(suite.Cases, validate.Case{ID: fmt.Sprint(i), Input: fmt.Sprint("say ", i), Expect: fmt.Sprint("say ", i)})
	}
	report := validatetest.Run(t, validate.Runner{}, suite, echo)
	if report.Verdict != validate.Pass {
		t.Errorf("%s", report.Verdict)
	}
}

// TestKitFinds runs the kit, in child processes, on targets and scorers that
// break the contract.
func TestKitFinds(t *testing.T) {
	for _, name := range []string{"unsteady_name", "panics", "negative", "not_deterministic", "bad_digest", "fickle_scorer", "panicking_scorer", "failing_suite"} {
		out := child(t, name)
		if !strings.Contains(out, "FAIL") || strings.Contains(out, "no tests to run") {
			t.Errorf("%s: the kit found nothing:\n%s", name, out)
		}
	}
}
