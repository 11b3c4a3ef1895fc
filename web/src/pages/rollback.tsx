import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import type { Component, Line, RolloutView } from '../api/client';
import { componentsQuery, recordsQuery, rolloutQuery, seriesQuery } from '../queries';
import { Actions } from '../ui/actions';
import { Icon } from '../ui/icons';
import { Asking, Command, Panel, useNow } from '../ui/shell';
import { Glyph, Status, type Tone } from '../ui/status';
import { clock, duration, known, ms, number, short, time } from '../words';

interface Row { line: Line; wave: string; activated?: number; proven?: number; waiting: boolean }

/** Rollback shows who has proven what when, on one time axis from the decision on. SAFE only when nobody is left. */
export function Rollback() {
  const { name } = useParams({ from: '/r/$name/rollback' });
  const { data: view, error } = useQuery(rolloutQuery(name));
  const { data: members } = useQuery(componentsQuery);
  const tick = useNow();
  if (!view) return <><h1>Rollback of {name}</h1><Asking error={error} what="the rollback" /></>;
  const { state, plan } = view.status;
  if (!known(state.decided)) {
    return (
      <>
        <div className="head"><h1>Rollback of {name}</h1></div>
        <p className="state">Nothing has been taken back. When it is, every component has to acknowledge {plan.flag.stable} within {duration(plan.rollback.ackDeadline)}; one that does not is safe when its lease of {duration(plan.rollback.leaseTTL)} has ended.</p>
        <div style={{ marginTop: 12 }}><Actions row={view} plan={plan} /></div>
      </>
    );
  }
  const rows = rowsOf(view, members ?? []);
  const zero = time(state.decided);
  const now = Math.max(tick, zero);
  return (
    <>
      <div className="head">
        <div><h1>Rollback of {name}</h1><p className="t2">{plan.flag.candidate} to {plan.flag.stable}, decided {clock(state.decided, true)} by {state.cause?.trigger ?? 'the plan'}. <Link to="/r/$name" params={{ name }} hash="why">Why</Link></p></div>
        <div className="actions"><a className="btn primary" href={`/v1/rollouts/${encodeURIComponent(name)}/proof`} download={`${name}.proof.json`}><Icon name="download" />Proof file</a></div>
      </div>
      <Banner view={view} rows={rows} now={now} />
      <Matrix view={view} rows={rows} now={now} />
      <Hand view={view} rows={rows} />
      <Below view={view} rows={rows} />
    </>
  );
}

function rowsOf(view: RolloutView, members: Component[]): Row[] {
  const { state, barrier, unwind } = view.status;
  const zero = time(state.decided);
  const make = (wave: string) => (line: Line): Row => {
    const acks = members.find((m) => m.boot === line.boot)?.ackedAt?.[view.name];
    const activated = acks && line.how === 'acked' ? acks.activated : undefined;
    const after = known(activated) ? time(activated) - zero : undefined;
    return { line, wave, activated: after !== undefined && after >= 0 ? after : undefined, proven: known(line.at) && line.how !== 'waiting' ? time(line.at) - zero : undefined, waiting: line.how === 'waiting' };
  };
  return [
    ...(barrier?.lines ?? []).map(make('exposure off')),
    ...(unwind?.store?.lines ?? []).map(make('stores back')),
    ...(unwind?.writer?.lines ?? []).map(make('writers back')),
  ];
}

const classWord: Record<string, string> = { reader: 'reader', router: 'router', host: 'inference', store: 'store', writer: 'writer' };

