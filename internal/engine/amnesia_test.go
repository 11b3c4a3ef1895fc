package engine

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sdk/slp"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
)

// TestAmnesiaHoldsAllButRollbacks (S20, G5).
func TestAmnesiaHoldsAllButRollbacks(t *testing.T) {
	r := exposed(t)
	head := r.env().Number
	r.must(Forgotten{Env: prod, Lost: Lost{Instance: "checkout-9", Epoch: r.e.Epoch() + 3, Rev: head}}) // it knows no more than we do
	if r.e.Amnesia(prod) != nil {
		t.Fatal("a head that is known is held for forgotten")
	}
	r.must(Forgotten{Env: prod, Lost: Lost{Instance: "checkout-9", Epoch: r.e.Epoch() + 3, Rev: head + 50}})
	r.must(Forgotten{Env: prod, Lost: Lost{Instance: "checkout-8", Epoch: 1, Rev: head + 40}})
	if l := r.e.Amnesia(prod); l == nil || l.Rev != head+50 || l.Instance != "checkout-9" {
		t.Fatalf("amnesia %+v", l)
	}
	if v := r.view(); len(v.Leases) != 0 {
		t.Errorf("leases %v in amnesia", v.Leases)
	}
	edit, err := Seed(prod, "token:ann", boolFlag("other"))
	if err != nil {
		t.Fatal(err)
	}
	edit.Put["flag/other"] = json.RawMessage(`{"key":"other","type":"boolean","default":"v15","variants":{"v14":false,"v15":true}}`)
	second := shortPlan(t, func(p *plan.Plan) { p.Name, p.Flag.Key, p.Bundle = "other-v15", "other", nil })
	for _, ev := range []Event{
		edit, Apply{Plan: second, Actor: "token:ann"}, Command{Rollout: name, Kind: rollout.PauseIt, Actor: "token:ann"},
		Command{Rollout: name, Kind: rollout.Promote, Actor: "token:ann", Reason: "x"},
	} {
		if err := r.do(ev); code(err) != "amnesia" {
			t.Errorf("%T in amnesia: %v", ev, err)
		}
	}
	before := r.state()
	r.advance(30 * time.Second)
	if s := r.state(); s != before || r.env().Number != head {
		t.Errorf("something moved in amnesia: from %+v to %+v", before, s)
	}
	r.must(Command{Rollout: name, Kind: rollout.Rollback, Actor: "token:bo"})
	if s := r.state(); s.Phase != rollout.RollingBack && s.Phase != rollout.RolledBack {
		t.Errorf("a rollback in amnesia led to %s", s.Phase)
	}
}

func TestAdopt(t *testing.T) {
	r := exposed(t)
	if err := r.do(Adopt{Env: prod, Actor: "token:ann"}); code(err) != "amnesia.none" {
		t.Errorf("nothing is forgotten: %v", err)
	}
	seen := r.env().Number + 50
	r.must(Forgotten{Env: prod, Lost: Lost{Instance: "checkout-9", Epoch: r.e.Epoch() + 3, Rev: seen}})
	o := r.e.Step(r.now, Adopt{Env: prod, Actor: "token:ann", Reason: "the newer store is lost"})
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	if first := o.Revisions[0]; first.Number != seen+1 {
		t.Errorf("adopted under %d, members have seen %d", first.Number, seen)
	} else {
		for scope, s := range first.Scopes {
			if s.Rev != seen+1 || s.Leased && first.Floors[scope] != seen+1 {
				t.Errorf("scope %s: revision %d, floor %d", scope, s.Rev, first.Floors[scope])
			}
		}
	}
	if s := r.state(); s.Phase != rollout.RollingBack || s.Exposure != 0 {
		t.Errorf("what was exposed is %s", s.Phase)
	}
	elected := false
	for _, f := range o.Effects {
		elected = elected || f.Kind == Reelect && f.Epoch == r.e.Epoch()+3
	}
	if !elected || r.e.Amnesia(prod) != nil {
		t.Errorf("reelect %v, amnesia %+v", elected, r.e.Amnesia(prod))
	}
}

// TestQuarantineIsOfOneMember: a claim without proof keeps out its member, is written down once and is bounded.
func TestQuarantineIsOfOneMember(t *testing.T) {
	r := started(t)
	claim := func(i int) Claimed {
		return Claimed{Env: prod, Hello: slp.Hello{Instance: fmt.Sprint("liar-", i), Boot: fmt.Sprint("b", i), Component: "checkout", Class: slp.ClassReader, Seen: slp.Seen{Rev: 999}}}
	}
	before := len(r.disk.records)
	r.must(claim(1))
	r.must(claim(1))
	if n := len(r.disk.records) - before; n != 1 {
		t.Errorf("%d records of one liar", n)
	}
	for i := range 2 * maxQuarantined {
		r.must(claim(i))
	}
	if n := len(r.disk.records) - before; n != maxQuarantined {
		t.Errorf("%d records, want at most %d", n, maxQuarantined)
	}
	if r.e.Amnesia(prod) != nil {
		t.Error("a claim without proof holds everybody")
	}
	find := func() string {
		list, err := r.e.Components(prod)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c.Instance == "liar-1" {
				return c.Status
			}
		}
		return ""
	}
	if got := find(); got != "quarantined" {
		t.Errorf("it is listed as %q", got)
	}
	h := claim(1).Hello
	h.Seen = slp.Seen{}
	r.must(Join{Env: prod, Hello: h})
	if got := find(); got != "live" {
		t.Errorf("after a Hello that is right it is %q", got)
	}
}
