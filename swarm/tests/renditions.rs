//! Several renditions: what viewers see when one takes the place of another, and what travels.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{Catalog, CutPart, MediaTime, Publisher, SigningKey, Track, TrackKind};
use cardume_swarm::{Config, Event, Instant, PlayerState, Route, Session};
use cardume_wire::link::{Control, Message};
use cardume_wire::{Epoch, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet, WallTime};

const SERVER: PeerId = PeerId::SERVER;
const A: PeerId = PeerId::new(1);
const B: PeerId = PeerId::new(2);
const HIGH: TrackId = TrackId(0);
const SOUND: TrackId = TrackId(1);
/// What viewers begin with.
const LOW: TrackId = TrackId(2);
/// The tracks, and bytes of a part of each.
const TRACKS: [(TrackId, TrackKind, usize); 3] =
    [(HIGH, TrackKind::Video, 75_000), (SOUND, TrackKind::Audio, 3_000), (LOW, TrackKind::Video, 12_000)];
const PART_MS: u64 = 200;
/// Parts in a group of pictures.
const GROUP: u64 = 5;
const WALL: u64 = 1_800_000_000_000_000;
const TICK: u64 = 5_000;

/// A media element that plays what it has.
#[derive(Default)]
struct Element {
    /// What was appended, by kind and place on the timeline, in parts.
    video: BTreeMap<u64, TrackId>,
    sound: BTreeSet<u64>,
    playhead_us: u64,
    rate: f64,
    stood_still: bool,
    still_us: u64,
}

impl Element {
    fn append(&mut self, track: TrackId, start_us: u64) {
        let place = start_us / (PART_MS * 1000);
        if track == SOUND {
            self.sound.insert(place);
        } else {
            self.video.insert(place, track);
        }
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for place in self.video.keys().filter(|place| self.sound.contains(place)) {
            let (start, end) = (place * PART_MS * 1000, (place + 1) * PART_MS * 1000);
            match ranges.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        ranges.retain(|(_, end)| *end > self.playhead_us);
        ranges
    }

    fn play(&mut self, micros: u64) {
        let end = self.ranges().into_iter().find(|(start, _)| *start <= self.playhead_us).map(|(_, end)| end);
        let to = self.playhead_us + if self.rate > 0.0 { micros } else { 0 };
        let is_still = self.rate > 0.0 && end.is_none_or(|end| end < to);
        self.stood_still |= is_still;
        self.still_us += if is_still { micros } else { 0 };
        self.playhead_us = to.min(end.unwrap_or(self.playhead_us));
    }

    /// The tracks shown so far, each once for every time that it took over.
    fn shown(&self) -> Vec<TrackId> {
        let mut shown: Vec<TrackId> = self.video.values().copied().collect();
        shown.dedup();
        shown
    }
}

/// Sessions with links of 5 ms.
struct Net {
    now: u64,
    n_published: u64,
    key: SigningKey,
    sessions: BTreeMap<PeerId, Session>,
    elements: BTreeMap<PeerId, Element>,
    links: BTreeSet<(PeerId, PeerId)>,
    wire: Vec<(u64, PeerId, PeerId, Vec<u8>)>,
    /// What was sent: from whom, to whom, as it was.
    sent: Vec<(PeerId, PeerId, Vec<u8>)>,
    /// Bytes that get through to a viewer in a tick, and how many more may now; less than none after a long message.
    downlinks: BTreeMap<PeerId, (i64, i64)>,
    n_connects: usize,
    n_closed: usize,
}

impl Net {
    /// A server on the air, and these viewers, all linked.
    fn on_air(viewers: &[PeerId]) -> Self {
        let mut net = Self {
            now: 1_000_000,
            n_published: 0,
            key: SigningKey::from_seed([7; 32]),
            sessions: BTreeMap::new(),
            elements: BTreeMap::new(),
            links: BTreeSet::new(),
            wire: Vec::new(),
            sent: Vec::new(),
            downlinks: BTreeMap::new(),
            n_connects: 0,
            n_closed: 0,
        };
        net.join(SERVER, Config::server(None));
        net.broadcast();
        net.publish(2 * GROUP);
        for viewer in viewers {
            net.join(*viewer, Config::viewer(*viewer));
        }
        for (place, viewer) in viewers.iter().enumerate() {
            net.link(*viewer, SERVER);
            viewers[..place].iter().for_each(|other| net.link(*viewer, *other));
        }
        net
    }

