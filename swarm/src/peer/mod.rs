//! The state machine of one peer: records what happens, decides, says what to do.

mod admission;
mod arrivals;
mod children;
mod descriptors;
mod exchange;
mod first_picture;
mod links;
mod liveness;
mod ondemand;
mod playback;
mod providers;
mod referral;
mod renditions;
mod repair;
mod rest;
mod routes;
mod sending;
mod source;
mod status;
mod switching;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cardume_wire::link::Control;
use cardume_wire::{BlockNumber, PeerId, TrackId, TrackSet, WallTime};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use first_picture::Joining;
use renditions::Tuning;

use crate::directory::Directory;
use crate::film::Film;
use crate::neighbours::{Neighbours, is_allowed_before_hello};
use crate::pacer::Pacer;
use crate::playhead::Playhead;
use crate::stripes::Stripes;
use crate::time::micros;
use crate::uplink::UplinkEstimate;
use crate::uploads::{Claim, Uploads};
use crate::window::Window;
use crate::{CatalogFacts, Config, Input, Instant, NeighbourStats, Outgoing, Output, Phase, Role, Stats};

/// Between two looks at everything that only time changes: a quarter of the shortest reaction that is wanted.
const TICK: Duration = Duration::from_millis(50);
/// The same for a peer without links.
const TICK_ALONE: Duration = Duration::from_millis(500);
/// A tick this late means that we were suspended, not that all others fell silent.
const SUSPENDED: Duration = Duration::from_millis(200);
/// Bytes of a message for which the bucket of a limited uplink has to be deep enough, before the catalog is known.
const BURST_LEN: usize = 2 * (cardume_wire::link::BLOCK_LEN_LIMIT + cardume_wire::link::BLOCK_HEADER_LEN);

/// Bits per second of the server's budget for each link. Simulator, `realistic` with 10,000 viewers that come in 20 s, and 11
/// Mbit/s: with 1,000 links 97 % of blocks are on time, with 2,000 96 %, with 4,000 94 %, with all nothing gets through; with
/// 2,000 viewers 1,000 links are better than 2,000, too (measured before the bound below; with it, 96 %).
const LINK_RATE: u64 = 10_000;
/// Control may have one of so many parts of the budget while more links are taken: what a rush of joiners makes of it within a
/// second is more than media leaves room for. Simulator, `realistic` with 500 joins a second for 6 s, its first 9 s: without
/// this the server's busiest second has 10.8 copies of 10 and 57 % of the blocks are on time; with 1/16, 1/22 and 1/33 10.0, 9.9
/// and 9.8 copies, and 62, 70 and 67 %. It has a price where the budget is small: in `e1-flash` (220 viewers, 4 seeds) 97.8
/// instead of 99.4 % of the viewers have 99 % on time.
const LINK_CONTROL_PARTS: u64 = 22;
/// A small swarm is linked as a whole.
const LINKS_MIN: u64 = 64;

/// When the recurring duties are due.
#[derive(Clone, Copy, Debug)]
struct Due {
    tick_at: Instant,
    last_tick: Instant,
    status_at: Instant,
    tell_at: Instant,
    uploads_at: Instant,
    evict_at: Instant,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    from_server_len: u64,
    from_peers_len: u64,
    sent_len: u64,
    egress_len: u64,
    control_sent_len: u64,
    duplicate_len: u64,
    n_wrong_blocks: u64,
    n_skipped_parts: u64,
    n_requested: u64,
}

