package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline"
)

// waiver is one that counts and covers test.rule.medium in "a".
func waiver() pipeline.Waiver {
	return pipeline.Waiver{
		ID: "W-1", Rule: "test.rule.*", Path: "a", MaxSeverity: prerun.Medium, Reason: "accepted until the next release",
		Owner: "model team", Approvers: []string{"security desk"}, Created: now.Add(-10 * day), Expires: now.Add(10 * day),
	}
}

func openWaivers(t testing.TB, list ...pipeline.Waiver) *pipeline.Waivers {
	t.Helper()
	bundle, err := pipeline.SignWaivers(t.Context(), list, signer(t, "approver"))
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.OpenWaivers(t.Context(), "waivers.json", bundle, verifier(t, "approver"))
}

func TestWaivers(t *testing.T) {
	subject := "sha256:" + strings.Repeat("a", 64)
	medium := finding("test.rule.medium", prerun.Medium)
	with := func(edit func(*pipeline.Waiver)) []pipeline.Waiver {
		w := waiver()
		edit(&w)
		return []pipeline.Waiver{w}
	}
	const (
		expired = "pipeline.waiver.expired"
		invalid = "pipeline.waiver.invalid"
		unused  = "pipeline.waiver.unused"
	)
	for _, tt := range []struct {
		name    string
		waivers []pipeline.Waiver
		waived  bool
		finding string // about the waiver
	}{
		{"good", with(func(*pipeline.Waiver) {}), true, ""},
		{"glob_path", with(func(w *pipeline.Waiver) { w.Path = "?" }), true, ""},
		{"by_subject", with(func(w *pipeline.Waiver) { w.Path, w.Subject = "", subject }), true, ""},
		{"by_both", with(func(w *pipeline.Waiver) { w.Subject = subject }), true, ""},
		{"graver_than_needed", with(func(w *pipeline.Waiver) { w.MaxSeverity = prerun.Critical }), true, ""},
		{"lasts_as_long_as_allowed", with(func(w *pipeline.Waiver) { w.Created, w.Expires = now, now.Add(180*day) }), true, ""},
		{"one_good_one_expired", append(with(func(w *pipeline.Waiver) { w.ID, w.Expires = "W-0", now }), waiver()), true, expired},

		{"other_rule", with(func(w *pipeline.Waiver) { w.Rule = "test.rule.low" }), false, unused},
		{"other_path", with(func(w *pipeline.Waiver) { w.Path = "b" }), false, unused},
		{"other_subject", with(func(w *pipeline.Waiver) { w.Subject = strings.ReplaceAll(subject, "a", "b") }), false, unused},
		{"less_grave", with(func(w *pipeline.Waiver) { w.MaxSeverity = prerun.Low }), false, unused},
		{"expired", with(func(w *pipeline.Waiver) { w.Expires = now.Add(-time.Second) }), false, expired},
		{"expires_now", with(func(w *pipeline.Waiver) { w.Expires = now }), false, expired},
		{"created_later", with(func(w *pipeline.Waiver) { w.Created = now.Add(time.Second) }), false, invalid},
		{"lasts_too_long", with(func(w *pipeline.Waiver) { w.Expires = w.Created.Add(180*day + time.Second) }), false, invalid},
		{"no_approver", with(func(w *pipeline.Waiver) { w.Approvers = []string{} }), false, invalid},
		{"empty_approver", with(func(w *pipeline.Waiver) { w.Approvers = []string{"security desk", " "} }), false, invalid},
		{"owner_approves", with(func(w *pipeline.Waiver) { w.Approvers = []string{"Model  Team", "security desk"} }), false, invalid},
		{"no_owner", with(func(w *pipeline.Waiver) { w.Owner = "" }), false, invalid},
		{"no_reason", with(func(w *pipeline.Waiver) { w.Reason = " " }), false, invalid},
		{"no_severity", with(func(w *pipeline.Waiver) { w.MaxSeverity = prerun.Unrated }), false, invalid},
		{"no_scope", with(func(w *pipeline.Waiver) { w.Path = "" }), false, invalid},
		{"malformed_rule", with(func(w *pipeline.Waiver) { w.Rule = "[" }), false, invalid},
		{"malformed_path", with(func(w *pipeline.Waiver) { w.Path = "[" }), false, invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := medium
			f.Subject.Digest = subject
			g := fakeGate(&fake{id: "c", result: found(f)})
			g.Waivers = []*pipeline.Waivers{openWaivers(t, tt.waivers...)}
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []string{}
			if !tt.waived {
				want = append(want, "test.rule.medium")
			}
			if tt.finding != "" {
				want = append(want, tt.finding)
			}
			if diff := cmp.Diff(want, open(d)); diff != "" {
				t.Errorf("open findings (-want +got):\n%s", diff)
			}
			// An expired or invalid waiver is a no even beside a good one.
			if pass := tt.waived && tt.finding == ""; pass != (d.Verdict == prerun.Pass) {
				t.Errorf("verdict %v: %s", d.Verdict, d.Reason)
			}
			if outcome := result(t, d, "c").Outcome; (outcome == pipeline.Waived) != tt.waived {
				t.Errorf("outcome %v", outcome)
			}
		})
	}
}

