package fence_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sdk/fence"
	"sluice.dev/sdk/fence/fencetest"
)

// filed are floors in a file.
type filed struct {
	*fence.Floors
	path string
}

func (f filed) Reopen(t *testing.T) fencetest.Resource {
	t.Helper()
	floors, err := fence.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	return filed{floors, f.path}
}

func TestFile(t *testing.T) {
	fencetest.Run(t, func(t *testing.T) fencetest.Resource {
		return filed{path: filepath.Join(t.TempDir(), "floors.json")}.Reopen(t)
	})
}

// asked is a fence that is asked over HTTP.
type asked struct{ filed }

func (a asked) Admit(stamps ...fence.Stamp) error {
	body, err := json.Marshal(map[string]any{"stamps": stamps})
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)))
	if w.Code == http.StatusNoContent {
		return nil
	}
	var p struct{ Refused *fence.Refused }
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		return err
	}
	return p.Refused
}

func (a asked) Reopen(t *testing.T) fencetest.Resource { return asked{a.filed.Reopen(t).(filed)} }

func TestHTTP(t *testing.T) {
	fencetest.Run(t, func(t *testing.T) fencetest.Resource {
		return asked{filed{path: filepath.Join(t.TempDir(), "floors.json")}}.Reopen(t)
	})
}

func TestHTTPRefusesWhatItCannotRead(t *testing.T) {
	for name, tt := range map[string]struct {
		method, body string
		status       int
	}{
		"GET":       {http.MethodGet, "", http.StatusMethodNotAllowed},
		"no body":   {http.MethodPost, "", http.StatusBadRequest},
		"no stamps": {http.MethodPost, `{"stamps":[]}`, http.StatusBadRequest},
		"negative":  {http.MethodPost, `{"stamps":[{"scope":"s","revision":-1}]}`, http.StatusBadRequest},
		"too large": {http.MethodPost, `{"stamps":[{"scope":"` + strings.Repeat("s", 1<<17) + `"}]}`, http.StatusBadRequest},
	} {
		w := httptest.NewRecorder()
		fence.New().Handler().ServeHTTP(w, httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body)))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), `"code"`) {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, tt.status)
		}
	}
}

// TestAFenceThatHasForgottenDoesNotOpen, and one that cannot write says so and holds all the same.
func TestAFenceThatHasForgottenDoesNotOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "floors.json")
	for _, content := range []string{"", "{", "null", `{"s":-1}`, `[]`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := fence.Open(path); err == nil {
			t.Errorf("a file with %q opens", content)
		}
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fence.Open(filepath.Join(gone, "floors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	if err := f.Raise(map[string]uint64{"s": 4}); err == nil {
		t.Error("a floor that is not durable counts as raised")
	}
	if err := f.Raise(map[string]uint64{"s": 4}); err == nil {
		t.Error("asked again, a floor that is not durable counts as raised")
	}
	if f.Admit(fence.Stamp{Scope: "s", Revision: 3}) == nil || f.All()["s"] != 4 {
		t.Error("the floor does not hold in this process")
	}
}
