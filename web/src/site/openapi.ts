/** The part of an OpenAPI document that the page `/api` shows. */

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
}

export interface Answer {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
}

export interface Operation {
  readonly summary: string;
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly responses: Readonly<Record<string, Answer>>;
}

export interface Document {
  readonly info: { readonly version: string; readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** One address and what may be done there. */
export interface Entry {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** What has this tag, in the document's order. */
export function entriesOf(document: Document, tag: string): Entry[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag))
      .map(([method, operation]) => ({ method, path, operation })),
  );
}

/** The name of the schema that is referred to, such as `Channel`. */
export function nameOf(schema: Schema): string | undefined {
  return schema.$ref?.split('/').at(-1);
}

/** What a schema is, in words: `text: live or film`, `whole number or nothing`, `list of Channel`. */
export function inWords(schema: Schema): string {
  const name = nameOf(schema);
  if (name !== undefined) return name;
  if (schema.anyOf) return schema.anyOf.map(inWords).join(' or ');
  if (schema.items) return `list of ${inWords(schema.items)}`;
  const kinds = [schema.type ?? 'anything'].flat().map(kindInWords).join(' or ');
  return schema.enum ? `${kinds}: ${schema.enum.join(' or ')}` : kinds;
}

function kindInWords(kind: string): string {
  switch (kind) {
    case 'integer':
      return 'whole number';
    case 'string':
      return 'text';
    case 'boolean':
      return 'true or false';
    case 'null':
      return 'null';
    default:
      return kind;
  }
}

/** Whether a browser shows something of use when it is simply opened. */
export function isOpenable({ method, path, operation }: Entry): boolean {
  const content = operation.responses['200']?.content;
  return method === 'get' && !path.includes('{') && content?.['application/json'] !== undefined;
}
