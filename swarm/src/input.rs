//! What can happen to a peer. Media is only named: its bytes stay in the store of the session.

use core::time::Duration;

use cardume_media::{PageId, PartId, TrackKind};
use cardume_wire::link::{BLOCK_HEADER_LEN, Control, block_len};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, TrackId, WallTime};

use crate::{BitsPerSec, PlayerState};

/// Something that happened to a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A link to this peer stands; the server's is one of them.
    LinkOpened {
        /// The other end.
        peer: PeerId,
    },
    /// How the link to this viewer runs, or runs from now on. Until it is told no media is asked of it.
    Route {
        /// The other end.
        peer: PeerId,
        /// The way.
        route: Route,
    },
    /// The link is gone, whoever closed it.
    LinkClosed {
        /// The other end.
        peer: PeerId,
    },
    /// A link that [`crate::Output::Connect`] asked for did not come about.
    ConnectFailed {
        /// The other end.
        peer: PeerId,
    },
    /// Peers that somebody suggests to connect to.
    Suggested {
        /// Those beyond the limits are ignored.
        peers: Vec<PeerId>,
    },
    /// A control message came.
    Control {
        /// Who sent it.
        from: PeerId,
        /// What it says.
        control: Control,
    },
    /// A verified catalog of a new broadcast; all that was known of older ones is gone.
    Catalog(CatalogFacts),
    /// A verified descriptor that was not known.
    Descriptor {
        /// Who sent it; `None` for our own broadcast.
        from: Option<PeerId>,
        /// What it says.
        part: PartFacts,
    },
    /// A verified page of the index of a film's track that was not known.
    Index {
        /// Who sent it; `None` for our own film.
        from: Option<PeerId>,
        /// Which.
        page: PageId,
        /// Its parts in order.
        parts: Vec<PartFacts>,
    },
    /// A block was verified and stored.
    Block {
        /// Who sent it; `None` for our own broadcast.
        from: Option<PeerId>,
        /// Which.
        block: BlockId,
    },
    /// A block came that is held already or too old to be of use.
    BlockUseless {
        /// Who sent it.
        from: PeerId,
        /// Which.
        block: BlockId,
        /// Bytes of the message.
        len: usize,
    },
    /// A block came whose descriptor is not known yet; the session holds it back.
    BlockUnverifiable {
        /// Who sent it.
        from: PeerId,
        /// Which.
        block: BlockId,
    },
    /// A neighbour sent what its signature or descriptor disproves.
    Offence {
        /// Who sent it.
        from: PeerId,
        /// What is wrong with it.
        kind: Offence,
    },
    /// Bytes that wait in the socket or data channel to this peer.
    Backlog {
        /// The other end.
        peer: PeerId,
        /// How many.
        len: usize,
    },
    /// Tell this peer something by way of the neighbour that named it; see [`crate::Output::Forwarded`].
    Forward {
        /// Whom; one for whom [`crate::Peer::is_introduced`] holds.
        to: PeerId,
        /// What; what is longer than [`cardume_wire::link::FORWARD_LEN_LIMIT`] is dropped.
        text: String,
    },
    /// The tracker lost this neighbour, which may be dead or just cut off from it.
    Doubted {
        /// The other end.
        peer: PeerId,
    },
    /// Nothing of what is shown comes any more, until it does (server): it comes from another node, which is out of reach.
    CutOff,
    /// Somebody blames this peer for wrong media, says the tracker.
    Blamed {
        /// Whom.
        peer: PeerId,
        /// Whether so many do that it is evicted.
        is_evicted: bool,
    },
    /// The tracker's clock.
    Clock {
        /// Its time now.
        wall: WallTime,
    },
    /// The media element.
    Player(PlayerState),
    /// The viewer chooses one of the tracks of a kind.
    Select {
        /// Of which kind.
        kind: TrackKind,
        /// Which; `None` leaves it to the peer, which watches how much comes through. What the catalog does not have so
        /// is as if it were not chosen.
        track: Option<TrackId>,
    },
    /// The latency to hold from now on.
    TargetLatency(Duration),
    /// What may be sent from now on; see [`crate::Config::uplink_limit`].
    UplinkLimit(Option<BitsPerSec>),
    /// The viewer leaves: say goodbye to all.
    Leave,
}

/// The way of what is sent over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From one end to the other.
    Direct,
    /// Through the server's relay (TURN, RFC 8656): each byte costs its egress as much as if it came from the server.
    Relayed,
}

/// What a neighbour did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// A block that its descriptor disproves.
    WrongBlock,
    /// A catalog or descriptor that is not the broadcaster's.
    WrongSignature,
    /// Bytes that are no message.
    Malformed,
}

/// What the peer needs of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogFacts {
    /// The broadcast.
    pub epoch: Epoch,
    /// Its tracks; those beyond [`cardume_wire::link::HAVE_TRACK_LIMIT`] are ignored.
    pub tracks: Vec<TrackFacts>,
    /// Bytes of its message.
    pub len: usize,
    /// Of a film, what there is of each track; empty when live.
    pub reels: Vec<ReelFacts>,
}

/// What the peer needs of a film's track before its index is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReelFacts {
    /// Which.
    pub track: TrackId,
    /// How many parts it has.
    pub n_parts: u32,
    /// Where each page of its index starts on the media timeline, microseconds; rising.
    pub page_starts_us: Vec<u64>,
}

/// What the peer needs of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackFacts {
    /// Which.
    pub id: TrackId,
    /// Whether it is a picture; playback starts at one of its independent parts.
    pub is_video: bool,
    /// Nominal; 0 when unknown.
    pub bitrate: BitsPerSec,
}

/// What the peer needs of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFacts {
    /// Which part.
    pub id: PartId,
    /// Its first block.
    pub first_block: BlockNumber,
    /// How many blocks it has, at least 1.
    pub n_blocks: u32,
    /// Bytes of media.
    pub len: u32,
    /// Begin on the media timeline, microseconds.
    pub start_us: u64,
    /// End on the media timeline, microseconds.
    pub end_us: u64,
    /// When its begin was captured.
    pub captured_at: WallTime,
    /// Whether decoding can begin here.
    pub is_independent: bool,
    /// Bytes of its descriptor's message.
    pub descriptor_len: usize,
}

impl PartFacts {
    /// The number after its last block; `None` when the numbers do not fit.
    pub fn end_block(&self) -> Option<u32> {
        self.first_block.0.checked_add(self.n_blocks)
    }

    /// Its blocks, rising.
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> + use<> {
        let (epoch, track) = (self.id.epoch, self.id.track);
        let numbers = self.first_block.0..self.end_block().unwrap_or(self.first_block.0);
        numbers.map(move |number| BlockId { epoch, track, number: BlockNumber(number) })
    }

    /// Whether the block is one of it.
    pub fn has_block(&self, number: BlockNumber) -> bool {
        number.0.checked_sub(self.first_block.0).is_some_and(|offset| offset < self.n_blocks)
    }

    /// Bytes of the message that one of its blocks travels in.
    pub fn message_len(&self, number: BlockNumber) -> usize {
        let offset = number.0.saturating_sub(self.first_block.0) as usize;
        let block_len = block_len(self.len as usize);
        let left = (self.len as usize).saturating_sub(offset.saturating_mul(block_len));
        BLOCK_HEADER_LEN + left.min(block_len)
    }
}
