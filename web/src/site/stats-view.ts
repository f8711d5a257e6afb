import type { Channel, Neighbour, Stats } from '../engine/types';
import { byId, make, reconcile, setText } from './dom';
import { byteLen, duration, share, stalls } from './format';

/** Digits of a peer id that tell neighbours apart at a glance. */
const SHORT_ID_LEN = 6;
/** Eighths of the stream, as many as the overlay deals blocks to. */
const STRIPES = [0, 1, 2, 3, 4, 5, 6, 7];

/** Shows the statistics on the watch page. */
export function showStats(stats: Stats, kind: Channel['kind']): void {
  setText(byId('latency'), duration(stats.latencyMs));
  // A film has no latency to fill the buffer for.
  const buffer = kind === 'film' ? duration(stats.bufferMs) : `${Math.round(stats.bufferPercent)} %`;
  setText(byId('buffer'), buffer);
  byId('buffer-meter', HTMLMeterElement).value = stats.bufferPercent;
  setText(byId('startup'), duration(stats.startupMs));
  setText(byId('stalls'), stats.startupMs === null ? '–' : stalls(stats.stalls, stats.stalledMs));
  showSources(stats);
  showNeighbours(stats.neighbours);
}

function showSources(stats: Stats): void {
  const hasAny = stats.fromPeersLen + stats.fromServerLen > 0;
  const split = byId('split');
  split.dataset.any = String(hasAny);
  split.style.setProperty('--share', String(hasAny ? stats.shareFromPeers : 0));
  split.setAttribute(
    'aria-label',
    hasAny
      ? `${share(stats.shareFromPeers)} from neighbours, ${share(1 - stats.shareFromPeers)} from the server`
      : 'Nothing received yet',
  );
  setText(byId('from-peers'), sourceText(stats.fromPeersLen, hasAny, stats.shareFromPeers));
  setText(byId('from-server'), sourceText(stats.fromServerLen, hasAny, 1 - stats.shareFromPeers));
  setText(byId('sent'), byteLen(stats.sentLen));
}

function sourceText(len: number, hasAny: boolean, part: number): string {
  return hasAny ? `${byteLen(len)} · ${share(part)}` : '–';
}

function showNeighbours(neighbours: readonly Neighbour[]): void {
  // Ids are hexadecimal: collation would cost a phone more than all the rest of the page.
  const rows = [...neighbours].sort((a, b) => (a.peerId < b.peerId ? -1 : 1));
  reconcile(byId('neighbours'), rows, {
    key: (neighbour) => neighbour.peerId,
    create: createRow,
    update: updateRow,
  });
  setText(byId('neighbour-count'), `(${rows.filter((neighbour) => neighbour.connected).length})`);
  byId('no-neighbours').hidden = rows.length > 0;
}

function createRow(): HTMLElement {
  const stripes = make('span', { class: 'stripes', role: 'img' }, ...STRIPES.map(() => make('i')));
  return make(
    'tr',
    {},
    make('th', { scope: 'row' }),
    make('td'),
    make('td'),
    make('td'),
    make('td', { class: 'live-only' }, stripes),
  );
}

function updateRow(row: HTMLElement, neighbour: Neighbour): void {
  const [peer, from, to, rtt] = [...row.children];
  if (!peer || !from || !to || !rtt) return;
  row.dataset.connected = String(neighbour.connected);
  peer.setAttribute('title', neighbour.peerId);
  setText(peer, neighbour.peerId.slice(0, SHORT_ID_LEN));
  setText(from, byteLen(neighbour.receivedLen));
  setText(to, byteLen(neighbour.sentLen));
  setText(rtt, duration(neighbour.rttMs));
  showStripes(row, neighbour.providesStripes);
}

function showStripes(row: HTMLElement, provided: readonly number[]): void {
  const stripes = row.querySelector('.stripes');
  if (!stripes) return;
  const label = provided.length === 0 ? 'nothing unasked' : `${provided.length} of ${STRIPES.length} eighths`;
  stripes.setAttribute('aria-label', label);
  STRIPES.forEach((stripe) => {
    stripes.children[stripe]?.setAttribute('data-on', String(provided.includes(stripe)));
  });
}
