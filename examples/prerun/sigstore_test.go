package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
	"github.com/prerun/prerun/internal/testutil"
)

// The command signs with an instance in memory, which stands where the default
// transport does, and verifies without asking it.
func TestSigstore(t *testing.T) {
	instance := sigstoretest.New("command", time.Now())
	usual := http.DefaultTransport
	http.DefaultTransport = instance
	t.Cleanup(func() { http.DefaultTransport = usual })

	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	model := filepath.Dir(write("model/config.json", "{}"))
	token := write("token", sigstoretest.Token("release@example.org", "https://accounts.example.org")+"\n")
	config := write("config.json", string(instance.TrustConfig("signing_config", 2)))
	root := write("root.json", string(instance.Root()))
	other := write("other.json", string(sigstoretest.New("other", time.Now()).Root()))
	empty := write("empty", "")
	sig := filepath.Join(dir, "model.sig")

	sign := []string{"sign", "sigstore", model, "-o", sig}
	who := []string{"--identity", "release@example.org", "--identity-provider", "https://accounts.example.org"}
	verify := slices.Concat([]string{"verify", "sigstore", model, "--signature", sig}, who)
	sign, verify = slices.Clip(sign), slices.Clip(verify) // what is appended below is not shared
	for _, tt := range []struct {
		name string
		args []string
		want int
		text string // in the output
	}{
		{"sign", append(sign, "--identity-token-file", token, "--trust-config", config), 0, "signed"},
		{"verify", append(verify, "--trust-config", config), 0, "release@example.org"},
		{"verify_by_root", append(verify, "--trust-config", root, "--strict", "--format", "json"), 0, sigstoretest.Stamps},

		{"other_identity", append(verify, "--trust-config", root, "--identity", "release@example.com"), 1, "another identity"},
		{"other_provider", append(verify, "--trust-config", root, "--identity-provider", "https://x"), 1, "another identity"},
		{"other_instance", append(verify, "--trust-config", other), 1, "no trusted log"},
		{"public_good", verify, 1, "no trusted log"},

		{"staging", append(verify, "--staging"), 1, "no trusted log"},
		{"two_roots", append(verify, "--trust-config", root, "--staging"), 2, "staging trust-config"},
		{"no_identity", verify[:len(verify)-2], 2, "identity-provider"},
		{"no_trust_config", append(verify, "--trust-config", empty), 2, "empty"},
		{"sign_without_token", append(sign, "--trust-config", config), 2, "identity-token-file"},
		{"sign_with_empty_token", append(sign, "--identity-token-file", empty, "--trust-config", config), 2, "no token"},
		{"sign_without_instance", append(sign, "--identity-token-file", token), 2, "public-good"},
		{"sign_with_two_instances", append(sign, "--identity-token-file", token, "--public-good", "--staging"), 2, "public-good"},
		{"sign_with_root_only", append(sign, "--identity-token-file", token, "--trust-config", root), 2, "signing configuration"},
		{"sign_elsewhere", append(sign, "--identity-token-file", token, "--public-good"), 2, "no service at"},
		{"sign_at_staging", append(sign, "--identity-token-file", token, "--staging"), 2, "no service at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := len(instance.Requests)
			var stdout, stderr bytes.Buffer
			got := run(t.Context(), tt.args, &stdout, &stderr)
			if text := stdout.String() + stderr.String(); got != tt.want || !strings.Contains(text, tt.text) {
				t.Errorf("exit status %d, want %d with %q:\n%s", got, tt.want, tt.text, text)
			}
			if tt.args[0] == "verify" && len(instance.Requests) > asked {
				t.Errorf("verify asks %q", instance.Requests[asked:])
			}
		})
	}

	t.Run("corpus", func(t *testing.T) {
		dir := testutil.Corpus(t, "oms", "signed", "v1.1.0-sigstore")
		var stdout, stderr bytes.Buffer
		got := run(t.Context(), []string{
			"verify", "sigstore", dir, "--signature", filepath.Join(dir, "model.sig"),
			"--identity", "stefanb@us.ibm.com", "--identity-provider", "https://sigstore.verify.ibm.com/oauth2",
		}, &stdout, &stderr)
		if got != 0 {
			t.Errorf("exit status %d:\n%s%s", got, &stdout, &stderr)
		}
	})
}
