//! A small swarm of sessions with real bytes in virtual time, and a digest of all that they put out: bytes on links, what
//! is appended, rates and seeks. Equal seed and inputs give equal outputs, so it is the same on every machine.
#![expect(clippy::expect_used, reason = "only tests run this")]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cardume_media::{Catalog, CutPart, MediaTime, Publisher, SigningKey, Track, TrackKind};
use cardume_swarm::{BitsPerSec, Config, Event, Instant, PlayerState, Route, Session};
use cardume_wire::link::Message;
use cardume_wire::{Epoch, PeerId, TrackId, WallTime};

const N_VIEWERS: u64 = 10;
const LENGTH: Duration = Duration::from_secs(12);
const STEP_US: u64 = 10_000;
const PART_US: u64 = 200_000;
/// Parts from one key frame to the next.
const GROUP: u64 = 5;
const WALL_US: u64 = 1_800_000_000_000_000;
/// Two copies of the stream, so that most viewers are fed by others.
const BUDGET: BitsPerSec = BitsPerSec(2_500_000);
/// Flips a bit of each block that it sends on.
const POLLUTER: PeerId = PeerId::new(4);
/// Goes without a word, half-way.
const MORTAL: PeerId = PeerId::new(7);

/// Runs the swarm; 64 hexadecimal digits.
///
/// # Panics
/// When nobody plays anything: a digest of silence would compare nothing.
pub fn digest() -> String {
    let mut net = Net::new();
    while net.now < micros(LENGTH) {
        net.step();
    }
    assert!(net.n_from_viewers > 100 && net.has_blamed, "viewers feed each other, and the polluter is found");
    net.hash.finalize().to_hex().to_string()
}

/// A media element that plays whatever it has.
#[derive(Clone, Copy, Default)]
struct Element {
    playhead: u64,
    start: u64,
    end: u64,
    is_moving: bool,
}

struct Net {
    now: u64,
    sessions: BTreeMap<PeerId, Session>,
    elements: BTreeMap<PeerId, Element>,
    links: BTreeSet<(PeerId, PeerId)>,
    /// What is on its way, by arrival and in the order of sending.
    wire: BTreeMap<(u64, u64), (PeerId, PeerId, Bytes)>,
    n_sent: u64,
    n_parts: u64,
    n_from_viewers: u64,
    has_blamed: bool,
    hash: blake3::Hasher,
}

impl Net {
    fn new() -> Self {
        let mut net = Self {
            now: 0,
            sessions: BTreeMap::new(),
            elements: BTreeMap::new(),
            links: BTreeSet::new(),
            wire: BTreeMap::new(),
            n_sent: 0,
            n_parts: 0,
            n_from_viewers: 0,
            has_blamed: false,
            hash: blake3::Hasher::new(),
        };
        net.join(PeerId::SERVER, Config::server(Some(BUDGET)));
        net.act(PeerId::SERVER, |server, now| server.start_broadcast(publisher(), now));
        net
    }

