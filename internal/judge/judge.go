// Package judge turns evidence into verdicts. It is pure: Step takes the configuration, the state so far and one closed
// second of evidence, and returns the next state and a verdict per guardrail lane. The same Step judges live rollouts,
// rehearsals, simulations and replays, so a stored verdict can be computed again bit for bit.
//
// An Intake collects what the members report and closes it second by second; each closed second goes through Step, and
// Enter marks the stages:
//
//	for _, sec := range intake.Close(now) {
//		report := judge.Step(cfg, state, sec) // store sec before acting on the report
//	}
//	hard := judge.Open(cfg, state, intake.OpenBlocks(), now)
//
// What else the engine knows goes in between the seconds: Provider, NoteLate, NoteBoot. Remember gives the judge access to the
// stored seconds, from which an alarm is computed again without single groups of units.
//
// A guardrail is judged in lanes: its total and, where asked, each value of the declared segments and sources. How a lane
// judges is its rule; a further rule is a type that implements rule, a field of lane that holds its memory, and a case
// in newLane and lane.rule. What is common to all (strata, arms, silence, hard trips, providers, the order of the report)
// lies outside the rules.
package judge

import "time"

// Result is one of the five verdicts.
type Result string

// The five verdicts. A missing or late datum is never a pass; an error of a provider is never anything but error.
const (
	Pass         Result = "pass"
	Fail         Result = "fail"
	Inconclusive Result = "inconclusive"
	NoData       Result = "no-data"
	Error        Result = "error"
)

// Action is what a breach asks for.
type Action string

// Actions of onBreach, onNoData and onError.
const (
	ActRollback Action = "rollback"
	ActPause    Action = "pause"
	ActHold     Action = "hold" // do not advance, change nothing else
)

// TestKind names the rule of a guardrail.
type TestKind string

// Rules. Threshold and Hard are not error-bounded and say so; AlwaysValid is bounded by alpha over the whole rollout.
const (
	Threshold   TestKind = "threshold"
	AlwaysValid TestKind = "always-valid"
)

// Class of the evidence behind a guardrail (contract 4).
type Class string

// ClassE is exact evidence (SDK, gateway, events with unit); ClassH is heuristic (scraped or queried series).
const (
	ClassE Class = "E"
	ClassH Class = "H"
)

// Margin is how much worse than baseline is still tolerated: relative (0.2 = 20 %) or absolute (in the metric's unit; a
// share for proportions). Exactly one is set for comparing tests.
type Margin struct {
	Relative float64 `json:"relative,omitempty"`
	Absolute float64 `json:"absolute,omitempty"`
}

// Hard is a trip that needs no comparison: the exposed arm's share (or value) over the last For, taken together, is above
// Above. It needs ten observations and an arm that was first seen at least For ago.
type Hard struct {
	Above float64       `json:"above"`
	For   time.Duration `json:"for"`
}

// Blips tolerates Allow bad windows among the last Of: a lane fails when more than Allow of its last Of full looks
// breached. The zero value is 2 of 3, that is, three bad looks in a row fail; Allow counts as at most Of-1. A pass needs a
// full window without any breach.
type Blips struct {
	Allow int `json:"allow"`
	Of    int `json:"of"`
}

// Guardrail is one judged criterion, compiled from the spec.
type Guardrail struct {
	Name        string        `json:"name"`
	Role        string        `json:"role"` // guardrail, success or signal
	Metric      string        `json:"metric"`
	Class       Class         `json:"class"`
	Stat        string        `json:"stat"` // proportion, mean, distribution, p99, drift, flips
	Test        TestKind      `json:"test"`
	WorseBy     Margin        `json:"worseBy"`          // limit against the concurrent baseline arm
	Max         *float64      `json:"max,omitempty"`    // absolute limit on the exposed arm (threshold), on the index of drift, on the share of flips
	Detect      Margin        `json:"detect"`           // smallest harm a powered pass must be able to see; zero means 3x WorseBy
	Window      time.Duration `json:"window,omitempty"` // threshold: length of one look; 0 means 5 s
	MinN        uint64        `json:"minN,omitempty"`   // threshold: observations per arm and look; 0 means 20, for p90 30, p95 60, p99 300
	Blips       Blips         `json:"blips"`
	Hard        *Hard         `json:"hard,omitempty"`
	Weight      float64       `json:"weight"`
	Segments    bool          `json:"segments"` // also judged per declared segment and source value
	OnBreach    Action        `json:"onBreach"`
	OnNoData    Action        `json:"onNoData"`
	OnError     Action        `json:"onError"`
	NoDataAfter time.Duration `json:"noDataAfter"`

	// Values lists the values judged by themselves; others then have no lanes. Without it the list is open.
	Values []Value `json:"values,omitempty"`
}

