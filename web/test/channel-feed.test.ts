import { expect, test } from 'vitest';
import type { Channel } from '../src/engine/types';
import { inOrder, parseChannels, reconnectDelayMs, whenLost } from '../src/site/channel-feed';

const channel = (id: string, isLive: boolean, nViewers: number): Channel => ({
  id,
  title: id,
  kind: 'live',
  is_live: isLive,
  n_viewers: nViewers,
  target_latency_ms: 2000,
  public_key: '',
});

test('live channels come first, then the well-watched, then by title', () => {
  const channels = [
    channel('c', false, 9),
    channel('b', true, 1),
    channel('a', true, 1),
    channel('d', true, 5),
  ];
  expect(inOrder(channels).map(({ id }) => id)).toEqual(['d', 'a', 'b', 'c']);
});

test('a message that is not a channel list is ignored', () => {
  for (const text of ['', '{', 'null', '[]', '{}', '{"channels":1}'])
    expect(parseChannels(text)).toBeUndefined();
});

test('entries that are not channels are left out', () => {
  const good = channel('a', true, 1);
  expect(parseChannels(JSON.stringify({ channels: [good, null, { id: 'x' }] }))).toEqual([good]);
});

test('a lost connection keeps the last list', () => {
  const channels = [channel('a', true, 1)];
  expect(whenLost({ kind: 'current', channels })).toEqual({ kind: 'stale', channels });
  expect(whenLost({ kind: 'loading' })).toEqual({ kind: 'stale', channels: [] });
});

test('waits double up to ten seconds and spread over half their length', () => {
  expect([0, 1, 2, 9].map((attempt) => reconnectDelayMs(attempt, 1))).toEqual([1000, 2000, 4000, 10_000]);
  expect(reconnectDelayMs(0, 0)).toBe(500);
});
