// Package scantest checks other people's formats for package scan: that they
// recognise what they should and nothing else, keep the budget and allocate no
// more than it allows whatever a file says of its sizes, do not panic, answer
// the same every time and for any number of workers, alone, beside the built-in
// formats and from a cache, claim nothing outside the file, and publish their
// rules.
package scantest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
)

// A Sample is one file to test with.
type Sample struct {
	Name  string // file name, given to the format as a hint; also names the subtest
	Data  []byte
	Rules []string // ids expected of the format, sorted; nil for a clean file
	Named bool     // the format recognises it by name only, not by content
}

// TestFormat runs the format alone, as the only one of a scanner. Positives are
// files of the format; negatives are files that it must not recognise. Samples
// of a few kilobytes are best: each is also cut and damaged in many ways.
func TestFormat(t *testing.T, format scan.Format, positives, negatives []Sample) {
	t.Helper()
	checkInfo(t, format)
	c := checker{T: t, format: format, published: make(map[string]bool)}
	for _, r := range append(scan.Rules(), format.Info().Rules...) {
		c.published[r.ID] = true
	}
	in := func(t *testing.T) checker {
		c := c
		c.T = t
		return c
	}
	if len(positives) == 0 || len(negatives) == 0 {
		t.Error("a format needs positive and negative samples")
	}
	for i, s := range positives {
		t.Run(fmt.Sprintf("positive_%d_%s", i, s.Name), func(t *testing.T) {
			c := in(t)
			c.recognised(s)
			c.damaged(s)
			c.starved(s)
		})
	}
	for i, s := range negatives {
		t.Run(fmt.Sprintf("negative_%d_%s", i, s.Name), func(t *testing.T) {
			c := in(t)
			if f := c.scan(scan.Limits{}, s.Name, s.Data); slices.Contains(f.Formats, format.Info().ID) {
				t.Errorf("recognised: %s, findings %v", f.Verdict, ruleIDs(f))
			}
			c.damaged(s)
		})
	}
	t.Run("workers", func(t *testing.T) { in(t).workers(positives, negatives) })
	t.Run("company", func(t *testing.T) { in(t).company(positives, negatives) })
	t.Run("cache", func(t *testing.T) { in(t).cached(positives, negatives) })
}

func checkInfo(t *testing.T, format scan.Format) {
	t.Helper()
	info := format.Info()
	if diff := cmp.Diff(info, format.Info()); diff != "" {
		t.Errorf("Info differs from call to call:\n%s", diff)
	}
	if info.ID == "" || strings.Trim(info.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("id %q is not made of lower-case letters, digits and hyphens", info.ID)
	}
	for _, ext := range info.Extensions {
		if !strings.HasPrefix(ext, ".") || ext != strings.ToLower(ext) {
			t.Errorf("extension %q has no dot or is not lower case", ext)
		}
	}
	for _, kind := range info.Operators {
		if kind == "" || kind != strings.ToLower(kind) {
			t.Errorf("kind of operators %q is empty or not lower case", kind)
		}
	}
	seen := make(map[string]bool)
	for _, r := range info.Rules {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] {
			t.Errorf("rule %q is listed twice", r.ID)
		}
		seen[r.ID] = true
	}
}

type checker struct {
	*testing.T
	format    scan.Format
	published map[string]bool // ids of rules
}

