// The demo's story in a browser. Numbers in the names are those of the acceptance list in docs/ui.md.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, launch, open, plain, settled, shot, shots, start } from './lib.mjs';

const name = 'flights-delay-v12';
let browser, demo, session, first;

before(async () => {
  demo = await start();
  browser = await launch();
  first = await open(browser);
});
after(async () => {
  await browser?.close();
  await demo?.stop();
  console.log(`screenshots: ${shots}`);
});

test('1 the first page and the first rollout are there within seconds of the start', async () => {
  const { page, context } = first;
  await page.goto(demo.link);
  await page.getByTestId('day').waitFor();
  await page.getByRole('link', { name }).first().waitFor();
  const shown = performance.now() - demo.begun;
  console.log(`first rollout visible ${Math.round(shown)} ms after the start, the browser's own start included`);
  session = await context.storageState();
  assert.ok(shown < 10_000, `took ${shown} ms`);
});

test('6 no dialog, tour or advert stands before the content', async () => {
  assert.equal(await first.page.getByRole('dialog').count(), 0);
});

test('a one-time link works once, and the session cannot be read by scripts', async () => {
  const { page, context } = await open(browser);
  await page.goto(demo.link);
  await page.getByLabel('Token').waitFor();
  assert.match(await page.getByRole('alert').innerText(), /has been used/);
  await context.close();
  const cookie = session.cookies.find((c) => c.name === 'sluice_session');
  assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict' && cookie.value.length === 64, JSON.stringify({ ...cookie, value: cookie.value.length }));
  assert.equal(await first.page.evaluate(() => document.cookie), '');
});

test('the rollout is seen live: exposure grows and the timeline with it', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  await page.getByText(/at (5|10|25)\s%/).first().waitFor({ timeout: 20_000 });
  const phases = () => page.locator('[data-phase]').count();
  const was = await phases();
  await page.waitForFunction((n) => document.querySelectorAll('[data-phase]').length > n, was, { timeout: 20_000 });
  await page.waitForTimeout(1500);
  await shot(page, '2-rollout-live-light');
  await page.evaluate(() => { // for test 15: when the end is on the page, by the same machine's clock
    new MutationObserver(() => { if (!globalThis.seenAt && /Rolled back/.test(document.querySelector('.badge.fail')?.textContent ?? '')) globalThis.seenAt = Date.now(); })
      .observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  });
});

test('27 while it runs: Roll back is one of two activations on the overview, the rollout and at 390 px', async () => {
  // All pages at once: the rollout ends by itself within seconds, and a page that it ended under shows nothing to press.
  const running = async (page) => (await page.evaluate(async (n) => (await (await fetch(`/v1/rollouts/${n}`)).json()).phase, name)) === 'Progressing';
  const look = async ([path, width]) => {
    const { page, context } = await open(browser, { width, height: 844, state: session });
    try {
      await page.goto(demo.base + path);
      await settled(page);
      if (!(await running(page))) return 0;
      const button = page.getByRole('button', { name: /^Roll back/ }).locator('visible=true').first();
      const box = await button.waitFor({ timeout: 15_000 }).then(() => button.boundingBox({ timeout: 5000 })).catch((e) => e);
      if (box instanceof Error || !box) {
        if (!(await running(page))) return 0;
        throw new Error(`${path} at ${width} px while it runs: ${box}`);
      }
      assert.ok(box.height >= 24 && box.width >= 24, JSON.stringify(box));
      if (width === 390) await shot(page, path === '/' ? '7-phone-overview-live' : '7-phone-live-light');
      return 1;
    } finally { await context.close(); }
  };
  const seen = await Promise.all([['/', 1360], [`/r/${name}`, 1360], [`/r/${name}`, 390], ['/', 390]].map(look));
  assert.ok(seen.reduce((a, b) => a + b) >= 2, `only ${seen} of the pages were seen while it ran`);
});

