import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import type { Plan, Rec, RolloutView, Series, Verdict } from '../api/client';
import { componentsQuery, recordsQuery, rolloutQuery, seriesQuery } from '../queries';
import { recordWord, reportOf, stateOf } from '../records';
import { Actions, Undo } from '../ui/actions';
import { Forest } from '../ui/forest';
import { Asking, Panel, useNow } from '../ui/shell';
import { Status } from '../ui/status';
import { amount, change, clock, collecting, day, duration, guardrail, interval, judged, evidence, known, limitText, ms, needed, number, over, percent, phaseTone, prose, scaleOf, short, time, worst } from '../words';

const chart = import('../chart/timeline'); // fetched beside this page, drawn when it is there
const Timeline = lazy(() => chart);

/** Rollout is the page of one rollout: its state in a sentence, facts, the timeline, the criteria, decisions and why. */
export function Rollout() {
  const { name } = useParams({ from: '/r/$name' });
  const { data: view, error } = useQuery(rolloutQuery(name));
  const { data: series } = useQuery(seriesQuery(name));
  const { data: records } = useQuery(recordsQuery(name));
  if (!view) return <><h1>{name}</h1><Asking error={error} what="the rollout" /></>;
  const p = phaseTone(view);
  const plan = view.status.plan;
  return (
    <>
      <div className={`hero ${p.tone}`}>
        <div className="head">
          <div className="title">
            <h1>{name}</h1><Status tone={p.tone} badge>{p.word}{view.phase === 'Progressing' && ` at ${percent(view.exposure)}`}</Status>
            <span className="t3 s12 onlybig">plan {short(plan.digest)}, owner {plan.owner.replace(/^user:/, '')}</span>
          </div>
          <div className="row" style={{ marginLeft: 'auto', flex: 'none' }}>
            <Link to="/r/$name/compare" params={{ name }} className="btn onlybig">Compare</Link>
            <Link to="/r/$name/explain" params={{ name }} className="btn onlybig">Explain</Link>
            {known(view.status.state.decided) && <Link to="/r/$name/rollback" params={{ name }} className="btn onlybig">Rollback and proof</Link>}
            <Actions row={view} plan={plan} />
            {view.phase === 'Completed' && !view.status.state.sub && !known(view.status.state.undoneAt) && <Undo row={view} plan={plan} />}
          </div>
        </div>
        <p className="state" data-testid="sentence">{prose(view.sentence)}</p>
      </div>
      <Facts view={view} series={series} />
      <History view={view} series={series} records={records} />
      <Criteria view={view} />
      {records && <Decisions records={records} plan={plan} view={view} />}
      <Stages view={view} />
      <div className="bottom">
        {over(view.phase) ? (
          <div className="actions">
            <a href="#why" className="btn">Read why</a>
            {known(view.status.state.decided) && <Link to="/r/$name/rollback" params={{ name }} className="btn primary">Proof</Link>}
          </div>
        ) : <><Actions row={view} plan={plan} /><p>Rolling back needs no vote and works in a freeze. The reason is asked afterwards.</p></>}
      </div>
    </>
  );
}

