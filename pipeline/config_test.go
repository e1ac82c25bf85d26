package pipeline_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/validate"
)

func TestParseConfig(t *testing.T) {
	c, err := pipeline.ParseConfig([]byte(configYAML))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "world" || c.Profile != pipeline.LOW || c.Seed != 7 || len(c.Checks) != 8 || c.Keys["model"] != "keys/model.pub" {
		t.Errorf("read %+v", c)
	}
	if c.Digest() != digestx.Of([]byte(configYAML)).String() {
		t.Errorf("digest %s", c.Digest())
	}
	want := pipeline.VerdictInfo{
		Verifier: "https://example.com/gate", ResourceURI: "pkg:generic/world@1", PolicyURI: "gate.yaml", PolicyDigest: c.Digest(),
	}
	if diff := cmp.Diff(want, c.Info("gate.yaml")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	fromJSON, err := pipeline.ParseConfig([]byte(`{"schema":"prerun/gate/v1","name":"j","profile":"HIGH","resource_uri":"r","verifier":"v","checks":[
		{"kind":"scan","path":"model","detectors":[]}]}`))
	if err != nil || fromJSON.Checks[0].Detectors == nil {
		t.Errorf("JSON: %+v, %v", fromJSON, err)
	}
}

// Every error says where.
func TestParseConfigRefuses(t *testing.T) {
	edit := func(old, with string) string {
		if !strings.Contains(configYAML, old) {
			t.Fatalf("the configuration lacks %q", old)
		}
		return strings.Replace(configYAML, old, with, 1)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "empty"},
		{"list", "[]", "object"},
		{"schema", edit("gate/v1", "gate/v2"), `line 1: schema "prerun/gate/v2"`},
		{"missing_name", edit("name: world\n", ""), "name"},
		{"unknown_key", edit("seed: 7", "sede: 7"), "6"},
		{"other_case", edit("seed: 7", "Seed: 7"), "6"},
		{"duplicate_key", edit("seed: 7", "name: x"), "name"},
		{"profile", edit("LOW", "lowest"), `"lowest" is not a tier`},
		{"type", edit("seed: 7", "seed: seven"), "6"},
		{"fail_on", edit("seed: 7", "fail_on: high"), "line 6: fail_on high lets through what counts"},
		{"unknown_severity", edit("seed: 7", "fail_on: grave"), `"grave" is not a severity`},
		{"kind", edit("kind: scan", "kind: scam"), `line 15: check: kind "scam" is none of`},
		{"unknown_field", edit("{kind: scan,", "{kind: scan, file: x,"), `line 15: check: kind scan does not take "file"`},
		{"unknown_option", edit("{kind: scan,", "{kind: scan, deep: x,"), "deep"},
		{"missing_field", edit(", signature: model.sig", ""), `line 14: check: kind integrity needs "signature"`},
		{"posing_as_required", edit("{kind: scan,", "{kind: scan, id: validate.run,"), `id "validate.run" belongs to kind validate`},
		{"anchor", edit("name: world", "name: &a world"), "anchor"},
		{"too_large", configYAML + "# " + strings.Repeat("x", 4<<20), "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := pipeline.ParseConfig([]byte(tt.text))
			if !errors.Is(err, pipeline.ErrConfig) || c != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// What a configuration names must be there and must be what it should be.
func TestConfigGateRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(w *world)
		want string
	}{
		{"missing_key", func(w *world) { delete(w.fs, "keys/trainer.pub") }, `line 10: key "trainer": "keys/trainer.pub"`},
		{"no_key", func(w *world) { w.put("keys/trainer.pub", []byte("no key")) }, `line 10: key "trainer": "keys/trainer.pub"`},
		{"approver_trains", func(w *world) { w.put("keys/trainer.pub", w.fs["keys/approver.pub"].Data) }, `line 10: key "trainer" is the approver's`},
		{"no_model_key", func(w *world) { w.replace("gate.yaml", "  model: keys/model.pub\n", "") }, `keys name none for "model"`},
		{"no_approver", func(w *world) { w.replace("gate.yaml", "  approver: keys/approver.pub\n", "") }, `keys name none for "approver"`},
		{"missing_evidence", func(w *world) { w.delete("evidence/") }, "evidence"},
		{"missing_waivers", func(w *world) { delete(w.fs, "waivers.json") }, "waivers.json"},
		{"missing_model", func(w *world) { w.delete("model/") }, "line 14: check: open model:"},
		{"missing_signature", func(w *world) { delete(w.fs, "model.sig") }, "line 14: check: open model.sig"},
		{"missing_policy", func(w *world) { delete(w.fs, "policy.yaml") }, "policy.yaml"},
		{"bad_policy", func(w *world) { w.put("policy.yaml", []byte("{}")) }, `"policy.yaml"`},
		{"missing_provenance", func(w *world) { w.delete("provenance/") }, "open provenance"},
		{"missing_input", func(w *world) { w.replace("gate.yaml", "{train: data/train.jsonl}", "{train: data/other.jsonl}") }, "data/other.jsonl"},
		{"unknown_material", func(w *world) { w.replace("gate.yaml", "data/train.jsonl}}", "data/train.jsonl}, require: [x]}") }, `material "x"`},
		{"missing_data", func(w *world) { w.replace("gate.yaml", "files: [data/train.jsonl]", "files: [data/other.jsonl]") }, "data/other.jsonl"},
		{"unknown_detector", func(w *world) { w.replace("gate.yaml", "hidden-text,", "hiden-text,") }, `detector "hiden-text" is none of`},
		{"unknown_format", func(w *world) { w.replace("gate.yaml", "{kind: scan,", "{kind: scan, detectors: [pickles],") }, `detector "pickles" is none of`},
		{"no_detector", func(w *world) {
			w.replace("gate.yaml", "[label-conflict, exact-duplicates, near-duplicates, hidden-text, injection]", "[]")
		}, "line 18: check: detectors names none"},
		{"no_rules", func(w *world) { w.replace("gate.yaml", "{kind: scan,", "{kind: scan, rules: [rules.yaml],") }, "line 15: check: open rules.yaml"},
		{"bad_rules", func(w *world) {
			w.replace("gate.yaml", "{kind: scan,", "{kind: scan, rules: [rules.yaml],")
			w.put("rules.yaml", []byte("version: 1\nname: x\nallow: []\n"))
		}, `line 15: check: "rules.yaml": rule set: line 3`},
		{"no_format", func(w *world) { w.replace("gate.yaml", "{kind: scan,", "{kind: scan, detectors: [],") }, "line 15: check: detectors names none"},
		{"missing_vectors", func(w *world) { delete(w.fs, "corpus.npy") }, "corpus.npy"},
		{"missing_suite", func(w *world) { delete(w.fs, "suite.yaml") }, "suite.yaml"},
		{"bad_suite", func(w *world) { w.put("suite.yaml", []byte("name: x")) }, `"suite.yaml"`},
		{"missing_cases", func(w *world) { delete(w.fs, "cases.jsonl") }, "cases.jsonl"},
		{"unknown_requirement", func(w *world) { w.replace("gate.yaml", "target: echo", "target: echo, require: [x]") }, `no such requirement: "x"`},
		{"unknown_target", func(w *world) { w.replace("gate.yaml", "target: echo", "target: other") }, `no target "other" was handed in (have ["echo"])`},
		{"missing_lock", func(w *world) { delete(w.fs, "prompts.lock") }, "prompts.lock"},
		{"path_outside", func(w *world) { w.replace("gate.yaml", "{kind: scan, path: model}", "{kind: scan, path: ../model}") }, "../model"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.edit(w)
			g, err := w.config().Gate(t.Context(), w.fs, w.deps())
			if !errors.Is(err, pipeline.ErrConfig) || g != nil || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

const rulesYAML = `version: 1
name: own
rules:
  - id: custom.own.type
    title: type of model
    severity: high
    help: Nobody may deploy this type of model.
    patterns: [{regexp: '.', keywords: [type], max_length: 10, files: [config.json]}]
`

// Options reach the checks, and leaving out a detector or a requirement leaves
// out exactly that.
func TestConfigOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(w *world)
		want map[string]string
	}{
		{"as_is", func(*world) {}, map[string]string{}},
		{"skip", func(w *world) { w.replace("gate.yaml", "seed: 7", "skip: [scan.model]") }, map[string]string{"scan.model": "skipped"}},
		{"fail_on_low", func(w *world) {
			w.replace("gate.yaml", "seed: 7", "fail_on: info")
			w.append("data/train.jsonl", string(w.fs["data/train.jsonl"].Data[:1000]))
		}, map[string]string{"datasec.scan": "fail", "provenance.verify": "fail"}},
		{"with_rules", func(w *world) {
			w.put("rules.yaml", []byte(rulesYAML))
			w.replace("gate.yaml", "{kind: scan,", "{kind: scan, rules: [rules.yaml],")
		}, map[string]string{"scan.model": "fail"}},
		{"without_detector", func(w *world) {
			w.append("data/train.jsonl", "{\"text\": \"see\U000E0041\U000E0042\U000E0043\U000E0044 this\", \"label\": \"0\"}\n")
			w.signProvenance("trainer", digestOf(w, "data/train.jsonl"))
			w.replace("gate.yaml", "hidden-text, ", "")
		}, map[string]string{}},
		{"without_material", func(w *world) {
			w.signProvenance("trainer", w.root)
			w.replace("gate.yaml", "data/train.jsonl}}", "data/train.jsonl}, require: []}")
		}, map[string]string{}},
		{"without_requirement", func(w *world) {
			w.append("suite.yaml", "  - {name: wrong, kind: rate-at-least, limit: 0.9, scorer: {contains: {values: [never]}}}\n")
			w.replace("gate.yaml", "target: echo", "target: echo, require: [right]")
		}, map[string]string{}},
		{"with_requirement", func(w *world) {
			w.append("suite.yaml", "  - {name: wrong, kind: rate-at-least, limit: 0.9, scorer: {contains: {values: [never]}}}\n")
		}, map[string]string{"validate.run": "fail"}},
		{"no_requirement_left", func(w *world) { w.replace("gate.yaml", "target: echo", "target: echo, require: []") }, map[string]string{"validate.run": "error"}},
		{"ignored_file", func(w *world) {
			w.put("model/notes.txt", []byte("x"))
			w.replace("gate.yaml", "signature: model.sig", "signature: model.sig, ignore: [notes.txt]")
		}, map[string]string{}},
		{"tier_above", func(w *world) { w.replace("gate.yaml", "LOW", "MEDIUM") }, map[string]string{
			"evidence.med-2": "fail", "evidence.med-3": "fail", "evidence.med-4": "fail", "evidence.med-5": "fail", "evidence.med-6": "fail",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.edit(w)
			d := w.decide()
			if diff := cmp.Diff(tt.want, unsatisfied(d)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, open(d))
			}
			if pass := len(tt.want) == 0; pass != (d.Verdict == prerun.Pass) {
				t.Errorf("verdict %v: %s", d.Verdict, d.Reason)
			}
		})
	}
}

func TestConfigTime(t *testing.T) {
	w := newWorld(t)
	w.replace("gate.yaml", "seed: 7", "as_of: 2027-12-01T00:00:00Z")
	d := w.decide()
	if !d.AsOf().Equal(time.Date(2027, 12, 1, 0, 0, 0, 0, time.UTC)) || !slices.Contains(open(d), "pipeline.evidence.stale") {
		t.Errorf("as of %v: %v", d.AsOf(), open(d))
	}
	g, err := newWorld(t).config().Gate(t.Context(), w.fs, pipeline.Deps{Targets: map[string]validate.Target{"echo": w.target()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Run(t.Context()); !errors.Is(err, pipeline.ErrNoTime) {
		t.Errorf("without any time: %v", err)
	}
}

// A caller's own check stands beside the configured ones.
func TestConfigWithOwnCheck(t *testing.T) {
	w := newWorld(t)
	deps := w.deps()
	deps.Checks = []pipeline.Check{&fake{id: "own.check", result: found(finding("test.rule.medium", prerun.Medium))}}
	g, err := w.config().Gate(t.Context(), w.fs, deps)
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Run(t.Context())
	if err != nil || d.Verdict != prerun.Fail || result(t, d, "own.check").Outcome != pipeline.Fail {
		t.Errorf("%v, %v", d, err)
	}
}

// Paths of the parts are paths of the whole.
func TestPathsAreOfTheGate(t *testing.T) {
	w := newWorld(t)
	var got []string
	for s := range w.decide().Subjects() {
		got = append(got, s.Path)
		if strings.Contains(s.Path, "/") {
			if _, err := fs.Stat(w.fs, s.Path); err != nil {
				t.Errorf("subject %q: %v", s.Path, err)
			}
		}
	}
	for _, want := range []string{"model/config.json", "model/model.safetensors", "model.sig", "data/train.jsonl", "corpus.npy", "prompts/system.txt", "evidence/ALL-1.json"} {
		if !slices.Contains(got, want) {
			t.Errorf("no subject %q in %q", want, got)
		}
	}
}

func TestPromptLock(t *testing.T) {
	w := newWorld(t)
	if _, err := pipeline.NewPromptLock(t.Context(), w.sub("prompts"), nil); err == nil {
		t.Error("a prompt without a version was locked")
	}
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	entry := fmt.Sprintf(`{"path":"a","version":"1","digest":%q}`, digest)
	for _, tt := range []struct{ text, want string }{
		{`{"schema":"prerun/prompts-lock/v1","prompts":[` + entry + `]}`, ""},
		{`{"schema":"prerun/prompts-lock/v2","prompts":[]}`, "schema"},
		{`{"schema":"prerun/prompts-lock/v1"}`, "prompts"},
		{`{"schema":"prerun/prompts-lock/v1","prompts":[],"more":1}`, "more"},
		{`{"schema":"prerun/prompts-lock/v1","prompts":[` + entry + `,` + entry + `]}`, "recorded twice"},
		{`{"schema":"prerun/prompts-lock/v1","prompts":[` + strings.Replace(entry, `"a"`, `"../a"`, 1) + `]}`, "clean relative path"},
		{`{"schema":"prerun/prompts-lock/v1","prompts":[` + strings.Replace(entry, "sha256:e3", "sha256:E3", 1) + `]}`, "digest"},
		{`{"schema":"prerun/prompts-lock/v1","prompts":[` + strings.Replace(entry, `"version":"1",`, "", 1) + `]}`, "version"},
	} {
		lock, err := pipeline.ParsePromptLock([]byte(tt.text))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want %q", tt.text, lock, err, tt.want)
		}
	}
	w.fs["prompts/link.txt"] = link("system.txt")
	d := w.decide()
	if !slices.Contains(open(d), "pipeline.prompt.unlocked") {
		t.Errorf("a link among the prompts: %v", open(d))
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(configYAML))
	f.Add([]byte(`{"schema":"prerun/gate/v1","name":"j","profile":"HIGH","resource_uri":"r","verifier":"v","checks":[{"kind":"scan","path":"m"}]}`))
	f.Add([]byte("checks: [{kind: [}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := pipeline.ParseConfig(data)
		if (err == nil) == (c == nil) || err != nil && !errors.Is(err, pipeline.ErrConfig) {
			t.Fatalf("%v, %v", c, err)
		}
	})
}

func FuzzParsePromptLock(f *testing.F) {
	w := newWorld(f)
	f.Add(w.fs["prompts.lock"].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := pipeline.ParsePromptLock(data)
		if err != nil {
			return
		}
		text, err := lock.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := pipeline.ParsePromptLock(text); err != nil || len(again.Prompts) != len(lock.Prompts) {
			t.Errorf("%+v became %+v, %v", lock, again, err)
		}
	})
}

// A configuration costs memory in proportion to its size.
func TestParseConfigAllocation(t *testing.T) {
	text := []byte(configYAML + strings.Repeat("  - {kind: scan, path: model, detectors: [a, b, c]}\n", 1000))
	testutil.AllocBound(t, 64<<20, func() { _, _ = pipeline.ParseConfig(text) })
}
