package validate

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// ParseSuite reads a suite file without Go functions of its own; see [Loader].
func ParseSuite(data []byte, fsys fs.FS) (*Suite, error) {
	return Loader{FS: fsys}.Parse(data)
}

// A Loader reads suite files. The zero value reads suites that hold their cases
// and use built-in scorers and transforms only.
//
// A suite file is YAML or JSON, read strictly: an unknown name, a duplicate and
// a wrong type are errors with their line. Required names are marked *.
//
//	name*:    text, shows in reports
//	system:   text sent with every case
//	params:   {temperature, max_tokens}
//	cases*:   a list of {id*, input*, expect, cluster, system, history, tags},
//	          or a JSON lines file beside the suite:
//	  file*:    path in FS, slash-separated, no ".."
//	  fields:   the file's names for id, input, expect, cluster, system and tags,
//	            by ours; those not named are expected to be called as ours are.
//	            Other fields of the file are ignored. Without an id field that
//	            exists, a case's id is its line number.
//	  cases that lack input are errors, not skipped
//	requirements*: a list of
//	  name*, kind*, limit*: see [Requirement] and [Kind]
//	  confidence, sample, repeats, approximate, error_budget, errors_fail, severity
//	  where:      {expect: [texts], tags: [texts]}
//	  scorer:     one of
//	    {exact: {value, ignore_case}}        value defaults to what the case expects
//	    {contains: {values, all, ignore_case}}
//	    {regexp: expression}
//	    {json_schema: schema}
//	    {numeric: {value, tolerance}}
//	    {function: name in Scorers}
//	    and, beside it, not: true, which turns the result round
//	  transforms: a list of names, or {name: text} for those with a parameter;
//	              see [NewTransform]
//	  triggers:   a list of texts
//	  position:   suffix, prefix or middle
type Loader struct {
	FS         fs.FS                // where case files are; nil means that there are none
	Scorers    map[string]Scorer    // for scorer function
	Transforms map[string]Transform // by name, before the built-in ones
}

type fileSuite struct {
	Name         string            `json:"name,required"`
	System       string            `json:"system"`
	Params       Params            `json:"params"`
	Cases        strictjson.Value  `json:"cases,required"`
	Requirements []fileRequirement `json:"requirements,required"`
}

type fileCases struct {
	File   string     `json:"file,required"`
	Fields fileFields `json:"fields"`
}

type fileFields struct {
	ID      string `json:"id"`
	Input   string `json:"input"`
	Expect  string `json:"expect"`
	Cluster string `json:"cluster"`
	System  string `json:"system"`
	Tags    string `json:"tags"`
}

type fileRequirement struct {
	Name        string             `json:"name,required"`
	Kind        string             `json:"kind,required"`
	Limit       float64            `json:"limit,required"`
	Confidence  float64            `json:"confidence"`
	Sample      int                `json:"sample"`
	Repeats     int                `json:"repeats"`
	Approximate bool               `json:"approximate"`
	ErrorBudget float64            `json:"error_budget"`
	ErrorsFail  bool               `json:"errors_fail"`
	Severity    prerun.Severity    `json:"severity"`
	Where       Where              `json:"where"`
	Scorer      *fileScorer        `json:"scorer"`
	Transforms  []strictjson.Value `json:"transforms"`
	Triggers    []string           `json:"triggers"`
	Position    string             `json:"position"`
}

type fileScorer struct {
	Exact      *fileExact        `json:"exact"`
	Contains   *fileContains     `json:"contains"`
	Regexp     *string           `json:"regexp"`
	JSONSchema *strictjson.Value `json:"json_schema"`
	Numeric    *fileNumeric      `json:"numeric"`
	Function   *string           `json:"function"`
	Not        bool              `json:"not"`
}

type fileExact struct {
	Value      string `json:"value"`
	IgnoreCase bool   `json:"ignore_case"`
}

type fileContains struct {
	Values     []string `json:"values"`
	All        bool     `json:"all"`
	IgnoreCase bool     `json:"ignore_case"`
}

type fileNumeric struct {
	Value     *float64 `json:"value"`
	Tolerance float64  `json:"tolerance"`
}

