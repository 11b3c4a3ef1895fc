package stat

import "math"

// Constants of fdlibm (Sun Microsystems, 1993), as package math has them.
const (
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = 1.90821492927058770002e-10
	log2e = 1.44269504088896338700e+00
)

// ln is the natural logarithm, within one unit in the last place. math.Log is not used because it is another program on
// each architecture. Source: fdlibm e_log.c.
func ln(x float64) float64 {
	const (
		l1 = 6.666666666666735130e-01
		l2 = 3.999999999940941908e-01
		l3 = 2.857142874366239149e-01
		l4 = 2.222219843214978396e-01
		l5 = 1.818357216161805012e-01
		l6 = 1.531383769920937332e-01
		l7 = 1.479819860511658591e-01
	)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 1):
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	frac, e := split(x)
	if frac < math.Sqrt2/2 {
		frac *= 2
		e--
	}
	f, k := frac-1, float64(e)
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := float64(s2 * (l1 + float64(s4*(l3+float64(s4*(l5+float64(s4*l7)))))))
	t2 := float64(s4 * (l2 + float64(s4*(l4+float64(s4*l6)))))
	half := float64(float64(0.5*f) * f)
	inner := float64(s*(half+(t1+t2))) + float64(k*ln2Lo)
	return float64(k*ln2Hi) - ((half - inner) - f)
}

// split is math.Frexp for positive numbers: x = frac * 2^e with frac in [1/2, 1).
func split(x float64) (frac float64, e int) {
	bits := math.Float64bits(x)
	if bits < 1<<52 {
		return math.Frexp(x)
	}
	return math.Float64frombits(bits&(1<<52-1) | 1022<<52), int(bits>>52) - 1022
}

// exp is e^x, within two units in the last place; 0 below -745. Source: fdlibm e_exp.c.
func exp(x float64) float64 {
	const (
		p1 = 1.66666666666666657415e-01
		p2 = -2.77777777770155933842e-03
		p3 = 6.61375632143793436117e-05
		p4 = -1.65339022054652515390e-06
		p5 = 4.13813679705723846039e-08
	)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 1):
		return x
	case x > 709.7827128933840:
		return math.Inf(1)
	case x < -745.1332191019411:
		return 0
	}
	k := int(float64(log2e*x) + math.Copysign(0.5, x))
	hi := x - float64(float64(k)*ln2Hi)
	lo := float64(float64(k) * ln2Lo)
	r := hi - lo
	t := float64(r * r)
	c := r - float64(t*(p1+float64(t*(p2+float64(t*(p3+float64(t*(p4+float64(t*p5)))))))))
	y := 1 - ((lo - float64(r*c)/(2-c)) - hi)
	return math.Ldexp(y, k)
}

// lnAdd returns ln(e^a + e^b).
func lnAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if b-a < -40 {
		return a
	}
	return a + ln(1+exp(b-a))
}

// lnSum returns ln of the sum of w[i]*e^x[i], summed in the order given; weights must not be negative.
func lnSum(w, x []float64) float64 {
	top := math.Inf(-1)
	for i, v := range x {
		if w[i] > 0 {
			top = max(top, v)
		}
	}
	if math.IsInf(top, -1) {
		return lnZero
	}
	sum := 0.0
	for i, v := range x {
		if w[i] > 0 {
			sum += float64(w[i] * exp(v-top))
		}
	}
	return top + ln(sum)
}

// lnGamma is the logarithm of the gamma function for x > 0, error below 1e-14 of max(1, value).
// Source: Stirling's series (Abramowitz & Stegun 6.1.41), after moving x above 12 by 6.1.15.
func lnGamma(x float64) float64 {
	shift := 0.0
	for x < 12 {
		shift += ln(x)
		x++
	}
	i := 1 / x
	i2 := float64(i * i)
	series := float64(i * (1.0/12 - float64(i2*(1.0/360-float64(i2*(1.0/1260-float64(i2*(1.0/1680-float64(i2*(1.0/1188-float64(i2*691.0/360360)))))))))))
	const halfLn2Pi = 0.91893853320467274178
	return float64((x-0.5)*ln(x)) - x + halfLn2Pi + series - shift
}

// lnBeta is ln B(a, b).
func lnBeta(a, b float64) float64 { return lnGamma(a) + lnGamma(b) - lnGamma(a+b) }

// lnIncBeta is ln I_x(a, b), the logarithm of the regularised incomplete beta function, also where I itself underflows.
// Source: the continued fraction of Abramowitz & Stegun 26.5.8 by Lentz's method, in the log domain outside of it.
func lnIncBeta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return lnZero
	case x >= 1:
		return 0
	case x > (a+1)/(a+b+2):
		// The fraction converges fast only below the mean; there the complement is at least about a third.
		return ln(max(1-exp(lnIncBeta(1-x, b, a)), 0x1p-60))
	}
	front := float64(a*ln(x)) + float64(b*ln(1-x)) - ln(a) - lnBeta(a, b)
	return front - ln(betaFraction(x, a, b))
}

func betaFraction(x, a, b float64) float64 {
	const tiny = 1e-300
	guard := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	f, c, d := 1.0, 1.0, 0.0
	for m := range 10_000 {
		fm := float64(m)
		for odd := range 2 {
			var num float64
			switch {
			case odd == 1:
				am := a + fm
				num = -float64(float64(am*(am+b))*x) / float64((a+2*fm)*(a+2*fm+1))
			case m == 0:
				num = 0
			default:
				num = float64(float64(fm*(b-fm))*x) / float64((a+2*fm-1)*(a+2*fm))
			}
			if m == 0 && odd == 0 {
				continue
			}
			d = 1 / guard(1+float64(num*d))
			c = guard(1 + num/c)
			f = float64(f * float64(c*d))
			if m > 0 && math.Abs(float64(c*d)-1) < 1e-15 {
				return f
			}
		}
	}
	return f
}

// KL is the Kullback-Leibler divergence of two Bernoulli laws, p ln(p/q) + (1-p) ln((1-p)/(1-q)), in nats; +Inf where q
// excludes what p allows.
func KL(p, q float64) float64 {
	d := 0.0
	if p > 0 {
		d += float64(p * ln(p/q))
	}
	if p < 1 {
		d += float64((1 - p) * ln((1-p)/(1-q)))
	}
	return d
}
