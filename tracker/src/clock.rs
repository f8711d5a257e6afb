//! The tracker's wall clock, which all viewers follow.

use std::time::{SystemTime, UNIX_EPOCH};

use cardume_wire::WallTime;

/// Now. A machine whose clock stands before 1970 says 1970.
pub fn wall_time() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

/// Whole seconds since 1970.
pub fn unix_seconds(time: WallTime) -> u32 {
    u32::try_from(time.0 / 1_000_000).unwrap_or(u32::MAX)
}
