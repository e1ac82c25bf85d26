package integrity_test

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
)

// A peerJob is one thing for the Python tool to do; testdata/interop/driver.py
// says what the fields mean.
type peerJob struct {
	Op        string            `json:"op"`
	Via       string            `json:"via"`
	Method    string            `json:"method"`
	Model     string            `json:"model"`
	Signature string            `json:"signature"`
	Hash      string            `json:"hash"`
	Shard     int64             `json:"shard"`
	Symlinks  bool              `json:"symlinks"`
	Ignore    []string          `json:"ignore"`
	Trust     map[string]string `json:"trust"`
}

type peerResult struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// peerAll has the Python tool do all jobs, in order and in one process.
func peerAll(t *testing.T, jobs []peerJob) []peerResult {
	t.Helper()
	var in bytes.Buffer
	encoder := json.NewEncoder(&in)
	for _, job := range jobs {
		if err := encoder.Encode(job); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python(t), "testdata/interop/driver.py")
	cmd.Stdin, cmd.Stderr = &in, nil
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []peerResult
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var r peerResult
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if len(results) != len(jobs) {
		t.Fatalf("%d results of %d jobs", len(results), len(jobs))
	}
	return results
}

// A cell is one way to sign one model.
type cell struct {
	signer string // of matrixSigners
	hash   string
	shard  int64
	links  bool   // links are allowed, and in a folder there is one
	ignore string // none, git, user
	shape  string // of matrixShapes
}

const single = "single" // a model that is one file

var (
	matrixSigners = []string{"p256", "p384", "p521", "certificate"}
	matrixHashes  = []string{integrity.SHA256, integrity.BLAKE2b, integrity.BLAKE3}
	matrixShards  = []int64{0, 8, integrity.DefaultShardSize}
	matrixIgnores = []string{"none", "git", "user"}

	// matrixShapes are models. Each has "w.bin", which the damages are done to.
	matrixShapes = map[string]map[string]string{
		"plain":  {"config.json": "{}"},
		"nested": {"a/b/c/d/e/f": "deep", "a/b/g": "less", "sub/.git/x": "ignored at the root only"},
		"names": {
			"a b": "space", "ünï/文.txt": "not ASCII", "-x": "dash", ".hidden/.h": "hidden", "q'\"<&>\\": "quotes",
			"m-n": "-", "m/n": "/", "m.n": ".", "new\nline": "control",
		},
		"colon":  {"c:0:8": "like a shard", "d:": "colon"},
		"empty":  {"__init__.py": "", "sub/empty": ""},
		"hollow": {}, // nothing but files without content; see tree
		single:   {},
	}
)

func (c cell) String() string {
	return fmt.Sprintf("%s %s shard=%d links=%v ignore=%s %s", c.signer, c.hash, c.shard, c.links, c.ignore, c.shape)
}

func matrix(signers, shapes []string) (out []cell) {
	for _, signer := range signers {
		for _, hash := range matrixHashes {
			for _, shard := range matrixShards {
				for _, links := range []bool{false, true} {
					for _, ignore := range matrixIgnores {
						for _, shape := range shapes {
							if shape == single && ignore != "none" {
								continue // there is nothing to ignore in a file
							}
							out = append(out, cell{signer, hash, shard, links, ignore, shape})
						}
					}
				}
			}
		}
	}
	return out
}

// A reading is one way to read what was signed in a cell.
type reading struct {
	by   string // ours, theirs: who signed; the other reads
	form integrity.Form
	via  string // of the Python tool: command, api, told
}

// An exception is a reason for which a reading of a cell is no success.
// Numbers are those of FORMAT.md.
type exception struct {
	trap int
	who  string // refuses: we, they
	says string // part of the refusal
	when func(c cell, r reading) bool
}

