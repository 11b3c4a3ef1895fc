import { Modal, Textarea } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useId, useState, useSyncExternalStore } from 'react';
import { api, type Plan, type RolloutRow, unwrap } from '../api/client';
import { meQuery } from '../queries';
import { over, percent } from '../words';
import { Icon } from './icons';

type Verb = 'pause' | 'resume' | 'promote' | 'rollback' | 'undo' | 'off';

/** Ask is what the dialog is about: a rollout, or for off a whole environment with what is exposed there. */
interface Ask { verb: Verb; name: string; row?: RolloutRow; plan?: Plan; exposed?: readonly RolloutRow[]; stage: 'ask' | 'why' | 'busy'; error?: string }

// The dialog belongs to the frame, not to the button: a rollback moves or removes the row that its button stood in.
let asked: Ask | undefined;
const listeners = new Set<() => void>();
const set = (a: Ask | undefined) => { asked = a; for (const l of listeners) l(); };
const useAsk = () => useSyncExternalStore((l) => { listeners.add(l); return () => listeners.delete(l); }, () => asked);

const call: Record<Verb, (name: string, reason?: string) => Promise<unknown>> = {
  pause: (name, reason) => unwrap(api.POST('/v1/rollouts/{name}/pause', { params: { path: { name } }, body: { reason } })),
  resume: (name, reason) => unwrap(api.POST('/v1/rollouts/{name}/resume', { params: { path: { name } }, body: { reason } })),
  promote: (name, reason) => unwrap(api.POST('/v1/rollouts/{name}/promote', { params: { path: { name } }, body: { reason } })),
  rollback: (name, reason) => unwrap(api.POST('/v1/rollouts/{name}/rollback', { params: { path: { name } }, body: { reason } })),
  undo: (name, reason) => unwrap(api.POST('/v1/rollouts/{name}/undo', { params: { path: { name } }, body: { reason } })),
  off: (env) => unwrap(api.POST('/v1/environments/{env}/off', { params: { path: { env } }, body: {} })),
};

/** urgent verbs take exposure back: no reason is asked before. */
const urgent = (verb: Verb) => verb === 'rollback' || verb === 'off';

/** preview says what a verb will do, in the rollout's own numbers. */
function preview({ verb, name, row, plan, exposed }: Ask): string {
  if (verb === 'off') return `${exposed?.map((r) => `${r.name} at ${percent(r.exposure)}`).join(', ')}: all of it goes off in environment ${name}, in one decision. This needs no vote and works in a freeze.`;
  if (!row) return '';
  const i = plan?.stages?.findIndex((s) => s.name === row.stage) ?? -1;
  const next = plan?.stages?.[i + 1];
  const stable = plan?.flag.stable ?? 'the baseline';
  switch (verb) {
    case 'pause': return `Exposure stays at ${percent(row.exposure)} and no further stage begins until somebody resumes. Guardrails keep watching and can still roll back.`;
    case 'resume': return `The bake of stage "${row.stage}" goes on at ${percent(row.exposure)}.`;
    case 'promote':
      return next
        ? `The bake of stage "${row.stage}" ends now: exposure goes from ${percent(row.exposure)} to ${percent(next.exposure / 1000)} of cohort ${next.cohort}. Way back: as planned, to ${stable}.`
        : 'The last stage ends now and the candidate becomes the setting for everybody.';
    case 'undo': return `${plan?.flag.key ?? 'The flag'} serves ${stable} to everybody again. The rollout is complete and holds no lease, so acknowledgements alone say when: who has not answered is named, never counted as proven.`;
    default: return `${percent(row.exposure)} is exposed now. ${stable} will serve everybody, and each component has to prove it. This needs no vote and works in a freeze; the reason is asked afterwards.`;
  }
}

const title: Record<Verb, string> = { pause: 'Hold', resume: 'Resume', promote: 'Promote', rollback: 'Roll back', undo: 'Undo', off: 'All exposure off' };

/** Actions are the buttons of a rollout that is not over. Roll back takes two activations and asks why only afterwards. */
export function Actions({ row, plan, small }: { row: RolloutRow; plan?: Plan; small?: boolean }) {
  const { data: me } = useQuery(meQuery);
  if (over(row.phase)) return null;
  const may = (v: Verb) => (me?.may ?? []).some((m) => m === v);
  const back = row.phase === 'RollingBack' || row.phase === 'RollbackIncomplete';
  const button = (verb: Verb, word: string, cls = '') => (
    <button type="button" className={`btn ${small ? 'sm' : ''} ${cls}`} disabled={!may(verb)} title={may(verb) ? undefined : `role ${me?.role} may not ${verb}`}
      onClick={() => set({ verb, name: row.name, row, plan, stage: 'ask' })}>
      {verb === 'rollback' && <Icon name="back" size={15} />}{word}{small && <span className="vh"> {row.name}</span>}
    </button>
  );
  return (
    <div className="actions">
      {!back && !small && (row.phase === 'Paused' ? button('resume', 'Resume') : row.phase === 'Progressing' && button('pause', `Hold at ${percent(row.exposure)}`))}
      {!back && !small && (row.phase === 'Progressing' || row.phase === 'Paused') && button('promote', 'Promote')}
      {!back && button('rollback', 'Roll back', 'danger')}
    </div>
  );
}

