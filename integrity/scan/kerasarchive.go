package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/zipdir"
	"github.com/prerun/prerun/internal/strictjson"
)

// kerasArchiveFormat recognises the zip archives that Keras 3 saves:
// config.json, metadata.json, model.weights.h5 and assets. Its members are
// routed by the zip format; this one states what the archive is and what it
// holds beside those. Facts: "framework", "version" of Keras.
type kerasArchiveFormat struct{}

var ruleKerasMember = prerun.Rule{
	ID: "scan.keras.foreign-member", Title: "member that Keras does not write", Severity: prerun.Low,
	Help: "The archive of a Keras model has a member beside its configuration, metadata, weights and assets. Keras ignores it; what reads the archive by other means may not. It was scanned like any file. Remove it, or find out who put it there.",
	Refs: []prerun.Reference{refAmbiguous},
}

func (kerasArchiveFormat) Info() Info {
	return Info{ID: "keras", Within: []string{"zip"}, Extensions: []string{".keras"}, Rules: []prerun.Rule{ruleKerasMember}}
}

func (kerasArchiveFormat) Match(p Probe) Match {
	if zipAtStart(p) && p.holds("config.json") && p.holds("metadata.json") {
		return Maybe
	}
	return No
}

func (kerasArchiveFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	dir, err := a.zipDir()
	if errors.Is(err, ErrBudget) {
		return err
	}
	members := membersOf(dir)
	weights := members["model.weights.h5"]
	if members["config.json"] == nil || members["metadata.json"] == nil || weights == nil && members["model.weights.npz"] == nil {
		return fmt.Errorf("keras: %w", ErrNotFormat)
	}
	out.Fact("framework", "keras")
	text, err := a.memberText(members["metadata.json"])
	if errors.Is(err, ErrBudget) {
		return err
	}
	if err == nil {
		if root, err := strictjson.Parse(text, strictjson.Limits{}); err == nil {
			out.Fact("version", excerpt(textOf(root.Get("keras_version")), 40))
		}
	}
	n := names{out: out}
	for i := range dir.Members {
		m := &dir.Members[i]
		switch m.Name {
		case "config.json", "metadata.json", "model.weights.h5", "model.weights.npz":
			continue
		}
		if top, _, _ := strings.Cut(m.Name, "/"); top != "assets" && !strings.HasSuffix(m.Name, "/") {
			n.report(ruleKerasMember, 0, m.Name, m.EntryAt, "Keras writes no such member")
		}
	}
	return nil
}

func membersOf(dir *zipdir.Directory) map[string]*zipdir.Member {
	members := make(map[string]*zipdir.Member, len(dir.Members))
	for i := range dir.Members {
		members[dir.Members[i].Name] = &dir.Members[i]
	}
	return members
}

// maxMemberText bounds the members that are read for a fact.
const maxMemberText = 64 << 10

// memberText decodes a small member of an archive.
func (a *Artifact) memberText(m *zipdir.Member) ([]byte, error) {
	if m == nil || m.DataAt < 0 || m.Size > maxMemberText || m.Packed > maxMemberText {
		return nil, io.ErrUnexpectedEOF
	}
	open, err := zipDecoder(a.run, m, func() io.Reader { return a.Section(m.DataAt, m.Packed) })
	if err != nil {
		return nil, err
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer closeReader(r)
	if err := a.Spend(Bytes, m.Size); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, m.Size))
}
