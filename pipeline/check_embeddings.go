package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/internal/redact"
)

// ScanEmbeddings looks for tampering in embedding vectors. Its facts are those
// of the embeddings command: rows, dim, tests[] with n, p and q, hubs[].
type ScanEmbeddings struct {
	ID      string // "" means "embeddings.scan"
	FS      fs.FS
	File    string
	Queries string            // "" takes the vectors themselves as queries
	Scanner embedding.Scanner // Queries, Workers and Seed are the gate's
}

// Meta implements [Check].
func (c ScanEmbeddings) Meta() Meta {
	return Meta{ID: cmp.Or(c.ID, checkEmbeddings), Version: "1", Controls: []string{"SUP-03"}}
}

// CacheKey implements [Digester].
func (c ScanEmbeddings) CacheKey(context.Context) ([]string, error) {
	content, err := filesContent(c.FS, c.File, c.Queries)
	if err != nil {
		return nil, err
	}
	s := c.Scanner
	s.Queries, s.Workers, s.Seed = nil, 0, 0
	options, ok := optionsKey(s)
	if !ok {
		return nil, nil
	}
	return append(content, options, rulesKey(embedding.Rules())), nil
}

// Run implements [Check].
func (c ScanEmbeddings) Run(ctx context.Context, in *Input) (*Result, error) {
	m, err := embedding.Open(c.FS, c.File)
	if err != nil {
		return unreadable(c.File, err), nil
	}
	s := c.Scanner
	s.Queries, s.Workers, s.Seed = nil, in.Workers, in.Seed
	if c.Queries != "" {
		queries, err := embedding.Open(c.FS, c.Queries)
		if err != nil {
			return unreadable(c.Queries, err), nil
		}
		s.Queries = queries
	}
	res, err := s.Scan(ctx, c.File, m)
	if err != nil {
		return nil, err
	}
	return &Result{
		Reason: fmt.Sprintf("%d vectors of %d elements, %d queries", res.Rows, res.Dim, res.Queries),
		Source: res,
		Facts:  EmbeddingFacts(res),
	}, nil
}

// unreadable is the result of a check that could not read a file: nothing is
// known of it, which is no finding.
func unreadable(name string, err error) *Result {
	name = prerun.EscapePath(name)
	return &Result{
		Reason: fmt.Sprintf("%q could not be read", name),
		Source: prerun.NewSource([]prerun.Subject{{Path: name}}, nil, []prerun.Gap{{
			Location: prerun.Location{Path: name}, Reason: redact.Excerpt([]byte(err.Error()), maxReason),
		}}),
	}
}

// EmbeddingFacts are the facts of an embeddings scan as reports show them: rows,
// dim, sound (finite vectors of that dimension other than zero), median_norm,
// queries, tests[], each an [embedding.Test] with n, p and q, and hubs[], each an
// [embedding.Hub].
func EmbeddingFacts(res *embedding.Result) map[string]any {
	return map[string]any{
		"rows": res.Rows, "dim": res.Dim, "sound": res.Sound, "median_norm": res.MedianNorm,
		"queries": res.Queries, "tests": res.Tests, "hubs": res.Hubs,
	}
}
