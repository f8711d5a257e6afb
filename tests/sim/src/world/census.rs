//! How the swarm is built at a moment, for people who ask why a run went as it did.

use core::fmt::Write;
use std::collections::BTreeMap;

use cardume_swarm::{PathStats, Stats};
use cardume_wire::{PeerId, Stripe};

use super::{World, index_of};

impl World {
    /// Writes to standard error how the swarm is built, each time so many virtual seconds have passed.
    pub fn census_each(&mut self, seconds: u64) {
        self.census_interval = Some(seconds.max(1));
    }

    pub(super) fn census(&self, second: u64) {
        if self.census_interval.is_none_or(|interval| !second.is_multiple_of(interval)) {
            return;
        }
        let stats = |id: PeerId| {
            let node = &self.nodes[index_of(id)];
            (id, node.peer.stats(node.instant(self.now)))
        };
        let viewers: Vec<(PeerId, Stats)> = self.alive.sorted().into_iter().map(stats).collect();
        let slots: u32 = viewers.iter().map(|(_, stats)| stats.n_slots).sum();
        let used: u32 = viewers.iter().map(|(_, stats)| stats.n_children).sum();
        let n_started = viewers.iter().filter(|(_, stats)| stats.startup.is_some()).count();
        let (_, server) = stats(PeerId::SERVER);
        let mut text = format!(
            "{second} s: {} viewers, {n_started} started, {used} of {slots} slots used, server {} of {}",
            viewers.len(),
            server.n_children,
            server.n_slots
        );
        text.push_str(&by_depth(&viewers));
        for stripe in Stripe::all() {
            let _ = write!(text, "\n  {}", stripe_line(stripe, &viewers));
        }
        eprintln!("{text}");
    }
}

/// Median age of the stripes by how many viewers they come through.
fn by_depth(viewers: &[(PeerId, Stats)]) -> String {
    let mut ages: BTreeMap<usize, Vec<u128>> = BTreeMap::new();
    for path in viewers.iter().flat_map(|(_, stats)| &stats.paths) {
        ages.entry(path.depth).or_default().extend(path.age.map(|age| age.as_millis()));
    }
    let at_home = |depth: usize| {
        viewers.iter().filter(move |(id, stats)| {
            stats.n_slots > 0
                && stats.paths.iter().any(|path| path.stripe == id.home_stripe() && path.depth == depth)
        })
    };
    let mut text = String::from("\n  age p50 by depth:");
    for (depth, ages) in &mut ages {
        ages.sort_unstable();
        let slots: u32 = at_home(*depth).map(|(_, stats)| stats.n_slots).sum();
        let _ = write!(
            text,
            " {depth}: {} ms of {}, {} feed {slots};",
            ages.get(ages.len() / 2).copied().unwrap_or(0),
            ages.len(),
            at_home(*depth).count()
        );
    }
    text
}

fn stripe_line(stripe: Stripe, viewers: &[(PeerId, Stats)]) -> String {
    let path = |stats: &Stats| stats.paths.iter().find(|path| path.stripe == stripe).copied();
    let fed: Vec<(PeerId, PathStats)> =
        viewers.iter().filter_map(|(id, stats)| Some((*id, path(stats)?))).collect();
    let is_home = |id: PeerId| id.home_stripe() == stripe;
    let n_home = viewers.iter().filter(|(id, _)| is_home(*id)).count();
    let n_home_fed = fed.iter().filter(|(id, _)| is_home(*id)).count();
    let fed_at_home = viewers.iter().filter(|(id, stats)| is_home(*id) && path(stats).is_some());
    let free: u32 = fed_at_home.map(|(_, stats)| stats.n_slots.saturating_sub(stats.n_children)).sum();
    let by_server = fed.iter().filter(|(_, path)| path.provider.is_server()).count();
    let mut depths: Vec<u128> = fed.iter().map(|(_, path)| path.depth as u128).collect();
    let mut ages: Vec<u128> = fed.iter().filter_map(|(_, path)| Some(path.age?.as_millis())).collect();
    depths.sort_unstable();
    ages.sort_unstable();
    let at = |sorted: &[u128], percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0);
    format!(
        "stripe {}: {} fed, {by_server} by the server, at home {n_home_fed} of {n_home} with {free} free, depth p50 {} \
         max {}, age p50 {} p90 {} p99 {} ms",
        stripe.index(),
        fed.len(),
        at(&depths, 50),
        depths.last().copied().unwrap_or(0),
        at(&ages, 50),
        at(&ages, 90),
        at(&ages, 99)
    )
}
