//! What a peer asks its session to do.

use cardume_media::{PageId, PartId};
use cardume_wire::link::Control;
use cardume_wire::{BlockId, PeerId, TrackId};

/// Something to do now, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom; the link stands.
        to: PeerId,
        /// What.
        message: Outgoing,
    },
    /// A part is whole and next in its track's order; of a film, from where the viewer went last.
    Deliver {
        /// Which.
        part: PartId,
    },
    /// Connect to this peer; the answer is `LinkOpened` or `ConnectFailed`.
    Connect {
        /// To whom.
        peer: PeerId,
    },
    /// Close the link.
    Disconnect {
        /// To whom.
        peer: PeerId,
        /// Why.
        reason: Reason,
    },
    /// Tell the tracker that this neighbour sends wrong media.
    Blame {
        /// Who.
        peer: PeerId,
    },
    /// A viewer does not answer the server: have its neighbours see whether it answers them.
    Doubt {
        /// Who.
        peer: PeerId,
    },
    /// Ask the tracker for neighbours.
    FindNeighbours {
        /// Those that are connected already or did not work.
        without: Vec<PeerId>,
    },
    /// What a peer says that a neighbour introduced, or that wants to connect by way of one.
    Forwarded {
        /// Who says it, if the neighbour does not lie.
        from: PeerId,
        /// What.
        text: String,
    },
    /// Forget the parts before this one.
    Evict {
        /// In which track.
        track: TrackId,
        /// The first part to keep.
        before_sequence: u32,
    },
    /// Forget one part of a film; it may come again.
    EvictPart {
        /// Which.
        part: PartId,
    },
    /// Play at this rate.
    SetRate(f64),
    /// Move the playhead.
    Seek {
        /// To this time on the media timeline, microseconds.
        to_us: u64,
    },
}

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// The catalog.
    Catalog,
    /// A part's descriptor.
    Descriptor(PartId),
    /// A page of the index of a film's track.
    Index(PageId),
    /// A block.
    Block(BlockId),
    /// Anything else.
    Control(Control),
}

/// Why a link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It speaks another version.
    Version,
    /// It sent what is wrong, or no message at all.
    Offence,
    /// It is silent.
    Silent,
    /// There are enough.
    TooMany,
    /// It says goodbye.
    Goodbye,
}
