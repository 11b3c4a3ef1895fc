package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sluice.dev/sdk/evidence"
)

// Dose is what one guardrail showed at one exposure: the arms over all seconds in which both were there.
type Dose struct {
	Exposure  float64 `json:"exposure"` // share of the cohort
	NBaseline uint64  `json:"nBaseline"`
	NExposed  uint64  `json:"nExposed"`
	Baseline  float64 `json:"baseline"`
	Exposed   float64 `json:"exposed"`
	Effect    float64 `json:"effect"` // positive is worse; on the scale of the response
	SE        float64 `json:"se"`     // standard error of the effect, for independent observations
}

// Forecast is the effect expected at an exposure not reached yet, with an interval of about 95 %.
type Forecast struct {
	Exposure float64 `json:"exposure"`
	Effect   float64 `json:"effect"`
	Lower    float64 `json:"lower"`
	Upper    float64 `json:"upper"`
}

// Response is how a guardrail's effect goes with exposure. It explains and forecasts; it decides nothing.
type Response struct {
	Guardrail string    `json:"guardrail"`
	Scale     string    `json:"scale"` // absolute: difference of shares; relative: ratio of geometric means less 1
	Doses     []Dose    `json:"doses"` // ascending exposure
	Slope     float64   `json:"slope"` // of the effect for the whole cohort, from two doses on
	SlopeSE   float64   `json:"slopeSE"`
	Next      *Forecast `json:"next,omitempty"`
	Text      string    `json:"text"`
}

// Responses fits each guardrail's effect against exposure over stored seconds and forecasts it at the exposure next, in parts
// of 100,000 (0: no forecast). Only blocks of the cohort are used. The line is fitted by least squares with weights 1/SE^2.
// Guardrails without two doses have no slope and no forecast; those without any are left out, and so are drift and flips.
func Responses(cfg Config, metrics map[string]evidence.Metric, secs []evidence.Second, cohort string, next uint32) []Response {
	out := []Response{}
	for i := range cfg.Guardrails {
		g := &cfg.Guardrails[i]
		if g.drift() || g.flips() {
			continue
		}
		r := Response{Guardrail: g.Name, Scale: scaleAbsolute, Doses: dosesOf(g, metrics[g.Metric], secs, cohort)}
		if g.usesHist() {
			r.Scale = scaleRelative
		}
		if len(r.Doses) == 0 {
			continue
		}
		r.fit(float64(next) / evidence.MaxExposure)
		r.Text = r.say()
		out = append(out, r)
	}
	return out
}

func dosesOf(g *Guardrail, m evidence.Metric, secs []evidence.Second, cohort string) []Dose {
	byExposure := map[uint32]*[2]sums{}
	for i := range secs {
		for exposure, arms := range armsOf(g, m, &secs[i], cohort) {
			if arms[baseline].N == 0 || arms[exposed].N == 0 {
				continue
			}
			if byExposure[exposure] == nil {
				byExposure[exposure] = &[2]sums{}
			}
			for arm := range arms {
				byExposure[exposure][arm].addSums(&arms[arm])
			}
		}
	}
	var out []Dose
	for exposure, arms := range byExposure {
		if d, ok := doseOf(g, m, arms); ok {
			d.Exposure = float64(exposure) / evidence.MaxExposure
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Dose) int { return cmp.Compare(a.Exposure, b.Exposure) })
	return out
}

// armsOf adds up one second's counts of the guardrail by exposure.
func armsOf(g *Guardrail, m evidence.Metric, sec *evidence.Second, cohort string) map[uint32]*[2]sums {
	out := map[uint32]*[2]sums{}
	for i := range sec.Blocks {
		b := &sec.Blocks[i]
		if b.Metric != g.Metric || b.Cohort != cohort || b.Lease == evidence.LeaseLapsed {
			continue
		}
		if out[b.Exposure] == nil {
			out[b.Exposure] = &[2]sums{}
		}
		open := openOf(g, m, b)
		out[b.Exposure][armOf(b.Assigned)].addSums(&sums{N: b.N + open, Bad: b.Bad + open, Hist: b.Hist})
	}
	return out
}

