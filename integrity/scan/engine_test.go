package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/scantest"
)

// fake is a format whose behaviour a test writes down.
type fake struct {
	id     string
	within []string
	match  func(scan.Probe) scan.Match
	scan   func(context.Context, *scan.Artifact, *scan.Sink) error
}

var fakeRule = prerun.Rule{ID: "scan.fake.thing", Title: "thing", Severity: prerun.Medium, Help: "a thing"}

func (f fake) Info() scan.Info {
	return scan.Info{ID: f.id, Within: f.within, Rules: []prerun.Rule{fakeRule}}
}

func (f fake) Match(p scan.Probe) scan.Match {
	if f.match == nil {
		return scan.Certain
	}
	return f.match(p)
}

func (f fake) Scan(ctx context.Context, a *scan.Artifact, out *scan.Sink) error {
	return f.scan(ctx, a, out)
}

func TestFormatBehaviour(t *testing.T) {
	data := []byte("0123456789")
	claimAll := func(_ context.Context, a *scan.Artifact, out *scan.Sink) error {
		out.Claim(0, a.Size)
		return nil
	}
	for _, tt := range []struct {
		name     string
		formats  []scan.Format
		verdict  scan.Verdict
		complete scan.Completeness
		want     []string
		reason   string
	}{
		{"clean", []scan.Format{fake{id: "a", scan: claimAll}}, scan.Clean, scan.Complete, nil, ""},
		{"none", []scan.Format{}, scan.Unknown, scan.Complete, nil, ""},
		{
			"panic",
			[]scan.Format{fake{id: "a", scan: func(context.Context, *scan.Artifact, *scan.Sink) error { panic("boom") }}},
			scan.Unknown, scan.Failed, nil, "panic: boom",
		},
		{
			"panic_in_match",
			[]scan.Format{fake{id: "a", match: func(scan.Probe) scan.Match { panic("boom") }}},
			scan.Unknown, scan.Failed, nil, "panic while matching",
		},
		{
			"error",
			[]scan.Format{fake{id: "a", scan: func(context.Context, *scan.Artifact, *scan.Sink) error { return io.ErrUnexpectedEOF }}},
			scan.Unknown, scan.Failed, nil, "unexpected EOF",
		},
		{
			"not_format_after_certain",
			[]scan.Format{fake{id: "a", scan: func(context.Context, *scan.Artifact, *scan.Sink) error { return scan.ErrNotFormat }}},
			scan.Unknown, scan.Failed, nil, "not of this format",
		},
		{"not_format_after_maybe", []scan.Format{fake{
			id:    "a",
			match: func(scan.Probe) scan.Match { return scan.Maybe },
			scan: func(_ context.Context, _ *scan.Artifact, out *scan.Sink) error {
				out.Finding(prerun.Finding{Rule: fakeRule, Message: "dropped"})
				return fmt.Errorf("x: %w", scan.ErrNotFormat)
			},
		}}, scan.Unknown, scan.Complete, nil, ""},
		{"claim_outside", []scan.Format{fake{id: "a", scan: func(_ context.Context, _ *scan.Artifact, out *scan.Sink) error {
			out.Claim(5, 6)
			return nil
		}}}, scan.Unknown, scan.Failed, nil, "it claimed 6 bytes at offset 5 of 10"},
		{"claims_overlap", []scan.Format{fake{id: "a", scan: func(_ context.Context, _ *scan.Artifact, out *scan.Sink) error {
			out.Claim(0, 6)
			out.Claim(5, 5)
			return nil
		}}}, scan.Suspicious, scan.Complete, []string{"scan.file.range-overlap"}, ""},
		{
			"polyglot",
			[]scan.Format{fake{id: "a", scan: claimAll}, fake{id: "b", scan: claimAll}},
			scan.Suspicious, scan.Complete,
			[]string{"scan.file.polyglot"},
			"",
		},
		{
			"refinement",
			[]scan.Format{fake{id: "a", scan: claimAll}, fake{id: "b", within: []string{"a"}, scan: claimAll}},
			scan.Clean, scan.Complete, nil, "",
		},
		{"finding_and_error", []scan.Format{fake{id: "a", scan: func(_ context.Context, _ *scan.Artifact, out *scan.Sink) error {
			out.Finding(prerun.Finding{Rule: fakeRule, Message: "kept", Severity: prerun.High})
			return errors.New("broken")
		}}}, scan.Malicious, scan.Failed, []string{"scan.fake.thing"}, "broken"},
		{"unrated_counts_as_worst", []scan.Format{fake{id: "a", scan: func(_ context.Context, a *scan.Artifact, out *scan.Sink) error {
			out.Finding(prerun.Finding{Rule: prerun.Rule{ID: "scan.fake.unrated", Title: "t", Help: "h"}, Message: "m"})
			return claimAll(context.Background(), a, out)
		}}}, scan.Malicious, scan.Complete, []string{"scan.fake.unrated"}, ""},
		{"gap", []scan.Format{fake{id: "a", scan: func(_ context.Context, _ *scan.Artifact, out *scan.Sink) error {
			out.Gap("no key", 0, 0)
			return nil
		}}}, scan.Unknown, scan.Inconclusive, nil, "no key"},
		{"dormant_child", []scan.Format{fake{id: "a", scan: func(ctx context.Context, a *scan.Artifact, out *scan.Sink) error {
			out.Claim(0, a.Size)
			if a.Size < 10 {
				out.Finding(prerun.Finding{Rule: fakeRule, Severity: prerun.Critical, Message: "deep"})
				return nil
			}
			return out.Child(ctx, scan.Child{Name: "x", Reader: a.Section(1, 5), Size: 5, Dormant: true})
		}}}, scan.Suspicious, scan.Complete, []string{"scan.fake.thing"}, ""},
		{"child_without_content", []scan.Format{fake{id: "a", scan: func(ctx context.Context, _ *scan.Artifact, out *scan.Sink) error {
			return out.Child(ctx, scan.Child{Name: "x", Size: 5})
		}}}, scan.Unknown, scan.Failed, nil, "without content"},
		{"endless_nesting", []scan.Format{fake{id: "a", scan: func(ctx context.Context, a *scan.Artifact, out *scan.Sink) error {
			return out.Child(ctx, scan.Child{Name: "x", Reader: a, Size: a.Size})
		}}}, scan.Unknown, scan.Inconclusive, nil, "levels of nesting"},
		{"swallowed_budget", []scan.Format{fake{id: "a", scan: func(_ context.Context, a *scan.Artifact, out *scan.Sink) error {
			a.Spend(scan.Opcodes, 1<<40)
			return claimAll(context.Background(), a, out)
		}}}, scan.Unknown, scan.Inconclusive, nil, "pickle opcodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{Formats: tt.formats}, "file", data)
			if f.Verdict != tt.verdict || f.Completeness != tt.complete || !slices.Equal(rules(f), tt.want) {
				report(t, f)
				t.Errorf("%s, %s, %v; want %s, %s, %v", f.Verdict, f.Completeness, rules(f), tt.verdict, tt.complete, tt.want)
			}
			if got := strings.Join(reasons(f), "\n"); !strings.Contains(got, tt.reason) || tt.reason == "" && got != "" {
				t.Errorf("gaps %q, want %q", got, tt.reason)
			}
		})
	}
}