function Banner({ view, rows, now }: { view: RolloutView; rows: Row[]; now: number }) {
  const { state, plan, barrier } = view.status;
  const zero = time(state.decided);
  const safe = known(state.safeAt);
  const late = !safe && (view.phase === 'RollbackIncomplete' || now - zero > plan.rollback.ackDeadline / 1e6);
  const tone: Tone = safe ? (view.phase === 'RollbackIncomplete' ? 'fail' : 'ok') : late ? 'fail' : 'run';
  const big = safe ? (view.phase === 'RollbackIncomplete' ? 'NOT UNWOUND' : 'SAFE') : late ? 'NOT SAFE' : 'Revoking';
  const b = rows.filter((r) => r.wave === 'exposure off');
  const proven = b.filter((r) => !r.waiting).length;
  const waits = rows.find((r) => r.waiting);
  const lapsed = barrier?.components.lapsed ?? 0;
  const step = (name: string, at: string | undefined, from: number): { name: string; tone: Tone; text: string } =>
    known(at) ? { name, tone: 'ok', text: `+${ms(time(at) - from)}` } : { name, tone: 'none', text: 'waits' };
  const steps = [
    step('Revoking', state.revokedAt, zero), step('Safe', state.safeAt, zero), step('Unwinding', state.unwoundAt, zero),
    { name: 'Verifying', tone: (state.digestAfter ? 'ok' : 'none') as Tone, text: state.digestAfter ? `+${ms(time(state.ended) - zero)}` : 'waits' },
  ];
  const first = steps.find((s) => s.tone === 'none');
  if (first && !late) first.tone = 'run';
  return (
    <section className={`panel verdict ${tone}`} aria-label="Verdict" data-testid="verdict" aria-live="assertive">
      <div><Glyph tone={tone} size={26} /><div><div className="big">{big}</div><div className="t2">{proven} of {b.length} proven{safe ? ` in ${ms(time(state.safeAt) - zero)}` : ` after ${ms(now - zero)}`}</div></div></div>
      <div>
        <p style={{ fontSize: 15, lineHeight: '22px' }}>
          {safe
            ? <>No component can serve {plan.flag.candidate} any more. {b.length - lapsed} of {b.length} acknowledged the earlier state{lapsed ? `, ${lapsed} by the end of the lease` : ''} and drained their open requests.{waits ? ` ${waits.line.instance} still has to go back.` : ''}</>
            : waits ? <><b>{waits.line.instance}</b> has not proven that it stopped. It may still serve {plan.flag.candidate}{known(waits.line.until) ? <> until its lease ends, at the latest <b>{clock(waits.line.until, true)}</b></> : null}.</>
              : 'Every lease is being taken back.'}
        </p>
        <div className="steps">{steps.map((s) => <span key={s.name}><Status tone={s.tone}>{s.name}</Status> <span className="t3">{s.text}</span></span>)}</div>
      </div>
    </section>
  );
}

function useWidth() {
  const ref = useRef<HTMLDivElement>(null);
  const [w, set] = useState(0);
  useEffect(() => {
    if (!ref.current) return;
    const o = new ResizeObserver(([e]) => set(Math.floor(e.contentRect.width)));
    o.observe(ref.current);
    return () => o.disconnect();
  }, []);
  return [ref, w] as const;
}

function Matrix({ view, rows, now }: { view: RolloutView; rows: Row[]; now: number }) {
  const { state, plan } = view.status;
  const zero = time(state.decided);
  const [ref, w] = useWidth();
  const waits = rows.some((r) => r.waiting);
  const ends = rows.flatMap((r) => [r.proven ?? 0, r.activated ?? 0, r.waiting ? Math.max(now - zero, known(r.line.until) ? time(r.line.until) - zero : 0) : 0]);
  const max = nice(Math.max(10, ...ends) * 1.25);
  const bar = Math.min(460, Math.max(150, w - 660));
  const deadline = plan.rollback.ackDeadline / 1e6;
  const last = Math.max(...rows.map((r) => r.proven ?? 0));
  const proven = rows.filter((r) => !r.waiting).length;
  const signal = known(state.revokedAt) ? time(state.revokedAt) - zero : undefined;
  return (
    <div ref={ref}>
      <Panel title="Components" sub="time since the decision, measured by the server" right={
        <>
          <span className="key"><svg width="14" height="12" aria-hidden="true"><path d="M1 2v8M1 6h12" stroke="var(--text-2)" /></svg>waits</span>
          <span className="key"><svg width="16" height="12" aria-hidden="true"><rect y="2" width="16" height="8" rx="2" fill="var(--baseline)" fillOpacity=".45" /></svg>activated, draining</span>
          <span className="key"><Glyph tone="ok" size={10} />proven</span>
        </>
      }>
        <div className="scroll">
          <table className="stack matrix" data-testid="matrix">
            <thead><tr><th>Component</th><th>Wave</th><th className="num">Activated</th><th className="num">Proven</th><th aria-label={`time axis, 0 to ${ms(max)}`}><AxisHead max={max} w={bar} /></th><th>Digest, how</th><th>State</th></tr></thead>
            <tbody>
              {rows.map((r) => (
                <tr key={r.line.boot} className={r.waiting ? 'hot' : undefined}>
                  <td className="keep"><b className="m">{r.line.component}</b><span className="two">{classWord[r.line.class] ?? r.line.class}, {r.line.instance}</span></td>
                  <td className="t2 nw">{r.wave}</td>
                  <td className="num">{r.activated !== undefined ? `+${ms(r.activated)}` : '–'}</td>
                  <td className="num">{r.proven !== undefined ? `+${ms(r.proven)}` : '–'}</td>
                  <td className="full"><AckBar r={r} max={max} w={bar} now={now - zero} until={known(r.line.until) ? time(r.line.until) - zero : undefined} deadline={deadline} signal={signal} /></td>
                  <td>{r.waiting ? <>not known<span className="two">{known(r.line.until) ? `lease may run to ${clock(r.line.until, true)}` : 'no answer yet'}</span></>
                    : <><code>{short(state.digestBefore)}</code><span className="two">{how(r.line)}</span></>}</td>
                  <td className="keepend"><Status tone={r.waiting ? 'fail' : 'ok'}>{r.waiting ? 'Not proven' : 'Proven'}</Status></td>
                </tr>
              ))}
            </tbody>
            <tbody>
              <tr style={{ background: 'var(--surface-2)' }}>
                <td className="keep nw"><b className="m">{proven} of {rows.length}</b>, readers first</td><td /><td />
                <td className="num"><b className="m">{waits ? '' : `+${ms(last)}`}</b></td>
                <td className="t2 full">{signal !== undefined && `signal durable after ${ms(signal)}, `}acknowledge within {duration(plan.rollback.ackDeadline)}, safe within {duration(plan.rollback.completeWithin)}</td>
                <td><code>{short(state.digestAfter)}</code></td>
                <td className="keepend">{waits ? <Status tone="fail">Mixed</Status> : <Status tone="ok">Uniform</Status>}</td>
              </tr>
            </tbody>
          </table>
        </div>
      </Panel>
    </div>
  );
}

