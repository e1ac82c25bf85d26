package sigstore_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

const (
	subject = "release@example.org"
	issuer  = "https://accounts.example.org"
)

var then = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// dials counts attempts to reach the network: by the default transport, or by
// looking a name up.
var dials int

func TestMain(m *testing.M) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		dials++
		return nil, errors.New("a test dials")
	}
	http.DefaultTransport = &http.Transport{DialContext: refuse}
	http.DefaultClient = &http.Client{Transport: http.DefaultTransport}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: refuse}
	code := m.Run()
	if dials > 0 {
		println("tests dialled", dials, "times")
		code = 1
	}
	os.Exit(code)
}

func model() fs.FS {
	return fstest.MapFS{
		"config.json":       {Data: []byte("{}")},
		"model.safetensors": {Data: []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")},
	}
}

func trustedRoot(t testing.TB, i *sigstoretest.Instance) *sigstore.TrustedRoot {
	t.Helper()
	root, err := sigstore.ParseTrustedRoot(i.Root())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func services(log int) sigstore.Services {
	s := sigstore.Services{Authority: sigstoretest.Authority, Timestamps: []string{sigstoretest.Stamps}}
	switch log {
	case 1:
		s.Logs = []sigstore.Log{{URL: sigstoretest.LogV1, Version: 1}}
	case 2:
		s.Logs = []sigstore.Log{{URL: sigstoretest.LogV2, Version: 2}}
	}
	return s
}

func signer(i *sigstoretest.Instance, s sigstore.Services) sigstore.Signer {
	return sigstore.Signer{IDToken: sigstoretest.Token(subject, issuer), Services: s, Transport: i}
}

func sign(t testing.TB, s sigstore.Signer) string {
	t.Helper()
	m, err := integrity.Hasher{}.Hash(t.Context(), model())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := integrity.Signing{Name: "tiny"}.Sign(t.Context(), m, s)
	if err != nil {
		t.Fatal(err)
	}
	return string(bundle)
}

func trusting(root *sigstore.TrustedRoot, change func(*sigstore.Verifier)) sigstore.Verifier {
	v := sigstore.Verifier{Root: root, Identities: []sigstore.Identity{{Subject: subject, Issuer: issuer}}}
	if change != nil {
		change(&v)
	}
	return v
}

func replace(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("no %q in %s", old, s)
	}
	return strings.Replace(s, old, new, 1)
}
