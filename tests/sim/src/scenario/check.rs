//! What values a scenario may have.

use core::fmt::Display;
use core::ops::RangeInclusive;
use core::time::Duration;

use cardume_wire::link::block_count;

use super::{Access, Audience, Freezes, Incident, Nats, RoundTrips, Scenario, Stream, Uplinks};

use crate::library::TRACK_COUNT;
use crate::store::BLOCKS_OF_PART_LIMIT;

/// A field with a value that no run can have.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) field: String,
    pub(super) problem: String,
}

pub(super) type Checked = Result<(), Problem>;

/// Bits per second of a stream or link: from a slow voice to beyond what one machine forwards.
const RATES: RangeInclusive<u64> = 1_000..=10_000_000_000;
/// Viewers of one run: more than fit into the memory of one machine.
const VIEWERS: RangeInclusive<usize> = 1..=10_000_000;
/// Hundredths.
const PERCENT: RangeInclusive<u64> = 0..=100;

pub(super) fn check(scenario: &Scenario) -> Checked {
    time("length_ms", scenario.length, 1..=86_400_000)?;
    stream(&scenario.stream)?;
    if let Some(copies) = scenario.server.budget_copies {
        within("server.budget_copies", copies, 0.0..=1e6)?;
    }
    access(&scenario.access)?;
    network(scenario)?;
    audience(&scenario.audience)?;
    time("clocks.error_ms", scenario.clocks.error, 0..=60_000)?;
    within("clocks.drift_ppm", scenario.clocks.drift_ppm, 0..=10_000)?;
    scenario.freezes.as_ref().map_or(Ok(()), freezes)?;
    if scenario.film.is_some() && !scenario.stream.renditions.is_empty() {
        return problem(
            "stream.renditions",
            "are given of a film, whose pictures are not chosen from".to_owned(),
        );
    }
    scenario.film.as_ref().map_or(Ok(()), |film| super::film::check(scenario, film))?;
    let incidents = scenario.incidents.iter().enumerate();
    incidents.into_iter().try_for_each(|(index, incident)| check_incident(index, incident))
}

fn stream(stream: &Stream) -> Checked {
    within("stream.rate", stream.rate, 8_000..=1_000_000_000)?;
    within("stream.sound_rate", stream.sound_rate, 0..=stream.rate - 1)?;
    within("the number of stream.renditions", stream.renditions.len(), 0..=TRACK_COUNT - 2)?;
    for (index, rate) in stream.renditions.iter().enumerate() {
        within(&format!("stream.renditions[{index}]"), *rate, 8_000..=stream.video_rate() - 1)?;
    }
    time("stream.part_ms", stream.part, 10..=10_000)?;
    within("stream.parts_per_group", stream.parts_per_group, 1..=10_000)?;
    within("stream.key_weight", stream.key_weight, 1..=100)?;
    within("stream.size_jitter_percent", stream.size_jitter_percent, 0..=90)?;
    time("stream.target_latency_ms", stream.target_latency, 100..=60_000)?;
    let longest = block_count(usize::try_from(stream.longest_part()).unwrap_or(usize::MAX)) as u64;
    within("the number of blocks of the longest part", longest, 1..=u64::from(BLOCKS_OF_PART_LIMIT))?;
    time("stream.encoding_ms", stream.encoding, 0..=10_000)?;
    time("stream.begins_at_ms", stream.begins_at, 0..=86_400_000)
}

fn downlinks(access: &Access) -> Checked {
    for (index, slow) in access.slow.iter().enumerate() {
        within(&format!("access.slow[{index}].viewers_percent"), slow.viewers_percent, PERCENT)?;
        within(&format!("access.slow[{index}].downlink"), slow.downlink, RATES)?;
    }
    let n_slow = access.slow.iter().map(|slow| slow.viewers_percent).sum();
    within("the sum of access.slow[..].viewers_percent", n_slow, PERCENT)?;
    let Some(dips) = &access.dips else { return Ok(()) };
    within("access.dips.viewers_percent", dips.viewers_percent, PERCENT)?;
    within("access.dips.downlink", dips.downlink, RATES)?;
    time("access.dips.interval_ms", dips.interval, 100..=86_400_000)?;
    time("access.dips.length_ms", dips.length, 1..=86_400_000)
}

