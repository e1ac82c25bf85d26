package pipeline_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

func TestProfiles(t *testing.T) {
	var ids []string
	for tier, want := range map[pipeline.Tier]int{pipeline.NoTier: 0, pipeline.LOW: 7, pipeline.MEDIUM: 13, pipeline.HIGH: 20, pipeline.CRITICAL: 28, 9: 0} {
		p := pipeline.ProfileOf(tier)
		if len(p.Items) != want {
			t.Errorf("%v has %d items, want %d", tier, len(p.Items), want)
		}
		if tier == pipeline.CRITICAL {
			for _, it := range p.Items {
				ids = append(ids, it.ID)
				if it.Title == "" || it.Tier == pipeline.NoTier {
					t.Errorf("item %+v", it)
				}
			}
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 28 {
		t.Errorf("%d distinct items", n)
	}
	want := []string{
		"evidence.all-1", "evidence.all-4", "evidence.all-5", "evidence.all-6", "evidence.all-7",
		"integrity.verify", "provenance.verify", "validate.run",
	}
	if diff := cmp.Diff(want, pipeline.ProfileOf(pipeline.LOW).Required()); diff != "" {
		t.Errorf("LOW requires (-want +got):\n%s", diff)
	}
}

func TestTierText(t *testing.T) {
	for tier := pipeline.LOW; tier <= pipeline.CRITICAL; tier++ {
		text, err := tier.MarshalText()
		var back pipeline.Tier
		if err != nil || back.UnmarshalText(text) != nil || back != tier || string(text) != tier.String() {
			t.Errorf("%v: %q, %v", tier, text, err)
		}
	}
	if _, err := pipeline.Tier(9).MarshalText(); err == nil {
		t.Error("an undefined tier was written")
	}
	for _, text := range []string{"", "none", "low", "LOWEST"} {
		var tier pipeline.Tier
		if err := tier.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// Raising the tier never relaxes: what passes HIGH passes LOW, for any evidence,
// waivers and findings.
func TestRaisingTheTierNeverRelaxes(t *testing.T) {
	tiers := []pipeline.Tier{pipeline.LOW, pipeline.MEDIUM, pipeline.HIGH, pipeline.CRITICAL}
	for i := 1; i < len(tiers); i++ {
		low, high := pipeline.ProfileOf(tiers[i-1]), pipeline.ProfileOf(tiers[i])
		for _, id := range low.Required() {
			if !slices.Contains(high.Required(), id) {
				t.Errorf("%v does not require %s", tiers[i], id)
			}
		}
		if high.MaxEvidenceAge > low.MaxEvidenceAge || high.MaxWaiverAge > low.MaxWaiverAge || high.Approvers < low.Approvers || high.FailOn > low.FailOn {
			t.Errorf("%v relaxes %v", tiers[i], tiers[i-1])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := waiver()
		w.Approvers = []string{"a", "b", "c"}[:rapid.IntRange(0, 3).Draw(t, "approvers")]
		w.Created = now.Add(-time.Duration(rapid.IntRange(-1, 200).Draw(t, "created")) * day)
		w.Expires = now.Add(time.Duration(rapid.IntRange(-1, 200).Draw(t, "expires")) * day)
		severity := prerun.Severity(rapid.IntRange(0, 5).Draw(t, "severity"))
		w.MaxSeverity = prerun.Severity(rapid.IntRange(1, 5).Draw(t, "covers"))
		gap := rapid.Bool().Draw(t, "gap")
		skipped := rapid.Bool().Draw(t, "skipped")
		passed := true
		for _, tier := range slices.Backward(tiers) {
			// The checks of the tier's items, by one that finds and others that pass.
			p := pipeline.ProfileOf(tier)
			p.Items = []pipeline.Item{{ID: "T-1", Checks: []string{"c"}}}
			c := found(finding("test.rule.medium", severity))
			if gap {
				c.Source = prerun.NewSource([]prerun.Subject{{Path: "a"}}, []prerun.Finding{finding("test.rule.medium", severity)}, []prerun.Gap{{Reason: "x"}})
			}
			g := pipeline.Gate{Profile: p, Checks: []pipeline.Check{&fake{id: "c", result: c}}, Now: now}
			if skipped {
				g.Skip = []string{"c"}
			}
			bundle, err := pipeline.SignWaivers(t.Context(), []pipeline.Waiver{w}, rapidSigner)
			if err != nil {
				t.Fatal(err)
			}
			g.Waivers = []*pipeline.Waivers{pipeline.OpenWaivers(t.Context(), "w", bundle, rapidTrust)}
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pass := d.Verdict == prerun.Pass
			if tier != pipeline.CRITICAL && passed && !pass {
				t.Fatalf("%v says no to what the tier above passes: %s", tier, d.Reason)
			}
			passed = pass
		}
	})
}

func TestRules(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range pipeline.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] {
			t.Errorf("%s is listed twice", r.ID)
		}
		seen[r.ID] = true
		for _, ref := range r.Refs {
			if ref.Edition == "" {
				t.Errorf("%s refers to no edition of %s", r.ID, ref.Catalogue)
			}
		}
	}
	if len(seen) != 17 {
		t.Errorf("%d rules", len(seen))
	}
}
