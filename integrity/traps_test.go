package integrity_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// A profile is what one of the two profiles makes of a bundle: what it returns,
// and which leniencies it names.
type profile struct {
	err     error
	lenient []string
}

// profiles verifies under both.
func profiles(t *testing.T, m *matrixModel, v integrity.Verifier, bundle []byte, trust prerun.Verifier) (compatible, strict profile) {
	t.Helper()
	run := func(strict bool) profile {
		v.Strict = strict
		r, err := m.verify(t, v, bundle, trust)
		checkSource(t, r, err)
		return profile{err, codes(r)}
	}
	return run(false), run(true)
}

// wantProfiles: the compatible profile accepts with these leniencies, and the
// strict one refuses if there are any but those of trust.
func wantProfiles(t *testing.T, m *matrixModel, v integrity.Verifier, bundle []byte, trust prerun.Verifier, lenient ...string) {
	t.Helper()
	compatible, strict := profiles(t, m, v, bundle, trust)
	if compatible.err != nil {
		t.Errorf("compatible: %v", compatible.err)
	}
	if diff := cmp.Diff(lenient, compatible.lenient); diff != "" {
		t.Errorf("leniencies (-want +got):\n%s", diff)
	}
	refused := slices.ContainsFunc(lenient, func(code string) bool { return code != integrity.LenientTrust })
	if integrity.Rejected(strict.err) != refused || !refused && strict.err != nil {
		t.Errorf("strict: %v", strict.err)
	}
}

// A trap is one disagreement between implementations; numbers are those of
// FORMAT.md.
type trap struct {
	number int
	name   string
	test   func(t *testing.T)
}

// TestTraps shows the rule for each disagreement that FORMAT.md lists.
func TestTraps(t *testing.T) {
	traps := []trap{
		{1, "order", trapOrder},
		{2, "root", TestRootOrder},
		{3, "shard_algorithm", trapShardAlgorithm},
		{4, "shard_size", trapShardSize},
		{5, "parameters", trapParameters},
		{6, "certificate_time", trapCertificateTime},
		{7, "timestamps", trapTimestamps},
		{8, "timestamps_that_do_not_verify", trapBadTimestamps},
		{9, "path_escape", trapPathEscape},
		{10, "duplicates", trapDuplicates},
		{11, "empty_model", trapEmptyModel},
		{12, "version_0.2", trapV02},
		{13, "hint", trapHint},
		{14, "usage", trapUsage},
		{15, "subject_is_issuer", trapSubjectIsIssuer},
		{16, "upper_case", trapUpperCase},
		{17, "symlink_policy", trapSymlinkPolicy},
		{18, "ignored_link", trapIgnoredLink},
		{19, "unsigned_files", trapUnsigned},
		{20, "encrypted_key", trapEncryptedKey},
		{21, "certificate_field", trapCertificateField},
		{22, "chains", trapChains},
		{23, "json", trapJSON},
		{24, "single_file", trapSingleFile},
		{25, "shard_of_colon", trapShardOfColon},
		{26, "shards_by_blake3", trapShardsByBLAKE3},
		{27, "empty_files_of_shards", TestEmptyFilesOfShards},
		{28, "default_ignore_list", trapDefaultIgnore},
		{29, "linked_folder", trapLinkedFolder},
		{30, "several_signatures", trapSignatures},
		{31, "unknown_members", trapUnknownMembers},
		{32, "other_keys", trapOtherKeys},
	}
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, tested []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllSubmatch(doc, -1) {
		documented = append(documented, string(row[1]))
	}
	for _, tt := range traps {
		tested = append(tested, fmt.Sprint(tt.number))
		t.Run(fmt.Sprintf("%02d_%s", tt.number, tt.name), tt.test)
	}
	if diff := cmp.Diff(documented, tested); diff != "" {
		t.Errorf("traps (-documented +tested):\n%s", diff)
	}
}

