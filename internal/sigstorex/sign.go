package sigstorex

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"

	"github.com/digitorus/timestamp"
	"github.com/go-openapi/runtime"
	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	logpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorpb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekor "github.com/sigstore/rekor/pkg/generated/client"
	rekorutil "github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxResponse bounds what a service may answer. An inclusion proof has some
// kilobytes.
const maxResponse = 4 << 20

// Signing is what a keyless signature needs.
type Signing struct {
	Token     string // of identity, by the issuer
	Services  Services
	Transport http.RoundTripper
	Root      *Root // nil leaves the result unverified
}

// Sign makes a key that is used once, has it certified for the identity, signs,
// has the signature recorded, and returns a bundle of version 0.3.
func (s *Signing) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case s.Transport == nil:
		return nil, errors.New("no transport was given, and nothing connects by itself")
	case s.Token == "":
		return nil, errors.New("no identity token was given")
	}
	if err := s.Services.check(); err != nil {
		return nil, err
	}
	// An elliptic key of this size is what every instance certifies.
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	transport := &boundTransport{ctx, s.Transport}
	opts := sign.BundleOptions{
		Context:                    ctx,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.Services.Authority, Transport: transport}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: s.Token},
	}
	for _, u := range s.Services.Timestamps {
		opts.TimestampAuthorities = append(opts.TimestampAuthorities, timestampClient(u, transport))
	}
	for _, l := range s.Services.Logs {
		client, err := logClient(l, transport)
		if err != nil {
			return nil, err
		}
		opts.TransparencyLogs = append(opts.TransparencyLogs, client)
	}
	// Fulcio's client splits and decodes what is not a token at all.
	made, err := guard(func() ([]byte, error) {
		b, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: payloadType}, key, opts)
		if err != nil {
			return nil, err
		}
		return protojson.Marshal(b)
	})
	if err != nil {
		return nil, signError(ctx, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, made); err != nil { // protojson varies its white space
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), s.check(ctx, out.Bytes(), payloadType, payload)
}

func signError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return detail{err}
}

// check verifies what was made, by everything but the identity: what the
// services answer is not trusted more than any bundle.
func (s *Signing) check(ctx context.Context, bundle []byte, payloadType string, payload []byte) error {
	if s.Root == nil {
		return nil
	}
	p := Policy{
		Root: s.Root, Anyone: true,
		NoLog: len(s.Services.Logs) == 0,
		NoSCT: len(s.Root.material.CTLogs()) == 0,
	}
	v, err := p.Verify(ctx, bundle)
	if err != nil {
		return fmt.Errorf("the services made a bundle that does not verify: %w", err)
	}
	if v.Envelope.PayloadType != payloadType || !bytes.Equal(v.Envelope.Payload, payload) {
		return fmt.Errorf("%w: it holds another payload", ErrMalformed)
	}
	return nil
}

func (s *Services) check() error {
	if len(s.Logs) == 0 && len(s.Timestamps) == 0 {
		return errors.New("neither a log nor a timestamp authority: the time of signing could not be proven")
	}
	urls := append([]string{s.Authority}, s.Timestamps...)
	for _, l := range s.Logs {
		if l.Version != 1 && l.Version != 2 {
			return fmt.Errorf("log %q: version %d, want 1 or 2", l.URL, l.Version)
		}
		if l.Version == 2 && len(s.Timestamps) == 0 {
			return fmt.Errorf("log %q proves no time, and no timestamp authority was given", l.URL)
		}
		urls = append(urls, l.URL)
	}
	return checkURLs(urls)
}

func checkURLs(urls []string) error {
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
			return fmt.Errorf("service %q: not an http or https URL", u)
		}
	}
	return nil
}

func timestampClient(u string, transport http.RoundTripper) *sign.TimestampAuthority {
	return sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: u, Transport: transport})
}

// Timestamp asks each authority for a token over a signature, and for the
// certificate that belongs to it. That a token is over the signature is checked;
// whether anybody trusts the authority is not.
func Timestamp(ctx context.Context, transport http.RoundTripper, urls []string, signature []byte) ([][]byte, error) {
	if transport == nil {
		return nil, errors.New("no transport was given, and nothing connects by itself")
	}
	if err := checkURLs(urls); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, u := range urls {
		token, err := guard(func() ([]byte, error) { return askTime(ctx, transport, u, signature) })
		if err != nil {
			return nil, fmt.Errorf("timestamp authority %q: %w", u, signError(ctx, err))
		}
		out = append(out, token)
	}
	return out, nil
}