test('15 the rollback is on the page within a second of its record', async () => {
  const { page } = first;
  await page.locator('.badge.fail').filter({ hasText: 'Rolled back' }).waitFor({ timeout: 60_000 });
  const seen = await page.evaluate(() => globalThis.seenAt);
  const { records } = await demo.api(`/v1/audit?rollout=${name}&limit=500`);
  const last = records.findLast((r) => r.kind === 'rollout.verified');
  const late = seen - Date.parse(last.at);
  console.log(`the end of the rollback was on the page ${late} ms after its record`);
  // The goal is a second (docs/benchmarks.md has what was measured); a busy machine alone does not fail the test.
  assert.ok(late <= 5000, `${late} ms`);
});

test('13 one sentence: the page, the overview, the API and the text snapshot say the same', async () => {
  const { page } = first;
  const { sentence } = await demo.api(`/v1/rollouts/${name}`);
  await page.waitForFunction((s) => document.querySelector('[data-testid=sentence]').textContent.replaceAll('\u00a0', ' ') === s, sentence);
  const md = await (await page.request.get(`${demo.base}/r/${name}.md`)).text();
  assert.ok(md.includes(sentence), md.slice(0, 400));
  await page.goto(`${demo.base}/`);
  await settled(page);
  assert.ok(plain(await page.locator('main').innerText()).includes(plain(sentence)));
});

test('7 the snapshots are read without scripts, by session or token, and not without', async () => {
  for (const kind of ['md', 'json']) {
    const { page } = first;
    const res = await page.request.get(`${demo.base}/r/${name}.${kind}`);
    assert.equal(res.status(), 200);
    assert.ok((await res.text()).includes(name));
    assert.equal((await fetch(`${demo.base}/r/${name}.${kind}`)).status, 401);
  }
});

test('8 the overview counts what the API lists', async () => {
  const { page } = first;
  const { rollouts } = await demo.api('/v1/rollouts');
  const said = plain(await page.getByTestId('day').innerText());
  const over = rollouts.filter((r) => ['Completed', 'RolledBack', 'Cancelled'].includes(r.phase));
  assert.ok(said.includes(`${rollouts.length - over.length} rolling out`) && said.includes(`${rollouts.filter((r) => r.phase === 'RolledBack').length} rolled back`), said);
});

test('9 each verdict has a shape, a word and a row of its own; 40 the shapes tell the words apart without colour', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const cells = await page.locator('[data-testid=criteria] tbody tr').evaluateAll((rows) => rows.map((r) => ({ verdict: r.dataset.verdict, shape: r.querySelector('[data-shape]')?.dataset.shape, word: r.querySelector('td').textContent })));
  assert.ok(cells.length >= 4);
  const shapes = { pass: ['ok', 'warn'], fail: ['fail'], inconclusive: ['warn', 'none'], 'no-data': ['none'], error: ['hold'] };
  for (const c of cells) assert.ok(shapes[c.verdict].includes(c.shape) && c.word.length > 3, JSON.stringify(c));
  assert.ok(cells.some((c) => c.word === 'Fail' && c.shape === 'fail'));
});

test('10 the decision opens its why: rule, value, interval, limit, n, window, query, age', async () => {
  const { page } = first;
  await page.getByTestId('records').getByRole('button', { name: /Roll back/ }).click();
  const why = plain(await page.getByTestId('why').innerText());
  for (const part of ['Rule', 'Value', 'Limit', 'Window', 'Query', 'old when judged', 'origin=LAX', 'baseline', 'exposed', 'Digest']) assert.ok(why.includes(part), `${part} is missing: ${why}`);
  assert.match(page.url(), /record=\d+/);
});

test('12 below the least n no line is drawn, "n of N" is; 19 the difference shows limit and zero', async () => {
  const { page } = first;
  const lanes = await page.locator('[data-lane]').evaluateAll((gs) => gs.map((g) => ({ key: g.dataset.lane, limit: g.querySelectorAll('[data-limit]').length, zero: g.querySelectorAll('.z').length, collecting: [...g.querySelectorAll('[data-collecting]')].map((c) => c.dataset.collecting) })));
  assert.ok(lanes.length >= 4, JSON.stringify(lanes));
  for (const l of lanes) assert.ok(l.limit === 1 && l.zero === 1, JSON.stringify(l));
  const first_ = lanes[0];
  assert.ok(first_.key.includes('LAX') && first_.collecting.length >= 1, JSON.stringify(first_));
});

