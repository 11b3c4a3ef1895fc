import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { Lane, Plan } from '../api/client';
import { arms, finding } from '../chart/arms';
import { ArmPanels, Difference } from '../chart/compare';
import { type LaneModel, laneModel, type Model, model } from '../chart/model';
import { recordsQuery, rolloutQuery, seriesQuery } from '../queries';
import { Asking, Panel, useNow } from '../ui/shell';
import { Status } from '../ui/status';
import { amount, change, clock, duration, evidence, guardrail, interval, judged, laneName, number, over, time } from '../words';

/** Compare shows one guardrail in one slice: baseline, start-up and exposed on one axis, and the difference with its interval. */
export function Compare() {
  const { name } = useParams({ from: '/r/$name/compare' });
  const f = useSearch({ from: '/r/$name/compare' });
  const { data: view, error } = useQuery(rolloutQuery(name));
  const { data: series } = useQuery(seriesQuery(name, f.guardrail, f.value));
  const { data: records } = useQuery(recordsQuery(name));
  const tick = useNow();
  const isOver = !!view && over(view.phase);
  const now = view && isOver ? Math.max(time(view.status.state.ended), time(view.status.state.started)) : tick;
  const m = useMemo(() => view && series && records && model(view, series, records, now, true), [view, series, records, now]);
  if (!view || !series || !m) return <><h1>{name}</h1><Asking error={error} what="the comparison" /></>;
  const cause = view.status.state.cause?.verdict;
  const lanes = series.lanes ?? [];
  const lane = lanes.find((l) => l.guardrail === f.guardrail && (l.value ?? '') === (f.value ?? ''))
    ?? lanes.find((l) => l.guardrail === (f.guardrail ?? cause?.guardrail) && (l.value ?? '') === (f.guardrail ? '' : (cause?.value ?? '')))
    ?? lanes[0];
  if (!lane) return <><h1>{name}</h1><p className="state">This rollout has no guardrail to compare.</p></>;
  return <Comparison name={name} plan={view.status.plan} m={m} lanes={lanes} l={laneModel(lane, view, m)} table={f.view === 'table'} />;
}

function Comparison({ name, plan, m, lanes, l, table }: { name: string; plan: Plan; m: Model; lanes: Lane[]; l: LaneModel; table: boolean }) {
  const a = useMemo(() => arms(l.lane, m, { stable: plan.flag.stable, candidate: plan.flag.candidate }), [l, m, plan]);
  const rail = guardrail(plan, l.name);
  const kind = rail?.test === 'always-valid' ? 'always-valid' : 'threshold per look, not error-bounded';
  const go = useNavigate({ from: '/r/$name/compare' });
  const pick = (guardrail: string, value?: string) => void go({ search: (s) => ({ ...s, guardrail, value: value || undefined }), replace: true });
  const of = lanes.filter((x) => x.guardrail === l.name);
  const subject = `${l.name}${l.lane.value ? ` for ${laneName(l.lane)}` : ''}`;
  return (
    <>
      <div className="head">
        <div className="title"><h1 data-testid="finding">{finding(subject, a, l.scale)}</h1><Status tone={l.verdict.tone} badge>{l.verdict.word}</Status></div>
        <div className="actions"><Link to="/r/$name/explain" params={{ name }} search={{ guardrail: l.name }} className="btn">Explain this</Link></div>
      </div>
      <div className="filters" style={{ marginTop: 10 }}>
        <label>Guardrail<select className="field" value={l.name} onChange={(e) => pick(e.target.value)}>{[...new Set(lanes.map((x) => x.guardrail))].map((g) => <option key={g}>{g}</option>)}</select></label>
        <label>Split<select className="field" value={l.lane.value ?? ''} onChange={(e) => pick(l.name, e.target.value)}>{of.map((x) => <option key={x.value ?? ''} value={x.value ?? ''}>{laneName(x)}</option>)}</select></label>
        <span className="seg" role="group" aria-label="Shown as" style={{ marginLeft: 'auto' }}>
          {['chart', 'table'].map((v) => <button key={v} type="button" aria-pressed={table === (v === 'table')} onClick={() => void go({ search: (s) => ({ ...s, view: v === 'table' ? 'table' : undefined }), replace: true })}>{v === 'table' ? 'Table' : 'Chart'}</button>)}
        </span>
        <a className="btn sm" download={`${name}-${l.name}${l.lane.value ? `-${l.lane.value}` : ''}.csv`.replace(/[^\w.-]/g, '_')} href={`data:text/csv;charset=utf-8,${encodeURIComponent(csv(l))}`}>CSV</a>
      </div>
      {table ? <Rows l={l} plan={plan} /> : (
        <>
          <Panel title="Values" sub={`${rail?.metric ?? ''} ${l.scale.stat ?? ''}; added up since the rollout began; the same scale in every panel`}>
            {a ? <ArmPanels arms={a} m={m} scale={l.scale} rail={rail} /> : <p className="empty">Nothing is exposed yet.</p>}
          </Panel>
          <div className="split">
            <Panel title="Difference, exposed to baseline" sub={`${kind} interval; up is worse`}><Difference l={l} m={m} kind={kind} /></Panel>
            <Facts l={l} kind={kind} />
          </div>
        </>
      )}
      <p style={{ marginTop: 12 }}><Link to="/r/$name" params={{ name }}>Back to the rollout</Link>{l.lane.dim !== 'total' && <> · <button type="button" className="link" onClick={() => pick(l.name)}>All requests instead of {laneName(l.lane)}</button></>}</p>
    </>
  );
}