function how(l: Line): string {
  if (l.how === 'acked') return `acknowledged r${l.rev}`;
  if (l.how === 'lapsed') return 'lease ended';
  return l.how === 'bye' ? 'stopped' : l.how;
}

function nice(x: number): number {
  const p = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 2.5, 5, 10].map((k) => k * p).find((v) => v >= x) ?? 10 * p;
}

function AxisHead({ max, w }: { max: number; w: number }) {
  return (
    <svg width={w} height={14} aria-hidden="true">
      {[0, 0.25, 0.5, 0.75].map((k) => <text key={k} x={k * w + (k ? 0 : 1)} y={11} textAnchor={k ? 'middle' : 'start'}>{k ? (max >= 2000 ? `${number((k * max) / 1000, 1)} s` : number(k * max, max < 20 ? 1 : 0)) : max >= 2000 ? '0' : '0 ms'}</text>)}
    </svg>
  );
}

/** AckBar: thin line = waits for its layer, block = activated and draining, dot = proven; dashed = the lease may still run. */
function AckBar({ r, max, w, now, until, deadline, signal }: { r: Row; max: number; w: number; now: number; until?: number; deadline: number; signal?: number }) {
  const x = (t: number) => (t / max) * w;
  const end = r.proven ?? Math.min(now, max);
  const block = r.activated ?? r.proven;
  const label = r.waiting ? `not proven after ${ms(now)}` : `proven after ${ms(end)}`;
  return (
    <svg width={w} height={40} role="img" aria-label={label}>
      {[0, 0.25, 0.5, 0.75].map((k) => <line key={k} x1={k * w + 0.5} x2={k * w + 0.5} y1={0} y2={40} className="g crisp" />)}
      {deadline < max && <line x1={x(deadline)} x2={x(deadline)} y1={0} y2={40} className="lim" />}
      {signal !== undefined && <line x1={x(signal)} x2={x(signal)} y1={14} y2={26} stroke="var(--text-2)" />}
      {r.waiting ? (
        <>
          <rect x={0} y={14} width={Math.max(1, Math.min(w, x(now)))} height={12} rx={2} fill="var(--fail-tint)" stroke="var(--fail-mark)" />
          {until !== undefined && until > now && <rect x={x(now)} y={14} width={Math.max(1, x(until) - x(now))} height={12} fill="none" stroke="var(--text-2)" strokeDasharray="3 2" />}
          <text x={Math.min(x(now) + 6, w - 110)} y={36} className="t1">{until !== undefined ? `lease ends in ${ms(Math.max(0, until - now))}` : 'no answer'}</text>
        </>
      ) : (
        <>
          <path d={`M0.5 15v10M0 20H${x(block ?? end)}`} stroke="var(--text-2)" fill="none" />
          {r.activated !== undefined && end > r.activated && <rect x={x(r.activated)} y={14} width={Math.max(1, x(end) - x(r.activated))} height={12} rx={2} fill="var(--baseline)" fillOpacity={0.45} />}
          <circle cx={x(end)} cy={20} r={5} fill="var(--ok-mark)" />
          <text x={Math.min(x(end) + 10, w - 46)} y={24} className="t1">{ms(end)}</text>
        </>
      )}
    </svg>
  );
}