    fn join(&mut self, id: PeerId, config: Config) {
        let mut session = Session::new(config, self.key.public(), id.number(), self.instant());
        session.set_clock(WallTime(WALL + self.now), self.instant());
        self.sessions.insert(id, session);
        self.elements.insert(id, Element::default());
    }

    fn link(&mut self, a: PeerId, b: PeerId) {
        for (at, peer) in [(a, b), (b, a)] {
            self.links.insert((at, peer));
            self.act(at, |session, now| session.link_opened(peer, now));
            self.act(at, |session, now| session.set_route(peer, Route::Direct, now));
        }
    }

    fn broadcast(&mut self) {
        let track = |(id, kind, part_len): (TrackId, TrackKind, usize)| Track {
            id,
            kind,
            codec: "avc1.42C01E".into(),
            timescale: 1000,
            bitrate: u32::try_from(part_len * 8 * 5).unwrap(),
            width: 0,
            height: 0,
            init: Bytes::from_static(b"init"),
        };
        let catalog = Catalog::new(Epoch(1), TRACKS.map(track).to_vec()).unwrap();
        let publisher = Publisher::new(SigningKey::from_seed([7; 32]), catalog);
        self.act(SERVER, |session, now| session.start_broadcast(publisher, now));
    }

    /// Publishes so many parts of each track in real time.
    fn publish(&mut self, n_parts: u64) {
        for index in self.n_published..self.n_published + n_parts {
            for (track, kind, len) in TRACKS {
                let part = CutPart {
                    track,
                    start: MediaTime(index * PART_MS),
                    duration: u32::try_from(PART_MS).unwrap(),
                    is_independent: kind == TrackKind::Audio || index.is_multiple_of(GROUP),
                    captured_at: WallTime(WALL + self.now - PART_MS * 1000),
                    bytes: vec![u8::try_from(index % 251).unwrap(); len].into(),
                };
                self.act(SERVER, |session, now| session.publish(&part, now).unwrap());
            }
            self.run(Duration::from_millis(PART_MS));
        }
        self.n_published += n_parts;
    }

    fn publish_s(&mut self, seconds: u64) {
        self.publish(seconds * 1000 / PART_MS);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        while self.now < end {
            self.now += TICK;
            self.carry();
            for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                let element = self.elements.get_mut(&id).unwrap();
                element.play(TICK);
                let playhead_us = element.playhead_us;
                let state = PlayerState { playhead_us, buffered: element.ranges(), ..PlayerState::default() };
                let is_look = self.now.is_multiple_of(100_000) && id != SERVER;
                self.act(id, |session, now| {
                    if is_look {
                        session.set_player(state, now);
                    }
                    session.handle_timeout(now);
                    assert!(
                        session.poll_timeout().is_some_and(|at| at > now),
                        "the timer lies in the future"
                    );
                });
            }
        }
    }

    /// Hands over what has come, in order and as far as downlinks bear it.
    fn carry(&mut self) {
        for (per_tick, room) in self.downlinks.values_mut() {
            *room = (*room + *per_tick).min(*per_tick);
        }
        let mut later = Vec::new();
        for (at, from, to, bytes) in std::mem::take(&mut self.wire) {
            let downlink = self.downlinks.get_mut(&to);
            if at > self.now || downlink.as_ref().is_some_and(|(_, room)| *room <= 0) {
                later.push((at, from, to, bytes));
                continue;
            }
            if let Some((_, room)) = downlink {
                *room -= i64::try_from(bytes.len()).unwrap();
            }
            self.sent.push((from, to, bytes.clone()));
            self.act(to, |session, now| session.receive(from, &bytes, now));
        }
        // What was sent meanwhile comes after what waits.
        later.append(&mut self.wire);
        self.wire = later;
    }

