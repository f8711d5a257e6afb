//! Scenarios: what happens in a run, as data. Each is a TOML file; those of `scenarios/` are built in.

mod check;
mod files;
mod film;
mod scale;
mod uplinks;

use core::time::Duration;

use serde::{Deserialize, Deserializer};

pub use files::{ScenarioError, names};
pub use film::{Film, Seeks};
pub use uplinks::{UplinkClass, Uplinks};

/// Everything that a run depends on, besides its seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What it shows and where its numbers come from.
    pub about: String,
    /// How long the run is.
    #[serde(rename = "length_ms", deserialize_with = "millis")]
    pub length: Duration,
    /// What is broadcast.
    pub stream: Stream,
    /// A film in place of a live broadcast.
    pub film: Option<Film>,
    /// The tracker's server peer.
    #[serde(default)]
    pub server: Server,
    /// The viewers' access links.
    pub access: Access,
    /// What lies between them.
    pub network: Network,
    /// Who comes and goes.
    pub audience: Audience,
    /// Clocks that are wrong.
    #[serde(default)]
    pub clocks: Clocks,
    /// Tabs that stand still now and then; none when left out.
    pub freezes: Option<Freezes>,
    /// What else happens, and when.
    #[serde(default)]
    pub incidents: Vec<Incident>,
}

/// One broadcast: a picture, and sound beside it when it has a rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Bits per second of picture and sound together.
    pub rate: u64,
    /// Bits per second of these that are sound; 0 is no track of its own.
    #[serde(default)]
    pub sound_rate: u64,
    /// Bits per second of further pictures of the same, each less than the one of `rate`; viewers watch what their
    /// downlinks bear.
    #[serde(default)]
    pub renditions: Vec<u64>,
    /// Length of a part.
    #[serde(rename = "part_ms", deserialize_with = "millis")]
    pub part: Duration,
    /// Parts in a group of pictures.
    pub parts_per_group: u32,
    /// A part with a key frame is as long as this many others; 1 is a constant bitrate.
    pub key_weight: u64,
    /// Lengths of picture parts vary by this much either way, in hundredths.
    pub size_jitter_percent: u64,
    /// From capture to screen.
    #[serde(rename = "target_latency_ms", deserialize_with = "millis")]
    pub target_latency: Duration,
    /// Parts leave the encoder this long after their end was captured.
    #[serde(rename = "encoding_ms", deserialize_with = "millis")]
    pub encoding: Duration,
    /// When the broadcast begins.
    #[serde(default, rename = "begins_at_ms", deserialize_with = "millis")]
    pub begins_at: Duration,
}

/// The tracker's server peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its egress budget in copies of the stream; left out is no budget.
    pub budget_copies: Option<f64>,
}

/// The viewers' access links.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// How fast their uplinks are.
    pub uplink: Uplinks,
    /// All uplinks are multiplied so that the resource index is this: the uplinks of those who upload what is right and
    /// the server's budget, divided by what the viewers of the join phases demand. Left out, they stay as drawn.
    pub resource_index: Option<f64>,
    /// Whether viewers know their uplink (the cap they chose), or have to find out.
    pub is_known: bool,
    /// Downlink of every viewer in bits per second, but for those of the slow classes.
    pub downlink: u64,
    /// Classes of viewers with a slower downlink.
    #[serde(default)]
    pub slow: Vec<Slow>,
    /// Downlinks that are slower for a while now and then; none when left out.
    pub dips: Option<Dips>,
}

/// Viewers with a slower downlink than others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// Their share, in hundredths.
    pub viewers_percent: u64,
    /// Bits per second.
    pub downlink: u64,
}

/// Downlinks that are slower for a while now and then: somebody else in the house wants something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dips {
    /// Share of the viewers to whom it happens, in hundredths.
    pub viewers_percent: u64,
    /// Bits per second that are left, of those that have more.
    pub downlink: u64,
    /// From the end of one to the begin of the next of one viewer, on average.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
    /// How long each is.
    #[serde(rename = "length_ms", deserialize_with = "millis")]
    pub length: Duration,
}

/// What lies between two access links.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Round trips between two participants.
    pub round_trip: RoundTrips,
    /// What stands between viewers and others that connect to them; left out, all can connect.
    #[serde(default)]
    pub nats: Nats,
    /// Whether viewers that cannot connect are linked by the server's relay, whose bytes are the server's.
    #[serde(default)]
    pub has_relay: bool,
    /// Of the packets, how many are lost, in hundredths.
    #[serde(default)]
    pub loss_percent: f64,
}

/// Shares of the viewers behind each kind of address translator, in hundredths; the rest are behind one that accepts
/// whoever was sent to, or behind none.
///
/// With these: who is blocked connects to nobody; behind a symmetric one, nobody whose own is symmetric or restricted
/// to ports can be reached, as the ports cannot be guessed; all others connect (RFC 5128).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Translators that let in only the port that was sent to.
    pub port_restricted_percent: u64,
    /// Translators that use another port for each destination.
    pub symmetric_percent: u64,
    /// Networks that let no UDP through: without a relay such a viewer gets everything from the server, so a budget bounds
    /// how many of them can watch.
    pub blocked_percent: u64,
}

