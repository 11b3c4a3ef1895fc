// Numbers, times and words as people read them. Times are UTC, or local where the reader chose so, and say which; differences carry
// their sign; U+2212 is the minus.
import type { Guardrail, Lane, Plan, RolloutRow, Verdict } from './api/client';
import { suffix, wall } from './theme/zone';
import type { Tone } from './ui/status';

const nb = '\u00a0';
const MINUS = '\u2212';

export function number(x: number, digits = 0): string {
  return x.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace('-', MINUS);
}

function significant(x: number): string {
  if (x === 0) return '0';
  const a = Math.abs(x);
  if (a >= 1000) return number(x);
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(a))));
  return number(x, digits);
}

const sign = (s: string, x: number) => (x >= 0 ? `+${s}` : s);

const share = (stat?: string) => !stat || stat === 'proportion' || stat === 'flips';

/** seconds are written in the unit in which they are read. */
function inUnit(x: number, unit: string): string {
  if (unit === 's' && Math.abs(x) < 1e-3) return `${significant(x * 1e6)}${nb}µs`;
  if (unit === 's' && Math.abs(x) < 1) return `${significant(x * 1e3)}${nb}ms`;
  if (unit === 'minutes') return `${significant(x)}${nb}min`;
  return unit ? `${significant(x)}${nb}${unit}` : significant(x);
}

export interface Scaled { stat?: string; scale: string; unit: string }

/** amount writes a value of one arm: shares in per cent, else in the metric's unit. */
export function amount(x: number, s: Scaled): string {
  return share(s.stat) ? `${number(100 * x, 1)}${nb}%` : inUnit(x, s.unit);
}

/** change writes a difference to baseline on the scale of its limit. */
export function change(x: number, s: Scaled, digits = 1): string {
  if (s.scale === 'relative') return `${sign(number(100 * x, digits), x)}${nb}%`;
  if (s.scale === 'value') return amount(x, s);
  if (share(s.stat)) return `${sign(number(100 * x, digits), x)}${nb}pp`;
  return sign(inUnit(x, s.unit), x);
}

/** bare is change without its unit, for the inside of an interval. */
export function bare(x: number, s: Scaled): string {
  return s.scale === 'relative' || share(s.stat) ? sign(number(100 * x, 1), x) : sign(significant(x), x);
}

export function limitText(x: number, s: Scaled): string {
  const v = s.scale === 'relative' || share(s.stat) ? 100 * x : x;
  const digits = Number.isInteger(Math.round(v * 1e6) / 1e6) ? 0 : 2;
  return s.scale === 'value' ? amount(x, s) : change(x, s, digits);
}

/** interval writes the interval of the deciding rule; one that is open on one side says so. */
export function interval(lo: number | undefined | null, hi: number | undefined | null, s: Scaled): string {
  if (lo == null && hi == null) return '';
  if (hi == null) return `≥${nb}${bare(lo!, s)}`;
  return lo == null ? `≤${nb}${bare(hi, s)}` : `[${bare(lo, s)}, ${bare(hi, s)}]`;
}

/** prose keeps numbers and their units on one line. */
export const prose = (text: string) => text.replace(/(\d) (%|pp|ms|s|min)(?![\w-])/g, `$1${nb}$2`);

export const percent = (x: number) => `${number(x, Number.isInteger(x) ? 0 : x * 10 === Math.round(x * 10) ? 1 : 3)}${nb}%`;

/** duration writes nanoseconds as Go counts them. */
export function duration(ns: number): string {
  const s = ns / 1e9;
  if (s < 1) return `${number(s * 1000)}${nb}ms`;
  if (s < 120) return `${number(s, Number.isInteger(s) ? 0 : 1)}${nb}s`;
  if (s < 7200) return `${number(s / 60, Number.isInteger(s / 60) ? 0 : 1)}${nb}min`;
  return `${number(s / 3600, 1)}${nb}h`;
}

export const ms = (x: number) => (Math.abs(x) < 2000 ? `${number(x)}${nb}ms` : `${number(x / 1000, x < 60_000 ? 1 : 0)}${nb}s`);

const zero = '0001-01-01T00:00:00Z';
export const known = (t?: string | null): t is string => !!t && t !== zero;
export const time = (t: string) => new Date(t).getTime();

export function clock(t: string | number, millis = false): string {
  const at = new Date(t).getTime();
  return `${wall(at).slice(11, millis ? 23 : 19)}${suffix(at)}`;
}

/** day is the date of an instant. */
export const day = (t: string | number): string => wall(new Date(t).getTime()).slice(0, 10);

export function stamp(t: string | number): string {
  return `${day(t)}${nb}${clock(t)}`;
}

