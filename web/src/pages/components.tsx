import { useQuery } from '@tanstack/react-query';
import { Fragment } from 'react';
import { componentsQuery } from '../queries';
import { Asking, Panel, useNow } from '../ui/shell';
import { Status, type Tone } from '../ui/status';
import { ago, clock, known } from '../words';

const tone: Record<string, Tone> = { live: 'ok', silent: 'warn', gone: 'none' };
const word: Record<string, string> = { live: 'Live', silent: 'Silent', gone: 'Stopped' };

/** The list of who serves what: one line per started process. */
export function Components() {
  const { data, error } = useQuery(componentsQuery);
  const now = useNow();
  const live = (data ?? []).filter((c) => c.status === 'live').length;
  return (
    <>
      <h1 className="day"><b>{live} live</b><i>/</i><span>{(data?.length ?? 0) - live} silent or stopped</span></h1>
      <Panel title="Components" sub="one line per process; a stopped one holds no lease and can serve no candidate">
        {!data ? <Asking error={error} what="the components" /> : data.length === 0 ? <p className="empty">No component has said hello. One does with the Go SDK: sluice.New(ctx, sluice.Config{'{…}'}).</p> : (
          <div className="scroll">
            <table className="stack">
              <thead><tr><th>State</th><th>Component</th><th>Role</th><th>Serves</th><th>Lease</th><th className="num">Last renewed</th><th>Implementation</th></tr></thead>
              <tbody>
                {data.map((c) => (
                  <tr key={c.boot}>
                    <td className="keep"><Status tone={tone[c.status] ?? 'none'}>{word[c.status] ?? c.status}</Status></td>
                    <td className="full"><b className="m">{c.component}</b><span className="two">{c.instance}, boot <code>{c.boot.slice(0, 8)}</code></span></td>
                    <td>{c.class}</td>
                    <td className="full any">{Object.entries(c.acked ?? {}).map(([scope, rev]) => <Fragment key={scope}><span className="nw">{scope} <code>r{rev}</code></span><br /></Fragment>)}
                      {!Object.keys(c.acked ?? {}).length && <span className="t3">baseline</span>}</td>
                    <td>{(c.leases ?? []).length ? <Status tone="run">held</Status> : <span className="t3">none</span>}</td>
                    <td className="num keepend">{known(c.renewed) ? <>{clock(c.renewed, true)}<span className="two">{ago(c.renewed, now)}</span></> : '–'}</td>
                    <td className="t3 s12">{c.impl}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </>
  );
}
