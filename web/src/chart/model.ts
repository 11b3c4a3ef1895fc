// What the timeline draws, worked out from records and series before any pixel: phases, gates, marks and lanes.
import type { Lane, LanePoint, Plan, Rec, RolloutView, Series, Verdict } from '../api/client';
import { recordWord, stateOf } from '../records';
import type { Tone } from '../ui/status';
import { change, clock, duration, guardrail, interval, judged, type Judged, known, limitText, ms, needed, percent, type Scaled, scaleOf, time, worst } from '../words';

export interface Phase { from: number; to: number; name: string; note: string; exposure: number; stage: number; past?: boolean }
export interface Gate { at: number; tone: Tone; text: string; seq?: number }
export interface Mark { at: number; tone: Tone; text: string; seq: number; loud: boolean }
export interface Run { stage: number; from: number; to: number; points: { x: number; p: LanePoint }[]; collecting?: { from: number; to: number; n: number; of: number } }
export interface LaneModel {
  key: string; name: string; sub: string; lane: Lane; scale: Scaled; verdict: Judged; limit: string; value: string; interval: string; word: string;
  domain: [number, number]; runs: Run[]; gaps: { from: number; to: number }[]; n: string; last?: LanePoint; decided?: number; decision?: string;
}
export interface Model {
  from: number; to: number; end: number; now?: number; until?: number; decided?: number; phases: Phase[]; gates: Gate[]; marks: Mark[]; lanes: LaneModel[]; gaps: Series['gaps']; banded: boolean;
}

const sec = (p: { at: number }) => (p.at + 1) * 1000; // a verdict stands from the end of its second on

/** model returns the picture of a rollout at the time now (server's clock, ms). */
export function model(view: RolloutView, series: Series, records: readonly Rec[], now: number, whole: boolean): Model {
  const { state, plan, report } = view.status;
  const started = records.length ? time(records[0].at) : time(state.started);
  const isOver = known(state.ended);
  const end = isOver ? time(state.ended) : now;
  const decided = known(state.decided) ? time(state.decided) : undefined;
  const phases = phasesOf(plan, records, decided ?? end, isOver, state.phase === 'Completed');
  const stageStart = phases.findLast((p) => p.stage >= 0)?.from ?? started;
  const bake = plan.stages?.[state.stage]?.bake;
  const until = !isOver && decided === undefined && state.sub === 'Baking' && bake ? now + Math.max(0, (bake - state.baked) / 1e6) : undefined;
  const from = whole ? started : stageStart;
  const span = Math.max(3000, (until ?? end) - from);
  const to = (until ?? end) + span * (isOver ? 0.09 : 0.04);
  if (decided !== undefined) phases.push({ from: decided, to: isOver ? Math.min(to, Math.max(now, end + span * 0.03)) : now, name: `${plan.flag.stable}, 0\u00a0%`, note: '', exposure: 0, stage: -1, past: true });
  const lanes = lanesOf(series, { plan, gaps: series.gaps, phases, verdicts: report.verdicts ?? [], cause: state.cause?.verdict, decided, end });
  return {
    from: from - span * 0.005, to, end, now: !isOver || now < to ? Math.min(now, to) : undefined, until, decided, phases,
    gates: gatesOf(records, view, end), marks: marksOf(records, decided), lanes, gaps: series.gaps, banded: lanes.some((l) => l.last?.lower != null || l.last?.upper != null),
  };
}

function phasesOf(plan: Plan, records: readonly Rec[], end: number, isOver: boolean, completed: boolean): Phase[] {
  const commits = records.filter((r) => r.kind === 'rollout.committed');
  const out = commits.map((r, i): Phase => {
    const stage = stateOf(r)?.stage ?? 0;
    const s = plan.stages?.[stage];
    const shadow = s?.mode === 'shadow';
    return {
      from: time(r.at), to: i + 1 < commits.length ? time(commits[i + 1].at) : end, stage,
      name: shadow ? 'Shadow' : percent((s?.exposure ?? 0) / 1000), note: shadow ? percent(0) : (s?.name ?? ''), exposure: (s?.exposure ?? 0) / 100_000,
    };
  });
  if (isOver && completed && out.length) out[out.length - 1].to = end;
  return out.filter((p) => p.to > p.from);
}