// exceptions are all of them, and the first that fits tells. Every other reading
// of every cell must succeed.
var exceptions = []exception{
	// Nobody signs, or we refuse what the Python tool signs.
	{11, "we", "", func(c cell, r reading) bool {
		return c.shape == "hollow" && c.shard > 0 && (r.by == "ours" || c.hash != integrity.BLAKE3) // see trap 26
	}},
	{26, "we", "cannot shard by blake3", func(c cell, r reading) bool {
		return r.by == "ours" && r.form == integrity.FormPython && c.shard > 0 && c.hash == integrity.BLAKE3
	}},
	{25, "we", "cannot shard a path with a colon", func(c cell, r reading) bool {
		return r.by == "ours" && r.form == integrity.FormPython && c.shard > 0 && c.shape == "colon"
	}},

	// The Python tool refuses what we sign.
	{25, "they", "3 components separated by `:`", func(c cell, r reading) bool {
		return r.by == "ours" && c.shard > 0 && c.shape == "colon"
	}},
	{17, "they", "is a symlink", func(c cell, r reading) bool {
		return r.by == "ours" && r.via == "api" && c.links && c.shape != single && c.hash != integrity.BLAKE2b
	}},
	{5, "they", "Unsupported hashing method blake2b", func(c cell, r reading) bool {
		return r.by == "ours" && r.via == "api" && c.hash == integrity.BLAKE2b
	}},
	{24, "they", "Extra files found in model", func(c cell, r reading) bool {
		return r.by == "ours" && r.form == integrity.FormSpec && c.shape == single
	}},
	{5, "they", "Signature mismatch", func(c cell, r reading) bool {
		return r.by == "ours" && r.via == "command" && (c.shard > 0 || c.hash != integrity.SHA256)
	}},
	{26, "they", "Signature mismatch", func(c cell, r reading) bool {
		return r.by == "ours" && c.shard > 0 && c.hash == integrity.BLAKE3
	}},
	{3, "they", "Hash mismatch", func(c cell, r reading) bool {
		return r.by == "ours" && r.form == integrity.FormSpec && c.shard > 0
	}},
}

// expected is the exception for a reading, or the zero value.
func expected(c cell, r reading) exception {
	for _, e := range exceptions {
		if e.when(c, r) {
			return e
		}
	}
	return exception{}
}

// readings of a cell. All ways of the Python tool are tried with one signer;
// the others differ from it in the signature alone.
func (c cell) readings() []reading {
	out := []reading{{"theirs", 0, "told"}, {"ours", integrity.FormSpec, "told"}, {"ours", integrity.FormPython, "told"}}
	if c.signer != matrixSigners[0] {
		return out
	}
	for _, via := range []string{"command", "api"} {
		out = append(out, reading{"ours", integrity.FormSpec, via}, reading{"ours", integrity.FormPython, via})
	}
	if c.hash == integrity.SHA256 && c.shard == 0 {
		out = append(out, reading{"theirs", 0, "command"})
	}
	return out
}

// A matrixModel is a model on disk and what it was damaged to.
type matrixModel struct {
	path    string // of the folder or file
	fsys    fs.FS
	file    string // of a single-file model
	damaged map[string]*matrixModel
	more    *matrixModel // the same, with other files at ignored paths; or nil
}

func (c cell) ignored() []string {
	if c.ignore == "user" {
		return []string{"tmp", "sub/notes"}
	}
	return []string{}
}

// model makes the cell's model.
func (c cell) model(t *testing.T) *matrixModel {
	t.Helper()
	if c.shape == single {
		return singleModel(t)
	}
	files := maps.Clone(matrixShapes[c.shape])
	files["w.bin"] = "0123456789abcdefghijk"
	if c.shape == "hollow" {
		files["w.bin"] = ""
	}
	if c.ignore != "none" {
		files[".git/HEAD"], files[".gitattributes"], files[".github/w"], files[".gitignore"] = "h", "a", "g", "i"
	}
	for _, name := range c.ignored() {
		files[name+"/x"] = "ignored"
	}
	make := func(damage string) *matrixModel {
		dir, fsys := writeTree(t, files)
		if c.links {
			symlink(t, "w.bin", dir, "link")
		}
		switch damage {
		case "flipped":
			content := strings.Replace(files["w.bin"], "9", "8", 1)
			if content == "" {
				content = "0"
			}
			write("w.bin", content)(t, dir)
		case "added":
			write("sub/new.bin", "n")(t, dir)
		case "ignored":
			for _, name := range append(c.ignored(), ".git") {
				write(name+"/new.bin", "n")(t, dir)
			}
		case "removed":
			remove("w.bin")(t, dir)
			if c.links { // what the link leads to is gone as well
				remove("link")(t, dir)
			}
			write("other", "x")(t, dir) // no model is empty
		case "renamed":
			rename("w.bin", "W.bin")(t, dir)
			if c.links {
				remove("link")(t, dir)
			}
		}
		return &matrixModel{path: dir, fsys: fsys}
	}
	m := make("")
	m.damaged = map[string]*matrixModel{}
	for _, damage := range []string{"flipped", "added", "removed", "renamed"} {
		m.damaged[damage] = make(damage)
	}
	if c.ignore != "none" {
		m.more = make("ignored")
	}
	return m
}

