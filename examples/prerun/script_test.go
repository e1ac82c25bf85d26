package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"prerun": main})
}

// The scripts run the command as a process of its own. Besides the standard
// commands they have those below.
func TestScripts(t *testing.T) {
	demo := filepath.Join(testutil.Root(t), "examples", "gate", "demo")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DEMO", demo)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "unprivileged" {
				return os.Getuid() > 0, nil // root reads files of mode 0
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":      status,
			"envelope":    checkEnvelope,
			"sarif":       checkSARIF,
			"xml":         checkXML,
			"setfact":     setFact,
			"cpdir":       copyFolder,
			"key":         writeKey,
			"certificate": writeCertificates,
			"safetensors": writeSafetensors,
			"server":      serve,
			"registry":    serveImage,
			"same":        sameReports,
		},
	})
}

// status N COMMAND ARG... runs a command and wants exit status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// A jsonReport is the envelope as the architecture has it. Pointers and raw
// members tell what is absent or null from what is empty.
type jsonReport struct {
	Schema   string                     `json:"schema"`
	Command  string                     `json:"command"`
	Verdict  string                     `json:"verdict"`
	Subjects []map[string]any           `json:"subjects"`
	Findings []map[string]any           `json:"findings"`
	Gaps     []map[string]any           `json:"gaps"`
	Facts    map[string]json.RawMessage `json:"facts"`
	Stats    map[string]any             `json:"stats"`
}

func readEnvelope(ts *testscript.TestScript, name string) jsonReport {
	data := []byte(ts.ReadFile(name))
	var keys map[string]json.RawMessage
	ts.Check(json.Unmarshal(data, &keys))
	for _, key := range []string{"schema", "command", "verdict", "subjects", "findings", "gaps", "facts", "stats"} {
		if value, ok := keys[key]; !ok || string(value) == "null" {
			ts.Fatalf("%s: no %q", name, key)
		}
	}
	if len(keys) != 8 {
		ts.Fatalf("%s: %d members, want 8", name, len(keys))
	}
	var r jsonReport
	ts.Check(json.Unmarshal(data, &r))
	return r
}

// envelope FILE COMMAND VERDICT FACT... checks a JSON report and that it has
// the facts. A fact a.b is member b of a, or of each element of a.
func checkEnvelope(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	r := readEnvelope(ts, name)
	if r.Schema != "prerun/report/v1" || r.Command != args[1] || r.Verdict != args[2] {
		ts.Fatalf("%s: %s %s %s, want command %s and verdict %s", name, r.Schema, r.Command, r.Verdict, args[1], args[2])
	}
	for _, f := range r.Findings {
		for _, key := range []string{"rule", "severity", "confidence", "path", "message", "refs", "evidence", "fingerprint"} {
			if f[key] == nil {
				ts.Fatalf("%s: a finding without %q: %v", name, key, f)
			}
		}
	}
	for _, g := range r.Gaps {
		if g["path"] == nil || g["reason"] == nil {
			ts.Fatalf("%s: a gap without path and reason: %v", name, g)
		}
	}
	if len(r.Subjects) == 0 && r.Verdict == "pass" || len(r.Findings) == 0 && r.Verdict == "fail" ||
		len(r.Gaps) == 0 && r.Verdict == "incomplete" && r.Command != "gate" {
		ts.Fatalf("%s: verdict %s without a reason", name, r.Verdict)
	}
	if _, ok := r.Stats["seconds"].(float64); !ok {
		ts.Fatalf("%s: stats without seconds", name)
	}
	for _, path := range args[3:] {
		key, member, nested := strings.Cut(path, ".")
		value, ok := r.Facts[key]
		if !ok {
			ts.Fatalf("%s: no fact %q", name, key)
		}
		if nested {
			checkMember(ts, path, value, member)
		}
	}
}

