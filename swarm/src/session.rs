//! A peer with its store: bytes in, bytes out.

mod adopted;
mod film;
mod reading;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cardume_media::{
    BlockVerdict, Catalog, CutPart, Descriptor, DescriptorError, Inserted, PartId, PublicKey, PublishError,
    Publisher, Store, StoreLimits, TrackKind,
};
use cardume_wire::link::{BLOCK_HEADER_LEN, DecodeError, Message};
use cardume_wire::{BlockId, PeerId, TrackId, WallTime};

pub use adopted::Adopted;
use reading::Reading;

use crate::{
    BitsPerSec, CatalogFacts, Config, Input, Instant, Offence, Outgoing, Output, PartFacts, Peer,
    PlayerState, ReelFacts, Role, Route, Stats, TrackFacts,
};

/// Blocks held back for their descriptor at most: 4 MiB, the largest part.
const UNVERIFIED_LIMIT: usize = 256;

/// What the shell has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Send these bytes as one message.
    Transmit {
        /// To whom; the link stands.
        to: PeerId,
        /// One whole link message.
        bytes: Bytes,
    },
    /// Connect to this peer; answer with [`Session::link_opened`] or [`Session::connect_failed`].
    Connect {
        /// To whom.
        peer: PeerId,
    },
    /// Close the link to this peer, after what was sent before.
    Disconnect {
        /// To whom.
        peer: PeerId,
    },
    /// Tell the tracker that this neighbour sends wrong media.
    Blame {
        /// Who.
        peer: PeerId,
    },
    /// A viewer does not answer the server: tell its neighbours, whose sessions are told by [`Session::doubt`].
    Doubt {
        /// Who.
        peer: PeerId,
    },
    /// Ask the tracker for neighbours.
    FindNeighbours {
        /// Those that are connected already or did not work.
        without: Vec<PeerId>,
    },
    /// What a peer says in order to connect, by way of a neighbour; answer with [`Session::forward`].
    Forwarded {
        /// Who says it, if the neighbour does not lie.
        from: PeerId,
        /// What.
        text: String,
    },
    /// A new broadcast: make a new `MediaSource` with a `SourceBuffer` for each kind of track.
    Attach(Catalog),
    /// Read this part of our own film (server role), and give it to [`Session::part_read`].
    Read {
        /// Which.
        part: PartId,
    },
    /// Append this part to the `SourceBuffer` of its track's kind; after a part of another track, behind its own init
    /// segment. It may begin before the end of what was appended, and takes its place.
    Append {
        /// The track.
        track: TrackId,
        /// The part's bytes in order.
        chunks: Vec<Bytes>,
        /// Where it begins on the media timeline, microseconds.
        start_us: u64,
        /// Where it ends.
        end_us: u64,
        /// Whether the viewer of a film went elsewhere: what of the track still waits to be appended is of no use.
        is_jump: bool,
        /// Whether the track ends with it, as that of a film does.
        is_last: bool,
    },
    /// Play at this rate.
    SetRate(f64),
    /// Move the playhead.
    Seek {
        /// To this time on the media timeline, microseconds.
        to_us: u64,
    },
}