// signedStatement signs a statement as it is.
func signedStatement(t *testing.T, payload string) (bundle []byte, trust prerun.Verifier) {
	t.Helper()
	signer, verifier := testKeys(t, "traps")
	bundle, err := signer.Sign(t.Context(), integrity.StatementType, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return bundle, verifier
}

func trapModel(files map[string]string) *matrixModel {
	tree := fstest.MapFS{}
	for name, content := range files {
		tree[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return &matrixModel{fsys: tree}
}

func tinyModel() *matrixModel { return &matrixModel{fsys: tiny()} }

var (
	resA = resource{Name: "a.txt", Digest: sumA}
	resW = resource{Name: "sub/w.bin", Digest: sumW}
)

func trapOrder(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	m := trapModel(map[string]string{"onnx-int8.bin": "B", "onnx/model.onnx": "A"})
	manifest := mustHash(t, integrity.Hasher{}, m.fsys)
	wantProfiles(t, m, integrity.Verifier{}, mustSign(t, manifest, signer), trust)
	pythonOrder(manifest)
	if manifest.Resources[0].Path != "onnx/model.onnx" {
		t.Fatalf("Python's order starts with %q", manifest.Resources[0].Path)
	}
	wantProfiles(t, m, integrity.Verifier{}, mustSign(t, manifest, signer), trust, integrity.LenientOrder)
}

func trapShardAlgorithm(t *testing.T) {
	python := func(size string) string {
		return statement(serializeShards, resource{"a.txt:0:6", sumA, "sha256-sharded-" + size}, resource{"sub/w.bin:0:4", sumW, "sha256-sharded-" + size})
	}
	bundle, trust := signedStatement(t, python("8"))
	wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, trust, integrity.LenientShardName)
	bundle, trust = signedStatement(t, python("9"))
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, trust)
	wantKind(t, err, integrity.ErrManifest)
	m := mustHash(t, integrity.Hasher{ShardSize: 8}, tiny())
	for form, want := range map[integrity.Form]string{integrity.FormSpec: `"sha256"`, integrity.FormPython: `"sha256-sharded-8"`} {
		payload, err := integrity.Signing{Form: form}.Statement(m)
		if err != nil || !bytes.Contains(payload, []byte(`"algorithm":`+want)) {
			t.Errorf("form %d: %v: %s", form, err, payload)
		}
	}
}

func trapShardSize(t *testing.T) {
	for size, lenient := range map[string][]string{"8": nil, "8.0": {integrity.LenientShardSize}, "0.8e1": {integrity.LenientShardSize}} {
		bundle, trust := signedStatement(t, statement(replace(t, serializeShards, ":8}", ":"+size+"}"),
			resource{Name: "a.txt:0:6", Digest: sumA}, resource{Name: "sub/w.bin:0:4", Digest: sumW}))
		wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, trust, lenient...)
	}
	payload, err := integrity.Signing{Form: integrity.FormPython}.Statement(mustHash(t, integrity.Hasher{ShardSize: 8}, tiny()))
	if err != nil || !bytes.Contains(payload, []byte(`"shard_size":8,`)) {
		t.Errorf("%v: %s", err, payload)
	}
}

func trapParameters(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	for _, h := range []integrity.Hasher{
		{},
		{ShardSize: 3},
		{ShardSize: 3, Algorithm: integrity.BLAKE2b},
		{Algorithm: integrity.BLAKE2b},
		{Algorithm: integrity.BLAKE3},
		{Algorithm: integrity.BLAKE3, ShardSize: 3},
	} {
		wantProfiles(t, tinyModel(), integrity.Verifier{}, mustSign(t, mustHash(t, h, tiny()), signer), trust)
	}
}

// expiredLeaf is a bundle by a certificate that is over, though its root is not.
func expiredLeaf(t *testing.T) (bundle []byte, trust integrity.CertificateVerifier) {
	t.Helper()
	root := issue(t, "root", nil, authority)
	leaf := issue(t, "leaf", root, func(c *x509.Certificate) { c.NotAfter = then.Add(-time.Hour) })
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer), trusting(root)
}

func trapCertificateTime(t *testing.T) {
	bundle, trust := expiredLeaf(t)
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, &trust)
	wantKind(t, err, integrity.ErrUntrusted)
	trust.InsecureAtNotBefore = true
	if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), bundle, &trust); err != nil {
		t.Error(err)
	}
}

