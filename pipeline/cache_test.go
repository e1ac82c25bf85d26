package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
)

// A cachable check counts its runs.
type cachable struct {
	fake
	version string
	key     func() ([]string, error)
	runs    atomic.Int64
}

func (c *cachable) Meta() pipeline.Meta {
	m := c.fake.Meta()
	m.Version = c.version
	return m
}

func (c *cachable) CacheKey(context.Context) ([]string, error) { return c.key() }

func (c *cachable) Run(ctx context.Context, in *pipeline.Input) (*pipeline.Result, error) {
	c.runs.Add(1)
	return c.fake.Run(ctx, in)
}

func keyOf(parts ...string) func() ([]string, error) {
	return func() ([]string, error) { return parts, nil }
}

// Everything that a result depends on is in the key; nothing runs together.
func TestCacheKey(t *testing.T) {
	type variant struct {
		id, version string
		seed        uint64
		key         []string
	}
	first := variant{"a", "1", 1, []string{"x", "y"}}
	for _, tt := range []struct {
		name   string
		second variant
		hit    bool
	}{
		{"same", first, true},
		{"other_order", variant{"a", "1", 1, []string{"y", "x"}}, true},
		{"other_content", variant{"a", "1", 1, []string{"x", "z"}}, false},
		{"run_together", variant{"a", "1", 1, []string{"xy"}}, false},
		{"framed", variant{"a", "1", 1, []string{"1:x1:y"}}, false},
		{"one_more", variant{"a", "1", 1, []string{"x", "y", ""}}, false},
		{"other_version", variant{"a", "2", 1, []string{"x", "y"}}, false},
		{"other_seed", variant{"a", "1", 2, []string{"x", "y"}}, false},
		{"other_id", variant{"b", "1", 1, []string{"x", "y"}}, false},
		{"not_nameable", variant{"a", "1", 1, nil}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cache := new(pipeline.MemoryCache)
			var runs int64
			for _, v := range []variant{first, tt.second} {
				c := &cachable{fake: fake{id: v.id, result: passes()}, version: v.version, key: keyOf(v.key...)}
				g := fakeGate(c)
				g.Cache, g.Seed = cache, v.seed
				if _, err := g.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				runs += c.runs.Load()
			}
			if hit := runs == 1; hit != tt.hit {
				t.Errorf("%d runs", runs)
			}
		})
	}
}

// A hit gives the same report as the run that it stands for.
func TestCacheHitGivesTheSameReport(t *testing.T) {
	type figure struct {
		Z int     `json:"z"`
		A float64 `json:"a"`
		S string  `json:"s"`
	}
	c := &cachable{key: keyOf("x"), fake: fake{id: "a", result: &pipeline.Result{
		Reason: "one <finding>",
		Source: prerun.NewSource(
			[]prerun.Subject{{Path: "a", Digest: "sha256:00"}},
			[]prerun.Finding{finding("test.rule.low", prerun.Low)},
			[]prerun.Gap{{Location: prerun.Location{Path: "b", Line: 3}, Reason: "locked"}},
		),
		Facts:     map[string]any{"figures": []figure{{1, 0.1, "<&>"}, {2, 1e21, "\u2028"}}, "n": uint64(1) << 63},
		Intervals: []report.Interval{{Name: "i", Estimate: 0.5, Low: 0.25, High: 0.75, Threshold: 0.6, AtMost: true, Verdict: "PASS", Method: "m"}},
		Graphs:    []report.Graph{{Title: "g", Nodes: []report.Node{{ID: "n", Label: "n"}}, Edges: []report.Edge{{From: "n", To: "n"}}}},
		Inputs:    []prerun.Subject{{Path: "i", Digest: "sha256:01"}},
	}}}
	g := fakeGate(c)
	var want string
	for i, cache := range []pipeline.Cache{nil, new(pipeline.MemoryCache), nil} {
		if i == 1 {
			g.Cache = cache
		}
		d, err := g.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := rendered(t, d)
		if want == "" {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("run %d (-want +got):\n%s", i, diff)
		}
	}
	if n := c.runs.Load(); n != 2 {
		t.Errorf("%d runs, want one without and one with a cache", n)
	}
}

// What cannot be relied on is not kept: errors, facts, content that changed.
func TestNotCached(t *testing.T) {
	calls := 0
	for _, tt := range []struct {
		name  string
		check *cachable
		want  pipeline.Outcome
	}{
		{"gives_a_fact", &cachable{key: keyOf("x"), fake: fake{
			gives: []string{string(number)},
			run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
				return passes(), pipeline.Put(in, number, 1)
			},
		}}, pipeline.Pass},
		{"error", &cachable{key: keyOf("x"), fake: fake{err: errors.New("no")}}, pipeline.Errored},
		{"half", &cachable{key: keyOf("x"), fake: fake{result: &pipeline.Result{Source: passes().Source, Err: errors.New("no")}}}, pipeline.Errored},
		{"no_source", &cachable{key: keyOf("x"), fake: fake{result: &pipeline.Result{Outcome: pipeline.Pass}}}, pipeline.Pass},
		{"changed_meanwhile", &cachable{key: func() ([]string, error) { calls++; return []string{fmt.Sprint(calls)}, nil }, fake: fake{result: passes()}}, pipeline.Errored},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.check.id = "a"
			g := fakeGate(tt.check)
			g.Cache = new(pipeline.MemoryCache)
			for range 2 {
				d, err := g.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := result(t, d, "a"); got.Outcome != tt.want {
					t.Errorf("outcome %v, want %v: %s", got.Outcome, tt.want, got.Reason)
				}
			}
			if n := tt.check.runs.Load(); n != 2 {
				t.Errorf("%d runs", n)
			}
		})
	}
	panics := &cachable{fake: fake{id: "a", result: passes()}, key: func() ([]string, error) { panic("ouch") }}
	g := fakeGate(panics)
	g.Cache = new(pipeline.MemoryCache)
	if d, err := g.Run(t.Context()); err != nil || result(t, d, "a").Outcome != pipeline.Errored {
		t.Errorf("a panic in CacheKey: %v", err)
	}
}

