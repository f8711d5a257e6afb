//! The event loop: virtual time, messages, timers, joins and departures.

use core::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use cardume_swarm::{BitsPerSec, CatalogFacts, Config, Input, Outgoing, Output, PartFacts, Peer};
use cardume_wire::link::Message;
use cardume_wire::{BlockId, BlockNumber, PeerId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::broadcast::{Broadcast, micros};
use crate::network::Packet;
use crate::node::{Access, Node};
use crate::report::Report;
use crate::store::Verdict;
use crate::{Incident, Scenario};

/// Headers around a message, as the swarm itself assumes.
const HEADER_LEN: usize = 32;
/// Between two looks of a viewer's shell at its element.
const PLAYER_INTERVAL: u64 = 100_000;
/// Between two corrections of a viewer's clock.
const CLOCK_INTERVAL: u64 = 10_000_000;
/// A data channel notices the death of the other end after so long.
const DEATH_NOTICED: u64 = 20_000_000;
/// ICE gives up after so long.
const CONNECT_FAILED: u64 = 6_000_000;
/// What the tracker takes for an answer.
const TRACKER: u64 = 40_000;
/// Peers the tracker names at a time.
const SUGGESTED: usize = 8;
/// The server's access link: its budget is the tighter limit.
const SERVER_ACCESS: Access = Access { up: 10_000_000_000, down: 10_000_000_000 };
/// Violations kept; the first ones tell the most.
const VIOLATION_LIMIT: usize = 20;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Virtual seconds passed.
    pub seconds: u64,
    /// Events so far.
    pub n_events: u64,
}

/// A simulated swarm.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    seed: u64,
    rng: ChaCha8Rng,
    now: u64,
    events: BinaryHeap<Scheduled>,
    n_scheduled: u64,
    n_events: u64,
    n_links: u64,
    pub(crate) nodes: Vec<Node>,
    broadcast: Option<Broadcast>,
    epoch: u32,
    catalog: Option<CatalogFacts>,
    parts: BTreeMap<(u32, u8, u32), PartFacts>,
    server_sent: VecDeque<(u64, usize)>,
    server_second: usize,
    pub(crate) busiest_second: usize,
    pub(crate) server_len: u64,
    /// Viewers that lost a provider by a silent death: since when, and whom.
    orphans: Vec<(PeerId, PeerId, u64)>,
    pub(crate) recoveries: Vec<u64>,
    pub(crate) violations: Vec<String>,
    traced: Option<PeerId>,
}

#[derive(Clone, Debug)]
enum Event {
    Join,
    Publish,
    Timer(PeerId),
    PlayerTick(PeerId),
    Clock(PeerId),
    UplinkDone(Box<Packet>),
    AtDownlink(Box<Packet>),
    Arrive(Box<Packet>),
    OpenLink(PeerId, PeerId),
    ConnectFailed(PeerId, PeerId),
    LinkClosed { at: PeerId, peer: PeerId, link: u64 },
    Suggest(PeerId, Vec<PeerId>),
    Churn,
    Incident(Incident),
    Broadcast,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    order: u64,
    event: Event,
}