    fn act(&mut self, id: PeerId, act: impl FnOnce(&mut Session, Instant)) {
        let now = self.instant();
        let session = self.sessions.get_mut(&id).unwrap();
        act(session, now);
        let element = self.elements.get_mut(&id).unwrap();
        while let Some(event) = session.poll_event() {
            match event {
                Event::Transmit { to, bytes } => self.wire.push((self.now + TICK, id, to, bytes.to_vec())),
                Event::Append { track, start_us, .. } => element.append(track, start_us),
                Event::SetRate(rate) => element.rate = rate,
                Event::Seek { to_us } => element.playhead_us = to_us,
                Event::Connect { .. } => self.n_connects += 1,
                Event::Disconnect { .. } => self.n_closed += 1,
                Event::Attach(_)
                | Event::Blame { .. }
                | Event::Doubt { .. }
                | Event::FindNeighbours { .. }
                | Event::Forwarded { .. }
                | Event::Read { .. } => {}
            }
        }
    }

    fn select(&mut self, id: PeerId, track: TrackId) {
        self.act(id, |session, now| session.select(TrackKind::Video, Some(track), now));
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    fn element(&self, id: PeerId) -> &Element {
        &self.elements[&id]
    }

    /// The tracks of the blocks that one was sent, by all or by one.
    fn tracks_sent(&self, to: PeerId, by: Option<PeerId>) -> BTreeSet<TrackId> {
        let sent = self.sent.iter().filter(|(from, at, _)| *at == to && by.is_none_or(|by| by == *from));
        let tracks = sent.filter_map(|(.., bytes)| match Message::decode(bytes).unwrap() {
            Message::Block { id, .. } => Some(id.track),
            _ => None,
        });
        tracks.collect()
    }

    /// What one asked of another.
    fn asked(&self, by: PeerId, of: PeerId) -> Vec<Control> {
        let sent = self.sent.iter().filter(|(from, to, _)| (*from, *to) == (by, of));
        let controls = sent.filter_map(|(.., bytes)| match Message::decode(bytes).unwrap() {
            Message::Control(control) => Some(control),
            _ => None,
        });
        controls.collect()
    }
}

fn set(tracks: &[TrackId]) -> TrackSet {
    tracks.iter().copied().collect()
}

#[test]
fn a_chosen_rendition_takes_over_without_a_gap_or_a_new_link() {
    let mut net = Net::on_air(&[A, B]);
    net.publish_s(5);
    net.select(A, HIGH);
    net.publish_s(8);
    net.select(A, LOW);
    net.publish_s(8);
    assert_eq!(net.element(A).shown(), [LOW, HIGH, LOW]);
    assert_eq!(net.element(B).shown()[0], LOW);
    for viewer in [A, B] {
        assert!(!net.element(viewer).stood_still, "{viewer} stood still");
        assert_eq!(net.element(viewer).ranges().len(), 1, "{viewer} has gaps");
        assert_eq!(net.sessions[&viewer].stats(net.instant()).n_skipped_parts, 0);
    }
    assert_eq!((net.n_connects, net.n_closed), (0, 0), "a switch is a new subscription, not a new link");
    assert_eq!(net.sessions[&A].stats(net.instant()).n_switches, 2);
}

#[test]
fn a_rendition_begins_where_it_can_be_decoded() {
    let mut net = Net::on_air(&[A]);
    net.publish_s(5);
    net.select(A, HIGH);
    net.publish_s(5);
    let first = net.element(A).video.iter().find(|(_, track)| **track == HIGH);
    assert!(first.unwrap().0.is_multiple_of(GROUP));
}

#[test]
fn nobody_gets_a_rendition_that_it_does_not_watch() {
    let mut net = Net::on_air(&[A, B]);
    net.select(A, LOW);
    net.select(B, HIGH);
    net.publish_s(10);
    assert_eq!(net.tracks_sent(A, None), BTreeSet::from([LOW, SOUND]));
    assert_eq!(net.element(A).shown(), [LOW]);
    assert_eq!(net.element(B).shown().last(), Some(&HIGH));
}

#[test]
fn who_watches_one_rendition_is_not_asked_for_another() {
    let mut net = Net::on_air(&[A, B]);
    net.select(A, LOW);
    net.select(B, HIGH);
    net.publish_s(3);
    net.sent.clear();
    net.publish_s(10);
    let asked = net.asked(B, A);
    assert!(!asked.iter().any(|control| matches!(control, Control::Subscribe { .. })), "{asked:?}");
    let is_high = |control: &Control| match control {
        Control::Request { blocks, .. } => blocks.iter().any(|block| block.track == HIGH),
        _ => false,
    };
    assert!(!asked.iter().any(is_high), "{asked:?}");
}

#[test]
fn who_has_had_its_rendition_whole_goes_up_and_who_gets_too_little_goes_down() {
    let mut net = Net::on_air(&[A]);
    net.select(A, LOW);
    net.publish_s(25);
    assert_eq!(net.element(A).shown(), [LOW], "as long as it is chosen");
    net.act(A, |session, now| session.select(TrackKind::Video, None, now));
    net.publish_s(25);
    assert_eq!(net.element(A).shown(), [LOW, HIGH]);
    assert!(!net.element(A).stood_still);
    // 2 Mbit/s, in ticks of 5 ms.
    net.downlinks.insert(A, (1_250, 0));
    net.publish_s(10);
    assert_eq!(net.element(A).shown(), [LOW, HIGH, LOW]);
    assert_eq!(net.sessions[&A].stats(net.instant()).tracks, set(&[LOW, SOUND]));
}

#[test]
fn a_downlink_that_falls_is_seen_before_the_picture_stands_still_for_long() {
    let mut net = Net::on_air(&[A]);
    net.select(A, HIGH);
    net.publish_s(10);
    net.act(A, |session, now| session.select(TrackKind::Video, None, now));
    assert!(!net.element(A).stood_still);
    // 1.5 Mbit/s, in ticks of 5 ms.
    net.downlinks.insert(A, (940, 0));
    net.publish_s(20);
    assert_eq!(net.element(A).shown(), [HIGH, LOW]);
    assert!(net.element(A).still_us < 2_000_000, "{} us", net.element(A).still_us);
    assert_eq!(net.element(A).ranges().len(), 1);
}

#[test]
fn a_try_that_the_downlink_does_not_bear_hurts_nobody() {
    let mut net = Net::on_air(&[A]);
    net.downlinks.insert(A, (1_250, 0));
    net.publish_s(40);
    assert_eq!(net.element(A).shown(), [LOW]);
    assert!(!net.element(A).stood_still);
    assert!(net.tracks_sent(A, None).contains(&HIGH), "it tried");
}

#[test]
fn strange_choices_of_tracks_are_harmless() {
    let mut net = Net::on_air(&[A, B]);
    net.select(A, LOW);
    net.select(B, TrackId(200));
    net.publish_s(4);
    let odd = [TrackSet::default(), TrackSet(1 << 31), TrackSet::ALL, set(&[HIGH]), set(&[HIGH, LOW, SOUND])];
    for tracks in odd {
        for stripe in (0..STRIPE_COUNT).filter_map(Stripe::new) {
            let ask =
                Control::Subscribe { stripe, tracks, slots: 9, is_starving: true, from_us: Some(u64::MAX) };
            let bytes = Message::Control(ask).encode();
            net.act(A, |session, now| session.receive(B, &bytes, now));
        }
    }
    net.sent.clear();
    net.publish_s(4);
    assert!(!net.tracks_sent(B, Some(A)).contains(&HIGH));
    for viewer in [A, B] {
        assert!(!net.element(viewer).stood_still, "{viewer} stood still");
    }
}
