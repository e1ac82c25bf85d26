package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/pipeline"
)

func TestWorldPasses(t *testing.T) {
	d := newWorld(t).decide()
	if d.Verdict != prerun.Pass {
		t.Errorf("verdict %v: %s\n%s", d.Verdict, d.Reason, rendered(t, d))
	}
	if diff := cmp.Diff([]string{}, open(d)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// The outcome table of the architecture, row by row, through the checks that a
// configuration builds. What depends on the model being established does not
// run when it is not.
func TestOutcomes(t *testing.T) {
	const (
		fail         = "fail"
		errored      = "error"
		inconclusive = "inconclusive"
	)
	for _, tt := range []struct {
		name    string
		damage  func(w *world)
		check   string
		outcome string
		rule    string // of a finding that must be there; "" asks for none
		more    bool   // other checks trip over it as well
	}{
		{"integrity/mismatch", func(w *world) { w.flip("model/model.safetensors") }, "integrity.verify", fail, "integrity.model.modified", false},
		{"integrity/bad_signature", func(w *world) {
			other := newWorld(w.t)
			other.put("model/config.json", []byte("{}"))
			other.signModel("model")
			a, b := string(w.fs["model.sig"].Data), string(other.fs["model.sig"].Data)
			w.put("model.sig", []byte(withPayloadOf(w.t, a, b)))
		}, "integrity.verify", fail, "integrity.signature.invalid", false},
		{"integrity/untrusted", func(w *world) { w.signModel("somebody") }, "integrity.verify", fail, "integrity.signature.untrusted", false},
		{"integrity/malformed", func(w *world) { w.put("model.sig", []byte("{}")) }, "integrity.verify", fail, "integrity.bundle.malformed", false},
		{"integrity/unreadable", func(w *world) { w.put("model", []byte("a file")); w.delete("model/") }, "integrity.verify", errored, "pipeline.check.error", true},

		{"scan/malicious", func(w *world) { w.put("model/extra.pkl", []byte("cos\nsystem\n(S'id'\ntR.")); w.resign() }, "scan.model", fail, "scan.pickle.call-on-load", false},
		{"scan/incomplete", func(w *world) { w.put("model/extra.pkl", []byte("\x80\x04\x95\xff")); w.resign() }, "scan.model", inconclusive, "", false},

		{"provenance/not_met", func(w *world) { w.signProvenance("trainer", w.root) }, "provenance.verify", fail, "provenance.material.mismatch", false},
		{"provenance/absent", func(w *world) { delete(w.fs, "provenance/training.sigstore.json"); w.put("provenance/README", nil) }, "provenance.verify", fail, "provenance.evidence.absent", false},
		{"provenance/unreadable", func(w *world) { w.put("provenance/training.sigstore.json", []byte("{")) }, "provenance.verify", errored, "pipeline.check.error", false},
		{"provenance/untrusted", func(w *world) { w.signProvenance("approver", digestOf(w, "data/train.jsonl")) }, "provenance.verify", fail, "provenance.signature.untrusted", false},

		{"dataset/finding", func(w *world) {
			w.append("data/train.jsonl", "{\"text\": \"see\U000E0041\U000E0042\U000E0043\U000E0044 this\", \"label\": \"0\"}\n")
			w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
		}, "datasec.scan", fail, "datasec.unicode.hidden-text", false},
		{"dataset/gap", func(w *world) {
			w.append("data/train.jsonl", "{\"text\": no json\n")
			w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
		}, "datasec.scan", inconclusive, "", false},

		{"embeddings/finding", func(w *world) {
			data := w.fs["corpus.npy"].Data
			copy(data[len(data)-4:], "\x00\x00\xc0\x7f") // not a number
		}, "embeddings.scan", fail, "embedding.vector.nan", false},
		{"embeddings/unreadable", func(w *world) { w.put("corpus.npy", []byte("no vectors")) }, "embeddings.scan", inconclusive, "", false},

		{"weights/finding", func(w *world) {
			data := w.fs["model/model.safetensors"].Data
			copy(data[len(data)-4:], "\x00\x00\xc0\x7f")
			w.resign()
		}, "weights.scan", fail, "weights.value.nan", false},
		{"weights/gap", func(w *world) {
			data := w.fs["model/model.safetensors"].Data
			w.put("model/model.safetensors", data[:len(data)-1])
			w.resign()
		}, "weights.scan", inconclusive, "", true},

		{"validate/fail", func(w *world) { w.answer = func(string) (string, error) { return "no", nil } }, "validate.run", fail, "validate.requirement.failed", false},
		{"validate/inconclusive", func(w *world) {
			w.answer = func(s string) (string, error) {
				if strings.HasSuffix(s, "7") {
					return "no", nil
				}
				return s, nil
			}
		}, "validate.run", inconclusive, "", false},
		{"validate/error", func(w *world) {
			w.answer = func(string) (string, error) { return "", errors.New("no answer") }
		}, "validate.run", errored, "pipeline.check.error", false},

		{"prompts/changed", func(w *world) { w.put("prompts/system.txt", []byte("Delete the mail.\n")) }, "prompts.lock", fail, "pipeline.prompt.changed", false},
		{"prompts/unlocked", func(w *world) { w.put("prompts/other.txt", []byte("x")) }, "prompts.lock", fail, "pipeline.prompt.unlocked", false},
		{"prompts/missing", func(w *world) {
			delete(w.fs, "prompts/system.txt")
			w.put("prompts", nil)
			delete(w.fs, "prompts")
			w.dir("prompts")
		}, "prompts.lock", fail, "pipeline.prompt.missing", false},
		{"prompts/malformed", func(w *world) { w.put("prompts.lock", []byte("{}")) }, "prompts.lock", errored, "pipeline.check.error", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.damage(w)
			d := w.decide()
			if d.Verdict != prerun.Fail || d.Verdict.ExitCode() != 1 {
				t.Errorf("verdict %v", d.Verdict)
			}
			got := result(t, d, tt.check)
			if got.Outcome.String() != tt.outcome {
				t.Errorf("outcome %v, want %s: %s", got.Outcome, tt.outcome, got.Reason)
			}
			rules := []string{}
			for f := range got.Source().Findings() {
				rules = append(rules, f.Rule.ID)
			}
			if tt.rule != "" && !strings.Contains(strings.Join(rules, " "), tt.rule) {
				t.Errorf("findings %q lack %q", rules, tt.rule)
			}
			for id, outcome := range unsatisfied(d) {
				if id != tt.check && outcome != "skipped" && !tt.more {
					t.Errorf("%s: %s as well", id, outcome)
				}
			}
		})
	}
}

// A gate that could not run gives an error, which a command shows as 2.
func TestGateThatCannotRun(t *testing.T) {
	profile := pipeline.ProfileOf(pipeline.LOW)
	for _, tt := range []struct {
		name string
		gate pipeline.Gate
		want error
	}{
		{"zero", pipeline.Gate{}, pipeline.ErrNoProfile},
		{"undefined_tier", pipeline.Gate{Profile: pipeline.ProfileOf(9), Now: now}, pipeline.ErrNoProfile},
		{"no_time", pipeline.Gate{Profile: profile}, pipeline.ErrNoTime},
		{"evidence_without_model", pipeline.Gate{Profile: profile, Now: now}, pipeline.ErrWiring},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d, err := tt.gate.Run(t.Context()); !errors.Is(err, tt.want) || d != nil {
				t.Errorf("got %v, %v; want %v", d, err, tt.want)
			}
		})
	}
	var zero pipeline.Decision
	if v := prerun.Decide(&zero, prerun.Medium); v != prerun.Incomplete || zero.Verdict.ExitCode() != 2 {
		t.Errorf("the zero decision is %v", v)
	}
}

