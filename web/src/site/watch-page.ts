/** The watch page at `/watch/CHANNEL`. It uses the published element and knows only its events. */
import type { CardumePlayer, ElementState } from '../element/cardume-player';
import type { Channel } from '../engine/types';
import { channelFromPath, embedSnippet } from './address';
import { byId, enableCopyButtons, setText } from './dom';
import { viewers } from './format';
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

function showChannel(channel: Channel): void {
  const title = channel.title || channel.id;
  setText(byId('title'), title);
  document.title = `${title} · Cardume`;
  const live = byId('live');
  live.dataset.live = String(channel.is_live);
  setText(live, channel.is_live ? 'Live' : 'Off air');
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
  player.addEventListener('cardumestate', ({ detail }) => setText(byId('state'), STATE_TEXT[detail]));
  player.addEventListener('cardumechannel', ({ detail }) => showChannel(detail));
  player.addEventListener('cardumestats', ({ detail }) => showStats(detail));
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