// TestBudgets lowers each limit in turn: what was not looked at is a gap.
func TestBudgets(t *testing.T) {
	text := bytes.Repeat([]byte("text "), 1000)
	nested := build.Zip(build.Member{Name: "a", Data: build.Zip(build.Member{Name: "b", Data: build.Zip(build.Member{Name: "c", Data: text})})})
	var many []build.Member
	for i := range 50 {
		many = append(many, build.Member{Name: fmt.Sprintf("../%d", i), Data: text})
	}
	for _, tt := range []struct {
		name   string
		limits scan.Limits
		data   []byte
		reason string
	}{
		{"bytes", scan.Limits{Bytes: 6000}, build.Zip(build.Member{Name: "a", Data: bytes.Repeat(text, 10), Method: 8}), "bytes read or decoded"},
		{"entries", scan.Limits{Entries: 10}, build.Zip(many...), "10 entries"},
		{"depth", scan.Limits{Depth: 1}, nested, "1 levels of nesting"},
		{"opcodes", scan.Limits{Opcodes: 3}, build.Harmless(), ""},
		{"time", scan.Limits{Time: 1}, nested, "of wall time"},
		{"memory", scan.Limits{Memory: 100}, mustJSON(map[string]string{"model_type": strings.Repeat("bert ", 40)}), "held in memory"},
		{"findings", scan.Limits{Findings: 5}, build.Zip(many...), "more than 5 findings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{Limits: tt.limits}, "file", tt.data)
			if f.Completeness == scan.Complete || f.Verdict == scan.Clean {
				report(t, f)
				t.Errorf("%s, %s", f.Verdict, f.Completeness)
			}
			if got := strings.Join(reasons(f), "\n"); !strings.Contains(got, tt.reason) || strings.Contains(got, "missing") {
				t.Errorf("gaps %q, want %q and nothing missing", got, tt.reason)
			}
			if whole := one(t, scan.Scanner{}, "file", tt.data); whole.Completeness != scan.Complete {
				t.Errorf("with default limits: %s %q", whole.Completeness, reasons(whole))
			}
		})
	}
}

