package validate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

// Limits of a suite.
const (
	MaxCases        = 1 << 20
	MaxRequirements = 1 << 10
	MaxRepeats      = 1 << 10
	MaxVariants     = 1 << 12 // transforms or triggers of one requirement
	MaxText         = 1 << 20 // bytes of one input

	maxName = 4 << 10 // bytes of an id, a trigger or a transform's name
)

// ErrSuite is the class of errors of a suite that cannot be run.
var ErrSuite = errors.New("invalid suite")

// A SuiteError says what is wrong with which part of a suite.
type SuiteError struct {
	Part string // such as `requirement "error rate"`; "" for the whole
	Msg  string
}

func (e *SuiteError) Error() string {
	if e.Part == "" {
		return "suite: " + e.Msg
	}
	return fmt.Sprintf("suite: %s: %s", e.Part, e.Msg)
}

// Unwrap returns [ErrSuite].
func (e *SuiteError) Unwrap() error { return ErrSuite }

// A Suite is a set of cases and what is required of the answers to them. Runs
// never change it.
type Suite struct {
	Name         string
	System       string // sent with every case
	Params       Params
	Cases        []Case
	Requirements []Requirement
}

// A Case is one input.
type Case struct {
	ID string `json:"id,required"`

	// Cluster names what makes cases depend on one another: a template, a
	// source document, an author. Empty means that the case stands for itself.
	Cluster string `json:"cluster"`

	System  string    `json:"system"` // overrides the suite's
	History []Message `json:"history"`
	Input   string    `json:"input,required"`
	Expect  string    `json:"expect"` // the right answer, for scorers that need one
	Tags    []string  `json:"tags"`
}

// A Kind says what a requirement claims.
type Kind string

// Kinds of requirements. Every claim is about the population that the cases
// were drawn from, with clusters as independent draws.
const (
	// RateAtMost: at most Limit of the answers fail the scorer.
	RateAtMost Kind = "rate-at-most"
	// RateAtLeast: at least Limit of the answers pass the scorer.
	RateAtLeast Kind = "rate-at-least"
	// Invariance: at most Limit of the edited inputs get another answer than
	// the case as written.
	Invariance Kind = "invariance"
	// TriggerSweep: for each trigger, at most Limit of the cases get another
	// answer when it is inserted.
	TriggerSweep Kind = "trigger-sweep"
	// NoRegression: at most Limit of the cases that the baseline passed or
	// failed are newly failed, and new failures do not significantly
	// outnumber new passes.
	NoRegression Kind = "no-regression"
)

// A Requirement is one claim that the answers must prove. The zero value of
// each optional field is its strictest setting.
type Requirement struct {
	Name  string
	Kind  Kind
	Limit float64 // a rate above 0 and below 1

	// Confidence of the decision, above 0.5 and below 1; 0 means 0.95.
	Confidence float64

	// Scorer says whether an answer passes. Rates and NoRegression need one.
	// For Invariance and TriggerSweep it is optional: with it, an answer has
	// changed when its score has; without it, when its text has, surrounding
	// space and case aside.
	Scorer Scorer

	Where   Where // which cases; zero means all
	Sample  int   // how many of these, drawn by the run's seed; 0 means all
	Repeats int   // how often each is asked; 0 means once

	Transforms []Transform // Invariance
	Triggers   []string    // TriggerSweep
	Position   Position    // TriggerSweep; "" means Suffix

	// Approximate allows the effective-sample bound where a cluster has several
	// answers. It is narrower than the exact one and holds its confidence only
	// nearly; a plan refuses it where it is known to miss by more than a tenth
	// (fewer than 6/Limit clusters), and the report names it.
	Approximate bool

	// ErrorBudget is the fraction of clusters that may end in an error before
	// the verdict is ERROR. They count neither as passed nor as failed, unless
	// ErrorsFail is set: then they are failures.
	ErrorBudget float64
	ErrorsFail  bool

	Severity prerun.Severity // of its finding; Unrated means the rule's
}

// Where selects cases: all conditions that are set must hold.
type Where struct {
	Expect []string `json:"expect"` // the case expects one of these
	Tags   []string `json:"tags"`   // and has every one of these
}

func (w Where) match(c *Case) bool {
	if len(w.Expect) > 0 && !slices.Contains(w.Expect, c.Expect) {
		return false
	}
	for _, tag := range w.Tags {
		if !slices.Contains(c.Tags, tag) {
			return false
		}
	}
	return true
}