fn access(access: &Access) -> Checked {
    within("access.downlink", access.downlink, RATES)?;
    downlinks(access)?;
    if let Some(index) = access.resource_index {
        within("access.resource_index", index, 0.01..=1000.0)?;
    }
    match &access.uplink {
        Uplinks::Constant(rate) => within("access.uplink.constant", *rate, RATES),
        Uplinks::Quantiles(points) => {
            rising("access.uplink.quantiles", points)?;
            points.iter().try_for_each(|rate| within("access.uplink.quantiles", *rate, RATES))
        }
        Uplinks::Slots { rate, first, last, step } => {
            within("access.uplink.slots.rate", *rate, 1..=1_000_000_000)?;
            within("access.uplink.slots.first", *first, 0..=10_000)?;
            within("access.uplink.slots.last", *last, *first..=10_000)?;
            within("access.uplink.slots.step", *step, 1..=10_000)
        }
        Uplinks::Classes(classes) => {
            for class in classes {
                within("access.uplink.classes.percent", class.percent, 0.001..=100.0)?;
                within("access.uplink.classes.min", class.min, 0.0..=1000.0)?;
                within("access.uplink.classes.max", class.max, class.min..=1000.0)?;
            }
            let sum: f64 = classes.iter().map(|class| class.percent).sum();
            if (sum - 100.0).abs() > 1e-6 {
                return problem("access.uplink.classes", format!("have {sum} percent together, not 100"));
            }
            Ok(())
        }
    }
}

fn network(scenario: &Scenario) -> Checked {
    let network = &scenario.network;
    within("network.loss_percent", network.loss_percent, 0.0..=50.0)?;
    let Nats { port_restricted_percent, symmetric_percent, blocked_percent } = network.nats;
    within("network.nats.port_restricted_percent", port_restricted_percent, PERCENT)?;
    within("network.nats.symmetric_percent", symmetric_percent, 0..=100 - port_restricted_percent)?;
    let others = 100 - port_restricted_percent - symmetric_percent;
    within("network.nats.blocked_percent", blocked_percent, 0..=others)?;
    match &network.round_trip {
        RoundTrips::Map {} => Ok(()),
        RoundTrips::ConstantMs(millis) => within("network.round_trip.constant_ms", *millis, 0..=10_000),
        RoundTrips::QuantilesMs(points) => {
            rising("network.round_trip.quantiles_ms", points)?;
            within("network.round_trip.quantiles_ms", points[4], 0..=10_000)
        }
    }
}

fn audience(audience: &Audience) -> Checked {
    time("audience.join_at_ms", audience.join_at, 0..=86_400_000)?;
    for phase in &audience.phases {
        within("audience.phases.n", phase.n, VIEWERS)?;
        time("audience.phases.interval_ms", phase.interval, 0..=3_600_000)?;
    }
    within("the number of all viewers", audience.phases.iter().map(|phase| phase.n).sum(), VIEWERS)?;
    if let Some(churn) = &audience.churn {
        time("audience.churn.interval_ms", churn.interval, 1..=86_400_000)?;
        within("audience.churn.silent_percent", churn.silent_percent, PERCENT)?;
    }
    if let Some(stay) = &audience.stay {
        rising("audience.stay.quantiles_s", &stay.quantiles_s)?;
        within("audience.stay.quantiles_s", stay.quantiles_s[0], 1..=86_400)?;
        within("audience.stay.silent_percent", stay.silent_percent, PERCENT)?;
    }
    within("audience.polluters_percent", audience.polluters_percent, PERCENT)?;
    let others = 100 - audience.polluters_percent;
    within("audience.free_riders_percent", audience.free_riders_percent, 0..=others)
}

fn freezes(freezes: &Freezes) -> Checked {
    within("freezes.viewers_percent", freezes.viewers_percent, PERCENT)?;
    time("freezes.interval_ms", freezes.interval, 100..=86_400_000)?;
    time("freezes.min_ms", freezes.min, 1..=60_000)?;
    let shortest = u64::try_from(freezes.min.as_millis()).unwrap_or(u64::MAX);
    time("freezes.max_ms", freezes.max, shortest..=60_000)
}

fn check_incident(index: usize, incident: &Incident) -> Checked {
    let field = format!("incidents[{index}]");
    time(&format!("{field}.at_ms"), incident.at, 0..=86_400_000)?;
    time(&format!("{field}.interval_ms"), incident.interval, 0..=3_600_000)?;
    let what = incident.what;
    match (what.is_counted(), incident.n, incident.percent) {
        (true, Some(n), None) => within(&format!("{field}.n"), n, VIEWERS),
        (true, None, Some(percent)) => within(&format!("{field}.percent"), percent, PERCENT),
        (true, ..) => problem(&field, format!("is {what:?} and needs either n or percent")),
        (false, None, None) => Ok(()),
        (false, ..) => problem(&field, format!("is {what:?} and takes neither n nor percent")),
    }
}

pub(super) fn within<T: Copy + PartialOrd + Display>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    problem(field, format!("is {value}, not from {} to {}", range.start(), range.end()))
}

pub(super) fn time(field: &str, value: Duration, range: RangeInclusive<u64>) -> Checked {
    within(field, u64::try_from(value.as_millis()).unwrap_or(u64::MAX), range)
}

fn rising(field: &str, points: &[u64; 5]) -> Checked {
    if points.is_sorted() {
        return Ok(());
    }
    problem(field, format!("are {points:?}, which do not rise"))
}

pub(super) fn problem(field: &str, problem: String) -> Checked {
    Err(Problem { field: field.to_owned(), problem })
}