// TestBomb decodes no further than the ratio allows.
func TestBomb(t *testing.T) {
	data := build.Gzip(make([]byte, 8<<20))
	f := one(t, scan.Scanner{Limits: scan.Limits{Bomb: 4 << 20, Memory: 1 << 20}}, "a.gz", data)
	if f.Inside[0].Size > 5<<20 {
		t.Errorf("decoded %d bytes", f.Inside[0].Size)
	}
	if !slices.Contains(rules(f), "scan.archive.bomb") || f.Completeness == scan.Complete {
		report(t, f)
		t.Error("not seen as a bomb")
	}
}

// TestSpill decodes more than the memory limit allows to keep, and still reads
// the ends and the middle of it.
func TestSpill(t *testing.T) {
	long := bytes.Repeat([]byte("some text that does not compress to nothing 0123456789\n"), 40_000)
	for name, tt := range map[string]struct {
		data []byte
		want scan.Verdict
	}{
		"text":     {long, scan.Clean},
		"no_text":  {append(long[:len(long):len(long)], 0, 1, 2), scan.Unknown},
		"zip_tail": {append(long[:len(long):len(long)], build.Zip(build.Member{Name: "../x", Data: []byte("x")})...), scan.Malicious},
	} {
		t.Run(name, func(t *testing.T) {
			f := one(t, scan.Scanner{Limits: scan.Limits{Memory: 100_000}}, "x.gz", build.Gzip(tt.data))
			inner := f.Inside[0]
			if inner.Verdict != tt.want || inner.Size != int64(len(tt.data)) {
				report(t, f)
				t.Errorf("%s of %d bytes, want %s of %d", inner.Verdict, inner.Size, tt.want, len(tt.data))
			}
		})
	}
}

// mixed is a folder with a little of everything.
func mixed() map[string][]byte {
	files := map[string][]byte{
		"README.md":              []byte("# model\n"),
		"config.json":            []byte(`{"auto_map": {"AutoModel": "a.B"}}`),
		"model.safetensors":      build.Safetensors(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, make([]byte, 16)),
		"modeling_x.py":          []byte("import os\n"),
		"m.onnx":                 build.ONNX(nil, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", "w.data", "length", "16")}),
		"w.data":                 make([]byte, 16),
		"sub/bad.zip":            build.Zip(build.Member{Name: "../x", Data: build.Attack()}),
		"sub/noise.bin":          {0xff, 0xd8, 1},
		"sub/deep/a.tar":         build.Tar(build.TarMember{Name: "x.pkl", Data: build.Harmless()}),
		"sub/deep/lib.so":        build.ELF(),
		"sub/deep/odd!name%.txt": []byte("x"),
	}
	for i := range 40 {
		files[fmt.Sprintf("many/%02d.pkl", i)] = build.Harmless()
	}
	return files
}

func TestWorkersDoNotMatter(t *testing.T) {
	want := folder(t, scan.Scanner{Workers: 1}, mixed())
	for _, workers := range []int{2, 8} {
		got := folder(t, scan.Scanner{Workers: workers}, mixed())
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(scan.Result{}, scan.FileResult{})); diff != "" {
			t.Errorf("workers=%d (-1 +n):\n%s", workers, diff)
		}
		for name, seq := range map[string][2]any{
			"subjects": {slices.Collect(want.Subjects()), slices.Collect(got.Subjects())},
			"findings": {slices.Collect(want.Findings()), slices.Collect(got.Findings())},
			"gaps":     {slices.Collect(want.Gaps()), slices.Collect(got.Gaps())},
		} {
			if diff := cmp.Diff(seq[0], seq[1]); diff != "" {
				t.Errorf("workers=%d %s:\n%s", workers, name, diff)
			}
		}
	}
}

