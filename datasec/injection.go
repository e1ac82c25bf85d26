package datasec

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// Injection looks for visible text that is addressed to a model: control
// tokens of chat templates, and a few fixed English wordings of "ignore your
// instructions" and "reveal your prompt". It looks at every text field, after
// compatibility normalisation and with invisible characters taken out.
//
// Control tokens are recognised reliably. Wordings are not: paraphrases,
// other languages and encoded text pass, so a clean result is weak evidence.
type Injection struct{}

// Info implements [Detector].
func (Injection) Info() Info {
	return Info{"injection", 1, []prerun.Rule{ruleControlToken, ruleInstruction}}
}

// New implements [Detector].
func (d Injection) New(p Params) State {
	return &injectionState{header: stateHeader(d.Info(), d, p)}
}

type injectionState struct {
	header []byte
	rows   int64
	sets   [2]hitSet // control tokens, instructions
}

func (s *injectionState) Observe(r *Record) {
	s.rows++
	for f := range r.Texts() {
		text := visible(f.Value)
		if token, n := controlToken(text); n > 0 {
			s.sets[0].add(hit{r.ref(), f.Name, 0, n, token})
		}
		text = strings.ToLower(text)
		if at := instruction(text); at != nil {
			s.sets[1].add(hit{r.ref(), f.Name, 0, 1, redact.Excerpt([]byte(text[at[0]:at[1]]), 120)})
		}
	}
}

func (s *injectionState) Merge(other State) error {
	t, ok := other.(*injectionState)
	if !ok {
		return wrongType("injection", other)
	}
	if err := sameState("injection", s.header, t.header); err != nil {
		return err
	}
	s.rows += t.rows
	for i := range s.sets {
		s.sets[i].merge(&t.sets[i])
	}
	return nil
}

func (s *injectionState) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(append([]byte(nil), s.header...), uint64(s.rows))
	for i := range s.sets {
		b = s.sets[i].append(b)
	}
	return b, nil
}

func (s *injectionState) UnmarshalBinary(data []byte) error {
	r := openState("injection", s.header, data)
	t := injectionState{header: s.header, rows: r.int64()}
	for i := range t.sets {
		t.sets[i].read(r, 1)
	}
	if err := r.close(); err != nil {
		return err
	}
	*s = t
	return nil
}

func (s *injectionState) Finalize() Report {
	var rep Report
	for i, rule := range []prerun.Rule{ruleControlToken, ruleInstruction} {
		set := &s.sets[i]
		for _, h := range set.kept {
			f := prerun.Finding{
				Rule: rule, Severity: rule.Severity, Confidence: prerun.ConfidenceMedium,
				Locations: []prerun.Location{h.at.location()},
				Key:       h.excerpt,
				Message:   fmt.Sprintf("row %d is addressed to a model: %q", h.at.row, h.excerpt),
				Evidence: map[string]string{
					"field": redact.Excerpt([]byte(h.field), 80), "text": h.excerpt,
					"rows_with_this": strconv.FormatInt(set.total, 10),
				},
			}
			if i == 0 {
				f.Message = fmt.Sprintf("row %d contains the control token %q", h.at.row, h.excerpt)
			}
			rep.Findings = append(rep.Findings, f)
		}
		rep.Figures = append(rep.Figures, Figures{
			Detector: "injection", Test: rule.ID, Rows: s.rows,
			Candidates: int(set.total), Found: len(set.kept),
		})
	}
	return rep
}

// visible is the text as a model's tokeniser may see it: normalised, without
// invisible characters.
func visible(s string) string {
	if plainASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isZeroWidth(r) || isSelector(r) || isTag(r) || isFiller(r) {
			return -1
		}
		return r
	}, norm.NFKC.String(s))
}

// controlTokens are written as tokenisers know them, letter case included.
var controlTokens = []string{
	"<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_text|>",
	"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|endoftext|>", "<|endofprompt|>",
	"<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
}

func controlToken(text string) (first string, n int) {
	if !strings.ContainsAny(text, "<[") {
		return "", 0
	}
	at := len(text)
	for _, token := range controlTokens {
		if i := strings.Index(text, token); i >= 0 {
			n += strings.Count(text, token)
			if i < at {
				at, first = i, token
			}
		}
	}
	return first, n
}

// A wording is looked for only where one of its anchors stands, because the
// expression is slow.
type wording struct {
	anchors []string
	re      *regexp.Regexp
}

var wordings = sync.OnceValue(func() []wording {
	return []wording{
		{
			[]string{"ignore", "disregard", "forget", "override", "bypass"},
			regexp.MustCompile(`\b(?:ignore|disregard|forget|override|bypass)\s+(?:(?:all|any|every|everything|of|in|the|these|those|your|my|our)\s+){0,4}` +
				`(?:(?:previous|prior|above|preceding|earlier|former|existing|original|initial|system|other)\s+(?:and\s+)?){1,3}` +
				`(?:instructions?|prompts?|rules?|directions?|directives?|guidelines?|commands?|constraints?)\b`),
		},
		{
			[]string{"prompt", "instructions"},
			regexp.MustCompile(`\b(?:reveal|print|repeat|output|show|display|leak|disclose|expose)\s+(?:(?:me|us|all|of|the|your)\s+){0,4}` +
				`(?:system|initial|hidden|secret|developer)\s+(?:prompt|instructions|message)\b`),
		},
		{
			[]string{"if you are a", "if you're a"},
			regexp.MustCompile(`\bif\s+you(?:\s+are|'re)\s+an?\s+(?:ai|llm|large\s+language\s+model|language\s+model|ai\s+(?:assistant|agent|model)|chatbot)\b`),
		},
	}
})

// instruction finds the first such wording in lower-case text.
func instruction(text string) []int {
	var first []int
	for _, w := range wordings() {
		for _, anchor := range w.anchors {
			if strings.Contains(text, anchor) {
				if at := w.re.FindStringIndex(text); at != nil && (first == nil || at[0] < first[0]) {
					first = at
				}
				break
			}
		}
	}
	return first
}
