package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/atomicfile"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/pipeline/report"
)

// An app is one invocation: its common flags, its streams, its exit status.
type app struct {
	stdout, stderr io.Writer
	now            func() time.Time

	format string
	output string
	failOn prerun.Severity
	quiet  bool

	code int
}

// finish decides over a source at the threshold and writes the report.
func (a *app) finish(command string, src prerun.Source, facts map[string]any, more ...func(*report.Document)) error {
	doc := report.Document{
		Command: command, Verdict: prerun.Decide(src, a.failOn), FailOn: a.failOn, Source: src, Facts: facts,
	}
	for _, change := range more {
		change(&doc)
	}
	return a.write(doc)
}

// write renders a document to --output and, unless that is all that was asked
// for, to standard output. A report goes to a file whole or not at all.
func (a *app) write(doc report.Document) error {
	writer, err := report.For(a.format)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := writer(&buf, doc); err != nil {
		return err
	}
	a.code = doc.Verdict.ExitCode()
	if a.output != "" {
		return atomicfile.Write(a.output, buf.Bytes(), 0o644)
	}
	if a.quiet {
		return nil
	}
	_, err = a.stdout.Write(buf.Bytes())
	return err
}

// progress reports a share of work on the terminal, or nothing elsewhere.
func (a *app) progress(what string) func(done, total int64) {
	f, ok := a.stderr.(*os.File)
	if !ok || a.quiet {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if now := time.Now(); total > 0 && (done == total || now.Sub(last) > 100*time.Millisecond) {
			last = now
			fmt.Fprintf(f, "\r\x1b[K%s %3d %%", what, 100*done/total)
			if done == total {
				fmt.Fprint(f, "\r\x1b[K")
			}
		}
	}
}

// A place is a path of the command line: a folder, or a file in its folder.
// What is read of it cannot leave the folder.
type place struct {
	root *os.Root
	fsys fs.FS
	file string // "" for a folder
	dir  string // on the host, absolute
}

// open opens a path of the command line.
func open(path string) (*place, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	p := &place{dir: abs}
	if !info.IsDir() {
		p.dir, p.file = filepath.Split(abs)
		p.dir = filepath.Clean(p.dir)
	}
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return nil, err
	}
	p.fsys = p.root.FS()
	return p, nil
}

func (p *place) Close() error { return p.root.Close() }

// name is how the place is called in reports.
func (p *place) name() string {
	if p.file != "" {
		return p.file
	}
	return filepath.Base(p.dir)
}

// relative makes a path of the command line relative to the place: it is so
// already, or absolute and below it.
func (p *place) relative(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return filepath.ToSlash(filepath.Clean(path)), nil
	}
	rel, err := filepath.Rel(p.dir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%q does not lie below %q", path, p.name())
	}
	return filepath.ToSlash(rel), nil
}

// inside is the relative path of a file of the command line that lies below the
// place, or "".
func (p *place) inside(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	rel, err := p.relative(abs)
	if err != nil {
		return ""
	}
	return rel
}

// ignored is the list of --ignore, made relative, with a file of ours that lies
// inside the model.
func (p *place) ignored(list []string, own string) ([]string, error) {
	var out []string
	for _, path := range list {
		rel, err := p.relative(path)
		if err != nil {
			return nil, err
		}
		out = append(out, rel)
	}
	if p.file == "" {
		if rel := p.inside(own); rel != "" {
			out = append(out, rel)
		}
	}
	return out, nil
}

// readFile reads a small file that the user named.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := limits.ReadAll(f, limits.MaxBundle)
	if e, ok := errors.AsType[*limits.Error](err); ok {
		e.Name = path
	}
	return data, err
}
