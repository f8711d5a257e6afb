//! The server peer's session with a film bears whatever viewers ask, and whatever its shell reads: it never panics, its
//! time-out lies ahead once it is drained, it reads few parts at a time, and it sends nothing but the film's own bytes.
//!
//! The input is a script of commands of one byte and their arguments.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{
    BlockVerdict, CutPart, Film, FilmMaker, MediaTime, PartId, SigningKey, Store, StoreLimits, Track,
    TrackKind,
};
use cardume_swarm::{Config, Event, Instant, Session};
use cardume_wire::link::{Control, Message, TrackParts};
use cardume_wire::{BlockId, BlockNumber, Epoch, PROTOCOL_VERSION, PeerId, TrackId, WallTime};

/// Two pages of the index.
const N_PARTS: u32 = 70;
/// Three blocks.
const PART_LEN: usize = 40_000;
const BLOCKS_PER_PART: u32 = 3;
const EPOCH: Epoch = Epoch(5);
const TRACK: TrackId = TrackId(0);
const N_VIEWERS: u8 = 4;
/// Far more parts than this are asked for at a time.
const OPEN_READ_LIMIT: usize = 8;

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn media(sequence: u32) -> Bytes {
    sequence.to_be_bytes().iter().copied().cycle().take(PART_LEN).collect()
}

static FILM: LazyLock<Film> = LazyLock::new(|| {
    let track = Track {
        id: TRACK,
        kind: TrackKind::Video,
        codec: "avc1.42C01E".into(),
        timescale: 1000,
        bitrate: 160_000,
        width: 640,
        height: 360,
        init: Bytes::from_static(b"init"),
    };
    let mut maker = FilmMaker::new(EPOCH, vec![track]);
    for sequence in 0..N_PARTS {
        let start = MediaTime(u64::from(sequence) * 2000);
        let (duration, bytes) = (2000, media(sequence));
        let part =
            CutPart { track: TRACK, start, duration, is_independent: true, captured_at: WallTime(0), bytes };
        maker.push(&part).expect("a sound part");
    }
    maker.finish(&key()).expect("a sound film")
});

/// What viewers ask for and tell, well formed but not always sensible.
static WORDS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let block = |number: u32| BlockId { epoch: EPOCH, track: TRACK, number: BlockNumber(number) };
    let mut words = vec![Control::Hello { version: PROTOCOL_VERSION, epoch: Some(EPOCH) }];
    let pages = [0, 1, 2, u16::MAX];
    words.extend(pages.map(|page| Control::RequestIndex { epoch: EPOCH, track: TRACK, page }));
    for number in (0..N_PARTS * BLOCKS_PER_PART + 9).step_by(9).chain([u32::MAX]) {
        let blocks: Vec<BlockId> = (0..9).map(|offset| block(number.saturating_add(offset))).collect();
        words.push(Control::RequestDescriptor { block: block(number) });
        words.push(Control::Request { blocks: blocks.clone(), within_ms: Some(500) });
        words.push(Control::Cancel { blocks });
    }
    for first in [0, N_PARTS, u32::MAX] {
        let parts = vec![TrackParts { track: TRACK, first, bits: vec![0xFF; 9].into() }];
        words.push(Control::HaveParts { epoch: EPOCH, whole: parts.clone(), gone: Vec::new() });
        words.push(Control::HaveParts { epoch: EPOCH, whole: Vec::new(), gone: parts });
    }
    words.push(Control::Goodbye);
    words.into_iter().map(|word| Message::Control(word).encode().into()).collect()
});

/// One run: the server's session, what its shell is to read, and what a viewer makes of all that is sent.
struct Run {
    session: Session,
    viewer: Store,
    reads: VecDeque<PartId>,
    now: Instant,
    n_blocks: usize,
}

