//! Browser shell of the swarm: data channels, `WebSockets` and Media Source around [`cardume_swarm::Session`].
//!
//! Pages use [`Player`]. Behind it a shell queues what callbacks report, and brings it to the engine that all viewers have
//! ([`cardume_viewer`]), which tells the browser what to do. [`connections`] and [`media_source`] are the two rooms that need the window; the engine
//! talks to them by commands and events alone, so that all else can run in a dedicated worker.

pub mod append_queue;
mod clock;
pub mod connection;
pub mod connections;
mod engine;
mod event;
mod link;
mod listener;
pub mod media_source;
mod object;
mod options;
mod panic;
mod player;
mod renditions;
mod route;
mod shell;
mod socket;
mod source;
mod stats;
mod timer;
mod track_buffer;
mod video;

pub use link::{Link, LinkEvent};
pub use listener::Notify;
pub use player::{Player, PlayerEventHandler, PlayerOptions, StatsOrUndefined};
