package arch_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/internal/ruledoc"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/validate"
)

var update = flag.Bool("update", false, "rewrite the rule references")

// TestRuleReference keeps RULES.md beside each package equal to its rules. That
// of integrity/scan, which has an example for each rule, is kept by that
// package's own test.
func TestRuleReference(t *testing.T) {
	for pkg, rules := range map[string][]prerun.Rule{
		"integrity": integrity.Rules(), "integrity/oci": oci.Rules(), "integrity/weights": weights.Rules(), "provenance": provenance.Rules(),
		"datasec": datasec.Rules(), "datasec/embedding": embedding.Rules(), "validate": validate.Rules(), "pipeline": pipeline.Rules(),
	} {
		const command = "go generate ./internal/arch"
		want := ruledoc.Page{Package: pkg, Command: command, Rules: rules}.Markdown()
		name := filepath.Join("..", "..", filepath.FromSlash(pkg), "RULES.md")
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s/RULES.md does not say what the rules say (%v): run %s", pkg, err, command)
		}
	}
}
