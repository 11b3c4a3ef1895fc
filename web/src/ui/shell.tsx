import { Menu } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, Outlet, useMatches, useNavigate } from '@tanstack/react-router';
import { type ReactNode, useEffect, useState } from 'react';
import { Refused } from '../api/client';
import { follow, serverNow, useLive } from '../live';
import { Login } from '../pages/login';
import { meQuery, rolloutsQuery } from '../queries';
import { useTheme } from '../theme/theme';
import { useZone, zoneName } from '../theme/zone';
import { clock, day } from '../words';
import { ActionDialog } from './actions';
import { Brand, Icon, type IconName } from './icons';
import { Status } from './status';

const places: { to: string; icon: IconName; word: string; section?: string }[] = [
  { to: '/', icon: 'home', word: 'Overview' },
  { to: '/rollouts', icon: 'roll', word: 'Rollouts' },
  { to: '/components', icon: 'comp', word: 'Components', section: 'Pipeline' },
  { to: '/audit', icon: 'audit', word: 'Audit', section: 'Record' },
];

/** useNow ticks once a second on the server's clock. */
export function useNow(): number {
  const [t, set] = useState(serverNow());
  useEffect(() => {
    const id = setInterval(() => set(serverNow()), 1000);
    return () => clearInterval(id);
  }, []);
  return t;
}

function Clock() {
  const t = useNow();
  const [zone, other] = useZone();
  const weekday = new Date(`${day(t)}T00:00Z`).toLocaleDateString('en-GB', { weekday: 'short', timeZone: 'UTC' });
  return (
    <button type="button" className="clock" data-testid="clock" title={zone === 'UTC' ? 'Write times in the local zone' : 'Write times in UTC'} onClick={other}>
      {clock(t).slice(0, 8)} <span>{zoneName(t)}<span className="onlybig">, {weekday} {day(t)}</span></span>
    </button>
  );
}

function LiveMark() {
  const live = useLive();
  const word = { live: 'Live', connecting: 'Connecting', stale: 'Stale' }[live.state];
  const tone = live.state === 'live' ? 'ok' : live.state === 'stale' ? 'warn' : 'none';
  return <span data-testid="live" role="status"><Status tone={tone}>{word}</Status></span>;
}

function Stale() {
  const live = useLive();
  if (live.state !== 'stale') return null;
  return <div className="stale" data-testid="stale">The server has been silent since {clock(live.heard + live.skew)}: what stands here is of that time. Reconnecting.</div>;
}

function NavList({ count }: { count: number }) {
  return (
    <ul>
      {places.map((p) => (
        <li key={p.to}>
          {p.section && <div className="sec">{p.section}</div>}
          <Link to={p.to} activeOptions={{ exact: p.to === '/' }}>
            <Icon name={p.icon} />
            <span className="word">{p.word}</span>
            {p.to === '/rollouts' && count > 0 && <span className="n">{count}</span>}
          </Link>
        </li>
      ))}
    </ul>
  );
}

/** Shell is the frame of every page; without a session it shows the sign-in instead. */
export function Shell() {
  const me = useQuery(meQuery);
  const queries = useQueryClient();
  const signedIn = me.isSuccess;
  useEffect(() => { if (signedIn) follow(queries); }, [signedIn, queries]);
  if (me.isPending) return <div className="app" aria-busy="true" />;
  if (me.error instanceof Refused && me.error.status === 401) return <Login />;
  if (me.isError) return <main className="main"><h1>The server does not answer</h1><p className="state">{me.error.message}</p></main>;
  return <Frame />;
}

