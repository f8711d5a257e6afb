import { expect, test } from '../src/fixture';
import { NativeViewer, recordNatively } from '../src/native';
import { COPY_BITS_PER_SECOND } from '../src/sender';

/** Media that must have gone each way between the tab and the native viewer. */
const EXCHANGED_LEN = 100_000;

test('a tab and a native viewer feed each other @ci', async ({ world }) => {
  // Room for one copy and a half: each lacks what only the other has.
  const egress = `${Math.round((COPY_BITS_PER_SECOND * 1.5) / 1000)} kbit/s`;
  const tracker = await world.tracker({ egress });
  await world.send(tracker, 'rtmp');
  const native = new NativeViewer(tracker);
  world.atEnd(() => native.stop());
  const tab = await world.join(tracker);
  await tab.untilPlaying();

  await native.untilStats('the native viewer has media of the tab', (stats) => {
    return (stats.neighbours[0]?.receivedLen ?? 0) > EXCHANGED_LEN;
  });
  await tab.untilStats('the tab has media of the native viewer', (stats) => {
    return (stats.neighbours[0]?.receivedLen ?? 0) > EXCHANGED_LEN;
  });
  const stats = await native.untilStats(
    'the native viewer plays',
    (stats) => stats.state === 'playing' && stats,
  );
  expect(stats.wrongBlocks).toBe(0);
  const tabStats = await tab.stats();
  expect(tabStats?.wrongBlocks).toBe(0);
  expect(tabStats?.neighbours.map(({ peerId }) => peerId)).toEqual([stats.peerId]);
});

test('the stream that a native viewer writes is a movie with picture and sound @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'rtmp');
  const { codecs, nFrames } = await recordNatively(tracker, '6s');
  expect(codecs).toEqual(['h264', 'aac']);
  expect(nFrames).toBeGreaterThan(60);
});
