import { useId, useMemo } from 'react';
import type { LanePoint, Rec, RolloutView, Series } from '../api/client';
import { suffix, zoneName } from '../theme/zone';
import { GlyphAt } from '../ui/status';
import { change, clock, interval, judged, number, type Scaled } from '../words';
import { Cursor } from './cursor';
import { at, type LaneModel, type Model, model, type Phase, ticks } from './model';
import { useWidth } from './width';

interface Box { w: number; left: number; right: number; narrow: boolean }

const RIBBON = 26, GATES = 30, EVENTS = 32, AXIS = 28;

/** Timeline draws phases, gates, one lane per guardrail, events and the axis on one time scale. */
export default function Timeline({ view, series, records, now, whole }: { view: RolloutView; series: Series; records: readonly Rec[]; now: number; whole: boolean }) {
  const [host, w] = useWidth();
  const m = useMemo(() => model(view, series, records, now, whole), [view, series, records, now, whole]);
  const narrow = w < 600;
  const box: Box = narrow ? { w, left: 16, right: 16, narrow } : w < 860 ? { w, left: 132, right: 16, narrow } : { w, left: 208, right: 122, narrow };
  return (
    <div ref={host} className="tl" data-testid="timeline">
      {w > 0 && <Drawing m={m} box={box} label={`${view.name}: ${view.sentence}`} />}
    </div>
  );
}

function Drawing({ m, box, label }: { m: Model; box: Box; label: string }) {
  const plot = box.w - box.left - box.right;
  const x = (t: number) => box.left + ((t - m.from) / (m.to - m.from)) * plot;
  const lanes = box.narrow ? m.lanes.slice(0, 1) : m.lanes;
  const heights = lanes.map((_, i) => (i === 0 ? (box.narrow ? 156 : 120) : 58));
  const top = box.narrow ? RIBBON + 12 : RIBBON + 4 + GATES;
  const tops = heights.map((_, i) => top + heights.slice(0, i).reduce((a, b) => a + b, 0));
  const bottom = top + heights.reduce((a, b) => a + b, 0);
  const events = box.narrow ? 0 : EVENTS;
  const height = bottom + events + AXIS;
  const clip = useId();
  const of = (l: LaneModel, t: number) => says(at(l, t), l.lane.limit, l.scale);
  const grid = ticks(m.from, m.to, Math.max(2, Math.floor(plot / 84)));
  return (
    <>
      <svg width={box.w} height={height} role="img" aria-label={label}>
        <defs>
          <pattern id={`${clip}h`} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="var(--hatch-a)" /><rect width="1.6" height="6" fill="var(--hatch-b)" /></pattern>
          {lanes.map((l, i) => <clipPath key={l.key} id={`${clip}${i}`}><rect x={box.left} y={tops[i] + 1} width={Math.max(0, Math.min(x(m.decided ?? m.end), box.w - box.right) - box.left)} height={heights[i] - 2} /></clipPath>)}
        </defs>
        <Ribbon m={m} x={x} box={box} />
        {!box.narrow && <Gates m={m} x={x} box={box} />}
        {lanes.map((l, i) => (
          <LaneView key={l.key} l={l} m={m} x={x} box={box} y={tops[i]} h={heights[i]} big={i === 0} clip={`url(#${clip}${i})`} hatch={`url(#${clip}h)`} grid={grid} />
        ))}
        {!box.narrow && <Events m={m} x={x} box={box} y={bottom} />}
        <Axis m={m} x={x} box={box} y={bottom + events} h={height} grid={grid} top={top} />
      </svg>
      <Cursor label="Time on the timeline" left={box.left} plot={plot} width={box.w} top={box.narrow ? 4 : 34} bottom={AXIS} height={height} from={m.from} to={m.to}
        last={Math.min(m.decided ?? m.end, m.to)} stops={m.gates.map((g) => g.at)} says={(t) => lanes.map((l) => `${l.name} ${l.lane.value ?? ''} ${of(l, t)}`).join('; ')}>
        {(t) => lanes.map((l) => <div key={l.key}><span className="t3">{l.name} {l.lane.value}</span><br />{of(l, t)}</div>)}
      </Cursor>
    </>
  );
}

