package integrity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Change is the kind of a [Difference]. The list is append-only.
type Change uint8

// Changes. The zero value is not a change.
const (
	Missing     Change = iota + 1 // signed, and not there
	Extra                         // there, and not signed
	Modified                      // other content than signed
	KindChanged                   // a link, folder or special file where a file was signed, or the reverse
)

var changeNames = [...]string{"no change", "missing", "extra", "modified", "kind changed"}

func (c Change) String() string {
	if int(c) < len(changeNames) {
		return changeNames[c]
	}
	return fmt.Sprintf("change(%d)", uint8(c))
}

// A Range is a part of a file, in bytes.
type Range struct{ Start, End int64 }

// A Difference is what is wrong with one path.
type Difference struct {
	Change Change
	Path   string
	Want   digest.Digest // as signed; "" where there is none or only shards are known
	Got    digest.Digest // as found; likewise
	Shards []Range       // of a modified file hashed by shards: the ranges that differ
	Detail string        // of a changed kind: what was found
}

func (d Difference) String() string {
	s := fmt.Sprintf("%q %s", d.Path, d.Change)
	if d.Detail != "" {
		s += " (" + d.Detail + ")"
	}
	return s
}

// Diff compares two manifests of equal parameters and returns what got lacks,
// has too much or has otherwise, by path. A path that is a file in one and a
// folder in the other is [KindChanged]. Under different parameters, digests of
// the same bytes differ and show as [Modified].
func Diff(want, got *Manifest) []Difference {
	return diff(want, got, nil)
}

// diff also knows what stands at paths where no regular file was found.
func diff(want, got *Manifest, irregular map[string]oddity) []Difference {
	signed, found := filesOf(want), filesOf(got)
	isFolder, wasFolder := foldersOf(found), foldersOf(signed)
	var out []Difference
	onlySigned := func(name string, w []Resource) {
		d := Difference{Change: Missing, Path: name, Want: whole(w)}
		if isFolder(name) {
			d.Change, d.Detail = KindChanged, "folder"
		}
		out = append(out, d)
	}
	onlyFound := func(name string, g []Resource) {
		d := Difference{Change: Extra, Path: name, Got: whole(g)}
		if wasFolder(name) {
			d.Change, d.Detail = KindChanged, "file in place of a folder"
		}
		out = append(out, d)
	}
	for s, f := signed, found; len(s) > 0 || len(f) > 0; {
		w, g := firstFile(s), firstFile(f)
		order := 0
		switch {
		case len(g) == 0:
			order = -1
		case len(w) == 0:
			order = 1
		default:
			order = comparePaths(w[0].Path, g[0].Path)
		}
		if order <= 0 {
			s = s[len(w):]
		}
		if order >= 0 {
			f = f[len(g):]
		}
		switch {
		case order > 0:
			onlyFound(g[0].Path, g)
		case irregular[w[0].Path].detail != "":
			out = append(out, Difference{Change: KindChanged, Path: w[0].Path, Want: whole(w), Detail: irregular[w[0].Path].detail})
		case order < 0:
			onlySigned(w[0].Path, w)
		default:
			if d, same := compareFile(w[0].Path, w, g); !same {
				out = append(out, d)
			}
		}
	}
	for name, odd := range irregular {
		if _, ok := searchFile(signed, name); !ok && odd.kind != nil {
			out = append(out, Difference{Change: Extra, Path: name, Detail: odd.detail})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// filesOf sorts resources so that those of one file lie together, in order, and
// files of one folder too.
func filesOf(m *Manifest) []Resource {
	if slices.IsSortedFunc(m.Resources, pythonOrder) {
		return m.Resources
	}
	sorted := slices.Clone(m.Resources)
	slices.SortFunc(sorted, pythonOrder)
	return sorted
}

// firstFile is the resources of the first file.
func firstFile(sorted []Resource) []Resource {
	n := 0
	for n < len(sorted) && sorted[n].Path == sorted[0].Path {
		n++
	}
	return sorted[:n]
}

func searchFile(sorted []Resource, name string) (int, bool) {
	return slices.BinarySearchFunc(sorted, name, func(r Resource, name string) int { return comparePaths(r.Path, name) })
}

// foldersOf reports of a path whether files lie below it.
func foldersOf(sorted []Resource) func(name string) bool {
	return func(name string) bool {
		i, _ := searchFile(sorted, name+"/")
		return i < len(sorted) && strings.HasPrefix(sorted[i].Path, name+"/")
	}
}

func whole(shards []Resource) digest.Digest {
	if len(shards) == 1 {
		return shards[0].Digest
	}
	return ""
}

func compareFile(name string, want, got []Resource) (d Difference, same bool) {
	d = Difference{Change: Modified, Path: name, Want: whole(want), Got: whole(got)}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			d.Shards = append(d.Shards, Range{want[i].Start, want[i].End})
		case i >= len(want):
			d.Shards = append(d.Shards, Range{got[i].Start, got[i].End})
		case want[i] != got[i]:
			d.Shards = append(d.Shards, Range{want[i].Start, max(want[i].End, got[i].End)})
		}
	}
	if len(d.Shards) == 0 {
		return d, true
	}
	if len(want) == 1 && want[0].End == 0 {
		d.Shards = nil // the whole file
	}
	return d, false
}
