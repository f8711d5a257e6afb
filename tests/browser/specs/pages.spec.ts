import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, test } from '../src/fixture';
import { CHANNEL } from '../src/tracker';
import { pause } from '../src/until';

const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 800 };
/** The pictures in the README; only the full run renews them. */
const IMAGES = fileURLToPath(new URL('../../../docs/images/', import.meta.url));

async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).toEqual([]);
}

async function expectNoSidewaysScroll(page: Page): Promise<void> {
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
}

test('the channel list keeps itself current, and comes back after the tracker was away @ci', async ({
  world,
}) => {
  const tracker = await world.tracker();
  const { page } = await world.open(tracker.origin);
  const row = page.locator(`#channels li:has(a[href="/watch/${CHANNEL}"])`);
  await expect(row).toContainText('Off air');
  await expect(page.locator('#empty')).toContainText('Nobody is broadcasting');
  await expect(page.locator('#rtmp-server')).toHaveText(tracker.rtmpUrl.replace(/\/[^/]*$/, ''));

  const sender = await world.send(tracker, 'rtmp');
  await expect(row).toContainText('Live');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();
  await expect(row).toContainText('1 viewer');
  await viewer.close();
  await expect(row).toContainText('0 viewers');
  await sender.stop();
  await expect(row).toContainText('Off air');

  const restarted = tracker.restart();
  await expect(page.locator('#offline')).toBeVisible();
  await restarted;
  await expect(page.locator('#offline')).toBeHidden({ timeout: 15_000 });
  await expect(row).toBeVisible();
});

test('list and watch page are accessible, and fit a phone @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const viewport of [PHONE, DESKTOP]) {
      const list = await world.open(tracker.origin, { viewport, colorScheme });
      await expect(list.page.locator('#channels li')).toHaveCount(2);
      await expectAccessible(list.page);
      await expectNoSidewaysScroll(list.page);
      await list.close();
      const watch = await world.watch(tracker, { viewport, colorScheme });
      await watch.untilPlaying();
      await expectAccessible(watch.page);
      await expectNoSidewaysScroll(watch.page);
      await watch.close();
    }
  }
});

test('the API page shows what the tracker answers, is accessible, and fits a phone @ci', async ({
  world,
}) => {
  const tracker = await world.tracker();
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const viewport of [PHONE, DESKTOP]) {
      const api = await world.open(tracker.origin, { viewport, colorScheme });
      const { page } = api;
      await page.getByRole('link', { name: 'HTTP API' }).click();
      await expect(page.locator('#op-channels')).toHaveText('get /v1/channels');
      await expect(page.locator('section', { has: page.locator('#schema-Channel') })).toContainText(
        'is_live',
      );
      await expectAccessible(page);
      await expectNoSidewaysScroll(page);
      await api.close();
    }
  }
});

test('the choice of what to upload is remembered @ci', async ({ world }) => {
  const tracker = await world.tracker();
  const { page } = await world.watch(tracker);
  const player = page.locator('cardume-player');
  const uploading = page.getByRole('switch', { name: 'Send to neighbours' });
  await expect(uploading).toBeChecked();
  await page.getByLabel('At most').selectOption('2 Mbit/s');
  await expect(player).toHaveAttribute('upload-limit', '2000000');
  await uploading.uncheck();
  await expect(player).toHaveAttribute('upload-limit', '0');

  await page.reload();
  await expect(uploading).not.toBeChecked();
  await expect(player).toHaveAttribute('upload-limit', '0');
  await uploading.check();
  await expect(player).toHaveAttribute('upload-limit', '2000000');
});

test('pictures for the README', async ({ world }) => {
  await mkdir(IMAGES, { recursive: true });
  const tracker = await world.tracker({ egress: '2 Mbit/s', isDemo: true });
  const address = `${tracker.origin}/watch/demo`;
  const audience = [];
  for (let i = 0; i < 4; i += 1) audience.push(await world.open(address));
  const views = [
    { name: 'desktop', viewport: DESKTOP, colorScheme: 'dark' as const },
    { name: 'phone', viewport: PHONE, colorScheme: 'light' as const },
  ];
  for (const { name, viewport, colorScheme } of views) {
    const watch = await world.open(address, { viewport, colorScheme });
    await watch.untilPlaying();
    await watch.untilStats('neighbours', ({ neighbours }) => neighbours.length > 1);
    await pause(15_000);
    await watch.page.screenshot({ path: `${IMAGES}watch-${name}.png`, fullPage: name === 'desktop' });
    const list = await world.open(tracker.origin, { viewport, colorScheme });
    await expect(list.page.locator('#channels')).toContainText('viewers');
    await list.page.screenshot({ path: `${IMAGES}list-${name}.png` });
  }
});
