/** The engine's vocabulary; its room owns it. */
export type {
  Channel,
  ErrorCode,
  Neighbour,
  PlayerEvent,
  PlayerOptions,
  PlayerState,
  Stats,
} from '../../../peer-wasm/src/player';
