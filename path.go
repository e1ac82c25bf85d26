package prerun

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nestSeparator stands between a container and what it holds. An escaped name
// has no "!", so the separator is never ambiguous.
const nestSeparator = "!/"

// EscapePath makes a name from scanned material safe to stand in a path of
// this vocabulary: "%", "!", bytes that are not UTF-8 and characters that do
// not print (controls, line separators, bidirectional marks) become %XX, one
// for each byte. Other characters, "/" among them, stay.
func EscapePath(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == '%' || r == '!' || r == utf8.RuneError && size <= 1 || !unicode.IsPrint(r) {
			for _, c := range []byte(name[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(name[i : i+size])
		}
		i += size
	}
	return b.String()
}

// NestPath is the path of an entry inside a container: outer is a path of this
// vocabulary already, name is the entry's raw name. NestPath("model.zip",
// "archive/data.pkl") is "model.zip!/archive/data.pkl".
func NestPath(outer, name string) string {
	return outer + nestSeparator + EscapePath(name)
}

// SplitPath undoes [NestPath] and [EscapePath]: it returns the raw names from
// the outermost file to the innermost entry.
func SplitPath(path string) ([]string, error) {
	if path == "" {
		return nil, errEmptyPath
	}
	parts := strings.Split(path, nestSeparator)
	for i, part := range parts {
		name, err := unescapePath(part)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", path, err)
		}
		parts[i] = name
	}
	return parts, nil
}

func unescapePath(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '!' {
			return "", fmt.Errorf("unescaped %q", '!')
		}
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", fmt.Errorf("cut escape %q", s[i:])
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("bad escape %q", s[i:i+3])
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
