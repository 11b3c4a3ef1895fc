import { useId } from 'react';
import { zoneName } from '../theme/zone';
import { amount, change, clock, needed, number, type Scaled } from '../words';
import type { Guardrail } from '../api/client';
import { type Arm, type Arms, steps } from './arms';
import { Cursor } from './cursor';
import { at, type LaneModel, type Model, ticks } from './model';
import { type Px, RunView, says } from './timeline';
import { useWidth } from './width';

const HEAD = 62, PLOT = 220, AXIS = 26, GAP = 24, LEFT = 56, RIGHT = 16;

const styles = { baseline: { stroke: 'var(--baseline)', dash: '4 3', width: 1.5, word: 'Baseline' }, startup: { stroke: 'var(--startup)', dash: '1 3', width: 2, word: 'Start-up' }, exposed: { stroke: 'var(--exposed)', dash: undefined, width: 1.75, word: 'Exposed' } };

/** ArmPanels draws baseline, start-up and exposed on one value axis and at one number of px per minute. */
export function ArmPanels({ arms, m, scale, rail }: { arms: Arms; m: Model; scale: Scaled; rail?: Guardrail }) {
  const [host, w] = useWidth();
  const narrow = w < 760;
  const spans = arms.list.map((a) => Math.max(1000, a.window.to - a.window.from));
  const room = narrow ? w - LEFT - RIGHT : w - LEFT - RIGHT - GAP * (arms.list.length - 1);
  const perMs = room / (narrow ? Math.max(...spans) : spans.reduce((a, b) => a + b, 0));
  let left = LEFT;
  return (
    <div ref={host} data-testid="arms">
      {w > 0 && (
        <svg width={w} height={narrow ? arms.list.length * (HEAD + PLOT + AXIS) : HEAD + PLOT + AXIS} role="img" aria-label={arms.list.map((a) => `${styles[a.key].word} ${a.name}: ${a.last === undefined ? 'collecting' : amount(a.last, scale)}, n ${number(a.n)}`).join('; ')}>
          {arms.list.map((a, i) => {
            const x0 = narrow ? LEFT : left;
            const width = spans[i] * perMs;
            left += width + GAP;
            return <ArmPanel key={a.key} a={a} arms={arms} m={m} x0={x0} width={width} y0={(narrow ? i * (HEAD + PLOT + AXIS) : 0) + HEAD} labels={narrow || i === 0} scale={scale} of={needed(rail)} />;
          })}
        </svg>
      )}
    </div>
  );
}

