//! How a viewer fares, in the words of the browser's player (`peer-wasm/src/player.d.ts`).

use core::time::Duration;

use cardume_swarm::{NeighbourStats, Stats};
use cardume_viewer::Facts;
use cardume_wire::ChannelId;
use serde::Serialize;

/// A viewer as it is now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// What it does, in one word; see `PlayerState` there.
    pub state: &'static str,
    /// 16 hexadecimal digits; empty before the tracker's welcome.
    pub peer_id: String,
    /// The id that was asked for.
    pub channel: String,
    /// From capture to the imagined screen.
    pub latency_ms: Option<f64>,
    /// What the latency should be.
    pub target_latency_ms: f64,
    /// Media ahead of the playhead.
    pub buffer_ms: f64,
    /// From the viewer's making to the first picture that moves.
    pub startup_ms: Option<f64>,
    /// How often the picture stopped for lack of media.
    pub stalls: u32,
    /// For how long in all.
    pub stalled_ms: f64,
    /// Bytes of media from the server peer.
    pub from_server_len: u64,
    /// Bytes of media from neighbours.
    pub from_peers_len: u64,
    /// Bytes of media to neighbours.
    pub sent_len: u64,
    /// 0 to 1.
    pub share_from_peers: f64,
    /// Parts that were skipped because they came too late.
    pub skipped_parts: u64,
    /// Whether the tracker is there.
    pub tracker_connected: bool,
    /// Whether the link to the server peer stands.
    pub server_linked: bool,
    /// Blocks that their hash disproved; none of them was kept.
    pub wrong_blocks: u64,
    /// Bytes that came twice or too late.
    pub duplicate_len: u64,
    /// How wrong the tracker's clock may be known.
    pub clock_error_ms: Option<f64>,
    /// Those whose links stand, without the server peer.
    pub neighbours: Vec<NeighbourSnapshot>,
}

/// A neighbour whose link stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NeighbourSnapshot {
    /// 16 hexadecimal digits.
    pub peer_id: String,
    /// Round trip; none before it is measured.
    pub rtt_ms: Option<f64>,
    /// Bytes of media from it.
    pub received_len: u64,
    /// Bytes of media to it.
    pub sent_len: u64,
}

impl Snapshot {
    /// As the engine has it.
    pub(crate) fn new((stats, facts): &(Stats, Facts), channel: &ChannelId) -> Self {
        let since_made = |time: Option<Duration>| time.map(|time| ms(time + facts.until_session));
        let neighbours = stats.neighbours.iter().filter(|neighbour| !neighbour.peer.is_server());
        Self {
            state: facts.state.as_str(),
            peer_id: facts.peer_id.map(|id| id.to_string()).unwrap_or_default(),
            channel: channel.to_string(),
            latency_ms: stats.latency.map(ms),
            target_latency_ms: ms(stats.target_latency),
            buffer_ms: ms(stats.buffer_ahead),
            startup_ms: since_made(stats.startup),
            stalls: stats.n_stalls,
            stalled_ms: ms(stats.stalled),
            from_server_len: stats.from_server_len,
            from_peers_len: stats.from_peers_len,
            sent_len: stats.sent_len,
            share_from_peers: stats.share_from_peers(),
            skipped_parts: stats.n_skipped_parts,
            tracker_connected: facts.is_tracker_connected,
            server_linked: facts.is_server_linked,
            wrong_blocks: stats.n_wrong_blocks,
            duplicate_len: stats.duplicate_len,
            clock_error_ms: facts.clock_error.map(ms),
            neighbours: neighbours.map(NeighbourSnapshot::new).collect(),
        }
    }
}

impl NeighbourSnapshot {
    fn new(stats: &NeighbourStats) -> Self {
        Self {
            peer_id: stats.peer.to_string(),
            rtt_ms: stats.rtt.map(ms),
            received_len: stats.received_len,
            sent_len: stats.sent_len,
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
