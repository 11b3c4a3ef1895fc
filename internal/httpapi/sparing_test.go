package httpapi

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/engine"
)

// TestSparingDenials: a caller that asks again and again fills no log, nothing of it is lost, and another one is heard at once.
func TestSparingDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []engine.Denied
		deny := Sparing(func(_ context.Context, d engine.Denied) { got = append(got, d) })
		for range 600 { // a minute at ten a second
			deny(t.Context(), engine.Denied{Actor: "token:wrong", Action: "evaluate", Reason: "no"})
			time.Sleep(100 * time.Millisecond)
		}
		deny(t.Context(), engine.Denied{Actor: "token:other", Action: "evaluate", Reason: "no"})
		deny(t.Context(), engine.Denied{Actor: "token:wrong", Action: "evaluate", Reason: "no"})
		if len(got) != 3 || got[0].Reason != "no" || got[1].Actor != "token:other" || got[2].Reason != "no (and 599 times since the last record)" {
			t.Errorf("got %+v", got)
		}
		for i := range 3 * denialKeys { // many callers take bounded memory and are all heard
			deny(t.Context(), engine.Denied{Actor: fmt.Sprint("token:", i), Action: "read"})
		}
		if len(got) != 3+3*denialKeys {
			t.Errorf("%d of %d callers were heard", len(got)-3, 3*denialKeys)
		}
	})
}
