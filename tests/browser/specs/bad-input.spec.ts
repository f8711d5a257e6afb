import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, test } from '../src/fixture';
import { expectMoving, expectSoundMedia } from '../src/judge';
import { Child } from '../src/process';
import { startSender } from '../src/sender';
import { CHANNEL, KEY, QUIET_CHANNEL, type Tracker } from '../src/tracker';
import { pause, until } from '../src/until';

/** Larger than any message of signalling may be (16 KiB). */
const OVERSIZED_LEN = 64 * 1024;
/** As in the crate `wire`: with another one the tracker would answer to nothing else. */
const PROTOCOL_VERSION = /PROTOCOL_VERSION: u16 = (\d+)/.exec(
  readFileSync(fileURLToPath(new URL('../../../wire/src/lib.rs', import.meta.url)), 'utf8'),
)?.[1];

async function pushed(
  tracker: Tracker,
  key: string,
  body: string,
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${tracker.origin}/ingest/${key}/video.mp4`, { method: 'PUT', body });
  return { status: response.status, text: await response.text() };
}

/** Begins a chunked push and goes away in the middle of it. */
async function pushTruncated(tracker: Tracker): Promise<void> {
  const socket = connect(tracker.httpPort, '127.0.0.1');
  const head = `PUT /ingest/${KEY}/cut.mp4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;
  await new Promise<void>((done) => socket.write(`${head}20\r\n\0\0\0\x18ftypiso5`, () => done()));
  socket.destroy();
}

/** What the tracker answers to this text on a viewer's socket, after the welcome, and whether it closed. */
function signalled(page: import('@playwright/test').Page, message: string): Promise<string> {
  return page.evaluate(
    async ([text, address]) => {
      const socket = new WebSocket(location.origin.replace('http', 'ws') + address);
      const first = await new Promise<MessageEvent>((done) =>
        socket.addEventListener('message', done, { once: true }),
      );
      if (!String(first.data).includes('"type":"welcome"')) return `no welcome: ${first.data}`;
      const answer = new Promise<string>((done) => {
        socket.addEventListener('message', (event) => {
          if (typeof event.data === 'string' && !event.data.includes('"type":"channel"')) done(event.data);
        });
        socket.addEventListener('close', (event) => done(`closed: ${event.code} ${event.reason}`), {
          once: true,
        });
      });
      socket.send(text);
      const said = await answer;
      socket.close();
      return said;
    },
    [message, `/v1/signal?version=${PROTOCOL_VERSION}&channel=${CHANNEL}`] as const,
  );
}

test('bad input gets a clear answer, and viewers lose nothing @ci', async ({ world, demands }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();
  await pause(3_000);
  const since = Date.now();

  const badKey = await pushed(tracker, 'not-the-stream-key', 'x');
  expect(badKey.status).toBe(403);
  expect(badKey.text).toMatch(/key/i);
  const busy = await pushed(tracker, KEY, 'This is no fragmented MP4.');
  expect(busy.status).toBeGreaterThanOrEqual(400);
  expect(busy.status).toBeLessThan(500);
  expect(busy.text.length).toBeGreaterThan(10);
  await pushTruncated(tracker);

  const second = startSender(tracker, 'rtmp');
  world.atEnd(() => second.stop());
  expect(await second.exited, 'the second sender is refused').not.toBe(0);

  for (const message of ['x'.repeat(OVERSIZED_LEN), '{', '{"type":"nonsense"}']) {
    expect(await signalled(viewer.page, message)).toMatch(/^(\{"type":"error"|closed: 1\d\d\d)/);
  }

  await pause(2_000);
  await expectMoving(viewer);
  const probe = await viewer.probe();
  expectSoundMedia(probe);
  expect(Math.max(0, ...probe.gaps.filter(({ at }) => at > since).map(({ ms }) => ms))).toBeLessThanOrEqual(
    demands.stallLimitMs,
  );
});

test('what is not fragmented MP4 is refused with the reason @ci', async ({ world }) => {
  const tracker = await world.tracker();
  const { status, text } = await pushed(
    tracker,
    KEY,
    'This is no fragmented MP4, but long enough for a header.',
  );
  expect(status).toBe(415);
  expect(text).toMatch(/MP4|box/i);
  expect((await tracker.stats()).channel.is_live).toBe(false);
});

test('an invalid stream key ends ffmpeg, and the channel stays off air @ci', async ({ world }) => {
  const tracker = await world.tracker();
  const url = tracker.rtmpUrl.replace(KEY, 'not-the-stream-key');
  const source = ['-re', '-f', 'lavfi', '-i', 'testsrc2=duration=20', '-c:v', 'libx264', '-f', 'flv', url];
  const sender = new Child('ffmpeg', process.env.FFMPEG ?? 'ffmpeg', source);
  world.atEnd(() => sender.stop());
  expect(await sender.exited).not.toBe(0);
  expect((await tracker.stats()).channel.is_live).toBe(false);
});

test('viewers are told of an unknown channel, and of one that nobody sends to @ci', async ({ world }) => {
  const tracker = await world.tracker();
  const quiet = await world.open(`${tracker.origin}/watch/${QUIET_CHANNEL}`);
  await expect(quiet.page.locator('#state')).toContainText(
    'Nobody is broadcasting on this channel right now',
  );

  const unknown = await world.open(`${tracker.origin}/watch/no-such-channel`);
  await until('the player gave up', async () =>
    (await unknown.probe()).states.some(({ state }) => state === 'failed'),
  );
  await expect(unknown.page.locator('#state')).toContainText('channel');
  await expect(
    unknown.page.locator('cardume-player').getByRole('button', { name: 'Try again' }),
  ).toBeVisible();

  const nameless = await world.open(`${tracker.origin}/watch/No%20Name`);
  await expect(nameless.page.locator('#title')).toHaveText('No such channel');
});
