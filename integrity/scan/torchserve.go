package scan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/internal/zipdir"
	"github.com/prerun/prerun/internal/strictjson"
)

// torchserveFormat recognises the archives of TorchServe by their manifest. The
// server runs the handler that the manifest names. Facts: "framework",
// "handler".
type torchserveFormat struct{}

var (
	ruleHandler = prerun.Rule{
		ID: "scan.torchserve.handler", Title: "model server archive that brings its own code", Severity: prerun.Medium,
		Help: "The manifest names a Python file as the handler of the model, which the server imports when it loads the archive. The finding is high when that file is not part of the archive. Review the handler like any program, or use one that the server has.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	ruleHandlerRequirements = prerun.Rule{
		ID: "scan.torchserve.requirements", Title: "archive that installs packages", Severity: prerun.Low,
		Help: "The manifest names a list of packages. A server that is set to allow it installs them when it loads the model, from wherever its index is on that day. Install what the model needs beforehand, by digest.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
)

const marManifest = "MAR-INF/MANIFEST.json"

func (torchserveFormat) Info() Info {
	return Info{ID: "torchserve", Within: []string{"zip"}, Extensions: []string{".mar"}, Rules: []prerun.Rule{ruleHandler, ruleHandlerRequirements}}
}

func (torchserveFormat) Match(p Probe) Match {
	if zipAtStart(p) && (strings.Contains(string(p.Head), marManifest) || strings.Contains(string(p.Tail), marManifest)) {
		return Maybe
	}
	return No
}

func (torchserveFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	dir, err := zipdir.Read(a, a.Size, func() error { return a.Spend(Entries, 1) })
	if errors.Is(err, ErrBudget) {
		return err
	}
	members := membersOf(dir)
	manifest := members[marManifest]
	if manifest == nil {
		return fmt.Errorf("torchserve: %w", ErrNotFormat)
	}
	out.Fact("framework", "torchserve")
	text, err := a.memberText(manifest)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	root, err := strictjson.Parse(text, strictjson.Limits{})
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	model := root.Get("model")
	if model == nil || model.Kind != strictjson.Object {
		return errors.New("manifest: no model")
	}
	n := names{out: out}
	if h := textOf(model.Get("handler")); h != "" {
		out.Fact("handler", excerpt(h, 120))
		file, _, _ := strings.Cut(h, ":")
		switch _, own := members[file]; {
		case own:
			n.report(ruleHandler, 0, marManifest, manifest.EntryAt, "handler %q of the archive is run", excerpt(h, 120))
		case strings.ContainsAny(h, `/\.:`):
			n.report(ruleHandler, prerun.High, marManifest, manifest.EntryAt, "handler %q is not in the archive", excerpt(h, 120))
		}
	}
	if r := textOf(model.Get("requirementsFile")); r != "" {
		n.report(ruleHandlerRequirements, 0, marManifest, manifest.EntryAt, "packages of %q are installed", excerpt(r, 120))
	}
	return nil
}
