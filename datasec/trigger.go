package datasec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/stats"
)

// LabelContradiction looks for words and phrases that go with labels which the
// rest of the text contradicts: triggers of backdoors that were planted by
// inserting the trigger into rows of other classes and flipping their label.
//
// It reads the data up to five times. Pass 1 learns a Bernoulli naive Bayes
// classifier from the words of each row. Pass 2 asks it for the label of each
// row with that row's own counts taken out, which is exact cross-validation
// with as many folds as rows; a row whose label loses is contradicted. Passes
// 2 to 4 select, verify and count the sequences of one to three words in
// contradicted rows of each class against all rows. A sequence is tested by the
// exact hypergeometric tail of its contradicted rows, with the procedure of
// Benjamini and Yekutieli over an upper bound of all sequences that could have
// been tested. Pass 5, only when something passed, compares the rows of
// each sequence with each other, the sequence itself and what stands beside it
// left out: rows that share a fifth of their word pairs come from one source
// and count once. That is what tells a trigger from a newsletter, whose issues
// are contradicted together too.
//
// It cannot see: poisons whose label fits their text (clean-label attacks),
// triggers that are no words (style, syntax, punctuation, letter case),
// triggers that stand in many honest rows, poisons that nearly repeat each
// other ([NearDuplicates] sees those), and fewer rows than the MinimumK of its
// figures. It needs labels that words predict; where they do not, it says so
// with a gap. All decisions are made in integers or on exact tails.
//
// Memory: 2 MiB for each label and worker, 16 MiB for each worker, and what
// contradicted rows hold.
type LabelContradiction struct {
	// Q is the false discovery rate aimed at; 0 means 0.01.
	Q float64

	// MinShare is the least share of a sequence's rows that must be
	// contradicted; 0 means 0.4. Lower values see triggers that honest rows
	// contain too, and more of what is no trigger.
	MinShare float64
}

func (d LabelContradiction) withDefaults() LabelContradiction {
	if !(d.Q > 0 && d.Q < 1) {
		d.Q = 0.01
	}
	if !(d.MinShare > 0 && d.MinShare <= 1) {
		d.MinShare = 0.4
	}
	return d
}

// Bounds of the detector.
const (
	maxLabels    = 32
	wordOrder    = 19      // log2 of the classifier's words
	gramOrder    = 22      // log2 of the counters that select sequences
	maxGram      = 3       // words
	maxHot       = 1 << 17 // counters that may be looked into
	maxGrams     = 1 << 20 // sequences that are counted exactly
	maxGramRows  = 128     // rows of a sequence that are compared
	maxGramBytes = 200     // longer sequences are no words
	maxCompare   = 4096    // rows that are compared in all
	maxRowTokens = 2048    // words of a row that are compared
	minCount     = 3       // rows below which nothing is tested
	minWordRows  = 3       // rows that make a word a feature
	maxWeight    = 2 << 16 // what one word may say for or against a label, in units of 2^-16 bits
	maxError     = 0.35    // share of contradicted rows above which labels are not predictable
	sameSource   = 5       // rows sharing one in this many word pairs are of one source
	maxMasked    = 16      // words of a sequence and its continuation that are left out
)

// Info implements [Detector].
func (LabelContradiction) Info() Info {
	return Info{"label-contradiction", 1, []prerun.Rule{ruleTrigger}}
}

// New implements [Detector].
func (d LabelContradiction) New(p Params) State {
	d = d.withDefaults()
	return &learnState{task: task{d, p}, header: stateHeader(d.Info(), d, p), labels: make(map[string]*class)}
}

// task is what all passes know.
type task struct {
	LabelContradiction
	Params
}

// passHeader starts the bytes of a later pass's state. before are the bytes of
// the pass that it builds on: states that look for different things must not
// be merged.
func (t task) passHeader(pass int, before []byte) []byte {
	return stateHeader(t.Info(), fmt.Sprintf("%+v pass %d after %x", t.LabelContradiction, pass, before), t.Params)
}

// tokens splits all text of a row, fields one after the other.
func (t task) tokens(dst []token, r *Record) (string, []token) {
	var text string
	for f := range r.Texts() {
		if text == "" {
			text = f.Value
		} else {
			text += "\n" + f.Value
		}
	}
	return text, appendTokens(dst[:0], text, t.Seed)
}

// eachGram calls f for every sequence of one to three words, repetitions
// included, with the range of its words.
func eachGram(tokens []token, f func(h uint64, from, to int)) {
	for i := range tokens {
		h := tokens[i].hash
		f(h, i, i+1)
		for j := i + 1; j < min(i+maxGram, len(tokens)); j++ {
			h = combine(h, tokens[j].hash)
			f(h, i, j+1)
		}
	}
}

// gramText is a sequence as words with single spaces, lower case, or "" when
// it is too long to be words.
func gramText(text string, tokens []token) string {
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+t.end-t.start > maxGramBytes {
			return ""
		}
		b.WriteString(strings.ToLower(text[t.start:t.end]))
	}
	return b.String()
}

// minimumK is the smallest number of rows that a perfect trigger needs to pass
// at level alpha: all of them contradicted, on top of the marked ones.
func minimumK(marked, rows int, alpha float64) int {
	for k := minCount; k <= rows; k++ {
		if stats.HypergeomUpper(k, min(marked+k, rows), k, rows) <= alpha {
			return k
		}
	}
	return rows + 1
}

// stepUp is the procedure of Benjamini and Yekutieli over m hypotheses of which
// all but those given have a p-value of 1. It returns the largest p that is
// rejected, and -1 when none is. Sequences overlap and topics cluster, so
// nothing is assumed about dependence; compared with Benjamini and Hochberg
// that costs an attack of about one row more.
func stepUp(p []float64, m int64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(p))
	for i := len(sorted) - 1; i >= 0; i-- {
		if sorted[i] <= float64(i+1)*level(m, q) {
			return sorted[i]
		}
	}
	return -1
}

// level is what the smallest of m p-values has to reach.
func level(m int64, q float64) float64 {
	const gamma = 0.5772156649015329 // the harmonic number of m is ln m + gamma + 1/2m - ...
	n := float64(m)
	return q / (n * (math.Log(n) + gamma + 1/(2*n)))
}
