package judge

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sdk/evidence"
)

// Sentence says a verdict in one plain sentence without a full stop, the same everywhere: "off-by-30 for origin=LAX:
// 58.1 % exposed against 14.0 % baseline, +44.1 pp, limit +25 pp, 3 of 3 looks of 8 s (n 43/210); threshold, not
// error-bounded". n is exposed/baseline.
func Sentence(v Verdict) string {
	name := v.Guardrail
	if v.Dim != evidence.DimTotal && v.Value != "" {
		name += " for " + v.Value
	}
	switch v.Result {
	case NoData:
		return name + ": no data, " + v.Detail
	case Error:
		return name + ": the provider answered with an error: " + v.Detail
	}
	if v.Rule == ruleHard {
		return fmt.Sprintf("%s: %s exposed over %s, hard limit %s (n %d); needs no comparison, not error-bounded",
			name, v.amount(v.Exposed), short(v.Window), v.amount(v.Limit), v.NExposed)
	}
	switch v.Rule {
	case RuleLost:
		return fmt.Sprintf("%s: %s; a count, not error-bounded by the rollout's alpha", strings.TrimSpace(v.Guardrail+" "+v.Value), v.Detail)
	case string(AlwaysValid), ruleSilence:
		return name + ": " + v.always()
	}
	return name + ": " + v.body() + v.bound()
}

// always says an always-valid verdict: what was seen, what is proved by now, and how sure that is.
func (v Verdict) always() string {
	if v.Stat == statFlips {
		return v.alwaysBound(v.flipsSaid())
	}
	if v.NBaseline == 0 || v.NExposed == 0 {
		return fmt.Sprintf("%s (n %d/%d so far)", cmp.Or(v.Detail, "collecting"), v.NExposed, v.NBaseline)
	}
	seen := fmt.Sprintf("%s exposed against %s baseline", v.amount(v.Exposed), v.amount(v.Baseline))
	if v.Stat == statDistribution {
		seen = fmt.Sprintf("%s at median exposed against %s baseline", v.amount(v.Exposed), v.amount(v.Baseline))
	}
	if v.Stat == statDrift {
		return v.alwaysBound(v.driftSaid())
	}
	way := v.way()
	switch limit := v.change(way*v.Limit, -1); {
	case v.Lower != nil && v.Result == Fail:
		seen += fmt.Sprintf(" (worse by at least %s, limit %s)", v.change(way**v.Lower, -1), limit)
	case v.Upper != nil && v.Result != Fail:
		seen += fmt.Sprintf(" (worse by less than %s, limit %s)", v.change(way**v.Upper, -1), limit)
	default:
		seen += fmt.Sprintf(" (%s, limit %s)", v.change(way*v.Effect, 1), limit)
	}
	return v.alwaysBound(seen)
}

// alwaysBound adds to what was seen what that means, how sure it is and from how much.
func (v Verdict) alwaysBound(seen string) string {
	if v.Detail != "" {
		seen += ", " + v.Detail
	}
	bound := "false-alarm bound 0.1 % per rollout, outside alpha"
	if v.Rule == string(AlwaysValid) {
		bound = fmt.Sprintf("always-valid, false-alarm bound %s %% per rollout", strconv.FormatFloat(math.Round(v.Alpha*1e8)/1e6, 'f', -1, 64))
	}
	return fmt.Sprintf("%s, %s; n %d/%d", seen, bound, v.NExposed, v.NBaseline)
}

// atLeast writes a harm of a size.
func (v Verdict) atLeast(x float64) string {
	switch v.Stat {
	case statDrift:
		return "a drift of PSI " + psiText(x)
	case statFlips:
		return v.amount(x) + " of pairs that differ"
	}
	return "a harm of " + v.change(x, -1)
}

func (v Verdict) body() string {
	if v.Of > 0 && v.Looks == 0 {
		return fmt.Sprintf("%s (n %d/%d so far)", v.Detail, v.NExposed, v.NBaseline)
	}
	n := fmt.Sprintf("(n %d/%d)", v.NExposed, v.NBaseline)
	looks := ""
	if v.Of > 0 {
		looks = fmt.Sprintf(", %s %s", v.looks(), n)
	} else {
		looks = " " + n
	}
	if v.Scale == scaleValue {
		return fmt.Sprintf("%s exposed, limit %s%s", v.amount(v.Exposed), v.amount(v.Limit), looks)
	}
	way := v.way()
	return fmt.Sprintf("%s exposed against %s baseline, %s, limit %s%s",
		v.amount(v.Exposed), v.amount(v.Baseline), v.change(way*v.Effect, 1), v.change(way*v.Limit, -1), looks)
}

// way is -1 where a fall is the harm, which is then written as one.
func (v Verdict) way() float64 {
	if v.Effect != 0 && (v.Effect > 0) == (v.Exposed < v.Baseline) {
		return -1
	}
	return 1
}

// looks says how many breached of those there are, and how many there must be.
func (v Verdict) looks() string {
	s := fmt.Sprintf("%d of %d looks", v.Breached, v.Looks)
	if v.Looks < v.Of {
		s += fmt.Sprintf(" (%d needed)", v.Of)
	}
	return s + " of " + short(v.Window)
}

func (v Verdict) bound() string {
	if v.Bounded {
		return "; error-bounded"
	}
	return "; threshold, not error-bounded"
}

// amount writes a value in the metric's unit: shares in per cent.
func (v Verdict) amount(x float64) string {
	if v.share() {
		return strconv.FormatFloat(100*x, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

func (v Verdict) share() bool {
	return v.Stat == "" || v.Stat == statProportion || v.Stat == statFlips
}

// change writes a difference with its sign: per cent of the baseline, percentage points, or the metric's unit. digits -1
// writes as many as needed.
func (v Verdict) change(x float64, digits int) string {
	unit := ""
	switch {
	case v.Scale == scaleRelative:
		x, unit = 100*x, " %"
	case v.share():
		x, unit = 100*x, " pp"
	default:
		return sign(x) + strconv.FormatFloat(math.Abs(x), 'g', 4, 64)
	}
	if digits < 0 {
		x = math.Round(x*1e6) / 1e6 // 0.2 pp is kept as 0.002 and must not read 0.20000000000000001
		if math.Abs(x) >= 10 {
			x = math.Round(x)
		}
	}
	return sign(x) + strconv.FormatFloat(math.Abs(x), 'f', digits, 64) + unit
}

func sign(x float64) string {
	if x < 0 {
		return "-"
	}
	return "+"
}

// short writes a duration without empty parts: "8 s", "1m30s".
func short(d time.Duration) string {
	if d < time.Minute && d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
