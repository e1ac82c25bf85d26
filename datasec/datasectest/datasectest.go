// Package datasectest tests detectors of package datasec: the built-in ones
// and anybody's. [TestDetector] checks the contract that scans over many
// files, workers and machines lean on, and that a detector finds what it is
// for and keeps quiet otherwise.
package datasectest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
)

// Row is a record with one text field, standing in the given row of a shard.
// With label "" it is unlabelled.
func Row(shard string, row int, text, label string) datasec.Record {
	r := datasec.Record{
		Shard: shard, Row: int64(row), Line: row + 1, Label: label, Labelled: label != "",
		Fields: []datasec.Field{{Name: "text", Value: text, Role: datasec.RoleText}},
	}
	if label != "" {
		r.Fields = append(r.Fields, datasec.Field{Name: "label", Value: label, Role: datasec.RoleLabel})
	}
	return r
}

// Rows are unlabelled records of one shard, one for each text.
func Rows(shard string, texts ...string) []datasec.Record {
	out := make([]datasec.Record, len(texts))
	for i, text := range texts {
		out[i] = Row(shard, i, text, "")
	}
	return out
}

// TestDetector checks that d keeps the contract of [datasec.Detector] and
// [datasec.State]: that it finds something in the positive rows wherever they
// stand, nothing in the negative ones and nothing where there is nothing; that
// states forget the order of rows and of merges, on bytes; that bytes are read
// back exactly and nothing else is; that it repeats itself, leaves its input
// alone and can be used from several goroutines.
func TestDetector(t *testing.T, d datasec.Detector, positive, negative []datasec.Record) {
	t.Helper()
	t.Run("info", func(t *testing.T) { testInfo(t, d) })
	t.Run("input_unchanged", func(t *testing.T) { testInput(t, d, positive) })
	positive, negative = clone(positive), clone(negative) // a flawed detector must not spoil them for the caller
	t.Run("finds", func(t *testing.T) { testFinds(t, d, positive, negative) })
	t.Run("merge_laws", func(t *testing.T) {
		testMergeLaws(t, d, positive)
		testMergeLaws(t, d, slices.Concat(positive, moved(negative, "other")))
	})
	t.Run("bytes", func(t *testing.T) { testBytes(t, d, positive, negative) })
	t.Run("concurrent_use", func(t *testing.T) { testConcurrent(t, d, positive) })
}

func testInfo(t *testing.T, d datasec.Detector) {
	info := d.Info()
	if info.Name == "" || len(info.Name) > 255 {
		t.Errorf("name %q", info.Name)
	}
	if len(info.Rules) == 0 {
		t.Error("no rules")
	}
	seen := make(map[string]bool)
	for _, r := range info.Rules {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] {
			t.Errorf("rule %q twice", r.ID)
		}
		seen[r.ID] = true
	}
	if !reflect.DeepEqual(info, d.Info()) {
		t.Error("Info does not repeat itself")
	}
}

func testFinds(t *testing.T, d datasec.Detector, positive, negative []datasec.Record) {
	if rep := run(t, d, split(nil, 1), inOrder).report; len(rep.Findings) != 0 {
		t.Errorf("found something in nothing: %s", rep.Findings[0].Message)
	}
	if rep := run(t, d, split(negative, 1), inOrder).report; len(rep.Findings) != 0 {
		t.Errorf("found something in the negative rows: %s", rep.Findings[0].Message)
	}
	rep := run(t, d, split(positive, 1), inOrder).report
	if len(rep.Findings) == 0 {
		t.Fatal("found nothing in the positive rows")
	}
	shards := make(map[string]bool)
	for _, r := range positive {
		shards[r.Shard] = true
	}
	for _, f := range rep.Findings {
		if err := f.Check(); err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(d.Info().Rules, func(r prerun.Rule) bool { return r.ID == f.Rule.ID }) {
			t.Errorf("rule %q is not among those of Info", f.Rule.ID)
		}
		for _, l := range f.Locations {
			if !shards[l.Path] {
				t.Errorf("a location names %q, which no row does", l.Path)
			}
		}
	}
	want := rules(rep)
	const turns = 8
	for i := 1; i < min(turns, len(positive)); i++ {
		at := i * len(positive) / min(turns, len(positive))
		turned := numbered(slices.Concat(positive[at:], positive[:at]))
		if got := rules(run(t, d, split(turned, 1), inOrder).report); !slices.Equal(got, want) {
			t.Errorf("with row %d first it found %q, in order %q", at, got, want)
		}
	}
}

