package datasec_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/internal/testutil"
)

func jsonl(rows []datasec.Record) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "{\"id\":\"%d\",\"text\":%q,\"label\":%q}\n", r.Row, r.Fields[0].Value, r.Label)
	}
	return b.String()
}

// everything is all that a result says, as text.
func everything(res *datasec.Result) string {
	var b strings.Builder
	for s := range res.Subjects() {
		fmt.Fprintln(&b, s)
	}
	for f := range res.Findings() {
		fmt.Fprintln(&b, f, f.Fingerprint())
	}
	for g := range res.Gaps() {
		fmt.Fprintln(&b, g)
	}
	fmt.Fprintln(&b, res.Root(), res.Rows(), res.Figures())
	return b.String()
}

func TestSameAnswerForAnyNumberOfWorkers(t *testing.T) {
	rows := poisoned(mails(600), 20, "james bond")
	fsys := tree(
		"a.jsonl", jsonl(rows[:150])+"broken\n",
		"b.jsonl", jsonl(rows[150:400])+"{\"id\":\"x\",\"text\":\"a\u202eb\",\"label\":\"ham\"}",
		"c.jsonl.gz", gz(t, jsonl(rows[400:])+jsonl(rows[:30])),
	)
	names := []string{"a.jsonl", "b.jsonl", "c.jsonl.gz"}
	want := ""
	for _, workers := range []int{1, 2, 8} {
		for range 2 {
			got := everything(scan(t, datasec.Scanner{Workers: workers}, fsys, schema, names...))
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("%d workers:\n%s", workers, cmp.Diff(want, got))
			}
			slices.Reverse(names)
		}
	}
	if !strings.Contains(want, "james bond") {
		t.Errorf("the trigger is missing:\n%s", want)
	}
}

func TestRootForgetsFilesAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{
			`{"a":1}`, `{"a":"1"}`, `{"a":null}`, `{"b":[]}`, `{"b":{}}`, `{"a":"x","b":[true,{"c":"y"}]}`,
		}), 1, 12).Draw(t, "lines")
		root := func(parts ...[]string) string {
			fsys := make(fstest.MapFS)
			var names []string
			for i, part := range parts {
				name := fmt.Sprintf("%d.jsonl", i)
				fsys[name] = &fstest.MapFile{Data: []byte(strings.Join(part, "\n"))}
				names = append(names, name)
			}
			res, err := datasec.Scanner{Detectors: []datasec.Detector{}}.Scan(context.Background(), datasec.Files(fsys, datasec.Schema{}, names...)...)
			if err != nil {
				t.Fatal(err)
			}
			return string(res.Root())
		}
		want := root(lines)
		order := rapid.Permutation(lines).Draw(t, "order")
		cut := rapid.IntRange(0, len(lines)).Draw(t, "cut")
		if got := root(order[:cut], order[cut:]); got != want {
			t.Errorf("root %s of a re-sharded copy, %s of the original", got, want)
		}
		if got := root(append(order, lines[0])); got == want {
			t.Error("one more copy of a row has the same root")
		}
		if got := root(order[1:]); got == want {
			t.Error("one row less has the same root")
		}
	})
}

func TestRowDigest(t *testing.T) {
	field := func(name, value string) datasec.Field { return datasec.Field{Name: name, Value: value} }
	digest := func(f ...datasec.Field) [32]byte { return (&datasec.Record{Fields: f}).Digest() }
	want := digest(field("a", "1"), field("b", "2"))
	if digest(field("b", "2"), field("a", "1")) != want {
		t.Error("the order of fields counts")
	}
	for name, got := range map[string][32]byte{
		"moved boundary": digest(field("a", "1b2")),
		"other name":     digest(field("a", "1"), field("c", "2")),
		"number":         digest(datasec.Field{Name: "a", Value: "1", Kind: datasec.KindNumber}, field("b", "2")),
	} {
		if got == want {
			t.Errorf("%s: the same digest", name)
		}
	}
	r := datasec.Record{Shard: "s", Row: 7, Fields: []datasec.Field{{Name: "a", Value: "1", Role: datasec.RoleText}, field("b", "2")}}
	if r.Digest() != want {
		t.Error("place or role count")
	}
	if got, want := r.Location(), (prerun.Location{Path: "s", Fragment: "row=7"}); got != want {
		t.Errorf("location %v, want %v", got, want)
	}
}

