//! A viewer's session bears whatever its neighbours send, in any order, at any time: it never panics, its time-out lies
//! ahead once it is drained, and it appends nothing but the broadcast's own bytes.
//!
//! The input is a script of commands of one byte and their arguments. Most of what arrives is taken from a real
//! broadcast, since the fuzzer cannot sign; some of it is bent on the way.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{
    Catalog, CutPart, MediaTime, Publisher, SigningKey, Store, StoreLimits, Track, TrackKind,
};
use cardume_swarm::{Config, Event, Instant, PlayerState, Route, Session};
use cardume_wire::link::{Control, Message, block_count};
use cardume_wire::{Epoch, PROTOCOL_VERSION, PeerId, TrackId, WallTime};

const N_PARTS: u32 = 6;
/// Over one block, so that parts have several.
const PART_LEN: usize = 40_000;
const TICKS: u32 = 200;
const N_NEIGHBOURS: u8 = 4;

/// Every message of a short broadcast, what strangers say by way of a neighbour, and the payload of each part.
struct Broadcast {
    key: SigningKey,
    messages: Vec<Bytes>,
    payloads: Vec<Bytes>,
}

impl Broadcast {
    fn new() -> Self {
        let key = || SigningKey::from_seed([7; 32]);
        let track = Track {
            id: TrackId(0),
            kind: TrackKind::Video,
            codec: "avc1.42C01E".into(),
            timescale: 1000,
            bitrate: 1_000_000,
            width: 640,
            height: 360,
            init: Bytes::from_static(b"init"),
        };
        let catalog = Catalog::new(Epoch(1), vec![track]).expect("a sound catalog");
        let mut publisher = Publisher::new(key(), catalog);
        let mut store = Store::new(key().public(), StoreLimits::default());
        store.insert_catalog(&publisher.catalog_bytes()).expect("our own catalog");
        let mut messages = vec![store.catalog_message().expect("just inserted")];
        let mut payloads = Vec::new();
        for index in 0..N_PARTS {
            let bytes = Bytes::from(vec![index.to_le_bytes()[0]; PART_LEN]);
            let part = CutPart {
                track: TrackId(0),
                start: MediaTime(u64::from(index * TICKS)),
                duration: TICKS,
                is_independent: index % 5 == 0,
                captured_at: WallTime(u64::from(index * TICKS) * 1000),
                bytes: bytes.clone(),
            };
            let ready = publisher.publish(&part).expect("a sound part");
            let descriptor = ready.descriptor.clone();
            store.publish(ready);
            messages.extend(store.descriptor_message(descriptor.part));
            messages.extend(descriptor.blocks().filter_map(|block| store.block_message(block)));
            payloads.push(bytes);
        }
        messages.extend(exchange());
        Self { key: key(), messages, payloads }
    }
}

/// What neighbours without a tracker say.
fn exchange() -> impl Iterator<Item = Bytes> {
    let strangers = || (5..12).map(PeerId::new);
    let text = || "offer".to_owned();
    let forwarded = strangers().map(move |from| Control::Forwarded { from, text: text() });
    let forward = (0..3).map(move |to| Control::Forward { to: PeerId::new(to), text: text() });
    let named = [
        Control::FindNeighbours,
        Control::Neighbours { peers: strangers().collect() },
        Control::Hello { version: PROTOCOL_VERSION, epoch: Some(Epoch(1)) },
    ];
    named.into_iter().chain(forward).chain(forwarded).map(|control| Message::Control(control).encode().into())
}

/// A script being read.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?).min(self.0.len());
        let (first, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(first)
    }

    fn peer(&mut self) -> Option<PeerId> {
        Some(PeerId::new(u64::from(self.byte()? % (N_NEIGHBOURS + 1))))
    }
}

/// One command; `None` at the script's end.
fn step(session: &mut Session, broadcast: &Broadcast, script: &mut Script, now: &mut Instant) -> Option<()> {
    match script.byte()? % 10 {
        0 => session.link_opened(script.peer()?, *now),
        9 => {
            let route = if script.byte()?.is_multiple_of(2) { Route::Direct } else { Route::Relayed };
            session.set_route(script.peer()?, route, *now);
        }
        1 => session.link_closed(script.peer()?, *now),
        2 => session.receive(script.peer()?, script.bytes()?, *now),
        3 | 4 => {
            let index = usize::from(script.byte()?) % broadcast.messages.len();
            session.receive(script.peer()?, &broadcast.messages[index], *now);
        }
        5 => {
            let index = usize::from(script.byte()?) % broadcast.messages.len();
            let mut bent = broadcast.messages[index].to_vec();
            let at = usize::from(script.byte()?) % bent.len();
            bent[at] ^= script.byte()?;
            session.receive(script.peer()?, &bent, *now);
        }
        6 => *now += Duration::from_millis(u64::from(script.byte()?) * 10),
        7 => {
            let playhead_us = u64::from(script.byte()?) * 10_000;
            let buffered = vec![(playhead_us, playhead_us + u64::from(script.byte()?) * 10_000)];
            session
                .set_player(PlayerState { playhead_us, buffered, is_paused: false, is_seeking: false }, *now);
        }
        _ => session.set_clock(WallTime(u64::from(script.byte()?) * 10_000), *now),
    }
    Some(())
}

/// Gives how many parts were appended.
fn drain(session: &mut Session, broadcast: &Broadcast, now: Instant) -> usize {
    let mut n_appended = 0;
    while let Some(event) = session.poll_event() {
        if let Event::Append { chunks, .. } = event {
            n_appended += 1;
            let appended = chunks.concat();
            assert!(
                broadcast.payloads.iter().any(|payload| *payload == appended),
                "appended what was never sent"
            );
        }
    }
    assert!(session.poll_timeout().is_none_or(|at| at > now), "a time-out in the past would spin");
    n_appended
}

static BROADCAST: LazyLock<Broadcast> = LazyLock::new(Broadcast::new);

/// See the head of this module.
pub fn session(input: &[u8]) {
    play(input);
}

/// Runs a script; gives how many parts were appended.
pub fn play(input: &[u8]) -> usize {
    let mut n_appended = 0;
    let mut now = Instant::from_micros(1);
    let config = Config::viewer(PeerId::new(100));
    let mut session = Session::new(config, BROADCAST.key.public(), 1, now);
    session.link_opened(PeerId::SERVER, now);
    let mut script = Script(input);
    while step(&mut session, &BROADCAST, &mut script, &mut now).is_some() {
        session.handle_timeout(now);
        n_appended += drain(&mut session, &BROADCAST, now);
    }
    n_appended
}

/// Scripts in which all goes well, from the server and from a neighbour, with and without a pause before the end.
pub fn scripts() -> Vec<Vec<u8>> {
    let n_messages = 1 + N_PARTS.to_le_bytes()[0] * (1 + block_count(PART_LEN).to_le_bytes()[0]);
    let script = |from: u8, pause: u8| {
        let open = [8, 100, 0, from];
        let arrivals = (0..n_messages).flat_map(|index| [3, index, from, 6, 2]);
        let playing = (0..20).flat_map(|tick| [7, tick * 5, 120 - tick * 5, 6, 5]);
        let end = [6, pause, 1, from, 6, pause];
        open.into_iter().chain(arrivals).chain(playing).chain(end).collect()
    };
    vec![script(0, 1), script(1, 1), script(2, 255)]
}
