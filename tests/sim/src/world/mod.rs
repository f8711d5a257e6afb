//! The event loop: virtual time, messages, timers, joins and departures.

mod alive;
mod census;
mod dips;
mod film;
mod freezing;
mod geography;
mod invariants;
mod judging;
mod people;
mod relay;
mod traffic;

use std::collections::{BTreeMap, VecDeque};

use cardume_media::PartId;
use cardume_swarm::{BitsPerSec, CatalogFacts, Config, Input, Output, Peer};
use cardume_wire::{BlockId, BlockNumber, PeerId, Stripe, TrackId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use alive::Alive;
use relay::Relay;

use crate::broadcast::{Broadcast, micros};
use crate::library::Library;
use crate::measure::Measures;
use crate::network::Packet;
use crate::node::{Access, Node};
use crate::queue::Queue;
use crate::report::Report;
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
/// Where no UDP passes, a browser waits so long for it in vain before it goes to the relay by TCP (measured).
const UDP_AWAITED: u64 = 6_000_000;
/// Round trips between two viewers until data flows: one of ICE checks, two of DTLS 1.2, one of SCTP, whose second one
/// carries data already.
const CONNECT_ROUND_TRIPS: u64 = 4;
/// Round trips until a viewer's session begins: TCP, TLS 1.3, and the upgrade to a WebSocket, whose answer is followed by
/// the welcome and what the server peer says first. (TCP's slow start is not modelled.)
const WELCOME_ROUND_TRIPS: u64 = 3;
/// What follows sooner than this, microseconds, happens at once: one event less.
const INSTANT: u64 = 200;
/// A closed link is noticed this much later than the last message before it, microseconds.
const CLOSING: u64 = 1_000;
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
    events: Queue<Event>,
    n_events: u64,
    n_links: u64,
    pub(crate) nodes: Vec<Node>,
    alive: Alive,
    broadcast: Option<Broadcast>,
    epoch: u32,
    catalog: Option<CatalogFacts>,
    pub(crate) library: Library,
    pub(crate) measures: Measures,
    server_sent: VecDeque<(u64, usize)>,
    server_second: usize,
    pub(crate) busiest_second: usize,
    pub(crate) server_len: u64,
    pub(crate) relay: Relay,
    pub(crate) recoveries: Vec<u64>,
    pub(crate) violations: Vec<String>,
    traced: Option<PeerId>,
    census_interval: Option<u64>,
    /// Viewers that were above themselves at the last look, and at how many looks in a row.
    circles: BTreeMap<(PeerId, Stripe), u32>,
    /// When the survivors of a mass failure are judged.
    after_failure: Option<core::ops::Range<u64>>,
}

#[derive(Clone, Debug)]
enum Event {
    Join,
    Meet(PeerId),
    Welcome(PeerId),
    Publish,
    Timer(PeerId),
    PlayerTick(PeerId),
    Clock(PeerId),
    Uplink(PeerId),
    AtRelay(Box<Packet>),
    AtDownlink(Box<Packet>),
    Arrive(Box<Packet>),
    OpenLink(PeerId, PeerId),
    ConnectFailed(PeerId, PeerId),
    LinkClosed { at: PeerId, peer: PeerId, link: u64 },
    Doubt { at: PeerId, peer: PeerId },
    Blame { by: PeerId, peer: PeerId },
    TellBlame { at: PeerId, peer: PeerId, is_evicted: bool },
    Suggest(PeerId, Vec<PeerId>),
    Depart { viewer: PeerId, is_silent: bool },
    Lose { viewer: PeerId, is_silent: bool },
    Freeze(PeerId),
    Dip { viewer: PeerId, is_over: bool },
    Seek(PeerId),
    Churn,
    Incident(Incident),
    Broadcast,
}

