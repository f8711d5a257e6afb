import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Document, entriesOf, inWords, isOpenable } from '../src/site/openapi';

const api: Document = JSON.parse(
  readFileSync(new URL('../../tracker/src/http/openapi.json', import.meta.url), 'utf8'),
);

test('every operation of the document is shown, once', () => {
  const shown = api.tags.flatMap(({ name }) => entriesOf(api, name));
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  expect(shown.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(all.sort());
});

test('a schema is told in words', () => {
  expect(inWords({ type: ['integer', 'null'] })).toBe('whole number or null');
  expect(inWords({ type: 'array', items: { $ref: '#/components/schemas/Channel' } })).toBe('list of Channel');
  expect(inWords({ type: 'string', enum: ['live', 'film'] })).toBe('text: live or film');
});

test('only what a browser can show is offered to be opened', () => {
  const openable = api.tags.flatMap(({ name }) => entriesOf(api, name)).filter(isOpenable);
  const paths = openable.map(({ path }) => path);
  expect(paths).toContain('/healthz');
  expect(paths).not.toContain('/v1/channels/{channel}');
  expect(paths).not.toContain('/metrics');
});