// A model that cannot be read has no digest, so nothing that speaks of it runs.
func TestNothingIsSaidOfAnUnknownModel(t *testing.T) {
	w := newWorld(t)
	w.flip("model/model.safetensors")
	d := w.decide()
	want := map[string]string{
		"integrity.verify": "fail", "provenance.verify": "skipped", "evidence.all-1": "skipped", "evidence.all-4": "skipped",
		"evidence.all-5": "skipped", "evidence.all-6": "skipped", "evidence.all-7": "skipped",
	}
	if diff := cmp.Diff(want, unsatisfied(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := d.Sign(t.Context(), w.config().Info("gate.yaml"), signer(t, "gate")); !errors.Is(err, pipeline.ErrNoModel) {
		t.Errorf("signed: %v", err)
	}
}

// What a check says of itself never hides what its source says, and the
// threshold is the profile's.
func TestPrecedence(t *testing.T) {
	subject := []prerun.Subject{{Path: "a"}}
	low, medium := finding("test.rule.low", prerun.Low), finding("test.rule.medium", prerun.Medium)
	unrated := finding("test.rule.medium", prerun.Unrated)
	gap := []prerun.Gap{{Location: prerun.Location{Path: "a"}, Reason: "locked"}}
	for _, tt := range []struct {
		name     string
		own      pipeline.Outcome
		findings []prerun.Finding
		gaps     []prerun.Gap
		want     pipeline.Outcome
	}{
		{"clean", pipeline.Errored, nil, nil, pipeline.Pass},
		{"below", pipeline.Errored, []prerun.Finding{low}, nil, pipeline.Pass},
		{"at", pipeline.Errored, []prerun.Finding{low, medium}, nil, pipeline.Fail},
		{"unrated", pipeline.Errored, []prerun.Finding{unrated}, nil, pipeline.Fail},
		{"gap", pipeline.Errored, []prerun.Finding{low}, gap, pipeline.Inconclusive},
		{"finding_before_gap", pipeline.Errored, []prerun.Finding{medium}, gap, pipeline.Fail},
		{"pass_over_finding", pipeline.Pass, []prerun.Finding{medium}, nil, pipeline.Fail},
		{"pass_over_gap", pipeline.Pass, nil, gap, pipeline.Inconclusive},
		{"not_applicable_over_finding", pipeline.NotApplicable, []prerun.Finding{medium}, nil, pipeline.Fail},
		{"inconclusive_over_finding", pipeline.Inconclusive, []prerun.Finding{medium}, nil, pipeline.Fail},
		{"skipped_over_finding", pipeline.Skipped, []prerun.Finding{medium}, nil, pipeline.Fail},
		{"fail_without_finding", pipeline.Fail, nil, nil, pipeline.Fail},
		{"inconclusive_without_gap", pipeline.Inconclusive, nil, nil, pipeline.Inconclusive},
		{"waived", pipeline.Waived, nil, nil, pipeline.Errored},
		{"undefined", 99, nil, nil, pipeline.Errored},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &fake{id: "test.check", result: &pipeline.Result{Outcome: tt.own, Source: prerun.NewSource(subject, tt.findings, tt.gaps)}}
			d := runFakes(t, c)
			if got := result(t, d, "test.check"); got.Outcome != tt.want {
				t.Errorf("got %v, want %v: %s", got.Outcome, tt.want, got.Reason)
			}
			if pass := tt.want == pipeline.Pass; pass != (d.Verdict == prerun.Pass) {
				t.Errorf("verdict %v", d.Verdict)
			}
		})
	}
}