test('14 the value on the chart, in the table and in the API agree to the printed digits', async () => {
  const { page } = first;
  const { status } = await demo.api(`/v1/rollouts/${name}`);
  const v = status.state.cause.verdict;
  const digits = (s) => Number(plain(s).replace('\u2212', '-').replaceAll(',', '').match(/[-+]?[\d.]+/)[0]);
  const chart = digits(await page.locator(`[data-value="${v.guardrail}/${v.value}"]`).innerHTML());
  const table = digits(await page.locator('[data-testid=criteria] tr.hot').filter({ hasText: v.guardrail }).locator('td').nth(5).innerText());
  assert.equal(chart, table);
  const scale = v.scale === 'relative' || v.stat === 'proportion' ? 100 : 1;
  assert.ok(Math.abs(chart - v.effect * scale) <= 0.051, `${chart} against ${v.effect}`);
});

test('the history is what the judge saw: its last point is the verdict of the decision', async () => {
  const { status } = await demo.api(`/v1/rollouts/${name}`);
  const v = status.state.cause.verdict;
  const { lanes } = await demo.api(`/v1/rollouts/${name}/series`);
  const p = lanes.find((l) => l.guardrail === v.guardrail && l.value === v.value).points.at(-1);
  assert.deepEqual([p.result, p.effect, p.nBaseline, p.nExposed, p.lower], [v.result, v.effect, v.nBaseline, v.nExposed, v.lower]);
});

test('11 a lane without data is hatched and says since when; its verdict is never a pass', async () => {
  const { page, context } = await open(browser, { state: session });
  let since;
  await page.route('**/series*', async (route) => { // the demo has no gap: make one of its seconds silent
    const body = await (await route.fetch()).json();
    const lane = body.lanes.find((l) => l.guardrail === 'errors');
    const n = lane.points.length;
    since = lane.points[n - 5].at;
    for (const p of lane.points.slice(n - 5, n - 1)) p.result = 'no-data';
    await route.fulfill({ json: body });
  });
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const gap = page.locator('[data-lane^="errors/"] [data-gap]').first();
  await gap.waitFor();
  assert.match(await gap.locator('rect').getAttribute('fill'), /^url/);
  const clock = new Date(since * 1000).toISOString().slice(11, 19);
  assert.ok((await gap.locator('text').first().innerHTML()).includes(`since ${clock}Z`));
  await shot(page, 'no-data-light');
  await context.close();
});

test('20 the timeline marks every record of the rollout', async () => {
  const { page } = first;
  const { records } = await demo.api(`/v1/audit?rollout=${name}&limit=500`);
  const marks = new Set(await page.locator('[data-testid=timeline] [data-seq]').evaluateAll((gs) => gs.map((g) => Number(g.dataset.seq))));
  assert.deepEqual(records.map((r) => r.seq).filter((s) => !marks.has(s)), []);
});

test('21 the timeline is read by keyboard alone', async () => {
  const { page } = first;
  const slider = page.getByRole('slider', { name: 'Time on the timeline' });
  await slider.focus();
  await page.keyboard.press('ArrowLeft');
  const a = await slider.getAttribute('aria-valuetext');
  await page.keyboard.press('[');
  const b = await slider.getAttribute('aria-valuetext');
  assert.notEqual(a, b);
  assert.match(b, /Z: abs-error|Z: off-by-30/);
  await page.keyboard.press('Escape');
});

