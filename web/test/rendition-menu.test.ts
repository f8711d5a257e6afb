import { expect, test } from 'vitest';
import { renditionLabel } from '../src/element/rendition-menu';

const rendition = (height: number, bitrate: number) => ({ id: height, width: height * 2, height, bitrate });

test.each([
  [[1080, 720], 5_000_000, '1080p'],
  [[1080, 1080], 5_000_000, '1080p · 5.0 Mbit/s'],
  [[0, 720], 750_000, '0.8 Mbit/s'],
])('the first of pictures %s high at %i bit/s is called %s', (heights, bitrate, label) => {
  const all = heights.map((height) => rendition(height, bitrate));
  expect(renditionLabel(all[0] ?? rendition(0, 0), all)).toBe(label);
});
