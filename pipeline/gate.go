package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/pipeline/report"
)

// Errors that keep a gate from running. What goes wrong inside a check is that
// check's outcome instead.
var (
	ErrNoProfile = errors.New("the profile requires nothing")
	ErrNoTime    = errors.New("no time to evaluate as of")
	ErrWiring    = errors.New("checks do not fit together")
)

// A Gate is a set of checks under a profile. It is a value: Run changes
// nothing in it and may be called again.
type Gate struct {
	Name     string // of what is gated, shown in reports
	Profile  Profile
	Checks   []Check
	Skip     []string     // ids of checks that must not run; each is a no if it is required
	Evidence *EvidenceSet // answers the items that no check decides
	Waivers  []*Waivers

	// Policies are the files besides the configuration that decide: keys,
	// policies, suites, locks. The verdict names them.
	Policies []prerun.Subject

	Now          time.Time     // required: the gate judges age and expiry by it
	Seed         uint64        // handed to checks
	Workers      int           // checks at once, and goroutines in each; 0 means GOMAXPROCS
	CheckTimeout time.Duration // of a check that names none; 0 means 10 minutes
	Cache        Cache         // nil caches nothing
	Log          *slog.Logger  // nil discards
	Progress     func(Event)   // nil discards; called from one goroutine at a time
}

// An Event is a step of a run, for whoever watches. Times are not in it.
type Event struct {
	Check       string
	Done        bool    // the check has ended
	Outcome     Outcome // when Done
	Part, Total int64   // progress within a running check, in its own unit
}

// Bounds of a run.
const (
	networkLimit   = 4       // checks that open connections, at once
	maxFindings    = 100_000 // kept of one check; more are a gap
	defaultTimeout = 10 * time.Minute
	maxReason      = 500 // characters of an error that a report shows
)

// skippedByConfig is the reason of a check that [Gate.Skip] names.
const skippedByConfig = "the configuration skips it"

// Run runs every check and decides. The error is for a gate that could not run
// at all: no profile, no time, checks that do not fit together ([ErrWiring]),
// or a cancelled context. A decision with a nil error may still be a no.
func (g Gate) Run(ctx context.Context) (*Decision, error) {
	if len(g.Profile.Items) == 0 {
		return nil, ErrNoProfile
	}
	if g.Now.IsZero() {
		return nil, ErrNoTime
	}
	checks := slices.Clone(g.Checks)
	for _, it := range g.Profile.Items {
		if len(it.Checks) == 0 {
			checks = append(checks, evidenceCheck{it, g.Evidence, g.Profile.MaxEvidenceAge})
		}
	}
	nodes, err := wire(checks)
	if err != nil {
		return nil, err
	}
	for _, id := range g.Skip {
		if !slices.ContainsFunc(nodes, func(n *node) bool { return n.meta.ID == id }) {
			return nil, fmt.Errorf("%w: %q is to be skipped and is no check", ErrWiring, id)
		}
	}
	r := &run{gate: g, nodes: nodes, facts: &factStore{values: make(map[string]any)}}
	r.execute(ctx)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return r.decide(), nil
}

// A node is a check with its place in the graph.
type node struct {
	check  Check
	meta   Meta
	after  []*node // producers of what it needs
	done   chan struct{}
	result CheckResult
	graphs []report.Graph
	inputs []prerun.Subject
}

// wire builds the graph, in an order in which producers come first.
func wire(checks []Check) ([]*node, error) {
	nodes := make([]*node, len(checks))
	byID := make(map[string]bool)
	producer := make(map[string]*node)
	for i, c := range checks {
		if c == nil {
			return nil, fmt.Errorf("%w: check %d is nil", ErrWiring, i)
		}
		n := &node{check: c, meta: c.Meta(), done: make(chan struct{})}
		switch {
		case n.meta.ID == "":
			return nil, fmt.Errorf("%w: check %d has no id", ErrWiring, i)
		case byID[n.meta.ID]:
			return nil, fmt.Errorf("%w: two checks are called %q", ErrWiring, n.meta.ID)
		}
		byID[n.meta.ID] = true
		for _, fact := range n.meta.Gives {
			if p := producer[fact]; p != nil {
				return nil, fmt.Errorf("%w: %q and %q both give %q", ErrWiring, p.meta.ID, n.meta.ID, fact)
			}
			producer[fact] = n
		}
		nodes[i] = n
	}
	for _, n := range nodes {
		for _, fact := range n.meta.Needs {
			p := producer[fact]
			if p == nil {
				return nil, fmt.Errorf("%w: %q needs %q, which no check gives", ErrWiring, n.meta.ID, fact)
			}
			n.after = append(n.after, p)
		}
	}
	return order(nodes)
}

