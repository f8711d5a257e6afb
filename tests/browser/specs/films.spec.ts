import { rm } from 'node:fs/promises';
import { makeFilm } from '../src/film';
import { expect, test } from '../src/fixture';
import { until } from '../src/until';
import type { PlayerElement, Viewer } from '../src/viewer';

const FILM_SECONDS = 20;

/** The viewer's own video, as a script in the page has it. */
function video<T>(viewer: Viewer, look: (video: HTMLVideoElement) => T): Promise<T> {
  const body = `(${look.toString()})(document.querySelector('cardume-player').nativeEl)`;
  return viewer.page.evaluate<T>(body);
}

/** Goes to this second of the film, and waits until it plays there. */
async function seek(viewer: Viewer, seconds: number): Promise<void> {
  await viewer.page.evaluate((to) => {
    const player = document.querySelector<PlayerElement>('cardume-player');
    if (player?.nativeEl) player.nativeEl.currentTime = to;
  }, seconds);
  await until(`it plays at ${seconds} s`, async () => {
    const at = await video(viewer, ({ currentTime }) => currentTime);
    return at > seconds + 0.3 && at < seconds + 5;
  });
}

test('two tabs watch a film, go where they like, feed each other, and see its end @ci', async ({ world }) => {
  const folder = await makeFilm('Test film.mp4', FILM_SECONDS);
  world.atEnd(() => rm(folder, { recursive: true, force: true }));
  const tracker = await world.tracker({ films: folder });

  const list = await world.open(tracker.origin);
  const row = list.page.locator('#channels li:has(a[href="/watch/test-film"])');
  await expect(row).toContainText('Film · 0:20');
  await list.close();

  const first = await world.open(`${tracker.origin}/watch/test-film`);
  await first.untilPlaying();
  await expect(first.page.locator('#live')).toHaveText('Film · 0:20');
  await expect(first.page.getByText('Latency')).toBeHidden();
  expect(await video(first, ({ duration }) => duration)).toBeCloseTo(FILM_SECONDS, 0);
  expect(await video(first, ({ seekable }) => seekable.end(0))).toBeCloseTo(FILM_SECONDS, 0);
  await seek(first, 10);

  const second = await world.open(`${tracker.origin}/embed/test-film`);
  await second.untilPlaying();
  await seek(second, 10);
  await second.untilStats('the first tab gave the second some of it', ({ fromPeersLen }) => fromPeersLen > 0);
  await seek(second, 2);
  await seek(second, 17);

  for (const viewer of [first, second]) {
    await until('the film ends', () => video(viewer, ({ ended }) => ended));
    const { mediaErrors, nAppendErrors, playerErrors } = await viewer.probe();
    expect([...mediaErrors, ...playerErrors.filter(({ fatal }) => fatal)]).toEqual([]);
    expect(nAppendErrors).toBe(0);
  }

  await video(first, (element) => void element.play());
  await until('it begins anew', () => video(first, ({ currentTime, ended }) => currentTime > 0.3 && !ended));
});
