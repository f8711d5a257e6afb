//! Signalling: who watches a channel, whom a viewer should connect to, and the offers and answers between them.
//!
//! Knows nothing of media. [`Registry`] holds who is here; for each of them a [`Viewer`] hears and
//! [`News`] tells what the protocol of [`cardume_wire::signal`] says. Sockets are not seen here.

mod abroad;
mod limits;
mod registry;
mod swarm;
mod viewer;

pub use abroad::{Abroad, Letter, News as NodeNews, Outward};
pub use registry::Registry;
pub use swarm::{JoinError, ReportTotals};
pub(crate) use swarm::{NOT_OF_OTHERS, to_json};
pub use viewer::{Ending, News, Signalling, Viewer};
