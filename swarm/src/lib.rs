//! The sans-IO state machine of one peer: what to ask, whom, by when, whom to feed.
//!
//! [`Peer`] decides and only names media; [`Session`] is a peer with its verified store, bytes in and bytes out.
//! Time, chance and I/O are arguments: equal seed and inputs give equal outputs.

mod balance;
mod bits;
mod bucket;
mod clock;
mod config;
mod directory;
mod film;
mod input;
mod neighbours;
mod output;
mod pacer;
mod peer;
mod player;
mod playhead;
mod renditions;
mod rolling;
mod session;
mod stats;
mod stripes;
mod time;
mod uplink;
mod uploads;
mod window;

pub use clock::ClockEstimator;
pub use config::{Config, Role};
pub use input::{CatalogFacts, Input, Offence, PartFacts, ReelFacts, Route, TrackFacts};
pub use output::{Outgoing, Output, Reason};
pub use peer::Peer;
pub use player::{BUFFERED_LIMIT, PlayerState};
pub use rolling::RollingLimit;
pub use session::{Adopted, Event, Session};
pub use stats::{NeighbourStats, PathStats, Phase, Stats};
pub use time::{BitsPerSec, Instant};
