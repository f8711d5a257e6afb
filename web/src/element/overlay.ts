import type { Channel, ErrorCode, PlayerState } from '../engine/types';

/** The engine's states, and those in which there is no engine. */
export type ElementState =
  | PlayerState
  /** Not begun: no channel is named, the element is in no document, or it waits for `play()`. */
  | 'idle'
  /** A fatal error; the viewer may try again. */
  | 'failed';

/** What lies over the picture: a wait with a spinner, words in its place, or a note beside it. */
export interface OverlayContent {
  readonly kind: 'wait' | 'words' | 'note';
  readonly message: string;
  readonly hint?: string;
}

const CONTENT: Record<ElementState, OverlayContent | undefined> = {
  idle: undefined,
  connecting: { kind: 'wait', message: 'Connecting…' },
  waiting: {
    kind: 'words',
    message: 'Nobody is broadcasting on this channel right now',
    hint: 'The picture appears here by itself as soon as somebody does.',
  },
  buffering: { kind: 'wait', message: 'Loading…' },
  playing: undefined,
  stalled: { kind: 'wait', message: 'Waiting for the stream…' },
  resting: {
    kind: 'words',
    message: 'More people are watching than can be served right now',
    hint: 'The picture comes by itself as soon as there is room. Those who pass the stream on come first.',
  },
  reconnecting: { kind: 'note', message: 'Looking for the tracker again…' },
  failed: { kind: 'words', message: 'This channel cannot be played' },
};

/** What is said of films in other words. */
const FILM_CONTENT: Partial<Record<ElementState, OverlayContent>> = {
  waiting: { kind: 'words', message: 'This film is not ready yet', hint: 'It begins here by itself.' },
  stalled: { kind: 'wait', message: 'Waiting for the film…' },
  failed: { kind: 'words', message: 'This film cannot be played' },
};

/** What to say in a state; `reason` is shown with `failed`. */
export function overlayContent(
  state: ElementState,
  reason?: string,
  kind: Channel['kind'] = 'live',
): OverlayContent | undefined {
  const content = (kind === 'film' ? FILM_CONTENT[state] : undefined) ?? CONTENT[state];
  return content && state === 'failed' && reason ? { ...content, hint: reason } : content;
}

/** The parts of the shadow tree that lie over the picture. */
export class Overlay {
  readonly retry: HTMLButtonElement;
  readonly play: HTMLButtonElement;
  readonly unmute: HTMLButtonElement;
  readonly rendition: HTMLSelectElement;
  readonly #box: HTMLElement;
  readonly #message: HTMLElement;
  readonly #hint: HTMLElement;

  constructor(root: ShadowRoot) {
    this.#box = part(root, 'overlay', HTMLElement);
    this.#message = part(root, 'message', HTMLElement);
    this.#hint = part(root, 'hint', HTMLElement);
    this.retry = part(root, 'retry', HTMLButtonElement);
    this.play = part(root, 'play', HTMLButtonElement);
    this.unmute = part(root, 'unmute', HTMLButtonElement);
    this.rendition = part(root, 'rendition', HTMLSelectElement);
  }

  show(state: ElementState, reason?: string, kind?: Channel['kind']): void {
    const content = overlayContent(state, reason, kind);
    this.#box.hidden = content === undefined;
    this.#box.dataset.kind = content?.kind ?? '';
    this.#message.textContent = content?.message ?? '';
    this.#hint.textContent = content?.hint ?? '';
    this.retry.hidden = state !== 'failed';
  }

  /** Offers the viewer the click that the browser wants; other codes are no question. */
  ask(code: ErrorCode): void {
    if (code === 'autoplay_muted') this.unmute.hidden = false;
    if (code !== 'autoplay_blocked') return;
    this.unmute.hidden = true;
    this.play.hidden = false;
  }
}

function part<T extends HTMLElement>(root: ShadowRoot, name: string, kind: new () => T): T {
  const found = root.querySelector(`[part~="${name}"]`);
  if (!(found instanceof kind)) throw new Error(`the player's template lacks its part "${name}"`);
  return found;
}
