import type { CardumePlayer } from '../element/cardume-player';
import { make } from './dom';
import { limitAttribute, loadChoice } from './upload-choice';

/** A player for `channel` with the viewer's remembered upload choice; `embed.js` brings it to life. */
export function makePlayer(channel: string, attributes: Readonly<Record<string, string>>): CardumePlayer {
  const limit = limitAttribute(loadChoice());
  return make('cardume-player', {
    channel,
    ...attributes,
    ...(limit === undefined ? {} : { 'upload-limit': limit }),
  });
}