func trapTimestamps(t *testing.T) {
	bundle, trust := expiredLeaf(t)
	valid := then.Add(-2 * time.Hour)
	stamped := stamp(t, bundle, "anybody", valid)
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), stamped, &trust)
	wantKind(t, err, integrity.ErrUntrusted) // nobody was asked whether to believe it
	trust.Times = clocks{}
	r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), stamped, &trust)
	if err != nil || !r.Signed.Times["anybody"].Equal(valid) {
		t.Errorf("by a trusted clock: %v", err)
	}
	over := stampOver(t, bundle, "liar "+valid.Format(time.RFC3339)+" "+base64.StdEncoding.EncodeToString([]byte("another signature")))
	_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), over, &trust)
	wantKind(t, err, integrity.ErrUntrusted)
}

func trapBadTimestamps(t *testing.T) {
	signer, verifier := testKeys(t, "traps")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	bad := stampOver(t, bundle, "liar "+then.Format(time.RFC3339)+" AAAA")
	trust := *verifier
	trust.Times = clocks{}
	wantProfiles(t, tinyModel(), integrity.Verifier{}, bad, &trust, integrity.LenientTrust)
	trust.RequireTime = true
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bad, &trust)
	wantKind(t, err, integrity.ErrUntrusted)
}

func trapPathEscape(t *testing.T) {
	for _, name := range []string{"/etc/passwd", "../a.txt", "sub/../../a.txt"} {
		bundle, trust := signedStatement(t, statement(serializeFiles, resource{Name: name, Digest: sumA}))
		fsys := spy(tiny())
		_, err := integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, bundle, trust)
		wantKind(t, err, integrity.ErrManifest)
		if n := fsys.opened.Load(); n > 0 {
			t.Errorf("%q: %d files were opened", name, n)
		}
	}
}

func trapDuplicates(t *testing.T) {
	bundle, trust := signedStatement(t, statement(serializeFiles, resA, resA, resW))
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, trust)
	wantKind(t, err, integrity.ErrManifest)
}

func trapEmptyModel(t *testing.T) {
	_, err := integrity.Hasher{}.Hash(t.Context(), fstest.MapFS{})
	wantKind(t, err, integrity.ErrEmpty)
	bundle, trust := signedStatement(t, statement(serializeFiles))
	_, err = integrity.Verifier{}.Verify(t.Context(), fstest.MapFS{}, bundle, trust)
	wantKind(t, err, integrity.ErrStatement)
}

func trapV02(t *testing.T) {
	roots, err := integrity.ParseCertificates(corpusFile(t, "keys/ca-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust := &integrity.CertificateVerifier{Roots: roots, Now: atTime(then)}
	for _, v := range vectors(t, "certificate") {
		if v.Dir != "signed/v0.2.0-certificate" {
			continue
		}
		_, err := v.verify(t, integrity.Verifier{}, trust)
		wantKind(t, err, integrity.ErrUnsupported)
		r, err := v.verify(t, integrity.Verifier{InsecureAcceptV02: true}, trust)
		if err != nil || !slices.Equal(codes(r), []string{integrity.LenientV02}) {
			t.Errorf("%v, leniencies %v", err, codes(r))
		}
		_, err = v.verify(t, integrity.Verifier{InsecureAcceptV02: true, Strict: true}, trust)
		wantKind(t, err, integrity.ErrStatement)
		trapV02Encoding(t)
		return
	}
	t.Error("the bundle of version 0.2 is missing")
}

// v02Cases are statements under the encoding of version 0.2, and what is refused
// without and with InsecureAcceptV02.
func v02Cases() []struct {
	name, payload string
	off, want     error
} {
	const old = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a.txt","digest":{"sha256":"` + sumA + `"}}],` +
		`"predicateType":"https://model_signing/Digests/v0.1","predicate":{"unused":""}}`
	return []struct {
		name, payload string
		off, want     error
	}{
		{"old_statement", old, integrity.ErrUnsupported, nil},
		{"statement_of_version_1.0", statement(serializeFiles, resource{Name: "a.txt", Digest: sumA}), integrity.ErrUnsupported, integrity.ErrSignature},
	}
}

// trapV02Encoding: the old encoding is for old statements. Under a new one it is
// a bad signature, and nothing that a leniency lets pass.
func trapV02Encoding(t *testing.T) {
	root := issue(t, "root", nil, authority)
	leaf := issue(t, "leaf", root, nil)
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	trust := trusting(root)
	for _, tt := range v02Cases() {
		bundle, err := signer.Sign(t.Context(), integrity.StatementType, []byte(tt.payload))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "DSSEV1 28 application/vnd.in-toto+json %d b'%s'", len(tt.payload), tt.payload))
		sig, err := leaf.key.Sign(nil, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		bundle = []byte(replace(t, string(bundle), base64.StdEncoding.EncodeToString([]byte(view(bundle).Sig)), base64.StdEncoding.EncodeToString(sig)))
		model := fstest.MapFS{"a.txt": tiny()["a.txt"]}
		for accept, want := range map[bool]error{false: tt.off, true: tt.want} {
			r, err := integrity.Verifier{InsecureAcceptV02: accept}.Verify(t.Context(), model, bundle, &trust)
			wantKind(t, err, want)
			if (r.Signed != nil) != (err == nil) {
				t.Errorf("%s, accepting %v: signed %v, error %v", tt.name, accept, r.Signed, err)
			}
			checkSource(t, r, err)
		}
	}
}

func trapHint(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	bundle := string(mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer))
	hint := bundle[strings.Index(bundle, `{"hint":`):strings.Index(bundle, `,"tlogEntries"`)]
	for _, none := range []string{`{}`, `{"hint":""}`, `{"hint":null}`} {
		wantProfiles(t, tinyModel(), integrity.Verifier{}, []byte(replace(t, bundle, hint, none)), trust, integrity.LenientTrust)
	}
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(replace(t, bundle, `"hint":"`, `"hint":"0`)), trust)
	wantKind(t, err, integrity.ErrUntrusted)
}