function gatesOf(records: readonly Rec[], view: RolloutView, end: number): Gate[] {
  const { state } = view.status;
  const gates: Gate[] = [];
  let why = 'started';
  for (const r of records) {
    if (r.kind === 'rollout.judged') why = recordWord(r).text.replace(/,? to stage.*$/, '') || 'auto';
    if (r.kind === 'rollout.promote') why = `promoted by ${r.actor.replace(/^\w+:/, '')}`;
    if (r.kind === 'rollout.committed') gates.push({ at: time(r.at), tone: 'ok', text: why, seq: r.seq });
  }
  if (known(state.decided)) gates.push({ at: time(state.decided), tone: 'fail', text: `rolled back ${clock(state.decided)}` });
  else if (state.phase === 'Completed') gates.push({ at: end, tone: 'ok', text: 'completed' });
  else if (state.phase === 'Paused') gates.push({ at: end, tone: 'hold', text: view.where.toLowerCase() });
  else if (state.sub === 'Baking') {
    const bake = view.status.plan.stages?.[state.stage]?.bake ?? 0;
    gates.push({ at: end, tone: 'run', text: `baking, ${duration(state.baked)} of ${duration(bake)}` });
  }
  return gates;
}

const loud = ['rollout.submit', 'rollout.pause', 'rollout.resume', 'rollout.promote', 'rollout.rollback', 'rollout.cancel', 'rollout.proven', 'rollout.note', 'denied'];

function marksOf(records: readonly Rec[], decided?: number): Mark[] {
  return records.filter((r) => r.kind !== 'rollout.committed').map((r) => {
    const w = recordWord(r);
    let text = w.word.toLowerCase();
    if (r.kind === 'rollout.submit') text = `started by ${r.actor.replace(/^\w+:/, '')}`;
    if (r.kind === 'rollout.proven' && decided !== undefined) text = `safe after ${ms(time(r.at) - decided)}`;
    return { at: time(r.at), tone: w.tone, text, seq: r.seq, loud: loud.includes(r.kind) };
  });
}

interface Context { plan: Plan; gaps: Series['gaps']; phases: Phase[]; verdicts: readonly Verdict[]; cause?: Verdict; decided?: number; end: number }

const isCauseOf = (lane: Lane, cause?: Verdict) => !!cause && cause.guardrail === lane.guardrail && (cause.value ?? '') === (lane.value ?? '');

function lanesOf(series: Series, c: Context): LaneModel[] {
  return (series.lanes ?? [])
    .filter((lane) => lane.dim === 'total' || isCauseOf(lane, c.cause) || worthIt(lane, series, c.cause))
    .map((lane) => laneOf(lane, c))
    .sort((a, b) => Number(b.decided !== undefined) - Number(a.decided !== undefined) || worst(a.verdict) - worst(b.verdict));
}

/** laneModel is one lane of a rollout, drawn on the times of its model. */
export function laneModel(lane: Lane, view: RolloutView, m: Model): LaneModel {
  const { plan, report, state } = view.status;
  return laneOf(lane, { plan, gaps: m.gaps, phases: m.phases, verdicts: report.verdicts ?? [], cause: state.cause?.verdict, decided: m.decided, end: m.end });
}