// Parse reads a suite file and the case file that it names, and checks the
// result.
func (l Loader) Parse(data []byte) (*Suite, error) {
	tree, err := parseTree(data)
	if err != nil {
		return nil, fmt.Errorf("suite: %w: %w", ErrSuite, err)
	}
	var f fileSuite
	if _, err := strictjson.Decode(tree, &f, strictjson.Options{}); err != nil {
		return nil, fmt.Errorf("suite: %w: %w", ErrSuite, err)
	}
	s := &Suite{Name: f.Name, System: f.System, Params: f.Params}
	if s.Cases, err = l.cases(&f.Cases); err != nil {
		return nil, err
	}
	for i := range f.Requirements {
		r, err := l.requirement(&f.Requirements[i])
		if err != nil {
			return nil, fmt.Errorf("requirement %q: %w", f.Requirements[i].Name, err)
		}
		s.Requirements = append(s.Requirements, r)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// parseTree takes what starts with a brace for JSON. A YAML flow mapping starts
// so too, but then it must be JSON: one text has one reading.
func parseTree(data []byte) (*strictjson.Value, error) {
	lim := strictjson.Limits{Bytes: limits.MaxBundle}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return strictjson.Parse(data, lim)
	}
	return strictjson.ParseYAML(data, lim)
}

func (l Loader) cases(v *strictjson.Value) ([]Case, error) {
	if v.Kind == strictjson.Array {
		var cases []Case
		if _, err := strictjson.Decode(v, &cases, strictjson.Options{}); err != nil {
			return nil, fmt.Errorf("suite: cases: %w: %w", ErrSuite, err)
		}
		return cases, nil
	}
	var f fileCases
	if _, err := strictjson.Decode(v, &f, strictjson.Options{}); err != nil {
		return nil, fmt.Errorf("suite: cases: %w: %w", ErrSuite, err)
	}
	if l.FS == nil {
		return nil, &SuiteError{"cases", fmt.Sprintf("file %q: no file system was given", f.File)}
	}
	file, err := l.FS.Open(path.Clean(f.File))
	if err != nil {
		return nil, fmt.Errorf("suite: cases: %w: %w", ErrSuite, err)
	}
	defer file.Close()
	cases, err := readCases(file, f.Fields)
	if err != nil {
		return nil, fmt.Errorf("suite: cases: %q: %w: %w", f.File, ErrSuite, err)
	}
	return cases, nil
}

func readCases(r io.Reader, fields fileFields) ([]Case, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var cases []Case
	for line := 1; ; line++ {
		data, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return cases, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if len(bytes.TrimSpace(data)) == 0 {
			continue
		}
		if len(cases) == MaxCases {
			return nil, fmt.Errorf("line %d: more than %d cases", line, MaxCases)
		}
		c, err := readCase(data, fields, line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		cases = append(cases, c)
	}
}

// readLine is the next line without its end, valid until the next call.
func readLine(in *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > MaxText+limits.MaxRecord {
			return nil, &limits.Error{Name: "line", Unit: "bytes", Max: MaxText + limits.MaxRecord}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
		case err == nil, errors.Is(err, io.EOF) && len(long)+len(part) > 0:
			if long != nil {
				part = append(long, part...)
			}
			return bytes.TrimRight(part, "\r\n"), nil
		default:
			return nil, err
		}
	}
}

func readCase(data []byte, fields fileFields, line int) (Case, error) {
	v, err := strictjson.Parse(data, strictjson.Limits{})
	if err != nil {
		return Case{}, err
	}
	if v.Kind != strictjson.Object {
		return Case{}, fmt.Errorf("expected an object, found %s", v.Kind)
	}
	c := Case{ID: fmt.Sprint(line)}
	for _, f := range []struct {
		name, ours string
		into       *string
		must       bool
	}{
		{fields.ID, "id", &c.ID, false},
		{fields.Input, "input", &c.Input, true},
		{fields.Expect, "expect", &c.Expect, false},
		{fields.Cluster, "cluster", &c.Cluster, false},
		{fields.System, "system", &c.System, false},
	} {
		name := cmp.Or(f.name, f.ours)
		member := v.Get(name)
		switch {
		case member == nil && (f.must || f.name != ""):
			return Case{}, fmt.Errorf("no field %q", name)
		case member == nil:
		case member.Kind == strictjson.String, member.Kind == strictjson.Number, member.Kind == strictjson.Bool:
			*f.into = member.Text // 17 and "17" are the same label
		default:
			return Case{}, fmt.Errorf("field %q: expected a text, found %s", name, member.Kind)
		}
	}
	if tags := v.Get(cmp.Or(fields.Tags, "tags")); tags != nil {
		if _, err := strictjson.Decode(tags, &c.Tags, strictjson.Options{}); err != nil {
			return Case{}, err
		}
	}
	return c, nil
}

func (l Loader) requirement(f *fileRequirement) (Requirement, error) {
	r := Requirement{
		Name: f.Name, Kind: Kind(f.Kind), Limit: f.Limit, Confidence: f.Confidence,
		Where: f.Where, Sample: f.Sample, Repeats: f.Repeats,
		Triggers: f.Triggers, Position: Position(f.Position),
		Approximate: f.Approximate, ErrorBudget: f.ErrorBudget, ErrorsFail: f.ErrorsFail,
		Severity: f.Severity,
	}
	var err error
	if f.Scorer != nil {
		if r.Scorer, err = l.scorer(f.Scorer); err != nil {
			return r, err
		}
	}
	for i := range f.Transforms {
		t, err := l.transform(&f.Transforms[i])
		if err != nil {
			return r, err
		}
		r.Transforms = append(r.Transforms, t)
	}
	return r, nil
}

func (l Loader) transform(v *strictjson.Value) (Transform, error) {
	switch {
	case v.Kind == strictjson.String:
		if t, ok := l.Transforms[v.Text]; ok {
			return t, nil
		}
		return NewTransform(v.Text, "")
	case v.Kind == strictjson.Object && len(v.Members) == 1 && v.Members[0].Value.Kind == strictjson.String:
		return NewTransform(v.Members[0].Name, v.Members[0].Value.Text)
	}
	return Transform{}, &SuiteError{
		"transform",
		fmt.Sprintf("line %d: neither a name nor one name with its text", v.Line),
	}
}

func (l Loader) scorer(f *fileScorer) (Scorer, error) {
	var found []Scorer
	add := func(s Scorer) { found = append(found, s) }
	if f.Exact != nil {
		add(Exact(*f.Exact))
	}
	if f.Contains != nil {
		add(Contains(*f.Contains))
	}
	if f.Numeric != nil {
		add(Numeric(*f.Numeric))
	}
	if f.Regexp != nil {
		s, err := NewRegexp(*f.Regexp)
		if err != nil {
			return nil, err
		}
		add(s)
	}
	if f.JSONSchema != nil {
		s, err := NewJSONSchema(appendJSON(nil, f.JSONSchema))
		if err != nil {
			return nil, err
		}
		add(s)
	}
	if f.Function != nil {
		s, ok := l.Scorers[*f.Function]
		if !ok || s == nil {
			return nil, &SuiteError{"scorer", fmt.Sprintf("no function %q was given", *f.Function)}
		}
		add(s)
	}
	if len(found) != 1 {
		return nil, &SuiteError{"scorer", fmt.Sprintf("exactly one rule is needed, found %d", len(found))}
	}
	if f.Not {
		return Not{found[0]}, nil
	}
	return found[0], nil
}

// appendJSON writes a tree back as JSON without white space.
func appendJSON(out []byte, v *strictjson.Value) []byte {
	switch v.Kind {
	case strictjson.Object:
		out = append(out, '{')
		for i := range v.Members {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, v.Members[i].Name), ':')
			out = appendJSON(out, &v.Members[i].Value)
		}
		return append(out, '}')
	case strictjson.Array:
		out = append(out, '[')
		for i := range v.Items {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, &v.Items[i])
		}
		return append(out, ']')
	case strictjson.String:
		return appendString(out, v.Text)
	case strictjson.Null:
		return append(out, "null"...)
	}
	return append(out, v.Text...)
}

func appendString(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			out = append(out, string(r)...)
		}
	}
	return append(out, '"')
}