function Facts({ l, kind }: { l: LaneModel; kind: string }) {
  const p = l.last;
  return (
    <Panel title={l.verdict.word} sub={p ? `at ${clock((p.at + 1) * 1000)}` : undefined}>
      <div className="lines" style={{ padding: '0 16px 10px' }}>
        <div>Difference<b>{l.value} {l.interval}</b></div>
        <div>Limit<b>worse by more than {l.limit}</b></div>
        <div>Interval<b>{kind}</b></div>
        {p?.level ? <div>Evidence of harm<b>{evidence(p.logE, p.level)}</b></div> : null}
        {p && <div>n baseline / exposed<b>{number(p.nBaseline)} / {number(p.nExposed)}</b></div>}
        {p?.looks ? <div>Looks beyond the limit<b>{p.breached ?? 0} of {p.looks}</b></div> : null}
        {l.gaps.length > 0 && <div>Without data<b>{duration(l.gaps.reduce((n, g) => n + g.to - g.from, 0) * 1e6)}</b></div>}
      </div>
    </Panel>
  );
}

function Rows({ l, plan }: { l: LaneModel; plan: Plan }) {
  const rows = (l.lane.points ?? []).slice(-500).reverse();
  return (
    <Panel title="Values and difference" sub={`each change of the verdict, newest first${rows.length === 500 ? ', the last 500' : ''}`}>
      <div className="scroll" style={{ maxHeight: 560, overflowY: 'auto' }} tabIndex={0} role="region" aria-label="Values as a table">
        <table className="compact" data-testid="rows">
          <thead><tr><th>Time</th><th>Stage</th><th>Verdict</th><th className="num">Baseline</th><th className="num">Exposed</th><th className="num">Difference</th><th>Interval</th><th className="num">n base / exp.</th></tr></thead>
          <tbody>{rows.map((p) => {
            const j = judged({ ...p, limit: l.lane.limit });
            const dash = (s: string) => (p.judged ? s : '–');
            return (
              <tr key={p.at}>
                <td className="nw">{clock((p.at + 1) * 1000)}</td><td>{plan.stages?.[p.stage]?.name}</td><td><Status tone={j.tone}>{j.word}</Status></td>
                <td className="num">{dash(amount(p.baseline, l.scale))}</td><td className="num">{dash(amount(p.exposed, l.scale))}</td><td className="num">{dash(change(p.effect, l.scale))}</td>
                <td className="nw">{interval(p.lower, p.upper, l.scale)}</td><td className="num">{number(p.nBaseline)} / {number(p.nExposed)}</td>
              </tr>
            );
          })}</tbody>
        </table>
      </div>
    </Panel>
  );
}

/** csv has the numbers as the API gives them, unrounded, and when in UTC. */
function csv(l: LaneModel): string {
  const head = ['time', 'stage', 'result', 'judged', 'baseline', 'exposed', 'effect', 'lower', 'upper', 'nBaseline', 'nExposed'];
  const rows = (l.lane.points ?? []).map((p) => [new Date((p.at + 1) * 1000).toISOString(), p.stage, p.result, p.judged, p.baseline, p.exposed, p.effect, p.lower ?? '', p.upper ?? '', p.nBaseline, p.nExposed]);
  return [head, ...rows].map((r) => r.join(',')).join('\r\n');
}
