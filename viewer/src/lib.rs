//! What every viewer does around its [`cardume_swarm::Session`], in a browser or out of one: its line to the tracker, being
//! introduced to neighbours, the tracker's clock, reports.
//!
//! Sans-IO like the session: a platform implements [`Shell`] and its parts, tells the [`Engine`] what happens, and is told
//! what to do. So all viewers behave alike, and a shell has nothing to decide.

mod backoff;
mod connections;
mod engine;
mod event;
mod media;
mod renditions;
mod report;
mod shell;
mod signal;

pub use connections::{ConnectionCommand, Connections};
pub use engine::{Engine, Facts, Happening};
pub use event::{PlayerEvent, State};
pub use media::{MediaCommand, MediaEvent};
pub use renditions::{Rendition, Renditions};
pub use shell::{
    Connection, ConnectionEvent, Connector, Dialler, Link, LinkEvent, Shell, Socket, SocketEvent, Wish,
};
