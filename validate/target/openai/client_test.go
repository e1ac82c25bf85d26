package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/prerun/prerun/internal/testutil"
	"github.com/prerun/prerun/validate"
	"github.com/prerun/prerun/validate/target/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// roundTrip is a transport without a network, for what a real server does not
// do on demand.
type roundTrip func(n int, req *http.Request) (*http.Response, error)

func client(f roundTrip) (*openai.Client, *atomic.Int32) {
	var calls atomic.Int32
	return &openai.Client{
		BaseURL: "http://model.invalid/v1/", Model: "m", Key: "sk-secret-0123456789",
		HTTP: &http.Client{Transport: transport(func(req *http.Request) (*http.Response, error) {
			return f(int(calls.Add(1)), req)
		})},
	}, &calls
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answer(code int, body string, header ...string) *http.Response {
	res := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res
}

const good = `{"model":"m-1","system_fingerprint":"fp","choices":[{"index":0,"message":{"role":"assistant","content":"ham"},` +
	`"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":1}}`

func TestRequestAndAnswer(t *testing.T) {
	var got map[string]any
	c, _ := client(func(_ int, req *http.Request) (*http.Response, error) {
		if req.URL.String() != "http://model.invalid/v1/chat/completions" || req.Method != http.MethodPost {
			t.Errorf("%s %s", req.Method, req.URL)
		}
		if h := req.Header.Get("Authorization"); h != "Bearer sk-secret-0123456789" {
			t.Errorf("authorization %q", h)
		}
		if h := req.Header.Get("X-Team"); h != "a" {
			t.Errorf("own header %q", h)
		}
		if err := json.NewDecoder(req.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		return answer(200, good), nil
	})
	c.Header = http.Header{"X-Team": {"a"}}
	res, err := c.Generate(t.Context(), validate.Request{
		System: "sys", History: []validate.Message{{Role: "user", Text: "1"}, {Role: "assistant", Text: "2"}},
		Input: "3", Seed: 1<<40 + 5, Params: validate.Params{MaxTokens: 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := validate.Response{Text: "ham", Model: "m-1 fp", Finish: "stop", InputTokens: 12, OutputTokens: 1}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	message := func(role, text string) any { return map[string]any{"role": role, "content": text} }
	wantBody := map[string]any{
		"model": "m", "temperature": 0.0, "max_tokens": 9.0, "seed": 5.0, "stream": false,
		"messages": []any{message("system", "sys"), message("user", "1"), message("assistant", "2"), message("user", "3")},
	}
	if diff := cmp.Diff(wantBody, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if len(c.Header) != 1 {
		t.Errorf("the caller's header was changed: %v", c.Header)
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []any // *http.Response or error, one for each attempt
		wait  time.Duration
		calls int
		class error // nil for an answer
	}{
		{"retry_after_seconds", []any{answer(429, "", "Retry-After", "7"), answer(200, good)}, 7 * time.Second, 2, nil},
		{"retry_after_date", []any{answer(503, "", "Retry-After", "Sat, 01 Jan 2000 00:00:30 GMT"), answer(200, good)}, 30 * time.Second, 2, nil},
		{"retry_after_past_date", []any{answer(503, "", "Retry-After", "Sat, 01 Jan 1999 00:00:30 GMT"), answer(200, good)}, 0, 2, nil},
		{"retry_after_nonsense", []any{answer(429, "", "Retry-After", "soon"), answer(200, good)}, time.Second / 2, 2, nil},
		{"retry_after_too_long", []any{answer(429, "", "Retry-After", "3600"), answer(200, good)}, 0, 1, openai.ErrStatus},
		{"doubling", []any{answer(500, ""), answer(502, ""), answer(504, ""), answer(200, good)}, 3500 * time.Millisecond, 4, nil},
		{"connection_breaks", []any{io.ErrUnexpectedEOF, answer(200, good)}, time.Second / 2, 2, nil},
		{"attempts_are_bounded", []any{answer(500, ""), answer(500, ""), answer(500, ""), answer(500, ""), answer(500, "")}, 7500 * time.Millisecond, 5, openai.ErrStatus},
		{"bad_request_is_final", []any{answer(400, `{"error":{"message":"no such model"}}`)}, 0, 1, openai.ErrStatus},
		{"unauthorised_is_final", []any{answer(401, "")}, 0, 1, openai.ErrStatus},
		{"redirect_is_not_followed", []any{answer(302, "", "Location", "http://elsewhere.invalid/")}, 0, 1, openai.ErrStatus},
		{"malformed_is_final", []any{answer(200, "{")}, 0, 1, openai.ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock starts at midnight of 2000-01-01
				c, calls := client(func(n int, req *http.Request) (*http.Response, error) {
					if n > len(tt.steps) {
						t.Fatalf("attempt %d", n)
					}
					if req.URL.Host != "model.invalid" {
						t.Errorf("asked %s", req.URL)
					}
					if err, ok := tt.steps[n-1].(error); ok {
						return nil, err
					}
					return tt.steps[n-1].(*http.Response), nil
				})
				start := time.Now()
				res, err := c.Generate(t.Context(), validate.Request{Input: "x"})
				if waited := time.Since(start); waited != tt.wait {
					t.Errorf("waited %s, want %s", waited, tt.wait)
				}
				if int(calls.Load()) != tt.calls {
					t.Errorf("%d attempts, want %d", calls.Load(), tt.calls)
				}
				if tt.class == nil {
					if err != nil || res.Text != "ham" || res.Retries != tt.calls-1 {
						t.Errorf("got %+v, %v", res, err)
					}
					return
				}
				if !errors.Is(err, tt.class) || !errors.Is(err, validate.ErrTarget) {
					t.Errorf("got %v, want %v", err, tt.class)
				}
			})
		})
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, calls := client(func(int, *http.Request) (*http.Response, error) {
			return answer(429, "", "Retry-After", "50"), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Generate(ctx, validate.Request{Input: "x"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second || calls.Load() != 1 {
			t.Errorf("%v after %s and %d attempts", err, time.Since(start), calls.Load())
		}
	})
}

// TestRunnerTimeout: a server that never answers is an error outcome when the
// runner's time-out ends.
func TestRunnerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := client(func(_ int, req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		start := time.Now()
		rep, err := validate.Runner{Timeout: 30 * time.Second, Concurrency: 100}.Run(t.Context(), hamSuite(20, "ham"), c)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Verdict != validate.Error || rep.FaultCount == 0 || time.Since(start) != 30*time.Second {
			t.Errorf("%s, %d faults, %s", rep.Verdict, rep.FaultCount, time.Since(start))
		}
	})
}

func TestRefusedAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"empty":              ``,
		"not_json":           `<html>gateway</html>`,
		"no_choices":         `{"choices":[]}`,
		"two_choices":        `{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}`,
		"no_message":         `{"choices":[{"index":0}]}`,
		"null_content":       `{"choices":[{"message":{"content":null}}]}`,
		"tool_call":          `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"x"}]}}]}`,
		"number_as_content":  `{"choices":[{"message":{"content":7}}]}`,
		"duplicate_name":     `{"choices":[{"message":{"content":"a","content":"b"}}]}`,
		"case_variant":       `{"choices":[{"message":{"Content":"a"}}]}`,
		"error_with_200":     `{"error":{"message":"overloaded"},"choices":[{"message":{"content":"a"}}]}`,
		"trailing":           good + `{}`,
		"stream":             "data: " + good + "\n\n",
		"deep":               strings.Repeat("[", 1000),
		"too_long":           `{"x":"` + strings.Repeat("a", 5<<20) + `"}`,
		"invalid_utf8":       "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
		"choices_is_no_list": `{"choices":{"message":{"content":"a"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, calls := client(func(int, *http.Request) (*http.Response, error) { return answer(200, body), nil })
			res, err := c.Generate(t.Context(), validate.Request{Input: "x"})
			if !errors.Is(err, openai.ErrProtocol) || res.Text != "" || calls.Load() != 1 {
				t.Errorf("got %q, %v after %d attempts", res.Text, err, calls.Load())
			}
		})
	}
}

func TestAcceptedAnswers(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"empty_text":     {`{"choices":[{"message":{"content":""}}]}`, ""},
		"refusal":        {`{"choices":[{"message":{"content":null,"refusal":"no"}}]}`, "no"},
		"unknown_names":  {`{"x":1,"choices":[{"y":2,"message":{"content":"a","z":[{}]}}],"usage":null}`, "a"},
		"null_error":     {`{"error":null,"choices":[{"message":{"content":"a"}}]}`, "a"},
		"empty_tools":    {`{"choices":[{"message":{"content":"a","tool_calls":[]}}]}`, "a"},
		"null_reasons":   {`{"model":null,"choices":[{"message":{"content":"a"},"finish_reason":null}]}`, "a"},
		"white_space":    {" \n" + `{"choices":[{"message":{"content":"a"}}]}` + "\r\n", "a"},
		"partial_usage":  {`{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":null}}`, "a"},
		"empty_then_ref": {`{"choices":[{"message":{"content":"","refusal":"no"}}]}`, "no"},
	} {
		c, _ := client(func(int, *http.Request) (*http.Response, error) { return answer(200, tt.body), nil })
		res, err := c.Generate(t.Context(), validate.Request{Input: "x"})
		if err != nil || res.Text != tt.want {
			t.Errorf("%s: got %q, %v", name, res.Text, err)
		}
	}
}

// TestBrokenTransfers needs a server that misbehaves below HTTP.
func TestBrokenTransfers(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Content-Length", "1000") // and then too little
			fmt.Fprint(w, good[:40])
			return
		}
		fmt.Fprint(w, good)
	}))
	defer srv.Close()
	c := &openai.Client{BaseURL: srv.URL, Model: "m", HTTP: srv.Client()}
	res, err := c.Generate(t.Context(), validate.Request{Input: "x"})
	if err != nil || res.Text != "ham" || res.Retries != 1 {
		t.Errorf("cut body: %+v, %v", res, err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c.BaseURL, c.Retries = "http://"+address, -1
	if _, err := c.Generate(t.Context(), validate.Request{Input: "x"}); !errors.Is(err, openai.ErrNetwork) {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestKeyNeverShows: not in what is printed, not in what a server repeats.
func TestKeyNeverShows(t *testing.T) {
	const key = "sk-secret-0123456789"
	c, _ := client(func(int, *http.Request) (*http.Response, error) {
		return answer(401, `{"error":{"message":"Incorrect API key provided: `+key+`"}}`), nil
	})
	_, err := c.Generate(t.Context(), validate.Request{Input: "x"})
	data, jsonErr := json.Marshal(struct{ Key openai.Secret }{c.Key})
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("client", "key", c.Key)
	for _, shown := range []string{
		err.Error(), c.Name(), fmt.Sprint(c.Key), fmt.Sprintf("%v %+v %#v %q", c, *c, *c, c.Key), string(data), log.String(),
	} {
		if strings.Contains(shown, key) {
			t.Errorf("the key shows in %q", shown)
		}
	}
	if jsonErr != nil {
		t.Error(jsonErr)
	}
	plain, _ := client(func(int, *http.Request) (*http.Response, error) { return nil, errors.New("dial with " + key) })
	plain.Retries = -1
	if _, err := plain.Generate(t.Context(), validate.Request{}); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	ok := openai.Client{BaseURL: "https://model.invalid/v1", Model: "m", HTTP: &http.Client{}}
	if err := ok.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*openai.Client){
		"no_url":       func(c *openai.Client) { c.BaseURL = "" },
		"no_scheme":    func(c *openai.Client) { c.BaseURL = "model.invalid/v1" },
		"other_scheme": func(c *openai.Client) { c.BaseURL = "file:///etc/hosts" },
		"user":         func(c *openai.Client) { c.BaseURL = "https://user:pass@model.invalid" },
		"query":        func(c *openai.Client) { c.BaseURL = "https://model.invalid?key=1" },
		"bad_url":      func(c *openai.Client) { c.BaseURL = "http://[::1" },
		"no_model":     func(c *openai.Client) { c.Model = "" },
		"no_client":    func(c *openai.Client) { c.HTTP = nil },
		"key_injects":  func(c *openai.Client) { c.Key = "a\r\nHost: b" },
	} {
		c := ok
		change(&c)
		if err := c.Check(); !errors.Is(err, openai.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Generate(t.Context(), validate.Request{}); !errors.Is(err, openai.ErrConfig) {
			t.Errorf("%s: Generate: %v", name, err)
		}
		if strings.Contains(c.Name(), "pass") {
			t.Errorf("%s: name %q", name, c.Name())
		}
	}
	ok.Version = "2026-01"
	if got := ok.Name(); got != "openai:m@2026-01 at https://model.invalid/v1" {
		t.Errorf("name %q", got)
	}
}

// TestAnswerMemory: what a server sends beyond the limit is not kept.
func TestAnswerMemory(t *testing.T) {
	c, _ := client(func(int, *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(endless{})}, nil
	})
	c.MaxBody = 1 << 20
	testutil.AllocBound(t, 16<<20, func() {
		if _, err := c.Generate(t.Context(), validate.Request{}); !errors.Is(err, openai.ErrProtocol) {
			t.Errorf("%v", err)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(good), "")
	f.Add(429, []byte(`{"error":{"message":"slow down"}}`), "1")
	f.Add(200, []byte(`{"choices":[{"message":{"content":null,"refusal":"no"}}]}`), "")
	f.Add(500, []byte(`{"error":"x"}`), "Sat, 01 Jan 2000 00:00:30 GMT")
	f.Fuzz(func(t *testing.T, code int, body []byte, retryAfter string) {
		c, _ := client(func(int, *http.Request) (*http.Response, error) {
			return answer(code, string(body), "Retry-After", retryAfter), nil
		})
		c.Retries = -1
		res, err := c.Generate(t.Context(), validate.Request{Input: "x"})
		if err != nil && (res.Text != "" || !errors.Is(err, validate.ErrTarget)) {
			t.Fatalf("%q, %v", res.Text, err)
		}
		if err == nil && code != http.StatusOK {
			t.Fatalf("status %d became an answer", code)
		}
	})
}

func BenchmarkGenerate(b *testing.B) {
	c, _ := client(func(int, *http.Request) (*http.Response, error) { return answer(200, good), nil })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Generate(b.Context(), validate.Request{Input: "x"}); err != nil {
			b.Fatal(err)
		}
	}
}