// scan reads data and checks what holds for every input.
func (c checker) scan(limits scan.Limits, name string, data []byte) *scan.FileResult {
	c.Helper()
	before := bytes.Clone(data)
	s := scan.Scanner{Formats: []scan.Format{c.format}, Limits: limits, NoDigests: true}
	var res *scan.Result
	var err error
	allocated := allocates(func() { res, err = s.ScanFile(c.Context(), name, bytes.NewReader(data), int64(len(data))) })
	if err != nil {
		c.Fatal(err)
	}
	if allocated > allocation+64*uint64(len(data)) {
		c.Fatalf("%d bytes were allocated for a file of %d", allocated, len(data))
	}
	if _, err := res.Encode(); err != nil {
		c.Error(err)
	}
	if !bytes.Equal(before, data) {
		c.Fatal("the input was changed")
	}
	top := &res.Files[0]
	for f := range top.All() {
		for _, x := range f.Findings {
			if !c.published[x.Rule.ID] {
				c.Errorf("rule %q is not published by Info", x.Rule.ID)
			}
			if err := x.Check(); err != nil {
				c.Error(err)
			}
			for _, l := range x.Locations {
				if l.Offset < 0 || l.Length < 0 || l.Path == f.Path && l.Offset+l.Length > f.Size {
					c.Errorf("finding of %s at bytes %d+%d of %d", x.Rule.ID, l.Offset, l.Length, f.Size)
				}
			}
		}
		for _, g := range f.Gaps {
			if strings.Contains(g.Reason, "fault in format") {
				c.Errorf("%s: %s", f.Path, g.Reason)
			}
		}
	}
	return top
}

// allocation bounds what one scan of a small file may allocate besides a
// multiple of its size: the memory that the default limits allow, twice.
const allocation = 128 << 20

// allocates is how much f allocates, freed or not. What other goroutines
// allocate meanwhile counts too, so a large amount is measured again.
func allocates(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least < allocation {
			break
		}
	}
	return least
}

// recognised checks the answer for a whole file, twice and under another name.
func (c checker) recognised(s Sample) {
	f := c.scan(scan.Limits{}, s.Name, s.Data)
	if !slices.Contains(f.Formats, c.format.Info().ID) {
		c.Errorf("not recognised: %v, gaps %v", f.Formats, f.Gaps)
	}
	if got := ruleIDs(f); !slices.Equal(got, s.Rules) {
		c.Errorf("rules %q, want %q", got, s.Rules)
	}
	c.same("the second time", f, c.scan(scan.Limits{}, s.Name, s.Data))
	if other := c.scan(scan.Limits{}, "content", s.Data); !s.Named && !slices.Contains(other.Formats, c.format.Info().ID) {
		c.Error("not recognised under a name without meaning; set Named if only the name can tell")
	}
}

// damaged cuts the sample at many places and flips bits of it: whatever comes
// out, no panic, no claim outside, no unpublished rule.
func (c checker) damaged(s Sample) {
	step := max(1, len(s.Data)/256)
	for n := 0; n < len(s.Data); n += step {
		c.scan(scan.Limits{}, s.Name, s.Data[:n])
	}
	random := rand.New(rand.NewPCG(1, uint64(len(s.Data))))
	for range min(256, 8*len(s.Data)) {
		data := bytes.Clone(s.Data)
		data[random.IntN(len(data))] ^= 1 << random.IntN(8)
		c.scan(scan.Limits{}, s.Name, data)
	}
}

// starved lowers one limit after the other: a result is the same as without
// the limit, or says that it is incomplete.
func (c checker) starved(s Sample) {
	full := c.scan(scan.Limits{}, s.Name, s.Data)
	size := int64(len(s.Data))
	for _, limits := range []scan.Limits{
		{Bytes: 1}, {Bytes: size / 2}, {Bytes: size}, {Bytes: 2 * size}, {Entries: 1}, {Depth: 1}, {Opcodes: 1}, {Memory: 1},
	} {
		got := c.scan(limits, s.Name, s.Data)
		if got.Completeness != scan.Complete {
			if got.Verdict == scan.Clean || len(allGaps(got)) == 0 {
				c.Errorf("limits %+v: %s but %s, %d gaps", limits, got.Verdict, got.Completeness, len(allGaps(got)))
			}
			continue
		}
		c.same(fmt.Sprintf("with limits %+v and said to be complete", limits), full, got)
	}
}

