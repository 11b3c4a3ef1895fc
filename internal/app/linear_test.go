package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/store/testpg"
)

// register is one flag's default variant as its users see it: a read gives what was last written.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(access).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(access); in.write != "" {
			return true, in.write
		}
		return output == state, state
	},
}

// access is one call: a write of a value, or a read.
type access struct{ key, write string }

// history is what several clients saw.
type history struct {
	begun time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	lost  int // writes whose answer was lost: they may take effect at any later time, or never
}

func (h *history) note(id int, in access, called time.Duration, out string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := porcupine.Operation{ClientId: id, Input: in, Output: out, Call: int64(called), Return: int64(time.Since(h.begun))}
	if err != nil {
		if in.write == "" {
			return // a read that got no answer says nothing
		}
		op.Return = math.MaxInt64
		h.lost++
	}
	h.ops = append(h.ops, op)
}

// ask makes one access through a server.
func ask(ctx context.Context, c *client.Client, in access) (string, error) {
	if in.write != "" {
		f := fmt.Sprintf(`{"key":%q,"type":"string","variants":{%q:"x"},"default":%[2]q}`, in.key, in.write)
		return "", c.Do(ctx, "PUT", "/v1/flags/"+in.key, json.RawMessage(f), nil)
	}
	var out struct{ Flag struct{ Default string } }
	err := c.Get(ctx, "/v1/flags/"+in.key, &out)
	return out.Flag.Default, err
}

// hammer lets a client write and read through both servers until ctx ends.
func (h *history) hammer(ctx context.Context, id int, servers []*client.Client, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	for n := 0; ctx.Err() == nil; n++ {
		in := access{key: fmt.Sprint("k", rng.IntN(3))}
		if rng.IntN(2) == 0 {
			in.write = fmt.Sprintf("c%d-%d", id, n)
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		called := time.Since(h.begun)
		out, err := ask(one, servers[rng.IntN(len(servers))], in)
		cancel()
		h.note(id, in, called, out, err)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // the servers change places
		}
	}
}

// TestHistoriesAreLinearizable: four clients read and write flags through two servers on one PostgreSQL while the leader is
// killed, and then frozen for longer than its lease. What all of them saw has one order in which it could have happened.
func TestHistoriesAreLinearizable(t *testing.T) {
	linearizable(t, 20261125, []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP})
}

func linearizable(t *testing.T, seed uint64, blows []syscall.Signal) {
	db := testpg.URL(t)
	pair := make([]*victim, 2)
	for i := range pair {
		pair[i] = &victim{t: t, dir: t.TempDir(), db: db, span: time.Second, addr: freeAddress(t)}
		pair[i].start()
		t.Cleanup(pair[i].kill)
	}
	pair[1].admin = pair[0].admin
	servers := []*client.Client{pair[0].client(), pair[1].client()}
	for k := range 3 { // every key has a value before the history begins with writing it
		if _, err := ask(t.Context(), servers[0], access{fmt.Sprint("k", k), "first"}); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{begun: time.Now()}
	for k := range 3 {
		h.note(9, access{fmt.Sprint("k", k), "first"}, 0, "", nil)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for id := range 4 {
		wg.Go(func() { h.hammer(ctx, id, servers, seed) })
	}
	for _, sig := range blows {
		h.more(t, 150)
		strike(t, pair, db, sig)
		h.more(t, 150)
	}
	stop()
	wg.Wait()
	t.Logf("%d calls, %d writes with a lost answer", len(h.ops), h.lost)
	if got := porcupine.CheckOperationsTimeout(register, settle(h.ops), 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d calls is %s (seed %d)", len(h.ops), got, seed)
	}
}

// settle says of writes with a lost answer what is known of them, without which the search for an order takes for ever: one
// that was read had happened by then, and one that nobody read can have happened after everything else.
func settle(ops []porcupine.Operation) []porcupine.Operation {
	seen := map[any]int64{}
	for _, op := range ops {
		if in := op.Input.(access); in.write == "" {
			at := access{in.key, op.Output.(string)}
			if first, ok := seen[at]; !ok || op.Return < first {
				seen[at] = op.Return
			}
		}
	}
	var known []porcupine.Operation
	for _, op := range ops {
		if op.Return == math.MaxInt64 {
			by, read := seen[op.Input]
			if !read {
				continue
			}
			op.Return = by
		}
		known = append(known, op)
	}
	return known
}

// more waits for n more answers.
func (h *history) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.ops)
	}
	target := count() + n
	until(t, "more answers", func() bool { return count() >= target })
}

// strike kills the server that leads and starts it again, or freezes it until another one leads.
func strike(t *testing.T, pair []*victim, db string, sig syscall.Signal) {
	t.Helper()
	l := leaderOf(t, db)
	v := pair[0]
	if strings.HasSuffix(l.Address, pair[1].addr) {
		v = pair[1]
	}
	if sig == syscall.SIGKILL {
		v.kill()
	} else if err := v.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	until(t, "another server leads", func() bool { return leaderOf(t, db).Epoch > l.Epoch })
	if sig == syscall.SIGKILL {
		v.start()
	} else if err := v.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// The model can tell: a read of what was overwritten before it began has no place in any order.
func TestStaleReadIsNotLinearizable(t *testing.T) {
	at := func(in access, out string, from, to int64) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: from, Return: to}
	}
	w1, w2, read := access{"k", "1"}, access{"k", "2"}, access{"k", ""}
	for out, want := range map[string]bool{"1": false, "2": true} {
		ops := []porcupine.Operation{at(w1, "", 0, 1), at(w2, "", 2, 3), at(read, out, 4, 5)}
		if got := porcupine.CheckOperations(register, ops); got != want {
			t.Errorf("read of %s after 2 was written: %t, want %t", out, got, want)
		}
	}
}
