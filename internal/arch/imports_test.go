package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/prerun/prerun"

// allowed is what a tree may import from this module besides itself, the root
// package and internal. Leaves are imported by examples and users only.
var allowed = map[string][]string{
	"":           {}, // the root package: standard library only
	"internal":   {},
	"integrity":  {},
	"provenance": {},
	"datasec":    {},
	"validate":   {},
	"pipeline":   {"integrity", "provenance", "datasec", "validate"},
	"benchmarks": {"integrity", "provenance", "datasec", "validate", "pipeline"},
}

// leaves bring heavy modules or cgo along; nothing in the library may pull one
// in.
var leaves = []string{
	"integrity/sigstore", "integrity/oci", "integrity/pkcs11",
	"provenance/sigstore", "provenance/oci", "provenance/bom",
	"datasec/parquet", "datasec/beam",
}

// onlyRoot may import nothing of this module but the root and internal.
var onlyRoot = []string{"pipeline/report"}

func TestImports(t *testing.T) {
	root, err := os.OpenRoot("../..")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	files := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(root.FS(), name)
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		src, err := fs.ReadFile(root.FS(), name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := refused(path.Dir(name), target); why != "" {
				t.Errorf("%s imports %s: %s", name, target, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("looked at %d files only", files)
	}
}

func skipDir(fsys fs.FS, name string) error {
	switch base := path.Base(name); {
	case name == ".":
		return nil
	case base == "testdata", base == "examples", strings.HasPrefix(base, "."), strings.HasPrefix(base, "_"):
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir // a nested module keeps its own rules
	}
	return nil
}

// refused says why a package may not import a target, or "".
func refused(pkg, target string) string {
	rel, ours := strings.CutPrefix(target, module)
	rel = strings.TrimPrefix(rel, "/")
	if pkg == "." {
		if ours || strings.Contains(firstElement(target), ".") {
			return "the root package imports the standard library only"
		}
		return ""
	}
	if !ours || rel == "" || firstElement(rel) == "internal" {
		return ""
	}
	if slices.ContainsFunc(leaves, func(l string) bool { return under(rel, l) && !under(pkg, l) }) {
		return "it is a leaf"
	}
	if slices.ContainsFunc(onlyRoot, func(p string) bool { return under(pkg, p) && !under(rel, p) }) {
		return "it may import the root package and internal only"
	}
	own := firstElement(pkg)
	rule, known := allowed[own]
	switch {
	case !known:
		return "no import rule for tree " + own
	case firstElement(rel) == own, slices.Contains(rule, firstElement(rel)):
		return ""
	}
	return "trees do not import one another"
}

func under(pkg, tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") }

func firstElement(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

// The rule itself is tested: each of these must be refused or allowed.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		pkg, target string
		ok          bool
	}{
		{".", "fmt", true},
		{".", "golang.org/x/sync/errgroup", false},
		{".", module + "/internal/limits", false},
		{"integrity", module, true},
		{"integrity/scan", module + "/integrity", true},
		{"integrity", module + "/internal/walk", true},
		{"integrity", module + "/provenance", false},
		{"datasec", module + "/integrity/weights", false},
		{"validate", module + "/pipeline", false},
		{"pipeline", module + "/datasec/embedding", true},
		{"pipeline", module + "/integrity/sigstore", false},
		{"integrity", module + "/integrity/oci", false},
		{"integrity/oci", module + "/integrity", true},
		{"pipeline/report", module + "/pipeline", false},
		{"pipeline/report", module + "/internal/redact", true},
		{"pipeline", module + "/pipeline/report", true},
		{"internal/dsse", module + "/integrity", false},
		{"internal/dsse", module, true},
		{"pipeline", module + "/examples/prerun", false},
		{"newtree", module + "/integrity", false},
	} {
		if why := refused(tt.pkg, tt.target); (why == "") != tt.ok {
			t.Errorf("%s imports %s: %q", tt.pkg, tt.target, why)
		}
	}
}

// budget is the outside modules that importing a package may link, by name. A
// longer list is a reviewed one-line change. Packages that are not listed must
// not link any.
var budget = map[string][]string{
	"integrity":               append(hashModules, "github.com/opencontainers/go-digest", "golang.org/x/sync", "go.yaml.in/yaml/v3"),
	"integrity/scan":          scanModules,
	"integrity/scan/scantest": append(scanModules, "github.com/google/go-cmp"),
	"integrity/weights":       {"golang.org/x/sync", "github.com/x448/float16", "go.yaml.in/yaml/v3"},
	"provenance":              {"github.com/opencontainers/go-digest", "golang.org/x/sync", "go.yaml.in/yaml/v3"},
	"datasec":                 {"github.com/klauspost/compress", "golang.org/x/sync", "golang.org/x/text", "go.yaml.in/yaml/v3", "github.com/opencontainers/go-digest"},
	"datasec/embedding":       {"golang.org/x/sync", "github.com/x448/float16", "go.yaml.in/yaml/v3", "github.com/opencontainers/go-digest"},
	"validate":                {"golang.org/x/sync", "golang.org/x/text", "go.yaml.in/yaml/v3", "github.com/santhosh-tekuri/jsonschema/v6"},
	"pipeline": append(hashModules,
		"github.com/klauspost/compress", "github.com/opencontainers/go-digest", "github.com/santhosh-tekuri/jsonschema/v6",
		"github.com/x448/float16", "go.yaml.in/yaml/v3", "golang.org/x/sync", "golang.org/x/text", "google.golang.org/protobuf",
		"github.com/pierrec/lz4/v4", "github.com/ulikunitz/xz"),
	"pipeline/report": {},
}

// hashModules are BLAKE2b and BLAKE3, and how they ask for the processor.
var hashModules = []string{"golang.org/x/crypto", "golang.org/x/sys", "lukechampine.com/blake3", "github.com/klauspost/cpuid/v2"}

var scanModules = []string{
	"github.com/klauspost/compress", "github.com/opencontainers/go-digest", "github.com/x448/float16",
	"go.yaml.in/yaml/v3", "golang.org/x/sync", "golang.org/x/text", "google.golang.org/protobuf",
	"github.com/pierrec/lz4/v4", "github.com/ulikunitz/xz",
}

// banned never appears outside a leaf, whatever the lists say.
var banned = []string{"sigstore", "go-containerregistry", "google.golang.org/grpc", "spf13"}

func TestModules(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f",
		`{{if .DepOnly}}{{else}}{{.ImportPath}}{{end}}`, "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		if under(rel, "examples") || under(rel, "internal") || under(rel, "benchmarks") || slices.ContainsFunc(leaves, func(l string) bool { return under(rel, l) }) {
			continue
		}
		for _, mod := range modulesOf(t, pkg) {
			if slices.ContainsFunc(banned, func(b string) bool { return strings.Contains(mod, b) }) {
				t.Errorf("%s links %s, which belongs in a leaf", pkg, mod)
			}
			if !slices.Contains(allowance(rel), mod) {
				t.Errorf("%s links %s, which its budget does not name", pkg, mod)
			}
		}
	}
}

// allowance is the budget of the nearest listed ancestor.
func allowance(rel string) []string {
	for p := rel; p != "."; p = path.Dir(p) {
		if list, ok := budget[p]; ok {
			return list
		}
		if p == "" {
			break
		}
	}
	return nil
}

func modulesOf(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", `{{with .Module}}{{.Path}}{{end}}`, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	mods := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	return slices.DeleteFunc(mods, func(m string) bool { return m == module })
}
