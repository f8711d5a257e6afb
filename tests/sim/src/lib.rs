//! Deterministic simulator of many swarm peers: real `swarm::Peer`s in virtual time, over modelled access links.
//!
//! No bytes travel, only their lengths are counted. A run is a function of its [`Scenario`] and seed, bit for bit.

mod broadcast;
mod network;
mod node;
pub mod oracle;
mod player;
mod report;
mod scenario;
mod store;
mod world;

pub use report::{Goal, Report, ViewerReport};
pub use scenario::{Churn, Incident, NAMES, Scenario, named};
pub use world::{Progress, World};
