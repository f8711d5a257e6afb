import type { World } from './fixture';
import { COPY_BITS_PER_SECOND } from './sender';
import type { Tracker } from './tracker';
import { pause } from './until';
import type { Viewer } from './viewer';

/** Viewers of the scenario, the time between two of them, and what the server may send. */
export const AUDIENCE = 6;
export const ARRIVAL_INTERVAL_MS = 2_000;
export const BUDGET_COPIES = 3;

/** The audience comes to a broadcast that runs: one that only begins has no two seconds to be behind. */
const RUNNING_MS = 4_000;

/** An egress budget of so many copies of the stream, as the configuration wants it. */
export function budgetOf(nCopies: number): string {
  return `${Math.round((nCopies * COPY_BITS_PER_SECOND) / 1000)} kbit/s`;
}

/** The egress budget of {@link BUDGET_COPIES}. */
export const BUDGET = budgetOf(BUDGET_COPIES);

/** Waits until the broadcast has run for long enough to be watched at its target latency. */
export async function untilRunning(tracker: Tracker): Promise<void> {
  await tracker.untilLive(true);
  await pause(RUNNING_MS);
}

/** Opens viewers one after the other, each once the one before had its time. */
export async function arrive(world: World, tracker: Tracker, n = AUDIENCE): Promise<Viewer[]> {
  const viewers: Viewer[] = [];
  for (let i = 0; i < n; i += 1) {
    if (i > 0) await pause(ARRIVAL_INTERVAL_MS);
    viewers.push(await world.join(tracker));
  }
  await Promise.all(viewers.map((viewer) => viewer.untilPlaying()));
  return viewers;
}

/** The viewer that feeds most stripes to others. */
export async function strongest(viewers: readonly Viewer[]): Promise<Viewer> {
  const scored = await Promise.all(
    viewers.map(async (viewer) => {
      const neighbours = (await viewer.stats())?.neighbours ?? [];
      return { viewer, n: neighbours.reduce((sum, { childStripes }) => sum + childStripes.length, 0) };
    }),
  );
  const best = scored.reduce((a, b) => (b.n > a.n ? b : a));
  if (best.n === 0) throw new Error('nobody feeds anybody');
  return best.viewer;
}
