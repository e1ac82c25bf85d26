package scan_test

import (
	"bytes"
	"context"
	"fmt"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
)

// Scan a model folder. A program takes the file system of os.OpenRoot, so that
// no link leads out of it.
func ExampleScanner_Scan() {
	model := fstest.MapFS{
		"config.json":       {Data: []byte(`{"model_type": "bert"}`)},
		"pytorch_model.bin": {Data: []byte("\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.")},
		"README.md":         {Data: []byte("# A model\n")},
	}
	result, err := scan.Scanner{}.Scan(context.Background(), model)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range result.Files {
		fmt.Println(f.Path, f.Verdict, f.Completeness, f.Formats)
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Path())
	}
	fmt.Println(prerun.Decide(result, prerun.Medium))
	// Output:
	// README.md clean complete [text]
	// config.json clean complete [json text]
	// pytorch_model.bin malicious complete [pickle]
	// critical scan.pickle.call-on-load pytorch_model.bin
	// fail
}

// Scan one file that is at hand as a reader, such as a part of an upload.
func ExampleScanner_ScanFile() {
	data := []byte("\x08\x00\x00\x00\x00\x00\x00\x00{}      trailing")
	result, err := scan.Scanner{}.ScanFile(context.Background(), "model.safetensors", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Verdict(), result.Completeness())
	for f := range result.Findings() {
		fmt.Println(f.Rule.ID+":", f.Message)
	}
	// Output:
	// suspicious complete
	// scan.safetensors.layout: offset 16: 8 bytes after the last tensor
}

// Add rules of one's own from a file, here as text.
func ExampleRuleSet() {
	set, err := scan.ParseRuleSet([]byte(`
version: 1
name: acme
rules:
  - id: custom.acme.internal-loader
    title: loader of our own
    severity: high
    help: Only build machines may use this loader. Ask the platform team.
    globals:
      - {module: acme.loader}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	data := []byte("\x80\x04cacme.loader.remote\nfetch\n.")
	scanner := scan.Scanner{RuleSets: []*scan.RuleSet{set}}
	result, err := scanner.ScanFile(context.Background(), "m.pkl", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Message)
	}
	// Output:
	// high custom.acme.internal-loader "acme.loader.remote.fetch" is named
	// low scan.pickle.unlisted-global "acme.loader.remote.fetch" is named and on no list
}

// Keep results between scans: what was scanned before costs its digest only. A
// program keeps them in a [scan.FolderStore], and its secret elsewhere.
func ExampleCache() {
	model := fstest.MapFS{"pytorch_model.bin": {Data: []byte("\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.")}}
	store := &shelf{}
	scanner := scan.Scanner{Cache: scan.Cache{Store: store, Secret: []byte("sixteen or more bytes"), Version: "v1.0.0"}}
	for range 2 {
		result, err := scanner.Scan(context.Background(), model)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(result.Verdict(), "from", store.hits, "kept results")
	}
	// Output:
	// malicious from 0 kept results
	// malicious from 1 kept results
}

// acme is a third party's format: files that start with "ACME", hold the name
// of a plug-in up to a line's end, and then a model in some other format.
type acme struct{}

var acmePlugin = prerun.Rule{
	ID: "scan.acme.plugin", Title: "plug-in on load", Severity: prerun.High,
	Help: "The file makes the loader start a plug-in. Remove the name from the header.",
}

func (acme) Info() scan.Info {
	return scan.Info{ID: "acme", Extensions: []string{".acme"}, Rules: []prerun.Rule{acmePlugin}}
}

func (acme) Match(p scan.Probe) scan.Match {
	if p.Starts("ACME") {
		return scan.Certain
	}
	return scan.No
}

func (acme) Scan(ctx context.Context, a *scan.Artifact, out *scan.Sink) error {
	end := bytes.IndexByte(a.Head, '\n')
	if end < 0 {
		return fmt.Errorf("no line within %d bytes", len(a.Head))
	}
	if name := a.Head[4:end]; len(name) > 0 {
		out.Finding(prerun.Finding{Rule: acmePlugin, Message: fmt.Sprintf("plug-in %q is started", name)})
	}
	rest := int64(end) + 1
	out.Claim(0, a.Size)
	return out.Child(ctx, scan.Child{Name: "model", Reader: a.Section(rest, a.Size), Size: a.Size - rest})
}

// Add a format of one's own: the engine finds the pickle inside it without
// being told. Package scantest checks such a format.
func ExampleFormat() {
	data := []byte("ACMEturbo\n\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.")
	scanner := scan.Scanner{Formats: append(scan.Builtin(), acme{})}
	result, err := scanner.ScanFile(context.Background(), "m.acme", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for f := range result.Findings() {
		fmt.Println(f.Rule.ID, f.Path())
	}
	// Output:
	// scan.acme.plugin m.acme
	// scan.pickle.call-on-load m.acme!/model
}
