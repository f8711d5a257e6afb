//! Who joins, leaves and dies.

use cardume_swarm::{BitsPerSec, Config, Input, Peer};
use cardume_wire::PeerId;
use rand_chacha::rand_core::Rng;

use super::{DEATH_NOTICED, Event, PLAYER_INTERVAL, SUGGESTED, World, index_of};
use crate::Incident;
use crate::broadcast::micros;
use crate::node::{Access, Node};

impl World {
    pub(super) fn join(&mut self) {
        let id = PeerId::new(self.nodes.len() as u64);
        let up = self.percentile(self.scenario.uplinks);
        let clock_ahead = self.below(1_000_000_000);
        let error = micros(self.scenario.clock_error);
        let wall_error =
            i64::try_from(self.below(2 * error + 1)).unwrap_or(0) - i64::try_from(error).unwrap_or(0);
        let mut config = Config::viewer(id);
        config.uplink_guess = self.scenario.is_uplink_known.then_some(BitsPerSec(up));
        let seed = self.rng.next_u64();
        let born = cardume_swarm::Instant::from_micros(self.now + clock_ahead);
        let peer = Peer::new(config, seed, born);
        let mut node = Node::new(id, peer, Access { up, down: self.scenario.downlink }, self.now);
        node.clock_ahead = clock_ahead;
        node.wall_error = wall_error;
        self.nodes.push(node);
        self.drive(id);
        let rtt = self.rtt(id, PeerId::SERVER);
        self.schedule(self.now + rtt, Event::Clock(id));
        self.schedule(self.now + rtt * 3 / 2, Event::OpenLink(id, PeerId::SERVER));
        let first_look = self.now + self.below(PLAYER_INTERVAL);
        self.schedule(first_look, Event::PlayerTick(id));
        let peers = self.suggestions(id, &[]);
        self.schedule(self.now + rtt, Event::Suggest(id, peers));
    }

    pub(super) fn leave(&mut self, id: PeerId) {
        self.input(id, Input::Leave);
        self.stop(id);
    }

    pub(super) fn die(&mut self, id: PeerId) {
        let now = self.now;
        let children: Vec<PeerId> = {
            let stats = self.nodes[index_of(id)].peer.stats(self.nodes[index_of(id)].instant(now));
            stats.neighbours.iter().filter(|n| !n.child_in.is_empty()).map(|n| n.peer).collect()
        };
        self.orphans.extend(children.into_iter().map(|child| (child, id, now)));
        let links: Vec<(PeerId, u64)> =
            self.nodes[index_of(id)].links.iter().map(|(&p, &l)| (p, l)).collect();
        for (peer, link) in links {
            // The tracker's side of a WebSocket is told by the operating system.
            let after =
                if id.is_server() || peer.is_server() { self.rtt(id, peer) / 2 } else { DEATH_NOTICED };
            self.schedule(now + after, Event::LinkClosed { at: peer, peer: id, link });
        }
        self.stop(id);
    }

    /// What a dead feeder's goodbye would carry still goes out; nothing else happens to the node.
    pub(super) fn stop(&mut self, id: PeerId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        node.player.state(now);
        node.is_alive = false;
        node.left_at = Some(now);
    }

    pub(super) fn churn(&mut self) {
        let interval = micros(self.scenario.churn.interval);
        let viewers = self.viewers();
        if viewers.is_empty() {
            return;
        }
        let index = usize::try_from(self.below(viewers.len() as u64)).unwrap_or(0);
        if self.below(100) < self.scenario.churn.silent_percent {
            self.die(viewers[index]);
        } else {
            self.leave(viewers[index]);
        }
        let wait = self.below(interval);
        self.schedule(self.now + wait, Event::Join);
        self.schedule(self.now + interval, Event::Churn);
    }

    pub(super) fn incident(&mut self, incident: Incident) {
        match incident {
            Incident::KillFeeder => self.feeder().into_iter().for_each(|id| self.die(id)),
            Incident::FeederLeaves => self.feeder().into_iter().for_each(|id| self.leave(id)),
            Incident::ServerDies => {
                self.broadcast = None;
                self.die(PeerId::SERVER);
            }
            Incident::ServerReturns => self.return_server(),
            Incident::Leave(n) => {
                let viewers = self.viewers();
                let last = viewers.into_iter().rev().take(n);
                last.for_each(|id| self.leave(id));
            }
            Incident::Join(n) => {
                for _ in 0..n {
                    let wait = self.below(2_000_000);
                    self.schedule(self.now + wait, Event::Join);
                }
            }
        }
    }

    pub(super) fn return_server(&mut self) {
        self.nodes[0] = self.server_node();
        self.drive(PeerId::SERVER);
        for id in self.viewers() {
            let wait = self.below(1_500_000);
            self.schedule(self.now + wait, Event::OpenLink(id, PeerId::SERVER));
        }
        self.schedule(self.now + 1_000_000, Event::Broadcast);
    }

    pub(super) fn feeder(&self) -> Option<PeerId> {
        let fed = |id: &PeerId| {
            let node = &self.nodes[index_of(*id)];
            node.peer.stats(node.instant(self.now)).n_children
        };
        self.viewers().into_iter().max_by_key(fed)
    }

    pub(super) fn note_recovery(&mut self, id: PeerId) {
        if !self.orphans.iter().any(|(orphan, ..)| *orphan == id) {
            return;
        }
        let node = &self.nodes[index_of(id)];
        let stats = node.peer.stats(node.instant(self.now));
        let now = self.now;
        let is_fed_by =
            |dead: PeerId| stats.neighbours.iter().any(|n| n.peer == dead && !n.provides.is_empty());
        let n_fed: usize = stats.neighbours.iter().map(|n| n.provides.len()).sum();
        let (over, open): (Vec<_>, Vec<_>) = core::mem::take(&mut self.orphans)
            .into_iter()
            .partition(|(orphan, dead, _)| *orphan == id && !is_fed_by(*dead) && n_fed == 4);
        self.orphans = open;
        self.recoveries.extend(over.into_iter().map(|(_, _, since)| now - since));
    }

    /// Living viewers by rising id.
    pub(super) fn viewers(&self) -> Vec<PeerId> {
        self.nodes.iter().skip(1).filter(|node| node.is_alive).map(|node| node.id).collect()
    }

    pub(super) fn suggestions(&mut self, id: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let mut others: Vec<PeerId> =
            self.viewers().into_iter().filter(|peer| *peer != id && !without.contains(peer)).collect();
        let mut chosen = Vec::new();
        while chosen.len() < SUGGESTED && !others.is_empty() {
            let index = usize::try_from(self.below(others.len() as u64)).unwrap_or(0);
            chosen.push(others.swap_remove(index));
        }
        chosen
    }
}
