//! Signalling: who watches a channel, whom a viewer should connect to, and the offers and answers between them.
//!
//! Knows nothing of media. [`Registry`] holds who is here, one socket task per viewer speaks the protocol of
//! [`cardume_wire::signal`].

mod limits;
mod registry;
mod socket;
mod swarm;

pub use registry::Registry;
pub use socket::{Signalling, serve};
pub use swarm::{JoinError, ReportTotals};
