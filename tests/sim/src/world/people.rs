//! Who joins, leaves and dies.

use std::collections::BTreeSet;

use cardume_swarm::{BitsPerSec, Config, Input, Peer};
use cardume_wire::{PeerId, STRIPE_COUNT};
use rand_chacha::rand_core::Rng;

use super::{
    DEATH_NOTICED, Event, PLAYER_INTERVAL, SUGGESTED, TRACKER, WELCOME_ROUND_TRIPS, World, index_of,
};
use crate::broadcast::micros;
use crate::node::{Access, Bereaved, Node, Orphaned};
use crate::{Incident, Manners, Spacing, What, Who};

/// Draws of somebody young before anybody will do.
const YOUNG_DRAWS: usize = 64;
/// Younger viewers than this are as likely to go as those of this age, microseconds.
const YOUNG_MIN: u64 = 1_000_000;
/// Joiners of an incident without an interval come within this time, microseconds.
const JOIN_WITHIN: u64 = 2_000_000;
/// Of those who die without a word so many are cut off by a dead cable or a sleeping machine, and nobody is told. Of the
/// others the operating system closes the tracker's socket. Wild guess.
const UNPLUGGED_PERCENT: u64 = 20;
/// A viewer that is blamed for wrong media is introduced to nobody for so long, microseconds; as in the tracker.
const SUSPECTED_FOR: u64 = 5_000_000;
/// Viewers learn within this time that the tracker is back, microseconds.
const RETURN_WITHIN: u64 = 1_500_000;

impl World {
    /// Schedules the viewers of the phases; returns when the last has come.
    pub(super) fn schedule_joins(&mut self) -> u64 {
        let mut at = micros(self.scenario.audience.join_at);
        for phase in self.scenario.audience.phases.clone() {
            let interval = micros(phase.interval);
            for _ in 0..phase.n {
                let wait = self.wait(interval, phase.spacing);
                match phase.spacing {
                    Spacing::Fixed => {
                        self.schedule(at + wait - interval, Event::Join);
                        at += interval;
                    }
                    Spacing::Exponential => {
                        at += wait;
                        self.schedule(at, Event::Join);
                    }
                }
            }
        }
        at
    }

    /// Time to the next event of a row: a whole interval and a jitter of up to half of it, or exponential.
    fn wait(&mut self, interval: u64, spacing: Spacing) -> u64 {
        match spacing {
            Spacing::Fixed => interval + self.below(interval / 2),
            Spacing::Exponential => self.exponential(interval),
        }
    }

