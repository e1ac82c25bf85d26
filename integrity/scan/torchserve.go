package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// torchserveFormat recognises the zip archives of TorchServe by their manifest.
// What the manifest says is read by [serveManifestFormat], because the server
// takes folders and compressed tar archives as well. Facts: "framework".
type torchserveFormat struct{}

var (
	ruleHandler = prerun.Rule{
		ID: "scan.torchserve.handler", Title: "model server archive that brings its own code", Severity: prerun.Medium,
		Help: "The manifest names a Python file as handler or model, which the server imports when it loads the archive. The finding is high when that file is not part of the archive: then something else of that name is imported. Review the file like any program, or use a handler that the server has.",
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
	return Info{ID: "torchserve", Within: []string{"zip"}, Extensions: []string{".mar"}}
}

func (torchserveFormat) Match(p Probe) Match {
	if zipAtStart(p) && (strings.Contains(string(p.Head), marManifest) || strings.Contains(string(p.Tail), marManifest)) {
		return Maybe
	}
	return No
}

func (torchserveFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	dir, err := a.zipDir()
	if errors.Is(err, ErrBudget) {
		return err
	}
	if membersOf(dir)[marManifest] == nil {
		return fmt.Errorf("torchserve: %w", ErrNotFormat)
	}
	out.Fact("framework", "torchserve")
	return nil
}

// serveManifestFormat reads the manifest of a TorchServe archive, whatever holds
// it. Facts: "framework", "handler" what the server runs.
type serveManifestFormat struct{}

func (serveManifestFormat) Info() Info {
	return Info{
		ID: "torchserve-manifest", Within: []string{"text", "json", "yaml"},
		Rules: []prerun.Rule{ruleHandler, ruleHandlerRequirements},
	}
}

func (serveManifestFormat) Match(p Probe) Match {
	if p.Name == marManifest || strings.HasSuffix(p.Name, "/"+marManifest) {
		return Certain
	}
	return No
}

func (serveManifestFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	if a.Size > maxOther {
		return fmt.Errorf("manifest of %d bytes", a.Size)
	}
	data, err := a.peek(0, a.Size)
	if err != nil {
		return err
	}
	root, err := strictjson.Parse(data, strictjson.Limits{})
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	model := root.Get("model")
	if model == nil || model.Kind != strictjson.Object {
		return errors.New("manifest: no model")
	}
	out.Fact("framework", "torchserve")
	c := configScan{a: a, out: out}
	if h := model.Get("handler"); textOf(h) != "" {
		out.Fact("handler", excerpt(h.Text, 120))
		c.handler(h)
	}
	if m := model.Get("modelFile"); textOf(m) != "" {
		c.served(m, "modelFile", path.Base(strings.ReplaceAll(m.Text, `\`, "/")))
	}
	if r := model.Get("requirementsFile"); textOf(r) != "" {
		shown := excerpt(r.Text, 120)
		c.finding(ruleHandlerRequirements, 0, r, "/model/requirementsFile", shown, "packages of %q are installed", shown)
	}
	return nil
}

// serverHandlers are the handlers that TorchServe itself has.
var serverHandlers = map[string]bool{
	"image_classifier": true, "image_segmenter": true, "object_detector": true, "text_classifier": true,
	"base_handler": true, "text_handler": true, "vision_handler": true, "densenet_handler": true,
}

// handler judges "name", "file.py" and "file.py:function". The server imports
// the last part of the path as a module, from the archive before its own.
func (c *configScan) handler(v *strictjson.Value) {
	file, _, _ := strings.Cut(v.Text, ":")
	module := strings.TrimSuffix(path.Base(strings.ReplaceAll(file, `\`, "/")), ".py")
	if serverHandlers[v.Text] && !c.inArchive(module+".py") {
		return
	}
	c.served(v, "handler", module+".py")
}

func (c *configScan) served(v *strictjson.Value, member, file string) {
	shown, sev, where := excerpt(v.Text, 120), prerun.Unrated, "of the archive"
	if !c.inArchive(file) {
		sev, where = prerun.High, "that is not in the archive"
	}
	c.finding(ruleHandler, sev, v, "/model/"+member, shown, "%s %q %s is run", member, shown, where)
}

// inArchive looks for a file beside the folder of the manifest.
func (c *configScan) inArchive(file string) bool {
	_, ok := c.a.Tree.Lookup(path.Join(path.Dir(path.Dir(c.a.Name)), file))
	return ok
}
