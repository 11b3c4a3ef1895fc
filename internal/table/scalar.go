package table

import (
	"math"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/profile"
)

// scalar reads a field of text: null (nothing, null, NULL, None, \N), true and false, numbers, times, or else text. Digits
// that begin with a needless zero are a code, not a number. text may be kept in the cell.
func scalar(text []byte) profile.Cell {
	switch string(text) {
	case "", "null", "NULL", "None", `\N`:
		return profile.Cell{}
	case "true", "True", "TRUE":
		return profile.Cell{Kind: profile.Bool, Int: 1}
	case "false", "False", "FALSE":
		return profile.Cell{Kind: profile.Bool}
	}
	if c, ok := numeral(text); ok {
		return c
	}
	if at, ok := clock(text); ok {
		return moment(at)
	}
	return profile.Cell{Kind: profile.Text, Text: text}
}

func numeral(text []byte) (profile.Cell, bool) {
	digits := text
	if digits[0] == '-' || digits[0] == '+' {
		digits = digits[1:]
	}
	if len(digits) == 0 {
		return profile.Cell{}, false
	}
	switch c := digits[0]; {
	case c == '0' && len(digits) > 1 && digits[1] >= '0' && digits[1] <= '9':
		return profile.Cell{}, false
	case c >= '0' && c <= '9', c == '.':
	default:
		return special(strings.ToLower(string(digits)), text[0] == '-')
	}
	s := string(text)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return profile.Cell{Kind: profile.Int, Int: i}, true
	}
	if strings.ContainsAny(s, "xX_pP") {
		return profile.Cell{}, false
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(x, 0) { // 1e999 is a number too large to keep: infinite
		return profile.Cell{}, false
	}
	return profile.Cell{Kind: profile.Float, Num: x}, true
}

func special(word string, negative bool) (profile.Cell, bool) {
	switch word {
	case "nan":
		return profile.Cell{Kind: profile.Float, Num: math.NaN()}, true
	case "inf", "infinity":
		sign := 1
		if negative {
			sign = -1
		}
		return profile.Cell{Kind: profile.Float, Num: math.Inf(sign)}, true
	}
	return profile.Cell{}, false
}

// layouts of times. A fraction of a second is read without being asked for.
var layouts = []string{"2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 UTC", "2006-01-02"}

// clock reads a time; without a zone it is UTC.
func clock(text []byte) (time.Time, bool) {
	if len(text) < 10 || len(text) > 40 || text[4] != '-' || text[7] != '-' {
		return time.Time{}, false
	}
	for _, l := range layouts {
		if at, err := time.Parse(l, string(text)); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

func moment(at time.Time) profile.Cell {
	return profile.Cell{Kind: profile.Time, Num: float64(at.Unix()) + float64(at.Nanosecond())/1e9}
}