/** Undo is the button of a completed rollout: the way back when its leases have ended. */
export function Undo({ row, plan }: { row: RolloutRow; plan: Plan }) {
  const { data: me } = useQuery(meQuery);
  const may = (me?.may ?? []).some((m) => m === 'rollback');
  return <button type="button" className="btn" disabled={!may} title={may ? undefined : `role ${me?.role} may not undo`} onClick={() => set({ verb: 'undo', name: row.name, row, plan, stage: 'ask' })}><Icon name="back" size={15} />Undo</button>;
}

/** AllOff is the button that takes back everything exposed in an environment. */
export function AllOff({ running }: { running: readonly RolloutRow[] }) {
  const { data: me } = useQuery(meQuery);
  const env = me?.env || me?.defaultEnv || '';
  const exposed = running.filter((r) => r.env === env && r.exposure > 0);
  const may = (me?.may ?? []).some((m) => m === 'rollback');
  if (!exposed.length) return null;
  return <button type="button" className="btn sm danger" disabled={!may} title={may ? undefined : `role ${me?.role} may not take exposure back`} onClick={() => set({ verb: 'off', name: env, exposed, stage: 'ask' })}>All exposure off</button>;
}

/** ActionDialog is the one dialog of all actions. */
export function ActionDialog() {
  const ask = useAsk();
  return (
    <Modal opened={!!ask} onClose={() => set(undefined)} lockScroll={false} centered transitionProps={{ duration: 0 }} closeButtonProps={{ 'aria-label': 'Close' }}
      title={<b>{ask && (ask.stage === 'why' ? 'Rolling back. Why?' : `${title[ask.verb]}${ask.verb === 'off' ? ' in' : ''} ${ask.name}?`)}</b>}>
      {ask && <Question key={`${ask.verb} ${ask.name}`} ask={ask} />}
    </Modal>
  );
}

function Question({ ask }: { ask: Ask }) {
  const queries = useQueryClient();
  const [reason, setReason] = useState('');
  const id = useId();
  const { verb, name } = ask;
  const close = () => set(undefined);
  const act = async () => {
    set({ ...ask, stage: 'busy', error: undefined });
    try {
      await call[verb](name, urgent(verb) ? undefined : reason || undefined);
      set(verb === 'rollback' ? { ...ask, stage: 'why' } : undefined);
      await queries.invalidateQueries({ queryKey: verb === 'off' ? ['rollouts'] : ['rollout', name] });
    } catch (e) {
      set({ ...ask, stage: 'ask', error: (e as Error).message });
    }
  };
  const explain = async () => {
    try {
      await unwrap(api.POST('/v1/rollouts/{name}/note', { params: { path: { name } }, body: { reason } }));
      close();
      await queries.invalidateQueries({ queryKey: ['records'] });
    } catch (e) {
      set({ ...ask, stage: 'why', error: (e as Error).message });
    }
  };
  const why = ask.stage === 'why';
  return (
    <div>
      <p>{why ? 'The rollback has started and does not wait for this. What you write goes into the log.' : preview(ask)}</p>
      {(why || !urgent(verb)) && (
        <Textarea id={id} key={why ? 'why' : 'ask'} label="Reason" mt={12} value={reason} maxLength={1000} rows={3} data-autofocus autoFocus={why} onChange={(e) => setReason(e.currentTarget.value)} />
      )}
      {ask.error && <p role="alert" className="st fail" style={{ whiteSpace: 'normal', marginTop: 8 }}>{ask.error}</p>}
      <div className="row" style={{ justifyContent: 'flex-end', marginTop: 16 }}>
        <button type="button" className="btn" onClick={close}>{why ? 'Not now' : 'Cancel'}</button>
        {why
          ? <button type="button" className="btn primary" disabled={!reason} onClick={() => void explain()}>Save reason</button>
          : <button type="button" className={`btn ${urgent(verb) ? 'danger' : 'primary'}`} data-autofocus={urgent(verb) || undefined} disabled={ask.stage === 'busy'} onClick={() => void act()}>
              {verb === 'rollback' ? 'Roll back now' : `${title[verb]} now`}
            </button>}
      </div>
    </div>
  );
}
