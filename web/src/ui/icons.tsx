const paths = {
  home: 'M2.5 7 8 2.5 13.5 7v6.5h-4V9.5h-3v4h-4Z',
  roll: 'M2.5 12.5h3v-3h4v-3h4v-3',
  comp: 'M2.5 2.5h4.5v4.5h-4.5zM9 9h4.5v4.5H9zM9 4.7h2.3V9M7 11.3H4.7V7',
  audit: 'M4 2.5h6l2.5 2.5v8.5H4ZM6 7.5h4.5M6 10h4.5',
  moon: 'M13 9.6A5.5 5.5 0 1 1 6.4 3 4.4 4.4 0 0 0 13 9.6Z',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M3.4 12.6l1.1-1.1M11.5 4.5l1.1-1.1',
  copy: 'M7 5.5h5A1.5 1.5 0 0 1 13.5 7v5a1.5 1.5 0 0 1-1.5 1.5H7A1.5 1.5 0 0 1 5.5 12V7A1.5 1.5 0 0 1 7 5.5ZM10.5 5.5v-3h-8v8h3',
  download: 'M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10',
  back: 'M6 4 2.5 7.5 6 11M2.5 7.5H10a3.3 3.3 0 0 1 0 6.6H7.5',
  left: 'M9.5 4.5 6 8l3.5 3.5',
  menu: 'M2.5 4.5h11M2.5 8h11M2.5 11.5h11',
  out: 'M6 2.5H3v11h3M10.5 5 13.5 8l-3 3M13.5 8H6.5',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.4" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}

export function Brand() {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.7" strokeLinecap="round" aria-hidden="true">
      <path d="M10 2v11" strokeWidth="2.4" />
      <path d="M1.5 7c1.4-1.3 2.8-1.3 4.2 0M1.5 11.5c1.4-1.3 2.8-1.3 4.2 0M14.3 16.5c1.4-1.3 2.8-1.3 4.2 0M1.5 17.5h8.5" />
    </svg>
  );
}
