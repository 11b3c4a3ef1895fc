// One stream of changes for the whole browser: the tab that holds the lock reads it and passes every event on to the
// other tabs, so that a seventh tab needs no seventh connection (HTTP/1.1 has six). Events carry the record's number; a
// new reader goes on where the last one stopped, so nothing is missed.
import type { QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import type { RolloutRow } from './api/client';

export interface Live {
  state: 'connecting' | 'live' | 'stale';
  heard: number; // when the server was last heard, this clock
  skew: number; // server clock minus this clock, ms
  seq: number; // last record heard of
}

interface Message { event: string; data: string; id: string }
interface RecordEvent { seq: number; kind: string; rollout?: string; at: string }
interface RolloutEvent extends RolloutRow { second: number; version: number; verdicts: string }

/** staleAfter: after so much silence what stands on the page is called stale. The server pings every 4 s. */
const staleAfter = 8_000;
const events = ['hello', 'record', 'rollout', 'ping'];

let now: Live = { state: 'connecting', heard: 0, skew: 0, seq: 0 };
const listeners = new Set<() => void>();
let client: QueryClient;
let source: EventSource | undefined;
let started = false;

function set(change: Partial<Live>) {
  now = { ...now, ...change };
  for (const l of listeners) l();
}

export function useLive(): Live {
  return useSyncExternalStore(
    (l) => { listeners.add(l); return () => listeners.delete(l); },
    () => now,
  );
}

/** serverNow is the server's clock, as far as the last ping told. */
export const serverNow = () => Date.now() + now.skew;

const pending = new Map<string, ReturnType<typeof setTimeout>>();

/** refresh asks again for what changed; the same thing at most once in `within` ms. */
function refresh(key: readonly string[], within: number) {
  const id = key.join('/');
  if (pending.has(id)) return;
  const go = () => { void client.invalidateQueries({ queryKey: [...key] }); };
  if (within === 0) return go();
  go();
  pending.set(id, setTimeout(() => { pending.delete(id); if (late.delete(id)) refresh(key, within); }, within));
}
const late = new Set<string>();
function refreshSoon(key: readonly string[], within: number) {
  if (pending.has(key.join('/'))) late.add(key.join('/'));
  refresh(key, within);
}

const last = new Map<string, string>(); // rollout -> where it stood

function take(m: Message) {
  set({ state: 'live', heard: Date.now(), seq: Math.max(now.seq, Number(m.id) || 0) });
  const body = JSON.parse(m.data) as Record<string, unknown>;
  switch (m.event) {
    case 'hello':
    case 'ping':
      set({ skew: Date.parse(String(body.now)) - Date.now() });
      if (m.event === 'hello' && !body.resumed) void client.invalidateQueries();
      return;
    case 'record': {
      const r = body as unknown as RecordEvent;
      set({ seq: Math.max(now.seq, r.seq) });
      refreshSoon(['records'], 200);
      if (r.rollout) refreshSoon(['series', r.rollout], 300);
      refreshSoon(['components'], 500);
      return;
    }
    case 'rollout': {
      const r = body as unknown as RolloutEvent;
      client.setQueryData<RolloutRow[]>(['rollouts'], (old) => {
        const row: RolloutRow = { name: r.name, env: r.env, phase: r.phase, where: r.where, stage: r.stage, exposure: r.exposure, started: r.started, sentence: r.sentence };
        return old ? [...old.filter((o) => o.name !== r.name), row].sort((a, b) => a.name.localeCompare(b.name)) : old;
      });
      const stand = `${r.where} ${r.stage} ${r.exposure}`;
      const moved = last.get(r.name) !== stand;
      last.set(r.name, stand);
      if (moved) void client.invalidateQueries({ queryKey: ['rollout', r.name] });
      else refreshSoon(['rollout', r.name], 900);
      refreshSoon(['series', r.name], 900);
    }
  }
}

function open(channel: BroadcastChannel | undefined) {
  source = new EventSource(`/v1/stream${now.seq ? `?after=${now.seq}` : ''}`);
  for (const event of events) {
    source.addEventListener(event, (e) => {
      const m: Message = { event, data: (e as MessageEvent<string>).data, id: (e as MessageEvent<string>).lastEventId };
      channel?.postMessage(m);
      take(m);
    });
  }
  source.onerror = () => {
    if (now.state !== 'stale') set({ state: 'connecting' });
    if (source?.readyState === EventSource.CLOSED) void client.invalidateQueries({ queryKey: ['me'] }); // refused: the session may have ended
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => { if (source?.readyState === EventSource.CLOSED) open(channel); }, 2000);
  };
}

/** follow begins to follow the changes; a second call does nothing. */
export function follow(queries: QueryClient) {
  client = queries;
  if (started) return;
  started = true;
  const channel = 'BroadcastChannel' in window ? new BroadcastChannel('sluice-changes') : undefined;
  if (channel) channel.onmessage = (e: MessageEvent<Message>) => take(e.data);
  if (channel && navigator.locks) void navigator.locks.request('sluice-stream', () => new Promise<never>(() => open(channel)));
  else open(undefined);
  setInterval(() => { if (now.heard && Date.now() - now.heard > staleAfter && now.state !== 'stale') set({ state: 'stale' }); }, 1000);
}

/** drop ends this tab's connection as a network would; the browser test uses it. */
export function drop() {
  source?.close();
  source = undefined;
}
