package validate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A Scorer says whether an answer passes.
//
// Name states the rule completely, parameters included: it is part of the
// suite's digest. Score must return an error, and not false, when it cannot
// tell; such an answer counts as an error. Score is called once for each answer
// and requirement, after all answers are in, and must not depend on the order.
type Scorer interface {
	Name() string
	Score(ctx context.Context, c Case, r Response) (pass bool, err error)
}

// ErrNoExpect is returned by scorers that compare with what a case expects for a
// case that expects nothing.
var ErrNoExpect = errors.New("the case does not say what it expects")

// Exact passes answers that equal Value, or what the case expects when Value is
// empty. Space around the answer does not count.
type Exact struct {
	Value      string
	IgnoreCase bool
}

// Name is "exact" with its parameters.
func (s Exact) Name() string { return scorerName("exact", s.IgnoreCase, s.Value) }

// Score implements [Scorer].
func (s Exact) Score(_ context.Context, c Case, r Response) (bool, error) {
	want, err := expected(s.Value, c)
	if err != nil {
		return false, err
	}
	got, want := strings.TrimSpace(r.Text), strings.TrimSpace(want)
	if s.IgnoreCase {
		return strings.EqualFold(got, want), nil
	}
	return got == want, nil
}

// Contains passes answers that contain one of Values, or with All every one of
// them; without Values, what the case expects.
type Contains struct {
	Values     []string
	All        bool
	IgnoreCase bool
}

// Name is "contains" with its parameters.
func (s Contains) Name() string {
	if s.All {
		return scorerName("contains-all", s.IgnoreCase, s.Values...)
	}
	return scorerName("contains", s.IgnoreCase, s.Values...)
}

// Score implements [Scorer].
func (s Contains) Score(_ context.Context, c Case, r Response) (bool, error) {
	values := s.Values
	if len(values) == 0 {
		want, err := expected("", c)
		if err != nil {
			return false, err
		}
		values = []string{want}
	}
	text := r.Text
	if s.IgnoreCase {
		text = strings.ToLower(text)
	}
	for _, v := range values {
		if s.IgnoreCase {
			v = strings.ToLower(v)
		}
		if strings.Contains(text, v) != s.All {
			return !s.All, nil
		}
	}
	return s.All, nil
}

// NewRegexp is a scorer that passes answers in which an expression of package
// regexp matches.
func NewRegexp(expr string) (Scorer, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, &SuiteError{"scorer regexp", err.Error()}
	}
	return ScorerFunc{scorerName("regexp", false, expr), func(_ context.Context, _ Case, r Response) (bool, error) {
		return re.MatchString(r.Text), nil
	}}, nil
}

// Numeric passes answers that are one number, within Tolerance of Value or,
// when Value is nil, of the number that the case expects. An answer that is no
// number fails.
type Numeric struct {
	Value     *float64
	Tolerance float64
}

// Name is "numeric" with its parameters.
func (s Numeric) Name() string {
	if s.Value == nil {
		return fmt.Sprintf("numeric(±%g)", s.Tolerance)
	}
	return fmt.Sprintf("numeric(%g±%g)", *s.Value, s.Tolerance)
}

// Score implements [Scorer].
func (s Numeric) Score(_ context.Context, c Case, r Response) (bool, error) {
	var want float64
	if s.Value != nil {
		want = *s.Value
	} else {
		text, err := expected("", c)
		if err != nil {
			return false, err
		}
		if want, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
			return false, fmt.Errorf("the case expects %q, which is no number", text)
		}
	}
	got, err := strconv.ParseFloat(strings.TrimSpace(r.Text), 64)
	return err == nil && math.Abs(got-want) <= s.Tolerance, nil
}

// NewJSONSchema is a scorer that passes answers that are one JSON text valid
// under a schema. The schema may refer to itself, not to other documents:
// nothing is loaded.
func NewJSONSchema(schema []byte) (Scorer, error) {
	const part = "scorer json-schema"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, &SuiteError{part, err.Error()}
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	const url = "suite:schema"
	if err := compiler.AddResource(url, doc); err != nil {
		return nil, &SuiteError{part, err.Error()}
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return nil, &SuiteError{part, err.Error()}
	}
	name := fmt.Sprintf("json-schema(sha256:%x)", sha256.Sum256(schema))
	return ScorerFunc{name, func(_ context.Context, _ Case, r Response) (bool, error) {
		answer, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Text))
		return err == nil && compiled.Validate(answer) == nil, nil
	}}, nil
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %q; nothing is loaded", url)
}

// Not passes what its scorer fails, and the reverse. Errors stay errors.
type Not struct{ Scorer Scorer }

// Name is "not" and the scorer's name.
func (s Not) Name() string { return "not " + s.Scorer.Name() }

// Score implements [Scorer].
func (s Not) Score(ctx context.Context, c Case, r Response) (bool, error) {
	pass, err := s.Scorer.Score(ctx, c, r)
	return !pass && err == nil, err
}

// ScorerFunc makes a Go function a [Scorer]. ID stands for the function in the
// suite's digest, so it should change when the function does.
type ScorerFunc struct {
	ID string
	Fn func(ctx context.Context, c Case, r Response) (pass bool, err error)
}

// Name returns s.ID.
func (s ScorerFunc) Name() string { return s.ID }

// Score calls s.Fn.
func (s ScorerFunc) Score(ctx context.Context, c Case, r Response) (bool, error) {
	return s.Fn(ctx, c, r)
}

func expected(value string, c Case) (string, error) {
	if value != "" {
		return value, nil
	}
	if c.Expect == "" {
		return "", ErrNoExpect
	}
	return c.Expect, nil
}

func scorerName(kind string, ignoreCase bool, values ...string) string {
	parts := make([]string, 0, len(values)+1)
	for _, v := range values {
		parts = append(parts, strconv.Quote(v))
	}
	if ignoreCase {
		parts = append(parts, "ignore-case")
	}
	return kind + "(" + strings.Join(parts, ",") + ")"
}
