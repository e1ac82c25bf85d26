package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prerun/prerun/internal/testutil"
)

// A browser shows pages in headless Chromium and notes what they ask for.
type browser struct {
	path   string
	server *httptest.Server

	mu    sync.Mutex
	pages map[string]string
	asked []string
}

func newBrowser(t *testing.T, pages map[string]string) *browser {
	t.Helper()
	b := &browser{path: os.Getenv("PRERUN_CHROMIUM"), pages: pages}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if b.path == "" {
			b.path, _ = exec.LookPath(name)
		}
	}
	if b.path == "" {
		testutil.Missing(t, "Chromium", "install it or set PRERUN_CHROMIUM to it")
	}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, r.URL.Path)
		page, ok := b.pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(b.server.Close)
	return b
}

// show loads a page and returns its document after scripts have run, what the
// console said, and what was asked of the server.
func (b *browser) show(t *testing.T, path string, dark bool) (dom string, console, asked []string) {
	t.Helper()
	b.mu.Lock()
	b.asked = nil
	b.mu.Unlock()
	scheme := "1"
	if dark {
		scheme = "0"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--user-data-dir="+t.TempDir(),
		"--blink-settings=preferredColorScheme="+scheme, "--enable-logging=stderr", "--window-size=1280,1000",
		"--virtual-time-budget=3000", "--dump-dom", b.server.URL+path)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", b.path, err, errs.String())
	}
	for line := range strings.Lines(errs.String()) {
		if strings.Contains(line, ":CONSOLE") {
			console = append(console, strings.TrimSpace(line))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return out.String(), console, slices.Clone(b.asked)
}

// Controls are pages with what the tests below must notice.
const (
	controlNoisy = `<!DOCTYPE html><html lang="en"><head><title>x</title><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'">` +
		`</head><body><img src="/pixel.png" alt=""><p style="color: red">x</p><script>alert(1)</script></body></html>`
	controlWide = `<!DOCTYPE html><html lang="en"><head><title>x</title><style>body { margin: 0; background: #fff } div { width: 500px; color: #ccc }</style></head><body><div>wide and faint</div></body></html>`
)

func TestBrowserIsQuiet(t *testing.T) {
	b := newBrowser(t, map[string]string{
		"/report": render(t, "html", sample()), "/thousand": render(t, "html", thousand()),
		"/hostile": render(t, "html", hostile(strings.Join(nasty, " "))), "/control": controlNoisy,
	})
	for _, path := range []string{"/report", "/thousand", "/hostile"} {
		dom, console, asked := b.show(t, path, false)
		if len(console) > 0 {
			t.Errorf("%s: the console says %q", path, console)
		}
		if !slices.Equal(asked, []string{path}) {
			t.Errorf("%s: asked for %q, want only the page", path, asked)
		}
		if !strings.Contains(dom, "What this means") {
			t.Errorf("%s: the page is not whole", path)
		}
	}
	_, console, asked := b.show(t, "/control", false)
	if !slices.Contains(asked, "/pixel.png") {
		t.Errorf("a page with an image asked for %q only: this test would not notice", asked)
	}
	if !strings.Contains(strings.Join(console, "\n"), "Content Security Policy") {
		t.Errorf("a page against its own policy gives %q: this test would not notice", console)
	}
}

// measure shows a page in a frame, opens all that is folded, and writes down
// its width, and the text with the least contrast to what is behind it.
const measure = `<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><iframe src="%s" style="width:%dpx;height:600px;border:0"></iframe>
<pre id="result"></pre><script>
const parse = (color) => color.match(/[\d.]+/g).map(Number);
const opaque = (color) => { const c = parse(color); return c.length < 4 || c[3] > 0; };
const light = (color) => parse(color).slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
	.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const frame = document.querySelector("iframe");
frame.onload = () => {
	const doc = frame.contentDocument, view = frame.contentWindow;
	doc.querySelectorAll("details").forEach((d) => { d.open = true; });
	const result = {Width: doc.documentElement.scrollWidth, Contrast: 99, Text: "", Widest: ""};
	let right = 0;
	for (const e of doc.body.querySelectorAll("*")) {
		const edge = e.getBoundingClientRect().right;
		if (edge > right && !e.closest(".scroll")) { right = edge; result.Widest = e.outerHTML.slice(0, 80); }
		const own = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
		if (own === "" || e.closest("title")) continue;
		const svg = e instanceof view.SVGElement;
		const ink = view.getComputedStyle(e)[svg ? "fill" : "color"];
		let behind = e;
		while (behind.parentElement && !opaque(view.getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
		const [a, b] = [light(ink), light(view.getComputedStyle(behind).backgroundColor)];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < result.Contrast) { result.Contrast = contrast; result.Text = own.slice(0, 40); }
	}
	document.querySelector("#result").textContent = JSON.stringify(result);
};
</script></body></html>`

var resultElement = regexp.MustCompile(`<pre id="result">([^<]+)</pre>`)

func TestBrowserLayout(t *testing.T) {
	pages := map[string]string{
		"/report": render(t, "html", sample()), "/hostile": render(t, "html", hostile(strings.Join(nasty, " "))),
		"/control": controlWide,
	}
	widths := []int{320, 1200}
	for _, path := range []string{"/report", "/hostile", "/control"} {
		for _, width := range widths {
			pages[fmt.Sprintf("/measure%s-%d", path, width)] = fmt.Sprintf(measure, path, width)
		}
	}
	b := newBrowser(t, pages)
	type result struct {
		Width    int
		Contrast float64
		Text     string
		Widest   string
	}
	look := func(path string, width int, dark bool) (r result) {
		dom, _, _ := b.show(t, fmt.Sprintf("/measure%s-%d", path, width), dark)
		m := resultElement.FindStringSubmatch(dom)
		if m == nil {
			t.Fatalf("nothing was measured:\n%s", dom)
		}
		if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, path := range []string{"/report", "/hostile"} {
		for i, width := range widths {
			r := look(path, width, i == 0)
			if r.Width > width {
				t.Errorf("%s is %d pixels wide in a window of %d because of %s", path, r.Width, width, r.Widest)
			}
			if r.Contrast < 4.5 { // WCAG 2.2, 1.4.3
				t.Errorf("%s at %d: %q has a contrast of %.2f", path, width, r.Text, r.Contrast)
			}
		}
	}
	if r := look("/control", 320, false); r.Width <= 320 || r.Contrast >= 4.5 {
		t.Errorf("a wide and faint page measures %+v: this test would not notice", r)
	}
}