// askTime is a client of RFC 3161. That of sigstore-go does not ask for the
// certificate, without which only who has it already can verify a token, and
// does not compare the answer with the question.
func askTime(ctx context.Context, transport http.RoundTripper, u string, signature []byte) ([]byte, error) {
	sum := sha256.Sum256(signature)
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	ask := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Certificates: true, Nonce: nonce}
	body, err := ask.Marshal()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &boundTransport{ctx, transport}}
	answer, err := post(ctx, client, u, "application/timestamp-query", body, http.StatusOK, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	token, err := timestamp.ParseResponse(answer)
	switch {
	case err != nil:
		return nil, err
	case token.HashAlgorithm != crypto.SHA256 || !bytes.Equal(token.HashedMessage, sum[:]):
		return nil, errors.New("the token is over something else")
	case token.Nonce == nil || token.Nonce.Cmp(nonce) != 0:
		return nil, errors.New("the token answers another question")
	}
	return answer, nil
}

func logClient(l Log, transport http.RoundTripper) (sign.Transparency, error) {
	client := &http.Client{Transport: transport}
	if l.Version == 2 {
		return sign.NewRekor(&sign.RekorOptions{BaseURL: l.URL, Version: 2, ClientV2: &logWriter{l.URL, client}}), nil
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return nil, err
	}
	base := u.Path
	if base == "" {
		base = rekor.DefaultBasePath
	}
	rt := openapi.NewWithClient(u.Host, base, []string{u.Scheme}, client)
	rt.Consumers["application/json"] = runtime.JSONConsumer()
	rt.Producers["application/json"] = runtime.JSONProducer()
	formats := strfmt.NewFormats()
	formats.Add("signedCheckpoint", &rekorutil.SignedNote{}, rekorutil.SignedCheckpointValidator)
	return sign.NewRekor(&sign.RekorOptions{BaseURL: l.URL, Version: 1, Client: rekor.New(rt, formats).Entries}), nil
}

// A logWriter adds entries to a log of version 2. The client of rekor-tiles
// takes no transport.
type logWriter struct {
	url    string
	client *http.Client
}

// Add implements [sign.RekorV2Client].
func (w *logWriter) Add(ctx context.Context, entry any) (*logpb.TransparencyLogEntry, error) {
	hashed, ok := entry.(*rekorpb.HashedRekordRequestV002)
	if !ok {
		return nil, fmt.Errorf("an entry of type %T", entry)
	}
	body, err := protojson.Marshal(&rekorpb.CreateEntryRequest{
		Spec: &rekorpb.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: hashed},
	})
	if err != nil {
		return nil, err
	}
	endpoint, err := url.JoinPath(w.url, "api/v2/log/entries")
	if err != nil {
		return nil, err
	}
	answer, err := post(ctx, w.client, endpoint, "application/json", body, http.StatusCreated)
	if err != nil {
		return nil, fmt.Errorf("log %q: %w", w.url, err)
	}
	out := new(logpb.TransparencyLogEntry)
	return out, protojson.Unmarshal(answer, out)
}

// post sends body and returns the answer, which must have one of the statuses.
// The client's transport bounds it.
func post(ctx context.Context, client *http.Client, to, mediaType string, body []byte, statuses ...int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(statuses, resp.StatusCode) {
		return nil, fmt.Errorf("it answers %d: %.200q", resp.StatusCode, answer)
	}
	return answer, nil
}

// A boundTransport ends requests with a context, which some of the clients do
// not pass on, and bounds responses.
type boundTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		stop()
		cancel(nil)
		return nil, err
	}
	resp.Body = &boundBody{resp.Body, maxResponse, func() { stop(); cancel(nil) }}
	return resp, nil
}

type boundBody struct {
	io.ReadCloser
	left int
	done func()
}

func (b *boundBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("a response of more than %d bytes", maxResponse)
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	return n, err
}

func (b *boundBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}