/** Hand says what a person can do while somebody is not proven, and what happens by itself. */
function Hand({ view, rows }: { view: RolloutView; rows: Row[] }) {
  const waits = rows.filter((r) => r.waiting);
  if (!waits.length) return null;
  const { plan, state } = view.status;
  const latest = waits.map((r) => r.line.until).filter(known).sort().at(-1);
  return (
    <section className="panel handwork" aria-label="By hand" data-testid="byhand">
      <h2>Do not want to wait? Cut it off by hand</h2>
      <p className="t2">Owner of the rollout: {plan.owner}{plan.deputies?.length ? `, deputies ${plan.deputies.join(', ')}` : ''}.</p>
      <ol style={{ marginTop: 8 }}>
        <li>1. Take {waits.map((r, i) => <span key={r.line.boot}>{i > 0 && ', '}<code>{r.line.instance}</code></span>)} out of the route, or stop the process: a stopped process serves nothing.</li>
        <li>2. Or wait: {latest ? <>the last lease ends {clock(latest, true)}, then the rollback is proven by itself.</> : 'the component has to acknowledge.'}</li>
      </ol>
      <p className="t2 s12" style={{ marginTop: 6 }}>The time to acknowledge ended {clock(time(state.decided) + plan.rollback.ackDeadline / 1e6, true)}. Without proof by {clock(time(state.decided) + plan.rollback.completeWithin / 1e6, true)} the rollback counts as incomplete and the CLI ends with code 10.</p>
      <Command text={`sluice status ${view.name}`} />
    </section>
  );
}

function Below({ view, rows }: { view: RolloutView; rows: Row[] }) {
  const { state, plan } = view.status;
  const { data: series } = useQuery(seriesQuery(view.name));
  const { data: records } = useQuery(recordsQuery(view.name));
  const opened = records?.find((r) => r.kind === 'rollout.open');
  const exposed = (series?.traffic ?? []).reduce((n, t) => n + t.exposed, 0);
  const all = (series?.traffic ?? []).reduce((n, t) => n + t.exposed + t.baseline, 0);
  const equal = !!state.digestAfter && state.digestAfter === state.digestBefore;
  const barrier = rows.filter((r) => r.wave === 'exposure off' && r.proven !== undefined).map((r) => r.proven!);
  return (
    <div className="cols">
      <section className="panel" aria-label="Same state as before">
        <h2>Same state as before</h2>
        <div className="lines">
          <div><span>before</span><b><span className="t2">r{String(opened?.event?.revision ?? '–')}</span> <code data-testid="before">{state.digestBefore ? `${state.digestBefore.slice(0, 15)}…${state.digestBefore.slice(-8)}` : '–'}</code></b></div>
          <div><span>after</span><b><span className="t2">r{state.floor || '–'}</span> <code data-testid="after">{state.digestAfter ? `${state.digestAfter.slice(0, 15)}…${state.digestAfter.slice(-8)}` : 'not yet'}</code></b></div>
        </div>
        <p style={{ marginTop: 6 }}>{state.digestAfter ? <Status tone={equal ? 'ok' : 'fail'}>{equal ? 'Equal' : 'Different'}</Status> : <Status tone="none">Not verified yet</Status>} <span className="t2">digest of the rollout's scope</span></p>
      </section>
      <section className="panel" aria-label="Who was touched">
        <h2>Who was touched</h2>
        <div className="lines">
          <div><span>Requests on {plan.flag.candidate}</span><b>{series ? number(exposed) : '…'} of {series ? number(all) : '…'}</b></div>
          <div><span>Components were mixed for</span><b data-testid="mixed">{barrier.length && known(state.safeAt) ? ms(time(state.safeAt) - time(state.decided)) : 'not over'}</b></div>
          <div><span>Everything unwound after</span><b>{known(state.unwoundAt) ? ms(time(state.unwoundAt) - time(state.decided)) : 'not yet'}</b></div>
        </div>
      </section>
      <section className="panel" aria-label="Prove it without us">
        <h2>Prove it without us</h2>
        <p className="t2" style={{ marginTop: 6 }}>The proof file holds this rollout's records with their place in the signed log. It is checked offline:</p>
        <Command text={`sluice audit verify ${view.name}.proof.json`} />
      </section>
    </div>
  );
}
