package plan

import (
	"strings"
	"time"

	"sluice.dev/sluice/internal/judge"
)

// maxMargin is the largest percentage a margin may have, in parts of 100,000: ten times as much.
const maxMargin = 1_000_000

// timeUnits are the units of metrics in which durations are understood.
var timeUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "milliseconds": time.Millisecond,
	"s": time.Second, "sec": time.Second, "seconds": time.Second, "min": time.Minute, "minutes": time.Minute, "h": time.Hour, "hours": time.Hour,
}

// margin reads how much worse is tolerated: "20%" of the baseline, "2pp" of a share, or a number in the metric's unit.
func (c *compiler) margin(v *value, share bool, unit string) (judge.Margin, bool) {
	text := v.text
	if strings.HasSuffix(text, "%") {
		parts, p := parsePercent(text, maxMargin)
		if p == nil && parts == 0 {
			p = &problem{"margin.range", quote(text) + " tolerates nothing", "write a margin above 0%: without one every harmless difference counts"}
		}
		return judge.Margin{Relative: float64(parts) / 100_000}, c.accept(v, p)
	}
	if points, ok := strings.CutSuffix(text, "pp"); ok && share {
		parts, p := parsePercent(strings.TrimSpace(points)+"%", 100_000)
		if p != nil {
			p = &problem{"margin.range", quote(text) + " is not a number of percentage points up to 100", "write it as 2pp or 0.5pp"}
		} else if parts == 0 {
			p = &problem{"margin.range", quote(text) + " tolerates nothing", "write a margin above 0pp"}
		}
		return judge.Margin{Absolute: float64(parts) / 100_000}, c.accept(v, p)
	}
	if share {
		return judge.Margin{}, c.accept(v, &problem{"margin.unit", quote(text) + " is not a margin of a share", "write 20% (relative to the baseline) or 2pp (percentage points)"})
	}
	x, p := parseValue(text, unit)
	if p == nil && x <= 0 {
		p = &problem{"margin.range", quote(text) + " is not above zero", "write a positive margin"}
	}
	return judge.Margin{Absolute: x}, c.accept(v, p)
}

// limit reads a limit of the exposed arm: "5%" of a share, or a number in the metric's unit.
func (c *compiler) limit(v *value, share bool, unit string) (float64, bool) {
	if !share {
		x, p := parseValue(v.text, unit)
		return x, c.accept(v, p)
	}
	parts, p := parsePercent(v.text, 100_000)
	switch {
	case p != nil && (p.code == "percent.syntax" || p.code == "percent.unit"):
		p = &problem{"limit.unit", quote(v.text) + " is not a limit of a share", "write a percentage such as 5%"}
	case p == nil && parts == 100_000:
		p = &problem{"limit.range", "a share is never above 100%", "write a smaller limit"}
	}
	return float64(parts) / 100_000, c.accept(v, p)
}

func (c *compiler) accept(v *value, p *problem) bool {
	if p != nil {
		c.refuse(v, p)
	}
	return p == nil
}

// parseValue reads a number in the metric's unit: bare, followed by that unit, or as a duration where the unit is one of
// time.
func parseValue(s, unit string) (float64, *problem) {
	in := span{lo: -1e15, hi: 1e15}
	body := s
	if unit != "" {
		body = strings.TrimSpace(strings.TrimSuffix(s, unit))
	}
	x, p := parseNumber(body, in)
	if p == nil || p.code == "number.range" {
		return x, p
	}
	if scale, ok := timeUnits[unit]; ok {
		if d, bad := parseDuration(s); bad == nil {
			return float64(d) / float64(scale), nil
		}
	}
	if unit == "" {
		return 0, &problem{"margin.unit", quote(s) + " is not a plain number, and the metric names no unit", "write a number, or set unit of the metric"}
	}
	return 0, &problem{"margin.unit", quote(s) + " is not a number of " + clip(unit), "write a number in " + clip(unit)}
}
