package sluice

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sluice.dev/sdk/slp"
)

func TestReadEvents(t *testing.T) {
	const stream = ": a comment\r\n\r\nid: 1.1\r\nevent: state\r\ndata: {\"epoch\":1,\r\ndata: \"head\":{\"rev\":3,\"digest\":\"d\"}}\r\n\r\n" +
		"event: ping\ndata:{\"epoch\":2,\"head\":{\"rev\":4}}\nretry: 10\nunknown\n\nevent: later\ndata: {\"epoch\":3,\"head\":{\"rev\":5}}\n"
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream))} {
		t.Run(name, func(t *testing.T) {
			var got []slp.Event
			lines := 0
			err := readEvents(r, func() { lines++ }, func(e slp.Event) { got = append(got, e) })
			if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 2 || lines < 10 {
				t.Fatalf("%d events in %d lines, %v", len(got), lines, err)
			}
			if e := got[0]; e.Kind != "state" || e.ID != "1.1" || e.Head.Rev != 3 || e.Head.Digest != "d" {
				t.Errorf("first %+v", e)
			}
			if e := got[1]; e.Kind != "ping" || e.Epoch != 2 || e.Head.Rev != 4 {
				t.Errorf("second %+v", e)
			}
		})
	}
	if err := readEvents(strings.NewReader("data: {\n\n"), func() {}, func(slp.Event) {}); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an event that is not JSON: %v", err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1.1\nevent: state\ndata: {\"epoch\":1,\"head\":{\"rev\":3}}\n\n")
	f.Add("data: 1\ndata: 2\r\n\r\n:\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		count := func(r io.Reader) (n int) {
			_ = readEvents(r, func() {}, func(slp.Event) { n++ })
			return n
		}
		if a, b := count(strings.NewReader(s)), count(iotest.OneByteReader(strings.NewReader(s))); a != b {
			t.Fatalf("%d events whole, %d byte by byte", a, b)
		}
	})
}
