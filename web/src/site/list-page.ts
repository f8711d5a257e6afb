/** The channel list at `/`. */
import type { Channel } from '../engine/types';
import { type FeedState, followChannels } from './channel-feed';
import { byId, enableCopyButtons, make, reconcile, setText } from './dom';
import { badge, viewers } from './format';

/** RTMP's port, until the tracker has said which one it has. */
const RTMP_PORT_DEFAULT = 1935;

function createRow(): HTMLElement {
  const link = make(
    'a',
    {},
    make('span', { class: 'title' }),
    make('span', { class: 'badge' }),
    make('span', { class: 'id' }),
    make('span', { class: 'viewers' }),
  );
  return make('li', {}, link);
}

function updateRow(row: HTMLElement, channel: Channel): void {
  const text = (selector: string, value: string): void => {
    const element = row.querySelector(selector);
    if (element) setText(element, value);
  };
  row.querySelector('a')?.setAttribute('href', `/watch/${encodeURIComponent(channel.id)}`);
  row.querySelector('.badge')?.setAttribute('data-live', String(channel.is_live));
  text('.title', channel.title || channel.id);
  text('.badge', badge(channel));
  text('.id', channel.id);
  text('.viewers', viewers(channel.n_viewers));
}

function emptyText(state: FeedState): string {
  if (state.kind === 'loading') return 'Loading…';
  if (state.channels.length === 0) {
    return state.kind === 'stale' ? '' : 'This tracker has no channels yet: its configuration names them.';
  }
  return state.channels.some((channel) => channel.is_live || channel.kind === 'film')
    ? ''
    : 'Nobody is broadcasting right now. A channel goes live here by itself as soon as somebody does; below is how.';
}

function show(state: FeedState): void {
  const list = byId('channels');
  const channels = state.kind === 'loading' ? [] : state.channels;
  reconcile(list, channels, { key: (channel) => channel.id, create: createRow, update: updateRow });
  list.dataset.stale = String(state.kind === 'stale');
  list.setAttribute('aria-busy', String(state.kind === 'loading'));
  setText(byId('empty'), emptyText(state));
  byId('offline').hidden = state.kind !== 'stale';
  setText(
    byId('offline'),
    state.kind === 'stale' ? 'The tracker cannot be reached. This list is as it last was; trying again…' : '',
  );
}

/** The tracker's RTMP port. */
async function rtmpPort(): Promise<number> {
  const response = await fetch('/v1/ingest');
  const message: unknown = response.ok ? await response.json() : undefined;
  const isTold = typeof message === 'object' && message !== null && 'rtmp_port' in message;
  return isTold && typeof message.rtmp_port === 'number' ? message.rtmp_port : RTMP_PORT_DEFAULT;
}

function showInstructions(port: number): void {
  const server = `rtmp://${location.hostname}${port === RTMP_PORT_DEFAULT ? '' : `:${port}`}/live`;
  setText(byId('rtmp-server'), server);
  setText(
    byId('ffmpeg'),
    `ffmpeg -re -i video.mp4 -c:v libx264 -preset veryfast -tune zerolatency -g 30 \\\n  -c:a aac -f flv ${server}/STREAM-KEY`,
  );
}

showInstructions(RTMP_PORT_DEFAULT);
rtmpPort().then(showInstructions, () => undefined);
enableCopyButtons();
show({ kind: 'loading' });
followChannels(show, new AbortController().signal);
