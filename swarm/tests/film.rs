//! Films on sessions with real bytes: whoever watches, from wherever, gets the film's own bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{CutPart, Film, FilmMaker, MediaTime, SigningKey, Track, TrackKind};
use cardume_swarm::{BitsPerSec, Config, Event, Instant, PlayerState, Route, Session};
use cardume_wire::link::Message;
use cardume_wire::{Epoch, PeerId, TrackId, WallTime};

const SERVER: PeerId = PeerId::SERVER;
const A: PeerId = PeerId::new(1);
const B: PeerId = PeerId::new(2);
const C: PeerId = PeerId::new(3);
const PART_US: u64 = 2_000_000;
/// More than one page of the index, and more than is looked ahead.
const N_PARTS: u32 = 300;
const PART_LEN: u32 = 60_000;
const DELAY: u64 = 10_000;

fn media(sequence: u32) -> Bytes {
    sequence.to_be_bytes().iter().copied().cycle().take(PART_LEN as usize).collect()
}

fn film() -> Film {
    let track = Track {
        id: TrackId(0),
        kind: TrackKind::Video,
        codec: "avc1.42C01E".to_owned(),
        timescale: 1000,
        bitrate: 240_000,
        width: 640,
        height: 360,
        init: Bytes::from_static(b"init"),
    };
    let mut maker = FilmMaker::new(Epoch(1), vec![track]);
    let part = |sequence: u32| CutPart {
        track: TrackId(0),
        start: MediaTime(u64::from(sequence) * PART_US / 1000),
        duration: 2000,
        is_independent: true,
        captured_at: WallTime(0),
        bytes: media(sequence),
    };
    for sequence in 0..N_PARTS {
        maker.push(&part(sequence)).unwrap();
    }
    maker.finish(&SigningKey::from_seed([7; 32])).unwrap()
}

/// A viewer's element: plays what it has.
#[derive(Default)]
struct Element {
    parts: BTreeSet<u32>,
    appended: Vec<u32>,
    playhead: u64,
    is_paused: bool,
    is_seeking: bool,
}

impl Element {
    fn state(&mut self, passed: u64) -> PlayerState {
        let has = |parts: &BTreeSet<u32>, at: u64| parts.contains(&u32::try_from(at / PART_US).unwrap());
        if has(&self.parts, self.playhead) {
            self.is_seeking = false;
            let next = self.playhead + if self.is_paused { 0 } else { passed };
            self.playhead = if has(&self.parts, next) { next } else { next / PART_US * PART_US };
        }
        let mut buffered: Vec<(u64, u64)> = Vec::new();
        for part in &self.parts {
            let (start, end) = (u64::from(*part) * PART_US, u64::from(part + 1) * PART_US);
            match buffered.last_mut().filter(|(_, end)| *end == start) {
                Some(last) => last.1 = end,
                None => buffered.push((start, end)),
            }
        }
        buffered.retain(|(_, end)| *end > self.playhead);
        PlayerState {
            playhead_us: self.playhead,
            buffered,
            is_paused: self.is_paused,
            is_seeking: self.is_seeking,
        }
    }
}

struct Net {
    now: u64,
    sessions: BTreeMap<PeerId, Session>,
    elements: BTreeMap<PeerId, Element>,
    links: BTreeSet<(PeerId, PeerId)>,
    wire: Vec<(u64, PeerId, PeerId, Bytes)>,
    blamed: BTreeSet<PeerId>,
    polluter: Option<PeerId>,
    /// A part that is another one on disk by now.
    broken: Option<u32>,
}

impl Net {
    /// A server with the film, and this budget.
    fn new(budget: Option<BitsPerSec>) -> Self {
        let mut net = Self {
            now: 1_000_000,
            sessions: BTreeMap::new(),
            elements: BTreeMap::new(),
            links: BTreeSet::new(),
            wire: Vec::new(),
            blamed: BTreeSet::new(),
            polluter: None,
            broken: None,
        };
        net.join(Config::server(budget));
        net.act(SERVER, |session, now| session.start_film(&film(), now));
        net
    }

    fn join(&mut self, config: Config) {
        let id = config.id;
        let key = SigningKey::from_seed([7; 32]).public();
        self.sessions.insert(id, Session::new(config, key, id.number(), Instant::from_micros(self.now)));
        self.elements.insert(id, Element::default());
    }

