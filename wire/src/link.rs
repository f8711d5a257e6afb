//! Binary messages between two peers, the server peer included.
//!
//! A message is one data-channel or WebSocket message: a type byte and a body. Blocks have a fixed header of
//! [`BLOCK_HEADER_LEN`] bytes around raw media; catalogs, descriptors and indexes are opaque here (`media` owns their form);
//! everything else is CBOR with numbered fields (RFC 8949), so that newer fields and types are skipped by older peers.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::{BlockId, BlockNumber, Epoch, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet};

/// Media bytes in one block at most: what a data channel takes without delaying control behind it.
pub const BLOCK_LEN_LIMIT: usize = 16 * 1024;
/// Parts are cut into one block for each stripe as long as blocks do not get shorter than this: what goes with each of
/// them (header, framing, hash) is 2.8 % of it. At low rates a block takes long, and who feeds many in a stripe is done
/// with the last of them as much later. Simulator, `e2-flash` with 220 viewers, 2 seeds: blocks on time at 1 s 95.7 % with 4 KiB,
/// 98.3 % with 2 KiB, 98.4 % with 1.5 KiB.
pub const BLOCK_LEN_MIN: usize = 2 * 1024;
/// Bytes before a block's media: type, track, epoch, number.
pub const BLOCK_HEADER_LEN: usize = 10;
/// Bytes of any message at most; a catalog with its init segments is the largest.
pub const MESSAGE_LEN_LIMIT: usize = 64 * 1024;
/// Bytes of a control message at most. The largest today, 64 blocks requested, has under 1 KiB; the rest is room for
/// fields of newer versions, which are skipped.
pub const CONTROL_LEN_LIMIT: usize = 4096;
/// Blocks named by one [`Control::Request`], [`Control::Cancel`] or [`Control::Missing`] at most.
pub const REQUEST_LIMIT: usize = 64;
/// Bytes of a [`TrackBlocks`] or [`TrackParts`] bitmap at most: 256 blocks or parts.
pub const HAVE_LEN_LIMIT: usize = 32;
/// Bitmaps in one [`Control::Have`], or in each list of a [`Control::HaveParts`], at most: as many as a catalog has tracks.
pub const HAVE_TRACK_LIMIT: usize = 8;
/// Peers named as hints at most.
pub const HINT_LIMIT: usize = 8;
/// Peers a stripe may come through at most: log4 of 10^9 viewers.
pub const PATH_LIMIT: usize = 16;
/// Bytes of what one viewer tells another through a neighbour of both at most: an SDP of a data channel is under 2 KiB.
pub const FORWARD_LEN_LIMIT: usize = 3 * 1024;
/// The age in [`Control::Status`] of a stripe that nobody pushes to the sender.
pub const UNKNOWN_AGE: u16 = u16::MAX;

/// Bytes of each block of a part of this length but the last, which may be shorter.
///
/// A part is cut evenly into as many blocks as there are stripes, or a multiple of that: each stripe carries its share
/// of each part, and a peer that passes a block on to several children is done with the first of them soon. Blocks are
/// neither longer than [`BLOCK_LEN_LIMIT`] nor, for the sake of stripes, made shorter than [`BLOCK_LEN_MIN`].
pub const fn block_len(part_len: usize) -> usize {
    let n_needed = part_len.div_ceil(BLOCK_LEN_LIMIT);
    let n_even = n_needed.next_multiple_of(STRIPE_COUNT as usize);
    let n_long_enough = part_len.div_ceil(BLOCK_LEN_MIN);
    let n_blocks = if n_even < n_long_enough { n_even } else { n_long_enough };
    if part_len == 0 { 1 } else { part_len.div_ceil(n_blocks) }
}

/// Blocks of a part of this length.
pub const fn block_count(part_len: usize) -> usize {
    part_len.div_ceil(block_len(part_len))
}

const TYPE_BLOCK: u8 = 1;
const TYPE_CATALOG: u8 = 2;
const TYPE_DESCRIPTOR: u8 = 3;
const TYPE_CONTROL: u8 = 4;
const TYPE_INDEX: u8 = 5;

