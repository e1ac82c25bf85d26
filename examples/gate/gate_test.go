package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/provenance"
)

// staged is a copy of the demo, damaged or not.
func staged(t *testing.T, kind string) (*os.Root, *pipeline.Config) {
	t.Helper()
	dir, err := stage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if kind != "" {
		damage, err := tamperingOf(kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage.apply(t.Context(), &signatory{dir: dir, root: root}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := readConfig(root.FS())
	if err != nil {
		t.Fatal(err)
	}
	return root, config
}

func decided(t *testing.T, fsys fs.FS, config *pipeline.Config) *pipeline.Decision {
	t.Helper()
	d, err := decide(t.Context(), fsys, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// counted are the rules of the findings that no waiver excuses, each once,
// whatever their severity.
func counted(d *pipeline.Decision) []string {
	ids := []string{}
	for f := range d.Findings() {
		if d.WaivedBy(f) == nil {
			ids = append(ids, f.Rule.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// untouched are the findings of the demo as it is that no waiver excuses and
// that do not count: the Python file beside the weights.
var untouched = []string{"scan.repo.python-code"}

func TestDemoPasses(t *testing.T) {
	root, config := staged(t, "")
	d := decided(t, root.FS(), config)
	if d.Verdict != prerun.Pass {
		t.Errorf("verdict %v: %s", d.Verdict, d.Reason)
	}
	if diff := cmp.Diff(untouched, counted(d)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	waived := 0
	for f := range d.Findings() {
		if w := d.WaivedBy(f); w != nil {
			waived++
			if w.ID != "W-1" || f.Rule.ID != waivedRule {
				t.Errorf("waiver %s excuses %s", w.ID, f.Rule.ID)
			}
		}
	}
	if waived != 1 {
		t.Errorf("%d findings waived, want 1", waived)
	}
	for g := range d.Gaps() {
		t.Errorf("not checked: %+v", g)
	}
}

// without takes one detector out of the configuration.
type without func(*pipeline.Config)

// check drops the check of that kind.
func noCheck(kind string) without {
	return func(c *pipeline.Config) {
		c.Checks = slices.DeleteFunc(c.Checks, func(k pipeline.CheckConfig) bool { return k.Kind == kind })
	}
}

// onlyDetectors runs a check with the detectors that are named.
func onlyDetectors(id string, names ...string) without {
	return func(c *pipeline.Config) {
		for i := range c.Checks {
			if c.Checks[i].ID == id {
				c.Checks[i].Detectors = &names
			}
		}
	}
}

// onlyRequire keeps what is named of a policy or suite.
func onlyRequire(kind string, names ...string) without {
	return func(c *pipeline.Config) {
		for i := range c.Checks {
			if c.Checks[i].Kind == kind {
				c.Checks[i].Require = &names
			}
		}
	}
}

// Each damage is found by the rules that are named and by no other; where the
// right keys signed it, taking its one detector away makes the gate pass, so no
// digest gave it away.
func TestTamperings(t *testing.T) {
	for _, tt := range []struct {
		kind     string
		want     []string
		detector without
	}{
		{"flipped-byte", []string{"integrity.model.modified"}, nil},
		{"extra-file", []string{"integrity.model.extra"}, nil},
		{"other-key", []string{"integrity.signature.untrusted"}, nil},
		{"expired-waiver", []string{"pipeline.waiver.expired", "scan.config.auto-map"}, nil},
		{"skipped-check", []string{"pipeline.gate.required-missing"}, nil},
		{"pickle", []string{"scan.pickle.call-on-load"}, noCheck("scan")},
		{
			"poisoned-rows",
			[]string{"datasec.trigger.label-contradiction"},
			onlyDetectors("datasec.train", "label-conflict", "exact-duplicates", "near-duplicates", "hidden-text", "injection"),
		},
		{
			"hidden-text",
			[]string{"datasec.unicode.hidden-text"},
			onlyDetectors("datasec.corpus", "label-contradiction", "label-conflict", "exact-duplicates", "near-duplicates", "injection"),
		},
		{"planted-hub", []string{"embedding.hub.anomalous"}, noCheck("embeddings")},
		{"regressed-model", []string{"validate.requirement.failed"}, onlyRequire("validate", "harmless edits", "trigger sweep")},
		{"other-data", []string{"provenance.material.mismatch"}, onlyRequire("provenance")},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			root, config := staged(t, tt.kind)
			d := decided(t, root.FS(), config)
			if d.Verdict != prerun.Fail {
				t.Errorf("verdict %v", d.Verdict)
			}
			want := append(slices.Clone(tt.want), untouched...)
			slices.Sort(want)
			if diff := cmp.Diff(want, counted(d)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if damage, _ := tamperingOf(tt.kind); damage.authorised != (tt.detector != nil) {
				t.Fatal("an authorised tampering needs the test without its detector")
			}
			if tt.detector == nil {
				return
			}
			tt.detector(config)
			d = decided(t, root.FS(), config)
			if d.Verdict != prerun.Pass {
				t.Errorf("without its detector: %v, %s, %v", d.Verdict, d.Reason, counted(d))
			}
		})
	}
	if n := len(tamperings()); n != 11 {
		t.Errorf("%d kinds of tampering, 11 are tested", n)
	}
}

// What is committed is what the DEMO keys sign now.
func TestDemoIsSignedAsCommitted(t *testing.T) {
	root, _ := staged(t, "")
	before := make(map[string]string)
	read := func(into map[string]string) {
		err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := fs.ReadFile(root.FS(), name)
			into[name] = digestx.Of(data).String()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read(before)
	if err := (&signatory{dir: root.Name(), root: root}).everything(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := make(map[string]string)
	read(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("run go run ./examples/gate -sign examples/gate/demo (-committed +signed):\n%s", diff)
	}
}

func TestReportDoesNotDependOnProcessors(t *testing.T) {
	root, config := staged(t, "")
	var want []byte
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, n := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(n)
		doc := decided(t, root.FS(), config).Document()
		var got bytes.Buffer
		for _, format := range report.Formats() {
			writer, err := report.For(format)
			if err != nil {
				t.Fatal(err)
			}
			if err := writer(&got, doc); err != nil {
				t.Fatal(err)
			}
		}
		if want == nil {
			want = got.Bytes()
		}
		if !bytes.Equal(want, got.Bytes()) {
			t.Errorf("GOMAXPROCS=%d: other report bytes", n)
		}
	}
}

// The command as a user runs it: exit status, files, and a verdict that a
// deployer can verify.
func TestCommand(t *testing.T) {
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-out", out}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, &stdout, &stderr)
	}
	for _, want := range []string{"mailtriage: PASS", "evaluated as of 2026-11-01", "DEMO"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("summary lacks %q:\n%s", want, &stdout)
		}
	}
	if lines := strings.Count(stdout.String(), "\n"); lines > 24 {
		t.Errorf("%d lines are more than one screen", lines)
	}
	bundle, err := os.ReadFile(filepath.Join(out, "verdict.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, config := staged(t, "")
	trust, err := provenance.NewKeyVerifier(demoKey(demoGate).Public())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Facts struct {
			Model struct{ Root string } `json:"model"`
		} `json:"facts"`
	}
	data, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	policy := pipeline.VerdictPolicy{
		Subjects: []string{doc.Facts.Model.Root}, PolicyDigest: config.Digest(), Verifier: config.Verifier,
		Tier: pipeline.LOW, Now: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC),
	}
	if _, err := pipeline.VerifyVerdict(t.Context(), bundle, trust, policy); err != nil {
		t.Errorf("the verdict does not verify: %v", err)
	}

	// A no overwrites: no verdict of the earlier run stays beside its report.
	if code := run(t.Context(), []string{"-out", out, "-tamper", "flipped-byte"}, &stdout, &stderr); code != 1 {
		t.Errorf("tampered: exit %d", code)
	}
	if _, err := os.Stat(filepath.Join(out, "verdict.sigstore.json")); err == nil {
		t.Error("the verdict of the earlier run is still there")
	}
}

func TestCommandUse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"list", []string{"-tamper", "list"}, 0, "poisoned-rows"},
		{"unknown_kind", []string{"-tamper", "nonsense"}, 2, `no tampering "nonsense"`},
		{"unknown_flag", []string{"-nonsense"}, 2, "nonsense"},
		{"argument", []string{"nonsense"}, 2, `unexpected argument "nonsense"`},
		{"unwritable", []string{"-out", "/dev/null/x"}, 2, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var both bytes.Buffer
			if code := run(t.Context(), tt.args, &both, &both); code != tt.code || !strings.Contains(both.String(), tt.out) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, tt.code, tt.out, &both)
			}
		})
	}
}