test('18 22 baseline, start-up and exposed stand apart, on equal value axes and equal px per minute; 19 the difference names its interval', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  await page.getByRole('link', { name: 'Compare' }).first().click();
  await page.locator('[data-panel]').first().waitFor();
  const panels = await page.locator('[data-panel]').evaluateAll((gs) => gs.map((g) => ({ ...g.dataset })));
  assert.deepEqual(panels.map((p) => p.panel), ['baseline', 'startup', 'exposed']);
  assert.equal(new Set(panels.map((p) => p.domain)).size, 1, JSON.stringify(panels));
  assert.equal(new Set(panels.map((p) => p.pxPerMinute)).size, 1, JSON.stringify(panels));
  const { status } = await demo.api(`/v1/rollouts/${name}`);
  const v = status.state.cause.verdict;
  for (const [arm, value] of [['baseline', v.baseline], ['exposed', v.exposed]]) {
    const shown = await page.locator(`[data-arm-value=${arm}]`).innerHTML();
    assert.ok(plain(shown).startsWith((100 * value).toFixed(1)), `${arm}: ${shown} against ${value}`);
  }
  const difference = page.locator('[data-testid=difference] svg').first();
  assert.equal(await difference.getAttribute('data-interval-kind'), 'always-valid');
  assert.equal(await difference.locator('[data-limit]').count(), 1);
  assert.equal(await difference.locator('[data-zero]').count(), 1);
  const slider = page.getByRole('slider', { name: 'Time of the difference' });
  await slider.focus();
  await page.keyboard.press('End');
  assert.match(await slider.getAttribute('aria-valuetext'), /Fail, .*n \d+/);
  await page.keyboard.press('Escape');
  await shot(page, '4-compare-light');
});

test('14 the comparison as a table and as CSV has the numbers of the API', async () => {
  const { page } = first;
  const { lanes } = await demo.api(`/v1/rollouts/${name}/series`);
  const lane = lanes.find((l) => l.guardrail === 'off-by-30' && l.value === 'origin=LAX');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'CSV' }).click()]);
  const { readFileSync } = await import('node:fs');
  const rows = readFileSync(await download.path(), 'utf8').split('\r\n').slice(1).map((r) => r.split(','));
  assert.deepEqual(rows.map((r) => [Number(r[6]), Number(r[9]), Number(r[10])]), lane.points.map((p) => [p.effect, p.nBaseline, p.nExposed]));
  await page.getByRole('button', { name: 'Table' }).click();
  assert.match(page.url(), /view=table/);
  const top = await page.locator('[data-testid=rows] tbody tr').first().innerText();
  const final = lane.points.at(-1);
  assert.ok(plain(top).includes(`${(100 * final.exposed).toFixed(1)} %`), top);
  assert.equal(await page.locator('[data-testid=rows] tbody tr').count(), lane.points.length);
});

