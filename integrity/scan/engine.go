package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/prerun/prerun"
)

// An entry is a format with its description, asked for once.
type entry struct {
	format Format
	info   Info
}

// scan routes one artefact to every format that matches, and then looks at
// what none of them claimed.
func (r *run) scan(ctx context.Context, a *Artifact) FileResult {
	out := &Sink{a: a, res: FileResult{Completeness: Complete}}
	recognised := r.formatsOf(ctx, a, out)
	if a.Size == 0 && len(out.res.Formats) == 0 {
		out.res.Formats = []string{empty}
	}
	switch {
	case len(out.res.Formats) == 0:
		r.unrecognised(a, out, "no format recognised this file")
	case len(recognised) > 0 && !slices.ContainsFunc(recognised, claimant.notText):
		r.unrecognised(a, out, "this file is recognised as text only")
	}
	overlaps(out, recognised)
	r.unclaimed(ctx, a, out, recognised)
	r.patterns(ctx, a, out)
	out.res.Path, out.res.Size = a.Path, a.Size
	out.res.Globals = mergeGlobals(out.res.Globals)
	slices.Sort(out.res.Formats)
	out.res.conclude()
	return out.res
}

// A claimant is a format that recognised the artefact, with its ranges.
type claimant struct {
	info   Info
	claims []span
}

func (r *run) formatsOf(ctx context.Context, a *Artifact, out *Sink) []claimant {
	if err := a.edges(); err != nil {
		out.gap(completenessOf(err), err.Error(), 0, a.Size)
		return nil
	}
	var recognised []claimant
	anything := false // a format that knows the file by its place takes any bytes, and no loader opens one of that name
	matches := make([]Match, len(r.formats))
	for i, e := range r.formats {
		m, err := match(e.format, a.Probe)
		if err != nil {
			out.gap(Failed, faultText(e.info.ID, err), 0, 0)
		}
		matches[i] = m
		anything = anything || m != No && slices.Contains(e.info.Within, "*") && !r.loads(a.Ext())
	}
	for i, e := range r.formats {
		m := matches[i]
		if m == No {
			continue
		}
		kept, globals := r.kept, len(out.res.Globals)
		sub := &Sink{a: a, res: FileResult{Completeness: Complete}}
		err := sub.run(ctx, e.format)
		// Numbers look like the start of one format or another now and then.
		guess := anything && err != nil && completenessOf(err) == Failed && ctx.Err() == nil && sub.res.worst < prerun.Medium
		if m == Maybe && sub.fault == nil && (errors.Is(err, ErrNotFormat) || guess) {
			r.kept = kept
			out.res.Globals = out.res.Globals[:globals]
			continue
		}
		if err != nil {
			sub.gap(completenessOf(err), fmt.Sprintf("format %s: %v", e.info.ID, err), 0, 0)
		}
		if sub.fault != nil {
			sub.gap(Failed, faultText(e.info.ID, sub.fault), 0, 0)
		}
		slices.SortFunc(sub.claims, func(x, y span) int { return cmp.Or(cmp.Compare(x.off, y.off), cmp.Compare(x.end, y.end)) })
		recognised = append(recognised, claimant{e.info, sub.claims})
		out.merge(sub.res, e.info.ID)
	}
	return recognised
}

// edges reads the ends of the artefact that recognition looks at.
func (a *Artifact) edges() (err error) {
	n := min(a.Size, ProbeSize)
	if a.Head, err = a.peek(0, n); err != nil {
		return err
	}
	if a.Size <= ProbeSize {
		a.Tail = a.Head
		return nil
	}
	a.Tail, err = a.peek(a.Size-n, n)
	return err
}

// merge adds what one format told to the artefact's result.
func (s *Sink) merge(r FileResult, id string) {
	s.res.Formats = append(s.res.Formats, id)
	s.res.Findings = append(s.res.Findings, r.Findings...)
	s.res.Gaps = append(s.res.Gaps, r.Gaps...)
	s.res.Globals = append(s.res.Globals, r.Globals...)
	s.res.Inside = append(s.res.Inside, r.Inside...)
	s.res.worst = max(s.res.worst, r.worst)
	s.res.Completeness = worse(s.res.Completeness, r.Completeness)
	for k, v := range r.Facts {
		s.Fact(k, v)
	}
}