func doseOf(g *Guardrail, m evidence.Metric, arms *[2]sums) (Dose, bool) {
	d := Dose{NBaseline: arms[baseline].N, NExposed: arms[exposed].N}
	if !g.usesHist() {
		var variance float64
		d.Baseline, variance = shareOf(&arms[baseline])
		d.Exposed, d.SE = shareOf(&arms[exposed])
		d.Effect, d.SE = d.Exposed-d.Baseline, math.Sqrt(variance+d.SE)
		return d, true
	}
	meanC, varC, okC := logMean(arms[baseline].Hist)
	meanT, varT, okT := logMean(arms[exposed].Hist)
	if !okC || !okT {
		return d, false
	}
	d.Baseline, d.Exposed = math.Exp(meanC), math.Exp(meanT)
	d.Effect = min(d.Exposed/d.Baseline-1, maxEffect)
	d.SE = (1 + d.Effect) * math.Sqrt(varC+varT)
	if lowerIsWorse(g, m) {
		d.Effect = -d.Effect
	}
	return d, true
}

// shareOf returns the share of bad observations and the variance of it, with half a one added so that none is certain.
func shareOf(s *sums) (share, variance float64) {
	n := float64(s.N)
	p := (float64(s.Bad) + 0.5) / (n + 1)
	return float64(s.Bad) / n, p * (1 - p) / n
}

// logMean returns the mean of the logarithms and its variance; values at or below 0 are left out.
func logMean(h *evidence.Hist) (mean, variance float64, ok bool) {
	if h == nil {
		return 0, 0, false
	}
	var n, sum, squares float64
	for bin, c := range h.All() {
		if bin == evidence.ZeroBin {
			continue
		}
		x := math.Log(evidence.Middle(h.Scale, bin))
		n, sum, squares = n+float64(c), sum+x*float64(c), squares+x*x*float64(c)
	}
	if n < 2 {
		return 0, 0, false
	}
	mean = sum / n
	return mean, max(squares/n-mean*mean, 1e-12) / n, true
}

// fit puts a weighted line through the doses.
func (r *Response) fit(next float64) {
	if len(r.Doses) < 2 {
		return
	}
	var w, x, y, xx, xy float64
	for _, d := range r.Doses {
		weight := 1 / (d.SE * d.SE)
		w, x, y = w+weight, x+weight*d.Exposure, y+weight*d.Effect
		xx, xy = xx+weight*d.Exposure*d.Exposure, xy+weight*d.Exposure*d.Effect
	}
	spread := xx - x*x/w
	if !(spread > 0) {
		return
	}
	r.Slope, r.SlopeSE = (xy-x*y/w)/spread, math.Sqrt(1/spread)
	if next <= r.Doses[len(r.Doses)-1].Exposure {
		return
	}
	off := next - x/w
	at := y/w + r.Slope*off
	half := 1.96 * math.Sqrt(1/w+off*off/spread)
	r.Next = &Forecast{Exposure: next, Effect: at, Lower: at - half, Upper: at + half}
}

// say puts the response into a sentence.
func (r *Response) say() string {
	v := Verdict{Scale: r.Scale}
	switch {
	case len(r.Doses) < 2:
		return fmt.Sprintf("%s: %s at %.4g %% exposure; one exposure shows no trend", r.Guardrail, v.change(r.Doses[0].Effect, 1), 100*r.Doses[0].Exposure)
	case math.Abs(r.Slope) < 2.58*r.SlopeSE:
		text := fmt.Sprintf("%s: no trend with exposure over %d exposures", r.Guardrail, len(r.Doses))
		return text + r.forecast(v)
	}
	word := "worsens"
	if r.Slope < 0 {
		word = "improves"
	}
	return fmt.Sprintf("%s: %s with exposure, %s for each 10 %% more", r.Guardrail, word, v.change(r.Slope/10, 2)) + r.forecast(v)
}

func (r *Response) forecast(v Verdict) string {
	if r.Next == nil {
		return ""
	}
	return fmt.Sprintf("; at %.4g %% expected %s (%s to %s)", 100*r.Next.Exposure, v.change(r.Next.Effect, 1), v.change(r.Next.Lower, 1), v.change(r.Next.Upper, 1))
}
