/** The description of the HTTP API at `/api`, made of the tracker's own OpenAPI document. */
import { byId, make, setText } from './dom';
import { type Document, type Entry, entriesOf, inWords, isOpenable, nameOf, type Schema } from './openapi';

const anchor = ({ operation }: Entry): string => `op-${operation.operationId}`;
const schemaAnchor = (name: string): string => `schema-${name}`;

function address({ method, path }: Entry): HTMLElement {
  return make('code', {}, make('span', { class: 'method' }, method), ` ${path}`);
}

function facts(pairs: readonly (readonly [string, readonly (Node | string)[]])[]): HTMLElement {
  const list = make('dl', { class: 'facts' });
  for (const [name, told] of pairs) {
    list.append(make('dt', {}, make('code', {}, name)), make('dd', {}, ...told));
  }
  return list;
}

/** What a schema is, with a link to where its fields are. */
function shape(schema: Schema): (Node | string)[] {
  const name = nameOf(schema) ?? nameOf(schema.items ?? {}) ?? schema.anyOf?.map(nameOf).find(Boolean);
  const words = inWords(schema);
  return name === undefined ? [words] : [make('a', { href: `#${schemaAnchor(name)}` }, words)];
}

function answers({ operation }: Entry): HTMLElement {
  const told = Object.entries(operation.responses).map(([status, answer]) => {
    const contents = Object.entries(answer.content ?? {}).flatMap(([type, { schema }]) => {
      const isPlain = schema === undefined || schema.type === 'string';
      return [' ', make('code', {}, type), ...(isPlain ? [] : [' ', ...shape(schema)])];
    });
    return [status, [answer.description, ...contents]] as const;
  });
  return facts(told);
}

function section(entry: Entry): HTMLElement {
  const { operation, path } = entry;
  const title = make('h3', { id: anchor(entry) }, address(entry));
  const panel = make('section', { class: 'panel', 'aria-labelledby': anchor(entry) }, title);
  panel.append(make('p', {}, operation.summary, '.'));
  if (isOpenable(entry)) panel.append(make('p', {}, make('a', { href: path }, `Open ${path}`)));
  const parameters = operation.parameters ?? [];
  if (parameters.length > 0) {
    panel.append(make('h4', {}, 'Parameters'));
    panel.append(
      facts(
        parameters.map(({ name, in: place, required, description }) => {
          const note = required ? `in the ${place}` : `in the ${place}, may be left out`;
          return [name, [`${description ?? ''} (${note})`]] as const;
        }),
      ),
    );
  }
  panel.append(make('h4', {}, 'Answers'), answers(entry));
  return panel;
}

function schemaSection(name: string, schema: Schema): HTMLElement {
  const id = schemaAnchor(name);
  const panel = make('section', { class: 'panel', 'aria-labelledby': id }, make('h3', { id }, name));
  if (schema.description) panel.append(make('p', {}, schema.description));
  const fields = Object.entries(schema.properties ?? {});
  panel.append(
    facts(
      fields.map(([field, told]) => {
        const words = told.description ? [`${told.description} (`, ...shape(told), ')'] : shape(told);
        return [field, words] as const;
      }),
    ),
  );
  return panel;
}

function show(api: Document): void {
  setText(byId('about'), `${api.info.description} This is version ${api.info.version}.`);
  const contents = make('ul', { role: 'list' });
  const operations = byId('operations');
  for (const { name, description } of api.tags) {
    operations.append(make('h2', {}, name), make('p', {}, description));
    for (const entry of entriesOf(api, name)) {
      contents.append(make('li', {}, make('a', { href: `#${anchor(entry)}` }, address(entry))));
      operations.append(section(entry));
    }
  }
  operations.append(make('h2', {}, 'What answers are made of'));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    operations.append(schemaSection(name, schema));
  }
  const nav = byId('contents');
  nav.append(contents);
  nav.hidden = false;
  setText(byId('state'), '');
  // The address may name a place that was not there when the page was opened.
  if (location.hash.length > 1) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

async function load(): Promise<void> {
  try {
    const response = await fetch('/v1/openapi.json');
    if (!response.ok) throw new Error(`status ${response.status}`);
    show((await response.json()) as Document);
  } catch {
    setText(byId('state'), 'The tracker cannot be reached. Reload this page to try again.');
  }
}

void load();
