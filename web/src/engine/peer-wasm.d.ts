/**
 * The part of the generated package `src/wasm/` that the web uses. Written by hand, so that the sources check
 * without a WebAssembly build; the browser tests run against the generated one.
 */
declare module 'cardume-peer-wasm' {
  import type { PlayerEvent, PlayerOptions, Stats } from './types';

  export class Player {
    constructor(video: HTMLVideoElement, options: PlayerOptions, onEvent: (event: PlayerEvent) => void);
    /** `undefined` after {@link Player.destroy}. */
    stats(): Stats | undefined;
    setUploadLimit(bitsPerSecond: number | undefined): void;
    setRendition(rendition: number | 'auto'): void;
    destroy(): void;
    free(): void;
  }

  /** Fetches and starts the module; later calls give the same instance. */
  const init: () => Promise<object>;

  export { init as default };
}
