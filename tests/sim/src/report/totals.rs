//! Sums over all viewers.

use super::{OnTime, Renditions, ServerReport, ViewerReport, at, mean, ratio};
use crate::Manners;
use crate::broadcast::{OTHERS, micros};
use crate::library::TRACK_COUNT;
use crate::shown::Shown;
use crate::world::World;

/// Contributors that were there for less, microseconds, say nothing about fairness.
const FAIRNESS_MIN: u64 = 10_000_000;

/// Sums over all viewers.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) played: u64,
    pub(super) stalled: u64,
    pub(super) from_peers: u64,
    pub(super) from_server: u64,
    pub(super) wasted: u64,
    pub(super) requested: u64,
    /// What each seek took, microseconds.
    pub(super) seeks: Vec<u64>,
    /// Blocks that were due, and those that were there.
    due: [u64; 2],
    /// Of each survivor of a mass death: the share of its blocks afterwards.
    survivors: Vec<f64>,
    /// Microseconds that viewers were there, and bits that their uplinks could have carried meanwhile.
    present: u64,
    could_upload: f64,
    /// Of each contributor: the share of its uplink that it used.
    used: Vec<f64>,
    /// Of each polluter: how many viewers got wrong blocks from it.
    harmed: Vec<usize>,
    /// Parts of each track that were shown.
    n_parts: [u64; TRACK_COUNT],
    /// Of these, those of the best picture that the downlink bore.
    n_best: u64,
    /// Of each viewer the share of the best.
    best: Vec<f64>,
    /// Of each viewer how often it switched, and microseconds played and stalled.
    switches: Vec<(usize, u64, u64)>,
}

impl Totals {
    pub(super) fn add(&mut self, world: &mut World, index: usize, end: u64) -> ViewerReport {
        let node = &mut world.nodes[index];
        let until = node.left_at.unwrap_or(end).min(end);
        if node.is_alive {
            node.player.state(until);
        }
        let stats = node.peer.stats(node.instant(until));
        let stalls = node.player.stalls(until);
        let stalled: u64 = stalls.iter().map(|(from, to)| to - from).sum();
        let played = node.player.played;
        let present = until.saturating_sub(node.joined_at);
        let uplink = node.uplink.rate();
        let uplink_used = ratio(stats.egress_len as f64 * 8e6, uplink as f64 * present as f64);
        self.seeks.extend(node.player.seeks(until));
        self.played += played;
        self.stalled += stalled;
        self.from_peers += stats.from_peers_len;
        self.from_server += stats.from_server_len;
        self.wasted += stats.duplicate_len;
        self.requested += stats.n_requested;
        for (all, its) in self.n_parts.iter_mut().zip(node.shown.n_parts) {
            *all += its;
        }
        self.n_best += node.shown.n_best;
        self.best.extend(share_of_best(&node.shown));
        self.switches.push((node.shown.n_switches, played, stalled));
        self.present += present;
        self.due[0] += u64::from(node.due.n);
        self.due[1] += u64::from(node.due.n_on_time);
        self.survivors.extend(node.due_after_failure.share());
        if node.manners == Manners::Honest {
            self.could_upload += uplink as f64 * present as f64 / 1e6;
            self.used.extend((present >= FAIRNESS_MIN).then_some(uplink_used));
        }
        if node.manners == Manners::Polluter {
            self.harmed.push(node.harmed.len());
        }
        let mut latencies = node.latencies.clone();
        latencies.sort_unstable();
        let latency = |percent| (!latencies.is_empty()).then(|| u64::from(at(&latencies, percent)) / 1000);
        let since_join = |moment: Option<u64>| moment.map(|moment| (moment - node.joined_at) / 1000);
        let (shown_at, started_at) = (node.player.first_frame_at(), node.player.started_at());
        ViewerReport {
            id: node.id.number(),
            manners: node.manners,
            seconds: present as f64 / 1e6,
            startup_ms: since_join(started_at),
            first_frame_ms: since_join(shown_at),
            still_ms: shown_at.zip(started_at).map(|(shown, started)| started.saturating_sub(shown) / 1000),
            n_stalls: stalls.len(),
            stalled_ms: stalled / 1000,
            longest_stall_ms: stalls.iter().map(|(from, to)| to - from).max().unwrap_or(0) / 1000,
            stalls_ms: stalls.iter().map(|(from, to)| (from / 1000, (to - from) / 1000)).collect(),
            continuity: ratio(played as f64, (played + stalled) as f64),
            on_time: node.due.share(),
            latency_ms: latency(50),
            latency_max_ms: latency(100),
            share_from_peers: stats.share_from_peers(),
            share_of_best: share_of_best(&node.shown),
            n_switches: node.shown.n_switches,
            downlink: node.downlink.rate(),
            uplink,
            uplink_used,
        }
    }

