package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/rollout"
)

func TestBrowserCommand(t *testing.T) {
	const at = "http://127.0.0.1:7070/r/x?a=1&b=2"
	for _, c := range []struct {
		goos, browser string
		want          []string
	}{
		{"linux", "", []string{"xdg-open", at}},
		{"darwin", "", []string{"open", at}},
		{"windows", "", []string{"rundll32", "url.dll,FileProtocolHandler", at}},
		{"linux", "/opt/my browser", []string{"/opt/my browser", at}},
	} {
		if got := browserCommand(c.goos, c.browser, at); !slices.Equal(got, c.want) {
			t.Errorf("%s, BROWSER=%q: %q, want %q", c.goos, c.browser, got, c.want)
		}
	}
}

// The key w opens the rollout's page; without a browser the address is shown instead, so that it can be copied.
func TestLiveOpensThePage(t *testing.T) {
	c, err := client.New("http://127.0.0.1:7070", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, fails := range []error{nil, errors.New("not there")} {
		var opened string
		l := &live{
			g: &globals{}, c: c, name: "spend7d-v15", last: seen(t, func(*rollout.Status) {}), asOf: viewStart,
			open: func(address string) error { opened = address; return fails },
		}
		if l.key(context.Background(), 'w') {
			t.Fatal("w left the view")
		}
		const want = "http://127.0.0.1:7070/r/spend7d-v15"
		if opened != want {
			t.Errorf("opened %q, want %q", opened, want)
		}
		if !strings.Contains(l.note, want) || strings.Contains(l.note, "no browser") != (fails != nil) {
			t.Errorf("open fails with %v: note %q", fails, l.note)
		}
	}
}