// A waiver excuses the findings that it covers and nothing else of the check.
func TestWaiverCoversWhatItSays(t *testing.T) {
	subject := []prerun.Subject{{Path: "a"}}
	gap := []prerun.Gap{{Location: prerun.Location{Path: "a"}, Reason: "locked"}}
	covered := finding("test.rule.medium", prerun.Medium)
	for _, tt := range []struct {
		name   string
		result *pipeline.Result
		want   pipeline.Outcome
	}{
		{"all", found(covered, covered), pipeline.Waived},
		{"one_more", found(covered, findingAt("test.rule.medium", prerun.Medium, "b")), pipeline.Fail},
		{"unrated", found(covered, finding("test.rule.medium", prerun.Unrated)), pipeline.Fail},
		{"gap", &pipeline.Result{Source: prerun.NewSource(subject, []prerun.Finding{covered}, gap)}, pipeline.Inconclusive},
		{"error", &pipeline.Result{Source: prerun.NewSource(subject, []prerun.Finding{covered}, nil), Err: fmt.Errorf("half")}, pipeline.Errored},
		{"fail_without_finding", &pipeline.Result{Outcome: pipeline.Fail, Source: prerun.NewSource(subject, nil, nil)}, pipeline.Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := fakeGate(&fake{id: "c", result: tt.result})
			g.Waivers = []*pipeline.Waivers{openWaivers(t, waiver())}
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := result(t, d, "c").Outcome; got != tt.want || got.Satisfied() != (d.Verdict == prerun.Pass) {
				t.Errorf("outcome %v, want %v; verdict %v", got, tt.want, d.Verdict)
			}
		})
	}
}

// Nobody waives what the gate says about itself.
func TestWaiversDoNotCoverTheGate(t *testing.T) {
	everything := waiver()
	everything.Rule, everything.Path, everything.MaxSeverity = "*", "*", prerun.Critical
	expired := waiver()
	expired.ID, expired.Expires = "W-2", now
	g := fakeGate(&fake{id: "errs", err: fmt.Errorf("no")}, &fake{id: "finds", result: found(finding("test.rule.medium", prerun.Medium))})
	g.Profile = requiring("errs", "finds", "absent")
	g.Waivers = []*pipeline.Waivers{openWaivers(t, everything, expired)}
	d, err := g.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pipeline.gate.required-missing", "pipeline.check.error", "pipeline.waiver.expired"}
	if diff := cmp.Diff(want, open(d)); diff != "" || d.Verdict != prerun.Fail {
		t.Errorf("%v (-want +got):\n%s", d.Verdict, diff)
	}
}