impl Run {
    fn new() -> Self {
        let now = Instant::from_micros(1);
        let mut session = Session::new(Config::server(None), key().public(), 1, now);
        session.start_film(&FILM, now);
        let mut viewer = Store::new(key().public(), StoreLimits::default());
        viewer.insert_catalog(&FILM.catalog_bytes).expect("our own catalog");
        for page in &FILM.pages {
            viewer.insert_index(page).expect("our own page");
        }
        Self { session, viewer, reads: VecDeque::new(), now, n_blocks: 0 }
    }

    /// One command; `None` at the script's end.
    fn step(&mut self, script: &mut impl Iterator<Item = u8>) -> Option<()> {
        let command = script.next()? % 6;
        let argument = script.next()?;
        let peer = PeerId::new(u64::from(argument % N_VIEWERS) + 1);
        match command {
            0 => self.session.link_opened(peer, self.now),
            1 => self.session.link_closed(peer, self.now),
            2 => self.session.receive(peer, &WORDS[usize::from(script.next()?) % WORDS.len()], self.now),
            3 => {
                let mut bent = WORDS[usize::from(script.next()?) % WORDS.len()].to_vec();
                let at = usize::from(script.next()?) % bent.len();
                bent[at] ^= script.next()?;
                self.session.receive(peer, &bent, self.now);
            }
            4 => self.now += Duration::from_millis(u64::from(argument)),
            _ => self.answer(argument),
        }
        Some(())
    }

    /// The shell read what it was asked to first: right, another part, or nothing.
    fn answer(&mut self, how: u8) {
        let Some(part) = self.reads.pop_front() else { return };
        let read = match how % 4 {
            0 => None,
            1 => Some(media(part.sequence + 1)),
            _ => Some(media(part.sequence)),
        };
        let is_right = self.session.part_read(part, read.as_ref());
        assert_eq!(is_right, how % 4 > 1, "only the film's own parts are taken");
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Read { part } => self.reads.push_back(part),
                Event::Transmit { bytes, .. } => self.hear(&bytes),
                _ => {}
            }
        }
        assert!(self.reads.len() <= OPEN_READ_LIMIT, "too many parts are read at a time");
        assert!(
            self.session.poll_timeout().is_none_or(|at| at > self.now),
            "a time-out in the past would spin"
        );
    }

    fn hear(&mut self, bytes: &[u8]) {
        match Message::decode(bytes).expect("the server speaks well") {
            Message::Block { id, payload } => {
                assert_ne!(self.viewer.insert_block(id, payload), BlockVerdict::Bad, "not the film's own");
                self.n_blocks += 1;
            }
            Message::Descriptor(body) => {
                self.viewer.insert_descriptor(body).expect("the film's own");
            }
            _ => {}
        }
    }
}

/// See the head of this module.
pub fn film(input: &[u8]) {
    play(input);
}

/// Runs a script; gives how many blocks were sent.
pub fn play(input: &[u8]) -> usize {
    let mut run = Run::new();
    let mut script = input.iter().copied();
    while run.step(&mut script).is_some() {
        run.session.handle_timeout(run.now);
        run.drain();
    }
    run.n_blocks
}

/// Scripts in which viewers are greeted, ask for much, and get it.
pub fn scripts() -> Vec<Vec<u8>> {
    let n_words = u8::try_from(WORDS.len() - 1).unwrap_or(u8::MAX);
    let script = |n_viewers: u8, step: usize| {
        let greetings = (0..n_viewers).flat_map(|viewer| [0, viewer, 2, viewer, 0]);
        let words = (1..n_words).step_by(step);
        let asking = words.flat_map(move |word| [2, word % n_viewers, word, 4, 20, 5, 2, 5, 3]);
        greetings.chain(asking).chain([1, 0, 5, 2, 5, 2]).collect()
    };
    // All is asked for before anything is read.
    let asking = (1..n_words).filter(|word| word % 3 != 1).flat_map(|word| [2, 0, word]);
    let greedy = [0, 0, 2, 0, 0].into_iter().chain(asking).chain([5, 2].repeat(99)).collect();
    vec![script(1, 1), script(2, 2), script(4, 4), greedy]
}