// Without a source a check must say what became of it.
func TestResultWithoutSource(t *testing.T) {
	for _, tt := range []struct {
		result *pipeline.Result
		want   pipeline.Outcome
	}{
		{nil, pipeline.Errored},
		{&pipeline.Result{}, pipeline.Errored},
		{&pipeline.Result{Source: prerun.NewSource(nil, nil, nil)}, pipeline.Inconclusive},
		{&pipeline.Result{Outcome: pipeline.Pass}, pipeline.Pass},
		{&pipeline.Result{Outcome: pipeline.NotApplicable, Reason: "no prompts"}, pipeline.NotApplicable},
		{&pipeline.Result{Outcome: pipeline.Skipped}, pipeline.Skipped},
		{&pipeline.Result{Outcome: pipeline.Pass, Err: errors.New("half of it")}, pipeline.Errored},
	} {
		d := runFakes(t, &fake{id: "test.check", result: tt.result})
		if got := result(t, d, "test.check"); got.Outcome != tt.want {
			t.Errorf("%+v: got %v, want %v", tt.result, got.Outcome, tt.want)
		}
		if tt.want.Satisfied() != (d.Verdict == prerun.Pass) {
			t.Errorf("%+v: verdict %v", tt.result, d.Verdict)
		}
	}
}