/// A peer of the swarm, viewer or server. Names media, never touches its bytes; knows no clock and no socket.
///
/// Handlers cannot fail. After each call drain [`Peer::poll_output`]; then [`Peer::poll_timeout`] lies in the future.
#[derive(Clone, Debug)]
pub struct Peer {
    config: Config,
    rng: ChaCha8Rng,
    born_at: Instant,
    /// The tracker's clock at one of our moments.
    wall: Option<(WallTime, Instant)>,
    neighbours: Neighbours,
    window: Window,
    /// What is on, if it is a film; all that is live has nothing to do then.
    film: Option<Film>,
    /// Where in a film the viewer goes, as long as nothing is there.
    sought: Option<u64>,
    /// Who pushes what is watched to us.
    stripes: Stripes,
    /// The same of the tracks that are coming or leaving, during a switch.
    side: Option<Stripes>,
    /// What goes to the player.
    playing: TrackSet,
    /// What one slot of our uplink is meant for.
    slot_tracks: TrackSet,
    tuning: Tuning,
    uploads: Uploads,
    /// The server's view of viewers with room.
    directory: Directory,
    /// Of a viewer; the server's egress is limited by its budget alone.
    uplink: UplinkEstimate,
    pacer: Pacer,
    playhead: Playhead,
    /// Descriptors asked for: of whom, and when to ask again.
    asked_descriptors: BTreeMap<(TrackId, BlockNumber), (PeerId, Instant)>,
    /// Blocks that wait in the session for their descriptor, and since when.
    unverifiable: BTreeMap<(TrackId, BlockNumber), (PeerId, Instant)>,
    /// When a child was last made to give way to a better one.
    redirected_at: Option<Instant>,
    /// What neighbours were last told of our place.
    told: Option<Control>,
    /// The same of the server, which is told sooner.
    told_server: Option<Control>,
    /// Who tried another rendition at the server last, and when.
    trial: Option<(PeerId, Instant)>,
    /// Where the timeline of this broadcast begins for us, and since when.
    timeline: Option<(u64, Instant)>,
    joining: Joining,
    /// Whether the server has no room for us.
    rests: bool,
    /// Whether the server lacks its source.
    is_cut_off: bool,
    rest_watch: rest::Watch,
    /// Consecutive looks at the uplink that found it congested.
    n_congested: u32,
    due: Due,
    next_send_at: Option<Instant>,
    counts: Counts,
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer without links. Equal seeds and inputs give equal outputs.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let due = Due {
            tick_at: now + TICK_ALONE,
            last_tick: now,
            status_at: now,
            tell_at: now,
            uploads_at: now,
            evict_at: now,
        };
        let mut pacer = Pacer::new(config.uplink_limit, BURST_LEN, now);
        let uplink = UplinkEstimate::new(config.uplink_guess, now);
        if config.role == Role::Viewer {
            pacer.set_estimate(uplink.rate(), BURST_LEN, now);
        }
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            born_at: now,
            wall: None,
            neighbours: Neighbours::new(now),
            window: Window::default(),
            film: None,
            sought: None,
            stripes: Stripes::new(TrackSet::ALL),
            side: None,
            playing: TrackSet::ALL,
            slot_tracks: TrackSet::ALL,
            tuning: Tuning::new(now),
            uploads: Uploads::default(),
            uplink,
            directory: Directory::default(),
            pacer,
            playhead: Playhead::new(config.target_latency, now),
            asked_descriptors: BTreeMap::new(),
            unverifiable: BTreeMap::new(),
            redirected_at: None,
            told: None,
            told_server: None,
            trial: None,
            timeline: None,
            joining: Joining::default(),
            rests: false,
            is_cut_off: false,
            rest_watch: rest::Watch::default(),
            n_congested: 0,
            due,
            next_send_at: None,
            counts: Counts::default(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.record(input, now);
        if now >= self.due.tick_at {
            self.tick(now);
        }
        self.send_due(now);
    }

