package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/weights"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
)

// scanCommand scans files, folders and images. Its facts are those of
// [pipeline.ScanFacts], of images also images[]{reference, digest, format}.
func (a *app) scanCommand() *cobra.Command {
	var rules []string
	var registry, partial, bare bool
	var keep keeping
	var sign attesting
	cmd := &cobra.Command{
		Use: "scan PATH...", Short: "find code execution and malformed structure in model files",
		Long: `Find code execution and malformed structure in model files.

With --registry the arguments are images, HOST/NAME:TAG or HOST/NAME@DIGEST,
whose layers are read where they are. Nothing is written to disk. All of a layer
is read, because only then is it known to be what its digest names;
--insecure-partial reads only what formats look at, and takes the registry's
word for it.

With --no-digests the report does not say of which content it is, and large
files cost only what their format reads.`,
		Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			scanner, err := scannerWith(rules)
			if err != nil {
				return err
			}
			if partial && !registry {
				return errors.New("--insecure-partial goes with --registry")
			}
			switch {
			case bare && registry:
				return errors.New("--no-digests goes with files; for images there is --insecure-partial")
			case bare && (sign.file != "" || keep.folder != ""):
				return errors.New("--attestation and --cache need the digests that --no-digests leaves out")
			}
			scanner.NoDigests = partial || bare
			done, err := keep.into(&scanner)
			if err != nil {
				return err
			}
			defer done()
			if err := sign.check(args, registry); err != nil {
				return err
			}
			none := []map[string]any{}
			out := scanned{facts: map[string]any{"files": none, "globals": none, "rule_sets": none}}
			if registry {
				err = out.images(cmd.Context(), scanner, args)
			} else {
				err = out.places(cmd.Context(), scanner, args)
			}
			if err != nil {
				return err
			}
			if sign.file != "" {
				if err := sign.write(cmd.Context(), a, args[0], out.result); err != nil {
					return err
				}
			}
			return a.finish(out.source(), out.facts,
				summary("%s, nested ones included", count(len(out.list("files")), "file")),
				func(doc *report.Document) { doc.Stats = out.stats })
		},
	}
	cmd.Flags().StringArrayVar(&rules, "rules", nil, "`FILE` of further rules, see scan.RuleSet (repeatable)")
	keep.add(cmd)
	sign.add(cmd)
	cmd.Flags().BoolVar(&registry, "registry", false, "the arguments are images in registries")
	cmd.Flags().BoolVar(&partial, "insecure-partial", false, "of images, read only what formats look at, which no digest proves")
	cmd.Flags().BoolVar(&bare, "no-digests", false, "leave out the digests of files, and reading all of a file for them")
	return cmd
}

// scanned is what several scans say together.
type scanned struct {
	merged
	facts map[string]any
	stats map[string]any

	result *scan.Result // the last one
}

func (s *scanned) list(name string) []map[string]any {
	list, _ := s.facts[name].([]map[string]any)
	return list
}

// take adds a result, with its paths below dir unless that is "".
func (s *scanned) take(dir string, res *scan.Result) {
	s.add(dir, res)
	s.result = res
	facts := pipeline.ScanFacts(res)
	for _, file := range facts["files"].([]map[string]any) {
		if dir != "" {
			file["path"] = under(dir, file["path"].(string))
		}
	}
	for _, name := range []string{"files", "globals"} {
		s.facts[name] = append(s.list(name), facts[name].([]map[string]any)...)
	}
	s.facts["rule_sets"] = facts["rule_sets"]
}

// places scans paths of the host. One that cannot be scanned is a gap.
func (s *scanned) places(ctx context.Context, scanner scan.Scanner, args []string) error {
	places, done, err := openAll(args, open)
	if err != nil {
		return err
	}
	defer done()
	for i, label := range labels(places) {
		dir := ""
		if len(places) > 1 && places[i].file == "" {
			dir = prerun.EscapePath(label)
		}
		res, err := places[i].scan(ctx, scanner, label)
		switch {
		case ctx.Err() != nil, errors.Is(err, scan.ErrRuleSet), errors.Is(err, scan.ErrCache):
			return err // no place can be scanned like that
		case err != nil: // the others are looked at all the same
			s.gap(prerun.EscapePath(label), err)
			continue
		}
		s.take(dir, res)
	}
	return nil
}

// keeping is where results of earlier scans are kept.
type keeping struct{ folder, secret string }

func (k *keeping) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.folder, "cache", "", "`FOLDER` that keeps results of scanned files; it must be yours alone unless --cache-secret is given")
	cmd.Flags().StringVar(&k.secret, "cache-secret", "", "`FILE` of 16 bytes or more that seals the cache")
}

