import type { Player } from 'cardume-peer-wasm';
import type { PlayerEvent, Stats } from './types';
import { UplinkMemory } from './uplink-memory';

/** What to watch, and how. */
export interface AttachOptions {
  /** Origin of the tracker, `https://host[:port]`. */
  readonly tracker: string;
  readonly channel: string;
  /** Bits per second that neighbours may get from this viewer; 0 sends nothing; absent: as measured. */
  readonly uploadLimit?: number | undefined;
  readonly onEvent?: (event: PlayerEvent) => void;
  /** Ends it all, as {@link Attachment.destroy} does. */
  readonly signal?: AbortSignal;
}

/** A video element that plays a channel. */
export interface Attachment {
  /** What was measured so far; `undefined` until the engine is loaded and after the end. */
  stats(): Stats | undefined;
  /** Changes {@link AttachOptions.uploadLimit}. */
  setUploadLimit(bitsPerSecond: number | undefined): void;
  /** Shows the rendition with this id from the next key frame on; `'auto'`: the best that comes through. */
  setRendition(rendition: number | 'auto'): void;
  /** Leaves the swarm and frees everything. Further calls do nothing. */
  destroy(): void;
}

type Engine = typeof import('cardume-peer-wasm');

let loading: Promise<Engine> | undefined;

/** Loads the engine once per page; a failure is not remembered, so that a retry can succeed. */
function loadEngine(): Promise<Engine> {
  loading ??= import('cardume-peer-wasm')
    .then(async (engine) => {
      await engine.default();
      return engine;
    })
    .catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
  return loading;
}

class EngineAttachment implements Attachment {
  #player: Player | undefined;
  #isDestroyed = false;
  #uploadLimit: number | undefined;
  readonly #uplink = new UplinkMemory();
  #rendition: number | 'auto' = 'auto';

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: AttachOptions,
  ) {
    this.#uploadLimit = options.uploadLimit;
    options.signal?.addEventListener('abort', () => this.destroy(), { once: true });
    if (options.signal?.aborted) this.#isDestroyed = true;
    else void this.#start();
  }

  stats(): Stats | undefined {
    const stats = this.#player?.stats();
    if (stats) this.#uplink.note(stats.uplink);
    return stats;
  }

  setUploadLimit(bitsPerSecond: number | undefined): void {
    this.#uploadLimit = bitsPerSecond;
    this.#player?.setUploadLimit(bitsPerSecond);
  }

  setRendition(rendition: number | 'auto'): void {
    this.#rendition = rendition;
    this.#player?.setRendition(rendition);
  }

  destroy(): void {
    this.#isDestroyed = true;
    const player = this.#player;
    this.#player = undefined;
    player?.destroy();
  }

  async #start(): Promise<void> {
    try {
      const engine = await loadEngine();
      if (this.#isDestroyed) return;
      const { tracker, channel } = this.options;
      const uploadGuess = this.#uplink.bitsPerSecond;
      const options = { tracker, channel, uploadLimit: this.#uploadLimit, uploadGuess };
      this.#player = new engine.Player(this.video, options, (event) => this.#report(event));
      this.#player.setRendition(this.#rendition);
    } catch (error) {
      this.#report({ type: 'error', code: 'internal', message: reasonOf(error), fatal: true });
    }
  }

  #report(event: PlayerEvent): void {
    if (!this.#isDestroyed) this.options.onEvent?.(event);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Plays a channel in a video element of your own. The element's source is ours from now on; its controls,
 * volume and size stay yours. Errors arrive as events, nothing is thrown.
 */
export function attach(video: HTMLVideoElement, options: AttachOptions): Attachment {
  return new EngineAttachment(video, options);
}
