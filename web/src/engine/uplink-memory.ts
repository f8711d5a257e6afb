/** What the uplink was found to bear. */
export interface FoundUplink {
  readonly bitsPerSecond: number;
  /** Milliseconds since 1970. */
  readonly foundAt: number;
}

const KEY = 'cardume.uplink';
/** Older than this, it is not believed: people change their provider, or took the phone elsewhere. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000;
/** Not written again for less than this share of what is remembered. */
const WORTH_WRITING = 0.1;

/** Reads what {@link formatUplink} wrote; `undefined` for anything else, and for what is too old. */
export function parseUplink(text: string | null, now: number): FoundUplink | undefined {
  const match = /^(\d{1,12}) (\d{1,15})$/.exec(text ?? '');
  if (!match) return undefined;
  const found = { bitsPerSecond: Number(match[1]), foundAt: Number(match[2]) };
  const age = now - found.foundAt;
  return found.bitsPerSecond > 0 && age >= 0 && age < MAX_AGE_MS ? found : undefined;
}

export function formatUplink(found: FoundUplink): string {
  return `${Math.round(found.bitsPerSecond)} ${found.foundAt}`;
}

/**
 * The uplink as it was the last time somebody watched in this browser, so that a viewer need not find out anew, at its
 * neighbours' expense, what it can give. Where the browser refuses storage, it holds as long as the page.
 */
export class UplinkMemory {
  #found: FoundUplink | undefined;

  constructor() {
    try {
      this.#found = parseUplink(localStorage.getItem(KEY), Date.now());
    } catch {
      // Private windows, third-party frames.
    }
  }

  /** Bits per second. */
  get bitsPerSecond(): number | undefined {
    return this.#found?.bitsPerSecond;
  }

  /** Writes it down, if it is worth that. */
  note(bitsPerSecond: number | null): void {
    if (!bitsPerSecond) return;
    const before = this.#found?.bitsPerSecond ?? 0;
    if (Math.abs(bitsPerSecond - before) <= before * WORTH_WRITING) return;
    this.#found = { bitsPerSecond, foundAt: Date.now() };
    try {
      localStorage.setItem(KEY, formatUplink(this.#found));
    } catch {
      // As above.
    }
  }
}
