import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { clockFilter, FRAMES_PER_SECOND, HEIGHT, WIDTH } from '../src/clock-picture';
import { expect, test } from '../src/fixture';
import { until } from '../src/until';

const WRAP_MS = 2 ** 24;

test('the clock in the picture is the wall clock of its capture @ci', async ({ world }, info) => {
  const file = info.outputPath('clock.mp4');
  const source = `testsrc2=size=${WIDTH}x${HEIGHT}:rate=${FRAMES_PER_SECOND}:duration=2`;
  const encoding = ['-c:v', 'libx264', '-preset', 'ultrafast', '-b:v', '700k', '-g', '25'];
  const before = Date.now();
  const made = spawnSync(process.env.FFMPEG ?? 'ffmpeg', [
    ...['-loglevel', 'error', '-re', '-f', 'lavfi', '-i', source],
    ...['-filter_complex', clockFilter(), '-map', '[v]', ...encoding, '-y', file],
  ]);
  const after = Date.now();
  expect(made.stderr.toString()).toBe('');

  const { page } = await world.open('about:blank');
  const address = `data:video/mp4;base64,${readFileSync(file).toString('base64')}`;
  await page.setContent(`<video autoplay muted width="640" src="${address}"></video>`);
  await until('the video ends', () => page.evaluate(() => document.querySelector('video')?.ended));

  const { latenciesMs, nUnreadable } = await page.evaluate(() => window.probe);
  expect(nUnreadable).toBe(0);
  expect(latenciesMs.length).toBeGreaterThan(4);
  for (const { at, ms } of latenciesMs) {
    // What the picture says must lie in the two seconds in which it was made.
    expect(at - ms).toBeGreaterThanOrEqual(before);
    expect(at - ms).toBeLessThanOrEqual(after);
  }
  const spread = Math.max(...latenciesMs.map(({ ms }) => ms)) - Math.min(...latenciesMs.map(({ ms }) => ms));
  expect(spread % WRAP_MS, 'the picture’s clock runs as fast as the wall clock').toBeLessThan(300);
});
