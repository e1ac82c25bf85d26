package arch_test

import (
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/validate"
)

// Every rule of the module can be published, has the prefix of its package, and
// has an id of its own.
func TestRules(t *testing.T) {
	seen := make(map[string]bool)
	for prefix, rules := range map[string][]prerun.Rule{
		"integrity": integrity.Rules(), "integrity.image": oci.Rules(), "scan": scan.Rules(), "weights": weights.Rules(),
		"provenance": provenance.Rules(), "datasec": datasec.Rules(), "embedding": embedding.Rules(),
		"validate": validate.Rules(), "pipeline": pipeline.Rules(),
	} {
		if len(rules) == 0 {
			t.Errorf("%s has no rules", prefix)
		}
		for _, r := range rules {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if !strings.HasPrefix(r.ID, prefix+".") {
				t.Errorf("%s: a rule of package %s", r.ID, prefix)
			}
			if seen[r.ID] {
				t.Errorf("%s: two rules have this id", r.ID)
			}
			seen[r.ID] = true
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d rules", len(seen))
}
