package pipelinetest_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/pipelinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing

// The checks of package pipeline meet what is asked of others.
func TestOwnChecks(t *testing.T) {
	lock := `{"schema":"prerun/prompts-lock/v1","prompts":[{"path":"a.txt","version":"1","digest":"` + digest + `"}]}`
	fsys := fstest.MapFS{
		"lock": {Data: []byte(lock)}, "same/a.txt": {}, "other/a.txt": {Data: []byte("x")},
		"clean/config.json": {Data: []byte(`{"model_type": "linear"}`)},
		"bad/model.pkl":     {Data: []byte("cos\nsystem\n(S'id'\ntR.")},
		"cut/model.pkl":     {Data: []byte("\x80\x04\x95\xff")},
		"rows.jsonl":        {Data: []byte("{\"text\": \"one\"}\n{\"text\": \"two\"}\n")},
		"hidden.jsonl":      {Data: []byte("{\"text\": \"one \U000E0041\U000E0042\U000E0043\U000E0044\"}\n")},
	}
	pipelinetest.TestCheck(
		t,
		pipelinetest.Case{Name: "locked", Check: pipeline.LockPrompts{FS: fsys, Path: "same", Lock: "lock"}, Outcome: pipeline.Pass},
		pipelinetest.Case{
			Name: "changed", Check: pipeline.LockPrompts{FS: fsys, Path: "other", Lock: "lock"},
			Outcome: pipeline.Fail, Rules: []string{"pipeline.prompt.changed"},
		},
		pipelinetest.Case{Name: "no_lock", Check: pipeline.LockPrompts{FS: fsys, Path: "other", Lock: "none"}, Outcome: pipeline.Errored},
	)
	pipelinetest.TestCheck(
		t,
		pipelinetest.Case{Name: "clean", Check: pipeline.ScanModel{FS: fsys, Path: "clean"}, Outcome: pipeline.Pass},
		pipelinetest.Case{
			Name: "call", Check: pipeline.ScanModel{FS: fsys, Path: "bad"},
			Outcome: pipeline.Fail, Rules: []string{"scan.pickle.call-on-load"},
		},
		pipelinetest.Case{Name: "cut", Check: pipeline.ScanModel{FS: fsys, Path: "cut"}, Outcome: pipeline.Inconclusive},
	)
}

// A broken check is one that the kit must not let pass.
type broken struct {
	id   string
	meta func(m *pipeline.Meta)
	run  func(ctx context.Context, in *pipeline.Input) (*pipeline.Result, error)
}

func (b broken) Meta() pipeline.Meta {
	m := pipeline.Meta{ID: b.id}
	if b.meta != nil {
		b.meta(&m)
	}
	return m
}

func (b broken) Run(ctx context.Context, in *pipeline.Input) (*pipeline.Result, error) {
	return b.run(ctx, in)
}

type badKey struct {
	broken
	key func() []string
}

func (b badKey) CacheKey(context.Context) ([]string, error) { return b.key(), nil }

func clean() *pipeline.Result {
	return &pipeline.Result{Source: prerun.NewSource([]prerun.Subject{{Path: "a"}}, nil, nil)}
}

func passing(context.Context, *pipeline.Input) (*pipeline.Result, error) { return clean(), nil }

func figure(name string, v any) (*pipeline.Result, error) {
	r := clean()
	r.Facts = map[string]any{name: v}
	return r, nil
}

var brokenChecks = map[string]pipeline.Check{
	"id_of_one_word":  broken{id: "check", run: passing},
	"upper_case_id":   broken{id: "Test.check", run: passing},
	"changing_meta":   broken{id: "test.check", run: passing, meta: func(m *pipeline.Meta) { m.Version = strconv.Itoa(rand.Int()) }},
	"doubled_need":    broken{id: "test.check", run: passing, meta: func(m *pipeline.Meta) { m.Controls = []string{"a", "a"} }},
	"negative_time":   broken{id: "test.check", run: passing, meta: func(m *pipeline.Meta) { m.Timeout = -1 }},
	"panics":          broken{id: "test.check", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) { panic("ouch") }},
	"never_says_pass": broken{id: "test.check", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) { return nil, errors.New("no") }},
	"random":          broken{id: "test.check", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) { return figure("n", rand.Int()) }},
	"by_workers":      broken{id: "test.check", run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) { return figure("n", in.Workers) }},
	"half_when_cancelled": broken{id: "test.check", run: func(ctx context.Context, _ *pipeline.Input) (*pipeline.Result, error) {
		return figure("whole", ctx.Err() == nil)
	}},
	"needs_workers": broken{id: "test.check", run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
		_ = 8 / in.Workers
		return clean(), nil
	}},
	"extra_finding": broken{id: "test.check", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
		rule := prerun.Rule{ID: "test.rule.low", Title: "t", Severity: prerun.Low, Help: "h"}
		return &pipeline.Result{Source: prerun.NewSource([]prerun.Subject{{Path: "a"}}, []prerun.Finding{{
			Rule: rule, Severity: prerun.Low, Subject: prerun.Subject{Path: "a"}, Message: "m",
		}}, nil)}, nil
	}},
	"changing_key": badKey{broken{id: "test.check", run: passing}, func() []string { return []string{strconv.Itoa(rand.Int())} }},
	"cached_with_facts": badKey{
		broken{id: "test.check", run: passing, meta: func(m *pipeline.Meta) { m.Gives = []string{"x"} }},
		func() []string { return []string{"x"} },
	},
}

const childEnv = "PRERUN_TEST_BROKEN"

func brokenNames() []string {
	var names []string
	for name := range brokenChecks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestBroken runs in a process of its own, where the kit may fail without
// failing this one.
func TestBroken(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return // a child's part only
	}
	no := broken{id: "test.no", run: func(context.Context, *pipeline.Input) (*pipeline.Result, error) {
		return &pipeline.Result{Outcome: pipeline.Fail, Reason: "no"}, nil
	}}
	for _, name := range brokenNames() {
		pipelinetest.TestCheck(
			t,
			pipelinetest.Case{Name: name, Check: brokenChecks[name], Outcome: pipeline.Pass},
			pipelinetest.Case{Name: "no", Check: no, Outcome: pipeline.Fail},
		)
	}
	pipelinetest.TestCheck(t, pipelinetest.Case{Name: "sound", Check: broken{id: "test.check", run: passing}, Outcome: pipeline.Pass})
}

func TestBrokenChecksAreFound(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	text, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("the child did not fail")
	}
	out := string(text)
	for _, name := range brokenNames() {
		if !strings.Contains(out, "--- FAIL: TestBroken/"+name+" ") {
			t.Errorf("%s is not found", name)
		}
	}
	for _, name := range []string{"sound", "no"} {
		if !strings.Contains(out, "--- PASS: TestBroken/"+name+" ") || strings.Contains(out, "--- FAIL: TestBroken/"+name+" ") {
			t.Errorf("%s is refused", name)
		}
	}
	if !strings.Contains(out, "1 of 1 cases pass") {
		t.Error("cases that all pass are accepted")
	}
}