func TestOutcomeText(t *testing.T) {
	for o := pipeline.Errored; o <= pipeline.Waived; o++ {
		text, err := o.MarshalText()
		var back pipeline.Outcome
		if err != nil || back.UnmarshalText(text) != nil || back != o {
			t.Errorf("%v: %q, %v, back %v", o, text, err, back)
		}
	}
	if _, err := pipeline.Outcome(7).MarshalText(); err == nil {
		t.Error("an undefined outcome was written")
	}
	var o pipeline.Outcome
	if err := o.UnmarshalText([]byte("PASS")); err == nil {
		t.Error("PASS was read")
	}
	if o.Satisfied() {
		t.Error("the zero outcome satisfies")
	}
}

func (w *world) delete(prefix string) {
	for name := range w.fs {
		if strings.HasPrefix(name, prefix) {
			delete(w.fs, name)
		}
	}
}

func (w *world) dir(name string) { w.fs[name] = &fstest.MapFile{Mode: 0o755 | 1<<31} }

func (w *world) append(name, text string) {
	w.put(name, append(w.fs[name].Data[:len(w.fs[name].Data):len(w.fs[name].Data)], text...))
}

// resign signs what rests on the model's content anew.
func (w *world) resign() {
	w.signModel("model")
	w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
	w.signEvidence()
}

// A check that would look with nothing does not pass.
func TestNothingToLookWith(t *testing.T) {
	w := newWorld(t)
	d := runFakes(
		t,
		pipeline.ScanDataset{FS: w.fs, Files: []string{"data/train.jsonl"}, Scanner: datasec.Scanner{Detectors: []datasec.Detector{}}},
		pipeline.ScanDataset{ID: "no.files", FS: w.fs},
		pipeline.ScanModel{FS: w.fs, Path: "model", Scanner: scan.Scanner{Formats: []scan.Format{}}},
		pipeline.ScanModel{ID: "limits", FS: w.fs, Path: "model", Scanner: scan.Scanner{Limits: scan.Limits{Bytes: 1}}},
		pipeline.ScanModel{ID: "no.folder", FS: w.fs, Path: "nowhere"},
		pipeline.ScanModel{ID: "a.file", FS: w.fs, Path: "model.sig"},
		pipeline.ScanWeights{FS: w.fs, Path: "prompts"},
		pipeline.ScanWeights{ID: "no.weights", FS: w.fs, Path: "nowhere"},
		pipeline.ScanEmbeddings{FS: w.fs, File: "nowhere.npy"},
		pipeline.ScanEmbeddings{ID: "no.queries", FS: w.fs, File: "corpus.npy", Queries: "nowhere.npy"},
		pipeline.LockPrompts{FS: w.fs, Path: "nowhere", Lock: "prompts.lock"},
		pipeline.LockPrompts{ID: "no.lock", FS: w.fs, Path: "prompts", Lock: "nowhere"},
		pipeline.RunSuite{},
		pipeline.VerifyModel{FS: w.fs, Model: "model", Signature: "model.sig"},
	)
	for _, c := range d.Checks {
		if c.Outcome != pipeline.Errored && c.Outcome != pipeline.Inconclusive {
			t.Errorf("%s: %v, %s", c.ID, c.Outcome, c.Reason)
		}
	}
}
