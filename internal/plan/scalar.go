package plan

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// MaxDuration is the longest duration a specification may name.
const MaxDuration = 365 * 24 * time.Hour

// problem is why a scalar was refused.
type problem struct{ code, text, fix string }

var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond, "ms": time.Millisecond,
	"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

var bareNumber = regexp.MustCompile(`^[0-9]*\.?[0-9]+$`)

var durationPart = regexp.MustCompile(`^([0-9]+)(?:\.([0-9]+))?(ns|us|µs|μs|ms|s|m|h|d|w)`)

// durationPattern is the same grammar for the JSON Schema.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+$`

// ParseDuration reads a positive duration of at most MaxDuration: Go's syntax and, beside it, d for 24 h and w for 7 d.
func ParseDuration(s string) (time.Duration, error) {
	d, p := parseDuration(s)
	if p != nil {
		return 0, fmt.Errorf("duration %s: %s", quote(s), p.text)
	}
	return d, nil
}

func parseDuration(s string) (time.Duration, *problem) {
	body, negative := strings.CutPrefix(s, "-")
	if bareNumber.MatchString(body) {
		switch {
		case strings.Trim(body, "0.") == "":
			return 0, &problem{"duration.zero", quote(s) + " is zero", "write a positive duration, such as 30s"}
		case negative:
			return 0, &problem{"duration.negative", quote(s) + " is not positive", "write a positive duration, such as 30s"}
		}
		return 0, &problem{"duration.unit", quote(s) + " has no unit", "write " + clip(body) + "s for seconds; units are ms, s, m, h, d and w"}
	}
	total, over := time.Duration(0), false
	rest := body
	for rest != "" {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, &problem{"duration.syntax", quote(s) + " is not a duration", "write numbers with units and no spaces, such as 90s, 1h30m, 2d or 1w"}
		}
		part, fits := scaleDecimal(m[1], m[2], durationUnits[m[3]])
		if !fits || part > MaxDuration-total {
			over = true
		} else {
			total += part
		}
		rest = rest[len(m[0]):]
	}
	switch {
	case body == "":
		return 0, &problem{"duration.syntax", quote(s) + " is not a duration", "write a duration such as 30s"}
	case negative:
		return 0, &problem{"duration.negative", quote(s) + " is not positive", "write a positive duration, such as 30s"}
	case over:
		return 0, &problem{"duration.range", quote(s) + " is longer than 365d", "write at most 365d"}
	case total == 0:
		return 0, &problem{"duration.zero", quote(s) + " is zero", "write a positive duration, such as 30s"}
	}
	return total, nil
}

// scaleDecimal returns whole.frac times unit, rounded down to a nanosecond; false when it is beyond MaxDuration.
func scaleDecimal(whole, frac string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > int64(MaxDuration/unit) {
		return 0, false
	}
	d := time.Duration(n) * unit
	for scale := unit / 10; frac != "" && scale > 0; scale /= 10 {
		d += time.Duration(frac[0]-'0') * scale
		frac = frac[1:]
	}
	return d, d <= MaxDuration
}

// formatDuration writes d as people write it in a specification: "20s", "500ms", "4h", "7d".
func formatDuration(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

var percentSyntax = regexp.MustCompile(`^(-?)([0-9]+)(?:\.([0-9]+))?%$`)

// sharePattern is the grammar of shares for the JSON Schema.
const sharePattern = `^[0-9]+(\.[0-9]{1,3})?%$`

// parsePercent reads "5%" or "0.5%" exactly, in parts of 100,000. limit is the largest value allowed, in the same parts.
func parsePercent(s string, limit uint32) (uint32, *problem) {
	m := percentSyntax.FindStringSubmatch(s)
	if m == nil {
		if bareNumber.MatchString(s) {
			return 0, &problem{"percent.unit", quote(s) + " has no % sign", "write " + clip(s) + "% if percent are meant"}
		}
		return 0, &problem{"percent.syntax", quote(s) + " is not a percentage", "write a number and a % sign, such as 5% or 0.5%"}
	}
	frac := strings.TrimRight(m[3], "0")
	if len(frac) > 3 {
		return 0, &problem{"percent.precision", quote(s) + " is finer than 0.001%", "use at most three decimals: exposure is counted in parts of 100,000"}
	}
	n, err := strconv.ParseUint(m[2]+frac+"000"[len(frac):], 10, 64)
	if err != nil || n > uint64(limit) || m[1] == "-" {
		return 0, &problem{"percent.range", fmt.Sprintf("%s is outside 0%% to %s", quote(s), formatPercent(limit)), "write a percentage within that range"}
	}
	return uint32(n), nil
}

// formatPercent writes parts of 100,000 as a percentage without trailing zeros.
func formatPercent(parts uint32) string {
	return strconv.FormatFloat(float64(parts)/1000, 'f', -1, 64) + "%"
}

var numberSyntax = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$`)

// parseNumber reads a JSON number within the span, which is finite and not minus zero.
func parseNumber(s string, in span) (float64, *problem) {
	if !numberSyntax.MatchString(s) {
		switch strings.ToLower(strings.TrimLeft(s, "+-")) {
		case ".nan", "nan", ".inf", "inf", "infinity":
			return 0, in.refuse(s)
		}
		return 0, &problem{"type.number", quote(s) + " is not a number", "write a plain decimal number, such as 0.01"}
	}
	v, err := strconv.ParseFloat(s, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(s), "e")
	vanished := v == 0 && strings.Trim(mantissa, "-0.") != ""
	if err != nil || vanished || (v == 0 && math.Signbit(v)) || !in.holds(v) {
		return 0, in.refuse(s)
	}
	return v, nil
}

var wholeSyntax = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)$`)

