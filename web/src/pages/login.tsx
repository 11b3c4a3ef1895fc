import { useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { Brand } from '../ui/icons';

/** Login takes an API token and keeps a session cookie instead of it. */
export function Login() {
  const [error, set] = useState(new URLSearchParams(location.search).has('login') ? 'That link has been used or is too old. Take a new one from the terminal, or paste a token.' : '');
  const queries = useQueryClient();
  const submit = async (e: FormEvent<HTMLFormElement>) => {
    e.preventDefault();
    const res = await fetch('/login', { method: 'POST', body: new URLSearchParams(new FormData(e.currentTarget) as unknown as Record<string, string>) });
    if (!res.ok) return set('This token is not valid.');
    history.replaceState(null, '', location.pathname);
    await queries.invalidateQueries();
  };
  return (
    <main>
      <form className="panel login" onSubmit={(e) => void submit(e)}>
        <div className="row"><Brand /><h1>Sign in to Sluice</h1></div>
        <p className="t2" style={{ margin: '8px 0 14px' }}>Open the link that <code>sluice demo</code> or <code>sluice serve</code> printed, or paste an API token.</p>
        <label className="s12 m" htmlFor="token">Token</label>
        <input id="token" name="token" type="password" className="field" autoComplete="current-password" placeholder="slc_…" required aria-describedby="login-error" />
        <p id="login-error" role="alert" className="st fail" style={{ whiteSpace: 'normal', display: 'block', minHeight: 28, padding: '4px 0' }}>{error}</p>
        <button type="submit" className="btn primary">Sign in</button>
      </form>
    </main>
  );
}
