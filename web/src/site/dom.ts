/** The element with this id, which the page's own HTML promises. */
export function byId(id: string): HTMLElement;
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T;
export function byId(id: string, kind: new () => HTMLElement = HTMLElement): HTMLElement {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page lacks its element #${id}`);
  return found;
}

/** A new element with attributes and children; text is set as text, never parsed. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets the text only where it differs, so that nothing is laid out or read aloud again for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes the children of `list` one per item, in order; keeps those whose key is there already, and so focus and
 * selection in them.
 */
export function reconcile<T>(
  list: Element,
  items: readonly T[],
  each: { key(item: T): string; create(): HTMLElement; update(row: HTMLElement, item: T): void },
): void {
  const old = new Map(rowsOf(list).map((row) => [row.dataset.key ?? '', row]));
  items.forEach((item, index) => {
    const key = each.key(item);
    const row = old.get(key) ?? each.create();
    old.delete(key);
    row.dataset.key = key;
    each.update(row, item);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
  for (const row of old.values()) row.remove();
}

function rowsOf(list: Element): HTMLElement[] {
  return [...list.children].filter((child) => child instanceof HTMLElement);
}

/** Lets each `data-copies="ID"` button copy the text of that element, and say that it did. */
export function enableCopyButtons(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('button[data-copies]')) {
    button.addEventListener('click', () => void copy(button, byId(button.dataset.copies ?? '')));
  }
}

/** How long a copy button says "Copied". */
const COPIED_NOTE_MS = 2000;

async function copy(button: HTMLButtonElement, source: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(source.textContent ?? '');
    setText(button, 'Copied');
  } catch {
    // Without https there is no clipboard: selecting is the next best thing.
    getSelection()?.selectAllChildren(source);
    setText(button, 'Selected');
  }
  setTimeout(() => setText(button, 'Copy'), COPIED_NOTE_MS);
}
