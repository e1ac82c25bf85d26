package validate

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prerun/prerun/internal/stats"
)

// ErrUnderpowered is the class of plans that cannot pass even when nothing fails.
var ErrUnderpowered = errors.New("too few cases")

// ErrBudget is the class of plans that a budget forbids.
var ErrBudget = errors.New("plan exceeds the budget")

// A PlanError says which requirements a plan cannot meet.
type PlanError struct {
	Short []Planned // those with too few clusters
}

func (e *PlanError) Error() string {
	var b strings.Builder
	b.WriteString("suite cannot pass: ")
	for i, p := range e.Short {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "requirement %q has %d clusters and needs %d without a failure for a limit of %g at confidence %g",
			p.Name, p.Clusters, p.Needed, p.Limit, p.Confidence)
		if p.approximateRefused {
			fmt.Fprintf(&b, " (the approximate bound needs %d)", p.Needed)
		}
	}
	return b.String()
}

// Unwrap returns [ErrUnderpowered].
func (e *PlanError) Unwrap() error { return ErrUnderpowered }

// A Plan says what a run would ask and what it could find out.
type Plan struct {
	Suite        string    `json:"suite"`
	Digest       string    `json:"digest"`   // of the suite
	Requests     int       `json:"requests"` // distinct questions; requirements share the answers
	Requirements []Planned `json:"requirements"`
}

// A Planned requirement is one with its sizes. A cluster is the unit of
// inference: a case, or the cases that share a Cluster.
type Planned struct {
	Name       string  `json:"name"`
	Kind       Kind    `json:"kind"`
	Method     string  `json:"method"`
	Limit      float64 `json:"limit"`
	Confidence float64 `json:"confidence"`

	Clusters  int `json:"clusters"`  // the fewest, of a sweep's triggers
	Answers   int `json:"answers"`   // that are scored or compared
	Unchanged int `json:"unchanged"` // edits left out because they leave the input as it is
	Unpaired  int `json:"unpaired"`  // cases left out because the baseline does not know them

	Needed  int `json:"needed"`  // clusters to pass when nothing fails
	Allowed int `json:"allowed"` // clusters that may fail for a pass; -1 when none can pass

	// A target whose true rate of failing clusters is at most PassRate passes
	// with probability 0.8, one whose rate is at least FailRate fails with
	// probability 0.8; what lies between is likely to stay inconclusive. They
	// hold for a requirement that stands alone, with one answer a cluster.
	PassRate float64 `json:"pass_rate"`
	FailRate float64 `json:"fail_rate"`

	approximateRefused bool
}

// minimumExpected is the least number of clusters times limit for which the
// effective-sample bound keeps its confidence (false pass at most 5.1 % at
// alpha 5 % over intra-cluster correlations 0 to 0.8, by simulation).
const minimumExpected = 6

// Plan computes what [Runner.Run] would ask, without asking. With an error that
// wraps [ErrUnderpowered] or [ErrBudget] it returns the plan as well; Run refuses
// such a suite before it spends anything.
func (r Runner) Plan(s *Suite) (*Plan, error) {
	p, err := r.compile(s)
	if err != nil {
		return nil, err
	}
	return p.plan(r.Budget)
}

// An ask is one question. Equal questions of several requirements are one ask.
type ask struct {
	key   askKey
	c     *Case
	input string
	seed  uint64
	order [sha256.Size]byte
	at    int // position in the order of asking
}

type askKey struct {
	caseAt  int
	variant string
	repeat  int
}

func (a *ask) String() string {
	s := "case=" + a.c.ID
	if a.key.variant != "" {
		s += " variant=" + a.key.variant
	}
	if a.key.repeat > 0 {
		s += fmt.Sprintf(" repeat=%d", a.key.repeat)
	}
	return s
}

// An observation is one answer to score, or two to compare.
type observation struct {
	a, b     *ask // b is nil where one answer is scored
	baseline bool // NoRegression: the baseline passed
}

type unit struct {
	observations []observation
}

type part struct {
	name  string // of the trigger; "" where a requirement has one part
	units []unit
}

type check struct {
	req       *Requirement
	parts     []part
	unchanged int
	unpaired  int
}

// A program is a suite made ready: every question in the order of asking, and
// for each requirement the answers that it needs.
type program struct {
	suite  *Suite
	digest string
	seed   uint64
	asks   []*ask
	checks []check
	byKey  map[askKey]*ask
}

