import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { Fragment, useState } from 'react';
import { api, unwrap } from '../api/client';
import { auditQuery, rolloutsQuery } from '../queries';
import { recordWord } from '../records';
import { Asking, Command, Panel } from '../ui/shell';
import { Status } from '../ui/status';
import { clock, day, number } from '../words';

const kinds = ['rollout.submit', 'rollout.judged', 'rollout.committed', 'rollout.rollback', 'rollout.proven', 'rollout.note', 'config.edit', 'denied', 'token.create', 'token.revoke'];

/** The record log, newest first. The filter stands in the address. */
export function Audit() {
  const f = useSearch({ from: '/audit' });
  const go = useNavigate({ from: '/audit' });
  const { data, error } = useQuery(auditQuery(f));
  const { data: rollouts } = useQuery(rolloutsQuery);
  const [open, setOpen] = useState<number>();
  const [check, setCheck] = useState<{ busy?: boolean; ok?: number; bad?: string }>({});
  const verify = async () => {
    setCheck({ busy: true });
    try {
      setCheck({ ok: (await unwrap(api.GET('/v1/audit/verify'))).records });
    } catch (e) {
      setCheck({ bad: (e as Error).message });
    }
  };
  const rows = (data?.records ?? []).slice(0, 200);
  const oldest = rows.at(-1)?.seq ?? 0;
  return (
    <>
      <div className="head">
        <div>
          <h1>Audit</h1>
          <p className="t2">{data ? <>{number(data.head.size)} records, head <code>{data.head.root.slice(0, 12)}…</code></> : ' '}</p>
        </div>
        <div className="actions">
          <span role="status" className="row" data-testid="chain">
            {check.ok !== undefined && <Status tone="ok">Chain verified, {number(check.ok)} records</Status>}
            {check.bad && <Status tone="fail">{check.bad}</Status>}
          </span>
          <button type="button" className="btn" onClick={() => void verify()} disabled={check.busy}>Verify the log</button>
        </div>
      </div>
      <div className="filters" style={{ marginTop: 12 }}>
        <label>Rollout
          <select className="field" value={f.rollout ?? ''} onChange={(e) => void go({ search: { ...f, rollout: e.target.value || undefined, before: undefined } })}>
            <option value="">all</option>
            {(rollouts ?? []).map((r) => <option key={r.name}>{r.name}</option>)}
          </select>
        </label>
        <label>Kind
          <select className="field" value={f.kind ?? ''} onChange={(e) => void go({ search: { ...f, kind: e.target.value || undefined, before: undefined } })}>
            <option value="">all</option>
            {kinds.map((k) => <option key={k}>{k}</option>)}
          </select>
        </label>
      </div>
      <Panel title="Records" sub="newest first" right={oldest > 1 && (data?.records.length ?? 0) > rows.length ? <Link to="/audit" search={{ ...f, before: oldest }}>Older</Link> : undefined}>
        {!data ? <Asking error={error} what="the log" /> : rows.length === 0 ? <p className="empty">No record fits the filter.</p> : (
          <div className="scroll">
            <table className="compact">
              <thead><tr><th className="num">Record</th><th>At</th><th>What</th><th>About</th><th>Who</th><th><span className="vh">Content</span></th></tr></thead>
              <tbody>
                {rows.map((r) => {
                  const w = recordWord(r);
                  return (
                    <Fragment key={r.seq}>
                      <tr>
                        <td className="num t3">{r.seq}</td>
                        <td className="nw t2">{day(r.at)} {clock(r.at, true)}</td>
                        <td className="nw"><Status tone={w.tone}>{w.word}</Status></td>
                        <td style={{ minWidth: 280 }}>{r.rollout && <Link to="/r/$name" params={{ name: r.rollout }} search={{ record: r.seq }}>{r.rollout}</Link>} <span className="t2">{w.text}</span></td>
                        <td className="nw t2">{r.actor}</td>
                        <td className="num"><button type="button" className="link s12" aria-expanded={open === r.seq} onClick={() => setOpen(open === r.seq ? undefined : r.seq)}>{open === r.seq ? 'close' : 'open'}<span className="vh"> record {r.seq}</span></button></td>
                      </tr>
                      {open === r.seq && <tr><td colSpan={6}><pre className="raw" tabIndex={0}>{JSON.stringify(r, null, 2)}</pre></td></tr>}
                    </Fragment>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
      <p className="s12 t3" style={{ marginTop: 12 }}>Check the log of a data directory without the server:</p>
      <Command text="sluice audit verify" />
    </>
  );
}