    fn viewer(&mut self, id: PeerId, links: &[PeerId]) {
        self.join(Config::viewer(id));
        for &other in links {
            self.links.extend([(id, other), (other, id)]);
            self.act(id, |session, now| session.link_opened(other, now));
            self.act(other, |session, now| session.link_opened(id, now));
            self.act(id, |session, now| session.set_route(other, Route::Direct, now));
            self.act(other, |session, now| session.set_route(id, Route::Direct, now));
        }
    }

    fn unlink(&mut self, a: PeerId, b: PeerId) {
        if self.links.remove(&(a, b)) {
            self.links.remove(&(b, a));
            self.act(a, |session, now| session.link_closed(b, now));
            self.act(b, |session, now| session.link_closed(a, now));
        }
    }

    fn act(&mut self, id: PeerId, act: impl FnOnce(&mut Session, Instant)) {
        let now = Instant::from_micros(self.now);
        let session = self.sessions.get_mut(&id).unwrap();
        act(session, now);
        let events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
        assert!(session.poll_timeout().is_some_and(|at| at > now), "the timer lies in the future");
        for event in events {
            self.event(id, event);
        }
    }

    fn event(&mut self, id: PeerId, event: Event) {
        match event {
            Event::Transmit { to, bytes } => {
                let mut bytes = bytes.to_vec();
                if self.polluter == Some(id) && matches!(Message::decode(&bytes), Ok(Message::Block { .. })) {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                self.wire.push((self.now + DELAY, id, to, bytes.into()));
            }
            Event::Read { part } => {
                assert!(id.is_server(), "viewers have no film to read");
                let is_broken = self.broken == Some(part.sequence);
                let read = if is_broken { media(part.sequence + 1) } else { media(part.sequence) };
                self.act(id, |session, _| assert_eq!(session.part_read(part, Some(&read)), !is_broken));
            }
            Event::Append { chunks, start_us, is_jump, is_last, .. } => {
                let sequence = u32::try_from(start_us / PART_US).unwrap();
                assert_eq!(is_last, sequence + 1 == N_PARTS);
                assert_eq!(chunks.concat(), media(sequence), "the film's own bytes");
                let element = self.elements.get_mut(&id).unwrap();
                let is_next = element.appended.last().is_none_or(|last| last + 1 == sequence);
                assert_eq!(is_jump, !is_next);
                element.parts.insert(sequence);
                element.appended.push(sequence);
            }
            Event::Disconnect { peer } => self.unlink(id, peer),
            Event::Blame { peer } => drop(self.blamed.insert(peer)),
            Event::Attach(_)
            | Event::Connect { .. }
            | Event::Doubt { .. }
            | Event::FindNeighbours { .. }
            | Event::Forwarded { .. }
            | Event::SetRate(_)
            | Event::Seek { .. } => {}
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        while self.now < end {
            self.now += 10_000;
            let wire = std::mem::take(&mut self.wire);
            let (due, later) = wire.into_iter().partition(|(at, ..)| *at <= self.now);
            self.wire = later;
            let due: Vec<_> = due;
            for (_, from, to, bytes) in due {
                if self.links.contains(&(from, to)) {
                    self.act(to, |session, now| session.receive(from, &bytes, now));
                }
            }
            for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.act(id, Session::handle_timeout);
                if !id.is_server() && self.now.is_multiple_of(100_000) {
                    let state = self.elements.get_mut(&id).unwrap().state(100_000);
                    self.act(id, |session, now| session.set_player(state, now));
                }
            }
        }
    }

    fn seek(&mut self, id: PeerId, to_us: u64) {
        let element = self.elements.get_mut(&id).unwrap();
        element.playhead = to_us;
        element.is_seeking = true;
        let state = element.state(0);
        self.act(id, |session, now| session.set_player(state, now));
    }

    fn element(&mut self, id: PeerId) -> &mut Element {
        self.elements.get_mut(&id).unwrap()
    }

    fn server_sent(&self, id: PeerId) -> u64 {
        self.sessions[&id].stats(Instant::from_micros(self.now)).from_server_len
    }
}

#[test]
fn a_film_plays_in_order_and_the_server_gives_no_more_than_is_due() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(20));
    let element = net.element(A);
    assert!(element.playhead > 19_000_000, "{}", element.playhead);
    assert!(element.appended.is_sorted() && element.appended.first() == Some(&0));
    // Nobody else watches: the server gives what is due, 4 s ahead.
    assert!(net.server_sent(A) < 14 * u64::from(PART_LEN), "{}", net.server_sent(A));
}