function Frame() {
  const { data: me } = useQuery(meQuery);
  const { data: rollouts } = useQuery(rolloutsQuery);
  const [theme, toggle] = useTheme();
  const [zone] = useZone();
  const live = useLive();
  const queries = useQueryClient();
  const go = useNavigate();
  const crumbs = useMatches().flatMap((m) => (m.staticData.crumbs ? m.staticData.crumbs(m.params as Record<string, string>) : []));
  const name = me?.name.replace(/^\w+:/, '') ?? '';
  const signOut = async () => {
    await fetch('/logout', { method: 'POST' });
    queries.clear();
    location.assign('/');
  };
  return (
    <div className="app">
      <a className="skip" href="#main">Skip to content</a>
      <nav className="nav" aria-label="Main">
        <Link to="/" className="brand" aria-label="Sluice, overview"><Brand /><span className="word">Sluice</span></Link>
        <div className="env"><b className="m">{me?.env || me?.defaultEnv}</b> <span className="t3">environment</span></div>
        <NavList count={rollouts?.length ?? 0} />
        <div className="foot">
          Record {live.seq || '…'} · <Link to="/audit">log</Link><br />
          sluice {me?.version} · <a href="/openapi.yaml">API</a>
        </div>
      </nav>
      <header className="bar">
        <Menu position="bottom-start" transitionProps={{ duration: 0 }}>
          <Menu.Target><button type="button" className="ib onlysmall" aria-label="Menu"><Icon name="menu" /></button></Menu.Target>
          <Menu.Dropdown>
            {places.map((p) => <Menu.Item key={p.to} onClick={() => void go({ to: p.to })}>{p.word}</Menu.Item>)}
          </Menu.Dropdown>
        </Menu>
        <div className="crumb">
          {crumbs.map((c, i) => (
            <span key={c.word} className={`row ${i < crumbs.length - 1 ? 'onlybig' : 'trunc'}`}>
              {c.to ? <Link to={c.to}>{c.word}</Link> : <b className="trunc m">{c.word}</b>}
              {i < crumbs.length - 1 && <span>/</span>}
            </span>
          ))}
        </div>
        <LiveMark />
        <Clock />
        <button type="button" className="ib" aria-label={theme === 'dark' ? 'Light theme' : 'Dark theme'} onClick={toggle}><Icon name={theme === 'dark' ? 'sun' : 'moon'} /></button>
        <Menu position="bottom-end" transitionProps={{ duration: 0 }}>
          <Menu.Target>
            <button type="button" className="who">
              <span className="vh">Signed in as {me?.name}, role</span>
              <span className="avatar" aria-hidden="true">{name.slice(0, 2)}</span><span className="onlybig">{me?.role}</span>
            </button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>{me?.name}, role {me?.role}</Menu.Label>
            <Menu.Item leftSection={<Icon name="out" size={14} />} onClick={() => void signOut()}>Sign out</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </header>
      <main className="main" id="main" tabIndex={-1} key={zone}>
        <Stale />
        <Outlet />
      </main>
      <ActionDialog />
    </div>
  );
}

export function Panel({ title, sub, right, children, id, className = '' }: { title: string; sub?: ReactNode; right?: ReactNode; children: ReactNode; id?: string; className?: string }) {
  return (
    <section className={`panel ${className}`} id={id} aria-label={title}>
      <div className="ph"><h2>{title}</h2>{sub && <span className="sub">{sub}</span>}{right && <div className="right">{right}</div>}</div>
      {children}
    </section>
  );
}

export function Command({ text }: { text: string }) {
  const [done, set] = useState(false);
  return (
    <div className="cmd">
      <code>{text}</code>
      <button type="button" className="ib" aria-label={`Copy: ${text}`} onClick={() => { void navigator.clipboard?.writeText(text).then(() => set(true)); }}>
        <Icon name="copy" size={14} />
      </button>
      <span className="vh" role="status">{done ? 'copied' : ''}</span>
    </div>
  );
}

/** Asking shows an answer that has not come: nothing at first, then words, or what went wrong. */
export function Asking({ error, what }: { error: Error | null; what: string }) {
  if (!error) return <p className="empty" role="status">Reading {what}…</p>;
  return (
    <div className="empty" role="alert">
      <p className="m">{error.message}</p>
      {error instanceof Refused && error.fix && <p>{error.fix}</p>}
    </div>
  );
}
