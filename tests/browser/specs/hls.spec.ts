import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from '../src/fixture';
import { hlsPage } from '../src/hls-page';
import { expectMoving } from '../src/judge';
import { StaticSite } from '../src/static-site';
import { CHANNEL } from '../src/tracker';
import { pause } from '../src/until';

const HLS_JS = readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'), 'utf8');

/** hls.js keeps about three parts from the edge, and starts a little further behind. */
const LATENCY_LIMIT_MS = 6_000;

test('an unmodified hls.js plays the same channel as low-latency HLS @ci', async ({ world, watchMs }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const site = await StaticSite.serve(hlsPage(HLS_JS, `${tracker.origin}/hls/${CHANNEL}/index.m3u8`));
  world.atEnd(() => site.stop());

  const viewer = await world.open(site.origin);
  await viewer.untilPlaying();
  await pause(watchMs / 2);
  await expectMoving(viewer);
  const { latenciesMs, mediaErrors, nUnreadable } = await viewer.probe();
  expect(mediaErrors).toEqual([]);
  expect(nUnreadable).toBe(0);
  expect(latenciesMs.at(-1)?.ms).toBeLessThanOrEqual(LATENCY_LIMIT_MS);
  expect(await viewer.page.evaluate(() => document.body.dataset.fatal)).toBeUndefined();
});
