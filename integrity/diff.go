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
	signed, found := byPath(want), byPath(got)
	isFolder := foldersOf(found)
	var out []Difference
	for name, w := range signed {
		g, ok := found[name]
		switch odd := irregular[name]; {
		case odd.detail != "":
			out = append(out, Difference{Change: KindChanged, Path: name, Want: whole(w), Detail: odd.detail})
		case ok:
			if d, same := compareFile(name, w, g); !same {
				out = append(out, d)
			}
		case isFolder[name]:
			out = append(out, Difference{Change: KindChanged, Path: name, Want: whole(w), Detail: "folder"})
		default:
			out = append(out, Difference{Change: Missing, Path: name, Want: whole(w)})
		}
	}
	wasFolder := foldersOf(signed)
	for name, g := range found {
		if _, ok := signed[name]; ok {
			continue
		}
		d := Difference{Change: Extra, Path: name, Got: whole(g)}
		if wasFolder[name] {
			d.Change, d.Detail = KindChanged, "file in place of a folder"
		}
		out = append(out, d)
	}
	for name, odd := range irregular {
		if _, ok := signed[name]; !ok && odd.kind != nil {
			out = append(out, Difference{Change: Extra, Path: name, Detail: odd.detail})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func byPath(m *Manifest) map[string][]Resource {
	files := make(map[string][]Resource, len(m.Resources))
	for _, r := range m.Resources {
		files[r.Path] = append(files[r.Path], r)
	}
	for _, shards := range files {
		slices.SortFunc(shards, pythonOrder)
	}
	return files
}

func foldersOf(files map[string][]Resource) map[string]bool {
	folders := make(map[string]bool)
	for name := range files {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			if folders[name[:i]] {
				break
			}
			folders[name[:i]] = true
		}
	}
	return folders
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
