// What the screens ask for. The stream of changes (live.ts) says when to ask again; nothing is polled.
import { queryOptions } from '@tanstack/react-query';
import { api, type Rec, type RolloutRow, type Series, type Slice, unwrap } from './api/client';

export const meQuery = queryOptions({ queryKey: ['me'], queryFn: () => unwrap(api.GET('/v1/me')), staleTime: 60_000, retry: false });

export const rolloutsQuery = queryOptions({
  queryKey: ['rollouts'],
  queryFn: async (): Promise<RolloutRow[]> => (await unwrap(api.GET('/v1/rollouts'))).rollouts ?? [],
});

export const rolloutQuery = (name: string) => queryOptions({
  queryKey: ['rollout', name],
  queryFn: () => unwrap(api.GET('/v1/rollouts/{name}', { params: { path: { name } } })),
});

/** seriesQuery reads the history of a rollout's verdicts; a lane that is named is in it even when others are worse. */
export const seriesQuery = (name: string, guardrail?: string, value?: string) => queryOptions({
  queryKey: ['series', name, guardrail ?? '', value ?? ''],
  queryFn: async (): Promise<Series> => {
    const ask = () => unwrap(api.GET('/v1/rollouts/{name}/series', { params: { path: { name }, query: value ? { guardrail, value } : {} } }));
    const s = await ask();
    return s.more ? ask() : s;
  },
  refetchInterval: (q) => (q.state.data?.more ? 300 : false), // a long history arrives in parts
});

export const slicesQuery = (name: string) => queryOptions({
  queryKey: ['series', name, 'slices'],
  queryFn: async (): Promise<Slice[]> => (await unwrap(api.GET('/v1/rollouts/{name}/slices', { params: { path: { name } } }))).slices ?? [],
});

async function page(query: { after?: number; rollout?: string; kind?: string; limit?: number }): Promise<{ records: Rec[]; next?: number }> {
  const b = await unwrap(api.GET('/v1/audit', { params: { query } }));
  return { records: (b.records ?? []) as unknown as Rec[], next: b.next };
}

/** recordsQuery reads all records of a rollout, at most 5,000, and what people said about it afterwards. */
export const recordsQuery = (rollout: string) => queryOptions({
  queryKey: ['records', rollout],
  queryFn: async (): Promise<Rec[]> => {
    const all: Rec[] = [];
    for (let after = 0, n = 0; n < 10; n++) {
      const p = await page({ rollout, after, limit: 500 });
      all.push(...p.records);
      if (!p.next) break;
      after = p.next;
    }
    const notes = await page({ kind: 'rollout.note', limit: 500 });
    all.push(...notes.records.filter((r) => r.event?.rollout === rollout));
    return all.sort((a, b) => a.seq - b.seq);
  },
});

export interface AuditFilter { rollout?: string; kind?: string; before?: number }

/** auditQuery reads the latest 500 records before a sequence, newest first. */
export const auditQuery = (f: AuditFilter, limit = 500) => queryOptions({
  queryKey: ['records', 'audit', f.rollout ?? '', f.kind ?? '', String(f.before ?? ''), String(limit)],
  queryFn: async (): Promise<{ records: Rec[]; head: { size: number; root: string } }> => {
    const head = await unwrap(api.GET('/v1/audit/head'));
    const filtered = !!f.rollout || !!f.kind;
    const after = filtered ? 0 : Math.max(0, (f.before ?? head.size + 1) - 1 - limit);
    const p = await page({ rollout: f.rollout || undefined, kind: f.kind || undefined, after, limit });
    return { records: p.records.filter((r) => !f.before || r.seq < f.before).reverse(), head };
  },
});

export const componentsQuery = queryOptions({
  queryKey: ['components'],
  queryFn: async () => (await unwrap(api.GET('/v1/components'))).components ?? [],
  refetchInterval: 5_000, // leases run out without a record
});