func trapUsage(t *testing.T) {
	root := issue(t, "root", nil, authority)
	codeSigning := issue(t, "leaf", root, func(c *x509.Certificate) {
		c.KeyUsage, c.ExtKeyUsage = 0, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	})
	trust := trusting(root)
	signer, err := integrity.NewCertificateSigner(codeSigning.key, codeSigning.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, &trust)
	neither := issue(t, "leaf", root, func(c *x509.Certificate) {
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageKeyEncipherment, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	if err := newSignerError(neither.key, neither.Certificate); !errors.Is(err, integrity.ErrUntrusted) {
		t.Errorf("signing with it: %v", err)
	}
	odd := bytes.Replace(bundle, []byte(b64(codeSigning)), []byte(b64(neither)), 1)
	_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), odd, &trust)
	wantKind(t, err, integrity.ErrUntrusted)
}

func b64(c *testCert) string { return base64.StdEncoding.EncodeToString(c.Raw) }

func trapSubjectIsIssuer(t *testing.T) {
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	// The signer has the name of its issuer, and is an authority: no root for that.
	leaf := issue(t, "middle", middle, func(c *x509.Certificate) {
		c.PublicKey, c.IsCA = crypto.Signer(keys.Demo("another key")), true
	})
	if _, err := integrity.NewCertificateVerifier(leaf.Certificate); err == nil {
		t.Error("a certificate by another key was taken for a root")
	}
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	trust := trusting(root)
	wantProfiles(t, tinyModel(), integrity.Verifier{}, mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer), &trust)
}

func trapUpperCase(t *testing.T) {
	bundle, trust := signedStatement(t, statement(serializeFiles, resource{Name: "a.txt", Digest: strings.ToUpper(sumA)}, resW))
	wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, trust, integrity.LenientUpperCase)
}

func trapSymlinkPolicy(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	dir, fsys := writeTree(t, map[string]string{"a": "x"})
	plain := mustSign(t, mustHash(t, integrity.Hasher{}, fsys), signer)
	symlink(t, "a", dir, "l")
	linked := mustSign(t, mustHash(t, integrity.Hasher{AllowSymlinks: true}, fsys), signer)
	m := &matrixModel{fsys: fsys}
	wantProfiles(t, m, integrity.Verifier{}, linked, trust) // nobody repeats what was signed
	_, err := integrity.Verifier{}.Verify(t.Context(), fsys, plain, trust)
	wantKind(t, err, integrity.ErrMismatch)
	_, err = integrity.Verifier{InsecureIgnoreUnsigned: true}.Verify(t.Context(), fsys, plain, trust)
	wantKind(t, err, integrity.ErrMismatch) // a link is no unsigned file
	_, err = integrity.Verifier{ForbidSymlinks: true}.Verify(t.Context(), fsys, linked, trust)
	wantKind(t, err, integrity.ErrManifest)
}

