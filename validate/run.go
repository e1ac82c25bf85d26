package validate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// MaxAnswer is the largest size in bytes that [Runner.MaxAnswer] can allow.
const MaxAnswer = 256 << 10

const maxErrorText = 1 << 10

// A Budget bounds what a run may spend. Zero means no bound.
type Budget struct {
	// Requests refuses a plan that needs more, before any is sent.
	Requests int
	// Tokens, of inputs and outputs together as the target counts them, ends
	// the asking. What is then missing makes its requirements an ERROR. Answers
	// are counted in the order of asking, so the end does not depend on which
	// came first; requests in flight at that moment are paid for and unused.
	Tokens int
}

// A Runner asks a target what a suite wants to know and decides. The zero value
// runs without journal, baseline and budget. It is safe for concurrent use,
// except that runs must not share a journal.
type Runner struct {
	// Seed of the order of asking, of samples and of the requests' own seeds.
	// 0 is a seed like any other.
	Seed uint64

	Concurrency int           // requests in flight; 0 means 8. The report does not depend on it
	Timeout     time.Duration // for one request, retries of the target included; 0 means 2 minutes
	MaxAnswer   int           // bytes; 0 means 64 KiB. A longer answer is an error, not cut
	Budget      Budget
	Baseline    *Baseline // for requirements of kind NoRegression

	Journal Journal // nil means that a killed run starts again

	// RetryErrors asks again, on resuming, what ended in an error. Left out, an
	// error that is in the journal stands, so that a run cannot be resumed
	// until it happens to pass.
	RetryErrors bool

	Progress func(done, total int) // called after each answer, one call at a time
	Now      func() time.Time      // for [Stats]; nil means time.Now
}

func (r Runner) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// Run asks target every question of the plan and decides. It refuses, with an
// error and before anything is asked, a suite that is invalid, that cannot
// pass, or whose plan exceeds the budget; and a journal of another run. When
// ctx ends or the journal cannot be written, it returns that error and no
// report; with a journal, the next call goes on from there. Errors of the
// target are outcomes, in the report.
//
// The report is the same, byte for byte, for equal answers: for any
// Concurrency, and for a run that was killed and resumed. For a target that is
// no [Determinist], what was in flight when the run was killed is asked again
// and named in Report.AskedAgain.
func (r Runner) Run(ctx context.Context, s *Suite, target Target) (*Report, error) {
	p, err := r.compile(s)
	if err != nil {
		return nil, err
	}
	if _, err := p.plan(r.Budget); err != nil {
		return nil, err
	}
	if target == nil || target.Name() == "" || !utf8.ValidString(target.Name()) {
		return nil, errors.New("target has no name")
	}
	if r.Concurrency < 0 || r.Timeout < 0 || r.MaxAnswer < 0 || r.MaxAnswer > MaxAnswer {
		return nil, fmt.Errorf("runner: concurrency, timeout or answer size out of range (at most %d bytes)", MaxAnswer)
	}
	start := r.now()
	x := &run{Runner: r, program: p, target: target, results: make([]result, len(p.asks))}
	x.baseline = &Baseline{Suite: p.digest, Target: target.Name()}
	if err := x.resume(); err != nil {
		return nil, err
	}
	if err := x.askAll(ctx); err != nil {
		return nil, err
	}
	report, err := x.report(ctx)
	if err != nil {
		return nil, err
	}
	report.Stats.Duration = r.now().Sub(start)
	return report, nil
}

type run struct {
	Runner
	*program
	target  Target
	journal *journalWriter
	results []result // by order of asking; each slot has one writer
	cut     int      // asks from here on count as not asked
	stats   Stats
	again   []string

	faults     []Fault
	faultCount int
	baseline   *Baseline
}

func (x *run) resume() error {
	x.cut = len(x.asks)
	if x.Journal == nil {
		return nil
	}
	header := journalHeader{journalFormat, x.digest, x.target.Name(), fmt.Sprint(x.seed)}
	w, rec, err := openJournal(x.Journal, header)
	if err != nil {
		return err
	}
	x.journal = w
	x.stats.DroppedBytes, x.stats.DroppedWhy = rec.dropped, rec.why
	d, ok := x.target.(Determinist)
	mark := !ok || !d.Deterministic()
	for i, a := range x.asks {
		key := recordKey{a.c.ID, a.key.variant, a.key.repeat}
		known, answered := rec.answers[key]
		switch {
		case answered && (known.err == "" || !x.RetryErrors):
			x.results[i] = known
			x.stats.Reused++
		case rec.asked[key]:
			x.stats.AskedAgain++
			if mark {
				x.again = append(x.again, a.String())
			}
		}
	}
	return nil
}