// A Position says where a trigger is inserted.
type Position string

// Positions of a trigger, one space apart from the text.
const (
	Suffix Position = "suffix"
	Prefix Position = "prefix"
	Middle Position = "middle" // before the word that starts nearest after half of the text
)

func (r *Requirement) confidence() float64 { return cmp.Or(r.Confidence, 0.95) }

func (r *Requirement) alpha() float64 { return 1 - r.confidence() }

func (r *Requirement) repeats() int { return max(1, r.Repeats) }

// limit is the largest failure rate that the requirement allows.
func (r *Requirement) limit() float64 {
	if r.Kind == RateAtLeast {
		return 1 - r.Limit
	}
	return r.Limit
}

// Check returns a [*SuiteError] when the suite cannot be run. It does not look
// at sizes; that is [Runner.Plan].
func (s *Suite) Check() error {
	switch {
	case s == nil:
		return &SuiteError{"", "there is none"}
	case s.Name == "":
		return &SuiteError{"", "no name"}
	case len(s.Cases) == 0:
		return &SuiteError{"", "no cases"}
	case len(s.Cases) > MaxCases:
		return &SuiteError{"", fmt.Sprintf("more than %d cases", MaxCases)}
	case len(s.Requirements) == 0:
		return &SuiteError{"", "no requirements: nothing would be decided"}
	case len(s.Requirements) > MaxRequirements:
		return &SuiteError{"", fmt.Sprintf("more than %d requirements", MaxRequirements)}
	case !(s.Params.Temperature >= 0 && s.Params.Temperature <= 100):
		return &SuiteError{"params", "temperature is out of range"}
	case s.Params.MaxTokens < 0:
		return &SuiteError{"params", "max_tokens is negative"}
	}
	if err := checkCases(s.Cases); err != nil {
		return err
	}
	names := make(map[string]bool, len(s.Requirements))
	for i := range s.Requirements {
		r := &s.Requirements[i]
		part := fmt.Sprintf("requirement %q", r.Name)
		if names[r.Name] {
			return &SuiteError{part, "stands twice"}
		}
		names[r.Name] = true
		if msg := r.check(); msg != "" {
			return &SuiteError{part, msg}
		}
	}
	return nil
}

func checkCases(cases []Case) error {
	ids := make(map[string]bool, len(cases))
	for i := range cases {
		c := &cases[i]
		part := fmt.Sprintf("case %q", c.ID)
		switch {
		case c.ID == "":
			return &SuiteError{fmt.Sprintf("case number %d", i+1), "no id"}
		case len(c.ID) > maxName || !utf8.ValidString(c.ID):
			return &SuiteError{part, fmt.Sprintf("its id is no text of at most %d bytes", maxName)}
		case ids[c.ID]:
			return &SuiteError{part, "its id stands twice"}
		case len(c.Input) > MaxText:
			return &SuiteError{part, fmt.Sprintf("input of more than %d bytes", MaxText)}
		}
		ids[c.ID] = true
		for _, m := range c.History {
			if m.Role != "user" && m.Role != "assistant" {
				return &SuiteError{part, fmt.Sprintf("role %q is neither user nor assistant", m.Role)}
			}
		}
	}
	return nil
}

func (r *Requirement) check() string {
	switch {
	case r.Name == "":
		return "no name"
	case !(r.Limit > 0 && r.Limit < 1):
		return fmt.Sprintf("limit %g is not a rate above 0 and below 1: no number of cases proves it", r.Limit)
	case r.Confidence != 0 && !(r.Confidence > 0.5 && r.Confidence < 1):
		return fmt.Sprintf("confidence %g is not above 0.5 and below 1", r.Confidence)
	case r.Repeats < 0 || r.Repeats > MaxRepeats:
		return fmt.Sprintf("repeats is not within 0 and %d", MaxRepeats)
	case r.Sample < 0:
		return "sample is negative"
	case !(r.ErrorBudget >= 0 && r.ErrorBudget < 1):
		return fmt.Sprintf("error budget %g is not a fraction below 1", r.ErrorBudget)
	case r.Severity > prerun.Critical:
		return "severity is not defined"
	case len(r.Transforms) > MaxVariants || len(r.Triggers) > MaxVariants:
		return fmt.Sprintf("more than %d variants", MaxVariants)
	case r.Kind != Invariance && len(r.Transforms) > 0:
		return "transforms belong to invariance"
	case r.Kind != TriggerSweep && (len(r.Triggers) > 0 || r.Position != ""):
		return "triggers and position belong to trigger-sweep"
	}
	switch r.Kind {
	case RateAtMost, RateAtLeast, NoRegression:
		if r.Scorer == nil {
			return "no scorer"
		}
	case Invariance:
		return checkTransforms(r.Transforms)
	case TriggerSweep:
		return checkTriggers(r.Triggers, r.Position)
	default:
		return fmt.Sprintf("unknown kind %q", r.Kind)
	}
	return ""
}