test('23 the ranking puts the feed first and says which share of the evidence it carries; 24 a click filters the comparison and the address', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}/explain`);
  await settled(page);
  assert.match(plain(await page.getByTestId('finding').innerText()), /^origin = LAX carries \d+ % of the evidence/);
  const rows = page.locator('[data-testid=slices] tbody tr');
  assert.equal(await rows.first().getAttribute('data-slice'), 'origin=LAX');
  assert.ok(await rows.filter({ hasText: 'the same requests as' }).count() >= 1, 'identical slices are one row');
  await shot(page, '5-explain-light');
  await rows.nth(1).getByRole('link').click();
  await page.locator('[data-panel]').first().waitFor();
  const value = await page.getByLabel('Split').inputValue();
  assert.notEqual(value, 'origin=LAX');
  assert.equal(new URL(page.url()).searchParams.get('value'), value);
});

test('45 switching the zone changes every time on the page, and the choice stays', async () => {
  const zoned = await browser.newContext({ viewport: { width: 1360, height: 860 }, timezoneId: 'America/St_Johns', storageState: session });
  const page = await zoned.newPage();
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const records = () => page.getByTestId('records').getByRole('button').first().waitFor();
  await records();
  // The sentence is the record's own, the same word for word in UI, CLI and chat: it stays in UTC and says so.
  const times = () => page.evaluate(() => {
    const main = document.querySelector('main').cloneNode(true);
    for (const e of main.querySelectorAll('[data-testid=sentence], [data-testid=why] p')) e.remove();
    return main.textContent.match(/\d\d:\d\d:\d\d(\.\d+)?(Z|[+\u2212]\d\d(:\d\d)?)/g) ?? [];
  });
  const utc = await times();
  assert.ok(utc.length > 10 && utc.every((t) => t.endsWith('Z')), JSON.stringify(utc.slice(0, 5)));
  await page.getByTestId('clock').click();
  await records();
  const local = await times();
  assert.ok(local.length > 10 && local.every((t) => t.endsWith('\u221203:30')), JSON.stringify(local.filter((t) => !t.endsWith(':30')).slice(0, 5)));
  const minutes = (t) => Number(t.slice(0, 2)) * 60 + Number(t.slice(3, 5));
  assert.equal((minutes(utc[0]) - minutes(local[0]) + 1440) % 1440, 210);
  await page.reload();
  await records();
  assert.ok((await times()).every((t) => t.endsWith('\u221203:30')));
  await zoned.close();
});

test('40 the shapes of the verdicts differ in the picture for eyes that see fewer colours or none', async () => {
  const { page, context } = await open(browser, { state: session });
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const cdp = await context.newCDPSession(page);
  for (const type of ['deuteranopia', 'protanopia', 'achromatopsia']) {
    await cdp.send('Emulation.setEmulatedVisionDeficiency', { type });
    const tones = await page.locator('main .st svg').evaluateAll((all) => [...new Set(all.map((s) => s.dataset.shape))]);
    assert.ok(tones.length >= 2, tones.join());
    const pictures = [];
    for (const t of tones) pictures.push((await page.locator(`main .st svg[data-shape=${t}]`).locator('visible=true').first().screenshot()).toString('base64'));
    assert.equal(new Set(pictures).size, tones.length, `${type}: ${tones}`);
  }
  await shot(page, 'achromatopsia');
  await context.close();
});

test('48 two hundred rollouts are drawn without a long task', async () => {
  const { page, context } = await open(browser, { state: session });
  const { rollouts } = await demo.api('/v1/rollouts');
  const many = Array.from({ length: 200 }, (_, i) => ({ ...rollouts[0], name: `rollout-${String(i).padStart(3, '0')}`, phase: i % 3 ? 'RolledBack' : 'Completed' }));
  await page.route('**/v1/rollouts', (route) => route.fulfill({ json: { rollouts: many } }));
  await page.goto(`${demo.base}/rollouts`);
  await page.getByRole('link', { name: 'rollout-199' }).waitFor();
  assert.ok(await page.locator('main tbody tr').count() >= 200);
  const longest = await page.evaluate(() => new Promise((done) => {
    let most = 0;
    new PerformanceObserver((l) => { for (const e of l.getEntries()) most = Math.max(most, e.duration); }).observe({ type: 'longtask', buffered: true });
    setTimeout(() => done(most), 300);
  }));
  console.log(`longest task with 200 rollouts ${Math.round(longest)} ms`);
  assert.ok(longest < 2000, `${longest} ms`); // the goal is 100 ms on a quiet machine (docs/ui.md has what was measured)
  await context.close();
});

test('29 30 31 the rollback matrix: everybody proven, digests equal, the mixed window as in the log', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}/rollback`);
  await settled(page);
  const { status } = await demo.api(`/v1/rollouts/${name}`);
  const lines = status.barrier.lines.length + Object.values(status.unwind).reduce((n, p) => n + p.lines.length, 0);
  assert.equal(await page.locator('[data-testid=matrix] tbody:first-of-type tr').count(), lines);
  assert.match(await page.getByTestId('verdict').innerText(), /^SAFE/);
  assert.equal(await page.getByTestId('before').innerText(), await page.getByTestId('after').innerText());
  const ms = Math.round(Date.parse(status.state.safeAt) - Date.parse(status.state.decided));
  assert.equal(Number(plain(await page.getByTestId('mixed').innerText()).match(/\d+/)[0]), ms);
  await shot(page, '3-rollback-safe-light');
});

test('36 the proof downloads and checks offline; the log verifies from the page; the filter stands in the address', async () => {
  const { page } = first;
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Proof file' }).click()]);
  const { execFileSync } = await import('node:child_process');
  const { binary } = await import('./lib.mjs');
  const file = await download.path();
  assert.match(execFileSync(binary, ['audit', 'verify', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }), /./);
  await page.goto(`${demo.base}/audit`);
  await page.getByRole('button', { name: 'Verify the log' }).click();
  await page.getByText(/Chain verified/).waitFor();
  await page.locator('main select').first().selectOption(name);
  await page.waitForURL(/rollout=flights/);
});

