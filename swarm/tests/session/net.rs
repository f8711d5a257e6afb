//! A small virtual network of sessions with real bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{Catalog, CutPart, MediaTime, Publisher, SigningKey, Track, TrackKind};
use cardume_swarm::{Config, Event, Instant, Route, Session};
use cardume_wire::link::Message;
use cardume_wire::{Epoch, PeerId, TrackId, WallTime};

pub(crate) const SERVER: PeerId = PeerId::SERVER;
pub(crate) const A: PeerId = PeerId::new(1);
pub(crate) const B: PeerId = PeerId::new(2);
pub(crate) const C: PeerId = PeerId::new(3);
pub(crate) const PART_MS: u64 = 200;
pub(crate) const WALL: u64 = 1_800_000_000_000_000;

/// What one session did.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) attached: Vec<Epoch>,
    pub(crate) appended: Vec<(TrackId, u64, Vec<u8>)>,
    pub(crate) disconnected: Vec<PeerId>,
    pub(crate) blamed: Vec<PeerId>,
    /// Rates and seeks, and how many parts of the picture had been appended by then.
    pub(crate) moved: Vec<(Moved, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moved {
    Rate(f64),
    To(u64),
}

impl Seen {
    pub(crate) fn note_move(&mut self, moved: Moved) {
        let n_parts = self.appended.iter().filter(|(track, ..)| *track == TrackId(0)).count();
        self.moved.push((moved, n_parts));
    }
}

/// Sessions, links of 5 ms, and one liar at most.
pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) key: SigningKey,
    pub(crate) sessions: BTreeMap<PeerId, Session>,
    pub(crate) links: Vec<(PeerId, PeerId)>,
    pub(crate) wire: Vec<(u64, PeerId, PeerId, Vec<u8>)>,
    pub(crate) seen: BTreeMap<PeerId, Seen>,
    /// Who flips a bit in every block it sends.
    pub(crate) polluter: Option<PeerId>,
    /// Who gets no blocks from the server.
    pub(crate) withheld_from: Option<PeerId>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let mut net = Self {
            now: 1_000_000,
            key: SigningKey::from_seed([7; 32]),
            sessions: BTreeMap::new(),
            links: Vec::new(),
            wire: Vec::new(),
            seen: BTreeMap::new(),
            polluter: None,
            withheld_from: None,
        };
        net.join(SERVER, Config::server(None));
        net
    }

    pub(crate) fn join(&mut self, id: PeerId, config: Config) {
        let mut session = Session::new(config, self.key.public(), id.number(), self.instant());
        session.set_clock(WallTime(WALL + self.now), self.instant());
        self.sessions.insert(id, session);
        self.seen.entry(id).or_default();
    }

    pub(crate) fn viewer(&mut self, id: PeerId) {
        self.join(id, Config::viewer(id));
    }

    pub(crate) fn link(&mut self, a: PeerId, b: PeerId) {
        self.links.push((a, b));
        self.links.push((b, a));
        self.act(a, |session, now| session.link_opened(b, now));
        self.act(b, |session, now| session.link_opened(a, now));
        self.act(a, |session, now| session.set_route(b, Route::Direct, now));
        self.act(b, |session, now| session.set_route(a, Route::Direct, now));
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    pub(crate) fn act(&mut self, id: PeerId, act: impl FnOnce(&mut Session, Instant)) {
        let now = self.instant();
        let session = self.sessions.get_mut(&id).unwrap();
        act(session, now);
        let mut events = Vec::new();
        while let Some(event) = session.poll_event() {
            events.push(event);
        }
        assert!(session.poll_timeout().is_some_and(|at| at > now), "the timer lies in the future");
        for event in events {
            self.event(id, event);
        }
    }

    pub(crate) fn event(&mut self, id: PeerId, event: Event) {
        let seen = self.seen.get_mut(&id).unwrap();
        match event {
            Event::Transmit { to, bytes } => {
                let mut bytes = bytes.to_vec();
                let is_block = matches!(Message::decode(&bytes), Ok(Message::Block { .. }));
                if is_block && self.polluter == Some(id) {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                if !(is_block && id == SERVER && self.withheld_from == Some(to)) {
                    self.wire.push((self.now + 5_000, id, to, bytes));
                }
            }
            Event::Attach(catalog) => seen.attached.push(catalog.epoch()),
            Event::Append { track, chunks, start_us, .. } => {
                seen.appended.push((track, start_us, chunks.concat()));
            }
            Event::Disconnect { peer } => {
                seen.disconnected.push(peer);
                self.unlink(id, peer);
            }
            Event::Blame { peer } => seen.blamed.push(peer),
            Event::SetRate(rate) => seen.note_move(Moved::Rate(rate)),
            Event::Seek { to_us } => seen.note_move(Moved::To(to_us)),
            Event::Connect { peer } if self.sessions[&id].is_introduced(peer) => {
                self.act(id, |session, now| session.forward(peer, "offer".to_owned(), now));
            }
            Event::Forwarded { from, text } if text == "offer" => {
                self.act(id, |session, now| session.forward(from, "answer".to_owned(), now));
            }
            Event::Forwarded { from, .. } => self.link(id, from),
            // There is no tracker.
            Event::Connect { .. }
            | Event::Doubt { .. }
            | Event::FindNeighbours { .. }
            | Event::Read { .. } => {}
        }
    }

    pub(crate) fn unlink(&mut self, a: PeerId, b: PeerId) {
        self.links.retain(|link| *link != (a, b) && *link != (b, a));
        self.act(b, |session, now| session.link_closed(a, now));
    }

    /// Nothing passes between the two any more, and nobody is told.
    pub(crate) fn cut(&mut self, a: PeerId, b: PeerId) {
        self.links.retain(|link| *link != (a, b) && *link != (b, a));
    }

    /// From whom this viewer gets its stripes.
    pub(crate) fn providers(&self, id: PeerId) -> BTreeSet<PeerId> {
        let stats = self.sessions[&id].stats(self.instant());
        stats.paths.iter().map(|path| path.provider).collect()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        while self.now < end {
            self.now += 5_000;
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= self.now);
            self.wire = later;
            for (_, from, to, bytes) in due {
                if self.links.contains(&(from, to)) {
                    self.act(to, |session, now| session.receive(from, &bytes, now));
                }
            }
            for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.act(id, Session::handle_timeout);
            }
        }
    }

    pub(crate) fn broadcast(&mut self, epoch: u32) {
        let track = |id: u8, kind| Track {
            id: TrackId(id),
            kind,
            codec: "avc1.42C01E".into(),
            timescale: 1000,
            bitrate: 1_000_000,
            width: 0,
            height: 0,
            init: Bytes::from_static(b"init"),
        };
        let tracks = vec![track(0, TrackKind::Video), track(1, TrackKind::Audio)];
        let catalog = Catalog::new(Epoch(epoch), tracks).unwrap();
        let publisher = Publisher::new(SigningKey::from_seed([7; 32]), catalog);
        self.act(SERVER, |session, now| session.start_broadcast(publisher, now));
    }

    /// Publishes this many parts of 200 ms in real time; returns the first track's bytes by part.
    pub(crate) fn publish(&mut self, first: u64, n: u64) -> Vec<Vec<u8>> {
        let mut published = Vec::new();
        for index in first..first + n {
            let video = media(index, if index.is_multiple_of(5) { 70_000 } else { 20_000 });
            for (track, bytes) in [(0, video.clone()), (1, media(index, 3_000))] {
                let part = CutPart {
                    track: TrackId(track),
                    start: MediaTime(index * PART_MS),
                    duration: u32::try_from(PART_MS).unwrap(),
                    is_independent: track == 1 || index.is_multiple_of(5),
                    captured_at: WallTime(WALL + self.now - PART_MS * 1000),
                    bytes: bytes.into(),
                };
                self.act(SERVER, |session, now| session.publish(&part, now).unwrap());
            }
            published.push(video);
            self.run(Duration::from_millis(PART_MS));
        }
        published
    }

    pub(crate) fn video(&self, id: PeerId) -> Vec<&[u8]> {
        let appended = self.seen[&id].appended.iter();
        appended.filter(|(track, ..)| *track == TrackId(0)).map(|(_, _, bytes)| bytes.as_slice()).collect()
    }
}

/// Bytes that differ from part to part and block to block.
pub(crate) fn media(index: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| u8::try_from((at * 31 + at / 251 + index * 7) % 256).unwrap()).collect()
}