#[test]
fn what_somebody_holds_is_not_asked_of_the_server() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(30));
    net.viewer(B, &[SERVER, A]);
    net.run(Duration::from_secs(20));
    assert!(net.element(B).playhead > 19_000_000);
    let sent = net.server_sent(A) + net.server_sent(B);
    let n_looked_ahead = 55;
    assert!(
        sent < u64::from(PART_LEN) * (n_looked_ahead + 4),
        "each part once, some of the first twice: {sent}"
    );
}

#[test]
fn a_seek_leads_anywhere_and_back_at_once() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(10));
    // On a page of the index that nobody asked for yet, or has come meanwhile.
    for to in [570_500_000, 100_000_000, 3_000_000] {
        net.seek(A, to);
        net.run(Duration::from_millis(1500));
        let element = net.element(A);
        assert!(element.playhead > to + 500_000, "{to}: {}", element.playhead);
    }
}

#[test]
fn a_pause_fetches_what_is_looked_ahead_and_then_nothing() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(2));
    net.element(A).is_paused = true;
    net.run(Duration::from_mins(1));
    let before = net.server_sent(A);
    net.run(Duration::from_secs(10));
    assert_eq!(net.server_sent(A), before);
    net.element(A).is_paused = false;
    net.run(Duration::from_mins(1));
    assert!(net.element(A).playhead > 60_000_000, "{}", net.element(A).playhead);
}

#[test]
fn what_a_leaver_owed_is_asked_of_others_and_a_returner_goes_on_with_what_it_has() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.viewer(B, &[SERVER]);
    net.run(Duration::from_secs(20));
    net.viewer(C, &[SERVER, A, B]);
    net.run(Duration::from_millis(300));
    net.unlink(A, C);
    net.unlink(SERVER, C);
    net.run(Duration::from_secs(15));
    let playhead = net.element(C).playhead;
    assert!(playhead > 13_000_000, "B serves it all: {playhead}");
    net.unlink(B, C);
    net.run(Duration::from_secs(100));
    let stopped = net.element(C).playhead;
    net.links.extend([(A, C), (C, A)]);
    net.act(C, |session, now| session.link_opened(A, now));
    net.act(A, |session, now| session.link_opened(C, now));
    net.act(C, |session, now| session.set_route(A, Route::Direct, now));
    net.act(A, |session, now| session.set_route(C, Route::Direct, now));
    net.run(Duration::from_secs(10));
    assert!(net.element(C).playhead > stopped + 8_000_000, "{stopped} {}", net.element(C).playhead);
    let mut appended = net.element(C).appended.clone();
    appended.dedup();
    assert_eq!(appended, net.element(C).appended, "nothing came twice");
}

#[test]
fn who_sends_wrong_blocks_is_blamed_and_nothing_of_it_plays() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(30));
    net.polluter = Some(A);
    net.viewer(B, &[SERVER, A]);
    net.run(Duration::from_secs(10));
    assert_eq!(net.blamed, BTreeSet::from([A]));
    assert!(net.element(B).playhead > 8_000_000);
}

#[test]
fn a_server_with_a_budget_never_exceeds_it_and_serves_what_is_due() {
    let budget = 800_000;
    let mut net = Net::new(Some(BitsPerSec(budget)));
    net.viewer(A, &[SERVER]);
    let before = net.server_sent(A);
    net.run(Duration::from_secs(20));
    assert!((net.server_sent(A) - before) * 8 < budget * 20);
    assert!(net.element(A).playhead > 15_000_000, "{}", net.element(A).playhead);
}

#[test]
fn what_changed_on_disk_reaches_nobody_and_the_rest_plays() {
    let mut net = Net::new(None);
    net.broken = Some(4);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(10));
    let element = net.element(A);
    assert!(element.playhead == 4 * PART_US && element.parts.len() == 4, "{:?}", element.parts);
    net.broken = None;
    net.run(Duration::from_secs(10));
    assert!(net.element(A).playhead > 5 * PART_US);
}

#[test]
fn a_film_ends_with_its_last_part() {
    let mut net = Net::new(None);
    net.viewer(A, &[SERVER]);
    net.run(Duration::from_secs(1));
    net.seek(A, u64::from(N_PARTS - 2) * PART_US);
    net.run(Duration::from_secs(6));
    assert!(net.element(A).parts.contains(&(N_PARTS - 1)));
}
