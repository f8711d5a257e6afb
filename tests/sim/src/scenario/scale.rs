//! The same scenario with another audience.

use core::time::Duration;

use super::Scenario;

impl Scenario {
    /// The scenario with so many viewers in its join phases. Each phase takes as long as it did and gets its share of
    /// them; churn and incidents concern the same share of the audience as before. At least 1 viewer.
    #[must_use]
    pub fn with_viewers(mut self, n: usize) -> Self {
        let (before, n) = (self.n_viewers().max(1), n.max(1));
        let scale = |count: usize| count * n / before;
        let mut n_before = 0;
        for phase in &mut self.audience.phases {
            let from = scale(n_before);
            n_before += phase.n;
            let scaled = scale(n_before) - from;
            phase.interval = rescale(phase.interval, phase.n, scaled);
            phase.n = scaled;
        }
        if let Some(churn) = &mut self.audience.churn {
            churn.interval = rescale(churn.interval, before, n);
        }
        for incident in &mut self.incidents {
            if let Some(count) = incident.n {
                let scaled = scale(count).max(1);
                incident.interval = rescale(incident.interval, count, scaled);
                incident.n = Some(scaled);
            }
        }
        self
    }
}

/// The interval of `to` events in the time that `from` took; at least a microsecond where it was not zero.
fn rescale(interval: Duration, from: usize, to: usize) -> Duration {
    let nanos = interval.as_nanos() * from as u128 / to.max(1) as u128;
    let scaled = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    if interval.is_zero() { interval } else { scaled.max(Duration::from_micros(1)) }
}