func testMergeLaws(t *testing.T, d datasec.Detector, rows []datasec.Record) {
	want := run(t, d, split(rows, 1), inOrder)
	for _, parts := range []int{1, 2, 3, 7} {
		for name, merge := range map[string]func([]datasec.State) (datasec.State, error){
			"in order": inOrder, "backwards": backwards, "as a tree": asTree,
		} {
			for _, reversed := range []bool{false, true} {
				in := slices.Clone(rows)
				if reversed {
					slices.Reverse(in)
				}
				got := run(t, d, split(in, parts), merge)
				what := fmt.Sprintf("%d parts merged %s, rows reversed: %t", parts, name, reversed)
				if len(got.passes) != len(want.passes) {
					t.Fatalf("%s: %d passes, want %d", what, len(got.passes), len(want.passes))
				}
				for i := range want.passes {
					if !bytes.Equal(got.passes[i], want.passes[i]) {
						t.Errorf("%s: pass %d ends in other bytes", what, i+1)
					}
				}
				if !reflect.DeepEqual(ordered(got.report), ordered(want.report)) {
					t.Errorf("%s: another report", what)
				}
			}
		}
	}
}

func testBytes(t *testing.T, d datasec.Detector, positive, negative []datasec.Record) {
	newState := func() datasec.State { return d.New(datasec.Params{}) }
	filled := newState()
	observe(filled, positive)
	for range 8 {
		data := marshal(t, filled)
		read := newState()
		observe(read, negative) // what is read replaces what was known
		if err := read.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(marshal(t, read), data) {
			t.Error("bytes read back are written differently")
		}
		for _, cut := range []int{0, 1, len(data) / 2, len(data) - 1} {
			if err := newState().UnmarshalBinary(data[:cut]); !errors.Is(err, datasec.ErrState) {
				t.Errorf("first %d of %d bytes: error %v, want ErrState", cut, len(data), err)
			}
		}
		if err := newState().UnmarshalBinary(append(slices.Clone(data), 0)); !errors.Is(err, datasec.ErrState) {
			t.Errorf("a byte too many: error %v, want ErrState", err)
		}
		if err := newState().Merge(foreign{}); !errors.Is(err, datasec.ErrState) {
			t.Errorf("merge with a foreign state: error %v, want ErrState", err)
		}
		multi, ok := filled.(datasec.MultiPass)
		if !ok {
			return
		}
		if newState = multi.Next(); newState == nil {
			return
		}
		filled = newState()
		observe(filled, positive)
	}
	t.Error("more than eight passes")
}

func testInput(t *testing.T, d datasec.Detector, rows []datasec.Record) {
	in, want := clone(rows), clone(rows)
	run(t, d, [][]datasec.Record{in}, inOrder)
	if !reflect.DeepEqual(in, want) {
		t.Error("a row was changed")
	}
}

func testConcurrent(t *testing.T, d datasec.Detector, rows []datasec.Record) {
	want := ordered(run(t, d, split(rows, 1), inOrder).report)
	reports := make([]datasec.Report, 4)
	var wg sync.WaitGroup
	for i := range reports {
		wg.Go(func() { reports[i] = run(t, d, split(rows, 2), backwards).report })
	}
	wg.Wait()
	for _, got := range reports {
		if !reflect.DeepEqual(ordered(got), want) {
			t.Error("another report when used concurrently")
		}
	}
}

// outcome is what all passes left: the bytes after each, and the last report.
type outcome struct {
	passes [][]byte
	report datasec.Report
}