    /// One look at the clock: somebody joins or dies, what is due arrives, everybody's timers.
    fn step(&mut self) {
        self.now += STEP_US;
        if self.now.is_multiple_of(PART_US) {
            self.publish();
            self.tend_elements();
        }
        let (n_joined, is_join) = (self.sessions.len() as u64, self.now.is_multiple_of(300_000));
        if is_join && n_joined <= N_VIEWERS {
            let id = PeerId::new(n_joined);
            let guess = Some(BitsPerSec(600_000 + 700_000 * (id.number() % 5)));
            self.join(id, Config { uplink_guess: guess, ..Config::viewer(id) });
            self.link(id, PeerId::SERVER);
        }
        if self.now == micros(LENGTH) / 2 {
            self.links.retain(|(from, to)| *from != MORTAL && *to != MORTAL);
        }
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, bytes) = entry.remove();
            if self.links.contains(&(from, to)) {
                self.act(to, |session, now| session.receive(from, &bytes, now));
            }
        }
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.act(id, Session::handle_timeout);
        }
    }

    fn join(&mut self, id: PeerId, config: Config) {
        let mut session = Session::new(config, key().public(), id.number(), Instant::from_micros(self.now));
        // Nobody's clock is quite right.
        let wall = WALL_US + self.now + id.number() * 1_000;
        session.set_clock(WallTime(wall), Instant::from_micros(self.now));
        self.sessions.insert(id, session);
        self.elements.insert(id, Element::default());
    }

    fn link(&mut self, a: PeerId, b: PeerId) {
        self.links.extend([(a, b), (b, a)]);
        self.act(a, |session, now| session.link_opened(b, now));
        self.act(b, |session, now| session.link_opened(a, now));
        self.act(a, |session, now| session.set_route(b, Route::Direct, now));
        self.act(b, |session, now| session.set_route(a, Route::Direct, now));
    }

    fn unlink(&mut self, a: PeerId, b: PeerId) {
        if self.links.remove(&(b, a)) && self.links.remove(&(a, b)) {
            self.act(b, |session, now| session.link_closed(a, now));
        }
    }

    fn act(&mut self, id: PeerId, act: impl FnOnce(&mut Session, Instant)) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        act(session, Instant::from_micros(self.now));
        let events: Vec<Event> = core::iter::from_fn(|| session.poll_event()).collect();
        for event in events {
            self.note(id, &event);
            self.perform(id, event);
        }
    }

    /// Adds to the digest who did what and when.
    fn note(&mut self, id: PeerId, event: &Event) {
        self.hash.update(&self.now.to_le_bytes());
        self.hash.update(&id.number().to_le_bytes());
        match event {
            Event::Transmit { to, bytes } => {
                self.hash.update(&to.number().to_le_bytes());
                self.hash.update(bytes);
            }
            Event::Append { chunks, start_us, .. } => {
                self.hash.update(&start_us.to_le_bytes());
                self.hash.update(&chunks.concat());
            }
            Event::SetRate(rate) => {
                self.hash.update(&rate.to_bits().to_le_bytes());
            }
            other => {
                self.hash.update(format!("{other:?}").as_bytes());
            }
        }
    }

    fn perform(&mut self, id: PeerId, event: Event) {
        let element = self.elements.entry(id).or_default();
        match event {
            Event::Transmit { to, bytes } => self.transmit(id, to, &bytes),
            Event::Append { start_us, end_us, .. } => {
                if element.end == 0 {
                    element.start = start_us;
                }
                element.end = element.end.max(end_us);
            }
            Event::SetRate(rate) => element.is_moving = rate > 0.5,
            Event::Seek { to_us } => element.playhead = to_us,
            Event::Connect { peer } if self.sessions.contains_key(&peer) => self.link(id, peer),
            Event::Connect { peer } => self.act(id, |session, now| session.connect_failed(peer, now)),
            Event::Disconnect { peer } => self.unlink(id, peer),
            Event::FindNeighbours { without } => {
                let all = (1..self.sessions.len() as u64).map(PeerId::new);
                let others: Vec<PeerId> = all.filter(|peer| *peer != id && !without.contains(peer)).collect();
                self.act(id, |session, now| session.suggest(&others, now));
            }
            Event::Blame { .. } => self.has_blamed = true,
            // There is a tracker.
            Event::Doubt { .. } | Event::Forwarded { .. } | Event::Attach(_) | Event::Read { .. } => {}
        }
    }

    fn transmit(&mut self, from: PeerId, to: PeerId, bytes: &Bytes) {
        let is_block = matches!(Message::decode(bytes), Ok(Message::Block { .. }));
        self.n_from_viewers += u64::from(is_block && !from.is_server());
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut().filter(|_| is_block && from == POLLUTER) {
            *last ^= 1;
        }
        self.n_sent += 1;
        // From 6 to 30 ms, by the pair.
        let delay = 6_000 * (1 + (from.number() + to.number()) % 5);
        self.wire.insert((self.now + delay, self.n_sent), (from, to, bytes.into()));
    }

    fn publish(&mut self) {
        let sequence = self.n_parts;
        self.n_parts += 1;
        for (track, len) in [(0, if sequence.is_multiple_of(GROUP) { 70_000 } else { 20_000 }), (1, 3_000)] {
            let part = CutPart {
                track: TrackId(track),
                start: MediaTime(sequence * PART_US / 1000),
                duration: u32::try_from(PART_US / 1000).expect("small"),
                is_independent: track == 1 || sequence.is_multiple_of(GROUP),
                captured_at: WallTime(WALL_US + self.now - PART_US),
                bytes: sequence.to_be_bytes().iter().copied().cycle().take(len).collect(),
            };
            self.act(PeerId::SERVER, |server, now| server.publish(&part, now).expect("a sound part"));
        }
    }

    /// Each element plays on and says where it is.
    fn tend_elements(&mut self) {
        for id in self.sessions.keys().copied().filter(|id| !id.is_server()).collect::<Vec<_>>() {
            let element = self.elements.entry(id).or_default();
            if element.is_moving {
                element.playhead = (element.playhead + PART_US).min(element.end).max(element.playhead);
            }
            let buffered = if element.end > 0 { vec![(element.start, element.end)] } else { Vec::new() };
            let state = PlayerState { playhead_us: element.playhead, buffered, ..PlayerState::default() };
            self.act(id, |session, now| session.set_player(state, now));
        }
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn publisher() -> Publisher {
    let track = |id: u8, kind, bitrate| Track {
        id: TrackId(id),
        kind,
        codec: "avc1.42C01E".into(),
        timescale: 1000,
        bitrate,
        width: 0,
        height: 0,
        init: Bytes::from_static(b"init"),
    };
    let tracks = vec![track(0, TrackKind::Video, 1_200_000), track(1, TrackKind::Audio, 120_000)];
    Publisher::new(key(), Catalog::new(Epoch(1), tracks).expect("a sound catalog"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("short")
}