// order sorts topologically; among checks that are free to run, by id.
func order(nodes []*node) ([]*node, error) {
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.meta.ID, b.meta.ID) })
	const visiting, visited = 1, 2
	state := make(map[*node]int)
	var out []*node
	var visit func(n *node) error
	visit = func(n *node) error {
		switch state[n] {
		case visited:
			return nil
		case visiting:
			return fmt.Errorf("%w: %q needs, through others, what it gives", ErrWiring, n.meta.ID)
		}
		state[n] = visiting
		for _, p := range n.after {
			if err := visit(p); err != nil {
				return err
			}
		}
		state[n] = visited
		out = append(out, n)
		return nil
	}
	for _, n := range nodes {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A run is one execution of a gate.
type run struct {
	gate  Gate
	nodes []*node
	facts *factStore

	progressMu sync.Mutex
}

func (r *run) workers() int {
	if r.gate.Workers > 0 {
		return r.gate.Workers
	}
	return runtime.GOMAXPROCS(0)
}

func (r *run) execute(ctx context.Context) {
	local := semaphore.NewWeighted(int64(r.workers()))
	network := semaphore.NewWeighted(networkLimit)
	var wg sync.WaitGroup
	for _, n := range r.nodes {
		n.result = r.failed(n, "it ended without a result")
		wg.Go(func() {
			defer close(n.done)
			for _, p := range n.after {
				<-p.done
			}
			class := local
			if n.meta.Network {
				class = network
			}
			if class.Acquire(ctx, 1) != nil {
				n.result = r.fixed(n, Skipped, "the run was cancelled")
				return
			}
			defer class.Release(1)
			n.result = r.step(ctx, n)
			r.report(Event{Check: n.meta.ID, Done: true, Outcome: n.result.Outcome})
		})
	}
	wg.Wait()
}

// step runs one check, or says why it does not run.
func (r *run) step(ctx context.Context, n *node) CheckResult {
	if slices.Contains(r.gate.Skip, n.meta.ID) {
		return r.fixed(n, Skipped, skippedByConfig)
	}
	for _, fact := range n.meta.Needs {
		if !r.facts.has(fact) {
			return r.fixed(n, Skipped, fmt.Sprintf("it needs %q, which was not established", fact))
		}
	}
	timeout := cmp.Or(n.meta.Timeout, r.gate.CheckTimeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	in := &Input{
		Now: r.gate.Now, Seed: r.gate.Seed, Workers: r.workers(), Log: r.gate.Log,
		Progress: func(done, total int64) { r.report(Event{Check: n.meta.ID, Part: done, Total: total}) },
		meta:     n.meta, facts: r.facts,
	}
	if in.Log == nil {
		in.Log = slog.New(slog.DiscardHandler)
	}
	out := r.contained(ctx, n, in)
	if ctx.Err() != nil {
		out = r.failed(n, fmt.Sprintf("it did not end within %v", timeout))
	}
	if out.Outcome == Errored {
		r.facts.withdraw(n.meta.Gives)
	}
	return out
}

// contained runs and judges a check; a panic in it, or in the source that it
// returns, is its error.
func (r *run) contained(ctx context.Context, n *node, in *Input) (out CheckResult) {
	defer func() {
		if p := recover(); p != nil {
			out = r.failed(n, fmt.Sprintf("panic: %v", p))
		}
	}()
	result, err := r.cached(ctx, n, in)
	switch {
	case err != nil:
		return r.failed(n, err.Error())
	case result == nil:
		return r.failed(n, "it gave no result")
	}
	return r.judged(n, result)
}

// cached runs the check or takes its result from the cache.
func (r *run) cached(ctx context.Context, n *node, in *Input) (*Result, error) {
	d, ok := n.check.(Digester)
	if !ok || r.gate.Cache == nil || len(n.meta.Gives)+len(n.meta.Needs) > 0 {
		return n.check.Run(ctx, in)
	}
	content, err := d.CacheKey(ctx)
	if err != nil || content == nil {
		return n.check.Run(ctx, in) // which says what cannot be read
	}
	key := cacheKey(n.meta, in, content)
	if hit := lookup(ctx, r.gate.Cache, key); hit != nil {
		return hit, nil
	}
	result, err := n.check.Run(ctx, in)
	if err != nil || result == nil || result.Err != nil {
		return result, err
	}
	again, err := d.CacheKey(ctx)
	switch {
	case err != nil:
		return nil, err
	case !slices.Equal(content, again):
		return nil, errChangedMeanwhile
	}
	if err := store(ctx, r.gate.Cache, key, result); err != nil {
		in.Log.WarnContext(ctx, "result not cached", "check", n.meta.ID, "error", err)
	}
	return result, nil
}

var errChangedMeanwhile = errors.New("what it looks at changed while it looked")

// judged is the outcome of a check that ran to its end.
func (r *run) judged(n *node, result *Result) CheckResult {
	out := r.fixed(n, result.Outcome, result.Reason)
	facts, err := marshalFacts(result.Facts)
	if err != nil {
		return r.failed(n, err.Error())
	}
	out.Facts, out.Intervals = facts, result.Intervals
	n.graphs, n.inputs = result.Graphs, result.Inputs
	if result.Source != nil {
		out.source = snapshot(result.Source)
	}
	if result.Err != nil {
		failed := r.failed(n, result.Err.Error())
		failed.Facts = out.Facts
		failed.source = joined(failed.source, out.source)
		return failed
	}
	switch {
	case result.Outcome == Waived || int(result.Outcome) >= len(outcomeNames):
		return r.failed(n, fmt.Sprintf("%q is no outcome for a check to give", result.Outcome))
	case out.source == nil && result.Outcome == Errored:
		return r.failed(n, "it gave neither an outcome nor a source")
	case out.source != nil:
		for f := range out.source.Findings() {
			if err := f.Check(); err != nil {
				return r.failed(n, "it gave a finding that cannot be reported: "+err.Error())
			}
		}
		derived := OutcomeOf(out.source, r.gate.Profile.failOn())
		if result.Outcome == Errored || derived.rank() > result.Outcome.rank() {
			out.Outcome = derived
		}
	}
	for _, fact := range n.meta.Gives {
		if out.Outcome == Pass && !r.facts.has(fact) {
			return r.failed(n, fmt.Sprintf("it passed without giving %q", fact))
		}
	}
	return out
}

// snapshot copies a source, so that what is judged is what is reported.
func snapshot(src prerun.Source) prerun.Source {
	var findings []prerun.Finding
	gaps := slices.Collect(src.Gaps())
	for f := range src.Findings() {
		if len(findings) == maxFindings {
			gaps = append(gaps, prerun.Gap{
				Location: prerun.Location{Path: f.Path()},
				Reason:   fmt.Sprintf("there are more than the %d findings that a gate keeps of one check", maxFindings),
			})
			break
		}
		findings = append(findings, f)
	}
	return prerun.NewSource(slices.Collect(src.Subjects()), findings, gaps)
}

// marshalFacts writes figures as JSON, so that a report has the same bytes
// whether they were computed or come from a cache.
func marshalFacts(facts map[string]any) (map[string]json.RawMessage, error) {
	if facts == nil {
		return nil, nil
	}
	out := make(map[string]json.RawMessage, len(facts))
	for _, name := range sortedKeys(facts) {
		text, err := marshal(facts[name])
		if err != nil {
			return nil, fmt.Errorf("its figure %q cannot be written: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}

// marshal writes JSON without the escapes meant for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func (r *run) fixed(n *node, o Outcome, reason string) CheckResult {
	return CheckResult{
		ID: n.meta.ID, Outcome: o, Reason: reason,
		Items: n.meta.Items, Controls: n.meta.Controls,
	}
}

// failed is an error of the check itself; reason may quote anything.
func (r *run) failed(n *node, reason string) CheckResult {
	reason = redact.Excerpt([]byte(reason), maxReason)
	out := r.fixed(n, Errored, reason)
	out.source = prerun.NewSource(
		[]prerun.Subject{{Path: "."}},
		[]prerun.Finding{gateFinding(ruleCheckErrored, n.meta.ID, fmt.Sprintf("check %s: %s", n.meta.ID, reason))},
		nil)
	return out
}

// joined is what two sources say together; the second may be nil.
func joined(a, b prerun.Source) prerun.Source {
	if b == nil {
		return a
	}
	return prerun.NewSource(
		slices.AppendSeq(slices.Collect(a.Subjects()), b.Subjects()),
		slices.AppendSeq(slices.Collect(a.Findings()), b.Findings()),
		slices.AppendSeq(slices.Collect(a.Gaps()), b.Gaps()))
}

func gateFinding(rule prerun.Rule, key, message string) prerun.Finding {
	return prerun.Finding{
		Rule:       rule,
		Severity:   rule.Severity,
		Confidence: prerun.ConfidenceHigh,
		Subject:    prerun.Subject{Path: "."},
		Locations:  []prerun.Location{{Path: ".", Fragment: "check=" + key}},
		Message:    message,
		Key:        key,
	}
}

func (r *run) report(e Event) {
	if r.gate.Progress == nil {
		return
	}
	r.progressMu.Lock()
	defer r.progressMu.Unlock()
	r.gate.Progress(e)
}
