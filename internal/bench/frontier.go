package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Geometry of the picture.
const (
	chartWidth, chartHeight = 760, 440
	chartLeft, chartRight   = 70, 150
	chartTop, chartBottom   = 50, 60
	leastSeconds            = 5.0
)

// chartColours tell the contenders apart on white and on black; each curve also carries its name.
var chartColours = []string{"#b26a00", "#7a6f00", "#8a4fbf", "#c0392b", "#2e7d32", "#1668c7"}

// WriteSVG draws the frontier: mean seconds to the rollback of errors of 1 to 3 % (logarithmic) against false rollbacks of plain
// streams (by its root, so that 1 % can be told from 0). Each line is a contender over the settings of its knob; rings are
// documented defaults. Down and left is better.
func (r *Result) WriteSVG(w io.Writer) error {
	var b strings.Builder
	most := 60.0
	for _, c := range r.Frontier {
		for _, p := range c.Points {
			most = max(most, p.Seconds)
		}
	}
	a := axes{most: most}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="12">`+"\n", chartWidth, chartHeight)
	b.WriteString("<title id=\"t\">False rollbacks against delay</title>\n<desc id=\"d\">One line per contender over the settings of its knob; rings are documented defaults; down and left is better.</desc>\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, chartHeight)
	a.draw(&b)
	for i, c := range r.Frontier {
		a.curve(&b, c, chartColours[i%len(chartColours)], i)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

type axes struct{ most float64 }

func (a *axes) x(seconds float64) float64 {
	part := math.Log(max(seconds, leastSeconds)/leastSeconds) / math.Log(a.most/leastSeconds)
	return chartLeft + part*(chartWidth-chartLeft-chartRight)
}

func (a *axes) y(share float64) float64 {
	return chartHeight - chartBottom - math.Sqrt(share)*(chartHeight-chartTop-chartBottom)
}

func (a *axes) draw(b *strings.Builder) {
	left, right, bottom := float64(chartLeft), float64(chartWidth-chartRight), float64(chartHeight-chartBottom)
	for _, s := range []float64{5, 10, 30, 60, 300, 900, 3600} {
		if s <= a.most {
			fmt.Fprintf(b, `<path d="M%.1f %d V%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="#444">%g s</text>`+"\n", a.x(s), chartTop, bottom, a.x(s), bottom+18, s)
		}
	}
	for _, p := range []float64{0, 0.01, 0.05, 0.2, 0.5, 1} {
		stroke := "#ddd"
		if p == Alpha {
			stroke = "#444"
		}
		fmt.Fprintf(b, `<path d="M%.1f %.1f H%.1f" stroke="%s"/><text x="%.1f" y="%.1f" text-anchor="end" fill="#444">%g %%</text>`+"\n", left, a.y(p), right, stroke, left-6, a.y(p)+4, 100*p)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#222">mean seconds until errors of 1 to 3 %% are taken back (10 %% exposed, 200/s)</text>`+"\n", (left+right)/2, bottom+42)
	fmt.Fprintf(b, `<text x="%.1f" y="28" fill="#222" font-size="14">False rollbacks of plain streams against delay; rings: documented defaults</text>`+"\n", left)
}

func (a *axes) curve(b *strings.Builder, c Curve, colour string, i int) {
	var path strings.Builder
	for k, p := range c.Points {
		fmt.Fprintf(&path, "%s%.1f %.1f ", []string{"L", "M"}[b2i(k == 0)], a.x(p.Seconds), a.y(p.FalseRate))
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", strings.TrimSpace(path.String()), colour, []string{"none", "6 3", "2 3"}[i%3])
	for _, p := range c.Points {
		radius, fill := 3, colour
		if p.Default {
			radius, fill = 6, "#fff"
		}
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%d" fill="%s" stroke="%s" stroke-width="2"><title>%s %.5g: %.1f s, %.1f %%</title></circle>`+"\n",
			a.x(p.Seconds), a.y(p.FalseRate), radius, fill, colour, c.Contender, p.Setting, p.Seconds, 100*p.FalseRate)
	}
	y := float64(chartTop + 20 + 20*i)
	fmt.Fprintf(b, `<path d="M%d %.1f h24" stroke="%s" stroke-width="3"/><text x="%d" y="%.1f" fill="#222">%s</text>`+"\n",
		chartWidth-chartRight+16, y-4, colour, chartWidth-chartRight+46, y, c.Contender)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
