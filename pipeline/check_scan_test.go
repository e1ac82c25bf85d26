package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/pipeline"
)

func TestScanFactsKeepTheirNames(t *testing.T) {
	res := &scan.Result{Files: []scan.FileResult{{
		Path: "m.zip", Verdict: scan.Malicious, Completeness: scan.Inconclusive, Formats: []string{"zip"},
		Facts: map[string]string{
			"path": "other", "verdict": "clean", "completeness": "complete", "formats": "none", "framework": "acme",
		},
		Inside: []scan.FileResult{{
			Path: "m.zip!/a", Verdict: scan.Suspicious, Completeness: scan.Complete,
			Facts: map[string]string{"path": "b", "weights_only": "yes"},
		}},
	}}}
	want := []map[string]any{
		{
			"path": "m.zip", "verdict": scan.Malicious, "completeness": scan.Inconclusive,
			"formats": []string{"zip"}, "framework": "acme",
		},
		{
			"path": "m.zip!/a", "verdict": scan.Suspicious, "completeness": scan.Complete,
			"formats": []string{}, "weights_only": "yes",
		},
	}
	if diff := cmp.Diff(want, pipeline.ScanFacts(res)["files"]); diff != "" {
		t.Error(diff)
	}
}
