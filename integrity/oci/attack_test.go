package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/oci"
	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/testutil"
)

// paged serves lists of referrers one by one, linked.
func paged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			h.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		h.ServeHTTP(whole, r)
		var index struct {
			SchemaVersion int               `json:"schemaVersion"`
			MediaType     string            `json:"mediaType"`
			Manifests     []json.RawMessage `json:"manifests"`
		}
		if err := json.Unmarshal(whole.Body.Bytes(), &index); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		last, _ := strconv.Atoi(r.URL.Query().Get("last"))
		w.Header().Set("Content-Type", index.MediaType)
		if last+1 < len(index.Manifests) {
			w.Header().Set("Link", "<"+r.URL.Path+"?last="+strconv.Itoa(last+1)+`>; rel="next"`)
		}
		index.Manifests = index.Manifests[min(last, len(index.Manifests)):min(last+1, len(index.Manifests))]
		_, _ = w.Write(marshal(index))
	})
}

// instead answers requests whose path contains part, and leaves the rest.
func instead(part string, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) {
				answer(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

func answer(mediaType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body)
	}
}

// What a hostile registry answers to a request for an image.
func TestHostileManifests(t *testing.T) {
	good := tiny().manifest
	edit := func(change func(m object)) []byte {
		var m object
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		return marshal(m)
	}
	for _, tt := range []struct {
		name, ref string
		answer    http.HandlerFunc
		want      error
		rejected  bool
	}{
		{"other_content_under_a_digest", tiny().digest().String(), answer(manifestType, edit(func(m object) { m["annotations"] = object{} })), oci.ErrDigest, true},
		{"header_of_another_digest", "v1", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", sum(nil))
			answer(manifestType, good)(w, r)
		}, oci.ErrDigest, true},
		{"image_called_index", "v1", answer(indexType, good), oci.ErrMalformed, true},
		{"image_calls_itself_index", "v1", answer("", edit(func(m object) { m["mediaType"] = indexType })), oci.ErrMalformed, true},
		{"unknown_media_type", "v1", answer("", edit(func(m object) { m["mediaType"] = "text/plain" })), oci.ErrMalformed, true},
		{"image_and_index", "v1", answer(manifestType, edit(func(m object) { m["manifests"] = []object{} })), oci.ErrMalformed, true},
		{"neither", "v1", answer(manifestType, []byte(`{"schemaVersion":2}`)), oci.ErrMalformed, true},
		{"no_config", "v1", answer(manifestType, edit(func(m object) { delete(m, "config") })), oci.ErrMalformed, true},
		{"duplicate_member", "v1", answer(manifestType, bytes.Replace(good, []byte(`"layers"`), []byte(`"layers":[],"layers"`), 1)), oci.ErrMalformed, true},
		{"case_variant", "v1", answer(manifestType, bytes.Replace(good, []byte(`"layers"`), []byte(`"Layers":[],"layers"`), 1)), oci.ErrMalformed, true},
		{"trailing", "v1", answer(manifestType, append(bytes.Clone(good), "{}"...)), oci.ErrMalformed, true},
		{"path_as_digest", "v1", answer(manifestType, bytes.Replace(good, []byte(`"digest":"sha256:`), []byte(`"digest":"sha256:../`), 2)), oci.ErrMalformed, true},
		{"negative_size", "v1", answer(manifestType, bytes.Replace(good, []byte(`"size":`), []byte(`"size":-`), 2)), oci.ErrMalformed, true},
		{"schema_1", "v1", answer("application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"fsLayers":[]}`)), integrity.ErrUnsupported, false},
		{"sha512", "v1", answer(manifestType, bytes.ReplaceAll(good, []byte(`sha256:`), []byte(`sha512:`+strings.Repeat("0", 64)))), integrity.ErrUnsupported, true},
		{"not_found", "v1", http.NotFound, oci.ErrNotFound, false},
		{"denied", "v1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, oci.ErrDenied, false},
		{"broken", "v1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, oci.ErrRegistry, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := serve(t, true, instead("/manifests/", tt.answer))
			_, err := oci.Reader{}.Image(t.Context(), store, tt.ref)
			if !errors.Is(err, tt.want) || oci.Rejected(err) != tt.rejected {
				t.Errorf("%v, rejected %t", err, oci.Rejected(err))
			}
		})
	}
	t.Run("huge", func(t *testing.T) {
		store := serve(t, true, instead("/manifests/", func(w http.ResponseWriter, _ *http.Request) {
			for block := bytes.Repeat([]byte(" "), 1<<16); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}))
		_, err := oci.Reader{}.Image(t.Context(), store, "v1")
		if _, ok := errors.AsType[*limits.Error](err); !ok {
			t.Error(err)
		}
	})
	for _, ref := range []string{"", "../v1", "a/b", "v1?x=y", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		if _, err := (oci.Reader{}).Image(t.Context(), serve(t, true), ref); err == nil || errors.Is(err, oci.ErrNotFound) {
			t.Errorf("reference %q: %v", ref, err)
		}
	}
}

// What a hostile registry answers to a request for signatures. The image is
// signed; nothing that the registry adds may break that but by an error.
func TestHostileReferrers(t *testing.T) {
	foreign := func(change func(m object)) image {
		bundle := []byte("{}")
		m := object{
			"schemaVersion": 2, "mediaType": manifestType, "artifactType": bundleType,
			"config":  descriptor("application/vnd.oci.empty.v1+json", []byte("{}"), nil),
			"layers":  []object{descriptor(bundleType, bundle, nil)},
			"subject": descriptor(manifestType, tiny().manifest, nil),
		}
		change(m)
		return image{manifest: marshal(m), blobs: [][]byte{bundle}}
	}
	list := func(entries ...object) []byte {
		return marshal(object{"schemaVersion": 2, "mediaType": indexType, "manifests": entries})
	}
	for _, tt := range []struct {
		name     string
		extra    image
		label    string // the artifact type that the list states
		want     error
		findings []string
	}{
		{"other_subject", foreign(func(m object) { m["subject"] = descriptor(manifestType, []byte("x"), nil) }), "", oci.ErrUnsigned, []string{"integrity.image.foreign-referrer", "integrity.image.unsigned"}},
		{"no_subject", foreign(func(m object) { delete(m, "subject") }), bundleType, oci.ErrUnsigned, []string{"integrity.image.foreign-referrer", "integrity.image.unsigned"}},
		{"two_layers", foreign(func(m object) {
			m["layers"] = []object{descriptor(bundleType, []byte("{}"), nil), descriptor(bundleType, []byte("{}"), nil)}
		}), "", oci.ErrMalformed, []string{"integrity.image.malformed"}},
		{"no_layer", foreign(func(m object) { m["layers"] = []object{} }), "", oci.ErrMalformed, []string{"integrity.image.malformed"}},
		{"not_a_bundle", foreign(func(object) {}), "", integrity.ErrBundle, []string{"integrity.bundle.malformed"}},
		{"lying_label", foreign(func(m object) { m["artifactType"] = "application/spdx+json" }), bundleType, oci.ErrUnsigned, []string{"integrity.image.unsigned"}},
		{"other_label", foreign(func(m object) { m["artifactType"] = "application/spdx+json" }), "application/spdx+json", oci.ErrUnsigned, []string{"integrity.image.unsigned"}},
		{"image_itself", tiny(), bundleType, oci.ErrUnsigned, []string{"integrity.image.unsigned"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newMemory()
			store.add("v1", tiny())
			store.add("x", tt.extra)
			store.referrers = []oci.Descriptor{{Digest: tt.extra.digest(), ArtifactType: tt.label}}
			img := resolve(t, store, "v1")
			r, err := oci.Verifier{}.Verify(t.Context(), store, img, trust("us"))
			if !errors.Is(err, tt.want) || r.Verified() {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.findings, ruleIDs(r)); diff != "" {
				t.Error(diff)
			}
			if prerun.Decide(r, prerun.Medium) == prerun.Pass {
				t.Error("passes")
			}
			// Beside it, the right signature counts.
			sign(t, store, img, "us")
			if r, err = (oci.Verifier{}).Verify(t.Context(), store, img, trust("us")); err != nil {
				t.Error(err)
			}
			if v := prerun.Decide(r, prerun.Medium); v != prerun.Pass {
				t.Errorf("signed as well: verdict %s, findings %v", v, ruleIDs(r))
			}
		})
	}

	entry := func(n int) object {
		return object{"mediaType": manifestType, "digest": fmt.Sprintf("sha256:%064x", n), "size": 1, "artifactType": bundleType}
	}
	link := func(target string, entries int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			w.Header().Set("Content-Type", indexType)
			w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, strings.ReplaceAll(target, "N", strconv.Itoa(n+1))))
			var page []object
			for i := range entries {
				page = append(page, entry(n*entries+i))
			}
			_, _ = w.Write(list(page...))
		}
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"endless_pages", link("?n=N", 0), "pages of referrers"},
		{"same_page", link("?n=1", 0), "pages of referrers"},
		{"flood", link("?n=N", 1000), "more than 1024 referrers"},
		{"link_elsewhere", link("http://127.0.0.1:1/v2/x", 1), "another host"},
		{"link_with_password", link("http://a:b@127.0.0.1:1/v2/x", 1), "another host"},
		{"link_to_file", link("file:///etc/passwd", 1), "another host"},
		{"image_for_a_list", answer(manifestType, tiny().manifest), "list of referrers"},
		{"no_list", answer("text/html", []byte("<html>")), "malformed"},
		{"server_error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := serve(t, true, instead("/referrers/", tt.answer))
			push(t, store, "v1", tiny())
			r, err := oci.Verifier{}.Verify(t.Context(), store, resolve(t, store, "v1"), trust("us"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || r.Verified() {
				t.Error(err)
			}
			if v := prerun.Decide(r, prerun.Medium); v == prerun.Pass {
				t.Error("passes")
			}
		})
	}

	// An empty answer of the API does not hide what the fallback tag lists.
	t.Run("empty_list", func(t *testing.T) {
		store := serve(t, false, instead("/referrers/", answer(indexType, list())))
		push(t, store, "v1", tiny())
		img := resolve(t, store, "v1")
		sign(t, store, img, "us")
		if _, err := (oci.Verifier{}).Verify(t.Context(), store, img, trust("us")); err != nil {
			t.Error(err)
		}
	})
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// The store returns another bundle than the one under the digest.
func TestHostileBundle(t *testing.T) {
	store := newMemory()
	store.add("v1", tiny())
	img := resolve(t, store, "v1")
	sign(t, store, img, "us")
	for d, content := range store.blobs {
		if bytes.Contains(content, []byte("dsseEnvelope")) {
			for _, changed := range [][]byte{append([]byte(" "), content...), content[1:], nil} {
				store.blobs[d] = changed
				r, err := oci.Verifier{}.Verify(t.Context(), store, img, trust("us"))
				if !errors.Is(err, oci.ErrDigest) || prerun.Decide(r, prerun.Critical) != prerun.Fail {
					t.Error(err)
				}
			}
			delete(store.blobs, d)
			r, err := oci.Verifier{}.Verify(t.Context(), store, img, trust("us"))
			if !errors.Is(err, oci.ErrNotFound) || prerun.Decide(r, prerun.Low) != prerun.Incomplete {
				t.Error(err)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name  string
		names []map[string]string
	}{
		{"absolute", []map[string]string{pathed("/etc/passwd")}},
		{"parent", []map[string]string{pathed("../x")}},
		{"parent_inside", []map[string]string{pathed("a/../../x")}},
		{"unclean", []map[string]string{pathed("a/./b")}},
		{"empty_element", []map[string]string{pathed("a//b")}},
		{"trailing_slash", []map[string]string{pathed("a/")}},
		{"dot", []map[string]string{titled(".")}},
		{"backslash", []map[string]string{titled(`..\x`)}},
		{"drive", []map[string]string{titled(`c:x`)}},
		{"nul", []map[string]string{titled("a\x00b")}},
		{"escape_sequence", []map[string]string{titled("a\x1b[2Jb")}},
		{"duplicate", []map[string]string{pathed("a"), pathed("a")}},
		{"duplicate_over_annotations", []map[string]string{pathed("a"), titled("a")}},
		{"file_and_folder", []map[string]string{pathed("a/b/c"), pathed("a")}},
		{"long", []map[string]string{titled(strings.Repeat("a", 5000))}},
		{"deep", []map[string]string{titled(strings.Repeat("a/", 200) + "a")}},
		{"two_names", []map[string]string{{"org.cncf.model.filepath": "a/b", "org.opencontainers.image.title": "c"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var layers []layer
			for i, n := range tt.names {
				layers = append(layers, layer{rawWeight, strconv.Itoa(i), n})
			}
			store := newMemory()
			store.add("v1", build(modelPackConfig, "{}", layers...))
			_, err := oci.Reader{}.Image(t.Context(), store, "v1")
			if !errors.Is(err, oci.ErrName) || !oci.Rejected(err) || !strings.Contains(err.Error(), "sha256:") {
				t.Error(err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		store := newMemory()
		store.add("v1", build(modelPackConfig, "{}", layer{rawWeight, "x", nil}, layer{rawWeight, "y", pathed("y")}))
		img := resolve(t, store, "v1")
		if _, err := img.Manifest(); !errors.Is(err, oci.ErrUnnamed) || oci.Rejected(err) {
			t.Error(err)
		}
		if _, err := (oci.Signing{}).Sign(t.Context(), img, signer("us")); !errors.Is(err, oci.ErrUnnamed) {
			t.Error(err)
		}
		r, err := oci.Verifier{}.Verify(t.Context(), store, img, trust("us"))
		if !errors.Is(err, oci.ErrUnnamed) || prerun.Decide(r, prerun.Low) != prerun.Incomplete {
			t.Error(err)
		}
	})
	t.Run("only_ignored", func(t *testing.T) {
		store := newMemory()
		store.add("v1", build(modelPackConfig, "{}", layer{rawWeight, "x", pathed(".git/config")}))
		if _, err := resolve(t, store, "v1").Manifest(); !errors.Is(err, integrity.ErrEmpty) {
			t.Error(err)
		}
	})
}

// Nothing is dialled, and nothing is told, beyond what the caller allows.
func TestTransport(t *testing.T) {
	ctx := t.Context()
	fail := func(store *oci.Registry, want string) {
		t.Helper()
		if _, err := (oci.Reader{}).Image(ctx, store, "v1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	fail(&oci.Registry{Repository: "127.0.0.1:1/x"}, "no transport")
	fail(&oci.Registry{Repository: "ubuntu", Transport: http.DefaultTransport}, "repository")
	var asked []string
	spy := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		return nil, errors.New("refused by the test")
	})
	fail(&oci.Registry{Repository: "10.1.2.3/x", Transport: spy}, "only https")
	if slicesHasPrefix(asked, "http:") {
		t.Errorf("asked in clear: %v", asked)
	}
	asked = nil
	fail(&oci.Registry{Repository: "10.1.2.3/x", Transport: spy, InsecurePlainHTTP: true}, "refused by the test")
	if !slicesHasPrefix(asked, "http:") {
		t.Errorf("not asked in clear: %v", asked)
	}

	// A public registry that redirects inwards.
	inward := roundTripper(func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}
		if strings.Contains(r.URL.Path, "/manifests/") {
			resp.StatusCode = http.StatusTemporaryRedirect
			resp.Header.Set("Location", "https://169.254.169.254/latest/meta-data")
		}
		if r.URL.Host != "registry.example" {
			t.Errorf("went to %s", r.URL)
		}
		return resp, nil
	})
	fail(&oci.Registry{Repository: "registry.example/x", Transport: inward}, "private address")

	// Credentials go to the registry, and not where it redirects to.
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
		answer(manifestType, tiny().manifest)(w, r)
	}))
	defer elsewhere.Close()
	authorized := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, ok := r.BasicAuth()
			switch {
			case !ok || user != "us" || password != "secret":
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			case strings.HasSuffix(r.URL.Path, "/manifests/moved"):
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			default:
				h.ServeHTTP(w, r)
			}
		})
	}
	store := serve(t, true, instead("/manifests/v1", answer(manifestType, tiny().manifest)), authorized)
	if _, err := (oci.Reader{}).Image(ctx, store, "v1"); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("anonymous: %v", err)
	}
	store = &oci.Registry{Repository: store.Repository, Transport: store.Transport, Keychain: keychain{"us", "secret"}}
	resolve(t, store, "v1")
	resolve(t, store, "moved")
	if diff := cmp.Diff([]string{""}, leaked); diff != "" {
		t.Errorf("credentials elsewhere: %s", diff)
	}
}

