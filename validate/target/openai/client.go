// Package openai is a [validate.Target] that asks a server of the OpenAI chat
// completions protocol: the vendor's own, or vLLM, llama.cpp, Ollama, TGI,
// SGLang, LM Studio and others.
//
// It sends one POST per attempt to BaseURL + "/chat/completions" and nothing
// else: no discovery, no telemetry, no redirect is followed. Proxies, TLS and
// dialling are those of the caller's [http.Client]. The key goes into one header
// and is masked wherever a server repeats it.
package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/validate"
)

// A Secret is a key that does not show when it is printed, logged or marshalled.
type Secret string

const masked = "[secret]"

func (Secret) String() string { return masked }

// GoString masks %#v too.
func (Secret) GoString() string { return masked }

// MarshalText masks the key in JSON and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue masks the key in structured logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// A Client asks one model of one server. It is safe for concurrent use and must
// not be changed while it is used.
type Client struct {
	BaseURL     string // such as "http://127.0.0.1:8080/v1"; without user, query or fragment
	Model       string // as the server knows it
	Version     string // tells models of one name apart, such as a digest; part of [Client.Name]
	ModelDigest string // as algorithm:hex, where it is known

	Key Secret // sent as bearer token; empty sends none

	// HTTP makes the requests. It is required, because proxies, TLS and
	// time-outs are the caller's to decide; its CheckRedirect is not used.
	HTTP *http.Client

	Header  http.Header   // sent with each request, beside what the protocol needs
	Retries int           // attempts beyond the first; 0 means 4, negative none
	MaxWait time.Duration // longest pause before an attempt; 0 means 1 minute
	MaxBody int64         // bytes of an answer as received; 0 means 4 MiB
	Now     func() time.Time
}

// Errors of a server, as classes. All of them wrap [validate.ErrTarget].
var (
	ErrConfig   = fmt.Errorf("client is not configured: %w", validate.ErrTarget)
	ErrStatus   = fmt.Errorf("server refused: %w", validate.ErrTarget)
	ErrProtocol = fmt.Errorf("server does not speak the protocol: %w", validate.ErrTarget)
	ErrNetwork  = fmt.Errorf("server was not reached: %w", validate.ErrTarget)
)

// A StatusError is an answer other than 200. Message is what the server said,
// redacted.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("status %d", e.Code)
	}
	return fmt.Sprintf("status %d: %s", e.Code, e.Message)
}

// Unwrap returns [ErrStatus].
func (e *StatusError) Unwrap() error { return ErrStatus }

// Name is made of model, version and address, never of the key.
func (c *Client) Name() string {
	name := "openai:" + c.Model
	if c.Version != "" {
		name += "@" + c.Version
	}
	return name + " at " + c.address()
}

// address is the base URL without what may be secret in it.
func (c *Client) address() string {
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return "invalid address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Digest returns c.ModelDigest.
func (c *Client) Digest() string { return c.ModelDigest }

// Check reports what is wrong with the configuration. It sends nothing.
func (c *Client) Check() error {
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("base URL is not an http address: %w", ErrConfig)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("base URL has a user, query or fragment: %w", ErrConfig)
	case c.Model == "":
		return fmt.Errorf("no model is named: %w", ErrConfig)
	case c.HTTP == nil:
		return fmt.Errorf("no HTTP client is given: %w", ErrConfig)
	case strings.ContainsAny(string(c.Key), "\r\n\x00"):
		return fmt.Errorf("the key has a line break: %w", ErrConfig)
	}
	return nil
}

// Generate asks once and, where that may help, again: after 408, 429, 5xx, a
// broken connection or a body that ends early, waiting as long as Retry-After
// says or else twice as long as before, from half a second. A wait beyond
// MaxWait is not begun. The seed sent is the low 31 bits of the request's,
// because some servers take no more.
func (c *Client) Generate(ctx context.Context, req validate.Request) (validate.Response, error) {
	if err := c.Check(); err != nil {
		return validate.Response{}, err
	}
	body, err := json.Marshal(newChatRequest(c.Model, req))
	if err != nil {
		return validate.Response{}, fmt.Errorf("request: %w: %w", err, ErrConfig)
	}
	retries := c.Retries
	if retries == 0 {
		retries = 4
	}
	for attempt := 0; ; attempt++ {
		response, again, err := c.once(ctx, body)
		if err == nil {
			response.Retries = attempt
			return response, nil
		}
		if again == nil || attempt >= retries || ctx.Err() != nil {
			return validate.Response{}, afterAttempts(attempt+1, err)
		}
		wait := again.after
		if !again.stated {
			wait = time.Second/2<<min(attempt, 10) + time.Duration(req.Seed%100)*time.Millisecond
		}
		if wait > c.maxWait() {
			if again.stated {
				return validate.Response{}, afterAttempts(attempt+1, fmt.Errorf("asked to wait %s: %w", wait, err))
			}
			wait = c.maxWait()
		}
		if err := sleep(ctx, wait); err != nil {
			return validate.Response{}, fmt.Errorf("while waiting to try again: %w: %w", err, ErrNetwork)
		}
	}
}

func afterAttempts(n int, err error) error {
	if n == 1 {
		return err
	}
	return fmt.Errorf("after %d attempts: %w", n, err)
}

func (c *Client) maxWait() time.Duration {
	if c.MaxWait > 0 {
		return c.MaxWait
	}
	return time.Minute
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again says that an attempt may be repeated, and after what time if the server
// stated one.
type again struct {
	after  time.Duration
	stated bool
}

func (c *Client) once(ctx context.Context, body []byte) (validate.Response, *again, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		strings.TrimRight(c.BaseURL, "/")+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return validate.Response{}, nil, fmt.Errorf("request: %w", ErrConfig)
	}
	if c.Header != nil {
		req.Header = c.Header.Clone()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+string(c.Key))
	}
	client := *c.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return validate.Response{}, &again{}, fmt.Errorf("%s: %w", c.clean(bare(err).Error()), ErrNetwork)
	}
	defer res.Body.Close()
	data, err := limits.ReadAll(res.Body, c.maxBody())
	if _, tooLong := errors.AsType[*limits.Error](err); tooLong {
		return validate.Response{}, nil, fmt.Errorf("answer of more than %d bytes: %w", c.maxBody(), ErrProtocol)
	}
	if res.StatusCode != http.StatusOK {
		return validate.Response{}, c.retryable(res), &StatusError{res.StatusCode, c.clean(errorMessage(data))}
	}
	if err != nil {
		return validate.Response{}, &again{}, fmt.Errorf("answer ends early: %s: %w", c.clean(err.Error()), ErrNetwork)
	}
	response, err := decodeChat(data)
	if err != nil {
		return validate.Response{}, nil, fmt.Errorf("%s: %w", c.clean(err.Error()), ErrProtocol)
	}
	return response, nil, nil
}

// bare is the error without the URL that net/http puts before it.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (c *Client) maxBody() int64 {
	if c.MaxBody > 0 {
		return c.MaxBody
	}
	return 4 << 20
}

// clean makes a server's words fit to be shown.
func (c *Client) clean(s string) string {
	if c.Key != "" {
		s = strings.ReplaceAll(s, string(c.Key), masked)
	}
	return redact.Excerpt([]byte(s), 200)
}

func (c *Client) retryable(res *http.Response) *again {
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529:
	default:
		return nil
	}
	text := res.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return &again{time.Duration(seconds) * time.Second, true}
	}
	if at, err := http.ParseTime(text); err == nil {
		now := time.Now
		if c.Now != nil {
			now = c.Now
		}
		return &again{max(0, at.Sub(now())), true}
	}
	return &again{}
}