// askAll fills the slots that are still empty. Workers take asks in order; the
// token count moves over the slots in order too, so where it ends depends on
// the answers alone.
func (x *run) askAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		next   int // first ask that nobody took
		front  int // every slot below is done
		tokens int
		done   int
	)
	exhausted := func() bool { return x.Budget.Tokens > 0 && tokens >= x.Budget.Tokens }
	advance := func() { // with mu held
		for front < len(x.asks) && x.results[front].done && !exhausted() {
			tokens += x.results[front].response.InputTokens + x.results[front].response.OutputTokens
			front++
		}
	}
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		for advance(); next < len(x.asks) && !exhausted(); next++ {
			if !x.results[next].done {
				next++
				return next - 1
			}
		}
		return -1
	}
	for i := range x.results {
		if x.results[i].done {
			done++
		}
	}
	workers := x.Concurrency
	if workers == 0 {
		workers = 8
	}
	for range min(workers, len(x.asks)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := take()
				if i < 0 {
					return
				}
				got, err := x.one(ctx, x.asks[i])
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				x.results[i] = got
				x.stats.Asked++
				x.stats.Retries += got.response.Retries
				done++
				advance()
				if x.Progress != nil {
					x.Progress(done, len(x.asks))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := x.journal.close(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("suite %q: %w", x.suite.Name, err)
	}
	advance()
	if exhausted() {
		x.cut = front
	}
	return nil
}

// one asks once and records it. Its error ends the run; an error of the target
// is a result.
func (x *run) one(ctx context.Context, a *ask) (result, error) {
	if err := x.journal.asking(a); err != nil {
		return result{}, err
	}
	response, err := x.generate(ctx, a)
	if ctx.Err() != nil {
		return result{}, context.Cause(ctx) // not an answer: asked again on resuming
	}
	got := result{response: response, done: true}
	if err != nil {
		got = result{err: errorText(err), done: true}
	}
	return got, x.journal.answered(a, got)
}

func (x *run) generate(ctx context.Context, a *ask) (response Response, err error) {
	timeout := x.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("target panicked: %v", v)
		}
	}()
	system := a.c.System
	if system == "" {
		system = x.suite.System
	}
	response, err = x.target.Generate(ctx, Request{
		System:  system,
		History: append([]Message(nil), a.c.History...),
		Input:   a.input,
		Case:    a.c.ID,
		Variant: a.key.variant,
		Repeat:  a.key.repeat,
		Seed:    a.seed,
		Params:  x.suite.Params,
	})
	if err != nil {
		return Response{}, err
	}
	most := x.MaxAnswer
	if most == 0 {
		most = 64 << 10
	}
	if len(response.Text) > most {
		return Response{}, fmt.Errorf("answer of more than %d bytes", most)
	}
	// The journal holds JSON, so an answer must survive it unchanged.
	response.Text = strings.ToValidUTF8(response.Text, "\uFFFD")
	response.Model = cutText(response.Model)
	response.Finish = cutText(response.Finish)
	response.InputTokens = max(0, response.InputTokens)
	response.OutputTokens = max(0, response.OutputTokens)
	return response, nil
}

func errorText(err error) string {
	if text := cutText(err.Error()); text != "" {
		return text
	}
	return "error without text"
}

func cutText(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// outcomes scores or compares everything that a requirement needs.
func (x *run) outcomes(ctx context.Context, c *check) ([]tally, []Example, error) {
	tallies := make([]tally, len(c.parts))
	var examples []Example
	scored := make(map[*ask]outcome)
	for i, p := range c.parts {
		for _, u := range p.units {
			out := make([]outcome, len(u.observations))
			for j, o := range u.observations {
				got, err := x.observe(ctx, c, o, scored)
				if err != nil {
					return nil, nil, err
				}
				if out[j] = got; got == failed && len(examples) < maxExamples {
					examples = append(examples, x.example(o))
				}
			}
			tallies[i].add(u, out)
		}
	}
	return tallies, examples, nil
}

func (x *run) observe(ctx context.Context, c *check, o observation, scored map[*ask]outcome) (outcome, error) {
	a, err := x.single(ctx, c, o.a, scored)
	if err != nil || o.b == nil {
		return c.strict(a), err
	}
	b, err := x.single(ctx, c, o.b, scored)
	if err != nil {
		return errored, err
	}
	if a <= errored || b <= errored {
		return c.strict(min(a, b)), nil
	}
	same := a == b
	if c.req.Scorer == nil {
		same = sameAnswer(x.results[o.a.at].response.Text, x.results[o.b.at].response.Text)
	}
	if same {
		return passed, nil
	}
	return failed, nil
}

func (c *check) strict(o outcome) outcome {
	if o == errored && c.req.ErrorsFail {
		return failed
	}
	return o
}

func sameAnswer(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

// single is the outcome of one answer; without a scorer, that there is one.
func (x *run) single(ctx context.Context, c *check, a *ask, scored map[*ask]outcome) (outcome, error) {
	if o, ok := scored[a]; ok {
		return o, nil
	}
	o := errored
	switch r := x.results[a.at]; {
	case a.at >= x.cut || !r.done:
		o = missing
	case r.err != "":
		x.fault(c, a, r.err)
	case c.req.Scorer == nil:
		o = passed
	default:
		pass, err := score(ctx, c.req.Scorer, *a.c, r.response)
		if ctx.Err() != nil {
			return errored, fmt.Errorf("suite %q: %w", x.suite.Name, context.Cause(ctx))
		}
		switch {
		case err != nil:
			x.fault(c, a, "scorer: "+errorText(err))
		case pass:
			o = passed
		default:
			o = failed
		}
	}
	if o >= passed && c.req.Scorer != nil && a.key.variant == "" && a.key.repeat == 0 {
		x.baseline.set(c.req.Scorer.Name(), a.c.ID, o == passed)
	}
	scored[a] = o
	return o, nil
}

func score(ctx context.Context, s Scorer, c Case, r Response) (pass bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			pass, err = false, fmt.Errorf("panicked: %v", v)
		}
	}()
	return s.Score(ctx, c, r)
}

func (x *run) example(o observation) Example {
	e := Example{Case: o.a.c.ID, Repeat: o.a.key.repeat, Answer: x.answer(o.a)}
	if o.b != nil {
		e.Variant, e.Against, e.Answer = o.b.key.variant, e.Answer, x.answer(o.b)
	}
	return e
}

func (x *run) answer(a *ask) string {
	r := x.results[a.at]
	if r.err != "" {
		return "error: " + excerpt(r.err)
	}
	return excerpt(r.response.Text)
}
