import { arrive, BUDGET, budgetOf, strongest, untilRunning } from '../src/audience';
import { expect, test } from '../src/fixture';
import {
  expectGoodViewing,
  expectMoving,
  expectSoundMedia,
  SETTLE_MS,
  sharesFromPeers,
  verdictOf,
} from '../src/judge';
import type { SenderKind } from '../src/sender';
import { CHANNEL } from '../src/tracker';
import { pause, until } from '../src/until';

/** A segment of plain HLS arrives a second after its first picture was taken. */
const SEGMENT_MS = 1_000;
/** A death may cost this much more of a stall than none. */
const DEATH_STALL_MS = 500;

/** Between two tabs' deaths, each replaced by a newcomer. */
const KILL_INTERVAL_MS = 10_000;

const CASES: readonly { kind: SenderKind; tag: string; extraLatencyMs: number }[] = [
  { kind: 'rtmp', tag: '@ci', extraLatencyMs: 0 },
  { kind: 'dash', tag: '@ci', extraLatencyMs: 0 },
  { kind: 'hls', tag: '', extraLatencyMs: SEGMENT_MS },
];

for (const { kind, tag, extraLatencyMs } of CASES) {
  test(`six tabs share three copies of a stream sent by ${kind} ${tag}`, async ({
    world,
    watchMs,
    demands,
  }, info) => {
    const latencyLimitMs = demands.latencyLimitMs + extraLatencyMs;
    const tracker = await world.tracker({ egress: BUDGET });
    await world.send(tracker, kind);
    await untilRunning(tracker);
    const viewers = await arrive(world, tracker);
    await pause(SETTLE_MS + watchMs);

    const verdicts = [];
    for (const viewer of viewers) verdicts.push(await verdictOf(viewer));
    await info.attach('verdicts', {
      body: JSON.stringify(verdicts, null, 1),
      contentType: 'application/json',
    });
    for (const viewer of viewers) await expectGoodViewing(viewer, { ...demands, latencyLimitMs });

    const { egress, budget_bits_per_second: budget } = await tracker.stats();
    expect(budget).not.toBeNull();
    expect(egress.max_bits_per_second, 'busiest second of the server').toBeLessThanOrEqual(budget ?? 0);
    const fromPeers = verdicts.reduce((sum, { shareFromPeers }) => sum + shareFromPeers, 0) / verdicts.length;
    expect(fromPeers, 'mean share from neighbours').toBeGreaterThan(0.3);
  });
}

test('the tab that feeds most others dies, and the others play on @ci', async ({
  world,
  watchMs,
  demands,
}) => {
  const tracker = await world.tracker({ egress: BUDGET });
  await world.send(tracker, 'rtmp');
  await untilRunning(tracker);
  const viewers = await arrive(world, tracker);
  await pause(SETTLE_MS);

  const victim = await strongest(viewers);
  const others = viewers.filter((viewer) => viewer !== victim);
  await victim.crash();
  // A neighbour that says nothing counts as gone after 16 s at the latest; what matters comes well before that.
  await pause(SETTLE_MS + watchMs / 2);

  const stallLimitMs = demands.stallLimitMs + DEATH_STALL_MS;
  for (const viewer of others) await expectGoodViewing(viewer, { ...demands, stallLimitMs });
});

test('eight tabs share two and a half copies while one is killed every ten seconds', async ({
  world,
  watchMs,
  demands,
}, info) => {
  const tracker = await world.tracker({ egress: budgetOf(2.5) });
  await world.send(tracker, 'rtmp');
  await untilRunning(tracker);
  const viewers = await arrive(world, tracker, 8);
  await pause(SETTLE_MS);

  const killed: number[] = [];
  for (let passedMs = 0; passedMs < watchMs; passedMs += KILL_INTERVAL_MS) {
    const place = Math.floor(Math.random() * viewers.length);
    killed.push(place);
    await viewers[place]?.crash();
    viewers[place] = await world.join(tracker);
    await pause(KILL_INTERVAL_MS);
  }
  await info.attach('killed', { body: JSON.stringify(killed), contentType: 'application/json' });

  const stallLimitMs = demands.stallLimitMs + DEATH_STALL_MS;
  for (const viewer of viewers) await expectGoodViewing(viewer, { ...demands, stallLimitMs });
  const { egress, budget_bits_per_second: budget } = await tracker.stats();
  expect(egress.max_bits_per_second, 'busiest second of the server').toBeLessThanOrEqual(budget ?? 0);
});