type X = (t: number) => number;

function Ribbon({ m, x, box }: { m: Model; x: X; box: Box }) {
  const y = 4;
  const edge = box.w - 6;
  const seg = (p: Phase, i: number) => {
    const a = Math.max(x(p.from), box.left), b = Math.min(x(p.to), edge);
    if (b - a < 1) return null;
    const room = b - a - 12;
    const name = room > p.name.length * 7.6 ? p.name : '';
    const note = name && room > (p.name.length + p.note.length + 2) * 7.4 ? p.note : '';
    return (
      <g key={i} data-phase={p.past ? 'back' : p.stage}>
        <rect x={a} y={y} width={Math.max(1, b - a - (p.past ? 0 : 2))} height={RIBBON} rx={4} fill={p.exposure > 0 ? 'var(--exposed)' : 'var(--baseline)'} fillOpacity={p.past ? 0.2 : p.exposure > 0 ? 0.08 + 0.75 * p.exposure : 0.12} />
        <title>{`${p.name} ${p.note}`}</title>
        {p.past ? (box.narrow ? null : <text x={room > 60 ? a + 8 : Math.min(b + 6, edge - 60)} y={y + 17} className="t1 f12 bold">{p.name}</text>)
          : name && <text x={a + 8} y={y + 17} className="t1 f12 bold">{name}{note && <tspan className="t2" dx="6" style={{ fontWeight: 400 }}>{note}</tspan>}</text>}
      </g>
    );
  };
  return (
    <g>
      {!box.narrow && <text x={16} y={y + 18} className="t2 f12 med">Phase</text>}
      {m.phases.map(seg)}
      {m.until !== undefined && m.until - m.end > 400 && (
        <>
          <rect x={x(m.end)} y={y + 0.5} width={Math.max(1, x(m.until) - x(m.end))} height={RIBBON - 1} rx={4} fill="none" stroke="var(--line-strong)" strokeDasharray="3 2" />
          {x(m.until) - x(m.end) > 92 && <text x={x(m.until) - 6} y={y + 17} textAnchor="end" className="t2">until {clock(m.until)}</text>}
        </>
      )}
    </g>
  );
}

/** fit drops the labels that would run into the next mark or out of the picture; the marks stay. */
function fit<T extends { at: number; text: string }>(marks: T[], x: X, right: number): (T & { px: number; show: boolean })[] {
  const placed = marks.map((g) => ({ ...g, px: x(g.at), show: false }));
  placed.forEach((g, i) => {
    const next = placed[i + 1]?.px ?? right;
    g.show = g.px + 12 + g.text.length * 5.9 < Math.max(next - 6, i === placed.length - 1 ? right : 0);
  });
  return placed;
}

function Gates({ m, x, box }: { m: Model; x: X; box: Box }) {
  const y = RIBBON + 4 + 15;
  return (
    <g>
      <text x={16} y={y + 4} className="t2 f12 med">Gates</text>
      {fit(m.gates.filter((g) => x(g.at) >= box.left - 6), x, box.w - 4).map((g, i) => (
        <g key={i} data-seq={g.seq} data-gate={g.tone}>
          <title>{g.text}</title>
          <GlyphAt tone={g.tone} x={g.px} y={y} size={g.tone === 'ok' ? 11 : 12} />
          {g.show && <text x={g.px + 10} y={y + 4} className={g.tone === 'fail' ? 'tf bold' : g.tone === 'run' ? 'tx med' : g.tone === 'hold' ? 't1 med' : 't2'}>{g.text}</text>}
        </g>
      ))}
    </g>
  );
}