/// Where round trips come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RoundTrips {
    /// The same between any two, milliseconds.
    ConstantMs(u64),
    /// From a map of networks, held to measured quantiles: 19, 59, 135, 202 and 325 ms at the 5th, 25th, 50th, 75th and
    /// 95th percentile.
    Map {},
    /// Drawn for each pair alone; milliseconds at the 5th, 25th, 50th, 75th and 95th percentile.
    QuantilesMs([u64; 5]),
}

/// Who comes and goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// When the first viewer joins.
    #[serde(rename = "join_at_ms", deserialize_with = "millis")]
    pub join_at: Duration,
    /// Viewers that join at the begin, one phase after the other.
    pub phases: Vec<Phase>,
    /// Departures at a rate, each followed by an arrival; it begins when the phases are over.
    pub churn: Option<Churn>,
    /// How long each viewer stays; who has left is replaced.
    pub stay: Option<Stay>,
    /// Share of the viewers that send wrong blocks, in hundredths.
    #[serde(default)]
    pub polluters_percent: u64,
    /// Share of the viewers that upload nothing, in hundredths.
    #[serde(default)]
    pub free_riders_percent: u64,
}

/// Some viewers that join one after the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How many.
    pub n: usize,
    /// Between two of them; of random spacing, on average.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
    /// Whether they come regularly.
    #[serde(default)]
    pub spacing: Spacing,
}

/// How events follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Each in its interval, up to half of it late.
    #[default]
    Fixed,
    /// Independently of each other: a Poisson process.
    Exponential,
}

/// Viewers that go at a rate, and others that come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Between two departures; each is followed by an arrival.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
    /// Whether they come regularly.
    #[serde(default)]
    pub spacing: Spacing,
    /// Who goes.
    #[serde(default)]
    pub who: Who,
    /// Of the departures, how many are silent, in hundredths.
    pub silent_percent: u64,
}

/// Whom churn takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Anyone.
    #[default]
    Any,
    /// Viewers with a likelihood inverse to how long they have been there, as when stays follow a Pareto distribution
    /// (its hazard at age t is shape / t).
    Young,
}

/// How long viewers stay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stay {
    /// Seconds at the 10th, 25th, 50th, 75th and 90th percentile.
    pub quantiles_s: [u64; 5],
    /// Of the departures, how many are silent, in hundredths.
    pub silent_percent: u64,
}

/// Clocks that are wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Errors of the viewers' estimates of the tracker's clock at most.
    #[serde(rename = "error_ms", deserialize_with = "millis")]
    pub error: Duration,
    /// The viewers' clocks run fast or slow by at most so many millionths.
    #[serde(default)]
    pub drift_ppm: u32,
}

/// Tabs that stand still: the main thread is busy, nothing is handled, and all that came is handled at the thaw.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freezes {
    /// Share of the viewers to whom it happens, in hundredths.
    pub viewers_percent: u64,
    /// Between two of one viewer, on average.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
    /// The shortest.
    #[serde(rename = "min_ms", deserialize_with = "millis")]
    pub min: Duration,
    /// The longest.
    #[serde(rename = "max_ms", deserialize_with = "millis")]
    pub max: Duration,
}

/// Something that happens at a moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When.
    #[serde(rename = "at_ms", deserialize_with = "millis")]
    pub at: Duration,
    /// What.
    pub what: What,
    /// To how many, for those that need it.
    pub n: Option<usize>,
    /// To how many of those that are there, in hundredths, instead.
    pub percent: Option<u64>,
    /// Between two of them; left out, they come at once.
    #[serde(default, rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The viewer that feeds most others dies silently.
    KillFeeder,
    /// The viewer that feeds most others says goodbye.
    FeederLeaves,
    /// The tracker dies, its server peer with it.
    ServerDies,
    /// The tracker is back; the broadcaster begins anew a second later.
    ServerReturns,
    /// Viewers chosen at random lose the tracker for good, its server peer too; all others, and the broadcast, go on.
    CutOff,
    /// Viewers join, within 2 s unless there is an interval.
    Join,
    /// Viewers leave, those that came last first, saying goodbye.
    Leave,
    /// Viewers chosen at random die silently.
    Die,
}

impl What {
    /// Whether it happens to a number of viewers.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Self::CutOff | Self::Join | Self::Leave | Self::Die)
    }
}

impl Scenario {
    /// Viewers of the join phases.
    pub fn n_viewers(&self) -> usize {
        self.audience.phases.iter().map(|phase| phase.n).sum()
    }

    /// The server's egress budget in bits per second; `None` is no budget.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "checked: positive, and far below 2^52"
    )]
    pub fn budget(&self) -> Option<u64> {
        self.server.budget_copies.map(|copies| (copies * self.stream.rate as f64) as u64)
    }
}

impl Stream {
    /// Bits per second of the picture.
    pub(crate) fn video_rate(&self) -> u64 {
        self.rate.saturating_sub(self.sound_rate)
    }

    /// Bytes of picture in a part on average, from its rate and length.
    pub(crate) fn mean_part(&self) -> u64 {
        self.video_rate() * crate::broadcast::micros(self.part) / 8_000_000
    }

    /// Bytes of picture in the longest part that can occur.
    pub(crate) fn longest_part(&self) -> u64 {
        self.weighted_part(self.key_weight) * (100 + self.size_jitter_percent) / 100
    }

    /// Bytes of picture in a part of this weight, when all of a group together have the rate.
    pub(crate) fn weighted_part(&self, weight: u64) -> u64 {
        let group = u64::from(self.parts_per_group);
        self.mean_part() * weight * group / (group + self.key_weight - 1)
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
