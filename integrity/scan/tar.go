package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/tardir"
)

// tarFormat reads tar archives: legacy torch files, NeMo models, layers.
type tarFormat struct{}

var ruleTarTrailing = prerun.Rule{
	ID: "scan.tar.trailing-data", Title: "data after the archive", Severity: prerun.Low,
	Help: "Bytes follow the end marker of the archive. Most readers stop there, some go on. They were searched for executables and hidden content.",
	Refs: []prerun.Reference{refAmbiguous},
}

func (tarFormat) Info() Info {
	return Info{
		ID: "tar", Extensions: []string{".tar", ".nemo"},
		Rules: slices.Concat(archiveRules, []prerun.Rule{ruleTarTrailing}),
	}
}

func (tarFormat) Match(p Probe) Match {
	if tardir.IsTar(p.Head) {
		return Certain
	}
	return No
}

func (tarFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	var entries []tardir.Member
	var listed []Entry
	text := int64(0)
	end, err := tardir.Read(a, a.Size, func(m tardir.Member) error {
		entries = append(entries, m)
		listed = append(listed, Entry{Name: m.Name, Size: m.Size, Mode: m.Mode})
		if text += int64(len(m.Name) + len(m.Header) + len(m.Link)); text > a.Left(Memory) {
			return &BudgetError{Memory, a.run.lim.Memory}
		}
		return a.Spend(Entries, 1)
	})
	out.Claim(0, end)
	if err == nil && end < a.Size {
		out.Finding(prerun.Finding{
			Rule:       ruleTarTrailing,
			Confidence: prerun.ConfidenceHigh,
			Locations:  []prerun.Location{{Offset: end, Length: a.Size - end}},
			Message:    fmt.Sprintf("%d bytes follow the end of the archive", a.Size-end),
		})
	}
	tree := NewTree(listed)
	n := names{out: out}
	for _, m := range entries {
		if cerr := tarMember(ctx, a, out, &n, tree, m); cerr != nil {
			return cerr
		}
	}
	if errors.Is(err, tardir.ErrNotTar) {
		return fmt.Errorf("tar: %w: %w", err, ErrNotFormat)
	}
	return err
}

func tarMember(ctx context.Context, a *Artifact, out *Sink, n *names, tree *Tree, m tardir.Member) error {
	if !m.Mode.IsDir() {
		n.check(m.Name, m.At)
	} else if absolute(m.Name) || climbs(m.Name) {
		n.check(m.Name, m.At)
	}
	if m.Header != m.Name && (absolute(m.Header) || climbs(m.Header)) {
		other := names{out: out}
		other.check(m.Header, m.At)
	}
	n.special(m.Name, m.Mode, m.At)
	switch {
	case m.Hard || m.Mode&fs.ModeSymlink != 0:
		n.link(m.Name, m.Link, m.At, m.Hard)
		return nil
	case m.Sparse:
		out.unread(m.Name, m.Size, Inconclusive, "sparse content is not decoded")
		return nil
	case m.Mode != 0:
		return nil
	}
	return out.Child(ctx, Child{Name: m.Name, Reader: a.Section(m.DataAt, m.Size), Size: m.Size, Tree: tree})
}
