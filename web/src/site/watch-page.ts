/** The watch page at `/watch/CHANNEL`. It uses the published element and knows only its events. */
import type { CardumePlayer, ElementState } from '../element/cardume-player';
import type { Channel } from '../engine/types';
import { channelFromPath, embedSnippet } from './address';
import { byId, enableCopyButtons, setText } from './dom';
import { badge, viewers } from './format';
import { makePlayer } from './player-on-page';
import { showStats } from './stats-view';
import {
  formatChoice,
  limitAttribute,
  loadChoice,
  parseChoice,
  storeChoice,
  type UploadChoice,
} from './upload-choice';

const STATE_TEXT: Record<ElementState, string> = {
  idle: '',
  connecting: 'Connecting…',
  waiting: 'Nobody is broadcasting on this channel right now.',
  buffering: 'Filling the buffer…',
  playing: 'Playing live.',
  stalled: 'Waiting for the stream to go on…',
  resting: 'More people are watching than can be served. You are let in as soon as there is room.',
  reconnecting: 'The tracker is away. What neighbours send plays on; looking for it again…',
  failed: 'This channel cannot be played.',
};

/** The same of films, where it is different. */
const FILM_STATE_TEXT: Partial<Record<ElementState, string>> = {
  waiting: 'This film is not ready yet.',
  playing: 'Playing.',
  stalled: 'Waiting for the film to go on…',
  failed: 'This film cannot be played.',
};

let kind: Channel['kind'] = 'live';

function stateText(state: ElementState): string {
  return (kind === 'film' ? FILM_STATE_TEXT[state] : undefined) ?? STATE_TEXT[state];
}

function showChannel(channel: Channel, state: ElementState): void {
  kind = channel.kind;
  byId('main').dataset.kind = kind;
  setText(byId('state'), stateText(state));
  const title = channel.title || channel.id;
  setText(byId('title'), title);
  document.title = `${title} · Cardume`;
  const live = byId('live');
  live.dataset.live = String(channel.is_live);
  setText(live, badge(channel));
  setText(byId('viewers'), viewers(channel.n_viewers));
}

function showLinks(channel: string): void {
  setText(byId('snippet'), embedSnippet(location.origin, channel));
  byId('embed-link', HTMLAnchorElement).href = `/embed/${channel}`;
  byId('hls-link', HTMLAnchorElement).href = `/hls/${channel}/index.m3u8`;
}

function readUploadControls(): UploadChoice {
  const limit = byId('upload-limit', HTMLSelectElement).value;
  return parseChoice(
    formatChoice({
      isOn: byId('upload-on', HTMLInputElement).checked,
      limit: limit === '' ? undefined : Number(limit),
    }),
  );
}

function showUploadControls(choice: UploadChoice): void {
  byId('upload-on', HTMLInputElement).checked = choice.isOn;
  const select = byId('upload-limit', HTMLSelectElement);
  select.value = choice.limit === undefined ? '' : String(choice.limit);
  select.disabled = !choice.isOn;
}

function connectUploadControls(player: CardumePlayer): void {
  showUploadControls(loadChoice());
  const apply = (): void => {
    const choice = readUploadControls();
    storeChoice(choice);
    showUploadControls(choice);
    const limit = limitAttribute(choice);
    if (limit === undefined) player.removeAttribute('upload-limit');
    else player.setAttribute('upload-limit', limit);
  };
  byId('upload-on').addEventListener('change', apply);
  byId('upload-limit').addEventListener('change', apply);
}

function watch(channel: string): void {
  const player = makePlayer(channel, { autoplay: '', controls: '' });
  setText(byId('title'), channel);
  showLinks(channel);
  connectUploadControls(player);
  player.addEventListener('cardumestate', ({ detail }) => setText(byId('state'), stateText(detail)));
  player.addEventListener('cardumechannel', ({ detail }) => showChannel(detail, player.state));
  player.addEventListener('cardumestats', ({ detail }) => showStats(detail, kind));
  player.addEventListener('cardumeerror', ({ detail }) => {
    if (detail.fatal) setText(byId('state'), detail.message);
  });
  byId('frame').append(player);
}

enableCopyButtons();
const channel = channelFromPath(location.pathname);
if (channel === undefined) {
  setText(byId('title'), 'No such channel');
  setText(byId('state'), 'This address names no channel. The list of channels is one click away, above.');
} else {
  watch(channel);
}
