// The API client: types come from openapi.yaml (npm run api), requests carry the session cookie of the same origin.
import createClient from 'openapi-fetch';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];
export type RolloutRow = Schemas['RolloutRow'];
export type RolloutView = Schemas['RolloutView'];
export type Verdict = Schemas['Verdict'];
export type Plan = Schemas['Plan'];
export type Guardrail = Schemas['Guardrail'];
export type Series = Schemas['Series'];
export type Lane = Schemas['LaneBody'];
export type LanePoint = Schemas['LanePoint'];
export type Line = Schemas['Line'];
export type Slice = Schemas['Slice'];
export type Component = Schemas['Component'];
export type Me = Schemas['MeBody'];

/** Rec is one record of the log. Event and state are JSON whose form depends on the kind. */
export interface Rec {
  seq: number; at: string; kind: string; env?: string; rollout?: string; actor: string; reason?: string; engine: string; epoch: number; rev?: number;
  event?: Record<string, unknown>; state?: Record<string, unknown>;
}

export const api = createClient<paths>({ baseUrl: '/', credentials: 'same-origin' });

/** Refused is an error answer: RFC 9457 with a stable code and what to do. */
export class Refused extends Error {
  constructor(readonly status: number, readonly code: string, detail: string, readonly fix?: string) {
    super(detail);
  }
}

/** unwrap returns the data of an answer or throws what the server said. */
export async function unwrap<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  const p = (error ?? {}) as { code?: string; detail?: string; fix?: string };
  throw new Refused(response.status, p.code ?? 'unknown', p.detail ?? `the server answered ${response.status}`, p.fix);
}
