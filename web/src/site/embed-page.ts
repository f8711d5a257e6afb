/** The bare player at `/embed/CHANNEL`, for frames. `?autoplay=0`, `?muted=0` and `?controls=0` switch those off. */
import { channelFromPath } from './address';
import { byId, make } from './dom';
import { makePlayer } from './player-on-page';

const SWITCHES = ['autoplay', 'muted', 'controls'];

const channel = channelFromPath(location.pathname);
const query = new URLSearchParams(location.search);
const attributes = Object.fromEntries(
  SWITCHES.filter((name) => query.get(name) !== '0').map((name) => [name, '']),
);
byId('frame').append(
  channel === undefined
    ? make('p', { style: 'color: #fff' }, 'This address names no channel.')
    : makePlayer(channel, attributes),
);