func checkTransforms(transforms []Transform) string {
	if len(transforms) == 0 {
		return "no transforms"
	}
	seen := make(map[string]bool)
	for _, t := range transforms {
		switch {
		case t.Name == "" || t.Apply == nil:
			return "transform without name or function"
		case len(t.Name) > maxName || !utf8.ValidString(t.Name):
			return fmt.Sprintf("a transform's name is no text of at most %d bytes", maxName)
		case seen[t.Name]:
			return fmt.Sprintf("transform %q stands twice", t.Name)
		}
		seen[t.Name] = true
	}
	return ""
}

func checkTriggers(triggers []string, position Position) string {
	if len(triggers) == 0 {
		return "no triggers"
	}
	if position != "" && position != Suffix && position != Prefix && position != Middle {
		return fmt.Sprintf("unknown position %q", position)
	}
	seen := make(map[string]bool)
	for _, t := range triggers {
		switch {
		case t == "":
			return "empty trigger"
		case len(t) > maxName || !utf8.ValidString(t):
			return fmt.Sprintf("a trigger is no text of at most %d bytes", maxName)
		case seen[t]:
			return fmt.Sprintf("trigger %q stands twice", t)
		}
		seen[t] = true
	}
	return ""
}

// Digest identifies the suite: name, cases, parameters and requirements, with
// scorers and transforms by name. It has the form sha256:hex.
func (s *Suite) Digest() string {
	h := newFramed()
	h.text("prerun.validate.suite.v1", s.Name, s.System)
	h.number(s.Params.Temperature)
	h.count(s.Params.MaxTokens)
	h.count(len(s.Cases))
	for i := range s.Cases {
		c := &s.Cases[i]
		h.text(c.ID, c.Cluster, c.System, c.Input, c.Expect)
		h.count(len(c.History))
		for _, m := range c.History {
			h.text(m.Role, m.Text)
		}
		h.list(c.Tags)
	}
	h.count(len(s.Requirements))
	for i := range s.Requirements {
		s.Requirements[i].digest(h)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func (r *Requirement) digest(h *framed) {
	h.text(r.Name, string(r.Kind), string(r.Position), r.Severity.String())
	for _, x := range []float64{r.Limit, r.Confidence, r.ErrorBudget} {
		h.number(x)
	}
	for _, n := range []int{r.Sample, r.Repeats} {
		h.count(n)
	}
	h.text(strconv.FormatBool(r.Approximate), strconv.FormatBool(r.ErrorsFail))
	scorer := ""
	if r.Scorer != nil {
		scorer = r.Scorer.Name()
	}
	h.text(scorer)
	h.list(r.Where.Expect)
	h.list(r.Where.Tags)
	h.list(r.Triggers)
	h.count(len(r.Transforms))
	for _, t := range r.Transforms {
		h.text(t.Name)
	}
}

// framed hashes each part with its length, so that parts cannot run together.
type framed struct {
	hash.Hash
	buf []byte
}

func newFramed() *framed { return &framed{Hash: sha256.New()} }

func (h *framed) text(parts ...string) {
	for _, s := range parts {
		h.buf = strconv.AppendInt(h.buf[:0], int64(len(s)), 10)
		h.buf = append(h.buf, ':')
		h.buf = append(h.buf, s...)
		h.Write(h.buf)
	}
}

func (h *framed) list(parts []string) {
	h.count(len(parts))
	h.text(parts...)
}

func (h *framed) count(n int) {
	h.buf = append(strconv.AppendInt(h.buf[:0], int64(n), 10), ':')
	h.Write(h.buf)
}

func (h *framed) number(x float64) {
	h.buf = binary.BigEndian.AppendUint64(h.buf[:0], math.Float64bits(x))
	h.Write(h.buf)
}