// run takes a detector through its passes, one state for each part, all parts
// of a pass at once, as a scan does.
func run(t *testing.T, d datasec.Detector, parts [][]datasec.Record, merge func([]datasec.State) (datasec.State, error)) outcome {
	t.Helper()
	var out outcome
	newState := func() datasec.State { return d.New(datasec.Params{}) }
	for range 8 {
		states := make([]datasec.State, len(parts))
		var wg sync.WaitGroup
		for i, part := range parts {
			states[i] = newState()
			wg.Go(func() { observe(states[i], part) })
		}
		wg.Wait()
		merged, err := merge(states)
		if err != nil {
			t.Errorf("merge: %v", err)
			return out
		}
		out.passes = append(out.passes, marshal(t, merged))
		if multi, ok := merged.(datasec.MultiPass); ok {
			if newState = multi.Next(); newState != nil {
				continue
			}
		}
		out.report = merged.Finalize()
		if !reflect.DeepEqual(ordered(out.report), ordered(merged.Finalize())) {
			t.Error("Finalize does not repeat itself")
		}
		if !bytes.Equal(marshal(t, merged), out.passes[len(out.passes)-1]) {
			t.Error("Finalize or Next changed the state")
		}
		return out
	}
	t.Error("more than eight passes")
	return out
}

func observe(s datasec.State, rows []datasec.Record) {
	for i := range rows {
		s.Observe(&rows[i])
	}
}

func marshal(t *testing.T, s datasec.State) []byte {
	t.Helper()
	data, err := s.MarshalBinary()
	if err != nil {
		t.Errorf("marshal: %v", err)
	}
	return data
}

// split deals rows to parts like cards, at least one part.
func split(rows []datasec.Record, parts int) [][]datasec.Record {
	out := make([][]datasec.Record, parts)
	for i, r := range rows {
		out[i%parts] = append(out[i%parts], r)
	}
	return out
}

func inOrder(states []datasec.State) (datasec.State, error) {
	for _, s := range states[1:] {
		if err := states[0].Merge(s); err != nil {
			return nil, err
		}
	}
	return states[0], nil
}

func backwards(states []datasec.State) (datasec.State, error) {
	slices.Reverse(states)
	return inOrder(states)
}

func asTree(states []datasec.State) (datasec.State, error) {
	for len(states) > 1 {
		var next []datasec.State
		for i := 0; i < len(states); i += 2 {
			if i+1 < len(states) {
				if err := states[i].Merge(states[i+1]); err != nil {
					return nil, err
				}
			}
			next = append(next, states[i])
		}
		states = next
	}
	return states[0], nil
}

func clone(rows []datasec.Record) []datasec.Record {
	out := slices.Clone(rows)
	for i := range out {
		out[i].Fields = slices.Clone(out[i].Fields)
	}
	return out
}

// numbered gives rows the numbers of their places.
func numbered(rows []datasec.Record) []datasec.Record {
	out := clone(rows)
	for i := range out {
		out[i].Row, out[i].Line = int64(i), i+1
	}
	return out
}

// moved puts rows into another shard.
func moved(rows []datasec.Record, shard string) []datasec.Record {
	out := clone(rows)
	for i := range out {
		out[i].Shard = shard
	}
	return out
}

func ordered(rep datasec.Report) datasec.Report {
	rep.Findings = slices.Clone(rep.Findings)
	prerun.Sort(rep.Findings)
	return rep
}

func rules(rep datasec.Report) []string {
	seen := make(map[string]bool)
	var out []string
	for _, f := range rep.Findings {
		if !seen[f.Rule.ID] {
			seen[f.Rule.ID] = true
			out = append(out, f.Rule.ID)
		}
	}
	slices.Sort(out)
	return out
}

// foreign is a state that no detector knows.
type foreign struct{}

func (foreign) Observe(*datasec.Record)        {}
func (foreign) Merge(datasec.State) error      { return nil }
func (foreign) MarshalBinary() ([]byte, error) { return nil, nil }
func (foreign) UnmarshalBinary([]byte) error   { return nil }
func (foreign) Finalize() datasec.Report       { return datasec.Report{} }
