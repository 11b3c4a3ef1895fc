import { type KeyboardEvent, type ReactNode, useState } from 'react';
import { clock } from '../words';

interface Props {
  label: string;
  /** The plot inside its picture, in px; the line of the chosen time leaves out what lies above top and below bottom. */
  left: number; plot: number; width: number; top: number; bottom: number; height: number;
  /** The times at the plot's edges, and the last one that can be chosen. */
  from: number; to: number; last: number;
  /** Times that [ and ] go to. */
  stops: readonly number[];
  says: (t: number) => string;
  children: (t: number) => ReactNode;
}

/** Cursor reads a chart at a time: arrows move it, [ and ] go from stop to stop, so nothing needs dragging. */
export function Cursor({ label, left, plot, width, top, bottom, height, from, to, last, stops, says, children }: Props) {
  const [t, set] = useState<number>();
  const go = (at: number) => set(Math.min(last, Math.max(from, at)));
  const key = (e: KeyboardEvent) => {
    const step = Math.max(1000, Math.round((last - from) / 60_000) * 1000);
    const cur = t ?? last;
    const sorted = [from, ...stops, last].sort((a, b) => a - b);
    const next = { ArrowLeft: cur - step, ArrowRight: cur + step, Home: from, End: last, '[': sorted.findLast((g) => g < cur - 1) ?? from, ']': sorted.find((g) => g > cur + 1) ?? last }[e.key];
    if (e.key === 'Escape') set(undefined);
    if (next === undefined) return;
    e.preventDefault();
    go(next);
  };
  const px = t === undefined ? 0 : left + ((t - from) / (to - from)) * plot;
  return (
    <>
      <div className="cursor" style={{ left, width: Math.max(0, plot), height, right: 'auto' }} role="slider" tabIndex={0} aria-label={label}
        aria-valuemin={0} aria-valuemax={Math.round((last - from) / 1000)} aria-valuenow={Math.round(((t ?? last) - from) / 1000)}
        aria-valuetext={t === undefined ? 'no time chosen' : `${clock(t)}: ${says(t)}`}
        onKeyDown={key} onBlur={() => set(undefined)} onPointerLeave={() => set(undefined)}
        onPointerMove={(e) => go(from + (e.nativeEvent.offsetX / plot) * (to - from))} />
      {t !== undefined && (
        <>
          <div style={{ position: 'absolute', left: px, top, width: 1, height: height - top - bottom, background: 'var(--text-3)', pointerEvents: 'none' }} />
          <div className="card" style={px > width / 2 ? { right: width - px + 10 } : { left: px + 10 }}><b className="m">{clock(t)}</b>{children(t)}</div>
        </>
      )}
    </>
  );
}