test('after a restart of the tracker every tab is back by itself, as the same peer @ci', async ({
  world,
  watchMs,
  demands,
}) => {
  const tracker = await world.tracker({ egress: BUDGET });
  const sender = await world.send(tracker, 'rtmp');
  await untilRunning(tracker);
  const viewers = await arrive(world, tracker, 4);
  await pause(SETTLE_MS);
  const idsBefore = await Promise.all(viewers.map(async (viewer) => (await viewer.stats())?.peerId));

  await tracker.restart();
  await sender.stop();
  await world.send(tracker, 'rtmp');
  const backAt = Date.now();
  await until('all tabs are back', async () => (await tracker.stats()).channel.n_viewers === viewers.length);
  for (const viewer of viewers) {
    await until('the picture moves again', async () => {
      const { latenciesMs } = await viewer.probe();
      return latenciesMs.some(({ at, ms }) => at > backAt && at - ms > backAt);
    });
  }
  await pause(SETTLE_MS + watchMs / 4);

  const idsAfter = await Promise.all(viewers.map(async (viewer) => (await viewer.stats())?.peerId));
  expect(idsAfter).toEqual(idsBefore);
  for (const viewer of viewers) {
    const verdict = await verdictOf(viewer, Date.now() - watchMs / 4);
    expect(verdict.pictureLatencyMs.max).toBeLessThanOrEqual(demands.latencyLimitMs);
    expect(verdict.longestGapMs).toBeLessThanOrEqual(demands.stallLimitMs);
    expectSoundMedia(await viewer.probe());
    await expectMoving(viewer);
  }
});

test('two viewers are served directly, more move into the swarm, and back again @ci', async ({
  world,
  watchMs,
  demands,
}) => {
  const tracker = await world.tracker({ egress: BUDGET });
  await world.send(tracker, 'rtmp');
  await untilRunning(tracker);
  const first = await arrive(world, tracker, 2);
  await pause(SETTLE_MS);
  const alone = await sharesFromPeers(first, SETTLE_MS);
  expect(Math.max(...alone), 'two viewers: all from the server').toBeLessThan(0.1);

  const others = await arrive(world, tracker, 4);
  await pause(watchMs / 4);
  const crowded = await sharesFromPeers([...first, ...others], SETTLE_MS);
  expect(Math.max(...crowded), 'past the budget: somebody is fed by neighbours').toBeGreaterThan(0.5);

  for (const viewer of others) await viewer.close();
  await pause(SETTLE_MS);
  const aloneAgain = await sharesFromPeers(first, SETTLE_MS);
  expect(Math.max(...aloneAgain), 'two again: the server again').toBeLessThan(0.1);
  for (const viewer of first) await expectGoodViewing(viewer, demands);
});

test('a peer that spoils what it passes on is dropped, and nothing wrong is played @ci', async ({
  world,
  watchMs,
  demands,
}) => {
  const tracker = await world.tracker({ egress: BUDGET });
  await world.send(tracker, 'rtmp');
  await untilRunning(tracker);
  const polluter = await world.join(tracker, { doubles: ['polluter'] });
  await polluter.untilPlaying();
  const polluterId = await polluter.untilStats('the polluter has an id', ({ peerId }) => peerId || undefined);
  const victims = await arrive(world, tracker, 5);
  await until('the polluter spoiled something', () =>
    polluter.page.evaluate(() => (window.nSpoiled ?? 0) > 0),
  );
  await pause(SETTLE_MS + watchMs / 2);

  const stats = await Promise.all(victims.map((viewer) => viewer.stats()));
  const nWrong = stats.reduce((sum, one) => sum + (one?.wrongBlocks ?? 0), 0);
  expect(nWrong, 'blocks found out').toBeGreaterThan(0);
  for (const one of stats) {
    const feeding = one?.neighbours.filter(
      ({ peerId, providesStripes }) => peerId === polluterId && providesStripes.length > 0,
    );
    expect(feeding, `${CHANNEL}: nobody is fed by the polluter any more`).toEqual([]);
    if ((one?.wrongBlocks ?? 0) > 0) {
      expect(
        one?.neighbours.map(({ peerId }) => peerId),
        'who was sent a wrong block has dropped the sender',
      ).not.toContain(polluterId);
    }
  }
  for (const viewer of victims) await expectGoodViewing(viewer, demands);
});