function ArmPanel({ a, arms, m, x0, width, y0, labels, scale, of }: { a: Arm; arms: Arms; m: Model; x0: number; width: number; y0: number; labels: boolean; scale: Scaled; of: number }) {
  const [lo, hi] = arms.domain;
  const x = (t: number) => x0 + ((t - a.window.from) / (a.window.to - a.window.from)) * width;
  const y = (v: number) => y0 + ((hi - v) / (hi - lo)) * PLOT;
  const style = styles[a.key];
  const line = a.samples.map((s, i) => `${i ? 'L' : 'M'}${x(s.at).toFixed(1)} ${y(s.value).toFixed(1)}H${x(a.samples[i + 1]?.at ?? a.window.to).toFixed(1)}`).join('');
  const grid = ticks(a.window.from, a.window.to, Math.max(1, Math.floor(width / 74)));
  const wide = width > 210;
  return (
    <g data-panel={a.key} data-domain={`${lo} ${hi}`} data-px-per-minute={(width / ((a.window.to - a.window.from) / 60_000)).toFixed(3)}>
      <line x1={x0} x2={x0 + 22} y1={y0 - 46} y2={y0 - 46} stroke={style.stroke} strokeDasharray={style.dash} strokeWidth={style.width} />
      <text x={x0 + 28} y={y0 - 42} className="t1 f12 bold">{style.word}{wide && <tspan className="t1 bold" dx="4">{a.name}</tspan>}<title>{a.name}</title></text>
      <text x={x0} y={y0 - 16} className="t1 bold" style={{ fontSize: 18 }} data-arm-value={a.key}>{a.last === undefined ? '–' : amount(a.last, scale)}</text>
      {wide && <text x={x0 + width} y={y0 - 16} textAnchor="end">n = {number(a.n)}</text>}
      {steps(arms.domain, 4).map((v) => (
        <g key={v}>
          <line x1={x0} x2={x0 + width} y1={y(v)} y2={y(v)} className={v === 0 ? 'z crisp' : 'g crisp'} />
          {labels && <text x={x0 - 8} y={y(v) + 4} textAnchor="end">{amount(v, scale)}</text>}
        </g>
      ))}
      {arms.level !== undefined && a.key !== 'baseline' && <line x1={x0} x2={x0 + width} y1={y(arms.level)} y2={y(arms.level)} stroke="var(--baseline)" strokeDasharray="4 3" data-level="" />}
      {arms.level !== undefined && a.key === 'exposed' && width > 120 && <text x={x0 + 4} y={y(arms.level) - 5} className="halo">baseline {amount(arms.level, scale)}</text>}
      {line && <path d={line} fill="none" stroke={style.stroke} strokeDasharray={style.dash} strokeWidth={style.width} data-line="" />}
      {!line && width > 90 && <text x={x0 + width / 2} y={y0 + PLOT / 2} textAnchor="middle" className="halo">collecting, n = {number(a.n)} of {of}</text>}
      {a.cut && wide && <text x={x0 + 4} y={y0 + 12} className="halo">earlier start-up left out</text>}
      {m.decided !== undefined && a.window.to === m.decided && <line x1={x0 + width} x2={x0 + width} y1={y0} y2={y0 + PLOT} stroke={a.key === 'exposed' ? 'var(--fail-mark)' : 'var(--line-strong)'} strokeWidth={1.5} />}
      {grid.map((t) => x(t) > x0 + 16 && x(t) < x0 + width - 20 && <text key={t} x={x(t)} y={y0 + PLOT + 18} textAnchor="middle">{clock(t).slice(0, 8)}</text>)}
    </g>
  );
}