function Events({ m, x, box, y }: { m: Model; x: X; box: Box; y: number }) {
  const inside = m.marks.filter((k) => x(k.at) >= box.left - 6);
  const labelled = fit(inside.filter((k) => k.loud), x, box.w - 4);
  return (
    <g>
      <line x1={0} x2={box.w} y1={y + 0.5} y2={y + 0.5} className="hl crisp" />
      <text x={16} y={y + 20} className="t2 f12 med">Events</text>
      {inside.filter((k) => !k.loud).map((k) => (
        <line key={k.seq} data-seq={k.seq} x1={x(k.at)} x2={x(k.at)} y1={y + 12} y2={y + 20} stroke="var(--baseline)"><title>{`${k.text}, record ${k.seq}`}</title></line>
      ))}
      {labelled.map((k) => (
        <g key={k.seq} data-seq={k.seq}>
          <title>{`${k.text}, record ${k.seq}`}</title>
          <GlyphAt tone={k.tone} x={k.px} y={y + 16} size={10} />
          {k.show && <text x={k.px + 9} y={y + 20} className="t2 halo">{k.text}</text>}
        </g>
      ))}
    </g>
  );
}

function Axis({ m, x, box, y, h, grid, top }: { m: Model; x: X; box: Box; y: number; h: number; grid: number[]; top: number }) {
  const rule = m.decided !== undefined ? x(m.decided) : undefined;
  const nowX = m.now !== undefined ? x(m.now) : undefined;
  const fine = grid.length > 1 && grid[1] - grid[0] < 60_000;
  return (
    <g>
      <line x1={0} x2={box.w} y1={y + 0.5} y2={y + 0.5} className="hl crisp" />
      {!box.narrow && <text x={16} y={y + 18}>{zoneName(m.end)}</text>}
      {grid.filter((t) => x(t) > box.left && x(t) < (box.narrow ? box.w - 36 : box.w - box.right + 20) && (nowX === undefined || Math.abs(x(t) - nowX) > 36)).map((t) => (
        <text key={t} x={x(t)} y={y + 18} textAnchor="middle">{clock(t).slice(0, fine ? 8 : 5)}{box.narrow && t === grid[grid.length - 1] ? suffix(t) : ''}</text>
      ))}
      {nowX !== undefined && (
        <>
          <line x1={nowX} x2={nowX} y1={box.narrow ? top : RIBBON + 4 + 24} y2={y} stroke="var(--text)" strokeWidth={1} strokeDasharray={m.decided === undefined ? undefined : '2 3'} />
          <text x={Math.min(nowX, box.w - 24)} y={y + 18} textAnchor="middle" className="t1">now</text>
        </>
      )}
      {rule !== undefined && <line data-rule="rollback" x1={rule} x2={rule} y1={box.narrow ? 4 : RIBBON + 4 + 20} y2={Math.min(h, y)} stroke="var(--fail-mark)" strokeWidth={1.5} />}
    </g>
  );
}

function cut(s: string, room: number, per: number) {
  const n = Math.floor(room / per);
  return s.length > n ? `${s.slice(0, Math.max(1, n - 1))}…` : s;
}

