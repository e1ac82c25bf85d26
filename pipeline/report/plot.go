package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A plot is an interval on an axis, in percent of the drawing's width: it
// grows with the page while its letters keep their size.
type plot struct {
	Name, Verdict, Method string
	Icon                  string // of the verdict
	Estimate, Interval    string
	Threshold             string // "at most 0.08"
	Drawn                 bool   // false when a figure is missing

	Low, High, Dot, Limit string // positions
	BadX, BadWidth        string // beyond the threshold
	LimitAnchor           string // where the threshold's label leans
	LimitText             string
	Decides               string // the end of the interval that is compared with the threshold
	Ticks                 []tick
}

type tick struct{ X, Text string }

// The axis keeps this much of the width free on each side.
const plotMargin = 2.0

func newPlot(i Interval) plot {
	p := plot{
		Name: clean(i.Name), Verdict: strings.ToLower(clean(i.Verdict)), Method: clean(i.Method),
		Estimate: figure(i.Estimate, 4), Interval: figure(i.Low, 4) + " to " + figure(i.High, 4),
	}
	word := "at least"
	if i.AtMost {
		word = "at most"
	}
	p.Threshold = word + " " + figure(i.Threshold, 4)
	p.LimitText = "limit " + figure(i.Threshold, 4)
	p.Icon = map[string]string{"pass": "pass", "fail": "fail", "inconclusive": "inconclusive"}[p.Verdict]
	if p.Icon == "" {
		p.Icon = "error"
	}
	for _, v := range []float64{i.Estimate, i.Low, i.High, i.Threshold} {
		if math.IsNaN(v) || math.Abs(v) > 1e300 {
			return p
		}
	}
	p.Drawn = true
	a := newAxis(i)
	p.Low, p.High, p.Dot, p.Limit = a.at(i.Low), a.at(i.High), a.at(i.Estimate), a.at(i.Threshold)
	p.Decides = p.Low
	p.BadX, p.BadWidth = "0%", p.Limit
	if i.AtMost {
		p.Decides = p.High
		p.BadX, p.BadWidth = p.Limit, percent(100-a.percent(i.Threshold))
	}
	p.LimitAnchor = lean(a.percent(i.Threshold))
	for _, v := range a.ticks {
		p.Ticks = append(p.Ticks, tick{a.at(v), figure(v, 3)})
	}
	return p
}

// lean keeps a wide label at an edge inside the drawing.
func lean(percent float64) string {
	switch {
	case percent < 12:
		return "start"
	case percent > 88:
		return "end"
	}
	return "middle"
}

type axis struct {
	low, high float64
	ticks     []float64
}

// newAxis spans all four figures and some room, from zero when they are near
// it, and ends on round numbers.
func newAxis(i Interval) axis {
	low := min(i.Low, i.Estimate, i.Threshold)
	high := max(i.High, i.Estimate, i.Threshold)
	if low >= 0 && low <= 0.6*high {
		low = 0
	}
	if high == low {
		low, high = low-0.5*math.Max(math.Abs(low), 1), high+0.5*math.Max(math.Abs(high), 1)
	}
	high += 0.08 * (high - low)
	if i.High <= 1 && i.Threshold <= 1 && high > 1 {
		high = 1 // a rate
	}
	step := roundStep((high - low) / 5)
	a := axis{low: math.Floor(low/step) * step, high: high}
	first := math.Ceil(a.low/step - 1e-9)
	for k := range 12 {
		v := (first + float64(k)) * step
		if v > high*(1+1e-9) && v > high+step*1e-6 {
			break
		}
		a.ticks = append(a.ticks, v)
	}
	return a
}

// roundStep is the least 1, 2 or 5 times a power of ten from step on.
func roundStep(step float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(step)))
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= step*(1-1e-9) {
			return m * unit
		}
	}
	return 10 * unit
}

func (a axis) percent(v float64) float64 {
	return plotMargin + (100-2*plotMargin)*(v-a.low)/(a.high-a.low)
}

func (a axis) at(v float64) string { return percent(a.percent(v)) }

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }

// figure writes a number with so many significant digits, without a tail of
// zeros.
func figure(v float64, digits int) string {
	switch {
	case math.IsNaN(v):
		return "unknown"
	case math.IsInf(v, 0):
		return "unbounded"
	case v == 0:
		return "0"
	case math.Abs(v) < 1e-4 || math.Abs(v) >= 1e7:
		return strconv.FormatFloat(v, 'e', digits-1, 64)
	}
	s := fmt.Sprintf("%.*f", max(0, digits-1-int(math.Floor(math.Log10(math.Abs(v))))), v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
