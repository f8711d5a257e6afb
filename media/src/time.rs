//! Time on a track's own clock.

/// Media time in ticks of a track's timescale (ticks per second), as the container counts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// The same time in microseconds, rounded down; `timescale` is in ticks per second, and 0 is taken as 1.
    pub fn to_micros(self, timescale: u32) -> u64 {
        ticks_to_micros(self.0, timescale)
    }

    /// The time `ticks` later, or the last there is.
    pub const fn saturating_add(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks as u64))
    }
}

/// A number of ticks in microseconds, rounded down; `timescale` is in ticks per second, and 0 is taken as 1.
pub fn ticks_to_micros(ticks: u64, timescale: u32) -> u64 {
    let micros = u128::from(ticks) * 1_000_000 / u128::from(timescale.max(1));
    u64::try_from(micros).unwrap_or(u64::MAX)
}