// into gives a scanner the cache. Entries are of this very program: its file's
// digest is part of what is looked up.
func (k *keeping) into(s *scan.Scanner) (done func(), err error) {
	switch {
	case k.folder == "" && k.secret != "":
		return nil, errors.New("--cache-secret goes with --cache")
	case k.folder == "":
		return func() {}, nil
	}
	if err := os.Mkdir(k.folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, named(k.folder, err)
	}
	root, err := os.OpenRoot(k.folder)
	if err != nil {
		return nil, named(k.folder, err)
	}
	if s.Cache, err = k.open(root); err != nil {
		root.Close()
		return nil, named(k.folder, err)
	}
	return func() { root.Close() }, nil
}

func (k *keeping) open(root *os.Root) (c scan.Cache, err error) {
	info, err := root.Stat(".")
	if err != nil {
		return c, err
	}
	c.Store = scan.FolderStore{Root: root}
	if k.secret != "" {
		if c.Secret, err = readFile(k.secret); err != nil {
			return c, err
		}
	} else if c.InsecureNoSecret = true; info.Mode()&0o022 != 0 {
		return c, errors.New("others can write to it, and could hide findings there: give --cache-secret")
	}
	c.Version, err = ownDigest()
	return c, err
}

// ownDigest is the digest of this program's file.
func ownDigest() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// scannerWith is a scanner with the rule sets of the command line.
func scannerWith(rules []string) (s scan.Scanner, err error) {
	for _, name := range rules {
		data, err := readFile(name)
		if err != nil {
			return s, err
		}
		set, err := scan.ParseRuleSet(data)
		if err != nil {
			return s, named(name, err)
		}
		s.RuleSets = append(s.RuleSets, set)
	}
	return s, nil
}

// scan reads the place: its tree, or its one file under the label.
func (p *place) scan(ctx context.Context, scanner scan.Scanner, label string) (*scan.Result, error) {
	if p.file == "" {
		return scanner.Scan(ctx, p.fsys)
	}
	f, err := os.Open(p.host())
	if err != nil {
		return nil, errors.Unwrap(err) // the label says where
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	return scanner.ScanFile(ctx, label, f, info.Size())
}

// merged is what several sources say together.
type merged struct {
	subjects []prerun.Subject
	findings []prerun.Finding
	gaps     []prerun.Gap
}

// add takes a source over, with its paths below dir unless that is "".
func (m *merged) add(dir string, src prerun.Source) {
	move := func(name string) string {
		if dir == "" {
			return name
		}
		return under(dir, name)
	}
	for s := range src.Subjects() {
		s.Path = move(s.Path)
		m.subjects = append(m.subjects, s)
	}
	for f := range src.Findings() {
		f.Subject.Path = move(f.Subject.Path)
		f.Locations = slices.Clone(f.Locations)
		for i := range f.Locations {
			f.Locations[i].Path = move(f.Locations[i].Path)
		}
		m.findings = append(m.findings, f)
	}
	for g := range src.Gaps() {
		g.Location.Path = move(g.Location.Path)
		m.gaps = append(m.gaps, g)
	}
}

func (m *merged) gap(name string, err error) {
	m.subjects = append(m.subjects, prerun.Subject{Path: name})
	m.gaps = append(m.gaps, prerun.Gap{Location: prerun.Location{Path: name}, Reason: err.Error()})
}

func (m *merged) source() prerun.Source {
	gaps := m.gaps
	if len(m.subjects) == 0 { // which is a gap of every source, and need not be told twice
		for own := range prerun.NewSource(nil, nil, nil).Gaps() {
			gaps = slices.DeleteFunc(slices.Clone(gaps), func(g prerun.Gap) bool { return g == own })
		}
	}
	return prerun.NewSource(m.subjects, m.findings, gaps)
}

// weightsCommand looks at a model's tensors. Its facts are those of
// [pipeline.WeightsFacts] and, with a base, delta[] with a line for each tensor
// that both have, missing[] and extra[] with the names of the others, and
// relative, the size of the change as a share of the base.
func (a *app) weightsCommand() *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use: "scan FILE", Short: "look at a model's numbers, alone or against its base", Args: takes,
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
			about := summary("%s", count(len(res.Tensors), "tensor"))
			if base == "" {
				return a.finish(res, facts, about)
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
			facts["delta"], facts["relative"] = orEmpty(delta.Tensors), delta.Relative
			facts["missing"], facts["extra"] = orEmpty(delta.Missing), orEmpty(delta.Extra)
			var both merged
			both.add("", res)
			both.add("", delta)
			return a.finish(both.source(), facts, about)
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "model `FILE` that it was made from")
	return group("weights", "look at what the weights say", cmd)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
