import { expect, test } from 'vitest';
import { byteLen, duration, share, stalls, viewers } from '../src/site/format';

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
