package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/redact"
)

const maxRedirects = 5

// A Registry is one repository of a registry. It is a [Pusher], safe for
// concurrent use once its fields are set.
//
// All traffic goes through Transport, which also decides about proxies,
// retries, time-outs and which addresses may be dialled. Registries redirect to
// wherever their blobs are and name the server that grants tokens; credentials
// go only to those two. A redirect from https to http, or from outside to an
// address that is written as a private or loopback one, is refused; a name that
// resolves to such an address is for Transport to refuse.
type Registry struct {
	Repository string            // host and path, such as "registry.example/models/tiny"
	Transport  http.RoundTripper // required; nothing is dialled otherwise
	Keychain   authn.Keychain    // nil means anonymous

	// InsecurePlainHTTP permits http. Without it, only a registry on a loopback
	// address may be spoken to in clear.
	InsecurePlainHTTP bool

	mu      sync.Mutex
	clients map[string]*http.Client // by scope
}

// ParseReference splits a full reference, "host/path:tag" or
// "host/path@sha256:...", into what [Registry] and [Reader.Image] take. Host and
// tag or digest must be there: nothing is guessed.
func ParseReference(s string) (repository, ref string, err error) {
	r, err := name.ParseReference(s, name.StrictValidation)
	if err != nil {
		return "", "", fmt.Errorf("reference %q: %w", s, err)
	}
	// A tag before a digest says nothing: the digest decides.
	if base, d, ok := strings.Cut(s, "@"); ok {
		if t, err := name.NewTag(base, name.StrictValidation); err == nil {
			repository, ref = t.Context().Name(), d
		}
	}
	if ref == "" {
		repository, ref = r.Context().Name(), r.Identifier()
	}
	if _, err := parseRepository(repository); err != nil {
		return "", "", err
	}
	return repository, ref, nil
}

// parseRepository refuses what would be another path once it is part of a URL.
func parseRepository(s string, opts ...name.Option) (name.Repository, error) {
	repo, err := name.NewRepository(s, append(opts, name.StrictValidation)...)
	if err != nil {
		return repo, fmt.Errorf("repository %q: %w", s, err)
	}
	for part := range strings.SplitSeq(repo.RepositoryStr(), "/") {
		if part == "" || part[0] == '.' {
			return repo, fmt.Errorf("repository %q: %q is no part of a name", s, part)
		}
	}
	return repo, nil
}

// connect returns a client that is logged in for pulling or pushing.
func (r *Registry) connect(ctx context.Context, scope string) (*http.Client, name.Repository, error) {
	var opts []name.Option
	if r.InsecurePlainHTTP {
		opts = append(opts, name.Insecure)
	}
	repo, err := parseRepository(r.Repository, opts...)
	switch {
	case err != nil:
		return nil, repo, err
	case r.Transport == nil:
		return nil, repo, fmt.Errorf("repository %q: no transport", r.Repository)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[scope]; c != nil {
		return c, repo, nil
	}
	auth := authn.Anonymous
	if r.Keychain != nil {
		if auth, err = authn.Resolve(ctx, r.Keychain, repo); err != nil {
			return nil, repo, fmt.Errorf("repository %q: credentials: %w", r.Repository, err)
		}
	}
	host := repo.RegistryStr()
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, &guard{r.Transport, host, r.InsecurePlainHTTP}, []string{repo.Scope(scope)})
	if err != nil {
		if ctx.Err() != nil {
			return nil, repo, context.Cause(ctx)
		}
		return nil, repo, &loginError{r.Repository, statusOf(err, r.Repository)}
	}
	c := &http.Client{Transport: rt, CheckRedirect: checkRedirect}
	if r.clients == nil {
		r.clients = make(map[string]*http.Client)
	}
	r.clients[scope] = c
	return c, repo, nil
}

// A loginError keeps what a server answered from flooding the text.
type loginError struct {
	repository string
	err        error
}

func (e *loginError) Error() string {
	return fmt.Sprintf("repository %q: %s", e.repository, redact.Excerpt([]byte(e.err.Error()), 400))
}

