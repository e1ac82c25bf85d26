package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/tardir"
)

// tarFormat reads tar archives: legacy torch files, NeMo models, layers.
type tarFormat struct{}

var ruleTarTrailing = prerun.Rule{
	ID: "scan.tar.trailing-data", Title: "data after the archive", Severity: prerun.Low,
	Help: "Bytes follow the end marker of the archive. Most readers stop there, some go on. They were searched for executables and hidden content. Pack the archive again.",
	Refs: []prerun.Reference{refAmbiguous},
}

var ruleTarAmbiguous = prerun.Rule{
	ID: "scan.tar.ambiguous-member", Title: "member that readers take differently", Severity: prerun.Medium,
	Help: "The headers of a member say where it ends, or what it is called, in a way that readers of tar take differently: two sizes, a folder with content, numbers in a notation that only some accept. What Python's tarfile finds behind it is what was scanned; another program finds other members. Re-create the archive with the original tool.",
	Refs: []prerun.Reference{refAmbiguous},
}

func (tarFormat) Info() Info {
	return Info{
		ID: "tar", Extensions: []string{".tar", ".nemo"},
		Rules: slices.Concat(archiveRules, []prerun.Rule{ruleTarTrailing, ruleTarAmbiguous}),
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
	if m.Odd != "" {
		n.report(ruleTarAmbiguous, 0, m.Name, m.At, "%s", m.Odd)
	}
	switch {
	case m.Hard || m.Mode&fs.ModeSymlink != 0:
		n.link(m.Name, m.Link, m.At, m.Hard)
		return nil
	case m.Mode != 0:
		return nil
	case m.Sparse && m.Broken != "":
		out.unread(m.Name, m.Size, Failed, m.Broken)
		return nil
	case m.Sparse:
		return sparseMember(ctx, a, out, n, tree, m)
	}
	return out.Child(ctx, Child{Name: m.Name, Reader: a.Section(m.DataAt, m.Size), Size: m.Size, Tree: tree})
}

// sparseMember hands over content with holes. Holes cost nothing to state, so
// that they count like what a stream decodes to.
func sparseMember(ctx context.Context, a *Artifact, out *Sink, n *names, tree *Tree, m tardir.Member) error {
	size := m.Size
	a.run.expanded += min(size, a.run.lim.Bomb)
	if a.run.bomb(size, m.Stored) || a.run.bomb(a.run.expanded, a.run.size) {
		if size = min(size, a.run.lim.Bomb); a.run.expanded > 2*a.run.lim.Bomb {
			size = min(size, m.Stored) // of many such members, the first ones are enough
		}
		n.report(ruleBomb, 0, m.Name, m.At, "%d bytes stand for %d", m.Stored, m.Size)
		out.unread(m.Name, m.Size, Inconclusive, fmt.Sprintf("of its holes and content %d bytes were read", size))
	}
	return out.Child(ctx, Child{Name: m.Name, Reader: &sparse{a, m.Pieces}, Size: size, Tree: tree})
}

// A sparse reads content that has holes.
type sparse struct {
	r      io.ReaderAt
	pieces []tardir.Piece
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	i, _ := slices.BinarySearchFunc(s.pieces, off, func(piece tardir.Piece, off int64) int {
		return cmp.Compare(piece.Off+piece.Len, off+1)
	})
	end := off + int64(len(p))
	for ; i < len(s.pieces) && s.pieces[i].Off < end; i++ {
		piece := s.pieces[i]
		from, to := max(off, piece.Off), min(end, piece.Off+piece.Len)
		if n, err := s.r.ReadAt(p[from-off:to-off], piece.At+from-piece.Off); int64(n) < to-from {
			return int(from-off) + n, cmp.Or(err, io.ErrUnexpectedEOF)
		}
	}
	return len(p), nil
}
