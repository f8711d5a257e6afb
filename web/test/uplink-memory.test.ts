import { afterEach, expect, test, vi } from 'vitest';
import { formatUplink, parseUplink, UplinkMemory } from '../src/engine/uplink-memory';

const NOW = 1_700_000_000_000;
const DAY = 24 * 3600 * 1000;

afterEach(() => vi.unstubAllGlobals());

/** A browser's storage, or one that refuses. */
function stubStorage(refuses = false): Map<string, string> {
  const items = new Map<string, string>();
  const or = <T>(value: T): T => {
    if (refuses) throw new DOMException('no', 'SecurityError');
    return value;
  };
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => or(items.get(key) ?? null),
    setItem: (key: string, text: string) => or(items.set(key, text)),
  });
  return items;
}

test('an uplink survives being stored, for a week', () => {
  const found = { bitsPerSecond: 1_234_567, foundAt: NOW };
  expect(parseUplink(formatUplink(found), NOW + 6 * DAY)).toEqual(found);
  expect(parseUplink(formatUplink(found), NOW + 7 * DAY)).toBeUndefined();
});

test('anything else in storage, or from the future, is nothing', () => {
  for (const text of [
    null,
    '',
    '12',
    `0 ${NOW}`,
    `-1 ${NOW}`,
    `1e6 ${NOW}`,
    `1000 ${NOW + 1}`,
    `1 ${NOW} 2`,
  ]) {
    expect(parseUplink(text, NOW)).toBeUndefined();
  }
});

test('the next player begins with what the last one found', () => {
  stubStorage();
  const last = new UplinkMemory();
  expect(last.bitsPerSecond).toBeUndefined();
  last.note(null);
  expect(new UplinkMemory().bitsPerSecond).toBeUndefined();
  last.note(800_000);
  expect(new UplinkMemory().bitsPerSecond).toBe(800_000);
});

test('it is written again only for a change', () => {
  const items = stubStorage();
  const memory = new UplinkMemory();
  memory.note(1_000_000);
  const before = [...items.values()];
  memory.note(1_050_000);
  expect([...items.values()]).toEqual(before);
  memory.note(500_000);
  expect(new UplinkMemory().bitsPerSecond).toBe(500_000);
});

test('without storage it holds as long as the page', () => {
  stubStorage(true);
  const memory = new UplinkMemory();
  memory.note(700_000);
  expect(memory.bitsPerSecond).toBe(700_000);
});
