// A small mark of one difference: zero stands at a third of the width, the limit at two thirds, whatever the unit; right is
// worse. A value beyond the edge is a chevron, never another scale.
export function Forest({ effect, lower, upper, limit, w = 120, h = 22, label }: {
  effect?: number; lower?: number | null; upper?: number | null; limit: number; w?: number; h?: number; label: string;
}) {
  const x = (v: number) => w / 3 + (limit ? (v / limit) * (w / 3) : 0);
  const clamp = (v: number) => Math.max(0, Math.min(w, v));
  const y = h / 2;
  const at = effect === undefined ? undefined : x(effect);
  return (
    <svg width={w} height={h} role="img" aria-label={label}>
      <rect x={(w * 2) / 3} width={w / 3} height={h} className="worse" />
      <line x1={w / 3} x2={w / 3} y1={2} y2={h - 2} className="z crisp" />
      <line x1={(w * 2) / 3} x2={(w * 2) / 3} y1={0} y2={h} className="lim" />
      {lower != null && upper != null && <rect x={clamp(x(lower))} width={Math.max(1.5, clamp(x(upper)) - clamp(x(lower)))} y={y - 5} height={10} rx={1.5} className="b95" />}
      {at !== undefined && (at > w - 4
        ? <path d={`M${w - 9} ${y - 4.5} ${w - 3} ${y} ${w - 9} ${y + 4.5}`} className="exp" />
        : at < 4 ? <path d={`M9 ${y - 4.5} 3 ${y} 9 ${y + 4.5}`} className="exp" />
          : <circle cx={at} cy={y} r={3} fill="var(--exposed)" stroke="var(--surface)" strokeWidth={1.2} />)}
    </svg>
  );
}