    /// What was shown, where there was something to choose.
    pub(super) fn renditions(&self, world: &World) -> Option<Renditions> {
        let stream = &world.scenario.stream;
        if stream.renditions.is_empty() {
            return None;
        }
        let others =
            self.n_parts.iter().skip(usize::from(OTHERS)).copied().zip(stream.renditions.iter().copied());
        let mut shown: Vec<(u64, u64)> =
            core::iter::once((self.n_parts[0], stream.video_rate())).chain(others).collect();
        shown.sort_by_key(|(_, rate)| core::cmp::Reverse(*rate));
        let n_all: u64 = shown.iter().map(|(n, _)| n).sum();
        let switchers = self.switches.iter().filter(|(n, ..)| *n > 0);
        let (n, played, stalled) = switchers
            .clone()
            .fold((0, 0, 0), |sum, (n, played, stalled)| (sum.0 + n, sum.1 + played, sum.2 + stalled));
        let watched = (self.played + self.stalled) as f64;
        Some(Renditions {
            shares: shown.into_iter().map(|(n, rate)| (rate, ratio(n as f64, n_all as f64))).collect(),
            best: ratio(self.n_best as f64, n_all as f64),
            mostly_best: ratio(
                self.best.iter().filter(|share| **share > 0.5).count() as f64,
                self.best.len() as f64,
            ),
            switches_per_hour: ratio(n as f64 * 3600e6, watched),
            switchers: ratio(switchers.count() as f64, self.switches.len() as f64),
            most_switches: self.switches.iter().map(|(n, ..)| *n).max().unwrap_or(0),
            switchers_stalled_s_per_hour: ratio(stalled as f64 * 3600.0, (played + stalled) as f64),
        })
    }

    pub(super) fn on_time(&self, judged: &[&ViewerReport]) -> OnTime {
        let share = |viewer: &ViewerReport| viewer.on_time.or(viewer.waited_in_vain().then_some(0.0));
        let at_least =
            |limit: f64| mean(judged, |v| share(v).map(|share| f64::from(u8::from(share >= limit))));
        let n_good = self.survivors.iter().filter(|share| **share >= 0.99).count();
        let survivors = ratio(n_good as f64, self.survivors.len() as f64);
        OnTime {
            blocks: ratio(self.due[1] as f64, self.due[0] as f64),
            viewers_at_99: at_least(0.99),
            viewers_at_99_5: at_least(0.995),
            survivors_at_99: (!self.survivors.is_empty()).then_some(survivors),
        }
    }

    pub(super) fn server(&self, world: &World, end: u64) -> ServerReport {
        let rate = world.scenario.stream.rate as f64;
        let seconds = end.saturating_sub(micros(world.scenario.audience.join_at)) as f64 / 1e6;
        let copies = |len: u64| ratio(len as f64 * 8.0, rate * seconds);
        let sent = world.measures.by_server;
        ServerReport {
            copies: copies(world.server_len),
            copies_peak: world.busiest_second as f64 * 8.0 / rate,
            copies_by_second: world
                .measures
                .seconds
                .iter()
                .map(|s| s.server_len as f64 * 8.0 / rate)
                .collect(),
            pushed: copies(sent.pushed),
            repair: copies(sent.repair),
            startup: copies(sent.startup),
            other: copies(sent.other),
            relayed: copies(world.relay.total_len),
            share_of_demand: ratio(world.server_len as f64 * 8.0, self.demand(world)),
        }
    }

    pub(super) fn resource_index(&self, world: &World) -> f64 {
        let n_mean = ratio(self.demand(world), world.scenario.stream.rate as f64);
        let seconds = world.scenario.length.saturating_sub(world.scenario.audience.join_at).as_secs_f64();
        let n_mean = ratio(n_mean, seconds);
        let budget = world.scenario.budget().unwrap_or(0) as f64;
        ratio(self.could_upload, self.demand(world))
            + ratio(budget, n_mean * world.scenario.stream.rate as f64)
    }

    /// Jain's index of the used shares of uplinks.
    pub(super) fn fairness(&self) -> f64 {
        let sum: f64 = self.used.iter().sum();
        let squares: f64 = self.used.iter().map(|share| share * share).sum();
        ratio(sum * sum, squares * self.used.len() as f64)
    }

    pub(super) fn seek_ms(&self) -> Option<[u64; 3]> {
        let mut seeks = self.seeks.clone();
        seeks.sort_unstable();
        (!seeks.is_empty()).then(|| [50, 95, 100].map(|percent| at(&seeks, percent) / 1000))
    }

    pub(super) fn harmed(&self) -> Option<[usize; 2]> {
        let mut harmed = self.harmed.clone();
        harmed.sort_unstable();
        (!harmed.is_empty()).then(|| [at(&harmed, 50), at(&harmed, 100)])
    }

    /// Bits that the viewers would have watched.
    fn demand(&self, world: &World) -> f64 {
        self.present as f64 / 1e6 * world.scenario.stream.rate as f64
    }
}

fn share_of_best(shown: &Shown) -> Option<f64> {
    let n = shown.n_pictures();
    (n > 0).then(|| ratio(shown.n_best as f64, n as f64))
}

/// Blocks on time in each second of the run.
pub(super) fn by_second(world: &World) -> Vec<Option<f64>> {
    let seconds = world.measures.seconds.iter();
    seconds.map(|second| (second.n_due > 0).then(|| second.n_on_time as f64 / second.n_due as f64)).collect()
}
