package integrity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
)

var update = flag.Bool("update", false, "write into FORMAT.md what tests compute")

// blocks are the labelled blocks of FORMAT.md.
var blocks = regexp.MustCompile("(?s)```text ([a-z0-9-]+)\n(.*?)```\n")

// editFormat replaces parts of FORMAT.md by what f makes of it when the test
// runs with -update, and otherwise demands that they are equal.
func editFormat(t *testing.T, f func(doc []byte) []byte) {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	want := f(doc)
	if *update {
		if err := os.WriteFile("FORMAT.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(doc)); diff != "" {
		t.Errorf("FORMAT.md (-computed +written; -update writes it):\n%s", diff)
	}
}

// TestFormatVectors recomputes the test vectors of FORMAT.md.
func TestFormatVectors(t *testing.T) {
	vectors := formatVectors(t)
	used := map[string]bool{}
	editFormat(t, func(doc []byte) []byte {
		return blocks.ReplaceAllFunc(doc, func(block []byte) []byte {
			label := string(blocks.FindSubmatch(block)[1])
			used[label] = true
			text, ok := vectors[label]
			if !ok {
				t.Errorf("FORMAT.md has the block %q, which nothing computes", label)
			}
			return fmt.Appendf(nil, "```text %s\n%s\n```\n", label, strings.TrimSuffix(text, "\n"))
		})
	})
	for label := range vectors {
		if !used[label] {
			t.Errorf("FORMAT.md has no block %q", label)
		}
	}
}

// rfc6979Key is the key of RFC 6979, A.2.5.
func rfc6979Key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	scalar, err := hex.DecodeString("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func formatVectors(t *testing.T) map[string]string {
	key := rfc6979Key(t)
	public, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, trust := keyPairOf(t, key)

	m := mustHash(t, integrity.Hasher{Ignore: []string{"tmp"}}, tiny())
	statement, err := integrity.Signing{Name: "tiny"}.Statement(m)
	if err != nil {
		t.Fatal(err)
	}
	// The encoding is written out here, not taken from the code under test.
	pae := fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(statement), statement)
	bundle := mustSign(t, m, signer)
	var b struct {
		Material struct{ PublicKey struct{ Hint string } }   `json:"verificationMaterial"`
		Envelope struct{ Signatures []struct{ Sig string } } `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(b.Envelope.Signatures[0].Sig)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pae)
	if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
		t.Error("the signature is not over the encoding")
	}
	if hint := fmt.Sprintf("%x", sha256.Sum256(public)); hint != b.Material.PublicKey.Hint {
		t.Errorf("hint %s, want %s", b.Material.PublicKey.Hint, hint)
	}
	if _, err := (integrity.Verifier{Strict: true}).Verify(t.Context(), tiny(), bundle, trust); err != nil {
		t.Error(err)
	}

	shards := mustHash(t, integrity.Hasher{ShardSize: 8}, fstest.MapFS{"f": {Data: []byte("0123456789abcdefghij")}})
	shardsText, shardsRoot := listResources(shards), rootByHand(t, shards)
	pythonOrder(shards)
	order := mustHash(t, integrity.Hasher{}, fstest.MapFS{"onnx-int8.bin": {Data: []byte("B")}, "onnx/model.onnx": {Data: []byte("A")}})
	orderRoot := rootByHand(t, order)
	pythonOrder(order)
	single, err := integrity.Hasher{}.HashFile(t.Context(), tiny(), "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"public-key":         string(public),
		"hint":               b.Material.PublicKey.Hint,
		"files":              listResources(m),
		"files-root":         rootByHand(t, m),
		"statement":          string(statement),
		"pae-sha256":         fmt.Sprintf("%x", sum),
		"signature":          fmt.Sprintf("%x", sig),
		"bundle":             string(bundle),
		"shards":             shardsText,
		"shards-root":        shardsRoot,
		"shards-python":      listResources(shards),
		"shards-python-root": rootByHand(t, shards),
		"order-root":         orderRoot,
		"order-python-root":  rootByHand(t, order),
		"single":             resourcesOf(t, single, integrity.FormSpec),
		"single-python":      resourcesOf(t, single, integrity.FormPython),
		"single-root":        rootByHand(t, single),
		"algorithms":         listAlgorithms(t),
	}
}

func listResources(m *integrity.Manifest) string {
	var out strings.Builder
	for _, r := range m.Resources {
		fmt.Fprintf(&out, "%s %s\n", r.Digest.Encoded(), r.Name())
	}
	return out.String()
}

// rootByHand computes a root apart from the code under test.
func rootByHand(t *testing.T, m *integrity.Manifest) string {
	t.Helper()
	var joined []byte
	for _, r := range m.Resources {
		raw, err := hex.DecodeString(r.Digest.Encoded())
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, raw...)
	}
	root := fmt.Sprintf("%x", sha256.Sum256(joined))
	if m.Root().Encoded() != root {
		t.Errorf("root %s, want %s", m.Root(), root)
	}
	return root
}

// resourcesOf cuts the resources out of a statement.
func resourcesOf(t *testing.T, m *integrity.Manifest, form integrity.Form) string {
	t.Helper()
	statement, err := integrity.Signing{Form: form}.Statement(m)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(statement, []byte(`"resources":`))
	list, _, ok := bytes.Cut(rest, []byte(`,"serialization"`))
	if !ok {
		t.Fatalf("no resources in %s", statement)
	}
	return string(list)
}

func listAlgorithms(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, content := range []string{"hello\n", ""} {
		for _, alg := range []string{integrity.SHA256, integrity.BLAKE2b, integrity.BLAKE3} {
			m := mustHash(t, integrity.Hasher{Algorithm: alg}, fstest.MapFS{"f": {Data: []byte(content)}})
			fmt.Fprintf(&out, "%s %q %s\n", alg, content, m.Resources[0].Digest.Encoded())
		}
	}
	return out.String()
}

// A refusal is a row of the table of refusals, without its cases.
type refusal struct{ kind, layer string }

// refusals are the cases of all tests that hold one defect each.
func refusals(t *testing.T) map[refusal][]string {
	out := map[refusal][]string{}
	add := func(layer, name string, kind error) {
		for k, err := range kinds {
			if err == kind {
				r := refusal{k, layer}
				out[r] = append(out[r], name)
			}
		}
	}
	bad, _ := bundleDefects(t)
	for _, d := range bad {
		add("bundle and signature", d.name, d.want)
	}
	for _, d := range certificateCases(t) {
		if d.want != nil {
			add("certificate", d.name, d.want)
		}
	}
	_, chains := chainCases(t)
	for _, d := range chains {
		if d.want != nil {
			add("certificate at a proven time", d.name, d.want)
		}
	}
	for _, d := range remoteDefects(t) {
		if d.want == integrity.ErrSignature {
			add("signing", d.name, d.want)
		}
	}
	for _, d := range keyDefects(t) {
		add("key", d.name, d.want)
	}
	for _, d := range signedDefects(t) {
		add("statement", d.name, d.want)
	}
	for _, d := range v02Cases() {
		if d.want != nil {
			add("encoding of version 0.2", d.name, d.want)
		}
	}
	for _, d := range modelDefects() {
		if d.want != nil {
			add("model", d.name, integrity.ErrMismatch)
		}
	}
	for _, d := range hashDefects(t) {
		add("reading", d.name, d.want)
	}
	return out
}

// TestRefusals holds the table of FORMAT.md to the cases, and demands a case for
// each kind of error that the package exports.
func TestRefusals(t *testing.T) {
	all := refusals(t)
	covered := map[string]bool{}
	for r := range all {
		covered[r.kind] = true
	}
	exported := testutil.ExportedErrors(t, ".")
	if diff := cmp.Diff(exported, slices.Sorted(maps.Keys(kinds))); diff != "" {
		t.Errorf("kinds that tests know (-exported +known):\n%s", diff)
	}
	for _, kind := range exported {
		if !covered[kind] {
			t.Errorf("no case asserts %s", kind)
		}
	}

	// Package sigstore has a table of its own; that of pkcs11 needs a token, which
	// is not everywhere, so that a mention has to do.
	for _, leaf := range []string{"oci", "pkcs11"} {
		tests := testSource(t, leaf)
		for _, kind := range testutil.ExportedErrors(t, leaf) {
			if !strings.Contains(tests, leaf+"."+kind) {
				t.Errorf("no test of package %s names %s", leaf, kind)
			}
		}
	}

	rows := slices.SortedFunc(maps.Keys(all), func(a, b refusal) int {
		order := func(r refusal) int {
			return slices.Index([]string{
				"ErrBundle", "ErrSignature", "ErrUntrusted", "ErrStatement", "ErrManifest", "ErrMismatch",
				"ErrUnsupported", "ErrRead", "ErrChanged", "ErrSymlink", "ErrSpecial", "ErrEmpty",
				"ErrEncrypted", "ErrPassphrase",
			}, r.kind)
		}
		if d := order(a) - order(b); d != 0 {
			return d
		}
		return strings.Compare(a.layer, b.layer)
	})
	var table bytes.Buffer
	for _, r := range rows {
		var cases []string
		for _, name := range all[r] {
			cases = append(cases, strings.ReplaceAll(name, "_", " "))
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", r.kind, r.layer, strings.Join(cases, "; "))
	}
	row := regexp.MustCompile("(?m)(^\\| `Err.*\n)+")
	editFormat(t, func(doc []byte) []byte { return row.ReplaceAllLiteral(doc, table.Bytes()) })
}

// testSource is the text of a package's tests.
func testSource(t *testing.T, dir string) string {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}