type brokenCache struct{ value []byte }

func (c brokenCache) Get(context.Context, string) ([]byte, error) {
	if c.value == nil {
		return nil, errors.New("no cache")
	}
	return c.value, nil
}
func (brokenCache) Put(context.Context, string, []byte) error { return errors.New("full") }

// A cache that fails, or holds nonsense, changes nothing.
func TestBrokenCache(t *testing.T) {
	for _, value := range []string{"", "nonsense", `{"Outcome":"pass","Findings":7}`} {
		c := &cachable{fake: fake{id: "a", result: found(finding("test.rule.medium", prerun.Medium))}, key: keyOf("x")}
		g := fakeGate(c)
		g.Cache = brokenCache{}
		if value != "" {
			g.Cache = brokenCache{[]byte(value)}
		}
		d, err := g.Run(t.Context())
		if err != nil || result(t, d, "a").Outcome != pipeline.Fail || c.runs.Load() != 1 {
			t.Errorf("%q: %v, %v", value, d.Reason, err)
		}
	}
}

// The checks of this package name all that they read and every option.
func TestCacheKeysOfTheChecks(t *testing.T) {
	w := newWorld(t)
	rules, err := scan.ParseRuleSet([]byte(rulesYAML))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		first   pipeline.Digester
		edit    func(w *world) // a file that the check reads
		options []pipeline.Digester
	}{
		{"scan", pipeline.ScanModel{FS: w.fs, Path: "model"}, func(w *world) { w.flip("model/config.json") }, []pipeline.Digester{
			pipeline.ScanModel{FS: w.fs, Path: "model", Scanner: scan.Scanner{NoDigests: true}},
			pipeline.ScanModel{FS: w.fs, Path: "model", Scanner: scan.Scanner{Limits: scan.Limits{Depth: 1}}},
			pipeline.ScanModel{FS: w.fs, Path: "model", Scanner: scan.Scanner{Formats: scan.Builtin()[:1]}},
			pipeline.ScanModel{FS: w.fs, Path: "model", Scanner: scan.Scanner{RuleSets: []*scan.RuleSet{rules}}},
		}},
		{"weights", pipeline.ScanWeights{FS: w.fs, Path: "model"}, func(w *world) { w.flip("model/model.safetensors") }, []pipeline.Digester{
			pipeline.ScanWeights{FS: w.fs, Path: "model", Scanner: weights.Scanner{OutlierZ: 9}},
		}},
		{"dataset", pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}}, func(w *world) { w.flip("data/train.jsonl") }, []pipeline.Digester{
			pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}, Schema: datasec.Schema{Label: "label"}},
			pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}, Scanner: datasec.Scanner{Detectors: datasec.Builtin()[:1]}},
			pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}, Scanner: datasec.Scanner{Against: new(datasec.Manifest)}},
		}},
		{"embeddings", pipeline.ScanEmbeddings{FS: w.fs, File: "corpus.npy"}, func(w *world) { w.flip("corpus.npy") }, []pipeline.Digester{
			pipeline.ScanEmbeddings{FS: w.fs, File: "corpus.npy", Queries: "corpus.npy"},
			pipeline.ScanEmbeddings{FS: w.fs, File: "corpus.npy", Scanner: embedding.Scanner{K: 3}},
		}},
		{"prompts", pipeline.LockPrompts{FS: w.fs, Path: "prompts", Lock: "prompts.lock"}, func(w *world) { w.flip("prompts.lock") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := func(d pipeline.Digester) []string {
				k, err := d.CacheKey(t.Context())
				if err != nil || k == nil {
					t.Fatalf("%v, %v", k, err)
				}
				return k
			}
			before := key(tt.first)
			if diff := cmp.Diff(before, key(tt.first)); diff != "" {
				t.Errorf("not the same twice:\n%s", diff)
			}
			for i, other := range tt.options {
				if cmp.Equal(before, key(other)) {
					t.Errorf("options %d give the same key", i)
				}
			}
			tt.edit(w)
			if cmp.Equal(before, key(tt.first)) {
				t.Error("other content gives the same key")
			}
		})
	}
	t.Run("link", func(t *testing.T) {
		one, two := newWorld(t), newWorld(t)
		one.fs["model/link"], two.fs["model/link"] = link("a"), link("b")
		k1, err1 := pipeline.ScanModel{FS: one.fs, Path: "model"}.CacheKey(t.Context())
		k2, err2 := pipeline.ScanModel{FS: two.fs, Path: "model"}.CacheKey(t.Context())
		if err1 != nil || err2 != nil || cmp.Equal(k1, k2) {
			t.Errorf("%v, %v, equal %t", err1, err2, cmp.Equal(k1, k2))
		}
	})
	t.Run("somebodys_detector", func(t *testing.T) {
		c := pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}, Scanner: datasec.Scanner{Detectors: []datasec.Detector{&pointerDetector{}}}}
		if k, err := c.CacheKey(t.Context()); k != nil || err != nil {
			t.Errorf("%q, %v", k, err)
		}
	})
	t.Run("absent", func(t *testing.T) {
		if _, err := (pipeline.ScanModel{FS: w.fs, Path: "nowhere"}).CacheKey(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
}

type pointerDetector struct{ datasec.Detector }
