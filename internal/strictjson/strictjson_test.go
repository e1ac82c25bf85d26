package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/internal/testutil"
)

func TestParseAccepts(t *testing.T) {
	for _, s := range []string{
		`null`, `true`, `false`, `0`, `-0.5e+10`, `""`, `[]`, `{}`, ` [1 , "a" ] `,
		`{"a":{"b":[null]}}`, `"\u00e9\ud83d\ude00\n\/"`, `1e999`, `9007199254740993`,
	} {
		if _, err := strictjson.Parse([]byte(s), strictjson.Limits{}); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		offset   int
	}{
		{"empty", ``, 0},
		{"space_only", `  `, 2},
		{"duplicate", `{"a":1,"a":2}`, 7},
		{"duplicate_by_escape", `{"a":1,"\u0061":2}`, 7},
		{"duplicate_deep", `[{"x":{"k":1,"k":1}}]`, 13},
		{"trailing_value", `{} {}`, 3},
		{"trailing_comma", `[1,]`, 3},
		{"missing_comma", `[1 2]`, 3},
		{"missing_colon", `{"a" 1}`, 5},
		{"name_not_string", `{1:2}`, 1},
		{"invalid_utf8", "\"a\xffb\"", 2},
		{"invalid_utf8_after_escape", "\"\\n\xff\"", 3},
		{"lone_surrogate", `"\ud800"`, 1},
		{"swapped_surrogates", `"\ude00\ud83d"`, 1},
		{"control_character", "\"a\tb\"", 2},
		{"unknown_escape", `"\x41"`, 1},
		{"cut_escape", `"\u12`, 1},
		{"cut_string", `"abc`, 4},
		{"leading_zero", `01`, 1},
		{"plus", `+1`, 0},
		{"bare_point", `1.`, 2},
		{"bare_exponent", `1e`, 2},
		{"nan", `NaN`, 0},
		{"literal_prefix", `nul`, 0},
		{"single_quotes", `'a'`, 0},
		{"comment", `/* */1`, 0},
		{"byte_order_mark", "\ufeff1", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := strictjson.Parse([]byte(tt.in), strictjson.Limits{})
			e, ok := errors.AsType[*strictjson.Error](err)
			if !ok {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if e.Offset != tt.offset {
				t.Errorf("offset %d, want %d: %v", e.Offset, tt.offset, e)
			}
		})
	}
}

func TestParseLimits(t *testing.T) {
	for name, lim := range map[string]strictjson.Limits{
		"bytes": {Bytes: 10}, "depth": {Depth: 3}, "nodes": {Nodes: 4},
	} {
		if _, err := strictjson.Parse([]byte(`[[[[[1,2,3]]]]]`), lim); err == nil {
			t.Errorf("%s: limit not kept", name)
		}
	}
	var wide strings.Builder
	wide.WriteString("{")
	for i := range 40 {
		wide.WriteString(fmt.Sprintf(`"k%d":1,`, i))
	}
	if _, err := strictjson.Parse([]byte(wide.String()+`"z":1}`), strictjson.Limits{}); err != nil {
		t.Errorf("a wide object: %v", err)
	}
	if _, err := strictjson.Parse([]byte(wide.String()+`"k2":1}`), strictjson.Limits{}); err == nil {
		t.Error("a duplicate in a wide object was accepted")
	}
}

