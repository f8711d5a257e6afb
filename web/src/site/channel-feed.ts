import type { Channel } from '../engine/types';

/** First wait before the list is asked for again; doubles up to the limit. Wild guess. */
const RECONNECT_MS = 1000;
/** Longest wait: a viewer looks at an outdated list no longer than that after the tracker is back. */
const RECONNECT_LIMIT_MS = 10_000;

/** What the channel list shows. */
export type FeedState =
  | { readonly kind: 'loading' }
  | { readonly kind: 'current'; readonly channels: readonly Channel[] }
  /** The tracker cannot be reached; these were the channels when it could. */
  | { readonly kind: 'stale'; readonly channels: readonly Channel[] };

/** The state after the connection is lost. */
export function whenLost(state: FeedState): FeedState {
  return { kind: 'stale', channels: state.kind === 'loading' ? [] : state.channels };
}

/** Live ones first, then by how many watch, then by title. */
export function inOrder(channels: readonly Channel[]): Channel[] {
  return [...channels].sort(
    (a, b) =>
      Number(b.is_live) - Number(a.is_live) || b.n_viewers - a.n_viewers || a.title.localeCompare(b.title),
  );
}

/** The wait before attempt number `attempt` (from 0), with `chance` in 0..1 spreading the crowd. */
export function reconnectDelayMs(attempt: number, chance: number): number {
  return Math.min(RECONNECT_LIMIT_MS, RECONNECT_MS * 2 ** attempt) * (0.5 + chance / 2);
}

/** Reads a message of the feed; `undefined` if it is not one. */
export function parseChannels(text: string): readonly Channel[] | undefined {
  try {
    const message: unknown = JSON.parse(text);
    if (typeof message !== 'object' || message === null || !('channels' in message)) return undefined;
    return Array.isArray(message.channels) ? message.channels.filter(isChannel) : undefined;
  } catch {
    return undefined;
  }
}

function isChannel(value: unknown): value is Channel {
  return (
    typeof value === 'object' &&
    value !== null &&
    'id' in value &&
    typeof value.id === 'string' &&
    'title' in value &&
    typeof value.title === 'string' &&
    'kind' in value &&
    (value.kind === 'live' || value.kind === 'film') &&
    'is_live' in value &&
    typeof value.is_live === 'boolean' &&
    'n_viewers' in value &&
    typeof value.n_viewers === 'number'
  );
}

/**
 * Follows the tracker's channel list for as long as `signal` is not aborted, and tells each new state. Comes back by
 * itself after the tracker went away (an `EventSource` alone gives up on an HTTP error).
 */
export function followChannels(onState: (state: FeedState) => void, signal: AbortSignal): void {
  let state: FeedState = { kind: 'loading' };
  let attempt = 0;
  const tell = (next: FeedState): void => {
    state = next;
    onState(next);
  };
  const connect = (): void => {
    if (signal.aborted) return;
    const source = new EventSource('/v1/channels/events');
    const close = (): void => source.close();
    signal.addEventListener('abort', close, { once: true });
    const receive = (event: MessageEvent<unknown>): void => {
      const channels = typeof event.data === 'string' ? parseChannels(event.data) : undefined;
      if (!channels) return;
      attempt = 0;
      tell({ kind: 'current', channels: inOrder(channels) });
    };
    source.addEventListener('message', receive);
    source.addEventListener('channels', receive);
    source.addEventListener('error', () => {
      close();
      signal.removeEventListener('abort', close);
      tell(whenLost(state));
      setTimeout(connect, reconnectDelayMs(attempt, Math.random()));
      attempt += 1;
    });
  };
  connect();
}