function Facts({ view, series }: { view: RolloutView; series?: Series }) {
  const { state, plan, barrier } = view.status;
  const { data: members } = useQuery(componentsQuery);
  const traffic = series?.traffic ?? [];
  const seen = traffic.reduce((n, t) => n + t.exposed, 0);
  const last = traffic.slice(-4, -1);
  const rate = last.length ? last.reduce((n, t) => n + t.exposed + t.baseline, 0) / last.length / (series?.stride || 1) : undefined;
  const back = known(state.decided);
  const total = barrier?.components.total ?? 0;
  const proven = total - (barrier?.components.unproven ?? 0);
  const live = (members ?? []).filter((m) => m.status === 'live');
  const was = plan.stages?.[state.stage]?.exposure ?? 0;
  const bake = plan.stages?.[state.stage]?.bake ?? 0;
  const next = plan.stages?.[state.stage + 1];
  return (
    <dl className="facts" data-testid="facts">
      <div><dt>Exposed now</dt><dd>{percent(view.exposure)} <span className="t2">{back ? `was ${percent(was / 1000)}` : rate ? `of ${number(rate)} requests/s` : ''}</span></dd></div>
      <div><dt>Components</dt><dd>{back
        ? <><Status tone={proven === total ? 'ok' : 'run'}>{proven === total ? 'Safe' : 'Proven'} {proven} of {total}</Status>{known(state.safeAt) && <span className="t2"> in {ms(time(state.safeAt) - time(state.decided))}</span>}</>
        : <Status tone={live.length === (members?.length ?? 0) ? 'ok' : 'warn'}>Live {live.length} of {members?.length ?? 0}</Status>}</dd></div>
      <div><dt>Saw {plan.flag.candidate}</dt><dd>{series ? number(seen) : '…'} <span className="t2">requests</span></dd></div>
      {back
        ? <div><dt>Digest after = before</dt><dd>{state.digestAfter ? <Status tone={state.digestAfter === state.digestBefore ? 'ok' : 'fail'}>{state.digestAfter === state.digestBefore ? 'Equal' : 'Different'}</Status> : <span className="t2">not yet verified</span>} <code>{short(state.digestBefore)}</code></dd></div>
        : <div><dt>Way back</dt><dd>{plan.flag.stable} <span className="t2">safe within {duration(plan.rollback.completeWithin)}</span></dd></div>}
      {!over(view.phase) && !back
        ? <div><dt>Next decision</dt><dd>{state.sub === 'Baking' ? <>in {duration(Math.max(0, bake - state.baked))}</> : view.where} <span className="t2">{next ? `to ${percent(next.exposure / 1000)}` : 'to everybody'}</span></dd></div>
        : <div><dt>{back ? 'Decided' : 'Ended'}</dt><dd className="nw">{clock(back ? state.decided : state.ended, true)} <span className="t2">{back ? (state.cause?.trigger ?? '') : ''}</span></dd></div>}
    </dl>
  );
}

function History({ view, series, records }: { view: RolloutView; series?: Series; records?: Rec[] }) {
  const [whole, set] = useState(true);
  const tick = useNow();
  const isOver = over(view.phase);
  const now = isOver ? Math.max(time(view.status.state.ended), tick) : tick;
  const banded = (series?.lanes ?? []).some((l) => (l.points ?? []).some((p) => p.lower != null || p.upper != null));
  return (
    <Panel title={`Difference to baseline ${view.status.plan.flag.stable}`} sub={`up is worse; ${banded ? 'evidence adds up over the stages' : 'every stage starts afresh'}`} right={
      <>
        <span className="key onlybig"><svg width="26" height="12" aria-hidden="true"><rect y="1" width="26" height="10" className="b95" /><line x2="26" y1="6" y2="6" className="exp" /></svg>{banded ? 'estimate and always-valid interval' : 'threshold per look, not error-bounded'}</span>
        <span className="key"><svg width="20" height="12" aria-hidden="true"><line x2="20" y1="6" y2="6" className="lim" /></svg>limit</span>
        <span className="key onlybig"><span className="hatch" style={{ width: 16, height: 12, borderRadius: 2 }} />no data</span>
        <span className="seg" role="group" aria-label="Time shown">
          <button type="button" aria-pressed={whole} onClick={() => set(true)}>Whole rollout</button>
          <button type="button" aria-pressed={!whole} onClick={() => set(false)}>This stage</button>
        </span>
      </>
    }>
      {series && records ? (
        <Suspense fallback={<div style={{ height: 420 }} />}><Timeline view={view} series={series} records={records} now={now} whole={whole} /></Suspense>
      ) : <div style={{ height: 420 }}><Asking error={null} what="the history" /></div>}
      {series && <HistoryTable series={series} plan={view.status.plan} />}
    </Panel>
  );
}

