import { expect, test } from 'vitest';
import { badge, byteLen, duration, playingTime, share, stalls, viewers } from '../src/site/format';

test.each([
  [null, '–'],
  [Number.NaN, '–'],
  [0, '0 ms'],
  [812.4, '812 ms'],
  [999.6, '1.00 s'],
  [1943, '1.94 s'],
])('a duration of %s ms reads %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

test.each([
  [0, '0:00'],
  [8400, '0:08'],
  [760_000, '12:40'],
  [5_530_000, '1:32:10'],
])('a film of %s ms lasts %s', (ms, text) => {
  expect(playingTime(ms)).toBe(text);
});

test('a badge tells what a channel is', () => {
  const channel = { id: 'a', title: 'A', n_viewers: 0, target_latency_ms: 0, public_key: '' };
  expect(badge({ ...channel, kind: 'live', is_live: true })).toBe('Live');
  expect(badge({ ...channel, kind: 'live', is_live: false })).toBe('Off air');
  expect(badge({ ...channel, kind: 'film', is_live: false })).toBe('Film');
  expect(badge({ ...channel, kind: 'film', is_live: false, duration_ms: 8000 })).toBe('Film · 0:08');
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1500, '2 kB'],
  [999_600, '1.0 MB'],
  [12_340_000, '12.3 MB'],
  [2_500_000_000, '2.50 GB'],
])('%s bytes read %s', (len, text) => {
  expect(byteLen(len)).toBe(text);
});

test('a share is a whole percentage', () => {
  expect(share(0.426)).toBe('43 %');
});

test('one viewer is not several', () => {
  expect([viewers(0), viewers(1), viewers(2)]).toEqual(['0 viewers', '1 viewer', '2 viewers']);
});

test('no stall is said in words', () => {
  expect([stalls(0, 0), stalls(2, 310)]).toEqual(['none', '2 · 310 ms']);
});
