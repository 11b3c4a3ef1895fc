// Records in words: one word, one shape, one short sentence for each kind of the log.
import type { Rec, Verdict } from './api/client';
import { short } from './words';
import type { Tone } from './ui/status';

interface Report { result?: string; action?: string; powered?: boolean; clean?: boolean; decider?: Verdict }
export interface RolloutState {
  phase: string; sub?: string; pause?: string; stage: number; exposure: number; revision: number; floor?: number; baked: number;
  cause?: { trigger: string; sentence: string; verdict?: Verdict }; decided: string; stageSince: string; digestBefore?: string; digestAfter?: string;
}

export const stateOf = (r: Rec) => r.state as unknown as RolloutState | undefined;
export const reportOf = (r: Rec) => r.event?.report as Report | undefined;

export interface RecordWord { tone: Tone; word: string; text: string }

const exposure = (r: Rec) => `${(stateOf(r)?.exposure ?? 0) / 1000}\u00a0%`;

/** recordWord says what a record is about. Kinds that a later version adds show under their own name. */
export function recordWord(r: Rec): RecordWord {
  const s = stateOf(r);
  const kind = r.kind.replace(/^rollout\./, '');
  const text = r.reason ?? '';
  switch (kind) {
    case 'submit': return { tone: 'ok', word: 'Submit', text: `plan ${short(String((r.state as { plan?: string })?.plan ?? ''))} by ${r.actor}` };
    case 'open': return { tone: 'ok', word: 'Open', text: `own scope, digest before ${short(s?.digestBefore)}` };
    case 'armed': return { tone: 'ok', word: 'Arm', text: `every component has loaded stage ${(s?.stage ?? 0) + 1}` };
    case 'committed': return { tone: 'run', word: 'Expose', text: `stage ${(s?.stage ?? 0) + 1} at ${exposure(r)}, revision ${s?.revision}` };
    case 'activated': return { tone: 'ok', word: 'Activated', text: `every component serves it, the bake begins` };
    case 'judged': return judgedWord(r);
    case 'revoked': return { tone: 'run', word: 'Revoke', text: `floor r${s?.revision ?? ''} durable and shown to every component` };
    case 'proven': return { tone: 'ok', word: 'Safe', text: 'no component can serve the candidate any more' };
    case 'unwound': return { tone: 'ok', word: 'Unwound', text: 'stores and writers have gone back' };
    case 'verified': return { tone: 'ok', word: 'Verified', text: `digest after ${short(s?.digestAfter)} equals before` };
    case 'pause': return { tone: 'hold', word: 'Hold', text: text || `by ${r.actor}` };
    case 'resume': return { tone: 'ok', word: 'Resume', text: text || `by ${r.actor}` };
    case 'promote': return { tone: 'ok', word: 'Promote', text: text || `by ${r.actor}` };
    case 'rollback': return { tone: 'fail', word: 'Roll back', text: text || `by ${r.actor}` };
    case 'cancel': return { tone: 'hold', word: 'Cancel', text: text || `by ${r.actor}` };
    case 'finished': return { tone: 'ok', word: 'Complete', text: 'the candidate is the setting for everybody' };
    case 'note': return { tone: 'none', word: 'Reason', text: String(r.event?.reason ?? '') };
    case 'denied': return { tone: 'hold', word: 'Denied', text: text || r.actor };
    case 'env.create': return { tone: 'none', word: 'Environment', text: 'created' };
    case 'config.edit': return { tone: 'none', word: 'Edit', text: text || `by ${r.actor}` };
    default: return { tone: 'none', word: kind, text };
  }
}

function judgedWord(r: Rec): RecordWord {
  const s = stateOf(r), rep = reportOf(r);
  if (s?.phase === 'RollingBack') return { tone: 'fail', word: 'Roll back', text: s.cause?.sentence ?? '' };
  if (s?.phase === 'Paused') return { tone: 'hold', word: 'Hold', text: s.cause?.sentence ?? s.pause ?? '' };
  if (s?.sub === 'Deciding') return { tone: 'warn', word: 'Wait', text: 'baked, the verdict is not yet a pass' };
  const grade = rep?.powered ? 'pass with power' : rep?.clean ? 'bake over, no breach' : 'bake over';
  if (s?.phase === 'Promoting' || s?.phase === 'Completed') return { tone: 'ok', word: 'Finish', text: grade };
  return { tone: 'ok', word: 'Advance', text: s?.sub === 'Arming' ? `${grade}, to stage ${s.stage + 1}` : grade };
}
