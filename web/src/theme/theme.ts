import { useSyncExternalStore } from 'react';

export type Theme = 'light' | 'dark';

const listeners = new Set<() => void>();
const current = (): Theme => (document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light');

/** set changes the theme of the page and remembers it. */
function set(theme: Theme) {
  document.documentElement.dataset.theme = theme;
  document.documentElement.dataset.mantineColorScheme = theme;
  try { localStorage.setItem('sluice-theme', theme); } catch { /* storage is off: this page only */ }
  for (const l of listeners) l();
}

/** useTheme returns the theme and the switch between light and dark. */
export function useTheme(): [Theme, () => void] {
  const theme = useSyncExternalStore((l) => { listeners.add(l); return () => listeners.delete(l); }, current);
  return [theme, () => set(theme === 'dark' ? 'light' : 'dark')];
}
