//! Deterministic simulator of many swarm peers: real `swarm::Peer`s in virtual time, over modelled access links.
//!
//! No bytes travel, only their lengths are counted. A run is a function of its [`Scenario`] and seed, bit for bit.

mod broadcast;
mod chance;
mod cost;
pub mod goals;
mod library;
mod map;
mod measure;
mod network;
mod node;
pub mod oracle;
mod player;
pub mod plot;
mod population;
mod queue;
mod report;
mod scenario;
mod shown;
mod store;
mod world;

pub use cost::Cost;
pub use population::{Manners, Population};
pub use report::{Goal, OnTime, Renditions, Report, ServerReport, ViewerReport};
pub use scenario::{
    Access, Audience, Churn, Clocks, Dips, Film, Freezes, Incident, Nats, Network, Phase, RoundTrips,
    Scenario, ScenarioError, Seeks, Server, Slow, Spacing, Stay, Stream, UplinkClass, Uplinks, What, Who,
    names,
};
pub use world::{Progress, World};
