import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { Plan, Rec, RolloutRow, Verdict } from '../api/client';
import { auditQuery, rolloutQuery, rolloutsQuery } from '../queries';
import { Actions, AllOff } from '../ui/actions';
import { Forest } from '../ui/forest';
import { Asking, Command, Panel, useNow } from '../ui/shell';
import { Status } from '../ui/status';
import { ago, amount, change, clock, interval, judged, known, limitText, needsYou, over, percent, phaseTone, prose, scaleOf, time, worst } from '../words';
import { recordWord } from '../records';

/** recent: a rollback is news for a day. */
const recent = 24 * 3600_000;

export function Overview() {
  const { data: rollouts, error } = useQuery(rolloutsQuery);
  const now = useNow();
  if (!rollouts) return <><h1>Overview</h1><Asking error={error} what="the rollouts" /></>;
  const needs = rollouts.filter((r) => needsYou(r.phase) && (!over(r.phase) || now - time(r.started) < recent));
  const running = rollouts.filter((r) => !over(r.phase));
  const back = rollouts.filter((r) => r.phase === 'RolledBack').length;
  const ended = rollouts.filter((r) => over(r.phase) && !needs.includes(r)).sort((a, b) => b.started.localeCompare(a.started)).slice(0, 10);
  return (
    <>
      <div className="head">
        <h1 className="day" data-testid="day">
          <b>{needs.length} {needs.length === 1 ? 'needs' : 'need'} you</b><i>/</i><span>{running.length} rolling out</span><i>/</i><span>{back} rolled back</span>
        </h1>
        <div className="actions"><AllOff running={running} /></div>
      </div>
      {rollouts.length === 0 && (
        <Panel title="Nothing has been rolled out yet" sub="a rollout puts a feature in front of a growing share of traffic and takes it back when something gets worse">
          <div className="empty"><p>Submit a specification; the example of the source tree is a good start:</p><Command text="sluice apply -f examples/flights.yaml" /></div>
        </Panel>
      )}
      {needs.length > 0 && <section className="panel" aria-label="Needs you">{needs.map((r) => <Need key={r.name} row={r} />)}</section>}
      {running.length > 0 && (
        <Panel title="Rolling out" sub="the guardrail nearest to its limit">
          <div className="scroll">
            <table className="stack">
              <thead><tr><th>Verdict</th><th>Rollout</th><th>Stage, %</th><th className="num">Exposed</th><th className="nw">Worst guardrail</th><th>Difference</th><th><span className="vh">Actions</span></th></tr></thead>
              <tbody>{running.map((r) => <Running key={r.name} row={r} />)}</tbody>
            </table>
          </div>
        </Panel>
      )}
      {ended.length > 0 && (
        <Panel title="Ended" right={<Link to="/rollouts">All {rollouts.length}</Link>}>
          <div className="scroll"><table className="stack"><thead><tr><th>State</th><th>Rollout</th><th>How it ended</th><th className="num">Started</th></tr></thead>
            <tbody>{ended.map((r) => <RolloutLine key={r.name} row={r} now={now} />)}</tbody></table></div>
        </Panel>
      )}
      {rollouts.length > 0 && <Latest />}
    </>
  );
}

function Need({ row }: { row: RolloutRow }) {
  const p = phaseTone(row);
  return (
    <div className="item">
      <Status tone={p.tone} badge>{p.word}</Status>
      <p><Link to="/r/$name" params={{ name: row.name }} className="m">{row.name}</Link> <span className="t2">{prose(row.sentence)}</span></p>
      <div className="actions">
        {row.phase.startsWith('Roll') && <Link to="/r/$name/rollback" params={{ name: row.name }} className="btn sm">Proof</Link>}
        <Link to="/r/$name" params={{ name: row.name }} hash="why" className="btn sm">Read why</Link>
        <Actions row={row} small />
      </div>
    </div>
  );
}

/** worstVerdict is the verdict of the last judged second that is nearest to trouble. */
export function worstVerdict(vs: readonly Verdict[] | null | undefined): Verdict | undefined {
  const used = (v: Verdict) => (v.limit ? v.effect / v.limit : 0);
  return [...(vs ?? [])].filter((v) => v.dim === 'total' || judged(v).word !== 'Collecting')
    .sort((a, b) => worst(judged(a)) - worst(judged(b)) || used(b) - used(a))[0];
}