/** Difference draws exposed against baseline: estimate, the interval of the deciding rule, zero, the limit, and the last interval as a bar. */
export function Difference({ l, m, kind }: { l: LaneModel; m: Model; kind: string }) {
  const [host, w] = useWidth();
  const clip = useId();
  const right = w < 760 ? 12 : 112, h = 240, top = 8;
  const [lo, hi] = domain(l);
  const from = m.phases.find((p) => p.stage >= 0 && p.exposure > 0)?.from ?? m.from;
  const end = m.decided ?? m.end;
  const to = end + (end - from) * 0.02;
  const plot = w - LEFT - right;
  const x = (t: number) => LEFT + ((t - from) / (to - from)) * plot;
  const y = (v: number) => top + ((hi - v) / (hi - lo)) * h;
  const limit = l.lane.limit;
  const runs = l.runs.map((r) => ({ ...r, points: r.points.filter((q) => q.x >= from) }));
  const px = (r: (typeof runs)[number]): Px[] => r.points.map((q) => ({ x: x(q.x), off: q.p.result === 'no-data', e: y(q.p.effect), lo: q.p.lower == null ? undefined : y(q.p.lower), hi: q.p.upper == null ? undefined : y(q.p.upper) }));
  return (
    <div ref={host} className="tl" data-testid="difference">
      {w > 0 && (
        <>
          <svg width={w} height={top + h + AXIS} role="img" aria-label={`Difference of ${l.name}: ${l.value} ${l.interval}, limit ${l.limit}`} data-domain={`${lo} ${hi}`} data-interval-kind={kind}>
            <defs><clipPath id={clip}><rect x={LEFT} y={top} width={Math.max(0, plot)} height={h} /></clipPath></defs>
            <rect x={LEFT} y={top} width={Math.max(0, x(end) - LEFT)} height={Math.max(0, y(limit) - top)} className="worse" />
            {steps([lo, hi], 5).map((v) => (
              <g key={v}><line x1={LEFT} x2={x(end)} y1={y(v)} y2={y(v)} className="g crisp" /><text x={LEFT - 8} y={y(v) + 4} textAnchor="end">{change(v, l.scale, 0)}</text></g>
            ))}
            <line x1={LEFT} x2={x(end)} y1={y(0)} y2={y(0)} className="z crisp" data-zero="" />
            <line x1={LEFT} x2={x(end)} y1={y(limit)} y2={y(limit)} className="lim" data-limit="" />
            <text x={LEFT + 6} y={top + 14} className="tf halo">worse</text>
            <text x={LEFT + 6} y={y(limit) - 5} className="tf halo">limit {l.limit}</text>
            {m.phases.filter((p) => p.stage >= 0 && p.from > from).map((p) => <line key={p.from} x1={x(p.from)} x2={x(p.from)} y1={top} y2={top + h} className="stg crisp" />)}
            <g clipPath={`url(#${clip})`}>{runs.map((r) => <RunView key={r.stage} points={px(r)} to={Math.min(x(r.to), x(end))} />)}</g>
            {m.decided !== undefined && <line x1={x(end)} x2={x(end)} y1={top} y2={top + h} stroke="var(--fail-mark)" strokeWidth={1.5} />}
            {right > 60 && <EndBar l={l} x={x(end) + 18} y={(v) => Math.max(top, Math.min(top + h, y(v)))} />}
            <text x={16} y={top + h + 18}>{zoneName(end)}</text>
            {ticks(from, to, Math.max(2, Math.floor(plot / 84))).filter((t) => x(t) > LEFT + 20 && x(t) < x(end) + 4).map((t) => <text key={t} x={x(t)} y={top + h + 18} textAnchor="middle">{clock(t).slice(0, 8)}</text>)}
          </svg>
          <Cursor label="Time of the difference" left={LEFT} plot={plot} width={w} top={top} bottom={AXIS} height={top + h + AXIS} from={from} to={to} last={end}
            stops={m.phases.map((p) => p.from)} says={(t) => says(at(l, t), limit, l.scale)}>
            {(t) => <div>{says(at(l, t), limit, l.scale)}</div>}
          </Cursor>
        </>
      )}
    </div>
  );
}

/** domain holds zero, the limit, every estimate and the last interval; wider bands are clipped. */
function domain(l: LaneModel): [number, number] {
  const [lo, hi] = l.domain;
  const edge = [l.last?.lower, l.last?.upper].filter((v): v is number => v != null);
  return [Math.min(lo, ...edge.map((v) => v * 1.05)), Math.max(hi, ...edge.map((v) => v * 1.05))];
}

function EndBar({ l, x, y }: { l: LaneModel; x: number; y: (v: number) => number }) {
  const { last } = l;
  if (!last?.judged) return null;
  if (last.upper == null && last.lower == null) return null;
  const top = y(last.upper ?? Infinity), bottom = y(last.lower ?? -Infinity); // an open side goes to the edge
  return (
    <g data-testid="endbar">
      <rect x={x} y={top} width={16} height={Math.max(1, bottom - top)} className="b95" />
      <line x1={x - 3} x2={x + 19} y1={y(last.effect)} y2={y(last.effect)} className="exp" />
      <text x={x + 24} y={y(last.effect) + 4} className="t1 f12 bold">{change(last.effect, l.scale)}</text>
      {last.upper != null && y(last.effect) - top > 16 && <text x={x + 24} y={top + 10}>{change(last.upper, l.scale)}</text>}
      {last.lower != null && bottom - y(last.effect) > 16 && <text x={x + 24} y={bottom}>{change(last.lower, l.scale)}</text>}
    </g>
  );
}
