import { expect, test } from '../src/fixture';
import { expectMoving, expectSoundMedia } from '../src/judge';
import { StaticSite } from '../src/static-site';
import { CHANNEL, type Tracker } from '../src/tracker';

const page = (body: string): string =>
  `<!doctype html><html lang="en"><title>Somebody’s page</title><body>${body}`;

/** What the watch page offers for copying. */
async function offeredSnippet(world: import('../src/fixture').World, tracker: Tracker): Promise<string> {
  const viewer = await world.watch(tracker);
  const snippet = await viewer.page.locator('#snippet').textContent();
  await viewer.close();
  return snippet ?? '';
}

test('the snippet that the watch page offers plays on another origin @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const site = await StaticSite.serve(page(await offeredSnippet(world, tracker)));
  world.atEnd(() => site.stop());

  const viewer = await world.open(site.origin);
  await viewer.untilPlaying();
  await expectMoving(viewer);
  expectSoundMedia(await viewer.probe());
  const stats = await viewer.untilStats('statistics', (found) => found);
  expect(stats.channel).toBe(CHANNEL);
  expect(new URL(viewer.page.url()).origin).not.toBe(tracker.origin);
});

test('the bare player plays in a frame on another origin @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const site = await StaticSite.serve(
    page(
      `<iframe src="${tracker.origin}/embed/${CHANNEL}" allow="autoplay" width="640" height="360"></iframe>`,
    ),
  );
  world.atEnd(() => site.stop());

  const viewer = await world.open(site.origin);
  const frame = viewer.page.frameLocator('iframe').locator('cardume-player');
  await expect
    .poll(() => frame.evaluate((player) => (player as import('../src/viewer').PlayerElement).state))
    .toBe('playing');
});

test('a player that is taken out and put in again plays again, and leaves in between @ci', async ({
  world,
}) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();

  const state = await viewer.page.evaluateHandle(() => document.querySelector('cardume-player'));
  await viewer.page.evaluate(() => document.querySelector('cardume-player')?.remove());
  await expect.poll(async () => (await tracker.stats()).channel.n_viewers).toBe(0);
  await state.evaluate((player) => player && document.getElementById('frame')?.append(player));
  await expect
    .poll(() => state.evaluate((player) => (player as import('../src/viewer').PlayerElement).state))
    .toBe('playing');
  await expectMoving(viewer);
});

test('a player without autoplay joins on the viewer’s click @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const site = await StaticSite.serve(
    page(
      `<script type="module" src="${tracker.origin}/embed.js"></script><cardume-player channel="${CHANNEL}"></cardume-player>`,
    ),
  );
  world.atEnd(() => site.stop());

  const viewer = await world.open(site.origin);
  const play = viewer.page.getByRole('button', { name: 'Play' });
  await play.waitFor();
  expect((await tracker.stats()).channel.n_viewers).toBe(0);
  await play.click();
  await viewer.untilPlaying();
});

test('a viewer begins with what its uplink bore the last time @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();
  // Nobody took anything of it yet.
  await viewer.untilStats('nothing known of the uplink', ({ uplink }) => uplink === null);

  const found = 1_500_000;
  await viewer.page.evaluate(
    (text) => localStorage.setItem('cardume.uplink', text),
    `${found} ${Date.now()}`,
  );
  await viewer.page.reload();
  await viewer.untilStats('what is remembered', ({ uplink }) => uplink === found);
  await viewer.untilPlaying();
});
