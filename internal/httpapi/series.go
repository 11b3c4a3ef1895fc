package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/control"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/judge"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/rollout"
	"sluice.dev/sluice/internal/store"
)

// Bounds of a history.
const (
	maxPoints     = 2000 // of one lane and of the traffic; beyond it the resolution halves
	maxLanesShown = 3    // values of segments and sources per guardrail, the worst ones
	replayBatch   = 600  // seconds of evidence judged again by one request
	maxReplays    = 8    // rollouts whose replay is kept
)

// Series is the history of a rollout: the stored seconds of evidence judged again by the same code, so each point is the
// verdict that stood at that second.
type Series struct {
	Rollout string       `json:"rollout"`
	Through int64        `json:"through" doc:"last second of evidence in it, unix; 0 when there is none"`
	More    bool         `json:"more" doc:"later evidence is stored: ask again"`
	Stride  int          `json:"stride" doc:"seconds per point of traffic"`
	Entered []StageEntry `json:"entered" doc:"when each stage was committed"`
	Gaps    []SpanBody   `json:"gaps" doc:"seconds without data, both ends included"`
	Traffic []Traffic    `json:"traffic"`
	Lanes   []LaneBody   `json:"lanes" doc:"each guardrail's total, then its worst values"`
}

// StageEntry is the commit of a stage.
type StageEntry struct {
	Stage int       `json:"stage"`
	At    time.Time `json:"at"`
	Seq   uint64    `json:"seq" doc:"of the record"`
}

// SpanBody is a span of seconds.
type SpanBody struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Traffic counts the requests that began in Stride seconds from At on, by the arm that was assigned.
type Traffic struct {
	At       int64  `json:"at"`
	Baseline uint64 `json:"baseline"`
	Exposed  uint64 `json:"exposed"`
}

// LaneBody is the history of one lane. A point stands until the next one.
type LaneBody struct {
	Guardrail string      `json:"guardrail"`
	Dim       string      `json:"dim"`
	Value     string      `json:"value,omitempty"`
	Scale     string      `json:"scale"`
	Stat      string      `json:"stat"`
	Limit     float64     `json:"limit"`
	Of        int         `json:"of,omitempty" doc:"values of this guardrail that are judged, this one included"`
	Points    []LanePoint `json:"points"`
}

// LanePoint is the verdict of one lane from the second At on.
type LanePoint struct {
	At        int64    `json:"at"`
	Stage     int      `json:"stage"`
	Result    string   `json:"result"`
	Judged    bool     `json:"judged" doc:"false: still collecting, the numbers say nothing yet"`
	Baseline  float64  `json:"baseline"`
	Exposed   float64  `json:"exposed"`
	Effect    float64  `json:"effect"`
	Lower     *float64 `json:"lower,omitempty"`
	Upper     *float64 `json:"upper,omitempty"`
	NBaseline uint64   `json:"nBaseline"`
	NExposed  uint64   `json:"nExposed"`
	Breached  int      `json:"breached,omitempty"`
	Looks     int      `json:"looks,omitempty"`
	LogE      float64  `json:"logE,omitempty"`
	Level     float64  `json:"level,omitempty" doc:"log evidence that fails the lane on its own"`
}

func (p LanePoint) same(q LanePoint) bool {
	eq := func(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }
	if !eq(p.Lower, q.Lower) || !eq(p.Upper, q.Upper) {
		return false
	}
	p.At, p.Lower, p.Upper, q.Lower, q.Upper = q.At, nil, nil, nil, nil
	return p == q
}

func (a *API) history() {
	huma.Register(a.huma, op("series", http.MethodGet, "/v1/rollouts/{name}/series", "History of a rollout's verdicts and traffic", "rollouts"), a.getSeries)
	huma.Register(a.huma, op("whoami", http.MethodGet, "/v1/me", "Who the caller is and may do", "server"), a.me)
	huma.Register(a.huma, op("note", http.MethodPost, "/v1/rollouts/{name}/note", "Say why, afterwards", "rollouts"), a.note)
}

type seriesOutput struct{ Body Series }

// seriesInput names a rollout, and a lane that is wanted even if it is none of the worst.
type seriesInput struct {
	NameParam
	Guardrail string `query:"guardrail" maxLength:"253" doc:"with value: a lane that is included whatever it says"`
	Value     string `query:"value" maxLength:"253" doc:"attribute=value of a segment or source"`
}

