/** The engine's vocabulary; its room owns it. */
export type {
  Channel,
  ErrorCode,
  Neighbour,
  PlayerEvent,
  PlayerOptions,
  PlayerState,
  Rendition,
  Renditions,
  Stats,
} from '../../../peer-wasm/src/player';