func trapIgnoredLink(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	dir, fsys := writeTree(t, map[string]string{"a": "x", "tmp/x": ""})
	symlink(t, "/etc", dir, "tmp/l")
	symlink(t, "nowhere", dir, "broken")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{Ignore: []string{"tmp", "broken"}}, fsys), signer)
	wantProfiles(t, &matrixModel{fsys: fsys}, integrity.Verifier{}, bundle, trust)
}

func trapUnsigned(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	for _, shard := range []int64{0, 3} {
		tree := tiny()
		bundle := mustSign(t, mustHash(t, integrity.Hasher{ShardSize: shard}, tree), signer)
		tree["new"] = &fstest.MapFile{Data: []byte("n")}
		v := integrity.Verifier{InsecureIgnoreUnsigned: true}
		r, err := v.Verify(t.Context(), tree, bundle, trust)
		if err != nil || !slices.Equal(r.Unsigned, []string{"new"}) {
			t.Errorf("%v, unsigned %v", err, r.Unsigned)
		}
		delete(tree, "a.txt")
		_, err = v.Verify(t.Context(), tree, bundle, trust)
		wantKind(t, err, integrity.ErrMismatch)
	}
}

func trapEncryptedKey(t *testing.T) {
	key, err := integrity.ParsePrivateKey([]byte(lockedKey), []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := integrity.NewKeySigner(key); err != nil {
		t.Error(err)
	}
	for _, passphrase := range []string{"", "hunter3"} {
		if _, err := integrity.ParsePrivateKey([]byte(lockedKey), []byte(passphrase)); err == nil {
			t.Errorf("decrypted with %q", passphrase)
		}
	}
}

func trapCertificateField(t *testing.T) {
	root := issue(t, "root", nil, authority)
	leaf := issue(t, "leaf", root, nil)
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer))
	moved := replace(t, bundle, `"x509CertificateChain":{"certificates":[{"rawBytes":"`+b64(leaf)+`"}]}`, `"certificate":{"rawBytes":"`+b64(leaf)+`"}`)
	trust := trusting(root)
	wantProfiles(t, tinyModel(), integrity.Verifier{}, []byte(moved), &trust, integrity.LenientCertificate)
}

func trapChains(t *testing.T) {
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	leaf := issue(t, "leaf", middle, nil)
	self := issue(t, "self", nil, nil)
	for name, tt := range map[string]struct {
		leaf  *testCert
		chain []*testCert
		root  *testCert
	}{
		"root inside":       {leaf, []*testCert{root, middle}, root},
		"leaf twice":        {leaf, []*testCert{leaf, middle}, root},
		"self-signed":       {self, nil, self},
		"self-signed twice": {self, []*testCert{self}, self},
	} {
		signer, err := integrity.NewCertificateSigner(tt.leaf.key, tt.leaf.Certificate, certs(tt.chain...)...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		trust := trusting(tt.root)
		wantProfiles(t, tinyModel(), integrity.Verifier{}, mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer), &trust)
	}
}

func trapJSON(t *testing.T) {
	good := statement(serializeFiles, resA, resW)
	for _, payload := range []string{
		replace(t, good, `"predicate":`, `"predicate":{},"predicate":`),
		replace(t, good, `"predicate":`, `"Predicate":{},"predicate":`),
		good + "{}",
	} {
		bundle, trust := signedStatement(t, payload)
		_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, trust)
		wantKind(t, err, integrity.ErrStatement)
	}
}

func trapSingleFile(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	m := &matrixModel{fsys: tiny(), file: "a.txt"}
	manifest, err := m.hash(t, integrity.Hasher{})
	if err != nil {
		t.Fatal(err)
	}
	for form, lenient := range map[integrity.Form][]string{integrity.FormSpec: nil, integrity.FormPython: {integrity.LenientSelfName}} {
		bundle, err := integrity.Signing{Form: form}.Sign(t.Context(), manifest, signer)
		if err != nil {
			t.Fatal(err)
		}
		wantProfiles(t, m, integrity.Verifier{}, bundle, trust, lenient...)
	}
}

