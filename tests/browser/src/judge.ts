import { expect } from '@playwright/test';
import { pause } from './until';
import type { Viewer } from './viewer';

/** A viewer's first seconds are start-up and catching up: what is judged begins after them. */
export const SETTLE_MS = 5_000;

/** What a viewer must have had. Milliseconds. */
export interface Demands {
  readonly stallLimitMs: number;
  readonly latencyLimitMs: number;
}

/** What a live channel must give on a machine that has nothing else to do. */
export const LIVE: Demands = { stallLimitMs: 500, latencyLimitMs: 2_500 };

/**
 * What it must give on one that is shared, where a busy moment costs seconds: that everybody is served and gets over
 * it is a test; how well it goes is measured by the full run and the benchmark.
 */
export const LIVE_ON_A_BUSY_MACHINE: Demands = { stallLimitMs: 20_000, latencyLimitMs: 20_000 };

/** What one viewer had, by its own statistics and by the picture. */
export interface Verdict {
  readonly firstPictureMs: number | null;
  readonly startupMs: number | null;
  readonly longestStallMs: number;
  readonly longestGapMs: number;
  readonly latencyMs: number;
  readonly pictureLatencyMs: { readonly median: number; readonly max: number };
  readonly shareFromPeers: number;
}

/** Sums up what a viewer had since `since` (UTC milliseconds; default: since it settled). */
export async function verdictOf(viewer: Viewer, since?: number): Promise<Verdict> {
  const [stats, probe] = await Promise.all([viewer.stats(), viewer.probe()]);
  if (!stats || probe.firstFrameAt === null) throw new Error('this viewer never played');
  const from = since ?? probe.firstFrameAt + SETTLE_MS;
  const latencies = probe.latenciesMs.filter(({ at }) => at >= from).map(({ ms }) => ms);
  const gaps = probe.gaps.filter(({ at }) => at >= from).map(({ ms }) => ms);
  return {
    firstPictureMs: stats.firstPictureMs,
    startupMs: stats.startupMs,
    longestStallMs: stats.longestStallMs,
    longestGapMs: Math.max(0, ...gaps),
    latencyMs: stats.latencyMs ?? Number.POSITIVE_INFINITY,
    pictureLatencyMs: { median: quantile(latencies, 0.5), max: quantile(latencies, 1) },
    shareFromPeers: stats.shareFromPeers,
  };
}

/** The value below which the given part of `values` lies; infinite if there are none. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.POSITIVE_INFINITY;
}

/** Fails unless the viewer still plays, and had what is demanded, with no byte that the browser refused. */
export async function expectGoodViewing(viewer: Viewer, demands: Demands): Promise<Verdict> {
  const verdict = await verdictOf(viewer);
  const probe = await viewer.probe();
  const summary = JSON.stringify(verdict);
  expect(verdict.longestStallMs, `longest stall by the statistics: ${summary}`).toBeLessThanOrEqual(
    demands.stallLimitMs,
  );
  expect(verdict.longestGapMs, `longest gap between pictures: ${summary}`).toBeLessThanOrEqual(
    demands.stallLimitMs,
  );
  expect(verdict.latencyMs, `latency by the statistics: ${summary}`).toBeLessThanOrEqual(
    demands.latencyLimitMs,
  );
  expect(verdict.pictureLatencyMs.max, `latency by the picture: ${summary}`).toBeLessThanOrEqual(
    demands.latencyLimitMs,
  );
  expectSoundMedia(probe);
  await expectMoving(viewer);
  return verdict;
}

/** Fails if the browser refused any media. */
export function expectSoundMedia(probe: {
  mediaErrors: string[];
  nAppendErrors: number;
  nUnreadable: number;
}): void {
  expect(probe.mediaErrors, 'errors of the media element').toEqual([]);
  expect(probe.nAppendErrors, 'appends that the browser refused').toBe(0);
  expect(probe.nUnreadable, 'pictures whose clock is spoiled').toBe(0);
}

/** Fails unless new pictures come. */
export async function expectMoving(viewer: Viewer): Promise<void> {
  const { nFrames } = await viewer.probe();
  await expect
    .poll(async () => (await viewer.probe()).nFrames, { message: 'new pictures' })
    .toBeGreaterThan(nFrames);
}

/** Parts of what viewers receive in the next seconds that come from neighbours. */
export async function sharesFromPeers(viewers: readonly Viewer[], overMs: number): Promise<number[]> {
  const before = await Promise.all(viewers.map((viewer) => viewer.stats()));
  await pause(overMs);
  const after = await Promise.all(viewers.map((viewer) => viewer.stats()));
  return after.map((now, index) => {
    const fromPeers = (now?.fromPeersLen ?? 0) - (before[index]?.fromPeersLen ?? 0);
    const fromServer = (now?.fromServerLen ?? 0) - (before[index]?.fromServerLen ?? 0);
    return fromPeers / (fromPeers + fromServer);
  });
}
