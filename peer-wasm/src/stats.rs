//! Statistics as the page's TypeScript knows them.

use core::time::Duration;

use cardume_swarm::{NeighbourStats, Stats};
use cardume_viewer::Facts;
use cardume_wire::{ChannelId, Stripe};
use js_sys::Array;
use wasm_bindgen::JsValue;

use crate::object::{ms, number, object};

/// The object that `Player.stats()` returns.
pub(crate) fn stats_to_js(stats: &Stats, facts: &Facts, channel: &ChannelId) -> JsValue {
    let since_made = |since_session: Option<Duration>| since_session.map(|time| time + facts.until_session);
    let neighbours = stats.neighbours.iter().filter(|neighbour| !neighbour.peer.is_server());
    object([
        ("state", facts.state.as_str().into()),
        ("peerId", facts.peer_id.map(|id| id.to_string()).unwrap_or_default().into()),
        ("channel", channel.as_str().into()),
        ("latencyMs", ms(stats.latency)),
        ("targetLatencyMs", ms(Some(stats.target_latency))),
        ("bufferMs", ms(Some(stats.buffer_ahead))),
        ("bufferPercent", buffer_percent(stats).into()),
        ("firstPictureMs", ms(since_made(stats.first_picture))),
        ("startupMs", ms(since_made(stats.startup))),
        ("stalls", stats.n_stalls.into()),
        ("stalledMs", ms(Some(stats.stalled))),
        ("longestStallMs", ms(Some(stats.longest_stall))),
        ("fromServerLen", number(stats.from_server_len)),
        ("fromPeersLen", number(stats.from_peers_len)),
        ("sentLen", number(stats.sent_len)),
        ("uplink", stats.uplink.map_or(JsValue::NULL, |rate| number(rate.0))),
        ("shareFromPeers", stats.share_from_peers().into()),
        ("rate", stats.rate.into()),
        ("trackerConnected", facts.is_tracker_connected.into()),
        ("serverLinked", facts.is_server_linked.into()),
        ("wrongBlocks", number(stats.n_wrong_blocks)),
        ("duplicateLen", number(stats.duplicate_len)),
        ("clockErrorMs", ms(facts.clock_error)),
        ("neighbours", neighbours.map(neighbour_to_js).collect::<Array>().into()),
    ])
}

/// Media ahead of the playhead as a share of the target latency, 0 to 100.
fn buffer_percent(stats: &Stats) -> f64 {
    if stats.target_latency.is_zero() {
        return 0.0;
    }
    (stats.buffer_ahead.div_duration_f64(stats.target_latency) * 100.0).min(100.0)
}

fn neighbour_to_js(neighbour: &NeighbourStats) -> JsValue {
    object([
        ("peerId", neighbour.peer.to_string().into()),
        ("connected", true.into()),
        ("rttMs", ms(neighbour.rtt)),
        ("receivedLen", number(neighbour.received_len)),
        ("sentLen", number(neighbour.sent_len)),
        ("providesStripes", stripes_to_js(&neighbour.provides)),
        ("childStripes", stripes_to_js(&neighbour.child_in)),
    ])
}

fn stripes_to_js(stripes: &[Stripe]) -> JsValue {
    stripes.iter().map(|stripe| JsValue::from(stripe.index())).collect::<Array>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_never_more_than_full() {
        let second = Duration::from_secs(1);
        let stats = |ahead| Stats { buffer_ahead: ahead, target_latency: second * 2, ..Stats::default() };
        assert!((buffer_percent(&stats(second)) - 50.0).abs() < 1e-9);
        assert!((buffer_percent(&stats(second * 9)) - 100.0).abs() < 1e-9);
        assert!(buffer_percent(&Stats::default()).abs() < 1e-9);
    }
}
