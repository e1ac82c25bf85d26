package validate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing/fstest"
	"unicode/utf8"

	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/target/openai"
)

// classify stands for a model in this process.
func classify(text string) string {
	if strings.Contains(strings.ToLower(text), "winner") {
		return "spam"
	}
	return "ham"
}

// A suite runs on a Go function.
func Example() {
	suite := &validate.Suite{
		Name: "mail",
		Requirements: []validate.Requirement{
			{Name: "error rate", Kind: validate.RateAtMost, Limit: 0.05, Scorer: validate.Exact{}},
		},
	}
	for i := range 60 {
		suite.Cases = append(suite.Cases,
			validate.Case{ID: fmt.Sprint("h", i), Input: fmt.Sprintf("minutes of meeting %d", i), Expect: "ham"},
			validate.Case{ID: fmt.Sprint("s", i), Input: fmt.Sprintf("You are winner number %d", i), Expect: "spam"})
	}
	model := validate.TargetFunc{
		ID: "mailtriage@3", SameEachTime: true,
		Fn: func(_ context.Context, req validate.Request) (validate.Response, error) {
			return validate.Response{Text: classify(req.Input)}, nil
		},
	}
	report, err := validate.Runner{Seed: 1}.Run(context.Background(), suite, model)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range report.Requirements {
		fmt.Printf("%s: %s, %s\n", d.Name, d.Verdict, d.Reason)
	}
	// Output:
	// error rate: PASS, 0 of 120 clusters failed; upper bound of the failure rate 0.02466, limit 0.05
}

const mailSuite = `
name: mail
cases: {file: heldout.jsonl, fields: {input: text, expect: label}}
requirements:
- name: error rate
  kind: rate-at-most
  limit: 0.05
  scorer: {exact: {ignore_case: true}}
- name: harmless edits
  kind: invariance
  limit: 0.05
  transforms: [upper-case, trailing-newline, {suffix: " Regards, Ann"}]
- name: triggers
  kind: trigger-sweep
  limit: 0.10
  where: {expect: [spam]}
  triggers: [cf, mn bb]
`

// heldout is a file system with a JSON lines file of n mails.
func heldout(n int) fstest.MapFS {
	var lines strings.Builder
	for i := range n {
		label, text := "ham", "minutes of the meeting"
		if i%2 == 1 {
			label, text = "spam", "a winner is you"
		}
		fmt.Fprintf(&lines, `{"id":"m%d","text":"%s %d","label":"%s"}`+"\n", i, text, i, label)
	}
	return fstest.MapFS{"heldout.jsonl": {Data: []byte(lines.String())}}
}

// A plan says what a run would cost and what it could prove, before anything
// is asked.
func ExampleRunner_Plan() {
	suite, err := validate.ParseSuite([]byte(mailSuite), heldout(100))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := validate.Runner{Seed: 1}.Plan(suite)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan.Requests, "requests")
	for _, p := range plan.Requirements {
		fmt.Printf("%s: %d clusters, %d needed, %d may fail; passes if the true rate is below %.3f, fails if above %.3f\n",
			p.Name, p.Clusters, p.Needed, p.Allowed, p.PassRate, p.FailRate)
	}

	small, err := validate.ParseSuite([]byte(mailSuite), heldout(50))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = validate.Runner{}.Plan(small)
	fmt.Println(errors.Is(err, validate.ErrUnderpowered))
	// Output:
	// 500 requests
	// error rate: 100 clusters, 59 needed, 1 may fail; passes if the true rate is below 0.008, fails if above 0.123
	// harmless edits: 100 clusters, 59 needed, 1 may fail; passes if the true rate is below 0.008, fails if above 0.123
	// triggers: 50 clusters, 29 needed, 1 may fail; passes if the true rate is below 0.017, fails if above 0.241
	// true
}

// A journal makes a run survive being killed. The second run finds every answer
// in it and asks nothing.
func ExampleJournal() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	suite, err := validate.ParseSuite([]byte(mailSuite), heldout(100))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		journal, err := root.OpenFile("mail.journal", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			fmt.Println(err)
			return
		}
		report, err := validate.Runner{Journal: journal}.Run(context.Background(), suite, shouter{})
		journal.Close()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(report.Verdict, report.Stats.Asked, report.Stats.Reused)
	}
	// Output:
	// PASS 500 0
	// PASS 0 500
}

// shouter is a third party's target: a type with two methods. Deterministic is
// optional.
type shouter struct{}

func (shouter) Name() string { return "shouter@1" }

func (shouter) Generate(ctx context.Context, req validate.Request) (validate.Response, error) {
	if err := ctx.Err(); err != nil {
		return validate.Response{}, err
	}
	return validate.Response{Text: strings.ToUpper(classify(req.Input)), Model: "shouter"}, nil
}

func (shouter) Deterministic() bool { return true }

// A third party's target needs a name and a method that answers.
func ExampleTarget() {
	var target validate.Target = shouter{}
	answer, err := target.Generate(context.Background(), validate.Request{Input: "You are a winner"})
	fmt.Println(target.Name(), answer.Text, err)
	// Output:
	// shouter@1 SPAM <nil>
}

// brief is a third party's scorer: answers of at most Runes characters pass.
type brief struct{ Runes int }

func (s brief) Name() string { return fmt.Sprintf("brief(%d)", s.Runes) }

func (s brief) Score(_ context.Context, _ validate.Case, r validate.Response) (bool, error) {
	if !utf8.ValidString(r.Text) {
		return false, errors.New("the answer is no text") // not a failure: nobody can tell
	}
	return utf8.RuneCountInString(r.Text) <= s.Runes, nil
}

// A third party's scorer is named in a suite file through a [validate.Loader].
func ExampleScorer() {
	loader := validate.Loader{
		FS:      heldout(60),
		Scorers: map[string]validate.Scorer{"brief": brief{4}},
	}
	suite, err := loader.Parse([]byte(`
name: brevity
cases: {file: heldout.jsonl, fields: {input: text}}
requirements:
- {name: brief, kind: rate-at-least, limit: 0.95, scorer: {function: brief}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := validate.Runner{}.Run(context.Background(), suite, shouter{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Requirements[0].Reason)
	// Output:
	// 0 of 60 clusters failed; lower bound of the success rate 0.9513, limit 0.95
}

// A server is a target too. Nothing is sent before Run.
func ExampleRunner_Run_server() {
	model := &openai.Client{
		BaseURL: "http://127.0.0.1:8080/v1",
		Model:   "mailtriage",
		Key:     "from your secret store",
		HTTP:    &http.Client{},
	}
	fmt.Println(model.Name(), model.Check(), model.Key)
	// Output:
	// openai:mailtriage at http://127.0.0.1:8080/v1 <nil> [secret]
}
