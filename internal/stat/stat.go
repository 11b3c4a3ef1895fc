// Package stat decides how strong the evidence is that one arm of a comparison is worse than the other by more than a
// margin. It knows numbers only: no rollouts, no guardrails, no clock.
//
// Evidence is an e-process: a number that starts at 1 and whose expectation stays at most 1, at whatever moment one looks,
// as long as the exposed arm is not worse than the margin. So the probability that it EVER reaches 1/alpha is at most alpha
// (Ville, Étude critique de la notion de collectif, 1939), and one may look as often as one likes. Everything is computed
// per block (a second) and stratum, never from totals, so ramps, moving baselines and outages that hit both arms alike do
// not fool it.
//
// A Lane joins the parts: an engine (TwoByTwo, tilted histogram, count), a mixture over bets, restarts for harm that begins
// late, tempering by the over-dispersion of unit buckets, and the margins it can reject. Mix weighs lanes together.
// The bound holds for independent units; for correlated ones tempering is a measured heuristic without a theorem.
//
// Beside that stand what is computed once for a batch or shown to people: drift measures (Drift), intervals (Boundary, Range),
// the tests that others use (Difference, Kayenta, SpendingBounds), and detectors for one stream (Extremes, Season, CUSUM).
// They use special functions of gonum and are no part of a replay.
//
// Everything else has the same bits on every machine: counts are integers, sums have one fixed order, products are rounded
// before they are added, and logarithm and exponential are this package's own.
package stat

// lnZero stands for the logarithm of 0: finite, so that it survives JSON, and too small to matter in any sum.
const lnZero = -1e15
