// Components that freeze while they hold a lease: the page says NOT SAFE, who, until when and what to do, and turns SAFE by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axe, launch, open, plain, settled, shot, start } from './lib.mjs';

const name = 'flights-delay-v12';

test('29 frozen components: NOT SAFE with who, until when and the way by hand; SAFE when the leases have ended', { timeout: 90_000 }, async () => {
  const demo = await start('--fault', 'none');
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.goto(demo.link);
    await page.getByTestId('day').waitFor();
    for (let exposure = 0; exposure < 5;) exposure = (await demo.api(`/v1/rollouts/${name}`)).exposure;
    await page.goto(`${demo.base}/r/${name}/rollback`);
    await settled(page);
    assert.match(plain(await page.locator('main').innerText()), /Nothing has been taken back/);
    demo.children('SIGSTOP');
    await page.goto(`${demo.base}/`);
    await page.getByRole('button', { name: 'All exposure off' }).click();
    await page.getByRole('dialog').getByText(/goes off in environment/).waitFor();
    await page.getByRole('button', { name: 'All exposure off now' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.goto(`${demo.base}/r/${name}/rollback`);
    await page.getByTestId('verdict').getByText('NOT SAFE').waitFor({ timeout: 5000 });
    const said = plain(await page.locator('main').innerText());
    assert.match(said, /has not proven that it stopped/);
    assert.match(said, /until its lease ends, at the latest \d\d:\d\d:\d\d\.\d+Z/);
    assert.match(said, /Not proven/);
    await page.getByTestId('byhand').getByText(/out of the route, or stop the process/).waitFor();
    await shot(page, '3-rollback-not-safe-light');
    assert.deepEqual(await axe(page), []);
    await page.getByTestId('verdict').getByText('SAFE', { exact: true }).waitFor({ timeout: 20_000 });
    const { status } = await demo.api(`/v1/rollouts/${name}`);
    assert.equal(status.barrier.components.lapsed, status.barrier.components.total);
    await page.getByText('by the end of the lease').waitFor();
    await shot(page, '3-rollback-by-lease-light');
    assert.deepEqual(faults, []);
    demo.children('SIGCONT');
  } finally {
    try { demo.children('SIGCONT'); } catch { /* they have ended */ }
    await browser.close();
    await demo.stop();
  }
});

test('a completed rollout is undone from its page, and the page says who has acknowledged it', { timeout: 180_000 }, async () => {
  const demo = await start('--fault', 'none');
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.goto(demo.link);
    await page.getByTestId('day').waitFor();
    for (let phase = ''; phase !== 'Completed';) {
      ({ phase } = await demo.api(`/v1/rollouts/${name}`));
      await demo.api(`/v1/rollouts/${name}/promote`, { method: 'POST', body: '{}' }).catch(() => {}); // between two stages there is nothing to promote
      await new Promise((r) => setTimeout(r, 200));
    }
    await page.goto(`${demo.base}/r/${name}`);
    await settled(page);
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.getByRole('dialog').getByText(/acknowledgements alone say when/).waitFor();
    await page.getByLabel('Reason').fill('a drill');
    await page.getByRole('button', { name: 'Undo now' }).click();
    await page.getByTestId('sentence').filter({ hasText: /undone: .* acknowledged by every component/ }).waitFor({ timeout: 60_000 });
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Undo', exact: true }).waitFor({ state: 'detached' });
    const { records } = await demo.api(`/v1/audit?rollout=${name}&kind=rollout.undo&limit=5`);
    assert.equal(records.at(-1).reason, 'a drill');
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    await demo.stop();
  }
});
