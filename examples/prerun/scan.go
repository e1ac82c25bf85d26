package main

import (
	"context"
	"io/fs"
	"path"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/pipeline"
)

func (a *app) scanCommand() *cobra.Command {
	return &cobra.Command{
		Use: "scan PATH...", Short: "find code execution and malformed structure in model files", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var sources []prerun.Source
			facts := map[string]any{"files": []map[string]any{}, "globals": []map[string]any{}}
			for _, arg := range args {
				res, err := scanPlace(cmd.Context(), arg)
				if err != nil {
					return err
				}
				sources = append(sources, res)
				for key, more := range pipeline.ScanFacts(res) {
					facts[key] = append(facts[key].([]map[string]any), more.([]map[string]any)...)
				}
			}
			return a.finish("scan", merge(sources), facts)
		},
	}
}

func scanPlace(ctx context.Context, arg string) (*scan.Result, error) {
	p, err := open(arg)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if p.file == "" {
		return scan.Scanner{}.Scan(ctx, p.fsys)
	}
	f, err := p.root.Open(p.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return scan.Scanner{}.ScanFile(ctx, p.file, f, info.Size())
}

// merge is what several sources say together.
func merge(sources []prerun.Source) prerun.Source {
	if len(sources) == 1 {
		return sources[0]
	}
	var subjects []prerun.Subject
	var findings []prerun.Finding
	var gaps []prerun.Gap
	for _, src := range sources {
		for s := range src.Subjects() {
			subjects = append(subjects, s)
		}
		for f := range src.Findings() {
			findings = append(findings, f)
		}
		for g := range src.Gaps() {
			gaps = append(gaps, g)
		}
	}
	return prerun.NewSource(subjects, findings, gaps)
}

func (a *app) weightsCommand() *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use: "scan FILE", Short: "look at a model's numbers, alone or against its base", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			res, err := weights.Scanner{}.Scan(cmd.Context(), p.only())
			if err != nil {
				return err
			}
			facts := pipeline.WeightsFacts(res)
			if base == "" {
				return a.finish("weights scan", res, facts)
			}
			b, err := open(base)
			if err != nil {
				return err
			}
			defer b.Close()
			delta, err := weights.Scanner{}.Compare(cmd.Context(), b.only(), p.only())
			if err != nil {
				return err
			}
			facts["delta"] = delta.Tensors
			facts["missing"], facts["extra"] = orEmpty(delta.Missing), orEmpty(delta.Extra)
			facts["relative"] = delta.Relative
			return a.finish("weights scan", merge([]prerun.Source{res, delta}), facts)
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "the model that it was made from")
	return group("weights", "look at what the weights say", cmd)
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// only is a tree that holds nothing but the file of the command line, or the
// whole folder.
func (p *place) only() fs.FS {
	if p.file == "" {
		return p.fsys
	}
	return oneFile{p.fsys, p.file}
}

// oneFile shows one file of a tree and the root that holds it.
type oneFile struct {
	fs.FS
	name string
}

func (t oneFile) Open(name string) (fs.File, error) {
	if name != "." && name != t.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return t.FS.Open(name)
}

func (t oneFile) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(t.FS, path.Clean(t.name))
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}
