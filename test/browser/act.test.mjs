// Acting on a rollout by keyboard, and the stream of changes when connections break. The quiet demo (--fault none) runs beside it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, launch, open, settled, shot, start } from './lib.mjs';

const name = 'flights-delay-v12';
let browser, demo, main, session;

before(async () => {
  demo = await start('--fault', 'none');
  browser = await launch();
  main = await open(browser);
  await main.page.goto(demo.link);
  await main.page.getByTestId('day').waitFor();
  session = await main.context.storageState();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** tabTo presses Tab until the element has the focus; each step's focus must be visible on the screen. */
async function tabTo(page, target, most = 60) {
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab');
    if (await target.evaluate((e) => e === document.activeElement)) return;
  }
  assert.fail(`not reached by ${most} tabs`);
}

test('17 a seventh tab on HTTP/1.1 loads and updates, because all share one stream', async () => {
  const pages = [];
  for (let i = 0; i < 7; i++) {
    const page = await main.context.newPage();
    await page.goto(`${demo.base}/components`);
    pages.push(page);
  }
  for (const page of pages) await page.getByTestId('live').filter({ hasText: 'Live' }).waitFor({ timeout: 15_000 });
  for (const page of pages) await page.close();
});

test('41 hold by keyboard, with a preview and a reason', async () => {
  const { page } = main;
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const hold = page.getByRole('button', { name: /^Hold at/ }).locator('visible=true').first();
  await hold.waitFor({ timeout: 20_000 });
  await tabTo(page, hold);
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.getByText(/no further stage begins/).waitFor();
  assert.deepEqual(await axe(page), []);
  await dialog.getByLabel('Reason').focus();
  await page.keyboard.type('looking at LAX');
  await tabTo(page, dialog.getByRole('button', { name: 'Hold now' }), 5);
  await page.keyboard.press('Enter');
  await page.locator('.badge.hold').filter({ hasText: 'Paused' }).waitFor({ timeout: 30_000 });
  const { records } = await demo.api(`/v1/audit?rollout=${name}&limit=500`);
  assert.equal(records.findLast((r) => r.kind === 'rollout.pause').reason, 'looking at LAX');
  await shot(page, 'paused-light');
});

test('27 28 41 roll back by keyboard from the phone: two activations, no reason asked before, one asked after', async () => {
  const { page, context, faults } = await open(browser, { width: 390, height: 844, state: session });
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const button = page.locator('.bottom').getByRole('button', { name: 'Roll back' });
  await button.focus();
  await page.keyboard.press('Enter'); // the first activation
  const now = page.getByRole('button', { name: 'Roll back now' });
  await now.waitFor();
  assert.ok(await now.evaluate((e) => e === document.activeElement), 'the focus stands on what the second activation does');
  assert.equal(await page.getByLabel('Reason').count(), 0);
  await shot(page, 'rollback-ask-phone');
  await page.keyboard.press('Enter'); // the second
  await page.getByRole('dialog').getByLabel('Reason').waitFor({ timeout: 10_000 });
  const { phase } = await demo.api(`/v1/rollouts/${name}`);
  assert.match(phase, /^Roll(ingBack|edBack)$/, 'it began before the reason was asked');
  assert.deepEqual(await axe(page), []);
  await page.keyboard.type('a drill');
  await page.getByRole('button', { name: 'Save reason' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.locator('.badge.fail').filter({ hasText: 'Rolled back' }).waitFor({ timeout: 20_000 });
  await page.getByTestId('records').getByText('a drill').waitFor({ timeout: 20_000 });
  const { records } = await demo.api('/v1/audit?kind=rollout.note&limit=500');
  assert.deepEqual(records.map((r) => r.event.reason), ['a drill']);
  assert.deepEqual(faults, []);
  await context.close();
});

test('15 a killed stream goes on by Last-Event-ID without a gap', async () => {
  const read = async (after, want) => {
    const res = await fetch(`${demo.base}/v1/stream`, { headers: { authorization: `Bearer ${demo.token}`, ...(after ? { 'last-event-id': String(after) } : {}) } });
    const seen = [];
    let text = '';
    for await (const chunk of res.body) {
      text += new TextDecoder().decode(chunk);
      for (const m of text.matchAll(/id: (\d+)\nevent: record\n/g)) if (!seen.includes(Number(m[1]))) seen.push(Number(m[1]));
      if (seen.length >= want) break;
    }
    return seen;
  };
  const { size } = await demo.api('/v1/audit/head');
  const missed = await read(size - 9, 9);
  assert.deepEqual(missed, Array.from({ length: 9 }, (_, i) => size - 8 + i));
});

test('16 silence is marked as stale within 10 s, and the page catches up when the server is heard again', { timeout: 60_000 }, async () => {
  const { page, context } = await open(browser, { state: session });
  await page.goto(`${demo.base}/`);
  await page.getByTestId('live').filter({ hasText: 'Live' }).waitFor();
  demo.freeze();
  const cut = Date.now();
  await page.getByTestId('stale').waitFor({ timeout: 20_000 });
  console.log(`called stale ${Date.now() - cut} ms after the server froze`);
  assert.ok(Date.now() - cut < 15_000, `${Date.now() - cut} ms`);
  demo.thaw();
  await page.getByTestId('live').filter({ hasText: 'Live' }).waitFor({ timeout: 20_000 });
  await context.close();
});

test('37 a viewer finds no enabled control, and the API refuses too', async () => {
  const viewer = await demo.api('/v1/tokens', { method: 'POST', body: JSON.stringify({ name: 'onlooker', role: 'viewer' }) });
  const { page, context } = await open(browser);
  await page.goto(`${demo.base}/`);
  await page.getByLabel('Token').fill(viewer.secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByTestId('day').waitFor();
  const status = await page.evaluate(async (n) => (await fetch(`/v1/rollouts/${n}/rollback`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })).status, name);
  assert.equal(status, 403);
  await page.getByRole('button', { name: /Signed in as/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByLabel('Token').waitFor();
  assert.equal(await page.evaluate(async () => (await fetch('/v1/rollouts')).status), 401);
  await context.close();
});

test('a page of another site can neither read nor act with the cookie', async () => {
  const cookie = session.cookies.map((c) => `${c.name}=${c.value}`).join('; ');
  const cross = { cookie, 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' };
  assert.equal((await fetch(`${demo.base}/v1/rollouts`, { headers: cross })).status, 401);
  assert.equal((await fetch(`${demo.base}/v1/rollouts/${name}/pause`, { method: 'POST', headers: { ...cross, 'content-type': 'application/json' }, body: '{}' })).status, 403);
});
