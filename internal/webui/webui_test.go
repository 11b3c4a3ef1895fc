package webui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var sample = fstest.MapFS{
	"index.html":          {Data: []byte("<!doctype html>app")},
	"assets/a-1234.js":    {Data: []byte("plain")},
	"assets/a-1234.js.gz": {Data: []byte("packed")},
	".gitkeep":            {Data: nil},
}

func get(t *testing.T, h http.Handler, method, path, encoding string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestServing(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, encoding string
		status                       int
		body, cache                  string
	}{
		{"root", "GET", "/", "", 200, "<!doctype html>app", "no-cache"},
		{"a page of the application", "GET", "/r/some-rollout", "", 200, "<!doctype html>app", "no-cache"},
		{"a page below it", "GET", "/r/some-rollout/rollback", "", 200, "<!doctype html>app", "no-cache"},
		{"hashed file", "GET", "/assets/a-1234.js", "", 200, "plain", "public, max-age=31536000, immutable"},
		{"hashed file, compressed", "GET", "/assets/a-1234.js", "br, gzip", 200, "packed", "public, max-age=31536000, immutable"},
		{"gzip refused", "GET", "/assets/a-1234.js", "gzip;q=0", 200, "plain", "public, max-age=31536000, immutable"},
		{"no such file", "GET", "/assets/b.js", "", 404, "404 page not found\n", ""},
		{"an API address is not a page", "GET", "/v1/nothing", "", 404, "404 page not found\n", ""},
		{"hidden file", "GET", "/.gitkeep", "", 404, "404 page not found\n", ""},
		{"no way out of the folder", "GET", "/../webui.go", "", 404, "404 page not found\n", ""},
		{"head has no body", "HEAD", "/", "", 200, "", "no-cache"},
		{"nothing is written", "POST", "/", "", 405, "only GET\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := get(t, handler(sample), tt.method, tt.path, tt.encoding)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status || string(body) != tt.body || res.Header.Get("Cache-Control") != tt.cache {
				t.Errorf("got %d %q %q, want %d %q %q", res.StatusCode, body, res.Header.Get("Cache-Control"), tt.status, tt.body, tt.cache)
			}
			csp := res.Header.Get("Content-Security-Policy")
			if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("content security policy %q is not strict", csp)
			}
		})
	}
}

func TestPlaceholderSaysHowToBuild(t *testing.T) {
	res := get(t, handler(fstest.MapFS{}), "GET", "/", "")
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || !strings.Contains(string(body), "make web build") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}