function HistoryTable({ series, plan }: { series: Series; plan: Plan }) {
  const [open, set] = useState(false);
  const rows = open ? (series.lanes ?? []).flatMap((l) => (l.points ?? []).slice(-60).filter((p) => p.judged).map((p) => ({ l, p }))).slice(0, 400) : [];
  return (
    <details onToggle={(e) => set(e.currentTarget.open)}>
      <summary>The same as a table</summary>
      <div className="scroll" style={{ maxHeight: 320, overflowY: 'auto' }} tabIndex={0} role="region" aria-label="History as a table">
        <table className="compact">
          <thead><tr><th>Time</th><th>Guardrail</th><th>Stage</th><th>Verdict</th><th className="num">Difference</th><th>Interval</th><th className="num">n base / exp.</th></tr></thead>
          <tbody>{rows.map(({ l, p }) => {
            const s = scaleOf(l, plan);
            const j = judged({ ...p, limit: l.limit });
            return (
              <tr key={`${l.guardrail} ${l.value} ${p.at}`}>
                <td className="nw">{clock((p.at + 1) * 1000)}</td><td className="nw">{l.guardrail} <span className="t3">{l.value}</span></td><td>{plan.stages?.[p.stage]?.name}</td>
                <td><Status tone={j.tone}>{j.word}</Status></td><td className="num">{change(p.effect, s)}</td><td className="nw">{interval(p.lower, p.upper, s)}</td>
                <td className="num">{number(p.nBaseline)} / {number(p.nExposed)}</td>
              </tr>
            );
          })}</tbody>
        </table>
      </div>
    </details>
  );
}

/** Criteria lists the totals, every value that is not quiet, and the rest on demand. */
function Criteria({ view }: { view: RolloutView }) {
  const { report, plan, state, second } = view.status;
  const [all, set] = useState(false);
  const now = useNow();
  const vs = (report.verdicts ?? []).map((v) => ({ v, j: judged(v), order: (plan.judge.guardrails ?? []).findIndex((g) => g.name === v.guardrail) }));
  const loud = vs.filter(({ v, j }) => v.dim === 'total' || ['Fail', 'Error', 'No data'].includes(j.word) || !!v.breached);
  const rest = vs.filter((x) => !loud.includes(x)).sort((a, b) => worst(a.j) - worst(b.j) || b.v.effect - a.v.effect);
  const rows = [...loud].sort((a, b) => worst(a.j) - worst(b.j) || a.order - b.order);
  const count = (word: string) => rows.filter((r) => r.j.word === word).length;
  const tally = ['Fail', 'Error', 'Inconclusive', 'Near limit', 'No data', 'Collecting', 'Pass'].filter((w) => count(w)).map((w) => `${count(w)} ${w.toLowerCase()}`).join(', ');
  const age = Math.max(0, Math.round(now / 1000 - second - 1));
  const stage = plan.stages?.[state.stage];
  return (
    <Panel title={`Criteria of stage ${stage?.name ?? ''}`} sub={second ? `as judged at ${clock((second + 1) * 1000)}: ${tally}` : 'nothing has been judged yet'} right={<span className="s11 onlybig">0 and the limit stand in the same place on every row; right is worse</span>}>
      <div className="scroll">
        <table className="stack" data-testid="criteria">
          <thead><tr><th>Verdict</th><th>Guardrail</th><th className="num">Baseline</th><th className="num">Exposed</th><th><span className="vh">Difference against limit</span><span aria-hidden="true" style={{ display: 'flex', width: 120 }}><span style={{ width: 40, textAlign: 'right' }}>0</span><span style={{ width: 53, textAlign: 'right' }}>limit</span></span></th>
            <th className="num">Difference</th><th>Interval</th><th className="num">Limit</th><th className="num">n base / exp.</th><th className="num">Age</th></tr></thead>
          <tbody>
            {rows.map((r) => <Criterion key={`${r.v.guardrail} ${r.v.value}`} v={r.v} plan={plan} age={over(view.phase) ? undefined : age} />)}
            {all && rest.map((r) => <Criterion key={`${r.v.guardrail} ${r.v.value}`} v={r.v} plan={plan} age={over(view.phase) ? undefined : age} />)}
          </tbody>
        </table>
      </div>
      {rest.length > 0 && <p style={{ padding: '4px 16px 8px' }}><button type="button" className="link s12" onClick={() => set(!all)} aria-expanded={all}>{all ? 'Only those that matter' : `${rest.length} more values, none beyond its limit`}</button></p>}
    </Panel>
  );
}