func (a *API) getSeries(ctx context.Context, in *seriesInput) (*seriesOutput, error) {
	st, err := a.status(ctx, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	s, err := a.series.read(ctx, a.cfg.Store, st, wanted{in.Guardrail, in.Value})
	if err != nil {
		return nil, a.fail(err)
	}
	return &seriesOutput{Body: s}, nil
}

// seriesCache keeps the replays of the rollouts last asked for, so that each second is judged again once.
type seriesCache struct {
	mu      sync.Mutex
	replays []*replay // last used first
}

// wanted names a lane by its guardrail and value; empty for none.
type wanted struct{ guardrail, value string }

func (c *seriesCache) read(ctx context.Context, st store.Store, status rollout.Status, also wanted) (Series, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := status.State.Name
	i := slices.IndexFunc(c.replays, func(r *replay) bool { return r.name == name })
	var r *replay
	if i >= 0 {
		r = c.replays[i]
		c.replays = slices.Delete(c.replays, i, i+1)
	} else {
		r = newReplay(status.Plan)
	}
	c.replays = slices.Insert(c.replays, 0, r)
	c.replays = c.replays[:min(len(c.replays), maxReplays)]
	if err := r.advance(ctx, st); err != nil {
		c.replays = c.replays[1:] // half a second may have been judged: start again next time
		return Series{}, err
	}
	return r.series(also), nil
}

// replay judges a rollout's stored evidence again.
type replay struct {
	name    string
	plan    *plan.Plan
	state   *judge.State
	seq     uint64 // last record read
	entered []StageEntry
	next    int // first of entered that the judge has not entered
	stage   int
	through int64
	more    bool
	gaps    []SpanBody
	stride  int
	traffic []Traffic
	lanes   map[judge.Lane]*LaneBody
}

func newReplay(p *plan.Plan) *replay {
	return &replay{name: p.Name, plan: p, state: judge.New(p.Judge, p.Metrics), stage: -1, stride: 1, lanes: map[judge.Lane]*LaneBody{}}
}

// advance judges what has been stored since. It is not cut off by a reader who leaves: half of it would stay in the cache.
func (r *replay) advance(ctx context.Context, st store.Store) error {
	ctx = context.WithoutCancel(ctx)
	recs, err := st.Records(ctx, store.Query{After: r.seq, Rollout: r.name, Limit: 5000})
	if err != nil {
		return fmt.Errorf("read records of %s: %w", r.name, err)
	}
	for _, rec := range recs {
		r.seq = rec.Seq
		if rec.Kind != "rollout."+string(rollout.Committed) {
			continue
		}
		var s rollout.State
		if err := json.Unmarshal(rec.State, &s); err != nil {
			return fmt.Errorf("state of record %d: %w", rec.Seq, err)
		}
		r.entered = append(r.entered, StageEntry{Stage: s.Stage, At: rec.At, Seq: rec.Seq})
	}
	judge.Remember(r.state, stored(ctx, st, r.name))
	rows, err := st.EvidenceAfter(ctx, r.name, r.through, replayBatch)
	if err != nil {
		return fmt.Errorf("read evidence of %s: %w", r.name, err)
	}
	r.more = len(rows) == replayBatch
	for _, row := range rows {
		e, err := control.Second(row.Body)
		if err != nil {
			return fmt.Errorf("evidence of second %d: %w", row.Second, err)
		}
		r.step(e)
	}
	return nil
}

// stored reads the rollout's seconds for the judge's exact check of an alarm. What cannot be read is left out: the check
// then rests on less, and the live verdict stands in the records anyway.
func stored(ctx context.Context, st store.Store, name string) judge.Stored {
	return func(from, to int64) iter.Seq[evidence.Second] {
		return func(yield func(evidence.Second) bool) {
			for after := from - 1; after < to; {
				rows, err := st.EvidenceAfter(ctx, name, after, replayBatch)
				if err != nil || len(rows) == 0 {
					return
				}
				for _, row := range rows {
					sec, err := control.Second(row.Body)
					if err != nil || row.Second > to || !yield(sec.Second) {
						return
					}
					after = row.Second
				}
			}
		}
	}
}

// step judges one second after what reached the judge before it: stages entered, late counts, boots. A stage is entered
// before the second in which it was committed: that second cannot have been closed before the commit, and earlier ones
// hold none of the stage's exposure.
func (r *replay) step(e engine.Evidence) {
	sec := e.Second
	for r.next < len(r.entered) && r.entered[r.next].At.Unix() <= sec.At {
		if stage, ok := r.plan.StageAt(r.entered[r.next].Stage); ok {
			r.stage = r.entered[r.next].Stage
			judge.Enter(r.state, r.stage, uint32(stage.Exposure), stage.Cohort)
		}
		r.next++
	}
	for _, ev := range e.Events {
		ev.Apply(r.state)
	}
	if r.through != 0 && sec.At > r.through+1 {
		r.gap(r.through+1, sec.At-1)
	}
	r.through = sec.At
	report := judge.Step(r.plan.Judge, r.state, sec)
	if sec.Gap {
		r.gap(sec.At, sec.At)
	}
	for i := range report.Verdicts {
		r.note(&report.Verdicts[i])
	}
	r.count(sec)
}

func (r *replay) gap(from, to int64) {
	if n := len(r.gaps); n > 0 && r.gaps[n-1].To+1 >= from {
		r.gaps[n-1].To = to
		return
	}
	r.gaps = append(r.gaps, SpanBody{From: from, To: to})
}

// count adds the second's requests: those of the built-in error metric, which every component observes.
func (r *replay) count(sec evidence.Second) {
	t := Traffic{At: sec.At}
	for i := range sec.Blocks {
		b := &sec.Blocks[i]
		switch {
		case b.Metric != evidence.MetricError:
		case b.Assigned == evidence.ArmExposed:
			t.Exposed += b.N
		default:
			t.Baseline += b.N
		}
	}
	if n := len(r.traffic); n > 0 && t.At < r.traffic[n-1].At+int64(r.stride) {
		r.traffic[n-1].Baseline += t.Baseline
		r.traffic[n-1].Exposed += t.Exposed
		return
	}
	r.traffic = append(r.traffic, t)
	for len(r.traffic) > maxPoints {
		r.coarsen()
	}
}

// coarsen doubles the seconds that one point of traffic stands for.
func (r *replay) coarsen() {
	r.stride *= 2
	half := r.traffic[:0]
	for _, t := range r.traffic {
		if n := len(half); n > 0 && t.At < half[n-1].At+int64(r.stride) {
			half[n-1].Baseline += t.Baseline
			half[n-1].Exposed += t.Exposed
		} else {
			half = append(half, t)
		}
	}
	r.traffic = half
}

func (r *replay) note(v *judge.Verdict) {
	l := r.lanes[v.Lane]
	if l == nil {
		l = &LaneBody{Guardrail: v.Guardrail, Dim: v.Dim, Value: v.Value}
		r.lanes[v.Lane] = l
	}
	if v.Scale != "" {
		l.Scale, l.Stat, l.Limit = v.Scale, v.Stat, v.Limit
	}
	p := LanePoint{
		At: r.through, Stage: r.stage, Result: string(v.Result), Judged: says(v),
		Baseline: v.Baseline, Exposed: v.Exposed, Effect: v.Effect, Lower: v.Lower, Upper: v.Upper,
		NBaseline: v.NBaseline, NExposed: v.NExposed, Breached: v.Breached, Looks: v.Looks, LogE: v.LogE, Level: v.Level,
	}
	if n := len(l.Points); n > 0 && l.Points[n-1].same(p) {
		return
	}
	l.Points = append(l.Points, p)
	if len(l.Points) > maxPoints {
		l.Points = thin(l.Points)
	}
}

// leastN is how many observations each arm needs before an always-valid lane's estimate is drawn.
const leastN = 15

// says reports whether a verdict's numbers mean something: a full look, or enough observations in both arms.
func says(v *judge.Verdict) bool {
	return v.Looks > 0 || v.Level > 0 && min(v.NBaseline, v.NExposed) >= leastN
}

// thin drops every other point, but none at which the verdict or the stage changes.
func thin(points []LanePoint) []LanePoint {
	out := points[:0]
	var last LanePoint
	for i, p := range points {
		if i == 0 || i%2 == 0 || p.Result != last.Result || p.Stage != last.Stage {
			out = append(out, p)
		}
		last = p
	}
	return out[max(0, len(out)-maxPoints):]
}

func (r *replay) series(also wanted) Series {
	s := Series{
		Rollout: r.name, Through: r.through, More: r.more, Stride: r.stride, Entered: slices.Clone(r.entered),
		Gaps: slices.Clone(r.gaps), Traffic: slices.Clone(r.traffic), Lanes: []LaneBody{},
	}
	if s.Entered == nil {
		s.Entered = []StageEntry{}
	}
	if s.Gaps == nil {
		s.Gaps = []SpanBody{}
	}
	if s.Traffic == nil {
		s.Traffic = []Traffic{}
	}
	for i := range r.plan.Judge.Guardrails {
		s.Lanes = append(s.Lanes, r.shown(r.plan.Judge.Guardrails[i].Name, also)...)
	}
	return s
}

// shown returns a guardrail's total, its worst values and the one that is wanted.
func (r *replay) shown(guardrail string, also wanted) []LaneBody {
	var out, values []LaneBody
	for key, l := range r.lanes {
		if key.Guardrail != guardrail {
			continue
		}
		c := *l
		c.Points = slices.Clone(l.Points)
		if key.Dim == evidence.DimTotal {
			out = append(out, c)
		} else {
			values = append(values, c)
		}
	}
	slices.SortFunc(values, func(a, b LaneBody) int {
		return cmp.Or(-cmp.Compare(badness(a), badness(b)), cmp.Compare(a.Value, b.Value))
	})
	for i, l := range values {
		if i < maxLanesShown || also == (wanted{guardrail, l.Value}) {
			l.Of = len(values)
			out = append(out, l)
		}
	}
	return out
}

// badness orders lanes: those that fail, then those that breached, then by how much of the limit is used up.
func badness(l LaneBody) float64 {
	p := l.Points[len(l.Points)-1]
	switch {
	case p.Result == string(judge.Fail):
		return 1e9
	case p.Judged && p.Level > 0:
		return 1e3 + p.LogE
	case !p.Judged || l.Limit == 0:
		return -1e9 + float64(min(p.NExposed, p.NBaseline))
	}
	return 1e6*float64(p.Breached) + p.Effect/l.Limit
}
