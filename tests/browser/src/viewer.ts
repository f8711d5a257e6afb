import { fileURLToPath } from 'node:url';
import type { Browser, BrowserContext, Page } from '@playwright/test';
import type { PlayerState, Stats } from '../../../peer-wasm/src/player';
import { until } from './until';

/** What `page/probe.js` sees. Times are UTC milliseconds. */
export interface Probe {
  firstFrameAt: number | null;
  nFrames: number;
  /** Longest time between two pictures on screen. */
  longestGapMs: number;
  /** Gaps above 200 ms. */
  gaps: { at: number; ms: number }[];
  /** Capture to screen by the clock in the picture. */
  latenciesMs: { at: number; ms: number }[];
  nUnreadable: number;
  states: { at: number; state: PlayerState | 'idle' | 'failed' }[];
  mediaErrors: string[];
  playerErrors: { code: string; message: string; fatal: boolean }[];
  nAppends: number;
  nAppendErrors: number;
}

/** The part of `<cardume-player>` that tests touch. */
export interface PlayerElement extends HTMLElement {
  readonly nativeEl: HTMLVideoElement | null;
  readonly stats: Stats | undefined;
  readonly state: PlayerState | 'idle' | 'failed';
}

declare global {
  interface Window {
    probe: Probe;
    /** Messages that `page/polluter.js` spoiled. */
    nSpoiled?: number;
  }
}

export interface ViewerOptions {
  readonly viewport?: { width: number; height: number };
  readonly colorScheme?: 'light' | 'dark';
  /** Scripts under `page/` that run before the probe. */
  readonly doubles?: readonly ('polluter' | 'connections')[];
}

const pageScript = (name: string): string => fileURLToPath(new URL(`./page/${name}.js`, import.meta.url));

/** One viewer: a tab in a browser context of its own. */
export class Viewer {
  private constructor(
    readonly page: Page,
    private readonly context: BrowserContext,
    readonly openedAt: number,
  ) {}

  static async open(browser: Browser, url: string, options: ViewerOptions = {}): Promise<Viewer> {
    const context = await browser.newContext({
      viewport: options.viewport ?? { width: 960, height: 640 },
      colorScheme: options.colorScheme ?? 'light',
    });
    for (const name of [...(options.doubles ?? []), 'probe']) {
      await context.addInitScript({ path: pageScript(name) });
    }
    const page = await context.newPage();
    const openedAt = Date.now();
    await page.goto(url, { waitUntil: 'domcontentloaded' });
    return new Viewer(page, context, openedAt);
  }

  /** The player's own statistics, at most a second old. */
  stats(): Promise<Stats | undefined> {
    return this.page.evaluate(
      () => (document.querySelector('cardume-player') as PlayerElement | null)?.stats,
    );
  }

  probe(): Promise<Probe> {
    return this.page.evaluate(() => window.probe);
  }

  /** Height of the picture that is shown, in pixels. */
  height(): Promise<number | undefined> {
    return this.page.evaluate(
      () => (document.querySelector('cardume-player') as PlayerElement | null)?.nativeEl?.videoHeight,
    );
  }

  /** Waits until pictures move, and gives the time that took from opening the page. */
  async untilPlaying(): Promise<number> {
    const at = await until('the picture moves', async () => {
      const { firstFrameAt, nFrames } = await this.probe();
      return nFrames > 2 && firstFrameAt !== null ? firstFrameAt : undefined;
    });
    return at - this.openedAt;
  }

  async untilStats<T>(what: string, look: (stats: Stats) => T | undefined | false): Promise<T> {
    return until(what, async () => {
      const stats = await this.stats();
      return stats ? look(stats) : undefined;
    });
  }

  /** The tab's process dies: no goodbye, no close. */
  async crash(): Promise<void> {
    const session = await this.context.newCDPSession(this.page);
    const crashed = this.page.waitForEvent('crash');
    // The answer never comes: who would give it is dead.
    void session.send('Page.crash').catch(() => undefined);
    await crashed;
  }

  /** Leaves as a viewer does who closes the tab. */
  async close(): Promise<void> {
    await this.context.close();
  }
}
