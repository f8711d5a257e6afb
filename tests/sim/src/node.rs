//! One simulated participant: its peer, what it holds, its element, its access link.

use std::collections::{BTreeSet, VecDeque};

use cardume_media::PageId;
use cardume_swarm::{Instant, Peer};
use cardume_wire::{PeerId, Stripe, WallTime};

use crate::Manners;
use crate::broadcast::WALL_AT_START;
use crate::library::TRACK_COUNT;
use crate::map::Home;
use crate::network::{Downlink, Uplink};
use crate::player::Player;
use crate::shown::Shown;
use crate::store::Store;

/// Distance between two samples of the latency.
const SAMPLE_INTERVAL: u64 = 500_000;
/// Samples begin this long after the start: first the rate mends what the start left over.
const SETTLING: u64 = 5_000_000;

/// Different viewers that must blame a peer before the tracker introduces it to nobody any more and closes its link to the
/// server peer; as in the tracker.
const BLAME_LIMIT: usize = 2;

/// A participant.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) peer: Peer,
    pub(crate) store: Store,
    pub(crate) player: Player,
    /// Pages of a film's index that it has.
    pub(crate) pages: BTreeSet<PageId>,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    pub(crate) is_alive: bool,
    /// The tracker is out of its reach, or gone.
    pub(crate) is_cut_off: bool,
    pub(crate) joined_at: u64,
    pub(crate) left_at: Option<u64>,
    pub(crate) manners: Manners,
    /// Where it is on the map.
    pub(crate) home: Home,
    /// Viewers that told the tracker of wrong media from it, until it was evicted.
    pub(crate) blamed_by: BTreeSet<PeerId>,
    /// When it was last blamed.
    pub(crate) blamed_at: Option<u64>,
    /// Viewers that it was introduced to, the last ones.
    pub(crate) contacts: VecDeque<PeerId>,
    /// Viewers that got wrong media from it.
    pub(crate) harmed: BTreeSet<PeerId>,
    /// Nothing is handled before.
    pub(crate) frozen_until: u64,
    /// The node's clock runs ahead of the world's by this much.
    pub(crate) clock_ahead: u64,
    /// It runs fast by so many millionths.
    pub(crate) drift_ppm: i64,
    /// What its estimate of the tracker's clock is wrong by.
    pub(crate) wall_error: i64,
    /// When its next timer fires, as far as it is set.
    pub(crate) timer_at: Option<u64>,
    /// Parts delivered last, by track: they come in order.
    pub(crate) delivered: [Option<(u32, u32)>; TRACK_COUNT],
    /// Which rendition went to the element when.
    pub(crate) shown: Shown,
    /// Samples of the true latency, microseconds.
    pub(crate) latencies: Vec<u32>,
    /// Blocks whose deadline lay between its first moving picture and its end.
    pub(crate) due: Due,
    /// The same for the stretch after a mass failure.
    pub(crate) due_after_failure: Due,
    /// Stripes whose provider died silently, as long as nothing of them came from somebody else.
    pub(crate) orphaned: Vec<Orphaned>,
    /// Providers that died silently, as long as not all stripes have others.
    pub(crate) bereaved: Vec<Bereaved>,
    sampled_at: u64,
}

/// Blocks that were due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    pub(crate) n: u32,
    pub(crate) n_on_time: u32,
}

impl Due {
    pub(crate) fn add(&mut self, n: u32, n_on_time: u32) {
        self.n += n;
        self.n_on_time += n_on_time;
    }

    /// Share that was there in time; `None` when nothing was due.
    pub(crate) fn share(self) -> Option<f64> {
        (self.n > 0).then(|| f64::from(self.n_on_time) / f64::from(self.n))
    }
}

/// A stripe whose provider died silently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orphaned {
    pub(crate) stripe: Stripe,
    pub(crate) dead: PeerId,
    pub(crate) at: u64,
}

/// A provider that died silently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bereaved {
    pub(crate) dead: PeerId,
    pub(crate) at: u64,
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
            pages: BTreeSet::new(),
            uplink: Uplink::new(access.up),
            downlink: Downlink::new(access.down),
            is_alive: true,
            is_cut_off: false,
            joined_at: now,
            left_at: None,
            manners: Manners::Honest,
            home: Home::tracker(),
            blamed_by: BTreeSet::new(),
            blamed_at: None,
            contacts: VecDeque::new(),
            harmed: BTreeSet::new(),
            frozen_until: 0,
            clock_ahead: 0,
            drift_ppm: 0,
            wall_error: 0,
            timer_at: None,
            delivered: [None; TRACK_COUNT],
            shown: Shown::default(),
            latencies: Vec::new(),
            due: Due::default(),
            due_after_failure: Due::default(),
            orphaned: Vec::new(),
            bereaved: Vec::new(),
            sampled_at: 0,
        }
    }

    /// Whether the tracker introduces it to nobody any more.
    pub(crate) fn is_evicted(&self) -> bool {
        self.blamed_by.len() >= BLAME_LIMIT
    }

    /// The node's own time.
    pub(crate) fn instant(&self, now: u64) -> Instant {
        let drift = i64::try_from(now).unwrap_or(i64::MAX) / 1_000 * self.drift_ppm / 1_000;
        Instant::from_micros((now + self.clock_ahead).saturating_add_signed(drift))
    }

    /// When the node's clock shows this, or a little later.
    pub(crate) fn world_time(&self, instant: Instant) -> u64 {
        let shown = instant.as_micros().saturating_sub(self.clock_ahead);
        let drift = i64::try_from(shown).unwrap_or(i64::MAX) / 1_000 * self.drift_ppm / 1_000;
        let mut at = shown.saturating_add_signed(-drift);
        while self.instant(at) < instant {
            at += 1;
        }
        at
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
            self.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
        }
    }
}