func TestPositions(t *testing.T) {
	v, err := strictjson.Parse([]byte("{\n  \"a\": [1,\n 22]}"), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := v.Get("a").Items[1]
	if got.Line != 3 || got.Column != 2 || got.Offset != 14 || got.Text != "22" {
		t.Errorf("%+v", got)
	}
	if v.Get("a").Get("b") != nil || v.Get("zz").Get("b") != nil {
		t.Error("a member of what is no object")
	}
}

type config struct {
	Name    string            `json:"name,required"`
	Sev     prerun.Severity   `json:"severity"`
	Wait    time.Duration     `json:"wait"`
	When    time.Time         `json:"when"`
	N       int8              `json:"n"`
	U       uint16            `json:"u"`
	F       float64           `json:"f"`
	On      *bool             `json:"on"`
	List    []string          `json:"list"`
	Map     map[string]int    `json:"map"`
	Raw     strictjson.Value  `json:"raw"`
	RawP    *strictjson.Value `json:"rawp"`
	Private string
	embedded
}

type embedded struct {
	Inner string `json:"inner"`
}

func TestDecode(t *testing.T) {
	in := `{"name":"x","severity":"high","wait":"1h30m","when":"2026-01-02T03:04:05Z","n":-5,"u":7,"f":1e-3,
		"on":true,"list":["a"],"map":{"k":2},"raw":[1],"rawp":null,"inner":"y"}`
	var c config
	if _, err := strictjson.Unmarshal([]byte(in), &c, strictjson.Options{}); err != nil {
		t.Fatal(err)
	}
	if c.Name != "x" || c.Sev != prerun.High || c.Wait != 90*time.Minute || c.When.Year() != 2026 || c.N != -5 ||
		c.U != 7 || c.F != 1e-3 || c.On == nil || !*c.On || c.List[0] != "a" || c.Map["k"] != 2 ||
		len(c.Raw.Items) != 1 || c.RawP == nil || c.Inner != "y" {
		t.Errorf("%+v", c)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"unknown":          `{"name":"x","other":1}`,
		"case_variant":     `{"name":"x","Severity":"low"}`,
		"missing":          `{"severity":"low"}`,
		"untagged_field":   `{"name":"x","Private":"y"}`,
		"null_string":      `{"name":null}`,
		"number_as_string": `{"name":1}`,
		"bad_severity":     `{"name":"x","severity":"HIGH"}`,
		"severity_number":  `{"name":"x","severity":4}`,
		"overflow":         `{"name":"x","n":128}`,
		"fraction":         `{"name":"x","n":1.0}`,
		"negative":         `{"name":"x","u":-1}`,
		"infinite":         `{"name":"x","f":1e999}`,
		"bad_duration":     `{"name":"x","wait":"1 day"}`,
		"duration_number":  `{"name":"x","wait":5}`,
		"bad_time":         `{"name":"x","when":"yesterday"}`,
		"list_item":        `{"name":"x","list":[1]}`,
		"list_object":      `{"name":"x","list":{}}`,
		"map_array":        `{"name":"x","map":[]}`,
		"not_object":       `[]`,
		"bool_string":      `{"name":"x","on":"true"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var c config
			_, err := strictjson.Unmarshal([]byte(in), &c, strictjson.Options{})
			if e, ok := errors.AsType[*strictjson.Error](err); !ok || e.Line != 1 {
				t.Errorf("%s: %v", in, err)
			}
		})
	}
	if _, err := strictjson.Unmarshal([]byte(`{}`), config{}, strictjson.Options{}); err == nil {
		t.Error("decoded into a value that cannot change")
	}
}

func TestDecodeAllowUnknown(t *testing.T) {
	var c config
	ignored, err := strictjson.Unmarshal([]byte(`{"name":"x","a/b":{"c":1},"z":2}`), &c, strictjson.Options{AllowUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/a~1b", "/z"}, ignored); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := strictjson.Unmarshal([]byte(`{"name":"x","NAME":"y"}`), &c, strictjson.Options{AllowUnknown: true}); err == nil {
		t.Error("a case variant of a known name was ignored")
	}
}

func TestParseYAML(t *testing.T) {
	in := "name: x # comment\nseverity: high\nwait: 90m\nwhen: 2026-01-02T03:04:05Z\nn: 0x10\nf: .5\non: true\nlist:\n  - a\n"
	v, err := strictjson.ParseYAML([]byte(in), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var c config
	if _, err := strictjson.Decode(v, &c, strictjson.Options{}); err != nil {
		t.Fatal(err)
	}
	if c.Name != "x" || c.Sev != prerun.High || c.Wait != 90*time.Minute || c.N != 16 || c.F != .5 || !*c.On || c.List[0] != "a" {
		t.Errorf("%+v", c)
	}
	if at := v.Get("list").Items[0]; at.Line != 9 || at.Column != 5 {
		t.Errorf("position %d:%d, want 9:5", at.Line, at.Column)
	}
}

func TestParseYAMLRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         "",
		"anchor":        "a: &x 1\n",
		"alias":         "a: &x [1]\nb: *x\n",
		"tag":           "a: !!python/object:os.system x\n",
		"str_tag":       "a: !!str 1\n",
		"merge":         "a: {b: 1}\n<<: {c: 2}\n",
		"duplicate":     "a: 1\na: 2\n",
		"number_key":    "1: a\n",
		"sequence_key":  "[a]: b\n",
		"two_documents": "a: 1\n---\nb: 2\n",
		"nan":           "a: .nan\n",
		"infinity":      "a: -.inf\n",
		"invalid_utf8":  "a: \xff\n",
		"tab_indent":    "a:\n\t- b\n",
		"too_deep":      strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := strictjson.ParseYAML([]byte(in), strictjson.Limits{}); err == nil {
				t.Errorf("accepted as %+v", v)
			}
		})
	}
	many := "[" + strings.Repeat("a,", 1000) + "a]"
	if _, err := strictjson.ParseYAML([]byte(many), strictjson.Limits{Nodes: 100}); err == nil {
		t.Error("the node budget was not kept")
	}
}

// Whatever this parser accepts, the standard one accepts, with the same value.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x\u00e9"],"b":null}`, `[true,false]`, `"\ud83d\ude00"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := strictjson.Parse(data, strictjson.Limits{Bytes: 1 << 16})
		if err != nil {
			return
		}
		var want any
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, plain(v)); diff != "" {
			t.Fatalf("(-encoding/json +strictjson):\n%s", diff)
		}
	})
}

func plain(v *strictjson.Value) any {
	switch v.Kind {
	case strictjson.Bool:
		return v.Text == "true"
	case strictjson.Number:
		return json.Number(v.Text)
	case strictjson.String:
		return v.Text
	case strictjson.Array:
		out := make([]any, len(v.Items))
		for i := range v.Items {
			out[i] = plain(&v.Items[i])
		}
		return out
	case strictjson.Object:
		out := make(map[string]any)
		for i := range v.Members {
			out[v.Members[i].Name] = plain(&v.Members[i].Value)
		}
		return out
	}
	return nil
}

// each parses with one array apart, and puts its items back.
func each(data []byte, path ...string) (*strictjson.Value, error) {
	var items []any
	v, err := strictjson.ParseEach(data, strictjson.Limits{Bytes: 1 << 16}, path, func(v *strictjson.Value) error {
		items = append(items, plain(v))
		return nil
	})
	if err != nil {
		return nil, err
	}
	at := v
	for _, name := range path {
		if at = at.Get(name); at == nil {
			break
		}
	}
	if at != nil && at.Kind == strictjson.Array {
		if len(at.Items) > 0 {
			return nil, errors.New("the array was kept")
		}
		for _, item := range items {
			text, err := json.Marshal(item)
			if err != nil {
				return nil, err
			}
			again, err := strictjson.Parse(text, strictjson.Limits{})
			if err != nil {
				return nil, err
			}
			at.Items = append(at.Items, *again)
		}
	} else if len(items) > 0 {
		return nil, fmt.Errorf("%d items of nothing", len(items))
	}
	return v, nil
}

func TestParseEach(t *testing.T) {
	for _, s := range []string{
		`{"a":{"b":[{"x":1,"y":[2]},{"z":{"x":3}},[],"t"]},"b":[1]}`,
		`{"a":{"b":[]}}`, `{"a":{"b":{"b":[1]}}}`, `{"a":[{"b":[1]}]}`, `{"b":[1]}`, `[{"a":{"b":[1]}}]`, `null`,
		`{"x":[{"a":{"b":[1]}}],"a":{"c":[1],"b":[{"a":{"b":[1]}}]}}`,
	} {
		want, err := strictjson.Parse([]byte(s), strictjson.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := each([]byte(s), "a", "b")
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
			t.Errorf("%s (-Parse +ParseEach):\n%s", s, diff)
		}
	}
	stop := errors.New("stop")
	calls := 0
	_, err := strictjson.ParseEach([]byte(`{"a":[1,2,3`), strictjson.Limits{}, []string{"a"}, func(*strictjson.Value) error {
		calls++
		return stop
	})
	if err != stop || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	for _, s := range []string{`{"a":[{"x":1,"x":2}]}`, `{"a":[1,]}`, `{"a":[1`, `{"a":[1],"a":[2]}`, `{"a":[{"x":1}]} 1`} {
		if v, err := each([]byte(s), "a"); err == nil {
			t.Errorf("%s: accepted as %v", s, plain(v))
		}
	}
	if _, err := strictjson.ParseEach([]byte(`{"a":[0,0,0,0]}`), strictjson.Limits{Nodes: 5}, []string{"a"}, func(*strictjson.Value) error { return nil }); err == nil {
		t.Error("the node budget was not kept")
	}
}

// ParseEach accepts what Parse does, and reads the same.
func FuzzParseEach(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,{"a":1},{"a":2}]}}`, `{"a":{"b":[],"b":[]}}`, `{"a":{"b":[{"x":1,"x":2}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err1 := strictjson.Parse(data, strictjson.Limits{Bytes: 1 << 16})
		got, err2 := each(data, "a", "b")
		if (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Fatalf("Parse: %v; ParseEach: %v", err1, err2)
		}
		if err1 == nil && cmp.Diff(plain(want), plain(got)) != "" {
			t.Errorf("(-Parse +ParseEach):\n%s", cmp.Diff(plain(want), plain(got)))
		}
	})
}

// Names are compared whatever their number, and whether their values are kept.
func TestDuplicateNames(t *testing.T) {
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, 1000} {
		for _, twice := range []int{0, n / 2, n - 1} {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, `,"n%d":%d`, i, i)
			}
			good := "{" + b.String()[1:] + "}"
			bad := fmt.Sprintf(`%s,"n%d":null}`, good[:len(good)-1], twice)
			for name, parse := range map[string]func([]byte) (*strictjson.Value, error){
				"all": func(data []byte) (*strictjson.Value, error) { return strictjson.Parse(data, strictjson.Limits{}) },
				"plain": func(data []byte) (*strictjson.Value, error) {
					_, err := strictjson.Plain(data, strictjson.Limits{}, func([]byte) bool { return false })
					return nil, err
				},
				"words": func(data []byte) (*strictjson.Value, error) {
					return strictjson.ParseWords(data, strictjson.Limits{}, none)
				},
			} {
				if _, err := parse([]byte(good)); err != nil {
					t.Errorf("%s, %d names: %v", name, n, err)
				}
				want := fmt.Sprintf("column %d (offset %d): duplicate name \"n%d\"", len(good)+1, len(good), twice)
				if _, err := parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %d names: %v, want %s", name, n, err, want)
				}
			}
		}
	}
}

func none(string) bool { return false }

func TestPlain(t *testing.T) {
	tells := func(text []byte) bool { return string(text) == "told" }
	for in, want := range map[string]bool{
		`{"a":["b",{"c":"to\tld"}],"x":1}`: true,
		`[]`:                               true, `"tol"`: true, `12`: true,
		`{"told":1}`: false, `["told"]`: false, `{"a":{"b":["\u0074old"]}}`: false, `{"t\u006fld":1}`: false,
	} {
		if got, err := strictjson.Plain([]byte(in), strictjson.Limits{}, tells); got != want || err != nil {
			t.Errorf("%s: %t, %v", in, got, err)
		}
	}
	for _, bad := range []string{``, `{`, `[1,]`, `{"a"}`, `{"a":1,"a":2}`, "\"\xff\"", `"a`, `tru`, `1 2`, `{1:2}`, "\"\n\""} {
		if plain, err := strictjson.Plain([]byte(bad), strictjson.Limits{}, tells); plain || err == nil {
			t.Errorf("%q: %t, %v", bad, plain, err)
		}
	}
	if _, err := strictjson.Plain([]byte("[[1]]"), strictjson.Limits{Depth: 1}, tells); err == nil {
		t.Error("no limit on depth")
	}
	if _, err := strictjson.Plain([]byte("[1,2]"), strictjson.Limits{Nodes: 2}, tells); err == nil {
		t.Error("no limit on values")
	}
}

func TestParseWords(t *testing.T) {
	v, err := strictjson.ParseWords([]byte(`{"a":1,"keep":2,"b":"3","c":[4,{"keep":5,"a":6}],"d":null,"e":true}`), strictjson.Limits{},
		func(name string) bool { return name == "keep" })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range append(v.Members, v.Get("c").Items[1].Members...) {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"keep", "b", "c", "d", "e", "keep"}, names); diff != "" || len(v.Get("c").Items) != 2 || v.Get("c").Items[0].Text != "4" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`{"a":1.}`, `{"a":01}`, `{"a":1`, `{"a":-}`} {
		if _, err := strictjson.ParseWords([]byte(bad), strictjson.Limits{}, none); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// What ParseWords and Plain accept is what Parse accepts.
func FuzzParseWords(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[2,{"c":3}]}`, `{"a":1,"a":2}`, `{"a":1e5,"b":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err1 := strictjson.Parse(data, strictjson.Limits{})
		_, err2 := strictjson.ParseWords(data, strictjson.Limits{}, none)
		plain, err3 := strictjson.Plain(data, strictjson.Limits{}, func([]byte) bool { return false })
		if fmt.Sprint(err1) != fmt.Sprint(err2) || fmt.Sprint(err1) != fmt.Sprint(err3) || plain != (err1 == nil) {
			t.Fatalf("%v, %v and %v", err1, err2, err3)
		}
	})
}

func FuzzParseYAML(f *testing.F) {
	f.Add([]byte("a: 1\nb: [x, {c: ~}]\n"))
	f.Add([]byte("a: &x 1\nb: *x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := strictjson.ParseYAML(data, strictjson.Limits{Bytes: 1 << 12, Nodes: 1000})
		if err != nil {
			return
		}
		if _, err := json.Marshal(plain(v)); err != nil {
			t.Fatalf("a tree that JSON cannot write: %v", err)
		}
	})
}

func TestParseAllocation(t *testing.T) {
	for name, in := range map[string]string{
		"open_arrays": strings.Repeat("[", 1<<20),
		"open_names":  strings.Repeat(`{"a":`, 1<<18),
		"zeros":       "[" + strings.Repeat("0,", 1<<18) + "0]",
		"long_string": `"` + strings.Repeat("a", 1<<20) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			testutil.AllocBound(t, uint64(400*len(in))+1<<20, func() {
				_, _ = strictjson.Parse([]byte(in), strictjson.Limits{})
			})
		})
	}
}

func BenchmarkParse(b *testing.B) {
	var sb strings.Builder
	sb.WriteString(`{"resources":[`)
	for i := range 10000 {
		if i > 0 {
			sb.WriteByte(',')
		}
		sb.WriteString(`{"name":"dir/file.bin","algorithm":"sha256","digest":"` + strings.Repeat("ab", 32) + `"}`)
	}
	sb.WriteString(`]}`)
	data := []byte(sb.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := strictjson.Parse(data, strictjson.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseConfig(t *testing.T) {
	for _, in := range []string{" \n{\"a\": [1]}", "a: [1]\n", "a:\n- 1\n"} {
		v, err := strictjson.ParseConfig([]byte(in), strictjson.Limits{})
		if err != nil || len(v.Get("a").Items) != 1 {
			t.Errorf("%q: %+v, %v", in, v, err)
		}
	}
	for _, in := range []string{"", "{a: 1}", "{\"a\":1}\n---\n"} {
		if v, err := strictjson.ParseConfig([]byte(in), strictjson.Limits{}); err == nil {
			t.Errorf("%q was read as %+v", in, v)
		}
	}
}