    /// An exponentially distributed time with this mean, microseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "positive, and far below 2^52"
    )]
    pub(super) fn exponential(&mut self, mean: u64) -> u64 {
        let share = crate::chance::share(self.rng.next_u64());
        (-(1.0 - share).ln() * mean as f64) as u64
    }

    pub(super) fn join(&mut self) {
        let id = PeerId::new(self.nodes.len() as u64);
        let seed = self.rng.next_u64();
        let round_trip = self.rtt(id, PeerId::SERVER);
        let welcome_at = self.now + WELCOME_ROUND_TRIPS * round_trip;
        let node = self.new_node(id, seed, welcome_at);
        self.nodes.push(node);
        self.schedule(welcome_at - round_trip / 2, Event::Meet(id));
        self.schedule(welcome_at, Event::Welcome(id));
        if let Some((stay, is_silent)) = self.population().stay(id) {
            self.schedule(self.now + stay, Event::Depart { viewer: id, is_silent });
        }
    }

    /// The tracker knows the viewer: the link stands at the server's end, and what it says goes out behind the welcome.
    pub(super) fn meet(&mut self, id: PeerId) {
        if self.live(id).is_some()
            && self.nodes[0].is_alive
            && self.nodes[0].peer.takes_link(self.nodes[0].instant(self.now))
        {
            self.stand_link(id, PeerId::SERVER);
            self.input(PeerId::SERVER, Input::LinkOpened { peer: id });
        }
    }

    /// The viewer knows it too, and its session begins.
    pub(super) fn welcome(&mut self, id: PeerId) {
        if self.live(id).is_none() {
            return;
        }
        let peers = self.suggestions(id, &[]);
        self.alive.insert(id);
        self.drive(id);
        self.clock(id);
        self.input(id, Input::Suggested { peers });
        if self.nodes[index_of(id)].uplink.link(PeerId::SERVER).is_some() {
            self.input(id, Input::LinkOpened { peer: PeerId::SERVER });
        }
        let first_look = self.now + self.below(PLAYER_INTERVAL);
        self.schedule(first_look, Event::PlayerTick(id));
        self.schedule_freeze(id);
        self.schedule_dip(id);
        self.schedule_seek(id);
    }

    fn new_node(&self, id: PeerId, seed: u64, born_at: u64) -> Node {
        let population = self.population();
        let up = population.uplink(id);
        let manners = population.manners(id);
        let clock_ahead = population.clock_ahead(id);
        let guess = self.scenario.access.is_known.then_some(BitsPerSec(up));
        let config = Config {
            target_latency: self.scenario.stream.target_latency,
            uplink_limit: (manners == Manners::FreeRider).then_some(BitsPerSec(0)),
            uplink_guess: guess,
            ..Config::viewer(id)
        };
        let born = cardume_swarm::Instant::from_micros(born_at + clock_ahead);
        let access = Access { up, down: population.downlink(id) };
        let mut node = Node::new(id, Peer::new(config, seed, born), access, self.now);
        node.manners = manners;
        node.home = population.home(id);
        node.clock_ahead = clock_ahead;
        node.drift_ppm = population.drift_ppm(id);
        node.wall_error = population.wall_error(id);
        node
    }

    pub(super) fn leave(&mut self, id: PeerId) {
        self.input(id, Input::Leave);
        self.stop(id);
    }

    pub(super) fn die(&mut self, id: PeerId) {
        let now = self.now;
        self.orphan_children(id);
        let is_unplugged = !id.is_server() && self.below(100) < UNPLUGGED_PERCENT;
        let is_lost_already = self.nodes[index_of(id)].is_cut_off;
        let told_at = now + self.rtt(id, PeerId::SERVER) / 2;
        let links = self.nodes[index_of(id)].uplink.links();
        let links: Vec<(PeerId, u64)> = links.map(|(peer, link)| (peer, link.number)).collect();
        for (peer, link) in links {
            let is_told = (id.is_server() || peer.is_server()) && !is_unplugged;
            let at = if is_told { now + self.rtt(id, peer) / 2 } else { now + DEATH_NOTICED };
            self.schedule(at, Event::LinkClosed { at: peer, peer: id, link });
            if !peer.is_server() && !id.is_server() && !is_unplugged && !is_lost_already {
                let at = told_at + TRACKER + self.rtt(PeerId::SERVER, peer) / 2;
                self.schedule(at, Event::Doubt { at: peer, peer: id });
            }
        }
        self.stop(id);
    }

    /// The server peer doubts that a viewer lives.
    pub(super) fn spread_doubt(&mut self, id: PeerId) {
        let links = self.nodes[index_of(id)].uplink.links();
        let neighbours: Vec<PeerId> = links.map(|(peer, _)| peer).filter(|peer| !peer.is_server()).collect();
        for at in neighbours {
            let told_at = self.now + TRACKER + self.rtt(PeerId::SERVER, at) / 2;
            self.schedule(told_at, Event::Doubt { at, peer: id });
        }
    }

    /// The tracker tells those to whom it introduced the lost one.
    pub(super) fn doubt(&mut self, at: PeerId, peer: PeerId) {
        if self.has_tracker(at) && self.live(at).is_some() {
            self.input(at, Input::Doubted { peer });
        }
    }

    /// Those whom the dead one fed notice it by themselves; how long that takes is measured.
    fn orphan_children(&mut self, id: PeerId) {
        let now = self.now;
        let node = &self.nodes[index_of(id)];
        let fed = node.peer.stats(node.instant(now)).neighbours;
        for neighbour in fed.into_iter().filter(|neighbour| !neighbour.child_in.is_empty()) {
            let child = &mut self.nodes[index_of(neighbour.peer)];
            child.bereaved.push(Bereaved { dead: id, at: now });
            let orphaned =
                neighbour.child_in.into_iter().map(|stripe| Orphaned { stripe, dead: id, at: now });
            child.orphaned.extend(orphaned);
        }
    }

    /// What a dead feeder's goodbye would carry still goes out; nothing else happens to the node.
    fn stop(&mut self, id: PeerId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        node.player.state(now);
        self.judge(id);
        let node = &mut self.nodes[index_of(id)];
        node.is_alive = false;
        node.left_at = Some(now);
        self.alive.remove(id);
    }

    pub(super) fn churn(&mut self) {
        let Some(churn) = self.scenario.audience.churn.clone() else { return };
        let interval = micros(churn.interval);
        let victim = match churn.who {
            Who::Any => self.anyone(),
            Who::Young => self.somebody_young(),
        };
        if let Some(victim) = victim {
            let is_silent = self.below(100) < churn.silent_percent;
            self.go(victim, is_silent);
        }
        let arrival = self.below(interval);
        self.schedule(self.now + arrival, Event::Join);
        let wait = match churn.spacing {
            Spacing::Fixed => interval,
            Spacing::Exponential => self.exponential(interval),
        };
        self.schedule(self.now + wait, Event::Churn);
    }

    /// A viewer whose time is over; another takes its place.
    pub(super) fn depart(&mut self, viewer: PeerId, is_silent: bool) {
        if self.live(viewer).is_some() {
            self.go(viewer, is_silent);
            self.schedule(self.now, Event::Join);
        }
    }

    fn go(&mut self, viewer: PeerId, is_silent: bool) {
        if is_silent {
            self.die(viewer);
        } else {
            self.leave(viewer);
        }
    }

    fn anyone(&mut self) -> Option<PeerId> {
        let n = self.alive.len() as u64;
        let index = usize::try_from(self.below(n)).unwrap_or(0);
        self.alive.at(index)
    }

    /// Anyone, with a likelihood inverse to the time since joining.
    fn somebody_young(&mut self) -> Option<PeerId> {
        for _ in 0..YOUNG_DRAWS {
            let candidate = self.anyone()?;
            let age = self.now - self.nodes[index_of(candidate)].joined_at;
            if self.below(age.max(YOUNG_MIN)) < YOUNG_MIN {
                return Some(candidate);
            }
        }
        self.anyone()
    }

    pub(super) fn incident(&mut self, incident: &Incident) {
        match incident.what {
            What::KillFeeder => self.feeder().into_iter().for_each(|id| self.die(id)),
            What::FeederLeaves => self.feeder().into_iter().for_each(|id| self.leave(id)),
            What::ServerDies => {
                self.broadcast = None;
                self.die(PeerId::SERVER);
            }
            What::ServerReturns => self.return_server(),
            What::CutOff => self.cut_off_many(incident),
            What::Join => self.join_many(incident),
            What::Leave | What::Die => self.lose_many(incident),
        }
    }

    fn join_many(&mut self, incident: &Incident) {
        for index in 0..self.concerned(incident) as u64 {
            let interval = micros(incident.interval);
            let wait = if interval == 0 { self.below(JOIN_WITHIN) } else { index * interval };
            self.schedule(self.now + wait, Event::Join);
        }
    }

    fn cut_off_many(&mut self, incident: &Incident) {
        let mut left = self.alive.sorted();
        for _ in 0..self.concerned(incident).min(left.len()) {
            let index = usize::try_from(self.below(left.len() as u64)).unwrap_or(0);
            self.cut_off(left.swap_remove(index));
        }
    }

    /// The viewer's line to the tracker ends, and its neighbours that have theirs are told.
    fn cut_off(&mut self, id: PeerId) {
        self.nodes[index_of(id)].is_cut_off = true;
        self.close_link(PeerId::SERVER, id);
        self.input(PeerId::SERVER, Input::LinkClosed { peer: id });
        let neighbours: Vec<PeerId> = self.nodes[index_of(id)]
            .uplink
            .links()
            .map(|(peer, _)| peer)
            .filter(|peer| !peer.is_server())
            .collect();
        for at in neighbours {
            let told_at = self.now + TRACKER + self.rtt(PeerId::SERVER, at) / 2;
            self.schedule(told_at, Event::Doubt { at, peer: id });
        }
    }

    /// Whether the tracker is there for the viewer.
    pub(super) fn has_tracker(&self, id: PeerId) -> bool {
        self.nodes[0].is_alive && self.nodes.get(index_of(id)).is_some_and(|node| !node.is_cut_off)
    }

    fn lose_many(&mut self, incident: &Incident) {
        let n = self.concerned(incident);
        let is_silent = incident.what == What::Die;
        let mut victims: Vec<PeerId> = self.alive.iter().collect();
        victims.sort_unstable_by(|a, b| b.cmp(a));
        for index in 0..n.min(victims.len()) {
            if is_silent {
                let left = (victims.len() - index) as u64;
                let chosen = index + usize::try_from(self.below(left)).unwrap_or(0);
                victims.swap(index, chosen);
            }
            let at = self.now + index as u64 * micros(incident.interval);
            self.schedule(at, Event::Lose { viewer: victims[index], is_silent });
        }
    }

    /// A viewer that an incident takes, if it is still there.
    pub(super) fn lose(&mut self, viewer: PeerId, is_silent: bool) {
        if self.live(viewer).is_some() {
            self.go(viewer, is_silent);
        }
    }

    fn concerned(&self, incident: &Incident) -> usize {
        let share = |percent| self.alive.len() * usize::try_from(percent).unwrap_or(0) / 100;
        incident.n.or(incident.percent.map(share)).unwrap_or(0)
    }

    fn return_server(&mut self) {
        self.nodes[0] = self.server_node();
        self.drive(PeerId::SERVER);
        for id in self.alive.sorted() {
            let wait = self.below(RETURN_WITHIN);
            self.schedule(self.now + wait, Event::OpenLink(id, PeerId::SERVER));
        }
        self.schedule(self.now + 1_000_000, Event::Broadcast);
    }

    fn feeder(&self) -> Option<PeerId> {
        let fed = |id: &PeerId| {
            let node = &self.nodes[index_of(*id)];
            node.peer.stats(node.instant(self.now)).n_children
        };
        self.alive.sorted().into_iter().max_by_key(fed)
    }

    /// Measures how long a viewer took to replace providers that died.
    pub(super) fn note_recovery(&mut self, id: PeerId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        if node.bereaved.is_empty() {
            return;
        }
        let paths = node.peer.stats(node.instant(now)).paths;
        let has_all = paths.len() == usize::from(STRIPE_COUNT);
        let recoveries = &mut self.recoveries;
        node.bereaved.retain(|bereaved| {
            let is_over = has_all && paths.iter().all(|path| path.provider != bereaved.dead);
            if is_over {
                recoveries.push(now - bereaved.at);
            }
            !is_over
        });
    }

    /// Somebody tells the tracker of wrong media: an injustice unless it is a polluter.
    pub(super) fn blamed(&mut self, by: PeerId, peer: PeerId) {
        let Some(node) = self.nodes.get(index_of(peer)) else { return };
        if node.manners != Manners::Polluter {
            self.violate(&format!("{by} blames {peer}, who did no wrong"));
            return;
        }
        if !self.has_tracker(by) || self.is_evicted(by) || self.is_evicted(peer) {
            return;
        }
        let now = self.now;
        let node = &mut self.nodes[index_of(peer)];
        node.blamed_by.insert(by);
        node.blamed_at = Some(now);
        let is_evicted = node.is_evicted();
        for at in node.contacts.clone() {
            let told_at = now + TRACKER + self.rtt(PeerId::SERVER, at) / 2;
            self.schedule(told_at, Event::TellBlame { at, peer, is_evicted });
        }
        if is_evicted {
            self.close_link(PeerId::SERVER, peer);
            self.input(PeerId::SERVER, Input::LinkClosed { peer });
        }
    }

    /// Whom the tracker introduces to nobody: who is evicted, and for a while who is blamed.
    pub(super) fn is_shunned(&self, id: PeerId) -> bool {
        let since = self.nodes.get(index_of(id)).and_then(|node| node.blamed_at);
        self.is_evicted(id) || since.is_some_and(|at| self.now - at < SUSPECTED_FOR)
    }

    pub(super) fn is_evicted(&self, id: PeerId) -> bool {
        self.nodes.get(index_of(id)).is_some_and(Node::is_evicted)
    }

    /// Whom the tracker names to a viewer: others at random, and to an evicted one nobody.
    pub(super) fn suggestions(&mut self, id: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        if self.is_evicted(id) {
            return Vec::new();
        }
        let without: BTreeSet<PeerId> = without.iter().copied().chain([id]).collect();
        // So many draws find all that there are in a small swarm, nearly always.
        let n_draws = 8 * (SUGGESTED + without.len());
        let mut chosen = Vec::new();
        for _ in 0..n_draws {
            let Some(peer) = self.anyone() else { break };
            if self.has_tracker(peer)
                && !self.is_shunned(peer)
                && !without.contains(&peer)
                && !chosen.contains(&peer)
            {
                chosen.push(peer);
            }
            if chosen.len() == SUGGESTED {
                break;
            }
        }
        chosen
    }
}
