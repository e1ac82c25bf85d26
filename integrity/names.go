package integrity

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// selfName is how the Python tool names the only file of a single-file model.
const selfName = "."

// DefaultIgnore returns the paths that are never part of a model: the version
// control files at its root, and only there.
func DefaultIgnore() []string {
	return []string{".git", ".gitattributes", ".github", ".gitignore"}
}

// checkPath accepts the paths that may stand in a manifest: relative, clean,
// slash-separated, with no way out of the model.
func checkPath(name string) error {
	switch {
	case !utf8.ValidString(name):
		return errors.New("name is not valid UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("name holds a NUL byte")
	case name == selfName || !fs.ValidPath(name):
		return errors.New("name is not a clean relative path")
	}
	return nil
}

// joinShard is the name of a range of a file.
func joinShard(file string, start, end int64) string {
	return file + ":" + strconv.FormatInt(start, 10) + ":" + strconv.FormatInt(end, 10)
}

// splitShard reads PATH:START:END from the right, because a path may hold
// colons of its own. Numbers are decimal with no sign and no leading zero, so
// that a range has one name.
func splitShard(name string) (file string, start, end int64, err error) {
	rest, endText, ok := cutLast(name)
	file, startText, ok2 := cutLast(rest)
	if !ok || !ok2 {
		return "", 0, 0, errors.New("shard name is not PATH:START:END")
	}
	if start, err = parseOffset(startText); err != nil {
		return "", 0, 0, err
	}
	if end, err = parseOffset(endText); err != nil {
		return "", 0, 0, err
	}
	if start >= end {
		return "", 0, 0, fmt.Errorf("shard ends at %d, before or where it starts", end)
	}
	return file, start, end, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func parseOffset(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("%q is not a decimal offset", s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("offset %s is out of range", s)
	}
	return n, nil
}

// An ignoreList excludes exact paths and what lies below them, component by
// component.
type ignoreList map[string]bool

// newIgnoreList adds the defaults to entries. It fails on an entry that is not
// a clean path inside the model: silently dropping one would sign, or refuse,
// something else than the caller meant.
func newIgnoreList(entries ...[]string) (ignoreList, error) {
	list := make(ignoreList)
	for _, entry := range slices.Concat(append(entries, DefaultIgnore())...) {
		if err := checkPath(entry); err != nil {
			return nil, fmt.Errorf("ignored path %q: %w", entry, err)
		}
		list[entry] = true
	}
	return list, nil
}

func (l ignoreList) match(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if l[name] {
			return true
		}
	}
	return false
}

// checkNoGlob refuses entries that another implementation might expand.
func checkNoGlob(entries []string) error {
	for _, entry := range entries {
		if strings.ContainsAny(entry, "*?[") {
			return fmt.Errorf("ignored path %q: the format has no patterns", entry)
		}
	}
	return nil
}
