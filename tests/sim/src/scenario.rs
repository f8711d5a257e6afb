//! Scenarios: what happens in a run, as data.

use core::time::Duration;

/// Everything that a run depends on, besides its seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For the report.
    pub name: &'static str,
    /// Viewers that join at the begin.
    pub n_viewers: usize,
    /// Between two joins of these.
    pub join_interval: Duration,
    /// When the broadcast begins. Viewers join from [`Scenario::join_at`] on.
    pub broadcast_at: Duration,
    /// When the first viewer joins.
    pub join_at: Duration,
    /// How long the run is.
    pub length: Duration,
    /// Bits per second of the picture.
    pub video_rate: u64,
    /// Bits per second of the sound.
    pub audio_rate: u64,
    /// Length of a part.
    pub part: Duration,
    /// Parts in a group of pictures.
    pub parts_per_group: u32,
    /// The server's egress budget in hundredths of a copy of the stream; `None` is no budget.
    pub budget_percent: Option<u64>,
    /// Downlink of every viewer in bits per second.
    pub downlink: u64,
    /// Round trips in microseconds at the 5th, 25th, 50th, 75th and 95th percentile.
    pub round_trips: [u64; 5],
    /// Uplinks in bits per second at the 5th, 25th, 50th, 75th and 95th percentile.
    pub uplinks: [u64; 5],
    /// Whether viewers know their uplink (the cap they chose), or have to find out.
    pub is_uplink_known: bool,
    /// Share of pairs of viewers that cannot connect, in hundredths.
    pub unconnectable_percent: u64,
    /// Errors of the viewers' clocks at most.
    pub clock_error: Duration,
    /// Who comes and goes.
    pub churn: Churn,
    /// What else happens, and when.
    pub incidents: Vec<(Duration, Incident)>,
}

/// Viewers that come and go at random.
#[derive(Clone, Copy, Debug, Default)]
pub struct Churn {
    /// Between two departures; each is followed by an arrival. Zero is no churn.
    pub interval: Duration,
    /// Of the departures, how many are silent, in hundredths.
    pub silent_percent: u64,
}

/// Something that happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The viewer that feeds most others dies silently.
    KillFeeder,
    /// The viewer that feeds most others says goodbye.
    FeederLeaves,
    /// The tracker dies, its server peer with it.
    ServerDies,
    /// The tracker is back; the broadcaster begins anew a second later.
    ServerReturns,
    /// So many viewers leave at once, saying goodbye.
    Leave(usize),
    /// So many viewers join at once.
    Join(usize),
}

/// The names that [`named`] knows.
pub const NAMES: [&str; 6] = ["first-light", "kill-feeder", "budget", "direct", "tracker-restart", "flash"];

/// Uplinks of real WebRTC viewers: p5/25/50/75/95 of measured throughput.
const MEASURED_UPLINKS: [u64; 5] = [670_000, 1_970_000, 2_530_000, 3_270_000, 5_210_000];
/// Round trips of real viewers: p5/25/50/75/95.
const MEASURED_ROUND_TRIPS: [u64; 5] = [19_000, 59_000, 135_000, 202_000, 325_000];
/// Tabs on one machine.
const LAN: [u64; 5] = [50_000_000; 5];

/// The scenario of this name, with another number of viewers if wanted.
pub fn named(name: &str, n_viewers: Option<usize>) -> Option<Scenario> {
    let seconds = Duration::from_secs;
    let mut scenario = match name {
        "first-light" => first_light(),
        "kill-feeder" => Scenario {
            name: "kill-feeder",
            incidents: vec![(seconds(30), Incident::KillFeeder), (seconds(45), Incident::KillFeeder)],
            ..tabs(8)
        },
        "budget" => Scenario { name: "budget", ..tabs(6) },
        "direct" => Scenario {
            name: "direct",
            incidents: vec![(seconds(20), Incident::Join(6)), (seconds(40), Incident::Leave(6))],
            ..tabs(2)
        },
        "tracker-restart" => Scenario {
            name: "tracker-restart",
            incidents: vec![(seconds(30), Incident::ServerDies), (seconds(34), Incident::ServerReturns)],
            ..tabs(6)
        },
        "flash" => Scenario {
            name: "flash",
            join_interval: Duration::from_millis(10),
            churn: Churn::default(),
            ..first_light()
        },
        _ => return None,
    };
    scenario.n_viewers = n_viewers.unwrap_or(scenario.n_viewers);
    Some(scenario)
}

/// 200 viewers on asymmetric links, a fifth of the pairs unconnectable, half a percent leaving each second.
fn first_light() -> Scenario {
    Scenario {
        name: "first-light",
        n_viewers: 200,
        join_interval: Duration::from_millis(50),
        broadcast_at: Duration::ZERO,
        join_at: Duration::from_secs(5),
        length: Duration::from_secs(65),
        video_rate: 904_000,
        audio_rate: 96_000,
        part: Duration::from_millis(200),
        parts_per_group: 10,
        budget_percent: Some(1000),
        downlink: 20_000_000,
        round_trips: MEASURED_ROUND_TRIPS,
        uplinks: MEASURED_UPLINKS,
        is_uplink_known: false,
        unconnectable_percent: 20,
        clock_error: Duration::from_millis(20),
        churn: Churn { interval: Duration::from_secs(1), silent_percent: 50 },
        incidents: Vec::new(),
    }
}

/// A few tabs on one machine that join 2 s apart, and a budget of three copies.
fn tabs(n_viewers: usize) -> Scenario {
    Scenario {
        name: "tabs",
        n_viewers,
        join_interval: Duration::from_secs(2),
        downlink: 50_000_000,
        round_trips: [2_000; 5],
        uplinks: LAN,
        unconnectable_percent: 0,
        budget_percent: Some(300),
        churn: Churn::default(),
        ..first_light()
    }
}
