//! Native shell of the swarm: data channels (the `webrtc` crate), WebSockets and an imagined media element around the engine
//! that all viewers have ([`cardume_viewer`]).
//!
//! A [`Viewer`] watches one channel without a screen, says how it goes, and hands out the media that came. Any number of
//! them run in one process on one Tokio runtime. Each socket and each connection is a task; they report to the viewer's own
//! task, which alone has the engine.

mod address;
mod connection;
mod connector;
mod link;
mod mux;
mod report;
mod runtime;
mod screen;
mod snapshot;
mod socket;
mod viewer;

pub use address::{Address, AddressError};
pub use cardume_viewer::State;
pub use mux::{Mux, MuxError};
pub use snapshot::{NeighbourSnapshot, Snapshot};
pub use socket::Refusal;
pub use viewer::{Options, Viewer, ViewerEvent};