function Criterion({ v, plan, age }: { v: Verdict; plan: Plan; age?: number }) {
  const s = scaleOf(v, plan);
  const j = judged(v);
  const mute = collecting(v) || v.result === 'no-data';
  const g = guardrail(plan, v.guardrail);
  return (
    <tr className={v.result === 'fail' ? 'hot' : undefined} data-verdict={v.result}>
      <td className="keep"><Status tone={j.tone}>{j.word}</Status></td>
      <td className="full"><Link to="/r/$name/compare" params={{ name: plan.name }} search={{ guardrail: v.guardrail, value: v.value }}>{v.guardrail}</Link> <span className="t3 s12">{v.value ? v.value.replace('=', ' = ') : `${g?.metric} ${s.stat}`}</span></td>
      <td className="num">{v.nBaseline && !mute ? amount(v.baseline, s) : '–'}</td>
      <td className="num">{v.nExposed && !mute ? amount(v.exposed, s) : '–'}</td>
      <td>{v.result === 'no-data' ? <div className="hatch" style={{ width: 120, height: 14, borderRadius: 2 }} /> : <Forest effect={mute ? undefined : v.effect} lower={v.lower} upper={v.upper} limit={v.limit} label={mute ? 'collecting' : `difference ${change(v.effect, s)}, limit ${limitText(v.limit, s)}`} />}</td>
      <td className="num keepend">{mute ? <span className="t3">{v.result === 'no-data' ? 'no data' : `n = ${Math.min(v.nBaseline, v.nExposed)} of ${needed(g)}`}</span> : <b className="m">{change(v.effect, s)}</b>}</td>
      <td className="nw t2 s12">{interval(v.lower, v.upper, s)}{v.level ? <span className="two">{evidence(v.logE, v.level)}</span> : interval(v.lower, v.upper, s) ? null : (v.of ? `${v.breached ?? 0} of ${v.looks ?? 0} looks${(v.looks ?? 0) < v.of ? `, ${v.of} needed` : ''}` : v.detail)}</td>
      <td className="num">{limitText(v.limit, s)}</td>
      <td className="num">{number(v.nBaseline)} / {number(v.nExposed)}</td>
      <td className="num t2">{age === undefined ? '–' : `${age}\u00a0s`}</td>
    </tr>
  );
}

function Decisions({ records, plan, view }: { records: Rec[]; plan: Plan; view: RolloutView }) {
  const { record } = useSearch({ from: '/r/$name' });
  const go = useNavigate({ from: '/r/$name' });
  const list = [...records].reverse();
  const loudest = list.find((r) => ['Roll back', 'Hold'].includes(recordWord(r).word)) ?? list.find((r) => r.kind === 'rollout.judged') ?? list[0];
  const chosen = list.find((r) => r.seq === record) ?? loudest;
  return (
    <Panel id="why" title="Decisions and why" sub={`every decision is a record; ${list.length} of ${list.length}`} right={<Link to="/audit" search={{ rollout: view.name }}>Open in audit</Link>}>
      <div className="whyg">
        <ol aria-label="Records, newest first" data-testid="records">
          {list.map((r) => {
            const w = recordWord(r);
            return (
              <li key={r.seq}>
                <button type="button" aria-pressed={r === chosen} onClick={() => void go({ search: { record: r.seq }, replace: true, resetScroll: false, hash: 'why' })}>
                  <span className="t3 nw">{clock(r.at, true)}</span><Status tone={w.tone}>{w.word}</Status><span className="t2 trunc">{w.text}</span><span className="num t3">{r.seq}</span>
                </button>
              </li>
            );
          })}
        </ol>
        {chosen && <Why r={chosen} plan={plan} view={view} />}
      </div>
    </Panel>
  );
}

