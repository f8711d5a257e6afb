import { expect, test } from 'vitest';
import { overlayContent } from '../src/element/overlay';
import { channelFromPath, embedSnippet } from '../src/site/address';
import { formatChoice, limitAttribute, parseChoice } from '../src/site/upload-choice';

test('an address names a channel only by a valid id', () => {
  expect(channelFromPath('/watch/live-1')).toBe('live-1');
  expect(channelFromPath('/watch/live-1/')).toBe('live-1');
  for (const path of [
    '/',
    '/watch',
    '/watch/',
    '/watch/A',
    '/watch/-a',
    '/watch/%3Cb%3E',
    `/watch/${'a'.repeat(65)}`,
  ]) {
    expect(channelFromPath(path)).toBeUndefined();
  }
});

test('the snippet names the tracker and the channel', () => {
  expect(embedSnippet('https://tv.example', 'live')).toContain('src="https://tv.example/embed.js"');
  expect(embedSnippet('https://tv.example', 'live')).toContain('channel="live"');
});

test('an upload choice survives being stored', () => {
  for (const choice of [
    { isOn: true, limit: undefined },
    { isOn: false, limit: 2_000_000 },
  ]) {
    expect(parseChoice(formatChoice(choice))).toEqual(choice);
  }
});

test('anything else in storage is the default choice', () => {
  for (const text of [null, '', 'maybe', 'on -3', 'on 1e9']) {
    expect(parseChoice(text)).toEqual({ isOn: true, limit: undefined });
  }
});

test('upload off is a limit of nothing', () => {
  expect(limitAttribute({ isOn: false, limit: 5 })).toBe('0');
  expect(limitAttribute({ isOn: true, limit: 5 })).toBe('5');
  expect(limitAttribute({ isOn: true, limit: undefined })).toBeUndefined();
});

test('a failure tells its reason, and playing shows nothing over the picture', () => {
  expect(overlayContent('failed', 'no such channel')?.hint).toBe('no such channel');
  expect(overlayContent('playing')).toBeUndefined();
});

test('of a film nothing is said that is only true of a broadcast', () => {
  expect(overlayContent('waiting', undefined, 'film')?.message).toContain('not ready');
  expect(overlayContent('buffering', undefined, 'film')).toEqual(overlayContent('buffering'));
  expect(overlayContent('failed', 'gone', 'film')).toMatchObject({
    message: 'This film cannot be played',
    hint: 'gone',
  });
});

test('the package can be imported where there is no document', async () => {
  const { defineCardumePlayer } = await import('../src/index');
  expect(() => defineCardumePlayer()).not.toThrow();
});