func TestFolder(t *testing.T) {
	res := folder(t, scan.Scanner{}, mixed())
	got := make(map[string][]string)
	for i := range res.Files {
		f := &res.Files[i]
		if f.Digest == "" {
			t.Errorf("%s has no digest", f.Path)
		}
		if ids := rules(f); ids != nil && !strings.HasSuffix(f.Path, "bad.zip") {
			got[f.Path] = ids
		}
	}
	want := map[string][]string{
		"config.json":     {"scan.config.auto-map"},
		"modeling_x.py":   {"scan.repo.python-code"},
		"sub/deep/lib.so": {"scan.file.executable"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for f := range res.Findings() {
		if err := f.Check(); err != nil {
			t.Error(err)
		}
		if f.Subject.Path == "config.json" && f.Subject.Digest == "" {
			t.Error("the subject of a finding has no digest")
		}
	}
	if res.Verdict() != scan.Malicious || res.Completeness() != scan.Inconclusive {
		t.Errorf("%s, %s", res.Verdict(), res.Completeness())
	}
	if v := prerun.Decide(res, prerun.Medium); v != prerun.Fail {
		t.Errorf("decided %s", v)
	}
}

// TestLinks checks on a real folder that no link is followed out of it, and
// that links inside are read under their own name.
func TestLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	write(filepath.Join(outside, "secret.txt"), []byte("secret\n"))
	write(filepath.Join(dir, "store/abc"), []byte(`{"trust_remote_code": true}`))
	link("../../store/abc", filepath.Join(dir, "views/1/config.json"))
	link("../store", filepath.Join(dir, "views/all"))
	link("all/abc", filepath.Join(dir, "views/through"))
	link(filepath.Join(outside, "secret.txt"), filepath.Join(dir, "absolute"))
	link("../../../../../../etc/passwd", filepath.Join(dir, "climbs"))
	link("nowhere", filepath.Join(dir, "dangling"))
	link("loop", filepath.Join(dir, "loop"))

	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	res, err := scan.Scanner{}.Scan(t.Context(), root.FS())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for i := range res.Files {
		f := &res.Files[i]
		got[f.Path] = fmt.Sprintf("%s %s %s", f.Verdict, f.Completeness, strings.Join(rules(f), " "))
	}
	want := map[string]string{
		"store/abc":           "suspicious complete scan.config.trust-remote-code",
		"views/1/config.json": "suspicious complete scan.config.trust-remote-code",
		"views/all":           "clean complete ",
		"views/through":       "suspicious complete scan.config.trust-remote-code",
		"absolute":            "suspicious inconclusive scan.tree.link-escape",
		"climbs":              "suspicious inconclusive scan.tree.link-escape",
		"dangling":            "suspicious inconclusive scan.tree.link-escape",
		"loop":                "unknown inconclusive ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (scan.Scanner{}).Scan(ctx, fstest.MapFS{"a": {Data: []byte("x")}}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := (scan.Scanner{}).ScanFile(ctx, "a", bytes.NewReader(nil), 0); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("formats", func(t *testing.T) {
		for _, formats := range [][]scan.Format{{nil}, {fake{}}, {fake{id: "a"}, fake{id: "a"}}} {
			if _, err := (scan.Scanner{Formats: formats}).Scan(t.Context(), fstest.MapFS{}); err == nil {
				t.Errorf("%v: no error", formats)
			}
		}
	})
	t.Run("input", func(t *testing.T) {
		if _, err := (scan.Scanner{}).ScanFile(t.Context(), "a", nil, 1); err == nil {
			t.Error("no error without a reader")
		}
		if _, err := (scan.Scanner{}).ScanFile(t.Context(), "", bytes.NewReader(nil), 0); err == nil {
			t.Error("no error without a name")
		}
	})
	t.Run("short_file", func(t *testing.T) {
		res, err := scan.Scanner{}.ScanFile(t.Context(), "a", bytes.NewReader([]byte("abc")), 10)
		if err != nil {
			t.Fatal(err)
		}
		if f := res.Files[0]; f.Completeness != scan.Failed || f.Verdict != scan.Unknown {
			t.Errorf("%s, %s", f.Verdict, f.Completeness)
		}
	})
	t.Run("zero_result", func(t *testing.T) {
		for _, r := range []*scan.Result{nil, {}} {
			if n := len(slices.Collect(r.Gaps())); n != 1 {
				t.Errorf("%d gaps", n)
			}
		}
	})
	t.Run("empty_folder", func(t *testing.T) {
		res, err := scan.Scanner{}.Scan(t.Context(), fstest.MapFS{})
		if err != nil {
			t.Fatal(err)
		}
		if v := prerun.Decide(res, prerun.Medium); v != prerun.Incomplete {
			t.Errorf("decided %s", v)
		}
	})
}

