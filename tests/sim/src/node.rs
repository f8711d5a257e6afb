//! One simulated participant: its peer, what it holds, its element, its access link.

use std::collections::{BTreeMap, BTreeSet};

use cardume_swarm::{Instant, Peer};
use cardume_wire::{PeerId, WallTime};

use crate::Manners;
use crate::broadcast::WALL_AT_START;
use crate::network::{Downlink, Uplink};
use crate::player::Player;
use crate::store::Store;

/// Distance between two samples of the latency.
const SAMPLE_INTERVAL: u64 = 500_000;
/// Samples begin this long after the start: first the rate mends what the start left over.
const SETTLING: u64 = 5_000_000;

/// A participant.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) peer: Peer,
    pub(crate) store: Store,
    pub(crate) player: Player,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    /// The links that stand, and which one each is.
    pub(crate) links: BTreeMap<PeerId, u64>,
    pub(crate) is_alive: bool,
    pub(crate) joined_at: u64,
    pub(crate) left_at: Option<u64>,
    pub(crate) manners: Manners,
    /// Viewers that told the tracker of wrong media from it.
    pub(crate) blamed_by: BTreeSet<PeerId>,
    /// Nothing is handled before.
    pub(crate) frozen_until: u64,
    /// The node's clock runs ahead of the world's by this much.
    pub(crate) clock_ahead: u64,
    /// What its estimate of the tracker's clock is wrong by.
    pub(crate) wall_error: i64,
    /// When its next timer fires, as far as it is set.
    pub(crate) timer_at: Option<u64>,
    /// Parts delivered last, by track: they come in order.
    pub(crate) delivered: BTreeMap<u8, (u32, u32)>,
    /// Backlogs last told.
    pub(crate) told_backlogs: BTreeMap<PeerId, usize>,
    pub(crate) latencies: Vec<u64>,
    sampled_at: u64,
}

/// How fast a node's access link is, bits per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Node {
    pub(crate) fn new(id: PeerId, peer: Peer, access: Access, now: u64) -> Self {
        Self {
            id,
            peer,
            store: Store::default(),
            player: Player::default(),
            uplink: Uplink::new(access.up),
            downlink: Downlink::new(access.down),
            links: BTreeMap::new(),
            is_alive: true,
            joined_at: now,
            left_at: None,
            manners: Manners::Honest,
            blamed_by: BTreeSet::new(),
            frozen_until: 0,
            clock_ahead: 0,
            wall_error: 0,
            timer_at: None,
            delivered: BTreeMap::new(),
            told_backlogs: BTreeMap::new(),
            latencies: Vec::new(),
            sampled_at: 0,
        }
    }

    /// The node's own time.
    pub(crate) fn instant(&self, now: u64) -> Instant {
        Instant::from_micros(now + self.clock_ahead)
    }

    /// The world's time of one of the node's own.
    pub(crate) fn world_time(&self, instant: Instant) -> u64 {
        instant.as_micros().saturating_sub(self.clock_ahead)
    }

    /// The tracker's clock as the node has it.
    pub(crate) fn wall(&self, now: u64) -> WallTime {
        WallTime((WALL_AT_START + now).saturating_add_signed(self.wall_error))
    }

    /// Notes the true latency now and then.
    pub(crate) fn sample_latency(&mut self, now: u64) {
        let has_settled = self.player.started_at().is_some_and(|at| now > at + SETTLING);
        if !has_settled || now < self.sampled_at + SAMPLE_INTERVAL {
            return;
        }
        self.sampled_at = now;
        if let Some(latency) = self.player.latency_us(WallTime(WALL_AT_START + now), now) {
            self.latencies.push(latency);
        }
    }
}
