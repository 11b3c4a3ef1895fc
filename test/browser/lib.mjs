// What the browser tests stand on: the binary, Debian's Chromium, axe, and a page that notes every console error, every
// refused resource and every request to another host.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const binary = process.env.SLUICE_BIN ?? new URL('../../bin/sluice', import.meta.url).pathname;
export const shots = process.env.SLUICE_SHOTS ?? mkdtempSync(join(tmpdir(), 'sluice-shots-'));
mkdirSync(shots, { recursive: true });

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
export const chrome = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find((p) => p && existsSync(p));

export const launch = () => chromium.launch({ executablePath: chrome, args: flags });

/** others lists children that another thread of the process started. */
const others = (pid) => readdirSync(`/proc/${pid}/task`).flatMap((t) => readFileSync(`/proc/${pid}/task/${t}/children`, 'utf8').trim().split(' '));

/** empty runs `sluice serve` on a directory that has nothing. */
export async function empty() {
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', mkdtempSync(join(tmpdir(), 'sluice-empty-'))], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (b) => { text += b; });
  child.stderr.on('data', (b) => { text += b; });
  while (!/login\?token=\w+ /.test(text)) {
    if (child.exitCode !== null) throw new Error(text);
    await new Promise((r) => setTimeout(r, 20));
  }
  const link = text.match(/http:\S+login\?token=\w+/)[0];
  return { link, base: new URL(link).origin, stop: () => new Promise((done) => { child.on('exit', done); child.kill('SIGINT'); }) };
}

/** start runs `sluice demo` and returns its address, a one-time link, a token and how to stop it. */
export async function start(...args) {
  const begun = performance.now();
  const child = spawn(binary, ['demo', '--listen', '127.0.0.1:0', '--seed', '1', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const ended = new Promise((done) => child.on('exit', done));
  const collect = (b) => { text += b; };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const find = async (re, what, within = 20_000) => {
    const until = Date.now() + within;
    for (;;) {
      const m = text.match(re);
      if (m) return m;
      if (Date.now() > until || child.exitCode !== null) throw new Error(`the demo did not say ${what}:\n${text}`);
      await new Promise((r) => setTimeout(r, 25));
    }
  };
  const link = (await find(/(http:\S+\/login\?token=\w+)/, 'a one-time link'))[1];
  const token = (await find(/SLUICE_TOKEN=(\S+)/, 'a token'))[1];
  const base = new URL(link).origin;
  return {
    base, link, token, begun, text: () => text, find,
    api: async (path, init = {}) => {
      const res = await fetch(base + path, { ...init, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...init.headers } });
      assert.ok(res.ok, `${path}: ${res.status} ${res.ok ? '' : await res.text()}`);
      return res.json();
    },
    /** children signals the component processes. */
    children: (signal) => others(child.pid).filter((p, i, all) => p && all.indexOf(p) === i).forEach((p) => process.kill(Number(p), signal)),
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    stop: async () => {
      child.kill('SIGINT');
      const late = setTimeout(() => child.kill('SIGKILL'), 8000);
      const code = await ended;
      clearTimeout(late);
      return code;
    },
  };
}

/** open gives a page that remembers what must not happen. */
export async function open(browser, { theme = 'light', width = 1360, height = 860, state } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: width < 500 ? 2 : 1, colorScheme: theme, storageState: state, reducedMotion: 'reduce' });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') faults.push(`console ${m.type()}: ${m.text()}`); });
  page.on('pageerror', (e) => faults.push(`page error: ${e.message}`));
  page.on('request', (r) => { if (!['127.0.0.1', 'localhost'].includes(new URL(r.url()).hostname)) faults.push(`outside request: ${r.url()}`); });
  return { context, page, faults };
}

/** axe returns the violations of WCAG A and AA, each with the elements it concerns. The script is injected by the browser's debugger, past the page's policy. */
export async function axe(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axeSource });
  await session.detach();
  return page.evaluate(async () => {
    const r = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] });
    return r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 4).map((n) => n.target.join(' ') + ' ' + n.failureSummary.split('\n')[1]).join(' | ')}`);
  });
}

export async function settled(page) {
  await page.waitForLoadState('load');
  await page.locator('main h1').first().waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-busy]') && !/Reading [^…]*…/.test(document.querySelector('main')?.textContent ?? ''));
  await page.waitForFunction(() => !/\/r\/[^/]+$/.test(location.pathname) || document.querySelector('[data-testid=timeline] svg'));
}

export const plain = (s) => s.replaceAll('\u00a0', ' ').replace(/\s+/g, ' ').trim();
export const shot = (page, name, full = false) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: full });