// streamFS hides ReadAt, as file systems over streams do.
type streamFS struct{ fstest.MapFS }

type streamFile struct{ fs.File }

func (s streamFS) Open(name string) (fs.File, error) {
	f, err := s.MapFS.Open(name)
	if info, ierr := fs.Stat(s.MapFS, name); err == nil && ierr == nil && !info.IsDir() {
		return streamFile{f}, nil
	}
	return f, err
}

func TestWithoutReadAt(t *testing.T) {
	fsys := fstest.MapFS{"a.zip": {Data: build.Zip(build.Member{Name: "../x", Data: []byte("x")})}}
	want, err := scan.Scanner{}.Scan(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := scan.Scanner{}.Scan(t.Context(), streamFS{fsys})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Files, got.Files, cmpopts.IgnoreUnexported(scan.FileResult{})); diff != "" {
		t.Errorf("(-random +stream):\n%s", diff)
	}
}

func TestRules(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range scan.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if seen[r.ID] || !strings.HasPrefix(r.ID, "scan.") {
			t.Errorf("rule %q is there twice or has a foreign id", r.ID)
		}
		seen[r.ID] = true
	}
	if len(seen) < 40 {
		t.Errorf("%d rules", len(seen))
	}
}

// Text under a name that loaders open is a model that nobody could read.
func TestTextUnderModelName(t *testing.T) {
	for name, content := range map[string]string{
		"model.safetensors": "hello\n", "model.pkl": "hello\n", "pytorch_model.bin": `{"a": 1}`,
		"cut.pkl": "(lp0\nI1\naI2\n", "model.onnx": "not here\n",
	} {
		r, err := scan.Scanner{}.Scan(t.Context(), fstest.MapFS{name: {Data: []byte(content)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := prerun.Decide(r, prerun.Medium); got == prerun.Pass {
			t.Errorf("%s: %v", name, got)
		}
	}
	r, err := scan.Scanner{}.Scan(t.Context(), fstest.MapFS{"vocab.txt": {Data: []byte("hello\n")}, "config.json": {Data: []byte("{}")}})
	if err != nil || prerun.Decide(r, prerun.Medium) != prerun.Pass {
		t.Errorf("text under its own name: %v, %v", prerun.Decide(r, prerun.Medium), err)
	}
}

// A house with its own classes hands in its own allow list, and nothing else
// about the judgement changes.
func TestPicklesUnderAnotherPolicy(t *testing.T) {
	profiles, err := globals.ParseProfiles("profile acme\nacme.models: Ranker\n")
	if err != nil {
		t.Fatal(err)
	}
	formats := scan.Builtin()
	for i, f := range formats {
		if f.Info().ID == "pickle" {
			formats[i] = scan.Pickles(globals.Policy{Profiles: append(globals.Profiles(), profiles...)})
		}
	}
	for _, tt := range []struct {
		name, pickle string
		builtin, own prerun.Verdict
	}{
		{"own_class", "cacme.models\nRanker\n(tR.", prerun.Fail, prerun.Pass},
		{"neighbour", "cacme.models\nLoader\n(tR.", prerun.Fail, prerun.Fail},
		{"denied", "cos\nsystem\n(S'id'\ntR.", prerun.Fail, prerun.Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{"m.pkl": {Data: []byte(tt.pickle)}}
			for _, c := range []struct {
				scanner scan.Scanner
				want    prerun.Verdict
			}{{scan.Scanner{}, tt.builtin}, {scan.Scanner{Formats: formats}, tt.own}} {
				r, err := c.scanner.Scan(t.Context(), tree)
				if err != nil {
					t.Fatal(err)
				}
				if got := prerun.Decide(r, prerun.Medium); got != c.want {
					t.Errorf("%v, want %v", got, c.want)
				}
			}
		})
	}
}

// TestThirdParty holds the format of [ExampleFormat], which the documentation
// points to, against the kit.
func TestThirdParty(t *testing.T) {
	scantest.TestFormat(t, acme{}, []scantest.Sample{
		{Name: "plain.acme", Data: []byte("ACME\nhello\n")},
		{Name: "other_name", Data: []byte("ACMEturbo\nhello\n"), Rules: []string{"scan.acme.plugin"}},
	}, []scantest.Sample{
		{Name: "lower.acme", Data: []byte("acme\nhello\n")},
		{Name: "text", Data: []byte("hello\n")},
		{Name: "empty.acme"},
	})
}

// A third party's format takes the place of a built-in one, or that one is left
// out: the list says what is asked.
func TestReplaceFormat(t *testing.T) {
	without := slices.DeleteFunc(scan.Builtin(), func(f scan.Format) bool { return f.Info().ID == "safetensors" })
	mine := fake{id: "safetensors", scan: func(_ context.Context, a *scan.Artifact, out *scan.Sink) error {
		out.Claim(0, a.Size)
		out.Fact("by", "mine")
		return nil
	}}
	data := build.Safetensors(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, []byte{1})
	for name, tt := range map[string]struct {
		formats  []scan.Format
		complete scan.Completeness
		by       string
	}{
		"built_in": {scan.Builtin(), scan.Complete, ""},
		"removed":  {without, scan.Inconclusive, ""},
		"replaced": {append(slices.Clone(without), mine), scan.Complete, "mine"},
	} {
		f := one(t, scan.Scanner{Formats: tt.formats}, "m.safetensors", data)
		if f.Completeness != tt.complete || f.Facts["by"] != tt.by || (tt.complete == scan.Complete) != slices.Contains(f.Formats, "safetensors") {
			t.Errorf("%s: %s, %v, by %q", name, f.Completeness, f.Formats, f.Facts["by"])
		}
	}
}

// Weights are not read, whatever letter the header's length starts with: some of
// them are opcodes whose argument is a line.
func TestWeightsAreNotRead(t *testing.T) {
	const size int64 = 20 << 30
	for length := 72; length <= 256; length += 8 {
		header := fmt.Sprintf("%-*s", length, fmt.Sprintf(`{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, size, size))
		r := &holes{head: build.Safetensors(header, nil)}
		n := int64(len(r.head)) + size
		res, err := scan.Scanner{NoDigests: true}.ScanFile(t.Context(), "m.safetensors", r, n)
		if err != nil {
			t.Fatal(err)
		}
		if f := res.Files[0]; f.Verdict != scan.Clean || r.read > 17<<20 {
			t.Errorf("header of %d bytes: %s, %d bytes read", length, f.Verdict, r.read)
		}
	}
}

// holes is a file whose bytes after its head are zero.
type holes struct {
	head []byte
	read int64
}

func (h *holes) ReadAt(p []byte, off int64) (int, error) {
	h.read += int64(len(p))
	clear(p)
	if off < int64(len(h.head)) {
		copy(p, h.head[off:])
	}
	return len(p), nil
}
