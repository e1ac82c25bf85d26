package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// A Sink takes what a format finds in one artefact. It is not safe for
// concurrent use. Text is kept as UTF-8: other bytes are replaced by U+FFFD.
type Sink struct {
	a      *Artifact
	res    FileResult
	claims []span
	fault  error // a claim or a child that no format may make

	operators map[string]bool // that rule sets reported already
}

// A span is a claimed byte range.
type span struct{ off, end int64 }

// maxClaims bounds the ranges kept for one artefact. It is above what the
// default budget of entries allows a container to claim.
const maxClaims = 1 << 20

// Finding records a finding. Subject, and Path of locations without one, are
// the artefact's; an unrated severity is copied from the rule; a finding
// without location gets the artefact's. Message and Evidence are
// redacted here; Key must be redacted already.
func (s *Sink) Finding(f prerun.Finding) {
	if f.Severity == prerun.Unrated {
		f.Severity = f.Rule.Severity
	}
	if s.a.dormant && rank(f.Severity) > prerun.Medium {
		f.Severity = prerun.Medium
	}
	s.res.worst = max(s.res.worst, rank(f.Severity))
	if !s.a.run.record() {
		return
	}
	if f.Subject.Path == "" {
		f.Subject.Path = s.a.Path
	}
	f.Locations = slices.Clone(f.Locations)
	if len(f.Locations) == 0 {
		f.Locations = []prerun.Location{{}}
	}
	for i := range f.Locations {
		if f.Locations[i].Path == "" {
			f.Locations[i].Path = s.a.Path
		}
	}
	for i := range f.Locations {
		l := &f.Locations[i]
		l.Path, l.Fragment = utf8Only(l.Path), utf8Only(l.Fragment)
	}
	f.Message, f.Key, f.Subject.Path = utf8Only(redact.Text(f.Message)), utf8Only(f.Key), utf8Only(f.Subject.Path)
	f.Evidence = printable(f.Evidence)
	s.res.Findings = append(s.res.Findings, f)
}

// printable is a copy of evidence, redacted.
func printable(evidence map[string]string) map[string]string {
	if len(evidence) == 0 {
		return nil
	}
	out := make(map[string]string, len(evidence))
	for _, k := range sortedKeys(evidence) {
		out[utf8Only(k)] = utf8Only(redact.Text(evidence[k]))
	}
	return out
}

// full counts a finding of that rule and severity for the verdict when there is
// no room to record it, so that nobody words what nobody will read.
func (s *Sink) full(rule prerun.Rule, sev prerun.Severity) bool {
	if s.a.run.kept < s.a.run.lim.Findings {
		return false
	}
	s.Finding(prerun.Finding{Rule: rule, Severity: sev})
	return true
}

// report records what a format is sure of, unless enough was said already: then
// the text is not even put together.
func (s *Sink) report(rule prerun.Rule, sev prerun.Severity, at prerun.Location, key, format string, args ...any) {
	if s.full(rule, sev) {
		return
	}
	s.Finding(prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{at},
		Message:    fmt.Sprintf(format, args...),
		Key:        key,
	})
}

// Gap records that length bytes from off could not be checked; both are zero
// for the artefact as a whole. The artefact becomes inconclusive.
func (s *Sink) Gap(reason string, off, length int64) {
	s.gap(Inconclusive, reason, off, length)
}

func (s *Sink) gap(c Completeness, reason string, off, length int64) {
	s.res.Completeness = worse(s.res.Completeness, c)
	if !s.a.run.record() {
		return
	}
	s.res.Gaps = append(s.res.Gaps, prerun.Gap{
		Location: prerun.Location{Path: s.a.Path, Offset: off, Length: length},
		Reason:   utf8Only(reason),
	})
}

// Fact records something that is neither good nor bad. Keys are documented
// where they are made; the last value of a key counts.
func (s *Sink) Fact(key, value string) {
	if s.res.Facts == nil {
		s.res.Facts = make(map[string]string)
	}
	s.res.Facts[utf8Only(key)] = utf8Only(value)
}

// Global records a name that loading the artefact would import.
func (s *Sink) Global(g Global) { s.global(g, prerun.Location{}) }

func (s *Sink) global(g Global, at prerun.Location) {
	s.ruledGlobal(g, at)
	if len(s.res.Globals) < maxGlobals {
		g.Module, g.Name, g.Grade = utf8Only(g.Module), utf8Only(g.Name), utf8Only(g.Grade)
		s.res.Globals = append(s.res.Globals, g)
	}
}

// Claim says that the format understands length bytes from off, so that they
// are not searched for hidden content. A claim beyond the artefact is a fault
// of the format and becomes a gap.
func (s *Sink) Claim(off, length int64) {
	switch {
	case off < 0 || length < 0 || off > s.a.Size || length > s.a.Size-off:
		s.fault = fmt.Errorf("it claimed %d bytes at offset %d of %d", length, off, s.a.Size)
	case length == 0:
	case len(s.claims) == maxClaims:
		s.fault = fmt.Errorf("it claimed more than %d ranges", maxClaims)
	default:
		s.claims = append(s.claims, span{off, off + length})
	}
}

// A Child is something found inside an artefact.
type Child struct {
	Name   string // raw name, as the container writes it
	Reader io.ReaderAt
	Size   int64
	Tree   *Tree // the names of the container; nil when it has none

	// Dormant content is not reached by loading what holds it: a pickle inside
	// a string that nothing unpickles. Its findings count at most medium.
	Dormant bool
}

// Child hands something nested to the engine, which routes it to every format
// that matches and returns when it was read. The error is a budget's or the
// context's; the format should return it. Too deep nesting is a gap and no
// error, because other children may still be read.
func (s *Sink) Child(ctx context.Context, c Child) error {
	s.child(ctx, c)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.a.run.spend(Entries, 0) // tells whether time is left
}

func (s *Sink) child(ctx context.Context, c Child) {
	if c.Reader == nil || c.Size < 0 {
		s.fault = errors.New("it handed over a child without content")
		return
	}
	a := &Artifact{
		Probe: Probe{Path: prerun.NestPath(s.a.Path, c.Name), Name: c.Name, Size: c.Size, Tree: c.Tree},
		r:     c.Reader,
		run:   s.a.run,
		lvl:   s.a.lvl + 1,

		dormant: s.a.dormant || c.Dormant,
	}
	if err := a.run.spend(Entries, 1); err != nil {
		s.Gap(err.Error(), 0, 0)
		return
	}
	if int64(a.lvl) > a.run.lim.Depth {
		inner := Sink{a: a}
		inner.Gap(a.run.exhausted(Depth).Error(), 0, 0)
		inner.res.Path, inner.res.Size = a.Path, a.Size
		s.add(inner.res)
		return
	}
	s.add(a.run.scan(ctx, a))
}

// add appends the result of something inside and lets it count for the whole.
func (s *Sink) add(r FileResult) {
	s.res.worst = max(s.res.worst, r.worst)
	s.res.Completeness = worse(s.res.Completeness, r.Completeness)
	s.res.Inside = append(s.res.Inside, r)
}

// record takes one place among the findings and gaps of the file.
func (r *run) record() bool {
	if r.kept >= r.lim.Findings {
		r.dropped = true
		return false
	}
	r.kept++
	return true
}