func (e *loginError) Unwrap() error { return e.err }

// statusOf makes a refused login look like any other refusal.
func statusOf(err error, ref string) error {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		method := http.MethodGet
		if e.Request != nil {
			method = e.Request.Method
		}
		return &StatusError{method, ref, e.StatusCode}
	}
	return err
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.Method != http.MethodGet:
		return fmt.Errorf("redirect of a %s", via[0].Method)
	case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("redirect from https to http")
	}
	return nil
}

// A guard is below everything that sends requests, the login included.
type guard struct {
	inner http.RoundTripper
	host  string // of the registry
	plain bool
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	own := hostname(g.host)
	switch {
	case req.URL.Scheme == "https":
	case req.URL.Scheme == "http" && (g.plain || isLoopback(own) && isLoopback(req.URL.Hostname())):
	default:
		return nil, fmt.Errorf("%q: only https is allowed", req.URL.Redacted())
	}
	if req.URL.Host != g.host && isInward(req.URL.Hostname()) && !isInward(own) {
		return nil, fmt.Errorf("%q: the registry leads to a private address", req.URL.Redacted())
	}
	resp, err := g.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	// No answer that is wanted is longer; one that is fails where it is read.
	resp.Body = &boundedBody{resp.Body, max(MaxBundle, maxRun*chunkSize) + 1}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, &limits.Error{Name: "answer of the registry", Unit: "bytes", Max: MaxBundle}
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

func isInward(host string) bool {
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	return host == "localhost" || err == nil && (addr.IsLoopback() || addr.IsPrivate() ||
		addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast())
}

// request sends one request for something of the repository. ref is what the
// errors name.
func (r *Registry) request(ctx context.Context, scope, method, target, ref string, header http.Header, body []byte) (*http.Response, error) {
	c, repo, err := r.connect(ctx, scope)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(target, "/") {
		// The transport turns https into http where the registry has no other.
		target = "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr() + target
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	maps.Copy(req.Header, header)
	resp, err := c.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s %q: %w", method, r.named(ref), statusOf(err, r.named(ref)))
	}
	return resp, nil
}

func (r *Registry) named(ref string) string {
	if isDigest(ref) {
		return r.Repository + "@" + ref
	}
	return r.Repository + ":" + ref
}

func (r *Registry) status(resp *http.Response, ref string) error {
	return &StatusError{resp.Request.Method, r.named(ref), resp.StatusCode}
}

// Manifest implements [Store].
func (r *Registry) Manifest(ctx context.Context, ref string) ([]byte, string, error) {
	if err := checkRef(ref); err != nil {
		return nil, "", err
	}
	return r.manifest(ctx, transport.PullScope, ref)
}

func (r *Registry) manifest(ctx context.Context, scope, ref string) ([]byte, string, error) {
	accept := http.Header{"Accept": {typeManifest, typeIndex, typeDockerManifest, typeDockerList}}
	resp, err := r.request(ctx, scope, http.MethodGet, "/manifests/"+ref, ref, accept, nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", r.status(resp, ref)
	}
	content, err := readBody(resp, MaxManifest, r.named(ref))
	if err != nil {
		return nil, "", err
	}
	if want := resp.Header.Get("Docker-Content-Digest"); want != "" && want != digestx.Of(content).String() && strings.HasPrefix(want, "sha256:") {
		return nil, "", &Error{Kind: ErrDigest, Reference: r.named(ref), Digest: digestx.Of(content), Detail: fmt.Sprintf("the registry calls it %q", want)}
	}
	return content, resp.Header.Get("Content-Type"), nil
}

func readBody(resp *http.Response, max int64, name string) ([]byte, error) {
	data, err := limits.ReadAll(resp.Body, max)
	if e, ok := errors.AsType[*limits.Error](err); ok {
		e.Name = name
	}
	return data, err
}

// checkRef keeps a reference from being more than one element of a path.
func checkRef(ref string) error {
	if isDigest(ref) {
		_, err := parseDigest(ref)
		return err
	}
	if _, err := name.NewTag("registry.invalid/x:"+ref, name.StrictValidation); err != nil {
		return fmt.Errorf("%q is neither a tag nor a digest", ref)
	}
	return nil
}

// Range implements [Store]. A registry that does not know range requests can
// only deliver whole blobs.
func (r *Registry) Range(ctx context.Context, blob Descriptor, offset, length int64) (io.ReadCloser, error) {
	ref := blob.Digest.String()
	if _, err := parseDigest(ref); err != nil {
		return nil, err
	}
	want, header := http.StatusOK, http.Header{}
	if offset != 0 || length != blob.Size {
		want = http.StatusPartialContent
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	resp, err := r.request(ctx, transport.PullScope, http.MethodGet, "/blobs/"+ref, ref, header, nil)
	if err != nil {
		return nil, err
	}
	got := resp.Header.Get("Content-Range")
	switch {
	case resp.StatusCode != want && resp.StatusCode == http.StatusOK:
		err = &Error{Kind: ErrRegistry, Reference: r.named(ref), Detail: "range requests are not supported"}
	case resp.StatusCode != want:
		err = r.status(resp, ref)
	case want == http.StatusPartialContent && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-%d/", offset, offset+length-1)):
		err = &Error{Kind: ErrRegistry, Reference: r.named(ref), Detail: fmt.Sprintf("asked for %d bytes from %d, got %q", length, offset, got)}
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// Referrers implements [Store]. It asks the referrers API, page by page, and
// reads the fallback tag as well: some registries answer with an empty list
// while clients still keep the tag.
func (r *Registry) Referrers(ctx context.Context, image digest.Digest) ([]Descriptor, error) {
	if _, err := parseDigest(image.String()); err != nil {
		return nil, err
	}
	all, err := r.pages(ctx, image)
	if err != nil {
		return nil, err
	}
	tag := fallbackTag(image)
	content, mediaType, err := r.manifest(ctx, transport.PullScope, tag)
	switch {
	case errors.Is(err, ErrNotFound):
		return all, nil
	case err != nil:
		return nil, err
	}
	list, err := parseIndex(content, mediaType, r.named(tag))
	if err != nil {
		return nil, err
	}
	return appendReferrers(all, list, r.named(tag))
}

func (r *Registry) pages(ctx context.Context, image digest.Digest) ([]Descriptor, error) {
	var all []Descriptor
	next := "/referrers/" + image.String()
	for page := 0; next != ""; page++ {
		if page == MaxPages {
			return nil, &limits.Error{Name: r.named(image.String()), Unit: "pages of referrers", Max: MaxPages}
		}
		list, link, err := r.page(ctx, next, image)
		if err != nil {
			return nil, err
		}
		if all, err = appendReferrers(all, list, r.named(image.String())); err != nil {
			return nil, err
		}
		next = link
	}
	return all, nil
}

func (r *Registry) page(ctx context.Context, target string, image digest.Digest) (list []Descriptor, next string, err error) {
	ref := image.String()
	resp, err := r.request(ctx, transport.PullScope, http.MethodGet, target, ref, http.Header{"Accept": {typeIndex}}, nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		if strings.HasPrefix(target, "/") {
			return nil, "", nil // no such API
		}
		fallthrough
	default:
		return nil, "", r.status(resp, ref)
	}
	content, err := readBody(resp, MaxManifest, r.named(ref))
	if err != nil {
		return nil, "", err
	}
	if list, err = parseIndex(content, resp.Header.Get("Content-Type"), r.named(ref)); err != nil {
		return nil, "", err
	}
	next, err = nextPage(resp)
	return list, next, err
}

// nextPage follows a Link header, on the same host only.
func nextPage(resp *http.Response) (string, error) {
	for _, link := range resp.Header.Values("Link") {
		target, params, ok := strings.Cut(link, ">")
		target = strings.TrimPrefix(strings.TrimSpace(target), "<")
		if params = strings.ReplaceAll(params, " ", ""); !ok || !strings.Contains(params, `rel="next"`) && !strings.Contains(params, "rel=next") {
			continue
		}
		return sameHost(resp, target)
	}
	return "", nil
}

// sameHost resolves a target that the registry names against the request.
func sameHost(resp *http.Response, target string) (string, error) {
	u, err := resp.Request.URL.Parse(target)
	if err != nil {
		return "", &Error{Kind: ErrRegistry, Detail: fmt.Sprintf("the link %q", target), Err: err}
	}
	if u.Host != resp.Request.URL.Host || u.Scheme != resp.Request.URL.Scheme || u.User != nil {
		return "", &Error{Kind: ErrRegistry, Detail: fmt.Sprintf("a link to another host, %q", u.Redacted())}
	}
	return u.String(), nil
}

// fallbackTag is where referrers are listed when the registry cannot.
func fallbackTag(image digest.Digest) string {
	return digestx.Algorithm(image) + "-" + digestx.Hex(image)
}

func parseIndex(content []byte, mediaType, name string) ([]Descriptor, error) {
	m, isIndex, err := parseManifest(content, mediaType)
	if err != nil {
		return nil, err
	}
	if !isIndex {
		return nil, &Error{Kind: ErrMalformed, Reference: name, Detail: "an image where a list of referrers belongs"}
	}
	list, err := descriptors(m.Manifests)
	if err != nil {
		return nil, &Error{Kind: ErrMalformed, Reference: name, Err: err}
	}
	return list, nil
}

func appendReferrers(all, list []Descriptor, name string) ([]Descriptor, error) {
	if len(all)+len(list) > MaxReferrers {
		return nil, &limits.Error{Name: name, Unit: "referrers", Max: MaxReferrers}
	}
	return append(all, list...), nil
}

// Push implements [Pusher]. Where the registry does not list referrers itself,
// it adds the manifest to the fallback tag; two clients that do so at the same
// time can lose one of the two entries.
func (r *Registry) Push(ctx context.Context, image digest.Digest, manifest []byte, blobs ...[]byte) error {
	for _, b := range blobs {
		if err := r.pushBlob(ctx, b); err != nil {
			return err
		}
	}
	resp, err := r.pushManifest(ctx, digestx.Of(manifest).String(), typeManifest, manifest)
	if err != nil {
		return err
	}
	if resp.Header.Get("OCI-Subject") == image.String() {
		return nil
	}
	return r.pushFallback(ctx, image, manifest)
}

func (r *Registry) pushBlob(ctx context.Context, content []byte) error {
	ref := digestx.Of(content).String()
	resp, err := r.request(ctx, transport.PushScope, http.MethodPost, "/blobs/uploads/", ref, nil, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return r.status(resp, ref)
	}
	location, err := sameHost(resp, resp.Header.Get("Location"))
	if err != nil {
		return err
	}
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", ref)
	u.RawQuery = q.Encode()
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if resp, err = r.request(ctx, transport.PushScope, http.MethodPut, u.String(), ref, header, content); err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return r.status(resp, ref)
	}
	return nil
}

func (r *Registry) pushManifest(ctx context.Context, ref, mediaType string, content []byte) (*http.Response, error) {
	resp, err := r.request(ctx, transport.PushScope, http.MethodPut, "/manifests/"+ref, ref, http.Header{"Content-Type": {mediaType}}, content)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return nil, r.status(resp, ref)
	}
	return resp, nil
}

func (r *Registry) pushFallback(ctx context.Context, image digest.Digest, manifest []byte) error {
	tag := fallbackTag(image)
	old, mediaType, err := r.manifest(ctx, transport.PushScope, tag)
	switch {
	case errors.Is(err, ErrNotFound):
		old = nil
	case err != nil:
		return err
	default:
		list, err := parseIndex(old, mediaType, r.named(tag))
		if err != nil {
			return err
		}
		if len(list) >= MaxReferrers {
			return &limits.Error{Name: r.named(tag), Unit: "referrers", Max: MaxReferrers}
		}
	}
	index, changed, err := addToIndex(old, manifest)
	if err != nil || !changed {
		return err
	}
	_, err = r.pushManifest(ctx, tag, typeIndex, index)
	return err
}
