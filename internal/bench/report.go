package bench

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// WriteJSON writes the rows as {"nulls": [...], "harms": [...]}.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteCSV writes one line per row; columns that a kind of row does not have are empty.
func (r *Result) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	lines := [][]string{{
		"kind", "family", "contender", "tuned", "margin", "tests", "runs", "falseRollbacks", "rate", "ci95Low", "ci95High",
		"meanSeconds", "medianSeconds", "missed", "oracleSeconds", "ratioToOracle",
	}}
	for _, n := range r.Nulls {
		lines = append(lines, []string{
			"null", n.Family, n.Contender, strconv.FormatBool(n.Tuned), "", "", strconv.Itoa(n.Runs), strconv.Itoa(n.FalseRollbacks),
			short(n.Rate), short(n.CI95[0]), short(n.CI95[1]), "", "", "", "", "",
		})
	}
	for _, h := range r.Harms {
		lines = append(lines, []string{
			"harm", h.Family, h.Contender, strconv.FormatBool(h.Tuned), short(h.Margin), strconv.Itoa(h.Tests), strconv.Itoa(h.Runs), "", "", "", "",
			short(h.MeanSeconds), short(h.MedianSeconds), strconv.Itoa(h.Missed), short(h.OracleSeconds), short(h.RatioToOracle),
		})
	}
	return c.WriteAll(lines)
}

func short(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

// junitSuite is the part of JUnit's form that readers of it have in common.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

// WriteJUnit writes one test case per goal; one that is missed fails.
func (r *Result) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: "guardrails", Tests: len(r.Goals)}
	for _, g := range r.Goals {
		c := junitCase{Class: "guardrails", Name: g.Name, Out: fmt.Sprintf("margin %s, tests %d: %s (%s)", g.Margin, g.Tests, g.Measured, g.Limit)}
		if !g.Met {
			s.Failures++
			c.Failure = &junitFailure{Message: g.Measured + ", want " + g.Limit}
		}
		s.Cases = append(s.Cases, c)
	}
	out, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, out)
	return err
}

// WriteTable writes everything for people: false rollbacks, delays, the product's defaults, knobs and goals.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, tuned := range []bool{false, true} {
		r.nullTable(t, tuned)
		r.harmTable(t, tuned)
	}
	r.productTable(t)
	r.knobTable(t)
	r.goalTable(t)
	return t.Flush()
}

var settingNames = map[bool]string{false: "at their documented defaults", true: "tuned to at most 1 % false rollbacks of plain streams"}

func (r *Result) nullTable(w io.Writer, tuned bool) {
	names := r.columns(tuned)
	if len(r.Nulls) == 0 {
		return
	}
	fmt.Fprintf(w, "False rollbacks in percent, contenders %s\n\n", settingNames[tuned])
	header(w, "family\trollouts", names)
	for i := 0; i < len(r.Nulls); {
		family := r.Nulls[i].Family
		cells := map[string]string{}
		runs := r.Nulls[i].Runs
		for ; i < len(r.Nulls) && r.Nulls[i].Family == family; i++ {
			if n := r.Nulls[i]; n.Tuned == tuned {
				cells[n.Contender] = strconv.FormatFloat(100*n.Rate, 'f', 1, 64)
			}
		}
		row(w, fmt.Sprintf("%s\t%d", family, runs), names, cells)
	}
	fmt.Fprintln(w)
}

func (r *Result) harmTable(w io.Writer, tuned bool) {
	names := append(r.columns(tuned), "oracle")
	if len(r.Harms) == 0 {
		return
	}
	fmt.Fprintf(w, "Mean seconds from onset to rollback, no margin (missed of all), contenders %s\n\n", settingNames[tuned])
	header(w, "family\ttests\trollouts\tlimit s", names)
	for i := 0; i < len(r.Harms); {
		first := r.Harms[i]
		cells := map[string]string{}
		for ; i < len(r.Harms) && r.Harms[i].Family == first.Family && r.Harms[i].Tests == first.Tests; i++ {
			if h := r.Harms[i]; h.Tuned == tuned || h.Contender == "oracle" {
				cells[h.Contender] = h.seconds()
			}
		}
		if first.Margin == 0 {
			row(w, fmt.Sprintf("%s\t%d\t%d\t%.1f", first.Family, first.Tests, first.Runs, first.OracleSeconds), names, cells)
		}
	}
	fmt.Fprintln(w)
}

// seconds shows the mean, and how many were missed where some were.
func (h *Harm) seconds() string {
	switch {
	case h.Missed == h.Runs:
		return "never"
	case h.Missed > 0:
		return fmt.Sprintf("%.1f (%d)", h.MeanSeconds, h.Missed)
	}
	return strconv.FormatFloat(h.MeanSeconds, 'f', 1, 64)
}

// productTable is the second table: the judge with the margins and tests of a usual spec, beside the oracle with the same.
func (r *Result) productTable(w io.Writer) {
	fmt.Fprint(w, "Product defaults: errors +20 % in total and for 3 feeds, latency +10 % (acts as +11.4 %) in total, alpha 1 %\n\n")
	header(w, "family\tmargin\ttests\trollouts\tmean s\tmedian s\tmissed\tlimit s\tratio", nil)
	for _, h := range r.Harms {
		if h.Contender == oursName && !h.Tuned && h.Margin > 0 {
			fmt.Fprintf(w, "%s\t%.1f %%\t%d\t%d\t%.1f\t%.1f\t%d\t%.1f\t%.2f\n", h.Family, 100*h.Margin, h.Tests, h.Runs, h.MeanSeconds,
				h.MedianSeconds, h.Missed, h.OracleSeconds, h.RatioToOracle)
		}
	}
	fmt.Fprintln(w)
}

func (r *Result) knobTable(w io.Writer) {
	if len(r.Knobs) == 0 {
		return
	}
	fmt.Fprint(w, "Knobs, tuned on seeds of their own\n\n")
	header(w, "contender\ton\tknob\tset to\tfalse rollbacks", nil)
	for _, k := range r.Knobs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.5g\t%d of %d\n", k.Contender, k.Family, k.Name, k.Setting, k.False, k.Runs)
	}
	fmt.Fprintln(w)
}

func (r *Result) goalTable(w io.Writer) {
	met := 0
	for _, g := range r.Goals {
		if g.Met {
			met++
		}
	}
	fmt.Fprintf(w, "Goals of this product's judge at its defaults: %d of %d met\n\n", met, len(r.Goals))
	header(w, "\tgoal\tmargin\ttests\tmeasured\twant", nil)
	for _, g := range r.Goals {
		word := "met"
		if !g.Met {
			word = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", word, g.Name, g.Margin, g.Tests, g.Measured, g.Limit)
	}
}

// columns are the names of the contenders but the oracle, in their order.
func (r *Result) columns(tuned bool) (out []string) {
	for c := range contenders {
		switch {
		case c == oracleRule:
		case tuned && contenders[c].tunable():
			out = append(out, contenders[c].name)
		case !tuned:
			for _, d := range contenders[c].defaults {
				out = append(out, d.name)
			}
		}
	}
	return out
}

func header(w io.Writer, first string, names []string) {
	fmt.Fprint(w, first)
	for _, n := range names {
		fmt.Fprint(w, "\t", n)
	}
	fmt.Fprintln(w)
}

func row(w io.Writer, first string, names []string, cells map[string]string) {
	fmt.Fprint(w, first)
	for _, n := range names {
		cell := cells[n]
		if cell == "" {
			cell = "-"
		}
		fmt.Fprint(w, "\t", cell)
	}
	fmt.Fprintln(w)
}