/// A decoded message; media borrows from the input.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// A piece of media, not yet verified.
    Block {
        /// Which block the sender says it is.
        id: BlockId,
        /// 1 to [`BLOCK_LEN_LIMIT`] bytes.
        payload: &'a [u8],
    },
    /// The signed list of a broadcast's tracks, in `media`'s form.
    Catalog(&'a [u8]),
    /// The descriptor of one part, in `media`'s form: signed, or in a film as its index vouches for it.
    Descriptor(&'a [u8]),
    /// One page of the index of a film's track, in `media`'s form.
    Index(&'a [u8]),
    /// Everything that is not media.
    Control(Control),
}

/// What peers tell each other besides media.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Control {
    /// First message of each side.
    #[n(0)]
    Hello {
        /// The sender's [`crate::PROTOCOL_VERSION`].
        #[n(0)]
        version: u16,
        /// The broadcast whose catalog the sender has; who knows a newer one sends it.
        #[n(1)]
        epoch: Option<Epoch>,
    },
    /// Be my provider: push me each new block of this stripe, and those of the window that I have not.
    #[n(1)]
    Subscribe {
        /// The stripe wanted.
        #[n(0)]
        stripe: Stripe,
        /// Of these tracks.
        #[n(1)]
        tracks: TrackSet,
        /// Stripes that the asker could push to others, all its children together.
        #[n(2)]
        slots: u16,
        /// Whether nobody pushes this stripe to the asker now.
        #[n(3)]
        is_starving: bool,
        /// Microseconds of media time: nothing of the window that starts before, as the asker shows another track until
        /// then. `None` is what a joiner needs.
        #[n(4)]
        from_us: Option<u64>,
    },
    /// Answer to [`Control::Subscribe`]: I push it to you from now on. Sent again whenever the path changes.
    #[n(2)]
    Accept {
        /// The stripe.
        #[n(0)]
        stripe: Stripe,
        /// The peers the stripe comes through, from the server's child down to the sender; empty from the server.
        /// At most [`PATH_LIMIT`].
        #[n(1)]
        path: Vec<PeerId>,
    },
    /// Answer to [`Control::Subscribe`], or the end of one: I do not push it to you; those named may.
    #[n(3)]
    Refuse {
        /// The stripe.
        #[n(0)]
        stripe: Stripe,
        /// Peers that may take the asker; at most [`HINT_LIMIT`].
        #[n(1)]
        hints: Vec<PeerId>,
    },
    /// Push me this stripe no more.
    #[n(4)]
    Unsubscribe {
        /// The stripe.
        #[n(0)]
        stripe: Stripe,
    },
    /// Blocks that the sender holds, verified. Adds to what it said before.
    #[n(5)]
    Have {
        /// The broadcast.
        #[n(0)]
        epoch: Epoch,
        /// Of each track some; at most [`HAVE_TRACK_LIMIT`].
        #[n(1)]
        tracks: Vec<TrackBlocks>,
    },
    /// Send me these blocks; at most [`REQUEST_LIMIT`].
    #[n(6)]
    Request {
        /// The blocks, most urgent first.
        #[n(0)]
        blocks: Vec<BlockId>,
        /// Milliseconds that they may wait behind what others want sooner; `None` is now.
        #[n(1)]
        within_ms: Option<u16>,
    },
    /// Those blocks are no longer wanted; at most [`REQUEST_LIMIT`].
    #[n(7)]
    Cancel {
        /// The blocks.
        #[n(0)]
        blocks: Vec<BlockId>,
    },
    /// Answer to [`Control::Request`]: these I will not send; at most [`REQUEST_LIMIT`].
    #[n(8)]
    Missing {
        /// The blocks.
        #[n(0)]
        blocks: Vec<BlockId>,
    },
    /// Send me the descriptor of the part that this block belongs to.
    #[n(9)]
    RequestDescriptor {
        /// Any block of the part.
        #[n(0)]
        block: BlockId,
    },
    /// Asks for a [`Control::Pong`] at once.
    #[n(10)]
    Ping {
        /// The asker's own time, given back untouched.
        #[n(0)]
        sent_at: u64,
    },
    /// Answer to [`Control::Ping`].
    #[n(11)]
    Pong {
        /// From the [`Control::Ping`].
        #[n(0)]
        sent_at: u64,
    },
    /// The sender is leaving: look for other providers now.
    #[n(12)]
    Goodbye,
    /// How the sender is placed; sent when it changed.
    #[n(13)]
    Status {
        /// Stripes it could push to others, all its children together.
        #[n(0)]
        slots: u16,
        /// Of these, how many nobody uses.
        #[n(1)]
        free: u16,
        /// Milliseconds from capture to arrival at the sender of the newest blocks, by stripe;
        /// [`UNKNOWN_AGE`] where nobody pushes it.
        #[n(2)]
        ages: [u16; STRIPE_COUNT as usize],
        /// Children that would give way to one that can feed others in the sender's home stripe.
        #[n(3)]
        yields: u16,
        /// Milliseconds that one child more would wait for its share of a key frame, after all others.
        #[n(4)]
        wait: u16,
        /// Children that would give way to one that pushes anything to others.
        #[n(5)]
        idle: u16,
        /// The tracks that the sender gets, and can push; `None` is all.
        #[n(6)]
        tracks: Option<TrackSet>,
    },
    /// From a server to a viewer for which there is no room: take the home stripe only, and only to pass it on. Or there is
    /// room again.
    #[n(21)]
    Rest {
        /// Whether to rest from now on.
        #[n(0)]
        rests: bool,
    },
    /// From a viewer to the server: my provider does not answer me; does it answer you?
    #[n(22)]
    Doubt {
        /// Who is silent.
        #[n(0)]
        peer: PeerId,
    },
    /// Whole parts of a film that the sender holds, or holds no longer. Adds to what it said before.
    #[n(14)]
    HaveParts {
        /// The film.
        #[n(0)]
        epoch: Epoch,
        /// Held from now on; at most [`HAVE_TRACK_LIMIT`].
        #[n(1)]
        whole: Vec<TrackParts>,
        /// Evicted; at most [`HAVE_TRACK_LIMIT`].
        #[n(2)]
        gone: Vec<TrackParts>,
    },
    /// Answer of a server to a [`Control::Request`] of a film's blocks: peers that hold what was asked for, or some of it.
    #[n(16)]
    Holders {
        /// At most [`HINT_LIMIT`].
        #[n(0)]
        peers: Vec<PeerId>,
    },
    /// Name me neighbours of yours: I have too few, and no tracker to ask.
    #[n(17)]
    FindNeighbours,
    /// Answer to [`Control::FindNeighbours`]. The sender forwards what the asker and they have to tell each other.
    #[n(18)]
    Neighbours {
        /// At most [`HINT_LIMIT`].
        #[n(0)]
        peers: Vec<PeerId>,
    },
    /// Tell a neighbour of yours this, as [`Control::Forwarded`], so that the two of us can connect.
    #[n(19)]
    Forward {
        /// For whom.
        #[n(0)]
        to: PeerId,
        /// A [`crate::signal::Introduction`] in JSON; at most [`FORWARD_LEN_LIMIT`] bytes.
        #[n(1)]
        text: String,
    },
    /// A neighbour of mine, which is none of yours, tells you this. Who it is rests on the sender's word alone.
    #[n(20)]
    Forwarded {
        /// Whose words these are.
        #[n(0)]
        from: PeerId,
        /// A [`crate::signal::Introduction`] in JSON; at most [`FORWARD_LEN_LIMIT`] bytes.
        #[n(1)]
        text: String,
    },
    /// Send me this page of the index of a film's track.
    #[n(15)]
    RequestIndex {
        /// The film.
        #[n(0)]
        epoch: Epoch,
        /// The track.
        #[n(1)]
        track: TrackId,
        /// Counted from 0.
        #[n(2)]
        page: u16,
    },
}

/// Some blocks of one track.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct TrackBlocks {
    /// The track.
    #[n(0)]
    pub track: TrackId,
    /// The block of bit 0.
    #[n(1)]
    pub first: BlockNumber,
    /// Bit *i* of byte *j* is set when block `first + 8 j + i` is meant; at most [`HAVE_LEN_LIMIT`] bytes.
    #[n(2)]
    pub bits: ByteVec,
}