test('38 39 42 every screen in both themes, at 1360 and 390 px: axe A + AA finds nothing, nothing scrolls sideways', async () => {
  for (const theme of ['light', 'dark']) {
    for (const width of [1360, 390]) {
      const { page, context, faults } = await open(browser, { theme, width, height: width === 390 ? 844 : 860, state: session });
      for (const [path, label] of [['/', '1-overview'], ['/rollouts', 'rollouts'], [`/r/${name}`, '2-rollout'], [`/r/${name}/rollback`, '3-rollback'], [`/r/${name}/compare`, '4-compare'], [`/r/${name}/compare?view=table`, '4-compare-table'], [`/r/${name}/explain`, '5-explain'], ['/components', 'components'], ['/audit', 'audit']]) {
        await page.goto(demo.base + path);
        await settled(page);
        assert.deepEqual(await axe(page), [], `${path} ${theme} ${width}`);
        const [scroll, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(scroll <= inner, `${path} ${theme}: ${scroll} px wide at ${inner}`);
        await shot(page, `${label}-${theme}${width === 390 ? '-phone' : ''}`);
        if (width === 1360 && label === '2-rollout') await shot(page, `${label}-${theme}-full`, true);
      }
      assert.deepEqual(faults, [], `${theme} ${width}`);
      await context.close();
    }
  }
});

test('42 at 200 % zoom no page scrolls sideways', async () => {
  const { page, context } = await open(browser, { width: 680, height: 430, state: session });
  for (const path of ['/', `/r/${name}`, `/r/${name}/rollback`, `/r/${name}/compare`, `/r/${name}/explain`, '/components', '/audit']) {
    await page.goto(demo.base + path);
    await settled(page);
    const [scroll, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(scroll <= inner, `${path}: ${scroll} px wide at ${inner}`);
  }
  await context.close();
});

test('43 every control is at least 24 px high and wide', async () => {
  const { page, context } = await open(browser, { width: 390, height: 844, state: session });
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const small = await page.locator('button:visible, summary:visible, select:visible, .btn:visible').evaluateAll((els) => els.map((e) => [e.textContent.slice(0, 30), e.getBoundingClientRect()]).filter(([, r]) => r.width < 24 || r.height < 24).map(([t, r]) => `${t}: ${r.width}x${r.height}`));
  assert.deepEqual(small, []);
  await context.close();
});

test('45 every time of day on the page carries its zone', async () => {
  const { page } = first;
  await page.goto(`${demo.base}/r/${name}`);
  await settled(page);
  const bare = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((e) => !e.children.length && /\d\d:\d\d:\d\d/.test(e.textContent) && !/\d\d:\d\d:\d\d(\.\d+)?Z/.test(e.textContent)).map((e) => [e.tagName, e.textContent]).filter(([tag]) => tag !== 'text'));
  assert.deepEqual(bare, []);
  await page.locator('[data-testid=timeline] svg text', { hasText: /^UTC$/ }).waitFor(); // the axis names its zone
});

test('48 the first view is at most 250 KB compressed', async () => {
  const { page, context } = await open(browser, { state: session });
  const sizes = [];
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  const urls = new Map();
  cdp.on('Network.responseReceived', (e) => urls.set(e.requestId, e.response.url));
  cdp.on('Network.loadingFinished', (e) => sizes.push([urls.get(e.requestId), e.encodedDataLength]));
  await page.goto(`${demo.base}/`);
  await settled(page);
  const total = sizes.reduce((n, [, s]) => n + s, 0);
  console.log(`first view ${(total / 1024).toFixed(1)} KB over ${sizes.length} requests`);
  assert.ok(total <= 250 * 1024, `${total} bytes: ${JSON.stringify(sizes)}`);
  const lcp = await page.evaluate(() => new Promise((r) => new PerformanceObserver((l) => r(l.getEntries().at(-1).startTime)).observe({ type: 'largest-contentful-paint', buffered: true })));
  console.log(`largest contentful paint ${Math.round(lcp)} ms`);
  await context.close();
});

test('3 in all of it: no request to another host, no console error', () => assert.deepEqual(first.faults, []));

test('5 Ctrl-C ends the server', async () => {
  const { base } = demo;
  await first.context.close();
  await demo.stop();
  await assert.rejects(fetch(`${base}/healthz`));
  demo = undefined;
});
