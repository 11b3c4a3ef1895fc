package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
)

// Rules of verdicts that no lane's own rule gives.
const (
	ruleHard     = "hard"
	ruleNoData   = "no-data"
	ruleProvider = "provider"
)

// report says what the state shows after its last second.
func (s *State) report(cfg Config) Report {
	var rep Report
	pass, powered, clean, mandatory := true, true, true, 0
	for i, r := range s.Rails {
		g := &cfg.Guardrails[i]
		for j, l := range r.Lanes {
			v := r.verdict(s, g, l)
			rep.Verdicts = append(rep.Verdicts, v)
			rep.note(g, v)
			clean = clean && v.Breached == 0 && (v.Result == Pass || v.Result == Inconclusive) && l.judged() && s.unreliable(g.Metric) == ""
			if j == 0 && g.mandatory() {
				mandatory++
				clean = clean && g.limited() && (g.flips() || r.Arms[baseline].Seen && r.Arms[exposed].Seen)
				pass = pass && v.Result == Pass
				powered = powered && v.Powered
			}
		}
	}
	for _, v := range s.watched(cfg) {
		rep.Verdicts = append(rep.Verdicts, v)
		rep.note(&Guardrail{}, v)
		clean = false
	}
	if rep.Result == "" {
		rep.Result = Inconclusive
		if pass && mandatory > 0 {
			rep.Result, rep.Powered = Pass, powered
		}
	}
	rep.Clean = clean && mandatory > 0
	rep.decide()
	if d := rep.Decider; d != nil {
		d.Evidence = s.evidence(d.From, d.To)
		if d.Rule == string(AlwaysValid) {
			d.From, d.Evidence = s.Chain.From, s.Chain.Digest
		}
		i := slices.IndexFunc(rep.Verdicts, func(v Verdict) bool { return v.Lane == d.Lane })
		rep.Verdicts[i].From, rep.Verdicts[i].Evidence = d.From, d.Evidence
	}
	return rep
}

// evidence returns the digest of the window's evidence, "" when it began before what is remembered.
func (s *State) evidence(from, to int64) string {
	if from <= s.Pruned || to == 0 {
		return ""
	}
	return windowDigest(s.Digests, from, to)
}

// mandatory reports whether a stage cannot pass without the guardrail.
func (g *Guardrail) mandatory() bool { return g.Role == "" || g.Role == "guardrail" }

// verdict judges one lane. For the total a hard trip goes before the lane's own rule, and a breach before the provider's
// error and missing data: what was seen stays seen.
func (r *rail) verdict(s *State, g *Guardrail, l *lane) Verdict {
	m := s.Metrics[g.Metric]
	v := Verdict{Lane: Lane{Guardrail: g.Name, Dim: l.Dim, Value: l.Value}, Result: Inconclusive, Stat: g.Stat}
	if e := l.rule(); e != nil {
		e.verdict(g, m, s.Clock, &v)
	} else {
		v.Rule, v.Detail = string(g.Test), fmt.Sprintf("this version has no rule for the test %q", g.Test)
	}
	if why := s.unreliable(g.Metric); why != "" && l.Always != nil {
		v.Result, v.Powered, v.Detail = Inconclusive, false, why
	} else if s.Alarm != nil && l.Always != nil {
		s.Alarm.apply(&v)
	}
	if l.Dim == evidence.DimTotal {
		r.total(s, g, m, &v)
	}
	v.Action = g.action(v.Result)
	return v
}

func (r *rail) total(s *State, g *Guardrail, m evidence.Metric, v *Verdict) {
	if r.Hard != nil {
		if value, n, tripped := r.Hard.trip(g, m, s.At, nil); tripped {
			*v = hardVerdict(g, s.At, value, n)
			return
		}
	}
	if v.Result == Fail {
		return
	}
	if r.Fault != "" {
		v.Result, v.Rule, v.Detail, v.Powered = Error, ruleProvider, r.Fault, false
		return
	}
	if silent, why := r.silence(s, g); why != "" {
		v.Result, v.Rule, v.Detail, v.Powered = NoData, ruleNoData, why, false
		v.From, v.To = s.At-silent+1, s.At
		return
	}
	if r.Overflow > 0 && v.Detail == "" {
		v.Detail = fmt.Sprintf("%d cells of further values were not judged: more than %d lanes", r.Overflow, maxLanes)
	}
}

func hardVerdict(g *Guardrail, end int64, value float64, n uint64) Verdict {
	return Verdict{
		Lane: Lane{Guardrail: g.Name, Dim: evidence.DimTotal}, Result: Fail, Rule: ruleHard, Action: g.action(Fail), Stat: g.Stat,
		Exposed: value, Effect: value, Limit: g.Hard.Above, Scale: scaleValue, NExposed: n,
		From: end - g.hardSeconds() + 1, To: end, Window: time.Duration(g.hardSeconds()) * time.Second,
	}
}

// silence returns for how many seconds which arm has been silent, and why that is missing data: "" when it is not.
func (r *rail) silence(s *State, g *Guardrail) (silent int64, why string) {
	on := s.Exposure > 0
	if s.Stage < 0 {
		on = r.Arms[exposed].Seen
	}
	if !on {
		return 0, ""
	}
	after := g.NoDataAfter
	if after <= 0 {
		after = defaultNoDataAfter
	}
	if silent = r.Arms[exposed].Silent; silent >= max(1, int64(after/time.Second)) {
		return silent, fmt.Sprintf("no observation of the exposed arm for %d s", silent)
	}
	for arm, name := range []string{evidence.ArmBaseline, evidence.ArmExposed} {
		if w := &r.Arms[arm]; w.gone() {
			return w.Silent, fmt.Sprintf("the %s arm is gone: no observation for %d s, in which its own past promised at least %d", name, w.Silent, promised)
		}
	}
	return 0, ""
}

