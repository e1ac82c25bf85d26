package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/weights"
)

// ScanModel scans every file of a folder for what loading it would run and for
// structure that is not what it claims. Its facts are those of the scan
// command: files[]{path, verdict, completeness, formats, weights_only}, globals, rule_sets.
type ScanModel struct {
	ID      string // "" means "scan.model"
	FS      fs.FS
	Path    string       // folder in FS
	Scanner scan.Scanner // Workers is the gate's
}

// Meta implements [Check].
func (c ScanModel) Meta() Meta {
	return Meta{ID: cmp.Or(c.ID, checkScan), Version: "1", Controls: []string{"SUP-01", "SUP-08"}}
}

// CacheKey implements [Digester].
func (c ScanModel) CacheKey(ctx context.Context) ([]string, error) {
	content, err := contentOf(ctx, c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	if c.Scanner.Formats == nil {
		for _, f := range scan.Builtin() {
			content = append(content, "built-in format "+f.Info().ID)
		}
	}
	for _, f := range c.Scanner.Formats {
		options, ok := optionsKey(f)
		if !ok {
			return nil, nil
		}
		content = append(content, "format "+f.Info().ID+" "+options, rulesKey(f.Info().Rules))
	}
	for i, s := range c.Scanner.RuleSets {
		if s != nil {
			content = append(content, fmt.Sprintf("rule set %d %s %s", i, s.Name(), s.Digest()))
		}
	}
	return append(content, fmt.Sprintf("limits %#v %t", c.Scanner.Limits, c.Scanner.NoDigests), rulesKey(scan.Rules())), nil
}

// Run implements [Check].
func (c ScanModel) Run(ctx context.Context, in *Input) (*Result, error) {
	tree, err := subTree(c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	if c.Scanner.Formats != nil && len(c.Scanner.Formats) == 0 {
		return nil, errNoDetector
	}
	s := c.Scanner
	s.Workers = in.Workers
	res, err := s.Scan(ctx, tree)
	if err != nil {
		return nil, err
	}
	return &Result{
		Reason: fmt.Sprintf("%d files, verdict %s, %s", len(res.Files), res.Verdict(), res.Completeness()),
		Source: under(c.Path, res),
		Facts:  ScanFacts(res),
	}, nil
}

// ScanFacts are the facts of a scan as reports show them: files[]{path, verdict,
// completeness, formats[]} with nested files after the file that holds them, and
// what a format adds, such as weights_only; globals[]{module, name, grade,
// called}, what pickles import; rule_sets[]{name, digest}, what was applied
// besides the built-in rules. A fact that a format calls by one of the first four
// names is left out.
func ScanFacts(res *scan.Result) map[string]any {
	files := []map[string]any{}
	for i := range res.Files {
		for f := range res.Files[i].All() {
			entry := map[string]any{}
			for key, value := range f.Facts {
				entry[key] = value
			}
			// Last, because no format's fact may stand for them.
			entry["path"], entry["verdict"] = f.Path, f.Verdict
			entry["completeness"], entry["formats"] = f.Completeness, notNil(f.Formats)
			files = append(files, entry)
		}
	}
	globals := []map[string]any{}
	for _, g := range res.Globals {
		globals = append(globals, map[string]any{"module": g.Module, "name": g.Name, "grade": g.Grade, "called": g.Called})
	}
	sets := []map[string]any{}
	for _, s := range res.RuleSets {
		sets = append(sets, map[string]any{"name": s.Name, "digest": s.Digest})
	}
	return map[string]any{"files": files, "globals": globals, "rule_sets": sets}
}

// ScanWeights looks at the numbers in a model's safetensors files. Its fact
// "tensors" is one line of statistics for each tensor.
type ScanWeights struct {
	ID      string // "" means "weights.scan"
	FS      fs.FS
	Path    string          // folder in FS
	Scanner weights.Scanner // Workers is the gate's
}

// Meta implements [Check].
func (c ScanWeights) Meta() Meta {
	return Meta{ID: cmp.Or(c.ID, checkWeights), Version: "1", Controls: []string{"SUP-01"}}
}

// CacheKey implements [Digester].
func (c ScanWeights) CacheKey(ctx context.Context) ([]string, error) {
	content, err := contentOf(ctx, c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	s := c.Scanner
	s.Workers = 0
	return append(content, fmt.Sprintf("options %#v", s), rulesKey(weights.Rules())), nil
}

// Run implements [Check].
func (c ScanWeights) Run(ctx context.Context, in *Input) (*Result, error) {
	tree, err := subTree(c.FS, c.Path)
	if err != nil {
		return nil, err
	}
	s := c.Scanner
	s.Workers = in.Workers
	res, err := s.Scan(ctx, tree)
	if err != nil {
		return nil, err
	}
	var elements int64
	for _, t := range res.Tensors {
		elements += t.Elements
	}
	return &Result{
		Reason: fmt.Sprintf("%d tensors, %d elements", len(res.Tensors), elements),
		Source: under(c.Path, res),
		Facts:  WeightsFacts(res),
	}, nil
}

// WeightsFacts are the facts of a weights scan as reports show them: tensors[],
// each a [weights.Tensor], and not_looked_into[], files of other formats.
func WeightsFacts(res *weights.Result) map[string]any {
	return map[string]any{"tensors": slices.Clip(res.Tensors), "not_looked_into": notNil(res.Others)}
}
