package main

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/prerun/prerun/integrity"
)

// A place is a path of the command line: a folder, or a file in its folder.
// What is read through fsys cannot leave the folder. The file itself may be a
// link to anywhere, because the user named it.
type place struct {
	root *os.Root
	fsys fs.FS
	file string // "" for a folder
	dir  string // on the host, absolute
}

// open opens a path of the command line.
func open(name string) (*place, error) {
	if name == "" {
		return nil, errors.New("a path is empty")
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, named(name, err)
	}
	p := &place{dir: abs}
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		p.dir, p.file = filepath.Dir(abs), filepath.Base(abs)
	default:
		return nil, fmt.Errorf("%q is neither a file nor a folder", name)
	}
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return nil, named(name, err)
	}
	p.fsys = p.root.FS()
	return p, nil
}

// openFile is open for what must not be a folder.
func openFile(name string) (*place, error) {
	p, err := open(name)
	if err != nil {
		return nil, err
	}
	if p.file == "" {
		p.Close()
		return nil, fmt.Errorf("%q is a folder, not a file", name)
	}
	return p, nil
}

// openAll opens every argument. A path that is given twice is a mistake: it
// would count twice.
func openAll(args []string, open func(string) (*place, error)) (places []*place, done func(), err error) {
	done = func() {
		for _, p := range places {
			p.Close()
		}
	}
	seen := make(map[string]bool)
	for _, arg := range args {
		p, err := open(arg)
		if err != nil {
			done()
			return nil, nil, err
		}
		places = append(places, p)
		if seen[p.host()] {
			done()
			return nil, nil, fmt.Errorf("%q is given twice", arg)
		}
		seen[p.host()] = true
	}
	return places, done, nil
}

// named is an error about a path of the command line, called as the user
// called it.
func named(name string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%q: %w", name, err)
}

func (p *place) Close() error { return p.root.Close() }

// host is the path on the host.
func (p *place) host() string { return filepath.Join(p.dir, p.file) }

// name is how the place is called in reports.
func (p *place) name() string {
	if p.file != "" {
		return p.file
	}
	return filepath.Base(p.dir)
}

// relative makes a path of the command line relative to the place: it is so
// already, or absolute and below it.
func (p *place) relative(name string) (string, error) {
	rel := filepath.Clean(name)
	if filepath.IsAbs(rel) {
		var err error
		if rel, err = filepath.Rel(p.dir, rel); err != nil {
			return "", err
		}
	}
	if !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%q does not lie below %q", name, p.name())
	}
	return filepath.ToSlash(rel), nil
}

// inside is the relative path of a file of the command line that lies below the
// place, or "".
func (p *place) inside(name string) string {
	abs, err := filepath.Abs(name)
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
	for _, name := range list {
		rel, err := p.relative(name)
		if err != nil {
			return nil, fmt.Errorf("--ignore: %w", err)
		}
		out = append(out, rel)
	}
	if p.file == "" && own != "" {
		if rel := p.inside(own); rel != "" {
			out = append(out, rel)
		}
	}
	return out, nil
}

// only is a tree that holds nothing but the file of the command line, or the
// whole folder.
func (p *place) only() fs.FS {
	if p.file == "" {
		return p.fsys
	}
	return oneFile{hostFiles{p.file: p.host()}, p.fsys, p.file}
}

// hostFiles shows files of the host under names of our choice.
type hostFiles map[string]string

func (t hostFiles) Open(name string) (fs.File, error) {
	host, ok := t[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := os.Open(host)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: pe.Err} // not the path of the host
	}
	return f, err
}

// oneFile is a tree of one file.
type oneFile struct {
	hostFiles
	dir  fs.FS
	name string
}

func (t oneFile) Open(name string) (fs.File, error) {
	if name == "." {
		return t.dir.Open(name)
	}
	return t.hostFiles.Open(name)
}

func (t oneFile) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(t.hostFiles, t.name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{renamed{fs.FileInfoToDirEntry(info), t.name}}, nil
}

// renamed is an entry under the name of the command line, where that is a link
// to a file of another name.
type renamed struct {
	fs.DirEntry
	name string
}

func (e renamed) Name() string { return e.name }

// labels name places in one report, slash-separated: one by itself by its own
// name, several by what follows the folder that holds them all.
func labels(places []*place) []string {
	common := filepath.Dir(places[0].host())
	for _, p := range places[1:] {
		for !below(common, p.host()) {
			common = filepath.Dir(common)
		}
	}
	out := make([]string, len(places))
	for i, p := range places {
		rel, err := filepath.Rel(common, p.host())
		if err != nil {
			rel = p.name()
		}
		out[i] = filepath.ToSlash(rel)
	}
	return out
}

func below(dir, name string) bool {
	return filepath.Dir(dir) == dir || strings.HasPrefix(name, dir+string(filepath.Separator))
}

// under is a path below a folder of a report.
func under(dir, name string) string {
	if name == "." || name == "" {
		return dir
	}
	return path.Join(dir, name)
}

// maxFile bounds the small files that the user names: keys, certificates,
// bundles, policies, suites.
const maxFile = 64 << 20

// readFile reads a small file that the user named, which may be a pipe.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, named(name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, named(name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%q has more than %d bytes", name, maxFile)
	}
	return data, nil
}

// readPassword reads a file with a password and nothing else, but for a line
// end.
func readPassword(name string) ([]byte, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r")), nil
}

// readPrivateKey reads a PEM file, encrypted by the password that another file
// holds when that is not "".
func readPrivateKey(name, passwordFile string) (crypto.Signer, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var password []byte
	if passwordFile != "" {
		if password, err = readPassword(passwordFile); err != nil {
			return nil, err
		}
	}
	key, err := integrity.ParsePrivateKey(data, password)
	if err != nil {
		return nil, named(name, err)
	}
	return key, nil
}

func readPublicKey(name string) (crypto.PublicKey, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	pub, err := integrity.ParsePublicKey(data)
	if err != nil {
		return nil, named(name, err)
	}
	return pub, nil
}
