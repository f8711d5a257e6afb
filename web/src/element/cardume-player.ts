import { CustomVideoElement } from 'custom-media-element';
import { type Attachment, attach } from '../engine/attach';
import type { Channel, PlayerEvent, Renditions, Stats } from '../engine/types';
import { type ElementState, Overlay } from './overlay';
import { RenditionMenu } from './rendition-menu';
import { playerTemplate } from './template';

export type { ElementState } from './overlay';

/** How often `cardumestats` fires; the engine asks for no more than that. */
const STATS_INTERVAL_MS = 1000;

const OWN_ATTRIBUTES = ['channel', 'tracker', 'upload-limit'];

let defaultTracker: string | undefined;

/** The tracker of elements that do not name one; without it, the page's own origin. */
export function setDefaultTracker(origin: string): void {
  defaultTracker = origin;
}

/**
 * A video element that plays a Cardume channel. Apart from what is listed here it behaves like `<video>`:
 * same attributes, properties, methods and events.
 *
 * @attr {string} channel - The channel's id.
 * @attr {string} tracker - Origin of the tracker; default: where `embed.js` came from, else the page's origin.
 * @attr {number} upload-limit - Bits per second that neighbours may get from this viewer; 0 sends nothing.
 * @fires cardumestate - The state changed; `detail` is an {@link ElementState}.
 * @fires cardumestats - Once a second while there is an engine; `detail` is a {@link Stats}.
 * @fires cardumechannel - The channel became known or changed; `detail` is a {@link Channel}.
 * @fires cardumerenditions - Other renditions, or another one is shown or was chosen; `detail` is a {@link Renditions}.
 * @fires cardumeerror - Something went wrong; `detail` is `{code, message, fatal}`.
 * @csspart video - The inner `<video>`.
 * @csspart overlay - What lies over the picture while it does not play.
 * @csspart message - The overlay's line of text.
 * @csspart hint - The overlay's second line.
 * @csspart spinner - Shown while waiting.
 * @csspart retry - The button after a fatal error.
 * @csspart play - The button where the browser refuses to start by itself.
 * @csspart unmute - The button where the browser starts only without sound.
 * @csspart rendition - The choice of a rendition, with `controls` and where there are several.
 * @cssprop --media-object-fit - `object-fit` of the video, default `contain`.
 * @cssprop --media-object-position - `object-position` of the video, default centred.
 * @slot media - A `<video>` of your own in place of the inner one.
 */
export class CardumePlayer extends CustomVideoElement {
  static override getTemplateHTML = playerTemplate;

  static override get observedAttributes(): string[] {
    return [...CustomVideoElement.observedAttributes, ...OWN_ATTRIBUTES];
  }

  #overlay: Overlay | undefined;
  #attachment: Attachment | undefined;
  #session: AbortController | undefined;
  #isUpdateDue = false;
  #isPlayAsked = false;
  #state: ElementState = 'idle';
  #stats: Stats | undefined;
  #channelInfo: Channel | undefined;
  #renditions: Renditions | undefined;
  #menu: RenditionMenu | undefined;

  /** How it goes. */
  get state(): ElementState {
    return this.#state;
  }

  /** The last statistics, at most a second old; `undefined` before there are any. */
  get stats(): Stats | undefined {
    return this.#stats;
  }

  /** What the tracker says about the channel; `undefined` before it did. */
  get channelInfo(): Channel | undefined {
    return this.#channelInfo;
  }

  /** Which renditions there are, which is shown and which was chosen; `undefined` before a broadcast is known. */
  get renditions(): Renditions | undefined {
    return this.#renditions;
  }

  /** Shows the rendition with this id from the next key frame on; `'auto'`: the best that comes through. */
  setRendition(rendition: number | 'auto'): void {
    this.#attachment?.setRendition(rendition);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#scheduleUpdate();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#scheduleUpdate();
  }

