package profile

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/stat"
)

// Verdict of one column. The zero value is none.
type Verdict string

// Verdicts, in rising order. Inconclusive stands below warn: what was seen weighs more than what could not be seen.
const (
	Pass         Verdict = "pass"
	Inconclusive Verdict = "inconclusive"
	Warn         Verdict = "warn"
	Fail         Verdict = "fail"
)

var order = []Verdict{Pass, Inconclusive, Warn, Fail}

func worse(a, b Verdict) Verdict {
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// Config says what a comparison tolerates.
type Config struct {
	// Alpha bounds the probability that a comparison of two batches of one law warns or fails anywhere: it is shared by all
	// checks of all columns. 0 means 0.01.
	Alpha float64
	// MaxAge is how old the newest value of a time column may be; 0 asks for no age.
	MaxAge time.Duration
}

// Limits of effects: a difference below warnAt is none, from failAt on it fails. All are shares, PSI and KS their own scale.
var (
	limitNulls  = limit{0.001, 0.01} // more nulls, NaN or infinities
	limitFewer  = limit{0.01, math.Inf(1)}
	limitType   = limit{0.001, 0.01}
	limitRange  = limit{0.005, 0.05} // beyond the baseline's range: what was seen so far is no declared domain
	limitNew    = limit{0.005, 0.05} // categories that the baseline does not have
	limitRepeat = limit{0.001, 0.01}
	limitPSI    = limit{0.1, 0.25}
	limitKS     = limit{0.1, 0.2}
)

type limit struct{ warnAt, failAt float64 }

func (l limit) of(effect float64) Verdict {
	switch {
	case effect >= l.failAt:
		return Fail
	case effect >= l.warnAt:
		return Warn
	}
	return Pass
}

// least is how many rows each side needs before anything is said of a column.
const least = 30

// checks is how many tests at most are made of one column: nulls both ways, types, both ends of the range, two of new
// categories, two of the values.
const checks = 9

// WholeRows is the name under which a report says what concerns no single column.
const WholeRows = "*"

// Finding is what a comparison says of one column.
type Finding struct {
	Column  string   `json:"column"`
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons"`
	Figures Figures  `json:"figures"`
}

func (f *Finding) say(v Verdict, format string, args ...any) {
	if v == "" {
		return
	}
	f.Verdict = worse(f.Verdict, v)
	f.Reasons = append(f.Reasons, fmt.Sprintf(format, args...))
}

// Report is a comparison, or the look at one batch alone.
type Report struct {
	Columns []Finding `json:"columns"`
}

// Verdict is the worst of all columns.
func (r Report) Verdict() Verdict {
	out := Pass
	for _, f := range r.Columns {
		out = worse(out, f.Verdict)
	}
	return out
}

// Check looks at one batch alone: columns without any value, of mixed types, with NaN, or older than cfg.MaxAge. Without
// rows every column is inconclusive.
func Check(now Summary, cfg Config) Report {
	r := Report{Columns: []Finding{}}
	for _, c := range now.Columns {
		f := Finding{Column: c.Name, Verdict: Pass, Reasons: []string{}, Figures: c.Figures}
		f.alone(cfg)
		r.Columns = append(r.Columns, f)
	}
	return r
}

func (f *Finding) alone(cfg Config) {
	g := &f.Figures
	switch {
	case g.Rows == 0:
		f.say(Inconclusive, "there are no rows")
	case g.Type == "null":
		f.say(Warn, "every value is null")
	}
	if g.Other > 0 {
		f.say(Warn, "%d values are not of type %s", g.Other, g.Type)
	}
	if g.NaN+g.Inf > 0 {
		f.say(Warn, "%d values are NaN and %d infinite", g.NaN, g.Inf)
	}
	f.age(cfg)
}

func (f *Finding) age(cfg Config) {
	g := &f.Figures
	switch {
	case cfg.MaxAge == 0 || g.Type != "time":
	case g.AgeSeconds == nil:
		f.say(Fail, "every value lies in the future")
	case *g.AgeSeconds > cfg.MaxAge.Seconds():
		f.say(Fail, "the newest value is %s old, older than %s", time.Duration(*g.AgeSeconds)*time.Second, cfg.MaxAge)
	}
}

// Compare judges a batch against its baseline: columns of the baseline first that are gone, then the batch's own in their
// order, then, when something is wrong with whole rows, those.
func Compare(now, base Summary, cfg Config) Report {
	byName := map[string]*Column{}
	for i := range base.Columns {
		byName[base.Columns[i].Name] = &base.Columns[i]
	}
	r := Report{Columns: []Finding{}}
	for i := range base.Columns {
		if b := &base.Columns[i]; !slices.ContainsFunc(now.Columns, func(c Column) bool { return c.Name == b.Name }) {
			r.Columns = append(r.Columns, gone(b, now))
		}
	}
	c := comparison{cfg: cfg, now: now, base: base}
	c.level = cmp.Or(cfg.Alpha, 0.01) / float64(checks*len(now.Columns)+1)
	for i := range now.Columns {
		f := Finding{Column: now.Columns[i].Name, Verdict: Pass, Reasons: []string{}, Figures: now.Columns[i].Figures}
		if b := byName[f.Column]; b == nil {
			f.say(Warn, "the baseline has no such column")
		} else {
			f.Figures.Drift = &Drift{BaselineType: b.Type, BaselineRows: b.Rows, BaselineNullRate: b.NullRate, Level: c.level}
			c.column(&f, &now.Columns[i], b)
		}
		r.Columns = append(r.Columns, f)
	}
	return c.rows(r)
}

func gone(b *Column, now Summary) Finding {
	f := Finding{Column: b.Name, Verdict: Pass, Reasons: []string{}, Figures: Figures{Type: "null", Rows: now.Rows}}
	f.say(Fail, "the baseline has this column, the file has not")
	return f
}

// comparison is one batch beside its baseline.
type comparison struct {
	cfg       Config
	level     float64 // of each check
	now, base Summary
}

func (c *comparison) column(f *Finding, now, base *Column) {
	f.age(c.cfg)
	if now.Rows < least || base.Rows < least {
		f.say(Inconclusive, "%d rows against %d are too few: both need %d", now.Rows, base.Rows, least)
		return
	}
	c.nulls(f, now, base)
	if now.Type == "null" && base.Type == "null" {
		if f.Verdict == Pass {
			f.say(Pass, "every value is null, as in the baseline")
		}
		return
	}
	if now.Type != "null" && base.Type != "null" && c.sameType(f, now, base) {
		c.values(f, now, base)
	}
}

// differs tests whether the share of k among n is larger than that of b among m, exactly, and grades the effect.
func (c *comparison) differs(k, n, b, m uint64, l limit) (v Verdict, by float64) {
	if n == 0 || m == 0 {
		return "", 0
	}
	by = float64(k)/float64(n) - float64(b)/float64(m)
	if l.of(by) == Pass || stat.DrawTail(k, n, k+b, n+m) >= c.level {
		return "", by
	}
	return l.of(by), by
}

func (c *comparison) nulls(f *Finding, now, base *Column) {
	k, b := now.Nulls+now.NaN+now.Inf, base.Nulls+base.NaN+base.Inf
	v, by := c.differs(k, now.Rows, b, base.Rows, limitNulls)
	f.say(v, "%s of values are null, NaN or infinite, %s in the baseline (+%.2g pp)", percent(now.NullRate), percent(base.NullRate), 100*by)
	v, by = c.differs(b, base.Rows, k, now.Rows, limitFewer)
	f.say(v, "%s of values are null, NaN or infinite, %s in the baseline (-%.2g pp)", percent(now.NullRate), percent(base.NullRate), 100*by)
}

// class is what a type can be compared with: the numbers are one.
func class(kind string) string {
	if kind == "int" {
		return "float"
	}
	return kind
}

// sameType compares types, and reports whether the values can be compared.
func (c *comparison) sameType(f *Finding, now, base *Column) bool {
	if class(now.Type) != class(base.Type) {
		f.say(Fail, "the type is %s, %s in the baseline", now.Type, base.Type)
		return false
	}
	v, by := c.differs(now.Other, now.present(), base.Other, base.present(), limitType)
	f.say(v, "%d values are not of type %s (+%.2g pp)", now.Other, now.Type, 100*by)
	return true
}

// present counts the values that are not null.
func (c *Column) present() uint64 { return c.Rows - c.Nulls }

// rows compares what concerns whole rows: their repetition, the order of the columns.
func (c *comparison) rows(r Report) Report {
	f := Finding{Column: WholeRows, Verdict: Pass, Reasons: []string{}, Figures: Figures{Type: "rows", Rows: c.now.Rows, DuplicateRows: uint64(math.Round(c.now.Repeated))}}
	n, m := common(c.now.repeats, c.base.repeats)
	v, by := c.differs(uint64(n.again), uint64(n.rows), uint64(m.again), uint64(m.rows), limitRepeat)
	f.say(v, "%s of the first %.0f rows repeat an earlier one, %s of the baseline's first %.0f (+%.2g pp)",
		percent(n.again/max(n.rows, 1)), n.rows, percent(m.again/max(m.rows, 1)), m.rows, 100*by)
	if names, order := shared(c.now, c.base), shared(c.base, c.now); !slices.Equal(names, order) {
		f.say(Warn, "the columns come in another order: %s; in the baseline %s", strings.Join(names, ", "), strings.Join(order, ", "))
	}
	if f.Verdict != Pass {
		r.Columns = append(r.Columns, f)
	}
	return r
}

// shared lists the columns of a that b has too, in a's order.
func shared(a, b Summary) []string {
	var out []string
	for _, c := range a.Columns {
		if slices.ContainsFunc(b.Columns, func(o Column) bool { return o.Name == c.Name }) {
			out = append(out, c.Name)
		}
	}
	return out
}

// common finds the largest number of rows at which both counted their repetitions: more rows have more of them anyway.
func common(a, b []repeated) (x, y repeated) {
	for _, i := range a {
		for _, j := range b {
			if i.rows == j.rows && i.rows > x.rows {
				x, y = i, j
			}
		}
	}
	return x, y
}

func percent(share float64) string { return fmt.Sprintf("%.4g %%", 100*share) }

// Related says whether two batches have a column in common.
func Related(a, b Summary) bool { return len(shared(a, b)) > 0 }