/// A [`crate::Peer`] with its [`cardume_media::Store`]: what the browser and the server peer both run.
///
/// After each call drain [`Session::poll_event`], then arm a timer for [`Session::poll_timeout`]. Links keep the order
/// of what is sent on them.
#[derive(Debug)]
pub struct Session {
    role: Role,
    peer: Peer,
    store: Store,
    publisher: Option<Publisher>,
    /// Of a film's tracks the parts after those that were appended last.
    appended: BTreeMap<TrackId, u32>,
    /// What of a film is read to be sent.
    reading: Reading,
    /// Blocks whose descriptor is not here yet, and who sent them: never stored, played or forwarded.
    unverified: VecDeque<Unverified>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Unverified {
    from: PeerId,
    id: BlockId,
    payload: Bytes,
}

impl Session {
    /// A session of the channel with this key; `seed` should be unique to it.
    pub fn new(config: Config, key: PublicKey, seed: u64, now: Instant) -> Self {
        Self {
            role: config.role,
            peer: Peer::new(config, seed, now),
            store: Store::new(key, StoreLimits::default()),
            publisher: None,
            appended: BTreeMap::new(),
            reading: Reading::default(),
            unverified: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A link stands; the server's is [`PeerId::SERVER`].
    pub fn link_opened(&mut self, peer: PeerId, now: Instant) {
        self.input(Input::LinkOpened { peer }, now);
    }

    /// How a link that stands runs, or runs from now on.
    pub fn set_route(&mut self, peer: PeerId, route: Route, now: Instant) {
        self.input(Input::Route { peer, route }, now);
    }

    /// A link is gone.
    pub fn link_closed(&mut self, peer: PeerId, now: Instant) {
        self.unverified.retain(|held| held.from != peer);
        self.input(Input::LinkClosed { peer }, now);
    }

    /// An [`Event::Connect`] came to nothing.
    pub fn connect_failed(&mut self, peer: PeerId, now: Instant) {
        self.input(Input::ConnectFailed { peer }, now);
    }

    /// Whether a neighbour forwards what is said to this peer, so that it can be connected to without the tracker.
    pub fn is_introduced(&self, peer: PeerId) -> bool {
        self.peer.is_introduced(peer)
    }

    /// Says something to a peer for whom [`Session::is_introduced`] holds.
    pub fn forward(&mut self, to: PeerId, text: String, now: Instant) {
        self.input(Input::Forward { to, text }, now);
    }

    /// The tracker lost this neighbour, which is asked at once whether it lives; of others nothing is known here.
    pub fn doubt(&mut self, peer: PeerId, now: Instant) {
        self.input(Input::Doubted { peer }, now);
    }

    /// The tracker says that somebody blames this peer for wrong media, or so many that it is evicted.
    pub fn blame(&mut self, peer: PeerId, is_evicted: bool, now: Instant) {
        self.input(Input::Blamed { peer, is_evicted }, now);
    }

    /// One message came. What is malformed or wrong ends the link; it never fails here.
    pub fn receive(&mut self, from: PeerId, bytes: &[u8], now: Instant) {
        if !self.peer.has_link(from) {
            return;
        }
        match Message::decode(bytes) {
            Ok(Message::Control(control)) => self.input(Input::Control { from, control }, now),
            // Media comes from the broadcaster to the server peer, never from viewers.
            Ok(_) if self.role == Role::Server => {}
            Ok(Message::Block { id, payload }) => self.receive_block(from, id, payload, now),
            Ok(Message::Catalog(body)) => self.receive_catalog(from, body, now),
            Ok(Message::Descriptor(body)) => self.receive_descriptor(from, body, now),
            Ok(Message::Index(body)) => self.receive_index(from, body, now),
            Err(DecodeError::UnknownType) => {}
            Err(_) => self.input(Input::Offence { from, kind: Offence::Malformed }, now),
        }
    }

    /// Bytes that wait in the socket or data channel to this peer; tell it when it changes much.
    pub fn set_backlog(&mut self, peer: PeerId, len: usize, now: Instant) {
        self.input(Input::Backlog { peer, len }, now);
    }

    /// Peers named by the tracker.
    pub fn suggest(&mut self, peers: &[PeerId], now: Instant) {
        self.input(Input::Suggested { peers: peers.to_vec() }, now);
    }

    /// The tracker's wall clock at `now`, as [`crate::ClockEstimator`] has it.
    pub fn set_clock(&mut self, wall_now: WallTime, now: Instant) {
        self.input(Input::Clock { wall: wall_now }, now);
    }

    /// The media element as it is; tell it on `timeupdate` and the like, some 4 to 20 times a second.
    pub fn set_player(&mut self, state: PlayerState, now: Instant) {
        self.input(Input::Player(state), now);
    }

    /// Begins a broadcast (server role); one that is on ends.
    pub fn start_broadcast(&mut self, publisher: Publisher, now: Instant) {
        let bytes = publisher.catalog_bytes();
        // Our own catalog is properly signed; an epoch that is not newer leaves everything as it is.
        if matches!(self.store.insert_catalog(&bytes), Ok(Inserted::New)) {
            self.publisher = Some(publisher);
            self.catalog_is_new(now);
        }
    }

    /// Publishes the next part of a track. Without a broadcast nothing happens.
    ///
    /// # Errors
    /// When the part breaks a limit; see [`PublishError`].
    pub fn publish(&mut self, part: &CutPart, now: Instant) -> Result<(), PublishError> {
        let Some(publisher) = &mut self.publisher else { return Ok(()) };
        let ready = publisher.publish(part)?;
        let descriptor = ready.descriptor.clone();
        let descriptor_len = ready.descriptor_bytes.len() + 1;
        self.store.publish(ready);
        let Some(facts) = self.part_facts(&descriptor, descriptor_len) else { return Ok(()) };
        self.input(Input::Descriptor { from: None, part: facts }, now);
        for block in descriptor.blocks() {
            self.input(Input::Block { from: None, block }, now);
        }
        Ok(())
    }

    /// Ends the broadcast; what is in the window still travels.
    pub fn end_broadcast(&mut self, now: Instant) {
        self.publisher = None;
        self.handle_timeout(now);
    }

    /// The latency to hold from now on.
    pub fn set_target_latency(&mut self, latency: Duration, now: Instant) {
        self.input(Input::TargetLatency(latency), now);
    }

    /// The viewer chooses one of the tracks of a kind; `None` leaves it to the session. See [`Input::Select`].
    pub fn select(&mut self, kind: TrackKind, track: Option<TrackId>, now: Instant) {
        self.input(Input::Select { kind, track }, now);
    }

    /// What may be sent from now on; see [`Config::uplink_limit`].
    pub fn set_uplink_limit(&mut self, limit: Option<BitsPerSec>, now: Instant) {
        self.input(Input::UplinkLimit(limit), now);
    }

    /// Says goodbye to all and closes the links.
    pub fn leave(&mut self, now: Instant) {
        self.input(Input::Leave, now);
    }

    /// The time asked for has come; early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.peer.handle_timeout(now);
        self.perform();
    }

    /// When to call [`Session::handle_timeout`]; `None` is never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.peer.poll_timeout()
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// See [`Peer::takes_link`].
    pub fn takes_link(&self, now: Instant) -> bool {
        self.peer.takes_link(now)
    }

    /// How it fares.
    pub fn stats(&self, now: Instant) -> Stats {
        self.peer.stats(now)
    }

    fn input(&mut self, input: Input, now: Instant) {
        self.peer.handle_input(input, now);
        self.perform();
    }

    fn receive_catalog(&mut self, from: PeerId, body: &[u8], now: Instant) {
        match self.store.insert_catalog(body) {
            Ok(Inserted::New) => self.catalog_is_new(now),
            Ok(_) => {}
            Err(_) => self.input(Input::Offence { from, kind: Offence::WrongSignature }, now),
        }
    }

    fn receive_descriptor(&mut self, from: PeerId, body: &[u8], now: Instant) {
        match self.store.insert_descriptor(body) {
            Ok((Inserted::New, descriptor)) => {
                let Some(part) = self.part_facts(&descriptor, body.len() + 1) else { return };
                self.input(Input::Descriptor { from: Some(from), part }, now);
                self.verify_held_back(descriptor.part, now);
            }
            Ok(_) | Err(DescriptorError::Unknown) => {}
            Err(_) => self.input(Input::Offence { from, kind: Offence::WrongSignature }, now),
        }
    }

    fn receive_block(&mut self, from: PeerId, id: BlockId, payload: &[u8], now: Instant) {
        let input = match self.store.insert_block(id, payload) {
            BlockVerdict::Verified => Input::Block { from: Some(from), block: id },
            BlockVerdict::Bad => Input::Offence { from, kind: Offence::WrongBlock },
            BlockVerdict::Duplicate | BlockVerdict::Stale => {
                Input::BlockUseless { from, block: id, len: payload.len() + BLOCK_HEADER_LEN }
            }
            BlockVerdict::NoDescriptor => {
                self.hold_back(from, id, payload);
                Input::BlockUnverifiable { from, block: id }
            }
        };
        self.input(input, now);
    }

    fn hold_back(&mut self, from: PeerId, id: BlockId, payload: &[u8]) {
        if self.unverified.len() == UNVERIFIED_LIMIT {
            self.unverified.pop_front();
        }
        self.unverified.push_back(Unverified { from, id, payload: Bytes::copy_from_slice(payload) });
    }

    /// A descriptor came: the blocks that waited for it are judged now.
    fn verify_held_back(&mut self, part: PartId, now: Instant) {
        let held = core::mem::take(&mut self.unverified);
        let (ready, waiting) = held.into_iter().partition(|held| self.store.part_of(held.id) == Some(part));
        self.unverified = waiting;
        let ready: VecDeque<Unverified> = ready;
        for held in ready {
            self.receive_block(held.from, held.id, &held.payload, now);
        }
    }

    fn catalog_is_new(&mut self, now: Instant) {
        let Some(catalog) = self.store.catalog().cloned() else { return };
        self.appended.clear();
        self.unverified.retain(|held| held.id.epoch >= catalog.epoch());
        let tracks = catalog.tracks().iter().map(|track| TrackFacts {
            id: track.id,
            is_video: track.kind == TrackKind::Video,
            bitrate: BitsPerSec(u64::from(track.bitrate)),
        });
        let len = self.store.catalog_message().map_or(0, |message| message.len());
        let reels = catalog.tracks().iter().filter_map(|track| {
            let index = catalog.index(track.id)?;
            let starts = index.pages().iter().map(|page| page.start.to_micros(track.timescale));
            let page_starts_us = starts.collect();
            Some(ReelFacts { track: track.id, n_parts: index.n_parts(), page_starts_us })
        });
        let facts =
            CatalogFacts { epoch: catalog.epoch(), tracks: tracks.collect(), len, reels: reels.collect() };
        self.events.push_back(Event::Attach(catalog));
        self.input(Input::Catalog(facts), now);
    }

    /// What the peer needs of a descriptor; `None` if its track is not in the catalog.
    fn part_facts(&self, descriptor: &Descriptor, descriptor_len: usize) -> Option<PartFacts> {
        let timescale = self.store.catalog()?.track(descriptor.part.track)?.timescale;
        Some(PartFacts {
            id: descriptor.part,
            first_block: descriptor.first_block,
            n_blocks: descriptor.n_blocks(),
            len: descriptor.len,
            start_us: descriptor.start.to_micros(timescale),
            end_us: descriptor.start.saturating_add(descriptor.duration).to_micros(timescale),
            captured_at: descriptor.captured_at,
            is_independent: descriptor.is_independent,
            descriptor_len,
        })
    }

    /// Does what the peer asks for.
    fn perform(&mut self) {
        while let Some(output) = self.peer.poll_output() {
            let event = match output {
                Output::Send { to, message } => {
                    if !self.send(to, &message) {
                        self.send_when_read(to, message);
                    }
                    continue;
                }
                Output::Deliver { part } => {
                    let Some(append) = self.append(part) else { continue };
                    append
                }
                Output::Evict { track, before_sequence } => {
                    self.store.evict_before(track, before_sequence);
                    continue;
                }
                Output::EvictPart { part } => {
                    self.store.evict(part);
                    continue;
                }
                Output::Connect { peer } => Event::Connect { peer },
                Output::Disconnect { peer, .. } => Event::Disconnect { peer },
                Output::Blame { peer } => Event::Blame { peer },
                Output::Doubt { peer } => Event::Doubt { peer },
                Output::FindNeighbours { without } => Event::FindNeighbours { without },
                Output::Forwarded { from, text } => Event::Forwarded { from, text },
                Output::SetRate(rate) => Event::SetRate(rate),
                Output::Seek { to_us } => Event::Seek { to_us },
            };
            self.events.push_back(event);
        }
    }

    /// False when what is to be sent is not here.
    fn send(&mut self, to: PeerId, message: &Outgoing) -> bool {
        let bytes = self.message_bytes(message);
        let is_here = bytes.is_some();
        self.events.extend(bytes.map(|bytes| Event::Transmit { to, bytes }));
        is_here
    }

    fn message_bytes(&self, message: &Outgoing) -> Option<Bytes> {
        match message {
            Outgoing::Catalog => self.store.catalog_message(),
            Outgoing::Descriptor(part) => self.store.descriptor_message(*part),
            Outgoing::Index(page) => self.store.index_message(*page),
            Outgoing::Block(block) => self.store.block_message(*block),
            Outgoing::Control(control) => Some(Message::Control(control.clone()).encode().into()),
        }
    }

    fn append(&mut self, part: PartId) -> Option<Event> {
        let descriptor = self.store.descriptor(part)?;
        let catalog = self.store.catalog()?;
        let timescale = catalog.track(part.track)?.timescale;
        let index = catalog.index(part.track);
        let next = part.sequence.saturating_add(1);
        let before = index.and_then(|_| self.appended.insert(part.track, next));
        Some(Event::Append {
            track: part.track,
            chunks: self.store.part_payload(part)?,
            start_us: descriptor.start.to_micros(timescale),
            end_us: descriptor.start.saturating_add(descriptor.duration).to_micros(timescale),
            is_jump: before.is_some_and(|due| due != part.sequence),
            is_last: index.is_some_and(|index| next >= index.n_parts()),
        })
    }
}
