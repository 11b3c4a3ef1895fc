package sluice

import (
	"context"
	"errors"
	"testing"

	"sluice.dev/sdk/slp"
)

// The next address is taken once per failure, whatever number of requests has failed at the same server.
func TestServersAreLeftOnce(t *testing.T) {
	cfg := Config{URL: "http://a", Alternatives: []string{"http://b", "http://c"}}
	s, err := cfg.servers()
	if err != nil {
		t.Fatal(err)
	}
	a := s.current()
	for range 5 {
		s.leave(a)
	}
	if got := s.current().Host; got != "b" {
		t.Errorf("after a has failed five times: %s, want b", got)
	}
	s.leave(s.current())
	s.leave(s.current())
	if got := s.current(); got != a {
		t.Errorf("after all have failed: %s, want a again", got)
	}
	if _, err := (&Config{URL: "http://a", Alternatives: []string{"b"}}).servers(); err == nil {
		t.Error("took an address that is none")
	}
}

func TestWhenToGoElsewhere(t *testing.T) {
	answer := func(status int) error { return &failure{Failure: slp.Failure{Status: status}} }
	for err, want := range map[error]bool{
		nil: false, errors.New("connection refused"): true, context.DeadlineExceeded: true,
		answer(503): true, answer(502): true, answer(504): true, answer(410): false, answer(401): false, answer(409): false, answer(429): false,
	} {
		if got := elsewhere(err); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}
