// What a page looks like when there is nothing, when the server refuses, and before anybody has signed in.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axe, empty, launch, open, settled, shot } from './lib.mjs';

test('38 empty, error and signed-out states: axe A + AA finds nothing, each says what to do', async () => {
  const server = await empty();
  const browser = await launch();
  try {
    let state;
    for (const theme of ['light', 'dark']) {
      const { page, context, faults } = await open(browser, { theme, state });
      if (!state) {
        await page.goto(`${server.base}/`);
        await page.getByLabel('Token').waitFor();
        assert.deepEqual(await axe(page), [], 'sign-in');
        await shot(page, 'sign-in');
        faults.length = 0; // the browser notes the 401 that led here
        await page.goto(server.link);
        await page.getByTestId('day').waitFor();
        state = await context.storageState();
      }
      for (const [path, says] of [['/', /sluice apply -f/], ['/rollouts', /None yet/], ['/components', /No component has said hello/], ['/audit', /sluice audit verify/], ['/r/none', /.+/]]) {
        await page.goto(server.base + path);
        await page.locator('#root > *').first().waitFor();
        await settledAny(page, path);
        assert.match(await page.locator('main').innerText(), says, path);
        assert.deepEqual(await axe(page), [], `${path} ${theme}`);
        if (theme === 'light' && path === '/') await shot(page, 'empty-overview');
      }
      assert.deepEqual(faults.filter((f) => !/404/.test(f)), []);
      await context.close();
    }
  } finally {
    await browser.close();
    await server.stop();
  }
});

/** settledAny waits for a page of an address that may name nothing. */
async function settledAny(page, path) {
  if (path.startsWith('/r/')) await page.getByRole('alert').waitFor();
  else await settled(page);
}
