package openai_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/target/openai"
	"github.com/prerun/prerun/validate/validatetest"
)

// realServer starts llama.cpp behind cyllama's server of the protocol, with a
// model that answers "ham", and returns its base URL.
func realServer(t *testing.T) string {
	python := os.Getenv("PRERUN_OPENAI_PYTHON")
	if python == "" {
		testutil.Missing(t, "a server of the OpenAI protocol (cyllama)",
			"run validate/target/openai/testdata/install.sh DIR and set PRERUN_OPENAI_PYTHON to DIR/bin/python")
	}
	model := filepath.Join(t.TempDir(), "ham.gguf")
	if err := os.WriteFile(model, bigramGGUF("ham"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "serve.py"), model, port)
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ready := make(chan bool, 1)
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if lines.Text() == "ready" {
				ready <- true
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	select {
	case ok := <-ready:
		if !ok {
			cmd.Wait()
			t.Fatalf("the server ended:\n%s", log.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready after a minute")
	}
	return "http://127.0.0.1:" + port + "/v1"
}

// recorder notes which addresses are dialled.
type recorder struct {
	mu    sync.Mutex
	addrs map[string]bool
}

func (r *recorder) client(t *testing.T) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.addrs == nil {
			r.addrs = make(map[string]bool)
		}
		r.addrs[addr] = true
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func hamSuite(n int, expect string) *validate.Suite {
	s := &validate.Suite{
		Name:   "ham.yaml",
		System: "Answer ham or spam.",
		Params: validate.Params{MaxTokens: 8},
		Requirements: []validate.Requirement{
			{Name: "error rate", Kind: validate.RateAtMost, Limit: .2, Scorer: validate.Exact{}},
			{
				Name: "edits", Kind: validate.Invariance, Limit: .2,
				Transforms: []validate.Transform{{Name: "upper-case", Apply: strings.ToUpper}},
			},
		},
	}
	for i := range n {
		s.Cases = append(s.Cases, validate.Case{
			ID: strconv.Itoa(i), Input: "mail number " + strconv.Itoa(i), Expect: expect,
			History: []validate.Message{{Role: "user", Text: "hello"}, {Role: "assistant", Text: "ham"}},
		})
	}
	return s
}

func TestRealServer(t *testing.T) {
	base := realServer(t)
	var dialled recorder
	client := &openai.Client{
		BaseURL: base, Model: "ham", HTTP: dialled.client(t), Key: "sk-test-0123456789abcdef",
	}

	t.Run("conformance", func(t *testing.T) { validatetest.TestTarget(t, client) })

	t.Run("suite", func(t *testing.T) {
		journal, err := os.OpenFile(filepath.Join(t.TempDir(), "journal"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer journal.Close()
		runner := validate.Runner{Journal: journal, Seed: 1}
		s := hamSuite(20, "ham")
		rep, err := runner.Run(t.Context(), s, client)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Verdict != validate.Pass || rep.Stats.Asked != 40 || len(rep.Models) != 1 || rep.Stats.OutputTokens == 0 {
			t.Fatalf("%s, %+v, faults %v", rep.Verdict, rep.Stats, rep.Faults)
		}
		want := marshal(t, rep)

		size, err := journal.Seek(0, io.SeekEnd)
		if err != nil {
			t.Fatal(err)
		}
		if err := journal.Truncate(size / 2); err != nil { // killed halfway
			t.Fatal(err)
		}
		rep, err = runner.Run(t.Context(), s, client)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Stats.Reused == 0 || rep.Stats.Asked == 0 {
			t.Errorf("%+v", rep.Stats)
		}
		rep.AskedAgain = nil // a server does not promise equal answers, so these are marked
		if got := marshal(t, rep); got != want {
			t.Errorf("resumed:\n%s\nwant\n%s", got, want)
		}
	})

	t.Run("wrong_answers_fail", func(t *testing.T) {
		rep, err := validate.Runner{}.Run(t.Context(), hamSuite(20, "spam"), client)
		if err != nil || rep.Verdict != validate.Fail {
			t.Errorf("%v, %v", rep, err)
		}
	})

	t.Run("wrong_path", func(t *testing.T) {
		other := *client
		other.BaseURL = strings.TrimSuffix(base, "/v1") + "/v2"
		_, err := other.Generate(t.Context(), validate.Request{Input: "x"})
		e, ok := errors.AsType[*openai.StatusError](err)
		if !ok || e.Code != http.StatusNotFound || e.Message != "Not Found" || !errors.Is(err, validate.ErrTarget) {
			t.Errorf("got %v", err)
		}
	})

	host := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1")
	if len(dialled.addrs) != 1 || !dialled.addrs[host] {
		t.Errorf("dialled %v, want %s only", dialled.addrs, host)
	}
}

func marshal(t *testing.T, rep *validate.Report) string {
	t.Helper()
	data, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