impl World {
    /// A world at its begin.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let mut world = Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
            events: Queue::new(),
            n_events: 0,
            n_links: 0,
            nodes: Vec::new(),
            alive: Alive::default(),
            broadcast: None,
            epoch: 0,
            catalog: None,
            library: Library::default(),
            measures: Measures::default(),
            server_sent: VecDeque::new(),
            server_second: 0,
            busiest_second: 0,
            server_len: 0,
            relay: Relay::new(scenario.budget()),
            recoveries: Vec::new(),
            violations: Vec::new(),
            traced: None,
            census_interval: None,
            circles: BTreeMap::new(),
            after_failure: None,
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
        while let Some((at, event)) = self.events.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.n_events += 1;
            if self.now / 1_000_000 > second {
                second = self.now / 1_000_000;
                self.census(second);
                self.share_with_relay();
                self.check_circles();
                progress(Progress { seconds: second, n_events: self.n_events });
            }
            self.dispatch(event);
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
        self.schedule(micros(self.scenario.stream.begins_at), Event::Broadcast);
        self.note_failures();
        let joined = self.schedule_joins();
        if let Some(churn) = &self.scenario.audience.churn {
            let interval = micros(churn.interval);
            self.schedule(joined + interval, Event::Churn);
        }
        for incident in self.scenario.incidents.clone() {
            self.schedule(micros(incident.at), Event::Incident(incident));
        }
    }

    /// Performs an event now, or once its viewer thaws.
    fn dispatch(&mut self, event: Event) {
        match self.thaws_at(&event) {
            Some(thaw) => self.schedule(thaw, event),
            None => self.perform(event),
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Join => self.join(),
            Event::Meet(id) => self.meet(id),
            Event::Welcome(id) => self.welcome(id),
            Event::Publish => self.publish(),
            Event::Timer(id) => self.timer(id),
            Event::PlayerTick(id) => self.player_tick(id),
            Event::Clock(id) => self.clock(id),
            Event::Uplink(id) => self.uplink_free(id),
            Event::AtRelay(packet) => self.at_relay(packet),
            Event::AtDownlink(packet) => self.at_downlink(packet),
            Event::Arrive(packet) => self.arrive(*packet),
            Event::OpenLink(a, b) => self.open_link(a, b),
            Event::ConnectFailed(at, peer) => self.input(at, Input::ConnectFailed { peer }),
            Event::LinkClosed { at, peer, link } => self.link_closed(at, peer, link),
            Event::Doubt { at, peer } => self.doubt(at, peer),
            Event::Blame { by, peer } => self.blamed(by, peer),
            Event::TellBlame { at, peer, is_evicted } => {
                self.input(at, Input::Blamed { peer, is_evicted });
            }
            Event::Suggest(id, peers) => self.input(id, Input::Suggested { peers }),
            Event::Depart { viewer, is_silent } => self.depart(viewer, is_silent),
            Event::Lose { viewer, is_silent } => self.lose(viewer, is_silent),
            Event::Freeze(id) => self.freeze(id),
            Event::Dip { viewer, is_over } => self.dip(viewer, is_over),
            Event::Seek(id) => self.seek(id),
            Event::Churn => self.churn(),
            Event::Incident(incident) => self.incident(&incident),
            Event::Broadcast => self.begin_broadcast(),
        }
    }

    fn server_node(&self) -> Node {
        let budget = self.scenario.budget().map(BitsPerSec);
        let now = cardume_swarm::Instant::from_micros(self.now);
        let config = Config { target_latency: self.scenario.stream.target_latency, ..Config::server(budget) };
        let peer = Peer::new(config, self.seed, now);
        let mut node = Node::new(PeerId::SERVER, peer, SERVER_ACCESS, self.now);
        let wall = node.wall(self.now);
        node.peer.handle_input(Input::Clock { wall }, now);
        node
    }

    fn begin_broadcast(&mut self) {
        if !self.nodes[0].is_alive {
            return;
        }
        self.epoch += 1;
        let broadcast = Broadcast::new(&self.scenario.stream, self.epoch, self.now);
        if self.scenario.film.is_some() {
            self.begin_film(broadcast);
            return;
        }
        let catalog = broadcast.catalog();
        self.schedule(broadcast.next_at(), Event::Publish);
        self.broadcast = Some(broadcast);
        self.catalog = Some(catalog.clone());
        self.library.begin(catalog.epoch);
        self.nodes[0].store.begin(catalog.epoch);
        self.input(PeerId::SERVER, Input::Catalog(catalog));
    }

    fn publish(&mut self) {
        let Some(broadcast) = &mut self.broadcast else { return };
        let parts = broadcast.next(&mut self.rng);
        let next_at = broadcast.next_at();
        self.schedule(next_at, Event::Publish);
        for part in parts {
            self.library.publish(part, self.now);
            self.nodes[0].store.insert_part(&part);
            self.input(PeerId::SERVER, Input::Descriptor { from: None, part });
            for number in part.first_block.0..part.first_block.0 + part.n_blocks {
                let block =
                    BlockId { epoch: part.id.epoch, track: part.id.track, number: BlockNumber(number) };
                self.nodes[0].store.insert_block(PeerId::SERVER, block, Some(&part), true);
                self.input(PeerId::SERVER, Input::Block { from: None, block });
            }
        }
    }

    fn timer(&mut self, id: PeerId) {
        let now = self.now;
        let Some(node) = self.live(id) else { return };
        // A later one than what is set is of before; an earlier one waited for a thaw.
        if node.timer_at.is_none_or(|at| at > now) {
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
        self.judge(id);
        self.input(id, Input::Player(state));
        self.tell_backlogs(id);
        self.note_recovery(id);
        self.schedule(now + PLAYER_INTERVAL, Event::PlayerTick(id));
    }

    fn clock(&mut self, id: PeerId) {
        let now = self.now;
        let is_up = self.has_tracker(id);
        let Some(node) = self.live(id) else { return };
        let wall = node.wall(now);
        if is_up {
            self.input(id, Input::Clock { wall });
        }
        self.schedule(now + CLOCK_INTERVAL, Event::Clock(id));
    }

    fn input(&mut self, id: PeerId, input: Input) {
        let now = self.now;
        if self.traced == Some(id) {
            eprintln!("{now} in {input:?}");
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
            self.violate(&format!("{id} asks for a timer in the past"));
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
        if self.traced == Some(id) {
            eprintln!("{now} out {output:?}");
        }
        match output {
            Output::Send { to, message } => self.send(id, to, message),
            Output::Deliver { part } => self.deliver(id, part),
            Output::Connect { peer } => self.connect(id, peer),
            Output::Disconnect { peer, .. } => self.close_link(id, peer),
            Output::Blame { peer } => {
                self.schedule(now + self.rtt(id, PeerId::SERVER) / 2, Event::Blame { by: id, peer });
            }
            Output::Doubt { peer } => self.spread_doubt(peer),
            Output::FindNeighbours { without } => {
                if self.has_tracker(id) {
                    let peers = self.suggestions(id, &without);
                    self.schedule(now + self.rtt(id, PeerId::SERVER) + TRACKER, Event::Suggest(id, peers));
                }
            }
            Output::Forwarded { from, text } => self.introduced(id, from, &text),
            Output::Evict { track, before_sequence } => self.evict(id, track, before_sequence),
            Output::EvictPart { part } => self.nodes[index_of(id)].store.evict(part),
            Output::SetRate(rate) => self.nodes[index_of(id)].player.set_rate(rate, now),
            Output::Seek { to_us } => self.nodes[index_of(id)].player.seek(to_us, now),
        }
    }

    fn deliver(&mut self, id: PeerId, part: PartId) {
        let now = self.now;
        let node = &mut self.nodes[index_of(id)];
        let Some(delivered) = node.delivered.get_mut(usize::from(part.track.0)) else { return };
        let last = delivered.replace((part.epoch.0, part.sequence));
        let facts = self.library.part(part).map(|published| published.facts);
        let is_whole = facts.is_some_and(|facts| node.store.is_whole(&facts));
        let is_live = self.scenario.film.is_none();
        if is_live && last.is_some_and(|last| last >= (part.epoch.0, part.sequence)) {
            self.violate(&format!("{id} delivers {part:?} after {last:?}"));
        }
        if !is_whole {
            self.violate(&format!("{id} delivers {part:?}, which is not whole"));
        }
        let follows = last.is_some_and(|last| last.0 == part.epoch.0 && last.1 + 1 == part.sequence);
        if let Some(facts) = facts {
            self.show(id, part);
            if !follows && !facts.is_independent {
                self.violate(&format!("{id} goes on with {part:?}, which cannot be decoded alone"));
            }
            self.nodes[index_of(id)].player.append(&facts, now);
        }
    }

    fn show(&mut self, id: PeerId, part: PartId) {
        let node = &mut self.nodes[index_of(id)];
        node.shown.add(part);
        let best = self.broadcast.as_ref().map(|broadcast| broadcast.best_within(node.downlink.rate()));
        node.shown.n_best += u64::from(best == Some(part.track));
    }

    fn evict(&mut self, id: PeerId, track: TrackId, sequence: u32) {
        let store = &mut self.nodes[index_of(id)].store;
        if let Some(epoch) = store.epoch {
            store.evict_before(PartId { epoch, track, sequence });
        }
    }

    fn violate(&mut self, what: &str) {
        if self.violations.len() < VIOLATION_LIMIT {
            self.violations.push(format!("{} us: {what}", self.now));
        }
    }

    fn live(&mut self, id: PeerId) -> Option<&mut Node> {
        self.nodes.get_mut(index_of(id)).filter(|node| node.is_alive)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.events.push(at, event);
    }
}

fn index_of(id: PeerId) -> usize {
    usize::try_from(id.number()).unwrap_or(usize::MAX)
}
