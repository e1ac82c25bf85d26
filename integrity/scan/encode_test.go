package scan_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// The form is fixed: whoever reads results elsewhere relies on it.
func TestEncode(t *testing.T) {
	s := scan.Scanner{RuleSets: []*scan.RuleSet{set(t, `"refs": [{"catalogue": "CWE", "edition": "4.16", "id": "CWE-829"}], "globals": [{"module": "a"}]`)}}
	res := folder(t, s, map[string][]byte{
		"b.zip": build.Zip(build.Member{Name: "x.pkl", Data: imports("a", "b", "")}),
		"a.bin": {0xff, 1},
	})
	got, err := res.Encode()
	if err != nil {
		t.Fatal(err)
	}
	digest := string(res.RuleSets[0].Digest)
	want := `{"schema":"prerun/scan-result/v1","rule_sets":[{"name":"x","digest":"` + digest + `"}],` +
		`"rules":[{"id":"custom.x.y","title":"t","severity":"high","help":"h","refs":[{"catalogue":"CWE","edition":"4.16","id":"CWE-829"}]},` +
		`{"id":"scan.pickle.unlisted-global","title":"unknown name","severity":"low","help":"The file names a Python object that is on no list of what models need, without calling it. Importing its module runs that module's own code. Check what the name is, or convert the model to safetensors.","refs":[{"catalogue":"CWE","edition":"4.16","id":"CWE-502"}]}],` +
		`"files":[{"path":"a.bin","size":2,"digest":"` + string(res.Files[0].Digest) + `","verdict":"unknown","completeness":"inconclusive","gaps":[{"location":{},"reason":"no format recognised this file, and loaders open files of that name"}]},` +
		`{"path":"b.zip","size":` + jsonNumber(res.Files[1].Size) + `,"digest":"` + string(res.Files[1].Digest) + `","verdict":"malicious","completeness":"complete","formats":["zip"],` +
		`"inside":[{"path":"b.zip!/x.pkl","size":8,"verdict":"malicious","completeness":"complete","formats":["pickle"],` +
		`"facts":{"weights_only":"no: a.b is not one of the names it allows"},` +
		`"findings":[{"rule":"custom.x.y","severity":"high","confidence":"high","locations":[{"offset":2,"length":1}],"message":"\"a.b\" is named","key":"a.b"},` +
		`{"rule":"scan.pickle.unlisted-global","severity":"low","confidence":"high","locations":[{"offset":2,"length":1}],"message":"\"a.b\" is named and on no list","key":"a.b"}],` +
		`"globals":[{"module":"a","name":"b","grade":"unlisted"}]}]}]}`
	if facts := res.Files[1].Inside[0].Facts["weights_only"]; facts != "" {
		want = strings.Replace(want, "no: a.b is not one of the names it allows", strings.ReplaceAll(facts, `"`, `\"`), 1)
	}
	if top := res.Files[1].Facts["weights_only"]; top != "" {
		want = strings.Replace(want, `"formats":["zip"],`, `"formats":["zip"],"facts":{"weights_only":"`+strings.ReplaceAll(top, `"`, `\"`)+`"},`, 1)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func jsonNumber(n int64) string { return strconv.FormatInt(n, 10) }

func TestParseResultRefuses(t *testing.T) {
	good := string(encodes(t, folder(t, scan.Scanner{}, map[string][]byte{"a.pkl": build.Attack(), "b.bin": {0xff, 1}, "c.txt": []byte("hello\n")})))
	for name, tt := range map[string]struct{ from, to, want string }{
		"schema":            {"scan-result/v1", "scan-result/v2", "schema"},
		"unknown_member":    {`"size":2,`, `"size":2,"note":"x",`, "note"},
		"duplicate_member":  {`"size":2,`, `"size":2,"size":2,`, "size"},
		"blank":             {`{"schema"`, `{ "schema"`, "one form"},
		"newline":           {`"files":[`, "\"files\":[\n", "one form"},
		"no_rule":           {`"rule":"scan.pickle.call-on-load"`, `"rule":"scan.pickle.x"`, "is not there"},
		"unused_rule":       {`"rules":[`, `"rules":[{"id":"a.b.c","title":"t","severity":"low","help":"h"},`, "one form"},
		"clean_attack":      {`"verdict":"malicious"`, `"verdict":"clean"`, "contradicts"},
		"milder_attack":     {`"verdict":"malicious"`, `"verdict":"suspicious"`, "contradicts"},
		"milder_finding":    {`"severity":"critical","confidence"`, `"severity":"grave","confidence"`, "severity"},
		"unknown_verdict":   {`"verdict":"malicious"`, `"verdict":"fine"`, "verdict"},
		"complete_with_gap": {`"completeness":"inconclusive"`, `"completeness":"complete"`, "contradicts"},
		"gap_lost":          {`,"gaps":[{"location":{},"reason":"no format recognised this file, and loaders open files of that name"}]`, "", "nothing says why"},
		"order":             {`"path":"a.pkl"`, `"path":"d.pkl"`, "comes after"},
		"twice":             {`"path":"a.pkl"`, `"path":"b.bin"`, "comes after"},
		"path":              {`"path":"a.pkl"`, `"path":"a%"`, "escape"},
		"digest":            {`"digest":"sha256:`, `"digest":"sha256:x`, "digest"},
		"size":              {`"size":2,`, `"size":-2,`, "size"},
		"number":            {`"size":2,`, `"size":2.0,`, "size"},
		"trailing":          {`"formats":["text"]}]}`, `"formats":["text"]}]}x`, "more data"},
	} {
		bad := strings.Replace(good, tt.from, tt.to, 1)
		if bad == good {
			t.Errorf("%s: nothing changed", name)
			continue
		}
		if _, err := scan.ParseResult([]byte(bad)); !errors.Is(err, scan.ErrResult) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := scan.ParseResult([]byte(good)); err != nil {
		t.Error(err)
	}
}

// The zero result and one of nothing are encoded too, and are no clean result
// when they come back.
func TestEncodeNothing(t *testing.T) {
	for _, r := range []*scan.Result{{}, folder(t, scan.Scanner{}, nil)} {
		again, err := scan.ParseResult(encodes(t, r))
		if err != nil || prerun.Decide(again, prerun.Critical) != prerun.Incomplete {
			t.Errorf("%v, %v", again, err)
		}
	}
}

// TestNothingRecognised: what no format knows passes beside what one knows, and
// not alone.
func TestNothingRecognised(t *testing.T) {
	odd, text := []byte{0xff, 0xd8, 0, 1, 2, 3}, []byte("hello\n")
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		want  prerun.Verdict
		gaps  []string
	}{
		{"alone", map[string][]byte{"picture": odd}, prerun.Incomplete, []string{"picture: nothing was recognised"}},
		{"several", map[string][]byte{"a": odd, "b": odd}, prerun.Incomplete, []string{".: nothing was recognised"}},
		{"loadable_data", map[string][]byte{"a.json": []byte("{}"), "b.ptd": odd}, prerun.Incomplete, []string{"b.ptd: no format recognised this file, and loaders open files of that name"}},
		{"loadable", map[string][]byte{"a": odd, "b.pt": odd}, prerun.Incomplete, []string{"b.pt: no format recognised this file, and loaders open files of that name"}},
		{"beside_text", map[string][]byte{"picture": odd, "README.md": text}, prerun.Pass, nil},
		{"empty", map[string][]byte{"a": nil}, prerun.Pass, nil},
		{"beside_attack", map[string][]byte{"picture": odd, "a.pkl": build.Attack()}, prerun.Fail, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := folder(t, scan.Scanner{}, tt.files)
			again, err := scan.ParseResult(encodes(t, res))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*scan.Result{res, again} {
				var gaps []string
				for g := range r.Gaps() {
					gaps = append(gaps, g.Location.Path+": "+g.Reason)
				}
				if d := prerun.Decide(r, prerun.Medium); d != tt.want || !slices.Equal(gaps, tt.gaps) {
					t.Errorf("%s with gaps %q, want %s with %q", d, gaps, tt.want, tt.gaps)
				}
				if (r.Completeness() == scan.Complete) != (len(gaps) == 0) {
					t.Errorf("%s with gaps %q", r.Completeness(), gaps)
				}
			}
		})
	}
}

func FuzzResult(f *testing.F) {
	attack := build.Zip(build.Member{Name: "x", Data: build.Attack()})
	res, err := scan.Scanner{}.ScanFile(f.Context(), "a.zip", bytes.NewReader(attack), int64(len(attack)))
	if err != nil {
		f.Fatal(err)
	}
	data, err := res.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema":"prerun/scan-result/v1","files":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := scan.ParseResult(data)
		if err != nil {
			if !errors.Is(err, scan.ErrResult) {
				t.Error(err)
			}
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v: another encoding", err)
		}
		for x := range r.Findings() {
			_ = x.Fingerprint()
		}
	})
}