func (r Runner) compile(s *Suite) (*program, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	p := &program{suite: s, digest: s.Digest(), seed: r.Seed, byKey: make(map[askKey]*ask)}
	for i := range s.Requirements {
		c, err := p.check(&s.Requirements[i], r.Baseline)
		if err != nil {
			return nil, err
		}
		p.checks = append(p.checks, c)
	}
	slices.SortFunc(p.asks, func(a, b *ask) int { return bytes.Compare(a.order[:], b.order[:]) })
	for i, a := range p.asks {
		a.at = i
	}
	return p, nil
}

func (p *program) check(req *Requirement, base *Baseline) (check, error) {
	c := check{req: req}
	part := fmt.Sprintf("requirement %q", req.Name)
	cases := p.choose(req)
	if len(cases) == 0 {
		return c, &SuiteError{part, "no case matches"}
	}
	if req.Kind == NoRegression {
		if req.repeats() > 1 {
			return c, &SuiteError{part, "no-regression compares single answers: no repeats"}
		}
		if base == nil {
			return c, &SuiteError{part, "no baseline was given"}
		}
	}
	switch req.Kind {
	case Invariance:
		edits := make([]edit, len(req.Transforms))
		for i, t := range req.Transforms {
			edits[i] = edit{t.Name, t.Apply}
		}
		c.parts = append(c.parts, p.pairs(&c, cases, "", edits))
	case TriggerSweep:
		for _, trigger := range req.Triggers {
			e := edit{
				fmt.Sprintf("trigger %s %q", cmp.Or(req.Position, Suffix), trigger),
				func(s string) string { return insert(s, trigger, req.Position) },
			}
			c.parts = append(c.parts, p.pairs(&c, cases, trigger, []edit{e}))
		}
	default:
		c.parts = append(c.parts, p.singles(&c, cases, base))
	}
	if len(c.parts[0].units) == 0 {
		return c, &SuiteError{part, "no case is left: no edit changes any input, or the baseline knows none"}
	}
	return c, nil
}

type edit struct {
	name  string
	apply func(string) string
}

// choose returns the indices of the cases of a requirement, in the order of the
// suite.
func (p *program) choose(req *Requirement) []int {
	var chosen []int
	for i := range p.suite.Cases {
		if req.Where.match(&p.suite.Cases[i]) {
			chosen = append(chosen, i)
		}
	}
	if req.Sample == 0 || req.Sample >= len(chosen) {
		return chosen
	}
	keys := make(map[int][sha256.Size]byte, len(chosen))
	for _, i := range chosen {
		keys[i] = p.hash("sample", req.Name, p.suite.Cases[i].ID, 0)
	}
	slices.SortFunc(chosen, func(a, b int) int {
		ka, kb := keys[a], keys[b]
		return bytes.Compare(ka[:], kb[:])
	})
	chosen = chosen[:req.Sample]
	slices.Sort(chosen)
	return chosen
}

func (p *program) singles(c *check, cases []int, base *Baseline) part {
	var g grouping
	for _, i := range cases {
		for repeat := range c.req.repeats() {
			o := observation{}
			if c.req.Kind == NoRegression {
				passed, known := base.outcome(c.req.Scorer.Name(), p.suite.Cases[i].ID)
				if !known {
					c.unpaired++
					continue
				}
				o.baseline = passed
			}
			o.a = p.ask(i, edit{}, repeat)
			g.add(&p.suite.Cases[i], o)
		}
	}
	return part{units: g.units}
}

func (p *program) pairs(c *check, cases []int, name string, edits []edit) part {
	var g grouping
	for _, i := range cases {
		for _, e := range edits {
			if e.apply(p.suite.Cases[i].Input) == p.suite.Cases[i].Input {
				c.unchanged++ // would agree with itself and prove nothing
				continue
			}
			for repeat := range c.req.repeats() {
				g.add(&p.suite.Cases[i], observation{a: p.ask(i, edit{}, repeat), b: p.ask(i, e, repeat)})
			}
		}
	}
	return part{name: name, units: g.units}
}

// A grouping gathers observations by cluster, in order of first appearance.
type grouping struct {
	units []unit
	at    map[string]int
}

func (g *grouping) add(c *Case, o observation) {
	key := "c" + c.Cluster
	if c.Cluster == "" {
		key = "i" + c.ID // a case's id is no cluster's name
	}
	if g.at == nil {
		g.at = make(map[string]int)
	}
	at, ok := g.at[key]
	if !ok {
		at = len(g.units)
		g.at[key] = at
		g.units = append(g.units, unit{})
	}
	g.units[at].observations = append(g.units[at].observations, o)
}

