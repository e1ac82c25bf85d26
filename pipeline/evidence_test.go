package pipeline_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

type silentVerifier struct{}

func (silentVerifier) Verify(context.Context, []byte) (*prerun.Signed, error) { return nil, nil }

func TestEvidence(t *testing.T) {
	const (
		absent    = "pipeline.evidence.absent"
		stale     = "pipeline.evidence.stale"
		subject   = "pipeline.evidence.subject-mismatch"
		untrusted = "pipeline.evidence.untrusted"
	)
	for _, tt := range []struct {
		name string
		edit func(w *world, ev *pipeline.Evidence) (signer string)
		want string // rule; "" passes
	}{
		{"good", func(*world, *pipeline.Evidence) string { return "approver" }, ""},
		{"not_yet_expired", func(_ *world, ev *pipeline.Evidence) string { ev.Expires = now.Add(time.Second); return "approver" }, ""},
		{"as_old_as_allowed", func(_ *world, ev *pipeline.Evidence) string { ev.Date = now.Add(-365 * day); return "approver" }, ""},
		{"signed_by_another", func(*world, *pipeline.Evidence) string { return "trainer" }, untrusted},
		{"other_model", func(_ *world, ev *pipeline.Evidence) string {
			ev.Subject = "sha256:" + strings.Repeat("0", 64)
			return "approver"
		}, subject},
		{"no_digest", func(_ *world, ev *pipeline.Evidence) string { ev.Subject = "the model"; return "approver" }, untrusted},
		{"no_issuer", func(_ *world, ev *pipeline.Evidence) string { ev.Issuer = " "; return "approver" }, untrusted},
		{"no_summary", func(_ *world, ev *pipeline.Evidence) string { ev.Summary = ""; return "approver" }, untrusted},
		{"expired", func(_ *world, ev *pipeline.Evidence) string { ev.Expires = now; return "approver" }, stale},
		{"from_the_future", func(_ *world, ev *pipeline.Evidence) string { ev.Date = now.Add(time.Second); return "approver" }, stale},
		{"too_old", func(_ *world, ev *pipeline.Evidence) string {
			ev.Date = now.Add(-365*day - time.Second)
			return "approver"
		}, stale},
		{"other_item", func(w *world, ev *pipeline.Evidence) string {
			delete(w.fs, "evidence/ALL-1.json")
			ev.Item = "ALL-4"
			return "approver"
		}, absent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			ev := w.evidence("ALL-1")
			role := tt.edit(w, &ev)
			w.putEvidence(ev, role)
			expectEvidence(t, w, tt.want)
		})
	}
}

// expectEvidence runs the world's gate and looks at item ALL-1.
func expectEvidence(t *testing.T, w *world, rule string) {
	t.Helper()
	d := w.decide()
	c := result(t, d, "evidence.all-1")
	if rule == "" {
		if d.Verdict != prerun.Pass {
			t.Errorf("verdict %v: %s", d.Verdict, c.Reason)
		}
		return
	}
	rules := []string{}
	for f := range c.Source().Findings() {
		rules = append(rules, f.Rule.ID)
	}
	if c.Outcome != pipeline.Fail || d.Verdict != prerun.Fail || len(rules) != 1 || rules[0] != rule {
		t.Errorf("outcome %v, findings %q, want %q", c.Outcome, rules, rule)
	}
}

// A file that is no evidence answers nothing, wherever it stands.
func TestEvidenceFiles(t *testing.T) {
	signed := func(payloadType, payload string) []byte {
		bundle, err := signer(t, "approver").Sign(t.Context(), payloadType, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"garbage", []byte("nonsense"), "pipeline.evidence.absent"},
		{"unsigned", []byte(`{"schema":"prerun/evidence/v1","item":"ALL-1"}`), "pipeline.evidence.absent"},
		{"payload_type", signed("application/json", `{"item":"ALL-1"}`), "pipeline.evidence.untrusted"},
		{"schema", signed(pipeline.EvidenceType, `{"schema":"prerun/evidence/v9","item":"ALL-1","subject":"a","issuer":"a","date":"2026-10-01T00:00:00Z","summary":"a"}`), "pipeline.evidence.untrusted"},
		{"missing_member", signed(pipeline.EvidenceType, `{"schema":"prerun/evidence/v1","item":"ALL-1"}`), "pipeline.evidence.untrusted"},
		{"unknown_member", signed(pipeline.EvidenceType, `{"item":"ALL-1","approved":true}`), "pipeline.evidence.untrusted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.put("evidence/ALL-1.json", tt.data)
			expectEvidence(t, w, tt.want)
		})
	}
	t.Run("other_name", func(t *testing.T) {
		w := newWorld(t)
		w.put("evidence/ALL-1.txt", w.fs["evidence/ALL-1.json"].Data)
		delete(w.fs, "evidence/ALL-1.json")
		expectEvidence(t, w, "pipeline.evidence.absent")
	})
	t.Run("link", func(t *testing.T) {
		w := newWorld(t)
		w.put("elsewhere.json", w.fs["evidence/ALL-1.json"].Data)
		w.fs["evidence/ALL-1.json"] = &fstest.MapFile{Data: []byte("../elsewhere.json"), Mode: fs.ModeSymlink}
		expectEvidence(t, w, "pipeline.evidence.absent")
	})
	t.Run("second_document_is_good", func(t *testing.T) {
		w := newWorld(t)
		w.put("evidence/copy.json", w.fs["evidence/ALL-1.json"].Data)
		w.put("evidence/ALL-1.json", []byte("nonsense"))
		expectEvidence(t, w, "")
	})
}

// Files beyond the bounds end the reading: nothing is judged on a part.
func TestEvidenceBounds(t *testing.T) {
	many := make(fstest.MapFS)
	for i := range 1001 {
		many["e/"+strings.Repeat("x", i%200+1)+string(rune('a'+i/200))+".json"] = &fstest.MapFile{}
	}
	big := fstest.MapFS{"e/a.json": {Data: make([]byte, 5<<20)}}
	for name, fsys := range map[string]fs.FS{"many": many, "big": big, "absent": fstest.MapFS{}} {
		if set, err := pipeline.ReadEvidence(t.Context(), fsys, "e", verifier(t, "approver")); err == nil || set != nil {
			t.Errorf("%s: %v, %v", name, set, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWorld(t)
	if _, err := pipeline.ReadEvidence(ctx, w.fs, "evidence", cancelledVerifier{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type cancelledVerifier struct{}

func (cancelledVerifier) Verify(ctx context.Context, _ []byte) (*prerun.Signed, error) {
	return nil, ctx.Err()
}
