//! Who the participants are and what lies between them: functions of scenario, seed and ids, with nothing to remember.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds are positive and far below 2^52"
)]

use cardume_wire::PeerId;
use serde::Serialize;

use crate::chance::{Quantiles, bits, share};
use crate::map::Home;
use crate::{RoundTrips, Scenario};

/// What a number is drawn for, so that no two uses share their chance.
#[derive(Clone, Copy)]
enum Use {
    Uplink = 1,
    Manners,
    Clock,
    WallError,
    Stay,
    Silence,
    Freezes,
    RoundTrip,
    Nat,
    Home,
    Drift,
    Seeks,
    Downlink,
    Dips,
}

/// How a viewer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manners {
    /// Like the software it runs.
    Honest,
    /// Uploads nothing.
    FreeRider,
    /// Every block that it sends is wrong.
    Polluter,
}

/// What stands between a viewer and those who connect to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nat {
    Open,
    PortRestricted,
    Symmetric,
    Blocked,
}

/// All participants that a scenario and a seed can bring forth.
#[derive(Clone, Debug)]
pub struct Population<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// Where the server and the first viewers are, for who asks often.
    homes: Vec<Home>,
}

impl<'a> Population<'a> {
    /// The participants of this run.
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        Self { scenario, seed, homes: Vec::new() }
    }

    /// The same, quicker to say how far apart the server and the first `n_viewers` are; 40 bytes for each.
    #[must_use]
    pub fn surveyed(mut self, n_viewers: usize) -> Self {
        self.homes = (0..=n_viewers as u64).map(|number| self.home(PeerId::new(number))).collect();
        self
    }

    /// A viewer's uplink in bits per second.
    pub fn uplink(&self, viewer: PeerId) -> u64 {
        self.scenario.uplink(self.of_one(viewer, Use::Uplink))
    }

    /// A viewer's downlink in bits per second, outside dips.
    pub(crate) fn downlink(&self, viewer: PeerId) -> u64 {
        let access = &self.scenario.access;
        let mut place = self.of_one(viewer, Use::Downlink) % 100;
        for slow in &access.slow {
            if place < slow.viewers_percent {
                return slow.downlink;
            }
            place -= slow.viewers_percent;
        }
        access.downlink
    }

    /// Whether a viewer's downlink is slower now and then.
    pub(crate) fn dips(&self, viewer: PeerId) -> bool {
        let percent = self.scenario.access.dips.as_ref().map_or(0, |dips| dips.viewers_percent);
        self.of_one(viewer, Use::Dips) % 100 < percent
    }

    /// How a viewer behaves.
    pub fn manners(&self, viewer: PeerId) -> Manners {
        let place = self.of_one(viewer, Use::Manners) % 100;
        let audience = &self.scenario.audience;
        if place < audience.polluters_percent {
            Manners::Polluter
        } else if place < audience.polluters_percent + audience.free_riders_percent {
            Manners::FreeRider
        } else {
            Manners::Honest
        }
    }

    /// Round trip between two participants in microseconds; half of it is one way.
    pub fn round_trip(&self, a: PeerId, b: PeerId) -> u64 {
        match &self.scenario.network.round_trip {
            RoundTrips::Map {} => self.home(a).round_trip(&self.home(b)),
            RoundTrips::ConstantMs(millis) => millis * 1000,
            RoundTrips::QuantilesMs(points) => {
                let at = share(self.of_two(a, b, Use::RoundTrip));
                (Quantiles::fives(*points).at(at) * 1000.0) as u64
            }
        }
    }

    /// Whether two viewers can connect.
    pub fn is_connectable(&self, a: PeerId, b: PeerId) -> bool {
        match (self.nat(a), self.nat(b)) {
            (Nat::Blocked, _) | (_, Nat::Blocked) => false,
            (Nat::Symmetric, other) | (other, Nat::Symmetric) => other == Nat::Open,
            _ => true,
        }
    }

    /// Whether no UDP gets to or from a viewer.
    pub fn is_blocked(&self, viewer: PeerId) -> bool {
        self.nat(viewer) == Nat::Blocked
    }

    /// The network that a viewer is in; `None` for the tracker, and where there is no map.
    pub fn network(&self, viewer: PeerId) -> Option<u64> {
        let has_map = matches!(self.scenario.network.round_trip, RoundTrips::Map {});
        self.home(viewer).network.filter(|_| has_map)
    }

    /// What stands between a viewer and those who connect to it.
    fn nat(&self, viewer: PeerId) -> Nat {
        let place = self.of_one(viewer, Use::Nat) % 100;
        let nats = &self.scenario.network.nats;
        let symmetric = nats.blocked_percent + nats.symmetric_percent;
        if place < nats.blocked_percent {
            Nat::Blocked
        } else if place < symmetric {
            Nat::Symmetric
        } else if place < symmetric + nats.port_restricted_percent {
            Nat::PortRestricted
        } else {
            Nat::Open
        }
    }

    pub(crate) fn home(&self, of: PeerId) -> Home {
        let known = usize::try_from(of.number()).ok().and_then(|number| self.homes.get(number));
        match known {
            Some(home) => *home,
            None if of.is_server() => Home::tracker(),
            None => Home::of(self.of_one(of, Use::Home)),
        }
    }

    /// How far a viewer's clock runs ahead of the world's, microseconds.
    pub(crate) fn clock_ahead(&self, viewer: PeerId) -> u64 {
        self.of_one(viewer, Use::Clock) % 1_000_000_000
    }

    /// By how many millionths a viewer's clock runs fast.
    pub(crate) fn drift_ppm(&self, viewer: PeerId) -> i64 {
        let limit = u64::from(self.scenario.clocks.drift_ppm);
        let place = self.of_one(viewer, Use::Drift) % (2 * limit + 1);
        i64::try_from(place).unwrap_or(0) - i64::from(self.scenario.clocks.drift_ppm)
    }

    /// What a viewer's estimate of the tracker's clock is wrong by, microseconds.
    pub(crate) fn wall_error(&self, viewer: PeerId) -> i64 {
        let limit = i64::try_from(self.scenario.clocks.error.as_micros()).unwrap_or(0);
        let place = share(self.of_one(viewer, Use::WallError));
        #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
        let error = (2.0 * place - 1.0) * limit as f64;
        error as i64
    }

    /// Whether a viewer's tab freezes now and then.
    pub(crate) fn freezes(&self, viewer: PeerId) -> bool {
        let percent = self.scenario.freezes.as_ref().map_or(0, |freezes| freezes.viewers_percent);
        self.of_one(viewer, Use::Freezes) % 100 < percent
    }

    /// Whether a viewer of a film goes elsewhere in it now and then.
    pub(crate) fn seeks(&self, viewer: PeerId) -> bool {
        let seeks = self.scenario.film.as_ref().and_then(|film| film.seeks.as_ref());
        let percent = seeks.map_or(0, |seeks| seeks.viewers_percent);
        self.of_one(viewer, Use::Seeks) % 100 < percent
    }

    /// How long a viewer stays, microseconds, and whether it leaves without a word; `None` is for ever.
    pub(crate) fn stay(&self, viewer: PeerId) -> Option<(u64, bool)> {
        let stay = self.scenario.audience.stay.as_ref()?;
        let seconds = Quantiles::tens(stay.quantiles_s).at(share(self.of_one(viewer, Use::Stay)));
        let is_silent = self.of_one(viewer, Use::Silence) % 100 < stay.silent_percent;
        Some(((seconds * 1e6) as u64, is_silent))
    }

    fn of_one(&self, viewer: PeerId, purpose: Use) -> u64 {
        bits(self.seed, viewer.number(), purpose as u64)
    }

    fn of_two(&self, a: PeerId, b: PeerId, purpose: Use) -> u64 {
        let (low, high) = (a.min(b).number(), a.max(b).number());
        bits(bits(self.seed, low, purpose as u64), high, purpose as u64)
    }
}