// workers scans all samples at once, several times each.
func (c checker) workers(positives, negatives []Sample) {
	fsys := fstest.MapFS{}
	for i, s := range slices.Concat(positives, negatives) {
		for copies := range 4 {
			fsys[fmt.Sprintf("%d/%d/%s", copies, i, s.Name)] = &fstest.MapFile{Data: s.Data}
		}
	}
	var want *scan.Result
	for _, n := range []int{1, 2, 8} {
		got, err := scan.Scanner{Formats: []scan.Format{c.format}, Workers: n}.Scan(c.Context(), fsys)
		if err != nil {
			c.Fatal(err)
		}
		if want == nil {
			want = got
		}
		for i := range want.Files {
			c.same(fmt.Sprintf("for %d workers", n), &want.Files[i], &got.Files[i])
		}
	}
}

// company puts the format among the built-in ones, in the place of the one of
// its name where there is one: it still recognises its files, and what the
// others find in files that are not its own stays as it was.
func (c checker) company(positives, negatives []Sample) {
	id := c.format.Info().ID
	without := slices.DeleteFunc(scan.Builtin(), func(f scan.Format) bool { return f.Info().ID == id })
	with := append(slices.Clone(without), c.format)
	scanOne := func(formats []scan.Format, s Sample) *scan.FileResult {
		res, err := scan.Scanner{Formats: formats, NoDigests: true}.ScanFile(c.Context(), s.Name, bytes.NewReader(s.Data), int64(len(s.Data)))
		if err != nil {
			c.Fatal(err)
		}
		return &res.Files[0]
	}
	for _, s := range positives {
		if f := scanOne(with, s); !slices.Contains(f.Formats, id) {
			c.Errorf("%s: not recognised beside the built-in formats, which say %v", s.Name, f.Formats)
		}
	}
	for _, s := range negatives {
		was, is := scanOne(without, s), scanOne(with, s)
		if !slices.Equal(was.Formats, is.Formats) || !slices.Equal(ruleIDs(was), ruleIDs(is)) {
			c.Errorf("%s: was %v %q, is %v %q with the format", s.Name, was.Formats, ruleIDs(was), is.Formats, ruleIDs(is))
		}
	}
}

// cached scans each sample twice with a cache, for a format that has a version:
// the second time gives what the first time did.
func (c checker) cached(positives, negatives []Sample) {
	v, ok := c.format.(scan.Versioned)
	if !ok {
		return
	}
	if first, again := v.Version(), v.Version(); first != again {
		c.Errorf("the version is %q, then %q", first, again)
	}
	s := scan.Scanner{
		Formats: []scan.Format{c.format}, Cache: scan.Cache{Store: &store{}, Version: "test", InsecureNoSecret: true},
	}
	for _, sample := range slices.Concat(positives, negatives) {
		var first []byte
		for range 2 {
			res, err := s.ScanFile(c.Context(), sample.Name, bytes.NewReader(sample.Data), int64(len(sample.Data)))
			if err != nil {
				c.Fatal(err)
			}
			data, err := res.Encode()
			if err != nil {
				c.Fatal(err)
			}
			if first != nil && !bytes.Equal(first, data) {
				c.Errorf("%s: another result from the cache (-want +got):\n%s", sample.Name, cmp.Diff(string(first), string(data)))
			}
			first = data
		}
	}
}

// A store is a cache's, in memory, for one goroutine.
type store struct{ values map[string][]byte }

func (s *store) Get(_ context.Context, key string) ([]byte, error) { return s.values[key], nil }

func (s *store) Put(_ context.Context, key string, value []byte) error {
	if s.values == nil {
		s.values = make(map[string][]byte)
	}
	s.values[key] = value
	return nil
}

func (c checker) same(when string, want, got *scan.FileResult) {
	c.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(scan.FileResult{})); diff != "" {
		c.Errorf("another result %s (-want +got):\n%s", when, diff)
	}
}

func ruleIDs(top *scan.FileResult) []string {
	set := make(map[string]bool)
	for f := range top.All() {
		for _, x := range f.Findings {
			set[x.Rule.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func allGaps(top *scan.FileResult) (out []prerun.Gap) {
	for f := range top.All() {
		out = append(out, f.Gaps...)
	}
	return out
}
