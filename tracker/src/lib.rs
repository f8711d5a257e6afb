//! The tracker: signalling, channel list, ingest, server peer, HLS and the web site in one process.
//!
//! The binary `cardume` is a thin command line around this library, so that tests start the same thing in their own
//! process on port 0. Signalling does not know media, and the server peer does not know signalling: they meet in `app`.

pub mod app;
pub mod channel;
pub mod check;
pub mod clock;
pub mod config;
pub mod demo;
pub mod door;
pub mod egress;
pub mod film;
pub mod health;
pub mod hls;
pub mod http;
pub mod ingest;
pub mod logs;
pub mod metrics;
pub mod places;
pub mod rate;
pub mod relay;
pub mod server_peer;
pub mod service;
pub mod signal;
pub mod site;
pub mod store;
pub mod token;
pub mod window;