/// Some parts of one track.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct TrackParts {
    /// The track.
    #[n(0)]
    pub track: TrackId,
    /// The part of bit 0, by its sequence.
    #[n(1)]
    pub first: u32,
    /// Bit *i* of byte *j* is set when part `first + 8 j + i` is meant; at most [`HAVE_LEN_LIMIT`] bytes.
    #[n(2)]
    pub bits: ByteVec,
}

impl TrackParts {
    /// The sequences that are set, rising; those beyond `u32` are left out.
    pub fn sequences(&self) -> impl Iterator<Item = u32> + '_ {
        set_bits(&self.bits, self.first)
    }
}

impl TrackBlocks {
    /// The numbers that are set, rising; numbers beyond `u32` are left out.
    pub fn numbers(&self) -> impl Iterator<Item = BlockNumber> + '_ {
        set_bits(&self.bits, self.first.0).map(BlockNumber)
    }
}

/// Bit *i* of byte *j* stands for `first + 8 j + i`.
fn set_bits(bits: &[u8], first: u32) -> impl Iterator<Item = u32> + '_ {
    let set = |index: usize| bits[index / 8] >> (index % 8) & 1 == 1;
    let offsets = (0..bits.len() * 8).filter(move |&index| set(index));
    offsets.filter_map(move |index| first.checked_add(u32::try_from(index).ok()?))
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the message is empty")]
    Empty,
    /// Longer than [`MESSAGE_LEN_LIMIT`].
    #[error("the message is longer than {MESSAGE_LEN_LIMIT} bytes")]
    TooLong,
    /// A block without a whole header, without media, or with more than [`BLOCK_LEN_LIMIT`] bytes of it.
    #[error("the block has no media or more than {BLOCK_LEN_LIMIT} bytes of it")]
    BlockLength,
    /// A control message that does not parse, or names more than its limits allow.
    #[error("the control message is malformed or over its limits")]
    Control,
    /// A type of a newer version: to be skipped.
    #[error("the message is of an unknown type")]
    UnknownType,
}

