/**
 * The part of the generated package `src/wasm/` that the web uses. Written by hand, so that the sources check
 * without a WebAssembly build; the browser tests run against the generated one.
 */
declare module 'cardume-peer-wasm' {
  import type { PlayerEvent, Stats } from './types';

  export class Player {
    constructor(
      video: HTMLVideoElement,
      options: {
        /** Origin of the tracker, `http(s)://host[:port]`. */
        tracker: string;
        channel: string;
        /** Bits per second; 0 sends nothing; absent: as measured. */
        uploadLimit?: number;
      },
      onEvent: (event: PlayerEvent) => void,
    );
    stats(): Stats;
    setUploadLimit(bitsPerSecond: number | undefined): void;
    destroy(): void;
    free(): void;
  }

  /** Fetches and starts the module; later calls give the same instance. */
  const init: () => Promise<object>;

  export { init as default };
}
