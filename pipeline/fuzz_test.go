package pipeline_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

// typed vouches for whatever bytes it is handed, as a payload of one type.
type typed string

func (p typed) Verify(_ context.Context, bundle []byte) (*prerun.Signed, error) {
	return &prerun.Signed{PayloadType: string(p), Payload: bundle}, nil
}

// Whatever a trusted file of waivers holds, the gate decides, and it passes only
// over a finding that a waiver without defect covers.
func FuzzOpenWaivers(f *testing.F) {
	w := waiver()
	bundle, err := pipeline.SignWaivers(f.Context(), []pipeline.Waiver{w}, rapidSigner)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payloadOf(f, bundle))
	f.Add([]byte(`{"schema":"prerun/waivers/v1","waivers":[{"id":"","rule":"*","path":"*","max_severity":"critical","reason":"","owner":"","approvers":[],"created":"0001-01-01T00:00:00Z","expires":"9999-12-31T00:00:00Z"}]}`))
	g := fakeGate(&fake{id: "c", result: found(finding("test.rule.medium", prerun.Medium))})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := g
		g.Waivers = []*pipeline.Waivers{pipeline.OpenWaivers(t.Context(), "w", data, typed(pipeline.WaiversType))}
		d, err := g.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for finding := range d.Findings() {
			a := d.WaivedBy(finding)
			if a == nil {
				continue
			}
			if a.Owner == "" || len(a.Approvers) == 0 || !now.Before(a.Expires) || a.Created.After(now) || a.Expires.Sub(a.Created) > 180*day || a.MaxSeverity < finding.Severity {
				t.Errorf("excused by %+v", a.Waiver)
			}
		}
		if d.Verdict == prerun.Pass && len(open(d)) > 0 && open(d)[0] == "test.rule.medium" {
			t.Error("passed over a finding")
		}
	})
}

// Whatever a trusted document holds, it answers an item only for the model that
// it names.
func FuzzReadEvidence(f *testing.F) {
	w := &world{t: f, root: digestOfNothing}
	bundle, err := pipeline.SignEvidence(f.Context(), w.evidence("ALL-1"), rapidSigner)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payloadOf(f, bundle))
	f.Add(bundle)
	model := &fake{id: "m", gives: []string{string(pipeline.ModelFact)}, run: func(_ context.Context, in *pipeline.Input) (*pipeline.Result, error) {
		return passes(), pipeline.Put(in, pipeline.ModelFact, &pipeline.ModelInfo{Name: "m", Root: digestOfNothing})
	}}
	profile := requiring("m")
	profile.Items = append(profile.Items, pipeline.Item{ID: "ALL-1", Title: "asked", Tier: pipeline.LOW})
	f.Fuzz(func(t *testing.T, data []byte) {
		files := fstest.MapFS{"e/a.json": {Data: data}}
		set, err := pipeline.ReadEvidence(t.Context(), files, "e", typed(pipeline.EvidenceType))
		if err != nil {
			t.Fatal(err)
		}
		d, err := pipeline.Gate{Profile: profile, Checks: []pipeline.Check{model}, Evidence: set, Now: now}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d.Verdict == prerun.Pass && !strings.Contains(string(data), digestOfNothing[7:]) {
			t.Errorf("answered by %q", data)
		}
		if _, err := pipeline.ReadEvidence(t.Context(), files, "e", rapidTrust); err != nil {
			t.Fatal(err)
		}
	})
}