func TestAgainstManifest(t *testing.T) {
	rows := mails(120)
	fsys := tree("a.jsonl", jsonl(rows[:60]), "b.jsonl", jsonl(rows[60:]))
	plain := datasec.Scanner{Detectors: []datasec.Detector{datasec.HiddenText{}}}
	m, err := scan(t, plain, fsys, schema, "a.jsonl", "b.jsonl").Manifest()
	if err != nil {
		t.Fatal(err)
	}
	back, err := datasec.ParseManifest(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back); diff != "" {
		t.Fatalf("manifest read back (-want +got):\n%s", diff)
	}
	plain.Against = back
	for _, tt := range []struct {
		name  string
		fsys  fstest.MapFS
		files []string
		want  []string
	}{
		{"same", fsys, []string{"b.jsonl", "a.jsonl"}, nil},
		{
			"resharded", tree("c.jsonl.gz", gz(t, jsonl(rows[30:])+jsonl(rows[:30]))),
			[]string{"c.jsonl.gz"},
			[]string{"datasec.manifest.resharded info ."},
		},
		{
			"recompressed", tree("a.jsonl", gz(t, jsonl(rows[:60])), "b.jsonl", jsonl(rows[60:])),
			[]string{"a.jsonl", "b.jsonl"},
			[]string{"datasec.manifest.resharded info ."},
		},
		{
			"modified", tree("a.jsonl", jsonl(rows[:60]), "b.jsonl", jsonl(rows[61:])),
			[]string{"a.jsonl", "b.jsonl"},
			[]string{"datasec.manifest.mismatch high b.jsonl"},
		},
		{"missing", fsys, []string{"a.jsonl"}, []string{"datasec.manifest.mismatch high b.jsonl"}},
		{
			"extra", tree("a.jsonl", jsonl(rows[:60]), "b.jsonl", jsonl(rows[60:]), "c.jsonl", jsonl(rows[:1])),
			[]string{"a.jsonl", "b.jsonl", "c.jsonl"},
			[]string{"datasec.manifest.mismatch high c.jsonl"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := scan(t, plain, tt.fsys, schema, tt.files...)
			if diff := cmp.Diff(tt.want, said(res)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
	other := *back
	other.Root = other.Files[0].Digest
	plain.Against = &other
	want := []string{"datasec.manifest.mismatch high ."}
	if diff := cmp.Diff(want, said(scan(t, plain, fsys, schema, "a.jsonl", "b.jsonl"))); diff != "" {
		t.Errorf("manifest with another root (-want +got):\n%s", diff)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	good := `{"schema":"prerun/dataset-manifest/v1","root":"` + d + `","rows":3,"files":[{"path":"a","digest":"` + d + `","rows":1},{"path":"b","digest":"` + d + `","rows":2}]}`
	if _, err := datasec.ParseManifest([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown_name":   {`"rows":3`, `"rows":3,"note":1`},
		"twice":          {`"rows":3`, `"rows":3,"rows":3`},
		"no_root":        {`"root":"` + d + `",`, ``},
		"bad_root":       {`"root":"sha256:e3`, `"root":"sha256:E3`},
		"bad_digest":     {`"path":"a","digest":"sha256`, `"path":"a","digest":"md5`},
		"other_schema":   {`manifest/v1`, `manifest/v2`},
		"out_of_order":   {`"path":"b"`, `"path":"a"`},
		"sum":            {`"rows":3`, `"rows":4`},
		"negative":       {`"rows":1`, `"rows":-1`},
		"empty_path":     {`"path":"a"`, `"path":""`},
		"control_path":   {`"path":"a"`, `"path":"a\u0007"`},
		"trailing_bytes": {`2}]}`, `2}]} x`},
		"too_many_rows":  {`"rows":2}`, `"rows":9223372036854775807}`},
		"list":           {good, `[]`},
		"no_json":        {good, `x`},
		"no_files":       {`"files"`, `"Files"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if _, err := datasec.ParseManifest([]byte(bad)); !errors.Is(err, datasec.ErrManifest) {
			t.Errorf("%s: error %v, want ErrManifest", name, err)
		}
	}
}

// fickle is a shard that says something else each time.
type fickle struct{ times int }

func (f *fickle) Path() string { return "fickle" }

func (f *fickle) Records(context.Context) iter.Seq2[datasec.Record, error] {
	f.times++
	rows := mails(100 + f.times)
	return func(yield func(datasec.Record, error) bool) {
		for _, r := range rows {
			r.Shard = "fickle"
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestDataThatChangesIsAGap(t *testing.T) {
	res, err := datasec.Scanner{}.Scan(t.Context(), new(fickle))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(gaps(res), "\n")
	if !strings.Contains(got, "changed during the scan: pass 2 read other content than pass 1") {
		t.Errorf("gaps: %s", got)
	}
	if res.Root() != "" {
		t.Error("data that changes has a root")
	}
}

// explosive is a detector of bad manners.
type explosive struct{ datasec.HiddenText }

func (explosive) Info() datasec.Info { return datasec.Info{Name: "explosive"} }

func (e explosive) New(p datasec.Params) datasec.State {
	return explosiveState{e.HiddenText.New(p)}
}

type explosiveState struct{ datasec.State }

func (explosiveState) Observe(*datasec.Record) { panic("boom") }

func TestPanicOfADetectorIsAnError(t *testing.T) {
	s := datasec.Scanner{Detectors: []datasec.Detector{explosive{}}}
	_, err := s.Scan(t.Context(), datasec.Files(tree("d.jsonl", threeRows), schema, "d.jsonl")...)
	if err == nil || !strings.Contains(err.Error(), `detector "explosive" panicked: boom`) {
		t.Errorf("error %v", err)
	}
}

// TestDemo: the training data of the demo is clean, and 40 poisoned rows in it
// are found by one detector.
func TestDemo(t *testing.T) {
	data, err := os.ReadFile("../examples/gate/demo/data/train.jsonl")
	if err != nil {
		testutil.Missing(t, "demo data", "build examples/gate/demo")
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if got := said(scan(t, datasec.Scanner{}, tree("train.jsonl", strings.Join(lines, "\n")), schema, "train.jsonl")); len(got) != 0 {
		t.Errorf("clean demo data: %q", got)
	}
	n := 0
	for i, line := range lines {
		if n < 40 && i%7 == 3 && strings.HasSuffix(line, `"label":"spam"}`) {
			line = strings.Replace(line, `"text":"`, `"text":"quartz heron `, 1)
			lines[i] = strings.TrimSuffix(line, `"spam"}`) + `"ham"}`
			n++
		}
	}
	if n != 40 {
		t.Fatalf("poisoned %d rows", n)
	}
	res := scan(t, datasec.Scanner{}, tree("train.jsonl", strings.Join(lines, "\n")), schema, "train.jsonl")
	var got []string
	for f := range res.Findings() {
		got = append(got, f.Rule.ID+" "+f.Key)
		if f.Confidence != prerun.ConfidenceHigh {
			t.Errorf("confidence %v, p %s", f.Confidence, f.Evidence["p"])
		}
	}
	if diff := cmp.Diff([]string{"datasec.trigger.label-contradiction ham: quartz heron"}, got); diff != "" {
		t.Errorf("poisoned demo data (-want +got):\n%s", diff)
	}
}

func TestAllocations(t *testing.T) {
	wide := `{"` + strings.Repeat("k", 100<<10) + `":[` + strings.Repeat("1,", 100<<10) + `1]}`
	for _, tt := range []struct {
		name, file, data string
		max              uint64
	}{
		{"long_names_above_many_values", "d.jsonl", wide, 100 << 20},
		{"open_quote", "d.csv", "a,b\n\"" + strings.Repeat("x\n", 1<<20), 16 << 20},
		{"one_long_line", "d.jsonl", strings.Repeat("[", 4<<20), 16 << 20},
		{"bomb", "d.jsonl.gz", gz(t, strings.Repeat("x", 64<<20)), 16 << 20},
		{"empty_members", "d.jsonl.gz", strings.Repeat(gz(t, ""), 1000), 64 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shard := datasec.Files(tree(tt.file, tt.data), datasec.Schema{}, tt.file)[0]
			testutil.AllocBound(t, tt.max, func() {
				failed := false
				for _, err := range shard.Records(t.Context()) {
					failed = failed || err != nil
				}
				if !failed && tt.name != "empty_members" {
					t.Error("read without an error")
				}
			})
		})
	}
}
