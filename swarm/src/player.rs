//! What the shell tells about its media element.

/// Stretches of buffered media that are looked at; more are ignored.
pub const BUFFERED_LIMIT: usize = 8;

/// The media element as it is now, on the media timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayerState {
    /// The playhead (`currentTime`), in microseconds of the media timeline.
    pub playhead_us: u64,
    /// Buffered stretches as `(start, end)` in microseconds, rising. The first [`BUFFERED_LIMIT`] are looked at, so
    /// leave out those that end before the playhead.
    pub buffered: Vec<(u64, u64)>,
    /// Whether the viewer paused it.
    pub is_paused: bool,
    /// Whether a seek is under way.
    pub is_seeking: bool,
}

impl PlayerState {
    /// The stretch that holds this time, `None` between stretches.
    pub(crate) fn range_at(&self, time_us: u64) -> Option<(u64, u64)> {
        self.ranges().find(|&(start, end)| start <= time_us && time_us < end)
    }

    /// The first stretch that starts after this time.
    pub(crate) fn range_after(&self, time_us: u64) -> Option<(u64, u64)> {
        self.ranges().find(|&(start, _)| start > time_us)
    }

    /// How much is buffered from this time on without a gap, in microseconds.
    pub(crate) fn ahead_us(&self, time_us: u64) -> u64 {
        self.range_at(time_us).map_or(0, |(_, end)| end - time_us)
    }

    /// Where the last stretch ends.
    pub(crate) fn end_us(&self) -> Option<u64> {
        self.ranges().map(|(_, end)| end).max()
    }

    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buffered.iter().copied().take(BUFFERED_LIMIT)
    }
}
