package sluice_test

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
)

// A service that serves one of two versions of an ML feature and reports what became of it.
func Example() {
	ctx := context.Background()
	client, err := sluice.New(ctx, sluice.Config{
		URL: "https://sluice.example", Token: os.Getenv("SLUICE_TOKEN"), Component: "checkout",
		CacheDir: "/var/lib/checkout/sluice", Logf: log.Printf,
	})
	if err != nil {
		log.Fatal(err)
	}
	spend := client.Flag("spend7d")

	score := func(ctx context.Context, account, region string) (float64, error) {
		ctx, req := client.Begin(ctx, account, flag.Str("region", region))
		value, err := model(ctx, spend.String(ctx, "v14"), account)
		req.Observe("score", value)
		req.End(err)
		return value, err
	}
	_, _ = score(ctx, "account-1", "eu")

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Close(ctx); err != nil {
		log.Print(err)
	}
}

func model(context.Context, string, string) (float64, error) { return 0, nil }

// The entry decides; the next hop serves the same arm and reports its own part under it.
func Example_twoHops() {
	var client *sluice.Client // of each process

	entry := func(ctx context.Context, account string) error {
		ctx, req := client.Begin(ctx, account)
		client.Flag("spend7d").String(ctx, "v14") // decided here, before calling on
		out, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://features/spend7d", nil)
		if err == nil {
			sluice.Inject(ctx, out.Header)
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(out); err == nil {
				err = resp.Body.Close()
			}
		}
		req.End(err)
		return err
	}

	next := func(w http.ResponseWriter, r *http.Request) {
		ctx, req := client.BeginHTTP(r, r.URL.Query().Get("account"))
		begun := time.Now()
		_, err := w.Write(lookUp(client.Flag("spend7d").String(ctx, "v14"))) // the entry's arm
		req.Observe("read-time", time.Since(begun).Seconds())
		req.End(err)
	}
	_, _ = entry, next
}

func lookUp(string) []byte { return nil }

// A writer computes the candidate beside the stable version while a rollout is open, and stops when it is taken back.
func Example_writer() {
	client, err := sluice.New(context.Background(), sluice.Config{
		URL: "https://sluice.example", Token: os.Getenv("SLUICE_TOKEN"), Component: "transformer", Class: sluice.ClassWriter,
		OnUnwind: func(ctx context.Context, scope string) error {
			return stopDualRun(ctx, scope) // idempotent: it may be asked again
		},
	})
	_, _ = client, err
}

func stopDualRun(context.Context, string) error { return nil }
