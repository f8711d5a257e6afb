/** How it goes with watching a channel. */
export type EngineState =
  | 'connecting'
  /** The channel is there, but nobody broadcasts on it. */
  | 'waiting'
  | 'buffering'
  | 'playing'
  | 'stalled'
  /** The tracker is away; what neighbours send plays on. */
  | 'reconnecting';

/** A channel as the tracker lists it. */
export interface Channel {
  readonly id: string;
  readonly title: string;
  readonly is_live: boolean;
  readonly n_viewers: number;
  readonly target_latency_ms: number;
  /** 64 hexadecimal digits. */
  readonly public_key: string;
}

/** One neighbour of this viewer. */
export interface Neighbour {
  /** 16 hexadecimal digits. */
  readonly peerId: string;
  readonly connected: boolean;
  readonly rttMs: number | null;
  readonly receivedLen: number;
  readonly sentLen: number;
  /** Stripes that this neighbour pushes to us. */
  readonly providesStripes: readonly number[];
  /** Stripes that we push to this neighbour. */
  readonly childStripes: readonly number[];
}

/** What the engine measured; lengths are in bytes and count media only. */
export interface Stats {
  readonly state: EngineState;
  readonly peerId: string;
  readonly channel: string;
  /** Capture to screen, on the tracker's clock. */
  readonly latencyMs: number | null;
  readonly targetLatencyMs: number;
  readonly bufferMs: number;
  /** Buffer ahead of the playhead in relation to its target, 0 to 100. */
  readonly bufferPercent: number;
  readonly startupMs: number | null;
  readonly stalls: number;
  readonly stalledMs: number;
  readonly longestStallMs: number;
  readonly fromServerLen: number;
  readonly fromPeersLen: number;
  readonly sentLen: number;
  /** 0 to 1. */
  readonly shareFromPeers: number;
  readonly rate: number;
  readonly trackerConnected: boolean;
  readonly serverLinked: boolean;
  /** Blocks that their descriptor disproved; none of them was played or passed on. */
  readonly wrongBlocks: number;
  readonly duplicateLen: number;
  readonly clockErrorMs: number | null;
  readonly neighbours: readonly Neighbour[];
}

/** What the engine tells. */
export type PlayerEvent =
  | { readonly type: 'channel'; readonly channel: Channel }
  | { readonly type: 'state'; readonly state: EngineState }
  | { readonly type: 'error'; readonly code: string; readonly message: string; readonly fatal: boolean };