impl World {
    /// A world at its begin.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let mut world = Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
            events: BinaryHeap::new(),
            n_scheduled: 0,
            n_events: 0,
            n_links: 0,
            nodes: Vec::new(),
            broadcast: None,
            epoch: 0,
            catalog: None,
            parts: BTreeMap::new(),
            server_sent: VecDeque::new(),
            server_second: 0,
            busiest_second: 0,
            server_len: 0,
            orphans: Vec::new(),
            recoveries: Vec::new(),
            violations: Vec::new(),
            traced: None,
            scenario,
        };
        world.prepare();
        world
    }

    /// Writes all that happens to this viewer (0 is the server) to standard error while it runs.
    pub fn trace(&mut self, viewer: u64) {
        self.traced = Some(PeerId::new(viewer));
    }

    /// Runs to the end and tells how it went; `progress` is called once for each virtual second.
    pub fn run(mut self, mut progress: impl FnMut(Progress)) -> Report {
        let end = micros(self.scenario.length);
        let mut second = 0;
        while let Some(scheduled) = self.events.pop() {
            if scheduled.at > end {
                break;
            }
            self.now = scheduled.at;
            self.n_events += 1;
            if self.now / 1_000_000 > second {
                second = self.now / 1_000_000;
                progress(Progress { seconds: second, n_events: self.n_events });
            }
            self.perform(scheduled.event);
        }
        self.now = end;
        Report::of(&mut self, end)
    }

    /// Events so far.
    pub(crate) fn n_events(&self) -> u64 {
        self.n_events
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn prepare(&mut self) {
        let server = self.server_node();
        self.nodes.push(server);
        self.drive(PeerId::SERVER);
        self.schedule(micros(self.scenario.broadcast_at), Event::Broadcast);
        let interval = micros(self.scenario.join_interval);
        for index in 0..self.scenario.n_viewers as u64 {
            let jitter = self.below(interval / 2);
            self.schedule(micros(self.scenario.join_at) + index * interval + jitter, Event::Join);
        }
        let joined = micros(self.scenario.join_at) + self.scenario.n_viewers as u64 * interval;
        let churn = micros(self.scenario.churn.interval);
        if churn > 0 {
            self.schedule(joined + churn, Event::Churn);
        }
        for (at, incident) in self.scenario.incidents.clone() {
            self.schedule(micros(at), Event::Incident(incident));
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Join => self.join(),
            Event::Publish => self.publish(),
            Event::Timer(id) => self.timer(id),
            Event::PlayerTick(id) => self.player_tick(id),
            Event::Clock(id) => self.clock(id),
            Event::UplinkDone(packet) => self.uplink_done(*packet),
            Event::AtDownlink(packet) => self.at_downlink(packet),
            Event::Arrive(packet) => self.arrive(*packet),
            Event::OpenLink(a, b) => self.open_link(a, b),
            Event::ConnectFailed(at, peer) => self.input(at, Input::ConnectFailed { peer }),
            Event::LinkClosed { at, peer, link } => self.link_closed(at, peer, link),
            Event::Suggest(id, peers) => self.input(id, Input::Suggested { peers }),
            Event::Churn => self.churn(),
            Event::Incident(incident) => self.incident(incident),
            Event::Broadcast => self.begin_broadcast(),
        }
    }

    fn server_node(&self) -> Node {
        let rate = self.scenario.video_rate + self.scenario.audio_rate;
        let budget = self.scenario.budget_percent.map(|percent| BitsPerSec(rate * percent / 100));
        let now = cardume_swarm::Instant::from_micros(self.now);
        let peer = Peer::new(Config::server(budget), self.seed, now);
        let mut node = Node::new(PeerId::SERVER, peer, SERVER_ACCESS, self.now);
        let wall = node.wall(self.now);
        node.peer.handle_input(Input::Clock { wall }, now);
        node
    }

    fn join(&mut self) {
        let id = PeerId::new(self.nodes.len() as u64);
        let up = self.percentile(self.scenario.uplinks);
        let clock_ahead = self.below(1_000_000_000);
        let error = micros(self.scenario.clock_error);
        let wall_error =
            i64::try_from(self.below(2 * error + 1)).unwrap_or(0) - i64::try_from(error).unwrap_or(0);
        let mut config = Config::viewer(id);
        config.uplink_limit = self.scenario.is_uplink_known.then_some(BitsPerSec(up));
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

    fn begin_broadcast(&mut self) {
        if !self.nodes[0].is_alive {
            return;
        }
        self.epoch += 1;
        let broadcast = Broadcast::new(&self.scenario, self.epoch, self.now);
        let catalog = broadcast.catalog();
        self.schedule(broadcast.next_at(), Event::Publish);
        self.broadcast = Some(broadcast);
        self.catalog = Some(catalog.clone());
        self.nodes[0].store.begin(catalog.epoch);
        self.input(PeerId::SERVER, Input::Catalog(catalog));
    }

    fn publish(&mut self) {
        let Some(broadcast) = &mut self.broadcast else { return };
        let parts = broadcast.next(&mut self.rng);
        let next_at = broadcast.next_at();
        self.schedule(next_at, Event::Publish);
        for part in parts {
            self.parts.insert((part.id.epoch.0, part.id.track.0, part.id.sequence), part);
            self.nodes[0].store.insert_part(&part);
            self.input(PeerId::SERVER, Input::Descriptor { from: None, part });
            for number in part.first_block.0..part.first_block.0 + part.n_blocks {
                let block =
                    BlockId { epoch: part.id.epoch, track: part.id.track, number: BlockNumber(number) };
                self.nodes[0].store.insert_block(PeerId::SERVER, block);
                self.input(PeerId::SERVER, Input::Block { from: None, block });
            }
        }
    }

    fn timer(&mut self, id: PeerId) {
        let now = self.now;
        let Some(node) = self.live(id) else { return };
        if node.timer_at != Some(now) {
            return;
        }
        node.timer_at = None;
        let instant = node.instant(now);
        node.peer.handle_timeout(instant);
        self.drive(id);
    }

    fn player_tick(&mut self, id: PeerId) {
        let now = self.now;
        let Some(node) = self.live(id) else { return };
        let state = node.player.state(now);
        node.sample_latency(now);
        self.input(id, Input::Player(state));
        self.tell_backlogs(id);
        self.note_recovery(id);
        self.schedule(now + PLAYER_INTERVAL, Event::PlayerTick(id));
    }

    fn clock(&mut self, id: PeerId) {
        let now = self.now;
        let is_up = self.nodes[0].is_alive;
        let Some(node) = self.live(id) else { return };
        let wall = node.wall(now);
        if is_up {
            self.input(id, Input::Clock { wall });
        }
        self.schedule(now + CLOCK_INTERVAL, Event::Clock(id));
    }

    fn input(&mut self, id: PeerId, input: Input) {
        let now = self.now;
        if std::env::var("T").is_ok_and(|t| t == id.number().to_string()) {
            eprintln!("{:.3} IN {input:?}", now as f64 / 1e6);
        }
        let Some(node) = self.live(id) else { return };
        let instant = node.instant(now);
        node.peer.handle_input(input, instant);
        self.drive(id);
    }

    /// Does all that a peer asks for, and arms its timer.
    fn drive(&mut self, id: PeerId) {
        let now = self.now;
        let index = index_of(id);
        while let Some(output) = self.nodes[index].peer.poll_output() {
            self.output(id, output);
        }
        let node = &mut self.nodes[index];
        let Some(timeout) = node.peer.poll_timeout() else { return };
        if timeout <= node.instant(now) {
            self.violate(format!("{id} asks for a timer in the past"));
            return;
        }
        let at = node.world_time(timeout);
        if node.timer_at.is_none_or(|set| at < set) {
            node.timer_at = Some(at);
            self.schedule(at, Event::Timer(id));
        }
    }

    fn output(&mut self, id: PeerId, output: Output) {
        let now = self.now;
        if std::env::var("T").is_ok_and(|t| t == id.number().to_string()) {
            eprintln!("{:.3} OUT {output:?}", now as f64 / 1e6);
        }
        match output {
            Output::Send { to, message } => self.send(id, to, message),
            Output::Deliver { part } => self.deliver(id, part),
            Output::Connect { peer } => self.connect(id, peer),
            Output::Disconnect { peer, .. } => self.close_link(id, peer),
            Output::Blame { peer } => self.violate(format!("{id} blames {peer}, who did no wrong")),
            Output::FindNeighbours { without } => {
                if self.nodes[0].is_alive {
                    let peers = self.suggestions(id, &without);
                    self.schedule(now + self.rtt(id, PeerId::SERVER) + TRACKER, Event::Suggest(id, peers));
                }
            }
            Output::Evict { track, before_sequence } => {
                self.nodes[index_of(id)].store.evict_before(track, before_sequence);
            }
            Output::SetRate(rate) => self.nodes[index_of(id)].player.set_rate(rate, now),
            Output::Seek { to_us } => self.nodes[index_of(id)].player.seek(to_us, now),
        }
    }

    fn send(&mut self, from: PeerId, to: PeerId, message: Outgoing) {
        let Some(&link) = self.nodes[index_of(from)].links.get(&to) else {
            return;
        };
        let len = self.message_len(from, &message) + HEADER_LEN;
        if from.is_server() {
            self.account_server(len);
        }
        let packet = Packet { from, to, link, message, len };
        if self.nodes[index_of(from)].uplink.push(packet) {
            self.start_uplink(from);
        }
    }

    fn start_uplink(&mut self, id: PeerId) {
        let now = self.now;
        if let Some((packet, time)) = self.nodes[index_of(id)].uplink.next() {
            self.schedule(now + time, Event::UplinkDone(Box::new(packet)));
        }
    }

    fn uplink_done(&mut self, packet: Packet) {
        let from = packet.from;
        if !self.nodes[index_of(from)].is_alive {
            return;
        }
        self.nodes[index_of(from)].uplink.done(packet.to, packet.len);
        let arrives_at = self.now + self.rtt(from, packet.to) / 2;
        self.schedule(arrives_at, Event::AtDownlink(Box::new(packet)));
        self.start_uplink(from);
    }

    fn at_downlink(&mut self, packet: Box<Packet>) {
        let through_at = self.nodes[index_of(packet.to)].downlink.take(packet.len, self.now);
        self.schedule(through_at, Event::Arrive(packet));
    }

    fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, link, message, len } = packet;
        let node = &self.nodes[index_of(to)];
        if !node.is_alive || node.links.get(&from) != Some(&link) {
            return;
        }
        match message {
            Outgoing::Control(control) => self.input(to, Input::Control { from, control }),
            Outgoing::Catalog => self.catalog_arrived(to),
            Outgoing::Descriptor(id) => {
                let part = self.parts.get(&(id.epoch.0, id.track.0, id.sequence)).copied();
                if let Some(part) = part {
                    self.descriptor_arrived(from, to, part);
                }
            }
            Outgoing::Block(block) => self.block_arrived(from, to, block, len - HEADER_LEN),
        }
    }

    fn catalog_arrived(&mut self, to: PeerId) {
        let now = self.now;
        let Some(catalog) = self.catalog.clone() else { return };
        let node = &mut self.nodes[index_of(to)];
        if node.store.epoch >= Some(catalog.epoch) {
            return;
        }
        node.store.begin(catalog.epoch);
        node.player.attach(catalog.tracks.len(), now);
        node.delivered.clear();
        self.input(to, Input::Catalog(catalog));
    }

    fn descriptor_arrived(&mut self, from: PeerId, to: PeerId, part: PartFacts) {
        if !self.nodes[index_of(to)].store.insert_part(&part) {
            return;
        }
        self.input(to, Input::Descriptor { from: Some(from), part });
        for (from, block) in self.nodes[index_of(to)].store.take_waiting(&part) {
            self.block_arrived(from, to, block, part.message_len(block.number));
        }
    }

    fn block_arrived(&mut self, from: PeerId, to: PeerId, block: BlockId, len: usize) {
        let input = match self.nodes[index_of(to)].store.insert_block(from, block) {
            Verdict::Verified => Input::Block { from: Some(from), block },
            Verdict::Useless => Input::BlockUseless { from, block, len },
            Verdict::Unverifiable => Input::BlockUnverifiable { from, block },
        };
        self.input(to, input);
    }

    fn deliver(&mut self, id: PeerId, part: cardume_media::PartId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        let last = node.delivered.insert(part.track.0, (part.epoch.0, part.sequence));
        let is_whole = node.store.is_whole(part);
        let facts = node.store.part(part).copied();
        if last.is_some_and(|last| last >= (part.epoch.0, part.sequence)) {
            self.violate(format!("{id} delivers {part:?} after {last:?}"));
        }
        if !is_whole {
            self.violate(format!("{id} delivers {part:?}, which is not whole"));
        }
        let follows = last.is_some_and(|last| last.0 == part.epoch.0 && last.1 + 1 == part.sequence);
        if let Some(facts) = facts {
            if !follows && !facts.is_independent {
                self.violate(format!("{id} goes on with {part:?}, which cannot be decoded alone"));
            }
            self.nodes[index_of(id)].player.append(&facts, now);
        }
    }

    fn connect(&mut self, from: PeerId, to: PeerId) {
        let is_there = self.nodes.get(index_of(to)).is_some_and(|node| node.is_alive);
        if !is_there || !self.is_connectable(from, to) || !self.nodes[0].is_alive {
            let wait = if is_there { CONNECT_FAILED } else { TRACKER * 3 };
            self.schedule(self.now + wait, Event::ConnectFailed(from, to));
            return;
        }
        // Offer and answer over the tracker, checks, DTLS, SCTP.
        let time =
            self.rtt(from, PeerId::SERVER) + self.rtt(to, PeerId::SERVER) + 3 * self.rtt(from, to) + TRACKER;
        self.schedule(self.now + time, Event::OpenLink(from, to));
    }

    fn open_link(&mut self, a: PeerId, b: PeerId) {
        let are_alive = self.nodes[index_of(a)].is_alive && self.nodes[index_of(b)].is_alive;
        if !are_alive || self.nodes[index_of(a)].links.contains_key(&b) {
            return;
        }
        self.n_links += 1;
        for (at, peer) in [(a, b), (b, a)] {
            self.nodes[index_of(at)].links.insert(peer, self.n_links);
        }
        for (at, peer) in [(a, b), (b, a)] {
            self.input(at, Input::LinkOpened { peer });
        }
    }

    /// Closes a link; the other end learns it when what was sent before has come.
    fn close_link(&mut self, id: PeerId, peer: PeerId) {
        let now = self.now;
        let backlog = self.nodes[index_of(id)].uplink.backlog(peer);
        let Some(link) = self.nodes[index_of(id)].links.remove(&peer) else { return };
        let rate_limited = backlog as u64 * 8_000_000 / 1_000_000;
        let at = now + self.rtt(id, peer) / 2 + rate_limited + 1_000;
        self.schedule(at, Event::LinkClosed { at: peer, peer: id, link });
    }

    fn link_closed(&mut self, at: PeerId, peer: PeerId, link: u64) {
        let node = &mut self.nodes[index_of(at)];
        if !node.is_alive || node.links.get(&peer) != Some(&link) {
            return;
        }
        node.links.remove(&peer);
        node.uplink.close(peer);
        self.input(at, Input::LinkClosed { peer });
    }

    fn leave(&mut self, id: PeerId) {
        self.input(id, Input::Leave);
        self.stop(id);
    }

    fn die(&mut self, id: PeerId) {
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
    fn stop(&mut self, id: PeerId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        node.player.state(now);
        node.is_alive = false;
        node.left_at = Some(now);
    }

    fn churn(&mut self) {
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

    fn incident(&mut self, incident: Incident) {
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

    fn return_server(&mut self) {
        self.nodes[0] = self.server_node();
        self.drive(PeerId::SERVER);
        for id in self.viewers() {
            let wait = self.below(1_500_000);
            self.schedule(self.now + wait, Event::OpenLink(id, PeerId::SERVER));
        }
        self.schedule(self.now + 1_000_000, Event::Broadcast);
    }

    fn feeder(&self) -> Option<PeerId> {
        let fed = |id: &PeerId| {
            let node = &self.nodes[index_of(*id)];
            node.peer.stats(node.instant(self.now)).n_children
        };
        self.viewers().into_iter().max_by_key(fed)
    }

    fn tell_backlogs(&mut self, id: PeerId) {
        let node = &self.nodes[index_of(id)];
        let backlogs: Vec<(PeerId, usize)> = node
            .links
            .keys()
            .map(|&peer| (peer, node.uplink.backlog(peer)))
            .filter(|(peer, len)| node.told_backlogs.get(peer).copied().unwrap_or(0) != *len)
            .collect();
        for (peer, len) in backlogs {
            self.nodes[index_of(id)].told_backlogs.insert(peer, len);
            self.input(id, Input::Backlog { peer, len });
        }
    }

    fn note_recovery(&mut self, id: PeerId) {
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

    fn account_server(&mut self, len: usize) {
        let now = self.now;
        self.server_len += len as u64;
        self.server_sent.push_back((now, len));
        self.server_second += len;
        while self.server_sent.front().is_some_and(|(at, _)| at + 1_000_000 <= now) {
            self.server_second -= self.server_sent.pop_front().map_or(0, |(_, len)| len);
        }
        self.busiest_second = self.busiest_second.max(self.server_second);
        let rate = self.scenario.video_rate + self.scenario.audio_rate;
        let second = self.server_second as u64 * 8;
        if self.scenario.budget_percent.is_some_and(|percent| second > rate * percent / 100) {
            self.violate(format!("the server sends {second} bits in a second"));
        }
    }

    fn message_len(&mut self, from: PeerId, message: &Outgoing) -> usize {
        let store = &self.nodes[index_of(from)].store;
        match message {
            Outgoing::Catalog => self.catalog.as_ref().map_or(0, |catalog| catalog.len),
            Outgoing::Control(control) => Message::Control(control.clone()).encode().len(),
            Outgoing::Descriptor(id) => store.part(*id).map_or(0, |part| part.descriptor_len),
            Outgoing::Block(block) => {
                let len = store.part_of(*block).map_or(0, |part| part.message_len(block.number));
                if !store.holds(*block) {
                    self.violate(format!("{from} sends {block:?}, which it does not hold"));
                }
                len
            }
        }
    }

    fn violate(&mut self, what: String) {
        if self.violations.len() < VIOLATION_LIMIT {
            self.violations.push(format!("{:.3} s: {what}", self.now as f64 / 1e6));
        }
    }

    /// Living viewers by rising id.
    fn viewers(&self) -> Vec<PeerId> {
        self.nodes.iter().skip(1).filter(|node| node.is_alive).map(|node| node.id).collect()
    }

    fn live(&mut self, id: PeerId) -> Option<&mut Node> {
        self.nodes.get_mut(index_of(id)).filter(|node| node.is_alive)
    }

    fn suggestions(&mut self, id: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let mut others: Vec<PeerId> =
            self.viewers().into_iter().filter(|peer| *peer != id && !without.contains(peer)).collect();
        let mut chosen = Vec::new();
        while chosen.len() < SUGGESTED && !others.is_empty() {
            let index = usize::try_from(self.below(others.len() as u64)).unwrap_or(0);
            chosen.push(others.swap_remove(index));
        }
        chosen
    }

    /// Round trip between two, the same for the whole run.
    fn rtt(&self, a: PeerId, b: PeerId) -> u64 {
        let mut rng = self.pair_rng(a, b, 1);
        percentile(self.scenario.round_trips, rng.next_u64() % 10_000)
    }

    fn is_connectable(&self, a: PeerId, b: PeerId) -> bool {
        let mut rng = self.pair_rng(a, b, 2);
        rng.next_u64() % 100 >= self.scenario.unconnectable_percent
    }

    fn pair_rng(&self, a: PeerId, b: PeerId, purpose: u64) -> ChaCha8Rng {
        let (low, high) = (a.min(b).number(), a.max(b).number());
        ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(31) ^ (low << 40) ^ (high << 16) ^ purpose)
    }

    fn percentile(&mut self, points: [u64; 5]) -> u64 {
        let at = self.below(10_000);
        percentile(points, at)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.n_scheduled += 1;
        self.events.push(Scheduled { at, order: self.n_scheduled, event });
    }
}

/// The value at a place of a distribution given by its 5th, 25th, 50th, 75th and 95th percentile; `at` of 10,000.
fn percentile(points: [u64; 5], at: u64) -> u64 {
    const PLACES: [u64; 5] = [500, 2_500, 5_000, 7_500, 9_500];
    let at = at.clamp(PLACES[0], PLACES[4]);
    let upper = PLACES.iter().position(|place| at <= *place).unwrap_or(4).max(1);
    let (from, to) = (PLACES[upper - 1], PLACES[upper]);
    let (low, high) = (points[upper - 1], points[upper]);
    low + (high - low) * (at - from) / (to - from)
}

fn index_of(id: PeerId) -> usize {
    usize::try_from(id.number()).unwrap_or(usize::MAX)
}

impl Ord for Scheduled {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}