    /// Does what only time asks for; early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.due.tick_at {
            self.tick(now);
        }
        self.send_due(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Peer::handle_timeout`]; `None` is never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tick_at = self.due.tick_at;
        Some(self.next_send_at.map_or(tick_at, |at| at.min(tick_at)))
    }

    /// Whether a link to this peer stands, as far as we know.
    pub fn has_link(&self, peer: PeerId) -> bool {
        self.neighbours.get(peer).is_some()
    }

    /// Whether the server should take another viewer's link. Control alone costs so much that with very many it would be all
    /// that the budget has room for; who is not linked lives by its neighbours, which the tracker names. Of a film viewers
    /// need the server for what no neighbour has.
    pub fn takes_link(&self, now: Instant) -> bool {
        let Some(limit) = self.config.uplink_limit.filter(|_| self.film.is_none()) else { return true };
        let n_links = self.neighbours.n_peers() as u64;
        let bears_more = n_links < limit.0 / LINK_RATE;
        n_links < LINKS_MIN || (bears_more && self.pacer.has_little_control(LINK_CONTROL_PARTS, now))
    }

    /// How it fares.
    pub fn stats(&self, now: Instant) -> Stats {
        let stalls = self.playhead.stalls(now);
        Stats {
            phase: self.phase(),
            latency: self.playhead.latency(self.wall_us(now), now),
            target_latency: self.playhead.target(),
            buffer_ahead: self.playhead.ahead(now),
            first_picture: self.playhead.seen_at().map(|at| at.since(self.born_at)),
            startup: self.playhead.started_at().map(|at| at.since(self.born_at)),
            n_stalls: stalls.n,
            stalled: stalls.total,
            longest_stall: stalls.longest,
            rate: self.playhead.rate(),
            from_server_len: self.counts.from_server_len,
            from_peers_len: self.counts.from_peers_len,
            sent_len: self.counts.sent_len,
            egress_len: self.counts.egress_len,
            control_sent_len: self.counts.control_sent_len,
            duplicate_len: self.counts.duplicate_len,
            n_wrong_blocks: self.counts.n_wrong_blocks,
            n_skipped_parts: self.counts.n_skipped_parts,
            n_requested: self.counts.n_requested,
            tracks: self.playing,
            n_switches: self.tuning.n_switches(),
            uplink: self.uplink.found(),
            n_slots: u32::try_from(self.n_slots()).unwrap_or(u32::MAX),
            n_children: u32::try_from(self.uploads.n_used()).unwrap_or(u32::MAX),
            paths: self.stripes.paths(),
            neighbours: self.neighbour_stats(),
        }
    }

    fn phase(&self) -> Phase {
        match self.window.epoch() {
            None => Phase::Waiting,
            Some(_) if self.rests => Phase::Resting,
            Some(_) => self.playhead.phase(),
        }
    }

    fn neighbour_stats(&self) -> Vec<NeighbourStats> {
        let stats = self.neighbours.iter().map(|(peer, neighbour)| NeighbourStats {
            peer,
            rtt: neighbour.rtt,
            received_len: neighbour.received_len,
            sent_len: neighbour.sent_len,
            provides: self.stripes.provided_by(peer),
            child_in: self.uploads.stripes_of(peer),
        });
        stats.collect()
    }

    fn record(&mut self, input: Input, now: Instant) {
        let Some(input) = self.record_on_demand(input, now) else { return };
        match input {
            Input::LinkOpened { peer } => self.on_link_opened(peer, now),
            Input::Route { peer, route } => self.on_route(peer, route, now),
            Input::LinkClosed { peer } => self.on_link_closed(peer, now),
            Input::ConnectFailed { peer } => self.neighbours.fail(peer, now),
            Input::Suggested { peers } => self.on_suggested(&peers, now),
            Input::Control { from, control } => self.on_control(from, control, now),
            Input::Catalog(catalog) => self.on_catalog(catalog, now),
            Input::Descriptor { from, part } => self.on_descriptor(from, part, now),
            Input::Index { .. } => {}
            Input::Block { from, block } => self.on_block(from, block, now),
            Input::BlockUseless { from, block, len } => self.on_useless_block(from, block, len, now),
            Input::BlockUnverifiable { from, block } => self.on_unverifiable_block(from, block, now),
            Input::Offence { from, kind } => self.on_offence(from, kind, now),
            Input::Backlog { peer, len } => self.on_backlog(peer, len),
            Input::Forward { to, text } => self.forward(to, text, now),
            Input::Doubted { peer } => self.on_doubted(peer, now),
            Input::Blamed { peer, is_evicted } => self.on_blamed(peer, is_evicted, now),
            Input::Clock { wall } => self.wall = Some((wall, now)),
            Input::Player(state) => {
                self.playhead.set_player(state, now);
                self.play(now);
            }
            Input::Select { kind, track } => self.select(kind, track, now),
            Input::TargetLatency(latency) => self.playhead.set_target(latency),
            Input::UplinkLimit(limit) => {
                self.config.uplink_limit = limit;
                self.pacer.set_limit(limit, self.burst_len(), now);
            }
            Input::CutOff => self.on_cut_off(now),
            Input::Leave => self.leave(now),
        }
    }

    fn on_control(&mut self, from: PeerId, control: Control, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        neighbour.heard_at = now;
        let is_relayed = neighbour.is_relayed();
        if !neighbour.is_greeted && !is_allowed_before_hello(&control) {
            return;
        }
        match control {
            Control::Hello { version, epoch } => self.on_hello(from, version, epoch, now),
            Control::Subscribe { stripe, tracks, slots, is_starving, from_us } => {
                // What it gets from us costs the server as much as what we get, whomever it feeds.
                let claim = if is_relayed { Claim::Idle } else { Claim::of(from, slots, stripe) };
                let ask = admission::Ask { stripe, tracks, slots, claim, is_starving, from_us };
                self.on_subscribe_to_any(from, ask, now);
            }
            Control::Accept { stripe, path } => {
                self.in_lanes_of(from, stripe, |peer| peer.on_accept(from, stripe, path.clone(), now));
            }
            Control::Refuse { stripe, hints } => {
                self.in_lanes_of(from, stripe, |peer| peer.on_refuse(from, stripe, &hints, now));
            }
            Control::Unsubscribe { stripe } => self.on_unsubscribe(from, stripe),
            Control::Have { epoch, tracks } => self.on_have(from, epoch, &tracks),
            Control::Request { blocks, within_ms } => self.on_request(from, &blocks, within_ms, now),
            Control::Cancel { blocks } => self.on_cancel(from, &blocks),
            Control::Missing { blocks } => self.on_missing(from, &blocks, now),
            Control::RequestDescriptor { block } => self.on_request_descriptor(from, block, now),
            Control::Ping { sent_at } => self.send_control(from, Control::Pong { sent_at }, now),
            Control::Pong { sent_at } => self.on_pong(from, sent_at, now),
            Control::Rest { rests } => self.on_rest(from, rests, now),
            Control::Doubt { peer } => self.on_doubt(peer, now),
            Control::Goodbye => self.on_goodbye(from, now),
            Control::FindNeighbours => self.on_find_neighbours(from, now),
            Control::Neighbours { peers } => self.on_neighbours(from, &peers, now),
            Control::Forward { to, text } => self.on_forward(from, to, text, now),
            Control::Forwarded { from: peer, text } => self.on_forwarded(from, peer, text, now),
            // Of films, and none is on.
            Control::HaveParts { .. } | Control::Holders { .. } | Control::RequestIndex { .. } => {}
            Control::Status { slots, free, ages, yields, wait, idle, tracks } => {
                let tracks = tracks.unwrap_or(TrackSet::ALL);
                let status = crate::neighbours::Status { slots, free, ages, yields, wait, idle, tracks };
                self.on_status(from, status, now);
            }
        }
    }

    fn on_catalog(&mut self, mut catalog: CatalogFacts, now: Instant) {
        let n_tracks = catalog.tracks.len().min(cardume_wire::link::HAVE_TRACK_LIMIT);
        let mut reels = core::mem::take(&mut catalog.reels);
        self.window.reset(catalog);
        for (_, neighbour) in self.neighbours.iter_mut() {
            neighbour.reset(n_tracks);
        }
        self.tune(now);
        self.timeline = None;
        self.joining = Joining::default();
        self.asked_descriptors.clear();
        self.unverifiable.clear();
        self.pacer.retain(|_| false);
        self.pacer.set_limit(self.config.uplink_limit, self.burst_len(), now);
        self.playhead.reset(now);
        reels.retain(|reel| self.playing.contains(reel.track));
        self.begin_film(&reels, now);
        self.told_epoch(now);
        self.choose_providers_soon(now);
    }

    /// Looks at everything that only time changes.
    fn tick(&mut self, now: Instant) {
        if now.since(self.due.last_tick) > TICK_ALONE + SUSPENDED {
            self.neighbours.forgive(now);
        }
        self.due.last_tick = now;
        let is_alone = self.neighbours.peers().is_empty();
        self.due.tick_at = now + if is_alone { TICK_ALONE } else { TICK };
        self.check_links(now);
        if self.film.is_some() {
            self.tend_film(now);
            return;
        }
        if self.config.role == Role::Viewer {
            self.ask_descriptors(now);
            self.choose_providers(now);
            self.adapt(now);
            self.aim(now);
            // Who rests has one picture at least.
            if self.timeline.is_none() {
                self.pull_first_picture(now);
            } else if self.rests {
                self.expire_requests(now);
            } else {
                self.repair(now);
            }
            self.play(now);
        }
        self.tell_status(now);
        self.tend_children(now);
        self.balance(now);
        self.evict(now);
    }

    /// The tracker's time in microseconds since 1970; without its clock, what the newest media suggests.
    fn wall_us(&self, now: Instant) -> Option<u64> {
        let (wall, at) = self.wall?;
        Some(wall.0.saturating_add(micros(now.since(at))))
    }

    /// The media time that should be on screen now, by the newest known relation of media time and wall time.
    fn goal_us(&self, now: Instant) -> Option<u64> {
        let target = micros(self.config_target());
        let newest = self.window.tracks().iter().filter_map(|track| track.parts().next_back());
        let newest = newest.max_by_key(|part| part.end_us)?;
        let goal = match self.wall_us(now) {
            Some(wall) => {
                let since_capture = crate::time::difference(wall, newest.captured_at.0);
                let goal = i128::from(newest.start_us) + i128::from(since_capture) - i128::from(target);
                u64::try_from(goal).unwrap_or(0)
            }
            None => newest.end_us.saturating_sub(target),
        };
        Some(goal.min(newest.end_us))
    }

    fn config_target(&self) -> Duration {
        self.playhead.target()
    }

    /// A number below `limit`, which is at least 1.
    fn random_below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    fn burst_len(&self) -> usize {
        BURST_LEN.max(self.window.catalog_len())
    }

    fn disconnect(&mut self, peer: PeerId, reason: crate::Reason, now: Instant) {
        if self.neighbours.get(peer).is_some() {
            self.outputs.push_back(Output::Disconnect { peer, reason });
            self.forget_link(peer, now);
        }
    }

    fn output_send(&mut self, to: PeerId, message: Outgoing) {
        self.outputs.push_back(Output::Send { to, message });
    }
}