function Running({ row }: { row: RolloutRow }) {
  const { data } = useQuery(rolloutQuery(row.name));
  const plan = data?.status.plan;
  const v = worstVerdict(data?.status.report.verdicts);
  const p = phaseTone(row);
  const j = v ? judged(v) : p;
  const s = v && plan ? scaleOf(v, plan) : undefined;
  return (
    <tr>
      <td className="keep"><Status tone={j.tone}>{v ? j.word : p.word}</Status></td>
      <td className="full"><Link to="/r/$name" params={{ name: row.name }} className="m">{row.name}</Link><span className="two">{prose(row.sentence)}</span></td>
      <td>{plan && <StageTrack plan={plan} row={row} baked={data.status.state.baked} />}</td>
      <td className="num keepend"><b className="m">{percent(row.exposure)}</b><span className="two">{row.where}</span></td>
      <td>{v && s && <Forest effect={judged(v).word === 'Collecting' ? undefined : v.effect} lower={v.lower} upper={v.upper} limit={v.limit}
        label={`${v.guardrail}: ${change(v.effect, s)}, limit ${limitText(v.limit, s)}`} />}</td>
      <td className="full">{v && s && <>{v.guardrail}{v.value ? ` ${v.value}` : ''} <b className="m">{judged(v).word === 'Collecting' ? 'collecting' : change(v.effect, s)}</b> {interval(v.lower, v.upper, s)}
        <span className="two">limit {limitText(v.limit, s)}, {amount(v.exposed, s)} against {amount(v.baseline, s)}</span></>}</td>
      <td className="full"><Actions row={row} plan={plan} small /></td>
    </tr>
  );
}

/** StageTrack shows the stages as a row of bars: done, current with its bake, to come. */
export function StageTrack({ plan, row, baked }: { plan: Plan; row: RolloutRow; baked: number }) {
  const stages = plan.stages ?? [];
  const at = stages.findIndex((s) => s.name === row.stage);
  return (
    <div style={{ minWidth: 28 * stages.length, maxWidth: 240 }} role="img" aria-label={`stage ${at + 1} of ${stages.length}, ${row.stage}`}>
      <div className="track">
        {stages.map((s, i) => <span key={s.name} className={i < at ? 'done' : i === at ? 'cur' : ''}
          style={i === at ? { ['--p' as string]: `${Math.min(100, (100 * baked) / Math.max(1, s.bake))}%` } : undefined} />)}
      </div>
      <div className="ticks">{stages.map((s, i) => <span key={s.name} className={i === at ? 'on' : ''}>{s.exposure / 1000}</span>)}</div>
    </div>
  );
}

export function RolloutLine({ row, now }: { row: RolloutRow; now: number }) {
  const p = phaseTone(row);
  return (
    <tr>
      <td className="keep"><Status tone={p.tone}>{p.word}</Status></td>
      <td className="full"><Link to="/r/$name" params={{ name: row.name }} className="m nw">{row.name}</Link><span className="two">{row.env}</span></td>
      <td className="t2 full any">{prose(row.sentence)}</td>
      <td className="num keepend">{known(row.started) ? <>{clock(row.started)}<span className="two">{ago(row.started, now)}</span></> : '–'}</td>
    </tr>
  );
}

function Latest() {
  const { data } = useQuery(auditQuery({}, 30));
  const rows = useMemo(() => (data?.records ?? []).slice(0, 8), [data]);
  return (
    <Panel title="Latest records" sub={data ? `${data.head.size} in all` : undefined} right={<Link to="/audit">Audit</Link>}>
      <div className="scroll"><table className="compact stack"><tbody>{rows.map((r) => <LatestRow key={r.seq} r={r} />)}</tbody></table></div>
    </Panel>
  );
}

function LatestRow({ r }: { r: Rec }) {
  const w = recordWord(r);
  return (
    <tr>
      <td className="t3 nw keepend" style={{ width: 110 }}>{clock(r.at, true)}</td>
      <td style={{ width: 150 }} className="keep"><Status tone={w.tone}>{w.word}</Status></td>
      <td className="any full">{r.rollout ? <Link to="/r/$name" params={{ name: r.rollout }} search={{ record: r.seq }}>{r.rollout}</Link> : <span className="t3">{r.env}</span>} <span className="t2">{w.text}</span></td>
      <td className="num t3">{r.seq}</td>
    </tr>
  );
}