// singleModel can be flipped; it has no name, and nothing can be added.
func singleModel(t *testing.T) *matrixModel {
	make := func(content string) *matrixModel {
		dir, fsys := writeTree(t, map[string]string{"w.bin": content})
		return &matrixModel{path: filepath.Join(dir, "w.bin"), fsys: fsys, file: "w.bin"}
	}
	m := make("0123456789abcdefghijk")
	m.damaged = map[string]*matrixModel{"flipped": make("0123456798abcdefghijk"), "added": make("0123456789abcdefghijkl")}
	return m
}

func (m *matrixModel) hash(t *testing.T, h integrity.Hasher) (*integrity.Manifest, error) {
	if m.file != "" {
		return h.HashFile(t.Context(), m.fsys, m.file)
	}
	return h.Hash(t.Context(), m.fsys)
}

func (m *matrixModel) verify(t *testing.T, v integrity.Verifier, bundle []byte, trust prerun.Verifier) (*integrity.Result, error) {
	if m.file != "" {
		return v.VerifyFile(t.Context(), m.fsys, m.file, bundle, trust)
	}
	return v.Verify(t.Context(), m.fsys, bundle, trust)
}

// A matrixSigner is one signer in our form and in the Python tool's.
type matrixSigner struct {
	signer         prerun.Signer
	trust          prerun.Verifier
	method         string
	signs, trusted map[string]string
}

func newMatrixSigners(t *testing.T) map[string]matrixSigner {
	out := map[string]matrixSigner{"certificate": certificateSigner(t)}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		k := newKeyPair(t, curve)
		out[name] = matrixSigner{
			k.signer, k.trust, "key",
			map[string]string{"private_key": k.private},
			map[string]string{"public_key": k.public},
		}
	}
	return out
}

