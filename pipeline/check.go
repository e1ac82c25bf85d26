package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// A Check is one thing that a gate looks at. Third parties implement it; see
// the package example, and pipelinetest for the tests that one should pass.
//
// Run returns a result, or an error when the check could not do its work at
// all; what could partly not be checked is a gap in the result's source. It
// must honour ctx, finish what it starts, and give the same result for the same
// input whatever Input.Workers is. It may be called concurrently with other
// checks but is called once per gate run.
type Check interface {
	Meta() Meta
	Run(ctx context.Context, in *Input) (*Result, error)
}

// A Digester is a [Check] whose result depends on content that it can name.
// CacheKey returns digests of everything that the result depends on, options
// included, or nil or an error when it cannot name all of it; a check that judges
// by Input.Now is no Digester. Only such checks are cached, and only if they
// neither need nor give facts. CacheKey is called again after Run: content that
// changed meanwhile is an error of the check.
type Digester interface {
	CacheKey(ctx context.Context) ([]string, error)
}

// Meta describes a check. ID must be set; the rest has useful zero values.
type Meta struct {
	ID       string        // such as "integrity.verify"; unique in a gate
	Version  string        // of the check's logic and rules; part of the cache key
	Needs    []string      // names of facts that other checks give
	Gives    []string      // names of facts that this check gives; all of them when it passes
	Items    []string      // gate items that it answers, such as "ALL-2"
	Controls []string      // controls that it bears on, such as "SUP-01"
	Timeout  time.Duration // 0 means the gate's
	Network  bool          // it may open connections; counted in a class of its own
}

// A Result is what a check found.
type Result struct {
	// Outcome is the check's own judgement. Leave it at its zero value to have
	// the gate derive it from Source at the profile's threshold. Where the two
	// differ the worse one stands: a check cannot pass over its own findings or
	// gaps. Waived is the gate's to say, and an error here.
	Outcome Outcome
	Reason  string        // one sentence, redacted
	Source  prerun.Source // may be nil only if Outcome is set

	// Err makes the outcome an error although the check has something to show:
	// evidence was there and could not be read. The facts that the check gave
	// are withdrawn.
	Err error

	// Inputs are the signed documents that the check relied on, with their
	// digests. The verdict names them.
	Inputs []prerun.Subject

	// Facts are figures for the report. They are marshalled as JSON as soon as
	// the check has ended; one that cannot be is an error of the check. Keys are
	// documented by the check. They hold no times and no durations.
	Facts map[string]any
	// Intervals are estimates against thresholds, for plots.
	Intervals []report.Interval
	// Graphs are lineages, to be drawn.
	Graphs []report.Graph
}

// Input is what a gate hands to a check.
type Input struct {
	Now     time.Time // the time to judge expiry by; never time.Now
	Seed    uint64    // for whatever is sampled
	Workers int       // upper bound of goroutines; results do not depend on it
	Log     *slog.Logger
	// Progress reports work done of a total in any unit; it is never nil.
	Progress func(done, total int64)

	meta  Meta
	facts *factStore
}

// A Fact is the name of a typed value that one check gives and others need. The
// type parameter is the value's type:
//
//	const Model pipeline.Fact[*ModelInfo] = "integrity.model"
type Fact[T any] string

type factStore struct {
	mu     sync.Mutex
	values map[string]any
}

// errUndeclared makes a check that uses facts it did not declare an error: the
// declared edges are what the scheduler orders by.
var errUndeclared = errors.New("fact was not declared")

// Put gives a fact. Giving one that Meta.Gives does not list, or giving it
// twice, is an error.
func Put[T any](in *Input, f Fact[T], v T) error {
	if !slices.Contains(in.meta.Gives, string(f)) {
		return fmt.Errorf("check %s gives %q: %w", in.meta.ID, f, errUndeclared)
	}
	in.facts.mu.Lock()
	defer in.facts.mu.Unlock()
	if _, dup := in.facts.values[string(f)]; dup {
		return fmt.Errorf("check %s gives %q twice", in.meta.ID, f)
	}
	in.facts.values[string(f)] = v
	return nil
}

// Get returns a fact that Meta.Needs lists. It fails when the fact was not
// declared or has another type; a fact that its producer did not give cannot
// be missing here, because then the check does not run.
func Get[T any](in *Input, f Fact[T]) (T, error) {
	var zero T
	if !slices.Contains(in.meta.Needs, string(f)) {
		return zero, fmt.Errorf("check %s needs %q: %w", in.meta.ID, f, errUndeclared)
	}
	in.facts.mu.Lock()
	defer in.facts.mu.Unlock()
	v, ok := in.facts.values[string(f)].(T)
	if !ok {
		return zero, fmt.Errorf("fact %q has another type than check %s expects", f, in.meta.ID)
	}
	return v, nil
}

func (s *factStore) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.values[name]
	return ok
}

// withdraw forgets what a check gave before it ended in an error.
func (s *factStore) withdraw(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.values, name)
	}
}
