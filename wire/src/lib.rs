//! What travels: the binary messages of a link, the JSON messages of the tracker, and the ids in both.
//!
//! Pure: no clock, no I/O, no allocation that a stranger can size. Decoding borrows from the input.

mod ids;
pub mod link;
pub mod signal;

pub use ids::{
    BlockId, BlockNumber, ChannelId, Epoch, InvalidId, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet,
    WallTime,
};

/// Version of the link and signalling protocols; a peer that says another one is refused.
pub const PROTOCOL_VERSION: u16 = 4;