func certificateSigner(t *testing.T) matrixSigner {
	now := time.Now().Truncate(time.Second)
	valid := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour) }
	ca := func(c *x509.Certificate) { authority(c); valid(c) }
	root := issue(t, "root", nil, ca)
	middle := issue(t, "middle", root, ca)
	leaf := issue(t, "leaf", middle, func(c *x509.Certificate) {
		valid(c)
		c.NotBefore = now.Add(-time.Minute) // the peer asks whether the chain was valid then
	})
	files := t.TempDir()
	for name, c := range map[string]*testCert{"root": root, "middle": middle, "leaf": leaf} {
		write(name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))(t, files)
	}
	private, err := keys.MarshalPrivate(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	write("key", string(private))(t, files)
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewCertificateVerifier(root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return matrixSigner{
		signer, trust, "certificate",
		map[string]string{"private_key": files + "/key", "signing_certificate": files + "/leaf", "certificate_chain": files + "/middle"},
		map[string]string{"certificate_chain": files + "/root"},
	}
}

// A trial is a reading of a cell.
type trial struct {
	cell
	reading
	model  *matrixModel
	bundle []byte // ours, or what the Python tool signed
	sig    string // the file of it
	err    error  // why we did not sign
}

// TestInteropMatrix signs each cell with either tool and has the other verify
// it, and refuse the same bundle for the damaged model. A reading either
// succeeds or is on the list of exceptions, and fails where the list says.
func TestInteropMatrix(t *testing.T) {
	python(t)
	signers, shapes := matrixSigners, slices.Sorted(maps.Keys(matrixShapes))
	if testing.Short() || portable {
		signers, shapes = signers[:1], []string{"names", single}
	}
	cells := matrix(signers, shapes)
	trusts := newMatrixSigners(t)
	sigs := t.TempDir()
	models := map[cell]*matrixModel{} // by what a model depends on
	var trials []*trial
	var jobs []peerJob
	var signing []*trial // of the jobs
	for _, c := range cells {
		key := cell{links: c.links, ignore: c.ignore, shape: c.shape}
		if models[key] == nil {
			models[key] = c.model(t)
		}
		for _, r := range c.readings() {
			tr := &trial{cell: c, reading: r, model: models[key], sig: filepath.Join(sigs, fmt.Sprint(len(trials)))}
			trials = append(trials, tr)
			if r.by == "theirs" {
				jobs, signing = append(jobs, tr.job("sign", trusts[c.signer])), append(signing, tr)
				continue
			}
			tr.sign(t, trusts[c.signer].signer)
		}
	}
	for i, result := range peerAll(t, jobs) {
		tr := signing[i]
		if !result.OK {
			t.Errorf("%v: the peer does not sign: %s", tr, result.Error)
			continue
		}
		var err error
		if tr.bundle, err = os.ReadFile(tr.sig); err != nil {
			t.Fatal(err)
		}
	}

	jobs = nil
	var verifying []*trial
	const ignored = "with other ignored files"
	changed := make(map[int]string) // by job
	for _, tr := range trials {
		if tr.by == "theirs" || tr.err != nil {
			continue
		}
		jobs, verifying = append(jobs, tr.job("verify", trusts[tr.signer])), append(verifying, tr)
		if expected(tr.cell, tr.reading).trap != 0 || tr.via != "told" || tr.form != integrity.FormPython {
			continue // refused anyway, or asked in another way
		}
		models := maps.Clone(tr.model.damaged)
		if tr.model.more != nil {
			models[ignored] = tr.model.more
		}
		for change, m := range models {
			job := tr.job("verify", trusts[tr.signer])
			job.Model = m.path
			changed[len(jobs)] = change
			jobs, verifying = append(jobs, job), append(verifying, tr)
		}
	}
	theirs := map[*trial]peerResult{}
	refusals := 0
	for i, result := range peerAll(t, jobs) {
		change, ok := changed[i]
		switch {
		case !ok:
			theirs[verifying[i]] = result
		case change == ignored && !result.OK:
			t.Errorf("%v: the peer refuses it %s: %s", verifying[i], change, result.Error)
		case change != ignored && result.OK:
			t.Errorf("%v: the peer accepts it %s", verifying[i], change)
		case change != ignored:
			refusals++
		}
	}

	traps := map[int]int{}
	for _, tr := range trials {
		want := expected(tr.cell, tr.reading)
		result, read := theirs[tr]
		got, why := "", ""
		switch {
		case tr.by == "theirs":
			n, err := tr.verify(t, trusts[tr.signer].trust, want.trap != 0)
			if refusals += n; err != nil {
				got, why = "we", err.Error()
			}
		case tr.err != nil:
			got, why = "we", tr.err.Error()
		case !read || !result.OK:
			got, why = "they", result.Error
		}
		if got != want.who || !strings.Contains(why, want.says) {
			t.Errorf("%v: refused by %q, want %q (trap %d): %s", tr, got, want.who, want.trap, why)
		}
		traps[want.trap]++
	}
	agree := traps[0]
	delete(traps, 0)
	t.Logf("%d cells, %d readings: %d agree, %d are explained by a trap; %d refusals of damaged models",
		len(cells), len(trials), agree, len(trials)-agree, refusals)
	for _, trap := range slices.Sorted(maps.Keys(traps)) {
		t.Logf("trap %d: %d", trap, traps[trap])
	}
}

func (tr *trial) String() string {
	return fmt.Sprintf("%v; signed by %s, form %d, verified via %s", tr.cell, map[string]string{"ours": "us", "theirs": "the peer"}[tr.by], tr.form, tr.via)
}

func (tr *trial) job(op string, s matrixSigner) peerJob {
	trust := s.trusted
	if op == "sign" {
		trust = s.signs
	}
	return peerJob{
		Op: op, Via: tr.via, Method: s.method, Model: tr.model.path, Signature: tr.sig,
		Hash: strings.TrimSuffix(tr.hash, "b"), Shard: tr.shard, Symlinks: tr.links, Ignore: tr.ignored(), Trust: trust,
	}
}

func (tr *trial) sign(t *testing.T, signer prerun.Signer) {
	t.Helper()
	m, err := tr.model.hash(t, integrity.Hasher{Algorithm: tr.hash, ShardSize: tr.shard, AllowSymlinks: tr.links, Ignore: tr.ignored()})
	if err == nil {
		tr.bundle, err = integrity.Signing{Name: "m", Form: tr.form}.Sign(t.Context(), m, signer)
	}
	if err != nil {
		if !errors.Is(err, integrity.ErrUnsupported) && !errors.Is(err, integrity.ErrEmpty) {
			t.Errorf("%v: %v", tr, err)
		}
		tr.err = err
		return
	}
	if err := os.WriteFile(tr.sig, tr.bundle, 0o600); err != nil {
		t.Fatal(err)
	}
}

// verify verifies what the peer signed, and damaged models. Strict refuses it
// exactly where the result names a leniency.
func (tr *trial) verify(t *testing.T, trust prerun.Verifier, refused bool) (refusals int, err error) {
	t.Helper()
	r, err := tr.model.verify(t, integrity.Verifier{}, tr.bundle, trust)
	if refused {
		return 0, err
	}
	if _, strict := tr.model.verify(t, integrity.Verifier{Strict: true}, tr.bundle, trust); (strict == nil) != (len(r.Leniencies) == 0) {
		t.Errorf("%v: leniencies %v, strict %v", tr, codes(r), strict)
	}
	for damage, m := range tr.model.damaged {
		if _, err := m.verify(t, integrity.Verifier{}, tr.bundle, trust); !integrity.Rejected(err) {
			t.Errorf("%v: %s: %v", tr, damage, err)
		}
		refusals++
	}
	if m := tr.model.more; m != nil {
		if _, err := m.verify(t, integrity.Verifier{}, tr.bundle, trust); err != nil {
			t.Errorf("%v: with other ignored files: %v", tr, err)
		}
	}
	return refusals, err
}

// TestInteropHistory has the Python tool verify the bundles of its own past
// releases, offline; TestCorpusKey and its like have us do the same.
func TestInteropHistory(t *testing.T) {
	python(t)
	corpus := func(elem ...string) string { return testutil.Corpus(t, append([]string{"oms"}, elem...)...) }
	var jobs []peerJob
	var names []string
	for _, method := range []string{"key", "certificate", "sigstore"} {
		for _, v := range vectors(t, method) {
			dir := corpus(filepath.FromSlash(v.Dir))
			job := peerJob{Op: "verify", Via: "command", Method: method, Model: filepath.Join(dir, v.Model), Signature: filepath.Join(dir, "model.sig"), Ignore: v.Ignore}
			switch method {
			case "key":
				job.Trust = map[string]string{"public_key": corpus("signed", v.Trust)}
			case "certificate":
				job.Trust = map[string]string{"certificate_chain": corpus("signed", v.Trust)}
			default:
				job.Trust = map[string]string{"identity": v.Identity, "identity_provider": v.Issuer, "trust_config": corpus("golden", "custom_trust_config.json")}
			}
			if job.Ignore == nil {
				job.Ignore = []string{}
			}
			jobs, names = append(jobs, job), append(names, v.Dir)
		}
	}
	if len(jobs) != 13 {
		t.Errorf("%d bundles, want 13", len(jobs))
	}
	for i, r := range peerAll(t, jobs) {
		if !r.OK {
			t.Errorf("%s: %s", names[i], r.Error)
		}
	}
}