function LaneView({ l, m, x, box, y, h, big, clip, hatch, grid }: { l: LaneModel; m: Model; x: X; box: Box; y: number; h: number; big: boolean; clip: string; hatch: string; grid: number[] }) {
  const [lo, hi] = l.domain;
  const limit = l.lane.limit;
  const Y = (v: number) => y + 6 + ((hi - v) / (hi - lo)) * (h - 12);
  const end = Math.min(x(m.decided ?? m.end), box.w - box.right);
  const mid = y + (big ? h / 2 - 6 : h / 2 - 3);
  const side = box.right > 60;
  return (
    <g data-lane={l.key} data-domain={`${lo} ${hi}`}>
      {!box.narrow && <line x1={0} x2={box.w} y1={y + 0.5} y2={y + 0.5} className="hl crisp" />}
      <rect x={box.left} y={y + 1} width={Math.max(0, end - box.left)} height={Math.max(0, Y(limit) - y - 1)} className="worse" />
      {grid.filter((t) => x(t) > box.left && x(t) < box.w - box.right).map((t) => <line key={t} x1={x(t)} x2={x(t)} y1={y + 1} y2={y + h} className="g crisp" />)}
      {l.gaps.map((g, i) => (
        <g key={i} data-gap="">
          <rect x={Math.max(box.left, x(g.from))} y={y + 1} width={Math.max(2, Math.min(end, x(g.to)) - Math.max(box.left, x(g.from)))} height={h - 1} fill={hatch} />
          {x(g.to) - x(g.from) > 8 && <text x={Math.max(box.left + 4, x(g.from) + (x(g.from) > box.w - box.right - 190 ? -4 : 4))} textAnchor={x(g.from) > box.w - box.right - 190 ? 'end' : 'start'} y={y + h - 8} className="halo t1">no data {number((g.to - g.from) / 1000)} s since {clock(g.from)}</text>}
        </g>
      ))}
      <line x1={box.left} x2={box.w - box.right} y1={Y(0)} y2={Y(0)} className="z crisp" />
      <line x1={box.left} x2={end} y1={Y(limit)} y2={Y(limit)} className="lim" data-limit="" />
      {m.phases.filter((p) => p.stage >= 0 && x(p.from) > box.left).map((p) => <line key={p.from} x1={x(p.from)} x2={x(p.from)} y1={y + 1} y2={y + h} className="stg crisp" />)}
      <g clipPath={clip}>{l.runs.map((r) => <RunView key={r.stage} points={r.points.map((q) => ({ x: x(q.x), off: q.p.result === 'no-data', e: Y(q.p.effect), lo: q.p.lower == null ? undefined : Y(q.p.lower), hi: q.p.upper == null ? undefined : Y(q.p.upper) }))} to={Math.min(x(r.to), end) - 3} />)}</g>
      {l.runs.map((r) => r.collecting && <Collecting key={r.stage} c={r.collecting} shadow={r.stage >= 0 && m.phases.find((p) => p.stage === r.stage)?.exposure === 0} x={x} free={free([Y(0), Y(limit)], y, h)} left={box.left} end={end} />)}
      {box.narrow ? <text x={box.left + 4} y={Y(limit) - 5} className="tf halo">limit {l.limit}</text> : (
        <>
          <GlyphAt tone={l.verdict.tone} x={22} y={mid} />
          <text x={36} y={mid + 4} className="t1 f12 med">{cut(l.name, box.left - 84, 6.4)}<title>{l.name}</title></text>
          <text x={36} y={mid + 20}>{cut(l.sub, box.left - 84, 5.6)}<title>{l.sub}</title></text>
          {box.left > 180 && <text x={box.left - 8} y={Y(limit) + 4} textAnchor="end" className="tf">{l.limit}</text>}
          {box.left > 180 && Math.abs(Y(0) - Y(limit)) > 12 && <text x={box.left - 8} y={Y(0) + 4} textAnchor="end">0</text>}
        </>
      )}
      {side && <Value l={l} x={box.w - box.right + 14} y={big ? y + h / 2 - 24 : y + (l.interval ? 20 : 25)} big={big} />}
      {l.decided !== undefined && (
        <g data-decision="">
          <rect x={x(l.decided) - 5} y={Y(limit) - 5} width={10} height={10} rx={1} fill="var(--fail-mark)" stroke="var(--surface)" />
          {l.decision && x(l.decided) - box.left > 190 && <text x={x(l.decided) - 10} y={Y(lo) - Y(0) > 18 ? Y(0) + 15 : Y(limit) - 9} textAnchor="end" className="t1 halo">{l.decision}</text>}
        </g>
      )}
    </g>
  );
}

function Value({ l, x, y, big }: { l: LaneModel; x: number; y: number; big: boolean }) {
  const tone = { fail: 'tf', warn: 'tw', ok: 'tok', none: 'tn', hold: 't1', run: 'tx' }[l.verdict.tone];
  return (
    <g>
      <text x={x} y={y} className="t1 f12 bold" data-value={l.key}>{l.value}</text>
      {l.interval && <text x={x} y={y + 15} className="t2">{l.interval}</text>}
      <text x={x} y={y + (l.interval ? 30 : 15)} className={`${tone} bold`}>{big || !l.interval ? l.word : ''}</text>
      {big && <text x={x} y={y + (l.interval ? 45 : 30)}>limit {l.limit}</text>}
      {big && <text x={x} y={y + (l.interval ? 60 : 45)}>{l.n}</text>}
    </g>
  );
}