// match and run contain panics: a format that fails on hostile input must not
// take the scan of other files with it.
func match(f Format, p Probe) (m Match, err error) {
	defer func() {
		if v := recover(); v != nil {
			m, err = No, fmt.Errorf("panic while matching: %.200v", v)
		}
	}()
	return f.Match(p), nil
}

func (s *Sink) run(ctx context.Context, f Format) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.fault = fmt.Errorf("panic: %.200v", v)
		}
	}()
	return f.Scan(ctx, s.a, s)
}

// faultText is the reason of a gap for which a format is to blame, not the file.
func faultText(id string, err error) string { return fmt.Sprintf("fault in format %s: %v", id, err) }

// completenessOf is Inconclusive where more budget would have helped.
func completenessOf(err error) Completeness {
	if errors.Is(err, ErrBudget) || errors.Is(err, errUnsupported) || errors.Is(err, context.DeadlineExceeded) {
		return Inconclusive
	}
	return Failed
}

// notText reports whether a format says more of a file than that it is text of
// some sort: it is a loader's format, or no text at all. Text under a model's
// name is a model that nobody could read.
func (c claimant) notText() bool {
	return len(c.info.Extensions) > 0 || c.info.ID != "text" && !slices.Contains(c.info.Within, "text")
}

// unrecognised notes that nothing that loaders open was found in the file; its
// name decides whether that is a gap.
func (r *run) unrecognised(a *Artifact, out *Sink, what string) {
	if r.loads(a.Ext()) {
		out.Gap(what+", and loaders open files of that name", 0, 0)
	}
}

// loads reports whether loaders open files with that ending.
func (r *run) loads(ext string) bool {
	return loadable(ext) || slices.ContainsFunc(r.formats, func(e entry) bool { return slices.Contains(e.info.Extensions, ext) })
}

// overlaps reports bytes that two formats, or two parts of one format, claim.
func overlaps(out *Sink, recognised []claimant) {
	for i, c := range recognised {
		if at, n := overlap(c.claims); n > 0 {
			out.Finding(prerun.Finding{
				Rule:       ruleOverlap,
				Confidence: prerun.ConfidenceHigh,
				Locations:  []prerun.Location{{Offset: at.off, Length: at.end - at.off}},
				Message:    fmt.Sprintf("%d ranges of its %s structure lie over ranges before them", n, c.info.ID),
				Key:        c.info.ID,
			})
		}
		for _, d := range recognised[:i] {
			if c.info.within(d.info.ID) || d.info.within(c.info.ID) {
				continue
			}
			out.Finding(prerun.Finding{
				Rule:       rulePolyglot,
				Confidence: prerun.ConfidenceHigh,
				Message:    fmt.Sprintf("the file is %s and %s at once", d.info.ID, c.info.ID),
				Key:        d.info.ID + "+" + c.info.ID,
			})
		}
	}
}

func (i Info) within(id string) bool {
	return slices.Contains(i.Within, id) || slices.Contains(i.Within, "*")
}

// overlap returns the first overlapping part of sorted ranges and their number.
func overlap(claims []span) (first span, n int) {
	end := int64(0)
	for _, c := range claims {
		if c.off < end {
			if n++; n == 1 {
				first = span{c.off, min(c.end, end)}
			}
		}
		end = max(end, c.end)
	}
	return first, n
}

// holes returns what no claim covers.
func holes(size int64, recognised []claimant) []span {
	var all []span
	for _, c := range recognised {
		all = append(all, c.claims...)
	}
	slices.SortFunc(all, func(x, y span) int { return cmp.Compare(x.off, y.off) })
	var out []span
	pos := int64(0)
	for _, c := range all {
		if c.off > pos {
			out = append(out, span{pos, c.off})
		}
		pos = max(pos, c.end)
	}
	if pos < size {
		out = append(out, span{pos, size})
	}
	return out
}

// sortedKeys is the order in which maps are reported.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
