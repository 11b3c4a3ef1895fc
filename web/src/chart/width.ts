import { type RefObject, useEffect, useRef, useState } from 'react';

/** useWidth returns a reference for an element and its width in px, 0 before it is laid out. */
export function useWidth(): [RefObject<HTMLDivElement | null>, number] {
  const host = useRef<HTMLDivElement>(null);
  const [w, set] = useState(0);
  useEffect(() => {
    if (!host.current) return;
    const o = new ResizeObserver(([e]) => set(Math.floor(e.contentRect.width)));
    o.observe(host.current);
    return () => o.disconnect();
  }, []);
  return [host, w];
}