  override attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    super.attributeChangedCallback(name, before, after);
    if (before === after) return;
    if (name === 'upload-limit') this.#attachment?.setUploadLimit(this.#uploadLimit());
    else if (OWN_ATTRIBUTES.includes(name)) this.load();
  }

  /** Begins to watch, where `autoplay` does not; from then on it is `<video>`'s own. */
  override async play(): Promise<void> {
    if (this.#attachment) return this.nativeEl.play();
    this.#rejoin();
  }

  /** Leaves the channel and joins it anew. */
  override load(): void {
    this.#tearDown();
    this.#scheduleUpdate();
  }

  /** One microtask later, so that a move within the page or several attributes at once cost nothing. */
  #scheduleUpdate(): void {
    if (this.#isUpdateDue) return;
    this.#isUpdateDue = true;
    queueMicrotask(() => {
      this.#isUpdateDue = false;
      if (!this.isConnected) this.#tearDown();
      else if (!this.#session) this.#setUp();
    });
  }

  /** Without `autoplay` nothing is fetched, and nothing passed on, before somebody wants to watch. */
  #setUp(): void {
    const channel = this.getAttribute('channel');
    const video = this.nativeEl;
    if (!channel || !video || !this.shadowRoot) return;
    const session = new AbortController();
    this.#session = session;
    this.#overlay ??= new Overlay(this.shadowRoot);
    this.#menu ??= new RenditionMenu(this.#overlay.rendition);
    this.#listen(video, this.#overlay, session.signal);
    if (this.hasAttribute('autoplay') || this.#isPlayAsked) this.#join(video, channel, session.signal);
    else this.#overlay.play.hidden = false;
  }

  #join(video: HTMLVideoElement, channel: string, signal: AbortSignal): void {
    this.#setState('connecting');
    this.#attachment = attach(video, {
      tracker: this.getAttribute('tracker') ?? defaultTracker ?? location.origin,
      channel,
      uploadLimit: this.#uploadLimit(),
      onEvent: (event) => this.#handleEngineEvent(event),
      signal,
    });
    const timer = setInterval(() => this.#publishStats(), STATS_INTERVAL_MS);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  #listen(video: HTMLVideoElement, overlay: Overlay, signal: AbortSignal): void {
    const hideUnmute = (): void => {
      if (!video.muted) overlay.unmute.hidden = true;
    };
    video.addEventListener('volumechange', hideUnmute, { signal });
    video.addEventListener('play', () => (overlay.play.hidden = true), { signal });
    overlay.unmute.addEventListener('click', () => (video.muted = false), { signal });
    overlay.rendition.addEventListener('change', () => this.setRendition(this.#menu?.choice ?? 'auto'), {
      signal,
    });
    overlay.retry.addEventListener('click', () => this.#rejoin(), { signal });
    overlay.play.addEventListener('click', () => this.#playByClick(video, overlay), { signal });
  }

  #rejoin(): void {
    this.load();
    this.#isPlayAsked = true;
  }

  /** After the viewer's own click the browser allows sound. */
  #playByClick(video: HTMLVideoElement, overlay: Overlay): void {
    overlay.play.hidden = true;
    video.muted = this.hasAttribute('muted');
    if (!this.#attachment) this.#rejoin();
    else void video.play().catch(() => (overlay.play.hidden = false));
  }

  #tearDown(): void {
    this.#session?.abort();
    this.#session = undefined;
    this.#attachment = undefined;
    this.#stats = undefined;
    this.#channelInfo = undefined;
    this.#renditions = undefined;
    this.#isPlayAsked = false;
    if (this.#overlay) {
      this.#overlay.play.hidden = true;
      this.#overlay.unmute.hidden = true;
      this.#overlay.rendition.hidden = true;
    }
    this.#setState('idle');
  }

  #handleEngineEvent(event: PlayerEvent): void {
    if (event.type === 'state') {
      this.#setState(event.state);
    } else if (event.type === 'channel') {
      this.#channelInfo = event.channel;
      this.dispatchEvent(new CustomEvent('cardumechannel', { detail: event.channel }));
    } else if (event.type === 'renditions') {
      const { type: _, ...renditions } = event;
      this.#renditions = renditions;
      this.#menu?.show(renditions, this.hasAttribute('controls'));
      this.dispatchEvent(new CustomEvent('cardumerenditions', { detail: renditions }));
    } else {
      const { code, message, fatal } = event;
      if (fatal) this.#setState('failed', message);
      else this.#overlay?.ask(code);
      this.dispatchEvent(new CustomEvent('cardumeerror', { detail: { code, message, fatal } }));
    }
  }

  #setState(state: ElementState, reason?: string): void {
    this.#overlay?.show(state, reason, this.#channelInfo?.kind);
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new CustomEvent('cardumestate', { detail: state }));
  }

  #publishStats(): void {
    const stats = this.#attachment?.stats();
    if (!stats) return;
    this.#stats = stats;
    this.dispatchEvent(new CustomEvent('cardumestats', { detail: stats }));
  }

  #uploadLimit(): number | undefined {
    const text = this.getAttribute('upload-limit');
    const limit = text ? Number(text) : Number.NaN;
    return Number.isFinite(limit) && limit >= 0 ? limit : undefined;
  }
}

/** Defines `<cardume-player>`, unless a page has one already or there is no page. */
export function defineCardumePlayer(): void {
  const registry = globalThis.customElements;
  if (registry && !registry.get('cardume-player')) registry.define('cardume-player', CardumePlayer);
}

declare global {
  interface HTMLElementTagNameMap {
    'cardume-player': CardumePlayer;
  }
  interface HTMLElementEventMap {
    cardumestate: CustomEvent<ElementState>;
    cardumestats: CustomEvent<Stats>;
    cardumechannel: CustomEvent<Channel>;
    cardumerenditions: CustomEvent<Renditions>;
    cardumeerror: CustomEvent<{ code: string; message: string; fatal: boolean }>;
  }
}
