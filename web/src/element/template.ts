import styles from './cardume-player.css?inline';

/** Attributes that belong on the inner `<video>` from the start. */
const NATIVE_ATTRIBUTES = [
  'autoplay',
  'controls',
  'controlslist',
  'disablepictureinpicture',
  'muted',
  'poster',
];

/** The element's shadow tree; `attributes` are those of the host. */
export function playerTemplate(attributes: Record<string, string>): string {
  const native = NATIVE_ATTRIBUTES.filter((name) => name in attributes)
    .map((name) => ` ${name}="${escapeAttribute(attributes[name] ?? '')}"`)
    .join('');
  return `<style>${styles}</style>
<slot name="media"><video part="video" playsinline disableremoteplayback preload="auto"${native}></video></slot>
<slot></slot>
<div class="overlay" part="overlay" hidden>
  <div class="spinner" part="spinner" aria-hidden="true"></div>
  <p class="message" part="message" role="status"></p>
  <p class="hint" part="hint"></p>
  <button class="action" part="retry" type="button" hidden>Try again</button>
</div>
<button class="action play" part="play" type="button" hidden>Play</button>
<button class="action unmute" part="unmute" type="button" hidden>Turn on sound</button>
<select class="rendition" part="rendition" aria-label="Picture quality" hidden></select>`;
}

function escapeAttribute(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/"/g, '&quot;').replace(/</g, '&lt;');
}
