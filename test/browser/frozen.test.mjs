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
    await demo.api(`/v1/rollouts/${name}/rollback`, { method: 'POST', body: '{}' });
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
