package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// A Cache keeps the results of checks by the content that they depend on. Get
// returns nil, nil for an absent key. A cache that fails slows a gate down and
// never changes its decision. Implementations are safe for concurrent use.
type Cache interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// MemoryCache is a [Cache] in memory. The zero value is empty and ready.
type MemoryCache struct {
	mu     sync.Mutex
	values map[string][]byte
}

// Get implements [Cache].
func (c *MemoryCache) Get(_ context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.values[key]), nil
}

// Put implements [Cache].
func (c *MemoryCache) Put(_ context.Context, key string, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = make(map[string][]byte)
	}
	c.values[key] = slices.Clone(value)
	return nil
}

// cacheKey names a run of a check: everything that its result depends on,
// framed by length so that no two lists run together.
func cacheKey(meta Meta, in *Input, content []string) string {
	h := sha256.New()
	parts := append([]string{
		"prerun/check/v1", meta.ID, meta.Version, fmt.Sprint(in.Seed),
	}, slices.Sorted(slices.Values(content))...)
	for _, s := range parts {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// cachedResult is the stored form of a result.
type cachedResult struct {
	Outcome   Outcome
	Reason    string
	Subjects  []prerun.Subject
	Findings  []prerun.Finding
	Gaps      []prerun.Gap
	Facts     map[string]json.RawMessage
	Intervals []report.Interval
	Graphs    []report.Graph
	Inputs    []prerun.Subject
}

// lookup returns a stored result, or nil when there is none that can be used.
func lookup(ctx context.Context, c Cache, key string) *Result {
	data, err := c.Get(ctx, key)
	if err != nil || data == nil {
		return nil
	}
	var stored cachedResult
	if json.Unmarshal(data, &stored) != nil {
		return nil
	}
	out := &Result{
		Outcome:   stored.Outcome,
		Reason:    stored.Reason,
		Source:    prerun.NewSource(stored.Subjects, stored.Findings, stored.Gaps),
		Facts:     make(map[string]any, len(stored.Facts)),
		Intervals: stored.Intervals,
		Graphs:    stored.Graphs,
		Inputs:    stored.Inputs,
	}
	for name, text := range stored.Facts {
		out.Facts[name] = text
	}
	return out
}

func store(ctx context.Context, c Cache, key string, r *Result) error {
	if r.Source == nil {
		return nil // it costs nothing to say again
	}
	facts, err := marshalFacts(r.Facts)
	if err != nil {
		return err
	}
	data, err := marshal(cachedResult{
		Outcome:   r.Outcome,
		Reason:    r.Reason,
		Subjects:  slices.Collect(r.Source.Subjects()),
		Findings:  slices.Collect(r.Source.Findings()),
		Gaps:      slices.Collect(r.Source.Gaps()),
		Facts:     facts,
		Intervals: r.Intervals,
		Graphs:    r.Graphs,
		Inputs:    r.Inputs,
	})
	if err != nil {
		return err
	}
	return c.Put(ctx, key, data)
}
