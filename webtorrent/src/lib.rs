//! The tracker protocol of WebTorrent: peers announce what they have over a WebSocket, with offers that the tracker hands to others
//! of the same swarm, whose answers it hands back.
//!
//! There is no standard; this is what existing clients and trackers send (BEP 3 and 15 name the fields). It knows nothing of
//! channels, media or our own signalling. Downwards: [`serve`] speaks WebSocket on a stream and moves bytes, `Conversation`
//! takes one message after the other, [`Swarms`] knows who is in which swarm.

mod conversation;
mod frame;
mod id;
mod message;
mod outbox;
mod reply;
mod socket;
mod swarm;
mod swarms;

#[doc(hidden)]
pub mod fuzzing;

pub use frame::Fault;
pub use socket::{Ending, serve};
pub use swarms::{Swarms, Totals};

/// How long clients wait between two announces, where the operator says nothing: as other WebSocket trackers.
pub const INTERVAL_DEFAULT: core::time::Duration = core::time::Duration::from_mins(2);