func checkMember(ts *testscript.TestScript, path string, value json.RawMessage, member string) {
	var list []map[string]json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		list = make([]map[string]json.RawMessage, 1)
		ts.Check(json.Unmarshal(value, &list[0]))
	}
	if len(list) == 0 {
		ts.Fatalf("fact %s: the list is empty", path)
	}
	for _, item := range list {
		if v, ok := item[member]; !ok || string(v) == "null" {
			ts.Fatalf("no fact %s in %s", path, value)
		}
	}
}

// setfact VARIABLE FILE FACT sets a variable to a fact that is a string.
func setFact(ts *testscript.TestScript, _ bool, args []string) {
	var value string
	ts.Check(json.Unmarshal(readEnvelope(ts, args[1]).Facts[args[2]], &value))
	ts.Setenv(args[0], value)
}

// sarif FILE checks that a file is a log with a run.
func checkSARIF(ts *testscript.TestScript, _ bool, args []string) {
	var log struct {
		Version string `json:"version"`
		Runs    []struct {
			Tool        map[string]any   `json:"tool"`
			Results     []any            `json:"results"`
			Invocations []map[string]any `json:"invocations"`
		} `json:"runs"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &log))
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool == nil || log.Runs[0].Results == nil {
		ts.Fatalf("%s: no SARIF log: %+v", args[0], log)
	}
}

// xml FILE ROOT checks that a file is well-formed XML with that root element.
func checkXML(ts *testscript.TestScript, _ bool, args []string) {
	d := xml.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	root := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		if start, ok := token.(xml.StartElement); ok && root == "" {
			root = start.Name.Local
		}
	}
	if root != args[1] {
		ts.Fatalf("%s: root element %q, want %q", args[0], root, args[1])
	}
}

// cpdir FROM TO copies a folder.
func copyFolder(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(ts.MkAbs(args[0]))))
}

// key LABEL writes LABEL.pem and LABEL.pub.
func writeKey(ts *testscript.TestScript, _ bool, args []string) {
	for _, label := range args {
		key := keys.Demo(label)
		private, err := keys.MarshalPrivate(key)
		ts.Check(err)
		public, err := keys.MarshalPublic(key.Public())
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(label+".pem"), private, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs(label+".pub"), public, 0o644))
	}
}

// certificate writes a chain: root.crt, mid.crt, leaf.crt with leaf.pem, and
// expired.crt for the same key.
func writeCertificates(ts *testscript.TestScript, _ bool, _ []string) {
	write := func(name string, block *pem.Block) {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o600))
	}
	issue := func(name string, ca bool, until time.Time, key, parentKey *ecdsa.PrivateKey, parent *x509.Certificate) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: "DEMO " + name},
			NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: until,
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		ts.Check(err)
		write(name+".crt", &pem.Block{Type: "CERTIFICATE", Bytes: der})
		cert, err := x509.ParseCertificate(der)
		ts.Check(err)
		return cert
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		return key
	}
	rootKey, midKey, leafKey := newKey(), newKey(), newKey()
	later := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
	root := issue("root", true, later, rootKey, rootKey, nil)
	mid := issue("mid", true, later, midKey, rootKey, root)
	issue("leaf", false, later, leafKey, midKey, mid)
	issue("expired", false, time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), leafKey, midKey, mid)
	private, err := keys.MarshalPrivate(crypto.Signer(leafKey))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("leaf.pem"), private, 0o600))
}

// safetensors FILE NUMBER... writes one row of float32.
func writeSafetensors(ts *testscript.TestScript, _ bool, args []string) {
	var data []byte
	for _, arg := range args[1:] {
		v, err := strconv.ParseFloat(arg, 32)
		ts.Check(err)
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
	}
	header := fmt.Sprintf(`{"w":{"dtype":"F32","shape":[1,%d],"data_offsets":[0,%d]}}`, len(args)-1, len(data))
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), slices.Concat(out, []byte(header), data), 0o644))
}

// server VARIABLE FILE starts a server of the OpenAI protocol for the time of
// the script and sets a variable to its address. It answers the label of the row
// of FILE that has the text asked, and "ham" to everything else.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	labels := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1]))); d.More(); {
		var row struct{ Text, Label string }
		ts.Check(d.Decode(&row))
		labels[row.Text] = row.Label
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Model    string
			Messages []struct{ Content string }
		}
		if r.URL.Path != "/v1/chat/completions" || json.NewDecoder(r.Body).Decode(&ask) != nil || len(ask.Messages) == 0 {
			http.Error(w, "no such thing", http.StatusNotFound)
			return
		}
		answer := labels[ask.Messages[len(ask.Messages)-1].Content]
		if answer == "" {
			answer = "ham"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"object":"chat.completion","model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`,
			ask.Model, answer)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL+"/v1")
}

