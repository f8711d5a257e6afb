/** The package's door for people who build their own pages: `attach` and the element. */

export { CardumePlayer, defineCardumePlayer, type ElementState } from './element/cardume-player';
export { type Attachment, type AttachOptions, attach } from './engine/attach';
export type { Channel, ErrorCode, Neighbour, PlayerEvent, PlayerState, Stats } from './engine/types';
