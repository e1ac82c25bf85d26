package integrity

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/prerun/prerun/internal/walk"
)

// A tree is the listing of a model.
type tree struct {
	files     []source          // to be hashed, by path
	irregular map[string]oddity // what else stands there
	ignored   []string          // top of each excluded subtree
	uncovered []string          // links to folders
}

// A source is a file of the model. Real differs from name for a link. Size is
// that of info when the file was listed: some file systems hand out information
// that follows the file, and the plan of hashing must not.
type source struct {
	name string
	real string
	size int64
	info fs.FileInfo
}

// A Linker is a [fs.FileInfo] that knows how many names its file has: more than
// one, where there are hard links. Those of package os need not be one on Linux
// and macOS.
type Linker interface {
	Links() uint64
}

// linksOf is the number of a file's names, and 1 where nobody knows it.
func linksOf(info fs.FileInfo) uint64 {
	if l, ok := info.(Linker); ok {
		return l.Links()
	}
	if n, ok := systemLinks(info); ok {
		return n
	}
	return 1
}

// An oddity stands where no regular file does. A folder has no kind: it is
// odd only where a file was expected.
type oddity struct {
	kind   error // ErrSymlink or ErrSpecial
	detail string
}

var folder = oddity{nil, "folder"}

// links says what is done about symbolic links.
type links struct {
	allow    bool // one stands for the file it leads to
	external bool // even for one outside the model
}

func listTree(ctx context.Context, fsys fs.FS, ignore ignoreList, links links) (*tree, error) {
	t := &tree{irregular: make(map[string]oddity)}
	entries, err := walk.Files(ctx, fsys, func(name string) bool {
		if !ignore.match(name) {
			return false
		}
		t.ignored = append(t.ignored, name)
		return true
	})
	if err != nil {
		return nil, err
	}
	t.files = make([]source, 0, len(entries))
	for _, e := range entries {
		switch e.Kind {
		case walk.Regular:
			t.files = append(t.files, source{e.Path, e.Path, e.Size, e.Info})
		case walk.Dir:
			t.irregular[e.Path] = folder
		case walk.Symlink:
			t.addLink(fsys, e.Path, links)
		default:
			t.irregular[e.Path] = oddity{ErrSpecial, e.Kind.String()}
		}
	}
	return t, nil
}

// fileTree is the tree of a single-file model.
func fileTree(fsys fs.FS, name string, links links) (*tree, error) {
	t := &tree{irregular: make(map[string]oddity)}
	info, err := fs.Lstat(fsys, name)
	if err != nil {
		return nil, err
	}
	real, _, err := resolve(fsys, name)
	switch {
	case err != nil || real != name: // name is a link, or leads through one
		t.addLink(fsys, name, links)
	case info.IsDir():
		t.irregular[name] = folder
	case !info.Mode().IsRegular():
		t.irregular[name] = oddity{ErrSpecial, walk.Other.String()}
	default:
		t.files = append(t.files, source{name, name, info.Size(), info})
	}
	return t, nil
}

func (t *tree) addLink(fsys fs.FS, name string, links links) {
	if !links.allow {
		t.irregular[name] = oddity{ErrSymlink, "symbolic link"}
		return
	}
	real, info, err := resolve(fsys, name)
	if errors.Is(err, errEscape) && links.external {
		real = name
		info, err = fs.Stat(fsys, name)
	}
	switch {
	case err != nil:
		detail := "broken symbolic link"
		if errors.Is(err, errLink) {
			detail = err.Error()
		}
		t.irregular[name] = oddity{ErrSymlink, detail}
	case info.IsDir():
		t.uncovered = append(t.uncovered, name)
	case !info.Mode().IsRegular():
		t.irregular[name] = oddity{ErrSpecial, "symbolic link to a special file"}
	default:
		t.files = append(t.files, source{name, real, info.Size(), info})
	}
}

// errLink is wrapped by errors about the link itself.
var (
	errLink   = errors.New("symbolic link")
	errEscape = linkError("symbolic link out of the model")
	errCycle  = linkError("symbolic link in a cycle")
	errOpaque = linkError("symbolic link that the file system cannot read")
)

type linkError string

func (e linkError) Error() string        { return string(e) }
func (e linkError) Is(target error) bool { return target == errLink }

// resolve follows name to a path without links, by hand: a file system such as
// os.DirFS would follow a link to anywhere.
func resolve(fsys fs.FS, name string) (string, fs.FileInfo, error) {
	const maxLinks = 40
	at, seen := ".", 0
	for todo := strings.Split(name, "/"); len(todo) > 0; {
		elem := todo[0]
		todo = todo[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return "", nil, errEscape
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, elem)
		info, err := fs.Lstat(fsys, next)
		if err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if _, ok := fsys.(fs.ReadLinkFS); !ok {
			return "", nil, errOpaque
		}
		if seen++; seen > maxLinks {
			return "", nil, errCycle
		}
		target, err := fs.ReadLink(fsys, next)
		if err != nil {
			return "", nil, err
		}
		if path.IsAbs(target) {
			return "", nil, errEscape
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	info, err := fs.Lstat(fsys, at)
	return at, info, err
}