// Value is one value of a declared segment or source, as lanes name it.
type Value struct {
	Dim   string `json:"dim"`   // "segment" or "source"
	Value string `json:"value"` // "<attribute>=<value>"
}

// Lane is one cell of a guardrail: Dim "total", "segment" or "source", and Value "" or "<attribute>=<value>".
type Lane struct {
	Guardrail string `json:"guardrail"`
	Dim       string `json:"dim"`
	Value     string `json:"value,omitempty"`
}

// Verdict is the judgement of one lane after one second of evidence, with everything needed to say why.
type Verdict struct {
	Lane
	Result    Result   `json:"result"`
	Rule      string   `json:"rule"`             // e.g. "threshold 3 of 3 looks", "hard", "always-valid"
	Action    Action   `json:"action,omitempty"` // set when Result asks for one
	Baseline  float64  `json:"baseline"`         // estimate of the baseline arm, metric's unit
	Exposed   float64  `json:"exposed"`          // estimate of the exposed arm
	Effect    float64  `json:"effect"`           // difference on the scale of Limit, positive is worse
	Lower     *float64 `json:"lower,omitempty"`  // interval that belongs to the deciding rule, if it has one
	Upper     *float64 `json:"upper,omitempty"`
	Limit     float64  `json:"limit"`
	Scale     string   `json:"scale"` // "relative", "absolute" or "value": the scale of Effect and Limit
	NBaseline uint64   `json:"nBaseline"`
	NExposed  uint64   `json:"nExposed"`
	From      int64    `json:"from"` // window, unix seconds of request start, inclusive
	To        int64    `json:"to"`
	Evidence  string   `json:"evidence,omitempty"` // digest of the evidence of the window
	Bounded   bool     `json:"bounded"`            // true: error probability bounded by alpha; false: "threshold, not error-bounded"
	Powered   bool     `json:"powered"`            // a pass that could have seen the declared harm
	LogE      float64  `json:"logE,omitempty"`     // natural log of the evidence against "not worse than the margin"
	Detail    string   `json:"detail,omitempty"`

	Stat     string        `json:"stat,omitempty"`     // of the guardrail: the unit of the numbers
	Window   time.Duration `json:"window,omitempty"`   // threshold: length of one look; hard: its span
	Breached int           `json:"breached,omitempty"` // threshold: looks that breached, of Looks full ones, of Of asked for
	Looks    int           `json:"looks,omitempty"`
	Of       int           `json:"of,omitempty"`

	// Of always-valid lanes: the log evidence that fails the lane on its own, ln(1/(weight*alpha)); the probability, over the
	// whole rollout and all its always-valid guardrails, of failing a harmless one; the over-dispersion by which LogE is
	// tempered already; and the smallest harm that would have failed the lane by now with probability 0.8.
	Level      float64  `json:"level,omitempty"`
	Alpha      float64  `json:"alpha,omitempty"`
	Phi        float64  `json:"phi,omitempty"`
	Detectable *float64 `json:"detectable,omitempty"`
}

// Scales of Effect and Limit.
const (
	scaleRelative = "relative" // share of the baseline's value
	scaleAbsolute = "absolute" // in the metric's unit
	scaleValue    = "value"    // the exposed value itself
)

// Config is what a rollout is judged by. It is part of the plan and never changes while the rollout runs.
type Config struct {
	Rollout    string      `json:"rollout"`
	Alpha      float64     `json:"alpha"` // false rollbacks per rollout, over all always-valid guardrails
	Guardrails []Guardrail `json:"guardrails"`
	OnSRM      Action      `json:"onSRM,omitempty"`  // units on an arm that their hash does not give; "" means pause
	PowerFrom  float64     `json:"powerFrom"`        // exposure share of a cohort from which a pass must be powered; default 0.25
	Bakes      int         `json:"bakes"`            // seconds of all declared maximum bakes together: N of the restarts
	Stages     int         `json:"stages,omitempty"` // declared stages, each begins a process of its own; 0 means 1
}

// Report is what one Step says.
type Report struct {
	Verdicts []Verdict `json:"verdicts"` // one per lane with data or with an opinion, guardrail order, total first
	Action   Action    `json:"action"`   // strongest action asked for by any lane: rollback > pause > hold > ""
	Decider  *Verdict  `json:"decider,omitempty"`
	Result   Result    `json:"result"`  // of the stage so far: Pass means "may advance once the bake is over"
	Powered  bool      `json:"powered"` // the pass is powered

	// Clean is the lower grade of a pass: no lane has shown a breach since the stage began, and every mandatory guardrail
	// has seen both arms in it. It is enough to leave a stage below PowerFrom, where harm is capped by exposure.
	Clean bool `json:"clean"`
}
