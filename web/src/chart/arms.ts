// What the comparison draws, worked out before any pixel: three windows of one lane on one scale of value and of time.
import type { Lane, LanePoint } from '../api/client';
import { amount, type Scaled } from '../words';
import type { Model, Phase } from './model';

export type ArmKey = 'baseline' | 'startup' | 'exposed';
export interface Window { from: number; to: number }
export interface Sample { at: number; value: number }
export interface Arm { key: ArmKey; name: string; window: Window; samples: Sample[]; n: number; last?: number; cut: boolean }
export interface Arms { list: Arm[]; domain: [number, number]; stage: Window; level?: number }

/** sec: a verdict stands from the end of its second on. */
const sec = (p: { at: number }) => (p.at + 1) * 1000;

/** arms splits a lane: the baseline and the candidate in the stage that decides, and the candidate before it. Nothing exposed yet: undefined. */
export function arms(lane: Lane, m: Model, names: { stable: string; candidate: string }): Arms | undefined {
  const exposed = m.phases.filter((p) => p.stage >= 0 && p.exposure > 0);
  const now = exposed.at(-1);
  if (!now) return undefined;
  const stage = { from: now.from, to: now.to };
  const list = [arm('baseline', names.stable, stage, lane, [now], false)];
  const before = exposed.slice(0, -1);
  if (before.length) {
    // The start-up is drawn at the same px per minute; beyond twice the stage's own length only its end has room.
    const from = Math.max(before[0].from, stage.from - 2 * (stage.to - stage.from));
    list.push(arm('startup', `${names.candidate}, ${shares(before)}`, { from, to: stage.from }, lane, before, from > before[0].from));
  }
  list.push(arm('exposed', `${names.candidate}, ${share(now)}`, stage, lane, [now], false));
  return { list, stage, domain: domain(list), level: list[0].last };
}

const share = (p: Phase) => p.name;
const shares = (ps: readonly Phase[]) => (ps.length > 2 ? `${share(ps[0])} to ${share(ps[ps.length - 1])}` : ps.map(share).join(' and '));

function arm(key: ArmKey, name: string, window: Window, lane: Lane, phases: readonly Phase[], cut: boolean): Arm {
  const mine = (lane.points ?? []).filter((p) => phases.some((ph) => ph.stage === p.stage) && sec(p) <= window.to + 1000);
  const of = (p: LanePoint) => (key === 'baseline' ? { value: p.baseline, n: p.nBaseline } : { value: p.exposed, n: p.nExposed });
  const seen = mine.filter((p) => p.judged && p.result !== 'no-data');
  const final = mine.at(-1);
  return {
    key, name, window, cut, n: final ? of(final).n : 0, last: seen.length ? of(seen[seen.length - 1]).value : undefined,
    samples: seen.filter((p) => sec(p) >= window.from).map((p) => ({ at: Math.min(sec(p), window.to), value: of(p).value })),
  };
}

/** domain is the same for all panels; it holds zero and every value. */
function domain(list: readonly Arm[]): [number, number] {
  const values = list.flatMap((a) => a.samples.map((s) => s.value));
  const hi = Math.max(0, ...values), lo = Math.min(0, ...values);
  const room = (hi - lo || 1) * 0.15;
  return [lo < 0 ? lo - room : 0, hi + room];
}

/** steps are round values inside a domain, about n of them. */
export function steps([lo, hi]: [number, number], n: number): number[] {
  const raw = (hi - lo) / n, mag = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * mag).find((s) => s >= raw) ?? raw;
  const out: number[] = [];
  for (let k = Math.ceil(lo / step); k * step <= hi; k++) out.push(k === 0 ? 0 : k * step); // never a negative zero
  return out;
}

/** finding is what the comparison says, as a title. */
export function finding(name: string, a: Arms | undefined, scale: Scaled): string {
  const [b, e] = [a?.list[0].last, a?.list.at(-1)?.last];
  return b === undefined || e === undefined ? `${name}: too few observations to compare` : `${name}: ${amount(e, scale)} exposed, ${amount(b, scale)} baseline`;
}
