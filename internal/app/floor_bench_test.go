//go:build unix

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/policy"
)

// floor is the least that an OFREP server in Go can do: net/http, encoding/json for the request, a look-up and appended
// bytes for the answer. It has no authentication, tags are constant, and every fifth flag compares one attribute and hashes.
func floor(n int) http.Handler {
	type flag struct {
		key  string
		rule bool
	}
	var all []flag
	byKey := map[string]flag{}
	for i := range n {
		f := flag{fmt.Sprintf("flag-%03d", i), i%5 == 0}
		all = append(all, f)
		byKey[f.key] = f
	}
	evaluate := func(b []byte, f flag, c map[string]any) []byte {
		value, variant, reason := true, "on", "STATIC"
		if f.rule {
			value, variant, reason = false, "off", "TARGETING_MATCH"
			if s, _ := c["country"].(string); s == "FR" {
				key, _ := c["targetingKey"].(string)
				h := fnv.New32a()
				_, _ = io.WriteString(h, f.key+key)
				if h.Sum32()>>31 == 0 {
					value, variant = true, "on"
				}
			}
		}
		b = append(append(append(b, `{"key":"`...), f.key...), `","reason":"`...)
		b = append(append(append(b, reason...), `","variant":"`...), variant...)
		return append(strconv.AppendBool(append(b, `","value":`...), value), '}')
	}
	type request struct {
		Context map[string]any `json:"context"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags/{key}", func(w http.ResponseWriter, r *http.Request) {
		var q request
		if json.NewDecoder(r.Body).Decode(&q) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f, ok := byKey[r.PathValue("key")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(evaluate(make([]byte, 0, 128), f, q.Context))
	})
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags", func(w http.ResponseWriter, r *http.Request) {
		var q request
		if json.NewDecoder(r.Body).Decode(&q) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		b := append(make([]byte, 0, 80*len(all)), `{"flags":[`...)
		for i, f := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = evaluate(b, f, q.Context)
		}
		b = append(b, `]}`...)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b)
	})
	return mux
}

// keptAlive is one connection that sends the same request again and again.
type keptAlive struct {
	conn net.Conn
	r    *bufio.Reader
	raw  []byte
	want string // status
}

func dialKept(b *testing.B, addr string, raw []byte, want string) *keptAlive {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &keptAlive{conn, bufio.NewReaderSize(conn, 32<<10), raw, want}
}

// ask sends the request and reads the whole answer.
func (k *keptAlive) ask() error {
	if _, err := k.conn.Write(k.raw); err != nil {
		return err
	}
	length, status := int64(0), ""
	for {
		line, err := k.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case status == "":
			status = string(line[9:12])
		case len(line) == 2:
			if status != k.want {
				return fmt.Errorf("status %s, want %s", status, k.want)
			}
			_, err := io.CopyN(io.Discard, k.r, length)
			return err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			length, _ = strconv.ParseInt(string(bytes.TrimSpace(line[16:])), 10, 64)
		case bytes.HasPrefix(line, []byte("Transfer-Encoding:")):
			return fmt.Errorf("chunked answer")
		}
	}
}

const (
	benchConns = 8
	benchBatch = 100
	benchBody  = `{"context":{"targetingKey":"user-0123456789abcdefghi","country":"FR","plan":"pro","age":42,"version":"2.5.1"}}`
)

func rawRequest(path string, headers ...string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(benchBody)) + "\r\n" +
		strings.Join(headers, "") + "\r\n" + benchBody)
}

// batch sends benchBatch requests on each connection at once and returns the processor time that took, the sender's included.
func batch(b *testing.B, conns []*keptAlive) time.Duration {
	if b.Failed() {
		b.FailNow()
	}
	var wg sync.WaitGroup
	begun := processorTime(b)
	for _, k := range conns {
		wg.Go(func() {
			for range benchBatch {
				if err := k.ask(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return processorTime(b) - begun
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOFREPFloor sends batches in turn to the floor and to a real server, authentication included, and reports the
// processor time of a request to each, the sender's part included, and the floor's as a share of the server's, in per cent:
// what the server would answer, in requests per second, of what the floor does. Medians; one iteration is one batch to each.
func BenchmarkOFREPFloor(b *testing.B) {
	srv := httptest.NewServer(floor(100))
	defer srv.Close()
	a, err := app.Start(b.Context(), app.Config{Listen: "127.0.0.1:0", Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = a.Stop(context.Background()) }()
	token, err := a.Token(b.Context(), "bench", policy.Client, "")
	if err != nil {
		b.Fatal(err)
	}
	importBench(b, a)
	auth := "Authorization: Bearer " + token + "\r\n"
	for _, c := range []struct{ name, path, want string }{
		{"single", "/ofrep/v1/evaluate/flags/flag-001", "200"}, {"rule", "/ofrep/v1/evaluate/flags/flag-005", "200"},
		{"bulk", "/ofrep/v1/evaluate/flags", "200"}, {"match", "/ofrep/v1/evaluate/flags", "304"},
	} {
		b.Run(c.name, func(b *testing.B) {
			headers := []string{auth}
			if c.want == "304" {
				headers = append(headers, "If-None-Match: "+tagOf(b, a.URL()+c.path, token)+"\r\n")
			}
			var theirs, ours []*keptAlive
			for range benchConns {
				theirs = append(theirs, dialKept(b, srv.Listener.Addr().String(), rawRequest(c.path, headers[1:]...), c.want))
				ours = append(ours, dialKept(b, strings.TrimPrefix(a.URL(), "http://"), rawRequest(c.path, headers...), c.want))
			}
			var floors, servers []time.Duration
			for b.Loop() {
				floors = append(floors, batch(b, theirs))
				servers = append(servers, batch(b, ours))
			}
			micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / benchConns / benchBatch }
			f, s := micros(median(floors)), micros(median(servers))
			b.ReportMetric(f, "floor-us")
			b.ReportMetric(s, "server-us")
			b.ReportMetric(100*f/s, "%floor")
		})
	}
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

func importBench(b *testing.B, a *app.App) {
	flags := map[string]any{}
	for i := range 100 {
		f := map[string]any{"state": "ENABLED", "variants": map[string]bool{"on": true, "off": false}, "defaultVariant": "on"}
		if i%5 == 0 {
			f["targeting"] = json.RawMessage(`{"if":[{"==":[{"var":"country"},"FR"]},{"fractional":[["on",50],["off",50]]},"off"]}`)
		}
		flags[fmt.Sprintf("flag-%03d", i)] = f
	}
	raw, err := json.Marshal(map[string]any{"flags": flags})
	if err != nil {
		b.Fatal(err)
	}
	post(b, a.URL()+"/v1/flags/import", string(raw), a.AdminToken())
}

func tagOf(b *testing.B, url, token string) string {
	return post(b, url, benchBody, token).Get("ETag")
}

func post(b *testing.B, url, body, token string) http.Header {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %d %v", url, resp.StatusCode, err)
	}
	return resp.Header
}
