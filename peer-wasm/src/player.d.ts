/** A channel, under the names of the tracker's JSON (`/v1/channels`). */
export interface Channel {
    readonly id: string;
    readonly title: string;
    /** A film is watched from its beginning to its end, by each viewer when it likes. */
    readonly kind: 'live' | 'film';
    /** Of a film, once the tracker has read it. */
    readonly duration_ms?: number | undefined;
    readonly is_live: boolean;
    readonly n_viewers: number;
    readonly target_latency_ms: number;
    /** Ed25519, 64 hexadecimal digits. */
    readonly public_key: string;
}

export interface PlayerOptions {
    /** The tracker's address: http or https. */
    readonly tracker: string;
    /** The channel's id. */
    readonly channel: string;
    /** Bits per second that may be uploaded; 0 for none, undefined to let the player find out. */
    readonly uploadLimit?: number | undefined;
    /** What {@link Stats.uplink} was the last time, bits per second; it is watched and corrected. */
    readonly uploadGuess?: number | undefined;
}

/**
 * `connecting`: the tracker has not been reached yet. `waiting`: nobody broadcasts on the channel, or its film
 * is not ready.
 * `buffering`: media comes, nothing has been seen yet. `playing`: it plays, or the viewer paused it.
 * `stalled`: the picture stopped for lack of media. `resting`: more viewers than the swarm can carry, and no room for this
 * one now; it plays by itself when there is. `reconnecting`: the tracker is away; it plays on.
 */
export type PlayerState =
  | 'connecting'
  | 'waiting'
  | 'buffering'
  | 'playing'
  | 'stalled'
  | 'resting'
  | 'reconnecting';

/**
 * Codes of errors. Of the tracker: `unknown_channel`, `version`, `bad_tracker` (fatal), `too_many`, `refused`.
 * Of the browser: `unsupported_browser`, `unsupported_media` (fatal), `unsupported_track`, `media` (fatal after some
 * repetitions), `quota_exceeded`, `autoplay_muted`, `autoplay_blocked`. Of the page: `invalid_options` (fatal).
 * Of ours: `internal` (fatal).
 */
export type ErrorCode =
    | 'unknown_channel' | 'version' | 'bad_tracker' | 'too_many' | 'refused'
    | 'unsupported_browser' | 'unsupported_media' | 'unsupported_track' | 'media' | 'quota_exceeded'
    | 'autoplay_muted' | 'autoplay_blocked' | 'invalid_options' | 'internal';

/** One of several pictures of the same broadcast. */
export interface Rendition {
    readonly id: number;
    /** Pixels; 0 when unknown. */
    readonly width: number;
    readonly height: number;
    /** Bits per second. */
    readonly bitrate: number;
}

export interface Renditions {
    /** The dearest first. Of a film only the one that it is shown in. */
    readonly renditions: readonly Rendition[];
    /** The id of the one that is shown, or about to be. */
    readonly shown: number | null;
    readonly chosen: number | 'auto';
}

export type PlayerEvent =
    | ({ readonly type: 'renditions' } & Renditions)
    | { readonly type: 'channel'; readonly channel: Channel }
    | { readonly type: 'state'; readonly state: PlayerState }
    | { readonly type: 'error'; readonly code: ErrorCode; readonly message: string; readonly fatal: boolean };

/** A neighbour whose link stands. */
export interface Neighbour {
    readonly peerId: string;
    readonly connected: boolean;
    /** Round trip; null before it is measured. */
    readonly rttMs: number | null;
    /** Bytes of media from it and to it. */
    readonly receivedLen: number;
    readonly sentLen: number;
    /** Stripes it pushes to us, and we to it. */
    readonly providesStripes: readonly number[];
    readonly childStripes: readonly number[];
}

export interface Stats {
    readonly state: PlayerState;
    /** 16 hexadecimal digits; empty before the tracker's welcome. */
    readonly peerId: string;
    /** The id that was asked for. */
    readonly channel: string;
    /** From capture to screen. */
    readonly latencyMs: number | null;
    readonly targetLatencyMs: number;
    /** Media ahead of the playhead, and the same as a share of the target latency, 0 to 100. */
    readonly bufferMs: number;
    readonly bufferPercent: number;
    /** From the player's making to the first picture, which may stand still until there is enough to play. */
    readonly firstPictureMs: number | null;
    /** From the player's making to the first moving picture. */
    readonly startupMs: number | null;
    readonly stalls: number;
    readonly stalledMs: number;
    readonly longestStallMs: number;
    /** Bytes of media. */
    readonly fromServerLen: number;
    readonly fromPeersLen: number;
    readonly sentLen: number;
    /** Bits per second that the uplink was found to bear; null before it was full once. */
    readonly uplink: number | null;
    /** 0 to 1. */
    readonly shareFromPeers: number;
    readonly rate: number;
    readonly trackerConnected: boolean;
    readonly serverLinked: boolean;
    readonly wrongBlocks: number;
    readonly duplicateLen: number;
    /** How wrong the tracker's clock may be known. */
    readonly clockErrorMs: number | null;
    readonly neighbours: readonly Neighbour[];
}
