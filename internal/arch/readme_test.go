package arch_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the README tells users is what is tested: its Go blocks stand in
// examples, its test command stands in the CI script on a line of its own, and
// it stays short.
func TestReadme(t *testing.T) {
	readme := read(t, "../../README.md")
	if lines := strings.Count(readme, "\n"); lines > 120 {
		t.Errorf("README.md has %d lines, more than 120", lines)
	}
	examples := fold(allExamples(t))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) == 0 {
		t.Error("README.md has no Go block")
	}
	for _, b := range blocks {
		if !strings.Contains(examples, fold(b[1])) {
			t.Errorf("this block of README.md stands in no example_test.go:\n%s", b[1])
		}
	}
	_, testing, found := strings.Cut(readme, "## Testing")
	if !found {
		t.Fatal("README.md has no section Testing")
	}
	command := regexp.MustCompile("(?s)```\\w*\n(.*?)\n```").FindStringSubmatch(testing)
	if command == nil {
		t.Fatal("section Testing has no command")
	}
	if ci := read(t, "../../.ci/run"); !strings.Contains(ci, "\n"+command[1]+"\n") {
		t.Errorf(".ci/run does not run %q on a line of its own", command[1])
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// fold forgets white space.
func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

func allExamples(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS("../.."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "example_test.go") {
			return err
		}
		all.WriteString(read(t, "../../"+name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