impl<'a> Message<'a> {
    /// Parses one message.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`] is no offence: newer peers may say more. All others are.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_LEN_LIMIT {
            return Err(DecodeError::TooLong);
        }
        let (&kind, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
        match kind {
            TYPE_BLOCK => decode_block(body),
            TYPE_CATALOG => Ok(Self::Catalog(body)),
            TYPE_DESCRIPTOR => Ok(Self::Descriptor(body)),
            TYPE_INDEX => Ok(Self::Index(body)),
            TYPE_CONTROL => decode_control(body).map(Self::Control),
            _ => Err(DecodeError::UnknownType),
        }
    }

    /// The message as bytes; [`Message::decode`] gives it back.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Block { id, payload } => {
                let mut bytes = Vec::with_capacity(BLOCK_HEADER_LEN + payload.len());
                bytes.extend_from_slice(&block_header(*id));
                bytes.extend_from_slice(payload);
                bytes
            }
            Self::Catalog(body) => prefixed(TYPE_CATALOG, body),
            Self::Descriptor(body) => prefixed(TYPE_DESCRIPTOR, body),
            Self::Index(body) => prefixed(TYPE_INDEX, body),
            Self::Control(control) => {
                let mut bytes = vec![TYPE_CONTROL];
                // Writing to a Vec is `Result<_, Infallible>`; the encoder's own errors come from custom types only.
                if let Err(error) = minicbor::encode(control, &mut bytes) {
                    unreachable!("control messages always encode: {error}");
                }
                bytes
            }
        }
    }
}

/// The bytes that stand before a block's media, big-endian.
pub fn block_header(id: BlockId) -> [u8; BLOCK_HEADER_LEN] {
    let [e0, e1, e2, e3] = id.epoch.0.to_be_bytes();
    let [n0, n1, n2, n3] = id.number.0.to_be_bytes();
    [TYPE_BLOCK, id.track.0, e0, e1, e2, e3, n0, n1, n2, n3]
}

fn prefixed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + body.len());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn decode_block(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let Some((&[track, e0, e1, e2, e3, n0, n1, n2, n3], payload)) = body.split_first_chunk() else {
        return Err(DecodeError::BlockLength);
    };
    if payload.is_empty() || payload.len() > BLOCK_LEN_LIMIT {
        return Err(DecodeError::BlockLength);
    }
    let id = BlockId {
        epoch: Epoch(u32::from_be_bytes([e0, e1, e2, e3])),
        track: TrackId(track),
        number: BlockNumber(u32::from_be_bytes([n0, n1, n2, n3])),
    };
    Ok(Message::Block { id, payload })
}

fn decode_control(body: &[u8]) -> Result<Control, DecodeError> {
    if body.len() > CONTROL_LEN_LIMIT {
        return Err(DecodeError::Control);
    }
    let mut decoder = minicbor::Decoder::new(body);
    let control: Control = decoder.decode().map_err(|error| {
        if error.is_unknown_variant() { DecodeError::UnknownType } else { DecodeError::Control }
    })?;
    if decoder.position() != body.len() || !is_within_limits(&control) {
        return Err(DecodeError::Control);
    }
    Ok(control)
}

fn is_within_limits(control: &Control) -> bool {
    match control {
        Control::Refuse { hints, .. } => hints.len() <= HINT_LIMIT,
        Control::Accept { path, .. } => path.len() <= PATH_LIMIT,
        Control::Holders { peers } | Control::Neighbours { peers } => peers.len() <= HINT_LIMIT,
        Control::Forward { text, .. } | Control::Forwarded { text, .. } => text.len() <= FORWARD_LEN_LIMIT,
        Control::Have { tracks, .. } => {
            tracks.len() <= HAVE_TRACK_LIMIT
                && tracks.iter().all(|blocks| blocks.bits.len() <= HAVE_LEN_LIMIT)
        }
        Control::Request { blocks, .. } | Control::Cancel { blocks } | Control::Missing { blocks } => {
            blocks.len() <= REQUEST_LIMIT
        }
        Control::HaveParts { whole, gone, .. } => [whole, gone].into_iter().all(|tracks| {
            tracks.len() <= HAVE_TRACK_LIMIT && tracks.iter().all(|parts| parts.bits.len() <= HAVE_LEN_LIMIT)
        }),
        _ => true,
    }
}