function laneOf(lane: Lane, { plan, gaps, phases, verdicts, cause, decided, end }: Context): LaneModel {
  const points = lane.points ?? [];
  const final = points.at(-1);
  const isCause = isCauseOf(lane, cause);
  const v = isCause ? cause : verdicts.find((x) => x.guardrail === lane.guardrail && x.dim === lane.dim && (x.value ?? '') === (lane.value ?? ''));
  const g = guardrail(plan, lane.guardrail);
  const limit = lane.limit || v?.limit || 0;
  const scale = scaleOf({ ...lane, ...(v ? { scale: v.scale, stat: v.stat } : {}) }, plan);
  const verdict = v ? judged(v) : final ? judged({ ...final, limit } as unknown as Verdict) : { tone: 'none' as const, word: 'No data' };
  const shown = v ?? final;
  const says = !!shown && verdict.word !== 'Collecting' && verdict.word !== 'No data';
  return {
    key: `${lane.guardrail}/${lane.value ?? ''}`, name: lane.guardrail, lane: { ...lane, limit }, scale, verdict, last: final,
    sub: lane.value ? `${lane.value.replace('=', ' = ')}, 1 of ${lane.of ?? 1}` : `all, ${scale.stat ?? g?.metric ?? ''}`,
    limit: limitText(limit, scale), value: says ? change(shown.effect, scale) : '–',
    interval: says ? interval(shown.lower, shown.upper, scale) : '', word: verdict.word,
    n: shown ? `n ${shown.nBaseline.toLocaleString('en-US')} / ${shown.nExposed.toLocaleString('en-US')}` : '',
    domain: domain(points, limit), runs: runs(points, phases, needed(g), decided ?? end),
    gaps: [...(gaps ?? []).map((s) => ({ from: s.from * 1000, to: (s.to + 1) * 1000 })), ...silent(points)],
    decided: isCause ? decided : undefined,
    decision: !isCause || !cause ? undefined : cause.bounded ? 'here the evidence of harm is enough' : cause.looks ? `${cause.breached} of ${cause.looks} looks beyond the limit` : undefined,
  };
}

const last = (l: Lane) => (l.points ?? []).at(-1);

/** worthIt: of a guardrail's values only the worst is drawn, and only once it has been judged; after the end, those that failed. */
function worthIt(lane: Lane, series: Series, cause?: Verdict): boolean {
  if (cause) return last(lane)?.result === 'fail';
  const first = (series.lanes ?? []).find((l) => l.guardrail === lane.guardrail && l.dim !== 'total');
  return first === lane && (lane.points ?? []).some((p) => p.judged);
}

function silent(points: readonly LanePoint[]): { from: number; to: number }[] {
  const out: { from: number; to: number }[] = [];
  points.forEach((p, i) => {
    if (p.result !== 'no-data') return;
    const to = i + 1 < points.length ? points[i + 1].at * 1000 : sec(p);
    if (out.length && out[out.length - 1].to >= p.at * 1000) out[out.length - 1].to = to;
    else out.push({ from: p.at * 1000, to });
  });
  return out;
}

/** domain holds zero, the limit and every estimate; bands are clipped at it. */
function domain(points: readonly LanePoint[], limit: number): [number, number] {
  const l = Math.abs(limit) || 1;
  let lo = -0.55 * l, hi = 1.45 * l;
  for (const p of points) {
    if (!p.judged) continue;
    lo = Math.min(lo, p.effect * 1.12);
    hi = Math.max(hi, p.effect * 1.12);
  }
  return [lo, hi];
}

/** runs cuts a lane at the stages: each starts afresh, and below the least n nothing is drawn but how far it is. */
function runs(points: readonly LanePoint[], phases: readonly Phase[], of: number, end: number): Run[] {
  return phases.filter((p) => p.stage >= 0).map((ph) => {
    const mine = points.filter((p) => p.stage === ph.stage && sec(p) <= ph.to + 1000);
    const seen = mine.filter((p) => p.judged || p.result === 'no-data').map((p) => ({ x: Math.min(Math.max(sec(p), ph.from), ph.to), p }));
    const first = seen.length ? seen[0].x : Math.min(ph.to, end);
    const before = mine.filter((p) => !p.judged);
    const n = Math.max(0, ...before.map((p) => Math.min(p.nBaseline, p.nExposed)));
    return { stage: ph.stage, from: ph.from, to: ph.to, points: seen, collecting: first > ph.from ? { from: ph.from, to: first, n, of } : undefined };
  });
}

/** at returns the verdict that stood at a time. */
export function at(lane: LaneModel, t: number): LanePoint | undefined {
  return (lane.lane.points ?? []).findLast((p) => sec(p) <= t);
}

/** ticks are round times, at most n of them. */
export function ticks(from: number, to: number, n: number): number[] {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((s) => s * 1000);
  const step = steps.find((s) => (to - from) / s <= n) ?? 7 * 86_400_000;
  const out: number[] = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) out.push(t);
  return out;
}
