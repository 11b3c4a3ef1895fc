import { useSyncExternalStore } from 'react';

export type Zone = 'UTC' | 'local';

const listeners = new Set<() => void>();
const key = 'sluice-zone';

function stored(): Zone {
  try { return localStorage.getItem(key) === 'local' ? 'local' : 'UTC'; } catch { return 'UTC'; }
}

let zone = stored();
const current = () => zone;

function set(next: Zone) {
  zone = next;
  try { localStorage.setItem(key, next); } catch { /* storage is off: this page only */ }
  for (const l of listeners) l();
}

/** useZone returns the zone in which times are written and the switch between UTC and that of the reader's machine. */
export function useZone(): [Zone, () => void] {
  const z = useSyncExternalStore((l) => { listeners.add(l); return () => listeners.delete(l); }, current);
  return [z, () => set(z === 'UTC' ? 'local' : 'UTC')];
}

/** offset is how far the written zone is ahead of UTC at an instant, in minutes: it changes with summer time. */
const offset = (t: number): number => (zone === 'UTC' ? 0 : -new Date(t).getTimezoneOffset());

/** suffix marks a time of day: Z, or the hours ahead of UTC as ISO 8601 writes them. */
export function suffix(t: number): string {
  if (zone === 'UTC') return 'Z';
  const m = offset(t), a = Math.abs(m);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${m < 0 ? '\u2212' : '+'}${two(Math.floor(a / 60))}${a % 60 ? `:${two(a % 60)}` : ''}`;
}

/** wall is an instant as the written zone's clock shows it, in the form of ISO 8601 without the zone. */
export const wall = (t: number): string => new Date(t + offset(t) * 60_000).toISOString().slice(0, 23);

/** zoneName names the written zone at an instant. */
export const zoneName = (t: number): string => (zone === 'UTC' ? 'UTC' : `UTC${suffix(t)}`);
