package slp

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

const tapeFile = "../../api/testdata/protocol.json"

// tape records runs of clients as JSON, so that clients in other languages can be held to them step by step.
type tape struct {
	About     string            `json:"about"`
	Snapshots []json.RawMessage `json:"snapshots"` // referred to by index
	Runs      []*tapeRun        `json:"runs"`
	index     map[string]int
	live      map[string]*tapeRun // by boot
}

type tapeRun struct {
	Instance   string     `json:"instance"`
	Boot       string     `json:"boot"`
	Class      string     `json:"class"`
	Caps       Caps       `json:"caps"`
	WNs        int64      `json:"w"`
	EarlyLapse float64    `json:"earlyLapse"`
	Steps      []tapeStep `json:"steps"`
	source     *tapeSource
}

// tapeStep is one Step: time in nanoseconds, input, the 64-bit numbers drawn from the source of chance, effects.
type tapeStep struct {
	Now   Mono     `json:"now"`
	In    []any    `json:"in"`
	Draws []uint64 `json:"draws,omitempty"`
	Out   [][]any  `json:"out,omitempty"`
}

// tapeSource notes what is drawn.
type tapeSource struct {
	from  *rand.Rand
	draws []uint64
}

func (s *tapeSource) Uint64() uint64 {
	x := s.from.Uint64()
	s.draws = append(s.draws, x)
	return x
}

func (t *tape) boot(p *proc) {
	r := &tapeRun{
		Instance: p.c.cfg.Instance, Boot: p.c.cfg.Boot, Class: p.class, Caps: p.c.cfg.Caps, WNs: int64(p.c.cfg.W), EarlyLapse: p.c.cfg.EarlyLapse,
		source: &tapeSource{from: p.c.cfg.Rand},
	}
	p.c.cfg.Rand = rand.New(r.source)
	t.Runs = append(t.Runs, r)
	t.live[p.c.cfg.Boot] = r
}

func (t *tape) add(p *proc, now Mono, in Input, out []Effect) {
	r := t.live[p.c.cfg.Boot]
	step := tapeStep{Now: now, In: t.input(in), Draws: r.source.draws}
	for _, e := range out {
		step.Out = append(step.Out, t.effect(e))
	}
	r.source.draws = nil
	r.Steps = append(r.Steps, step)
}

func (t *tape) snapshot(s *Snapshot) any {
	if s == nil {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	i, ok := t.index[string(b)]
	if !ok {
		i = len(t.Snapshots)
		t.index[string(b)] = i
		t.Snapshots = append(t.Snapshots, b)
	}
	return i
}

func (t *tape) cache(k *Cache) any {
	if k == nil {
		return nil
	}
	return map[string]any{"snapshot": t.snapshot(k.Snapshot), "floors": k.Floors, "seen": k.Seen, "unwind": k.Unwind}
}

func failed(f Failure) []any { return []any{f.Status, f.RetryAfter} }

func (t *tape) input(in Input) []any {
	switch in := in.(type) {
	case Start:
		return []any{"start", t.cache(in.Cache)}
	case HelloAnswered:
		return []any{"hello-answered", in.Sent, in.Answer.Epoch, t.snapshot(&in.Answer.Snapshot), in.Answer.ServerNow}
	case HelloFailed:
		return []any{"hello-failed", failed(in.Failure)}
	case WatchEvent:
		return []any{"event", in.Event}
	case WatchLost:
		return []any{"watch-lost", failed(in.Failure)}
	case Tick:
		return []any{"tick", in.Timer}
	case GrantReceived:
		return []any{"grant", in.Grant}
	case RenewFailed:
		return []any{"renew-failed", in.N, failed(in.Failure)}
	case AckFailed:
		return []any{"ack-failed", failed(in.Failure)}
	case SnapshotFetched:
		return []any{"fetched", t.snapshot(&in.Snapshot)}
	case FetchFailed:
		return []any{"fetch-failed", failed(in.Failure)}
	case Loaded:
		return []any{"loaded", in.Head.Rev, in.Head.Digest, in.Err}
	case ShadowLoaded:
		return []any{"shadow-loaded", in.Prepared}
	case RequestsDrained:
		return []any{"drained", in.Scope, in.Rev}
	case Unwound:
		return []any{"unwound", in.Scope, in.Rev, in.Failed}
	case CacheWritten:
		return []any{"cache-written", t.cache(in.Cache), in.Failed}
	case ClockJumped:
		return []any{"clock-jumped"}
	case BootUnknown:
		return []any{"boot-unknown"}
	case Leave:
		return []any{"leave"}
	case Bye:
		return []any{"bye"}
	}
	panic(fmt.Sprintf("no form on tape for %T", in))
}

func (t *tape) effect(e Effect) []any {
	switch e := e.(type) {
	case SendHello:
		return []any{"hello", e.Hello}
	case SendRenew:
		return []any{"renew", e.Renew}
	case SendAck:
		return []any{"ack", e.Request}
	case FetchSnapshot:
		return []any{"fetch"}
	case Load:
		return []any{"load", t.snapshot(e.Snapshot)}
	case LoadShadow:
		return []any{"shadow", e.Scope, e.Digest, t.snapshot(e.Snapshot)}
	case Swap:
		v := e.View
		return []any{"swap", map[string]any{
			"epoch": v.Epoch, "snapshot": t.snapshot(v.Snapshot), "want": v.Want, "floors": v.Floors, "leaseEnd": v.LeaseEnd, "second": v.Clock.Second(1 << 40),
		}}
	case WriteCache:
		return []any{"cache", t.cache(e.Cache)}
	case OpenWatch:
		return []any{"watch", e.After}
	case Schedule:
		return []any{"schedule", e.Timer, e.After}
	case RunUnwind:
		return []any{"unwind", e.Scope, e.Rev}
	case Notice:
		return []any{"notice", e.Code}
	}
	panic(fmt.Sprintf("no form on tape for %T", e))
}

// MarshalJSON writes one step a line, so that a difference can be read.
func (r tapeRun) MarshalJSON() ([]byte, error) {
	type head tapeRun
	h := head(r)
	h.Steps = nil
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b = append(bytes.TrimSuffix(b, []byte("null}")), "[\n"...)
	for i := range r.Steps {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		s, err := json.Marshal(&r.Steps[i])
		if err != nil {
			return nil, err
		}
		b = append(b, s...)
	}
	return append(b, "\n]}"...), nil
}

func recordTape(t *testing.T) []byte {
	rec := &tape{
		About: "Runs of the client's half of SLP-1 against a faulty network. now and after are nanoseconds; a draw below n is (x*n)>>64 of the next number in draws, or its low bits where n is a power of two.",
		index: map[string]int{}, live: map[string]*tapeRun{},
	}
	for seed := range uint64(6) {
		w := newWorld(1000 + seed)
		clear(rec.live)
		for _, p := range w.procs { // they have booted already: once more, on tape
			w.tape = rec
			p.boot()
		}
		for i := range 300 {
			switch i % 100 {
			case 20:
				w.srv.commit()
			case 60:
				w.srv.revoke()
			}
			w.step()
		}
		if w.fault != "" {
			t.Fatal(w.fault)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(`{"now"`), []byte("\n"+`{"now"`))
}

// TestProtocolVectors holds api/testdata/protocol.json, which clients in other languages replay, to what this code does.
func TestProtocolVectors(t *testing.T) {
	got := recordTape(t)
	if *update {
		if err := os.WriteFile(tapeFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tapeFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what this code does; look at the difference, then: go test ./slp -run ProtocolVectors -update, and mend the clients in other languages", tapeFile)
	}
}
