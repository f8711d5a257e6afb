//! A film instead of a live broadcast.

use core::time::Duration;

use serde::Deserialize;

use super::check::{Checked, problem, time, within};
use super::{Scenario, millis};

/// What is watched on demand, in the stream's parts: all of it is there from the begin, and each viewer starts at its
/// begin. Latency means nothing then, nor do deadlines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Film {
    /// How long it is.
    #[serde(rename = "length_ms", deserialize_with = "millis")]
    pub length: Duration,
    /// Viewers that go elsewhere in it now and then; none when left out.
    pub seeks: Option<Seeks>,
}

/// Viewers that go elsewhere in a film, to any place of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeks {
    /// Share of the viewers that do, in hundredths.
    pub viewers_percent: u64,
    /// Between two of one viewer, on average.
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub interval: Duration,
}

pub(super) fn check(scenario: &Scenario, film: &Film) -> Checked {
    let part = u64::try_from(scenario.stream.part.as_millis()).unwrap_or(u64::MAX);
    time("film.length_ms", film.length, part..=86_400_000)?;
    let n_parts = film.length.as_millis() / scenario.stream.part.as_millis().max(1);
    let limit = cardume_media::INDEX_PAGE_LIMIT * cardume_media::INDEX_PAGE_PARTS;
    within("the number of parts of the film", n_parts, 1..=limit as u128)?;
    if !scenario.incidents.is_empty() {
        return problem("incidents", "are for live broadcasts, and this is a film".to_owned());
    }
    let Some(seeks) = &film.seeks else { return Ok(()) };
    within("film.seeks.viewers_percent", seeks.viewers_percent, 0..=100)?;
    time("film.seeks.interval_ms", seeks.interval, 100..=86_400_000)
}