// action is what a result asks for. Where the specification says nothing, a heuristic guardrail pauses, an exact one
// rolls back, and what is no guardrail only holds the stage.
func (g *Guardrail) action(r Result) Action {
	switch r {
	case Fail:
		switch {
		case g.OnBreach != "":
			return g.OnBreach
		case !g.mandatory():
			return ActHold
		case g.Class == ClassH:
			return ActPause
		}
		return ActRollback
	case NoData:
		if g.OnNoData == "" && g.mandatory() {
			return ActPause
		}
		return g.OnNoData
	case Error:
		if g.OnError == "" && g.mandatory() {
			return ActPause
		}
		return g.OnError
	}
	return ""
}

// note lets a verdict count for the whole: the worst result wins, and missing data or a provider's error counts for
// mandatory guardrails only.
func (rep *Report) note(g *Guardrail, v Verdict) {
	if v.Result != Fail && !g.mandatory() {
		return
	}
	if v.Result.weight() > rep.Result.weight() {
		rep.Result = v.Result
	}
}

// weight orders the results that stop a stage.
func (r Result) weight() int { return 1 + slices.Index([]Result{NoData, Error, Fail}, r) }

func strength(a Action) int {
	return 1 + slices.Index([]Action{ActHold, ActPause, ActRollback}, a)
}

// decide names the verdict that asks for the strongest action: among those a breach before an error before missing data,
// then the one furthest over its limit, then the total before its parts, then the first.
func (rep *Report) decide() {
	best := -1
	for i := range rep.Verdicts {
		if rep.Verdicts[i].Action != "" && (best < 0 || stronger(&rep.Verdicts[i], &rep.Verdicts[best]) > 0) {
			best = i
		}
	}
	if best >= 0 {
		d := rep.Verdicts[best]
		rep.Decider, rep.Action = &d, d.Action
	}
}

func stronger(a, b *Verdict) int {
	total := func(v *Verdict) int {
		if v.Dim == evidence.DimTotal {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(strength(a.Action), strength(b.Action)), cmp.Compare(a.Result.weight(), b.Result.weight()),
		cmp.Compare(beyond(a), beyond(b)), cmp.Compare(excess(a), excess(b)), cmp.Compare(total(a), total(b)),
	)
}

// beyond is how far the evidence of a failing always-valid lane is over what fails it alone. Of all breaches those with a
// bounded error come first: they say most.
func beyond(v *Verdict) float64 {
	if v.Result != Fail || v.Rule != string(AlwaysValid) {
		return math.Inf(-1)
	}
	return v.LogE - v.Level
}

// excess is how many times the limit the effect is.
func excess(v *Verdict) float64 {
	if v.Result != Fail {
		return 0
	}
	if v.Limit <= 0 {
		return maxEffect
	}
	return v.Effect / v.Limit
}

// Open looks for hard trips in the seconds that have not closed, on top of the judged ones: it reports only guardrails
// that trip, asks for nothing else and does not change s. openBlocks are what Intake.OpenBlocks returns; blocks of judged
// seconds, of seconds after now and without a lease are left out. Evidence is the digest of the open blocks: they must
// be stored with a decision taken from them, to recompute it.
func Open(cfg Config, s *State, openBlocks []evidence.Block, now time.Time) Report {
	s.mustFit(cfg)
	rep := Report{Result: Inconclusive}
	for i, r := range s.Rails {
		g := &cfg.Guardrails[i]
		if r.Hard == nil {
			continue
		}
		open := openSeconds(g, s.At, now.Unix(), openBlocks)
		if len(open) == 0 {
			continue
		}
		end := open[len(open)-1].At
		if value, n, tripped := r.Hard.trip(g, s.Metrics[g.Metric], end, open); tripped {
			rep.Verdicts = append(rep.Verdicts, hardVerdict(g, end, value, n))
			rep.Result = Fail
		}
	}
	rep.decide()
	if rep.Decider != nil {
		rep.Decider.Evidence = evidence.SecondDigest(&evidence.Second{Blocks: openBlocks})
	}
	return rep
}

// openSeconds adds up the exposed arm's counts by second. Requests still open are not bad yet.
func openSeconds(g *Guardrail, after, now int64, blocks []evidence.Block) []hardSecond {
	var out []hardSecond
	for i := range blocks {
		b := &blocks[i]
		if b.Metric != g.Metric || b.Assigned != evidence.ArmExposed || b.Lease == evidence.LeaseLapsed || b.Second <= after || b.Second > now || b.N == 0 {
			continue
		}
		j, ok := slices.BinarySearchFunc(out, b.Second, func(e hardSecond, at int64) int { return cmp.Compare(e.At, at) })
		if !ok {
			out = slices.Insert(out, j, hardSecond{At: b.Second})
		}
		a := armSecond{N: b.N, Bad: b.Bad, Parts: []part{{Hist: b.Hist}}}
		out[j].add(&a, g.usesHist())
	}
	return out
}