export function ago(t: string, now: number): string {
  const s = Math.max(0, Math.round((now - time(t)) / 1000));
  if (s < 90) return `${s}${nb}s ago`;
  if (s < 5400) return `${Math.round(s / 60)}${nb}min ago`;
  return s < 129600 ? `${Math.round(s / 3600)}${nb}h ago` : `${Math.round(s / 86400)}${nb}d ago`;
}

export function short(digest?: string): string {
  const h = (digest ?? '').replace(/^sha256:/, '');
  return h.length > 12 ? `${h.slice(0, 4)}…${h.slice(-4)}` : h;
}

/** scaleOf says in what a verdict's numbers are measured. */
export function scaleOf(v: { guardrail: string; scale?: string; stat?: string }, plan: Plan): Scaled {
  const g = plan.judge.guardrails?.find((x) => x.name === v.guardrail);
  return { stat: v.stat || g?.stat, scale: v.scale ?? 'relative', unit: g?.stat === 'drift' ? 'PSI' : (g && plan.units?.[g.metric]) || '' };
}

export interface Judged { tone: Tone; word: string }

/** leastN is how many observations each arm needs before an always-valid lane is drawn; a threshold lane has its own. */
const leastN = 15;

type Judgeable = Pick<Verdict, 'result' | 'effect' | 'limit' | 'upper' | 'looks' | 'of' | 'level' | 'nBaseline' | 'nExposed'>;

/** collecting: fewer observations than a verdict needs, so the numbers say nothing yet. */
export const collecting = (v: Judgeable) =>
  v.result === 'inconclusive' && !v.looks && (v.of ? true : Math.min(v.nBaseline, v.nExposed) < leastN || !v.level);

export const needed = (g?: Guardrail) => (g?.test === 'always-valid' ? leastN : g?.minN || 20);

/** near: it passes, but the outer edge has used nine tenths of the limit. An edge on the limit is what was to be proved. */
function near(v: Judgeable): boolean {
  const edge = v.upper == null || v.upper >= v.limit ? v.effect : v.upper;
  return v.limit > 0 && edge >= 0.9 * v.limit;
}

export function judged(v: Judgeable): Judged {
  switch (v.result) {
    case 'fail': return { tone: 'fail', word: 'Fail' };
    case 'no-data': return { tone: 'none', word: 'No data' };
    case 'error': return { tone: 'hold', word: 'Error' };
    case 'pass': return near(v) ? { tone: 'warn', word: 'Near limit' } : { tone: 'ok', word: 'Pass' };
    default: return collecting(v) ? { tone: 'none', word: 'Collecting' } : { tone: 'warn', word: 'Inconclusive' };
  }
}

/** evidence says how far the evidence of harm is: e against what fails the lane alone. */
export function evidence(logE: number | undefined, level: number | undefined): string {
  if (!level) return '';
  const e = (x: number) => (x > Math.log(1e6) ? `10^${number(x / Math.LN10, 1)}` : number(Math.exp(x), x < 2.3 ? 1 : 0));
  return `e = ${e(logE ?? 0)} of ${e(level)}`;
}

export const guardrail = (plan: Plan, name: string): Guardrail | undefined => plan.judge.guardrails?.find((g) => g.name === name) ?? undefined;

export const laneName = (l: Pick<Lane, 'value'>) => (l.value ? l.value.replace('=', ' = ') : 'all');

/** worst orders lanes: fail, inconclusive, near limit, no data, then the plan's order. */
export function worst(j: Judged): number {
  return ['Fail', 'Error', 'Inconclusive', 'Near limit', 'No data', 'Collecting', 'Pass'].indexOf(j.word);
}

export function phaseTone(r: Pick<RolloutRow, 'phase' | 'where'>): Judged {
  switch (r.phase) {
    case 'RolledBack': return { tone: 'fail', word: 'Rolled back' };
    case 'RollbackIncomplete': return { tone: 'fail', word: 'NOT SAFE' };
    case 'RollingBack': return { tone: 'fail', word: 'Rolling back' };
    case 'Paused': return { tone: 'hold', word: r.where.replace(/^Paused \((.*)\)$/, 'Paused: $1') };
    case 'Completed': return r.where.includes('Undoing') ? { tone: 'run', word: 'Undoing' } : { tone: 'ok', word: 'Completed' };
    case 'Promoting': case 'Soaking': return { tone: 'run', word: r.phase };
    case 'Progressing': return { tone: 'run', word: r.where.split('/')[1] ?? 'Progressing' };
    case 'AwaitingApproval': return { tone: 'hold', word: 'Waits for approval' };
    default: return { tone: 'none', word: r.phase };
  }
}

export const over = (phase: string) => ['Completed', 'RolledBack', 'Rejected', 'Cancelled', 'Expired', 'Superseded'].includes(phase);
export const needsYou = (phase: string) => ['Paused', 'RollbackIncomplete', 'RollingBack', 'RolledBack', 'AwaitingApproval'].includes(phase);
