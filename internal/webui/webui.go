// Package webui serves the browser application that web/ builds. The bundle is embedded; a binary built without one
// serves a page that says how to build it, and everything else works.
//
// Every answer carries a strict content security policy: no scripts or styles but our own files, no framing.
package webui

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var bundle embed.FS

//go:embed placeholder.html
var placeholder []byte

// policy is the content security policy of every page.
const policy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// pages are the addresses that the application shows; each begins with one of these segments.
var pages = []string{"", "r", "rollouts", "components", "audit", "login"}

// Handler serves the bundle of this binary.
func Handler() http.Handler {
	dist, err := fs.Sub(bundle, "dist")
	if err != nil {
		panic("webui: " + err.Error()) // the folder is embedded
	}
	return handler(dist)
}

// Built reports whether the binary holds the application.
func Built() bool {
	_, err := fs.Stat(bundle, "dist/index.html")
	return err == nil
}

func handler(dist fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if name != "" && name != "index.html" && send(w, r, dist, name) {
			return
		}
		first, _, _ := strings.Cut(name, "/")
		for _, p := range pages {
			if first == p {
				if !send(w, r, dist, "index.html") {
					h.Set("Content-Type", "text/html; charset=utf-8")
					h.Set("Cache-Control", "no-store")
					write(w, r, placeholder)
				}
				return
			}
		}
		http.NotFound(w, r)
	})
}

// send answers with a file of the bundle, compressed when it is there compressed; false: there is no such file.
func send(w http.ResponseWriter, r *http.Request, dist fs.FS, name string) bool {
	if strings.HasPrefix(path.Base(name), ".") || strings.HasSuffix(name, ".gz") {
		return false
	}
	body, err := fs.ReadFile(dist, name)
	if err != nil {
		return false
	}
	h := w.Header()
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		h.Set("Content-Type", t)
	}
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // their names hold a hash of their content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if small, err := fs.ReadFile(dist, name+".gz"); err == nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = small
		}
	}
	write(w, r, body)
	return true
}

func write(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the reader is gone: nothing to do
	}
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if coding == "gzip" && strings.TrimSpace(params) != "q=0" {
			return true
		}
	}
	return false
}