function Why({ r, plan, view }: { r: Rec; plan: Plan; view: RolloutView }) {
  const w = recordWord(r), s = stateOf(r);
  const v = reportOf(r)?.decider ?? (w.word === 'Roll back' || w.word === 'Hold' ? s?.cause?.verdict : undefined);
  const scale = v ? scaleOf(v, plan) : undefined;
  const g = v && guardrail(plan, v.guardrail);
  const { state } = view.status;
  return (
    <div className="rec" aria-live="polite" data-testid="why">
      <h2>Why record {r.seq}: {w.word.toLowerCase()}</h2>
      <p style={{ marginTop: 8 }} className="any">{prose(s?.cause && v ? s.cause.sentence : w.text)}</p>
      <dl className="kv">
        {v && scale && <>
          <dt>Rule</dt><dd><code>{v.guardrail}</code> {v.rule}, plan {short(plan.digest)}, on breach {g?.onBreach ?? v.action}</dd>
          <dt>Value</dt><dd>{change(v.effect, scale)} {interval(v.lower, v.upper, scale)}, {amount(v.exposed, scale)} against {amount(v.baseline, scale)}</dd>
          <dt>Limit</dt><dd>worse by more than {limitText(v.limit, scale)}; {v.bounded ? 'error-bounded' : 'threshold, not error-bounded'}</dd>
          {v.logE ? <><dt>Evidence</dt><dd>{evidence(v.logE, v.level)}{v.alpha ? `, false-alarm bound ${number(100 * v.alpha, 1)}\u00a0% per rollout` : ''}</dd></> : null}
          <dt>Window</dt><dd>{clock(v.from * 1000)} to {clock((v.to + 1) * 1000)}, data {ms(time(r.at) - (v.to + 1) * 1000)} old when judged</dd>
          <dt>n</dt><dd>{number(v.nBaseline)} baseline, {number(v.nExposed)} exposed</dd>
          <dt>Query</dt><dd><code>sdk:{g?.metric} {scale.stat}{v.value ? ` ${v.dim} ${v.value}` : ''} exposed against baseline, concurrent</code></dd>
          {v.evidence && <><dt>Digest</dt><dd><code>{v.evidence}</code> of the evidence</dd></>}
        </>}
        <dt>State</dt><dd>{s ? `${s.phase}${s.sub ? `/${s.sub}` : ''}, ${percent(s.exposure / 1000)} exposed${s.baked ? `, baked ${duration(s.baked)}` : ''}` : '–'}</dd>
        <dt>Who</dt><dd>{r.actor}{r.reason ? `: ${r.reason}` : ''}</dd>
        <dt>When</dt><dd>{day(r.at)} {clock(r.at, true)}</dd>
        <dt>Engine</dt><dd>{r.engine}, epoch {r.epoch}{r.rev ? `, published revision r${r.rev}` : ''}</dd>
        {w.word === 'Roll back' && known(state.safeAt) && <><dt>Then</dt><dd>safe after {ms(time(state.safeAt) - time(state.decided))}{known(state.unwoundAt) && `, unwound after ${ms(time(state.unwoundAt) - time(state.decided))}`}. <Link to="/r/$name/rollback" params={{ name: view.name }}>Proof</Link></dd></>}
      </dl>
    </div>
  );
}

/** Stages lists the plan: what each stage exposes, for how long, and its documented way back. */
function Stages({ view }: { view: RolloutView }) {
  const { plan, state } = view.status;
  const r = plan.rollback;
  const way = `to ${plan.flag.stable}: lease ${duration(r.leaseTTL)}, acknowledged within ${duration(r.ackDeadline)}, safe within ${duration(r.completeWithin)}, unwound within ${duration(r.unwindWithin)}`;
  return (
    <Panel title="Plan" sub={plan.hypothesis.statement}>
      <div className="scroll">
        <table className="stack">
          <thead><tr><th>State</th><th>Stage</th><th className="num">Exposure</th><th>Cohort</th><th className="num">Bake</th><th>Way back</th></tr></thead>
          <tbody>{(plan.stages ?? []).map((s, i) => {
            const done = i < state.stage || view.phase === 'Completed';
            const cur = i === state.stage && !done;
            const p = phaseTone(view);
            return (
              <tr key={s.name}>
                <td className="keep">{done ? <Status tone="ok">Done</Status> : cur ? <Status tone={p.tone}>{p.word}</Status> : <Status tone="none">Not started</Status>}</td>
                <td className="full"><b className="m">{s.name}</b>{s.mode && <span className="t3"> {s.mode}</span>}</td>
                <td className="num keepend">{percent(s.exposure / 1000)}{s.holdback ? <span className="two">holdback {percent(s.holdback / 1000)}</span> : null}</td>
                <td>{s.cohort}</td>
                <td className="num">{duration(s.bake)}{cur && state.baked ? <span className="two">{duration(state.baked)} done</span> : null}</td>
                <td className="t2 full s12">{s.rollback || way}</td>
              </tr>
            );
          })}</tbody>
        </table>
      </div>
    </Panel>
  );
}
