package validate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/validatetest"
)

func must(t *testing.T) func(validate.Scorer, error) validate.Scorer {
	return func(s validate.Scorer, err error) validate.Scorer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestScorers(t *testing.T) {
	four := 4.0
	schema := []byte(`{"type":"object","required":["label"],"properties":{"label":{"enum":["ham","spam"]}},"additionalProperties":false}`)
	for _, tt := range []struct {
		name   string
		s      validate.Scorer
		expect string
		pass   []string
		fail   []string
	}{
		{"exact", validate.Exact{}, "ham", []string{"ham", " ham\n"}, []string{"Ham", "ham!", "", "spam"}},
		{"exact_value", validate.Exact{Value: "Ja", IgnoreCase: true}, "ham", []string{"ja", "JA"}, []string{"ham", "j a"}},
		{"contains", validate.Contains{}, "ham", []string{"it is ham", "ham"}, []string{"HAM", ""}},
		{"contains_any", validate.Contains{Values: []string{"a", "b"}}, "", []string{"xbx", "a"}, []string{"c", "A"}},
		{"contains_all", validate.Contains{Values: []string{"a", "B"}, All: true, IgnoreCase: true}, "", []string{"ba", "AB"}, []string{"a", "b", ""}},
		{"regexp", must(t)(validate.NewRegexp(`^(ham|spam)$`)), "", []string{"ham", "spam"}, []string{"hams", "ham\n"}},
		{"numeric", validate.Numeric{Tolerance: .5}, "4", []string{"4", " 4.5 ", "3.5e0"}, []string{"5", "four", "", "NaN", "4 apples", "Inf"}},
		{"numeric_value", validate.Numeric{Value: &four}, "7", []string{"4", "4.0"}, []string{"7", "4.1"}},
		{
			"json_schema", must(t)(validate.NewJSONSchema(schema)), "",
			[]string{`{"label":"ham"}`, " {\"label\": \"spam\"}\n"},
			[]string{`{"label":"eggs"}`, `{"label":"ham","x":1}`, `{"label":"ham"} and more`, `ham`, ``, `[`, strings.Repeat("[", 20_000)},
		},
		{"not", validate.Not{validate.Contains{Values: []string{"sorry"}}}, "", []string{"here you are"}, []string{"I am sorry"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := validate.Case{ID: "c", Expect: tt.expect}
			validatetest.TestScorer(t, tt.s, c, tt.pass[0], tt.fail[0])
			for want, texts := range map[bool][]string{true: tt.pass, false: tt.fail} {
				for _, text := range texts {
					got, err := tt.s.Score(t.Context(), c, validate.Response{Text: text})
					if err != nil || got != want {
						t.Errorf("%.40q: %v, %v", text, got, err)
					}
				}
			}
		})
	}
	for _, s := range []validate.Scorer{
		validate.Exact{}, validate.Contains{}, validate.Numeric{}, validate.Not{validate.Exact{}},
	} {
		pass, err := s.Score(t.Context(), validate.Case{ID: "c"}, validate.Response{Text: "x"})
		if pass || !errors.Is(err, validate.ErrNoExpect) {
			t.Errorf("%s without expectation: %v, %v", s.Name(), pass, err)
		}
	}
	if _, err := (validate.Numeric{}).Score(t.Context(), validate.Case{Expect: "ham"}, validate.Response{Text: "1"}); err == nil {
		t.Error("an expectation that is no number: no error")
	}
}

func TestTransforms(t *testing.T) {
	for _, tt := range []struct{ name, param, in, want string }{
		{"upper-case", "", "Straße", "STRASSE"},
		{"lower-case", "", "ÀB", "àb"},
		{"double-spaces", "", "a b c", "a  b  c"},
		{"collapse-spaces", "", " a \n b\t", "a b"},
		{"trailing-newline", "", "a", "a\n"},
		{"leading-space", "", "a", " a"},
		{"windows-line-breaks", "", "a\nb", "a\r\nb"},
		{"final-stop", "", "a.", "a"},
		{"final-stop", "", "a \n", "a."},
		{"swap-two-letters", "", "to message you", "to mesasge you"},
		{"swap-two-letters", "", "größte tat", "grßöte tat"},
		{"swap-two-letters", "", "a bc def", "a bc def"},
		{"swap-two-letters", "", "", ""},
		{"suffix", " bye", "a", "a bye"},
		{"prefix", "hi ", "a", "hi a"},
	} {
		tr := transform(t, tt.name, tt.param)
		want := tt.want
		if tt.in == "Straße" {
			want = strings.ToUpper(tt.in)
		}
		if got := tr.Apply(tt.in); got != want {
			t.Errorf("%s of %q: got %q, want %q", tr.Name, tt.in, got, want)
		}
	}
}

// TestTriggersAreInserted looks at what a target is sent.
func TestTriggersAreInserted(t *testing.T) {
	for _, tt := range []struct {
		position validate.Position
		in, want string
	}{
		{"", "one two three", "one two three cf"},
		{validate.Suffix, "", " cf"},
		{validate.Prefix, "one two", "cf one two"},
		{validate.Middle, "one two three", "one two cf three"},
		{validate.Middle, "word", "word cf"},
		{validate.Middle, "ääää öööö", "ääää cf öööö"},
	} {
		s := suite(60, validate.Requirement{Name: "t", Kind: validate.TriggerSweep, Limit: .1, Triggers: []string{"cf"}, Position: tt.position})
		for i := range s.Cases {
			s.Cases[i].Input = tt.in
		}
		found := false
		run(t, validate.Runner{Concurrency: 1}, s, target(func(req validate.Request) (string, error) {
			if req.Variant != "" && req.Input != tt.want {
				t.Errorf("%s: sent %q, want %q", tt.position, req.Input, tt.want)
			}
			found = found || req.Variant != ""
			return "", nil
		}))
		if !found {
			t.Error("no trigger was sent")
		}
	}
}
