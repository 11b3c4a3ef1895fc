import { useQuery } from '@tanstack/react-query';
import { rolloutsQuery } from '../queries';
import { Asking, Command, useNow } from '../ui/shell';
import { RolloutLine } from './overview';

export function Rollouts() {
  const { data, error } = useQuery(rolloutsQuery);
  const now = useNow();
  const rows = [...(data ?? [])].sort((a, b) => b.started.localeCompare(a.started));
  return (
    <>
      <h1>Rollouts</h1>
      <section className="panel" aria-label="All rollouts">
        {!data ? <Asking error={error} what="the rollouts" /> : rows.length === 0 ? <div className="empty"><p>None yet.</p><Command text="sluice apply -f examples/flights.yaml" /></div> : (
          <div className="scroll"><table className="stack"><thead><tr><th>State</th><th>Rollout</th><th>In a sentence</th><th className="num">Started</th></tr></thead>
            <tbody>{rows.map((r) => <RolloutLine key={r.name} row={r} now={now} />)}</tbody></table></div>
        )}
      </section>
    </>
  );
}
