package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/internal/digestx"
)

// ScanDataset looks for poison in the rows of a data set or of a retrieval
// corpus. Its facts are those of the dataset command: rows, root, and figures[]
// of the detectors.
type ScanDataset struct {
	ID      string // "" means "datasec.scan"
	FS      fs.FS
	Files   []string
	Schema  datasec.Schema
	Scanner datasec.Scanner // Workers and Seed are the gate's
}

// Meta implements [Check].
func (c ScanDataset) Meta() Meta {
	return Meta{ID: cmp.Or(c.ID, checkDataset), Version: "1", Controls: []string{"SUP-03", "DAT-01"}}
}

// CacheKey implements [Digester].
func (c ScanDataset) CacheKey(context.Context) ([]string, error) {
	content, err := filesContent(c.FS, c.Files...)
	if err != nil {
		return nil, err
	}
	detectors := c.Scanner.Detectors
	if detectors == nil {
		detectors = datasec.Builtin()
	}
	for _, d := range detectors {
		options, ok := optionsKey(d)
		if !ok {
			return nil, nil
		}
		content = append(content, fmt.Sprintf("detector %s %d %s", d.Info().Name, d.Info().Version, options), rulesKey(d.Info().Rules))
	}
	if c.Scanner.Against != nil {
		content = append(content, "against "+digestx.Of(c.Scanner.Against.Encode()).String())
	}
	return append(content, fmt.Sprintf("schema %#v", c.Schema)), nil
}

// Run implements [Check].
func (c ScanDataset) Run(ctx context.Context, in *Input) (*Result, error) {
	if c.Scanner.Detectors != nil && len(c.Scanner.Detectors) == 0 {
		return nil, errNoDetector
	}
	s := c.Scanner
	s.Workers, s.Seed = in.Workers, in.Seed
	res, err := s.Scan(ctx, datasec.Files(c.FS, c.Schema, c.Files...)...)
	if err != nil {
		return nil, err
	}
	return &Result{
		Reason: fmt.Sprintf("%d rows", res.Rows()),
		Source: c.located(res),
		Facts:  DatasetFacts(res),
	}, nil
}

// located gives the data set as a whole the path of the folder that its files
// lie in. Where they lie in several, it stays the gate's root.
func (c ScanDataset) located(res *datasec.Result) prerun.Source {
	var files []string
	folder := ""
	for i, name := range c.Files {
		files = append(files, prerun.EscapePath(name))
		if dir := path.Dir(name); i == 0 {
			folder = dir
		} else if dir != folder {
			folder = "."
		}
	}
	return under(folder, res, files...)
}

var errNoDetector = errors.New("there is no detector to look with")

// DatasetFacts are the facts of a data set scan as reports show them: rows, root
// (the digest of all rows), and figures[], each a [datasec.Figures] with n as
// rows, the smallest p where a test has one, and q.
func DatasetFacts(res *datasec.Result) map[string]any {
	return map[string]any{"rows": res.Rows(), "root": res.Root().String(), "figures": res.Figures()}
}