func trapShardOfColon(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	m := trapModel(map[string]string{"c:0:8": "0123456789"})
	manifest := mustHash(t, integrity.Hasher{ShardSize: 8}, m.fsys)
	wantProfiles(t, m, integrity.Verifier{}, mustSign(t, manifest, signer), trust)
	_, err := integrity.Signing{Form: integrity.FormPython}.Statement(manifest)
	wantKind(t, err, integrity.ErrUnsupported)
}

func trapShardsByBLAKE3(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	manifest := mustHash(t, integrity.Hasher{ShardSize: 3, Algorithm: integrity.BLAKE3}, tiny())
	wantProfiles(t, tinyModel(), integrity.Verifier{}, mustSign(t, manifest, signer), trust)
	_, err := integrity.Signing{Form: integrity.FormPython}.Statement(manifest)
	wantKind(t, err, integrity.ErrUnsupported)
}

func trapDefaultIgnore(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	m := trapModel(map[string]string{"a": "x", "own/x": "", ".git/HEAD": "", ".gitattributes": "", "caller": ""})
	manifest := mustHash(t, integrity.Hasher{Ignore: []string{"own", "caller"}}, m.fsys)
	manifest.Ignore = []string{"own"} // as if the signer's list were all
	bundle := mustSign(t, manifest, signer)
	wantProfiles(t, m, integrity.Verifier{Ignore: []string{"caller"}}, bundle, trust)
	_, err := integrity.Verifier{}.Verify(t.Context(), m.fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
	nested := trapModel(map[string]string{"a": "x", "sub/.git/HEAD": ""})
	_, err = integrity.Verifier{}.Verify(t.Context(), nested.fsys, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
}

func trapLinkedFolder(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	dir, fsys := writeTree(t, map[string]string{"a": "x", "d/x": "y"})
	symlink(t, "d", dir, "ld")
	manifest := mustHash(t, integrity.Hasher{AllowSymlinks: true}, fsys)
	if len(manifest.Resources) != 2 || !slices.Equal(manifest.Uncovered, []string{"ld"}) {
		t.Errorf("resources %v, uncovered %v", manifest.Resources, manifest.Uncovered)
	}
	r, err := integrity.Verifier{}.Verify(t.Context(), fsys, mustSign(t, manifest, signer), trust)
	if err != nil || !slices.Equal(ruleIDs(r, prerun.Low), []string{"integrity.coverage.not-covered ld"}) {
		t.Errorf("%v, findings %v", err, ruleIDs(r, prerun.Low))
	}
}

func trapSignatures(t *testing.T) {
	signer, trust := testKeys(t, "traps")
	bundle := string(mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer))
	second := replace(t, bundle, `"signatures":[`, `"signatures":[{"sig":"AAAA","keyid":""},`)
	_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(second), trust)
	wantKind(t, err, integrity.ErrBundle)
}

func trapUnknownMembers(t *testing.T) {
	good := statement(serializeFiles, resA, resW)
	for _, place := range []string{`{"_type"`, `{"resources"`, `{"method"`} {
		bundle, trust := signedStatement(t, replace(t, good, place, `{"x":1,`+place[1:]))
		wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, trust, integrity.LenientUnknownMember)
		_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(replace(t, string(bundle), `{"mediaType"`, `{"x":1,"mediaType"`)), trust)
		wantKind(t, err, integrity.ErrBundle)
	}
	// Both the specification and this package let resources and subjects have more.
	bundle, trust := signedStatement(t, replace(t, good, `{"name":"a.txt"`, `{"size":6,"name":"a.txt"`))
	wantProfiles(t, tinyModel(), integrity.Verifier{}, bundle, trust)
}

func trapOtherKeys(t *testing.T) {
	key := ed25519Key(t)
	_, err := integrity.NewKeySigner(key)
	wantKind(t, err, integrity.ErrUnsupported)
	_, err = integrity.NewKeyVerifier(key.Public())
	wantKind(t, err, integrity.ErrUnsupported)
	more := integrity.KeyPolicy{Ed25519: true}
	signer, err := more.KeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := more.KeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	wantProfiles(t, tinyModel(), integrity.Verifier{}, mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer), trust, integrity.LenientTrust)
}