// parseWhole reads a whole number within the span, exactly.
func parseWhole(s string, in span) (uint64, *problem) {
	if !wholeSyntax.MatchString(s) {
		if _, p := parseNumber(s, span{hi: math.Inf(1), lo: math.Inf(-1)}); p != nil && p.code == "type.number" {
			return 0, &problem{"type.integer", quote(s) + " is not a whole number", "write digits only, such as 20"}
		} else if p == nil {
			return 0, &problem{"type.integer", quote(s) + " is not written as a whole number", "write digits only, such as 20"}
		}
		return 0, in.refuse(s)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > 1<<53 || !in.holds(float64(n)) {
		return 0, in.refuse(s)
	}
	return n, nil
}

// span is an interval of numbers, closed at hi and, unless open, at lo.
type span struct {
	lo, hi float64
	open   bool
}

func (in span) holds(v float64) bool {
	return v <= in.hi && (v > in.lo || v == in.lo && !in.open)
}

func (in span) String() string {
	lo, hi := strconv.FormatFloat(in.lo, 'g', -1, 64), strconv.FormatFloat(in.hi, 'g', -1, 64)
	if in.open {
		return "above " + lo + " and up to " + hi
	}
	return "from " + lo + " to " + hi
}

func (in span) refuse(s string) *problem {
	return &problem{"number.range", quote(s) + " is not a number " + in.String(), "write a number " + in.String()}
}

// Names. A name becomes a scope, a file name, a label and a part of URLs, so it is ASCII and short.
const (
	maxName = 63
	maxText = 2000

	slugPattern      = `^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`
	identPattern     = `^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`
	componentPattern = `^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)?$`
	principalPattern = `^([a-z]+:)?[A-Za-z0-9]([A-Za-z0-9._@-]*[A-Za-z0-9])?$`
	digestPattern    = `^sha256:[0-9a-f]{4,64}$`
)

var (
	slugSyntax      = regexp.MustCompile(slugPattern)
	identSyntax     = regexp.MustCompile(identPattern)
	componentSyntax = regexp.MustCompile(componentPattern)
	principalSyntax = regexp.MustCompile(principalPattern)
	digestSyntax    = regexp.MustCompile(digestPattern)
	deviceName      = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$`)
)

// checkName tests s against one of the name grammars; what says in words what that grammar allows.
func checkName(s string, syntax *regexp.Regexp, limit int, what string) *problem {
	switch {
	case s == "":
		return &problem{"name.length", "the name is empty", "write a name of 1 to " + strconv.Itoa(limit) + " characters"}
	case len(s) > limit:
		return &problem{"name.length", fmt.Sprintf("%s has %d bytes; the limit is %d", quote(s), len(s), limit), "shorten it"}
	case !syntax.MatchString(s) || strings.Contains(s, ".."):
		return &problem{"name.charset", quote(s) + " has characters or a form that names must not have", "use " + what}
	case deviceName.MatchString(s):
		return &problem{"name.charset", quote(s) + " is a device name on some systems", "choose another name"}
	}
	return nil
}

// checkFreeText tests free text: not empty, not too long, nothing invisible that could reorder or hide what people read.
func checkFreeText(s string) *problem {
	if strings.TrimSpace(s) == "" {
		return &problem{"text.empty", "the text is empty", "write a sentence, or remove the field"}
	}
	if len(s) > maxText {
		return &problem{"text.length", fmt.Sprintf("the text has %d bytes; the limit is %d", len(s), maxText), "shorten it"}
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return &problem{"text.charset", fmt.Sprintf("the text contains the invisible character U+%04X", r), "remove it"}
		}
	}
	return nil
}