func slicesHasPrefix(list []string, prefix string) bool {
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type keychain struct{ user, password string }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: k.user, Password: k.password}, nil
}

// Tokens are asked for where the registry says, for pulling until something is
// pushed.
func TestTokens(t *testing.T) {
	var scopes []string
	bearer := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				scopes = append(scopes, r.URL.Query().Get("scope"))
				_, _ = w.Write(marshal(object{"token": "t-" + r.URL.Query().Get("scope")}))
			case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer t-"):
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			default:
				h.ServeHTTP(w, r)
			}
		})
	}
	store := serve(t, true, instead("/manifests/v1", answer(manifestType, tiny().manifest)), bearer)
	img := resolve(t, store, "v1")
	bundle, err := oci.Signing{}.Sign(t.Context(), img, signer("us"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Attach(t.Context(), store, img, bundle); err != nil {
		t.Fatal(err)
	}
	want := []string{"repository:" + repository + ":pull", "repository:" + repository + ":push,pull"}
	if diff := cmp.Diff(want, scopes); diff != "" {
		t.Error(diff)
	}

	flood := instead("/v2/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	})
	store = serve(t, true, flood, instead("/token", answer("", []byte(`{"x":"`+strings.Repeat("\u001b", 10000)+`"}`))))
	if _, err := (oci.Reader{}).Image(t.Context(), store, "v1"); err == nil || len(err.Error()) > 2000 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("token server: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	loop := instead("/manifests/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	if _, err := (oci.Reader{}).Image(t.Context(), serve(t, true, loop), "v1"); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("loop: %v", err)
	}
	down := roundTripper(func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
		if strings.Contains(r.URL.Path, "/manifests/") {
			resp.StatusCode = http.StatusFound
			resp.Header.Set("Location", "http://registry.example/x")
		}
		return resp, nil
	})
	for _, plain := range []bool{false, true} {
		store := &oci.Registry{Repository: "registry.example/x", Transport: down, InsecurePlainHTTP: plain}
		if _, err := (oci.Reader{}).Image(t.Context(), store, "v1"); err == nil || !strings.Contains(err.Error(), "http") {
			t.Errorf("downgrade: %v", err)
		}
	}
}

// A manifest at the limit is read in memory that the limit bounds.
func TestManifestMemory(t *testing.T) {
	store := newMemory()
	entry := fmt.Sprintf(`{"digest":"sha256:%064x","size":1,"annotations":{%q:"%%d"}},`, 1, "org.opencontainers.image.title")
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"config":{"digest":"` + sum(nil) + `","size":0},"layers":[`)
	for i := 0; b.Len() < oci.MaxManifest-500; i++ {
		fmt.Fprintf(&b, entry, i)
	}
	store.add("v1", image{manifest: []byte(strings.TrimSuffix(b.String(), ",") + "]}")})
	testutil.AllocBound(t, 48*oci.MaxManifest, func() {
		if _, err := (oci.Reader{}).Image(t.Context(), store, "v1"); err != nil {
			t.Error(err)
		}
	})
}

func TestRules(t *testing.T) {
	rules := oci.Rules()
	for i, r := range rules {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if i > 0 && r.ID <= rules[i-1].ID {
			t.Errorf("%s after %s", r.ID, rules[i-1].ID)
		}
	}
	for _, r := range []*oci.Result{nil, {}} {
		if v := prerun.Decide(r, prerun.Critical); v != prerun.Incomplete || r.Verified() {
			t.Errorf("a result of nothing: %s", v)
		}
	}
}

// What model signatures leave out is reported, unless the whole image is signed.
func TestUncovered(t *testing.T) {
	store := newMemory()
	store.add("v1", build(modelPackConfig, "{}", layer{rawWeight, "w", pathed("w")}, layer{rawWeight, "x", pathed(".git/hooks/x")}))
	img := resolve(t, store, "v1")
	for _, whole := range []bool{false, true} {
		bundle, err := oci.Signing{Whole: whole}.Sign(t.Context(), img, signer("us"))
		if err != nil {
			t.Fatal(err)
		}
		store.referrers = nil
		if _, err := oci.Attach(t.Context(), store, img, bundle); err != nil {
			t.Fatal(err)
		}
		r, err := oci.Verifier{}.Verify(t.Context(), store, img, trust("us"))
		var want, wantRules []string
		if !whole {
			want, wantRules = []string{".git/hooks/x"}, []string{"integrity.image.layer-unsigned"}
		}
		if diff := cmp.Diff(want, r.Uncovered) + cmp.Diff(wantRules, ruleIDs(r)); err != nil || diff != "" {
			t.Errorf("whole %t: %v %s", whole, err, diff)
		}
	}
}

func TestIndex(t *testing.T) {
	ctx := t.Context()
	store := newMemory()
	store.add("v1", tiny())
	second := build(modelPackConfig, "{}", layer{rawWeight, "x", pathed("x")})
	store.add("v2", second)
	platform := func(img image, arch string) object {
		d := descriptor(manifestType, img.manifest, nil)
		d["platform"] = object{"os": "linux", "architecture": arch}
		return d
	}
	store.add("index", image{manifest: marshal(object{
		"schemaVersion": 2, "mediaType": indexType,
		"manifests": []object{platform(tiny(), "amd64"), platform(second, "arm64")},
	})})
	index := store.blobs[store.tags["index"]]
	store.add("nested", image{manifest: marshal(object{
		"schemaVersion": 2, "mediaType": indexType, "manifests": []object{platform(image{manifest: index}, "amd64")},
	})})
	_, err := oci.Reader{}.Image(ctx, store, "index")
	e, ok := errors.AsType[*oci.IndexError](err)
	if !ok || !errors.Is(err, oci.ErrIndex) || oci.Rejected(err) || len(e.Choices) != 2 || e.Choices[1].Platform != "linux/arm64" {
		t.Fatalf("%v", err)
	}
	img, err := oci.Reader{Platform: "linux/arm64"}.Image(ctx, store, "index")
	if err != nil || img.Digest != second.digest() || img.Index != store.tags["index"] {
		t.Errorf("%+v, %v", img, err)
	}
	if img := resolve(t, store, e.Choices[0].Digest.String()); img.Digest != tiny().digest() || img.Index != "" {
		t.Errorf("%+v", img)
	}
	if _, err := (oci.Reader{Platform: "linux/riscv64"}).Image(ctx, store, "index"); !errors.Is(err, oci.ErrIndex) {
		t.Error(err)
	}
	if _, err := (oci.Reader{Platform: "linux/amd64"}).Image(ctx, store, "nested"); !errors.Is(err, integrity.ErrUnsupported) {
		t.Error(err)
	}
	store.blobs[second.digest()] = tiny().manifest
	if _, err := (oci.Reader{Platform: "linux/arm64"}).Image(ctx, store, "index"); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("exchanged: %v", err)
	}
}

func TestParseReference(t *testing.T) {
	d := digest.Digest(sum(nil)).String()
	for _, tt := range []struct{ in, repository, ref string }{
		{"registry.example/models/tiny:v1", "registry.example/models/tiny", "v1"},
		{"registry.example:5000/tiny@" + d, "registry.example:5000/tiny", d},
		{"registry.example/tiny:v1@" + d, "registry.example/tiny", d},
		{"registry.example/tiny", "", ""},
		{"tiny:v1", "", ""},
		{"", "", ""},
		{"registry.example/tiny@sha256:abc", "", ""},
		{"registry.example/../tiny:v1", "", ""},
	} {
		repository, ref, err := oci.ParseReference(tt.in)
		if repository != tt.repository || ref != tt.ref || (err == nil) != (tt.ref != "") {
			t.Errorf("%q: %q, %q, %v", tt.in, repository, ref, err)
		}
	}
}

// FuzzImage reads whatever a registry may answer: an error, or an image whose
// layers have safe and different names.
func FuzzImage(f *testing.F) {
	f.Add(tiny().manifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	for _, tt := range formats {
		f.Add(tt.image.manifest)
	}
	f.Fuzz(func(t *testing.T, manifest []byte) {
		store := newMemory()
		store.add("v1", image{manifest: manifest})
		img, err := oci.Reader{}.Image(t.Context(), store, "v1")
		if err != nil {
			return
		}
		m, err := img.Manifest()
		if err != nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Errorf("manifest of %q: %v", manifest, err)
		}
	})
}
