package pipeline_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
)

// attest scans the model, signs what came of it, and has the gate take that.
func (w *world) attest(role string, change func(*scan.Attestation)) {
	res, err := scan.Scanner{}.Scan(context.Background(), w.sub("model"))
	w.must(err)
	a := scan.Attestation{Model: prerun.Subject{Path: "world", Digest: w.root}, Scanner: "acme-scan v3", Time: now.Add(-2 * day), Result: res}
	if change != nil {
		change(&a)
	}
	bundle, err := a.Sign(context.Background(), signer(w.t, role))
	w.must(err)
	w.put("scan.sig", bundle)
	text, err := keys.MarshalPublic(keys.Demo("scanner").Public())
	w.must(err)
	w.put("keys/scanner.pub", text)
	w.replace("gate.yaml", "{kind: scan, path: model}", "{kind: scan, path: model, result: scan.sig}")
	w.replace("gate.yaml", "  trainer: keys/trainer.pub", "  trainer: keys/trainer.pub\n  scanner: keys/scanner.pub")
}

func TestVerifyScan(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(w *world)
		want []string // open findings
	}{
		{"good", func(w *world) { w.attest("scanner", nil) }, []string{}},
		{"other_key", func(w *world) { w.attest("somebody", nil) }, []string{"pipeline.scan.untrusted"}},
		{"no_bundle", func(w *world) { w.attest("scanner", nil); w.put("scan.sig", []byte("{}")) }, []string{"pipeline.scan.untrusted"}},
		{"other_model", func(w *world) {
			w.attest("scanner", func(a *scan.Attestation) { a.Model.Digest = "sha256:" + strings.Repeat("0", 64) })
		}, []string{"pipeline.scan.subject-mismatch"}},
		{"file_left_out", func(w *world) {
			w.attest("scanner", func(a *scan.Attestation) { a.Result.Files = a.Result.Files[1:] })
		}, []string{"pipeline.scan.subject-mismatch"}},
		{"old", func(w *world) {
			w.attest("scanner", func(a *scan.Attestation) { a.Time = now.Add(-3 * 365 * day) })
		}, []string{"pipeline.scan.stale"}},
		{"future", func(w *world) {
			w.attest("scanner", func(a *scan.Attestation) { a.Time = now.Add(time.Hour) })
		}, []string{"pipeline.scan.stale"}},
		{"finding", func(w *world) {
			w.put("model/x.pkl", []byte("cos\nsystem\n(S'id'\ntR."))
			w.signModel("model")
			w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
			w.signEvidence()
			w.attest("scanner", nil)
		}, []string{"scan.pickle.call-on-load"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.edit(w)
			d := w.decide()
			if diff := cmp.Diff(tt.want, open(d)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if pass := len(tt.want) == 0; pass != (d.Verdict == prerun.Pass) {
				t.Errorf("verdict %v: %v", d.Verdict, unsatisfied(d))
			}
			if r := result(t, d, "scan.model"); (r.Outcome == pipeline.Pass) != (len(tt.want) == 0) {
				t.Errorf("%v: %s", r.Outcome, r.Reason)
			}
		})
	}
}

func TestVerifyScanConfig(t *testing.T) {
	for name, with := range map[string]string{
		"rules": "result: scan.sig, rules: [rules.yaml]", "detectors": "result: scan.sig, detectors: [zip]",
	} {
		text := strings.Replace(configYAML, "{kind: scan, path: model}", "{kind: scan, path: model, "+with+"}", 1)
		if _, err := pipeline.ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), "is not made here") {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t)
	w.put("scan.sig", []byte("{}"))
	w.replace("gate.yaml", "{kind: scan, path: model}", "{kind: scan, path: model, result: scan.sig}")
	if _, err := w.config().Gate(t.Context(), w.fs, w.deps()); err == nil || !strings.Contains(err.Error(), `"scanner"`) {
		t.Errorf("no key: %v", err)
	}
}

// A waiver by rule, path and digest excuses a finding inside a file of that
// content, and no longer does when the content is another one.
func TestWaiverByDigest(t *testing.T) {
	w := newWorld(t)
	evil := func(command string) {
		w.put("model/x.pkl", []byte("cos\nsystem\n(S'"+command+"'\ntR."))
		w.signModel("model")
		w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
		w.signEvidence()
	}
	evil("id")
	excuse := pipeline.Waiver{
		ID: "W-1", Rule: "scan.pickle.call-on-load", Path: "model/x.pkl", Subject: digestOf(w, "model/x.pkl"), MaxSeverity: prerun.Critical,
		Reason: "a test", Owner: "data team", Approvers: []string{"product owner"}, Created: now.Add(-day), Expires: now.Add(day),
	}
	w.signWaivers(excuse)
	if d := w.decide(); d.Verdict != prerun.Pass || len(open(d)) != 0 || result(t, d, "scan.model").Outcome != pipeline.Waived {
		t.Errorf("waived: %v, %v", d.Verdict, open(d))
	}
	evil("ls")
	if d := w.decide(); d.Verdict == prerun.Pass || !slices.Contains(open(d), "scan.pickle.call-on-load") {
		t.Errorf("other content: %v, %v", d.Verdict, open(d))
	}
	evil("id")
	excuse.Path = "model/y.pkl"
	w.signWaivers(excuse)
	if d := w.decide(); d.Verdict == prerun.Pass {
		t.Error("another path is waived")
	}
}

// The digest of a container stands for what is found inside it.
func TestWaiverByDigestNested(t *testing.T) {
	w := newWorld(t)
	w.put("model/x.tar", tarOf("in.pkl", "cos\nsystem\n(S'id'\ntR."))
	w.signModel("model")
	w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
	w.signEvidence()
	w.signWaivers(pipeline.Waiver{
		ID: "W-1", Rule: "scan.*", Path: "model/x.tar!/in.pkl", Subject: digestOf(w, "model/x.tar"), MaxSeverity: prerun.Critical,
		Reason: "a test", Owner: "data team", Approvers: []string{"product owner"}, Created: now.Add(-day), Expires: now.Add(day),
	})
	if d := w.decide(); d.Verdict != prerun.Pass {
		t.Errorf("%v, %v", d.Verdict, open(d))
	}
	report := rendered(t, w.decide())
	if !strings.Contains(report, `"fullyQualifiedName": "model/x.tar!/in.pkl"`) {
		t.Error("SARIF does not name the nested file")
	}
}

func tarOf(name, content string) []byte {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	_, werr := tw.Write([]byte(content))
	if err := errors.Join(err, werr, tw.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}