// A file that cannot be trusted is reported, and none of it applies.
func TestUntrustedWaivers(t *testing.T) {
	sign := func(role string, list ...pipeline.Waiver) []byte {
		bundle, err := pipeline.SignWaivers(t.Context(), list, signer(t, role))
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	raw := func(payloadType, payload string) []byte {
		bundle, err := signer(t, "approver").Sign(t.Context(), payloadType, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	many := make([]pipeline.Waiver, 1001)
	for i := range many {
		many[i] = waiver()
		many[i].ID = fmt.Sprint(i)
	}
	entry := mustJSON(t, waiver())
	for _, tt := range []struct {
		name   string
		bundle []byte
		trust  prerun.Verifier
		want   string
	}{
		{"another_key", sign("somebody", waiver()), verifier(t, "approver"), "not accepted"},
		{"no_key", sign("approver", waiver()), nil, "no key"},
		{"nothing_verified", nil, silentVerifier{}, "returned nothing"},
		{"garbage", []byte("{"), verifier(t, "approver"), ""},
		{"payload_type", raw("application/json", `{"schema":"prerun/waivers/v1","waivers":[]}`), verifier(t, "approver"), "payload type"},
		{"schema", raw(pipeline.WaiversType, `{"schema":"prerun/waivers/v2","waivers":[]}`), verifier(t, "approver"), "schema"},
		{"unknown_member", raw(pipeline.WaiversType, `{"schema":"prerun/waivers/v1","waivers":[],"more":1}`), verifier(t, "approver"), "more"},
		{"missing_member", raw(pipeline.WaiversType, `{"schema":"prerun/waivers/v1","waivers":[{"id":"a"}]}`), verifier(t, "approver"), "rule"},
		{"duplicate_member", raw(pipeline.WaiversType, `{"schema":"prerun/waivers/v1","schema":"x","waivers":[`+entry+`]}`), verifier(t, "approver"), "schema"},
		{"one_id_twice", sign("approver", waiver(), waiver()), verifier(t, "approver"), "two waivers"},
		{"too_many", sign("approver", many...), verifier(t, "approver"), "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := fakeGate(&fake{id: "c", result: found(finding("test.rule.medium", prerun.Medium))})
			g.Waivers = []*pipeline.Waivers{pipeline.OpenWaivers(t.Context(), "waivers.json", tt.bundle, tt.trust)}
			d, err := g.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"test.rule.medium", "pipeline.waiver.untrusted"}, open(d)); diff != "" || d.Verdict != prerun.Fail {
				t.Errorf("%v (-want +got):\n%s", d.Verdict, diff)
			}
			if text := rendered(t, d); !strings.Contains(text, tt.want) {
				t.Errorf("the report lacks %q", tt.want)
			}
		})
	}
}

// What people wrote into waivers and evidence is masked wherever it is shown.
func TestPeoplesWordsAreRedacted(t *testing.T) {
	w := newWorld(t)
	w.put("prompts/system.txt", []byte("Another prompt.\n"))
	excused, expired := waiver(), waiver()
	excused.Rule, excused.Path, excused.MaxSeverity = "pipeline.prompt.*", "prompts/*", prerun.High
	excused.Owner, excused.Reason = "alice@example.com", "password: hunter2hunter2"
	expired.ID, expired.Rule, expired.Path, expired.Owner, expired.Expires = "W-2", "pipeline.prompt.*", "*/*", "carol@example.com", now
	expired.MaxSeverity = prerun.High
	w.signWaivers(excused, expired)
	ev := w.evidence("ALL-1")
	ev.Issuer, ev.Summary = "bob@example.com", "see https://bob:hunter2@example.com/x\x1b[2J"
	w.putEvidence(ev, "approver")
	forged := w.evidence("ALL-4")
	forged.Subject = "dave@example.com"
	w.putEvidence(forged, "approver")
	d := w.decide()
	if result(t, d, "prompts.lock").Outcome != pipeline.Waived || result(t, d, "evidence.all-1").Outcome != pipeline.Pass {
		t.Fatalf("not what this test is about: %s", d.Reason)
	}
	text := rendered(t, d)
	for _, secret := range []string{"alice@", "bob@", "carol@", "dave@", "hunter2", "\x1b"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in a report", secret)
		}
	}
	if !strings.Contains(text, "W-1") || !strings.Contains(text, "[email]") {
		t.Error("the waiver is not in the report")
	}
}
