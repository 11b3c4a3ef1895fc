import type { ReactNode } from 'react';

// The six shapes. They differ in outline, so that colour never has to say anything alone.
export type Tone = 'ok' | 'warn' | 'fail' | 'hold' | 'none' | 'run';

const shape: Record<Tone, ReactNode> = {
  ok: <circle cx="6" cy="6" r="4.6" fill="var(--ok-mark)" />,
  warn: <path d="M6 1 11.4 10.6H.6Z" fill="var(--warn-mark)" stroke="var(--warn-mark)" strokeWidth=".8" strokeLinejoin="round" />,
  fail: <rect x="1.5" y="1.5" width="9" height="9" rx="1" fill="var(--fail-mark)" />,
  hold: <path d="M6 .6 11.4 6 6 11.4.6 6Z" fill="var(--hold-mark)" />,
  none: <circle cx="6" cy="6" r="4.4" fill="none" stroke="var(--none-mark)" strokeWidth="1.4" strokeDasharray="2.2 1.25" />,
  run: (
    <>
      <circle cx="6" cy="6" r="4.3" fill="none" stroke="var(--run-mark)" strokeWidth="1.5" opacity=".4" />
      <path d="M6 1.7A4.3 4.3 0 0 1 6 10.3Z" fill="var(--run-mark)" />
    </>
  ),
};

/** Glyph is a shape by itself; beside it stands its word. */
export function Glyph({ tone, size = 12 }: { tone: Tone; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 12 12" aria-hidden="true" data-shape={tone}>
      {shape[tone]}
    </svg>
  );
}

/** GlyphAt draws a shape inside another picture, centred on x and y. */
export function GlyphAt({ tone, x, y, size = 12 }: { tone: Tone; x: number; y: number; size?: number }) {
  return (
    <g transform={`translate(${x - size / 2} ${y - size / 2}) scale(${size / 12})`} data-shape={tone}>
      {shape[tone]}
    </g>
  );
}

export function Status({ tone, children, badge }: { tone: Tone; children: ReactNode; badge?: boolean }) {
  return (
    <span className={`st ${tone}${badge ? ' badge' : ''}`}>
      <Glyph tone={tone} />
      <span>{children}</span>
    </span>
  );
}