export interface Px { x: number; e: number; off: boolean; lo?: number; hi?: number }

/** RunView draws one stage of a lane: each verdict stands until the next one. */
export function RunView({ points, to }: { points: Px[]; to: number }) {
  if (!points.length) return null;
  const stops = points.map((p, i) => Math.max(p.x, i + 1 < points.length ? points[i + 1].x : to));
  const line = points.map((p, i) => (p.off ? '' : `${i && !points[i - 1].off ? 'L' : 'M'}${p.x.toFixed(1)} ${p.e.toFixed(1)}H${stops[i].toFixed(1)}`)).join('');
  const dense = points.length > 60;
  // An interval that is open on one side goes to the edge of the lane; where there is none yet there is no band.
  const band = (p: Px, i: number) => {
    if (p.off || (p.lo === undefined && p.hi === undefined)) return '';
    const top = p.hi ?? -1e4, bottom = p.lo ?? 1e4;
    return `M${p.x.toFixed(1)} ${top.toFixed(1)}H${stops[i].toFixed(1)}V${bottom.toFixed(1)}H${p.x.toFixed(1)}Z`;
  };
  const bands = points.map(band).join('');
  return (
    <>
      {bands && <path className="b95" data-band="" d={bands} />}
      <path d={line} className="exp" data-line="" />
      {!dense && points.filter((p) => !p.off).map((p, i) => <circle key={i} cx={p.x} cy={p.e} r={2.6} fill="var(--exposed)" stroke="var(--surface)" />)}
    </>
  );
}

/** free is the height of a lane at which a label crosses none of the lines. */
function free(lines: number[], y: number, h: number): number {
  const spots = h > 100 ? [y + h / 2 + 22, y + h / 2 - 10, y + 22] : [y + h - 12, y + 16, y + h / 2 + 2];
  const room = (s: number) => Math.min(...lines.map((l) => Math.abs(l - (s - 1))));
  return spots.reduce((a, b) => (room(b) > room(a) + 3 ? b : a));
}

function Collecting({ c, shadow, x, free: cy, left, end }: { c: { from: number; to: number; n: number; of: number }; shadow?: boolean; x: X; free: number; left: number; end: number }) {
  const a = Math.max(left, x(c.from)), b = Math.min(end, x(c.to));
  const long = shadow ? 'nothing is exposed' : `collecting, n = ${c.n} of ${c.of}`;
  const text = b - a > long.length * 5.8 + 8 ? long : shadow ? (b - a > 50 ? 'shadow' : '') : b - a > 54 ? `n < ${c.of}` : '';
  const cx = (a + b) / 2;
  if (!text) return null;
  const wide = Math.min(64, b - a - 12);
  return (
    <g data-collecting={`${c.n}/${c.of}`}>
      <text x={cx} y={cy} textAnchor="middle" className="halo">{text}</text>
      {!shadow && <rect x={cx - wide / 2} y={cy + 5} width={wide} height={3} rx={1.5} fill="var(--surface-3)" />}
      {!shadow && <rect x={cx - wide / 2} y={cy + 5} width={wide * Math.min(1, c.n / c.of)} height={3} rx={1.5} fill="var(--baseline)" />}
    </g>
  );
}

/** says is one verdict in words. */
export function says(p: LanePoint | undefined, limit: number, scale: Scaled): string {
  if (!p) return 'nothing yet';
  if (p.result === 'no-data') return 'no data';
  if (p.result !== 'fail' && !p.judged) return `collecting, n = ${Math.min(p.nBaseline, p.nExposed)}`;
  return `${judged({ ...p, limit }).word}, ${change(p.effect, scale)} ${interval(p.lower, p.upper, scale)}, n ${number(p.nBaseline)} / ${number(p.nExposed)}`;
}