func (p *program) ask(caseAt int, e edit, repeat int) *ask {
	key := askKey{caseAt, e.name, repeat}
	if a, ok := p.byKey[key]; ok {
		return a
	}
	c := &p.suite.Cases[caseAt]
	a := &ask{key: key, c: c, input: c.Input}
	if e.apply != nil {
		a.input = e.apply(c.Input)
	}
	a.order = p.hash("order", c.ID, e.name, repeat)
	seed := p.hash("seed", c.ID, "", repeat)
	a.seed = binary.BigEndian.Uint64(seed[:8]) & (1<<53 - 1)
	p.byKey[key] = a
	p.asks = append(p.asks, a)
	return a
}

// hash is SHA-256 over the run's seed, the suite's digest and what is asked,
// each part with its length. It gives the order of asking and the seeds of
// requests, so both can be recomputed elsewhere.
func (p *program) hash(use, a, b string, n int) [sha256.Size]byte {
	h := newFramed()
	h.text("prerun.validate.v1", use, strconv.FormatUint(p.seed, 10), p.digest, a, b)
	h.count(n)
	return [sha256.Size]byte(h.Sum(h.buf[:0]))
}

func (p *program) plan(budget Budget) (*Plan, error) {
	out := &Plan{Suite: p.suite.Name, Digest: p.digest, Requests: len(p.asks)}
	var short []Planned
	for i := range p.checks {
		planned := p.checks[i].plan()
		out.Requirements = append(out.Requirements, planned)
		if planned.Clusters < planned.Needed {
			short = append(short, planned)
		}
	}
	if len(short) > 0 {
		return out, &PlanError{short}
	}
	if budget.Requests > 0 && len(p.asks) > budget.Requests {
		return out, fmt.Errorf("suite %q needs %d requests, the budget is %d: %w",
			p.suite.Name, len(p.asks), budget.Requests, ErrBudget)
	}
	return out, nil
}

func (c *check) plan() Planned {
	r := c.req
	limit, alpha := r.limit(), r.alpha()
	out := Planned{
		Name: r.Name, Kind: r.Kind, Method: c.method(), Limit: r.Limit, Confidence: r.confidence(),
		Clusters: len(c.parts[0].units), Unchanged: c.unchanged, Unpaired: c.unpaired,
		Needed: cmp.Or(stats.TrialsForUpper(0, limit, alpha), math.MaxInt32),
	}
	for _, p := range c.parts {
		out.Clusters = min(out.Clusters, len(p.units))
		for _, u := range p.units {
			out.Answers += len(u.observations)
		}
	}
	n := out.Clusters
	if r.Approximate && c.clustered() {
		if least := leastApproximate(limit); n < least {
			out.Needed, out.approximateRefused = least, true
		}
	}
	out.Allowed = -1
	if stats.ClopperPearsonUpper(0, n, alpha) <= limit {
		out.Allowed = search(n, func(k int) bool { return stats.ClopperPearsonUpper(k, n, alpha) > limit }) - 1
		out.PassRate = stats.ClopperPearsonUpper(out.Allowed, n, 0.8)
	}
	out.FailRate = 1
	if k := search(n+1, func(k int) bool { return stats.BinomUpper(k, n, limit) <= alpha }); k <= n {
		out.FailRate = stats.ClopperPearsonUpper(k-1, n, 0.2)
	}
	return out
}

func leastApproximate(limit float64) int {
	if limit < minimumExpected/float64(math.MaxInt32) {
		return math.MaxInt32
	}
	n := int(minimumExpected / limit)
	for float64(n)*limit < minimumExpected*(1-1e-12) {
		n++
	}
	return n
}

// search is the least k within 0 and n for which a monotone predicate holds,
// and n when there is none.
func search(n int, holds func(k int) bool) int {
	lo, hi := 0, n
	for lo < hi {
		if mid := lo + (hi-lo)/2; holds(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// clustered reports whether a unit has several observations.
func (c *check) clustered() bool {
	for _, p := range c.parts {
		for _, u := range p.units {
			if len(u.observations) > 1 {
				return true
			}
		}
	}
	return false
}

// Names of methods, as reports show them.
const (
	methodExact       = "exact binomial"
	methodAnyFailure  = "exact binomial on clusters with any failure"
	methodApproximate = "approximate: effective-sample binomial"
	methodSweep       = "; each trigger, pass by intersection-union"
	methodMcNemar     = " on new failures, exact McNemar"
)

func (c *check) method() string {
	m := methodExact
	switch {
	case c.clustered() && c.req.Approximate:
		m = methodApproximate
	case c.clustered():
		m = methodAnyFailure
	}
	switch c.req.Kind {
	case TriggerSweep:
		m += methodSweep
	case NoRegression:
		m += methodMcNemar
	}
	return m
}
