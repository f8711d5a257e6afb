import { test as base } from '@playwright/test';
import type { Demands } from './judge';
import type { Child } from './process';
import { type SenderKind, startSender } from './sender';
import { CHANNEL, Tracker, type TrackerOptions } from './tracker';
import { Viewer, type ViewerOptions } from './viewer';

/** What a project sets. */
export interface TestOptions {
  /** How long the long tests watch. */
  watchMs: number;
  /** What viewers must have had. */
  demands: Demands;
}

/** Starts what a test asks for, and ends it after the test. */
export interface World {
  tracker(options?: TrackerOptions): Promise<Tracker>;
  /** A sender; with `isAwaited` false it is not waited for. */
  send(tracker: Tracker, kind: SenderKind): Promise<Child>;
  /** A viewer of the watch page of the tests' channel. */
  watch(tracker: Tracker, options?: ViewerOptions): Promise<Viewer>;
  /** One of many viewers: the bare player, small, since drawing pages costs this machine more than the swarm does. */
  join(tracker: Tracker, options?: ViewerOptions): Promise<Viewer>;
  open(url: string, options?: ViewerOptions): Promise<Viewer>;
  /** Something else to end after the test, before the trackers. */
  atEnd(end: () => Promise<void>): void;
}

export const test = base.extend<TestOptions & { world: World }>({
  watchMs: [12_000, { option: true }],
  demands: [{ stallLimitMs: 500, latencyLimitMs: 2_500 }, { option: true }],
  world: async ({ browser }, use, info) => {
    const ends: (() => Promise<void>)[] = [];
    const outputs: { readonly output: string }[] = [];
    const world: World = {
      async tracker(options) {
        const tracker = await Tracker.start(options);
        ends.push(() => tracker.stop());
        outputs.push(tracker);
        return tracker;
      },
      async send(tracker, kind) {
        const sender = startSender(tracker, kind);
        ends.push(() => sender.stop());
        outputs.push(sender);
        await tracker.untilLive(true);
        return sender;
      },
      watch: (tracker, options) => world.open(`${tracker.origin}/watch/${CHANNEL}`, options),
      join: (tracker, options) =>
        world.open(`${tracker.origin}/embed/${CHANNEL}`, {
          viewport: { width: 480, height: 270 },
          ...options,
        }),
      async open(url, options) {
        const viewer = await Viewer.open(browser, url, options);
        ends.push(() => viewer.close());
        return viewer;
      },
      atEnd: (end) => void ends.push(end),
    };
    await use(world);
    for (const end of ends.reverse()) await end();
    if (info.status !== info.expectedStatus) {
      await info.attach('output', {
        body: outputs.map(({ output }) => output).join('\n'),
        contentType: 'text/plain',
      });
    }
  },
});

export { expect } from '@playwright/test';