// same FILE FILE wants two JSON reports that differ in their stats at most.
func sameReports(ts *testscript.TestScript, neg bool, args []string) {
	var reports [2]map[string]any
	for i := range reports {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[i])), &reports[i]))
		delete(reports[i], "stats")
	}
	if reflect.DeepEqual(reports[0], reports[1]) == neg {
		ts.Fatalf("%s and %s are the same: %t", args[0], args[1], !neg)
	}
}

// registry VARIABLE FILE... starts a registry for the time of the script, puts
// an image there that has the files as layers, and sets a variable to its
// reference.
func serveImage(ts *testscript.TestScript, _ bool, args []string) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	send := func(method, path string, body []byte) *http.Response {
		req, err := http.NewRequest(method, srv.URL+path, bytes.NewReader(body))
		ts.Check(err)
		req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		resp.Body.Close()
		return resp
	}
	push := func(data []byte) map[string]any {
		d := digestx.Of(data).String()
		at := send(http.MethodPost, "/v2/models/tiny/blobs/uploads/", nil).Header.Get("Location")
		send(http.MethodPut, at+"?digest="+d, data)
		return map[string]any{"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": d, "size": len(data)}
	}
	config := push([]byte("{}"))
	config["mediaType"] = "application/vnd.cncf.model.config.v1+json"
	var layers []any
	for _, name := range args[1:] {
		l := push([]byte(ts.ReadFile(name)))
		l["annotations"] = map[string]string{"org.cncf.model.filepath": name}
		layers = append(layers, l)
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
	})
	ts.Check(err)
	send(http.MethodPut, "/v2/models/tiny/manifests/v1", manifest)
	ts.Setenv(args[0], host+"/models/tiny:v1")
}

// The bundles of the Python tool's releases verify through the command, each by
// its method. Version 0.2 says what was let pass.
func TestCorpusBundles(t *testing.T) {
	dir := testutil.Corpus(t, "oms")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Vectors []struct {
			Dir, Method, Model, Trust string
			Ignore                    []string
		}
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, v := range manifest.Vectors {
		if v.Method != "key" && v.Method != "certificate" {
			continue
		}
		seen++
		t.Run(filepath.Base(v.Dir), func(t *testing.T) {
			here := filepath.Join(dir, v.Dir)
			trust := filepath.Join(dir, "signed", v.Trust)
			args := []string{"verify", v.Method, filepath.Join(here, v.Model), "--signature", filepath.Join(here, "model.sig")}
			if v.Method == "key" {
				args = append(args, "--public-key", trust)
			} else {
				args = append(args, "--certificate-chain", trust)
			}
			for _, path := range v.Ignore {
				args = append(args, "--ignore", path)
			}
			facts := verified(t, args, 0)
			old := strings.Contains(v.Dir, "v0.2")
			if got := strings.Contains(string(facts["leniencies"]), "v0.2"); got != old {
				t.Errorf("leniencies %s", facts["leniencies"])
			}
			if old {
				verified(t, append(args, "--strict"), 1, 2)
			}
		})
	}
	if seen != 9 {
		t.Errorf("%d bundles, want 9", seen)
	}
}

// verified runs a verification and returns its facts.
func verified(t *testing.T, args []string, codes ...int) map[string]json.RawMessage {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append(args, "--format", "json"), &stdout, &stderr)
	if !slices.Contains(codes, code) {
		t.Fatalf("%v: exit status %d\n%s%s", args, code, &stdout, &stderr)
	}
	var r jsonReport
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r.Facts
}
