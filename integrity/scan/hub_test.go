package scan_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/digestx"
)

// A cache is the folder of a Hugging Face hub client being put together. Values
// of links start with "->".
type cache map[string]string

const revision = "0123456789abcdef0123456789abcdef01234567"

func large(data []byte) string { return digestx.Hex(digestx.Of(data)) }

func small(data []byte) string {
	sum := sha1.Sum(fmt.Appendf([]byte(nil), "blob %d\x00%s", len(data), data))
	return hex.EncodeToString(sum[:])
}

// add puts a file into a repository as the client does and returns its blob.
func (c cache) add(repository, name, hash string, data []byte) string {
	up := strings.Repeat("../", 2+strings.Count(name, "/"))
	c[repository+"snapshots/"+revision+"/"+name] = "->" + up + "blobs/" + hash
	c[repository+"blobs/"+hash] = string(data)
	return repository + "blobs/" + hash
}

func (c cache) fs() fs.FS {
	fsys := fstest.MapFS{}
	for name, data := range c {
		if to, ok := strings.CutPrefix(data, "->"); ok {
			fsys[name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
		} else {
			fsys[name] = &fstest.MapFile{Data: []byte(data), Mode: 0o644}
		}
	}
	return fsys
}

// repository is an ordinary one.
func repository(at string) cache {
	tensors := build.Safetensors(smallHeader, make([]byte, 16))
	config, index := []byte(`{"model_type": "bert"}`), []byte(`{"weight_map": {"a": "model.safetensors"}}`)
	c := cache{at + "refs/main": revision, at + ".no_exist/" + revision + "/added_tokens.json": ""}
	c.add(at, "config.json", small(config), config)
	c.add(at, "model.safetensors", large(tensors), tensors)
	c.add(at, "model.safetensors.index.json", small(index), index)
	c.add(at, "onnx/model.onnx", large(onnxOutside("model.onnx_data")), onnxOutside("model.onnx_data"))
	c.add(at, "onnx/model.onnx_data", large(make([]byte, 16)), make([]byte, 16))
	return c
}

func onnxOutside(location string) []byte {
	return build.ONNX([]build.Proto{build.Node("Relu", "")}, []build.Proto{build.ExternalTensor("w", []uint64{4}, "location", location, "length", "16")})
}

func mustScan(t testing.TB, s scan.Scanner, fsys fs.FS) *scan.Result {
	t.Helper()
	res, err := s.Scan(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestHubCache opens ordinary caches: one repository, and a folder of several.
func TestHubCache(t *testing.T) {
	both := repository("models--a--b/")
	maps.Copy(both, repository("datasets--c--d/"))
	for name, c := range map[string]cache{"repository": repository(""), "cache": both} {
		res := mustScan(t, scan.Scanner{}, c.fs())
		if res.Verdict() != scan.Clean || res.Completeness() != scan.Complete || len(byPath(res)) > 0 {
			for i := range res.Files {
				report(t, &res.Files[i])
			}
			t.Errorf("%s: %s, %s", name, res.Verdict(), res.Completeness())
		}
		if len(res.Files) != len(c) {
			t.Errorf("%s: %d results of %d files", name, len(res.Files), len(c))
		}
		for i := range res.Files {
			f := &res.Files[i]
			link := f.Facts["link"]
			if strings.Contains(f.Path, "/snapshots/") || strings.HasPrefix(f.Path, "snapshots/") {
				if !strings.Contains(link, "blobs/") || f.Digest == "" || slices.Equal(f.Formats, []string{"blob"}) {
					report(t, f)
					t.Errorf("%s was not scanned as what it links to", f.Path)
				}
			}
			if strings.HasPrefix(f.Path, "blobs/") && (f.Facts["snapshot"] == "" || f.Digest == "" || f.Size == 0) {
				report(t, f)
				t.Errorf("%s does not say where it was scanned", f.Path)
			}
		}
	}
}

// TestHubContent finds attacks in blobs, under the names of snapshots, and in
// blobs that no snapshot names.
func TestHubContent(t *testing.T) {
	attack, config := build.Attack(), []byte(`{"auto_map": {"AutoModel": "a.B"}}`)
	c := repository("")
	named := c.add("", "pytorch_model.bin", large(attack), attack)
	mapped := c.add("", "text_encoder/config.json", small(config), config)
	c["snapshots/"+strings.Repeat("f", 40)+"/other.bin"] = "->../../blobs/" + large(attack)
	loose := append(build.Attack(), 'N', '.')
	c["blobs/"+large(loose)] = string(loose)
	c["snapshots/"+revision+"/plain.pkl"] = string(attack) // where links are not possible, files are copied
	res := mustScan(t, scan.Scanner{}, c.fs())
	want := map[string][]string{
		"snapshots/" + revision + "/pytorch_model.bin":        {"scan.pickle.call-on-load"},
		"snapshots/" + revision + "/text_encoder/config.json": {"scan.config.auto-map"},
		"snapshots/" + strings.Repeat("f", 40) + "/other.bin": {"scan.pickle.call-on-load"},
		"snapshots/" + revision + "/plain.pkl":                {"scan.pickle.call-on-load"},
		"blobs/" + large(loose):                               {"scan.pickle.call-on-load"},
	}
	if diff := cmp.Diff(want, byPath(res)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range res.Files {
		switch f := &res.Files[i]; f.Path {
		case named:
			if f.Verdict != scan.Malicious || f.Facts["snapshot"] != "snapshots/"+revision+"/pytorch_model.bin" {
				t.Errorf("%s: %s %v", named, f.Verdict, f.Facts)
			}
		case mapped:
			if f.Verdict != scan.Suspicious {
				t.Errorf("%s: %s", mapped, f.Verdict)
			}
		}
	}
}

func TestHubLinks(t *testing.T) {
	at := "snapshots/" + revision + "/x.json"
	for _, tt := range []struct {
		name, link string
		want       string
	}{
		{"own_blob", "../../blobs/" + strings.Repeat("a", 12), ""},
		{"through_a_link", "y.json", ""}, // y.json is a link to a blob
		{"other_file", "../../refs/main", "scan.tree.snapshot-link"},
		{"other_revision", "../" + strings.Repeat("f", 40) + "/file.json", "scan.tree.snapshot-link"},
		{"other_repository", "../../../models--c--d/blobs/" + strings.Repeat("b", 12), "scan.tree.snapshot-link"},
		{"below_blobs", "../../blobs/sub/file", "scan.tree.snapshot-link"},
		{"blobs_itself", "../../blobs", "scan.tree.snapshot-link"},
		{"root", "../../..", "scan.tree.snapshot-link"},
		{"sibling", "file.json", "scan.tree.snapshot-link"},
		{"itself", "x.json", "scan.tree.snapshot-link"},
		{"missing_blob", "../../blobs/" + strings.Repeat("c", 12), "scan.tree.link-escape"},
		{"outside", "../../../../etc/passwd", "scan.tree.link-escape"},
		{"absolute", "/etc/passwd", "scan.tree.link-escape"},
		{"absolute_blob", "/models--a--b/blobs/" + strings.Repeat("a", 12), "scan.tree.link-escape"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cache{
				"models--a--b/blobs/" + strings.Repeat("a", 12):                    "{}",
				"models--a--b/blobs/sub/file":                                      "{}",
				"models--a--b/refs/main":                                           revision,
				"models--a--b/snapshots/" + strings.Repeat("f", 40) + "/file.json": "{}",
				"models--a--b/snapshots/" + revision + "/file.json":                "{}",
				"models--a--b/snapshots/" + revision + "/y.json":                   "->../../blobs/" + strings.Repeat("a", 12),
				"models--c--d/blobs/" + strings.Repeat("b", 12):                    "{}",
				"models--c--d/snapshots/" + revision + "/z.json":                   "->../../blobs/" + strings.Repeat("b", 12),
				"models--a--b/" + at:                                               "->" + tt.link,
				"plain/link":                                                       "->file", // elsewhere links inside are no finding
				"plain/file":                                                       "x",
				"odd/snapshots/a":                                                  "->b", // no repository: there are no blobs
				"odd/snapshots/b":                                                  "x",
			}
			res := mustScan(t, scan.Scanner{}, c.fs())
			want := make(map[string][]string)
			if tt.want != "" {
				want["models--a--b/"+at] = []string{tt.want}
			}
			if diff := cmp.Diff(want, byPath(res)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHubBlobNames(t *testing.T) {
	data, other := []byte(`{"model_type": "bert"}`), []byte(`{"model_type": "gpt2"}`)
	for _, tt := range []struct {
		name, hash string
		named      bool
		want       bool
	}{
		{"sha256", large(data), true, false},
		{"git", small(data), true, false},
		{"sha256_of_other", large(other), true, true},
		{"git_of_other", small(other), true, true},
		{"sha256_unnamed", large(data), false, false},
		{"sha256_of_other_unnamed", large(other), false, true},
		{"git_of_other_unnamed", small(other), false, true},
		{"no_hash", "abc", true, false},
		{"upper_case", strings.ToUpper(large(other)), true, false}, // the client writes lower case
		{"incomplete", large(other) + ".incomplete", false, false},
	} {
		c := cache{"refs/main": revision}
		blob := c.add("", "config.json", tt.hash, data)
		if !tt.named {
			c["snapshots/"+revision+"/config.json"] = string(data)
		}
		want := map[string][]string{}
		if tt.want {
			want[blob] = []string{"scan.tree.blob-mismatch"}
		}
		res := mustScan(t, scan.Scanner{}, c.fs())
		if diff := cmp.Diff(want, byPath(res)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if tt.want && res.Verdict() != scan.Suspicious {
			t.Errorf("%s: %s", tt.name, res.Verdict())
		}
		if got := byPath(mustScan(t, scan.Scanner{NoDigests: true}, c.fs())); len(got) > 0 {
			t.Errorf("%s without digests: %v", tt.name, got)
		}
	}
	plain := folder(t, scan.Scanner{}, map[string][]byte{"blobs/" + large(other): data, "x/" + large(other): data})
	if got := byPath(plain); len(got) > 0 {
		t.Errorf("outside of a repository: %v", got)
	}
}

func TestHubWorkersDoNotMatter(t *testing.T) {
	c := repository("models--a--b/")
	c.add("models--a--b/", "x.bin", large(nil), build.Attack())
	want := mustScan(t, scan.Scanner{Workers: 1}, c.fs())
	for range 3 {
		got := mustScan(t, scan.Scanner{Workers: 8}, c.fs())
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(scan.Result{}, scan.FileResult{})); diff != "" {
			t.Errorf("(-1 +8):\n%s", diff)
		}
	}
}

// TestHubSnapshotAlone opens a snapshot without its repository, on a real
// folder: nothing outside is read, and the finding says what to open.
func TestHubSnapshotAlone(t *testing.T) {
	dir := t.TempDir()
	for name, data := range repository("") {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(data, "->"); ok {
			if err := os.Symlink(to, p); err != nil {
				t.Skip("no symbolic links here")
			}
		} else if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	if res := mustScan(t, scan.Scanner{}, whole.FS()); res.Verdict() != scan.Clean || res.Completeness() != scan.Complete {
		t.Errorf("the repository: %s, %s", res.Verdict(), res.Completeness())
	}
	for up, part := range map[string]string{"../..": "snapshots/" + revision, "..": "snapshots"} {
		root, err := os.OpenRoot(filepath.Join(dir, filepath.FromSlash(part)))
		if err != nil {
			t.Fatal(err)
		}
		res := mustScan(t, scan.Scanner{}, root.FS())
		n := 0
		for f := range res.Findings() {
			n++
			if f.Rule.ID != "scan.tree.link-escape" || !strings.Contains(f.Message, "scan the folder of the repository, which is "+up+",") {
				t.Errorf("%s: %s: %s", part, f.Rule.ID, f.Message)
			}
		}
		if n != 5 || res.Completeness() == scan.Complete {
			t.Errorf("%s: %d findings, %s", part, n, res.Completeness())
		}
		root.Close()
	}
	odd := cache{"config.json": "->../../../x/blobs/" + small(nil), "a": "->../../blobs/abc", "b": "->blobs/" + small(nil)}
	for f := range mustScan(t, scan.Scanner{}, odd.fs()).Findings() {
		if strings.Contains(f.Message, "Hugging Face") {
			t.Errorf("%s: %s", f.Path(), f.Message)
		}
	}
}
